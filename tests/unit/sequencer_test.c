/* The merge of turns by position, and the protocol of sleep and wake.
 *
 * What other threads do in the middle of a look is played by sched_yield: the merge calls it while
 * it waits for a position that is pending, and here that lets the rest of a scenario happen, on one
 * thread and always at the same place. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sequencer.h"
#include "tests/unit/random.h"

#define INPUTS_MAX 8
#define RING_SLOTS 64
#define TOO_LONG_S 120 /* somebody sleeps for ever */

static void (*_Atomic on_yield)(void);

int sched_yield(void)
{
    void (*hook)(void) = atomic_exchange(&on_yield, NULL);
    if (hook) hook();
    return (int)syscall(SYS_sched_yield);
}

struct rig {
    struct mailbox boxes[INPUTS_MAX];
    void *slots[INPUTS_MAX][RING_SLOTS];
    struct merge merge;
};

static struct rig rig;

static void rig_make(uint32_t input_count)
{
    for (uint32_t i = 0; i < input_count; i++)
        mailbox_init(&rig.boxes[i], rig.slots[i], RING_SLOTS);
    merge_init(&rig.merge, rig.boxes, input_count);
}

static struct parcel *parcels_make(size_t count)
{
    struct parcel *all = aligned_alloc(CACHE_LINE, count * sizeof *all);
    cr_assert_not_null(all);
    for (size_t i = 0; i < count; i++) parcel_reset(&all[i], 0, 0);
    return all;
}

static void set_position(struct parcel *pc, uint64_t position)
{
    atomic_store_explicit(&pc->position, position, memory_order_release);
}

static void push(uint32_t input, struct parcel *pc, uint64_t position)
{
    set_position(pc, position);
    cr_assert(mailbox_push(&rig.boxes[input], pc));
}

/* ---- positions ---- */

Test(sequencer, positions_begin_after_pending_and_never_repeat)
{
    struct sequencer s;
    sequencer_init(&s);
    uint64_t last = POSITION_PENDING;
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert_eq(sequencer_now(&s), last + 1);
        uint64_t position = sequencer_take(&s);
        cr_assert_eq(position, last + 1);
        last = position;
    }
}

/* ---- the merge ---- */

Test(sequencer, an_empty_merge_has_nothing)
{
    rig_make(4);
    cr_assert(merge_is_empty(&rig.merge));
    cr_assert_null(merge_next(&rig.merge));
}

Test(sequencer, is_not_empty_while_any_ring_holds_a_parcel)
{
    for (uint32_t input = 0; input < 4; input++) {
        rig_make(4);
        struct parcel *pc = parcels_make(1);
        push(input, pc, 1);
        cr_assert_not(merge_is_empty(&rig.merge));
        cr_assert_eq(merge_next(&rig.merge), pc);
        cr_assert(merge_is_empty(&rig.merge));
        free(pc);
    }
}

Test(sequencer, one_ring_keeps_its_order)
{
    rig_make(1);
    struct parcel *pc = parcels_make(3);
    for (unsigned i = 0; i < 3; i++) push(0, &pc[i], 10 * (i + 1));
    for (unsigned i = 0; i < 3; i++) cr_assert_eq(merge_next(&rig.merge), &pc[i]);
    cr_assert_null(merge_next(&rig.merge));
    free(pc);
}

Test(sequencer, the_lowest_position_goes_first_whatever_ring_it_is_in)
{
    rig_make(3);
    struct parcel *pc = parcels_make(6);
    push(2, &pc[0], 1);
    push(0, &pc[1], 2);
    push(2, &pc[2], 3);
    push(1, &pc[3], 4);
    push(1, &pc[4], 5);
    push(0, &pc[5], 6);
    for (unsigned i = 0; i < 6; i++) cr_assert_eq(merge_next(&rig.merge), &pc[i]);
    cr_assert_null(merge_next(&rig.merge));
    free(pc);
}

Test(sequencer, parcels_of_one_turn_may_share_a_ring)
{
    rig_make(2);
    struct parcel *pc = parcels_make(3);
    push(0, &pc[0], 7);
    push(0, &pc[1], 7);
    push(1, &pc[2], 8);
    for (unsigned i = 0; i < 3; i++) cr_assert_eq(merge_next(&rig.merge), &pc[i]);
    free(pc);
}

/* Turns of random senders, some of which do not concern this shard; the merge is called now and
 * then. */
Test(sequencer, random_turns_of_many_inputs_come_out_in_order)
{
    struct random r = random_make();
    enum { POOL = INPUTS_MAX * RING_SLOTS + 1 };
    struct parcel *pool = parcels_make(POOL);
    for (uint32_t inputs = 1; inputs <= INPUTS_MAX; inputs++) {
        rig_make(inputs);
        uint64_t next = 1, expected[POOL];
        unsigned first = 0, count = 0, used = 0;
        for (unsigned step = 0; step < 20000; step++) {
            uint32_t input = (uint32_t)random_below(&r, inputs);
            bool has_room = mailbox_level(&rig.boxes[input]) < RING_SLOTS;
            if (random_below(&r, 2) && has_room) {
                next += 1 + random_below(&r, 3);
                push(input, &pool[used], next);
                used = (used + 1) % POOL;
                expected[(first + count++) % POOL] = next;
                continue;
            }
            const struct parcel *pc = merge_next(&rig.merge);
            cr_assert_eq(pc == NULL, count == 0);
            if (!pc) continue;
            cr_assert_eq(pc->position, expected[first], "seed of this run is above");
            first = (first + 1) % POOL;
            count--;
        }
        cr_assert_eq(merge_is_empty(&rig.merge), count == 0);
    }
    free(pool);
}

/* ---- what happens while the merge looks ---- */

static struct parcel *scene;

static void give_position_1(void)
{
    set_position(&scene[0], 1);
}

Test(sequencer, a_pending_parcel_is_waited_for)
{
    rig_make(2);
    scene = parcels_make(1);
    push(1, &scene[0], POSITION_PENDING);
    on_yield = give_position_1;
    cr_assert_eq(merge_next(&rig.merge), &scene[0]);
    cr_assert_null(on_yield);
    free(scene);
}

/* Ring 0 was empty when it was looked at; then its sender pushed and took 1, and the sender of ring
 * 1 took 2. */
static void ring_0_gets_position_1(void)
{
    push(0, &scene[0], 1);
    set_position(&scene[1], 2);
}

Test(sequencer, a_lower_position_that_came_behind_the_first_look_goes_first)
{
    rig_make(2);
    scene = parcels_make(2);
    push(1, &scene[1], POSITION_PENDING);
    on_yield = ring_0_gets_position_1;
    cr_assert_eq(merge_next(&rig.merge), &scene[0]);
    cr_assert_eq(merge_next(&rig.merge), &scene[1]);
    cr_assert_null(merge_next(&rig.merge));
    free(scene);
}

/* The same, but position 1 is still on its way at the second look. */
static void ring_0_gets_its_position_late(void)
{
    push(0, &scene[0], POSITION_PENDING);
    set_position(&scene[1], 2);
    on_yield = give_position_1;
}

Test(sequencer, a_head_that_is_pending_at_the_second_look_is_waited_for)
{
    rig_make(2);
    scene = parcels_make(2);
    push(1, &scene[1], POSITION_PENDING);
    on_yield = ring_0_gets_its_position_late;
    cr_assert_eq(merge_next(&rig.merge), &scene[0]);
    cr_assert_eq(merge_next(&rig.merge), &scene[1]);
    free(scene);
}

/* The second look sees a parcel of ring 0 that is pending. Before it gets position 4, ring 1 gets
 * position 3 behind the parcel with position 2: nobody has looked at ring 1 since. */
static void ring_1_gets_position_3_then_ring_0_gets_4(void)
{
    push(1, &scene[2], 3);
    set_position(&scene[3], 4);
}

static void ring_0_is_pending_ring_1_has_2(void)
{
    push(0, &scene[3], POSITION_PENDING);
    set_position(&scene[1], 2);
    on_yield = ring_1_gets_position_3_then_ring_0_gets_4;
}

Test(sequencer, a_position_above_what_the_second_look_covers_waits_for_another_look)
{
    rig_make(2);
    scene = parcels_make(4);
    push(1, &scene[1], POSITION_PENDING);
    on_yield = ring_0_is_pending_ring_1_has_2;
    for (unsigned i = 1; i < 4; i++) cr_assert_eq(merge_next(&rig.merge), &scene[i]);
    cr_assert_null(merge_next(&rig.merge));
    free(scene);
}

/* Asking whether the rings are empty looks at them, too, which must not widen what is covered. */
Test(sequencer, looking_for_emptiness_covers_nothing)
{
    rig_make(2);
    struct parcel *pc = parcels_make(3);
    push(0, &pc[0], 1);
    cr_assert_eq(merge_next(&rig.merge), &pc[0]);
    push(1, &pc[2], 3); /* counted by merge_is_empty, which stops there when it goes from behind */
    cr_assert_not(merge_is_empty(&rig.merge));
    set_position(&pc[1], 2);
    rig.merge.inputs[1].tail_seen = rig.merge.inputs[1].tail;
    cr_assert(mailbox_push(&rig.boxes[0], &pc[1]));
    cr_assert_eq(merge_next(&rig.merge), &pc[1]);
    cr_assert_eq(merge_next(&rig.merge), &pc[2]);
    free(pc);
}

/* ---- threads ---- */

#define SENDERS 2
#define RECEIVERS 2
#define POOL_PARCELS (2 * RING_SLOTS) /* a parcel is used again long after it was taken */

struct world {
    struct sequencer sequencer;
    struct mailbox boxes[RECEIVERS * SENDERS]; /* a receiver's inputs are adjacent */
    void *slots[RECEIVERS * SENDERS][RING_SLOTS];
    struct sleeper sleepers[RECEIVERS];
    sem_t wakes[RECEIVERS];
    _Atomic unsigned senders_left;
    uint64_t turns_per_sender;
    uint64_t pushed[SENDERS][RECEIVERS];
};

struct actor {
    struct world *world;
    unsigned id;
    uint64_t received[SENDERS];
    uint64_t disorder;
};

static void push_waiting(struct mailbox *box, struct parcel *pc)
{
    while (!mailbox_push(box, pc)) syscall(SYS_sched_yield);
}

/* Two turns of three go to both receivers. */
static void *send_turns(void *argument)
{
    struct actor *a = argument;
    struct world *w = a->world;
    struct parcel *pool = parcels_make(RECEIVERS * POOL_PARCELS);
    struct random r = {a->id};
    for (uint64_t turn = 0; turn < w->turns_per_sender; turn++) {
        unsigned skipped = (unsigned)random_below(&r, 3 * RECEIVERS);
        struct parcel *mine[RECEIVERS] = {NULL};
        for (unsigned to = 0; to < RECEIVERS; to++) {
            if (to == skipped) continue;
            uint64_t number = w->pushed[a->id][to]++;
            mine[to] = &pool[to * POOL_PARCELS + number % POOL_PARCELS];
            parcel_reset(mine[to], (uint16_t)a->id, (uint16_t)to);
            mine[to]->arg_count = (uint32_t)number;
            push_waiting(&w->boxes[to * SENDERS + a->id], mine[to]);
        }
        uint64_t position = sequencer_take(&w->sequencer);
        for (unsigned to = 0; to < RECEIVERS; to++)
            if (mine[to]) set_position(mine[to], position);
        for (unsigned to = 0; to < RECEIVERS; to++)
            if (mine[to] && sleeper_must_wake(&w->sleepers[to])) sem_post(&w->wakes[to]);
    }
    atomic_fetch_sub(&w->senders_left, 1);
    for (unsigned to = 0; to < RECEIVERS; to++)
        if (sleeper_must_wake(&w->sleepers[to])) sem_post(&w->wakes[to]);
    return pool; /* the receivers may still read there */
}

static void *receive_turns(void *argument)
{
    struct actor *a = argument;
    struct world *w = a->world;
    struct merge merge;
    merge_init(&merge, &w->boxes[a->id * SENDERS], SENDERS);
    uint64_t last = 0;
    for (;;) {
        struct parcel *pc;
        while ((pc = merge_next(&merge))) {
            a->disorder += pc->position <= last || pc->shard_id != a->id;
            a->disorder += pc->arg_count != (uint32_t)a->received[pc->net_id]++;
            last = pc->position;
        }
        sleeper_announce(&w->sleepers[a->id]);
        bool is_over = atomic_load(&w->senders_left) == 0;
        if (merge_is_empty(&merge)) {
            if (is_over) return NULL;
            sem_wait(&w->wakes[a->id]);
        }
        sleeper_cancel(&w->sleepers[a->id]);
    }
}

Test(sequencer, two_receivers_see_one_order_of_two_senders_and_nobody_sleeps_for_ever)
{
    alarm(TOO_LONG_S);
    static struct world w = {.senders_left = SENDERS, .turns_per_sender = 400000};
    static struct actor senders[SENDERS], receivers[RECEIVERS];
    pthread_t threads[SENDERS + RECEIVERS];
    sequencer_init(&w.sequencer);
    for (unsigned i = 0; i < SENDERS * RECEIVERS; i++)
        mailbox_init(&w.boxes[i], w.slots[i], RING_SLOTS);
    for (unsigned i = 0; i < RECEIVERS; i++) {
        sem_init(&w.wakes[i], 0, 0);
        receivers[i] = (struct actor){.world = &w, .id = i};
        cr_assert_eq(pthread_create(&threads[i], NULL, receive_turns, &receivers[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct actor){.world = &w, .id = i};
        cr_assert_eq(pthread_create(&threads[RECEIVERS + i], NULL, send_turns, &senders[i]), 0);
    }
    void *pools[SENDERS + RECEIVERS];
    for (unsigned i = 0; i < SENDERS + RECEIVERS; i++) pthread_join(threads[i], &pools[i]);
    uint64_t total = 0;
    for (unsigned to = 0; to < RECEIVERS; to++) {
        cr_assert_eq(receivers[to].disorder, 0);
        for (unsigned from = 0; from < SENDERS; from++) {
            cr_assert_eq(receivers[to].received[from], w.pushed[from][to]);
            total += w.pushed[from][to];
        }
    }
    cr_assert_geq(total, 1000000);
    for (unsigned i = 0; i < SENDERS; i++) free(pools[RECEIVERS + i]);
}

/* ---- sleep and wake ---- */

Test(sequencer, nobody_wakes_who_is_awake)
{
    struct sleeper s = {0};
    cr_assert_not(sleeper_must_wake(&s));
    sleeper_announce(&s);
    sleeper_cancel(&s);
    cr_assert_not(sleeper_must_wake(&s));
}

Test(sequencer, exactly_one_sender_wakes_a_sleeper)
{
    struct sleeper s = {0};
    for (unsigned i = 0; i < 3; i++) {
        sleeper_announce(&s);
        cr_assert(sleeper_must_wake(&s));
        cr_assert_not(sleeper_must_wake(&s));
    }
}

/* One message at a time, so that both ends go to sleep again and again: a lost wake would end it
 * here. */
struct pong {
    struct mailbox box;
    void *slots[2];
    struct sleeper sleeper;
    sem_t wake;
};

struct ponger {
    struct pong *mine, *other;
    unsigned rounds;
};

static void *play(void *argument)
{
    struct ponger *p = argument;
    for (unsigned i = 0; i < p->rounds; i++) {
        void *m;
        while (!(m = mailbox_pop(&p->mine->box))) {
            sleeper_announce(&p->mine->sleeper);
            if (mailbox_count(&p->mine->box) == 0) sem_wait(&p->mine->wake);
            sleeper_cancel(&p->mine->sleeper);
        }
        while (!mailbox_push(&p->other->box, m)) syscall(SYS_sched_yield);
        if (sleeper_must_wake(&p->other->sleeper)) sem_post(&p->other->wake);
    }
    return NULL;
}

Test(sequencer, two_threads_that_sleep_after_each_message_never_miss_a_wake)
{
    alarm(TOO_LONG_S);
    static struct pong pongs[2];
    static struct ponger players[2];
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        mailbox_init(&pongs[i].box, pongs[i].slots, ARRAY_LEN(pongs[i].slots));
        sem_init(&pongs[i].wake, 0, 0);
        players[i] = (struct ponger){&pongs[i], &pongs[1 - i], 50000};
    }
    cr_assert(mailbox_push(&pongs[0].box, &pongs[0]));
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, play, &players[i]), 0);
    for (unsigned i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(mailbox_pop(&pongs[0].box), &pongs[0]);
}

/* A receiver that announces its sleep and looks once more, against a sender that pushes and looks
 * for sleepers: one of the two must see the other. Processors do delay a store behind a later load,
 * which is what the fences forbid. */
struct litmus {
    struct pong pong;
    alignas(CACHE_LINE) _Atomic unsigned arrived;
    alignas(CACHE_LINE) bool sender_saw;
    alignas(CACHE_LINE) bool receiver_saw;
};

#define LITMUS_ROUNDS 300000u

/* Both go on at nearly the same time; `delay` shifts one of them a little. */
static void meet(struct litmus *l, unsigned count, unsigned delay)
{
    atomic_fetch_add(&l->arrived, 1);
    for (unsigned spins = 0; atomic_load(&l->arrived) < count; spins++)
        if (spins % 1024 == 1023) syscall(SYS_sched_yield);
    for (volatile unsigned i = 0; i < delay; i++) {
    }
}

static void *push_and_look(void *argument)
{
    struct litmus *l = argument;
    for (unsigned i = 0; i < LITMUS_ROUNDS; i++) {
        meet(l, 4 * i + 2, i % 32);
        l->sender_saw = mailbox_push(&l->pong.box, l) && sleeper_must_wake(&l->pong.sleeper);
        meet(l, 4 * i + 4, 0);
    }
    return NULL;
}

Test(sequencer, of_a_sleeper_and_its_sender_one_always_sees_the_other)
{
    alarm(TOO_LONG_S);
    static struct litmus l;
    pthread_t thread;
    unsigned missed = 0;
    mailbox_init(&l.pong.box, l.pong.slots, ARRAY_LEN(l.pong.slots));
    cr_assert_eq(pthread_create(&thread, NULL, push_and_look, &l), 0);
    for (unsigned i = 0; i < LITMUS_ROUNDS; i++) {
        meet(&l, 4 * i + 2, i / 32 % 32);
        sleeper_announce(&l.pong.sleeper);
        l.receiver_saw = mailbox_count(&l.pong.box) != 0;
        meet(&l, 4 * i + 4, 0);
        missed += !l.sender_saw && !l.receiver_saw;
        sleeper_cancel(&l.pong.sleeper);
        cr_assert_eq(mailbox_pop(&l.pong.box), &l);
    }
    pthread_join(thread, NULL);
    cr_assert_eq(missed, 0);
}
