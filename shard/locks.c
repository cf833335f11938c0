#include "shard/locks.h"

#include "base/command.h"
#include "shard/shard.h"
#include "shard/wait_claim.h"

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
    struct dlist link;     /* gate or ready list */
    struct parked parked;  /* of a holding: only its point */
    uint64_t claim_number; /* of locks_take_key, in their order; 0: it is none */
    bool is_holding;       /* stays in its queues until locks_release */
    bool is_short;         /* a value found no memory: the next command of the holding is refused */
    uint32_t missing;      /* queues in which it is not first */
    uint32_t node_count;
    struct lock_node *nodes;
    struct effects effects; /* of a holding: what happened under it */
    uint64_t announced;     /* journal_announce */
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
    size_t size = count * sizeof(struct dlist);
    struct dlist *buckets = old ? mem_try_alloc(&sh->mem, size) : mem_alloc(&sh->mem, size);
    if (!buckets) return;
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

/* NULL: no memory. */
static struct lock_entry *entry_try_make(struct shard *sh, const struct key *k)
{
    if (sh->locks.entry_count >= sh->locks.bucket_count) buckets_grow(sh);
    struct lock_entry *e = mem_try_alloc(&sh->mem, sizeof *e + k->name.size);
    if (!e) return NULL;
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
    bool is_refused; /* no memory */
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
    if (walk->is_refused) return;
    struct key k = request_key(walk->sh, walk->rq, index);
    struct lock_entry *e = entry_find(walk->sh, &k);
    if (!e) e = entry_try_make(walk->sh, &k);
    walk->is_refused = !e;
    if (!e) return;
    struct ticket *t = walk->ticket;
    if (ticket_is_queued(t, e)) return; /* the same key twice */
    struct lock_node *node = &t->nodes[t->node_count++];
    node->entry = e;
    node->ticket = t;
    if (!dlist_is_empty(&e->queue)) t->missing++;
    dlist_push_back(&e->queue, &node->link);
}

/* As if it had never been in them: nobody is behind it yet. */
static void ticket_dequeue(struct shard *sh, struct ticket *t, uint32_t capacity)
{
    for (uint32_t i = 0; i < t->node_count; i++) {
        dlist_remove(&t->nodes[i].link);
        entry_drop_if_unused(sh, t->nodes[i].entry);
    }
    mem_free(&sh->mem, t->nodes, capacity * sizeof *t->nodes);
    t->nodes = NULL;
    t->node_count = t->missing = 0;
}

/* Repeated keys: the array is cut to what is in use, because its size is derived from the count. */
static bool nodes_cut(struct shard *sh, struct ticket *t, uint32_t capacity)
{
    struct lock_node *nodes = mem_try_alloc(&sh->mem, t->node_count * sizeof *nodes);
    if (!nodes) return false;
    for (uint32_t i = 0; i < t->node_count; i++) {
        nodes[i] = t->nodes[i];
        nodes[i].link.prev->next = &nodes[i].link;
        nodes[i].link.next->prev = &nodes[i].link;
    }
    mem_free(&sh->mem, t->nodes, capacity * sizeof *nodes);
    t->nodes = nodes;
    return true;
}

/* False, changing nothing: no memory. */
static bool ticket_enqueue(struct shard *sh, struct ticket *t, struct request *rq)
{
    struct key_walk count = {.sh = sh, .rq = rq};
    command_each_key(rq->command, rq->argv, rq->argc, walk_count, &count);
    if (count.count == 0) return true;
    t->nodes = mem_try_alloc(&sh->mem, count.count * sizeof *t->nodes);
    if (!t->nodes) return false;
    struct key_walk enqueue = {.sh = sh, .rq = rq, .ticket = t};
    command_each_key(rq->command, rq->argv, rq->argc, walk_enqueue, &enqueue);
    if (!enqueue.is_refused && (t->node_count == count.count || nodes_cut(sh, t, count.count)))
        return true;
    ticket_dequeue(sh, t, count.count);
    return false;
}

/* ---- parking ---- */

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
    buf_clear(&t->effects.payload);
    if (t->is_short) sh->locks.short_count--;
    parked_free(sh, &t->parked);
    mem_free(&sh->mem, t, sizeof *t);
}

static bool request_conflicts(struct shard *sh, struct request *rq)
{
    if (!command_has_keys(rq->command)) return sh->locks.entry_count > 0;
    struct key_walk walk = {.sh = sh, .rq = rq};
    command_each_key(rq->command, rq->argv, rq->argc, walk_count, &walk);
    return walk.is_locked;
}

static bool is_internal(const struct command *c)
{
    return c->group && strcmp(c->group, "internal") == 0; /* a script in place has none */
}

/* Whether the request may fail by itself: it is not part of something that happens elsewhere. */
static bool is_whole(const struct request *rq)
{
    if (rq->flags & REQUEST_PART) return false;
    return !is_internal(rq->command) || strcmp(rq->command->name, "lock") == 0 ||
           strcmp(rq->command->name, "prepare") == 0;
}

static bool ticket_park(struct shard *sh, struct ticket *t, struct parcel *pc, uint32_t index,
                        bool at_gate)
{
    bool may_fail = is_whole(&pc->requests[index]);
    if (!at_gate && !ticket_enqueue(sh, t, &pc->requests[index])) {
        if (may_fail) return false;
        at_gate = true;
    }
    if (!may_fail) {
        parked_init_part(sh, &t->parked, pc, index);
    } else if (!parked_init(sh, &t->parked, pc, index)) {
        if (t->nodes) ticket_dequeue(sh, t, t->node_count);
        return false;
    }
    if (at_gate) dlist_push_back(&sh->locks.gate, &t->link);
    return true;
}

enum parking locks_park(struct shard *sh, struct parcel *pc, uint32_t index)
{
    struct locks *l = &sh->locks;
    struct request *rq = &pc->requests[index];
    /* Messages and subscriptions touch no key. */
    if (rq->flags & REQUEST_COMMIT || rq->command->flags & CMD_PUBSUB) return PARKING_NOT_NEEDED;
    bool gate_closed = l->exclusive || !dlist_is_empty(&l->gate);
    if (!gate_closed && !request_conflicts(sh, rq)) return PARKING_NOT_NEEDED;

    struct ticket *t = ticket_make(sh);
    if (!ticket_park(sh, t, pc, index, gate_closed || !command_has_keys(rq->command))) {
        mem_free(&sh->mem, t, sizeof *t);
        return PARKING_REFUSED;
    }
    locks_count(l);
    if (sh->journal.is_open) t->announced = journal_announce(sh, &t->parked.request);
    counter_add(&sh->counters.locked_waits, 1);
    return PARKING_DONE;
}

/* ---- running what may run ---- */

static void ticket_run(struct shard *sh, struct ticket *t)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    sh->locks.running = t;
    uint32_t db = t->parked.request.db;
    parked_run(sh, &t->parked, &out);
    sh->locks.running = NULL;
    if (t->announced) journal_announced_is_done(sh, t->announced, db);
    /* If it waits for something else now, its arguments have been taken over. */
    if (!t->parked.has_left) parked_answer(sh, &t->parked, &out);
    if (t->is_holding) return;
    sh->locks.leaving = t;
    wait_serve(sh, t->parked.point);
    sh->locks.leaving = NULL;
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

static void gate_refuse(struct shard *sh, struct ticket *t)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    out.resp = t->parked.request.resp;
    reply_err(&out, ERR_ALLOC);
    if (t->announced) journal_announced_is_done(sh, t->announced, t->parked.request.db);
    parked_answer(sh, &t->parked, &out);
    ticket_free(sh, t);
}

/* When no lock is left the gate opens, for one request after the other. */
static void gate_open(struct shard *sh)
{
    struct locks *l = &sh->locks;
    while (!dlist_is_empty(&l->gate) && !l->exclusive) {
        struct ticket *t = container_of(l->gate.next, struct ticket, link);
        bool has_keys = command_has_keys(t->parked.request.command);
        bool fits = !has_keys || ticket_enqueue(sh, t, &t->parked.request);
        bool may_fail = is_whole(&t->parked.request);
        /* A part that finds no memory for its queues needs none when no lock is left. */
        if ((!has_keys || (!fits && !may_fail)) && l->entry_count > 0) break;
        dlist_remove(&t->link);
        struct dlist ready;
        dlist_init(&ready);
        if (!fits && may_fail) {
            gate_refuse(sh, t);
            continue;
        }
        if (t->missing > 0) continue;
        dlist_push_back(&ready, &t->link);
        l->is_at_gate = true;
        run_ready(sh, &ready);
        l->is_at_gate = false;
    }
}

uint64_t locks_take(struct shard *sh, struct request *rq)
{
    struct locks *l = &sh->locks;
    struct ticket *t = l->running;
    if (!t) {
        t = ticket_make(sh);
        if (!ticket_enqueue(sh, t, rq)) {
            mem_free(&sh->mem, t, sizeof *t);
            return 0;
        }
        CHECK(t->missing == 0);
        t->parked.point = parked_point(sh, rq);
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

/* The first in the queue that neither runs nor leaves right now; NULL: there is none. */
static struct ticket *first_behind(const struct shard *sh, const struct lock_entry *e)
{
    dlist_each (link, &e->queue) {
        struct ticket *t = container_of(link, struct lock_node, link)->ticket;
        if (t != sh->locks.leaving && t != sh->locks.running) return t;
    }
    return NULL;
}

/* The last place before another one. */
static struct turn_point just_before(struct turn_point p)
{
    if (p.index > 0) return (struct turn_point){p.position, p.index - 1};
    return (struct turn_point){p.position - 1, UINT64_MAX};
}

uint64_t locks_leaving_claim(const struct shard *sh)
{
    return sh->locks.leaving ? sh->locks.leaving->claim_number : 0;
}

uint64_t locks_claim_number(uint64_t token)
{
    return ((const struct ticket *)(uintptr_t)token)->claim_number;
}

uint64_t locks_take_key(struct shard *sh, const struct key *k, struct turn_point *since)
{
    struct locks *l = &sh->locks;
    struct lock_entry *e = entry_find(sh, k);
    mem_insist(&sh->mem, true); /* there is no way back, and its waiters found room for the name */
    if (!e) e = entry_try_make(sh, k);
    mem_insist(&sh->mem, false);
    CHECK(e);
    struct ticket *t = ticket_make(sh);
    const struct ticket *behind = first_behind(sh, e);
    if (behind && !turn_point_before(*since, behind->parked.point))
        *since = just_before(behind->parked.point);
    t->parked.point = *since;
    /* What is left of one claim is in that one's place. */
    uint64_t number = locks_leaving_claim(sh);
    t->claim_number = number ? number : ++l->claims_made;
    t->is_holding = true;
    t->node_count = 1;
    t->nodes = mem_alloc(&sh->mem, sizeof *t->nodes);
    *t->nodes = (struct lock_node){.entry = e, .ticket = t};
    if (!dlist_is_empty(&e->queue)) {
        struct ticket *first = container_of(e->queue.next, struct lock_node, link)->ticket;
        CHECK(!first->is_holding);
        first->missing++;
    }
    dlist_push_back(e->queue.next, &t->nodes->link); /* in front of the first */
    locks_count(l);
    counter_set(&sh->counters.locks_held, l->entry_count);
    return (uint64_t)(uintptr_t)t;
}

void locks_release(struct shard *sh, uint64_t token)
{
    struct locks *l = &sh->locks;
    struct ticket *t = (struct ticket *)(uintptr_t)token;
    CHECK(t->is_holding && !l->running);
    /* Those that have waited for what it changed come before those that are parked behind it. */
    t->is_holding = false;
    if (l->exclusive == t) l->exclusive = NULL;
    journal_take(sh, &t->effects);
    l->leaving = t;
    wait_serve(sh, t->parked.point);
    l->leaving = NULL;
    struct dlist ready;
    dlist_init(&ready);
    ticket_leave(sh, t, &ready);
    ticket_free(sh, t);
    run_ready(sh, &ready);
    gate_open(sh);
    buckets_shrink(sh);
    locks_count(l);
    counter_set(&sh->counters.locks_held, l->entry_count);
    wait_go_on(sh);
}

/* ---- questions ---- */

struct parked *locks_running(const struct shard *sh)
{
    return sh->locks.running ? &sh->locks.running->parked : NULL;
}

/* The first in the key's queue; NULL: there is none. */
static struct ticket *first_of(struct shard *sh, const struct key *k)
{
    if (sh->locks.entry_count == 0) return NULL;
    const struct lock_entry *e = entry_find(sh, k);
    return e ? container_of(e->queue.next, struct lock_node, link)->ticket : NULL;
}

bool locks_hold(struct shard *sh, const struct key *k)
{
    if (sh->locks.exclusive) return true;
    const struct ticket *first = first_of(sh, k);
    return first && first->is_holding;
}

bool locks_is_free(struct shard *sh, const struct key *k)
{
    if (sh->locks.exclusive) return false;
    const struct ticket *first = first_of(sh, k);
    return !first || first == sh->locks.leaving;
}

/* Claims of one and the same place are in the order in which they were made on this shard. */
static bool must_come_first(const struct ticket *t, struct turn_point point, uint64_t claims)
{
    if (turn_point_before(t->parked.point, point)) return true;
    return t->claim_number <= claims && !turn_point_before(point, t->parked.point);
}

bool locks_passed(struct shard *sh, const struct key *k, struct turn_point point, uint64_t claims)
{
    const struct locks *l = &sh->locks;
    const struct lock_entry *e = l->entry_count > 0 ? entry_find(sh, k) : NULL;
    const struct ticket *first = e ? first_behind(sh, e) : NULL;
    if (first && must_come_first(first, point, claims)) return false;
    if (l->exclusive && must_come_first(l->exclusive, point, claims)) return false;
    if (dlist_is_empty(&l->gate)) return true;
    return !must_come_first(container_of(l->gate.next, struct ticket, link), point, claims);
}

/* ---- the journal ---- */

struct effects *locks_effects(struct shard *sh, const struct key *k)
{
    if (sh->locks.exclusive) return &sh->locks.exclusive->effects;
    struct ticket *first = k ? first_of(sh, k) : NULL;
    return first && first->is_holding ? &first->effects : NULL;
}

bool locks_have_effects(const struct shard *sh)
{
    const struct locks *l = &sh->locks;
    if (l->exclusive && l->exclusive->effects.payload.size > 0) return true;
    for (uint32_t i = 0; i < l->bucket_count; i++) {
        dlist_each (link, &l->buckets[i]) {
            const struct lock_entry *e = container_of(link, struct lock_entry, link);
            const struct ticket *t = container_of(e->queue.next, struct lock_node, link)->ticket;
            if (t->effects.payload.size > 0) return true;
        }
    }
    return false;
}

/* ---- holdings that are short of memory ---- */

void locks_set_short(struct shard *sh, const struct key *k)
{
    struct locks *l = &sh->locks;
    struct ticket *t = l->exclusive ? l->exclusive : first_of(sh, k);
    CHECK(t && t->is_holding);
    if (!t->is_short) l->short_count++;
    t->is_short = true;
}

static bool end_short(struct shard *sh, struct ticket *t)
{
    if (!t || !t->is_short) return false;
    t->is_short = false;
    sh->locks.short_count--;
    return true;
}

struct short_walk {
    struct shard *sh;
    const struct request *rq;
    bool is_short;
};

static void walk_short(void *context, uint32_t index, const struct key_spec *spec)
{
    UNUSED const struct key_spec *any = spec;
    struct short_walk *walk = context;
    struct key k = request_key(walk->sh, walk->rq, index);
    walk->is_short |= end_short(walk->sh, first_of(walk->sh, &k));
}

bool locks_refuse_command(struct shard *sh, const struct request *rq)
{
    if (!(rq->flags & REQUEST_COMMIT) || is_internal(rq->command)) return false;
    if (sh->locks.exclusive) return end_short(sh, sh->locks.exclusive);
    struct short_walk walk = {.sh = sh, .rq = rq};
    command_each_key(rq->command, rq->argv, rq->argc, walk_short, &walk);
    return walk.is_short;
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
