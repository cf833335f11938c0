/* coord.h: commands over several shards: split, gather and merge; and the LOCKED plan.
 *
 *     fan-out, all shards   one request per shard in one turn ─▶ parts ─▶ merged by the row's rule
 *     locked                lock turn: hold the keys, report ─▶ compute ─▶ commit turn: effects,
 *                           unlock ─▶ reply
 *
 * Thread     [net] of the connection. An operation outlives its connection: a commit that has
 *            begun is finished.
 * Errors     False means that nothing was done for want of credit: the request is given back and
 *            the connection stalls.
 * Order      The parts of a split command are in one turn: it is atomic in turn order. A locked
 *            command stands at its lock turn.
 */
#pragma once

#include "server/session.h"

MUST_USE bool coord_fan_out(struct session *s, const struct route *route);
MUST_USE bool coord_all_shards(struct session *s, const struct route *route);
/* MERGE_FOUND: from argv[first] on stand keys, and behind them as many words that belong to them.
 */
MUST_USE bool coord_fan_out_found(struct session *s, const struct route *route, uint32_t first);
MUST_USE bool coord_locked(struct session *s, const struct route *route);

/* There is a cap on memory, and nothing left to evict. */
bool coord_is_full(const struct worker *w);
/* True if the command may need memory and there is none: it has been answered. For commands over
 * several shards, of which all parts must run or none; a single shard looks for itself. */
MUST_USE bool coord_reject_full(struct session *s, const struct route *route);
