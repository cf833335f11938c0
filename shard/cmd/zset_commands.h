/* zset_commands.h: the handlers of sorted sets that stand in zset_range.c and zset_algebra.c, whose
 * rows are in zset.c; and what ZADD shares with GEOADD.
 *
 * Thread     [shard]
 */
#pragma once

#include "base/command.h"

#define ZSET_HANDLER(name) enum err name(struct shard *sh, struct request *rq, struct reply *out)
ZSET_HANDLER(cmd_zrange);
ZSET_HANDLER(cmd_zrangestore);
ZSET_HANDLER(cmd_zrangebyscore);
ZSET_HANDLER(cmd_zrevrange);
ZSET_HANDLER(cmd_zrevrangebyscore);
ZSET_HANDLER(cmd_zrangebylex);
ZSET_HANDLER(cmd_zrevrangebylex);
ZSET_HANDLER(cmd_zremrangebyrank);
ZSET_HANDLER(cmd_zremrangebyscore);
ZSET_HANDLER(cmd_zremrangebylex);
ZSET_HANDLER(cmd_zcount);
ZSET_HANDLER(cmd_zlexcount);
ZSET_HANDLER(cmd_zunion);
ZSET_HANDLER(cmd_zinter);
ZSET_HANDLER(cmd_zdiff);
ZSET_HANDLER(cmd_zunionstore);
ZSET_HANDLER(cmd_zinterstore);
ZSET_HANDLER(cmd_zdiffstore);
ZSET_HANDLER(cmd_zintercard);
#undef ZSET_HANDLER

struct zset_add_options {
    bool if_absent, if_present; /* NX, XX */
    bool if_greater, if_less;   /* GT, LT */
    bool count_changed;         /* CH */
    bool increment;             /* INCR */
};

struct zset_addition {
    const struct zset_add_options *options;
    uint32_t first_member; /* index of the first member; the others stand `step` arguments apart */
    uint32_t step;
    uint32_t count;
    uint64_t added, updated;
    bool is_skipped; /* the last element was left alone by an option */
    bool is_nan;
    double score; /* of the last element */
};

/* Adds elements, the scores one by one, to the sorted set at argv[1], and says so ("zadd"). All or
 * none; ERR_ALLOC. The scores are overwritten. */
MUST_USE enum err zset_add(struct shard *sh, const struct request *rq, struct zset_addition *a,
                           double *scores);
void zset_reply_addition(const struct zset_addition *a, struct reply *out);
