/* snapshot.h: the keyspace as it was at one moment, serialised in slices while it goes on changing.
 *
 * Each entry of a table has a colour, one bit. Outside of a snapshot all have the keyspace's
 * colour. A snapshot begins by flipping the keyspace's: every entry has the old colour now, and
 * what is put from then on the new one. A walk in hash order serialises entries of the old colour
 * and gives them the new one, so each is serialised once:
 *
 *     begin            colour = !colour
 *     walk, in slices  old colour?  append it, new colour
 *     before a change  old colour?  append it, new colour         (also before it is removed)
 *     expiry, eviction old colour?  it is not in the snapshot
 *     FLUSHALL         the table is kept aside and walked to its end
 *     end              no entry has the old colour
 *
 * What is written of a value is a record of an RDB file, or commands (snapshot_form.h). It travels
 * in chunks, each of one database, to whoever writes it down, and they come back to be freed. Big
 * values take several slices (big_value.h), and their records several chunks: those chunks are
 * `is_open`, and the next one of the same shard and lane belongs directly behind. Changes go by a
 * lane of their own, so that they need not wait for the end of such a record.
 * A database keeps the number that it had at the
 * beginning, whatever SWAPDB does.
 *
 * Thread     [shard]; what is marked so is constant from the beginning on and may be read by others
 * Ownership  A chunk is the shard's memory. It is away from hooks->send_chunk until
 *            snapshot_chunk_is_back.
 * Limits     A slice takes SHARD_SLICE_US at most, unless one element alone takes longer. While
 *            requests come, slices take half of the time. The walk rests while SNAPSHOT_CHUNKS_MAX
 *            chunks are away; what must be serialised before a change does not wait, and is
 *            counted.
 * Errors     Without memory the snapshot has failed: the last chunk says so. The walk goes on, for
 *            the colours.
 * Source     Snapshot at the beginning (Yuasa, 1990), with the walk in hash order for the sweep.
 */
#pragma once

#include "base/thread.h"
#include "persist/rdb_thread.h"
#include "shard/big_value.h"
#include "shard/keyspace.h"
#include "shard/snapshot_form.h"

#define SNAPSHOT_CHUNK_BYTES (128 * 1024)
#define SNAPSHOT_CHUNKS_MAX 8
/* Bounds a slice where the clock stands still, as in the simulator. */
#define SNAPSHOT_SLICE_ENTRIES_MAX 1024

struct shard;

enum snapshot_lane { SNAPSHOT_LANE_WALK, SNAPSHOT_LANE_CHANGES, SNAPSHOT_LANES };

struct snapshot_chunk {
    struct call call;       /* of whoever carries it */
    struct rdb_piece piece; /* of whoever writes it */
    uint16_t shard_id;
    enum snapshot_lane lane;
    uint32_t db;
    uint64_t key_count;
    struct buf records;
    bool is_open;    /* it ends within a record, which goes on in the next one of its lane */
    bool is_last;    /* of this shard */
    bool has_failed; /* with is_last: not everything is there */
    uint64_t lsn;    /* whoever writes it as a base: of its record */
    struct snapshot_chunk *next_in_base;
};

/* A table that belongs to the snapshot. */
struct snapshot_table {
    struct database *database;
    struct dict kept; /* taken out of it by FLUSHALL */
    bool is_kept;
    uint32_t number;                    /* constant: of the database at the beginning */
    uint64_t key_count, deadline_count; /* constant: at the beginning */
};

/* A table that was emptied while values that are now in it were being serialised. */
struct snapshot_held {
    struct snapshot_held *next;
    struct dict dict;
};

struct snapshot {
    bool is_walking; /* the one test of whoever changes something */
    bool is_abandoned;
    struct snapshot_table *tables; /* constant, with what is marked so */
    uint32_t table_count;          /* constant */
    uint64_t changes;              /* constant: counters.changes at the beginning */
    /* ---- private ---- */
    uint32_t table_capacity;
    uint32_t at; /* the table that is being walked */
    uint64_t cursor;
    struct rdb_writer writer; /* its packer stays for the whole walk */
    struct buf payload;
    enum snapshot_form form;
    struct dlist big_values; /* that have been begun */
    struct snapshot_held *held;
    struct snapshot_chunk *chunks[SNAPSHOT_LANES]; /* being filled; NULL: none */
    uint32_t away[SNAPSHOT_LANES];
    uint32_t slice_entries; /* at most; 0: SNAPSHOT_SLICE_ENTRIES_MAX */
    uint32_t slice_left;    /* of the running slice */
    uint64_t slice_end_ticks;
    uint64_t next_ns;       /* of the next slice */
    uint64_t requests_seen; /* counters.requests after the last one */
};

void snapshot_init(struct shard *sh);
/* Here and now. No other one may be under way on this shard. */
void snapshot_begin(struct shard *sh, enum snapshot_form form);
/* Nobody wants it any more: the rest only gets its colour. The last chunk still comes. */
void snapshot_abandon(struct shard *sh);
/* Before any other deinit: chunks have come back. */
void snapshot_deinit(struct shard *sh);
/* Serialises an entry of the old colour. Through snapshot_guard of shard.h. */
void snapshot_save(struct shard *sh, const struct database *db, struct entry *e);
/* A request that may change its keys is about to run. */
void snapshot_guard_request(struct shard *sh, const struct request *rq);
/* The database is about to be emptied: true if its table, still unwalked, has been taken out. */
bool snapshot_keep_table(struct shard *sh, struct database *db);
/* Whether a slice would do anything now. */
bool snapshot_can_walk(const struct shard *sh);
/* When the next slice is due (monotonic ns); UINT64_MAX: not before something else happens. */
uint64_t snapshot_next_ns(const struct shard *sh);
/* One slice; true if there is more to do at once. */
bool snapshot_step(struct shard *sh);
/* Shorter slices, for tests of what happens between them. */
void snapshot_slice_entries(struct shard *sh, uint32_t count);
/* A chunk has done its service. */
void snapshot_chunk_is_back(struct shard *sh, struct snapshot_chunk *chunk);
/* ---- for big_value.c ---- */

/* What the walk appends to, for that database; until the next call. */
struct buf *snapshot_main_buffer(struct shard *sh, uint32_t db);
/* Sends what is full. `is_open`: a record is not complete. */
void snapshot_main_settle(struct shard *sh, bool is_open);
/* One key of that database is complete. */
void snapshot_main_count(struct shard *sh, uint32_t db);
bool snapshot_slice_may_go_on(struct shard *sh);
void snapshot_big_values_are_through(struct shard *sh);

/* The colours are as they should be. Slow. */
void snapshot_validate(const struct shard *sh);
