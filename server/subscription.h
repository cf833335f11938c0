/* subscription.h: who on a net thread subscribes to what: topics, and the subscriptions to them.
 *
 *     topic ─▶ [subscription] [subscription] …     a channel, a pattern, a prefix
 *                    │              │
 *                 session        session ─▶ all that it subscribes to
 *
 * For pubsub.c and what belongs to it.
 *
 * Thread     [net]
 * Ownership  A topic goes with its last subscription. A subscription outlives its connection until
 *            the shards have let go of it.
 * Errors     What has `try` in its name changes nothing without memory.
 */
#pragma once

#include "server/prefix_changes.h"
#include "server/session.h"
#include "server/worker.h"

#define SHARD_WORDS (ROUTER_SHARDS_MAX / 64)

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

static inline struct bytes topic_name(const struct topic *t)
{
    return bytes_make(t->name, t->name_bytes);
}

/* NULL: the connection has none to that name. */
struct subscription *subscription_find(struct session *s, enum channel_kind kind,
                                       struct bytes name);
/* NULL: no memory. */
struct subscription *subscription_try_make(struct session *s, enum channel_kind kind,
                                           struct bytes name);
/* The connection no longer has it; it still gets what shards count it for. */
void subscription_detach(struct subscription *sub);
void subscription_free(struct worker *w, struct subscription *sub);
/* Whether that shard has to know of it. */
static inline bool subscription_concerns(const struct subscription *sub, uint16_t shard)
{
    return sub->topic->is_everywhere || sub->topic->shard == shard;
}
/* Whether the connection counts as a subscriber has changed, perhaps. */
void subscriber_recount(struct session *s);
