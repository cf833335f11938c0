#include "shard/type/hash.h"

#include <limits.h>

#include "shard/shard.h"

/* A scan gives up after so many buckets for each field that it should find. */
#define SCAN_STEPS_PER_FIELD 10

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

/* ---- the whole ---- */

bool hash_try_create(struct mem *mem, struct hash *out)
{
    struct listpack *lp = listpack_try_create(mem);
    if (!lp) return false;
    *out = (struct hash){lp, ENCODING_LISTPACK};
    return true;
}

bool hash_try_create_table(struct mem *mem, struct hash *out)
{
    struct hash_table *t = mem_try_alloc(mem, sizeof *t);
    if (!t) return false;
    *t = (struct hash_table){.next_deadline_ms = HASH_NO_DEADLINE,
                             .sweep_next_ms = HASH_NO_DEADLINE};
    dict_init(&t->fields.dict, mem, shard_seed_here());
    *out = (struct hash){t, ENCODING_HASHTABLE};
    return true;
}

void hash_free(struct mem *mem, struct hash *h)
{
    object_free_root(mem, TYPE_HASH, h->encoding, h->root);
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

static void tell(void *context, struct entry *e, UNUSED uint64_t position)
{
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

static void note_deadline(struct hash_table *t, int64_t deadline_ms)
{
    if (deadline_ms == 0) return;
    t->next_deadline_ms = MIN(t->next_deadline_ms, deadline_ms);
    t->sweep_next_ms = MIN(t->sweep_next_ms, deadline_ms);
}

void hash_insert_entry(const struct hash *h, struct entry *e)
{
    struct hash_table *t = table_of(h);
    struct dict *d = &t->fields.dict;
    int64_t deadline_ms = entry_deadline_ms(e);
    big_mark_admit(&t->mark, e);
    dict_insert(d, bytes_hash(entry_key(e), d->seed), e, keyspace_deadline_mark(deadline_ms));
    note_deadline(t, deadline_ms);
}

/* Before a field changes or goes. */
static void guard(const struct hash *h, struct entry *e)
{
    big_mark_guard(&table_of(h)->mark, e);
}

/* `e` in place of `old`, which is guarded; it may be `e` itself with another deadline; not freed.
 */
static void replace_entry(const struct hash *h, const struct entry *old, struct entry *e)
{
    struct hash_table *t = table_of(h);
    struct dict *d = &t->fields.dict;
    int64_t deadline_ms = entry_deadline_ms(e);
    big_mark_admit(&t->mark, e);
    dict_replace(d, bytes_hash(entry_key(e), d->seed), old, e, keyspace_deadline_mark(deadline_ms));
    note_deadline(t, deadline_ms);
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
        guard(h, old);
        if (entry_overwrite_string(old, pair->value, ENCODING_RAW, pair->deadline_ms)) {
            if (old_ms != pair->deadline_ms) replace_entry(h, old, old);
            return true;
        }
    }
    struct entry *e = try_make_field(mem, pair->field, pair->value, pair->deadline_ms);
    if (!e) return false;
    struct dict *d = dict_of(h);
    if (!old && !dict_try_make_room(d, bytes_hash(pair->field, d->seed))) {
        entry_free_string(mem, e);
        return false;
    }
    if (!old) {
        hash_insert_entry(h, e);
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

bool hash_try_make_table(struct mem *mem, const struct listpack *lp, struct hash *out)
{
    if (!hash_try_create_table(mem, out)) return false;
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
    if (!hash_try_make_table(mem, packed(h), &table)) return false;
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

/* Entries for all pairs first, and what the table will need: putting them there cannot fail. */
static bool table_try_set_all(struct mem *mem, const struct hash *h, const struct hash_pairs *pairs,
                              int64_t *added)
{
    size_t bytes = pairs->count * sizeof(struct entry *);
    struct entry **entries = mem_try_alloc(mem, bytes);
    size_t cushion_bytes = pairs->count * (size_t)DICT_BYTES_PER_ENTRY;
    void *cushion = mem_try_alloc(mem, cushion_bytes);
    if (!entries || !cushion) {
        mem_free(mem, entries, bytes);
        mem_free(mem, cushion, cushion_bytes);
        return false;
    }
    uint32_t made = 0;
    while (made < pairs->count) {
        entries[made] = try_make_field(mem, pairs->args[2 * made], pairs->args[2 * made + 1], 0);
        if (!entries[made]) break;
        made++;
    }
    bool done = made == pairs->count;
    mem_free(mem, cushion, cushion_bytes);
    for (uint32_t i = 0; i < made; i++) {
        struct entry *old = done ? find_entry(h, pairs->args[2 * i]) : entries[i];
        if (!old) {
            hash_insert_entry(h, entries[i]);
            ++*added;
            continue;
        }
        if (done) {
            *added += has_passed(entry_deadline_ms(old), pairs->now_ms);
            guard(h, old);
            replace_entry(h, old, entries[i]);
        }
        entry_free_string(mem, old);
    }
    mem_free(mem, entries, bytes);
    return done;
}

/* A copy of the listpack, which is small, is what there is to go back to. */
static bool packed_try_set_all(struct mem *mem, const struct shard_config *c, struct hash *h,
                               const struct hash_pairs *pairs, int64_t *added)
{
    struct hash before = {listpack_try_copy(mem, packed(h)), ENCODING_LISTPACK};
    if (!before.root) return false;
    bool done = true;
    for (uint32_t i = 0; done && i < pairs->count; i++) {
        bool is_new;
        struct hash_pair pair = {pairs->args[2 * i], pairs->args[2 * i + 1], 0};
        done = hash_try_set(mem, c, h, &pair, &is_new);
        *added += done && is_new;
    }
    if (!done) {
        struct hash after = *h;
        *h = before;
        before = after;
    }
    hash_free(mem, &before);
    return done;
}

bool hash_try_set_all(struct mem *mem, const struct shard_config *c, struct hash *h,
                      const struct hash_pairs *pairs, int64_t *added)
{
    *added = 0;
    if (is_packed(h)) return packed_try_set_all(mem, c, h, pairs, added);
    return table_try_set_all(mem, h, pairs, added);
}

bool hash_remove(struct mem *mem, struct hash *h, struct bytes field)
{
    if (!is_packed(h)) {
        struct dict *d = dict_of(h);
        struct entry *e = dict_remove(d, bytes_hash(field, d->seed), field);
        if (!e) return false;
        guard(h, e);
        entry_free_string(mem, e);
        return true;
    }
    struct listpack *lp = packed(h);
    uint32_t at = find_packed(lp, field);
    if (at) listpack_delete(mem, &lp, at, 2);
    h->root = lp;
    return at != 0;
}

bool hash_try_change_deadline(struct mem *mem, struct hash *h, struct bytes field,
                              int64_t deadline_ms, struct hash_undo *undo)
{
    *undo = (struct hash_undo){0};
    if (is_packed(h)) {
        if (deadline_ms == 0) return true;
        if (!become_table(mem, h)) return false;
    }
    struct entry *e = find_entry(h, field);
    CHECK(e);
    *undo = (struct hash_undo){.entry = e, .old_ms = entry_deadline_ms(e)};
    guard(h, e);
    if (entry_change_deadline(e, deadline_ms)) {
        replace_entry(h, e, e);
        return true;
    }
    struct entry *moved = entry_try_reshell(mem, e, entry_key(e), deadline_ms);
    if (!moved) return false;
    replace_entry(h, e, moved);
    undo->old = e;
    undo->entry = moved;
    return true;
}

void hash_keep_change(struct mem *mem, const struct hash_undo *undo)
{
    if (undo->old) entry_free_shell(mem, undo->old);
}

struct hash_due hash_due(const struct hash *h)
{
    if (is_packed(h)) return (struct hash_due){HASH_NO_DEADLINE, HASH_NO_DEADLINE};
    return (struct hash_due){table_of(h)->next_deadline_ms, table_of(h)->sweep_next_ms};
}

void hash_undo_due(const struct hash *h, struct hash_due before)
{
    if (is_packed(h)) return;
    table_of(h)->next_deadline_ms = before.next_ms;
    table_of(h)->sweep_next_ms = before.sweep_next_ms;
}

void hash_undo_change(struct mem *mem, const struct hash *h, const struct hash_undo *undo)
{
    if (!undo->entry) return;
    if (undo->old) {
        replace_entry(h, undo->entry, undo->old);
        entry_free_shell(mem, undo->entry);
        return;
    }
    CHECK(entry_change_deadline(undo->entry, undo->old_ms)); /* The size class that it had. */
    replace_entry(h, undo->entry, undo->entry);
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

static void sweep_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct sweep *s = context;
    int64_t deadline_ms = entry_deadline_ms(e);
    if (has_passed(deadline_ms, s->now_ms)) {
        buf_append(&s->due, &e, sizeof(struct entry *));
    } else {
        s->next_deadline_ms = MIN(s->next_deadline_ms, deadline_ms);
    }
}

static void remove_due(struct mem *mem, struct hash *h, struct buf *due,
                       const struct hash_drop *drop)
{
    struct dict *d = dict_of(h);
    for (size_t i = 0; i < due->size; i += sizeof(struct entry *)) {
        struct entry *e;
        memcpy(&e, due->data + i, sizeof(struct entry *));
        guard(h, e);
        if (drop && drop->fn) drop->fn(drop->context, entry_key(e));
        dict_remove_entry(d, bytes_hash(entry_key(e), d->seed), e);
        entry_free_string(mem, e);
    }
    due->size = 0;
}

uint64_t hash_drop_some_expired(struct mem *mem, struct hash *h, int64_t now_ms, unsigned *budget,
                                const struct hash_drop *drop)
{
    if (!hash_has_expired(h, now_ms)) return 0;
    struct hash_table *t = table_of(h);
    struct dict *d = &t->fields.dict;
    uint64_t before = d->count;
    if (t->sweep_cursor == 0) t->sweep_next_ms = HASH_NO_DEADLINE;
    struct sweep s = {.due = {.mem = mem}, .now_ms = now_ms, .next_deadline_ms = t->sweep_next_ms};
    while (*budget > 0) {
        --*budget;
        t->sweep_cursor = dict_scan_marked(d, t->sweep_cursor, DICT_MARKS_ALL, sweep_entry, &s);
        remove_due(mem, h, &s.due, drop);
        if (t->sweep_cursor == 0) break;
    }
    buf_clear(&s.due);
    t->sweep_next_ms = s.next_deadline_ms;
    if (t->sweep_cursor == 0) t->next_deadline_ms = t->sweep_next_ms;
    return before - d->count;
}

uint64_t hash_drop_expired(struct mem *mem, struct hash *h, int64_t now_ms,
                           const struct hash_drop *drop)
{
    if (!hash_has_expired(h, now_ms)) return 0;
    unsigned budget;
    uint64_t dropped = 0;
    table_of(h)->sweep_cursor = 0;
    do {
        budget = UINT_MAX;
        dropped += hash_drop_some_expired(mem, h, now_ms, &budget, drop);
    } while (table_of(h)->sweep_cursor != 0);
    return dropped;
}

int64_t hash_next_deadline_ms(const struct entry *e, int64_t **marked_ms)
{
    struct hash h = hash_of(e);
    struct hash_table *t = table_of(&h);
    *marked_ms = &t->marked_ms;
    return t->next_deadline_ms == HASH_NO_DEADLINE ? 0 : t->next_deadline_ms;
}

/* ---- invariants ---- */

struct checking {
    int64_t next_deadline_ms;
};

static void check_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
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
