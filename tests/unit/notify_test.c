#include "shard/notify.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "tests/unit/shard_fixture.h"

static struct shard_fixture f;
static char log_text[1024];

static void note(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    char line[128];
    cr_assert(sh->config->notify_classes & class);
    snprintf(line, sizeof line, "%s %.*s,", event, (int)k->name.size, k->name.data);
    strncat(log_text, line, sizeof log_text - strlen(log_text) - 1);
}

static const struct shard_hooks noting = {.notify = note};
static const struct shard_hooks publishing = {.notify = notify_publish};

static void start(void)
{
    f = shard_fixture_make();
    static const struct command_family *const families[] = {&list_family, &set_family,
                                                            &hash_family, &hash_expire_family,
                                                            &zset_family, &internal_family};
    for (unsigned i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(&f, families[i]);
    f.shard->hooks = &noting;
    f.config->notify_classes = UINT32_MAX;
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 16;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
}

static void stop(void)
{
    shard_fixture_free(&f);
}

TestSuite(notify, .init = start, .fini = stop);

static void expect_events(const char *line, const char *events, int where)
{
    log_text[0] = '\0';
    struct bytes reply = shard_fixture_run_line(&f, line);
    cr_expect_str_eq(log_text, events, "line %d: %s -> %.*s: got %s", where, line, (int)reply.size,
                     reply.data, log_text);
}
#define expect_events(line, events) expect_events((line), (events), __LINE__)

Test(notify, a_new_key_is_one_before_what_was_done_to_it)
{
    expect_events("SET s 1", "new s,set s,");
    expect_events("SET s 1 EX 10", "set s,expire s,");
    expect_events("INCR s", "incrby s,");
    expect_events("GET s", "");
    expect_events("GET nothing", "keymiss nothing,");
    expect_events("DEL s nothing", "del s,");
}

Test(notify, a_collection_that_gets_empty_is_deleted_after_the_command)
{
    expect_events("RPUSH l a b", "new l,rpush l,");
    expect_events("LPOP l", "lpop l,");
    expect_events("LPOP l", "lpop l,del l,");
    expect_events("SADD s a", "new s,sadd s,");
    expect_events("SADD s a", "");
    expect_events("SREM s a", "srem s,del s,");
    expect_events("HSET h f v", "new h,hset h,");
    expect_events("HDEL h g", "");
    expect_events("HDEL h f", "hdel h,del h,");
    expect_events("ZADD z 1 a", "new z,zadd z,");
    expect_events("ZADD z INCR 1 a", "zincr z,");
    expect_events("ZPOPMIN z", "zpopmin z,del z,");
}

Test(notify, commands_of_two_keys_tell_of_both_in_the_order_of_redis)
{
    expect_events("RPUSH a 1", "new a,rpush a,");
    expect_events("LMOVE a b LEFT RIGHT", "new b,rpush b,lpop a,del a,");
    expect_events("RENAME b c", "new c,rename_from b,rename_to c,");
    expect_events("COPY c d", "new d,copy_to d,");
    expect_events("COPY c d REPLACE", "new d,copy_to d,");
    expect_events("SADD s 1", "new s,sadd s,");
    expect_events("SMOVE s t 1", "srem s,del s,new t,sadd t,");
    expect_events("SINTERSTORE t t nothing", "keymiss nothing,del t,");
}

Test(notify, a_deadline_that_has_passed_expires_the_key_once)
{
    expect_events("SET s 1 PX 5", "new s,set s,expire s,");
    shard_fixture_pass_ms(&f, 10);
    expect_events("EXISTS s", "expired s,keymiss s,");
    expect_events("EXISTS s", "keymiss s,");
    expect_events("SET s 1", "new s,set s,");
    expect_events("EXPIRE s -1", "del s,");
}

Test(notify, deadlines_of_fields_have_events_of_their_own)
{
    expect_events("HSET h f v g w", "new h,hset h,");
    expect_events("HPEXPIRE h 5 FIELDS 1 f", "hexpire h,");
    expect_events("HPERSIST h FIELDS 1 f", "hpersist h,");
    expect_events("HPERSIST h FIELDS 1 f", "");
    expect_events("HPEXPIRE h 5 FIELDS 2 f g", "hexpire h,");
    shard_fixture_pass_ms(&f, 10);
    expect_events("HLEN h", "hexpired h,del h,");
}

Test(notify, classes_that_nobody_asked_for_are_silent)
{
    f.config->notify_classes = NOTIFY_KEYSPACE | NOTIFY_LIST;
    expect_events("SET s 1", "");
    expect_events("RPUSH l a", "rpush l,");
}

Test(notify, a_value_that_only_changes_its_shard_is_no_event)
{
    struct bytes argv[] = {BYTES_LITERAL("depart"), BYTES_LITERAL("s"), BYTES_LITERAL("d")};
    (void)shard_fixture_run_line(&f, "SET s 1");
    log_text[0] = '\0';
    (void)shard_fixture_run(&f, ARRAY_LEN(argv), argv);
    cr_assert_str_empty(log_text);
}

/* ---- as messages ---- */

static uint64_t messages(void)
{
    struct buf *b = &f.shard->channels.feeds[0].filling;
    uint64_t count = 0;
    for (size_t at = 0; at < b->size; count++) {
        struct feed_head head;
        memcpy(&head, b->data + at, sizeof head);
        at += head.bytes;
    }
    b->size = 0;
    return count;
}

static void listen_to(const char *pattern)
{
    struct attend_topic topic = {.kind = CHANNEL_PATTERN};
    channels_join(f.shard, 0, &topic, bytes_of(pattern));
}

Test(notify, both_channels_or_one_carry_an_event_as_configured)
{
    f.shard->hooks = &publishing;
    (void)shard_fixture_run_line(&f, "DEL nothing");
    listen_to("__key*");
    f.config->notify_classes = NOTIFY_KEYSPACE | NOTIFY_KEYEVENT | NOTIFY_STRING;
    (void)shard_fixture_run_line(&f, "SET k 1");
    cr_assert_eq(messages(), 2);
    f.config->notify_classes = NOTIFY_KEYEVENT | NOTIFY_STRING;
    (void)shard_fixture_run_line(&f, "SET k 1");
    cr_assert_eq(messages(), 1);
    f.config->notify_classes = NOTIFY_STRING;
    (void)shard_fixture_run_line(&f, "SET k 1");
    cr_assert_eq(messages(), 0);
}

/* A name that lives on another of two shards than 0. */
static struct key name_elsewhere(char name[8])
{
    for (unsigned i = 0;; i++) {
        snprintf(name, 8, "g%u", i);
        struct key k = {.name = bytes_of(name)};
        k.hash = bytes_hash(k.name, f.shard->keys.seed);
        if (bytes_shard(k.name, k.hash, f.shard->keys.seed, 2) == 1) return k;
    }
}

Test(notify, what_happens_to_a_guest_is_kept_until_it_is_fetched)
{
    shard_fixture_free(&f);
    f = shard_fixture_make_one_of(0, 2);
    f.shard->hooks = &publishing;
    f.config->notify_classes = NOTIFY_KEYEVENT | NOTIFY_GENERIC | NOTIFY_STRING;
    listen_to("*");
    char name[8], line[32];
    struct key guest = name_elsewhere(name);
    snprintf(line, sizeof line, "SET %s 1", name);
    (void)shard_fixture_run_line(&f, line);
    cr_assert_eq(messages(), 0);
    struct buf taken = {.mem = &f.shard->mem};
    cr_assert_eq(notify_take_guest(f.shard, &guest, &taken), OK);
    cr_assert_gt(taken.size, 0);
    notify_publish_taken(f.shard, buf_view(&taken));
    cr_assert_eq(messages(), 0, "it does not live here");
    size_t size = taken.size;
    cr_assert_eq(notify_take_guest(f.shard, &guest, &taken), OK);
    cr_assert_eq(taken.size, size, "an event is fetched once");
    f.shard->id = 1;
    notify_publish_taken(f.shard, buf_view(&taken));
    cr_assert_eq(messages(), 1);
    f.shard->id = 0;
    buf_clear(&taken);
}
