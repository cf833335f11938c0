/* quicklist.h: a doubly linked list of listpacks, for lists that are too long for one.
 *
 *     first ⇄ node ⇄ node ⇄ … ⇄ last
 *              │       │
 *           listpack  one large element as it is ("plain")
 *
 * Elements come and go at the ends of a node in constant time: its listpack may have room at both
 * ends, while it is the first or last node. A node that would grow over the limit of
 * list-max-listpack-size gets a neighbour, or is split where the new element stands. An element
 * that alone is over the limit has a plain node.
 *
 * Thread     [shard]
 * Ownership  The list owns its nodes. A place is valid until the next change, but for what
 *            quicklist_remove says.
 * Limits     Nodes of up to 64 KiB, plain ones of any size.
 * Errors     Functions with `try` change nothing that a reader could see when there is no memory.
 * Source     Stancliff's quicklist (2014); the serialised form is
 *            RDB_TYPE_LIST_QUICKLIST_2.
 */
#pragma once

#include "persist/rdb.h"
#include "shard/defrag_walk.h"
#include "shard/type/listpack.h"

struct big_value;

#define QUICKLIST_BYTES_BITS 42
#define QUICKLIST_GAP_BITS 20

struct quicklist_node {
    struct quicklist_node *prev, *next;
    void *data;                            /* a struct listpack, or the bytes of one element */
    uint64_t bytes : QUICKLIST_BYTES_BITS; /* of that element, or of the listpack's block */
    uint64_t gap : QUICKLIST_GAP_BITS;     /* in front of the listpack (listpack.h) */
    uint64_t is_plain : 1;
    uint64_t colour : 1; /* of quicklist_walk.c */
};
_Static_assert(sizeof(struct quicklist_node) == 32, "a size class of jemalloc");
_Static_assert(LISTPACK_GAP_BYTES_MAX < 1 << QUICKLIST_GAP_BITS, "a gap fits its field");

struct quicklist {
    struct quicklist_node *first, *last;
    uint64_t length; /* elements */
    uint64_t node_count;
    struct quicklist_node *bookmark; /* where quicklist_defrag goes on; NULL: nowhere */
    struct big_value *big;           /* that is serialised in slices; NULL: none */
    uint64_t colour;                 /* of all nodes, at rest: 0 or 1 */
};

/* An element; `node` NULL: none. `at` counts in a listpack only. */
struct quicklist_place {
    struct quicklist_node *node;
    uint32_t at;
};

/* ---- list-max-listpack-size ---- */

/* Whether so many bytes of a listpack, and so many elements, are within the limit: negative numbers
 * say 4, 8 … 64 KiB, others count elements, of 8 KiB together. */
bool quicklist_limit_allows(int32_t limit, size_t bytes, uint64_t count);
/* DEBUG QUICKLIST-PACKED-THRESHOLD: whether elements of that size have plain nodes. */
bool quicklist_is_plain_size(uint64_t value_bytes);

/* ---- the whole ---- */

MUST_USE struct quicklist *quicklist_try_create(struct mem *mem);
/* A list of one node; takes the listpack over, which is not empty. NULL, and it stays the caller's,
 * when there is no memory. */
MUST_USE struct quicklist *quicklist_try_adopt(struct mem *mem, struct listpack *lp);
/* The listpack of a list of one node, which is not plain; the list is gone. */
struct listpack *quicklist_take_single(struct mem *mem, struct quicklist *q);
/* True when all is gone, the root included; at most `budget` nodes go at once. */
bool quicklist_free_some(struct mem *mem, struct quicklist *q, uint64_t budget);
MUST_USE struct quicklist *quicklist_try_copy(struct mem *mem, const struct quicklist *q);
/* Memory taken. `node_samples` 0: all nodes are measured; else the first ones stand for the rest.
 */
uint64_t quicklist_allocated(const struct quicklist *q, uint64_t node_samples);
/* Appends the count of nodes and the nodes. */
MUST_USE bool quicklist_try_freeze(const struct quicklist *q, struct rdb_writer *out);
/* RDB_TYPE_LIST_QUICKLIST, whose nodes are ziplists, or …_QUICKLIST_2. NULL if it is malformed,
 * empty, or there is no memory. */
MUST_USE struct quicklist *quicklist_try_thaw(struct mem *mem, enum rdb_type rdb_type,
                                              struct bytes *in);
/* See type_ops. */
struct quicklist *quicklist_defrag(struct defrag_walk *w, struct quicklist *q);
void quicklist_validate(const struct quicklist *q);

/* ---- quicklist_walk.c: in slices, as big_value_ops says ---- */

void quicklist_big_begin(struct big_value *v);
bool quicklist_big_step(struct big_value *v);
/* The node is about to change, and has not been taken. */
void quicklist_big_save(struct quicklist *q, struct quicklist_node *node);
enum { QUICKLIST_PLAIN = 1, QUICKLIST_PACKED = 2 }; /* containers of the serialised form */

/* ---- reading ---- */

/* Negative from the end. O(nodes), from the nearer end. */
struct quicklist_place quicklist_seek(const struct quicklist *q, int64_t index);
struct quicklist_place quicklist_next(struct quicklist_place place);
struct quicklist_place quicklist_prev(struct quicklist_place place);
/* Asks for the memory of the elements at one end, in steps; false after the last one. Always
 * inline: gcc takes a function of prefetches for a pure one and drops the calls. */
static ALWAYS_INLINE bool quicklist_prefetch_end(const struct quicklist *q, bool at_tail,
                                                 unsigned step)
{
    const struct quicklist_node *node = at_tail ? q->last : q->first;
    if (step == 0) {
        __builtin_prefetch(node);
        return node != NULL;
    }
    const char *data = node->data;
    if (step == 1) {
        __builtin_prefetch(data);
        /* What comes in front is written there. */
        if (!at_tail && node->gap >= CACHE_LINE) __builtin_prefetch(data - CACHE_LINE, 1);
        return at_tail && !node->is_plain;
    }
    /* How long the last element is stands behind it, and it starts in the line before. */
    const char *end = data + listpack_bytes(node->data) - 2;
    __builtin_prefetch(end, 1);
    if (end - data > CACHE_LINE) __builtin_prefetch(end - CACHE_LINE);
    return false;
}
void quicklist_get(struct quicklist_place place, struct listpack_value *out);

/* ---- changing ---- */

MUST_USE bool quicklist_try_push(struct mem *mem, struct quicklist *q, int32_t limit, bool at_tail,
                                 struct bytes value);
MUST_USE bool quicklist_try_insert(struct mem *mem, struct quicklist *q, int32_t limit,
                                   struct quicklist_place place, bool after, struct bytes value);
MUST_USE bool quicklist_try_replace(struct mem *mem, struct quicklist *q, int32_t limit,
                                    struct quicklist_place place, struct bytes value);
/* Returns the place of the element that followed. What stands before stays where it is. */
struct quicklist_place quicklist_remove(struct mem *mem, struct quicklist *q,
                                        struct quicklist_place place);
/* `count` elements from that index (not negative) on, or all that are left. Nodes that go are put
 * into `aside`, to be freed at leisure; NULL: they are freed. */
void quicklist_delete_range(struct mem *mem, struct quicklist *q, uint64_t index, uint64_t count,
                            struct quicklist *aside);
