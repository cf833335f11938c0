#include "shard/s3fifo.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/shard_fixture.h"

#define CAP (1 << 20)
#define VALUE_BYTES 100

static struct shard_fixture f;
static struct budget budget;

static void start(void)
{
    f = shard_fixture_make();
    budget = (struct budget){0};
    budget_resize(&budget, CAP, 0);
    f.config->maxmemory_bytes = CAP;
    f.config->evict_policy = EVICT_S3FIFO;
    f.config->evict_samples = 5;
    f.config->evict_tenacity = 100;
    f.shard->evict.loan.budget = &budget;
    evict_apply_config(f.shard);
}

static struct key key_of(unsigned i, char *name)
{
    struct bytes key = bytes_make(name, (size_t)sprintf(name, "key:%u", i));
    return (struct key){.name = key, .hash = bytes_hash(key, f.shard->keys.seed)};
}

static bool is_there(unsigned i)
{
    char name[32];
    struct key k = key_of(i, name);
    return keyspace_peek(f.shard, &k) != NULL;
}

/* A cache's request: true if it was there, else it is stored. */
static bool ask(unsigned i)
{
    char name[32], line[VALUE_BYTES + 64];
    struct key k = key_of(i, name);
    if (keyspace_find_any(f.shard, &k)) return true;
    snprintf(line, sizeof line, "SET key:%u %0*u", i, VALUE_BYTES, i);
    cr_assert_eq(shard_fixture_run_line(&f, line).data[0], '+');
    cr_assert_leq(mem_live_bytes(&f.shard->mem), CAP + 32768);
    return false;
}

Test(s3fifo, keys_in_use_survive_a_scan_many_times_as_long_as_the_cache)
{
    start();
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 3000; i++) ask(i);
    for (unsigned i = 0; i < 100000; i++) {
        ask(1000000 + i);
        if (i % 20 == 0) ask(i / 20 % 3000);
    }
    unsigned left = 0;
    for (unsigned i = 0; i < 3000; i++) left += is_there(i);
    cr_assert_gt(left, 2700, "%u of 3000", left);
    shard_fixture_free(&f);
}

Test(s3fifo, what_comes_back_soon_after_it_went_enters_the_main_queue)
{
    start();
    for (unsigned i = 0; i < 20000; i++) ask(i);
    unsigned last = 20000;
    while (last-- > 0 && is_there(last)) {
    }
    cr_assert_not(ask(last)); /* the one that went last is noted */
    for (unsigned i = 30000; i < 34000; i++) ask(i);
    cr_assert(is_there(last), "its neighbours have gone, it has not");
    shard_fixture_free(&f);
}

Test(s3fifo, a_key_that_is_overwritten_stays_where_it_is)
{
    start();
    for (unsigned i = 0; i < 4; i++) cr_assert_eq(ask(7), i > 0);
    expect(&f, "SET key:7 short", "+OK\r\n");
    for (unsigned i = 100; i < 20000; i++) ask(i);
    cr_assert(is_there(7));
    shard_fixture_free(&f);
}

Test(s3fifo, idle_time_is_not_known)
{
    start();
    ask(1);
    expect(&f, "OBJECT IDLETIME key:1",
           "-ERR The maxmemory policy allkeys-s3fifo is selected, idle time not tracked.\r\n");
    shard_fixture_free(&f);
}
