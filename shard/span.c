#include "shard/span.h"

#include "shard/shard.h"

/* ---- settings ---- */

/* The lower one of the two that ask. */
static uint64_t slow_us(const struct shard_config *c)
{
    uint64_t us = c->slowlog_us >= 0 ? (uint64_t)c->slowlog_us : UINT64_MAX;
    uint64_t latency_ms = MIN(c->latency_ms, UINT64_MAX / 1000);
    return latency_ms > 0 ? MIN(us, latency_ms * 1000) : us;
}

void span_apply_config(struct shard *sh)
{
    uint64_t us = slow_us(sh->config);
    double ticks = (double)us * env_ticks_per_us();
    sh->spans.ns_per_tick = 1000 / env_ticks_per_us();
    sh->spans.slow_ticks = ticks < 0x1p63 ? (uint64_t)ticks : UINT64_MAX;
    sh->spans.is_close = us < SPAN_CLOSE_US;
}

void span_deinit(struct shard *sh)
{
    for (uint32_t i = 0; i <= sh->command_count; i++)
        histogram_slot_deinit(&sh->per_command[i].histogram, &sh->mem);
    if (sh->slow) sh->hooks->drop_slow(sh, sh->slow);
}

void span_begin_window(struct shard *sh)
{
    if (unlikely(sh->spans.close_windows > 0)) sh->spans.close_windows--;
}

static bool is_brief(const struct command *c)
{
    return c->flags & (CMD_FAST | CMD_BRIEF) && !(c->flags & CMD_BLOCKING);
}

/* ---- what becomes of a reading ---- */

static uint64_t ticks_to_ns(const struct shard *sh, uint64_t ticks)
{
    return (uint64_t)((double)ticks * sh->spans.ns_per_tick);
}

static void add_sample(struct shard *sh, struct shard_command_counters *c, uint64_t ticks,
                       uint64_t count)
{
    histogram_slot_add(&c->histogram, &sh->mem, ticks_to_ns(sh, ticks), count);
}

static void note_slow(struct shard *sh, const struct request *rq, uint64_t ticks)
{
    const struct shard_config *c = sh->config;
    uint64_t us = ticks_to_ns(sh, ticks) / 1000;
    uint32_t flags = rq->command->flags;
    if (!sh->hooks || flags & CMD_ERRAND) return;
    bool is_logged = c->slowlog_us >= 0 && us >= (uint64_t)c->slowlog_us;
    if (is_logged && !(flags & CMD_SKIP_SLOWLOG) && sh->hooks->note_slow)
        sh->hooks->note_slow(sh, rq, us, sh->slow_to);
    if (c->latency_ms > 0 && us / 1000 >= c->latency_ms && sh->hooks->note_latency)
        sh->hooks->note_latency(sh, flags & CMD_FAST ? "fast-command" : "command", us / 1000);
}

static void note_slowest(struct shard *sh, uint16_t command_id, uint64_t ticks)
{
    sh->slowest_ticks = ticks;
    counter_set(&sh->counters.slowest_us, ticks_to_ns(sh, ticks) / 1000);
    counter_set(&sh->counters.slowest_command, command_id + 1u);
}

/* One request took that long; it may have left its parcel to wait for something. */
static void note_one(struct shard *sh, const struct request *rq, uint64_t ticks)
{
    if (unlikely(ticks > sh->slowest_ticks)) note_slowest(sh, rq->command_id, ticks);
    if (rq->flags & REQUEST_PARKED || rq->command->flags & CMD_ERRAND) return;
    if (sh->config->latency_tracking) add_sample(sh, &sh->per_command[rq->command_id], ticks, 1);
    if (unlikely(ticks >= sh->spans.slow_ticks)) note_slow(sh, rq, ticks);
}

/* Several took that long together, and no reply tells which of them. */
static void note_run(struct shard *sh, const struct span *span, uint64_t ticks)
{
    struct shard_command_counters *c = &sh->per_command[span->command_id];
    if (span->command->flags & CMD_ERRAND) return;
    uint64_t mean = ticks / span->count;
    c->usual_ticks = mean;
    if (unlikely(mean > sh->slowest_ticks)) note_slowest(sh, span->command_id, mean);
    if (sh->config->latency_tracking) add_sample(sh, c, mean, span->count);
    if (unlikely(ticks >= sh->spans.slow_ticks)) sh->spans.close_windows = SPAN_CLOSE_WINDOWS;
}

/* The last of several had a long reply. */
static void note_run_and_last(struct shard *sh, const struct span *span, uint64_t ticks,
                              const struct request *last)
{
    struct shard_command_counters *c = &sh->per_command[span->command_id];
    uint64_t before = (span->count - 1) * c->usual_ticks;
    if (before > ticks) before = ticks / span->count * (span->count - 1);
    if (sh->config->latency_tracking && !(span->command->flags & CMD_ERRAND))
        add_sample(sh, c, before / (span->count - 1), span->count - 1);
    note_one(sh, last, ticks - before);
}

/* Without what it did for others: making room for new keys. */
static uint64_t own_ticks(struct shard *sh, uint64_t ticks)
{
    uint64_t apart = MIN(sh->spans.apart_ticks, ticks);
    sh->spans.apart_ticks = 0;
    return ticks - apart;
}

static void end(struct shard *sh, const struct span *span, uint64_t ticks,
                const struct request *last, bool is_reply_long)
{
    struct shard_command_counters *c = &sh->per_command[span->command_id];
    if (unlikely(sh->spans.apart_ticks > 0)) ticks = own_ticks(sh, ticks);
    counter_add(&c->calls, span->count);
    counter_add(&c->ticks, ticks);
    if (span->failed) counter_add(&c->failed, span->failed);
    if (span->count == 0) return;
    if (span->count == 1)
        note_one(sh, last, ticks);
    else if (unlikely(is_reply_long))
        note_run_and_last(sh, span, ticks, last);
    else
        note_run(sh, span, ticks);
}

/* ---- runs ---- */

void span_turn(struct shard *sh, struct span *span, const struct request *last,
               const struct request *next)
{
    uint64_t now = env_ticks();
    if (span->command) end(sh, span, now - span->started, last, false);
    *span = (struct span){.started = now};
    if (!next) return;
    span->command = next->command;
    span->command_id = next->command_id;
    span->is_close = sh->spans.is_close || sh->spans.close_windows > 0 || !is_brief(next->command);
}

void span_cut(struct shard *sh, struct span *span, const struct request *last, bool is_reply_long)
{
    uint64_t now = env_ticks();
    end(sh, span, now - span->started, last, is_reply_long);
    span->started = now;
    span->count = span->failed = 0;
}

void span_note(struct shard *sh, const struct request *rq, uint64_t started)
{
    uint64_t ticks = own_ticks(sh, env_ticks() - started);
    struct shard_command_counters *c = &sh->per_command[rq->command_id];
    counter_add(&c->calls, 1);
    counter_add(&c->ticks, ticks);
    if (rq->error_count) counter_add(&c->failed, 1);
    note_one(sh, rq, ticks);
}

/* ---- background ---- */

uint64_t span_event_start(const struct shard *sh)
{
    return unlikely(sh->config->latency_ms > 0) ? env_ticks() : 0;
}

void span_event_took(struct shard *sh, const char *event, uint64_t ns)
{
    uint64_t ms = ns / 1000000, least_ms = sh->config->latency_ms;
    if (least_ms > 0 && ms >= least_ms && sh->hooks && sh->hooks->note_latency)
        sh->hooks->note_latency(sh, event, ms);
}

void span_event_end(struct shard *sh, const char *event, uint64_t started)
{
    if (likely(started == 0)) return;
    span_event_took(sh, event, ticks_to_ns(sh, env_ticks() - started));
}
