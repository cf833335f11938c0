/* cmd_script.c: SCRIPT, and the rows of EVAL and its like, which server/script.h runs. */

#include "server/cmd_admin.h"
#include "server/families.h"
#include "server/script.h"
#include "server/server.h"
#include "server/worker.h"

static struct scripts *scripts_of(struct session *s)
{
    return &session_worker(s)->server->scripts;
}

static enum err cmd_script_load(struct session *s, struct request *rq, struct reply *out)
{
    struct script *script = script_load(session_worker(s), rq->argv[2], out);
    if (!script) return OK;
    reply_bulk(out, bytes_make(script->sha, SCRIPT_SHA_BYTES));
    script_unref(&scripts_of(s)->cache, script);
    return OK;
}

static enum err cmd_script_exists(struct session *s, struct request *rq, struct reply *out)
{
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++)
        reply_i64(out, script_cache_has(&scripts_of(s)->cache, rq->argv[i]));
    return OK;
}

static enum err cmd_script_flush(struct session *s, struct request *rq, struct reply *out)
{
    bool ok = rq->argc == 2 || (rq->argc == 3 && (bytes_equal_nocase(rq->argv[2], "sync") ||
                                                  bytes_equal_nocase(rq->argv[2], "async")));
    if (!ok) {
        reply_error(out, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
        return OK;
    }
    script_cache_flush(&scripts_of(s)->cache);
    reply_ok(out);
    return OK;
}

static enum err cmd_script_kill(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    scripts_kill(scripts_of(s), KIND_SCRIPT, out);
    return OK;
}

/* There is no debugger; not to use it is allowed. */
static enum err cmd_script_debug(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    if (bytes_equal_nocase(rq->argv[2], "no"))
        reply_ok(out);
    else if (bytes_equal_nocase(rq->argv[2], "yes") || bytes_equal_nocase(rq->argv[2], "sync"))
        reply_error(out, "ERR The script debugger is not supported");
    else
        reply_error(out, "ERR Use SCRIPT DEBUG YES/SYNC/NO");
    return OK;
}

static const char *const script_help[] = {
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts in the script cache.",
    "FLUSH [ASYNC|SYNC]",
    "    Flush the Lua scripts cache. Very dangerous on replicas.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the scripts cache.",
    "    * SYNC: Synchronously flush the scripts cache.",
    "KILL",
    "    Kill the currently executing Lua script.",
    "LOAD <script>",
    "    Load a script into the scripts cache without executing it.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
static const char *const tips_all_nodes[] = {"request_policy:all_nodes", "response_policy:all_succeeded", NULL};
static const char *const tips_exists[] = {"request_policy:all_shards", "response_policy:agg_logical_and", NULL};
static const char *const tips_kill[] = {"request_policy:all_shards", "response_policy:one_succeeded", NULL};

static const struct command script_subcommands[] = {
    {.name = "load", .on_net = cmd_script_load, .arity = 3, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_STALE, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "2.6.0", .group = "scripting", .complexity = "O(N): N bytes of the script", .summary = "Makes a script known, without running it.", .tips = tips_all_nodes},
    {.name = "exists", .on_net = cmd_script_exists, .arity = -3, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "2.6.0", .group = "scripting", .complexity = "O(N): N digests", .summary = "Tells which scripts are known.", .tips = tips_exists},
    {.name = "flush", .on_net = cmd_script_flush, .arity = -2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_BARRIER, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "2.6.0", .group = "scripting", .complexity = "O(N): N scripts", .summary = "Forgets all scripts.", .tips = tips_all_nodes},
    {.name = "kill", .on_net = cmd_script_kill, .arity = 2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_ALLOW_BUSY, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "2.6.0", .group = "scripting", .complexity = "O(1)", .summary = "Ends scripts that run too long and have not written.", .tips = tips_kill},
    {.name = "debug", .on_net = cmd_script_debug, .arity = 3, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "3.2.0", .group = "scripting", .complexity = "O(1)", .summary = "Refuses: there is no debugger of scripts."},
    {.name = "help", .on_net = command_help_on_net, .help = script_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "scripting", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};

#define SCRIPT_FLAGS (CMD_NO_SCRIPT | CMD_STALE | CMD_SKIP_MONITOR | CMD_NO_MANDATORY_KEYS | CMD_MOVABLE_KEYS)
#define SCRIPT_KEYS(key_flags) {{.flags = (key_flags), .begin = 2, .count_index = 0, .first = 1, .step = 1}}
#define SCRIPT_KEYS_RW SCRIPT_KEYS(KEY_RW | KEY_ACCESS | KEY_UPDATE)
#define SCRIPT_KEYS_RO SCRIPT_KEYS(KEY_RO | KEY_ACCESS)

static const struct command commands[] = {
    {.name = "eval", .arity = -3, .plan = PLAN_SCRIPT, .flags = SCRIPT_FLAGS, .acl = ACL_SCRIPTING, .keys = SCRIPT_KEYS_RW,
     .since = "2.6.0", .group = "scripting", .complexity = "That of the script", .summary = "Runs a script."},
    {.name = "evalsha", .arity = -3, .plan = PLAN_SCRIPT, .flags = SCRIPT_FLAGS, .acl = ACL_SCRIPTING, .keys = SCRIPT_KEYS_RW,
     .since = "2.6.0", .group = "scripting", .complexity = "That of the script", .summary = "Runs a script that is known by its digest."},
    {.name = "eval_ro", .arity = -3, .plan = PLAN_SCRIPT, .flags = SCRIPT_FLAGS | CMD_READ, .acl = ACL_SCRIPTING, .keys = SCRIPT_KEYS_RO,
     .since = "7.0.0", .group = "scripting", .complexity = "That of the script", .summary = "Runs a script that only reads."},
    {.name = "evalsha_ro", .arity = -3, .plan = PLAN_SCRIPT, .flags = SCRIPT_FLAGS | CMD_READ, .acl = ACL_SCRIPTING, .keys = SCRIPT_KEYS_RO,
     .since = "7.0.0", .group = "scripting", .complexity = "That of the script", .summary = "Runs a script that only reads and is known by its digest."},
    {.name = "script", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE, .subcommands = script_subcommands,
     .since = "2.6.0", .group = "scripting", .complexity = "Depends on subcommand.", .summary = "Commands about scripts."},
};
/* clang-format on */
const struct command_family script_family = {"script", commands, ARRAY_LEN(commands)};
