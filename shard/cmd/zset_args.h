/* zset_args.h: what the handlers of sorted sets share: finding one, ranges as clients write them,
 * and elements in replies.
 *
 * Thread     [shard]
 * Errors     As in args.h: functions named …_or_reply have written the error when they return
 *            false.
 */
#pragma once

#include "shard/cmd/args.h"
#include "shard/type/zset.h"

/* A sorted set to be written; `e` NULL: there is no key. */
struct zset_target {
    struct key key;
    struct entry *e;
    struct zset zset;
};

MUST_USE enum err zset_target_find(struct shard *sh, const struct request *rq, uint32_t index,
                                   struct zset_target *t);
/* After a removal that may have left nothing; `event` as keyspace events name it. */
void zset_target_store(struct shard *sh, struct zset_target *t, const char *event);
/* Big parts are freed in slices; to be stored. */
void zset_target_remove(struct shard *sh, struct zset_target *t, struct zset_slice slice);
/* The one at argv[index] to be read; `root` NULL: there is no key. */
MUST_USE enum err zset_find_key(struct shard *sh, const struct request *rq, uint32_t index,
                                struct zset *z);
/* The result of a command that stores one in place of the key at argv[1], and its reply, the number
 * of elements. Takes `z` over, which may be empty or without a root. */
MUST_USE enum err zset_put_result(struct shard *sh, const struct request *rq, struct zset *z,
                                  const char *event, struct reply *out);

/* "5", "(5", "-inf": as C's strtod reads numbers, which takes more than scores of ZADD do. */
MUST_USE bool args_score_range_or_reply(struct shard *sh, const struct request *rq, uint32_t min,
                                        uint32_t max, struct reply *out,
                                        struct zset_score_range *range);
/* "-", "+", "[text", "(text". */
MUST_USE bool args_lex_range_or_reply(const struct request *rq, uint32_t min, uint32_t max,
                                      struct reply *out, struct zset_lex_range *range);

/* Pairs: nested arrays in RESP3, one flat array in RESP2. */
static inline void reply_pairs_head(struct reply *out, uint64_t count)
{
    reply_array(out, out->resp == 2 ? 2 * count : count);
}
static inline void reply_pair(struct reply *out, struct bytes member, double score)
{
    if (out->resp != 2) reply_array(out, 2);
    reply_bulk(out, member);
    reply_double(out, score);
}
/* All of a slice, with the head; backwards if `reverse`. */
void reply_zset_slice(struct reply *out, const struct zset *z, struct zset_slice slice,
                      bool reverse, bool with_scores);

/* ZMPOP's and BZMPOP's arguments from the count of keys on. */
struct zmpop_options {
    int64_t key_count, count;
    bool from_max;
};
MUST_USE bool args_zmpop_or_reply(const struct request *rq, uint32_t first, struct reply *out,
                                  struct zmpop_options *o);
/* ZMPOP's reply, the key and an array of pairs that are taken; ERR_NO_KEY, ERR_WRONG_TYPE. */
MUST_USE enum err zset_reply_mpop(struct shard *sh, const struct request *rq, uint32_t index,
                                  const struct zmpop_options *o, struct reply *out);
/* The element at one end: member and score as they are, without an array, and it is taken out. */
MUST_USE enum err zset_reply_pop(struct shard *sh, struct zset_target *t, bool from_max,
                                 struct reply *out);
