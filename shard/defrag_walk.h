/* defrag_walk.h: one go of defragmentation at a value: what a type's hook gets.
 *
 * Thread     [shard]
 * Limits     `budget` says how many blocks may still be looked at; a hook may go a little over it.
 */
#pragma once

#include "base/mem.h"

struct defrag_walk {
    struct mem *mem;
    bool force;      /* every block is moved: for tests */
    uint64_t cursor; /* where a hook goes on; 0: at the start, and when it is through */
    uint64_t budget;
    uint64_t hits, misses; /* blocks that moved, and that did not */
};

/* Whether the block is to be moved. */
static inline bool defrag_wants(struct defrag_walk *w, const void *p, size_t size)
{
    if (w->budget > 0) w->budget--;
    if (w->force || mem_is_sparse(w->mem, p, size)) return true;
    w->misses++;
    return false;
}

/* The block, or another one with its contents in its place. `size` as it was asked with. */
static inline void *defrag_block(struct defrag_walk *w, void *p, size_t size)
{
    if (!defrag_wants(w, p, size)) return p;
    void *moved = mem_try_move(w->mem, p, size);
    if (!moved) return p;
    w->hits++;
    return moved;
}
