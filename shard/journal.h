/* journal.h: what becomes of keys, as effects for the append-only log.
 *
 *     request ─▶ keyspace: "this key changed" ─▶ noted
 *     request is over: what was noted becomes effects, one key each
 *        described by the handler   journal_describe: XADD with its id, SPOP as SREM, …
 *        the command itself         CMD_EFFECT in its row: INCR, LPUSH, …
 *        else                       what the key is now: DEL, SET or RESTORE … REPLACE ABSTTL
 *     expiry, eviction, FLUSHDB, SWAPDB: at once
 *     parcel is over: everything since it began is one record ─▶ aof_append
 *
 * An effect is a RESP command about one key, which gives the same in any server of Redis's family
 * when it runs on what the effects before it have made, at a clock at which nothing expires. The
 * third way is always right, so a new command needs nothing; the first two are cheaper. A command
 * that has changed nothing has no effects.
 *
 * Under a holding (locks.h) effects are gathered by the holding and join the record of its UNLOCK.
 * Guests, keys that live on other shards, have no effects here: what they have become goes home
 * with the UNLOCK and is an effect there.
 *
 * A parcel of a transaction over several shards is marked (parcel.h): its record carries the
 * parcel's position as txid, even if nothing is in it. A request of it that has to wait for a lock
 * writes SHOAL.LATER there, and SHOAL.DONE with its effects when it has run: so the transaction is
 * whole as soon as its records are, in the order of their txids, and recovery runs at the end what
 * is announced and not done.
 *
 *     SHOAL.LATER number command argument …       of the record's database
 *     SHOAL.DONE number
 *
 * Thread     [shard]
 * Ownership  The log is the owner's; between journal_open and journal_close only the journal
 *            appends.
 * Limits     Costs one test per change and request while it is closed. A record of an unmarked
 *            parcel ends with the request that brings it to JOURNAL_RECORD_BYTES.
 * Errors     Without memory for an effect, or when the log takes no more (aof_is_full was not
 *            heeded), has_failed: the log lacks something, and only a fresh base helps.
 * Order      Effects are in the order in which requests ran; txids grow.
 */
#pragma once

#include "base/bytes.h"
#include "base/parcel.h"

struct aof;
struct key;
struct ledger_entry;
struct shard;

#define JOURNAL_RECORD_BYTES (1 << 20)

/* Effects that have not been appended yet. */
struct effects {
    struct buf payload;
    uint32_t first_db, db; /* of the first one, and of the last */
};

/* A key that has changed since the request began. */
struct journal_note;

struct journal {
    bool is_open; /* the one test of whoever changes something */
    bool is_muted;
    bool must_fall_back;   /* for tests: every effect is what the key has become */
    bool has_failed;       /* something is missing in the log */
    uint32_t note_count;   /* keys to look at when the request is over */
    uint64_t last_lsn;     /* of what was appended here */
    uint64_t last_txid;    /* the highest one that was appended here */
    uint64_t effect_count; /* so far */
    /* ---- private ---- */
    const struct request *running; /* NULL: none */
    struct aof *aof;
    struct effects effects;      /* of the record that is being gathered */
    const struct parcel *parcel; /* NULL: outside of parcels */
    struct journal_note *notes;
    uint32_t note_capacity;
    struct buf parts; /* struct journal_part, of marked records that are not taken yet */
    size_t parts_taken;
    uint64_t later_number; /* of SHOAL.LATER */
    uint64_t later_count;  /* announced, not done */
};

/* A record of a transaction. */
struct journal_part {
    uint64_t lsn;
    struct ledger_entry *ledger; /* of its parcel */
};

/* From here on effects are appended. No holding is open. */
void journal_open(struct shard *sh, struct aof *aof);
/* Appends what is left; nothing is noted from here on. */
void journal_close(struct shard *sh);
void journal_deinit(struct shard *sh);

/* Appends what has gathered outside of parcels, by expiry and the like: before aof_step. */
void journal_flush(struct shard *sh);
/* Neither this record nor a holding has effects that are not appended, and everything announced is
 * done: a base may begin behind last_lsn. Guests may still be among the keys. */
bool journal_is_flushed(const struct shard *sh);
/* The next marked record with an lsn up to that, in order; false: there is none. Its ledger entry
 * is to be counted down, for it is stable. */
MUST_USE bool journal_take_part(struct shard *sh, uint64_t stable_lsn, struct journal_part *out);

/* ---- for handlers ---- */

/* Whether descriptions are of any use. */
#define journal_is_on(sh) unlikely((sh)->journal.is_open)
/* What the running request has done to the key so far, or since the last description, is: NAME key
 * args …. It comes after the keyspace was told of the change. */
void journal_describe(struct shard *sh, const struct key *k, const char *name,
                      const struct bytes *args, uint32_t count);
/* No command could say it: what the key has become is to be told. */
void journal_fall_back(struct shard *sh, const struct key *k);
/* It is nothing that a log needs. */
void journal_describe_nothing(struct shard *sh, const struct key *k);
/* The same with `count` arguments as RESP, of journal_add_bulk. */
void journal_describe_bulks(struct shard *sh, const struct key *k, const char *name,
                            struct bytes bulks, uint32_t count);
/* The same with all arguments given. */
void journal_describe_as(struct shard *sh, const struct key *k, const struct bytes *argv,
                         uint32_t argc);

/* The key has got that deadline, or lost it (0). */
void journal_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms);
/* Appends an argument; false when there is no memory: the description is left out then. */
MUST_USE bool journal_add_bulk(struct buf *bulks, struct bytes value);

/* A number as an argument. */
struct journal_number {
    char text[24];
};
struct bytes journal_i64(struct journal_number *n, int64_t value);

/* ---- for the keyspace ---- */

/* The key has changed or is about to go. */
void journal_note(struct shard *sh, const struct key *k);
/* The key goes: expired or evicted. */
void journal_gone(struct shard *sh, const struct key *k);
/* Fields of a hash have expired: their names are gathered, and told after they have gone. No note
 * is needed for that. */
struct journal_fields {
    struct buf names;
    uint32_t count;
    bool is_incomplete;
};
void journal_gather_field(void *fields, struct bytes name);
void journal_fields_gone(struct shard *sh, const struct key *k, struct journal_fields *fields);
void journal_flush_database(struct shard *sh, uint32_t db);
/* All libraries of functions are now those of this payload of FUNCTION DUMP. */
void journal_functions(struct shard *sh, struct bytes payload);
void journal_swap_databases(struct shard *sh, uint32_t a, uint32_t b);

/* What happens to keys from here on, until it is unmuted, was told or is no effect. */
void journal_mute(struct shard *sh, bool is_muted);

/* ---- for whoever runs requests ---- */

/* A parcel begins and ends. */
void journal_begin(struct shard *sh, const struct parcel *pc);
void journal_end(struct shard *sh);
/* Between two requests of an unmarked parcel: the record is long enough. */
void journal_break(struct shard *sh);
/* The request is over: what was noted becomes effects. */
void journal_settle(struct shard *sh, const struct request *rq, bool has_failed);
/* A request of the parcel is parked; gives it a number, 0 if it needs none. */
uint64_t journal_announce(struct shard *sh, const struct request *rq);
/* It has run. */
void journal_announced_is_done(struct shard *sh, uint64_t number, uint32_t db);
/* A holding ends: what it has gathered joins the record. `e` is empty afterwards. */
void journal_take(struct shard *sh, struct effects *e);
