#include <criterion/criterion.h>
#include <stdlib.h>

#include "random.h"
#include "shard/type/intset.h"

static struct mem mem;
static struct intset *set;

static void setup(void)
{
    mem_init(&mem, "test");
    set = intset_try_create(&mem);
    cr_assert(set);
}

static void teardown(void)
{
    intset_validate(set);
    intset_free(&mem, set);
    mem_deinit(&mem);
}

TestSuite(intset, .init = setup, .fini = teardown);

#define B(text) BYTES_LITERAL(text)

static bool add(int64_t value)
{
    bool added;
    cr_assert(intset_try_add(&mem, &set, value, &added));
    return added;
}

Test(intset, its_bytes_are_those_of_redis)
{
    cr_assert(bytes_equal(intset_view(set), B("\2\0\0\0\0\0\0\0")));
    add(1);
    add(-1);
    cr_assert(bytes_equal(intset_view(set), B("\2\0\0\0\2\0\0\0\xff\xff\1\0")));
    add(70000);
    cr_assert(
        bytes_equal(intset_view(set), B("\4\0\0\0\3\0\0\0\xff\xff\xff\xff\1\0\0\0\x70\x11\1\0")));
}

Test(intset, values_are_sorted_and_distinct)
{
    static const int64_t values[] = {5, -3, 5, 32767, -32768, 0, 5};
    unsigned count = 0;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) count += add(values[i]);
    cr_assert_eq(count, 5);
    static const int64_t sorted[] = {-32768, -3, 0, 5, 32767};
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t index;
        cr_assert_eq(intset_get(set, i), sorted[i]);
        cr_assert(intset_find(set, sorted[i], &index));
        cr_assert_eq(index, i);
    }
}

Test(intset, a_wider_value_widens_all_at_the_right_end)
{
    add(1);
    add(2);
    cr_assert(add(-32769));
    cr_assert_eq(intset_get(set, 0), -32769);
    cr_assert_eq(intset_bytes(set), INTSET_HEADER_BYTES + 3 * 4);
    cr_assert(add(INT64_MAX));
    cr_assert(add(INT64_MIN));
    cr_assert_eq(intset_get(set, 0), INT64_MIN);
    cr_assert_eq(intset_get(set, 4), INT64_MAX);
    cr_assert_eq(intset_get(set, 3), 2);
    cr_assert(intset_remove(&mem, &set, INT64_MAX));
    cr_assert_not(intset_remove(&mem, &set, INT64_MAX));
    cr_assert_eq(intset_bytes(set), INTSET_HEADER_BYTES + 4 * 8);
}

Test(intset, a_value_that_is_too_wide_is_not_there)
{
    add(1);
    cr_assert_not(intset_has(set, 65537));
    cr_assert_not(intset_remove(&mem, &set, 65537));
    cr_assert(intset_has(set, 1));
}

Test(intset, malformed_bytes_are_refused)
{
    static const struct bytes cases[] = {
        {"", 0},
        {"\2\0\0\0\0\0\0", 7},
        {"\3\0\0\0\0\0\0\0", 8},
        {"\2\0\0\0\1\0\0\0", 8},
        {"\2\0\0\0\1\0\0\0\1\0\1", 11},
        {"\2\0\0\0\2\0\0\0\1\0\1\0", 12},
        {"\2\0\0\0\2\0\0\0\2\0\1\0", 12},
        {"\x8\0\0\0\xff\xff\xff\xff", 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_assert_null(intset_try_from_bytes(&mem, cases[i]), "%zu", i);
    }
    struct intset *taken = intset_try_from_bytes(&mem, B("\4\0\0\0\2\0\0\0\1\0\0\0\2\0\0\0"));
    cr_assert_eq(intset_length(taken), 2);
    intset_free(&mem, taken);
}

#define MODEL_RANGE 400

Test(intset, random_changes_agree_with_an_array_of_flags)
{
    struct random r = random_make();
    static bool flags[MODEL_RANGE];
    static const int64_t steps[] = {1, 300, 20000000, INT64_MAX / MODEL_RANGE};
    for (unsigned round = 0; round < ARRAY_LEN(steps); round++) {
        memset(flags, 0, sizeof flags);
        while (intset_length(set)) intset_remove(&mem, &set, intset_get(set, 0));
        for (int i = 0; i < 3000; i++) {
            uint64_t n = random_below(&r, MODEL_RANGE);
            int64_t value = ((int64_t)n - MODEL_RANGE / 2) * steps[round];
            cr_assert_eq(intset_has(set, value), flags[n]);
            if (random_below(&r, 2)) {
                cr_assert_eq(add(value), !flags[n]);
                flags[n] = true;
            } else {
                cr_assert_eq(intset_remove(&mem, &set, value), flags[n]);
                flags[n] = false;
            }
            intset_validate(set);
        }
        uint32_t count = 0;
        for (unsigned n = 0; n < MODEL_RANGE; n++) count += flags[n];
        cr_assert_eq(intset_length(set), count);
    }
}
