#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/dict.h"

#define SEED 0x1234567887654321ULL

struct table {
    struct mem mem;
    struct dict dict;
};

static void table_init(struct table *t)
{
    mem_init(&t->mem, "test");
    dict_init(&t->dict, &t->mem, SEED);
}

static struct bytes name_of(char *out, uint64_t n)
{
    return bytes_make(out, (size_t)sprintf(out, "key:%llu", (unsigned long long)n));
}

static uint64_t hash_of(struct bytes name)
{
    return bytes_hash(name, SEED);
}

static struct entry *make_entry(struct table *t, uint64_t n)
{
    char text[32];
    struct entry *e =
        entry_try_make_string(&t->mem, name_of(text, n), bytes_make(&n, sizeof n), ENCODING_INT, 0);
    cr_assert(e);
    return e;
}

static void insert(struct table *t, uint64_t n, unsigned mark)
{
    char text[32];
    dict_insert(&t->dict, hash_of(name_of(text, n)), make_entry(t, n), mark);
}

static struct entry *find(const struct table *t, uint64_t n)
{
    char text[32];
    struct bytes name = name_of(text, n);
    return dict_find(&t->dict, hash_of(name), name);
}

static bool remove_key(struct table *t, uint64_t n)
{
    char text[32];
    struct bytes name = name_of(text, n);
    struct entry *e = dict_remove(&t->dict, hash_of(name), name);
    if (e) entry_free_string(&t->mem, e);
    return e != NULL;
}

static void free_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    entry_free_string(context, e);
}

static void table_deinit(struct table *t)
{
    struct dict_drain drain;
    dict_drain_init(&drain, &t->dict);
    while (!dict_drain_some(&drain, 100, free_entry, &t->mem)) {
    }
    dict_deinit(&t->dict);
    mem_deinit(&t->mem);
}

Test(dict, an_empty_table_has_nothing_and_costs_nothing)
{
    struct table t;
    table_init(&t);
    cr_assert_null(find(&t, 1));
    cr_assert_not(remove_key(&t, 1));
    cr_assert_null(dict_random(&t.dict, 42));
    cr_assert_eq(dict_scan(&t.dict, 0, NULL, NULL), 0);
    cr_assert_eq(dict_scan_marked(&t.dict, 0, DICT_MARKS_ALL, NULL, NULL), 0);
    cr_assert_eq(mem_live_bytes(&t.mem), 0);
    dict_prefetch_bucket(&t.dict, 1);
    dict_prefetch_entry(&t.dict, 1);
    dict_validate(&t.dict);
    table_deinit(&t);
}

Test(dict, a_table_with_one_key_costs_at_most_200_bytes)
{
    struct table t;
    table_init(&t);
    insert(&t, 7, 0);
    uint64_t entry_size = mem_class_bytes(entry_bytes(find(&t, 7)));
    cr_assert_leq(sizeof t.dict + mem_live_bytes(&t.mem) - entry_size, 200);
    table_deinit(&t);
}

Test(dict, finds_every_key_at_every_size_while_it_grows)
{
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 3000; n++) {
        insert(&t, n, 0);
        dict_validate(&t.dict);
        cr_assert_eq(t.dict.count, n + 1);
        if (n % 50) continue;
        for (uint64_t i = 0; i <= n; i++) cr_assert_eq(entry_integer(find(&t, i)), (int64_t)i);
        for (uint64_t i = n + 1; i < n + 100; i++) cr_assert_null(find(&t, i));
    }
    table_deinit(&t);
}

Test(dict, an_inserted_key_costs_at_most_11_point_7_bytes_at_any_size)
{
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 300000; n++) {
        insert(&t, n, 0);
        if (n < 20000) continue;
        cr_assert_leq((double)t.dict.bytes / (double)n, 11.7, "%g at %llu",
                      (double)t.dict.bytes / (double)n, (unsigned long long)n);
    }
    dict_validate(&t.dict);
    table_deinit(&t);
}

Test(dict, gives_memory_back_as_keys_are_removed)
{
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 50000; n++) insert(&t, n, 0);
    for (uint64_t n = 0; n < 50000; n++) {
        cr_assert(remove_key(&t, n));
        uint64_t left = t.dict.count;
        if (n % 1000 == 0) dict_validate(&t.dict);
        if (left > 2000) cr_assert_leq(t.dict.bytes, left * 32);
    }
    cr_assert_eq(t.dict.count, 0);
    cr_assert_leq(t.dict.bytes, 80);
    dict_validate(&t.dict);
    table_deinit(&t);
}

Test(dict, an_insertion_changes_one_segment_at_most)
{
    struct table t;
    table_init(&t);
    uint64_t before = 0;
    for (uint64_t n = 0; n < 100000; n++) {
        insert(&t, n, 0);
        uint64_t directory = 12ULL << t.dict.depth;
        cr_assert_leq(t.dict.bytes, before + DICT_SEGMENT_BUCKETS_MAX * 64 * 2 + directory);
        before = t.dict.bytes;
    }
    table_deinit(&t);
}

/* ---- against a model ---- */

#define MODEL_KEYS 20000

struct model {
    bool present[MODEL_KEYS];
    uint8_t mark[MODEL_KEYS];
    uint64_t count, marked;
};

static void model_step(struct table *t, struct model *m, struct random *r, uint64_t n, bool growing)
{
    char text[32];
    struct bytes name = name_of(text, n);
    struct entry *e = dict_find(&t->dict, hash_of(name), name);
    cr_assert_eq(e != NULL, m->present[n]);
    unsigned mark = random_below(r, 2) ? random_below(r, DICT_MARK_MAX + 1) : 0;
    bool insert_it = random_below(r, 10) < (growing ? 8 : 2);
    if (!e && insert_it) {
        insert(t, n, mark);
        m->present[n] = true;
        m->count++;
    } else if (e && !insert_it && random_below(r, 2)) {
        cr_assert(remove_key(t, n));
        m->present[n] = false;
        m->count--;
        mark = 0;
    } else if (e && !insert_it) {
        dict_remove_entry(&t->dict, hash_of(name), e);
        entry_free_string(&t->mem, e);
        m->present[n] = false;
        m->count--;
        mark = 0;
    } else if (e) {
        struct entry *other = random_below(r, 2) ? make_entry(t, n) : e;
        dict_replace(&t->dict, hash_of(name), e, other, mark);
        if (other != e) entry_free_string(&t->mem, e);
    } else {
        return;
    }
    m->marked += (mark != 0) - (uint64_t)(m->mark[n] != 0);
    m->mark[n] = (uint8_t)mark;
    cr_assert_eq(t->dict.count, m->count);
    cr_assert_eq(t->dict.marked_count, m->marked);
}

static void run_model(uint64_t keys, unsigned phases, unsigned steps, unsigned validate_every)
{
    static struct model m;
    struct random r = random_make();
    struct table t;
    table_init(&t);
    for (unsigned phase = 0; phase < phases; phase++) {
        for (unsigned i = 0; i < steps; i++) {
            model_step(&t, &m, &r, random_below(&r, keys), phase % 2 == 0);
            if (i % validate_every == 0) dict_validate(&t.dict);
        }
    }
    for (uint64_t n = 0; n < keys; n++) cr_assert_eq(find(&t, n) != NULL, m.present[n]);
    table_deinit(&t);
}

Test(dict, behaves_as_a_model_while_small)
{
    run_model(40, 40, 200, 1);
}

Test(dict, behaves_as_a_model_while_segments_grow_and_shrink)
{
    run_model(1200, 8, 4000, 7);
}

Test(dict, behaves_as_a_model_while_segments_split_and_merge)
{
    run_model(MODEL_KEYS, 6, 60000, 5000);
}

/* ---- scans ---- */

struct seen {
    uint8_t times[100000];
    uint64_t total;
};

static void note(void *context, struct entry *e, uint64_t position)
{
    struct seen *s = context;
    s->times[entry_integer(e)]++;
    s->total++;
    cr_assert_eq(position & 0xffff, 0);
}

Test(dict, a_scan_tells_every_key_once_and_positions_rise)
{
    static struct seen s;
    for (uint64_t size = 1; size < 9000; size = size * 3 / 2 + 1) {
        struct table t;
        table_init(&t);
        for (uint64_t n = 0; n < size; n++) insert(&t, n, 0);
        memset(&s, 0, sizeof s);
        uint64_t cursor = 0;
        do {
            uint64_t next = dict_scan(&t.dict, cursor, note, &s);
            cr_assert(next == 0 || next > cursor);
            cr_assert_eq(next & 0xffff, 0);
            cursor = next;
        } while (cursor);
        cr_assert_eq(s.total, size);
        for (uint64_t n = 0; n < size; n++) cr_assert_eq(s.times[n], 1);
        table_deinit(&t);
    }
}

Test(dict, a_scan_neither_loses_nor_repeats_a_key_while_the_table_grows)
{
    static struct seen s;
    struct table t;
    table_init(&t);
    uint64_t size = 500, next = size;
    for (uint64_t n = 0; n < size; n++) insert(&t, n, 0);
    uint64_t cursor = 0;
    do {
        cursor = dict_scan(&t.dict, cursor, note, &s);
        for (unsigned i = 0; i < 90 && next < ARRAY_LEN(s.times); i++) insert(&t, next++, 0);
    } while (cursor);
    cr_assert_gt(next, 5000);
    for (uint64_t n = 0; n < size; n++) cr_assert_eq(s.times[n], 1, "key %d", (int)n);
    for (uint64_t n = size; n < next; n++) cr_assert_leq(s.times[n], 1);
    table_deinit(&t);
}

Test(dict, a_scan_does_not_lose_a_key_while_the_table_shrinks)
{
    static struct seen s;
    struct table t;
    table_init(&t);
    uint64_t size = 60000, next = 1000;
    for (uint64_t n = 0; n < size; n++) insert(&t, n, 0);
    uint64_t cursor = 0;
    do {
        cursor = dict_scan(&t.dict, cursor, note, &s);
        for (unsigned i = 0; i < 40 && next < size; i++) remove_key(&t, next++);
    } while (cursor);
    cr_assert_eq(next, size);
    for (uint64_t n = 0; n < 1000; n++) cr_assert_geq(s.times[n], 1, "key %d", (int)n);
    table_deinit(&t);
}

Test(dict, a_scan_under_random_changes_tells_every_key_that_stays)
{
    static struct seen s;
    struct random r = random_make();
    struct table t;
    table_init(&t);
    bool present[40000] = {false};
    for (uint64_t n = 0; n < 2000; n++) insert(&t, n, 0);
    for (unsigned round = 0; round < 20; round++) {
        memset(&s, 0, sizeof s);
        uint64_t cursor = 0;
        unsigned rate = (unsigned)random_below(&r, 60);
        bool growing = random_below(&r, 2);
        do {
            cursor = dict_scan(&t.dict, cursor, note, &s);
            for (unsigned i = 0; i < rate; i++) {
                uint64_t n = 2000 + random_below(&r, 38000);
                if (present[n] == growing) continue;
                if (growing) insert(&t, n, 0);
                if (!growing) cr_assert(remove_key(&t, n));
                present[n] = growing;
            }
        } while (cursor);
        for (uint64_t n = 0; n < 2000; n++) cr_assert_geq(s.times[n], 1, "key %d", (int)n);
        dict_validate(&t.dict);
    }
    table_deinit(&t);
}

Test(dict, any_cursor_of_a_client_is_harmless)
{
    static struct seen s;
    struct random r = random_make();
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 5000; n++) insert(&t, n, (unsigned)(n & 15));
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t cursor = random_next(&r) >> random_below(&r, 64);
        (void)dict_scan(&t.dict, cursor, note, &s);
        (void)dict_scan_marked(&t.dict, cursor, DICT_MARKS_ALL, note, &s);
    }
    (void)dict_scan(&t.dict, UINT64_MAX, note, &s);
    table_deinit(&t);
}

Test(dict, a_marked_scan_tells_only_entries_with_these_marks)
{
    static struct seen s;
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 20000; n++) insert(&t, n, n % 100 < 16 ? (unsigned)(n % 100) : 0);
    uint64_t cursor = 0;
    do cursor = dict_scan_marked(&t.dict, cursor, 1u << 3 | 1u << 15 | 1, note, &s);
    while (cursor);
    for (uint64_t n = 0; n < 20000; n++) {
        cr_assert_eq(s.times[n], n % 100 == 3 || n % 100 == 15, "key %d", (int)n);
    }
    table_deinit(&t);
}

Test(dict, a_marked_scan_passes_over_unmarked_segments_in_few_calls)
{
    static struct seen s;
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 60000; n++) insert(&t, n, n == 777);
    unsigned calls = 0;
    uint64_t cursor = 0;
    do {
        cursor = dict_scan_marked(&t.dict, cursor, DICT_MARKS_ALL, note, &s);
        calls++;
    } while (cursor);
    cr_assert_eq(s.total, 1);
    cr_assert_leq(calls, 10);
    table_deinit(&t);
}

Test(dict, a_random_pick_reaches_every_key_about_as_often)
{
    struct random r = random_make();
    for (uint64_t size = 1; size <= 3000; size = size * 5 + 3) {
        static unsigned picks[3000];
        memset(picks, 0, sizeof picks);
        struct table t;
        table_init(&t);
        for (uint64_t n = 0; n < size; n++) insert(&t, n, 0);
        unsigned each = 400;
        for (uint64_t i = 0; i < size * each; i++) {
            picks[entry_integer(dict_random(&t.dict, random_next(&r)))]++;
        }
        for (uint64_t n = 0; n < size; n++) {
            cr_assert(picks[n] > each / 2 && picks[n] < each * 2, "%u of %u", picks[n], each);
        }
        table_deinit(&t);
    }
}

Test(dict, a_drain_hands_out_every_entry_once_and_frees_the_table)
{
    struct table t;
    table_init(&t);
    for (uint64_t n = 0; n < 10000; n++) insert(&t, n, 0);
    struct dict_drain drain;
    dict_drain_init(&drain, &t.dict);
    cr_assert_eq(t.dict.count, 0);
    insert(&t, 5, 0); /* The old one is usable at once. */
    uint64_t left = 10000;
    while (!dict_drain_some(&drain, 50, free_entry, &t.mem)) {
        cr_assert_lt(drain.dict.count, left);
        cr_assert_geq(drain.dict.count + 58, left);
        left = drain.dict.count;
    }
    cr_assert_eq(drain.dict.count, 0);
    cr_assert(remove_key(&t, 5));
    table_deinit(&t);
}

Test(dict, keys_of_every_length_are_told_apart)
{
    struct table t;
    table_init(&t);
    char text[600];
    memset(text, 'x', sizeof text);
    for (size_t size = 0; size < sizeof text; size++) {
        struct bytes name = bytes_make(text, size);
        struct entry *e = entry_try_make_string(&t.mem, name, BYTES_LITERAL(""), ENCODING_RAW, 0);
        cr_assert_null(dict_find(&t.dict, hash_of(name), name));
        dict_insert(&t.dict, hash_of(name), e, 0);
        cr_assert_eq(dict_find(&t.dict, hash_of(name), name), e);
        for (size_t i = 0; i < size; i++) { /* One byte differs: same hash, other key. */
            text[i] ^= 1;
            cr_assert_null(dict_find(&t.dict, hash_of(name) ^ 1, bytes_make(text, size)));
            cr_assert_not(entry_has_key(e, bytes_make(text, size)));
            text[i] ^= 1;
        }
    }
    table_deinit(&t);
}
