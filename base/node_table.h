/* node_table.h: an intrusive table of nodes by hash: channels, topics, subscriptions, tracked keys.
 *
 * Linear hashing: an insert splits at most one bucket and a removal joins at most two, so there is
 * no moment at which the whole table moves. Only the array of bucket heads doubles.
 *
 * Thread     its owner's.
 * Ownership  Nodes are the caller's, the array is the table's.
 * Errors     Without memory for more heads, chains get longer.
 * Source     Litwin, Linear hashing (1980).
 */
#pragma once

#include "base/mem.h"

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct node_table {
    struct table_node **heads;
    uint32_t capacity; /* of the array */
    uint32_t buckets;  /* in use */
    uint32_t count;    /* nodes */
    struct mem *mem;
};

void node_table_init(struct node_table *t, struct mem *mem);
/* The table must be empty. */
void node_table_deinit(struct node_table *t);

/* Several nodes may have the same hash. */
void node_table_insert(struct node_table *t, struct table_node *node, uint64_t hash);
/* The node must be in the table. */
void node_table_remove(struct node_table *t, struct table_node *node);

/* The first node of that hash, and the next one: the caller compares the rest. NULL: no more. */
struct table_node *node_table_find(const struct node_table *t, uint64_t hash);
struct table_node *node_table_find_next(const struct table_node *node);

/* Any node from bucket *bucket on, which is set to where the node is; NULL: none. For walks over
 * everything, in which nothing may be inserted. */
struct table_node *node_table_first_from(const struct node_table *t, uint32_t *bucket);

void node_table_validate(const struct node_table *t);
