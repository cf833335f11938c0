/* session.h: what the server knows of one connection beyond its bytes: user, database, protocol,
 * name; and how its requests are dispatched.
 *
 *     session_on_input: request ─▶ router_find ─▶ checks ─▶ by plan: here | one shard | split |
 *     locked | main thread
 *
 * Thread     [net] of its connection.
 * Ownership  Lives and dies with its connection, whose memory it is.
 * Order      Replies leave in request order; a deferred command holds back the next ones until it
 *            is answered.
 */
#pragma once

#include "net/netloop.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/router.h"
#include "server/tracking.h"
#include "server/tx.h"

struct acl_user;
struct exec;
struct session_wait;
struct worker;

#define SESSION_NAME_BYTES_MAX 512 /* of CLIENT SETNAME and SETINFO; longer ones are refused */

#define PUBLISHED_NOTHING -1
#define PUBLISHED_SOMEWHERE -2 /* on several shards, or on one that is not known */

struct session {
    struct conn conn; /* first: the netloop makes and frees it */
    uint32_t db;
    uint8_t resp;
    bool is_authenticated; /* it has logged in, or needed not to when it came */
    bool must_login;       /* it has not, and the default user needs a password */
    bool is_restricted;    /* what it sends must be checked: session_acl.h */
    bool is_no_evict, is_no_touch;
    uint32_t held_by_pause; /* the pause that holds it, if it is worker.pause_number */
    bool reply_skip_next;   /* CLIENT REPLY SKIP has just been given */
    bool is_deferred;       /* the command that runs now will be answered later */
    bool is_waiting;        /* a deferred command has not been answered: nothing else may run */
    bool is_unix_socket;
    bool is_import;        /* of this server itself: what it sends runs while others wait */
    bool is_resumed;       /* a deferred command goes on */
    bool must_stall;       /* the command that runs now could not begin */
    struct acl_user *user; /* counted */
    uint64_t acl_version;  /* of the users that it has seen */
    struct tx tx;
    struct exec *exec;     /* a transaction that runs commands of this thread; NULL: none does */
    uint32_t resumed_slot; /* where its reply goes */
    struct buf name, lib_name, lib_version;
    const struct route *last_route; /* of the last command; NULL: it is unknown */
    uint64_t last_word;        /* its name, if that alone tells the route; see name_word. 0: no */
    struct session_wait *wait; /* NULL: it does not wait */
    struct subscriber subscriber;
    struct client_tracking tracking;
    int32_t messages_at; /* the shard whose channels it published to last; PUBLISHED_… */
    bool is_monitor;
    struct dlist monitor_link; /* of its net thread's watchers */
    uint64_t requests;         /* commands so far: their number in the record of the order */
};

static inline struct session *session_of(struct conn *c)
{
    return container_of(c, struct session, conn);
}
struct worker *session_worker(const struct session *s);

/* Hooks of the netloop. */
void session_on_open(struct conn *c);
void session_on_input(struct conn *c);
void session_on_close(struct conn *c);
/* CLIENT PAUSE makes its command wait. */
bool session_is_held_by_pause(const struct session *s);

/* Names a connection from outside its thread, or across time. */
struct session_ref {
    uint16_t net_id;
    uint32_t index, generation;
    uint32_t slot;
};

/* [net] In a handler: the reply comes later, by session_answer. The handler must then return OK
 * without a reply. */
struct session_ref session_defer(struct session *s);
/* [net] Answers a deferred command, if its connection is still there. */
void session_answer(struct netloop *nl, struct session_ref ref, struct reply *r);
/* [net] NULL if it has gone. */
struct session *session_find(struct netloop *nl, struct session_ref ref);

/* [net] In a handler, which must then return OK without a reply and without having changed
 * anything: there is no credit. The request is given back and the connection stalls. */
void session_stall(struct session *s);
/* [net] Every earlier command of the connection has been answered. False: not yet. */
MUST_USE bool session_reach_barrier(struct session *s);
/* [net] The present command publishes on that shard, or PUBLISHED_SOMEWHERE: what the connection
 * has published elsewhere must be there first, so that messages keep its order. False: not yet. */
MUST_USE bool session_may_publish(struct session *s, int32_t shard);
/* [net] The present command's requests are in the open turn: for the recorder. */
void session_record(struct session *s);
/* [net] Runs a queued command of the net or main thread, inside a transaction. If it defers its
 * answer there is no reply. */
void session_run_queued(struct session *s, const struct batch_command *c, struct reply *out);

/* [net] Sends the present request to the shard of its first key as if that were all: the shard's
 * handler will say what is wrong with it. False: no credit. */
bool session_dispatch_to_shard_of_key(struct session *s, const struct route *route);

/* [net] Answers the present request with an error before it runs. */
void session_reject(struct session *s, const struct route *route, enum err e);
/* [net] The same with the error in `out`, which is dropped. */
void session_reject_with(struct session *s, const struct route *route, struct reply *out);
/* [net] The same while it is dispatched: its call, which will be counted, is none. */
void session_refuse(struct session *s, const struct route *route, enum err e);
void session_refuse_with(struct session *s, const struct route *route, struct reply *out);
/* [net] The same for one that has begun and failed before it got anywhere. */
void session_fail_with(struct session *s, const struct route *route, struct reply *out);
/* CLIENT SETNAME's rule: printable, no spaces. [any] */
bool session_name_is_valid(struct bytes name);
/* False: the error has been written. */
MUST_USE bool session_name_is_short(struct bytes name, struct reply *out);

/* REQUEST_TRACKED if what this command reads is to be remembered for the connection. */
static inline uint16_t session_tracked_flag(const struct session *s, const struct command *c)
{
    const struct client_tracking *t = &s->tracking;
    if (likely(!t->is_on) || t->is_bcast || !(c->flags & CMD_READ)) return 0;
    if (t->is_optin && t->caching != CACHING_YES) return 0;
    return t->caching == CACHING_NO ? 0 : REQUEST_TRACKED;
}

/* What the connection has asked for, for all its requests: the same, and REQUEST_NO_TOUCH. The
 * command TOUCH itself counts. */
static inline uint16_t session_client_flags(const struct session *s, const struct command *c)
{
    uint16_t flags = session_tracked_flag(s, c);
    if (unlikely(s->is_no_touch) && strcmp(c->name, "touch") != 0) flags |= REQUEST_NO_TOUCH;
    return flags;
}

/* In RESP2 whoever subscribes to something may do little else. */
static inline bool session_is_in_subscribe_mode(const struct session *s)
{
    return s->subscriber.count > 0 && s->resp == 2;
}

/* Which of client-output-buffer-limit holds for it: who gets what it has not asked for one by one
 * is a subscriber. */
void session_choose_output_class(struct session *s);

/* Back to the state after the connection was accepted: RESET. */
void session_reset(struct session *s);
