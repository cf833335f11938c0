#include "shard/dump.h"

#include "persist/crc64.h"
#include "shard/type/hash.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the footer is written as it is");

/* ---- writing ---- */

bool dump_try_seal(struct buf *out, size_t start, uint16_t version)
{
    char *p = buf_try_reserve(out, DUMP_FOOTER_BYTES);
    if (!p) return false;
    memcpy(p, &version, sizeof version);
    out->size += sizeof version;
    uint64_t crc = crc64(0, bytes_make(out->data + start, out->size - start));
    memcpy(p + sizeof version, &crc, sizeof crc);
    out->size += sizeof crc;
    return true;
}

bool dump_try_append(const struct entry *e, bool compress, struct buf *out)
{
    size_t start = out->size;
    struct rdb_writer writer = {
        .out = out,
        .packing = compress ? RDB_PACK_ALL : RDB_PACK_INTEGERS,
    };
    bool done = object_try_freeze(e, &writer);
    rdb_writer_deinit(&writer);
    if (!done) return false;
    uint8_t type = object_plain_type((uint8_t)out->data[start]);
    out->data[start] = (char)type;
    bool is_new = type == RDB_TYPE_HASH_METADATA;
    return dump_try_seal(out, start, is_new ? RDB_VERSION_HASH_DEADLINES : RDB_VERSION);
}

/* ---- reading ---- */

bool dump_is_known(struct bytes payload, struct bytes *value)
{
    if (payload.size < DUMP_FOOTER_BYTES) return false;
    size_t size = payload.size - DUMP_FOOTER_BYTES;
    uint16_t version;
    memcpy(&version, payload.data + size, sizeof version);
    if (version > RDB_VERSION_MAX) return false;
    *value = bytes_make(payload.data, size);
    return true;
}

bool dump_is_intact(struct bytes payload, struct bytes *value)
{
    struct bytes known;
    uint64_t crc;
    if (!dump_is_known(payload, &known)) return false;
    size_t checked = known.size + sizeof(uint16_t); /* the version, too */
    memcpy(&crc, payload.data + checked, sizeof crc);
    if (crc != crc64(0, bytes_make(payload.data, checked))) return false;
    *value = known;
    return true;
}

struct entry *dump_try_read(struct mem *mem, struct bytes value, struct bytes key,
                            int64_t deadline_ms, int64_t now_ms)
{
    uint8_t type = value.size > 0 ? (uint8_t)value.data[0] : 0;
    if (type != object_plain_type(type)) return NULL;
    struct entry *e = object_try_thaw(mem, value, key, deadline_ms);
    if (!e || entry_type(e) != TYPE_HASH) return e;
    struct hash h = hash_of(e);
    hash_drop_expired(mem, &h, now_ms, NULL);
    hash_store(e, &h);
    return e;
}

/* ---- empty collections ---- */

#define QUICKLIST_2_PACKED 2

/* What an empty one looks like, from end to end. */
static bool is_empty_ziplist(struct bytes blob)
{
    static const char empty[] = {11, 0, 0, 0, 10, 0, 0, 0, 0, 0, (char)0xff};
    return bytes_equal(blob, bytes_make(empty, sizeof empty));
}

static bool is_empty_listpack(struct bytes blob)
{
    static const char empty[] = {7, 0, 0, 0, 0, 0, (char)0xff};
    return bytes_equal(blob, bytes_make(empty, sizeof empty));
}

static bool is_empty_zipmap(struct bytes blob)
{
    static const char empty[] = {0, (char)0xff};
    return bytes_equal(blob, bytes_make(empty, sizeof empty));
}

/* The width of its elements does not matter. */
static bool is_empty_intset(struct bytes blob)
{
    static const char no_elements[4] = {0};
    return blob.size == 8 && memcmp(blob.data + 4, no_elements, sizeof no_elements) == 0;
}

static bool take_empty(struct mem *mem, struct bytes *in, bool (*is_empty)(struct bytes blob))
{
    struct rdb_string blob;
    if (!rdb_take_string(mem, in, &blob)) return false;
    bool result = is_empty(blob.text);
    rdb_string_free(mem, &blob);
    return result;
}

static bool take_empty_nodes(struct mem *mem, struct bytes *in, bool is_listpack)
{
    uint64_t count, container;
    if (!rdb_take_length(in, &count)) return false;
    for (uint64_t i = 0; i < count; i++) {
        if (is_listpack && (!rdb_take_length(in, &container) || container != QUICKLIST_2_PACKED))
            return false;
        if (!take_empty(mem, in, is_listpack ? is_empty_listpack : is_empty_ziplist)) return false;
    }
    return true;
}

static bool take_empty_value(struct mem *mem, uint8_t type, struct bytes *in)
{
    uint64_t count;
    switch (type) {
    case RDB_TYPE_LIST:
    case RDB_TYPE_SET:
    case RDB_TYPE_ZSET:
    case RDB_TYPE_ZSET_2:
    case RDB_TYPE_HASH:
        return rdb_take_length(in, &count) && count == 0;
    case RDB_TYPE_LIST_ZIPLIST:
    case RDB_TYPE_ZSET_ZIPLIST:
    case RDB_TYPE_HASH_ZIPLIST:
        return take_empty(mem, in, is_empty_ziplist);
    case RDB_TYPE_SET_LISTPACK:
    case RDB_TYPE_ZSET_LISTPACK:
    case RDB_TYPE_HASH_LISTPACK:
        return take_empty(mem, in, is_empty_listpack);
    case RDB_TYPE_HASH_ZIPMAP:
        return take_empty(mem, in, is_empty_zipmap);
    case RDB_TYPE_SET_INTSET:
        return take_empty(mem, in, is_empty_intset);
    case RDB_TYPE_LIST_QUICKLIST:
    case RDB_TYPE_LIST_QUICKLIST_2:
        return take_empty_nodes(mem, in, type == RDB_TYPE_LIST_QUICKLIST_2);
    default:
        return false;
    }
}

bool dump_is_empty(struct mem *mem, struct bytes value)
{
    struct bytes type;
    return rdb_take(&value, 1, &type) && take_empty_value(mem, (uint8_t)type.data[0], &value) &&
           value.size == 0;
}
