/* COMMAND: what the rows say, in the bytes of redis-server 7.0.15. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "server/command_info.h"
#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s;

static void start(void)
{
    f = server_fixture_make(1);
    s = server_fixture_connect(&f, 0);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(cmd_command, .init = start, .fini = stop);

/* ---- INFO ---- */

#define GET_2                                                                                      \
    "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n+@read\r\n"     \
    "+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n"              \
    "$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$"              \
    "5\r\nindex\r\n"                                                                               \
    ":1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n"             \
    "$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n"

Test(cmd_command, info_of_a_known_and_an_unknown_command)
{
    expect(&f, s, "COMMAND INFO nosuch GET", "*2\r\n$-1\r\n" GET_2);
}

Test(cmd_command, info_uses_maps_and_sets_in_resp3)
{
    s->resp = 3;
    expect(&f, s, "COMMAND INFO get nosuch",
           "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n~3\r\n"
           "+@read\r\n+@string\r\n+@fast\r\n~0\r\n~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n"
           "+access\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n"
           "%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n"
           "$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n"
           "~0\r\n_\r\n");
}

Test(cmd_command, info_of_a_subcommand)
{
    expect(&f, s, "COMMAND INFO Client|LIST client|nosuch get|x",
           "*3\r\n*10\r\n$11\r\nclient|list\r\n:-2\r\n*4\r\n+admin\r\n+noscript\r\n+loading\r\n"
           "+stale\r\n:0\r\n:0\r\n:0\r\n*4\r\n+@admin\r\n+@slow\r\n+@dangerous\r\n+@connection\r\n"
           "*1\r\n$23\r\nnondeterministic_output\r\n*0\r\n*0\r\n$-1\r\n$-1\r\n");
}

Test(cmd_command, count_is_what_the_list_of_all_is_long)
{
    char head[32];
    unsigned count = 0;
    server_fixture_send(&f, s, "COMMAND COUNT");
    server_fixture_settle(&f);
    struct bytes reply = server_fixture_take(&f, s);
    cr_assert_eq(sscanf(reply.data, ":%u\r\n", &count), 1);
    cr_assert_eq(count, f.server->router.top_count);
    snprintf(head, sizeof head, "*%u\r\n*10\r\n", count);
    server_fixture_send(&f, s, "COMMAND");
    server_fixture_settle(&f);
    reply = server_fixture_take(&f, s);
    cr_assert_eq(memcmp(reply.data, head, strlen(head)), 0);
}

Test(cmd_command, too_many_names_are_refused)
{
    struct buf line = {.mem = &f.server->mem};
    buf_append_text(&line, "COMMAND DOCS");
    for (unsigned i = 0; i < 4097; i++) buf_append_text(&line, " get");
    buf_append(&line, "", 1);
    expect(&f, s, line.data, "-ERR at most 4096 command names can be asked for at once\r\n");
    buf_clear(&line);
}

/* ---- DOCS ---- */

Test(cmd_command, docs_leave_out_what_is_not_there)
{
    expect(&f, s, "COMMAND DOCS nosuch", "*0\r\n");
    expect(&f, s, "COMMAND DOCS nosuch client|ID",
           "*2\r\n$9\r\nclient|id\r\n*8\r\n$7\r\nsummary\r\n$30\r\nThe number of this "
           "connection.\r\n$5\r\nsince\r\n$5\r\n5.0.0\r\n$5\r\ngroup\r\n$10\r\nconnection\r\n"
           "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n");
    s->resp = 3;
    expect(&f, s, "COMMAND DOCS nosuch", "%0\r\n");
}

Test(cmd_command, docs_say_what_is_deprecated_and_what_is_for_developers)
{
    static const char old[] = "$4\r\nO(1)\r\n$9\r\ndoc_flags\r\n~1\r\n+deprecated\r\n"
                              "$16\r\ndeprecated_since\r\n$5\r\n6.2.0\r\n"
                              "$11\r\nreplaced_by\r\n$30\r\n`SET` with the `!GET` argument\r\n";
    static const char odd[] = "$9\r\ndoc_flags\r\n~1\r\n+syscmd\r\n$11\r\nsubcommands\r\n";
    s->resp = 3;
    server_fixture_send(&f, s, "COMMAND DOCS getset debug");
    server_fixture_settle(&f);
    struct bytes reply = server_fixture_take(&f, s);
    cr_assert_not_null(memmem(reply.data, reply.size, old, strlen(old)));
    cr_assert_not_null(memmem(reply.data, reply.size, odd, strlen(odd)));
    cr_assert_not_null(memmem(reply.data, reply.size, "getset\r\n%7\r\n", 12));
}

Test(cmd_command, docs_of_a_container_name_its_subcommands)
{
    static const char list[] = "$11\r\nsubcommands\r\n*10\r\n";
    static const char entry[] = "$15\r\nobject|encoding\r\n*8\r\n";
    server_fixture_send(&f, s, "COMMAND DOCS object");
    server_fixture_settle(&f);
    struct bytes reply = server_fixture_take(&f, s);
    cr_assert_not_null(memmem(reply.data, reply.size, list, strlen(list)));
    cr_assert_not_null(memmem(reply.data, reply.size, entry, strlen(entry)));
}

/* ---- LIST ---- */

Test(cmd_command, list_filters_by_pattern_and_category)
{
    expect(&f, s, "COMMAND LIST FILTERBY PATTERN GE?", "*1\r\n$3\r\nget\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY pattern wait*", "*2\r\n$4\r\nwait\r\n$7\r\nwaitaof\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY PATTERN client|no*",
           "*2\r\n$15\r\nclient|no-evict\r\n$15\r\nclient|no-touch\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY ACLCAT nosuch", "*0\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY ACLCAT @keyspace", "*0\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY MODULE json", "*0\r\n");
}

Test(cmd_command, list_refuses_other_filters)
{
    expect(&f, s, "COMMAND LIST x", "-ERR syntax error\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY x", "-ERR syntax error\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY x y", "-ERR syntax error\r\n");
    expect(&f, s, "COMMAND LIST FILTERBY PATTERN a b", "-ERR syntax error\r\n");
}

/* ---- GETKEYS ---- */

Test(cmd_command, getkeys_finds_the_keys_of_a_call)
{
    expect(&f, s, "COMMAND GETKEYS get a", "*1\r\n$1\r\na\r\n");
    expect(&f, s, "COMMAND GETKEYS mset a b c d", "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    expect(&f, s, "COMMAND GETKEYS mset a b c", "*2\r\n$1\r\na\r\n$1\r\nc\r\n");
    expect(&f, s, "COMMAND GETKEYS rename a b", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    expect(&f, s, "COMMAND GETKEYS object encoding x", "*1\r\n$1\r\nx\r\n");
}

Test(cmd_command, getkeys_says_why_there_are_none)
{
    expect(&f, s, "COMMAND GETKEYS nosuch a", "-ERR Invalid command specified\r\n");
    expect(&f, s, "COMMAND GETKEYS client nosuch", "-ERR Invalid command specified\r\n");
    expect(&f, s, "COMMAND GETKEYS config|get x", "-ERR Invalid command specified\r\n");
    expect(&f, s, "COMMAND GETKEYS ping a", "-ERR The command has no key arguments\r\n");
    expect(&f, s, "COMMAND GETKEYS object help", "-ERR The command has no key arguments\r\n");
    expect(&f, s, "COMMAND GETKEYS get a b",
           "-ERR Invalid number of arguments specified for command\r\n");
    expect(&f, s, "COMMAND GETKEYS mset",
           "-ERR wrong number of arguments for 'command|getkeys' command\r\n");
}

Test(cmd_command, flags_of_the_key_of_set_depend_on_its_options)
{
    expect(&f, s, "COMMAND GETKEYSANDFLAGS set a b",
           "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n");
    expect(&f, s, "COMMAND GETKEYSANDFLAGS set a b get",
           "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n");
    s->resp = 3;
    expect(&f, s, "COMMAND GETKEYSANDFLAGS get a",
           "*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n");
}

/* ---- what follows from a row ---- */

static void expect_range(struct command c, int first, int last, int step)
{
    struct command_range range = command_range_of(&c);
    cr_expect(range.first == first && range.last == last && range.step == step, "%d %d %d",
              range.first, range.last, range.step);
}

/* The numbers of redis-server for commands with such specifications. */
Test(cmd_command, range_of_keys_follows_from_the_specifications)
{
    struct key_spec one = {.flags = KEY_RW, .begin = 1, .step = 1};
    struct key_spec two = {.flags = KEY_OW, .begin = 2, .step = 1};
    struct key_spec pairs = {.flags = KEY_OW, .begin = 1, .last = -1, .step = 2};
    struct key_spec rest = {.flags = KEY_RO, .begin = 3, .last = -1, .step = 1};
    struct key_spec but_last = {.flags = KEY_RW, .begin = 1, .last = -2, .step = 1};
    struct key_spec counted = {.flags = KEY_RO, .begin = 2, .first = 1, .step = 1};
    struct key_spec option = {.flags = KEY_OW, .begin = 2, .keyword = "STORE", .step = 1};
    expect_range((struct command){.keys = KEYS_NONE}, 0, 0, 0);
    expect_range((struct command){.keys = {one}}, 1, 1, 1);      /* GET */
    expect_range((struct command){.keys = {one, two}}, 1, 2, 1); /* RENAME */
    expect_range((struct command){.keys = {pairs}}, 1, -1, 2);   /* MSET */
    expect_range((struct command){.keys = {pairs, two}}, 1, -1, 1);
    expect_range((struct command){.keys = {two, rest}}, 2, -1, 1);   /* BITOP */
    expect_range((struct command){.keys = {but_last}}, 1, -2, 1);    /* BLPOP */
    expect_range((struct command){.keys = {one, counted}}, 1, 1, 1); /* ZUNIONSTORE */
    expect_range((struct command){.keys = {counted}}, 0, 0, 0);      /* EVAL */
    expect_range((struct command){.keys = {one, option}}, 1, 1, 1);  /* SORT */
}

Test(cmd_command, categories_follow_from_flags)
{
    cr_expect_eq(command_acl(&(struct command){.flags = CMD_READ | CMD_FAST, .acl = ACL_STRING}),
                 (uint32_t)(ACL_READ | ACL_STRING | ACL_FAST));
    cr_expect_eq(command_acl(&(struct command){.flags = CMD_ADMIN}),
                 (uint32_t)(ACL_ADMIN | ACL_DANGEROUS | ACL_SLOW));
    cr_expect_eq(command_acl(&(struct command){.flags = CMD_READ, .acl = ACL_SCRIPTING}),
                 (uint32_t)(ACL_SCRIPTING | ACL_SLOW));
    cr_expect_eq(command_acl(&(struct command){.flags = CMD_WRITE | CMD_BLOCKING}),
                 (uint32_t)(ACL_WRITE | ACL_BLOCKING | ACL_SLOW));
}
