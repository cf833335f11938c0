/* sort.c: SORT and SORT_RO.
 *
 *     collect   the elements of a list, a set or a sorted set
 *     weigh     the number or the text that each is sorted by: the element itself, or a value that
 *               BY finds
 *     sort      stably, so that equals stay in the order in which they were collected
 *     tell      the part that LIMIT selects, or what GET finds for it; or store that as a list
 *
 * The values of BY and GET are looked up like any key. That they live on this shard, as guests if
 * need be, is the coordinator's care, which asks cmd_sort_keys first (server/sort_external.h).
 */
#include <stdlib.h>

#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"
#include "shard/notify.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/zset.h"

struct sort_item {
    struct bytes text; /* the element */
    struct bytes by;   /* what it is compared by, if alphabetic */
    double number;     /* the same, if not */
    uint64_t index;    /* in the order of collection */
    bool is_copied;    /* text.data counts from the start of the texts, until all is collected */
    bool has_by;
};

struct sorting {
    struct shard *sh;
    struct request *rq;
    struct sort_options options;
    struct sort_item *items;
    uint64_t count, capacity;
    uint64_t first, selected; /* of the items */
    struct buf texts;         /* copies of elements that have no text of their own in memory */
    struct buf key;           /* that is looked up */
    bool must_copy;           /* the members of a set */
    bool no_memory;
};

/* ---- collecting ---- */

static bool add_item(struct sorting *s, struct bytes text, bool must_copy)
{
    struct sort_item item = {.text = text, .index = s->count, .is_copied = must_copy};
    CHECK(s->count < s->capacity);
    if (must_copy) {
        if (!buf_try_reserve(&s->texts, text.size + 1)) {
            s->no_memory = true;
            return false;
        }
        item.text.data = (const char *)(uintptr_t)s->texts.size;
        buf_append(&s->texts, text.data, text.size);
    }
    s->items[s->count++] = item;
    return true;
}

/* The copies do not move any more. */
static void settle_items(struct sorting *s)
{
    for (uint64_t i = 0; i < s->count; i++) {
        struct sort_item *item = &s->items[i];
        if (!item->is_copied) continue;
        item->text.data = s->texts.data + (uintptr_t)item->text.data;
        item->is_copied = false;
    }
}

static void collect_list(struct sorting *s, const struct list *l, uint64_t first, uint64_t count,
                         bool reverse)
{
    int64_t start = reverse ? -1 - (int64_t)first : (int64_t)first;
    struct quicklist_place at = list_seek(l, start);
    for (; count > 0; count--) {
        struct listpack_value v;
        char scratch[TEXT_I64_BYTES_MAX];
        list_get(l, at, &v);
        struct bytes text = bytes_make(v.text, v.size);
        if (!v.text) text = bytes_make(scratch, text_from_i64(scratch, v.integer));
        if (!add_item(s, text, !v.text)) return;
        at = reverse ? list_prev(l, at) : list_next(l, at);
    }
}

static bool collect_member(void *context, struct bytes member)
{
    struct sorting *s = context;
    return add_item(s, member, s->must_copy);
}

static void collect_set(struct sorting *s, const struct set *set)
{
    s->must_copy = set->encoding != ENCODING_HASHTABLE;
    (void)set_each(set, collect_member, s);
}

static void collect_zset(struct sorting *s, const struct zset *z, uint64_t first, uint64_t count,
                         bool reverse)
{
    struct zset_slice slice = {reverse ? zset_size(z) - first - count : first, count};
    struct zset_iterator it;
    struct bytes member;
    double score;
    if (count == 0) return;
    zset_iterator_init(&it, z, slice, reverse);
    while (zset_iterator_next(&it, &member, &score)) {
        if (!add_item(s, member, z->encoding == ENCODING_LISTPACK)) return;
    }
}

static uint64_t element_count(const struct entry *e)
{
    if (entry_type(e) == TYPE_LIST) {
        struct list l = list_of(e);
        return list_length(&l);
    }
    if (entry_type(e) == TYPE_SET) {
        struct set set = set_of(e);
        return set_size(&set);
    }
    struct zset z = zset_of(e);
    return zset_size(&z);
}

/* Lists and sorted sets have an order to keep, and LIMIT then spares the rest. A set has none: if
 * it is to be stored, or a script or a transaction asks, it is sorted by text, so that what they do
 * does not depend on chance. */
static enum err collect(struct sorting *s, const struct entry *e)
{
    struct sort_options *o = &s->options;
    uint64_t length = element_count(e), first = 0, count = length;
    bool is_followed = s->rq->flags & (REQUEST_IN_EXEC | REQUEST_COMMIT);
    if (entry_type(e) == TYPE_SET && o->keeps_order && (o->store || is_followed)) {
        o->keeps_order = o->has_by = false;
        o->alphabetic = true;
    }
    bool is_cut = o->keeps_order && entry_type(e) != TYPE_SET;
    if (is_cut) sort_limit(o, length, &first, &count);
    s->items = mem_try_alloc(&s->sh->mem, MAX(count, 1u) * sizeof *s->items);
    if (!s->items) return ERR_ALLOC;
    s->capacity = MAX(count, 1u);
    if (entry_type(e) == TYPE_LIST) {
        struct list l = list_of(e);
        collect_list(s, &l, first, count, is_cut && o->descending);
    } else if (entry_type(e) == TYPE_SET) {
        struct set set = set_of(e);
        collect_set(s, &set);
    } else {
        struct zset z = zset_of(e);
        collect_zset(s, &z, first, count, is_cut && o->descending);
    }
    settle_items(s);
    s->selected = s->count;
    if (!is_cut) sort_limit(o, s->count, &s->first, &s->selected);
    return s->no_memory ? ERR_ALLOC : OK;
}

/* Finds the key and collects; a missing one is empty. */
static enum err open_and_collect(struct sorting *s)
{
    struct key k = request_key(s->sh, s->rq, 1);
    const struct entry *e = keyspace_find_any(s->sh, &k);
    if (!e) return OK;
    bool fits =
        entry_type(e) == TYPE_LIST || entry_type(e) == TYPE_SET || entry_type(e) == TYPE_ZSET;
    return fits ? collect(s, e) : ERR_WRONG_TYPE;
}

static enum err sorting_init(struct sorting *s, struct shard *sh, struct request *rq,
                             bool can_store)
{
    *s = (struct sorting){.sh = sh, .rq = rq, .texts = {.mem = &sh->mem}, .key = {.mem = &sh->mem}};
    return sort_options_read(rq->argv, rq->argc, can_store, &s->options);
}

static void sorting_deinit(struct sorting *s)
{
    mem_free(&s->sh->mem, s->items, s->capacity * sizeof *s->items);
    buf_clear(&s->texts);
    buf_clear(&s->key);
}

/* ---- looking up ---- */

/* What the pattern finds for an element; an integer is printed to `scratch`. False if there is
 * nothing, or no memory for the name. */
static bool look_up(struct sorting *s, const struct sort_pattern *p, struct bytes element,
                    char *scratch, struct bytes *value)
{
    if (p->source == SORT_ELEMENT) {
        *value = element;
        return true;
    }
    if (p->source == SORT_NOTHING) return false;
    if (!sort_pattern_key(p, element, &s->key)) {
        s->no_memory = true;
        return false;
    }
    struct bytes name = buf_view(&s->key);
    struct key k = {.name = name, .hash = bytes_hash(name, s->sh->keys.seed), .db = s->rq->db};
    const struct entry *e = keyspace_find_any(s->sh, &k);
    if (!e || entry_type(e) != (p->source == SORT_FIELD ? TYPE_HASH : TYPE_STRING)) return false;
    if (p->source == SORT_STRING) {
        *value = entry_string(e, scratch);
        return true;
    }
    struct hash h = hash_of(e);
    struct hash_field f;
    if (!hash_find(&h, p->field, s->sh->now_ms, &f)) return false;
    *value = f.value.text ? bytes_make(f.value.text, f.value.size)
                          : bytes_make(scratch, text_from_i64(scratch, f.value.integer));
    return true;
}

/* ---- weighing ---- */

/* Text that does not stand in the value is kept with the texts; there is room. */
static struct bytes keep_text(struct sorting *s, struct bytes text, const char *scratch)
{
    if (text.data != scratch) return text;
    const char *kept = s->texts.data + s->texts.size;
    buf_append(&s->texts, text.data, text.size);
    return bytes_make(kept, text.size);
}

/* Without STORE texts end at a zero byte, where the C library stops comparing. */
static struct bytes comparable(const struct sorting *s, struct bytes text)
{
    if (!s->options.store && text.size > 0) text.size = strnlen(text.data, text.size);
    return text;
}

/* False if it is to be sorted by a number, and has none. A missing value is 0. */
static bool weigh_item(struct sorting *s, const struct sort_pattern *by, struct sort_item *item)
{
    char scratch[TEXT_I64_BYTES_MAX];
    item->has_by = look_up(s, by, item->text, scratch, &item->by);
    item->number = 0;
    if (!item->has_by) return true;
    if (!s->options.alphabetic) return text_to_loose_double(item->by, &item->number);
    item->by = comparable(s, keep_text(s, item->by, scratch));
    return true;
}

/* Room for the texts of all values that are integers, so that those which stand there stay where
 * they are. */
static bool reserve_texts(struct sorting *s)
{
    const char *before = s->texts.data;
    if (!buf_try_reserve(&s->texts, s->count * TEXT_I64_BYTES_MAX + 1)) return false;
    if (s->texts.data == before || !before) return true;
    for (uint64_t i = 0; i < s->count; i++) {
        struct bytes *text = &s->items[i].text;
        size_t at = (size_t)((uintptr_t)text->data - (uintptr_t)before);
        if (at < s->texts.size) text->data = s->texts.data + at;
    }
    return true;
}

static bool weigh_or_reply(struct sorting *s, struct reply *out)
{
    struct sort_pattern by = {.source = SORT_ELEMENT};
    if (s->options.has_by) by = sort_pattern_read(s->options.by);
    if (s->options.has_by && s->options.alphabetic && !reserve_texts(s)) s->no_memory = true;
    for (uint64_t i = 0; i < s->count && !s->no_memory; i++) {
        if (weigh_item(s, &by, &s->items[i]) || s->no_memory) continue;
        reply_error(out, "ERR One or more scores can't be converted into double");
        return false;
    }
    if (s->no_memory) reply_err(out, ERR_ALLOC);
    return !s->no_memory;
}

/* ---- sorting ---- */

static int compare_weights(const struct sort_item *a, const struct sort_item *b, bool alphabetic)
{
    if (!alphabetic) {
        if (a->number != b->number) return a->number < b->number ? -1 : 1;
        return bytes_compare(a->text, b->text);
    }
    if (!a->has_by || !b->has_by) return a->has_by - b->has_by;
    return bytes_compare(a->by, b->by);
}

static int compare_items(const void *left, const void *right, void *context)
{
    const struct sort_item *a = left, *b = right;
    const struct sort_options *o = context;
    int order = compare_weights(a, b, o->alphabetic);
    if (order != 0) return o->descending ? -order : order;
    return a->index < b->index ? -1 : 1;
}

/* ---- telling and storing ---- */

typedef bool value_fn(struct sorting *s, void *context, const struct bytes *value);

/* Calls `fn` for what the result consists of; NULL for a value that there is none of. False, at
 * once, if it says so. */
static bool each_value(struct sorting *s, value_fn *fn, void *context)
{
    for (uint64_t i = s->first; i < s->first + s->selected; i++) {
        struct bytes element = s->items[i].text, pattern, value;
        char scratch[TEXT_I64_BYTES_MAX];
        uint32_t at = 0;
        if (s->options.get_count == 0 && !fn(s, context, &element)) return false;
        while (sort_next_get(s->rq->argv, s->rq->argc, &at, &pattern)) {
            struct sort_pattern p = sort_pattern_read(pattern);
            bool found = look_up(s, &p, element, scratch, &value);
            if (s->no_memory || !fn(s, context, found ? &value : NULL)) return false;
        }
    }
    return true;
}

static bool tell_value(UNUSED struct sorting *s, void *context, const struct bytes *value)
{
    struct reply *out = context;
    if (!value) {
        reply_null(out);
        return true;
    }
    reply_bulk(out, *value);
    return true;
}

static bool store_value(struct sorting *s, void *context, const struct bytes *value)
{
    struct list *l = context;
    struct bytes text = value ? *value : BYTES_LITERAL("");
    int32_t limit = s->sh->config->list_max_listpack_size;
    return list_try_prepare(&s->sh->mem, l, limit, 1, text.size) &&
           list_try_push(&s->sh->mem, l, limit, LIST_TAIL, text);
}

static enum err store_values(struct sorting *s, struct reply *out)
{
    struct shard *sh = s->sh;
    struct key to = request_key(sh, s->rq, s->options.store);
    uint64_t count = s->selected * MAX(s->options.get_count, 1u);
    if (count == 0) {
        if (keyspace_delete(sh, &to)) notify(sh, NOTIFY_GENERIC, "del", &to);
        reply_i64(out, 0);
        return OK;
    }
    struct list l;
    if (!list_try_create(&sh->mem, &l)) return ERR_ALLOC;
    if (!each_value(s, store_value, &l)) {
        list_free(&sh->mem, &l);
        return ERR_ALLOC;
    }
    enum err e = keyspace_put_object(sh, &to, TYPE_LIST, l.encoding, l.root, DEADLINE_NONE);
    if (e != OK) return e;
    notify(sh, NOTIFY_LIST, "sortstore", &to);
    reply_i64(out, (int64_t)count);
    return OK;
}

static enum err tell_values(struct sorting *s, struct reply *out)
{
    struct reply told;
    reply_init(&told, NULL, &s->sh->mem);
    told.resp = out->resp;
    reply_array(&told, s->selected * MAX(s->options.get_count, 1u));
    bool done = each_value(s, tell_value, &told) && !told.is_lost;
    struct chunk *first = reply_take(&told);
    for (struct chunk *c = first; done && c; c = c->next) reply_raw(out, c->data, c->size);
    chunk_free_chain(&s->sh->mem, first);
    return done ? OK : ERR_ALLOC;
}

static enum err run(struct sorting *s, struct reply *out)
{
    enum err e = open_and_collect(s);
    if (e != OK) return e;
    if (!s->options.keeps_order && s->count > 0) {
        if (!weigh_or_reply(s, out)) return OK;
        qsort_r(s->items, s->count, sizeof *s->items, compare_items, &s->options);
    }
    return s->options.store ? store_values(s, out) : tell_values(s, out);
}

static enum err sort_command(struct shard *sh, struct request *rq, struct reply *out,
                             bool can_store)
{
    struct sorting s;
    enum err e = sorting_init(&s, sh, rq, can_store);
    if (e != OK) return e;
    e = run(&s, out);
    sorting_deinit(&s);
    return e;
}

static enum err cmd_sort(struct shard *sh, struct request *rq, struct reply *out)
{
    return sort_command(sh, rq, out, true);
}

static enum err cmd_sort_ro(struct shard *sh, struct request *rq, struct reply *out)
{
    return sort_command(sh, rq, out, false);
}

/* ---- the keys that the arguments do not name ---- */

static uint64_t tell_key(struct sorting *s, struct bytes pattern, struct bytes element,
                         struct reply *out)
{
    struct sort_pattern p = sort_pattern_read(pattern);
    if (p.source < SORT_STRING) return 0;
    if (sort_pattern_key(&p, element, &s->key)) {
        reply_bulk(out, buf_view(&s->key));
        return 1;
    }
    s->no_memory = true;
    return 0;
}

static uint64_t tell_keys(struct sorting *s, struct reply *out)
{
    uint64_t told = 0;
    bool by = s->options.has_by && !s->options.keeps_order;
    for (uint64_t i = 0; i < s->count && !s->no_memory; i++) {
        struct bytes element = s->items[i].text, pattern;
        uint32_t at = 0;
        if (by) told += tell_key(s, s->options.by, element, out);
        while (sort_next_get(s->rq->argv, s->rq->argc, &at, &pattern)) {
            told += tell_key(s, pattern, element, out);
        }
    }
    return told;
}

enum err cmd_sort_keys(struct shard *sh, struct request *rq, struct reply *out)
{
    struct sorting s;
    struct reply names;
    enum err e = sorting_init(&s, sh, rq, true);
    if (e != OK) return e;
    e = open_and_collect(&s);
    reply_init(&names, NULL, &sh->mem);
    uint64_t count = e == OK ? tell_keys(&s, &names) : 0;
    if (s.no_memory || names.is_lost) e = ERR_ALLOC;
    struct chunk *first = reply_take(&names);
    if (e != ERR_ALLOC) reply_array(out, count);
    for (struct chunk *c = first; e != ERR_ALLOC && c; c = c->next)
        reply_raw(out, c->data, c->size);
    chunk_free_chain(&sh->mem, first);
    sorting_deinit(&s);
    return e == ERR_ALLOC ? e : OK;
}

/* clang-format off */
#define SPEC_SOURCE {.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = 0, .step = 1}
#define SPEC_FOUND {.flags = KEY_RO | KEY_ACCESS, .is_unknown = true}
#define SPEC_STORE {.flags = KEY_OW | KEY_UPDATE, .is_unknown = true}
static const struct command commands[] = {
    {.name = "sort", .on_shard = cmd_sort, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_MOVABLE_KEYS, .acl = ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
     .keys = {SPEC_SOURCE, SPEC_FOUND, SPEC_STORE}, .each_key = sort_each_key,
     .since = "1.0.0", .group = "generic", .complexity = "O(N log N) for N elements, O(N) without sorting; and a look-up for each value of BY and GET",
     .summary = "Sorts the elements of a list, a set or a sorted set, and returns or stores them."},
    {.name = "sort_ro", .on_shard = cmd_sort_ro, .arity = -2, .plan = PLAN_LOCKED, .flags = CMD_READ | CMD_MOVABLE_KEYS, .acl = ACL_SET | ACL_SORTEDSET | ACL_LIST | ACL_DANGEROUS,
     .keys = {SPEC_SOURCE, SPEC_FOUND}, .each_key = sort_each_key,
     .since = "7.0.0", .group = "generic", .complexity = "O(N log N) for N elements, O(N) without sorting; and a look-up for each value of BY and GET",
     .summary = "Sorts the elements of a list, a set or a sorted set, and returns them."},
};
/* clang-format on */
const struct command_family sort_family = {"sort", commands, ARRAY_LEN(commands)};
