#include "tests/unit/server_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

static bool sent_has(struct server_fixture *f, struct session *s, const char *line,
                     const char *wanted)
{
    server_fixture_send(f, s, line);
    server_fixture_settle(f);
    struct bytes sent = server_fixture_take(f, s);
    return memmem(sent.data, sent.size, wanted, strlen(wanted)) != NULL;
}

static struct server_fixture make_with_debug(uint32_t threads)
{
    struct server_fixture f = server_fixture_make(threads);
    struct config *c = (struct config *)(uintptr_t)f.server->config;
    c->enable_debug_command = CONFIG_PROTECTED_YES;
    return f;
}

/* ---- CONFIG ---- */

Test(cmd_admin, config_get_shows_what_matches_any_pattern)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "CONFIG GET appendonly", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
    expect(&f, s, "CONFIG GET nonsense", "*0\r\n");
    s->resp = 3;
    expect(&f, s, "CONFIG GET maxmemory-pol* nonsense",
           "%1\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n");
    expect(&f, s, "CONFIG GET", "-ERR wrong number of arguments for 'config|get' command\r\n");
    server_fixture_free(&f);
}

Test(cmd_admin, config_set_answers_when_every_thread_has_the_new_values)
{
    struct server_fixture f = server_fixture_make(3);
    struct session *s = server_fixture_connect(&f, 2);
    expect(&f, s, "CONFIG SET hz 77 timeout 5", "+OK\r\n");
    for (uint16_t i = 0; i < 3; i++) {
        cr_expect_eq(f.server->workers[i].config->hz, 77);
        cr_expect_eq(f.server->workers[i].net.config->idle_timeout_s, 5);
        cr_expect_eq(f.server->workers[i].shard.config->hz, 77);
    }
    expect(&f, s, "CONFIG GET hz", "*2\r\n$2\r\nhz\r\n$2\r\n77\r\n");
    server_fixture_free(&f);
}

Test(cmd_admin, config_set_changes_nothing_when_one_value_is_wrong)
{
    struct server_fixture f = server_fixture_make(2);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "CONFIG SET hz 77 timeout x",
           "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be "
           "parsed into an integer\r\n");
    expect(&f, s, "CONFIG SET hz 77 timeout", "-ERR syntax error\r\n");
    expect(&f, s, "CONFIG GET hz", "*2\r\n$2\r\nhz\r\n$2\r\n10\r\n");
    expect(&f, s, "CONFIG REWRITE", "-ERR The server is running without a config file\r\n");
    server_fixture_free(&f);
}

Test(cmd_admin, two_connections_change_the_configuration_one_after_the_other)
{
    struct server_fixture f = server_fixture_make(2);
    struct session *a = server_fixture_connect(&f, 0), *b = server_fixture_connect(&f, 1);
    server_fixture_send(&f, a, "CONFIG SET hz 21");
    server_fixture_send(&f, b, "CONFIG SET timeout 22");
    server_fixture_settle(&f);
    expect_sent(&f, a, "+OK\r\n");
    expect_sent(&f, b, "+OK\r\n");
    expect(&f, a, "CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$2\r\n22\r\n");
    expect(&f, b, "CONFIG GET hz", "*2\r\n$2\r\nhz\r\n$2\r\n21\r\n");
    server_fixture_free(&f);
}

/* ---- DEBUG ---- */

Test(cmd_admin, debug_is_refused_unless_it_was_enabled)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "DEBUG HELP",
           "-ERR DEBUG command not allowed. If the enable-debug-command option is set to "
           "\"local\", you can run it from a "
           "local connection, otherwise you need to set this option in the configuration file, and "
           "then restart the "
           "server.\r\n");
    server_fixture_free(&f);
}

Test(cmd_admin, debug_has_one_text_for_all_that_it_does_not_understand)
{
    struct server_fixture f = make_with_debug(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(
        &f, s, "DEBUG nonsense x",
        "-ERR unknown subcommand or wrong number of arguments for 'nonsense'. Try DEBUG HELP.\r\n");
    expect(&f, s, "DEBUG HELP x",
           "-ERR unknown subcommand or wrong number of arguments for 'HELP'. Try DEBUG HELP.\r\n");
    expect(&f, s, "DEBUG", "-ERR wrong number of arguments for 'debug' command\r\n");
    cr_expect(sent_has(&f, s, "DEBUG HELP", "+SLEEP <seconds>\r\n"));
    server_fixture_free(&f);
}

Test(cmd_admin, active_expiry_stays_off_through_a_change_of_the_configuration)
{
    struct server_fixture f = make_with_debug(2);
    struct session *s = server_fixture_connect(&f, 1);
    expect(&f, s, "DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n");
    for (uint16_t i = 0; i < 2; i++)
        cr_expect_not(f.server->workers[i].shard.config->active_expire);
    expect(&f, s, "CONFIG SET hz 20", "+OK\r\n");
    for (uint16_t i = 0; i < 2; i++)
        cr_expect_not(f.server->workers[i].shard.config->active_expire);
    expect(&f, s, "DEBUG SET-ACTIVE-EXPIRE 1", "+OK\r\n");
    for (uint16_t i = 0; i < 2; i++) cr_expect(f.server->workers[i].shard.config->active_expire);
    server_fixture_free(&f);
}

/* ---- SHUTDOWN ---- */

Test(cmd_admin, shutdown_refuses_words_that_contradict_each_other)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "SHUTDOWN nonsense", "-ERR syntax error\r\n");
    expect(&f, s, "SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n");
    expect(&f, s, "SHUTDOWN ABORT NOW", "-ERR syntax error\r\n");
    expect(&f, s, "SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n");
    cr_expect_not(f.server->should_stop);
    server_fixture_free(&f);
}

Test(cmd_admin, shutdown_stops_without_a_reply_and_nothing_runs_behind_it)
{
    struct server_fixture f = server_fixture_make(2);
    struct session *s = server_fixture_connect(&f, 0), *other = server_fixture_connect(&f, 1);
    expect(&f, s, "SHUTDOWN NOSAVE NOW FORCE\r\nTIME", "");
    cr_expect(f.server->should_stop);
    expect(&f, other, "CONFIG SET hz 99", "");
    cr_expect_neq(f.server->config->hz, 99);
    server_fixture_free(&f);
}

/* ---- small ones ---- */

Test(cmd_admin, what_is_not_here_says_so_as_redis_does)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n");
    expect(&f, s, "CLUSTER nonsense", "-ERR unknown subcommand 'nonsense'. Try CLUSTER HELP.\r\n");
    expect(&f, s, "READONLY", "-ERR This instance has cluster support disabled\r\n");
    expect(&f, s, "MODULE LIST", "*0\r\n");
    expect(&f, s, "ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    expect(&f, s, "REPLICAOF no ONE", "+OK\r\n");
    expect(&f, s, "SLAVEOF a 65536", "-ERR Invalid master port\r\n");
    expect(&f, s, "REPLICAOF a 6379", "-ERR this version of Shoal does not replicate\r\n");
    server_fixture_free(&f);
}

Test(cmd_admin, lolwut_ends_with_the_versions)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    cr_expect(sent_has(&f, s, "LOLWUT",
                       "\nShoal ver. " SERVER_VERSION ". Redis ver. " SERVER_REDIS_VERSION
                       "\n\r\n"));
    cr_expect(sent_has(&f, s, "LOLWUT VERSION 5", "\nShoal ver. "));
    expect(&f, s, "LOLWUT VERSION x", "-ERR value is not an integer or out of range\r\n");
    server_fixture_free(&f);
}
