/* CLIENT and WAIT on a server without sockets: replies as redis-server 7.0.15 gives them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/clients.h"
#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *other, *third;

static void start(void)
{
    f = server_fixture_make(2);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
    third = server_fixture_connect(&f, 0);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(cmd_client, .init = start, .fini = stop);

static struct bytes run(struct session *from, const char *line)
{
    server_fixture_send(&f, from, line);
    server_fixture_settle(&f);
    return server_fixture_take(&f, from);
}

static bool has(struct bytes text, const char *part)
{
    return memmem(text.data, text.size, part, strlen(part)) != NULL;
}

/* ---- one's own connection ---- */

Test(cmd_client, ids_name_the_net_thread)
{
    expect(&f, s, "CLIENT ID", ":1\r\n");
    expect(&f, other, "CLIENT ID", ":2\r\n");
    expect(&f, third, "CLIENT ID", ":3\r\n");
}

Test(cmd_client, a_name_can_be_given_and_taken_away)
{
    expect(&f, s, "CLIENT GETNAME", "$-1\r\n");
    expect(&f, s, "CLIENT SETNAME abc", "+OK\r\n");
    expect(&f, s, "CLIENT GETNAME", "$3\r\nabc\r\n");
    expect(&f, other, "CLIENT GETNAME", "$-1\r\n");
    expect(&f, s, "CLIENT SETNAME \"\"", "+OK\r\n");
    expect(&f, s, "CLIENT GETNAME", "$-1\r\n");
}

Test(cmd_client, names_are_printable_and_not_too_long)
{
    char line[600];
    expect(&f, s, "CLIENT SETNAME \"a b\"",
           "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    snprintf(line, sizeof line, "CLIENT SETNAME %0513d", 0);
    expect(&f, s, line,
           "-ERR names of clients and their libraries cannot be longer than 512 bytes\r\n");
    expect(&f, s, "CLIENT GETNAME", "$-1\r\n");
}

Test(cmd_client, setinfo_takes_name_and_version_of_a_library)
{
    expect(&f, s, "CLIENT SETINFO LIB-NAME lib", "+OK\r\n");
    expect(&f, s, "CLIENT SETINFO lib-ver 1.2.3", "+OK\r\n");
    expect(&f, s, "CLIENT SETINFO lib-ver \"1 2\"",
           "-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n");
    expect(&f, s, "CLIENT SETINFO other 1", "-ERR Unrecognized option 'other'\r\n");
    cr_assert(has(run(s, "CLIENT INFO"), " lib-name=lib lib-ver=1.2.3\n\r\n"));
}

Test(cmd_client, info_is_one_line_with_every_field_in_its_place)
{
    static const char *const fields[] = {
        "id=3 addr=",
        " laddr=",
        " fd=",
        " name=nm age=7 idle=0 flags=eT db=4 ",
        "sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=",
        " multi-mem=0 rbs=0 rbp=0 obl=0 oll=",
        " omem=",
        " tot-mem=",
        " events=r cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver=\n\r\n"};
    run(third, "CLIENT SETNAME nm");
    run(third, "CLIENT NO-EVICT on");
    run(third, "CLIENT NO-TOUCH on");
    run(third, "SELECT 4");
    server_fixture_pass_ms(&f, 7999);
    struct bytes rest = run(third, "CLIENT INFO");
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        const char *found = memmem(rest.data, rest.size, fields[i], strlen(fields[i]));
        cr_assert_not_null(found, "no '%s' in %.*s", fields[i], (int)rest.size, rest.data);
        const char *end = found + strlen(fields[i]);
        rest = bytes_make(end, rest.size - (size_t)(end - rest.data));
    }
    cr_assert_eq(rest.size, 0u);
}

static unsigned long long total_memory(struct session *of)
{
    struct bytes line = run(of, "CLIENT INFO");
    const char *at = memmem(line.data, line.size, " tot-mem=", 9);
    cr_assert_not_null(at);
    return strtoull(at + 9, NULL, 10);
}

Test(cmd_client, subscriptions_and_tracked_prefixes_are_memory_of_their_client)
{
    char line[100];
    run(third, "HELLO 3");
    run(third, "SUBSCRIBE first");
    run(third, "UNSUBSCRIBE first");
    unsigned long long before = total_memory(third);
    run(third, "SUBSCRIBE channel");
    unsigned long long subscribed = total_memory(third);
    cr_assert_geq(subscribed, before + 100);
    run(third, "UNSUBSCRIBE channel");
    cr_assert_eq(total_memory(third), before);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(line, sizeof line, "CLIENT TRACKING on PREFIX %012u BCAST", i);
        run(third, line);
    }
    cr_assert_geq(total_memory(third), before + 20 * 100);
    run(third, "CLIENT TRACKING off");
    cr_assert_eq(total_memory(third), before);
}

Test(cmd_client, reply_off_and_skip_silence_what_they_should)
{
    expect(&f, s, "CLIENT REPLY OFF", "");
    expect(&f, s, "PING", "");
    expect(&f, s, "CLIENT REPLY SKIP", "");
    expect(&f, s, "CLIENT LIST", "");
    expect(&f, s, "CLIENT REPLY ON", "+OK\r\n");
    expect(&f, s, "CLIENT REPLY SKIP", "");
    expect(&f, s, "PING", "");
    expect(&f, s, "PING", "+PONG\r\n");
    expect(&f, s, "CLIENT REPLY SKIP", "");
    expect(&f, s, "CLIENT REPLY SKIP", "");
    expect(&f, s, "CLIENT LIST", "");
    expect(&f, s, "ECHO 3", "$1\r\n3\r\n");
    expect(&f, s, "CLIENT REPLY maybe", "-ERR syntax error\r\n");
}

/* ---- LIST ---- */

static void expect_ids(const char *line, const char *want)
{
    char got[200] = "";
    struct bytes reply = run(s, line);
    for (size_t i = 0; i + 3 < reply.size; i++) {
        bool is_line = memcmp(reply.data + i, "id=", 3) == 0 && reply.data[i - 1] == '\n';
        if (is_line) snprintf(got + strlen(got), 20, "%d ", atoi(reply.data + i + 3));
    }
    cr_expect_str_eq(got, want, "%s", line);
}

Test(cmd_client, list_has_the_connections_of_all_threads_oldest_first)
{
    expect_ids("CLIENT LIST", "1 2 3 ");
    expect_ids("CLIENT LIST TYPE normal", "1 2 3 ");
    expect(&f, s, "CLIENT LIST TYPE replica", "$0\r\n\r\n");
    s->resp = 3;
    expect(&f, s, "CLIENT LIST TYPE pubsub", "=4\r\ntxt:\r\n");
}

Test(cmd_client, list_by_id_answers_in_the_order_that_was_asked_for)
{
    expect_ids("CLIENT LIST ID 3 1 99 3 -1 0", "3 1 3 ");
    expect(&f, s, "CLIENT LIST ID 9 x", "-ERR Invalid client ID\r\n");
    expect(&f, s, "CLIENT LIST ID", "-ERR syntax error\r\n");
}

/* More than a slice holds, so that the walk takes several steps. */
Test(cmd_client, list_of_a_crowd_is_complete)
{
    char number[32];
    for (unsigned i = 0; i < 5 * CLIENTS_PER_SLICE; i++) server_fixture_connect(&f, i % 2);
    struct bytes reply = run(other, "CLIENT LIST");
    unsigned lines = 0;
    for (size_t i = 0; i < reply.size; i++) lines += reply.data[i] == '\n';
    cr_assert_eq(lines, 2 + 3 + 5 * CLIENTS_PER_SLICE);
    snprintf(number, sizeof number, "\nid=%d ", 3 + 5 * CLIENTS_PER_SLICE - 1);
    cr_assert(has(reply, number));
}

Test(cmd_client, what_comes_after_a_list_waits_for_it)
{
    server_fixture_send(&f, s, "CLIENT LIST ID 99\r\nPING");
    server_fixture_settle(&f);
    expect_sent(&f, s, "$0\r\n\r\n+PONG\r\n");
}

/* ---- KILL ---- */

Test(cmd_client, kill_refuses_what_makes_no_sense)
{
    expect(&f, s, "CLIENT KILL foo", "-ERR No such client\r\n");
    expect(&f, s, "CLIENT KILL ID 0", "-ERR client-id should be greater than 0\r\n");
    expect(&f, s, "CLIENT KILL TYPE foo", "-ERR Unknown client type 'foo'\r\n");
    expect(&f, s, "CLIENT KILL USER nobody", "-ERR No such user 'nobody'\r\n");
    expect(&f, s, "CLIENT KILL ID 9 FOO", "-ERR syntax error\r\n");
    expect(&f, s, "CLIENT KILL SKIPME maybe", "-ERR syntax error\r\n");
    expect(&f, s, "CLIENT KILL MAXAGE x", "-ERR maxage is not an integer or out of range\r\n");
}

Test(cmd_client, kill_of_oneself_answers_first)
{
    expect(&f, s, "CLIENT KILL ID 1", ":0\r\n"); /* SKIPME is the default */
    expect(&f, s, "CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    cr_assert(s->conn.close_after_reply);
    cr_assert(!other->conn.is_closing && !third->conn.is_closing);
}

Test(cmd_client, every_filter_must_fit)
{
    server_fixture_pass_ms(&f, 5000);
    expect(&f, s, "CLIENT KILL SKIPME no MAXAGE 6", ":0\r\n");
    expect(&f, s, "CLIENT KILL SKIPME no MAXAGE 5 ID 99", ":0\r\n");
    expect(&f, s, "CLIENT KILL SKIPME no MAXAGE 5 ID 1 TYPE master", ":0\r\n");
    expect(&f, s, "CLIENT KILL SKIPME no MAXAGE 5 ID 1 TYPE normal USER default", ":1\r\n");
}

/* ---- PAUSE ---- */

Test(cmd_client, pause_holds_everybody_until_it_ends)
{
    expect(&f, s, "CLIENT PAUSE 100", "+OK\r\n");
    expect(&f, other, "PING", "");
    expect(&f, third, "CLIENT UNPAUSE", "");
    server_fixture_pass_ms(&f, 98);
    expect_sent(&f, other, "");
    server_fixture_pass_ms(&f, 3);
    expect_sent(&f, other, "+PONG\r\n");
    expect_sent(&f, third, "+OK\r\n");
}

Test(cmd_client, a_pause_of_writes_lets_the_rest_pass)
{
    expect(&f, s, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    expect(&f, other, "SET a b", "");
    expect(&f, third, "PING", "+PONG\r\n");
    struct bytes list = run(third, "CLIENT LIST ID 2");
    cr_assert(has(list, " flags=b ") && has(list, " cmd=set "));
}

static uint64_t blocked_clients(void)
{
    uint64_t sum = 0;
    for (uint16_t i = 0; i < 2; i++) sum += counter_read(&f.server->workers[i].blocked_clients);
    return sum;
}

Test(cmd_client, who_is_held_by_a_pause_counts_as_blocked)
{
    expect(&f, s, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    cr_assert_eq(blocked_clients(), 0u);
    expect(&f, other, "SET a b", "");
    expect(&f, s, "SET a c", "");
    cr_assert_eq(blocked_clients(), 2u);
    session_on_close(&other->conn);
    cr_assert_eq(blocked_clients(), 1u);
    expect(&f, third, "CLIENT UNPAUSE", "+OK\r\n");
    cr_assert_eq(blocked_clients(), 0u);
    expect_sent(&f, s, "+OK\r\n");
    expect(&f, third, "CLIENT PAUSE 50 WRITE", "+OK\r\n");
    expect(&f, s, "SET a d", "");
    cr_assert_eq(blocked_clients(), 1u);
    server_fixture_pass_ms(&f, 100);
    cr_assert_eq(blocked_clients(), 0u);
}

Test(cmd_client, a_script_that_promises_not_to_write_passes_a_pause_of_writes)
{
    expect(&f, s, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    expect(&f, third, "EVAL \"#!lua flags=no-writes\\nreturn 1\" 0", ":1\r\n");
    expect(&f, third, "MULTI", "+OK\r\n");
    expect(&f, third, "EVAL \"#!lua flags=no-writes\\nreturn 2\" 0", "+QUEUED\r\n");
    expect(&f, third, "EXEC", "*1\r\n:2\r\n");
    expect(&f, other, "EVAL \"return 1\" 0", "");
    expect(&f, s, "CLIENT UNPAUSE", "+OK\r\n");
    expect_sent(&f, other, ":1\r\n");
}

Test(cmd_client, unpause_ends_a_pause_on_every_thread)
{
    expect(&f, s, "CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    for (uint16_t i = 0; i < 2; i++) cr_assert_eq(f.server->workers[i].pause_mode, PAUSE_WRITES);
    expect(&f, other, "CLIENT UNPAUSE", "+OK\r\n");
    for (uint16_t i = 0; i < 2; i++) cr_assert_eq(f.server->workers[i].pause_mode, PAUSE_NONE);
}

Test(cmd_client, the_longer_and_the_stricter_of_two_pauses_hold)
{
    expect(&f, s, "CLIENT PAUSE 700 WRITE", "+OK\r\n");
    expect(&f, s, "CLIENT PAUSE 100 ALL", "+OK\r\n");
    expect(&f, other, "PING", "");
    server_fixture_pass_ms(&f, 690);
    expect_sent(&f, other, "");
    server_fixture_pass_ms(&f, 12);
    expect_sent(&f, other, "+PONG\r\n");
}

Test(cmd_client, a_pause_beyond_all_clocks_is_none)
{
    expect(&f, s, "CLIENT PAUSE 9223372036854775807", "+OK\r\n");
    expect(&f, other, "PING", "+PONG\r\n");
    expect(&f, s, "CLIENT PAUSE 9223372036854775808",
           "-ERR timeout is not an integer or out of range\r\n");
    expect(&f, s, "CLIENT PAUSE -1", "-ERR timeout is negative\r\n");
    expect(&f, s, "CLIENT PAUSE x foo", "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
}

Test(cmd_client, no_key_expires_in_a_pause)
{
    static const char *const modes[] = {"WRITE", "ALL"};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        char line[64];
        expect(&f, s, "MSET a 1 b 1 c 1", "+OK\r\n");
        for (const char *k = "abc"; *k; k++) {
            snprintf(line, sizeof line, "PEXPIRE %c 20", *k);
            expect(&f, s, line, ":1\r\n");
        }
        snprintf(line, sizeof line, "CLIENT PAUSE 1000 %s", modes[i]);
        expect(&f, s, line, "+OK\r\n");
        server_fixture_pass_ms(&f, 990);
        uint64_t keys = 0;
        for (uint16_t w = 0; w < 2; w++) keys += keyspace_size(&f.server->workers[w].shard, 0);
        cr_assert_eq(keys, 3u);
        if (i == 0) expect(&f, other, "MGET a b c", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
        if (i == 0) expect(&f, other, "DBSIZE", ":3\r\n");
        server_fixture_pass_ms(&f, 20);
        expect(&f, other, "MGET a b c", "*3\r\n$-1\r\n$-1\r\n$-1\r\n");
        expect(&f, other, "DBSIZE", ":0\r\n");
    }
}

/* ---- WAIT and UNBLOCK ---- */

Test(cmd_client, wait_for_nobody_ends_at_once)
{
    expect(&f, s, "WAIT 0 0", ":0\r\n");
    expect(&f, s, "WAIT -1 10", ":0\r\n");
    expect(&f, s, "WAITAOF 0 0 0", "*2\r\n:0\r\n:0\r\n");
    expect(&f, s, "WAIT x x", "-ERR value is not an integer or out of range\r\n");
    expect(&f, s, "WAIT -1 -1", "-ERR timeout is negative\r\n");
}

Test(cmd_client, wait_ends_after_its_timeout)
{
    server_fixture_send(&f, s, "WAIT 1 100\r\nPING");
    server_fixture_settle(&f);
    expect_sent(&f, s, "");
    server_fixture_pass_ms(&f, 98);
    expect_sent(&f, s, "");
    server_fixture_pass_ms(&f, 3);
    expect_sent(&f, s, ":0\r\n+PONG\r\n");
}

Test(cmd_client, wait_without_a_timeout_ends_when_it_is_unblocked)
{
    expect(&f, other, "CLIENT UNBLOCK 1", ":0\r\n");
    expect(&f, s, "WAIT 1 0", "");
    server_fixture_pass_ms(&f, 1000000);
    expect_sent(&f, s, "");
    expect(&f, other, "CLIENT UNBLOCK 3", ":0\r\n");
    expect(&f, other, "CLIENT UNBLOCK 1", ":1\r\n");
    expect_sent(&f, s, ":0\r\n");
    expect(&f, s, "WAITAOF 0 1 9223372036854775807", "");
    cr_assert(has(run(other, "CLIENT LIST ID 1"), " flags=b "));
    expect(&f, other, "CLIENT UNBLOCK 1 ERROR", ":1\r\n");
    expect_sent(&f, s, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    expect(&f, other, "CLIENT UNBLOCK x foo",
           "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n");
}

Test(cmd_client, a_connection_that_closes_takes_its_wait_along)
{
    expect(&f, s, "WAIT 1 50", "");
    cr_assert_not_null(s->wait);
    session_on_close(&s->conn);
    cr_assert_null(s->wait);
    server_fixture_pass_ms(&f, 100);
    expect_sent(&f, s, "");
}
