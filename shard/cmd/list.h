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
 * the last. */
void list_reply_pop(struct shard *sh, const struct key *k, struct entry *e, enum list_end end,
                    struct reply *out);
/* The same with an array of at most `count` elements. */
void list_reply_pop_many(struct shard *sh, const struct key *k, struct entry *e, enum list_end end,
                         uint64_t count, struct reply *out);
/* LMOVE: replies the element and puts it at an end of the other key, which may be the same one.
 * `source` is the list of `from`. */
MUST_USE enum err list_reply_move(struct shard *sh, const struct key *from, struct entry *source,
                                  enum list_end from_end, const struct key *to,
                                  enum list_end to_end, struct reply *out);
