/* cmd_wait.h: WAIT and WAITAOF: a client that waits for copies of its writes, until they are there
 * or its time is over.
 *
 * Thread     [net] of the connection.
 * Ownership  The wait belongs to its session and ends with the reply or the connection.
 */
#pragma once

#include "server/session.h"

enum err cmd_wait(struct session *s, struct request *rq, struct reply *out);
enum err cmd_waitaof(struct session *s, struct request *rq, struct reply *out);
