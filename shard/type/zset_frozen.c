/* zset_frozen.c: sorted sets for the rest of the shard: freeing, measuring, copying, and the RDB
 * form.
 *
 *     types 3, 5    count, then for each element: string member, score (as text, as 8 bytes)
 *     types 12, 17  the ziplist or listpack as one string
 *
 * 5 and 17 are what is written.
 */
#include <math.h>

#include "shard/shard.h"
#include "shard/type/ziplist.h"
#include "shard/type/zset.h"

/* The nodes go with the dict that knows their entries. */
static void free_element(void *context, struct entry *e, UNUSED uint64_t position)
{
    skiplist_free_node(context, skiplist_node_of(e));
}

static bool free_some(struct mem *mem, void *root, enum encoding encoding, uint64_t budget)
{
    if (encoding == ENCODING_LISTPACK) {
        listpack_free(mem, root);
        return true;
    }
    struct zset_table *t = root;
    CHECK(!t->mark.value);
    if (!dict_drain_some(&t->members, budget, free_element, mem)) return false;
    mem_free(mem, t, sizeof *t);
    return true;
}

static uint64_t effort(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_LISTPACK ? 1
                                         : ((const struct zset_table *)root)->members.dict.count;
}

static struct zset view(const void *root, enum encoding encoding)
{
    return (struct zset){(void *)(uintptr_t)root, encoding};
}

/* From the end, so that every element is put at the front: the shortest way. */
static void *copy(struct mem *mem, const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) return listpack_try_copy(mem, root);
    struct zset from = view(root, encoding), to;
    struct zset_iterator it;
    struct bytes member;
    double score;
    if (!zset_try_create_as(mem, encoding, &to)) return NULL;
    zset_iterator_init(&it, &from, (struct zset_slice){0, zset_size(&from)}, true);
    while (zset_iterator_next(&it, &member, &score)) {
        if (zset_try_append(mem, &to, member, score)) continue;
        zset_free(mem, &to);
        return NULL;
    }
    return to.root;
}

/* The nodes from a sample. */
static uint64_t bytes(const void *root, enum encoding encoding, uint64_t samples)
{
    if (encoding == ENCODING_LISTPACK) return listpack_allocated(root);
    const struct zset_table *t = root;
    uint64_t seen = 0, nodes = 0;
    const struct skiplist_node *n = skiplist_first(&t->list);
    for (; n && (samples == 0 || seen < samples); n = skiplist_next(n), seen++) {
        nodes += skiplist_node_allocated(n);
    }
    if (seen > 0 && seen < t->list.count) {
        nodes = (uint64_t)((double)nodes / (double)seen * (double)t->list.count);
    }
    return mem_class_bytes(sizeof *t) + t->members.dict.bytes + nodes;
}

/* ---- writing ---- */

/* Backwards, as redis-server does: whoever loads it puts each element at the front. */
static bool freeze(const void *root, enum encoding encoding, struct rdb_writer *out)
{
    if (encoding == ENCODING_LISTPACK) {
        return rdb_try_append_type(out, RDB_TYPE_ZSET_LISTPACK | OBJECT_FROZEN_COMPACT) &&
               rdb_try_append_string(out, listpack_view(root));
    }
    struct zset z = view(root, encoding);
    struct zset_iterator it;
    struct bytes member;
    double score;
    if (!rdb_try_append_type(out, RDB_TYPE_ZSET_2 | OBJECT_FROZEN_TABLE) ||
        !rdb_try_append_length(out, zset_size(&z))) {
        return false;
    }
    zset_iterator_init(&it, &z, (struct zset_slice){0, zset_size(&z)}, true);
    while (zset_iterator_next(&it, &member, &score)) {
        if (!rdb_try_append_string(out, member) || !rdb_try_append_double(out, score)) return false;
    }
    return true;
}

/* ---- writing in slices, in the order of the table ---- */

static struct big_value **big_slot(void *root, enum encoding encoding)
{
    return encoding == ENCODING_SKIPLIST ? &((struct zset_table *)root)->mark.value : NULL;
}

static void big_begin(struct big_value *v)
{
    struct zset_table *t = v->root;
    t->mark.colour ^= ENTRY_COLOUR;
    v->rdb_type = RDB_TYPE_ZSET_2;
    v->count = t->list.count;
}

static void big_put(struct big_value *v, const struct entry *element)
{
    double score = skiplist_node_of(element)->score;
    if (!big_value_is_command(v)) {
        big_value_put(v, entry_key(element));
        big_value_put_raw(v, &score, sizeof score);
        return;
    }
    char text[TEXT_DOUBLE_BYTES_MAX];
    big_value_put(v, bytes_make(text, text_from_double(text, score)));
    big_value_put(v, entry_key(element));
}

static bool big_step(struct big_value *v)
{
    const struct zset_table *t = v->root;
    return big_value_step_table(v, &t->members.dict, &t->mark);
}

static const struct big_value_ops big_ops = {.slot = big_slot,
                                             .begin = big_begin,
                                             .put = big_put,
                                             .step = big_step,
                                             .effort_max = BIG_VALUE_ELEMENTS};

/* ---- reading ---- */

/* One element, whose member must be new. */
static bool thaw_element(struct mem *mem, uint8_t rdb_type, struct bytes *in, struct zset *z)
{
    struct rdb_string member;
    if (!rdb_take_string(mem, in, &member)) return false;
    struct zset_place place;
    double score;
    bool is_good =
        rdb_type == RDB_TYPE_ZSET ? rdb_take_double_text(in, &score) : rdb_take_double(in, &score);
    is_good = is_good && !isnan(score) && !zset_find(z, member.text, &place) &&
              zset_try_append(mem, z, member.text, score);
    rdb_string_free(mem, &member);
    return is_good;
}

static bool thaw_table(struct mem *mem, uint8_t rdb_type, struct bytes *in, struct zset *out)
{
    uint64_t count;
    if (!rdb_take_length(in, &count) || count == 0) return false;
    if (!zset_try_create_as(mem, ENCODING_SKIPLIST, out)) return false;
    for (uint64_t i = 0; i < count; i++) {
        if (thaw_element(mem, rdb_type, in, out)) continue;
        zset_free(mem, out);
        return false;
    }
    return true;
}

/* Pairs whose second element is a number, in order. */
static bool pairs_are_sorted(const struct listpack *lp)
{
    char scratch[2][TEXT_I64_BYTES_MAX];
    struct bytes last = {0};
    double last_score = 0;
    unsigned turn = 0;
    uint32_t first = listpack_first(lp);
    for (uint32_t at = first; at; turn ^= 1) {
        double score;
        if (!zset_listpack_score(lp, at, &score)) return false;
        struct bytes member = listpack_text(lp, at, scratch[turn]);
        if (at != first && !zset_is_before(last_score, last, score, member)) return false;
        last = member;
        last_score = score;
        at = listpack_next(lp, listpack_next(lp, at));
    }
    return true;
}

static bool member_is_repeated(const struct listpack *lp)
{
    char scratch[TEXT_I64_BYTES_MAX];
    for (uint32_t at = listpack_first(lp), next; at; at = next) {
        next = listpack_next(lp, listpack_next(lp, at));
        if (next && listpack_find(lp, next, listpack_text(lp, at, scratch), 1)) return true;
    }
    return false;
}

/* A long listpack that a client sends becomes a table, which notices repetitions sooner. */
static bool to_table_without_repetition(struct mem *mem, struct zset *z)
{
    struct zset table;
    struct zset_iterator it;
    struct bytes member;
    double score;
    bool is_good = zset_try_create_as(mem, ENCODING_SKIPLIST, &table);
    zset_iterator_init(&it, z, (struct zset_slice){0, zset_size(z)}, true);
    while (is_good && zset_iterator_next(&it, &member, &score)) {
        struct zset_place place;
        is_good = !zset_find(&table, member, &place) && zset_try_append(mem, &table, member, score);
    }
    if (!is_good) {
        if (table.root) zset_free(mem, &table);
        return false;
    }
    zset_free(mem, z);
    *z = table;
    return true;
}

static bool thaw_listpack(struct mem *mem, uint8_t rdb_type, struct bytes *in, struct zset *out)
{
    struct rdb_string image;
    if (!rdb_take_string(mem, in, &image)) return false;
    bool is_ziplist = rdb_type == RDB_TYPE_ZSET_ZIPLIST;
    struct listpack *lp = is_ziplist ? ziplist_try_to_listpack(mem, image.text)
                                     : listpack_try_from_bytes(mem, image.text);
    rdb_string_free(mem, &image);
    if (!lp) return false;
    *out = (struct zset){lp, ENCODING_LISTPACK};
    uint64_t length = listpack_length(lp);
    bool is_good = length > 0 && length % 2 == 0 && pairs_are_sorted(lp);
    if (is_good && !(rdb_type & OBJECT_FROZEN_COMPACT) &&
        length / 2 > shard_config_here()->zset_max_listpack_entries) {
        is_good = to_table_without_repetition(mem, out);
    } else if (is_good) {
        is_good = !member_is_repeated(lp);
    }
    if (!is_good) zset_free(mem, out);
    return is_good;
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    struct zset z;
    switch (rdb_type & ~OBJECT_FROZEN_EXACT) {
    case RDB_TYPE_ZSET:
    case RDB_TYPE_ZSET_2:
        if (!thaw_table(mem, rdb_type, in, &z)) return NULL;
        if (!(rdb_type & OBJECT_FROZEN_TABLE)) zset_compact(mem, shard_config_here(), &z);
        break;
    case RDB_TYPE_ZSET_ZIPLIST:
    case RDB_TYPE_ZSET_LISTPACK:
        if (!thaw_listpack(mem, rdb_type, in, &z)) return NULL;
        break;
    default:
        return NULL;
    }
    *encoding = z.encoding;
    return z.root;
}

static void digest(const void *root, enum encoding encoding, struct digest *out)
{
    struct zset z = view(root, encoding);
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, &z, (struct zset_slice){0, zset_size(&z)}, false);
    while (zset_iterator_next(&it, &member, &score)) {
        char text[TEXT_DOUBLE_BYTES_MAX];
        struct digest element = {0};
        digest_mix(&element, member);
        digest_mix(&element, bytes_make(text, text_from_double(text, score)));
        digest_add(out, digest_view(&element));
    }
}

/* The walk, and the list that the nodes stand in. */
struct node_walk {
    struct defrag_walk *w;
    struct skiplist *list;
};

static struct entry *defrag_element(void *context, struct entry *e)
{
    struct node_walk *nw = context;
    return skiplist_entry(skiplist_defrag_node(nw->w, nw->list, skiplist_node_of(e)));
}

static void *defrag(struct defrag_walk *w, void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) {
        w->cursor = 0;
        return defrag_block(w, root, listpack_allocated(root));
    }
    struct zset_table *t = root;
    if (w->cursor == 0) t = defrag_block(w, t, sizeof *t);
    struct node_walk nw = {w, &t->list};
    do w->cursor = dict_defrag(&t->members.dict, w, w->cursor, defrag_element, &nw);
    while (w->cursor && w->budget > 0);
    return t;
}

static const struct dict *table(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_SKIPLIST ? &((const struct zset_table *)root)->members.dict : NULL;
}

const struct type_ops zset_ops = {
    .free_some = free_some,
    .effort = effort,
    .copy = copy,
    .bytes = bytes,
    .freeze = freeze,
    .thaw = thaw,
    .table = table,
    .digest = digest,
    .prefetch = zset_prefetch,
    .defrag = defrag,
    .big = &big_ops,
};
