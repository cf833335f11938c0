/* list_blocking.c: the commands that wait for an element of a list. */
#include "shard/cmd/families.h"
#include "shard/cmd/list.h"

static bool has_elements(struct shard *sh, UNUSED const struct request *rq, const struct key *k,
                         UNUSED uint32_t index)
{
    const struct entry *e = keyspace_peek(sh, k);
    return e && entry_type(e) == TYPE_LIST;
}

static const struct wait_rule pop_rule = {.is_ready = has_elements};
static const struct wait_rule move_rule = {.is_ready = has_elements, .target = 2};

/* ---- BLPOP, BRPOP ---- */

static enum err blocking_pop(struct shard *sh, struct request *rq, struct reply *out,
                             enum list_end end)
{
    int64_t timeout_ms;
    enum err err = arg_timeout(rq->argv[rq->argc - 1], &timeout_ms);
    if (err != OK) return err;
    struct wait_keys keys = {&pop_rule, 1, rq->argc - 2};
    uint32_t index;
    err = wait_or_serve(sh, rq, &keys, out, &index);
    if (index == 0) return err;
    struct key k = request_key(sh, rq, index);
    struct entry *e;
    err = keyspace_peek_typed(sh, &k, TYPE_LIST, &e);
    if (err != OK) return err;
    keyspace_touch(sh, e);
    reply_array(out, 2);
    reply_bulk(out, k.name);
    err = list_reply_pop(sh, &k, e, end, out);
    if (err != OK) return err;
    journal_describe(sh, &k, list_pop_name(end), NULL, 0);
    return OK;
}

static enum err cmd_blpop(struct shard *sh, struct request *rq, struct reply *out)
{
    return blocking_pop(sh, rq, out, LIST_HEAD);
}

static enum err cmd_brpop(struct shard *sh, struct request *rq, struct reply *out)
{
    return blocking_pop(sh, rq, out, LIST_TAIL);
}

/* ---- BLMPOP ---- */

static enum err cmd_blmpop(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t timeout_ms;
    struct lmpop_options o;
    if (!args_lmpop_or_reply(rq, 2, out, &o)) return OK;
    enum err err = arg_timeout(rq->argv[1], &timeout_ms);
    if (err != OK) return err;
    struct wait_keys keys = {&pop_rule, 3, o.key_count};
    uint32_t index;
    err = wait_or_serve(sh, rq, &keys, out, &index);
    if (index == 0) return err;
    struct key k = request_key(sh, rq, index);
    return list_reply_mpop(sh, &k, &o, out);
}

/* ---- BLMOVE, BRPOPLPUSH ---- */

static enum err blocking_move(struct shard *sh, struct request *rq, struct reply *out,
                              const struct list_move *m)
{
    struct wait_keys keys = {&move_rule, 1, 1};
    uint32_t index;
    enum err err = wait_or_serve(sh, rq, &keys, out, &index);
    return index ? list_move(sh, m, out) : err;
}

static enum err cmd_blmove(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t timeout_ms;
    struct list_move m = {.from = request_key(sh, rq, 1), .to = request_key(sh, rq, 2)};
    enum err err = arg_list_end(rq, 3, &m.from_end);
    if (err == OK) err = arg_list_end(rq, 4, &m.to_end);
    if (err == OK) err = arg_timeout(rq->argv[5], &timeout_ms);
    return err == OK ? blocking_move(sh, rq, out, &m) : err;
}

static enum err cmd_brpoplpush(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t timeout_ms;
    struct list_move m = {request_key(sh, rq, 1), request_key(sh, rq, 2), LIST_TAIL, LIST_HEAD};
    enum err err = arg_timeout(rq->argv[3], &timeout_ms);
    return err == OK ? blocking_move(sh, rq, out, &m) : err;
}

/* clang-format off */
#define LIST_ROW(row_name, handler, args, row_flags) \
    .name = (row_name), .on_shard = (handler), .arity = (args), .flags = (row_flags), .plan = PLAN_LOCKED, .acl = ACL_LIST, .group = "list"
#define KEYS_POP {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = -2, .step = 1}}
#define KEYS_MOVE {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_RW | KEY_INSERT, .begin = 2, .last = 0, .step = 1}}
static const struct command commands[] = {
    {LIST_ROW("blpop", cmd_blpop, -3, CMD_WRITE | CMD_NO_SCRIPT | CMD_BLOCKING), .keys = KEYS_POP, .timeout = -1,
     .since = "2.0.0", .complexity = "O(K), K being the keys that are named", .summary = "Takes the first value of the first list that has one; waits if none has"},
    {LIST_ROW("brpop", cmd_brpop, -3, CMD_WRITE | CMD_NO_SCRIPT | CMD_BLOCKING), .keys = KEYS_POP, .timeout = -1,
     .since = "2.0.0", .complexity = "O(K), K being the keys that are named", .summary = "Takes the last value of the first list that has one; waits if none has"},
    {LIST_ROW("blmove", cmd_blmove, 6, CMD_WRITE | CMD_DENY_OOM | CMD_NO_SCRIPT | CMD_BLOCKING), .keys = KEYS_MOVE, .timeout = -1,
     .since = "6.2.0", .complexity = "O(1)", .summary = "Moves a value from an end of one list to an end of another; waits if there is none"},
    {LIST_ROW("brpoplpush", cmd_brpoplpush, 4, CMD_WRITE | CMD_DENY_OOM | CMD_NO_SCRIPT | CMD_BLOCKING), .keys = KEYS_MOVE, .timeout = -1,
     .since = "2.2.0", .deprecated_since = "6.2.0", .replaced_by = "`BLMOVE` with the `RIGHT` and `LEFT` arguments", .complexity = "O(1)", .summary = "Moves the last value of one list in front of another; waits if there is none"},
    {LIST_ROW("blmpop", cmd_blmpop, -5, CMD_WRITE | CMD_BLOCKING | CMD_MOVABLE_KEYS), .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 2, .first = 1, .step = 1}}, .timeout = 1,
     .since = "7.0.0", .complexity = "O(K+N), K being the keys that are named, N the values that are taken", .summary = "Takes values from an end of the first list that has some; waits if none has"},
};
/* clang-format on */
const struct command_family list_blocking_family = {"list_blocking", commands, ARRAY_LEN(commands)};
