/* SUBSCRIBE and its like over three threads that are all net thread and shard. */
#include "server/pubsub.h"

#include <criterion/criterion.h>

#include "tests/unit/server_fixture.h"

static struct server_fixture f;
static struct session *s, *other, *third;

static void start(void)
{
    f = server_fixture_make(3);
    s = server_fixture_connect(&f, 0);
    other = server_fixture_connect(&f, 1);
    third = server_fixture_connect(&f, 2);
}

static void stop(void)
{
    server_fixture_free(&f);
}

TestSuite(pubsub, .init = start, .fini = stop);

#define MESSAGE(channel, text) "*3\r\n$7\r\nmessage\r\n$1\r\n" channel "\r\n$1\r\n" text "\r\n"
#define CONFIRM(size, word, channel, count)                                                        \
    "*3\r\n$" #size "\r\n" word "\r\n$1\r\n" channel "\r\n:" #count "\r\n"
#define NOT_NOW(name)                                                                              \
    "-ERR Can't execute '" name "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET " \
    "are allowed in this context\r\n"

Test(pubsub, a_message_goes_to_whoever_subscribes_on_any_thread)
{
    expect(&f, s, "SUBSCRIBE a b a",
           CONFIRM(9, "subscribe", "a", 1) CONFIRM(9, "subscribe", "b", 2)
               CONFIRM(9, "subscribe", "a", 2));
    expect(&f, other, "SUBSCRIBE a", CONFIRM(9, "subscribe", "a", 1));
    expect(&f, third, "PUBLISH a 1", ":2\r\n");
    expect_sent(&f, s, MESSAGE("a", "1"));
    expect_sent(&f, other, MESSAGE("a", "1"));
    expect(&f, s, "UNSUBSCRIBE a", CONFIRM(11, "unsubscribe", "a", 1));
    expect(&f, third, "PUBLISH a 2", ":1\r\n");
    expect_sent(&f, s, "");
    expect_sent(&f, other, MESSAGE("a", "2"));
}

Test(pubsub, patterns_match_channels_of_every_shard)
{
    expect(&f, s, "PSUBSCRIBE *", CONFIRM(10, "psubscribe", "*", 1));
    for (char c = 'a'; c < 'k'; c++) {
        char line[] = "PUBLISH x m";
        line[8] = c;
        expect(&f, other, line, ":1\r\n");
        struct bytes got = server_fixture_take(&f, s);
        cr_assert(memmem(got.data, got.size, "pmessage", 8));
    }
    expect(&f, other, "PUBSUB NUMPAT", ":1\r\n");
    expect(&f, s, "PUNSUBSCRIBE", CONFIRM(12, "punsubscribe", "*", 0));
    expect(&f, other, "PUBLISH a m", ":0\r\n");
}

Test(pubsub, in_resp2_a_subscriber_may_do_little_else)
{
    expect(&f, s, "GET k", "$-1\r\n");
    expect(&f, s, "SUBSCRIBE a", CONFIRM(9, "subscribe", "a", 1));
    expect(&f, s, "GET k", NOT_NOW("get"));
    expect(&f, s, "CLIENT ID", NOT_NOW("client|id"));
    expect(&f, s, "PUBLISH a x", NOT_NOW("publish"));
    expect(&f, s, "PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    expect(&f, s, "PING x", "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
    expect(&f, s, "SSUBSCRIBE s", CONFIRM(10, "ssubscribe", "s", 1));
    expect(&f, s, "UNSUBSCRIBE", CONFIRM(11, "unsubscribe", "a", 0));
    expect(&f, s, "GET k", NOT_NOW("get"));
    expect(&f, s, "SUNSUBSCRIBE", CONFIRM(12, "sunsubscribe", "s", 0));
    expect(&f, s, "GET k", "$-1\r\n");
}

Test(pubsub, resp3_pushes_stand_beside_replies)
{
    server_fixture_send(&f, s, "HELLO 3");
    server_fixture_settle(&f);
    (void)server_fixture_take(&f, s);
    expect(&f, s, "SUBSCRIBE a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    expect(&f, s, "GET k", "_\r\n");
    expect(&f, s, "PUBLISH a m", ":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nm\r\n");
    expect(&f, s, "UNSUBSCRIBE", ">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n");
    expect(&f, s, "UNSUBSCRIBE", ">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n");
}

Test(pubsub, a_confirmation_is_not_silenced_by_client_reply)
{
    expect(&f, s, "CLIENT REPLY OFF", "");
    expect(&f, s, "SUBSCRIBE a", CONFIRM(9, "subscribe", "a", 1));
    expect(&f, other, "PUBLISH a 1", ":1\r\n");
    expect_sent(&f, s, MESSAGE("a", "1"));
    expect(&f, s, "UNSUBSCRIBE a", CONFIRM(11, "unsubscribe", "a", 0));
}

Test(pubsub, a_pipeline_has_its_replies_in_their_places)
{
    server_fixture_send(&f, s, "PING");
    server_fixture_send(&f, s, "SUBSCRIBE a");
    server_fixture_send(&f, s, "PING");
    server_fixture_send(&f, s, "UNSUBSCRIBE a");
    server_fixture_send(&f, s, "PING");
    server_fixture_settle(&f);
    expect_sent(
        &f, s,
        "+PONG\r\n" CONFIRM(9, "subscribe", "a", 1) "*2\r\n$4\r\npong\r\n$0\r\n\r\n" CONFIRM(
            11, "unsubscribe", "a", 0) "+PONG\r\n");
}

Test(pubsub, reset_and_the_end_of_a_connection_end_its_subscriptions)
{
    expect(&f, s, "SUBSCRIBE a", CONFIRM(9, "subscribe", "a", 1));
    expect(&f, s, "PSUBSCRIBE a", CONFIRM(10, "psubscribe", "a", 2));
    expect(&f, s, "RESET", "+RESET\r\n");
    expect(&f, other, "PUBLISH a 1", ":0\r\n");
    expect_sent(&f, s, "");
    expect(&f, s, "GET k", "$-1\r\n");
    expect(&f, third, "SUBSCRIBE a", CONFIRM(9, "subscribe", "a", 1));
    shard_here = &session_worker(third)->shard;
    pubsub_on_close(third);
    server_fixture_settle(&f);
    expect(&f, other, "PUBLISH a 1", ":0\r\n");
    expect(&f, other, "PUBSUB CHANNELS", "*0\r\n");
}

Test(pubsub, counts_of_names_are_summed_over_shards)
{
    expect(&f, s, "SUBSCRIBE a b", CONFIRM(9, "subscribe", "a", 1) CONFIRM(9, "subscribe", "b", 2));
    expect(&f, other, "SUBSCRIBE b", CONFIRM(9, "subscribe", "b", 1));
    expect(&f, third, "PUBSUB NUMSUB a b c",
           "*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n$1\r\nc\r\n:0\r\n");
    expect(&f, third, "PUBSUB NUMSUB", "*0\r\n");
}

Test(pubsub, a_channel_of_keyspace_events_hears_every_shard)
{
    static const char name[] = "__keyevent@0__:set";
    server_fixture_send(&f, s, "CONFIG SET notify-keyspace-events KEA");
    server_fixture_settle(&f);
    expect_sent(&f, s, "+OK\r\n");
    expect(&f, s, "SUBSCRIBE __keyevent@0__:set",
           "*3\r\n$9\r\nsubscribe\r\n$18\r\n__keyevent@0__:set\r\n:1\r\n");
    for (char c = 'a'; c < 'k'; c++) {
        char line[] = "SET x 1";
        line[4] = c;
        expect(&f, other, line, "+OK\r\n");
        struct bytes got = server_fixture_take(&f, s);
        cr_assert(got.size > 3 && got.data[got.size - 3] == c, "%.*s", (int)got.size, got.data);
        cr_assert(memmem(got.data, got.size, name, strlen(name)));
    }
    expect(&f, other, "PUBSUB CHANNELS", "*1\r\n$18\r\n__keyevent@0__:set\r\n");
}
