/* shard.h: one slice of the keyspace and the loop step that executes parcels on it.
 *
 * Thread     [shard] Holding a struct shard * means being on its thread. Others hold its id.
 * Limits     One step runs at most SHARD_STEP_PARCELS parcels, then a slice of background work of
 *            at most SHARD_SLICE_US.
 * Order      Parcels run in turn order; a request runs to completion before the next one starts.
 */
#pragma once

#include "base/counter.h"
#include "base/mem.h"
#include "base/sequencer.h"
#include "base/wheel.h"
#include "shard/channels.h"
#include "shard/defrag.h"
#include "shard/evict.h"
#include "shard/journal.h"
#include "shard/keyspace.h"
#include "shard/locks.h"
#include "shard/snapshot.h"
#include "shard/span.h"
#include "shard/tracking.h"
#include "shard/wait.h"
#include "shard/watch.h"

#define SHARD_STEP_PARCELS 64
#define SHARD_SLICE_US 200
#define SHARD_PREFETCH_WINDOW 64
/* For what cannot fail when the system has no memory left: base/mem.h. */
#define SHARD_RESERVE_BYTES (256 * 1024)

/* What a shard needs to know of the configuration; published by the main thread as an immutable
 * snapshot. */
struct shard_config {
    uint64_t proto_max_bulk_bytes;
    uint32_t hz;
    uint64_t tracking_keys_max; /* of all shards; 0: no limit */
    uint32_t notify_classes;    /* enum notify_class: which keyspace events anybody gets */
    bool rdb_compression;       /* of DUMP and snapshots */
    uint64_t snapshot_delay_us; /* of a snapshot's walk after each key, for tests; 0: none */
    bool active_expire;
    uint32_t expire_effort; /* 1 … EXPIRE_EFFORT_MAX */
    bool skip_checksum;     /* of RESTORE's payloads, for tests */
    bool active_defrag;
    uint64_t defrag_scan_fields_max; /* of a value, in one go */
    uint64_t maxmemory_bytes;        /* of all shards and everything else; 0: no limit */
    enum evict_policy evict_policy;
    bool evict_volatile; /* only keys with a deadline */
    uint32_t evict_samples, evict_tenacity;
    uint32_t lfu_log_factor, lfu_decay_minutes;
    int32_t list_max_listpack_size; /* > 0: elements; -1 … -5: 4, 8, 16, 32, 64 KiB */
    uint64_t list_plain_bytes_min;  /* DEBUG QUICKLIST-PACKED-THRESHOLD; 0: none */
    uint64_t hash_max_listpack_entries, hash_max_listpack_value_bytes;
    uint64_t set_max_intset_entries, set_max_listpack_entries, set_max_listpack_value_bytes;
    uint64_t zset_max_listpack_entries, zset_max_listpack_value_bytes;
    uint64_t hll_sparse_bytes_max; /* of a sparse HyperLogLog, with its header */
    uint64_t stream_node_max_bytes, stream_node_max_entries; /* 0: no limit */
    int64_t slowlog_us;                                      /* < 0: no slow log */
    uint64_t latency_ms; /* from which an event is noted; 0: none is */
    bool latency_tracking;
};

/* One writer (the shard), any reader. */
struct shard_counters {
    struct counter requests, parcels, hops; /* hops: requests that came from another thread */
    struct counter keyspace_hits, keyspace_misses;
    struct counter expired_keys, expired_stale_slices, expire_cycle_us;
    struct counter lazyfree_pending, lazyfreed;
    struct counter locked_waits, locks_held;
    struct counter watched_keys;
    struct counter blocking_keys;        /* keys that clients wait for */
    struct counter blocking_keys_absent; /* of these: whose end they want to know of, too */
    struct counter expired_share_ppm;    /* of keys with a deadline, found by the last sweeps */
    struct counter busy_ticks;           /* running requests and background work */
    struct counter error_replies;
    struct counter changes;        /* of keys, in all databases */
    struct counter snapshot_early; /* entries that a snapshot serialised because of a change */
    struct counter rests;          /* INTERNAL_REST that has run */
    /* The longest time of a request, as far as spans tell: the mean over a span of one command.
     * command_id + 1. */
    struct counter slowest_us, slowest_command;
    struct counter slowest_slice_us; /* of the background, in CPU time */
};

struct free_list; /* values being freed in slices: shard/lazyfree.h */

struct shard {
    uint16_t id;
    uint16_t shard_count;
    int64_t wall_ms; /* wall clock of this step */
    int64_t now_ms;  /* the same, as deadlines see it: 0 while a log is replayed */
    uint64_t now_ns; /* monotonic clock of this step */
    struct mem mem;
    struct keyspace keys;
    struct journal journal;
    struct locks locks;
    struct watches watches;
    struct channels channels;
    struct tracking tracking;
    struct waits waits;
    struct parcel *parcel;      /* that runs right now; NULL */
    uint32_t request_index;     /* of its request that runs */
    uint64_t turn_position;     /* of its turn: struct turn_point */
    uint64_t in_place_position; /* the same for a turn that runs in place, which has none itself */
    struct snapshot snapshot;
    struct free_list *free_list;
    struct evict evict;
    struct defrag defrag;
    const struct shard_config *config;
    uint64_t random_state;
    struct buf guest_events; /* of keys that live elsewhere: shard/notify.h */
    bool is_quiet;     /* what happens to keys is no event: values that only change their shard */
    bool is_replaying; /* a log says what becomes of keys: none expires or is evicted */
    uint64_t paused_until_ns; /* monotonic; until then no key goes by itself */
    struct shard_counters counters;
    struct shard_command_counters *per_command; /* by command_id */
    uint32_t command_count;
    uint64_t slowest_ticks;
    struct span_settings spans;
    struct slow_entry *slow;     /* of the parcel that runs: what is to be logged */
    struct slow_entry **slow_to; /* of whoever runs now: `slow`, or a parked request's */
    uint32_t background_next;    /* which job comes first: background.c */
    struct dlist late;   /* late replies that wait until the parcel that runs has gone home */
    uint32_t late_count; /* late replies that have not come back */
    uint64_t expire_next_ns;
    uint32_t expire_db;
    struct counter raised_hz; /* written by the main thread: what dynamic-hz makes of hz; 0: none */
    const struct shard_hooks *hooks;
};

struct late_reply;

/* How a shard reaches the rest of the house. */
struct shard_hooks {
    /* Takes over `late`; shard_free_late gets it back on this thread. */
    void (*send_late)(struct shard *sh, struct late_reply *late);
    /* Takes over a chunk of a snapshot; snapshot_chunk_is_back gets it back on this thread. */
    void (*send_chunk)(struct shard *sh, struct snapshot_chunk *chunk);
    /* A keyspace event of a class that is asked for (shard/notify.h); NULL: nobody can be. */
    void (*notify)(struct shard *sh, uint32_t class, const char *event, const struct key *k);
    /* A request took longer than slowlog_us: an entry for it, in front of the list. NULL: there is
     * no slow log. */
    void (*note_slow)(struct shard *sh, const struct request *rq, uint64_t us,
                      struct slow_entry **list);
    /* These go with what runs now. */
    void (*pass_slow)(struct shard *sh, struct slow_entry *list);
    /* Nobody will ask for these any more. */
    void (*drop_slow)(struct shard *sh, struct slow_entry *list);
    /* Bytes that count under maxmemory and are no shard's, as of now; NULL: there are none. */
    uint64_t (*used_elsewhere)(struct shard *sh);
    /* Whether other shards might evict something; they are woken to do so. NULL: there are none. */
    bool (*ask_others)(struct shard *sh);
    /* Something that has a name took at least latency_ms; NULL: nobody can ask. */
    void (*note_latency)(struct shard *sh, const char *event, uint64_t ms);
};

struct shard_options {
    uint16_t id, shard_count;
    uint32_t database_count;
    uint32_t command_count;
    uint64_t hash_seed, random_seed;
    const struct shard_config *config;
    const struct shard_hooks *hooks;
    struct budget *budget;            /* NULL: maxmemory does not concern this shard */
    uint16_t net_count;               /* threads that have connections */
    feed_read_fn *read_feed;          /* there: what shards have to say (shard/channels.h) */
    _Atomic uint64_t *message_places; /* shared by all shards; NULL: this is the only one */
    _Atomic uint32_t *short_shards;   /* how many have used up their reserve; or NULL */
};

extern _Thread_local struct shard *shard_here;
/* What values are made by: the configuration of the shard that runs here, Redis's defaults where
 * there is none. */
const struct shard_config *shard_config_here(void);
/* Of the tables of values. */
uint64_t shard_seed_here(void);
static inline void assert_on_shard(const struct shard *sh)
{
    CHECK(shard_here == sh);
}

void shard_init(struct shard *sh, const struct shard_options *options);
void shard_deinit(struct shard *sh);
/* The clocks of this step. */
void shard_set_now(struct shard *sh, uint64_t now_ns, int64_t wall_ms);

/* Deadlines stand still, and there is no eviction, while a log is replayed. */
void shard_set_replaying(struct shard *sh, bool is_replaying);

/* CLIENT PAUSE: until then nothing is evicted, and what has expired is gone for who reads it, but
 * stays until the pause is over or somebody writes the key. Of two pauses the longer one holds; 0
 * ends them. */
void shard_pause(struct shard *sh, uint64_t until_ns);
static inline bool shard_is_paused(const struct shard *sh)
{
    return unlikely(sh->now_ns < sh->paused_until_ns);
}

/* Runs all requests of a parcel: replies go to parcel->out. Requests whose keys are locked are
 * parked. */
void shard_run_parcel(struct shard *sh, struct parcel *pc);
/* After a parcel was pushed home: sends the late replies that it released. Not before, for a
 * request may have been parked and released in one and the same parcel, and its net thread must see
 * the parcel first. */
void shard_send_late(struct shard *sh);
/* A late reply came back from its net thread. */
void shard_free_late(struct shard *sh, struct late_reply *late);
/* True if nobody holds, or waits for, a key, and every late reply has come back. */
bool shard_is_settled(const struct shard *sh);
/* Runs one request and writes exactly one reply. */
void shard_run_request(struct shard *sh, struct request *rq, struct reply *out);
/* What a handler has returned, or OK where its reply is lost, which then tells whether it may have
 * changed something. */
void shard_reply_failure(const struct request *rq, struct reply *out, enum err e);
/* Runs the requests of a block, or none if a watched key has changed; writes an array of their
 * replies, or an empty one. */
struct block;
void shard_run_block(struct shard *sh, struct block *b, struct reply *out);
/* One slice of background work; true if there is more that should not wait. It may have served
 * somebody: shard_send_late is due. */
bool shard_background(struct shard *sh);
/* When background work is next due (monotonic ns); UINT64_MAX: never. */
uint64_t shard_next_deadline_ns(const struct shard *sh);

/* Makes room if the shard is over its limit. False: there is none, and the request may need it. */
static inline bool shard_admits(struct shard *sh, const struct request *rq)
{
    return likely(mem_live_bytes(&sh->mem) <= sh->evict.limit_bytes) || evict_admit(sh, rq);
}

/* A key has changed so that somebody may be waiting for that. */
static inline void wait_note(struct shard *sh, const struct key *k)
{
    if (unlikely(sh->waits.queues.count > 0)) wait_note_slow(sh, k);
}

/* Whether keys have changed that somebody waits for: wait_serve is due. */
static inline bool wait_is_due(const struct shard *sh)
{
    return unlikely(!dlist_is_empty(&sh->waits.ready));
}

static inline void wait_serve(struct shard *sh, struct turn_point point)
{
    if (wait_is_due(sh)) wait_serve_slow(sh, point);
}

/* Whether the key lives here; if not, it is a guest's (locks.h), or another shard's. */
static inline bool shard_owns_key(const struct shard *sh, const struct key *k)
{
    return bytes_shard(k->name, k->hash, sh->keys.seed, sh->shard_count) == sh->id;
}

/* The place of the parcel's request that runs. */
struct turn_point shard_now_point(const struct shard *sh);

/* Before an entry of that database changes or goes: a snapshot under way may still need it. */
static inline void snapshot_guard(struct shard *sh, const struct database *db, struct entry *e)
{
    if (unlikely(sh->snapshot.is_walking) && entry_colour(e) != sh->keys.colour)
        snapshot_save(sh, db, e);
}

/* 64 random bits, xorshift seeded at init. */
static inline uint64_t shard_random(struct shard *sh)
{
    uint64_t x = sh->random_state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sh->random_state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

/* The bytes of an argument. */
static inline struct bytes request_arg(const struct request *rq, uint32_t index)
{
    return rq->argv[index];
}
