#include "shard/dict.h"

#include "shard/dict_segment.h"

/* Entries that are on their way from memory while a segment is being split. */
#define SPLIT_WINDOW 24

/* ---- sizes ---- */

/* How many entries a segment of that size may hold before it grows. */
static uint32_t entries_max(uint32_t bucket_count)
{
    return bucket_count == 1 ? DICT_BUCKET_SLOTS : bucket_count * DICT_BUCKET_SLOTS * 7 / 8;
}

/* The next bucket count: one bucket more up to 8, then a quarter of the power of two below. */
static uint32_t buckets_after(uint32_t bucket_count)
{
    if (bucket_count < 8) return bucket_count + 1;
    return bucket_count + ((1u << (31 - __builtin_clz(bucket_count))) >> 2);
}

/* The smallest size in which that many entries and some more find room. */
static uint32_t buckets_for(uint32_t entries)
{
    uint32_t bucket_count = 1;
    while (entries_max(bucket_count) < entries + entries / 16) {
        bucket_count = buckets_after(bucket_count);
    }
    return MIN(bucket_count, DICT_SEGMENT_BUCKETS_MAX);
}

/* ---- memory ---- */

/* Without slots: no memory. */
static struct segment segment_try_make(struct dict *d, uint32_t bucket_count, unsigned depth)
{
    size_t bytes = segment_bytes(bucket_count);
    struct segment s = {
        .slots = mem_try_alloc_aligned(d->mem, bytes, CACHE_LINE),
        .bucket_count = bucket_count,
        .depth = depth,
    };
    if (!s.slots) return s;
    CHECK(((uintptr_t)s.slots & ~DICT_BUCKETS_MASK) == 0);
    memset(s.slots, 0, bytes);
    d->bytes += mem_class_bytes(bytes);
    return s;
}

void segment_free(struct dict *d, const struct segment *s)
{
    mem_free(d->mem, s->slots, segment_bytes(s->bucket_count));
    d->bytes -= mem_class_bytes(segment_bytes(s->bucket_count));
}

size_t directory_bytes(unsigned depth)
{
    return (sizeof(uint64_t) + sizeof(struct dict_segment_counts)) << depth;
}

/* Sets words and counts to a new, uninitialised directory. The caller frees the old one. False: no
 * memory. */
static bool directory_try_make(struct dict *d, unsigned depth)
{
    CHECK(depth <= DICT_DEPTH_MAX);
    uint64_t *words = mem_try_alloc(d->mem, directory_bytes(depth));
    if (!words) return false;
    d->directory = words;
    d->counts = (struct dict_segment_counts *)(void *)(d->directory + (1ULL << depth));
    d->depth = (uint8_t)depth;
    d->bytes += mem_class_bytes(directory_bytes(depth));
    return true;
}

void directory_free(struct dict *d)
{
    if (!d->directory) return;
    mem_free(d->mem, d->directory, directory_bytes(d->depth));
    d->bytes -= mem_class_bytes(directory_bytes(d->depth));
    d->directory = NULL;
    d->counts = NULL;
    d->depth = 0;
}

void directory_set(struct dict *d, const struct segment *s)
{
    uint64_t word = segment_word(s);
    uint64_t span = segment_span(d, s);
    for (uint64_t i = 0; i < span; i++) d->directory[s->first + i] = word;
}

void dict_init(struct dict *d, struct mem *mem, uint64_t seed)
{
    *d = (struct dict){.mem = mem, .seed = seed};
}

void dict_deinit(struct dict *d)
{
    uint64_t size = directory_size(d);
    for (uint64_t i = 0; i < size;) {
        struct segment s = segment_at(d, i);
        i += segment_span(d, &s);
        segment_free(d, &s);
    }
    directory_free(d);
    CHECK(d->bytes == 0);
    d->count = d->marked_count = 0;
}

/* False: no memory. */
static bool dict_try_begin(struct dict *d)
{
    if (!directory_try_make(d, 0)) return false;
    struct segment s = segment_try_make(d, 1, 0);
    if (!s.slots) {
        directory_free(d);
        return false;
    }
    d->counts[0] = (struct dict_segment_counts){0};
    d->directory[0] = segment_word(&s);
    d->deepest_count = 1;
    return true;
}

/* ---- slots within a segment ---- */

/* Into the first free slot from the home of its tag on. There is one. */
static void segment_place(const struct segment *s, uint64_t slot)
{
    uint32_t b = tag_home(slot_tag(slot), s->bucket_count);
    uint64_t *bucket = segment_bucket(s, b);
    while (bucket_is_full(bucket)) {
        if (++b == s->bucket_count) b = 0;
        bucket = segment_bucket(s, b);
    }
    unsigned i = 0;
    while (bucket[i]) i++;
    bucket[i] = slot;
}

static void segment_place_all(const struct segment *to, const struct segment *from)
{
    for (uint32_t b = 0; b < from->bucket_count; b++) {
        const uint64_t *bucket = segment_bucket(from, b);
        for (unsigned i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++) segment_place(to, bucket[i]);
    }
}

/* Takes slot i out of its bucket and keeps the rest together. */
static void bucket_remove(uint64_t *bucket, unsigned i)
{
    unsigned last = DICT_BUCKET_SLOTS - 1;
    while (!bucket[last]) last--;
    bucket[i] = bucket[last];
    bucket[last] = 0;
}

/* Index of a slot of bucket `b` whose entry may move back to bucket `hole`, or -1. */
static int find_overflowed(const struct segment *s, uint32_t b, uint32_t hole)
{
    uint32_t n = s->bucket_count;
    uint32_t reach = b >= hole ? b - hole : b + n - hole;
    const uint64_t *bucket = segment_bucket(s, b);
    for (int i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++) {
        uint32_t home = tag_home(slot_tag(bucket[i]), n);
        if ((b >= home ? b - home : b + n - home) >= reach) return i;
    }
    return -1;
}

/* Bucket `hole` was full and has lost an entry: entries that had to pass it come back, one after
 * the other, so that again only full buckets have been passed by. */
static void segment_pull_back(const struct segment *s, uint32_t hole)
{
    uint32_t b = hole;
    for (;;) {
        if (++b == s->bucket_count) b = 0;
        if (b == hole) return;
        uint64_t *bucket = segment_bucket(s, b);
        bool was_full = bucket_is_full(bucket);
        int i = find_overflowed(s, b, hole);
        if (i >= 0) {
            segment_bucket(s, hole)[DICT_BUCKET_SLOTS - 1] = bucket[i];
            bucket_remove(bucket, (unsigned)i);
            hole = b;
        }
        if (!was_full) return;
    }
}

/* ---- growing ---- */

/* False, as of all that grows or shrinks: no memory, and nothing has changed. */
static bool segment_try_resize(struct dict *d, const struct segment *s, uint32_t bucket_count)
{
    struct segment to = segment_try_make(d, bucket_count, s->depth);
    if (!to.slots) return false;
    to.first = s->first;
    segment_place_all(&to, s);
    segment_free(d, s);
    directory_set(d, &to);
    return true;
}

static bool directory_try_double(struct dict *d)
{
    struct dict old = *d;
    if (!directory_try_make(d, d->depth + 1u)) return false;
    for (uint64_t i = 0; i < 1ULL << old.depth; i++) {
        d->directory[2 * i] = d->directory[2 * i + 1] = old.directory[i];
        d->counts[2 * i] = old.counts[i];
        d->counts[2 * i + 1] = (struct dict_segment_counts){0};
    }
    d->deepest_count = 0;
    old.bytes = d->bytes;
    directory_free(&old);
    d->bytes = old.bytes;
    return true;
}

/* Hands the slots of `s` to two segments, by the bit of the hash that follows its depth. */
static void split_slots(const struct dict *d, const struct segment *s, struct segment half[2],
                        struct dict_segment_counts counts[2])
{
    uint64_t slots[SEGMENT_SLOTS_MAX + SPLIT_WINDOW];
    unsigned n = 0;
    for (uint32_t b = 0; b < s->bucket_count; b++) {
        const uint64_t *bucket = segment_bucket(s, b);
        for (unsigned i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++) slots[n++] = bucket[i];
    }
    for (unsigned i = 0; i < SPLIT_WINDOW; i++) slots[n + i] = 0; /* Prefetching 0 does nothing. */
    for (unsigned i = 0; i < SPLIT_WINDOW; i++) __builtin_prefetch(dict_slot_entry(slots[i]));
    for (unsigned i = 0; i < n; i++) {
        __builtin_prefetch(dict_slot_entry(slots[i + SPLIT_WINDOW]));
        uint64_t hash = bytes_hash(entry_key(dict_slot_entry(slots[i])), d->seed);
        DCHECK(hash_tag(hash, s->depth) == slot_tag(slots[i]));
        unsigned side = hash >> (63 - s->depth) & 1;
        uint64_t tag = hash_tag(hash, s->depth + 1);
        segment_place(&half[side], (slots[i] & ~(0xffffULL << 48)) | tag << 48);
        counts[side].entries++;
        if (slot_mark(slots[i])) counts[side].marked++;
    }
}

/* How many of the segment's entries go to the upper half; known from the tags alone. */
static uint32_t count_upper(const struct segment *s)
{
    uint32_t upper = 0;
    size_t slot_count = (size_t)s->bucket_count * DICT_BUCKET_SLOTS;
    for (size_t i = 0; i < slot_count; i++) upper += (uint32_t)(s->slots[i] >> 63);
    return upper;
}

static bool segment_try_split(struct dict *d, struct segment s)
{
    unsigned depth = s.depth + 1;
    uint32_t upper = count_upper(&s);
    struct segment half[2] = {
        segment_try_make(d, buckets_for(s.counts->entries - upper), depth),
        segment_try_make(d, buckets_for(upper), depth),
    };
    if (!half[0].slots || !half[1].slots) {
        for (unsigned i = 0; i < 2; i++)
            if (half[i].slots) segment_free(d, &half[i]);
        return false;
    }
    half[0].first = s.first;
    half[1].first = s.first + segment_span(d, &half[0]);
    struct dict_segment_counts counts[2] = {{0}};
    split_slots(d, &s, half, counts);
    for (unsigned i = 0; i < 2; i++) {
        directory_set(d, &half[i]);
        d->counts[half[i].first] = counts[i];
    }
    if (depth == d->depth) d->deepest_count += 2;
    segment_free(d, &s);
    return true;
}

static bool segment_has_free(const struct segment *s)
{
    return s->counts->entries < s->bucket_count * DICT_BUCKET_SLOTS;
}

/* A segment is full: grows it, or splits it, or prepares that by doubling the directory, which is a
 * step of its own: until the next insertion some slots beyond the limit are used. So it is while
 * there is no memory for more. False: then none is left. */
static bool try_make_room(struct dict *d, struct segment s, uint64_t hash)
{
    while (s.counts->entries >= entries_max(s.bucket_count)) {
        uint32_t larger = buckets_after(s.bucket_count);
        bool must_double = s.depth == d->depth, done;
        if (larger <= DICT_SEGMENT_BUCKETS_MAX)
            done = segment_try_resize(d, &s, larger);
        else if (must_double)
            done = directory_try_double(d);
        else
            done = segment_try_split(d, s);
        if (!done) return segment_has_free(&s);
        s = segment_at(d, dict_index(d, hash));
        if (must_double && segment_has_free(&s)) break;
    }
    return true;
}

bool dict_try_make_room(struct dict *d, uint64_t hash)
{
    if (unlikely(!d->directory)) return dict_try_begin(d);
    struct segment s = segment_at(d, dict_index(d, hash));
    return likely(s.counts->entries < entries_max(s.bucket_count)) || try_make_room(d, s, hash);
}

/* It is small: a segment, or it would have been made in time. */
static __attribute__((noinline)) void make_room(struct dict *d, uint64_t hash)
{
    if (likely(dict_try_make_room(d, hash))) return;
    mem_insist(d->mem, true);
    CHECK(dict_try_make_room(d, hash));
    mem_insist(d->mem, false);
}

struct entry *dict_find_hash(const struct dict *d, uint64_t hash)
{
    if (!d->directory) return NULL;
    struct dict_place p = dict_locate(d, hash);
    for (uint32_t seen = 0; seen < p.bucket_count; seen++) {
        const uint64_t *bucket = p.slots + (size_t)p.home * DICT_BUCKET_SLOTS;
        for (uint32_t m = dict_match(bucket, p.tag); m; m &= m - 1) {
            struct entry *e = dict_slot_entry(bucket[__builtin_ctz(m) >> 2]);
            if (e && bytes_hash(entry_key(e), d->seed) == hash) return e;
        }
        if (bucket[DICT_BUCKET_SLOTS - 1] == 0) return NULL;
        if (++p.home == p.bucket_count) p.home = 0;
    }
    return NULL;
}

void dict_insert(struct dict *d, uint64_t hash, struct entry *e, unsigned mark)
{
    DCHECK(mark <= DICT_MARK_MAX && hash == bytes_hash(entry_key(e), d->seed));
    CHECK(((uintptr_t)e & ~DICT_ENTRY_MASK) == 0);
    if (unlikely(!d->directory)) make_room(d, hash);
    struct segment s = segment_at(d, dict_index(d, hash));
    if (unlikely(s.counts->entries >= entries_max(s.bucket_count))) {
        make_room(d, hash);
        s = segment_at(d, dict_index(d, hash));
    }
    segment_place(&s, (uint64_t)hash_tag(hash, s.depth) << 48 | (uint64_t)(uintptr_t)e | mark);
    s.counts->entries++;
    d->count++;
    if (mark) {
        s.counts->marked++;
        d->marked_count++;
    }
}

/* ---- finding one slot ---- */

/* Where an entry stands. */
struct found {
    struct segment segment;
    uint32_t bucket;
    unsigned slot;
};

/* By key, or by address if `e` is not NULL. */
static bool find_slot(const struct dict *d, uint64_t hash, struct bytes key, const struct entry *e,
                      struct found *out)
{
    if (!d->directory) return false;
    struct segment s = segment_at(d, dict_index(d, hash));
    uint16_t tag = hash_tag(hash, s.depth);
    uint32_t b = tag_home(tag, s.bucket_count);
    for (uint32_t seen = 0; seen < s.bucket_count; seen++) {
        const uint64_t *bucket = segment_bucket(&s, b);
        for (uint32_t m = dict_match(bucket, tag); m; m &= m - 1) {
            unsigned i = (unsigned)__builtin_ctz(m) >> 2;
            const struct entry *other = dict_slot_entry(bucket[i]);
            if (!other || (e ? other != e : !entry_has_key(other, key))) continue;
            *out = (struct found){s, b, i};
            return true;
        }
        if (!bucket_is_full(bucket)) return false;
        if (++b == s.bucket_count) b = 0;
    }
    return false;
}

void dict_replace(struct dict *d, uint64_t hash, const struct entry *old, struct entry *e,
                  unsigned mark)
{
    struct found f = {0};
    CHECK(mark <= DICT_MARK_MAX && ((uintptr_t)e & ~DICT_ENTRY_MASK) == 0);
    CHECK(find_slot(d, hash, (struct bytes){0}, old, &f));
    uint64_t *slot = segment_bucket(&f.segment, f.bucket) + f.slot;
    unsigned was = slot_mark(*slot) != 0, is = mark != 0;
    f.segment.counts->marked = (uint16_t)(f.segment.counts->marked + is - was);
    d->marked_count += (uint64_t)is - was;
    *slot = (*slot & 0xffffULL << 48) | (uint64_t)(uintptr_t)e | mark;
}

/* ---- shrinking ---- */

static void directory_halve(struct dict *d)
{
    struct dict old = *d;
    if (!directory_try_make(d, d->depth - 1u)) return;
    d->deepest_count = 0;
    for (uint64_t i = 0; i < 1ULL << d->depth; i++) {
        d->directory[i] = old.directory[2 * i];
        d->counts[i] = old.counts[2 * i];
        d->deepest_count += (d->directory[i] & 63) == d->depth;
    }
    old.bytes = d->bytes;
    directory_free(&old);
    d->bytes = old.bytes;
}

/* Places the slots of one half with the tags that they have in the whole. */
static void merge_slots(const struct segment *to, const struct segment *half, uint64_t side)
{
    for (uint32_t b = 0; b < half->bucket_count; b++) {
        const uint64_t *bucket = segment_bucket(half, b);
        for (unsigned i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++) {
            uint64_t tag = side << 15 | (uint64_t)slot_tag(bucket[i]) >> 1;
            segment_place(to, (bucket[i] & ~(0xffffULL << 48)) | tag << 48);
        }
    }
}

/* Joins the segment and its other half if both have become small. */
static bool segment_try_merge(struct dict *d, const struct segment *s)
{
    if (s->depth == 0) return false;
    struct segment other = segment_at(d, s->first ^ segment_span(d, s));
    uint32_t entries = (uint32_t)s->counts->entries + other.counts->entries;
    if (other.depth != s->depth || entries > entries_max(DICT_SEGMENT_BUCKETS_MAX) * 7 / 16) {
        return false;
    }
    const struct segment *lower = s->first < other.first ? s : &other;
    const struct segment *upper = lower == s ? &other : s;
    struct segment to = segment_try_make(d, buckets_for(entries + entries / 4), s->depth - 1);
    if (!to.slots) return false;
    to.first = lower->first;
    merge_slots(&to, lower, 0);
    merge_slots(&to, upper, 1);
    uint32_t marked = (uint32_t)lower->counts->marked + upper->counts->marked;
    if (s->depth == d->depth) d->deepest_count -= 2;
    segment_free(d, lower);
    segment_free(d, upper);
    directory_set(d, &to);
    *upper->counts = (struct dict_segment_counts){0};
    *lower->counts = (struct dict_segment_counts){(uint16_t)entries, (uint16_t)marked};
    if (d->deepest_count == 0) directory_halve(d);
    return true;
}

static void segment_shrink(struct dict *d, const struct segment *s)
{
    if (segment_try_merge(d, s)) return;
    uint32_t entries = s->counts->entries;
    uint32_t smaller = buckets_for(entries + entries / 4);
    if (smaller < s->bucket_count) (void)!segment_try_resize(d, s, smaller);
}

static void remove_found(struct dict *d, const struct found *f)
{
    const struct segment *s = &f->segment;
    uint64_t *bucket = segment_bucket(s, f->bucket);
    unsigned marked = slot_mark(bucket[f->slot]) != 0;
    bool was_full = bucket_is_full(bucket);
    bucket_remove(bucket, f->slot);
    if (was_full) segment_pull_back(s, f->bucket);
    s->counts->entries--;
    s->counts->marked = (uint16_t)(s->counts->marked - marked);
    d->count--;
    d->marked_count -= marked;
    if (unlikely(s->counts->entries < s->bucket_count * 3 && s->bucket_count > 1)) {
        segment_shrink(d, s);
    }
}

struct entry *dict_remove(struct dict *d, uint64_t hash, struct bytes key)
{
    struct found f;
    if (!find_slot(d, hash, key, NULL, &f)) return NULL;
    struct entry *e = dict_slot_entry(segment_bucket(&f.segment, f.bucket)[f.slot]);
    remove_found(d, &f);
    return e;
}

void dict_remove_entry(struct dict *d, uint64_t hash, const struct entry *e)
{
    struct found f = {0};
    CHECK(find_slot(d, hash, (struct bytes){0}, e, &f));
    remove_found(d, &f);
}
