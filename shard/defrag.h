/* defrag.h: moves entries, and what is behind them, out of sparsely used slabs, so that whole slabs
 * become free and their pages go back to the system.
 *
 *     main thread: pages in use ÷ blocks in them ──▶ effort of a shard: 0, or percent of its CPU
 *     shard: a cycle over all keys, in slices; a block whose slab is emptier than others of its
 *            size moves to where the allocator fills up first
 *
 * Thread     [shard]; defrag_set_effort [main]; the counters: any thread may read them
 * Limits     A slice takes at most SHARD_SLICE_US, and `effort` percent of the CPU together. A big
 *            value (active-defrag-max-scan-fields) is worked off over several slices.
 * Order      Keys that a LOCKED command uses stay where they are. Nothing else outlives a request
 *            and points into a value.
 * Source     Redis has the idea and the parameters; the choice of slabs is ours (mem_is_sparse).
 */
#pragma once

#include "base/check.h"
#include "base/counter.h"

struct shard;

/* Values that one bucket of the table may have left over for later slices. */
#define DEFRAG_PENDING_MAX 32

struct defrag {
    /* ---- written by the main thread ---- */
    struct counter effort_percent; /* 0: there is nothing to gain */
    /* ---- of the shard ---- */
    uint64_t next_ns;
    uint32_t db;                          /* where the cycle is */
    uint64_t cursor;                      /* in that database's table */
    uint64_t value_cursor;                /* in the value that is being worked off */
    uint64_t pending[DEFRAG_PENDING_MAX]; /* hashes of big values; the last one is worked off */
    uint32_t pending_count;
    uint64_t cycle_hits; /* of this cycle */
    bool force;          /* every block is moved, sparse or not: for tests */
    /* Any thread may read these. */
    struct counter hits, misses;         /* blocks that moved, and that were looked at in vain */
    struct counter key_hits, key_misses; /* keys of which something moved, or nothing */
    struct counter cycles;
};

/* [main] What share of its CPU the shard may spend from now on. */
void defrag_set_effort(struct defrag *d, uint32_t percent);
/* One slice, if it is due at sh->now_ns. True if the next one is due already. */
bool defrag_step(struct shard *sh);
/* Monotonic ns; UINT64_MAX: never. */
uint64_t defrag_next_ns(const struct shard *sh);
