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
#include "base/thread.h"
#include "persist/aof.h"
#include "persist/recovery.h"

struct parcel;
struct server;
struct worker;

#define DURABLE_BUFFER_BYTES (64u << 20)
#define DURABLE_FAILING_BYTES                                                                      \
    (512u << 20) /* the same while a write fails: writes are refused then */

#define DURABLE_MISCONF "MISCONF Errors writing to the AOF file: %s" /* durable_why */

/* ---- one shard's part [shard] ---- */

struct durable_waiting; /* a parcel that has run, and its late replies */

struct durable_shard {
    struct aof *log;                 /* NULL: no log is open */
    bool is_waiting;                 /* for R, as the ledger knows */
    uint64_t known_txid;             /* every transaction up to here is stable everywhere */
    struct durable_waiting *waiting; /* a ring */
    uint32_t waiting_first, waiting_count, waiting_capacity;
    struct call *closing; /* of durable_seal: goes home when the log is closed; NULL */
    struct call state_call;
    bool is_state_call_away;
    /* ---- any thread reads ---- */
    struct counter state; /* enum aof_state */
    struct counter bytes, buffered_bytes, is_syncing;
    struct counter last_lsn, durable_lsn;
    struct counter delayed_syncs;
    _Atomic(const char *) why; /* of the last failure */
};

/* ---- the whole [main] ---- */

struct durable_round;

struct durable {
    bool is_on;               /* the logs are open, and written to */
    struct manifest manifest; /* the live one: as on disk, but between a change and durable_write */
    bool has_manifest;
    char directory[ENV_PATH_BYTES_MAX];
    struct recovery recovery; /* from durable_open to durable_begin */
    bool has_recovery;        /* the directory had a manifest */
    struct mem *scan_mems;    /* of its scans, one per thread */
    uint32_t scan_count;
    struct durable_round *round; /* calls that are away; NULL: none */
    uint64_t resolving_txid;  /* below it all is stable, and will be durable at `resolving_lsns` */
    uint64_t *resolving_lsns; /* by shard */
    uint32_t *last_number;    /* of files of this generation, by shard */
    bool is_resolving;
    /* ---- any thread reads ---- */
    struct counter closed_bytes;    /* of the files of the manifest that are not written to */
    struct counter base_bytes;      /* of all files after the start or the last rewrite */
    struct counter failing;         /* shards whose log is not AOF_GOOD */
    _Atomic uint64_t resolved_txid; /* below it all is durable everywhere */
};

typedef void durable_done_fn(struct server *srv, bool ok);

/* At boot, before there are workers: the directory, its manifest, and which records are to be
 * believed. Sets srv->hash_seed and where the sequencer begins. False, with a line in `why`
 * (RECOVERY_WHY_BYTES): the server must not start. Without appendonly it does nothing. */
MUST_USE bool durable_open(struct server *srv, char *why);
void durable_deinit(struct server *srv);
/* The keyspace is what the log said (or what it is to begin with): closes what was recovered, makes
 * a generation, its manifest, and a log per shard; then every change is written. `done` comes when
 * all shards do. False, with the reason logged: the directory cannot be written. */
MUST_USE bool durable_begin(struct server *srv, durable_done_fn *done);
/* The log that was found is not gone on from: all keys go into a new one (rewriter_begin_log). */
void durable_forget_recovery(struct server *srv);
/* Nothing changes any more: writes what is left, syncs and closes. `done` comes when all logs are
 * closed; not while one cannot be written. */
void durable_seal(struct server *srv, durable_done_fn *done);
/* The log of some shard has failed, or works again. */
void durable_state_changed(struct server *srv);
/* Why writes are refused, as the system puts it. [any] */
const char *durable_why(const struct server *srv);
/* Ten times a second. */
void durable_cron(struct server *srv);

/* ---- for the rewriter [main] ---- */

/* An empty file of a shard in the present generation, durable in the directory, that no manifest
 * names yet. `f` gets kind, number, uuid; `path` what to open. */
MUST_USE enum err durable_make_file(struct server *srv, enum segment_kind kind, uint16_t shard,
                                    struct manifest_file *f, char path[ENV_PATH_BYTES_MAX]);
/* The path of a file of the manifest. */
MUST_USE enum err durable_path(const struct server *srv, const struct manifest_file *f,
                               char path[ENV_PATH_BYTES_MAX]);
/* Makes srv->durable.manifest the one on disk. On failure the old one is, and what was changed in
 * memory must be undone. Removes nothing. */
MUST_USE enum err durable_write(struct server *srv);
/* The manifest is on disk: what it does not name goes. */
void durable_remove_strangers(struct server *srv);

/* ---- for the rewriter [shard] ---- */

/* The shard's log: aof_try_rotate, aof_abandon, aof_covered are the rewriter's to call, when no
 * parcel runs. NULL: there is none. */
static inline struct aof *durable_log(const struct durable_shard *d)
{
    return d->log;
}

/* ---- for the worker [shard] ---- */

void durable_shard_init(struct worker *w);
void durable_shard_deinit(struct worker *w);
/* A parcel has run, since when the log was at `lsn_before`. True: it is kept, and goes home by
 * durable_step. */
MUST_USE bool durable_keep(struct worker *w, struct parcel *pc, uint64_t lsn_before);
/* The same for late replies that belong to no parcel. */
MUST_USE bool durable_keep_late(struct worker *w);
/* A parcel of a transaction ran where no log is open. */
void durable_skip_part(struct worker *w, struct parcel *pc);
/* Once a step, behind the parcels: writes, and sends home what may leave. True if anything did. */
bool durable_step(struct worker *w);
/* What happened outside of parcels in this step shall be written in the next. */
void durable_flush(struct worker *w);
/* Too much waits for the disk: run no more parcels. */
bool durable_is_stuffed(const struct worker *w);
/* At the last look before sleeping: something may leave after all. */
bool durable_has_news(struct worker *w);
/* When durable_step has something to do although nothing comes in; 0: at once. */
uint64_t durable_next_ns(const struct worker *w);
void durable_apply_config(struct worker *w);
/* Creates the log: path, uuid, numbers are given. From here on every change is written. */
MUST_USE enum err durable_open_log(struct worker *w, struct aof_options *options);
/* Ends it; `c` goes back to its sender when it is closed. */
void durable_close_log(struct worker *w, struct call *c);

/* ---- [any] ---- */

static inline enum aof_state durable_shard_state(const struct durable_shard *d)
{
    return (enum aof_state)counter_read(&d->state);
}
