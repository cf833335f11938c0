/* defragmenter.h: how much of its CPU each shard spends on active defragmentation.
 *
 *     waste = pages that have a block − blocks in them, of the shards' own arenas
 *
 * Ten times a second, while activedefrag is on. Nothing is done until the waste of all shards is at
 * least active-defrag-ignore-bytes and active-defrag-threshold-lower percent of the blocks. Then
 * each shard over the lower threshold works, from active-defrag-cycle-min percent of its CPU at the
 * lower threshold to active-defrag-cycle-max at the upper one, or at once when fragmentation counts
 * as used memory (lending.h).
 *
 * Thread     [main]
 */
#pragma once

#include "server/server.h"

/* After the allocator's statistics have been taken. Also gives free pages back to the system: those
 * that have been free for some seconds, or all when what is resident is well over maxmemory. */
void defragmenter_update(struct server *srv, uint64_t now_ns);
