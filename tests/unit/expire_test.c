#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/expire.h"
#include "shard/lazyfree.h"
#include "shard_fixture.h"

static struct shard_fixture f;
static struct shard *sh;

static void setup(void)
{
    f = shard_fixture_make();
    sh = f.shard;
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(expire, .init = setup, .fini = teardown);

static void set(uint32_t db, unsigned n, int64_t deadline_ms)
{
    char name[32];
    struct bytes b = bytes_make(name, (size_t)sprintf(name, "key:%u", n));
    struct key k = {b, bytes_hash(b, sh->keys.seed), db};
    cr_assert_eq(keyspace_set_string(sh, &k, b, deadline_ms), OK);
}

/* Lets the clock go on in steps, and calls expire_step when it is due. Returns the steps taken. */
static unsigned run_ms(int64_t ms)
{
    unsigned steps = 0;
    for (int64_t i = 0; i < ms; i++) {
        shard_fixture_pass_ms(&f, 1);
        if (sh->now_ns < sh->expire_next_ns) continue;
        (void)expire_step(sh);
        steps++;
    }
    return steps;
}

static uint64_t expired(void)
{
    return counter_read(&sh->counters.expired_keys);
}

Test(expire, keys_go_without_being_asked_for)
{
    for (unsigned i = 0; i < 3000; i++) set(0, i, sh->now_ms + 50 + i % 700);
    for (unsigned i = 3000; i < 6000; i++) set(0, i, i % 2 ? DEADLINE_NONE : sh->now_ms + 900000);
    run_ms(20000);
    cr_assert_eq(expired(), 3000);
    cr_assert_eq(keyspace_size(sh, 0), 3000);
    keyspace_validate(sh);
}

Test(expire, the_share_of_keys_that_had_expired_is_averaged_over_sweeps)
{
    for (unsigned i = 0; i < 1000; i++) set(0, i, sh->now_ms + (i % 4 ? 900000 : 10));
    shard_fixture_pass_ms(&f, 2000);
    while (expired() < 250) run_ms(1);
    run_ms(50);
    uint64_t ppm = counter_read(&sh->counters.expired_share_ppm);
    cr_assert_eq(ppm, 250000 / 20, "%lu", (unsigned long)ppm);
    run_ms(60000);
    ppm = counter_read(&sh->counters.expired_share_ppm);
    cr_assert_lt(ppm, 2500, "%lu", (unsigned long)ppm);
}

Test(expire, no_key_goes_before_its_deadline)
{
    for (unsigned i = 0; i < 500; i++) set(0, i, sh->now_ms + 1000);
    run_ms(1000);
    cr_assert_eq(expired(), 0);
    cr_assert_eq(keyspace_size(sh, 0), 500);
}

Test(expire, every_database_is_swept)
{
    for (uint32_t db = 0; db < sh->keys.database_count; db += 3) {
        for (unsigned i = 0; i < 20; i++) set(db, i, sh->now_ms + 10);
    }
    run_ms(5000);
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        cr_assert_eq(keyspace_size(sh, db), 0);
    }
}

Test(expire, sleeps_for_ever_while_nothing_can_expire_and_wakes_for_a_deadline)
{
    set(0, 1, DEADLINE_NONE);
    (void)expire_step(sh);
    cr_assert_eq(sh->expire_next_ns, UINT64_MAX);
    set(0, 2, sh->now_ms + 50);
    cr_assert_leq(sh->expire_next_ns, sh->now_ns);
    run_ms(5000);
    cr_assert_eq(keyspace_size(sh, 0), 1);
    cr_assert_eq(sh->expire_next_ns, UINT64_MAX);
    struct key k = {BYTES_LITERAL("key:1"), bytes_hash(BYTES_LITERAL("key:1"), sh->keys.seed), 0};
    cr_assert(keyspace_set_deadline(sh, &k, sh->now_ms + 50));
    cr_assert_leq(sh->expire_next_ns, sh->now_ns);
    run_ms(5000);
    cr_assert_eq(keyspace_size(sh, 0), 0);
}

Test(expire, does_nothing_while_it_is_switched_off)
{
    f.config->active_expire = false;
    for (unsigned i = 0; i < 100; i++) set(0, i, sh->now_ms + 10);
    run_ms(5000);
    cr_assert_eq(keyspace_size(sh, 0), 100);
    f.config->active_expire = true;
    run_ms(5000);
    cr_assert_eq(keyspace_size(sh, 0), 0);
}

Test(expire, sweeps_that_find_nothing_rest_by_hz)
{
    for (unsigned i = 0; i < 100; i++) set(0, i, sh->now_ms + 1000000);
    run_ms(1000);
    f.config->hz = 10;
    cr_assert_leq(run_ms(10000), 101);
    f.config->hz = 1;
    run_ms(1000);
    cr_assert_leq(run_ms(10000), 11);
}

/* One slice; how long after its own time the next one comes, and in `took` that time. */
static uint64_t wait_after_slice_ns(uint64_t *took)
{
    sh->now_ns = sh->expire_next_ns;
    (void)expire_step(sh);
    *took = sh->keys.sweep.slice_ns;
    return sh->expire_next_ns - sh->now_ns - *took;
}

Test(expire, the_effort_is_a_share_of_the_cpu_while_there_is_more_to_do)
{
    static const uint32_t percents[] = {25, 27, 30, 33, 36, 38, 41, 44, 47, 50};
    for (unsigned i = 0; i < 200000; i++) set(0, i, sh->now_ms + 10);
    shard_fixture_pass_ms(&f, 1000);
    for (uint32_t effort = 1; effort <= 10; effort++) {
        uint64_t took, left = keyspace_size(sh, 0);
        f.config->expire_effort = effort;
        uint64_t wait = wait_after_slice_ns(&took);
        cr_assert_eq(wait, took * 100 / percents[effort - 1] - took, "effort %u", effort);
        cr_assert(keyspace_size(sh, 0) < left && keyspace_size(sh, 0) > 0);
    }
}

Test(expire, the_effort_shortens_the_rest_after_sweeps_that_find_little)
{
    for (unsigned i = 0; i < 100; i++) set(0, i, sh->now_ms + 900000);
    for (uint32_t effort = 1; effort <= 10; effort += 3) {
        uint64_t took;
        f.config->expire_effort = effort;
        f.config->hz = 500;
        sh->keys.sweep.busy_ns = 6000000; /* as if it had taken slices before */
        uint64_t rest = wait_after_slice_ns(&took);
        cr_assert_eq(rest, (6000000 + took) * (100 / (2 * effort) - 1), "effort %u", effort);
        sh->keys.sweep.busy_ns = 10000000000;
        cr_assert_eq(wait_after_slice_ns(&took), 1000000000 / effort, "effort %u", effort);
        f.config->hz = 1;
        cr_assert_eq(wait_after_slice_ns(&took), 1000000000 / effort, "effort %u", effort);
    }
}

/* The rest after a sweep that has touched `all` keys, of which so many had expired. */
static uint64_t rest_after_ns(unsigned all, unsigned due)
{
    uint64_t took;
    for (unsigned i = 0; i < all; i++) set(0, i, sh->now_ms + (i < due ? 10 : 900000));
    shard_fixture_pass_ms(&f, 2000);
    sh->keys.sweep.busy_ns = 10000000000;
    return wait_after_slice_ns(&took);
}

Test(expire, the_effort_tolerates_a_smaller_share_of_expired_keys)
{
    cr_assert_eq(rest_after_ns(40, 12), 100000000, "12 of 40: it comes again by hz");
    cr_assert_eq(rest_after_ns(40, 6), 1000000000, "6 of 40: it may rest");
    f.config->expire_effort = 2;
    cr_assert_eq(rest_after_ns(40, 6), 50000000, "twice as often, too");
    cr_assert_eq(rest_after_ns(40, 4), 500000000);
    f.config->expire_effort = 9;
    f.config->hz = 100;
    cr_assert_eq(rest_after_ns(40, 2), 10000000 / 9);
    cr_assert_eq(rest_after_ns(40, 1), 1000000000 / 9);
}

Test(expire, many_clients_raise_hz)
{
    counter_set(&sh->raised_hz, 40);
    cr_assert_eq(rest_after_ns(40, 12), 25000000);
    f.config->hz = 50;
    cr_assert_eq(rest_after_ns(40, 12), 20000000);
}

Test(expire, a_deadline_in_the_past_is_found_at_once)
{
    for (unsigned i = 0; i < 1000; i++) set(0, i, sh->now_ms + 1000000);
    run_ms(3000);
    for (unsigned back = 1; back <= 40; back++) {
        uint64_t before = expired();
        set(0, 5000 + back, sh->now_ms - 1000 * (int64_t)back);
        run_ms(2500);
        cr_assert_eq(expired(), before + 1, "%u s", back);
    }
}

Test(expire, a_deadline_in_the_past_is_found_behind_a_running_sweep_too)
{
    for (unsigned i = 0; i < 20000; i++) set(0, i, sh->now_ms + 15 * 1000000);
    const struct database *db = sh->keys.databases[0];
    while (db->sweep.cursor == 0 || db->sweep.done_second == 0) run_ms(1);
    uint64_t cursor = db->sweep.cursor;
    unsigned n = 20000;
    for (;; n++) {
        char name[32];
        struct bytes b = bytes_make(name, (size_t)sprintf(name, "key:%u", n));
        if (bytes_hash(b, sh->keys.seed) < cursor / 2) break;
    }
    set(0, n, sh->now_ms - 5000);
    run_ms(3000);
    cr_assert_eq(expired(), 1);
}

Test(expire, a_clock_that_goes_back_and_forth_loses_no_key)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 50; i++) {
            set(0, i, sh->now_ms + 1 + (int64_t)random_below(&r, 3000));
        }
        int64_t jump = (int64_t)random_below(&r, 40000) - 20000;
        shard_set_now(sh, sh->now_ns, sh->now_ms + jump);
        run_ms((int64_t)random_below(&r, 3000));
        keyspace_validate(sh);
    }
    run_ms(60000);
    cr_assert_eq(keyspace_size(sh, 0), 0);
}

/* One sweep after its deadline a key is gone, whatever else happens meanwhile. */
Test(expire, random_deadlines_are_kept_within_two_seconds)
{
    struct random r = random_make();
    static int64_t deadlines[4000];
    for (unsigned step = 0; step < 3000; step++) {
        for (unsigned i = 0; i < 5; i++) {
            unsigned n = (unsigned)random_below(&r, 4000);
            deadlines[n] = sh->now_ms + 1 + (int64_t)random_below(&r, 30000);
            set((uint32_t)(n % 2), n, deadlines[n]);
        }
        run_ms((int64_t)random_below(&r, 100));
        uint64_t at_most = 0, at_least = 0;
        for (unsigned n = 0; n < 4000; n++) {
            at_least += deadlines[n] >= sh->now_ms;
            at_most += deadlines[n] + 2100 >= sh->now_ms && deadlines[n] != 0;
        }
        uint64_t size = keyspace_size(sh, 0) + keyspace_size(sh, 1);
        cr_assert(size >= at_least && size <= at_most);
    }
}

Test(expire, the_average_ttl_is_that_of_the_keys)
{
    struct keyspace_stats stats;
    for (unsigned i = 0; i < 10; i++) set(0, i, sh->now_ms + 100000);
    run_ms(1000);
    cr_assert(keyspace_read_stats(&sh->keys, 0, &stats));
    cr_assert_eq(stats.ttl_sampled, 10);
    uint64_t average_ms = stats.ttl_sum_ms / stats.ttl_sampled;
    cr_assert(average_ms > 98000 && average_ms <= 100000);
}

static struct key key_named(const char *name)
{
    struct bytes b = bytes_of(name);
    return (struct key){b, bytes_hash(b, sh->keys.seed), 0};
}

Test(expire, in_a_pause_what_has_expired_is_gone_for_readers_and_stays)
{
    for (unsigned i = 0; i < 100; i++) set(0, i, sh->now_ms + 50);
    shard_pause(sh, sh->now_ns + 5000 * 1000000ULL);
    run_ms(4900);
    struct key k = key_named("key:7");
    cr_assert_null(keyspace_find_any(sh, &k));
    cr_assert_null(keyspace_random(sh, 0));
    cr_assert_eq(expired(), 0);
    cr_assert_eq(keyspace_size(sh, 0), 100);
    run_ms(1500);
    cr_assert_eq(expired(), 100);
    cr_assert_eq(keyspace_size(sh, 0), 0);
}

Test(expire, in_a_pause_a_writer_finds_no_key_where_one_has_expired)
{
    for (unsigned i = 0; i < 4; i++) set(0, i, sh->now_ms + 50);
    shard_pause(sh, UINT64_MAX);
    run_ms(100);
    struct key a = key_named("key:0"), b = key_named("key:1"), c = key_named("key:2");
    cr_assert_eq(keyspace_set_string(sh, &a, bytes_of("new"), DEADLINE_KEEP), OK);
    cr_assert_eq(entry_deadline_ms(keyspace_peek(sh, &a)), 0);
    cr_assert_not(keyspace_delete(sh, &b));
    cr_assert_eq(keyspace_move(sh, &c, &b), ERR_NO_KEY);
    struct key d = key_named("key:3");
    cr_assert_eq(keyspace_move(sh, &a, &d), OK);
    cr_assert_eq(expired(), 4);
    cr_assert_eq(keyspace_size(sh, 0), 1);
    keyspace_validate(sh);
}

Test(expire, the_longer_of_two_pauses_holds_and_either_may_be_lifted)
{
    set(0, 0, sh->now_ms + 50);
    shard_pause(sh, sh->now_ns + 3000 * 1000000ULL);
    shard_pause(sh, sh->now_ns + 1000 * 1000000ULL);
    run_ms(2900);
    cr_assert_eq(expired(), 0);
    shard_pause(sh, 0);
    run_ms(10);
    cr_assert_eq(expired(), 1);
}
