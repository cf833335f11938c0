#include "shard/channels.h"

#include "base/text.h"
#include "shard/shard.h"

/* One net thread's share in a channel. */
struct channel_share {
    uint64_t topic;
    uint64_t count;   /* of subscriptions */
    const char *name; /* the net thread's copy, while there are any */
};

struct channel {
    struct table_node node;
    struct dlist link; /* of patterns */
    uint64_t count;    /* of all shares */
    bool has_home_here;
    struct bytes name;             /* of one of the shares: joining needs no memory for it */
    struct channel_share shares[]; /* by net id */
};

static size_t channel_size(uint16_t net_count)
{
    return sizeof(struct channel) + net_count * sizeof(struct channel_share);
}

/* ---- life ---- */

void channels_init(struct shard *sh, uint16_t net_count, feed_read_fn *read,
                   _Atomic uint64_t *places)
{
    struct channels *cs = &sh->channels;
    *cs = (struct channels){.net_count = net_count, .places = places, .matched = {.mem = &sh->mem}};
    if (places) cs->written = mem_alloc_zeroed(&sh->mem, net_count * sizeof *cs->written);
    for (unsigned i = 0; i < CHANNEL_KINDS; i++) node_table_init(&cs->names[i], &sh->mem);
    dlist_init(&cs->patterns);
    dlist_init(&cs->prefixes);
    if (net_count) cs->feeds = mem_alloc_zeroed(&sh->mem, net_count * sizeof *cs->feeds);
    for (uint16_t i = 0; i < net_count; i++) feed_init(&cs->feeds[i], &sh->mem, sh->id, read);
}

void channels_deinit(struct shard *sh)
{
    struct channels *cs = &sh->channels;
    for (unsigned i = 0; i < CHANNEL_KINDS; i++) {
        struct table_node *node;
        uint32_t bucket = 0;
        while ((node = node_table_first_from(&cs->names[i], &bucket))) {
            struct channel *c = container_of(node, struct channel, node);
            node_table_remove(&cs->names[i], node);
            mem_free(&sh->mem, c, channel_size(cs->net_count));
            bucket = 0; /* the table may have shrunk */
        }
        node_table_deinit(&cs->names[i]);
    }
    for (uint16_t i = 0; i < cs->net_count; i++) feed_deinit(&cs->feeds[i]);
    if (cs->feeds) mem_free(&sh->mem, cs->feeds, cs->net_count * sizeof *cs->feeds);
    if (cs->written) mem_free(&sh->mem, cs->written, cs->net_count * sizeof *cs->written);
    buf_clear(&cs->matched);
}

uint64_t channels_feed_bytes(const struct shard *sh)
{
    const struct channels *cs = &sh->channels;
    uint64_t sum = 0;
    for (uint16_t i = 0; i < cs->net_count; i++) sum += feed_memory_bytes(&cs->feeds[i]);
    return sum;
}

bool channels_are_settled(const struct shard *sh)
{
    for (uint16_t i = 0; i < sh->channels.net_count; i++)
        if (!feed_is_empty(&sh->channels.feeds[i])) return false;
    return true;
}

/* ---- names ---- */

bool channel_is_everywhere(struct bytes name)
{
    const size_t prefix_bytes = sizeof("__keyspace@") - 1; /* as long as "__keyevent@" */
    if (name.size < prefix_bytes) return false;
    return memcmp(name.data, "__keyspace@", prefix_bytes) == 0 ||
           memcmp(name.data, "__keyevent@", prefix_bytes) == 0;
}

static struct channel *channel_find(const struct shard *sh, enum channel_kind kind,
                                    struct bytes name, uint64_t hash)
{
    const struct channels *cs = &sh->channels;
    struct table_node *node = node_table_find(&cs->names[kind], hash);
    for (; node; node = node_table_find_next(node)) {
        struct channel *c = container_of(node, struct channel, node);
        if (bytes_equal(c->name, name)) return c;
    }
    return NULL;
}

static struct channel *channel_make(struct shard *sh, enum channel_kind kind, struct bytes name,
                                    uint64_t hash)
{
    struct channels *cs = &sh->channels;
    struct channel *c = mem_alloc_zeroed(&sh->mem, channel_size(cs->net_count));
    c->name = name;
    bool is_everywhere = kind == CHANNEL_PATTERN || kind == CHANNEL_PREFIX ||
                         (kind == CHANNEL_PLAIN && channel_is_everywhere(name));
    c->has_home_here = !is_everywhere || sh->id == 0;
    dlist_init(&c->link);
    if (kind == CHANNEL_PATTERN) dlist_push_back(&cs->patterns, &c->link);
    if (kind == CHANNEL_PREFIX) dlist_push_back(&cs->prefixes, &c->link);
    node_table_insert(&cs->names[kind], &c->node, hash);
    if (c->has_home_here) counter_add(&cs->counts[kind], 1);
    return c;
}

static void channel_drop(struct shard *sh, enum channel_kind kind, struct channel *c)
{
    struct channels *cs = &sh->channels;
    dlist_remove(&c->link);
    node_table_remove(&cs->names[kind], &c->node);
    if (c->has_home_here) counter_set(&cs->counts[kind], counter_read(&cs->counts[kind]) - 1);
    mem_free(&sh->mem, c, channel_size(cs->net_count));
}

/* ---- subscribers ---- */

void channels_join(struct shard *sh, uint16_t net_id, const struct attend_topic *topic,
                   struct bytes name)
{
    enum channel_kind kind = (enum channel_kind)topic->kind;
    uint64_t hash = bytes_hash(name, sh->keys.seed);
    struct channel *c = channel_find(sh, kind, name, hash);
    if (!c) c = channel_make(sh, kind, name, hash);
    CHECK(net_id < sh->channels.net_count);
    if (c->shares[net_id].count == 0) c->shares[net_id].name = name.data;
    c->shares[net_id].topic = topic->topic;
    c->shares[net_id].count++;
    c->count++;
}

/* The name may go with the share's last subscription. */
static void forget_name(const struct shard *sh, struct channel *c, uint16_t net_id)
{
    bool was_in_use = c->name.data == c->shares[net_id].name;
    c->shares[net_id].name = NULL;
    for (uint16_t i = 0; was_in_use && i < sh->channels.net_count; i++)
        if (c->shares[i].count > 0) c->name.data = c->shares[i].name;
}

void channels_leave(struct shard *sh, uint16_t net_id, const struct attend_topic *topic,
                    struct bytes name)
{
    enum channel_kind kind = (enum channel_kind)topic->kind;
    struct channel *c = channel_find(sh, kind, name, bytes_hash(name, sh->keys.seed));
    CHECK(c && c->shares[net_id].count > 0 && c->shares[net_id].topic == topic->topic);
    if (--c->shares[net_id].count == 0) forget_name(sh, c, net_id);
    if (--c->count == 0) channel_drop(sh, kind, c);
}

uint64_t channels_subscribers(const struct shard *sh, enum channel_kind kind, struct bytes name)
{
    const struct channel *c = channel_find(sh, kind, name, bytes_hash(name, sh->keys.seed));
    return c && c->has_home_here ? c->count : 0;
}

void channels_each(const struct shard *sh, enum channel_kind kind, channel_fn *fn, void *context)
{
    const struct channels *cs = &sh->channels;
    struct table_node *node;
    for (uint32_t bucket = 0; (node = node_table_first_from(&cs->names[kind], &bucket)); bucket++) {
        for (; node; node = node->next) {
            const struct channel *c = container_of(node, struct channel, node);
            if (c->has_home_here) fn(context, c->name);
        }
    }
}

/* ---- feeds ---- */

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

void channels_acknowledge(struct shard *sh, const struct attend *a)
{
    struct feed_head head = {.bytes = sizeof head, .token = a->token, .item = FEED_ACK};
    buf_append(&sh->channels.feeds[a->net_id].filling, &head, sizeof head);
    sh->channels.has_news = true;
}

void channels_flush(struct shard *sh, struct thread *thread)
{
    struct channels *cs = &sh->channels;
    if (likely(!cs->has_news)) return;
    uint64_t fullest = 0;
    for (uint16_t i = 0; i < cs->net_count; i++) {
        feed_flush(&cs->feeds[i], thread, thread->mesh->net_threads[i]->id);
        fullest = MAX(fullest, feed_waiting_bytes(&cs->feeds[i]));
    }
    counter_set(&cs->waiting_bytes, fullest);
    cs->has_news = fullest > 0;
}

/* ---- messages ---- */

/* The channel and the patterns that a message goes to. */
struct audience {
    struct channel **all;
    uint32_t count;
    uint64_t receivers;
    struct tracker source; /* of a change of a key */
    bool has_place;        /* a message of a channel */
};

static MUST_USE enum err audience_add(struct shard *sh, struct audience *who, struct channel *c)
{
    struct buf *list = &sh->channels.matched;
    if (!buf_try_reserve(list, sizeof c)) return ERR_ALLOC;
    buf_append(list, &c, sizeof c);
    who->all = (struct channel **)(void *)list->data;
    who->count++;
    who->receivers += c->count;
    return OK;
}

static MUST_USE enum err audience_find(struct shard *sh, enum channel_kind kind,
                                       struct bytes channel, struct audience *who)
{
    struct channels *cs = &sh->channels;
    *who = (struct audience){0};
    cs->matched.size = 0;
    struct channel *c = NULL;
    if (cs->names[kind].count > 0)
        c = channel_find(sh, kind, channel, bytes_hash(channel, sh->keys.seed));
    if (c && audience_add(sh, who, c) != OK) return ERR_ALLOC;
    if (kind != CHANNEL_PLAIN) return OK;
    dlist_each (link, &cs->patterns) {
        struct channel *pattern = container_of(link, struct channel, link);
        if (!text_glob_match(pattern->name, channel, false)) continue;
        if (audience_add(sh, who, pattern) != OK) return ERR_ALLOC;
    }
    return OK;
}

static uint32_t topics_on(const struct audience *who, uint16_t net_id)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < who->count; i++) n += who->all[i]->shares[net_id].count > 0;
    return n;
}

static size_t message_size(uint32_t topic_count, struct bytes channel, struct bytes message)
{
    return padded(sizeof(struct feed_head) + topic_count * sizeof(uint64_t) + channel.size +
                  message.size);
}

/* The writer's half of struct written: announce, then take a place, then write, then say so. */
static uint64_t place_take(struct channels *cs, const struct audience *who)
{
    if (!cs->places || !who->has_place) return 0;
    for (uint16_t i = 0; i < cs->net_count; i++) {
        _Atomic uint64_t *twice = &cs->written[i].twice;
        if (topics_on(who, i) > 0)
            atomic_store(twice, atomic_load_explicit(twice, memory_order_relaxed) + 1);
    }
    return atomic_fetch_add(cs->places, 1) + 1;
}

static void place_written(struct channels *cs, uint16_t net_id)
{
    _Atomic uint64_t *twice = &cs->written[net_id].twice;
    atomic_store_explicit(twice, atomic_load_explicit(twice, memory_order_relaxed) + 1,
                          memory_order_release);
}

static void message_append(struct feed *f, const struct audience *who, uint16_t net_id,
                           uint64_t place, struct bytes channel, struct bytes message)
{
    struct feed_head head = {.item = FEED_MESSAGE,
                             .place = place,
                             .topic_count = topics_on(who, net_id),
                             .channel_bytes = channel.size,
                             .message_bytes = message.size,
                             .source_index = who->source.conn_index,
                             .source_generation = who->source.conn_generation,
                             .source_net_id = who->source.net_id};
    head.bytes = message_size(head.topic_count, channel, message);
    size_t end = f->filling.size + head.bytes;
    buf_append(&f->filling, &head, sizeof head);
    for (uint32_t i = 0; i < who->count; i++) {
        const struct channel_share *share = &who->all[i]->shares[net_id];
        if (share->count > 0) buf_append(&f->filling, &share->topic, sizeof share->topic);
    }
    buf_append(&f->filling, channel.data, channel.size);
    buf_append(&f->filling, message.data, message.size);
    static const char padding[8];
    buf_append(&f->filling, padding, end - f->filling.size);
}

/* All or nothing. */
static MUST_USE enum err message_send(struct shard *sh, const struct audience *who,
                                      struct bytes channel, struct bytes message)
{
    struct channels *cs = &sh->channels;
    if (who->count == 0) return OK;
    for (uint16_t i = 0; i < cs->net_count; i++) {
        uint32_t topics = topics_on(who, i);
        if (topics == 0) continue;
        if (!buf_try_reserve(&cs->feeds[i].filling, message_size(topics, channel, message)))
            return ERR_ALLOC;
    }
    uint64_t place = place_take(cs, who);
    for (uint16_t i = 0; i < cs->net_count; i++) {
        if (topics_on(who, i) == 0) continue;
        message_append(&cs->feeds[i], who, i, place, channel, message);
        if (place) place_written(cs, i);
    }
    cs->has_news = true;
    return OK;
}

enum err channels_publish(struct shard *sh, enum channel_kind kind, struct bytes channel,
                          struct bytes message, uint64_t *receivers)
{
    struct audience who;
    *receivers = 0;
    if (audience_find(sh, kind, channel, &who) != OK) return ERR_ALLOC;
    who.has_place = true;
    if (message_send(sh, &who, channel, message) != OK) return ERR_ALLOC;
    *receivers = who.receivers;
    return OK;
}

/* ---- changes of keys ---- */

static void item_append(struct shard *sh, uint16_t net_id, const struct feed_head *head,
                        const uint64_t *reader, struct bytes key)
{
    struct buf *b = &sh->channels.feeds[net_id].filling;
    sh->channels.has_news = true;
    if (!buf_try_reserve(b, head->bytes)) {
        /* Too big a name: that all is to be forgotten says enough. */
        struct feed_head flush = {.bytes = sizeof flush, .item = FEED_FLUSH, .token = true};
        buf_append(b, &flush, sizeof flush);
        return;
    }
    size_t end = b->size + head->bytes;
    static const char padding[8];
    buf_append(b, head, sizeof *head);
    if (reader) buf_append(b, reader, sizeof *reader);
    buf_append(b, key.data, key.size);
    buf_append(b, padding, end - b->size);
}

void channels_invalidate(struct shard *sh, const struct tracker *reader,
                         const struct tracker *source, struct bytes key)
{
    uint64_t place = (uint64_t)reader->conn_index << 32 | reader->conn_generation;
    struct feed_head head = {.item = FEED_INVALIDATE,
                             .bytes = padded(sizeof head + sizeof place + key.size),
                             .topic_count = 1,
                             .message_bytes = key.size,
                             .source_index = source->conn_index,
                             .source_generation = source->conn_generation,
                             .source_net_id = source->net_id};
    item_append(sh, reader->net_id, &head, &place, key);
}

void channels_invalidate_prefixes(struct shard *sh, const struct tracker *source, struct bytes key)
{
    struct channels *cs = &sh->channels;
    struct audience who = {.source = *source};
    enum err e = OK;
    if (cs->names[CHANNEL_PREFIX].count == 0) return;
    cs->matched.size = 0;
    dlist_each (link, &cs->prefixes) {
        struct channel *c = container_of(link, struct channel, link);
        struct bytes prefix = c->name;
        if (key.size < prefix.size || !bytes_equal(prefix, bytes_make(key.data, prefix.size)))
            continue;
        if (e == OK) e = audience_add(sh, &who, c);
    }
    if (e == OK) e = message_send(sh, &who, BYTES_LITERAL(""), key);
    if (e != OK) channels_tell_flush(sh);
}

void channels_tell_flush(struct shard *sh)
{
    struct feed_head head = {.bytes = sizeof head, .item = FEED_FLUSH};
    for (uint16_t i = 0; i < sh->channels.net_count; i++)
        item_append(sh, i, &head, NULL, BYTES_LITERAL(""));
}
