/* feed.h: a stream of bytes from one thread to another, for what has no place in the turn order but
 * an order of its own: messages of channels, lines of MONITOR.
 *
 *     filling ──feed_flush──▶ travelling ──call──▶ receiver reads, a slice per step ──call──▶ back
 *
 * What is written while the call is away collects, and leaves when it is back.
 *
 * Thread     [sender] writes and flushes. `read` runs on the receiver's thread.
 * Ownership  All memory is the sender's.
 * Limits     What waits is bounded by nobody here; the sender looks at feed_waiting_bytes.
 * Order      Bytes arrive in the order in which they were written.
 */
#pragma once

#include "base/thread.h"

/* [receiver] Takes some of `data`, at least something; returns how much. The rest is given again in
 * its next step. */
typedef size_t feed_read_fn(struct thread *at, uint16_t sender_id, struct bytes data);

struct feed {
    struct call call;
    struct thread *sender;
    feed_read_fn *read;
    struct buf filling;
    /* ---- the receiver's while the call is away ---- */
    struct buf travelling;
    size_t done;
    /* ---- the sender's ---- */
    uint16_t sender_id; /* the sender's own number for itself, for the receiver */
    uint16_t to;        /* thread */
    bool is_away;
};

/* `sender_id` is handed to the reader: a shard's or net thread's id. */
void feed_init(struct feed *f, struct mem *mem, uint16_t sender_id, feed_read_fn *read);
/* Nothing may be under way. */
void feed_deinit(struct feed *f);
/* Sends what has collected on thread `to`, unless the last batch is not back yet. */
void feed_flush(struct feed *f, struct thread *sender, uint16_t to);
/* Nothing waits and nothing is under way. */
static inline bool feed_is_empty(const struct feed *f)
{
    return !f->is_away && f->filling.size == 0;
}
static inline uint64_t feed_waiting_bytes(const struct feed *f)
{
    return f->filling.size;
}
/* Of the sender's memory, on its way or not. The receiver changes no capacity. */
static inline uint64_t feed_memory_bytes(const struct feed *f)
{
    return f->filling.capacity + f->travelling.capacity;
}
