/* Requests that wait for keys: who is served, when, and what coordinators are told. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "tests/unit/parcel_fixture.h"
#include "tests/unit/random.h"

static struct parcel_fixture p;
static uint64_t position;
static char late_log[8192]; /* "<connection>=<reply> " for each late reply */

static void log_text(const char *text, size_t size)
{
    size_t at = strlen(late_log);
    cr_assert_lt(at + size + 2, sizeof late_log);
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\n') late_log[at++] = text[i] == '\r' ? ',' : text[i];
    late_log[at] = '\0';
}

static void on_late(const struct late_reply *late, struct bytes reply)
{
    char head[64];
    log_text(head, (size_t)snprintf(head, sizeof head, "%u=", late->run.conn_index));
    struct wait_report report;
    if (reply.size >= sizeof report && reply.data[0] == 0) {
        memcpy(&report, reply.data, sizeof report);
        log_text(head,
                 (size_t)snprintf(head, sizeof head, "key %u since %u", (unsigned)report.index,
                                  (unsigned)report.since.position / 2));
        if (reply.size > sizeof report) log_text(":", 1);
        log_text(reply.data + sizeof report, reply.size - sizeof report);
    } else {
        log_text(reply.data, reply.size);
    }
    log_text(" ", 1);
}

static void start(void)
{
    p = parcel_fixture_make();
    parcel_fixture_on_late(on_late);
    const struct command_family *const families[] = {&list_family,          &zset_family,
                                                     &internal_family,      &list_blocking_family,
                                                     &zset_blocking_family, &stream_family};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(&p.f, families[i]);
    position = 0;
    late_log[0] = '\0';
}

static void finish(void)
{
    waits_validate(p.f.shard);
    cr_assert(shard_is_settled(p.f.shard));
    cr_assert_eq(p.f.shard->waits.queues.count, 0);
    cr_assert_eq(p.f.shard->waits.claimants, 0);
    parcel_fixture_free(&p);
}

/* ---- one request in a turn of its own ---- */

static void turn_begin(void)
{
    parcel_fixture_begin(&p);
    atomic_store_explicit(&p.parcel->position, ++position, memory_order_relaxed);
}

static void turn_end(void)
{
    parcel_fixture_run(&p);
    waits_validate(p.f.shard);
    locks_validate(p.f.shard);
}

static struct bytes run_as(unsigned conn, uint8_t flags, const char *line)
{
    turn_begin();
    struct request *rq = parcel_fixture_add_line(&p, line);
    rq->flags = flags;
    p.parcel->runs[0].conn_index = conn;
    turn_end();
    return parcel_fixture_reply(&p, 0);
}

static void internal(unsigned conn, uint8_t flags, uint32_t argc, const struct bytes *argv)
{
    turn_begin();
    char name[16] = "";
    memcpy(name, argv[0].data, argv[0].size);
    parcel_fixture_add(&p, shard_fixture_row(&p.f, name), argc, argv)->flags = flags;
    p.parcel->runs[0].conn_index = conn;
    turn_end();
}

#define says(line, text)                                                                           \
    do {                                                                                           \
        struct bytes r_ = run_as(1, 0, line);                                                      \
        cr_assert(bytes_equal(r_, BYTES_LITERAL(text)), "%s: %.*s", line, (int)r_.size, r_.data);  \
    } while (0)
#define waits_as(conn, more, line)                                                                 \
    cr_assert_eq(run_as(conn, (uint8_t)(REQUEST_MAY_WAIT | (more)), line).size, 0, "%s", line)

/* All late replies since the last time. */
static void expect_late(const char *text, int line)
{
    cr_assert_str_eq(late_log, text, "line %d: %s, not %s", line, late_log, text);
    late_log[0] = '\0';
}
#define late(text) expect_late(text, __LINE__)

static uint64_t hold_both(const char *key, const char *other)
{
    struct bytes argv[] = {BYTES_LITERAL("lock"), BYTES_LITERAL("\0\0\0\0\0\0\0\0"),
                           bytes_of(key),         BYTES_LITERAL("-\0\0"),
                           bytes_of(other),       BYTES_LITERAL("-\0\0")};
    internal(2, 0, ARRAY_LEN(argv), argv);
    struct bytes reply = parcel_fixture_reply(&p, 0);
    uint64_t token;
    cr_assert_gt(reply.size, 16u);
    memcpy(&token, (const char *)memchr(reply.data, '\n', reply.size) + 5, sizeof token);
    return token;
}

static uint64_t hold(const char *key)
{
    return hold_both(key, key);
}

static void unlock(uint64_t token)
{
    struct bytes argv[] = {BYTES_LITERAL("unlock"), bytes_make(&token, sizeof token)};
    internal(2, REQUEST_COMMIT, 2, argv);
}

static void settle(unsigned conn, uint64_t turn, const char *key)
{
    struct wait_id id = {.conn_index = conn};
    struct turn_point since = {turn == UINT64_MAX ? turn : 2 * turn, 0};
    struct bytes argv[] = {BYTES_LITERAL("settle"), bytes_make(&id, sizeof id),
                           bytes_make(&since, sizeof since), bytes_of(key)};
    internal(conn, REQUEST_COMMIT, 4, argv);
}

static void end_claim(unsigned conn, const char *how)
{
    struct wait_id id = {.conn_index = conn};
    struct bytes argv[] = {BYTES_LITERAL("claim"), bytes_make(&id, sizeof id), bytes_of(how)};
    internal(conn, REQUEST_COMMIT, 3, argv);
}

static void again(unsigned conn)
{
    struct wait_id id = {.conn_index = conn};
    struct bytes argv[] = {BYTES_LITERAL("again"), bytes_make(&id, sizeof id)};
    internal(conn, REQUEST_COMMIT, 2, argv);
}

/* ---- alone ---- */

Test(wait, who_may_not_wait_gets_null)
{
    start();
    says("BLPOP a b 0", "*-1\r\n");
    says("BLMOVE a b LEFT LEFT 0", "$-1\r\n");
    says("BLMPOP 0 1 a LEFT", "*-1\r\n");
    says("BZPOPMIN a 0", "*-1\r\n");
    says("BZMPOP 0 1 a MIN", "*-1\r\n");
    finish();
}

Test(wait, the_first_key_that_exists_is_served_at_once)
{
    start();
    says("RPUSH b 1", ":1\r\n");
    says("RPUSH c 2", ":1\r\n");
    struct bytes reply = run_as(10, REQUEST_MAY_WAIT, "BLPOP a b c 0");
    cr_assert(bytes_equal(reply, BYTES_LITERAL("*2\r\n$1\r\nb\r\n$1\r\n1\r\n")));
    says("SET s x", "+OK\r\n");
    reply = run_as(10, REQUEST_MAY_WAIT, "BLPOP a s c 0");
    cr_assert_eq(reply.data[0], '-');
    finish();
}

Test(wait, waiters_are_served_in_the_order_of_their_arrival_by_the_command_that_pushes)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    waits_as(11, 0, "BRPOP b a 0");
    waits_as(12, 0, "BLPOP a a 0");
    says("RPUSH a 1 2", ":2\r\n");
    late("10=*2,$1,a,$1,1, 11=*2,$1,a,$1,2, ");
    says("EXISTS a", ":0\r\n");
    says("RPUSH b 3", ":1\r\n");
    says("RPUSH a 4", ":1\r\n");
    late("12=*2,$1,a,$1,4, ");
    says("LLEN b", ":1\r\n");
    finish();
}

Test(wait, only_the_right_type_wakes)
{
    start();
    waits_as(10, 0, "BZPOPMIN a 0");
    waits_as(11, 0, "BLPOP a 0");
    says("SET a x", "+OK\r\n");
    late("");
    says("DEL a", ":1\r\n");
    says("RPUSH a 1", ":1\r\n");
    late("11=*2,$1,a,$1,1, ");
    says("ZADD a 5 m", ":1\r\n");
    late("10=*3,$1,a,$1,m,$1,5, ");
    finish();
}

Test(wait, whatever_brings_a_list_to_the_key_wakes)
{
    start();
    const char *const lines[] = {"RENAME s a", "COPY s a", "LMOVE s a LEFT LEFT"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        waits_as(10, 0, "BLPOP a 0");
        says("RPUSH s 1", ":1\r\n");
        run_as(1, 0, lines[i]);
        late("10=*2,$1,a,$1,1, ");
        run_as(1, 0, "DEL s");
    }
    finish();
}

Test(wait, a_move_makes_the_next_key_ready)
{
    start();
    waits_as(10, 0, "BLMOVE a b LEFT LEFT 0");
    waits_as(11, 0, "BRPOPLPUSH b c 0");
    waits_as(12, 0, "BLPOP x c 0");
    says("RPUSH a 1", ":1\r\n");
    late("10=$1,1, 11=$1,1, 12=*2,$1,c,$1,1, ");
    finish();
}

Test(wait, a_move_that_cannot_be_leaves_the_element_to_the_next)
{
    start();
    waits_as(10, 0, "BLMOVE a s LEFT LEFT 0");
    waits_as(11, 0, "BLPOP a 0");
    says("SET s x", "+OK\r\n");
    says("RPUSH a 1", ":1\r\n");
    late("10=-WRONGTYPE Operation against a key holding the wrong kind of value, "
         "11=*2,$1,a,$1,1, ");
    finish();
}

Test(wait, another_database_is_another_key)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    turn_begin();
    parcel_fixture_add_line(&p, "RPUSH a 1")->db = 1;
    turn_end();
    late("");
    turn_begin();
    parcel_fixture_add_line(&p, "MOVE a 0")->db = 1;
    turn_end();
    late("10=*2,$1,a,$1,1, ");
    finish();
}

Test(wait, the_swap_of_databases_wakes)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    turn_begin();
    parcel_fixture_add_line(&p, "RPUSH a 1")->db = 1;
    turn_end();
    run_as(1, 0, "SWAPDB 0 1");
    late("10=*2,$1,a,$1,1, ");
    finish();
}

/* ---- with locks ---- */

Test(wait, what_is_ready_under_a_lock_is_served_when_it_ends_and_before_those_behind_it)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    uint64_t token = hold("a");
    run_as(3, REQUEST_COMMIT, "RPUSH a 1 2");
    run_as(20, 0, "LPOP a");
    late("");
    unlock(token);
    late("10=*2,$1,a,$1,1, 20=$1,2, ");
    finish();
}

Test(wait, who_begins_to_wait_behind_a_lock_is_no_earlier_than_those_who_wait)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    uint64_t token = hold("a");
    waits_as(11, 0, "BLPOP a 0");
    unlock(token);
    says("RPUSH a 1", ":1\r\n");
    late("10=*2,$1,a,$1,1, ");
    says("RPUSH a 2", ":1\r\n");
    late("11=*2,$1,a,$1,2, ");
    finish();
}

/* ---- streams ---- */

#define ENTRY_OF_A(id) "*1,*2,$1,a,*1,*2,$3," id ",*2,$1,f,$1,v, "

Test(wait, readers_of_a_stream_all_get_the_entry_and_the_last_id_is_that_of_their_place)
{
    start();
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n");
    waits_as(10, 0, "XREAD BLOCK 0 STREAMS a b $ $");
    waits_as(11, 0, "XREAD BLOCK 0 STREAMS a 1-2");
    waits_as(12, 0, "XREAD BLOCK 0 STREAMS b a $ $");
    says("XADD a 1-2 f v", "$3\r\n1-2\r\n");
    late("10=" ENTRY_OF_A("1-2") "12=" ENTRY_OF_A("1-2"));
    says("XADD a 1-3 f v", "$3\r\n1-3\r\n");
    late("11=" ENTRY_OF_A("1-3"));
    finish();
}

Test(wait, a_stream_that_is_gone_or_empty_is_no_news_for_a_reader)
{
    start();
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n");
    waits_as(10, 0, "XREAD BLOCK 0 STREAMS a $");
    says("DEL a", ":1\r\n");
    says("RPUSH a 1", ":1\r\n");
    says("DEL a", ":1\r\n");
    says("XADD a MAXLEN 0 5-1 f v", "$3\r\n5-1\r\n");
    late("");
    says("XADD a 5-2 f v", "$3\r\n5-2\r\n");
    late("10=" ENTRY_OF_A("5-2"));
    finish();
}

Test(wait, members_of_a_group_get_entries_in_turn_and_an_error_at_its_end)
{
    start();
    says("XGROUP CREATE a g $ MKSTREAM", "+OK\r\n");
    waits_as(10, 0, "XREADGROUP GROUP g x BLOCK 0 STREAMS a >");
    waits_as(11, 0, "XREADGROUP GROUP g y NOACK BLOCK 0 STREAMS a >");
    waits_as(12, 0, "XREADGROUP GROUP g z BLOCK 0 STREAMS a >");
    waits_as(13, 0, "XREAD BLOCK 0 STREAMS a 1-2");
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n");
    late("10=" ENTRY_OF_A("1-1"));
    says("XADD a 1-2 f v", "$3\r\n1-2\r\n");
    late("11=" ENTRY_OF_A("1-2"));
    says("XGROUP DESTROY a g", ":1\r\n");
    late("12=-NOGROUP No such key 'a' or consumer group 'g' in XREADGROUP with GROUP option, ");
    says("XADD a 1-3 f v", "$3\r\n1-3\r\n");
    late("13=" ENTRY_OF_A("1-3"));
    finish();
}

Test(wait, a_key_that_goes_is_an_error_for_members_behind_those_who_do_not_care)
{
    start();
    waits_as(10, 0, "BLPOP a 0");
    says("XGROUP CREATE a g $ MKSTREAM", "+OK\r\n");
    waits_as(11, 0, "XREADGROUP GROUP g x BLOCK 0 STREAMS a >");
    says("DEL a", ":1\r\n");
    late("11=-NOGROUP No such key 'a' or consumer group 'g' in XREADGROUP with GROUP option, ");
    says("RPUSH a 1", ":1\r\n");
    late("10=*2,$1,a,$1,1, ");
    finish();
}

Test(wait, a_reader_s_claim_brings_its_reply_and_holds_nothing)
{
    start();
    waits_as(10, REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a b $ $");
    waits_as(11, REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS b a $ $");
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n"); /* turn 3 */
    late("10=key 4 since 3:" ENTRY_OF_A("1-1") "11=key 5 since 3:" ENTRY_OF_A("1-1"));
    says("XLEN a", ":1\r\n");
    finish();
}

Test(wait, a_reader_s_claim_is_in_doubt_while_another_of_its_keys_is_held)
{
    start();
    uint64_t token = 0;
    waits_as(10, REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a b $ $");
    waits_as(11, 0, "XREAD BLOCK 0 STREAMS b a $ $");
    token = hold("b");                       /* turn 3 */
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n"); /* turn 4 */
    says("XADD a 1-2 f v", "$3\r\n1-2\r\n");
    late("");
    unlock(token);
    late("10=key 4 since 4:" ENTRY_OF_A("1-1") "11=" ENTRY_OF_A("1-1"));
    waits_as(10, REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a b $ $");
    token = hold("b");
    says("XADD a 1-3 f v", "$3\r\n1-3\r\n");
    run_as(3, REQUEST_COMMIT, "XADD b 7-1 f v"); /* before that, for whoever holds b came first */
    unlock(token);
    late("10=key 5 since 8:*1,*2,$1,b,*1,*2,$3,7-1,*2,$1,f,$1,v, ");
    finish();
}

Test(wait, the_first_run_of_a_part_tells_what_is_there_or_what_is_wrong)
{
    start();
    says("XADD b 1-1 f v", "$3\r\n1-1\r\n");
    struct bytes reply =
        run_as(10, REQUEST_MAY_WAIT | REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a b 0 0");
    struct wait_report report;
    cr_assert_gt(reply.size, sizeof report);
    memcpy(&report, reply.data, sizeof report);
    cr_assert(report.mark == 0 && report.is_first && report.since.position == 4);
    struct bytes rest = bytes_make(reply.data + sizeof report, reply.size - sizeof report);
    cr_assert(bytes_equal(rest, BYTES_LITERAL("*-1\r\n*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n1-1\r\n"
                                              "*2\r\n$1\r\nf\r\n$1\r\nv\r\n")));
    says("SET s x", "+OK\r\n");
    reply = run_as(10, REQUEST_MAY_WAIT | REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a s 0 0");
    memcpy(&report, reply.data, sizeof report);
    cr_assert(report.is_first && report.index == 5);
    cr_assert_eq(reply.data[sizeof report], '-');
    finish();
}

Test(wait, a_reader_is_settled_as_others_are)
{
    start();
    waits_as(10, REQUEST_CLAIM, "XREAD BLOCK 0 STREAMS a b $ $");
    settle(10, UINT64_MAX, "a");
    late("10= ");
    says("XADD a 1-1 f v", "$3\r\n1-1\r\n");
    late("");
    finish();
}

/* ---- parts of a command on several shards ---- */

Test(wait, a_key_is_held_for_a_claim_until_that_ends)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    waits_as(11, 0, "BLPOP a 0");
    says("RPUSH a 1 2", ":2\r\n"); /* turn 3 */
    late("10=key 1 since 3 ");
    run_as(20, 0, "LLEN a");
    says("LLEN b", ":0\r\n");
    late("");
    end_claim(10, "s");
    struct bytes reply = parcel_fixture_reply(&p, 0);
    cr_assert(bytes_equal(reply, BYTES_LITERAL("*2\r\n$1\r\na\r\n$1\r\n1\r\n")));
    late("11=*2,$1,a,$1,2, 20=:0, ");
    finish();
}

Test(wait, a_claim_that_is_dropped_is_for_the_next)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    waits_as(11, REQUEST_CLAIM, "BLPOP a 0");
    says("RPUSH a 1", ":1\r\n"); /* turn 3 */
    run_as(20, 0, "LPOP a");
    late("10=key 1 since 3 ");
    end_claim(10, "d");
    late("11=key 1 since 3 ");
    end_claim(11, "d");
    late("20=$1,1, ");
    finish();
}

Test(wait, a_key_that_exists_is_claimed_at_once)
{
    start();
    says("RPUSH b 1", ":1\r\n");
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    late("10=key 2 since 2 ");
    end_claim(10, "s");
    finish();
}

Test(wait, settling_ends_what_has_nothing)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    settle(10, UINT64_MAX, "a");
    late("10= ");
    says("RPUSH a 1", ":1\r\n");
    late("");
    finish();
}

Test(wait, settling_waits_for_what_came_before_and_for_nothing_else)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0"); /* turn 1 */
    uint64_t token = hold("a");                 /* turn 2 */
    settle(10, 4, "a");
    late("");
    run_as(3, REQUEST_COMMIT, "RPUSH a 1");
    unlock(token);
    late("10=key 1 since 2 10= ");
    end_claim(10, "d");
    run_as(1, 0, "DEL a");

    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    uint64_t before = position;
    token = hold("a");
    settle(10, before, "a");
    late("10= ");
    unlock(token);
    finish();
}

Test(wait, what_comes_after_the_bound_of_a_question_is_not_for_the_waiter)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0");
    uint64_t token = hold("a");
    settle(10, UINT64_MAX, "a");
    says("RPUSH b 1", ":1\r\n");
    says("LLEN b", ":1\r\n");
    late("");
    unlock(token);
    late("10= 10= ");
    finish();
}

Test(wait, an_earlier_bound_answers_the_older_question_too)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a b 0"); /* turn 1 */
    uint64_t token = hold("a");                 /* turn 2 */
    settle(10, UINT64_MAX, "a");
    late("");
    settle(10, 1, "a");
    late("10= 10= ");
    unlock(token);
    finish();
}

Test(wait, a_key_that_is_held_for_somebody_else_may_turn_out_to_have_been_first)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a 0");
    waits_as(11, 0, "BLPOP a b 0");
    says("RPUSH a 1 2", ":2\r\n");
    says("RPUSH b 3", ":1\r\n");
    late("10=key 1 since 3 "); /* 11 gets 2 or 3: that depends on 10 */
    run_as(20, 0, "LLEN b");
    end_claim(10, "s");
    late("11=*2,$1,a,$1,2, 20=:1, ");
    run_as(1, 0, "DEL b");

    waits_as(10, REQUEST_CLAIM, "BLPOP a 0");
    waits_as(11, 0, "BLPOP a b 0");
    says("RPUSH a 1", ":1\r\n");
    says("RPUSH b 3", ":1\r\n");
    late_log[0] = '\0';
    end_claim(10, "s");
    late("11=*2,$1,b,$1,3, ");
    finish();
}

Test(wait, within_one_command_the_key_that_was_pushed_to_first_comes_first)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a 0");
    waits_as(11, 0, "BLPOP b a 0");
    uint64_t token = hold_both("a", "b"); /* turn 3: as a block of several commands */
    run_as(3, REQUEST_COMMIT, "RPUSH a 1");
    run_as(3, REQUEST_COMMIT, "RPUSH b 2");
    unlock(token);
    late("10=key 1 since 3 ");
    end_claim(10, "d");
    late("11=*2,$1,a,$1,1, ");
    says("LLEN b", ":1\r\n");
    finish();
}

Test(wait, a_claim_in_doubt_can_be_settled_by_an_earlier_bound)
{
    start();
    waits_as(10, REQUEST_CLAIM, "BLPOP a 0");
    waits_as(11, REQUEST_CLAIM, "BLPOP a b 0"); /* turn 2 */
    says("RPUSH a 1", ":1\r\n");
    says("RPUSH b 3", ":1\r\n");
    late("10=key 1 since 3 ");
    settle(11, 2, "a");
    late("11= ");
    says("LLEN b", ":1\r\n");
    end_claim(10, "s");
    finish();
}

Test(wait, who_is_only_asked_keeps_its_place_until_it_is_told_to_go)
{
    start();
    waits_as(10, REQUEST_ASK, "BLMOVE a far LEFT LEFT 0");
    waits_as(11, 0, "BLPOP a 0");
    says("RPUSH a 1", ":1\r\n"); /* turn 3 */
    late("10=key 1 since 3 ");
    waits_as(12, 0, "BLPOP a 0"); /* may not overtake */
    says("LPOP a", "$1\r\n1\r\n");
    again(10);
    late("");
    says("RPUSH a 2", ":1\r\n");
    late("10=key 1 since 7 ");
    settle(10, UINT64_MAX, "a");
    late("11=*2,$1,a,$1,2, ");
    says("RPUSH a 3", ":1\r\n");
    late("12=*2,$1,a,$1,3, ");
    finish();
}

/* The question came while the move was still parked, and must not be forgotten when it is asked. */
Test(wait, who_is_asked_when_it_was_to_go_already_goes)
{
    start();
    says("RPUSH a 1", ":1\r\n");
    uint64_t token = hold("a");
    waits_as(10, REQUEST_ASK, "BLMOVE a far LEFT LEFT 0"); /* turn 3 */
    settle(10, UINT64_MAX, "a");
    late("");
    unlock(token);
    late("10=key 1 since 3 10= ");
    finish();
}

Test(wait, a_move_does_not_touch_a_key_that_is_held)
{
    start();
    waits_as(10, 0, "BLMOVE a b LEFT LEFT 0");
    uint64_t token = hold("b");
    says("RPUSH a 1", ":1\r\n");
    late("10=key 1 since 3 ");
    unlock(token);
    settle(10, UINT64_MAX, "a");
    says("LLEN a", ":1\r\n");
    finish();
}

/* ---- at random ---- */

/* Against a model: queues of numbers, waiters in their order, one shard, nobody claims. */
Test(wait, random_pops_take_what_a_model_takes)
{
    enum { KEYS = 4, WAITERS = 200 };
    start();
    struct random random = random_make();
    unsigned queue[KEYS][64], length[KEYS] = {0}, wants[WAITERS], first = 0, count = 0, number = 0;
    char line[64], expected[8192] = "";
    for (int step = 0; step < 3000; step++) {
        unsigned k = (unsigned)random_below(&random, KEYS);
        expected[0] = '\0';
        if (random_below(&random, 2) && length[k] < 60) {
            snprintf(line, sizeof line, "RPUSH %c %u", 'a' + k, ++number);
            run_as(1, 0, line);
            queue[k][length[k]++] = number;
            for (unsigned w = first; w < count && length[k]; w++) {
                if (!(wants[w % WAITERS] >> k & 1)) continue;
                char text[16];
                int size = snprintf(text, sizeof text, "%u", queue[k][0]);
                sprintf(expected + strlen(expected), "%u=*2,$1,%c,$%d,%s, ", 1000 + w, 'a' + k,
                        size, text);
                memmove(queue[k], queue[k] + 1, --length[k] * sizeof queue[k][0]);
                wants[w % WAITERS] = 0;
            }
            while (first < count && !wants[first % WAITERS]) first++;
        } else if (count - first < WAITERS - 1) {
            unsigned mask = 1 + (unsigned)random_below(&random, (1 << KEYS) - 1), at = 0;
            at = (unsigned)sprintf(line, "BLPOP");
            unsigned ready = KEYS;
            for (unsigned i = 0; i < KEYS; i++) {
                if (!(mask >> i & 1)) continue;
                at += (unsigned)sprintf(line + at, " %c", 'a' + i);
                if (ready == KEYS && length[i]) ready = i;
            }
            sprintf(line + at, " 0");
            struct bytes reply = run_as(1000 + count, REQUEST_MAY_WAIT, line);
            cr_assert_eq(reply.size == 0, ready == KEYS);
            if (ready == KEYS)
                wants[count++ % WAITERS] = mask;
            else
                memmove(queue[ready], queue[ready] + 1, --length[ready] * sizeof queue[ready][0]);
        }
        cr_assert_str_eq(late_log, expected, "step %d: %s, not %s", step, late_log, expected);
        late_log[0] = '\0';
    }
    for (unsigned w = first; w < count; w++)
        if (wants[w % WAITERS]) settle(1000 + w, UINT64_MAX, "a");
    run_as(1, 0, "DEL a b c d");
    finish();
}
