/* stuck.h: operations that are under way and wait for credit to send more.
 *
 * Thread     [net]
 * Order      First come, first tried; one that still finds no credit queues up again.
 */
#pragma once

#include "base/dlist.h"

struct worker;

/* Embedded in the operation. Not on the worker's list: linked to itself. */
struct stuck {
    struct dlist link;
    void (*resume)(struct stuck *stuck);
};

void stuck_wait(struct worker *w, struct stuck *stuck, void (*resume)(struct stuck *stuck));
/* True if there were any. */
bool stuck_resume(struct worker *w);
