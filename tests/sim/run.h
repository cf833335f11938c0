/* run.h: one simulated run: a whole server and its clients in a world made from one seed.
 *
 * Everything but the OS is real: the main loop and every worker run their own step functions, each
 * in a fiber.
 *
 * Errors     A run that ends wrongly returns false with a line in `why`: loops that all sleep while
 * replies are due (a lost wake), a reply that is missing, an order that names no command or forgets
 * one.
 */
#pragma once

#include "tests/sim/history.h"

/* What the seed chose. */
struct run_shape {
    unsigned threads, nets, shards; /* threads 0: dedicated net and shard threads */
    unsigned clients, buffers_max;
    bool wakes_spuriously;
};

struct run_totals {
    uint64_t in_place, sequenced, locked_waits, steps;
};

#define RUN_WHY_BYTES 256

MUST_USE bool run_simulate(uint64_t seed, struct history *h, struct run_shape *shape,
                           struct run_totals *totals, char *why);
