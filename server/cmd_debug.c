/* cmd_debug.c: DEBUG SLEEP, DIGEST, DIGEST-VALUE, OBJECT, what sets something, and the rows of
 * RELOAD, of cmd_debug_samples.c, cmd_debug_settings.c and of shard/cmd/debug.c. Who may use it:
 * enable-debug-command, checked before a handler runs.
 */

#include <stdlib.h>
#include <time.h>

#include "base/text.h"
#include "server/broadcast.h"
#include "server/cmd_admin.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

#define LIST_PLAIN_BYTES_MAX (((uint64_t)4 << 30) - ((uint64_t)1 << 20))

static enum err reply_unknown(const struct request *rq, struct reply *out)
{
    struct bytes name = rq->argv[1];
    reply_error(out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
                (int)MIN(name.size, (size_t)128), name.data);
    return OK;
}

enum err cmd_debug_unknown(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    return reply_unknown(rq, out);
}

/* As strtod reads it: what is no number is 0. */
static double lenient_seconds(struct bytes text)
{
    char copy[64];
    size_t size = MIN(text.size, sizeof copy - 1);
    memcpy(copy, text.data, size);
    copy[size] = '\0';
    double seconds = strtod(copy, NULL);
    return seconds > 0 ? MIN(seconds, 1e6) : 0;
}

/* Every shard sleeps for itself, in the turn order: whoever asks for a key meanwhile waits. */
static enum err cmd_debug_sleep(UNUSED struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc != 3) return reply_unknown(rq, out);
    double seconds = lenient_seconds(rq->argv[2]);
    struct timespec rest = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&rest, NULL);
    reply_ok(out);
    return OK;
}

static enum err cmd_debug_object_checked(struct shard *sh, struct request *rq, struct reply *out)
{
    return rq->argc == 3 ? cmd_debug_object(sh, rq, out) : reply_unknown(rq, out);
}

static enum err cmd_debug_digest(struct shard *sh, struct request *rq, struct reply *out)
{
    return rq->argc == 2 ? cmd_debug_digest_part(sh, rq, out) : reply_unknown(rq, out);
}

static enum err cmd_debug_htstats(struct shard *sh, struct request *rq, struct reply *out)
{
    return rq->argc == 3 ? cmd_debug_htstats_part(sh, rq, out) : reply_unknown(rq, out);
}

static enum err cmd_debug_htstats_key_checked(struct shard *sh, struct request *rq,
                                              struct reply *out)
{
    return rq->argc == 3 ? cmd_debug_htstats_key(sh, rq, out) : reply_unknown(rq, out);
}

static enum err cmd_debug_listpack_checked(struct shard *sh, struct request *rq, struct reply *out)
{
    return rq->argc == 3 ? cmd_debug_listpack(sh, rq, out) : reply_unknown(rq, out);
}

/* As strtol reads it: what is no number is 0. */
static uint64_t lenient_flag(struct bytes argument)
{
    char text[24];
    size_t size = MIN(argument.size, sizeof text - 1);
    memcpy(text, argument.data, size);
    text[size] = '\0';
    return strtol(text, NULL, 10) != 0;
}

static void set_active_expire(struct thread *at, uint64_t argument)
{
    if (thread_is_main(at)) return;
    struct worker *w = at->owner;
    for (unsigned i = 0; i < ARRAY_LEN(w->shard_config); i++)
        w->shard_config[i].active_expire = argument != 0;
}

static enum err cmd_debug_set_active_expire(struct session *s, struct request *rq,
                                            struct reply *out)
{
    if (rq->argc != 3) return reply_unknown(rq, out);
    broadcast(s, set_active_expire, lenient_flag(rq->argv[2]));
    return OK;
}

static void set_scripts_may_all(struct thread *at, uint64_t argument)
{
    if (thread_is_main(at)) return;
    ((struct worker *)at->owner)->scripts_may_all = argument != 0;
}

static enum err cmd_debug_set_disable_deny_scripts(struct session *s, struct request *rq,
                                                   struct reply *out)
{
    if (rq->argc != 3) return reply_unknown(rq, out);
    broadcast(s, set_scripts_may_all, lenient_flag(rq->argv[2]));
    return OK;
}

static void set_list_plain_bytes(struct thread *at, uint64_t argument)
{
    if (thread_is_main(at)) return;
    struct worker *w = at->owner;
    for (unsigned i = 0; i < ARRAY_LEN(w->shard_config); i++)
        w->shard_config[i].list_plain_bytes_min = argument;
}

static enum err cmd_debug_quicklist_packed_threshold(struct session *s, struct request *rq,
                                                     struct reply *out)
{
    uint64_t bytes;
    if (rq->argc != 3) return reply_unknown(rq, out);
    if (!text_to_memory(rq->argv[2], &bytes) || bytes > LIST_PLAIN_BYTES_MAX) {
        reply_error(out, "ERR argument must be a memory value bigger than 1 and smaller than 4gb");
        return OK;
    }
    broadcast(s, set_list_plain_bytes, bytes);
    return OK;
}

/* The n-th time from now that the code comes to the fault point, it fails: for tests of what a
 * server does when its disk fails. */
static enum err cmd_debug_fault(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    static const char *const points[] = {"file_open", "file_write", "file_sync", "file_truncate"};
    uint64_t count;
    if (rq->argc != 4 || !text_to_u64(rq->argv[3], &count) || count > UINT32_MAX)
        return reply_unknown(rq, out);
    for (unsigned i = 0; i < ARRAY_LEN(points); i++) {
        if (!bytes_equal(rq->argv[2], bytes_of(points[i]))) continue;
        fault_set(points[i], (unsigned)count);
        reply_ok(out);
        return OK;
    }
    return reply_unknown(rq, out);
}

static const char *const debug_help[] = {
    "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "FAULT <point> <count>",
    "    The fault point fails the count-th time from now, once; 0: not at all.",
    "HTSTATS <dbid>",
    "    Return hash table statistics of the specified Redis database.",
    "HTSTATS-KEY <key>",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "LISTPACK <key>",
    "    Show low level info about the listpack encoding of <key>.",
    "LOADAOF",
    "    Flush the AOF buffers on disk and reload the AOF in memory.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "MALLCTL <key> [<val>]",
    "    Get or set a malloc tuning integer.",
    "MALLCTL-STR <key> [<val>]",
    "    Get or set a malloc tuning string.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    An element of a list that has at least so many bytes gets a node of its own.",
    "    0 restores the default: elements that are over the limit of a node.",
    "RELOAD [option ...]",
    "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
    "    * MERGE: conflicting keys will be loaded from RDB.",
    "    * NOFLUSH: the existing database will not be removed before load, but",
    "      conflicting keys will generate an exception and kill the server.",
    "    * NOSAVE: the database will be loaded from an existing RDB file.",
    "    Examples:",
    "    * DEBUG RELOAD: verify that the server is able to persist, flush and reload",
    "      the database.",
    "    * DEBUG RELOAD NOSAVE: replace the current database with the contents of an",
    "      existing RDB file.",
    "    * DEBUG RELOAD NOSAVE NOFLUSH MERGE: add the contents of an existing RDB",
    "      file to the database.",
    "SEGFAULT",
    "    Crash the server with sigsegv.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Setting it to 1 lets scripts call commands that are not meant for them.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Enables or disables checksum checks for RESTORE's payload.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "HELP",
    "    Prints this help.",
    NULL,
};

static enum err cmd_debug_help(struct session *s, struct request *rq, struct reply *out)
{
    return rq->argc == 2 ? command_help_on_net(s, rq, out) : reply_unknown(rq, out);
}

/* clang-format off */
/* Counts of arguments are the handlers' to check: DEBUG has a text of its own for wrong ones. */
#define DEBUG_FLAGS (CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_PROTECTED)
const struct command debug_subcommands[] = {
    {.name = "sleep", .on_shard = cmd_debug_sleep, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Stops every shard for some seconds."},
    {.name = "digest", .on_shard = cmd_debug_digest, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_DIGEST, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N elements in all databases", .summary = "A digest of all keys and values."},
    {.name = "digest-value", .on_shard = cmd_debug_digest_value, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_KEYS, .flags = DEBUG_FLAGS, .keys = {{.flags = KEY_RO, .begin = 2, .last = -1, .step = 1}},
     .since = "1.0.0", .group = "server", .complexity = "O(N): N elements of the values", .summary = "A digest of each value."},
    {.name = "fault", .on_net = cmd_debug_fault, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Makes a fault point fail once."},
    {.name = "mallctl", .on_net = cmd_debug_mallctl, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Shows or sets a number of the allocator."},
    {.name = "mallctl-str", .on_net = cmd_debug_mallctl_str, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Shows or sets a text of the allocator."},
    {.name = "pause-cron", .on_net = cmd_debug_pause_cron, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Stops what is done ten times a second, or goes on with it."},
    {.name = "set-skip-checksum-validation", .on_net = cmd_debug_set_skip_checksum, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Lets RESTORE take payloads whose checksum is wrong."},
    {.name = "segfault", .on_net = cmd_debug_segfault, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Ends the process as a wrong memory access would."},
    {.name = "object", .on_shard = cmd_debug_object_checked, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = DEBUG_FLAGS, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "server", .complexity = "O(N): N elements of the value", .summary = "Shows how a value is stored."},
    {.name = "htstats", .on_shard = cmd_debug_htstats, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_TEXT, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N keys of the database", .summary = "Tells how full the tables of a database are."},
    {.name = "htstats-key", .on_shard = cmd_debug_htstats_key_checked, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = DEBUG_FLAGS, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "server", .complexity = "O(N): N elements of the value", .summary = "Tells how full the table of a value is."},
    {.name = "listpack", .on_shard = cmd_debug_listpack_checked, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = DEBUG_FLAGS, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "server", .complexity = "O(N): N elements of the value", .summary = "Writes to the log how a small value is stored."},
    {.name = "reload", .on_main = cmd_debug_reload, .arity = -2, .plan = PLAN_MAIN, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N keys in all databases", .summary = "Saves all data, forgets it, and loads it again."},
    {.name = "loadaof", .on_main = cmd_debug_loadaof, .arity = -2, .plan = PLAN_MAIN, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N records of the log", .summary = "Forgets all data, and loads it again from the append-only log."},
    {.name = "set-active-expire", .on_net = cmd_debug_set_active_expire, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Switches the removal of expired keys in the background."},
    {.name = "set-disable-deny-scripts", .on_net = cmd_debug_set_disable_deny_scripts, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(1)", .summary = "Lets scripts call commands that are not meant for them."},
    {.name = "quicklist-packed-threshold", .on_net = cmd_debug_quicklist_packed_threshold, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(1)", .summary = "Sets from which size on elements of lists get nodes of their own."},
    {.name = "error", .on_net = cmd_debug_error, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Replies that error."},
    {.name = "log", .on_net = cmd_debug_log, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Writes a line to the log."},
    {.name = "populate", .on_shard = cmd_debug_populate, .arity = -2, .plan = PLAN_ALL_SHARDS, .merge = MERGE_OK, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N keys", .summary = "Makes that many strings."},
    {.name = "protocol", .on_net = cmd_debug_protocol, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Replies a sample of that type."},
    {.name = "help", .on_net = cmd_debug_help, .help = debug_help, .arity = -2, .plan = PLAN_NET, .flags = DEBUG_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};
/* clang-format on */
