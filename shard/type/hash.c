#include "shard/type/hash.h"

#include "shard/shard.h"

#define NO_DEADLINE INT64_MAX
/* A scan gives up after so many buckets for each field that it should find. */
#define SCAN_STEPS_PER_FIELD 10

/* A drain that has not begun is a table: freeing in slices then needs no memory. */
struct hash_table {
    struct dict_drain fields;
    int64_t next_deadline_ms; /* no field's deadline is before it; NO_DEADLINE */
};

static bool is_packed(const struct hash *h)
{
    return h->encoding == ENCODING_LISTPACK;
}

static struct listpack *packed(const struct hash *h)
{
    DCHECK(is_packed(h));
    return h->root;
}

static struct hash_table *table_of(const struct hash *h)
{
    DCHECK(!is_packed(h));
    return h->root;
}

static struct dict *dict_of(const struct hash *h)
{
    return &table_of(h)->fields.dict;
}

/* What loading goes by: Redis's defaults where there is no shard. */
static const struct shard_config *config_here(void)
{
    static const struct shard_config defaults = {
        .hash_max_listpack_entries = 512,
        .hash_max_listpack_value_bytes = 64,
    };
    return shard_here ? shard_here->config : &defaults;
}

/* ---- the whole ---- */

bool hash_try_create(struct mem *mem, struct hash *out)
{
    struct listpack *lp = listpack_try_create(mem);
    if (!lp) return false;
    *out = (struct hash){lp, ENCODING_LISTPACK};
    return true;
}

static bool try_create_table(struct mem *mem, struct hash *out)
{
    struct hash_table *t = mem_try_alloc(mem, sizeof *t);
    if (!t) return false;
    *t = (struct hash_table){.next_deadline_ms = NO_DEADLINE};
    dict_init(&t->fields.dict, mem, shard_here ? shard_here->keys.seed : 0);
    *out = (struct hash){t, ENCODING_HASHTABLE};
    return true;
}

static void free_field(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    entry_free_string(context, e);
}

static bool free_some(struct mem *mem, void *root, enum encoding encoding, uint64_t budget)
{
    if (encoding == ENCODING_LISTPACK) {
        listpack_free(mem, root);
        return true;
    }
    struct hash_table *t = root;
    if (!dict_drain_some(&t->fields, budget, free_field, mem)) return false;
    mem_free(mem, t, sizeof *t);
    return true;
}

void hash_free(struct mem *mem, struct hash *h)
{
    CHECK(free_some(mem, h->root, h->encoding, UINT64_MAX));
}

uint64_t hash_length(const struct hash *h)
{
    return is_packed(h) ? listpack_length(packed(h)) / 2 : dict_of(h)->count;
}

/* ---- reading ---- */

static struct listpack_value text_value(struct bytes text)
{
    return (struct listpack_value){.text = text.data, .size = text.size};
}

static void read_entry(const struct entry *e, struct hash_field *out)
{
    *out = (struct hash_field){
        .name = text_value(entry_key(e)),
        .value = text_value(entry_string(e, NULL)),
        .deadline_ms = entry_deadline_ms(e),
    };
}

/* The pair whose field stands at `at`. Returns the position of its value. */
static uint32_t read_pair(const struct listpack *lp, uint32_t at, struct hash_field *out)
{
    out->deadline_ms = 0;
    listpack_get(lp, at, &out->name);
    at = listpack_next(lp, at);
    listpack_get(lp, at, &out->value);
    return at;
}

static uint32_t find_packed(const struct listpack *lp, struct bytes field)
{
    return listpack_find(lp, listpack_first(lp), field, 1);
}

static struct entry *find_entry(const struct hash *h, struct bytes field)
{
    struct dict *d = dict_of(h);
    return dict_find(d, bytes_hash(field, d->seed), field);
}

static bool has_passed(int64_t deadline_ms, int64_t now_ms)
{
    return deadline_ms && now_ms > deadline_ms;
}

bool hash_find(const struct hash *h, struct bytes field, int64_t now_ms, struct hash_field *out)
{
    if (is_packed(h)) {
        uint32_t at = find_packed(packed(h), field);
        if (at) read_pair(packed(h), at, out);
        return at != 0;
    }
    struct entry *e = find_entry(h, field);
    if (!e || has_passed(entry_deadline_ms(e), now_ms)) return false;
    read_entry(e, out);
    return true;
}

struct walk {
    hash_each_fn *fn;
    void *context;
    uint64_t told;
};

static void tell(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct walk *w = context;
    struct hash_field field;
    read_entry(e, &field);
    w->fn(w->context, &field);
    w->told++;
}

static void each_packed(const struct listpack *lp, const struct walk *w)
{
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        struct hash_field field;
        at = read_pair(lp, at, &field);
        w->fn(w->context, &field);
    }
}

void hash_each(const struct hash *h, hash_each_fn *fn, void *context)
{
    struct walk w = {fn, context, 0};
    if (is_packed(h)) {
        each_packed(packed(h), &w);
        return;
    }
    uint64_t cursor = 0;
    do cursor = dict_scan(dict_of(h), cursor, tell, &w);
    while (cursor != 0);
}

uint64_t hash_scan(const struct hash *h, uint64_t cursor, uint64_t count, hash_each_fn *fn,
                   void *context)
{
    struct walk w = {fn, context, 0};
    if (is_packed(h)) {
        each_packed(packed(h), &w);
        return 0;
    }
    uint64_t steps =
        count > UINT64_MAX / SCAN_STEPS_PER_FIELD ? UINT64_MAX : count * SCAN_STEPS_PER_FIELD;
    do cursor = dict_scan(dict_of(h), cursor, tell, &w);
    while (cursor != 0 && w.told < count && --steps > 0);
    return cursor;
}

void hash_random(const struct hash *h, uint64_t random, struct hash_field *out)
{
    if (is_packed(h)) {
        int64_t index = (int64_t)(random % hash_length(h));
        read_pair(packed(h), listpack_seek(packed(h), 2 * index), out);
    } else {
        read_entry(dict_random(dict_of(h), random), out);
    }
}

/* ---- the table ---- */

static void insert_entry(const struct hash *h, struct entry *e)
{
    struct hash_table *t = table_of(h);
    struct dict *d = &t->fields.dict;
    int64_t deadline_ms = entry_deadline_ms(e);
    dict_insert(d, bytes_hash(entry_key(e), d->seed), e, keyspace_deadline_mark(deadline_ms));
    if (deadline_ms) t->next_deadline_ms = MIN(t->next_deadline_ms, deadline_ms);
}

/* `e` in place of `old`, which may be `e` itself with another deadline; not freed. */
static void replace_entry(const struct hash *h, const struct entry *old, struct entry *e)
{
    struct hash_table *t = table_of(h);
    struct dict *d = &t->fields.dict;
    int64_t deadline_ms = entry_deadline_ms(e);
    dict_replace(d, bytes_hash(entry_key(e), d->seed), old, e, keyspace_deadline_mark(deadline_ms));
    if (deadline_ms) t->next_deadline_ms = MIN(t->next_deadline_ms, deadline_ms);
}

static struct entry *try_make_field(struct mem *mem, struct bytes field, struct bytes value,
                                    int64_t deadline_ms)
{
    return entry_try_make_string(mem, field, value, ENCODING_RAW, deadline_ms);
}

static bool table_try_set(struct mem *mem, const struct hash *h, const struct hash_pair *pair,
                          bool *added)
{
    struct entry *old = find_entry(h, pair->field);
    *added = old == NULL;
    if (old) {
        int64_t old_ms = entry_deadline_ms(old);
        if (entry_overwrite_string(old, pair->value, ENCODING_RAW, pair->deadline_ms)) {
            if (old_ms != pair->deadline_ms) replace_entry(h, old, old);
            return true;
        }
    }
    struct entry *e = try_make_field(mem, pair->field, pair->value, pair->deadline_ms);
    if (!e) return false;
    if (!old) {
        insert_entry(h, e);
        return true;
    }
    replace_entry(h, old, e);
    entry_free_string(mem, old);
    return true;
}

static struct bytes value_text(const struct listpack_value *v, char *scratch)
{
    if (v->text) return bytes_make(v->text, v->size);
    return bytes_make(scratch, text_from_i64(scratch, v->integer));
}

/* A table of the pairs of a listpack; false if a field stands there twice, or there is no memory.
 */
static bool try_make_table(struct mem *mem, const struct listpack *lp, struct hash *out)
{
    if (!try_create_table(mem, out)) return false;
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        char name_scratch[TEXT_I64_BYTES_MAX], scratch[TEXT_I64_BYTES_MAX];
        struct hash_field f;
        bool added = false;
        at = read_pair(lp, at, &f);
        struct hash_pair pair = {value_text(&f.name, name_scratch), value_text(&f.value, scratch),
                                 0};
        if (table_try_set(mem, out, &pair, &added) && added) continue;
        hash_free(mem, out);
        return false;
    }
    return true;
}

static bool become_table(struct mem *mem, struct hash *h)
{
    struct hash table;
    if (!try_make_table(mem, packed(h), &table)) return false;
    listpack_free(mem, packed(h));
    *h = table;
    return true;
}

/* ---- changing ---- */

bool hash_try_prepare(struct mem *mem, const struct shard_config *c, struct hash *h,
                      uint64_t pair_count, uint64_t longest_bytes)
{
    if (!is_packed(h)) return true;
    if (pair_count <= c->hash_max_listpack_entries &&
        longest_bytes <= c->hash_max_listpack_value_bytes) {
        return true;
    }
    return become_table(mem, h);
}

/* Sets a field of a listpack. */
static bool packed_try_set(struct mem *mem, struct hash *h, const struct hash_pair *pair,
                           bool *added)
{
    struct listpack *lp = packed(h);
    uint32_t at = find_packed(lp, pair->field);
    *added = at == 0;
    bool done;
    if (at) {
        done = listpack_try_replace(mem, &lp, listpack_next(lp, at), pair->value);
    } else {
        done = listpack_try_append(mem, &lp, pair->field);
        if (done && !listpack_try_append(mem, &lp, pair->value)) {
            listpack_delete_range(mem, &lp, -1, 1);
            done = false;
        }
    }
    h->root = lp;
    return done;
}

bool hash_try_set(struct mem *mem, const struct shard_config *c, struct hash *h,
                  const struct hash_pair *pair, bool *added)
{
    size_t field_bytes = pair->field.size, value_bytes = pair->value.size;
    bool must_convert = is_packed(h) && pair->deadline_ms;
    if (must_convert && !become_table(mem, h)) return false;
    if (!hash_try_prepare(mem, c, h, 1, MAX(field_bytes, value_bytes))) return false;
    if (!is_packed(h)) return table_try_set(mem, h, pair, added);
    size_t bytes =
        LISTPACK_ELEMENT_BYTES_MAX(field_bytes) + LISTPACK_ELEMENT_BYTES_MAX(value_bytes);
    if (!listpack_has_room(packed(h), bytes)) {
        return become_table(mem, h) && table_try_set(mem, h, pair, added);
    }
    if (!packed_try_set(mem, h, pair, added)) return false;
    if (hash_length(h) <= c->hash_max_listpack_entries) return true;
    /* One too many; without the memory for a table it stays a listpack for now. */
    (void)!become_table(mem, h);
    return true;
}

bool hash_remove(struct mem *mem, struct hash *h, struct bytes field)
{
    if (!is_packed(h)) {
        struct dict *d = dict_of(h);
        struct entry *e = dict_remove(d, bytes_hash(field, d->seed), field);
        if (e) entry_free_string(mem, e);
        return e != NULL;
    }
    struct listpack *lp = packed(h);
    uint32_t at = find_packed(lp, field);
    if (at) listpack_delete(mem, &lp, at, 2);
    h->root = lp;
    return at != 0;
}

bool hash_try_set_deadline(struct mem *mem, struct hash *h, struct bytes field, int64_t deadline_ms)
{
    if (is_packed(h)) {
        if (deadline_ms == 0) return true;
        if (!become_table(mem, h)) return false;
    }
    struct entry *e = find_entry(h, field);
    CHECK(e);
    if (entry_change_deadline(e, deadline_ms)) {
        replace_entry(h, e, e);
        return true;
    }
    struct entry *moved = entry_try_reshell(mem, e, entry_key(e), deadline_ms);
    if (!moved) return false;
    replace_entry(h, e, moved);
    entry_free_shell(mem, e);
    return true;
}

/* ---- deadlines ---- */

uint64_t hash_volatile_count(const struct hash *h)
{
    return is_packed(h) ? 0 : dict_of(h)->marked_count;
}

bool hash_has_expired(const struct hash *h, int64_t now_ms)
{
    return !is_packed(h) && has_passed(table_of(h)->next_deadline_ms, now_ms);
}

struct sweep {
    struct buf due; /* struct entry * */
    int64_t now_ms, next_deadline_ms;
};

static void sweep_entry(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct sweep *s = context;
    int64_t deadline_ms = entry_deadline_ms(e);
    if (has_passed(deadline_ms, s->now_ms)) {
        buf_append(&s->due, &e, sizeof(struct entry *));
    } else {
        s->next_deadline_ms = MIN(s->next_deadline_ms, deadline_ms);
    }
}

static void remove_due(struct mem *mem, struct dict *d, struct buf *due)
{
    for (size_t i = 0; i < due->size; i += sizeof(struct entry *)) {
        struct entry *e;
        memcpy(&e, due->data + i, sizeof(struct entry *));
        dict_remove_entry(d, bytes_hash(entry_key(e), d->seed), e);
        entry_free_string(mem, e);
    }
    due->size = 0;
}

uint64_t hash_drop_expired(struct mem *mem, struct hash *h, int64_t now_ms)
{
    if (!hash_has_expired(h, now_ms)) return 0;
    struct dict *d = dict_of(h);
    uint64_t before = d->count, cursor = 0;
    struct sweep s = {.due = {.mem = mem}, .now_ms = now_ms, .next_deadline_ms = NO_DEADLINE};
    do {
        cursor = dict_scan_marked(d, cursor, DICT_MARKS_ALL, sweep_entry, &s);
        remove_due(mem, d, &s.due);
    } while (cursor != 0);
    buf_clear(&s.due);
    table_of(h)->next_deadline_ms = s.next_deadline_ms;
    return before - d->count;
}

/* ---- type_ops ---- */

static uint64_t effort(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_LISTPACK ? 1 : ((const struct hash_table *)root)->fields.dict.count;
}

struct copying {
    struct mem *mem;
    struct hash to;
    bool failed;
};

static void copy_entry(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct copying *c = context;
    if (c->failed) return;
    struct entry *copy =
        try_make_field(c->mem, entry_key(e), entry_string(e, NULL), entry_deadline_ms(e));
    c->failed = copy == NULL;
    if (copy) insert_entry(&c->to, copy);
}

static void *copy(struct mem *mem, const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_LISTPACK) return listpack_try_copy(mem, root);
    const struct hash_table *from = root;
    struct copying c = {.mem = mem};
    if (!try_create_table(mem, &c.to)) return NULL;
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

static void measure_entry(void *context, struct entry *e, uint64_t position)
{
    (void)position;
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

static void freeze_entry(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct freezing *f = context;
    int64_t deadline_ms = entry_deadline_ms(e);
    uint64_t ttl = deadline_ms ? (uint64_t)(deadline_ms - f->base_ms) + 1 : 0;
    if (f->failed) return;
    if (f->base_ms && !rdb_try_append_length(f->out, ttl)) f->failed = true;
    f->failed = f->failed || !rdb_try_append_string(f->out, entry_key(e)) ||
                !rdb_try_append_string(f->out, entry_string(e, NULL));
}

static void look_for_long(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct freezing *f = context;
    size_t longest = MAX(entry_key(e).size, entry_string(e, NULL).size);
    f->all_short &= longest <= config_here()->hash_max_listpack_value_bytes;
}

/* Whether loading the pairs of a table would give a listpack. */
static bool loads_as_listpack(const struct dict *d)
{
    struct freezing f = {.all_short = d->count <= config_here()->hash_max_listpack_entries};
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
    bool fits = listpack_length(root) / 2 <= config_here()->hash_max_listpack_entries;
    uint8_t type = RDB_TYPE_HASH_LISTPACK | (fits ? 0 : OBJECT_FROZEN_COMPACT);
    return rdb_try_append_type(out, type) && rdb_try_append_string(out, listpack_view(root));
}

/* A listpack of pairs, no field twice. */
static bool thaw_packed(struct mem *mem, struct bytes *in, uint8_t exact, struct hash *out)
{
    struct rdb_string text;
    if (!rdb_take_string(mem, in, &text)) return false;
    struct listpack *lp = listpack_try_from_bytes(mem, text.text);
    rdb_string_free(mem, &text);
    uint64_t count = lp ? listpack_length(lp) : 0;
    struct hash table;
    if (count == 0 || count % 2 != 0 || !try_make_table(mem, lp, &table)) {
        listpack_free(mem, lp);
        return false;
    }
    bool fits = count / 2 <= config_here()->hash_max_listpack_entries;
    if (exact != OBJECT_FROZEN_TABLE && (fits || exact == OBJECT_FROZEN_COMPACT)) {
        hash_free(mem, &table);
        *out = (struct hash){lp, ENCODING_LISTPACK};
    } else {
        listpack_free(mem, lp);
        *out = table;
    }
    return true;
}

/* One field and its value, behind the time to live of a field with metadata; false if malformed or
 * the field is there already. */
static bool thaw_field(struct mem *mem, struct bytes *in, int64_t base_ms, struct hash *h)
{
    uint64_t ttl = 0;
    if (base_ms && !rdb_take_length(in, &ttl)) return false;
    if (ttl > (uint64_t)(INT64_MAX - base_ms)) return false;
    int64_t deadline_ms = ttl ? base_ms + (int64_t)ttl - 1 : 0;
    struct rdb_string field, value;
    if (!rdb_take_string(mem, in, &field)) return false;
    bool done = rdb_take_string(mem, in, &value), added = false;
    if (done) {
        struct hash_pair pair = {field.text, value.text, deadline_ms};
        done = hash_try_set(mem, config_here(), h, &pair, &added);
        rdb_string_free(mem, &value);
    }
    rdb_string_free(mem, &field);
    return done && added;
}

static bool thaw_fields(struct mem *mem, struct bytes *in, bool has_metadata, uint8_t exact,
                        struct hash *out)
{
    int64_t base_ms = 0;
    uint64_t count;
    if (has_metadata && (!rdb_take_integer(in, 8, &base_ms) || base_ms <= 0)) return false;
    if (!rdb_take_length(in, &count) || count == 0) return false;
    bool as_table = has_metadata || exact == OBJECT_FROZEN_TABLE;
    if (!(as_table ? try_create_table(mem, out) : hash_try_create(mem, out))) return false;
    bool done = hash_try_prepare(mem, config_here(), out, count, 0);
    for (uint64_t i = 0; done && i < count; i++) done = thaw_field(mem, in, base_ms, out);
    if (!done) hash_free(mem, out);
    return done;
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    struct hash h = {.root = NULL};
    uint8_t exact = rdb_type & OBJECT_FROZEN_EXACT;
    rdb_type &= (uint8_t)~OBJECT_FROZEN_EXACT;
    bool done = false;
    if (rdb_type == RDB_TYPE_HASH_LISTPACK) {
        done = thaw_packed(mem, in, exact, &h);
    } else if (rdb_type == RDB_TYPE_HASH || rdb_type == RDB_TYPE_HASH_METADATA) {
        done = thaw_fields(mem, in, rdb_type == RDB_TYPE_HASH_METADATA, exact, &h);
    }
    *encoding = h.encoding;
    return done ? h.root : NULL;
}

const struct type_ops hash_ops = {free_some, effort, copy, bytes, freeze, thaw};

/* ---- invariants ---- */

struct checking {
    int64_t next_deadline_ms;
};

static void check_entry(void *context, struct entry *e, uint64_t position)
{
    (void)position;
    struct checking *c = context;
    CHECK(entry_type(e) == TYPE_STRING && entry_encoding(e) == ENCODING_RAW);
    if (entry_has_deadline(e)) CHECK(entry_deadline_ms(e) >= c->next_deadline_ms);
}

void hash_validate(const struct hash *h)
{
    if (is_packed(h)) {
        listpack_validate(packed(h));
        CHECK(listpack_length(packed(h)) % 2 == 0);
        return;
    }
    dict_validate(dict_of(h));
    struct checking c = {table_of(h)->next_deadline_ms};
    uint64_t cursor = 0;
    do cursor = dict_scan(dict_of(h), cursor, check_entry, &c);
    while (cursor != 0);
}
