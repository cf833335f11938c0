#include "shard/type/hll.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/mem.h"
#include "random.h"

static struct mem mem;

static void setup(void)
{
    mem_init(&mem, "hll_test");
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(hll, .init = setup, .fini = teardown);

/* Every register of the draft is that of the model. */
static void assert_registers(const struct hll_draft *d, const struct hll_registers *model)
{
    struct hll_registers own = {0};
    cr_assert(hll_has_header(d->sketch));
    cr_assert(hll_merge_into(d->sketch, &own), "the runs do not make all registers");
    cr_assert_arr_eq(own.ranks, model->ranks, HLL_REGISTERS);
    int64_t count;
    cr_assert(hll_estimate(d->sketch, &count));
    cr_assert_eq(count, hll_estimate_registers(model));
}

/* Near a few places, so that runs are split, joined and changed in place. */
static struct hll_mark random_mark(struct random *r)
{
    static const uint32_t places[] = {0, 64, 9000, HLL_REGISTERS - 12};
    uint32_t index = places[random_below(r, 4)] + (uint32_t)random_below(r, 12);
    if (random_below(r, 10) == 0) index = (uint32_t)random_below(r, HLL_REGISTERS);
    uint64_t rank = random_below(r, 3) ? 1 + random_below(r, 3) : 1 + random_below(r, 32);
    if (random_below(r, 2000) == 0) rank = 33 + random_below(r, 19);
    return (struct hll_mark){.index = index, .rank = (uint8_t)rank};
}

Test(hll, a_draft_has_the_registers_of_a_model_whatever_its_form)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 60; round++) {
        static struct hll_registers model;
        memset(&model, 0, sizeof model);
        struct hll_draft d;
        hll_draft_begin(&d, &mem, hll_empty(), round % 3 ? 3000 : random_below(&r, 300));
        for (unsigned i = 0; i < 400; i++) {
            struct hll_mark mark = random_mark(&r);
            bool is_news = model.ranks[mark.index] < mark.rank;
            cr_assert_eq(hll_draft_raise(&d, mark), is_news ? HLL_CHANGED : HLL_SAME);
            model.ranks[mark.index] = MAX(model.ranks[mark.index], mark.rank);
            cr_assert(hll_is_dense(d.sketch) || d.sketch.size <= 3000);
            if (i % 10 == 0) assert_registers(&d, &model);
        }
        assert_registers(&d, &model);
        hll_draft_free(&d);
    }
}

/* What redis-server answers to GET after PFADD with these elements. */
Test(hll, sketches_are_those_of_redis_byte_for_byte)
{
    static const struct {
        struct bytes element, runs;
    } steps[] = {
        {BYTES_LITERAL("x"), BYTES_LITERAL("\x7f\xf5\x84\x08")},
        {BYTES_LITERAL("x"), BYTES_LITERAL("\x7f\xf5\x84\x08")},
        {BYTES_LITERAL("y"), BYTES_LITERAL("zS\x88\x45\xa0\x84\x08")},
        {BYTES_LITERAL("q"), BYTES_LITERAL("U\xaf\x94\x64\xa2\x88\x45\xa0\x84\x08")},
    };
    struct hll_draft d;
    hll_draft_begin(&d, &mem, hll_empty(), 3000);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        enum hll_result result = hll_draft_raise(&d, hll_mark_of(steps[i].element));
        cr_assert_eq(result, i == 1 ? HLL_SAME : HLL_CHANGED);
        cr_assert_eq(d.sketch.size, HLL_HEADER_BYTES + steps[i].runs.size);
        cr_assert_arr_eq(d.sketch.data + HLL_HEADER_BYTES, steps[i].runs.data, steps[i].runs.size);
    }
    hll_draft_free(&d);
}

static struct hll_draft draft_of(struct bytes sketch, uint64_t sparse_bytes_max)
{
    struct hll_draft d;
    hll_draft_begin(&d, &mem, sketch, sparse_bytes_max);
    return d;
}

static void raise_one(struct hll_draft *d, uint32_t index, uint8_t rank)
{
    cr_assert_eq(hll_draft_raise(d, (struct hll_mark){index, rank}), HLL_CHANGED);
}

Test(hll, neighbours_of_one_rank_become_one_run_of_up_to_four)
{
    struct hll_draft d = draft_of(hll_empty(), 3000);
    for (uint32_t i = 0; i < 8; i++) raise_one(&d, 100 + i, 7);
    cr_assert_eq(d.sketch.size, HLL_HEADER_BYTES + 6); /* XZERO, VAL of 4, VAL of 4, XZERO */
    hll_draft_free(&d);
}

Test(hll, becomes_dense_when_a_change_would_be_longer_than_the_limit)
{
    /* An empty sketch of 18 bytes gets 3 more by its first register. */
    struct hll_draft d = draft_of(hll_empty(), 21);
    raise_one(&d, 5000, 1);
    cr_assert_eq(d.sketch.size, 21);
    cr_assert_not(hll_is_dense(d.sketch));
    raise_one(&d, 7000, 1);
    cr_assert(hll_is_dense(d.sketch));
    cr_assert_eq(d.sketch.size, HLL_DENSE_BYTES);
    cr_assert_eq(hll_dense_rank(d.sketch, 5000), 1);
    cr_assert_eq(hll_dense_rank(d.sketch, 7000), 1);
    hll_draft_free(&d);
}

Test(hll, becomes_dense_by_a_rank_that_no_run_can_have)
{
    struct hll_draft d = draft_of(hll_empty(), 3000);
    raise_one(&d, 0, 32);
    cr_assert_not(hll_is_dense(d.sketch));
    raise_one(&d, HLL_REGISTERS - 1, 33);
    cr_assert(hll_is_dense(d.sketch));
    cr_assert_eq(hll_dense_rank(d.sketch, 0), 32);
    cr_assert_eq(hll_dense_rank(d.sketch, HLL_REGISTERS - 1), 33);
    hll_draft_free(&d);
}

Test(hll, a_draft_leaves_the_original_alone)
{
    struct bytes empty = hll_empty();
    char original[18];
    memcpy(original, empty.data, sizeof original);
    struct hll_draft d = draft_of(bytes_make(original, sizeof original), 3000);
    raise_one(&d, 3, 3);
    cr_assert(hll_draft_finish(&d));
    cr_assert_arr_eq(original, empty.data, sizeof original);
    hll_draft_free(&d);
}

Test(hll, the_estimate_is_within_a_few_standard_errors)
{
    static const unsigned sizes[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    struct hll_draft d = draft_of(hll_empty(), 3000);
    unsigned added = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (; added < sizes[i]; added++) {
            char text[32];
            int size = snprintf(text, sizeof text, "element %u", added);
            struct bytes element = bytes_make(text, (size_t)size);
            cr_assert_leq(hll_draft_raise(&d, hll_mark_of(element)), HLL_CHANGED);
        }
        int64_t count;
        cr_assert(hll_estimate(d.sketch, &count));
        double error = (double)count / sizes[i] - 1;
        cr_assert(error > -0.03 && error < 0.03, "%u: %lld", sizes[i], (long long)count);
    }
    hll_draft_free(&d);
}

Test(hll, the_cached_count_holds_until_it_is_out_of_date)
{
    char sketch[18];
    int64_t count = 0;
    memcpy(sketch, hll_empty().data, sizeof sketch);
    struct bytes view = bytes_make(sketch, sizeof sketch);
    cr_assert_not(hll_cached_count(view, &count));
    hll_cache_count(sketch, 258);
    cr_assert_eq(sketch[8], 2);
    cr_assert_eq(sketch[9], 1);
    cr_assert(hll_cached_count(view, &count));
    cr_assert_eq(count, 258);
    hll_outdate_count(sketch);
    cr_assert_not(hll_cached_count(view, &count));
}

Test(hll, runs_that_do_not_make_all_registers_are_corrupt)
{
    static const struct bytes bodies[] = {
        BYTES_LITERAL(""),
        BYTES_LITERAL("\x00"),
        BYTES_LITERAL("\x7f"),             /* half a run */
        BYTES_LITERAL("\x7f\xfe"),         /* one register is missing */
        BYTES_LITERAL("\x7f\xff\x00"),     /* one too many */
        BYTES_LITERAL("\x7f\xfe\x81"),     /* the last run goes beyond the end */
        BYTES_LITERAL("\x7f\xfe\x40"),     /* half a run at the end */
        BYTES_LITERAL("\x7f\xff\x7f\xff"), /* twice all */
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        char text[32];
        memcpy(text, hll_empty().data, HLL_HEADER_BYTES);
        memcpy(text + HLL_HEADER_BYTES, bodies[i].data, bodies[i].size);
        struct bytes sketch = bytes_make(text, HLL_HEADER_BYTES + bodies[i].size);
        int64_t count;
        struct hll_registers registers = {0};
        cr_assert(hll_has_header(sketch));
        cr_assert_not(hll_estimate(sketch, &count), "%zu", i);
        cr_assert_not(hll_merge_into(sketch, &registers), "%zu", i);
        struct hll_draft d = draft_of(sketch, 3000);
        cr_assert_eq(hll_draft_make_dense(&d), HLL_CORRUPT);
        cr_assert_eq(d.sketch.size, sketch.size);
        hll_draft_free(&d);
    }
}

Test(hll, a_header_names_an_encoding_and_fits_its_size)
{
    static char dense[HLL_DENSE_BYTES + 1] = "HYLL";
    cr_assert(hll_has_header(bytes_make(dense, HLL_DENSE_BYTES)));
    cr_assert_not(hll_has_header(bytes_make(dense, HLL_DENSE_BYTES + 1)));
    cr_assert_not(hll_has_header(bytes_make(dense, HLL_DENSE_BYTES - 1)));
    cr_assert_not(hll_has_header(bytes_make(hll_empty().data, HLL_HEADER_BYTES - 1)));
    dense[4] = 2;
    cr_assert_not(hll_has_header(bytes_make(dense, HLL_DENSE_BYTES)));
    cr_assert_not(hll_has_header(BYTES_LITERAL("hyll\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xff")));
}
