/* mem.c: memory owners over jemalloc arenas, or over the C library where jemalloc is off.
 *
 * Each owner has an arena and an explicit thread cache, so what one thread does never takes a lock
 * that another one holds, and the pages of a shard hold nothing but that shard's memory.
 */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef SHOAL_JEMALLOC
#include <jemalloc/jemalloc.h>
#else
#include <malloc.h>
#endif

/* More than any machine has: refused here, as some allocators (AddressSanitizer's) abort on absurd
 * sizes. */
#define MEM_BYTES_MAX ((size_t)1 << 40)
/* Larger blocks lie in pages of their own. */
#define MEM_SLAB_BLOCK_BYTES_MAX 14336
#define MEM_QUERY_PARTS 3

/* ---- the allocator underneath: raw_* ---- */

#ifdef SHOAL_JEMALLOC

/* Read by jemalloc before main(). The automatic arenas serve only what libraries allocate for
 * themselves; the default of four per CPU would spread that little over hundreds of arenas on a
 * large machine. Decay keeps its defaults (dirty pages go back within 10 s); a thread of the
 * allocator's own sees to it once the server runs (mem_start_decay). Nor may a thread that frees
 * give back pages by itself when 8 MiB of them have come together: that takes a millisecond. */
const char *malloc_conf = "narenas:2,max_background_threads:1,oversize_threshold:0";

static void *raw_alloc(const struct mem *m, size_t size)
{
    return mallocx(size, m->flags);
}

static void *raw_alloc_zeroed(const struct mem *m, size_t size)
{
    return mallocx(size, m->flags | MALLOCX_ZERO);
}

static void *raw_alloc_aligned(const struct mem *m, size_t size, size_t alignment)
{
    /* The block is freed by its size alone, so alignment must not have put it in another class. */
    int flags = m->flags | MALLOCX_ALIGN(alignment);
    CHECK(nallocx(size, flags) == mem_class_bytes(size));
    return mallocx(size, flags);
}

static void *raw_realloc(const struct mem *m, void *p, size_t new_size)
{
    return rallocx(p, new_size, m->flags);
}

static void raw_free(const struct mem *m, void *p, size_t size)
{
    sdallocx(p, size, m->flags);
}

static void arena_destroy(const struct mem *m)
{
    char name[40];
    snprintf(name, sizeof(name), "arena.%u.destroy", m->arena);
    CHECK(mallctl(name, NULL, NULL, NULL, 0) == 0);
}

/* False: no memory. */
static bool raw_open(struct mem *m)
{
    size_t size = sizeof(m->arena);
    if (mallctl("arenas.create", &m->arena, &size, NULL, 0) != 0) return false;
    size = sizeof(m->tcache);
    if (mallctl("tcache.create", &m->tcache, &size, NULL, 0) != 0) {
        arena_destroy(m);
        return false;
    }
    m->flags = (int)(MALLOCX_ARENA(m->arena) | MALLOCX_TCACHE(m->tcache));
    size_t parts = MEM_QUERY_PARTS;
    if (mallctlnametomib("experimental.utilization.query", m->query, &parts) != 0) m->query[0] = 0;
    return true;
}

static void raw_close(struct mem *m)
{
    CHECK(mallctl("tcache.destroy", NULL, NULL, &m->tcache, sizeof(m->tcache)) == 0);
    arena_destroy(m);
}

static uint64_t stat_read(const char *name)
{
    size_t value, size = sizeof(value);
    CHECK(mallctl(name, &value, &size, NULL, 0) == 0);
    return value;
}

void mem_read_totals(struct mem_totals *out)
{
    uint64_t epoch = 1; /* Any write makes jemalloc take its statistics anew. */
    CHECK(mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) == 0);
    *out = (struct mem_totals){
        .allocated = stat_read("stats.allocated"),
        .active = stat_read("stats.active"),
        .resident = stat_read("stats.resident"),
        .retained = stat_read("stats.retained"),
        .mapped = stat_read("stats.mapped"),
        .metadata = stat_read("stats.metadata"),
    };
}

#define VERSION_TEXT(major, minor, bugfix) "jemalloc-" #major "." #minor "." #bugfix
#define VERSION_TEXT_OF(major, minor, bugfix) VERSION_TEXT(major, minor, bugfix)

const char *mem_allocator_name(void)
{
    return VERSION_TEXT_OF(JEMALLOC_VERSION_MAJOR, JEMALLOC_VERSION_MINOR, JEMALLOC_VERSION_BUGFIX);
}

void mem_print_statistics(void (*print)(void *context, const char *text), void *context)
{
    malloc_stats_print(print, context, NULL);
}

void mem_purge(void)
{
    char name[40];
    snprintf(name, sizeof(name), "arena.%u.purge", (unsigned)MALLCTL_ARENAS_ALL);
    CHECK(mallctl(name, NULL, NULL, NULL, 0) == 0);
}

/* What "experimental.utilization.query" tells of a block: of the slab that it is in, and of all
 * slabs of its class. */
struct slab_state {
    void *current; /* the slab that the next blocks are taken from; NULL: none has room */
    size_t free_count, count, bytes;
    size_t class_free_count, class_count;
};
_Static_assert(sizeof(struct slab_state) == 6 * sizeof(size_t), "the allocator's layout");

bool mem_knows_slabs(void)
{
    size_t mib[MEM_QUERY_PARTS], parts = MEM_QUERY_PARTS;
    bool has_stats = false;
    size_t size = sizeof has_stats;
    return mallctlnametomib("experimental.utilization.query", mib, &parts) == 0 &&
           mallctl("config.stats", &has_stats, &size, NULL, 0) == 0 && has_stats;
}

bool mem_is_sparse(const struct mem *m, const void *p, size_t size)
{
    struct slab_state s;
    size_t s_size = sizeof s;
    if (size > MEM_SLAB_BLOCK_BYTES_MAX || m->query[0] == 0) return false;
    if (mallctlbymib(m->query, MEM_QUERY_PARTS, &s, &s_size, &p, sizeof p) != 0) return false;
    /* All that is free together would not empty one slab. */
    if (s.free_count == 0 || s.class_free_count < s.count) return false;
    uintptr_t at = (uintptr_t)p, current = (uintptr_t)s.current;
    if (current && at >= current && at - current < s.bytes) return false;
    return (uint64_t)s.free_count * s.class_count >= (uint64_t)s.class_free_count * s.count;
}

/* Around the thread cache: it would hand out blocks of the sparse slabs again. */
static void *raw_alloc_filling(const struct mem *m, size_t size)
{
    return mallocx(size, (int)(MALLOCX_ARENA(m->arena) | MALLOCX_TCACHE_NONE));
}

static void raw_free_past_cache(void *p, size_t size)
{
    sdallocx(p, size, MALLOCX_TCACHE_NONE);
}

/* Numbers are of 1, 4 or 8 bytes: the allocator refuses any other size than the right one. */
bool mem_tune_number(const char *name, const int64_t *wanted, int64_t *value)
{
    static const size_t sizes[] = {8, 4, 1};
    for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t before = 0, after = wanted ? (uint64_t)*wanted : 0; /* little endian */
        size_t size = sizes[i];
        if (mallctl(name, &before, &size, wanted ? &after : NULL, wanted ? sizes[i] : 0) != 0)
            continue;
        *value = (int64_t)before;
        return true;
    }
    return false;
}

bool mem_tune_text(const char *name, const char *wanted, const char **value)
{
    size_t size = sizeof *value;
    *value = NULL;
    if (wanted && strcmp(wanted, "VOID") == 0) return mallctl(name, NULL, NULL, NULL, 0) == 0;
    /* What may be set this way is a fixed word of the allocator, which it compares and forgets. */
    return mallctl(name, value, &size, wanted ? &wanted : NULL, wanted ? sizeof wanted : 0) == 0;
}

bool mem_start_decay(void)
{
    bool on = true;
    return mallctl("background_thread", NULL, NULL, &on, sizeof on) == 0;
}

void mem_decay(void)
{
    char name[40];
    snprintf(name, sizeof(name), "arena.%u.decay", (unsigned)MALLCTL_ARENAS_ALL);
    CHECK(mallctl(name, NULL, NULL, NULL, 0) == 0);
}

/* 0 of an arena that is younger than the statistics. */
static uint64_t arena_stat_read(unsigned arena, const char *what)
{
    char name[64];
    size_t value, size = sizeof value;
    snprintf(name, sizeof name, "stats.arenas.%u.%s", arena, what);
    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

void mem_read_usage(const struct mem *m, struct mem_usage *out)
{
    out->active = arena_stat_read(m->arena, "pactive") * stat_read("arenas.page");
    out->allocated =
        arena_stat_read(m->arena, "small.allocated") + arena_stat_read(m->arena, "large.allocated");
}

#else

static void *raw_alloc(UNUSED const struct mem *m, size_t size)
{
    return malloc(size);
}

static void *raw_alloc_zeroed(UNUSED const struct mem *m, size_t size)
{
    return calloc(1, size);
}

static void *raw_alloc_aligned(UNUSED const struct mem *m, size_t size, size_t alignment)
{
    return aligned_alloc(alignment, size);
}

static void *raw_realloc(UNUSED const struct mem *m, void *p, size_t new_size)
{
    return realloc(p, new_size);
}

static void raw_free(UNUSED const struct mem *m, void *p, UNUSED size_t size)
{
    free(p);
}

static bool raw_open(struct mem *m)
{
    m->flags = 0;
    m->arena = m->tcache = 0;
    return true;
}

static void raw_close(UNUSED struct mem *m)
{
}

/* The C library does not know what is resident: all that it has mapped stands in for it. */
void mem_read_totals(struct mem_totals *out)
{
    struct mallinfo2 info = mallinfo2();
    uint64_t mapped = (uint64_t)info.arena + info.hblkhd;
    *out = (struct mem_totals){
        .allocated = (uint64_t)info.uordblks + info.hblkhd,
        .active = mapped,
        .resident = mapped,
        .retained = 0,
        .mapped = mapped,
    };
}

const char *mem_allocator_name(void)
{
    return "libc";
}

void mem_print_statistics(void (*print)(void *context, const char *text), void *context)
{
    print(context, "Stats not supported for the current allocator");
}

void mem_purge(void)
{
    malloc_trim(0);
}

bool mem_knows_slabs(void)
{
    return false;
}

bool mem_is_sparse(UNUSED const struct mem *m, UNUSED const void *p, UNUSED size_t size)
{
    return false;
}

/* What is aligned by its size in jemalloc's slabs must be so here, too. */
static void *raw_alloc_filling(const struct mem *m, size_t size)
{
    return size % CACHE_LINE == 0 ? raw_alloc_aligned(m, size, CACHE_LINE) : raw_alloc(m, size);
}

static void raw_free_past_cache(void *p, UNUSED size_t size)
{
    free(p);
}

bool mem_tune_number(UNUSED const char *name, UNUSED const int64_t *wanted, UNUSED int64_t *value)
{
    return false;
}

bool mem_tune_text(UNUSED const char *name, UNUSED const char *wanted, UNUSED const char **value)
{
    return false;
}

bool mem_start_decay(void)
{
    return false;
}

void mem_decay(void)
{
    /* The C library has no such notion. */
}

void mem_read_usage(const struct mem *m, struct mem_usage *out)
{
    out->allocated = out->active = mem_live_bytes(m);
}

#endif

/* ---- accounts ---- */

/* One writer, so no locked instruction. */
static inline void account(struct mem *m, uint64_t bytes, uint64_t count)
{
    uint64_t live = atomic_load_explicit(&m->live_bytes, memory_order_relaxed);
    uint64_t blocks = atomic_load_explicit(&m->live_count, memory_order_relaxed);
    atomic_store_explicit(&m->live_bytes, live + bytes, memory_order_relaxed);
    atomic_store_explicit(&m->live_count, blocks + count, memory_order_relaxed);
}

static bool try_open(struct mem *m, const char *name)
{
    atomic_init(&m->live_bytes, 0);
    atomic_init(&m->live_count, 0);
    m->name = name;
    m->refused_count = 0;
    m->reserve = NULL;
    m->reserve_bytes = 0;
    m->insists = false;
    m->short_owners = NULL;
    return raw_open(m);
}

void mem_init(struct mem *m, const char *name)
{
    CHECK(try_open(m, name));
}

bool mem_try_init(struct mem *m, const char *name, size_t reserve_bytes)
{
    if (!try_open(m, name)) return false;
    m->reserve_bytes = reserve_bytes;
    m->reserve = raw_alloc(m, reserve_bytes);
    if (m->reserve) return true;
    mem_deinit(m);
    return false;
}

void mem_deinit(struct mem *m)
{
    CHECK(atomic_load_explicit(&m->live_count, memory_order_relaxed) == 0);
    CHECK(atomic_load_explicit(&m->live_bytes, memory_order_relaxed) == 0);
    if (m->reserve) raw_free(m, m->reserve, m->reserve_bytes);
    raw_close(m);
}

/* ---- the reserve ---- */

void mem_keep_reserve(struct mem *m, size_t size, _Atomic uint32_t *short_owners)
{
    CHECK(m->reserve_bytes == 0);
    m->reserve_bytes = size;
    m->short_owners = short_owners;
    m->reserve = raw_alloc(m, size);
    CHECK(m->reserve);
}

void mem_drop_reserve(struct mem *m)
{
    if (m->reserve) raw_free(m, m->reserve, m->reserve_bytes);
    m->reserve = NULL;
    m->reserve_bytes = 0;
}

/* Its pages go back to the arena, where small blocks find room. False: it was used up already. */
static bool reserve_release(struct mem *m)
{
    if (!m->reserve) return false;
    raw_free(m, m->reserve, m->reserve_bytes);
    m->reserve = NULL;
    if (m->short_owners) atomic_fetch_add_explicit(m->short_owners, 1, memory_order_relaxed);
    return true;
}

/* False: the reserve is used up, and there is no memory for a new one. */
static bool reserve_is_whole(struct mem *m)
{
    if (likely(m->reserve || m->reserve_bytes == 0)) return true;
    m->reserve = raw_alloc(m, m->reserve_bytes);
    if (!m->reserve) return false;
    if (m->short_owners) atomic_fetch_sub_explicit(m->short_owners, 1, memory_order_relaxed);
    return true;
}

/* ---- blocks ---- */

/* The last attempt; with an impossible size there is none. */
static __attribute__((noinline, cold)) void *alloc_from_reserve(struct mem *m, size_t size,
                                                                size_t alignment)
{
    CHECK(size <= MEM_BYTES_MAX);
    (void)reserve_release(m);
    return alignment ? raw_alloc_aligned(m, size, alignment) : raw_alloc(m, size);
}

void *mem_alloc(struct mem *m, size_t size)
{
    DCHECK(size > 0);
    void *p = raw_alloc(m, size);
    if (unlikely(!p)) p = alloc_from_reserve(m, size, 0);
    CHECK(p);
    account(m, mem_class_bytes(size), 1);
    return p;
}

void *mem_alloc_zeroed(struct mem *m, size_t size)
{
    DCHECK(size > 0);
    void *p = raw_alloc_zeroed(m, size);
    if (unlikely(!p)) {
        p = alloc_from_reserve(m, size, 0);
        CHECK(p);
        memset(p, 0, size);
    }
    account(m, mem_class_bytes(size), 1);
    return p;
}

/* Whether it is not even tried: a reserve is for what cannot fail. */
static inline bool is_refused(struct mem *m, size_t size)
{
    return unlikely(size > MEM_BYTES_MAX) || fault_hit("mem_try_alloc") ||
           unlikely(!m->reserve && !reserve_is_whole(m));
}

/* What `may fail` comes to without memory. */
static __attribute__((noinline, cold)) void *refuse(struct mem *m, size_t size)
{
    if (!m->insists) {
        m->refused_count++;
        return NULL;
    }
    void *p = alloc_from_reserve(m, size, 0);
    CHECK(p);
    account(m, mem_class_bytes(size), 1);
    return p;
}

void *mem_try_alloc(struct mem *m, size_t size)
{
    DCHECK(size > 0);
    if (unlikely(is_refused(m, size))) return refuse(m, size);
    void *p = raw_alloc(m, size);
    if (unlikely(!p)) return refuse(m, size);
    account(m, mem_class_bytes(size), 1);
    return p;
}

void *mem_alloc_aligned(struct mem *m, size_t size, size_t alignment)
{
    CHECK(size > 0 && (alignment & (alignment - 1)) == 0 && size % alignment == 0);
    void *p = raw_alloc_aligned(m, size, alignment);
    if (unlikely(!p)) p = alloc_from_reserve(m, size, alignment);
    CHECK(p);
    account(m, mem_class_bytes(size), 1);
    return p;
}

void *mem_try_alloc_aligned(struct mem *m, size_t size, size_t alignment)
{
    void *p = is_refused(m, size) ? NULL : raw_alloc_aligned(m, size, alignment);
    if (unlikely(!p) && m->insists) {
        p = alloc_from_reserve(m, size, alignment);
        CHECK(p);
    }
    if (p)
        account(m, mem_class_bytes(size), 1);
    else
        m->refused_count++;
    return p;
}

void *mem_try_realloc(struct mem *m, void *p, size_t old_size, size_t new_size)
{
    if (!p) return mem_try_alloc(m, new_size);
    DCHECK(old_size > 0 && new_size > 0);
    void *moved = is_refused(m, new_size) ? NULL : raw_realloc(m, p, new_size);
    if (unlikely(!moved) && m->insists) {
        CHECK(new_size <= MEM_BYTES_MAX);
        (void)reserve_release(m);
        moved = raw_realloc(m, p, new_size);
        CHECK(moved);
    }
    if (unlikely(!moved)) {
        m->refused_count++;
        return NULL;
    }
    account(m, mem_class_bytes(new_size) - mem_class_bytes(old_size), 0);
    return moved;
}

void *mem_shrink(struct mem *m, void *p, size_t old_size, size_t new_size)
{
    DCHECK(p && new_size > 0 && new_size <= old_size);
    void *moved = raw_realloc(m, p, new_size);
    if (unlikely(!moved)) {
        (void)reserve_release(m);
        moved = raw_realloc(m, p, new_size);
    }
    CHECK(moved);
    account(m, mem_class_bytes(new_size) - mem_class_bytes(old_size), 0);
    return moved;
}

void mem_free(struct mem *m, void *p, size_t size)
{
    if (!p) return;
    uint64_t bytes = mem_class_bytes(size);
    DCHECK(mem_live_bytes(m) >= bytes);
    raw_free(m, p, size);
    account(m, -bytes, -(uint64_t)1);
}

void *mem_try_move(struct mem *m, void *p, size_t size)
{
    void *moved = raw_alloc_filling(m, size);
    if (!moved) return NULL;
    memcpy(moved, p, size);
    raw_free_past_cache(p, size);
    return moved;
}

size_t mem_class_bytes(size_t size)
{
    if (size <= 8) return 8;
    if (size <= 128) return (size + 15) & ~(size_t)15;
    /* Four classes in each doubling: the step is a quarter of the power of two below the size. */
    unsigned lg_step = (unsigned)(63 - __builtin_clzll(size - 1)) - 2;
    size_t step = (size_t)1 << lg_step;
    return (size + step - 1) & ~(step - 1);
}
