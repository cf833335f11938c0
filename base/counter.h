/* counter.h: numbers with one writer that any thread may read while they grow.
 *
 * Thread     `counter_add` and `counter_set` only on the owning thread; `counter_read` on any.
 * Order      relaxed: a reader sees some recent value, and never a torn one.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct counter {
    _Atomic uint64_t value;
};

static inline uint64_t counter_read(const struct counter *c)
{
    return atomic_load_explicit(&c->value, memory_order_relaxed);
}

/* No locked instruction: there is one writer. */
static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->value, counter_read(c) + n, memory_order_relaxed);
}

static inline void counter_set(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->value, n, memory_order_relaxed);
}
