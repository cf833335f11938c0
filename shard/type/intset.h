/* intset.h: a sorted array of distinct integers, each as wide as the widest needs to be.
 *
 *     ┌──────────────────┬──────────────┬──────────┬──────────┬─────┐
 *     │ encoding: 2, 4, 8│ count        │ smallest │          │  …  │     all little endian
 *     │ 4 bytes          │ 4 bytes      │ encoding bytes each       │
 *     └──────────────────┴──────────────┴──────────┴──────────┴─────┘
 *     The encoding grows with the first integer that needs it, and never shrinks.
 *
 * Thread     [shard]
 * Ownership  The block belongs to the caller; `struct intset **` may move it.
 * Limits     2^32 - 1 integers. The block takes exactly the size class of its bytes.
 * Errors     Functions with `try` change nothing when there is no memory.
 * Source     The intset of Redis's RDB files (documented by rdbtools), so that DUMP payloads
 *            travel.
 */
#pragma once

#include "base/bytes.h"
#include "base/mem.h"

struct intset; /* its bytes */

#define INTSET_HEADER_BYTES 8

MUST_USE struct intset *intset_try_create(struct mem *mem);
MUST_USE struct intset *intset_try_copy(struct mem *mem, const struct intset *set);
/* NULL is allowed. */
void intset_free(struct mem *mem, struct intset *set);
uint32_t intset_length(const struct intset *set);
/* Bytes of the serialised form. */
size_t intset_bytes(const struct intset *set);
/* Bytes of memory that the block takes. */
size_t intset_allocated(const struct intset *set);
struct bytes intset_view(const struct intset *set);
/* From serialised bytes that may come from anywhere; NULL if they are not an intset (wrong size,
 * not sorted, a value twice), or there is no memory. */
MUST_USE struct intset *intset_try_from_bytes(struct mem *mem, struct bytes bytes);
MUST_USE bool intset_is_valid(struct bytes bytes);
/* Checks every invariant of one of ours. Slow. */
void intset_validate(const struct intset *set);

/* O(log n). */
bool intset_has(const struct intset *set, int64_t value);
/* True if it is there; `*index` (may be NULL) is its index, or where it would stand. */
bool intset_find(const struct intset *set, int64_t value, uint32_t *index);
/* The value of that index, in ascending order: index < length. A random one: a random index. */
int64_t intset_get(const struct intset *set, uint32_t index);
/* False when there is no memory. `*added` tells whether the value is new. */
MUST_USE bool intset_try_add(struct mem *mem, struct intset **set, int64_t value, bool *added);
/* True if it was there. */
bool intset_remove(struct mem *mem, struct intset **set, int64_t value);
