/* pairs.h: the pairs of an MSET: made first, which may fail, then put, which may not.
 *
 * Thread     [shard]
 * Ownership  Of what was made: the pairs, until they are put or dropped.
 * Errors     pairs_try_make is false when there is no memory for the entries and for what the table
 *            will need for them; nothing has happened then.
 */
#pragma once

#include "shard/shard.h"

/* Fewer need no array in the shard's memory. */
#define PAIRS_SHORT 32

struct pairs {
    uint32_t count;
    struct entry **entries; /* few, or a block */
    void *cushion;          /* that the table may grow into; NULL: it is small */
    struct entry *few[PAIRS_SHORT];
};

/* The arguments of the request from the first on are keys and values. */
MUST_USE bool pairs_try_make(struct shard *sh, const struct request *rq, struct pairs *p);
/* The same arguments. */
void pairs_put(struct shard *sh, const struct request *rq, struct pairs *p);
void pairs_drop(struct shard *sh, struct pairs *p);
