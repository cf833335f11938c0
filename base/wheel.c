/* wheel.c: a timer sits on the level of the highest base-64 digit in which its deadline differs
 * from now.
 *
 *     now      … 0 12 40  7
 *     deadline … 0 12 51  3      differs first at digit 1: level 1, slot 51
 *
 * So on each level only slots after now's digit are in use (level 0: from now's digit on), whatever
 * is on a lower level comes before whatever is on a higher one, and nothing wraps around. When time
 * reaches the start of a slot on level n > 0 its timers move down; on level 0 they are due. Between
 * such moments nothing has to be done, so time jumps from one to the next with the help of one bit
 * a slot, however far apart they are.
 */
#include "base/wheel.h"

#define DIGIT_BITS 6
#define SPAN_BITS (DIGIT_BITS * WHEEL_LEVELS)
#define DEADLINE_MS_MAX (UINT64_MAX >> 1)
#define BEYOND WHEEL_LEVELS /* the level of timers that no slot reaches */

_Static_assert(WHEEL_SLOTS == 1 << DIGIT_BITS && WHEEL_SLOTS == 64,
               "a digit a level, a bit a slot");
_Static_assert(sizeof(struct timer) == 24, "there is one in every connection");

static unsigned digit_of(uint64_t ms, unsigned level)
{
    return (unsigned)(ms >> (DIGIT_BITS * level)) & (WHEEL_SLOTS - 1);
}

/* The level on which a deadline is kept, given that it is not in the past. */
static unsigned level_of(uint64_t now_ms, uint64_t deadline_ms)
{
    uint64_t differing = now_ms ^ deadline_ms;
    if (differing == 0) return 0;
    unsigned level = (63 - (unsigned)__builtin_clzll(differing)) / DIGIT_BITS;
    return MIN(level, (unsigned)BEYOND);
}

static void wheel_place(struct wheel *w, struct timer *t)
{
    uint64_t due_ms = MAX((uint64_t)t->deadline_ms, w->now_ms);
    unsigned level = level_of(w->now_ms, due_ms);
    if (level == BEYOND) {
        dlist_push_back(&w->beyond, &t->link);
        return;
    }
    unsigned slot = digit_of(due_ms, level);
    dlist_push_back(&w->slots[level][slot], &t->link);
    w->occupied[level] |= UINT64_C(1) << slot;
}

void wheel_init(struct wheel *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    w->armed_count = 0;
    dlist_init(&w->beyond);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        w->occupied[level] = 0;
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++) dlist_init(&w->slots[level][slot]);
    }
}

void timer_init(struct timer *t)
{
    dlist_init(&t->link);
    t->deadline_ms = 0;
    t->armed = 0;
}

void wheel_arm(struct wheel *w, struct timer *t, uint64_t deadline_ms)
{
    wheel_disarm(w, t);
    t->deadline_ms = MIN(deadline_ms, DEADLINE_MS_MAX) & DEADLINE_MS_MAX;
    t->armed = 1;
    w->armed_count++;
    wheel_place(w, t);
}

void wheel_disarm(struct wheel *w, struct timer *t)
{
    /* A node between one and the same neighbour is the last of its list, and that neighbour is the
     * head. */
    const struct dlist *neighbour = t->link.next == t->link.prev ? t->link.next : NULL;
    dlist_remove(&t->link);
    if (!t->armed) return; /* It was idle, or in a caller's list of due ones. */
    t->armed = 0;
    w->armed_count--;
    if (!neighbour || neighbour == &w->beyond) return;
    size_t index = (size_t)(neighbour - &w->slots[0][0]);
    w->occupied[index / WHEEL_SLOTS] &= ~(UINT64_C(1) << (index % WHEEL_SLOTS));
}

/* The next moment at which a slot must be emptied, and its level; false if there is none. */
static bool wheel_next_stop(const struct wheel *w, uint64_t *ms_out, unsigned *level_out)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (!w->occupied[level]) continue;
        uint64_t slot = (uint64_t)__builtin_ctzll(w->occupied[level]);
        uint64_t above = w->now_ms >> (DIGIT_BITS * (level + 1)) << (DIGIT_BITS * (level + 1));
        *ms_out = above | slot << (DIGIT_BITS * level);
        *level_out = level;
        return true;
    }
    if (dlist_is_empty(&w->beyond)) return false;
    *ms_out = ((w->now_ms >> SPAN_BITS) + 1) << SPAN_BITS;
    *level_out = BEYOND;
    return true;
}

/* Empties a list into another one, which must be empty. */
static void dlist_move_all(struct dlist *from, struct dlist *to)
{
    dlist_init(to);
    for (struct dlist *node; (node = dlist_pop_front(from));) dlist_push_back(to, node);
}

static void wheel_empty_slot(struct wheel *w, unsigned level, struct dlist *due)
{
    struct dlist moving, *slot = &w->beyond;
    if (level < BEYOND) {
        slot = &w->slots[level][digit_of(w->now_ms, level)];
        w->occupied[level] &= ~(UINT64_C(1) << digit_of(w->now_ms, level));
    }
    dlist_move_all(slot, &moving);
    for (struct dlist *node; (node = dlist_pop_front(&moving));) {
        struct timer *t = container_of(node, struct timer, link);
        if (level > 0) {
            wheel_place(w, t);
            continue;
        }
        t->armed = 0;
        w->armed_count--;
        dlist_push_back(due, node);
    }
}

void wheel_advance(struct wheel *w, uint64_t now_ms, struct dlist *due)
{
    CHECK(now_ms >= w->now_ms);
    uint64_t stop_ms;
    unsigned level;
    while (wheel_next_stop(w, &stop_ms, &level) && stop_ms <= now_ms) {
        w->now_ms = stop_ms;
        wheel_empty_slot(w, level, due);
    }
    w->now_ms = now_ms;
}

uint64_t wheel_next_ms(const struct wheel *w)
{
    uint64_t stop_ms;
    unsigned level;
    return wheel_next_stop(w, &stop_ms, &level) ? stop_ms - w->now_ms : UINT64_MAX;
}

static uint64_t wheel_validate_list(const struct wheel *w, const struct dlist *head, unsigned level,
                                    unsigned slot)
{
    uint64_t count = 0;
    for (const struct dlist *node = head->next; node != head; node = node->next, count++) {
        const struct timer *t = (const struct timer *)(const void *)node;
        CHECK(node->next->prev == node && node->prev->next == node);
        CHECK(t->armed);
        uint64_t due_ms = MAX((uint64_t)t->deadline_ms, w->now_ms);
        CHECK(level_of(w->now_ms, due_ms) == level);
        if (level < BEYOND) CHECK(digit_of(due_ms, level) == slot);
    }
    return count;
}

void wheel_validate(const struct wheel *w)
{
    uint64_t count = wheel_validate_list(w, &w->beyond, BEYOND, 0);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++) {
            const struct dlist *head = &w->slots[level][slot];
            bool occupied = w->occupied[level] >> slot & 1;
            CHECK(occupied == !dlist_is_empty(head));
            count += wheel_validate_list(w, head, level, slot);
        }
    }
    CHECK(count == w->armed_count);
}
