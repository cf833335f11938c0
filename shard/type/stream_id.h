/* stream_id.h: the ids of stream entries: milliseconds and a sequence number.
 *
 * Thread     any; pure functions.
 * Source     Texts are read as redis-server reads them: what strtoull takes is a number too ("007",
 *            "+5", " 5"), and a zero byte ends the text.
 */
#pragma once

#include "base/bytes.h"

struct stream_id {
    uint64_t ms, seq;
};

#define STREAM_ID_MIN ((struct stream_id){0, 0})
#define STREAM_ID_MAX ((struct stream_id){UINT64_MAX, UINT64_MAX})
#define STREAM_ID_TEXT_BYTES_MAX 41 /* two numbers and '-' */
#define STREAM_ID_BYTES 16          /* as bytes: both most significant byte first */

static inline int stream_id_compare(struct stream_id a, struct stream_id b)
{
    if (a.ms != b.ms) return a.ms < b.ms ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}

static inline bool stream_id_is_zero(struct stream_id id)
{
    return (id.ms | id.seq) == 0;
}

/* The neighbours; false where there is none. */
MUST_USE static inline bool stream_id_next(struct stream_id *id)
{
    if (stream_id_compare(*id, STREAM_ID_MAX) == 0) return false;
    if (++id->seq == 0) id->ms++;
    return true;
}

MUST_USE static inline bool stream_id_prev(struct stream_id *id)
{
    if (stream_id_is_zero(*id)) return false;
    if (id->seq-- == 0) id->ms--;
    return true;
}

/* "5" or "5-1"; what is left out is `missing_seq`. With `any_seq`, which may be NULL, "5-*" is
 * allowed and says so there. */
MUST_USE bool stream_id_parse(struct bytes text, uint64_t missing_seq, struct stream_id *out,
                              bool *any_seq);
/* Bytes written to `out` (STREAM_ID_TEXT_BYTES_MAX). */
size_t stream_id_text(struct stream_id id, char *out);

void stream_id_to_bytes(struct stream_id id, uint8_t *out);
struct stream_id stream_id_from_bytes(const char *bytes);
