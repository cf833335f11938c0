/* The requests of lock and commit turns: what coordinators send to shards, and no client can.
 *
 *     LOCK key mode key mode …   replies an array: the token, then one report per key
 *     THAW key deadline frozen   puts a value that was frozen on another shard; replies +OK
 *     DEPART key mode            removes a key; replies its value as LOCK does
 *     UNLOCK token               ends the holding; replies +OK
 *     HOLD                       holds the whole keyspace of the shard; replies as LOCK
 *     REPORT key                 replies its value as LOCK does in mode "d"
 *     SORT_KEYS key …            the arguments of a SORT: which keys its patterns lead to
 *     EVENTS key db …            replies what has happened here to these guests
 *     EMIT events                publishes that, of the keys that live here; replies +OK
 *     ATTEND header name topic … somebody subscribes to these channels, or no longer does: the
 * header is a struct attend; replies +OK, and acknowledges in the feed
 *
 * Mode "d" reports the value and its deadline (array of two, or null if there is none), "-"
 * nothing (null). In LOCK two bytes follow: the database that it looks at. Numbers travel as the
 * bytes that they are.
 */
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/object.h"
#include "shard/shard.h"

static void reply_u64_bytes(struct reply *out, uint64_t value)
{
    reply_bulk(out, bytes_make(&value, sizeof value));
}

static uint64_t arg_u64_bytes(const struct request *rq, uint32_t index)
{
    uint64_t value;
    CHECK(rq->argv[index].size == sizeof value);
    memcpy(&value, rq->argv[index].data, sizeof value);
    return value;
}

static void report_value(struct shard *sh, const struct entry *e, struct reply *out)
{
    struct buf frozen = {.mem = &sh->mem};
    struct rdb_writer writer = {.out = &frozen};
    if (!e || !object_try_freeze(e, &writer)) {
        if (e)
            reply_err(out, ERR_ALLOC);
        else
            reply_null(out);
        buf_clear(&frozen);
        return;
    }
    reply_array(out, 2);
    reply_u64_bytes(out, (uint64_t)entry_deadline_ms(e));
    reply_bulk(out, buf_view(&frozen));
    buf_clear(&frozen);
}

static enum err cmd_lock(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t token = locks_take(sh, rq);
    reply_array(out, 1 + (rq->argc - 1) / 2);
    reply_u64_bytes(out, token);
    for (uint32_t i = 1; i + 1 < rq->argc; i += 2) {
        struct key k = request_key(sh, rq, i);
        CHECK(rq->argv[i + 1].size == LOCK_MODE_BYTES);
        uint16_t db;
        memcpy(&db, rq->argv[i + 1].data + 1, sizeof db);
        k.db = db;
        char mode = rq->argv[i + 1].data[0];
        if (mode == 'd')
            report_value(sh, keyspace_peek(sh, &k), out);
        else
            reply_null(out);
    }
    return OK;
}

static enum err cmd_thaw(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e = object_try_thaw(&sh->mem, rq->argv[3], k.name, (int64_t)arg_u64_bytes(rq, 2));
    if (!e) return ERR_ALLOC;
    /* What it replaces has expired on its own shard only, if at all. */
    UNUSED const struct entry *old = keyspace_peek(sh, &k);
    sh->is_quiet = true;
    keyspace_put_entry(sh, &k, e);
    sh->is_quiet = false;
    reply_ok(out);
    return OK;
}

static enum err cmd_depart(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    if (rq->argv[2].data[0] == 'd')
        report_value(sh, keyspace_peek(sh, &k), out);
    else
        reply_null(out);
    keyspace_delete(sh, &k);
    return OK;
}

static enum err cmd_unlock(struct shard *sh, struct request *rq, struct reply *out)
{
    locks_release(sh, arg_u64_bytes(rq, 1));
    reply_ok(out);
    return OK;
}

static enum err cmd_hold(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t token = locks_take(sh, rq);
    reply_array(out, 1);
    reply_u64_bytes(out, token);
    return OK;
}

static enum err cmd_report(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    report_value(sh, keyspace_peek(sh, &k), out);
    return OK;
}

/* Without memory for them the events are lost. */
static enum err cmd_events(struct shard *sh, struct request *rq, struct reply *out)
{
    struct buf taken = {.mem = &sh->mem};
    for (uint32_t i = 1; i + 1 < rq->argc; i += 2) {
        struct key k = request_key(sh, rq, i);
        uint16_t db;
        CHECK(rq->argv[i + 1].size == sizeof db);
        memcpy(&db, rq->argv[i + 1].data, sizeof db);
        k.db = db;
        UNUSED enum err e = notify_take_guest(sh, &k, &taken);
    }
    bool fits = reply_try_reserve(out, REPLY_STRING_BYTES(taken.size)) != NULL;
    reply_bulk(out, fits ? buf_view(&taken) : BYTES_LITERAL(""));
    buf_clear(&taken);
    return OK;
}

static enum err cmd_emit(struct shard *sh, struct request *rq, struct reply *out)
{
    notify_publish_taken(sh, rq->argv[1]);
    reply_ok(out);
    return OK;
}

static enum err cmd_attend(struct shard *sh, struct request *rq, struct reply *out)
{
    struct attend a;
    CHECK(rq->argv[1].size == sizeof a);
    memcpy(&a, rq->argv[1].data, sizeof a);
    for (uint32_t i = 2; i + 1 < rq->argc; i += 2) {
        struct attend_topic topic;
        CHECK(rq->argv[i + 1].size == sizeof topic);
        memcpy(&topic, rq->argv[i + 1].data, sizeof topic);
        if (a.is_leave)
            channels_leave(sh, a.net_id, &topic, rq->argv[i]);
        else
            channels_join(sh, a.net_id, &topic, rq->argv[i]);
    }
    channels_acknowledge(sh, &a);
    reply_ok(out);
    return OK;
}

/* clang-format off */
static const struct command commands[] = {
    {.name = "lock", .on_shard = cmd_lock, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = {{.flags = KEY_RW, .begin = 1, .last = -1, .step = 2}}, .group = "internal", .summary = "Holds keys for a commit turn."},
    {.name = "thaw", .on_shard = cmd_thaw, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = KEYS_FIRST(KEY_OW), .group = "internal", .summary = "Puts a value that came from another shard."},
    {.name = "depart", .on_shard = cmd_depart, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = KEYS_FIRST(KEY_RM), .group = "internal", .summary = "Takes a guest's value away again."},
    {.name = "unlock", .on_shard = cmd_unlock, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = KEYS_NONE, .group = "internal", .summary = "Ends a commit turn."},
    {.name = "hold", .on_shard = cmd_hold, .arity = 1, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE,
     .keys = KEYS_NONE, .group = "internal", .summary = "Holds the whole keyspace for a commit turn."},
    {.name = "report", .on_shard = cmd_report, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ,
     .keys = KEYS_FIRST(KEY_RO), .group = "internal", .summary = "Copies a value for another shard."},
    {.name = "sort_keys", .on_shard = cmd_sort_keys, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ,
     .keys = KEYS_FIRST(KEY_RO), .group = "internal", .summary = "Tells which keys a SORT needs besides its own."},
    {.name = "events", .on_shard = cmd_events, .arity = -3, .plan = PLAN_ONE_SHARD,
     .keys = KEYS_NONE, .group = "internal", .summary = "Fetches events of guests."},
    {.name = "emit", .on_shard = cmd_emit, .arity = 2, .plan = PLAN_ONE_SHARD,
     .keys = KEYS_NONE, .group = "internal", .summary = "Publishes events of guests at home."},
    {.name = "attend", .on_shard = cmd_attend, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_PUBSUB,
     .keys = KEYS_NONE, .group = "internal", .summary = "Notes who subscribes to channels."},
};
/* clang-format on */
const struct command_family internal_family = {"internal", commands, ARRAY_LEN(commands)};
