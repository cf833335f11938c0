/* session_acl.h: the user of a connection: what it may do, and what becomes of it when users
 * change.
 *
 *     request ─▶ is_restricted? ─no─▶ runs
 *                      └─yes─▶ session_acl_allows: it runs, or NOAUTH, or NOPERM and a log entry
 *     users change ─▶ session_acl_refresh, at the next receive; acl_sweep asks all connections
 *
 * Thread     [net] of the connection; acl_sweep [main].
 * Ownership  A session counts its user.
 * Order      A change holds for whatever the connection's thread receives after it was published;
 *            what has been answered holds everywhere.
 */
#pragma once

#include "server/acl_check.h"
#include "server/acl_log.h"
#include "server/session.h"

struct main_request;
struct server;

/* The default user; it need not log in if that needs no password. */
void session_acl_open(struct session *s);
void session_acl_close(struct session *s);
/* It is this server itself. */
void session_acl_trust(struct session *s);
/* Takes over what has changed. False: its user is gone, or it may not hear any more what it
 * subscribes to; it must be closed. */
MUST_USE bool session_acl_refresh(struct session *s);
/* True: it has not seen the present users. One test for each receive. */
bool session_acl_is_old(const struct session *s);

/* Else AUTH with a password alone makes no sense. */
bool session_acl_default_has_password(struct session *s);
/* AUTH and HELLO: `how` is the word that asked. False: wrong; logged. */
MUST_USE bool session_acl_login(struct session *s, struct bytes how, struct bytes name,
                                struct bytes password);

/* For a session that is restricted: true if the request in its reader may run, else it has been
 * answered. */
MUST_USE bool session_acl_allows(struct session *s, const struct route *route);
/* In EXEC: commands that are not allowed any more become errors. */
void session_acl_filter_queued(struct session *s);
/* An entry of the log. */
void session_acl_log(struct session *s, const struct acl_user *u, unsigned reason,
                     enum acl_context context, struct bytes object);

/* [main] Asks every connection to refresh; `m` is answered when all have done so. */
void acl_sweep(struct server *srv, struct main_request *m);
