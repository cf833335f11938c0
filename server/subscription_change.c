#include "server/subscription_change.h"

#include "server/exec.h"
#include "server/server.h"
#include "shard/cmd/families.h"

#define LEAVE_AT_ONCE 16 /* subscriptions: their requests are small */

static void change_free(struct subscription_change *ch)
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

static void change_answer(struct subscription_change *ch)
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

static void change_end_if_done(struct subscription_change *ch)
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
    subscription_leave_some(w);
}

static void change_is_home(struct gather *g)
{
    struct subscription_change *ch = container_of(g, struct subscription_change, gather);
    ch->is_home = true;
    change_end_if_done(ch);
}

void subscription_change_acknowledged(struct subscription_change *ch, uint16_t shard)
{
    uint64_t bit = UINT64_C(1) << (shard % 64);
    for (uint32_t i = 0; i < ch->count; i++) {
        struct subscription *sub = ch->subscriptions[i];
        if (!subscription_concerns(sub, shard)) continue;
        if (ch->header.is_leave)
            sub->joined[shard / 64] &= ~bit;
        else
            sub->joined[shard / 64] |= bit;
    }
    ch->missing--;
    change_end_if_done(ch);
}

/* ---- sending ---- */

/* All its requests in one turn. False: no credit. */
static bool change_try_send(struct subscription_change *ch)
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

bool subscription_change_resume(struct worker *w)
{
    bool any = false;
    while (!dlist_is_empty(&w->pubsub.stuck)) {
        struct subscription_change *ch =
            container_of(w->pubsub.stuck.next, struct subscription_change, stuck_link);
        if (!change_try_send(ch)) break;
        dlist_remove(&ch->stuck_link);
        any = true;
    }
    return any;
}

void subscription_change_start(struct subscription_change *ch)
{
    struct worker *w = ch->worker;
    /* One connection's changes reach a shard in their order. */
    if (dlist_is_empty(&w->pubsub.stuck) && change_try_send(ch)) return;
    dlist_push_back(&w->pubsub.stuck, &ch->stuck_link);
}

/* ---- the requests of a change ---- */

static size_t arguments_for(const struct subscription_change *ch, uint16_t shard)
{
    size_t names = 0;
    for (uint32_t i = 0; i < ch->count; i++)
        names += subscription_concerns(ch->subscriptions[i], shard);
    return names ? 2 + 2 * names : 0;
}

static bool change_try_plan(struct subscription_change *ch)
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
            if (!subscription_concerns(ch->subscriptions[k], ch->shards[i])) continue;
            *argv++ = topic_name(t);
            *argv++ = bytes_make(&t->ticket, sizeof t->ticket);
        }
    }
    return true;
}

struct subscription_change *subscription_change_try_make(struct worker *w, bool is_leave,
                                                         struct subscription **subscriptions,
                                                         uint32_t count)
{
    struct subscription_change *ch = mem_alloc_zeroed(&w->net.mem, sizeof *ch);
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

void subscription_leave_some(struct worker *w)
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
    struct subscription_change *ch = subscription_change_try_make(w, true, list, count);
    mem_insist(mem, false);
    CHECK(ch);
    ch->is_background = ps->is_leaving = true;
    subscription_change_start(ch);
}
