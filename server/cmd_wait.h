/* cmd_wait.h: WAIT and WAITAOF: a client that waits for copies of its writes, until they are there
 * or its time is over.
 *
 * Thread     [net] of the connection.
 * Ownership  The wait belongs to its session and ends with the reply or the connection.
 */
#pragma once

#include "server/session.h"

struct wait;

enum err cmd_wait(struct session *s, struct request *rq, struct reply *out);
enum err cmd_waitaof(struct session *s, struct request *rq, struct reply *out);

/* Ends it before its time: as if that were over, or with an error. False if the session does not
 * wait. */
bool wait_unblock(struct session *s, bool with_error);
/* The connection closes. */
void wait_cancel(struct session *s);
