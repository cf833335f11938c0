#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
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

TestSuite(lazyfree, .init = setup, .fini = teardown);

static void fill(struct dict *d, unsigned count)
{
    dict_init(d, &sh->mem, 1);
    for (unsigned i = 0; i < count; i++) {
        char name[32];
        struct bytes b = bytes_make(name, (size_t)sprintf(name, "key:%u", i));
        struct entry *e = entry_try_make_string(&sh->mem, b, b, ENCODING_RAW, 0);
        cr_assert(e);
        dict_insert(d, bytes_hash(b, 1), e, i % 3);
    }
}

Test(lazyfree, a_string_is_freed_at_once)
{
    static char text[100000];
    uint64_t before = mem_live_bytes(&sh->mem);
    for (size_t size = 1; size <= sizeof text; size *= 10) {
        struct entry *e = entry_try_make_string(&sh->mem, BYTES_LITERAL("k"),
                                                bytes_make(text, size), ENCODING_RAW, 0);
        free_list_entry(sh, e);
        cr_assert_eq(mem_live_bytes(&sh->mem), before);
    }
    cr_assert_eq(free_list_pending(sh->free_list), 0);
    cr_assert_not(free_list_step(sh));
}

Test(lazyfree, tables_are_freed_in_slices_first_in_first_out)
{
    uint64_t before = mem_live_bytes(&sh->mem);
    struct dict d[3];
    for (unsigned i = 0; i < 3; i++) {
        fill(&d[i], 20000);
        free_list_dict(sh, &d[i]);
        cr_assert_eq(d[i].count, 0);
        cr_assert_eq(free_list_pending(sh->free_list), 20000 * (i + 1));
        cr_assert_eq(counter_read(&sh->counters.lazyfree_pending), 20000 * (i + 1));
    }
    uint64_t pending = 60000;
    unsigned slices = 0;
    while (free_list_step(sh)) {
        uint64_t now = free_list_pending(sh->free_list);
        cr_assert_lt(now, pending);
        cr_assert_leq(pending - now, 256 * 72); /* Bounded whatever the clock does. */
        pending = now;
        slices++;
    }
    cr_assert_geq(slices, 3);
    cr_assert_eq(free_list_pending(sh->free_list), 0);
    cr_assert_eq(counter_read(&sh->counters.lazyfree_pending), 0);
    cr_assert_eq(counter_read(&sh->counters.lazyfreed), 60000);
    cr_assert_eq(mem_live_bytes(&sh->mem), before);
}

Test(lazyfree, an_empty_table_leaves_nothing_behind)
{
    uint64_t before = mem_live_bytes(&sh->mem);
    struct dict d;
    fill(&d, 0);
    free_list_dict(sh, &d);
    while (free_list_pending(sh->free_list)) (void)free_list_step(sh);
    fill(&d, 1);
    struct bytes name = BYTES_LITERAL("key:0");
    entry_free_string(&sh->mem, dict_remove(&d, bytes_hash(name, 1), name));
    free_list_dict(sh, &d);
    while (free_list_pending(sh->free_list)) (void)free_list_step(sh);
    cr_assert_eq(mem_live_bytes(&sh->mem), before);
}

Test(lazyfree, what_is_left_at_the_end_is_freed_with_the_list)
{
    struct dict d;
    fill(&d, 5000);
    free_list_dict(sh, &d);
    (void)free_list_step(sh);
    /* The fixture's end checks that no memory is left. */
}

#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define WIDE HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED

/* Lines with a number in them. */
static void run_many(const char *before, const char *behind, unsigned count)
{
    for (unsigned i = 1; i <= count; i++) {
        char line[600];
        snprintf(line, sizeof line, "%s%u%s", before, i, behind);
        (void)shard_fixture_run_line(&f, line);
    }
}

static void expect_later(const char *line, const char *reply)
{
    shard_fixture_expect(&f, line, bytes_of(reply), __LINE__);
    cr_assert_gt(free_list_pending(sh->free_list), 0, "%s", line);
    while (free_list_step(sh)) {
    }
}

Test(lazyfree, big_parts_of_lists_are_freed_in_slices)
{
    shard_fixture_add_family(&f, &list_family);
    run_many("RPUSH l ", WIDE, 3000);
    expect_later("LTRIM l 1500 1501", "+OK\r\n");
    expect(&f, "LLEN l", ":2\r\n");
    run_many("LPUSH l ", WIDE, 3000);
    expect_later("LTRIM l 0 0", "+OK\r\n");
    expect(&f, "LLEN l", ":1\r\n");
}

Test(lazyfree, big_parts_of_sorted_sets_are_freed_in_slices)
{
    shard_fixture_add_family(&f, &zset_family);
    run_many("ZADD z ", " m", 200);
    run_many("ZADD z 7 m", "", 3000);
    expect_later("ZREMRANGEBYRANK z 1 -2", ":2999\r\n");
    expect(&f, "ZRANGE z 0 -1 WITHSCORES", "*4\r\n$2\r\nm1\r\n$1\r\n7\r\n$1\r\nm\r\n$3\r\n200\r\n");
    expect(&f, "OBJECT ENCODING z", "$8\r\nskiplist\r\n");
    run_many("ZADD z 7 m", "", 3000);
    expect_later("ZREMRANGEBYSCORE z -inf +inf", ":3001\r\n");
    expect(&f, "EXISTS z", ":0\r\n");
}

Test(lazyfree, groups_and_consumers_are_freed_in_slices)
{
    shard_fixture_add_family(&f, &stream_family);
    run_many("XADD s ", "-1 f v", 1000);
    run_many("XGROUP CREATE s g", " 0", 3);
    (void)shard_fixture_run_line(&f, "XREADGROUP GROUP g1 c STREAMS s >");
    (void)shard_fixture_run_line(&f, "XREADGROUP GROUP g2 c COUNT 999 STREAMS s >");
    (void)shard_fixture_run_line(&f, "XREADGROUP GROUP g2 d STREAMS s >");
    expect_later("XGROUP DESTROY s g1", ":1\r\n");
    expect(&f, "XGROUP DELCONSUMER s g2 d", ":1\r\n");
    expect_later("XGROUP DELCONSUMER s g2 c", ":999\r\n");
    expect(&f, "XPENDING s g2", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
    expect(&f, "XGROUP DESTROY s g1", ":0\r\n");
    expect(&f, "XGROUP DESTROY s g2", ":1\r\n");
    expect(&f, "XGROUP DELCONSUMER s g3 c", ":0\r\n");
}
