/* SLOWLOG, LATENCY and the histograms of commands on a whole server. */
#include "tests/unit/server_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "server/stats.h"

static struct server_fixture f;
static struct session *s;
static char text[64 * 1024];

static const char *ask(const char *line)
{
    server_fixture_send(&f, s, line);
    server_fixture_settle(&f);
    struct bytes sent = server_fixture_take(&f, s);
    cr_assert_lt(sent.size, sizeof text);
    memcpy(text, sent.data, sent.size);
    text[sent.size] = '\0';
    return text;
}

static unsigned count_of(const char *in, const char *what)
{
    unsigned n = 0;
    for (const char *at = in; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static bool logs(const char *words)
{
    return strstr(ask("SLOWLOG GET -1"), words) != NULL;
}

/* Everything is slow. */
static void start(uint32_t threads)
{
    f = server_fixture_make(threads);
    s = server_fixture_connect(&f, 0);
    ask("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 1000");
    ask("CLIENT SETNAME bob");
    ask("SLOWLOG RESET");
}

static const uint32_t thread_counts[] = {1, 4};
#define each_size(t) for (unsigned t = 0; t < ARRAY_LEN(thread_counts); t++)

Test(cmd_slowlog, a_threshold_of_0_logs_each_command_once)
{
    each_size(t)
    {
        start(thread_counts[t]);
        static const char *const lines[] = {"SET a 1",        "MSET a 1 b 2 c 3 d 4 e 5 f 6",
                                            "DBSIZE",         "RENAME a z",
                                            "PING",           "SUNIONSTORE x y z w",
                                            "CONFIG GET hz",  "CONFIG SET hz 11",
                                            "CLIENT GETNAME", "KEYS *",
                                            "DEL b c d e f",  "LPUSH a 1"};
        for (unsigned i = 0; i < ARRAY_LEN(lines); i++) ask(lines[i]);
        /* SLOWLOG RESET is there, and SLOWLOG LEN itself is not yet. */
        char wanted[16];
        snprintf(wanted, sizeof wanted, ":%zu\r\n", ARRAY_LEN(lines) + 1);
        cr_assert_str_eq(ask("SLOWLOG LEN"), wanted, "%s", ask("SLOWLOG GET -1"));
        cr_assert(logs("*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$2\r\nhz\r\n$2\r\n11\r\n"));
        cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "$4\r\nMSET\r\n"), 1);
        cr_assert_geq(count_of(ask("SLOWLOG GET -1"), "$3\r\nbob\r\n"), ARRAY_LEN(lines));
        server_fixture_free(&f);
    }
}

Test(cmd_slowlog, what_never_ran_is_not_logged)
{
    start(1);
    ask("GET");
    ask("NOSUCH");
    ask("CONFIG GET");
    cr_assert_str_eq(ask("SLOWLOG LEN"), ":1\r\n");
    ask("SET k v");
    ask("LPUSH k v"); /* an error of the command itself */
    cr_assert(logs("$5\r\nLPUSH\r\n"));
    server_fixture_free(&f);
}

Test(cmd_slowlog, of_a_transaction_the_commands_are_logged_and_exec_is_not)
{
    each_size(t)
    {
        start(thread_counts[t]);
        ask("MULTI");
        ask("SET a 1");
        ask("SET b 2");
        ask("SUNIONSTORE d x y");
        ask("CLIENT GETNAME");
        ask("EXEC");
        cr_assert_str_eq(ask("SLOWLOG LEN"), ":6\r\n", "%s", ask("SLOWLOG GET -1"));
        cr_assert_not(logs("$4\r\nEXEC\r\n"));
        const char *all = ask("SLOWLOG GET -1");
        cr_assert_eq(count_of(all, "$3\r\nbob\r\n"), count_of(all, "*6\r\n:"));
        server_fixture_free(&f);
    }
}

Test(cmd_slowlog, a_script_is_one_entry_and_what_it_calls_has_no_client)
{
    start(1);
    for (unsigned i = 0; i < 20; i++) ask("EVAL \"return redis.call('set', KEYS[1], 'v')\" 1 k");
    ask("SLOWLOG RESET");
    ask("EVAL \"return redis.call('set', KEYS[1], 'v')\" 1 k");
    cr_assert(logs("$4\r\nEVAL\r\n$38\r\nreturn redis.call('set', KEYS[1], 'v')"));
    cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "*5\r\n$4\r\nEVAL\r\n"), 0);
    cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "*4\r\n$4\r\nEVAL\r\n"), 1);
    cr_assert(logs("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\nv\r\n$3\r\n?:0\r\n$0\r\n\r\n"));
    server_fixture_free(&f);
}

Test(cmd_slowlog, a_script_under_a_holding_is_one_entry)
{
    start(4);
    ask("EVAL \"redis.call('set', KEYS[1], 'v') return redis.call('set', KEYS[2], 'v')\" 2 a b");
    cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "$4\r\nEVAL\r\n"), 1);
    server_fixture_free(&f);
}

Test(cmd_slowlog, who_waits_is_logged_when_served)
{
    each_size(t)
    {
        start(thread_counts[t]);
        struct session *other = server_fixture_connect(&f, (uint16_t)(thread_counts[t] - 1));
        server_fixture_send(&f, s, "BLPOP a b c d 0");
        server_fixture_settle(&f);
        server_fixture_send(&f, other, "SLOWLOG LEN");
        server_fixture_settle(&f);
        expect_sent(&f, other, ":1\r\n");
        server_fixture_send(&f, other, "RPUSH c v");
        server_fixture_settle(&f);
        expect_sent(&f, other, ":1\r\n");
        expect_sent(&f, s, "*2\r\n$1\r\nc\r\n$1\r\nv\r\n");
        cr_assert(logs("*6\r\n$5\r\nBLPOP\r\n"));
        cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "$5\r\nBLPOP\r\n"), 1);
        server_fixture_free(&f);
    }
}

Test(cmd_slowlog, secrets_are_not_shown)
{
    start(1);
    ask("CONFIG SET masterauth secret hz 12");
    ask("AUTH secret");
    ask("HELLO 2 AUTH default secret SETNAME bob");
    cr_assert_not(logs("secret"));
    cr_assert(logs("$10\r\nmasterauth\r\n$10\r\n(redacted)\r\n$2\r\nhz\r\n"));
    cr_assert(logs("*2\r\n$4\r\nAUTH\r\n$10\r\n(redacted)\r\n"));
    server_fixture_free(&f);
}

Test(cmd_slowlog, counts_are_checked)
{
    static const char bad[] = "-ERR count should be greater than or equal to -1\r\n";
    start(1);
    cr_assert_str_eq(ask("SLOWLOG GET -2"), bad);
    cr_assert_str_eq(ask("SLOWLOG GET x"), bad);
    cr_assert_str_eq(ask("SLOWLOG GET 9223372036854775808"), bad);
    cr_assert_str_eq(ask("SLOWLOG GET 1 2"), "-ERR unknown subcommand or wrong number of arguments "
                                             "for 'GET'. Try SLOWLOG HELP.\r\n");
    cr_assert_str_eq(ask("SLOWLOG GET 0"), "*0\r\n");
    for (unsigned i = 0; i < 20; i++) ask("PING");
    cr_assert_eq(strncmp(ask("SLOWLOG GET"), "*10\r\n", 5), 0);
    server_fixture_free(&f);
}

Test(cmd_slowlog, settings_may_change_while_it_runs)
{
    start(2);
    for (unsigned i = 0; i < 20; i++) ask("PING");
    ask("CONFIG SET slowlog-max-len 5");
    cr_assert_str_eq(ask("SLOWLOG LEN"), ":5\r\n");
    ask("CONFIG SET slowlog-log-slower-than -1");
    ask("SLOWLOG RESET");
    ask("SET k v");
    cr_assert_str_eq(ask("SLOWLOG LEN"), ":0\r\n");
    ask("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 0");
    ask("SET k v");
    cr_assert_str_eq(ask("SLOWLOG LEN"), ":0\r\n");
    server_fixture_free(&f);
}

Test(cmd_slowlog, its_memory_is_counted)
{
    start(1);
    uint64_t before = server_live_bytes(f.server);
    for (unsigned i = 0; i < 500; i++) ask("ECHO 0123456789");
    uint64_t live = mem_live_bytes(&f.server->slowlog.mem);
    cr_assert_geq(live, 500 * sizeof(struct slow_entry));
    cr_assert_geq(server_live_bytes(f.server), before + live / 2);
    ask("CONFIG SET slowlog-max-len 0");
    cr_assert_eq(mem_live_bytes(&f.server->slowlog.mem), 0);
    server_fixture_free(&f);
}

/* ---- LATENCY ---- */

Test(cmd_slowlog, latency_shows_and_forgets_events)
{
    start(2);
    cr_assert_str_eq(ask("LATENCY LATEST"), "*0\r\n");
    cr_assert_str_eq(ask("LATENCY HISTORY command"), "*0\r\n");
    cr_assert_str_eq(ask("LATENCY GRAPH command"),
                     "-ERR No samples available for event 'command'\r\n");
    cr_assert(strstr(ask("LATENCY DOCTOR"), "disabled"));
    latency_add(&f.server->latency, "command", 12);
    latency_add(&f.server->latency, "aof-write", 3);
    cr_assert(strstr(ask("LATENCY LATEST"), "*2\r\n*4\r\n$7\r\ncommand\r\n:"));
    cr_assert(strstr(text, "\r\n:12\r\n:12\r\n*4\r\n$9\r\naof-write\r\n:"));
    cr_assert_eq(strncmp(ask("LATENCY HISTORY command"), "*1\r\n*2\r\n:", 9), 0);
    cr_assert(strstr(ask("LATENCY GRAPH command"), "high 12 ms, low 12 ms"));
    cr_assert(strstr(ask("LATENCY DOCTOR"), "1. command: 1 samples, mean 12 ms"));
    cr_assert(strstr(text, "SLOWLOG GET") && strstr(text, "appendfsync"));
    cr_assert_str_eq(ask("LATENCY RESET nonsense command"), ":1\r\n");
    cr_assert_str_eq(ask("LATENCY RESET"), ":1\r\n");
    cr_assert_str_eq(ask("LATENCY RESET"), ":0\r\n");
    server_fixture_free(&f);
}

Test(cmd_slowlog, debug_sleep_is_an_event)
{
    start(2);
    struct config *c = (struct config *)(uintptr_t)f.server->config;
    c->enable_debug_command = CONFIG_PROTECTED_YES;
    ask("CONFIG SET latency-monitor-threshold 4");
    ask("DEBUG SLEEP 0");
    ask("DEBUG SLEEP 0.005");
    cr_assert(strstr(ask("LATENCY LATEST"), "$7\r\ncommand\r\n:"));
    cr_assert_eq(count_of(ask("SLOWLOG GET -1"), "$5\r\n0.005\r\n"), 1);
    server_fixture_free(&f);
}

Test(cmd_slowlog, histograms_count_calls)
{
    each_size(t)
    {
        start(thread_counts[t]);
        for (unsigned i = 0; i < 7; i++) ask("GET k");
        ask("CLIENT GETNAME");
        const char *all = ask("LATENCY HISTOGRAM get");
        cr_assert_eq(strncmp(all,
                             "*2\r\n$3\r\nget\r\n*4\r\n$5\r\ncalls\r\n:7\r\n$14\r\nhistogram_"
                             "usec\r\n*",
                             54),
                     0, "%s", all);
        cr_assert(strstr(ask("LATENCY HISTOGRAM client nonsense"), "$14\r\nclient|getname\r\n"));
        cr_assert(strstr(ask("LATENCY HISTOGRAM"), "$14\r\nclient|getname\r\n"));
        cr_assert_str_eq(ask("LATENCY HISTOGRAM nonsense incr"), "*0\r\n");
        cr_assert(strstr(ask("INFO latencystats"), "\r\nlatency_percentiles_usec_get:p50="));
        cr_assert(strstr(text, ",p99.9="));
        s->resp = 3;
        cr_assert_eq(strncmp(ask("LATENCY HISTOGRAM get"), "%1\r\n$3\r\nget\r\n%2\r\n", 17), 0);
        s->resp = 2;
        ask("CONFIG RESETSTAT");
        cr_assert_str_eq(ask("LATENCY HISTOGRAM get"), "*0\r\n");
        ask("CONFIG SET latency-tracking no");
        ask("GET k");
        cr_assert_str_eq(ask("LATENCY HISTOGRAM get"), "*0\r\n");
        cr_assert_not(strstr(ask("INFO latencystats"), "percentiles"));
        server_fixture_free(&f);
    }
}

Test(cmd_slowlog, percentiles_are_those_that_were_asked_for)
{
    start(1);
    ask("CONFIG SET latency-tracking-info-percentiles \"0 50 99.99 100\"");
    ask("CONFIG RESETSTAT");
    ask("GET k");
    const char *all = ask("INFO latencystats");
    const char *at = strstr(all, "latency_percentiles_usec_get:p0=");
    cr_assert(at && strstr(at, ",p50=") && strstr(at, ",p99.99=") && strstr(at, ",p100="), "%s",
              all);
    server_fixture_free(&f);
}
