/* server.h: the main thread: boot order, listeners, the configuration and its publication, orderly
 * stop.
 *
 *     main ──accepted sockets──▶ net threads            (to the one with the fewest connections)
 *     net  ──PLAN_MAIN requests──▶ main ──▶ back
 *     main ──new configuration──▶ every worker ──▶ back, then the reply to CONFIG SET leaves
 *
 * Thread     [main] unless a field says otherwise. Workers read what is constant after boot:
 *            router, mesh, workers.
 * Order      Boot: configuration, mesh, workers (each opens its loop), listeners. Stop: listeners,
 *            connections, workers, memory.
 */
#pragma once

#include <limits.h>

#include "base/budget.h"
#include "base/mem.h"
#include "base/thread.h"
#include "server/acl.h"
#include "server/client_eviction.h"
#include "server/config.h"
#include "server/container.h"
#include "server/durable.h"
#include "server/import.h"
#include "server/latency.h"
#include "server/loader.h"
#include "server/obstacles.h"
#include "server/oom_score.h"
#include "server/replay.h"
#include "server/rewriter.h"
#include "server/router.h"
#include "server/saver.h"
#include "server/script.h"
#include "server/script_sweep.h"
#include "server/session.h"
#include "server/shutdown.h"
#include "server/slowlog.h"

#define SERVER_LISTENERS_MAX (CONFIG_BIND_MAX + 1)
#define SERVER_VERSION "0.1.0"
#define SERVER_REDIS_VERSION                                                                       \
    "7.2.4" /* whose behaviour we promise, for version gates of clients                            \
             */
#define SERVER_RUN_ID_BYTES 40
#define SERVER_WHY_BYTES RECOVERY_WHY_BYTES

struct worker;
struct main_request;

struct listener {
    struct env_socket socket;
    bool is_open, is_unix;
    char address[ENV_NAME_BYTES_MAX];
};

/* Sampled by the main thread ten times a second; any thread may read. */
struct server_samples {
    struct counter ops_per_s, input_bytes_per_s, output_bytes_per_s;
    struct counter used_memory_peak_bytes;
    struct counter rss_bytes;
    struct counter allocator_allocated_bytes, allocator_active_bytes, allocator_resident_bytes;
    struct counter allocator_metadata_bytes;
    struct counter main_user_us, main_sys_us; /* CPU of the main thread */
    uint64_t last_ns, last_ops, last_in, last_out;
    double ops_average, in_average, out_average;
};

/* Active defragmentation as the main thread sees it. */
struct server_defrag {
    struct counter effort_percent; /* of the busiest shard; 0: none works */
    struct counter total_us, current_us;
    uint64_t since_ns, last_ns;
};

struct server {
    /* ---- constant after boot ---- */
    struct mem mem;
    struct mesh mesh;
    struct router router;
    struct worker *workers;
    uint16_t worker_count;
    struct worker **net_workers, **shard_workers; /* by net id, by shard id */
    uint16_t *all_shards;                         /* 0 … shard_count - 1 */
    char run_id[SERVER_RUN_ID_BYTES + 1];
    int64_t started_wall_us;
    uint64_t started_ns;
    uint64_t hash_seed;
    uint64_t startup_memory_bytes, startup_net_bytes; /* of all, of the net threads */
    uint64_t startup_metadata_bytes;                  /* the allocator's own tables */
    char executable[PATH_MAX];
    struct cpu_budget cpus;
    uint32_t database_count;
    struct budget budget;                      /* of maxmemory; shards borrow from it */
    struct counter fragmentation_charge_bytes; /* what fragmentation takes from it: lending.h */
    struct scripts scripts;
    struct acl acl;
    bool is_recording;

    /* ---- main thread ---- */
    struct thread thread;
    const struct config *config; /* published; workers have their own pointer to it */
    struct listener listeners[SERVER_LISTENERS_MAX];
    uint32_t listener_count;
    uint64_t cron_next_ns;
    uint32_t acl_sweeps; /* under way */
    struct oom_score oom_score;
    bool is_cron_paused;     /* DEBUG PAUSE-CRON */
    uint32_t accepted_count; /* sockets on their way to a net thread, until the call is back */
    bool should_stop;
    bool is_loaded; /* the data of an earlier run is there: clients are served */
    bool has_failed_to_load;
    bool is_drained;              /* after server_stop: nothing is under way, memory may be freed */
    struct config_change *change; /* under way: every worker must take it before the next one */
    struct main_request *queue_first, *queue_last; /* wait for it */
    struct client_eviction client_eviction;
    struct script_sweep script_sweep;
    uint32_t obstacles, obstacle_changes; /* as sent to the net threads; changes on their way */
    struct saver saver;
    struct loader loader;
    struct replay replay;
    struct durable durable;
    struct rewriter rewriter;
    struct import import;
    struct shutdown shutdown;

    /* ---- any thread reads ---- */
    struct server_samples samples;
    struct server_defrag defrag;
    struct slowlog slowlog;
    struct latency latency;
    struct container container;
    struct counter rejected_connections;
    _Atomic uint32_t short_shards; /* that have used up their reserve: base/mem.h */
    struct counter hz;             /* in effect: dynamic-hz raises it with the number of clients */
    _Atomic uint64_t message_places; /* of the last message of any channel: shard/channels.h */
    _Atomic int64_t monitor_count;   /* connections that watch; written by net threads */
    struct counter *route_ticks;     /* of PLAN_MAIN commands, by route id */
    uint16_t tcp_port;
};

/* A PLAN_MAIN command on its way. */
struct main_request {
    struct call call;
    struct session_ref from;
    const struct route *route;
    bool client_is_local;   /* by its address: for what only such clients may do */
    struct request request; /* argv copied behind this struct */
    uint64_t ticks;         /* that its handler took */
    struct reply reply; /* of the server's memory; freed when the call is back on the main thread */
    struct chunk *chain;
    struct main_request *next;
    size_t bytes;
    bool is_deferred; /* server_answer will be called later */
    bool is_running;  /* its handler has not returned */
    struct mem *mem;  /* the net thread's: owns this struct */
};

/* [net] */
static inline bool server_has_monitors(const struct server *srv)
{
    return atomic_load_explicit(&srv->monitor_count, memory_order_relaxed) > 0;
}

/* [net] Sends a command to the main thread; the connection waits for the reply. False: no memory.
 */
MUST_USE bool server_ask_main(struct session *s, const struct batch_command *c);

/* [main] Publishes a changed configuration (taken over); the reply to `rq` leaves when every worker
 * has it. Called by CONFIG SET's handler. */
void server_publish_config(struct server *srv, struct config *changed);
/* [main] What the new values mean for the main thread itself: log, listeners, directory … False
 * with the client's text in `error`: nothing has changed. */
MUST_USE bool server_apply_config(struct server *srv, const struct config *changed, uint32_t areas,
                                  struct buf *error);
/* [main] In a handler that has set is_deferred: the reply is written now. An empty one leaves the
 * connection waiting for its end. */
void server_answer(struct server *srv, struct main_request *m);
/* [main] Asks the run loop to end, now. */
void server_request_stop(struct server *srv);

/* Totals over all workers: [any] */
uint64_t server_commands_processed(const struct server *srv);
uint64_t server_live_bytes(const struct server *srv);

/* Boot and stop; `why` has SERVER_WHY_BYTES. [main] */
MUST_USE bool server_init(struct server *srv, struct config *config, char *why);
MUST_USE bool server_start(struct server *srv, char *why);
/* One step of the main loop: calls, accepted sockets, ten times a second the samples. */
void server_step(struct server *srv, uint64_t max_sleep_ns);
void server_stop(struct server *srv);
void server_deinit(struct server *srv);
