#include <criterion/criterion.h>

#include "base/text.h"
#include "persist/rdb.h"
#include "random.h"
#include "shard/shard.h"
#include "shard/type/intset.h"
#include "shard/type/set.h"

static struct mem mem;
static struct shard_config config;

static void setup(void)
{
    mem_init(&mem, "test");
    config = (struct shard_config){
        .set_max_intset_entries = 32,
        .set_max_listpack_entries = 16,
        .set_max_listpack_value_bytes = 24,
    };
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(set, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

static struct set make(struct bytes first)
{
    struct set s;
    cr_assert(set_try_create(&mem, &config, first, 1, &s));
    return s;
}

static bool add(struct set *s, struct bytes member)
{
    bool added;
    cr_assert(set_try_add(&mem, &config, s, member, &added));
    set_validate(s);
    return added;
}

static void add_numbers(struct set *s, int first, int end)
{
    for (int i = first; i < end; i++) {
        char text[TEXT_I64_BYTES_MAX];
        cr_assert(add(s, bytes_make(text, text_from_i64(text, i))));
    }
}

static void add_words(struct set *s, int first, int end)
{
    for (int i = first; i < end; i++) {
        char text[32];
        cr_assert(add(s, bytes_make(text, (size_t)sprintf(text, "word%d", i))));
    }
}

static void free_all(struct set *s)
{
    object_free_root(&mem, TYPE_SET, s->encoding, s->root);
}

Test(set, starts_with_the_smallest_encoding_that_the_first_member_and_their_number_allow)
{
    static const struct {
        const char *first;
        uint64_t expected;
        enum encoding encoding;
    } cases[] = {
        {"1", 1, ENCODING_INTSET},
        {"1", 32, ENCODING_INTSET},
        {"1", 33, ENCODING_HASHTABLE},
        {"01", 1, ENCODING_LISTPACK},
        {"a", 16, ENCODING_LISTPACK},
        {"a", 17, ENCODING_HASHTABLE},
        {"1", UINT64_MAX, ENCODING_HASHTABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct set s;
        cr_assert(set_try_create(&mem, &config, bytes_of(cases[i].first), cases[i].expected, &s));
        cr_assert_eq(s.encoding, cases[i].encoding, "case %zu", i);
        cr_assert_eq(set_size(&s), 0);
        free_all(&s);
    }
}

Test(set, an_intset_becomes_a_hashtable_with_the_first_integer_too_many)
{
    struct set s = make(B("0"));
    add_numbers(&s, 0, 32);
    cr_assert_eq(s.encoding, ENCODING_INTSET);
    add_numbers(&s, 32, 33);
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    cr_assert_eq(set_size(&s), 33);
    free_all(&s);
}

Test(set, an_intset_becomes_a_listpack_with_a_short_word_if_there_is_room)
{
    struct set s = make(B("0"));
    add_numbers(&s, 0, 15);
    cr_assert(add(&s, B("word")));
    cr_assert_eq(s.encoding, ENCODING_LISTPACK);
    cr_assert_eq(set_size(&s), 16);
    cr_assert(add(&s, B("another")));
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    free_all(&s);
}

Test(set, an_intset_becomes_a_hashtable_with_a_word_if_there_is_no_room_for_a_listpack)
{
    struct set s = make(B("0"));
    add_numbers(&s, 0, 16);
    cr_assert(add(&s, B("word")));
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    free_all(&s);
}

Test(set, a_long_member_makes_a_hashtable)
{
    struct set s = make(B("a"));
    cr_assert(add(&s, B("x23456789012345678901234")));
    cr_assert_eq(s.encoding, ENCODING_LISTPACK);
    cr_assert(add(&s, B("x234567890123456789012345")));
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    free_all(&s);
    s = make(B("1"));
    cr_assert(add(&s, B("1")));
    cr_assert(add(&s, B("x234567890123456789012345")));
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    free_all(&s);
}

Test(set, never_goes_back_to_a_smaller_encoding)
{
    struct set s = make(B("a"));
    add_words(&s, 0, 17);
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    for (int i = 1; i < 17; i++) {
        char text[32];
        cr_assert(set_remove(&mem, &s, bytes_make(text, (size_t)sprintf(text, "word%d", i))));
    }
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    cr_assert_eq(set_size(&s), 1);
    free_all(&s);
}

Test(set, expecting_more_than_an_encoding_may_hold_makes_a_hashtable_at_once)
{
    struct set s = make(B("1"));
    cr_assert(add(&s, B("1")));
    cr_assert(set_try_expect(&mem, &config, &s, 32));
    cr_assert_eq(s.encoding, ENCODING_INTSET);
    cr_assert(set_try_expect(&mem, &config, &s, 33));
    cr_assert_eq(s.encoding, ENCODING_HASHTABLE);
    cr_assert(set_has(&s, B("1")));
    free_all(&s);
}

/* ---- against a model ---- */

#define MODEL_MEMBERS 60

static struct bytes model_member(unsigned i, char *text)
{
    if (i < 40) return bytes_make(text, text_from_i64(text, (int64_t)i * i * i * 1000003 - 7));
    return bytes_make(text, (size_t)sprintf(text, "%*u", (int)(i % 30), i));
}

struct model {
    bool present[MODEL_MEMBERS];
    unsigned count;
};

static bool count_member(void *context, UNUSED struct bytes member)
{
    ++*(unsigned *)context;
    return true;
}

static void compare(const struct set *s, const struct model *m)
{
    char text[40];
    unsigned seen = 0, scanned = 0;
    cr_assert_eq(set_size(s), m->count);
    for (unsigned i = 0; i < MODEL_MEMBERS; i++) {
        cr_assert_eq(set_has(s, model_member(i, text)), m->present[i], "member %u", i);
    }
    cr_assert(set_each(s, count_member, &seen));
    uint64_t cursor = 0;
    do cursor = set_scan(s, cursor, 3, count_member, &scanned);
    while (cursor);
    cr_assert_eq(seen, m->count);
    cr_assert_eq(scanned, m->count);
}

static void step(struct set *s, struct model *m, struct random *r, unsigned range)
{
    char text[40], scratch[TEXT_I64_BYTES_MAX];
    unsigned i = (unsigned)random_below(r, range);
    struct bytes member = model_member(i, text);
    if (random_below(r, 3) > 0) {
        cr_assert_eq(add(s, member), !m->present[i]);
        m->count += !m->present[i];
        m->present[i] = true;
    } else {
        cr_assert_eq(set_remove(&mem, s, member), m->present[i]);
        m->count -= m->present[i];
        m->present[i] = false;
    }
    set_validate(s);
    if (m->count > 0) cr_assert(set_has(s, set_random(s, random_next(r), scratch)));
}

Test(set, holds_exactly_what_was_put_in)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 60; round++) {
        struct set s = make(round % 2 ? B("x") : B("1"));
        struct model m = {0};
        unsigned range = round % 3 == 0 ? 40 : round % 3 == 1 ? 14 : MODEL_MEMBERS;
        for (unsigned i = 0; i < 200; i++) step(&s, &m, &r, range);
        compare(&s, &m);
        free_all(&s);
    }
}

Test(set, every_member_is_chosen_sooner_or_later)
{
    static const int sizes[] = {10, 14, 60};
    for (size_t round = 0; round < ARRAY_LEN(sizes); round++) {
        struct random r = random_make();
        struct set s = make(round == 0 ? B("1") : B("x")), seen = make(B("x"));
        if (round == 0) {
            add_numbers(&s, 0, sizes[round]);
        } else {
            add_words(&s, 0, sizes[round]);
        }
        bool added;
        char scratch[TEXT_I64_BYTES_MAX];
        for (unsigned i = 0; i < 3000; i++) {
            struct bytes member = set_random(&s, random_next(&r), scratch);
            cr_assert(set_try_add(&mem, &config, &seen, member, &added));
        }
        cr_assert_eq(set_size(&seen), (uint64_t)sizes[round]);
        free_all(&s);
        free_all(&seen);
    }
}

/* ---- for the rest of the shard ---- */

static struct set with_encoding(enum encoding encoding, int count)
{
    struct set s = make(encoding == ENCODING_INTSET ? B("1") : B("x"));
    if (encoding == ENCODING_INTSET) {
        add_numbers(&s, 0, count);
    } else {
        add_words(&s, 0, count);
    }
    if (encoding == ENCODING_HASHTABLE) cr_assert(set_try_expect(&mem, &config, &s, UINT64_MAX));
    cr_assert_eq(s.encoding, encoding);
    return s;
}

static bool is_in(void *context, struct bytes member)
{
    return set_has(context, member);
}

static const enum encoding encodings[] = {ENCODING_INTSET, ENCODING_LISTPACK, ENCODING_HASHTABLE};

Test(set, a_frozen_set_comes_back_with_its_encoding)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        struct set s = with_encoding(encodings[i], 10);
        struct buf out = {.mem = &mem};
        cr_assert(set_ops.freeze(s.root, s.encoding, &(struct rdb_writer){.out = &out}));
        struct bytes in = bytes_make(out.data + 1, out.size - 1);
        struct set back;
        back.root = set_ops.thaw(&mem, (uint8_t)out.data[0], &in, &back.encoding);
        cr_assert(back.root);
        cr_assert_eq(in.size, 0);
        cr_assert_eq(back.encoding, s.encoding);
        cr_assert_eq(set_size(&back), set_size(&s));
        cr_assert(set_each(&back, is_in, &s));
        set_validate(&back);
        for (size_t cut = 1; cut < out.size; cut++) {
            in = bytes_make(out.data + 1, cut - 1);
            cr_assert_null(set_ops.thaw(&mem, (uint8_t)out.data[0], &in, &back.encoding));
        }
        buf_clear(&out);
        free_all(&back);
        free_all(&s);
    }
}

static struct set thaw(uint8_t type, struct bytes in)
{
    struct set s = {0};
    s.root = set_ops.thaw(&mem, type, &in, &s.encoding);
    return s;
}

Test(set, an_rdb_value_gets_the_encoding_that_its_members_ask_for)
{
    static const struct {
        uint8_t type;
        struct bytes value;
        enum encoding encoding;
    } cases[] = {
        {2,
         {"\2\1"
          "1\1"
          "2",
          5},
         ENCODING_INTSET},
        {2,
         {"\2\xc0\5\1"
          "2",
          5},
         ENCODING_INTSET},
        {2,
         {"\2\1"
          "1\1a",
          5},
         ENCODING_LISTPACK},
        {11, {"\x0c\2\0\0\0\2\0\0\0\1\0\2\0", 13}, ENCODING_INTSET},
        {20,
         {"\x0c\x0c\0\0\0\2\0\1\1\x81"
          "a\2\xff",
          13},
         ENCODING_LISTPACK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct set s = thaw(cases[i].type, cases[i].value);
        cr_assert(s.root, "case %zu", i);
        cr_assert_eq(s.encoding, cases[i].encoding, "case %zu", i);
        cr_assert_eq(set_size(&s), 2);
        set_validate(&s);
        free_all(&s);
    }
}

Test(set, a_malformed_rdb_value_is_refused)
{
    static const struct {
        uint8_t type;
        struct bytes value;
    } cases[] = {
        {2, {"\0", 1}},       /* empty */
        {2, {"\2\1a\1a", 5}}, /* twice */
        {2,
         {"\2\1"
          "1\1"
          "1",
          5}},                /* twice */
        {2, {"\3\1a\1b", 5}}, /* fewer than it says */
        {2, {"\x81\xff\xff\xff\xff\xff\xff\xff\xff", 9}},
        {11, {"\x0c\2\0\0\0\2\0\0\0\2\0\1\0", 13}},   /* not sorted */
        {11, {"\x0a\2\0\0\0\2\0\0\0\2\0", 11}},       /* cut */
        {11, {"\x08\2\0\0\0\0\0\0\0", 9}},            /* empty */
        {20, {"\x0b\x0b\0\0\0\2\0\1\1\1\1\xff", 12}}, /* twice */
        {20, {"\7\7\0\0\0\0\0\xff", 8}},              /* empty */
        {3, {"\2\1a\1b", 5}},                         /* no set */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert_null(thaw(cases[i].type, cases[i].value).root, "case %zu", i);
    }
}

Test(set, a_copy_is_equal_and_independent)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        struct set s = with_encoding(encodings[i], 10), copy = {.encoding = encodings[i]};
        copy.root = set_ops.copy(&mem, s.root, s.encoding);
        cr_assert(copy.root);
        cr_assert(set_each(&copy, is_in, &s));
        cr_assert(add(&copy, B("-5")));
        cr_assert_not(set_has(&s, B("-5")));
        free_all(&s);
        cr_assert_eq(set_size(&copy), 11);
        free_all(&copy);
    }
}

Test(set, a_large_set_is_freed_in_slices)
{
    struct set s = make(B("x"));
    cr_assert(set_try_expect(&mem, &config, &s, UINT64_MAX));
    bool added;
    for (int i = 0; i < 10000; i++) {
        char text[32];
        struct bytes b = bytes_make(text, (size_t)sprintf(text, "m%d", i));
        cr_assert(set_try_add(&mem, &config, &s, b, &added));
    }
    cr_assert_eq(set_ops.effort(s.root, s.encoding), 10000);
    unsigned slices = 1;
    while (!set_ops.free_some(&mem, s.root, s.encoding, 64)) slices++;
    cr_assert_geq(slices, 10000 / 64 / 2);
    cr_assert_eq(mem_live_bytes(&mem), 0);
}

Test(set, its_bytes_are_what_the_allocator_gave)
{
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        struct set s = with_encoding(encodings[i], 14);
        uint64_t live = mem_live_bytes(&mem), told = set_ops.bytes(s.root, s.encoding, 0);
        /* The dict counts its directory without the allocator's rounding. */
        cr_assert(told <= live && told + 16 > live, "%s", encoding_name(s.encoding));
        free_all(&s);
    }
}
