/* wheel.h: hierarchical timing wheel for client timeouts and the like.
 *
 * Thread     one owner; time is what the owner says it is.
 * Ownership  Timers are embedded in what they time; remove one before its memory goes.
 * Limits     Millisecond ticks; four levels of 64 slots reach 4.6 hours, longer timers are
 *            re-inserted on the way.
 * Order      A timer fires no earlier than its deadline, and at most one tick after the owner's
 *            `now_ms` passed it.
 * Source     Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987).
 */
#pragma once

#include "base/dlist.h"

#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 64

struct timer {
    struct dlist link; /* in the wheel when armed; the owner's to use when not */
    uint64_t deadline_ms : 63;
    uint64_t armed : 1; /* private */
};

struct wheel {
    uint64_t now_ms;
    uint64_t armed_count;
    /* ---- private ---- */
    uint64_t occupied[WHEEL_LEVELS]; /* bit a slot */
    struct dlist beyond;             /* deadlines that no slot reaches yet */
    struct dlist slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, uint64_t now_ms);
void timer_init(struct timer *t);
static inline bool timer_is_armed(const struct timer *t)
{
    return t->armed;
}
/* Arms, or moves an armed timer. A deadline in the past fires at the next advance. */
void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ms);
/* Harmless when not armed; takes a timer out of the list of due ones, too. */
void wheel_disarm(struct wheel *w, struct timer *t);
/* Moves time forward to now_ms and appends every due timer, no longer armed, to `due`: by deadline,
 * and in the order of arming where deadlines are equal. Costs a few steps a timer, however far time
 * moves. */
void wheel_advance(struct wheel *w, uint64_t now_ms, struct dlist *due);
/* Milliseconds until the wheel must be advanced again: a lower bound, UINT64_MAX when nothing is
 * armed. */
uint64_t wheel_next_ms(const struct wheel *w);
void wheel_validate(const struct wheel *w);
