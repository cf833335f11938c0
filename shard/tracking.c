#include "shard/tracking.h"

#include "shard/shard.h"

struct tracked_key {
    struct table_node node;
    struct buf trackers; /* struct tracker */
    size_t name_bytes;
    char name[];
};

static uint32_t tracker_count(const struct tracked_key *t)
{
    return (uint32_t)(t->trackers.size / sizeof(struct tracker));
}

static const struct tracker *tracker_at(const struct tracked_key *t, uint32_t index)
{
    return (const struct tracker *)(const void *)t->trackers.data + index;
}

/* ---- the table ---- */

static struct tracked_key *tracked_find(const struct shard *sh, const struct key *k)
{
    struct table_node *node = node_table_find(&sh->tracking.keys, k->hash);
    for (; node; node = node_table_find_next(node)) {
        struct tracked_key *t = container_of(node, struct tracked_key, node);
        if (bytes_equal(bytes_make(t->name, t->name_bytes), k->name)) return t;
    }
    return NULL;
}

static struct tracked_key *tracked_try_make(struct shard *sh, const struct key *k)
{
    struct tracked_key *t = mem_try_alloc(&sh->mem, sizeof *t + k->name.size);
    if (!t) return NULL;
    *t = (struct tracked_key){.trackers = {.mem = &sh->mem}, .name_bytes = k->name.size};
    memcpy(t->name, k->name.data, k->name.size);
    node_table_insert(&sh->tracking.keys, &t->node, k->hash);
    counter_set(&sh->tracking.key_count, sh->tracking.keys.count);
    return t;
}

static void tracked_drop(struct shard *sh, struct tracked_key *t)
{
    struct tracking *tr = &sh->tracking;
    counter_set(&tr->item_count, counter_read(&tr->item_count) - tracker_count(t));
    node_table_remove(&tr->keys, &t->node);
    counter_set(&tr->key_count, tr->keys.count);
    buf_clear(&t->trackers);
    mem_free(&sh->mem, t, sizeof *t + t->name_bytes);
}

static void drop_all(struct shard *sh)
{
    struct table_node *node;
    uint32_t bucket = 0;
    while ((node = node_table_first_from(&sh->tracking.keys, &bucket))) {
        tracked_drop(sh, container_of(node, struct tracked_key, node));
        bucket = 0; /* the table may have shrunk */
    }
}

void tracking_init(struct shard *sh)
{
    sh->tracking = (struct tracking){0};
    node_table_init(&sh->tracking.keys, &sh->mem);
}

void tracking_deinit(struct shard *sh)
{
    drop_all(sh);
    node_table_deinit(&sh->tracking.keys);
}

/* ---- telling ---- */

static const struct run *run_of(const struct parcel *pc, uint32_t index)
{
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (index >= run->first && index < (uint32_t)run->first + run->count) return run;
    }
    return NULL;
}

/* Whose request it is that runs; net_id UINT16_MAX: nobody's. */
static struct tracker running_connection(const struct shard *sh)
{
    const struct parcel *pc = sh->tracking.running;
    if (sh->tracking.parked) return *sh->tracking.parked;
    const struct run *run = pc ? run_of(pc, sh->tracking.running_index) : NULL;
    if (!run) return (struct tracker){.net_id = UINT16_MAX};
    return (struct tracker){run->conn_index, run->conn_generation, pc->net_id};
}

static void tell_and_forget(struct shard *sh, struct tracked_key *t)
{
    struct tracker source = running_connection(sh);
    struct bytes name = bytes_make(t->name, t->name_bytes);
    for (uint32_t i = 0; i < tracker_count(t); i++)
        channels_invalidate(sh, tracker_at(t, i), &source, name);
    tracked_drop(sh, t);
}

void tracking_remember_in_block(struct shard *sh, struct request *rq)
{
    struct tracker who = running_connection(sh);
    if (who.net_id != UINT16_MAX) tracking_remember(sh, rq, &who);
}

void tracking_note_change(struct shard *sh, const struct key *k)
{
    if (!shard_owns_key(sh, k)) return; /* a guest: what it has become goes home */
    struct tracked_key *t = tracked_find(sh, k);
    if (t) tell_and_forget(sh, t);
    struct tracker source = running_connection(sh);
    channels_invalidate_prefixes(sh, &source, k->name);
}

void tracking_note_flush(struct shard *sh)
{
    drop_all(sh);
    channels_tell_flush(sh);
}

/* ---- remembering ---- */

static uint64_t keys_max(const struct shard *sh)
{
    uint64_t max = sh->config->tracking_keys_max;
    return max == 0 ? UINT64_MAX : MAX(max / sh->shard_count, 1u);
}

static void forget_some(struct shard *sh)
{
    struct node_table *keys = &sh->tracking.keys;
    while (keys->count > keys_max(sh)) {
        uint32_t bucket = (uint32_t)(shard_random(sh) % keys->buckets);
        struct table_node *node = node_table_first_from(keys, &bucket);
        bucket = 0;
        if (!node) node = node_table_first_from(keys, &bucket);
        tell_and_forget(sh, container_of(node, struct tracked_key, node));
    }
}

static bool is_remembered(const struct tracked_key *t, const struct tracker *who)
{
    for (uint32_t i = 0; i < tracker_count(t); i++) {
        const struct tracker *other = tracker_at(t, i);
        if (other->conn_index == who->conn_index && other->net_id == who->net_id &&
            other->conn_generation == who->conn_generation)
            return true;
    }
    return false;
}

struct reading {
    struct shard *shard;
    struct request *request;
    const struct tracker *who;
};

static void remember_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct reading *r = context;
    struct shard *sh = r->shard;
    struct key k = request_key(sh, r->request, index);
    if (k.hash == 0) k.hash = bytes_hash(k.name, sh->keys.seed);
    if (!shard_owns_key(sh, &k)) return;
    struct tracked_key *t = tracked_find(sh, &k);
    if (!t) t = tracked_try_make(sh, &k);
    if (!t || (!is_remembered(t, r->who) && !buf_try_reserve(&t->trackers, sizeof *r->who))) {
        struct tracker nobody = {.net_id = UINT16_MAX};
        channels_invalidate(sh, r->who, &nobody, k.name);
        return;
    }
    if (is_remembered(t, r->who)) return;
    buf_append(&t->trackers, r->who, sizeof *r->who);
    counter_add(&sh->tracking.item_count, 1);
}

void tracking_remember(struct shard *sh, struct request *rq, const struct tracker *who)
{
    struct reading r = {sh, rq, who};
    command_each_key(rq->command, rq->argv, rq->argc, remember_key, &r);
    forget_some(sh);
}

void tracking_remember_in_parcel(struct shard *sh, struct parcel *pc, uint32_t index)
{
    const struct run *run = run_of(pc, index);
    CHECK(run);
    struct tracker who = {run->conn_index, run->conn_generation, pc->net_id};
    tracking_remember(sh, &pc->requests[index], &who);
}
