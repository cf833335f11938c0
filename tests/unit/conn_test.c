/* One connection: its pipeline of replies, its input under back-pressure, and its end in every
 * state. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/net_fixture.h"
#include "tests/unit/random.h"

static struct net_fixture f;

/* ---- order ---- */

Test(conn, replies_leave_in_the_order_of_the_requests)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\ns1 b\r\nhere c\r\ns0 d\r\nboth e\r\ns0 f\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n+c\r\n+d\r\n+e\r\n+e\r\n+f\r\n");
    net_fixture_finish(&f);
}

Test(conn, a_slow_shard_holds_back_the_replies_of_a_fast_one)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "s1 a\r\ns0 b\r\ns1 c\r\nhere d\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_received(c, "+b\r\n+c\r\n+d\r\n");
    net_fixture_finish(&f);
}

Test(conn, parts_of_a_pipeline_that_went_to_several_shards_leave_together)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = f.is_stopped[1] = true;
    net_fixture_send(c, "s1 a\r\ns0 b\r\n");
    net_fixture_settle(&f);
    f.is_stopped[1] = false;
    net_fixture_settle(&f);
    expect_received(c, "");
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n");
    cr_assert_eq(counter_read(&f.nl.counters.writes), 1);
    net_fixture_finish(&f);
}

Test(conn, a_client_that_never_stops_asking_is_answered)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = f.is_stopped[1] = true;
    net_fixture_send(c, "s1 a\r\ns0 b\r\n");
    net_fixture_settle(&f);
    net_fixture_run_shard(&f, 1);
    net_fixture_settle(&f);
    net_fixture_send(c, "s1 c\r\n");
    net_fixture_settle(&f);
    net_fixture_run_shard(&f, 0);
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n");
    net_fixture_run_shard(&f, 1);
    net_fixture_settle(&f);
    expect_received(c, "+c\r\n");
    net_fixture_finish(&f);
}

Test(conn, a_slow_request_of_one_connection_does_not_hold_back_another)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *a = net_fixture_connect(&f), *b = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(a, "s0 slow\r\n");
    net_fixture_send(b, "s1 fast\r\n");
    net_fixture_settle(&f);
    expect_received(a, "");
    expect_received(b, "+fast\r\n");
    net_fixture_finish(&f);
}

Test(conn, neighbours_in_one_parcel_share_a_slot)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    for (unsigned i = 0; i < 10; i++) net_fixture_send(c, "s0 x\r\n");
    net_fixture_settle(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert_leq(conn->slot_tail - conn->slot_head, f.turn_count);
    net_fixture_finish(&f);
}

/* ---- muted replies ---- */

Test(conn, muted_replies_are_thrown_away_and_the_others_keep_their_order)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c,
                     "s0 a\r\nmute on\r\ns0 b\r\nhere c\r\nboth d\r\ns0 e\r\nmute off\r\ns0 f\r\n");
    net_fixture_settle(&f);
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+f\r\n");
    net_fixture_finish(&f);
}

/* ---- late replies ---- */

Test(conn, a_parked_request_holds_back_what_comes_after_it_and_nothing_before)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s1 a\r\npark b\r\ns1 c\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    expect_received(c, "+b\r\n+c\r\n");
    net_fixture_finish(&f);
}

Test(conn, parked_requests_of_one_run_may_be_answered_in_any_order)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true; /* so that all go in one parcel, whatever the pieces */
    net_fixture_send(c, "s0 a\r\npark b\r\ns0 c\r\npark d\r\npark e\r\ns0 f\r\n");
    net_fixture_settle(&f);
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    cr_assert_eq(f.parked_count, 3);
    net_fixture_unpark(&f, 2);
    net_fixture_unpark(&f, 0);
    net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n+c\r\n+d\r\n+e\r\n+f\r\n");
    net_fixture_finish(&f);
}

/* Two replies that fill several chunks stand beside a parked one in the same run. */
Test(conn, big_replies_beside_a_parked_one_are_whole)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "big x 30000\r\npark b\r\nbig y 40000\r\n");
    net_fixture_settle(&f);
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    struct bytes got = sim_client_received(c);
    cr_assert_eq(got.size, 8u + 30000 + 2 + 4 + 8 + 40000 + 2);
    cr_assert_eq(memcmp(got.data, "$30000\r\nx", 9), 0);
    cr_assert_eq(memcmp(got.data + 30008, "\r\n+b\r\n$40000\r\ny", 15), 0);
    for (unsigned i = 0; i < 40000; i++) cr_assert_eq(got.data[30008 + 14 + i], 'y');
    net_fixture_finish(&f);
}

Test(conn, a_late_reply_to_a_connection_that_is_gone_is_dropped)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\npark b\r\npark c\r\n");
    net_fixture_settle(&f);
    sim_client_close(c);
    net_fixture_settle(&f);
    cr_assert_eq(f.closed, 1);
    struct sim_client *next = net_fixture_connect(&f); /* takes the same place */
    net_fixture_send(next, "s1 x\r\n");
    while (f.parked_count > 0) net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    expect_received(next, "+x\r\n");
    net_fixture_finish(&f);
}

/* ---- deferred replies ---- */

Test(conn, nothing_runs_behind_a_deferred_command)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\nwait b\r\nhere c\r\ns0 d\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    net_fixture_answer(&f, "b");
    net_fixture_settle(&f);
    expect_received(c, "+b\r\n+c\r\n+d\r\n");
    net_fixture_finish(&f);
}

Test(conn, the_end_of_input_behind_a_deferred_command_closes_after_the_rest)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "wait a\r\nhere b\r\n");
    sim_client_finish(c);
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    net_fixture_answer(&f, "a");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n");
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(conn, a_connection_may_go_while_a_deferred_command_is_out)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "wait b\r\nhere c\r\n");
    net_fixture_settle(&f);
    sim_client_close(c);
    net_fixture_settle(&f);
    net_fixture_answer(&f, "b");
    net_fixture_finish(&f);
}

/* Single bytes that arrive while the connection waits are kept, in order, and cost no more than
 * their number. */
Test(conn, what_arrives_in_single_bytes_meanwhile_is_kept_in_order)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "wait a\r\n");
    net_fixture_settle(&f);
    char expected[8192] = "+a\r\n";
    for (unsigned i = 0; i < 500; i++) {
        char line[32];
        snprintf(line, sizeof line, "here %u\r\n", i);
        for (const char *p = line; *p; p++) {
            sim_client_send(c, bytes_make(p, 1));
            net_fixture_step(&f);
        }
        snprintf(line, sizeof line, "+%u\r\n", i);
        strcat(expected, line);
    }
    cr_assert_gt(net_fixture_conn(&f, 0)->waiting_count, 4000);
    net_fixture_answer(&f, "a");
    net_fixture_settle(&f);
    expect_received(c, expected);
    net_fixture_finish(&f);
}

Test(conn, a_stalled_connection_keeps_no_receive_buffers_and_in_the_end_stops_receiving)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "wait a\r\n");
    net_fixture_settle(&f);
    char *line = malloc(200000);
    cr_assert_not_null(line);
    memset(line, 'x', 200000);
    memcpy(line, "here ", 5);
    memcpy(line + 60000, "\r\n", 2);
    sim_client_send(c, bytes_make(line, 60002));
    for (unsigned i = 0; i < 100; i++)
        net_fixture_send(c, "here 0123456789012345678901234567890123456789\r\nhere b\r\n");
    for (unsigned i = 0; i < 20; i++) sim_client_send(c, bytes_make(line, 60002));
    net_fixture_settle(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert_not(conn->is_receiving);
    cr_assert_lt(conn->waiting_bytes,
                 1000000); /* what was on its way when it stopped still comes */
    cr_assert_geq(env_buffers_free(f.threads[0].loop), 60);
    net_fixture_answer(&f, "a");
    net_fixture_settle(&f);
    cr_assert(conn->is_receiving);
    cr_assert_eq(sim_client_received(c).size, 4u + 21 * (60000 - 5 + 3) + 100 * (43 + 4));
    free(line);
    net_fixture_finish(&f);
}

/* ---- limits ---- */

Test(conn, a_query_above_the_limit_closes_the_connection)
{
    net_fixture_start(&f, 1, -1);
    f.config.query_bytes_max = 10000;
    struct sim_client *c = net_fixture_connect(&f), *other = net_fixture_connect(&f);
    net_fixture_send(c, "*1\r\n$20000\r\n");
    char *bytes = calloc(1, 15000);
    sim_client_send(c, bytes_make(bytes, 15000));
    net_fixture_send(other, "s0 a\r\n");
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c));
    expect_received(other, "+a\r\n");
    free(bytes);
    net_fixture_finish(&f);
}

Test(conn, a_client_over_the_hard_output_limit_is_cut)
{
    net_fixture_start(&f, 1, -1);
    f.config.output_limits[0] = (struct output_limit){.hard_bytes = 100000};
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "big x 60000\r\n");
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    net_fixture_send(c, "big x 60000\r\nbig x 60000\r\n");
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c) || sim_client_received(c).size == 3 * 60010);
    net_fixture_send(c, "big x 120000\r\n");
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c));
    cr_assert_eq(counter_read(&f.nl.counters.connections_cut_output), 1);
    net_fixture_finish(&f);
}

Test(conn, a_client_over_the_soft_output_limit_is_cut_after_its_seconds)
{
    net_fixture_start(&f, 1, -1);
    f.config.output_limits[0] = (struct output_limit){.soft_bytes = 1000, .soft_seconds = 10};
    const struct bytes more = BYTES_LITERAL("+more\r\n");
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "big x 5000\r\n");
    net_fixture_step(&f);
    f.is_network_stopped = true; /* the client does not read */
    for (unsigned i = 0; i < 5; i++) net_fixture_step(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert(conn->is_sending && conn->out_bytes > 5000);
    for (unsigned second = 0; second < 9; second++) {
        sim_time_advance(1000000000);
        conn_push(net_fixture_conn(&f, 0), NULL, &more, 1);
        net_fixture_step(&f);
        cr_assert_not(conn->is_closing, "after %u s", second + 1);
    }
    sim_time_advance(1500000000);
    conn_push(net_fixture_conn(&f, 0), NULL, &more, 1);
    net_fixture_step(&f);
    cr_assert(conn->is_closing);
    net_fixture_finish(&f);
}

Test(conn, a_client_over_the_soft_output_limit_is_cut_though_nothing_more_comes)
{
    net_fixture_start(&f, 1, -1);
    f.config.output_limits[0] = (struct output_limit){.soft_bytes = 1000, .soft_seconds = 3};
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "big x 5000\r\n");
    net_fixture_step(&f);
    f.is_network_stopped = true;
    for (unsigned i = 0; i < 5; i++) net_fixture_step(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert(conn->is_sending && conn->out_bytes > 5000);
    sim_time_advance(2900000000);
    net_fixture_step(&f);
    cr_assert_not(conn->is_closing);
    sim_time_advance(200000000);
    for (unsigned i = 0; i < 3; i++) net_fixture_step(&f);
    cr_assert(conn->is_closing);
    net_fixture_finish(&f);
}

Test(conn, a_client_that_was_under_the_soft_output_limit_in_between_has_its_seconds_again)
{
    net_fixture_start(&f, 1, -1);
    f.config.output_limits[0] = (struct output_limit){.soft_bytes = 1000, .soft_seconds = 3};
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "big x 5000\r\n");
    net_fixture_settle(&f);
    sim_time_advance(2000000000);
    net_fixture_send(c, "big x 10\r\n");
    net_fixture_settle(&f);
    net_fixture_send(c, "big x 5000\r\n");
    net_fixture_step(&f);
    f.is_network_stopped = true;
    for (unsigned i = 0; i < 5; i++) net_fixture_step(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert(conn->is_sending && conn->out_bytes > 5000);
    for (unsigned second = 0; second < 2; second++) {
        sim_time_advance(1400000000);
        for (unsigned i = 0; i < 3; i++) net_fixture_step(&f);
        cr_assert_not(conn->is_closing, "second %u", second);
    }
    sim_time_advance(300000000);
    for (unsigned i = 0; i < 3; i++) net_fixture_step(&f);
    cr_assert(conn->is_closing);
    net_fixture_finish(&f);
}

Test(conn, large_replies_arrive_whole_and_in_many_pieces)
{
    net_fixture_start(&f, 3, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "big x 3000000\r\ns0 a\r\nbig y 100\r\n");
    net_fixture_settle(&f);
    struct bytes got = sim_client_received(c);
    cr_assert_eq(got.size, 10u + 3000000 + 2 + 4 + 6 + 100 + 2);
    cr_assert_eq(memcmp(got.data + 3000010, "\r\n+a\r\n$100\r\nyyy", 15), 0);
    cr_assert_eq(net_fixture_conn(&f, 0)->out_bytes, 0);
    cr_assert_eq(mem_live_bytes(&f.shard_mem[0]), 0, "overflow chunks went home");
    net_fixture_finish(&f);
}

/* ---- slots ---- */

Test(conn, a_pipeline_stalls_when_its_slots_are_used_up_and_goes_on_when_they_come_back)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[1] = true;
    struct buf all = {.mem = &f.nl.mem}, expected = {.mem = &f.nl.mem};
    for (unsigned i = 0; i < 3 * CONN_SLOTS_MAX;
         i++) { /* alternating, so that none shares a slot */
        buf_printf(&all, "s%u %u\r\n", i % 2, i);
        buf_printf(&expected, "+%u\r\n", i);
    }
    sim_client_send(c, buf_view(&all));
    net_fixture_settle(&f);
    const struct conn *conn = net_fixture_conn(&f, 0);
    cr_assert_leq(conn->slot_tail - conn->slot_head, CONN_SLOTS_MAX);
    cr_assert_eq(conn->queue, CONN_STALLED);
    cr_assert_gt(counter_read(&f.nl.counters.stalls), 0);
    f.is_stopped[1] = false;
    net_fixture_settle(&f);
    cr_assert(bytes_equal(sim_client_received(c), buf_view(&expected)));
    buf_clear(&all);
    buf_clear(&expected);
    net_fixture_finish(&f);
}

/* ---- ends ---- */

Test(conn, the_end_of_input_closes_after_everything_was_answered)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "s0 a\r\npark b\r\ns0 c\r\n");
    sim_client_finish(c);
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+b\r\n+c\r\n");
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(conn, the_end_of_input_behind_half_a_request_closes)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\n*2\r\n$3\r\nab");
    sim_client_finish(c);
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(conn, closing_after_the_reply_drops_what_came_behind)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\nquit\r\nhere never\r\ns0 never\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(conn, broken_protocol_is_answered_in_its_place_and_closes)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\n*1\r\n:1\r\nhere never\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+broken\r\n");
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(conn, closing_at_once_in_the_middle_of_its_own_input_is_safe)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f), *other = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\npark b\r\nboth c\r\nbig x 50000\r\nkill\r\nhere never\r\n");
    net_fixture_send(other, "s0 x\r\n");
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c));
    expect_received(other, "+x\r\n");
    net_fixture_finish(&f);
}

static void unpark_any(struct random *r)
{
    if (f.parked_count > 0) net_fixture_unpark(&f, (unsigned)random_below(r, f.parked_count));
}

/* Whatever is under way: requests, halves of requests, sends, parked and deferred ones. Leaks and
 * late accesses are seen by net_fixture_finish and the sanitizers. */
Test(conn, a_connection_may_end_at_any_moment)
{
    struct random r = random_make();
    static const char *const lines[] = {
        "s0 a\r\n",     "s1 b\r\n",        "bothpark z\r\n", "both c\r\n",
        "park d\r\n",   "big x 70000\r\n", "here e\r\n",     "mute on\r\n",
        "mute off\r\n", "fail f\r\n",      "s0 g",           "*1\r\n$4\r\nhe",
        "wait h\r\n",   "quit\r\n",        "big y 300\r\n",  "kill\r\n",
        "s1 i\r\n",
    };
    for (unsigned round = 0; round < 400; round++) {
        net_fixture_start(&f, random_next(&r), (int32_t)random_below(&r, 3) - 1);
        struct sim_client *clients[4];
        bool is_silent[4] = {false};
        for (unsigned i = 0; i < 4; i++) clients[i] = net_fixture_connect(&f);
        unsigned steps = (unsigned)random_below(&r, 40);
        for (unsigned step = 0; step < steps; step++) {
            unsigned i = (unsigned)random_below(&r, 4);
            struct sim_client *c = clients[i];
            f.is_stopped[0] = random_below(&r, 2);
            f.is_stopped[1] = random_below(&r, 2);
            f.is_network_stopped = random_below(&r, 3) == 0;
            uint64_t what = random_below(&r, 30);
            if (is_silent[i]) what = 2 + what % 2;
            is_silent[i] |= what < 2;
            if (what == 0)
                sim_client_close(c);
            else if (what == 1)
                sim_client_finish(c);
            else if (what == 2)
                unpark_any(&r);
            else if (what == 3)
                net_fixture_answer(&f, "h");
            else
                net_fixture_send(c, lines[random_below(&r, ARRAY_LEN(lines))]);
            if (random_below(&r, 2)) net_fixture_step(&f);
        }
        net_fixture_finish(&f);
    }
}

static void expect_later(struct buf *expected, const char *form, unsigned number)
{
    buf_printf(expected, form[0] == 'f' ? "-ERR %u\r\n" : "+%u\r\n", number);
    if (form[0] == 'b') buf_printf(expected, "+%u\r\n", number);
}

/* The same with pipelines that are answered to the end: every reply in its place. */
Test(conn, random_pipelines_are_answered_in_order)
{
    struct random r = random_make();
    static const char *const forms[] = {"s0",   "s0",   "s1",       "both",
                                        "here", "park", "bothpark", "fail"};
    for (unsigned round = 0; round < 150; round++) {
        net_fixture_start(&f, random_next(&r), (int32_t)random_below(&r, 3) - 1);
        struct sim_client *clients[3];
        struct buf expected[3];
        bool is_muted[3] = {false};
        for (unsigned i = 0; i < 3; i++) {
            clients[i] = net_fixture_connect(&f);
            expected[i] = (struct buf){.mem = &f.nl.mem};
        }
        for (unsigned n = 0; n < 60; n++) {
            unsigned i = (unsigned)random_below(&r, 3);
            const char *form = forms[random_below(&r, ARRAY_LEN(forms))];
            char line[32];
            if (random_below(&r, 10) == 0) {
                is_muted[i] = !is_muted[i];
                net_fixture_send(clients[i], is_muted[i] ? "mute on\r\n" : "mute off\r\n");
            }
            snprintf(line, sizeof line, "%s %u\r\n", form, n);
            net_fixture_send(clients[i], line);
            if (!is_muted[i]) expect_later(&expected[i], form, n);
            f.is_stopped[0] = random_below(&r, 3) == 0;
            f.is_stopped[1] = random_below(&r, 3) == 0;
            if (random_below(&r, 4) == 0) net_fixture_step(&f);
            if (random_below(&r, 3) == 0) unpark_any(&r);
        }
        f.is_stopped[0] = f.is_stopped[1] = false;
        net_fixture_settle(&f);
        while (f.parked_count > 0) {
            unpark_any(&r);
            net_fixture_settle(&f);
        }
        for (unsigned i = 0; i < 3; i++) {
            cr_assert(bytes_equal(sim_client_received(clients[i]), buf_view(&expected[i])),
                      "round %u client %u", round, i);
            buf_clear(&expected[i]);
        }
        net_fixture_finish(&f);
    }
}
