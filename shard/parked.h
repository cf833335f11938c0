/* parked.h: a request that has left its parcel, until a late reply answers it: copied, arguments
 * and all, or with its arguments where they are, if its sender keeps them until then.
 *
 * Thread     [shard]
 * Ownership  Embedded in what it waits for; its memory goes with parked_free.
 * Order      The late reply leaves after the parcel in which the request had come
 *            (shard_send_late).
 */
#pragma once

#include "base/parcel.h"

struct shard;

struct parked {
    struct request request;
    struct run run;
    struct turn_point point; /* the request's place in the turn order */
    uint16_t index, net_id;  /* index: within the run */
    size_t copy_bytes;
    char *copy;              /* argv and the bytes of the arguments; NULL: they are the sender's */
    bool has_left;           /* parked_take has taken it over */
    struct slow_entry *slow; /* for the slow log: it has run */
};

/* The request that runs right now leaves its parcel, or what it was parked for before; its handler
 * then returns OK without a reply. False, changing nothing: no memory for its arguments. */
MUST_USE bool parked_take(struct shard *sh, struct parked *p, struct request *rq);
/* The same, but only its place and its reply are taken over: the request stays the one it was. */
void parked_renew(struct shard *sh, struct parked *p, struct request *rq);
/* Request `index` of the parcel, which has not run. False, changing nothing: no memory. */
MUST_USE bool parked_init(struct shard *sh, struct parked *p, struct parcel *pc, uint32_t index);
/* The same of a part of something that happens on several shards, which must not fail by itself:
 * the arguments stay where they are. Coordinators keep them until all their parts are answered. */
void parked_init_part(struct shard *sh, struct parked *p, struct parcel *pc, uint32_t index);
/* parked_take of such a request. */
void parked_take_part(struct shard *sh, struct parked *p, struct request *rq);
/* Runs it on behalf of the connection that waits for it. */
void parked_run(struct shard *sh, struct parked *p, struct reply *out);
/* Sends what was written; nothing at all is an answer, too. */
void parked_answer(struct shard *sh, struct parked *p, struct reply *out);
void parked_free(struct shard *sh, struct parked *p);

/* The place of the request that runs right now. */
struct turn_point parked_point(const struct shard *sh, const struct request *rq);
