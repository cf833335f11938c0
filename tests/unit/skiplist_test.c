#include <criterion/criterion.h>

#include "random.h"
#include "shard/type/skiplist.h"

#define ELEMENTS_MAX 300

static struct mem mem;

static void setup(void)
{
    mem_init(&mem, "test");
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(skiplist, .init = setup, .fini = teardown);

/* The same elements in an array, sorted. */
struct model {
    struct skiplist_node *nodes[ELEMENTS_MAX];
    unsigned count;
};

static bool stands_before(const struct skiplist_node *a, const struct skiplist_node *b)
{
    if (a->score != b->score) return a->score < b->score;
    return bytes_compare(skiplist_member(a), skiplist_member(b)) < 0;
}

static void model_sort(struct model *m)
{
    for (unsigned i = 1; i < m->count; i++) {
        struct skiplist_node *n = m->nodes[i];
        unsigned j = i;
        for (; j > 0 && stands_before(n, m->nodes[j - 1]); j--) m->nodes[j] = m->nodes[j - 1];
        m->nodes[j] = n;
    }
}

static void compare(const struct skiplist *sl, const struct model *m)
{
    skiplist_validate(sl);
    cr_assert_eq(sl->count, m->count);
    const struct skiplist_node *n = skiplist_first(sl);
    for (unsigned i = 0; i < m->count; i++, n = skiplist_next(n)) {
        cr_assert_eq(n, m->nodes[i]);
        cr_assert_eq(skiplist_rank(sl, n), i);
        cr_assert_eq(skiplist_at(sl, i), n);
    }
    cr_assert_null(n);
    cr_assert_null(skiplist_at(sl, m->count));
}

static struct skiplist_node *insert(struct skiplist *sl, double score, struct bytes member)
{
    struct skiplist_node *n = skiplist_try_make(&mem, sl, score, member);
    cr_assert(n);
    skiplist_insert(sl, n);
    return n;
}

static void empty(struct skiplist *sl)
{
    struct skiplist_node *n;
    while ((n = skiplist_first(sl))) {
        skiplist_remove(sl, n);
        skiplist_free_node(&mem, n);
        if (sl->count % 16 == 0) skiplist_validate(sl);
    }
    cr_assert_eq(sl->count, 0);
}

static void step(struct skiplist *sl, struct model *m, struct random *r, unsigned number)
{
    unsigned what = (unsigned)random_below(r, 4);
    if (what < 2 && m->count < ELEMENTS_MAX) {
        char member[300];
        int size = sprintf(member, "%*u", (int)random_below(r, 2) * 290, number);
        double score = (double)random_below(r, 9) - 4;
        m->nodes[m->count++] = insert(sl, score, bytes_make(member, (size_t)size));
    } else if (what == 2 && m->count > 0) {
        unsigned i = (unsigned)random_below(r, m->count);
        skiplist_remove(sl, m->nodes[i]);
        skiplist_free_node(&mem, m->nodes[i]);
        m->nodes[i] = m->nodes[--m->count];
    } else if (m->count > 0) {
        skiplist_move(sl, m->nodes[random_below(r, m->count)], (double)random_below(r, 9) - 4);
    }
    model_sort(m);
}

Test(skiplist, keeps_the_order_and_the_ranks_through_random_changes)
{
    struct random r = random_make();
    struct skiplist sl;
    struct model m = {0};
    skiplist_init(&sl, random_next(&r));
    for (unsigned i = 0; i < 1500; i++) {
        step(&sl, &m, &r, i);
        compare(&sl, &m);
    }
    empty(&sl);
}

Test(skiplist, equal_scores_are_ordered_by_the_bytes_of_the_members)
{
    static const char *const members[] = {"b", "", "a", "ab", "\xff", "Z"};
    static const char *const sorted[] = {"", "Z", "a", "ab", "b", "\xff"};
    struct skiplist sl;
    skiplist_init(&sl, 1);
    for (size_t i = 0; i < ARRAY_LEN(members); i++) insert(&sl, 1, bytes_of(members[i]));
    for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
        cr_assert(bytes_equal(skiplist_member(skiplist_at(&sl, i)), bytes_of(sorted[i])));
    }
    empty(&sl);
}

static bool is_below(const void *context, const struct skiplist_node *n)
{
    return n->score < *(const double *)context;
}

Test(skiplist, counts_what_stands_before_a_bound)
{
    struct skiplist sl;
    skiplist_init(&sl, 7);
    for (unsigned i = 0; i < 200; i++) {
        char member[16];
        insert(&sl, i / 2, bytes_make(member, (size_t)sprintf(member, "%u", i)));
    }
    for (int i = -1; i <= 101; i++) {
        double bound = i;
        uint64_t expected = i < 0 ? 0 : i > 100 ? 200 : (uint64_t)i * 2;
        cr_assert_eq(skiplist_count_before(&sl, is_below, &bound), expected);
    }
    empty(&sl);
}

Test(skiplist, an_entry_leads_back_to_its_node)
{
    struct skiplist sl;
    static char long_member[70000];
    memset(long_member, 'x', sizeof long_member);
    skiplist_init(&sl, 3);
    for (size_t size = 0; size <= sizeof long_member; size = size ? size * 7 : 1) {
        struct skiplist_node *n = insert(&sl, (double)size, bytes_make(long_member, size));
        cr_assert_eq(((uintptr_t)skiplist_entry(n) & 15), 0);
        cr_assert_eq(skiplist_node_of(skiplist_entry(n)), n);
        cr_assert_eq(entry_key(skiplist_entry(n)).size, size);
    }
    skiplist_validate(&sl);
    empty(&sl);
}

Test(skiplist, one_node_in_four_reaches_the_next_level)
{
    struct skiplist sl;
    skiplist_init(&sl, 99);
    for (unsigned i = 0; i < 20000; i++) {
        char member[16];
        insert(&sl, i, bytes_make(member, (size_t)sprintf(member, "%u", i)));
    }
    unsigned second_level = 0;
    const struct skiplist_level *l = &sl.head[SKIPLIST_LEVELS_MAX - 2];
    for (; l->next; l = (const struct skiplist_level *)(const void *)l->next - 2) second_level++;
    cr_assert(second_level > 4500 && second_level < 5500, "%u", second_level);
    cr_assert(sl.level_count >= 6 && sl.level_count <= 14, "%u", sl.level_count);
    for (struct skiplist_node *n; (n = skiplist_first(&sl));) {
        skiplist_remove(&sl, n);
        skiplist_free_node(&mem, n);
    }
}
