#include "shard/evict_pool.h"

#include "shard/shard.h"

/* Calls of a scan for one sample, before it rests. */
#define SCAN_CALLS_MAX 256

void evict_pool_insert(struct evict_pool *pool, const struct evict_candidate *c)
{
    struct evict_candidate *all = pool->candidates;
    for (uint32_t i = 0; i < pool->count; i++)
        if (all[i].hash == c->hash && all[i].db == c->db) return;
    if (pool->count == EVICT_POOL_SIZE) {
        if (c->score <= all[0].score) return;
        memmove(&all[0], &all[1], (EVICT_POOL_SIZE - 1) * sizeof all[0]);
        pool->count--;
    }
    uint32_t at = pool->count++;
    for (; at > 0 && all[at - 1].score > c->score; at--) all[at] = all[at - 1];
    all[at] = *c;
}

bool evict_pool_pop(struct evict_pool *pool, struct evict_candidate *out)
{
    if (pool->count == 0) return false;
    *out = pool->candidates[--pool->count];
    return true;
}

/* ---- sampling ---- */

static void collect(void *context, struct entry *e, uint64_t position)
{
    UNUSED uint64_t any = position;
    struct evict_sample *s = context;
    if (s->count == EVICT_SAMPLES_MAX) return;
    __builtin_prefetch(e);
    s->entries[s->count++] = e;
}

/* Whole buckets from a random place on, until there are enough entries. */
static void sample_all(struct shard *sh, const struct dict *keys, struct evict_sample *s)
{
    uint32_t wanted = MIN(sh->config->evict_samples, (uint32_t)EVICT_SAMPLES_MAX);
    uint64_t cursor = shard_random(sh);
    for (unsigned calls = 0; calls < SCAN_CALLS_MAX && s->count < wanted; calls++)
        cursor = dict_scan(keys, cursor, collect, s);
}

/* A hash may be marked for the deadline of a field. */
static void collect_volatile(void *context, struct entry *e, uint64_t position)
{
    if (entry_has_deadline(e)) collect(context, e, position);
}

/* Keys with a deadline may be rare: what one call did not reach, the next one does. */
static void sample_marked(struct shard *sh, const struct dict *keys, struct evict_sample *s)
{
    uint32_t wanted = MIN(sh->config->evict_samples, (uint32_t)EVICT_SAMPLES_MAX);
    uint64_t cursor = sh->evict.cursor ? sh->evict.cursor : shard_random(sh);
    for (unsigned calls = 0; calls < SCAN_CALLS_MAX && s->count < wanted; calls++)
        cursor = dict_scan_marked(keys, cursor, DICT_MARKS_ALL, collect_volatile, s);
    sh->evict.cursor = s->count ? 0 : cursor;
}

bool evict_sample(struct shard *sh, uint32_t db, struct evict_sample *s)
{
    const struct database *d = sh->keys.databases[db];
    bool is_volatile = sh->config->evict_volatile;
    s->count = 0;
    if (!d || (is_volatile ? d->deadline_count : d->keys.count) == 0) return false;
    if (is_volatile)
        sample_marked(sh, &d->keys, s);
    else
        sample_all(sh, &d->keys, s);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        struct entry *e = s->entries[i];
        uint64_t hash = bytes_hash(entry_key(e), sh->keys.seed);
        if (keyspace_is_in_use(sh, e, hash)) continue;
        s->entries[kept] = e;
        s->hashes[kept++] = hash;
    }
    s->count = kept;
    return true;
}

struct entry *evict_candidate_entry(struct shard *sh, const struct evict_candidate *c)
{
    const struct database *d = sh->keys.databases[c->db];
    struct entry *e = d ? dict_find_hash(&d->keys, c->hash) : NULL;
    if (!e || (sh->config->evict_volatile && !entry_has_deadline(e))) return NULL;
    return keyspace_is_in_use(sh, e, c->hash) ? NULL : e;
}
