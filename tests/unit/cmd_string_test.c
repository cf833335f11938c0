/* The string commands: replies byte for byte as redis-server 7.0.15 gives them. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define NOT_FLOAT "-ERR value is not a valid float\r\n"
#define SYNTAX "-ERR syntax error\r\n"
#define TOO_LONG "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
#define INVALID_EXPIRE(command) "-ERR invalid expire time in '" command "' command\r\n"

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
}

static void stop(void)
{
    shard_fixture_free(&f);
}

/* Under `name` a set, which no string command may touch. */
static void put_set(const char *name)
{
    struct key k = {.name = bytes_of(name), .hash = bytes_hash(bytes_of(name), f.shard->keys.seed)};
    struct entry *e =
        entry_try_make_string(&f.shard->mem, k.name, bytes_of("x"), ENCODING_EMBSTR, 0);
    cr_assert_not_null(e);
    e->type_encoding = (uint8_t)(TYPE_SET | ENCODING_EMBSTR << 4);
    keyspace_put_entry(f.shard, &k, e);
}

/* The counterfeit must not meet the code that frees sets. */
static void put_string_back(const char *name)
{
    struct key k = {.name = bytes_of(name), .hash = bytes_hash(bytes_of(name), f.shard->keys.seed)};
    struct entry *e = keyspace_peek(f.shard, &k);
    cr_assert(e && entry_type(e) == TYPE_SET, "the value of another type has been changed");
    e->type_encoding = (uint8_t)(TYPE_STRING | ENCODING_EMBSTR << 4);
}

TestSuite(cmd_string, .init = start, .fini = stop);

/* ---- GET, SET and their like ---- */

Test(cmd_string, a_value_is_read_back_as_it_was_set)
{
    expect(&f, "GET k", "$-1\r\n");
    expect(&f, "SET k abc", "+OK\r\n");
    expect(&f, "GET k", "$3\r\nabc\r\n");
    expect(&f, "set k \"\\x00\\r\\n\\xff\"", "+OK\r\n");
    expect(&f, "get k", "$4\r\n\0\r\n\xff\r\n");
    expect(&f, "SET k \"\"", "+OK\r\n");
    expect(&f, "GET k", "$0\r\n\r\n");
    expect(&f, "SET k -12", "+OK\r\n");
    expect(&f, "GET k", "$3\r\n-12\r\n");
    expect(&f, "STRLEN k", ":3\r\n");
    expect(&f, "STRLEN none", ":0\r\n");
}

Test(cmd_string, a_missing_value_is_the_null_of_the_protocol)
{
    f.resp = 3;
    expect(&f, "GET k", "_\r\n");
    expect(&f, "MGET k", "*1\r\n_\r\n");
    expect(&f, "SET k v XX", "_\r\n");
    expect(&f, "GETDEL k", "_\r\n");
    expect(&f, "GETEX k", "_\r\n");
    expect(&f, "GETSET k v", "_\r\n");
    expect(&f, "GETSET k w", "$1\r\nv\r\n");
}

Test(cmd_string, every_command_but_the_setters_refuses_another_type)
{
    put_set("l");
    static const char *const refused[] = {
        "GET l",
        "STRLEN l",
        "GETRANGE l 0 1",
        "SUBSTR l 0 1",
        "SET l v GET",
        "SET l v NX GET",
        "GETSET l v",
        "GETDEL l",
        "GETEX l",
        "GETEX l EX abc",
        "INCR l",
        "DECRBY l 1",
        "INCRBYFLOAT l abc",
        "APPEND l x",
        "SETRANGE l 0 x",
        "SETRANGE l 5 \"\"",
        "SETRANGE l 536870912 x",
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) expect(&f, refused[i], WRONG_TYPE);
    expect(&f, "MGET l l", "*2\r\n$-1\r\n$-1\r\n");
    expect(&f, "SETNX l v", ":0\r\n");
    expect(&f, "MSETNX a 1 l 2", ":0\r\n");
    put_string_back("l");
}

Test(cmd_string, nx_and_xx_decide_whether_a_value_is_set)
{
    expect(&f, "SET k v XX", "$-1\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "SET k v NX", "+OK\r\n");
    expect(&f, "SET k w nx", "$-1\r\n");
    expect(&f, "GET k", "$1\r\nv\r\n");
    expect(&f, "SET k w XX XX", "+OK\r\n");
    expect(&f, "GET k", "$1\r\nw\r\n");
    expect(&f, "SETNX k x", ":0\r\n");
    expect(&f, "SETNX n x", ":1\r\n");
}

Test(cmd_string, set_with_get_replies_the_old_value_whether_or_not_it_sets)
{
    expect(&f, "SET k v XX GET", "$-1\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "SET k v NX GET", "$-1\r\n");
    expect(&f, "SET k w GET NX", "$1\r\nv\r\n");
    expect(&f, "GET k", "$1\r\nv\r\n");
    expect(&f, "SET k 17 GET GET XX", "$1\r\nv\r\n");
    expect(&f, "SET k \"\" GET", "$2\r\n17\r\n");
    expect(&f, "SET k end GET", "$0\r\n\r\n");
    expect(&f, "GETSET k 5", "$3\r\nend\r\n");
    expect(&f, "GET k", "$1\r\n5\r\n");
}

Test(cmd_string, options_of_set_that_exclude_each_other_are_a_syntax_error)
{
    static const char *const wrong[] = {
        "SET k v FOO",          "SET k v EX",
        "SET k v NX XX",        "SET k v XX NX",
        "SET k v KEEPTTL EX 1", "SET k v EX 1 KEEPTTL",
        "SET k v EX 1 PX 1",    "SET k v PXAT 1 EXAT 1",
        "SET k v EX abc NX XX", "SET k v PERSIST",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) expect(&f, wrong[i], SYNTAX);
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "SET k v EX 10 EX 20", "+OK\r\n");
    expect(&f, "TTL k", ":20\r\n");
    expect(&f, "SET k v KEEPTTL keepttl", "+OK\r\n");
    expect(&f, "TTL k", ":20\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "TTL k", ":-1\r\n");
}

Test(cmd_string, times_that_are_no_time_are_refused_before_anything_is_set)
{
    expect(&f, "SET k v EX abc", NOT_INT);
    expect(&f, "SET k v EX 01", NOT_INT);
    expect(&f, "SET k v EX 1.5", NOT_INT);
    expect(&f, "SET k v EX 0", INVALID_EXPIRE("set"));
    expect(&f, "SET k v XX EX -1", INVALID_EXPIRE("set"));
    expect(&f, "SET k v EX 9223372036854775807", INVALID_EXPIRE("set"));
    expect(&f, "SET k v EX 9223372036854775", INVALID_EXPIRE("set"));
    expect(&f, "SET k v PX 9223372036854775807", INVALID_EXPIRE("set"));
    expect(&f, "SET k v EXAT 9223372036854775807", INVALID_EXPIRE("set"));
    expect(&f, "SETEX k abc v", NOT_INT);
    expect(&f, "SETEX k 0 v", INVALID_EXPIRE("setex"));
    expect(&f, "PSETEX k -1 v", INVALID_EXPIRE("psetex"));
    expect(&f, "PSETEX k 9223372036854775807 v", INVALID_EXPIRE("psetex"));
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "SET k v PXAT 9223372036854775807", "+OK\r\n");
    expect(&f, "PEXPIRETIME k", ":9223372036854775807\r\n");
}

Test(cmd_string, a_value_lives_exactly_as_long_as_it_was_told)
{
    expect(&f, "SET k v PX 1500", "+OK\r\n");
    shard_fixture_pass_ms(&f, 1500);
    expect(&f, "GET k", "$1\r\nv\r\n");
    shard_fixture_pass_ms(&f, 1);
    expect(&f, "GET k", "$-1\r\n");
    expect(&f, "SETEX k 2 v", "+OK\r\n");
    shard_fixture_pass_ms(&f, 2001);
    expect(&f, "SET k w XX", "$-1\r\n");
    expect(&f, "PSETEX k 2 v", "+OK\r\n");
    shard_fixture_pass_ms(&f, 3);
    expect(&f, "SET k w NX", "+OK\r\n");
}

Test(cmd_string, set_with_a_time_in_the_past_is_accepted_and_gone_at_the_next_look)
{
    expect(&f, "SET k v PXAT 1", "+OK\r\n");
    expect(&f, "DBSIZE", ":1\r\n");
    expect(&f, "GET k", "$-1\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
}

Test(cmd_string, getdel_takes_the_value_away)
{
    expect(&f, "SET k 5", "+OK\r\n");
    expect(&f, "GETDEL k", "$1\r\n5\r\n");
    expect(&f, "GETDEL k", "$-1\r\n");
}

Test(cmd_string, getex_checks_its_options_then_the_key_then_the_time)
{
    static const char *const wrong[] = {
        "GETEX none EX",        "GETEX k NX",           "GETEX k KEEPTTL",   "GETEX k GET",
        "GETEX k PERSIST EX 1", "GETEX k EX 1 PERSIST", "GETEX k EX 1 PX 1",
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) expect(&f, wrong[i], SYNTAX);
    expect(&f, "GETEX none EX abc", "$-1\r\n");
    expect(&f, "GETEX none EX 0", "$-1\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "GETEX k EX abc", NOT_INT);
    expect(&f, "GETEX k EX 0", INVALID_EXPIRE("getex"));
    expect(&f, "GETEX k PX 9223372036854775807", INVALID_EXPIRE("getex"));
    expect(&f, "TTL k", ":-1\r\n");
}

Test(cmd_string, getex_sets_keeps_and_removes_the_deadline)
{
    expect(&f, "SET k v EX 100", "+OK\r\n");
    expect(&f, "GETEX k", "$1\r\nv\r\n");
    expect(&f, "TTL k", ":100\r\n");
    expect(&f, "GETEX k PX 5000", "$1\r\nv\r\n");
    expect(&f, "PTTL k", ":5000\r\n");
    expect(&f, "GETEX k persist PERSIST", "$1\r\nv\r\n");
    expect(&f, "TTL k", ":-1\r\n");
    expect(&f, "GETEX k EXAT 1", "$1\r\nv\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
}

/* ---- several keys ---- */

Test(cmd_string, mset_and_mget_keep_the_order_of_the_keys)
{
    expect(&f, "MSET a 1 b two a 3", "+OK\r\n");
    expect(&f, "MGET b none a a", "*4\r\n$3\r\ntwo\r\n$-1\r\n$1\r\n3\r\n$1\r\n3\r\n");
    expect(&f, "MSETNX c 1 a 2", ":0\r\n");
    expect(&f, "EXISTS c", ":0\r\n");
    expect(&f, "MSETNX c 1 c 2", ":1\r\n");
    expect(&f, "GET c", "$1\r\n2\r\n");
}

Test(cmd_string, mset_with_a_key_without_a_value_sets_nothing)
{
    expect(&f, "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");
    expect(&f, "MSETNX a 1 b", "-ERR wrong number of arguments for 'msetnx' command\r\n");
    expect(&f, "MSET a", "-ERR wrong number of arguments for 'mset' command\r\n");
    expect(&f, "DBSIZE", ":0\r\n");
}

Test(cmd_string, a_part_of_a_split_mget_has_no_array_header)
{
    expect(&f, "SET k v", "+OK\r\n");
    f.flags = REQUEST_PART;
    expect(&f, "MGET k", "$1\r\nv\r\n");
    expect(&f, "MGET none", "$-1\r\n");
}

/* ---- numbers ---- */

Test(cmd_string, counters_count_within_64_bits)
{
    expect(&f, "INCR n", ":1\r\n");
    expect(&f, "DECRBY n 11", ":-10\r\n");
    expect(&f, "DECR n", ":-11\r\n");
    expect(&f, "SET n 9223372036854775807", "+OK\r\n");
    expect(&f, "INCR n", "-ERR increment or decrement would overflow\r\n");
    expect(&f, "INCRBY n -9223372036854775808", ":-1\r\n");
    expect(&f, "DECRBY n -9223372036854775808", "-ERR decrement would overflow\r\n");
    expect(&f, "SET n -9223372036854775808", "+OK\r\n");
    expect(&f, "DECR n", "-ERR increment or decrement would overflow\r\n");
    expect(&f, "GET n", "$20\r\n-9223372036854775808\r\n");
    expect(&f, "INCRBY n 1.0", NOT_INT);
    expect(&f, "INCRBY n 9223372036854775808", NOT_INT);
}

Test(cmd_string, text_that_is_not_written_as_an_integer_does_not_count)
{
    static const char *const values[] = {"\" 12\"", "012", "+12", "\"\"", "12x", "1.0"};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char line[64];
        snprintf(line, sizeof line, "SET k %s", values[i]);
        expect(&f, line, "+OK\r\n");
        expect(&f, "INCR k", NOT_INT);
    }
    expect(&f, "GET k", "$3\r\n1.0\r\n");
}

Test(cmd_string, a_counter_keeps_its_deadline)
{
    expect(&f, "SET n 1 EX 100", "+OK\r\n");
    expect(&f, "INCR n", ":2\r\n");
    expect(&f, "INCRBYFLOAT n 1", "$1\r\n3\r\n");
    expect(&f, "APPEND n 4", ":2\r\n");
    expect(&f, "SETRANGE n 0 9", ":2\r\n");
    expect(&f, "TTL n", ":100\r\n");
    expect(&f, "GET n", "$2\r\n94\r\n");
}

Test(cmd_string, floats_print_with_17_digits_and_no_trailing_zeros)
{
    expect(&f, "INCRBYFLOAT f 10.50", "$4\r\n10.5\r\n");
    expect(&f, "INCRBYFLOAT f 0.1", "$4\r\n10.6\r\n");
    expect(&f, "INCRBYFLOAT f -5", "$3\r\n5.6\r\n");
    expect(&f, "INCRBYFLOAT f 5.0e3", "$22\r\n5005.60000000000000009\r\n");
    expect(&f, "INCRBYFLOAT g 3.0", "$1\r\n3\r\n");
    expect(&f, "OBJECT ENCODING g", "$6\r\nembstr\r\n");
    expect(&f, "INCRBYFLOAT g 1e17", "$18\r\n100000000000000003\r\n");
    expect(&f, "INCRBYFLOAT h -0.0", "$1\r\n0\r\n");
    expect(&f, "INCRBYFLOAT h 0x10", "$2\r\n16\r\n");
}

Test(cmd_string, what_is_no_finite_float_is_refused)
{
    expect(&f, "SET k abc", "+OK\r\n");
    expect(&f, "INCRBYFLOAT k 1", NOT_FLOAT);
    expect(&f, "SET k 1", "+OK\r\n");
    expect(&f, "INCRBYFLOAT k nan", NOT_FLOAT);
    expect(&f, "INCRBYFLOAT k \" 1\"", NOT_FLOAT);
    expect(&f, "INCRBYFLOAT k \"\"", NOT_FLOAT);
    expect(&f, "INCRBYFLOAT k 1e5000", NOT_FLOAT);
    expect(&f, "INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity\r\n");
    expect(&f, "INCRBYFLOAT k -inf", "-ERR increment would produce NaN or Infinity\r\n");
    expect(&f, "GET k", "$1\r\n1\r\n");
}

/* ---- parts of strings ---- */

Test(cmd_string, append_makes_raw_text_of_what_was_there)
{
    expect(&f, "APPEND n 12", ":2\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nint\r\n");
    expect(&f, "APPEND n 3", ":3\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nraw\r\n");
    expect(&f, "INCR n", ":124\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nint\r\n");
    expect(&f, "APPEND e \"\"", ":0\r\n");
    expect(&f, "EXISTS e", ":1\r\n");
}

Test(cmd_string, setrange_pads_with_zeros_and_creates_nothing_for_nothing)
{
    expect(&f, "SETRANGE n 5 \"\"", ":0\r\n");
    expect(&f, "SETRANGE n 536870912 \"\"", ":0\r\n");
    expect(&f, "EXISTS n", ":0\r\n");
    expect(&f, "SETRANGE n 3 abc", ":6\r\n");
    expect(&f, "GET n", "$6\r\n\0\0\0abc\r\n");
    expect(&f, "SETRANGE n 1 xy", ":6\r\n");
    expect(&f, "GET n", "$6\r\n\0xyabc\r\n");
    expect(&f, "SETRANGE n 7 z", ":8\r\n");
    expect(&f, "GET n", "$8\r\n\0xyabc\0z\r\n");
    expect(&f, "SETRANGE n 3 \"\"", ":8\r\n");
}

Test(cmd_string, setrange_refuses_offsets_below_zero_and_strings_over_the_limit)
{
    expect(&f, "SETRANGE n -1 \"\"", "-ERR offset is out of range\r\n");
    expect(&f, "SETRANGE n abc x", NOT_INT);
    expect(&f, "SETRANGE n 536870912 x", TOO_LONG);
    expect(&f, "SETRANGE n 536870911 xx", TOO_LONG);
    expect(&f, "SETRANGE n 9223372036854775807 xx", TOO_LONG);
    expect(&f, "EXISTS n", ":0\r\n");
    f.config->proto_max_bulk_bytes = 5;
    expect(&f, "SETRANGE n 3 xx", ":5\r\n");
    expect(&f, "APPEND n x", TOO_LONG);
    expect(&f, "APPEND n \"\"", ":5\r\n");
}

Test(cmd_string, getrange_takes_indices_from_both_ends)
{
    expect(&f, "SET s \"Hello World\"", "+OK\r\n");
    expect(&f, "GETRANGE s 0 4", "$5\r\nHello\r\n");
    expect(&f, "GETRANGE s -5 -1", "$5\r\nWorld\r\n");
    expect(&f, "GETRANGE s 5 2", "$0\r\n\r\n");
    expect(&f, "GETRANGE s -1 -5", "$0\r\n\r\n");
    expect(&f, "GETRANGE s -100 100", "$11\r\nHello World\r\n");
    expect(&f, "GETRANGE s -9223372036854775808 9223372036854775807", "$11\r\nHello World\r\n");
    expect(&f, "GETRANGE s -100 -50", "$1\r\nH\r\n");
    expect(&f, "GETRANGE s -100 -100", "$1\r\nH\r\n");
    expect(&f, "GETRANGE s -50 -100", "$0\r\n\r\n");
    expect(&f, "GETRANGE s 100 200", "$0\r\n\r\n");
    expect(&f, "SET n 12345", "+OK\r\n");
    expect(&f, "SUBSTR n 1 -2", "$3\r\n234\r\n");
    expect(&f, "GETRANGE none abc 1", NOT_INT);
    expect(&f, "GETRANGE none 0 1", "$0\r\n\r\n");
    expect(&f, "SET s \"\"", "+OK\r\n");
    expect(&f, "GETRANGE s 0 -1", "$0\r\n\r\n");
}

/* ---- what others see ---- */

Test(cmd_string, reads_count_hits_and_misses_and_writes_do_not)
{
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "INCR n", ":1\r\n");
    expect(&f, "SETNX n 1", ":0\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_hits), 0);
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_misses), 0);
    expect(&f, "MGET k none n", "*3\r\n$1\r\nv\r\n$-1\r\n$1\r\n1\r\n");
    expect(&f, "STRLEN none", ":0\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_hits), 2);
    cr_assert_eq(counter_read(&f.shard->counters.keyspace_misses), 2);
}

Test(cmd_string, databases_do_not_see_each_other)
{
    expect(&f, "SET k v", "+OK\r\n");
    f.db = 9;
    expect(&f, "GET k", "$-1\r\n");
    expect(&f, "INCR k", ":1\r\n");
    f.db = 0;
    expect(&f, "GET k", "$1\r\nv\r\n");
}
