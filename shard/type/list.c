#include "shard/type/list.h"

#include "shard/shard.h"
#include "shard/type/ziplist.h"

#define CONTAINER_PACKED 2

static bool is_packed(const struct list *l)
{
    return l->encoding == ENCODING_LISTPACK;
}

static struct listpack *packed(const struct list *l)
{
    return l->root;
}

static struct quicklist *quick(const struct list *l)
{
    return l->root;
}

static struct quicklist_place packed_place(uint32_t at)
{
    return (struct quicklist_place){.at = at};
}

/* ---- the whole ---- */

bool list_try_create(struct mem *mem, struct list *out)
{
    struct listpack *lp = listpack_try_create(mem);
    if (!lp) return false;
    *out = (struct list){lp, ENCODING_LISTPACK};
    return true;
}

static bool free_some(struct mem *mem, void *root, enum encoding encoding, uint64_t budget)
{
    if (encoding == ENCODING_QUICKLIST) return quicklist_free_some(mem, root, budget);
    listpack_free(mem, root);
    return true;
}

void list_free(struct mem *mem, struct list *l)
{
    CHECK(free_some(mem, l->root, l->encoding, UINT64_MAX));
}

uint64_t list_length(const struct list *l)
{
    return is_packed(l) ? listpack_length(packed(l)) : quick(l)->length;
}

void list_validate(const struct list *l)
{
    if (is_packed(l)) {
        listpack_validate(packed(l));
    } else {
        quicklist_validate(quick(l));
    }
}

/* ---- reading ---- */

struct quicklist_place list_seek(const struct list *l, int64_t index)
{
    if (!is_packed(l)) return quicklist_seek(quick(l), index);
    return packed_place(listpack_seek(packed(l), index));
}

struct quicklist_place list_next(const struct list *l, struct quicklist_place place)
{
    if (!is_packed(l)) return quicklist_next(place);
    return packed_place(listpack_next(packed(l), place.at));
}

struct quicklist_place list_prev(const struct list *l, struct quicklist_place place)
{
    if (!is_packed(l)) return quicklist_prev(place);
    return packed_place(listpack_prev(packed(l), place.at));
}

void list_get(const struct list *l, struct quicklist_place place, struct listpack_value *out)
{
    if (is_packed(l)) {
        listpack_get(packed(l), place.at, out);
    } else {
        quicklist_get(place, out);
    }
}

struct bytes list_text(const struct list *l, struct quicklist_place place, char *scratch)
{
    struct listpack_value v;
    list_get(l, place, &v);
    if (v.text) return bytes_make(v.text, v.size);
    return bytes_make(scratch, text_from_i64(scratch, v.integer));
}

/* ---- encodings ---- */

static bool become_quicklist(struct mem *mem, struct list *l)
{
    bool is_empty = listpack_first(packed(l)) == 0;
    struct quicklist *q =
        is_empty ? quicklist_try_create(mem) : quicklist_try_adopt(mem, packed(l));
    if (!q) return false;
    if (is_empty) listpack_free(mem, packed(l));
    *l = (struct list){q, ENCODING_QUICKLIST};
    return true;
}

bool list_try_prepare_packed(struct mem *mem, struct list *l, int32_t limit, uint64_t value_count,
                             uint64_t value_bytes)
{
    size_t bytes = listpack_bytes(packed(l)) + value_bytes;
    if (quicklist_limit_allows(limit, bytes, listpack_length(packed(l)) + value_count) &&
        !quicklist_is_plain_size(value_bytes))
        return true;
    return become_quicklist(mem, l);
}

/* Whether one listpack holds everything. */
static bool is_single_node(const struct quicklist *q)
{
    return q->node_count == 1 && !q->first->is_plain;
}

static void become_listpack(struct mem *mem, struct list *l)
{
    *l = (struct list){quicklist_take_single(mem, quick(l)), ENCODING_LISTPACK};
}

void list_shrink(struct mem *mem, struct list *l, int32_t limit)
{
    if (is_packed(l) || !is_single_node(quick(l))) return;
    const struct listpack *lp = quick(l)->first->data;
    /* Half of a count is rounded down, and of bytes there is nothing to round. */
    int32_t count_limit = limit < 0 ? limit : MAX(limit, 1) / 2;
    if (limit >= 0 && listpack_length(lp) > (uint64_t)count_limit) return;
    if (!quicklist_limit_allows(limit, 2 * listpack_bytes(lp), listpack_length(lp))) return;
    become_listpack(mem, l);
}

/* ---- changing ---- */

bool list_try_push_packed(struct mem *mem, struct list *l, enum list_end end, struct bytes value)
{
    struct listpack *lp = packed(l);
    bool done = end == LIST_TAIL ? listpack_try_append(mem, &lp, value)
                                 : listpack_try_prepend(mem, &lp, value);
    l->root = lp;
    return done;
}

bool list_try_insert(struct mem *mem, struct list *l, int32_t limit, struct quicklist_place place,
                     bool after, struct bytes value)
{
    if (!is_packed(l)) return quicklist_try_insert(mem, quick(l), limit, place, after, value);
    struct listpack *lp = packed(l);
    bool done = after ? listpack_try_insert_after(mem, &lp, place.at, value)
                      : listpack_try_insert(mem, &lp, place.at, value);
    l->root = lp;
    return done;
}

bool list_try_replace(struct mem *mem, struct list *l, int32_t limit, struct quicklist_place place,
                      struct bytes value)
{
    if (!is_packed(l)) return quicklist_try_replace(mem, quick(l), limit, place, value);
    struct listpack *lp = packed(l);
    bool done = listpack_try_replace(mem, &lp, place.at, value);
    l->root = lp;
    return done;
}

struct quicklist_place list_remove(struct mem *mem, struct list *l, struct quicklist_place place)
{
    if (!is_packed(l)) return quicklist_remove(mem, quick(l), place);
    struct listpack *lp = packed(l);
    place.at = listpack_delete(mem, &lp, place.at, 1);
    l->root = lp;
    return place;
}

void list_delete_range(struct mem *mem, struct list *l, uint64_t index, uint64_t count,
                       struct quicklist *aside)
{
    if (!is_packed(l)) {
        quicklist_delete_range(mem, quick(l), index, count, aside);
        return;
    }
    struct listpack *lp = packed(l);
    listpack_delete_range(mem, &lp, (int64_t)MIN(index, (uint64_t)INT64_MAX), count);
    l->root = lp;
}

/* ---- type_ops ---- */

static uint64_t effort(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_QUICKLIST ? ((const struct quicklist *)root)->node_count : 1;
}

static void *copy(struct mem *mem, const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_QUICKLIST) return quicklist_try_copy(mem, root);
    return listpack_try_copy(mem, root);
}

static uint64_t bytes(const void *root, enum encoding encoding, uint64_t samples)
{
    if (encoding == ENCODING_QUICKLIST) return quicklist_allocated(root, samples);
    return listpack_allocated(root);
}

static int32_t configured_limit(void)
{
    return shard_config_here()->list_max_listpack_size;
}

/* What loading makes of one listpack: another one, or a quicklist if it is over the limit. */
static bool loads_as_listpack(const struct listpack *lp)
{
    return quicklist_limit_allows(configured_limit(), listpack_bytes(lp), listpack_length(lp));
}

/* The type byte, with what keeps the encoding. */
static uint8_t frozen_type(const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) {
        return RDB_TYPE_LIST_QUICKLIST_2 | (loads_as_listpack(root) ? 0 : OBJECT_FROZEN_COMPACT);
    }
    const struct quicklist *q = root;
    bool would_change = is_single_node(q) && loads_as_listpack(q->first->data);
    return RDB_TYPE_LIST_QUICKLIST_2 | (would_change ? OBJECT_FROZEN_TABLE : 0);
}

static bool freeze(const void *root, enum encoding encoding, struct rdb_writer *out)
{
    if (!rdb_try_append_type(out, frozen_type(root, encoding))) return false;
    if (encoding == ENCODING_QUICKLIST) return quicklist_try_freeze(root, out);
    return rdb_try_append_length(out, 1) && rdb_try_append_length(out, CONTAINER_PACKED) &&
           rdb_try_append_string(out, listpack_view(root));
}

static struct quicklist *try_push(struct mem *mem, struct quicklist *q, struct bytes value)
{
    if (quicklist_try_push(mem, q, configured_limit(), true, value)) return q;
    CHECK(quicklist_free_some(mem, q, UINT64_MAX));
    return NULL;
}

/* One string after the other. */
static struct quicklist *try_thaw_strings(struct mem *mem, struct bytes *in)
{
    uint64_t count;
    if (!rdb_take_length(in, &count) || count == 0) return NULL;
    struct quicklist *q = quicklist_try_create(mem);
    for (uint64_t i = 0; q && i < count; i++) {
        struct rdb_string s;
        if (rdb_take_string(mem, in, &s)) {
            q = try_push(mem, q, s.text);
            rdb_string_free(mem, &s);
        } else {
            CHECK(quicklist_free_some(mem, q, UINT64_MAX));
            q = NULL;
        }
    }
    return q;
}

/* One ziplist that may be longer than a node may be. */
static struct quicklist *try_thaw_ziplist(struct mem *mem, struct bytes *in)
{
    struct rdb_string image;
    if (!rdb_take_string(mem, in, &image)) return NULL;
    struct listpack *lp = ziplist_try_to_listpack(mem, image.text);
    rdb_string_free(mem, &image);
    bool is_good = lp && listpack_first(lp);
    struct quicklist *q = is_good ? quicklist_try_create(mem) : NULL;
    for (uint32_t at = is_good ? listpack_first(lp) : 0; q && at; at = listpack_next(lp, at)) {
        char scratch[TEXT_I64_BYTES_MAX];
        q = try_push(mem, q, listpack_text(lp, at, scratch));
    }
    listpack_free(mem, lp);
    return q;
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    struct quicklist *q = NULL;
    uint8_t exact = rdb_type & OBJECT_FROZEN_EXACT;
    rdb_type &= (uint8_t)~OBJECT_FROZEN_EXACT;
    if (rdb_type == RDB_TYPE_LIST) {
        q = try_thaw_strings(mem, in);
    } else if (rdb_type == RDB_TYPE_LIST_ZIPLIST) {
        q = try_thaw_ziplist(mem, in);
    } else if (rdb_type == RDB_TYPE_LIST_QUICKLIST || rdb_type == RDB_TYPE_LIST_QUICKLIST_2) {
        q = quicklist_try_thaw(mem, (enum rdb_type)rdb_type, in);
    }
    if (!q) return NULL;
    struct list l = {q, ENCODING_QUICKLIST};
    bool can_be_listpack = is_single_node(q) && exact != OBJECT_FROZEN_TABLE;
    if (can_be_listpack && (exact == OBJECT_FROZEN_COMPACT || loads_as_listpack(q->first->data))) {
        become_listpack(mem, &l);
    }
    *encoding = l.encoding;
    return l.root;
}

static void digest(const void *root, enum encoding encoding, struct digest *out)
{
    struct list l = {(void *)(uintptr_t)root, encoding};
    struct quicklist_place place = list_seek(&l, 0);
    for (; list_place_exists(place); place = list_next(&l, place)) {
        char scratch[TEXT_I64_BYTES_MAX];
        digest_mix(out, list_text(&l, place, scratch));
    }
}

/* The node at the end that the command is about: its header, its listpack, and, at the tail, where
 * that ends. */
static bool prefetch(struct value_prefetch *p, unsigned step)
{
    bool at_tail = p->request->command->touches == TOUCHES_LAST;
    if (p->encoding == ENCODING_QUICKLIST) return quicklist_prefetch_end(p->root, at_tail, step);
    __builtin_prefetch((const char *)p->root + listpack_bytes(p->root) - 2);
    return false;
}

static void *defrag(struct defrag_walk *w, void *root, enum encoding encoding)
{
    if (encoding == ENCODING_QUICKLIST) return quicklist_defrag(w, root);
    w->cursor = 0;
    return defrag_block(w, root, listpack_allocated(root));
}

static struct big_value **big_slot(void *root, enum encoding encoding)
{
    return encoding == ENCODING_QUICKLIST ? &((struct quicklist *)root)->big : NULL;
}

static const struct big_value_ops big_ops = {.slot = big_slot,
                                             .begin = quicklist_big_begin,
                                             .step = quicklist_big_step,
                                             .effort_max = BIG_VALUE_NODES};

const struct type_ops list_ops = {
    .free_some = free_some,
    .effort = effort,
    .copy = copy,
    .bytes = bytes,
    .freeze = freeze,
    .thaw = thaw,
    .digest = digest,
    .prefetch = prefetch,
    .defrag = defrag,
    .big = &big_ops,
};
