/* wait_claim.h: claims: a key that is held for a waiter until it is certain that it may have it.
 *
 * A waiter whose keys live on several shards has a part on each of them. No shard may serve it by
 * itself: another one may have had something for it earlier in the turn order. So the key is held
 * for it (locks.h), since the point at which it became ready, and its coordinator is told
 * (REQUEST_CLAIM). The coordinator asks the others to settle: whether they hold a key for it since
 * an earlier point. That is answered when everything before that point which is about the waiter's
 * keys has run; holdings of later points need not end for it, so there is no deadlock. The earliest
 * claim is served, the others are dropped, and whoever waits next is served at their point. Checked
 * by tests/models/blocking.pml.
 *
 * The same doubt exists within a shard: while a key of the waiter is held for somebody else, and
 * another of its keys becomes ready, it may turn out that the first was ready for it before. So the
 * other one is held for it, too, until that is certain.
 *
 * A waiter that only reads (XREAD) does not take anything away from those behind it. So no key is
 * held for it: what it would get is read at once, and travels with its claim.
 *
 * Thread     [shard]
 * Ownership  A claim is its waiter's. One that was given up keeps its key until wait_go_on.
 * Order      wait_go_on runs after every release of locks, never inside of itself.
 */
#pragma once

#include "shard/wait_queue.h"

/* ---- for wait.c ---- */

/* A key has something for the waiter since that point: it is served if that is certain, else the
 * key is held for it. True: for those behind it there may be something left. */
MUST_USE bool wait_claim_or_serve(struct shard *sh, struct waiter *w, uint32_t index,
                                  struct turn_point point);
/* The same of one that has a coordinator and has found a key when it was first run. */
void wait_claim_first(struct shard *sh, struct waiter *w, uint32_t index);
/* Tells the coordinator that a key is ready. The waiter keeps its places, so a question whether it
 * should go has still to be answered. */
void wait_claim_ask(struct shard *sh, struct waiter *w, uint32_t index, struct turn_point since);
/* Questions about the waiter may have come before its request could run. */
void wait_claim_take_bounds(struct shard *sh, struct waiter *w);

/* ---- for coordinators, through shard/cmd/internal.c ---- */

/* Ends the waiting unless a key is held for it: its own request is then answered with nothing.
 * `keys` are arguments of `rq`, those of the waiter on this shard. False: the question has been
 * parked and will be answered with nothing, too. */
MUST_USE bool wait_settle(struct shard *sh, struct request *rq, const struct wait_id *id,
                          struct turn_point since, uint32_t first_key);
/* The claim's end: serves it, the reply being that of its command, or drops it (`out` NULL). */
void wait_end_claim(struct shard *sh, const struct wait_id *id, struct reply *out);
/* The coordinator found nothing after all: `rq` waits in the waiter's place. */
void wait_again(struct shard *sh, struct request *rq, const struct wait_id *id);

/* ---- for locks.c ---- */

/* After every release of locks: decides and answers what can be decided now. */
void wait_go_on(struct shard *sh);
