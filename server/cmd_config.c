/* cmd_config.c: CONFIG GET, SET, REWRITE, RESETSTAT. */

#include "base/log.h"
#include "server/acl_file.h"
#include "server/broadcast.h"
#include "server/cmd_admin.h"
#include "server/server.h"
#include "server/stats.h"
#include "server/worker.h"

/* ---- GET: from the snapshot of the net thread ---- */

static void count_pair(void *context, UNUSED const char *name, UNUSED struct bytes value)
{
    uint64_t *count = context;
    ++*count;
}

static void write_pair(void *context, const char *name, struct bytes value)
{
    struct reply *out = context;
    reply_bulk_text(out, name);
    reply_bulk(out, value);
}

static enum err cmd_config_get(struct session *s, struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    /* Only looked at, so a plain copy will do: its scratch memory must be this thread's. */
    struct config view = *w->config;
    view.mem = &w->net.mem;
    uint64_t count = 0;
    config_get(&view, rq->argv + 2, rq->argc - 2, count_pair, &count);
    reply_map(out, count);
    config_get(&view, rq->argv + 2, rq->argc - 2, write_pair, out);
    return OK;
}

/* ---- SET, REWRITE: on the main thread ---- */

static void reply_text(struct reply *out, struct buf *error)
{
    reply_error(out, "%.*s", (int)error->size, error->data);
    buf_clear(error);
}

/* True: `changed` is in effect on the main thread. */
static bool config_change_is_applied(struct server *srv, struct request *rq, struct config *changed,
                                     struct buf *error)
{
    const struct main_request *m = container_of(rq, struct main_request, request);
    if (config_set(srv->config, rq->argv + 2, rq->argc - 2, m->client_is_local, changed, error) !=
        OK)
        return false;
    uint32_t areas = config_diff(srv->config, changed);
    if (server_apply_config(srv, changed, areas, error)) return true;
    config_deinit(changed);
    return false;
}

static enum err cmd_config_set(struct server *srv, struct request *rq, struct reply *out)
{
    if (rq->argc % 2 != 0) return ERR_SYNTAX;
    struct buf error = {.mem = &srv->mem};
    struct config *changed = mem_alloc(&srv->mem, sizeof *changed);
    if (!config_change_is_applied(srv, rq, changed, &error)) {
        mem_free(&srv->mem, changed, sizeof *changed);
        reply_text(out, &error);
        return OK;
    }
    buf_clear(&error);
    server_publish_config(srv, changed);
    reply_ok(out);
    return OK;
}

/* With the present users in place of those that it began with. */
static enum err rewrite(struct server *srv, struct buf *error)
{
    struct config view;
    config_copy(srv->config, &view);
    enum err e = acl_config_lines(&srv->acl, &view) ? config_rewrite(&view, error) : ERR_ALLOC;
    if (e == ERR_ALLOC) buf_append_text(error, err_text(e));
    config_deinit(&view);
    return e;
}

static enum err cmd_config_rewrite(struct server *srv, UNUSED struct request *rq, struct reply *out)
{
    struct buf error = {.mem = &srv->mem};
    if (rewrite(srv, &error) != OK) {
        log_warning("CONFIG REWRITE failed: %.*s", (int)error.size, error.data);
        reply_text(out, &error);
        return OK;
    }
    log_notice("CONFIG REWRITE executed with success.");
    buf_clear(&error);
    reply_ok(out);
    return OK;
}

/* ---- the rest ---- */

static void reset_statistics(struct thread *at, UNUSED uint64_t argument)
{
    if (thread_is_main(at))
        stats_reset_main(at->owner);
    else
        stats_reset_worker(at->owner);
}

static enum err cmd_config_resetstat(struct session *s, UNUSED struct request *rq,
                                     UNUSED struct reply *out)
{
    broadcast(s, reset_statistics, 0);
    return OK;
}

static const char *const config_help[] = {
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
#define CONFIG_FLAGS (CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE)
static const char *const tips_set[] = {"request_policy:all_nodes", "response_policy:all_succeeded", NULL};
const struct command config_subcommands[] = {
    {.name = "get", .on_net = cmd_config_get, .arity = -3, .plan = PLAN_NET, .flags = CONFIG_FLAGS | CMD_BARRIER, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "server", .complexity = "O(N): N directives times patterns", .summary = "Shows directives and their values."},
    {.name = "set", .on_main = cmd_config_set, .arity = -4, .plan = PLAN_MAIN, .flags = CONFIG_FLAGS | CMD_SENSITIVE, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "server", .complexity = "O(N): N directives given", .summary = "Changes directives while the server runs, all or none.", .tips = tips_set},
    {.name = "resetstat", .on_net = cmd_config_resetstat, .arity = 2, .plan = PLAN_NET, .flags = CONFIG_FLAGS | CMD_BARRIER | CMD_DEFERS, .keys = KEYS_NONE,
     .since = "2.0.0", .group = "server", .complexity = "O(1)", .summary = "Starts the counters of INFO afresh."},
    {.name = "rewrite", .on_main = cmd_config_rewrite, .arity = 2, .plan = PLAN_MAIN, .flags = CONFIG_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.0", .group = "server", .complexity = "O(1)", .summary = "Writes the values in use into the configuration file."},
    {.name = "help", .on_net = command_help_on_net, .help = config_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};
/* clang-format on */
