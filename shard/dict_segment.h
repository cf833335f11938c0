/* dict_segment.h: what a directory word and a slot mean. Private to dict.c and dict_scan.c.
 *
 * Thread     [shard]
 */
#pragma once

#include "shard/dict.h"

#define SEGMENT_SLOTS_MAX (DICT_SEGMENT_BUCKETS_MAX * DICT_BUCKET_SLOTS)
/* Positions have 16 tag bits below the deepest directory index. */
#define DICT_DEPTH_MAX 32

/* A segment taken out of its directory word. */
struct segment {
    uint64_t *slots;
    uint32_t bucket_count;
    unsigned depth;                     /* local */
    uint64_t first;                     /* its first directory index */
    struct dict_segment_counts *counts; /* NULL for one that is being built */
};

static inline uint64_t segment_word(const struct segment *s)
{
    return (uint64_t)s->bucket_count << 48 | (uint64_t)(uintptr_t)s->slots | s->depth;
}

static inline uint64_t dict_index(const struct dict *d, uint64_t hash)
{
    return (hash >> 1) >> (63 - d->depth);
}

static inline uint64_t directory_size(const struct dict *d)
{
    return d->directory ? 1ULL << d->depth : 0;
}

static inline struct segment segment_at(const struct dict *d, uint64_t index)
{
    uint64_t word = d->directory[index];
    struct segment s = {
        .slots = (uint64_t *)(uintptr_t)(word & DICT_BUCKETS_MASK),
        .bucket_count = (uint32_t)(word >> 48),
        .depth = (unsigned)(word & 63),
    };
    s.first = index & ~((1ULL << (d->depth - s.depth)) - 1);
    s.counts = &d->counts[s.first];
    return s;
}

/* How many directory words name the segment. */
static inline uint64_t segment_span(const struct dict *d, const struct segment *s)
{
    return 1ULL << (d->depth - s->depth);
}

static inline uint16_t hash_tag(uint64_t hash, unsigned depth)
{
    return (uint16_t)(hash << depth >> 48);
}

static inline uint32_t tag_home(uint16_t tag, uint32_t bucket_count)
{
    return (uint32_t)tag * bucket_count >> 16;
}

static inline uint16_t slot_tag(uint64_t slot)
{
    return (uint16_t)(slot >> 48);
}

static inline unsigned slot_mark(uint64_t slot)
{
    return (unsigned)(slot & DICT_MARK_MAX);
}

static inline bool bucket_is_full(const uint64_t *bucket)
{
    return bucket[DICT_BUCKET_SLOTS - 1] != 0;
}

static inline uint64_t *segment_bucket(const struct segment *s, uint32_t bucket)
{
    return s->slots + (size_t)bucket * DICT_BUCKET_SLOTS;
}

static inline size_t segment_bytes(uint32_t bucket_count)
{
    return (size_t)bucket_count * DICT_BUCKET_SLOTS * sizeof(uint64_t);
}

/* Names the segment in all its directory words. */
void directory_set(struct dict *d, const struct segment *s);
size_t directory_bytes(unsigned depth);
/* Gives back the buckets. */
void segment_free(struct dict *d, const struct segment *s);
/* Gives back the directory. */
void directory_free(struct dict *d);
