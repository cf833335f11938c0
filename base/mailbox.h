/* mailbox.h: bounded queue of pointers from exactly one thread to exactly one other.
 *
 * Thread     [sender] and [receiver] mark who may call; nothing else is safe.
 * Ownership  A successful push gives the message away: the sender may not read it again until it
 *            returns through another mailbox.
 * Limits     Capacity is a power of two, fixed at init. Full is back-pressure for the sender to
 *            act on, never an error to log.
 * Order      First in, first out. Free-running indices, so wrap-around is harmless.
 * Source     Lamport's ring with cached opposite indices.
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "base/check.h"

struct mailbox {
    /* ---- written by the sender ---- */
    alignas(CACHE_LINE) _Atomic uint32_t tail;
    uint32_t head_seen; /* last head the sender read; saves a shared load per push */
    /* ---- written by the receiver ---- */
    alignas(CACHE_LINE) _Atomic uint32_t head;
    uint32_t tail_seen;
    /* ---- constant after init ---- */
    alignas(CACHE_LINE) void **slots;
    uint32_t mask;
};
_Static_assert(sizeof(struct mailbox) == 3 * CACHE_LINE, "one cache line per writer");

/* Indices start just below the wrap, so that every run crosses it. */
#define MAILBOX_FIRST_INDEX ((uint32_t)-3)

static inline void mailbox_init(struct mailbox *box, void **slots, uint32_t capacity)
{
    CHECK(capacity >= 2 && (capacity & (capacity - 1)) == 0);
    atomic_init(&box->tail, MAILBOX_FIRST_INDEX);
    atomic_init(&box->head, MAILBOX_FIRST_INDEX);
    box->head_seen = box->tail_seen = MAILBOX_FIRST_INDEX;
    box->slots = slots;
    box->mask = capacity - 1;
}

/* [sender] False, keeping ownership of m, when the box is full. */
MUST_USE static inline bool mailbox_push(struct mailbox *box, void *m)
{
    uint32_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
    if (tail - box->head_seen > box->mask) {
        box->head_seen = atomic_load_explicit(&box->head, memory_order_acquire);
        if (tail - box->head_seen > box->mask) return false;
    }
    box->slots[tail & box->mask] = m;
    /* Pairs with the acquire load of tail in mailbox_peek_at and mailbox_count. */
    atomic_store_explicit(&box->tail, tail + 1, memory_order_release);
    return true;
}

/* [receiver] How many messages can be peeked at. Looks at the sender's index anew. */
static inline uint32_t mailbox_count(struct mailbox *box)
{
    box->tail_seen = atomic_load_explicit(&box->tail, memory_order_acquire);
    return box->tail_seen - atomic_load_explicit(&box->head, memory_order_relaxed);
}

/* [any] The same from outside, for statistics: a moment old. */
static inline uint32_t mailbox_level(const struct mailbox *box)
{
    /* head before tail: the difference is then never negative. */
    uint32_t head = atomic_load_explicit(&box->head, memory_order_acquire);
    return atomic_load_explicit(&box->tail, memory_order_acquire) - head;
}

/* [receiver] The oldest message without taking it; NULL when there was none at the last
 * mailbox_count. */
static inline void *mailbox_peek(const struct mailbox *box)
{
    uint32_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    return head == box->tail_seen ? NULL : box->slots[head & box->mask];
}

/* [receiver] The youngest message of those that the last mailbox_count saw; NULL when there was
 * none. */
static inline void *mailbox_peek_last(const struct mailbox *box)
{
    uint32_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    return head == box->tail_seen ? NULL : box->slots[(box->tail_seen - 1) & box->mask];
}

/* [receiver] Takes away what mailbox_peek showed. */
static inline void mailbox_drop(struct mailbox *box)
{
    uint32_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    /* Pairs with the acquire load of head in mailbox_push: the slot is free only after it was read.
     */
    atomic_store_explicit(&box->head, head + 1, memory_order_release);
}

/* [receiver] The oldest message, now the caller's; NULL when empty. Never blocks. */
static inline void *mailbox_pop(struct mailbox *box)
{
    void *m = mailbox_peek(box);
    if (!m) {
        if (mailbox_count(box) == 0) return NULL;
        m = mailbox_peek(box);
    }
    mailbox_drop(box);
    return m;
}
