/* set.h: a set of byte strings, in the encoding that its size asks for.
 *
 *     ENCODING_INTSET     integers only, at most set-max-intset-entries   struct intset
 *     ENCODING_LISTPACK   a few short members                             struct listpack
 *     ENCODING_HASHTABLE  everything else                                 struct set_table: entries
 *                                                                         whose key is the member
 *
 * Conversions go downwards in this table and never back, except that a new set starts at the top.
 *
 * Thread     [shard]
 * Ownership  A struct set is a view of a root that an entry or the caller owns; set_store puts a
 *            changed one back into its entry. Views of members are valid until the next change.
 * Limits     Members < 4 GiB. The thresholds are those of the shard's configuration.
 * Errors     Functions with `try` change nothing that a reader could see when there is no memory.
 */
#pragma once

#include "shard/object.h"

struct shard_config;

struct set {
    void *root;
    enum encoding encoding;
};

extern const struct type_ops set_ops;

static inline struct set set_of(const struct entry *e)
{
    return (struct set){entry_root(e), entry_encoding(e)};
}
static inline void set_store(struct entry *e, const struct set *s)
{
    entry_set_root(e, s->root);
    entry_set_encoding(e, s->encoding);
}

/* An empty set that is about to get `first` and up to `expected` members in all. */
MUST_USE bool set_try_create(struct mem *mem, const struct shard_config *c, struct bytes first,
                             uint64_t expected, struct set *out);
/* All at once. */
void set_free(struct mem *mem, struct set *s);

uint64_t set_size(const struct set *s);
bool set_has(const struct set *s, struct bytes member);
/* False when there is no memory. `*added` tells whether the member is new, which may not point into
 * the set. */
MUST_USE bool set_try_add(struct mem *mem, const struct shard_config *c, struct set *s,
                          struct bytes member, bool *added);
/* Before `expected` members are added: a set that is likely to outgrow its encoding becomes a
 * hashtable at once. */
MUST_USE bool set_try_expect(struct mem *mem, const struct shard_config *c, struct set *s,
                             uint64_t expected);
/* True if it was there. `member` may be a view of the set's own. */
bool set_remove(struct mem *mem, struct set *s, struct bytes member);

/* A member chosen evenly; the set is not empty. `scratch` holds TEXT_I64_BYTES_MAX. O(1), or O(n)
 * for a listpack. */
struct bytes set_random(const struct set *s, uint64_t random, char *scratch);

/* Calls `fn` for every member until it says false; then the result is false. It may not change the
 * set. */
typedef bool set_each_fn(void *context, struct bytes member);
bool set_each(const struct set *s, set_each_fn *fn, void *context);
/* Some members from `cursor` on; returns where to go on, 0 at the end. About `count` of a
 * hashtable, and all of the others. What `fn` says does not matter. */
uint64_t set_scan(const struct set *s, uint64_t cursor, uint64_t count, set_each_fn *fn,
                  void *context);

/* Checks every invariant. Slow. */
void set_validate(const struct set *s);
