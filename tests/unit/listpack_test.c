#include <criterion/criterion.h>
#include <stdlib.h>

#include "random.h"
#include "shard/type/listpack.h"

static struct mem mem;
static struct listpack *lp;

static void setup(void)
{
    mem_init(&mem, "test");
    lp = listpack_try_create(&mem);
    cr_assert(lp);
}

static void teardown(void)
{
    listpack_validate(lp);
    listpack_free(&mem, lp);
    mem_deinit(&mem);
}

TestSuite(listpack, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

static void append(const char *text)
{
    cr_assert(listpack_try_append(&mem, &lp, bytes_of(text)));
}

/* All elements, each with a comma behind it. */
static const char *joined(void)
{
    static char out[1000];
    char *p = out;
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) {
        char scratch[TEXT_I64_BYTES_MAX];
        struct bytes text = listpack_text(lp, at, scratch);
        memcpy(p, text.data, text.size);
        p += text.size;
        *p++ = ',';
    }
    *p = 0;
    return out;
}

/* ---- bytes ---- */

/* What one element looks like, header and end cut off. */
static void expect_element(struct bytes text, struct bytes encoded)
{
    struct listpack *one = listpack_try_create(&mem);
    cr_assert(listpack_try_append(&mem, &one, text));
    struct bytes all = listpack_view(one);
    struct bytes body =
        bytes_make(all.data + LISTPACK_HEADER_BYTES, all.size - LISTPACK_EMPTY_BYTES);
    cr_assert(bytes_equal(body, encoded), "%.*s", (int)text.size, text.data);
    listpack_free(&mem, one);
}

Test(listpack, an_empty_one_is_seven_bytes)
{
    cr_assert(bytes_equal(listpack_view(lp), B("\7\0\0\0\0\0\xff")));
    cr_assert_eq(listpack_first(lp), 0);
    cr_assert_eq(listpack_last(lp), 0);
    cr_assert_eq(listpack_seek(lp, 0), 0);
    cr_assert_eq(listpack_seek(lp, -1), 0);
}

Test(listpack, integers_take_the_shortest_form)
{
    expect_element(B("0"), B("\0\1"));
    expect_element(B("127"), B("\x7f\1"));
    expect_element(B("128"), B("\xc0\x80\2"));
    expect_element(B("-1"), B("\xdf\xff\2"));
    expect_element(B("4095"), B("\xcf\xff\2"));
    expect_element(B("-4096"), B("\xd0\0\2"));
    expect_element(B("4096"), B("\xf1\0\x10\3"));
    expect_element(B("-32768"), B("\xf1\0\x80\3"));
    expect_element(B("32768"), B("\xf2\0\x80\0\4"));
    expect_element(B("-8388608"), B("\xf2\0\0\x80\4"));
    expect_element(B("8388608"), B("\xf3\0\0\x80\0\5"));
    expect_element(B("-2147483648"), B("\xf3\0\0\0\x80\5"));
    expect_element(B("2147483648"), B("\xf4\0\0\0\x80\0\0\0\0\x9"));
    expect_element(B("-9223372036854775808"), B("\xf4\0\0\0\0\0\0\0\x80\x9"));
}

Test(listpack, text_that_is_no_integer_as_redis_reads_it_stays_text)
{
    expect_element(B(""), B("\x80\1"));
    expect_element(B("01"), B("\x82\60\61\3"));
    expect_element(B("-0"), B("\x82-0\3"));
    expect_element(B("+1"), B("\x82+1\3"));
    expect_element(B("1 "), B("\x82\61 \3"));
    expect_element(B("9223372036854775808"),
                   B("\x93\x39\x32\x32\x33\x33\x37\x32\x30\x33\x36\x38\x35"
                     "\x34\x37\x37\x35\x38\x30\x38\x14"));
}

/* The lengths where a back length gets a byte more are not powers of two: as redis-server has it.
 */
Test(listpack, back_lengths_are_as_long_as_those_of_redis)
{
    static const struct {
        size_t text_size;
        struct bytes end;
    } cases[] = {
        {63, {"\x40\xff", 2}},
        {64, {"\x42\xff", 2}},
        {125, {"\x7f\xff", 2}},
        {126, {"\1\x80\xff", 3}},
        {16377, {"\x7f\xfe\xff", 3}},
        {16378, {"\0\xff\xff\xff", 4}},
        {16379, {"\1\x80\x80\xff", 4}},
        {2097145, {"\x7f\xff\xfe\xff", 4}},
        {2097146, {"\0\xff\xff\xff\xff", 5}},
    };
    char *text = malloc(3 << 20);
    memset(text, 'x', 3 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct listpack *one = listpack_try_create(&mem);
        cr_assert(listpack_try_append(&mem, &one, bytes_make(text, cases[i].text_size)));
        struct bytes all = listpack_view(one), end = cases[i].end;
        cr_assert_eq(memcmp(all.data + all.size - end.size, end.data, end.size), 0, "%zu",
                     cases[i].text_size);
        listpack_validate(one);
        cr_assert_eq(listpack_last(one), LISTPACK_HEADER_BYTES);
        listpack_free(&mem, one);
    }
    free(text);
}

/* ---- walking, finding ---- */

Test(listpack, it_is_walked_and_sought_from_both_ends)
{
    for (int i = 0; i < 5; i++) append((const char *[]){"a", "1", "", "-5000", "zz"}[i]);
    cr_assert_str_eq(joined(), "a,1,,-5000,zz,");
    for (int64_t i = 0; i < 5; i++) {
        cr_assert_eq(listpack_seek(lp, i), listpack_seek(lp, i - 5));
        uint32_t prev = i ? listpack_seek(lp, i - 1) : 0;
        cr_assert_eq(listpack_prev(lp, listpack_seek(lp, i)), prev);
    }
    cr_assert_eq(listpack_seek(lp, 5), 0);
    cr_assert_eq(listpack_seek(lp, -6), 0);
    cr_assert_eq(listpack_seek(lp, INT64_MIN), 0);
    cr_assert_eq(listpack_seek(lp, INT64_MAX), 0);
}

Test(listpack, find_compares_text_and_integers_and_skips_values)
{
    for (int i = 0; i < 6; i++) append((const char *[]){"f", "10", "10", "f", "g", ""}[i]);
    uint32_t first = listpack_first(lp);
    cr_assert_eq(listpack_find(lp, first, B("10"), 0), listpack_seek(lp, 1));
    cr_assert_eq(listpack_find(lp, first, B("10"), 1), listpack_seek(lp, 2));
    cr_assert_eq(listpack_find(lp, listpack_seek(lp, 2), B("f"), 1), 0);
    cr_assert_eq(listpack_find(lp, first, B(""), 0), listpack_seek(lp, 5));
    cr_assert_eq(listpack_find(lp, first, B("010"), 0), 0);
    cr_assert_eq(listpack_find(lp, 0, B("f"), 0), 0);
    cr_assert(listpack_equals(lp, listpack_seek(lp, 1), B("10")));
    cr_assert_not(listpack_equals(lp, listpack_seek(lp, 1), B("1")));
    int64_t n = 0;
    cr_assert(listpack_integer(lp, listpack_seek(lp, 1), &n));
    cr_assert_eq(n, 10);
    cr_assert_not(listpack_integer(lp, first, &n));
}

/* ---- changing ---- */

Test(listpack, elements_are_put_in_replaced_and_removed_anywhere)
{
    append("b");
    cr_assert(listpack_try_prepend(&mem, &lp, B("a")));
    cr_assert(listpack_try_insert_after(&mem, &lp, listpack_last(lp), B("d")));
    cr_assert(listpack_try_insert(&mem, &lp, listpack_seek(lp, 2), B("c")));
    cr_assert(listpack_try_append_integer(&mem, &lp, -7));
    cr_assert_str_eq(joined(), "a,b,c,d,-7,");
    cr_assert(listpack_try_replace(&mem, &lp, listpack_seek(lp, 1), B("a longer one")));
    cr_assert(listpack_try_replace_integer(&mem, &lp, listpack_seek(lp, 2), 3));
    cr_assert_str_eq(joined(), "a,a longer one,3,d,-7,");
    cr_assert_eq(listpack_delete(&mem, &lp, listpack_seek(lp, 3), 9), 0);
    uint32_t at = listpack_seek(lp, 1);
    cr_assert_eq(listpack_delete(&mem, &lp, at, 1), at);
    cr_assert_str_eq(joined(), "a,3,");
    listpack_delete_range(&mem, &lp, -1, 1);
    listpack_delete_range(&mem, &lp, 7, 1);
    cr_assert_str_eq(joined(), "a,");
}

Test(listpack, one_is_split_into_two)
{
    append("a");
    append("1");
    append("b");
    cr_assert_str_eq(joined(), "a,1,b,");
    struct listpack *other = listpack_try_split(&mem, &lp, listpack_seek(lp, 1));
    cr_assert_str_eq(joined(), "a,");
    cr_assert_eq(listpack_length(other), 2);
    listpack_validate(other);
    listpack_free(&mem, other);
}

Test(listpack, more_elements_than_the_header_can_count_are_counted_by_walking)
{
    for (int i = 0; i < 65534; i++) append("1");
    cr_assert_eq(listpack_length(lp), 65534);
    append("2");
    append("3");
    cr_assert_eq(listpack_length(lp), 65536);
    cr_assert(listpack_equals(lp, listpack_seek(lp, -2), B("2")));
    cr_assert(listpack_equals(lp, listpack_seek(lp, 65535), B("3")));
    listpack_delete_range(&mem, &lp, 0, 65000);
    cr_assert_eq(listpack_length(lp), 536);
}

Test(listpack, what_does_not_fit_changes_nothing)
{
    append("a");
    char one = 'x';
    cr_assert_not(listpack_try_append(&mem, &lp, bytes_make(&one, LISTPACK_BYTES_MAX)));
    cr_assert_not(
        listpack_try_replace(&mem, &lp, listpack_first(lp), bytes_make(&one, SIZE_MAX / 2)));
    cr_assert_not(listpack_has_room(lp, LISTPACK_BYTES_MAX));
    cr_assert_str_eq(joined(), "a,");
}

/* ---- bytes from elsewhere ---- */

static void expect_refused(struct bytes bytes)
{
    char *exact = malloc(bytes.size + 1); /* So that a sanitizer sees who reads past the end. */
    memcpy(exact, bytes.data, bytes.size);
    exact = realloc(exact, MAX(bytes.size, 1));
    cr_assert_not(listpack_is_valid(bytes_make(exact, bytes.size), NULL));
    cr_assert_null(listpack_try_from_bytes(&mem, bytes_make(exact, bytes.size)));
    free(exact);
}

Test(listpack, malformed_bytes_are_refused)
{
    expect_refused(B(""));
    expect_refused(B("\6\0\0\0\0\0"));
    expect_refused(B("\7\0\0\0\0\0\xfe"));          /* no end */
    expect_refused(B("\7\0\0\0\1\0\xff"));          /* counts an element that is not there */
    expect_refused(B("\x8\0\0\0\0\0\xff"));         /* claims more bytes than there are */
    expect_refused(B("\x8\0\0\0\0\0\xff\xff"));     /* an end too much */
    expect_refused(B("\x8\0\0\0\1\0\1\xff"));       /* no back length */
    expect_refused(B("\x9\0\0\0\1\0\1\2\xff"));     /* a wrong one */
    expect_refused(B("\xa\0\0\0\1\0\1\x81\0\xff")); /* a longer one than needed */
    expect_refused(B("\x9\0\0\0\1\0\x82\1\xff"));   /* text past the end */
    expect_refused(B("\x9\0\0\0\1\0\xf5\1\xff"));   /* a head that does not exist */
    expect_refused(B("\xc\0\0\0\1\0\xf0\xff\xff\xff\xff\xff"));
    expect_refused(B("\x8\0\0\0\1\0\xf4\xff"));
}

Test(listpack, valid_bytes_are_taken_even_in_forms_that_we_do_not_write)
{
    /* The integer 5 in 13 bits, the text "5", and no count. */
    struct bytes foreign = B("\xf\0\0\0\xff\xff\xc0\5\2\x81\65\2\x80\1\xff");
    uint64_t count = 0;
    cr_assert(listpack_is_valid(foreign, &count));
    cr_assert_eq(count, 3);
    struct listpack *taken = listpack_try_from_bytes(&mem, foreign);
    cr_assert_eq(listpack_length(taken), 3);
    cr_assert(listpack_equals(taken, listpack_seek(taken, 0), B("5")));
    cr_assert(listpack_equals(taken, listpack_seek(taken, 1), B("5")));
    int64_t n;
    cr_assert(listpack_integer(taken, listpack_seek(taken, 1), &n) && n == 5);
    listpack_free(&mem, taken);
}

/* ---- against a model: an array of strings ---- */

#define MODEL_MAX 60

struct model {
    struct bytes items[MODEL_MAX];
    size_t count;
};

static struct bytes random_text(struct random *r)
{
    static const size_t sizes[] = {0, 1, 3, 62, 63, 64, 65, 124, 125, 126, 4094, 4095, 4096, 17000};
    static char text[20000];
    if (random_below(r, 2)) {
        int64_t n = (int64_t)random_next(r) >> random_below(r, 64);
        return bytes_make(text, text_from_i64(text, n));
    }
    size_t size = sizes[random_below(r, random_below(r, 8) ? 9 : ARRAY_LEN(sizes))];
    memset(text, (int)('a' + random_below(r, 26)), size);
    return bytes_make(text, size);
}

static void model_put(struct model *m, size_t index, struct bytes text)
{
    char *copy = malloc(text.size + 1);
    memcpy(copy, text.data, text.size);
    memmove(&m->items[index + 1], &m->items[index], (m->count - index) * sizeof m->items[0]);
    m->items[index] = bytes_make(copy, text.size);
    m->count++;
}

static void model_remove(struct model *m, size_t index)
{
    free((void *)(uintptr_t)m->items[index].data);
    m->count--;
    memmove(&m->items[index], &m->items[index + 1], (m->count - index) * sizeof m->items[0]);
}

#define BLOCK_BYTES_MAX 8192

static struct listpack_block block;

/* What may be done to a listpack with room at both ends. */
static void step_with_room(struct model *m, struct random *r)
{
    uint64_t choice = m->count == MODEL_MAX - 1 ? 2 + random_below(r, 2) : random_below(r, 5);
    struct bytes text = random_text(r);
    if (choice == 0) {
        cr_assert(listpack_block_try_prepend(&mem, &block, text, BLOCK_BYTES_MAX));
        model_put(m, 0, text);
    } else if (choice == 1) {
        cr_assert(listpack_block_try_append(&mem, &block, text, BLOCK_BYTES_MAX));
        model_put(m, m->count, text);
    } else if (choice == 4) {
        if (random_below(r, 16) == 0) listpack_block_fit(&mem, &block);
    } else if (m->count > 0) {
        size_t places[] = {0, m->count - 1, random_below(r, m->count)};
        size_t index = places[random_below(r, ARRAY_LEN(places))];
        uint64_t count = 1 + random_below(r, 3);
        uint32_t at = listpack_seek(block.lp, (int64_t)index);
        uint32_t left = listpack_block_delete(&mem, &block, at, count);
        cr_assert_eq(left, index + count >= m->count ? 0 : at);
        for (; count && index < m->count; count--) model_remove(m, index);
    }
    lp = block.lp;
    cr_assert_eq(mem_live_bytes(&mem), block.bytes);
    cr_assert_leq(block.gap + listpack_bytes(lp), block.bytes);
    cr_assert_leq(block.gap, LISTPACK_GAP_BYTES_MAX);
}

static void step(struct model *m, struct random *r)
{
    size_t index = random_below(r, m->count + 1);
    uint32_t at = listpack_seek(lp, (int64_t)index);
    uint64_t choice = m->count == MODEL_MAX - 1 ? 3 : random_below(r, 4);
    if (choice <= 1 || at == 0) {
        if (m->count == MODEL_MAX - 1) return;
        struct bytes text = random_text(r);
        cr_assert(listpack_try_insert(&mem, &lp, at, text));
        model_put(m, at ? index : m->count, text);
    } else if (choice == 2) {
        struct bytes text = random_text(r);
        cr_assert(listpack_try_replace(&mem, &lp, at, text));
        model_remove(m, index);
        model_put(m, index, text);
    } else {
        uint64_t count = 1 + random_below(r, 4);
        listpack_delete(&mem, &lp, at, count);
        for (; count && index < m->count; count--) model_remove(m, index);
    }
}

static void expect_model(const struct model *m)
{
    listpack_validate(lp);
    cr_assert_eq(listpack_length(lp), m->count);
    uint32_t at = listpack_first(lp);
    for (size_t i = 0; i < m->count; i++, at = listpack_next(lp, at)) {
        char scratch[TEXT_I64_BYTES_MAX];
        cr_assert(bytes_equal(listpack_text(lp, at, scratch), m->items[i]));
        cr_assert(listpack_equals(lp, at, m->items[i]));
    }
    cr_assert_eq(at, 0);
}

Test(listpack, random_changes_agree_with_an_array)
{
    struct random r = random_make();
    struct model m = {.count = 0};
    for (int i = 0; i < 5000; i++) {
        step(&m, &r);
        expect_model(&m);
    }
    while (m.count) model_remove(&m, 0);
}

Test(listpack, random_changes_in_a_block_with_room_agree_with_an_array)
{
    struct random r = random_make();
    struct model m = {.count = 0};
    block = listpack_block_of(lp);
    for (int i = 0; i < 10000; i++) {
        step_with_room(&m, &r);
        expect_model(&m);
    }
    while (m.count) model_remove(&m, 0);
    lp = listpack_block_fit(&mem, &block);
    listpack_validate(lp);
}

static unsigned moves_of_pushes(int count, bool at_head)
{
    unsigned moves = 0;
    for (int i = 0; i < count; i++) {
        const char *before = (const char *)block.lp - block.gap;
        size_t gap = block.gap;
        cr_assert(at_head ? listpack_block_try_prepend(&mem, &block, B("0123456789abcdef"), 8192)
                          : listpack_block_try_append(&mem, &block, B("0123456789abcdef"), 8192));
        bool is_still_there = (const char *)block.lp - block.gap == before;
        moves += !is_still_there || (at_head ? block.gap > gap : block.gap != gap);
    }
    return moves;
}

Test(listpack, elements_that_come_at_one_end_of_a_block_with_room_seldom_move_the_others)
{
    for (int at_head = 0; at_head < 2; at_head++) {
        block = listpack_block_of(lp);
        cr_assert_leq(moves_of_pushes(400, at_head), 24);
        cr_assert_leq(block.bytes, 8192);
        lp = listpack_block_fit(&mem, &block);
        cr_assert_eq(mem_live_bytes(&mem), listpack_allocated(lp));
        listpack_validate(lp);
        listpack_delete(&mem, &lp, LISTPACK_HEADER_BYTES, UINT64_MAX);
    }
}

Test(listpack, elements_that_come_at_both_ends_in_turn_seldom_move_the_others)
{
    unsigned moves = 0;
    block = listpack_block_of(lp);
    for (int i = 0; i < 200; i++) moves += moves_of_pushes(1, true) + moves_of_pushes(1, false);
    cr_assert_leq(moves, 40);
    lp = listpack_block_fit(&mem, &block);
    listpack_validate(lp);
}

Test(listpack, a_queue_in_a_block_with_room_seldom_moves_and_takes_no_more_than_thrice_its_bytes)
{
    unsigned moves = 0;
    block = listpack_block_of(lp);
    moves_of_pushes(40, true);
    for (int i = 0; i < 1000; i++) {
        moves += moves_of_pushes(1, true);
        listpack_block_delete(&mem, &block, listpack_last(block.lp), 1);
        cr_assert_leq(block.bytes, 3 * listpack_bytes(block.lp));
    }
    cr_assert_leq(moves, 150);
    cr_assert_eq(listpack_length(block.lp), 40);
    lp = listpack_block_fit(&mem, &block);
}

Test(listpack, a_block_gives_back_what_is_not_used)
{
    block = listpack_block_of(lp);
    moves_of_pushes(400, false);
    while (listpack_length(block.lp) > 1)
        listpack_block_delete(&mem, &block, listpack_last(block.lp), 1);
    cr_assert_leq(block.bytes, 128);
    lp = listpack_block_fit(&mem, &block);
}

Test(listpack, a_prepend_without_memory_changes_nothing)
{
    block = listpack_block_of(lp);
    cr_assert(listpack_block_try_prepend(&mem, &block, B("a"), BLOCK_BYTES_MAX));
    struct listpack_block before = block;
    fault_set("mem_try_alloc", 1);
    char big[5000] = {0};
    cr_assert_not(listpack_block_try_prepend(&mem, &block, bytes_make(big, sizeof big), 8192));
    cr_assert(memcmp(&before, &block, sizeof before) == 0);
    lp = listpack_block_fit(&mem, &block);
    cr_assert_str_eq(joined(), "a,");
}
