#include "server/latency.h"

#include <stdio.h>

#include "base/env.h"

void latency_init(struct latency *l)
{
    memset(l, 0, sizeof *l);
    pthread_mutex_init(&l->mutex, NULL);
}

void latency_deinit(struct latency *l)
{
    pthread_mutex_destroy(&l->mutex);
}

/* ---- samples ---- */

/* NULL: the table is full. */
static struct latency_event *event_named(struct latency *l, const char *name)
{
    for (uint32_t i = 0; i < LATENCY_EVENTS_MAX; i++) {
        struct latency_event *e = &l->events[i];
        if (!e->name) e->name = name;
        if (strcmp(e->name, name) == 0) return e;
    }
    return NULL;
}

static void add_sample(struct latency_event *e, uint32_t now_s, uint32_t ms)
{
    e->ms_max = MAX(e->ms_max, ms);
    struct latency_sample *last =
        &e->samples[(e->next + LATENCY_SAMPLES_MAX - 1) % LATENCY_SAMPLES_MAX];
    if (e->count > 0 && last->unix_s == now_s) {
        last->ms = MAX(last->ms, ms);
        return;
    }
    e->samples[e->next] = (struct latency_sample){now_s, ms};
    e->next = (e->next + 1) % LATENCY_SAMPLES_MAX;
    e->count = MIN(e->count + 1, (uint32_t)LATENCY_SAMPLES_MAX);
}

void latency_add(struct latency *l, const char *event, uint64_t ms)
{
    uint32_t now_s = (uint32_t)(env_wall_us() / 1000000);
    pthread_mutex_lock(&l->mutex);
    struct latency_event *e = event_named(l, event);
    if (e) add_sample(e, now_s, (uint32_t)MIN(ms, (uint64_t)UINT32_MAX));
    pthread_mutex_unlock(&l->mutex);
}

bool latency_read(struct latency *l, uint32_t index, struct latency_event *out)
{
    if (index >= LATENCY_EVENTS_MAX) return false;
    pthread_mutex_lock(&l->mutex);
    *out = l->events[index];
    pthread_mutex_unlock(&l->mutex);
    return out->name != NULL;
}

bool latency_find(struct latency *l, struct bytes name, struct latency_event *out)
{
    for (uint32_t i = 0; latency_read(l, i, out); i++)
        if (bytes_equal(name, bytes_of(out->name))) return true;
    return false;
}

bool latency_forget(struct latency *l, struct bytes name)
{
    bool is_there = false;
    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < LATENCY_EVENTS_MAX && l->events[i].name && !is_there; i++) {
        is_there = bytes_equal(name, bytes_of(l->events[i].name));
        if (!is_there) continue;
        size_t behind = LATENCY_EVENTS_MAX - i - 1;
        memmove(&l->events[i], &l->events[i + 1], behind * sizeof *l->events);
        l->events[LATENCY_EVENTS_MAX - 1] = (struct latency_event){0};
    }
    pthread_mutex_unlock(&l->mutex);
    return is_there;
}

struct latency_extent latency_measure(const struct latency_event *e, uint32_t now_s)
{
    struct latency_extent x = {.ms_min = UINT32_MAX};
    double sum = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        uint32_t ms = latency_sample(e, i)->ms;
        x.ms_min = MIN(x.ms_min, ms);
        x.ms_max = MAX(x.ms_max, ms);
        sum += ms;
    }
    if (e->count == 0) return (struct latency_extent){0};
    x.ms_mean = sum / e->count;
    for (uint32_t i = 0; i < e->count; i++) {
        double distance = latency_sample(e, i)->ms - x.ms_mean;
        x.ms_deviation += (distance < 0 ? -distance : distance) / e->count;
    }
    uint32_t first_s = latency_sample(e, 0)->unix_s;
    x.period_s = (double)MAX(now_s, first_s + 1) - first_s;
    x.period_s /= e->count;
    return x;
}

/* ---- the graph ---- */

#define GRAPH_COLUMNS 80
#define GRAPH_ROWS 4
#define GRAPH_STEPS_PER_ROW 3
#define LABEL_BYTES 16

/* How long ago, in the largest unit that fits. */
static void make_label(char out[LABEL_BYTES], uint32_t age_s)
{
    if (age_s < 60)
        snprintf(out, LABEL_BYTES, "%us", age_s);
    else if (age_s < 3600)
        snprintf(out, LABEL_BYTES, "%um", age_s / 60);
    else if (age_s < 86400)
        snprintf(out, LABEL_BYTES, "%uh", age_s / 3600);
    else
        snprintf(out, LABEL_BYTES, "%ud", age_s / 86400);
}

/* Row 0 is the lowest: the tip of the bar, the bar, or nothing. */
static char bar_at(const struct latency_extent *x, uint32_t ms, unsigned row)
{
    uint64_t range = MAX(x->ms_max - x->ms_min, 1u), steps = GRAPH_ROWS * GRAPH_STEPS_PER_ROW;
    uint64_t step = MIN((ms - x->ms_min) * steps / range, steps - 1);
    if (row == step / GRAPH_STEPS_PER_ROW) return "_o#"[step % GRAPH_STEPS_PER_ROW];
    return row < step / GRAPH_STEPS_PER_ROW ? '|' : ' ';
}

/* Labels stand upright below the bars. False: all of them have ended. */
static bool draw_label_row(const struct latency_event *e, uint32_t first, uint32_t end,
                           uint32_t now_s, struct buf *row, uint32_t index)
{
    bool any = false;
    row->size = 0;
    for (uint32_t i = first; i < end; i++) {
        char label[LABEL_BYTES];
        uint32_t unix_s = latency_sample(e, i)->unix_s;
        make_label(label, now_s > unix_s ? now_s - unix_s : 0);
        bool has_it = index < strlen(label);
        buf_append(row, has_it ? &label[index] : " ", 1);
        any |= has_it;
    }
    buf_append_text(row, "\n");
    return any;
}

static void draw_section(const struct latency_event *e, const struct latency_extent *x,
                         uint32_t first, uint32_t now_s, struct buf *out)
{
    uint32_t end = MIN(e->count, first + GRAPH_COLUMNS);
    struct buf row = {.mem = out->mem};
    for (unsigned n = GRAPH_ROWS; n-- > 0;) {
        for (uint32_t i = first; i < end; i++) {
            char c = bar_at(x, latency_sample(e, i)->ms, n);
            buf_append(out, &c, 1);
        }
        buf_append_text(out, "\n");
    }
    for (uint32_t i = first; i < end; i++) buf_append_text(out, " ");
    buf_append_text(out, "\n");
    for (uint32_t i = 0; draw_label_row(e, first, end, now_s, &row, i); i++)
        buf_append(out, row.data, row.size);
    buf_clear(&row);
}

void latency_draw(const struct latency_event *e, uint32_t now_s, struct buf *out)
{
    struct latency_extent x = latency_measure(e, now_s);
    buf_printf(out, "%s - high %u ms, low %u ms (all time high %u ms)\n", e->name, x.ms_max,
               x.ms_min, e->ms_max);
    for (unsigned i = 0; i < GRAPH_COLUMNS; i++) buf_append_text(out, "-");
    buf_append_text(out, "\n");
    for (uint32_t first = 0; first < e->count; first += GRAPH_COLUMNS) {
        if (first > 0) buf_append_text(out, "\n");
        draw_section(e, &x, first, now_s, out);
    }
}
