#include "server/stats.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/server_fixture.h"

/* ---- helpers ---- */

static struct counter *route_calls(struct server_fixture *f, uint16_t net_id, const char *name)
{
    const struct route *route = router_find_name(&f->server->router, bytes_of(name));
    cr_assert_not_null(route);
    return &f->server->net_workers[net_id]->routes[route->id].calls;
}

static uint16_t route_id(struct server_fixture *f, const char *name)
{
    return router_find_name(&f->server->router, bytes_of(name))->id;
}

static const struct stats_error *error_named(const struct stats_error *errors, uint32_t count,
                                             const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(errors[i].name, name) == 0) return &errors[i];
    return NULL;
}

/* The reply to INFO with these sections, NUL-terminated, in memory of the fixture's. */
static char *info(struct server_fixture *f, struct session *s, const char *line)
{
    server_fixture_send(f, s, line);
    server_fixture_settle(f);
    struct bytes sent = server_fixture_take(f, s);
    char *text = mem_alloc(&f->server->mem, sent.size + 1);
    memcpy(text, sent.data, sent.size);
    text[sent.size] = '\0';
    return text;
}

static void info_free(struct server_fixture *f, char *text)
{
    mem_free(&f->server->mem, text, strlen(text) + 1);
}

static bool info_has(struct server_fixture *f, struct session *s, const char *command,
                     const char *wanted)
{
    char *text = info(f, s, command);
    bool has = strstr(text, wanted) != NULL;
    if (!has) cr_log_warn("%s lacks %s", text, wanted);
    info_free(f, text);
    return has;
}

/* ---- totals ---- */

Test(stats, totals_are_sums_over_all_threads)
{
    struct server_fixture f = server_fixture_make(3);
    for (uint16_t i = 0; i < 3; i++) {
        struct worker *w = f.server->net_workers[i];
        counter_set(&w->net.counters.bytes_in, 100 + i);
        counter_set(&w->net.counters.connections, i);
        counter_set(&w->commands_processed, 10);
        counter_set(&w->shard.counters.keyspace_hits, 1000 * i);
        counter_set(&w->shard.counters.expired_keys, 7);
    }
    struct stats s;
    stats_read(f.server, &s);
    cr_expect_eq(s.bytes_in, 303);
    cr_expect_eq(s.connections, 3);
    cr_expect_eq(s.commands, 30);
    cr_expect_eq(s.keyspace_hits, 3000);
    cr_expect_eq(s.expired_keys, 21);
    for (uint16_t i = 0; i < 3; i++)
        counter_set(&f.server->net_workers[i]->net.counters.connections, 0);
    server_fixture_free(&f);
}

Test(stats, the_parts_of_used_memory_add_up_to_it)
{
    struct server_fixture f = server_fixture_make(2);
    struct stats before, after;
    stats_read(f.server, &before);
    struct shard *sh = &f.server->shard_workers[1]->shard;
    void *value = mem_alloc(&sh->mem, 100000);
    stats_read(f.server, &after);
    cr_expect_geq(after.used_memory, before.used_memory + 100000);
    cr_expect_geq(after.used_memory_dataset, before.used_memory_dataset + 100000);
    cr_expect_eq(after.used_memory_overhead, before.used_memory_overhead);
    cr_expect_eq(after.used_memory_overhead + after.used_memory_dataset, after.used_memory);
    cr_expect_geq(after.used_memory_peak, after.used_memory);
    mem_free(&sh->mem, value, 100000);
    server_fixture_free(&f);
}

Test(stats, a_command_is_counted_where_it_was_taken_and_timed_where_it_ran)
{
    struct server_fixture f = server_fixture_make(2);
    uint16_t id = route_id(&f, "get");
    struct stats_command c;
    counter_add(route_calls(&f, 0, "get"), 3);
    counter_add(route_calls(&f, 1, "get"), 4);
    counter_add(&f.server->net_workers[1]->routes[id].rejected, 5);
    counter_add(&f.server->net_workers[0]->routes[id].failed, 6);
    uint64_t ms = (uint64_t)(env_ticks_per_us() * 1000);
    counter_add(&f.server->shard_workers[0]->shard.per_command[id].ticks, 2 * ms);
    counter_add(&f.server->shard_workers[1]->shard.per_command[id].ticks, 3 * ms);
    counter_add(&f.server->route_ticks[id], 5 * ms);
    stats_read_command(f.server, id, &c);
    cr_expect_eq(c.calls, 7);
    cr_expect_eq(c.rejected, 5);
    cr_expect_eq(c.failed, 6);
    cr_expect(c.usec >= 9900 && c.usec <= 10100, "%llu", (unsigned long long)c.usec);
    server_fixture_free(&f);
}

Test(stats, errors_of_a_kind_are_added_over_threads_and_sorted_by_name)
{
    struct server_fixture f = server_fixture_make(2);
    struct stats_error errors[STATS_ERRORS_MAX];
    cr_expect_eq(stats_read_errors(f.server, errors), 0);
    worker_count_error(f.server->net_workers[0], BYTES_LITERAL("WRONGTYPE Operation"));
    worker_count_error(f.server->net_workers[1], BYTES_LITERAL("ERR one"));
    worker_count_error(f.server->net_workers[1], BYTES_LITERAL("WRONGTYPE"));
    worker_count_error(f.server->net_workers[0], BYTES_LITERAL("ERR two"));
    worker_count_error(f.server->net_workers[0], BYTES_LITERAL("ERROR"));
    cr_assert_eq(stats_read_errors(f.server, errors), 3);
    cr_expect_str_eq(errors[0].name, "ERR");
    cr_expect_eq(errors[0].count, 2);
    cr_expect_str_eq(errors[1].name, "ERROR");
    cr_expect_eq(errors[1].count, 1);
    cr_expect_str_eq(errors[2].name, "WRONGTYPE");
    cr_expect_eq(errors[2].count, 2);
    server_fixture_free(&f);
}

Test(stats, databases_without_keys_do_not_exist)
{
    struct server_fixture f = server_fixture_make(2);
    struct keyspace_stats k;
    cr_expect_not(stats_read_database(f.server, 0, &k));
    struct worker *w = f.server->shard_workers[1];
    struct key key = {.name = BYTES_LITERAL("a"),
                      .hash = bytes_hash(BYTES_LITERAL("a"), f.server->hash_seed)};
    shard_set_now(&w->shard, 1, SERVER_FIXTURE_START_MS);
    cr_assert_eq(keyspace_set_string(&w->shard, &key, BYTES_LITERAL("b"), DEADLINE_NONE), OK);
    cr_assert(stats_read_database(f.server, 0, &k));
    cr_expect_eq(k.keys, 1);
    cr_expect_eq(k.expires, 0);
    struct stats_shard s;
    stats_read_shard(f.server, 1, &s);
    cr_expect_eq(s.keys, 1);
    stats_read_shard(f.server, 0, &s);
    cr_expect_eq(s.keys, 0);
    cr_assert(keyspace_delete(&w->shard, &key));
    cr_expect_not(stats_read_database(f.server, 0, &k));
    server_fixture_free(&f);
}

Test(stats, the_slowest_command_has_its_name)
{
    struct server_fixture f = server_fixture_make(1);
    struct stats_shard s;
    stats_read_shard(f.server, 0, &s);
    cr_expect_null(s.slowest_command);
    struct shard_counters *c = &f.server->shard_workers[0]->shard.counters;
    counter_set(&c->slowest_command, route_id(&f, "object|encoding") + 1u);
    counter_set(&c->slowest_us, 12);
    stats_read_shard(f.server, 0, &s);
    cr_assert_not_null(s.slowest_command);
    cr_expect_str_eq(s.slowest_command, "object|encoding");
    cr_expect_eq(s.slowest_us, 12);
    server_fixture_free(&f);
}

/* ---- recent maxima ---- */

#define WINDOW_NS (UINT64_C(1) << 32)

Test(stats, a_recent_maximum_is_kept_for_one_window_and_forgotten_after_two)
{
    struct recent_max m = {0};
    uint64_t now_ns = 5 * WINDOW_NS + 1;
    recent_max_note(&m, now_ns, 30);
    recent_max_note(&m, now_ns, 20);
    cr_expect_eq(recent_max_read(&m, now_ns), 30);
    cr_expect_eq(recent_max_read(&m, now_ns + WINDOW_NS), 30);
    cr_expect_eq(recent_max_read(&m, now_ns + 2 * WINDOW_NS), 0);
    recent_max_note(&m, now_ns + WINDOW_NS, 10);
    cr_expect_eq(recent_max_read(&m, now_ns + WINDOW_NS), 30);
    cr_expect_eq(recent_max_read(&m, now_ns + 2 * WINDOW_NS), 10);
    recent_max_note(&m, now_ns + 9 * WINDOW_NS, 1);
    cr_expect_eq(recent_max_read(&m, now_ns + 9 * WINDOW_NS), 1);
}

/* ---- resetting ---- */

Test(stats, resetting_zeroes_what_has_happened_and_keeps_what_is)
{
    struct server_fixture f = server_fixture_make(2);
    struct worker *w = f.server->net_workers[0];
    uint16_t id = route_id(&f, "get");
    counter_set(&w->net.counters.connections, 2);
    counter_set(&w->net.counters.connections_ended, 9);
    counter_set(&w->net.counters.connections_received, 11);
    counter_set(&w->routes[id].calls, 5);
    counter_set(&w->shard.per_command[id].ticks, 1000000);
    counter_set(&w->shard.counters.keyspace_misses, 8);
    counter_set(&w->shard.counters.locks_held, 1);
    counter_set(&f.server->rejected_connections, 3);
    worker_count_error(w, BYTES_LITERAL("ERR x"));
    stats_reset_worker(w);
    stats_reset_main(f.server);
    struct stats s;
    struct stats_command c;
    struct stats_error errors[STATS_ERRORS_MAX];
    stats_read(f.server, &s);
    stats_read_command(f.server, id, &c);
    cr_expect_eq(s.connections, 2);
    cr_expect_eq(counter_read(&w->net.counters.connections_ended), 9);
    cr_expect_eq(counter_read(&w->shard.counters.locks_held), 1);
    cr_expect_eq(s.connections_received, 0);
    cr_expect_eq(s.keyspace_misses, 0);
    cr_expect_eq(counter_read(&f.server->rejected_connections), 0);
    cr_expect_eq(c.calls + c.usec, 0);
    cr_expect_eq(stats_read_errors(f.server, errors), 0);
    worker_count_error(w, BYTES_LITERAL("ERR y"));
    uint32_t count = stats_read_errors(f.server, errors);
    cr_expect_eq(count, 1);
    const struct stats_error *again = error_named(errors, count, "ERR");
    cr_expect_eq(again ? again->count : 0, 1);
    counter_set(&w->net.counters.connections, 0);
    counter_set(&w->shard.counters.locks_held, 0);
    server_fixture_free(&f);
}

Test(stats, config_resetstat_reaches_every_thread_before_it_answers)
{
    struct server_fixture f = server_fixture_make(3);
    struct session *s = server_fixture_connect(&f, 1);
    for (uint16_t i = 0; i < 3; i++) counter_add(route_calls(&f, i, "get"), 5);
    counter_set(&f.server->rejected_connections, 3);
    expect(&f, s, "CONFIG RESETSTAT", "+OK\r\n");
    struct stats_command c;
    stats_read_command(f.server, route_id(&f, "get"), &c);
    cr_expect_eq(c.calls, 0);
    cr_expect_eq(counter_read(&f.server->rejected_connections), 0);
    server_fixture_free(&f);
}

/* ---- INFO ---- */

Test(stats, info_shows_the_sections_that_were_asked_for_once_and_in_order)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "INFO keyspace CLUSTER keyspace nonsense",
           "$44\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n# Keyspace\r\n\r\n");
    expect(&f, s, "INFO nonsense", "$0\r\n\r\n");
    server_fixture_free(&f);
}

Test(stats, info_is_verbatim_text_in_resp3)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    s->resp = 3;
    expect(&f, s, "INFO cluster", "=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n");
    expect(&f, s, "INFO nonsense", "=4\r\ntxt:\r\n");
    server_fixture_free(&f);
}

Test(stats, info_without_arguments_leaves_out_what_is_long)
{
    struct server_fixture f = server_fixture_make(2);
    struct session *s = server_fixture_connect(&f, 0);
    char *text = info(&f, s, "INFO");
    cr_expect_not_null(strstr(text, "# Server\r\nredis_version:7.2."));
    cr_expect_not_null(strstr(text, "# Errorstats\r\n"));
    cr_expect_null(strstr(text, "# Commandstats"));
    cr_expect_null(strstr(text, "# Shards"));
    info_free(&f, text);
    cr_expect(info_has(&f, s, "INFO DEFAULT commandstats", "cmdstat_info:calls=1,"));
    cr_expect(info_has(&f, s, "INFO ALL", "shard1:thread=io-1,keys=0,"));
    cr_expect(info_has(&f, s, "INFO EVERYTHING", "thread1:name=io-1,roles=net+shard,"));
    server_fixture_free(&f);
}

/* Where Redis says -1, for what there was none of. */
static bool may_be_minus_one(const char *text, const char *colon)
{
    static const char *const names[] = {"rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec",
                                        "aof_last_rewrite_time_sec",
                                        "aof_current_rewrite_time_sec"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        size_t size = strlen(names[i]);
        if ((size_t)(colon - text) >= size && memcmp(colon - size, names[i], size) == 0)
            return true;
    }
    return false;
}

/* No value is a placeholder. */
Test(stats, info_says_minus_one_only_for_durations_of_what_has_not_been)
{
    struct server_fixture f = server_fixture_make(2);
    struct session *s = server_fixture_connect(&f, 0);
    char *text = info(&f, s, "INFO everything");
    for (const char *at = text; (at = strchr(at, ':')); at++)
        cr_expect(strncmp(at, ":-1\r", 4) != 0 || may_be_minus_one(text, at), "%.40s", at - 30);
    cr_expect_null(strstr(text, "=-1"));
    cr_expect_null(strstr(text, "nan"));
    info_free(&f, text);
    server_fixture_free(&f);
}

Test(stats, info_counts_refused_and_failed_commands)
{
    struct server_fixture f = server_fixture_make(1);
    struct session *s = server_fixture_connect(&f, 0);
    expect(&f, s, "TIME x", "-ERR wrong number of arguments for 'time' command\r\n");
    expect(&f, s, "REPLICAOF a b", "-ERR Invalid master port\r\n");
    expect(&f, s, "nonsense", "-ERR unknown command 'nonsense', with args beginning with: \r\n");
    cr_expect(info_has(
        &f, s, "INFO commandstats",
        "cmdstat_time:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"));
    cr_expect(info_has(&f, s, "INFO commandstats", "rejected_calls=0,failed_calls=1\r\n"));
    cr_expect(info_has(&f, s, "INFO errorstats", "errorstat_ERR:count=3\r\n"));
    cr_expect(info_has(&f, s, "INFO stats", "total_error_replies:3\r\n"));
    server_fixture_free(&f);
}
