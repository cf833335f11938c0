#include "shard/type/idtree.h"

/* Leaves hold IDTREE_SLOTS_MAX, inner nodes at least 2: 63 levels would be more than enough. */
#define LEVELS_MAX 64
/* A node with fewer slots looks for a neighbour to join, if both then leave some room. */
#define SLOTS_FEW (IDTREE_SLOTS_MAX / 3)
#define SLOTS_JOINED_MAX (IDTREE_SLOTS_MAX * 3 / 4)

struct slot {
    struct stream_id id;
    void *item; /* or the child */
};

struct idtree_node {
    struct idtree_node *prev, *next; /* of leaves */
    uint16_t count, capacity;
    struct slot slots[];
};
_Static_assert(sizeof(struct idtree_node) + IDTREE_SLOTS_MAX * sizeof(struct slot) == 768,
               "a size class of jemalloc");

/* The way from the root to a slot of a leaf. */
struct path {
    struct idtree_node *nodes[LEVELS_MAX]; /* [0] is the leaf */
    uint32_t indexes[LEVELS_MAX];
};

/* ---- nodes ---- */

static size_t node_bytes(unsigned capacity)
{
    return sizeof(struct idtree_node) + capacity * sizeof(struct slot);
}

static struct idtree_node *make_node(struct mem *mem, struct idtree *t, unsigned capacity)
{
    struct idtree_node *node = mem_alloc(mem, node_bytes(capacity));
    *node = (struct idtree_node){.capacity = (uint16_t)capacity};
    t->bytes += mem_class_bytes(node_bytes(capacity));
    t->node_count++;
    return node;
}

static void free_node(struct mem *mem, struct idtree *t, struct idtree_node *node)
{
    t->bytes -= mem_class_bytes(node_bytes(node->capacity));
    t->node_count--;
    mem_free(mem, node, node_bytes(node->capacity));
}

static void put_slot(struct idtree_node *node, uint32_t index, struct stream_id id, void *item)
{
    memmove(&node->slots[index + 1], &node->slots[index],
            (node->count - index) * sizeof *node->slots);
    node->slots[index] = (struct slot){id, item};
    node->count++;
}

static void take_slot(struct idtree_node *node, uint32_t index)
{
    node->count--;
    memmove(&node->slots[index], &node->slots[index + 1],
            (node->count - index) * sizeof *node->slots);
}

/* The first slot from `low` on whose id is not smaller; the count if there is none. */
static uint32_t lower_bound(const struct idtree_node *node, uint32_t low, struct stream_id id)
{
    uint32_t high = node->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (stream_id_compare(node->slots[middle].id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The child whose range has that id. The first bound says nothing. */
static uint32_t child_index(const struct idtree_node *node, struct stream_id id)
{
    uint32_t index = lower_bound(node, 1, id);
    bool is_exact = index < node->count && stream_id_compare(node->slots[index].id, id) == 0;
    return is_exact ? index : index - 1;
}

static void link_behind(struct idtree_node *left, struct idtree_node *node)
{
    node->prev = left;
    node->next = left->next;
    if (left->next) left->next->prev = node;
    left->next = node;
}

static void unlink_node(struct idtree_node *node)
{
    if (node->prev) node->prev->next = node->next;
    if (node->next) node->next->prev = node->prev;
}

/* ---- defragmentation ---- */

static struct idtree_node *defrag_node(struct defrag_walk *w, struct idtree_node *node)
{
    return defrag_block(w, node, node_bytes(node->capacity));
}

bool idtree_defrag_leaf(struct defrag_walk *w, struct idtree *t, struct stream_id *id,
                        struct idtree_place *first)
{
    *first = (struct idtree_place){.node = NULL};
    if (!t->root) return false;
    struct idtree_node *node = t->root = defrag_node(w, t->root);
    for (uint32_t level = t->height; level > 0; level--) {
        struct slot *slot = &node->slots[child_index(node, *id)];
        node = slot->item = defrag_node(w, slot->item);
    }
    if (node->prev) node->prev->next = node;
    if (node->next) node->next->prev = node;
    if (node->count > 0) *first = (struct idtree_place){node, 0};
    if (!node->next) return false;
    *id = node->next->slots[0].id;
    return true;
}

/* ---- finding ---- */

static void find_path(const struct idtree *t, struct stream_id id, struct path *p)
{
    struct idtree_node *node = t->root;
    for (uint32_t level = t->height; level > 0; level--) {
        p->nodes[level] = node;
        p->indexes[level] = child_index(node, id);
        node = node->slots[p->indexes[level]].item;
    }
    p->nodes[0] = node;
    p->indexes[0] = lower_bound(node, 0, id);
}

static struct idtree_node *find_leaf(const struct idtree *t, struct stream_id id)
{
    struct idtree_node *node = t->root;
    for (uint32_t level = t->height; level > 0; level--) {
        node = node->slots[child_index(node, id)].item;
    }
    return node;
}

static struct idtree_place place_at(struct idtree_node *node, uint32_t index)
{
    return (struct idtree_place){node, index};
}

struct stream_id idtree_id(struct idtree_place place)
{
    return place.node->slots[place.index].id;
}

void *idtree_item(struct idtree_place place)
{
    return place.node->slots[place.index].item;
}

void idtree_set_item(struct idtree_place place, void *item)
{
    place.node->slots[place.index].item = item;
}

struct idtree_place idtree_seek(const struct idtree *t, struct stream_id id)
{
    if (!t->root) return place_at(NULL, 0);
    struct idtree_node *leaf = find_leaf(t, id);
    uint32_t index = lower_bound(leaf, 0, id);
    return index < leaf->count ? place_at(leaf, index) : place_at(leaf->next, 0);
}

struct idtree_place idtree_seek_back(const struct idtree *t, struct stream_id id)
{
    if (!t->root) return place_at(NULL, 0);
    struct idtree_node *leaf = find_leaf(t, id);
    uint32_t index = lower_bound(leaf, 0, id);
    struct idtree_place place = place_at(leaf, index);
    if (index < leaf->count && stream_id_compare(leaf->slots[index].id, id) == 0) return place;
    return idtree_prev(place);
}

void *idtree_find(const struct idtree *t, struct stream_id id)
{
    if (!t->root) return NULL;
    const struct idtree_node *leaf = find_leaf(t, id);
    uint32_t index = lower_bound(leaf, 0, id);
    if (index == leaf->count || stream_id_compare(leaf->slots[index].id, id) != 0) return NULL;
    return leaf->slots[index].item;
}

struct idtree_place idtree_first(const struct idtree *t)
{
    return idtree_seek(t, STREAM_ID_MIN);
}

struct idtree_place idtree_last(const struct idtree *t)
{
    return idtree_seek_back(t, STREAM_ID_MAX);
}

struct idtree_place idtree_next(struct idtree_place place)
{
    if (++place.index < place.node->count) return place;
    return place_at(place.node->next, 0);
}

struct idtree_place idtree_prev(struct idtree_place place)
{
    if (place.index > 0) return place_at(place.node, place.index - 1);
    struct idtree_node *prev = place.node->prev;
    return place_at(prev, prev ? prev->count - 1u : 0);
}

/* ---- inserting ---- */

/* The capacities of a leaf that is alone. */
static unsigned capacity_for(unsigned count)
{
    static const uint16_t capacities[] = {1, 4, 12, IDTREE_SLOTS_MAX};
    unsigned i = 0;
    while (capacities[i] < count) i++;
    return capacities[i];
}

static void resize_root(struct mem *mem, struct idtree *t, unsigned capacity)
{
    struct idtree_node *old = t->root;
    t->root = make_node(mem, t, capacity);
    t->root->count = old->count;
    memcpy(t->root->slots, old->slots, old->count * sizeof *old->slots);
    free_node(mem, t, old);
}

/* A new right neighbour for a full node, with what stands from `from` on. */
static struct idtree_node *split(struct mem *mem, struct idtree *t, struct idtree_node *node,
                                 uint32_t from)
{
    struct idtree_node *right = make_node(mem, t, IDTREE_SLOTS_MAX);
    right->count = (uint16_t)(node->count - from);
    memcpy(right->slots, &node->slots[from], right->count * sizeof *right->slots);
    node->count = (uint16_t)from;
    return right;
}

/* Puts a slot in the node of that level, which is split if it must be. */
static void insert_at(struct mem *mem, struct idtree *t, struct path *p, uint32_t level,
                      const struct slot *slot)
{
    struct idtree_node *node = p->nodes[level];
    uint32_t index = p->indexes[level];
    if (node->count < node->capacity) {
        put_slot(node, index, slot->id, slot->item);
        return;
    }
    uint32_t from = index == node->count ? index : node->count / 2u;
    struct idtree_node *right = split(mem, t, node, from);
    if (level == 0) link_behind(node, right);
    if (index >= from) {
        put_slot(right, index - from, slot->id, slot->item);
    } else {
        put_slot(node, index, slot->id, slot->item);
    }
    struct slot above = {right->slots[0].id, right};
    if (level < t->height) {
        p->indexes[level + 1]++;
        insert_at(mem, t, p, level + 1, &above);
        return;
    }
    struct idtree_node *root = make_node(mem, t, IDTREE_SLOTS_MAX);
    put_slot(root, 0, node->slots[0].id, node);
    put_slot(root, 1, above.id, above.item);
    t->root = root;
    t->height++;
}

void idtree_insert(struct mem *mem, struct idtree *t, struct stream_id id, void *item)
{
    if (!t->root) t->root = make_node(mem, t, capacity_for(1));
    if (t->height == 0 && t->root->count == t->root->capacity &&
        t->root->capacity < IDTREE_SLOTS_MAX) {
        resize_root(mem, t, capacity_for(t->root->count + 1u));
    }
    struct path p;
    find_path(t, id, &p);
    insert_at(mem, t, &p, 0, &(struct slot){id, item});
    t->count++;
}

/* ---- removing ---- */

/* Appends the right one of two neighbours under `parent` to the left one. */
static void join(struct mem *mem, struct idtree *t, struct idtree_node *parent, uint32_t right_at,
                 bool are_leaves)
{
    struct idtree_node *left = parent->slots[right_at - 1].item;
    struct idtree_node *right = parent->slots[right_at].item;
    /* The first bound of an inner node has not counted so far. */
    if (!are_leaves) right->slots[0].id = parent->slots[right_at].id;
    memcpy(&left->slots[left->count], right->slots, right->count * sizeof *right->slots);
    left->count = (uint16_t)(left->count + right->count);
    unlink_node(right);
    free_node(mem, t, right);
    take_slot(parent, right_at);
}

static bool can_join(const struct idtree_node *parent, uint32_t right_at)
{
    if (right_at == 0 || right_at >= parent->count) return false;
    const struct idtree_node *left = parent->slots[right_at - 1].item;
    const struct idtree_node *right = parent->slots[right_at].item;
    return left->count + right->count <= SLOTS_JOINED_MAX;
}

/* After a slot of the node at that level has gone. */
static void tidy(struct mem *mem, struct idtree *t, struct path *p)
{
    for (uint32_t level = 0; level < t->height; level++) {
        struct idtree_node *node = p->nodes[level], *parent = p->nodes[level + 1];
        uint32_t index = p->indexes[level + 1];
        if (node->count >= SLOTS_FEW) return;
        if (node->count == 0) {
            unlink_node(node);
            free_node(mem, t, node);
            take_slot(parent, index);
        } else if (can_join(parent, index + 1)) {
            join(mem, t, parent, index + 1, level == 0);
        } else if (can_join(parent, index)) {
            join(mem, t, parent, index, level == 0);
        } else {
            return;
        }
    }
}

/* A root with one child, or none, is not needed. */
static void lower(struct mem *mem, struct idtree *t)
{
    while (t->height > 0 && t->root->count == 1) {
        struct idtree_node *root = t->root;
        t->root = root->slots[0].item;
        t->height--;
        free_node(mem, t, root);
    }
    if (t->root->count == 0) {
        free_node(mem, t, t->root);
        t->root = NULL;
        t->height = 0;
    } else if (t->height == 0 && t->root->count <= t->root->capacity / 4) {
        resize_root(mem, t, capacity_for(t->root->count));
    }
}

void *idtree_remove(struct mem *mem, struct idtree *t, struct stream_id id)
{
    if (!t->root) return NULL;
    struct path p;
    find_path(t, id, &p);
    struct idtree_node *leaf = p.nodes[0];
    uint32_t index = p.indexes[0];
    if (index == leaf->count || stream_id_compare(leaf->slots[index].id, id) != 0) return NULL;
    void *item = leaf->slots[index].item;
    take_slot(leaf, index);
    t->count--;
    tidy(mem, t, &p);
    lower(mem, t);
    return item;
}

void *idtree_pop(struct mem *mem, struct idtree *t)
{
    struct idtree_place last = idtree_last(t);
    return last.node ? idtree_remove(mem, t, idtree_id(last)) : NULL;
}

/* ---- invariants ---- */

struct validation {
    const struct idtree_node *leaf; /* the last one seen */
    uint64_t count, bytes;
    struct stream_id last;
};

static void validate_leaf(const struct idtree_node *node, struct validation *v)
{
    CHECK(node->prev == v->leaf && (!v->leaf || v->leaf->next == node));
    v->leaf = node;
    for (uint32_t i = 0; i < node->count; i++, v->count++) {
        CHECK(v->count == 0 || stream_id_compare(v->last, node->slots[i].id) < 0);
        CHECK(node->slots[i].item);
        v->last = node->slots[i].id;
    }
}

/* Each level is one deeper than its caller, so this ends. */
static void validate_node(const struct idtree_node *node, uint32_t level, struct validation *v)
{
    CHECK(node->count > 0 && node->count <= node->capacity);
    v->bytes += mem_class_bytes(node_bytes(node->capacity));
    if (level == 0) {
        validate_leaf(node, v);
        return;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        CHECK(i == 0 || stream_id_compare(v->last, node->slots[i].id) < 0);
        const struct idtree_node *left = v->leaf;
        validate_node(node->slots[i].item, level - 1, v);
        if (i == 0 || !left || !left->next) continue;
        CHECK(stream_id_compare(left->next->slots[0].id, node->slots[i].id) >= 0);
    }
}

void idtree_validate(const struct idtree *t)
{
    struct validation v = {.leaf = NULL};
    if (t->root) validate_node(t->root, t->height, &v);
    CHECK(!v.leaf || !v.leaf->next);
    CHECK(v.count == t->count && v.bytes == t->bytes);
}
