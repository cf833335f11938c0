/* cmd_info.c: INFO: one function per section, over what stats.h has added up.
 *
 * A field of Redis whose feature is not here yet has the value that is true then: 0, or no. One
 * that would have to be made up is left out.
 */

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "server/config_value.h"
#include "server/families.h"
#include "server/server.h"
#include "server/stats.h"
#include "server/supervise.h"

struct info {
    const struct server *srv;
    const struct config *config;
    const struct worker *here;
    struct stats stats;
    struct buf *out;
};

/* ---- lines ---- */

struct number {
    const char *name;
    uint64_t value;
};

#define NUMBERS(in, ...)                                                                           \
    do {                                                                                           \
        const struct number rows_[] = {__VA_ARGS__};                                               \
        write_numbers((in), rows_, ARRAY_LEN(rows_));                                              \
    } while (0)

static void write_numbers(struct info *in, const struct number *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(in->out, "%s:%llu\r\n", rows[i].name, (unsigned long long)rows[i].value);
}

static void write_zeros(struct info *in, const char *const *names)
{
    for (; *names; names++) buf_printf(in->out, "%s:0\r\n", *names);
}

static void write_text(struct info *in, const char *name, const char *value)
{
    buf_printf(in->out, "%s:%s\r\n", name, value);
}

/* -1 stands for what has not happened. */
static void write_span(struct info *in, const char *name, bool is_known, uint64_t seconds)
{
    buf_printf(in->out, "%s:%lld\r\n", name, is_known ? (long long)seconds : -1LL);
}

/* 1536 is "1.50K". */
static void write_human(struct info *in, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024 && unit < sizeof units - 2) {
        value /= 1024;
        unit++;
    }
    buf_printf(in->out, "%s_human:%.*f%c\r\n", name, unit ? 2 : 0, value, units[unit]);
}

static void write_ratio(struct info *in, const char *name, uint64_t part, uint64_t whole)
{
    buf_printf(in->out, "%s:%.2f\r\n", name, whole ? (double)part / (double)whole : 0.0);
}

static void write_percent(struct info *in, const char *name, uint64_t part, uint64_t whole)
{
    buf_printf(in->out, "%s:%.2f%%\r\n", name, whole ? 100.0 * (double)part / (double)whole : 0.0);
}

static void write_seconds(struct info *in, const char *name, uint64_t us)
{
    buf_printf(in->out, "%s:%llu.%06llu\r\n", name, (unsigned long long)(us / 1000000),
               (unsigned long long)(us % 1000000));
}

/* The difference of two readings that were not taken at the same moment. */
static int64_t difference(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b);
}

/* ---- sections ---- */

static void write_listeners(struct info *in)
{
    const struct config *c = in->config;
    unsigned n = 0;
    if (in->srv->tcp_port) {
        buf_printf(in->out, "listener%u:name=tcp", n++);
        for (uint32_t i = 0; i < c->bind.count; i++)
            buf_printf(in->out, ",bind=%s", c->bind.items[i]);
        buf_printf(in->out, ",port=%u\r\n", (unsigned)in->srv->tcp_port);
    }
    if (c->unixsocket[0]) buf_printf(in->out, "listener%u:name=unix,bind=%s\r\n", n, c->unixsocket);
}

/* The linker's, as far as 64 bits show it; 0: it gave none. */
static int find_build_id(struct dl_phdr_info *program, UNUSED size_t size, void *out)
{
    for (unsigned i = 0; i < program->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &program->dlpi_phdr[i];
        if (part->p_type != PT_NOTE) continue;
        const char *at = (const char *)(uintptr_t)(program->dlpi_addr + part->p_vaddr);
        const char *end = at + part->p_memsz;
        while ((size_t)(end - at) > sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            at += sizeof note + ((note.n_namesz + 3u) & ~3u);
            if (note.n_type == NT_GNU_BUILD_ID && note.n_descsz >= sizeof(uint64_t)) {
                memcpy(out, at, sizeof(uint64_t));
                return 1;
            }
            at += (note.n_descsz + 3u) & ~3u;
        }
    }
    return 1; /* The first program is our own. */
}

static uint64_t build_id(void)
{
    uint64_t id = 0;
    dl_iterate_phdr(find_build_id, &id);
    return __builtin_bswap64(id);
}

static void write_server(struct info *in)
{
    const struct server *srv = in->srv;
    struct utsname name = {0};
    uname(&name);
    uint64_t up_s = (env_now_ns() - srv->started_ns) / 1000000000;
    int64_t wall_us = env_wall_us();
    write_text(in, "redis_version", SERVER_REDIS_VERSION);
    write_text(in, "shoal_version", SERVER_VERSION);
    /* What a build that was not made in a repository says elsewhere. */
    write_text(in, "redis_git_sha1", "00000000");
    NUMBERS(in, {"redis_git_dirty", 0});
    buf_printf(in->out, "redis_build_id:%016llx\r\n", (unsigned long long)build_id());
    write_text(in, "redis_mode", "standalone");
    buf_printf(in->out, "os:%s %s %s\r\n", name.sysname, name.release, name.machine);
    NUMBERS(in, {"arch_bits", 8 * sizeof(void *)});
    write_text(in, "monotonic_clock", "POSIX clock_gettime");
    write_text(in, "multiplexing_api",
               in->here->thread.loop ? env_loop_backend(in->here->thread.loop) : "");
    write_text(in, "atomicvar_api", "c11-builtin");
    buf_printf(in->out, "gcc_version:%d.%d.%d\r\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
    NUMBERS(in, {"process_id", (uint64_t)getpid()});
    write_text(in, "process_supervised", supervise_name(in->config));
    write_text(in, "run_id", srv->run_id);
    NUMBERS(in, {"tcp_port", srv->tcp_port}, {"server_time_usec", (uint64_t)wall_us},
            {"uptime_in_seconds", up_s}, {"uptime_in_days", up_s / 86400},
            {"hz", MAX(counter_read(&srv->hz), (uint64_t)in->config->hz)},
            {"configured_hz", (uint64_t)in->config->hz},
            {"lru_clock", (uint64_t)wall_us / 1000000 & 0xffffff});
    write_text(in, "executable", srv->executable);
    write_text(in, "config_file", in->config->file_path);
    NUMBERS(in, {"io_threads_active", srv->mesh.net_count > 1}, {"threads", srv->worker_count},
            {"net_threads", srv->mesh.net_count}, {"shard_threads", srv->mesh.shard_count});
    write_listeners(in);
}

static void write_clients(struct info *in)
{
    const struct stats *s = &in->stats;
    NUMBERS(in, {"connected_clients", s->connections}, {"cluster_connections", 0},
            {"maxclients", in->config->maxclients},
            {"client_recent_max_input_buffer", s->input_buffer_max},
            {"client_recent_max_output_buffer", s->output_buffer_max},
            {"blocked_clients", s->blocked_clients}, {"total_blocking_keys", s->blocking_keys},
            {"tracking_clients", s->tracking_clients}, {"pubsub_clients", s->pubsub_clients},
            {"watching_clients", s->watching_clients}, {"total_watched_keys", s->watched_keys},
            {"clients_in_timeout_table", s->timed_clients},
            {"total_blocking_keys_on_nokey", s->blocking_keys_absent});
}

static void write_scripts(struct info *in)
{
    static const char *const zeros[] = {"used_memory_vm_functions", NULL};
    const struct script_cache *cache = &in->srv->scripts.cache;
    const struct functions *functions = &in->srv->scripts.functions;
    uint64_t vms = 0, in_place = 0, held = 0, restarted = 0,
             scripts = atomic_load_explicit(&cache->bytes, memory_order_relaxed),
             libraries = atomic_load_explicit(&functions->bytes, memory_order_relaxed);
    for (uint16_t i = 0; i < in->srv->worker_count; i++) {
        const struct worker *w = &in->srv->workers[i];
        vms += counter_read(&w->vm.used_bytes);
        in_place += counter_read(&w->scripts.in_place);
        held += counter_read(&w->scripts.held);
        restarted += counter_read(&w->scripts.restarted);
    }
    NUMBERS(in, {"used_memory_lua", vms}, {"used_memory_vm_eval", vms},
            {"used_memory_scripts_eval", scripts},
            {"number_of_cached_scripts", atomic_load_explicit(&cache->count, memory_order_relaxed)},
            {"number_of_functions", atomic_load(&functions->function_count)},
            {"number_of_libraries", atomic_load(&functions->library_count)},
            {"used_memory_functions", libraries}, {"used_memory_vm_total", vms},
            {"used_memory_scripts", scripts + libraries});
    write_zeros(in, zeros);
    write_human(in, "used_memory_lua", vms);
    write_human(in, "used_memory_vm_total", vms);
    write_human(in, "used_memory_scripts", scripts + libraries);
    /* Ours: how scripts ran. */
    NUMBERS(in, {"scripts_in_place", in_place}, {"scripts_held", held},
            {"scripts_restarted", restarted});
}

static void write_allocator(struct info *in)
{
    const struct server_samples *m = &in->srv->samples;
    uint64_t used = in->stats.used_memory, rss = counter_read(&m->rss_bytes);
    uint64_t allocated = counter_read(&m->allocator_allocated_bytes),
             active = counter_read(&m->allocator_active_bytes),
             resident = counter_read(&m->allocator_resident_bytes);
    write_ratio(in, "allocator_frag_ratio", active, allocated);
    buf_printf(in->out, "allocator_frag_bytes:%lld\r\n", (long long)difference(active, allocated));
    write_ratio(in, "allocator_rss_ratio", resident, active);
    buf_printf(in->out, "allocator_rss_bytes:%lld\r\n", (long long)difference(resident, active));
    write_ratio(in, "rss_overhead_ratio", rss, resident);
    buf_printf(in->out, "rss_overhead_bytes:%lld\r\n", (long long)difference(rss, resident));
    write_ratio(in, "mem_fragmentation_ratio", rss, used);
    buf_printf(in->out, "mem_fragmentation_bytes:%lld\r\n", (long long)difference(rss, used));
}

static void write_memory(struct info *in)
{
    const struct stats *s = &in->stats;
    const struct server_samples *m = &in->srv->samples;
    uint64_t rss = counter_read(&m->rss_bytes),
             limit = counter_read(&in->srv->container.limit_bytes);
    uint64_t system = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    /* A table grows by a segment at a time, so nothing is there twice while it does. */
    static const char *const zeros[] = {"mem_overhead_db_hashtable_rehashing",
                                        "mem_not_counted_for_evict",
                                        "mem_replication_backlog",
                                        "mem_total_replication_buffers",
                                        "mem_clients_slaves",
                                        NULL};
    NUMBERS(in, {"used_memory", s->used_memory});
    write_human(in, "used_memory", s->used_memory);
    NUMBERS(in, {"used_memory_rss", rss});
    write_human(in, "used_memory_rss", rss);
    NUMBERS(in, {"used_memory_peak", s->used_memory_peak});
    write_human(in, "used_memory_peak", s->used_memory_peak);
    write_percent(in, "used_memory_peak_perc", s->used_memory, s->used_memory_peak);
    uint64_t startup = in->srv->startup_memory_bytes;
    NUMBERS(in, {"used_memory_overhead", s->used_memory_overhead}, {"used_memory_startup", startup},
            {"used_memory_dataset", s->used_memory_dataset});
    write_percent(in, "used_memory_dataset_perc", s->used_memory_dataset,
                  s->used_memory > startup ? s->used_memory - startup : 0);
    NUMBERS(in, {"allocator_allocated", counter_read(&m->allocator_allocated_bytes)},
            {"allocator_active", counter_read(&m->allocator_active_bytes)},
            {"allocator_resident", counter_read(&m->allocator_resident_bytes)},
            {"total_system_memory", system});
    write_human(in, "total_system_memory", system);
    NUMBERS(in,
            /* Ours: what a container really has; 0: no limit. */
            {"cgroup_memory_limit", limit},
            {"cgroup_memory_used", counter_read(&in->srv->container.used_bytes)});
    write_scripts(in);
    NUMBERS(in, {"maxmemory", in->config->maxmemory_bytes});
    write_human(in, "maxmemory", in->config->maxmemory_bytes);
    buf_append_text(in->out, "maxmemory_policy:");
    config_value_print(in->config, config_find(BYTES_LITERAL("maxmemory-policy")), in->out);
    buf_append_text(in->out, "\r\n");
    write_allocator(in);
    /* Ours: what fragmentation takes from maxmemory (maxmemory-fragmentation-percent). */
    NUMBERS(in, {"mem_fragmentation_charge", counter_read(&in->srv->fragmentation_charge_bytes)});
    write_zeros(in, zeros);
    NUMBERS(in, {"mem_clients_normal", s->used_memory_clients}, {"mem_cluster_links", 0},
            {"mem_aof_buffer", s->log_buffer_bytes});
    write_text(in, "mem_allocator", mem_allocator_name());
    NUMBERS(in, {"active_defrag_running", counter_read(&in->srv->defrag.effort_percent)},
            {"lazyfree_pending_objects", s->lazyfree_pending}, {"lazyfreed_objects", s->lazyfreed});
}

static bool is_loading(const struct server *srv)
{
    return counter_read(&srv->loader.is_shown) || counter_read(&srv->replay.is_shown) ||
           counter_read(&srv->import.is_shown);
}

/* Of a load that is under way; without one there are no such lines. */
static void write_loading(struct info *in)
{
    if (!is_loading(in->srv)) return;
    const struct loader *l = &in->srv->loader;
    const struct replay *p = &in->srv->replay;
    const struct import *im = &in->srv->import;
    uint64_t total = counter_read(&l->total_bytes), done = counter_read(&l->loaded_bytes),
             start_s = counter_read(&l->start_s);
    if (counter_read(&p->is_shown)) {
        total = counter_read(&p->total_bytes);
        done = counter_read(&p->loaded_bytes);
        start_s = counter_read(&p->start_s);
    } else if (counter_read(&im->is_shown) && !counter_read(&l->is_shown)) {
        total = counter_read(&im->total_bytes);
        done = counter_read(&im->loaded_bytes);
        start_s = counter_read(&im->start_s);
    }
    uint64_t now_s = (uint64_t)(env_wall_us() / 1000000);
    uint64_t elapsed_s = now_s > start_s ? now_s - start_s : 0;
    uint64_t left = total > done ? total - done : 0;
    NUMBERS(in, {"loading_start_time", start_s}, {"loading_total_bytes", total},
            {"loading_rdb_used_mem", counter_read(&l->used_mem)}, {"loading_loaded_bytes", done});
    buf_printf(in->out, "loading_loaded_perc:%.2f\r\n",
               total ? (double)done / (double)total * 100 : 100.0);
    NUMBERS(in, {"loading_eta_seconds", done ? elapsed_s * left / done : 1});
}

/* Copies that were made because of a change while a save ran are what copy-on-write is elsewhere;
 * they go as soon as they are written, so their size is told as 0. */
static void write_rdb(struct info *in)
{
    static const char *const cow[] = {"current_cow_peak", "current_cow_size",
                                      "current_cow_size_age", NULL};
    const struct saver *s = &in->srv->saver;
    const struct loader *l = &in->srv->loader;
    bool is_saving = counter_read(&s->is_saving);
    uint64_t now_s = (uint64_t)(env_wall_us() / 1000000);
    uint64_t keys = counter_read(&s->keys_written);
    NUMBERS(in, {"loading", is_loading(in->srv)}, {"async_loading", 0});
    write_zeros(in, cow);
    write_text(in, "current_fork_perc", "0.00");
    NUMBERS(in, {"current_save_keys_processed", is_saving ? keys : 0},
            {"current_save_keys_total", is_saving ? counter_read(&s->keys_total) : 0},
            {"rdb_changes_since_last_save", saver_changes(in->srv)},
            {"rdb_bgsave_in_progress", is_saving},
            {"rdb_last_save_time", counter_read(&s->last_save_s)});
    write_text(in, "rdb_last_bgsave_status", counter_read(&s->last_failed) ? "err" : "ok");
    uint64_t started_s = counter_read(&s->started_s);
    write_span(in, "rdb_last_bgsave_time_sec", counter_read(&s->has_ended),
               counter_read(&s->last_seconds));
    write_span(in, "rdb_current_bgsave_time_sec", is_saving,
               now_s > started_s ? now_s - started_s : 0);
    NUMBERS(in, {"rdb_saves", counter_read(&s->saves)}, {"rdb_last_cow_size", 0},
            {"rdb_last_load_keys_expired", counter_read(&l->keys_expired)},
            {"rdb_last_load_keys_loaded", counter_read(&l->keys_loaded)});
}

/* The log's own lines are there while it is written, as elsewhere. Nothing is ever delayed by an
 * fsync that takes long. */
static void write_aof_sizes(struct info *in)
{
    const struct server *srv = in->srv;
    uint64_t bytes = counter_read(&srv->durable.closed_bytes), buffered = 0, syncing = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        const struct durable_shard *d = &srv->shard_workers[i]->durable;
        bytes += counter_read(&d->bytes);
        buffered += counter_read(&d->buffered_bytes);
        syncing += counter_read(&d->is_syncing);
    }
    NUMBERS(in, {"aof_current_size", bytes},
            {"aof_base_size", counter_read(&srv->durable.base_bytes)}, {"aof_pending_rewrite", 0},
            {"aof_buffer_length", buffered}, {"aof_pending_bio_fsync", syncing},
            {"aof_delayed_fsync", 0});
}

static void write_aof(struct info *in)
{
    const struct durable *d = &in->srv->durable;
    const struct rewriter *r = &in->srv->rewriter;
    bool is_running = counter_read(&r->is_running);
    uint64_t now_s = (uint64_t)(env_wall_us() / 1000000), started_s = counter_read(&r->started_s);
    NUMBERS(in, {"aof_enabled", in->config->appendonly}, {"aof_rewrite_in_progress", is_running},
            {"aof_rewrite_scheduled", counter_read(&r->scheduled)});
    write_span(in, "aof_last_rewrite_time_sec", counter_read(&r->has_ended),
               counter_read(&r->last_seconds));
    write_span(in, "aof_current_rewrite_time_sec", is_running,
               now_s > started_s ? now_s - started_s : 0);
    write_text(in, "aof_last_bgrewrite_status", counter_read(&r->last_failed) ? "err" : "ok");
    NUMBERS(in, {"aof_rewrites", counter_read(&r->rewrites)},
            {"aof_rewrites_consecutive_failures", counter_read(&r->failures)});
    write_text(in, "aof_last_write_status", counter_read(&d->failing) ? "err" : "ok");
    NUMBERS(in, {"aof_last_cow_size", 0}, {"module_fork_in_progress", 0},
            {"module_fork_last_cow_size", 0});
    if (in->config->appendonly) write_aof_sizes(in);
}

static void write_persistence(struct info *in)
{
    write_rdb(in);
    write_aof(in);
    write_loading(in);
}

static void write_kbps(struct info *in, const char *name, uint64_t bytes)
{
    buf_printf(in->out, "%s:%.2f\r\n", name, (double)bytes / 1024);
}

static void write_error_totals(struct info *in)
{
    struct stats_error errors[STATS_ERRORS_MAX];
    uint32_t count = stats_read_errors(in->srv, errors);
    const struct acl *acl = &in->srv->acl;
    uint64_t total = 0, denials[ACL_REASONS];
    for (uint32_t i = 0; i < count; i++) total += errors[i].count;
    for (unsigned i = 0; i < ACL_REASONS; i++)
        denials[i] = atomic_load_explicit(&acl->denials[i], memory_order_relaxed);
    NUMBERS(in, {"unexpected_error_replies", 0}, {"total_error_replies", total},
            {"acl_access_denied_auth", denials[ACL_DENIED_AUTH]},
            {"acl_access_denied_cmd", denials[ACL_DENIED_COMMAND]},
            {"acl_access_denied_key", denials[ACL_DENIED_KEY]},
            {"acl_access_denied_channel", denials[ACL_DENIED_CHANNEL]});
}

static void write_stats(struct info *in)
{
    const struct stats *s = &in->stats;
    const struct server_samples *m = &in->srv->samples;
    /* A connection's output is a chain of chunks: there is no buffer of its own to be resized. */
    static const char *const none[] = {"latest_fork_usec",
                                       "total_forks",
                                       "migrate_cached_sockets",
                                       "slave_expires_tracked_keys",
                                       "reply_buffer_shrinks",
                                       "reply_buffer_expands",
                                       NULL};
    NUMBERS(in, {"total_connections_received", s->connections_received},
            {"total_commands_processed", s->commands},
            {"instantaneous_ops_per_sec", counter_read(&m->ops_per_s)},
            {"total_net_input_bytes", s->bytes_in}, {"total_net_output_bytes", s->bytes_out},
            {"total_net_repl_input_bytes", 0}, {"total_net_repl_output_bytes", 0});
    write_kbps(in, "instantaneous_input_kbps", counter_read(&m->input_bytes_per_s));
    write_kbps(in, "instantaneous_output_kbps", counter_read(&m->output_bytes_per_s));
    write_kbps(in, "instantaneous_input_repl_kbps", 0);
    write_kbps(in, "instantaneous_output_repl_kbps", 0);
    NUMBERS(in, {"rejected_connections", counter_read(&in->srv->rejected_connections)},
            {"sync_full", 0}, {"sync_partial_ok", 0}, {"sync_partial_err", 0},
            {"expired_keys", s->expired_keys},
            {"expired_time_cap_reached_count", s->expire_slices_cut},
            {"expire_cycle_cpu_milliseconds", s->expire_cycle_us / 1000});
    buf_printf(in->out, "expired_stale_perc:%.2f\r\n", (double)s->expired_share_ppm / 10000);
    NUMBERS(in, {"evicted_keys", s->evicted_keys}, {"evicted_clients", s->evicted_clients},
            {"total_eviction_exceeded_time", s->eviction_exceeded_us / 1000},
            {"current_eviction_exceeded_time", s->eviction_exceeds_us / 1000});
    NUMBERS(in, {"keyspace_hits", s->keyspace_hits}, {"keyspace_misses", s->keyspace_misses},
            {"pubsub_channels", s->pubsub_channels}, {"pubsub_patterns", s->pubsub_patterns},
            {"pubsubshard_channels", s->pubsub_sharded_channels});
    write_zeros(in, none);
    NUMBERS(in, {"active_defrag_hits", s->defrag_hits}, {"active_defrag_misses", s->defrag_misses},
            {"active_defrag_key_hits", s->defrag_key_hits},
            {"active_defrag_key_misses", s->defrag_key_misses},
            {"total_active_defrag_time", counter_read(&in->srv->defrag.total_us) / 1000},
            {"current_active_defrag_time", counter_read(&in->srv->defrag.current_us) / 1000});
    NUMBERS(in, {"tracking_total_keys", s->tracking_keys},
            {"tracking_total_items", s->tracking_items},
            {"tracking_total_prefixes", s->tracking_prefixes});
    write_error_totals(in);
    NUMBERS(in, {"dump_payload_sanitizations", 0}, {"total_reads_processed", s->reads},
            {"total_writes_processed", s->writes},
            {"io_threaded_reads_processed", in->srv->mesh.net_count > 1 ? s->reads : 0},
            {"io_threaded_writes_processed", in->srv->mesh.net_count > 1 ? s->writes : 0},
            {"client_output_buffer_limit_disconnections", s->connections_cut_output},
            {"client_idle_timeouts", s->connections_closed_idle});
}

static void write_replication(struct info *in)
{
    static const char *const zeros[] = {"master_repl_offset", "second_repl_offset",
                                        "repl_backlog_active", NULL};
    write_text(in, "role", "master");
    NUMBERS(in, {"connected_slaves", 0});
    write_text(in, "master_failover_state", "no-failover");
    write_text(in, "master_replid", in->srv->run_id);
    write_text(in, "master_replid2", "0000000000000000000000000000000000000000");
    write_zeros(in, zeros);
    NUMBERS(in, {"repl_backlog_size", in->config->repl_backlog_bytes},
            {"repl_backlog_first_byte_offset", 0}, {"repl_backlog_histlen", 0});
}

static uint64_t us_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void write_cpu(struct info *in)
{
    struct rusage own = {0}, children = {0};
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    write_seconds(in, "used_cpu_sys", us_of(own.ru_stime));
    write_seconds(in, "used_cpu_user", us_of(own.ru_utime));
    write_seconds(in, "used_cpu_sys_children", us_of(children.ru_stime));
    write_seconds(in, "used_cpu_user_children", us_of(children.ru_utime));
    write_seconds(in, "used_cpu_sys_main_thread", counter_read(&in->srv->samples.main_sys_us));
    write_seconds(in, "used_cpu_user_main_thread", counter_read(&in->srv->samples.main_user_us));
}

/* Nothing below the heading: there are no modules. */
static void write_nothing(UNUSED struct info *in)
{
}

static void write_commandstats(struct info *in)
{
    const struct router *router = &in->srv->router;
    for (uint32_t id = 0; id < router->route_count; id++) {
        struct stats_command c;
        stats_read_command(in->srv, id, &c);
        if (c.calls == 0 && c.rejected == 0 && c.failed == 0) continue;
        buf_printf(in->out,
                   "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_"
                   "calls=%llu\r\n",
                   router->routes[id].full_name, (unsigned long long)c.calls,
                   (unsigned long long)c.usec, c.calls ? (double)c.usec / (double)c.calls : 0.0,
                   (unsigned long long)c.rejected, (unsigned long long)c.failed);
    }
}

/* "50", "99.9": without zeros at the end. */
static void write_percentile(struct info *in, double percent)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%f", percent);
    while (text[size - 1] == '0') size--;
    if (text[size - 1] == '.') size--;
    buf_append(in->out, text, (size_t)size);
}

static void write_latencystats(struct info *in)
{
    const struct router *router = &in->srv->router;
    struct histogram_sum sum;
    if (!in->config->latency_tracking) return;
    for (uint32_t id = 0; id < router->route_count; id++) {
        if (!stats_read_histogram(in->srv, id, &sum)) continue;
        buf_printf(in->out, "latency_percentiles_usec_%s:", router->routes[id].full_name);
        for (uint32_t i = 0; i < in->config->latency_percentile_count; i++) {
            double percent = in->config->latency_percentiles[i];
            buf_append_text(in->out, i ? ",p" : "p");
            write_percentile(in, percent);
            buf_printf(in->out, "=%.3f", (double)histogram_sum_percentile(&sum, percent) / 1000);
        }
        buf_append_text(in->out, "\r\n");
    }
}

static void write_errorstats(struct info *in)
{
    struct stats_error errors[STATS_ERRORS_MAX];
    uint32_t count = stats_read_errors(in->srv, errors);
    for (uint32_t i = 0; i < count; i++)
        buf_printf(in->out, "errorstat_%s:count=%llu\r\n", errors[i].name,
                   (unsigned long long)errors[i].count);
}

static void write_cluster(struct info *in)
{
    NUMBERS(in, {"cluster_enabled", 0});
}

static void write_keyspace(struct info *in)
{
    for (uint32_t db = 0; db < in->srv->database_count; db++) {
        struct keyspace_stats k;
        if (!stats_read_database(in->srv, db, &k)) continue;
        buf_printf(in->out, "db%u:keys=%llu,expires=%llu,avg_ttl=%llu\r\n", (unsigned)db,
                   (unsigned long long)k.keys, (unsigned long long)k.expires,
                   (unsigned long long)(k.ttl_sampled ? k.ttl_sum_ms / k.ttl_sampled : 0));
    }
}

/* ---- sections of our own ---- */

static void write_pair(struct info *in, const char *name, uint64_t value)
{
    buf_printf(in->out, ",%s=%llu", name, (unsigned long long)value);
}

static void write_share(struct info *in, const char *name, uint64_t permille)
{
    buf_printf(in->out, ",%s=%llu.%03llu", name, (unsigned long long)(permille / 1000),
               (unsigned long long)(permille % 1000));
}

static void write_shards(struct info *in)
{
    for (uint16_t i = 0; i < in->srv->mesh.shard_count; i++) {
        struct stats_shard s;
        stats_read_shard(in->srv, i, &s);
        buf_printf(in->out, "shard%u:thread=%s", (unsigned)i,
                   in->srv->shard_workers[i]->thread.name);
        write_pair(in, "keys", s.keys);
        write_pair(in, "expires", s.expires);
        write_pair(in, "bytes", s.bytes);
        write_pair(in, "requests", s.requests);
        write_pair(in, "hops", s.hops);
        write_pair(in, "parcels", s.parcels);
        write_pair(in, "queue_depth", s.queue_depth);
        write_share(in, "busy", s.busy_permille);
        write_pair(in, "evicted_keys", s.evicted_keys);
        write_pair(in, "lent", s.lent_bytes);
        write_pair(in, "expired_keys", s.expired_keys);
        write_pair(in, "locked_waits", s.locked_waits);
        write_pair(in, "locks_held", s.locks_held);
        buf_printf(in->out, ",slowest_command=%s", s.slowest_command ? s.slowest_command : "none");
        write_pair(in, "slowest_usec", s.slowest_us);
        write_pair(in, "slowest_slice_usec", s.slowest_slice_us);
        buf_append_text(in->out, "\r\n");
    }
}

static void write_net_pairs(struct info *in, const struct worker *w)
{
    const struct net_counters *c = &w->net.counters;
    write_pair(in, "connections", counter_read(&c->connections));
    write_pair(in, "requests", counter_read(&w->commands_processed));
    write_pair(in, "turns", counter_read(&c->turns));
    write_pair(in, "turns_in_place", counter_read(&c->turns_in_place));
    write_pair(in, "parcels", counter_read(&c->parcels));
    write_pair(in, "stalls", counter_read(&c->stalls));
    write_pair(in, "bytes_in", counter_read(&c->bytes_in));
    write_pair(in, "bytes_out", counter_read(&c->bytes_out));
}

static void write_threads(struct info *in)
{
    for (uint16_t i = 0; i < in->srv->worker_count; i++) {
        const struct worker *w = &in->srv->workers[i];
        buf_printf(in->out, "thread%u:name=%s,roles=%s", (unsigned)i, w->thread.name,
                   w->has_net && w->has_shard ? "net+shard"
                   : w->has_net               ? "net"
                                              : "shard");
        if (w->has_net) write_net_pairs(in, w);
        write_share(in, "busy", counter_read(&w->share.busy_permille));
        write_share(in, "cpu", counter_read(&w->share.cpu_permille));
        write_pair(in, "steps", counter_read(&w->steps));
        write_pair(in, "sleeps", counter_read(&w->sleeps));
        buf_append_text(in->out, "\r\n");
    }
}

/* ---- the command ---- */

static const struct section {
    const char *name;
    void (*write)(struct info *in);
    bool is_default;
} sections[] = {
    {"Server", write_server, true},
    {"Clients", write_clients, true},
    {"Memory", write_memory, true},
    {"Persistence", write_persistence, true},
    {"Stats", write_stats, true},
    {"Replication", write_replication, true},
    {"CPU", write_cpu, true},
    {"Modules", write_nothing, true},
    {"Commandstats", write_commandstats, false},
    {"Errorstats", write_errorstats, true},
    {"Latencystats", write_latencystats, false},
    {"Cluster", write_cluster, true},
    {"Keyspace", write_keyspace, true},
    {"Shards", write_shards, false},
    {"Threads", write_threads, false},
};

/* Which sections the arguments ask for: a bit each. Unknown names ask for none. */
static uint32_t sections_wanted(const struct request *rq)
{
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(sections); i++) {
        bool take = rq->argc == 1 && sections[i].is_default;
        for (uint32_t a = 1; a < rq->argc && !take; a++) {
            struct bytes name = rq->argv[a];
            take = bytes_equal_nocase(name, sections[i].name) || bytes_equal_nocase(name, "all") ||
                   bytes_equal_nocase(name, "everything") ||
                   (sections[i].is_default && bytes_equal_nocase(name, "default"));
        }
        if (take) wanted |= UINT32_C(1) << i;
    }
    return wanted;
}

static enum err cmd_info(struct session *s, struct request *rq, struct reply *out)
{
    struct worker *w = session_worker(s);
    struct buf text = {.mem = &w->net.mem};
    struct info in = {.srv = w->server, .config = w->config, .here = w, .out = &text};
    uint32_t wanted = sections_wanted(rq);
    stats_read(w->server, &in.stats);
    for (uint32_t i = 0; i < ARRAY_LEN(sections); i++) {
        if (!(wanted >> i & 1)) continue;
        buf_printf(&text, "%s# %s\r\n", text.size ? "\r\n" : "", sections[i].name);
        sections[i].write(&in);
    }
    reply_verbatim(out, "txt", buf_view(&text));
    buf_clear(&text);
    return OK;
}

/* clang-format off */
static const char *const tips_info[] = {"nondeterministic_output", "request_policy:all_shards", "response_policy:special", NULL};
static const struct command commands[] = {
    {.name = "info", .on_net = cmd_info, .arity = -1, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_BARRIER, .acl = ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Tells how the server is and what it has done.", .tips = tips_info},
};
/* clang-format on */
const struct command_family info_family = {"info", commands, ARRAY_LEN(commands)};
