/* import.h: the append-only file of a Redis server becomes the keyspace, once, when there is no log
 * of our own yet.
 *
 *     appendonlydir/appendonly.aof.manifest   base (RDB or RESP), increments in their order
 *     appendonly.aof                          a single file, with or without an RDB preamble
 *
 * An RDB base goes through loader.h. RESP goes through a connection of its own, as if a client sent
 * it, so every command, transaction and script works at any number of shards.
 *
 * Thread     [main]; counters [any]
 * Errors     As Redis: an end in the middle of a command or transaction is left out
 *            (aof-load-truncated yes) or ends the start; anything else that is no command ends the
 *            start, with file and offset. Errors that commands answer are counted and told.
 */
#pragma once

#include "base/env.h"

struct server;

enum import_begin { IMPORT_STARTED, IMPORT_NOTHING, IMPORT_FAILED };

typedef void import_done_fn(struct server *srv, bool ok);

/* IMPORT_NOTHING: there are no such files. Else as replay_start; after `done` the caller writes a
 * base before it lets clients in: the files that were read are not used again. */
MUST_USE enum import_begin import_start(struct server *srv, import_done_fn *done);
