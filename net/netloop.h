/* netloop.h: one net thread's role: its connections, and the passes of its step.
 *
 *     events ─▶ input of readable connections ─▶ publish ─▶ (shards) ─▶ take home ─▶ flush: one
 *     send per connection
 *
 * What a request means is the server's affair: it pulls requests in on_input and puts them into
 * the turn.
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
#define NETLOOP_RESERVE_BYTES (256 * 1024) /* for what cannot fail without memory */
#define OUTPUT_CLASSES 3                   /* normal, replica, pubsub */

struct output_limit {
    uint64_t hard_bytes, soft_bytes; /* 0: none */
    uint32_t soft_seconds;
};

/* What a net thread needs to know of the configuration; an immutable snapshot published by the main
 * thread. */
struct net_config {
    uint32_t idle_timeout_s; /* 0: none */
    uint32_t keepalive_s;
    uint64_t query_bytes_max; /* client-query-buffer-limit */
    struct output_limit output_limits[OUTPUT_CLASSES];
};

/* The largest value of the last 4 to 8 seconds: two windows of 2^32 ns. */
struct recent_max {
    struct counter window, value, before;
};
static inline void recent_max_note(struct recent_max *m, uint64_t now_ns, uint64_t value)
{
    uint64_t window = now_ns >> 32, last = counter_read(&m->window);
    if (unlikely(window != last)) {
        counter_set(&m->before, window == last + 1 ? counter_read(&m->value) : 0);
        counter_set(&m->value, 0);
        counter_set(&m->window, window);
    }
    if (value > counter_read(&m->value)) counter_set(&m->value, value);
}
/* [any] */
static inline uint64_t recent_max_read(const struct recent_max *m, uint64_t now_ns)
{
    uint64_t age = (now_ns >> 32) - counter_read(&m->window);
    uint64_t value = counter_read(&m->value), before = counter_read(&m->before);
    return age == 0 ? MAX(value, before) : age == 1 ? value : 0;
}

/* One writer (the net thread), any reader. */
struct net_counters {
    struct counter connections, connections_received, connections_ended, connections_closed_idle,
        connections_cut_output;
    struct counter bytes_in, bytes_out, reads, writes;
    struct counter turns, turns_in_place, parcels, stalls;
    struct recent_max input_buffer_max, output_buffer_max; /* bytes of one connection */
};

enum in_place {
    IN_PLACE_NOT,  /* it must go the long way */
    IN_PLACE_DONE, /* its replies are there */
    IN_PLACE_KEPT, /* it has run, and comes home through the mailbox */
};

struct netloop_hooks {
    size_t conn_bytes; /* of the object whose first member is the struct conn */
    void (*on_open)(struct conn *c);
    void (*on_input)(struct conn *c); /* pull requests until there are none, the budget is used up,
                                         or the connection stalls */
    void (*on_close)(struct conn *c);
    /* The turn's only parcel is for this thread's own shard. If it was run, it stands just before
     * *position in the turn order. */
    enum in_place (*run_in_place)(struct netloop *nl, struct parcel *pc, uint64_t *position);
    /* A turn got its position, for whoever records the order; in place: it stands just before that
     * one. NULL: nobody does. */
    void (*on_publish)(struct netloop *nl, uint64_t position, bool in_place);
    /* A request of that command was answered with an error, on its shard. */
    void (*on_error)(struct netloop *nl, uint16_t command_id, struct bytes text);
    /* The parcel has entries for the slow log: before its replies are handed out. */
    void (*on_slow)(struct netloop *nl, const struct parcel *pc);
    /* A gather has one, and is complete. */
    void (*on_slow_parts)(struct netloop *nl, struct gather *g);
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
    bool is_logging;   /* what a turn writes on several shards is a transaction of the log */
    struct thread *thread;
    void *owner; /* the server's struct worker */
    const struct netloop_hooks *hooks;
    const struct net_config *config;
    struct mem mem;
    struct turn turn;
    struct conn_place *places;
    uint32_t place_count, place_free;
    uint64_t ids_given;
    uint32_t errands; /* operations and calls of ours that are elsewhere: they come home before the
                         memory may go */
    struct dlist readable, stalled, dirty;
    struct wheel wheel;
    struct chunk *scratch; /* where replies are built before they are copied to their connection */
    struct buf flatten;    /* for gathers */
    struct net_counters counters;
};

void netloop_init(struct netloop *nl, struct thread *t, const struct netloop_hooks *hooks,
                  const struct net_config *config);
/* Closes every connection; call netloop_step until netloop_is_empty, then netloop_deinit. */
void netloop_close_all(struct netloop *nl);
bool netloop_is_empty(const struct netloop *nl);
void netloop_deinit(struct netloop *nl);

/* A new connection on this thread. */
struct conn *netloop_adopt(struct netloop *nl, int fd);
/* NULL if it has gone. */
struct conn *netloop_conn(struct netloop *nl, uint32_t index, uint32_t generation);
/* The n-th connection for walking all of them; NULL where there is none. */
static inline struct conn *netloop_conn_at(struct netloop *nl, uint32_t index)
{
    return index < nl->place_count ? nl->places[index].conn : NULL;
}

/* turn_reserve for one shard: nothing to do while its parcel has room. */
MUST_USE static inline bool turn_reserve_one(struct netloop *nl, uint16_t shard)
{
    const struct parcel *pc = nl->turn.open[shard];
    return likely(pc && parcel_has_room(pc)) || turn_reserve(nl, &shard, 1);
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

/* A reply builder on the loop's scratch memory. Finish with conn_reply, conn_fill_slot or
 * netloop_reply_drop. */
struct reply netloop_reply(struct netloop *nl, uint8_t resp);
/* Frees what did not fit the scratch memory. Called by conn_reply and conn_fill_slot's callers once
 * the bytes are copied. */
void netloop_reply_drop(struct netloop *nl, struct reply *r);
