#include "shard/prefetch.h"

#include "shard/object.h"

#define STEPS_MAX 64 /* a way through a skiplist that is longer goes on without */

/* The root of the value, or NULL. */
static bool find_value(const struct shard *sh, const struct request *rq, struct value_prefetch *out)
{
    const struct dict *keys = request_dict(sh, rq);
    if (!keys || rq->hashed_index == 0) return false;
    const struct entry *e = dict_find(keys, rq->hash, rq->argv[rq->hashed_index]);
    if (!e || entry_type(e) == TYPE_STRING) return false;
    *out = (struct value_prefetch){.request = rq,
                                   .ops = object_ops(entry_type(e)),
                                   .root = entry_root(e),
                                   .encoding = entry_encoding(e)};
    return out->ops->prefetch != NULL;
}

void prefetch_values(const struct shard *sh, const struct request *rq, uint32_t count)
{
    struct value_prefetch values[SHARD_PREFETCH_WINDOW];
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!request_is_on_collection(&rq[i]) || !find_value(sh, &rq[i], &values[n])) continue;
        __builtin_prefetch(values[n].root);
        __builtin_prefetch((const char *)values[n].root + CACHE_LINE);
        n++;
    }
    /* Who is done leaves its index to the last one. */
    uint8_t active[SHARD_PREFETCH_WINDOW];
    for (uint32_t i = 0; i < n; i++) active[i] = (uint8_t)i;
    for (unsigned step = 0; step < STEPS_MAX && n > 0; step++) {
        for (uint32_t i = n; i-- > 0;) {
            struct value_prefetch *p = &values[active[i]];
            if (!p->ops->prefetch(p, step)) active[i] = active[--n];
        }
    }
}
