/* tx.h: what a connection has queued since MULTI, and what it watches.
 *
 *     MULTI ─▶ commands are checked, copied and queued ─▶ EXEC (exec.h) or DISCARD
 *     WATCH ─▶ marks on the keys' shards, under an id ─▶ EXEC asks, or they are forgotten
 *
 * Thread     [net] of its connection.
 * Ownership  Arguments are copies of the connection's; EXEC takes them over.
 * Limits     client-query-buffer-limit for the copies of one transaction: beyond it the connection
 *            is closed.
 * Order      A WATCH stands in the turn order like any command. Marks that are no longer wanted are
 *            forgotten some time later, under an id that nobody uses any more.
 */
#pragma once

#include "base/command.h"
#include "base/mem.h"

struct batch_command;
struct batch_key;
struct route;
struct worker;
struct payload;
struct session;

struct tx_watched_in {
    uint64_t hash;
    uint32_t db;
};

struct tx {
    bool is_open;           /* between MULTI and EXEC */
    bool is_dirty;          /* something could not be queued: EXEC will refuse */
    uint32_t command_flags; /* of all queued commands together */
    bool has_script;        /* one that may write */
    struct batch_command *commands;
    struct payload **payloads; /* what their arguments live in */
    uint32_t count, capacity;
    uint64_t bytes; /* of the copies */
    uint64_t watch; /* id; 0: nothing is watched */
    struct batch_key *watched;
    struct tx_watched_in *watched_in; /* the rest about each */
    uint32_t *watched_places;         /* by hash, two per capacity: 1 + index in watched; 0: free */
    uint32_t watched_count, watched_capacity;
};

/* Whether the command goes into the queue; else it runs at once. */
static inline bool tx_queues(const struct tx *tx, const struct command *c)
{
    return tx->is_open && !(c->flags & CMD_NOT_QUEUED);
}
/* Queues the present request, and answers it. */
void tx_queue(struct session *s, const struct route *route);
/* A request was refused before it ran. */
void tx_on_reject(struct session *s);
/* Ends the transaction and all watches: DISCARD, RESET, the end of the connection. */
void tx_discard(struct session *s);
/* The same for one that EXEC took over, whose watches have ended. */
void tx_free(struct mem *mem, struct tx *tx);
/* For the statistics: it watches no more. */
void tx_stop_watching(struct worker *w, const struct tx *tx);
/* What it takes beyond the session itself. */
uint64_t tx_memory_bytes(const struct tx *tx);
