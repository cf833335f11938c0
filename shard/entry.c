#include "shard/entry.h"

#include "base/text.h"

#define ENTRY_BYTES_MIN 16
#define BIG_STRING_STEP ((size_t)1 << 20)

/* The whole size class is asked for, so that an entry may grow within it whatever the allocator. */
static size_t room_for(size_t size)
{
    return mem_class_bytes(MAX(size, ENTRY_BYTES_MIN));
}

static size_t head_bytes(size_t key_size, int64_t deadline_ms)
{
    return sizeof(struct entry) + (deadline_ms ? 8 : 0) + (key_size > UINT8_MAX ? 8 : 0) + key_size;
}

/* Of the value part alone. */
static size_t value_part_bytes(const struct entry *e)
{
    if (entry_encoding(e) == ENCODING_INT) return sizeof(int64_t);
    if (!(e->flags & ENTRY_POINTER)) return e->value_size;
    return entry_type(e) == TYPE_STRING ? sizeof(struct big_string) : sizeof(void *);
}

size_t entry_bytes(const struct entry *e)
{
    size_t size = (size_t)(entry_value_part(e) - (const char *)e) + value_part_bytes(e);
    return MAX(size, ENTRY_BYTES_MIN);
}

int64_t entry_integer(const struct entry *e)
{
    DCHECK(entry_encoding(e) == ENCODING_INT);
    int64_t value;
    memcpy(&value, entry_value_part(e), sizeof value);
    return value;
}

struct bytes entry_string(const struct entry *e, char *scratch)
{
    DCHECK(entry_type(e) == TYPE_STRING);
    if (entry_encoding(e) == ENCODING_INT) {
        return bytes_make(scratch, text_from_i64(scratch, entry_integer(e)));
    }
    if (likely(!(e->flags & ENTRY_POINTER))) return bytes_make(entry_value_part(e), e->value_size);
    struct big_string b = entry_big_string(e);
    return bytes_make(b.data, b.size);
}

/* ---- making ---- */

/* Writes what stands before the value part. */
static void write_head(struct entry *e, struct bytes key, int64_t deadline_ms)
{
    char *p = e->rest;
    e->flags &= (uint8_t) ~(ENTRY_DEADLINE | ENTRY_LONG_KEY);
    e->key_size = (uint8_t)key.size;
    if (deadline_ms) {
        e->flags |= ENTRY_DEADLINE;
        memcpy(p, &deadline_ms, sizeof deadline_ms);
        p += 8;
    }
    if (key.size > UINT8_MAX) {
        e->flags |= ENTRY_LONG_KEY;
        uint64_t size = key.size; /* 32 bits and the padding. */
        memcpy(p, &size, sizeof size);
        p += 8;
    }
    if (key.size) memcpy(p, key.data, key.size);
}

static struct entry *try_make(struct mem *mem, struct bytes key, size_t part, int64_t deadline_ms)
{
    if (key.size > UINT32_MAX) return NULL;
    size_t size = head_bytes(key.size, deadline_ms) + part;
    struct entry *e = mem_try_alloc(mem, room_for(size));
    if (!e) return NULL;
    memset(e, 0, sizeof *e);
    write_head(e, key, deadline_ms);
    return e;
}

static uint8_t pack_type(enum type type, enum encoding encoding)
{
    return (uint8_t)((unsigned)type | (unsigned)encoding << 4);
}

static struct entry *try_make_big(struct mem *mem, struct bytes key, struct bytes value,
                                  int64_t deadline_ms)
{
    struct big_string b = {.size = value.size, .capacity = value.size};
    struct entry *e = try_make(mem, key, sizeof b, deadline_ms);
    if (!e) return NULL;
    e->flags |= ENTRY_POINTER;
    e->type_encoding = pack_type(TYPE_STRING, ENCODING_RAW);
    b.data = mem_try_alloc(mem, value.size);
    if (!b.data) {
        entry_free_shell(mem, e);
        return NULL;
    }
    memcpy(b.data, value.data, value.size);
    entry_set_big_string(e, &b);
    return e;
}

struct entry *entry_try_make_string(struct mem *mem, struct bytes key, struct bytes value,
                                    enum encoding encoding, int64_t deadline_ms)
{
    if (unlikely(value.size > ENTRY_EMBED_BYTES_MAX)) {
        return try_make_big(mem, key, value, deadline_ms);
    }
    struct entry *e = try_make(mem, key, value.size, deadline_ms);
    if (!e) return NULL;
    e->type_encoding = pack_type(TYPE_STRING, encoding);
    e->value_size = (uint16_t)value.size;
    if (value.size) memcpy(entry_value_part(e), value.data, value.size);
    return e;
}

struct entry *entry_try_make_object(struct mem *mem, struct bytes key, enum type type,
                                    enum encoding encoding, void *root, int64_t deadline_ms)
{
    struct entry *e = try_make(mem, key, sizeof root, deadline_ms);
    if (!e) return NULL;
    e->type_encoding = pack_type(type, encoding);
    e->flags |= ENTRY_POINTER;
    entry_set_root(e, root);
    return e;
}

/* What a big string of that size should have room for: appending stays cheap. */
static size_t capacity_for(size_t size)
{
    return size < BIG_STRING_STEP ? size * 2 : size + BIG_STRING_STEP;
}

struct entry *entry_try_make_unset(struct mem *mem, struct bytes key, size_t size,
                                   int64_t deadline_ms)
{
    static const char zeros[ENTRY_EMBED_BYTES_MAX];
    if (size <= ENTRY_EMBED_BYTES_MAX) {
        return entry_try_make_string(mem, key, bytes_make(zeros, size), ENCODING_RAW, deadline_ms);
    }
    struct entry *e = try_make(mem, key, sizeof(struct big_string), deadline_ms);
    if (!e) return NULL;
    e->flags |= ENTRY_POINTER;
    e->type_encoding = pack_type(TYPE_STRING, ENCODING_RAW);
    struct big_string b = {.data = mem_try_alloc(mem, size), .size = size, .capacity = size};
    if (!b.data) {
        entry_free_shell(mem, e);
        return NULL;
    }
    entry_set_big_string(e, &b);
    return e;
}

struct entry *entry_try_make_blank(struct mem *mem, struct bytes key, size_t size,
                                   int64_t deadline_ms)
{
    struct entry *e = entry_try_make_unset(mem, key, size, deadline_ms);
    if (e && e->flags & ENTRY_POINTER) memset(entry_big_string(e).data, 0, size);
    return e;
}

struct entry *entry_try_reshell(struct mem *mem, const struct entry *e, struct bytes key,
                                int64_t deadline_ms)
{
    size_t part = value_part_bytes(e);
    struct entry *copy = try_make(mem, key, part, deadline_ms);
    if (!copy) return NULL;
    copy->type_encoding = e->type_encoding;
    copy->flags |= e->flags & ENTRY_POINTER;
    entry_set_clock(copy, entry_clock(e));
    copy->value_size = e->value_size;
    memcpy(entry_value_part(copy), entry_value_part(e), part);
    return copy;
}

void entry_free_string(struct mem *mem, struct entry *e)
{
    DCHECK(entry_type(e) == TYPE_STRING);
    if (unlikely(e->flags & ENTRY_POINTER)) {
        struct big_string b = entry_big_string(e);
        mem_free(mem, b.data, b.capacity);
    }
    entry_free_shell(mem, e);
}

void entry_free_shell(struct mem *mem, struct entry *e)
{
    mem_free(mem, e, room_for(entry_bytes(e)));
}

struct entry *entry_defrag(struct defrag_walk *w, struct entry *e)
{
    return defrag_block(w, e, room_for(entry_bytes(e)));
}

/* ---- changing in place ---- */

static bool same_class(size_t a, size_t b)
{
    return room_for(a) == room_for(b);
}

/* Moves the key to where it stands with or without a deadline. The value part is not moved. */
static void shift_key(struct entry *e, int64_t deadline_ms)
{
    size_t tail = (e->flags & ENTRY_LONG_KEY ? 8 : 0) + entry_key(e).size;
    if (deadline_ms && !entry_has_deadline(e)) {
        memmove(e->rest + 8, e->rest, tail);
        e->flags |= ENTRY_DEADLINE;
    } else if (!deadline_ms && entry_has_deadline(e)) {
        memmove(e->rest, e->rest + 8, tail);
        e->flags &= (uint8_t)~ENTRY_DEADLINE;
    }
    if (deadline_ms) memcpy(e->rest, &deadline_ms, sizeof deadline_ms);
}

bool entry_overwrite_string(struct entry *e, struct bytes value, enum encoding encoding,
                            int64_t deadline_ms)
{
    if (entry_type(e) != TYPE_STRING || e->flags & ENTRY_POINTER) return false;
    if (value.size > ENTRY_EMBED_BYTES_MAX) return false;
    size_t size = head_bytes(entry_key(e).size, deadline_ms) + value.size;
    if (!same_class(size, entry_bytes(e))) return false;
    shift_key(e, deadline_ms);
    e->type_encoding = pack_type(TYPE_STRING, encoding);
    e->value_size = (uint16_t)value.size;
    if (value.size) memcpy(entry_value_part(e), value.data, value.size);
    return true;
}

bool entry_change_deadline(struct entry *e, int64_t deadline_ms)
{
    size_t part = value_part_bytes(e);
    if (!same_class(head_bytes(entry_key(e).size, deadline_ms) + part, entry_bytes(e)))
        return false;
    const char *from = entry_value_part(e);
    if (deadline_ms && !entry_has_deadline(e)) { /* Upwards: the value first. */
        memmove(entry_value_part(e) + 8, from, part);
        shift_key(e, deadline_ms);
    } else {
        shift_key(e, deadline_ms);
        memmove(entry_value_part(e), from, part);
    }
    return true;
}

bool entry_resize_string(struct entry *e, size_t size)
{
    if (entry_encoding(e) == ENCODING_INT || e->flags & ENTRY_POINTER) return false;
    if (size > ENTRY_EMBED_BYTES_MAX) return false;
    size_t head = (size_t)(entry_value_part(e) - (char *)e);
    if (!same_class(head + size, entry_bytes(e))) return false;
    if (size > e->value_size) memset(entry_value_part(e) + e->value_size, 0, size - e->value_size);
    e->value_size = (uint16_t)size;
    entry_set_encoding(e, ENCODING_RAW);
    return true;
}

bool entry_try_grow_big_string(struct mem *mem, struct entry *e, size_t size)
{
    struct big_string b = entry_big_string(e);
    DCHECK(e->flags & ENTRY_POINTER && size >= b.size);
    if (size > b.capacity) {
        size_t capacity = capacity_for(size);
        char *data = mem_try_realloc(mem, b.data, b.capacity, capacity);
        if (!data) {
            capacity = size;
            data = mem_try_realloc(mem, b.data, b.capacity, size);
        }
        if (!data) return false;
        b.data = data;
        b.capacity = capacity;
    }
    memset(b.data + b.size, 0, size - b.size);
    b.size = size;
    entry_set_big_string(e, &b);
    return true;
}

/* ---- names ---- */

const char *encoding_name(enum encoding e)
{
    static const char *const names[ENCODING_COUNT] = {
        "raw",    "int",       "embstr",   "listpack", "quicklist",
        "intset", "hashtable", "skiplist", "stream",
    };
    CHECK(e < ENCODING_COUNT);
    return names[e];
}

const char *type_name(enum type t)
{
    static const char *const names[TYPE_COUNT] = {"string", "list", "set",
                                                  "zset",   "hash", "stream"};
    CHECK(t < TYPE_COUNT);
    return names[t];
}
