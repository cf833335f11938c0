/* The set family. Differences from redis-server are looked for by tests/compat; here are the cases
 * that it cannot see: what 7.2 added, chance, and what happens inside. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

static struct shard_fixture f;

static void setup(void)
{
    f = shard_fixture_make();
    f.config->set_max_intset_entries = 512;
    f.config->set_max_listpack_entries = 128;
    f.config->set_max_listpack_value_bytes = 64;
    shard_fixture_add_family(&f, &set_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_set, .init = setup, .fini = teardown);

static void add_words(const char *key, int first, int end)
{
    for (int i = first; i < end; i++) {
        char line[64];
        snprintf(line, sizeof line, "SADD %s word%d", key, i);
        expect(&f, line, ":1\r\n");
    }
}

Test(cmd_set, small_sets_of_words_are_listpacks_as_in_redis_7_2)
{
    add_words("s", 0, 128);
    expect(&f, "OBJECT ENCODING s", "$8\r\nlistpack\r\n");
    add_words("s", 128, 129);
    expect(&f, "OBJECT ENCODING s", "$9\r\nhashtable\r\n");
    expect(&f, "SADD i 1 2 3", ":3\r\n");
    expect(&f, "OBJECT ENCODING i", "$6\r\nintset\r\n");
    expect(&f, "SADD i x", ":1\r\n");
    expect(&f, "OBJECT ENCODING i", "$8\r\nlistpack\r\n");
}

Test(cmd_set, the_last_member_takes_the_key_with_it)
{
    expect(&f, "SADD s a b", ":2\r\n");
    expect(&f, "SREM s a b c", ":2\r\n");
    expect(&f, "EXISTS s", ":0\r\n");
    expect(&f, "SADD s a", ":1\r\n");
    expect(&f, "SPOP s", "$1\r\na\r\n");
    expect(&f, "EXISTS s", ":0\r\n");
    expect(&f, "SADD s a", ":1\r\n");
    expect(&f, "SMOVE s t a", ":1\r\n");
    expect(&f, "EXISTS s t", ":1\r\n");
    expect(&f, "SPOP t 5", "*1\r\n$1\r\na\r\n");
    expect(&f, "EXISTS t", ":0\r\n");
    expect(&f, "SADD s a", ":1\r\n");
    expect(&f, "SDIFFSTORE s s s", ":0\r\n");
    expect(&f, "EXISTS s", ":0\r\n");
}

Test(cmd_set, sets_are_sets_in_resp3)
{
    f.resp = 3;
    expect(&f, "SMEMBERS s", "~0\r\n");
    expect(&f, "SADD s 1", ":1\r\n");
    expect(&f, "SMEMBERS s", "~1\r\n$1\r\n1\r\n");
    expect(&f, "SINTER s s", "~1\r\n$1\r\n1\r\n");
    expect(&f, "SUNION s t", "~1\r\n$1\r\n1\r\n");
    expect(&f, "SDIFF s t", "~1\r\n$1\r\n1\r\n");
    expect(&f, "SRANDMEMBER s 3", "*1\r\n$1\r\n1\r\n");
    expect(&f, "SRANDMEMBER t", "_\r\n");
    expect(&f, "SPOP t", "_\r\n");
    expect(&f, "SPOP s 3", "~1\r\n$1\r\n1\r\n");
}

Test(cmd_set, a_missing_source_of_smove_hides_the_type_of_the_target)
{
    expect(&f, "SET str x", "+OK\r\n");
    expect(&f, "SMOVE none str a", ":0\r\n");
    expect(&f, "SADD s a", ":1\r\n");
    expect(&f, "SMOVE s str nothing", WRONG_TYPE);
    expect(&f, "SMOVE str s a", WRONG_TYPE);
    expect(&f, "SMOVE s s a", ":1\r\n");
    expect(&f, "SCARD s", ":1\r\n");
}

Test(cmd_set, a_wrong_type_behind_a_missing_key_is_still_an_error)
{
    expect(&f, "SET str x", "+OK\r\n");
    expect(&f, "SINTER none str", WRONG_TYPE);
    expect(&f, "SDIFF none str", WRONG_TYPE);
    expect(&f, "SUNIONSTORE to none str", WRONG_TYPE);
    expect(&f, "SINTERCARD 2 none str", WRONG_TYPE);
}

Test(cmd_set, a_result_replaces_whatever_was_there)
{
    expect(&f, "SADD a 1 2 3", ":3\r\n");
    expect(&f, "SADD b 2 3 4", ":3\r\n");
    expect(&f, "SET to x EX 100", "+OK\r\n");
    expect(&f, "SINTERSTORE to a b", ":2\r\n");
    expect(&f, "SMEMBERS to", "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
    expect(&f, "TTL to", ":-1\r\n");
    expect(&f, "SUNIONSTORE a a b", ":4\r\n");
    expect(&f, "SINTERSTORE a a none", ":0\r\n");
    expect(&f, "EXISTS a", ":0\r\n");
    expect(&f, "SDIFF b to", "*1\r\n$1\r\n4\r\n");
    expect(&f, "SINTERCARD 2 b to LIMIT 1", ":1\r\n");
    expect(&f, "SINTERCARD 2 b to LIMIT 0", ":2\r\n");
}

/* One set less many small ones is done by look-ups, less large ones by visits. */
Test(cmd_set, a_difference_is_the_same_by_either_way)
{
    add_words("a", 0, 300);
    add_words("tiny", 5, 6);
    expect(&f, "SDIFFSTORE rest a tiny tiny tiny tiny tiny", ":299\r\n");
    expect(&f, "SISMEMBER rest word5", ":0\r\n");
    add_words("large", 100, 300);
    expect(&f, "SDIFFSTORE rest a large none", ":100\r\n");
    expect(&f, "SINTERCARD 2 rest large", ":0\r\n");
}

static size_t count_in_head(struct bytes reply)
{
    return strtoul(reply.data + 1, NULL, 10);
}

Test(cmd_set, random_members_are_as_many_as_were_asked_for_and_different)
{
    add_words("s", 0, 400);
    static const int counts[] = {1, 3, 50, 132, 133, 134, 399, 400, 1000};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char line[64];
        snprintf(line, sizeof line, "SRANDMEMBER s %d", counts[i]);
        struct bytes reply = shard_fixture_run_line(&f, line);
        size_t count = count_in_head(reply);
        cr_assert_eq(count, (size_t)MIN(counts[i], 400));
        /* Adding them to a set counts the different ones. */
        struct bytes argv[402] = {BYTES_LITERAL("SADD"), BYTES_LITERAL("seen")};
        char *copy = malloc(reply.size);
        memcpy(copy, reply.data, reply.size);
        char *p = memchr(copy, '\n', reply.size);
        for (size_t n = 0; n < count; n++) {
            size_t size = strtoul(p + 2, &p, 10);
            argv[2 + n] = bytes_make(p + 2, size);
            p += 2 + size + 1;
        }
        reply = shard_fixture_run(&f, (uint32_t)count + 2, argv);
        cr_assert_eq(count_in_head(reply), count);
        free(copy);
        expect(&f, "DEL seen", ":1\r\n");
    }
    cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "SRANDMEMBER s -1000")), 1000);
    expect(&f, "SCARD s", ":400\r\n");
}

Test(cmd_set, popping_takes_different_members_until_none_is_left)
{
    add_words("s", 0, 300);
    for (int left = 300; left > 0; left -= 60) {
        cr_assert_eq(count_in_head(shard_fixture_run_line(&f, "SPOP s 60")), 60);
        char line[32];
        snprintf(line, sizeof line, ":%d\r\n", left - 60);
        shard_fixture_expect(&f, "SCARD s", bytes_of(line), __LINE__);
    }
    expect(&f, "EXISTS s", ":0\r\n");
}

Test(cmd_set, a_count_that_no_reply_could_hold_is_refused)
{
    expect(&f, "SADD s a", ":1\r\n");
    expect(&f, "SRANDMEMBER s -9223372036854775807",
           "-ERR out of memory: the value does not fit\r\n");
}

Test(cmd_set, a_walk_finds_every_member_while_others_come_and_go)
{
    add_words("s", 0, 1000);
    unsigned pages = 0;
    uint64_t cursor = 0, found = 0;
    do {
        char line[64];
        snprintf(line, sizeof line, "SSCAN s %llu COUNT 20 MATCH word??",
                 (unsigned long long)cursor);
        struct bytes reply = shard_fixture_run_line(&f, line);
        char *at = (char *)(uintptr_t)reply.data + sizeof("*2\r\n$") - 1;
        (void)strtoul(at, &at, 10);
        cursor = strtoull(at + 2, &at, 10);
        found += strtoul(at + 3, NULL, 10);
        snprintf(line, sizeof line, "SADD s new%u", pages++);
        expect(&f, line, ":1\r\n");
    } while (cursor != 0);
    cr_assert_eq(found, 90);
    cr_assert_gt(pages, 20);
}

Test(cmd_set, several_members_at_once_that_are_too_many_make_a_hashtable)
{
    struct bytes argv[600] = {BYTES_LITERAL("SADD"), BYTES_LITERAL("s")};
    for (unsigned i = 2; i < ARRAY_LEN(argv); i++) argv[i] = BYTES_LITERAL("1");
    expect(&f, "SADD s 7", ":1\r\n");
    (void)shard_fixture_run(&f, 514, argv);
    expect(&f, "OBJECT ENCODING s", "$6\r\nintset\r\n");
    (void)shard_fixture_run(&f, 515, argv);
    expect(&f, "OBJECT ENCODING s", "$9\r\nhashtable\r\n");
    expect(&f, "SCARD s", ":2\r\n");
}
