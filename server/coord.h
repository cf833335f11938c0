/* coord.h: commands over several shards: split, gather and merge; and the LOCKED plan.
 *
 *     fan-out, all shards   one request per shard in one turn ─▶ parts ─▶ merged by the row's rule
 *     big MSET, MSETNX      made on every shard, under locks, then put: locked_mset.c
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

/* Whether the command splits into parts that may find no memory: MSET. */
bool coord_is_mset(const struct command *c);
/* Whether its pairs are always made before any is put: MSETNX. */
bool coord_is_msetnx(const struct command *c);
/* Whether such a command over several shards must make its pairs before it puts any. `spent`: bytes
 * of those that share its place in the order and go in one hop, to which its own are added. */
bool coord_mset_is_big(const struct worker *w, const struct bytes *argv, uint32_t argc,
                       uint64_t *spent);

/* There is a cap on memory, and nothing left to evict. */
bool coord_is_full(const struct worker *w);
/* True if the command may need memory and there is none: it has been answered. For commands over
 * several shards, of which all parts must run or none; a single shard looks for itself. */
MUST_USE bool coord_reject_full(struct session *s, const struct route *route);
