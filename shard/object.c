#include "shard/object.h"

#include "base/text.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/zset.h"

/* ---- the types; a row is added with its module ---- */

const struct type_ops *object_ops(enum type type)
{
    static const struct type_ops *const ops[TYPE_COUNT] = {
        [TYPE_STRING] = NULL, /* the entry holds all of it */
        [TYPE_LIST] = &list_ops, [TYPE_HASH] = &hash_ops,     [TYPE_SET] = &set_ops,
        [TYPE_ZSET] = &zset_ops, [TYPE_STREAM] = &stream_ops,
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

void object_defrag(struct defrag_walk *w, struct entry *e)
{
    if (entry_type(e) != TYPE_STRING) {
        const struct type_ops *ops = collection_ops(entry_type(e));
        entry_set_root(e, ops->defrag(w, entry_root(e), entry_encoding(e)));
        return;
    }
    w->cursor = 0;
    if (!(e->flags & ENTRY_POINTER)) return;
    struct big_string b = entry_big_string(e);
    b.data = defrag_block(w, b.data, b.capacity);
    entry_set_big_string(e, &b);
}

struct entry *object_defrag_string(struct defrag_walk *w, struct entry *e)
{
    e = entry_defrag(w, e);
    object_defrag(w, e);
    return e;
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
    if (copy) entry_set_clock(copy, entry_clock(e));
    return copy;
}

bool object_prefetch_member(struct value_prefetch *p, unsigned step, const struct dict *members,
                            struct bytes member)
{
    if (step == 0) {
        p->hash = bytes_hash(member, members->seed);
        __builtin_prefetch(members->directory);
        return true;
    }
    if (step == 1) {
        dict_prefetch_bucket(members, p->hash);
        return true;
    }
    dict_prefetch_entry(members, p->hash);
    return false;
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

/* ---- the serialised form ---- */

bool object_try_freeze(const struct entry *e, struct rdb_writer *out)
{
    enum encoding encoding = entry_encoding(e);
    if (entry_type(e) != TYPE_STRING) {
        return collection_ops(entry_type(e))->freeze(entry_root(e), encoding, out);
    }
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes text = entry_string(e, scratch);
    int64_t integer;
    bool is_plain = object_string_encoding(text, &integer) == encoding;
    uint8_t type = (uint8_t)(is_plain ? RDB_TYPE_STRING : OBJECT_FROZEN_STRING + encoding);
    return rdb_try_append_type(out, type) && rdb_try_append_string(out, text);
}

static struct entry *thaw_string(struct mem *mem, struct bytes *in, struct bytes key,
                                 int64_t deadline_ms)
{
    struct rdb_string text;
    if (!rdb_take_string(mem, in, &text)) return NULL;
    struct entry *e = object_try_make_string(mem, key, text.text, deadline_ms);
    rdb_string_free(mem, &text);
    return e;
}

/* A string with an encoding that its text would not get by itself. */
static struct entry *thaw_encoded(struct mem *mem, struct bytes *in, struct bytes key,
                                  enum encoding encoding, int64_t deadline_ms)
{
    uint64_t length;
    struct bytes text;
    if (!rdb_take_length(in, &length) || !rdb_take(in, length, &text)) return NULL;
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
    if (!rdb_take(&frozen, 1, &type_byte)) return NULL;
    uint8_t rdb_type = (uint8_t)type_byte.data[0];
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
