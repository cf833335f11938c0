/* clients.h: one question to the connections of all net threads, and one answer for the client
 * that asked it.
 *
 *     asker ──call──▶ every net thread: visit each connection, a slice per step, collect bytes
 *           ◀──back── the last one home: the reply is written from what was collected
 *           ──call──▶ every net thread that collected bytes: freed where allocated ──▶ back, end
 *
 * Thread     [net] of the connection that asks; `visit` runs on the thread of the visited
 *            connection.
 * Ownership  The walk is the asking thread's memory, the collected bytes are their thread's. Both
 *            end with the walk, whether the asker is still there or not.
 * Limits     CLIENTS_PER_SLICE connections in a step, so that a crowd holds up nobody.
 * Order      Every connection that lives throughout the walk is visited once; one that comes or
 *            goes meanwhile may be missed.
 */
#pragma once

#include "server/session_wait.h"

#define CLIENTS_PER_SLICE 32

struct clients_part;
struct clients_walk;

/* For whoever visits the connections of a net thread in slices: the next that is open, from place
 * *next on. NULL: they are all done, or the slice is over. `left` begins with CLIENTS_PER_SLICE. */
struct session *clients_next(struct netloop *nl, uint32_t *next, unsigned *left);

/* What is asked. */
struct clients_question {
    /* [net] True: it counts. May append to part->collected. */
    bool (*visit)(struct clients_part *part, struct session *s);
    /* [net] of the asker. Writes the reply. */
    void (*answer)(const struct clients_walk *walk, struct reply *out);
};

/* Which connections are meant; what is zero does not matter. */
struct client_filter {
    bool is_impossible; /* no connection can fit */
    bool has_id, has_addr, has_laddr, has_type, skip_asker;
    enum client_type { CLIENT_NORMAL, CLIENT_REPLICA, CLIENT_PUBSUB, CLIENT_MASTER } type;
    uint64_t id;
    int64_t age_s;         /* as old or older */
    struct acl_user *user; /* counted */
    char addr[ENV_NAME_BYTES_MAX], laddr[ENV_NAME_BYTES_MAX];
};

/* Some ids, for CLIENT LIST. */
struct client_ids {
    uint64_t *asked, *sorted; /* NULL: all */
    uint32_t count;
};

/* What one net thread adds. */
struct clients_part {
    struct call call;
    struct clients_walk *walk;
    struct thread *at;   /* that is visited */
    uint32_t next_index; /* of its connections */
    uint64_t matches;
    struct buf collected;
    struct session_wait_asker asker; /* of a visit that is to be counted later */
    bool is_held, is_through;        /* it goes home when the visit is counted and all are done */
};

struct clients_walk {
    const struct clients_question *question;
    struct client_filter filter;
    struct client_ids ids; /* taken over */
    uint64_t argument;     /* the question's own */
    uint64_t asker_id;
    uint8_t resp;
    /* ---- set by clients_ask ---- */
    struct netloop *netloop;
    struct session_ref from;
    uint16_t part_count, waiting;
    struct clients_part *parts;
};

/* [net] In a handler, which must then return OK without a reply. `walk` is copied. */
void clients_ask(struct session *s, const struct clients_walk *walk);
/* [net] In `visit`, which returns false: who is asked what has become of the session says whether
 * it counts. */
struct session_wait_asker *clients_hold(struct clients_part *part);
/* Or there is nothing to be asked after all. */
void clients_release(struct clients_part *part);
/* [net] of the asker, in `answer`. */
uint64_t clients_matches(const struct clients_walk *walk);

/* [any] */
bool client_type_of_name(struct bytes name, enum client_type *out);
void client_filter_set_addr(struct client_filter *f, struct bytes addr);
void client_filter_set_laddr(struct client_filter *f, struct bytes laddr);
/* [net] of the connection. */
bool client_filter_fits(const struct clients_walk *walk, struct session *s);

/* Bytes of memory held for a connection: what CLIENT LIST shows as tot-mem. [net] of it */
uint64_t session_memory_bytes(const struct session *s);
/* client_list.c: the line of CLIENT LIST and CLIENT INFO, as Redis 7.2 has it, with its line end.
 * [net] of the connection */
void client_line(struct session *s, struct buf *out);
extern const struct clients_question client_list_question;
