/* merge_parts.h: how the replies of the parts of a split command become one reply.
 *
 * Thread     [net]
 * Errors     A part that is an error decides: the first one is the reply.
 */
#pragma once

#include "base/command.h"
#include "net/gather.h"

/* `key_parts` (MERGE_KEYS, MERGE_FOUND): for each key, in order, the part that has its reply. */
struct merge_input {
    struct gather *gather;
    enum merge_rule rule;
    const uint16_t *key_parts;
    uint32_t key_count;
    uint64_t random; /* 64 random bits, for MERGE_RANDOM */
};

void merge_parts(const struct merge_input *in, struct reply *out);

/* MERGE_FOUND of parts that lie anywhere; an empty part has nothing for its keys. False: none has.
 */
struct found_parts {
    const struct bytes *parts;
    uint32_t part_count;
    const uint16_t *key_parts;
    uint32_t key_count;
};
bool merge_found(struct mem *mem, const struct found_parts *found, struct reply *out);
/* Bytes of the first whole reply value in `bytes`; CHECKs that there is one. For walking replies
 * that our own shards wrote. */
size_t reply_value_bytes(struct bytes bytes);
