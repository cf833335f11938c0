#include <criterion/criterion.h>
#include <math.h>

#include "random.h"
#include "shard/shard.h"
#include "shard/type/zset.h"

static struct mem mem;
static struct shard_config config;

static void setup(void)
{
    mem_init(&mem, "test");
    config = (struct shard_config){
        .zset_max_listpack_entries = 16,
        .zset_max_listpack_value_bytes = 24,
    };
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(zset, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

static struct zset make(void)
{
    struct zset z;
    cr_assert(zset_try_create(&mem, &config, B("a"), &z));
    return z;
}

static void insert(struct zset *z, struct bytes member, double score)
{
    cr_assert(zset_try_insert(&mem, &config, z, member, score));
    zset_validate(z);
}

static void insert_numbered(struct zset *z, int first, int end)
{
    for (int i = first; i < end; i++) {
        char text[32];
        insert(z, bytes_make(text, (size_t)sprintf(text, "m%d", i)), i % 5);
    }
}

static double score_of(const struct zset *z, struct bytes member)
{
    struct zset_place place;
    cr_assert(zset_find(z, member, &place));
    return place.score;
}

Test(zset, becomes_a_skiplist_with_one_element_too_many)
{
    struct zset z = make();
    insert_numbered(&z, 0, 16);
    cr_assert_eq(z.encoding, ENCODING_LISTPACK);
    insert_numbered(&z, 16, 17);
    cr_assert_eq(z.encoding, ENCODING_SKIPLIST);
    cr_assert_eq(zset_size(&z), 17);
    zset_free(&mem, &z);
}

Test(zset, becomes_a_skiplist_with_a_long_member)
{
    struct zset z = make();
    insert(&z, B("x23456789012345678901234"), 1);
    cr_assert_eq(z.encoding, ENCODING_LISTPACK);
    insert(&z, B("x234567890123456789012345"), 1);
    cr_assert_eq(z.encoding, ENCODING_SKIPLIST);
    zset_free(&mem, &z);
    cr_assert(zset_try_create(&mem, &config, B("x234567890123456789012345"), &z));
    cr_assert_eq(z.encoding, ENCODING_SKIPLIST);
    zset_free(&mem, &z);
}

Test(zset, a_table_that_fits_is_made_compact)
{
    struct zset z;
    cr_assert(zset_try_create_as(&mem, ENCODING_SKIPLIST, &z));
    insert_numbered(&z, 0, 17);
    zset_compact(&mem, &config, &z);
    cr_assert_eq(z.encoding, ENCODING_SKIPLIST);
    zset_remove_slice(&mem, &z, (struct zset_slice){3, 1});
    zset_compact(&mem, &config, &z);
    cr_assert_eq(z.encoding, ENCODING_LISTPACK);
    cr_assert_eq(zset_size(&z), 16);
    zset_validate(&z);
    zset_free(&mem, &z);
}

Test(zset, every_score_comes_back_as_it_was)
{
    static const double scores[] = {0,       1,      -1,     0.1,     -0.5,     1e17,
                                    1e18,    5e18,   1e300,  -1e300,  5e-324,   INFINITY,
                                    1.0 / 3, 0x1p53, 0x1p62, -0x1p62, -INFINITY};
    for (unsigned round = 0; round < 2; round++) {
        struct zset z;
        enum encoding encoding = round ? ENCODING_SKIPLIST : ENCODING_LISTPACK;
        config.zset_max_listpack_entries = 64;
        cr_assert(zset_try_create_as(&mem, encoding, &z));
        for (size_t i = 0; i < ARRAY_LEN(scores); i++) {
            char text[8];
            struct bytes member = bytes_make(text, (size_t)sprintf(text, "%zu", i));
            insert(&z, member, scores[i]);
            cr_assert_eq(score_of(&z, member), scores[i]);
        }
        cr_assert_eq(z.encoding, encoding);
        zset_free(&mem, &z);
    }
}

Test(zset, a_listpack_forgets_the_sign_of_zero_as_redis_does)
{
    struct zset z = make();
    insert(&z, B("a"), -0.0);
    cr_assert_not(signbit(score_of(&z, B("a"))));
    char text[TEXT_DOUBLE_BYTES_MAX];
    cr_assert_eq(zset_score_text(&z, 1e17, text), 18);
    cr_assert(zset_try_convert_to_table(&mem, &z));
    cr_assert_eq(zset_score_text(&z, 1e17, text), 5);
    zset_free(&mem, &z);
}

/* ---- against a model ---- */

#define MEMBERS 40

struct model {
    bool present[MEMBERS];
    double scores[MEMBERS];
    unsigned count;
};

static struct bytes model_member(unsigned i, char *text)
{
    return bytes_make(text, (size_t)sprintf(text, i % 3 ? "%u" : "m%u", i));
}

static bool model_is_before(const struct model *m, unsigned a, unsigned b)
{
    char text_a[16], text_b[16];
    return zset_is_before(m->scores[a], model_member(a, text_a), m->scores[b],
                          model_member(b, text_b));
}

static uint64_t model_rank(const struct model *m, unsigned member)
{
    uint64_t rank = 0;
    for (unsigned i = 0; i < MEMBERS; i++) rank += m->present[i] && model_is_before(m, i, member);
    return rank;
}

static void step(struct zset *z, struct model *m, struct random *r, unsigned range)
{
    char text[16];
    unsigned i = (unsigned)random_below(r, range);
    struct bytes member = model_member(i, text);
    struct zset_place place;
    double score = (double)random_below(r, 7) / 2 - 1;
    cr_assert_eq(zset_find(z, member, &place), m->present[i]);
    if (!m->present[i]) {
        insert(z, member, score);
        m->count++;
        m->present[i] = true;
        m->scores[i] = score;
    } else if (random_below(r, 2)) {
        cr_assert(zset_try_move(&mem, z, &place, score));
        m->scores[i] = score;
    } else {
        zset_remove(&mem, z, &place);
        m->count--;
        m->present[i] = false;
    }
    zset_validate(z);
    cr_assert_eq(zset_size(z), m->count);
}

static void compare_ranks(const struct zset *z, const struct model *m)
{
    char text[16];
    struct zset_place place;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (!m->present[i]) continue;
        cr_assert(zset_find(z, model_member(i, text), &place));
        cr_assert_eq(place.score, m->scores[i]);
        cr_assert_eq(zset_rank(z, &place), model_rank(m, i));
    }
}

static void compare_score_range(const struct zset *z, const struct model *m, struct random *r)
{
    struct zset_score_range range = {
        .min = (double)random_below(r, 9) / 2 - 2,
        .max = (double)random_below(r, 9) / 2 - 2,
        .min_is_open = random_below(r, 2),
        .max_is_open = random_below(r, 2),
    };
    uint64_t below = 0, inside = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (!m->present[i]) continue;
        double s = m->scores[i];
        bool is_below = range.min_is_open ? s <= range.min : s < range.min;
        bool is_above = range.max_is_open ? s >= range.max : s > range.max;
        below += is_below;
        inside += !is_below && !is_above;
    }
    struct zset_slice slice = zset_select_scores(z, &range);
    cr_assert_eq(slice.count, inside);
    if (inside > 0) cr_assert_eq(slice.first, below);
}

static void walk_both_ways(const struct zset *z)
{
    struct zset_slice all = {0, zset_size(z)};
    for (unsigned reverse = 0; reverse < 2; reverse++) {
        struct zset_iterator it;
        struct bytes member;
        double score, last = reverse ? INFINITY : -INFINITY;
        uint64_t seen = 0;
        zset_iterator_init(&it, z, all, reverse);
        for (; zset_iterator_next(&it, &member, &score); last = score, seen++) {
            struct zset_place place;
            cr_assert(reverse ? score <= last : score >= last);
            cr_assert(zset_find(z, member, &place));
            cr_assert_eq(zset_rank(z, &place), reverse ? all.count - 1 - seen : seen);
        }
        cr_assert_eq(seen, all.count);
    }
}

Test(zset, agrees_with_a_model_in_ranks_and_ranges)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 30; round++) {
        struct zset z = make();
        struct model m = {0};
        for (unsigned i = 0; i < 150; i++) {
            step(&z, &m, &r, round % 2 ? MEMBERS : 12);
            compare_score_range(&z, &m, &r);
        }
        compare_ranks(&z, &m);
        walk_both_ways(&z);
        zset_free(&mem, &z);
    }
}

/* ---- ranges of texts ---- */

static struct zset_lex_bound bound(const char *text)
{
    if (*text == '-' || *text == '+') {
        return (struct zset_lex_bound){.kind = *text == '-' ? LEX_LOWEST : LEX_HIGHEST};
    }
    return (struct zset_lex_bound){
        .kind = LEX_TEXT, .text = bytes_of(text + 1), .is_open = *text == '('};
}

Test(zset, selects_ranges_of_texts)
{
    static const struct {
        const char *min, *max;
        uint64_t first, count;
    } cases[] = {
        {"-", "+", 0, 5},   {"+", "-", 0, 0},   {"-", "-", 0, 0},   {"+", "+", 0, 0},
        {"[b", "[d", 1, 3}, {"(b", "[d", 2, 2}, {"(b", "(d", 2, 1}, {"[b", "[b", 1, 1},
        {"(b", "[b", 0, 0}, {"[d", "[b", 0, 0}, {"[bb", "+", 2, 3}, {"-", "(a", 0, 0},
        {"[f", "+", 0, 0},  {"-", "[", 0, 0},   {"[", "[zz", 0, 5},
    };
    for (unsigned round = 0; round < 2; round++) {
        struct zset z = make();
        for (char c = 'a'; c <= 'e'; c++) insert(&z, bytes_make(&c, 1), 0);
        if (round) cr_assert(zset_try_convert_to_table(&mem, &z));
        for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
            struct zset_lex_range range = {bound(cases[i / 2].min), bound(cases[i / 2].max)};
            struct zset_slice slice = zset_select_lex(&z, &range, i % 2);
            cr_assert_eq(slice.count, cases[i / 2].count, "case %zu", i / 2);
            if (slice.count > 0) cr_assert_eq(slice.first, cases[i / 2].first, "case %zu", i / 2);
        }
        zset_free(&mem, &z);
    }
}

Test(zset, a_slice_is_removed_at_once)
{
    for (unsigned round = 0; round < 2; round++) {
        struct zset z = make();
        insert_numbered(&z, 0, 15);
        if (round) cr_assert(zset_try_convert_to_table(&mem, &z));
        zset_remove_slice(&mem, &z, (struct zset_slice){3, 10});
        zset_validate(&z);
        cr_assert_eq(zset_size(&z), 5);
        cr_assert_eq(score_of(&z, B("m0")), 0);
        cr_assert_eq(score_of(&z, B("m9")), 4);
        zset_remove_slice(&mem, &z, (struct zset_slice){0, 5});
        cr_assert_eq(zset_size(&z), 0);
        zset_free(&mem, &z);
    }
}

/* ---- for the rest of the shard ---- */

static struct zset with_encoding(unsigned is_table)
{
    struct zset z = make();
    insert_numbered(&z, 0, 12);
    insert(&z, B("inf"), INFINITY);
    insert(&z, B("third"), 1.0 / 3);
    if (is_table) cr_assert(zset_try_convert_to_table(&mem, &z));
    return z;
}

static void expect_equal(const struct zset *a, const struct zset *b)
{
    struct zset_iterator it;
    struct bytes member;
    double score;
    cr_assert_eq(zset_size(a), zset_size(b));
    zset_iterator_init(&it, a, (struct zset_slice){0, zset_size(a)}, false);
    while (zset_iterator_next(&it, &member, &score)) cr_assert_eq(score_of(b, member), score);
}

Test(zset, a_frozen_set_comes_back_with_its_encoding)
{
    for (unsigned is_table = 0; is_table < 2; is_table++) {
        struct zset z = with_encoding(is_table), back;
        struct buf out = {.mem = &mem};
        cr_assert(zset_ops.freeze(z.root, z.encoding, &(struct rdb_writer){.out = &out}));
        struct bytes in = bytes_make(out.data + 1, out.size - 1);
        back.root = zset_ops.thaw(&mem, (uint8_t)out.data[0], &in, &back.encoding);
        cr_assert(back.root);
        cr_assert_eq(in.size, 0);
        cr_assert_eq(back.encoding, z.encoding);
        zset_validate(&back);
        expect_equal(&z, &back);
        zset_free(&mem, &back);
        uint8_t plain_type = (uint8_t)out.data[0] & (uint8_t)~OBJECT_FROZEN_EXACT;
        in = bytes_make(out.data + 1, out.size - 1);
        back.root = zset_ops.thaw(&mem, plain_type, &in, &back.encoding);
        cr_assert(back.root);
        cr_assert_eq(back.encoding, ENCODING_LISTPACK);
        expect_equal(&z, &back);
        zset_free(&mem, &back);
        for (size_t cut = 1; cut < out.size; cut++) {
            in = bytes_make(out.data + 1, cut - 1);
            cr_assert_null(zset_ops.thaw(&mem, (uint8_t)out.data[0], &in, &back.encoding));
        }
        buf_clear(&out);
        zset_free(&mem, &z);
    }
}

#define NAN_BYTES "\0\0\0\0\0\0\xf8\x7f"
#define ONE_BYTES "\0\0\0\0\0\0\xf0\x3f"

Test(zset, a_malformed_rdb_value_is_refused)
{
    static const struct {
        uint8_t type;
        struct bytes value;
        bool is_good;
    } cases[] = {
        {5, {"\1\1a" ONE_BYTES, 11}, true},
        {5, {"\1\1a" NAN_BYTES, 11}, false},
        {5, {"\2\1a" ONE_BYTES "\1a" ONE_BYTES, 21}, false}, /* twice */
        {5, {"\0", 1}, false},                               /* empty */
        {17,
         {"\x0c\x0c\0\0\0\2\0\x81"
          "a\2\1\1\xff",
          13},
         true},
        {17,
         {"\x0a\x0a\0\0\0\1\0\x81"
          "a\2\xff",
          11},
         false}, /* a member without a score */
        {17,
         {"\x0d\x0d\0\0\0\2\0\x81"
          "a\2\x81x\2\xff",
          14},
         false}, /* a score that is no number */
        {17,
         {"\x11\x11\0\0\0\4\0\x81"
          "a\2\2\1\x81"
          "b\2\1\1\xff",
          18},
         false}, /* not sorted */
        {17,
         {"\x11\x11\0\0\0\4\0\x81"
          "a\2\1\1\x81"
          "a\2\2\1\xff",
          18},
         false}, /* twice */
        {17,
         {"\x11\x11\0\0\0\4\0\x81"
          "a\2\1\1\x81"
          "b\2\2\1\xff",
          18},
         true},
        {17, {"\7\7\0\0\0\0\0\xff", 8}, false}, /* empty */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes in = cases[i].value;
        struct zset z;
        z.root = zset_ops.thaw(&mem, cases[i].type, &in, &z.encoding);
        cr_assert_eq(z.root != NULL, cases[i].is_good, "case %zu", i);
        if (!z.root) continue;
        zset_validate(&z);
        zset_free(&mem, &z);
    }
}

Test(zset, a_copy_is_equal_and_independent)
{
    for (unsigned is_table = 0; is_table < 2; is_table++) {
        struct zset z = with_encoding(is_table), copy = {.encoding = z.encoding};
        copy.root = zset_ops.copy(&mem, z.root, z.encoding);
        cr_assert(copy.root);
        expect_equal(&z, &copy);
        zset_validate(&copy);
        zset_remove_slice(&mem, &z, (struct zset_slice){0, 14});
        zset_free(&mem, &z);
        cr_assert_eq(zset_size(&copy), 14);
        zset_free(&mem, &copy);
    }
}

Test(zset, a_large_set_is_freed_in_slices)
{
    struct zset z = make();
    for (int i = 0; i < 5000; i++) {
        char text[32];
        struct bytes b = bytes_make(text, (size_t)sprintf(text, "m%d", i));
        cr_assert(zset_try_insert(&mem, &config, &z, b, i));
    }
    cr_assert_eq(zset_ops.effort(z.root, z.encoding), 5000);
    cr_assert_eq(zset_ops.bytes(z.root, z.encoding, 0), mem_live_bytes(&mem));
    unsigned slices = 1;
    while (!zset_ops.free_some(&mem, z.root, z.encoding, 64)) slices++;
    cr_assert_geq(slices, 5000 / 64 / 2);
    cr_assert_eq(mem_live_bytes(&mem), 0);
}

Test(zset, every_element_is_chosen_sooner_or_later)
{
    for (unsigned is_table = 0; is_table < 2; is_table++) {
        struct random r = random_make();
        struct zset z = with_encoding(is_table), seen = make();
        char scratch[TEXT_I64_BYTES_MAX];
        for (unsigned i = 0; i < 1000; i++) {
            double score;
            struct zset_place place;
            struct bytes member = zset_random(&z, random_next(&r), scratch, &score);
            cr_assert_eq(score_of(&z, member), score);
            if (!zset_find(&seen, member, &place)) insert(&seen, member, score);
        }
        cr_assert_eq(zset_size(&seen), 14);
        zset_free(&mem, &z);
        zset_free(&mem, &seen);
    }
}
