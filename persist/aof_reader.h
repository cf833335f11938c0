/* aof_reader.h: reads one file of the append-only log from its start, record by record.
 *
 * Thread     any; a reader belongs to one.
 * Ownership  The caller's memory: open, close. A payload is valid until the next call.
 * Limits     AOF_READER_WINDOW_BYTES; and with payloads, the largest valid record: what a record
 *            claims reserves nothing before its checksum is right.
 * Errors     Each result says what it means; `fault` is a phrase for a log line, and `offset` the
 *            place in the file.
 */
#pragma once

#include "base/env.h"
#include "base/mem.h"
#include "persist/segment.h"

#define AOF_READER_WINDOW_BYTES (256u << 10)

enum aof_found {
    AOF_FOUND_RECORD,
    AOF_FOUND_END,    /* the end of the file, or zeros up to there */
    AOF_FOUND_DAMAGE, /* no valid record stands at `offset` */
    AOF_FOUND_FAILURE /* the file cannot be read, or no memory for a payload */
};

struct aof_reader {
    struct segment_header header; /* valid after aof_reader_open was OK */
    struct segment_record record; /* the last one */
    struct bytes payload;         /* its payload, if asked for */
    uint64_t offset;              /* of the next record, or of what was found */
    uint64_t next_lsn;            /* that the next record must have */
    uint64_t size;                /* of the file, or of as much of it as counts */
    const char *fault;
    /* ---- private ---- */
    struct mem *mem;
    struct env_file file;
    bool wants_payloads;
    char *window; /* window_size bytes of the file from window_offset on */
    uint64_t window_offset;
    size_t window_size;
    struct buf big; /* a payload that the window has no room for */
};

/* `uuid` NULL: any. `size_max` UINT64_MAX: all of the file. AOF_FOUND_RECORD: the header is good,
 * or else what is wrong: AOF_FOUND_DAMAGE (aof_reader_seek can go on, with `uuid`),
 * AOF_FOUND_FAILURE. Close it whatever it returns. */
MUST_USE enum aof_found aof_reader_open(struct aof_reader *r, struct mem *mem, const char *path,
                                        const struct segment_uuid *uuid, uint64_t size_max);
void aof_reader_close(struct aof_reader *r);
void aof_reader_want_payloads(struct aof_reader *r);

/* The record at `offset`, and moves behind it. */
MUST_USE enum aof_found aof_reader_next(struct aof_reader *r);
/* After damage: goes to the next valid record with an lsn not below next_lsn, so that
 * aof_reader_next finds it. AOF_FOUND_END: there is none. */
MUST_USE enum aof_found aof_reader_seek(struct aof_reader *r);
/* Behind the last byte from `from` on that is not zero; `from` if there is none. */
MUST_USE bool aof_reader_data_end(struct aof_reader *r, uint64_t from, uint64_t *end);
