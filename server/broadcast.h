/* broadcast.h: a client's command that something be done on every thread, and its +OK when that is
 * done.
 *
 *     net ──call──▶ every worker and the main thread ──back──▶ net: the last one answers the client
 *
 * Thread     [net] of the connection starts it and answers.
 * Ownership  The broadcast is the net thread's memory and ends with the answer, whether the client
 *            is still there or not.
 * Order      The function runs once on each thread, in no order among the threads.
 */
#pragma once

#include "server/session.h"

/* Runs on `at`; at->owner is the server on the main thread (thread_is_main), else the worker. */
typedef void broadcast_fn(struct thread *at, uint64_t argument);

/* In a handler, which must then return OK without a reply. */
void broadcast(struct session *s, broadcast_fn *fn, uint64_t argument);

/* The thread without a role. */
static inline bool thread_is_main(const struct thread *t)
{
    return t->net_id < 0 && t->shard_id < 0;
}
