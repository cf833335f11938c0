/* CLIENT TRACKING over three threads that are all net thread and shard. */
#include "server/tracking.h"

#include <stdio.h>

#include <criterion/criterion.h>

#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *other;

static void start(void)
{
    f = server_fixture_make(3);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
    server_fixture_send(&f, s, "HELLO 3");
    server_fixture_settle(&f);
    (void)server_fixture_take(&f, s);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(tracking, .init = start, .fini = stop);

#define TOLD(key) ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\n" key "\r\n"
#define TOLD_ALL ">2\r\n$10\r\ninvalidate\r\n_\r\n"

static uint64_t tracked_keys(void)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < f.server->mesh.shard_count; i++) {
        const struct tracking *t = &f.server->shard_workers[i]->shard.tracking;
        node_table_validate(&t->keys);
        n += counter_read(&t->key_count);
    }
    return n;
}

Test(tracking, a_key_that_was_read_is_told_once_when_it_changes)
{
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    expect(&f, s, "GET k", "_\r\n");
    cr_assert_eq(tracked_keys(), 1);
    expect(&f, other, "SET j 1", "+OK\r\n");
    expect_sent(&f, s, "");
    expect(&f, other, "SET k 1", "+OK\r\n");
    expect_sent(&f, s, TOLD("k"));
    cr_assert_eq(tracked_keys(), 0);
    expect(&f, other, "SET k 2", "+OK\r\n");
    expect_sent(&f, s, "");
}

Test(tracking, keys_of_all_shards_are_remembered_whatever_the_plan)
{
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    expect(&f, s, "MGET a b c d e f", "*6\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n");
    cr_assert_eq(tracked_keys(), 6);
    expect(&f, s, "SINTER g h i j", "~0\r\n");
    cr_assert_eq(tracked_keys(), 10);
    for (char c = 'a'; c < 'k'; c++) {
        char line[] = "SET x 1", told[] = TOLD("x");
        line[4] = c;
        told[strlen(told) - 3] = c;
        expect(&f, other, line, "+OK\r\n");
        struct bytes got = server_fixture_take(&f, s);
        cr_assert(bytes_equal(got, bytes_of(told)), "%.*s", (int)got.size, got.data);
    }
}

Test(tracking, an_own_change_is_told_unless_noloop)
{
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    expect(&f, s, "SET k 1", "+OK\r\n" TOLD("k"));
    expect(&f, s, "CLIENT TRACKING ON NOLOOP", "+OK\r\n");
    expect(&f, s, "GET k", "$1\r\n1\r\n");
    expect(&f, s, "SET k 2", "+OK\r\n");
    expect(&f, s, "GET k", "$1\r\n2\r\n");
    expect(&f, other, "DEL k", ":1\r\n");
    expect_sent(&f, s, TOLD("k"));
}

Test(tracking, a_flush_is_told_once_for_all_shards)
{
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    expect(&f, other, "FLUSHALL", "+OK\r\n");
    expect_sent(&f, s, TOLD_ALL);
    cr_assert_eq(tracked_keys(), 0);
    expect(&f, other, "FLUSHDB", "+OK\r\n");
    expect_sent(&f, s, TOLD_ALL);
}

Test(tracking, prefixes_are_told_of_every_change_that_fits)
{
    expect(&f, s, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b", "+OK\r\n");
    expect(&f, other, "SET a 1", "+OK\r\n");
    expect_sent(&f, s, TOLD("a"));
    expect(&f, other, "EXPIRE a 100", ":1\r\n");
    expect_sent(&f, s, TOLD("a"));
    expect(&f, other, "SET c 1", "+OK\r\n");
    expect_sent(&f, s, "");
    expect(&f, s, "CLIENT TRACKING ON BCAST PREFIX ab",
           "-ERR Prefix 'ab' overlaps with an existing prefix 'a'. Prefixes for a single client "
           "must not overlap.\r\n");
    expect(&f, s, "CLIENT TRACKING OFF", "+OK\r\n");
    expect(&f, other, "SET a 2", "+OK\r\n");
    expect_sent(&f, s, "");
    cr_assert_eq(s->subscriber.counts[CHANNEL_PREFIX], 0);
}

Test(tracking, optin_and_optout_choose_by_command)
{
    expect(&f, s, "CLIENT TRACKING ON OPTIN", "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    cr_assert_eq(tracked_keys(), 0);
    expect(&f, s, "CLIENT CACHING YES", "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    expect(&f, s, "GET j", "_\r\n");
    cr_assert_eq(tracked_keys(), 1);
    expect(&f, s, "CLIENT TRACKING OFF", "+OK\r\n");
    expect(&f, s, "CLIENT TRACKING ON OPTOUT", "+OK\r\n");
    expect(&f, s, "CLIENT CACHING NO", "+OK\r\n");
    expect(&f, s, "GET x", "_\r\n");
    cr_assert_eq(tracked_keys(), 1);
    expect(&f, s, "GET x", "_\r\n");
    cr_assert_eq(tracked_keys(), 2);
}

Test(tracking, beyond_the_limit_a_key_is_forgotten_and_told)
{
    server_fixture_send(&f, s, "CONFIG SET tracking-table-max-keys 3");
    server_fixture_settle(&f);
    expect_sent(&f, s, "+OK\r\n");
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    uint64_t told = 0;
    for (char c = 'a'; c < 'k'; c++) {
        char line[] = "GET x";
        line[4] = c;
        server_fixture_send(&f, s, line);
        server_fixture_settle(&f);
        struct bytes got = server_fixture_take(&f, s);
        told += memmem(got.data, got.size, "invalidate", 10) != NULL;
    }
    cr_assert_eq(tracked_keys() + told, 10);
    cr_assert_leq(tracked_keys(), 3);
}

Test(tracking, reset_and_the_end_of_a_connection_end_it)
{
    expect(&f, s, "CLIENT TRACKING ON BCAST", "+OK\r\n");
    cr_assert_eq(counter_read(&session_worker(s)->tracking.count), 1);
    expect(&f, s, "RESET", "+RESET\r\n");
    cr_assert_eq(counter_read(&session_worker(s)->tracking.count), 0);
    expect(&f, other, "SET a 1", "+OK\r\n");
    expect_sent(&f, s, "");
    expect(&f, s, "CLIENT GETREDIR", ":-1\r\n");
}

Test(tracking, each_command_of_a_transaction_is_tracked_by_what_holds_when_it_runs)
{
    expect(&f, s, "CLIENT TRACKING ON OPTIN", "+OK\r\n");
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "GET before", "+QUEUED\r\n");
    expect(&f, s, "CLIENT CACHING YES", "+QUEUED\r\n");
    expect(&f, s, "GET k", "+QUEUED\r\n");
    expect(&f, s, "GET j", "+QUEUED\r\n");
    expect(&f, s, "EXEC", "*4\r\n_\r\n+OK\r\n_\r\n_\r\n");
    cr_assert_eq(tracked_keys(), 2);
    expect(&f, s, "GET behind", "_\r\n");
    cr_assert_eq(tracked_keys(), 2);
    expect(&f, s, "CLIENT TRACKING OFF", "+OK\r\n");
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "CLIENT TRACKING ON", "+QUEUED\r\n");
    expect(&f, s, "EVAL \"return redis.call('get', KEYS[1])\" 1 script", "+QUEUED\r\n");
    expect(&f, s, "GET x", "+QUEUED\r\n");
    expect(&f, s, "EXEC", "*3\r\n+OK\r\n_\r\n_\r\n");
    cr_assert_eq(tracked_keys(), 4);
}

Test(tracking, the_word_for_the_next_command_outlives_other_words_to_client_only)
{
    expect(&f, s, "CLIENT TRACKING ON OPTIN", "+OK\r\n");
    expect(&f, s, "CLIENT CACHING YES", "+OK\r\n");
    expect(&f, s, "CLIENT GETREDIR", ":0\r\n");
    expect(&f, s, "GET k", "_\r\n");
    cr_assert_eq(tracked_keys(), 1);
    expect(&f, s, "CLIENT CACHING YES", "+OK\r\n");
    expect(&f, s, "GET", "-ERR wrong number of arguments for 'get' command\r\n");
    expect(&f, s, "GET j", "_\r\n");
    cr_assert_eq(tracked_keys(), 1);
}

Test(tracking, changes_of_one_step_are_told_once_and_together)
{
    expect(&f, s, "CLIENT TRACKING ON BCAST", "+OK\r\n");
    server_fixture_send(&f, other, "SET {t}k 1");
    server_fixture_send(&f, other, "SET {t}k 2");
    server_fixture_send(&f, other, "SET {t}j 1");
    server_fixture_settle(&f);
    expect_sent(&f, s, ">2\r\n$10\r\ninvalidate\r\n*2\r\n$4\r\n{t}j\r\n$4\r\n{t}k\r\n");
}

/* ---- REDIRECT ---- */

#define MESSAGE(key) "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\n" key "\r\n"
#define MESSAGE_ALL "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n"

/* "CLIENT TRACKING ON REDIRECT" and the id of that connection, and `rest`. */
static const char *redirect_to(const struct session *target, const char *rest)
{
    static char line[128];
    snprintf(line, sizeof line, "CLIENT TRACKING ON REDIRECT %llu %s",
             (unsigned long long)target->conn.id, rest);
    return line;
}

Test(tracking, a_redirect_tells_a_connection_of_any_thread_in_its_form)
{
    struct session *writer = server_fixture_connect(&f, 2);
    for (uint16_t net = 0; net < 3; net++) {
        struct session *target = server_fixture_connect(&f, net);
        expect(&f, s, redirect_to(target, ""), "+OK\r\n");
        expect(&f, s, "GET k", "_\r\n");
        expect(&f, writer, "SET k 1", "+OK\r\n");
        expect_sent(&f, target, ""); /* RESP2 has no form for it outside a subscription */
        expect(&f, target, "SUBSCRIBE x", "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
        expect(&f, s, "GET k", "$1\r\n1\r\n");
        expect(&f, writer, "DEL k", ":1\r\n");
        expect_sent(&f, target, MESSAGE("k"));
        expect(&f, writer, "FLUSHALL", "+OK\r\n");
        expect_sent(&f, target, MESSAGE_ALL);
        expect_sent(&f, s, "");
    }
    expect(&f, writer, redirect_to(s, "BCAST PREFIX p NOLOOP"), "+OK\r\n");
    expect(&f, other, "SET p 1", "+OK\r\n");
    expect_sent(&f, s, TOLD("p"));
    expect(&f, writer, "SET p 1", "+OK\r\n");
    expect_sent(&f, s, "");
}

Test(tracking, a_redirect_needs_a_client_that_exists)
{
#define MISSING "-ERR The client ID you want redirect to does not exist\r\n"
    expect(&f, s, "CLIENT TRACKING ON REDIRECT 987654", MISSING);
    expect(&f, s, "CLIENT TRACKING ON REDIRECT 0", MISSING);
    expect(&f, s, "CLIENT TRACKING ON REDIRECT x",
           "-ERR value is not an integer or out of range\r\n");
    expect(&f, s, redirect_to(other, "REDIRECT 1"),
           "-ERR A client can only redirect to a single other client\r\n");
    expect(&f, s, redirect_to(other, "FOO"), "-ERR syntax error\r\n");
    expect(&f, s, "CLIENT GETREDIR", ":-1\r\n");
    expect(&f, other, "MULTI", "+OK\r\n");
    expect(&f, other, redirect_to(s, "BCAST"), "+QUEUED\r\n");
    expect(&f, other, "CLIENT TRACKING ON BCAST REDIRECT 987654", "+QUEUED\r\n");
    expect(&f, other, "EXEC", "*2\r\n+OK\r\n" MISSING);
    expect(&f, s, "SET k 1", "+OK\r\n" TOLD("k"));
}

Test(tracking, a_tracker_is_told_when_its_redirect_has_gone)
{
    char told[64];
    snprintf(told, sizeof told, ">2\r\n$21\r\ntracking-redir-broken\r\n:%llu\r\n",
             (unsigned long long)other->conn.id);
    expect(&f, s, redirect_to(other, ""), "+OK\r\n");
    expect(&f, s, "GET k", "_\r\n");
    conn_close(&other->conn);
    server_fixture_settle(&f);
    struct session *writer = server_fixture_connect(&f, 2);
    expect(&f, writer, "SET k 1", "+OK\r\n");
    server_fixture_expect_sent(&f, s, bytes_of(told), __LINE__);
    cr_assert(s->tracking.redirect.is_broken);
    expect(&f, s, "GET k", "$1\r\n1\r\n");
    expect(&f, writer, "SET k 1", "+OK\r\n");
    server_fixture_expect_sent(&f, s, bytes_of(told), __LINE__);
    expect(&f, s, "CLIENT TRACKING ON", "+OK\r\n");
    expect(&f, s, "GET k", "$1\r\n1\r\n");
    expect(&f, writer, "SET k 1", "+OK\r\n");
    expect_sent(&f, s, TOLD("k"));
}
