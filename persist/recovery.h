/* recovery.h: which records of the files that a manifest names are to be believed, and what they
 * hold.
 *
 *     recovery_open      reads the manifest
 *     recovery_scan      per stream: its longest valid prefix, and its parts of transactions
 *     recovery_resolve   T*, the lowest transaction with a part missing; cuts each stream at its
 *                        first part of T* or a later one
 *     recovery_replay    per stream: hands over the records that are left
 *     recovery_seal      makes what was kept durable, and a manifest of it with all files closed,
 *                        to which the caller adds a generation for itself before it writes it
 *     recovery_trim      cuts off what was left out; after manifest_write
 *
 * A *stream* is what one shard of one generation has written. Streams of one generation may be
 * scanned, and replayed, at the same time on several threads; generations are replayed one after
 * the other.
 *
 * Damage behind which no mark vouches for the damaged place is a torn tail: any crash may leave
 * one, also with valid records behind it, because blocks reach the disk in any order. Damage that a
 * later mark vouches for, or in a file that is closed, is corruption.
 *
 * Thread     one; recovery_scan and recovery_replay on one thread per stream, each with a memory
 *            owner of that thread, which outlives the recovery.
 * Ownership  The caller's memory: recovery_open (whatever it returns), recovery_close.
 * Errors     ERR_IO with a line in `why` for the log (RECOVERY_WHY_BYTES): file, offset, remedy.
 * Order      The records of a stream come in the order of their lsn.
 */
#pragma once

#include "persist/manifest.h"

#define RECOVERY_WHY_BYTES 1536

struct recovery_options {
    struct mem *mem;
    const char *directory;
    bool refuse_torn;       /* aof-load-truncated no */
    bool accept_corruption; /* leave out what is corrupt and all behind it: only when told to */
};

/* A place in a stream. */
struct recovery_place {
    unsigned file;   /* index in the manifest */
    uint64_t offset; /* behind the last record that counts */
    uint64_t lsn;    /* of the record that would come next */
};

struct recovery_part {
    uint64_t txid;
    struct recovery_place at; /* of its record */
    uint16_t part_count, part;
};

struct recovery_file {
    uint64_t first_lsn; /* 0: it holds no valid record */
    uint64_t end;       /* what counts ends here */
    uint64_t valid_end; /* what was valid ended here */
    uint64_t file_size;
    uint64_t end_lsn; /* of a base without SEGMENT_END: the lsn that this would have; 0: else */
};

struct recovery_stream {
    uint32_t generation;
    uint16_t shard;
    unsigned first_file, file_count; /* in the manifest */
    struct recovery_place end;
    uint64_t record_count;
    uint64_t torn_bytes;       /* left out behind the valid prefix */
    uint64_t cut_records_from; /* the lsn where a transaction that is not whole cuts it; 0: none */
    char why[RECOVERY_WHY_BYTES]; /* of a failed scan, or what is torn; or empty */
    /* ---- private ---- */
    uint64_t horizon;
    struct recovery_part *parts;
    size_t part_first, part_count, part_capacity;
    struct mem *mem;
};

struct recovery {
    struct manifest manifest;
    struct recovery_stream *streams; /* by generation and shard */
    unsigned stream_count;
    uint64_t cut_txid;           /* T*; UINT64_MAX: every transaction is whole */
    uint64_t next_txid;          /* the first position that the sequencer may give out */
    _Atomic uint64_t bytes_read; /* of all passes so far, for progress */
    /* ---- private ---- */
    struct recovery_options options;
    struct recovery_file *files; /* by manifest index */
    bool is_resolved;
};

struct recovery_record {
    uint32_t generation;
    uint16_t shard;
    bool is_base;
    bool begins_base; /* no record yet: what older generations hold for its keys is void */
    unsigned file;    /* index in the manifest */
    uint64_t offset;
    uint32_t db;
    uint64_t lsn, txid;
    struct bytes payload; /* RESP commands */
};
/* Anything but OK ends the replay with it. */
typedef enum err recovery_fn(void *context, const struct recovery_record *record);

/* ERR_NO_KEY: there is no manifest. */
MUST_USE enum err recovery_open(struct recovery *r, const struct recovery_options *options,
                                char *why);
void recovery_close(struct recovery *r);
MUST_USE enum err recovery_scan(struct recovery *r, unsigned stream, struct mem *mem);
/* All streams have been scanned. */
void recovery_resolve(struct recovery *r);
MUST_USE enum err recovery_replay(struct recovery *r, unsigned stream, struct mem *mem,
                                  recovery_fn *fn, void *context);
/* The same step by step, one cursor per stream at a time; also tells where a base begins. *more
 * false: the stream is through. A payload is valid until the next call. */
struct recovery_cursor;
struct recovery_cursor *recovery_cursor_create(struct recovery *r, unsigned stream,
                                               struct mem *mem);
void recovery_cursor_destroy(struct recovery_cursor *c);
MUST_USE enum err recovery_cursor_next(struct recovery_cursor *c, struct recovery_record *out,
                                       bool *more);
/* `out` is initialised and empty. */
MUST_USE enum err recovery_seal(struct recovery *r, struct manifest *out);
MUST_USE enum err recovery_trim(struct recovery *r);
