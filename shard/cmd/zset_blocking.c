/* zset_blocking.c: the commands that wait for an element of a sorted set. */
#include "shard/cmd/families.h"
#include "shard/cmd/zset_args.h"

static bool has_elements(struct shard *sh, UNUSED const struct request *rq, const struct key *k,
                         UNUSED uint32_t index)
{
    const struct entry *e = keyspace_peek(sh, k);
    return e && entry_type(e) == TYPE_ZSET;
}

static const struct wait_rule pop_rule = {.is_ready = has_elements};

static enum err blocking_pop(struct shard *sh, struct request *rq, struct reply *out, bool from_max)
{
    int64_t timeout_ms;
    enum err e = arg_timeout(rq->argv[rq->argc - 1], &timeout_ms);
    if (e != OK) return e;
    struct wait_keys keys = {&pop_rule, 1, rq->argc - 2};
    uint32_t index;
    e = wait_or_serve(sh, rq, &keys, out, &index);
    if (index == 0) return e;
    struct zset_target t;
    e = zset_target_find(sh, rq, index, &t);
    if (e != OK) return e;
    reply_array(out, 3);
    reply_bulk(out, t.key.name);
    return zset_reply_pop(sh, &t, from_max, out);
}

static enum err cmd_bzpopmin(struct shard *sh, struct request *rq, struct reply *out)
{
    return blocking_pop(sh, rq, out, false);
}

static enum err cmd_bzpopmax(struct shard *sh, struct request *rq, struct reply *out)
{
    return blocking_pop(sh, rq, out, true);
}

static enum err cmd_bzmpop(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t timeout_ms;
    struct zmpop_options o;
    if (!args_zmpop_or_reply(rq, 2, out, &o)) return OK;
    enum err e = arg_timeout(rq->argv[1], &timeout_ms);
    if (e != OK) return e;
    struct wait_keys keys = {&pop_rule, 3, (uint32_t)o.key_count};
    uint32_t index;
    e = wait_or_serve(sh, rq, &keys, out, &index);
    return index ? zset_reply_mpop(sh, rq, index, &o, out) : e;
}

/* clang-format off */
#define ZSET_ROW(row_name, handler, args, row_flags) \
    .name = (row_name), .on_shard = (handler), .arity = (args), .flags = (row_flags), .plan = PLAN_LOCKED, .acl = ACL_SORTEDSET, .group = "sorted-set"
#define KEYS_POP {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = -2, .step = 1}}
static const struct command commands[] = {
    {ZSET_ROW("bzpopmin", cmd_bzpopmin, -3, CMD_WRITE | CMD_NO_SCRIPT | CMD_BLOCKING | CMD_FAST), .keys = KEYS_POP, .timeout = -1,
     .since = "5.0.0", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Takes the lowest element of the first sorted set that has one; waits if none has."},
    {ZSET_ROW("bzpopmax", cmd_bzpopmax, -3, CMD_WRITE | CMD_NO_SCRIPT | CMD_BLOCKING | CMD_FAST), .keys = KEYS_POP, .timeout = -1,
     .since = "5.0.0", .complexity = "O(log N) for a sorted set of N elements",
     .summary = "Takes the highest element of the first sorted set that has one; waits if none has."},
    {ZSET_ROW("bzmpop", cmd_bzmpop, -5, CMD_WRITE | CMD_BLOCKING | CMD_MOVABLE_KEYS), .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 2, .first = 1, .step = 1}}, .timeout = 1,
     .since = "7.0.0", .complexity = "O(K + M log N) for K keys and M of N elements",
     .summary = "Takes elements of the first sorted set that has some; waits if none has."},
};
/* clang-format on */
const struct command_family zset_blocking_family = {"zset_blocking", commands, ARRAY_LEN(commands)};
