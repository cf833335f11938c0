#include "server/monitor.h"

#include <criterion/criterion.h>

#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *near, *far;

static void start(void)
{
    f = server_fixture_make(2);
    s = server_fixture_connect(&f, 0);
    near = server_fixture_connect(&f, 0);
    far = server_fixture_connect(&f, 1);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(monitor, .init = start, .fini = stop);

/* The line without its time and address. */
static void expect_line(struct session *watcher, const char *words, int where)
{
    struct bytes line = server_fixture_take(&f, watcher);
    const char *bracket = line.size ? memchr(line.data, ']', line.size) : NULL;
    size_t at = bracket ? (size_t)(bracket + 2 - line.data) : 0;
    cr_expect(bytes_equal(bytes_make(line.data + at, line.size - at), bytes_of(words)),
              "line %d: got %.*s", where, (int)line.size, line.data);
    cr_expect(line.size == 0 || (line.data[0] == '+' && line.data[11] == '.'));
}
#define expect_line(watcher, words) expect_line((watcher), (words), __LINE__)

Test(monitor, commands_of_every_thread_are_shown_to_watchers_of_every_thread)
{
    expect(&f, near, "MONITOR", "+OK\r\n");
    expect(&f, far, "MONITOR", "+OK\r\n");
    expect(&f, s, "SET a 1", "+OK\r\n");
    expect_line(near, "\"SET\" \"a\" \"1\"\r\n");
    expect_line(far, "\"SET\" \"a\" \"1\"\r\n");
}

Test(monitor, bytes_that_cannot_be_printed_are_escaped_and_secrets_left_out)
{
    expect(&f, near, "MONITOR", "+OK\r\n");
    expect(&f, s, "GET \"a\\n\\x00\\\"\\\\\\xff\"", "$-1\r\n");
    expect_line(near, "\"GET\" \"a\\n\\x00\\\"\\\\\\xff\"\r\n");
    expect(&f, s, "AUTH me secret",
           "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    expect_line(near, "\"AUTH\" \"(redacted)\" \"(redacted)\"\r\n");
    server_fixture_send(&f, s, "HELLO 2 AUTH default secret SETNAME me");
    server_fixture_settle(&f);
    (void)server_fixture_take(&f, s);
    expect_line(near,
                "\"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\" \"SETNAME\" \"me\"\r\n");
}

Test(monitor, what_only_admins_run_or_nobody_runs_is_not_shown)
{
    expect(&f, near, "MONITOR", "+OK\r\n");
    expect(&f, s, "CONFIG RESETSTAT", "+OK\r\n");
    expect(&f, s, "GET", "-ERR wrong number of arguments for 'get' command\r\n");
    expect_line(near, "");
}

Test(monitor, a_second_monitor_is_silent_and_reset_ends_the_first)
{
    expect(&f, near, "MONITOR", "+OK\r\n");
    expect(&f, near, "MONITOR", "");
    expect(&f, near, "GET a", "-ERR Replica can't interact with the keyspace\r\n");
    cr_assert(server_has_monitors(f.server));
    expect(&f, near, "RESET", "+RESET\r\n");
    cr_assert_not(server_has_monitors(f.server));
    expect(&f, s, "SET a 1", "+OK\r\n");
    expect_sent(&f, near, "");
    expect(&f, near, "GET a", "$1\r\n1\r\n");
}
