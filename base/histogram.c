#include "base/histogram.h"

/* Steps are numbered without gaps: block b ≥ 1 has the values 2^(b+6) … 2^(b+7) - 1. */
static uint32_t step_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS) return (uint32_t)value;
    uint32_t top = 63 - (uint32_t)__builtin_clzll(value); /* its highest bit, 7 or more */
    uint32_t shift = top - 7;
    return (shift + 1) * HISTOGRAM_STEPS + (uint32_t)(value >> shift) - HISTOGRAM_STEPS;
}

static uint64_t first_of_step(uint32_t step)
{
    uint32_t block = step / HISTOGRAM_STEPS, index = step % HISTOGRAM_STEPS;
    return block == 0 ? index : (uint64_t)(HISTOGRAM_STEPS + index) << (block - 1);
}

static uint64_t clamp(uint64_t value)
{
    return MIN(value, (uint64_t)HISTOGRAM_VALUE_MAX);
}

uint64_t histogram_step_first(uint64_t value)
{
    return first_of_step(step_of(clamp(value)));
}

uint64_t histogram_step_last(uint64_t value)
{
    return MIN(first_of_step(step_of(clamp(value)) + 1) - 1, (uint64_t)HISTOGRAM_LAST);
}

static struct histogram_block *block_at(const struct histogram *h, uint32_t index)
{
    /* Pairs with the release store in block_make: who sees a block sees zeros or counts. */
    return atomic_load_explicit(&h->blocks[index], memory_order_acquire);
}

static struct histogram_block *block_make(struct histogram *h, struct mem *mem, uint32_t index)
{
    struct histogram_block *block = mem_alloc_zeroed(mem, sizeof *block);
    atomic_store_explicit(&h->blocks[index], block, memory_order_release);
    return block;
}

void histogram_add(struct histogram *h, struct mem *mem, uint64_t value, uint64_t count)
{
    uint32_t step = step_of(clamp(value)), index = step / HISTOGRAM_STEPS;
    struct histogram_block *block = atomic_load_explicit(&h->blocks[index], memory_order_relaxed);
    if (unlikely(!block)) block = block_make(h, mem, index);
    counter_add(&block->counts[step % HISTOGRAM_STEPS], count);
}

void histogram_reset(struct histogram *h)
{
    for (uint32_t i = 0; i < HISTOGRAM_BLOCKS; i++) {
        struct histogram_block *block = block_at(h, i);
        for (uint32_t k = 0; block && k < HISTOGRAM_STEPS; k++) counter_set(&block->counts[k], 0);
    }
}

void histogram_deinit(struct histogram *h, struct mem *mem)
{
    for (uint32_t i = 0; i < HISTOGRAM_BLOCKS; i++) {
        mem_free(mem, block_at(h, i), sizeof(struct histogram_block));
        atomic_store_explicit(&h->blocks[i], NULL, memory_order_relaxed);
    }
}

void histogram_slot_make(histogram_slot *slot, struct mem *mem)
{
    struct histogram *h = mem_alloc_zeroed(mem, sizeof *h);
    /* Pairs with the acquire load in histogram_sum_add_slot: who sees it sees zeros or blocks. */
    atomic_store_explicit(slot, h, memory_order_release);
}

void histogram_slot_reset(histogram_slot *slot)
{
    struct histogram *h = atomic_load_explicit(slot, memory_order_relaxed);
    if (h) histogram_reset(h);
}

void histogram_slot_deinit(histogram_slot *slot, struct mem *mem)
{
    struct histogram *h = atomic_load_explicit(slot, memory_order_relaxed);
    if (!h) return;
    histogram_deinit(h, mem);
    mem_free(mem, h, sizeof *h);
    atomic_store_explicit(slot, NULL, memory_order_relaxed);
}

/* ---- reading ---- */

void histogram_sum_add_slot(struct histogram_sum *sum, const histogram_slot *slot)
{
    const struct histogram *h = atomic_load_explicit(slot, memory_order_acquire);
    if (h) histogram_sum_add(sum, h);
}

void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h)
{
    for (uint32_t i = 0; i < HISTOGRAM_BLOCKS; i++) {
        const struct histogram_block *block = block_at(h, i);
        for (uint32_t k = 0; block && k < HISTOGRAM_STEPS; k++) {
            uint64_t count = counter_read(&block->counts[k]);
            sum->counts[i * HISTOGRAM_STEPS + k] += count;
            sum->total += count;
        }
    }
}

uint64_t histogram_sum_percentile(const struct histogram_sum *sum, double percent)
{
    uint64_t wanted = (uint64_t)(MIN(percent, 100.0) / 100 * (double)sum->total + 0.5), seen = 0;
    wanted = MIN(MAX(wanted, (uint64_t)1), sum->total);
    for (uint32_t step = 0; step < ARRAY_LEN(sum->counts); step++) {
        seen += sum->counts[step];
        if (seen == 0 || seen < wanted) continue;
        uint64_t first = first_of_step(step);
        return percent > 0 ? histogram_step_last(first) : first;
    }
    return 0;
}

uint64_t histogram_sum_up_to(const struct histogram_sum *sum, uint64_t value)
{
    uint64_t seen = 0;
    for (uint32_t step = 0, last = step_of(clamp(value)); step <= last; step++)
        seen += sum->counts[step];
    return seen;
}
