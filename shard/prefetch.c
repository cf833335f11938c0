#include "shard/prefetch.h"

#include "shard/object.h"

#define STEPS_MAX 64 /* a way through a skiplist that is longer goes on without */

/* The entry may be another key's: then what is asked for is of no use, but does no harm. */
static bool find_value(const struct request *rq, const struct entry *e, struct value_prefetch *out)
{
    if (!e || rq->hashed_index == 0 || entry_type(e) == TYPE_STRING) return false;
    out->ops = object_ops(entry_type(e));
    if (!out->ops->prefetch) return false;
    out->request = rq;
    out->root = entry_root(e);
    out->encoding = entry_encoding(e);
    return true;
}

void prefetch_values(const struct request *rq, struct entry *const *entries, uint32_t count)
{
    struct value_prefetch values[SHARD_PREFETCH_WINDOW];
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!request_is_on_collection(&rq[i]) || !find_value(&rq[i], entries[i], &values[n]))
            continue;
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
