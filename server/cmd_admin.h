/* cmd_admin.h: the parts of the admin family that have files of their own.
 *
 * Thread     Tables are constant data; handlers as their type says.
 */
#pragma once

#include "base/command.h"

extern const struct command config_subcommands[]; /* cmd_config.c */
extern const struct command debug_subcommands[];  /* cmd_debug.c */
extern const struct command memory_subcommands[]; /* cmd_memory.c */

/* DEBUG with a subcommand that there is not, or too few arguments; asks nothing of the session. */
enum err cmd_debug_unknown(struct session *s, struct request *rq, struct reply *out);

/* [net] cmd_debug_settings.c */
enum err cmd_debug_set_skip_checksum(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_pause_cron(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_mallctl(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_mallctl_str(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_segfault(struct session *s, struct request *rq, struct reply *out);
/* [net] DEBUG ERROR, LOG and PROTOCOL, and [shard] POPULATE: cmd_debug_samples.c. */
enum err cmd_debug_error(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_log(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_protocol(struct session *s, struct request *rq, struct reply *out);
enum err cmd_debug_populate(struct shard *sh, struct request *rq, struct reply *out);

/* [main] DEBUG RELOAD: cmd_save.c. */
enum err cmd_debug_reload(struct server *srv, struct request *rq, struct reply *out);
enum err cmd_debug_loadaof(struct server *srv, struct request *rq, struct reply *out);
