/* Replies that redis-server 7.0 gives too are compared with it by tests/compat; here is what they
 * leave behind, and the deadlines of fields, which are newer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"

static struct shard_fixture make(void)
{
    struct shard_fixture f = shard_fixture_make();
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    return f;
}

static void fill(struct shard_fixture *f, const char *key, int count)
{
    for (int i = 0; i < count; i++) {
        char line[64];
        snprintf(line, sizeof line, "HSET %s field:%d %d", key, i, i);
        shard_fixture_run_line(f, line);
    }
}

/* ---- fields and values ---- */

Test(cmd_hash, fields_are_set_shown_and_removed)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2 a 3", ":2\r\n");
    expect(&f, "HGET h a", "$1\r\n3\r\n");
    expect(&f, "HMGET h a x b", "*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n");
    expect(&f, "HGETALL h", "*4\r\n$1\r\na\r\n$1\r\n3\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect(&f, "HSETNX h a 9", ":0\r\n");
    expect(&f, "HSTRLEN h a", ":1\r\n");
    expect(&f, "HDEL h a x b", ":2\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    expect(&f, "HSET h a", "-ERR wrong number of arguments for 'hset' command\r\n");
    expect(&f, "HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, resp3_has_maps_and_pairs)
{
    struct shard_fixture f = make();
    f.resp = 3;
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HGETALL h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect(&f, "HGETALL none", "%0\r\n");
    expect(&f, "HRANDFIELD h 1 WITHVALUES", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect(&f, "HRANDFIELD none", "_\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, encodings_change_where_redis_changes_them)
{
    struct shard_fixture f = make();
    fill(&f, "h", 512);
    expect(&f, "OBJECT ENCODING h", "$8\r\nlistpack\r\n");
    expect(&f, "HSET h field:1 x", ":0\r\n");
    expect(&f, "OBJECT ENCODING h", "$8\r\nlistpack\r\n");
    expect(&f, "HSET h one-more x", ":1\r\n");
    expect(&f, "OBJECT ENCODING h", "$9\r\nhashtable\r\n");
    expect(&f, "HSET g a 1234567890123456789012345678901234567890123456789012345678901234",
           ":1\r\n");
    expect(&f, "OBJECT ENCODING g", "$8\r\nlistpack\r\n");
    expect(&f, "HSETNX g a 12345678901234567890123456789012345678901234567890123456789012345",
           ":0\r\n");
    expect(&f, "OBJECT ENCODING g", "$8\r\nlistpack\r\n");
    expect(&f, "HSETNX g b 12345678901234567890123456789012345678901234567890123456789012345",
           ":1\r\n");
    expect(&f, "OBJECT ENCODING g", "$9\r\nhashtable\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arithmetic_fails_without_leaving_a_key)
{
    struct shard_fixture f = make();
    expect(&f, "HINCRBY h n 5", ":5\r\n");
    expect(&f, "HINCRBY h n 9223372036854775807", "-ERR increment or decrement would overflow\r\n");
    expect(&f, "HINCRBYFLOAT h n 0.5", "$3\r\n5.5\r\n");
    expect(&f, "HINCRBY h n 1", "-ERR hash value is not an integer\r\n");
    expect(&f, "HSET h t text", ":1\r\n");
    expect(&f, "HINCRBYFLOAT h t 1", "-ERR hash value is not a float\r\n");
    expect(&f, "HINCRBYFLOAT none t inf", "-ERR value is NaN or Infinity\r\n");
    expect(&f, "HINCRBYFLOAT none t x", "-ERR value is not a valid float\r\n");
    expect(&f, "EXISTS none", ":0\r\n");
    shard_fixture_free(&f);
}

static uint64_t count_lines(struct bytes reply, char first)
{
    uint64_t n = 0;
    for (size_t i = 0; i < reply.size; i++) {
        n += reply.data[i] == first && (i == 0 || reply.data[i - 1] == '\n');
    }
    return n;
}

Test(cmd_hash, hrandfield_gives_as_many_as_asked_for)
{
    struct shard_fixture f = make();
    static const int sizes[] = {5, 600};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        fill(&f, "h", sizes[i]);
        for (int n = 1; n <= sizes[i] + 1; n = n * 2 + 1) {
            char line[64];
            uint64_t distinct = (uint64_t)MIN(n, sizes[i]);
            snprintf(line, sizeof line, "HRANDFIELD h %d", n);
            cr_assert_eq(count_lines(shard_fixture_run_line(&f, line), '$'), distinct);
            snprintf(line, sizeof line, "HRANDFIELD h -%d WITHVALUES", n);
            cr_assert_eq(count_lines(shard_fixture_run_line(&f, line), '$'), 2 * (uint64_t)n);
        }
    }
    expect(&f, "HRANDFIELD h 0", "*0\r\n");
    expect(&f, "HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range\r\n");
    expect(&f, "HRANDFIELD h -4611686018427387903",
           "-ERR out of memory: the value does not fit\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, hscan_walks_a_table_in_steps)
{
    struct shard_fixture f = make();
    fill(&f, "h", 1000);
    unsigned long cursor = 0, steps = 0;
    uint64_t fields = 0;
    do {
        char line[64];
        snprintf(line, sizeof line, "HSCAN h %lu COUNT 20", cursor);
        struct bytes reply = shard_fixture_run_line(&f, line);
        fields += (count_lines(reply, '$') - 1) / 2;
        cursor = strtoul(strchr(reply.data + 4, '\n') + 1, NULL, 10);
        steps++;
    } while (cursor != 0);
    cr_assert_eq(fields, 1000);
    cr_assert_gt(steps, 20);
    expect(&f, "HSCAN h 0 MATCH field:7 COUNT 100000",
           "*2\r\n$1\r\n0\r\n*2\r\n$7\r\nfield:7\r\n$1\r\n7\r\n");
    expect(&f, "HSCAN none 0 nonsense", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "HSCAN h 0 TYPE hash", "-ERR syntax error\r\n");
    shard_fixture_free(&f);
}

/* ---- deadlines of fields, by the documentation of Redis 7.4 ---- */

Test(cmd_hash, hexpire_says_what_it_did_with_each_field)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2 c 3", ":3\r\n");
    expect(&f, "HEXPIRE h 10 FIELDS 2 a x", "*2\r\n:1\r\n:-2\r\n");
    expect(&f, "HEXPIRE h 20 NX FIELDS 2 a b", "*2\r\n:0\r\n:1\r\n");
    expect(&f, "HEXPIRE h 30 XX FIELDS 2 a c", "*2\r\n:1\r\n:0\r\n");
    expect(&f, "HEXPIRE h 25 GT FIELDS 3 a b c", "*3\r\n:0\r\n:1\r\n:0\r\n");
    expect(&f, "HEXPIRE h 26 LT FIELDS 3 a b c", "*3\r\n:1\r\n:0\r\n:1\r\n");
    expect(&f, "HTTL h FIELDS 4 a b c x", "*4\r\n:26\r\n:25\r\n:26\r\n:-2\r\n");
    expect(&f, "HPTTL h FIELDS 1 a", "*1\r\n:26000\r\n");
    expect(&f, "HEXPIRETIME h FIELDS 1 a", "*1\r\n:1700000026\r\n");
    expect(&f, "HPEXPIRETIME h FIELDS 1 a", "*1\r\n:1700000026000\r\n");
    expect(&f, "HPERSIST h FIELDS 3 a a x", "*3\r\n:1\r\n:-1\r\n:-2\r\n");
    expect(&f, "HTTL h FIELDS 1 a", "*1\r\n:-1\r\n");
    expect(&f, "HEXPIRE h 0 FIELDS 1 a", "*1\r\n:2\r\n");
    expect(&f, "HPEXPIREAT h 5 FIELDS 2 b c", "*2\r\n:2\r\n:2\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, without_the_key_every_field_is_missing)
{
    struct shard_fixture f = make();
    expect(&f, "HEXPIRE none 10 FIELDS 2 a b", "*2\r\n:-2\r\n:-2\r\n");
    expect(&f, "HPERSIST none FIELDS 1 a", "*1\r\n:-2\r\n");
    expect(&f, "HTTL none FIELDS 1 a", "*1\r\n:-2\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arguments_of_hexpire_are_checked)
{
    struct shard_fixture f = make();
    expect(&f, "SET s x", "+OK\r\n");
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HEXPIRE s 10 FIELDS 1 a", WRONG_TYPE);
    expect(&f, "HEXPIRE h x FIELDS 1 a", NOT_INT);
    expect(&f, "HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0\r\n");
    expect(&f, "HEXPIRE h 9223372036854775807 FIELDS 1 a",
           "-ERR invalid expire time in 'hexpire' command\r\n");
    expect(&f, "HPEXPIREAT h 70368744177664 FIELDS 1 a",
           "-ERR invalid expire time in 'hpexpireat' command\r\n");
    expect(&f, "HEXPIRE h 10 ZZ 1 a",
           "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n");
    expect(&f, "HEXPIRE h 10 NX FIELDS a",
           "-ERR Parameter `numFields` should be greater than 0\r\n");
    expect(&f, "HTTL h FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0\r\n");
    expect(&f, "HTTL h FIELDS 2 a",
           "-ERR The `numfields` parameter must match the number of arguments\r\n");
    expect(&f, "HTTL h FIELDS", "-ERR wrong number of arguments for 'httl' command\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, an_expired_field_is_gone_for_every_command)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HPEXPIRE h 100 FIELDS 1 a", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 100);
    expect(&f, "HGET h a", "$1\r\n1\r\n");
    shard_fixture_pass_ms(&f, 1);
    expect(&f, "HGET h a", "$-1\r\n");
    expect(&f, "HGETALL h", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect(&f, "HLEN h", ":1\r\n");
    expect(&f, "HEXISTS h a", ":0\r\n");
    expect(&f, "HDEL h a", ":0\r\n");
    expect(&f, "HSETNX h a new", ":1\r\n");
    expect(&f, "HTTL h FIELDS 1 a", "*1\r\n:-1\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, a_large_hash_hides_what_has_expired_until_it_is_walked)
{
    struct shard_fixture f = make();
    fill(&f, "h", 600);
    for (int i = 0; i < 300; i++) {
        char line[64];
        snprintf(line, sizeof line, "HPEXPIRE h 100 FIELDS 1 field:%d", i);
        expect(&f, line, "*1\r\n:1\r\n");
    }
    shard_fixture_pass_ms(&f, 101);
    expect(&f, "HGET h field:1", "$-1\r\n");
    expect(&f, "HSET h field:1 x field:500 y", ":1\r\n");
    expect(&f, "HDEL h field:2 field:1", ":1\r\n");
    expect(&f, "HTTL h FIELDS 1 field:3", "*1\r\n:-2\r\n");
    cr_assert_eq(count_lines(shard_fixture_run_line(&f, "HKEYS h"), '$'), 300);
    expect(&f, "HLEN h", ":300\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, the_key_goes_with_its_last_field)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HPEXPIRE h 100 FIELDS 1 a", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 101);
    expect(&f, "HGETALL h", "*0\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arithmetic_keeps_the_deadline_and_hset_clears_it)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HEXPIRE h 100 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n");
    expect(&f, "HINCRBY h a 1", ":2\r\n");
    expect(&f, "HINCRBYFLOAT h a 0.5", "$3\r\n2.5\r\n");
    expect(&f, "HSET h b 3", ":0\r\n");
    expect(&f, "HTTL h FIELDS 2 a b", "*2\r\n:100\r\n:-1\r\n");
    expect(&f, "COPY h g", ":1\r\n");
    expect(&f, "HTTL g FIELDS 2 a b", "*2\r\n:100\r\n:-1\r\n");
    shard_fixture_free(&f);
}
