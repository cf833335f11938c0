/* subscription_change.h: subscriptions that come or go, until every shard knows that they concern.
 *
 *     change ─▶ ATTEND to each shard, all in one turn ─▶ home
 *     feed of each shard: acknowledged ─▶ … the last one: the confirmation takes its place
 *
 * For pubsub.c, delivery.c, and the loop in worker.c.
 *
 * Thread     [net]
 * Ownership  A change has its subscriptions' array and its requests; it frees itself, and the
 *            subscriptions that go, when all shards have answered.
 * Order      The changes of one connection reach a shard in their order.
 */
#pragma once

#include "net/turn.h"
#include "server/subscription.h"

/* Subscriptions that come or go, until all shards know. */
struct subscription_change {
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
    bool is_background; /* subscription_leave_some */
    uint32_t count;
    struct subscription **subscriptions;
    uint16_t shards[ROUTER_SHARDS_MAX];
    uint32_t argc[ROUTER_SHARDS_MAX]; /* by index in `shards` */
    struct bytes *argv;               /* of all requests, one after the other */
    size_t argv_count;
};

/* Takes the array over. NULL, and it does not: no memory. */
MUST_USE struct subscription_change *
subscription_change_try_make(struct worker *w, bool is_leave, struct subscription **subscriptions,
                             uint32_t count);
/* Sends its requests, now or when there is credit. */
void subscription_change_start(struct subscription_change *ch);
/* Goes on with those that waited for credit; true if one could. */
bool subscription_change_resume(struct worker *w);
/* By that shard, in its feed. */
void subscription_change_acknowledged(struct subscription_change *ch, uint16_t shard);
/* What closed connections leave that found no memory for all of it at once (pubsub.leaving), a few
 * subscriptions after the other. */
void subscription_leave_some(struct worker *w);
