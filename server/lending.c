#include "server/lending.h"

#include "server/worker.h"

/* A shard is called upon when its coldest keys are colder than the mean by this much … */
#define COLDER_PERCENT 25
/* … and by this many ticks of the access clock, or steps of a counter. */
#define COLDER_MIN 16
/* … and then for this part of its loan. */
#define RECALL_PART 128

static struct shard *shard_at(const struct server *srv, uint16_t i)
{
    return &srv->shard_workers[i]->shard;
}

/* What is over the limit for pages is taken from the budget that many times, but no more than that
 * part of it: an evicted key seldom leaves a page free, but the next values find room in place of
 * new pages. */
#define CHARGE_TIMES 3
#define CHARGE_PART_MAX 8
/* The charge moves by this part of its difference each time, as pages follow it slowly. */
#define CHARGE_PART 4
/* Small shards waste more than the percentage: each size that is in use has a slab of its own. */
#define CHARGE_SLACK_BYTES_MIN (4ULL * 1024 * 1024)

static uint64_t shards_live_bytes(const struct server *srv)
{
    uint64_t sum = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        sum += mem_live_bytes(&shard_at(srv, i)->mem);
    return sum;
}

uint64_t lending_used_elsewhere(const struct server *srv)
{
    uint64_t shards = shards_live_bytes(srv), all = server_live_bytes(srv);
    return all > shards ? all - shards : 0;
}

/* The shards' pages that have a block, as of the last sample. */
static uint64_t shards_active_bytes(const struct server *srv)
{
    uint64_t sum = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        struct mem_usage u;
        mem_read_usage(&shard_at(srv, i)->mem, &u);
        sum += u.active;
    }
    return sum;
}

/* What fragmentation takes from the `share` that all shards may use. */
static uint64_t fragmentation_charge(struct server *srv, const struct config *c, uint64_t share)
{
    uint64_t percent = (uint64_t)c->maxmemory_fragmentation_percent;
    uint64_t slack_min =
        srv->startup_metadata_bytes + CHARGE_SLACK_BYTES_MIN * srv->mesh.shard_count;
    uint64_t slack = MAX(share / 100 * percent, slack_min);
    uint64_t target = 0, charge = counter_read(&srv->fragmentation_charge_bytes);
    if (percent && c->maxmemory_policy != CONFIG_POLICY_NOEVICTION) {
        uint64_t active =
            shards_active_bytes(srv) + counter_read(&srv->samples.allocator_metadata_bytes);
        if (active > share + slack)
            target = MIN((active - share - slack) * CHARGE_TIMES, share / CHARGE_PART_MAX);
    }
    if (target > charge)
        charge += (target - charge) / CHARGE_PART;
    else
        charge -= (charge - target + CHARGE_PART - 1) / CHARGE_PART;
    counter_set(&srv->fragmentation_charge_bytes, charge);
    return charge;
}

/* More is lent than there is: each gives back in proportion to what it has. */
static void recall_excess(struct server *srv, uint64_t excess)
{
    uint64_t lent = 0, awaited = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        lent += loan_bytes(&shard_at(srv, i)->evict.loan);
        awaited += budget_awaited(&shard_at(srv, i)->evict.loan);
    }
    if (excess <= awaited || lent == 0) return;
    double share = MIN(1.0, (double)(excess - awaited) / (double)lent);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        struct loan *l = &shard_at(srv, i)->evict.loan;
        budget_recall(l, (uint64_t)((double)loan_bytes(l) * share) + 1);
    }
}

/* Nothing is left to lend: from whom it would be missed least. */
static void recall_coldest(struct server *srv)
{
    uint16_t count = srv->mesh.shard_count;
    double mean = 0;
    for (uint16_t i = 0; i < count; i++)
        mean += (double)counter_read(&shard_at(srv, i)->evict.coldest) / count;
    for (uint16_t i = 0; i < count; i++) {
        struct evict *ev = &shard_at(srv, i)->evict;
        double cold = (double)counter_read(&ev->coldest);
        if (cold < mean * (100 + COLDER_PERCENT) / 100 || cold < mean + COLDER_MIN) continue;
        if (budget_awaited(&ev->loan) == 0)
            budget_recall(&ev->loan, loan_bytes(&ev->loan) / RECALL_PART);
    }
}

static bool policy_compares(enum config_policy policy)
{
    return policy == CONFIG_POLICY_ALLKEYS_LRU || policy == CONFIG_POLICY_VOLATILE_LRU ||
           policy == CONFIG_POLICY_ALLKEYS_LFU || policy == CONFIG_POLICY_VOLATILE_LFU;
}

void lending_update(struct server *srv, const struct config *config)
{
    if (config->maxmemory_bytes == 0) {
        counter_set(&srv->fragmentation_charge_bytes, 0);
        return;
    }
    uint64_t others = lending_used_elsewhere(srv);
    others -= MIN(client_eviction_excess(srv), others);
    uint64_t share = config->maxmemory_bytes > others ? config->maxmemory_bytes - others : 0;
    uint64_t charge = fragmentation_charge(srv, config, share);
    budget_resize(&srv->budget, (int64_t)config->maxmemory_bytes - (int64_t)charge, others);
    int64_t unlent = budget_unlent(&srv->budget);
    if (unlent < 0)
        recall_excess(srv, (uint64_t)-unlent);
    else if (unlent < budget_total(&srv->budget) / RECALL_PART &&
             policy_compares(config->maxmemory_policy))
        recall_coldest(srv);
}

/* It may have got room since it looked. */
static bool shard_is_full(const struct shard *sh)
{
    return counter_read(&sh->evict.is_full) &&
           mem_live_bytes(&sh->mem) > loan_bytes(&sh->evict.loan);
}

bool server_is_full(const struct server *srv)
{
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        if (shard_is_full(shard_at(srv, i))) return true;
    return false;
}
