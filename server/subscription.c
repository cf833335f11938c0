#include "server/subscription.h"

#include "server/server.h"

/* ---- topics ---- */

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

/* ---- subscriptions ---- */

static size_t subscription_bytes(const struct subscription *sub)
{
    return sizeof *sub + sizeof *sub->topic + sub->topic->name_bytes;
}

static uint64_t pair_hash(const struct worker *w, const struct topic *t, const struct session *s)
{
    const void *pair[2] = {t, s};
    return bytes_hash(bytes_make(pair, sizeof pair), w->server->hash_seed);
}

struct subscription *subscription_find(struct session *s, enum channel_kind kind, struct bytes name)
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

struct subscription *subscription_try_make(struct session *s, enum channel_kind kind,
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

void subscription_detach(struct subscription *sub)
{
    struct session *s = sub->session;
    dlist_remove(&sub->of_session);
    node_table_remove(&session_worker(s)->pubsub.subscriptions, &sub->node);
    s->subscriber.counts[sub->topic->ticket.kind]--;
    s->subscriber.bytes -= subscription_bytes(sub);
}

void subscription_free(struct worker *w, struct subscription *sub)
{
    dlist_remove(&sub->of_topic);
    topic_drop_if_unused(w, sub->topic);
    mem_free(&w->net.mem, sub, sizeof *sub);
}

void subscriber_recount(struct session *s)
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
