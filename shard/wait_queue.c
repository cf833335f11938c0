#include "shard/wait_queue.h"

#include "base/bytes.h"
#include "shard/shard.h"

#define HASH_FACTOR 0x9E3779B97F4A7C15ULL

/* ---- queues ---- */

static uint64_t key_hash(const struct key *k)
{
    return k->hash + k->db * HASH_FACTOR;
}

struct key wait_queue_key(const struct wait_queue *q)
{
    return (struct key){.name = bytes_make(q->name, q->name_size),
                        .hash = q->node.hash - q->db * HASH_FACTOR,
                        .db = q->db};
}

struct wait_queue *wait_queue_find(struct shard *sh, const struct key *k)
{
    struct table_node *node = node_table_find(&sh->waits.queues, key_hash(k));
    for (; node; node = node_table_find_next(node)) {
        struct wait_queue *q = container_of(node, struct wait_queue, node);
        if (q->db == k->db && bytes_equal(bytes_make(q->name, q->name_size), k->name)) return q;
    }
    return NULL;
}

static void count_keys(struct shard *sh)
{
    counter_set(&sh->counters.blocking_keys, sh->waits.queues.count);
}

/* A place in the queue more, or less. */
static void count_absence(struct shard *sh, struct wait_queue *q, const struct wait_rule *rule,
                          int change)
{
    if (!rule->sees_absence) return;
    bool was_seen = q->absence_seen > 0;
    q->absence_seen += (uint32_t)change;
    struct counter *keys = &sh->counters.blocking_keys_absent;
    counter_set(keys, counter_read(keys) - was_seen + (q->absence_seen > 0));
}

/* NULL: no memory. */
static struct wait_queue *queue_find_or_make(struct shard *sh, const struct key *k)
{
    struct wait_queue *q = wait_queue_find(sh, k);
    if (q) return q;
    q = mem_try_alloc(&sh->mem, sizeof *q + k->name.size);
    if (!q) return NULL;
    *q = (struct wait_queue){.db = k->db, .name_size = (uint32_t)k->name.size};
    memcpy(q->name, k->name.data, k->name.size);
    dlist_init(&q->places);
    dlist_init(&q->ready);
    node_table_insert(&sh->waits.queues, &q->node, key_hash(k));
    count_keys(sh);
    return q;
}

void wait_queue_drop_if_unused(struct shard *sh, struct wait_queue *q)
{
    if (!dlist_is_empty(&q->places) || q->is_served) return;
    dlist_remove(&q->ready);
    node_table_remove(&sh->waits.queues, &q->node);
    mem_free(&sh->mem, q, sizeof *q + q->name_size);
    count_keys(sh);
}

void wait_queue_note(struct shard *sh, struct wait_queue *q)
{
    if (q->is_noted) return;
    q->is_noted = true;
    dlist_push_back(&sh->waits.ready, &q->ready);
}

/* ---- waiters ---- */

static uint64_t id_hash(const struct wait_id *id)
{
    return (id->conn_index + ((uint64_t)id->net_id << 32)) * HASH_FACTOR;
}

struct waiter *waiter_find(struct shard *sh, const struct wait_id *id)
{
    struct table_node *node = node_table_find(&sh->waits.waiters, id_hash(id));
    for (; node; node = node_table_find_next(node)) {
        struct waiter *w = container_of(node, struct waiter, node);
        if (memcmp(&w->id, id, sizeof *id) == 0) return w;
    }
    return NULL;
}

static void join_queue(struct shard *sh, struct waiter *w, struct wait_queue *q, uint32_t index)
{
    const struct wait_place *last = container_of(q->places.prev, struct wait_place, link);
    if (!dlist_is_empty(&q->places) && last->waiter == w) return; /* the same key twice */
    struct wait_place *place = &w->places[w->place_count++];
    *place = (struct wait_place){.queue = q, .waiter = w, .index = index};
    count_absence(sh, q, w->rule, 1);
    dlist_push_back(&q->places, &place->link);
}

/* False: no memory; it may stand in some of them. */
static bool join_queues(struct shard *sh, struct waiter *w, const struct request *rq,
                        const struct wait_keys *keys)
{
    w->places = mem_try_alloc(&sh->mem, keys->count * sizeof *w->places);
    if (!w->places) return false;
    w->place_capacity = keys->count;
    for (uint32_t i = keys->first; i < keys->first + keys->count; i++) {
        struct key k = request_key(sh, rq, i);
        if (rq->flags & REQUEST_CLAIM && !shard_owns_key(sh, &k)) continue;
        struct wait_queue *q = queue_find_or_make(sh, &k);
        if (!q) return false;
        join_queue(sh, w, q, i);
    }
    return true;
}

void waiter_leave_queues(struct shard *sh, struct waiter *w)
{
    for (uint32_t i = 0; i < w->place_count; i++) {
        dlist_remove(&w->places[i].link);
        count_absence(sh, w->places[i].queue, w->rule, -1);
        wait_queue_drop_if_unused(sh, w->places[i].queue);
    }
    if (w->places) mem_free(&sh->mem, w->places, w->place_capacity * sizeof *w->places);
    w->places = NULL;
    w->place_count = 0;
}

void waiter_note_keys(struct shard *sh, struct waiter *w)
{
    for (uint32_t i = 0; i < w->place_count; i++) wait_queue_note(sh, w->places[i].queue);
}

struct waiter *waiter_try_make(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                               bool is_in_no_queue)
{
    struct waiter *w = mem_alloc(&sh->mem, sizeof *w);
    *w = (struct waiter){.rule = keys->rule, .bound = {UINT64_MAX, UINT64_MAX}};
    dlist_init(&w->tentative);
    if ((!is_in_no_queue && !join_queues(sh, w, rq, keys)) || !parked_take(sh, &w->parked, rq)) {
        waiter_leave_queues(sh, w);
        mem_free(&sh->mem, w, sizeof *w);
        return NULL;
    }
    w->parked.request.flags &= (uint8_t)~REQUEST_MAY_WAIT;
    w->id =
        (struct wait_id){w->parked.run.conn_index, w->parked.run.conn_generation, w->parked.net_id};
    node_table_insert(&sh->waits.waiters, &w->node, id_hash(&w->id));
    sh->waits.claimants += waiter_is_claimant(w);
    return w;
}

void waiter_free(struct shard *sh, struct waiter *w)
{
    waiter_leave_queues(sh, w);
    dlist_remove(&w->tentative);
    sh->waits.claimants -= waiter_is_claimant(w);
    node_table_remove(&sh->waits.waiters, &w->node);
    parked_free(sh, &w->parked);
    if (w->early) chunk_free_chain(&sh->mem, w->early);
    if (w->resolved) mem_free(&sh->mem, w->resolved, w->resolved_bytes);
    mem_free(&sh->mem, w, sizeof *w);
}

void waiter_run(struct shard *sh, struct waiter *w, uint32_t index, struct reply *out)
{
    sh->waits.serving = index;
    parked_run(sh, &w->parked, out);
    sh->waits.serving = 0;
}

void waiter_serve(struct shard *sh, struct waiter *w, uint32_t index)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    waiter_run(sh, w, index, &out);
    parked_answer(sh, &w->parked, &out);
    waiter_free(sh, w);
}
