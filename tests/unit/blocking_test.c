/* BLPOP and its like over three shards, as connections see them. */
#include "server/blocking.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *other, *third;
static char there[2]; /* a list that does not live where "a" does */

static uint16_t shard_of(const char *key)
{
    uint64_t hash;
    return router_shard(&f.server->router, bytes_of(key), &hash);
}

static void start(void)
{
    f = server_fixture_make(3);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
    third = server_fixture_connect(&f, 2);
    for (char c = 'b'; c <= 'z'; c++) {
        there[0] = c;
        if (shard_of(there) != shard_of("a")) return;
    }
    cr_assert_fail("no key lives elsewhere");
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(blocking, .init = start, .fini = stop);

static const char *line(const char *before, const char *after)
{
    static char text[128];
    snprintf(text, sizeof text, "%s%s%s", before, there, after);
    return text;
}

static void send(struct session *from, const char *text)
{
    server_fixture_send(&f, from, text);
    server_fixture_settle(&f);
}

/* A push whose element is gone again when the move is tried. */
static void tantalise(void)
{
    server_fixture_send(&f, other, "RPUSH a x");
    server_fixture_send(&f, other, "LPOP a");
    server_fixture_settle(&f);
    expect_sent(&f, other, ":1\r\n$1\r\nx\r\n");
}

Test(blocking, a_move_to_another_shard_that_came_too_late_keeps_its_place)
{
    send(s, line("BLMOVE a ", " LEFT RIGHT 0"));
    send(third, "BLPOP a 0");
    for (int i = 0; i < 3; i++) tantalise();
    expect_sent(&f, s, "");
    expect_sent(&f, third, "");
    expect(&f, other, "RPUSH a y z", ":2\r\n");
    expect_sent(&f, s, "$1\r\ny\r\n");
    expect_sent(&f, third, "*2\r\n$1\r\na\r\n$1\r\nz\r\n");
    expect(&f, other, line("LRANGE ", " 0 -1"), "*1\r\n$1\r\ny\r\n");
}

Test(blocking, a_move_that_came_too_late_ends_with_its_time)
{
    send(s, line("BLMOVE a ", " LEFT RIGHT 0.5"));
    tantalise();
    expect_sent(&f, s, "");
    server_fixture_pass_ms(&f, 600);
    expect_sent(&f, s, "*-1\r\n");
    expect(&f, other, "RPUSH a y", ":1\r\n");
    expect(&f, s, "LLEN a", ":1\r\n");
}
