/* pubsub.h: the net thread's side of publish/subscribe.
 *
 *     subscription.h          who on this thread subscribes to what
 *     subscription_change.h   until the shards know who comes and goes
 *     delivery.h              what the shards have to say
 *
 * A subscription gets a message if and only if the shard counted it when it ran PUBLISH: from its
 * acknowledgement of the joining to that of the leaving, in the order of the feed. What comes
 * before the confirmation has left waits behind it (conn_push). A connection has at most one such
 * change under way: the next command waits for it.
 *
 * Thread     [net]
 * Ownership  A subscription outlives its connection until the shards have let go of it.
 * Errors     ERR_ALLOC: nothing has changed.
 * Order      A confirmation stands at its command's place. No message of a channel precedes it,
 *            none follows that of the unsubscription.
 */
#pragma once

#include "base/counter.h"
#include "base/node_table.h"
#include "net/netloop.h"
#include "server/router.h"
#include "shard/channels.h"

struct session;
struct worker;
struct subscription_change;

/* What a net thread knows about the messages of one shard. */
struct shard_messages {
    uint64_t read; /* of those that have a place */
    uint64_t next; /* place of the first that is here and waits for others; 0: none is known */
};

/* Of a net thread. */
struct pubsub {
    struct node_table topics[CHANNEL_KINDS];
    struct node_table subscriptions; /* by topic and session */
    struct dlist stuck;              /* changes that wait for credit */
    struct shard_messages *messages; /* by shard */
    struct dlist changed;            /* topics of keys that have changed in this step */
    struct buf frames[2];            /* of the message that is delivered, as RESP2 and RESP3 */
    struct dlist leaving;            /* of closed connections that found no memory: leave_some */
    bool is_leaving;                 /* some of them are on their way */
    struct net_timer retry;          /* resumes publishers that wait */
    uint16_t leave_route;            /* for statistics of what closed connections cause */
    struct counter clients;          /* that subscribe to anything */
};

/* Of a connection. */
struct subscriber {
    struct dlist subscriptions; /* in the order in which they came */
    uint32_t counts[CHANNEL_KINDS], count;
    uint64_t bytes;                     /* of subscriptions, as if nobody else had them */
    struct subscription_change *change; /* under way; NULL */
};

void pubsub_init(struct worker *w);
void pubsub_deinit(struct worker *w);

/* In a handler: subscribes to names, or lets go of them; no names: of all of that kind. The
 * confirmation comes later: returns OK without a reply. */
MUST_USE enum err pubsub_subscribe(struct session *s, enum channel_kind kind, struct request *rq,
                                   struct reply *out);
MUST_USE enum err pubsub_unsubscribe(struct session *s, enum channel_kind kind, struct request *rq,
                                     struct reply *out);
/* Calls `fn` for what the connection subscribes to of that kind. */
void pubsub_each(struct session *s, enum channel_kind kind, channel_fn *fn, void *context);
/* Lets go of everything; then `out` is the reply. False: there is nothing, reply at once. */
MUST_USE bool pubsub_reset(struct session *s, struct reply *out);
/* The same for a connection that ends. */
void pubsub_on_close(struct session *s);

/* Whether the feeds of that shard are so full that publishers should stall; they are then resumed
 * after a while. */
MUST_USE bool pubsub_must_wait(struct worker *w, uint16_t shard);
