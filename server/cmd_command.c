/* The COMMAND commands: the command table as clients see it. Rows are written by command_info.c;
 * here is the choice of rows. */

#include "base/text.h"
#include "server/command_info.h"
#include "server/families.h"
#include "server/server.h"
#include "server/worker.h"

/* A name is a few bytes, what is said of it may be thousands. */
#define COMMAND_NAMES_MAX 4096

static const struct router *router_of(const struct session *s)
{
    return &session_worker(s)->server->router;
}

static bool is_known(const struct route *route)
{
    return !route->is_disabled && !(route->parent && route->parent->is_disabled);
}

/* Without subcommands. */
static uint32_t known_count(const struct router *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->top_count; i++) n += is_known(&r->routes[i]);
    return n;
}

/* False: the error has been written. */
static bool names_are_few(const struct request *rq, struct reply *out)
{
    if (rq->argc - 2 <= COMMAND_NAMES_MAX) return true;
    reply_error(out, "ERR at most %d command names can be asked for at once", COMMAND_NAMES_MAX);
    return false;
}

/* ---- COMMAND, COUNT, INFO, DOCS ---- */

static enum err cmd_command(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    const struct router *r = router_of(s);
    reply_array(out, known_count(r));
    for (uint32_t i = 0; i < r->top_count; i++)
        if (is_known(&r->routes[i])) command_info_reply(&r->routes[i], out);
    return OK;
}

static enum err cmd_command_count(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, known_count(router_of(s)));
    return OK;
}

static enum err cmd_command_info(struct session *s, struct request *rq, struct reply *out)
{
    const struct router *r = router_of(s);
    if (rq->argc == 2) return cmd_command(s, rq, out);
    if (!names_are_few(rq, out)) return OK;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct route *route = router_find_name(r, rq->argv[i]);
        if (route)
            command_info_reply(route, out);
        else
            reply_null(out);
    }
    return OK;
}

static enum err cmd_command_docs(struct session *s, struct request *rq, struct reply *out)
{
    const struct router *r = router_of(s);
    if (rq->argc == 2) {
        reply_map(out, known_count(r));
        for (uint32_t i = 0; i < r->top_count; i++)
            if (is_known(&r->routes[i])) command_docs_reply(&r->routes[i], out);
        return OK;
    }
    if (!names_are_few(rq, out)) return OK;
    uint32_t found = 0;
    for (uint32_t i = 2; i < rq->argc; i++) found += router_find_name(r, rq->argv[i]) != NULL;
    reply_map(out, found);
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct route *route = router_find_name(r, rq->argv[i]);
        if (route) command_docs_reply(route, out);
    }
    return OK;
}

/* ---- LIST ---- */

struct list_filter {
    enum { LIST_ALL, LIST_NONE, LIST_BY_ACL, LIST_BY_PATTERN } kind;
    uint32_t acl;
    struct bytes pattern;
};

static bool list_filter_fits(const struct list_filter *f, const struct route *route)
{
    switch (f->kind) {
    case LIST_ALL:
        return true;
    case LIST_NONE:
        return false;
    case LIST_BY_ACL:
        return (command_acl(route->command) & f->acl) != 0;
    case LIST_BY_PATTERN:
        return text_glob_match(f->pattern, bytes_of(route->full_name), true);
    }
    return false;
}

static bool list_filter_read(const struct request *rq, struct list_filter *f)
{
    if (rq->argc == 2) return true;
    if (rq->argc != 5 || !bytes_equal_nocase(rq->argv[2], "filterby")) return false;
    if (bytes_equal_nocase(rq->argv[3], "module")) {
        f->kind = LIST_NONE; /* there are no modules */
    } else if (bytes_equal_nocase(rq->argv[3], "aclcat")) {
        f->kind = LIST_BY_ACL;
        f->acl = acl_category_of_name(rq->argv[4]);
    } else if (bytes_equal_nocase(rq->argv[3], "pattern")) {
        f->kind = LIST_BY_PATTERN;
        f->pattern = rq->argv[4];
    } else {
        return false;
    }
    return true;
}

static enum err cmd_command_list(struct session *s, struct request *rq, struct reply *out)
{
    const struct router *r = router_of(s);
    struct list_filter filter = {.kind = LIST_ALL};
    if (!list_filter_read(rq, &filter)) return ERR_SYNTAX;
    struct buf *marks =
        &session_worker(s)->scratch; /* one byte a route, so that each is matched once */
    marks->size = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->route_count; i++) {
        char mark = is_known(&r->routes[i]) && list_filter_fits(&filter, &r->routes[i]);
        buf_append(marks, &mark, 1);
        count += mark != 0;
    }
    struct bytes fits = buf_view(marks);
    reply_array(out, count);
    for (uint32_t i = 0; i < r->route_count; i++)
        if (fits.data[i]) reply_bulk_text(out, r->routes[i].full_name);
    return OK;
}

/* ---- GETKEYS, GETKEYSANDFLAGS ---- */

static const char *keys_error(enum command_keys_result result)
{
    switch (result) {
    case KEYS_FOUND:
        return NULL;
    case KEYS_NO_COMMAND:
        return "ERR Invalid command specified";
    case KEYS_NEVER:
        return "ERR The command has no key arguments";
    case KEYS_ARITY:
        return "ERR Invalid number of arguments specified for command";
    case KEYS_INVALID:
        return "ERR Invalid arguments specified for command";
    case KEYS_NO_MEMORY:
        return err_text(ERR_ALLOC);
    }
    return NULL;
}

static enum err reply_keys(struct session *s, const struct request *rq, bool with_flags,
                           struct reply *out)
{
    const struct bytes *argv = rq->argv + 2;
    struct command_keys keys = {.mem = &s->conn.netloop->mem};
    enum command_keys_result result = command_keys_find(router_of(s), argv, rq->argc - 2, &keys);
    if (result != KEYS_FOUND)
        reply_error(out, "%s", keys_error(result));
    else
        reply_array(out, keys.count);
    for (uint32_t i = 0; result == KEYS_FOUND && i < keys.count; i++) {
        if (with_flags) reply_array(out, 2);
        reply_bulk(out, argv[keys.indexes[i]]);
        if (with_flags) command_key_flags_reply(keys.flags[i], out);
    }
    command_keys_free(&keys);
    return OK;
}

static enum err cmd_command_getkeys(struct session *s, struct request *rq, struct reply *out)
{
    return reply_keys(s, rq, false, out);
}

static enum err cmd_command_getkeysandflags(struct session *s, struct request *rq,
                                            struct reply *out)
{
    return reply_keys(s, rq, true, out);
}

/* ---- HELP ---- */

/* clang-format off */
static const char *const command_help[] = {
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    What COMMAND INFO says of every command.",
    "COUNT",
    "    How many commands there are.",
    "DOCS [<command-name> ...]",
    "    A few words on these commands, or on all.",
    "GETKEYS <full-command>",
    "    The arguments of that command that are keys.",
    "GETKEYSANDFLAGS <full-command>",
    "    The same, and what would be done to each key.",
    "INFO [<command-name> ...]",
    "    Arity, flags and keys of these commands, or of all.",
    "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    The names of all commands, or of those that fit.",
    "HELP",
    "    Print this text.",
    NULL,
};
/* clang-format on */

/* clang-format off */
#define ABOUT (CMD_LOADING | CMD_STALE)
static const char *const tips_order_varies[] = {"nondeterministic_output_order", NULL};
static const struct command command_subcommands[] = {
    {.name = "count", .on_net = cmd_command_count, .arity = 2, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(n) for n commands", .summary = "The number of commands."},
    {.name = "info", .on_net = cmd_command_info, .arity = -2, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(n) for n commands asked for", .summary = "Arity, flags and keys of commands.", .tips = tips_order_varies},
    {.name = "docs", .on_net = cmd_command_docs, .arity = -2, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(n) for n commands asked for", .summary = "A few words on commands.", .tips = tips_order_varies},
    {.name = "list", .on_net = cmd_command_list, .arity = -2, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(n) for n commands", .summary = "The names of commands.", .tips = tips_order_varies},
    {.name = "getkeys", .on_net = cmd_command_getkeys, .arity = -4, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(n) for n arguments", .summary = "The keys of a call."},
    {.name = "getkeysandflags", .on_net = cmd_command_getkeysandflags, .arity = -4, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(n) for n arguments", .summary = "The keys of a call and what it does to them."},
    {.name = "help", .on_net = command_help_on_net, .help = command_help, .arity = 2, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "server", .complexity = "O(1)", .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "command", .on_net = cmd_command, .arity = -1, .plan = PLAN_NET, .flags = ABOUT, .acl = ACL_CONNECTION, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(n) for n commands", .summary = "Arity, flags and keys of all commands.", .tips = tips_order_varies, .subcommands = command_subcommands},
};
/* clang-format on */
const struct command_family command_info_family = {"command", commands, ARRAY_LEN(commands)};
