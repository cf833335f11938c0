/* s3fifo.h: the policy allkeys-s3fifo: two queues and a memory of what went, without links.
 *
 *     new keys ─▶ small (a tenth) ─┬─ used twice: ─▶ main ─┬─ used since: once more round
 *                                  └─ else: out, noted     └─ else: out
 *     a new key that is noted ───────────────────▶ main
 *
 * A key that is used once, as in a scan, passes through the small queue and pushes nothing out of
 * the main one. A queue is not a list: the access clock of an entry says in which it is, how often
 * it was used (up to 3), and when it entered, counted in insertions; sampling finds the oldest.
 *
 *     clock of an entry:  | queue 1 | uses 2 | insertion / 16: 25 bits |
 *
 * Thread     [shard]
 * Limits     The notes take 4 bytes for each key of the shard, in buckets of 8; they forget in
 *            order of age.
 * Source     Yang, Zhang, Qiu, Yue and Rashmi: FIFO queues are all you need for cache eviction,
 *            SOSP 2023. Sampling in place of the queues is ours.
 */
#pragma once

#include "shard/evict_pool.h"

struct s3fifo {
    uint64_t inserted; /* keys that entered a queue: the clock */
    uint64_t noted;    /* keys that were written down */
    uint32_t *notes;   /* NULL until something goes; | fingerprint 16 | age 16 | */
    uint64_t note_count;
    uint32_t small_share; /* of the keys that were sampled lately, in 1/65536 */
    struct evict_pool small, main;
};

void s3fifo_deinit(struct shard *sh);
/* A new key enters. */
void s3fifo_enter(struct shard *sh, struct entry *e, uint64_t hash);
/* It is used. */
void s3fifo_touch(struct entry *e);
enum evicted { EVICTED, EVICTED_NOTHING_YET, EVICTED_NOTHING };
/* One key goes. */
enum evicted s3fifo_evict_one(struct shard *sh);
