/* quicklist_walk.c: long lists, serialised in slices while they change.
 *
 *     taken          to be taken                    put aside
 *     ─────────────┬──────────────────────────────┬───────────────
 *     (head)       first                       last           (tail)
 *
 * Nodes are taken from `first` on. The node `last`, when it is about to change, is put aside as it
 * is; so are those before it, one by one. When `first` is about to change it is taken. A change in
 * between, where nothing can be told from the node's place, takes all that is left. Nodes that came
 * later have the list's colour and are passed over; `first` and `last` never do.
 */
#include "base/text.h"
#include "shard/big_value.h"
#include "shard/type/quicklist.h"

/* What is put aside: a head, then the bytes. An image is at the end, so its head stands behind it.
 */
struct aside {
    size_t size;
    bool is_plain;
};

static struct bytes image_of(const struct quicklist_node *node)
{
    if (node->is_plain) return bytes_make(node->data, node->bytes);
    return listpack_view(node->data);
}

static bool is_taken(const struct quicklist *q, const struct quicklist_node *node)
{
    return node->colour == q->colour;
}

static void mark_taken(const struct quicklist *q, struct quicklist_node *node)
{
    node->colour = q->colour & 1;
}

void quicklist_big_begin(struct big_value *v)
{
    struct quicklist *q = v->root;
    q->colour ^= 1;
    v->rdb_type = RDB_TYPE_LIST_QUICKLIST_2;
    v->count = q->node_count;
    v->first = q->first;
    v->last = q->last;
}

/* ---- images ---- */

static void put_elements(struct big_value *v, const struct listpack *lp)
{
    char scratch[TEXT_I64_BYTES_MAX];
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        big_value_put(v, listpack_text(lp, at, scratch));
        big_value_end_element(v);
    }
}

static void put_image(struct big_value *v, struct bytes image, bool is_plain)
{
    if (!big_value_is_command(v)) {
        big_value_put_length(v, is_plain ? QUICKLIST_PLAIN : QUICKLIST_PACKED);
        big_value_put(v, image);
    } else if (!is_plain) {
        put_elements(v, (const struct listpack *)(const void *)image.data);
        return;
    } else {
        big_value_put(v, image);
    }
    big_value_end_element(v);
}

static void take_first(struct big_value *v)
{
    const struct quicklist *q = v->root;
    struct quicklist_node *node = v->first, *next = node->next;
    mark_taken(q, node);
    put_image(v, image_of(node), node->is_plain);
    bool is_last = node == v->last;
    while (!is_last && is_taken(q, next)) next = next->next;
    v->first = is_last ? NULL : next;
    if (is_last) v->last = NULL;
}

/* Each image starts and ends where it is aligned, as listpacks are. */
static void put_aside(struct big_value *v)
{
    const struct quicklist *q = v->root;
    struct quicklist_node *node = v->last, *prev = node->prev;
    struct aside head = {.size = image_of(node).size, .is_plain = node->is_plain};
    size_t padded = (head.size + 15) & ~(size_t)15;
    char *p = buf_reserve(&v->aside, padded + 16);
    memcpy(p, image_of(node).data, head.size);
    memcpy(p + padded, &head, sizeof head);
    v->aside.size += padded + 16;
    mark_taken(q, node);
    while (is_taken(q, prev)) prev = prev->prev;
    v->last = prev;
}
_Static_assert(sizeof(struct aside) <= 16, "room for the head");

/* The last one that was put aside is the next one of the list. */
static void take_aside(struct big_value *v)
{
    struct aside head;
    v->aside.size -= 16;
    memcpy(&head, v->aside.data + v->aside.size, sizeof head);
    v->aside.size -= (head.size + 15) & ~(size_t)15;
    put_image(v, bytes_make(v->aside.data + v->aside.size, head.size), head.is_plain);
}

/* ---- steps ---- */

bool quicklist_big_step(struct big_value *v)
{
    while (v->first || v->aside.size > 0) {
        if (v->first)
            take_first(v);
        else
            take_aside(v);
        if (!big_value_may_go_on(v)) break;
    }
    return !v->first && v->aside.size == 0;
}

void quicklist_big_save(struct quicklist *q, struct quicklist_node *node)
{
    struct big_value *v = q->big;
    if (node == v->first)
        take_first(v);
    else if (node == v->last)
        put_aside(v);
    else
        big_value_finish(v);
}
