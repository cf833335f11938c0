/* bytes.h: views of bytes, a growable buffer, and the keyed hash of keys.
 *
 * Ownership  struct bytes never owns; it is valid as long as what it points into. struct buf owns
 *            its storage and names the memory owner that it came from.
 * Source     XXH3 (xxhash) with a secret random seed is the key hash.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"

struct mem;

struct bytes {
    const char *data;
    size_t size;
};

#define BYTES_LITERAL(text) ((struct bytes){(text), sizeof(text) - 1})

static inline struct bytes bytes_make(const void *data, size_t size)
{
    return (struct bytes){(const char *)data, size};
}

static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ASCII case is ignored; `text` is NUL-terminated. */
bool bytes_equal_nocase(struct bytes a, const char *text);

/* memcmp order, shorter first on a tie. */
int bytes_compare(struct bytes a, struct bytes b);

/* 64-bit keyed hash. The same (seed, bytes) gives the same value on every thread. */
uint64_t bytes_hash(struct bytes key, uint64_t seed);

/* The part of a key that decides its shard: what stands between the first '{' and the next '}', if
 * not empty; else the whole key. */
struct bytes bytes_hash_tag(struct bytes key);
/* The shard of a key whose bytes_hash is `hash`. The low 16 bits choose it: a shard's table places
 * keys by the high ones. */
static inline uint16_t bytes_shard(struct bytes key, uint64_t hash, uint64_t seed,
                                   uint16_t shard_count)
{
    if (shard_count == 1) return 0;
    struct bytes tag = bytes_hash_tag(key);
    uint64_t placing = tag.size == key.size ? hash : bytes_hash(tag, seed);
    return (uint16_t)(((placing & 0xffff) * shard_count) >> 16);
}

/* A growable buffer. {.mem = m} is a valid empty one. */
struct buf {
    char *data;
    size_t size;
    size_t capacity;
    struct mem *mem;
};

/* Room for `extra` more bytes, NULL when there is no memory (the buffer is then unchanged). Growth
 * doubles. */
MUST_USE char *buf_try_reserve(struct buf *b, size_t extra);
/* The same, but aborts on failure: for small sizes that no client chooses. */
char *buf_reserve(struct buf *b, size_t extra);
void buf_append(struct buf *b, const void *data, size_t size);
void buf_append_text(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3) NOT_NULL(2);
/* Frees the storage; the buffer is empty and usable again. */
void buf_clear(struct buf *b);

static inline struct bytes buf_view(const struct buf *b)
{
    return (struct bytes){b->data, b->size};
}
