/* slow_client.h: who a slow command was for: from where it has run to the slow log.
 *
 *     shard: span.c ─▶ entry ─▶ parcel or late reply ─▶ net thread: client and name ─▶ slow log
 *
 * Thread     as said.
 */
#pragma once

#include "net/netloop.h"
#include "server/slowlog.h"
#include "shard/shard.h"

struct conn;
struct worker;

/* Hooks of the shard. */
void slow_note(struct shard *sh, const struct request *rq, uint64_t us, struct slow_entry **list);
void slow_pass(struct shard *sh, struct slow_entry *list);
void slow_drop(struct shard *sh, struct slow_entry *list);
/* Hooks of the netloop. */
void slow_in_parcel(struct netloop *nl, const struct parcel *pc);
void slow_in_run(struct netloop *nl, struct slow_entry *list, const struct run *run);
void slow_of_gather(struct netloop *nl, struct gather *g);

/* [net] A command of this connection (NULL: it has gone) has taken that long outside of shards:
 * histogram, slow log, latency event. */
void slow_check(struct worker *w, struct conn *c, const struct request *rq, uint64_t ns);
static inline uint64_t slow_ns(uint64_t ticks)
{
    return (uint64_t)((double)ticks * 1000 / env_ticks_per_us());
}
