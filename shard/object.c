#include "shard/object.h"

#include "base/text.h"

/* ---- the types; a row is added with its module ---- */

const struct type_ops *object_ops(enum type type)
{
    static const struct type_ops *const ops[TYPE_COUNT] = {
        [TYPE_STRING] = NULL, /* the entry holds all of it */
    };
    CHECK(type < TYPE_COUNT);
    return ops[type];
}

static const struct type_ops *collection_ops(enum type type)
{
    const struct type_ops *ops = object_ops(type);
    CHECK(ops);
    return ops;
}

/* ---- freeing, measuring, copying ---- */

void object_free_root(struct mem *mem, enum type type, enum encoding encoding, void *root)
{
    const struct type_ops *ops = collection_ops(type);
    while (!ops->free_some(mem, root, encoding, UINT64_MAX)) {
    }
}

void object_free(struct mem *mem, struct entry *e)
{
    if (likely(entry_type(e) == TYPE_STRING)) {
        entry_free_string(mem, e);
        return;
    }
    object_free_root(mem, entry_type(e), entry_encoding(e), entry_root(e));
    entry_free_shell(mem, e);
}

uint64_t object_effort(const struct entry *e)
{
    if (likely(entry_type(e) == TYPE_STRING)) return 1;
    return collection_ops(entry_type(e))->effort(entry_root(e), entry_encoding(e));
}

uint64_t object_bytes(const struct entry *e, uint64_t samples)
{
    uint64_t own = mem_class_bytes(entry_bytes(e));
    if (entry_type(e) != TYPE_STRING) {
        return own +
               collection_ops(entry_type(e))->bytes(entry_root(e), entry_encoding(e), samples);
    }
    if (!(e->flags & ENTRY_POINTER)) return own;
    return own + mem_class_bytes(entry_big_string(e).capacity);
}

static void set_clock(struct entry *e, const struct entry *from)
{
    memcpy(e->clock, from->clock, sizeof e->clock);
}

struct entry *object_try_copy(struct mem *mem, const struct entry *e, struct bytes key,
                              int64_t deadline_ms)
{
    enum type type = entry_type(e);
    enum encoding encoding = entry_encoding(e);
    struct entry *copy = NULL;
    if (encoding == ENCODING_INT) {
        int64_t value = entry_integer(e);
        copy = entry_try_make_string(mem, key, bytes_make(&value, sizeof value), encoding,
                                     deadline_ms);
    } else if (type == TYPE_STRING) {
        copy = entry_try_make_string(mem, key, entry_string(e, NULL), encoding, deadline_ms);
    } else {
        void *root = collection_ops(type)->copy(mem, entry_root(e), encoding);
        if (!root) return NULL;
        copy = entry_try_make_object(mem, key, type, encoding, root, deadline_ms);
        if (!copy) object_free_root(mem, type, encoding, root);
    }
    if (copy) set_clock(copy, e);
    return copy;
}

/* ---- strings ---- */

enum encoding object_string_encoding(struct bytes value, int64_t *integer)
{
    if (value.size <= TEXT_I64_BYTES_MAX && text_to_i64(value, integer)) return ENCODING_INT;
    return value.size <= ENTRY_EMBSTR_BYTES_MAX ? ENCODING_EMBSTR : ENCODING_RAW;
}

struct entry *object_try_make_string(struct mem *mem, struct bytes key, struct bytes value,
                                     int64_t deadline_ms)
{
    int64_t integer;
    enum encoding encoding = object_string_encoding(value, &integer);
    if (encoding == ENCODING_INT) value = bytes_make(&integer, sizeof integer);
    return entry_try_make_string(mem, key, value, encoding, deadline_ms);
}

/* ---- the serialised form of a string: RDB length prefixes, integers, LZF ---- */

#define RDB_TYPE_STRING 0

enum {
    RDB_LENGTH_6,
    RDB_LENGTH_14,
    RDB_LENGTH_LONG,
    RDB_LENGTH_SPECIAL
}; /* top 2 bits of a byte */
enum { RDB_LENGTH_32 = 0x80, RDB_LENGTH_64 = 0x81 };
enum { RDB_INT8 = 0xc0, RDB_INT16, RDB_INT32, RDB_LZF };

static size_t put_big_endian(char *out, uint64_t value, unsigned byte_count)
{
    for (unsigned i = 0; i < byte_count; i++) out[i] = (char)(value >> (8 * (byte_count - 1 - i)));
    return byte_count;
}

static size_t put_length(char *out, uint64_t size)
{
    if (size < 1 << 6) return put_big_endian(out, size, 1);
    if (size < 1 << 14) return put_big_endian(out, 0x4000 | size, 2);
    bool is_long = size > UINT32_MAX;
    out[0] = (char)(is_long ? RDB_LENGTH_64 : RDB_LENGTH_32);
    return 1 + put_big_endian(out + 1, size, is_long ? 8 : 4);
}

/* Integers of up to 32 bits have forms of their own; larger ones are text. */
static size_t put_integer(char *out, int64_t value)
{
    unsigned form = value == (int8_t)value ? 0 : value == (int16_t)value ? 1 : 2;
    out[0] = (char)(RDB_INT8 + form);
    uint64_t bits = (uint64_t)value;
    for (unsigned i = 0; i < 1u << form; i++) out[1 + i] = (char)(bits >> (8 * i));
    return 1 + (1u << form);
}

bool object_try_freeze(const struct entry *e, struct buf *out)
{
    enum encoding encoding = entry_encoding(e);
    if (entry_type(e) != TYPE_STRING) {
        return collection_ops(entry_type(e))->freeze(entry_root(e), encoding, out);
    }
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes text = entry_string(e, scratch);
    int64_t integer;
    bool is_plain = object_string_encoding(text, &integer) == encoding;
    char *p = buf_try_reserve(out, 16 + text.size);
    if (!p) return false;
    const char *start = p;
    *p++ = (char)(is_plain ? RDB_TYPE_STRING : OBJECT_FROZEN_STRING + encoding);
    if (encoding == ENCODING_INT && entry_integer(e) == (int32_t)entry_integer(e)) {
        p += put_integer(p, entry_integer(e));
    } else {
        p += put_length(p, text.size);
        if (text.size) memcpy(p, text.data, text.size);
        p += text.size;
    }
    out->size += (size_t)(p - start);
    return true;
}

/* The next `size` bytes of `in`, taken off; false if it has fewer. */
static bool take(struct bytes *in, uint64_t size, struct bytes *out)
{
    if (in->size < size) return false;
    *out = bytes_make(in->data, size);
    *in = bytes_make(in->data + size, in->size - size);
    return true;
}

static uint8_t byte_at(struct bytes b, size_t i)
{
    return (uint8_t)b.data[i];
}

static uint64_t big_endian(struct bytes b)
{
    uint64_t value = 0;
    for (size_t i = 0; i < b.size; i++) value = value << 8 | byte_at(b, i);
    return value;
}

/* A length, or with `*special` the form of what follows. */
static bool take_length(struct bytes *in, uint64_t *length, bool *special)
{
    struct bytes b;
    if (!take(in, 1, &b)) return false;
    uint8_t first = byte_at(b, 0);
    *special = first >> 6 == RDB_LENGTH_SPECIAL;
    *length = *special ? first : first & 0x3f;
    if (*special || first >> 6 == RDB_LENGTH_6) return true;
    if (first >> 6 == RDB_LENGTH_14) {
        if (!take(in, 1, &b)) return false;
        *length = *length << 8 | byte_at(b, 0);
        return true;
    }
    if (first != RDB_LENGTH_32 && first != RDB_LENGTH_64) return false;
    if (!take(in, first == RDB_LENGTH_32 ? 4 : 8, &b)) return false;
    *length = big_endian(b);
    return true;
}

/* Little endian, signed. */
static bool take_integer(struct bytes *in, unsigned byte_count, int64_t *out)
{
    struct bytes b;
    if (!take(in, byte_count, &b)) return false;
    uint64_t bits = 0;
    for (unsigned i = 0; i < byte_count; i++) bits |= (uint64_t)byte_at(b, i) << (8 * i);
    *out = (int64_t)(bits << (64 - 8 * byte_count)) >> (64 - 8 * byte_count);
    return true;
}

/* LZF: a control byte below 32 starts that many + 1 literal bytes, others a repetition of earlier
 * output. True if exactly out_size bytes come out. */
static bool lzf_decompress(struct bytes in, char *out, size_t out_size)
{
    size_t n = 0;
    struct bytes b;
    while (in.size) {
        if (!take(&in, 1, &b)) return false;
        size_t control = byte_at(b, 0);
        if (control < 32) {
            if (!take(&in, control + 1, &b) || out_size - n < b.size) return false;
            memcpy(out + n, b.data, b.size);
            n += b.size;
            continue;
        }
        size_t count = control >> 5;
        if (count == 7) {
            if (!take(&in, 1, &b)) return false;
            count += byte_at(b, 0);
        }
        if (!take(&in, 1, &b)) return false;
        size_t distance = ((control & 31) << 8 | byte_at(b, 0)) + 1;
        count += 2;
        if (distance > n || out_size - n < count) return false;
        for (size_t i = 0; i < count; i++, n++) out[n] = out[n - distance];
    }
    return n == out_size;
}

static struct entry *thaw_lzf(struct mem *mem, struct bytes *in, struct bytes key,
                              int64_t deadline_ms)
{
    uint64_t packed_size, size;
    bool special_packed, special;
    struct bytes packed;
    if (!take_length(in, &packed_size, &special_packed) || special_packed) return NULL;
    if (!take_length(in, &size, &special) || special) return NULL;
    /* Three bytes give at most 264: a claim beyond that reserves nothing. */
    if (!take(in, packed_size, &packed) || size == 0 || size > packed_size * 264) return NULL;
    char *text = mem_try_alloc(mem, size);
    if (!text) return NULL;
    struct entry *e = NULL;
    if (lzf_decompress(packed, text, size)) {
        e = object_try_make_string(mem, key, bytes_make(text, size), deadline_ms);
    }
    mem_free(mem, text, size);
    return e;
}

static struct entry *thaw_string(struct mem *mem, struct bytes *in, struct bytes key,
                                 int64_t deadline_ms)
{
    uint64_t length;
    bool special;
    if (!take_length(in, &length, &special)) return NULL;
    if (special && length == RDB_LZF) return thaw_lzf(mem, in, key, deadline_ms);
    if (special) {
        int64_t value;
        if (length > RDB_INT32 || !take_integer(in, 1u << (length - RDB_INT8), &value)) return NULL;
        return entry_try_make_string(mem, key, bytes_make(&value, sizeof value), ENCODING_INT,
                                     deadline_ms);
    }
    struct bytes text;
    if (!take(in, length, &text)) return NULL;
    return object_try_make_string(mem, key, text, deadline_ms);
}

/* A string with an encoding that its text would not get by itself. */
static struct entry *thaw_encoded(struct mem *mem, struct bytes *in, struct bytes key,
                                  enum encoding encoding, int64_t deadline_ms)
{
    uint64_t length;
    bool special;
    struct bytes text;
    if (!take_length(in, &length, &special) || special || !take(in, length, &text)) return NULL;
    if (encoding == ENCODING_EMBSTR && text.size > ENTRY_EMBSTR_BYTES_MAX) return NULL;
    return entry_try_make_string(mem, key, text, encoding, deadline_ms);
}

/* A collection, by the first type that knows the type byte. */
static struct entry *thaw_collection(struct mem *mem, uint8_t rdb_type, struct bytes *in,
                                     struct bytes key, int64_t deadline_ms)
{
    for (enum type t = TYPE_STRING; t < TYPE_COUNT; t++) {
        const struct type_ops *ops = object_ops(t);
        if (!ops) continue;
        enum encoding encoding;
        struct bytes rest = *in;
        void *root = ops->thaw(mem, rdb_type, &rest, &encoding);
        if (!root) continue;
        *in = rest;
        struct entry *e = entry_try_make_object(mem, key, t, encoding, root, deadline_ms);
        if (!e) object_free_root(mem, t, encoding, root);
        return e;
    }
    return NULL;
}

struct entry *object_try_thaw(struct mem *mem, struct bytes frozen, struct bytes key,
                              int64_t deadline_ms)
{
    struct bytes type_byte;
    if (!take(&frozen, 1, &type_byte)) return NULL;
    uint8_t rdb_type = byte_at(type_byte, 0);
    struct entry *e;
    if (rdb_type == RDB_TYPE_STRING) {
        e = thaw_string(mem, &frozen, key, deadline_ms);
    } else if (rdb_type == OBJECT_FROZEN_STRING + ENCODING_RAW ||
               rdb_type == OBJECT_FROZEN_STRING + ENCODING_EMBSTR) {
        enum encoding encoding = (enum encoding)(rdb_type - OBJECT_FROZEN_STRING);
        e = thaw_encoded(mem, &frozen, key, encoding, deadline_ms);
    } else {
        e = thaw_collection(mem, rdb_type, &frozen, key, deadline_ms);
    }
    if (!e || frozen.size == 0) return e;
    object_free(mem, e); /* Something follows that does not belong there. */
    return NULL;
}
