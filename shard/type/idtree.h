/* idtree.h: a B+ tree from stream ids to pointers, in the order of the ids.
 *
 *     inner   [id child][id child] …           the id bounds the child from below; the first one
 *                │                             of a node is not looked at
 *     leaf    [id item][id item] …  ⇄  leaf  ⇄ …
 *
 * Ids mostly arrive in ascending order, so a leaf that is full at the end of the tree gets an empty
 * neighbour instead of being split. A node with few slots joins a neighbour of the same parent.
 *
 * Thread     [shard]
 * Ownership  Items are the caller's. A place is valid until the next insertion or removal.
 * Limits     31 slots in a node; the only leaf of a small tree has fewer.
 */
#pragma once

#include "base/mem.h"
#include "shard/defrag_walk.h"
#include "shard/type/stream_id.h"

#define IDTREE_SLOTS_MAX 31

struct idtree_node;

/* {.root = NULL} is a valid empty one. */
struct idtree {
    struct idtree_node *root;
    uint64_t count;
    uint64_t bytes; /* memory of the nodes */
    uint64_t node_count;
    uint32_t height; /* inner levels above the leaves */
};

/* `node` NULL: none. */
struct idtree_place {
    struct idtree_node *node;
    uint32_t index;
};

static inline bool idtree_place_exists(struct idtree_place place)
{
    return place.node != NULL;
}
struct stream_id idtree_id(struct idtree_place place);
void *idtree_item(struct idtree_place place);
void idtree_set_item(struct idtree_place place, void *item);

/* ---- O(log n) ---- */

/* NULL if there is none. */
void *idtree_find(const struct idtree *t, struct stream_id id);
/* The first one that is not smaller. */
struct idtree_place idtree_seek(const struct idtree *t, struct stream_id id);
/* The last one that is not greater. */
struct idtree_place idtree_seek_back(const struct idtree *t, struct stream_id id);
struct idtree_place idtree_first(const struct idtree *t);
struct idtree_place idtree_last(const struct idtree *t);
/* The id must be new, the item not NULL. */
void idtree_insert(struct mem *mem, struct idtree *t, struct stream_id id, void *item);
/* The item that was there; NULL if there was none. */
void *idtree_remove(struct mem *mem, struct idtree *t, struct stream_id id);
/* The last item, removed; NULL when the tree is empty. */
void *idtree_pop(struct mem *mem, struct idtree *t);

/* Moves the leaf whose range has `*id`, and the inner nodes above it, out of sparse slabs. `*first`
 * is its first slot; none in an empty tree. True: `*id` is now that of the next leaf; false: it was
 * the last one. */
MUST_USE bool idtree_defrag_leaf(struct defrag_walk *w, struct idtree *t, struct stream_id *id,
                                 struct idtree_place *first);

/* ---- O(1) ---- */

struct idtree_place idtree_next(struct idtree_place place);
struct idtree_place idtree_prev(struct idtree_place place);

void idtree_validate(const struct idtree *t);
