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
    uint16_t n;
    memcpy(&n, bytes_at(lp, COUNT_AT), sizeof n);
    return n;
}

static inline void set_total(struct listpack *lp, size_t bytes)
{
    uint32_t n = (uint32_t)bytes;
    memcpy(lp, &n, sizeof n);
}

/* Once unknown, it stays so: what is left is not known without a walk. */
static void change_count(struct listpack *lp, uint64_t removed, uint64_t added)
{
    uint64_t n = counted(lp);
    if (n == COUNT_UNKNOWN) return;
    n = n - removed + added;
    uint16_t word = (uint16_t)MIN(n, (uint64_t)COUNT_UNKNOWN);
    memcpy(writable_at(lp, COUNT_AT), &word, sizeof word);
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

/* Written where it stays: copies of what was written byte by byte would wait for the stores. */
static ALWAYS_INLINE void code_text(struct bytes text, struct coded *c)
{
    c->text = text;
    if (text.size <= TEXT_6_BYTES_MAX) {
        c->head[0] = (uint8_t)(HEAD_TEXT_6 | text.size);
        c->head_bytes = 1;
    } else if (text.size <= TEXT_12_BYTES_MAX) {
        c->head[0] = (uint8_t)(HEAD_TEXT_12 | text.size >> 8);
        c->head[1] = (uint8_t)text.size;
        c->head_bytes = 2;
    } else {
        c->head[0] = HEAD_TEXT_32;
        put_number(c->head + 1, text.size, 4);
        c->head_bytes = 5;
    }
}

static ALWAYS_INLINE void code(struct bytes text, struct coded *c)
{
    int64_t n;
    if (text.size <= TEXT_I64_BYTES_MAX && text_to_i64(text, &n)) {
        *c = code_integer(n);
    } else {
        code_text(text, c);
    }
}

/* Texts of 16 to 32 bytes, the most common ones, need no call. */
static ALWAYS_INLINE void put_text(uint8_t *p, struct bytes text)
{
    if (text.size - 16 <= 16) {
        uint64_t words[4];
        memcpy(words, text.data, 16);
        memcpy(words + 2, text.data + text.size - 16, 16);
        memcpy(p, words, 16);
        memcpy(p + text.size - 16, words + 2, 16);
    } else if (text.size) {
        memcpy(p, text.data, text.size);
    }
}

static ALWAYS_INLINE void write_coded(uint8_t *p, const struct coded *c)
{
    if (likely(c->head_bytes == 1)) {
        *p = c->head[0];
    } else {
        memcpy(p, c->head, c->head_bytes);
    }
    p += c->head_bytes;
    put_text(p, c->text);
    p += c->text.size;
    size_t size = coded_size(c);
    unsigned n = back_bytes(size);
    if (likely(n == 1)) {
        *p = (uint8_t)size;
        return;
    }
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

static void make_empty(struct listpack *lp)
{
    set_total(lp, LISTPACK_EMPTY_BYTES);
    put_number(writable_at(lp, COUNT_AT), 0, 2);
    *writable_at(lp, LISTPACK_HEADER_BYTES) = END;
}

struct listpack *listpack_try_create(struct mem *mem)
{
    struct listpack *lp = mem_try_alloc(mem, block_bytes(LISTPACK_EMPTY_BYTES));
    if (lp) make_empty(lp);
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
    struct coded c;
    code(value, &c);
    return insert_coded(mem, lp, 0, &c);
}

bool listpack_try_prepend(struct mem *mem, struct listpack **lp, struct bytes value)
{
    struct coded c;
    code(value, &c);
    return insert_coded(mem, lp, LISTPACK_HEADER_BYTES, &c);
}

bool listpack_try_append_integer(struct mem *mem, struct listpack **lp, int64_t value)
{
    struct coded c = code_integer(value);
    return insert_coded(mem, lp, 0, &c);
}

bool listpack_try_insert(struct mem *mem, struct listpack **lp, uint32_t at, struct bytes value)
{
    struct coded c;
    code(value, &c);
    return insert_coded(mem, lp, at, &c);
}

bool listpack_try_insert_after(struct mem *mem, struct listpack **lp, uint32_t at,
                               struct bytes value)
{
    return listpack_try_insert(mem, lp, listpack_next(*lp, at), value);
}

bool listpack_try_replace(struct mem *mem, struct listpack **lp, uint32_t at, struct bytes value)
{
    struct coded c;
    code(value, &c);
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

/* ---- a listpack with room at both ends ---- */

#define GROWTH_BYTES_MAX 65536 /* at a time */
#define SPARED_BYTES 64        /* are never too much room */

struct listpack_block listpack_block_of(struct listpack *lp)
{
    return (struct listpack_block){.lp = lp, .bytes = (uint32_t)listpack_allocated(lp)};
}

bool listpack_block_try_create(struct mem *mem, size_t bytes, bool at_head,
                               struct listpack_block *out)
{
    bytes = block_bytes(MAX(bytes, (size_t)LISTPACK_EMPTY_BYTES));
    uint8_t *start = mem_try_alloc(mem, bytes);
    if (!start) return false;
    size_t gap = at_head ? MIN(bytes - LISTPACK_EMPTY_BYTES, (size_t)LISTPACK_GAP_BYTES_MAX) : 0;
    *out =
        (struct listpack_block){(struct listpack *)(start + gap), (uint32_t)gap, (uint32_t)bytes};
    make_empty(out->lp);
    return true;
}

static uint8_t *block_start(const struct listpack_block *b)
{
    return writable_at(b->lp, 0) - b->gap;
}

void listpack_block_free(struct mem *mem, struct listpack_block *b)
{
    if (b->lp) mem_free(mem, block_start(b), b->bytes);
}

struct listpack *listpack_block_fit(struct mem *mem, struct listpack_block *b)
{
    uint8_t *start = block_start(b);
    size_t bytes = listpack_allocated(b->lp);
    if (b->gap > 0) memmove(start, b->lp, total_bytes(b->lp));
    if (bytes < b->bytes) start = mem_shrink(mem, start, b->bytes, bytes);
    *b = (struct listpack_block){.lp = (struct listpack *)start, .bytes = (uint32_t)bytes};
    return b->lp;
}

/* Puts the listpack into a block of that size, which may be the old one. What is free beyond
 * `extra` goes to the end where that is wanted, but if there was room at the other one, too, they
 * share it: elements that come at both ends in turn would move it to and fro. */
static bool block_move(struct mem *mem, struct listpack_block *b, size_t new_bytes, size_t extra,
                       bool at_head)
{
    size_t total = total_bytes(b->lp), spare = new_bytes - total - extra;
    bool is_shared = at_head ? b->bytes > b->gap + total : b->gap > 0;
    size_t gap = at_head ? extra + (is_shared ? spare / 2 : spare) : is_shared ? spare / 2 : 0;
    gap = MIN(gap, (size_t)LISTPACK_GAP_BYTES_MAX);
    uint8_t *start = block_start(b), *moved = start;
    if (new_bytes != b->bytes) {
        moved = mem_try_alloc(mem, new_bytes);
        if (!moved) return false;
    }
    memmove(moved + gap, b->lp, total);
    if (moved != start) mem_free(mem, start, b->bytes);
    *b = (struct listpack_block){(struct listpack *)(moved + gap), (uint32_t)gap,
                                 (uint32_t)new_bytes};
    return true;
}

static bool block_make_room(struct mem *mem, struct listpack_block *b, size_t extra, bool at_head,
                            size_t bytes_max)
{
    size_t total = total_bytes(b->lp), unused = b->bytes - total;
    if (extra > LISTPACK_GAP_BYTES_MAX || !listpack_has_room(b->lp, extra)) return false;
    /* It moves where it is only if the next moves are far. */
    size_t new_bytes = b->bytes;
    if (unused < extra || unused - extra < total / 4) {
        size_t grown = total + extra + MIN(total, (size_t)GROWTH_BYTES_MAX);
        new_bytes = block_bytes(MAX(MIN(grown, bytes_max), total + extra));
    }
    return block_move(mem, b, new_bytes, extra, at_head);
}

/* The header as it is once an element of `extra` bytes has come. */
static ALWAYS_INLINE void put_header(struct listpack *lp, size_t total, uint32_t count)
{
    uint32_t total_word = (uint32_t)total;
    uint16_t count_word = (uint16_t)count;
    memcpy(lp, &total_word, sizeof total_word);
    memcpy(writable_at(lp, COUNT_AT), &count_word, sizeof count_word);
}

static ALWAYS_INLINE uint32_t count_with_one_more(const struct listpack *lp)
{
    uint32_t count = counted(lp);
    return count + (count != COUNT_UNKNOWN);
}

bool listpack_block_try_prepend(struct mem *mem, struct listpack_block *b, struct bytes value,
                                size_t bytes_max)
{
    struct coded c;
    code(value, &c);
    size_t extra = coded_bytes(&c);
    if (unlikely(extra > b->gap) && !block_make_room(mem, b, extra, true, bytes_max)) return false;
    size_t total = total_bytes(b->lp) + extra;
    if (unlikely(total > LISTPACK_BYTES_MAX)) return false;
    uint32_t count = count_with_one_more(b->lp);
    b->lp = (struct listpack *)(writable_at(b->lp, 0) - extra);
    b->gap -= (uint32_t)extra;
    put_header(b->lp, total, count);
    write_coded(writable_at(b->lp, LISTPACK_HEADER_BYTES), &c);
    return true;
}

bool listpack_block_try_append(struct mem *mem, struct listpack_block *b, struct bytes value,
                               size_t bytes_max)
{
    struct coded c;
    code(value, &c);
    size_t extra = coded_bytes(&c);
    if (extra > b->bytes - b->gap - total_bytes(b->lp) &&
        !block_make_room(mem, b, extra, false, bytes_max))
        return false;
    size_t total = total_bytes(b->lp) + extra;
    if (unlikely(total > LISTPACK_BYTES_MAX)) return false;
    write_coded(writable_at(b->lp, end_of(b->lp)), &c);
    *writable_at(b->lp, total - 1) = END;
    put_header(b->lp, total, count_with_one_more(b->lp));
    return true;
}

uint32_t listpack_block_delete(struct mem *mem, struct listpack_block *b, uint32_t at,
                               uint64_t count)
{
    size_t end = at, total = total_bytes(b->lp);
    uint64_t removed = 0;
    for (; removed < count && *bytes_at(b->lp, end) != END; removed++) {
        end += element_bytes(bytes_at(b->lp, end));
    }
    size_t bytes = end - at;
    bool is_tail = *bytes_at(b->lp, end) == END;
    if (is_tail) {
        *writable_at(b->lp, at) = END;
    } else if (at == LISTPACK_HEADER_BYTES) {
        uint32_t elements = counted(b->lp);
        b->lp = (struct listpack *)writable_at(b->lp, bytes);
        b->gap += (uint32_t)bytes;
        put_header(b->lp, total, elements);
    } else {
        memmove(writable_at(b->lp, at), bytes_at(b->lp, end), total - end);
    }
    set_total(b->lp, total - bytes);
    change_count(b->lp, removed, 0);
    if (unlikely(3 * (total - bytes) + SPARED_BYTES < b->bytes || b->gap > LISTPACK_GAP_BYTES_MAX))
        listpack_block_fit(mem, b);
    return is_tail ? 0 : at;
}
