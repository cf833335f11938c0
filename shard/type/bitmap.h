/* bitmap.h: bits of a string: counting, searching, combining, and integers of any width.
 *
 *     byte        0                 1
 *     bit    0 1 2 3 4 5 6 7   8 9 10 …        bit 0 is the most significant one of byte 0
 *
 * Thread     any; pure functions.
 * Limits     A field is 1 to 64 bits wide. Positions are below 2^63.
 * Order      O(n / 8): all loops go by words of 64 bits.
 */
#pragma once

#include "base/bytes.h"

/* Bits that are one. */
uint64_t bitmap_count(struct bytes map);
/* The same of bits `first` to `last`, both inclusive and within the map. */
uint64_t bitmap_count_range(struct bytes map, uint64_t first, uint64_t last);
/* The first bit with that value from `first` to `last`, both inclusive and within the map. */
MUST_USE bool bitmap_find(struct bytes map, bool value, uint64_t first, uint64_t last,
                          uint64_t *position);

static inline bool bitmap_get(struct bytes map, uint64_t position)
{
    return (uint8_t)map.data[position / 8] >> (7 - position % 8) & 1;
}

enum bitmap_operation { BITMAP_AND, BITMAP_OR, BITMAP_XOR, BITMAP_NOT };

/* Writes `size` bytes: the sources combined, or of NOT the first one inverted. A shorter source
 * counts as filled up with zeros, a longer one as cut off; `out` overlaps none of them. */
void bitmap_combine(enum bitmap_operation operation, const struct bytes *sources, uint32_t count,
                    char *out, size_t size);

/* The integer of `width` bits at `position`, most significant bit first; what lies behind the end
 * of the map is zero. */
uint64_t bitmap_get_field(struct bytes map, uint64_t position, unsigned width);
/* The lower `width` bits of `value`; the field lies within `data`. */
void bitmap_set_field(char *data, uint64_t position, unsigned width, uint64_t value);
