#include "base/node_table.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NODES 3000

struct thing {
    struct table_node node;
    bool is_in;
};

static struct mem mem;
static struct node_table table;
static struct thing things[NODES];

static void start(void)
{
    mem_init(&mem, "node_table_test");
    node_table_init(&table, &mem);
}

static void stop(void)
{
    node_table_deinit(&table);
    cr_assert_eq(mem_live_bytes(&mem), 0);
    mem_deinit(&mem);
}

TestSuite(node_table, .init = start, .fini = stop);

/* Few different ones, so that many nodes share theirs. */
static uint64_t hash_of_index(unsigned i)
{
    return (uint64_t)(i % 1000) * 0x9e3779b97f4a7c15ULL;
}

static bool is_found(unsigned i)
{
    struct table_node *node = node_table_find(&table, hash_of_index(i));
    for (; node; node = node_table_find_next(node))
        if (node == &things[i].node) return true;
    return false;
}

static uint64_t seed_of_run(void)
{
    const char *given = getenv("SHOAL_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)(uintptr_t)&given >> 4;
    cr_log_info("seed %llu", (unsigned long long)seed);
    return seed | 1;
}

Test(node_table, finds_exactly_what_is_in_it_as_it_grows_and_shrinks)
{
    uint64_t x = seed_of_run();
    for (unsigned step = 0; step < 40000; step++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        unsigned i = (unsigned)(x >> 20) % NODES;
        bool grows = step / 10000 % 2 == 0;
        bool insert = (x >> 50) % 8 < (grows ? 6 : 1);
        if (insert && !things[i].is_in)
            node_table_insert(&table, &things[i].node, hash_of_index(i));
        else if (!insert && things[i].is_in)
            node_table_remove(&table, &things[i].node);
        else
            continue;
        things[i].is_in = insert;
        if (step % 64 == 0) node_table_validate(&table);
        cr_assert_eq(is_found(i), insert);
    }
    unsigned count = 0;
    for (unsigned i = 0; i < NODES; i++) {
        cr_assert_eq(is_found(i), things[i].is_in);
        count += things[i].is_in;
    }
    cr_assert_eq(table.count, count);
    struct table_node *node;
    for (uint32_t bucket = 0; (node = node_table_first_from(&table, &bucket)); bucket = 0, count--)
        node_table_remove(&table, node);
    cr_assert_eq(count, 0);
}

Test(node_table, an_empty_table_finds_nothing_and_holds_no_memory)
{
    cr_assert_null(node_table_find(&table, 5));
    node_table_insert(&table, &things[0].node, 5);
    node_table_remove(&table, &things[0].node);
    cr_assert_null(node_table_find(&table, 5));
    cr_assert_eq(mem_live_bytes(&mem), 0);
}
