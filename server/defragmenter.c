#include "server/defragmenter.h"

#include "server/worker.h"

/* Of maxmemory: beyond that, free pages go back at once. */
#define RESIDENT_OVER_PERCENT 3

static uint64_t waste_of(const struct mem_usage *u)
{
    return u->active > u->allocated ? u->active - u->allocated : 0;
}

static double percent_of(const struct mem_usage *u)
{
    return u->allocated ? 100.0 * (double)waste_of(u) / (double)u->allocated : 0;
}

/* On the line between the two thresholds. */
static uint32_t effort_for(const struct config *c, double percent)
{
    double lower = c->active_defrag_threshold_lower_percent,
           upper = c->active_defrag_threshold_upper_percent,
           least = c->active_defrag_cycle_min_percent, most = c->active_defrag_cycle_max_percent;
    if (percent < lower) return 0;
    if (percent >= upper) return (uint32_t)MAX(least, most);
    double effort = least + (most - least) * (percent - lower) / (upper - lower);
    return (uint32_t)MAX(effort, 1.0);
}

/* Whether there is enough to gain in all, and how much each shard wastes. */
static bool is_worth_it(const struct server *srv, const struct config *c, struct mem_usage *each)
{
    struct mem_usage all = {0};
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        mem_read_usage(&srv->shard_workers[i]->shard.mem, &each[i]);
        all.allocated += each[i].allocated;
        all.active += each[i].active;
    }
    return waste_of(&all) >= c->active_defrag_ignore_bytes &&
           percent_of(&all) >= c->active_defrag_threshold_lower_percent;
}

static void account_time(struct server_defrag *d, uint64_t now_ns, uint32_t effort)
{
    bool was_running = counter_read(&d->effort_percent) > 0;
    if (was_running) counter_add(&d->total_us, (now_ns - d->last_ns) / 1000);
    if (effort > 0 && !was_running) d->since_ns = now_ns;
    counter_set(&d->current_us, effort > 0 ? (now_ns - d->since_ns) / 1000 : 0);
    counter_set(&d->effort_percent, effort);
    d->last_ns = now_ns;
}

/* Free pages that are kept for the next allocations count as resident, so they may have to go. */
static void give_pages_back(const struct server *srv)
{
    uint64_t cap = srv->config->maxmemory_bytes,
             resident = counter_read(&srv->samples.allocator_resident_bytes),
             active = counter_read(&srv->samples.allocator_active_bytes);
    bool is_over = cap && resident > cap + cap / 100 * RESIDENT_OVER_PERCENT;
    if (is_over && resident - MIN(active, resident) > cap / 100)
        mem_purge();
    else
        mem_decay();
}

void defragmenter_update(struct server *srv, uint64_t now_ns)
{
    const struct config *c = srv->config;
    struct mem_usage each[CONFIG_THREADS_MAX];
    give_pages_back(srv);
    if (!c->activedefrag && counter_read(&srv->defrag.effort_percent) == 0) return;
    bool runs = c->activedefrag && is_worth_it(srv, c, each);
    /* What is evicted for fragmentation's sake is worth all the CPU that it may have. */
    bool is_charged = counter_read(&srv->fragmentation_charge_bytes) > 0;
    uint32_t most = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        uint32_t effort = runs ? effort_for(c, percent_of(&each[i])) : 0;
        if (effort && is_charged) effort = (uint32_t)c->active_defrag_cycle_max_percent;
        defrag_set_effort(&srv->shard_workers[i]->shard.defrag, effort);
        most = MAX(most, effort);
    }
    account_time(&srv->defrag, now_ns, most);
}
