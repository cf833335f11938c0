#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard/dump.h"
#include "shard_fixture.h"

static struct shard_fixture f;

static void setup(void)
{
    f = shard_fixture_make();
    shard_fixture_add_family(&f, &dump_family);
    shard_fixture_add_family(&f, &list_family);
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    shard_fixture_add_family(&f, &set_family);
    shard_fixture_add_family(&f, &zset_family);
    shard_fixture_add_family(&f, &stream_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_dump, .init = setup, .fini = teardown);

#define V "\"\\x00\\x01v\\x0a\\x00\\x91\\x08\\xce\\xb2\\x19\\x38\\x8a\\xce\"" /* DUMP of v */
#define SPOILT "\"\\x00\\x01v\\x0a\\x00\\x91\\x08\\xce\\xb2\\x19\\x38\\x8a\\xcf\""
#define NO_TYPE "\"\\x0a\\x00\\x5d\\x9b\\x5c\\x40\\x0f\\x7f\\xa2\\xda\""

Test(cmd_dump, gives_the_bytes_that_redis_gives)
{
    expect(&f, "DUMP nokey", "$-1\r\n");
    expect(&f, "SET k v", "+OK\r\n");
    expect(&f, "DUMP k", "$13\r\n\0\1v\x0a\0\x91\x08\xce\xb2\x19\x38\x8a\xce\r\n");
}

Test(cmd_dump, compresses_only_if_rdbcompression_says_so)
{
    expect(&f, "SET k aaaaaaaaaaaaaaaaaaaaa", "+OK\r\n");
    cr_assert_eq(shard_fixture_run_line(&f, "DUMP k").size, sizeof "$33\r\n" - 1 + 33 + 2);
    f.config->rdb_compression = true;
    cr_assert_eq(shard_fixture_run_line(&f, "DUMP k").size, sizeof "$20\r\n" - 1 + 20 + 2);
}

Test(cmd_dump, restore_makes_the_key)
{
    expect(&f, "RESTORE k 0 " V, "+OK\r\n");
    expect(&f, "GET k", "$1\r\nv\r\n");
    expect(&f, "TTL k", ":-1\r\n");
}

Test(cmd_dump, restore_refuses_a_busy_key_before_it_looks_at_anything_but_options)
{
    expect(&f, "SET k old", "+OK\r\n");
    expect(&f, "RESTORE k x " SPOILT, "-BUSYKEY Target key name already exists.\r\n");
    expect(&f, "RESTORE k x " SPOILT " FOO", "-ERR syntax error\r\n");
    expect(&f, "RESTORE k 0 " V " REPLACE", "+OK\r\n");
    expect(&f, "GET k", "$1\r\nv\r\n");
}

Test(cmd_dump, restore_checks_the_ttl_then_the_footer_then_the_value)
{
    expect(&f, "RESTORE k x " SPOILT, "-ERR value is not an integer or out of range\r\n");
    expect(&f, "RESTORE k -1 " SPOILT, "-ERR Invalid TTL value, must be >= 0\r\n");
    expect(&f, "RESTORE k 0 " SPOILT, "-ERR DUMP payload version or checksum are wrong\r\n");
    expect(&f, "RESTORE k 0 \"\"", "-ERR DUMP payload version or checksum are wrong\r\n");
    expect(&f, "RESTORE k 0 " NO_TYPE, "-ERR Bad data format\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
}

Test(cmd_dump, a_bad_payload_leaves_the_old_value)
{
    expect(&f, "SET k old", "+OK\r\n");
    expect(&f, "RESTORE k 0 " NO_TYPE " REPLACE", "-ERR Bad data format\r\n");
    expect(&f, "GET k", "$3\r\nold\r\n");
}

Test(cmd_dump, restore_sets_the_deadline)
{
    expect(&f, "RESTORE k 1500 " V, "+OK\r\n");
    expect(&f, "PTTL k", ":1500\r\n");
    expect(&f, "RESTORE k 1700000005000 " V " REPLACE ABSTTL", "+OK\r\n");
    expect(&f, "PTTL k", ":5000\r\n");
    expect(&f, "RESTORE k 0 " V " REPLACE ABSTTL", "+OK\r\n");
    expect(&f, "PTTL k", ":-1\r\n");
}

Test(cmd_dump, what_has_expired_on_the_way_does_not_arrive)
{
    expect(&f, "SET k old", "+OK\r\n");
    expect(&f, "RESTORE k 1 " V " ABSTTL REPLACE", "+OK\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "RESTORE k 1 " V " ABSTTL", "+OK\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
    expect(&f, "RESTORE k 9223372036854775807 " V, "+OK\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
}

Test(cmd_dump, restore_sets_the_access_clock)
{
    expect(&f, "RESTORE k 0 " V " IDLETIME 100", "+OK\r\n");
    expect(&f, "OBJECT IDLETIME k", ":100\r\n");
    expect(&f, "RESTORE k 0 " V " REPLACE", "+OK\r\n");
    expect(&f, "OBJECT IDLETIME k", ":0\r\n");
    expect(&f, "RESTORE k 0 " V " REPLACE IDLETIME 9223372036854775807", "+OK\r\n");
    expect(&f, "RESTORE a 0 " V " IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0\r\n");
    expect(&f, "RESTORE a 0 " V " IDLETIME x", "-ERR value is not an integer or out of range\r\n");
    expect(&f, "RESTORE a 0 " V " IDLETIME", "-ERR syntax error\r\n");
    expect(&f, "RESTORE a 0 " V " IDLETIME 1 FREQ 1", "-ERR syntax error\r\n");
    f.config->evict_policy = EVICT_LFU;
    expect(&f, "RESTORE k 0 " V " FREQ 200 REPLACE", "+OK\r\n");
    expect(&f, "OBJECT FREQ k", ":200\r\n");
    expect(&f, "RESTORE a 0 " V " FREQ 256",
           "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n");
    expect(&f, "RESTORE a 0 " V " FREQ 1 IDLETIME 1", "-ERR syntax error\r\n");
}

static const char *last_event; /* of note_event */

static void note_event(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    (void)sh, (void)class, (void)k;
    last_event = event;
}

Test(cmd_dump, subscribers_hear_of_what_restore_did)
{
    static const struct shard_hooks hooks = {.notify = note_event};
    f.shard->hooks = &hooks;
    f.config->notify_classes = UINT32_MAX;
    expect(&f, "RESTORE k 1000 " V, "+OK\r\n");
    cr_assert_str_eq(last_event, "restore");
    last_event = NULL;
    expect(&f, "RESTORE other 1 " V " ABSTTL", "+OK\r\n");
    cr_assert_null(last_event);
    expect(&f, "RESTORE k 1 " V " ABSTTL REPLACE", "+OK\r\n");
    cr_assert_str_eq(last_event, "del");
}

/* DUMP of one key, RESTORE under another: the second DUMP is the same. */
static void expect_round_trip(const char *type, const char *encoding)
{
    char line[64];
    struct bytes reply = shard_fixture_run_line(&f, "DUMP k");
    size_t header = (size_t)(strchr(reply.data, '\n') - reply.data) + 1;
    size_t size = reply.size - header - 2;
    char *payload = malloc(size);
    memcpy(payload, reply.data + header, size);
    struct bytes argv[] = {BYTES_LITERAL("RESTORE"), BYTES_LITERAL("copy"), BYTES_LITERAL("0"),
                           bytes_make(payload, size)};
    cr_assert(bytes_equal(shard_fixture_run(&f, ARRAY_LEN(argv), argv), BYTES_LITERAL("+OK\r\n")));
    reply = shard_fixture_run_line(&f, "DUMP copy");
    cr_assert(reply.size == header + size + 2 && memcmp(reply.data + header, payload, size) == 0);
    free(payload);
    snprintf(line, sizeof line, "+%s\r\n", type);
    cr_assert(bytes_equal(shard_fixture_run_line(&f, "TYPE copy"), bytes_of(line)));
    snprintf(line, sizeof line, "$%zu\r\n%s\r\n", strlen(encoding), encoding);
    cr_assert(bytes_equal(shard_fixture_run_line(&f, "OBJECT ENCODING copy"), bytes_of(line)));
    expect(&f, "DEL k copy", ":2\r\n");
}

Test(cmd_dump, every_type_travels)
{
    f.config->set_max_intset_entries = 512;
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 2;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
    f.config->hash_max_listpack_entries = 2;
    f.config->list_max_listpack_size = 2;
    expect(&f, "SET k 12", "+OK\r\n");
    expect_round_trip("string", "int");
    expect(&f, "RPUSH k a b", ":2\r\n");
    expect_round_trip("list", "listpack");
    expect(&f, "RPUSH k a b c d e", ":5\r\n");
    expect_round_trip("list", "quicklist");
    expect(&f, "SADD k 1 2 3", ":3\r\n");
    expect_round_trip("set", "intset");
    expect(&f, "SADD k a b", ":2\r\n");
    expect_round_trip("set", "listpack");
    expect(&f, "ZADD k 1 a 2 b", ":2\r\n");
    expect_round_trip("zset", "listpack");
    expect(&f, "ZADD k 1 a 2 b 3 c 4 d", ":4\r\n");
    expect_round_trip("zset", "skiplist");
    expect(&f, "HSET k f v", ":1\r\n");
    expect_round_trip("hash", "listpack");
    expect(&f, "HSET k f v", ":1\r\n");
    expect(&f, "HPEXPIRE k 1000 FIELDS 1 f", "*1\r\n:1\r\n");
    expect_round_trip("hash", "hashtable");
}

Test(cmd_dump, fields_that_have_expired_are_not_dumped)
{
    expect(&f, "HSET k f v g w", ":2\r\n");
    expect(&f, "HPEXPIRE k 1000 FIELDS 1 f", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 2000);
    struct bytes reply = shard_fixture_run_line(&f, "DUMP k");
    cr_assert_eq(reply.data[5], RDB_TYPE_HASH);
    expect(&f, "HPEXPIRE k 1000 FIELDS 1 g", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 2000);
    expect(&f, "DUMP k", "$-1\r\n");
    expect(&f, "EXISTS k", ":0\r\n");
}

/* clang-format off */
/* Entries 1-1 and 2-1; groups g at 1-1, h at 0-0, i at 2-1, in the form of version 5. */
#define OLD_STREAM \
    "\"\\x0f\\x01\\x10\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00" \
    "\\x00\\x00\\x00\\x00\\x01\\x28\\x28\\x00\\x00\\x00\\x0f\\x00\\x02\\x01" \
    "\\x00\\x01\\x01\\x01\\x81\\x61\\x02\\x00\\x01\\x02\\x01\\x00\\x01\\x00" \
    "\\x01\\x81\\x62\\x02\\x04\\x01\\x02\\x01\\x01\\x01\\x00\\x01\\x81\\x62" \
    "\\x02\\x04\\x01\\xff\\x02\\x02\\x01\\x03\\x01\\x67\\x01\\x01\\x00\\x00" \
    "\\x01\\x68\\x00\\x00\\x00\\x00\\x01\\x69\\x02\\x01\\x00\\x00\\x09\\x00" \
    "\\xd2\\x57\\xbd\\x92\\x62\\x89\\xd0\\x5c\""
/* clang-format on */

Test(cmd_dump, groups_of_an_old_stream_have_read_what_is_before_their_place)
{
    expect(&f, "RESTORE s 0 " OLD_STREAM, "+OK\r\n");
#define GROUP(name, last, read, lag)                                                               \
    "*12\r\n$4\r\nname\r\n$1\r\n" name "\r\n$9\r\nconsumers\r\n:0\r\n$7\r\npending\r\n:0\r\n"      \
    "$17\r\nlast-delivered-id\r\n$3\r\n" last "\r\n$12\r\nentries-read\r\n:" read                  \
    "\r\n$3\r\nlag\r\n:" lag "\r\n"
    expect(&f, "XINFO GROUPS s",
           "*3\r\n" GROUP("g", "1-1", "1", "1") GROUP("h", "0-0", "0", "2")
               GROUP("i", "2-1", "2", "0"));
}
