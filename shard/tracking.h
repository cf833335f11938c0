/* tracking.h: CLIENT TRACKING on a shard: which connections have read which keys, and who is told
 * when a key changes.
 *
 *     read by a tracking connection ─▶ tracking_remember ─▶ key → connections
 *     keyspace: any change ─▶ tracking_note_change ─▶ feed of each net thread concerned; forgotten
 *
 * Connections that want prefixes (BCAST) are subscriptions of kind CHANNEL_PREFIX (channels.h).
 * Keys are known by name alone, as in Redis: of all databases at once.
 *
 * Thread     [shard]; counters [any]
 * Limits     tracking-table-max-keys, shared evenly among the shards: beyond it a key is forgotten
 *            and its readers are told as if it had changed. A connection that has gone stays in the
 *            table until its keys change.
 * Errors     Without memory to remember a key its reader is told at once that it has changed.
 */
#pragma once

#include "base/counter.h"
#include "base/node_table.h"
#include "base/parcel.h"

struct shard;
struct key;

struct tracker {
    uint32_t conn_index, conn_generation;
    uint16_t net_id;
};

struct tracking {
    struct node_table keys;
    struct counter key_count, item_count;
    const struct parcel *running; /* whose request runs; NULL: nobody's, or a parked one's */
    uint32_t running_index;
    const struct tracker *parked; /* of a parked request: whose it is */
};

void tracking_init(struct shard *sh);
void tracking_deinit(struct shard *sh);

/* The connection has read the keys of this request. */
void tracking_remember(struct shard *sh, struct request *rq, const struct tracker *who);
void tracking_remember_in_parcel(struct shard *sh, struct parcel *pc, uint32_t index);
/* The same for a request of the block that runs. */
void tracking_remember_in_block(struct shard *sh, struct request *rq);

void tracking_note_change(struct shard *sh, const struct key *k);
/* Whole databases have changed. */
void tracking_note_flush(struct shard *sh);
