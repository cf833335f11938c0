#include "shard/locks.h"

#include "base/command.h"
#include "base/late.h"
#include "shard/shard.h"

/* A key that somebody holds or waits for. Of every database at once, because MOVE and COPY name a
 * second one among their arguments. */
struct lock_entry {
    struct dlist link;  /* in its bucket */
    struct dlist queue; /* of lock nodes; the first is the holder, or runs next */
    uint64_t hash;
    uint32_t name_size;
    char name[];
};

/* One place in one key's queue. */
struct lock_node {
    struct dlist link;
    struct lock_entry *entry;
    struct ticket *ticket;
};

/* A parked request, or a holding. */
struct ticket {
    struct dlist link; /* gate or ready list */
    struct request request;
    struct run run;
    uint16_t index, net_id;
    bool is_parked;   /* a late reply is owed */
    bool is_holding;  /* stays in its queues until locks_release */
    uint32_t missing; /* queues in which it is not first */
    uint32_t node_count;
    struct lock_node *nodes;
    size_t copy_bytes;
    char *copy; /* argv and the bytes of the arguments */
};

void locks_init(struct locks *l)
{
    *l = (struct locks){0};
    dlist_init(&l->gate);
}

void locks_deinit(struct shard *sh)
{
    struct locks *l = &sh->locks;
    CHECK(l->busy == 0);
    if (l->buckets) mem_free(&sh->mem, l->buckets, l->bucket_count * sizeof *l->buckets);
}

static void locks_count(struct locks *l)
{
    l->busy = l->entry_count + !dlist_is_empty(&l->gate) + (l->exclusive != NULL);
}

/* ---- entries ---- */

/* The low bits of a hash have chosen the shard already. */
static uint32_t bucket_index(const struct locks *l, uint64_t hash)
{
    return (uint32_t)(hash >> 32) & (l->bucket_count - 1);
}

/* Chains stay short however many keys one command locks. Without memory they get longer. */
static void buckets_grow(struct shard *sh)
{
    struct locks *l = &sh->locks;
    struct dlist *old = l->buckets;
    uint32_t old_count = l->bucket_count, count = old ? 2 * old_count : LOCK_BUCKETS;
    struct dlist *buckets = mem_try_alloc(&sh->mem, count * sizeof *buckets);
    if (!buckets) {
        CHECK(old);
        return;
    }
    for (uint32_t i = 0; i < count; i++) dlist_init(&buckets[i]);
    l->buckets = buckets;
    l->bucket_count = count;
    for (uint32_t i = 0; i < old_count; i++) {
        struct dlist *link;
        while ((link = dlist_pop_front(&old[i]))) {
            const struct lock_entry *e = container_of(link, struct lock_entry, link);
            dlist_push_back(&buckets[bucket_index(l, e->hash)], link);
        }
    }
    if (old) mem_free(&sh->mem, old, old_count * sizeof *old);
}

/* What one huge command needed is not kept. */
static void buckets_shrink(struct shard *sh)
{
    struct locks *l = &sh->locks;
    if (l->entry_count > 0 || l->bucket_count <= LOCK_BUCKETS) return;
    mem_free(&sh->mem, l->buckets, l->bucket_count * sizeof *l->buckets);
    l->buckets = NULL;
    l->bucket_count = 0;
}

static struct dlist *lock_bucket(struct shard *sh, uint64_t hash)
{
    struct locks *l = &sh->locks;
    if (!l->buckets) buckets_grow(sh);
    return &l->buckets[bucket_index(l, hash)];
}

static struct lock_entry *entry_find(struct shard *sh, const struct key *k)
{
    dlist_each (link, lock_bucket(sh, k->hash)) {
        struct lock_entry *e = container_of(link, struct lock_entry, link);
        if (e->hash == k->hash && bytes_equal(bytes_make(e->name, e->name_size), k->name)) return e;
    }
    return NULL;
}

bool locks_has_hash(const struct shard *sh, uint64_t hash)
{
    const struct locks *l = &sh->locks;
    if (l->exclusive) return true;
    if (l->entry_count == 0) return false;
    dlist_each (link, &l->buckets[bucket_index(l, hash)])
        if (container_of(link, struct lock_entry, link)->hash == hash) return true;
    return false;
}

static struct lock_entry *entry_find_or_make(struct shard *sh, const struct key *k)
{
    struct lock_entry *e = entry_find(sh, k);
    if (e) return e;
    if (sh->locks.entry_count >= sh->locks.bucket_count) buckets_grow(sh);
    e = mem_alloc(&sh->mem, sizeof *e + k->name.size);
    e->hash = k->hash;
    e->name_size = (uint32_t)k->name.size;
    memcpy(e->name, k->name.data, k->name.size);
    dlist_init(&e->queue);
    dlist_push_back(lock_bucket(sh, k->hash), &e->link);
    sh->locks.entry_count++;
    return e;
}

static void entry_drop_if_unused(struct shard *sh, struct lock_entry *e)
{
    if (!dlist_is_empty(&e->queue)) return;
    dlist_remove(&e->link);
    mem_free(&sh->mem, e, sizeof *e + e->name_size);
    sh->locks.entry_count--;
}

/* ---- keys of a request ---- */

struct key_walk {
    struct shard *sh;
    struct request *rq;
    struct ticket *ticket; /* NULL: only look */
    uint32_t count;
    bool is_locked;
};

static void walk_count(void *context, uint32_t index, const struct key_spec *spec)
{
    UNUSED const struct key_spec *any = spec;
    struct key_walk *walk = context;
    walk->count++;
    struct key k = request_key(walk->sh, walk->rq, index);
    if (entry_find(walk->sh, &k)) walk->is_locked = true;
}

/* A ticket joins all its queues in one go, so if it is in this one it is the last. */
static bool ticket_is_queued(const struct ticket *t, const struct lock_entry *e)
{
    return !dlist_is_empty(&e->queue) &&
           container_of(e->queue.prev, struct lock_node, link)->ticket == t;
}

static void walk_enqueue(void *context, uint32_t index, const struct key_spec *spec)
{
    UNUSED const struct key_spec *any = spec;
    struct key_walk *walk = context;
    struct key k = request_key(walk->sh, walk->rq, index);
    struct lock_entry *e = entry_find_or_make(walk->sh, &k);
    struct ticket *t = walk->ticket;
    if (ticket_is_queued(t, e)) return; /* the same key twice */
    struct lock_node *node = &t->nodes[t->node_count++];
    node->entry = e;
    node->ticket = t;
    if (!dlist_is_empty(&e->queue)) t->missing++;
    dlist_push_back(&e->queue, &node->link);
}

static void ticket_enqueue(struct shard *sh, struct ticket *t, struct request *rq)
{
    struct key_walk count = {.sh = sh, .rq = rq};
    command_each_key(rq->command, rq->argv, rq->argc, walk_count, &count);
    if (count.count == 0) return;
    t->nodes = mem_alloc(&sh->mem, count.count * sizeof *t->nodes);
    struct key_walk enqueue = {.sh = sh, .rq = rq, .ticket = t};
    command_each_key(rq->command, rq->argv, rq->argc, walk_enqueue, &enqueue);
    if (t->node_count == count.count) return;
    /* Repeated keys: the array is cut to what is in use, because its size is derived from the
     * count. */
    struct lock_node *nodes = mem_alloc(&sh->mem, t->node_count * sizeof *nodes);
    for (uint32_t i = 0; i < t->node_count; i++) {
        nodes[i] = t->nodes[i];
        nodes[i].link.prev->next = &nodes[i].link;
        nodes[i].link.next->prev = &nodes[i].link;
    }
    mem_free(&sh->mem, t->nodes, count.count * sizeof *nodes);
    t->nodes = nodes;
}

/* ---- parking ---- */

static void ticket_copy_request(struct shard *sh, struct ticket *t, const struct request *rq)
{
    size_t size = rq->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < rq->argc; i++) size += rq->argv[i].size;
    t->request = *rq;
    t->request.input = NULL;
    t->request.payload = NULL;
    t->copy_bytes = size;
    t->copy = mem_alloc(&sh->mem, size);
    struct bytes *argv = (struct bytes *)(void *)t->copy;
    char *p = t->copy + rq->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < rq->argc; i++) {
        argv[i] = bytes_make(p, rq->argv[i].size);
        memcpy(p, rq->argv[i].data, rq->argv[i].size);
        p += rq->argv[i].size;
    }
    t->request.argv = argv;
}

static struct ticket *ticket_make(struct shard *sh)
{
    struct ticket *t = mem_alloc(&sh->mem, sizeof *t);
    *t = (struct ticket){0};
    dlist_init(&t->link);
    return t;
}

static void ticket_free(struct shard *sh, struct ticket *t)
{
    if (t->nodes) mem_free(&sh->mem, t->nodes, t->node_count * sizeof *t->nodes);
    if (t->copy) mem_free(&sh->mem, t->copy, t->copy_bytes);
    mem_free(&sh->mem, t, sizeof *t);
}

static bool request_conflicts(struct shard *sh, struct request *rq)
{
    if (!command_has_keys(rq->command)) return sh->locks.entry_count > 0;
    struct key_walk walk = {.sh = sh, .rq = rq};
    command_each_key(rq->command, rq->argv, rq->argc, walk_count, &walk);
    return walk.is_locked;
}

bool locks_park(struct shard *sh, struct parcel *pc, uint32_t index)
{
    struct locks *l = &sh->locks;
    struct request *rq = &pc->requests[index];
    /* Messages and subscriptions touch no key. */
    if (rq->flags & REQUEST_COMMIT || rq->command->flags & CMD_PUBSUB) return false;
    bool gate_closed = l->exclusive || !dlist_is_empty(&l->gate);
    if (!gate_closed && !request_conflicts(sh, rq)) return false;

    struct ticket *t = ticket_make(sh);
    ticket_copy_request(sh, t, rq);
    t->is_parked = true;
    t->net_id = pc->net_id;
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (index < run->first || index >= (uint32_t)run->first + run->count) continue;
        t->run = *run;
        t->index = (uint16_t)(index - run->first);
    }
    if (gate_closed || !command_has_keys(rq->command))
        dlist_push_back(&l->gate, &t->link);
    else
        ticket_enqueue(sh, t, &t->request);
    locks_count(l);
    counter_add(&sh->counters.locked_waits, 1);
    rq->flags |= REQUEST_PARKED;
    return true;
}

/* ---- running what may run ---- */

static void ticket_run(struct shard *sh, struct ticket *t)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    out.resp = t->request.resp;
    const struct parcel *running = sh->tracking.running;
    sh->tracking.running = NULL; /* that is the parcel of whoever released this one */
    const struct tracker who = {t->run.conn_index, t->run.conn_generation, t->net_id};
    const struct tracker *parked = sh->tracking.parked;
    sh->tracking.parked = &who;
    sh->locks.running = t;
    shard_run_request(sh, &t->request, &out);
    sh->locks.running = NULL;
    sh->tracking.parked = parked;
    sh->tracking.running = running;
    if (t->request.flags & REQUEST_TRACKED) tracking_remember(sh, &t->request, &who);

    struct late_reply *late = mem_alloc(&sh->mem, sizeof *late);
    *late = (struct late_reply){.run = t->run,
                                .index = t->index,
                                .net_id = t->net_id,
                                .shard_id = sh->id,
                                .command_id = t->request.command_id,
                                .chain = reply_take(&out)};
    late->has_error = late->chain && late->chain->size > 0 && late->chain->data[0] == '-';
    t->is_parked = false;
    sh->late_count++;
    dlist_push_back(&sh->late, &late->link);
}

/* Out of all its queues; whoever is first in all of its own now is appended to `ready`. */
static void ticket_leave(struct shard *sh, struct ticket *t, struct dlist *ready)
{
    for (uint32_t i = 0; i < t->node_count; i++) {
        struct lock_entry *e = t->nodes[i].entry;
        bool was_first = e->queue.next == &t->nodes[i].link;
        dlist_remove(&t->nodes[i].link);
        if (was_first && !dlist_is_empty(&e->queue)) {
            struct ticket *next = container_of(e->queue.next, struct lock_node, link)->ticket;
            if (--next->missing == 0) dlist_push_back(ready, &next->link);
        }
        entry_drop_if_unused(sh, e);
    }
}

/* Runs the tickets of `ready`, and those that become ready by that. */
static void run_ready(struct shard *sh, struct dlist *ready)
{
    struct dlist *link;
    while ((link = dlist_pop_front(ready))) {
        struct ticket *t = container_of(link, struct ticket, link);
        ticket_run(sh, t);
        if (t->is_holding) continue;
        ticket_leave(sh, t, ready);
        ticket_free(sh, t);
    }
}

/* When no lock is left the gate opens, for one request after the other. */
static void gate_open(struct shard *sh)
{
    struct locks *l = &sh->locks;
    while (!dlist_is_empty(&l->gate) && !l->exclusive) {
        struct ticket *t = container_of(l->gate.next, struct ticket, link);
        bool has_keys = command_has_keys(t->request.command);
        if (!has_keys && l->entry_count > 0) break;
        dlist_remove(&t->link);
        struct dlist ready;
        dlist_init(&ready);
        if (has_keys) ticket_enqueue(sh, t, &t->request);
        if (t->missing > 0) continue;
        dlist_push_back(&ready, &t->link);
        run_ready(sh, &ready);
    }
}

uint64_t locks_take(struct shard *sh, struct request *rq)
{
    struct locks *l = &sh->locks;
    struct ticket *t = l->running;
    if (!t) {
        t = ticket_make(sh);
        ticket_enqueue(sh, t, rq);
        CHECK(t->missing == 0);
    }
    t->is_holding = true;
    if (t->node_count == 0) {
        CHECK(l->entry_count == 0 && !l->exclusive);
        l->exclusive = t;
    }
    locks_count(l);
    counter_set(&sh->counters.locks_held, l->entry_count);
    return (uint64_t)(uintptr_t)t;
}

void locks_release(struct shard *sh, uint64_t token)
{
    struct locks *l = &sh->locks;
    struct ticket *t = (struct ticket *)(uintptr_t)token;
    CHECK(t->is_holding && !l->running);
    if (l->exclusive == t) l->exclusive = NULL;
    struct dlist ready;
    dlist_init(&ready);
    ticket_leave(sh, t, &ready);
    ticket_free(sh, t);
    run_ready(sh, &ready);
    gate_open(sh);
    buckets_shrink(sh);
    locks_count(l);
    counter_set(&sh->counters.locks_held, l->entry_count);
}

/* ---- invariants ---- */

void locks_validate(const struct shard *sh)
{
    const struct locks *l = &sh->locks;
    uint64_t entries = 0;
    for (uint32_t i = 0; i < l->bucket_count; i++) {
        dlist_each (link, &l->buckets[i]) {
            struct lock_entry *e = container_of(link, struct lock_entry, link);
            entries++;
            CHECK(!dlist_is_empty(&e->queue));
            CHECK(bucket_index(l, e->hash) == i);
            bool first = true;
            dlist_each (node_link, &e->queue) {
                const struct lock_node *node = container_of(node_link, struct lock_node, link);
                CHECK(node->entry == e);
                CHECK(first || node->ticket->missing > 0);
                CHECK(!first || node->ticket->is_holding || node->ticket->missing > 0);
                first = false;
            }
        }
    }
    CHECK(entries == l->entry_count);
    CHECK(!l->exclusive || (l->exclusive->is_holding && entries == 0));
    CHECK(l->busy == entries + !dlist_is_empty(&l->gate) + (l->exclusive != NULL));
}
