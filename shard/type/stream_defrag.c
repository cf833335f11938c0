/* stream_defrag.c: moves the blocks of a stream out of sparse slabs, a leaf of one of its trees at
 * a time.
 *
 *     cursor: 0 the stream itself, 1 its nodes, 2 + (group << 32 | tree) a tree of pending entries:
 *     0 the group's, then those of its consumers
 *
 * Where a tree goes on is an id, kept in the stream: any change between two calls leaves it good.
 * A consumer for which much is pending stays, as all of that points to it.
 */
#include "shard/type/stream_group.h"

#define CURSOR_NODES 1
#define CURSOR_GROUPS 2
/* A consumer with more pending entries stays. */
#define CONSUMER_PENDING_MAX 256

static void defrag_nodes(struct defrag_walk *w, struct idtree_place place)
{
    const struct idtree_node *leaf = place.node;
    for (; place.node == leaf; place = idtree_next(place)) {
        struct listpack *lp = idtree_item(place);
        idtree_set_item(place, defrag_block(w, lp, listpack_allocated(lp)));
    }
}

/* A pending entry stands in its consumer's tree, too. */
static void defrag_pending(struct defrag_walk *w, struct idtree_place place)
{
    const struct idtree_node *leaf = place.node;
    for (; place.node == leaf; place = idtree_next(place)) {
        struct stream_pending *old = idtree_item(place);
        struct stream_pending *p = defrag_block(w, old, sizeof *old);
        if (p == old) continue;
        idtree_set_item(place, p);
        idtree_set_item(idtree_seek(&p->consumer->pending, idtree_id(place)), p);
    }
}

static void defrag_name(struct defrag_walk *w, struct stream_name *n)
{
    if (n->data) n->data = defrag_block(w, n->data, n->size);
}

static struct stream_consumer *defrag_consumer(struct defrag_walk *w, struct stream_consumer *c)
{
    struct stream_consumer *moved = c;
    if (c->pending.count <= CONSUMER_PENDING_MAX) moved = defrag_block(w, c, sizeof *c);
    defrag_name(w, &moved->name);
    if (moved == c) return c;
    struct idtree_place place = idtree_first(&moved->pending);
    for (; idtree_place_exists(place); place = idtree_next(place))
        ((struct stream_pending *)idtree_item(place))->consumer = moved;
    return moved;
}

/* What a tree hangs from: the group, or a consumer of it. */
static void defrag_owner(struct defrag_walk *w, struct stream_group *g, uint64_t tree)
{
    if (tree > 0) {
        g->consumers[tree - 1] = defrag_consumer(w, g->consumers[tree - 1]);
        return;
    }
    size_t bytes = g->consumer_capacity * sizeof(struct stream_consumer *);
    defrag_name(w, &g->name);
    if (g->consumers) g->consumers = defrag_block(w, g->consumers, bytes);
}

/* The tree of the cursor; NULL: there is none any more. */
static struct idtree *tree_at(const struct stream *s, uint64_t group, uint64_t tree)
{
    if (group >= s->group_count) return NULL;
    struct stream_group *g = s->groups[group];
    if (tree == 0) return &g->pending;
    return tree <= g->consumer_count ? &g->consumers[tree - 1]->pending : NULL;
}

static void begin(struct defrag_walk *w, struct stream *s)
{
    size_t bytes = s->group_capacity * sizeof(struct stream_group *);
    if (s->groups) s->groups = defrag_block(w, s->groups, bytes);
    for (uint32_t i = 0; i < s->group_count; i++)
        s->groups[i] = defrag_block(w, s->groups[i], sizeof *s->groups[i]);
    s->defrag_next = STREAM_ID_MIN;
    w->cursor = CURSOR_NODES;
}

/* One leaf, or the step to the next tree. */
static void step(struct defrag_walk *w, struct stream *s)
{
    struct idtree_place place;
    if (w->cursor == CURSOR_NODES) {
        bool more = idtree_defrag_leaf(w, &s->nodes, &s->defrag_next, &place);
        if (idtree_place_exists(place)) defrag_nodes(w, place);
        if (more) return;
        w->cursor = s->group_count ? CURSOR_GROUPS : 0;
        s->defrag_next = STREAM_ID_MIN;
        return;
    }
    uint64_t group = (w->cursor - CURSOR_GROUPS) >> 32,
             tree = (uint32_t)(w->cursor - CURSOR_GROUPS);
    struct idtree *t = tree_at(s, group, tree);
    if (!t) {
        w->cursor = group < s->group_count ? CURSOR_GROUPS + ((group + 1) << 32) : 0;
        return;
    }
    if (stream_id_is_zero(s->defrag_next)) {
        defrag_owner(w, s->groups[group], tree);
        t = tree_at(s, group, tree);
    }
    bool more = idtree_defrag_leaf(w, t, &s->defrag_next, &place);
    if (tree == 0 && idtree_place_exists(place)) defrag_pending(w, place);
    if (more) return;
    w->cursor++;
    s->defrag_next = STREAM_ID_MIN;
}

void *stream_defrag(struct defrag_walk *w, void *root, UNUSED enum encoding encoding)
{
    struct stream *s = root;
    if (w->cursor == 0) {
        s = defrag_block(w, s, sizeof *s);
        begin(w, s);
    }
    do step(w, s);
    while (w->cursor && w->budget > 0);
    return s;
}
