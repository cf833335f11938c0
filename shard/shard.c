#include "shard/shard.h"

#include "base/block.h"
#include "base/env.h"
#include "base/late.h"
#include "shard/expire.h"
#include "shard/lazyfree.h"
#include "shard/prefetch.h"

_Thread_local struct shard *shard_here;

const struct shard_config *shard_config_here(void)
{
    static const struct shard_config defaults = {
        .hash_max_listpack_entries = 512,
        .hash_max_listpack_value_bytes = 64,
        .list_max_listpack_size = -2,
        .set_max_intset_entries = 512,
        .set_max_listpack_entries = 128,
        .set_max_listpack_value_bytes = 64,
        .zset_max_listpack_entries = 128,
        .zset_max_listpack_value_bytes = 64,
    };
    return shard_here ? shard_here->config : &defaults;
}

uint64_t shard_seed_here(void)
{
    return shard_here ? shard_here->keys.seed : 0;
}

void shard_init(struct shard *sh, const struct shard_options *options)
{
    *sh = (struct shard){.id = options->id,
                         .shard_count = options->shard_count,
                         .config = options->config,
                         .hooks = options->hooks,
                         .random_state = options->random_seed | 1,
                         .command_count = options->command_count};
    mem_init(&sh->mem, "shard");
    mem_keep_reserve(&sh->mem, SHARD_RESERVE_BYTES, options->short_shards);
    sh->guest_events.mem = &sh->mem;
    keyspace_init(&sh->keys, &sh->mem, options->database_count, options->hash_seed);
    locks_init(&sh->locks);
    evict_init(sh, options->budget);
    evict_apply_config(sh);
    watch_init(&sh->watches);
    channels_init(sh, options->net_count, options->read_feed, options->message_places);
    tracking_init(sh);
    waits_init(&sh->waits, &sh->mem);
    dlist_init(&sh->late);
    snapshot_init(sh);
    sh->free_list = free_list_create(&sh->mem);
    sh->per_command =
        mem_alloc_zeroed(&sh->mem, (options->command_count + 1u) * sizeof *sh->per_command);
    sh->slow_to = &sh->slow;
    span_apply_config(sh);
}

void shard_deinit(struct shard *sh)
{
    waits_deinit(sh);
    snapshot_deinit(sh);
    locks_deinit(sh);
    evict_deinit(sh);
    watch_deinit(sh);
    channels_deinit(sh);
    tracking_deinit(sh);
    journal_deinit(sh);
    buf_clear(&sh->guest_events);
    keyspace_deinit(&sh->keys);
    free_list_destroy(sh->free_list);
    span_deinit(sh);
    mem_free(&sh->mem, sh->per_command, (sh->command_count + 1u) * sizeof *sh->per_command);
    mem_deinit(&sh->mem);
}

void shard_set_now(struct shard *sh, uint64_t now_ns, int64_t wall_ms)
{
    sh->now_ns = now_ns;
    /* For whoever holds everything, a script above all, time stands still: a key that it has seen
     * does not expire under its hands. */
    if (likely(!sh->locks.exclusive)) sh->wall_ms = wall_ms;
    sh->now_ms = sh->is_replaying ? 0 : sh->wall_ms;
    shard_here = sh;
}

void shard_set_replaying(struct shard *sh, bool is_replaying)
{
    assert_on_shard(sh);
    sh->is_replaying = is_replaying;
    shard_set_now(sh, sh->now_ns, sh->wall_ms);
}

void shard_pause(struct shard *sh, uint64_t until_ns)
{
    assert_on_shard(sh);
    sh->paused_until_ns = until_ns ? MAX(until_ns, sh->paused_until_ns) : 0;
    sh->expire_next_ns = MIN(sh->expire_next_ns, sh->now_ns);
    if (shard_is_paused(sh)) counter_set(&sh->evict.is_full, 0);
}

/* ---- running ---- */

/* The only place where an err becomes RESP text. */
void shard_reply_failure(const struct request *rq, struct reply *out, enum err e)
{
    bool may_have_changed = e == OK && rq->command->flags & CMD_WRITE;
    if (out->is_lost) {
        reply_drop(out);
        e = may_have_changed ? ERR_REPLY_LOST : ERR_ALLOC;
    }
    reply_err(out, e);
}

static inline void run_request(struct shard *sh, struct request *rq, struct reply *out)
{
    out->resp = rq->resp;
    uint32_t errors = out->error_count;
    uint64_t outer_start = out->start;
    out->start = reply_size(out);
    enum err e = ERR_NO_MEM;
    if (unlikely(sh->locks.short_count > 0) && locks_refuse_command(sh, rq)) {
        reply_err(out, ERR_ALLOC);
        out->start = outer_start;
        rq->error_count = 1;
        return;
    }
    if (unlikely(sh->snapshot.is_walking) && rq->command->flags & (CMD_WRITE | CMD_MAY_REPLICATE))
        snapshot_guard_request(sh, rq);
    const struct request *outer = sh->journal.running;
    sh->journal.running = rq;
    if (likely(shard_admits(sh, rq))) e = rq->command->on_shard(sh, rq, out);
    if (sh->journal.note_count > 0) journal_settle(sh, rq, e != OK || out->error_count != errors);
    sh->journal.running = outer;
    if (unlikely(e != OK || out->is_lost)) shard_reply_failure(rq, out, e);
    out->start = outer_start;
    rq->error_count = (uint16_t)(out->error_count - errors);
}

void shard_run_request(struct shard *sh, struct request *rq, struct reply *out)
{
    check_context_here()->command = rq->command->name;
    run_request(sh, rq, out);
}

static inline void begin_run(struct shard *sh, struct span *span, const struct request *last,
                             const struct request *rq)
{
    span_turn(sh, span, last, rq);
    check_context_here()->command = rq->command->name;
}

/* Whoever waited for what the command has changed: their time is not the command's. */
static void serve_waiting(struct shard *sh, struct span *span, const struct request *rq)
{
    span_cut(sh, span, rq, false);
    wait_serve_slow(sh, parked_point(sh, rq));
    span->started = env_ticks();
}

/* What runs now, and what ran before it. */
static void run_in_window(struct shard *sh, struct parcel *pc, uint32_t i, struct span *span)
{
    struct request *rq = &pc->requests[i];
    enum parking parking = likely(sh->locks.busy == 0) ? PARKING_NOT_NEEDED : locks_park(sh, pc, i);
    if (likely(parking == PARKING_NOT_NEEDED)) {
        run_request(sh, rq, &pc->out);
        if (unlikely(rq->flags & REQUEST_TRACKED)) tracking_remember_in_parcel(sh, pc, i);
        span->count++;
        span->failed += rq->error_count;
        if (wait_is_due(sh)) serve_waiting(sh, span, rq);
        if (unlikely(sh->journal.effects.payload.size > JOURNAL_RECORD_BYTES)) journal_break(sh);
    } else if (parking == PARKING_REFUSED) {
        pc->out.resp = rq->resp;
        pc->out.start = reply_size(&pc->out); /* so short a reply is sure */
        reply_err(&pc->out, ERR_ALLOC);
        rq->error_count = 1;
    }
}

static void run_window(struct shard *sh, struct parcel *pc, uint32_t first, uint32_t count)
{
    struct span span = {0};
    const struct request *last = NULL;
    uint64_t reply_at = reply_size(&pc->out);
    span_begin_window(sh);
    for (uint32_t i = first; i < first + count; i++) {
        struct request *rq = &pc->requests[i];
        if (span.command != rq->command) begin_run(sh, &span, last, rq);
        bool is_alone = span_is_alone(&span, rq);
        if (is_alone && span.count > 0) span_cut(sh, &span, last, false);
        sh->tracking.running_index = i;
        sh->request_index = i;
        run_in_window(sh, pc, i, &span);
        rq->reply_end = reply_size(&pc->out);
        bool is_long = rq->reply_end - reply_at > SPAN_REPLY_BYTES;
        if (unlikely(is_alone | is_long) && span.count > 0) span_cut(sh, &span, rq, is_long);
        reply_at = rq->reply_end;
        last = rq;
    }
    span_turn(sh, &span, last, NULL);
}

/* A block has a span of its own: the parcel's must not count what is counted here. */
static void run_block_window(struct shard *sh, struct request *requests, uint32_t count,
                             struct reply *out, uint64_t start)
{
    struct span span = {0};
    const struct request *last = NULL;
    uint64_t reply_at = reply_size(out) - start;
    span_begin_window(sh);
    prefetch_window(sh, requests, count);
    for (uint32_t i = 0; i < count; i++) {
        struct request *rq = &requests[i];
        if (span.command != rq->command) begin_run(sh, &span, last, rq);
        bool is_alone = span_is_alone(&span, rq);
        if (is_alone && span.count > 0) span_cut(sh, &span, last, false);
        run_request(sh, rq, out);
        if (unlikely(rq->flags & REQUEST_TRACKED)) tracking_remember_in_block(sh, rq);
        span.count++;
        span.failed += rq->error_count;
        rq->reply_end = reply_size(out) - start;
        bool is_long = rq->reply_end - reply_at > SPAN_REPLY_BYTES;
        if (unlikely(is_alone | is_long)) span_cut(sh, &span, rq, is_long);
        reply_at = rq->reply_end;
        last = rq;
    }
    span_turn(sh, &span, last, NULL);
}

void shard_run_block(struct shard *sh, struct block *b, struct reply *out)
{
    uint64_t start = reply_size(out);
    b->is_dirty = b->watch && !watch_end(sh, b->watch);
    uint32_t count = b->is_dirty ? 0 : b->count;
    reply_array(out, count);
    b->head_bytes = reply_size(out) - start;
    for (uint32_t first = 0; first < count; first += SHARD_PREFETCH_WINDOW)
        run_block_window(sh, &b->requests[first],
                         MIN(count - first, (uint32_t)SHARD_PREFETCH_WINDOW), out, start);
}

void shard_run_parcel(struct shard *sh, struct parcel *pc)
{
    assert_on_shard(sh);
    uint64_t started = env_ticks();
    uint64_t position = atomic_load_explicit(&pc->position, memory_order_relaxed);
    sh->parcel = pc;
    sh->turn_position = position == POSITION_PENDING ? sh->in_place_position : 2 * position;
    reply_init(&pc->out, parcel_chunk(pc), &sh->mem);
    sh->tracking.running = pc;
    journal_begin(sh, pc);
    for (uint32_t first = 0; first < pc->request_count; first += SHARD_PREFETCH_WINDOW) {
        uint32_t count = MIN(pc->request_count - first, (uint32_t)SHARD_PREFETCH_WINDOW);
        prefetch_window(sh, &pc->requests[first], count);
        run_window(sh, pc, first, count);
    }
    journal_end(sh);
    sh->tracking.running = NULL;
    sh->parcel = NULL;
    pc->out.last->size = (uint32_t)(pc->out.cursor - pc->out.last->data);
    pc->slow = sh->slow;
    sh->slow = NULL;
    counter_add(&sh->counters.requests, pc->request_count);
    counter_add(&sh->counters.parcels, 1);
    counter_add(&sh->counters.busy_ticks, env_ticks() - started);
    if (pc->out.error_count) counter_add(&sh->counters.error_replies, pc->out.error_count);
}

void shard_send_late(struct shard *sh)
{
    struct dlist *link;
    while ((link = dlist_pop_front(&sh->late)))
        sh->hooks->send_late(sh, container_of(link, struct late_reply, link));
}

void shard_free_late(struct shard *sh, struct late_reply *late)
{
    chunk_free_chain(&sh->mem, late->chain);
    CHECK(!late->slow);
    mem_free(&sh->mem, late, sizeof *late);
    sh->late_count--;
}

bool shard_is_settled(const struct shard *sh)
{
    return sh->locks.busy == 0 && sh->late_count == 0 && waits_are_empty(&sh->waits) &&
           channels_are_settled(sh);
}
