/* bytes.c: comparing and hashing views of bytes, and the growable buffer. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

/* The whole of XXH3 is compiled into this file, so nothing is linked and keys of up to 16 bytes,
 * which is most keys, are hashed by straight-line code. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wcast-align"
#define XXH_INLINE_ALL
#include <xxhash.h>
#pragma GCC diagnostic pop

#define BUF_BYTES_MIN 64

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool bytes_equal_nocase(struct bytes a, const char *text)
{
    for (size_t i = 0; i < a.size; i++) {
        /* A NUL in `a` must not match the end of `text`. */
        if (text[i] == '\0' || ascii_lower(a.data[i]) != ascii_lower(text[i])) return false;
    }
    return text[a.size] == '\0';
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = MIN(a.size, b.size);
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order) return order;
    return (a.size > b.size) - (a.size < b.size);
}

uint64_t bytes_hash(struct bytes key, uint64_t seed)
{
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}

struct bytes bytes_hash_tag(struct bytes key)
{
    const char *open = key.size ? memchr(key.data, '{', key.size) : NULL;
    if (!open) return key;
    const char *tag = open + 1;
    size_t rest = (size_t)(key.data + key.size - tag);
    const char *close = rest ? memchr(tag, '}', rest) : NULL;
    if (!close || close == tag) return key;
    return bytes_make(tag, (size_t)(close - tag));
}

static MUST_USE bool buf_try_grow(struct buf *b, size_t needed)
{
    size_t capacity = MAX(b->capacity, (size_t)BUF_BYTES_MIN);
    while (capacity < needed) {
        if (__builtin_mul_overflow(capacity, 2, &capacity)) return false;
    }
    char *data = b->data ? mem_try_realloc(b->mem, b->data, b->capacity, capacity)
                         : mem_try_alloc(b->mem, capacity);
    if (!data) return false;
    b->data = data;
    b->capacity = capacity;
    return true;
}

char *buf_try_reserve(struct buf *b, size_t extra)
{
    size_t needed;
    if (__builtin_add_overflow(b->size, extra, &needed)) return NULL;
    if ((needed > b->capacity || !b->data) && !buf_try_grow(b, needed)) return NULL;
    return b->data + b->size;
}

char *buf_reserve(struct buf *b, size_t extra)
{
    char *room = buf_try_reserve(b, extra);
    if (likely(room)) return room;
    mem_insist(b->mem, true);
    room = buf_try_reserve(b, extra);
    mem_insist(b->mem, false);
    CHECK(room);
    return room;
}

void buf_append(struct buf *b, const void *data, size_t size)
{
    if (size == 0) return;
    memcpy(buf_reserve(b, size), data, size);
    b->size += size;
}

void buf_append_text(struct buf *b, const char *text)
{
    buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    CHECK(size >= 0);
    char *room = buf_reserve(b, (size_t)size + 1);
    vsnprintf(room, (size_t)size + 1, format, again);
    b->size += (size_t)size;
    va_end(again);
    va_end(args);
}

void buf_clear(struct buf *b)
{
    mem_free(b->mem, b->data, b->capacity);
    b->data = NULL;
    b->size = b->capacity = 0;
}
