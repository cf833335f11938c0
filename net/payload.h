/* payload.h: arguments that outlive the piece that they arrived in: gathered bytes, long argument
 * arrays, a copied piece.
 *
 * Thread     [net]; a shard only reads what `argv` points to.
 * Ownership  Counted; freed with the last count.
 * Errors     payload_try_create returns NULL when there is no memory: a client chose the size.
 */
#pragma once

#include "base/bytes.h"
#include "base/env.h"
#include "base/mem.h"

struct payload {
    uint32_t refs;
    uint32_t argc;
    struct mem *mem;
    struct bytes *argv;        /* NULL if the array lives elsewhere */
    struct buf bytes;          /* may be empty */
    struct env_buffer *buffer; /* counted once for all; or NULL */
};

MUST_USE struct payload *payload_try_create(struct mem *mem, uint32_t argc);
void payload_release(struct payload *p);
static inline void payload_unref(struct payload *p)
{
    if (--p->refs == 0) payload_release(p);
}

/* A receive buffer of our own, for bytes that would pin one of the kernel's too long. Same counts.
 * NULL: no memory. */
MUST_USE struct env_buffer *input_try_copy(struct mem *mem, const char *data, size_t size);
void input_release(struct env_buffer *b);
/* One count less, whoever the buffer belongs to. */
static inline void input_unref(struct env_buffer *b)
{
    if (--b->refs == 0) input_release(b);
}
