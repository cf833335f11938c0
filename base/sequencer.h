/* sequencer.h: one counter that gives the turns of all net threads one order, and the merge that
 * lets every shard execute its share of them in that order.
 *
 *     net thread                              shard
 *     1. push parcels, position PENDING       a. count all rings: note what is there
 *     2. p = take()        ── one fetch_add   b. H = highest position seen; waits for PENDING
 *     3. store p in its parcels (release)     c. count all rings again: the second look
 *     4. fence; wake sleepers                 d. run everything with position ≤ H, lowest first
 *
 * Why the second look is needed and enough: a parcel with position q < H was pushed before q was
 * taken, q was taken before H, and H was read in (b); so what (c) sees holds every parcel up to H.
 * What (a) saw need not: q's parcel may have been pushed to a ring after (a) had passed it.
 *
 * Thread     take: net threads. merge_*: the shard that owns the rings.
 * Order      Positions start just after SEQUENCER_FIRST and never repeat; a sender's positions
 *            grow along each ring.
 * Source     Sequenced multicast and deterministic ordering (Calvin); checked by
 *            tests/models/sequencer.pml.
 */
#pragma once

#include "base/mailbox.h"
#include "base/parcel.h"

struct sequencer {
    alignas(CACHE_LINE) _Atomic uint64_t next;
};

#define SEQUENCER_FIRST 1

static inline void sequencer_init(struct sequencer *s)
{
    atomic_init(&s->next, SEQUENCER_FIRST);
}

/* Before anybody takes one: positions begin no lower than that. */
static inline void sequencer_begin_at(struct sequencer *s, uint64_t position)
{
    atomic_store(&s->next, position > SEQUENCER_FIRST ? position : SEQUENCER_FIRST);
}

/* [net] The position of a turn whose parcels have all been pushed. acq_rel: the pushes happen
 * before every later take. */
static inline uint64_t sequencer_take(struct sequencer *s)
{
    return atomic_fetch_add_explicit(&s->next, 1, memory_order_acq_rel);
}

/* [net] Every position below the result has been taken. For the record of own-shard turns only. */
static inline uint64_t sequencer_now(const struct sequencer *s)
{
    return atomic_load_explicit(&s->next, memory_order_acquire);
}

/* ---- the receiving side ---- */

struct merge {
    struct mailbox *inputs; /* one per net thread, adjacent */
    uint32_t input_count;
    uint32_t next_input; /* without the sequencer only: whose turn it is */
    uint64_t covered;    /* every parcel up to this position is visible */
    uint64_t last_run;   /* for the check that order holds */
};

void merge_init(struct merge *m, struct mailbox *inputs, uint32_t input_count);
/* [shard] The parcel that comes next in turn order, taken from its ring; NULL when nothing is due.
 * May spin for the few ns that a PENDING position takes. */
struct parcel *merge_next(struct merge *m);
/* [shard] True if no ring holds a parcel. Looks anew. */
bool merge_is_empty(struct merge *m);

/* ---- sleep and wake ---- */

/* Of one thread. A sender that has pushed something fences and looks; a receiver that wants to
 * sleep sets it, fences and looks at its rings once more: one of the two always sees the other. */
struct sleeper {
    alignas(CACHE_LINE) _Atomic uint32_t sleeping;
};

/* [receiver] Before the last look at the rings. */
static inline void sleeper_announce(struct sleeper *s)
{
    atomic_store_explicit(&s->sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* Pairs with the fence in sleeper_must_wake. */
}

/* [receiver] Awake again, or found something at the last look. */
static inline void sleeper_cancel(struct sleeper *s)
{
    atomic_store_explicit(&s->sleeping, 0, memory_order_relaxed);
}

/* [sender] After the push. True for exactly one of the senders that find it asleep; that one wakes
 * it. */
static inline bool sleeper_must_wake(struct sleeper *s)
{
    atomic_thread_fence(memory_order_seq_cst); /* Pairs with the fence in sleeper_announce. */
    if (likely(atomic_load_explicit(&s->sleeping, memory_order_relaxed) == 0)) return false;
    return atomic_exchange_explicit(&s->sleeping, 0, memory_order_relaxed) != 0;
}
