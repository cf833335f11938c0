/* The pubsub commands that run on a shard: PUBLISH and SPUBLISH on the channel's, PUBSUB on all.
 * Subscribing is the connection's affair (server/pubsub.h), which tells shards by ATTEND. */
#include "base/text.h"
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"

static enum err publish(struct shard *sh, enum channel_kind kind, const struct request *rq,
                        struct reply *out)
{
    uint64_t receivers;
    enum err e = channels_publish(sh, kind, rq->argv[1], rq->argv[2], &receivers);
    if (e == OK) reply_i64(out, (int64_t)receivers);
    return e;
}

static enum err cmd_publish(struct shard *sh, struct request *rq, struct reply *out)
{
    return publish(sh, CHANNEL_PLAIN, rq, out);
}

static enum err cmd_spublish(struct shard *sh, struct request *rq, struct reply *out)
{
    return publish(sh, CHANNEL_SHARDED, rq, out);
}

/* ---- PUBSUB ---- */

struct name_list {
    const struct bytes *pattern; /* NULL: all */
    struct reply *out;           /* NULL: only count */
    uint64_t count, bytes;
};

static void list_name(void *context, struct bytes name)
{
    struct name_list *list = context;
    if (list->pattern && !text_glob_match(*list->pattern, name, false)) return;
    list->count++;
    list->bytes += REPLY_STRING_BYTES(name.size);
    if (list->out) reply_bulk(list->out, name);
}

static enum err list_channels(struct shard *sh, enum channel_kind kind, const struct request *rq,
                              struct reply *out)
{
    if (rq->argc > 3) {
        reply_error(
            out, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB HELP.",
            (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
        return OK;
    }
    struct name_list list = {.pattern = rq->argc == 3 ? &rq->argv[2] : NULL};
    channels_each(sh, kind, list_name, &list);
    if (!reply_try_reserve(out, REPLY_STRING_BYTES(list.bytes))) return ERR_ALLOC;
    reply_array(out, list.count);
    list.out = out;
    channels_each(sh, kind, list_name, &list);
    return OK;
}

static enum err cmd_pubsub_channels(struct shard *sh, struct request *rq, struct reply *out)
{
    return list_channels(sh, CHANNEL_PLAIN, rq, out);
}

static enum err cmd_pubsub_shardchannels(struct shard *sh, struct request *rq, struct reply *out)
{
    return list_channels(sh, CHANNEL_SHARDED, rq, out);
}

static enum err count_subscribers(struct shard *sh, enum channel_kind kind,
                                  const struct request *rq, struct reply *out)
{
    uint64_t bytes = 0;
    for (uint32_t i = 2; i < rq->argc; i++) bytes += 2 * REPLY_STRING_BYTES(rq->argv[i].size);
    if (!reply_try_reserve(out, REPLY_STRING_BYTES(bytes))) return ERR_ALLOC;
    reply_array(out, 2 * (rq->argc - 2));
    for (uint32_t i = 2; i < rq->argc; i++) {
        reply_bulk(out, rq->argv[i]);
        reply_i64(out, (int64_t)channels_subscribers(sh, kind, rq->argv[i]));
    }
    return OK;
}

static enum err cmd_pubsub_numsub(struct shard *sh, struct request *rq, struct reply *out)
{
    return count_subscribers(sh, CHANNEL_PLAIN, rq, out);
}

static enum err cmd_pubsub_shardnumsub(struct shard *sh, struct request *rq, struct reply *out)
{
    return count_subscribers(sh, CHANNEL_SHARDED, rq, out);
}

/* Every shard knows every pattern. */
static enum err cmd_pubsub_numpat(struct shard *sh, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, sh->channels.names[CHANNEL_PATTERN].count);
    return OK;
}

/* clang-format off */
static const char *const pubsub_help[] = {
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    The channels that somebody subscribes to, or those of them that match.",
    "NUMPAT",
    "    How many patterns somebody subscribes to.",
    "NUMSUB [<channel> ...]",
    "    How many clients subscribe to each channel by its name.",
    "SHARDCHANNELS [<pattern>]",
    "    As CHANNELS, for sharded channels.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    As NUMSUB, for sharded channels.",
    "HELP",
    "    Print this text.",
    NULL,
};
/* clang-format on */

/* clang-format off */
#define OF_CHANNELS (CMD_PUBSUB | CMD_LOADING | CMD_STALE)
static const struct command pubsub_subcommands[] = {
    {.name = "channels", .on_shard = cmd_pubsub_channels, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_CONCAT, .flags = OF_CHANNELS, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "The channels that have subscribers."},
    {.name = "numpat", .on_shard = cmd_pubsub_numpat, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = OF_CHANNELS, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "pubsub", .complexity = "O(1)", .summary = "How many different patterns have subscribers."},
    {.name = "numsub", .on_shard = cmd_pubsub_numsub, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_COUNTS, .flags = OF_CHANNELS, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "How many clients subscribe to each of the channels."},
    {.name = "shardchannels", .on_shard = cmd_pubsub_shardchannels, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_CONCAT, .flags = OF_CHANNELS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "The sharded channels that have subscribers."},
    {.name = "shardnumsub", .on_shard = cmd_pubsub_shardnumsub, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_COUNTS, .flags = OF_CHANNELS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "pubsub", .complexity = "O(n) for n channels", .summary = "How many clients subscribe to each of the sharded channels."},
    {.name = "help", .on_shard = command_help_on_shard, .help = pubsub_help, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "pubsub", .complexity = "O(1)", .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "publish", .on_shard = cmd_publish, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = OF_CHANNELS | CMD_FAST | CMD_MAY_REPLICATE, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "pubsub", .complexity = "O(n + m) for n receivers and m patterns", .summary = "Sends a message to the subscribers of a channel."},
    {.name = "spublish", .on_shard = cmd_spublish, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = OF_CHANNELS | CMD_FAST | CMD_MAY_REPLICATE, .keys = KEYS_FIRST(KEY_NOT_KEY),
     .since = "7.0.0", .group = "pubsub", .complexity = "O(n) for n receivers", .summary = "Sends a message to the subscribers of a sharded channel."},
    {.name = "pubsub", .arity = -2, .plan = PLAN_ONE_SHARD, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "pubsub", .complexity = "That of the subcommand", .summary = "Commands about channels and their subscribers.", .subcommands = pubsub_subcommands},
};
/* clang-format on */
const struct command_family publish_family = {"publish", commands, ARRAY_LEN(commands)};
