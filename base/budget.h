/* budget.h: one memory cap for all shards, lent to them in pieces.
 *
 *     cap - what is used elsewhere = unlent + the sum of all loans - what is owed
 *
 * A shard that has used up its loan borrows more; when nothing is left to lend, it must evict. So a
 * shard that gets more data than others does not evict while there is room anywhere, and the sum
 * stays under the cap without a lock. The main thread calls loans back when the cap shrinks or when
 * memory lies where it is of less use. A shard that has nothing to evict may owe: others, who have,
 * see that and pay for it with a part of their loans.
 *
 * Thread     budget_resize and budget_recall [main], a loan [shard] its own, the rest [any]
 * Limits     Bytes. `unlent` is negative while more is lent than there is, until the shards have
 *            given back what was called.
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/counter.h"

struct budget {
    alignas(CACHE_LINE) _Atomic int64_t unlent_bytes;
    alignas(CACHE_LINE) _Atomic int64_t total_bytes; /* unlent and all loans */
    _Atomic int64_t cap_bytes;                       /* written by the main thread */
    alignas(CACHE_LINE) _Atomic uint64_t owed_bytes; /* lent beyond what there is */
    _Atomic uint64_t settled_bytes;                  /* of what was owed, in all so far */
};

struct loan {
    /* ---- written by the main thread ---- */
    alignas(CACHE_LINE) struct counter called_bytes; /* asked back, in all so far */
    /* ---- written by the shard ---- */
    alignas(CACHE_LINE) struct budget *budget;
    struct counter lent_bytes;
    struct counter repaid_bytes; /* of what was called */
};

/* [main] The cap on loans and on what is used elsewhere, and how much that is now. */
void budget_resize(struct budget *b, int64_t cap_bytes, uint64_t elsewhere_bytes);
/* What is used elsewhere has been measured again. If it has grown, nothing happens until the next
 * budget_resize. */
void budget_raise(struct budget *b, uint64_t elsewhere_bytes);
int64_t budget_total(const struct budget *b);
int64_t budget_unlent(const struct budget *b);
/* [main] Asks for that much of a loan back. */
void budget_recall(struct loan *l, uint64_t bytes);
/* [main] What was asked back and has not come yet. */
uint64_t budget_awaited(const struct loan *l);

/* [shard] Up to `want` more; what it got, 0 when there is nothing left. */
uint64_t loan_borrow(struct loan *l, uint64_t want);
/* [any] */
static inline uint64_t budget_owed(const struct budget *b)
{
    return atomic_load_explicit(&b->owed_bytes, memory_order_relaxed);
}
static inline uint64_t budget_settled(const struct budget *b)
{
    return atomic_load_explicit(&b->settled_bytes, memory_order_relaxed);
}
/* [shard] Borrows what nobody has to lend. */
void loan_owe(struct loan *l, uint64_t bytes);
/* [shard] Gives up that much, or what is owed if that is less. */
void loan_settle(struct loan *l, uint64_t bytes);
/* [shard] Gives back what was called, and what is above `keep`. */
void loan_repay(struct loan *l, uint64_t keep);
static inline uint64_t loan_bytes(const struct loan *l)
{
    return counter_read(&l->lent_bytes);
}
