/* cmd_latency.c: LATENCY: events (server/latency.h), and the histograms of commands. */
#include "base/env.h"
#include "server/families.h"
#include "server/server.h"
#include "server/stats.h"
#include "server/worker.h"

static struct latency *latency_of(const struct session *s)
{
    return &session_worker(s)->server->latency;
}

static uint32_t now_s(void)
{
    return (uint32_t)(env_wall_us() / 1000000);
}

/* ---- events ---- */

#define EVENT_SHOWN_BYTES (64 * 1024) /* of a name that there is not */

static enum err cmd_latency_latest(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct latency_event e;
    uint32_t count = 0;
    while (latency_read(latency_of(s), count, &e)) count++;
    reply_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        /* Another connection may forget events meanwhile: the last ones then are empty. */
        bool is_there = latency_read(latency_of(s), i, &e);
        const struct latency_sample *last = is_there ? latency_sample(&e, e.count - 1) : NULL;
        reply_array(out, 4);
        reply_bulk_text(out, is_there ? e.name : "");
        reply_i64(out, last ? last->unix_s : 0);
        reply_i64(out, last ? last->ms : 0);
        reply_i64(out, is_there ? e.ms_max : 0);
    }
    return OK;
}

static enum err cmd_latency_history(struct session *s, struct request *rq, struct reply *out)
{
    struct latency_event e;
    if (!latency_find(latency_of(s), rq->argv[2], &e)) e.count = 0;
    reply_array(out, e.count);
    for (uint32_t i = 0; i < e.count; i++) {
        const struct latency_sample *sample = latency_sample(&e, i);
        reply_array(out, 2);
        reply_i64(out, sample->unix_s);
        reply_i64(out, sample->ms);
    }
    return OK;
}

static enum err cmd_latency_reset(struct session *s, struct request *rq, struct reply *out)
{
    struct latency *l = latency_of(s);
    int64_t count = 0;
    struct latency_event e;
    for (uint32_t i = 2; i < rq->argc; i++) count += latency_forget(l, rq->argv[i]);
    while (rq->argc == 2 && latency_read(l, 0, &e)) count += latency_forget(l, bytes_of(e.name));
    reply_i64(out, count);
    return OK;
}

static enum err cmd_latency_graph(struct session *s, struct request *rq, struct reply *out)
{
    struct latency_event e;
    struct bytes name = rq->argv[2];
    if (!latency_find(latency_of(s), name, &e)) {
        reply_error(out, "ERR No samples available for event '%.*s'",
                    (int)MIN(name.size, (size_t)EVENT_SHOWN_BYTES), name.data);
        return OK;
    }
    struct buf text = {.mem = &session_worker(s)->net.mem};
    latency_draw(&e, now_s(), &text);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* ---- DOCTOR ---- */

/* What to do about an event, by how its name begins. */
static const struct {
    const char *event, *advice;
} advices[] = {
    {"command", "SLOWLOG GET shows which commands take long, and for whom."},
    {"command", "KEYS, SMEMBERS, LRANGE, SORT and their like take time in proportion to what they "
                "return: ask for less at a time, or SCAN."},
    {"fast-command", "Commands that are short by nature took long: look for swapping, for other "
                     "processes on these CPUs (INFO threads), or for very large values."},
    {"expire-cycle",
     "Slices of 200 us remove what has expired, so a long one was interrupted: look "
     "for other processes on these CPUs."},
    {"eviction", "Evicting takes longer the larger the values are: raise maxmemory, or lower "
                 "maxmemory-eviction-tenacity."},
    {"active-defrag", "Lower active-defrag-cycle-max, or active-defrag-max-scan-fields."},
    {"aof", "The disk is slow for appendfsync as it is set: use everysec, or a faster disk that no "
            "other process writes to."},
};

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static void report_event(const struct latency_event *e, uint32_t number, struct buf *text)
{
    struct latency_extent x = latency_measure(e, now_s());
    buf_printf(text,
               "%u. %s: %u samples, mean %.0f ms, mean deviation %.0f ms, one every %.2f s, worst "
               "of all times %u ms.\n",
               number, e->name, e->count, x.ms_mean, x.ms_deviation, x.period_s, e->ms_max);
}

static void advise(struct latency *l, struct buf *text)
{
    struct latency_event e;
    buf_append_text(text, "\nWhat may help:\n\n");
    for (unsigned a = 0; a < ARRAY_LEN(advices); a++) {
        bool applies = false;
        for (uint32_t i = 0; latency_read(l, i, &e); i++)
            applies |= begins_with(e.name, advices[a].event);
        if (applies) buf_printf(text, "- %s\n", advices[a].advice);
    }
}

static enum err cmd_latency_doctor(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct latency *l = latency_of(s);
    struct buf text = {.mem = &w->net.mem};
    struct latency_event e;
    uint32_t count = 0;
    for (; latency_read(l, count, &e); count++) {
        if (count == 0) buf_append_text(&text, "What has taken longer than it should:\n\n");
        report_event(&e, count + 1, &text);
    }
    if (count > 0)
        advise(l, &text);
    else if (w->config->latency_monitor_threshold_ms == 0)
        buf_append_text(&text, "Nothing is measured: latency monitoring is disabled. CONFIG SET "
                               "latency-monitor-threshold <milliseconds> enables it.\n");
    else
        buf_printf(&text, "Nothing has taken %llu ms or longer since the last LATENCY RESET.\n",
                   (unsigned long long)w->config->latency_monitor_threshold_ms);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* ---- HISTOGRAM ---- */

/* The steps that are shown: powers of two of 1,024 ns, as far as they add something. */
#define SHOWN_FIRST_NS 1024u

struct shown_step {
    uint64_t us, count;
};

static uint32_t list_steps(const struct histogram_sum *sum, struct shown_step out[32])
{
    uint32_t count = 0;
    uint64_t before = 0;
    for (uint64_t ns = SHOWN_FIRST_NS; before < sum->total; ns *= 2) {
        uint64_t seen = histogram_sum_up_to(sum, ns);
        if (seen == before) continue;
        out[count++] = (struct shown_step){histogram_step_last(ns) / 1000, seen};
        before = seen;
    }
    return count;
}

static void reply_histogram(const struct route *route, const struct histogram_sum *sum,
                            struct reply *out)
{
    struct shown_step steps[32];
    uint32_t count = list_steps(sum, steps);
    reply_bulk_text(out, route->full_name);
    reply_map(out, 2);
    reply_bulk_text(out, "calls");
    reply_i64(out, (int64_t)sum->total);
    reply_bulk_text(out, "histogram_usec");
    reply_map(out, count);
    for (uint32_t i = 0; i < count; i++) {
        reply_i64(out, (int64_t)steps[i].us);
        reply_i64(out, (int64_t)steps[i].count);
    }
}

/* Writes a command's histogram behind the others, or those of its subcommands. */
static uint32_t append_route(const struct server *srv, const struct route *route, struct reply *out)
{
    struct histogram_sum sum;
    if (stats_read_histogram(srv, route->id, &sum)) {
        reply_histogram(route, &sum, out);
        return 1;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < route->child_count; i++) {
        if (!stats_read_histogram(srv, route->children[i].id, &sum)) continue;
        reply_histogram(&route->children[i], &sum, out);
        count++;
    }
    return count;
}

static enum err cmd_latency_histogram(struct session *s, struct request *rq, struct reply *out)
{
    const struct server *srv = session_worker(s)->server;
    struct reply all;
    uint32_t count = 0;
    reply_init(&all, NULL, out->mem);
    all.resp = out->resp;
    for (uint32_t i = 0; rq->argc == 2 && i < srv->router.top_count; i++)
        count += append_route(srv, &srv->router.routes[i], &all);
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct route *route = router_find_name(&srv->router, rq->argv[i]);
        if (route) count += append_route(srv, route, &all);
    }
    struct chunk *chain = reply_take(&all);
    reply_map(out, count);
    for (const struct chunk *c = chain; c; c = c->next) reply_raw(out, c->data, c->size);
    chunk_free_chain(out->mem, chain);
    return OK;
}

static const char *const latency_help[] = {
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the "
    "specified command names.",
    "    If no commands are specified then all histograms are replied.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
#define LATENCY_FLAGS (CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_BARRIER)
static const char *const tips_read[] = {"nondeterministic_output", "request_policy:all_nodes", "response_policy:special", NULL};
static const char *const tips_reset[] = {"request_policy:all_nodes", "response_policy:all_succeeded", NULL};
static const struct command latency_subcommands[] = {
    {.name = "doctor", .on_net = cmd_latency_doctor, .arity = 2, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Reports what took long, and what may help.", .tips = tips_read},
    {.name = "graph", .on_net = cmd_latency_graph, .arity = 3, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Draws the samples of an event.", .tips = tips_read},
    {.name = "histogram", .on_net = cmd_latency_histogram, .arity = -2, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "7.0.0", .group = "server", .complexity = "O(N): N commands shown", .summary = "Shows how often commands took how long.", .tips = tips_read},
    {.name = "history", .on_net = cmd_latency_history, .arity = 3, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Shows the samples of an event.", .tips = tips_read},
    {.name = "latest", .on_net = cmd_latency_latest, .arity = 2, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Shows the last sample of every event.", .tips = tips_read},
    {.name = "reset", .on_net = cmd_latency_reset, .arity = -2, .plan = PLAN_NET, .flags = LATENCY_FLAGS, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Forgets the samples of some events, or of all.", .tips = tips_reset},
    {.name = "help", .on_net = command_help_on_net, .help = latency_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "2.8.13", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "latency", .arity = -2, .plan = PLAN_NET, .keys = KEYS_NONE, .subcommands = latency_subcommands,
     .since = "2.8.13", .group = "server", .complexity = "Depends on the subcommand.", .summary = "A container for commands on latency."},
};
/* clang-format on */
const struct command_family latency_family = {"latency", commands, ARRAY_LEN(commands)};
