/* cmd_memory.c: MEMORY USAGE, STATS, DOCTOR, MALLOC-STATS, PURGE. */

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"
#include "server/cmd_admin.h"
#include "server/server.h"
#include "server/stats.h"
#include "shard/object.h"

/* ---- USAGE, PURGE ---- */

#define USAGE_SAMPLES 5

static enum err cmd_memory_usage(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t samples = USAGE_SAMPLES;
    for (uint32_t i = 3; i < rq->argc; i += 2) {
        if (!bytes_equal_nocase(rq->argv[i], "samples") || i + 1 == rq->argc) return ERR_SYNTAX;
        if (!text_to_i64(rq->argv[i + 1], &samples)) return ERR_NOT_INT;
        if (samples < 0) return ERR_SYNTAX;
    }
    struct key k = request_key(sh, rq, 2);
    const struct entry *e = keyspace_peek(sh, &k);
    if (e)
        reply_i64(out, (int64_t)object_bytes(e, (uint64_t)samples));
    else
        reply_null(out);
    return OK;
}

static enum err cmd_memory_purge(UNUSED struct server *srv, UNUSED struct request *rq,
                                 struct reply *out)
{
    mem_purge();
    reply_ok(out);
    return OK;
}

/* ---- STATS ---- */

struct memory_stats {
    struct stats stats;
    const struct server *srv;
    struct reply *out;
};

static void put_u64(struct reply *out, const char *name, uint64_t value)
{
    reply_bulk_text(out, name);
    reply_i64(out, (int64_t)value);
}

static void put_double(struct reply *out, const char *name, double value)
{
    reply_bulk_text(out, name);
    reply_double(out, value);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Of all databases; `count` is set to those that have keys. */
static uint64_t keys_in_all(const struct server *srv, uint32_t *count)
{
    uint64_t keys = 0;
    *count = 0;
    for (uint32_t db = 0; db < srv->database_count; db++) {
        struct keyspace_stats s;
        if (!stats_read_database(srv, db, &s)) continue;
        keys += s.keys;
        ++*count;
    }
    return keys;
}

/* The tables hold keys with and without a deadline alike, so nothing is kept for expiry alone. */
static void put_databases(const struct server *srv, struct reply *out)
{
    for (uint32_t db = 0; db < srv->database_count; db++) {
        struct keyspace_stats s;
        char name[32];
        if (!stats_read_database(srv, db, &s)) continue;
        snprintf(name, sizeof name, "db.%" PRIu32, db);
        reply_bulk_text(out, name);
        reply_map(out, 3);
        put_u64(out, "overhead.hashtable.main", s.table_bytes);
        put_u64(out, "overhead.hashtable.expires", 0);
        put_u64(out, "overhead.hashtable.slot-to-keys", 0);
    }
}

static void put_allocator(const struct server *srv, uint64_t used, struct reply *out)
{
    const struct server_samples *m = &srv->samples;
    uint64_t allocated = counter_read(&m->allocator_allocated_bytes),
             active = counter_read(&m->allocator_active_bytes),
             resident = counter_read(&m->allocator_resident_bytes),
             rss = counter_read(&m->rss_bytes);
    put_u64(out, "allocator.allocated", allocated);
    put_u64(out, "allocator.active", active);
    put_u64(out, "allocator.resident", resident);
    put_double(out, "allocator-fragmentation.ratio", ratio(active, allocated));
    put_u64(out, "allocator-fragmentation.bytes", active - allocated);
    put_double(out, "allocator-rss.ratio", ratio(resident, active));
    put_u64(out, "allocator-rss.bytes", resident - active);
    put_double(out, "rss-overhead.ratio", ratio(rss, resident));
    put_u64(out, "rss-overhead.bytes", rss - resident);
    put_double(out, "fragmentation", ratio(rss, used));
    put_u64(out, "fragmentation.bytes", rss - used);
}

static enum err cmd_memory_stats(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    const struct server *srv = session_worker(s)->server;
    struct stats st;
    stats_read(srv, &st);
    uint32_t databases;
    uint64_t keys = keys_in_all(srv, &databases);
    uint64_t net_of_startup = minus(st.used_memory, srv->startup_memory_bytes);
    reply_map(out, 27 + databases);
    put_u64(out, "peak.allocated", st.used_memory_peak);
    put_u64(out, "total.allocated", st.used_memory);
    put_u64(out, "startup.allocated", srv->startup_memory_bytes);
    put_u64(out, "replication.backlog", 0);
    put_u64(out, "clients.slaves", 0);
    put_u64(out, "clients.normal", st.used_memory_clients);
    put_u64(out, "cluster.links", 0);
    put_u64(out, "aof.buffer", st.log_buffer_bytes);
    put_u64(out, "lua.caches",
            atomic_load_explicit(&srv->scripts.cache.bytes, memory_order_relaxed));
    put_u64(out, "functions.caches",
            atomic_load_explicit(&srv->scripts.functions.bytes, memory_order_relaxed));
    put_databases(srv, out);
    put_u64(out, "overhead.total", st.used_memory_overhead);
    put_u64(out, "keys.count", keys);
    put_u64(out, "keys.bytes-per-key", keys ? net_of_startup / keys : 0);
    put_u64(out, "dataset.bytes", st.used_memory_dataset);
    put_double(out, "dataset.percentage", 100 * ratio(st.used_memory_dataset, net_of_startup));
    put_double(out, "peak.percentage", 100 * ratio(st.used_memory, st.used_memory_peak));
    put_allocator(srv, st.used_memory, out);
    return OK;
}

/* ---- DOCTOR ---- */

#define DOCTOR_BYTES_MIN (5 * 1024 * 1024)
#define DOCTOR_SLACK_BYTES (10 * 1024 * 1024)

static void complain(struct buf *report, const char *text)
{
    buf_append_text(report, " * ");
    buf_append_text(report, text);
    buf_append_text(report, "\n\n");
}

static void examine(const struct server *srv, const struct stats *st, struct buf *report)
{
    const struct server_samples *m = &srv->samples;
    uint64_t allocated = counter_read(&m->allocator_allocated_bytes),
             active = counter_read(&m->allocator_active_bytes),
             resident = counter_read(&m->allocator_resident_bytes),
             rss = counter_read(&m->rss_bytes), cgroup = counter_read(&srv->container.limit_bytes),
             in_cgroup = MAX(rss, counter_read(&srv->container.used_bytes));
    uint64_t connections = MAX(st->connections, (uint64_t)1);
    if (2 * st->used_memory_peak > 3 * st->used_memory)
        complain(
            report,
            "Peak memory: half as much again as now was in use before. The allocator keeps some of "
            "those pages; MEMORY PURGE gives them back.");
    if (active > allocated + DOCTOR_SLACK_BYTES && ratio(active, allocated) > 1.4)
        complain(report, "Fragmentation: the pages in use are far from full. Values of other sizes "
                         "have left gaps.");
    if (resident > active + DOCTOR_SLACK_BYTES && ratio(resident, active) > 1.1)
        complain(
            report,
            "Unused pages: the allocator holds pages that nothing lives in. They go back within "
            "seconds of quiet, or by MEMORY PURGE.");
    if (rss > resident + DOCTOR_SLACK_BYTES && ratio(rss, resident) > 1.1)
        complain(
            report,
            "Resident memory outside the allocator: libraries, stacks or the kernel's rings take "
            "more than a tenth of all.");
    if (st->used_memory_clients / connections > 200 * 1024)
        complain(
            report,
            "Big client buffers: more than 200 KiB for each connection. Somebody sends or gets "
            "large data, or does not read its replies (CLIENT LIST: omem).");
    if (cgroup && in_cgroup > cgroup / 10 * 9)
        complain(report, "The container's limit is near: over 90 % of it is in use. The kernel "
                         "ends the process "
                         "that exceeds it; set maxmemory below it.");
}

static enum err cmd_memory_doctor(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct stats st;
    stats_read(w->server, &st);
    struct buf *report = &w->scratch;
    report->size = 0;
    if (st.used_memory < DOCTOR_BYTES_MIN) {
        buf_append_text(report, "Too little memory is in use to tell anything of it.");
    } else {
        examine(w->server, &st, report);
        if (report->size == 0) buf_append_text(report, "I can find no trouble with memory.");
    }
    reply_verbatim(out, "txt", buf_view(report));
    return OK;
}

/* ---- MALLOC-STATS ---- */

static void append_line(void *context, const char *text)
{
    buf_append_text(context, text);
}

static enum err cmd_memory_malloc_stats(struct server *srv, UNUSED struct request *rq,
                                        struct reply *out)
{
    struct buf text = {.mem = &srv->mem};
    mem_print_statistics(append_line, &text);
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* ---- the rest ---- */

static const char *const memory_help[] = {
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* clang-format off */
static const char *const tips_all_shards[] = {"request_policy:all_shards", "response_policy:all_succeeded", NULL};
static const char *const tips_special[] = {"nondeterministic_output", "request_policy:all_shards", "response_policy:special", NULL};

const struct command memory_subcommands[] = {
    {.name = "usage", .on_shard = cmd_memory_usage, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "4.0.0", .group = "server", .complexity = "O(N): N samples", .summary = "Tells how many bytes a key and its value take."},
    {.name = "stats", .on_net = cmd_memory_stats, .arity = 2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(N): N databases", .summary = "Tells what memory is used for.", .tips = tips_special},
    {.name = "doctor", .on_net = cmd_memory_doctor, .arity = 2, .plan = PLAN_NET, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(1)", .summary = "Looks for trouble with memory.", .tips = tips_special},
    {.name = "malloc-stats", .on_main = cmd_memory_malloc_stats, .arity = 2, .plan = PLAN_MAIN, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "Depends on how much there is.", .summary = "Shows the statistics of the allocator.", .tips = tips_special},
    {.name = "purge", .on_main = cmd_memory_purge, .arity = 2, .plan = PLAN_MAIN, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(N): N free pages", .summary = "Gives unused memory back to the system.", .tips = tips_all_shards},
    {.name = "help", .on_net = command_help_on_net, .help = memory_help, .arity = 2, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE, .keys = KEYS_NONE,
     .since = "4.0.0", .group = "server", .complexity = "O(1)", .summary = "Lists the subcommands."},
    {.name = NULL},
};
/* clang-format on */
