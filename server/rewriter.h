/* rewriter.h: fresh bases for the append-only log: BGREWRITEAOF, by itself when the log has grown,
 * when the log is switched on, after a log was lost, and after a start whose data stand elsewhere.
 *
 *     one shard's job     when no holding is open and nothing is unwritten:
 *                         cut: the log goes on in a new file (rotated, opened, or after the loss),
 *                              its last lsn is L, and the colour flips (shard/snapshot.h)
 *                         walk: chunks of commands ─▶ the base, an aof of its own
 *                         the base is sealed, the old file closed: reported
 *     the main thread     files and manifest before the job; publishes what was reported when every
 *                         transaction up to L is durable everywhere (persist/README.md, rule 6)
 *
 * A rewrite takes one shard after the other, and its manifests name one base more each. When the
 * log is switched on all shards are cut at once, and one manifest names all of it: only from then
 * on is it the log that a start reads. The same holds for logs that were lost.
 *
 * The base is written with linked write and sync through the loop, so that no shard waits for the
 * disk, however slow.
 *
 * Thread     [main] [shard] as marked; counters [any]
 * Limits     One rewrite at a time, and not while a snapshot is being saved. Some
 *            SNAPSHOT_CHUNKS_MAX chunks are on their way, and what changes early.
 * Errors     Any failure leaves the old files, is logged, and shows in aof_last_bgrewrite_status.
 *            After one it is not tried again by itself for REWRITER_RETRY_S seconds.
 */
#pragma once

#include "base/counter.h"
#include "base/thread.h"
#include "persist/manifest.h"
#include "server/everywhere.h"

struct aof;
struct config;
struct server;
struct shard;
struct snapshot_chunk;
struct worker;

#define REWRITER_RETRY_S 5

enum rewriter_cut { REWRITER_ROTATE, REWRITER_OPEN, REWRITER_REPLACE };

/* What a shard is asked for. The main thread's, which may look at it when it is back. */
struct rewriter_job {
    struct call call;
    enum rewriter_cut cut;
    struct manifest_file base, segment;
    char base_path[ENV_PATH_BYTES_MAX], segment_path[ENV_PATH_BYTES_MAX];
    uint64_t started_ns;
    _Atomic bool is_cancelled;
    /* ---- the shard's answer ---- */
    bool has_failed;
    const char *why;
    bool is_cut;
    uint64_t last_txid; /* the highest transaction in the base */
};

enum rewriter_shard_state {
    REWRITER_SHARD_IDLE,
    REWRITER_SHARD_WAITING, /* for a moment to cut */
    REWRITER_SHARD_WALKING,
    REWRITER_SHARD_SEALING,
    REWRITER_SHARD_FAILING, /* until the walk has ended */
};

/* [shard] */
struct rewriter_shard {
    enum rewriter_shard_state state;
    struct rewriter_job *job;
    struct aof *base;
    struct snapshot_chunk *first, **end; /* appended, and not on the disk yet */
    bool is_walked;                      /* the last chunk has come */
};

enum rewriter_state {
    REWRITER_IDLE,
    REWRITER_STARTING_NETS, /* switching on: turns become transactions */
    REWRITER_RUNNING,       /* jobs are away */
    REWRITER_PASSING,       /* after a loss: waits for what all shards still have to run */
    REWRITER_PUBLISHING,    /* waits for other logs */
    REWRITER_CLOSING,       /* switching off: logs are being closed */
    REWRITER_STOPPING_NETS,
};

typedef void rewriter_done_fn(struct server *srv, bool ok);

/* [main] */
struct rewriter {
    enum rewriter_state state;
    enum rewriter_cut cut;     /* what this rewrite is for */
    struct rewriter_job *jobs; /* by shard */
    uint16_t shard;            /* REWRITER_ROTATE: whose turn it is */
    uint32_t away;             /* jobs and calls */
    bool has_failed, is_cancelled;
    bool is_scheduled, is_save_scheduled;
    const char *why;
    uint64_t wanted_txid; /* every transaction below must be durable before it is published */
    uint64_t started_ns, failed_ns, sync_ns;
    bool is_switching_on;
    rewriter_done_fn *done; /* of rewriter_begin_log; NULL: nobody waits */
    bool *is_uncovered;     /* by shard: its log was lost, and no base is published since */
    uint64_t *wanted_lsns;  /* by shard: to be durable before it is published */
    bool has_wanted_lsns;
    struct everywhere pass;
    bool is_passing;         /* `pass` was sent */
    uint64_t *rests_before;  /* by shard: that had run before it */
    struct call *net_calls;  /* by net thread */
    struct call *sync_calls; /* by shard */
    uint32_t syncs_away;
    /* ---- any thread reads ---- */
    struct counter is_running, scheduled, started_s, last_seconds, has_ended, last_failed;
    struct counter rewrites, failures;
};

/* ---- [main] ---- */

void rewriter_init(struct server *srv);
void rewriter_deinit(struct server *srv);
static inline bool rewriter_is_idle(const struct rewriter *r)
{
    return r->state == REWRITER_IDLE && r->syncs_away == 0;
}
/* Every shard gets a new base; where there is no log, there is one with nothing but bases
 * afterwards, as BGREWRITEAOF leaves it in Redis. False, with the reason logged: it cannot even
 * begin. */
MUST_USE bool rewriter_start(struct server *srv);
/* At the start: a log begins whose bases hold all keys that were loaded, and everything else about
 * them; what was there before is named by the manifest until then, or is still what a start would
 * load. `done` comes later: not ok, with the reason logged, if that cannot be. */
void rewriter_begin_log(struct server *srv, rewriter_done_fn *done);
/* Who asks sees at once that the log is about to be switched on. */
void rewriter_apply_config(struct server *srv, const struct config *changed);
/* What is under way shall end without a result. */
void rewriter_cancel(struct server *srv);
/* In each step of the main loop. */
void rewriter_step(struct server *srv);
/* Ten times a second: what is due by itself, and what is scheduled. */
void rewriter_cron(struct server *srv);

/* ---- [shard] ---- */

/* Once a step, when no parcel runs. */
void rewriter_shard_step(struct worker *w);
/* When rewriter_shard_step has something to do although nothing comes in. */
uint64_t rewriter_shard_next_ns(const struct worker *w);
/* Of a snapshot that is walked for a base. */
void rewriter_take_chunk(struct worker *w, struct snapshot_chunk *chunk);
/* Where a job arrives. */
void rewriter_job_arrives(struct thread *at, struct call *c);
/* A base of a log that was lost is published. */
void rewriter_log_is_covered(struct thread *at, struct call *c);
/* Where they come back to: rewriter.c. */
void rewriter_job_is_back(struct thread *at, struct call *c);
void rewriter_sync_is_back(struct thread *at, struct call *c);
