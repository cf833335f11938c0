/* hash_frozen.c: hashes for the rest of the shard: freeing, measuring, copying, and the RDB form.
 *
 *     type 4           count, then for each field: string field, string value
 *     types 9, 13, 16  a zipmap, ziplist or listpack of fields and values, as one string
 *     type 24          ms of the first deadline, count, then for each field: a length that is 0
 *                      without a deadline, else its distance from the first one plus 1; field,
 *                      value
 *     type 25          ms of the first deadline, then a listpack of field, value and deadline
 *                      (0: none)
 *     types 22, 23     the same without the first deadline; the lengths of 22 are deadlines
 *
 * 4, 16 and 24 are what is written.
 */
#include "shard/shard.h"
#include "shard/type/hash.h"
#include "shard/type/ziplist.h"

/* ---- freeing, measuring, copying ---- */

static void free_field(void *context, struct entry *e, UNUSED uint64_t position)
{
    entry_free_string(context, e);
}

static bool free_some(struct mem *mem, void *root, enum encoding encoding, uint64_t budget)
{
    if (encoding == ENCODING_LISTPACK) {
        listpack_free(mem, root);
        return true;
    }
    struct hash_table *t = root;
    CHECK(!t->mark.value);
    if (!dict_drain_some(&t->fields, budget, free_field, mem)) return false;
    mem_free(mem, t, sizeof *t);
    return true;
}

static uint64_t effort(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_LISTPACK ? 1 : ((const struct hash_table *)root)->fields.dict.count;
}

struct copying {
    struct mem *mem;
    struct hash to;
    bool failed;
};

static void copy_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct copying *c = context;
    if (c->failed) return;
    struct entry *copy = entry_try_make_string(c->mem, entry_key(e), entry_string(e, NULL),
                                               ENCODING_RAW, entry_deadline_ms(e));
    struct dict *d = &((struct hash_table *)c->to.root)->fields.dict;
    if (copy && !dict_try_make_room(d, bytes_hash(entry_key(copy), d->seed))) {
        entry_free_string(c->mem, copy);
        copy = NULL;
    }
    c->failed = copy == NULL;
    if (copy) hash_insert_entry(&c->to, copy);
}

static void *copy(struct mem *mem, const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) return listpack_try_copy(mem, root);
    const struct hash_table *from = root;
    struct copying c = {.mem = mem};
    if (!hash_try_create_table(mem, &c.to)) return NULL;
    uint64_t cursor = 0;
    do cursor = dict_scan(&from->fields.dict, cursor, copy_entry, &c);
    while (cursor != 0);
    if (!c.failed) return c.to.root;
    hash_free(mem, &c.to);
    return NULL;
}

struct measuring {
    uint64_t bytes, seen;
};

static void measure_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct measuring *m = context;
    m->bytes += object_bytes(e, 0);
    m->seen++;
}

static uint64_t bytes(const void *root, enum encoding encoding, uint64_t samples)
{
    if (encoding == ENCODING_LISTPACK) return listpack_allocated(root);
    const struct hash_table *t = root;
    const struct dict *d = &t->fields.dict;
    struct measuring m = {0};
    uint64_t cursor = 0;
    do cursor = dict_scan(d, cursor, measure_entry, &m);
    while (cursor != 0 && (samples == 0 || m.seen < samples));
    double mean = m.seen ? (double)m.bytes / (double)m.seen : 0;
    return mem_class_bytes(sizeof *t) + d->bytes + (uint64_t)(mean * (double)d->count);
}

/* ---- the serialised form ---- */

struct freezing {
    struct rdb_writer *out;
    int64_t base_ms; /* what deadlines are relative to; 0: none is written */
    bool failed;
    bool all_short; /* so far no text is too long for a listpack */
};

static void freeze_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct freezing *f = context;
    int64_t deadline_ms = entry_deadline_ms(e);
    uint64_t ttl = deadline_ms ? (uint64_t)(deadline_ms - f->base_ms) + 1 : 0;
    if (f->failed) return;
    if (f->base_ms && !rdb_try_append_length(f->out, ttl)) f->failed = true;
    f->failed = f->failed || !rdb_try_append_string(f->out, entry_key(e)) ||
                !rdb_try_append_string(f->out, entry_string(e, NULL));
}

static void look_for_long(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct freezing *f = context;
    size_t longest = MAX(entry_key(e).size, entry_string(e, NULL).size);
    f->all_short &= longest <= shard_config_here()->hash_max_listpack_value_bytes;
}

/* Whether loading the pairs of a table would give a listpack. */
static bool loads_as_listpack(const struct dict *d)
{
    struct freezing f = {.all_short = d->count <= shard_config_here()->hash_max_listpack_entries};
    uint64_t cursor = 0;
    while (f.all_short) {
        cursor = dict_scan(d, cursor, look_for_long, &f);
        if (cursor == 0) break;
    }
    return f.all_short;
}

static bool freeze_table(const struct hash_table *t, struct rdb_writer *out)
{
    const struct dict *d = &t->fields.dict;
    struct freezing f = {.out = out};
    uint8_t type = RDB_TYPE_HASH;
    if (d->marked_count) {
        type = RDB_TYPE_HASH_METADATA;
        f.base_ms = t->next_deadline_ms;
    } else if (loads_as_listpack(d)) {
        type |= OBJECT_FROZEN_TABLE;
    }
    if (!rdb_try_append_type(out, type)) return false;
    if (f.base_ms && !rdb_try_append_ms(out, f.base_ms)) return false;
    if (!rdb_try_append_length(out, d->count)) return false;
    uint64_t cursor = 0;
    do cursor = dict_scan(d, cursor, freeze_entry, &f);
    while (cursor != 0 && !f.failed);
    return !f.failed;
}

static bool freeze(const void *root, enum encoding encoding, struct rdb_writer *out)
{
    if (encoding != ENCODING_LISTPACK) return freeze_table(root, out);
    bool fits = listpack_length(root) / 2 <= shard_config_here()->hash_max_listpack_entries;
    uint8_t type = RDB_TYPE_HASH_LISTPACK | (fits ? 0 : OBJECT_FROZEN_COMPACT);
    return rdb_try_append_type(out, type) && rdb_try_append_string(out, listpack_view(root));
}

/* ---- writing in slices ---- */

static struct big_value **big_slot(void *root, enum encoding encoding)
{
    return encoding == ENCODING_HASHTABLE ? &((struct hash_table *)root)->mark.value : NULL;
}

static void big_begin(struct big_value *v)
{
    struct hash_table *t = v->root;
    t->mark.colour ^= ENTRY_COLOUR;
    bool has_deadlines = t->fields.dict.marked_count > 0;
    v->rdb_type = has_deadlines ? RDB_TYPE_HASH_METADATA : RDB_TYPE_HASH;
    v->base_ms = has_deadlines ? t->next_deadline_ms : 0;
    v->count = t->fields.dict.count;
}

static void big_put(struct big_value *v, const struct entry *field)
{
    int64_t deadline_ms = entry_deadline_ms(field);
    bool is_command = big_value_is_command(v);
    if (!is_command && v->base_ms)
        big_value_put_length(v, deadline_ms ? (uint64_t)(deadline_ms - v->base_ms) + 1 : 0);
    big_value_put(v, entry_key(field));
    big_value_put(v, entry_string(field, NULL));
    if (is_command && deadline_ms) big_value_put_deadline(v, entry_key(field), deadline_ms);
}

static bool big_step(struct big_value *v)
{
    const struct hash_table *t = v->root;
    return big_value_step_table(v, &t->fields.dict, &t->mark);
}

static const struct big_value_ops big_ops = {.slot = big_slot,
                                             .begin = big_begin,
                                             .put = big_put,
                                             .step = big_step,
                                             .effort_max = BIG_VALUE_ELEMENTS};

/* ---- reading: a field that is there twice is malformed ---- */

/* Fields and values, maybe with deadlines, as one string. */
static struct listpack *take_image(struct mem *mem, uint8_t rdb_type, struct bytes *in)
{
    struct rdb_string image;
    struct listpack *lp;
    if (!rdb_take_string(mem, in, &image)) return NULL;
    if (rdb_type == RDB_TYPE_HASH_ZIPMAP) {
        lp = zipmap_try_to_listpack(mem, image.text);
    } else if (rdb_type == RDB_TYPE_HASH_ZIPLIST) {
        lp = ziplist_try_to_listpack(mem, image.text);
    } else {
        lp = listpack_try_from_bytes(mem, image.text);
    }
    rdb_string_free(mem, &image);
    return lp;
}

static bool has_long_text(const struct listpack *lp)
{
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        struct listpack_value v;
        listpack_get(lp, at, &v);
        if (v.text && v.size > shard_config_here()->hash_max_listpack_value_bytes) return true;
    }
    return false;
}

/* A zipmap may hold texts that are too long for a listpack; the others were made by a server that
 * looks at that, too. */
static bool thaw_packed(struct mem *mem, uint8_t rdb_type, struct bytes *in, uint8_t exact,
                        struct hash *out)
{
    struct listpack *lp = take_image(mem, rdb_type, in);
    uint64_t count = lp ? listpack_length(lp) : 0;
    struct hash table;
    if (count == 0 || count % 2 != 0 || !hash_try_make_table(mem, lp, &table)) {
        listpack_free(mem, lp);
        return false;
    }
    bool fits = count / 2 <= shard_config_here()->hash_max_listpack_entries &&
                (rdb_type != RDB_TYPE_HASH_ZIPMAP || !has_long_text(lp));
    if (exact != OBJECT_FROZEN_TABLE && (fits || exact == OBJECT_FROZEN_COMPACT)) {
        hash_free(mem, &table);
        *out = (struct hash){lp, ENCODING_LISTPACK};
    } else {
        listpack_free(mem, lp);
        *out = table;
    }
    return true;
}

static bool set_new(struct mem *mem, struct hash *h, const struct hash_pair *pair)
{
    bool added;
    return hash_try_set(mem, shard_config_here(), h, pair, &added) && added;
}

/* Field, value and deadline in turn. */
static bool thaw_packed_deadlines(struct mem *mem, struct bytes *in, struct hash *out)
{
    struct listpack *lp = take_image(mem, RDB_TYPE_HASH_LISTPACK_EX, in);
    uint64_t count = lp ? listpack_length(lp) : 0;
    bool is_good = count > 0 && count % 3 == 0 && hash_try_create_table(mem, out);
    if (!is_good) {
        listpack_free(mem, lp);
        return false;
    }
    for (uint32_t at = listpack_first(lp); at && is_good; at = listpack_next(lp, at)) {
        char scratch[2][TEXT_I64_BYTES_MAX];
        struct hash_pair pair = {.field = listpack_text(lp, at, scratch[0])};
        at = listpack_next(lp, at);
        pair.value = listpack_text(lp, at, scratch[1]);
        at = listpack_next(lp, at);
        is_good = listpack_integer(lp, at, &pair.deadline_ms) && pair.deadline_ms >= 0 &&
                  set_new(mem, out, &pair);
    }
    listpack_free(mem, lp);
    if (!is_good) hash_free(mem, out);
    return is_good;
}

/* What the lengths before fields are relative to. */
struct deadlines {
    bool has_lengths;
    int64_t base_ms; /* of the length 1 */
};

static bool take_deadline(struct bytes *in, const struct deadlines *d, int64_t *deadline_ms)
{
    uint64_t length = 0;
    if (d->has_lengths && !rdb_take_length(in, &length)) return false;
    if (length > (uint64_t)(INT64_MAX - d->base_ms)) return false;
    *deadline_ms = length ? d->base_ms + (int64_t)length - 1 : 0;
    return true;
}

/* One field and its value, behind its deadline if it has one. */
static bool thaw_field(struct mem *mem, struct bytes *in, const struct deadlines *d, struct hash *h)
{
    int64_t deadline_ms;
    struct rdb_string field, value;
    if (!take_deadline(in, d, &deadline_ms) || !rdb_take_string(mem, in, &field)) return false;
    bool done = rdb_take_string(mem, in, &value);
    if (done) {
        struct hash_pair pair = {field.text, value.text, deadline_ms};
        done = set_new(mem, h, &pair);
        rdb_string_free(mem, &value);
    }
    rdb_string_free(mem, &field);
    return done;
}

static bool thaw_fields(struct mem *mem, struct bytes *in, const struct deadlines *d, bool as_table,
                        struct hash *out)
{
    uint64_t count;
    if (!rdb_take_length(in, &count) || count == 0) return false;
    if (!(as_table ? hash_try_create_table(mem, out) : hash_try_create(mem, out))) return false;
    bool done = hash_try_prepare(mem, shard_config_here(), out, count, 0);
    for (uint64_t i = 0; done && i < count; i++) done = thaw_field(mem, in, d, out);
    if (!done) hash_free(mem, out);
    return done;
}

static bool thaw_as(struct mem *mem, uint8_t rdb_type, struct bytes *in, uint8_t exact,
                    struct hash *out)
{
    struct deadlines d = {.base_ms = 1};
    switch (rdb_type) {
    case RDB_TYPE_HASH:
        return thaw_fields(mem, in, &d, exact == OBJECT_FROZEN_TABLE, out);
    case RDB_TYPE_HASH_ZIPMAP:
    case RDB_TYPE_HASH_ZIPLIST:
    case RDB_TYPE_HASH_LISTPACK:
        return thaw_packed(mem, rdb_type, in, exact, out);
    case RDB_TYPE_HASH_METADATA:
        if (!rdb_take_integer(in, 8, &d.base_ms) || d.base_ms < 0) return false;
        d.has_lengths = true;
        return thaw_fields(mem, in, &d, true, out);
    case RDB_TYPE_HASH_METADATA_PRE_GA:
        d.has_lengths = true;
        return thaw_fields(mem, in, &d, true, out);
    case RDB_TYPE_HASH_LISTPACK_EX:
        if (!rdb_take_integer(in, 8, &d.base_ms)) return false;
        return thaw_packed_deadlines(mem, in, out);
    case RDB_TYPE_HASH_LISTPACK_EX_PRE_GA:
        return thaw_packed_deadlines(mem, in, out);
    default:
        return false;
    }
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    struct hash h = {.root = NULL};
    uint8_t exact = rdb_type & OBJECT_FROZEN_EXACT;
    if (!thaw_as(mem, rdb_type & (uint8_t)~OBJECT_FROZEN_EXACT, in, exact, &h)) return NULL;
    *encoding = h.encoding;
    return h.root;
}

static struct bytes text_of(const struct listpack_value *v, char *scratch)
{
    if (v->text) return bytes_make(v->text, v->size);
    return bytes_make(scratch, text_from_i64(scratch, v->integer));
}

static void digest_field(void *context, const struct hash_field *field)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct digest pair = {0};
    digest_mix(&pair, text_of(&field->name, scratch));
    digest_mix(&pair, text_of(&field->value, scratch));
    digest_add(context, digest_view(&pair));
}

static void digest(const void *root, enum encoding encoding, struct digest *out)
{
    struct hash h = {(void *)(uintptr_t)root, encoding};
    hash_each(&h, digest_field, out);
}

static bool prefetch(struct value_prefetch *p, unsigned step)
{
    const struct request *rq = p->request;
    const struct hash_table *t = p->root;
    if (p->encoding != ENCODING_HASHTABLE || rq->argc < 3) return false;
    return object_prefetch_member(p, step, &t->fields.dict, rq->argv[2]);
}

static struct entry *defrag_field(void *context, struct entry *e)
{
    return object_defrag_string(context, e);
}

static void *defrag(struct defrag_walk *w, void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) {
        w->cursor = 0;
        return defrag_block(w, root, listpack_allocated(root));
    }
    struct hash_table *t = root;
    uint64_t cursor = w->cursor;
    if (cursor == 0) t = defrag_block(w, t, sizeof *t);
    do cursor = dict_defrag(&t->fields.dict, w, cursor, defrag_field, w);
    while (cursor && w->budget > 0);
    w->cursor = cursor;
    return t;
}

static const struct dict *table(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_HASHTABLE ? &((const struct hash_table *)root)->fields.dict : NULL;
}

const struct type_ops hash_ops = {
    .free_some = free_some,
    .effort = effort,
    .copy = copy,
    .bytes = bytes,
    .freeze = freeze,
    .thaw = thaw,
    .table = table,
    .digest = digest,
    .prefetch = prefetch,
    .defrag = defrag,
    .big = &big_ops,
};
