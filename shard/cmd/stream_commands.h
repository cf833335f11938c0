/* stream_commands.h: the handlers of streams that do not stand in stream.c, which has the rows.
 *
 * Thread     [shard]
 */
#pragma once

#include "base/command.h"

#define STREAM_HANDLER(name) enum err name(struct shard *sh, struct request *rq, struct reply *out)
STREAM_HANDLER(cmd_xread);
STREAM_HANDLER(cmd_xreadgroup);
STREAM_HANDLER(cmd_xgroup_create);
STREAM_HANDLER(cmd_xgroup_setid);
STREAM_HANDLER(cmd_xgroup_destroy);
STREAM_HANDLER(cmd_xgroup_createconsumer);
STREAM_HANDLER(cmd_xgroup_delconsumer);
STREAM_HANDLER(cmd_xack);
STREAM_HANDLER(cmd_xpending);
STREAM_HANDLER(cmd_xclaim);
STREAM_HANDLER(cmd_xautoclaim);
STREAM_HANDLER(cmd_xinfo_stream);
STREAM_HANDLER(cmd_xinfo_groups);
STREAM_HANDLER(cmd_xinfo_consumers);
#undef STREAM_HANDLER
extern const char *const xgroup_help[];
extern const char *const xinfo_help[];
