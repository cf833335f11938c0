/* netloop.h: one net thread's role: its connections, and the passes of its step.
 *
 *     events ─▶ input of readable connections ─▶ publish ─▶ (shards) ─▶ take home ─▶ flush: one send per connection
 *
 * What a request means is the server's affair: it pulls requests in on_input and puts them into the turn.
 *
 * Thread     [net] Holding a struct netloop * means being on its thread. Others hold its id.
 * Limits     NETLOOP_COMMANDS_PER_TURN commands per connection and turn.
 */
#pragma once

#include "base/counter.h"
#include "base/mem.h"
#include "base/thread.h"
#include "net/conn.h"
#include "net/turn.h"

#define NETLOOP_COMMANDS_PER_TURN 128
#define NETLOOP_SCRATCH_BYTES (16 * 1024)
#define OUTPUT_CLASSES 3 /* normal, replica, pubsub */

struct output_limit {
    uint64_t hard_bytes, soft_bytes; /* 0: none */
    uint32_t soft_seconds;
};

/* What a net thread needs to know of the configuration; an immutable snapshot published by the main thread. */
struct net_config {
    uint32_t idle_timeout_s;  /* 0: none */
    uint32_t keepalive_s;
    uint64_t query_bytes_max; /* client-query-buffer-limit */
    struct output_limit output_limits[OUTPUT_CLASSES];
};

/* One writer (the net thread), any reader. */
struct net_counters {
    struct counter connections, connections_received, connections_ended, connections_closed_idle, connections_cut_output;
    struct counter requests, bytes_in, bytes_out;
    struct counter turns, turns_in_place, parcels, stalls;
    struct counter input_buffer_max, output_buffer_max;
    struct counter client_memory_bytes;
    struct counter busy_ticks;
};

struct netloop_hooks {
    size_t conn_bytes; /* of the object whose first member is the struct conn */
    void (*on_open)(struct conn *c);
    void (*on_input)(struct conn *c); /* pull requests until there are none, the budget is used up, or the connection stalls */
    void (*on_close)(struct conn *c);
    /* The turn's only parcel is for this thread's own shard. True: it was run, and stands just before *position in the turn order. */
    bool (*run_in_place)(struct netloop *nl, struct parcel *pc, uint64_t *position);
    /* A turn got its position, for whoever records the order; in place: it stands just before that one. NULL: nobody does. */
    void (*on_publish)(struct netloop *nl, uint64_t position, bool in_place);
    /* A request of a parcel that came home had been answered with an error. */
    void (*on_errors)(struct netloop *nl, const struct request *rq, struct bytes text);
    /* Chunks of a shard's memory, on the shard's thread. */
    void (*free_chunks)(struct thread *at, struct chunk *chain);
};

struct conn_place {
    struct conn *conn; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct netloop {
    uint16_t id;
    int32_t own_shard; /* -1: none */
    struct thread *thread;
    void *owner; /* the server's struct worker */
    const struct netloop_hooks *hooks;
    const struct net_config *config;
    struct mem mem;
    struct turn turn;
    struct conn_place *places;
    uint32_t place_count, place_free;
    uint64_t ids_given;
    struct dlist readable, stalled, dirty;
    struct wheel wheel;
    struct chunk *scratch; /* where replies are built before they are copied to their connection */
    struct buf flatten;    /* for gathers */
    struct net_counters counters;
};

void netloop_init(struct netloop *nl, struct thread *t, const struct netloop_hooks *hooks, const struct net_config *config);
/* Closes every connection; call netloop_step until netloop_is_empty, then netloop_deinit. */
void netloop_close_all(struct netloop *nl);
bool netloop_is_empty(const struct netloop *nl);
void netloop_deinit(struct netloop *nl);

/* A new connection on this thread. */
void netloop_adopt(struct netloop *nl, int fd);
/* NULL if it has gone. */
struct conn *netloop_conn(struct netloop *nl, uint32_t index, uint32_t generation);
/* The n-th connection for walking all of them; NULL where there is none. */
static inline struct conn *netloop_conn_at(struct netloop *nl, uint32_t index)
{
    return index < nl->place_count ? nl->places[index].conn : NULL;
}

/* The passes of a step; each true if it did anything. */
bool netloop_take_events(struct netloop *nl);
bool netloop_run_input(struct netloop *nl);
bool netloop_run_timers(struct netloop *nl);
void netloop_flush(struct netloop *nl);
/* After the idle timeout was changed. */
void netloop_arm_idle_timers(struct netloop *nl);
/* Whether readable connections wait for the next step. */
static inline bool netloop_has_input(const struct netloop *nl)
{
    return !dlist_is_empty(&nl->readable);
}
/* Stalled connections become readable again: credits or slots came back, a pause ended. */
void netloop_resume_stalled(struct netloop *nl);
/* Monotonic ns of the next timer; UINT64_MAX: none. */
uint64_t netloop_next_deadline_ns(const struct netloop *nl);

/* A reply builder on the loop's scratch memory. Finish with conn_reply, conn_fill_slot or netloop_reply_drop. */
struct reply netloop_reply(struct netloop *nl, uint8_t resp);
/* Frees what did not fit the scratch memory. Called by conn_reply and conn_fill_slot's callers once the bytes are copied. */
void netloop_reply_drop(struct netloop *nl, struct reply *r);
