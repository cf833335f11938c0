/* families.h: the command tables of the roof. */
#pragma once

#include "base/command.h"

extern const struct command_family connection_family;   /* cmd_conn.c */
extern const struct command_family client_family;       /* cmd_client.c */
extern const struct command_family command_info_family; /* cmd_command.c */
extern const struct command_family admin_family;        /* cmd_admin.c */
extern const struct command_family acl_family;          /* cmd_acl.c */
extern const struct command_family transaction_family;  /* tx.c */
extern const struct command_family save_family;         /* cmd_save.c */
extern const struct command_family info_family;         /* cmd_info.c */
extern const struct command_family function_family;     /* cmd_function.c */
extern const struct command_family script_family;       /* cmd_script.c */
extern const struct command_family pubsub_family;       /* cmd_pubsub.c */
extern const struct command_family slowlog_family;      /* cmd_slowlog.c */
extern const struct command_family latency_family;      /* cmd_latency.c */
