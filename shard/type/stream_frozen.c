/* stream_frozen.c: streams for the rest of the shard: freeing, measuring, copying, and the RDB
 * form.
 *
 *     nodes     count, then for each: its master id as a string of 16 bytes, the listpack as one
 *     entries   length; last id; from type 19 on: first id, greatest deleted id, entries ever added
 *     groups    count, then for each: name, last id; from type 19 on: entries read;
 *               pending entries: count, then for each: id (16 bytes), time (8), deliveries;
 *               consumers: count, then for each: name, time seen (8); from type 21 on: time active
 *               (8); pending entries: count, then for each: id (16 bytes)
 *
 * Ids among the entries are two lengths; those of 16 bytes have the most significant byte first,
 * times the least. Files and payloads have type 19, which servers from 7.0 on read: a consumer's
 * active time is then the time when it was seen. Between shards it is type 21.
 */
#include "shard/shard.h"
#include "shard/type/stream_group.h"

/* ---- freeing, measuring, copying ---- */

static bool free_some(struct mem *mem, void *root, UNUSED enum encoding encoding, uint64_t budget)
{
    struct stream *s = root;
    CHECK(!s->big);
    for (; s->nodes.count > 0 && budget > 0; budget--)
        listpack_free(mem, idtree_pop(mem, &s->nodes));
    if (s->nodes.count > 0 || budget == 0) return false;
    if (stream_groups_free_some(mem, s, budget) == 0) return false;
    mem_free(mem, s, sizeof *s);
    return true;
}

static uint64_t effort(const void *root, UNUSED enum encoding encoding)
{
    const struct stream *s = root;
    return 1 + s->nodes.count + stream_groups_effort(s);
}

static void *copy(struct mem *mem, const void *root, UNUSED enum encoding encoding)
{
    const struct stream *from = root;
    struct stream *s = stream_create(mem);
    s->length = from->length;
    s->entries_added = from->entries_added;
    s->first_id = from->first_id;
    s->last_id = from->last_id;
    s->max_deleted_id = from->max_deleted_id;
    bool done = true;
    struct idtree_place place = idtree_first(&from->nodes);
    for (; done && idtree_place_exists(place); place = idtree_next(place)) {
        struct listpack *lp = listpack_try_copy(mem, idtree_item(place));
        if (lp) idtree_insert(mem, &s->nodes, idtree_id(place), lp);
        done = lp != NULL;
    }
    if (done && stream_groups_try_copy(mem, s, from)) return s;
    stream_free(mem, s);
    return NULL;
}

/* The nodes from a sample. */
static uint64_t bytes(const void *root, UNUSED enum encoding encoding, uint64_t samples)
{
    const struct stream *s = root;
    uint64_t seen = 0, nodes = 0;
    struct idtree_place place = idtree_first(&s->nodes);
    for (; idtree_place_exists(place) && (samples == 0 || seen < samples); seen++) {
        nodes += listpack_allocated(idtree_item(place));
        place = idtree_next(place);
    }
    if (seen > 0) nodes = (uint64_t)((double)nodes / (double)seen * (double)s->nodes.count);
    return mem_class_bytes(sizeof *s) + s->nodes.bytes + nodes + stream_groups_bytes(s);
}

/* ---- writing ---- */

/* Then nothing may get lost, and nobody else reads it. */
static bool is_between_shards(const struct rdb_writer *out)
{
    return out->packing == RDB_PACK_NONE;
}

static bool put_id(struct rdb_writer *out, struct stream_id id)
{
    return rdb_try_append_length(out, id.ms) && rdb_try_append_length(out, id.seq);
}

static bool put_raw_id(struct rdb_writer *out, struct stream_id id)
{
    uint8_t raw[STREAM_ID_BYTES];
    stream_id_to_bytes(id, raw);
    return rdb_try_append_raw(out, raw, sizeof raw);
}

static bool put_node(struct rdb_writer *out, struct idtree_place place)
{
    uint8_t raw[STREAM_ID_BYTES];
    stream_id_to_bytes(idtree_id(place), raw);
    return rdb_try_append_string(out, bytes_make(raw, sizeof raw)) &&
           rdb_try_append_string(out, listpack_view(idtree_item(place)));
}

static bool put_nodes(struct rdb_writer *out, const struct stream *s)
{
    if (!rdb_try_append_length(out, s->nodes.count)) return false;
    struct idtree_place place = idtree_first(&s->nodes);
    for (; idtree_place_exists(place); place = idtree_next(place))
        if (!put_node(out, place)) return false;
    return true;
}

/* Pending entries, with what is known of them or the ids alone. */
static bool put_pending(struct rdb_writer *out, const struct idtree *t, bool with_deliveries)
{
    if (!rdb_try_append_length(out, t->count)) return false;
    struct idtree_place place = idtree_first(t);
    for (; idtree_place_exists(place); place = idtree_next(place)) {
        const struct stream_pending *p = idtree_item(place);
        if (!put_raw_id(out, idtree_id(place))) return false;
        if (!with_deliveries) continue;
        if (!rdb_try_append_ms(out, p->delivered_ms)) return false;
        if (!rdb_try_append_length(out, p->delivery_count)) return false;
    }
    return true;
}

static bool put_consumer(struct rdb_writer *out, const struct stream_consumer *c)
{
    return rdb_try_append_string(out, stream_name_view(&c->name)) &&
           rdb_try_append_ms(out, c->seen_ms) &&
           (!is_between_shards(out) || rdb_try_append_ms(out, c->active_ms)) &&
           put_pending(out, &c->pending, false);
}

static bool put_group(struct rdb_writer *out, const struct stream_group *g)
{
    bool done = rdb_try_append_string(out, stream_name_view(&g->name)) && put_id(out, g->last_id) &&
                rdb_try_append_length(out, (uint64_t)g->entries_read) &&
                put_pending(out, &g->pending, true) &&
                rdb_try_append_length(out, g->consumer_count);
    for (uint32_t i = 0; done && i < g->consumer_count; i++) {
        done = put_consumer(out, g->consumers[i]);
    }
    return done;
}

/* What stands behind the nodes. */
static bool put_rest(struct rdb_writer *out, const struct stream *s)
{
    bool done = rdb_try_append_length(out, s->length) && put_id(out, s->last_id) &&
                put_id(out, s->first_id) && put_id(out, s->max_deleted_id) &&
                rdb_try_append_length(out, s->entries_added) &&
                rdb_try_append_length(out, s->group_count);
    for (uint32_t i = 0; done && i < s->group_count; i++) done = put_group(out, s->groups[i]);
    return done;
}

static bool freeze(const void *root, UNUSED enum encoding encoding, struct rdb_writer *out)
{
    const struct stream *s = root;
    enum rdb_type type =
        is_between_shards(out) ? RDB_TYPE_STREAM_LISTPACKS_3 : RDB_TYPE_STREAM_LISTPACKS_2;
    return rdb_try_append_type(out, (uint8_t)type) && put_nodes(out, s) && put_rest(out, s);
}

/* ---- writing in slices: nodes, then the rest ---- */

static struct big_value **big_slot(void *root, UNUSED enum encoding encoding)
{
    return &((struct stream *)root)->big;
}

static void big_begin(struct big_value *v)
{
    const struct stream *s = v->root;
    v->rdb_type = RDB_TYPE_STREAM_LISTPACKS_2;
    v->count = s->nodes.count;
}

/* Changes wait for the end, so nothing is but the walk's place to keep. A node at a time: its id is
 * where the next one is looked for. */
static bool big_step(struct big_value *v)
{
    const struct stream *s = v->root;
    struct idtree_place place = idtree_seek(&s->nodes, v->next_id);
    while (idtree_place_exists(place)) {
        struct rdb_writer *out = big_value_writer(v);
        if (!out) return true;
        if (!put_node(out, place)) snapshot_abandon(v->sh);
        big_value_end_element(v);
        place = idtree_next(place);
        if (!idtree_place_exists(place)) break;
        v->next_id = idtree_id(place);
        if (!big_value_may_go_on(v)) return false;
    }
    struct rdb_writer *out = big_value_writer(v);
    if (out && !put_rest(out, s)) snapshot_abandon(v->sh);
    return true;
}

static const struct big_value_ops big_ops = {
    .slot = big_slot, .begin = big_begin, .step = big_step, .effort_max = BIG_VALUE_NODES};

/* ---- reading ---- */

/* What is being read. */
struct thawing {
    struct mem *mem;
    struct bytes *in;
    uint8_t type;
    struct stream *s;
};

static bool take_id(struct bytes *in, struct stream_id *out)
{
    return rdb_take_length(in, &out->ms) && rdb_take_length(in, &out->seq);
}

static bool take_raw_id(struct bytes *in, struct stream_id *out)
{
    struct bytes raw;
    if (!rdb_take(in, STREAM_ID_BYTES, &raw)) return false;
    *out = stream_id_from_bytes(raw.data);
    return true;
}

/* Milliseconds; nonsense is taken for the beginning of time. */
static bool take_time(struct bytes *in, int64_t *out)
{
    if (!rdb_take_integer(in, 8, out)) return false;
    *out = MAX(*out, STREAM_NEVER);
    return true;
}

static bool take_master(struct thawing *t, struct stream_id *out)
{
    struct rdb_string text;
    if (!rdb_take_string(t->mem, t->in, &text)) return false;
    bool is_good = text.text.size == STREAM_ID_BYTES;
    if (is_good) *out = stream_id_from_bytes(text.text.data);
    rdb_string_free(t->mem, &text);
    return is_good;
}

/* A node whose entries come after `*last`. One without live entries is left out if another one
 * stands before it. */
static bool take_node(struct thawing *t, struct stream_id *last, uint64_t *length)
{
    struct stream_id master;
    struct rdb_string text;
    uint64_t live;
    if (!take_master(t, &master) || !rdb_take_string(t->mem, t->in, &text)) return false;
    struct listpack *lp = listpack_try_from_bytes(t->mem, text.text);
    rdb_string_free(t->mem, &text);
    bool is_good = lp && stream_node_is_valid(lp, master, last, &live);
    if (is_good && (live > 0 || t->s->nodes.count == 0)) {
        idtree_insert(t->mem, &t->s->nodes, master, lp);
        *length += live;
    } else {
        listpack_free(t->mem, lp);
    }
    return is_good;
}

static bool take_nodes(struct thawing *t)
{
    struct stream *s = t->s;
    struct stream_id last = STREAM_ID_MIN, first;
    uint64_t count, length = 0;
    if (!rdb_take_length(t->in, &count)) return false;
    for (; count > 0; count--) {
        if (!take_node(t, &last, &length)) return false;
    }
    if (!rdb_take_length(t->in, &s->length) || s->length != length) return false;
    if (!take_id(t->in, &s->last_id) || stream_id_compare(last, s->last_id) > 0) return false;
    s->entries_added = length;
    stream_find_first(s);
    if (t->type == RDB_TYPE_STREAM_LISTPACKS) return true;
    return take_id(t->in, &first) && take_id(t->in, &s->max_deleted_id) &&
           rdb_take_length(t->in, &s->entries_added);
}

/* Deliveries without a consumer until the consumers claim them. */
static bool take_delivery(struct thawing *t, struct stream_group *g)
{
    struct stream_id id;
    struct stream_pending p = {.consumer = NULL};
    if (!take_raw_id(t->in, &id) || !take_time(t->in, &p.delivered_ms)) return false;
    if (!rdb_take_length(t->in, &p.delivery_count) || stream_pending_find(g, id)) return false;
    struct stream_pending *copy = mem_alloc(t->mem, sizeof *copy);
    *copy = p;
    idtree_insert(t->mem, &g->pending, id, copy);
    return true;
}

static bool take_claim(struct thawing *t, struct stream_group *g, struct stream_consumer *c)
{
    struct stream_id id;
    if (!take_raw_id(t->in, &id)) return false;
    struct stream_pending *p = stream_pending_find(g, id);
    if (!p || p->consumer) return false;
    p->consumer = c;
    idtree_insert(t->mem, &c->pending, id, p);
    return true;
}

static bool take_consumer(struct thawing *t, struct stream_group *g, uint64_t *claimed)
{
    struct rdb_string name;
    uint64_t count;
    if (!rdb_take_string(t->mem, t->in, &name)) return false;
    struct stream_consumer *c = NULL;
    if (!stream_consumer_find(g, name.text)) {
        c = stream_consumer_try_create(t->mem, g, name.text, 0);
    }
    rdb_string_free(t->mem, &name);
    if (!c || !take_time(t->in, &c->seen_ms)) return false;
    c->active_ms = c->seen_ms;
    if (t->type == RDB_TYPE_STREAM_LISTPACKS_3 && !take_time(t->in, &c->active_ms)) return false;
    if (!rdb_take_length(t->in, &count)) return false;
    for (; count > 0; count--, ++*claimed) {
        if (!take_claim(t, g, c)) return false;
    }
    return true;
}

/* -1 is stored as the greatest length. */
static bool take_entries_read(struct thawing *t, int64_t *out)
{
    uint64_t n;
    *out = STREAM_READ_UNKNOWN;
    if (t->type == RDB_TYPE_STREAM_LISTPACKS) return true;
    if (!rdb_take_length(t->in, &n)) return false;
    *out = (int64_t)n;
    return true;
}

static struct stream_group *take_group_head(struct thawing *t)
{
    struct rdb_string name;
    struct stream_id last;
    int64_t read;
    struct stream_group *g = NULL;
    if (!rdb_take_string(t->mem, t->in, &name)) return NULL;
    if (take_id(t->in, &last) && take_entries_read(t, &read) &&
        !stream_group_find(t->s, name.text)) {
        /* The oldest form does not tell. */
        if (t->type == RDB_TYPE_STREAM_LISTPACKS) read = stream_entries_until(t->s, last);
        g = stream_group_try_create(t->mem, t->s, name.text, last, read);
    }
    rdb_string_free(t->mem, &name);
    return g;
}

/* What no consumer has claimed is taken away again. */
static void drop_unclaimed(struct thawing *t, struct stream_group *g)
{
    struct idtree kept = {.root = NULL};
    for (;;) {
        struct idtree_place last = idtree_last(&g->pending);
        if (!idtree_place_exists(last)) break;
        struct stream_id id = idtree_id(last);
        struct stream_pending *p = idtree_remove(t->mem, &g->pending, id);
        if (p->consumer) {
            idtree_insert(t->mem, &kept, id, p);
        } else {
            mem_free(t->mem, p, sizeof *p);
        }
    }
    g->pending = kept;
}

static bool take_group(struct thawing *t)
{
    uint64_t count, claimed = 0;
    struct stream_group *g = take_group_head(t);
    if (!g) return false;
    bool is_good = rdb_take_length(t->in, &count);
    for (; is_good && count > 0; count--) is_good = take_delivery(t, g);
    is_good = is_good && rdb_take_length(t->in, &count);
    for (; is_good && count > 0; count--) is_good = take_consumer(t, g, &claimed);
    if (claimed == g->pending.count) return is_good;
    drop_unclaimed(t, g);
    return false;
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    if (rdb_type != RDB_TYPE_STREAM_LISTPACKS && rdb_type != RDB_TYPE_STREAM_LISTPACKS_2 &&
        rdb_type != RDB_TYPE_STREAM_LISTPACKS_3) {
        return NULL;
    }
    struct thawing t = {mem, in, rdb_type, stream_create(mem)};
    uint64_t groups;
    bool is_good = take_nodes(&t) && rdb_take_length(in, &groups);
    for (; is_good && groups > 0; groups--) is_good = take_group(&t);
    if (is_good) {
        *encoding = ENCODING_STREAM;
        return t.s;
    }
    stream_free(mem, t.s);
    return NULL;
}

/* ---- digest ---- */

/* Of the entries only, as in Redis. */
static void digest(const void *root, UNUSED enum encoding encoding, struct digest *out)
{
    struct stream_iterator it;
    struct stream_entry e;
    stream_iterator_init(&it, root, STREAM_ID_MIN, STREAM_ID_MAX, false);
    while (stream_iterator_next(&it, &e)) {
        char id[STREAM_ID_TEXT_BYTES_MAX], scratch[2][TEXT_I64_BYTES_MAX];
        size_t size = stream_id_text(e.id, id);
        *(char *)memchr(id, '-', size) = '.';
        digest_mix(out, bytes_make(id, size));
        for (uint64_t i = 0; i < e.pair_count; i++) {
            struct bytes field, value;
            stream_entry_next_pair(&e, &field, scratch[0], &value, scratch[1]);
            digest_mix(out, field);
            digest_mix(out, value);
        }
    }
}

const struct type_ops stream_ops = {
    .free_some = free_some,
    .effort = effort,
    .copy = copy,
    .bytes = bytes,
    .freeze = freeze,
    .thaw = thaw,
    .digest = digest,
    .defrag = stream_defrag,
    .big = &big_ops,
};
