/* lua_vm.h: one Lua state of a thread, its sandbox, and runs of scripts in it.
 *
 *     lua_run_start ─▶ redis.call ─▶ host->call … ─▶ RUN_DONE, the reply is written
 *                                └─▶ RUN_CALLS: the host lets it run elsewhere ─▶ lua_run_resume
 *
 * A run is a coroutine. Where the host can run a command at once, nothing is suspended; where it
 * must send it elsewhere, the coroutine yields and goes on with the reply. A script that runs long
 * yields, too (RUN_SLICE), so that a host which can wait may do something else.
 *
 * Thread     of the worker that owns the state.
 * Ownership  A run is the host's, with everything that it points to, until lua_run_end. The state
 *            has memory of its own.
 * Limits     LUA_VM_BYTES_MAX for all that scripts of one thread keep. The compiler to machine code
 *            is off: what it makes calls no hook, so an endless loop could not be ended.
 * Errors     Whatever goes wrong in a script is its reply. lua_run_start has no other errors.
 */
#pragma once

#include "base/counter.h"
#include "base/mem.h"
#include "base/reply.h"

#define LUA_VM_BYTES_MAX (UINT64_C(256) << 20)
#define LUA_HOOK_INSTRUCTIONS 100000

struct library;
struct library_draft;
struct library_set;
struct lua_State;
struct lua_run;
struct route;
struct script;
struct worker;

enum run_state {
    RUN_DONE,    /* the reply is written */
    RUN_CALLS,   /* waits for the reply of the command in argv */
    RUN_SLICE,   /* may go on at once: lua_run_resume without a reply */
    RUN_RESTART, /* what it needs is not here: it must run from its start elsewhere */
};

/* What becomes of a command that a script calls. */
enum call_state {
    CALL_DONE,    /* the reply is in `out` */
    CALL_LATER,   /* RUN_CALLS */
    CALL_REFUSED, /* `error` says why */
    CALL_RESTART,
};

struct lua_call {
    struct bytes *argv;
    uint32_t argc;
    const struct route *route;
    struct bytes error;
};

struct lua_host {
    enum call_state (*call)(struct lua_run *run, struct lua_call *call, struct reply *out);
    /* It has run for a while: true if it may be suspended, or started again elsewhere. */
    enum run_state (*pause)(struct lua_run *run);
    bool may_suspend; /* it answers CALL_LATER and RUN_SLICE */
};

struct lua_vm {
    struct lua_State *L;
    struct worker *worker;
    struct mem mem;
    struct lua_run *current; /* whose KEYS and ARGV stand there */
    uint64_t generation;     /* of the cache that its compiled scripts come from */
    uint64_t call_bytes;     /* size of call_argv */
    struct bytes *call_argv;
    uint64_t random_state;       /* where the next run begins */
    struct buf text;             /* numbers among arguments, and replies in one piece */
    struct chunk *chunk;         /* where replies of commands begin */
    uint32_t runs;               /* under way */
    uint32_t cycles_due;         /* of the collector, until what was forgotten is free */
    struct library_draft *draft; /* of the library that is being loaded; else NULL */
    uint64_t draft_ends_ns;      /* it takes too long */
    bool is_patient;             /* it may take longer: it comes from a file of ours */
    bool is_yielding;            /* a yield of ours is on its way out */
    struct counter used_bytes;
};

/* Of the table `cjson`, as its functions tell them. */
struct json_settings {
    int encode_depth_max, decode_depth_max, digits;
    int sparse_ratio, sparse_safe;
    int encode_invalid; /* of lua_cjson.c */
    bool sparse_as_object, keeps_buffer, decodes_invalid;
};

struct lua_run {
    struct lua_vm *vm;
    const struct lua_host *host;
    struct script *script;
    const struct bytes *keys, *args;
    uint32_t key_count, arg_count;
    uint32_t db;
    uint8_t resp;      /* of the replies that the script sees */
    bool is_read_only; /* EVAL_RO, FCALL_RO */
    bool is_full;      /* of memory, when it began */
    bool has_written;
    bool must_die; /* killed */
    /* ---- private ---- */
    enum run_state state;
    struct lua_State *co;
    int co_ref, keys_ref, args_ref;
    uint64_t random_state; /* 48 bits, of math.random */
    struct json_settings json;
    struct lua_call call; /* of RUN_CALLS */
    bool is_protected;    /* redis.pcall */
};

/* A field of error tables, as in Redis: what a command has answered is in errorstats already. */
#define LUA_COUNTED_FIELD "ignore_error_stats_update"

/* False: no memory. */
MUST_USE bool lua_vm_try_init(struct lua_vm *vm, struct worker *w);
void lua_vm_deinit(struct lua_vm *vm);

/* False, with the text for the client in `error`: it does not compile. */
MUST_USE bool lua_vm_compile(struct lua_vm *vm, struct script *script, struct buf *error);

/* The loading phase of a library: `d` has its name and code, and gets what is registered. False,
 * with the text for the client in `error`: the draft is clear again. */
MUST_USE bool lua_vm_load_library(struct lua_vm *vm, struct library_draft *d, struct buf *error);
/* A library is loaded again by each state in which one of its functions is called. */
void lua_vm_drop_draft(struct lua_vm *vm, struct library_draft *d);

/* Whether that text would compile. */
MUST_USE bool lua_vm_check(struct lua_vm *vm, struct bytes text, bool has_shebang,
                           struct buf *error);

/* Lets go of scripts of an older generation of the cache, of functions that are not in `libraries`,
 * and of the arguments of the last run; to be followed by lua_vm_collect_some. */
void lua_vm_forget_dropped(struct lua_vm *vm, uint64_t generation,
                           const struct library_set *libraries);
/* Collects for about that long. False: there is more to do. */
MUST_USE bool lua_vm_collect_some(struct lua_vm *vm, uint64_t limit_ns);

/* Fields above the private ones are the host's to fill. The reply is of protocol out->resp. */
enum run_state lua_run_start(struct lua_run *run, struct reply *out);
/* `reply`: of the command that it waits for; after RUN_SLICE it is ignored. */
enum run_state lua_run_resume(struct lua_run *run, struct bytes reply, struct reply *out);
/* Lets go of everything. After RUN_DONE and RUN_RESTART it has been called. */
void lua_run_end(struct lua_run *run);

/* ---- for the modules of the sandbox ---- */

struct lua_vm *lua_vm_of(struct lua_State *L);
/* Raises {err = text}; returns for the sake of `return lua_raise(…)` only. */
int lua_raise(struct lua_State *L, const char *text);
void lua_json_defaults(struct json_settings *s);
uint64_t lua_random_next(uint64_t state);

/* Keys of the registry: addresses that nobody else has. */
extern const char lua_key_scripts, lua_key_functions, lua_key_library_view, lua_key_set_loading;
void lua_registry_get(struct lua_State *L, const char *key);

/* Forgets compiled scripts if they take much memory and none runs. */
void lua_vm_make_room(struct lua_vm *vm);
/* lua_library.c */
MUST_USE bool lua_vm_load_again(struct lua_vm *vm, const struct library *l, struct buf *error);
int lua_register_function(struct lua_State *L);

/* script.c: whether the user may run it: pushes a boolean. */
int lua_check_command(struct lua_State *L, const struct lua_call *call);

/* lua_convert.c: the value on top of the stack as a reply; it is taken away. */
void lua_write_reply(struct lua_State *L, struct reply *out);
/* Pushes a reply of a command as a value. */
void lua_push_reply(struct lua_State *L, struct bytes reply);

/* Push a table each: lua_redis.c, lua_cjson.c, lua_cmsgpack.c, lua_struct.c. */
void lua_open_redis(struct lua_State *L);
void lua_open_cjson(struct lua_State *L);
void lua_open_cmsgpack(struct lua_State *L);
void lua_open_struct(struct lua_State *L);
