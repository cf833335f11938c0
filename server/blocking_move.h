/* blocking_move.h: a move (BLMOVE) whose shard has told that there is something: the command is
 * sent again, at a place of its own. If somebody else was faster, it goes on waiting in its place.
 *
 * For blocking.c only.
 *
 * Thread     [net] of the connection.
 */
#pragma once

#include "server/blocking_parts.h"

/* Runs the command. False: no room yet. */
MUST_USE bool blocking_try_move(struct blocking *op);
/* Its request waits again where it did. False: no room yet. */
MUST_USE bool blocking_wait_again(struct blocking *op);
