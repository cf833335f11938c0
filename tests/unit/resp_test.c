/* resp_test.c: what the reader makes of bytes, however they are cut. The table of inputs was probed
 * on redis-server 7.0.15. */
#include "base/resp.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/unit/random.h"

#define KEPT_BYTES 3072 /* small buffers that a reader keeps for the next request */
#define HELD_BYTES_MIN 128

static const struct resp_limits usual = {512 << 20, RESP_ARGS_MAX, true};
static const struct resp_limits before_auth = {1 << 20, RESP_ARGS_MAX, false};

/* ---- a reader, and a transcript of what it read ---- */

struct fixture {
    struct mem mem;
    struct resp_reader reader;
    struct buf transcript;
    const struct resp_limits *limits;
    uint64_t fed, delivered; /* bytes; up to the end of the last request */
    bool broken;
};

static void fixture_init(struct fixture *f, const struct resp_limits *limits)
{
    *f = (struct fixture){.limits = limits, .transcript = {.mem = &f->mem}};
    mem_init(&f->mem, "resp_test");
    resp_reader_init(&f->reader, &f->mem);
}

static void fixture_deinit(struct fixture *f)
{
    resp_reader_deinit(&f->reader);
    buf_clear(&f->transcript);
    mem_deinit(&f->mem);
}

/* "name|arg|arg;" with escapes for whatever could be confused, or "!error". */
static void note_request(struct fixture *f)
{
    const struct resp_reader *r = &f->reader;
    for (uint32_t i = 0; i < r->argc; i++) {
        if (i > 0) buf_append_text(&f->transcript, "|");
        for (size_t k = 0; k < r->argv[i].size; k++) {
            char c = r->argv[i].data[k];
            if (c > ' ' && c <= '~' && !strchr("|;\\", c)) {
                buf_append(&f->transcript, &c, 1);
            } else {
                buf_printf(&f->transcript, "\\x%02x", (unsigned char)c);
            }
        }
    }
    buf_append_text(&f->transcript, ";");
}

static enum resp_state next(struct fixture *f)
{
    enum resp_state state = resp_next(&f->reader, f->limits);
    resp_validate(&f->reader);
    if (state == RESP_REQUEST) f->delivered = f->fed - resp_unread_bytes(&f->reader);
    return state;
}

static void feed(struct fixture *f, const char *piece, size_t size)
{
    f->fed += size;
    resp_feed(&f->reader, piece, size);
}

/* Gives one piece in memory of its own, so that a sanitizer sees any access beyond it, and notes
 * what came of it. */
static void read_piece(struct fixture *f, const char *data, size_t size)
{
    char *piece = malloc(size ? size : 1);
    memcpy(piece, data, size);
    feed(f, piece, size);
    enum resp_state state;
    while ((state = next(f)) == RESP_REQUEST) note_request(f);
    free(piece);
    if (state == RESP_BROKEN && !f->broken) {
        buf_printf(&f->transcript, "!%s", f->reader.error);
        f->broken = true;
    }
    size_t pending = f->fed - f->delivered;
    cr_assert_leq(resp_held_bytes(&f->reader), 2 * pending + KEPT_BYTES);
}

static const char *transcript(struct fixture *f)
{
    buf_append(&f->transcript, "", 1);
    f->transcript.size--;
    return f->transcript.data;
}

/* Pieces of `step` bytes; 0: one piece. */
static void expect_in_steps(const struct resp_limits *limits, struct bytes input, size_t step,
                            const char *expected)
{
    struct fixture f;
    fixture_init(&f, limits);
    if (step == 0) step = input.size;
    for (size_t at = 0; at < input.size; at += step) {
        read_piece(&f, input.data + at, MIN(step, input.size - at));
    }
    cr_expect_str_eq(transcript(&f), expected, "%.*s in steps of %zu: %s instead of %s",
                     (int)MIN(input.size, 60), input.data, step, transcript(&f), expected);
    fixture_deinit(&f);
}

static void expect(const struct resp_limits *limits, struct bytes input, const char *expected)
{
    for (size_t step = 0; step < 8; step++) expect_in_steps(limits, input, step, expected);
}

static struct buf many_arguments(struct mem *mem, unsigned count)
{
    struct buf input = {.mem = mem};
    buf_printf(&input, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) buf_append_text(&input, "$1\r\nx\r\n");
    return input;
}

struct row {
    struct bytes input;
    const char *expected;
};

#define ROW(input, expected)                                                                       \
    {                                                                                              \
        BYTES_LITERAL(input), expected                                                             \
    }
#define PING "*1\r\n$4\r\nPING\r\n"
#define ERROR(text) "!Protocol error: " text

/* clang-format off */
static const struct row arrays[] = {
    ROW(PING, "PING;"),
    ROW("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n" PING, "SET|k|;PING;"),
    ROW("*2\r\n$10\r\n0123456789\r\n$11\r\n0123456789a\r\n", "0123456789|0123456789a;"),
    ROW("*2\r\n$4\r\nECHO\r\n$101\r\n" "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789!" "\r\n" PING,
        "ECHO|0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789!;PING;"),
    ROW("*11\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n$1\r\nj\r\n$1\r\nk\r\n" PING, "a|b|c|d|e|f|g|h|i|j|k;PING;"),
    ROW("*2\r\n$4\r\nECHO\r\n$3\r\na\0b\r\n", "ECHO|a\\x00b;"),
    ROW("*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", "ECHO|\\x0d\\x0a\\x0d\\x0a;"),
    ROW("*1\r\n$0\r\n\r\nPING\r\n", ";PING;"),
    /* no request */
    ROW("*0\r\nPING\r\n", "PING;"),
    ROW("*0\r\n$4\r\nPING\r\n", "$4;PING;"),
    ROW("*-1\r\nPING\r\n", "PING;"),
    ROW("*-5\r\n*0\r\n*0\r\nPING\r\n", "PING;"),
    ROW("*-9223372036854775808\r\nPING\r\n", "PING;"),
    /* what is not looked at */
    ROW("*1\rx$4\r\nPING\r\nPING\r\n", "PING;PING;"),
    ROW("*1\r\n$4\rxPING\r\nPING\r\n", "PING;PING;"),
    ROW("*1\r\n$4\r\nPINGXY" PING, "PING;PING;"),
    ROW("*2\r\n$4\r\nECHO\r\n$2\r\nabXY" PING, "ECHO|ab;PING;"),
    /* bad counts */
    ROW("*+1\r\n$4\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*01\r\n$4\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*1 \r\n$4\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("* 1\r\n$4\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*-0\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*00\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*a\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*1\n$4\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*2147483648\r\n", ERROR("invalid multibulk length")),
    ROW("*99999999999999999999\r\n", ERROR("invalid multibulk length")),
    ROW("*-9223372036854775809\r\nPING\r\n", ERROR("invalid multibulk length")),
    ROW("*1048576\r\n", ""),
    ROW("*1048577\r\n", ERROR("invalid multibulk length")),
    /* bad lengths */
    ROW("*1\r\n$04\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$+4\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$-1\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$-0\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$00\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$4 \r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$ 4\r\nPING\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$99999999999999999999\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$9223372036854775807\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$18446744073709551615\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$536870912\r\n", ""),
    ROW("*1\r\n$536870913\r\n", ERROR("invalid bulk length")),
    ROW("*2\r\n$4\r\nECHO\r\n$-1\r\n", ERROR("invalid bulk length")),
    /* no bulk */
    ROW("*1\r$4\r\nPING\r\n", ERROR("expected '$', got '4'")),
    ROW("*1\r\nPING\r\n", ERROR("expected '$', got 'P'")),
    ROW("*1\r\n:4\r\nPING\r\n", ERROR("expected '$', got ':'")),
    ROW("*1\r\n\r\nPING\r\n", ERROR("expected '$', got ' '")),
    ROW("*1\r\n\n\r\n", ERROR("expected '$', got ' '")),
    ROW("*1\r\n\xff\r\n", ERROR("expected '$', got '\xff'")),
    ROW("*1\r\nx", ""),
    ROW("*1\r\nxy\r\n", ERROR("expected '$', got 'x'")),
    ROW(PING "*1\r\nz\r\n" PING, "PING;" ERROR("expected '$', got 'z'")),
    /* a NUL hides the end of a line */
    ROW("*1\0\r\n$4\r\nPING\r\n", ""),
    ROW("*1\r\n$4\0\r\nPING\r\n", ""),
    ROW("*1\r\n\0\r\n", ""),
};

static const struct row lines[] = {
    ROW("PING\n", "PING;"),
    ROW("PING\r\n", "PING;"),
    ROW("\r\n\n\r\n \t\r\nPING\r\n", "PING;"),
    ROW("   PING   \r\n", "PING;"),
    ROW("\rPING\r\n", "PING;"),
    ROW("ECHO a\r\r\n", "ECHO|a;"),
    ROW("ECHO a\rb\r\n", "ECHO|a|b;"),
    ROW("ECHO\ta\x0b\x0c\r\n", "ECHO|a\\x0b\\x0c;"),
    ROW("ECHO \x0b\x0b" "a\x0b" "b \x0c\r\n", "ECHO|a\\x0b" "b;"),
    ROW("ECHO \xff\xa0\x85\r\n", "ECHO|\\xff\\xa0\\x85;"),
    ROW("$4\r\nPING\r\n", "$4;PING;"),
    ROW("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\r\nPING\r\n", "1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18;PING;"),
    ROW("PING\r\n" PING "PING\r\n", "PING;PING;PING;"),
    ROW("ECHO \"a b\\x41\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\nPING\n", "ECHO|a\\x20bA\\x0a\\x0d\\x09\\x08\\x07q\"\\x5c;PING;"),
    ROW("ECHO 'it\\'s \\x41 \"'\r\n", "ECHO|it's\\x20\\x5cx41\\x20\";"),
    ROW("ECHO 'a\\tb\\\\c'\r\n", "ECHO|a\\x5ctb\\x5c\\x5cc;"),
    ROW("ECHO \"\\xg1\\x1\"\r\n", "ECHO|xg1x1;"),
    ROW("ECHO \"\\x00\"\r\n", "ECHO|\\x00;"),
    ROW("ECHO \\x41\r\n", "ECHO|\\x5cx41;"),
    ROW("\"\"\r\n", ";"),
    ROW("ECHO \"\" ''\r\n", "ECHO||;"),
    ROW("ECHO a\"b\"\r\n", "ECHO|ab;"),
    ROW("ECHO a\"b c\" \r\n", "ECHO|ab\\x20" "c;"),
    ROW("ECHO a'b'\r\n", "ECHO|ab;"),
    ROW("ECHO \"a\" 'b'\t\"c\"\x0b\r\n", "ECHO|a|b|c;"),
    ROW("ECHO \"1\" 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\r\nPING\r\n", "ECHO|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|19;PING;"),
    ROW("ECHO \"a\r\nPING\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO 'a\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO \"a\"b\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO a'b'c\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO \"a\\\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO 'a\\\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO \"\\\"\r\n", ERROR("unbalanced quotes in request")),
    ROW("ECHO \"a", ""),
    ROW("ECHO a\0b\r\nPING\r\n", ""),
    ROW("\0PING\r\nPING\r\n", ""),
};

static const struct row rows_before_auth[] = {
    ROW("*10\r\n", ""),
    ROW("*11\r\n", ERROR("unauthenticated multibulk length")),
    ROW("*2147483648\r\n", ERROR("invalid multibulk length")),
    ROW("*-3\r\nPING\r\n", "PING;"),
    ROW("*1\r\n$16384\r\n", ""),
    ROW("*1\r\n$16385\r\n", ERROR("unauthenticated bulk length")),
    ROW("*1\r\n$1048576\r\n", ERROR("unauthenticated bulk length")),
    ROW("*1\r\n$1048577\r\n", ERROR("invalid bulk length")),
    ROW("*1\r\n$x\r\n", ERROR("invalid bulk length")),
    ROW(PING "PING\r\n" "*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n", "PING;PING;AUTH|pw;"),
    ROW("a b c d e f g h i j k l\r\n", "a|b|c|d|e|f|g|h|i|j|k|l;"),
};
/* clang-format on */

Test(resp, reads_arrays_as_redis_does_however_they_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        expect(&usual, arrays[i].input, arrays[i].expected);
    }
}

Test(resp, reads_inline_commands_as_redis_does_however_they_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        expect(&usual, lines[i].input, lines[i].expected);
    }
}

Test(resp, has_small_limits_before_authentication)
{
    for (size_t i = 0; i < ARRAY_LEN(rows_before_auth); i++) {
        expect(&before_auth, rows_before_auth[i].input, rows_before_auth[i].expected);
    }
}

Test(resp, bulk_limit_is_the_one_that_is_given)
{
    static const struct resp_limits one_mb = {1 << 20, RESP_ARGS_MAX, true};
    expect(&one_mb, BYTES_LITERAL("*1\r\n$1048576\r\n"), "");
    expect(&one_mb, BYTES_LITERAL("*1\r\n$1048577\r\n"), ERROR("invalid bulk length"));
}

Test(resp, limits_hold_for_requests_that_arrive_whole)
{
    static const struct resp_limits small = {100, 12, true}, tiny = {100, 12, false};
    char value[101 + 40];
    int size = snprintf(value, sizeof(value), "*1\r\n$101\r\n%0101d\r\n", 0);
    expect(&small, bytes_make(value, (size_t)size), ERROR("invalid bulk length"));
    struct mem mem;
    mem_init(&mem, "input");
    struct buf eleven = many_arguments(&mem, 11), thirteen = many_arguments(&mem, 13);
    expect(&small, buf_view(&eleven), "x|x|x|x|x|x|x|x|x|x|x;");
    expect(&tiny, buf_view(&eleven), ERROR("unauthenticated multibulk length"));
    expect(&small, buf_view(&thirteen), ERROR("invalid multibulk length"));
    buf_clear(&eleven);
    buf_clear(&thirteen);
    mem_deinit(&mem);
}

Test(resp, what_follows_an_empty_array_is_not_its_content)
{
    struct mem mem;
    mem_init(&mem, "input");
    struct buf input = many_arguments(&mem, 100);
    memcpy(input.data, "\r\n*0\r\n", 6);
    struct buf expected = {.mem = &mem};
    for (int i = 0; i < 100; i++) buf_append_text(&expected, "$1;x;");
    buf_append(&expected, "", 1);
    expect(&usual, buf_view(&input), expected.data);
    buf_clear(&input);
    buf_clear(&expected);
    mem_deinit(&mem);
}

/* ---- lines without an end ---- */

static void expect_long_line(struct bytes start, char filler, size_t line_size, const char *end,
                             const char *expected)
{
    size_t skip = start.data[0] == '*' && start.size > 4 && start.data[2] == '\r' ? 4 : 0;
    size_t end_size = strlen(end), size = skip + line_size + end_size;
    char *input = malloc(size);
    memset(input, filler, size);
    memcpy(input, start.data, start.size);
    memcpy(input + skip + line_size, end, end_size);
    expect_in_steps(&usual, bytes_make(input, size), 0, expected);
    expect_in_steps(&usual, bytes_make(input, size), 1, expected);
    expect_in_steps(&usual, bytes_make(input, size), 1000, expected);
    free(input);
}

Test(resp, refuses_a_line_that_has_no_end_within_64_kilobytes)
{
    size_t most = RESP_INLINE_BYTES_MAX;
    static const struct {
        struct bytes start;
        const char *error;
    } kinds[] = {
        {BYTES_LITERAL(" "), ERROR("too big inline request")},
        {BYTES_LITERAL("*"), ERROR("too big mbulk count string")},
        {BYTES_LITERAL("*1\r\n$"), ERROR("too big bulk count string")},
        {BYTES_LITERAL("*1\r\nx"), ERROR("too big bulk count string")},
        {BYTES_LITERAL(" \0\r\n"), ERROR("too big inline request")},
        {BYTES_LITERAL("*1\0\r\n"), ERROR("too big mbulk count string")},
        {BYTES_LITERAL("*1\r\n$\0\r\n"), ERROR("too big bulk count string")},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        expect_long_line(kinds[i].start, ' ', most, "", "");
        expect_long_line(kinds[i].start, ' ', most + 1, "", kinds[i].error);
    }
}

Test(resp, takes_a_line_of_64_kilobytes)
{
    size_t most = RESP_INLINE_BYTES_MAX;
    expect_long_line(BYTES_LITERAL("PING"), ' ', most, "\n", "PING;");
    expect_long_line(BYTES_LITERAL("PING"), ' ', most + 1, "\n", ERROR("too big inline request"));
    expect_long_line(BYTES_LITERAL("*"), '1', most, "\r\n", ERROR("invalid multibulk length"));
    expect_long_line(BYTES_LITERAL("*1\r\n$"), '1', most, "\r\n", ERROR("invalid bulk length"));
}

Test(resp, stays_broken_and_ignores_what_follows)
{
    struct fixture f;
    fixture_init(&f, &usual);
    read_piece(&f, "*x\r\nPING\r\n", 10);
    for (int i = 0; i < 3; i++) {
        read_piece(&f, "PING\r\n", 6);
        cr_assert_eq(next(&f), RESP_BROKEN);
        cr_assert_str_eq(f.reader.error, "Protocol error: invalid multibulk length");
    }
    cr_assert_eq(resp_held_bytes(&f.reader), 0);
    fixture_deinit(&f);
}

/* ---- where arguments live ---- */

static bool lies_in(struct bytes inner, const char *data, size_t size)
{
    return inner.data >= data && inner.data + inner.size <= data + size;
}

Test(resp, arguments_of_a_whole_request_point_into_the_piece)
{
    static const char piece[] = "*2\r\n$4\r\nECHO\r\n$2\r\nab\r\nPING x\r\n";
    struct fixture f;
    fixture_init(&f, &usual);
    feed(&f, piece, sizeof(piece) - 1);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(next(&f), RESP_REQUEST);
        cr_assert(!f.reader.gathered);
        cr_assert_eq(f.reader.argc, 2);
        cr_assert(lies_in(f.reader.argv[0], piece, sizeof(piece)));
        cr_assert(lies_in(f.reader.argv[1], piece, sizeof(piece)));
    }
    cr_assert_eq(next(&f), RESP_NEED_MORE);
    cr_assert_eq(resp_held_bytes(&f.reader), 0);
    fixture_deinit(&f);
}

Test(resp, a_gathered_request_can_be_taken_and_outlives_the_reader)
{
    static const char start[] = "*2\r\n$4\r\nECHO\r\n$3\r\na", rest[] = "bc\r\n" PING;
    struct fixture f;
    fixture_init(&f, &usual);
    read_piece(&f, start, sizeof(start) - 1);
    feed(&f, rest, sizeof(rest) - 1);
    cr_assert_eq(next(&f), RESP_REQUEST);
    cr_assert(f.reader.gathered);
    cr_assert_eq(resp_unread_bytes(&f.reader), sizeof(PING) - 1);
    struct buf taken = resp_take_gathered(&f.reader);
    struct bytes argument = f.reader.argv[1];
    cr_assert(lies_in(argument, taken.data, taken.size));
    cr_assert_eq(next(&f), RESP_REQUEST);
    cr_assert(!f.reader.gathered);
    cr_assert_eq(next(&f), RESP_NEED_MORE);
    resp_reader_deinit(&f.reader);
    cr_assert(bytes_equal(argument, BYTES_LITERAL("abc")));
    buf_clear(&taken);
    mem_deinit(&f.mem);
}

Test(resp, decoded_words_can_be_taken)
{
    struct fixture f;
    fixture_init(&f, &usual);
    read_piece(&f, "ECHO \"a", 7);
    feed(&f, "\\x41\"\r\nPING\r\n", 13);
    cr_assert_eq(next(&f), RESP_REQUEST);
    cr_assert(f.reader.gathered);
    struct buf taken = resp_take_gathered(&f.reader);
    struct bytes argument = f.reader.argv[1];
    cr_assert(lies_in(argument, taken.data, taken.size));
    cr_assert_eq(next(&f), RESP_REQUEST);
    cr_assert(bytes_equal(argument, BYTES_LITERAL("aA")));
    buf_clear(&taken);
    fixture_deinit(&f);
}

/* ---- giving a request back ---- */

static void expect_same_after_unread(const char *data, size_t size, size_t cut)
{
    struct fixture f;
    fixture_init(&f, &usual);
    if (cut > 0) read_piece(&f, data, cut);
    feed(&f, data + cut, size - cut);
    cr_assert_eq(next(&f), RESP_REQUEST);
    note_request(&f);
    char *first = strdup(transcript(&f));
    for (int i = 0; i < 3; i++) {
        resp_unread(&f.reader);
        resp_validate(&f.reader);
        f.transcript.size = 0;
        cr_assert_eq(next(&f), RESP_REQUEST);
        note_request(&f);
        cr_assert_str_eq(transcript(&f), first);
    }
    free(first);
    f.transcript.size = 0;
    cr_assert_eq(next(&f), RESP_REQUEST);
    note_request(&f);
    cr_assert_str_eq(transcript(&f), "PING;");
    cr_assert_eq(next(&f), RESP_NEED_MORE);
    fixture_deinit(&f);
}

Test(resp, gives_an_unread_request_again)
{
    static const char array[] = "*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n" PING;
    static const char line[] = "ECHO abc\r\n" PING;
    static const char quoted[] = "ECHO \"a\\x41\" 'b'\r\n" PING;
    struct mem mem;
    mem_init(&mem, "input");
    struct buf many = many_arguments(&mem, 1000);
    buf_append_text(&many, PING);
    for (size_t cut = 0; cut < 8; cut++) {
        expect_same_after_unread(array, sizeof(array) - 1, cut);
        expect_same_after_unread(line, sizeof(line) - 1, cut);
        expect_same_after_unread(quoted, sizeof(quoted) - 1, cut);
        expect_same_after_unread(many.data, many.size, cut * 500);
    }
    buf_clear(&many);
    mem_deinit(&mem);
}

/* ---- memory ---- */

Test(resp, a_claimed_length_reserves_nothing)
{
    struct fixture f;
    fixture_init(&f, &usual);
    char filler[1000];
    memset(filler, 'v', sizeof(filler));
    read_piece(&f, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n", 33);
    cr_assert_leq(resp_held_bytes(&f.reader), HELD_BYTES_MIN);
    for (size_t i = 0; i < 1000; i++) {
        read_piece(&f, filler, sizeof(filler));
        cr_assert_leq(resp_held_bytes(&f.reader), 2 * f.fed);
    }
    fixture_deinit(&f);
    fixture_init(&f, &usual);
    read_piece(&f, "*1048576\r\n$1\r\na\r\n", 17);
    cr_assert_leq(resp_held_bytes(&f.reader), HELD_BYTES_MIN);
    fixture_deinit(&f);
}

Test(resp, many_arguments_are_let_go_with_their_request)
{
    struct fixture f;
    fixture_init(&f, &usual);
    struct buf many = many_arguments(&f.mem, 1000);
    read_piece(&f, many.data, many.size);
    cr_assert_eq(f.delivered, many.size);
    cr_assert_eq(resp_held_bytes(&f.reader), 0);
    buf_clear(&many);
    fixture_deinit(&f);
}

Test(resp, a_large_value_holds_little_more_than_itself)
{
    struct fixture f;
    fixture_init(&f, &usual);
    char filler[1000];
    memset(filler, 'v', sizeof(filler));
    read_piece(&f, "*2\r\n$4\r\nECHO\r\n$600000\r\n", 23);
    for (size_t i = 0; i < 600; i++) read_piece(&f, filler, sizeof(filler));
    cr_assert_leq(resp_held_bytes(&f.reader), 600000 + HELD_BYTES_MIN);
    feed(&f, "\n\r\n", 3);
    cr_assert_eq(next(&f), RESP_REQUEST);
    cr_assert_eq(f.reader.argv[1].size, 600000);
    cr_assert_eq(next(&f), RESP_NEED_MORE);
    cr_assert_eq(resp_held_bytes(&f.reader), 0);
    fixture_deinit(&f);
}

/* Would take minutes if each piece were read from the start of the request. */
Test(resp, progress_is_kept_between_pieces)
{
    struct mem mem;
    mem_init(&mem, "input");
    struct buf input = many_arguments(&mem, 100000);
    for (size_t step = 1; step < 3000; step = step * 7 + 1) {
        struct fixture f;
        fixture_init(&f, &usual);
        for (size_t at = 0; at < input.size; at += step) {
            read_piece(&f, input.data + at, MIN(step, input.size - at));
        }
        cr_assert_eq(f.delivered, input.size);
        cr_assert_eq(f.reader.argc, 100000);
        read_piece(&f, "\n", 1);
        cr_assert_eq(resp_held_bytes(&f.reader), 0);
        fixture_deinit(&f);
    }
    buf_clear(&input);
    mem_deinit(&mem);
}

static bool is_out_of_memory(const char *start, const char *rest, unsigned allocation)
{
    struct fixture f;
    fixture_init(&f, &usual);
    fault_set("mem_try_alloc", allocation);
    read_piece(&f, start, strlen(start));
    read_piece(&f, rest, strlen(rest));
    fault_set("mem_try_alloc", 0);
    bool is_broken = strcmp(transcript(&f), ERROR("out of memory")) == 0;
    if (is_broken) cr_expect_eq(resp_held_bytes(&f.reader), 0);
    fixture_deinit(&f);
    return is_broken;
}

/* One of the first allocations is too big to be sure. */
static void expect_out_of_memory(const char *start, const char *rest)
{
    unsigned refused = 0;
    for (unsigned allocation = 1; allocation < 12; allocation++)
        refused += is_out_of_memory(start, rest, allocation);
    cr_expect_gt(refused, 0);
}

Test(resp, breaks_when_there_is_no_memory_for_a_request)
{
    static char many[8192], big[8192];
    strcpy(many, "*600\r\n");
    for (int i = 0; i < 600; i++) strcat(many, "$1\r\nx\r\n");
    memcpy(big, "$7000\r\n", 7);
    memset(big + 7, 'x', 7000);
    memcpy(big + 7007, "\r\n", 3);
    expect_out_of_memory("*1\r\n$7000\r\nx", big + 8);
    expect_out_of_memory("*600\r\n$1\r\n", many + 10);
}

Test(resp, a_short_request_is_sure_of_its_memory)
{
    char many[1024] = "*20\r\n";
    for (int i = 0; i < 20; i++) strcat(many, "$1\r\nx\r\n");
    for (unsigned allocation = 1; allocation < 4; allocation++) {
        struct fixture f;
        fixture_init(&f, &usual);
        fault_set("mem_try_alloc", allocation);
        read_piece(&f, "*20\r\n", 5);
        read_piece(&f, many + 5, strlen(many + 5));
        fault_set("mem_try_alloc", 0);
        cr_expect_str_eq(transcript(&f), "x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x|x;");
        fixture_deinit(&f);
    }
}

/* ---- random streams ---- */

static void append_random_request(struct buf *input, struct buf *expected, struct random *random)
{
    bool is_inline = random_below(random, 4) == 0;
    unsigned argc = 1 + (unsigned)random_below(random, random_below(random, 20) == 0 ? 400 : 6);
    if (!is_inline) buf_printf(input, "*%u\r\n", argc);
    for (unsigned i = 0; i < argc; i++) {
        unsigned size =
            1 + (unsigned)random_below(random, random_below(random, 30) == 0 ? 5000 : 40);
        if (!is_inline) buf_printf(input, "$%u\r\n", size);
        if (i > 0) buf_append_text(expected, "|");
        for (unsigned k = 0; k < size; k++) {
            char c = "abcdefghijklmnopqrstuvwxyz*$:0123456789"[random_below(random, 39)];
            if (is_inline && i == 0 && k == 0) c = 'I';
            buf_append(input, &c, 1);
            buf_append(expected, &c, 1);
        }
        buf_append_text(input, is_inline && i + 1 < argc ? " " : "\r\n");
    }
    buf_append_text(expected, ";");
}

/* Reads one piece, and now and then gives a request back or takes its memory. */
static void read_piece_playfully(struct fixture *f, const char *data, size_t size,
                                 struct random *random)
{
    char *piece = malloc(size ? size : 1);
    memcpy(piece, data, size);
    feed(f, piece, size);
    while (next(f) == RESP_REQUEST) {
        if (random_below(random, 4) == 0) {
            resp_unread(&f->reader);
            resp_validate(&f->reader);
            continue;
        }
        note_request(f);
        if (f->reader.gathered && random_below(random, 4) == 0) {
            struct buf taken = resp_take_gathered(&f->reader);
            buf_clear(&taken);
        }
    }
    free(piece);
    cr_assert_leq(resp_held_bytes(&f->reader), 2 * (f->fed - f->delivered) + KEPT_BYTES);
}

Test(resp, random_streams_in_random_pieces_arrive_whole)
{
    struct random random = random_make();
    for (int round = 0; round < 300; round++) {
        struct fixture f;
        fixture_init(&f, &usual);
        struct buf input = {.mem = &f.mem}, expected = {.mem = &f.mem};
        for (int i = 0; i < 20; i++) append_random_request(&input, &expected, &random);
        uint64_t piece_max = 1 + random_below(&random, random_below(&random, 2) ? 20 : 5000);
        for (size_t at = 0, size; at < input.size; at += size) {
            size = random_below(&random, piece_max + 1);
            size = MIN(size, input.size - at);
            read_piece_playfully(&f, input.data + at, size, &random);
        }
        cr_assert(bytes_equal(buf_view(&f.transcript), buf_view(&expected)), "round %d", round);
        buf_clear(&input);
        buf_clear(&expected);
        fixture_deinit(&f);
    }
}
