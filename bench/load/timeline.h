/* timeline.h: latencies of one thread over time: a line of CSV for every 100 ms, on the clock
 * CLOCK_MONOTONIC, so that a line can be told to lie before or behind what somebody else has done.
 *
 * Thread     the client's.
 * Limits     `silence_ms` is the longest time in which no reply came to any connection: with many
 *            connections and short pipelines a pause of the server, whatever the load is.
 */
#pragma once

#include <stdio.h>

#include "bench/load/histogram.h"

#define TIMELINE_STEP_NS 100000000

struct timeline {
    FILE *out; /* NULL: nobody wants it */
    struct histogram latencies;
    uint64_t step_ends_ns, longest_ns, last_reply_ns, silence_ns;
};

/* Writes the heading. */
void timeline_begin(struct timeline *t, FILE *out, uint64_t now_ns);
void timeline_add(struct timeline *t, uint64_t now_ns, uint64_t latency_ns, uint64_t count);
/* The steps that have ended. Once a turn of the client's loop. */
void timeline_step(struct timeline *t, uint64_t now_ns);
