/* block.h: commands that run one after the other as one request: a transaction, or its part on one
 * shard.
 *
 *     BLOCK <pointer> key key …   replies an array of the replies of all requests
 *
 * Thread     Written by the net thread before it is sent; from then on the shard's until its reply
 *            is there.
 * Ownership  The net thread's memory, with all that the requests point to. It is not copied when
 *            the request is parked, so it lives until the reply has come.
 * Order      Nothing else runs on the shard between two requests of a block.
 */
#pragma once

#include "base/parcel.h"

struct block {
    struct request *requests; /* reply_end: bytes from the start of the block's reply */
    uint32_t count;
    uint64_t watch; /* the watches of this id are checked and end; 0: there are none */
    /* ---- written by the shard ---- */
    uint64_t head_bytes; /* of the array's head, before the first reply */
    bool is_dirty;       /* a watched key has changed: nothing was run */
};

/* Where the reply of a request starts in the block's reply. */
static inline uint64_t block_reply_start(const struct block *b, uint32_t index)
{
    return index == 0 ? b->head_bytes : b->requests[index - 1].reply_end;
}
