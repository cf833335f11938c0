/* replay_reader.h: one worker's share of replaying a log: it reads streams in slices, runs what is
 * its own shard's, and sends the rest to where it belongs. At the end of a stream it runs what was
 * announced there (SHOAL.LATER, journal.h) and not done: the rest of transactions that are whole
 * without it.
 *
 *     begin ─▶ read (a generation's streams) ─▶ … ─▶ end     each a call that comes back `home`
 *
 * Thread     The worker's; between two calls the main thread's.
 * Ownership  Batches and cursor are the worker's shard's memory, the struct is the main thread's.
 */
#pragma once

#include "base/counter.h"
#include "base/dlist.h"
#include "base/resp.h"
#include "base/thread.h"
#include "persist/recovery.h"
#include "server/replay_command.h"

struct replay_batch;
struct server;

#define REPLAY_WHY_BYTES (RECOVERY_WHY_BYTES + REPLAY_ERROR_BYTES + ENV_PATH_BYTES_MAX)

enum replay_phase { REPLAY_BEGIN, REPLAY_READ, REPLAY_END };

struct replay_reader {
    struct call call;
    struct server *server;
    uint16_t shard;
    enum replay_phase phase;
    unsigned first_stream, end_stream; /* of the generation: those of shards i, i + n … are its */
    bool has_failed;
    char why[REPLAY_WHY_BYTES];
    void (*home)(struct thread *at, struct call *c);
    /* ---- private ---- */
    unsigned next_stream;
    struct recovery_cursor *cursor; /* NULL: none is open */
    struct slice slice;             /* of the open stream */
    struct resp_reader resp;
    struct replay_batch **filling; /* by shard */
    uint64_t away_bytes;
    uint32_t away_count;
    bool is_waiting;    /* for batches to come back */
    struct dlist later; /* commands of the open stream that are announced, and not done */
    struct counter records, commands;
    struct counter resumed; /* commands that were announced and never done */
    bool needs_base;        /* one of them would give something else the next time */
};

/* [main] Does what `phase` says, on the worker, and comes home. */
void replay_reader_send(struct replay_reader *r);
