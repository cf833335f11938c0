/* late.h: the reply to a request that had been parked on its shard, on its way to the net thread
 * that waits for it.
 *
 * Thread     Written by the shard, read by the net thread, freed by the shard: it travels as a
 *            call, there and back.
 * Order      Its request's parcel has gone home before.
 */
#pragma once

#include "base/dlist.h"
#include "base/thread.h"

struct late_reply {
    struct call call;
    struct dlist link; /* while it waits on the shard */
    struct run run;    /* of the request's parcel */
    uint16_t index;    /* of the request within the run */
    uint16_t net_id, shard_id;
    uint16_t command_id;
    bool has_error;                                     /* the reply is an error */
    struct chunk *chain;                                /* of the shard's memory */
    struct slow_entry *slow;                            /* for the slow log */
    void (*is_back)(struct thread *at, struct call *c); /* on the shard's thread */
};
