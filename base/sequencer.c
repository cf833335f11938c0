#include "base/sequencer.h"

#include <sched.h>

/* A sender is between its push and its store for some ns; longer only if the kernel took its CPU
 * away. */
#define PENDING_SPINS 256

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void merge_init(struct merge *m, struct mailbox *inputs, uint32_t input_count)
{
    *m = (struct merge){.inputs = inputs, .input_count = input_count};
}

bool merge_is_empty(struct merge *m)
{
    for (uint32_t i = 0; i < m->input_count; i++)
        if (mailbox_count(&m->inputs[i]) != 0) return false;
    return true;
}

#ifdef SHOAL_NO_SEQUENCER

struct parcel *merge_next(struct merge *m)
{
    for (uint32_t i = 0; i < m->input_count; i++) {
        m->next_input = (m->next_input + 1) % m->input_count;
        struct parcel *pc = mailbox_pop(&m->inputs[m->next_input]);
        if (pc) return pc;
    }
    return NULL;
}

#else

static uint64_t parcel_position(struct parcel *pc)
{
    for (unsigned spins = 0;; spins++) {
        /* Pairs with the release store of the net thread that published the turn. */
        uint64_t position = atomic_load_explicit(&pc->position, memory_order_acquire);
        if (likely(position != POSITION_PENDING)) return position;
        if (spins < PENDING_SPINS)
            cpu_relax();
        else
            sched_yield();
    }
}

/* The two looks of the header's essay. False if nothing is there. */
static bool merge_look(struct merge *m)
{
    uint64_t highest = 0;
    for (uint32_t i = 0; i < m->input_count; i++) {
        if (mailbox_count(&m->inputs[i]) == 0) continue;
        uint64_t position = parcel_position(mailbox_peek_last(&m->inputs[i]));
        if (position > highest) highest = position;
    }
    if (highest == 0) return false;
    if (m->input_count > 1)
        for (uint32_t i = 0; i < m->input_count; i++) mailbox_count(&m->inputs[i]);
    m->covered = highest;
    return true;
}

/* The ring whose head has the lowest position that is covered; NULL if no head is. */
static struct mailbox *merge_lowest(struct merge *m, uint64_t *position_out)
{
    struct mailbox *lowest = NULL;
    uint64_t lowest_position = m->covered + 1;
    for (uint32_t i = 0; i < m->input_count; i++) {
        struct parcel *head = mailbox_peek(&m->inputs[i]);
        if (!head) continue;
        uint64_t position = parcel_position(head);
        if (position >= lowest_position) continue;
        lowest = &m->inputs[i];
        lowest_position = position;
    }
    *position_out = lowest_position;
    return lowest;
}

struct parcel *merge_next(struct merge *m)
{
    uint64_t position;
    struct mailbox *box = merge_lowest(m, &position);
    if (!box) {
        if (!merge_look(m)) return NULL;
        box = merge_lowest(m, &position);
    }
    CHECK(box && position >= m->last_run); /* A turn may have several parcels for one shard. */
    m->last_run = position;
    struct parcel *pc = mailbox_peek(box);
    mailbox_drop(box);
    return pc;
}

#endif
