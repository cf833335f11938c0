/* The commands on deadlines: replies byte for byte as redis-server 7.0.15 gives them. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/shard_fixture.h"

#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define NOT_TOGETHER "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"
#define INVALID_EXPIRE(command) "-ERR invalid expire time in '" command "' command\r\n"

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
    expect(&f, "SET k v", "+OK\r\n");
}

static void stop(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_expire, .init = start, .fini = stop);

Test(cmd_expire, all_forms_of_a_time_mean_the_same_instant)
{
    expect(&f, "EXPIRE k 100", ":1\r\n");
    expect(&f, "PEXPIRETIME k", ":1700000100000\r\n");
    expect(&f, "PEXPIRE k 100001", ":1\r\n");
    expect(&f, "PEXPIRETIME k", ":1700000100001\r\n");
    expect(&f, "EXPIREAT k 1700000200", ":1\r\n");
    expect(&f, "PTTL k", ":200000\r\n");
    expect(&f, "PEXPIREAT k 1700000200499", ":1\r\n");
    expect(&f, "TTL k", ":200\r\n");
    expect(&f, "EXPIRETIME k", ":1700000200\r\n");
    expect(&f, "PEXPIREAT k 1700000200500", ":1\r\n");
    expect(&f, "TTL k", ":201\r\n");
    expect(&f, "EXPIRETIME k", ":1700000201\r\n");
}

Test(cmd_expire, without_a_key_or_a_deadline_the_replies_are_negative)
{
    static const char *const readers[] = {"TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"};
    for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
        char line[64];
        snprintf(line, sizeof line, "%s k", readers[i]);
        expect(&f, line, ":-1\r\n");
        snprintf(line, sizeof line, "%s none", readers[i]);
        expect(&f, line, ":-2\r\n");
    }
}

Test(cmd_expire, a_deadline_in_the_past_deletes_at_once)
{
    expect(&f, "EXPIRE k 0", ":1\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
    expect(&f, "EXPIRE k 0", ":0\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "PEXPIREAT k -9223372036854775808", ":1\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "EXPIREAT k 1700000000", ":1\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
}

Test(cmd_expire, conditions_compare_with_the_deadline_that_is_there)
{
    expect(&f, "EXPIRE k 10 XX", ":0\r\n");
    expect(&f, "EXPIRE k 10 GT", ":0\r\n");
    expect(&f, "EXPIRE k 10 XX LT", ":0\r\n");
    expect(&f, "EXPIRE k 10 lt", ":1\r\n");
    expect(&f, "EXPIRE k 20 LT", ":0\r\n");
    expect(&f, "EXPIRE k 20 NX", ":0\r\n");
    expect(&f, "EXPIRE k 10 GT", ":0\r\n");
    expect(&f, "EXPIRE k 20 XX GT", ":1\r\n");
    expect(&f, "EXPIRE k 20 LT", ":0\r\n");
    expect(&f, "EXPIRE k 5 LT LT", ":1\r\n");
    expect(&f, "TTL k", ":5\r\n");
    expect(&f, "EXPIRE k -1 GT", ":0\r\n");
    expect(&f, "EXISTS k", ":1\r\n");
    expect(&f, "EXPIRE k -1 LT", ":1\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
}

Test(cmd_expire, options_are_checked_before_the_time_and_that_before_the_key)
{
    expect(&f, "EXPIRE none abc FOO", "-ERR Unsupported option FOO\r\n");
    expect(&f, "EXPIRE none abc NX XX", NOT_TOGETHER);
    expect(&f, "EXPIRE k 10 NX GT", NOT_TOGETHER);
    expect(&f, "EXPIRE k 10 GT LT",
           "-ERR GT and LT options at the same time are not compatible\r\n");
    expect(&f, "EXPIRE none abc", NOT_INT);
    expect(&f, "EXPIRE none 9223372036854775807", INVALID_EXPIRE("expire"));
    expect(&f, "EXPIRE k 10 \"a\\r\\nb\"", "-ERR Unsupported option a  b\r\n");
}

Test(cmd_expire, times_that_do_not_fit_are_invalid)
{
    expect(&f, "EXPIRE k 9223372036854775807", INVALID_EXPIRE("expire"));
    expect(&f, "EXPIRE k -9223372036854775808", INVALID_EXPIRE("expire"));
    expect(&f, "EXPIRE k 9223372036854775", INVALID_EXPIRE("expire"));
    expect(&f, "PEXPIRE k 9223372036854775807", INVALID_EXPIRE("pexpire"));
    expect(&f, "EXPIREAT k 9223372036854776", INVALID_EXPIRE("expireat"));
    expect(&f, "TTL k", ":-1\r\n");
    expect(&f, "EXPIREAT k 9223372036854775", ":1\r\n");
    expect(&f, "PEXPIREAT k 9223372036854775807", ":1\r\n");
    expect(&f, "EXPIRETIME k", ":9223372036854776\r\n");
}

Test(cmd_expire, persist_removes_a_deadline_once)
{
    expect(&f, "PERSIST none", ":0\r\n");
    expect(&f, "PERSIST k", ":0\r\n");
    expect(&f, "EXPIRE k 10", ":1\r\n");
    expect(&f, "PERSIST k", ":1\r\n");
    expect(&f, "PERSIST k", ":0\r\n");
    shard_fixture_pass_ms(&f, 20 * 1000);
    expect(&f, "GET k", "$1\r\nv\r\n");
}

Test(cmd_expire, the_value_survives_the_coming_and_going_of_deadlines)
{
    expect(&f, "SETRANGE big 4999 x", ":5000\r\n");
    for (int i = 0; i < 3; i++) {
        expect(&f, "EXPIRE big 10", ":1\r\n");
        expect(&f, "GETRANGE big 4998 -1", "$2\r\n\0x\r\n");
        expect(&f, "PERSIST big", ":1\r\n");
        expect(&f, "STRLEN big", ":5000\r\n");
    }
}
