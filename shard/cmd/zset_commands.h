/* zset_commands.h: the handlers of sorted sets that stand in zset_range.c and zset_algebra.c; their
 * rows are in zset.c.
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
