#include "shard/defrag.h"

#include "base/env.h"
#include "shard/object.h"
#include "shard/shard.h"

/* How often a shard looks whether there is something to do. */
#define TICK_NS 100000000ULL
/* Between two cycles; the longer one when the last cycle had little to move. */
#define REST_NS 100000000ULL
#define REST_LONG_NS 1000000000ULL
/* Blocks of a value between two looks at the clock. */
#define ROUND_BLOCKS 64
/* Bounds a slice where the clock stands still, as in the simulator. */
#define SLICE_STEPS_MAX 256

void defrag_set_effort(struct defrag *d, uint32_t percent)
{
    counter_set(&d->effort_percent, percent);
}

static void count_walk(struct shard *sh, const struct defrag_walk *w)
{
    struct defrag *d = &sh->defrag;
    counter_add(&d->hits, w->hits);
    counter_add(&d->misses, w->misses);
    counter_add(w->hits ? &d->key_hits : &d->key_misses, 1);
    d->cycle_hits += w->hits;
}

static struct defrag_walk begin_walk(struct shard *sh, uint64_t budget)
{
    return (struct defrag_walk){.mem = &sh->mem, .force = sh->defrag.force, .budget = budget};
}

/* ---- values that take several slices ---- */

static bool is_big(const struct shard *sh, const struct entry *e)
{
    return object_effort(e) > MIN(sh->config->defrag_scan_fields_max, (uint64_t)ROUND_BLOCKS);
}

static void put_off(struct defrag *d, uint64_t hash)
{
    if (d->pending_count < DEFRAG_PENDING_MAX) d->pending[d->pending_count++] = hash;
}

/* Some blocks of the value that was put off last, unless it is gone by now. */
static void step_value(struct shard *sh)
{
    struct defrag *d = &sh->defrag;
    const struct database *db = sh->keys.databases[d->db];
    uint64_t hash = d->pending[d->pending_count - 1];
    struct entry *e = db ? dict_find_hash(&db->keys, hash) : NULL;
    struct defrag_walk w = begin_walk(sh, ROUND_BLOCKS);
    w.cursor = d->value_cursor;
    if (e && !keyspace_is_in_use(sh, e, hash)) {
        object_defrag(&w, e);
        count_walk(sh, &w);
    } else {
        w.cursor = 0;
    }
    d->value_cursor = w.cursor;
    if (w.cursor == 0) d->pending_count--;
}

/* ---- the table of a database ---- */

static struct entry *defrag_key(void *context, struct entry *e)
{
    struct shard *sh = context;
    uint64_t hash = 0;
    bool is_later = is_big(sh, e);
    if (is_later || sh->locks.busy) hash = bytes_hash(entry_key(e), sh->keys.seed);
    if (keyspace_is_in_use(sh, e, hash)) return e;
    struct defrag_walk w = begin_walk(sh, ROUND_BLOCKS);
    e = entry_defrag(&w, e);
    if (is_later)
        put_off(&sh->defrag, hash);
    else
        object_defrag(&w, e);
    count_walk(sh, &w);
    return e;
}

/* One bucket. */
static void step_table(struct shard *sh)
{
    struct defrag *d = &sh->defrag;
    struct database *db = sh->keys.databases[d->db];
    if (db) {
        struct defrag_walk w = begin_walk(sh, ROUND_BLOCKS);
        d->cursor = dict_defrag(&db->keys, &w, d->cursor, defrag_key, sh);
        counter_add(&d->hits, w.hits);
        d->cycle_hits += w.hits;
    } else {
        d->cursor = 0;
    }
}

/* ---- cycles ---- */

static bool cycle_is_through(const struct shard *sh)
{
    return sh->defrag.db == sh->keys.database_count;
}

static void step(struct shard *sh)
{
    struct defrag *d = &sh->defrag;
    if (d->pending_count > 0)
        step_value(sh);
    else
        step_table(sh);
    if (d->pending_count == 0 && d->cursor == 0) d->db++;
}

static void run_slice(struct shard *sh, uint64_t start_ns)
{
    for (unsigned i = 0; i < SLICE_STEPS_MAX && !cycle_is_through(sh); i++) {
        step(sh);
        if (env_now_ns() - start_ns >= SHARD_SLICE_US * 1000ULL * 9 / 10) break;
    }
}

static void begin_cycle(struct defrag *d)
{
    d->db = 0;
    d->cursor = d->value_cursor = d->cycle_hits = 0;
    d->pending_count = 0;
}

/* Where little moved, the next cycle would find little more. */
static uint64_t rest_ns(const struct shard *sh)
{
    uint64_t blocks = atomic_load_explicit(&sh->mem.live_count, memory_order_relaxed);
    return sh->defrag.cycle_hits * 100 < blocks ? REST_LONG_NS : REST_NS;
}

bool defrag_step(struct shard *sh)
{
    struct defrag *d = &sh->defrag;
    if (sh->now_ns < defrag_next_ns(sh)) return false;
    uint64_t effort = counter_read(&d->effort_percent);
    /* Who serialises a value in slices knows where its parts are. */
    if (effort == 0 || big_value_is_any(&sh->snapshot.big_values)) {
        d->next_ns = sh->now_ns + TICK_NS;
        return false;
    }
    uint64_t start_ns = env_now_ns();
    run_slice(sh, start_ns);
    uint64_t took_ns = env_now_ns() - start_ns;
    d->next_ns = sh->now_ns + took_ns + took_ns * (100 - effort) / effort;
    if (cycle_is_through(sh)) {
        d->next_ns = sh->now_ns + rest_ns(sh);
        counter_add(&d->cycles, 1);
        begin_cycle(d);
    }
    return sh->now_ns >= d->next_ns;
}

uint64_t defrag_next_ns(const struct shard *sh)
{
    return sh->config->active_defrag ? sh->defrag.next_ns : UINT64_MAX;
}
