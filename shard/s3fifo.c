#include "shard/s3fifo.h"

#include "shard/shard.h"

#define STAMP_BITS 25
#define STAMP_MASK ((1u << STAMP_BITS) - 1)
#define STAMP_SHIFT 4 /* insertions per step of a stamp */
#define USES_SHIFT STAMP_BITS
#define USES_MAX 3u
#define QUEUE_MAIN (1u << 27)
/* Uses that carry a key from the small queue to the main one. */
#define PROMOTION_USES 2
#define SMALL_SHARE_MAX (65536 / 10)
#define SHARE_WEIGHT_SHIFT 7
/* Keys that may go on to another round before one is found. */
#define ROUNDS_MAX 64
#define NOTES_PER_BUCKET 8
#define NOTES_MIN 1024
#define NOTE_AGE_SHIFT 4 /* evictions per step of a note's age, at least */

/* ---- the clock of an entry ---- */

static uint32_t uses_of(const struct entry *e)
{
    return entry_clock(e) >> USES_SHIFT & USES_MAX;
}

static bool is_in_main(const struct entry *e)
{
    return entry_clock(e) & QUEUE_MAIN;
}

static uint32_t age_of(const struct shard *sh, const struct entry *e)
{
    return ((uint32_t)(sh->evict.s3fifo.inserted >> STAMP_SHIFT) - entry_clock(e)) & STAMP_MASK;
}

static void set_place(struct shard *sh, struct entry *e, uint32_t queue, uint32_t uses)
{
    uint32_t stamp = (uint32_t)(sh->evict.s3fifo.inserted++ >> STAMP_SHIFT) & STAMP_MASK;
    entry_set_clock(e, queue | uses << USES_SHIFT | stamp);
}

void s3fifo_touch(struct entry *e)
{
    if (uses_of(e) < USES_MAX) entry_set_clock(e, entry_clock(e) + (1u << USES_SHIFT));
}

/* ---- notes of what went from the small queue ---- */

static uint32_t *note_bucket(const struct s3fifo *s, uint64_t hash)
{
    return &s->notes[(hash >> 16) % (s->note_count / NOTES_PER_BUCKET) * NOTES_PER_BUCKET];
}

static uint16_t note_clock(const struct s3fifo *s)
{
    return (uint16_t)(s->noted * 1024 / s->note_count); /* 1,024 steps while all are written anew */
}

static uint32_t note_of(const struct s3fifo *s, uint64_t hash)
{
    uint32_t fingerprint = (uint32_t)(hash >> 48) | 1; /* 0: an empty note */
    return fingerprint << 16 | note_clock(s);
}

static void notes_free(struct shard *sh)
{
    struct s3fifo *s = &sh->evict.s3fifo;
    mem_free(&sh->mem, s->notes, s->note_count * sizeof *s->notes);
    s->notes = NULL;
    s->note_count = s->noted = 0;
}

/* As many as there are keys, within a factor of two. Without memory there are none. */
static bool notes_fit(struct shard *sh)
{
    struct s3fifo *s = &sh->evict.s3fifo;
    uint64_t keys = NOTES_MIN;
    for (uint32_t i = 0; i < sh->keys.database_count; i++) keys += keyspace_size(sh, i);
    if (s->notes && keys < 2 * s->note_count && keys > s->note_count / 2) return true;
    notes_free(sh);
    uint64_t count = (keys / NOTES_PER_BUCKET + 1) * NOTES_PER_BUCKET;
    s->notes = mem_try_alloc(&sh->mem, count * sizeof *s->notes);
    if (!s->notes) return false;
    memset(s->notes, 0, count * sizeof *s->notes);
    s->note_count = count;
    return true;
}

static void note_down(struct shard *sh, uint64_t hash)
{
    struct s3fifo *s = &sh->evict.s3fifo;
    if (!notes_fit(sh)) return;
    uint32_t *bucket = note_bucket(s, hash), *oldest = bucket;
    uint16_t now = note_clock(s);
    for (uint32_t *n = bucket; n < bucket + NOTES_PER_BUCKET; n++) {
        if (*n == 0) {
            oldest = n;
            break;
        }
        if ((uint16_t)(now - *n) > (uint16_t)(now - *oldest)) oldest = n;
    }
    *oldest = note_of(s, hash);
    s->noted++;
}

/* Takes the note out. */
static bool was_noted(struct s3fifo *s, uint64_t hash)
{
    if (!s->notes) return false;
    uint32_t *bucket = note_bucket(s, hash), wanted = note_of(s, hash) >> 16;
    for (uint32_t *n = bucket; n < bucket + NOTES_PER_BUCKET; n++) {
        if (*n >> 16 != wanted) continue;
        *n = 0;
        return true;
    }
    return false;
}

/* ---- the policy ---- */

void s3fifo_deinit(struct shard *sh)
{
    if (sh->evict.s3fifo.notes) notes_free(sh);
}

void s3fifo_enter(struct shard *sh, struct entry *e, uint64_t hash)
{
    set_place(sh, e, was_noted(&sh->evict.s3fifo, hash) ? QUEUE_MAIN : 0, 0);
}

static void note_share(struct s3fifo *s, bool is_small)
{
    s->small_share -= s->small_share >> SHARE_WEIGHT_SHIFT;
    if (is_small) s->small_share += 65536 >> SHARE_WEIGHT_SHIFT;
}

static bool sample(struct shard *sh)
{
    struct s3fifo *s = &sh->evict.s3fifo;
    bool any = false;
    for (uint32_t db = 0; db < sh->keys.database_count; db++) {
        struct evict_sample found;
        any |= evict_sample(sh, db, &found);
        for (uint32_t i = 0; i < found.count; i++) {
            struct entry *e = found.entries[i];
            bool is_main = is_in_main(e);
            note_share(s, !is_main);
            struct evict_candidate c = {.score = age_of(sh, e), .hash = found.hashes[i], .db = db};
            evict_pool_insert(is_main ? &s->main : &s->small, &c);
        }
    }
    return any;
}

/* True if the key goes on in the main queue. */
static bool goes_on(struct shard *sh, struct entry *e, bool from_main)
{
    uint32_t uses = uses_of(e);
    if (from_main ? uses == 0 : uses < PROMOTION_USES) return false;
    set_place(sh, e, QUEUE_MAIN, from_main ? uses - 1 : 0);
    return true;
}

enum evicted s3fifo_evict_one(struct shard *sh)
{
    struct s3fifo *s = &sh->evict.s3fifo;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        if (!sample(sh)) return EVICTED_NOTHING;
        bool from_main =
            s->small_share <= SMALL_SHARE_MAX ? s->main.count > 0 : s->small.count == 0;
        struct evict_candidate c;
        struct entry *e = NULL;
        if (evict_pool_pop(from_main ? &s->main : &s->small, &c)) e = evict_candidate_entry(sh, &c);
        if (!e || is_in_main(e) != from_main || age_of(sh, e) < c.score) continue;
        if (goes_on(sh, e, from_main)) continue;
        if (!from_main) note_down(sh, c.hash);
        uint64_t started = span_event_start(sh);
        keyspace_drop_evicted(sh, c.db, c.hash, e);
        span_event_end(sh, "eviction-del", started);
        return EVICTED;
    }
    return EVICTED_NOTHING_YET;
}
