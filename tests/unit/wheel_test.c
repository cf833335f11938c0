/* The timing wheel against a plain array of deadlines. */
#include <criterion/criterion.h>
#include <signal.h>

#include "base/wheel.h"
#include "tests/unit/random.h"

/* 4.6 hours: what the four levels reach. */
#define SPAN_MS (UINT64_C(1) << 24)

static struct wheel w;

static struct timer *pop(struct dlist *due)
{
    struct dlist *node = dlist_pop_front(due);
    return node ? container_of(node, struct timer, link) : NULL;
}

/* Moves time and says how many timers came due; they are dropped. */
static int advance(uint64_t now_ms)
{
    struct dlist due;
    int count = 0;
    dlist_init(&due);
    wheel_advance(&w, now_ms, &due);
    wheel_validate(&w);
    while (pop(&due)) count++;
    return count;
}

Test(wheel, without_timers_there_is_nothing_to_wait_for)
{
    wheel_init(&w, 1000);
    wheel_validate(&w);
    cr_assert_eq(wheel_next_ms(&w), UINT64_MAX);
    cr_assert_eq(advance(UINT64_C(1) << 50), 0);
}

Test(wheel, entry_fires_no_earlier_than_its_deadline_and_in_its_tick)
{
    static const uint64_t delays[] = {
        1,    2,      63,     64,     65,          4095,    4096,        4097,
        5000, 262143, 262144, 262145, SPAN_MS - 1, SPAN_MS, SPAN_MS + 1, 3 * SPAN_MS + 7};
    static const uint64_t starts[] = {
        0, 1, 63, 64, 4095, 123456789, SPAN_MS - 1, SPAN_MS, 5 * SPAN_MS - 3};
    for (size_t s = 0; s < ARRAY_LEN(starts); s++) {
        for (size_t d = 0; d < ARRAY_LEN(delays); d++) {
            struct timer t;
            wheel_init(&w, starts[s]);
            timer_init(&t);
            wheel_arm(&w, &t, starts[s] + delays[d]);
            wheel_validate(&w);
            cr_assert_eq(advance(starts[s] + delays[d] - 1), 0);
            cr_assert(timer_is_armed(&t));
            cr_assert_eq(wheel_next_ms(&w), 1);
            cr_assert_eq(advance(starts[s] + delays[d]), 1);
            cr_assert_not(timer_is_armed(&t));
        }
    }
}

Test(wheel, a_deadline_in_the_past_fires_at_the_next_advance_even_if_time_stands)
{
    struct timer a, b;
    wheel_init(&w, 5000);
    timer_init(&a);
    timer_init(&b);
    wheel_arm(&w, &a, 0);
    wheel_arm(&w, &b, 5000);
    wheel_validate(&w);
    cr_assert_eq(wheel_next_ms(&w), 0);
    cr_assert_eq(advance(5000), 2);
}

Test(wheel, a_timer_can_be_moved_both_ways)
{
    struct timer t;
    wheel_init(&w, 0);
    timer_init(&t);
    wheel_arm(&w, &t, 100);
    wheel_arm(&w, &t, 100000);
    wheel_validate(&w);
    cr_assert_eq(w.armed_count, 1);
    cr_assert_eq(advance(99999), 0);
    wheel_arm(&w, &t, 200000);
    wheel_arm(&w, &t, 100005);
    cr_assert_eq(advance(100005), 1);
    cr_assert_eq(w.armed_count, 0);
}

Test(wheel, a_disarmed_timer_never_fires_and_disarming_twice_is_harmless)
{
    struct timer t;
    wheel_init(&w, 0);
    timer_init(&t);
    wheel_disarm(&w, &t);
    wheel_arm(&w, &t, 70);
    wheel_disarm(&w, &t);
    wheel_disarm(&w, &t);
    wheel_validate(&w);
    cr_assert_eq(w.armed_count, 0);
    cr_assert_eq(wheel_next_ms(&w), UINT64_MAX);
    cr_assert_eq(advance(1000), 0);
}

Test(wheel, a_due_timer_can_be_disarmed_or_armed_again_before_its_turn)
{
    struct timer t[3];
    struct dlist due;
    wheel_init(&w, 0);
    dlist_init(&due);
    for (int i = 0; i < 3; i++) {
        timer_init(&t[i]);
        wheel_arm(&w, &t[i], 10);
    }
    wheel_advance(&w, 20, &due);
    wheel_disarm(&w, &t[1]);
    wheel_arm(&w, &t[2], 30);
    wheel_validate(&w);
    cr_assert_eq(pop(&due), &t[0]);
    cr_assert_null(pop(&due));
    cr_assert_eq(w.armed_count, 1);
    cr_assert_eq(advance(30), 1);
}

Test(wheel, due_timers_come_by_deadline_and_equal_ones_in_the_order_of_arming)
{
    static const uint64_t deadlines[] = {300, 5, 300, 70000, 64, 70000, 5, 64};
    static const int expected[] = {1, 6, 4, 7, 0, 2, 3, 5};
    struct timer t[ARRAY_LEN(deadlines)];
    struct dlist due;
    wheel_init(&w, 0);
    dlist_init(&due);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        timer_init(&t[i]);
        wheel_arm(&w, &t[i], deadlines[i]);
    }
    wheel_advance(&w, 70000, &due);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) cr_assert_eq(pop(&due), &t[expected[i]]);
}

Test(wheel, the_longest_possible_delay_is_accepted)
{
    struct timer t;
    wheel_init(&w, 1);
    timer_init(&t);
    wheel_arm(&w, &t, UINT64_MAX);
    wheel_validate(&w);
    cr_assert_eq(advance(UINT64_C(1) << 40), 0);
    cr_assert(timer_is_armed(&t));
}

Test(wheel, sleeping_as_long_as_it_says_reaches_the_deadline_in_a_few_steps)
{
    struct timer t;
    const uint64_t deadline = 3 * SPAN_MS + 123457;
    uint64_t now = 17;
    int steps = 0, fired = 0;
    wheel_init(&w, now);
    timer_init(&t);
    wheel_arm(&w, &t, deadline);
    while (!fired) {
        now += wheel_next_ms(&w);
        cr_assert_leq(now, deadline);
        fired = advance(now);
        cr_assert_lt(++steps, 20);
    }
    cr_assert_eq(now, deadline);
}

Test(wheel, time_that_goes_back_is_a_failed_check, .signal = SIGABRT)
{
    wheel_init(&w, 10);
    advance(9);
}

#define TIMERS 200

struct model {
    struct timer timer;
    uint64_t deadline, armed_at; /* armed_at: sequence number; 0: not armed */
};

static uint64_t random_delay(struct random *r)
{
    return random_next(r) >> (40 + random_below(r, 24));
}

/* Everything due must come, nothing else, in order of (deadline, arming). */
static void advance_both(struct model *models, uint64_t from_ms, uint64_t now_ms)
{
    struct dlist due;
    uint64_t last_ms = 0, last_armed = 0;
    dlist_init(&due);
    wheel_advance(&w, now_ms, &due);
    for (struct timer *t; (t = pop(&due));) {
        struct model *m = container_of(t, struct model, timer);
        uint64_t due_ms = MAX(m->deadline, from_ms);
        cr_assert(m->armed_at);
        cr_assert_leq(m->deadline, now_ms);
        cr_assert(due_ms > last_ms || (due_ms == last_ms && m->armed_at > last_armed));
        last_ms = due_ms;
        last_armed = m->armed_at;
        m->armed_at = 0;
    }
    for (int i = 0; i < TIMERS; i++) {
        cr_assert(!models[i].armed_at || models[i].deadline > now_ms);
        cr_assert_eq(timer_is_armed(&models[i].timer), models[i].armed_at != 0);
    }
}

static uint64_t earliest_wait(const struct model *models, uint64_t now_ms)
{
    uint64_t wait = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        if (!models[i].armed_at) continue;
        wait = MIN(wait, MAX(models[i].deadline, now_ms) - now_ms);
    }
    return wait;
}

Test(wheel, does_as_an_array_of_deadlines_does)
{
    struct random r = random_make();
    static struct model models[TIMERS];
    uint64_t now_ms = SPAN_MS - 1000, sequence = 0;
    wheel_init(&w, now_ms);
    for (int i = 0; i < TIMERS; i++) timer_init(&models[i].timer);
    for (int step = 0; step < 30000; step++) {
        struct model *m = &models[random_below(&r, TIMERS)];
        uint64_t choice = random_below(&r, 10);
        if (choice < 6) {
            /* Some of them up to 100 ms in the past. */
            m->deadline = now_ms - random_below(&r, 8) / 7 * 100 + random_delay(&r);
            m->armed_at = ++sequence;
            wheel_arm(&w, &m->timer, m->deadline);
        } else if (choice < 8) {
            m->armed_at = 0;
            wheel_disarm(&w, &m->timer);
        } else {
            uint64_t from_ms = now_ms;
            now_ms += random_delay(&r);
            advance_both(models, from_ms, now_ms);
        }
        wheel_validate(&w);
        cr_assert_leq(wheel_next_ms(&w), earliest_wait(models, now_ms));
    }
}
