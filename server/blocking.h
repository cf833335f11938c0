/* blocking.h: BLPOP and its like, seen from the connection's side: a command that its shards may
 * keep until a key has something for it.
 *
 *     alone   all keys on one shard: one request; its reply is the client's, whenever it comes
 *     claim   keys on several shards: a part on each. The first that holds a key for the client
 *             says since when; the others are asked to settle, in one turn; the earliest claim is
 *             served, the others are dropped
 *     ask     a move to another shard: the shard of the source says that there is something, the
 *             command runs as any other over several shards (locked.h), and if somebody else was
 *             faster it goes on waiting in its old place
 *
 * An XREAD over several shards is a claim whose parts bring what they have found; what was there at
 * once is merged. An XREADGROUP must find a group in every stream before it takes anything from
 * any: it runs under locks first (locked_read.c), and its parts begin to wait before these end.
 *
 * shard/wait.h says what the shards do. The end of the time, CLIENT UNBLOCK and the end of the
 * connection are questions to the shards as well: what was served before stands.
 *
 * Thread     [net] of the connection.
 * Ownership  The operation owns its memory and the request's input until its last part is back,
 *            whether or not the connection is still there.
 * Order      The connection's next command runs after the answer.
 */
#pragma once

#include "server/session.h"

/* Whether it is for blocking_dispatch: if it finds nothing, it waits. */
bool blocking_may_wait(const struct command *c, const struct bytes *argv, uint32_t argc);
/* What a wait is of. False: it is none of ours. */
bool blocking_command(struct session_wait *w, const struct route **route, const struct bytes **argv,
                      uint32_t *argc);
/* False: no credit; the connection should stall. */
MUST_USE bool blocking_dispatch(struct session *s, const struct route *route);
