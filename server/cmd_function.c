/* cmd_function.c: FUNCTION, and the rows of FCALL and FCALL_RO, which server/script.h runs. */

#include "base/text.h"
#include "server/cmd_admin.h"
#include "server/coord.h"
#include "server/families.h"
#include "server/function_log.h"
#include "server/library_load.h"
#include "server/script.h"
#include "server/server.h"
#include "server/worker.h"

static struct functions *functions_of(struct session *s)
{
    return &session_worker(s)->server->scripts.functions;
}

static struct buf *error_buf(struct session *s)
{
    struct buf *error = &session_worker(s)->scratch;
    error->size = 0;
    return error;
}

/* Of a change. */
static enum err reply_outcome(struct session *s, bool ok, struct reply *out)
{
    const struct buf *error = &session_worker(s)->scratch;
    if (ok) {
        reply_ok(out);
        function_log_then_answer(s, out);
    } else {
        reply_error(out, "%.*s", (int)MIN(error->size, (size_t)INT32_MAX), error->data);
    }
    return OK;
}

/* ---- changes ---- */

static enum err cmd_function_load(struct session *s, struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    uint32_t last = rq->argc - 1;
    bool may_replace = false;
    if (coord_is_full(w)) return ERR_NO_MEM;
    for (uint32_t i = 2; i < last; i++) {
        if (!bytes_equal_nocase(rq->argv[i], "replace")) {
            reply_error(out, "ERR Unknown option given: %.*s",
                        (int)MIN(rq->argv[i].size, (size_t)INT32_MAX), rq->argv[i].data);
            return OK;
        }
        may_replace = true;
    }
    struct library *l;
    struct buf *error = error_buf(s);
    struct lua_vm *vm = script_vm(w);
    if (!vm) return ERR_ALLOC;
    if (!functions_load(functions_of(s), vm, rq->argv[last], may_replace, &l, error))
        return reply_outcome(s, false, out);
    reply_bulk(out, l->name);
    library_unref(l);
    function_log_then_answer(s, out);
    return OK;
}

static enum err cmd_function_delete(struct session *s, struct request *rq, struct reply *out)
{
    bool ok = functions_delete(functions_of(s), rq->argv[2], error_buf(s));
    return reply_outcome(s, ok, out);
}

static void reply_arguments(struct request *rq, struct reply *out)
{
    reply_error(out,
                "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try FUNCTION "
                "HELP.",
                (int)MIN(rq->argv[1].size, (size_t)INT32_MAX), rq->argv[1].data);
}

static enum err cmd_function_flush(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc > 3) {
        reply_arguments(rq, out);
        return OK;
    }
    bool ok = rq->argc == 2 || bytes_equal_nocase(rq->argv[2], "sync") ||
              bytes_equal_nocase(rq->argv[2], "async");
    if (!ok) {
        reply_error(out, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
        return OK;
    }
    if (!functions_flush(functions_of(s))) return ERR_ALLOC;
    return reply_outcome(s, true, out);
}

static bool read_policy(struct bytes word, enum functions_policy *policy)
{
    if (bytes_equal_nocase(word, "append"))
        *policy = FUNCTIONS_ADD;
    else if (bytes_equal_nocase(word, "replace"))
        *policy = FUNCTIONS_REPLACE;
    else if (bytes_equal_nocase(word, "flush"))
        *policy = FUNCTIONS_FLUSH;
    else
        return false;
    return true;
}

static enum err cmd_function_restore(struct session *s, struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    enum functions_policy policy = FUNCTIONS_ADD;
    if (coord_is_full(w)) return ERR_NO_MEM;
    if (rq->argc > 4) {
        reply_arguments(rq, out);
        return OK;
    }
    if (rq->argc == 4 && !read_policy(rq->argv[3], &policy)) {
        reply_error(out, "ERR Wrong restore policy given, value should be either FLUSH, APPEND or "
                         "REPLACE.");
        return OK;
    }
    struct buf *error = error_buf(s);
    struct lua_vm *vm = script_vm(w);
    if (!vm) return ERR_ALLOC;
    bool ok = functions_restore(functions_of(s), vm, rq->argv[2], policy, error);
    return reply_outcome(s, ok, out);
}

/* ---- what is there ---- */

struct listing {
    bool with_code, has_pattern;
    struct bytes pattern;
};

/* Unlike other errors, Redis ends this one with a space for each line end of the word. */
static void reply_unknown_argument(struct reply *out, struct bytes word)
{
    int size = (int)strnlen(word.data, MIN(word.size, (size_t)INT32_MAX)), end = size;
    while (end > 0 && strchr("\r\n", word.data[end - 1])) end--;
    reply_error(out, "ERR Unknown argument %.*s%*s", end, word.data, size - end, "");
}

/* False: `out` says why not. */
static bool read_listing(const struct request *rq, struct listing *l, struct reply *out)
{
    *l = (struct listing){0};
    for (uint32_t i = 2; i < rq->argc; i++) {
        struct bytes word = rq->argv[i];
        if (!l->with_code && bytes_equal_nocase(word, "withcode")) {
            l->with_code = true;
        } else if (!l->has_pattern && bytes_equal_nocase(word, "libraryname")) {
            if (++i == rq->argc) {
                reply_error(out, "ERR library name argument was not given");
                return false;
            }
            l->has_pattern = true;
            l->pattern = rq->argv[i];
        } else {
            reply_unknown_argument(out, word);
            return false;
        }
    }
    return true;
}

static bool is_listed(const struct listing *l, const struct library *library)
{
    return !l->has_pattern || text_glob_match(l->pattern, library->name, true);
}

static void write_function(const struct function *f, struct reply *out)
{
    uint32_t flags = f->script.flags;
    reply_map(out, 3);
    reply_bulk_text(out, "name");
    reply_bulk_text(out, f->script.label);
    reply_bulk_text(out, "description");
    if (f->has_description)
        reply_bulk(out, f->description);
    else
        reply_null(out);
    reply_bulk_text(out, "flags");
    reply_set(out, (uint64_t)__builtin_popcount(flags));
    for (unsigned i = 0; i < SCRIPT_FLAG_COUNT; i++)
        if (flags & 1u << i) reply_status(out, script_flag_names[i]);
}

static void write_library(const struct library *l, bool with_code, struct reply *out)
{
    reply_map(out, with_code ? 4 : 3);
    reply_bulk_text(out, "library_name");
    reply_bulk(out, l->name);
    reply_bulk_text(out, "engine");
    reply_bulk_text(out, "LUA");
    reply_bulk_text(out, "functions");
    reply_array(out, l->function_count);
    for (uint32_t i = 0; i < l->function_count; i++) write_function(&l->functions[i], out);
    if (!with_code) return;
    reply_bulk_text(out, "library_code");
    reply_bulk(out, l->code);
}

static enum err cmd_function_list(struct session *s, struct request *rq, struct reply *out)
{
    struct listing l;
    if (!read_listing(rq, &l, out)) return OK;
    struct library_set *set = functions_take(functions_of(s));
    uint64_t count = 0;
    for (uint32_t i = 0; i < set->library_count; i++) count += is_listed(&l, set->libraries[i]);
    reply_array(out, count);
    for (uint32_t i = 0; i < set->library_count; i++)
        if (is_listed(&l, set->libraries[i])) write_library(set->libraries[i], l.with_code, out);
    library_set_unref(functions_of(s), set);
    return OK;
}

static enum err cmd_function_stats(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct scripts *all = &session_worker(s)->server->scripts;
    bool is_only_script = atomic_load(&all->kinds[KIND_SCRIPT].count) > 0 &&
                          atomic_load(&all->kinds[KIND_FUNCTION].count) == 0;
    if (is_only_script) {
        scripts_write_busy(all, out);
        return OK;
    }
    struct functions *f = functions_of(s);
    reply_map(out, 2);
    reply_bulk_text(out, "running_script");
    scripts_write_running(all, out);
    reply_bulk_text(out, "engines");
    reply_map(out, 1);
    reply_bulk_text(out, "LUA");
    reply_map(out, 2);
    reply_bulk_text(out, "libraries_count");
    reply_i64(out, (int64_t)atomic_load(&f->library_count));
    reply_bulk_text(out, "functions_count");
    reply_i64(out, (int64_t)atomic_load(&f->function_count));
    return OK;
}

static enum err cmd_function_dump(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct buf payload = {.mem = &w->net.mem};
    struct library_set *set = functions_take(functions_of(s));
    bool ok = functions_dump(set, w->config->rdbcompression, &payload) &&
              reply_try_reserve(out, REPLY_STRING_BYTES(payload.size));
    library_set_unref(functions_of(s), set);
    if (ok) reply_bulk(out, buf_view(&payload));
    buf_clear(&payload);
    return ok ? OK : ERR_ALLOC;
}

static enum err cmd_function_kill(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    scripts_kill(&session_worker(s)->server->scripts, KIND_FUNCTION, out);
    return OK;
}

static const char *const function_help[] = {
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME "
    "argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using "
    "FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a "
    "restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, "
    "abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, "
    "replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance "
    "of failure",
    "      in case of functions name collision with another library).",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
static const char *const tips_change[] = {"request_policy:all_shards", "response_policy:all_succeeded", NULL};
static const char *const tips_kill[] = {"request_policy:all_shards", "response_policy:one_succeeded", NULL};
static const char *const tips_list[] = {"nondeterministic_output_order", NULL};
static const char *const tips_stats[] = {"nondeterministic_output", "request_policy:all_shards", "response_policy:special", NULL};

#define CHANGE_FLAGS (CMD_WRITE | CMD_NO_SCRIPT | CMD_BARRIER | CMD_DEFERS)

static const struct command function_subcommands[] = {
    {.name = "load", .on_net = cmd_function_load, .arity = -3, .plan = PLAN_NET, .flags = CHANGE_FLAGS | CMD_DENY_OOM, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N bytes of the code", .summary = "Makes a library of functions known.", .tips = tips_change},
    {.name = "delete", .on_net = cmd_function_delete, .arity = 3, .plan = PLAN_NET, .flags = CHANGE_FLAGS, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N libraries", .summary = "Forgets a library and its functions.", .tips = tips_change},
    {.name = "flush", .on_net = cmd_function_flush, .arity = -2, .plan = PLAN_NET, .flags = CHANGE_FLAGS, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N libraries", .summary = "Forgets all libraries.", .tips = tips_change},
    {.name = "restore", .on_net = cmd_function_restore, .arity = -3, .plan = PLAN_NET, .flags = CHANGE_FLAGS | CMD_DENY_OOM, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N bytes of the payload", .summary = "Makes the libraries of a payload of FUNCTION DUMP known.", .tips = tips_change},
    {.name = "dump", .on_net = cmd_function_dump, .arity = 2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N bytes of code", .summary = "Returns all libraries as one payload."},
    {.name = "list", .on_net = cmd_function_list, .arity = -2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(N): N functions", .summary = "Lists libraries and their functions.", .tips = tips_list},
    {.name = "stats", .on_net = cmd_function_stats, .arity = 2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_ALLOW_BUSY, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(1)", .summary = "Tells which function runs for long, and how many there are.", .tips = tips_stats},
    {.name = "kill", .on_net = cmd_function_kill, .arity = 2, .plan = PLAN_NET, .flags = CMD_NO_SCRIPT | CMD_ALLOW_BUSY, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(1)", .summary = "Ends functions that run too long and have not written.", .tips = tips_kill},
    {.name = "help", .on_net = command_help_on_net, .help = function_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_SCRIPTING, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "scripting", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};

#define FCALL_FLAGS (CMD_NO_SCRIPT | CMD_STALE | CMD_SKIP_MONITOR | CMD_NO_MANDATORY_KEYS | CMD_MOVABLE_KEYS)
#define FCALL_KEYS(key_flags) {{.flags = (key_flags), .begin = 2, .count_index = 0, .first = 1, .step = 1}}

static const struct command commands[] = {
    {.name = "fcall", .arity = -3, .plan = PLAN_SCRIPT, .flags = FCALL_FLAGS, .acl = ACL_SCRIPTING, .keys = FCALL_KEYS(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "7.0.0", .group = "scripting", .complexity = "That of the function", .summary = "Calls a function of a library."},
    {.name = "fcall_ro", .arity = -3, .plan = PLAN_SCRIPT, .flags = FCALL_FLAGS | CMD_READ, .acl = ACL_SCRIPTING, .keys = FCALL_KEYS(KEY_RO | KEY_ACCESS),
     .since = "7.0.0", .group = "scripting", .complexity = "That of the function", .summary = "Calls a function that only reads."},
    {.name = "function", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE, .subcommands = function_subcommands,
     .since = "7.0.0", .group = "scripting", .complexity = "Depends on subcommand.", .summary = "Commands about functions."},
};
/* clang-format on */
const struct command_family function_family = {"function", commands, ARRAY_LEN(commands)};
