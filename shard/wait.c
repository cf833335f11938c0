#include "shard/wait.h"

#include "base/bytes.h"
#include "shard/shard.h"

#define HASH_FACTOR 0x9E3779B97F4A7C15ULL

/* ---- what is in the tables ---- */

/* A key that somebody waits for. */
struct wait_key {
    struct table_node node;
    struct dlist queue; /* of places, in the order of arrival */
    struct dlist ready; /* while it is noted */
    bool is_noted;
    bool is_served;        /* right now: it must not go */
    uint32_t absence_seen; /* places in the queue whose rule does */
    uint32_t db;
    uint32_t name_size;
    char name[];
};

struct waiter;

/* One place in one key's queue. */
struct wait_place {
    struct dlist link;
    struct wait_key *key;
    struct waiter *waiter;
    uint32_t index; /* of the key among the arguments */
};

struct waiter {
    struct table_node node;
    struct wait_id id;
    struct parked parked;
    const struct wait_rule *rule;
    struct wait_place *places; /* NULL: it stands in no queue */
    uint32_t place_count, place_capacity;
    char *resolved; /* arguments that were replaced */
    size_t resolved_bytes;
    struct chunk *early;  /* of a shared rule: what it gets by its claim */
    bool is_asked;        /* its coordinator has been told that a key is ready, and tries */
    uint32_t claim_index; /* the key that is held for it; 0: none */
    uint64_t claim_token;
    struct turn_point claim_since;
    uint64_t claim_number;
    struct turn_point bound; /* of a question about it: what comes later is not for it any more */
    struct dlist tentative;  /* while it may yet turn out that another key was ready before */
};

/* A key that was held for a waiter that does not need it after all. */
struct spare {
    struct dlist link;
    uint64_t token;
};

/* A question of a coordinator. */
struct settle {
    struct dlist link;
    struct parked parked;
    struct wait_id id;
    struct turn_point since;
    uint32_t first_key;
    bool is_moot; /* the waiter has been answered */
};

void waits_init(struct waits *w, struct mem *mem)
{
    *w = (struct waits){0};
    node_table_init(&w->keys, mem);
    node_table_init(&w->waiters, mem);
    dlist_init(&w->ready);
    dlist_init(&w->settling);
    dlist_init(&w->tentative);
    dlist_init(&w->spare);
}

void waits_deinit(struct shard *sh)
{
    struct waits *w = &sh->waits;
    CHECK(waits_are_empty(w));
    node_table_deinit(&w->keys);
    node_table_deinit(&w->waiters);
}

/* ---- keys ---- */

static uint64_t key_hash(const struct key *k)
{
    return k->hash + k->db * HASH_FACTOR;
}

static struct wait_key *key_find(struct shard *sh, const struct key *k)
{
    struct table_node *node = node_table_find(&sh->waits.keys, key_hash(k));
    for (; node; node = node_table_find_next(node)) {
        struct wait_key *wk = container_of(node, struct wait_key, node);
        if (wk->db == k->db && bytes_equal(bytes_make(wk->name, wk->name_size), k->name)) return wk;
    }
    return NULL;
}

static void count_keys(struct shard *sh)
{
    counter_set(&sh->counters.blocking_keys, sh->waits.keys.count);
}

/* A place in the queue more, or less. */
static void count_absence(struct shard *sh, struct wait_key *wk, const struct wait_rule *rule,
                          int change)
{
    if (!rule->sees_absence) return;
    bool was_seen = wk->absence_seen > 0;
    wk->absence_seen += (uint32_t)change;
    struct counter *keys = &sh->counters.blocking_keys_absent;
    counter_set(keys, counter_read(keys) - was_seen + (wk->absence_seen > 0));
}

/* NULL: no memory. */
static struct wait_key *key_find_or_make(struct shard *sh, const struct key *k)
{
    struct wait_key *wk = key_find(sh, k);
    if (wk) return wk;
    wk = mem_try_alloc(&sh->mem, sizeof *wk + k->name.size);
    if (!wk) return NULL;
    *wk = (struct wait_key){.db = k->db, .name_size = (uint32_t)k->name.size};
    memcpy(wk->name, k->name.data, k->name.size);
    dlist_init(&wk->queue);
    dlist_init(&wk->ready);
    node_table_insert(&sh->waits.keys, &wk->node, key_hash(k));
    count_keys(sh);
    return wk;
}

static void key_drop_if_unused(struct shard *sh, struct wait_key *wk)
{
    if (!dlist_is_empty(&wk->queue) || wk->is_served) return;
    dlist_remove(&wk->ready);
    node_table_remove(&sh->waits.keys, &wk->node);
    mem_free(&sh->mem, wk, sizeof *wk + wk->name_size);
    count_keys(sh);
}

static struct key key_of(const struct wait_key *wk)
{
    return (struct key){.name = bytes_make(wk->name, wk->name_size),
                        .hash = wk->node.hash - wk->db * HASH_FACTOR,
                        .db = wk->db};
}

static void note(struct shard *sh, struct wait_key *wk)
{
    if (wk->is_noted) return;
    wk->is_noted = true;
    dlist_push_back(&sh->waits.ready, &wk->ready);
}

void wait_note_slow(struct shard *sh, const struct key *k)
{
    struct wait_key *wk = key_find(sh, k);
    if (wk) note(sh, wk);
}

void wait_note_database(struct shard *sh, uint32_t db)
{
    const struct node_table *t = &sh->waits.keys;
    struct table_node *node;
    for (uint32_t at = 0; (node = node_table_first_from(t, &at)); at++) {
        for (; node; node = node->next) {
            struct wait_key *wk = container_of(node, struct wait_key, node);
            if (wk->db == db) note(sh, wk);
        }
    }
}

/* ---- waiters ---- */

static uint64_t id_hash(const struct wait_id *id)
{
    return (id->conn_index + ((uint64_t)id->net_id << 32)) * HASH_FACTOR;
}

static struct waiter *waiter_find(struct shard *sh, const struct wait_id *id)
{
    struct table_node *node = node_table_find(&sh->waits.waiters, id_hash(id));
    for (; node; node = node_table_find_next(node)) {
        struct waiter *w = container_of(node, struct waiter, node);
        if (memcmp(&w->id, id, sizeof *id) == 0) return w;
    }
    return NULL;
}

static bool is_claimant(const struct waiter *w)
{
    return w->parked.request.flags & (REQUEST_CLAIM | REQUEST_ASK);
}

static void leave_queues(struct shard *sh, struct waiter *w)
{
    for (uint32_t i = 0; i < w->place_count; i++) {
        dlist_remove(&w->places[i].link);
        count_absence(sh, w->places[i].key, w->rule, -1);
        key_drop_if_unused(sh, w->places[i].key);
    }
    if (w->places) mem_free(&sh->mem, w->places, w->place_capacity * sizeof *w->places);
    w->places = NULL;
    w->place_count = 0;
}

static void waiter_free(struct shard *sh, struct waiter *w)
{
    leave_queues(sh, w);
    dlist_remove(&w->tentative);
    if (is_claimant(w)) sh->waits.claimants--;
    node_table_remove(&sh->waits.waiters, &w->node);
    parked_free(sh, &w->parked);
    if (w->early) chunk_free_chain(&sh->mem, w->early);
    if (w->resolved) mem_free(&sh->mem, w->resolved, w->resolved_bytes);
    mem_free(&sh->mem, w, sizeof *w);
}

static void answer_nothing(struct shard *sh, struct parked *p)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    parked_answer(sh, p, &out);
}

/* Older questions, with later bounds, need not be waited for. */
static void make_moot(struct shard *sh, const struct waiter *w)
{
    dlist_each (link, &sh->waits.settling) {
        struct settle *s = container_of(link, struct settle, link);
        if (memcmp(&s->id, &w->id, sizeof s->id) == 0) s->is_moot = true;
    }
}

/* What a shared rule has read goes along. */
static void append_early(struct shard *sh, struct waiter *w, struct reply *out)
{
    for (const struct chunk *at = w->early; at; at = at->next)
        if (at->size > 0) reply_raw(out, at->data, at->size);
    if (w->early) chunk_free_chain(&sh->mem, w->early);
    w->early = NULL;
}

static void report(struct shard *sh, struct waiter *w, struct turn_point since, uint32_t index)
{
    struct reply out;
    struct wait_report head = {0, since, index, false};
    reply_init(&out, NULL, &sh->mem);
    reply_raw(&out, &head, sizeof head);
    append_early(sh, w, &out);
    parked_answer(sh, &w->parked, &out);
}

void wait_report_first(struct shard *sh, const struct request *rq, uint32_t index,
                       struct reply *out)
{
    struct wait_report head = {0, parked_point(sh, rq), index, true};
    reply_raw(out, &head, sizeof head);
}

/* Nobody else may touch the key until it is decided. */
static void claim(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point since)
{
    struct key k = request_key(sh, &w->parked.request, index);
    w->claim_index = index;
    w->claim_token = locks_take_key(sh, &k, &since);
    w->claim_since = since;
    w->claim_number = locks_claim_number(w->claim_token);
}

/* The key will be let go as soon as that is possible; it may be for the next in its queue. */
static void unclaim(struct shard *sh, struct waiter *w)
{
    if (w->rule->is_shared) {
        if (w->early) chunk_free_chain(&sh->mem, w->early);
        w->early = NULL;
        w->claim_index = 0;
        return;
    }
    struct key k = request_key(sh, &w->parked.request, w->claim_index);
    struct spare *spare = mem_alloc(&sh->mem, sizeof *spare);
    spare->token = w->claim_token;
    dlist_push_back(&sh->waits.spare, &spare->link);
    w->claim_index = 0;
    wait_note(sh, &k);
}

/* Whether no other key of this shard can turn out to have been ready for it before that point: one
 * that is held may be, when its holder lets go. */
static bool is_certain(struct shard *sh, struct waiter *w, struct turn_point since, uint64_t claims)
{
    if (likely(sh->locks.busy == 0)) return true;
    for (uint32_t i = 0; i < w->place_count; i++) {
        if (w->places[i].index == w->claim_index) continue;
        struct key k = request_key(sh, &w->parked.request, w->places[i].index);
        if (!locks_passed(sh, &k, since, claims)) return false;
    }
    return true;
}

/* It stays in its queue, so a question whether it should go has still to be answered. */
static void ask(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point since)
{
    w->is_asked = true;
    report(sh, w, since, index);
}

static void run_for_key(struct shard *sh, struct waiter *w, uint32_t index, struct reply *out)
{
    sh->waits.serving = index;
    parked_run(sh, &w->parked, out);
    sh->waits.serving = 0;
}

/* The key is not held: what the claim is worth is read now. `claims` is what it is certain or in
 * doubt about: holdings of that point that come before it. */
static void claim_shared(struct shard *sh, struct waiter *w, uint32_t index,
                         struct turn_point since, uint64_t claims)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    run_for_key(sh, w, index, &out);
    w->early = reply_take(&out);
    w->claim_index = index;
    w->claim_since = since;
    w->claim_number = claims + 1;
}

static void serve(struct shard *sh, struct waiter *w, uint32_t index)
{
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    run_for_key(sh, w, index, &out);
    parked_answer(sh, &w->parked, &out);
    waiter_free(sh, w);
}

/* Ends a claim whose command may have left something for the next in the queue. */
static void release_claim(struct shard *sh, struct waiter *w)
{
    struct key k = request_key(sh, &w->parked.request, w->claim_index);
    uint64_t token = w->claim_token;
    wait_note(sh, &k);
    waiter_free(sh, w);
    locks_release(sh, token);
}

/* What it gets has been read. */
static void conclude_shared(struct shard *sh, struct waiter *w)
{
    struct reply out;
    if (is_claimant(w)) {
        make_moot(sh, w);
        report(sh, w, w->claim_since, w->claim_index);
    } else {
        reply_init(&out, NULL, &sh->mem);
        append_early(sh, w, &out);
        parked_answer(sh, &w->parked, &out);
    }
    waiter_free(sh, w);
}

/* Its claim is certain: served here, or by its coordinator. */
static void conclude(struct shard *sh, struct waiter *w)
{
    dlist_remove(&w->tentative);
    leave_queues(sh, w);
    if (w->rule->is_shared) {
        conclude_shared(sh, w);
        return;
    }
    if (is_claimant(w)) {
        make_moot(sh, w);
        report(sh, w, w->claim_since, w->claim_index);
        return;
    }
    struct reply out;
    reply_init(&out, NULL, &sh->mem);
    run_for_key(sh, w, w->claim_index, &out);
    parked_answer(sh, &w->parked, &out);
    release_claim(sh, w);
}

/* ---- beginning to wait ---- */

static bool key_has_something(struct shard *sh, const struct waiter *w, const struct key *k,
                              uint32_t index)
{
    return w->rule->is_ready(sh, &w->parked.request, k, index);
}

/* Somebody who came earlier is about to be served from that key. */
static bool is_taken(struct shard *sh, const struct key *k)
{
    const struct wait_key *wk = key_find(sh, k);
    if (!wk) return false;
    dlist_each (link, &wk->queue) {
        const struct wait_place *place = container_of(link, struct wait_place, link);
        const struct waiter *w = place->waiter;
        if (w->is_asked && key_has_something(sh, w, k, place->index)) return true;
    }
    return false;
}

/* The first key that exists, whatever is in it; 0: there is none. */
static uint32_t find_existing(struct shard *sh, struct request *rq, const struct wait_keys *keys)
{
    bool only_here = rq->flags & REQUEST_CLAIM;
    for (uint32_t i = keys->first; i < keys->first + keys->count; i++) {
        struct key k = request_key(sh, rq, i);
        if (only_here && !shard_owns_key(sh, &k)) continue;
        bool must_queue = rq->flags & REQUEST_MAY_WAIT && is_taken(sh, &k);
        if (!must_queue && keyspace_peek(sh, &k)) return i;
    }
    return 0;
}

static void join_queue(struct shard *sh, struct waiter *w, struct wait_key *wk, uint32_t index)
{
    const struct wait_place *last = container_of(wk->queue.prev, struct wait_place, link);
    if (!dlist_is_empty(&wk->queue) && last->waiter == w) return; /* the same key twice */
    struct wait_place *place = &w->places[w->place_count++];
    *place = (struct wait_place){.key = wk, .waiter = w, .index = index};
    count_absence(sh, wk, w->rule, 1);
    dlist_push_back(&wk->queue, &place->link);
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
        struct wait_key *wk = key_find_or_make(sh, &k);
        if (!wk) return false;
        join_queue(sh, w, wk, i);
    }
    return true;
}

/* The waiter's arguments are its own. `room` is enough for all of them. */
static void resolve_arguments(struct waiter *w, const struct wait_keys *keys,
                              const struct bytes *resolved, struct bytes room)
{
    struct bytes *argv = w->parked.request.argv + keys->first + keys->count;
    w->resolved_bytes = room.size;
    char *at = w->resolved = (char *)(uintptr_t)room.data;
    for (uint32_t i = 0; i < keys->count; i++) {
        struct bytes text = resolved[i];
        if (!text.data) continue;
        memcpy(at, text.data, text.size);
        argv[i] = bytes_make(at, text.size);
        at += text.size;
    }
}

/* Of questions that came before the request could run. */
static void take_bounds(struct shard *sh, struct waiter *w)
{
    dlist_each (link, &sh->waits.settling) {
        const struct settle *s = container_of(link, struct settle, link);
        bool is_about = memcmp(&s->id, &w->id, sizeof s->id) == 0;
        if (is_about && turn_point_before(s->since, w->bound)) w->bound = s->since;
    }
}

/* NULL, changing nothing: no memory. */
static struct waiter *begin(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                            uint32_t ready_index)
{
    bool has_claim = ready_index && rq->flags & REQUEST_CLAIM;
    struct waiter *w = mem_alloc(&sh->mem, sizeof *w);
    *w = (struct waiter){.rule = keys->rule};
    dlist_init(&w->tentative);
    if ((!has_claim && !join_queues(sh, w, rq, keys)) || !parked_take(sh, &w->parked, rq)) {
        leave_queues(sh, w);
        mem_free(&sh->mem, w, sizeof *w);
        return NULL;
    }
    w->parked.request.flags &= (uint8_t)~REQUEST_MAY_WAIT;
    w->bound = (struct turn_point){UINT64_MAX, UINT64_MAX};
    w->id =
        (struct wait_id){w->parked.run.conn_index, w->parked.run.conn_generation, w->parked.net_id};
    node_table_insert(&sh->waits.waiters, &w->node, id_hash(&w->id));
    take_bounds(sh, w);
    if (is_claimant(w)) sh->waits.claimants++;
    if (has_claim) {
        claim(sh, w, ready_index, w->parked.point);
        conclude(sh, w);
        return w;
    }
    if (ready_index) ask(sh, w, ready_index, w->parked.point);
    return w;
}

bool wait_for_keys(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                   const struct bytes *resolved)
{
    struct bytes room = {0};
    for (uint32_t i = 0; i < keys->count && resolved; i++) room.size += resolved[i].size;
    if (room.size > 0) room.data = mem_try_alloc(&sh->mem, room.size);
    bool has_room = room.size == 0 || room.data;
    struct waiter *w = has_room ? begin(sh, rq, keys, 0) : NULL;
    if (!w) {
        if (room.data) mem_free(&sh->mem, (void *)(uintptr_t)room.data, room.size);
        return false;
    }
    if (room.size > 0) resolve_arguments(w, keys, resolved, room);
    return true;
}

enum wait_result wait_or_serve(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                               uint32_t *index)
{
    *index = sh->waits.serving;
    if (*index) return WAIT_SERVE;
    *index = find_existing(sh, rq, keys);
    if (*index && !(rq->flags & (REQUEST_CLAIM | REQUEST_ASK))) return WAIT_SERVE;
    if (!(rq->flags & REQUEST_MAY_WAIT)) return *index ? WAIT_SERVE : WAIT_NOTHING;
    /* Of one whose keys live on several shards: the coordinator takes the error for the reply, and
     * ends what waits elsewhere. */
    return begin(sh, rq, keys, *index) ? WAIT_WAITS : WAIT_REFUSED;
}

/* ---- serving ---- */

enum served { SERVED_ONE, SERVED_KEY_IS_TAKEN };

/* It also writes another key: at the place of the command that has just run, if nobody who came
 * later can have seen that key; otherwise at a place of its own. */
static enum served serve_move(struct shard *sh, struct waiter *w, uint32_t index,
                              struct turn_point point, bool is_now)
{
    struct key target = request_key(sh, &w->parked.request, w->rule->target);
    if (w->is_asked) return SERVED_KEY_IS_TAKEN;
    if (is_now && !(w->parked.request.flags & REQUEST_ASK) && locks_is_free(sh, &target)) {
        serve(sh, w, index);
        return SERVED_ONE;
    }
    ask(sh, w, index, point);
    return SERVED_KEY_IS_TAKEN;
}

/* Whether what happens at that point comes before what the waiter has a claim on. */
static bool is_before_claim(const struct shard *sh, const struct waiter *w, struct turn_point point)
{
    if (turn_point_before(point, w->claim_since)) return true;
    uint64_t number = locks_leaving_claim(sh);
    return number && number < w->claim_number && !turn_point_before(w->claim_since, point);
}

static enum served serve_pop(struct shard *sh, struct waiter *w, uint32_t index,
                             struct turn_point point)
{
    if (w->claim_index) {
        if (!is_before_claim(sh, w, point)) return SERVED_ONE; /* it has been already */
        dlist_remove(&w->tentative);
        unclaim(sh, w);
    }
    bool is_here_alone = !is_claimant(w);
    uint64_t number = locks_leaving_claim(sh);
    uint64_t claims = number ? number - 1 : sh->locks.claims_made;
    w->claim_index = index; /* the question is about the others */
    bool is_known = is_certain(sh, w, point, claims);
    bool is_shared = w->rule->is_shared;
    w->claim_index = 0;
    if (is_known && is_here_alone) {
        serve(sh, w, index);
        return SERVED_ONE;
    }
    if (is_shared)
        claim_shared(sh, w, index, point, claims);
    else
        claim(sh, w, index, point);
    if (is_known)
        conclude(sh, w);
    else
        dlist_push_back(&sh->waits.tentative, &w->tentative);
    return is_shared ? SERVED_ONE : SERVED_KEY_IS_TAKEN;
}

/* False: later, when whoever holds the key lets go. */
static bool serve_key(struct shard *sh, struct wait_key *wk, struct turn_point point, bool is_now)
{
    struct key k = key_of(wk);
    if (locks_hold(sh, &k)) return false;
    dlist_each_safe (link, &wk->queue) {
        const struct wait_place *place = container_of(link, struct wait_place, link);
        struct waiter *w = place->waiter;
        bool is_there = keyspace_peek(sh, &k);
        if (!is_there && wk->absence_seen == 0) return true;
        if (!is_there && !w->rule->sees_absence) continue;
        if (turn_point_before(w->bound, point)) continue;
        if (!key_has_something(sh, w, &k, place->index)) continue;
        enum served served = w->rule->target ? serve_move(sh, w, place->index, point, is_now)
                                             : serve_pop(sh, w, place->index, point);
        if (served == SERVED_KEY_IS_TAKEN) return true;
    }
    return true;
}

void wait_serve_slow(struct shard *sh, struct turn_point point)
{
    struct dlist later;
    dlist_init(&later);
    struct turn_point now = shard_now_point(sh);
    bool is_now = now.position == point.position && now.index == point.index;
    is_now |= sh->locks.is_at_gate;
    struct dlist *link;
    while ((link = dlist_pop_front(&sh->waits.ready))) {
        struct wait_key *wk = container_of(link, struct wait_key, ready);
        wk->is_noted = false;
        wk->is_served = true;
        bool is_done = serve_key(sh, wk, point, is_now);
        wk->is_served = false;
        if (!is_done && !wk->is_noted) {
            wk->is_noted = true;
            dlist_push_back(&later, &wk->ready);
        }
        key_drop_if_unused(sh, wk);
    }
    dlist_splice(&sh->waits.ready, &later);
}

/* ---- coordinators ---- */

/* Nothing will come for it from this shard. */
static void dismiss(struct shard *sh, struct waiter *w)
{
    if (w->claim_index) unclaim(sh, w);
    make_moot(sh, w);
    /* Those behind it may have waited for it. */
    for (uint32_t i = 0; i < w->place_count; i++) note(sh, w->places[i].key);
    if (!w->is_asked) answer_nothing(sh, &w->parked);
    waiter_free(sh, w);
}

/* True: it is answered, or will be by itself. */
static bool settle_try(struct shard *sh, struct request *rq, const struct settle *s)
{
    struct waiter *w = waiter_find(sh, &s->id);
    /* One that was asked meanwhile still stands in its queue, and its coordinator takes it for
     * gone. */
    if (s->is_moot && w && w->is_asked) dismiss(sh, w);
    if (s->is_moot) return true;
    if (w && w->claim_index && !turn_point_before(s->since, w->claim_since)) return true;
    if (w && w->claim_index && dlist_is_empty(&w->tentative)) return true;
    for (uint32_t i = s->first_key; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        if (!locks_passed(sh, &k, s->since, 0)) return false;
    }
    if (w) dismiss(sh, w);
    return true;
}

bool wait_settle(struct shard *sh, struct request *rq, const struct wait_id *id,
                 struct turn_point since, uint32_t first_key)
{
    struct settle s = {.id = *id, .since = since, .first_key = first_key};
    struct turn_point now = parked_point(sh, rq);
    if (turn_point_before(now, since)) s.since = now;
    if (settle_try(sh, rq, &s)) {
        wait_go_on(sh);
        return true;
    }
    struct settle *kept = mem_alloc(&sh->mem, sizeof *kept);
    *kept = s;
    parked_take_part(sh, &kept->parked, rq);
    dlist_push_back(&sh->waits.settling, &kept->link);
    struct waiter *w = waiter_find(sh, id);
    if (w) take_bounds(sh, w);
    return false;
}

static bool conclude_one(struct shard *sh)
{
    dlist_each (link, &sh->waits.tentative) {
        struct waiter *w = container_of(link, struct waiter, tentative);
        if (!is_certain(sh, w, w->claim_since, w->claim_number)) continue;
        conclude(sh, w);
        return true;
    }
    return false;
}

static bool release_one(struct shard *sh)
{
    struct dlist *link = dlist_pop_front(&sh->waits.spare);
    if (!link) return false;
    struct spare *spare = container_of(link, struct spare, link);
    uint64_t token = spare->token;
    mem_free(&sh->mem, spare, sizeof *spare);
    locks_release(sh, token);
    return true;
}

static bool settle_one(struct shard *sh)
{
    dlist_each (link, &sh->waits.settling) {
        struct settle *s = container_of(link, struct settle, link);
        if (!settle_try(sh, &s->parked.request, s)) continue;
        dlist_remove(&s->link);
        answer_nothing(sh, &s->parked);
        parked_free(sh, &s->parked);
        mem_free(&sh->mem, s, sizeof *s);
        return true;
    }
    return false;
}

void wait_go_on(struct shard *sh)
{
    struct waits *w = &sh->waits;
    if (likely(dlist_is_empty(&w->tentative) && dlist_is_empty(&w->spare) &&
               dlist_is_empty(&w->settling)))
        return;
    if (w->is_going_on) return;
    w->is_going_on = true;
    while (release_one(sh) || conclude_one(sh) || settle_one(sh)) {
    }
    w->is_going_on = false;
}

void wait_end_claim(struct shard *sh, const struct wait_id *id, struct reply *out)
{
    struct waiter *w = waiter_find(sh, id);
    CHECK(w && w->claim_index);
    if (out) run_for_key(sh, w, w->claim_index, out);
    release_claim(sh, w);
}

void wait_again(struct shard *sh, struct request *rq, const struct wait_id *id)
{
    struct waiter *w = waiter_find(sh, id);
    CHECK(w && w->is_asked);
    w->is_asked = false;
    parked_renew(sh, &w->parked, rq);
    for (uint32_t i = 0; i < w->place_count; i++) note(sh, w->places[i].key);
}

/* ---- invariants ---- */

static void queue_validate(const struct wait_key *wk)
{
    CHECK(!dlist_is_empty(&wk->queue));
    CHECK(wk->is_noted == !dlist_is_empty(&wk->ready));
    dlist_each (link, &wk->queue) CHECK(container_of(link, struct wait_place, link)->key == wk);
}

void waits_validate(struct shard *sh)
{
    const struct waits *w = &sh->waits;
    struct table_node *node;
    uint64_t claimants = 0;
    node_table_validate(&w->keys);
    node_table_validate(&w->waiters);
    for (uint32_t at = 0; (node = node_table_first_from(&w->keys, &at)); at++)
        for (; node; node = node->next) queue_validate(container_of(node, struct wait_key, node));
    for (uint32_t at = 0; (node = node_table_first_from(&w->waiters, &at)); at++) {
        for (; node; node = node->next) {
            const struct waiter *one = container_of(node, struct waiter, node);
            claimants += is_claimant(one);
            CHECK(one->claim_index || one->place_count > 0);
        }
    }
    CHECK(claimants == w->claimants);
}
