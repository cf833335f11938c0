/* config.h: every directive of redis.conf and of ours as one plain structure, and the ways in which
 * it is filled, shown, changed and written back.
 *
 *     config_params[]: one row a directive: name, type, range, default, place in struct config
 *            │
 *     file, standard input, --name value ──config_load──▶ struct config ──▶ read by all threads
 *                         CONFIG SET ──config_set──▶ a changed copy ──config_diff──▶ what to do
 *
 * Thread     One thread builds a struct config [main]; once published it is never written again,
 *            and any thread may read it until the main thread knows that nobody does.
 * Ownership  A struct config owns its texts, which come from the `mem` it was made with. They are
 *            never NULL; an unset one is "". config_copy copies, assignment does not.
 * Limits     CONFIG_LINE_BYTES_MAX a line or value, CONFIG_INCLUDE_DEPTH_MAX nested includes,
 *            CONFIG_BIND_MAX addresses.
 * Errors     The texts of CONFIG SET are Redis's. A mistake in a file names the file, the line and
 *            its text, without passwords.
 * Source     redis.conf of Redis 7.0 and 7.2, and the behaviour of redis-server 7.0.15.
 */
#pragma once

#include "base/bytes.h"
#include "base/env.h"
#include "base/err.h"
#include "base/log.h"

#define CONFIG_BIND_MAX 16
#define CONFIG_SAVE_POINTS_MAX 64
#define CONFIG_PERCENTILES_MAX 64
#define CONFIG_HZ_MAX 500
#define CONFIG_PARAMS_MAX 256
#define CONFIG_LINE_BYTES_MAX (1024 * 1024)
#define CONFIG_INCLUDE_DEPTH_MAX 16
#define CONFIG_THREADS_MAX 256 /* a cursor of SCAN has 8 bits for the shard */
#define CONFIG_THREADS_AUTO 0

enum config_supervised {
    CONFIG_SUPERVISED_NO,
    CONFIG_SUPERVISED_AUTO,
    CONFIG_SUPERVISED_SYSTEMD,
    CONFIG_SUPERVISED_UPSTART
};
enum config_pin { CONFIG_PIN_NO, CONFIG_PIN_YES, CONFIG_PIN_AUTO };
enum config_protected {
    CONFIG_PROTECTED_NO,
    CONFIG_PROTECTED_YES,
    CONFIG_PROTECTED_LOCAL
}; /* who may use the command */
enum config_fsync { CONFIG_FSYNC_NO, CONFIG_FSYNC_EVERYSEC, CONFIG_FSYNC_ALWAYS };
enum config_oom_adj { CONFIG_OOM_ADJ_NO, CONFIG_OOM_ADJ_RELATIVE, CONFIG_OOM_ADJ_ABSOLUTE };
enum config_tls_auth { CONFIG_TLS_AUTH_NO, CONFIG_TLS_AUTH_YES, CONFIG_TLS_AUTH_OPTIONAL };
enum config_sanitize { CONFIG_SANITIZE_NO, CONFIG_SANITIZE_YES, CONFIG_SANITIZE_CLIENTS };
enum config_diskless_load { CONFIG_LOAD_DISABLED, CONFIG_LOAD_ON_EMPTY_DB, CONFIG_LOAD_SWAPDB };
enum config_propagation {
    CONFIG_PROPAGATION_IGNORE,
    CONFIG_PROPAGATION_PANIC,
    CONFIG_PROPAGATION_PANIC_ON_REPLICAS
};
enum config_endpoint { CONFIG_ENDPOINT_IP, CONFIG_ENDPOINT_HOSTNAME, CONFIG_ENDPOINT_UNKNOWN };
enum config_channels { CONFIG_CHANNELS_RESET, CONFIG_CHANNELS_ALL };

enum config_policy {
    CONFIG_POLICY_VOLATILE_LRU,
    CONFIG_POLICY_VOLATILE_LFU,
    CONFIG_POLICY_VOLATILE_RANDOM,
    CONFIG_POLICY_VOLATILE_TTL,
    CONFIG_POLICY_ALLKEYS_LRU,
    CONFIG_POLICY_ALLKEYS_LFU,
    CONFIG_POLICY_ALLKEYS_RANDOM,
    CONFIG_POLICY_ALLKEYS_S3FIFO,
    CONFIG_POLICY_NOEVICTION,
};

/* Bits of shutdown-on-sigint and shutdown-on-sigterm; 0: save if there are save points. */
enum config_shutdown {
    CONFIG_SHUTDOWN_SAVE = 1,
    CONFIG_SHUTDOWN_NOSAVE = 2,
    CONFIG_SHUTDOWN_NOW = 4,
    CONFIG_SHUTDOWN_FORCE = 8
};

/* Classes of client-output-buffer-limit. */
enum config_client_class {
    CONFIG_CLIENT_NORMAL,
    CONFIG_CLIENT_REPLICA,
    CONFIG_CLIENT_PUBSUB,
    CONFIG_CLIENT_CLASSES
};

struct config_output_limit {
    uint64_t hard_bytes, soft_bytes; /* 0: none */
    int64_t soft_s;
};

struct config_save_point {
    int64_t seconds, changes;
};

struct config_list {
    char **items;
    uint32_t count;
};

struct config {
    /* ---- network ---- */
    uint16_t port; /* 0: no TCP */
    uint16_t tls_port;
    struct config_list bind; /* addresses; one that starts with '-' may be missing, "*" is every
                                IPv4 address, "-::*" */
    char *bind_source_addr;
    char *unixsocket;        /* "": none */
    uint32_t unixsocketperm; /* 0: the umask's */
    int32_t tcp_backlog;
    uint32_t timeout_s;       /* idle clients; 0: never */
    uint32_t tcp_keepalive_s; /* 0: off */
    bool protected_mode;
    uint32_t socket_mark_id;
    uint32_t maxclients;
    uint64_t client_query_buffer_bytes_max;
    uint64_t proto_bulk_bytes_max;
    int64_t maxmemory_clients; /* bytes, or -percent of maxmemory; 0: none */
    struct config_output_limit client_output_limit[CONFIG_CLIENT_CLASSES];

    /* ---- threads ---- */
    uint32_t threads;     /* CONFIG_THREADS_AUTO, or how many threads carry both roles */
    uint32_t net_threads; /* with shard_threads: dedicated threads instead; CONFIG_THREADS_AUTO: not
                             used */
    uint32_t shard_threads;
    enum config_pin pin_threads;
    enum env_backend io_backend;
    bool io_threads_do_reads;
    char *server_cpulist, *bio_cpulist, *aof_rewrite_cpulist, *bgsave_cpulist;

    /* ---- process ---- */
    bool daemonize;
    enum config_supervised supervised;
    char *pidfile, *dir, *logfile; /* dir is absolute after config_load */
    enum log_level loglevel;
    bool syslog_enabled;
    char *syslog_ident;
    int syslog_facility; /* LOG_LOCAL0 … of syslog(3) */
    bool crash_log_enabled, crash_memcheck_enabled, use_exit_on_panic;
    int32_t watchdog_period_ms;
    bool always_show_logo, set_proc_title, disable_thp, jemalloc_bg_thread;
    char *proc_title_template, *ignore_warnings, *locale_collate;
    enum config_oom_adj oom_score_adj;
    int32_t oom_score_adj_values[3];
    int64_t shutdown_timeout_s;
    uint32_t shutdown_on_sigint, shutdown_on_sigterm; /* enum config_shutdown */
    enum config_protected enable_protected_configs, enable_debug_command, enable_module_command;

    /* ---- keyspace and time ---- */
    uint32_t databases;
    int32_t hz; /* 1 … 500 */
    bool dynamic_hz, activerehashing;
    int32_t active_expire_effort;
    uint32_t notify_keyspace_events; /* enum notify_class */
    uint64_t tracking_table_keys_max;
    bool lazyfree_lazy_eviction, lazyfree_lazy_expire, lazyfree_lazy_server_del,
        lazyfree_lazy_user_del, lazyfree_lazy_user_flush;

    /* ---- encodings ---- */
    int32_t list_max_listpack_size; /* > 0: entries; -1 … -5: 4, 8, 16, 32, 64 KB */
    uint32_t list_compress_depth;
    uint64_t hash_max_listpack_entries, hash_max_listpack_value_bytes;
    uint64_t set_max_intset_entries, set_max_listpack_entries, set_max_listpack_value_bytes;
    uint64_t zset_max_listpack_entries, zset_max_listpack_value_bytes;
    uint64_t hll_sparse_bytes_max, stream_node_bytes_max;
    int64_t stream_node_entries_max;

    /* ---- memory ---- */
    uint64_t maxmemory_bytes;  /* 0: no limit */
    int32_t maxmemory_percent; /* of the container's limit, when it was given so; else 0 */
    enum config_policy maxmemory_policy;
    int32_t maxmemory_samples, maxmemory_eviction_tenacity;
    int32_t maxmemory_fragmentation_percent; /* ours; 0: it never counts */
    int32_t lfu_log_factor, lfu_decay_time_min;
    bool activedefrag;
    uint64_t active_defrag_ignore_bytes, active_defrag_max_scan_fields;
    int32_t active_defrag_threshold_lower_percent, active_defrag_threshold_upper_percent;
    int32_t active_defrag_cycle_min_percent, active_defrag_cycle_max_percent;

    /* ---- observation ---- */
    int64_t slowlog_slower_than_us; /* < 0: off */
    uint64_t slowlog_entries_max;
    uint64_t latency_monitor_threshold_ms; /* 0: off */
    bool latency_tracking;
    double latency_percentiles[CONFIG_PERCENTILES_MAX];
    uint32_t latency_percentile_count;
    uint64_t acllog_entries_max;

    /* ---- security ---- */
    char *requirepass; /* "": none */
    char *aclfile;
    enum config_channels acl_pubsub_default;
    struct config_list users; /* each "name rule rule …" */
    struct config_list
        rename_commands; /* pairs: items[2 * i] becomes items[2 * i + 1]; "" removes the command */

    /* ---- scripts and modules ---- */
    int64_t busy_reply_threshold_ms; /* lua-time-limit */
    bool lua_enable_deprecated_api;
    struct config_list modules; /* each "path arg …" */

    /* ---- snapshots and append only file ---- */
    struct config_save_point save[CONFIG_SAVE_POINTS_MAX];
    uint32_t save_count;
    bool stop_writes_on_bgsave_error, rdbcompression, rdbchecksum, rdb_del_sync_files,
        rdb_save_incremental_fsync;
    char *dbfilename;
    int32_t rdb_key_save_delay_us, key_load_delay_us;
    uint64_t loading_process_events_interval_bytes;
    enum config_sanitize sanitize_dump_payload;
    bool appendonly;
    enum config_fsync appendfsync;
    char *appendfilename, *appenddirname;
    bool no_appendfsync_on_rewrite, aof_load_truncated, aof_use_rdb_preamble, aof_timestamp_enabled;
    bool aof_rewrite_incremental_fsync, aof_disable_auto_gc;
    int32_t auto_aof_rewrite_percentage;
    uint64_t auto_aof_rewrite_min_bytes;

    /* ---- replication ---- */
    char *replicaof; /* "host port", or "" */
    char *masteruser, *masterauth, *replica_announce_ip;
    uint16_t replica_announce_port;
    bool replica_announced, replica_serve_stale_data, replica_read_only, replica_ignore_maxmemory,
        replica_lazy_flush;
    bool replica_ignore_disk_write_errors;
    int32_t replica_priority;
    bool repl_diskless_sync, repl_disable_tcp_nodelay;
    enum config_diskless_load repl_diskless_load;
    int32_t repl_diskless_sync_delay_s, repl_diskless_sync_max_replicas, repl_ping_replica_period_s,
        repl_timeout_s;
    uint64_t repl_backlog_bytes;
    int64_t repl_backlog_ttl_s;
    int32_t min_replicas_to_write, min_replicas_max_lag_s;
    enum config_propagation propagation_error_behavior;

    /* ---- cluster ---- */
    bool cluster_enabled, cluster_require_full_coverage, cluster_replica_no_failover,
        cluster_allow_reads_when_down;
    bool cluster_allow_pubsubshard_when_down, cluster_allow_replica_migration;
    char *cluster_config_file, *cluster_announce_ip, *cluster_announce_hostname,
        *cluster_announce_human_nodename;
    uint16_t cluster_announce_port, cluster_announce_tls_port, cluster_announce_bus_port,
        cluster_port;
    int64_t cluster_node_timeout_ms;
    int32_t cluster_migration_barrier, cluster_replica_validity_factor;
    uint64_t cluster_link_sendbuf_bytes_max;
    enum config_endpoint cluster_preferred_endpoint_type;

    /* ---- TLS ---- */
    char *tls_cert_file, *tls_key_file, *tls_key_file_pass, *tls_client_cert_file,
        *tls_client_key_file, *tls_client_key_file_pass;
    char *tls_dh_params_file, *tls_ca_cert_file, *tls_ca_cert_dir, *tls_protocols, *tls_ciphers,
        *tls_ciphersuites;
    enum config_tls_auth tls_auth_clients;
    bool tls_replication, tls_cluster, tls_prefer_server_ciphers, tls_session_caching;
    int32_t tls_session_cache_size;
    uint32_t tls_session_cache_timeout_s;

    /* ---- where it came from ---- */
    char *file_path; /* absolute; "" when there is no file */
    /* A bit by row: set explicitly, by file, argument or CONFIG SET. */
    uint64_t given[CONFIG_PARAMS_MAX / 64];
    struct mem *mem;
};

/* ---- filling ---- */

/* Every default, from the table. */
void config_defaults(struct config *c, struct mem *mem);
/* A copy of everything into `out`, with the same mem. */
void config_copy(const struct config *c, struct config *out);
/* A text of a configuration with the zero bytes that it may have (CONFIG_BINARY). */
struct bytes config_text_view(const char *text);
void config_deinit(struct config *c);

/* Reads what redis-server would: argv[1] may be a file or "-"; then come `--name value …`, which
 * override the file. Fills `out` (defaults first), which must then be deinit'ed; on failure it is
 * not. `why` gets a text for standard error, several lines. Options such as --version and --help
 * are the caller's and must have been handled before. [main] */
MUST_USE enum err config_load(int argc, char **argv, struct mem *mem, struct config *out,
                              struct buf *why);
/* The same for one text, which cannot include files. `origin` names it in errors. `c` holds
 * defaults or earlier values; on failure it still must be deinit'ed. */
MUST_USE enum err config_read_text(struct config *c, struct bytes text, const char *origin,
                                   struct buf *why);

/* One line, ready for the log, for each thing that was set but does not do here what the user may
 * expect: one that names all directives without effect, and one each for persistence that was asked
 * for. */
typedef void config_warn_fn(void *context, const char *line);
void config_warnings(const struct config *c, config_warn_fn *warn, void *context);

/* ---- CONFIG GET, SET, REWRITE ---- */

typedef void config_visit_fn(void *context, const char *name, struct bytes value);
/* Every directive whose name matches one of the globs (ignoring case), once, under the name that
 * matched (a directive may have two). The value is valid during the call. Scratch memory comes from
 * c->mem: another thread than the main one passes a view of `c` with a mem of its own. */
void config_get(const struct config *c, const struct bytes *patterns, uint32_t pattern_count,
                config_visit_fn *visit, void *context);

/* CONFIG SET of several pairs (name, value, name, value …; argc is even), all or nothing: on OK
 * `out` is a changed copy of `old`, else out is untouched and `error` holds the client's text with
 * its "ERR ". `client_is_local` matters for enable-protected-configs local. */
MUST_USE enum err config_set(const struct config *old, const struct bytes *argv, uint32_t argc,
                             bool client_is_local, struct config *out, struct buf *error);
/* The text that a client gets when a new value was fine but could not be put into effect: "ERR
 * CONFIG SET failed …". */
void config_set_failure(struct buf *error, const char *name, const char *reason);

/* Writes the present values into the file that config_load read: comments and order stay, lines
 * change in place, what is not default and has no line is appended. `error` gets the client's text.
 * [main] */
MUST_USE enum err config_rewrite(const struct config *c, struct buf *error);
/* The new text of the file, given the old one. */
void config_rewrite_text(const struct config *c, struct bytes old, struct buf *out);

/* ---- what a change means ---- */

/* Bits, one per part of the server that must look at the new values. What is not named here is read
 * from the snapshot each time it is needed. */
enum config_area {
    CONFIG_AREA_LISTEN = 1 << 0, /* bind, port, tls-port, unixsocket …: close and open listeners */
    CONFIG_AREA_LOG = 1 << 1,    /* loglevel, logfile */
    CONFIG_AREA_CLIENTS = 1 << 2, /* maxclients, timeout, keepalive, limits: tell the net threads */
    CONFIG_AREA_SHARDS =
        1 << 3, /* encodings, lazyfree, expiry, notifications: tell the shard threads */
    CONFIG_AREA_MEMORY = 1 << 4,   /* maxmemory and its policy, defragmentation */
    CONFIG_AREA_OBSERVE = 1 << 5,  /* slow log, latency */
    CONFIG_AREA_PASSWORD = 1 << 6, /* requirepass: the default user changes */
    CONFIG_AREA_PROCESS = 1 << 7,  /* dir, oom-score-adj, process title */
    CONFIG_AREA_PERSIST = 1 << 8,  /* save, append only file */
    CONFIG_AREA_REPLICATION = 1 << 9,
    CONFIG_AREA_CLUSTER = 1 << 10,
    CONFIG_AREA_TLS = 1 << 11,
};
/* enum config_area bits of everything that differs. */
uint32_t config_diff(const struct config *a, const struct config *b);
/* Whether one directive differs; `name` must exist. */
bool config_differs(const struct config *a, const struct config *b, const char *name);

/* ---- the table ---- */

enum config_kind {
    CONFIG_BOOL,
    CONFIG_ENUM,
    CONFIG_BITS, /* several words of an enum */
    CONFIG_INT,
    CONFIG_MEMORY,         /* "4gb" */
    CONFIG_MEMORY_PERCENT, /* "4gb" or "5%" */
    CONFIG_OCTAL,
    CONFIG_THREADS, /* "auto" or a number */
    CONFIG_TEXT,
    CONFIG_SPECIAL, /* has functions of its own */
};

enum config_flags {
    CONFIG_IMMUTABLE = 1 << 0, /* not by CONFIG SET */
    CONFIG_HIDDEN = 1 << 1,    /* CONFIG GET shows it only under its full name */
    CONFIG_SENSITIVE = 1 << 2, /* never in the log or slow log */
    CONFIG_MULTI = 1 << 3,     /* several words, or several lines */
    CONFIG_NO_EFFECT = 1 << 4, /* kept and shown, but nothing here acts on it */
    CONFIG_PROTECTED = 1 << 5, /* CONFIG SET obeys enable-protected-configs */
    CONFIG_FILE_ONLY = 1 << 6, /* a line of the file that CONFIG GET does not know: rename-command,
                                  user, loadmodule */
    CONFIG_BINARY = 1 << 7,    /* a text that may have zero bytes: config_text_view */
};

struct config_word {
    const char *word;
    int value;
};

struct config_special;

struct config_param {
    const char *name, *alias;
    enum config_kind kind;
    uint32_t flags;
    uint32_t area;          /* enum config_area */
    uint16_t offset, bytes; /* of the field in struct config */
    int64_t min, max;       /* max of a memory value may be UINT64_MAX: -1 */
    const char *initial;
    const struct config_word *words;      /* ended by a NULL word; CONFIG_ENUM and CONFIG_BITS */
    const struct config_special *special; /* CONFIG_SPECIAL */
};

extern const struct config_param config_params[];
extern const uint32_t config_param_count;
/* By name or alias, ignoring case; NULL if there is none. */
const struct config_param *config_find(struct bytes name);
