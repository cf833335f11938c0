/* import.h: the append-only file of a Redis server becomes the keyspace, once, when there is no log
 * of our own yet.
 *
 *     appendonlydir/appendonly.aof.manifest   base (RDB or RESP), increments in their order
 *     appendonly.aof                          a single file, with or without an RDB preamble
 *
 * An RDB base goes through loader.h. Commands go through a connection of their own (import_feed.h),
 * as if a client sent them, so every command, transaction and script works at any number of shards.
 * As while a log of our own is replayed, no deadline passes and nothing is evicted.
 *
 * Thread     [main]; counters [any]
 * Errors     As Redis: an end in the middle of a command or transaction is left out
 *            (aof-load-truncated yes) or ends the start; anything else that is no command ends the
 *            start, with file and offset. Errors that commands are answered with are counted and
 *            told.
 */
#pragma once

#include "base/counter.h"
#include "base/thread.h"
#include "server/import_feed.h"

struct server;

typedef void import_done_fn(struct server *srv, bool ok);

struct import {
    bool is_running, has_failed;
    bool is_cancelled; /* failed by wish */
    char why[IMPORT_WHY_BYTES];
    /* ---- private ---- */
    import_done_fn *done;
    struct import_source *files;
    unsigned file_count, file_capacity;
    bool is_feeding;
    struct import_feed feed;
    struct import_shard *shards;
    unsigned busy_count; /* shards that have not answered */
    uint64_t started_ns, told_ns, errors_before;
    /* ---- any thread reads ---- */
    struct counter is_shown, start_s, total_bytes, loaded_bytes; /* of the commands */
};

enum import_begin { IMPORT_STARTED, IMPORT_NOTHING, IMPORT_FAILED };

/* IMPORT_NOTHING: there are no such files; IMPORT_FAILED: `why` says what is wrong with them. Else
 * `done` comes later; then the caller gives a log of our own bases of all keys (rewriter_begin_log)
 * before it lets clients in. Until its manifest is there a start loads the same files again, and
 * from then on never. */
MUST_USE enum import_begin import_start(struct server *srv, import_done_fn *done);

/* It ends soon, not ok. */
void import_cancel(struct server *srv);
/* In each step of the main loop. */
void import_step(struct server *srv);
static inline bool import_is_idle(const struct import *i)
{
    return !i->is_running;
}
