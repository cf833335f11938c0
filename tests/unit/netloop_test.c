/* The passes of a net thread's step: places and ids, fairness, timers, the end. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/net_fixture.h"

static struct net_fixture f;

#define SECOND_NS UINT64_C(1000000000)

Test(netloop, a_connection_is_known_by_its_place_and_generation)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    struct conn *conn = net_fixture_conn(&f, 0);
    uint32_t generation = conn->generation;
    cr_assert_eq(netloop_conn(&f.nl, 0, generation), conn);
    cr_assert_null(netloop_conn(&f.nl, 0, generation + 1));
    sim_client_close(c);
    net_fixture_settle(&f);
    cr_assert_null(netloop_conn(&f.nl, 0, generation));
    cr_assert_null(netloop_conn_at(&f.nl, 0));
    net_fixture_connect(&f);
    cr_assert_null(netloop_conn(&f.nl, 0, generation), "the place has another now");
    cr_assert_eq(net_fixture_conn(&f, 0)->index, 0);
    net_fixture_finish(&f);
}

Test(netloop, places_grow_and_keep_those_that_are_there)
{
    net_fixture_start(&f, 1, -1);
    enum { COUNT = 300 };
    struct sim_client *clients[COUNT];
    for (unsigned i = 0; i < COUNT; i++) clients[i] = net_fixture_connect(&f);
    cr_assert_null(netloop_conn_at(&f.nl, 100000));
    for (unsigned i = 0; i < COUNT; i++) {
        char line[32];
        snprintf(line, sizeof line, "s%u %u\r\n", i % 2, i);
        net_fixture_send(clients[i], line);
    }
    net_fixture_settle(&f);
    for (unsigned i = 0; i < COUNT; i++) {
        char line[32];
        snprintf(line, sizeof line, "+%u\r\n", i);
        expect_received(clients[i], line);
    }
    cr_assert_eq(counter_read(&f.nl.counters.connections), COUNT);
    net_fixture_finish(&f);
}

Test(netloop, ids_are_not_given_twice)
{
    net_fixture_start(&f, 1, -1);
    uint64_t last = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct sim_client *c = net_fixture_connect(&f);
        cr_assert_gt(net_fixture_conn(&f, 0)->id, last);
        last = net_fixture_conn(&f, 0)->id;
        sim_client_close(c);
        net_fixture_settle(&f);
    }
    cr_assert_eq(counter_read(&f.nl.counters.connections_received), 10);
    cr_assert_eq(counter_read(&f.nl.counters.connections_ended), 10);
    cr_assert_eq(counter_read(&f.nl.counters.connections), 0);
    net_fixture_finish(&f);
}

/* A long pipeline takes its share of a step, and whoever comes with one request is answered in the
 * same step. */
Test(netloop, a_long_pipeline_does_not_keep_the_others_waiting)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *hog = net_fixture_connect(&f), *small = net_fixture_connect(&f);
    struct buf all = {.mem = &f.nl.mem};
    for (unsigned i = 0; i < 100; i++) buf_append_text(&all, "here x\r\n");
    while (!netloop_has_input(&f.nl)) { /* until it has more than a turn's worth */
        for (unsigned i = 0; i < 10; i++) sim_client_send(hog, buf_view(&all));
        net_fixture_step(&f);
    }
    net_fixture_send(small, "here y\r\n");
    unsigned steps = 0;
    while (sim_client_received(small).size == 0) {
        net_fixture_step(&f);
        cr_assert_lt(++steps, 20);
    }
    net_fixture_settle(&f);
    buf_clear(&all);
    net_fixture_finish(&f);
}

/* ---- timers ---- */

Test(netloop, an_idle_connection_is_closed_after_the_timeout_and_a_busy_one_is_not)
{
    net_fixture_start(&f, 1, -1);
    f.config.idle_timeout_s = 10;
    struct sim_client *idle = net_fixture_connect(&f), *busy = net_fixture_connect(&f);
    for (unsigned second = 0; second < 9; second++) {
        sim_time_advance(SECOND_NS);
        net_fixture_send(busy, "s0 a\r\n");
        net_fixture_settle(&f);
    }
    cr_assert_not(sim_client_is_closed(idle));
    sim_time_advance(2 * SECOND_NS);
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(idle));
    cr_assert_not(sim_client_is_closed(busy));
    cr_assert_eq(counter_read(&f.nl.counters.connections_closed_idle), 1);
    sim_time_advance(11 * SECOND_NS);
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(busy));
    net_fixture_finish(&f);
}

Test(netloop, a_jump_of_the_wall_clock_closes_nobody)
{
    net_fixture_start(&f, 1, -1);
    f.config.idle_timeout_s = 10;
    struct sim_client *c = net_fixture_connect(&f);
    sim_wall_jump(3600 * 1000000LL);
    sim_time_advance(SECOND_NS);
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    sim_wall_jump(-7200 * 1000000LL);
    sim_time_advance(11 * SECOND_NS);
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c), "a clock set back keeps nobody open");
    net_fixture_finish(&f);
}

Test(netloop, who_waits_for_a_reply_is_not_idle)
{
    net_fixture_start(&f, 1, -1);
    f.config.idle_timeout_s = 10;
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "s0 a\r\n");
    net_fixture_settle(&f);
    sim_time_advance(30 * SECOND_NS);
    net_fixture_step(&f);
    net_fixture_step(&f);
    cr_assert_not(sim_client_is_closed(c));
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    net_fixture_finish(&f);
}

Test(netloop, a_timeout_that_is_set_later_counts_for_those_that_are_there)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    sim_time_advance(100 * SECOND_NS);
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    f.config.idle_timeout_s = 10;
    netloop_arm_idle_timers(&f.nl);
    cr_assert_neq(netloop_next_deadline_ns(&f.nl), UINT64_MAX);
    sim_time_advance(SECOND_NS);
    net_fixture_settle(&f);
    cr_assert(sim_client_is_closed(c));
    net_fixture_finish(&f);
}

Test(netloop, a_timeout_that_is_switched_off_closes_nobody)
{
    net_fixture_start(&f, 1, -1);
    f.config.idle_timeout_s = 10;
    struct sim_client *c = net_fixture_connect(&f);
    f.config.idle_timeout_s = 0;
    sim_time_advance(100 * SECOND_NS);
    net_fixture_settle(&f);
    cr_assert_not(sim_client_is_closed(c));
    cr_assert_eq(netloop_next_deadline_ns(&f.nl), UINT64_MAX);
    net_fixture_finish(&f);
}

/* ---- replies ---- */

Test(netloop, replies_larger_than_the_scratch_memory_leave_whole)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    struct reply out = netloop_reply(&f.nl, 2);
    for (unsigned i = 0; i < NETLOOP_SCRATCH_BYTES; i++) reply_i64(&out, 7);
    conn_reply(net_fixture_conn(&f, 0), &out);
    netloop_reply_drop(&f.nl, &out);
    net_fixture_settle(&f);
    struct bytes got = sim_client_received(c);
    cr_assert_eq(got.size, 4u * NETLOOP_SCRATCH_BYTES);
    for (size_t i = 0; i < got.size; i += 4) cr_assert_eq(memcmp(got.data + i, ":7\r\n", 4), 0);
    net_fixture_finish(&f);
}

/* ---- the end ---- */

Test(netloop, is_not_empty_before_everything_has_come_home)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "s0 a\r\n");
    net_fixture_settle(&f);
    netloop_close_all(&f.nl);
    net_fixture_settle(&f);
    cr_assert_eq(f.closed, 1);
    cr_assert_eq(counter_read(&f.nl.counters.connections), 0);
    cr_assert_not(netloop_is_empty(&f.nl), "a parcel is under way");
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    cr_assert(netloop_is_empty(&f.nl));
    net_fixture_finish(&f);
}
