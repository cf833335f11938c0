#include <criterion/criterion.h>
#include <math.h>

#include "persist/rdb.h"
#include "random.h"

static struct mem mem;
static struct buf out;
static struct rdb_writer writer;

static void setup(void)
{
    mem_init(&mem, "test");
    out = (struct buf){.mem = &mem};
    writer = (struct rdb_writer){.out = &out};
}

static void teardown(void)
{
    rdb_writer_deinit(&writer);
    buf_clear(&out);
    mem_deinit(&mem);
}

TestSuite(rdb, .init = setup, .fini = teardown);

#define expect_bytes(literal)                                                                      \
    do {                                                                                           \
        cr_assert_eq(out.size, sizeof(literal) - 1);                                               \
        cr_assert_arr_eq(out.data, literal, sizeof(literal) - 1);                                  \
        out.size = 0;                                                                              \
    } while (0)

Test(rdb, a_length_takes_the_shortest_form)
{
    cr_assert(rdb_try_append_length(&writer, 63));
    expect_bytes("\x3f");
    cr_assert(rdb_try_append_length(&writer, 64));
    expect_bytes("\x40\x40");
    cr_assert(rdb_try_append_length(&writer, 16383));
    expect_bytes("\x7f\xff");
    cr_assert(rdb_try_append_length(&writer, 16384));
    expect_bytes("\x80\x00\x00\x40\x00");
    cr_assert(rdb_try_append_length(&writer, UINT32_MAX));
    expect_bytes("\x80\xff\xff\xff\xff");
    cr_assert(rdb_try_append_length(&writer, (uint64_t)1 << 32));
    expect_bytes("\x81\x00\x00\x00\x01\x00\x00\x00\x00");
}

Test(rdb, lengths_read_back)
{
    struct random random = random_make();
    for (int run = 0; run < 1000; run++) {
        uint64_t length = random_next(&random) >> random_below(&random, 64), read;
        out.size = 0;
        cr_assert(rdb_try_append_length(&writer, length));
        struct bytes in = buf_view(&out);
        for (size_t cut = 0; cut < out.size; cut++) {
            struct bytes less = bytes_make(out.data, cut);
            cr_assert_not(rdb_take_length(&less, &read));
        }
        cr_assert(rdb_take_length(&in, &read));
        cr_assert(read == length && in.size == 0);
    }
}

Test(rdb, an_integer_is_written_as_one_when_strings_are_packed)
{
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("12")));
    expect_bytes("\x02"
                 "12");
    writer.packing = RDB_PACK_INTEGERS;
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("12")));
    expect_bytes("\xc0\x0c");
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("-129")));
    expect_bytes("\xc1\x7f\xff");
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("-2147483648")));
    expect_bytes("\xc2\x00\x00\x00\x80");
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("2147483648")));
    expect_bytes("\x0a"
                 "2147483648");
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("012")));
    expect_bytes("\x03"
                 "012");
}

Test(rdb, long_text_is_compressed_if_that_saves_four_bytes)
{
    writer.packing = RDB_PACK_ALL;
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("aaaaaaaaaaaaaaaaaaaa")));
    expect_bytes("\x14"
                 "aaaaaaaaaaaaaaaaaaaa");
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("aaaaaaaaaaaaaaaaaaaaa")));
    expect_bytes("\xc3\x06\x15\x01"
                 "aa\xe0\x0a\x00");
    writer.packing = RDB_PACK_INTEGERS;
    cr_assert(rdb_try_append_string(&writer, BYTES_LITERAL("aaaaaaaaaaaaaaaaaaaaa")));
    expect_bytes("\x15"
                 "aaaaaaaaaaaaaaaaaaaaa");
}

Test(rdb, strings_read_back_and_truncated_ones_do_not)
{
    static const char *const texts[] = {"",
                                        "0",
                                        "-1",
                                        "300",
                                        "99999",
                                        "4294967296",
                                        "text",
                                        "a longer text, a longer text, a longer text",
                                        "1234567890123456789012345678901234567890"};
    for (enum rdb_packing packing = RDB_PACK_NONE; packing <= RDB_PACK_ALL; packing++) {
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            out.size = 0;
            writer.packing = packing;
            cr_assert(rdb_try_append_string(&writer, bytes_of(texts[i])));
            struct rdb_string s;
            for (size_t cut = 0; cut < out.size; cut++) {
                struct bytes less = bytes_make(out.data, cut);
                cr_assert_not(rdb_take_string(&mem, &less, &s));
            }
            struct bytes in = buf_view(&out);
            cr_assert(rdb_take_string(&mem, &in, &s));
            cr_assert(in.size == 0 && bytes_equal(s.text, bytes_of(texts[i])));
            rdb_string_free(&mem, &s);
        }
    }
}

Test(rdb, a_claimed_length_reserves_nothing)
{
    static const struct bytes bad[] = {
        BYTES_LITERAL("\x81\x7f\xff\xff\xff\xff\xff\xff\xff"), /* 2^63 bytes */
        BYTES_LITERAL("\xc3\x02\x81\x7f\xff\xff\xff\xff\xff\xff\xff\x00"
                      "a"), /* packed */
        BYTES_LITERAL("\xc3\x02\x02\x00"
                      "a"), /* one comes out */
        BYTES_LITERAL("\xc3\x00\x00"),
        BYTES_LITERAL("\xc4\x00"),
        BYTES_LITERAL("\x82\x00"),
    };
    struct rdb_string s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct bytes in = bad[i];
        cr_assert_not(rdb_take_string(&mem, &in, &s));
    }
    cr_assert_eq(mem_live_bytes(&mem), 0);
}

Test(rdb, doubles_have_a_binary_form_and_an_old_one)
{
    cr_assert(rdb_try_append_double(&writer, -1.5));
    struct bytes in = buf_view(&out);
    double value;
    cr_assert(rdb_take_double(&in, &value));
    cr_assert(value == -1.5 && in.size == 0);
    in = BYTES_LITERAL("\x03"
                       "1.5\xff\xfe\xfd\x02"
                       "x1");
    cr_assert(rdb_take_double_text(&in, &value) && value == 1.5);
    cr_assert(rdb_take_double_text(&in, &value) && isinf(value) && value < 0);
    cr_assert(rdb_take_double_text(&in, &value) && isinf(value) && value > 0);
    cr_assert(rdb_take_double_text(&in, &value) && isnan(value));
    cr_assert_not(rdb_take_double_text(&in, &value));
}
