/* hit_ratio.c: how often a cache at its cap has what is asked for: our policies beside exact LRU.
 *
 * usage: hit_ratio [requests per second]         default: 500000, of a virtual clock
 *
 * A million keys, a cap that holds about a tenth of them, requests by Zipf's law with and without
 * scans (one request in five reads the next key of an endless row that nobody asks for again). A
 * miss stores the key. Prints hits in percent after a warm-up; exact LRU holds as many keys as the
 * shards did on average.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/text.h"
#include "shard/shard.h"

#define KEYS 1000000
#define CACHED_SHARE 10
#define WARM_UP 4000000
#define MEASURED 4000000
#define SHARDS_MAX 64
#define SEED 0x5eedULL
#define ENTRY_BYTES 84 /* of a key in the cap: entry and its part of the table */

static uint64_t random_state = 88172645463325252ULL;

static uint64_t random_next(void)
{
    uint64_t x = random_state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return random_state = x;
}

/* ---- requests ---- */

struct workload {
    const char *name;
    double exponent;
    unsigned scan_percent;
};

static const struct workload workloads[] = {
    {"zipf 0.99", 0.99, 0}, {"zipf 0.8", 0.8, 0}, {"zipf 0.99, 20 % scans", 0.99, 20}};

static double *cumulated; /* of the law, by rank */

static void law_make(double exponent)
{
    double sum = 0;
    for (uint32_t i = 0; i < KEYS; i++) cumulated[i] = sum += pow(i + 1, -exponent);
    for (uint32_t i = 0; i < KEYS; i++) cumulated[i] /= sum;
}

static uint32_t law_draw(void)
{
    double x = (double)(random_next() >> 11) / 9007199254740992.0;
    uint32_t low = 0, high = KEYS - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (cumulated[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The same requests for each policy. */
static uint32_t *requests_make(const struct workload *w)
{
    uint32_t *all = malloc((WARM_UP + MEASURED) * sizeof *all);
    uint32_t next_scanned = KEYS;
    CHECK(all);
    random_state = 88172645463325252ULL;
    law_make(w->exponent);
    for (uint32_t i = 0; i < WARM_UP + MEASURED; i++)
        all[i] = random_next() % 100 < w->scan_percent ? next_scanned++ : law_draw();
    return all;
}

/* ---- exact LRU ---- */

struct lru_node {
    uint32_t previous, next;
};

static double exact_lru(const uint32_t *requests, uint32_t capacity)
{
    uint32_t universe = KEYS + (WARM_UP + MEASURED) / 2, count = 0, hits = 0;
    struct lru_node *nodes = calloc(universe + 1, sizeof *nodes); /* the last one is the ring's */
    CHECK(nodes);
    nodes[universe] = (struct lru_node){universe, universe};
    for (uint32_t i = 0; i < WARM_UP + MEASURED; i++) {
        uint32_t k = requests[i];
        struct lru_node *n = &nodes[k];
        bool is_in = n->next != 0 || n->previous != 0;
        if (is_in) {
            hits += i >= WARM_UP;
            nodes[n->previous].next = n->next;
            nodes[n->next].previous = n->previous;
        } else if (count == capacity) {
            uint32_t last = nodes[universe].previous;
            nodes[nodes[last].previous].next = universe;
            nodes[universe].previous = nodes[last].previous;
            nodes[last] = (struct lru_node){0, 0};
        } else {
            count++;
        }
        *n = (struct lru_node){universe, nodes[universe].next};
        nodes[n->next].previous = k;
        nodes[universe].next = k;
    }
    free(nodes);
    return 100.0 * hits / MEASURED;
}

/* ---- ours ---- */

struct setup {
    enum evict_policy policy;
    uint32_t samples, shard_count;
    uint64_t requests_per_second;
};

static struct shard shards[SHARDS_MAX];
static struct budget budget;

static void shards_start(const struct setup *s, struct shard_config *config)
{
    uint64_t cap = (uint64_t)KEYS / CACHED_SHARE * ENTRY_BYTES;
    *config = (struct shard_config){.hz = 10,
                                    .proto_max_bulk_bytes = 1 << 20,
                                    .evict_policy = s->policy,
                                    .evict_samples = s->samples,
                                    .evict_tenacity = 10,
                                    .lfu_log_factor = 10,
                                    .lfu_decay_minutes = 1,
                                    .maxmemory_bytes = cap};
    budget = (struct budget){0};
    for (uint32_t i = 0; i < s->shard_count; i++) {
        shard_init(&shards[i], &(struct shard_options){.id = (uint16_t)i,
                                                       .shard_count = (uint16_t)s->shard_count,
                                                       .database_count = 1,
                                                       .command_count = 1,
                                                       .hash_seed = SEED,
                                                       .random_seed = i + 1,
                                                       .config = config,
                                                       .budget = &budget});
        cap += mem_live_bytes(&shards[i].mem);
    }
    budget_resize(&budget, (int64_t)cap, 0);
}

/* True: a hit. */
static bool shards_ask(const struct setup *s, uint32_t number, uint64_t now_us)
{
    char text[32], value[32] = {0};
    struct bytes name = bytes_make(text, (size_t)snprintf(text, sizeof text, "key:%012u", number));
    uint64_t hash = bytes_hash(name, SEED);
    struct shard *sh = &shards[bytes_shard(name, hash, SEED, (uint16_t)s->shard_count)];
    struct key k = {.name = name, .hash = hash};
    static const struct request any;
    shard_set_now(sh, now_us * 1000, (int64_t)(1700000000000ULL + now_us / 1000));
    if (keyspace_find_any(sh, &k)) return true;
    CHECK(shard_admits(sh, &any));
    CHECK(keyspace_set_text(sh, &k, bytes_make(value, sizeof value), DEADLINE_NONE) == OK);
    if (random_next() % 65536 == 0) evict_step(sh);
    return false;
}

static double ours(const struct setup *s, const uint32_t *requests, uint32_t *keys_held)
{
    struct shard_config config;
    uint32_t hits = 0;
    shards_start(s, &config);
    for (uint32_t i = 0; i < WARM_UP + MEASURED; i++)
        hits += shards_ask(s, requests[i], i * 1000000ULL / s->requests_per_second) && i >= WARM_UP;
    *keys_held = 0;
    for (uint32_t i = 0; i < s->shard_count; i++) {
        *keys_held += (uint32_t)keyspace_size(&shards[i], 0);
        shard_set_now(&shards[i], 0, 0);
        shard_deinit(&shards[i]);
    }
    return 100.0 * hits / MEASURED;
}

static void run(const struct workload *w, uint64_t rate)
{
    static const struct {
        const char *name;
        enum evict_policy policy;
        uint32_t samples;
    } policies[] = {{"lru, 5 samples", EVICT_LRU, 5},
                    {"lru, 10 samples", EVICT_LRU, 10},
                    {"lfu", EVICT_LFU, 5},
                    {"s3fifo", EVICT_S3FIFO, 5},
                    {"random", EVICT_RANDOM, 5}};
    static const uint32_t shard_counts[] = {1, 7, 64};
    uint32_t *requests = requests_make(w);
    for (size_t p = 0; p < ARRAY_LEN(policies); p++)
        for (size_t c = 0; c < ARRAY_LEN(shard_counts); c++) {
            struct setup s = {policies[p].policy, policies[p].samples, shard_counts[c], rate};
            uint32_t held;
            double ratio = ours(&s, requests, &held);
            double exact = exact_lru(requests, held);
            printf("%-24s %-16s %2u shards  %6u keys  hits %6.2f %%  exact LRU %6.2f %%  %+.2f\n",
                   w->name, policies[p].name, s.shard_count, held, ratio, exact, ratio - exact);
            fflush(stdout);
        }
    free(requests);
}

int main(int argc, char **argv)
{
    uint64_t rate = argc > 1 ? strtoull(argv[1], NULL, 10) : 500000;
    cumulated = malloc(KEYS * sizeof *cumulated);
    CHECK(cumulated && rate > 0);
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++) run(&workloads[i], rate);
    free(cumulated);
    return 0;
}
