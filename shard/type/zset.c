#include "shard/type/zset.h"

#include <math.h>

#include "shard/shard.h"

/* ---- making and converting ---- */

static struct zset_table *table_create(struct mem *mem)
{
    struct zset_table *t = mem_alloc_zeroed(mem, sizeof *t);
    dict_init(&t->members.dict, mem, shard_seed_here());
    skiplist_init(&t->list, shard_here ? shard_random(shard_here) : 1);
    return t;
}

bool zset_try_create_as(struct mem *mem, enum encoding encoding, struct zset *out)
{
    void *root;
    if (encoding == ENCODING_LISTPACK) {
        root = listpack_try_create(mem);
    } else {
        root = table_create(mem);
    }
    *out = (struct zset){root, encoding};
    return root != NULL;
}

static bool listpack_allows(const struct shard_config *c, uint64_t size, struct bytes member)
{
    return size < c->zset_max_listpack_entries && member.size <= c->zset_max_listpack_value_bytes;
}

bool zset_try_create(struct mem *mem, const struct shard_config *c, struct bytes first,
                     struct zset *out)
{
    bool is_small = listpack_allows(c, 0, first);
    return zset_try_create_as(mem, is_small ? ENCODING_LISTPACK : ENCODING_SKIPLIST, out);
}

void zset_free(struct mem *mem, struct zset *z)
{
    object_free_root(mem, TYPE_ZSET, z->encoding, z->root);
    z->root = NULL;
}

uint64_t zset_size(const struct zset *z)
{
    if (z->encoding == ENCODING_LISTPACK) return listpack_length(z->root) / 2;
    return zset_table_of(z)->list.count;
}

/* ---- listpacks ---- */

bool zset_listpack_score(const struct listpack *lp, uint32_t member_at, double *score)
{
    struct listpack_value v;
    listpack_get(lp, listpack_next(lp, member_at), &v);
    if (v.text) return text_to_double(bytes_make(v.text, v.size), score);
    *score = (double)v.integer;
    return true;
}

static double score_at(const struct listpack *lp, uint32_t member_at)
{
    double score = 0;
    CHECK(zset_listpack_score(lp, member_at, &score));
    return score;
}

static uint32_t pair_next(const struct listpack *lp, uint32_t at)
{
    return listpack_next(lp, listpack_next(lp, at));
}

static uint32_t pair_prev(const struct listpack *lp, uint32_t at)
{
    at = listpack_prev(lp, at);
    return at ? listpack_prev(lp, at) : 0;
}

/* A listpack holds integers of up to 2^62 as such, so -0 becomes 0 there. */
static size_t text_of_listpack_score(char *out, double score)
{
    const double integer_max = 0x1p62;
    if (fabs(score) <= integer_max && score == (double)(int64_t)score) {
        return text_from_i64(out, (int64_t)score);
    }
    return text_from_double(out, score);
}

size_t zset_score_text(const struct zset *z, double score, char *out)
{
    return z->encoding == ENCODING_LISTPACK ? text_of_listpack_score(out, score)
                                            : text_from_double(out, score);
}

/* A pair in front of the one at `at`, 0: at the end. */
static bool pair_try_insert(struct mem *mem, struct listpack **lp, uint32_t at, struct bytes member,
                            double score)
{
    char text[TEXT_DOUBLE_BYTES_MAX];
    struct bytes number = bytes_make(text, text_of_listpack_score(text, score));
    if (!listpack_try_insert(mem, lp, at, member)) return false;
    uint32_t member_at = at ? at : listpack_last(*lp);
    if (listpack_try_insert_after(mem, lp, member_at, number)) return true;
    (void)listpack_delete(mem, lp, member_at, 1);
    return false;
}

/* Where an element belongs; 0: at the end. */
static uint32_t pair_seek(const struct listpack *lp, struct bytes member, double score)
{
    char scratch[TEXT_I64_BYTES_MAX];
    uint32_t at = listpack_first(lp);
    for (; at; at = pair_next(lp, at)) {
        double other = score_at(lp, at);
        if (other > score) break;
        if (other == score && bytes_compare(listpack_text(lp, at, scratch), member) > 0) break;
    }
    return at;
}

/* ---- tables ---- */

static void table_insert(struct zset_table *t, struct skiplist_node *n)
{
    struct dict *d = &t->members.dict;
    big_mark_admit(&t->mark, skiplist_entry(n));
    skiplist_insert(&t->list, n);
    dict_insert(d, bytes_hash(skiplist_member(n), d->seed), skiplist_entry(n), 0);
}

static bool table_try_add(struct mem *mem, struct zset_table *t, struct bytes member, double score)
{
    struct dict *d = &t->members.dict;
    if (unlikely(!dict_try_make_room(d, bytes_hash(member, d->seed)))) return false;
    struct skiplist_node *n = skiplist_try_make(mem, &t->list, score, member);
    if (n) table_insert(t, n);
    return n != NULL;
}

static void table_remove(struct mem *mem, struct zset_table *t, struct skiplist_node *n)
{
    struct dict *d = &t->members.dict;
    big_mark_guard(&t->mark, skiplist_entry(n));
    dict_remove_entry(d, bytes_hash(skiplist_member(n), d->seed), skiplist_entry(n));
    skiplist_remove(&t->list, n);
    skiplist_free_node(mem, n);
}

bool zset_try_append(struct mem *mem, struct zset *z, struct bytes member, double score)
{
    if (z->encoding == ENCODING_SKIPLIST) {
        return table_try_add(mem, zset_table_of(z), member, score);
    }
    struct listpack *lp = z->root;
    bool done = pair_try_insert(mem, &lp, 0, member, score);
    z->root = lp;
    return done;
}

static struct zset_slice whole(const struct zset *z)
{
    return (struct zset_slice){0, zset_size(z)};
}

static bool try_append_slice(struct mem *mem, struct zset *to, const struct zset *from,
                             struct zset_slice slice)
{
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, from, slice, false);
    while (zset_iterator_next(&it, &member, &score))
        if (!zset_try_append(mem, to, member, score)) return false;
    return true;
}

static bool try_convert(struct mem *mem, struct zset *z, enum encoding encoding)
{
    struct zset to;
    if (!zset_try_create_as(mem, encoding, &to)) return false;
    if (!try_append_slice(mem, &to, z, whole(z))) {
        zset_free(mem, &to);
        return false;
    }
    zset_free(mem, z);
    *z = to;
    return true;
}

bool zset_try_convert_to_table(struct mem *mem, struct zset *z)
{
    return try_convert(mem, z, ENCODING_SKIPLIST);
}

void zset_compact(struct mem *mem, const struct shard_config *c, struct zset *z)
{
    if (z->encoding == ENCODING_LISTPACK || zset_size(z) > c->zset_max_listpack_entries) return;
    const struct skiplist_node *n = skiplist_first(&zset_table_of(z)->list);
    for (; n; n = skiplist_next(n)) {
        if (skiplist_member(n).size > c->zset_max_listpack_value_bytes) return;
    }
    /* Without memory it stays a table. */
    (void)try_convert(mem, z, ENCODING_LISTPACK);
}

/* ---- one element ---- */

bool zset_find(const struct zset *z, struct bytes member, struct zset_place *out)
{
    if (z->encoding == ENCODING_LISTPACK) {
        const struct listpack *lp = z->root;
        uint32_t at = listpack_find(lp, listpack_first(lp), member, 1);
        if (at) *out = (struct zset_place){.score = score_at(lp, at), .at = at};
        return at != 0;
    }
    const struct dict *d = &zset_table_of(z)->members.dict;
    const struct entry *e = dict_find(d, bytes_hash(member, d->seed), member);
    if (!e) return false;
    struct skiplist_node *n = skiplist_node_of(e);
    *out = (struct zset_place){.score = n->score, .node = n};
    return true;
}

bool zset_try_insert(struct mem *mem, const struct shard_config *c, struct zset *z,
                     struct bytes member, double score)
{
    DCHECK(!isnan(score));
    if (z->encoding == ENCODING_LISTPACK) {
        struct listpack *lp = z->root;
        size_t room = LISTPACK_ELEMENT_BYTES_MAX(member.size) +
                      LISTPACK_ELEMENT_BYTES_MAX(TEXT_DOUBLE_BYTES_MAX);
        if (listpack_allows(c, zset_size(z), member) && listpack_has_room(lp, room)) {
            bool done = pair_try_insert(mem, &lp, pair_seek(lp, member, score), member, score);
            z->root = lp;
            return done;
        }
        if (!zset_try_convert_to_table(mem, z)) return false;
    }
    return table_try_add(mem, zset_table_of(z), member, score);
}

/* The element is put in its new place first and then taken from the old one, which cannot fail. */
static bool pair_try_move(struct mem *mem, struct zset *z, uint32_t at, double score)
{
    struct listpack *lp = z->root;
    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes member = listpack_text(lp, at, scratch);
    struct buf copy = {.mem = mem};
    if (!buf_try_reserve(&copy, MAX(member.size, 1))) return false;
    buf_append(&copy, member.data, member.size);

    uint32_t to = pair_seek(lp, member, score);
    size_t bytes_before = listpack_bytes(lp);
    bool done = pair_try_insert(mem, &lp, to, buf_view(&copy), score);
    if (done) {
        if (to && to <= at) at += (uint32_t)(listpack_bytes(lp) - bytes_before);
        (void)listpack_delete(mem, &lp, at, 2);
    }
    buf_clear(&copy);
    z->root = lp;
    return done;
}

bool zset_try_move(struct mem *mem, struct zset *z, const struct zset_place *place, double score)
{
    DCHECK(!isnan(score));
    if (z->encoding == ENCODING_LISTPACK) return pair_try_move(mem, z, place->at, score);
    big_mark_guard(&zset_table_of(z)->mark, skiplist_entry(place->node));
    skiplist_move(&zset_table_of(z)->list, place->node, score);
    return true;
}

void zset_remove(struct mem *mem, struct zset *z, const struct zset_place *place)
{
    if (z->encoding == ENCODING_SKIPLIST) {
        table_remove(mem, zset_table_of(z), place->node);
        return;
    }
    struct listpack *lp = z->root;
    (void)listpack_delete(mem, &lp, place->at, 2);
    z->root = lp;
}

uint64_t zset_rank(const struct zset *z, const struct zset_place *place)
{
    if (z->encoding == ENCODING_SKIPLIST) {
        return skiplist_rank(&zset_table_of(z)->list, place->node);
    }
    uint64_t rank = 0;
    for (uint32_t at = listpack_first(z->root); at != place->at; at = pair_next(z->root, at)) {
        rank++;
    }
    return rank;
}

struct bytes zset_random(const struct zset *z, uint64_t random, char *scratch, double *score)
{
    if (z->encoding == ENCODING_LISTPACK) {
        uint32_t at = listpack_seek(z->root, (int64_t)(2 * (random % zset_size(z))));
        *score = score_at(z->root, at);
        return listpack_text(z->root, at, scratch);
    }
    struct skiplist_node *n =
        skiplist_node_of(dict_random(&zset_table_of(z)->members.dict, random));
    *score = n->score;
    return skiplist_member(n);
}

/* ---- ranges ---- */

static bool score_is_below(const struct zset_score_range *r, double score)
{
    return r->min_is_open ? score <= r->min : score < r->min;
}

static bool score_is_not_above(const struct zset_score_range *r, double score)
{
    return r->max_is_open ? score < r->max : score <= r->max;
}

static bool node_is_below_scores(const void *context, const struct skiplist_node *n)
{
    return score_is_below(context, n->score);
}

static bool node_is_not_above_scores(const void *context, const struct skiplist_node *n)
{
    return score_is_not_above(context, n->score);
}

static struct zset_slice slice_between(uint64_t first, uint64_t end)
{
    return (struct zset_slice){first, end > first ? end - first : 0};
}

struct zset_slice zset_select_scores(const struct zset *z, const struct zset_score_range *range)
{
    if (z->encoding == ENCODING_SKIPLIST) {
        const struct skiplist *sl = &zset_table_of(z)->list;
        return slice_between(skiplist_count_before(sl, node_is_below_scores, range),
                             skiplist_count_before(sl, node_is_not_above_scores, range));
    }
    uint64_t first = 0, end = 0;
    const struct listpack *lp = z->root;
    for (uint32_t at = listpack_first(lp); at; at = pair_next(lp, at)) {
        double score = score_at(lp, at);
        if (!score_is_not_above(range, score)) break;
        first += score_is_below(range, score);
        end++;
    }
    return slice_between(first, end);
}

/* Negative, 0 or positive: the bound stands before, at or behind the text. */
static int lex_compare(const struct zset_lex_bound *b, struct bytes text)
{
    if (b->kind != LEX_TEXT) return b->kind == LEX_LOWEST ? -1 : 1;
    return bytes_compare(b->text, text);
}

static bool text_is_below(const struct zset_lex_range *r, struct bytes text)
{
    int order = lex_compare(&r->min, text);
    return r->min.is_open ? order >= 0 : order > 0;
}

static bool text_is_not_above(const struct zset_lex_range *r, struct bytes text)
{
    int order = lex_compare(&r->max, text);
    return r->max.is_open ? order > 0 : order >= 0;
}

static bool node_is_below_texts(const void *context, const struct skiplist_node *n)
{
    return text_is_below(context, skiplist_member(n));
}

static bool node_is_not_above_texts(const void *context, const struct skiplist_node *n)
{
    return text_is_not_above(context, skiplist_member(n));
}

static bool lex_range_is_empty(const struct zset_lex_range *r)
{
    if (r->min.kind != LEX_TEXT || r->max.kind != LEX_TEXT) {
        return r->min.kind == r->max.kind || r->min.kind > r->max.kind;
    }
    int order = bytes_compare(r->min.text, r->max.text);
    return order > 0 || (order == 0 && (r->min.is_open || r->max.is_open));
}

static bool pair_is_below_texts(const struct listpack *lp, uint32_t at,
                                const struct zset_lex_range *r)
{
    char scratch[TEXT_I64_BYTES_MAX];
    return text_is_below(r, listpack_text(lp, at, scratch));
}

static bool pair_is_above_texts(const struct listpack *lp, uint32_t at,
                                const struct zset_lex_range *r)
{
    char scratch[TEXT_I64_BYTES_MAX];
    return !text_is_not_above(r, listpack_text(lp, at, scratch));
}

static struct zset_slice select_lex_forward(const struct listpack *lp,
                                            const struct zset_lex_range *range)
{
    struct zset_slice slice = {0};
    uint32_t at = listpack_first(lp);
    for (; at && pair_is_below_texts(lp, at, range); at = pair_next(lp, at)) slice.first++;
    for (; at && !pair_is_above_texts(lp, at, range); at = pair_next(lp, at)) slice.count++;
    return slice;
}

static struct zset_slice select_lex_backward(const struct listpack *lp,
                                             const struct zset_lex_range *range)
{
    struct zset_slice slice = {.first = listpack_length(lp) / 2};
    uint32_t at = listpack_seek(lp, -2);
    for (; at && pair_is_above_texts(lp, at, range); at = pair_prev(lp, at)) slice.first--;
    for (; at && !pair_is_below_texts(lp, at, range); at = pair_prev(lp, at)) {
        slice.first--;
        slice.count++;
    }
    return slice;
}

struct zset_slice zset_select_lex(const struct zset *z, const struct zset_lex_range *range,
                                  bool from_end)
{
    if (lex_range_is_empty(range) || zset_size(z) == 0) return (struct zset_slice){0};
    if (z->encoding == ENCODING_SKIPLIST) {
        const struct skiplist *sl = &zset_table_of(z)->list;
        return slice_between(skiplist_count_before(sl, node_is_below_texts, range),
                             skiplist_count_before(sl, node_is_not_above_texts, range));
    }
    const struct listpack *lp = z->root;
    uint32_t last = listpack_seek(lp, -2);
    if (pair_is_below_texts(lp, last, range) ||
        pair_is_above_texts(lp, listpack_first(lp), range)) {
        return (struct zset_slice){0};
    }
    return from_end ? select_lex_backward(lp, range) : select_lex_forward(lp, range);
}

void zset_remove_slice(struct mem *mem, struct zset *z, struct zset_slice slice)
{
    if (slice.count == 0) return;
    if (z->encoding == ENCODING_LISTPACK) {
        struct listpack *lp = z->root;
        listpack_delete_range(mem, &lp, (int64_t)(2 * slice.first), 2 * slice.count);
        z->root = lp;
        return;
    }
    struct zset_table *t = zset_table_of(z);
    struct skiplist_node *n = skiplist_at(&t->list, slice.first);
    for (uint64_t i = 0; i < slice.count; i++) {
        struct skiplist_node *next = skiplist_next(n);
        table_remove(mem, t, n);
        n = next;
    }
}

/* So many more elements must go than stay. */
#define ASIDE_RATIO 8

bool zset_try_set_aside(struct mem *mem, struct zset *z, struct zset_slice slice,
                        struct zset *aside)
{
    uint64_t end = slice.first + slice.count, size = zset_size(z);
    if (z->encoding != ENCODING_SKIPLIST || zset_table_of(z)->mark.value) return false;
    if (slice.count <= ASIDE_RATIO * (size - slice.count)) return false;
    struct zset kept;
    if (!zset_try_create_as(mem, ENCODING_SKIPLIST, &kept)) return false;
    if (!try_append_slice(mem, &kept, z, (struct zset_slice){0, slice.first}) ||
        !try_append_slice(mem, &kept, z, (struct zset_slice){end, size - end})) {
        zset_free(mem, &kept);
        return false;
    }
    *aside = *z;
    *z = kept;
    return true;
}

/* ---- walking ---- */

void zset_iterator_init(struct zset_iterator *it, const struct zset *z, struct zset_slice slice,
                        bool reverse)
{
    it->zset = z;
    it->left = slice.count;
    it->reverse = reverse;
    it->node = NULL;
    it->at = 0;
    if (slice.count == 0) return;
    uint64_t rank = reverse ? slice.first + slice.count - 1 : slice.first;
    if (z->encoding == ENCODING_SKIPLIST) {
        it->node = skiplist_at(&zset_table_of(z)->list, rank);
    } else {
        it->at = listpack_seek(z->root, (int64_t)(2 * rank));
    }
}

bool zset_iterator_next(struct zset_iterator *it, struct bytes *member, double *score)
{
    if (it->left == 0) return false;
    it->left--;
    if (it->zset->encoding == ENCODING_SKIPLIST) {
        *member = skiplist_member(it->node);
        *score = it->node->score;
        it->node = it->reverse ? it->node->prev : skiplist_next(it->node);
        return true;
    }
    const struct listpack *lp = it->zset->root;
    *member = listpack_text(lp, it->at, it->scratch);
    *score = score_at(lp, it->at);
    if (it->left) it->at = it->reverse ? pair_prev(lp, it->at) : pair_next(lp, it->at);
    return true;
}

struct scanning {
    zset_scan_fn *fn;
    void *context;
    uint64_t seen;
};

static void scan_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct scanning *s = context;
    s->seen++;
    s->fn(s->context, entry_key(e), skiplist_node_of(e)->score);
}

uint64_t zset_scan(const struct zset *z, uint64_t cursor, uint64_t count, zset_scan_fn *fn,
                   void *context)
{
    struct scanning s = {fn, context, 0};
    if (z->encoding == ENCODING_SKIPLIST) {
        do cursor = dict_scan(&zset_table_of(z)->members.dict, cursor, scan_entry, &s);
        while (cursor && s.seen < count);
        return cursor;
    }
    struct zset_iterator it;
    struct bytes member;
    double score;
    zset_iterator_init(&it, z, whole(z), false);
    while (zset_iterator_next(&it, &member, &score)) fn(context, member, score);
    return 0;
}

/* ---- invariants ---- */

static void validate_order(const struct zset *z)
{
    struct zset_iterator it;
    struct zset_place place;
    struct bytes member;
    double score, last_score = (double)-INFINITY;
    char text[256];
    size_t text_size = 0;
    bool is_first = true;
    zset_iterator_init(&it, z, whole(z), false);
    for (; zset_iterator_next(&it, &member, &score); is_first = false) {
        CHECK(!isnan(score) && zset_find(z, member, &place) && place.score == score);
        /* Texts that are too long to keep are compared by what stands at their front. */
        struct bytes front = bytes_make(member.data, MIN(member.size, sizeof text));
        CHECK(is_first || score > last_score ||
              (score == last_score && bytes_compare(bytes_make(text, text_size), front) <= 0));
        if (front.size > 0) memcpy(text, front.data, front.size);
        text_size = front.size;
        last_score = score;
    }
}

void zset_validate(const struct zset *z)
{
    if (z->encoding == ENCODING_SKIPLIST) {
        const struct zset_table *t = zset_table_of(z);
        dict_validate(&t->members.dict);
        skiplist_validate(&t->list);
        CHECK(t->members.dict.count == t->list.count);
    } else {
        listpack_validate(z->root);
        CHECK(listpack_length(z->root) % 2 == 0);
    }
    validate_order(z);
}
