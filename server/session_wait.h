/* session_wait.h: a session whose command waits for something: a key (blocking.h), replicas
 * (cmd_wait.h). The timeout, CLIENT UNBLOCK, the end of the connection, CLIENT LIST and INFO know
 * nothing but this.
 *
 * Thread     [net] of the connection.
 * Ownership  Embedded in what knows how the waiting ends, which outlives it: on_end says that it
 *            should, session_wait_answer that it has. A connection that closes lets go at once.
 */
#pragma once

#include "server/session.h"

enum session_wait_end {
    SESSION_WAIT_TIMEOUT, /* the time is over, or CLIENT UNBLOCK says so */
    SESSION_WAIT_ERROR,   /* CLIENT UNBLOCK … ERROR */
    SESSION_WAIT_DENIED,  /* its user may not touch the keys any more */
    SESSION_WAIT_CLOSED,  /* nobody waits any more: there must be no answer */
};

/* Somebody who wants to know what has become of CLIENT UNBLOCK: whether it has ended the waiting,
 * or the client was served by what came before. */
struct session_wait_asker {
    void (*on_outcome)(struct session_wait_asker *a, bool was_unblocked);
};

struct session_wait {
    struct net_timer timer;
    struct session *session; /* NULL: its connection has closed */
    struct session_ref from;
    /* At most once before the answer, and once more when the connection closes. */
    void (*on_end)(struct session_wait *w, enum session_wait_end why);
    bool is_ending;
    bool is_timed;                    /* it ends by itself */
    bool was_served;                  /* of a wait that is answered: not because of its end */
    struct session_wait_asker *asker; /* NULL: nobody */
};

/* In a dispatch or a handler: the reply comes later. `timeout_ms` 0: no limit. */
void session_wait_begin(struct session *s, struct session_wait *w, int64_t timeout_ms);
/* It has ended; the bytes are copied. Nothing happens if the connection has closed. */
void session_wait_answer(struct session_wait *w, struct reply *out);
/* What CLIENT UNBLOCK … ERROR makes of it; before session_wait_answer. */
void session_wait_reply_error(struct session_wait *w, struct reply *out);

/* CLIENT UNBLOCK. False if the session does not wait, or its end is under way. Else the asker, who
 * may be NULL, hears of the outcome, maybe at once. */
bool session_wait_unblock(struct session *s, bool with_error, struct session_wait_asker *asker);
/* It may not go on. */
void session_wait_deny(struct session *s);
/* The connection closes. */
void session_wait_close(struct session *s);
