/* histogram.h: latencies in ns, to about one part in 32, from 1 ns to minutes.
 *
 * Thread     one owner; histograms of several threads are added up afterwards.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 5
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_STEP_BITS) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
};

static inline unsigned histogram_bucket(uint64_t ns)
{
    if (ns < 1u << HISTOGRAM_STEP_BITS) return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(ns >> shift);
}

static inline void histogram_add(struct histogram *h, uint64_t ns, uint64_t count)
{
    h->counts[histogram_bucket(ns)] += count;
    h->total += count;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) into->counts[i] += from->counts[i];
    into->total += from->total;
}

/* The upper end of the bucket in which this share of the counts is reached, in ns. */
static inline uint64_t histogram_at(const struct histogram *h, double share)
{
    uint64_t wanted = (uint64_t)((double)h->total * share), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen <= wanted) continue;
        unsigned shift = i >> HISTOGRAM_STEP_BITS;
        if (shift <= 1) return i;
        uint64_t step = (i & ((1u << HISTOGRAM_STEP_BITS) - 1)) | 1u << HISTOGRAM_STEP_BITS;
        return ((step + 1) << (shift - 1)) - 1;
    }
    return 0;
}
