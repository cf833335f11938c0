#include "shard/wait.h"

#include "base/bytes.h"
#include "shard/shard.h"
#include "shard/wait_claim.h"

void waits_init(struct waits *w, struct mem *mem)
{
    *w = (struct waits){0};
    node_table_init(&w->queues, mem);
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
    node_table_deinit(&w->queues);
    node_table_deinit(&w->waiters);
}

/* ---- beginning to wait ---- */

/* Somebody who came earlier is about to be served from that key. */
static bool is_taken(struct shard *sh, const struct key *k)
{
    const struct wait_queue *q = wait_queue_find(sh, k);
    if (!q) return false;
    dlist_each (link, &q->places) {
        const struct wait_place *place = container_of(link, struct wait_place, link);
        const struct waiter *w = place->waiter;
        if (w->is_asked && waiter_is_ready(sh, w, k, place->index)) return true;
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

/* NULL, changing nothing: no memory. `ready_index`: a key that has something already. */
static struct waiter *begin(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                            uint32_t ready_index)
{
    bool has_claim = ready_index && rq->flags & REQUEST_CLAIM;
    struct waiter *w = waiter_try_make(sh, rq, keys, has_claim);
    if (!w) return NULL;
    wait_claim_take_bounds(sh, w);
    if (has_claim)
        wait_claim_first(sh, w, ready_index);
    else if (ready_index)
        wait_claim_ask(sh, w, ready_index, w->parked.point);
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

enum err wait_or_serve(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                       struct reply *out, uint32_t *index)
{
    *index = sh->waits.serving;
    if (*index) return OK;
    uint32_t found = find_existing(sh, rq, keys);
    bool may_wait = rq->flags & REQUEST_MAY_WAIT;
    if (found && !(may_wait && rq->flags & (REQUEST_CLAIM | REQUEST_ASK))) {
        *index = found;
        return OK;
    }
    /* Of one whose keys live on several shards: the coordinator takes the error for the reply, and
     * ends what waits elsewhere. */
    if (may_wait) return begin(sh, rq, keys, found) ? OK : ERR_ALLOC;
    if (keys->rule->target)
        reply_null(out); /* instead of one element */
    else
        reply_null_array(out);
    return OK;
}

void wait_report_first(struct shard *sh, const struct request *rq, uint32_t index,
                       struct reply *out)
{
    struct wait_report head = {0, parked_point(sh, rq), index, true};
    reply_raw(out, &head, sizeof head);
}

/* ---- serving ---- */

void wait_note_slow(struct shard *sh, const struct key *k)
{
    struct wait_queue *q = wait_queue_find(sh, k);
    if (q) wait_queue_note(sh, q);
}

void wait_note_database(struct shard *sh, uint32_t db)
{
    struct table_node *node;
    for (uint32_t at = 0; (node = node_table_first_from(&sh->waits.queues, &at)); at++) {
        for (; node; node = node->next) {
            struct wait_queue *q = container_of(node, struct wait_queue, node);
            if (q->db == db) wait_queue_note(sh, q);
        }
    }
}

/* It also writes another key: at the place of the command that has just run, if nobody who came
 * later can have seen that key; otherwise at a place of its own. True: for those behind it there
 * may be something left. */
static bool serve_move(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point point,
                       bool is_now)
{
    struct key target = request_key(sh, &w->parked.request, w->rule->target);
    if (w->is_asked) return false;
    if (is_now && !(w->parked.request.flags & REQUEST_ASK) && locks_is_free(sh, &target)) {
        waiter_serve(sh, w, index);
        return true;
    }
    wait_claim_ask(sh, w, index, point);
    return false;
}

/* False: later, when whoever holds the key lets go. */
static bool serve_key(struct shard *sh, struct wait_queue *q, struct turn_point point, bool is_now)
{
    struct key k = wait_queue_key(q);
    if (locks_hold(sh, &k)) return false;
    dlist_each_safe (link, &q->places) {
        const struct wait_place *place = container_of(link, struct wait_place, link);
        struct waiter *w = place->waiter;
        bool is_there = keyspace_peek(sh, &k);
        if (!is_there && q->absence_seen == 0) return true;
        if (!is_there && !w->rule->sees_absence) continue;
        if (turn_point_before(w->bound, point)) continue;
        if (!waiter_is_ready(sh, w, &k, place->index)) continue;
        bool may_be_more = w->rule->target ? serve_move(sh, w, place->index, point, is_now)
                                           : wait_claim_or_serve(sh, w, place->index, point);
        if (!may_be_more) return true;
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
        struct wait_queue *q = container_of(link, struct wait_queue, ready);
        q->is_noted = false;
        q->is_served = true;
        bool is_done = serve_key(sh, q, point, is_now);
        q->is_served = false;
        if (!is_done && !q->is_noted) {
            q->is_noted = true;
            dlist_push_back(&later, &q->ready);
        }
        wait_queue_drop_if_unused(sh, q);
    }
    dlist_splice(&sh->waits.ready, &later);
}

/* ---- invariants ---- */

static void queue_validate(const struct wait_queue *q)
{
    CHECK(!dlist_is_empty(&q->places));
    CHECK(q->is_noted == !dlist_is_empty(&q->ready));
    dlist_each (link, &q->places) CHECK(container_of(link, struct wait_place, link)->queue == q);
}

void waits_validate(struct shard *sh)
{
    const struct waits *w = &sh->waits;
    struct table_node *node;
    uint64_t claimants = 0;
    node_table_validate(&w->queues);
    node_table_validate(&w->waiters);
    for (uint32_t at = 0; (node = node_table_first_from(&w->queues, &at)); at++)
        for (; node; node = node->next) queue_validate(container_of(node, struct wait_queue, node));
    for (uint32_t at = 0; (node = node_table_first_from(&w->waiters, &at)); at++) {
        for (; node; node = node->next) {
            const struct waiter *one = container_of(node, struct waiter, node);
            claimants += waiter_is_claimant(one);
            CHECK(one->claim_index || one->place_count > 0);
        }
    }
    CHECK(claimants == w->claimants);
}
