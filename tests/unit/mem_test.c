/* Memory owners: contents, accounts and failure. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/mem.h"
#include "tests/unit/random.h"

#ifdef SHOAL_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static uint64_t live_count(const struct mem *m)
{
    return atomic_load(&m->live_count);
}

static bool is_filled(const unsigned char *p, size_t size, unsigned char byte)
{
    for (size_t i = 0; i < size; i++) {
        if (p[i] != byte) return false;
    }
    return true;
}

Test(mem, a_new_owner_has_nothing)
{
    struct mem m;
    mem_init(&m, "test");
    cr_assert_eq(mem_live_bytes(&m), 0);
    cr_assert_str_eq(m.name, "test");
    mem_deinit(&m);
}

Test(mem, accounts_count_classes_and_return_to_zero)
{
    struct mem m;
    mem_init(&m, "test");
    void *a = mem_alloc(&m, 100), *b = mem_alloc(&m, 1), *c = mem_try_alloc(&m, 5000);
    cr_assert(a && b && c);
    cr_assert_eq(mem_live_bytes(&m), 112 + 8 + 5120);
    cr_assert_eq(live_count(&m), 3);
    mem_free(&m, b, 1);
    cr_assert_eq(mem_live_bytes(&m), 112 + 5120);
    mem_free(&m, a, 100);
    mem_free(&m, c, 5000);
    cr_assert_eq(mem_live_bytes(&m), 0);
    cr_assert_eq(live_count(&m), 0);
    mem_deinit(&m);
}

Test(mem, freeing_nothing_is_allowed)
{
    struct mem m;
    mem_init(&m, "test");
    mem_free(&m, NULL, 0);
    mem_free(&m, NULL, 1000);
    cr_assert_eq(mem_live_bytes(&m), 0);
    mem_deinit(&m);
}

Test(mem, zeroed_memory_is_zero_even_when_it_was_used_before)
{
    struct mem m;
    mem_init(&m, "test");
    for (int i = 0; i < 100; i++) {
        unsigned char *p = mem_alloc_zeroed(&m, 777);
        cr_assert(is_filled(p, 777, 0));
        memset(p, 0xff, 777);
        mem_free(&m, p, 777);
    }
    mem_deinit(&m);
}

Test(mem, blocks_of_16_bytes_and_more_are_aligned_to_16)
{
    struct mem m;
    mem_init(&m, "test");
    for (size_t size = 16; size < 3000; size++) {
        void *p = mem_alloc(&m, size);
        cr_assert_eq((uintptr_t)p % 16, 0);
        mem_free(&m, p, size);
    }
    mem_deinit(&m);
}

Test(mem, aligned_blocks_are_aligned_and_freed_by_their_size)
{
    struct mem m;
    mem_init(&m, "test");
    for (size_t alignment = 16; alignment <= 2048; alignment *= 2) {
        for (size_t n = 1; n < 40; n++) {
            void *p = mem_alloc_aligned(&m, n * alignment, alignment);
            cr_assert_eq((uintptr_t)p % alignment, 0);
            cr_assert_eq(mem_live_bytes(&m), mem_class_bytes(n * alignment));
            memset(p, 1, n * alignment);
            mem_free(&m, p, n * alignment);
        }
    }
    cr_assert_eq(mem_live_bytes(&m), 0);
    mem_deinit(&m);
}

Test(mem, a_size_that_is_no_multiple_of_its_alignment_is_a_failed_check, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_alloc_aligned(&m, 100, 64);
}

Test(mem, realloc_keeps_contents_and_accounts)
{
    struct mem m;
    mem_init(&m, "test");
    size_t sizes[] = {10, 100, 99, 4000, 70000, 300000, 5};
    size_t size = sizes[0], kept = size;
    unsigned char *p = mem_alloc(&m, size);
    memset(p, 'x', size);
    for (size_t i = 1; i < ARRAY_LEN(sizes); i++) {
        p = mem_try_realloc(&m, p, size, sizes[i]);
        cr_assert_not_null(p);
        kept = MIN(kept, sizes[i]);
        size = sizes[i];
        cr_assert(is_filled(p, kept, 'x'));
        cr_assert_eq(mem_live_bytes(&m), mem_class_bytes(size));
        cr_assert_eq(live_count(&m), 1);
    }
    mem_free(&m, p, size);
    mem_deinit(&m);
}

Test(mem, realloc_of_nothing_is_a_new_block)
{
    struct mem m;
    mem_init(&m, "test");
    void *p = mem_try_realloc(&m, NULL, 0, 100);
    cr_assert_not_null(p);
    cr_assert_eq(mem_live_bytes(&m), 112);
    cr_assert_eq(live_count(&m), 1);
    mem_free(&m, p, 100);
    mem_deinit(&m);
}

Test(mem, absurd_sizes_fail_without_a_trace)
{
    struct mem m;
    mem_init(&m, "test");
    void *p = mem_alloc(&m, 100);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 100, SIZE_MAX / 2, (size_t)1 << 60};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        cr_assert_null(mem_try_alloc(&m, sizes[i]));
        cr_assert_null(mem_try_realloc(&m, p, 100, sizes[i]));
    }
    cr_assert_eq(mem_live_bytes(&m), 112);
    mem_free(&m, p, 100);
    mem_deinit(&m);
}

Test(mem, the_fault_point_makes_the_nth_attempt_fail)
{
    struct mem m;
    mem_init(&m, "test");
    unsigned char *p = mem_try_alloc(&m, 50), *q;
    memset(p, 'x', 50);
    fault_set("mem_try_alloc", 2);
    q = mem_try_alloc(&m, 50);
    cr_assert_not_null(q);
    cr_assert_null(mem_try_alloc(&m, 50));
    fault_set("mem_try_alloc", 1);
    cr_assert_null(mem_try_realloc(&m, p, 50, 500));
    cr_assert(is_filled(p, 50, 'x'));
    cr_assert_eq(mem_live_bytes(&m), 2 * 64);
    mem_free(&m, p, 50);
    mem_free(&m, q, 50);
    mem_deinit(&m);
}

Test(mem, an_owner_that_ends_with_live_blocks_is_a_failed_check, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_alloc(&m, 1);
    mem_deinit(&m);
}

#ifndef SHOAL_JEMALLOC /* jemalloc itself would be misled by the wrong size */
Test(mem, a_block_freed_by_a_wrong_size_is_a_failed_check_in_the_end, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_free(&m, mem_alloc(&m, 100), 50);
    mem_deinit(&m);
}
#endif

Test(mem, classes_are_never_smaller_and_waste_at_most_a_quarter)
{
    size_t last = 0;
    for (size_t size = 1; size < 200000; size++) {
        size_t bytes = mem_class_bytes(size);
        cr_assert_geq(bytes, size);
        cr_assert_geq(bytes, last);
        cr_assert(size < 64 || bytes - size <= size / 4, "%zu", size);
        cr_assert_eq(mem_class_bytes(bytes), bytes);
        last = bytes;
    }
}

Test(mem, classes_are_those_of_jemalloc)
{
#ifdef SHOAL_JEMALLOC
    struct random r = random_make();
    for (size_t size = 1; size <= 64 * 1024; size++)
        cr_assert_eq(mem_class_bytes(size), nallocx(size, 0));
    for (int i = 0; i < 100000; i++) {
        size_t size = 1 + (random_next(&r) >> (34 + random_below(&r, 20)));
        cr_assert_eq(mem_class_bytes(size), nallocx(size, 0), "%zu", size);
    }
    for (size_t size = 1024; size <= (size_t)1 << 30; size *= 2) {
        cr_assert_eq(mem_class_bytes(size), nallocx(size, 0));
        cr_assert_eq(mem_class_bytes(size + 1), nallocx(size + 1, 0));
    }
#else
    cr_assert_eq(mem_class_bytes(129), 160);
    cr_assert_eq(mem_class_bytes(14337), 16384);
    cr_assert_eq(mem_class_bytes(16385), 20480);
#endif
}

#define BLOCKS 500

struct block {
    unsigned char *data;
    size_t size;
    unsigned char byte;
};

static void block_free(struct mem *m, struct block *b)
{
    cr_assert(is_filled(b->data, b->size, b->byte));
    mem_free(m, b->data, b->size);
    b->data = NULL;
    b->size = 0;
}

static void block_resize(struct mem *m, struct block *b, size_t size, unsigned char byte)
{
    unsigned char *data = b->data ? mem_try_realloc(m, b->data, b->size, size) : mem_alloc(m, size);
    cr_assert_not_null(data);
    cr_assert(!b->data || is_filled(data, MIN(b->size, size), b->byte));
    memset(data, byte, size);
    *b = (struct block){data, size, byte};
}

static void use_at_random(struct mem *m, struct random *r)
{
    struct block blocks[BLOCKS] = {{0}};
    for (int step = 0; step < 20000; step++) {
        struct block *b = &blocks[random_below(r, BLOCKS)];
        size_t size = 1 + (random_next(r) >> (47 + random_below(r, 16)));
        if (b->data && random_below(r, 2)) {
            block_free(m, b);
        } else {
            block_resize(m, b, size, (unsigned char)random_next(r));
        }
        if (step % 64) continue;
        uint64_t bytes = 0;
        for (int i = 0; i < BLOCKS; i++)
            bytes += blocks[i].data ? mem_class_bytes(blocks[i].size) : 0;
        cr_assert_eq(mem_live_bytes(m), bytes);
    }
    for (int i = 0; i < BLOCKS; i++) {
        if (blocks[i].data) block_free(m, &blocks[i]);
    }
    cr_assert_eq(mem_live_bytes(m), 0);
}

Test(mem, blocks_never_overlap_and_the_sum_is_exact_under_random_use)
{
    struct random r = random_make();
    struct mem m;
    mem_init(&m, "test");
    use_at_random(&m, &r);
    mem_deinit(&m);
}

static void *own_and_use(void *seed)
{
    struct random r = {(uintptr_t)seed};
    struct mem m;
    mem_init(&m, "thread");
    use_at_random(&m, &r);
    mem_deinit(&m);
    return NULL;
}

Test(mem, owners_on_several_threads_do_not_disturb_each_other)
{
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, own_and_use, (void *)(i + 1)), 0);
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

Test(mem, totals_grow_with_what_an_owner_takes)
{
    struct mem m;
    struct mem_totals before, after;
    const size_t size = 8 << 20;
    mem_init(&m, "test");
    mem_read_totals(&before);
    void *p = mem_alloc(&m, size);
    memset(p, 1, size);
    mem_read_totals(&after);
#ifdef SHOAL_JEMALLOC
    cr_assert_geq(after.allocated - before.allocated, mem_live_bytes(&m));
    cr_assert_geq(after.resident, after.allocated);
    cr_assert_geq(after.active, after.allocated);
#endif
    cr_assert_geq(after.mapped, before.mapped);
    mem_free(&m, p, size);
    mem_purge();
    mem_deinit(&m);
}

Test(mem, the_allocator_has_a_name)
{
#ifdef SHOAL_JEMALLOC
    cr_assert_eq(strncmp(mem_allocator_name(), "jemalloc-5.", 11), 0);
    unsigned arenas;
    size_t size = sizeof(arenas);
    cr_assert_eq(mallctl("opt.narenas", &arenas, &size, NULL, 0), 0);
    cr_assert_eq(arenas, 2, "the options of the program are not in force");
#else
    cr_assert_str_eq(mem_allocator_name(), "libc");
#endif
}

Test(mem, a_moved_block_keeps_its_contents_and_the_accounts)
{
    struct mem m;
    mem_init(&m, "test");
    static const size_t sizes[] = {8, 16, 48, 64, 192, 1024, 5120, 14336, 16384, 100000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *p = mem_alloc(&m, sizes[i]);
        memset(p, (int)i + 1, sizes[i]);
        uint64_t live = mem_live_bytes(&m);
        char *moved = mem_try_move(&m, p, sizes[i]);
        cr_assert_not_null(moved);
        cr_assert_eq(mem_live_bytes(&m), live);
        for (size_t j = 0; j < sizes[i]; j++) cr_assert_eq(moved[j], (char)(i + 1));
        if (sizes[i] % CACHE_LINE == 0) cr_assert_eq((uintptr_t)moved % CACHE_LINE, 0);
        mem_free(&m, moved, sizes[i]);
    }
    mem_deinit(&m);
}

Test(mem, a_block_in_a_sparse_slab_is_known)
{
    static char *blocks[20000];
    struct mem m;
    mem_init(&m, "test");
    if (!mem_knows_slabs()) {
        mem_deinit(&m);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) blocks[i] = mem_alloc(&m, 64);
    unsigned dense = 0, sparse = 0;
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++) dense += mem_is_sparse(&m, blocks[i], 64);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        if (i % 8) mem_free(&m, blocks[i], 64);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i += 8) sparse += mem_is_sparse(&m, blocks[i], 64);
    cr_assert_eq(dense, 0, "%u", dense);
    cr_assert_gt(sparse, ARRAY_LEN(blocks) / 8 / 3, "%u", sparse);
    for (size_t i = 0; i < ARRAY_LEN(blocks); i += 8) mem_free(&m, blocks[i], 64);
    mem_deinit(&m);
}

Test(mem, a_shrunk_block_keeps_what_fits)
{
    struct mem m;
    mem_init(&m, "test");
    char *p = mem_alloc(&m, 1 << 20);
    memset(p, 7, 1 << 20);
    p = mem_shrink(&m, p, 1 << 20, 100);
    for (unsigned i = 0; i < 100; i++) cr_assert_eq(p[i], 7);
    cr_assert_eq(mem_live_bytes(&m), mem_class_bytes(100));
    mem_free(&m, p, 100);
    mem_deinit(&m);
}

Test(mem, what_was_refused_is_counted)
{
    struct mem m;
    mem_init(&m, "test");
    fault_set("mem_try_alloc", 1);
    cr_assert_null(mem_try_alloc(&m, 10));
    cr_assert_null(mem_try_alloc(&m, SIZE_MAX));
    cr_assert_eq(m.refused_count, 2);
    mem_deinit(&m);
}

/* ---- the reserve ---- */

Test(mem, the_reserve_is_in_no_account)
{
    struct mem m;
    mem_init(&m, "test");
    mem_keep_reserve(&m, 100000, NULL);
    cr_assert_eq(mem_live_bytes(&m), 0);
    cr_assert_eq(live_count(&m), 0);
    mem_deinit(&m);
}

Test(mem, who_insists_on_an_impossible_size_aborts, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_insist(&m, true);
    (void)!mem_try_alloc(&m, SIZE_MAX / 4);
}

Test(mem, who_insists_on_an_impossible_aligned_size_aborts, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_insist(&m, true);
    (void)!mem_try_alloc_aligned(&m, SIZE_MAX / 4 + 1, 64);
}

Test(mem, who_insists_on_growing_to_an_impossible_size_aborts, .signal = SIGABRT)
{
    struct mem m;
    mem_init(&m, "test");
    mem_insist(&m, true);
    void *p = mem_alloc(&m, 16);
    (void)!mem_try_realloc(&m, p, 16, SIZE_MAX / 4);
}

Test(mem, an_owner_that_insists_uses_its_reserve_up_and_gets_a_new_one)
{
    struct mem m;
    _Atomic uint32_t short_owners = 0;
    mem_init(&m, "test");
    mem_keep_reserve(&m, 100000, &short_owners);
    fault_set("mem_try_alloc", 1);
    cr_assert_null(mem_try_alloc(&m, 100));
    cr_assert_eq(atomic_load(&short_owners), 0);

    fault_set("mem_try_alloc", 1);
    mem_insist(&m, true);
    void *p = mem_try_alloc(&m, 100);
    mem_insist(&m, false);
    cr_assert_not_null(p);
    cr_assert_eq(atomic_load(&short_owners), 1);

    void *q = mem_try_alloc(&m, 100); /* the system has memory */
    cr_assert_not_null(q);
    cr_assert_eq(atomic_load(&short_owners), 0);
    mem_free(&m, p, 100);
    mem_free(&m, q, 100);
    mem_deinit(&m);
}

Test(mem, a_block_that_may_not_fail_to_grow_does_not)
{
    struct mem m;
    mem_init(&m, "test");
    mem_keep_reserve(&m, 100000, NULL);
    char *p = mem_alloc(&m, 100);
    memset(p, 7, 100);
    fault_set("mem_try_alloc", 1);
    mem_insist(&m, true);
    p = mem_try_realloc(&m, p, 100, 5000);
    mem_insist(&m, false);
    cr_assert(p && is_filled((unsigned char *)p, 100, 7));
    mem_free(&m, p, 5000);
    mem_deinit(&m);
}
