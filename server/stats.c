#include "server/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/server.h"
#include "shard/lazyfree.h"

/* ---- totals ---- */

static void add_net(const struct worker *w, uint64_t now_ns, struct stats *out)
{
    const struct net_counters *c = &w->net.counters;
    out->connections += counter_read(&c->connections);
    out->connections_received += counter_read(&c->connections_received);
    out->connections_closed_idle += counter_read(&c->connections_closed_idle);
    out->connections_cut_output += counter_read(&c->connections_cut_output);
    out->evicted_clients += counter_read(&w->evicted_clients);
    out->blocked_clients += counter_read(&w->blocked_clients);
    out->timed_clients += counter_read(&w->timed_clients);
    out->commands += counter_read(&w->commands_processed);
    out->bytes_in += counter_read(&c->bytes_in);
    out->bytes_out += counter_read(&c->bytes_out);
    out->reads += counter_read(&c->reads);
    out->writes += counter_read(&c->writes);
    out->input_buffer_max =
        MAX(out->input_buffer_max, recent_max_read(&c->input_buffer_max, now_ns));
    out->output_buffer_max =
        MAX(out->output_buffer_max, recent_max_read(&c->output_buffer_max, now_ns));
    out->watching_clients += counter_read(&w->watching_clients);
    out->used_memory_clients += mem_live_bytes(&w->net.mem);
    out->tracking_clients += counter_read(&w->tracking.count);
    out->pubsub_clients += counter_read(&w->pubsub.clients);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void add_exceeded(const struct evict *ev, uint64_t now_ns, struct stats *out)
{
    uint64_t since_us = counter_read(&ev->exceeded_since_us), now_us = now_ns / 1000;
    uint64_t current_us = since_us ? minus(now_us, since_us) : 0;
    out->eviction_exceeded_us += counter_read(&ev->exceeded_us) + current_us;
    out->eviction_exceeds_us = MAX(out->eviction_exceeds_us, current_us);
}

/* A mean by the keys that may expire; `expires` adds these up. */
static void add_expired_share(const struct worker *w, uint64_t *expires, struct stats *out)
{
    struct keyspace_stats part;
    uint64_t here = 0, before = *expires;
    for (uint32_t db = 0; db < w->server->database_count; db++)
        if (keyspace_read_stats(&w->shard.keys, db, &part)) here += part.expires;
    *expires += here;
    if (*expires == 0) return;
    uint64_t sum =
        out->expired_share_ppm * before + counter_read(&w->shard.counters.expired_share_ppm) * here;
    out->expired_share_ppm = sum / *expires;
}

static void add_shard(const struct worker *w, uint64_t now_ns, struct stats *out)
{
    const struct shard *sh = &w->shard;
    const struct shard_counters *c = &sh->counters;
    out->log_buffer_bytes += counter_read(&w->durable.buffered_bytes);
    out->blocking_keys += counter_read(&c->blocking_keys);
    out->blocking_keys_absent += counter_read(&c->blocking_keys_absent);
    out->keyspace_hits += counter_read(&c->keyspace_hits);
    out->keyspace_misses += counter_read(&c->keyspace_misses);
    out->expired_keys += counter_read(&c->expired_keys);
    out->expire_slices_cut += counter_read(&c->expired_stale_slices);
    out->expire_cycle_us += counter_read(&c->expire_cycle_us);
    out->lazyfree_pending += counter_read(&c->lazyfree_pending);
    out->lazyfreed += counter_read(&c->lazyfreed);
    out->evicted_keys += counter_read(&sh->evict.evicted_keys);
    add_exceeded(&sh->evict, now_ns, out);
    out->watched_keys += counter_read(&c->watched_keys);
    out->defrag_hits += counter_read(&sh->defrag.hits);
    out->defrag_misses += counter_read(&sh->defrag.misses);
    out->defrag_key_hits += counter_read(&sh->defrag.key_hits);
    out->defrag_key_misses += counter_read(&sh->defrag.key_misses);
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        struct keyspace_stats s;
        if (keyspace_read_stats(&sh->keys, db, &s)) out->used_memory_index += s.table_bytes;
    }
    out->tracking_keys += counter_read(&sh->tracking.key_count);
    out->tracking_items += counter_read(&sh->tracking.item_count);
    out->tracking_prefixes += counter_read(&sh->channels.counts[CHANNEL_PREFIX]);
    out->pubsub_channels += counter_read(&sh->channels.counts[CHANNEL_PLAIN]);
    out->pubsub_patterns += counter_read(&sh->channels.counts[CHANNEL_PATTERN]);
    out->pubsub_sharded_channels += counter_read(&sh->channels.counts[CHANNEL_SHARDED]);
}

void stats_read(const struct server *srv, struct stats *out)
{
    *out = (struct stats){0};
    uint64_t now_ns = env_now_ns();
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) add_net(srv->net_workers[i], now_ns, out);
    uint64_t expires = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        add_shard(srv->shard_workers[i], now_ns, out);
        add_expired_share(srv->shard_workers[i], &expires, out);
    }
    out->used_memory = server_live_bytes(srv);
    out->used_memory_peak =
        MAX(out->used_memory, counter_read(&srv->samples.used_memory_peak_bytes));
    /* What the net threads hold beyond what they held at the start is there because of clients. */
    out->used_memory_clients = minus(out->used_memory_clients, srv->startup_net_bytes);
    out->used_memory_overhead =
        srv->startup_memory_bytes + out->used_memory_clients + out->used_memory_index;
    out->used_memory_dataset = minus(out->used_memory, out->used_memory_overhead);
}

void stats_read_command(const struct server *srv, uint32_t route_id, struct stats_command *out)
{
    *out = (struct stats_command){0};
    uint64_t ticks = counter_read(&srv->route_ticks[route_id]);
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        const struct route_counters *r = &srv->net_workers[i]->routes[route_id];
        out->calls += counter_read(&r->calls);
        out->rejected += counter_read(&r->rejected);
        out->failed += counter_read(&r->failed);
        ticks += counter_read(&r->ticks);
    }
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        const struct shard_command_counters *c =
            &srv->shard_workers[i]->shard.per_command[route_id];
        ticks += counter_read(&c->ticks);
        out->calls += counter_read(&c->script_calls);
        out->failed += counter_read(&c->script_failed);
        out->rejected += counter_read(&c->script_rejected);
    }
    out->usec = (uint64_t)((double)ticks / env_ticks_per_us());
}

/* The sum is cleared when the first one comes: it is large, and most commands are never called. */
static void add_histogram(const histogram_slot *slot, bool *is_first, struct histogram_sum *out)
{
    if (!atomic_load_explicit(slot, memory_order_relaxed)) return;
    if (*is_first) memset(out, 0, sizeof *out);
    *is_first = false;
    histogram_sum_add_slot(out, slot);
}

bool stats_read_histogram(const struct server *srv, uint32_t route_id, struct histogram_sum *out)
{
    bool is_first = true;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        add_histogram(&srv->net_workers[i]->routes[route_id].histogram, &is_first, out);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        add_histogram(&srv->shard_workers[i]->shard.per_command[route_id].histogram, &is_first,
                      out);
    return !is_first && out->total > 0;
}

static int by_name(const void *a, const void *b)
{
    const struct stats_error *left = a, *right = b;
    return strcmp(left->name, right->name);
}

uint32_t stats_read_errors(const struct server *srv, struct stats_error out[STATS_ERRORS_MAX])
{
    uint32_t count = 0;
    for (unsigned n = 0; n < srv->worker_count * (unsigned)ERROR_KINDS_MAX; n++) {
        const struct error_kind *kind =
            &srv->workers[n / ERROR_KINDS_MAX].error_kinds[n % ERROR_KINDS_MAX];
        /* Pairs with the release store in worker_count_error: a kind with a count has its name. */
        uint64_t errors = atomic_load_explicit(&kind->count.value, memory_order_acquire);
        if (errors == 0) continue;
        uint32_t at = 0;
        while (at < count && strcmp(out[at].name, kind->name) != 0) at++;
        if (at == STATS_ERRORS_MAX) continue;
        if (at == count) {
            memcpy(out[count].name, kind->name, sizeof out[count].name);
            out[count++].count = 0;
        }
        out[at].count += errors;
    }
    qsort(out, count, sizeof *out, by_name);
    return count;
}

bool stats_read_database(const struct server *srv, uint32_t db, struct keyspace_stats *out)
{
    *out = (struct keyspace_stats){0};
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        struct keyspace_stats part;
        if (!keyspace_read_stats(&srv->shard_workers[i]->shard.keys, db, &part)) continue;
        out->keys += part.keys;
        out->expires += part.expires;
        out->table_bytes += part.table_bytes;
        out->ttl_sum_ms += part.ttl_sum_ms;
        out->ttl_sampled += part.ttl_sampled;
    }
    return out->keys > 0;
}

void stats_read_shard(const struct server *srv, uint16_t shard_id, struct stats_shard *out)
{
    const struct worker *w = srv->shard_workers[shard_id];
    const struct shard_counters *c = &w->shard.counters;
    *out = (struct stats_shard){.bytes = mem_live_bytes(&w->shard.mem),
                                .requests = counter_read(&c->requests),
                                .hops = counter_read(&c->hops),
                                .parcels = counter_read(&c->parcels),
                                .expired_keys = counter_read(&c->expired_keys),
                                .evicted_keys = counter_read(&w->shard.evict.evicted_keys),
                                .lent_bytes = loan_bytes(&w->shard.evict.loan),
                                .locked_waits = counter_read(&c->locked_waits),
                                .locks_held = counter_read(&c->locks_held),
                                .busy_permille = counter_read(&w->share.shard_busy_permille),
                                .slowest_us = counter_read(&c->slowest_us),
                                .slowest_slice_us = counter_read(&c->slowest_slice_us)};
    for (uint32_t db = 0; db < srv->database_count; db++) {
        struct keyspace_stats part;
        if (!keyspace_read_stats(&w->shard.keys, db, &part)) continue;
        out->keys += part.keys;
        out->expires += part.expires;
    }
    struct mesh *mesh = (struct mesh *)(uintptr_t)&srv->mesh;
    for (uint16_t net = 0; net < mesh->net_count; net++)
        out->queue_depth += mailbox_level(mesh_to_shard(mesh, net, shard_id));
    uint64_t slowest = counter_read(&c->slowest_command); /* route id + 1 */
    if (slowest > 0 && slowest <= srv->router.route_count)
        out->slowest_command = srv->router.routes[slowest - 1].full_name;
}

/* ---- sampling ---- */

static uint64_t read_rss(void)
{
    char text[128];
    FILE *f = fopen("/proc/self/statm", "re");
    bool known = f && fgets(text, sizeof text, f);
    if (f) fclose(f);
    const char *second = known ? strchr(text, ' ') : NULL;
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* A moving average over about a second and a half, as of the other figures. */
static void share_move(struct counter *permille, double *average, double part)
{
    *average = *average * 15 / 16 + MIN(MAX(part, 0.0), 1.0) / 16;
    counter_set(permille, (uint64_t)(*average * 1000 + 0.5));
}

static void sample_worker(struct worker *w, double seconds)
{
    struct worker_share *s = &w->share;
    uint64_t busy = counter_read(&w->busy_ticks),
             shard_busy = w->has_shard ? counter_read(&w->shard.counters.busy_ticks) : 0;
    uint64_t cpu_us = counter_read(&w->cpu_us);
    clockid_t clock;
    struct timespec cpu;
    if (w->is_started && pthread_getcpuclockid(w->pthread, &clock) == 0 &&
        clock_gettime(clock, &cpu) == 0)
        cpu_us = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
    if (seconds > 0) {
        double ticks = seconds * 1e6 * env_ticks_per_us();
        share_move(&s->busy_permille, &s->busy, (double)(busy - s->last_busy_ticks) / ticks);
        share_move(&s->shard_busy_permille, &s->shard_busy,
                   (double)(shard_busy - s->last_shard_busy_ticks) / ticks);
        share_move(&s->cpu_permille, &s->cpu, (double)(cpu_us - s->last_cpu_us) / (seconds * 1e6));
    }
    s->last_busy_ticks = busy;
    s->last_shard_busy_ticks = shard_busy;
    s->last_cpu_us = cpu_us;
    counter_set(&w->cpu_us, cpu_us);
}

static uint64_t us_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

void stats_sample(struct server *srv, double seconds)
{
    struct server_samples *s = &srv->samples;
    struct mem_totals totals;
    mem_read_totals(&totals);
    counter_set(&s->rss_bytes, read_rss());
    counter_set(&s->allocator_allocated_bytes, totals.allocated);
    counter_set(&s->allocator_active_bytes, totals.active);
    counter_set(&s->allocator_resident_bytes, totals.resident);
    counter_set(&s->allocator_metadata_bytes, totals.metadata);
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) {
        counter_set(&s->main_user_us, us_of(usage.ru_utime));
        counter_set(&s->main_sys_us, us_of(usage.ru_stime));
    }
    for (uint16_t i = 0; i < srv->worker_count; i++) sample_worker(&srv->workers[i], seconds);
}

/* ---- resetting ---- */

/* What says how things are now, and what the main thread balances and samples by, stays. */
static void reset_net(struct worker *w)
{
    struct net_counters *c = &w->net.counters;
    struct counter *const zeroed[] = {&c->connections_received,
                                      &c->connections_closed_idle,
                                      &c->connections_cut_output,
                                      &c->bytes_in,
                                      &c->bytes_out,
                                      &c->reads,
                                      &c->writes,
                                      &w->evicted_clients,
                                      &c->turns,
                                      &c->turns_in_place,
                                      &c->parcels,
                                      &c->stalls,
                                      &w->commands_processed};
    for (unsigned i = 0; i < ARRAY_LEN(zeroed); i++) counter_set(zeroed[i], 0);
    for (uint32_t i = 0; i < w->server->router.route_count; i++) {
        struct route_counters *r = &w->routes[i];
        counter_set(&r->calls, 0);
        counter_set(&r->rejected, 0);
        counter_set(&r->failed, 0);
        counter_set(&r->ticks, 0);
        histogram_slot_reset(&r->histogram);
    }
}

static void reset_shard(struct shard *sh)
{
    struct shard_counters *c = &sh->counters;
    struct counter *const zeroed[] = {&c->requests,
                                      &c->parcels,
                                      &c->hops,
                                      &c->keyspace_hits,
                                      &c->keyspace_misses,
                                      &c->expired_keys,
                                      &c->expired_stale_slices,
                                      &sh->evict.evicted_keys,
                                      &sh->evict.exceeded_us,
                                      &sh->defrag.hits,
                                      &sh->defrag.misses,
                                      &sh->defrag.key_hits,
                                      &sh->defrag.key_misses,
                                      &c->locked_waits,
                                      &c->error_replies,
                                      &c->slowest_us,
                                      &c->slowest_slice_us,
                                      &c->slowest_command};
    for (unsigned i = 0; i < ARRAY_LEN(zeroed); i++) counter_set(zeroed[i], 0);
    for (uint32_t i = 0; i <= sh->command_count; i++) {
        struct shard_command_counters *of = &sh->per_command[i];
        struct counter *const counters[] = {&of->calls,         &of->ticks,
                                            &of->failed,        &of->script_calls,
                                            &of->script_failed, &of->script_rejected};
        for (unsigned k = 0; k < ARRAY_LEN(counters); k++) counter_set(counters[k], 0);
        histogram_slot_reset(&of->histogram);
    }
    free_list_reset_count(sh);
    sh->slowest_ticks = 0;
    sh->keys.sweep.total_cpu_ns = 0;
    counter_set(&c->expire_cycle_us, 0);
}

void stats_reset_worker(struct worker *w)
{
    counter_set(&w->steps, 0);
    counter_set(&w->sleeps, 0);
    /* The names stay: another thread may be reading them, and one without a count is not shown. */
    for (unsigned i = 0; i < ERROR_KINDS_MAX; i++) counter_set(&w->error_kinds[i].count, 0);
    if (w->has_net) reset_net(w);
    if (w->has_shard) reset_shard(&w->shard);
}

void stats_reset_main(struct server *srv)
{
    counter_set(&srv->rejected_connections, 0);
    counter_set(&srv->defrag.total_us, 0);
    for (uint32_t i = 0; i < srv->router.route_count; i++) counter_set(&srv->route_ticks[i], 0);
    struct server_samples *s = &srv->samples;
    s->ops_average = s->in_average = s->out_average = 0;
    counter_set(&s->ops_per_s, 0);
    counter_set(&s->input_bytes_per_s, 0);
    counter_set(&s->output_bytes_per_s, 0);
}
