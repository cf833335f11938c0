#include "shard/type/bitmap.h"

#include <criterion/criterion.h>

#include "random.h"

#define BYTES_MAX 300

/* Runs of equal bytes with a few bits among them, so that words are passed over and found. */
static struct bytes random_map(struct random *r, char *data)
{
    size_t size = random_below(r, BYTES_MAX) + 1;
    memset(data, random_below(r, 2) ? 0xff : 0, size);
    for (uint64_t i = random_below(r, 4); i > 0; i--) {
        data[random_below(r, size)] ^= (char)(1 << random_below(r, 8));
    }
    if (random_below(r, 4) == 0) {
        for (size_t i = 0; i < size; i++) data[i] = (char)random_next(r);
    }
    return bytes_make(data, size);
}

/* Bit by bit. */
static uint64_t model_count(struct bytes map, uint64_t first, uint64_t last)
{
    uint64_t count = 0;
    for (uint64_t i = first; i <= last; i++) count += bitmap_get(map, i);
    return count;
}

static bool model_find(struct bytes map, bool value, uint64_t first, uint64_t last, uint64_t *out)
{
    for (*out = first; *out <= last; ++*out) {
        if (bitmap_get(map, *out) == value) return true;
    }
    return false;
}

Test(bitmap, counts_and_finds_as_a_walk_bit_by_bit_does)
{
    struct random r = random_make();
    char data[BYTES_MAX];
    for (unsigned i = 0; i < 20000; i++) {
        struct bytes map = random_map(&r, data);
        uint64_t first = random_below(&r, 8 * map.size);
        uint64_t last = first + random_below(&r, 8 * map.size - first);
        cr_assert_eq(bitmap_count_range(map, first, last), model_count(map, first, last));
        for (int value = 0; value < 2; value++) {
            uint64_t expected, position = 0;
            bool is_there = model_find(map, value, first, last, &expected);
            cr_assert_eq(bitmap_find(map, value, first, last, &position), is_there);
            if (is_there) cr_assert_eq(position, expected);
        }
    }
    cr_assert_eq(bitmap_count((struct bytes){0}), 0);
}

Test(bitmap, combines_strings_of_different_lengths_as_if_filled_up_with_zeros)
{
    enum { SOURCES = 4, BIG = 20000 };
    struct random r = random_make();
    static char data[SOURCES][BIG], out[BIG];
    for (unsigned round = 0; round < 300; round++) {
        struct bytes sources[SOURCES];
        size_t size = 0;
        uint32_t count = 1 + (uint32_t)random_below(&r, SOURCES);
        for (uint32_t i = 0; i < count; i++) {
            sources[i] = bytes_make(data[i], random_below(&r, round % 8 ? 40 : BIG));
            for (size_t j = 0; j < sources[i].size; j++) data[i][j] = (char)random_next(&r);
            size = MAX(size, sources[i].size);
        }
        enum bitmap_operation operation = (enum bitmap_operation)random_below(&r, 4);
        if (operation == BITMAP_NOT) count = 1, size = sources[0].size;
        memset(out, 0x55, size);
        bitmap_combine(operation, sources, count, out, size);
        for (size_t j = 0; j < size; j++) {
            int expected = j < sources[0].size ? data[0][j] : 0;
            if (operation == BITMAP_NOT) expected = ~expected;
            for (uint32_t i = 1; i < count; i++) {
                int b = j < sources[i].size ? data[i][j] : 0;
                expected = operation == BITMAP_AND  ? expected & b
                           : operation == BITMAP_OR ? expected | b
                                                    : expected ^ b;
            }
            cr_assert_eq(out[j], (char)expected);
        }
    }
}

Test(bitmap, a_field_is_its_bits_from_the_most_significant_one_on)
{
    struct random r = random_make();
    char data[BYTES_MAX], before[BYTES_MAX];
    for (unsigned i = 0; i < 20000; i++) {
        struct bytes map = random_map(&r, data);
        unsigned width = 1 + (unsigned)random_below(&r, MIN(64, 8 * map.size));
        uint64_t position = random_below(&r, 8 * map.size - width + 1);
        uint64_t value = random_next(&r);
        memcpy(before, data, map.size);
        bitmap_set_field(data, position, width, value);
        uint64_t kept = width < 64 ? value & (((uint64_t)1 << width) - 1) : value;
        cr_assert_eq(bitmap_get_field(map, position, width), kept);
        for (uint64_t bit = 0; bit < 8 * map.size; bit++) {
            bool expected = bitmap_get(bytes_make(before, map.size), bit);
            if (bit - position < width) expected = value >> (width - 1 - (bit - position)) & 1;
            cr_assert_eq(bitmap_get(map, bit), expected);
        }
    }
}

Test(bitmap, a_field_behind_the_end_is_zero)
{
    struct bytes map = BYTES_LITERAL("\xff");
    cr_assert_eq(bitmap_get_field(map, 0, 64), 0xff00000000000000);
    cr_assert_eq(bitmap_get_field(map, 4, 8), 0xf0);
    cr_assert_eq(bitmap_get_field(map, 1000, 63), 0);
    cr_assert_eq(bitmap_get_field((struct bytes){0}, 0, 1), 0);
}
