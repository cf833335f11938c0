#include "base/budget.h"

void budget_resize(struct budget *b, int64_t total_bytes)
{
    int64_t more = total_bytes - b->total_bytes;
    b->total_bytes = total_bytes;
    if (more != 0) atomic_fetch_add_explicit(&b->unlent_bytes, more, memory_order_relaxed);
}

int64_t budget_unlent(const struct budget *b)
{
    return atomic_load_explicit(&b->unlent_bytes, memory_order_relaxed);
}

void budget_recall(struct loan *l, uint64_t bytes)
{
    counter_add(&l->called_bytes, bytes);
}

uint64_t budget_awaited(const struct loan *l)
{
    return counter_read(&l->called_bytes) - counter_read(&l->repaid_bytes);
}

uint64_t loan_borrow(struct loan *l, uint64_t want)
{
    int64_t unlent = budget_unlent(l->budget), got;
    do {
        if (unlent <= 0) return 0;
        got = MIN((int64_t)want, unlent);
    } while (!atomic_compare_exchange_weak_explicit(&l->budget->unlent_bytes, &unlent, unlent - got,
                                                    memory_order_relaxed, memory_order_relaxed));
    counter_add(&l->lent_bytes, (uint64_t)got);
    return (uint64_t)got;
}

void loan_repay(struct loan *l, uint64_t keep)
{
    uint64_t lent = loan_bytes(l), awaited = budget_awaited(l);
    uint64_t back = MIN(awaited, lent);
    counter_add(&l->repaid_bytes, awaited);
    if (lent - back > keep) back = lent - keep;
    if (back == 0) return;
    counter_set(&l->lent_bytes, lent - back);
    atomic_fetch_add_explicit(&l->budget->unlent_bytes, (int64_t)back, memory_order_relaxed);
}
