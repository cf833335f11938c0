/* script.h: EVAL and its like: where a script runs, and how it gets at keys elsewhere.
 *
 *     in place    on the shard of its keys; redis.call runs the handler there and then
 *     held        on the connection's net thread, under a holding (held.h) of its keys or of the
 *                 whole keyspace; redis.call is a stage of the holding
 *
 * A script first runs under a holding of the whole keyspace, where it can be interrupted. One that
 * has touched nothing but the keys that it declares, or keys of their shard, MODEST_RUNS times,
 * runs in place or holds only these keys; with one shard, all scripts run in place then. A script
 * that then needs something else before it has written starts again under a holding of the whole
 * keyspace, and does so at once from then on. After it has written it gets an error.
 *
 * Functions of libraries (library.h) are scripts to all of this: FCALL finds one by its name.
 *
 * Thread     [net] of the connection, [shard] where the script runs in place.
 * Ownership  The operation owns the request's arguments and ends with its reply.
 * Errors     Those of the script are its reply.
 * Order      A script stands at its turn, or at its lock turn. One that may have to start again
 *            holds back what follows on its connection.
 */
#pragma once

#include "base/dlist.h"
#include "server/held.h"
#include "server/library.h"
#include "server/script_cache.h"
#include "server/session.h"

struct lua_run;
struct lua_call;

#define SCRIPT_MODEST_RUNS 16
/* Longer than this a script does not keep a shard that it has not written to. */
#define SCRIPT_IN_PLACE_NS 25000000

/* SCRIPT KILL ends the one kind, FUNCTION KILL the other. */
enum script_kind { KIND_SCRIPT, KIND_FUNCTION, SCRIPT_KINDS };

/* Runs of one kind that are beyond busy-reply-threshold. */
struct slow_scripts {
    _Atomic uint32_t count, written; /* written: of them, those that have written */
    _Atomic bool kill;
};

/* Of the server. */
struct scripts {
    struct script_cache cache;
    struct functions functions;
    _Atomic uint32_t slow; /* of both kinds */
    struct slow_scripts kinds[SCRIPT_KINDS];
    pthread_mutex_t mutex;
    struct dlist running; /* under the mutex: functions that are slow */
};

/* One writer: the net thread. */
struct script_counters {
    struct counter in_place, held, restarted;
};

void scripts_init(struct scripts *s);
void scripts_deinit(struct scripts *s);

static inline bool scripts_are_busy(const struct scripts *s)
{
    return unlikely(atomic_load_explicit(&s->slow, memory_order_relaxed) > 0);
}

/* For PLAN_SCRIPT. False: no credit. */
bool coord_script(struct session *s, const struct route *route);
/* A script as a stage of a transaction that holds everything; the reply goes to s->reply. */
void script_run_stage(struct held_stage *s);

/* [net] The script of this text, made known to all threads, counted for the caller. NULL: the error
 * has been written. */
struct script *script_load(struct worker *w, struct bytes text, struct reply *out);
/* [net] Of EVAL, EVALSHA, FCALL and their like: CMD_WRITE unless its flags say that it only reads,
 * CMD_DENY_OOM if it may not begin when memory is used up. */
uint32_t script_needs(struct worker *w, const struct command *c, const struct bytes *argv);

/* What everybody else is answered while scripts are busy, and SCRIPT KILL or FUNCTION KILL. */
void scripts_write_busy(const struct scripts *s, struct reply *out);
void scripts_kill(struct scripts *s, enum script_kind kind, struct reply *out);
/* The function that has run beyond busy-reply-threshold for longest, as FUNCTION STATS tells it. */
void scripts_write_running(struct scripts *s, struct reply *out);

void script_worker_deinit(struct worker *w);
/* The state of this thread, made when it is first needed. */
MUST_USE struct lua_vm *script_vm(struct worker *w); /* NULL: no memory */

/* [shard] The internal row's handler. */
enum err cmd_script_in_place(struct shard *sh, struct request *rq, struct reply *out);
