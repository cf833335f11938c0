/* slice.h: the keys that one of `shard_count` shards holds: what a FLUSHDB or SWAPDB in the log of
 * a shard concerns, when there may be another number of shards now.
 *
 *     hash of a key (low 16 bits)  0 ──────────────────────────────── 65535
 *     slice 1 of 3                               ├─────────┤
 *     shards now                     ├── 0 ──┤── 1 ──┤── 2 ──┤── 3 ──┤
 *
 * Thread     [shard]
 * Errors     ERR_ALLOC: a part may have been done.
 */
#pragma once

#include "base/bytes.h"
#include "base/err.h"

struct shard;

struct slice {
    uint16_t shard, shard_count;
};

/* Deletes its keys from this shard, in one database. */
void slice_flush(struct shard *sh, struct slice s, uint32_t db);
/* Exchanges its keys of two databases, as far as they are on this shard. */
MUST_USE enum err slice_swap(struct shard *sh, struct slice s, uint32_t db_a, uint32_t db_b);
