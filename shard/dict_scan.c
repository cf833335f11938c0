/* Walking a dict: scans in hash order, random picks, taking it apart, and the check of its
 * invariants. */
#include "shard/dict_segment.h"

/* A marked scan gives up the search for something to tell after so many buckets. */
#define MARKED_SCAN_BUCKETS_MAX 64
/* Buckets whose entries are on their way while a table is taken apart. */
#define DRAIN_WINDOW 4

/* The position of tag `tag` in the segment. `tag` may be 2^16: the end of the segment. */
static uint64_t segment_position(const struct dict *d, const struct segment *s, uint64_t tag)
{
    uint64_t base = d->depth ? s->first << (64 - d->depth) : 0;
    return s->depth == 0 && tag == 1ULL << 16 ? 0 : base + (tag << (48 - s->depth));
}

/* The position of the first tag that lives in bucket `b`. */
static uint64_t bucket_position(const struct dict *d, const struct segment *s, uint64_t b)
{
    return segment_position(d, s, ((b << 16) + s->bucket_count - 1) / s->bucket_count);
}

/* Whom a walk tells about which marks (bit 0: entries without one). */
struct walk {
    unsigned marks;
    dict_scan_fn *fn;
    void *context;
};

/* Whether some slot of the bucket has one of these marks: without branches, as most have none. */
static bool bucket_has_mark(const uint64_t *bucket, unsigned marks)
{
    unsigned any = 0;
    for (unsigned i = 0; i < DICT_BUCKET_SLOTS; i++) any |= marks >> slot_mark(bucket[i]);
    return any & 1;
}

/* Tells of the slots whose home is bucket `home`, wherever they have overflowed to, with a tag of
 * at least `tag_min`. Returns how many. */
static unsigned visit_home(const struct dict *d, const struct segment *s, uint32_t home,
                           uint16_t tag_min, const struct walk *w)
{
    unsigned told = 0;
    uint32_t b = home;
    for (uint32_t seen = 0; seen < s->bucket_count; seen++) {
        const uint64_t *bucket = segment_bucket(s, b);
        unsigned slots = bucket_has_mark(bucket, w->marks) ? DICT_BUCKET_SLOTS : 0;
        for (unsigned i = 0; i < slots && bucket[i]; i++) {
            if (!(w->marks >> slot_mark(bucket[i]) & 1)) continue;
            uint16_t tag = slot_tag(bucket[i]);
            if (tag < tag_min || tag_home(tag, s->bucket_count) != home) continue;
            w->fn(w->context, dict_slot_entry(bucket[i]), segment_position(d, s, tag));
            told++;
        }
        if (!bucket_is_full(bucket)) break;
        if (++b == s->bucket_count) b = 0;
    }
    return told;
}

uint64_t dict_scan(const struct dict *d, uint64_t cursor, dict_scan_fn *fn, void *context)
{
    if (d->count == 0) return 0;
    struct walk w = {DICT_MARKS_ALL | 1, fn, context};
    struct segment s = segment_at(d, dict_index(d, cursor));
    uint16_t tag = hash_tag(cursor, s.depth);
    uint32_t home = tag_home(tag, s.bucket_count);
    visit_home(d, &s, home, tag, &w);
    return bucket_position(d, &s, home + 1ULL);
}

/* Visits the segment from `cursor` on, until it told something or `*budget` buckets are used up. */
static uint64_t walk_segment(const struct dict *d, uint64_t cursor, const struct walk *w,
                             int *budget, unsigned *told)
{
    struct segment s = segment_at(d, dict_index(d, cursor));
    uint16_t tag = hash_tag(cursor, s.depth);
    uint32_t home = tag_home(tag, s.bucket_count);
    --*budget;
    if (s.counts->marked == 0) return bucket_position(d, &s, s.bucket_count);
    while (home<s.bucket_count && * budget> 0 && *told == 0) {
        *told = visit_home(d, &s, home++, tag, w);
        --*budget;
    }
    return bucket_position(d, &s, home);
}

uint64_t dict_scan_marked(const struct dict *d, uint64_t cursor, unsigned marks, dict_scan_fn *fn,
                          void *context)
{
    if (d->marked_count == 0) return 0;
    struct walk w = {marks & DICT_MARKS_ALL, fn, context};
    int budget = MARKED_SCAN_BUCKETS_MAX;
    unsigned told = 0;
    do cursor = walk_segment(d, cursor, &w, &budget, &told);
    while (cursor != 0 && told == 0 && budget > 1);
    return cursor;
}

/* ---- defragmentation ---- */

static void prefetch_entries(const uint64_t *bucket)
{
    for (unsigned i = 0; i < DICT_BUCKET_SLOTS; i++) __builtin_prefetch(dict_slot_entry(bucket[i]));
}

static void defrag_directory(struct dict *d, struct defrag_walk *w)
{
    d->directory = defrag_block(w, d->directory, directory_bytes(d->depth));
    d->counts = (struct dict_segment_counts *)(void *)(d->directory + directory_size(d));
}

static void defrag_segment(struct dict *d, struct defrag_walk *w, struct segment *s)
{
    uint64_t *slots = defrag_block(w, s->slots, segment_bytes(s->bucket_count));
    if (slots == s->slots) return;
    CHECK(((uintptr_t)slots & ~DICT_BUCKETS_MASK) == 0);
    s->slots = slots;
    directory_set(d, s);
}

/* The slots of one bucket. An overflowed entry is met where it stands, so one may be left out when
 * the table changes between two calls. */
static void defrag_bucket(uint64_t *bucket, dict_move_fn *fn, void *context)
{
    for (unsigned i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++) {
        uint64_t address = (uint64_t)(uintptr_t)fn(context, dict_slot_entry(bucket[i]));
        DCHECK((address & ~DICT_ENTRY_MASK) == 0);
        bucket[i] = (bucket[i] & ~DICT_ENTRY_MASK) | address;
    }
}

uint64_t dict_defrag(struct dict *d, struct defrag_walk *w, uint64_t cursor, dict_move_fn *fn,
                     void *context)
{
    if (!d->directory) return 0;
    if (cursor == 0) defrag_directory(d, w);
    struct segment s = segment_at(d, dict_index(d, cursor));
    uint32_t b = tag_home(hash_tag(cursor, s.depth), s.bucket_count);
    if (b == 0) defrag_segment(d, w, &s);
    if (b + 1 < s.bucket_count) prefetch_entries(segment_bucket(&s, b + 1)); /* for the next call */
    defrag_bucket(segment_bucket(&s, b), fn, context);
    return bucket_position(d, &s, b + 1ULL);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
    return x ^ x >> 32;
}

struct entry *dict_random(const struct dict *d, uint64_t random)
{
    if (d->count == 0) return NULL;
    /* Free slots are thrown again, so that what follows one is not chosen more often. Every dart
     * picks a segment anew: some may be empty. */
    for (unsigned dart = 0; dart < 64; dart++) {
        random = mix(random + 0x9e3779b97f4a7c15ULL);
        struct segment s = segment_at(d, dict_index(d, random));
        uint64_t i = (random & 0xffffffff) * s.bucket_count * DICT_BUCKET_SLOTS >> 32;
        if (s.slots[i]) return dict_slot_entry(s.slots[i]);
    }
    uint64_t index = dict_index(d, random);
    for (;;) { /* Very sparse: the next one will do. */
        struct segment s = segment_at(d, index);
        for (size_t i = 0; s.counts->entries && i < segment_bytes(s.bucket_count) / 8; i++) {
            if (s.slots[i]) return dict_slot_entry(s.slots[i]);
        }
        index = (s.first + segment_span(d, &s)) & (directory_size(d) - 1);
    }
}

/* ---- taking a table apart ---- */

void dict_drain_init(struct dict_drain *drain, struct dict *d)
{
    *drain = (struct dict_drain){.dict = *d};
    dict_init(d, drain->dict.mem, drain->dict.seed);
}

bool dict_drain_some(struct dict_drain *drain, uint64_t count, dict_scan_fn *fn, void *context)
{
    struct dict *d = &drain->dict;
    for (uint64_t given = 0; drain->index < directory_size(d);) {
        if (given >= count) return false;
        struct segment s = segment_at(d, drain->index);
        if (drain->bucket == s.bucket_count) {
            drain->index += segment_span(d, &s);
            drain->bucket = 0;
            segment_free(d, &s);
            continue;
        }
        if (drain->bucket + DRAIN_WINDOW < s.bucket_count) {
            prefetch_entries(segment_bucket(&s, drain->bucket + DRAIN_WINDOW));
        }
        const uint64_t *bucket = segment_bucket(&s, drain->bucket++);
        for (unsigned i = 0; i < DICT_BUCKET_SLOTS && bucket[i]; i++, given++) {
            d->count--;
            fn(context, dict_slot_entry(bucket[i]), 0);
        }
    }
    directory_free(d);
    CHECK(d->count == 0 && d->bytes == 0);
    return true;
}

/* ---- invariants ---- */

/* All buckets from the home of the slot up to the one where it stands are full. */
static void validate_slot(const struct dict *d, const struct segment *s, uint32_t b, uint64_t slot)
{
    uint64_t hash = bytes_hash(entry_key(dict_slot_entry(slot)), d->seed);
    CHECK(segment_at(d, dict_index(d, hash)).slots == s->slots);
    CHECK(hash_tag(hash, s->depth) == slot_tag(slot));
    for (uint32_t h = tag_home(slot_tag(slot), s->bucket_count); h != b;) {
        CHECK(bucket_is_full(segment_bucket(s, h)));
        if (++h == s->bucket_count) h = 0;
    }
}

static struct dict_segment_counts validate_segment(const struct dict *d, const struct segment *s)
{
    struct dict_segment_counts counts = {0};
    CHECK(s->depth <= d->depth && s->bucket_count >= 1);
    CHECK(s->bucket_count <= DICT_SEGMENT_BUCKETS_MAX);
    for (uint64_t i = 0; i < segment_span(d, s); i++) {
        CHECK(d->directory[s->first + i] == segment_word(s));
    }
    for (uint32_t b = 0; b < s->bucket_count; b++) {
        const uint64_t *bucket = segment_bucket(s, b);
        bool ended = false;
        for (unsigned i = 0; i < DICT_BUCKET_SLOTS; i++) {
            CHECK(!ended || bucket[i] == 0);
            ended = bucket[i] == 0;
            if (ended) continue;
            validate_slot(d, s, b, bucket[i]);
            counts.entries++;
            if (slot_mark(bucket[i])) counts.marked++;
        }
    }
    CHECK(counts.entries == s->counts->entries && counts.marked == s->counts->marked);
    return counts;
}

void dict_validate(const struct dict *d)
{
    uint64_t count = 0, marked = 0, deepest = 0;
    size_t directory = directory_size(d) * (sizeof(uint64_t) + sizeof(struct dict_segment_counts));
    uint64_t bytes = d->directory ? mem_class_bytes(directory) : 0;
    for (uint64_t i = 0; i < directory_size(d);) {
        struct segment s = segment_at(d, i);
        CHECK(s.first == i);
        struct dict_segment_counts counts = validate_segment(d, &s);
        count += counts.entries;
        marked += counts.marked;
        deepest += s.depth == d->depth;
        bytes += mem_class_bytes(segment_bytes(s.bucket_count));
        i += segment_span(d, &s);
    }
    CHECK(count == d->count && marked == d->marked_count && bytes == d->bytes);
    CHECK(d->deepest_count == deepest);
}
