#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/type/idtree.h"

static struct mem mem;

static void setup(void)
{
    mem_init(&mem, "test");
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(idtree, .init = setup, .fini = teardown);

static struct stream_id id_of(uint64_t n)
{
    return (struct stream_id){n / 10, n % 10};
}

/* An item that says whose it is. */
static void *item_of(uint64_t n)
{
    return (void *)(uintptr_t)(n + 1);
}

static void fill(struct idtree *t, uint64_t first, uint64_t end, uint64_t step)
{
    for (uint64_t n = first; n < end; n += step) {
        idtree_insert(&mem, t, id_of(n), item_of(n));
        idtree_validate(t);
    }
}

static void drain(struct idtree *t)
{
    while (idtree_pop(&mem, t)) idtree_validate(t);
    cr_assert_eq(t->count, 0);
    cr_assert_eq(t->bytes, 0);
    cr_assert_eq(t->node_count, 0);
    cr_assert_eq(mem_live_bytes(&mem), 0);
}

Test(idtree, an_empty_tree_has_nothing)
{
    struct idtree t = {.root = NULL};
    cr_assert(!idtree_place_exists(idtree_first(&t)));
    cr_assert(!idtree_place_exists(idtree_last(&t)));
    cr_assert(!idtree_place_exists(idtree_seek(&t, STREAM_ID_MIN)));
    cr_assert_null(idtree_find(&t, STREAM_ID_MIN));
    cr_assert_null(idtree_remove(&mem, &t, STREAM_ID_MIN));
    cr_assert_null(idtree_pop(&mem, &t));
    idtree_validate(&t);
}

Test(idtree, ids_in_ascending_order_fill_the_leaves)
{
    struct idtree t = {.root = NULL};
    fill(&t, 0, 31 * 40, 1);
    cr_assert_leq(t.node_count, 40 + 3);
    drain(&t);
}

Test(idtree, walks_both_ways)
{
    struct idtree t = {.root = NULL};
    fill(&t, 0, 3000, 3);
    uint64_t n = 0;
    struct idtree_place place = idtree_first(&t);
    for (; idtree_place_exists(place); place = idtree_next(place), n += 3) {
        cr_assert_eq(idtree_item(place), item_of(n));
    }
    cr_assert_eq(n, 3000);
    for (place = idtree_last(&t); idtree_place_exists(place); place = idtree_prev(place)) {
        n -= 3;
        cr_assert_eq(stream_id_compare(idtree_id(place), id_of(n)), 0);
    }
    cr_assert_eq(n, 0);
    drain(&t);
}

Test(idtree, seeks_the_nearest_on_either_side)
{
    struct idtree t = {.root = NULL};
    fill(&t, 10, 5000, 10);
    for (uint64_t n = 0; n < 5010; n++) {
        struct idtree_place after = idtree_seek(&t, id_of(n));
        struct idtree_place before = idtree_seek_back(&t, id_of(n));
        uint64_t up = (n + 9) / 10 * 10, down = n / 10 * 10;
        if (up == 0) up = 10;
        cr_assert_eq(idtree_place_exists(after), up < 5000);
        if (up < 5000) cr_assert_eq(idtree_item(after), item_of(up));
        cr_assert_eq(idtree_place_exists(before), down > 0);
        if (down > 0) cr_assert_eq(idtree_item(before), item_of(MIN(down, (uint64_t)4990)));
    }
    drain(&t);
}

Test(idtree, what_stays_of_many_takes_few_nodes)
{
    struct idtree t = {.root = NULL};
    fill(&t, 0, 20000, 1);
    for (uint64_t n = 0; n < 20000; n++) {
        if (n % 100 != 0) cr_assert_eq(idtree_remove(&mem, &t, id_of(n)), item_of(n));
    }
    idtree_validate(&t);
    cr_assert_eq(t.count, 200);
    cr_assert_leq(t.node_count, 60);
    drain(&t);
}

#define MODEL_IDS 1500

Test(idtree, equals_a_model_under_random_changes)
{
    static bool model[MODEL_IDS];
    struct random r = random_make();
    struct idtree t = {.root = NULL};
    uint64_t count = 0;
    for (int step = 0; step < 40000; step++) {
        uint64_t n = random_below(&r, MODEL_IDS);
        bool should_add = random_below(&r, 100) < (step / 5000 % 2 ? 35u : 65u);
        if (should_add && !model[n]) {
            idtree_insert(&mem, &t, id_of(n), item_of(n));
            count++;
        } else if (!should_add) {
            cr_assert_eq(idtree_remove(&mem, &t, id_of(n)), model[n] ? item_of(n) : NULL);
            count -= model[n];
        }
        model[n] = should_add;
        cr_assert_eq(t.count, count);
        cr_assert_eq(idtree_find(&t, id_of(n)), should_add ? item_of(n) : NULL);
        if (step % 16 == 0) idtree_validate(&t);
    }
    drain(&t);
}
