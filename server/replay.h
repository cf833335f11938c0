/* replay.h: the append-only log becomes the keyspace, at any number of shards.
 *
 *     main:   generation 1 ─▶ all its streams are through ─▶ generation 2 … ─▶ done
 *     worker: its streams of the generation, in slices: file ─▶ record ─▶ command
 *               of its own shard: runs at once
 *               of another shard: into a batch ─▶ runs there ─▶ back, freed
 *
 * The worker of shard i reads the streams of the shards i, i + n, i + 2n … of a generation (n:
 * shards now). A key belongs to one stream of a generation, and what one worker sends to another
 * arrives in its order, so the commands of a key run in the order of their lsn. FLUSHDB, FLUSHALL,
 * SWAPDB and the beginning of a base concern the keys that the shard of the stream held: slice.h.
 *
 * While it runs, no deadline passes on the shards, nothing is evicted, no event is published: the
 * log says what happened to each key. What is overdue goes by the ordinary expiry afterwards.
 *
 * Thread     [main]; counters [any]
 * Ownership  The recovery is the caller's and stays until `done`.
 * Limits     REPLAY_AWAY_BYTES_MAX under way per reader; a slice of reading is about
 *            REPLAY_SLICE_US.
 * Errors     What cannot be read, or cannot be run, ends it; `why` names file and offset. What came
 *            before is in the keyspace then.
 */
#pragma once

#include "persist/recovery.h"
#include "server/replay_reader.h"

#define REPLAY_BATCH_BYTES (64u << 10)
#define REPLAY_AWAY_BYTES_MAX (4u << 20)
#define REPLAY_SLICE_US 2000

struct server;

typedef void replay_done_fn(struct server *srv, bool ok);

struct replay {
    bool is_running, has_failed;
    bool is_cancelled; /* failed by wish */
    /* The end of a transaction was run anew, and would not become the same the next time: what has
     * become of it has to stand in a base before clients are let in (rewriter_begin_log). */
    bool needs_base;
    char why[REPLAY_WHY_BYTES];
    /* ---- private ---- */
    struct recovery *recovery;
    replay_done_fn *done;
    struct replay_reader *readers; /* by shard */
    unsigned next_stream;          /* of the next generation */
    unsigned busy_count;           /* readers that are away */
    enum replay_phase phase;
    uint64_t started_ns, told_ns, bytes_before;
    _Atomic bool must_end; /* readers look at it between records */
    /* ---- any thread reads ---- */
    struct counter is_shown, start_s, total_bytes, loaded_bytes; /* while it is_shown */
};

/* The keyspace is empty (or holds what the log goes on from), the workers run, nobody journals, and
 * the shards place keys by the manifest's hash seed. `r` is resolved. `done` comes later. */
void replay_start(struct server *srv, struct recovery *r, replay_done_fn *done);
/* It ends soon, not ok. */
void replay_cancel(struct server *srv);
/* In each step of the main loop: progress. */
void replay_step(struct server *srv);
static inline bool replay_is_idle(const struct replay *p)
{
    return !p->is_running;
}
