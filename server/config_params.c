/* config_params.c: every directive, one row each: the single source for reading, showing, changing,
 * rewriting and checking.
 *
 * CONFIG_NO_EFFECT marks what is kept and shown but not acted on; whoever builds the feature
 * removes the mark.
 */
#include "server/config_value.h"

#include <stddef.h>

/* clang-format off */

static const struct config_word words_loglevel[] = {{"debug", LOG_DEBUG}, {"verbose", LOG_VERBOSE}, {"notice", LOG_NOTICE}, {"warning", LOG_WARNING}, {"nothing", LOG_NOTHING}, {NULL, 0}};
static const struct config_word words_supervised[] = {{"upstart", CONFIG_SUPERVISED_UPSTART}, {"systemd", CONFIG_SUPERVISED_SYSTEMD}, {"auto", CONFIG_SUPERVISED_AUTO}, {"no", CONFIG_SUPERVISED_NO}, {NULL, 0}};
static const struct config_word words_pin[] = {{"no", CONFIG_PIN_NO}, {"yes", CONFIG_PIN_YES}, {"auto", CONFIG_PIN_AUTO}, {NULL, 0}};
static const struct config_word words_backend[] = {{"auto", ENV_AUTO}, {"io_uring", ENV_URING}, {"epoll", ENV_EPOLL}, {NULL, 0}};
static const struct config_word words_protected[] = {{"no", CONFIG_PROTECTED_NO}, {"yes", CONFIG_PROTECTED_YES}, {"local", CONFIG_PROTECTED_LOCAL}, {NULL, 0}};
static const struct config_word words_fsync[] = {{"everysec", CONFIG_FSYNC_EVERYSEC}, {"always", CONFIG_FSYNC_ALWAYS}, {"no", CONFIG_FSYNC_NO}, {NULL, 0}};
static const struct config_word words_oom[] = {{"no", CONFIG_OOM_ADJ_NO}, {"yes", CONFIG_OOM_ADJ_RELATIVE}, {"relative", CONFIG_OOM_ADJ_RELATIVE}, {"absolute", CONFIG_OOM_ADJ_ABSOLUTE}, {NULL, 0}};
static const struct config_word words_tls_auth[] = {{"no", CONFIG_TLS_AUTH_NO}, {"yes", CONFIG_TLS_AUTH_YES}, {"optional", CONFIG_TLS_AUTH_OPTIONAL}, {NULL, 0}};
static const struct config_word words_sanitize[] = {{"no", CONFIG_SANITIZE_NO}, {"yes", CONFIG_SANITIZE_YES}, {"clients", CONFIG_SANITIZE_CLIENTS}, {NULL, 0}};
static const struct config_word words_diskless[] = {{"disabled", CONFIG_LOAD_DISABLED}, {"on-empty-db", CONFIG_LOAD_ON_EMPTY_DB}, {"swapdb", CONFIG_LOAD_SWAPDB}, {NULL, 0}};
static const struct config_word words_propagation[] = {{"ignore", CONFIG_PROPAGATION_IGNORE}, {"panic", CONFIG_PROPAGATION_PANIC}, {"panic-on-replicas", CONFIG_PROPAGATION_PANIC_ON_REPLICAS}, {NULL, 0}};
static const struct config_word words_endpoint[] = {{"ip", CONFIG_ENDPOINT_IP}, {"hostname", CONFIG_ENDPOINT_HOSTNAME}, {"unknown-endpoint", CONFIG_ENDPOINT_UNKNOWN}, {NULL, 0}};
static const struct config_word words_channels[] = {{"allchannels", CONFIG_CHANNELS_ALL}, {"resetchannels", CONFIG_CHANNELS_RESET}, {NULL, 0}};
static const struct config_word words_shutdown[] = {{"default", 0}, {"save", CONFIG_SHUTDOWN_SAVE}, {"nosave", CONFIG_SHUTDOWN_NOSAVE}, {"now", CONFIG_SHUTDOWN_NOW}, {"force", CONFIG_SHUTDOWN_FORCE}, {NULL, 0}};
static const struct config_word words_policy[] = {
    {"volatile-lru", CONFIG_POLICY_VOLATILE_LRU}, {"volatile-lfu", CONFIG_POLICY_VOLATILE_LFU}, {"volatile-random", CONFIG_POLICY_VOLATILE_RANDOM}, {"volatile-ttl", CONFIG_POLICY_VOLATILE_TTL},
    {"allkeys-lru", CONFIG_POLICY_ALLKEYS_LRU}, {"allkeys-lfu", CONFIG_POLICY_ALLKEYS_LFU}, {"allkeys-random", CONFIG_POLICY_ALLKEYS_RANDOM}, {"allkeys-s3fifo", CONFIG_POLICY_ALLKEYS_S3FIFO}, {"noeviction", CONFIG_POLICY_NOEVICTION}, {NULL, 0}};
/* Facility codes of syslog(3), whose header would clash with ours. */
static const struct config_word words_facility[] = {
    {"user", 1 << 3}, {"local0", 16 << 3}, {"local1", 17 << 3}, {"local2", 18 << 3}, {"local3", 19 << 3},
    {"local4", 20 << 3}, {"local5", 21 << 3}, {"local6", 22 << 3}, {"local7", 23 << 3}, {NULL, 0}};

#define FIELD(field) offsetof(struct config, field), sizeof(((struct config *)0)->field)
#define BOOLEAN(name, alias, field, flags, area, initial) {name, alias, CONFIG_BOOL, flags, area, FIELD(field), 0, 1, initial, NULL, NULL}
#define WORD(name, alias, field, flags, area, words, initial) {name, alias, CONFIG_ENUM, flags, area, FIELD(field), 0, 0, initial, words, NULL}
#define BITS(name, alias, field, flags, area, words, initial) {name, alias, CONFIG_BITS, (flags) | CONFIG_MULTI, area, FIELD(field), 0, 0, initial, words, NULL}
#define NUMBER(name, alias, field, flags, area, min, max, initial) {name, alias, CONFIG_INT, flags, area, FIELD(field), min, max, initial, NULL, NULL}
#define THREADS(name, alias, field, flags, area, initial) {name, alias, CONFIG_THREADS, flags, area, FIELD(field), 1, CONFIG_THREADS_MAX, initial, NULL, NULL}
#define MEMORY(name, alias, field, flags, area, min, max, initial) {name, alias, CONFIG_MEMORY, flags, area, FIELD(field), min, max, initial, NULL, NULL}
#define TEXT(name, alias, field, flags, area, initial) {name, alias, CONFIG_TEXT, flags, area, FIELD(field), 0, 0, initial, NULL, NULL}
#define CHECKED(name, alias, field, flags, area, special, initial) {name, alias, CONFIG_TEXT, flags, area, FIELD(field), 0, 0, initial, NULL, &config_special_##special}
#define SPECIAL(name, alias, field, flags, area, special, initial) {name, alias, CONFIG_SPECIAL, flags, area, FIELD(field), 0, 0, initial, NULL, &config_special_##special}

#define IMMUTABLE CONFIG_IMMUTABLE
#define HIDDEN CONFIG_HIDDEN
#define SECRET CONFIG_SENSITIVE
#define BINARY CONFIG_BINARY
#define MULTI CONFIG_MULTI
#define UNUSED_HERE CONFIG_NO_EFFECT
#define PROTECTED CONFIG_PROTECTED
#define FILE_ONLY CONFIG_FILE_ONLY
#define AREA(name) CONFIG_AREA_##name

const struct config_param config_params[] = {
    /* ---- network ---- */
    SPECIAL("bind", NULL, bind, MULTI, AREA(LISTEN), bind, "* -::*"),
    NUMBER("port", NULL, port, 0, AREA(LISTEN), 0, 65535, "6379"),
    TEXT("unixsocket", NULL, unixsocket, IMMUTABLE, AREA(LISTEN), ""),
    {"unixsocketperm", NULL, CONFIG_OCTAL, IMMUTABLE, AREA(LISTEN), FIELD(unixsocketperm), 0, 0777, "0", NULL, NULL},
    NUMBER("tcp-backlog", NULL, tcp_backlog, IMMUTABLE, AREA(LISTEN), 0, INT32_MAX, "511"),
    TEXT("bind-source-addr", NULL, bind_source_addr, UNUSED_HERE, AREA(REPLICATION), ""),
    NUMBER("socket-mark-id", NULL, socket_mark_id, IMMUTABLE | UNUSED_HERE, AREA(LISTEN), 0, UINT32_MAX, "0"),
    BOOLEAN("protected-mode", NULL, protected_mode, 0, AREA(CLIENTS), "yes"),
    NUMBER("timeout", NULL, timeout_s, 0, AREA(CLIENTS), 0, INT32_MAX, "0"),
    NUMBER("tcp-keepalive", NULL, tcp_keepalive_s, 0, AREA(CLIENTS), 0, INT32_MAX, "300"),
    NUMBER("maxclients", NULL, maxclients, 0, AREA(CLIENTS), 1, UINT32_MAX, "10000"),
    MEMORY("client-query-buffer-limit", NULL, client_query_buffer_bytes_max, 0, AREA(CLIENTS), 1024 * 1024, INT64_MAX, "1gb"),
    MEMORY("proto-max-bulk-len", NULL, proto_bulk_bytes_max, 0, AREA(CLIENTS) | AREA(SHARDS), 1024 * 1024, INT64_MAX, "512mb"),
    SPECIAL("client-output-buffer-limit", NULL, client_output_limit, MULTI, AREA(CLIENTS), output_limit, "normal 0 0 0 slave 256mb 64mb 60 pubsub 32mb 8mb 60"),
    {"maxmemory-clients", NULL, CONFIG_MEMORY_PERCENT, 0, AREA(CLIENTS) | AREA(MEMORY), FIELD(maxmemory_clients), -100, INT64_MAX, "0", NULL, NULL},

    /* ---- threads ---- */
    THREADS("threads", "io-threads", threads, IMMUTABLE, 0, "auto"),
    THREADS("net-threads", NULL, net_threads, IMMUTABLE, 0, "auto"),
    THREADS("shard-threads", NULL, shard_threads, IMMUTABLE, 0, "auto"),
    WORD("pin-threads", NULL, pin_threads, IMMUTABLE, 0, words_pin, "auto"),
    WORD("io-backend", NULL, io_backend, IMMUTABLE, 0, words_backend, "auto"),
    BOOLEAN("io-threads-do-reads", NULL, io_threads_do_reads, IMMUTABLE | UNUSED_HERE, 0, "no"),
    TEXT("server-cpulist", "server_cpulist", server_cpulist, IMMUTABLE | UNUSED_HERE, 0, ""),
    TEXT("bio-cpulist", "bio_cpulist", bio_cpulist, IMMUTABLE | UNUSED_HERE, 0, ""),
    TEXT("aof-rewrite-cpulist", "aof_rewrite_cpulist", aof_rewrite_cpulist, IMMUTABLE | UNUSED_HERE, 0, ""),
    TEXT("bgsave-cpulist", "bgsave_cpulist", bgsave_cpulist, IMMUTABLE | UNUSED_HERE, 0, ""),

    /* ---- process ---- */
    BOOLEAN("daemonize", NULL, daemonize, IMMUTABLE, 0, "no"),
    WORD("supervised", NULL, supervised, IMMUTABLE, 0, words_supervised, "no"),
    TEXT("pidfile", NULL, pidfile, IMMUTABLE, 0, ""),
    SPECIAL("dir", NULL, dir, PROTECTED, AREA(PROCESS), dir, "."),
    WORD("loglevel", NULL, loglevel, 0, AREA(LOG), words_loglevel, "notice"),
    TEXT("logfile", NULL, logfile, IMMUTABLE, AREA(LOG), ""),
    BOOLEAN("syslog-enabled", NULL, syslog_enabled, IMMUTABLE | UNUSED_HERE, AREA(LOG), "no"),
    TEXT("syslog-ident", NULL, syslog_ident, IMMUTABLE | UNUSED_HERE, AREA(LOG), "shoal"),
    WORD("syslog-facility", NULL, syslog_facility, IMMUTABLE | UNUSED_HERE, AREA(LOG), words_facility, "local0"),
    BOOLEAN("crash-log-enabled", NULL, crash_log_enabled, UNUSED_HERE, AREA(PROCESS), "yes"),
    BOOLEAN("crash-memcheck-enabled", NULL, crash_memcheck_enabled, UNUSED_HERE, AREA(PROCESS), "yes"),
    BOOLEAN("use-exit-on-panic", NULL, use_exit_on_panic, HIDDEN | UNUSED_HERE, AREA(PROCESS), "no"),
    NUMBER("watchdog-period", NULL, watchdog_period_ms, HIDDEN | UNUSED_HERE, AREA(PROCESS), 0, INT32_MAX, "0"),
    BOOLEAN("always-show-logo", NULL, always_show_logo, IMMUTABLE | UNUSED_HERE, 0, "no"),
    BOOLEAN("set-proc-title", NULL, set_proc_title, IMMUTABLE | UNUSED_HERE, AREA(PROCESS), "yes"),
    CHECKED("proc-title-template", NULL, proc_title_template, UNUSED_HERE, AREA(PROCESS), title, "{title} {listen-addr} {server-mode}"),
    BOOLEAN("disable-thp", NULL, disable_thp, IMMUTABLE | UNUSED_HERE, 0, "yes"),
    BOOLEAN("jemalloc-bg-thread", NULL, jemalloc_bg_thread, UNUSED_HERE, AREA(MEMORY), "yes"),
    TEXT("ignore-warnings", NULL, ignore_warnings, UNUSED_HERE, AREA(PROCESS), ""),
    TEXT("locale-collate", NULL, locale_collate, UNUSED_HERE, AREA(PROCESS), ""),
    WORD("oom-score-adj", NULL, oom_score_adj, 0, AREA(PROCESS), words_oom, "no"),
    SPECIAL("oom-score-adj-values", NULL, oom_score_adj_values, MULTI, AREA(PROCESS), oom_values, "0 200 800"),
    NUMBER("shutdown-timeout", NULL, shutdown_timeout_s, UNUSED_HERE, AREA(PROCESS), 0, INT32_MAX, "10"),
    BITS("shutdown-on-sigint", NULL, shutdown_on_sigint, 0, AREA(PROCESS), words_shutdown, "default"),
    BITS("shutdown-on-sigterm", NULL, shutdown_on_sigterm, 0, AREA(PROCESS), words_shutdown, "default"),
    WORD("enable-protected-configs", NULL, enable_protected_configs, IMMUTABLE, 0, words_protected, "no"),
    WORD("enable-debug-command", NULL, enable_debug_command, IMMUTABLE, 0, words_protected, "no"),
    WORD("enable-module-command", NULL, enable_module_command, IMMUTABLE | UNUSED_HERE, 0, words_protected, "no"),

    /* ---- keyspace and time ---- */
    NUMBER("databases", NULL, databases, IMMUTABLE, 0, 1, INT32_MAX, "16"),
    {"hz", NULL, CONFIG_INT, 0, AREA(SHARDS), FIELD(hz), 0, INT32_MAX, "10", NULL, &config_special_hz},
    BOOLEAN("dynamic-hz", NULL, dynamic_hz, 0, AREA(SHARDS), "yes"),
    BOOLEAN("activerehashing", NULL, activerehashing, UNUSED_HERE, AREA(SHARDS), "yes"),
    NUMBER("active-expire-effort", NULL, active_expire_effort, 0, AREA(SHARDS), 1, 10, "1"),
    SPECIAL("notify-keyspace-events", NULL, notify_keyspace_events, 0, AREA(SHARDS), notify, ""),
    NUMBER("tracking-table-max-keys", NULL, tracking_table_keys_max, 0, AREA(SHARDS), 0, INT64_MAX, "1000000"),
    BOOLEAN("lazyfree-lazy-eviction", NULL, lazyfree_lazy_eviction, 0, AREA(SHARDS), "no"),
    BOOLEAN("lazyfree-lazy-expire", NULL, lazyfree_lazy_expire, 0, AREA(SHARDS), "no"),
    BOOLEAN("lazyfree-lazy-server-del", NULL, lazyfree_lazy_server_del, 0, AREA(SHARDS), "no"),
    BOOLEAN("lazyfree-lazy-user-del", NULL, lazyfree_lazy_user_del, 0, AREA(SHARDS), "no"),
    BOOLEAN("lazyfree-lazy-user-flush", NULL, lazyfree_lazy_user_flush, 0, AREA(SHARDS), "no"),

    /* ---- encodings ---- */
    NUMBER("list-max-listpack-size", "list-max-ziplist-size", list_max_listpack_size, 0, AREA(SHARDS), INT32_MIN, INT32_MAX, "-2"),
    NUMBER("list-compress-depth", NULL, list_compress_depth, UNUSED_HERE, AREA(SHARDS), 0, INT32_MAX, "0"),
    NUMBER("hash-max-listpack-entries", "hash-max-ziplist-entries", hash_max_listpack_entries, 0, AREA(SHARDS), 0, INT64_MAX, "512"),
    MEMORY("hash-max-listpack-value", "hash-max-ziplist-value", hash_max_listpack_value_bytes, 0, AREA(SHARDS), 0, INT64_MAX, "64"),
    NUMBER("set-max-intset-entries", NULL, set_max_intset_entries, 0, AREA(SHARDS), 0, INT64_MAX, "512"),
    NUMBER("set-max-listpack-entries", NULL, set_max_listpack_entries, 0, AREA(SHARDS), 0, INT64_MAX, "128"),
    MEMORY("set-max-listpack-value", NULL, set_max_listpack_value_bytes, 0, AREA(SHARDS), 0, INT64_MAX, "64"),
    NUMBER("zset-max-listpack-entries", "zset-max-ziplist-entries", zset_max_listpack_entries, 0, AREA(SHARDS), 0, INT64_MAX, "128"),
    MEMORY("zset-max-listpack-value", "zset-max-ziplist-value", zset_max_listpack_value_bytes, 0, AREA(SHARDS), 0, INT64_MAX, "64"),
    MEMORY("hll-sparse-max-bytes", NULL, hll_sparse_bytes_max, 0, AREA(SHARDS), 0, INT64_MAX, "3000"),
    MEMORY("stream-node-max-bytes", NULL, stream_node_bytes_max, 0, AREA(SHARDS), 0, INT64_MAX, "4kb"),
    NUMBER("stream-node-max-entries", NULL, stream_node_entries_max, 0, AREA(SHARDS), 0, INT64_MAX, "100"),
    SPECIAL("list-max-ziplist-entries", NULL, mem, FILE_ONLY | MULTI | UNUSED_HERE, 0, ignored, NULL),
    SPECIAL("list-max-ziplist-value", NULL, mem, FILE_ONLY | MULTI | UNUSED_HERE, 0, ignored, NULL),

    /* ---- memory ---- */
    SPECIAL("maxmemory", NULL, maxmemory_bytes, 0, AREA(MEMORY), maxmemory, "0"),
    WORD("maxmemory-policy", NULL, maxmemory_policy, 0, AREA(MEMORY), words_policy, "noeviction"),
    NUMBER("maxmemory-samples", NULL, maxmemory_samples, 0, AREA(MEMORY), 1, INT32_MAX, "5"),
    NUMBER("maxmemory-eviction-tenacity", NULL, maxmemory_eviction_tenacity, 0, AREA(MEMORY), 0, 100, "10"),
    NUMBER("maxmemory-fragmentation-percent", NULL, maxmemory_fragmentation_percent, 0, AREA(MEMORY), 0, 1000, "10"),
    NUMBER("lfu-log-factor", NULL, lfu_log_factor, 0, AREA(MEMORY), 0, INT32_MAX, "10"),
    NUMBER("lfu-decay-time", NULL, lfu_decay_time_min, 0, AREA(MEMORY), 0, INT32_MAX, "1"),
    {"activedefrag", NULL, CONFIG_BOOL, 0, AREA(MEMORY) | AREA(SHARDS), FIELD(activedefrag), 0, 1, "no", NULL, &config_special_defrag},
    MEMORY("active-defrag-ignore-bytes", NULL, active_defrag_ignore_bytes, 0, AREA(MEMORY) | AREA(SHARDS), 1, INT64_MAX, "100mb"),
    NUMBER("active-defrag-threshold-lower", NULL, active_defrag_threshold_lower_percent, 0, AREA(MEMORY) | AREA(SHARDS), 0, 1000, "10"),
    NUMBER("active-defrag-threshold-upper", NULL, active_defrag_threshold_upper_percent, 0, AREA(MEMORY) | AREA(SHARDS), 0, 1000, "100"),
    NUMBER("active-defrag-cycle-min", NULL, active_defrag_cycle_min_percent, 0, AREA(MEMORY) | AREA(SHARDS), 1, 99, "1"),
    NUMBER("active-defrag-cycle-max", NULL, active_defrag_cycle_max_percent, 0, AREA(MEMORY) | AREA(SHARDS), 1, 99, "25"),
    NUMBER("active-defrag-max-scan-fields", NULL, active_defrag_max_scan_fields, 0, AREA(MEMORY) | AREA(SHARDS), 1, INT64_MAX, "1000"),

    /* ---- observation ---- */
    NUMBER("slowlog-log-slower-than", NULL, slowlog_slower_than_us, 0, AREA(OBSERVE), -1, INT64_MAX, "10000"),
    NUMBER("slowlog-max-len", NULL, slowlog_entries_max, 0, AREA(OBSERVE), 0, INT64_MAX, "128"),
    NUMBER("latency-monitor-threshold", NULL, latency_monitor_threshold_ms, 0, AREA(OBSERVE), 0, INT64_MAX, "0"),
    BOOLEAN("latency-tracking", NULL, latency_tracking, 0, AREA(OBSERVE), "yes"),
    SPECIAL("latency-tracking-info-percentiles", NULL, latency_percentiles, MULTI, AREA(OBSERVE), percentiles, "50 99 99.9"),

    /* ---- security ---- */
    TEXT("requirepass", NULL, requirepass, SECRET | BINARY, AREA(PASSWORD), ""),
    SPECIAL("rename-command", NULL, rename_commands, FILE_ONLY | MULTI, 0, rename, NULL),
    SPECIAL("user", NULL, users, FILE_ONLY | MULTI | SECRET, 0, users, NULL),
    TEXT("aclfile", NULL, aclfile, IMMUTABLE, 0, ""),
    WORD("acl-pubsub-default", NULL, acl_pubsub_default, 0, 0, words_channels, "resetchannels"),
    NUMBER("acllog-max-len", NULL, acllog_entries_max, 0, AREA(OBSERVE), 0, INT64_MAX, "128"),

    /* ---- scripts, modules, included files ---- */
    NUMBER("busy-reply-threshold", "lua-time-limit", busy_reply_threshold_ms, 0, AREA(SHARDS), 0, INT64_MAX, "5000"),
    BOOLEAN("lua-enable-deprecated-api", NULL, lua_enable_deprecated_api, IMMUTABLE | HIDDEN | UNUSED_HERE, 0, "no"),
    SPECIAL("loadmodule", NULL, modules, FILE_ONLY | MULTI | UNUSED_HERE, 0, modules, NULL),
    SPECIAL("include", NULL, mem, FILE_ONLY, 0, include, NULL),

    /* ---- snapshots and append only file ---- */
    SPECIAL("save", NULL, save, MULTI, AREA(PERSIST), save, "3600 1 300 100 60 10000"),
    BOOLEAN("stop-writes-on-bgsave-error", NULL, stop_writes_on_bgsave_error, 0, AREA(PERSIST), "yes"),
    BOOLEAN("rdbcompression", NULL, rdbcompression, 0, AREA(SHARDS), "yes"),
    BOOLEAN("rdbchecksum", NULL, rdbchecksum, IMMUTABLE, AREA(PERSIST), "yes"),
    BOOLEAN("rdb-del-sync-files", NULL, rdb_del_sync_files, UNUSED_HERE, AREA(PERSIST), "no"),
    BOOLEAN("rdb-save-incremental-fsync", NULL, rdb_save_incremental_fsync, 0, AREA(PERSIST), "yes"),
    CHECKED("dbfilename", NULL, dbfilename, PROTECTED, AREA(PERSIST), file_name, "dump.rdb"),
    NUMBER("rdb-key-save-delay", NULL, rdb_key_save_delay_us, HIDDEN, AREA(PERSIST), INT32_MIN, INT32_MAX, "0"),
    NUMBER("key-load-delay", NULL, key_load_delay_us, HIDDEN, AREA(PERSIST), INT32_MIN, INT32_MAX, "0"),
    NUMBER("loading-process-events-interval-bytes", NULL, loading_process_events_interval_bytes, HIDDEN | UNUSED_HERE, AREA(PERSIST), 1024, INT32_MAX, "2097152"),
    WORD("sanitize-dump-payload", NULL, sanitize_dump_payload, UNUSED_HERE, AREA(PERSIST), words_sanitize, "no"),
    BOOLEAN("appendonly", NULL, appendonly, 0, AREA(PERSIST), "no"),
    WORD("appendfsync", NULL, appendfsync, 0, AREA(PERSIST), words_fsync, "everysec"),
    CHECKED("appendfilename", NULL, appendfilename, IMMUTABLE, AREA(PERSIST), file_name_needed, "appendonly.aof"),
    CHECKED("appenddirname", NULL, appenddirname, IMMUTABLE, AREA(PERSIST), dir_name_needed, "appendonlydir"),
    BOOLEAN("no-appendfsync-on-rewrite", NULL, no_appendfsync_on_rewrite, UNUSED_HERE, AREA(PERSIST), "no"),
    BOOLEAN("aof-load-truncated", NULL, aof_load_truncated, 0, AREA(PERSIST), "yes"),
    BOOLEAN("aof-use-rdb-preamble", NULL, aof_use_rdb_preamble, UNUSED_HERE, AREA(PERSIST), "yes"),
    BOOLEAN("aof-timestamp-enabled", NULL, aof_timestamp_enabled, UNUSED_HERE, AREA(PERSIST), "no"),
    BOOLEAN("aof-rewrite-incremental-fsync", NULL, aof_rewrite_incremental_fsync, UNUSED_HERE, AREA(PERSIST), "yes"),
    BOOLEAN("aof-disable-auto-gc", NULL, aof_disable_auto_gc, UNUSED_HERE, AREA(PERSIST), "no"),
    NUMBER("auto-aof-rewrite-percentage", NULL, auto_aof_rewrite_percentage, 0, AREA(PERSIST), 0, INT32_MAX, "100"),
    MEMORY("auto-aof-rewrite-min-size", NULL, auto_aof_rewrite_min_bytes, 0, AREA(PERSIST), 0, INT64_MAX, "64mb"),

    /* ---- replication ---- */
    SPECIAL("replicaof", "slaveof", replicaof, IMMUTABLE | MULTI | UNUSED_HERE, AREA(REPLICATION), replicaof, ""),
    TEXT("masteruser", NULL, masteruser, SECRET | UNUSED_HERE, AREA(REPLICATION), ""),
    TEXT("masterauth", NULL, masterauth, SECRET | BINARY | UNUSED_HERE, AREA(REPLICATION), ""),
    TEXT("replica-announce-ip", "slave-announce-ip", replica_announce_ip, UNUSED_HERE, AREA(REPLICATION), ""),
    NUMBER("replica-announce-port", "slave-announce-port", replica_announce_port, UNUSED_HERE, AREA(REPLICATION), 0, 65535, "0"),
    BOOLEAN("replica-announced", NULL, replica_announced, UNUSED_HERE, AREA(REPLICATION), "yes"),
    BOOLEAN("replica-serve-stale-data", "slave-serve-stale-data", replica_serve_stale_data, UNUSED_HERE, AREA(REPLICATION), "yes"),
    BOOLEAN("replica-read-only", "slave-read-only", replica_read_only, UNUSED_HERE, AREA(REPLICATION), "yes"),
    BOOLEAN("replica-ignore-maxmemory", "slave-ignore-maxmemory", replica_ignore_maxmemory, UNUSED_HERE, AREA(REPLICATION), "yes"),
    BOOLEAN("replica-lazy-flush", "slave-lazy-flush", replica_lazy_flush, UNUSED_HERE, AREA(REPLICATION), "no"),
    BOOLEAN("replica-ignore-disk-write-errors", NULL, replica_ignore_disk_write_errors, UNUSED_HERE, AREA(REPLICATION), "no"),
    NUMBER("replica-priority", "slave-priority", replica_priority, UNUSED_HERE, AREA(REPLICATION), 0, INT32_MAX, "100"),
    BOOLEAN("repl-diskless-sync", NULL, repl_diskless_sync, UNUSED_HERE, AREA(REPLICATION), "yes"),
    NUMBER("repl-diskless-sync-delay", NULL, repl_diskless_sync_delay_s, UNUSED_HERE, AREA(REPLICATION), 0, INT32_MAX, "5"),
    NUMBER("repl-diskless-sync-max-replicas", NULL, repl_diskless_sync_max_replicas, UNUSED_HERE, AREA(REPLICATION), 0, INT32_MAX, "0"),
    WORD("repl-diskless-load", NULL, repl_diskless_load, UNUSED_HERE, AREA(REPLICATION), words_diskless, "disabled"),
    NUMBER("repl-ping-replica-period", "repl-ping-slave-period", repl_ping_replica_period_s, UNUSED_HERE, AREA(REPLICATION), 1, INT32_MAX, "10"),
    NUMBER("repl-timeout", NULL, repl_timeout_s, UNUSED_HERE, AREA(REPLICATION), 1, INT32_MAX, "60"),
    BOOLEAN("repl-disable-tcp-nodelay", NULL, repl_disable_tcp_nodelay, UNUSED_HERE, AREA(REPLICATION), "no"),
    {"repl-backlog-size", NULL, CONFIG_MEMORY, UNUSED_HERE, AREA(REPLICATION), FIELD(repl_backlog_bytes), 1, INT64_MAX, "1mb", NULL, &config_special_backlog},
    NUMBER("repl-backlog-ttl", NULL, repl_backlog_ttl_s, UNUSED_HERE, AREA(REPLICATION), 0, INT64_MAX, "3600"),
    NUMBER("min-replicas-to-write", "min-slaves-to-write", min_replicas_to_write, UNUSED_HERE, AREA(REPLICATION), 0, INT32_MAX, "0"),
    NUMBER("min-replicas-max-lag", "min-slaves-max-lag", min_replicas_max_lag_s, UNUSED_HERE, AREA(REPLICATION), 0, INT32_MAX, "10"),
    WORD("propagation-error-behavior", NULL, propagation_error_behavior, UNUSED_HERE, AREA(REPLICATION), words_propagation, "ignore"),

    /* ---- cluster ---- */
    BOOLEAN("cluster-enabled", NULL, cluster_enabled, IMMUTABLE | UNUSED_HERE, AREA(CLUSTER), "no"),
    TEXT("cluster-config-file", NULL, cluster_config_file, IMMUTABLE | UNUSED_HERE, AREA(CLUSTER), "nodes.conf"),
    NUMBER("cluster-port", NULL, cluster_port, IMMUTABLE | UNUSED_HERE, AREA(CLUSTER), 0, 65535, "0"),
    NUMBER("cluster-node-timeout", NULL, cluster_node_timeout_ms, UNUSED_HERE, AREA(CLUSTER), 0, INT64_MAX, "15000"),
    NUMBER("cluster-replica-validity-factor", "cluster-slave-validity-factor", cluster_replica_validity_factor, UNUSED_HERE, AREA(CLUSTER), 0, INT32_MAX, "10"),
    NUMBER("cluster-migration-barrier", NULL, cluster_migration_barrier, UNUSED_HERE, AREA(CLUSTER), 0, INT32_MAX, "1"),
    BOOLEAN("cluster-allow-replica-migration", NULL, cluster_allow_replica_migration, UNUSED_HERE, AREA(CLUSTER), "yes"),
    BOOLEAN("cluster-require-full-coverage", NULL, cluster_require_full_coverage, UNUSED_HERE, AREA(CLUSTER), "yes"),
    BOOLEAN("cluster-replica-no-failover", "cluster-slave-no-failover", cluster_replica_no_failover, UNUSED_HERE, AREA(CLUSTER), "no"),
    BOOLEAN("cluster-allow-reads-when-down", NULL, cluster_allow_reads_when_down, UNUSED_HERE, AREA(CLUSTER), "no"),
    BOOLEAN("cluster-allow-pubsubshard-when-down", NULL, cluster_allow_pubsubshard_when_down, UNUSED_HERE, AREA(CLUSTER), "yes"),
    MEMORY("cluster-link-sendbuf-limit", NULL, cluster_link_sendbuf_bytes_max, UNUSED_HERE, AREA(CLUSTER), 0, -1, "0"),
    TEXT("cluster-announce-ip", NULL, cluster_announce_ip, UNUSED_HERE, AREA(CLUSTER), ""),
    CHECKED("cluster-announce-hostname", NULL, cluster_announce_hostname, UNUSED_HERE, AREA(CLUSTER), hostname, ""),
    TEXT("cluster-announce-human-nodename", NULL, cluster_announce_human_nodename, UNUSED_HERE, AREA(CLUSTER), ""),
    NUMBER("cluster-announce-port", NULL, cluster_announce_port, UNUSED_HERE, AREA(CLUSTER), 0, 65535, "0"),
    NUMBER("cluster-announce-tls-port", NULL, cluster_announce_tls_port, UNUSED_HERE, AREA(CLUSTER), 0, 65535, "0"),
    NUMBER("cluster-announce-bus-port", NULL, cluster_announce_bus_port, UNUSED_HERE, AREA(CLUSTER), 0, 65535, "0"),
    WORD("cluster-preferred-endpoint-type", NULL, cluster_preferred_endpoint_type, UNUSED_HERE, AREA(CLUSTER), words_endpoint, "ip"),

    /* ---- TLS ---- */
    NUMBER("tls-port", NULL, tls_port, UNUSED_HERE, AREA(LISTEN) | AREA(TLS), 0, 65535, "0"),
    TEXT("tls-cert-file", NULL, tls_cert_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-key-file", NULL, tls_key_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-key-file-pass", NULL, tls_key_file_pass, SECRET | UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-client-cert-file", NULL, tls_client_cert_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-client-key-file", NULL, tls_client_key_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-client-key-file-pass", NULL, tls_client_key_file_pass, SECRET | UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-dh-params-file", NULL, tls_dh_params_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-ca-cert-file", NULL, tls_ca_cert_file, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-ca-cert-dir", NULL, tls_ca_cert_dir, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-protocols", NULL, tls_protocols, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-ciphers", NULL, tls_ciphers, UNUSED_HERE, AREA(TLS), ""),
    TEXT("tls-ciphersuites", NULL, tls_ciphersuites, UNUSED_HERE, AREA(TLS), ""),
    WORD("tls-auth-clients", NULL, tls_auth_clients, UNUSED_HERE, AREA(TLS), words_tls_auth, "yes"),
    BOOLEAN("tls-replication", NULL, tls_replication, UNUSED_HERE, AREA(TLS), "no"),
    BOOLEAN("tls-cluster", NULL, tls_cluster, UNUSED_HERE, AREA(TLS), "no"),
    BOOLEAN("tls-prefer-server-ciphers", NULL, tls_prefer_server_ciphers, UNUSED_HERE, AREA(TLS), "no"),
    BOOLEAN("tls-session-caching", NULL, tls_session_caching, UNUSED_HERE, AREA(TLS), "yes"),
    NUMBER("tls-session-cache-size", NULL, tls_session_cache_size, UNUSED_HERE, AREA(TLS), 0, INT32_MAX, "20480"),
    NUMBER("tls-session-cache-timeout", NULL, tls_session_cache_timeout_s, UNUSED_HERE, AREA(TLS), 0, INT32_MAX, "300"),
};
/* clang-format on */

const uint32_t config_param_count = ARRAY_LEN(config_params);
_Static_assert(ARRAY_LEN(config_params) <= CONFIG_PARAMS_MAX,
               "one bit of struct config's given per row");
