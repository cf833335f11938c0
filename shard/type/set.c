#include "shard/type/set.h"

#include "base/text.h"
#include "shard/shard.h"
#include "shard/type/intset.h"
#include "shard/type/listpack.h"

/* A drain that has not begun is a table: freeing in slices then needs no memory. */
struct set_table {
    struct dict_drain members;
    struct big_mark mark;
};

static struct set_table *set_table_of(const struct set *s)
{
    DCHECK(s->encoding == ENCODING_HASHTABLE);
    return s->root;
}

static struct dict *table_of(const struct set *s)
{
    return &set_table_of(s)->members.dict;
}

/* ---- making and converting ---- */

static struct set_table *table_create(struct mem *mem)
{
    struct set_table *t = mem_alloc_zeroed(mem, sizeof *t);
    dict_init(&t->members.dict, mem, shard_seed_here());
    return t;
}

static bool try_create(struct mem *mem, enum encoding encoding, struct set *out)
{
    void *root;
    if (encoding == ENCODING_INTSET) {
        root = intset_try_create(mem);
    } else if (encoding == ENCODING_LISTPACK) {
        root = listpack_try_create(mem);
    } else {
        root = table_create(mem);
    }
    *out = (struct set){root, encoding};
    return root != NULL;
}

bool set_try_create(struct mem *mem, const struct shard_config *c, struct bytes first,
                    uint64_t expected, struct set *out)
{
    int64_t n;
    enum encoding encoding = ENCODING_HASHTABLE;
    if (expected <= c->set_max_intset_entries && text_to_i64(first, &n)) {
        encoding = ENCODING_INTSET;
    } else if (expected <= c->set_max_listpack_entries) {
        encoding = ENCODING_LISTPACK;
    }
    return try_create(mem, encoding, out);
}

static void free_member(void *context, struct entry *e, UNUSED uint64_t position)
{
    entry_free_string(context, e);
}

static bool free_some(struct mem *mem, void *root, enum encoding encoding, uint64_t budget)
{
    if (encoding == ENCODING_INTSET) {
        intset_free(mem, root);
    } else if (encoding == ENCODING_LISTPACK) {
        listpack_free(mem, root);
    } else {
        struct set_table *t = root;
        CHECK(!t->mark.value);
        if (!dict_drain_some(&t->members, budget, free_member, mem)) return false;
        mem_free(mem, t, sizeof *t);
    }
    return true;
}

void set_free(struct mem *mem, struct set *s)
{
    CHECK(free_some(mem, s->root, s->encoding, UINT64_MAX));
    s->root = NULL;
}

static bool table_try_insert(struct mem *mem, struct set_table *t, uint64_t hash,
                             struct bytes member)
{
    struct entry *e =
        entry_try_make_string(mem, member, BYTES_LITERAL(""), ENCODING_RAW, DEADLINE_NONE);
    if (!e) return false;
    if (unlikely(!dict_try_make_room(&t->members.dict, hash))) {
        entry_free_string(mem, e);
        return false;
    }
    big_mark_admit(&t->mark, e);
    dict_insert(&t->members.dict, hash, e, 0);
    return true;
}

/* A member that is not in the set, without a look at thresholds. */
static bool append(struct mem *mem, struct set *s, struct bytes member)
{
    if (s->encoding == ENCODING_LISTPACK) {
        struct listpack *lp = s->root;
        if (!listpack_try_append(mem, &lp, member)) return false;
        s->root = lp;
        return true;
    }
    struct set_table *t = set_table_of(s);
    return table_try_insert(mem, t, bytes_hash(member, t->members.dict.seed), member);
}

struct copying {
    struct mem *mem;
    struct set *to;
};

static bool copy_member(void *context, struct bytes member)
{
    struct copying *copying = context;
    return append(copying->mem, copying->to, member);
}

static bool try_convert(struct mem *mem, struct set *s, enum encoding encoding)
{
    struct set to;
    if (!try_create(mem, encoding, &to)) return false;
    struct copying copying = {mem, &to};
    if (!set_each(s, copy_member, &copying)) {
        set_free(mem, &to);
        return false;
    }
    set_free(mem, s);
    *s = to;
    return true;
}

/* ---- members ---- */

uint64_t set_size(const struct set *s)
{
    if (s->encoding == ENCODING_INTSET) return intset_length(s->root);
    if (s->encoding == ENCODING_LISTPACK) return listpack_length(s->root);
    return table_of(s)->count;
}

bool set_has(const struct set *s, struct bytes member)
{
    int64_t n;
    if (s->encoding == ENCODING_INTSET) {
        return text_to_i64(member, &n) && intset_has(s->root, n);
    }
    if (s->encoding == ENCODING_LISTPACK) {
        return listpack_find(s->root, listpack_first(s->root), member, 0) != 0;
    }
    const struct dict *d = table_of(s);
    return dict_find(d, bytes_hash(member, d->seed), member) != NULL;
}

/* Whether a listpack may take one more member. */
static bool listpack_allows(const struct shard_config *c, uint64_t size, struct bytes member)
{
    return size < c->set_max_listpack_entries && member.size <= c->set_max_listpack_value_bytes;
}

/* The longest text of the integers is that of the smallest or of the largest. */
static size_t intset_text_bytes_max(const struct intset *is)
{
    char text[TEXT_I64_BYTES_MAX];
    uint32_t length = intset_length(is);
    if (length == 0) return 0;
    size_t smallest = text_from_i64(text, intset_get(is, 0));
    size_t largest = text_from_i64(text, intset_get(is, length - 1));
    return MAX(smallest, largest);
}

static bool add_integer(struct mem *mem, const struct shard_config *c, struct set *s, int64_t n,
                        bool *added)
{
    struct intset *is = s->root;
    if (!intset_try_add(mem, &is, n, added)) return false;
    s->root = is;
    /* Without memory for the conversion it stays a large intset. */
    if (intset_length(is) > c->set_max_intset_entries) {
        (void)try_convert(mem, s, ENCODING_HASHTABLE);
    }
    return true;
}

static bool add_to_listpack(struct mem *mem, const struct shard_config *c, struct set *s,
                            struct bytes member, bool *added)
{
    struct listpack *lp = s->root;
    *added = !listpack_find(lp, listpack_first(lp), member, 0);
    if (!*added) return true;
    bool fits = listpack_allows(c, listpack_length(lp), member) &&
                listpack_has_room(lp, LISTPACK_ELEMENT_BYTES_MAX(member.size));
    if (!fits && !try_convert(mem, s, ENCODING_HASHTABLE)) return false;
    return append(mem, s, member);
}

bool set_try_add(struct mem *mem, const struct shard_config *c, struct set *s, struct bytes member,
                 bool *added)
{
    int64_t n;
    if (s->encoding == ENCODING_INTSET) {
        if (text_to_i64(member, &n)) return add_integer(mem, c, s, n, added);
        bool fits = listpack_allows(c, intset_length(s->root), member) &&
                    intset_text_bytes_max(s->root) <= c->set_max_listpack_value_bytes;
        if (!try_convert(mem, s, fits ? ENCODING_LISTPACK : ENCODING_HASHTABLE)) return false;
    }
    if (s->encoding == ENCODING_LISTPACK) return add_to_listpack(mem, c, s, member, added);
    struct dict *d = table_of(s);
    uint64_t hash = bytes_hash(member, d->seed);
    *added = !dict_find(d, hash, member);
    return !*added || table_try_insert(mem, set_table_of(s), hash, member);
}

bool set_try_expect(struct mem *mem, const struct shard_config *c, struct set *s, uint64_t expected)
{
    bool is_too_many = (s->encoding == ENCODING_INTSET && expected > c->set_max_intset_entries) ||
                       (s->encoding == ENCODING_LISTPACK && expected > c->set_max_listpack_entries);
    return !is_too_many || try_convert(mem, s, ENCODING_HASHTABLE);
}

bool set_remove(struct mem *mem, struct set *s, struct bytes member)
{
    if (s->encoding == ENCODING_INTSET) {
        int64_t n;
        struct intset *is = s->root;
        if (!text_to_i64(member, &n) || !intset_remove(mem, &is, n)) return false;
        s->root = is;
        return true;
    }
    if (s->encoding == ENCODING_LISTPACK) {
        struct listpack *lp = s->root;
        uint32_t at = listpack_find(lp, listpack_first(lp), member, 0);
        if (!at) return false;
        listpack_delete(mem, &lp, at, 1);
        s->root = lp;
        return true;
    }
    struct dict *d = table_of(s);
    struct entry *e = dict_remove(d, bytes_hash(member, d->seed), member);
    if (!e) return false;
    big_mark_guard(&set_table_of(s)->mark, e);
    entry_free_string(mem, e);
    return true;
}

struct bytes set_random(const struct set *s, uint64_t random, char *scratch)
{
    DCHECK(set_size(s) > 0);
    if (s->encoding == ENCODING_INTSET) {
        int64_t n = intset_get(s->root, (uint32_t)(random % intset_length(s->root)));
        return bytes_make(scratch, text_from_i64(scratch, n));
    }
    if (s->encoding == ENCODING_LISTPACK) {
        int64_t index = (int64_t)(random % listpack_length(s->root));
        return listpack_text(s->root, listpack_seek(s->root, index), scratch);
    }
    return entry_key(dict_random(table_of(s), random));
}

/* ---- walking ---- */

struct table_walk {
    set_each_fn *fn;
    void *context;
    uint64_t seen;
    bool stopped;
};

static void walk_member(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct table_walk *w = context;
    w->seen++;
    if (!w->stopped) w->stopped = !w->fn(w->context, entry_key(e));
}

static bool each_of_intset(const struct intset *is, set_each_fn *fn, void *context)
{
    char text[TEXT_I64_BYTES_MAX];
    uint32_t length = intset_length(is);
    for (uint32_t i = 0; i < length; i++) {
        size_t size = text_from_i64(text, intset_get(is, i));
        if (!fn(context, bytes_make(text, size))) return false;
    }
    return true;
}

static bool each_of_listpack(const struct listpack *lp, set_each_fn *fn, void *context)
{
    char scratch[TEXT_I64_BYTES_MAX];
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        if (!fn(context, listpack_text(lp, at, scratch))) return false;
    }
    return true;
}

bool set_each(const struct set *s, set_each_fn *fn, void *context)
{
    if (s->encoding == ENCODING_INTSET) return each_of_intset(s->root, fn, context);
    if (s->encoding == ENCODING_LISTPACK) return each_of_listpack(s->root, fn, context);
    struct table_walk w = {.fn = fn, .context = context};
    uint64_t cursor = 0;
    do cursor = dict_scan(table_of(s), cursor, walk_member, &w);
    while (cursor && !w.stopped);
    return !w.stopped;
}

static bool scan_member(void *context, struct bytes member)
{
    struct table_walk *w = context;
    (void)w->fn(w->context, member);
    return true;
}

uint64_t set_scan(const struct set *s, uint64_t cursor, uint64_t count, set_each_fn *fn,
                  void *context)
{
    struct table_walk w = {.fn = fn, .context = context};
    if (s->encoding != ENCODING_HASHTABLE) {
        (void)set_each(s, scan_member, &w);
        return 0;
    }
    do {
        w.stopped = false;
        cursor = dict_scan(table_of(s), cursor, walk_member, &w);
    } while (cursor && w.seen < count);
    return cursor;
}

/* ---- for the rest of the shard ---- */

static uint64_t effort(const void *root, enum encoding encoding)
{
    if (encoding != ENCODING_HASHTABLE) return 1;
    return ((const struct set_table *)root)->members.dict.count;
}

static struct set view(const void *root, enum encoding encoding)
{
    return (struct set){(void *)(uintptr_t)root, encoding};
}

static void *copy(struct mem *mem, const void *root, enum encoding encoding)
{
    if (encoding == ENCODING_INTSET) return intset_try_copy(mem, root);
    if (encoding == ENCODING_LISTPACK) return listpack_try_copy(mem, root);
    struct set from = view(root, encoding), to = {table_create(mem), encoding};
    struct copying copying = {mem, &to};
    if (!set_each(&from, copy_member, &copying)) set_free(mem, &to);
    return to.root;
}

/* The members of a table, from a sample. */
struct measuring {
    uint64_t seen, bytes;
};

static void measure_member(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct measuring *m = context;
    m->seen++;
    m->bytes += mem_class_bytes(entry_bytes(e));
}

static uint64_t bytes(const void *root, enum encoding encoding, uint64_t samples)
{
    if (encoding == ENCODING_INTSET) return intset_allocated(root);
    if (encoding == ENCODING_LISTPACK) return listpack_allocated(root);
    const struct dict *d = &((const struct set_table *)root)->members.dict;
    struct measuring m = {0};
    uint64_t cursor = 0;
    do cursor = dict_scan(d, cursor, measure_member, &m);
    while (cursor && (samples == 0 || m.seen < samples));
    uint64_t members = m.bytes;
    if (m.seen > 0 && m.seen < d->count) {
        members = (uint64_t)((double)m.bytes / (double)m.seen * (double)d->count);
    }
    return mem_class_bytes(sizeof(struct set_table)) + d->bytes + members;
}

/* ---- RDB form ---- */

static bool freeze_member(void *context, struct bytes member)
{
    return rdb_try_append_string(context, member);
}

/* A listpack is written member by member: redis-server 7.0 knows no listpacks of sets. */
static bool freeze(const void *root, enum encoding encoding, struct rdb_writer *out)
{
    if (encoding == ENCODING_INTSET) {
        return rdb_try_append_type(out, RDB_TYPE_SET_INTSET | OBJECT_FROZEN_COMPACT) &&
               rdb_try_append_string(out, intset_view(root));
    }
    bool is_table = encoding == ENCODING_HASHTABLE;
    uint8_t type = RDB_TYPE_SET | (is_table ? OBJECT_FROZEN_TABLE : OBJECT_FROZEN_COMPACT);
    struct set s = view(root, encoding);
    return rdb_try_append_type(out, type) && rdb_try_append_length(out, set_size(&s)) &&
           set_each(&s, freeze_member, out);
}

/* One member, which must be new. `exact`: without a look at thresholds. */
static bool thaw_member(struct mem *mem, struct bytes *in, struct set *s, bool exact)
{
    struct rdb_string member;
    if (!rdb_take_string(mem, in, &member)) return false;
    bool added;
    if (exact) {
        added = !set_has(s, member.text) && append(mem, s, member.text);
    } else {
        added = set_try_add(mem, shard_config_here(), s, member.text, &added) && added;
    }
    rdb_string_free(mem, &member);
    return added;
}

static bool thaw_members(struct mem *mem, uint8_t rdb_type, struct bytes *in, struct set *out)
{
    uint64_t count;
    if (!rdb_take_length(in, &count) || count == 0) return false;
    bool exact = rdb_type & OBJECT_FROZEN_EXACT;
    enum encoding encoding = ENCODING_HASHTABLE;
    if (rdb_type & OBJECT_FROZEN_COMPACT) encoding = ENCODING_LISTPACK;
    if (!exact && count <= shard_config_here()->set_max_intset_entries) encoding = ENCODING_INTSET;
    if (!try_create(mem, encoding, out)) return false;
    for (uint64_t i = 0; i < count; i++) {
        if (thaw_member(mem, in, out, exact)) continue;
        set_free(mem, out);
        return false;
    }
    return true;
}

static bool thaw_intset(struct mem *mem, uint8_t rdb_type, struct bytes image, struct set *out)
{
    *out = (struct set){intset_try_from_bytes(mem, image), ENCODING_INTSET};
    if (!out->root) return false;
    uint32_t length = intset_length(out->root);
    bool is_small = length <= shard_config_here()->set_max_intset_entries;
    if (is_small || rdb_type & OBJECT_FROZEN_COMPACT) {
        if (length > 0) return true;
    } else if (try_convert(mem, out, ENCODING_HASHTABLE)) {
        return true;
    }
    set_free(mem, out);
    return false;
}

static bool has_repetition(const struct listpack *lp)
{
    char scratch[TEXT_I64_BYTES_MAX];
    for (uint32_t at = listpack_first(lp), next; at; at = next) {
        next = listpack_next(lp, at);
        if (next && listpack_find(lp, next, listpack_text(lp, at, scratch), 0)) return true;
    }
    return false;
}

/* As redis-server 7.2 writes it. Many members go one by one to a table, which notices repetitions
 * sooner. */
static bool thaw_listpack(struct mem *mem, struct bytes image, struct set *out)
{
    struct set from = {listpack_try_from_bytes(mem, image), ENCODING_LISTPACK};
    if (!from.root) return false;
    uint64_t length = listpack_length(from.root);
    if (length > 0 && length <= shard_config_here()->set_max_listpack_entries &&
        !has_repetition(from.root)) {
        *out = from;
        return true;
    }
    bool is_good = length > shard_config_here()->set_max_listpack_entries;
    *out = (struct set){is_good ? table_create(mem) : NULL, ENCODING_HASHTABLE};
    char scratch[TEXT_I64_BYTES_MAX];
    for (uint32_t at = listpack_first(from.root); at && is_good;
         at = listpack_next(from.root, at)) {
        struct bytes member = listpack_text(from.root, at, scratch);
        is_good = !set_has(out, member) && append(mem, out, member);
    }
    set_free(mem, &from);
    if (!is_good && out->root) set_free(mem, out);
    return is_good;
}

static void *thaw(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding)
{
    uint8_t plain_type = rdb_type & (uint8_t)~OBJECT_FROZEN_EXACT;
    struct set s = {0};
    if (plain_type == RDB_TYPE_SET) {
        if (!thaw_members(mem, rdb_type, in, &s)) return NULL;
    } else if (plain_type == RDB_TYPE_SET_INTSET || rdb_type == RDB_TYPE_SET_LISTPACK) {
        struct rdb_string image;
        if (!rdb_take_string(mem, in, &image)) return NULL;
        bool is_good = plain_type == RDB_TYPE_SET_INTSET
                           ? thaw_intset(mem, rdb_type, image.text, &s)
                           : thaw_listpack(mem, image.text, &s);
        rdb_string_free(mem, &image);
        if (!is_good) return NULL;
    } else {
        return NULL;
    }
    *encoding = s.encoding;
    return s.root;
}

static bool digest_member(void *context, struct bytes member)
{
    digest_add(context, member);
    return true;
}

static void digest(const void *root, enum encoding encoding, struct digest *out)
{
    struct set s = view(root, encoding);
    CHECK(set_each(&s, digest_member, out));
}

static bool prefetch(struct value_prefetch *p, unsigned step)
{
    const struct request *rq = p->request;
    const struct set_table *t = p->root;
    if (p->encoding != ENCODING_HASHTABLE || rq->argc < 3) return false;
    return object_prefetch_member(p, step, &t->members.dict, rq->argv[2]);
}

static struct entry *defrag_member(void *context, struct entry *e)
{
    return entry_defrag(context, e);
}

static void *defrag(struct defrag_walk *w, void *root, enum encoding encoding)
{
    if (encoding != ENCODING_HASHTABLE) {
        struct set s = view(root, encoding);
        w->cursor = 0;
        return defrag_block(w, root,
                            encoding == ENCODING_INTSET ? intset_allocated(s.root)
                                                        : listpack_allocated(s.root));
    }
    struct set_table *t = root;
    if (w->cursor == 0) t = defrag_block(w, t, sizeof *t);
    do w->cursor = dict_defrag(&t->members.dict, w, w->cursor, defrag_member, w);
    while (w->cursor && w->budget > 0);
    return t;
}

/* ---- in slices ---- */

static struct big_value **big_slot(void *root, enum encoding encoding)
{
    return encoding == ENCODING_HASHTABLE ? &((struct set_table *)root)->mark.value : NULL;
}

static void big_begin(struct big_value *v)
{
    struct set_table *t = v->root;
    t->mark.colour ^= ENTRY_COLOUR;
    v->rdb_type = RDB_TYPE_SET;
    v->count = t->members.dict.count;
}

static void big_put(struct big_value *v, const struct entry *member)
{
    big_value_put(v, entry_key(member));
}

static bool big_step(struct big_value *v)
{
    const struct set_table *t = v->root;
    return big_value_step_table(v, &t->members.dict, &t->mark);
}

static const struct big_value_ops big_ops = {.slot = big_slot,
                                             .begin = big_begin,
                                             .put = big_put,
                                             .step = big_step,
                                             .effort_max = BIG_VALUE_ELEMENTS};

static const struct dict *table(const void *root, enum encoding encoding)
{
    return encoding == ENCODING_HASHTABLE ? &((const struct set_table *)root)->members.dict : NULL;
}

const struct type_ops set_ops = {
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

/* ---- invariants ---- */

static bool check_member(void *context, struct bytes member)
{
    CHECK(set_has(context, member));
    return true;
}

void set_validate(const struct set *s)
{
    if (s->encoding == ENCODING_INTSET) {
        intset_validate(s->root);
    } else if (s->encoding == ENCODING_LISTPACK) {
        listpack_validate(s->root);
        CHECK(!has_repetition(s->root));
    } else {
        dict_validate(table_of(s));
    }
    struct set copy_of_view = *s;
    CHECK(set_each(s, check_member, &copy_of_view));
}
