/* worker.h: one OS thread with a net role, a shard role, or both; its step, and how it sleeps.
 *
 *     step: calls ─▶ events ─▶ input ─▶ publish ─▶ shard: parcels in turn order ─▶ home ─▶ flush
 *     ─▶ background ─▶ sleep
 *
 * Thread     [net] and [shard] of its roles. The main thread makes, starts and stops it.
 * Limits     Spins at most spin_ns after the last work, and only while there are more CPUs than
 *            threads.
 */
#pragma once

#include <pthread.h>

#include "net/netloop.h"
#include "server/durable.h"
#include "server/lua_vm.h"
#include "server/recorder.h"
#include "server/rewriter.h"
#include "server/script.h"
#include "server/session.h"
#include "shard/shard.h"

struct server;

/* Commands as the net thread saw them; by route id. */
struct route_counters {
    struct counter calls, rejected, failed, ticks;
    histogram_slot histogram; /* ns, of what ran outside of shards */
};

/* A call that is counted, or will be, was refused before it ran. */
static inline void route_was_rejected(struct route_counters *of)
{
    counter_add(&of->rejected, 1);
    counter_add(&of->calls, UINT64_MAX);
}

/* Error replies by their first word ("ERR", "WRONGTYPE" …): errorstats. */
#define ERROR_KINDS_MAX 64
struct error_kind {
    char name[24];
    struct counter count;
};

/* How a worker spends its time, sampled by the main thread; any thread may read the counters. */
struct worker_share {
    struct counter busy_permille, shard_busy_permille, cpu_permille;
    double busy, shard_busy, cpu; /* moving averages */
    uint64_t last_busy_ticks, last_shard_busy_ticks, last_cpu_us;
};

enum pause_mode { PAUSE_NONE, PAUSE_WRITES, PAUSE_ALL };

struct worker {
    struct thread thread;
    struct server *server;
    bool has_net, has_shard;
    struct netloop net;
    struct shard shard;
    struct merge merge;
    struct durable_shard durable;
    struct rewriter_shard rewriter;
    uint64_t homeward; /* bit by net id modulo 64: parcels were pushed home in this step */

    /* ---- what net handlers need ---- */
    const struct config *config; /* snapshot */
    struct net_config net_config[2];
    struct shard_config shard_config[2];
    uint32_t config_version; /* parity says which of the two is in use */
    struct route_counters *routes;
    struct counter commands_processed, evicted_clients;
    uint32_t obstacles; /* enum obstacle: one test before each command */
    enum pause_mode pause_mode;
    int64_t pause_until_ms; /* monotonic */
    struct net_timer pause_timer;
    uint32_t pause_number;   /* of the present or next pause, from 1 on */
    uint64_t paused_clients; /* that it holds: among blocked_clients */
    struct pubsub pubsub;
    struct monitor monitor;
    struct net_tracking tracking;
    struct net_redirects redirects;
    struct dlist stuck;                            /* operations that wait for credit: stuck.h */
    uint64_t watch_ids;                            /* given so far */
    struct counter blocked_clients, timed_clients; /* timed: that wait no longer than a time */
    struct counter watching_clients;
    struct recorder *recorder;         /* NULL: the order is not recorded */
    struct lua_vm vm;                  /* L is NULL until the first script runs here */
    struct script_table *script_table; /* NULL until then */
    struct acl_set *users;             /* NULL until a connection comes */
    uint64_t users_version;
    struct library_set *libraries; /* NULL until the first FCALL */
    uint64_t libraries_version;
    struct script_counters scripts;
    bool scripts_may_all;     /* DEBUG SET-DISABLE-DENY-SCRIPTS */
    struct buf scratch;       /* of whoever runs now, not across calls */
    struct buf placement;     /* of the split command being dispatched */
    struct bytes **part_argv; /* by part: the same */
    uint32_t *part_argc;

    /* ---- loop ---- */
    pthread_t pthread;
    uint64_t
        assigned_connections; /* written by the main thread only: given to this net thread so far */
    bool is_started;
    bool should_resume; /* something came back that a stalled connection may wait for */
    _Atomic bool should_stop, is_drained, may_exit;
    uint64_t spin_ns, busy_until_ns;
    struct counter steps, sleeps, busy_ticks;

    struct error_kind
        error_kinds[ERROR_KINDS_MAX]; /* of its net thread, and of scripts on its shard */

    /* ---- main thread ---- */
    struct worker_share share;
    struct counter cpu_us;
};

struct worker_options {
    struct server *server;
    uint16_t thread_id;
    int32_t net_id, shard_id;
    uint64_t spin_ns;
};

/* [main] Everything but the thread itself. */
void worker_init(struct worker *w, const struct worker_options *options);
void worker_deinit(struct worker *w);
/* On the worker's own thread, before its first step (an io_uring belongs to one thread). False with
 * a line in `why`. */
MUST_USE bool worker_open(struct worker *w, char *why);
void worker_close(struct worker *w);
/* One bounded turn of the loop. `max_sleep_ns` bounds how long it may sleep when there is nothing
 * to do. True if it did anything. */
bool worker_step(struct worker *w, uint64_t max_sleep_ns);
/* [main] Starts the OS thread; returns when it has opened its loop. */
MUST_USE bool worker_start(struct worker *w, bool pin, char *why);
/* [main] Closes its connections and goes on stepping until worker_join; `is_drained` tells when
 * nothing is under way. */
void worker_ask_to_stop(struct worker *w);
void worker_join(struct worker *w);

/* [shard] Runs the parcels that are due, up to a limit, and sends home what may leave. True if
 * there was anything. A part of worker_step. */
bool worker_run_shard(struct worker *w);
/* [shard] A parcel that has run goes home, and what it has released behind it. */
void worker_send_home(struct worker *w, struct parcel *pc);

/* Adds an error reply to errorstats, by its first word. */
void worker_count_error(struct worker *w, struct bytes text);
/* Takes a changed configuration: on the worker's thread. */
void worker_apply_config(struct worker *w, const struct config *config);
