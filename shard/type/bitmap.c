#include "shard/type/bitmap.h"

/* Sources are combined in blocks that stay in the first-level cache while one after the other is
 * laid over the result. */
#define COMBINE_BLOCK_BYTES 8192

static inline uint64_t load_word(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* ---- counting ---- */

/* Four sums, as one would make each addition wait for the one before. */
static inline __attribute__((always_inline)) uint64_t count_words(const char *p, size_t size)
{
    uint64_t sums[4] = {0};
    for (; size >= 32; p += 32, size -= 32) {
        for (unsigned i = 0; i < 4; i++) {
            sums[i] += (unsigned)__builtin_popcountll(load_word(p + 8 * i));
        }
    }
    for (; size >= 8; p += 8, size -= 8) sums[0] += (unsigned)__builtin_popcountll(load_word(p));
    uint64_t tail = 0;
    if (size > 0) memcpy(&tail, p, size);
    return sums[0] + sums[1] + sums[2] + sums[3] + (unsigned)__builtin_popcountll(tail);
}

/* The instruction is not part of the x86-64 that everything is compiled for. */
#if defined(__x86_64__)
__attribute__((target("popcnt"))) static uint64_t count_with_popcnt(const char *p, size_t size)
{
    return count_words(p, size);
}
#endif

uint64_t bitmap_count(struct bytes map)
{
#if defined(__x86_64__)
    if (likely(__builtin_cpu_supports("popcnt"))) return count_with_popcnt(map.data, map.size);
#endif
    return count_words(map.data, map.size);
}

/* The bits of a byte from `first` on, and those up to `last`. */
static inline unsigned mask_from(uint64_t first)
{
    return 0xffu >> (first % 8);
}

static inline unsigned mask_to(uint64_t last)
{
    return 0xff00u >> (last % 8 + 1) & 0xff;
}

static unsigned byte_at(struct bytes map, uint64_t position)
{
    return (uint8_t)map.data[position / 8];
}

uint64_t bitmap_count_range(struct bytes map, uint64_t first, uint64_t last)
{
    DCHECK(first <= last && last / 8 < map.size);
    size_t start = first / 8, end = last / 8;
    if (start == end) {
        unsigned some = byte_at(map, first) & mask_from(first) & mask_to(last);
        return (unsigned)__builtin_popcount(some);
    }
    unsigned head = byte_at(map, first) & mask_from(first);
    unsigned tail = byte_at(map, last) & mask_to(last);
    return (unsigned)__builtin_popcount(head | tail << 8) +
           bitmap_count(bytes_make(map.data + start + 1, end - start - 1));
}

/* ---- searching ---- */

/* The first byte of [start, end) that is not `skipped`, a byte that is all ones or all zeros;
 * `end` if there is none. */
static size_t find_other_byte(const char *data, size_t start, size_t end, uint8_t skipped)
{
    const uint64_t word = skipped ? UINT64_MAX : 0;
    size_t at = start;
    for (; end - at >= 32; at += 32) {
        uint64_t other = 0;
        for (unsigned i = 0; i < 4; i++) other |= load_word(data + at + 8 * i) ^ word;
        if (other) break;
    }
    while (end - at >= 8 && load_word(data + at) == word) at += 8;
    while (at < end && (uint8_t)data[at] == skipped) at++;
    return at;
}

/* The position of the first bit with that value in byte `index`, of which only those in `mask`
 * count. */
static bool find_in_byte(struct bytes map, size_t index, bool value, unsigned mask,
                         uint64_t *position)
{
    unsigned byte = (uint8_t)map.data[index];
    if (!value) byte = ~byte;
    byte &= mask;
    if (byte == 0) return false;
    *position = 8 * (uint64_t)index + (unsigned)__builtin_clz(byte << 24);
    return true;
}

bool bitmap_find(struct bytes map, bool value, uint64_t first, uint64_t last, uint64_t *position)
{
    DCHECK(first <= last && last / 8 < map.size);
    size_t start = first / 8, end = last / 8;
    unsigned head = start == end ? mask_from(first) & mask_to(last) : mask_from(first);
    if (find_in_byte(map, start, value, head, position)) return true;
    if (start == end) return false;
    size_t at = find_other_byte(map.data, start + 1, end, value ? 0 : 0xff);
    return find_in_byte(map, at, value, at == end ? mask_to(last) : 0xff, position);
}

/* ---- combining ---- */

static inline uint64_t combined(enum bitmap_operation operation, uint64_t a, uint64_t b)
{
    return operation == BITMAP_AND ? a & b : operation == BITMAP_OR ? a | b : a ^ b;
}

/* out = a OP b; the operation is known where this is inlined. */
static inline __attribute__((always_inline)) void combine_two(enum bitmap_operation operation,
                                                              const char *restrict a,
                                                              const char *restrict b,
                                                              char *restrict out, size_t size)
{
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t c = combined(operation, load_word(a + at), load_word(b + at));
        memcpy(out + at, &c, sizeof c);
    }
    for (; at < size; at++) out[at] = (char)combined(operation, (uint8_t)a[at], (uint8_t)b[at]);
}

/* out = out OP source. */
static inline __attribute__((always_inline)) void combine_into(enum bitmap_operation operation,
                                                               const char *restrict source,
                                                               char *restrict out, size_t size)
{
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t c = combined(operation, load_word(out + at), load_word(source + at));
        memcpy(out + at, &c, sizeof c);
    }
    for (; at < size; at++)
        out[at] = (char)combined(operation, (uint8_t)out[at], (uint8_t)source[at]);
}

static void invert(char *out, size_t size)
{
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word = ~load_word(out + at);
        memcpy(out + at, &word, sizeof word);
    }
    for (; at < size; at++) out[at] = (char)~out[at];
}

/* What a source has of the `size` bytes from `at` on. */
static struct bytes part_of(struct bytes source, size_t at, size_t size)
{
    if (at >= source.size) return (struct bytes){0};
    return (struct bytes){source.data + at, MIN(size, source.size - at)};
}

static void combine(enum bitmap_operation operation, const char *a, const char *b, char *out,
                    size_t size)
{
    if (operation == BITMAP_AND)
        combine_two(BITMAP_AND, a, b, out, size);
    else if (operation == BITMAP_OR)
        combine_two(BITMAP_OR, a, b, out, size);
    else
        combine_two(BITMAP_XOR, a, b, out, size);
}

static void lay_over(enum bitmap_operation operation, struct bytes part, char *out, size_t size)
{
    if (operation == BITMAP_AND) {
        combine_into(BITMAP_AND, part.data, out, part.size);
        memset(out + part.size, 0, size - part.size);
    } else if (operation == BITMAP_OR) {
        combine_into(BITMAP_OR, part.data, out, part.size);
    } else {
        combine_into(BITMAP_XOR, part.data, out, part.size);
    }
}

/* Copies what the first source has, or combines it with the second one while it is read; returns
 * how many sources were used. */
static uint32_t begin_block(enum bitmap_operation operation, const struct bytes *sources,
                            uint32_t count, size_t at, struct bytes out)
{
    char *to = (char *)(uintptr_t)out.data;
    struct bytes first = part_of(sources[0], at, out.size);
    struct bytes second = count > 1 ? part_of(sources[1], at, out.size) : (struct bytes){0};
    if (first.size == out.size && second.size == out.size) {
        combine(operation, first.data, second.data, to, out.size);
        return 2;
    }
    if (first.size > 0) memcpy(to, first.data, first.size);
    memset(to + first.size, 0, out.size - first.size);
    if (operation == BITMAP_NOT) invert(to, out.size);
    return 1;
}

void bitmap_combine(enum bitmap_operation operation, const struct bytes *sources, uint32_t count,
                    char *out, size_t size)
{
    for (size_t at = 0; at < size; at += COMBINE_BLOCK_BYTES) {
        size_t block = MIN(size - at, (size_t)COMBINE_BLOCK_BYTES);
        uint32_t i = begin_block(operation, sources, count, at, bytes_make(out + at, block));
        for (; i < count; i++) lay_over(operation, part_of(sources[i], at, block), out + at, block);
    }
}

/* ---- fields ---- */

uint64_t bitmap_get_field(struct bytes map, uint64_t position, unsigned width)
{
    uint64_t value = 0;
    while (width > 0) {
        unsigned used = (unsigned)(position % 8), some = MIN(8 - used, width);
        unsigned byte = position / 8 < map.size ? byte_at(map, position) : 0;
        value = value << some | (byte >> (8 - used - some) & ((1u << some) - 1));
        position += some;
        width -= some;
    }
    return value;
}

void bitmap_set_field(char *data, uint64_t position, unsigned width, uint64_t value)
{
    while (width > 0) {
        unsigned used = (unsigned)(position % 8), some = MIN(8 - used, width);
        unsigned shift = 8 - used - some, mask = ((1u << some) - 1) << shift;
        unsigned part = (unsigned)(value >> (width - some)) << shift & mask;
        char *byte = &data[position / 8];
        *byte = (char)(((uint8_t)*byte & ~mask) | part);
        position += some;
        width -= some;
    }
}
