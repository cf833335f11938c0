/* histogram.h: how often which value came, in steps of less than 1 %, with one writer and any
 * readers.
 *
 *     values 0 … 127, 128 … 255: one each; every further power of two: HISTOGRAM_STEPS steps
 *
 * Thread     [owner] One thread adds and resets; any thread may read meanwhile, and sees some
 *            recent counts.
 * Ownership  The block of a power of two comes from the owner's memory with the first of its
 *            values, and stays until histogram_deinit.
 * Limits     Values from HISTOGRAM_VALUE_MAX on count as that. 1 KiB per power of two.
 * Source     HdrHistogram with two significant digits: the same steps, so the same percentiles.
 */
#pragma once

#include "base/counter.h"
#include "base/mem.h"

#define HISTOGRAM_STEPS 128
#define HISTOGRAM_BLOCKS 24
#define HISTOGRAM_VALUE_MAX 1000000000u
#define HISTOGRAM_LAST ((1u << 30) - 1) /* of the highest step */

struct histogram_block {
    struct counter counts[HISTOGRAM_STEPS];
};

struct histogram {
    _Atomic(struct histogram_block *) blocks[HISTOGRAM_BLOCKS]; /* NULL: none of its values came */
};

/* {0} is a valid empty one. [owner] */
void histogram_deinit(struct histogram *h, struct mem *mem);
/* `count` times that value. Never fails: a block is small. [owner] */
void histogram_add(struct histogram *h, struct mem *mem, uint64_t value, uint64_t count);
/* [owner] */
void histogram_reset(struct histogram *h);

/* Where a histogram may be, once it has a value: NULL until then. */
typedef _Atomic(struct histogram *) histogram_slot;
/* [owner] */
void histogram_slot_make(histogram_slot *slot, struct mem *mem);
static inline void histogram_slot_add(histogram_slot *slot, struct mem *mem, uint64_t value,
                                      uint64_t count)
{
    if (unlikely(!atomic_load_explicit(slot, memory_order_relaxed))) histogram_slot_make(slot, mem);
    histogram_add(atomic_load_explicit(slot, memory_order_relaxed), mem, value, count);
}
void histogram_slot_reset(histogram_slot *slot);
void histogram_slot_deinit(histogram_slot *slot, struct mem *mem);

/* What several histograms add up to: of one reader. */
struct histogram_sum {
    uint64_t total;
    uint64_t counts[HISTOGRAM_BLOCKS * HISTOGRAM_STEPS];
};

/* [any] */
void histogram_sum_add(struct histogram_sum *sum, const struct histogram *h);
void histogram_sum_add_slot(struct histogram_sum *sum, const histogram_slot *slot);
/* The highest value of the step in which that part of all values has come; 0 is the lowest of the
 * first step. There is at least one value. */
uint64_t histogram_sum_percentile(const struct histogram_sum *sum, double percent);
/* How many are in steps up to that of `value`. */
uint64_t histogram_sum_up_to(const struct histogram_sum *sum, uint64_t value);

/* The lowest and the highest value of the step of `value`. */
uint64_t histogram_step_first(uint64_t value);
uint64_t histogram_step_last(uint64_t value);
