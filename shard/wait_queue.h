/* wait_queue.h: who waits for which keys: the queue of each key, and the waiters in it.
 *
 *     key ─▶ [place] [place] …       a waiter has a place in the queue of each of its keys on this
 *              │       │             shard, and leaves them together
 *            waiter  waiter
 *
 * For wait.c and wait_claim.c only.
 *
 * Thread     [shard]
 * Ownership  A queue goes with its last place, a waiter with waiter_free.
 * Order      Places stand in the order of arrival, noted queues in that of the changes.
 */
#pragma once

#include "base/node_table.h"
#include "shard/keyspace.h"
#include "shard/parked.h"
#include "shard/wait.h"

/* Of a key that somebody waits for. */
struct wait_queue {
    struct table_node node;
    struct dlist places;   /* in the order of arrival */
    struct dlist ready;    /* while it is noted */
    bool is_noted;         /* the key has changed */
    bool is_served;        /* right now: it must not go */
    uint32_t absence_seen; /* places whose rule does */
    uint32_t db;
    uint32_t name_size;
    char name[];
};

/* One waiter in one queue. */
struct wait_place {
    struct dlist link;
    struct wait_queue *queue;
    struct waiter *waiter;
    uint32_t index; /* of the key among the arguments */
};

/* A request that waits. */
struct waiter {
    struct table_node node;
    struct wait_id id;
    struct parked parked;
    const struct wait_rule *rule;
    struct wait_place *places; /* NULL: it stands in no queue */
    uint32_t place_count, place_capacity;
    char *resolved; /* arguments that were replaced */
    size_t resolved_bytes;
    bool is_asked; /* its coordinator has been told that a key is ready, and tries */

    /* ---- of wait_claim.c ---- */
    uint32_t claim_index; /* the key that is held for it; 0: none */
    uint64_t claim_token;
    struct turn_point claim_since;
    uint64_t claim_number;
    struct chunk *early;     /* of a shared rule: what it gets by its claim */
    struct turn_point bound; /* of a question about it: what comes later is not for it any more */
    struct dlist tentative;  /* while it may yet turn out that another key was ready before */
};

/* NULL: nobody waits for the key. */
struct wait_queue *wait_queue_find(struct shard *sh, const struct key *k);
struct key wait_queue_key(const struct wait_queue *q);
/* The key has changed: those that wait for it are served when the command is over. */
void wait_queue_note(struct shard *sh, struct wait_queue *q);
void wait_queue_drop_if_unused(struct shard *sh, struct wait_queue *q);

/* The request that runs now waits from here on; unless `is_in_no_queue`, in the queue of each of
 * its keys that lives here. NULL, changing nothing: no memory. */
MUST_USE struct waiter *waiter_try_make(struct shard *sh, struct request *rq,
                                        const struct wait_keys *keys, bool is_in_no_queue);
void waiter_free(struct shard *sh, struct waiter *w);
/* NULL: it does not wait here. */
struct waiter *waiter_find(struct shard *sh, const struct wait_id *id);
/* Whether it has a coordinator, which decides. */
static inline bool waiter_is_claimant(const struct waiter *w)
{
    return w->parked.request.flags & (REQUEST_CLAIM | REQUEST_ASK);
}
void waiter_leave_queues(struct shard *sh, struct waiter *w);
/* Notes all its keys. */
void waiter_note_keys(struct shard *sh, struct waiter *w);
/* Whether that key, which exists unless the rule sees absence, has something for it. */
static inline bool waiter_is_ready(struct shard *sh, const struct waiter *w, const struct key *k,
                                   uint32_t index)
{
    return w->rule->is_ready(sh, &w->parked.request, k, index);
}
/* Runs its command for that key. */
void waiter_run(struct shard *sh, struct waiter *w, uint32_t index, struct reply *out);
/* The same, and that is its end. */
void waiter_serve(struct shard *sh, struct waiter *w, uint32_t index);
