/* background.c: what a shard does between requests, for a slice and a half at most: a job begins
 * only while half a slice is left. The next time those begin that had to wait. */
#include "base/env.h"
#include "shard/expire.h"
#include "shard/lazyfree.h"
#include "shard/shard.h"

enum job { JOB_FREE, JOB_EXPIRE, JOB_EVICT, JOB_DEFRAG, JOB_SNAPSHOT, JOB_COUNT };

/* For those that wait for a key that has expired, or was evicted. */
static void serve_between_turns(struct shard *sh)
{
    if (likely(!wait_is_due(sh))) return;
    wait_serve_slow(sh, (struct turn_point){sh->turn_position, UINT64_MAX});
}

static bool run_job(struct shard *sh, enum job job)
{
    switch (job) {
    case JOB_FREE:
        return free_list_step(sh);
    case JOB_EXPIRE: {
        uint64_t started = span_event_start(sh);
        bool more = expire_step(sh);
        span_event_end(sh, "expire-cycle", started);
        return more;
    }
    case JOB_EVICT:
        return evict_step(sh);
    case JOB_DEFRAG: {
        uint64_t started = span_event_start(sh);
        bool more = defrag_step(sh);
        span_event_end(sh, "active-defrag-cycle", started);
        return more;
    }
    case JOB_SNAPSHOT:
        return snapshot_step(sh);
    case JOB_COUNT:
        break;
    }
    return false;
}

/* In turn, from the one that comes next. True if there is more. */
static bool run_jobs(struct shard *sh, unsigned due)
{
    uint64_t started_ns = env_now_ns();
    bool more = false, has_run = false;
    for (unsigned n = 0; n < JOB_COUNT; n++) {
        unsigned job = sh->background_next;
        bool is_due = due >> job & 1;
        if (is_due && has_run && env_now_ns() - started_ns > SHARD_SLICE_US * 1000ULL / 2)
            return true;
        if (is_due) more |= run_job(sh, (enum job)job);
        has_run |= is_due;
        sh->background_next = (job + 1) % JOB_COUNT;
    }
    return more;
}

bool shard_background(struct shard *sh)
{
    unsigned due = (unsigned)(free_list_pending(sh->free_list) > 0) << JOB_FREE |
                   (unsigned)(sh->now_ns >= defrag_next_ns(sh)) << JOB_DEFRAG |
                   (unsigned)snapshot_can_walk(sh) << JOB_SNAPSHOT;
    if (!sh->is_replaying)
        due |= (unsigned)(sh->now_ns >= sh->expire_next_ns) << JOB_EXPIRE |
               (unsigned)(sh->now_ns >= evict_next_ns(sh)) << JOB_EVICT;
    if (!due) return false;
    uint64_t started = env_ticks(), started_cpu_ns = env_thread_cpu_ns();
    bool more = run_jobs(sh, due);
    serve_between_turns(sh);
    journal_flush(sh);
    uint64_t took_us = (env_thread_cpu_ns() - started_cpu_ns) / 1000;
    if (took_us > counter_read(&sh->counters.slowest_slice_us))
        counter_set(&sh->counters.slowest_slice_us, took_us);
    counter_add(&sh->counters.busy_ticks, env_ticks() - started);
    return more;
}

uint64_t shard_next_deadline_ns(const struct shard *sh)
{
    if (free_list_pending(sh->free_list) > 0) return 0;
    uint64_t next_ns = MIN(defrag_next_ns(sh), snapshot_next_ns(sh));
    if (sh->is_replaying) return next_ns;
    return MIN(next_ns, MIN(sh->expire_next_ns, evict_next_ns(sh)));
}
