/* evict_pool.h: candidates for eviction: sampling them, and keeping the best of them.
 *
 * Thread     [shard]
 * Limits     A sample touches the buckets and the entries in them, which arrive together. A pool
 *            keeps EVICT_POOL_SIZE candidates, by hash: an entry may be gone or used again by the
 *            time its turn comes.
 * Source     The pool is Redis's idea; whole buckets for samples are ours.
 */
#pragma once

#include "base/check.h"

struct entry;
struct shard;

#define EVICT_POOL_SIZE 16
#define EVICT_SAMPLES_MAX 64

struct evict_candidate {
    uint64_t score; /* the higher, the sooner it goes */
    uint64_t hash;
    uint32_t db;
};

/* Sorted by score: the best is the last. */
struct evict_pool {
    uint32_t count;
    struct evict_candidate candidates[EVICT_POOL_SIZE];
};

/* Unless it is there already, or worse than all of a full pool. */
void evict_pool_insert(struct evict_pool *pool, const struct evict_candidate *c);
/* The best; false when there is none. */
bool evict_pool_pop(struct evict_pool *pool, struct evict_candidate *out);

struct evict_sample {
    uint32_t count;
    struct entry *entries[EVICT_SAMPLES_MAX];
    uint64_t hashes[EVICT_SAMPLES_MAX];
};

/* Keys of one database that the policy may evict, not those that a LOCKED command uses. False if it
 * has none at all; true with a count of 0: try again. */
bool evict_sample(struct shard *sh, uint32_t db, struct evict_sample *out);
/* The candidate's entry, if it is still there and may go. */
struct entry *evict_candidate_entry(struct shard *sh, const struct evict_candidate *c);
