/* list.h: what the list commands are made of, for those that wait as well.
 *
 * Thread     [shard]
 * Errors     As handlers: an err and nothing written, or OK.
 */
#pragma once

#include "shard/cmd/args.h"
#include "shard/type/list.h"

/* LEFT or RIGHT; ERR_SYNTAX. */
MUST_USE enum err arg_list_end(const struct request *rq, uint32_t index, enum list_end *out);

/* Replies the element at that end and takes it off; `e` is the list of key `k`, gone if that was
 * the last. ERR_ALLOC: the reply was lost, and it stays. */
MUST_USE enum err list_reply_pop(struct shard *sh, const struct key *k, struct entry *e,
                                 enum list_end end, struct reply *out);
/* The command that does it. */
static inline const char *list_pop_name(enum list_end end)
{
    return end == LIST_HEAD ? "LPOP" : "RPOP";
}
/* The same with an array of at most `count` elements. */
MUST_USE enum err list_reply_pop_many(struct shard *sh, const struct key *k, struct entry *e,
                                      enum list_end end, uint64_t count, struct reply *out);
/* LMPOP's and BLMPOP's arguments from the count of keys on. */
struct lmpop_options {
    uint32_t key_count;
    enum list_end end;
    int64_t count;
};
MUST_USE bool args_lmpop_or_reply(const struct request *rq, uint32_t first, struct reply *out,
                                  struct lmpop_options *o);
/* LMPOP's reply: the key and an array of its elements. ERR_WRONG_TYPE, ERR_NO_KEY. */
MUST_USE enum err list_reply_mpop(struct shard *sh, const struct key *k,
                                  const struct lmpop_options *o, struct reply *out);

struct list_move {
    struct key from, to; /* may be the same */
    enum list_end from_end, to_end;
};
/* LMOVE: replies the element and puts it at an end of the other list. `source` is the list of
 * `from`. */
MUST_USE enum err list_reply_move(struct shard *sh, const struct list_move *m, struct entry *source,
                                  struct reply *out);
/* All of LMOVE but for its arguments; null if there is no source. */
MUST_USE enum err list_move(struct shard *sh, const struct list_move *m, struct reply *out);
