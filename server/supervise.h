/* supervise.h: tells systemd or upstart when this process serves and when it stops.
 *
 * Thread     [main]; supervise_name [any]
 * Errors     A supervisor that cannot be reached is a warning: the server serves all the same.
 * Source     sd_notify(3); upstart's "expect stop".
 */
#pragma once

#include "server/config.h"

/* "systemd", "upstart" or "no": what `supervised` comes to in this environment. */
const char *supervise_name(const struct config *c);
/* Listening: the start is over. */
void supervise_ready(const struct config *c);
void supervise_stopping(const struct config *c);
