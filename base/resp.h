/* resp.h: incremental reader of requests: RESP arrays of bulk strings, and inline commands.
 *
 * Bytes arrive in pieces, split anywhere. The reader works in place: arguments are views into the
 * piece that they arrived in, as long as the whole request lies in one piece; only a request that
 * straddles pieces is gathered in the reader's own buffer.
 *
 *     feed(piece) → next() … next() → NEED_MORE
 *
 * Thread     the connection's net thread.
 * Ownership  Arguments are valid until the next call on this reader, and point into the piece, or,
 *            if `gathered`, into a buffer of the reader. Who keeps them longer holds the piece
 *            (env_buffer_ref) or takes the buffer (resp_take_gathered).
 * Limits     Those of struct resp_limits; 64 KB for a header line and for an inline command. A
 *            claimed length reserves nothing: a half-sent request holds no more than its bytes
 *            (doubling at most).
 * Errors     RESP_BROKEN with Redis's "Protocol error: …" text; the connection must then be closed
 *            after the reply.
 * Source     The RESP specification of the Redis documentation.
 */
#pragma once

#include "base/bytes.h"

#define RESP_ARGS_MAX (1024 * 1024)
#define RESP_INLINE_BYTES_MAX (64 * 1024)
#define RESP_ARGS_MAX_BEFORE_AUTH 10
#define RESP_BULK_BYTES_MAX_BEFORE_AUTH (16 * 1024)
#define RESP_ARGV_INLINE 16

/* Read at each resp_next, so they hold for the headers that this call reads. Who lets an AUTH run
 * elsewhere waits for its outcome before reading on. */
struct resp_limits {
    uint64_t bulk_bytes_max; /* proto-max-bulk-len; at least 99 */
    uint32_t args_max;       /* at least 9 */
    bool authenticated;      /* false: also the small limits, with their error texts */
};

enum resp_state { RESP_REQUEST, RESP_NEED_MORE, RESP_BROKEN };

/* How far a request was checked, so that no byte is looked at again when more of it arrives.
 * Offsets from its first byte. */
struct resp_scan {
    uint64_t at;       /* the next header line; may lie beyond what has arrived */
    uint64_t searched; /* bytes of that line that do not hold its end */
    uint32_t args_left;
    bool counted; /* the first line was read */
    bool endless; /* a NUL stands in the line: as in Redis its end is not found any more */
};

/* Do not move it: argv may point into it. */
struct resp_reader {
    /* ---- result of the last RESP_REQUEST ---- */
    struct bytes *argv;
    uint32_t argc;
    bool gathered;     /* argv points into a buffer of this reader, not into the piece */
    const char *error; /* of RESP_BROKEN: without '-' and "ERR ": "Protocol error: …" */
    /* ---- private ---- */
    uint8_t mode;  /* see resp.c */
    bool in_words; /* argv points into `words` */
    uint32_t argv_capacity;
    const char *next, *end; /* unread part of the piece */
    const char *start;      /* the last request, if it was not gathered */
    struct resp_scan scan;
    struct buf gather; /* a request that straddles pieces, from its first byte */
    struct buf words;  /* decoded words of an inline command with quotes */
    struct bytes argv_inline[RESP_ARGV_INLINE];
    char error_text[40];
};

void resp_reader_init(struct resp_reader *r, struct mem *mem);
void resp_reader_deinit(struct resp_reader *r);
/* A new piece; the previous one must be used up (RESP_NEED_MORE). */
void resp_feed(struct resp_reader *r, const char *data, size_t size);
/* The next request. An empty array or empty inline line is skipped. RESP_NEED_MORE: what was left
 * of the piece has been copied; the piece may go. RESP_BROKEN stays. */
MUST_USE enum resp_state resp_next(struct resp_reader *r, const struct resp_limits *limits);
/* Puts the request that resp_next just gave back: the next resp_next gives it again, without a
 * resp_feed in between. For back-pressure. */
void resp_unread(struct resp_reader *r);
/* Bytes of the piece that were not read yet. */
static inline size_t resp_unread_bytes(const struct resp_reader *r)
{
    return (size_t)(r->end - r->next);
}
/* The unread rest of the piece has been copied to `data`: the old bytes may go. Only after
 * resp_unread or RESP_NEED_MORE. */
void resp_rebase(struct resp_reader *r, const char *data);
/* The buffer that argv points into becomes the caller's (mem of init); argv stays valid as long as
 * it does, and until the next call. Only when `gathered`; the request can then no longer be unread.
 */
struct buf resp_take_gathered(struct resp_reader *r);
/* The buffer of a request that has not arrived as a whole: for CLIENT LIST. */
static inline size_t resp_gathered_bytes(const struct resp_reader *r)
{
    return r->gather.size;
}
static inline size_t resp_gather_capacity(const struct resp_reader *r)
{
    return r->gather.capacity;
}
/* Bytes held in buffers of this reader: for CLIENT LIST and the accounts. */
size_t resp_held_bytes(const struct resp_reader *r);
void resp_validate(const struct resp_reader *r);
