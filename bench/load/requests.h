/* requests.h: what the load generator sends, made before the clock starts: blocks of whole requests
 * in one piece of memory, so that a pipeline is one send of bytes that nobody touches again.
 *
 *     template  "SET {key} {value}"
 *     memory    │ request … request │ request … request │ …       a block: one pipeline
 *
 * Thread     Made by the main thread; read by all.
 * Limits     REQUESTS_BYTES_MAX of memory, at least one block per connection; as much as it
 *            takes to fill.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUESTS_BYTES_MAX (32u << 20)
#define REQUEST_WORDS_MAX 64

struct request_form {
    /* Words; {key} and {member} become 12 digits, {number} some digits, {value} bytes. */
    const char *text;
    uint64_t key_count, member_count;
    unsigned value_bytes;
    unsigned pipeline;
    unsigned connections;
    uint64_t seed;
    bool fills; /* each pair of {key} and {member} once, in order; else they are random */
};

struct requests {
    char *bytes;
    size_t *starts; /* block_count + 1 */
    uint32_t block_count;
};

/* How many requests fill: one for each key, or for each member of each key. */
uint64_t requests_to_fill(const struct request_form *form);
/* NULL, or what is wrong with the template. */
const char *requests_make(struct requests *r, const struct request_form *form);
void requests_free(struct requests *r);

static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL;
}
