/* keyspace.h: the databases of one shard: find, put, delete; lazy expiry; the only door to entries.
 *
 * Every change of a key goes through here, so that expiry marks, counters, and whoever is
 * interested in a change (the journal, waiters, watchers) hook in at one place.
 *
 * Thread     [shard]; keyspace_read_stats [any]
 * Ownership  Entries belong to the keyspace. A pointer from a find is valid until the next call
 *            that changes the same key. A value to be stored may point into the entry that it
 *            replaces.
 * Errors     ERR_NO_KEY, ERR_WRONG_TYPE, ERR_ALLOC (a size that a client chose did not fit; nothing
 *            has changed).
 */
#pragma once

#include "base/command.h"
#include "base/counter.h"
#include "shard/dict.h"

struct shard;

struct key {
    struct bytes name;
    uint64_t hash;
    uint32_t db;
};

struct database {
    struct dict keys;
    uint64_t deadline_count;  /* keys with a deadline of their own, as opposed to fields with one */
    uint32_t snapshot_number; /* in the snapshot under way: SWAPDB does not change it */
    struct counter key_count, expires_count, table_bytes; /* exact, as published for INFO */
    struct counter ttl_sum_ms, ttl_sampled;               /* avg_ttl: of the last sweep */
    struct {
        uint64_t cursor;          /* where active expiry goes on; 0: at the start */
        int64_t done_second;      /* what was due before this second is gone */
        int64_t next_done_second; /* the same, once the running sweep is through */
        uint64_t ttl_sum_ms, ttl_sampled;
    } sweep;
};

struct keyspace {
    struct database **databases; /* NULL until first used; then never freed before deinit */
    uint32_t database_count;
    unsigned colour; /* of what is put: 0 or ENTRY_COLOUR; snapshot.h */
    struct mem *mem;
    uint64_t seed;
    struct {
        uint64_t slice_ns, busy_ns; /* of the last slice, of the running sweep */
        uint64_t total_cpu_ns;      /* of all sweeps */
        uint64_t touched, expired;  /* by the running sweep */
    } sweep;
};

void keyspace_init(struct keyspace *ks, struct mem *mem, uint32_t database_count, uint64_t seed);
void keyspace_deinit(struct keyspace *ks);

/* The key at argv[index]; the hash that came with the request is used for the first key. */
struct key request_other_key(const struct shard *sh, const struct request *rq, uint32_t index);
static inline struct key request_key(const struct shard *sh, const struct request *rq,
                                     uint32_t index)
{
    if (unlikely(index != rq->hashed_index)) return request_other_key(sh, rq, index);
    return (struct key){.name = rq->argv[index], .hash = rq->hash, .db = rq->db};
}

/* A live entry of that type. Counts a hit or a miss, and touches the access clock. */
MUST_USE enum err keyspace_find(struct shard *sh, const struct key *k, enum type type,
                                struct entry **out);
/* The same of any type: NULL if there is none. */
struct entry *keyspace_find_any(struct shard *sh, const struct key *k);
/* Neither counts nor touches: OBJECT, DEBUG, writes that Redis does not count, existence checks of
 * writers. */
struct entry *keyspace_peek(struct shard *sh, const struct key *k);
/* The same with the type checked: for the write path. */
MUST_USE enum err keyspace_peek_typed(struct shard *sh, const struct key *k, enum type type,
                                      struct entry **out);

/* Deadlines of the setters below. */
#define DEADLINE_NONE 0
#define DEADLINE_KEEP (-1)

/* Sets a string, whatever was there. Text that is an integer is stored as one; short text as
 * embstr. */
MUST_USE enum err keyspace_set_string(struct shard *sh, const struct key *k, struct bytes value,
                                      int64_t deadline_ms);
/* The same, but text stays text: what INCRBYFLOAT writes is never an integer. */
MUST_USE enum err keyspace_set_text(struct shard *sh, const struct key *k, struct bytes value,
                                    int64_t deadline_ms);
/* The same, but the encoding is raw, however short it is. */
MUST_USE enum err keyspace_set_raw(struct shard *sh, const struct key *k, struct bytes value,
                                   int64_t deadline_ms);
MUST_USE enum err keyspace_set_integer(struct shard *sh, const struct key *k, int64_t value,
                                       int64_t deadline_ms);
/* Makes the string (created if absent) at least `size` bytes long, new bytes zero, raw encoding:
 * for APPEND, SETRANGE, SETBIT. *data is writable until the next change. The deadline stays. */
MUST_USE enum err keyspace_edit_string(struct shard *sh, const struct key *k, size_t size,
                                       char **data);
/* Puts a collection in place of whatever was there. Takes `root` over, also on failure (it is then
 * freed). */
MUST_USE enum err keyspace_put_object(struct shard *sh, const struct key *k, enum type type,
                                      enum encoding encoding, void *root, int64_t deadline_ms);
/* So that a key that is absent finds its place without memory. False: there is none. */
MUST_USE bool keyspace_try_make_room(struct shard *sh, const struct key *k);
/* Puts a ready entry, whose key is k->name, in place of whatever was there: what object_try_copy
 * and object_try_thaw made. Takes it over. */
void keyspace_put_entry(struct shard *sh, const struct key *k, struct entry *e);
/* A collection changed in place: for whoever is interested. The access was noted when it was found.
 * An empty collection must be deleted by the caller. */
void keyspace_changed(struct shard *sh, const struct key *k, struct entry *e);
/* The same of one that was peeked at: the change is the access. */
void keyspace_touch_changed(struct shard *sh, const struct key *k, struct entry *e);

/* True if there was a live key. Big values are freed in slices. */
bool keyspace_delete(struct shard *sh, const struct key *k);
/* `deadline_ms` 0 removes it. The entry may move. False if there is no such key, or no memory for
 * the few bytes more. */
bool keyspace_set_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms);
/* Moves the entry to another name or database of this shard; the target is replaced. */
MUST_USE enum err keyspace_move(struct shard *sh, const struct key *from, const struct key *to);

uint64_t keyspace_size(const struct shard *sh, uint32_t db);
void keyspace_flush(struct shard *sh, uint32_t db);
void keyspace_swap(struct shard *sh, uint32_t db_a, uint32_t db_b);
/* A live key, chosen evenly; NULL when there is none. */
struct entry *keyspace_random(struct shard *sh, uint32_t db);
/* At least `count` slots from `cursor` on; returns the next cursor, 0 at the end. Expired keys are
 * passed over. */
uint64_t keyspace_scan(struct shard *sh, uint32_t db, uint64_t cursor, uint64_t count,
                       dict_scan_fn *fn, void *context);

/* Whether a deadline has passed at the shard's clock. */
bool keyspace_is_expired(const struct shard *sh, const struct entry *e);
/* For active expiry: deletes a key whose deadline has passed and counts it. */
void keyspace_drop_expired(struct shard *sh, uint32_t db, uint64_t hash, struct entry *e);
/* A LOCKED command holds the key, or it is here only as its guest: nothing may be done to it behind
 * that command's back. */
bool keyspace_is_in_use(const struct shard *sh, const struct entry *e, uint64_t hash);
/* For eviction: deletes a key. */
void keyspace_drop_evicted(struct shard *sh, uint32_t db, uint64_t hash, struct entry *e);
/* A value has changed without anybody's access: fields that expired. For whoever is interested. */
void keyspace_note_change(struct shard *sh, const struct key *k);
/* The fields of a hash have lost or got deadlines: the key is marked by the next one. */
void keyspace_mark_again(struct shard *sh, const struct key *k, struct entry *e);
/* The mark of a deadline in the dict: its second modulo 15, plus 1; 0 without a deadline. A key is
 * marked by its deadline or by the next one of a hash's fields, whichever comes first. */
static inline unsigned keyspace_deadline_mark(int64_t deadline_ms)
{
    if (deadline_ms == 0) return 0;
    return 1 + (unsigned)((uint64_t)deadline_ms / 1000 % DICT_MARK_MAX);
}

/* ---- the access clock ---- */

/* Notes an access: LRU clock or LFU counter, by the configuration. */
void keyspace_touch(struct shard *sh, struct entry *e);
/* What RESTORE says of the last access, in place of what the entry has: seconds since then, or
 * under LFU the counter. Negative: as of a new key. */
void keyspace_set_access(const struct shard *sh, struct entry *e, int64_t idle_s,
                         int64_t frequency);
/* Time since the last access, in ticks of the access clock. */
#define ACCESS_TICK_MS 62.5
uint64_t keyspace_idle_ticks(const struct shard *sh, const struct entry *e);
/* In milliseconds: OBJECT IDLETIME. */
uint64_t keyspace_idle_ms(const struct shard *sh, const struct entry *e);
/* The logarithmic counter as it has decayed until now, 0 … 255: OBJECT FREQ. */
uint8_t keyspace_frequency(const struct shard *sh, const struct entry *e);

/* ---- statistics ---- */

struct keyspace_stats {
    uint64_t keys, expires, table_bytes;
    uint64_t ttl_sum_ms, ttl_sampled; /* avg_ttl is their quotient; nothing sampled: 0 */
};
/* [any] False if the database was never used. */
bool keyspace_read_stats(const struct keyspace *ks, uint32_t db, struct keyspace_stats *out);

/* Checks every invariant. Slow. */
void keyspace_validate(const struct shard *sh);
