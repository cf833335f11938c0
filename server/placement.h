/* placement.h: how the keys of a FAN_OUT command fall on shards, and its arguments split by them.
 *
 * Thread     [net]
 * Ownership  The arrays live in the worker's scratch memory until the next placement_make.
 */
#pragma once

#include "base/command.h"

struct worker;

struct placement {
    uint32_t key_count, first, step; /* `first`: arguments before the keys */
    bool is_apart;         /* what belongs to a key stands key_count arguments behind it */
    uint16_t *shards;      /* by key */
    uint64_t *hashes;      /* by key */
    uint32_t *counts;      /* by shard: keys */
    uint16_t *parts;       /* by shard: its part */
    uint16_t *part_shards; /* by part */
    uint16_t part_count;
};

/* A count of arguments that does not fit the keys is the handler's to refuse, before anything is
 * split. */
static inline bool placement_fits(const struct command *c, uint32_t argc)
{
    return (argc - (uint32_t)c->keys[0].begin) % (uint32_t)c->keys[0].step == 0;
}

/* False: no memory for a request of that many keys. */
MUST_USE bool placement_make(struct worker *w, const struct command *c, const struct bytes *argv,
                             uint32_t argc, struct placement *p);

/* From argv[first] on stand keys, and behind them as many arguments that belong to them: XREAD. */
MUST_USE bool placement_make_apart(struct worker *w, const struct bytes *argv, uint32_t argc,
                                   uint32_t first, struct placement *p);

/* Arguments of a key, itself included. */
static inline uint32_t placement_key_words(const struct placement *p)
{
    return p->is_apart ? 2 : p->step;
}

/* Slices that placement_split writes. */
static inline uint64_t placement_slices(const struct placement *p)
{
    return p->part_count * (uint64_t)p->first + (uint64_t)p->key_count * placement_key_words(p);
}
/* One argv per part, one behind the other in `slices`: what stands before the keys, then the part's
 * keys (with what belongs to them) in their order. `part_argv` and `part_argc` have room for every
 * part. */
void placement_split(const struct placement *p, const struct bytes *argv, struct bytes *slices,
                     struct bytes **part_argv, uint32_t *part_argc);
/* The hash of the first key of that shard. */
uint64_t placement_first_hash(const struct placement *p, uint16_t shard);
