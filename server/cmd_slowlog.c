/* cmd_slowlog.c: SLOWLOG. What it shows, and how that gets there: server/slowlog.h */
#include "base/text.h"
#include "server/families.h"
#include "server/server.h"
#include "server/worker.h"

#define COUNT_USUAL 10

static struct slowlog *log_of(const struct session *s)
{
    return &session_worker(s)->server->slowlog;
}

static enum err cmd_slowlog_get(struct session *s, struct request *rq, struct reply *out)
{
    int64_t count = COUNT_USUAL;
    if (rq->argc > 3) {
        reply_error(out,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try "
                    "SLOWLOG HELP.",
                    (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
        return OK;
    }
    if (rq->argc == 3 && (!text_to_i64(rq->argv[2], &count) || count < -1)) {
        reply_error(out, "ERR count should be greater than or equal to -1");
        return OK;
    }
    slowlog_reply(log_of(s), (uint64_t)count, out);
    return OK;
}

static enum err cmd_slowlog_len(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, (int64_t)slowlog_count(log_of(s)));
    return OK;
}

static enum err cmd_slowlog_reset(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    slowlog_reset(log_of(s));
    reply_ok(out);
    return OK;
}

static const char *const slowlog_help[] = {
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
/* A barrier: who asks finds its own earlier commands. */
#define SLOWLOG_FLAGS (CMD_ADMIN | CMD_LOADING | CMD_STALE | CMD_BARRIER)
static const char *const tips_get[] = {"request_policy:all_nodes", "nondeterministic_output", NULL};
static const char *const tips_len[] = {"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output", NULL};
static const char *const tips_reset[] = {"request_policy:all_nodes", "response_policy:all_succeeded", NULL};
static const struct command slowlog_subcommands[] = {
    {.name = "get", .on_net = cmd_slowlog_get, .arity = -2, .plan = PLAN_NET, .flags = SLOWLOG_FLAGS, .keys = KEYS_NONE,
     .since = "2.2.12", .group = "server", .complexity = "O(N): N entries shown", .summary = "Shows the last commands that were slow.", .tips = tips_get},
    {.name = "len", .on_net = cmd_slowlog_len, .arity = 2, .plan = PLAN_NET, .flags = SLOWLOG_FLAGS, .keys = KEYS_NONE,
     .since = "2.2.12", .group = "server", .complexity = "O(1)", .summary = "Counts the entries of the slow log.", .tips = tips_len},
    {.name = "reset", .on_net = cmd_slowlog_reset, .arity = 2, .plan = PLAN_NET, .flags = SLOWLOG_FLAGS, .keys = KEYS_NONE,
     .since = "2.2.12", .group = "server", .complexity = "O(N): N entries", .summary = "Empties the slow log.", .tips = tips_reset},
    {.name = "help", .on_net = command_help_on_net, .help = slowlog_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "slowlog", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE, .subcommands = slowlog_subcommands,
     .since = "2.2.12", .group = "server", .complexity = "Depends on the subcommand.", .summary = "A container for commands of the slow log."},
};
/* clang-format on */
const struct command_family slowlog_family = {"slowlog", commands, ARRAY_LEN(commands)};
