/* dump.h: DUMP payloads: one value as bytes that any server of Redis's family reads.
 *
 *     ┌──────┬───────────────────┬──────────────────┬─────────────────────────┐
 *     │ type │ value, as in RDB  │ RDB version      │ CRC-64 of all before it │
 *     │ 1    │                   │ 2, little endian │ 8, little endian        │
 *     └──────┴───────────────────┴──────────────────┴─────────────────────────┘
 *     The version is 10, so that Redis 7.0 reads it; 12 for a hash whose fields have deadlines,
 *     which only Redis 7.4 knows.
 *
 * Thread     [shard]
 * Errors     A payload may come from anybody: what is not right in every detail is refused, and
 *            reserves no more than it really holds.
 * Source     Documentation of DUMP and RESTORE; checked against redis-server in both directions.
 */
#pragma once

#include "shard/object.h"

#define DUMP_FOOTER_BYTES 10

/* Appends the payload of a value; false when there is no memory. `compress` as rdbcompression. */
MUST_USE bool dump_try_append(const struct entry *e, bool compress, struct buf *out);
/* Closes what stands in `out` from `start` on with version and checksum; false when there is no
 * memory. */
MUST_USE bool dump_try_seal(struct buf *out, size_t start, uint16_t version);
/* Whether the version is one that we know and the checksum is right; `*value` is all before them.
 */
MUST_USE bool dump_is_intact(struct bytes payload, struct bytes *value);
/* The same without a look at the checksum. */
MUST_USE bool dump_is_known(struct bytes payload, struct bytes *value);
/* An entry of that value; NULL if it is malformed, or there is no memory. A hash is without the
 * fields whose deadline has passed at `now_ms`: maybe it has none left. */
MUST_USE struct entry *dump_try_read(struct mem *mem, struct bytes value, struct bytes key,
                                     int64_t deadline_ms, int64_t now_ms);
/* A collection without elements, which no server makes any more, and dump_try_read refuses. */
bool dump_is_empty(struct mem *mem, struct bytes value);
