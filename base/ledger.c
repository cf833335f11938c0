#include "base/ledger.h"

void ledger_init(struct ledger *l, struct mem *mem, uint32_t ring_count, uint32_t ring_entries)
{
    CHECK(ring_entries > 0 && (ring_entries & (ring_entries - 1)) == 0);
    l->rings = mem_alloc_aligned(mem, (ring_count + 1u) * sizeof *l->rings, CACHE_LINE);
    l->ring_count = ring_count;
    for (uint32_t i = 0; i < ARRAY_LEN(l->waiting); i++) atomic_init(&l->waiting[i], 0);
    for (uint32_t i = 0; i < ring_count; i++) {
        struct ledger_ring *r = &l->rings[i];
        atomic_init(&r->head, LEDGER_FIRST_INDEX);
        atomic_init(&r->tail, LEDGER_FIRST_INDEX);
        r->mask = ring_entries - 1;
        r->entries = mem_alloc_zeroed(mem, ring_entries * sizeof *r->entries);
    }
}

void ledger_deinit(struct ledger *l, struct mem *mem)
{
    for (uint32_t i = 0; i < l->ring_count; i++)
        mem_free(mem, l->rings[i].entries, (l->rings[i].mask + 1) * sizeof *l->rings[i].entries);
    mem_free(mem, l->rings, (l->ring_count + 1u) * sizeof *l->rings);
}

/* ---- the net thread ---- */

bool ledger_is_full(struct ledger *l, uint32_t ring)
{
    struct ledger_ring *r = &l->rings[ring];
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    while (head != tail &&
           atomic_load_explicit(&r->entries[head & r->mask].left, memory_order_acquire) == 0)
        head++;
    atomic_store_explicit(&r->head, head, memory_order_release);
    return tail - head > r->mask;
}

struct ledger_entry *ledger_open(struct ledger *l, uint32_t ring, uint32_t parts, uint64_t bound)
{
    CHECK(parts > 0 && !ledger_is_full(l, ring));
    struct ledger_ring *r = &l->rings[ring];
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    struct ledger_entry *e = &r->entries[tail & r->mask];
    atomic_store_explicit(&e->txid, bound, memory_order_relaxed);
    /* Pairs with the acquire load in ledger_lowest: who sees that it is open sees its bound. */
    atomic_store_explicit(&e->left, parts, memory_order_release);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return e;
}

void ledger_name(struct ledger_entry *e, uint64_t txid)
{
    atomic_store_explicit(&e->txid, txid, memory_order_release);
}

/* ---- shards ---- */

bool ledger_part_is_stable(struct ledger_entry *e)
{
    uint32_t before = atomic_fetch_sub_explicit(&e->left, 1, memory_order_acq_rel);
    CHECK(before > 0);
    return before == 1;
}

/* Entries that end meanwhile, and are used anew, may be read twice or not at all: what was open all
 * the time stays where it is, between the head and the tail that are read here. */
static uint64_t ring_lowest(const struct ledger_ring *r)
{
    uint64_t lowest = UINT64_MAX;
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint32_t count = atomic_load_explicit(&r->tail, memory_order_acquire) - head;
    /* The head that was read is old: one round shows every entry. */
    if (count > r->mask + 1) count = r->mask + 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct ledger_entry *e = &r->entries[(head + i) & r->mask];
        if (atomic_load_explicit(&e->left, memory_order_acquire) == 0) continue;
        uint64_t txid = atomic_load_explicit(&e->txid, memory_order_acquire);
        if (txid < lowest) lowest = txid;
    }
    return lowest;
}

uint64_t ledger_lowest(const struct ledger *l)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < l->ring_count; i++) {
        uint64_t of_ring = ring_lowest(&l->rings[i]);
        if (of_ring < lowest) lowest = of_ring;
    }
    return lowest;
}

/* ---- waiting ---- */

void ledger_wait(struct ledger *l, uint16_t shard)
{
    atomic_fetch_or_explicit(&l->waiting[shard / 64], UINT64_C(1) << (shard % 64),
                             memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst); /* Pairs with the fence in ledger_waiting. */
}

void ledger_wait_no_more(struct ledger *l, uint16_t shard)
{
    atomic_fetch_and_explicit(&l->waiting[shard / 64], ~(UINT64_C(1) << (shard % 64)),
                              memory_order_relaxed);
}

uint64_t ledger_waiting(const struct ledger *l, uint32_t word)
{
    atomic_thread_fence(memory_order_seq_cst); /* Pairs with the fence in ledger_wait. */
    return atomic_load_explicit(&l->waiting[word], memory_order_relaxed);
}
