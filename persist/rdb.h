/* rdb.h: the bytes that values of RDB files and DUMP payloads are made of: type bytes, lengths,
 * strings, numbers.
 *
 *     length:  00xxxxxx                      6 bits
 *              01xxxxxx xxxxxxxx             14 bits, most significant first
 *              10000000 + 4 bytes            32 bits, most significant byte first
 *              10000001 + 8 bytes            64 bits, most significant byte first
 *     string:  a length and that many bytes, or
 *              11000000, 11000001, 11000010  an integer of 1, 2, 4 bytes, little endian
 *              11000011                      LZF: length packed, length of the text, packed bytes
 *
 * Thread     any
 * Ownership  A string that was packed, or an integer, has storage of its own: free it.
 * Errors     Readers return false for anything malformed; what they have taken off `*in` is then
 *            undefined. Writers return false when there is no memory.
 * Source     RDB version 10, as documented by rdbtools and checked against redis-server.
 */
#pragma once

#include "base/bytes.h"
#include "base/mem.h"

struct lzf_packer;

enum { RDB_INT8 = 0xc0, RDB_INT16, RDB_INT32, RDB_LZF };
#define RDB_LENGTH_BYTES_MAX 9

/* Redis 7.0 reads and writes 10, Redis 7.2 11, Redis 7.4 12. */
#define RDB_VERSION 10
#define RDB_VERSION_HASH_DEADLINES 12
#define RDB_VERSION_MAX 12

/* The byte before a value. 6 and 7 are values of modules, 8 was never used. */
enum rdb_type {
    RDB_TYPE_STRING = 0,
    RDB_TYPE_LIST = 1,   /* strings */
    RDB_TYPE_SET = 2,    /* strings */
    RDB_TYPE_ZSET = 3,   /* strings, each with its score as text */
    RDB_TYPE_HASH = 4,   /* pairs of strings */
    RDB_TYPE_ZSET_2 = 5, /* as 3, scores are 8 bytes */
    RDB_TYPE_MODULE = 6,
    RDB_TYPE_MODULE_2 = 7,
    /* one string that holds a whole value: */
    RDB_TYPE_HASH_ZIPMAP = 9,
    RDB_TYPE_LIST_ZIPLIST = 10,
    RDB_TYPE_SET_INTSET = 11,
    RDB_TYPE_ZSET_ZIPLIST = 12,
    RDB_TYPE_HASH_ZIPLIST = 13,
    RDB_TYPE_LIST_QUICKLIST = 14, /* a count and so many ziplists */
    RDB_TYPE_STREAM_LISTPACKS = 15,
    RDB_TYPE_HASH_LISTPACK = 16,
    RDB_TYPE_ZSET_LISTPACK = 17,
    RDB_TYPE_LIST_QUICKLIST_2 = 18, /* a count and so many nodes: a container kind, a string */
    RDB_TYPE_STREAM_LISTPACKS_2 = 19,
    RDB_TYPE_SET_LISTPACK = 20,
    RDB_TYPE_STREAM_LISTPACKS_3 = 21,
    /* hashes whose fields have deadlines: before Redis 7.4 was released, and since */
    RDB_TYPE_HASH_METADATA_PRE_GA = 22,
    RDB_TYPE_HASH_LISTPACK_EX_PRE_GA = 23,
    RDB_TYPE_HASH_METADATA = 24,
    RDB_TYPE_HASH_LISTPACK_EX = 25,
};

/* ---- writing ---- */

/* How strings are written. RDB_PACK_NONE: as they are, for values that only travel between shards.
 * RDB_PACK_INTEGERS: integers in their own forms. RDB_PACK_ALL: long text through LZF as well. */
enum rdb_packing { RDB_PACK_NONE, RDB_PACK_INTEGERS, RDB_PACK_ALL };

/* Where values are written to. {.out = b} writes strings as they are. */
struct rdb_writer {
    struct buf *out;
    enum rdb_packing packing;
    struct lzf_packer *packer; /* made when first needed; rdb_writer_deinit frees it */
};
/* Frees what the writer made for itself, not the buffer. */
void rdb_writer_deinit(struct rdb_writer *w);

/* Write to `out` (RDB_LENGTH_BYTES_MAX) and return the bytes. */
size_t rdb_put_length(char *out, uint64_t length);
/* Of at most 32 bits. */
size_t rdb_put_integer(char *out, int64_t value);
MUST_USE bool rdb_try_append_raw(struct rdb_writer *w, const void *data, size_t size);
MUST_USE bool rdb_try_append_type(struct rdb_writer *w, uint8_t type);
MUST_USE bool rdb_try_append_length(struct rdb_writer *w, uint64_t length);
MUST_USE bool rdb_try_append_string(struct rdb_writer *w, struct bytes text);
/* 8 bytes, little endian: RDB_TYPE_ZSET_2. */
MUST_USE bool rdb_try_append_double(struct rdb_writer *w, double value);
/* 8 bytes, little endian: milliseconds since 1970. */
MUST_USE bool rdb_try_append_ms(struct rdb_writer *w, int64_t ms);

/* ---- reading: each takes what it has read off `*in` ---- */

MUST_USE bool rdb_take(struct bytes *in, uint64_t size, struct bytes *out);
/* A length, or with `*special` the first byte of an encoded string. */
MUST_USE bool rdb_take_length_or_special(struct bytes *in, uint64_t *length, bool *special);
MUST_USE bool rdb_take_length(struct bytes *in, uint64_t *length);
/* Little endian, signed. */
MUST_USE bool rdb_take_integer(struct bytes *in, unsigned byte_count, int64_t *out);
/* 8 bytes. NaN is a double, too. */
MUST_USE bool rdb_take_double(struct bytes *in, double *out);
/* As text, the way of RDB_TYPE_ZSET: a byte with its length, or 253 for NaN, 254 inf, 255 -inf. */
MUST_USE bool rdb_take_double_text(struct bytes *in, double *out);

struct rdb_string {
    struct bytes text; /* the result: in the input, or in `owned` */
    char *owned;       /* NULL: nothing to free */
    size_t owned_bytes;
};
MUST_USE bool rdb_take_string(struct mem *mem, struct bytes *in, struct rdb_string *out);
void rdb_string_free(struct mem *mem, struct rdb_string *s);
