/* Replies that redis-server 7.0 gives too are compared with it by tests/compat; here is what they
 * leave behind, and the deadlines of fields, which are newer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "shard/cmd/families.h"
#include "shard/expire.h"
#include "shard/notify.h"
#include "shard/type/hash.h"
#include "tests/unit/shard_fixture.h"

#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define NOT_INT "-ERR value is not an integer or out of range\r\n"

static struct shard_fixture make(void)
{
    struct shard_fixture f = shard_fixture_make();
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    return f;
}

static void fill(struct shard_fixture *f, const char *key, int count)
{
    for (int i = 0; i < count; i++) {
        char line[64];
        snprintf(line, sizeof line, "HSET %s field:%d %d", key, i, i);
        shard_fixture_run_line(f, line);
    }
}

/* ---- fields and values ---- */

Test(cmd_hash, fields_are_set_shown_and_removed)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2 a 3", ":2\r\n");
    expect(&f, "HGET h a", "$1\r\n3\r\n");
    expect(&f, "HMGET h a x b", "*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n");
    expect(&f, "HGETALL h", "*4\r\n$1\r\na\r\n$1\r\n3\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect(&f, "HSETNX h a 9", ":0\r\n");
    expect(&f, "HSTRLEN h a", ":1\r\n");
    expect(&f, "HDEL h a x b", ":2\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    expect(&f, "HSET h a", "-ERR wrong number of arguments for 'hset' command\r\n");
    expect(&f, "HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, hdel_of_fields_that_are_not_there_changes_nothing)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1", ":1\r\n");
    uint64_t before = counter_read(&f.shard->counters.changes);
    expect(&f, "HDEL h x y", ":0\r\n");
    cr_assert_eq(counter_read(&f.shard->counters.changes), before);
    expect(&f, "HDEL h x a", ":1\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, resp3_has_maps_and_pairs)
{
    struct shard_fixture f = make();
    f.resp = 3;
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HGETALL h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect(&f, "HGETALL none", "%0\r\n");
    expect(&f, "HRANDFIELD h 1 WITHVALUES", "*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    expect(&f, "HRANDFIELD none", "_\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, encodings_change_where_redis_changes_them)
{
    struct shard_fixture f = make();
    fill(&f, "h", 512);
    expect(&f, "OBJECT ENCODING h", "$8\r\nlistpack\r\n");
    expect(&f, "HSET h field:1 x", ":0\r\n");
    expect(&f, "OBJECT ENCODING h", "$8\r\nlistpack\r\n");
    expect(&f, "HSET h one-more x", ":1\r\n");
    expect(&f, "OBJECT ENCODING h", "$9\r\nhashtable\r\n");
    expect(&f, "HSET g a 1234567890123456789012345678901234567890123456789012345678901234",
           ":1\r\n");
    expect(&f, "OBJECT ENCODING g", "$8\r\nlistpack\r\n");
    expect(&f, "HSETNX g a 12345678901234567890123456789012345678901234567890123456789012345",
           ":0\r\n");
    expect(&f, "OBJECT ENCODING g", "$8\r\nlistpack\r\n");
    expect(&f, "HSETNX g b 12345678901234567890123456789012345678901234567890123456789012345",
           ":1\r\n");
    expect(&f, "OBJECT ENCODING g", "$9\r\nhashtable\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arithmetic_fails_without_leaving_a_key)
{
    struct shard_fixture f = make();
    expect(&f, "HINCRBY h n 5", ":5\r\n");
    expect(&f, "HINCRBY h n 9223372036854775807", "-ERR increment or decrement would overflow\r\n");
    expect(&f, "HINCRBYFLOAT h n 0.5", "$3\r\n5.5\r\n");
    expect(&f, "HINCRBY h n 1", "-ERR hash value is not an integer\r\n");
    expect(&f, "HSET h t text", ":1\r\n");
    expect(&f, "HINCRBYFLOAT h t 1", "-ERR hash value is not a float\r\n");
    expect(&f, "HINCRBYFLOAT none t inf", "-ERR value is NaN or Infinity\r\n");
    expect(&f, "HINCRBYFLOAT none t x", "-ERR value is not a valid float\r\n");
    expect(&f, "EXISTS none", ":0\r\n");
    shard_fixture_free(&f);
}

static uint64_t count_lines(struct bytes reply, char first)
{
    uint64_t n = 0;
    for (size_t i = 0; i < reply.size; i++) {
        n += reply.data[i] == first && (i == 0 || reply.data[i - 1] == '\n');
    }
    return n;
}

Test(cmd_hash, hrandfield_gives_as_many_as_asked_for)
{
    struct shard_fixture f = make();
    static const int sizes[] = {5, 600};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        fill(&f, "h", sizes[i]);
        for (int n = 1; n <= sizes[i] + 1; n = n * 2 + 1) {
            char line[64];
            uint64_t distinct = (uint64_t)MIN(n, sizes[i]);
            snprintf(line, sizeof line, "HRANDFIELD h %d", n);
            cr_assert_eq(count_lines(shard_fixture_run_line(&f, line), '$'), distinct);
            snprintf(line, sizeof line, "HRANDFIELD h -%d WITHVALUES", n);
            cr_assert_eq(count_lines(shard_fixture_run_line(&f, line), '$'), 2 * (uint64_t)n);
        }
    }
    expect(&f, "HRANDFIELD h 0", "*0\r\n");
    expect(&f, "HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range\r\n");
    expect(&f, "HRANDFIELD h -4611686018427387903",
           "-ERR out of memory: the value does not fit\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, hscan_walks_a_table_in_steps)
{
    struct shard_fixture f = make();
    fill(&f, "h", 1000);
    unsigned long cursor = 0, steps = 0;
    uint64_t fields = 0;
    do {
        char line[64];
        snprintf(line, sizeof line, "HSCAN h %lu COUNT 20", cursor);
        struct bytes reply = shard_fixture_run_line(&f, line);
        fields += (count_lines(reply, '$') - 1) / 2;
        cursor = strtoul(strchr(reply.data + 4, '\n') + 1, NULL, 10);
        steps++;
    } while (cursor != 0);
    cr_assert_eq(fields, 1000);
    cr_assert_gt(steps, 20);
    expect(&f, "HSCAN h 0 MATCH field:7 COUNT 100000",
           "*2\r\n$1\r\n0\r\n*2\r\n$7\r\nfield:7\r\n$1\r\n7\r\n");
    expect(&f, "HSCAN none 0 nonsense", "*2\r\n$1\r\n0\r\n*0\r\n");
    expect(&f, "HSCAN h 0 TYPE hash", "-ERR syntax error\r\n");
    shard_fixture_free(&f);
}

/* ---- deadlines of fields, by the documentation of Redis 7.4 ---- */

Test(cmd_hash, hexpire_says_what_it_did_with_each_field)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2 c 3", ":3\r\n");
    expect(&f, "HEXPIRE h 10 FIELDS 2 a x", "*2\r\n:1\r\n:-2\r\n");
    expect(&f, "HEXPIRE h 20 NX FIELDS 2 a b", "*2\r\n:0\r\n:1\r\n");
    expect(&f, "HEXPIRE h 30 XX FIELDS 2 a c", "*2\r\n:1\r\n:0\r\n");
    expect(&f, "HEXPIRE h 25 GT FIELDS 3 a b c", "*3\r\n:0\r\n:1\r\n:0\r\n");
    expect(&f, "HEXPIRE h 26 LT FIELDS 3 a b c", "*3\r\n:1\r\n:0\r\n:1\r\n");
    expect(&f, "HTTL h FIELDS 4 a b c x", "*4\r\n:26\r\n:25\r\n:26\r\n:-2\r\n");
    expect(&f, "HPTTL h FIELDS 1 a", "*1\r\n:26000\r\n");
    expect(&f, "HEXPIRETIME h FIELDS 1 a", "*1\r\n:1700000026\r\n");
    expect(&f, "HPEXPIRETIME h FIELDS 1 a", "*1\r\n:1700000026000\r\n");
    expect(&f, "HPERSIST h FIELDS 3 a a x", "*3\r\n:1\r\n:-1\r\n:-2\r\n");
    expect(&f, "HTTL h FIELDS 1 a", "*1\r\n:-1\r\n");
    expect(&f, "HEXPIRE h 0 FIELDS 1 a", "*1\r\n:2\r\n");
    expect(&f, "HPEXPIREAT h 5 FIELDS 2 b c", "*2\r\n:2\r\n:2\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, without_the_key_every_field_is_missing)
{
    struct shard_fixture f = make();
    expect(&f, "HEXPIRE none 10 FIELDS 2 a b", "*2\r\n:-2\r\n:-2\r\n");
    expect(&f, "HPERSIST none FIELDS 1 a", "*1\r\n:-2\r\n");
    expect(&f, "HTTL none FIELDS 1 a", "*1\r\n:-2\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arguments_of_hexpire_are_checked)
{
    struct shard_fixture f = make();
    expect(&f, "SET s x", "+OK\r\n");
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HEXPIRE s 10 FIELDS 1 a", WRONG_TYPE);
    expect(&f, "HEXPIRE h x FIELDS 1 a", NOT_INT);
    expect(&f, "HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0\r\n");
    expect(&f, "HEXPIRE h 9223372036854775807 FIELDS 1 a",
           "-ERR invalid expire time in 'hexpire' command\r\n");
    expect(&f, "HPEXPIREAT h 70368744177664 FIELDS 1 a",
           "-ERR invalid expire time in 'hpexpireat' command\r\n");
    expect(&f, "HEXPIRE h 10 ZZ 1 a",
           "-ERR Mandatory argument FIELDS is missing or not at the right position\r\n");
    expect(&f, "HEXPIRE h 10 NX FIELDS a",
           "-ERR Parameter `numFields` should be greater than 0\r\n");
    expect(&f, "HTTL h FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0\r\n");
    expect(&f, "HTTL h FIELDS 2 a",
           "-ERR The `numfields` parameter must match the number of arguments\r\n");
    expect(&f, "HTTL h FIELDS", "-ERR wrong number of arguments for 'httl' command\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, an_expired_field_is_gone_for_every_command)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HPEXPIRE h 100 FIELDS 1 a", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 100);
    expect(&f, "HGET h a", "$1\r\n1\r\n");
    shard_fixture_pass_ms(&f, 1);
    expect(&f, "HGET h a", "$-1\r\n");
    expect(&f, "HGETALL h", "*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    expect(&f, "HLEN h", ":1\r\n");
    expect(&f, "HEXISTS h a", ":0\r\n");
    expect(&f, "HDEL h a", ":0\r\n");
    expect(&f, "HSETNX h a new", ":1\r\n");
    expect(&f, "HTTL h FIELDS 1 a", "*1\r\n:-1\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, a_large_hash_hides_what_has_expired_until_it_is_walked)
{
    struct shard_fixture f = make();
    fill(&f, "h", 600);
    for (int i = 0; i < 300; i++) {
        char line[64];
        snprintf(line, sizeof line, "HPEXPIRE h 100 FIELDS 1 field:%d", i);
        expect(&f, line, "*1\r\n:1\r\n");
    }
    shard_fixture_pass_ms(&f, 101);
    expect(&f, "HGET h field:1", "$-1\r\n");
    expect(&f, "HSET h field:1 x field:500 y", ":1\r\n");
    expect(&f, "HDEL h field:2 field:1", ":1\r\n");
    expect(&f, "HTTL h FIELDS 1 field:3", "*1\r\n:-2\r\n");
    cr_assert_eq(count_lines(shard_fixture_run_line(&f, "HKEYS h"), '$'), 300);
    expect(&f, "HLEN h", ":300\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, the_key_goes_with_its_last_field)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1", ":1\r\n");
    expect(&f, "HPEXPIRE h 100 FIELDS 1 a", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 101);
    expect(&f, "HGETALL h", "*0\r\n");
    expect(&f, "EXISTS h", ":0\r\n");
    shard_fixture_free(&f);
}

Test(cmd_hash, arithmetic_keeps_the_deadline_and_hset_clears_it)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HEXPIRE h 100 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n");
    expect(&f, "HINCRBY h a 1", ":2\r\n");
    expect(&f, "HINCRBYFLOAT h a 0.5", "$3\r\n2.5\r\n");
    expect(&f, "HSET h b 3", ":0\r\n");
    expect(&f, "HTTL h FIELDS 2 a b", "*2\r\n:100\r\n:-1\r\n");
    expect(&f, "COPY h g", ":1\r\n");
    expect(&f, "HTTL g FIELDS 2 a b", "*2\r\n:100\r\n:-1\r\n");
    shard_fixture_free(&f);
}

/* ---- fields that go without being asked for ---- */

static char events[1024];

static void on_event(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    cr_assert(sh && class);
    size_t size = strlen(events);
    snprintf(events + size, sizeof events - size, "%s %.*s;", event, (int)k->name.size,
             k->name.data);
}

static const struct shard_hooks hooks = {.notify = on_event};

static void listen_to_events(struct shard_fixture *f)
{
    f->config->notify_classes = NOTIFY_HASH | NOTIFY_GENERIC;
    f->config->active_expire = true;
    f->shard->hooks = &hooks;
    events[0] = 0;
}

/* Lets the clock go on, and expiry run when it is due. */
static void run_ms(struct shard_fixture *f, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        shard_fixture_pass_ms(f, 1);
        if (f->shard->now_ns >= f->shard->expire_next_ns) (void)expire_step(f->shard);
    }
    keyspace_validate(f->shard);
}

static uint64_t field_count(struct shard_fixture *f, const char *name)
{
    struct bytes b = bytes_of(name);
    struct key k = {b, bytes_hash(b, f->shard->keys.seed), f->db};
    const struct entry *e = keyspace_peek(f->shard, &k);
    if (!e) return 0;
    struct hash h = hash_of(e);
    hash_validate(&h);
    return hash_length(&h);
}

Test(cmd_hash, expired_fields_go_within_two_seconds)
{
    struct shard_fixture f = make();
    listen_to_events(&f);
    expect(&f, "HSET h a 1 b 2 c 3", ":3\r\n");
    expect(&f, "HPEXPIRE h 500 FIELDS 1 a", "*1\r\n:1\r\n");
    expect(&f, "HPEXPIRE h 90000 FIELDS 1 b", "*1\r\n:1\r\n");
    run_ms(&f, 400);
    cr_assert_eq(field_count(&f, "h"), 3);
    run_ms(&f, 2100);
    cr_assert_eq(field_count(&f, "h"), 2);
    run_ms(&f, 90000);
    cr_assert_eq(field_count(&f, "h"), 1);
    cr_assert_not_null(strstr(events, "hexpire h;hexpire h;hexpired h;hexpired h;"), "%s", events);
    run_ms(&f, 20000);
    cr_assert_eq(f.shard->expire_next_ns, UINT64_MAX, "nothing is left to look for");
    shard_fixture_free(&f);
}

Test(cmd_hash, the_last_field_to_expire_takes_the_key_with_it)
{
    struct shard_fixture f = make();
    listen_to_events(&f);
    for (unsigned db = 0; db < 2; db++) {
        f.db = db;
        expect(&f, "HSET h a 1 b 2", ":2\r\n");
        expect(&f, "HPEXPIRE h 300 FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n");
    }
    run_ms(&f, 2500);
    cr_assert_eq(keyspace_size(f.shard, 0) + keyspace_size(f.shard, 1), 0);
    cr_assert_not_null(strstr(events, "hexpired h;del h;"), "%s", events);
    shard_fixture_free(&f);
}

Test(cmd_hash, fields_expire_wherever_their_hash_has_been_moved_or_copied)
{
    struct shard_fixture f = make();
    listen_to_events(&f);
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HPEXPIRE h 3000 FIELDS 1 a", "*1\r\n:1\r\n");
    expect(&f, "COPY h copied", ":1\r\n");
    expect(&f, "RENAME h renamed", "+OK\r\n");
    expect(&f, "PEXPIRE renamed 100000", ":1\r\n");
    expect(&f, "PERSIST renamed", ":1\r\n");
    expect(&f, "PEXPIRE copied 100000", ":1\r\n");
    keyspace_validate(f.shard);
    run_ms(&f, 5100);
    cr_assert_eq(field_count(&f, "copied"), 1);
    cr_assert_eq(field_count(&f, "renamed"), 1);
    run_ms(&f, 100000);
    cr_assert_eq(keyspace_size(f.shard, 0), 1, "the copy had a deadline of its own");
    shard_fixture_free(&f);
}

Test(cmd_hash, a_hash_with_very_many_expired_fields_is_worked_off_in_slices)
{
    struct shard_fixture f = make();
    listen_to_events(&f);
    fill(&f, "h", 20000);
    for (int i = 0; i < 19999; i++) {
        char line[64];
        snprintf(line, sizeof line, "HPEXPIRE h 5000 FIELDS 1 field:%d", i);
        shard_fixture_run_line(&f, line);
    }
    events[0] = 0;
    run_ms(&f, 4900);
    cr_assert_eq(field_count(&f, "h"), 20000);
    for (int i = 0; i < 3000 && field_count(&f, "h") > 1; i++) {
        shard_fixture_pass_ms(&f, 1);
        uint64_t before = field_count(&f, "h");
        if (f.shard->now_ns >= f.shard->expire_next_ns) (void)expire_step(f.shard);
        if (before == 20000 && field_count(&f, "h") < before)
            expect(&f, "HGET h field:19998", "$-1\r\n"); /* absent, gone or not */
    }
    cr_assert_eq(field_count(&f, "h"), 1);
    keyspace_validate(f.shard);
    shard_fixture_free(&f);
}

Test(cmd_hash, deadlines_that_are_taken_off_or_moved_are_forgotten)
{
    struct shard_fixture f = make();
    listen_to_events(&f);
    expect(&f, "HSET h a 1 b 2 c 3", ":3\r\n");
    expect(&f, "HPEXPIRE h 1000 FIELDS 3 a b c", "*3\r\n:1\r\n:1\r\n:1\r\n");
    expect(&f, "HPERSIST h FIELDS 1 a", "*1\r\n:1\r\n");
    expect(&f, "HSET h b 5", ":0\r\n");
    expect(&f, "HPEXPIRE h 60000 FIELDS 1 c", "*1\r\n:1\r\n");
    run_ms(&f, 20000);
    cr_assert_eq(field_count(&f, "h"), 3);
    expect(&f, "HPEXPIRE h 0 FIELDS 1 a", "*1\r\n:2\r\n");
    cr_assert_str_eq(events, "hset h;hexpire h;hpersist h;hset h;hexpire h;hdel h;", "%s", events);
    run_ms(&f, 60000);
    cr_assert_eq(field_count(&f, "h"), 1);
    shard_fixture_free(&f);
}

Test(cmd_hash, random_deadlines_leave_nothing_behind)
{
    struct random r = random_make();
    struct shard_fixture f = make();
    f.config->active_expire = true;
    for (int round = 0; round < 3000; round++) {
        char line[96];
        unsigned key = (unsigned)random_below(&r, 20), field = (unsigned)random_below(&r, 30);
        unsigned ms = (unsigned)random_below(&r, 30000);
        static const char *const forms[] = {"HSET h%1$u f%2$u %3$u",
                                            "HSET h%1$u f%2$u %3$u",
                                            "HPEXPIRE h%1$u %3$u FIELDS 1 f%2$u",
                                            "HPEXPIRE h%1$u %3$u FIELDS 1 f%2$u",
                                            "HDEL h%1$u f%2$u x%3$u",
                                            "PEXPIRE h%1$u 1%3$u",
                                            "RENAME h%1$u h%2$u",
                                            "COPY h%1$u h%2$u REPLACE",
                                            "HPERSIST h%1$u FIELDS 1 f%2$u",
                                            "PERSIST h%1$u",
                                            "DEL h%1$u"};
        uint64_t form = random_below(&r, ARRAY_LEN(forms) * 4);
        form = form >= ARRAY_LEN(forms) ? form % 4 : form;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(line, sizeof line, forms[form], key, field, ms);
#pragma GCC diagnostic pop
        shard_fixture_run_line(&f, line);
        if (round % 10 == 0) run_ms(&f, (int64_t)random_below(&r, 1000));
    }
    run_ms(&f, 60000);
    cr_assert_eq(field_count(&f, "none"), 0);
    for (unsigned k = 0; k < 20; k++) {
        char name[8];
        snprintf(name, sizeof name, "h%u", k);
        struct bytes b = bytes_of(name);
        struct key key = {b, bytes_hash(b, f.shard->keys.seed), f.db};
        const struct entry *e = keyspace_peek(f.shard, &key);
        if (!e) continue;
        struct hash h = hash_of(e);
        cr_assert_eq(hash_volatile_count(&h), 0, "%s still has fields with a deadline", name);
    }
    shard_fixture_free(&f);
}

Test(cmd_hash, a_scan_may_leave_values_out)
{
    struct shard_fixture f = make();
    expect(&f, "HSET h a 1 b 2", ":2\r\n");
    expect(&f, "HSCAN h 0 NOVALUES", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    expect(&f, "HSCAN h 0 MATCH a novalues COUNT 5", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n");
    expect(&f, "HSCAN h 0 NOVALUES MATCH", "-ERR syntax error\r\n");
    shard_fixture_free(&f);
}
