/* dlist.h: intrusive, circular, doubly linked list.
 *
 * Ownership  The list owns nothing; an element must leave its list before its memory goes.
 * Order      A head linked to itself is the empty list. Insertion and removal are O(1).
 */
#pragma once

#include "base/check.h"

struct dlist {
    struct dlist *next, *prev;
};

static inline void dlist_init(struct dlist *head)
{
    head->next = head->prev = head;
}

static inline bool dlist_is_empty(const struct dlist *head)
{
    return head->next == head;
}

static inline void dlist_push_back(struct dlist *head, struct dlist *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* The node is linked to itself afterwards, so removing twice is harmless. */
static inline void dlist_remove(struct dlist *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

/* The first node, removed; NULL when empty. */
static inline struct dlist *dlist_pop_front(struct dlist *head)
{
    struct dlist *node = head->next;
    if (node == head) return NULL;
    dlist_remove(node);
    return node;
}

/* Moves all of `from` to the end of `to`, in order. */
static inline void dlist_splice(struct dlist *to, struct dlist *from)
{
    if (dlist_is_empty(from)) return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    dlist_init(from);
}

#define dlist_each(node, head)                                                                     \
    for (struct dlist *node = (head)->next; node != (head); node = node->next)
#define dlist_each_safe(node, head)                                                                \
    for (struct dlist *node = (head)->next, *node##_next = node->next; node != (head);             \
         node = node##_next, node##_next = node->next)
