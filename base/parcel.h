/* parcel.h: what travels between net threads and shard threads: all requests that one net thread
 * has for one shard in one turn.
 *
 *     struct parcel
 *     ├─ position, net_id, shard_id, counts             written by net
 *     ├─ requests[0 … request_count)                    written by net; replies' places by the
 *                                                       shard
 *     ├─ args[]: argv slices of the requests            written by net; point into receive buffers
 *     ├─ runs[]: which requests are whose               written by net; the shard copies one when
 *                                                       it parks a request
 *     └─ out: reply bytes of all requests, in order     written by the shard; its first chunk is
 *                                                       part of the parcel
 *
 * Thread     Having a parcel is owning it: pushing it through a mailbox gives it away.
 * Ownership  Parcels are allocated and freed by the net thread. Overflow chunks of `out` belong to
 *            the shard's memory; the net thread sends them back by a call when it has copied the
 *            bytes.
 * Limits     PARCEL_REQUESTS_MAX requests; arguments beyond the inline area live in a payload.
 * Order      The shard runs requests in order; position orders the parcels of all net threads
 *            (sequencer.h).
 */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>

#include "base/reply.h"

#define PARCEL_REQUESTS_MAX 128
#define PARCEL_ARGS_MAX 512
#define PARCEL_REPLY_BYTES (12 * 1024)

#define POSITION_PENDING 0 /* pushed, but its turn has no position yet */

struct command;
struct env_buffer;
struct gather;
struct ledger_entry;
struct payload;
struct slow_entry;

enum request_flags {
    REQUEST_PARKED = 1 << 0, /* set by the shard: not run yet, a late reply will follow */
    REQUEST_COMMIT = 1 << 1, /* of a commit turn: its coordinator holds the locks that it touches */
    REQUEST_PART = 1 << 2,   /* one part of a command that was split */
    REQUEST_TRACKED = 1 << 3,  /* the connection is to be told when what it reads here changes */
    REQUEST_IN_EXEC = 1 << 4,  /* of a transaction or under a holding: it may not block */
    REQUEST_MAY_WAIT = 1 << 5, /* if there is nothing for it yet, it waits; shard/wait.h */
    REQUEST_CLAIM = 1 << 6,    /* with MAY_WAIT: its keys live on several shards, so a key that is
                                  ready is held for it and reported */
    REQUEST_ASK =
        1 << 7, /* with MAY_WAIT: it also writes elsewhere: a ready key is only reported */
    REQUEST_NO_TOUCH = 1 << 8, /* what it reads or writes does not count as used */
};

#define HASHED_INDEX_MAX 0xffffffu /* RESP_ARGS_MAX is smaller */

struct request {
    const struct command *command;
    struct bytes *argv;
    uint64_t hash; /* of argv[hashed_index], the first key; 0 without keys */
    uint32_t argc;
    uint16_t db;
    uint16_t flags;     /* enum request_flags */
    uint64_t reply_end; /* in the parcel's reply bytes; starts where the previous request's ends;
                           written by the shard */
    struct env_buffer *input;   /* what argv points into, counted; or NULL */
    struct payload *payload;    /* or this: the net thread's own memory, counted */
    uint16_t command_id;        /* index of the row in the router's table: for statistics */
    uint16_t error_count;       /* error replies that it wrote; written by the shard */
    uint32_t hashed_index : 24; /* which argument `hash` is of; 0: none */
    uint32_t resp : 8;          /* 2 or 3 */
};
_Static_assert(sizeof(struct request) == CACHE_LINE,
               "a window of 64 requests stays in the first-level cache");

/* A place in the turn order: of a request within its turn. */
struct turn_point {
    uint64_t position; /* 2 × that of the turn; one less for a turn that ran in place before it */
    uint64_t index;    /* of the request within the turn */
};
static inline bool turn_point_before(struct turn_point a, struct turn_point b)
{
    return a.position != b.position ? a.position < b.position : a.index < b.index;
}

/* Consecutive requests of one connection in one parcel, and who waits for their replies. They
 * follow one another in the turn, too. */
struct run {
    struct gather
        *gather; /* the collector of a split command; NULL: the connection's slot itself */
    uint32_t conn_index;
    uint32_t conn_generation;
    uint32_t slot;  /* sequence number in the connection's pipeline */
    uint32_t part;  /* index of the part in gather */
    uint16_t first; /* index of the first request */
    uint16_t count;
    uint32_t turn_index; /* of the first request among all of the turn */
};

struct parcel {
    /* ---- written by the net thread before the push ---- */
    alignas(CACHE_LINE) _Atomic uint64_t position;
    uint16_t net_id, shard_id;
    uint16_t request_count, run_count;
    uint32_t arg_count;
    uint32_t holds; /* net only: runs whose bytes were not copied yet */
    struct parcel *next;
    /* Of a turn in which a writing command was split, or a holding ends: its transaction in the
     * append-only log, whose txid is the position. part_count 0: of none. */
    uint16_t part, part_count;
    struct ledger_entry *ledger; /* is counted down when this part is stable */
    /* ---- written by the shard ---- */
    alignas(CACHE_LINE) struct reply out;
    bool has_parked;         /* some request has REQUEST_PARKED */
    struct slow_entry *slow; /* entries for the slow log, which its connections complete */
    /* ---- contents ---- */
    alignas(CACHE_LINE) struct request requests[PARCEL_REQUESTS_MAX];
    struct run runs[PARCEL_REQUESTS_MAX];
    struct bytes args[PARCEL_ARGS_MAX];
    alignas(CACHE_LINE) char reply_chunk[sizeof(struct chunk) + PARCEL_REPLY_BYTES];
};

/* The first chunk of the replies, which is part of the parcel. */
static inline struct chunk *parcel_chunk(struct parcel *pc)
{
    return (struct chunk *)(void *)pc->reply_chunk;
}

static inline uint64_t parcel_reply_start(const struct parcel *pc, uint32_t index)
{
    return index == 0 ? 0 : pc->requests[index - 1].reply_end;
}

/* An empty parcel: counts and reply bytes; the contents need no clearing. [net] */
void parcel_reset(struct parcel *pc, uint16_t net_id, uint16_t shard_id);
