/* reply.h: typed replies as RESP2 or RESP3 bytes, in a chain of chunks.
 *
 * Thread     one owner at a time, as whatever holds it (a parcel, a connection).
 * Ownership  The first chunk is usually lent by the holder (`chunk.home == CHUNK_LENT`); further
 *            ones come from `mem` and are freed by that owner's thread, which `chunk.home` names.
 * Limits     A chunk holds at most 2 GiB; a new one is at least REPLY_CHUNK_BYTES, and they grow
 *            with the reply to REPLY_CHUNK_BYTES_MAX.
 * Errors     Building never fails: what finds no memory is lost, and reply_close puts an error in
 *            the place of the whole. A reply of up to REPLY_SURE_BYTES is never lost. Whoever must
 *            know before it changes something asks reply_has_room; or writes the reply first, and
 *            then asks reply_is_whole.
 * Order      Bytes leave in the order of the calls.
 */
#pragma once

#include "base/bytes.h"
#include "base/err.h"

/* With its header such a chunk fills a size class of the allocator; one byte more would take the
 * next class, a quarter larger. */
#define CHUNK_HEADER_BYTES 24
#define REPLY_CHUNK_BYTES (16 * 1024 - CHUNK_HEADER_BYTES)
#define REPLY_CHUNK_BYTES_MAX (1024 * 1024 - CHUNK_HEADER_BYTES)
/* What a string of `size` bytes needs at most as a reply of any type: for reply_try_reserve. */
#define REPLY_STRING_BYTES(size) ((size) + 32)

#define REPLY_INTEGER_BYTES 24 /* and a number */

/* Internal requests answer in so few bytes, where it matters that they do. */
#define REPLY_SURE_BYTES 512

#define CHUNK_LENT 0xffff /* part of a parcel or a connection: never freed by itself */

struct chunk {
    struct chunk *next;
    uint32_t size;     /* bytes in use */
    uint32_t capacity; /* bytes of data[] */
    uint16_t home;     /* shard or net id of the owner of the memory, or CHUNK_LENT */
    uint16_t owner_is_shard;
    uint32_t reserved;
    char data[];
};
_Static_assert(sizeof(struct chunk) == CHUNK_HEADER_BYTES, "header of a chunk");

struct reply {
    char *cursor; /* where the next byte goes, in `last` */
    char *limit;  /* end of the room in `last` */
    struct chunk *first, *last;
    uint64_t base; /* bytes in the chunks before `last` */
    struct mem *mem;
    uint16_t home;
    uint8_t owner_is_shard;
    uint8_t resp;         /* 2 or 3 */
    uint32_t error_count; /* since init: how the dispatcher notices a failed command */
    bool is_lost;         /* something found no memory since `start` */
    uint64_t start;       /* of the reply that is being written; what is before it is complete */
};

/* `lent` may be NULL: then the first chunk comes from mem when it is needed. RESP2, until the
 * caller sets `resp`; `home` and `owner_is_shard` too are the caller's to set if chunks travel. */
void reply_init(struct reply *r, struct chunk *lent, struct mem *mem);
/* The reply is complete: sizes are up to date. If some of it is lost, the error that says so stands
 * in its place. */
void reply_close(struct reply *r);
/* Nothing was written since `start`. */
void reply_drop(struct reply *r);
/* Whether all that was written since `start` has found memory; if not, it is dropped. */
MUST_USE static inline bool reply_is_whole(struct reply *r)
{
    if (likely(!r->is_lost)) return true;
    reply_drop(r);
    return false;
}
/* From here on until reply_close what is written leads to nothing but that error. */
void reply_lose(struct reply *r);
/* The chain, sizes up to date, an empty chunk only at its start; the reply is empty afterwards (and
 * has no chunk). NULL when nothing was written. */
struct chunk *reply_take(struct reply *r);
/* Appends what was written so far; the error that says so where there is no memory for it. */
void reply_copy(const struct reply *r, struct buf *out);
/* The same with a reply as bytes, of a command that has run. */
void reply_copy_bytes(struct bytes reply, struct buf *out);
/* Leaves a lent chunk alone. */
void chunk_free(struct mem *mem, struct chunk *c);
void chunk_free_chain(struct mem *mem, struct chunk *first);

/* Bytes written so far. */
static inline uint64_t reply_size(const struct reply *r)
{
    return r->last ? r->base + (uint64_t)(r->cursor - r->last->data) : 0;
}

/* Room for `size` contiguous bytes at the cursor; write there, then reply_advance, or let the
 * builders below write there. */
char *reply_reserve_slow(struct reply *r, size_t size);
static inline char *reply_reserve(struct reply *r, size_t size)
{
    if (likely((size_t)(r->limit - r->cursor) >= size)) return r->cursor;
    return reply_reserve_slow(r, size);
}
/* NULL, changing nothing, when there is no memory. */
MUST_USE char *reply_try_reserve(struct reply *r, size_t size);
/* Whether so many more bytes, of whatever, will not be lost. */
MUST_USE static inline bool reply_has_room(struct reply *r, size_t size)
{
    return likely((size_t)(r->limit - r->cursor) >= size) ||
           reply_size(r) - r->start + size <= REPLY_SURE_BYTES || reply_try_reserve(r, size);
}
static inline void reply_advance(struct reply *r, size_t size)
{
    r->cursor += size;
}

/* ---- parts of the inline builders ---- */

/* "$0\r\n" … "$99\r\n". The first byte is replaced for other types. */
#define REPLY_HEADS 100
#define REPLY_HEAD_BYTES 8
extern const char reply_heads[REPLY_HEADS][REPLY_HEAD_BYTES];

void reply_long_head(struct reply *r, char type, uint64_t value);
void reply_long_i64(struct reply *r, int64_t value);
void reply_long_bulk(struct reply *r, struct bytes value);
void reply_long_raw(struct reply *r, const void *data, size_t size);

/* Writes REPLY_HEAD_BYTES, of which those before the result count. */
static inline char *reply_put_head(char *p, char type, size_t value)
{
    memcpy(p, reply_heads[value], REPLY_HEAD_BYTES);
    p[0] = type;
    return p + 4 + (value > 9);
}

/* Values of 16 to 32 bytes, the common case, need no call. */
static inline char *reply_put(char *p, const char *data, size_t size)
{
    if (size - 16 <= 16) {
        memcpy(p, data, 16);
        memcpy(p + size - 16, data + size - 16, 16);
    } else if (size > 0) {
        memcpy(p, data, size);
    }
    return p + size;
}

#define REPLY_LITERAL(r, text)                                                                     \
    do {                                                                                           \
        memcpy(reply_reserve((r), sizeof(text) - 1), (text), sizeof(text) - 1);                    \
        reply_advance((r), sizeof(text) - 1);                                                      \
    } while (0)

static inline void reply_head(struct reply *r, char type, uint64_t value)
{
    if (unlikely(value >= REPLY_HEADS)) {
        reply_long_head(r, type, value);
        return;
    }
    r->cursor = reply_put_head(reply_reserve(r, REPLY_HEAD_BYTES), type, value);
}

/* ---- replies ---- */

/* Bytes that are RESP already. */
static inline void reply_raw(struct reply *r, const void *data, size_t size)
{
    if (unlikely((size_t)(r->limit - r->cursor) < size || size == 0)) {
        reply_long_raw(r, data, size);
        return;
    }
    r->cursor = reply_put(r->cursor, (const char *)data, size);
}

/* +OK */
static inline void reply_ok(struct reply *r)
{
    REPLY_LITERAL(r, "+OK\r\n");
}

void reply_status(struct reply *r, const char *text); /* +text, CR and LF become spaces */
void reply_err(struct reply *r, enum err e);          /* -text of e */
/* -…: the format begins with the code, "ERR …". CR and LF become spaces, at the end they go. */
void reply_error(struct reply *r, const char *format, ...) PRINTF_LIKE(2, 3);

/* :n */
static inline void reply_i64(struct reply *r, int64_t value)
{
    if (likely((uint64_t)value < REPLY_HEADS)) {
        r->cursor = reply_put_head(reply_reserve(r, REPLY_HEAD_BYTES), ':', (size_t)value);
    } else {
        reply_long_i64(r, value);
    }
}

/* $n */
static inline void reply_bulk(struct reply *r, struct bytes value)
{
    if (unlikely(value.size >= REPLY_HEADS)) {
        reply_long_bulk(r, value);
        return;
    }
    char *p = reply_put_head(reply_reserve(r, value.size + REPLY_HEAD_BYTES), '$', value.size);
    p = reply_put(p, value.data, value.size);
    memcpy(p, "\r\n", 2);
    r->cursor = p + 2;
}

void reply_bulk_text(struct reply *r, const char *text);
void reply_bulk_i64(struct reply *r, int64_t value); /* the number as a bulk string */

/* $-1 or _ */
static inline void reply_null(struct reply *r)
{
    if (r->resp == 2) {
        REPLY_LITERAL(r, "$-1\r\n");
    } else {
        REPLY_LITERAL(r, "_\r\n");
    }
}

void reply_null_array(struct reply *r); /* *-1 or _ */

/* *n */
static inline void reply_array(struct reply *r, uint64_t count)
{
    reply_head(r, '*', count);
}

void reply_map(struct reply *r, uint64_t pair_count); /* %n, or *2n */
void reply_set(struct reply *r, uint64_t count);      /* ~n, or *n */
/* The array or set that is all of the reply was to have `written` elements, and has got fewer. */
void reply_shorten(struct reply *r, uint64_t written, uint64_t count);
void reply_push(struct reply *r, uint64_t count);            /* >n, or *n */
void reply_double(struct reply *r, double value);            /* ,d or a bulk string */
void reply_bool(struct reply *r, bool value);                /* #t, or :1 */
void reply_big_number(struct reply *r, struct bytes digits); /* (n, or a bulk string */
/* =n txt:…, or a bulk string */
void reply_verbatim(struct reply *r, const char format[3], struct bytes text);
/* |n; RESP3 only: do not call for RESP2 */
void reply_attribute(struct reply *r, uint64_t pair_count);

void reply_validate(const struct reply *r);
