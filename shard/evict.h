/* evict.h: keeps a shard within the memory that is lent to it, by evicting what is of least use.
 *
 * Before a request runs, one comparison tells whether the shard is over its limit. Then it borrows
 * more (base/budget.h), frees what waits to be freed, and evicts: a few keys are sampled into a
 * pool, and the best of the pool goes.
 *
 *     sample ─▶ pool: 16 candidates, by score ─▶ the highest score is dropped
 *
 * A shard that has nothing to evict owes the budget what it needs, and asks the others: whoever has
 * candidates evicts in the background until nothing is owed any more. Only when they have none
 * either, or do not come to it for EVICT_ASK_NS, or too much is owed, there is no room.
 *
 * Thread     [shard]; the loan and the counters as they say
 * Limits     A request waits for eviction at most as long as maxmemory-eviction-tenacity allows;
 *            what is over then goes in the background. A sample touches one bucket and the entries
 *            in it.
 * Errors     ERR_NO_MEM for commands that may need memory (CMD_DENY_OOM) when nothing can be
 *            evicted.
 * Source     Sampling with a pool is Redis's idea; ours samples whole buckets, whose entries arrive
 *            together.
 */
#pragma once

#include "base/budget.h"
#include "base/counter.h"
#include "shard/s3fifo.h"

struct entry;
struct request;
struct shard;

enum evict_policy {
    EVICT_NOTHING,
    EVICT_LRU,
    EVICT_LFU,
    EVICT_RANDOM,
    EVICT_TTL,
    EVICT_S3FIFO,
};

#define EVICT_CHUNK_BYTES_MIN 4096
#define EVICT_CHUNK_BYTES_MAX (1024 * 1024)
#define EVICT_ASK_NS 2000000000
/* At most this part of the budget is owed, which is what it may be exceeded by meanwhile; of a
 * small one that many bytes, but not more than another part. */
#define EVICT_OWED_PART 100
#define EVICT_OWED_BYTES_SMALL ((int64_t)4 * 1024 * 1024)
#define EVICT_OWED_PART_SMALL 8

struct evict {
    struct loan loan;
    uint64_t limit_bytes; /* UINT64_MAX: none */
    uint64_t chunk_bytes; /* what it borrows at a time */
    uint64_t tick_next_ns;
    uint64_t looked_ns; /* at what is used elsewhere */
    uint64_t cursor;    /* where the search for keys with a deadline goes on; 0: anywhere */
    uint64_t asked_ns,
        settled_then;      /* since when nothing has been paid, and how much was by then */
    uint64_t give_next_ns; /* not before: there is nothing to give */
    struct evict_pool pool;
    struct s3fifo s3fifo;
    /* Any thread may read these. */
    struct counter evicted_keys;
    struct counter exceeded_us;       /* how long it was over its limit */
    struct counter exceeded_since_us; /* monotonic; 0: it is not over it */
    struct counter coldest;           /* the score of the best candidate: the policy's own unit */
    struct counter is_full;           /* over the limit, and nothing to evict */
    struct counter gives_nothing;     /* was asked for memory, and had nothing to evict */
};

void evict_init(struct shard *sh, struct budget *budget);
void evict_deinit(struct shard *sh);
/* The configuration has changed: there is a limit, or none any more. */
void evict_apply_config(struct shard *sh);

/* Before a request, when the shard is over its limit. False: it may not run, for want of memory. */
bool evict_admit(struct shard *sh, const struct request *rq);
/* In the background, some times a second: evicts what is over, gives back what is not needed. True
 * if there is more. */
bool evict_step(struct shard *sh);
/* [any] Whether it might evict something when asked: it has keys of the kind that may go, and has
 * not just found that none can. */
bool evict_can_give(const struct shard *sh, bool is_volatile);
/* Monotonic ns; UINT64_MAX: never. */
uint64_t evict_next_ns(const struct shard *sh);
