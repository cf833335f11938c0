#include "shard/keyspace.h"

#include "base/text.h"
#include "shard/expire.h"
#include "shard/lazyfree.h"
#include "shard/notify.h"
#include "shard/object.h"
#include "shard/shard.h"
#include "shard/type/hash.h"
#include "shard/watch.h"

/* Expired keys that RANDOMKEY deletes in one go before it calls a database empty. */
#define RANDOM_TRIES_MAX 1000

/* ---- databases ---- */

void keyspace_init(struct keyspace *ks, struct mem *mem, uint32_t database_count, uint64_t seed)
{
    CHECK(database_count > 0);
    *ks = (struct keyspace){.mem = mem, .database_count = database_count, .seed = seed};
    ks->databases = mem_alloc_zeroed(mem, database_count * sizeof *ks->databases);
}

static void free_now(void *context, struct entry *e, UNUSED uint64_t position)
{
    object_free(context, e);
}

void keyspace_deinit(struct keyspace *ks)
{
    for (uint32_t i = 0; i < ks->database_count; i++) {
        struct database *db = ks->databases[i];
        if (!db) continue;
        struct dict_drain drain;
        dict_drain_init(&drain, &db->keys);
        CHECK(dict_drain_some(&drain, UINT64_MAX, free_now, ks->mem));
        dict_deinit(&db->keys);
        mem_free(ks->mem, db, sizeof *db);
    }
    mem_free(ks->mem, ks->databases, ks->database_count * sizeof *ks->databases);
    ks->databases = NULL;
}

/* NULL if never used. */
static struct database *database_of(const struct shard *sh, uint32_t db)
{
    DCHECK(db < sh->keys.database_count);
    return sh->keys.databases[db];
}

/* Readers of statistics on other threads follow these pointers. */
static void set_database(struct keyspace *ks, uint32_t index, struct database *db)
{
    __atomic_store_n(&ks->databases[index], db, __ATOMIC_RELEASE);
}

static struct database *make_database(struct shard *sh, uint32_t index)
{
    struct database *db = database_of(sh, index);
    if (likely(db)) return db;
    db = mem_alloc_zeroed(sh->keys.mem, sizeof *db);
    dict_init(&db->keys, sh->keys.mem, sh->keys.seed);
    set_database(&sh->keys, index, db);
    return db;
}

static void publish_counts(struct database *db)
{
    counter_set(&db->key_count, db->keys.count);
    counter_set(&db->expires_count, db->deadline_count);
    counter_set(&db->table_bytes, db->keys.bytes);
}

struct key request_other_key(const struct shard *sh, const struct request *rq, uint32_t index)
{
    return (struct key){
        .name = rq->argv[index], .hash = bytes_hash(rq->argv[index], sh->keys.seed), .db = rq->db};
}

/* ---- the access clock ---- */

/* A sixteenth of a second, in 28 bits: it wraps after 194 days, as Redis's clock of seconds. */
#define LRU_CLOCK_MASK 0xfffffff
#define LFU_COUNTER_INIT 5
#define LFU_COUNTER_MAX 255

static void write_clock(struct entry *e, uint32_t clock)
{
    if (likely(entry_clock(e) == clock)) return; /* Reading does not dirty a cache line. */
    entry_set_clock(e, clock);
}

static uint32_t lru_clock(const struct shard *sh)
{
    return (uint32_t)(sh->wall_ms * 2 / 125) & LRU_CLOCK_MASK;
}

static uint16_t lfu_minutes(const struct shard *sh)
{
    return (uint16_t)(sh->wall_ms / 60000);
}

uint64_t keyspace_idle_ticks(const struct shard *sh, const struct entry *e)
{
    return (lru_clock(sh) - entry_clock(e)) & LRU_CLOCK_MASK;
}

uint64_t keyspace_idle_ms(const struct shard *sh, const struct entry *e)
{
    return keyspace_idle_ticks(sh, e) * 125 / 2;
}

uint8_t keyspace_frequency(const struct shard *sh, const struct entry *e)
{
    uint32_t clock = entry_clock(e);
    uint32_t elapsed = (uint16_t)(lfu_minutes(sh) - clock), counter = clock >> 16 & 0xff;
    uint32_t decay = sh->config->lfu_decay_minutes;
    uint32_t periods = decay ? elapsed / decay : 0;
    return (uint8_t)(periods > counter ? 0 : counter - periods);
}

/* The more often a key has been seen, the less likely it is to be counted again. */
static uint8_t lfu_increment(struct shard *sh, uint8_t counter)
{
    if (counter == LFU_COUNTER_MAX) return counter;
    uint64_t base = counter > LFU_COUNTER_INIT ? counter - LFU_COUNTER_INIT : 0;
    uint64_t odds = base * sh->config->lfu_log_factor + 1;
    return (uint8_t)(counter + (shard_random(sh) % odds == 0));
}

/* CLIENT NO-TOUCH: what runs leaves the access clocks as they are. */
static inline bool leaves_clocks(const struct shard *sh)
{
    return sh->journal.running && unlikely(sh->journal.running->flags & REQUEST_NO_TOUCH);
}

void keyspace_touch(struct shard *sh, struct entry *e)
{
    if (leaves_clocks(sh)) return;
    enum evict_policy policy = sh->config->evict_policy;
    if (unlikely(policy == EVICT_LFU)) {
        uint8_t counter = lfu_increment(sh, keyspace_frequency(sh, e));
        write_clock(e, lfu_minutes(sh) | (uint32_t)counter << 16);
    } else if (unlikely(policy == EVICT_S3FIFO)) {
        s3fifo_touch(e);
    } else {
        write_clock(e, lru_clock(sh));
    }
}

/* The clock of a new entry. One that takes the place of another inherits its popularity. */
static void start_clock(struct shard *sh, const struct key *k, struct entry *e,
                        const struct entry *old)
{
    enum evict_policy policy = sh->config->evict_policy;
    if (old && leaves_clocks(sh)) {
        entry_set_clock(e, entry_clock(old));
    } else if (likely(policy != EVICT_LFU && policy != EVICT_S3FIFO)) {
        write_clock(e, lru_clock(sh));
    } else if (old) {
        entry_set_clock(e, entry_clock(old));
        keyspace_touch(sh, e);
    } else if (policy == EVICT_LFU) {
        write_clock(e, lfu_minutes(sh) | LFU_COUNTER_INIT << 16);
    } else {
        s3fifo_enter(sh, e, k->hash);
    }
}

void keyspace_set_access(const struct shard *sh, struct entry *e, int64_t idle_s, int64_t frequency)
{
    enum evict_policy policy = sh->config->evict_policy;
    if (policy == EVICT_LFU) {
        uint32_t counter = frequency < 0 ? LFU_COUNTER_INIT : (uint32_t)frequency;
        write_clock(e, lfu_minutes(sh) | MIN(counter, (uint32_t)LFU_COUNTER_MAX) << 16);
    } else if (policy != EVICT_S3FIFO) {
        uint64_t idle_ticks = MIN((uint64_t)MAX(idle_s, 0), (uint64_t)LRU_CLOCK_MASK) * 16;
        write_clock(e,
                    (lru_clock(sh) - MIN(idle_ticks, (uint64_t)LRU_CLOCK_MASK)) & LRU_CLOCK_MASK);
    }
}

/* ---- whoever is interested ---- */

/* Everything that becomes of a key comes by here. */
static inline void note_fate(struct shard *sh, const struct key *k)
{
    if (unlikely(sh->watches.key_count > 0)) watch_mark_changed(sh, k);
    wait_note(sh, k);
    if (unlikely(sh->tracking.keys.count > 0 || sh->channels.names[CHANNEL_PREFIX].count > 0))
        tracking_note_change(sh, k);
}

/* The same for what commands do: it counts for the next save. */
static inline void note_change(struct shard *sh, const struct key *k)
{
    if (likely(!sh->is_quiet)) counter_add(&sh->counters.changes, 1);
    if (sh->journal.is_open) journal_note(sh, k);
    note_fate(sh, k);
}

/* ---- finding ---- */

bool keyspace_is_expired(const struct shard *sh, const struct entry *e)
{
    return unlikely(entry_has_deadline(e)) && sh->now_ms > entry_deadline_ms(e);
}

/* Takes the entry out and frees it, big values in slices. A snapshot does without what it has not
 * come to of the keys that expire or are evicted: a file is loaded later than their deadline, a
 * base has the log behind it that says that they are gone, and a copy of each would take the very
 * memory that eviction frees. */
static void drop(struct shard *sh, struct database *db, uint64_t hash, struct entry *e)
{
    dict_remove_entry(&db->keys, hash, e);
    db->deadline_count -= entry_has_deadline(e);
    publish_counts(db);
    free_list_entry(sh, e);
}

void keyspace_drop_expired(struct shard *sh, uint32_t db, uint64_t hash, struct entry *e)
{
    struct key k = {.name = entry_key(e), .hash = hash, .db = db};
    if (sh->journal.is_open) journal_gone(sh, &k);
    note_fate(sh, &k);
    notify(sh, NOTIFY_EXPIRED, "expired", &k);
    drop(sh, database_of(sh, db), hash, e);
    counter_add(&sh->counters.expired_keys, 1);
}

bool keyspace_is_in_use(const struct shard *sh, const struct entry *e, uint64_t hash)
{
    if (likely(sh->locks.busy == 0)) return false;
    struct key k = {.name = entry_key(e), .hash = hash};
    return locks_has_hash(sh, hash) || !shard_owns_key(sh, &k);
}

void keyspace_drop_evicted(struct shard *sh, uint32_t db, uint64_t hash, struct entry *e)
{
    struct key k = {.name = entry_key(e), .hash = hash, .db = db};
    if (sh->journal.is_open) journal_gone(sh, &k);
    note_fate(sh, &k);
    notify(sh, NOTIFY_EVICTED, "evicted", &k);
    drop(sh, database_of(sh, db), hash, e);
    counter_add(&sh->evict.evicted_keys, 1);
}

static inline struct entry *peek(struct shard *sh, const struct key *k, bool may_keep_expired)
{
    struct database *db = database_of(sh, k->db);
    if (unlikely(!db)) return NULL;
    struct entry *e = dict_find(&db->keys, k->hash, k->name);
    if (!e || likely(!keyspace_is_expired(sh, e))) return e;
    if (!may_keep_expired || !shard_is_paused(sh)) keyspace_drop_expired(sh, k->db, k->hash, e);
    return NULL;
}

struct entry *keyspace_peek(struct shard *sh, const struct key *k)
{
    return peek(sh, k, true);
}

/* For whoever changes the key: what has expired makes room for it in a pause as well. */
static struct entry *peek_for_change(struct shard *sh, const struct key *k)
{
    return peek(sh, k, false);
}

struct entry *keyspace_find_any(struct shard *sh, const struct key *k)
{
    struct entry *e = keyspace_peek(sh, k);
    if (!e) {
        counter_add(&sh->counters.keyspace_misses, 1);
        notify(sh, NOTIFY_KEY_MISS, "keymiss", k);
        return NULL;
    }
    counter_add(&sh->counters.keyspace_hits, 1);
    keyspace_touch(sh, e);
    return e;
}

/* `e` as the result of a search for that type. */
static enum err check_type(struct entry *e, enum type type, struct entry **out)
{
    if (!e) return ERR_NO_KEY;
    if (unlikely(entry_type(e) != type)) return ERR_WRONG_TYPE;
    *out = e;
    return OK;
}

enum err keyspace_find(struct shard *sh, const struct key *k, enum type type, struct entry **out)
{
    return check_type(keyspace_find_any(sh, k), type, out);
}

enum err keyspace_peek_typed(struct shard *sh, const struct key *k, enum type type,
                             struct entry **out)
{
    return check_type(keyspace_peek(sh, k), type, out);
}

/* ---- putting ---- */

/* When the key, or the first of a hash's fields, is due; 0: never. */
static int64_t due_next_ms(const struct entry *e)
{
    int64_t due_ms = entry_deadline_ms(e), *marked_ms;
    if (likely(!hash_is_table(e))) return due_ms;
    int64_t field_ms = hash_next_deadline_ms(e, &marked_ms);
    return field_ms && (due_ms == 0 || field_ms < due_ms) ? field_ms : due_ms;
}

/* The mark that the entry gets in the table now. */
static unsigned take_mark(const struct entry *e)
{
    if (unlikely(hash_is_table(e))) {
        int64_t *marked_ms, next_ms = hash_next_deadline_ms(e, &marked_ms);
        *marked_ms = next_ms;
    }
    return keyspace_deadline_mark(due_next_ms(e));
}

/* A key has got a deadline: active expiry must not sleep, nor think that its second is done with.
 */
static void note_deadline(struct shard *sh, struct database *db, const struct entry *e)
{
    int64_t due_ms = due_next_ms(e);
    if (likely(due_ms == 0)) return;
    db->sweep.done_second = MIN(db->sweep.done_second, due_ms / 1000);
    db->sweep.next_done_second = MIN(db->sweep.next_done_second, due_ms / 1000);
    expire_wake(sh);
}

bool keyspace_try_make_room(struct shard *sh, const struct key *k)
{
    return dict_try_make_room(&make_database(sh, k->db)->keys, k->hash);
}

/* `e` in place of `old`, which may be NULL and is freed. */
static void put(struct shard *sh, const struct key *k, struct entry *old, struct entry *e)
{
    struct database *db = make_database(sh, k->db);
    unsigned mark = take_mark(e);
    db->deadline_count += entry_has_deadline(e);
    entry_set_colour(e, sh->keys.colour);
    if (old) {
        snapshot_guard(sh, db, old);
        dict_replace(&db->keys, k->hash, old, e, mark);
        db->deadline_count -= entry_has_deadline(old);
        free_list_entry(sh, old);
    } else {
        dict_insert(&db->keys, k->hash, e, mark);
        notify(sh, NOTIFY_NEW, "new", k);
    }
    publish_counts(db);
    note_deadline(sh, db, e);
    note_change(sh, k);
}

/* The deadline of an entry that stays where it is has changed from `old_ms`. */
static void mark_again(struct shard *sh, const struct key *k, struct entry *e, int64_t old_ms)
{
    unsigned mark = take_mark(e);
    struct database *db = database_of(sh, k->db);
    note_deadline(sh, db, e);
    if (likely(mark == keyspace_deadline_mark(old_ms) && !hash_is_table(e))) return;
    dict_replace(&db->keys, k->hash, e, e, mark);
    db->deadline_count += (uint64_t)entry_has_deadline(e) - (old_ms != 0);
    publish_counts(db);
}

void keyspace_note_change(struct shard *sh, const struct key *k)
{
    note_fate(sh, k);
}

void keyspace_mark_again(struct shard *sh, const struct key *k, struct entry *e)
{
    mark_again(sh, k, e, entry_deadline_ms(e));
}

static int64_t resolve_deadline(const struct entry *old, int64_t deadline_ms)
{
    if (deadline_ms != DEADLINE_KEEP) return deadline_ms;
    return old ? entry_deadline_ms(old) : DEADLINE_NONE;
}

static bool points_into(struct bytes value, const struct entry *e)
{
    uintptr_t p = (uintptr_t)value.data, start = (uintptr_t)e;
    return p >= start && p < start + entry_bytes(e);
}

static enum err set_encoded(struct shard *sh, const struct key *k, struct bytes value,
                            enum encoding encoding, int64_t deadline_ms)
{
    struct entry *old = peek_for_change(sh, k);
    deadline_ms = resolve_deadline(old, deadline_ms);
    int64_t old_ms = old ? entry_deadline_ms(old) : 0;
    if (old && !points_into(value, old) &&
        entry_overwrite_string(old, value, encoding, deadline_ms)) {
        keyspace_touch(sh, old);
        note_change(sh, k);
        if (entry_deadline_ms(old) != old_ms) mark_again(sh, k, old, old_ms);
        return OK;
    }
    if (!old && !keyspace_try_make_room(sh, k)) return ERR_ALLOC;
    struct entry *e = entry_try_make_string(sh->keys.mem, k->name, value, encoding, deadline_ms);
    if (!e) return ERR_ALLOC;
    start_clock(sh, k, e, old);
    put(sh, k, old, e);
    return OK;
}

enum err keyspace_set_string(struct shard *sh, const struct key *k, struct bytes value,
                             int64_t deadline_ms)
{
    int64_t integer;
    enum encoding encoding = object_string_encoding(value, &integer);
    if (encoding == ENCODING_INT) value = bytes_make(&integer, sizeof integer);
    return set_encoded(sh, k, value, encoding, deadline_ms);
}

enum err keyspace_set_text(struct shard *sh, const struct key *k, struct bytes value,
                           int64_t deadline_ms)
{
    bool is_short = value.size <= ENTRY_EMBSTR_BYTES_MAX;
    return set_encoded(sh, k, value, is_short ? ENCODING_EMBSTR : ENCODING_RAW, deadline_ms);
}

enum err keyspace_set_raw(struct shard *sh, const struct key *k, struct bytes value,
                          int64_t deadline_ms)
{
    return set_encoded(sh, k, value, ENCODING_RAW, deadline_ms);
}

enum err keyspace_set_integer(struct shard *sh, const struct key *k, int64_t value,
                              int64_t deadline_ms)
{
    return set_encoded(sh, k, bytes_make(&value, sizeof value), ENCODING_INT, deadline_ms);
}

/* A raw string of `size` bytes that starts with what `old` has, in its place. */
static struct entry *try_make_longer(struct shard *sh, const struct key *k, struct entry *old,
                                     size_t size)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes text = old ? entry_string(old, scratch) : (struct bytes){0};
    int64_t deadline_ms = old ? entry_deadline_ms(old) : DEADLINE_NONE;
    if (!old && !keyspace_try_make_room(sh, k)) return NULL;
    struct entry *e = entry_try_make_blank(sh->keys.mem, k->name, size, deadline_ms);
    if (!e) return NULL;
    if (text.size) {
        char *to = e->flags & ENTRY_POINTER ? entry_big_string(e).data : entry_value_part(e);
        memcpy(to, text.data, text.size);
    }
    start_clock(sh, k, e, old);
    put(sh, k, old, e);
    return e;
}

enum err keyspace_edit_string(struct shard *sh, const struct key *k, size_t size, char **data)
{
    struct entry *e = peek_for_change(sh, k);
    if (e && entry_type(e) != TYPE_STRING) return ERR_WRONG_TYPE;
    char scratch[TEXT_I64_BYTES_MAX];
    if (e) size = MAX(size, entry_string(e, scratch).size);
    if (e && e->flags & ENTRY_POINTER) {
        if (unlikely(big_value_is_any(&sh->snapshot.big_values))) big_value_settle(sh, e);
        if (!entry_try_grow_big_string(sh->keys.mem, e, size)) return ERR_ALLOC;
        keyspace_touch(sh, e);
        note_change(sh, k);
    } else if (e && entry_resize_string(e, size)) {
        keyspace_touch(sh, e);
        note_change(sh, k);
    } else {
        e = try_make_longer(sh, k, e, size);
        if (!e) return ERR_ALLOC;
    }
    *data = e->flags & ENTRY_POINTER ? entry_big_string(e).data : entry_value_part(e);
    return OK;
}

enum err keyspace_put_object(struct shard *sh, const struct key *k, enum type type,
                             enum encoding encoding, void *root, int64_t deadline_ms)
{
    struct entry *old = peek_for_change(sh, k);
    deadline_ms = resolve_deadline(old, deadline_ms);
    bool has_room = old || keyspace_try_make_room(sh, k);
    struct entry *e =
        has_room ? entry_try_make_object(sh->keys.mem, k->name, type, encoding, root, deadline_ms)
                 : NULL;
    if (!e) {
        object_free_root(sh->keys.mem, type, encoding, root);
        return ERR_ALLOC;
    }
    start_clock(sh, k, e, old);
    put(sh, k, old, e);
    return OK;
}

void keyspace_put_entry(struct shard *sh, const struct key *k, struct entry *e)
{
    DCHECK(entry_has_key(e, k->name));
    struct entry *old = peek_for_change(sh, k);
    start_clock(sh, k, e, old);
    put(sh, k, old, e);
    if (old) notify(sh, NOTIFY_NEW, "new", k); /* Redis deletes and adds here, as when it moves */
}

void keyspace_changed(struct shard *sh, const struct key *k, struct entry *e)
{
    DCHECK(entry_has_key(e, k->name));
    DCHECK(entry_colour(e) == sh->keys.colour); /* guarded before it changed */
    note_change(sh, k);
    if (likely(!hash_is_table(e))) return;
    int64_t *marked_ms, next_ms = hash_next_deadline_ms(e, &marked_ms);
    if (unlikely(next_ms && (*marked_ms == 0 || next_ms < *marked_ms)))
        keyspace_mark_again(sh, k, e);
}

void keyspace_touch_changed(struct shard *sh, const struct key *k, struct entry *e)
{
    keyspace_touch(sh, e);
    keyspace_changed(sh, k, e);
}

/* ---- deleting, moving ---- */

bool keyspace_delete(struct shard *sh, const struct key *k)
{
    struct entry *e = peek_for_change(sh, k);
    if (!e) return false;
    note_change(sh, k);
    struct database *db = database_of(sh, k->db);
    snapshot_guard(sh, db, e);
    drop(sh, db, k->hash, e);
    return true;
}

bool keyspace_set_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms)
{
    struct entry *e = peek_for_change(sh, k);
    if (!e) return false;
    int64_t old_ms = entry_deadline_ms(e);
    if (entry_change_deadline(e, deadline_ms)) {
        note_change(sh, k);
        mark_again(sh, k, e, old_ms);
        return true;
    }
    struct entry *moved = entry_try_reshell(sh->keys.mem, e, entry_key(e), deadline_ms);
    if (!moved) return false;
    struct database *db = database_of(sh, k->db);
    snapshot_guard(sh, db, e);
    entry_set_colour(moved, sh->keys.colour);
    dict_replace(&db->keys, k->hash, e, moved, take_mark(moved));
    db->deadline_count += (uint64_t)entry_has_deadline(moved) - (old_ms != 0);
    entry_free_shell(sh->keys.mem, e);
    publish_counts(db);
    note_deadline(sh, db, moved);
    note_change(sh, k);
    return true;
}

enum err keyspace_move(struct shard *sh, const struct key *from, const struct key *to)
{
    struct entry *e = peek_for_change(sh, from);
    if (!e) return ERR_NO_KEY;
    bool same_name = bytes_equal(from->name, to->name);
    if (same_name && from->db == to->db) return OK;
    struct entry *moved = e;
    if (!keyspace_try_make_room(sh, to)) return ERR_ALLOC;
    if (!same_name) moved = entry_try_reshell(sh->keys.mem, e, to->name, entry_deadline_ms(e));
    if (!moved) return ERR_ALLOC;
    note_change(sh, from);
    struct database *source = database_of(sh, from->db);
    snapshot_guard(sh, source, e);
    dict_remove_entry(&source->keys, from->hash, e);
    source->deadline_count -= entry_has_deadline(e);
    publish_counts(source);
    if (moved != e) entry_free_shell(sh->keys.mem, e);
    struct entry *old = peek_for_change(sh, to);
    put(sh, to, old, moved);
    if (old) notify(sh, NOTIFY_NEW, "new", to);
    return OK;
}

/* ---- whole databases ---- */

uint64_t keyspace_size(const struct shard *sh, uint32_t db)
{
    const struct database *d = database_of(sh, db);
    return d ? d->keys.count : 0;
}

void keyspace_flush(struct shard *sh, uint32_t db)
{
    struct database *d = database_of(sh, db);
    if (!d) return;
    if (unlikely(sh->watches.key_count > 0)) watch_mark_database(sh, db, db);
    wait_note_database(sh, db);
    counter_add(&sh->counters.changes, d->keys.count);
    if (d->keys.count > 0) journal_flush_database(sh, db);
    if (!snapshot_keep_table(sh, d)) free_list_dict(sh, &d->keys);
    d->deadline_count = 0;
    publish_counts(d);
}

void keyspace_swap(struct shard *sh, uint32_t db_a, uint32_t db_b)
{
    if (unlikely(sh->watches.key_count > 0)) {
        watch_mark_database(sh, db_a, db_b);
        watch_mark_database(sh, db_b, db_a);
    }
    struct database *a = make_database(sh, db_a), *b = make_database(sh, db_b);
    set_database(&sh->keys, db_a, b);
    set_database(&sh->keys, db_b, a);
    wait_note_database(sh, db_a);
    wait_note_database(sh, db_b);
    counter_add(&sh->counters.changes, 1);
    journal_swap_databases(sh, db_a, db_b);
}

struct entry *keyspace_random(struct shard *sh, uint32_t db)
{
    struct database *d = database_of(sh, db);
    for (unsigned i = 0; d && i < RANDOM_TRIES_MAX; i++) {
        struct entry *e = dict_random(&d->keys, shard_random(sh));
        if (!e || !keyspace_is_expired(sh, e)) return e;
        if (shard_is_paused(sh)) continue;
        keyspace_drop_expired(sh, db, bytes_hash(entry_key(e), sh->keys.seed), e);
    }
    return NULL;
}

struct live_scan {
    const struct shard *sh;
    dict_scan_fn *fn;
    void *context;
};

static void pass_live(void *context, struct entry *e, uint64_t position)
{
    const struct live_scan *scan = context;
    if (!keyspace_is_expired(scan->sh, e)) scan->fn(scan->context, e, position);
}

uint64_t keyspace_scan(struct shard *sh, uint32_t db, uint64_t cursor, uint64_t count,
                       dict_scan_fn *fn, void *context)
{
    const struct database *d = database_of(sh, db);
    if (!d) return 0;
    struct live_scan scan = {sh, fn, context};
    for (uint64_t seen = 0; seen < count; seen += DICT_BUCKET_SLOTS) {
        cursor = dict_scan(&d->keys, cursor, pass_live, &scan);
        if (cursor == 0) break;
    }
    return cursor;
}

bool keyspace_read_stats(const struct keyspace *ks, uint32_t db, struct keyspace_stats *out)
{
    const struct database *d = __atomic_load_n(&ks->databases[db], __ATOMIC_ACQUIRE);
    if (!d) return false;
    *out = (struct keyspace_stats){
        .keys = counter_read(&d->key_count),
        .expires = counter_read(&d->expires_count),
        .table_bytes = counter_read(&d->table_bytes),
        .ttl_sum_ms = counter_read(&d->ttl_sum_ms),
        .ttl_sampled = counter_read(&d->ttl_sampled),
    };
    return true;
}

/* ---- invariants ---- */

struct marks_expected {
    uint64_t by_mark[DICT_MARK_MAX + 1];
    uint64_t deadline_count;
};

static void count_deadline(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct marks_expected *m = context;
    int64_t due_ms = entry_deadline_ms(e);
    m->deadline_count += due_ms != 0;
    if (hash_is_table(e)) {
        int64_t *marked_ms, next_ms = hash_next_deadline_ms(e, &marked_ms);
        CHECK(next_ms == 0 || (*marked_ms && *marked_ms <= next_ms));
        if (*marked_ms && (due_ms == 0 || *marked_ms < due_ms)) due_ms = *marked_ms;
    }
    m->by_mark[keyspace_deadline_mark(due_ms)]++;
}

static void count_any(void *context, UNUSED struct entry *e, UNUSED uint64_t position)
{
    ++*(uint64_t *)context;
}

void keyspace_validate(const struct shard *sh)
{
    for (uint32_t i = 0; i < sh->keys.database_count; i++) {
        const struct database *db = database_of(sh, i);
        if (!db) continue;
        dict_validate(&db->keys);
        CHECK(counter_read(&db->key_count) == db->keys.count);
        CHECK(counter_read(&db->expires_count) == db->deadline_count);
        struct marks_expected expected = {0};
        uint64_t cursor = 0;
        do cursor = dict_scan(&db->keys, cursor, count_deadline, &expected);
        while (cursor);
        CHECK(expected.deadline_count == db->deadline_count);
        for (unsigned mark = 1; mark <= DICT_MARK_MAX; mark++) {
            uint64_t marked = 0;
            do cursor = dict_scan_marked(&db->keys, cursor, 1u << mark, count_any, &marked);
            while (cursor);
            CHECK(marked == expected.by_mark[mark]);
        }
    }
}
