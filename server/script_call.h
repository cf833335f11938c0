/* script_call.h: one script under way, and what becomes of the commands that it calls.
 *
 * Thread     The net thread of its connection, and while it runs in place the shard's.
 * Ownership  The net thread's memory.
 */
#pragma once

#include "server/held.h"
#include "server/lua_vm.h"
#include "server/script.h"
#include "server/script_acl.h"

#define SCRIPT_PIPELINED_TEXT                                                                      \
    "ERR The script needs keys that it does not declare, and commands that follow it on this "     \
    "connection are under way already. Nothing has been written; send it again"

struct script_op {
    struct gather gather;
    struct gather_part part;
    struct stuck stuck;
    struct worker *worker;
    struct script *script;
    struct script_acl *acl; /* NULL: the user may do everything */
    const struct route *route;
    struct payload *input; /* NULL: a transaction's */
    struct bytes *argv;
    uint32_t argc, key_count;
    int32_t one_shard; /* of all declared keys; -1: they have none in common */
    uint16_t db;
    uint8_t resp;
    uint16_t client_flags; /* of what it reads: session_client_flags */
    bool is_read_only;
    bool is_attached;    /* the connection waits for it */
    bool is_watched;     /* what it calls is shown by MONITOR */
    bool is_unsaved;     /* the last save failed, so it may not write */
    bool has_line_gap;   /* some of that did not fit */
    uint64_t line_bytes; /* of these lines, in front of the reply from the shard */
    uint64_t sequence;   /* of the request on its connection */
    uint64_t client_id;
    /* ---- in place ---- */
    struct script_op *pointer; /* what travels */
    struct bytes *shard_argv;
    struct shard *shard;
    struct reply *shard_out;
    enum run_state outcome;
    /* ---- of the run ---- */
    struct lua_run run;
    uint64_t started_ns;
    bool has_written;
    bool is_refused;               /* before it ran */
    uint32_t error_count;          /* of errors in its reply: errorstats has them */
    char refusal[96];              /* of a call, while the log cannot be written */
    bool answers_last;             /* the reply leaves when its holding has ended */
    bool is_slow, is_slow_written; /* counted in struct scripts */
    struct dlist slow_link;        /* of a function */
    bool is_long;
    bool touched_undeclared, has_published;
    /* ---- under a holding ---- */
    struct held held;
    struct batch_key *keys;
    bool holds_all;
    bool must_restart;
    bool has_begun, is_stepping, has_reply, call_failed, is_waiting_for_call;
    struct held_stage stage;
    struct batch_command command;
    struct buf call_copy; /* its arguments; then its reply */
    struct buf reply;
    struct buf lines; /* for MONITOR, until it is sure that it does not start again */
    struct held_stage *stage_of_exec; /* NULL: it is no part of a transaction */
};

extern const struct lua_host script_shard_host, script_held_host;

/* Of a request of cmd_script_in_place. */
struct script_op *script_op_of(const struct request *rq);
/* False: the disk takes no writes, and `out` says so. */
bool script_check_disk(struct script_op *op, struct reply *out);
/* Fills op->run. */
void script_prepare_run(struct script_op *op, struct lua_vm *vm, const struct lua_host *host);
/* What its run tells about the script. */
void script_note_habits(struct script_op *op);
bool script_is_modest(const struct script *s);
/* Nothing that came behind it on its connection is under way. */
bool script_may_restart(const struct script_op *op);
void script_leave_slow(struct script_op *op);
/* Shows the calls that have collected on the net thread. */
void script_tell_lines(struct script_op *op);
uint16_t script_client_flags(const struct session *s);
/* Once more, under a holding. */
void script_hold(struct script_op *op, bool everything);
