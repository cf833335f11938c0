/* hash.h: how hash commands open a key and put it back, with the fields dropped that have expired.
 *
 * Thread     [shard]
 */
#pragma once

#include "shard/cmd/args.h"
#include "shard/type/hash.h"

/* A hash of a key; `entry` NULL: a new one that is not under the key yet. */
struct hash_target {
    struct key key;
    struct entry *entry;
    struct hash hash;
};

/* How much a command does about fields whose deadline has passed. One that looks at single fields
 * need not pay for a large hash: for it they are absent anyway. */
enum hash_sweep { HASH_SWEEP_CHEAP, HASH_SWEEP_ALL };

/* For readers. ERR_NO_KEY, also if the last field has just expired; ERR_WRONG_TYPE. */
MUST_USE enum err hash_open_read(struct shard *sh, const struct request *rq, enum hash_sweep sweep,
                                 struct hash_target *t);
/* For writers. */
MUST_USE enum err hash_open_write(struct shard *sh, const struct request *rq, enum hash_sweep sweep,
                                  struct hash_target *t);
/* The same, a new hash if there is none; ERR_ALLOC. */
MUST_USE enum err hash_open_or_create(struct shard *sh, const struct request *rq,
                                      struct hash_target *t);
/* The same for a key and an entry that have been found already. */
MUST_USE enum err hash_open_entry(struct shard *sh, enum hash_sweep sweep, struct hash_target *t);
/* After a change: back into its entry, or under its key; away with it if it is empty. `event` is
 * what happened, as keyspace events have it; NULL: nothing. */
MUST_USE enum err hash_commit(struct shard *sh, struct hash_target *t, const char *event);
/* For the journal: these fields have got that deadline, or lost theirs (0). */
void hash_journal_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms,
                           const struct bytes *fields, uint32_t count);
/* After a failure: what is there stays, a new hash goes. */
void hash_abandon(struct shard *sh, struct hash_target *t);
