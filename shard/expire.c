#include "shard/expire.h"

#include "base/env.h"
#include "shard/notify.h"
#include "shard/type/hash.h"

/* Entries that are on their way from memory before their deadlines are read. */
#define BATCH_ENTRIES 32
#define BATCH_ENTRIES_MAX 128
/* Steps through the fields of hashes that a batch may take; one visits some fields at most. */
#define BATCH_FIELD_STEPS 64
/* Bounds a slice where the clock stands still, as in the simulator. */
#define SLICE_BATCHES_MAX 256
/* The first batches of a slice look at every deadline, as a sample for avg_ttl. */
#define SLICE_SAMPLES 2
/* The percentage of the CPU that a sweep may have, with the least and the most effort … */
#define BUSY_PERCENT_MIN 25
#define BUSY_PERCENT_MAX 50
/* … and what sweeps that find little take, times the effort. */
#define IDLE_PERCENT 2
/* How long it rests at most, divided by the effort. */
#define REST_NS_MAX 1000000000ULL
#define OFF_NS 1000000000ULL
/* A sweep is worth its time when one in so many entries that it touched had expired, times the
 * effort. */
#define WORTHWHILE_SHARE 4

struct batch {
    struct entry *entries[BATCH_ENTRIES_MAX];
    unsigned count;
    bool overflowed;      /* there were more: the sweep must come again */
    unsigned field_steps; /* left */
};

static void collect(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct batch *b = context;
    if (b->count == BATCH_ENTRIES_MAX) {
        b->overflowed = true;
        return;
    }
    __builtin_prefetch(e);
    b->entries[b->count++] = e;
}

/* The marks of all seconds from the first to the last. */
static unsigned marks_between(int64_t first_second, int64_t last_second)
{
    if (last_second - first_second >= DICT_MARK_MAX) return DICT_MARKS_ALL;
    unsigned marks = 0; /* Stays 0 when the clock went back: nothing new is due. */
    for (int64_t s = first_second; s <= last_second; s++)
        marks |= 1u << keyspace_deadline_mark(s * 1000 + 1);
    return marks;
}

/* Drops what has expired of a hash, and the key with the last field. False: there is more. */
static bool expire_fields(struct shard *sh, struct entry *e, unsigned *steps)
{
    struct hash h = hash_of(e);
    if (*steps == 0 && hash_has_expired(&h, sh->now_ms)) return false;
    if (hash_has_expired(&h, sh->now_ms)) snapshot_guard(sh, sh->keys.databases[sh->expire_db], e);
    struct bytes name = entry_key(e);
    struct key k = {name, bytes_hash(name, sh->keys.seed), sh->expire_db};
    struct journal_fields gone = {.names = {.mem = &sh->mem}};
    const struct hash_drop drop = {sh->journal.is_open ? journal_gather_field : NULL, &gone};
    uint64_t dropped = hash_drop_some_expired(&sh->mem, &h, sh->now_ms, steps, &drop);
    journal_fields_gone(sh, &k, &gone);
    sh->keys.sweep.expired += dropped;
    if (dropped) {
        keyspace_note_change(sh, &k);
        notify(sh, NOTIFY_HASH, "hexpired", &k);
    }
    if (hash_length(&h) == 0) {
        notify(sh, NOTIFY_GENERIC, "del", &k); /* the name goes with the key */
        (void)keyspace_delete(sh, &k);
        return true;
    }
    keyspace_mark_again(sh, &k, e);
    return !hash_has_expired(&h, sh->now_ms);
}

/* Deletes what has expired among them. False if that was too much for one batch. */
static bool expire_batch(struct shard *sh, struct database *db, struct batch *b, bool is_sample)
{
    bool is_through = true;
    for (unsigned i = 0; i < b->count; i++) {
        struct entry *e = b->entries[i];
        if (keyspace_is_expired(sh, e)) {
            uint64_t hash = bytes_hash(entry_key(e), sh->keys.seed);
            keyspace_drop_expired(sh, sh->expire_db, hash, e);
            sh->keys.sweep.expired++;
            continue;
        }
        if (is_sample && entry_has_deadline(e)) {
            db->sweep.ttl_sum_ms += (uint64_t)(entry_deadline_ms(e) - sh->now_ms);
            db->sweep.ttl_sampled++;
        }
        if (hash_is_table(e)) is_through &= expire_fields(sh, e, &b->field_steps);
    }
    sh->keys.sweep.touched += b->count;
    return is_through;
}

static void begin_database(struct shard *sh, struct database *db)
{
    db->sweep.next_done_second = sh->now_ms / 1000;
    db->sweep.ttl_sum_ms = db->sweep.ttl_sampled = 0;
}

static void end_database(struct database *db)
{
    db->sweep.done_second = db->sweep.next_done_second;
    counter_set(&db->ttl_sum_ms, db->sweep.ttl_sum_ms);
    counter_set(&db->ttl_sampled, db->sweep.ttl_sampled);
}

/* One batch of the database; true when its sweep is through. */
static bool step_database(struct shard *sh, struct database *db, bool is_sample)
{
    if (db->sweep.cursor == 0) begin_database(sh, db);
    uint64_t start = db->sweep.cursor;
    unsigned marks = DICT_MARKS_ALL;
    if (!is_sample) marks = marks_between(db->sweep.done_second, sh->now_ms / 1000);
    struct batch b;
    b.count = 0;
    b.overflowed = false;
    b.field_steps = BATCH_FIELD_STEPS;
    for (unsigned calls = 0; calls < BATCH_ENTRIES && b.count < BATCH_ENTRIES; calls++) {
        db->sweep.cursor = dict_scan_marked(&db->keys, db->sweep.cursor, marks, collect, &b);
        if (db->sweep.cursor == 0) break;
    }
    if (b.overflowed) db->sweep.next_done_second = db->sweep.done_second;
    if (!expire_batch(sh, db, &b, is_sample)) {
        db->sweep.cursor = start; /* once more */
        return false;
    }
    if (db->sweep.cursor != 0) return false;
    end_database(db);
    return true;
}

/* Keys with a deadline that are left, and fields' next ones: what the marks say. */
static uint64_t count_marked(const struct shard *sh)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < sh->keys.database_count; i++) {
        const struct database *db = sh->keys.databases[i];
        if (db) count += db->keys.marked_count;
    }
    return count;
}

/* Batches until the time is up; true when the sweep is through all databases. */
static bool run_slice(struct shard *sh, uint64_t start_ns)
{
    for (unsigned i = 0; i < SLICE_BATCHES_MAX; i++) {
        while (!sh->keys.databases[sh->expire_db]) {
            if (++sh->expire_db == sh->keys.database_count) return true;
        }
        struct database *db = sh->keys.databases[sh->expire_db];
        if (step_database(sh, db, i < SLICE_SAMPLES) &&
            ++sh->expire_db == sh->keys.database_count) {
            return true;
        }
        if (env_now_ns() - start_ns >= SHARD_SLICE_US * 1000ULL * 9 / 10) break;
    }
    counter_add(&sh->counters.expired_stale_slices, 1);
    return false;
}

/* expired_stale_perc: what part of the keys that may expire was there although it had expired, as a
 * moving average over sweeps. */
static void average_share(struct shard *sh)
{
    struct counter *average = &sh->counters.expired_share_ppm;
    uint64_t expired = sh->keys.sweep.expired, all = expired + count_marked(sh);
    uint64_t share_ppm = all ? expired * 1000000 / all : 0;
    counter_set(average, (counter_read(average) * 19 + share_ppm) / 20);
}

static uint64_t effort_of(const struct shard *sh)
{
    return MIN(MAX(sh->config->expire_effort, 1u), EXPIRE_EFFORT_MAX);
}

/* How long after the start of a slice that took so long the next one may begin. */
static uint64_t pace_ns(const struct shard *sh, uint64_t took_ns)
{
    uint64_t more = (BUSY_PERCENT_MAX - BUSY_PERCENT_MIN) * (effort_of(sh) - 1);
    return took_ns * 100 / (BUSY_PERCENT_MIN + more / (EXPIRE_EFFORT_MAX - 1));
}

/* How long to rest after a sweep that is through. */
static uint64_t rest_ns(const struct shard *sh)
{
    uint64_t effort = effort_of(sh), hz = MAX(counter_read(&sh->raised_hz), sh->config->hz);
    uint64_t least = 1000000000ULL / (MAX(hz, 1u) * effort);
    if (sh->keys.sweep.expired * WORTHWHILE_SHARE * effort > sh->keys.sweep.touched) return least;
    uint64_t times = 100 / (IDLE_PERCENT * effort) - 1;
    return MIN(MAX(least, sh->keys.sweep.busy_ns * times), REST_NS_MAX / effort);
}

bool expire_step(struct shard *sh)
{
    if (sh->now_ns < sh->expire_next_ns) return false;
    if (count_marked(sh) == 0) {
        counter_set(&sh->counters.expired_share_ppm, 0);
        sh->expire_next_ns = UINT64_MAX;
        return false;
    }
    if (shard_is_paused(sh)) {
        sh->expire_next_ns = sh->paused_until_ns;
        return false;
    }
    if (!sh->config->active_expire) {
        sh->expire_next_ns = sh->now_ns + OFF_NS;
        return false;
    }
    uint64_t start_ns = env_now_ns(), start_cpu_ns = env_thread_cpu_ns();
    bool is_through = run_slice(sh, start_ns);
    uint64_t took_ns = env_now_ns() - start_ns;
    sh->keys.sweep.slice_ns = took_ns;
    sh->keys.sweep.busy_ns += took_ns;
    sh->keys.sweep.total_cpu_ns += env_thread_cpu_ns() - start_cpu_ns;
    counter_set(&sh->counters.expire_cycle_us, sh->keys.sweep.total_cpu_ns / 1000);
    sh->expire_next_ns = sh->now_ns + pace_ns(sh, took_ns);
    if (is_through) {
        sh->expire_next_ns = sh->now_ns + took_ns + rest_ns(sh);
        average_share(sh);
        sh->expire_db = 0;
        sh->keys.sweep.busy_ns = sh->keys.sweep.touched = sh->keys.sweep.expired = 0;
    }
    return sh->now_ns >= sh->expire_next_ns;
}
