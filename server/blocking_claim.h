/* blocking_claim.h: the end of a wait on several shards: the others are asked to settle, the
 * earliest claim is served, the others are dropped.
 *
 * For blocking.c only. shard/wait_claim.h is the shards' side.
 *
 * Thread     [net] of the connection.
 */
#pragma once

#include "server/blocking_parts.h"

/* Whether a shard has something for the operation, in mode claim. */
bool blocking_has_claim(struct blocking *op);
/* Asks the parts that have to be asked; true: something was sent. */
MUST_USE bool blocking_settle(struct blocking *op);
/* Whether anything is under way. */
bool blocking_is_unsettled(const struct blocking *op);
/* Ends the claims, when nothing is; false: no room yet. */
MUST_USE bool blocking_commit(struct blocking *op);
