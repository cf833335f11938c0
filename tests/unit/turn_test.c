/* Turns: parcels, credit, positions, and what comes home. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/net_fixture.h"

static struct net_fixture f;

/* So many lines "s0 0", "s0 1" … in one go. */
static void send_many(struct sim_client *c, unsigned count)
{
    struct buf all = {.mem = &f.nl.mem};
    for (unsigned i = 0; i < count; i++) buf_printf(&all, "s0 %u\r\n", i);
    sim_client_send(c, buf_view(&all));
    buf_clear(&all);
}

static void expect_many(struct sim_client *c, unsigned count)
{
    struct buf all = {.mem = &f.nl.mem};
    for (unsigned i = 0; i < count; i++) buf_printf(&all, "+%u\r\n", i);
    cr_assert(bytes_equal(sim_client_received(c), buf_view(&all)));
    buf_clear(&all);
}

/* ---- credit ---- */

Test(turn, without_credit_a_connection_stalls_and_its_request_is_not_lost)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f), *other = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    unsigned sent = 0;
    for (; sent < MESH_PARCELS + 5; sent++) { /* a turn for each */
        char line[32];
        snprintf(line, sizeof line, "s0 %u\r\n", sent);
        net_fixture_send(c, line);
        net_fixture_settle(&f);
    }
    cr_assert_eq(f.nl.turn.in_flight[0], MESH_PARCELS);
    cr_assert_eq(net_fixture_conn(&f, 0)->queue, CONN_STALLED);
    net_fixture_send(other, "s1 free\r\nboth stalls\r\n");
    net_fixture_settle(&f);
    expect_received(other, "+free\r\n");
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_many(c, sent);
    expect_received(other, "+stalls\r\n+stalls\r\n");
    cr_assert_eq(f.nl.turn.in_flight_total, 0);
    net_fixture_finish(&f);
}

/* ---- parcels ---- */

Test(turn, a_full_parcel_ends_the_turn)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *clients[3];
    for (unsigned i = 0; i < 3; i++) clients[i] = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    for (unsigned i = 0; i < 3; i++) send_many(clients[i], PARCEL_REQUESTS_MAX);
    net_fixture_settle(&f);
    cr_assert_geq(f.turn_count, 3);
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    for (unsigned i = 0; i < 3; i++) expect_many(clients[i], PARCEL_REQUESTS_MAX);
    net_fixture_finish(&f);
}

Test(turn, requests_with_many_arguments_fill_parcels_or_live_elsewhere)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    struct buf all = {.mem = &f.nl.mem}, expected = {.mem = &f.nl.mem};
    for (unsigned n = 0; n < 300; n++) {
        unsigned args = n % 40; /* TURN_ARGS_INLINE_MAX and beyond */
        buf_printf(&all, "*%u\r\n$2\r\ns0\r\n$4\r\n%04u\r\n", args + 2, n);
        for (unsigned i = 0; i < args; i++) buf_append_text(&all, "$1\r\nx\r\n");
        buf_printf(&expected, "+%04u\r\n", n);
    }
    sim_client_send(c, buf_view(&all));
    net_fixture_settle(&f);
    cr_assert(bytes_equal(sim_client_received(c), buf_view(&expected)));
    buf_clear(&all);
    buf_clear(&expected);
    net_fixture_finish(&f);
}

Test(turn, parcels_are_used_again)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\n");
    net_fixture_settle(&f);
    cr_assert_eq(f.nl.turn.pool_count, 1);
    const struct parcel *pc = f.nl.turn.pool;
    net_fixture_send(c, "s0 b\r\n");
    net_fixture_settle(&f);
    cr_assert_eq(f.nl.turn.pool, pc);
    cr_assert_eq(f.nl.turn.pool_count, 1);
    net_fixture_finish(&f);
}

/* ---- positions ---- */

Test(turn, every_turn_has_one_position_and_they_grow)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    for (unsigned i = 0; i < 20; i++) {
        net_fixture_send(c, i % 2 ? "both x\r\n" : "s0 y\r\ns1 z\r\n");
        net_fixture_settle(&f);
    }
    cr_assert_geq(f.turn_count, 20);
    for (unsigned i = 0; i < f.turn_count; i++) cr_assert_eq(f.positions[i], SEQUENCER_FIRST + i);
    net_fixture_finish(&f);
}

Test(turn, a_turn_for_the_own_shard_alone_runs_in_place_and_takes_no_position)
{
    net_fixture_start(&f, 1, 0);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n");
    cr_assert_eq(f.in_place, 1);
    cr_assert_eq(sequencer_now(&f.mesh.sequencer), SEQUENCER_FIRST);
    net_fixture_send(c, "both b\r\n");
    net_fixture_settle(&f);
    cr_assert_eq(f.in_place, 1);
    cr_assert_eq(sequencer_now(&f.mesh.sequencer), SEQUENCER_FIRST + 1);
    net_fixture_send(c, "s1 c\r\n");
    net_fixture_settle(&f);
    cr_assert_eq(f.in_place, 1, "the other shard is not ours");
    cr_assert_eq(counter_read(&f.nl.counters.turns_in_place), 1);
    net_fixture_finish(&f);
}

Test(turn, behind_a_parcel_that_waits_for_the_own_shard_a_turn_takes_a_position)
{
    net_fixture_start(&f, 1, 0);
    struct sim_client *c = net_fixture_connect(&f);
    f.is_stopped[0] = true;
    net_fixture_send(c, "both a\r\n");
    net_fixture_settle(&f);
    net_fixture_send(c, "s0 b\r\n");
    net_fixture_settle(&f);
    cr_assert_eq(f.in_place, 0);
    f.is_stopped[0] = false;
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+a\r\n+b\r\n");
    net_fixture_finish(&f);
}

/* ---- errors and overflow ---- */

Test(turn, errors_are_reported_without_their_sign)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "s0 a\r\nfail b\r\ns0 c\r\n");
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n-ERR b\r\n+c\r\n");
    cr_assert_eq(f.failures, 1);
    cr_assert(bytes_equal(buf_view(&f.failed_text), BYTES_LITERAL("ERR b\r\n")));
    net_fixture_finish(&f);
}

/* A second load of chunks that comes back while the first is on its way home must not wait for a
 * third. */
Test(turn, overflow_chunks_of_a_shard_go_home_however_many_loads_there_are)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    for (unsigned i = 0; i < 5; i++) {
        f.is_stopped[0] = true;
        net_fixture_send(c, "big x 20000\r\n");
        net_fixture_settle(&f);
        net_fixture_send(c, "big y 20000\r\n");
        net_fixture_settle(&f);
        f.is_stopped[0] = false;
        net_fixture_settle(&f);
        cr_assert_eq(mem_live_bytes(&f.shard_mem[0]), 0);
        cr_assert_eq(f.nl.errands, 0);
    }
    cr_assert_eq(sim_client_received(c).size, 10u * (8 + 20000 + 2));
    net_fixture_finish(&f);
}

Test(turn, a_split_command_with_a_parked_part_is_answered_when_it_is_in)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "bothpark a\r\ns1 b\r\n");
    net_fixture_settle(&f);
    expect_received(c, "");
    net_fixture_unpark(&f, 0);
    net_fixture_settle(&f);
    expect_received(c, "+a\r\n+a\r\n+b\r\n");
    net_fixture_finish(&f);
}

Test(turn, a_split_command_outlives_its_connection)
{
    net_fixture_start(&f, 1, -1);
    struct sim_client *c = net_fixture_connect(&f);
    net_fixture_send(c, "bothpark a\r\n");
    net_fixture_settle(&f);
    sim_client_close(c);
    net_fixture_settle(&f);
    cr_assert_eq(f.closed, 1);
    cr_assert_not(netloop_is_empty(&f.nl), "its memory is still needed");
    net_fixture_unpark(&f, 0);
    cr_assert(netloop_is_empty(&f.nl));
    net_fixture_finish(&f);
}
