/* latency.h: what held the server up, by the name of the event: for LATENCY.
 *
 * Thread     [any] Under one mutex: only what takes latency-monitor-threshold comes here.
 * Limits     LATENCY_SAMPLES_MAX samples of each event, one a second: the longest of that second.
 *            LATENCY_EVENTS_MAX events, whose names are constants of this program.
 */
#pragma once

#include <pthread.h>

#include "base/bytes.h"

#define LATENCY_EVENTS_MAX 16
#define LATENCY_SAMPLES_MAX 160

struct latency_sample {
    uint32_t unix_s, ms;
};

struct latency_event {
    const char *name; /* NULL: free; those in use come first */
    uint32_t next;    /* where the next sample goes */
    uint32_t count;
    uint32_t ms_max; /* of all times */
    struct latency_sample samples[LATENCY_SAMPLES_MAX];
};

struct latency {
    pthread_mutex_t mutex;
    struct latency_event events[LATENCY_EVENTS_MAX];
};

void latency_init(struct latency *l);
void latency_deinit(struct latency *l);
/* `event` is a constant. */
void latency_add(struct latency *l, const char *event, uint64_t ms);
/* A copy of the index-th event; false: there is none. */
MUST_USE bool latency_read(struct latency *l, uint32_t index, struct latency_event *out);
MUST_USE bool latency_find(struct latency *l, struct bytes name, struct latency_event *out);
/* False: it has no samples. */
bool latency_forget(struct latency *l, struct bytes name);

/* The index-th sample, oldest first. */
static inline const struct latency_sample *latency_sample(const struct latency_event *e,
                                                          uint32_t index)
{
    uint32_t first = e->next + LATENCY_SAMPLES_MAX - e->count;
    return &e->samples[(first + index) % LATENCY_SAMPLES_MAX];
}

struct latency_extent {
    uint32_t ms_min, ms_max;
    double ms_mean, ms_deviation; /* mean distance from the mean */
    double period_s;              /* from one sample to the next */
};
struct latency_extent latency_measure(const struct latency_event *e, uint32_t now_s);
/* The samples as bars, in the form of LATENCY GRAPH. */
void latency_draw(const struct latency_event *e, uint32_t now_s, struct buf *out);
