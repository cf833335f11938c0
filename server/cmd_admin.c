/* cmd_admin.c: the commands about the server itself, and the table of the family. CONFIG and DEBUG
 * have files of their own. */

#include "server/cmd_admin.h"

#include "base/text.h"
#include "server/families.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- small ones ---- */

static enum err cmd_time(UNUSED struct session *s, UNUSED struct request *rq, struct reply *out)
{
    int64_t now_us = env_wall_us();
    reply_array(out, 2);
    reply_bulk_i64(out, now_us / 1000000);
    reply_bulk_i64(out, now_us % 1000000);
    return OK;
}

/* ---- LOLWUT: a shoal, another one each time ---- */

#define SEA_COLUMNS 66
#define SEA_ROWS 14
#define SEA_FISH 36

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)((*state >> 32) * limit >> 32);
}

/* Fish crowd around the middle, all swim one way, and one does not. */
static void sea_fill(char sea[SEA_ROWS][SEA_COLUMNS], uint64_t *state)
{
    static const char *const shapes[2][3] = {{"><>", "><(('>", "><{{*>"},
                                             {"<><", "<'))><", "<*}}><"}};
    unsigned way = random_below(state, 2);
    memset(sea, ' ', SEA_ROWS * SEA_COLUMNS);
    for (unsigned n = 0; n < SEA_FISH; n++) {
        const char *fish = shapes[n == 0 ? 1 - way : way][random_below(state, 3)];
        uint32_t size = (uint32_t)strlen(fish), row = 0, column = 0;
        for (unsigned i = 0; i < 2; i++) {
            row += random_below(state, SEA_ROWS / 2);
            column += random_below(state, (SEA_COLUMNS - size) / 2 + 1);
        }
        bool is_free = true;
        for (uint32_t i = column ? column - 1 : 0;
             i < MIN(column + size + 1, (uint32_t)SEA_COLUMNS); i++)
            is_free &= sea[row][i] == ' ';
        if (is_free) memcpy(&sea[row][column], fish, size);
    }
}

static enum err cmd_lolwut(struct session *s, struct request *rq, struct reply *out)
{
    int64_t version;
    if (rq->argc > 2 && bytes_equal_nocase(rq->argv[1], "version") &&
        !text_to_i64(rq->argv[2], &version))
        return ERR_NOT_INT;
    uint64_t state;
    env_random(&state, sizeof state);
    state |= 1;
    char sea[SEA_ROWS][SEA_COLUMNS];
    sea_fill(sea, &state);
    struct buf text = {.mem = &session_worker(s)->net.mem};
    for (unsigned row = 0; row < SEA_ROWS; row++) {
        size_t size = SEA_COLUMNS;
        while (size > 0 && sea[row][size - 1] == ' ') size--;
        buf_append(&text, sea[row], size);
        buf_append(&text, "\n", 1);
    }
    buf_printf(&text, "\nShoal ver. %s. Redis ver. %s\n", SERVER_VERSION, SERVER_REDIS_VERSION);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* ---- modules, cluster, replication: what there is not ---- */

static enum err cmd_module_list(UNUSED struct session *s, UNUSED struct request *rq,
                                struct reply *out)
{
    reply_array(out, 0);
    return OK;
}

static const char *const module_help[] = {
    "MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LIST",
    "    Return a list of loaded modules.",
    "HELP",
    "    Prints this help.",
    NULL,
};

static enum err cmd_cluster(UNUSED struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_error(out, "ERR This instance has cluster support disabled");
    return OK;
}

static enum err cmd_role(UNUSED struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_array(out, 3);
    reply_bulk_text(out, "master");
    reply_i64(out, 0);
    reply_array(out, 0);
    return OK;
}

static enum err cmd_replicaof(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    int64_t port;
    if (bytes_equal_nocase(rq->argv[1], "no") && bytes_equal_nocase(rq->argv[2], "one")) {
        reply_ok(out);
    } else if (!text_to_i64(rq->argv[2], &port) || port < 0 || port > UINT16_MAX) {
        reply_error(out, "ERR Invalid master port");
    } else {
        reply_error(out, "ERR this version of Shoal does not replicate");
    }
    return OK;
}

/* Whoever watches already gets no reply, as in Redis. */
static enum err cmd_monitor(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    if (s->exec) {
        reply_error(out, "ERR MONITOR isn't allowed for DENY BLOCKING client");
        return OK;
    }
    if (s->is_monitor) {
        s->is_deferred = true;
        return OK;
    }
    monitor_start(s);
    reply_ok(out);
    return OK;
}

/* clang-format off */
static const char *const tips_order[] = {"nondeterministic_output_order", NULL};
static const char *const tips_output[] = {"nondeterministic_output", NULL};

static const struct command module_subcommands[] = {
    {.name = "list", .on_net = cmd_module_list, .arity = 2, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_NO_SCRIPT, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(N): N modules", .summary = "Lists the modules that are loaded.", .tips = tips_order},
    {.name = "help", .on_net = command_help_on_net, .help = module_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};

#define CLUSTER_ROW(NAME, ARITY, FLAGS, SINCE, COMPLEXITY, SUMMARY) \
    {.name = NAME, .on_net = cmd_cluster, .arity = (ARITY), .plan = PLAN_NET, .flags = (FLAGS), .keys = KEYS_NONE, \
     .since = SINCE, .group = "cluster", .complexity = COMPLEXITY, .summary = SUMMARY}
#define CLUSTER_ADMIN (CMD_ADMIN | CMD_STALE | CMD_NO_ASYNC_LOADING)
static const struct command cluster_subcommands[] = {
    CLUSTER_ROW("addslots", -3, CLUSTER_ADMIN, "3.0.0", "O(N): N slots", "Gives slots to this node."),
    CLUSTER_ROW("addslotsrange", -4, CLUSTER_ADMIN, "7.0.0", "O(N): N slots", "Gives ranges of slots to this node."),
    CLUSTER_ROW("bumpepoch", 2, CLUSTER_ADMIN, "3.0.0", "O(1)", "Moves the epoch of the configuration on."),
    CLUSTER_ROW("count-failure-reports", 3, CMD_ADMIN | CMD_STALE, "3.0.0", "O(N): N reports", "Counts who says that a node has failed."),
    CLUSTER_ROW("countkeysinslot", 3, CMD_STALE, "3.0.0", "O(1)", "Counts the keys of a slot."),
    CLUSTER_ROW("delslots", -3, CLUSTER_ADMIN, "3.0.0", "O(N): N slots", "Takes slots from this node."),
    CLUSTER_ROW("delslotsrange", -4, CLUSTER_ADMIN, "7.0.0", "O(N): N slots", "Takes ranges of slots from this node."),
    CLUSTER_ROW("failover", -2, CLUSTER_ADMIN, "3.0.0", "O(1)", "Makes a replica take over from its master."),
    CLUSTER_ROW("flushslots", 2, CLUSTER_ADMIN, "3.0.0", "O(1)", "Takes all slots from this node."),
    CLUSTER_ROW("forget", 3, CLUSTER_ADMIN, "3.0.0", "O(1)", "Removes a node from the table of nodes."),
    CLUSTER_ROW("getkeysinslot", 4, CMD_STALE, "3.0.0", "O(N): N keys", "Lists keys of a slot."),
    CLUSTER_ROW("help", 2, CMD_LOADING | CMD_STALE, "5.0.0", "O(1)", "Lists the subcommands."),
    CLUSTER_ROW("info", 2, CMD_STALE, "3.0.0", "O(1)", "Tells how the cluster is, as this node sees it."),
    CLUSTER_ROW("keyslot", 3, CMD_STALE, "3.0.0", "O(N): N bytes", "Tells the slot of a key."),
    CLUSTER_ROW("links", 2, CMD_STALE, "7.0.0", "O(N): N nodes", "Lists the connections between nodes."),
    CLUSTER_ROW("meet", -4, CLUSTER_ADMIN, "3.0.0", "O(1)", "Introduces a node to the cluster."),
    CLUSTER_ROW("myid", 2, CMD_STALE, "3.0.0", "O(1)", "Tells the id of this node."),
    CLUSTER_ROW("myshardid", 2, CMD_STALE, "7.2.0", "O(1)", "Tells the id of the group of this node."),
    CLUSTER_ROW("nodes", 2, CMD_STALE, "3.0.0", "O(N): N nodes", "Lists the nodes as this one knows them."),
    CLUSTER_ROW("replicas", 3, CMD_ADMIN | CMD_STALE, "5.0.0", "O(N): N replicas", "Lists the replicas of a node."),
    CLUSTER_ROW("replicate", 3, CLUSTER_ADMIN, "3.0.0", "O(1)", "Makes this node a replica of another."),
    CLUSTER_ROW("reset", -2, CMD_ADMIN | CMD_STALE | CMD_NO_SCRIPT, "3.0.0", "O(N): N nodes", "Makes this node forget the cluster."),
    CLUSTER_ROW("saveconfig", 2, CLUSTER_ADMIN, "3.0.0", "O(1)", "Writes what is known of the cluster to disk."),
    CLUSTER_ROW("set-config-epoch", 3, CLUSTER_ADMIN, "3.0.0", "O(1)", "Sets the epoch of a fresh node."),
    CLUSTER_ROW("setslot", -4, CLUSTER_ADMIN, "3.0.0", "O(1)", "Says where a slot is or goes."),
    CLUSTER_ROW("shards", 2, CMD_STALE, "7.0.0", "O(N): N nodes", "Lists groups of nodes with their slots."),
    {.name = "slaves", .on_net = cmd_cluster, .arity = 3, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_STALE, .keys = KEYS_NONE,
     .since = "3.0.0", .deprecated_since = "5.0.0", .replaced_by = "`CLUSTER REPLICAS`", .group = "cluster", .complexity = "O(N): N replicas", .summary = "Lists the replicas of a node: the old name."},
    {.name = "slots", .on_net = cmd_cluster, .arity = 2, .plan = PLAN_NET, .flags = CMD_STALE, .keys = KEYS_NONE,
     .since = "3.0.0", .deprecated_since = "7.0.0", .replaced_by = "`CLUSTER SHARDS`", .group = "cluster", .complexity = "O(N): N nodes", .summary = "Tells which nodes have which slots."},
    {.name = NULL},
};

static const struct command commands[] = {
    {.name = "config", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "server", .complexity = "Depends on subcommand.", .summary = "Reads and changes the configuration.", .subcommands = config_subcommands},
    {.name = "debug", .on_net = cmd_debug_unknown, .arity = -2, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_PROTECTED, .keys = KEYS_NONE,
     .since = "1.0.0", .is_syscmd = true, .group = "server", .complexity = "Depends on subcommand.", .summary = "Helps those who test the server.", .subcommands = debug_subcommands},
    {.name = "monitor", .on_net = cmd_monitor, .arity = 1, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_BARRIER, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(n) for n monitors, with each command", .summary = "Shows every command that is run, as it comes."},
    {.name = "time", .on_net = cmd_time, .arity = 1, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST | CMD_SESSIONLESS, .keys = KEYS_NONE,
     .since = "2.6.0", .group = "server", .complexity = "O(1)", .summary = "Tells the server's time in seconds and microseconds.", .tips = tips_output},
    {.name = "lolwut", .on_net = cmd_lolwut, .arity = -1, .plan = PLAN_NET, .flags = CMD_READ | CMD_FAST, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "server", .complexity = "O(1)", .summary = "Draws a shoal and tells the version."},
    {.name = "memory", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "Depends on subcommand.", .summary = "Looks at memory and frees it.", .subcommands = memory_subcommands},
    {.name = "module", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "Depends on subcommand.", .summary = "Tells of modules, of which there are none.", .subcommands = module_subcommands},
    {.name = "cluster", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "3.0.0", .group = "cluster", .complexity = "Depends on subcommand.", .summary = "Tells of a cluster, which this server is no part of.", .subcommands = cluster_subcommands},
    {.name = "asking", .on_net = cmd_cluster, .arity = 1, .plan = PLAN_NET, .flags = CMD_FAST, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "3.0.0", .group = "cluster", .complexity = "O(1)", .summary = "Says that the next command follows a redirection."},
    {.name = "readonly", .on_net = cmd_cluster, .arity = 1, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "3.0.0", .group = "cluster", .complexity = "O(1)", .summary = "Allows reads from a replica in a cluster."},
    {.name = "readwrite", .on_net = cmd_cluster, .arity = 1, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "3.0.0", .group = "cluster", .complexity = "O(1)", .summary = "Ends what READONLY began."},
    {.name = "role", .on_net = cmd_role, .arity = 1, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_ADMIN | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "2.8.12", .group = "server", .complexity = "O(1)", .summary = "Tells the part that this server plays in replication."},
    {.name = "replicaof", .on_net = cmd_replicaof, .arity = 3, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_NO_SCRIPT | CMD_STALE | CMD_NO_ASYNC_LOADING, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "server", .complexity = "O(1)", .summary = "Makes the server follow another, or none."},
    {.name = "slaveof", .on_net = cmd_replicaof, .arity = 3, .plan = PLAN_NET, .flags = CMD_ADMIN | CMD_NO_SCRIPT | CMD_STALE | CMD_NO_ASYNC_LOADING, .keys = KEYS_NONE,
     .since = "1.0.0", .deprecated_since = "5.0.0", .replaced_by = "`REPLICAOF`", .group = "server", .complexity = "O(1)", .summary = "The old name of REPLICAOF."},
};
/* clang-format on */
const struct command_family admin_family = {"admin", commands, ARRAY_LEN(commands)};
