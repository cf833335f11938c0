#include "server/delivery.h"

#include "server/server.h"
#include "server/subscription_change.h"

#define DELIVERIES_PER_SLICE 4096
#define FRAME_INLINE_BYTES 4096 /* longer messages are not copied into the frame */

/* ---- messages ---- */

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

/* ---- prefixes ---- */

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

void delivery_tell_changes(struct worker *w)
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

/* ---- the feed ---- */

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
        delivery_tell_changes(w); /* who leaves is told what came before */
        subscription_change_acknowledged((struct subscription_change *)(uintptr_t)head->token,
                                         shard_id);
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

size_t delivery_read_feed(struct thread *at, uint16_t shard_id, struct bytes data)
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
