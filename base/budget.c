#include "base/budget.h"

void budget_resize(struct budget *b, int64_t cap_bytes, uint64_t elsewhere_bytes)
{
    int64_t total = cap_bytes - (int64_t)elsewhere_bytes;
    atomic_store_explicit(&b->cap_bytes, cap_bytes, memory_order_relaxed);
    int64_t before = atomic_exchange_explicit(&b->total_bytes, total, memory_order_relaxed);
    if (total != before)
        atomic_fetch_add_explicit(&b->unlent_bytes, total - before, memory_order_relaxed);
}

/* Several threads at a time are no harm: each adds the difference to the total that it replaces. */
void budget_raise(struct budget *b, uint64_t elsewhere_bytes)
{
    int64_t cap = atomic_load_explicit(&b->cap_bytes, memory_order_relaxed);
    int64_t total = cap - (int64_t)elsewhere_bytes, before = budget_total(b);
    do {
        if (total <= before) return;
    } while (!atomic_compare_exchange_weak_explicit(&b->total_bytes, &before, total,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&b->unlent_bytes, total - before, memory_order_relaxed);
}

int64_t budget_total(const struct budget *b)
{
    return atomic_load_explicit(&b->total_bytes, memory_order_relaxed);
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

void loan_owe(struct loan *l, uint64_t bytes)
{
    atomic_fetch_add_explicit(&l->budget->owed_bytes, bytes, memory_order_relaxed);
    counter_add(&l->lent_bytes, bytes);
}

/* What of `bytes` goes where something is owed. */
static uint64_t pay(struct budget *b, uint64_t bytes)
{
    uint64_t owed = budget_owed(b), paid;
    do {
        paid = MIN(bytes, owed);
        if (paid == 0) return 0;
    } while (!atomic_compare_exchange_weak_explicit(&b->owed_bytes, &owed, owed - paid,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&b->settled_bytes, paid, memory_order_relaxed);
    return paid;
}

void loan_settle(struct loan *l, uint64_t bytes)
{
    uint64_t paid = pay(l->budget, MIN(bytes, loan_bytes(l)));
    counter_set(&l->lent_bytes, loan_bytes(l) - paid);
}

void loan_repay(struct loan *l, uint64_t keep)
{
    uint64_t lent = loan_bytes(l), awaited = budget_awaited(l);
    uint64_t back = MIN(awaited, lent);
    counter_add(&l->repaid_bytes, awaited);
    if (lent - back > keep) back = lent - keep;
    if (back == 0) return;
    counter_set(&l->lent_bytes, lent - back);
    back -= pay(l->budget, back);
    atomic_fetch_add_explicit(&l->budget->unlent_bytes, (int64_t)back, memory_order_relaxed);
}
