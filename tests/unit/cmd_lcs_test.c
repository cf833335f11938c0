/* LCS: replies byte for byte as redis-server 7.0.15 gives them, and a check against the definition.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "tests/unit/shard_fixture.h"

#define LENGTH_MAX 40

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
    expect(&f, "MSET k1 ohmytext k2 mynewtext n 12312", "+OK\r\n");
}

static void stop(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_lcs, .init = start, .fini = stop);

Test(cmd_lcs, the_sequence_its_length_and_its_ranges)
{
    expect(&f, "LCS k1 k2", "$6\r\nmytext\r\n");
    expect(&f, "LCS k1 k2 LEN", ":6\r\n");
    expect(&f, "LCS k1 k2 LEN WITHMATCHLEN", ":6\r\n");
    expect(&f, "LCS k1 k2 IDX",
           "*4\r\n$7\r\nmatches\r\n*2\r\n*2\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n"
           "*2\r\n*2\r\n:2\r\n:3\r\n*2\r\n:0\r\n:1\r\n$3\r\nlen\r\n:6\r\n");
    expect(&f, "LCS k1 k2 IDX MINMATCHLEN 4 WITHMATCHLEN",
           "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n"
           "$3\r\nlen\r\n:6\r\n");
    expect(&f, "LCS n n IDX MINMATCHLEN -5",
           "*4\r\n$7\r\nmatches\r\n*1\r\n*2\r\n*2\r\n:0\r\n:4\r\n*2\r\n:0\r\n:4\r\n"
           "$3\r\nlen\r\n:5\r\n");
    f.resp = 3;
    expect(&f, "LCS k1 k2 IDX MINMATCHLEN 5", "%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:6\r\n");
}

Test(cmd_lcs, of_several_longest_sequences_it_is_the_one_that_redis_chooses)
{
    expect(&f, "MSET a ab b ba c abcab d bacba", "+OK\r\n");
    expect(&f, "LCS a b", "$1\r\nb\r\n");
    expect(&f, "LCS b a", "$1\r\na\r\n");
    expect(&f, "LCS c d", "$3\r\nbab\r\n");
    expect(&f, "LCS c d IDX MINMATCHLEN 1",
           "*4\r\n$7\r\nmatches\r\n*3\r\n*2\r\n*2\r\n:4\r\n:4\r\n*2\r\n:3\r\n:3\r\n"
           "*2\r\n*2\r\n:3\r\n:3\r\n*2\r\n:1\r\n:1\r\n"
           "*2\r\n*2\r\n:1\r\n:1\r\n*2\r\n:0\r\n:0\r\n$3\r\nlen\r\n:3\r\n");
}

Test(cmd_lcs, a_missing_key_is_an_empty_string)
{
    expect(&f, "LCS none k1", "$0\r\n\r\n");
    expect(&f, "LCS none none LEN", ":0\r\n");
    expect(&f, "LCS k1 none IDX", "*4\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n");
}

Test(cmd_lcs, wrong_options_are_refused)
{
    expect(&f, "LCS k1 k2 FOO", "-ERR syntax error\r\n");
    expect(&f, "LCS k1 k2 MINMATCHLEN", "-ERR syntax error\r\n");
    expect(&f, "LCS k1 k2 MINMATCHLEN abc", "-ERR value is not an integer or out of range\r\n");
    expect(&f, "LCS k1 k2 IDX LEN",
           "-ERR If you want both the length and indexes, please just use IDX.\r\n");
}

Test(cmd_lcs, strings_whose_table_exceeds_the_limit_are_refused)
{
    f.config->proto_max_bulk_bytes = 9 * 10 * 4;
    expect(&f, "LCS k1 k2 LEN", ":6\r\n");
    f.config->proto_max_bulk_bytes--;
    expect(&f, "LCS k1 k2 LEN",
           "-ERR Insufficient memory, transient memory for LCS exceeds "
           "proto-max-bulk-len\r\n");
}

/* ---- against the definition ---- */

static uint64_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static void random_text(char *out)
{
    uint32_t size = 1 + random_below(LENGTH_MAX);
    for (uint32_t i = 0; i < size; i++) out[i] = (char)('a' + random_below(3));
    out[size] = 0;
}

static size_t reference_length(const char *a, const char *b)
{
    static size_t table[LENGTH_MAX + 1][LENGTH_MAX + 1];
    size_t n = strlen(a), m = strlen(b);
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                table[i][j] = 0;
            } else if (a[i - 1] == b[j - 1]) {
                table[i][j] = table[i - 1][j - 1] + 1;
            } else {
                table[i][j] = MAX(table[i - 1][j], table[i][j - 1]);
            }
        }
    }
    return table[n][m];
}

static bool is_subsequence(struct bytes part, const char *whole)
{
    size_t i = 0;
    for (; i < part.size && *whole; whole++) i += part.data[i] == *whole;
    return i == part.size;
}

Test(cmd_lcs, the_sequence_is_in_both_strings_and_none_is_longer)
{
    const char *given = getenv("SHOAL_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 20260101;
    cr_log_info("SHOAL_SEED=%lu", (unsigned long)seed);
    random_state = seed;
    for (int round = 0; round < 2000; round++) {
        char a[LENGTH_MAX + 1], b[LENGTH_MAX + 1], line[2 * LENGTH_MAX + 32];
        random_text(a);
        random_text(b);
        snprintf(line, sizeof line, "MSET a %s b %s", a, b);
        expect(&f, line, "+OK\r\n");
        struct bytes reply = shard_fixture_run_line(&f, "LCS a b");
        const char *text = (const char *)memchr(reply.data, '\n', reply.size) + 1;
        struct bytes common = {text, (size_t)(reply.data + reply.size - text) - 2};
        cr_assert_eq(common.size, reference_length(a, b), "%s %s seed %lu", a, b,
                     (unsigned long)seed);
        cr_assert(is_subsequence(common, a) && is_subsequence(common, b), "%s %s seed %lu", a, b,
                  (unsigned long)seed);
    }
}
