/* Numbers, patterns and words, as redis-server 7.0.15 reads and writes them: the expectations in
 * the tables were taken from a running one. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "tests/unit/random.h"

#define B(text) BYTES_LITERAL(text)

static const char *shown(struct bytes b)
{
    static char text[200];
    snprintf(text, sizeof(text), "'%.*s' (%zu bytes)", (int)MIN(b.size, 100), b.data, b.size);
    return text;
}

/* A copy in a block of exactly its size, so that a sanitizer sees a read beyond the end. */
static struct bytes tight(struct mem *m, struct bytes b)
{
    char *copy = mem_alloc(m, MAX(b.size, (size_t)1));
    memcpy(copy, b.data, b.size);
    return bytes_make(copy, b.size);
}

static void tight_free(struct mem *m, struct bytes b)
{
    mem_free(m, (void *)(uintptr_t)b.data, MAX(b.size, (size_t)1));
}

/* ---- integers ---- */

Test(text, integers_are_read_whole_and_strictly)
{
    /* clang-format off */
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0}, {"1", 1}, {"-1", -1}, {"10", 10}, {"-900", -900}, {"1234567890123456789", 1234567890123456789},
        {"9223372036854775807", INT64_MAX}, {"-9223372036854775808", INT64_MIN}, {"-9223372036854775807", -INT64_MAX},
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        int64_t value = 77;
        cr_assert(text_to_i64(bytes_of(good[i].text), &value), "%s", good[i].text);
        cr_assert_eq(value, good[i].value, "%s", good[i].text);
    }
}

Test(text, what_is_not_quite_an_integer_is_refused_and_leaves_the_result_alone)
{
    /* clang-format off */
    static const struct bytes bad[] = {
        B(""), B("-"), B("-0"), B("+1"), B("01"), B("00"), B("-01"), B(" 1"), B("1 "), B("1a"), B("a"), B("1\0"), B("--1"),
        B("1.0"), B("1e3"), B("0x1"), B("9223372036854775808"), B("-9223372036854775809"), B("18446744073709551616"),
        B("99999999999999999999"), B("100000000000000000000"), B("-99999999999999999999"), B("\0"),
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int64_t value = 77;
        cr_assert_not(text_to_i64(bad[i], &value), "%s", shown(bad[i]));
        cr_assert_eq(value, 77);
    }
}

Test(text, unsigned_integers_reach_their_own_limit)
{
    uint64_t value = 77;
    cr_assert(text_to_u64(B("18446744073709551615"), &value));
    cr_assert_eq(value, UINT64_MAX);
    cr_assert(text_to_u64(B("9223372036854775808"), &value));
    cr_assert_eq(value, UINT64_C(1) << 63);
    value = 77;
    static const struct bytes bad[] = {B(""),
                                       B("-1"),
                                       B("+1"),
                                       B("01"),
                                       B("18446744073709551616"),
                                       B("20000000000000000000"),
                                       B("99999999999999999999"),
                                       B("111111111111111111111"),
                                       B("1 "),
                                       B(" 1")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_not(text_to_u64(bad[i], &value), "%s", shown(bad[i]));
    cr_assert_eq(value, 77);
}

Test(text, integers_are_printed_as_the_library_prints_them_and_read_back)
{
    struct random r = random_make();
    for (int i = 0; i < 100000; i++) {
        char ours[TEXT_I64_BYTES_MAX], theirs[32];
        int64_t value = (int64_t)random_next(&r) >> random_below(&r, 64), back = 0;
        if (i < 2000) value = i - 1000;
        if (i == 2000) value = INT64_MIN;
        if (i == 2001) value = INT64_MAX;
        size_t size = text_from_i64(ours, value);
        cr_assert_eq((int)size, snprintf(theirs, sizeof(theirs), "%lld", (long long)value));
        cr_assert_eq(memcmp(ours, theirs, size), 0, "%s", theirs);
        cr_assert(text_to_i64(bytes_make(ours, size), &back));
        cr_assert_eq(back, value);
        uint64_t unsigned_value = (uint64_t)value, unsigned_back = 0;
        size = text_from_u64(ours, unsigned_value);
        cr_assert_eq((int)size,
                     snprintf(theirs, sizeof(theirs), "%llu", (unsigned long long)unsigned_value));
        cr_assert_eq(memcmp(ours, theirs, size), 0, "%s", theirs);
        cr_assert(text_to_u64(bytes_make(ours, size), &unsigned_back));
        cr_assert_eq(unsigned_back, unsigned_value);
    }
}

Test(text, memory_sizes_have_decimal_and_binary_units)
{
    /* clang-format off */
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"100", 100}, {"1b", 1}, {"1B", 1}, {"1k", 1000}, {"1K", 1000}, {"1kb", 1024}, {"1Kb", 1024}, {"1KB", 1024},
        {"1m", 1000000}, {"10MB", 10485760}, {"1g", 1000000000}, {"4gb", UINT64_C(4294967296)}, {"0", 0}, {"00", 0}, {"01", 1},
        {"", 0}, {"k", 0}, {"18446744073709551615", UINT64_MAX}, {"17179869183gb", UINT64_C(18446744072635809792)},
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t bytes = 77;
        cr_assert(text_to_memory(bytes_of(good[i].text), &bytes), "%s", good[i].text);
        cr_assert_eq(bytes, good[i].bytes, "%s", good[i].text);
    }
}

Test(text, wrong_or_overflowing_memory_sizes_are_refused)
{
    /* clang-format off */
    static const struct bytes bad[] = {
        B("1 k"), B("-1"), B("-0"), B("-1k"), B("1.5g"), B("+1"), B(" 1"), B("1 "), B("1t"), B("100%"), B("1kk"), B("1bb"), B("0x10"),
        B("1e3"), B("-"), B("1k\0"), B("18446744073709551616"), B("17179869184gb"), B("18446744073709552k"), B("99999999999999999999999k"),
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t bytes = 77;
        cr_assert_not(text_to_memory(bad[i], &bytes), "%s", shown(bad[i]));
        cr_assert_eq(bytes, 77);
    }
}

/* ---- floats ---- */

Test(text, floats_are_read_in_all_forms_that_redis_takes)
{
    /* clang-format off */
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"1", 1}, {"3.0", 3}, {"1.", 1}, {".5", .5}, {"-.5", -.5}, {"+1", 1}, {"00", 0}, {"-00.10", -.1}, {"1e5", 1e5}, {"1E5", 1e5},
        {"1e+5", 1e5}, {"0x10", 16}, {"0x1p3", 8}, {"0x1.8", 1.5}, {"0x.8", .5}, {"inf", INFINITY}, {"+inf", INFINITY}, {"-inf", -INFINITY}, {"INF", INFINITY},
        {"iNfInItY", INFINITY}, {"5e-324", 5e-324}, {"1e-310", 1e-310}, {"1.7976931348623157e308", DBL_MAX}, {"0e99999", 0}, {"-0e5", 0},
        {"0x0p-9999", 0}, {"0.1", .1}, {"123456789012345", 123456789012345}, {"0.123456789012345", 0.123456789012345},
        {"123456.789", 123456.789}, {"9007199254740993", 9007199254740992}, {"0.30000000000000004", 0.30000000000000004},
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        double value = 77;
        long double long_value = 77;
        cr_assert(text_to_double(bytes_of(good[i].text), &value), "%s", good[i].text);
        cr_assert(value == good[i].value, "%s", good[i].text);
        cr_assert(text_to_long_double(bytes_of(good[i].text), &long_value), "%s", good[i].text);
        cr_assert(long_value == strtold(good[i].text, NULL), "%s", good[i].text);
    }
    double zero = 1;
    cr_assert(text_to_double(B("-0"), &zero) && zero == 0 && signbit(zero));
}

Test(text, what_is_not_a_float_is_refused_and_leaves_the_result_alone)
{
    /* clang-format off */
    static const struct bytes bad[] = {
        B(""), B(" "), B(" 1"), B("1 "), B("\t1"), B("\n1"), B("\v1"), B("nan"), B("-nan"), B("NaN"), B("nan(123)"), B("."), B("-"), B("+"), B("+-1"),
        B("--1"), B("1e"), B("1e+"), B("1_0"), B("1,5"), B("1\0"), B("\0"), B("1d"), B("0x"), B("0x."), B("0xg"), B("infinit"), B("1..2"), B("1.1.1"), B(".e1"),
        B("abc"), B("1e5000"), B("-1e5000"), B("1e-5000"), B("-1e-5000"), B("0x1p-20000"),
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        double value = 77;
        long double long_value = 77;
        cr_assert_not(text_to_double(bad[i], &value), "%s", shown(bad[i]));
        cr_assert_not(text_to_long_double(bad[i], &long_value), "%s", shown(bad[i]));
        cr_assert(value == 77 && long_value == 77);
    }
}

Test(text, a_double_out_of_range_is_refused_where_a_long_double_is_not)
{
    static const char *const wide[] = {"1e400",   "-1e400",   "1e-400",
                                       "1.8e308", "0x1p1024", "0x1p-1080"};
    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        double value = 77;
        long double long_value = 77;
        cr_assert_not(text_to_double(bytes_of(wide[i]), &value), "%s", wide[i]);
        cr_assert(value == 77);
        if (LDBL_MAX_EXP > DBL_MAX_EXP)
            cr_assert(text_to_long_double(bytes_of(wide[i]), &long_value), "%s", wide[i]);
    }
}

Test(text, long_floats_are_read_up_to_5119_bytes)
{
    char text[5121];
    double value;
    long double long_value;
    memset(text, '0', sizeof(text));
    text[5118] = '1';
    cr_assert(text_to_double(bytes_make(text, 5119), &value) && value == 1);
    cr_assert(text_to_long_double(bytes_make(text, 5119), &long_value) && long_value == 1);
    cr_assert_not(text_to_double(bytes_make(text, 5120), &value));
    cr_assert_not(text_to_long_double(bytes_make(text, 5120), &long_value));
}

Test(text, numbers_are_not_read_beyond_their_end)
{
    struct mem m;
    mem_init(&m, "test");
    static const char *const texts[] = {
        "1", "-1", "0.5", "1e5", "inf", "0x1", "18446744073709551615", "-", ""};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct bytes text = tight(&m, bytes_of(texts[i]));
        int64_t n;
        uint64_t u;
        double d;
        long double ld;
        bool number = texts[i][0] && strcmp(texts[i], "-") != 0;
        cr_assert_eq(text_to_double(text, &d), number);
        cr_assert_eq(text_to_long_double(text, &ld), number);
        cr_assert_eq(text_to_i64(text, &n), i < 2);
        cr_assert_eq(text_to_u64(text, &u), i == 0 || i == 6);
        cr_assert_eq(text_to_memory(text, &u), i == 0 || i == 6 || i == 8);
        tight_free(&m, text);
    }
    mem_deinit(&m);
}

Test(text, the_short_way_to_a_double_rounds_as_the_library_does)
{
    struct random r = random_make();
    for (int i = 0; i < 200000; i++) {
        char text[32];
        int digits = 1 + (int)random_below(&r, 17),
            point = (int)random_below(&r, (uint64_t)digits + 1);
        size_t size = 0;
        if (random_below(&r, 2)) text[size++] = '-';
        for (int d = 0; d < digits; d++) {
            if (d == point) text[size++] = '.';
            text[size++] = (char)('0' + random_below(&r, 10));
        }
        text[size] = '\0';
        double value;
        cr_assert(text_to_double(bytes_make(text, size), &value), "%s", text);
        cr_assert(value == strtod(text, NULL), "%s", text);
    }
}

static void expect_double(double value, const char *expected)
{
    char out[TEXT_DOUBLE_BYTES_MAX];
    struct bytes text = bytes_make(out, text_from_double(out, value));
    cr_assert(bytes_equal(text, bytes_of(expected)), "%s, not %s", shown(text), expected);
}

Test(text, doubles_are_printed_as_scores_are)
{
    expect_double(3, "3");
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(-5, "-5");
    expect_double(0.1, "0.10000000000000001");
    expect_double(0.3, "0.29999999999999999");
    expect_double(0.0001, "0.0001");
    expect_double(1e-5, "1.0000000000000001e-05");
    expect_double(1.5e-10, "1.5e-10");
    expect_double(3.14159265358979, "3.14159265358979");
    expect_double(1e15, "1000000000000000");
    expect_double(1e16, "10000000000000000");
    expect_double(1e17, "1e+17");
    expect_double(123456789012345680, "1.2345678901234568e+17");
    expect_double(9007199254740991, "9007199254740991");
    expect_double(9007199254740993, "9007199254740992");
    expect_double(4503599627370495.5, "4503599627370495.5");
    expect_double(9223372036854775807.0, "9.2233720368547758e+18");
    expect_double(-9223372036854775808.0, "-9.2233720368547758e+18");
    expect_double(1e100, "1e+100");
    expect_double(DBL_MAX, "1.7976931348623157e+308");
    expect_double(5e-324, "4.9406564584124654e-324");
    expect_double(INFINITY, "inf");
    expect_double(-INFINITY, "-inf");
    expect_double(NAN, "nan");
    expect_double(-NAN, "nan");
}

Test(text, every_double_is_printed_as_17g_does_and_reads_back_the_same)
{
    struct random r = random_make();
    for (int i = 0; i < 100000; i++) {
        char ours[TEXT_DOUBLE_BYTES_MAX], theirs[64];
        uint64_t bits = random_next(&r);
        double value, back = 0;
        memcpy(&value, &bits, sizeof(value));
        if (i % 2)
            value = (double)((int64_t)bits >> random_below(&r, 64)) / (1 << random_below(&r, 4));
        if (!isfinite(value)) continue;
        size_t size = text_from_double(ours, value);
        cr_assert_eq((int)size, snprintf(theirs, sizeof(theirs), "%.17g", value));
        cr_assert_eq(memcmp(ours, theirs, size), 0, "%s", theirs);
        cr_assert(text_to_double(bytes_make(ours, size), &back) && back == value, "%s", theirs);
    }
}

static void expect_long_double(long double value, const char *expected)
{
    char out[TEXT_LONG_DOUBLE_BYTES_MAX];
    struct bytes text = bytes_make(out, text_from_long_double(out, value));
    cr_assert(bytes_equal(text, bytes_of(expected)), "%s, not %s", shown(text), expected);
}

Test(text, long_doubles_are_printed_as_incrbyfloat_does)
{
    expect_long_double(3, "3");
    expect_long_double(3.0L + 0.1L, "3.1");
    expect_long_double(0.1L + 0.2L, "0.3");
    expect_long_double(10.5L + 0.1L, "10.6");
    expect_long_double(5200, "5200");
    expect_long_double(0, "0");
    expect_long_double(-0.0L, "0");
    expect_long_double(-100, "-100");
    expect_long_double(-0.5L, "-0.5");
    expect_long_double(1e-10L, "0.0000000001");
    expect_long_double(1e-17L, "0.00000000000000001");
    expect_long_double(4e-18L, "0");
    expect_long_double(-4e-18L, "0");
    expect_long_double(1e20L, "100000000000000000000");
    expect_long_double(INFINITY, "inf");
    expect_long_double(-INFINITY, "-inf");
    if (LDBL_MANT_DIG == 64) {
        expect_long_double(123456789.123456789L, "123456789.12345678899873747");
        expect_long_double(1e18L + 0.5L, "1000000000000000000.5");
    }
}

Test(text, the_largest_long_doubles_fit)
{
    char out[TEXT_LONG_DOUBLE_BYTES_MAX];
    size_t size = text_from_long_double(out, -LDBL_MAX);
    long double back;
    cr_assert_gt(size, 300);
    cr_assert(text_to_long_double(bytes_make(out, size), &back) && back == -LDBL_MAX);
}

/* ---- glob ---- */

static void expect_glob(struct bytes pattern, struct bytes text, bool matches)
{
    struct mem m;
    char pattern_text[200];
    mem_init(&m, "test");
    snprintf(pattern_text, sizeof(pattern_text), "%s", shown(pattern));
    pattern = tight(&m, pattern);
    text = tight(&m, text);
    cr_assert_eq(text_glob_match(pattern, text, false), matches, "%s on %s", pattern_text,
                 shown(text));
    tight_free(&m, pattern);
    tight_free(&m, text);
    mem_deinit(&m);
}

Test(text, glob_stars_and_question_marks)
{
    expect_glob(B(""), B(""), true);
    expect_glob(B(""), B("a"), false);
    expect_glob(B("*"), B("abc"), true);
    expect_glob(B("*"), B(""), false);
    expect_glob(B("**"), B(""), false);
    expect_glob(B("**"), B("abc"), true);
    expect_glob(B("a*"), B("a"), true);
    expect_glob(B("a**"), B("a"), true);
    expect_glob(B("a*b"), B("ab"), true);
    expect_glob(B("a*b"), B("axbxb"), true);
    expect_glob(B("*a*b"), B("xaxb"), true);
    expect_glob(B("*a*b"), B("xaxbx"), false);
    expect_glob(B("?"), B(""), false);
    expect_glob(B("?"), B("\0"), true);
    expect_glob(B("??"), B("a"), false);
    expect_glob(B("a?"), B("a"), false);
    expect_glob(B("*?"), B("a"), true);
    expect_glob(B("ab"), B("a"), false);
    expect_glob(B("a"), B("ab"), false);
    expect_glob(B("\0a*"), B("\0ab"), true);
}

Test(text, glob_escapes)
{
    expect_glob(B("\\*"), B("*"), true);
    expect_glob(B("\\*"), B("a"), false);
    expect_glob(B("\\a"), B("a"), true);
    expect_glob(B("\\\\"), B("\\"), true);
    expect_glob(B("\\"), B("\\"), true);
    expect_glob(B("a\\"), B("a\\"), true);
    expect_glob(B("a\\"), B("a"), false);
    expect_glob(B("*\\"), B("a\\"), true);
}

Test(text, glob_classes)
{
    expect_glob(B("[abc]x"), B("bx"), true);
    expect_glob(B("[a-c]x"), B("bx"), true);
    expect_glob(B("[a-c]x"), B("dx"), false);
    expect_glob(B("[z-a]"), B("m"), true);
    expect_glob(B("[^a]"), B("a"), false);
    expect_glob(B("[^a]"), B("b"), true);
    expect_glob(B("[^^]"), B("^"), false);
    expect_glob(B("[a^]"), B("^"), true);
    expect_glob(B("[!a]"), B("b"), false);
    expect_glob(B("[!a]"), B("!"), true);
    expect_glob(B("[-a]"), B("-"), true);
    expect_glob(B("[--0]"), B("."), true);
    expect_glob(B("[a-z-9]"), B("-"), true);
    expect_glob(B("[a-z-9]"), B("5"), false);
    expect_glob(B("[]"), B("]"), false);
    expect_glob(B("[]a]"), B("a]"), false);
    expect_glob(B("[^]"), B("a"), true);
    expect_glob(B("[\\]]"), B("]"), true);
    expect_glob(B("[\\a-c]"), B("b"), false);
    expect_glob(B("[\\a-c]"), B("-"), true);
    expect_glob(B("[a-\\]]"), B("]"), false);
    expect_glob(B("[a-\\]]"), B("\\]"), true);
}

Test(text, glob_classes_that_are_not_closed_end_with_the_pattern)
{
    expect_glob(B("["), B("["), false);
    expect_glob(B("["), B(""), false);
    expect_glob(B("*["), B("["), false);
    expect_glob(B("[^"), B("a"), true);
    expect_glob(B("[a"), B("a"), true);
    expect_glob(B("[a"), B("ab"), false);
    expect_glob(B("[^ab"), B("c"), true);
    expect_glob(B("[a-"), B("a"), true);
    expect_glob(B("[a-"), B("-"), true);
    expect_glob(B("[a-"), B("b"), false);
    expect_glob(B("[a-]"), B("-"), false);
    expect_glob(B("[a-]"), B("]"), true);
    expect_glob(B("[a-c"), B("b"), true);
    expect_glob(B("[\\"), B("\\"), true);
    expect_glob(B("[a\\"), B("\\"), true);
    expect_glob(B("x["), B("x"), false);
}

Test(text, glob_ranges_compare_signed_characters)
{
    expect_glob(B("[\x80-\xff]"), B("\x90"), true);
    expect_glob(B("[a-\xff]"), B("b"), false);
    expect_glob(B("[a-\xff]"), B("A"), true);
    expect_glob(B("[\x01-\xff]"), B("\0"), true);
    expect_glob(B("[\xff]"), B("\xff"), true);
}

Test(text, glob_without_case)
{
    /* clang-format off */
    static const struct {
        const char *pattern;
        bool matches;
    } on_port[] = {
        {"PORT", true}, {"p?RT", true}, {"PO*", true}, {"[P]ort", true}, {"[A-Z]ort", true}, {"[^P]ort", false}, {"[^A-Z]ort", false},
        {"[\\p]ort", true}, {"[\\P]ort", false}, {"[^\\P]ort", true}, {"[Z-a]ort", false}, {"[o-Q]ort", false}, {"[O-q]ort", true},
        {"[p-P]ort", true}, {"[P-_]ort", false}, {"[p-_]ort", true}, {"\\Por*", true},
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(on_port); i++) {
        cr_assert_eq(text_glob_match(bytes_of(on_port[i].pattern), B("port"), true),
                     on_port[i].matches, "%s", on_port[i].pattern);
    }
    cr_assert_not(text_glob_match(B("PORT"), B("port"), false));
}

/* Exponential matching would take longer than the universe has. */
Test(text, glob_takes_bounded_time, .timeout = 20)
{
    char pattern[2001], text[4000];
    for (int i = 0; i < 2000; i++) pattern[i] = "a*"[i % 2];
    pattern[2000] = 'b';
    memset(text, 'a', sizeof(text));
    cr_assert_not(
        text_glob_match(bytes_make(pattern, 2001), bytes_make(text, sizeof(text)), false));
}

/* The definition, with a star as "nothing, or one more". */
static bool slow_match(struct bytes p, struct bytes t)
{
    if (p.size == 0) return t.size == 0;
    struct bytes p_rest = bytes_make(p.data + 1, p.size - 1),
                 t_rest = bytes_make(t.data + 1, t.size - !!t.size);
    if (p.data[0] == '*') return slow_match(p_rest, t) || (t.size && slow_match(p, t_rest));
    return t.size && (p.data[0] == '?' || p.data[0] == t.data[0]) && slow_match(p_rest, t_rest);
}

Test(text, glob_does_as_its_definition_does)
{
    struct random r = random_make();
    for (int i = 0; i < 200000; i++) {
        char p[10], t[10];
        struct bytes pattern = {p, random_below(&r, 9)}, text = {t, 1 + random_below(&r, 8)};
        for (size_t k = 0; k < pattern.size; k++) p[k] = "ab*?*"[random_below(&r, 5)];
        for (size_t k = 0; k < text.size; k++) t[k] = "ab"[random_below(&r, 2)];
        cr_assert_eq(text_glob_match(pattern, text, false), slow_match(pattern, text), "%s",
                     shown(pattern));
    }
}

/* ---- words ---- */

#define WORDS_MAX 4

/* `expected` words are separated by '|'; NULL means unbalanced. */
static void expect_words(struct bytes line, const char *expected)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf storage = {.mem = &m}, joined = {.mem = &m};
    struct bytes words[WORDS_MAX];
    line = tight(&m, line);
    int count = text_split_words(line, &storage, words, WORDS_MAX);
    cr_assert_eq(count < 0, expected == NULL, "%s gave %d", shown(line), count);
    cr_assert_leq(count, WORDS_MAX);
    for (int i = 0; i < count; i++) {
        buf_append(&joined, words[i].data, words[i].size);
        buf_append_text(&joined, "|");
    }
    if (expected) {
        cr_assert(bytes_equal(buf_view(&joined), bytes_of(expected)), "%s gave %.*s", shown(line),
                  (int)joined.size, joined.data);
    }
    buf_clear(&storage);
    buf_clear(&joined);
    tight_free(&m, line);
    mem_deinit(&m);
}

Test(text, words_are_parted_by_blanks)
{
    expect_words(B(""), "");
    expect_words(B("   "), "");
    expect_words(B("  a   b  "), "a|b|");
    expect_words(B("a\tb\rc\nd"), "a|b|c|d|");
    expect_words(B("\va"), "a|");
    expect_words(B("a\vb"), "a\vb|");
    expect_words(B("a\fb"), "a\fb|");
    expect_words(B("a\0b"), "a|");
    expect_words(B("a\\x41b"), "a\\x41b|");
    expect_words(B("a\\"), "a\\|");
}

Test(text, words_in_double_quotes_have_escapes)
{
    expect_words(B("\"a b\""), "a b|");
    expect_words(B("\"\""), "|");
    expect_words(B("\"\\x41\\n\\t\\r\\a\\b\\q\\\\\\\"\""), "A\n\t\r\a\bq\\\"|");
    expect_words(B("\"\\x4a\\x4A\""), "JJ|");
    expect_words(B("\"\\x4\""), "x4|");
    expect_words(B("\"\\xZZ\""), "xZZ|");
    expect_words(B("\"\\X41\""), "X41|");
    expect_words(B("\"\\x\""), "x|");
    expect_words(B("a\"b\""), "ab|");
    expect_words(B("\"a\"\vb"), "a|b|");
    expect_words(B("\"a'b\""), "a'b|");
}

Test(text, words_in_single_quotes_know_only_the_quote)
{
    expect_words(B("'a b'"), "a b|");
    expect_words(B("''"), "|");
    expect_words(B("'it\\'s'"), "it's|");
    expect_words(B("'a\\nb'"), "a\\nb|");
    expect_words(B("a'b'"), "ab|");
    expect_words(B("'a\"b'"), "a\"b|");
}

Test(text, quotes_must_be_closed_and_end_the_word)
{
    /* clang-format off */
    static const struct bytes bad[] = {
        B("\"abc"), B("'abc"), B("\"a\"b"), B("'a'b"), B("a\"b\"c"), B("\"a\"'b'"), B("\"a\\"), B("\"a\\\""), B("'a\\'"), B("'a\\"), B("a\""), B("a'"),
        B("\\\""), B("'\\\\'"), B("x \"a\"b"), B("\"a\0\""), B("\""), B("'"),
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) expect_words(bad[i], NULL);
}

Test(text, words_beyond_the_maximum_are_counted_only)
{
    struct mem m;
    mem_init(&m, "test");
    struct buf storage = {.mem = &m};
    struct bytes words[3] = {{0}};
    buf_append_text(&storage, "kept");
    cr_assert_eq(text_split_words(B("one two three"), &storage, words, 2), 3);
    cr_assert(bytes_equal(words[0], B("one")) && bytes_equal(words[1], B("two")));
    cr_assert_null(words[2].data);
    cr_assert(bytes_equal(bytes_make(storage.data, 4), B("kept")));
    cr_assert_eq(text_split_words(B("a \"b"), &storage, words, 2), -1);
    buf_clear(&storage);
    mem_deinit(&m);
}
