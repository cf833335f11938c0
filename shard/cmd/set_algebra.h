/* set_algebra.h: the handlers that combine several sets; their rows are in set.c.
 *
 * Thread     [shard]
 */
#pragma once

#include "base/command.h"

enum err cmd_sinter(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sinterstore(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sintercard(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sunion(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sunionstore(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sdiff(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_sdiffstore(struct shard *sh, struct request *rq, struct reply *out);
