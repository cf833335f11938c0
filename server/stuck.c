#include "server/stuck.h"

#include "server/worker.h"

void stuck_wait(struct worker *w, struct stuck *stuck, void (*resume)(struct stuck *stuck))
{
    stuck->resume = resume;
    dlist_push_back(&w->stuck, &stuck->link);
}

bool stuck_resume(struct worker *w)
{
    if (likely(dlist_is_empty(&w->stuck))) return false;
    struct dlist batch;
    dlist_init(&batch);
    dlist_splice(&batch, &w->stuck);
    struct dlist *link;
    while ((link = dlist_pop_front(&batch))) {
        struct stuck *stuck = container_of(link, struct stuck, link);
        stuck->resume(stuck);
    }
    return true;
}
