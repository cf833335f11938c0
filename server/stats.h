/* stats.h: what the counters of all threads add up to: for INFO, MEMORY and whoever exports
 * figures.
 *
 * Thread     Reading is for any thread: counters are relaxed and their owners go on counting, so
 *            totals may be a moment apart. Sampling is the main thread's; resetting is for each
 *            counter's owner.
 */
#pragma once

#include "server/worker.h"

#define STATS_ERRORS_MAX (2 * ERROR_KINDS_MAX)

struct server;

/* Totals over all threads. */
struct stats {
    /* ---- net threads ---- */
    uint64_t connections, blocked_clients, timed_clients, connections_received,
        connections_closed_idle, connections_cut_output;
    uint64_t evicted_clients;
    uint64_t commands, bytes_in, bytes_out, reads, writes;
    uint64_t input_buffer_max, output_buffer_max;
    uint64_t watching_clients;
    /* ---- shards ---- */
    /* Names that somebody subscribes to, and who subscribes to anything. */
    uint64_t pubsub_channels, pubsub_patterns, pubsub_sharded_channels, pubsub_clients;
    uint64_t tracking_clients, tracking_keys, tracking_items, tracking_prefixes;
    uint64_t blocking_keys, blocking_keys_absent;
    uint64_t expired_share_ppm; /* of the keys that may expire */
    uint64_t keyspace_hits, keyspace_misses, expired_keys, expire_slices_cut, expire_cycle_us;
    uint64_t lazyfree_pending, lazyfreed;
    uint64_t log_buffer_bytes; /* of the append-only log */
    uint64_t evicted_keys;
    uint64_t eviction_exceeded_us; /* sum over shards, those that exceed now included */
    uint64_t eviction_exceeds_us;  /* for how long the first of them has been over its limit */
    uint64_t watched_keys;
    uint64_t defrag_hits, defrag_misses, defrag_key_hits, defrag_key_misses;
    /* ---- bytes ---- */
    uint64_t used_memory, used_memory_peak, used_memory_clients, used_memory_index,
        used_memory_overhead, used_memory_dataset;
};
void stats_read(const struct server *srv, struct stats *out);

struct stats_command {
    uint64_t calls, usec, rejected, failed;
};
void stats_read_command(const struct server *srv, uint32_t route_id, struct stats_command *out);

/* How long calls took, in ns. False: there was none. */
MUST_USE bool stats_read_histogram(const struct server *srv, uint32_t route_id,
                                   struct histogram_sum *out);

struct stats_error {
    char name[sizeof((struct error_kind *)0)->name];
    uint64_t count;
};
/* By name; the count of kinds. */
uint32_t stats_read_errors(const struct server *srv, struct stats_error out[STATS_ERRORS_MAX]);

/* Sums over all shards. False if no shard has keys in it. */
bool stats_read_database(const struct server *srv, uint32_t db, struct keyspace_stats *out);

struct stats_shard {
    uint64_t keys, expires, bytes;
    uint64_t requests, hops, parcels, queue_depth; /* queue: parcels that wait for it now */
    uint64_t expired_keys, evicted_keys, locked_waits, locks_held;
    uint64_t lent_bytes; /* of maxmemory; 0: no limit */
    uint64_t busy_permille;
    uint64_t slowest_us, slowest_slice_us;
    const char *slowest_command; /* NULL: none yet */
};
void stats_read_shard(const struct server *srv, uint16_t shard_id, struct stats_shard *out);

/* [main] Ten times a second: what the system knows of the process, and shares of time. `seconds`
 * since the last one; 0: the first. */
void stats_sample(struct server *srv, double seconds);

/* CONFIG RESETSTAT. [the worker's thread] and [main] */
void stats_reset_worker(struct worker *w);
void stats_reset_main(struct server *srv);
