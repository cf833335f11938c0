/* random.h: a small generator for randomised tests, the same on every machine.
 *
 * Order      The same seed gives the same run. SHOAL_SEED in the environment sets it.
 * Source     splitmix64 (Steele, Lea and Flood, 2014).
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct random {
    uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint64_t random_below(struct random *r, uint64_t limit)
{
    return random_next(r) % limit;
}

/* The seed is fixed, so that a run can be repeated, unless SHOAL_SEED says another. It is printed.
 */
static inline struct random random_make(void)
{
    const char *text = getenv("SHOAL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 1;
    fprintf(stderr, "SHOAL_SEED=%llu\n", (unsigned long long)seed);
    return (struct random){seed};
}
