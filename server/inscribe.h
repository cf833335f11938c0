/* inscribe.h: every key that is there is written into the log as it is: after a start whose data
 * the log does not tell of, or would tell otherwise the next time, and before clients are let in.
 *
 *     worker: keys of a slice ─▶ journal ─▶ log … ─▶ main waits until all logs are durable, and
 *     takes older generations out of the manifest ─▶ done
 *
 * Thread     [main]
 * Limits     A slice takes about SHARD_SLICE_US; the log's buffer is waited for.
 * Errors     A log that has lost something ends it; one that is full or fails is waited for.
 */
#pragma once

#include "base/thread.h"

struct server;

typedef void inscribe_done_fn(struct server *srv, bool ok);

struct inscribe_shard {
    struct call call;
    uint16_t shard;
    uint32_t db;
    uint64_t cursor, keys;
    uint64_t last_lsn; /* of what was written; 0: not through yet */
    bool has_failed;
    _Atomic bool must_end;
};

struct inscribe {
    bool is_running, has_failed;
    bool is_cancelled;
    inscribe_done_fn *done;
    struct inscribe_shard *shards;
    unsigned busy_count; /* shards that are not through */
    uint64_t started_ns;
};

/* The logs are open. `done` comes later. */
void inscribe_start(struct server *srv, inscribe_done_fn *done);
void inscribe_cancel(struct server *srv);
/* In each step of the main loop. */
void inscribe_step(struct server *srv);
static inline bool inscribe_is_idle(const struct inscribe *i)
{
    return !i->is_running;
}
