/* sha_block.h: what SHA-1 and SHA-256 share: a text as blocks, and words of big-endian bytes.
 *
 * Thread     any; pure functions.
 * Source     FIPS 180-4, 5.1.1 and 5.2.1.
 */
#pragma once

#include "base/bytes.h"

#define SHA_BLOCK_BYTES 64
#define SHA_LENGTH_BYTES 8

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are swapped");

static inline uint32_t sha_word_read(const uint8_t *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return __builtin_bswap32(word);
}

static inline void sha_word_write(uint8_t *to, uint32_t word)
{
    word = __builtin_bswap32(word);
    memcpy(to, &word, sizeof word);
}

/* Adds the whole text: its blocks, then the rest, a one bit, zeros, and the count of bits at the
 * end of a block. */
static inline void sha_text(struct bytes text, uint32_t *state,
                            void (*add_block)(uint32_t *state, const uint8_t *block))
{
    const uint8_t *p = (const uint8_t *)text.data;
    size_t left = text.size;
    for (; left >= SHA_BLOCK_BYTES; left -= SHA_BLOCK_BYTES, p += SHA_BLOCK_BYTES)
        add_block(state, p);
    uint8_t tail[2 * SHA_BLOCK_BYTES] = {0};
    if (left) memcpy(tail, p, left);
    tail[left] = 0x80;
    bool is_long = left + 1 + SHA_LENGTH_BYTES > SHA_BLOCK_BYTES;
    size_t tail_bytes = is_long ? 2 * SHA_BLOCK_BYTES : SHA_BLOCK_BYTES;
    uint64_t bits = __builtin_bswap64((uint64_t)text.size * 8);
    memcpy(tail + tail_bytes - SHA_LENGTH_BYTES, &bits, SHA_LENGTH_BYTES);
    for (size_t at = 0; at < tail_bytes; at += SHA_BLOCK_BYTES) add_block(state, tail + at);
}
