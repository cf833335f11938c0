#include "shard/type/hll.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>

#include "base/mem.h"

#define INDEX_BITS 14
_Static_assert(1 << INDEX_BITS == HLL_REGISTERS, "an index for each register");
/* The bits of the hash that are left for the rank. */
#define RANK_BITS (64 - INDEX_BITS)
#define RANK_MASK 63
#define HASH_SEED 0xadc83b19ULL

#define ENCODING_AT 4
#define COUNT_AT 8
#define COUNT_OUTDATED ((uint64_t)1 << 63)

enum { DENSE, SPARSE };

/* ---- header ---- */

struct bytes hll_empty(void)
{
    return BYTES_LITERAL("HYLL\x01\0\0\0"
                         "\0\0\0\0\0\0\0\x80"
                         "\x7f\xff");
}

bool hll_has_header(struct bytes value)
{
    if (value.size < HLL_HEADER_BYTES || memcmp(value.data, "HYLL", 4) != 0) return false;
    uint8_t encoding = (uint8_t)value.data[ENCODING_AT];
    return encoding == SPARSE || (encoding == DENSE && value.size == HLL_DENSE_BYTES);
}

bool hll_is_dense(struct bytes sketch)
{
    return sketch.data[ENCODING_AT] == DENSE;
}

static uint64_t load_little_endian(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

bool hll_cached_count(struct bytes sketch, int64_t *count)
{
    uint64_t word = load_little_endian(sketch.data + COUNT_AT);
    if (word & COUNT_OUTDATED) return false;
    *count = (int64_t)word;
    return true;
}

void hll_cache_count(char *sketch, int64_t count)
{
    uint64_t word = htole64((uint64_t)count);
    memcpy(sketch + COUNT_AT, &word, sizeof word);
}

void hll_outdate_count(char *sketch)
{
    sketch[COUNT_AT + 7] = (char)(sketch[COUNT_AT + 7] | 0x80);
}

/* ---- hash ---- */

static uint64_t murmur_64a(struct bytes text, uint64_t seed)
{
    const uint64_t m = 0xc6a4a7935bd1e995ULL;
    uint64_t h = seed ^ (text.size * m);
    const char *p = text.data;
    size_t left = text.size;
    for (; left >= 8; p += 8, left -= 8) {
        uint64_t k = load_little_endian(p) * m;
        h = (h ^ (k ^ k >> 47) * m) * m;
    }
    if (left > 0) {
        char tail[8] = {0};
        memcpy(tail, p, left);
        h = (h ^ load_little_endian(tail)) * m;
    }
    h = (h ^ h >> 47) * m;
    return h ^ h >> 47;
}

struct hll_mark hll_mark_of(struct bytes element)
{
    uint64_t hash = murmur_64a(element, HASH_SEED);
    /* The bit above the others ends the zeros. */
    uint64_t rest = hash >> INDEX_BITS | (uint64_t)1 << RANK_BITS;
    return (struct hll_mark){.index = (uint32_t)(hash & (HLL_REGISTERS - 1)),
                             .rank = (uint8_t)(__builtin_ctzll(rest) + 1)};
}

/* ---- dense registers ---- */

uint8_t hll_dense_rank(struct bytes sketch, uint32_t index)
{
    size_t at = HLL_HEADER_BYTES + index * 6 / 8;
    unsigned shift = index * 6 % 8, bits = (uint8_t)sketch.data[at];
    if (shift > 2) bits |= (unsigned)(uint8_t)sketch.data[at + 1] << 8;
    return bits >> shift & RANK_MASK;
}

void hll_dense_set_rank(char *sketch, struct hll_mark mark)
{
    char *p = sketch + HLL_HEADER_BYTES + mark.index * 6 / 8;
    unsigned shift = mark.index * 6 % 8;
    unsigned mask = RANK_MASK << shift, bits = (unsigned)mark.rank << shift;
    p[0] = (char)(((uint8_t)p[0] & ~mask) | bits);
    if (shift > 2) p[1] = (char)(((uint8_t)p[1] & ~(mask >> 8)) | bits >> 8);
}

/* Four registers are three bytes. */
static void dense_unpack(const char *p, uint8_t ranks[4])
{
    uint32_t bits =
        (uint32_t)(uint8_t)p[0] | (uint32_t)(uint8_t)p[1] << 8 | (uint32_t)(uint8_t)p[2] << 16;
    for (unsigned i = 0; i < 4; i++) ranks[i] = bits >> (6 * i) & RANK_MASK;
}

/* ---- sparse runs ---- */

#define ZERO_COUNT_MAX 64
#define VAL_COUNT_MAX 4
#define VAL_RANK_MAX 32
#define RUN_BYTES_MAX 2
/* After a change that many runs, from the one before it on, are looked at for neighbours that can
 * become one. */
#define JOIN_RUNS 5

struct run {
    size_t at;      /* of its first byte within the sketch */
    unsigned bytes; /* 1 or 2 */
    uint8_t rank;
    uint32_t first, count; /* registers */
};

/* False at the end, and where there is half a run. */
static bool run_read(struct bytes sketch, size_t at, uint32_t first, struct run *r)
{
    if (at >= sketch.size) return false;
    unsigned byte = (uint8_t)sketch.data[at];
    *r = (struct run){.at = at, .bytes = 1, .first = first};
    if (byte & 0x80) {
        r->rank = (uint8_t)((byte >> 2 & 31) + 1);
        r->count = (byte & 3) + 1;
    } else if (byte & 0x40) {
        if (sketch.size - at < 2) return false;
        r->bytes = 2;
        r->count = ((byte & 63) << 8 | (uint8_t)sketch.data[at + 1]) + 1;
    } else {
        r->count = byte + 1;
    }
    return true;
}

/* The run behind `r`. */
static bool run_next(struct bytes sketch, struct run *r)
{
    return run_read(sketch, r->at + r->bytes, r->first + r->count, r);
}

/* Writes a run of at most RUN_BYTES_MAX bytes, none for a count of 0. */
static char *run_write(char *p, uint8_t rank, uint32_t count)
{
    if (count == 0) return p;
    unsigned n = count - 1;
    if (rank > 0) {
        *p++ = (char)(0x80 | (rank - 1u) << 2 | n);
    } else if (count <= ZERO_COUNT_MAX) {
        *p++ = (char)n;
    } else {
        *p++ = (char)(0x40 | n >> 8);
        *p++ = (char)n;
    }
    return p;
}

/* Calls `fn` for every run; false unless they make exactly all registers. */
static bool sparse_each(struct bytes sketch, void (*fn)(void *context, const struct run *r),
                        void *context)
{
    struct run r;
    bool has_run = run_read(sketch, HLL_HEADER_BYTES, 0, &r);
    if (!has_run) return false;
    while (has_run) {
        if (r.count > HLL_REGISTERS - r.first) return false;
        fn(context, &r);
        if (r.at + r.bytes == sketch.size) return r.first + r.count == HLL_REGISTERS;
        has_run = run_next(sketch, &r);
    }
    return false;
}

bool hll_try_describe(struct bytes sketch, struct buf *out)
{
    struct run r;
    size_t start = out->size;
    bool has_run = run_read(sketch, HLL_HEADER_BYTES, 0, &r);
    for (; has_run; has_run = run_next(sketch, &r)) {
        char text[32];
        const char *space = out->size > start ? " " : "";
        int size = r.rank > 0 ? snprintf(text, sizeof text, "%sv:%u,%u", space, r.rank, r.count)
                              : snprintf(text, sizeof text, "%s%c:%u", space,
                                         r.bytes == 1 ? 'z' : 'Z', r.count);
        if (!buf_try_reserve(out, (size_t)size)) return false;
        buf_append(out, text, (size_t)size);
    }
    return true;
}

/* ---- counting ---- */

struct histogram {
    uint32_t counts[RANK_MASK + 1];
};

static void count_run(void *context, const struct run *r)
{
    ((struct histogram *)context)->counts[r->rank] += r->count;
}

static bool histogram_make(struct bytes sketch, struct histogram *h)
{
    *h = (struct histogram){0};
    if (!hll_is_dense(sketch)) return sparse_each(sketch, count_run, h);
    for (size_t at = HLL_HEADER_BYTES; at < HLL_DENSE_BYTES; at += 3) {
        uint8_t ranks[4];
        dense_unpack(sketch.data + at, ranks);
        for (unsigned i = 0; i < 4; i++) h->counts[ranks[i]]++;
    }
    return true;
}

/* sigma and tau of Ertl's paper: what the registers that are 0, and those that are full, add. */
static double sigma(double x)
{
    if (x == 1) return HUGE_VAL;
    double y = 1, z = x, before;
    do {
        x *= x;
        before = z;
        z += x * y;
        y += y;
    } while (z != before);
    return z;
}

static double tau(double x)
{
    if (x == 0 || x == 1) return 0;
    double y = 1, z = 1 - x, before;
    do {
        x = sqrt(x);
        before = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (z != before);
    return z / 3;
}

/* Algorithm 6 of Ertl's paper. Ranks that no hash has count as no register at all; when only such
 * are left the estimate is infinite, which Redis answers as the least integer. */
static int64_t histogram_estimate(const struct histogram *h)
{
    const double m = HLL_REGISTERS, alpha = 0.721347520444481703680;
    double z = m * tau((m - h->counts[RANK_BITS + 1]) / m);
    for (unsigned rank = RANK_BITS; rank >= 1; rank--) z = (z + h->counts[rank]) * 0.5;
    z += m * sigma(h->counts[0] / m);
    double estimate = alpha * m * m / z;
    return estimate < 9.2e18 ? llround(estimate) : INT64_MIN;
}

bool hll_estimate(struct bytes sketch, int64_t *count)
{
    struct histogram h;
    if (!histogram_make(sketch, &h)) return false;
    *count = histogram_estimate(&h);
    return true;
}

int64_t hll_estimate_registers(const struct hll_registers *registers)
{
    struct histogram h = {0};
    for (unsigned i = 0; i < HLL_REGISTERS; i++) h.counts[registers->ranks[i]]++;
    return histogram_estimate(&h);
}

static void merge_run(void *context, const struct run *r)
{
    struct hll_registers *registers = context;
    if (r->rank == 0) return;
    for (uint32_t i = r->first; i < r->first + r->count; i++) {
        registers->ranks[i] = MAX(registers->ranks[i], r->rank);
    }
}

bool hll_merge_into(struct bytes sketch, struct hll_registers *registers)
{
    if (!hll_is_dense(sketch)) return sparse_each(sketch, merge_run, registers);
    for (unsigned i = 0; i < HLL_REGISTERS; i += 4) {
        uint8_t ranks[4];
        dense_unpack(sketch.data + HLL_HEADER_BYTES + i / 4 * 3, ranks);
        for (unsigned j = 0; j < 4; j++) {
            registers->ranks[i + j] = MAX(registers->ranks[i + j], ranks[j]);
        }
    }
    return true;
}

/* ---- drafts ---- */

void hll_draft_begin(struct hll_draft *d, struct mem *mem, struct bytes sketch,
                     uint64_t sparse_bytes_max)
{
    *d = (struct hll_draft){.sketch = sketch,
                            .own = {.mem = mem},
                            .sparse_bytes_max = sparse_bytes_max,
                            .hint_at = HLL_HEADER_BYTES};
}

void hll_draft_free(struct hll_draft *d)
{
    buf_clear(&d->own);
}

/* The copy, with room for a change. */
static char *draft_own(struct hll_draft *d)
{
    bool is_copied = d->own.size > 0;
    size_t missing = is_copied ? 0 : d->sketch.size;
    if (!buf_try_reserve(&d->own, missing + 2 * RUN_BYTES_MAX)) return NULL;
    if (!is_copied) buf_append(&d->own, d->sketch.data, d->sketch.size);
    d->sketch = buf_view(&d->own);
    return d->own.data;
}

bool hll_draft_finish(struct hll_draft *d)
{
    char *sketch = draft_own(d);
    if (sketch) hll_outdate_count(sketch);
    return sketch != NULL;
}

static void fill_run(void *context, const struct run *r)
{
    if (r->rank == 0) return;
    for (uint32_t i = r->first; i < r->first + r->count; i++) {
        hll_dense_set_rank(context, (struct hll_mark){.index = i, .rank = r->rank});
    }
}

enum hll_result hll_draft_make_dense(struct hll_draft *d)
{
    if (hll_is_dense(d->sketch)) return HLL_SAME;
    struct buf dense = {.mem = d->own.mem};
    char *p = buf_try_reserve(&dense, HLL_DENSE_BYTES);
    if (!p) return HLL_NO_MEMORY;
    memset(p, 0, HLL_DENSE_BYTES);
    memcpy(p, d->sketch.data, HLL_HEADER_BYTES);
    p[ENCODING_AT] = DENSE;
    dense.size = HLL_DENSE_BYTES;
    if (!sparse_each(d->sketch, fill_run, p)) {
        buf_clear(&dense);
        return HLL_CORRUPT;
    }
    buf_clear(&d->own);
    d->own = dense;
    d->sketch = buf_view(&d->own);
    return HLL_CHANGED;
}

static enum hll_result draft_raise_dense(struct hll_draft *d, struct hll_mark mark)
{
    if (hll_dense_rank(d->sketch, mark.index) >= mark.rank) return HLL_SAME;
    char *sketch = draft_own(d);
    if (!sketch) return HLL_NO_MEMORY;
    hll_dense_set_rank(sketch, mark);
    return HLL_CHANGED;
}

static enum hll_result draft_promote(struct hll_draft *d, struct hll_mark mark)
{
    enum hll_result result = hll_draft_make_dense(d);
    return result == HLL_CHANGED ? draft_raise_dense(d, mark) : result;
}

/* How many registers the run has that begins with that byte; of an XZERO without what its second
 * byte adds. */
static inline uint32_t run_count_of(unsigned byte, bool is_wide)
{
    if (byte & 0x80) return (byte & 3) + 1;
    return is_wide ? (byte & 63) << 8 | 1 : byte + 1;
}

/* The run that holds a register, and where the one before it is (the same for the first one). False
 * if the runs end before that. Most of the time of adding to a sparse sketch is spent here. */
static bool draft_find(struct hll_draft *d, uint32_t index, struct run *r, size_t *before)
{
    const uint8_t *data = (const uint8_t *)d->sketch.data;
    size_t size = d->sketch.size, at = HLL_HEADER_BYTES;
    uint32_t first = 0, before_first = 0;
    if (index > d->hint_first && run_read(d->sketch, d->hint_at, d->hint_first, r) &&
        index >= r->first + r->count) {
        at = d->hint_at;
        first = d->hint_first;
    }
    *before = at;
    while (at < size) {
        bool is_wide = (data[at] & 0xc0) == 0x40;
        if (is_wide && at + 1 == size) return false;
        uint32_t count = run_count_of(data[at], is_wide) + (is_wide ? data[at + 1] : 0);
        if (index - first < count) break;
        *before = at;
        before_first = first;
        at += 1 + is_wide;
        first += count;
    }
    d->hint_at = *before;
    d->hint_first = before_first;
    return run_read(d->sketch, at, first, r);
}

/* Neighbours of the same rank become one run where that is not too long for one: only near the
 * change, as Redis does it. */
static void draft_join(struct hll_draft *d, size_t at)
{
    struct run r, next = {0};
    bool has_run = run_read(d->sketch, at, 0, &r);
    for (unsigned i = 0; has_run && i < JOIN_RUNS; i++) {
        bool has_next = run_read(d->sketch, at + r.bytes, 0, &next);
        if (has_next && r.rank > 0 && next.rank == r.rank &&
            r.count + next.count <= VAL_COUNT_MAX) {
            char *p = d->own.data + at;
            run_write(p, r.rank, r.count + next.count);
            memmove(p + 1, p + 2, d->own.size - at - 2);
            d->own.size--;
            d->sketch = buf_view(&d->own);
            has_run = run_read(d->sketch, at, 0, &r);
        } else {
            at += r.bytes;
            r = next;
            has_run = has_next;
        }
    }
}

/* The run with the register becomes up to three: what is left before it, the register, what is left
 * behind it. */
enum hll_result hll_draft_raise(struct hll_draft *d, struct hll_mark mark)
{
    if (hll_is_dense(d->sketch)) return draft_raise_dense(d, mark);
    if (mark.rank > VAL_RANK_MAX) return draft_promote(d, mark);
    struct run r = {0};
    size_t before;
    if (!draft_find(d, mark.index, &r, &before)) return HLL_CORRUPT;
    if (r.rank >= mark.rank) return HLL_SAME;

    char runs[3 * RUN_BYTES_MAX];
    char *end = run_write(runs, r.rank, mark.index - r.first);
    end = run_write(end, mark.rank, 1);
    end = run_write(end, r.rank, r.first + r.count - 1 - mark.index);
    size_t size = (size_t)(end - runs);
    if (size > r.bytes && d->sketch.size + size - r.bytes > d->sparse_bytes_max) {
        return draft_promote(d, mark);
    }
    char *sketch = draft_own(d);
    if (!sketch) return HLL_NO_MEMORY;
    memmove(sketch + r.at + size, sketch + r.at + r.bytes, d->own.size - r.at - r.bytes);
    memcpy(sketch + r.at, runs, size);
    d->own.size += size - r.bytes;
    d->sketch = buf_view(&d->own);
    draft_join(d, before);
    return HLL_CHANGED;
}
