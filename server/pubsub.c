#include "server/pubsub.h"

#include "server/exec.h"
#include "server/server.h"
#include "server/subscription_change.h"

#define FEED_WAITING_BYTES_MAX (8 * 1024 * 1024)

/* ---- life ---- */

static void publishers_resume(struct netloop *nl, struct net_timer *t)
{
    UNUSED const struct net_timer *any = t;
    struct worker *w = nl->owner;
    w->should_resume = true;
}

void pubsub_init(struct worker *w)
{
    struct pubsub *ps = &w->pubsub;
    struct mem *mem = &w->net.mem;
    for (unsigned i = 0; i < CHANNEL_KINDS; i++) node_table_init(&ps->topics[i], mem);
    node_table_init(&ps->subscriptions, mem);
    dlist_init(&ps->stuck);
    dlist_init(&ps->changed);
    dlist_init(&ps->leaving);
    ps->messages = mem_alloc_zeroed(mem, w->server->router.shard_count * sizeof *ps->messages);
    timer_init(&ps->retry.timer);
    ps->retry.on_fire = publishers_resume;
    ps->frames[0].mem = ps->frames[1].mem = mem;
    ps->leave_route = router_find_row(&w->server->router, "unsubscribe")->id;
}

void pubsub_deinit(struct worker *w)
{
    struct pubsub *ps = &w->pubsub;
    for (unsigned i = 0; i < CHANNEL_KINDS; i++) node_table_deinit(&ps->topics[i]);
    node_table_deinit(&ps->subscriptions);
    mem_free(&w->net.mem, ps->messages, w->server->router.shard_count * sizeof *ps->messages);
    buf_clear(&ps->frames[0]);
    buf_clear(&ps->frames[1]);
}

bool pubsub_must_wait(struct worker *w, uint16_t shard)
{
    const struct shard *sh = &w->server->shard_workers[shard]->shard;
    if (likely(counter_read(&sh->channels.waiting_bytes) < FEED_WAITING_BYTES_MAX)) return false;
    if (!timer_is_armed(&w->pubsub.retry.timer))
        wheel_arm(&w->net.wheel, &w->pubsub.retry.timer, w->net.wheel.now_ms + 1);
    return true;
}

/* ---- confirmations ---- */

/* A place in the order of the connection that CLIENT REPLY does not silence, as in Redis. */
static uint32_t confirmation_slot(struct session *s)
{
    if (s->exec) return exec_defer(s->exec);
    if (s->is_resumed) return s->resumed_slot;
    uint32_t slot = conn_push_slot(&s->conn);
    conn_slot(&s->conn, slot)->muted = false;
    s->is_deferred = true;
    return slot;
}

static void confirm_now(struct session *s, struct reply *out)
{
    /* In a transaction, or of a command that goes on, it is the reply as any other. */
    if (!s->exec && !s->is_resumed) conn_fill_slot(&s->conn, confirmation_slot(s), out);
}

/* `room` has enough for what is written in `out`, and is the change's from here on. */
static void confirm_later(struct session *s, struct subscription_change *ch,
                          const struct request *rq, struct reply *out, struct chunk *room)
{
    ch->session = s;
    ch->route_id = rq->command_id;
    ch->slot = confirmation_slot(s);
    reply_close(out);
    for (const struct chunk *c = out->first; c; c = c->next) {
        CHECK(room->size + c->size <= room->capacity);
        if (c->size) memcpy(room->data + room->size, c->data, c->size);
        room->size += c->size;
    }
    ch->reply = room;
    /* Messages wait for the confirmation of the joining; that of the leaving waits for them. */
    for (uint32_t i = 0; !ch->header.is_leave && i < ch->count; i++)
        ch->subscriptions[i]->slot = ch->slot;
    s->subscriber.change = ch;
    s->is_waiting = true;
    subscription_change_start(ch);
}

/* NULL: there is nothing to change. */
static void confirm_change(struct session *s, struct subscription_change *ch,
                           const struct request *rq, struct reply *out, struct chunk *room)
{
    if (ch)
        confirm_later(s, ch, rq, out, room);
    else
        confirm_now(s, out);
}

static const char *const join_words[] = {"subscribe", "psubscribe", "ssubscribe"};
static const char *const leave_words[] = {"unsubscribe", "punsubscribe", "sunsubscribe"};

/* Sharded channels are counted for themselves. */
static void reply_count(const struct session *s, enum channel_kind kind, struct reply *out)
{
    const uint32_t *counts = s->subscriber.counts;
    reply_i64(out, kind == CHANNEL_SHARDED ? counts[CHANNEL_SHARDED]
                                           : counts[CHANNEL_PLAIN] + counts[CHANNEL_PATTERN]);
}

static void confirm(const struct session *s, const char *const *words, enum channel_kind kind,
                    struct bytes name, struct reply *out)
{
    if (kind == CHANNEL_PREFIX) return; /* CLIENT TRACKING has one reply */
    reply_push(out, 3);
    reply_bulk_text(out, words[kind]);
    reply_bulk(out, name);
    reply_count(s, kind, out);
}

static uint64_t confirmation_bytes(struct bytes name)
{
    return 64 + REPLY_STRING_BYTES(name.size);
}

/* Room for all of them in `out`, and for their copy, which waits; NULL: no memory. */
static struct chunk *confirmations_try_reserve(const struct session *s, enum channel_kind kind,
                                               const struct request *rq, struct reply *out)
{
    struct mem *mem = &s->conn.netloop->mem;
    uint64_t bytes = 64;
    for (uint32_t i = 1; i < rq->argc; i++) bytes += confirmation_bytes(rq->argv[i]);
    if (rq->argc == 1) {
        dlist_each (link, &s->subscriber.subscriptions) {
            const struct topic *t = container_of(link, struct subscription, of_session)->topic;
            if (t->ticket.kind == kind) bytes += confirmation_bytes(topic_name(t));
        }
    }
    if (bytes > UINT32_MAX / 2 || !reply_try_reserve(out, bytes)) return NULL;
    struct chunk *room = mem_try_alloc(mem, sizeof *room + bytes);
    if (room) *room = (struct chunk){.capacity = (uint32_t)bytes};
    return room;
}

/* ---- joining ---- */

static void join_undo(struct session *s, struct subscription **made, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        subscription_detach(made[i]);
        subscription_free(session_worker(s), made[i]);
    }
}

/* What was not there yet, in `made`. False: no memory, and nothing has changed. */
static bool join_names(struct session *s, enum channel_kind kind, const struct request *rq,
                       struct subscription **made, uint32_t *count, struct reply *out)
{
    *count = 0;
    for (uint32_t i = 1; i < rq->argc; i++) {
        if (!subscription_find(s, kind, rq->argv[i])) {
            struct subscription *sub = subscription_try_make(s, kind, rq->argv[i]);
            if (!sub) {
                join_undo(s, made, *count);
                return false;
            }
            made[(*count)++] = sub;
        }
        confirm(s, join_words, kind, rq->argv[i], out);
    }
    return true;
}

/* The array of what a change is about is cut to what is in use, because its size is derived from
 * the count. */
static struct subscription **cut_list(struct mem *mem, struct subscription **list, uint32_t room,
                                      uint32_t count)
{
    if (count > 0) {
        return mem_shrink(mem, list, room * sizeof(struct subscription *),
                          count * sizeof(struct subscription *));
    }
    mem_free(mem, list, room * sizeof(struct subscription *));
    return NULL;
}

/* The array, and the change that it is for; or, without memory, what was begun is undone. */
static struct subscription_change *join(struct session *s, enum channel_kind kind,
                                        const struct request *rq, uint32_t *count,
                                        struct reply *out)
{
    struct worker *w = session_worker(s);
    struct mem *mem = &w->net.mem;
    uint32_t room = rq->argc - 1;
    struct subscription **made = mem_try_alloc(mem, room * sizeof(struct subscription *));
    if (!made) return NULL;
    if (!join_names(s, kind, rq, made, count, out)) {
        mem_free(mem, made, room * sizeof(struct subscription *));
        return NULL;
    }
    made = cut_list(mem, made, room, *count);
    if (*count == 0) return NULL;
    struct subscription_change *ch = subscription_change_try_make(w, false, made, *count);
    if (ch) return ch;
    join_undo(s, made, *count);
    mem_free(mem, made, *count * sizeof(struct subscription *));
    return NULL;
}

enum err pubsub_subscribe(struct session *s, enum channel_kind kind, struct request *rq,
                          struct reply *out)
{
    struct worker *w = session_worker(s);
    uint32_t count = UINT32_MAX;
    struct chunk *confirmations = confirmations_try_reserve(s, kind, rq, out);
    if (!confirmations) return ERR_ALLOC;
    struct subscription_change *ch = join(s, kind, rq, &count, out);
    bool is_nothing = count == 0 && !ch;
    if (!ch) chunk_free_chain(&w->net.mem, confirmations);
    if (!ch && !is_nothing) {
        netloop_reply_drop(&w->net, out);
        *out = netloop_reply(&w->net, s->resp);
        return ERR_ALLOC;
    }
    if (kind == CHANNEL_PREFIX) reply_ok(out);
    subscriber_recount(s);
    confirm_change(s, ch, rq, out, confirmations);
    return OK;
}

/* ---- leaving ---- */

static bool is_concerned(const struct subscription *sub, enum channel_kind kind)
{
    return kind == CHANNEL_KINDS || sub->topic->ticket.kind == kind;
}

/* Those that the request names, once each; without names all of the kind, and without a request all
 * of every kind. */
static uint32_t leaving_find(struct session *s, enum channel_kind kind, const struct request *rq,
                             struct subscription **gone)
{
    uint32_t count = 0;
    for (uint32_t i = 1; rq && i < rq->argc; i++) {
        struct subscription *sub = subscription_find(s, kind, rq->argv[i]);
        if (!sub || sub->is_leaving) continue;
        sub->is_leaving = true;
        gone[count++] = sub;
    }
    if (rq && rq->argc > 1) return count;
    dlist_each (link, &s->subscriber.subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_session);
        if (is_concerned(sub, kind)) gone[count++] = sub;
    }
    return count;
}

static void leave_names(struct session *s, enum channel_kind kind, const struct request *rq,
                        struct reply *out)
{
    for (uint32_t i = 1; i < rq->argc; i++) {
        struct subscription *sub = subscription_find(s, kind, rq->argv[i]);
        if (sub) subscription_detach(sub);
        confirm(s, leave_words, kind, rq->argv[i], out);
    }
}

/* All of one kind; CHANNEL_KINDS: of every kind, without confirmations. */
static void leave_all(struct session *s, enum channel_kind kind, struct reply *out)
{
    dlist_each_safe (link, &s->subscriber.subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_session);
        if (!is_concerned(sub, kind)) continue;
        subscription_detach(sub);
        if (out) confirm(s, leave_words, kind, topic_name(sub->topic), out);
    }
}

/* The change for all that is leaving; NULL, with `*count` 0: nothing is, else there is no memory,
 * and nothing has changed. `room`: for so many at most. */
static struct subscription_change *leave_try_make(struct session *s, enum channel_kind kind,
                                                  const struct request *rq, uint32_t room,
                                                  uint32_t *count)
{
    struct worker *w = session_worker(s);
    struct mem *mem = &w->net.mem;
    *count = room;
    struct subscription **gone = mem_try_alloc(mem, room * sizeof(struct subscription *));
    if (!gone) return NULL;
    *count = leaving_find(s, kind, rq, gone);
    gone = cut_list(mem, gone, room, *count);
    if (*count == 0) return NULL;
    struct subscription_change *ch = subscription_change_try_make(w, true, gone, *count);
    if (ch) return ch;
    for (uint32_t i = 0; i < *count; i++) gone[i]->is_leaving = false;
    mem_free(mem, gone, *count * sizeof(struct subscription *));
    return NULL;
}

static void confirm_nothing(struct session *s, enum channel_kind kind, struct reply *out)
{
    reply_push(out, 3);
    reply_bulk_text(out, leave_words[kind]);
    reply_null(out);
    reply_count(s, kind, out);
}

enum err pubsub_unsubscribe(struct session *s, enum channel_kind kind, struct request *rq,
                            struct reply *out)
{
    struct worker *w = session_worker(s);
    bool is_all = rq->argc == 1;
    uint32_t room = is_all ? s->subscriber.counts[kind] : rq->argc - 1, count = 0;
    if (room == 0) {
        confirm_nothing(s, kind, out);
        confirm_now(s, out);
        return OK;
    }
    struct chunk *confirmations = confirmations_try_reserve(s, kind, rq, out);
    if (!confirmations) return ERR_ALLOC;
    struct subscription_change *ch = leave_try_make(s, kind, rq, room, &count);
    if (!ch) chunk_free_chain(&w->net.mem, confirmations);
    if (!ch && count > 0) return ERR_ALLOC;
    if (is_all)
        leave_all(s, kind, out);
    else
        leave_names(s, kind, rq, out);
    if (kind == CHANNEL_PREFIX) reply_ok(out);
    subscriber_recount(s);
    confirm_change(s, ch, rq, out, confirmations);
    return OK;
}

void pubsub_each(struct session *s, enum channel_kind kind, channel_fn *fn, void *context)
{
    dlist_each (link, &s->subscriber.subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_session);
        if (sub->topic->ticket.kind == kind) fn(context, topic_name(sub->topic));
    }
}

/* No message for it any more. */
static void forget_session(struct subscription_change *ch)
{
    for (uint32_t i = 0; i < ch->count; i++) ch->subscriptions[i]->session = NULL;
}

/* NULL: it has none, or no memory for all of it at once, and then it goes by itself. */
static struct subscription_change *leave_everything(struct session *s)
{
    struct worker *w = session_worker(s);
    uint32_t room = s->subscriber.count + s->subscriber.counts[CHANNEL_PREFIX], count;
    if (room == 0) return NULL;
    struct subscription_change *ch = leave_try_make(s, CHANNEL_KINDS, NULL, room, &count);
    dlist_each_safe (link, &s->subscriber.subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_session);
        subscription_detach(sub);
        sub->session = NULL;
        if (!ch) dlist_push_back(&w->pubsub.leaving, &sub->of_session);
    }
    subscriber_recount(s);
    if (!ch) subscription_leave_some(w);
    return ch;
}

bool pubsub_reset(struct session *s, struct reply *out)
{
    struct subscription_change *ch = leave_everything(s);
    if (!ch) return false;
    struct request rq = {.command_id = ch->route_id};
    uint64_t bytes = reply_size(out); /* a few */
    struct chunk *room = mem_alloc(&ch->worker->net.mem, sizeof *room + bytes);
    *room = (struct chunk){.capacity = (uint32_t)bytes};
    confirm_later(s, ch, &rq, out, room);
    return true;
}

void pubsub_on_close(struct session *s)
{
    struct subscription_change *under_way = s->subscriber.change;
    struct subscription_change *last = leave_everything(s);
    if (under_way) {
        under_way->session = NULL;
        s->subscriber.change = NULL;
        forget_session(under_way);
    }
    if (last) subscription_change_start(last);
}
