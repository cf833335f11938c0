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
    sh->guest_events.mem = &sh->mem;
    keyspace_init(&sh->keys, &sh->mem, options->database_count, options->hash_seed);
    locks_init(&sh->locks);
    evict_init(sh, options->budget);
    evict_apply_config(sh);
    watch_init(&sh->watches);
    channels_init(sh, options->net_count, options->read_feed, options->message_places);
    tracking_init(sh);
    waits_init(&sh->waits);
    dlist_init(&sh->late);
    snapshot_init(sh);
    sh->free_list = free_list_create(&sh->mem);
    sh->per_command =
        mem_alloc_zeroed(&sh->mem, (options->command_count + 1u) * sizeof *sh->per_command);
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
    mem_free(&sh->mem, sh->per_command, (sh->command_count + 1u) * sizeof *sh->per_command);
    mem_deinit(&sh->mem);
}

void shard_set_now(struct shard *sh, uint64_t now_ns, int64_t wall_ms)
{
    sh->now_ns = now_ns;
    sh->wall_ms = wall_ms;
    sh->now_ms = sh->is_replaying ? 0 : wall_ms;
    shard_here = sh;
}

void shard_set_replaying(struct shard *sh, bool is_replaying)
{
    assert_on_shard(sh);
    sh->is_replaying = is_replaying;
    shard_set_now(sh, sh->now_ns, sh->wall_ms);
}

/* ---- running ---- */

/* The only place where an err becomes RESP text. */
static inline void run_request(struct shard *sh, struct request *rq, struct reply *out)
{
    out->resp = rq->resp;
    uint32_t errors = out->error_count;
    enum err e = ERR_NO_MEM;
    if (unlikely(sh->locks.short_count > 0) && locks_refuse_command(sh, rq)) {
        reply_err(out, ERR_ALLOC);
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
    if (unlikely(e != OK)) reply_err(out, e);
    rq->error_count = (uint16_t)(out->error_count - errors);
}

void shard_run_request(struct shard *sh, struct request *rq, struct reply *out)
{
    check_context_here()->command = rq->command->name;
    run_request(sh, rq, out);
}

/* Time is read when the command changes, not for each request: the sums per command are exact, and
 * a pipeline of one command pays for two readings. */
struct span {
    const struct request *first;
    uint64_t started;
    uint32_t count, failed;
};

static void note_slowest(struct shard *sh, const struct span *span, uint64_t ticks)
{
    ticks /= MAX(span->count, 1u);
    if (ticks <= sh->slowest_ticks) return;
    sh->slowest_ticks = ticks;
    counter_set(&sh->counters.slowest_us, (uint64_t)((double)ticks / env_ticks_per_us()));
    counter_set(&sh->counters.slowest_command, span->first->command_id + 1u);
}

static void span_end(struct shard *sh, struct span *span)
{
    uint64_t now = env_ticks();
    if (span->first) {
        struct shard_command_counters *c = &sh->per_command[span->first->command_id];
        counter_add(&c->calls, span->count);
        counter_add(&c->ticks, now - span->started);
        if (span->failed) counter_add(&c->failed, span->failed);
        if (unlikely(now - span->started > sh->slowest_ticks))
            note_slowest(sh, span, now - span->started);
    }
    *span = (struct span){.started = now};
}

static void run_window(struct shard *sh, struct parcel *pc, uint32_t first, uint32_t count)
{
    struct span span = {0};
    for (uint32_t i = first; i < first + count; i++) {
        struct request *rq = &pc->requests[i];
        if (!span.first || span.first->command_id != rq->command_id) {
            span_end(sh, &span);
            span.first = rq;
            check_context_here()->command = rq->command->name;
        }
        sh->tracking.running_index = i;
        sh->request_index = i;
        enum parking parking =
            likely(sh->locks.busy == 0) ? PARKING_NOT_NEEDED : locks_park(sh, pc, i);
        if (likely(parking == PARKING_NOT_NEEDED)) {
            run_request(sh, rq, &pc->out);
            if (unlikely(rq->flags & REQUEST_TRACKED)) tracking_remember_in_parcel(sh, pc, i);
            span.count++;
            span.failed += rq->error_count;
            if (wait_is_due(sh)) wait_serve_slow(sh, parked_point(sh, rq));
            if (unlikely(sh->journal.effects.payload.size > JOURNAL_RECORD_BYTES))
                journal_break(sh);
        } else if (parking == PARKING_REFUSED) {
            pc->out.resp = rq->resp;
            reply_err(&pc->out, ERR_ALLOC);
            rq->error_count = 1;
        }
        rq->reply_end = reply_size(&pc->out);
    }
    span_end(sh, &span);
}

/* A block has a span of its own: the parcel's must not count what is counted here. */
static void run_block_window(struct shard *sh, struct request *requests, uint32_t count,
                             struct reply *out, uint64_t start)
{
    struct span span = {0};
    prefetch_window(sh, requests, count);
    for (uint32_t i = 0; i < count; i++) {
        struct request *rq = &requests[i];
        if (!span.first || span.first->command_id != rq->command_id) {
            span_end(sh, &span);
            span.first = rq;
            check_context_here()->command = rq->command->name;
        }
        run_request(sh, rq, out);
        if (unlikely(rq->flags & REQUEST_TRACKED)) tracking_remember_in_block(sh, rq);
        span.count++;
        span.failed += rq->error_count;
        rq->reply_end = reply_size(out) - start;
    }
    span_end(sh, &span);
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
    mem_free(&sh->mem, late, sizeof *late);
    sh->late_count--;
}

bool shard_is_settled(const struct shard *sh)
{
    return sh->locks.busy == 0 && sh->late_count == 0 && waits_are_empty(&sh->waits) &&
           channels_are_settled(sh);
}
