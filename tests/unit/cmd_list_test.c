/* Replies that redis-server 7.0 gives too are compared with it by tests/compat; here is what they
 * leave behind, and what a differential run cannot reach. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"

static struct shard_fixture make(void)
{
    struct shard_fixture f = shard_fixture_make();
    shard_fixture_add_family(&f, &list_family);
    return f;
}

Test(cmd_list, values_come_out_where_they_were_put_in)
{
    struct shard_fixture f = make();
    expect(&f, "RPUSH l a b", ":2\r\n");
    expect(&f, "LPUSH l 1 2", ":4\r\n");
    expect(&f, "LRANGE l 0 -1", "*4\r\n$1\r\n2\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\nb\r\n");
    expect(&f, "LPOP l", "$1\r\n2\r\n");
    expect(&f, "RPOP l 2", "*2\r\n$1\r\nb\r\n$1\r\na\r\n");
    expect(&f, "LLEN l", ":1\r\n");
    expect(&f, "LPOP l 0", "*0\r\n");
    expect(&f, "LPUSHX none a", ":0\r\n");
    expect(&f, "RPUSHX l z", ":2\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, an_empty_list_is_no_key)
{
    struct shard_fixture f = make();
    static const char *const emptying[] = {
        "LPOP l",
        "RPOP l 5",
        "LREM l 0 a",
        "LTRIM l 5 2",
        "LMPOP 1 l LEFT COUNT 9",
        "RPOPLPUSH l other",
        "LMOVE l other LEFT LEFT",
    };
    for (size_t i = 0; i < ARRAY_LEN(emptying); i++) {
        expect(&f, "RPUSH l a", ":1\r\n");
        shard_fixture_run_line(&f, emptying[i]);
        expect(&f, "EXISTS l", ":0\r\n");
    }
    shard_fixture_free(&f);
}

Test(cmd_list, a_missing_list_is_null_or_empty)
{
    struct shard_fixture f = make();
    expect(&f, "LPOP l", "$-1\r\n");
    expect(&f, "LPOP l 1", "*-1\r\n");
    expect(&f, "LMPOP 2 l m LEFT", "*-1\r\n");
    expect(&f, "LINDEX l x", "$-1\r\n");
    expect(&f, "LRANGE l 0 -1", "*0\r\n");
    expect(&f, "LPOS l a", "$-1\r\n");
    expect(&f, "LPOS l a COUNT 1", "*0\r\n");
    expect(&f, "LSET l 0 a", "-ERR no such key\r\n");
    expect(&f, "LMOVE l m LEFT LEFT", "$-1\r\n");
    f.resp = 3;
    expect(&f, "LPOP l 1", "_\r\n");
    expect(&f, "LPOP l", "_\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, small_lists_are_listpacks_and_go_back_to_it)
{
    struct shard_fixture f = make();
    f.config->list_max_listpack_size = 4;
    expect(&f, "RPUSH l 1 2 3 4", ":4\r\n");
    expect(&f, "OBJECT ENCODING l", "$8\r\nlistpack\r\n");
    expect(&f, "RPUSH l 5", ":5\r\n");
    expect(&f, "OBJECT ENCODING l", "$9\r\nquicklist\r\n");
    expect(&f, "LTRIM l 0 2", "+OK\r\n");
    expect(&f, "OBJECT ENCODING l", "$9\r\nquicklist\r\n");
    expect(&f, "RPOP l", "$1\r\n3\r\n");
    expect(&f, "OBJECT ENCODING l", "$8\r\nlistpack\r\n");
    expect(&f, "LRANGE l 0 -1", "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, lpos_finds_by_rank_count_and_distance)
{
    struct shard_fixture f = make();
    expect(&f, "RPUSH l a b 1 a b 1 a", ":7\r\n");
    expect(&f, "LPOS l a", ":0\r\n");
    expect(&f, "LPOS l a RANK 2", ":3\r\n");
    expect(&f, "LPOS l a RANK -1", ":6\r\n");
    expect(&f, "LPOS l a RANK -9223372036854775808", ":6\r\n");
    expect(&f, "LPOS l 1 RANK -9223372036854775808 COUNT 1", "*2\r\n:5\r\n:2\r\n");
    expect(&f, "LPOS l 1 COUNT 2305843009213693953", "*2\r\n:2\r\n:5\r\n");
    expect(&f, "LPOS l 1 COUNT 0", "*2\r\n:2\r\n:5\r\n");
    expect(&f, "LPOS l 1 COUNT 0 RANK -1", "*2\r\n:5\r\n:2\r\n");
    expect(&f, "LPOS l 1 COUNT 0 MAXLEN 3", "*1\r\n:2\r\n");
    expect(&f, "LPOS l b MAXLEN 1", "$-1\r\n");
    expect(&f, "LPOS l a RANK 4", "$-1\r\n");
    expect(&f, "LPOS l a COUNT x", "-ERR COUNT can't be negative\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, lrem_removes_from_the_side_that_the_sign_names)
{
    struct shard_fixture f = make();
    expect(&f, "RPUSH l a 1 a 1 a", ":5\r\n");
    expect(&f, "LREM l -2 a", ":2\r\n");
    expect(&f, "LRANGE l 0 -1", "*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n1\r\n");
    expect(&f, "LREM l 1 1", ":1\r\n");
    expect(&f, "LREM l -9223372036854775808 1", ":1\r\n");
    expect(&f, "LREM l 0 1", ":0\r\n");
    expect(&f, "LRANGE l 0 -1", "*1\r\n$1\r\na\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, lmove_rotates_within_one_list)
{
    struct shard_fixture f = make();
    expect(&f, "RPUSH l a b c", ":3\r\n");
    expect(&f, "RPOPLPUSH l l", "$1\r\nc\r\n");
    expect(&f, "LRANGE l 0 -1", "*3\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nb\r\n");
    expect(&f, "LMOVE l l LEFT LEFT", "$1\r\nc\r\n");
    expect(&f, "LMOVE l l LEFT RIGHT", "$1\r\nc\r\n");
    expect(&f, "LRANGE l 0 -1", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    expect(&f, "SET s x", "+OK\r\n");
    expect(&f, "LMOVE l s LEFT RIGHT", WRONG_TYPE);
    expect(&f, "LLEN l", ":3\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, lmpop_takes_from_the_first_list_that_has_something)
{
    struct shard_fixture f = make();
    expect(&f, "RPUSH l a b c", ":3\r\n");
    expect(&f, "LMPOP 2 none l RIGHT COUNT 2", "*2\r\n$1\r\nl\r\n*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
    expect(&f, "LMPOP 0 l LEFT", "-ERR numkeys should be greater than 0\r\n");
    expect(&f, "LMPOP 2 l LEFT", SYNTAX);
    expect(&f, "LMPOP 9223372036854775807 l LEFT", SYNTAX);
    expect(&f, "LMPOP 1 l LEFT COUNT 0", "-ERR count should be greater than 0\r\n");
    expect(&f, "LMPOP 1 l LEFT COUNT 1 COUNT 1", SYNTAX);
    shard_fixture_free(&f);
}

Test(cmd_list, errors_come_in_the_order_of_redis)
{
    struct shard_fixture f = make();
    expect(&f, "SET s x", "+OK\r\n");
    expect(&f, "RPUSH l a", ":1\r\n");
    expect(&f, "LRANGE s x 1", NOT_INT);
    expect(&f, "LINDEX s x", WRONG_TYPE);
    expect(&f, "LSET l 1 b", "-ERR index out of range\r\n");
    expect(&f, "LSET l x b", NOT_INT);
    expect(&f, "LINSERT s middle a b", SYNTAX);
    expect(&f, "LPOP s -1", "-ERR value is out of range, must be positive\r\n");
    expect(&f, "LPOP l 1 1", "-ERR wrong number of arguments for 'lpop' command\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, copies_and_renames_keep_the_list)
{
    struct shard_fixture f = make();
    f.config->list_max_listpack_size = 4;
    expect(&f, "RPUSH l 1 2 3 4 5", ":5\r\n");
    expect(&f, "COPY l m", ":1\r\n");
    expect(&f, "RENAME l n", "+OK\r\n");
    expect(&f, "RPUSH n 6", ":6\r\n");
    expect(&f, "LLEN m", ":5\r\n");
    expect(&f, "TYPE m", "+list\r\n");
    expect(&f, "DEL m n", ":2\r\n");
    shard_fixture_free(&f);
}

Test(cmd_list, elements_of_a_size_that_is_asked_for_have_nodes_of_their_own)
{
    struct shard_fixture f = make();
    f.config->list_plain_bytes_min = 3;
    expect(&f, "RPUSH l a bcd", ":2\r\n");
    expect(&f, "OBJECT ENCODING l", "$9\r\nquicklist\r\n");
    expect(&f, "LPUSH l 4567 x", ":4\r\n");
    expect(&f, "LINSERT l BEFORE bcd efg", ":5\r\n");
    expect(&f, "LSET l 0 hij", "+OK\r\n");
    expect(&f, "LRANGE l 0 -1",
           "*5\r\n$3\r\nhij\r\n$4\r\n4567\r\n$1\r\na\r\n$3\r\nefg\r\n$3\r\nbcd\r\n");
    expect(&f, "LPOS l bcd", ":4\r\n");
    expect(&f, "LREM l 0 efg", ":1\r\n");
    expect(&f, "LSET l 0 y", "+OK\r\n");
    expect(&f, "LTRIM l 0 1", "+OK\r\n");
    expect(&f, "LRANGE l 0 -1", "*2\r\n$1\r\ny\r\n$4\r\n4567\r\n");
    f.config->list_plain_bytes_min = 0;
    expect(&f, "RPUSH m a bcd", ":2\r\n");
    expect(&f, "OBJECT ENCODING m", "$8\r\nlistpack\r\n");
    shard_fixture_free(&f);
}
