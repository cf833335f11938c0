#include "shard/evict.h"

#include "base/command.h"
#include "base/env.h"
#include "shard/lazyfree.h"
#include "shard/shard.h"

#define TICK_NS 100000000ULL
/* Evictions between two looks at the clock. */
#define ROUND_KEYS 16
/* Bounds a round where the clock stands still, as in the simulator. */
#define ROUNDS_MAX 4096
/* Between two measurements of what is used elsewhere. */
#define LOOK_NS 1000000
/* What a shard may keep beyond what it uses, in chunks. */
#define SLACK_CHUNKS 2

void evict_init(struct shard *sh, struct budget *budget)
{
    sh->evict = (struct evict){.loan = {.budget = budget}, .limit_bytes = UINT64_MAX};
}

void evict_deinit(struct shard *sh)
{
    s3fifo_deinit(sh);
}

/* Keeps the time during which requests run although the shard is over its limit. */
static void note_exceeding(struct shard *sh, bool exceeds)
{
    struct evict *ev = &sh->evict;
    uint64_t since_us = counter_read(&ev->exceeded_since_us);
    if (likely(exceeds == (since_us != 0))) return;
    uint64_t now_us = env_now_ns() / 1000;
    if (!exceeds) counter_add(&ev->exceeded_us, now_us - since_us);
    counter_set(&ev->exceeded_since_us, exceeds ? MAX(now_us, 1u) : 0);
}

void evict_apply_config(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    uint64_t total = sh->config->maxmemory_bytes;
    ev->pool.count = 0;
    if (!ev->loan.budget || total == 0) {
        if (ev->loan.budget) loan_repay(&ev->loan, 0);
        ev->limit_bytes = UINT64_MAX;
        counter_set(&ev->is_full, 0);
        note_exceeding(sh, false);
        return;
    }
    uint64_t chunk = total / (256ULL * sh->shard_count);
    ev->chunk_bytes = MAX(MIN(chunk, EVICT_CHUNK_BYTES_MAX), EVICT_CHUNK_BYTES_MIN);
    ev->limit_bytes = loan_bytes(&ev->loan);
    ev->tick_next_ns = 0;
}

/* ---- candidates ---- */

/* The higher, the sooner it goes. Of a random policy: a candidate stays one. */
static uint64_t score_of(const struct shard *sh, const struct entry *e)
{
    switch (sh->config->evict_policy) {
    case EVICT_LRU:
        return keyspace_idle_ticks(sh, e);
    case EVICT_LFU:
        return UINT8_MAX - keyspace_frequency(sh, e);
    case EVICT_TTL:
        return UINT64_MAX - (uint64_t)entry_deadline_ms(e);
    case EVICT_S3FIFO:
    case EVICT_RANDOM:
    case EVICT_NOTHING:
        break;
    }
    return UINT64_MAX;
}

static void pool_database(struct shard *sh, uint32_t db, const struct evict_sample *s)
{
    bool is_random = sh->config->evict_policy == EVICT_RANDOM;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t score = is_random ? shard_random(sh) : score_of(sh, s->entries[i]);
        struct evict_candidate c = {.score = score, .hash = s->hashes[i], .db = db};
        evict_pool_insert(&sh->evict.pool, &c);
    }
}

/* False: no database has a key that may go. */
static bool sample_databases(struct shard *sh)
{
    struct evict_pool *pool = &sh->evict.pool;
    bool any = false;
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        struct evict_sample s;
        if (!evict_sample(sh, db, &s)) continue;
        pool_database(sh, db, &s);
        any = true;
    }
    if (pool->count) counter_set(&sh->evict.coldest, pool->candidates[pool->count - 1].score);
    return any;
}

/* ---- evicting ---- */

static enum evicted evict_one(struct shard *sh)
{
    if (sh->config->evict_policy == EVICT_S3FIFO) return s3fifo_evict_one(sh);
    if (!sample_databases(sh)) return EVICTED_NOTHING;
    struct evict_candidate c;
    while (evict_pool_pop(&sh->evict.pool, &c)) {
        struct entry *e = evict_candidate_entry(sh, &c);
        if (!e || score_of(sh, e) < c.score) continue; /* gone, or used again */
        uint64_t started = span_event_start(sh);
        keyspace_drop_evicted(sh, c.db, c.hash, e);
        span_event_end(sh, "eviction-del", started);
        return EVICTED;
    }
    return EVICTED_NOTHING_YET;
}

/* ---- making room ---- */

enum room { ROOM_MADE, ROOM_LATER, ROOM_NONE };

/* Without messages to clients: an evicted key may be told to many, and what that takes must not
 * evict the next one. */
static uint64_t used_bytes(const struct shard *sh)
{
    return mem_live_bytes(&sh->mem) - channels_feed_bytes(sh);
}

static bool borrow(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    uint64_t lent = loan_bytes(&ev->loan), used = used_bytes(sh);
    uint64_t missing = used > lent ? used - lent : 0;
    uint64_t got = loan_borrow(&ev->loan, MAX(missing, ev->chunk_bytes));
    ev->limit_bytes = loan_bytes(&ev->loan);
    return got > 0;
}

/* The main thread measures that ten times a second. Buffers of clients come and go faster, and no
 * key should go for memory that is free again. Growth is left to the main thread, as messages to
 * clients are on their way for a moment. False: it has just been measured. */
static bool look_elsewhere(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    if (!sh->hooks || !sh->hooks->used_elsewhere || sh->now_ns - ev->looked_ns < LOOK_NS)
        return false;
    ev->looked_ns = sh->now_ns;
    budget_raise(ev->loan.budget, sh->hooks->used_elsewhere(sh));
    return true;
}

/* One step towards the limit. */
static enum room make_some_room(struct shard *sh)
{
    if (used_bytes(sh) <= sh->evict.limit_bytes || borrow(sh)) return ROOM_MADE;
    if (look_elsewhere(sh) && borrow(sh)) return ROOM_MADE;
    if (free_list_pending(sh->free_list) > 0) {
        free_list_step(sh);
        return ROOM_LATER;
    }
    if (sh->config->evict_policy == EVICT_NOTHING) return ROOM_NONE;
    for (unsigned i = 0; i < ROUND_KEYS && used_bytes(sh) > sh->evict.limit_bytes; i++) {
        switch (evict_one(sh)) {
        case EVICTED:
            break;
        case EVICTED_NOTHING_YET:
            return ROOM_LATER;
        case EVICTED_NOTHING:
            return ROOM_NONE;
        }
    }
    return ROOM_LATER;
}

static uint64_t owed_max(const struct budget *b)
{
    int64_t total = MAX(budget_total(b), 0);
    return (uint64_t)MAX(total / EVICT_OWED_PART,
                         MIN(total / EVICT_OWED_PART_SMALL, EVICT_OWED_BYTES_SMALL));
}

/* Nothing can be evicted here. True: the others are asked, and it may take what it needs. */
static bool ask_others(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    const struct budget *b = ev->loan.budget;
    if (sh->config->evict_policy == EVICT_NOTHING || !sh->hooks || !sh->hooks->ask_others)
        return false;
    uint64_t owed = budget_owed(b), settled = budget_settled(b);
    if (owed == 0 || settled != ev->settled_then) {
        ev->settled_then = settled;
        ev->asked_ns = sh->now_ns;
    }
    if (owed >= owed_max(b) || sh->now_ns - ev->asked_ns > EVICT_ASK_NS) return false;
    if (!sh->hooks->ask_others(sh)) return false;
    uint64_t lent = loan_bytes(&ev->loan), used = used_bytes(sh);
    loan_owe(&ev->loan, MAX(used > lent ? used - lent : 0, ev->chunk_bytes));
    ev->give_next_ns = sh->now_ns + TICK_NS; /* who needs has nothing to give */
    ev->limit_bytes = loan_bytes(&ev->loan);
    return true;
}

/* How long a request may wait: maxmemory-eviction-tenacity as Redis counts it. */
static uint64_t time_limit_ns(uint32_t tenacity)
{
    if (tenacity >= 100) return UINT64_MAX;
    if (tenacity <= 10) return 50000ULL * tenacity;
    double ns = 500000;
    for (uint32_t i = 10; i < tenacity; i++) ns *= 1.15;
    return (uint64_t)ns;
}

static enum room make_room(struct shard *sh, uint64_t limit_ns)
{
    uint64_t started_ns = env_now_ns(), started = span_event_start(sh);
    enum room room = ROOM_LATER;
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        room = make_some_room(sh);
        if (room == ROOM_LATER && used_bytes(sh) <= sh->evict.limit_bytes) room = ROOM_MADE;
        if (room == ROOM_MADE && used_bytes(sh) > sh->evict.limit_bytes) room = ROOM_LATER;
        if (room != ROOM_LATER) break;
        if (env_now_ns() - started_ns >= limit_ns) break;
    }
    if (room == ROOM_NONE && ask_others(sh)) room = ROOM_MADE;
    counter_set(&sh->evict.is_full, room == ROOM_NONE);
    note_exceeding(sh, room != ROOM_MADE);
    span_event_end(sh, "eviction-cycle", started);
    return room;
}

bool evict_admit(struct shard *sh, const struct request *rq)
{
    /* A transaction was admitted as a whole, and nothing is evicted in its middle. */
    if (rq->flags & (REQUEST_COMMIT | REQUEST_IN_EXEC) || sh->is_replaying) return true;
    if (shard_is_paused(sh)) return true;
    uint64_t started = env_ticks();
    enum room room = make_room(sh, time_limit_ns(sh->config->evict_tenacity));
    sh->spans.apart_ticks += env_ticks() - started;
    if (room != ROOM_NONE) return true;
    /* Of a split command all parts run or none: the net thread has looked before it sent them. */
    return !(rq->command->flags & CMD_DENY_OOM) || rq->flags & REQUEST_PART;
}

bool evict_can_give(const struct shard *sh, bool is_volatile)
{
    if (counter_read(&sh->evict.gives_nothing)) return false;
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        struct keyspace_stats s;
        if (keyspace_read_stats(&sh->keys, db, &s) && (is_volatile ? s.expires : s.keys) > 0)
            return true;
    }
    return false;
}

/* Evicts for others, whom memory is owed for. True if there is more to do. */
static bool give(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    uint64_t started_ns = env_now_ns();
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        uint64_t lent = loan_bytes(&ev->loan), used = used_bytes(sh);
        if (lent > used) loan_settle(&ev->loan, lent - used);
        ev->limit_bytes = loan_bytes(&ev->loan);
        if (budget_owed(ev->loan.budget) == 0) return false;
        if (env_now_ns() - started_ns >= SHARD_SLICE_US * 1000ULL) return true;
        if (free_list_pending(sh->free_list) > 0) {
            free_list_step(sh);
        } else if (evict_one(sh) == EVICTED_NOTHING) {
            counter_set(&ev->gives_nothing, 1);
            ev->give_next_ns = sh->now_ns + TICK_NS;
            return false;
        }
    }
    return true;
}

static bool must_give(const struct shard *sh)
{
    const struct evict *ev = &sh->evict;
    return ev->limit_bytes != UINT64_MAX && budget_owed(ev->loan.budget) > 0 &&
           sh->now_ns >= ev->give_next_ns && sh->config->evict_policy != EVICT_NOTHING &&
           !shard_is_paused(sh);
}

bool evict_step(struct shard *sh)
{
    struct evict *ev = &sh->evict;
    if (must_give(sh) && give(sh)) return true;
    if (sh->now_ns < ev->tick_next_ns) return false;
    counter_set(&ev->gives_nothing, 0);
    ev->tick_next_ns = sh->now_ns + TICK_NS;
    loan_repay(&ev->loan, used_bytes(sh) + SLACK_CHUNKS * ev->chunk_bytes);
    ev->limit_bytes = loan_bytes(&ev->loan);
    if (used_bytes(sh) <= ev->limit_bytes) {
        counter_set(&ev->is_full, 0);
        note_exceeding(sh, false);
        if (sh->config->evict_policy == EVICT_LRU || sh->config->evict_policy == EVICT_LFU)
            sample_databases(sh);
        return false;
    }
    if (shard_is_paused(sh)) return false;
    enum room room = make_room(sh, SHARD_SLICE_US * 1000ULL);
    if (room == ROOM_LATER) ev->tick_next_ns = sh->now_ns + SHARD_SLICE_US * 1000ULL;
    return room == ROOM_LATER;
}

uint64_t evict_next_ns(const struct shard *sh)
{
    if (sh->evict.limit_bytes == UINT64_MAX) return UINT64_MAX;
    return must_give(sh) ? sh->now_ns : sh->evict.tick_next_ns;
}
