#include "server/placement.h"

#include "server/server.h"
#include "server/worker.h"

/* One block for all arrays. */
static bool placement_alloc(struct worker *w, struct placement *p)
{
    uint64_t shard_count = w->server->router.shard_count, keys = p->key_count;
    uint64_t size = keys * (sizeof *p->hashes + sizeof *p->shards) +
                    shard_count * (sizeof *p->counts + sizeof *p->parts + sizeof *p->part_shards);
    w->placement.size = 0;
    char *at = buf_try_reserve(&w->placement, size);
    if (!at) return false;
    memset(at, 0, size);
    p->hashes = (uint64_t *)(void *)at;
    p->counts = (uint32_t *)(void *)(p->hashes + keys);
    p->shards = (uint16_t *)(void *)(p->counts + shard_count);
    p->parts = p->shards + keys;
    p->part_shards = p->parts + shard_count;
    return true;
}

/* Where the keys stand is set already. */
static bool place_keys(struct worker *w, const struct bytes *argv, struct placement *p)
{
    p->part_count = 0;
    if (!placement_alloc(w, p)) return false;
    for (uint32_t k = 0; k < p->key_count; k++) {
        uint16_t shard =
            router_shard(&w->server->router, argv[p->first + k * p->step], &p->hashes[k]);
        p->shards[k] = shard;
        if (p->counts[shard]++ > 0) continue;
        p->parts[shard] = p->part_count;
        p->part_shards[p->part_count++] = shard;
    }
    return true;
}

bool placement_make(struct worker *w, const struct command *c, const struct bytes *argv,
                    uint32_t argc, struct placement *p)
{
    uint32_t first = (uint32_t)c->keys[0].begin, step = (uint32_t)c->keys[0].step;
    *p = (struct placement){.first = first, .step = step, .key_count = (argc - first) / step};
    return place_keys(w, argv, p);
}

bool placement_make_apart(struct worker *w, const struct bytes *argv, uint32_t argc, uint32_t first,
                          struct placement *p)
{
    *p = (struct placement){
        .first = first, .step = 1, .key_count = (argc - first) / 2, .is_apart = true};
    return place_keys(w, argv, p);
}

void placement_split(const struct placement *p, const struct bytes *argv, struct bytes *slices,
                     struct bytes **part_argv, uint32_t *part_argc)
{
    struct bytes *at = slices;
    for (uint16_t i = 0; i < p->part_count; i++) {
        part_argv[i] = at;
        part_argc[i] = p->first;
        memcpy(at, argv, p->first * sizeof *at);
        at += p->first + p->counts[p->part_shards[i]] * placement_key_words(p);
    }
    for (uint32_t k = 0; k < p->key_count; k++) {
        uint16_t part = p->parts[p->shards[k]];
        for (uint32_t i = 0; i < p->step; i++)
            part_argv[part][part_argc[part]++] = argv[p->first + k * p->step + i];
    }
    for (uint32_t k = 0; p->is_apart && k < p->key_count; k++) {
        uint16_t part = p->parts[p->shards[k]];
        part_argv[part][part_argc[part]++] = argv[p->first + p->key_count + k];
    }
}

uint64_t placement_first_hash(const struct placement *p, uint16_t shard)
{
    uint32_t k = 0;
    while (p->shards[k] != shard) k++;
    return p->hashes[k];
}
