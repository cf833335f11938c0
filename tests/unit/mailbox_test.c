/* The ring between two threads: order, bounds and the hand-over. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "base/mailbox.h"
#include "tests/unit/random.h"

static void *message(uintptr_t number)
{
    return (void *)(number + 1);
}

Test(mailbox, a_new_box_is_empty)
{
    void *slots[4];
    struct mailbox box;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    cr_assert_eq(mailbox_count(&box), 0);
    cr_assert_null(mailbox_peek(&box));
    cr_assert_null(mailbox_peek_last(&box));
    cr_assert_null(mailbox_pop(&box));
}

Test(mailbox, keeps_order_as_slots_and_indices_wrap)
{
    void *slots[4];
    struct mailbox box;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    for (uintptr_t i = 0; i < 3; i++) cr_assert(mailbox_push(&box, message(i)));
    for (uintptr_t i = 3; i < 100; i++) {
        cr_assert(mailbox_push(&box, message(i)));
        cr_assert_eq(mailbox_pop(&box), message(i - 3));
    }
}

Test(mailbox, a_full_box_refuses_and_takes_again_after_a_pop)
{
    void *slots[4];
    struct mailbox box;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    for (uintptr_t i = 0; i < 4; i++) cr_assert(mailbox_push(&box, message(i)));
    cr_assert_not(mailbox_push(&box, message(4)));
    cr_assert_not(mailbox_push(&box, message(4)));
    cr_assert_eq(mailbox_count(&box), 4);
    cr_assert_eq(mailbox_pop(&box), message(0));
    cr_assert(mailbox_push(&box, message(4)));
    for (uintptr_t i = 1; i < 5; i++) cr_assert_eq(mailbox_pop(&box), message(i));
    cr_assert_null(mailbox_pop(&box));
}

Test(mailbox, peeking_takes_nothing_and_sees_what_the_last_count_saw)
{
    void *slots[8];
    struct mailbox box;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    cr_assert(mailbox_push(&box, message(0)));
    cr_assert(mailbox_push(&box, message(1)));
    cr_assert_null(mailbox_peek(&box), "nothing was counted yet");
    cr_assert_eq(mailbox_count(&box), 2);
    cr_assert(mailbox_push(&box, message(2)));
    cr_assert_eq(mailbox_peek(&box), message(0));
    cr_assert_eq(mailbox_peek_last(&box), message(1));
    mailbox_drop(&box);
    cr_assert_eq(mailbox_peek(&box), message(1));
    mailbox_drop(&box);
    cr_assert_null(mailbox_peek(&box));
    cr_assert_null(mailbox_peek_last(&box));
    cr_assert_eq(mailbox_count(&box), 1);
    cr_assert_eq(mailbox_peek_last(&box), message(2));
}

Test(mailbox, capacity_must_be_a_power_of_two, .signal = SIGABRT)
{
    void *slots[6];
    struct mailbox box;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
}

Test(mailbox, does_as_a_queue_does_under_random_use)
{
    struct random r = random_make();
    void *slots[8];
    struct mailbox box;
    uintptr_t pushed = 0, popped = 0;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    for (int step = 0; step < 100000; step++) {
        if (random_below(&r, 2)) {
            bool room = pushed - popped < ARRAY_LEN(slots);
            cr_assert_eq(mailbox_push(&box, message(pushed)), room);
            pushed += room;
        } else {
            cr_assert_eq(mailbox_pop(&box), pushed > popped ? message(popped) : NULL);
            popped += pushed > popped;
        }
        if (random_below(&r, 4) == 0) cr_assert_eq(mailbox_count(&box), pushed - popped);
    }
}

#define MESSAGES 20000

struct letter {
    uintptr_t number; /* plain: the mailbox must order it */
};

static struct letter letters[MESSAGES];

static void *send_all(void *box)
{
    for (uintptr_t i = 0; i < MESSAGES; i++) {
        letters[i].number = i;
        while (!mailbox_push(box, &letters[i])) sched_yield();
    }
    return NULL;
}

Test(mailbox, what_was_written_before_a_push_is_seen_after_the_pop)
{
    static struct mailbox box;
    static void *slots[16];
    pthread_t sender;
    mailbox_init(&box, slots, ARRAY_LEN(slots));
    cr_assert_eq(pthread_create(&sender, NULL, send_all, &box), 0);
    for (uintptr_t i = 0; i < MESSAGES; i++) {
        struct letter *l;
        while (!(l = mailbox_pop(&box))) sched_yield();
        cr_assert_eq(l->number, i);
    }
    pthread_join(sender, NULL);
}
