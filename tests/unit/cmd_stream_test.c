/* The family of streams. Differences from redis-server are looked for by tests/compat; here are the
 * cases that it cannot see, and one of each kind. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard/cmd/stream_read.h"
#include "shard/notify.h"
#include "shard_fixture.h"

static struct shard_fixture f;

/* Events as "name key ", one after the other. */
static char events[1024];

static void note_event(UNUSED struct shard *sh, uint32_t class, const char *event,
                       const struct key *k)
{
    cr_assert_eq(class, NOTIFY_STREAM);
    size_t size = strlen(events);
    snprintf(events + size, sizeof events - size, "%s %.*s ", event, (int)k->name.size,
             k->name.data);
}

static const struct shard_hooks hooks = {.notify = note_event};

static void setup(void)
{
    f = shard_fixture_make();
    f.config->stream_node_max_bytes = 4096;
    f.config->stream_node_max_entries = 100;
    shard_fixture_add_family(&f, &stream_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_stream, .init = setup, .fini = teardown);

#define OK_REPLY "+OK\r\n"
#define ENTRY(id, n) "*2\r\n$3\r\n" id "\r\n*2\r\n$1\r\nf\r\n$1\r\n" n "\r\n"

static void fill(const char *key)
{
    char line[64], reply[32];
    for (int i = 1; i <= 5; i++) {
        snprintf(line, sizeof line, "XADD %s %d-0 f %d", key, i, i);
        snprintf(reply, sizeof reply, "$3\r\n%d-0\r\n", i);
        shard_fixture_expect(&f, line, bytes_of(reply), __LINE__);
    }
}

#define expect_events(text)                                                                        \
    do {                                                                                           \
        cr_assert_str_eq(events, text);                                                            \
        events[0] = 0;                                                                             \
    } while (0)

Test(cmd_stream, ids_of_the_clock_ascend_within_a_millisecond_and_when_it_goes_back)
{
    expect(&f, "XADD s * f v", "$15\r\n1700000000000-0\r\n");
    expect(&f, "XADD s * f v", "$15\r\n1700000000000-1\r\n");
    shard_fixture_pass_ms(&f, -1000);
    expect(&f, "XADD s * f v", "$15\r\n1700000000000-2\r\n");
    shard_fixture_pass_ms(&f, 1001);
    expect(&f, "XADD s * f v", "$15\r\n1700000000001-0\r\n");
}

Test(cmd_stream, a_command_that_fails_makes_no_key)
{
    expect(&f, "XADD s 0-0 f v", "-ERR The ID specified in XADD must be greater than 0-0\r\n");
    expect(&f, "XADD s NOMKSTREAM 1-1 f v", "$-1\r\n");
    expect(&f, "XGROUP CREATE s g x MKSTREAM",
           "-ERR Invalid stream ID specified as stream command argument\r\n");
    expect(&f, "EXISTS s", ":0\r\n");
}

Test(cmd_stream, the_last_id_of_all_ends_a_stream)
{
    expect(&f, "XADD s 18446744073709551615-18446744073709551615 f v",
           "$41\r\n18446744073709551615-18446744073709551615\r\n");
    expect(&f, "XADD s * f v",
           "-ERR The stream has exhausted the last possible ID, unable to add more items\r\n");
    expect(&f, "XREAD STREAMS s 18446744073709551615-18446744073709551615", "*-1\r\n");
}

Test(cmd_stream, limits_of_nodes_are_those_of_the_configuration)
{
    f.config->stream_node_max_entries = 2;
    fill("s");
    expect(&f, "XTRIM s MAXLEN ~ 2", ":2\r\n");
    f.config->stream_node_max_entries = 0;
    expect(&f, "XTRIM s MAXLEN ~ 0", ":3\r\n");
}

Test(cmd_stream, a_consumer_that_gets_nothing_is_made_as_in_redis_7_2)
{
    fill("s");
    expect(&f, "XGROUP CREATE s g $", OK_REPLY);
    expect(&f, "XREADGROUP GROUP g reader STREAMS s >", "*-1\r\n");
    expect(&f, "XCLAIM s g claimer 0 1-0", "*0\r\n");
    expect(&f, "XAUTOCLAIM s g other 0 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n");
    expect(&f, "XGROUP CREATECONSUMER s g reader", ":0\r\n");
    expect(&f, "XGROUP CREATECONSUMER s g claimer", ":0\r\n");
    expect(&f, "XGROUP CREATECONSUMER s g other", ":0\r\n");
    expect(&f, "XGROUP CREATECONSUMER s g new", ":1\r\n");
}

Test(cmd_stream, inactive_counts_from_the_last_entry_and_idle_from_the_last_attempt)
{
    fill("s");
    expect(&f, "XGROUP CREATE s g 0", OK_REPLY);
    expect(&f, "XGROUP CREATECONSUMER s g c", ":1\r\n");
    expect(&f, "XINFO CONSUMERS s g",
           "*1\r\n*8\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:0\r\n$4\r\nidle\r\n:0\r\n"
           "$8\r\ninactive\r\n:-1\r\n");
    expect(&f, "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
           "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY("1-0", "1"));
    shard_fixture_pass_ms(&f, 500);
    expect(&f, "XAUTOCLAIM s g c 1000 0", "*3\r\n$3\r\n0-0\r\n*0\r\n*0\r\n");
    shard_fixture_pass_ms(&f, 70);
    f.resp = 3;
    expect(&f, "XINFO CONSUMERS s g",
           "*1\r\n%4\r\n$4\r\nname\r\n$1\r\nc\r\n$7\r\npending\r\n:1\r\n$4\r\nidle\r\n:70\r\n"
           "$8\r\ninactive\r\n:570\r\n");
}

Test(cmd_stream, full_information_tells_when_a_consumer_was_active)
{
    expect(&f, "XADD s 1-0 f 1", "$3\r\n1-0\r\n");
    expect(&f, "XGROUP CREATE s g 0", OK_REPLY);
    expect(&f, "XREADGROUP GROUP g c STREAMS s >",
           "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY("1-0", "1"));
    shard_fixture_pass_ms(&f, 5);
    expect(&f, "XREADGROUP GROUP g c STREAMS s >", "*-1\r\n");
    f.resp = 3;
    expect(
        &f, "XINFO STREAM s FULL",
        "%9\r\n$6\r\nlength\r\n:1\r\n$15\r\nradix-tree-keys\r\n:1\r\n$16\r\nradix-tree-nodes\r\n"
        ":2\r\n$17\r\nlast-generated-id\r\n$3\r\n1-0\r\n$20\r\nmax-deleted-entry-id\r\n"
        "$3\r\n0-0\r\n$13\r\nentries-added\r\n:1\r\n$23\r\nrecorded-first-entry-id\r\n"
        "$3\r\n1-0\r\n$7\r\nentries\r\n*1\r\n" ENTRY(
            "1-0",
            "1") "$6\r\ngroups\r\n*1\r\n%7\r\n$4\r\nname\r\n$1\r\ng\r\n$17\r\nlast-delivered-id\r\n"
                 "$3\r\n1-0\r\n$12\r\nentries-read\r\n:1\r\n$3\r\nlag\r\n:0\r\n$9\r\npel-count\r\n:"
                 "1\r\n"
                 "$7\r\npending\r\n*1\r\n*4\r\n$3\r\n1-0\r\n$1\r\nc\r\n:1700000000000\r\n:1\r\n"
                 "$9\r\nconsumers\r\n*1\r\n%5\r\n$4\r\nname\r\n$1\r\nc\r\n$9\r\nseen-time\r\n"
                 ":1700000000005\r\n$11\r\nactive-time\r\n:1700000000000\r\n$9\r\npel-count\r\n:"
                 "1\r\n"
                 "$7\r\npending\r\n*1\r\n*3\r\n$3\r\n1-0\r\n:1700000000000\r\n:1\r\n");
}

Test(cmd_stream, claims_go_by_idle_times_and_count_deliveries)
{
    fill("s");
    expect(&f, "XGROUP CREATE s g 0", OK_REPLY);
    expect(&f, "XREADGROUP GROUP g a COUNT 2 STREAMS s >",
           "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n" ENTRY("1-0", "1") ENTRY("2-0", "2"));
    shard_fixture_pass_ms(&f, 100);
    expect(&f, "XCLAIM s g b 101 1-0", "*0\r\n");
    expect(&f, "XCLAIM s g b 100 1-0 IDLE 50", "*1\r\n" ENTRY("1-0", "1"));
    expect(&f, "XPENDING s g - + 10",
           "*2\r\n*4\r\n$3\r\n1-0\r\n$1\r\nb\r\n:50\r\n:2\r\n"
           "*4\r\n$3\r\n2-0\r\n$1\r\na\r\n:100\r\n:1\r\n");
    expect(&f, "XPENDING s g IDLE 51 - + 10", "*1\r\n*4\r\n$3\r\n2-0\r\n$1\r\na\r\n:100\r\n:1\r\n");
    expect(&f, "XDEL s 2-0", ":1\r\n");
    expect(&f, "XAUTOCLAIM s g b 0 - JUSTID",
           "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n1-0\r\n*1\r\n$3\r\n2-0\r\n");
    expect(&f, "XPENDING s g",
           "*4\r\n:1\r\n$3\r\n1-0\r\n$3\r\n1-0\r\n"
           "*1\r\n*2\r\n$1\r\nb\r\n$1\r\n1\r\n");
}

Test(cmd_stream, several_streams_are_a_map_in_resp3)
{
    fill("s");
    fill("t");
    expect(&f, "XREAD COUNT 1 STREAMS s none t 4 0 4-0",
           "*2\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY("5-0", "5") "*2\r\n$1\r\nt\r\n*1\r\n" ENTRY("5-0",
                                                                                             "5"));
    f.resp = 3;
    expect(&f, "XREAD COUNT 1 STREAMS s none t 4 0 4-0",
           "%2\r\n$1\r\ns\r\n*1\r\n" ENTRY("5-0", "5") "$1\r\nt\r\n*1\r\n" ENTRY("5-0", "5"));
    expect(&f, "XREAD STREAMS s t $ 5-0", "_\r\n");
}

Test(cmd_stream, nothing_is_delivered_when_one_of_the_groups_is_missing)
{
    fill("s");
    expect(&f, "XGROUP CREATE s g 0", OK_REPLY);
    expect(&f, "XREADGROUP GROUP g c STREAMS s t > >",
           "-NOGROUP No such key 't' or consumer group 'g' in XREADGROUP with GROUP option\r\n");
    expect(&f, "XPENDING s g", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
}

Test(cmd_stream, events_are_those_of_redis)
{
    f.shard->hooks = &hooks;
    f.config->notify_classes = NOTIFY_STREAM | NOTIFY_KEYEVENT;
    shard_fixture_run_line(&f, "XADD s 1-1 f v");
    shard_fixture_run_line(&f, "XADD s MAXLEN 1 2-1 f v");
    expect_events("xadd s xadd s xtrim s ");
    shard_fixture_run_line(&f, "XTRIM s MAXLEN 5");
    shard_fixture_run_line(&f, "XDEL s 9-9");
    expect_events("");
    shard_fixture_run_line(&f, "XGROUP CREATE s g 0");
    shard_fixture_run_line(&f, "XGROUP CREATE t g 0 MKSTREAM");
    shard_fixture_run_line(&f, "XGROUP SETID s g 0");
    expect_events("xgroup-create s xgroup-create t xgroup-setid s ");
    shard_fixture_run_line(&f, "XREADGROUP GROUP g c STREAMS s t > >");
    expect_events("xgroup-createconsumer s xgroup-createconsumer t ");
    shard_fixture_run_line(&f, "XCLAIM s g d 0 2-1");
    shard_fixture_run_line(&f, "XACK s g 2-1");
    expect_events("xgroup-createconsumer s ");
    shard_fixture_run_line(&f, "XGROUP DELCONSUMER s g d");
    shard_fixture_run_line(&f, "XGROUP DELCONSUMER s g d");
    shard_fixture_run_line(&f, "XGROUP DESTROY s g");
    shard_fixture_run_line(&f, "XGROUP DESTROY s g");
    expect_events("xgroup-delconsumer s xgroup-destroy s ");
    shard_fixture_run_line(&f, "XSETID s 9-1");
    shard_fixture_run_line(&f, "XDEL s 2-1");
    expect_events("xsetid s xdel s ");
}

Test(cmd_stream, a_copy_has_the_groups_and_lives_by_itself)
{
    fill("s");
    expect(&f, "XGROUP CREATE s g 0", OK_REPLY);
    expect(&f, "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
           "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY("1-0", "1"));
    expect(&f, "COPY s t", ":1\r\n");
    expect(&f, "XACK t g 1-0", ":1\r\n");
    expect(&f, "XACK s g 1-0", ":1\r\n");
    expect(&f, "OBJECT ENCODING t", "$6\r\nstream\r\n");
    expect(&f, "XDEL t 1-0", ":1\r\n");
    expect(&f, "XLEN s", ":5\r\n");
}

/* What whoever serves a waiting client does. */
Test(cmd_stream, one_key_is_read_for_a_reader_that_waited)
{
    fill("s");
    struct bytes argv[] = {BYTES_LITERAL("XREAD"),   BYTES_LITERAL("BLOCK"), BYTES_LITERAL("100"),
                           BYTES_LITERAL("STREAMS"), BYTES_LITERAL("s"),     BYTES_LITERAL("$")};
    struct request rq = {.argv = argv, .argc = ARRAY_LEN(argv)};
    struct stream_reader r;
    struct reply out;
    struct stream_id after;
    bool found;
    reply_init(&out, NULL, &f.shard->mem);
    cr_assert(stream_reader_parse_or_reply(&rq, false, &r, &out));
    cr_assert(r.blocks && r.timeout_ms == 100 && r.key_count == 1);
    cr_assert(stream_reader_after_or_reply(f.shard, &rq, &r, 0, &after, &out));
    struct key k = request_other_key(f.shard, &rq, r.first_key);
    cr_assert_eq(stream_reader_read(f.shard, &r, &k, after, &out, &found), OK);
    cr_assert_not(found);
    cr_assert_eq(reply_size(&out), 0);
    expect(&f, "XADD s 6-0 f 6", "$3\r\n6-0\r\n");
    stream_reader_head(&out, 1);
    cr_assert_eq(stream_reader_read(f.shard, &r, &k, after, &out, &found), OK);
    cr_assert(found);
    struct chunk *first = reply_take(&out);
    cr_assert(bytes_equal(bytes_make(first->data, first->size),
                          BYTES_LITERAL("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" ENTRY("6-0", "6"))));
    chunk_free_chain(&f.shard->mem, first);
}
