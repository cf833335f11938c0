#include "shard/type/listpack.h"

#define COUNT_AT 4
#define COUNT_UNKNOWN 0xffff
#define END 0xff

/* The first bytes of a head; see the drawing. */
enum {
    HEAD_TEXT_6 = 0x80,
    HEAD_INT_13 = 0xc0,
    HEAD_TEXT_12 = 0xe0,
    HEAD_TEXT_32 = 0xf0,
    HEAD_INT_16,
    HEAD_INT_24,
    HEAD_INT_32,
    HEAD_INT_64,
};

#define TEXT_6_BYTES_MAX 63
#define TEXT_12_BYTES_MAX 4095
#define BACK_BYTES_MAX 5

/* ---- bytes ---- */

static inline const uint8_t *bytes_at(const struct listpack *lp, size_t at)
{
    return (const uint8_t *)lp + at;
}

static inline uint8_t *writable_at(struct listpack *lp, size_t at)
{
    return (uint8_t *)lp + at;
}

/* Little endian. */
static inline uint64_t get_number(const uint8_t *p, unsigned byte_count)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < byte_count; i++) n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static inline void put_number(uint8_t *p, uint64_t n, unsigned byte_count)
{
    for (unsigned i = 0; i < byte_count; i++) p[i] = (uint8_t)(n >> (8 * i));
}

static inline int64_t sign_extend(uint64_t n, unsigned bit_count)
{
    return (int64_t)(n << (64 - bit_count)) >> (64 - bit_count);
}

static inline size_t total_bytes(const struct listpack *lp)
{
    uint32_t n;
    memcpy(&n, lp, sizeof n);
    return n;
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are read as they are");

static inline uint32_t counted(const struct listpack *lp)
{
    return (uint32_t)get_number(bytes_at(lp, COUNT_AT), 2);
}

static void set_total(struct listpack *lp, size_t bytes)
{
    put_number(writable_at(lp, 0), bytes, 4);
}

/* Once unknown, it stays so: what is left is not known without a walk. */
static void change_count(struct listpack *lp, uint64_t removed, uint64_t added)
{
    uint64_t n = counted(lp);
    if (n == COUNT_UNKNOWN) return;
    n = n - removed + added;
    put_number(writable_at(lp, COUNT_AT), MIN(n, (uint64_t)COUNT_UNKNOWN), 2);
}

/* ---- decoding ---- */

/* Bytes of the back length of an element of `size` bytes. */
static inline unsigned back_bytes(size_t size)
{
    if (likely(size <= 127)) return 1;
    if (size < 16383) return 2;
    if (size < 2097151) return 3;
    return size < 268435455 ? 4 : 5;
}

static size_t decode_long(const uint8_t *p, struct listpack_value *v)
{
    if (p[0] == HEAD_TEXT_32) {
        v->size = get_number(p + 1, 4);
        v->text = (const char *)p + 5;
        return 5 + v->size;
    }
    unsigned byte_count = p[0] == HEAD_INT_64 ? 8 : p[0] - HEAD_INT_16 + 2u;
    v->integer = sign_extend(get_number(p + 1, byte_count), 8 * byte_count);
    return 1 + byte_count;
}

/* Sets `v` and returns the bytes of head and value. */
static ALWAYS_INLINE size_t decode(const uint8_t *p, struct listpack_value *v)
{
    uint8_t first = p[0];
    *v = (struct listpack_value){.text = NULL};
    if (first < HEAD_TEXT_6) {
        v->integer = first;
        return 1;
    }
    if (first < HEAD_INT_13) {
        v->text = (const char *)p + 1;
        v->size = first & 0x3f;
        return 1 + v->size;
    }
    if (first < HEAD_TEXT_12) {
        v->integer = sign_extend((uint64_t)(first & 0x1f) << 8 | p[1], 13);
        return 2;
    }
    if (first < HEAD_TEXT_32) {
        v->text = (const char *)p + 2;
        v->size = (size_t)(first & 0x0f) << 8 | p[1];
        return 2 + v->size;
    }
    return decode_long(p, v);
}

/* Bytes of head and value. */
static ALWAYS_INLINE size_t element_size(const uint8_t *p)
{
    struct listpack_value ignored;
    return decode(p, &ignored);
}

/* The same with the back length. */
static ALWAYS_INLINE size_t element_bytes(const uint8_t *p)
{
    size_t size = element_size(p);
    return size + back_bytes(size);
}

/* ---- encoding ---- */

struct coded {
    uint8_t head[9];
    uint8_t head_bytes;
    struct bytes text;
};

static inline size_t coded_size(const struct coded *c)
{
    return c->head_bytes + c->text.size;
}

static inline size_t coded_bytes(const struct coded *c)
{
    return coded_size(c) + back_bytes(coded_size(c));
}

static struct coded code_integer(int64_t n)
{
    struct coded c = {.head_bytes = 1};
    if (n >= 0 && n <= 127) {
        c.head[0] = (uint8_t)n;
        return c;
    }
    if (n >= -4096 && n <= 4095) {
        c.head[0] = (uint8_t)(HEAD_INT_13 | (n >> 8 & 0x1f));
        c.head[1] = (uint8_t)n;
        c.head_bytes = 2;
        return c;
    }
    unsigned byte_count = 8;
    c.head[0] = HEAD_INT_64;
    for (unsigned i = 2; i <= 4; i++) {
        if (sign_extend((uint64_t)n, 8 * i) != n) continue;
        byte_count = i;
        c.head[0] = (uint8_t)(HEAD_INT_16 + i - 2);
        break;
    }
    put_number(c.head + 1, (uint64_t)n, byte_count);
    c.head_bytes = (uint8_t)(1 + byte_count);
    return c;
}

static struct coded code_text(struct bytes text)
{
    struct coded c = {.text = text};
    if (text.size <= TEXT_6_BYTES_MAX) {
        c.head[0] = (uint8_t)(HEAD_TEXT_6 | text.size);
        c.head_bytes = 1;
    } else if (text.size <= TEXT_12_BYTES_MAX) {
        c.head[0] = (uint8_t)(HEAD_TEXT_12 | text.size >> 8);
        c.head[1] = (uint8_t)text.size;
        c.head_bytes = 2;
    } else {
        c.head[0] = HEAD_TEXT_32;
        put_number(c.head + 1, text.size, 4);
        c.head_bytes = 5;
    }
    return c;
}

static struct coded code(struct bytes text)
{
    int64_t n;
    if (text.size <= TEXT_I64_BYTES_MAX && text_to_i64(text, &n)) return code_integer(n);
    return code_text(text);
}

static void write_coded(uint8_t *p, const struct coded *c)
{
    memcpy(p, c->head, c->head_bytes);
    p += c->head_bytes;
    if (c->text.size) memcpy(p, c->text.data, c->text.size);
    p += c->text.size;
    size_t size = coded_size(c);
    unsigned n = back_bytes(size);
    for (unsigned i = 0; i < n; i++) {
        p[n - 1 - i] = (uint8_t)((size & 127) | (i < n - 1 ? 128 : 0));
        size >>= 7;
    }
}

/* ---- the whole ---- */

/* All of the size class is asked for, so that small changes need no other block. */
static size_t block_bytes(size_t bytes)
{
    return mem_class_bytes(bytes);
}

struct listpack *listpack_try_create(struct mem *mem)
{
    struct listpack *lp = mem_try_alloc(mem, block_bytes(LISTPACK_EMPTY_BYTES));
    if (!lp) return NULL;
    set_total(lp, LISTPACK_EMPTY_BYTES);
    put_number(writable_at(lp, COUNT_AT), 0, 2);
    *writable_at(lp, LISTPACK_HEADER_BYTES) = END;
    return lp;
}

struct listpack *listpack_try_copy(struct mem *mem, const struct listpack *lp)
{
    struct listpack *copy = mem_try_alloc(mem, block_bytes(total_bytes(lp)));
    if (copy) memcpy(copy, lp, total_bytes(lp));
    return copy;
}

void listpack_free(struct mem *mem, struct listpack *lp)
{
    if (lp) mem_free(mem, lp, block_bytes(total_bytes(lp)));
}

uint64_t listpack_length(const struct listpack *lp)
{
    uint64_t n = counted(lp);
    if (likely(n != COUNT_UNKNOWN)) return n;
    n = 0;
    for (uint32_t at = listpack_first(lp); at; at = listpack_next(lp, at)) n++;
    return n;
}

size_t listpack_bytes(const struct listpack *lp)
{
    return total_bytes(lp);
}

size_t listpack_allocated(const struct listpack *lp)
{
    return block_bytes(total_bytes(lp));
}

struct bytes listpack_view(const struct listpack *lp)
{
    return bytes_make(lp, total_bytes(lp));
}

bool listpack_has_room(const struct listpack *lp, size_t extra)
{
    return extra <= LISTPACK_BYTES_MAX - total_bytes(lp);
}

/* ---- bytes from elsewhere ---- */

/* Bytes of the head, 0 for one that does not exist. */
static unsigned head_bytes(uint8_t first)
{
    if (first < HEAD_INT_13) return 1;
    if (first < HEAD_TEXT_32) return 2;
    switch (first) {
    case HEAD_TEXT_32:
        return 5;
    case HEAD_INT_16:
    case HEAD_INT_24:
    case HEAD_INT_32:
        return first - HEAD_INT_16 + 3u;
    case HEAD_INT_64:
        return 9;
    default:
        return 0;
    }
}

/* Bytes of a whole element that lies within `room`; 0 if there is none. */
static size_t measure(const uint8_t *p, size_t room)
{
    unsigned head = room ? head_bytes(p[0]) : 0;
    if (head == 0 || head > room) return 0;
    size_t size = element_size(p);
    if (size > room || back_bytes(size) > room - size) return 0;
    unsigned n = back_bytes(size);
    for (unsigned i = 0; i < n; i++) {
        uint8_t expected = (uint8_t)((size >> 7 * i & 127) | (i < n - 1 ? 128 : 0));
        if (p[size + n - 1 - i] != expected) return 0;
    }
    return size + n;
}

bool listpack_is_valid(struct bytes bytes, uint64_t *count)
{
    if (bytes.size < LISTPACK_EMPTY_BYTES || bytes.size > LISTPACK_BYTES_MAX) return false;
    const uint8_t *p = (const uint8_t *)bytes.data;
    size_t end = bytes.size - 1;
    if (get_number(p, 4) != bytes.size || p[end] != END) return false;
    uint64_t n = 0;
    for (size_t at = LISTPACK_HEADER_BYTES; at < end; n++) {
        size_t size = measure(p + at, end - at);
        if (size == 0) return false;
        at += size;
    }
    uint64_t claimed = get_number(p + COUNT_AT, 2);
    if (claimed != COUNT_UNKNOWN && claimed != n) return false;
    if (count) *count = n;
    return true;
}

struct listpack *listpack_try_from_bytes(struct mem *mem, struct bytes bytes)
{
    if (!listpack_is_valid(bytes, NULL)) return NULL;
    struct listpack *lp = mem_try_alloc(mem, block_bytes(bytes.size));
    if (lp) memcpy(lp, bytes.data, bytes.size);
    return lp;
}

void listpack_validate(const struct listpack *lp)
{
    uint64_t count = 0, backwards = 0;
    CHECK(listpack_is_valid(listpack_view(lp), &count));
    for (uint32_t at = listpack_last(lp); at; at = listpack_prev(lp, at)) backwards++;
    CHECK(count == backwards);
}

/* ---- walking ---- */

uint32_t listpack_first(const struct listpack *lp)
{
    return *bytes_at(lp, LISTPACK_HEADER_BYTES) == END ? 0 : LISTPACK_HEADER_BYTES;
}

/* The element that ends before `at`. */
static uint32_t before(const struct listpack *lp, uint32_t at)
{
    if (at == LISTPACK_HEADER_BYTES) return 0;
    const uint8_t *p = bytes_at(lp, at - 1);
    size_t size = *p & 127;
    unsigned n = 1;
    while (*p & 128) {
        p--;
        size |= (size_t)(*p & 127) << 7 * n++;
    }
    return (uint32_t)(at - n - size);
}

uint32_t listpack_last(const struct listpack *lp)
{
    return before(lp, (uint32_t)total_bytes(lp) - 1);
}

uint32_t listpack_next(const struct listpack *lp, uint32_t at)
{
    size_t next = at + element_bytes(bytes_at(lp, at));
    return *bytes_at(lp, next) == END ? 0 : (uint32_t)next;
}

uint32_t listpack_prev(const struct listpack *lp, uint32_t at)
{
    return before(lp, at);
}

uint32_t listpack_seek(const struct listpack *lp, int64_t index)
{
    uint32_t count = counted(lp);
    if (likely(count != COUNT_UNKNOWN)) {
        if (index >= count || index < -(int64_t)count) return 0;
        if (index < 0 && index < -(int64_t)count / 2) index += count;
        if (index > count / 2) index -= count;
    }
    uint32_t at;
    if (index < 0) {
        for (at = listpack_last(lp); at && ++index < 0;) at = before(lp, at);
    } else {
        for (at = listpack_first(lp); at && index-- > 0;) at = listpack_next(lp, at);
    }
    return at;
}

/* ---- reading ---- */

void listpack_get(const struct listpack *lp, uint32_t at, struct listpack_value *out)
{
    decode(bytes_at(lp, at), out);
}

struct bytes listpack_text(const struct listpack *lp, uint32_t at, char *scratch)
{
    struct listpack_value v;
    decode(bytes_at(lp, at), &v);
    if (v.text) return bytes_make(v.text, v.size);
    return bytes_make(scratch, text_from_i64(scratch, v.integer));
}

bool listpack_integer(const struct listpack *lp, uint32_t at, int64_t *out)
{
    struct listpack_value v;
    decode(bytes_at(lp, at), &v);
    if (v.text) return v.size <= TEXT_I64_BYTES_MAX && text_to_i64(bytes_make(v.text, v.size), out);
    *out = v.integer;
    return true;
}

struct listpack_wanted listpack_wanted_make(struct bytes text)
{
    struct listpack_wanted w = {.text = text};
    w.is_integer = text.size <= TEXT_I64_BYTES_MAX && text_to_i64(text, &w.integer);
    return w;
}

bool listpack_equals(const struct listpack *lp, uint32_t at, struct bytes text)
{
    struct listpack_value v;
    struct listpack_wanted w = listpack_wanted_make(text);
    decode(bytes_at(lp, at), &v);
    return listpack_value_is(&v, &w);
}

uint32_t listpack_find(const struct listpack *lp, uint32_t at, struct bytes text, unsigned skip)
{
    if (at == 0) return 0;
    struct listpack_wanted w = listpack_wanted_make(text);
    const uint8_t *p = bytes_at(lp, at);
    while (*p != END) {
        struct listpack_value v;
        size_t size = decode(p, &v);
        if (listpack_value_is(&v, &w)) return (uint32_t)(p - (const uint8_t *)lp);
        p += size + back_bytes(size);
        for (unsigned i = 0; i < skip && *p != END; i++) p += element_bytes(p);
    }
    return 0;
}

/* ---- changing ---- */

/* Puts a gap of new_bytes at `at`, in place of old_bytes; the block may move. */
static bool splice(struct mem *mem, struct listpack **lp, size_t at, size_t old_bytes,
                   size_t new_bytes)
{
    size_t total = total_bytes(*lp);
    if (new_bytes > old_bytes && !listpack_has_room(*lp, new_bytes - old_bytes)) return false;
    size_t new_total = total - old_bytes + new_bytes;
    size_t block = block_bytes(total), new_block = block_bytes(new_total);
    struct listpack *moved = *lp;
    if (new_block > block) {
        moved = mem_try_realloc(mem, *lp, block, new_block);
        if (!moved) return false;
    }
    if (new_bytes != old_bytes) {
        memmove(writable_at(moved, at + new_bytes), bytes_at(moved, at + old_bytes),
                total - at - old_bytes);
    }
    if (new_block < block) moved = mem_shrink(mem, moved, block, new_block);
    set_total(moved, new_total);
    *lp = moved;
    return true;
}

static uint32_t end_of(const struct listpack *lp)
{
    return (uint32_t)total_bytes(lp) - 1;
}

static bool insert_coded(struct mem *mem, struct listpack **lp, uint32_t at, const struct coded *c)
{
    if (at == 0) at = end_of(*lp);
    if (c->text.size > LISTPACK_BYTES_MAX) return false;
    if (!splice(mem, lp, at, 0, coded_bytes(c))) return false;
    write_coded(writable_at(*lp, at), c);
    change_count(*lp, 0, 1);
    return true;
}

static bool replace_coded(struct mem *mem, struct listpack **lp, uint32_t at, const struct coded *c)
{
    if (c->text.size > LISTPACK_BYTES_MAX) return false;
    if (!splice(mem, lp, at, element_bytes(bytes_at(*lp, at)), coded_bytes(c))) return false;
    write_coded(writable_at(*lp, at), c);
    return true;
}

bool listpack_try_append(struct mem *mem, struct listpack **lp, struct bytes value)
{
    struct coded c = code(value);
    return insert_coded(mem, lp, 0, &c);
}

bool listpack_try_prepend(struct mem *mem, struct listpack **lp, struct bytes value)
{
    struct coded c = code(value);
    return insert_coded(mem, lp, LISTPACK_HEADER_BYTES, &c);
}

bool listpack_try_append_integer(struct mem *mem, struct listpack **lp, int64_t value)
{
    struct coded c = code_integer(value);
    return insert_coded(mem, lp, 0, &c);
}

bool listpack_try_insert(struct mem *mem, struct listpack **lp, uint32_t at, struct bytes value)
{
    struct coded c = code(value);
    return insert_coded(mem, lp, at, &c);
}

bool listpack_try_insert_integer(struct mem *mem, struct listpack **lp, uint32_t at, int64_t value)
{
    struct coded c = code_integer(value);
    return insert_coded(mem, lp, at, &c);
}

bool listpack_try_insert_after(struct mem *mem, struct listpack **lp, uint32_t at,
                               struct bytes value)
{
    return listpack_try_insert(mem, lp, listpack_next(*lp, at), value);
}

bool listpack_try_replace(struct mem *mem, struct listpack **lp, uint32_t at, struct bytes value)
{
    struct coded c = code(value);
    return replace_coded(mem, lp, at, &c);
}

bool listpack_try_replace_integer(struct mem *mem, struct listpack **lp, uint32_t at, int64_t value)
{
    struct coded c = code_integer(value);
    return replace_coded(mem, lp, at, &c);
}

uint32_t listpack_delete(struct mem *mem, struct listpack **lp, uint32_t at, uint64_t count)
{
    size_t end = at;
    uint64_t removed = 0;
    for (; removed < count && *bytes_at(*lp, end) != END; removed++) {
        end += element_bytes(bytes_at(*lp, end));
    }
    CHECK(splice(mem, lp, at, end - at, 0));
    change_count(*lp, removed, 0);
    return *bytes_at(*lp, at) == END ? 0 : at;
}

void listpack_delete_range(struct mem *mem, struct listpack **lp, int64_t index, uint64_t count)
{
    uint32_t at = listpack_seek(*lp, index);
    if (at && count) listpack_delete(mem, lp, at, count);
}

bool listpack_try_merge(struct mem *mem, struct listpack **lp, const struct listpack *other)
{
    size_t extra = total_bytes(other) - LISTPACK_EMPTY_BYTES;
    size_t at = end_of(*lp);
    bool is_counted = counted(other) != COUNT_UNKNOWN;
    if (!splice(mem, lp, at, 0, extra)) return false;
    memcpy(writable_at(*lp, at), bytes_at(other, LISTPACK_HEADER_BYTES), extra);
    change_count(*lp, 0, is_counted ? counted(other) : COUNT_UNKNOWN);
    return true;
}

struct listpack *listpack_try_split(struct mem *mem, struct listpack **lp, uint32_t at)
{
    size_t tail = end_of(*lp) - at;
    struct listpack *other = mem_try_alloc(mem, block_bytes(LISTPACK_EMPTY_BYTES + tail));
    if (!other) return NULL;
    set_total(other, LISTPACK_EMPTY_BYTES + tail);
    memcpy(writable_at(other, LISTPACK_HEADER_BYTES), bytes_at(*lp, at), tail);
    *writable_at(other, LISTPACK_HEADER_BYTES + tail) = END;
    put_number(writable_at(other, COUNT_AT), COUNT_UNKNOWN, 2);
    uint64_t moved = listpack_length(other);
    put_number(writable_at(other, COUNT_AT), MIN(moved, (uint64_t)COUNT_UNKNOWN), 2);
    CHECK(splice(mem, lp, at, tail, 0));
    change_count(*lp, moved, 0);
    return other;
}

/* ---- a listpack with a gap in front ---- */

/* Of what the elements take: a gap beyond it is given back. */
#define GAP_SHARE_MAX 4
#define GAP_SPARED_BYTES 64 /* is never too much */

/* What a gap takes of bytes that are free. */
static uint32_t gap_size(size_t free_bytes)
{
    return (uint32_t)MIN(free_bytes, (size_t)LISTPACK_GAP_BYTES_MAX);
}

size_t listpack_gap_allocated(const struct listpack *lp, uint32_t gap)
{
    return block_bytes(gap + total_bytes(lp));
}

void listpack_gap_free(struct mem *mem, struct listpack *lp, uint32_t gap)
{
    if (lp) mem_free(mem, writable_at(lp, 0) - gap, listpack_gap_allocated(lp, gap));
}

/* Puts the listpack behind `new_gap` bytes in a block of that size, which may be the old one. */
static bool gap_move(struct mem *mem, struct listpack **lp, uint32_t *gap, size_t new_block,
                     uint32_t new_gap)
{
    size_t block = listpack_gap_allocated(*lp, *gap);
    uint8_t *start = writable_at(*lp, 0) - *gap, *moved = start;
    if (new_block != block) {
        moved = mem_try_alloc(mem, new_block);
        if (!moved) return false;
    }
    memmove(moved + new_gap, *lp, total_bytes(*lp));
    if (moved != start) mem_free(mem, start, block);
    *lp = (struct listpack *)(moved + new_gap);
    *gap = new_gap;
    return true;
}

/* `block`: what it takes until now. */
static void close_gap(struct mem *mem, struct listpack **lp, uint32_t *gap, size_t block)
{
    size_t new_block = listpack_allocated(*lp);
    uint8_t *start = writable_at(*lp, 0) - *gap;
    memmove(start, *lp, total_bytes(*lp));
    if (new_block < block) start = mem_shrink(mem, start, block, new_block);
    *lp = (struct listpack *)start;
    *gap = 0;
}

void listpack_gap_close(struct mem *mem, struct listpack **lp, uint32_t *gap)
{
    if (*gap > 0) close_gap(mem, lp, gap, listpack_gap_allocated(*lp, *gap));
}

bool listpack_gap_try_prepend(struct mem *mem, struct listpack **lp, uint32_t *gap,
                              struct bytes value)
{
    struct coded c = code(value);
    size_t total = total_bytes(*lp), extra = coded_bytes(&c);
    if (value.size > LISTPACK_BYTES_MAX || !listpack_has_room(*lp, extra)) return false;
    if (extra > *gap) {
        /* All that the next block has beyond the elements is for those that come at this end. */
        size_t block = block_bytes(total + extra);
        size_t spare = gap_size(block - total - extra);
        if (!gap_move(mem, lp, gap, block, (uint32_t)(extra + spare))) return false;
    }
    uint8_t header[LISTPACK_HEADER_BYTES];
    memcpy(header, *lp, sizeof header);
    *lp = (struct listpack *)(writable_at(*lp, 0) - extra);
    *gap -= (uint32_t)extra;
    memcpy(*lp, header, sizeof header);
    write_coded(writable_at(*lp, LISTPACK_HEADER_BYTES), &c);
    set_total(*lp, total + extra);
    change_count(*lp, 0, 1);
    return true;
}

bool listpack_gap_try_append(struct mem *mem, struct listpack **lp, uint32_t *gap,
                             struct bytes value)
{
    struct coded c = code(value);
    if (*gap == 0) return insert_coded(mem, lp, 0, &c);
    size_t total = total_bytes(*lp), extra = coded_bytes(&c);
    if (value.size > LISTPACK_BYTES_MAX || !listpack_has_room(*lp, extra)) return false;
    if (block_bytes(*gap + total + extra) != listpack_gap_allocated(*lp, *gap)) {
        /* What is free is shared, so that elements that come at both ends in turn do not move it
         * to and fro. */
        size_t block = block_bytes(total + extra), half = (block - total - extra) / 2;
        if (!gap_move(mem, lp, gap, block, gap_size(half))) return false;
    }
    size_t at = end_of(*lp);
    *writable_at(*lp, at + extra) = END;
    write_coded(writable_at(*lp, at), &c);
    set_total(*lp, total + extra);
    change_count(*lp, 0, 1);
    return true;
}

/* The same block or a smaller one, after the elements have become fewer. */
static void gap_settle(struct mem *mem, struct listpack **lp, uint32_t *gap, size_t old_block)
{
    if (*gap > gap_size(GAP_SPARED_BYTES + total_bytes(*lp) / GAP_SHARE_MAX)) {
        close_gap(mem, lp, gap, old_block);
        return;
    }
    size_t block = listpack_gap_allocated(*lp, *gap);
    if (block == old_block) return;
    uint8_t *start = mem_shrink(mem, writable_at(*lp, 0) - *gap, old_block, block);
    *lp = (struct listpack *)(start + *gap);
}

uint32_t listpack_gap_delete(struct mem *mem, struct listpack **lp, uint32_t *gap, uint32_t at,
                             uint64_t count)
{
    size_t end = at, total = total_bytes(*lp), block = listpack_gap_allocated(*lp, *gap);
    uint64_t removed = 0;
    for (; removed < count && *bytes_at(*lp, end) != END; removed++) {
        end += element_bytes(bytes_at(*lp, end));
    }
    size_t bytes = end - at;
    if (at == LISTPACK_HEADER_BYTES) {
        memmove(writable_at(*lp, bytes), *lp, LISTPACK_HEADER_BYTES);
        *lp = (struct listpack *)writable_at(*lp, bytes);
        *gap += (uint32_t)bytes;
    } else {
        memmove(writable_at(*lp, at), bytes_at(*lp, end), total - end);
    }
    set_total(*lp, total - bytes);
    change_count(*lp, removed, 0);
    bool is_end = *bytes_at(*lp, at) == END;
    gap_settle(mem, lp, gap, block);
    return is_end ? 0 : at;
}
