/* skiplist.h: members in the order of their scores, then of their bytes, with ranks.
 *
 *     a node:   | level n-1 | … | level 1 | level 0 | prev 8 | score 8 | entry: header, member |
 *                 next 8, span 8 each               ▲ struct skiplist_node
 *
 *     head:  level 2 ─────────────3────────────▶ c ──────2─────▶ end
 *            level 1 ──────2──────▶ b ────1────▶ c ──────2─────▶ end
 *            level 0 ──1──▶ a ──1─▶ b ────1────▶ c ──1──▶ d ──1▶ end
 *
 * The span of a link is how many elements further it leads; the sum of the spans on the way to a
 * node is its rank. One allocation holds all of an element; its entry can stand in a dict, which
 * leads from a member to its node.
 *
 * Thread     [shard]
 * Ownership  Whoever made a node frees it, when it is in no list any more.
 * Limits     SKIPLIST_LEVELS_MAX levels: 2^64 elements. Every fourth node reaches one level higher.
 * Errors     Functions with `try` change nothing when there is no memory.
 * Source     Pugh (1990); spans as in Redis's sorted sets.
 */
#pragma once

#include "shard/defrag_walk.h"
#include "shard/entry.h"

#define SKIPLIST_LEVELS_MAX 32

struct skiplist_level {
    struct skiplist_node *next; /* NULL: the end */
    uint64_t span;
};

struct skiplist_node {
    struct skiplist_node *prev; /* NULL: the first */
    double score;
    /* Behind it a struct entry: key: the member; its clock holds the count of levels. */
};
_Static_assert(sizeof(struct skiplist_level) == 16 && sizeof(struct skiplist_node) == 16,
               "entries must be aligned to 16 for dict.h");

struct skiplist {
    struct skiplist_level head[SKIPLIST_LEVELS_MAX]; /* level 0 is the last one, as in a node */
    struct skiplist_node *last;
    uint64_t count;
    uint64_t random_state;
    uint32_t level_count; /* in use */
};

void skiplist_init(struct skiplist *sl, uint64_t seed);

static inline struct entry *skiplist_entry(const struct skiplist_node *n)
{
    return (struct entry *)(uintptr_t)(n + 1);
}
static inline struct skiplist_node *skiplist_node_of(const struct entry *e)
{
    return (struct skiplist_node *)(uintptr_t)e - 1;
}
static inline struct bytes skiplist_member(const struct skiplist_node *n)
{
    return entry_key(skiplist_entry(n));
}
static inline struct skiplist_node *skiplist_first(const struct skiplist *sl)
{
    return sl->head[SKIPLIST_LEVELS_MAX - 1].next;
}
static inline struct skiplist_node *skiplist_next(const struct skiplist_node *n)
{
    return ((const struct skiplist_level *)(const void *)n)[-1].next;
}

/* A node for that element, not in any list yet. NULL when there is no memory. */
MUST_USE struct skiplist_node *skiplist_try_make(struct mem *mem, struct skiplist *sl, double score,
                                                 struct bytes member);
void skiplist_free_node(struct mem *mem, struct skiplist_node *n);
/* Bytes of memory that the node takes. */
size_t skiplist_node_allocated(const struct skiplist_node *n);

/* O(log n). The element must not be there yet. */
void skiplist_insert(struct skiplist *sl, struct skiplist_node *n);
/* Takes it out; the caller owns it then. */
void skiplist_remove(struct skiplist *sl, struct skiplist_node *n);
/* Another score, for a node of the list. */
void skiplist_move(struct skiplist *sl, struct skiplist_node *n, double score);

/* O(log n) if it moves. The node, or the one that took its place, which a dict must learn. */
struct skiplist_node *skiplist_defrag_node(struct defrag_walk *w, struct skiplist *sl,
                                           struct skiplist_node *n);

/* O(log n). How many elements stand before it. */
uint64_t skiplist_rank(const struct skiplist *sl, const struct skiplist_node *n);
/* O(log n). NULL beyond the end. */
struct skiplist_node *skiplist_at(const struct skiplist *sl, uint64_t rank);
/* O(log n). How many elements stand at the front of the list for which `fn` is true; it must be
 * false for all others. */
typedef bool skiplist_before_fn(const void *context, const struct skiplist_node *n);
uint64_t skiplist_count_before(const struct skiplist *sl, skiplist_before_fn *fn,
                               const void *context);

/* ---- searches that wait for nothing ---- */

/* A search that goes one node further at each step and asks for the memory of the one after it, so
 * that many searches can wait together. It changes nothing and finds nothing: it only makes the
 * nodes on the way to an element's place ready for whoever searches next. */
struct skiplist_scout {
    const void *base; /* NULL: it has arrived */
    uint32_t level;
    double score;
    struct bytes member;
};
/* The head of the list must be in the cache, or it is waited for. */
struct skiplist_scout skiplist_scout_start(const struct skiplist *sl, double score,
                                           struct bytes member);
/* False when it has arrived. */
bool skiplist_scout_step(struct skiplist_scout *s);

/* Checks every invariant. Slow. */
void skiplist_validate(const struct skiplist *sl);
