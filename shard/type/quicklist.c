#include "shard/type/quicklist.h"

#include "shard/big_value.h"
#include "shard/shard.h"
#include "shard/type/ziplist.h"

#define NODE_BYTES_MIN 4096    /* limit -1; each step doubles */
#define LIMIT_LOWEST (-5)      /* 64 KiB */
#define COUNTED_BYTES_MAX 8192 /* of a node, when the limit counts elements */

/* What Redis reckons that an element takes beyond its text: with it nodes are as full as Redis's.
 */
#define OVERHEAD_BYTES 8

#define FIELD_MASK(bits) (((uint64_t)1 << (bits)) - 1)

/* ---- list-max-listpack-size ---- */

static inline size_t limit_bytes(int32_t limit)
{
    return limit < 0 ? (size_t)NODE_BYTES_MIN << (-MAX(limit, LIMIT_LOWEST) - 1)
                     : COUNTED_BYTES_MAX;
}

bool quicklist_limit_allows(int32_t limit, size_t bytes, uint64_t count)
{
    if (bytes > limit_bytes(limit)) return false;
    return limit < 0 || count <= (uint64_t)MAX(limit, 1);
}

bool quicklist_is_plain_size(uint64_t value_bytes)
{
    uint64_t min = shard_config_here()->list_plain_bytes_min;
    return unlikely(min > 0) && value_bytes >= min;
}

/* Whether the value needs a node of its own. */
static inline bool is_large(int32_t limit, struct bytes value)
{
    return value.size > limit_bytes(limit) - LISTPACK_ELEMENT_BYTES_MAX(LISTPACK_EMPTY_BYTES) ||
           quicklist_is_plain_size(value.size);
}

/* ---- nodes ---- */

static bool is_plain(const struct quicklist_node *node)
{
    return node->is_plain;
}

static struct listpack *packed(const struct quicklist_node *node)
{
    return node->data;
}

static uint64_t node_length(const struct quicklist_node *node)
{
    return is_plain(node) ? 1 : listpack_length(packed(node));
}

static struct listpack_block block_of(const struct quicklist_node *node)
{
    return (struct listpack_block){packed(node), node->gap, (uint32_t)node->bytes};
}

static void set_block(struct quicklist_node *node, const struct listpack_block *b)
{
    node->data = b->lp;
    node->gap = b->gap & FIELD_MASK(QUICKLIST_GAP_BITS);
    node->bytes = b->bytes;
}

/* A listpack that fits its block. */
static void set_packed(struct quicklist_node *node, struct listpack *lp)
{
    struct listpack_block b = listpack_block_of(lp);
    set_block(node, &b);
}

static void free_data(struct mem *mem, struct quicklist_node *node)
{
    if (is_plain(node)) {
        mem_free(mem, node->data, node->bytes);
    } else {
        struct listpack_block b = block_of(node);
        listpack_block_free(mem, &b);
    }
}

/* Before a node changes or goes. */
static void guard(struct quicklist *q, struct quicklist_node *node)
{
    if (unlikely(q->big != NULL) && node->colour != q->colour) quicklist_big_save(q, node);
}

/* The listpack as one that fits, which all functions take. Positions stay valid. */
static struct listpack *packed_whole(struct mem *mem, struct quicklist_node *node)
{
    struct listpack_block b = block_of(node);
    listpack_block_fit(mem, &b);
    set_block(node, &b);
    return b.lp;
}

/* The same, if that saves memory: moving everything takes time. */
static void give_room_back(struct mem *mem, struct quicklist_node *node)
{
    if (listpack_allocated(packed(node)) < node->bytes) packed_whole(mem, node);
}

/* Removes elements of a listpack; what follows stands at the position that is returned, 0: none. */
static uint32_t delete_packed(struct mem *mem, struct quicklist_node *node, uint32_t at,
                              uint64_t count)
{
    struct listpack_block b = block_of(node);
    at = listpack_block_delete(mem, &b, at, count);
    set_block(node, &b);
    /* In the middle of the list nothing more is to be expected. */
    if (node->prev && node->next) give_room_back(mem, node);
    return at;
}

/* Takes the node out of the list. Its elements must have been counted off. */
static void unlink_node(struct quicklist *q, struct quicklist_node *node)
{
    guard(q, node);
    *(node->prev ? &node->prev->next : &q->first) = node->next;
    *(node->next ? &node->next->prev : &q->last) = node->prev;
    if (unlikely(q->bookmark == node)) q->bookmark = node->next;
    q->node_count--;
}

/* The same, and frees it. */
static void drop_node(struct mem *mem, struct quicklist *q, struct quicklist_node *node)
{
    unlink_node(q, node);
    free_data(mem, node);
    mem_free(mem, node, sizeof *node);
}

/* Puts a node behind `prev`; NULL: at the start. Its elements are counted. */
static void link_node(struct quicklist *q, struct quicklist_node *prev, struct quicklist_node *node)
{
    node->colour = q->colour & 1;
    node->prev = prev;
    node->next = prev ? prev->next : q->first;
    *(node->prev ? &node->prev->next : &q->first) = node;
    *(node->next ? &node->next->prev : &q->last) = node;
    q->node_count++;
    q->length += node_length(node);
}

/* A node around data that the caller has made; takes it over, also on failure. */
static struct quicklist_node *try_make_node(struct mem *mem, void *data, size_t plain_bytes)
{
    struct quicklist_node *node = mem_try_alloc(mem, sizeof *node);
    struct quicklist_node stand_in = {.data = data,
                                      .bytes = plain_bytes & FIELD_MASK(QUICKLIST_BYTES_BITS),
                                      .is_plain = plain_bytes > 0};
    if (!plain_bytes) set_packed(&stand_in, data);
    if (node) {
        *node = stand_in;
    } else {
        free_data(mem, &stand_in);
    }
    return node;
}

static struct quicklist_node *try_make_plain(struct mem *mem, struct bytes value)
{
    char *data = mem_try_alloc(mem, value.size);
    if (!data) return NULL;
    memcpy(data, value.data, value.size);
    return try_make_node(mem, data, value.size);
}

/* Where a new node goes: more elements will come at the ends of the list. */
enum spot { SPOT_INSIDE, SPOT_HEAD, SPOT_TAIL };

/* Of what a node may take, to begin with; in a list of so many nodes all of it. */
#define ROOM_SHARE 4
#define LONG_NODES 8

static size_t room_to_begin_with(const struct quicklist *q, int32_t limit, enum spot spot)
{
    if (spot == SPOT_INSIDE || limit >= 0) return 0;
    return q->node_count < LONG_NODES ? limit_bytes(limit) / ROOM_SHARE : limit_bytes(limit);
}

/* A node of that one element. */
static struct quicklist_node *try_make_single(struct mem *mem, const struct quicklist *q,
                                              int32_t limit, enum spot spot, struct bytes value)
{
    if (is_large(limit, value)) return try_make_plain(mem, value);
    size_t room = room_to_begin_with(q, limit, spot);
    struct listpack_block b;
    if (!listpack_block_try_create(mem, room, spot == SPOT_HEAD, &b)) return NULL;
    bool done = spot == SPOT_HEAD ? listpack_block_try_prepend(mem, &b, value, limit_bytes(limit))
                                  : listpack_block_try_append(mem, &b, value, limit_bytes(limit));
    struct quicklist_node *node = done ? mem_try_alloc(mem, sizeof *node) : NULL;
    if (!node) {
        listpack_block_free(mem, &b);
        return NULL;
    }
    *node = (struct quicklist_node){.prev = NULL};
    set_block(node, &b);
    return node;
}

/* Whether a node can take one more element. */
static inline bool can_take(const struct quicklist_node *node, int32_t limit, struct bytes value)
{
    if (!node || is_plain(node) || is_large(limit, value)) return false;
    size_t bytes = listpack_bytes(packed(node)) + value.size + OVERHEAD_BYTES;
    if (bytes > limit_bytes(limit)) return false;
    return limit < 0 || quicklist_limit_allows(limit, bytes, node_length(node) + 1);
}

/* In `node` before `at`, 0: at its end. */
static bool insert_packed(struct mem *mem, struct quicklist *q, struct quicklist_node *node,
                          int32_t limit, uint32_t at, struct bytes value)
{
    bool done;
    guard(q, node);
    if (at != 0 && at != LISTPACK_HEADER_BYTES) {
        struct listpack *lp = packed_whole(mem, node);
        done = listpack_try_insert(mem, &lp, at, value);
        set_packed(node, lp);
    } else {
        struct listpack_block b = block_of(node);
        done = at == 0 ? listpack_block_try_append(mem, &b, value, limit_bytes(limit))
                       : listpack_block_try_prepend(mem, &b, value, limit_bytes(limit));
        set_block(node, &b);
    }
    q->length += done;
    return done;
}

static bool insert_node(struct mem *mem, struct quicklist *q, struct quicklist_node *prev,
                        int32_t limit, struct bytes value)
{
    struct quicklist_node *node = try_make_single(mem, q, limit, SPOT_INSIDE, value);
    if (node) link_node(q, prev, node);
    return node != NULL;
}

/* Puts the elements from `at` on in a node of their own, behind it. */
static bool split_node(struct mem *mem, struct quicklist *q, struct quicklist_node *node,
                       uint32_t at)
{
    struct quicklist_node *tail = mem_try_alloc(mem, sizeof *tail);
    if (!tail) return false;
    guard(q, node);
    struct listpack *lp = packed_whole(mem, node);
    struct listpack *rest = listpack_try_split(mem, &lp, at);
    if (!rest) {
        mem_free(mem, tail, sizeof *tail);
        return false;
    }
    *tail = (struct quicklist_node){.prev = NULL};
    set_packed(tail, rest);
    set_packed(node, lp);
    q->length -= node_length(tail);
    link_node(q, node, tail);
    return true;
}

/* ---- the whole ---- */

struct quicklist *quicklist_try_create(struct mem *mem)
{
    struct quicklist *q = mem_try_alloc(mem, sizeof *q);
    if (q) *q = (struct quicklist){.first = NULL};
    return q;
}

struct quicklist *quicklist_try_adopt(struct mem *mem, struct listpack *lp)
{
    struct quicklist *q = quicklist_try_create(mem);
    struct quicklist_node *node = q ? mem_try_alloc(mem, sizeof *node) : NULL;
    if (!node) {
        mem_free(mem, q, sizeof *q);
        return NULL;
    }
    *node = (struct quicklist_node){.prev = NULL};
    set_packed(node, lp);
    link_node(q, NULL, node);
    return q;
}

bool quicklist_free_some(struct mem *mem, struct quicklist *q, uint64_t budget)
{
    CHECK(!q->big);
    for (; q->first && budget; budget--) drop_node(mem, q, q->first);
    if (q->first) return false;
    mem_free(mem, q, sizeof *q);
    return true;
}

static void free_all(struct mem *mem, struct quicklist *q)
{
    CHECK(quicklist_free_some(mem, q, UINT64_MAX));
}

static struct quicklist_node *try_copy_node(struct mem *mem, const struct quicklist_node *node)
{
    if (is_plain(node)) return try_make_plain(mem, bytes_make(node->data, node->bytes));
    struct listpack *lp = listpack_try_copy(mem, packed(node));
    return lp ? try_make_node(mem, lp, 0) : NULL;
}

struct quicklist *quicklist_try_copy(struct mem *mem, const struct quicklist *q)
{
    struct quicklist *copy = quicklist_try_create(mem);
    if (!copy) return NULL;
    for (const struct quicklist_node *node = q->first; node; node = node->next) {
        struct quicklist_node *other = try_copy_node(mem, node);
        if (!other) {
            free_all(mem, copy);
            return NULL;
        }
        link_node(copy, copy->last, other);
    }
    return copy;
}

uint64_t quicklist_allocated(const struct quicklist *q, uint64_t node_samples)
{
    uint64_t data = 0, seen = 0;
    const struct quicklist_node *node = q->first;
    for (; node && (node_samples == 0 || seen < node_samples); node = node->next, seen++) {
        data += mem_class_bytes(node->bytes);
    }
    if (seen) data = (uint64_t)((double)data / (double)seen * (double)q->node_count);
    return mem_class_bytes(sizeof *q) + q->node_count * mem_class_bytes(sizeof *node) + data;
}

/* ---- the serialised form ---- */

bool quicklist_try_freeze(const struct quicklist *q, struct rdb_writer *out)
{
    if (!rdb_try_append_length(out, q->node_count)) return false;
    for (const struct quicklist_node *node = q->first; node; node = node->next) {
        struct bytes bytes =
            is_plain(node) ? bytes_make(node->data, node->bytes) : listpack_view(packed(node));
        if (!rdb_try_append_length(out, is_plain(node) ? QUICKLIST_PLAIN : QUICKLIST_PACKED) ||
            !rdb_try_append_string(out, bytes)) {
            return false;
        }
    }
    return true;
}

/* Links a node of that listpack, which it takes over. Old servers have left nodes without elements
 * in their files: those are passed over. */
static bool link_packed(struct mem *mem, struct quicklist *q, struct listpack *lp)
{
    if (lp && !listpack_first(lp)) {
        listpack_free(mem, lp);
        return true;
    }
    struct quicklist_node *node = lp ? try_make_node(mem, lp, 0) : NULL;
    if (node) link_node(q, q->last, node);
    return node != NULL;
}

static bool link_plain(struct mem *mem, struct quicklist *q, struct bytes value)
{
    struct quicklist_node *node = value.size > 0 ? try_make_plain(mem, value) : NULL;
    if (node) link_node(q, q->last, node);
    return node != NULL;
}

static bool thaw_node(struct mem *mem, enum rdb_type rdb_type, struct bytes *in,
                      struct quicklist *q)
{
    bool is_ziplist = rdb_type != RDB_TYPE_LIST_QUICKLIST_2;
    uint64_t container = QUICKLIST_PACKED;
    struct rdb_string image;
    if (!is_ziplist && !rdb_take_length(in, &container)) return false;
    if (container != QUICKLIST_PLAIN && container != QUICKLIST_PACKED) return false;
    if (!rdb_take_string(mem, in, &image)) return false;
    bool done;
    if (container == QUICKLIST_PLAIN) {
        done = link_plain(mem, q, image.text);
    } else {
        done = link_packed(mem, q,
                           is_ziplist ? ziplist_try_to_listpack(mem, image.text)
                                      : listpack_try_from_bytes(mem, image.text));
    }
    rdb_string_free(mem, &image);
    return done;
}

struct quicklist *quicklist_try_thaw(struct mem *mem, enum rdb_type rdb_type, struct bytes *in)
{
    uint64_t node_count;
    if (!rdb_take_length(in, &node_count)) return NULL;
    struct quicklist *q = quicklist_try_create(mem);
    bool is_good = q != NULL;
    for (uint64_t i = 0; is_good && i < node_count; i++) is_good = thaw_node(mem, rdb_type, in, q);
    if (is_good && q->length > 0) return q;
    if (q) free_all(mem, q);
    return NULL;
}

struct listpack *quicklist_take_single(struct mem *mem, struct quicklist *q)
{
    big_value_settle_root(q->big);
    struct listpack *lp = packed_whole(mem, q->first);
    mem_free(mem, q->first, sizeof *q->first);
    mem_free(mem, q, sizeof *q);
    return lp;
}

void quicklist_validate(const struct quicklist *q)
{
    uint64_t nodes = 0, elements = 0;
    const struct quicklist_node *prev = NULL;
    for (const struct quicklist_node *node = q->first; node; prev = node, node = node->next) {
        CHECK(node->prev == prev);
        nodes++;
        elements += node_length(node);
        CHECK(node_length(node) > 0);
        CHECK(!is_plain(node) || node->gap == 0);
        if (is_plain(node)) continue;
        listpack_validate(packed(node));
        CHECK(node->gap + listpack_bytes(packed(node)) <= node->bytes);
    }
    CHECK(q->last == prev);
    CHECK(q->node_count == nodes && q->length == elements);
}

/* ---- reading ---- */

static struct quicklist_place first_of(struct quicklist_node *node)
{
    uint32_t at = node && !is_plain(node) ? listpack_first(packed(node)) : 0;
    return (struct quicklist_place){node, at};
}

static struct quicklist_place last_of(struct quicklist_node *node)
{
    uint32_t at = node && !is_plain(node) ? listpack_last(packed(node)) : 0;
    return (struct quicklist_place){node, at};
}

struct quicklist_place quicklist_seek(const struct quicklist *q, int64_t index)
{
    int64_t length = (int64_t)q->length;
    if (index < 0) index += length;
    if (index < 0 || index >= length) return (struct quicklist_place){.node = NULL};
    if (index == length - 1) return last_of(q->last);
    struct quicklist_node *node;
    if (index <= length / 2) {
        for (node = q->first; index >= (int64_t)node_length(node); node = node->next) {
            index -= (int64_t)node_length(node);
        }
    } else {
        index -= length; /* from the end, negative, from here on */
        for (node = q->last; - index > (int64_t)node_length(node); node = node->prev) {
            index += (int64_t)node_length(node);
        }
    }
    if (is_plain(node)) return (struct quicklist_place){.node = node};
    return (struct quicklist_place){node, listpack_seek(packed(node), index)};
}

struct quicklist_place quicklist_next(struct quicklist_place place)
{
    if (!is_plain(place.node)) {
        place.at = listpack_next(packed(place.node), place.at);
        if (place.at) return place;
    }
    return first_of(place.node->next);
}

struct quicklist_place quicklist_prev(struct quicklist_place place)
{
    if (!is_plain(place.node)) {
        place.at = listpack_prev(packed(place.node), place.at);
        if (place.at) return place;
    }
    return last_of(place.node->prev);
}

void quicklist_get(struct quicklist_place place, struct listpack_value *out)
{
    if (is_plain(place.node)) {
        *out = (struct listpack_value){.text = place.node->data, .size = place.node->bytes};
    } else {
        listpack_get(packed(place.node), place.at, out);
    }
}

/* ---- defragmentation ---- */

static struct quicklist_node *defrag_node(struct defrag_walk *w, struct quicklist *q,
                                          struct quicklist_node *node)
{
    node = defrag_block(w, node, sizeof *node);
    *(node->prev ? &node->prev->next : &q->first) = node;
    *(node->next ? &node->next->prev : &q->last) = node;
    char *block = defrag_block(w, (char *)node->data - node->gap, node->bytes);
    node->data = block + node->gap;
    return node;
}

struct quicklist *quicklist_defrag(struct defrag_walk *w, struct quicklist *q)
{
    if (w->cursor == 0) {
        q = defrag_block(w, q, sizeof *q);
        q->bookmark = q->first;
    }
    while (q->bookmark && w->budget > 0) q->bookmark = defrag_node(w, q, q->bookmark)->next;
    w->cursor = q->bookmark != NULL;
    return q;
}

/* ---- changing ---- */

/* At an end where no node can take it. */
static bool push_node(struct mem *mem, struct quicklist *q, int32_t limit, bool at_tail,
                      struct bytes value)
{
    struct quicklist_node *end = at_tail ? q->last : q->first;
    /* Only beside others a node begins with room: a list of one node takes what it needs. */
    enum spot spot = !end ? SPOT_INSIDE : at_tail ? SPOT_TAIL : SPOT_HEAD;
    struct quicklist_node *node = try_make_single(mem, q, limit, spot, value);
    if (!node) return false;
    if (end && !is_plain(end)) give_room_back(mem, end); /* It is complete. */
    link_node(q, at_tail ? end : NULL, node);
    return true;
}

bool quicklist_try_push(struct mem *mem, struct quicklist *q, int32_t limit, bool at_tail,
                        struct bytes value)
{
    struct quicklist_node *node = at_tail ? q->last : q->first;
    if (!can_take(node, limit, value)) return push_node(mem, q, limit, at_tail, value);
    return insert_packed(mem, q, node, limit, at_tail ? 0 : LISTPACK_HEADER_BYTES, value);
}

/* Between two nodes, the first of which may be NULL: at the start. */
static bool insert_between(struct mem *mem, struct quicklist *q, struct quicklist_node *prev,
                           int32_t limit, struct bytes value)
{
    struct quicklist_node *next = prev ? prev->next : q->first;
    if (can_take(prev, limit, value)) return insert_packed(mem, q, prev, limit, 0, value);
    if (can_take(next, limit, value)) {
        return insert_packed(mem, q, next, limit, LISTPACK_HEADER_BYTES, value);
    }
    return insert_node(mem, q, prev, limit, value);
}

bool quicklist_try_insert(struct mem *mem, struct quicklist *q, int32_t limit,
                          struct quicklist_place place, bool after, struct bytes value)
{
    struct quicklist_node *node = place.node;
    if (is_plain(node)) return insert_between(mem, q, after ? node : node->prev, limit, value);
    uint32_t at = after ? listpack_next(packed(node), place.at) : place.at;
    if (can_take(node, limit, value)) return insert_packed(mem, q, node, limit, at, value);
    if (at == 0) return insert_between(mem, q, node, limit, value);
    if (at == LISTPACK_HEADER_BYTES) return insert_between(mem, q, node->prev, limit, value);
    return split_node(mem, q, node, at) && insert_between(mem, q, node, limit, value);
}

bool quicklist_try_replace(struct mem *mem, struct quicklist *q, int32_t limit,
                           struct quicklist_place place, struct bytes value)
{
    if (can_take(place.node, limit, value)) {
        guard(q, place.node);
        struct listpack *lp = packed_whole(mem, place.node);
        bool done = listpack_try_replace(mem, &lp, place.at, value);
        set_packed(place.node, lp);
        return done;
    }
    if (!quicklist_try_insert(mem, q, limit, place, true, value)) return false;
    quicklist_remove(mem, q, place); /* What stands before the new one has not moved. */
    return true;
}

struct quicklist_place quicklist_remove(struct mem *mem, struct quicklist *q,
                                        struct quicklist_place place)
{
    struct quicklist_node *node = place.node;
    q->length--;
    guard(q, node);
    if (!is_plain(node)) {
        place.at = delete_packed(mem, node, place.at, 1);
        if (place.at) return place;
        if (listpack_first(packed(node))) return first_of(node->next);
    }
    place = first_of(node->next);
    drop_node(mem, q, node);
    return place;
}

void quicklist_delete_range(struct mem *mem, struct quicklist *q, uint64_t index, uint64_t count,
                            struct quicklist *aside)
{
    if (index >= q->length) return;
    struct quicklist_place place = quicklist_seek(q, (int64_t)index);
    count = MIN(count, q->length - index);
    while (count > 0) {
        struct quicklist_node *node = place.node, *next = node->next;
        uint64_t had = node_length(node);
        bool from_start = is_plain(node) || place.at == LISTPACK_HEADER_BYTES;
        uint64_t gone = had;
        guard(q, node);
        if (from_start && had <= count && aside) {
            unlink_node(q, node);
            link_node(aside, aside->last, node);
        } else if (from_start && had <= count) {
            drop_node(mem, q, node);
        } else {
            delete_packed(mem, node, place.at, count);
            gone = had - node_length(node);
        }
        q->length -= gone;
        count -= gone;
        place = first_of(next);
    }
}
