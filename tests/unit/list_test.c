#include <criterion/criterion.h>
#include <stdlib.h>

#include "random.h"
#include "shard/shard.h"
#include "shard/type/list.h"

static struct mem mem;
static struct list l;

static void setup(void)
{
    mem_init(&mem, "test");
    cr_assert(list_try_create(&mem, &l));
}

static void teardown(void)
{
    list_validate(&l);
    list_free(&mem, &l);
    mem_deinit(&mem);
}

TestSuite(list, .init = setup, .fini = teardown);

#define LIMIT_8K (-2)

static void push(int32_t limit, enum list_end end, struct bytes value)
{
    cr_assert(list_try_prepare(&mem, &l, limit, 1, value.size));
    cr_assert(list_try_push(&mem, &l, limit, end, value));
}

static void push_numbers(int32_t limit, int count)
{
    for (int i = 0; i < count; i++) {
        char text[TEXT_I64_BYTES_MAX];
        push(limit, LIST_TAIL, bytes_make(text, text_from_i64(text, i)));
    }
}

static int64_t number_at(int64_t index)
{
    struct listpack_value v;
    struct quicklist_place place = list_seek(&l, index);
    cr_assert(list_place_exists(place));
    list_get(&l, place, &v);
    cr_assert_null(v.text);
    return v.integer;
}

/* ---- encodings ---- */

Test(list, it_becomes_a_quicklist_before_it_exceeds_the_count)
{
    push_numbers(4, 4);
    cr_assert_eq(l.encoding, ENCODING_LISTPACK);
    push_numbers(4, 1);
    cr_assert_eq(l.encoding, ENCODING_QUICKLIST);
}

Test(list, it_becomes_a_quicklist_before_it_exceeds_the_bytes)
{
    static const char text[4096];
    push(-1, LIST_TAIL, bytes_make(text, 4096 - LISTPACK_EMPTY_BYTES));
    cr_assert_eq(l.encoding, ENCODING_LISTPACK);
    push(-1, LIST_TAIL, bytes_make(text, 1));
    cr_assert_eq(l.encoding, ENCODING_QUICKLIST);
    cr_assert_eq(list_length(&l), 2);
}

Test(list, it_goes_back_when_one_node_is_half_empty)
{
    push_numbers(8, 9);
    list_delete_range(&mem, &l, 8, 1, NULL);
    for (uint64_t length = 8; length > 4; length--) {
        list_shrink(&mem, &l, 8);
        cr_assert_eq(l.encoding, ENCODING_QUICKLIST, "%d", (int)length);
        list_delete_range(&mem, &l, 0, 1, NULL);
    }
    list_shrink(&mem, &l, 8);
    cr_assert_eq(l.encoding, ENCODING_LISTPACK);
    cr_assert_eq(number_at(0), 4);
    cr_assert_eq(number_at(-1), 7);
}

Test(list, it_goes_back_when_its_bytes_are_half_of_the_limit)
{
    static const char text[500];
    for (int i = 0; i < 10; i++) push(-1, LIST_TAIL, bytes_make(text, 500));
    cr_assert_eq(l.encoding, ENCODING_QUICKLIST);
    for (uint64_t left = 10; left-- > 5;) {
        list_delete_range(&mem, &l, left, 1, NULL);
        list_shrink(&mem, &l, -1);
    }
    cr_assert_eq(l.encoding, ENCODING_QUICKLIST); /* 5 × 504 bytes */
    list_delete_range(&mem, &l, 4, 1, NULL);
    list_shrink(&mem, &l, -1);
    cr_assert_eq(l.encoding, ENCODING_LISTPACK);
    cr_assert_eq(list_length(&l), 4);
}

Test(list, limits_of_bytes_are_4_to_64_KiB)
{
    cr_assert(quicklist_limit_allows(-1, 4096, UINT64_MAX));
    cr_assert_not(quicklist_limit_allows(-1, 4097, 1));
    cr_assert(quicklist_limit_allows(-5, 65536, 1));
    cr_assert_not(quicklist_limit_allows(-5, 65537, 1));
    cr_assert(quicklist_limit_allows(INT32_MIN, 65536, 1));
    cr_assert(quicklist_limit_allows(3, 8192, 3));
    cr_assert_not(quicklist_limit_allows(3, 8193, 3));
    cr_assert_not(quicklist_limit_allows(3, 10, 4));
    cr_assert(quicklist_limit_allows(0, 10, 1));
    cr_assert_not(quicklist_limit_allows(0, 10, 2));
}

Test(list, a_large_element_has_a_node_of_its_own)
{
    char *text = calloc(1, 100000);
    push_numbers(LIMIT_8K, 2);
    push(LIMIT_8K, LIST_TAIL, bytes_make(text, 100000));
    push_numbers(LIMIT_8K, 1);
    struct quicklist *q = l.root;
    cr_assert_eq(q->node_count, 3);
    cr_assert(q->first->next->is_plain);
    cr_assert_eq(q->first->next->bytes, 100000);
    /* In the middle of a listpack it splits it; replaced by a small one it is gone. */
    struct bytes large = bytes_make(text, 9000);
    cr_assert(list_try_insert(&mem, &l, LIMIT_8K, list_seek(&l, 1), false, large));
    cr_assert_eq(q->node_count, 5);
    cr_assert(list_try_replace(&mem, &l, LIMIT_8K, list_seek(&l, 1), BYTES_LITERAL("7")));
    cr_assert_eq(q->node_count, 4);
    cr_assert_eq(number_at(0), 0);
    cr_assert_eq(number_at(1), 7);
    cr_assert_eq(number_at(2), 1);
    free(text);
}

Test(list, any_element_of_a_long_list_is_found)
{
    push_numbers(16, 5000);
    for (int64_t i = 0; i < 5000; i++) {
        cr_assert_eq(number_at(i), i);
        cr_assert_eq(number_at(i - 5000), i);
    }
    cr_assert_not(list_place_exists(list_seek(&l, 5000)));
    cr_assert_not(list_place_exists(list_seek(&l, -5001)));
    cr_assert_not(list_place_exists(list_seek(&l, INT64_MIN)));
}

/* ---- type_ops ---- */

static void use_shard_config(const struct shard_config *config)
{
    static struct shard shard;
    shard.config = config;
    shard_here = &shard;
}

/* Freezes and thaws; the list takes the encoding that it had, and the same elements. */
static void expect_same_after_a_journey(void)
{
    struct buf frozen = {.mem = &mem};
    cr_assert(list_ops.freeze(l.root, l.encoding, &(struct rdb_writer){.out = &frozen}));
    struct bytes in = bytes_make(frozen.data + 1, frozen.size - 1);
    struct list other;
    other.root = list_ops.thaw(&mem, (uint8_t)frozen.data[0], &in, &other.encoding);
    cr_assert_not_null(other.root);
    cr_assert_eq(in.size, 0);
    cr_assert_eq(other.encoding, l.encoding);
    cr_assert_eq(list_length(&other), list_length(&l));
    for (size_t cut = 0; cut + 1 < frozen.size; cut += 1 + cut / 20) {
        char *exact = malloc(cut + 1);
        memcpy(exact, frozen.data + 1, cut);
        in = bytes_make(exact, cut);
        enum encoding encoding;
        cr_assert_null(list_ops.thaw(&mem, (uint8_t)frozen.data[0], &in, &encoding));
        free(exact);
    }
    struct buf again = {.mem = &mem};
    cr_assert(list_ops.freeze(other.root, other.encoding, &(struct rdb_writer){.out = &again}));
    cr_assert(bytes_equal(buf_view(&again), buf_view(&frozen)));
    list_free(&mem, &other);
    buf_clear(&again);
    buf_clear(&frozen);
}

Test(list, freezing_and_thawing_keep_elements_and_encoding)
{
    static const struct shard_config config = {.list_max_listpack_size = LIMIT_8K};
    static const char text[20000];
    use_shard_config(&config);
    push_numbers(LIMIT_8K, 10);
    expect_same_after_a_journey(); /* a small listpack */
    push(LIMIT_8K, LIST_HEAD, bytes_make(text, 20000));
    expect_same_after_a_journey(); /* a plain node */
    list_delete_range(&mem, &l, 0, 1, NULL);
    cr_assert_eq(l.encoding, ENCODING_QUICKLIST);
    expect_same_after_a_journey(); /* one node that could be a listpack */
    push_numbers(LIMIT_8K, 5000);
    expect_same_after_a_journey();
}

Test(list, the_payload_of_redis_is_understood)
{
    static const struct shard_config config = {.list_max_listpack_size = LIMIT_8K};
    use_shard_config(&config);
    /* Type 1: strings, one of them an integer. */
    struct bytes in = BYTES_LITERAL("\2\1a\xc0\7");
    struct list other;
    other.root = list_ops.thaw(&mem, 1, &in, &other.encoding);
    cr_assert_eq(other.encoding, ENCODING_LISTPACK);
    cr_assert_eq(list_length(&other), 2);
    list_free(&mem, &other);
    /* Empty lists and empty nodes are no lists. */
    static const struct bytes bad[] = {
        {"\0", 1}, {"\1\2\7\7\0\0\0\0\0\xff", 10}, {"\1\1\0", 3}, {"\1\3\1a", 4}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        in = bad[i];
        cr_assert_null(list_ops.thaw(&mem, 18, &in, &other.encoding), "%zu", i);
    }
}

Test(list, a_copy_is_independent_and_freeing_goes_in_slices)
{
    push_numbers(16, 1000);
    struct list copy = {list_ops.copy(&mem, l.root, l.encoding), l.encoding};
    list_delete_range(&mem, &l, 0, 500, NULL);
    cr_assert_eq(list_length(&copy), 1000);
    list_validate(&copy);
    cr_assert_eq(list_ops.effort(copy.root, copy.encoding), 63);
    unsigned slices = 1;
    while (!list_ops.free_some(&mem, copy.root, copy.encoding, 10)) slices++;
    cr_assert_eq(slices, 7);
}

/* ---- against a model: an array of numbers, each of which stands for a text ---- */

#define MODEL_MAX 400

struct model {
    uint32_t ids[MODEL_MAX];
    size_t count;
    int32_t limit;
};

static struct bytes text_of(uint32_t id)
{
    static char text[12000];
    static const size_t sizes[] = {1, 5, 30, 100, 400, 4000, 8100, 8200, 12000};
    size_t size = sizes[id % 97 < 90 ? id % 5 : id % ARRAY_LEN(sizes)];
    memset(text, 'x', size);
    if (size < 10) return bytes_make(text, text_from_u64(text, id));
    memcpy(text, &id, sizeof id);
    return bytes_make(text, size);
}

static void model_insert(struct model *m, size_t index, uint32_t id)
{
    memmove(&m->ids[index + 1], &m->ids[index], (m->count - index) * sizeof m->ids[0]);
    m->ids[index] = id;
    m->count++;
}

static void model_delete(struct model *m, size_t index, size_t count)
{
    count = MIN(count, m->count - index);
    m->count -= count;
    memmove(&m->ids[index], &m->ids[index + count], (m->count - index) * sizeof m->ids[0]);
}

static void add_one(struct model *m, struct random *r)
{
    uint32_t id = (uint32_t)random_next(r);
    struct bytes text = text_of(id);
    cr_assert(list_try_prepare(&mem, &l, m->limit, 1, text.size));
    size_t index = random_below(r, m->count + 1);
    if (index == m->count || random_below(r, 3) == 0) {
        bool at_head = random_below(r, 2);
        cr_assert(list_try_push(&mem, &l, m->limit, at_head ? LIST_HEAD : LIST_TAIL, text));
        model_insert(m, at_head ? 0 : m->count, id);
    } else {
        bool after = random_below(r, 2);
        struct quicklist_place place = list_seek(&l, (int64_t)index);
        cr_assert(list_try_insert(&mem, &l, m->limit, place, after, text));
        model_insert(m, index + after, id);
    }
}

static void change_one(struct model *m, struct random *r)
{
    size_t index = random_below(r, m->count);
    struct quicklist_place place = list_seek(&l, (int64_t)index);
    uint64_t choice = random_below(r, 4);
    if (choice < 2) {
        uint32_t id = (uint32_t)random_next(r);
        struct bytes text = text_of(id);
        cr_assert(list_try_prepare(&mem, &l, m->limit, 1, text.size));
        place = list_seek(&l, (int64_t)index);
        cr_assert(list_try_replace(&mem, &l, m->limit, place, text));
        m->ids[index] = id;
    } else if (choice == 2) {
        place = list_remove(&mem, &l, place);
        cr_assert_eq(list_place_exists(place), index + 1 < m->count);
        model_delete(m, index, 1);
    } else {
        size_t count = 1 + random_below(r, 10);
        list_delete_range(&mem, &l, index, count, NULL);
        model_delete(m, index, count);
    }
    if (list_length(&l)) list_shrink(&mem, &l, m->limit);
}

static void expect_model(const struct model *m)
{
    char scratch[TEXT_I64_BYTES_MAX];
    list_validate(&l);
    cr_assert_eq(list_length(&l), m->count);
    struct quicklist_place place = list_seek(&l, 0);
    for (size_t i = 0; i < m->count; i++, place = list_next(&l, place)) {
        cr_assert(bytes_equal(list_text(&l, place, scratch), text_of(m->ids[i])), "%zu", i);
    }
    cr_assert_not(list_place_exists(place));
    place = list_seek(&l, -1);
    for (size_t i = m->count; i-- > 0; place = list_prev(&l, place)) {
        cr_assert(bytes_equal(list_text(&l, place, scratch), text_of(m->ids[i])), "%zu", i);
    }
}

Test(list, random_changes_agree_with_an_array)
{
    struct random r = random_make();
    static const int32_t limits[] = {-2, -1, 3, 20, 0};
    struct model m = {.count = 0};
    for (unsigned round = 0; round < ARRAY_LEN(limits); round++) {
        m.limit = limits[round];
        for (int i = 0; i < 800; i++) {
            bool grow = m.count == 0 || (m.count < MODEL_MAX - 1 && random_below(&r, 5) < 3);
            if (grow) {
                add_one(&m, &r);
            } else {
                change_one(&m, &r);
            }
            if (i % 8 == 0) expect_model(&m);
        }
        expect_model(&m);
    }
}
