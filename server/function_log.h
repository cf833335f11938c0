/* function_log.h: the libraries of functions in the append-only log.
 *
 *     FUNCTION LOAD … ─▶ a new set ─▶ turn ─▶ shard 0: the set as it is now, as one effect
 *                                                       FUNCTION RESTORE payload FLUSH
 *     answer ◀─────────────────────────────── the effect is stable
 *
 * The effect holds all libraries, so the last one is right whatever came before it, and two changes
 * at a time need no order of their own. A log of shard 0 begins with one if there are libraries.
 *
 * Thread     as marked
 * Order      The answer comes when the change is as safe as appendfsync makes any other.
 */
#pragma once

#include "base/reply.h"

struct session;
struct worker;

/* [net] In a handler, which then returns OK: the reply leaves when the change is in the log. */
void function_log_then_answer(struct session *s, struct reply *out);
/* [shard] Of shard 0: writes them, if there are any or `even_none`. After journal_open, and where a
 * file begins that is to stand for what came before. */
void function_log_write(struct worker *w, bool even_none);
/* [shard] The effect, read again. False, with a phrase in `error`. */
MUST_USE bool function_log_replay(struct worker *w, struct bytes payload, char *error,
                                  size_t error_bytes);
