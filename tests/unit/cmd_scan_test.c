/* SCAN, KEYS and RANDOMKEY. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

#define KEYS_MAX 5000
#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define INVALID_CURSOR "-ERR invalid cursor\r\n"

static void set_number(struct shard_fixture *f, int n)
{
    char line[64];
    snprintf(line, sizeof line, "SET key:%d x", n);
    expect(f, line, "+OK\r\n");
}

/* What stands between `*at` and the line's end; `*at` moves behind it. */
static struct bytes next_line(const char **at, const char *end)
{
    const char *start = *at, *cr = memchr(start, '\r', (size_t)(end - start));
    cr_assert_not_null(cr);
    *at = cr + 2;
    return bytes_make(start, (size_t)(cr - start));
}

static uint64_t number_after(struct bytes line, size_t skip)
{
    uint64_t n;
    cr_assert(text_to_u64(bytes_make(line.data + skip, line.size - skip), &n));
    return n;
}

/* Counts in seen[n] each "key:n" of the reply; returns the cursor. */
static uint64_t note_page(struct bytes reply, uint8_t *seen)
{
    const char *at = reply.data, *end = reply.data + reply.size;
    cr_assert(bytes_equal(next_line(&at, end), BYTES_LITERAL("*2")));
    (void)next_line(&at, end);
    uint64_t cursor = number_after(next_line(&at, end), 0);
    uint64_t count = number_after(next_line(&at, end), 1);
    for (uint64_t i = 0; i < count; i++) {
        (void)next_line(&at, end);
        uint64_t n = number_after(next_line(&at, end), 4);
        cr_assert_lt(n, KEYS_MAX);
        seen[n]++;
    }
    cr_assert_eq(at, end);
    return cursor;
}

static uint64_t scan_from(struct shard_fixture *f, uint64_t cursor, const char *options,
                          uint8_t *seen)
{
    char line[128];
    snprintf(line, sizeof line, "SCAN %lu %s", (unsigned long)cursor, options);
    return note_page(shard_fixture_run_line(f, line), seen);
}

Test(cmd_scan, a_full_walk_shows_every_key_once)
{
    struct shard_fixture f = shard_fixture_make();
    uint8_t seen[KEYS_MAX] = {0};
    for (int i = 0; i < KEYS_MAX; i++) set_number(&f, i);
    uint64_t cursor = 0, pages = 0;
    do {
        cursor = scan_from(&f, cursor, "", seen);
        pages++;
    } while (cursor != 0);
    for (int i = 0; i < KEYS_MAX; i++) cr_assert_eq(seen[i], 1, "key:%d: %d", i, seen[i]);
    cr_assert_gt(pages, KEYS_MAX / 100);
    shard_fixture_free(&f);
}

Test(cmd_scan, keys_that_are_there_all_along_are_seen_while_others_come_and_go)
{
    struct shard_fixture f = shard_fixture_make();
    uint8_t seen[KEYS_MAX] = {0};
    int next = 500;
    for (int i = 0; i < 500; i++) set_number(&f, i);
    uint64_t cursor = 0;
    do {
        cursor = scan_from(&f, cursor, "COUNT 3", seen);
        for (int i = 0; i < 20 && next < KEYS_MAX; i++) set_number(&f, next++);
    } while (cursor != 0);
    for (int i = 0; i < 500; i++) cr_assert_eq(seen[i], 1, "key:%d: %d", i, seen[i]);
    shard_fixture_free(&f);
}

Test(cmd_scan, the_cursor_leads_from_shard_to_shard_and_then_to_zero)
{
    enum { SHARDS = 3 };
    struct shard_fixture f[SHARDS];
    uint8_t seen[KEYS_MAX] = {0};
    for (uint16_t s = 0; s < SHARDS; s++) {
        f[s] = shard_fixture_make_one_of(s, SHARDS);
        shard_here = f[s].shard;
        for (int i = 0; i < 200; i++) set_number(&f[s], s * 200 + i);
    }
    uint64_t cursor = 0;
    uint16_t shard = 0, shard_before = 0;
    do {
        shard_here = f[shard].shard;
        cursor = scan_from(&f[shard], cursor, "COUNT 50", seen);
        shard_before = shard;
        shard = scan_cursor_shard(cursor);
        cr_assert(cursor == 0 || shard == shard_before || shard == shard_before + 1);
    } while (cursor != 0);
    cr_assert_eq(shard_before, SHARDS - 1);
    for (int i = 0; i < SHARDS * 200; i++) cr_assert_eq(seen[i], 1, "key:%d: %d", i, seen[i]);
    for (uint16_t s = 0; s < SHARDS; s++) shard_fixture_free(&f[s]);
}

Test(cmd_scan, an_empty_shard_hands_on_to_the_next)
{
    struct shard_fixture f = shard_fixture_make_one_of(1, 3);
    expect(&f, "SCAN 1", "*2\r\n$1\r\n2\r\n*0\r\n");
    shard_fixture_free(&f);
    f = shard_fixture_make_one_of(2, 3);
    expect(&f, "SCAN 2", "*2\r\n$1\r\n0\r\n*0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_scan, match_and_type_filter_what_is_shown)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "SET key v", "+OK\r\n");
    expect(&f, "SCAN 0 MATCH k?y", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nkey\r\n");
    expect(&f, "SCAN 0 MATCH K*", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "SCAN 0 MATCH key MATCH b", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "SCAN 0 MATCH \"\"", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "SCAN 0 TYPE String COUNT 1000000", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nkey\r\n");
    expect(&f, "SCAN 0 TYPE list", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "SCAN 0 TYPE nonsense", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "SCAN 0 COUNT 9223372036854775807", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nkey\r\n");
    shard_fixture_free(&f);
}

Test(cmd_scan, cursors_are_read_as_strtoul_does)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "SET k v", "+OK\r\n");
    static const char *const starts[] = {"\"\"", "+0", "-0", "00"};
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        char line[32];
        snprintf(line, sizeof line, "SCAN %s", starts[i]);
        expect(&f, line, "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n");
    }
    static const char *const broken[] = {"abc",
                                         "\" 0\"",
                                         "\"0 \"",
                                         "0x10",
                                         "+",
                                         "-",
                                         "1.5",
                                         "18446744073709551616",
                                         "-18446744073709551616",
                                         "\"0\\x00\""};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        char line[64];
        snprintf(line, sizeof line, "SCAN %s FOO", broken[i]);
        expect(&f, line, INVALID_CURSOR);
    }
    shard_fixture_free(&f);
}

Test(cmd_scan, options_are_checked_from_left_to_right)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "SCAN 0 COUNT", SYNTAX);
    expect(&f, "SCAN 0 COUNT 0", SYNTAX);
    expect(&f, "SCAN 0 COUNT -1", SYNTAX);
    expect(&f, "SCAN 0 COUNT abc FOO", NOT_INT);
    expect(&f, "SCAN 0 FOO COUNT abc", SYNTAX);
    expect(&f, "SCAN 0 MATCH", SYNTAX);
    expect(&f, "SCAN 0 TYPE", SYNTAX);
    shard_fixture_free(&f);
}

Test(cmd_scan, no_walk_shows_an_expired_key)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "SET k v PX 5", "+OK\r\n");
    expect(&f, "KEYS *", "*1\r\n$1\r\nk\r\n");
    shard_fixture_pass_ms(&f, 6);
    expect(&f, "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "KEYS *", "*0\r\n");
    expect(&f, "RANDOMKEY", "$-1\r\n");
    shard_fixture_free(&f);
}

Test(cmd_scan, keys_matches_a_glob)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "MSET one 1 two 2", "+OK\r\n");
    expect(&f, "KEYS t*", "*1\r\n$3\r\ntwo\r\n");
    expect(&f, "KEYS [^t]*", "*1\r\n$3\r\none\r\n");
    expect(&f, "KEYS \"\"", "*0\r\n");
    expect(&f, "KEYS x", "*0\r\n");
    cr_assert_eq(memcmp(shard_fixture_run_line(&f, "KEYS *").data, "*2\r\n", 4), 0);
    shard_fixture_free(&f);
}

Test(cmd_scan, randomkey_names_a_key_and_as_a_part_its_weight_too)
{
    struct shard_fixture f = shard_fixture_make();
    expect(&f, "RANDOMKEY", "$-1\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "RANDOMKEY", "$1\r\nk\r\n");
    f.flags = REQUEST_PART;
    expect(&f, "RANDOMKEY", "*2\r\n:1\r\n$1\r\nk\r\n");
    expect(&f, "DEL k", ":1\r\n");
    expect(&f, "RANDOMKEY", "*2\r\n:0\r\n$-1\r\n");
    f.resp = 3;
    f.flags = 0;
    expect(&f, "RANDOMKEY", "_\r\n");
    shard_fixture_free(&f);
}
