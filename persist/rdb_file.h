/* rdb_file.h: RDB files: what stands around the values.
 *
 *     REDIS0010 · aux fields · functions · for each database:
 *     SELECTDB number · RESIZEDB keys expires · keys · … EOF · CRC-64, 8 bytes, of all before it
 *
 *     key:  [EXPIRETIME_MS 8] [IDLE length | FREQ 1] type name value
 *
 * Thread     any; a reader or writer belongs to one.
 * Ownership  The caller's memory: init, deinit. Views in an item are valid until the next one.
 * Limits     A reader keeps the key and value that it is at in memory, a writer some 64 KiB. What a
 *            file claims reserves nothing before the bytes are there.
 * Errors     A writer that has failed stays so: look at the result of rdb_file_end. A reader says
 *            what is wrong in RDB_ITEM_ERROR, and does so again when asked again.
 * Source     RDB versions 1 to 12, as documented by rdbtools and redis-replicator; checked with
 *            redis-check-rdb and redis-server.
 */
#pragma once

#include "persist/rdb.h"

/* Before the code of a library of functions; the second in release candidates of Redis 7.0. */
enum { RDB_OPCODE_FUNCTION_2 = 0xf5, RDB_OPCODE_FUNCTION_PRE_GA };

/* ---- writing ---- */

/* Takes all of the bytes; false if it cannot. */
typedef bool rdb_sink_fn(void *context, struct bytes bytes);

struct rdb_file_options {
    bool with_checksum; /* rdbchecksum */
    bool compress;      /* rdbcompression: of names, aux fields and functions */
    uint16_t version;   /* 0: RDB_VERSION */
};

struct rdb_file_writer {
    uint64_t written; /* bytes so far */
    /* ---- private ---- */
    rdb_sink_fn *sink;
    void *context;
    struct rdb_file_options options;
    struct buf pending;
    struct rdb_writer out;
    uint64_t crc;
    bool failed;
};

/* A key and what is known of it. */
struct rdb_file_key {
    struct bytes name;
    int64_t deadline_ms; /* 0: none */
    int64_t idle_s;      /* -1: not known */
    int64_t frequency;   /* -1: not known */
};

void rdb_file_writer_init(struct rdb_file_writer *w, struct mem *mem, rdb_sink_fn *sink,
                          void *context, const struct rdb_file_options *options);
void rdb_file_writer_deinit(struct rdb_file_writer *w);
/* First of all. */
void rdb_file_begin(struct rdb_file_writer *w);
void rdb_file_put_aux(struct rdb_file_writer *w, struct bytes name, struct bytes value);
/* The code of a library of functions. */
void rdb_file_put_function(struct rdb_file_writer *w, struct bytes code);
/* What follows is of that database. */
void rdb_file_put_database(struct rdb_file_writer *w, uint32_t db, uint64_t key_count,
                           uint64_t expires_count);
/* `value` is a plain type byte and the value behind it. */
void rdb_file_put_key(struct rdb_file_writer *w, const struct rdb_file_key *key,
                      struct bytes value);
/* Keys of the database that was put last, as rdb_try_append_key made them. */
void rdb_file_put_records(struct rdb_file_writer *w, struct bytes records);
/* Last of all. False if anything has failed. */
MUST_USE bool rdb_file_end(struct rdb_file_writer *w);

/* For records that are made elsewhere, on the threads that have the values. Appends what stands
 * before the value; then the value is to be appended with its type byte, and rdb_finish_key puts
 * that byte before the name, where it belongs. False when there is no memory. */
struct rdb_key_mark {
    size_t name, type; /* where they start */
};
MUST_USE bool rdb_try_append_key(struct rdb_writer *out, const struct rdb_file_key *key,
                                 struct rdb_key_mark *mark);
void rdb_finish_key(struct rdb_writer *out, const struct rdb_key_mark *mark);

/* ---- reading ---- */

/* Up to `room` bytes; 0 at the end. False if it cannot read. */
typedef bool rdb_source_fn(void *context, char *to, size_t room, size_t *size);

enum rdb_item_kind {
    RDB_ITEM_AUX,      /* name, value */
    RDB_ITEM_FUNCTION, /* value: the code */
    RDB_ITEM_DATABASE, /* db */
    RDB_ITEM_SIZES,    /* key_count, expires_count: of the database, to be believed by nobody */
    RDB_ITEM_KEY,      /* key, value */
    RDB_ITEM_END,      /* the checksum is right, or there is none */
    RDB_ITEM_ERROR,    /* error, offset */
};

struct rdb_item {
    enum rdb_item_kind kind;
    struct bytes name;
    struct bytes value; /* of a key: type byte and value */
    struct rdb_file_key key;
    uint64_t db, key_count, expires_count;
    const char *error; /* a phrase for a log line */
    uint64_t offset;   /* of the byte in the file where it stands */
};

struct rdb_file_reader {
    uint16_t version; /* known after the first item */
    /* ---- private ---- */
    rdb_source_fn *source;
    void *context;
    struct buf window; /* what has been read from `offset` on */
    size_t at;         /* of it is done with */
    uint64_t offset, crc;
    struct buf name;
    struct rdb_string text[2]; /* of the last item */
    struct rdb_file_key next;  /* what is known of the key that follows */
    char type;                 /* of the last key's value */
    const char *error;
    bool at_end, is_done;
};

void rdb_file_reader_init(struct rdb_file_reader *r, struct mem *mem, rdb_source_fn *source,
                          void *context);
void rdb_file_reader_deinit(struct rdb_file_reader *r);
enum rdb_item_kind rdb_file_next(struct rdb_file_reader *r, struct rdb_item *out);
/* After RDB_ITEM_END: where something else may follow. */
static inline uint64_t rdb_file_end_offset(const struct rdb_file_reader *r)
{
    return r->offset + r->at;
}
