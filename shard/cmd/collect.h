/* collect.h: what the families of collections share: replies whose number of elements is known only
 * at the end, cursors of SSCAN and its like, and counts of random elements.
 *
 * Thread     [shard]
 * Ownership  What was collected belongs to the collection until one of its two ends takes it.
 */
#pragma once

#include "base/text.h"
#include "shard/cmd/args.h"

struct collection {
    struct reply items;
    uint64_t count; /* the caller's */
};

static inline void collection_begin(struct collection *c, struct shard *sh, const struct reply *out)
{
    reply_init(&c->items, NULL, &sh->mem);
    c->items.resp = out->resp;
    c->count = 0;
}

/* Appends the elements behind a header that the caller has written. */
static inline void collection_end(struct collection *c, struct shard *sh, struct reply *out)
{
    if (c->items.is_lost) reply_lose(out);
    struct chunk *first = reply_take(&c->items);
    for (struct chunk *at = first; at; at = at->next) {
        if (at->size > 0) reply_raw(out, at->data, at->size);
    }
    chunk_free_chain(&sh->mem, first);
}

static inline void collection_drop(struct collection *c, struct shard *sh)
{
    chunk_free_chain(&sh->mem, reply_take(&c->items));
}

/* ---- SSCAN, ZSCAN: positions in a dict have 48 bits, which are the cursor ---- */

#define COLLECTION_CURSOR_SHIFT 16

static inline uint64_t cursor_to_position(uint64_t cursor)
{
    return cursor << COLLECTION_CURSOR_SHIFT;
}

/* The head of a reply with `count` elements, which the caller writes next. */
static inline void reply_scan_head(struct reply *out, uint64_t position, uint64_t count)
{
    char text[TEXT_I64_BYTES_MAX];
    size_t size = text_from_u64(text, position >> COLLECTION_CURSOR_SHIFT);
    reply_array(out, 2);
    reply_bulk(out, bytes_make(text, size));
    reply_array(out, count);
}

/* ---- SRANDMEMBER, ZRANDMEMBER, HRANDFIELD ---- */

/* A count, negative for "with repetitions". */
MUST_USE static inline bool arg_random_count_or_reply(const struct request *rq, uint32_t index,
                                                      struct reply *out, int64_t *count)
{
    if (!text_to_i64(rq->argv[index], count)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (*count == INT64_MIN) {
        reply_error(out, "ERR value is out of range, value must between -9223372036854775807 and "
                         "9223372036854775807");
        return false;
    }
    return true;
}

/* The count, and behind it perhaps the word that asks for more than names: HRANDFIELD, ZRANDMEMBER.
 */
MUST_USE static inline bool arg_random_or_reply(const struct request *rq, struct reply *out,
                                                const char *word, int64_t *count, bool *has_word)
{
    if (!arg_random_count_or_reply(rq, 2, out, count)) return false;
    *has_word = rq->argc == 4 && arg_is(rq, 3, word);
    if (rq->argc > 3 && !*has_word) {
        reply_err(out, ERR_SYNTAX);
        return false;
    }
    if (*has_word && (*count > INT64_MAX / 2 || *count < -(INT64_MAX / 2))) {
        reply_error(out, "ERR value is out of range");
        return false;
    }
    return true;
}
