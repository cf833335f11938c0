/* durable.h: the append-only log of the whole server: which files it has, one log per shard, and
 * the rule by which replies leave.
 *
 *     boot     durable_open: manifest, scan, T* ─▶ replay.h ─▶ durable_begin: a new generation
 *     a step   parcels run ─▶ aof_step ─▶ parts that are stable are counted ─▶ parcels go home
 *     stop     durable_seal
 *
 * A parcel that has run waits in its shard's queue until its records are stable, and R is above
 * every transaction at or before them; late replies wait behind the parcel they came with. With
 * appendfsync always whatever has read waits as well. With everysec and no, what only reads is sent
 * at once, so reads go on while the disk fails.
 *
 * The live manifest belongs to the main thread. Who wants other files (rewriter.h) makes them,
 * changes the manifest, and writes it, in this order.
 *
 * Thread     [main] [shard] as marked; counters [any]
 * Limits     A shard takes no more parcels while DURABLE_BUFFER_BYTES wait for the disk.
 * Errors     A log that cannot be opened, read or begun ends the start, with a line that names the
 *            file, the offset and the remedy. Later failures: docs/PERSISTENCE.md.
 */
#pragma once

#include "base/counter.h"
#include "base/ledger.h"
#include "persist/aof.h"
#include "persist/recovery.h"

struct config;
struct parcel;
struct server;
struct worker;

#define DURABLE_BUFFER_BYTES (64u << 20)

/* ---- one shard's part [shard] ---- */

struct durable_waiting; /* a parcel that has run, and its late replies */

struct durable_shard {
    struct aof *log;                 /* NULL: no log is open */
    bool is_dirty;                   /* something may have been appended since the last aof_step */
    bool is_waiting;                 /* for R, as the ledger knows */
    uint64_t known_txid;             /* every transaction up to here is stable everywhere */
    struct durable_waiting *waiting; /* a ring */
    uint32_t waiting_first, waiting_count, waiting_capacity;
    /* ---- any thread reads ---- */
    struct counter state; /* enum aof_state */
    struct counter bytes, buffered_bytes, is_syncing;
    struct counter last_lsn, durable_lsn;
};

/* ---- the whole [main] ---- */

struct durable {
    bool is_wanted;           /* appendonly, as of the start or the last switch */
    bool is_on;               /* the logs are open, and written to */
    struct manifest manifest; /* the live one: as on disk, but between a change and durable_write */
    char directory[ENV_PATH_BYTES_MAX];
    struct recovery recovery; /* from durable_open to durable_begin */
    bool has_recovery;
    struct mem *recovery_mem; /* one per stream */
    /* ---- any thread reads ---- */
    struct counter failing; /* shards whose log is not AOF_GOOD */
};

typedef void durable_done_fn(struct server *srv, bool ok);

/* At boot, before there are workers: the directory, its manifest, and which records are to be
 * believed. Sets srv->hash_seed and where the sequencer begins. False, with a line in `why`
 * (RECOVERY_WHY_BYTES): the server must not start. */
MUST_USE bool durable_open(struct server *srv, const struct config *c, char *why);
/* The keyspace is what the log said (or what it is to begin with): closes what was recovered, makes
 * a generation, its manifest, and a log per shard; then every change is written. `done` comes when
 * all shards do. False, with the reason logged: the directory cannot be written. */
MUST_USE bool durable_begin(struct server *srv, durable_done_fn *done);
/* Workers have no more to do: writes what is left, syncs and closes. `done` comes when all logs are
 * closed or have failed. */
void durable_seal(struct server *srv, durable_done_fn *done);

/* ---- for the rewriter [main] ---- */

/* An empty file of a shard in the present generation, durable in the directory, that no manifest
 * names yet. `f` gets kind, number, uuid; `path` what to open. */
MUST_USE enum err durable_make_file(struct server *srv, enum segment_kind kind, uint16_t shard,
                                    struct manifest_file *f, char path[ENV_PATH_BYTES_MAX]);
/* The path of a file of the manifest. */
void durable_path(const struct server *srv, const struct manifest_file *f,
                  char path[ENV_PATH_BYTES_MAX]);
/* Makes srv->durable.manifest the one on disk. On failure the old one is, and what was changed in
 * memory must be undone. Removes nothing. */
MUST_USE enum err durable_write(struct server *srv);
/* The manifest is on disk: what it does not name goes. */
void durable_remove_strangers(struct server *srv);

/* ---- for the rewriter [shard] ---- */

/* The shard's log: aof_try_rotate, aof_abandon, aof_covered, aof_set_resolved are the rewriter's to
 * call, when no parcel runs. NULL: there is none. */
static inline struct aof *durable_log(const struct durable_shard *d)
{
    return d->log;
}

/* ---- [any] ---- */

static inline enum aof_state durable_shard_state(const struct durable_shard *d)
{
    return (enum aof_state)counter_read(&d->state);
}
