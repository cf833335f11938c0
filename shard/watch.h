/* watch.h: who wants to know whether a key has changed: WATCH.
 *
 *     key ─▶ [mark] [mark] …       a change makes every mark of the key dirty
 *     id  ─▶ [mark] [mark] …       EXEC asks for all marks of its id, and ends them
 *
 * An id stands for what one connection watches from its first WATCH to its EXEC, DISCARD or
 * UNWATCH; the next WATCH takes another one. So marks of an id that nobody will ask for again may
 * be forgotten at any time.
 *
 * Thread     [shard]
 * Ownership  The shard's memory, until watch_end or watch_forget.
 * Limits     One test per change of a key while nothing is watched.
 * Errors     ERR_ALLOC: no memory for the name; nothing is watched then.
 */
#pragma once

#include "base/dlist.h"
#include "base/err.h"

struct key;
struct shard;

struct watches {
    uint64_t key_count; /* 0: the fast path's one test */
    uint64_t id_count;
    struct dlist *keys, *ids; /* buckets, by hash; NULL until first used */
    uint32_t bucket_count;    /* of each */
};

void watch_init(struct watches *w);
void watch_deinit(struct shard *sh);

/* From here on, changes of the key count. Watching it already is fine. */
MUST_USE enum err watch_add(struct shard *sh, uint64_t id, const struct key *k);
/* Ends all watches of the id. True if no key has changed or expired since its watch_add. */
MUST_USE bool watch_end(struct shard *sh, uint64_t id);

/* ---- for the keyspace ---- */

void watch_mark_changed(struct shard *sh, const struct key *k);
/* Keys of the database that exist are about to change; `other` is another database that takes its
 * place, or the same one: none does. */
void watch_mark_database(struct shard *sh, uint32_t db, uint32_t other);

void watch_validate(const struct shard *sh);
