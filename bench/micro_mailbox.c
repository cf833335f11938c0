/* micro_mailbox.c: messages per second from one thread to another through a mailbox, in batches of
 * 1, 8 and 64.
 *
 * usage: micro_mailbox [millions of messages]     default: 20
 *
 * The sender is at most BATCHES_AHEAD batches before the receiver, as a net thread is with its
 * turns. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/mailbox.h"

#define SLOTS 256
#define BATCHES_AHEAD 4
#define SPINS_MAX 1000

struct race {
    struct mailbox box;
    void *slots[SLOTS];
    uint64_t count;
};

/* The other side may need this CPU. */
static void pause_a_little(unsigned *spins)
{
    if (++*spins % SPINS_MAX == 0) sched_yield();
}

static void *take_all(void *argument)
{
    struct race *r = argument;
    uintptr_t expected = 1;
    unsigned spins = 0;
    while (expected <= r->count) {
        uint32_t n = mailbox_count(&r->box);
        if (n == 0) pause_a_little(&spins);
        for (; n > 0; n--) CHECK((uintptr_t)mailbox_pop(&r->box) == expected++);
    }
    return NULL;
}

static double run(unsigned batch, uint64_t count)
{
    static struct race r;
    r.count = count;
    mailbox_init(&r.box, r.slots, SLOTS);
    pthread_t taker;
    uint64_t start = env_now_ns();
    CHECK(pthread_create(&taker, NULL, take_all, &r) == 0);
    unsigned spins = 0;
    for (uintptr_t next = 1; next <= count;) {
        unsigned left = (unsigned)MIN(batch, count - next + 1);
        for (; left > 0; left--, next++)
            while (!mailbox_push(&r.box, (void *)next)) pause_a_little(&spins);
        /* A few batches are under way, no more: else all sizes would be one long stream. */
        while (mailbox_level(&r.box) > (BATCHES_AHEAD - 1) * batch) pause_a_little(&spins);
    }
    pthread_join(taker, NULL);
    return (double)count * 1e3 / (double)(env_now_ns() - start);
}

int main(int argc, char **argv)
{
    double millions = argc > 1 ? atof(argv[1]) : 20;
    static const unsigned batches[] = {1, 8, 64};
    for (unsigned i = 0; i < ARRAY_LEN(batches); i++)
        printf("mailbox     batch %2u   %7.1f M messages/s\n", batches[i],
               run(batches[i], (uint64_t)(millions * 1e6)));
    return 0;
}
