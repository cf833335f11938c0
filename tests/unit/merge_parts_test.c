/* Parts of split commands become one reply: every rule, parts in one piece and in many. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "net/netloop.h"
#include "server/merge_parts.h"
#include "shard/digest.h"
#include "tests/unit/random.h"

#define PARTS_MAX 8

static struct netloop nl; /* only its memory is used */
static struct gather_part parts[PARTS_MAX];
static struct gather gather;
static uint32_t piece_bytes; /* parts are cut into chunks of so many bytes; 0: one chunk */

static void start(void)
{
    mem_init(&nl.mem, "test");
    nl.flatten.mem = &nl.mem;
    gather = (struct gather){.netloop = &nl, .parts = parts};
    piece_bytes = 0;
}

static void finish(void)
{
    buf_clear(&nl.flatten);
    mem_deinit(&nl.mem);
}

static struct chunk *chunks_of(struct bytes text)
{
    struct chunk *first = NULL, **link = &first;
    for (size_t at = 0; at < text.size;) {
        size_t size = MIN(piece_bytes ? piece_bytes : text.size, text.size - at);
        struct chunk *c = mem_alloc(&nl.mem, sizeof *c + size);
        *c = (struct chunk){.size = (uint32_t)size, .capacity = (uint32_t)size};
        memcpy(c->data, text.data + at, size);
        *link = c;
        link = &c->next;
        at += size;
    }
    return first;
}

/* One part after the other, NULL at the end. */
static void set_parts(const char *const *texts)
{
    gather.part_count = 0;
    for (; texts[gather.part_count]; gather.part_count++)
        parts[gather.part_count] =
            (struct gather_part){.chain = chunks_of(bytes_of(texts[gather.part_count])),
                                 .end = strlen(texts[gather.part_count])};
}

static const char *merged(struct merge_input in)
{
    static char text[4096];
    struct reply out;
    reply_init(&out, NULL, &nl.mem);
    in.gather = &gather;
    merge_parts(&in, &out);
    size_t size = 0;
    struct chunk *chain = reply_take(&out);
    for (const struct chunk *c = chain; c; c = c->next) {
        cr_assert_lt(size + c->size, sizeof text);
        memcpy(text + size, c->data, c->size);
        size += c->size;
    }
    text[size] = '\0';
    chunk_free_chain(&nl.mem, chain);
    gather_release_parts(&gather);
    return text;
}

/* The same with parts in one chunk, and with chunks of every small size. */
static void expect_merged(const char *const *texts, struct merge_input in, const char *expected)
{
    for (piece_bytes = 0; piece_bytes < 12; piece_bytes++) {
        set_parts(texts);
        const char *got = merged(in);
        cr_assert_str_eq(got, expected, "pieces of %u: got %s", piece_bytes, got);
    }
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- rules ---- */

Test(merge_parts, integers_are_added)
{
    start();
    struct merge_input in = {.rule = MERGE_SUM};
    expect_merged(PARTS(":1\r\n", ":0\r\n", ":41\r\n"), in, ":42\r\n");
    expect_merged(PARTS(":-5\r\n", ":2\r\n"), in, ":-3\r\n");
    expect_merged(PARTS(":4611686018427387904\r\n", ":4611686018427387903\r\n"), in,
                  ":9223372036854775807\r\n");
    finish();
}

Test(merge_parts, all_ok_is_ok)
{
    start();
    expect_merged(PARTS("+OK\r\n", "+OK\r\n"), (struct merge_input){.rule = MERGE_OK}, "+OK\r\n");
    finish();
}

/* Sums of the shards are added per database, databases are mixed in the order of their numbers. */
Test(merge_parts, digests_of_databases_become_one)
{
    start();
    struct merge_input in = {.rule = MERGE_DIGEST};
    struct digest all = {0}, low, high;
    memset(low.bytes, 'a' ^ 'b', sizeof low.bytes);
    memset(high.bytes, 'c', sizeof high.bytes);
    digest_mix_u32(&all, 0x01010101);
    digest_xor(&all, &low);
    digest_mix_u32(&all, 0x01010102);
    digest_xor(&all, &high);
    char expected[1 + 2 * SHA1_BYTES + 3] = "+";
    sha1_to_hex(all.bytes, expected + 1);
    strcpy(expected + 1 + 2 * SHA1_BYTES, "\r\n");
#define DATABASE_1 "\1\1\1\1"
#define DATABASE_2 "\2\1\1\1"
    const char *one = "*1\r\n$24\r\n" DATABASE_1 "aaaaaaaaaaaaaaaaaaaa\r\n";
    const char *two = "*2\r\n$24\r\n" DATABASE_1 "bbbbbbbbbbbbbbbbbbbb\r\n$24\r\n" DATABASE_2
                      "cccccccccccccccccccc\r\n";
    expect_merged(PARTS(one, two), in, expected);
    expect_merged(PARTS(two, "*0\r\n", one), in, expected);
    expect_merged(PARTS("*0\r\n", "*0\r\n"), in, "+0000000000000000000000000000000000000000\r\n");
    finish();
}

/* A cursor that names its own shard is one in the middle of it. */
Test(merge_parts, a_scan_tells_all_up_to_the_first_shard_that_has_more)
{
    start();
    struct merge_input in = {.rule = MERGE_CURSOR};
#define SCANNED(cursor, keys) "*2\r\n" cursor "\r\n" keys
    const char *end = SCANNED("$1\r\n0", "*1\r\n$1\r\nc\r\n");
    const char *whole_0 = SCANNED("$1\r\n1", "*2\r\n$1\r\na\r\n$4\r\na\r\na\r\n");
    const char *whole_1 = SCANNED("$1\r\n2", "*0\r\n");
    expect_merged(PARTS(whole_0, whole_1, end), in,
                  SCANNED("$1\r\n0", "*3\r\n$1\r\na\r\n$4\r\na\r\na\r\n$1\r\nc\r\n"));
    const char *more_0 = SCANNED("$3\r\n256", "*0\r\n");
    expect_merged(PARTS(more_0, whole_1, end), in, more_0);
    const char *more_1 = SCANNED("$3\r\n257", "*1\r\n$1\r\nb\r\n");
    expect_merged(PARTS(whole_0, more_1, end), in,
                  SCANNED("$3\r\n257", "*3\r\n$1\r\na\r\n$4\r\na\r\na\r\n$1\r\nb\r\n"));
    const char *more_2 = SCANNED("$3\r\n258", "*0\r\n");
    expect_merged(PARTS(whole_0, whole_1, more_2), in,
                  SCANNED("$3\r\n258", "*2\r\n$1\r\na\r\n$4\r\na\r\na\r\n"));
    finish();
}

Test(merge_parts, arrays_are_joined)
{
    start();
    struct merge_input in = {.rule = MERGE_CONCAT};
    expect_merged(PARTS("*2\r\n$1\r\na\r\n$2\r\nbb\r\n", "*0\r\n", "*1\r\n$0\r\n\r\n"), in,
                  "*3\r\n$1\r\na\r\n$2\r\nbb\r\n$0\r\n\r\n");
    expect_merged(PARTS("*0\r\n", "*0\r\n"), in, "*0\r\n");
    finish();
}

Test(merge_parts, replies_of_keys_stand_in_the_order_of_the_keys)
{
    start();
    const uint16_t key_parts[] = {1, 0, 0, 2, 1};
    struct merge_input in = {.rule = MERGE_KEYS, .key_parts = key_parts, .key_count = 5};
    expect_merged(PARTS("$1\r\nb\r\n$1\r\nc\r\n", "$1\r\na\r\n$-1\r\n", "$1\r\nd\r\n"), in,
                  "*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$-1\r\n");
    finish();
}

Test(merge_parts, replies_of_keys_may_be_of_any_type_and_hold_line_ends)
{
    start();
    const uint16_t key_parts[] = {0, 1, 0, 1, 0, 1};
    struct merge_input in = {.rule = MERGE_KEYS, .key_parts = key_parts, .key_count = 6};
    expect_merged(PARTS("$4\r\n\r\n\r\n\r\n_\r\n%1\r\n$1\r\nk\r\n*2\r\n:1\r\n~1\r\n#t\r\n",
                        ":7\r\n=7\r\ntxt:a\r\n\r\n*-1\r\n"),
                  in,
                  "*6\r\n$4\r\n\r\n\r\n\r\n:7\r\n_\r\n=7\r\ntxt:a\r\n\r\n"
                  "%1\r\n$1\r\nk\r\n*2\r\n:1\r\n~1\r\n#t\r\n*-1\r\n");
    finish();
}

Test(merge_parts, keys_that_have_nothing_are_left_out)
{
    start();
    static const uint16_t key_parts[] = {1, 0, 1, 0};
    struct merge_input in = {.rule = MERGE_FOUND, .key_parts = key_parts, .key_count = 4};
    expect_merged(
        PARTS("*-1\r\n*2\r\n$1\r\nd\r\n*1\r\n:4\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n*-1\r\n"), in,
        "*2\r\n*2\r\n$1\r\na\r\n*1\r\n:1\r\n*2\r\n$1\r\nd\r\n*1\r\n:4\r\n");
    expect_merged(PARTS("*-1\r\n*-1\r\n", "*-1\r\n*-1\r\n"), in, "*-1\r\n");
    finish();
}

Test(merge_parts, the_first_error_decides_whatever_the_rule)
{
    start();
    const uint16_t key_parts[] = {0, 1, 2};
    static const enum merge_rule rules[] = {MERGE_SUM, MERGE_OK, MERGE_CONCAT, MERGE_KEYS,
                                            MERGE_RANDOM};
    for (unsigned i = 0; i < ARRAY_LEN(rules); i++) {
        struct merge_input in = {.rule = rules[i], .key_parts = key_parts, .key_count = 3};
        expect_merged(PARTS(":1\r\n", "-ERR first\r\n", "-ERR second\r\n"), in, "-ERR first\r\n");
    }
    finish();
}

/* ---- one of several ---- */

Test(merge_parts, a_random_value_comes_from_a_part_by_its_weight)
{
    start();
    static const char *const texts[] = {"*2\r\n:3\r\n$1\r\na\r\n", "*2\r\n:0\r\n$-1\r\n",
                                        "*2\r\n:2\r\n$1\r\nc\r\n", NULL};
    for (uint64_t random = 0; random < 20; random++) {
        struct merge_input in = {.rule = MERGE_RANDOM, .random = random};
        expect_merged(texts, in, random % 5 < 3 ? "$1\r\na\r\n" : "$1\r\nc\r\n");
    }
    finish();
}

Test(merge_parts, a_random_value_of_nothing_is_null)
{
    start();
    expect_merged(PARTS("*2\r\n:0\r\n$-1\r\n", "*2\r\n:0\r\n$-1\r\n"),
                  (struct merge_input){.rule = MERGE_RANDOM, .random = 5}, "$-1\r\n");
    expect_merged(PARTS("*2\r\n:0\r\n_\r\n", "*2\r\n:0\r\n_\r\n"),
                  (struct merge_input){.rule = MERGE_RANDOM, .random = 5}, "_\r\n");
    finish();
}

/* ---- walking values ---- */

Test(merge_parts, a_value_ends_where_its_last_part_ends)
{
    static const char *const values[] = {"+OK\r\n",
                                         "-ERR x\r\n",
                                         ":12\r\n",
                                         "$3\r\na\r\n\r\n",
                                         "$-1\r\n",
                                         "*-1\r\n",
                                         "*0\r\n",
                                         "*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
                                         "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
                                         "~1\r\n$2\r\nab\r\n",
                                         ">2\r\n+x\r\n+y\r\n",
                                         "_\r\n",
                                         "#f\r\n",
                                         ",1.5\r\n",
                                         "(123456789012345678901\r\n",
                                         "=5\r\ntxt:x\r\n"};
    char text[128];
    for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
        for (unsigned j = 0; j < ARRAY_LEN(values); j++) {
            int size = snprintf(text, sizeof text, "%s%s", values[i], values[j]);
            cr_assert_eq(reply_value_bytes(bytes_make(text, (size_t)size)), strlen(values[i]), "%s",
                         text);
        }
    }
}

/* Random values for random keys on random parts, cut anywhere, come out in the order of the keys.
 */
Test(merge_parts, random_keys_come_out_in_order)
{
    struct random r = random_make();
    start();
    for (unsigned round = 0; round < 500; round++) {
        char part_texts[PARTS_MAX][512] = {{0}}, expected[4096];
        uint16_t key_parts[24];
        unsigned part_count = 1 + (unsigned)random_below(&r, PARTS_MAX);
        unsigned key_count = 1 + (unsigned)random_below(&r, 24);
        int at = snprintf(expected, sizeof expected, "*%u\r\n", key_count);
        for (unsigned k = 0; k < key_count; k++) {
            char value[32];
            if (random_below(&r, 4) == 0)
                strcpy(value, "$-1\r\n");
            else
                snprintf(value, sizeof value, "$6\r\n%06u\r\n",
                         (unsigned)random_below(&r, 1000000));
            key_parts[k] = (uint16_t)random_below(&r, part_count);
            strcat(part_texts[key_parts[k]], value);
            at += snprintf(expected + at, sizeof expected - (size_t)at, "%s", value);
        }
        piece_bytes = (uint32_t)random_below(&r, 40);
        const char *texts[PARTS_MAX + 1] = {NULL};
        for (unsigned i = 0; i < part_count; i++) texts[i] = part_texts[i];
        set_parts(texts);
        cr_assert_str_eq(merged((struct merge_input){
                             .rule = MERGE_KEYS, .key_parts = key_parts, .key_count = key_count}),
                         expected);
    }
    finish();
}
