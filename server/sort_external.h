/* sort_external.h: SORT with BY or GET patterns that name keys by the elements, when there are
 * several shards.
 *
 *     hold     the whole keyspace of every shard, in one turn: which keys are needed is known only
 *              when the elements have been seen, and nothing may change in between
 *     names    the shard of the sorted key tells the keys that its elements lead to
 *     report   the shards of those keys send copies
 *     run …    as in locked.h: the copies are guests of the shard of STORE's key, or else of the
 *              sorted one's, the ordinary handler runs, everything is let go
 *
 * So the answer is that of one moment, which is the place of the hold in the turn order. The price
 * is that every other command waits for three round trips.
 *
 * Thread     [net] of the connection.
 * Errors     No memory for the names or for a copy ends the operation without effects.
 */
#pragma once

#include "server/session.h"

struct locked;

/* The request is such a SORT; see coord.h for the result. */
MUST_USE bool coord_sort_external(struct session *s, const struct route *route);
/* The same under a holding of everything (locked_run): nothing is held or let go. */
void sort_external_run(struct locked *op);
