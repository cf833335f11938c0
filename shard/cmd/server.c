/* server.c: the commands on whole databases. Each runs on every shard, on its slice. */
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"

static enum err cmd_dbsize(struct shard *sh, struct request *rq, struct reply *out)
{
    reply_i64(out, (int64_t)keyspace_size(sh, rq->db));
    return OK;
}

/* ASYNC and SYNC are the same here: the keys are gone at once and their memory follows in slices.
 */
static bool flush_options_are_valid(const struct request *rq)
{
    if (rq->argc == 1) return true;
    return rq->argc == 2 && (arg_is(rq, 1, "async") || arg_is(rq, 1, "sync"));
}

static enum err cmd_flushdb(struct shard *sh, struct request *rq, struct reply *out)
{
    if (!flush_options_are_valid(rq)) return ERR_SYNTAX;
    keyspace_flush(sh, rq->db);
    tracking_note_flush(sh);
    reply_ok(out);
    return OK;
}

static enum err cmd_flushall(struct shard *sh, struct request *rq, struct reply *out)
{
    if (!flush_options_are_valid(rq)) return ERR_SYNTAX;
    for (uint32_t db = 0; db < sh->keys.database_count; db++) keyspace_flush(sh, db);
    tracking_note_flush(sh);
    reply_ok(out);
    return OK;
}

static bool arg_int32(const struct request *rq, uint32_t index, int64_t *out)
{
    return arg_i64(rq, index, out) == OK && *out >= INT32_MIN && *out <= INT32_MAX;
}

static enum err cmd_swapdb(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t a, b;
    if (!arg_int32(rq, 1, &a)) {
        reply_error(out, "ERR invalid first DB index");
        return OK;
    }
    if (!arg_int32(rq, 2, &b)) {
        reply_error(out, "ERR invalid second DB index");
        return OK;
    }
    int64_t count = sh->keys.database_count;
    if (a < 0 || a >= count || b < 0 || b >= count) return ERR_DB_INDEX;
    if (a != b) keyspace_swap(sh, (uint32_t)a, (uint32_t)b);
    reply_ok(out);
    return OK;
}

/* clang-format off */
static const char *const tips_all_shards_agg_sum[] = {"request_policy:all_shards", "response_policy:agg_sum", NULL};
static const char *const tips_all_shards_all_succeeded[] = {"request_policy:all_shards", "response_policy:all_succeeded", NULL};
static const struct command commands[] = {
    {.name = "dbsize", .on_shard = cmd_dbsize, .arity = 1, .plan = PLAN_ALL_SHARDS, .merge = MERGE_SUM, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)",
     .summary = "The number of keys in the database.", .tips = tips_all_shards_agg_sum},
    {.name = "flushdb", .on_shard = cmd_flushdb, .arity = -1, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = CMD_WRITE, .acl = ACL_KEYSPACE | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(n) for n keys in the database",
     .summary = "Deletes all keys of the database.", .tips = tips_all_shards_all_succeeded},
    {.name = "flushall", .on_shard = cmd_flushall, .arity = -1, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = CMD_WRITE, .acl = ACL_KEYSPACE | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(n) for n keys in all databases",
     .summary = "Deletes all keys of all databases.", .tips = tips_all_shards_all_succeeded},
    {.name = "swapdb", .on_shard = cmd_swapdb, .arity = 3, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(n) for n clients that watch or wait for keys of both",
     .summary = "Exchanges two databases."},
};
/* clang-format on */
const struct command_family server_family = {"server", commands, ARRAY_LEN(commands)};
