#include <criterion/criterion.h>

#include "persist/lzf.h"
#include "random.h"

static struct mem mem;
static struct lzf_packer *packer;

static void setup(void)
{
    mem_init(&mem, "test");
    packer = lzf_try_create(&mem);
    cr_assert(packer);
}

static void teardown(void)
{
    lzf_destroy(&mem, packer);
    mem_deinit(&mem);
}

TestSuite(lzf, .init = setup, .fini = teardown);

static char packed[70000], unpacked[70000];

/* Packs and unpacks; returns the bytes in between. */
static size_t round_trip(struct bytes text, size_t room)
{
    memset(packed, 0x5a, sizeof packed);
    size_t size = lzf_pack(packer, text, packed, room);
    cr_assert(size <= room && packed[room] == 0x5a);
    if (size == 0) return 0;
    uint64_t measured;
    cr_assert(lzf_unpacked_size(bytes_make(packed, size), &measured));
    cr_assert_eq(measured, text.size);
    lzf_unpack(bytes_make(packed, size), unpacked);
    cr_assert_arr_eq(unpacked, text.data, text.size);
    return size;
}

/* What redis-server's DUMP has of so many times the letter a. */
Test(lzf, makes_of_a_string_what_liblzf_makes_of_it)
{
    static const struct {
        size_t size;
        struct bytes packed;
    } cases[] = {
        {21, BYTES_LITERAL("\x01"
                           "aa\xe0\x0a\x00")},
        {22, BYTES_LITERAL("\x01"
                           "aa\xe0\x0a\x00\x00"
                           "a")},
        {24, BYTES_LITERAL("\x01"
                           "aa\xe0\x0b\x00\x01"
                           "aa")},
        {300, BYTES_LITERAL("\x01"
                            "aa\xe0\xff\x00\xe0\x17\x00\x01"
                            "aa")},
    };
    char text[300];
    memset(text, 'a', sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t size = cases[i].size;
        cr_assert_eq(round_trip(bytes_make(text, size), size - 4), cases[i].packed.size);
        cr_assert_arr_eq(packed, cases[i].packed.data, cases[i].packed.size);
    }
}

Test(lzf, refuses_what_does_not_get_small_enough)
{
    cr_assert_eq(round_trip(BYTES_LITERAL("abcdefghijklmnopqrstuvwxyz"), 22), 0);
    cr_assert_eq(round_trip(BYTES_LITERAL(""), 10), 0);
    cr_assert_eq(round_trip(BYTES_LITERAL("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0), 0);
}

Test(lzf, unpacks_what_it_has_packed)
{
    struct random random = random_make();
    static char text[70000];
    for (int run = 0; run < 3000; run++) {
        size_t size = 1 + random_below(&random, run % 50 ? 600 : sizeof text - 1);
        unsigned letters = 1 + (unsigned)random_below(&random, 20);
        for (size_t i = 0; i < size; i++) text[i] = (char)('a' + random_below(&random, letters));
        round_trip(bytes_make(text, size), random_below(&random, size + 40));
    }
}

Test(lzf, malformed_input_is_noticed_before_anything_is_written)
{
    static const struct bytes bad[] = {
        BYTES_LITERAL("\x01"
                      "a"),        /* two literals, one there */
        BYTES_LITERAL("\x20\x00"), /* a repetition of what was never there */
        BYTES_LITERAL("\x00"
                      "a\x20\x01"), /* from before the start */
        BYTES_LITERAL("\x00"
                      "a\xe0\x00"), /* cut short */
        BYTES_LITERAL("\x00"
                      "a\x20"),
    };
    uint64_t size;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) cr_assert_not(lzf_unpacked_size(bad[i], &size));
}
