/* digest.h: the digests of values and data sets that DEBUG DIGEST-VALUE and DEBUG DIGEST print:
 * equal on servers that hold the same data, in whatever encoding.
 *
 * Thread     any; digest_mix_value: [shard]
 * Source     Redis's DEBUG DIGEST, found out from what redis-server prints.
 */
#pragma once

#include "base/sha1.h"

struct entry;

/* All zero at the start. */
struct digest {
    uint8_t bytes[SHA1_BYTES];
};

static inline struct bytes digest_view(const struct digest *d)
{
    return bytes_make(d->bytes, sizeof d->bytes);
}

/* Adds something whose place does not matter: the member of a set. Adding it twice takes it out
 * again. */
void digest_add(struct digest *d, struct bytes text);
/* Adds a digest as it is. */
void digest_xor(struct digest *d, const struct digest *other);
/* Adds something whose place matters: an element of a list. */
void digest_mix(struct digest *d, struct bytes text);
/* digest_mix of 4 bytes, most significant first. */
void digest_mix_u32(struct digest *d, uint32_t n);
/* A value, its type, and whether it has a deadline, but not when. */
void digest_mix_value(struct digest *d, const struct entry *e);
