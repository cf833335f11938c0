/* segment.h: what a file of the append-only log looks like, byte by byte.
 *
 *     header, 64 bytes
 *      0  magic "SHOALAOF"
 *      8  version u32
 *     12  crc u32
 *     16  uuid
 *     32  first_lsn u64      of its records
 *     40  covered_lsn u64    of a base
 *     48  generation u32
 *     52  shard u16
 *     54  kind u8
 *     55  zeros
 *     64  records
 *
 *     record, at a multiple of 8
 *      0  size u32           of its header and payload; 0: the end
 *      4  crc u32
 *      8  lsn u64            dense within a shard
 *     16  type u8
 *     17  db u24
 *     20  part_count u16     1: a shard alone
 *     22  part u16
 *     24  txid u64           position of the commit turn; 0: a shard alone
 *     32  payload, then zeros up to a multiple of 8
 *
 * All numbers are little endian. A crc covers everything but itself; that of a record is seeded
 * with the file's uuid and the offset of the record, so that a block which is stale, or stands in
 * the wrong place, never passes.
 *
 * A *segment* holds the effects of one shard. A *base* holds, in the same records, numbered from 1,
 * the whole state of one shard up to covered_lsn, and ends with SEGMENT_END.
 *
 * A *mark* says up to which lsn the shard knew its records to be durable when it was written, and
 * below which txid every part of every transaction is durable on all shards. So damage that lies
 * before what a later mark vouches for is corruption; any other damage is a torn tail, as every
 * crash may leave one.
 *
 * Thread     any; pure functions.
 * Limits     A record is smaller than 4 GiB.
 */
#pragma once

#include "base/bytes.h"

#define SEGMENT_MAGIC "SHOALAOF"
#define SEGMENT_VERSION 1
#define SEGMENT_HEADER_BYTES 64
#define SEGMENT_RECORD_BYTES 32 /* without a payload */
#define SEGMENT_RECORD_BYTES_MAX (UINT32_MAX - 7)
#define SEGMENT_ALIGNMENT 8
#define SEGMENT_DB_MAX 0xffffff

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they are");

struct segment_uuid {
    uint8_t bytes[16];
};

enum segment_kind { SEGMENT_KIND_EFFECTS = 1, SEGMENT_KIND_BASE = 2 };

struct segment_header {
    char magic[8];
    uint32_t version;
    uint32_t crc;
    struct segment_uuid uuid;
    uint64_t first_lsn;
    uint64_t covered_lsn;
    uint32_t generation;
    uint16_t shard;
    uint8_t kind;
    uint8_t zeros[9];
};
_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_BYTES, "as drawn");
_Static_assert(offsetof(struct segment_header, crc) == 12, "as drawn");
_Static_assert(offsetof(struct segment_header, uuid) == 16, "as drawn");
_Static_assert(offsetof(struct segment_header, first_lsn) == 32, "as drawn");
_Static_assert(offsetof(struct segment_header, generation) == 48, "as drawn");
_Static_assert(offsetof(struct segment_header, kind) == 54, "as drawn");

enum segment_type {
    SEGMENT_EFFECTS = 1, /* RESP commands */
    SEGMENT_MARK = 2,    /* struct segment_mark */
    SEGMENT_END = 3,     /* of a base */
};

struct segment_record {
    uint32_t size;
    uint32_t crc;
    uint64_t lsn;
    uint8_t type;
    uint8_t db[3];
    uint16_t part_count;
    uint16_t part;
    uint64_t txid;
};
_Static_assert(sizeof(struct segment_record) == SEGMENT_RECORD_BYTES, "as drawn");
_Static_assert(offsetof(struct segment_record, crc) == 4, "as drawn");
_Static_assert(offsetof(struct segment_record, lsn) == 8, "as drawn");
_Static_assert(offsetof(struct segment_record, type) == 16, "as drawn");
_Static_assert(offsetof(struct segment_record, part_count) == 20, "as drawn");
_Static_assert(offsetof(struct segment_record, txid) == 24, "as drawn");

struct segment_mark {
    uint64_t durable_lsn;   /* of this shard */
    uint64_t resolved_txid; /* below it everything is durable everywhere */
};
_Static_assert(sizeof(struct segment_mark) == 16, "two words");

static inline uint64_t segment_padded(uint64_t size)
{
    return (size + SEGMENT_ALIGNMENT - 1) & ~(uint64_t)(SEGMENT_ALIGNMENT - 1);
}

static inline uint32_t segment_db(const struct segment_record *r)
{
    return r->db[0] | (uint32_t)r->db[1] << 8 | (uint32_t)r->db[2] << 16;
}

static inline void segment_set_db(struct segment_record *r, uint32_t db)
{
    r->db[0] = (uint8_t)db;
    r->db[1] = (uint8_t)(db >> 8);
    r->db[2] = (uint8_t)(db >> 16);
}

static inline bool segment_uuid_equal(const struct segment_uuid *a, const struct segment_uuid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Fills in magic, version and crc. */
void segment_header_seal(struct segment_header *h);
/* NULL, or a phrase that says what is wrong. */
const char *segment_header_fault(const struct segment_header *h);

/* The crc of a record's header; crc32c goes on with its payload. */
uint32_t segment_record_crc(const struct segment_uuid *uuid, uint64_t offset,
                            const struct segment_record *r);
/* Whether its fields make sense, without a look at the crc. */
bool segment_record_is_sane(const struct segment_record *r);
