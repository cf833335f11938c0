/* Commands that change the first of their keys that is there, over three shards. */
#include "server/locked.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "server/worker.h"
#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s;

static void start(void)
{
    f = server_fixture_make(3);
    s = server_fixture_connect(&f, 0);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(locked, .init = start, .fini = stop);

#define POPPED(key, value) "*2\r\n$1\r\n" key "\r\n*1\r\n$1\r\n" value "\r\n"
#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

/* Of all shards together. */
static uint64_t live_bytes(void)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < f.server->mesh.shard_count; i++)
        n += mem_live_bytes(&f.server->shard_workers[i]->shard.mem);
    return n;
}

Test(locked, lmpop_takes_from_the_first_list_wherever_it_lives)
{
    expect(&f, s, "LMPOP 6 a b c d e f LEFT", "*-1\r\n");
    expect(&f, s, "RPUSH c 1 2", ":2\r\n");
    expect(&f, s, "RPUSH e 3", ":1\r\n");
    expect(&f, s, "CONFIG SET latency-tracking no", "+OK\r\n"); /* its histograms would grow */
    uint64_t before = live_bytes();
    expect(&f, s, "LMPOP 6 a b c d e f RIGHT", POPPED("c", "2"));
    expect(&f, s, "LMPOP 6 a b c d e f LEFT", POPPED("c", "1"));
    expect(&f, s, "LMPOP 6 a b c d e f LEFT", POPPED("e", "3"));
    expect(&f, s, "LMPOP 6 a b c d e f LEFT", "*-1\r\n");
    cr_assert_lt(live_bytes(), before);
    expect(&f, s, "DBSIZE", ":0\r\n");
}

Test(locked, a_key_of_the_wrong_type_counts_only_if_no_list_precedes_it)
{
    expect(&f, s, "SET b x", "+OK\r\n");
    expect(&f, s, "RPUSH a 1", ":1\r\n");
    expect(&f, s, "RPUSH c 2", ":1\r\n");
    expect(&f, s, "LMPOP 3 a b c LEFT", POPPED("a", "1"));
    expect(&f, s, "LMPOP 3 a b c LEFT", WRONG_TYPE);
    expect(&f, s, "LMPOP 3 a b c LEFT NOSUCH", "-ERR syntax error\r\n");
    expect(&f, s, "LMPOP 3 a c b LEFT", POPPED("c", "2"));
}

Test(locked, zmpop_does_so_in_a_transaction_too)
{
    expect(&f, s, "ZADD d 1 x 2 y", ":2\r\n");
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "ZMPOP 4 a b c d MAX", "+QUEUED\r\n");
    expect(&f, s, "ZMPOP 4 a b c d MIN COUNT 5", "+QUEUED\r\n");
    expect(&f, s, "ZMPOP 4 a b c d MIN", "+QUEUED\r\n");
    expect(&f, s, "EXEC",
           "*3\r\n*2\r\n$1\r\nd\r\n*1\r\n*2\r\n$1\r\ny\r\n$1\r\n2\r\n"
           "*2\r\n$1\r\nd\r\n*1\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n*-1\r\n");
}

Test(locked, a_list_that_may_expire_is_tried_before_the_next_one)
{
    expect(&f, s, "RPUSH a 1", ":1\r\n");
    expect(&f, s, "PEXPIRE a 1000", ":1\r\n");
    expect(&f, s, "RPUSH b 2", ":1\r\n");
    expect(&f, s, "RPUSH c 3", ":1\r\n");
    expect(&f, s, "LMPOP 3 a b c LEFT", POPPED("a", "1"));
    expect(&f, s, "RPUSH a 1", ":1\r\n");
    expect(&f, s, "PEXPIRE a 1000", ":1\r\n");
    server_fixture_pass_ms(&f, 2000);
    expect(&f, s, "LMPOP 3 a b c LEFT", POPPED("b", "2"));
    expect(&f, s, "SET c x", "+OK\r\n"); /* nothing is locked any more */
}

Test(locked, a_renamed_value_goes_to_its_new_shard_as_it_is)
{
    expect(&f, s, "RPUSH a 1 2 3", ":3\r\n");
    expect(&f, s, "PEXPIRE a 1000", ":1\r\n");
    expect(&f, s, "SET b old", "+OK\r\n");
    expect(&f, s, "RENAME a b", "+OK\r\n");
    expect(&f, s, "RENAME a b", "-ERR no such key\r\n");
    expect(&f, s, "PTTL b", ":1000\r\n");
    expect(&f, s, "SET c x", "+OK\r\n");
    expect(&f, s, "RENAMENX b c", ":0\r\n");
    expect(&f, s, "RENAMENX b a", ":1\r\n");
    expect(&f, s, "RENAMENX b c", "-ERR no such key\r\n");
    expect(&f, s, "LLEN a", ":3\r\n");
    expect(&f, s, "DBSIZE", ":2\r\n");
}

Test(locked, msetnx_puts_all_or_nothing)
{
    expect(&f, s, "SET c x", "+OK\r\n");
    expect(&f, s, "MSETNX a 1 b 2 c 3", ":0\r\n");
    expect(&f, s, "MSETNX a 1 b 2 d 3 a 4", ":1\r\n");
    expect(&f, s, "MGET a b c d", "*4\r\n$1\r\n4\r\n$1\r\n2\r\n$1\r\nx\r\n$1\r\n3\r\n");
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "MSETNX c 1 e", "+QUEUED\r\n");
    expect(&f, s, "MSETNX e 1 f 2 g 3", "+QUEUED\r\n");
    expect(&f, s, "MSETNX h 1 f 2 i 3", "+QUEUED\r\n");
    expect(&f, s, "EXEC",
           "*3\r\n-ERR wrong number of arguments for 'msetnx' command\r\n:1\r\n:0\r\n");
    expect(&f, s, "EXISTS h i", ":0\r\n");
}

/* ---- several destinations ---- */

static void check_destinations(const char *line, const char *first, const char *last)
{
    char get[16];
    expect(&f, s, "MSET a old b old c old d old e old", "+OK\r\n");
    expect(&f, s, line, ":1\r\n");
    snprintf(get, sizeof get, "GET %s", first);
    expect(&f, s, get, "$3\r\nold\r\n");
    snprintf(get, sizeof get, "GET %s", last);
    expect(&f, s, get, WRONG_TYPE);
    snprintf(get, sizeof get, "DEL %s", last);
    expect(&f, s, get, ":1\r\n");
}

Test(locked, of_several_destinations_the_last_one_is_written)
{
    static const char *const options[][2] = {
        {"STORE", "STORE"}, {"STORE", "STOREDIST"}, {"STOREDIST", "STORE"}};
    static const char *const names[] = {"b", "c", "d", "e"};
    char line[100];
    expect(&f, s, "GEOADD g 0 0 m", ":1\r\n");
    expect(&f, s, "RPUSH l 1", ":1\r\n");
    for (unsigned i = 0; i < ARRAY_LEN(names) * ARRAY_LEN(names); i++) {
        const char *first = names[i / ARRAY_LEN(names)], *last = names[i % ARRAY_LEN(names)];
        if (first == last) continue;
        for (unsigned k = 0; k < ARRAY_LEN(options); k++) {
            snprintf(line, sizeof line, "GEORADIUS g 0 0 9 km %s %s %s %s", options[k][0], first,
                     options[k][1], last);
            check_destinations(line, first, last);
            snprintf(line, sizeof line, "GEORADIUSBYMEMBER g m 9 km STOREDIST a %s %s %s %s",
                     options[k][0], first, options[k][1], last);
            check_destinations(line, first, last);
        }
        snprintf(line, sizeof line, "SORT l STORE %s STORE %s", first, last);
        check_destinations(line, first, last);
    }
}
