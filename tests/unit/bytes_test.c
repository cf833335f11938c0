/* Views of bytes, the growable buffer and the key hash. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#define B(text) BYTES_LITERAL(text)

Test(bytes, equality_needs_size_and_contents)
{
    cr_assert(bytes_equal(B("abc"), bytes_of("abc")));
    cr_assert(bytes_equal(B(""), bytes_make("x", 0)));
    cr_assert(bytes_equal(bytes_make(NULL, 0), bytes_make(NULL, 0)));
    cr_assert(bytes_equal(B("a\0b"), bytes_make("a\0b", 3)));
    cr_assert_not(bytes_equal(B("abc"), B("abd")));
    cr_assert_not(bytes_equal(B("abc"), B("ab")));
    cr_assert_not(bytes_equal(B("a\0b"), B("a\0c")));
}

Test(bytes, equality_without_case_is_ascii_only)
{
    cr_assert(bytes_equal_nocase(B("GeT"), "get"));
    cr_assert(bytes_equal_nocase(B("a-z_09"), "A-Z_09"));
    cr_assert(bytes_equal_nocase(B(""), ""));
    cr_assert_not(bytes_equal_nocase(B("get"), "gets"));
    cr_assert_not(bytes_equal_nocase(B("gets"), "get"));
    cr_assert_not(bytes_equal_nocase(B("get\0"), "get"));
    cr_assert_not(bytes_equal_nocase(B("ge\0"), "get"));
    cr_assert_not(bytes_equal_nocase(B("@"), "`"));
    cr_assert_not(bytes_equal_nocase(B("["), "{"));
    cr_assert_not(bytes_equal_nocase(B("\xc4"), "\xe4"));
}

Test(bytes, order_is_that_of_unsigned_bytes_then_length)
{
    static const struct bytes sorted[] = {
        BYTES_LITERAL(""),     BYTES_LITERAL("\0"),   BYTES_LITERAL("\0\0"), BYTES_LITERAL("A"),
        BYTES_LITERAL("a"),    BYTES_LITERAL("aa"),   BYTES_LITERAL("ab"),   BYTES_LITERAL("b"),
        BYTES_LITERAL("\x7f"), BYTES_LITERAL("\x80"), BYTES_LITERAL("\xff"),
    };
    for (int i = 0; i < (int)ARRAY_LEN(sorted); i++) {
        for (int j = 0; j < (int)ARRAY_LEN(sorted); j++) {
            int order = bytes_compare(sorted[i], sorted[j]);
            cr_assert_eq((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    cr_assert_eq(bytes_compare(bytes_make(NULL, 0), bytes_make(NULL, 0)), 0);
}

Test(bytes, the_hash_is_xxh3)
{
    /* From the reference implementation's documentation of the empty input, and stable for ever:
     * shards of a stored data set are found with it. */
    cr_assert_eq(bytes_hash(B(""), 0), UINT64_C(0x2d06800538d394c2));
    cr_assert_eq(bytes_hash(bytes_make(NULL, 0), 0), UINT64_C(0x2d06800538d394c2));
}

Test(bytes, the_hash_depends_on_every_byte_the_length_and_the_seed)
{
    char text[300];
    memset(text, 'k', sizeof(text));
    for (size_t size = 1; size < sizeof(text); size++) {
        uint64_t hash = bytes_hash(bytes_make(text, size), 7);
        cr_assert_eq(hash, bytes_hash(bytes_make(text, size), 7));
        cr_assert_neq(hash, bytes_hash(bytes_make(text, size), 8));
        cr_assert_neq(hash, bytes_hash(bytes_make(text, size - 1), 7));
        for (size_t i = 0; i < size; i += 1 + size / 10) {
            text[i] ^= 1;
            cr_assert_neq(hash, bytes_hash(bytes_make(text, size), 7));
            text[i] ^= 1;
        }
    }
}

static void expect_tag(const char *key, const char *tag)
{
    cr_assert(bytes_equal(bytes_hash_tag(bytes_of(key)), bytes_of(tag)), "%s", key);
}

Test(bytes, the_hash_tag_is_the_first_braces_contents_unless_empty)
{
    expect_tag("user:1", "user:1");
    expect_tag("{user}:1", "user");
    expect_tag("a{b}c{d}", "b");
    expect_tag("{}{b}", "{}{b}");
    expect_tag("{{b}}", "{b");
    expect_tag("a{b", "a{b");
    expect_tag("a}b", "a}b");
    expect_tag("}a{b}", "b");
    expect_tag("{", "{");
    expect_tag("", "");
    expect_tag("x{a}", "a");
    cr_assert(bytes_equal(bytes_hash_tag(B("{\0}")), B("\0")));
}

/* ---- buffers ---- */

Test(bytes, an_empty_buffer_can_be_cleared_and_viewed)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    cr_assert_eq(buf_view(&b).size, 0);
    buf_clear(&b);
    buf_append(&b, NULL, 0);
    cr_assert_eq(b.size, 0);
    mem_deinit(&m);
}

Test(bytes, room_for_nothing_is_still_room)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    cr_assert_not_null(buf_try_reserve(&b, 0));
    buf_clear(&b);
    mem_deinit(&m);
}

Test(bytes, a_buffer_grows_by_doubling_and_keeps_its_contents)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    size_t growths = 0, capacity = 0;
    for (int i = 0; i < 100000; i++) {
        char c = (char)(i * 7);
        buf_append(&b, &c, 1);
        growths += b.capacity != capacity;
        capacity = b.capacity;
    }
    cr_assert_leq(growths, 12);
    for (int i = 0; i < 100000; i++) cr_assert_eq(b.data[i], (char)(i * 7));
    buf_clear(&b);
    cr_assert_null(b.data);
    cr_assert_eq(mem_live_bytes(&m), 0);
    buf_append_text(&b, "again");
    cr_assert(bytes_equal(buf_view(&b), B("again")));
    buf_clear(&b);
    mem_deinit(&m);
}

Test(bytes, printing_appends_without_a_nul)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    char long_text[1000];
    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    buf_append_text(&b, "<");
    buf_printf(&b, "%d-%s", 42, "abc");
    buf_printf(&b, "%s", "");
    cr_assert(bytes_equal(buf_view(&b), B("<42-abc")));
    buf_printf(&b, "%s", long_text);
    cr_assert_eq(b.size, 7 + 999);
    cr_assert(bytes_equal(bytes_make(b.data + 7, 999), bytes_of(long_text)));
    buf_clear(&b);
    mem_deinit(&m);
}

Test(bytes, printing_finds_room_at_every_fill)
{
    struct mem m;
    mem_init(&m, "test");
    for (int before = 0; before < 70; before++) {
        for (int size = 0; size < 70; size++) {
            struct buf b = {.mem = &m};
            buf_printf(&b, "%*s", before, "");
            buf_printf(&b, "%*s", size, "");
            cr_assert_eq(b.size, (size_t)(before + size));
            buf_clear(&b);
        }
    }
    mem_deinit(&m);
}

Test(bytes, without_memory_a_buffer_stays_as_it_was)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    fault_set("mem_try_alloc", 1);
    cr_assert_null(buf_try_reserve(&b, 10));
    buf_append_text(&b, "text");
    struct buf before = b;
    cr_assert_null(buf_try_reserve(&b, SIZE_MAX));
    cr_assert_null(buf_try_reserve(&b, SIZE_MAX / 2));
    fault_set("mem_try_alloc", 1);
    cr_assert_null(buf_try_reserve(&b, 1000));
    cr_assert_eq(memcmp(&before, &b, sizeof(b)), 0);
    cr_assert(bytes_equal(buf_view(&b), B("text")));
    cr_assert_not_null(buf_try_reserve(&b, 1000));
    cr_assert(bytes_equal(buf_view(&b), B("text")));
    buf_clear(&b);
    mem_deinit(&m);
}

Test(bytes, the_aborting_reserve_aborts, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf b = {.mem = &m};
    buf_reserve(&b, SIZE_MAX / 4);
}
