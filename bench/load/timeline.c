#include "bench/load/timeline.h"

#include <string.h>

#include "base/bytes.h"

void timeline_begin(struct timeline *t, FILE *out, uint64_t now_ns)
{
    memset(t, 0, sizeof *t);
    t->out = out;
    t->last_reply_ns = now_ns;
    t->step_ends_ns = now_ns + TIMELINE_STEP_NS;
    if (out) fprintf(out, "seconds,operations,p50_ms,p99_ms,p99.9_ms,max_ms,silence_ms\n");
}

void timeline_add(struct timeline *t, uint64_t now_ns, uint64_t latency_ns, uint64_t count)
{
    if (!t->out) return;
    histogram_add(&t->latencies, latency_ns, count);
    t->longest_ns = MAX(t->longest_ns, latency_ns);
    t->silence_ns = MAX(t->silence_ns, now_ns - t->last_reply_ns);
    t->last_reply_ns = now_ns;
}

void timeline_step(struct timeline *t, uint64_t now_ns)
{
    if (!t->out || now_ns < t->step_ends_ns) return;
    fprintf(t->out, "%.3f,%llu,%.4f,%.4f,%.4f,%.4f,%.4f\n", (double)t->step_ends_ns / 1e9,
            (unsigned long long)t->latencies.total, (double)histogram_at(&t->latencies, 0.5) / 1e6,
            (double)histogram_at(&t->latencies, 0.99) / 1e6,
            (double)histogram_at(&t->latencies, 0.999) / 1e6, (double)t->longest_ns / 1e6,
            (double)t->silence_ns / 1e6);
    fflush(t->out); /* it may be ended by a signal */
    memset(&t->latencies, 0, sizeof t->latencies);
    t->longest_ns = t->silence_ns = 0;
    while (t->step_ends_ns <= now_ns) t->step_ends_ns += TIMELINE_STEP_NS;
}
