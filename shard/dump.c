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
