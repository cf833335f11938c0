/* script_sweep.h: frees what threads keep of scripts and functions that are gone, and what the last
 * scripts have left.
 *
 * Each thread compiles for itself, and its Lua state collects garbage only while scripts run. So
 * when scripts were flushed or libraries have changed, or a state has grown and is quiet now, the
 * main thread asks the workers: each lets go of what is dropped and runs the collector.
 *
 *     main ──call──▶ worker: forget, then a slice of collecting in each step ──back──▶ main
 *
 * Thread     [main], but for what its calls do on workers
 * Limits     One round at a time; it is looked for ten times a second. A slice takes 200 µs.
 */
#pragma once

#include "base/thread.h"

struct server;
struct worker;

struct script_sweep_part {
    struct call call;
    struct worker *worker;
    uint64_t seen_bytes;    /* of its Lua state, a moment ago */
    uint64_t settled_bytes; /* when it was swept last */
};

struct script_sweep {
    uint16_t waiting;                /* parts that are elsewhere */
    uint64_t generation, version;    /* of scripts and libraries, when they were swept last */
    struct script_sweep_part *parts; /* by worker; NULL until first used */
};

/* Begins a round if there is something to do and none is under way. */
void script_sweep_update(struct server *srv);
void script_sweep_deinit(struct server *srv);
