/* lending.h: how much memory the shards may use together, and between whom it is moved.
 *
 *     maxmemory = net threads, main thread, buffers … + what is lent to shards + what is not lent
 *
 * Ten times a second the main thread measures what is used outside the shards, and sizes the budget
 * by it. As buffers of clients come and go faster, a shard that would have to evict looks whether
 * it has become less since. What clients use beyond maxmemory-clients is not counted while they can
 * still be closed: they go before keys do. When more is lent than there is, it calls back from each
 * shard in proportion. When nothing is left to lend, it calls back a little from the shards whose
 * coldest keys are much colder than those of the others: whoever is evicting then borrows it. So
 * memory moves to where it is of use.
 *
 * Pages that have a block but are not full count as well, once the shards' pages, with what the
 * allocator needs for itself, are over their share by maxmemory-fragmentation-percent: then the
 * budget shrinks until they are not, or until CHARGE_TIMES what is over has been taken from it.
 * With noeviction nothing is gained by that, so they do not count.
 *
 * Thread     [main]; lending_used_elsewhere and server_is_full [any]
 */
#pragma once

#include "server/server.h"

/* Ten times a second, and when maxmemory has changed, before the shards hear of it. */
void lending_update(struct server *srv, const struct config *config);
/* What counts under maxmemory and is no shard's: clients, parcels, scripts. Bytes. */
uint64_t lending_used_elsewhere(const struct server *srv);
/* Some shard is over its limit and has nothing to evict. */
bool server_is_full(const struct server *srv);
