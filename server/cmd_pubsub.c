/* The commands by which a connection subscribes to channels and patterns. Publishing runs on
 * shards: shard/cmd/pubsub.c. */
#include "server/families.h"
#include "server/pubsub.h"

static enum err cmd_subscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_subscribe(s, CHANNEL_PLAIN, rq, out);
}

static enum err cmd_unsubscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_unsubscribe(s, CHANNEL_PLAIN, rq, out);
}

static enum err cmd_psubscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_subscribe(s, CHANNEL_PATTERN, rq, out);
}

static enum err cmd_punsubscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_unsubscribe(s, CHANNEL_PATTERN, rq, out);
}

static enum err cmd_ssubscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_subscribe(s, CHANNEL_SHARDED, rq, out);
}

static enum err cmd_sunsubscribe(struct session *s, struct request *rq, struct reply *out)
{
    return pubsub_unsubscribe(s, CHANNEL_SHARDED, rq, out);
}

/* clang-format off */
#define SUBSCRIBES (CMD_PUBSUB | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_DEFERS)
static const struct command commands[] = {
    {.name = "subscribe", .on_net = cmd_subscribe, .arity = -2, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "Subscribes to channels."},
    {.name = "unsubscribe", .on_net = cmd_unsubscribe, .arity = -1, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "Ends subscriptions to channels."},
    {.name = "psubscribe", .on_net = cmd_psubscribe, .arity = -2, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "pubsub", .complexity = "O(n) for n patterns", .summary = "Subscribes to all channels that match patterns."},
    {.name = "punsubscribe", .on_net = cmd_punsubscribe, .arity = -1, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "pubsub", .complexity = "O(n) for n patterns", .summary = "Ends subscriptions to patterns."},
    {.name = "ssubscribe", .on_net = cmd_ssubscribe, .arity = -2, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_ALL(KEY_NOT_KEY),
     .since = "7.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "Subscribes to sharded channels."},
    {.name = "sunsubscribe", .on_net = cmd_sunsubscribe, .arity = -1, .plan = PLAN_NET, .flags = SUBSCRIBES, .keys = KEYS_ALL(KEY_NOT_KEY),
     .since = "7.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "Ends subscriptions to sharded channels."},
};
/* clang-format on */
const struct command_family pubsub_family = {"pubsub", commands, ARRAY_LEN(commands)};
