/* The intrusive list against an array. */
#include <criterion/criterion.h>

#include "base/dlist.h"
#include "tests/unit/random.h"

struct item {
    int value;
    struct dlist link;
};

static int value_of(struct dlist *node)
{
    cr_assert_not_null(node);
    return container_of(node, struct item, link)->value;
}

Test(dlist, a_new_head_is_empty)
{
    struct dlist head;
    dlist_init(&head);
    cr_assert(dlist_is_empty(&head));
    cr_assert_null(dlist_pop_front(&head));
}

Test(dlist, first_in_first_out)
{
    struct dlist head;
    struct item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
    dlist_init(&head);
    for (int i = 0; i < 3; i++) dlist_push_back(&head, &items[i].link);
    for (int i = 0; i < 3; i++) cr_assert_eq(value_of(dlist_pop_front(&head)), i);
    cr_assert(dlist_is_empty(&head));
}

Test(dlist, removing_twice_is_harmless)
{
    struct dlist head;
    struct item items[3] = {{.value = 0}, {.value = 1}, {.value = 2}};
    dlist_init(&head);
    for (int i = 0; i < 3; i++) dlist_push_back(&head, &items[i].link);
    dlist_remove(&items[1].link);
    dlist_remove(&items[1].link);
    cr_assert_eq(value_of(dlist_pop_front(&head)), 0);
    cr_assert_eq(value_of(dlist_pop_front(&head)), 2);
    cr_assert(dlist_is_empty(&head));
}

Test(dlist, a_removed_node_looks_like_an_empty_list)
{
    struct dlist head;
    struct item item;
    dlist_init(&head);
    dlist_push_back(&head, &item.link);
    dlist_remove(&item.link);
    cr_assert(dlist_is_empty(&item.link));
}

Test(dlist, each_safe_allows_removal_on_the_way)
{
    struct dlist head;
    struct item items[10];
    dlist_init(&head);
    for (int i = 0; i < 10; i++) {
        items[i].value = i;
        dlist_push_back(&head, &items[i].link);
    }
    dlist_each_safe (node, &head) {
        if (value_of(node) % 2) dlist_remove(node);
    }
    int expected = 0;
    dlist_each (node, &head) {
        cr_assert_eq(value_of(node), expected);
        expected += 2;
    }
    cr_assert_eq(expected, 10);
}

#define ITEMS 32

Test(dlist, does_as_an_array_does)
{
    struct random r = random_make();
    struct dlist head;
    struct item items[ITEMS], *model[ITEMS];
    int count = 0;
    dlist_init(&head);
    for (int i = 0; i < ITEMS; i++) {
        items[i].value = i;
        dlist_init(&items[i].link);
    }
    for (int step = 0; step < 20000; step++) {
        struct item *item = &items[random_below(&r, ITEMS)];
        int at = 0;
        while (at < count && model[at] != item) at++;
        if (at < count) {
            dlist_remove(&item->link);
            memmove(&model[at], &model[at + 1], sizeof(model[0]) * (size_t)(count - at - 1));
            count--;
        } else {
            dlist_push_back(&head, &item->link);
            model[count++] = item;
        }
        at = 0;
        dlist_each (node, &head) {
            cr_assert_eq(node, &model[at]->link);
            cr_assert_eq(node->next->prev, node);
            at++;
        }
        cr_assert_eq(at, count);
    }
}
