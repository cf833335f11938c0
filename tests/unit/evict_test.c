#include "shard/evict.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "tests/unit/random.h"
#include "tests/unit/shard_fixture.h"

#define VALUE_BYTES 100

static struct shard_fixture f;
static struct budget budget;

static void start(uint64_t maxmemory, enum evict_policy policy, bool is_volatile)
{
    f = shard_fixture_make();
    budget = (struct budget){0};
    budget_resize(&budget, (int64_t)maxmemory, 0);
    f.config->maxmemory_bytes = maxmemory;
    f.config->evict_policy = policy;
    f.config->evict_volatile = is_volatile;
    f.config->evict_samples = 5;
    f.config->evict_tenacity = 100;
    f.shard->evict.loan.budget = &budget;
    evict_apply_config(f.shard);
}

static void finish(void)
{
    shard_fixture_free(&f);
}

static uint64_t used(void)
{
    return mem_live_bytes(&f.shard->mem);
}

/* True: it was set; false: refused for want of memory. */
static bool set(unsigned i, const char *options)
{
    char line[VALUE_BYTES + 100];
    snprintf(line, sizeof line, "SET key:%u %0*u %s", i, VALUE_BYTES, i, options);
    struct bytes reply = shard_fixture_run_line(&f, line);
    if (reply.data[0] == '+') return true;
    const char *text = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    cr_assert(bytes_equal(reply, bytes_of(text)));
    return false;
}

static bool is_there(unsigned i)
{
    char name[32];
    struct bytes key = bytes_make(name, (size_t)snprintf(name, sizeof name, "key:%u", i));
    struct key k = {.name = key, .hash = bytes_hash(key, f.shard->keys.seed)};
    return keyspace_peek(f.shard, &k) != NULL;
}

static unsigned count_there(unsigned from, unsigned to)
{
    unsigned n = 0;
    for (unsigned i = from; i < to; i++) n += is_there(i);
    return n;
}

Test(evict, without_a_limit_nothing_goes)
{
    start(0, EVICT_LRU, false);
    for (unsigned i = 0; i < 10000; i++) cr_assert(set(i, ""));
    cr_assert_eq(count_there(0, 10000), 10000);
    cr_assert_eq(evict_next_ns(f.shard), UINT64_MAX);
    finish();
}

Test(evict, used_memory_stays_under_the_limit)
{
    enum evict_policy policies[] = {EVICT_LRU, EVICT_LFU, EVICT_RANDOM};
    for (size_t p = 0; p < ARRAY_LEN(policies); p++) {
        start(1 << 20, policies[p], false);
        for (unsigned i = 0; i < 50000; i++) {
            cr_assert(set(i, ""));
            cr_assert_leq(used(), (1 << 20) + 16384, "one value and a step of the table");
        }
        uint64_t keys = keyspace_size(f.shard, 0);
        cr_assert_geq(used(), (1 << 20) * 95 / 100, "%lu", (unsigned long)used());
        cr_assert_eq(counter_read(&f.shard->evict.evicted_keys), 50000 - keys);
        finish();
    }
}

Test(evict, without_a_policy_writes_are_refused_and_reads_go_on)
{
    start(1 << 20, EVICT_NOTHING, false);
    unsigned stored = 0;
    while (set(stored, "")) stored++;
    cr_assert_gt(stored, 3000);
    cr_assert_eq(count_there(0, stored), stored);
    expect(&f, "EXISTS key:0", ":1\r\n");
    cr_assert_gt(counter_read(&f.shard->evict.exceeded_since_us), 0);
    cr_assert_eq(counter_read(&f.shard->evict.exceeded_us), 0);
    expect(&f, "DEL key:0 key:1 key:2 key:3 key:4 key:5 key:6 key:7 key:8 key:9", ":10\r\n");
    cr_assert(set(0, ""), "what was deleted makes room");
    shard_fixture_pass_ms(&f, 1000);
    (void)evict_step(f.shard);
    cr_assert_eq(counter_read(&f.shard->evict.exceeded_since_us), 0);
    cr_assert_gt(counter_read(&f.shard->evict.exceeded_us), 0);
    finish();
}

Test(evict, what_was_used_longest_ago_goes_first)
{
    start(1 << 20, EVICT_LRU, false);
    for (unsigned i = 0; i < 4000; i++) cr_assert(set(i, ""));
    shard_fixture_pass_ms(&f, 60000);
    for (unsigned i = 0; i < 2000; i++) { /* one half is used again */
        char line[64];
        snprintf(line, sizeof line, "GET key:%u", i);
        shard_fixture_run_line(&f, line);
    }
    shard_fixture_pass_ms(&f, 1000);
    for (unsigned i = 10000; i < 13000; i++) cr_assert(set(i, ""));
    unsigned hot = count_there(0, 2000), cold = count_there(2000, 4000);
    cr_assert_gt(hot, 1990, "%u of the used ones are left, %u of the others", hot, cold);
    finish();
}

Test(evict, what_was_used_least_often_goes_first)
{
    start(1 << 20, EVICT_LFU, false);
    for (unsigned i = 0; i < 4000; i++) cr_assert(set(i, ""));
    for (unsigned round = 0; round < 30; round++)
        for (unsigned i = 0; i < 2000; i++) {
            char line[64];
            snprintf(line, sizeof line, "GET key:%u", i);
            shard_fixture_run_line(&f, line);
        }
    for (unsigned i = 10000; i < 20000; i++) cr_assert(set(i, ""));
    cr_assert_gt(count_there(0, 2000), 1900);
    finish();
}

Test(evict, only_keys_with_a_deadline_go_under_a_volatile_policy)
{
    start(1 << 20, EVICT_LRU, true);
    for (unsigned i = 0; i < 2000; i++) cr_assert(set(i, ""));
    unsigned i = 2000;
    for (; i < 20000; i++) cr_assert(set(i, "EX 1000"));
    cr_assert_eq(count_there(0, 2000), 2000);
    while (set(i, "")) i++; /* until nothing with a deadline is left */
    cr_assert_eq(count_there(0, 2000), 2000);
    cr_assert_eq(counter_read(&f.shard->keys.databases[0]->expires_count), 0);
    finish();
}

Test(evict, a_deadline_of_a_field_does_not_make_a_key_volatile)
{
    start(1 << 20, EVICT_LRU, true);
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    for (unsigned i = 0; i < 1000; i++) {
        char line[64];
        snprintf(line, sizeof line, "HSET hash:%u f v", i);
        shard_fixture_run_line(&f, line);
        snprintf(line, sizeof line, "HEXPIRE hash:%u 1000 FIELDS 1 f", i);
        expect(&f, line, "*1\r\n:1\r\n");
    }
    cr_assert(set(1000000, "EX 1000"));
    unsigned i = 0;
    while (set(i, "")) i++;
    cr_assert_eq(is_there(1000000), false);
    cr_assert_eq(counter_read(&f.shard->evict.evicted_keys), 1);
    cr_assert_eq(keyspace_size(f.shard, 0), 1000 + i);
    keyspace_validate(f.shard);
    finish();
}

Test(evict, a_single_key_with_a_deadline_is_found_among_many_without)
{
    start(4 << 20, EVICT_RANDOM, true);
    cr_assert(set(1000000, "EX 1000"));
    unsigned i = 0;
    while (set(i, "")) i++;
    cr_assert_eq(is_there(1000000), false);
    cr_assert_eq(counter_read(&f.shard->evict.evicted_keys), 1);
    finish();
}

Test(evict, the_nearest_deadline_goes_first)
{
    start(1 << 20, EVICT_TTL, true);
    for (unsigned i = 0; i < 4000; i++) cr_assert(set(i, i % 2 ? "EX 1000" : "EX 100000"));
    for (unsigned i = 10000; i < 12500; i++) cr_assert(set(i, ""));
    unsigned near = 0, far = 0;
    for (unsigned i = 0; i < 4000; i++) *(i % 2 ? &near : &far) += is_there(i);
    cr_assert_gt(far, 1990, "%u far, %u near", far, near);
    finish();
}

Test(evict, every_database_gives)
{
    start(1 << 20, EVICT_RANDOM, false);
    for (unsigned i = 0; i < 20000; i++) {
        f.db = i % 3;
        cr_assert(set(i, ""));
    }
    for (unsigned db = 0; db < 3; db++) cr_assert_gt(keyspace_size(f.shard, db), 800);
    finish();
}

Test(evict, a_lower_limit_is_reached_in_the_background)
{
    start(4 << 20, EVICT_LRU, false);
    for (unsigned i = 0; i < 25000; i++) cr_assert(set(i, ""));
    cr_assert_gt(used(), 2 << 20);
    budget_resize(&budget, 1 << 20, 0);
    budget_recall(&f.shard->evict.loan, (uint64_t)-budget_unlent(&budget));
    for (unsigned i = 0; i < 1000 && used() > 1 << 20; i++) {
        shard_fixture_pass_ms(&f, 100);
        while (shard_background(f.shard)) shard_fixture_pass_ms(&f, 1);
    }
    cr_assert_leq(used(), 1 << 20);
    cr_assert_geq(budget_unlent(&budget), 0);
    finish();
}

Test(evict, a_big_value_that_goes_is_freed_before_more_is_evicted)
{
    start(8 << 20, EVICT_LRU, false);
    shard_fixture_run_line(&f, "SET big x");
    char line[300];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "SETRANGE big %u x", (i + 1) * 20000);
        shard_fixture_run_line(&f, line);
    }
    shard_fixture_pass_ms(&f, 10000);
    for (unsigned i = 0; i < 20000; i++) cr_assert(set(i, ""));
    cr_assert_gt(count_there(0, 20000), 19900, "the big one made room for all");
    finish();
}

static uint64_t elsewhere;

static uint64_t used_elsewhere(struct shard *sh)
{
    cr_assert_eq(sh, f.shard);
    return elsewhere;
}

static const struct shard_hooks looking = {.used_elsewhere = used_elsewhere};

Test(evict, no_key_goes_for_what_others_have_freed_since)
{
    start(4 << 20, EVICT_LRU, false);
    f.shard->hooks = &looking;
    budget_resize(&budget, 4 << 20, 3 << 20);
    elsewhere = 0;
    shard_fixture_pass_ms(&f, 10);
    for (unsigned i = 0; i < 10000; i++) cr_assert(set(i, ""));
    cr_assert_eq(count_there(0, 10000), 10000);
    cr_assert_gt(used(), 1 << 20);
    finish();
}

Test(evict, what_others_use_is_not_measured_for_each_key)
{
    start(4 << 20, EVICT_LRU, false);
    f.shard->hooks = &looking;
    budget_resize(&budget, 4 << 20, 3 << 20);
    elsewhere = 3 << 20;
    shard_fixture_pass_ms(&f, 10);
    for (unsigned i = 0; i < 10000; i++) cr_assert(set(i, ""));
    elsewhere = 0;
    for (unsigned i = 10000; i < 10100; i++) cr_assert(set(i, ""));
    cr_assert_lt(used(), 1100 << 10, "within a millisecond the last figure holds");
    shard_fixture_pass_ms(&f, 10);
    for (unsigned i = 10100; i < 20100; i++) cr_assert(set(i, ""));
    cr_assert_eq(count_there(10100, 20100), 10000);
    finish();
}

Test(evict, messages_on_their_way_to_clients_evict_nothing)
{
    start(4 << 20, EVICT_LRU, false);
    for (unsigned i = 0; i < 18000; i++) cr_assert(set(i, ""));
    cr_assert_gt(used(), 2 << 20);
    struct buf *messages = &f.shard->channels.feeds[0].filling;
    cr_assert(buf_try_reserve(messages, 3 << 20));
    for (unsigned i = 0; i < 1000; i++) cr_assert(set(i, ""));
    cr_assert_eq(count_there(0, 18000), 18000);
    buf_clear(messages);
    finish();
}

Test(evict, without_the_limit_everything_borrowed_comes_back)
{
    start(1 << 20, EVICT_LRU, false);
    for (unsigned i = 0; i < 5000; i++) cr_assert(set(i, ""));
    f.config->maxmemory_bytes = 0;
    evict_apply_config(f.shard);
    cr_assert_eq(budget_unlent(&budget), 1 << 20);
    for (unsigned i = 5000; i < 20000; i++) cr_assert(set(i, ""));
    cr_assert_eq(count_there(5000, 20000), 15000);
    finish();
}

Test(evict, in_a_pause_nothing_goes_and_nothing_is_refused)
{
    start(1 << 20, EVICT_LRU, false);
    for (unsigned i = 0; i < 20000; i++) cr_assert(set(i, ""));
    uint64_t evicted = counter_read(&f.shard->evict.evicted_keys);
    shard_pause(f.shard, f.shard->now_ns + 5000 * 1000000ULL);
    for (unsigned i = 20000; i < 30000; i++) cr_assert(set(i, ""));
    shard_fixture_pass_ms(&f, 1000);
    cr_assert_not(evict_step(f.shard));
    cr_assert_eq(counter_read(&f.shard->evict.evicted_keys), evicted);
    cr_assert_eq(count_there(20000, 30000), 10000);
    shard_fixture_pass_ms(&f, 4000);
    cr_assert(set(30000, ""));
    cr_assert_leq(used(), 1 << 20);
    finish();
}

Test(evict, who_has_nothing_to_evict_is_not_full_in_a_pause)
{
    start(1 << 20, EVICT_NOTHING, false);
    unsigned i = 0;
    while (set(i, "")) i++;
    cr_assert(counter_read(&f.shard->evict.is_full));
    shard_pause(f.shard, f.shard->now_ns + 1000 * 1000000ULL);
    cr_assert_not(counter_read(&f.shard->evict.is_full));
    cr_assert(set(i, ""));
    shard_pause(f.shard, 0);
    cr_assert_not(set(i, ""));
    finish();
}

/* ---- others give ---- */

static struct shard_fixture other;
static bool other_is_there;

static bool ask_other(struct shard *sh)
{
    UNUSED const struct shard *asking = sh;
    return other_is_there && evict_can_give(other.shard, true);
}

static const struct shard_hooks asking = {.ask_others = ask_other};

/* A second shard under the same budget, with keys that may go. */
static void start_with_other(unsigned keys)
{
    start(4 << 20, EVICT_LRU, true);
    other = shard_fixture_make();
    *other.config = *f.config;
    other.shard->evict.loan.budget = &budget;
    evict_apply_config(other.shard);
    for (unsigned i = 0; i < keys; i++) {
        char line[VALUE_BYTES + 100];
        snprintf(line, sizeof line, "SET key:%u %0*u EX 100", i, VALUE_BYTES, i);
        cr_assert_eq(shard_fixture_run_line(&other, line).data[0], '+');
    }
    f.shard->hooks = &asking;
    other_is_there = true;
    shard_fixture_pass_ms(&f, 1);
}

static void other_works(void)
{
    shard_fixture_pass_ms(&other, 1);
    while (evict_step(other.shard)) shard_fixture_pass_ms(&other, 1);
    shard_fixture_pass_ms(&f, 1);
}

static void finish_with_other(void)
{
    shard_fixture_pass_ms(&other, 0);
    shard_fixture_free(&other);
    shard_fixture_pass_ms(&f, 0);
    finish();
}

static uint64_t used_by_both(void)
{
    return used() + mem_live_bytes(&other.shard->mem);
}

Test(evict, who_has_nothing_to_evict_gets_what_others_evict)
{
    start_with_other(10000);
    uint64_t before = keyspace_size(other.shard, 0);
    unsigned i = 0;
    for (; set(i, ""); i++) {
        other_works();
        cr_assert_lt(used_by_both(), (4 << 20) + 64 * 1024);
    }
    cr_assert_eq(before, 10000);
    cr_assert_eq(keyspace_size(other.shard, 0), 0, "no key that may go is left when it is refused");
    cr_assert_gt(i, 15000);
    cr_assert_eq(counter_read(&f.shard->evict.evicted_keys), 0);
    finish_with_other();
}

Test(evict, when_nobody_comes_to_give_it_is_refused_after_a_while)
{
    start_with_other(10000);
    uint64_t owed_max = (4 << 20) / EVICT_OWED_PART_SMALL;
    unsigned i = 0;
    while (set(i, "")) i++;
    cr_assert_leq(budget_owed(&budget), owed_max + EVICT_CHUNK_BYTES_MAX);
    cr_assert_geq(budget_owed(&budget), owed_max / 2);
    other_works();
    cr_assert_eq(budget_owed(&budget), 0);
    cr_assert(set(i, ""), "others have given");
    while (budget_owed(&budget) == 0) cr_assert(set(++i, ""));
    shard_fixture_pass_ms(&f, EVICT_ASK_NS / 1000000 + 1);
    while (set(++i, "")) cr_assert_lt(budget_owed(&budget), owed_max / 2);
    finish_with_other();
}

Test(evict, nobody_gives_what_is_not_owed_or_in_a_pause)
{
    start_with_other(10000);
    other_works();
    cr_assert_eq(keyspace_size(other.shard, 0), 10000);
    while (budget_owed(&budget) == 0) cr_assert(set((unsigned)keyspace_size(f.shard, 0), ""));
    shard_fixture_pass_ms(&other, 0);
    shard_pause(other.shard, other.shard->now_ns + 1000000000);
    other_works();
    cr_assert_eq(keyspace_size(other.shard, 0), 10000);
    shard_fixture_pass_ms(&other, 1000);
    other_works();
    cr_assert_lt(keyspace_size(other.shard, 0), 10000);
    cr_assert_eq(budget_owed(&budget), 0);
    finish_with_other();
}
