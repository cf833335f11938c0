#include "shard/type/intset.h"

#define COUNT_AT 4

/* ---- bytes ---- */

static inline uint32_t get_u32(const struct intset *set, size_t at)
{
    uint32_t n;
    memcpy(&n, (const char *)set + at, sizeof n);
    return n;
}

static inline void put_u32(struct intset *set, size_t at, uint32_t n)
{
    memcpy((char *)set + at, &n, sizeof n);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are stored as they are");

static inline uint32_t width_of(const struct intset *set)
{
    return get_u32(set, 0);
}

static inline char *place(struct intset *set, uint64_t index, uint32_t width)
{
    return (char *)set + INTSET_HEADER_BYTES + index * width;
}

static inline int64_t get_at(const struct intset *set, uint64_t index, uint32_t width)
{
    const char *p = (const char *)set + INTSET_HEADER_BYTES + index * width;
    int64_t v64;
    int32_t v32;
    int16_t v16;
    switch (width) {
    case 2:
        memcpy(&v16, p, sizeof v16);
        return v16;
    case 4:
        memcpy(&v32, p, sizeof v32);
        return v32;
    default:
        memcpy(&v64, p, sizeof v64);
        return v64;
    }
}

static inline void put_at(struct intset *set, uint64_t index, uint32_t width, int64_t value)
{
    memcpy(place(set, index, width), &value, width); /* the low bytes come first */
}

static uint32_t width_for(int64_t value)
{
    if (value == (int16_t)value) return 2;
    return value == (int32_t)value ? 4 : 8;
}

static size_t bytes_for(uint64_t count, uint32_t width)
{
    return INTSET_HEADER_BYTES + count * width;
}

/* ---- the whole ---- */

struct intset *intset_try_create(struct mem *mem)
{
    struct intset *set = mem_try_alloc(mem, mem_class_bytes(bytes_for(0, 2)));
    if (!set) return NULL;
    put_u32(set, 0, 2);
    put_u32(set, COUNT_AT, 0);
    return set;
}

uint32_t intset_length(const struct intset *set)
{
    return get_u32(set, COUNT_AT);
}

size_t intset_bytes(const struct intset *set)
{
    return bytes_for(intset_length(set), width_of(set));
}

size_t intset_allocated(const struct intset *set)
{
    return mem_class_bytes(intset_bytes(set));
}

struct bytes intset_view(const struct intset *set)
{
    return bytes_make(set, intset_bytes(set));
}

static struct intset *try_from_view(struct mem *mem, struct bytes bytes)
{
    struct intset *set = mem_try_alloc(mem, mem_class_bytes(bytes.size));
    if (set) memcpy(set, bytes.data, bytes.size);
    return set;
}

struct intset *intset_try_copy(struct mem *mem, const struct intset *set)
{
    return try_from_view(mem, intset_view(set));
}

void intset_free(struct mem *mem, struct intset *set)
{
    if (set) mem_free(mem, set, intset_allocated(set));
}

bool intset_is_valid(struct bytes bytes)
{
    if (bytes.size < INTSET_HEADER_BYTES) return false;
    const struct intset *set = (const void *)bytes.data;
    uint32_t width = width_of(set), count = intset_length(set);
    if (width != 2 && width != 4 && width != 8) return false;
    if (bytes.size != bytes_for(count, width)) return false;
    for (uint32_t i = 1; i < count; i++) {
        if (get_at(set, i - 1, width) >= get_at(set, i, width)) return false;
    }
    return true;
}

struct intset *intset_try_from_bytes(struct mem *mem, struct bytes bytes)
{
    return intset_is_valid(bytes) ? try_from_view(mem, bytes) : NULL;
}

void intset_validate(const struct intset *set)
{
    CHECK(intset_is_valid(intset_view(set)));
}

/* ---- finding ---- */

bool intset_find(const struct intset *set, int64_t value, uint32_t *index)
{
    uint32_t width = width_of(set);
    uint64_t low = 0, high = intset_length(set); /* it stands in [low, high] */
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (get_at(set, middle, width) < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (index) *index = (uint32_t)low;
    return low < intset_length(set) && get_at(set, low, width) == value;
}

bool intset_has(const struct intset *set, int64_t value)
{
    return width_for(value) <= width_of(set) && intset_find(set, value, NULL);
}

int64_t intset_get(const struct intset *set, uint32_t index)
{
    DCHECK(index < intset_length(set));
    return get_at(set, index, width_of(set));
}

/* ---- changing ---- */

/* A block for that count and width; the old contents stay at its start. */
static bool resize(struct mem *mem, struct intset **set, uint64_t count, uint32_t width)
{
    size_t old_block = intset_allocated(*set);
    size_t block = mem_class_bytes(bytes_for(count, width));
    if (block == old_block) return true;
    if (block < old_block) {
        *set = mem_shrink(mem, *set, old_block, block);
        return true;
    }
    struct intset *moved = mem_try_realloc(mem, *set, old_block, block);
    if (!moved) return false;
    *set = moved;
    return true;
}

/* A value that needs a wider encoding is smaller, or larger, than all the others. */
static bool widen_and_add(struct mem *mem, struct intset **set, int64_t value)
{
    uint32_t count = intset_length(*set), old = width_of(*set), width = width_for(value);
    if (!resize(mem, set, (uint64_t)count + 1, width)) return false;
    unsigned shift = value < 0;
    for (uint64_t i = count; i-- > 0;) put_at(*set, i + shift, width, get_at(*set, i, old));
    put_at(*set, value < 0 ? 0 : count, width, value);
    put_u32(*set, 0, width);
    put_u32(*set, COUNT_AT, count + 1);
    return true;
}

bool intset_try_add(struct mem *mem, struct intset **set, int64_t value, bool *added)
{
    uint32_t count = intset_length(*set), width = width_of(*set), index;
    if (width_for(value) <= width && intset_find(*set, value, &index)) {
        *added = false;
        return true;
    }
    if (count == UINT32_MAX) return false;
    if (width_for(value) > width) {
        *added = widen_and_add(mem, set, value);
        return *added;
    }
    if (!resize(mem, set, (uint64_t)count + 1, width)) return false;
    memmove(place(*set, (uint64_t)index + 1, width), place(*set, index, width),
            (size_t)(count - index) * width);
    put_at(*set, index, width, value);
    put_u32(*set, COUNT_AT, count + 1);
    *added = true;
    return true;
}

bool intset_remove(struct mem *mem, struct intset **set, int64_t value)
{
    uint32_t count = intset_length(*set), width = width_of(*set), index;
    if (width_for(value) > width || !intset_find(*set, value, &index)) return false;
    memmove(place(*set, index, width), place(*set, (uint64_t)index + 1, width),
            (size_t)(count - index - 1) * width);
    CHECK(resize(mem, set, count - 1, width));
    put_u32(*set, COUNT_AT, count - 1);
    return true;
}
