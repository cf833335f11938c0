/* dict.h: hash table of entries that grows in small steps, kept in the order of the hash.
 *
 *     hash:  | directory index: depth bits | … tag: 16 bits … |     shard: low 16 bits, not used |
 *
 *     directory word:  | bucket_count 16 | address of the buckets 48, 64-aligned | local depth 6 |
 *          │
 *          ▼
 *     segment: 1 … DICT_SEGMENT_BUCKETS_MAX buckets of 64 bytes, 8 slots each, filled from slot 0
 *     slot:    | tag 16 | address of the entry 44 << 4 | mark 4 |          0: free
 *
 * A segment of local depth l holds the hashes that agree in the top l bits; their tag is the 16
 * bits that follow. Its buckets are addressed by (tag × bucket_count) >> 16, which keeps them in
 * hash order for every bucket count. So a segment can grow by a quarter at a time (4, 5, 6, 7
 * KiB: jemalloc's classes, no waste) without touching an entry, because a slot keeps the bits
 * that place it. Past its largest size it splits in two, which needs one more bit of each hash
 * and so reads the keys, and doubles the directory if it must. One step moves at most one
 * segment: some tens of µs.
 *
 * A full bucket overflows to the next one of the segment (which wraps round). A bucket with a free
 * slot ends every search, and a removal pulls overflowed slots back, so there are no tombstones.
 *
 * A scan cursor is a position in hash order, so growth between two calls neither loses an entry nor
 * repeats one; shrinking may repeat some.
 *
 * Thread     [shard]
 * Ownership  The dict owns its buckets; entries belong to the caller.
 * Limits     Addresses of 48 bits; entries aligned to 16. 2^32 segments. One key costs 80 bytes
 *            besides struct dict and the entry, a million 9.2 … 11.6 bytes each.
 * Source     Extendible hashing (Fagin et al., 1979); bucketised linear probing (Knuth, 6.4). The
 *            order-preserving placement, which makes cursors stateless and growth cheap, is ours.
 */
#pragma once

#if defined(__SSE2__) && !defined(SHOAL_NO_SIMD)
#include <emmintrin.h>
#endif

#include "shard/entry.h"

#define DICT_BUCKET_SLOTS 8
#define DICT_SEGMENT_BUCKETS_MAX 112
/* What an owner may note of an entry in its slot, so that scans pass over others without touching
 * them. 0 is "not marked". The keyspace marks entries with a deadline by the second of it. */
#define DICT_MARK 1
#define DICT_MARK_MAX 15
#define DICT_MARKS_ALL 0xfffeu

struct dict_segment_counts {
    uint16_t entries, marked;
};

struct dict {
    /* ---- private ---- */
    uint64_t *directory;                /* NULL until first used; 2^depth words */
    struct dict_segment_counts *counts; /* of a segment, at its first directory index */
    /* ---- public, to read ---- */
    uint64_t count;
    uint64_t marked_count;
    uint64_t bytes; /* of directory and segments */
    uint64_t seed;  /* of bytes_hash: keys are hashed again when a segment splits */
    struct mem *mem;
    /* ---- private ---- */
    uint32_t deepest_count; /* segments whose local depth is `depth` */
    uint8_t depth;
};

void dict_init(struct dict *d, struct mem *mem, uint64_t seed);
/* Frees the table, not the entries. */
void dict_deinit(struct dict *d);

/* NULL if absent. */
static inline struct entry *dict_find(const struct dict *d, uint64_t hash, struct bytes key);
/* Some entry with that hash; NULL if there is none. Hashes the keys whose tags match. */
struct entry *dict_find_hash(const struct dict *d, uint64_t hash);
/* Always inline: gcc takes a function of prefetches for a pure one and drops the calls. */
static ALWAYS_INLINE void dict_prefetch_bucket(const struct dict *d, uint64_t hash);
/* After the bucket has arrived: the entries of it whose tags match, or those of the bucket that it
 * overflows to (some keys in a hundred live there). The first of them, NULL if there is none: it
 * has another key once in thousands of times. */
static ALWAYS_INLINE struct entry *dict_prefetch_entry(const struct dict *d, uint64_t hash);

/* Bytes that many insertions need each: a table is half full after its segments were split, and has
 * both halves and the whole for that while. Whoever must know before has so much ready, and frees
 * it first. */
#define DICT_BYTES_PER_ENTRY 24
/* So that an insertion of that hash needs no memory. False: there is none; nothing has changed. */
MUST_USE bool dict_try_make_room(struct dict *d, uint64_t hash);
/* The key must be absent; `hash` is bytes_hash(key, seed). `mark` 0: none. */
void dict_insert(struct dict *d, uint64_t hash, struct entry *e, unsigned mark);
/* `old` is in the table; `e` has the same key and takes its slot. `e` may be `old`, for another
 * mark. */
void dict_replace(struct dict *d, uint64_t hash, const struct entry *old, struct entry *e,
                  unsigned mark);
/* The entry, now out of the table; NULL if absent. Shrinks in steps. */
struct entry *dict_remove(struct dict *d, uint64_t hash, struct bytes key);
/* The same for an entry that is known to be there. */
void dict_remove_entry(struct dict *d, uint64_t hash, const struct entry *e);

/* Calls `fn` for the entries of one bucket at or after `cursor`, and returns where to go on; 0 when
 * the end was reached. Cursors use the top 48 bits only. `fn` may not change the table. */
typedef void dict_scan_fn(void *context, struct entry *e, uint64_t hash_position);
uint64_t dict_scan(const struct dict *d, uint64_t cursor, dict_scan_fn *fn, void *context);
/* The same, only entries whose mark is in the bit set `marks`; others are not touched. Passes over
 * some dozens of buckets at most, and stops behind the first one that had something to tell. */
uint64_t dict_scan_marked(const struct dict *d, uint64_t cursor, unsigned marks, dict_scan_fn *fn,
                          void *context);
/* The same for defragmentation: `fn` may move an entry, and says where it is now. The table's own
 * blocks are moved, too. */
typedef struct entry *dict_move_fn(void *context, struct entry *e);
uint64_t dict_defrag(struct dict *d, struct defrag_walk *w, uint64_t cursor, dict_move_fn *fn,
                     void *context);
/* An entry chosen evenly, within the spread of segment sizes; NULL when empty. `random` is 64
 * random bits. */
struct entry *dict_random(const struct dict *d, uint64_t random);

/* ---- taking a table apart in slices; no other call is allowed once it has begun ---- */

struct dict_drain {
    struct dict dict; /* `count` says what is left */
    uint64_t index;
    uint32_t bucket;
};

/* Takes the table over; `d` is empty and usable afterwards. */
void dict_drain_init(struct dict_drain *drain, struct dict *d);
/* Hands at least `count` entries to `fn`, which owns them from then on, and frees the segments that
 * have become empty. True when nothing is left, the table itself included. */
bool dict_drain_some(struct dict_drain *drain, uint64_t count, dict_scan_fn *fn, void *context);

/* Checks every invariant. Slow. */
void dict_validate(const struct dict *d);

/* ---- private: the search, inline because it is the hottest code of the server ---- */

#define DICT_ENTRY_MASK 0x0000fffffffffff0ULL
#define DICT_BUCKETS_MASK 0x0000ffffffffffc0ULL

struct dict_place {
    uint64_t *slots; /* of the whole segment */
    uint32_t bucket_count;
    uint32_t home; /* bucket where the search starts */
    uint16_t tag;
};

static inline struct dict_place dict_locate(const struct dict *d, uint64_t hash)
{
    uint64_t word = d->directory[(hash >> 1) >> (63 - d->depth)];
    struct dict_place p;
    p.tag = (uint16_t)(hash << (word & 63) >> 48);
    p.bucket_count = (uint32_t)(word >> 48);
    p.home = (uint32_t)p.tag * p.bucket_count >> 16;
    p.slots = (uint64_t *)(uintptr_t)(word & DICT_BUCKETS_MASK);
    return p;
}

static inline struct entry *dict_slot_entry(uint64_t slot)
{
    return (struct entry *)(uintptr_t)(slot & DICT_ENTRY_MASK);
}

/* Bit 4 i + 3 is set for each slot i with that tag; a free slot may look like tag 0. */
static inline uint32_t dict_match(const uint64_t *bucket, uint16_t tag)
{
#if defined(__SSE2__) && !defined(SHOAL_NO_SIMD)
    const __m128i *v = (const __m128i *)(const void *)bucket;
    __m128i t = _mm_set1_epi16((short)tag);
    __m128i a = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(v + 0), t),
                                _mm_cmpeq_epi16(_mm_load_si128(v + 1), t));
    __m128i b = _mm_packs_epi16(_mm_cmpeq_epi16(_mm_load_si128(v + 2), t),
                                _mm_cmpeq_epi16(_mm_load_si128(v + 3), t));
    return ((uint32_t)_mm_movemask_epi8(a) | (uint32_t)_mm_movemask_epi8(b) << 16) & 0x88888888u;
#else
    uint32_t mask = 0;
    for (unsigned i = 0; i < DICT_BUCKET_SLOTS; i++) {
        mask |= (uint32_t)(bucket[i] >> 48 == tag) << (4 * i + 3);
    }
    return mask;
#endif
}

static ALWAYS_INLINE void dict_prefetch_bucket(const struct dict *d, uint64_t hash)
{
    if (unlikely(!d->directory)) return;
    struct dict_place p = dict_locate(d, hash);
    __builtin_prefetch(p.slots + (size_t)p.home * DICT_BUCKET_SLOTS);
}

static ALWAYS_INLINE struct entry *dict_prefetch_entry(const struct dict *d, uint64_t hash)
{
    if (unlikely(!d->directory)) return NULL;
    struct dict_place p = dict_locate(d, hash);
    for (uint32_t seen = 0; seen < 2; seen++) {
        const uint64_t *bucket = p.slots + (size_t)p.home * DICT_BUCKET_SLOTS;
        struct entry *first = NULL;
        for (uint32_t m = dict_match(bucket, p.tag); m; m &= m - 1) {
            struct entry *e = dict_slot_entry(bucket[__builtin_ctz(m) >> 2]);
            __builtin_prefetch(e);
            if (!first) first = e;
        }
        if (first || bucket[DICT_BUCKET_SLOTS - 1] == 0) return first;
        if (++p.home == p.bucket_count) p.home = 0;
    }
    return NULL;
}

static inline struct entry *dict_find(const struct dict *d, uint64_t hash, struct bytes key)
{
    if (unlikely(!d->directory)) return NULL;
    struct dict_place p = dict_locate(d, hash);
    for (uint32_t seen = 0; seen < p.bucket_count; seen++) {
        const uint64_t *bucket = p.slots + (size_t)p.home * DICT_BUCKET_SLOTS;
        for (uint32_t m = dict_match(bucket, p.tag); m; m &= m - 1) {
            struct entry *e = dict_slot_entry(bucket[__builtin_ctz(m) >> 2]);
            if (likely(e) && entry_has_key(e, key)) return e;
        }
        if (bucket[DICT_BUCKET_SLOTS - 1] == 0) return NULL;
        if (++p.home == p.bucket_count) p.home = 0;
    }
    return NULL;
}
