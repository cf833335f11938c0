/* recorder.h: writes down the turn order, so that a run can be replayed on a single-threaded
 * reference and every reply compared.
 *
 * A record a command, and one more for each time that a script has started again; the last one of a
 * command counts. It says where it stands in the one order, whose it is, and which of that client's
 * commands it is. Who made the run knows the commands and the replies.
 *
 * Thread     One recorder per net thread, on that thread.
 * Limits     32 bytes a command, in memory until the end.
 * Order      Sort by (position, thread, turn, index). Turns that ran in place stand just before
 *            the position that nobody had yet.
 */
#pragma once

#include "base/bytes.h"

struct record {
    uint64_t order; /* 2 × position; 2 × position - 1 for a turn that ran in place before it */
    uint64_t client_id;
    uint64_t
        request; /* the client's command number, from 0; commands of the net thread count too */
    uint32_t thread_turn; /* turns of this thread, to order those in place */
    uint16_t index;       /* within the turn */
    uint16_t thread;
};
_Static_assert(sizeof(struct record) == 32, "tests/e2e/oracle.py reads this");

struct recorder {
    struct buf records;
    size_t turn_start; /* bytes: where the records of the open turn start */
    uint32_t turns;
    uint16_t thread;
};

void recorder_init(struct recorder *r, struct mem *mem, uint16_t thread);
void recorder_deinit(struct recorder *r);
/* A command joined the open turn. */
void recorder_add(struct recorder *r, uint64_t client_id, uint64_t request, uint32_t index);
/* The open turn got its place. */
void recorder_publish(struct recorder *r, uint64_t position, bool in_place);
