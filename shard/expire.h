/* expire.h: finds keys, and fields of hashes, whose deadline has passed, in bounded slices, so that
 * they go without being asked for.
 *
 * A sweep walks the marked slots of every database once, in the order of the scan cursor. A mark is
 * the second of the deadline modulo 15 (keyspace_deadline_mark), so a sweep touches only entries
 * whose second may have come since the sweep before it: a million keys with a TTL cost some ms. A
 * hash is marked by its next field, too; one with many due fields is worked off over several
 * slices, during which the sweep stays where it is.
 *
 * Thread     [shard]
 * Limits     A slice takes at most SHARD_SLICE_US. Slices of a sweep have 25 % of the CPU, with
 *            active-expire-effort 10 50 %. Between sweeps it rests 1/(hz * effort) of a second, or
 *            longer if at most 1/(4 * effort) of what was touched had expired: then so long that
 *            sweeps take 2 % * effort, but never over 1/effort of a second.
 * Order      Every key is gone with the first sweep that starts after its deadline, and so is every
 *            field.
 */
#pragma once

#include "shard/shard.h"

#define EXPIRE_EFFORT_MAX 10u

/* One slice, if it is due at sh->now_ns. Sets sh->expire_next_ns: when to call again; UINT64_MAX
 * while there is nothing that could expire. True if the next slice is due already. */
bool expire_step(struct shard *sh);
/* A deadline has been set: the sweeps go on if they had stopped. */
static inline void expire_wake(struct shard *sh)
{
    if (unlikely(sh->expire_next_ns == UINT64_MAX)) sh->expire_next_ns = sh->now_ns;
}
