/* How a shard runs a parcel: every request once, in order, its reply where the parcel says. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/unit/parcel_fixture.h"
#include "tests/unit/random.h"

static struct parcel_fixture p;

#define expect_at(index, text)                                                                     \
    do {                                                                                           \
        struct bytes got = parcel_fixture_reply(&p, (index));                                      \
        cr_assert(bytes_equal(got, BYTES_LITERAL(text)), "reply %u: %.*s", (unsigned)(index),      \
                  (int)got.size, got.data);                                                        \
    } while (0)

static void add_all(const char *const *lines, unsigned count)
{
    for (unsigned i = 0; i < count; i++) parcel_fixture_add_line(&p, lines[i]);
}

Test(shard, requests_run_in_order_and_each_has_its_reply)
{
    p = parcel_fixture_make();
    const char *const lines[] = {"SET k v", "GET k", "GET none", "DEL k", "GET k"};
    add_all(lines, ARRAY_LEN(lines));
    parcel_fixture_run(&p);
    expect_at(0, "+OK\r\n");
    expect_at(1, "$1\r\nv\r\n");
    expect_at(2, "$-1\r\n");
    expect_at(3, ":1\r\n");
    expect_at(4, "$-1\r\n");
    cr_assert_not(p.parcel->has_parked);
    parcel_fixture_free(&p);
}

Test(shard, an_empty_parcel_is_run)
{
    p = parcel_fixture_make();
    parcel_fixture_run(&p);
    cr_assert_eq(p.parcel->out.first->size, 0);
    parcel_fixture_free(&p);
}

Test(shard, each_request_is_answered_in_its_own_protocol)
{
    p = parcel_fixture_make();
    parcel_fixture_add_line(&p, "GET none")->resp = 3;
    parcel_fixture_add_line(&p, "GET none")->resp = 2;
    parcel_fixture_add_line(&p, "GET none")->resp = 3;
    parcel_fixture_run(&p);
    expect_at(0, "_\r\n");
    expect_at(1, "$-1\r\n");
    expect_at(2, "_\r\n");
    parcel_fixture_free(&p);
}

Test(shard, each_request_runs_in_its_own_database)
{
    p = parcel_fixture_make();
    parcel_fixture_add_line(&p, "SET k zero");
    parcel_fixture_add_line(&p, "SET k nine")->db = 9;
    parcel_fixture_add_line(&p, "GET k");
    parcel_fixture_add_line(&p, "GET k")->db = 9;
    parcel_fixture_add_line(&p, "GET k")->db = 5;
    parcel_fixture_run(&p);
    expect_at(2, "$4\r\nzero\r\n");
    expect_at(3, "$4\r\nnine\r\n");
    expect_at(4, "$-1\r\n");
    parcel_fixture_free(&p);
}

Test(shard, an_error_is_counted_and_is_the_reply)
{
    p = parcel_fixture_make();
    const char *const lines[] = {"SET k v", "INCR k", "GET k"};
    add_all(lines, ARRAY_LEN(lines));
    parcel_fixture_run(&p);
    expect_at(1, "-ERR value is not an integer or out of range\r\n");
    expect_at(2, "$1\r\nv\r\n");
    cr_assert_eq(p.parcel->requests[0].error_count, 0);
    cr_assert_eq(p.parcel->requests[1].error_count, 1);
    cr_assert_eq(p.parcel->requests[2].error_count, 0);
    cr_assert_eq(p.parcel->out.error_count, 1);
    cr_assert_eq(counter_read(&p.f.shard->counters.error_replies), 1);
    parcel_fixture_free(&p);
}

Test(shard, replies_larger_than_the_parcel_overflow_into_chunks_of_the_shard)
{
    p = parcel_fixture_make();
    enum { BIG = 3 * PARCEL_REPLY_BYTES };
    char *value = malloc(BIG);
    cr_assert_not_null(value);
    for (unsigned i = 0; i < BIG; i++) value[i] = (char)('a' + i % 26);
    const struct command *set = shard_fixture_row(&p.f, "set");
    struct bytes argv[] = {BYTES_LITERAL("set"), BYTES_LITERAL("big"), bytes_make(value, BIG)};
    parcel_fixture_add(&p, set, 3, argv);
    parcel_fixture_add_line(&p, "GET big");
    parcel_fixture_add_line(&p, "GET none");
    parcel_fixture_add_line(&p, "GET big");
    parcel_fixture_run(&p);
    expect_at(0, "+OK\r\n");
    expect_at(2, "$-1\r\n");
    for (unsigned i = 1; i < 4; i += 2) {
        struct bytes got = parcel_fixture_reply(&p, i);
        cr_assert_eq(got.size, sizeof("$36864\r\n") - 1 + BIG + 2);
        cr_assert_eq(memcmp(got.data, "$36864\r\n", 8), 0);
        cr_assert_eq(memcmp(got.data + 8, value, BIG), 0);
    }
    cr_assert_not_null(p.parcel->out.first->next);
    reply_validate(&p.parcel->out);
    free(value);
    parcel_fixture_free(&p);
}

Test(shard, a_full_parcel_is_run_in_windows_without_losing_one)
{
    p = parcel_fixture_make();
    for (unsigned i = 0; i < PARCEL_REQUESTS_MAX; i++) parcel_fixture_add_line(&p, "INCR n");
    parcel_fixture_run(&p);
    for (unsigned i = 0; i < PARCEL_REQUESTS_MAX; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, ":%u\r\n", i + 1);
        cr_assert(bytes_equal(parcel_fixture_reply(&p, i), bytes_make(text, (size_t)size)));
    }
    parcel_fixture_free(&p);
}

Test(shard, counters_tell_requests_parcels_and_calls_per_command)
{
    p = parcel_fixture_make();
    const char *const lines[] = {"SET k v", "SET k w", "INCR k", "SET k x"};
    add_all(lines, ARRAY_LEN(lines));
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++) p.parcel->requests[i].command_id = i == 2;
    struct shard *sh = p.f.shard;
    struct shard_command_counters per_command[2] = {0}, *own = sh->per_command;
    sh->per_command = per_command; /* the fixture's shard knows one command only */
    parcel_fixture_run(&p);
    sh->per_command = own;
    cr_assert_eq(counter_read(&sh->counters.requests), 4);
    cr_assert_eq(counter_read(&sh->counters.parcels), 1);
    cr_assert_eq(counter_read(&per_command[0].calls), 3);
    cr_assert_eq(counter_read(&per_command[0].failed), 0);
    cr_assert_eq(counter_read(&per_command[1].calls), 1);
    cr_assert_eq(counter_read(&per_command[1].failed), 1);
    parcel_fixture_free(&p);
}

/* ---- parked requests ---- */

static uint64_t token;
static unsigned late_count;
static char late_text[64];

static enum err on_hold(struct shard *sh, struct request *rq, struct reply *out)
{
    token = locks_take(sh, rq);
    reply_ok(out);
    return OK;
}

static enum err on_release(struct shard *sh, struct request *rq, struct reply *out)
{
    cr_assert_eq(rq->argc, 1);
    locks_release(sh, token);
    reply_ok(out);
    return OK;
}

static const struct command hold = {.name = "hold", .on_shard = on_hold, .keys = KEYS_ALL(KEY_RW)};
static const struct command release = {.name = "release", .on_shard = on_release};

static void note_late(const struct late_reply *late, struct bytes reply)
{
    late_count++;
    cr_assert_eq(late->run.conn_index, 102);
    cr_assert_eq(late->net_id, 0);
    cr_assert_lt(reply.size, sizeof late_text);
    memcpy(late_text, reply.data, reply.size);
}

Test(shard, a_parked_request_takes_no_room_among_the_replies_and_is_answered_later)
{
    p = parcel_fixture_make();
    parcel_fixture_on_late(note_late);
    struct bytes words[] = {BYTES_LITERAL("hold"), BYTES_LITERAL("k")};
    parcel_fixture_add(&p, &hold, 2, words);
    parcel_fixture_add_line(&p, "SET other v");
    parcel_fixture_add_line(&p, "SET k v GET")->resp = 3;
    parcel_fixture_add_line(&p, "GET other");
    parcel_fixture_run(&p);
    cr_assert(p.parcel->has_parked);
    cr_assert(p.parcel->requests[2].flags & REQUEST_PARKED);
    cr_assert_not((p.parcel->requests[0].flags | p.parcel->requests[1].flags) & REQUEST_PARKED);
    expect_at(1, "+OK\r\n");
    expect_at(2, "");
    expect_at(3, "$1\r\nv\r\n");
    cr_assert_not(shard_is_settled(p.f.shard));

    parcel_fixture_begin(&p);
    parcel_fixture_add(&p, &release, 1, words)->flags = REQUEST_COMMIT;
    parcel_fixture_add_line(&p, "GET k");
    parcel_fixture_run(&p);
    cr_assert_eq(late_count, 1);
    cr_assert_str_eq(late_text, "_\r\n");
    expect_at(1, "$1\r\nv\r\n");
    cr_assert(shard_is_settled(p.f.shard));
    parcel_fixture_free(&p);
}

/* ---- the loop's questions ---- */

Test(shard, random_numbers_follow_the_seed)
{
    p = parcel_fixture_make();
    p.f.shard->random_state = 77;
    uint64_t first = shard_random(p.f.shard), second = shard_random(p.f.shard);
    cr_assert_neq(first, second);
    p.f.shard->random_state = 77;
    cr_assert_eq(shard_random(p.f.shard), first);
    parcel_fixture_free(&p);
}

Test(shard, background_work_that_is_done_is_due_later)
{
    p = parcel_fixture_make();
    while (shard_background(p.f.shard)) shard_fixture_pass_ms(&p.f, 1);
    cr_assert_gt(shard_next_deadline_ns(p.f.shard), p.f.shard->now_ns);
    parcel_fixture_free(&p);
}

/* Parcels of any size and content give what the same commands give one by one. */
Test(shard, random_parcels_give_what_single_commands_give)
{
    struct random r = random_make();
    p = parcel_fixture_make();
    struct shard_fixture single = shard_fixture_make();
    for (unsigned round = 0; round < 300; round++) {
        char lines[PARCEL_REQUESTS_MAX][64];
        unsigned count = (unsigned)random_below(&r, PARCEL_REQUESTS_MAX + 1);
        static const char *const forms[] = {"GET k%u", "SET k%u v%u",    "INCR k%u",
                                            "DEL k%u", "APPEND k%u x%u", "STRLEN k%u"};
        shard_here = p.f.shard;
        parcel_fixture_begin(&p);
        for (unsigned i = 0; i < count; i++) {
            unsigned key = (unsigned)random_below(&r, 20), value = (unsigned)random_below(&r, 1000);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(lines[i], sizeof lines[i], forms[random_below(&r, ARRAY_LEN(forms))], key,
                     value);
#pragma GCC diagnostic pop
            parcel_fixture_add_line(&p, lines[i]);
        }
        parcel_fixture_run(&p);
        reply_validate(&p.parcel->out);
        shard_here = single.shard;
        for (unsigned i = 0; i < count; i++) {
            struct bytes expected = shard_fixture_run_line(&single, lines[i]);
            cr_assert(bytes_equal(parcel_fixture_reply(&p, i), expected), "%s", lines[i]);
        }
    }
    shard_fixture_free(&single);
    shard_here = p.f.shard;
    parcel_fixture_free(&p);
}
