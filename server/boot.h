/* boot.h: the data that a server starts with, before it serves.
 *
 *     appendonly no      the snapshot, if there is one
 *     appendonly yes     the append-only log ─▶ a new generation of it
 *
 * Clients are accepted meanwhile and told -LOADING.
 *
 * Thread     [main]
 * Errors     What cannot be loaded whole ends the start: srv->has_failed_to_load.
 * Order      boot_prepare, the workers start, boot_begin; srv->is_loaded ends it.
 */
#pragma once

#include "base/check.h"

struct server;

/* False, with a line in `why`: the server cannot start. */
MUST_USE bool boot_prepare(struct server *srv, char *why);
void boot_begin(struct server *srv);
