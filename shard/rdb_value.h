/* rdb_value.h: the lengths and strings that values of RDB files and DUMP payloads are made of.
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

enum { RDB_INT8 = 0xc0, RDB_INT16, RDB_INT32, RDB_LZF };
#define RDB_LENGTH_BYTES_MAX 9

/* ---- writing ---- */

/* Write to `out` (RDB_LENGTH_BYTES_MAX) and return the bytes. */
size_t rdb_put_length(char *out, uint64_t length);
/* Of at most 32 bits. */
size_t rdb_put_integer(char *out, int64_t value);
MUST_USE bool rdb_try_append_length(struct buf *out, uint64_t length);
/* Never packed, nor as an integer. */
MUST_USE bool rdb_try_append_string(struct buf *out, struct bytes text);

/* ---- reading: each takes what it has read off `*in` ---- */

MUST_USE bool rdb_take(struct bytes *in, uint64_t size, struct bytes *out);
/* A length, or with `*special` the first byte of an encoded string. */
MUST_USE bool rdb_take_length_or_special(struct bytes *in, uint64_t *length, bool *special);
MUST_USE bool rdb_take_length(struct bytes *in, uint64_t *length);
/* Little endian, signed. */
MUST_USE bool rdb_take_integer(struct bytes *in, unsigned byte_count, int64_t *out);

struct rdb_string {
    struct bytes text; /* the result: in the input, or in `owned` */
    char *owned;       /* NULL: nothing to free */
    size_t owned_bytes;
};
MUST_USE bool rdb_take_string(struct mem *mem, struct bytes *in, struct rdb_string *out);
void rdb_string_free(struct mem *mem, struct rdb_string *s);
