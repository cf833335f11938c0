/* conn.h: one client connection: its life, its input, and the pipeline of replies that it still
 * owes.
 *
 *     pieces received ─▶ reader ─▶ requests ─▶ (turn, parcels, shards) ─▶ slots, in request order
 *     ─▶ out chain ─▶ one send
 *
 * A slot stands for one reply, or for the replies of consecutive requests that travel in one
 * parcel. Slots become ready in any order and leave in theirs.
 *
 * Thread     [net] of its netloop. Others know it by (index, generation) or by its client id.
 * Ownership  Made and freed by its netloop; freed only after the kernel's last event for its
 *            socket.
 * Limits     CONN_SLOTS_MAX slots under way; then the connection stalls until replies come back.
 * Order      Replies leave in request order.
 */
#pragma once

#include "base/dlist.h"
#include "base/env.h"
#include "base/parcel.h"
#include "base/resp.h"
#include "base/wheel.h"

#define CONN_SLOTS_MAX 1024

struct netloop;

enum slot_state { SLOT_WAITING, SLOT_READY };

/* Replies of a run of which some were parked: completed one by one. */
struct slot_pieces {
    uint16_t count, missing;
    struct chunk *chains[];
};

struct slot {
    uint8_t state;              /* enum slot_state */
    bool muted;                 /* CLIENT REPLY OFF or SKIP: the bytes are thrown away */
    bool is_done;               /* what it tells of: no error may stand for the reply */
    uint16_t first, count;      /* requests of `parcel` */
    struct parcel *parcel;      /* where the bytes are, or will be; NULL when they are in `chain` */
    struct chunk *chain;        /* bytes of our own memory */
    struct slot_pieces *pieces; /* until all parked replies are in */
    struct chunk *behind;       /* pushes that may not leave before this slot has */
};

/* Received bytes that were not parsed yet. */
struct piece {
    struct env_buffer *buffer;
    const char *data;
    size_t size;
};

/* A timer on a net thread's wheel. */
struct net_timer {
    struct timer timer;
    void (*on_fire)(struct netloop *nl, struct net_timer *t);
};

enum conn_queue { CONN_IDLE, CONN_READABLE, CONN_STALLED };

struct conn {
    struct env_socket socket;
    struct netloop *netloop;
    uint64_t id; /* client id, unique in the server */
    uint32_t index, generation;
    struct dlist queue_link; /* readable or stalled */
    struct dlist dirty_link; /* has something to send */
    uint8_t queue;           /* enum conn_queue */
    bool is_receiving, is_sending, is_ended /* peer sent its last byte */;
    bool close_after_reply, is_closing, is_reply_off, is_reply_skip;
    bool is_over_hard_limit; /* pushes have been dropped: it will be cut */
    bool has_lost_output;    /* found no memory: it will be closed */
    bool is_holding;         /* output waits for replies that are about to come; see conn_flush */
    uint8_t output_class;    /* index of net_config.output_limits */

    /* ---- input ---- */
    struct resp_reader reader;
    struct piece current;  /* being parsed */
    struct piece *waiting; /* behind it */
    uint32_t waiting_first, waiting_count,
        waiting_capacity; /* index of the oldest, how many from there on, room */
    uint64_t waiting_bytes;

    /* ---- replies ---- */
    struct slot *slots;
    uint32_t slot_head, slot_tail, slot_mask; /* free-running */
    struct chunk *out_first, *out_last;       /* not handed to the kernel yet */
    struct chunk *sending_first;              /* with the kernel */
    struct iovec one_piece;                   /* of a send of one chunk, the usual case */
    struct iovec *send_pieces;                /* of a gathered one; NULL: none under way */
    uint64_t out_bytes;                       /* both */
    uint32_t hold_end;  /* while is_holding: the slot at which output is held no longer */
    uint64_t out_total; /* ever queued */
    uint64_t out_total_seen;
    uint64_t answered, answered_seen; /* requests whose replies are on their way out */
    uint32_t in_flight;               /* requests that have not been answered */
    uint16_t command_budget;          /* of the next turn; see conn_adapt_budget */
    uint64_t over_soft_limit_since_ms;
    struct net_timer soft_limit_timer; /* cuts it though nothing more comes */

    /* ---- times and sums, for CLIENT LIST and the idle timeout ---- */
    struct net_timer idle_timer;
    uint64_t opened_ms, last_request_ms; /* monotonic */
    uint64_t bytes_in, bytes_out;
};

/* ---- life; called by the netloop ---- */

struct conn *conn_create(struct netloop *nl, int fd);
/* No more input, output or replies; memory goes after the kernel's last event. Idempotent. */
void conn_close(struct conn *c);
/* Everything that was asked so far is still answered, then the connection is closed. */
void conn_close_after_reply(struct conn *c);
void conn_destroy(struct conn *c);

/* ---- input ---- */

/* Takes over one count of `buffer`. */
void conn_receive(struct conn *c, struct env_buffer *buffer, const char *data, size_t size);
/* The next whole request in c->reader, RESP_NEED_MORE when there is none, RESP_BROKEN. */
MUST_USE enum resp_state conn_next_request(struct conn *c, const struct resp_limits *limits);
/* The request was not taken: conn_next_request gives it again. The connection stalls until
 * netloop_resume_stalled. */
void conn_stall(struct conn *c);
/* Before each turn: how many requests it may take. A connection starts slowly and speeds up while
 * its replies are small, so that a pipeline of big replies makes no more of them than its output
 * limit can stop. False: so much is unanswered that the connection should wait. */
MUST_USE bool conn_adapt_budget(struct conn *c);
/* Waits for the answer to a deferred command: stalls, with no request to give back. */
void conn_wait(struct conn *c);
/* After a pass over its input; `has_more`: the budget was used up. */
void conn_input_done(struct conn *c, bool has_more);
void conn_resume(struct conn *c);
/* True if bytes wait that were not parsed. */
bool conn_has_input(const struct conn *c);
/* The memory that this request's arguments live in, for parcels: either a counted buffer or a
 * payload. */
struct input_ref {
    struct env_buffer *buffer;
    struct payload *payload;
};
/* Holds what the last request's arguments point into; one count for the caller. `argv_slots` > 0:
 * always in a payload that has room for so many slices in payload->argv. ERR_ALLOC. */
MUST_USE enum err conn_hold_in_payload(struct conn *c, uint64_t argv_slots, struct input_ref *out);
MUST_USE static inline enum err conn_hold_request(struct conn *c, uint64_t argv_slots,
                                                  struct input_ref *out)
{
    if (unlikely(c->reader.gathered || argv_slots > 0))
        return conn_hold_in_payload(c, argv_slots, out);
    env_buffer_ref(c->current.buffer);
    *out = (struct input_ref){.buffer = c->current.buffer};
    return OK;
}

/* ---- replies ---- */

static inline bool conn_has_slots(const struct conn *c)
{
    return c->slot_head != c->slot_tail;
}
static inline bool conn_slots_full(const struct conn *c)
{
    return c->slot_tail - c->slot_head >= CONN_SLOTS_MAX;
}
/* A new slot at the end of the pipeline, waiting; its sequence number. */
uint32_t conn_push_slot(struct conn *c);
static inline struct slot *conn_slot(struct conn *c, uint32_t sequence)
{
    return &c->slots[sequence & c->slot_mask];
}
/* A reply that is ready at once takes its place in the order. The bytes are copied. */
void conn_reply(struct conn *c, struct reply *r);
/* Fills a waiting slot with bytes. Copied. */
void conn_fill_slot(struct conn *c, uint32_t sequence, struct reply *r);
/* The same with what has been done, so that an error would be wrong: if there is no memory for it,
 * the connection is closed. */
void conn_fill_slot_done(struct conn *c, uint32_t sequence, struct reply *r);
/* The same with bytes of our own memory, which are taken over. */
void conn_fill_slot_chain(struct conn *c, uint32_t sequence, struct chunk *chain);
/* The replies of a run are in its parcel, apart from those that were parked. */
void conn_run_home(struct conn *c, struct parcel *pc, const struct run *run, bool has_parked);
/* The reply of request `index` of a slot's run, which had been parked. The chain is copied. */
void conn_late_reply(struct conn *c, uint32_t sequence, uint16_t index, const struct chunk *chain);
/* A copy in other memory, as one chain; of a reply: the error that says so, without memory. */
struct chunk *chunk_copy_chain(struct mem *mem, const struct chunk *chain);
/* Bytes outside the request order, a push in several pieces, which a client that does not read will
 * not get: over the hard limit they are dropped and the connection is cut. `behind`: if that slot
 * has not left yet, not before it; NULL: at once. */
void conn_push(struct conn *c, const uint32_t *behind, const struct bytes *pieces, unsigned count);
/* Sends ready slots at the head on their way to the out chain. */
void conn_drain_slots(struct conn *c);
/* Starts a send if there is something and none is under way; closes if that was the last. Holds the
 * output back while the next reply is in a parcel that is on its way, so that the parts of a
 * pipeline that went to several shards leave together. */
void conn_flush(struct conn *c);
/* Its output has been over the soft limit for some time, or was meanwhile. */
void conn_on_soft_limit(struct netloop *nl, struct net_timer *t);
void conn_on_sent(struct conn *c, size_t size, enum err status);
/* Bytes of memory held for this connection. */
uint64_t conn_memory_bytes(const struct conn *c);
