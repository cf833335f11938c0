#include "server/pubsub.h"

#include "base/text.h"
#include "server/exec.h"
#include "server/prefix_changes.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

#define DELIVERIES_PER_SLICE 4096
#define FRAME_INLINE_BYTES 4096 /* longer messages are not copied into the frame */
#define FEED_WAITING_BYTES_MAX (8 * 1024 * 1024)
#define SHARD_WORDS (ROUTER_SHARDS_MAX / 64)
#define LEAVE_AT_ONCE 16 /* subscriptions of leave_some: their requests are small */

/* What somebody on this thread subscribes to. */
struct topic {
    struct table_node node;
    struct dlist subscriptions;
    struct attend_topic ticket; /* as shards know it */
    uint16_t shard;
    bool is_everywhere;
    struct dlist changed_link; /* of a prefix */
    struct prefix_changes changes;
    size_t name_bytes;
    char name[];
};

struct subscription {
    struct dlist of_topic, of_session;
    struct table_node node;
    struct topic *topic;
    struct session *session; /* NULL: it has gone */
    uint32_t slot;           /* of the confirmation */
    bool is_leaving;
    uint64_t joined[SHARD_WORDS];
};

/* Subscriptions that come or go, until all shards know. */
struct pubsub_change {
    struct gather gather;
    struct dlist stuck_link;
    struct worker *worker;
    struct session *session; /* NULL: nobody waits for it */
    struct attend header;
    uint32_t slot;
    struct chunk *reply;
    uint16_t route_id;
    uint16_t shard_count; /* that it concerns */
    uint16_t missing;     /* acknowledgements */
    bool is_home;
    bool is_background; /* leave_some */
    uint32_t count;
    struct subscription **subscriptions;
    uint16_t shards[ROUTER_SHARDS_MAX];
    uint32_t argc[ROUTER_SHARDS_MAX]; /* by index in `shards` */
    struct bytes *argv;               /* of all requests, one after the other */
    size_t argv_count;
};

/* ---- publishers wait ---- */

static void publishers_resume(struct netloop *nl, struct net_timer *t)
{
    UNUSED const struct net_timer *any = t;
    struct worker *w = nl->owner;
    w->should_resume = true;
}

bool pubsub_must_wait(struct worker *w, uint16_t shard)
{
    const struct shard *sh = &w->server->shard_workers[shard]->shard;
    if (likely(counter_read(&sh->channels.waiting_bytes) < FEED_WAITING_BYTES_MAX)) return false;
    if (!timer_is_armed(&w->pubsub.retry.timer))
        wheel_arm(&w->net.wheel, &w->pubsub.retry.timer, w->net.wheel.now_ms + 1);
    return true;
}

/* ---- life ---- */

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

/* ---- topics and subscriptions ---- */

static struct bytes topic_name(const struct topic *t)
{
    return bytes_make(t->name, t->name_bytes);
}

static struct topic *topic_find(struct worker *w, enum channel_kind kind, struct bytes name,
                                uint64_t hash)
{
    struct table_node *node = node_table_find(&w->pubsub.topics[kind], hash);
    for (; node; node = node_table_find_next(node)) {
        struct topic *t = container_of(node, struct topic, node);
        if (bytes_equal(topic_name(t), name)) return t;
    }
    return NULL;
}

static struct topic *topic_try_make(struct worker *w, enum channel_kind kind, struct bytes name,
                                    uint64_t hash, uint16_t shard)
{
    struct topic *t = mem_try_alloc(&w->net.mem, sizeof *t + name.size);
    if (!t) return NULL;
    *t = (struct topic){.ticket = {.topic = (uint64_t)(uintptr_t)t, .kind = kind},
                        .shard = shard,
                        .is_everywhere = kind == CHANNEL_PATTERN || kind == CHANNEL_PREFIX ||
                                         (kind == CHANNEL_PLAIN && channel_is_everywhere(name)),
                        .name_bytes = name.size};
    memcpy(t->name, name.data, name.size);
    dlist_init(&t->subscriptions);
    dlist_init(&t->changed_link);
    t->changes.items.mem = &w->net.mem;
    node_table_insert(&w->pubsub.topics[kind], &t->node, hash);
    return t;
}

static void topic_drop_if_unused(struct worker *w, struct topic *t)
{
    if (!dlist_is_empty(&t->subscriptions)) return;
    node_table_remove(&w->pubsub.topics[t->ticket.kind], &t->node);
    mem_free(&w->net.mem, t, sizeof *t + t->name_bytes);
}

static size_t subscription_bytes(const struct subscription *sub)
{
    return sizeof *sub + sizeof *sub->topic + sub->topic->name_bytes;
}

static uint64_t pair_hash(const struct worker *w, const struct topic *t, const struct session *s)
{
    const void *pair[2] = {t, s};
    return bytes_hash(bytes_make(pair, sizeof pair), w->server->hash_seed);
}

static struct subscription *subscription_find(struct session *s, enum channel_kind kind,
                                              struct bytes name)
{
    struct worker *w = session_worker(s);
    uint64_t hash;
    router_shard(&w->server->router, name, &hash);
    const struct topic *t = topic_find(w, kind, name, hash);
    if (!t) return NULL;
    struct table_node *node = node_table_find(&w->pubsub.subscriptions, pair_hash(w, t, s));
    for (; node; node = node_table_find_next(node)) {
        struct subscription *sub = container_of(node, struct subscription, node);
        if (sub->topic == t && sub->session == s) return sub;
    }
    return NULL;
}

static struct subscription *subscription_try_make(struct session *s, enum channel_kind kind,
                                                  struct bytes name)
{
    struct worker *w = session_worker(s);
    uint64_t hash;
    uint16_t shard = router_shard(&w->server->router, name, &hash);
    struct topic *t = topic_find(w, kind, name, hash);
    if (!t) t = topic_try_make(w, kind, name, hash, shard);
    if (!t) return NULL;
    struct subscription *sub = mem_alloc_zeroed(&w->net.mem, sizeof *sub);
    sub->topic = t;
    sub->session = s;
    dlist_push_back(&t->subscriptions, &sub->of_topic);
    dlist_push_back(&s->subscriber.subscriptions, &sub->of_session);
    node_table_insert(&w->pubsub.subscriptions, &sub->node, pair_hash(w, t, s));
    s->subscriber.counts[kind]++;
    s->subscriber.bytes += subscription_bytes(sub);
    return sub;
}

/* The connection no longer has it; it still gets what shards count it for. */
static void subscription_detach(struct subscription *sub)
{
    struct session *s = sub->session;
    dlist_remove(&sub->of_session);
    node_table_remove(&session_worker(s)->pubsub.subscriptions, &sub->node);
    s->subscriber.counts[sub->topic->ticket.kind]--;
    s->subscriber.bytes -= subscription_bytes(sub);
}

static void subscription_free(struct worker *w, struct subscription *sub)
{
    dlist_remove(&sub->of_topic);
    topic_drop_if_unused(w, sub->topic);
    mem_free(&w->net.mem, sub, sizeof *sub);
}

static bool concerns(const struct subscription *sub, uint16_t shard)
{
    return sub->topic->is_everywhere || sub->topic->shard == shard;
}

/* Whether the connection counts as a subscriber has changed, perhaps. */
static void subscriber_counted(struct session *s)
{
    struct subscriber *of = &s->subscriber;
    struct pubsub *ps = &session_worker(s)->pubsub;
    bool was = of->count > 0;
    of->count = of->counts[CHANNEL_PLAIN] + of->counts[CHANNEL_PATTERN] +
                of->counts[CHANNEL_SHARDED]; /* who tracks keys is no subscriber */
    if (was == (of->count > 0)) return;
    counter_set(&ps->clients, counter_read(&ps->clients) + (was ? UINT64_MAX : 1));
    session_choose_output_class(s);
}

/* ---- a change ---- */

static void change_free(struct pubsub_change *ch)
{
    struct mem *mem = &ch->worker->net.mem;
    gather_release_parts(&ch->gather);
    mem_free(mem, ch->gather.parts, ch->shard_count * sizeof *ch->gather.parts);
    mem_free(mem, ch->argv, ch->argv_count * sizeof *ch->argv);
    if (ch->subscriptions)
        mem_free(mem, ch->subscriptions, ch->count * sizeof(struct subscription *));
    if (ch->reply) chunk_free_chain(mem, ch->reply);
    ch->worker->net.errands--;
    mem_free(mem, ch, sizeof *ch);
}

static void change_answer(struct pubsub_change *ch)
{
    struct session *s = ch->session;
    if (!s) return;
    s->subscriber.change = NULL;
    if (s->exec) {
        exec_answer(s->exec, ch->reply);
        return;
    }
    s->is_waiting = false;
    conn_fill_slot_chain(&s->conn, ch->slot, ch->reply);
    ch->reply = NULL;
    ch->worker->should_resume = true;
}

static void leave_some(struct worker *w);

static void change_end_if_done(struct pubsub_change *ch)
{
    struct worker *w = ch->worker;
    bool was_background = ch->is_background;
    if (ch->missing > 0 || !ch->is_home) return;
    change_answer(ch);
    for (uint32_t i = 0; ch->header.is_leave && i < ch->count; i++)
        subscription_free(w, ch->subscriptions[i]);
    change_free(ch);
    if (!was_background) return;
    w->pubsub.is_leaving = false;
    leave_some(w);
}

static void change_is_home(struct gather *g)
{
    struct pubsub_change *ch = container_of(g, struct pubsub_change, gather);
    ch->is_home = true;
    change_end_if_done(ch);
}

static void change_acknowledged(struct pubsub_change *ch, uint16_t shard)
{
    uint64_t bit = UINT64_C(1) << (shard % 64);
    for (uint32_t i = 0; i < ch->count; i++) {
        struct subscription *sub = ch->subscriptions[i];
        if (!concerns(sub, shard)) continue;
        if (ch->header.is_leave)
            sub->joined[shard / 64] &= ~bit;
        else
            sub->joined[shard / 64] |= bit;
    }
    ch->missing--;
    change_end_if_done(ch);
}

/* All its requests in one turn. False: no credit. */
static bool change_try_send(struct pubsub_change *ch)
{
    struct netloop *nl = &ch->worker->net;
    if (!turn_reserve(nl, ch->shards, ch->shard_count)) return false;
    struct bytes *argv = ch->argv;
    for (uint16_t i = 0; i < ch->shard_count; i++) {
        turn_add_part(nl, ch->shards[i], &ch->gather, i,
                      &(struct turn_request){.command = &internal_family.commands[INTERNAL_ATTEND],
                                             .argv = argv,
                                             .argc = ch->argc[i],
                                             .command_id = ch->route_id,
                                             .resp = 2,
                                             .argv_is_stable = true});
        argv += ch->argc[i];
    }
    return true;
}

bool pubsub_resume(struct worker *w)
{
    bool any = false;
    while (!dlist_is_empty(&w->pubsub.stuck)) {
        struct pubsub_change *ch =
            container_of(w->pubsub.stuck.next, struct pubsub_change, stuck_link);
        if (!change_try_send(ch)) break;
        dlist_remove(&ch->stuck_link);
        any = true;
    }
    return any;
}

static void change_start(struct pubsub_change *ch)
{
    struct worker *w = ch->worker;
    /* One connection's changes reach a shard in their order. */
    if (dlist_is_empty(&w->pubsub.stuck) && change_try_send(ch)) return;
    dlist_push_back(&w->pubsub.stuck, &ch->stuck_link);
}

/* ---- the requests of a change ---- */

static size_t arguments_for(const struct pubsub_change *ch, uint16_t shard)
{
    size_t names = 0;
    for (uint32_t i = 0; i < ch->count; i++) names += concerns(ch->subscriptions[i], shard);
    return names ? 2 + 2 * names : 0;
}

static bool change_try_plan(struct pubsub_change *ch)
{
    struct mem *mem = &ch->worker->net.mem;
    for (uint16_t shard = 0; shard < ch->worker->server->router.shard_count; shard++) {
        size_t argc = arguments_for(ch, shard);
        if (argc == 0) continue;
        ch->argc[ch->shard_count] = (uint32_t)argc;
        ch->shards[ch->shard_count++] = shard;
        ch->argv_count += argc;
    }
    ch->argv = mem_try_alloc(mem, ch->argv_count * sizeof *ch->argv);
    ch->gather.parts = mem_alloc_zeroed(mem, ch->shard_count * sizeof *ch->gather.parts);
    if (!ch->argv) return false;
    struct bytes *argv = ch->argv;
    for (uint16_t i = 0; i < ch->shard_count; i++) {
        *argv++ = BYTES_LITERAL("attend");
        *argv++ = bytes_make(&ch->header, sizeof ch->header);
        for (uint32_t k = 0; k < ch->count; k++) {
            const struct topic *t = ch->subscriptions[k]->topic;
            if (!concerns(ch->subscriptions[k], ch->shards[i])) continue;
            *argv++ = topic_name(t);
            *argv++ = bytes_make(&t->ticket, sizeof t->ticket);
        }
    }
    return true;
}

/* Takes the array over. NULL, and it does not: no memory. */
static struct pubsub_change *change_try_make(struct worker *w, bool is_leave,
                                             struct subscription **subscriptions, uint32_t count)
{
    struct pubsub_change *ch = mem_alloc_zeroed(&w->net.mem, sizeof *ch);
    ch->worker = w;
    ch->subscriptions = subscriptions;
    ch->count = count;
    ch->route_id = w->pubsub.leave_route;
    ch->header = (struct attend){
        .token = (uint64_t)(uintptr_t)ch, .net_id = w->net.id, .is_leave = is_leave};
    dlist_init(&ch->stuck_link);
    w->net.errands++;
    if (!change_try_plan(ch)) {
        ch->subscriptions = NULL;
        change_free(ch);
        return NULL;
    }
    ch->missing = ch->shard_count;
    ch->gather.netloop = &w->net;
    ch->gather.on_complete = change_is_home;
    ch->gather.part_count = ch->gather.waiting = ch->shard_count;
    return ch;
}

/* What connections leave that found no memory for all of it at once, a few subscriptions after the
 * other. */
static void leave_some(struct worker *w)
{
    struct pubsub *ps = &w->pubsub;
    struct mem *mem = &w->net.mem;
    struct subscription *some[LEAVE_AT_ONCE];
    uint32_t count = 0;
    struct dlist *link;
    if (ps->is_leaving) return;
    while (count < LEAVE_AT_ONCE && (link = dlist_pop_front(&ps->leaving)))
        some[count++] = container_of(link, struct subscription, of_session);
    if (count == 0) return;
    struct subscription **list = mem_alloc(mem, count * sizeof(struct subscription *));
    memcpy(list, some, count * sizeof(struct subscription *));
    mem_insist(mem, true);
    struct pubsub_change *ch = change_try_make(w, true, list, count);
    mem_insist(mem, false);
    CHECK(ch);
    ch->is_background = ps->is_leaving = true;
    change_start(ch);
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
static void confirm_later(struct session *s, struct pubsub_change *ch, const struct request *rq,
                          struct reply *out, struct chunk *room)
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
    change_start(ch);
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
static struct pubsub_change *join(struct session *s, enum channel_kind kind,
                                  const struct request *rq, uint32_t *count, struct reply *out)
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
    struct pubsub_change *ch = change_try_make(w, false, made, *count);
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
    struct pubsub_change *ch = join(s, kind, rq, &count, out);
    bool is_nothing = count == 0 && !ch;
    if (!ch) chunk_free_chain(&w->net.mem, confirmations);
    if (!ch && !is_nothing) {
        netloop_reply_drop(&w->net, out);
        *out = netloop_reply(&w->net, s->resp);
        return ERR_ALLOC;
    }
    if (kind == CHANNEL_PREFIX) reply_ok(out);
    subscriber_counted(s);
    if (ch)
        confirm_later(s, ch, rq, out, confirmations);
    else
        confirm_now(s, out);
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
static struct pubsub_change *leave_try_make(struct session *s, enum channel_kind kind,
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
    struct pubsub_change *ch = change_try_make(w, true, gone, *count);
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
    struct pubsub_change *ch = leave_try_make(s, kind, rq, room, &count);
    if (!ch) chunk_free_chain(&w->net.mem, confirmations);
    if (!ch && count > 0) return ERR_ALLOC;
    if (is_all)
        leave_all(s, kind, out);
    else
        leave_names(s, kind, rq, out);
    if (kind == CHANNEL_PREFIX) reply_ok(out);
    subscriber_counted(s);
    if (ch)
        confirm_later(s, ch, rq, out, confirmations);
    else
        confirm_now(s, out);
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
static void forget_session(struct pubsub_change *ch)
{
    for (uint32_t i = 0; i < ch->count; i++) ch->subscriptions[i]->session = NULL;
}

/* NULL: it has none, or no memory for all of it at once, and then it goes by itself. */
static struct pubsub_change *leave_everything(struct session *s)
{
    struct worker *w = session_worker(s);
    uint32_t room = s->subscriber.count + s->subscriber.counts[CHANNEL_PREFIX], count;
    if (room == 0) return NULL;
    struct pubsub_change *ch = leave_try_make(s, CHANNEL_KINDS, NULL, room, &count);
    dlist_each_safe (link, &s->subscriber.subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_session);
        subscription_detach(sub);
        sub->session = NULL;
        if (!ch) dlist_push_back(&w->pubsub.leaving, &sub->of_session);
    }
    subscriber_counted(s);
    if (!ch) leave_some(w);
    return ch;
}

bool pubsub_reset(struct session *s, struct reply *out)
{
    struct pubsub_change *ch = leave_everything(s);
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
    struct pubsub_change *under_way = s->subscriber.change;
    struct pubsub_change *last = leave_everything(s);
    if (under_way) {
        under_way->session = NULL;
        s->subscriber.change = NULL;
        forget_session(under_way);
    }
    if (last) change_start(last);
}

/* ---- delivery ---- */

static const char *const message_words[] = {"message", "pmessage", "smessage"};

/* Everything of the frame but a long message and the line end behind it. */
static void frame_build(struct buf *frame, const struct topic *t, uint8_t resp,
                        struct bytes channel, struct bytes message)
{
    const char *word = message_words[t->ticket.kind];
    bool is_pattern = t->ticket.kind == CHANNEL_PATTERN;
    frame->size = 0;
    buf_printf(frame, "%c%d\r\n$%zu\r\n%s\r\n", resp == 2 ? '*' : '>', is_pattern ? 4 : 3,
               strlen(word), word);
    if (is_pattern) {
        buf_printf(frame, "$%zu\r\n", t->name_bytes);
        buf_append(frame, t->name, t->name_bytes);
        buf_append_text(frame, "\r\n");
    }
    buf_printf(frame, "$%zu\r\n", channel.size);
    buf_append(frame, channel.data, channel.size);
    buf_printf(frame, "\r\n$%zu\r\n", message.size);
    if (message.size > FRAME_INLINE_BYTES) return;
    buf_append(frame, message.data, message.size);
    buf_append_text(frame, "\r\n");
}

static uint64_t deliver_to_topic(struct worker *w, uint16_t shard, const struct topic *t,
                                 struct bytes channel, struct bytes message)
{
    struct buf *frames = w->pubsub.frames;
    bool is_built[2] = {false, false}, is_short = message.size <= FRAME_INLINE_BYTES;
    uint64_t deliveries = 0;
    dlist_each (link, &t->subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_topic);
        if (!sub->session || !(sub->joined[shard / 64] >> (shard % 64) & 1)) continue;
        unsigned form = sub->session->resp == 3;
        if (!is_built[form]) frame_build(&frames[form], t, sub->session->resp, channel, message);
        is_built[form] = true;
        struct bytes pieces[] = {buf_view(&frames[form]), message, BYTES_LITERAL("\r\n")};
        conn_push(&sub->session->conn, &sub->slot, pieces, is_short ? 1 : 3);
        deliveries++;
    }
    return deliveries;
}

/* What the connection is told of the topic's changes. False: no memory. */
static bool write_changes(struct topic *t, const struct session *s, struct buf *out)
{
    struct change_source self = {
        .net_id = s->conn.netloop->id, .index = s->conn.index, .generation = s->conn.generation};
    out->size = 0;
    return prefix_changes_write(&t->changes, s->tracking.is_noloop ? &self : NULL, out);
}

static uint64_t tell_topic(struct worker *w, struct topic *t)
{
    uint64_t deliveries = 0;
    struct buf *text = &w->pubsub.frames[0];
    bool is_built = false;
    dlist_each (link, &t->subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_topic);
        struct session *s = sub->session;
        if (!s) continue;
        bool is_own = s->tracking.is_noloop;
        /* Without memory to say which, all are told. */
        bool ok = (is_built && !is_own) || write_changes(t, s, text);
        is_built = ok && !is_own;
        if (!ok)
            tracking_tell_all(s);
        else if (text->size)
            tracking_tell_keys(s, buf_view(text));
        deliveries++;
    }
    prefix_changes_clear(&t->changes);
    return deliveries;
}

void pubsub_tell_changes(struct worker *w)
{
    while (unlikely(!dlist_is_empty(&w->pubsub.changed))) {
        struct topic *t = container_of(w->pubsub.changed.next, struct topic, changed_link);
        dlist_remove(&t->changed_link);
        (void)tell_topic(w, t);
    }
}

static uint64_t note_change(struct worker *w, struct topic *t, const struct feed_head *head,
                            struct bytes key)
{
    struct change_source by = {.net_id = head->source_net_id,
                               .index = head->source_index,
                               .generation = head->source_generation};
    if (t->changes.count == 0) dlist_push_back(&w->pubsub.changed, &t->changed_link);
    if (prefix_changes_add(&t->changes, &by, key)) return 1;
    /* What has collected gives its memory back; if that is not enough, all are told. */
    dlist_remove(&t->changed_link);
    uint64_t deliveries = tell_topic(w, t);
    if (prefix_changes_add(&t->changes, &by, key)) {
        dlist_push_back(&w->pubsub.changed, &t->changed_link);
        return deliveries;
    }
    dlist_each (link, &t->subscriptions) {
        struct subscription *sub = container_of(link, struct subscription, of_topic);
        if (sub->session) tracking_tell_all(sub->session);
    }
    return deliveries;
}

static uint64_t deliver(struct worker *w, uint16_t shard, const struct feed_head *head,
                        const char *body)
{
    const char *names = body + head->topic_count * sizeof(uint64_t);
    struct bytes channel = bytes_make(names, head->channel_bytes);
    struct bytes message = bytes_make(names + head->channel_bytes, head->message_bytes);
    uint64_t deliveries = 1;
    for (uint32_t i = 0; i < head->topic_count; i++) {
        uint64_t handle;
        memcpy(&handle, body + i * sizeof handle, sizeof handle);
        struct topic *t = (struct topic *)(uintptr_t)handle;
        if (t->ticket.kind == CHANNEL_PREFIX)
            deliveries += note_change(w, t, head, message);
        else
            deliveries += deliver_to_topic(w, shard, t, channel, message);
    }
    return deliveries;
}

static uint64_t read_item(struct worker *w, uint16_t shard_id, const struct feed_head *head,
                          const char *body)
{
    switch ((enum feed_item)head->item) {
    case FEED_ACK:
        pubsub_tell_changes(w); /* who leaves is told what came before */
        change_acknowledged((struct pubsub_change *)(uintptr_t)head->token, shard_id);
        return 0;
    case FEED_MESSAGE:
        return deliver(w, shard_id, head, body);
    case FEED_INVALIDATE:
        tracking_tell_reader(w, head, body);
        return 1;
    case FEED_FLUSH:
        tracking_tell_flush(w, head);
        return 1;
    }
    CHECK_NEVER("an item of a feed has a kind");
    return 0;
}

/* Messages of this shard's feed with a lower place may be delivered now: nothing earlier is under
 * way from any other shard. Pairs with place_take: a place that we have seen was taken before these
 * loads, so who is not announced here takes a later one. */
static uint64_t place_limit(const struct worker *w, uint16_t shard_id)
{
    uint64_t limit = UINT64_MAX;
    const struct server *srv = w->server;
    if (srv->router.shard_count == 1) return limit;
    atomic_thread_fence(memory_order_seq_cst);
    for (uint16_t i = 0; i < srv->router.shard_count; i++) {
        const struct channels *cs = &srv->shard_workers[i]->shard.channels;
        const struct shard_messages *m = &w->pubsub.messages[i];
        if (i == shard_id) continue;
        bool has_more = atomic_load(&cs->written[w->net.id].twice) != 2 * m->read;
        if (has_more) limit = MIN(limit, m->next);
    }
    return limit;
}

/* What must wait is given again in the next step. */
size_t pubsub_read_feed(struct thread *at, uint16_t shard_id, struct bytes data)
{
    struct worker *w = at->owner;
    struct shard_messages *m = &w->pubsub.messages[shard_id];
    size_t done = 0;
    uint64_t deliveries = 0;
    /* Parcels were pushed home before their news, so replies come first. */
    if (turn_take_home(&w->net)) w->should_resume = true;
    uint64_t limit = place_limit(w, shard_id);
    m->next = 0;
    while (done < data.size && deliveries < DELIVERIES_PER_SLICE) {
        struct feed_head head;
        memcpy(&head, data.data + done, sizeof head);
        if (head.place && head.place >= limit) {
            m->next = head.place;
            break;
        }
        deliveries += read_item(w, shard_id, &head, data.data + done + sizeof head);
        done += head.bytes;
        m->read += head.place != 0;
    }
    return done;
}
