/* Watched keys: what counts as a change, and what does not. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard/watch.h"
#include "tests/unit/random.h"
#include "tests/unit/shard_fixture.h"

#define ME 100

static struct shard_fixture f;

static void start(void)
{
    f = shard_fixture_make();
    shard_fixture_add_family(&f, &list_family);
    shard_fixture_add_family(&f, &set_family);
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &server_family);
    shard_fixture_add_family(&f, &expire_family);
}

static void stop(void)
{
    cr_expect_eq(f.shard->watches.key_count, 0, "watches are left");
    shard_fixture_free(&f);
}

TestSuite(watch, .init = start, .fini = stop);

static struct key key_in(uint32_t db, const char *name)
{
    struct bytes text = bytes_of(name);
    return (struct key){.name = text, .hash = bytes_hash(text, f.shard->keys.seed), .db = db};
}

static void watch_in(uint64_t id, uint32_t db, const char *name)
{
    struct key k = key_in(db, name);
    cr_assert_eq(watch_add(f.shard, id, &k), OK);
    watch_validate(f.shard);
}

static void watch(const char *name)
{
    watch_in(ME, 0, name);
}

static void run(const char *line)
{
    shard_fixture_run_line(&f, line);
    watch_validate(f.shard);
}

/* After `setup`, with k watched: whether the line changes it. */
static bool changes(const char *setup, const char *line)
{
    run("FLUSHALL");
    if (setup) run(setup);
    watch("k");
    run(line);
    return !watch_end(f.shard, ME);
}

Test(watch, commands_that_change_a_key_are_noticed)
{
    cr_expect(changes(NULL, "SET k v"));
    cr_expect(changes("SET k v", "SET k v"));
    cr_expect(changes("SET k 1", "INCR k"));
    cr_expect(changes("SET k v", "APPEND k w"));
    cr_expect(changes("SET k v", "SETRANGE k 100 w"));
    cr_expect(changes("SET k v", "DEL k"));
    cr_expect(changes("SET k v", "GETDEL k"));
    cr_expect(changes("SET k v", "EXPIRE k 100"));
    cr_expect(changes("SET k v EX 100", "PERSIST k"));
    cr_expect(changes("SET k v", "EXPIRE k -1"));
    cr_expect(changes("SET k v", "RENAME k other"));
    cr_expect(changes("SET other v", "RENAME other k"));
    cr_expect(changes("SET other v", "COPY other k"));
    cr_expect(changes("SET k v", "MOVE k 1"));
    cr_expect(changes("RPUSH k a b", "LPOP k"));
    cr_expect(changes("RPUSH k a b", "LTRIM k 0 -1"));
    cr_expect(changes("RPUSH k a", "LPOP k"));
    cr_expect(changes("SADD k a", "SADD k b"));
    cr_expect(changes("HSET k f v", "HSET k f v"));
    cr_expect(changes("SET k v", "FLUSHDB"));
    cr_expect(changes("SET k v", "SWAPDB 0 1"));
}

Test(watch, commands_that_change_nothing_are_not)
{
    cr_expect_not(changes("SET k v", "GET k"));
    cr_expect_not(changes("SET k v", "TOUCH k"));
    cr_expect_not(changes("SET k v", "PERSIST k"));
    cr_expect_not(changes("SET k v", "SET k w NX"));
    cr_expect_not(changes("SET k v", "RPUSH k a"));
    cr_expect_not(changes("SET k v", "SET other v"));
    cr_expect_not(changes("RPUSH k a", "LREM k 0 b"));
    cr_expect_not(changes("SADD k a", "SADD k a"));
    cr_expect_not(changes(NULL, "DEL k"));
    cr_expect_not(changes(NULL, "EXPIRE k 100"));
    cr_expect_not(changes(NULL, "FLUSHALL"));
    cr_expect_not(changes("SET k v", "SWAPDB 0 0"));
    cr_expect_not(changes("SET k v", "SWAPDB 2 3"));
    cr_expect_not(changes("SET other v", "SWAPDB 0 1"));
}

Test(watch, a_database_that_takes_the_place_may_bring_the_key)
{
    f.db = 1;
    run("SET k v");
    f.db = 0;
    watch("k");
    run("SWAPDB 0 1");
    cr_expect_not(watch_end(f.shard, ME));
}

Test(watch, the_same_name_in_another_database_is_another_key)
{
    watch_in(ME, 1, "k");
    run("SET k v");
    cr_expect(watch_end(f.shard, ME));
    watch_in(ME, 1, "k");
    f.db = 1;
    run("SET k v");
    cr_expect_not(watch_end(f.shard, ME));
}

Test(watch, a_deadline_that_passes_is_a_change)
{
    run("SET k v PX 10");
    watch("k");
    shard_fixture_pass_ms(&f, 20);
    cr_expect_not(watch_end(f.shard, ME));
}

Test(watch, a_key_that_had_expired_before_is_one_that_is_not_there)
{
    run("SET k v PX 10");
    shard_fixture_pass_ms(&f, 20);
    watch("k");
    run("GET k");
    cr_expect(watch_end(f.shard, ME));
    watch("k");
    run("FLUSHALL");
    cr_expect(watch_end(f.shard, ME));
}

Test(watch, a_key_that_is_evicted_has_changed)
{
    struct key k = key_in(0, "k");
    run("SET k v");
    watch("k");
    keyspace_drop_evicted(f.shard, 0, k.hash, keyspace_peek(f.shard, &k));
    cr_expect_not(watch_end(f.shard, ME));
}

Test(watch, everybody_who_watches_is_told)
{
    watch_in(100, 0, "k");
    watch_in(101, 0, "k");
    watch_in(101, 0, "other");
    watch_in(102, 0, "other");
    run("SET k v");
    cr_expect_not(watch_end(f.shard, 100));
    cr_expect_not(watch_end(f.shard, 101));
    cr_expect(watch_end(f.shard, 102));
}

Test(watch, it_ends_once)
{
    watch("k");
    watch("k");
    cr_expect_eq(f.shard->watches.key_count, 1);
    cr_expect(watch_end(f.shard, ME));
    run("SET k v");
    cr_expect(watch_end(f.shard, ME), "nothing is watched any more");
}

/* ---- against a model ---- */

#define IDS 20
#define NAMES 200

static bool is_watching[IDS][NAMES], is_dirty[IDS];

static void forget(unsigned id)
{
    bool is_clean = watch_end(f.shard, ME + id);
    cr_assert_eq(is_clean, !is_dirty[id]);
    memset(is_watching[id], 0, sizeof is_watching[id]);
    is_dirty[id] = false;
}

Test(watch, random_watches_and_changes_are_as_the_model_says)
{
    struct random r = random_make();
    for (unsigned step = 0; step < 20000; step++) {
        unsigned id = (unsigned)random_below(&r, IDS), n = (unsigned)random_below(&r, NAMES);
        char name[16], line[32];
        snprintf(name, sizeof name, "k%u", n);
        snprintf(line, sizeof line, "SET k%u v", n);
        uint64_t what = random_below(&r, 40);
        if (what == 0) {
            forget(id);
        } else if (what < 30) {
            watch_in(ME + id, 0, name);
            is_watching[id][n] = true;
        } else {
            shard_fixture_run_line(&f, line);
            for (unsigned i = 0; i < IDS; i++) is_dirty[i] |= is_watching[i][n];
        }
    }
    for (unsigned id = 0; id < IDS; id++) forget(id);
    watch_validate(f.shard);
}
