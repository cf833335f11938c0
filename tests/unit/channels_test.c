#include "shard/channels.h"

#include <criterion/criterion.h>

#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
    shard_fixture_add_family(&f, &publish_family);
}

static void stop(void)
{
    shard_fixture_free(&f);
}

TestSuite(channels, .init = start, .fini = stop);

static void join(uint16_t net_id, enum channel_kind kind, const char *name)
{
    struct attend_topic topic = {.topic = 100 * (uint64_t)kind + net_id, .kind = kind};
    channels_join(f.shard, net_id, &topic, bytes_of(name));
}

static void leave(uint16_t net_id, enum channel_kind kind, const char *name)
{
    struct attend_topic topic = {.topic = 100 * (uint64_t)kind + net_id, .kind = kind};
    channels_leave(f.shard, net_id, &topic, bytes_of(name));
}

/* The next item of a net thread's feed. */
static struct feed_head take(uint16_t net_id, size_t *at, const char **body)
{
    struct feed_head head;
    struct buf *b = &f.shard->channels.feeds[net_id].filling;
    cr_assert_lt(*at, b->size);
    memcpy(&head, b->data + *at, sizeof head);
    *body = b->data + *at + sizeof head;
    *at += head.bytes;
    cr_assert_eq(head.bytes % 8, 0);
    return head;
}

Test(channels, publish_counts_names_and_matching_patterns_of_all_threads)
{
    expect(&f, "PUBLISH news x", ":0\r\n");
    join(0, CHANNEL_PLAIN, "news");
    join(0, CHANNEL_PLAIN, "news");
    join(1, CHANNEL_PLAIN, "news");
    join(1, CHANNEL_PATTERN, "n*s");
    join(1, CHANNEL_PATTERN, "x*");
    expect(&f, "PUBLISH news x", ":4\r\n");
    expect(&f, "PUBLISH nils x", ":1\r\n");
    expect(&f, "SPUBLISH news x", ":0\r\n");
    leave(0, CHANNEL_PLAIN, "news");
    leave(1, CHANNEL_PATTERN, "n*s");
    expect(&f, "PUBLISH news x", ":2\r\n");
    leave(0, CHANNEL_PLAIN, "news");
    leave(1, CHANNEL_PLAIN, "news");
    leave(1, CHANNEL_PATTERN, "x*");
    expect(&f, "PUBLISH news x", ":0\r\n");
}

Test(channels, a_thread_gets_one_copy_of_a_message_with_all_its_topics)
{
    size_t at = 0;
    const char *body;
    uint64_t topics[2];
    join(0, CHANNEL_PLAIN, "news");
    join(0, CHANNEL_PLAIN, "news");
    join(0, CHANNEL_PATTERN, "n*");
    expect(&f, "PUBLISH news hello", ":3\r\n");
    struct feed_head head = take(0, &at, &body);
    cr_assert_eq(head.item, FEED_MESSAGE);
    cr_assert_eq(head.topic_count, 2);
    memcpy(topics, body, sizeof topics);
    cr_assert_eq(topics[0], 100 * CHANNEL_PLAIN);
    cr_assert_eq(topics[1], 100 * CHANNEL_PATTERN);
    cr_assert_eq(memcmp(body + sizeof topics, "newshello", 9), 0);
    cr_assert_eq(f.shard->channels.feeds[0].filling.size, at);
    cr_assert_eq(f.shard->channels.feeds[1].filling.size, 0);
}

Test(channels, acknowledgements_stand_among_the_messages)
{
    size_t at = 0;
    const char *body;
    join(0, CHANNEL_PLAIN, "c");
    channels_acknowledge(f.shard, &(struct attend){.token = 17, .net_id = 0});
    expect(&f, "PUBLISH c m", ":1\r\n");
    channels_acknowledge(f.shard, &(struct attend){.token = 18, .net_id = 0, .is_leave = true});
    struct feed_head head = take(0, &at, &body);
    cr_assert(head.item == FEED_ACK && head.token == 17);
    head = take(0, &at, &body);
    cr_assert_eq(head.item, FEED_MESSAGE);
    head = take(0, &at, &body);
    cr_assert(head.item == FEED_ACK && head.token == 18);
}

Test(channels, pubsub_tells_what_somebody_subscribes_to)
{
    expect(&f, "PUBSUB CHANNELS", "*0\r\n");
    join(1, CHANNEL_PLAIN, "a1");
    join(0, CHANNEL_PATTERN, "p");
    join(0, CHANNEL_SHARDED, "s");
    expect(&f, "PUBSUB CHANNELS", "*1\r\n$2\r\na1\r\n");
    expect(&f, "PUBSUB CHANNELS a?", "*1\r\n$2\r\na1\r\n");
    expect(&f, "PUBSUB CHANNELS b*", "*0\r\n");
    expect(&f, "PUBSUB NUMSUB a1 p s",
           "*6\r\n$2\r\na1\r\n:1\r\n$1\r\np\r\n:0\r\n$1\r\ns\r\n:0\r\n");
    expect(&f, "PUBSUB NUMPAT", ":1\r\n");
    expect(&f, "PUBSUB SHARDCHANNELS", "*1\r\n$1\r\ns\r\n");
    expect(&f, "PUBSUB SHARDNUMSUB s", "*2\r\n$1\r\ns\r\n:1\r\n");
    expect(&f, "PUBSUB CHANNELS a b",
           "-ERR unknown subcommand or wrong number of arguments for "
           "'CHANNELS'. Try PUBSUB HELP.\r\n");
}

Test(channels, those_of_keyspace_events_are_everywhere_and_have_one_home)
{
    cr_assert(channel_is_everywhere(bytes_of("__keyspace@0__:k")));
    cr_assert(channel_is_everywhere(bytes_of("__keyevent@15__:set")));
    cr_assert_not(channel_is_everywhere(bytes_of("__keyevent")));
    cr_assert_not(channel_is_everywhere(bytes_of("keyspace@0__:k")));
    shard_fixture_free(&f);
    f = shard_fixture_make_one_of(1, 2);
    shard_fixture_add_family(&f, &publish_family);
    join(0, CHANNEL_PLAIN, "__keyevent@0__:set");
    join(0, CHANNEL_PLAIN, "own");
    expect(&f, "PUBSUB CHANNELS", "*1\r\n$3\r\nown\r\n");
    expect(&f, "PUBSUB NUMSUB __keyevent@0__:set", "*2\r\n$18\r\n__keyevent@0__:set\r\n:0\r\n");
    expect(&f, "PUBLISH __keyevent@0__:set x", ":1\r\n");
}
