/* run.h: one simulated run: a whole server and its clients in a world made from one seed.
 *
 * Everything but the OS is real: the main loop and every worker run their own step functions, each
 * in a fiber.
 *
 * Where allocations fail, a command is refused and has done nothing, or its connection is closed;
 * then the run proves only that nothing is lost. GETSET and GETDEL, which may have been done when
 * their reply finds no memory, are left out.
 *
 * Errors     A run that ends wrongly returns false with a line in `why`: loops that all sleep while
 *            replies are due (a lost wake), a reply that is missing, an order that names no command
 *            or forgets one, a server that does not start again from its log, or starts with what
 *            recovered.h refuses.
 */
#pragma once

#include "tests/sim/history.h"

/* What the seed chose. */
struct run_shape {
    unsigned threads, nets, shards; /* threads 0: dedicated net and shard threads */
    unsigned clients, buffers_max;
    bool wakes_spuriously;
    bool has_log;
    bool has_faults;            /* now and then an allocation fails */
    const char *policy, *crash; /* of the log; how the run ends, NULL: orderly */
};

struct run_totals {
    uint64_t in_place, sequenced, locked_waits, steps;
    uint64_t logged, crashes, rewrites, undecided;
    uint64_t faulty, faults, refused, cut; /* runs; allocations that failed; commands that were
                                              refused; runs in which a connection was closed */
};

#define RUN_WHY_BYTES 256

/* Whether this run writes a log. Such a run may leave memory and loops behind: it ends in a crash.
 */
bool run_has_log(uint64_t seed);
MUST_USE bool run_simulate(uint64_t seed, struct history *h, struct run_shape *shape,
                           struct run_totals *totals, char *why);
