/* span.h: how long commands take: the clock readings around requests, and what becomes of them:
 * sums and histograms per command, the slow log, latency events.
 *
 * Reading the clock takes a tenth of what a short command takes. So equal commands that follow one
 * another and are short by nature share two readings: a *run*. A request is measured for itself, a
 * run of one, if its row does not promise to be short (CMD_FAST, CMD_BRIEF), if it has many or long
 * arguments, or if slowlog-log-slower-than asks for times that such a run may reach. A long reply
 * ends the run behind its request, which is charged with all but the usual time of those before it.
 * If a run of several takes longer than the slow log asks for and none has such a reply, nobody can
 * say which it was, and nobody is accused; but for SPAN_CLOSE_WINDOWS windows every request is then
 * measured for itself.
 *
 * Thread     [shard]
 */
#pragma once

#include "base/command.h"
#include "base/env.h"
#include "base/histogram.h"

#define SPAN_ARGS_BRIEF 6
#define SPAN_REPLY_BYTES (16 * 1024)
#define SPAN_CLOSE_US 1000
#define SPAN_CLOSE_WINDOWS 4096

struct shard;
struct slow_entry;

struct shard_command_counters {
    struct counter calls, ticks, failed;
    struct counter script_calls, script_failed, script_rejected; /* by scripts that run in place */
    histogram_slot histogram;                                    /* ns */
    uint64_t usual_ticks; /* of one request in the last run of several */
};

/* What decides which requests are measured how. */
struct span_settings {
    uint64_t slow_ticks;    /* from which somebody wants to know; UINT64_MAX: nobody does */
    uint32_t close_windows; /* in which every request is measured for itself */
    bool is_close;          /* all are */
    uint64_t apart_ticks;   /* since the last reading: not to be charged to the request */
    double ns_per_tick;
};

struct span {
    const struct command *command; /* of all its requests; NULL: nothing has begun */
    uint64_t started;
    uint32_t count, failed;
    uint16_t command_id;
    bool is_close; /* each request is a run of its own */
};

/* After the configuration has changed. */
void span_apply_config(struct shard *sh);
void span_deinit(struct shard *sh);
/* A window begins: at most SHARD_PREFETCH_WINDOW requests. */
void span_begin_window(struct shard *sh);
/* The run ends with `last`, and one of the command of `next` begins. Both may be NULL. */
void span_turn(struct shard *sh, struct span *span, const struct request *last,
               const struct request *next);
/* The run ends with `last`, and a further one of the same command begins. */
void span_cut(struct shard *sh, struct span *span, const struct request *last, bool is_reply_long);

/* The request is measured for itself. */
static inline bool span_is_alone(const struct span *span, const struct request *rq)
{
    return unlikely(span->is_close | (rq->argc > SPAN_ARGS_BRIEF) | (rq->payload != NULL));
}

/* A request that ran outside of any window. */
void span_note(struct shard *sh, const struct request *rq, uint64_t started);

/* ---- background ---- */

/* 0 if nobody asks for latency events. */
uint64_t span_event_start(const struct shard *sh);
/* `started`: of span_event_start. */
void span_event_end(struct shard *sh, const char *event, uint64_t started);
void span_event_took(struct shard *sh, const char *event, uint64_t ns);
