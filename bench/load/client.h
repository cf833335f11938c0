/* client.h: one thread of the load generator: connections that send a block of requests, wait for
 * all replies, and send the next block (a closed loop), over one io_uring.
 *
 *     send (fixed file, no completion unless it fails)     one submission per loop for all of them
 *     receive: multishot into a ring of buffers            replies are counted where they lie
 *
 * Thread     client_run on its own thread; the results are read when it has ended.
 * Limits     With `sleeps` false it never waits in the kernel: it wants a CPU of its own, and then
 *            no server has to wake it. `idle_ns` says how long it had nothing to do: if that is
 *            next to nothing, it was the generator that was measured.
 */
#pragma once

#include "bench/load/histogram.h"
#include "bench/load/replies.h"
#include "bench/load/requests.h"
#include "bench/load/timeline.h"

struct client_options {
    const char *host;
    const char *port;
    unsigned connections, pipeline;
    uint64_t duration_ns; /* 0: by count */
    uint64_t count;       /* requests of this thread; 0: by time */
    bool sleeps;
    bool fills; /* blocks one after the other; else any */
    uint64_t seed;
    const struct requests *requests;
    struct reply_expected expected;
    FILE *timeline; /* NULL: none; of one thread */
};

struct client_result {
    struct reply_counts counts;
    struct histogram latencies;
    uint64_t elapsed_ns, idle_ns;
    const char *problem; /* NULL: it ran to its end */
};

void client_run(const struct client_options *options, struct client_result *result);
