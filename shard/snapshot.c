#include "shard/snapshot.h"

#include "base/env.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard/shard.h"

/* ---- chunks ---- */

static void release(struct shard *sh, struct snapshot_chunk *chunk)
{
    buf_clear(&chunk->records);
    mem_free(&sh->mem, chunk, sizeof *chunk);
}

static struct snapshot_chunk *make_chunk(struct shard *sh, enum snapshot_lane lane, uint32_t db)
{
    struct snapshot_chunk *chunk = mem_alloc(&sh->mem, sizeof *chunk);
    *chunk = (struct snapshot_chunk){
        .shard_id = sh->id, .lane = lane, .db = db, .records = {.mem = &sh->mem}};
    return chunk;
}

static void send_chunk(struct shard *sh, enum snapshot_lane lane, bool is_open)
{
    struct snapshot *s = &sh->snapshot;
    struct snapshot_chunk *chunk = s->chunks[lane];
    s->chunks[lane] = NULL;
    s->away[lane]++;
    chunk->is_open = is_open;
    sh->hooks->send_chunk(sh, chunk);
}

void snapshot_chunk_is_back(struct shard *sh, struct snapshot_chunk *chunk)
{
    sh->snapshot.away[chunk->lane]--;
    release(sh, chunk);
}

/* The chunk that takes records of that database. */
static struct snapshot_chunk *chunk_for(struct shard *sh, enum snapshot_lane lane, uint32_t db)
{
    struct snapshot *s = &sh->snapshot;
    if (s->chunks[lane] && s->chunks[lane]->db != db) send_chunk(sh, lane, false);
    if (!s->chunks[lane]) s->chunks[lane] = make_chunk(sh, lane, db);
    return s->chunks[lane];
}

static void settle(struct shard *sh, enum snapshot_lane lane, bool is_open)
{
    const struct snapshot_chunk *chunk = sh->snapshot.chunks[lane];
    if (chunk && chunk->records.size >= SNAPSHOT_CHUNK_BYTES) send_chunk(sh, lane, is_open);
}

struct buf *snapshot_main_buffer(struct shard *sh, uint32_t db)
{
    return &chunk_for(sh, SNAPSHOT_LANE_WALK, db)->records;
}

void snapshot_main_settle(struct shard *sh, bool is_open)
{
    settle(sh, SNAPSHOT_LANE_WALK, is_open);
}

void snapshot_main_count(struct shard *sh, uint32_t db)
{
    chunk_for(sh, SNAPSHOT_LANE_WALK, db)->key_count++;
}

void snapshot_abandon(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    if (!s->is_walking) return;
    s->is_abandoned = true;
    for (unsigned lane = 0; lane < SNAPSHOT_LANES; lane++) {
        if (s->chunks[lane]) release(sh, s->chunks[lane]);
        s->chunks[lane] = NULL;
    }
}

/* ---- one entry ---- */

static void save(struct shard *sh, enum snapshot_lane lane, const struct database *db,
                 struct entry *e)
{
    entry_set_colour(e, sh->keys.colour);
    if (sh->snapshot.is_abandoned) return;
    if (unlikely(big_value_is_big(e))) {
        big_value_begin(sh, db, e);
        return;
    }
    struct snapshot_chunk *chunk = chunk_for(sh, lane, db->snapshot_number);
    size_t before = chunk->records.size;
    if (!snapshot_form_try_append(sh, e, &chunk->records)) {
        chunk->records.size = before;
        snapshot_abandon(sh);
        return;
    }
    chunk->key_count++;
    settle(sh, lane, false);
}

void snapshot_save(struct shard *sh, const struct database *db, struct entry *e)
{
    save(sh, SNAPSHOT_LANE_CHANGES, db, e);
}

/* ---- before changes ---- */

struct guarded {
    struct shard *sh;
    const struct request *rq;
};

static void guard_key(void *context, uint32_t index, const struct key_spec *spec)
{
    const struct guarded *g = context;
    bool is_read = spec->flags & KEY_RO && !(spec->flags & KEY_CHANGED);
    if (is_read || spec->flags & KEY_NOT_KEY) return;
    struct key k = request_key(g->sh, g->rq, index);
    struct database *db = g->sh->keys.databases[k.db];
    struct entry *e = db ? dict_find(&db->keys, k.hash, k.name) : NULL;
    if (!e) return;
    if (entry_colour(e) != g->sh->keys.colour) {
        counter_add(&g->sh->counters.snapshot_early, 1);
        snapshot_save(g->sh, db, e);
    }
    if (entry_type(e) == TYPE_STREAM && big_value_is_any(&g->sh->snapshot.big_values))
        big_value_settle(g->sh, e);
}

void snapshot_guard_request(struct shard *sh, const struct request *rq)
{
    struct guarded g = {sh, rq};
    /* Arguments that do not fit change nothing. */
    (void)command_each_key(rq->command, rq->argv, rq->argc, guard_key, &g);
}

/* Values that the queue has begun may have been moved into that table. */
static bool hold_table(struct shard *sh, struct database *db)
{
    struct snapshot *s = &sh->snapshot;
    if (!big_value_is_any(&s->big_values)) return false;
    struct snapshot_held *held = mem_alloc(&sh->mem, sizeof *held);
    *held = (struct snapshot_held){.next = s->held, .dict = db->keys};
    s->held = held;
    dict_init(&db->keys, sh->keys.mem, sh->keys.seed);
    return true;
}

void snapshot_big_values_are_through(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    while (s->held) {
        struct snapshot_held *held = s->held;
        s->held = held->next;
        free_list_dict(sh, &held->dict);
        mem_free(&sh->mem, held, sizeof *held);
    }
}

bool snapshot_keep_table(struct shard *sh, struct database *db)
{
    struct snapshot *s = &sh->snapshot;
    if (!s->is_walking) return false;
    if (s->is_abandoned) return hold_table(sh, db);
    for (uint32_t i = s->at; i < s->table_count; i++) {
        struct snapshot_table *t = &s->tables[i];
        if (t->database != db || t->is_kept) continue;
        t->kept = db->keys;
        t->is_kept = true;
        dict_init(&db->keys, sh->keys.mem, sh->keys.seed);
        return true;
    }
    return hold_table(sh, db);
}

/* ---- the walk ---- */

void snapshot_init(struct shard *sh)
{
    dlist_init(&sh->snapshot.big_values);
}

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

void snapshot_begin(struct shard *sh, enum snapshot_form form)
{
    struct snapshot *s = &sh->snapshot;
    CHECK(!s->is_walking && !s->chunks[SNAPSHOT_LANE_WALK]);
    sh->keys.colour ^= ENTRY_COLOUR;
    s->table_count = s->at = 0;
    s->cursor = 0;
    s->form = form;
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

static bool is_blocked(const struct snapshot *s)
{
    if (s->is_abandoned) return false;
    if (s->away[SNAPSHOT_LANE_WALK] >= SNAPSHOT_CHUNKS_MAX) return true;
    /* What changes early has to wait for the end of a record that is being written: so must not the
     * record for that. */
    if (big_value_is_any(&s->big_values)) return false;
    return s->away[SNAPSHOT_LANE_WALK] + s->away[SNAPSHOT_LANE_CHANGES] >= SNAPSHOT_CHUNKS_MAX;
}

bool snapshot_slice_may_go_on(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    s->slice_left -= s->slice_left > 0;
    return s->slice_left > 0 && env_ticks() < s->slice_end_ticks && !is_blocked(s);
}

struct slice {
    struct shard *sh;
    const struct database *db;
    bool is_cut; /* the rest of the bucket waits for the next slice */
};

static void walk_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct slice *slice = context;
    struct shard *sh = slice->sh;
    if (slice->is_cut || entry_colour(e) == sh->keys.colour) return;
    save(sh, SNAPSHOT_LANE_WALK, slice->db, e);
    /* A value that has been begun goes before all others. */
    slice->is_cut = !snapshot_slice_may_go_on(sh) || big_value_is_any(&sh->snapshot.big_values);
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
    buf_clear(&sh->snapshot.payload);
}

static void finish(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    s->is_walking = false;
    drop_packer(sh);
    if (s->chunks[SNAPSHOT_LANE_CHANGES]) send_chunk(sh, SNAPSHOT_LANE_CHANGES, false);
    struct snapshot_chunk **last = &s->chunks[SNAPSHOT_LANE_WALK];
    if (!*last) *last = make_chunk(sh, SNAPSHOT_LANE_WALK, 0);
    (*last)->is_last = true;
    (*last)->has_failed = s->is_abandoned;
    send_chunk(sh, SNAPSHOT_LANE_WALK, false);
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

/* The next bucket. */
static void walk_bucket(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    const struct snapshot_table *t = &s->tables[s->at];
    struct slice slice = {.sh = sh, .db = t->database};
    uint64_t next =
        dict_scan(t->is_kept ? &t->kept : &t->database->keys, s->cursor, walk_entry, &slice);
    if (slice.is_cut) return;
    s->cursor = next;
    if (next == 0) finish_table(sh);
}

/* Values that have been begun go first: a table is through when none of its own is left. */
static void walk_slice(struct shard *sh)
{
    const struct snapshot *s = &sh->snapshot;
    do {
        if (big_value_is_any(&s->big_values))
            big_value_step(sh);
        else if (s->at < s->table_count)
            walk_bucket(sh);
        else
            return;
    } while (snapshot_slice_may_go_on(sh));
}

bool snapshot_step(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    s->slice_left = s->slice_entries ? s->slice_entries : SNAPSHOT_SLICE_ENTRIES_MAX;
    if (unlikely(sh->config->snapshot_delay_us > 0)) s->slice_left = 1;
    s->slice_end_ticks = env_ticks() + (uint64_t)(SHARD_SLICE_US * 9 / 10 * env_ticks_per_us());
    walk_slice(sh);
    s->next_ns = rest_until_ns(sh);
    if (s->at == s->table_count && !big_value_is_any(&s->big_values)) finish(sh);
    return snapshot_can_walk(sh);
}

/* ---- the end ---- */

void snapshot_deinit(struct shard *sh)
{
    struct snapshot *s = &sh->snapshot;
    for (unsigned lane = 0; lane < SNAPSHOT_LANES; lane++) {
        CHECK(s->away[lane] == 0);
        if (s->chunks[lane]) release(sh, s->chunks[lane]);
    }
    big_value_deinit(sh);
    drop_packer(sh);
    for (uint32_t i = s->is_walking ? s->at : s->table_count; i < s->table_count; i++)
        if (s->tables[i].is_kept) free_list_dict(sh, &s->tables[i].kept);
    if (s->tables) mem_free(&sh->mem, s->tables, s->table_capacity * sizeof *s->tables);
    *s = (struct snapshot){0};
    dlist_init(&s->big_values);
}

static void check_colour(void *context, struct entry *e, UNUSED uint64_t position)
{
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
