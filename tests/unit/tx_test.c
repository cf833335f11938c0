/* MULTI, EXEC and WATCH on a server of one thread and of several, stepped by hand. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "server/stats.h"
#include "tests/unit/server_fixture.h"

#define THREADS 3

static struct server_fixture f;
static struct session *s, *other;

static void start(void)
{
    f = server_fixture_make(THREADS);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(tx, .init = start, .fini = stop);

static struct bytes ask(struct session *from, const char *line)
{
    server_fixture_send(&f, from, line);
    server_fixture_settle(&f);
    return server_fixture_take(&f, from);
}

static uint16_t shard_of(const char *name)
{
    uint64_t hash;
    return router_shard(&f.server->router, bytes_of(name), &hash);
}

/* Names on shards of their own: on_shard(1, "x") is one on shard 1. */
static const char *on_shard(uint16_t shard, const char *prefix)
{
    static char names[16][24];
    static unsigned used;
    char *name = names[used++ % 16];
    for (unsigned i = 0;; i++) {
        snprintf(name, sizeof names[0], "%s%u", prefix, i);
        if (shard_of(name) == shard) return name;
    }
}

/* The first and the second %s of a command. */
static const char *line(const char *pattern, const char *a, const char *b)
{
    static char lines[8][200];
    static unsigned used;
    char *text = lines[used++ % 8], *to = text;
    const char *const names[] = {a, b};
    unsigned next = 0;
    for (const char *at = pattern; *at; at++) {
        if (*at != '%') {
            *to++ = *at;
            continue;
        }
        at++;
        to = stpcpy(to, names[next++]);
    }
    *to = '\0';
    return text;
}

static uint64_t keys_watched(void)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < THREADS; i++) n += f.server->workers[i].shard.watches.key_count;
    return n;
}

/* ---- the queue ---- */

Test(tx, an_empty_transaction_replies_an_empty_array)
{
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "EXEC", "*0\r\n");
    expect(&f, s, "EXEC", "-ERR EXEC without MULTI\r\n");
}

Test(tx, commands_are_queued_and_run_in_their_order)
{
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "SET a 1", "+QUEUED\r\n");
    expect(&f, s, "INCR a", "+QUEUED\r\n");
    expect(&f, s, "PING", "+QUEUED\r\n");
    expect(&f, s, "MGET a b c", "+QUEUED\r\n");
    expect(&f, other, "GET a", "$-1\r\n");
    expect(&f, s, "EXEC", "*4\r\n+OK\r\n:2\r\n+PONG\r\n*3\r\n$1\r\n2\r\n$-1\r\n$-1\r\n");
    expect(&f, other, "GET a", "$1\r\n2\r\n");
}

Test(tx, what_cannot_be_queued_refuses_the_exec)
{
    expect(&f, s, "MULTI", "+OK\r\n");
    expect(&f, s, "SET a 1", "+QUEUED\r\n");
    ask(s, "NOSUCHCOMMAND");
    expect(&f, s, "EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n");
    expect(&f, s, "GET a", "$-1\r\n");
}

Test(tx, errors_at_exec_stop_nothing)
{
    ask(s, "MULTI");
    ask(s, "SET a x");
    ask(s, "INCR a");
    ask(s, "SET b y");
    expect(&f, s, "EXEC", "*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n+OK\r\n");
}

Test(tx, discard_and_reset_drop_everything)
{
    ask(s, "WATCH a");
    ask(s, "MULTI");
    ask(s, "SET a 1");
    expect(&f, s, "DISCARD", "+OK\r\n");
    expect(&f, s, "GET a", "$-1\r\n");
    cr_expect_eq(keys_watched(), 0);
    ask(s, "WATCH a");
    ask(s, "MULTI");
    ask(s, "SET a 1");
    expect(&f, s, "RESET", "+RESET\r\n");
    expect(&f, s, "EXEC", "-ERR EXEC without MULTI\r\n");
    cr_expect_eq(keys_watched(), 0);
}

Test(tx, a_select_in_the_block_changes_the_database_of_what_follows)
{
    ask(s, "MULTI");
    ask(s, "SET a 0");
    ask(s, "SELECT 3");
    ask(s, "SET a 3");
    expect(&f, s, "EXEC", "*3\r\n+OK\r\n+OK\r\n+OK\r\n");
    expect(&f, s, "GET a", "$1\r\n3\r\n");
    expect(&f, other, "GET a", "$1\r\n0\r\n");
}

Test(tx, wait_does_not_block_in_a_transaction)
{
    ask(s, "MULTI");
    ask(s, "WAIT 1 0");
    expect(&f, s, "EXEC", "*1\r\n:0\r\n");
}

Test(tx, an_array_lacks_no_element)
{
    ask(s, "MULTI");
    ask(s, "CLIENT REPLY SKIP");
    ask(s, "PING");
    expect(&f, s, "EXEC", "*2\r\n+OK\r\n+PONG\r\n");
    expect(&f, s, "PING", "");
    expect(&f, s, "PING", "+PONG\r\n");
}

Test(tx, commands_of_other_threads_run_at_their_place)
{
    ask(s, "MULTI");
    ask(s, "SET a 1");
    ask(s, "CONFIG SET maxmemory-samples 7");
    ask(s, "CONFIG GET maxmemory-samples");
    ask(s, "CLIENT UNPAUSE");
    ask(s, "DBSIZE");
    expect(&f, s, "EXEC",
           "*5\r\n+OK\r\n+OK\r\n*2\r\n$17\r\nmaxmemory-samples\r\n$1\r\n7\r\n+OK\r\n:1\r\n");
}

/* ---- watches ---- */

Test(tx, a_watched_key_that_changes_refuses_the_exec_once)
{
    ask(s, "WATCH a");
    cr_expect_eq(keys_watched(), 1);
    ask(other, "SET a 1");
    ask(s, "MULTI");
    ask(s, "SET b 1");
    expect(&f, s, "EXEC", "*-1\r\n");
    cr_expect_eq(keys_watched(), 0);
    ask(s, "MULTI");
    ask(s, "SET b 1");
    expect(&f, s, "EXEC", "*1\r\n+OK\r\n");
}

Test(tx, watches_on_other_shards_are_asked_before_anything_is_written)
{
    const char *far = on_shard(1, "far"), *near = on_shard(0, "near"), *third = on_shard(2, "z");
    ask(s, line("WATCH %s %s", far, third));
    ask(other, line("SET %s 1", far, ""));
    ask(s, "MULTI");
    ask(s, line("SET %s 1", near, ""));
    ask(s, line("SET %s 1", third, ""));
    expect(&f, s, "EXEC", "*-1\r\n");
    expect(&f, s, line("EXISTS %s %s", near, third), ":0\r\n");
    ask(s, line("WATCH %s %s", far, third));
    ask(s, "MULTI");
    ask(s, line("SET %s 1", near, ""));
    ask(s, line("SET %s 1", third, ""));
    expect(&f, s, "EXEC", "*2\r\n+OK\r\n+OK\r\n");
    cr_expect_eq(keys_watched(), 0);
}

Test(tx, a_refused_exec_runs_nothing_of_the_net_thread)
{
    ask(s, "WATCH a");
    ask(other, "SET a 1");
    ask(s, "MULTI");
    ask(s, "SELECT 5");
    expect(&f, s, "EXEC", "*-1\r\n");
    expect(&f, s, "GET a", "$1\r\n1\r\n");
}

Test(tx, a_watch_and_its_exec_may_come_in_one_piece)
{
    server_fixture_send(&f, s, "WATCH a");
    server_fixture_send(&f, s, "MULTI");
    server_fixture_send(&f, s, "SET a 1");
    server_fixture_send(&f, s, "EXEC");
    server_fixture_send(&f, s, "GET a");
    server_fixture_settle(&f);
    expect_sent(&f, s, "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$1\r\n1\r\n");
}

Test(tx, info_counts_who_watches_and_what)
{
    struct stats stats;
    ask(s, "WATCH a b");
    ask(other, "WATCH a");
    stats_read(f.server, &stats);
    cr_expect_eq(stats.watching_clients, 2);
    cr_expect_eq(stats.watched_keys, 2);
    ask(s, "MULTI");
    ask(s, "EXEC");
    ask(other, "UNWATCH");
    stats_read(f.server, &stats);
    cr_expect_eq(stats.watching_clients, 0);
    cr_expect_eq(stats.watched_keys, 0);
}

/* ---- over several shards ---- */

Test(tx, commands_that_need_keys_of_several_shards_run_under_one_holding)
{
    const char *a = on_shard(0, "a"), *b = on_shard(1, "b"), *c = on_shard(2, "c");
    ask(s, "MULTI");
    ask(s, line("SET %s 1", a, ""));
    ask(s, line("RENAME %s %s", a, b));
    ask(s, line("INCR %s", b, ""));
    ask(s, line("COPY %s %s", b, c));
    ask(s, line("RENAME no %s", c, ""));
    expect(&f, s, "EXEC", "*5\r\n+OK\r\n+OK\r\n:2\r\n:1\r\n-ERR no such key\r\n");
    expect(&f, s, line("MGET %s %s", a, c), "*2\r\n$-1\r\n$1\r\n2\r\n");
}

Test(tx, a_command_without_keys_holds_everything)
{
    const char *a = on_shard(0, "a"), *b = on_shard(1, "b");
    ask(s, "MULTI");
    ask(s, line("SET %s 1", a, ""));
    ask(s, line("RENAME %s %s", a, b));
    ask(s, "DBSIZE");
    ask(s, "FLUSHALL");
    ask(s, "DBSIZE");
    expect(&f, s, "EXEC", "*5\r\n+OK\r\n+OK\r\n:1\r\n+OK\r\n:0\r\n");
}

Test(tx, a_guest_that_nothing_has_changed_is_not_a_change)
{
    const char *a = on_shard(0, "a"), *b = on_shard(1, "b");
    ask(other, line("MSET %s 1 %s 2", a, b));
    ask(s, line("WATCH %s %s", a, b));
    ask(other, line("RENAMENX %s %s", a, b));
    ask(s, "MULTI");
    expect(&f, s, "EXEC", "*0\r\n");
    ask(s, line("WATCH %s %s", a, b));
    ask(other, line("RENAME %s %s", a, b));
    ask(s, "MULTI");
    expect(&f, s, "EXEC", "*-1\r\n");
}

Test(tx, one_element_moves_between_shards)
{
    const char *a = on_shard(0, "a"), *b = on_shard(1, "b"), *text = on_shard(2, "t");
    ask(s, line("RPUSH %s 1 2 3", a, ""));
    ask(s, line("SET %s x", text, ""));
    expect(&f, s, line("LMOVE %s %s RIGHT LEFT", a, b), "$1\r\n3\r\n");
    expect(&f, s, line("RPOPLPUSH %s %s", a, b), "$1\r\n2\r\n");
    expect(&f, s, line("LMOVE %s %s LEFT x", a, b), "-ERR syntax error\r\n");
    expect(&f, s, line("LMOVE %s %s LEFT LEFT", a, text),
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    expect(&f, s, line("LMOVE %s %s LEFT LEFT", on_shard(1, "no"), text), "$-1\r\n");
    expect(&f, s, line("LRANGE %s 0 -1", b, ""), "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
    expect(&f, s, line("LMOVE %s %s LEFT RIGHT", a, b), "$1\r\n1\r\n");
    expect(&f, s, line("EXISTS %s", a, ""), ":0\r\n");
}

Test(tx, one_member_moves_between_shards)
{
    const char *a = on_shard(0, "a"), *b = on_shard(1, "b"), *text = on_shard(2, "t");
    ask(s, line("SADD %s x", a, ""));
    ask(s, line("SET %s x", text, ""));
    expect(&f, s, line("SMOVE %s %s y", a, b), ":0\r\n");
    expect(&f, s, line("SMOVE %s %s x", a, text),
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    expect(&f, s, line("SMOVE %s %s x", on_shard(1, "no"), text), ":0\r\n");
    expect(&f, s, line("SMOVE %s %s x", a, b), ":1\r\n");
    expect(&f, s, line("EXISTS %s", a, ""), ":0\r\n");
    expect(&f, s, line("SMEMBERS %s", b, ""), "*1\r\n$1\r\nx\r\n");
}
