/* prefetch.h: the memory of the requests of a window is on its way while earlier ones still run.
 *
 *     all requests ─▶ bucket ─▶ entry ─▶ those on collections: root ─▶ what the type says, in steps
 *
 * Each arrow waits for memory, and each pass asks for that of all requests before the next pass
 * needs it. Nothing that this does can be seen but the time it takes.
 *
 * Thread     [shard]
 * Limits     SHARD_PREFETCH_WINDOW requests at once. Fewer than PREFETCH_VALUES_MIN requests on
 *            collections are not worth the passes.
 */
#pragma once

#include "shard/shard.h"

#define PREFETCH_VALUES_MIN 4

/* The table of a request's keys; NULL: it has none, or nothing is there. */
static inline const struct dict *request_dict(const struct shard *sh, const struct request *rq)
{
    const struct database *db = sh->keys.databases[rq->db];
    return rq->hash && db ? &db->keys : NULL;
}

static inline bool request_is_on_collection(const struct request *rq)
{
    return rq->command->acl & (ACL_LIST | ACL_HASH | ACL_SET | ACL_SORTEDSET);
}

/* After the entries were asked for: the values of those requests that are on collections.
 * `entries[i]` is what request i is likely to be about, NULL if nothing. */
void prefetch_values(const struct request *rq, struct entry *const *entries, uint32_t count);

/* Always inline: gcc takes a function of prefetches for a pure one and drops the calls. */
static ALWAYS_INLINE void prefetch_window(const struct shard *sh, const struct request *rq,
                                          uint32_t count)
{
    struct entry *entries[SHARD_PREFETCH_WINDOW];
    uint32_t on_collections = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct dict *keys = request_dict(sh, &rq[i]);
        if (keys) dict_prefetch_bucket(keys, rq[i].hash);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct dict *keys = request_dict(sh, &rq[i]);
        entries[i] = keys ? dict_prefetch_entry(keys, rq[i].hash) : NULL;
        on_collections += request_is_on_collection(&rq[i]);
    }
    if (on_collections >= PREFETCH_VALUES_MIN) prefetch_values(rq, entries, count);
}
