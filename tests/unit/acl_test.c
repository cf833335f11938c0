#include "server/acl.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "server/acl_check.h"
#include "server/acl_file.h"
#include "server/acl_rules.h"
#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *other, *far;

static void start(void)
{
    f = server_fixture_make(2);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 0);
    far = server_fixture_connect(&f, 1);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(acl, .init = start, .fini = stop);

#define NO_KEY                                                                                     \
    "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n"
#define NO_CHANNEL                                                                                 \
    "-NOPERM this user has no permissions to access one of the channels used as arguments\r\n"
#define WRONG_PASS "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

/* ---- users as text ---- */

/* Lines that ACL LIST of redis-server 7.0.15 has shown. */
static const char *const redis_lines[] = {
    "user default on nopass ~* &* +@all",
    "user t off resetchannels -@all",
    "user t off sanitize-payload resetchannels -@all",
    "user u on #30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4 ~a* %R~b* %W~c* "
    "~d* resetchannels &ch* -@all +@read +config|get (~x* resetchannels &y -@all +mget)",
    "user a off nopass sanitize-payload ~* &* +@all -@read",
    "user a off nopass skip-sanitize-payload ~x ~y %W~z %R~ &* -@all +get|a +set|b",
    "user a off sanitize-payload resetchannels -@all (~* resetchannels +@all) (~* &* -@all) "
    "(%R~a &* -@all)",
    "user a on nopass ~* &* -@all +client -client|kill +select|0",
    "user a on nopass ~* &* +@all -@dangerous +config|set +config|resetstat +config|rewrite",
};

Test(acl, what_redis_lists_reads_back_as_the_same_text)
{
    struct acl *a = &f.server->acl;
    struct buf error = {.mem = &f.server->mem}, text = {.mem = &f.server->mem};
    for (unsigned i = 0; i < ARRAY_LEN(redis_lines); i++) {
        struct bytes line = bytes_of(redis_lines[i]);
        const char *name = line.data + strlen("user "), *end = strchr(name, ' ');
        cr_assert(acl_read_text(a, "users", line, &error), "%s: %.*s", line.data, (int)error.size,
                  error.data);
        struct acl_set *set = acl_take(a);
        text.size = 0;
        cr_assert(acl_describe(acl_set_find(set, bytes_make(name, (size_t)(end - name))), &text));
        cr_expect(bytes_equal(buf_view(&text), line), "%s became %.*s", line.data, (int)text.size,
                  text.data);
        acl_set_unref(a, set);
    }
    buf_clear(&error);
    buf_clear(&text);
}

static struct buf saved(struct acl *a)
{
    struct buf text = {.mem = &f.server->mem};
    struct acl_set *set = acl_take(a);
    cr_assert(acl_write_text(set, &text));
    acl_set_unref(a, set);
    return text;
}

Test(acl, quotes_and_parentheses_in_patterns_survive_a_file)
{
    struct acl *a = &f.server->acl;
    struct buf error = {.mem = &f.server->mem};
    expect(&f, s,
           "ACL SETUSER t '~a\"b' &c) +get|d) "
           "\"(\\\"~e)\\\" %R~\\\"f\\\\\\\"g\\\" '&h)' \\\"~i'\\\" +get|j))\"",
           "+OK\r\n");
    struct buf before = saved(a);
    cr_expect(memmem(before.data, before.size, "(\"~e)\" ", 7), "%.*s", (int)before.size,
              before.data);
    cr_assert(acl_read_text(a, "users", buf_view(&before), &error));
    struct buf after = saved(a);
    cr_expect(bytes_equal(buf_view(&after), buf_view(&before)), "%.*s", (int)after.size,
              after.data);
    buf_clear(&before);
    buf_clear(&after);
    buf_clear(&error);
}

Test(acl, a_first_argument_has_no_white_space_as_it_would_end_the_line_in_a_file)
{
    static const char *const blanks[] = {" ", "\\t", "\\r", "\\n", "\\x00", "\\x0b"};
    for (unsigned i = 0; i < ARRAY_LEN(blanks); i++) {
        char line[64], error[128];
        snprintf(line, sizeof line, "ACL SETUSER t \"+get|a%s\"", blanks[i]);
        server_fixture_send(&f, s, line);
        server_fixture_settle(&f);
        struct bytes text = server_fixture_take(&f, s);
        snprintf(error, sizeof error, "%.*s", (int)text.size, text.data);
        cr_expect(strstr(error, "': Syntax error"), "%s: %s", line, error);
    }
    expect(&f, s, "ACL USERS", "*1\r\n$7\r\ndefault\r\n");
}

Test(acl, a_text_with_errors_changes_nothing_and_names_them_all)
{
    struct acl *a = &f.server->acl;
    struct buf error = {.mem = &f.server->mem};
    cr_assert_not(acl_read_text(a, "/u.acl",
                                BYTES_LITERAL("user x on +foo ~x %q\nuser x off\n\nfoo\n"
                                              "user y (+get\nuser z ~* ~a #12"),
                                &error));
    buf_append(&error, "", 1);
    cr_assert_str_eq(
        error.data,
        "/u.acl:1: Error in applying operation '+foo': Unknown command or category name in ACL. "
        "/u.acl:1: Syntax error. WARNING: Duplicate user 'x' found on line 2. /u.acl:4 should "
        "start with user keyword followed by the username. /u.acl:5: Unmatched parenthesis in "
        "selector definition. /u.acl:6: Adding a pattern after the * pattern (or the 'allkeys' "
        "flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty "
        "list of patterns. /u.acl:6: The password hash must be exactly 64 characters and contain "
        "only lowercase hexadecimal characters. WARNING: ACL errors detected, no change to the "
        "previously active ACL rules was performed");
    buf_clear(&error);
    expect(&f, s, "ACL USERS", "*1\r\n$7\r\ndefault\r\n");
}

Test(acl, a_rule_that_changes_nothing_is_not_shown_and_a_later_one_replaces_an_earlier)
{
    expect(&f, s,
           "ACL SETUSER t +get -get +@read +@read -set +config|get +config +select|1 +select",
           "+OK\r\n");
    expect(&f, s, "ACL LIST",
           "*2\r\n$34\r\nuser default on nopass ~* &* +@all\r\n"
           "$53\r\nuser t off resetchannels -@all +@read +config +select\r\n");
}

Test(acl, an_error_in_one_rule_changes_nothing)
{
    expect(&f, s, "ACL SETUSER t on nopass +get", "+OK\r\n");
    expect(&f, s, "ACL SETUSER t off ~a (+set) +nosuch",
           "-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in "
           "ACL\r\n");
    expect(&f, s, "ACL SETUSER new +nosuch",
           "-ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in "
           "ACL\r\n");
    expect(&f, s, "ACL LIST",
           "*2\r\n$34\r\nuser default on nopass ~* &* +@all\r\n"
           "$41\r\nuser t on nopass resetchannels -@all +get\r\n");
}

Test(acl, lists_have_an_end)
{
    struct acl *a = &f.server->acl;
    struct buf error = {.mem = &f.server->mem};
    struct buf rules = {.mem = &f.server->mem};
    size_t size = 9000 * 8;
    buf_reserve(&rules, size);
    struct bytes *words = mem_alloc(&f.server->mem, 9000 * sizeof *words);
    for (unsigned k = 0; k < 9000; k++) {
        char *at = rules.data + rules.size;
        buf_printf(&rules, "~k%u", k);
        words[k] = bytes_make(at, (size_t)(rules.data + rules.size - at));
    }
    cr_assert_not(acl_change_user(a, BYTES_LITERAL("u"), words, 9000, &error));
    cr_assert(strstr(error.data, "more than 8192"));
    mem_free(&f.server->mem, words, 9000 * sizeof *words);
    buf_clear(&rules);
    buf_clear(&error);
}

/* ---- passwords ---- */

Test(acl, a_user_logs_in_with_any_of_its_passwords_while_it_is_on)
{
    expect(&f, s, "ACL SETUSER t on >one >two +@all", "+OK\r\n");
    expect(&f, other, "AUTH t three", WRONG_PASS);
    expect(&f, other, "AUTH t one", "+OK\r\n");
    expect(&f, other, "AUTH t two", "+OK\r\n");
    expect(&f, other, "ACL WHOAMI", "$1\r\nt\r\n");
    expect(&f, s, "ACL SETUSER t <one", "+OK\r\n");
    expect(&f, far, "AUTH t one", WRONG_PASS);
    expect(&f, s, "ACL SETUSER t off", "+OK\r\n");
    expect(&f, far, "AUTH t two", WRONG_PASS);
    expect(&f, other, "ACL WHOAMI", "$1\r\nt\r\n"); /* who is in stays in */
}

Test(acl, requirepass_is_the_password_of_the_default_user)
{
    expect(&f, s, "CONFIG SET requirepass one", "+OK\r\n");
    expect(&f, s, "PING", "+PONG\r\n");
    expect(&f, s, "RESET", "+RESET\r\n");
    expect(&f, s, "PING", "-NOAUTH Authentication required.\r\n");
    expect(&f, s, "AUTH two", WRONG_PASS);
    expect(&f, s, "AUTH one", "+OK\r\n");
    expect(&f, s, "ACL SETUSER default >two", "+OK\r\n");
    struct session *late = server_fixture_connect(&f, 1);
    expect(&f, late, "PING", "-NOAUTH Authentication required.\r\n");
    expect(&f, late, "AUTH two", "+OK\r\n");
    expect(&f, s, "CONFIG SET requirepass ''", "+OK\r\n");
    struct session *last = server_fixture_connect(&f, 1);
    expect(&f, last, "PING", "+PONG\r\n");
}

Test(acl, passwords_may_have_zero_bytes)
{
    expect(&f, s, "CONFIG SET requirepass \"a\\x00b\"", "+OK\r\n");
    expect(&f, s, "CONFIG GET requirepass", "*2\r\n$11\r\nrequirepass\r\n$3\r\na\0b\r\n");
    expect(&f, s, "RESET", "+RESET\r\n");
    expect(&f, s, "AUTH a", WRONG_PASS);
    expect(&f, s, "AUTH \"a\\x00c\"", WRONG_PASS);
    expect(&f, s, "AUTH \"a\\x00b\"", "+OK\r\n");
    expect(&f, s, "ACL SETUSER t on \">c\\x00d\" +@all", "+OK\r\n");
    expect(&f, other, "AUTH t c", WRONG_PASS);
    expect(&f, other, "AUTH t \"c\\x00d\"", "+OK\r\n");
}

/* ---- permissions ---- */

/* What DEBUG can do is its own affair, so it is one command, and its rows are no subcommands. */
Test(acl, debug_may_be_allowed_by_any_first_argument)
{
    expect(&f, s, "CONFIG GET enable-debug-command",
           "*2\r\n$20\r\nenable-debug-command\r\n$2\r\nno\r\n");
    expect(&f, s, "ACL SETUSER t on nopass ~* +debug|object +debug|nosuch", "+OK\r\n");
    expect(&f, s, "ACL DRYRUN t DEBUG OBJECT a", "+OK\r\n");
    expect(&f, s, "ACL DRYRUN t DEBUG NOSUCH a", "+OK\r\n");
    expect(&f, s, "ACL SETUSER t -debug|object",
           "-ERR Error in ACL SETUSER modifier '-debug|object': Unknown command or category name "
           "in ACL\r\n");
    expect(&f, s, "ACL SETUSER t -debug +debug|a", "+OK\r\n");
    expect(&f, s, "ACL DRYRUN t DEBUG NOSUCH",
           "$55\r\nThis user has no permissions to run the 'debug' command\r\n");
}

Test(acl, commands_keys_and_channels_must_fit_one_selector)
{
    expect(&f, s, "ACL SETUSER t on nopass +get ~a (+set ~b &c +publish)", "+OK\r\n");
    expect(&f, other, "AUTH t x", "+OK\r\n");
    expect(&f, other, "GET a", "$-1\r\n");
    expect(&f, other, "SET b 1", "+OK\r\n");
    expect(&f, other, "GET b", NO_KEY);
    expect(&f, other, "SET a 1", NO_KEY);
    expect(&f, other, "PUBLISH c x", ":0\r\n");
    expect(&f, other, "PUBLISH d x", NO_CHANNEL);
    expect(&f, other, "DEL b", "-NOPERM this user has no permissions to run the 'del' command\r\n");
}

Test(acl, reading_and_writing_are_told_apart)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all %R~r* %W~w*", "+OK\r\n");
    expect(&f, other, "AUTH t x", "+OK\r\n");
    expect(&f, other, "SET w 1", "+OK\r\n");
    expect(&f, other, "SET w 1 GET", NO_KEY);
    expect(&f, other, "GET w", NO_KEY);
    expect(&f, other, "GET r", "$-1\r\n");
    expect(&f, other, "SET r 1", NO_KEY);
    expect(&f, other, "COPY r w", ":0\r\n");
    expect(&f, other, "COPY w r", NO_KEY);
    expect(&f, other, "EXISTS w r", ":1\r\n");
    expect(&f, other, "EXISTS z", NO_KEY);
    expect(&f, other, "BITFIELD r GET u8 0", "*1\r\n:0\r\n");
    expect(&f, other, "BITFIELD r SET u8 0 1", NO_KEY);
}

Test(acl, a_change_holds_for_every_connection_at_once)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all ~*", "+OK\r\n");
    expect(&f, other, "AUTH t x", "+OK\r\n");
    expect(&f, far, "AUTH t x", "+OK\r\n");
    expect(&f, far, "SET a 1", "+OK\r\n");
    expect(&f, other, "ACL SETUSER t -set", "+OK\r\n");
    expect(&f, other, "SET a 1",
           "-NOPERM this user has no permissions to run the 'set' command\r\n");
    expect(&f, far, "SET a 1", "-NOPERM this user has no permissions to run the 'set' command\r\n");
}

Test(acl, queued_commands_are_checked_again_when_they_run)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all ~* &*", "+OK\r\n");
    expect(&f, other, "AUTH t x", "+OK\r\n");
    expect(&f, other, "MULTI", "+OK\r\n");
    expect(&f, other, "SET a 1", "+QUEUED\r\n");
    expect(&f, other, "SET b 1", "+QUEUED\r\n");
    expect(&f, other, "PUBLISH c 1", "+QUEUED\r\n");
    expect(&f, s, "ACL SETUSER t resetkeys resetchannels ~b", "+OK\r\n");
    expect(&f, other, "EXEC",
           "*3\r\n-NOPERM ACLs rules changed between the moment the transaction was accumulated "
           "and the EXEC call. This command is no longer allowed for the following reason: no "
           "permission to touch the specified keys\r\n+OK\r\n-NOPERM ACLs rules changed between "
           "the moment the transaction was accumulated and the EXEC call. This command is no "
           "longer allowed for the following reason: no permission to access one of the channels "
           "used as arguments\r\n");
    expect(&f, s, "EXISTS a b", ":1\r\n");
    expect(&f, other, "MULTI", "+OK\r\n");
    expect(&f, other, "GET a", NO_KEY);
    expect(&f, other, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

Test(acl, scripts_are_checked_with_the_user_who_runs_them)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all -ping ~a*", "+OK\r\n");
    expect(&f, far, "AUTH t x", "+OK\r\n");
    /* First under a holding, then in place on a shard. */
    for (int i = 0; i < 40; i++) {
        expect(&f, far, "EVAL \"return redis.pcall('get','z')\" 0",
               "-ERR The user executing the script can't access at least one of the keys "
               "mentioned in the command arguments\r\n");
        expect(&f, far, "EVAL \"return redis.call('set',KEYS[1],1)\" 1 a1", "+OK\r\n");
    }
    expect(&f, far, "EVAL \"return redis.pcall('ping')\" 0",
           "-ERR The user executing the script can't run this command or subcommand\r\n");
    expect(&f, far, "EVAL \"return redis.acl_check_cmd('get','z')\" 0", "$-1\r\n");
    expect(&f, far, "EVAL \"return redis.acl_check_cmd('get','a')\" 0", ":1\r\n");
    expect(&f, s, "EVAL \"return redis.acl_check_cmd('get','z')\" 0", ":1\r\n");
    expect(&f, far, "MULTI", "+OK\r\n");
    expect(&f, far, "EVAL \"return redis.pcall('get','z')\" 0", "+QUEUED\r\n");
    expect(&f, far, "EXEC",
           "*1\r\n-ERR The user executing the script can't access at least one of the keys "
           "mentioned in the command arguments\r\n");
}

/* ---- connections ---- */

Test(acl, waiting_for_a_key_that_is_out_of_reach_ends)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all ~*", "+OK\r\n");
    expect(&f, far, "AUTH t x", "+OK\r\n");
    expect(&f, far, "BLPOP a 0", "");
    expect(&f, s, "ACL SETUSER t resetkeys ~a", "+OK\r\n");
    expect_sent(&f, far, "");
    expect(&f, s, "ACL SETUSER t resetkeys", "+OK\r\n");
    expect_sent(&f, far, NO_KEY);
    expect(&f, s, "LPUSH a 1", ":1\r\n");
    expect(&f, far, "PING", "+PONG\r\n");
}

/* ---- the log ---- */

static void send(struct session *to, const char *line)
{
    server_fixture_send(&f, to, line);
    server_fixture_settle(&f);
}

static bool says(const char *words)
{
    struct bytes text = server_fixture_take(&f, s);
    return memmem(text.data, text.size, words, strlen(words)) != NULL;
}

Test(acl, the_log_joins_what_is_alike_within_a_minute)
{
    expect(&f, s, "ACL SETUSER t on nopass +@all ~a", "+OK\r\n");
    expect(&f, far, "AUTH t x", "+OK\r\n");
    expect(&f, far, "GET z", NO_KEY);
    expect(&f, far, "GET z", NO_KEY);
    send(s, "ACL LOG");
    cr_assert(
        says("*1\r\n*20\r\n$5\r\ncount\r\n:2\r\n$6\r\nreason\r\n$3\r\nkey\r\n$7\r\ncontext\r\n"
             "$8\r\ntoplevel\r\n$6\r\nobject\r\n$1\r\nz\r\n$8\r\nusername\r\n$1\r\nt\r\n"));
    server_fixture_pass_ms(&f, 61000);
    expect(&f, far, "GET z", NO_KEY);
    expect(&f, far, "AUTH nobody x", WRONG_PASS);
    expect(&f, far, "EVAL \"redis.pcall('get','q')\" 0", "$-1\r\n");
    send(s, "ACL LOG");
    cr_assert(
        says("*4\r\n*20\r\n$5\r\ncount\r\n:1\r\n$6\r\nreason\r\n$3\r\nkey\r\n$7\r\ncontext\r\n"
             "$3\r\nlua\r\n$6\r\nobject\r\n$1\r\nq\r\n"));
    send(s, "INFO stats");
    cr_assert(says("acl_access_denied_auth:1\r\nacl_access_denied_cmd:0\r\n"
                   "acl_access_denied_key:4\r\nacl_access_denied_channel:0\r\n"));
    expect(&f, s, "ACL LOG RESET", "+OK\r\n");
    expect(&f, s, "ACL LOG", "*0\r\n");
}

Test(acl, the_log_keeps_as_much_as_it_should)
{
    expect(&f, s, "CONFIG SET acllog-max-len 2", "+OK\r\n");
    expect(&f, far, "AUTH a x", WRONG_PASS);
    expect(&f, far, "AUTH b x", WRONG_PASS);
    expect(&f, far, "AUTH c x", WRONG_PASS);
    send(s, "ACL LOG");
    cr_assert(says("*2\r\n"));
    send(s, "ACL LOG 1");
    cr_assert(says("*1\r\n"));
}
