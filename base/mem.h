/* mem.h: memory owners over jemalloc arenas: the only caller of jemalloc in this house.
 *
 * Thread     A struct mem belongs to one thread; alloc and free on that thread only.
 *            `mem_live_bytes` may be read by any thread.
 * Ownership  Memory goes back to the owner that gave it, with the size it was asked with.
 * Limits     Sizes are bytes as asked; the accounts count jemalloc's size class, so the sum over
 *            all owners is what jemalloc itself calls allocated.
 * Errors     mem_alloc aborts when there is no memory: for small, bounded sizes. mem_try_alloc
 *            returns NULL: for every size that a client can choose. An owner may keep a reserve,
 *            which mem_alloc falls back on; until it is whole again, what may fail does.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

struct mem {
    _Atomic uint64_t live_bytes; /* one writer, relaxed readers */
    _Atomic uint64_t live_count;
    const char *name;
    int flags; /* of mallocx: arena and thread cache */
    unsigned arena;
    unsigned tcache;
    uint64_t refused_count; /* mem_try_… that returned NULL */
    void *reserve;          /* NULL: it is used up, or there is none */
    size_t reserve_bytes;   /* 0: none is kept */
    bool insists;
    _Atomic uint32_t *short_owners; /* counts those whose reserve is used up; or NULL */
    size_t query[3];                /* the allocator's name for its question about slabs */
};

/* Makes an arena of its own for this owner. `name` must outlive it. */
void mem_init(struct mem *m, const char *name);
/* Keeps so many bytes for when the system has no memory left: small blocks find room in them, so
 * that what cannot fail goes on for a while. They are not in the accounts, and no page of theirs is
 * touched. `short_owners`: an owner is counted there while its reserve is used up; or NULL. */
void mem_keep_reserve(struct mem *m, size_t size, _Atomic uint32_t *short_owners);
/* While it insists, mem_try_… use the reserve, too, and abort instead of returning NULL: for small,
 * bounded sizes. */
static inline void mem_insist(struct mem *m, bool insists);
/* None is kept any more. */
void mem_drop_reserve(struct mem *m);
/* Both. False: no memory, and there is no owner. */
MUST_USE bool mem_try_init(struct mem *m, const char *name, size_t reserve_bytes);
/* Checks that nothing is alive any more and gives the arena back. */
void mem_deinit(struct mem *m);

/* Never NULL. 16-byte aligned from 16 bytes on. Zero bytes is not allowed. */
void *mem_alloc(struct mem *m, size_t size);
void *mem_alloc_zeroed(struct mem *m, size_t size);
MUST_USE void *mem_try_alloc(struct mem *m, size_t size);
/* `alignment` is a power of two. Free with mem_free and the same size. */
void *mem_alloc_aligned(struct mem *m, size_t size, size_t alignment);
MUST_USE void *mem_try_alloc_aligned(struct mem *m, size_t size, size_t alignment);
/* Contents are kept up to the smaller size. p NULL: a new block. NULL on failure, the old block is
 * then untouched. */
MUST_USE void *mem_try_realloc(struct mem *m, void *p, size_t old_size, size_t new_size);
/* To a smaller size. Never NULL: a large block shrinks in place, so only a small one may need
 * another. */
void *mem_shrink(struct mem *m, void *p, size_t old_size, size_t new_size);
/* NULL is allowed, with any size. */
void mem_free(struct mem *m, void *p, size_t size);

/* The bytes that a request of `size` really takes (the size class). */
size_t mem_class_bytes(size_t size);

static inline void mem_insist(struct mem *m, bool insists)
{
    m->insists = insists;
}

static inline uint64_t mem_live_bytes(const struct mem *m)
{
    return atomic_load_explicit(&m->live_bytes, memory_order_relaxed);
}

/* ---- moving blocks out of sparse slabs ---- */

/* Whether the allocator tells how full its slabs are. [any] */
bool mem_knows_slabs(void);
/* Whether the block lies in a slab that is emptier than others of its class, so that moving it
 * helps to free the slab. Some 100 ns. */
bool mem_is_sparse(const struct mem *m, const void *p, size_t size);
/* Another block of that size with the same contents, where the allocator fills up first; `p` is
 * freed. NULL when there is no memory: `p` stays. */
MUST_USE void *mem_try_move(struct mem *m, void *p, size_t size);
/* From now on a thread of the allocator gives pages that have been free for some seconds back to
 * the system. False: there is none, so their owners do while they allocate, and mem_decay. Not
 * before a fork. [main] */
bool mem_start_decay(void);
/* Gives such pages of all arenas back. [main] */
void mem_decay(void);

/* Of one owner, as of the last mem_read_totals. [main] */
struct mem_usage {
    uint64_t allocated; /* in blocks, those in thread caches included */
    uint64_t active;    /* in pages that have a block */
};
void mem_read_usage(const struct mem *m, struct mem_usage *out);

/* What the allocator knows of the whole process, all bytes. [main] */
struct mem_totals {
    uint64_t allocated, active, resident, retained, mapped;
    uint64_t metadata; /* the allocator's own tables, resident and not active */
};
void mem_read_totals(struct mem_totals *out);
/* "jemalloc-5.3.0" or "libc". */
const char *mem_allocator_name(void);
/* The allocator's own report, in pieces. [main] */
void mem_print_statistics(void (*print)(void *context, const char *text), void *context);
/* Gives dirty pages of all arenas back to the system. [main] */
void mem_purge(void);

/* Numbers and texts of the allocator by their names; `wanted`, if any, is set, and `value` is what
 * was there. False: there is no such thing, or it cannot be set so. */
#define MEM_TUNING_BYTES_MAX 128
MUST_USE bool mem_tune_number(const char *name, const int64_t *wanted, int64_t *value);
/* `wanted` "VOID": only called. *value is NULL then, and otherwise the allocator's. */
MUST_USE bool mem_tune_text(const char *name, const char *wanted, const char **value);
