#include "shard/snapshot.h"

#include "base/env.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard/shard.h"

/* Values of more elements are not compressed: that would take several times as long, in one go. */
#define COMPRESS_EFFORT_MAX 10000

/* ---- chunks ---- */

static void release(struct shard *sh, struct snapshot_chunk *chunk)
{
    buf_clear(&chunk->records);
    mem_free(&sh->mem, chunk, sizeof *chunk);
}

static struct snapshot_chunk *make_chunk(struct shard *sh, uint32_t db)
{
    struct snapshot_chunk *chunk = mem_alloc(&sh->mem, sizeof *chunk);
    *chunk = (struct snapshot_chunk){.shard_id = sh->id, .db = db, .records = {.mem = &sh->mem}};
    return chunk;
}

static void send_chunk(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    struct snapshot_chunk *chunk = s->chunk;
    s->chunk = NULL;
    s->chunks_away++;
    sh->hooks->send_chunk(sh, chunk);
}

void snapshot_chunk_is_back(struct shard *sh, struct snapshot_chunk *chunk)
{
    sh->snapshot.chunks_away--;
    release(sh, chunk);
}

/* The chunk that takes records of that database. */
static struct snapshot_chunk *chunk_for(struct shard *sh, uint32_t db)
{
    struct snapshot *s = &sh->snapshot;
    if (s->chunk && s->chunk->db != db) send_chunk(sh);
    if (!s->chunk) s->chunk = make_chunk(sh, db);
    return s->chunk;
}

void snapshot_abandon(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    if (!s->is_walking) return;
    s->is_abandoned = true;
    if (s->chunk) release(sh, s->chunk);
    s->chunk = NULL;
}

/* ---- one entry ---- */

static struct rdb_file_key key_of(const struct shard *sh, const struct entry *e)
{
    struct rdb_file_key key = {
        .name = entry_key(e), .deadline_ms = entry_deadline_ms(e), .idle_s = -1, .frequency = -1};
    if (sh->config->evict_policy == EVICT_LRU)
        key.idle_s = (int64_t)(keyspace_idle_ms(sh, e) / 1000);
    if (sh->config->evict_policy == EVICT_LFU) key.frequency = keyspace_frequency(sh, e);
    return key;
}

static bool try_append(struct shard *sh, const struct entry *e, struct buf *out)
{
    struct rdb_writer *w = &sh->snapshot.writer;
    struct rdb_key_mark mark;
    bool compress = sh->config->rdb_compression && object_effort(e) <= COMPRESS_EFFORT_MAX;
    w->out = out;
    w->packing = compress ? RDB_PACK_ALL : RDB_PACK_INTEGERS;
    struct rdb_file_key key = key_of(sh, e);
    if (!rdb_try_append_key(w, &key, &mark) || !object_try_freeze(e, w)) return false;
    out->data[mark.type] = (char)object_plain_type((uint8_t)out->data[mark.type]);
    rdb_finish_key(w, &mark);
    return true;
}

void snapshot_save(struct shard *sh, const struct database *db, struct entry *e)
{
    struct snapshot *s = &sh->snapshot;
    entry_set_colour(e, sh->keys.colour);
    if (s->is_abandoned) return;
    struct snapshot_chunk *chunk = chunk_for(sh, db->snapshot_number);
    size_t before = chunk->records.size;
    if (!try_append(sh, e, &chunk->records)) {
        chunk->records.size = before;
        snapshot_abandon(sh);
        return;
    }
    chunk->key_count++;
    if (chunk->records.size >= SNAPSHOT_CHUNK_BYTES) send_chunk(sh);
}

/* ---- before changes ---- */

struct guarded {
    struct shard *sh;
    const struct request *rq;
};

static void guard_key(void *context, uint32_t index, const struct key_spec *spec)
{
    const struct guarded *g = context;
    if (spec->flags & (KEY_RO | KEY_NOT_KEY)) return;
    struct key k = request_key(g->sh, g->rq, index);
    struct database *db = g->sh->keys.databases[k.db];
    struct entry *e = db ? dict_find(&db->keys, k.hash, k.name) : NULL;
    if (!e || entry_colour(e) == g->sh->keys.colour) return;
    counter_add(&g->sh->counters.snapshot_early, 1);
    snapshot_save(g->sh, db, e);
}

void snapshot_guard_request(struct shard *sh, const struct request *rq)
{
    struct guarded g = {sh, rq};
    /* Arguments that do not fit change nothing. */
    (void)command_each_key(rq->command, rq->argv, rq->argc, guard_key, &g);
}

bool snapshot_keep_table(struct shard *sh, struct database *db)
{
    struct snapshot *s = &sh->snapshot;
    if (!s->is_walking || s->is_abandoned) return false;
    for (uint32_t i = s->at; i < s->table_count; i++) {
        struct snapshot_table *t = &s->tables[i];
        if (t->database != db || t->is_kept) continue;
        t->kept = db->keys;
        t->is_kept = true;
        dict_init(&db->keys, sh->keys.mem, sh->keys.seed);
        return true;
    }
    return false;
}

/* ---- the walk ---- */

static void add_table(struct shard *sh, uint32_t number, struct database *db)
{
    struct snapshot *s = &sh->snapshot;
    if (db->keys.count == 0) return;
    db->snapshot_number = number;
    s->tables[s->table_count++] = (struct snapshot_table){.database = db,
                                                          .number = number,
                                                          .key_count = db->keys.count,
                                                          .deadline_count = db->deadline_count};
}

void snapshot_begin(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    CHECK(!s->is_walking && !s->chunk);
    sh->keys.colour ^= ENTRY_COLOUR;
    s->table_count = s->at = 0;
    s->cursor = 0;
    s->is_abandoned = false;
    s->next_ns = 0;
    s->changes = counter_read(&sh->counters.changes);
    if (!s->tables) {
        s->table_capacity = sh->keys.database_count;
        s->tables = mem_alloc(&sh->mem, s->table_capacity * sizeof *s->tables);
    }
    for (uint32_t i = 0; i < sh->keys.database_count; i++)
        if (sh->keys.databases[i]) add_table(sh, i, sh->keys.databases[i]);
    s->is_walking = true;
}

struct slice {
    struct shard *sh;
    const struct database *db;
    uint64_t end_ticks;
    unsigned left;
    bool is_cut; /* the rest of the bucket waits for the next slice */
};

static void walk_entry(void *context, struct entry *e, uint64_t position)
{
    UNUSED uint64_t any = position;
    struct slice *slice = context;
    struct shard *sh = slice->sh;
    if (slice->is_cut || entry_colour(e) == sh->keys.colour) return;
    snapshot_save(sh, slice->db, e);
    slice->left -= slice->left > 0;
    slice->is_cut = slice->left == 0 || env_ticks() >= slice->end_ticks;
}

static bool is_blocked(const struct snapshot *s)
{
    return !s->is_abandoned && s->chunks_away >= SNAPSHOT_CHUNKS_MAX;
}

uint64_t snapshot_next_ns(const struct shard *sh)
{
    const struct snapshot *s = &sh->snapshot;
    if (!s->is_walking) return UINT64_MAX;
    if (s->is_abandoned) return 0;
    return is_blocked(s) ? UINT64_MAX : s->next_ns;
}

bool snapshot_can_walk(const struct shard *sh)
{
    return snapshot_next_ns(sh) <= sh->now_ns;
}

/* The packer belongs to the memory of any of the chunks. */
static void drop_packer(struct shard *sh)
{
    struct buf none = {.mem = &sh->mem};
    sh->snapshot.writer.out = &none;
    rdb_writer_deinit(&sh->snapshot.writer);
    sh->snapshot.writer = (struct rdb_writer){0};
}

static void finish(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    s->is_walking = false;
    drop_packer(sh);
    if (!s->chunk) s->chunk = make_chunk(sh, 0);
    s->chunk->is_last = true;
    s->chunk->has_failed = s->is_abandoned;
    send_chunk(sh);
}

static void finish_table(struct shard *sh)
{
    struct snapshot_table *t = &sh->snapshot.tables[sh->snapshot.at++];
    if (!t->is_kept) return;
    free_list_dict(sh, &t->kept);
    t->is_kept = false;
}

void snapshot_slice_entries(struct shard *sh, uint32_t count)
{
    sh->snapshot.slice_entries = count;
}

/* When the next slice may start: requests get at least half of the time. */
static uint64_t rest_until_ns(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    uint64_t delay_us = sh->config->snapshot_delay_us;
    if (unlikely(delay_us > 0)) return sh->now_ns + delay_us * 1000;
    uint64_t requests = counter_read(&sh->counters.requests);
    bool is_busy = requests != s->requests_seen;
    s->requests_seen = requests;
    return is_busy ? sh->now_ns + 2 * SHARD_SLICE_US * 1000 : 0;
}

static void walk_slice(struct shard *sh, struct slice *slice)
{
    struct snapshot *s = &sh->snapshot;
    /* Each round passes a bucket; buckets without an old entry count as well. */
    unsigned buckets = slice->left;
    for (unsigned i = 0; s->at < s->table_count && i < buckets; i++) {
        struct snapshot_table *t = &s->tables[s->at];
        const struct dict *d = t->is_kept ? &t->kept : &t->database->keys;
        slice->db = t->database;
        uint64_t next = dict_scan(d, s->cursor, walk_entry, slice);
        if (slice->is_cut) return;
        s->cursor = next;
        if (next == 0) finish_table(sh);
        if (env_ticks() >= slice->end_ticks || is_blocked(s)) return;
    }
}

bool snapshot_step(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    struct slice slice = {.sh = sh, .left = s->slice_entries};
    if (slice.left == 0) slice.left = SNAPSHOT_SLICE_ENTRIES_MAX;
    if (unlikely(sh->config->snapshot_delay_us > 0)) slice.left = 1;
    slice.end_ticks = env_ticks() + (uint64_t)(SHARD_SLICE_US * 9 / 10 * env_ticks_per_us());
    walk_slice(sh, &slice);
    s->next_ns = rest_until_ns(sh);
    if (s->at == s->table_count) finish(sh);
    return snapshot_can_walk(sh);
}

/* ---- the end ---- */

void snapshot_deinit(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    CHECK(s->chunks_away == 0);
    if (s->chunk) release(sh, s->chunk);
    drop_packer(sh);
    for (uint32_t i = s->is_walking ? s->at : s->table_count; i < s->table_count; i++)
        if (s->tables[i].is_kept) free_list_dict(sh, &s->tables[i].kept);
    if (s->tables) mem_free(&sh->mem, s->tables, s->table_capacity * sizeof *s->tables);
    *s = (struct snapshot){0};
}

static void check_colour(void *context, struct entry *e, uint64_t position)
{
    UNUSED uint64_t any = position;
    CHECK(entry_colour(e) == ((const struct shard *)context)->keys.colour);
}

void snapshot_validate(const struct shard *sh)
{
    if (sh->snapshot.is_walking) return;
    for (uint32_t i = 0; i < sh->keys.database_count; i++) {
        uint64_t cursor = 0;
        if (!sh->keys.databases[i]) continue;
        do
            cursor = dict_scan(&sh->keys.databases[i]->keys, cursor, check_colour,
                               (void *)(uintptr_t)sh);
        while (cursor);
    }
}
