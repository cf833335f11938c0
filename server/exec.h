/* exec.h: EXEC: the queued commands run as one, in one of three ways.
 *
 *     one shard    everything, and every watched key: one request carries all (batch.h)
 *     one turn     several shards, nothing watched there (or nothing that writes): one request for
 *                  each, in one turn. Each shard runs its share contiguously at the turn's place.
 *     a holding    a command needs keys of several shards together, or a watch must be checked
 *                  elsewhere before anything is written: lock turn, stages, unlock (held.h)
 *
 * Commands of the net thread run at their place among the others; so do those whose answer comes
 * later, under a holding, and the connection waits for them.
 *
 * Thread     [net] of the connection.
 * Ownership  Takes over the session's queue. What has begun is finished, whether or not the
 *            connection is still there.
 * Errors     No memory to plan it: ERR_ALLOC, and nothing was run.
 * Order      The transaction stands at its turn, or at its lock turn.
 */
#pragma once

#include "base/command.h"

struct chunk;
struct exec;

/* The handler of EXEC. */
enum err cmd_exec(struct session *s, struct request *rq, struct reply *out);

/* A command inside a transaction that deferred its answer gets it; NULL: it never will.
 * Copied. */
void exec_answer(struct exec *x, const struct chunk *chain);
/* In a handler of the net thread that wants to defer: where the answer belongs. */
uint32_t exec_defer(struct exec *x);
/* The connection has gone. */
void exec_on_close(struct exec *x);
uint32_t exec_command_count(const struct exec *x);
