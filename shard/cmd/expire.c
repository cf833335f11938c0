/* expire.c: the commands that set, read and remove a key's deadline. */
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"

/* ---- setting ---- */

struct expire_conditions {
    bool if_none, if_any;     /* NX, XX */
    bool if_greater, if_less; /* GT, LT: no deadline counts as infinity */
};

static bool parse_conditions_or_reply(const struct request *rq, struct reply *out,
                                      struct expire_conditions *c)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        if (arg_is(rq, i, "nx")) {
            c->if_none = true;
        } else if (arg_is(rq, i, "xx")) {
            c->if_any = true;
        } else if (arg_is(rq, i, "gt")) {
            c->if_greater = true;
        } else if (arg_is(rq, i, "lt")) {
            c->if_less = true;
        } else {
            reply_error(out, "ERR Unsupported option %.*s", (int)MIN(rq->argv[i].size, INT32_MAX),
                        rq->argv[i].data);
            return false;
        }
    }
    if (c->if_none && (c->if_any || c->if_greater || c->if_less)) {
        reply_error(out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if (c->if_greater && c->if_less) {
        reply_error(out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

static bool conditions_hold(const struct expire_conditions *c, const struct entry *e,
                            int64_t deadline_ms)
{
    bool has_deadline = entry_has_deadline(e);
    int64_t current_ms = entry_deadline_ms(e);
    if (c->if_none && has_deadline) return false;
    if (c->if_any && !has_deadline) return false;
    if (c->if_greater && (!has_deadline || deadline_ms <= current_ms)) return false;
    if (c->if_less && has_deadline && deadline_ms >= current_ms) return false;
    return true;
}

/* A deadline that has passed already deletes the key at once. */
static enum err set_deadline(struct shard *sh, struct request *rq, struct reply *out,
                             enum time_form form)
{
    struct expire_conditions c = {0};
    int64_t value, deadline_ms;
    if (!parse_conditions_or_reply(rq, out, &c)) return OK;
    enum err e = arg_i64(rq, 2, &value);
    if (e != OK) return e;
    if (!time_to_deadline(value, form, sh->wall_ms, &deadline_ms)) {
        return args_invalid_expire(rq, out);
    }

    struct key k = request_key(sh, rq, 1);
    struct entry *entry = peek_touched(sh, &k);
    bool applies = entry != NULL && conditions_hold(&c, entry, deadline_ms);
    if (applies && deadline_ms <= sh->now_ms) {
        keyspace_delete(sh, &k);
        notify(sh, NOTIFY_GENERIC, "del", &k);
    } else if (applies) {
        if (!keyspace_set_deadline(sh, &k, deadline_ms)) return ERR_ALLOC;
        journal_deadline(sh, &k, deadline_ms);
        notify(sh, NOTIFY_GENERIC, "expire", &k);
    }
    reply_i64(out, applies);
    return OK;
}

static enum err cmd_expire(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadline(sh, rq, out, TIME_SECONDS);
}

static enum err cmd_pexpire(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadline(sh, rq, out, TIME_MS);
}

static enum err cmd_expireat(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadline(sh, rq, out, TIME_AT_SECONDS);
}

static enum err cmd_pexpireat(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadline(sh, rq, out, TIME_AT_MS);
}

static enum err cmd_persist(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *entry = peek_touched(sh, &k);
    bool has_deadline = entry != NULL && entry_has_deadline(entry);
    if (has_deadline) {
        if (!keyspace_set_deadline(sh, &k, DEADLINE_NONE)) return ERR_ALLOC;
        notify(sh, NOTIFY_GENERIC, "persist", &k);
    }
    reply_i64(out, has_deadline);
    return OK;
}

/* ---- reading ---- */

#define REPLY_NO_KEY (-2)
#define REPLY_NO_DEADLINE (-1)

/* Rounded to the nearest second. Deadlines reach INT64_MAX, so the sum needs the 64th bit. */
static int64_t seconds_from_ms(int64_t ms)
{
    return (int64_t)(((uint64_t)ms + 500) / 1000);
}

static enum err reply_deadline(struct shard *sh, struct request *rq, struct reply *out,
                               enum time_form form)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *entry = peek_counted(sh, &k);
    if (entry == NULL || !entry_has_deadline(entry)) {
        reply_i64(out, entry ? REPLY_NO_DEADLINE : REPLY_NO_KEY);
        return OK;
    }
    int64_t ms = entry_deadline_ms(entry);
    if (form == TIME_SECONDS || form == TIME_MS) ms = MAX(ms - sh->now_ms, 0);
    bool in_seconds = form == TIME_SECONDS || form == TIME_AT_SECONDS;
    reply_i64(out, in_seconds ? seconds_from_ms(ms) : ms);
    return OK;
}

static enum err cmd_ttl(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadline(sh, rq, out, TIME_SECONDS);
}

static enum err cmd_pttl(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadline(sh, rq, out, TIME_MS);
}

static enum err cmd_expiretime(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadline(sh, rq, out, TIME_AT_SECONDS);
}

static enum err cmd_pexpiretime(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadline(sh, rq, out, TIME_AT_MS);
}

/* clang-format off */
static const char *const tips_nondeterministic_output[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "expire", .on_shard = cmd_expire, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Lets a key expire after some seconds."},
    {.name = "pexpire", .on_shard = cmd_pexpire, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "2.6.0", .group = "generic", .complexity = "O(1)",
     .summary = "Lets a key expire after some milliseconds."},
    {.name = "expireat", .on_shard = cmd_expireat, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "1.2.0", .group = "generic", .complexity = "O(1)",
     .summary = "Lets a key expire at a Unix time in seconds."},
    {.name = "pexpireat", .on_shard = cmd_pexpireat, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "2.6.0", .group = "generic", .complexity = "O(1)",
     .summary = "Lets a key expire at a Unix time in milliseconds."},
    {.name = "ttl", .on_shard = cmd_ttl, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Seconds until a key expires.", .tips = tips_nondeterministic_output},
    {.name = "pttl", .on_shard = cmd_pttl, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.6.0", .group = "generic", .complexity = "O(1)",
     .summary = "Milliseconds until a key expires.", .tips = tips_nondeterministic_output},
    {.name = "expiretime", .on_shard = cmd_expiretime, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "7.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "The Unix time in seconds at which a key expires."},
    {.name = "pexpiretime", .on_shard = cmd_pexpiretime, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "7.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "The Unix time in milliseconds at which a key expires."},
    {.name = "persist", .on_shard = cmd_persist, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "2.2.0", .group = "generic", .complexity = "O(1)",
     .summary = "Takes the expiry away from a key."},
};
/* clang-format on */
const struct command_family expire_family = {"expire", commands, ARRAY_LEN(commands)};
