#include "server/script_call.h"

#include <stdio.h>

#include <lua.h>

#include "base/text.h"
#include "server/blocking.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/sort_args.h"

#define FIRST_KEY 3
#define XREAD_WAITS "ERR xread command is not allowed with BLOCK option from scripts"
#define XREADGROUP_WAITS "ERR xreadgroup command is not allowed with BLOCK option from scripts"

static struct script_op *op_of(struct lua_run *run)
{
    return container_of(run, struct script_op, run);
}

void script_prepare_run(struct script_op *op, struct lua_vm *vm, const struct lua_host *host)
{
    op->run = (struct lua_run){.vm = vm,
                               .host = host,
                               .script = op->script,
                               .keys = op->argv + FIRST_KEY,
                               .key_count = op->key_count,
                               .args = op->argv + FIRST_KEY + op->key_count,
                               .arg_count = op->argc - FIRST_KEY - op->key_count,
                               .db = op->db,
                               .resp = 2,
                               .is_read_only = op->is_read_only};
}

uint16_t script_client_flags(const struct session *s)
{
    static const struct command reads = {.name = "call", .flags = CMD_READ};
    return session_client_flags(s, &reads);
}

/* ---- what is learned ---- */

bool script_is_modest(const struct script *s)
{
    return atomic_load_explicit(&s->modest_runs, memory_order_relaxed) >= SCRIPT_MODEST_RUNS;
}

void script_note_habits(struct script_op *op)
{
    struct script *s = op->script;
    if (op->has_published)
        atomic_fetch_or_explicit(&s->habits, HABIT_PUBLISHES, memory_order_relaxed);
    if (op->is_long) atomic_fetch_or_explicit(&s->habits, HABIT_LONG, memory_order_relaxed);
    if (op->touched_undeclared)
        atomic_fetch_or_explicit(&s->habits, HABIT_UNDECLARED, memory_order_relaxed);
    else if (!script_is_modest(s))
        atomic_fetch_add_explicit(&s->modest_runs, 1, memory_order_relaxed);
}

bool script_may_restart(const struct script_op *op)
{
    if (op->is_attached) return true;
    struct session_ref ref = {.index = op->gather.conn_index,
                              .generation = op->gather.conn_generation};
    const struct session *s = session_find(&op->worker->net, ref);
    return !s || s->requests == op->sequence + 1;
}

/* ---- long runs ---- */

static struct scripts *scripts_of(const struct script_op *op)
{
    return &op->worker->server->scripts;
}

static enum script_kind kind_of(const struct script_op *op)
{
    return op->script->library ? KIND_FUNCTION : KIND_SCRIPT;
}

static void enter_slow(struct script_op *op)
{
    struct scripts *all = scripts_of(op);
    struct slow_scripts *slow = &all->kinds[kind_of(op)];
    if (op->has_written && !op->is_slow_written) {
        op->is_slow_written = true;
        atomic_fetch_add(&slow->written, 1);
    }
    if (op->is_slow) return;
    op->is_slow = true;
    if (op->script->library) {
        pthread_mutex_lock(&all->mutex);
        dlist_push_back(&all->running, &op->slow_link);
        pthread_mutex_unlock(&all->mutex);
    }
    atomic_fetch_add(&slow->count, 1);
    atomic_fetch_add(&all->slow, 1);
}

void script_leave_slow(struct script_op *op)
{
    struct scripts *all = scripts_of(op);
    struct slow_scripts *slow = &all->kinds[kind_of(op)];
    if (op->script->library) {
        pthread_mutex_lock(&all->mutex);
        dlist_remove(&op->slow_link);
        pthread_mutex_unlock(&all->mutex);
    }
    if (op->is_slow_written) atomic_fetch_sub(&slow->written, 1);
    if (atomic_fetch_sub(&slow->count, 1) == 1) atomic_store(&slow->kill, false);
    atomic_fetch_sub(&all->slow, 1);
    op->is_slow = op->is_slow_written = false;
}

/* ---- what others see of them ---- */

void scripts_write_busy(const struct scripts *s, struct reply *out)
{
    bool is_script = atomic_load(&s->kinds[KIND_SCRIPT].count) > 0;
    reply_error(out,
                "BUSY Redis is busy running a script. You can only call %s KILL or SHUTDOWN "
                "NOSAVE.",
                is_script ? "SCRIPT" : "FUNCTION");
}

void scripts_kill(struct scripts *s, enum script_kind kind, struct reply *out)
{
    struct slow_scripts *own = &s->kinds[kind], *other = &s->kinds[!kind];
    bool is_own = atomic_load(&own->count) > 0;
    if (!scripts_are_busy(s)) {
        reply_error(out, "NOTBUSY No scripts in execution right now.");
    } else if (atomic_load(is_own ? &own->written : &other->written) > 0) {
        reply_error(out, "UNKILLABLE Sorry the script already executed write commands against the "
                         "dataset. You can either wait the script termination or kill the server "
                         "in a hard way using the SHUTDOWN NOSAVE command.");
    } else if (!is_own) {
        scripts_write_busy(s, out);
    } else {
        atomic_store(&own->kill, true);
        reply_ok(out);
    }
}

void scripts_write_running(struct scripts *s, struct reply *out)
{
    pthread_mutex_lock(&s->mutex);
    if (dlist_is_empty(&s->running)) {
        reply_null(out);
    } else {
        const struct script_op *op = container_of(s->running.next, struct script_op, slow_link);
        reply_map(out, 3);
        reply_bulk_text(out, "name");
        reply_bulk_text(out, op->script->label);
        reply_bulk_text(out, "command");
        reply_array(out, op->argc);
        for (uint32_t i = 0; i < op->argc; i++) reply_bulk(out, op->argv[i]);
        reply_bulk_text(out, "duration_ms");
        reply_i64(out, (int64_t)((env_now_ns() - op->started_ns) / 1000000));
    }
    pthread_mutex_unlock(&s->mutex);
}

/* True once it is beyond the limit. */
static bool check_slow(struct script_op *op)
{
    const struct config *config = op->run.vm->worker->config;
    uint64_t limit_ms = (uint64_t)config->busy_reply_threshold_ms;
    uint64_t elapsed_ms = (env_now_ns() - op->started_ns) / 1000000;
    if (elapsed_ms < limit_ms) return false;
    enter_slow(op);
    if (!op->has_written && atomic_load(&scripts_of(op)->kinds[kind_of(op)].kill))
        op->run.must_die = true;
    return true;
}

static bool is_stopping(const struct script_op *op)
{
    return atomic_load_explicit(&op->run.vm->worker->should_stop, memory_order_relaxed);
}

static enum run_state pause_in_place(struct lua_run *run)
{
    struct script_op *op = op_of(run);
    if (is_stopping(op)) run->must_die = true;
    if (env_now_ns() - op->started_ns < SCRIPT_IN_PLACE_NS) return RUN_DONE;
    op->is_long = true;
    if (!op->has_written && op->is_attached) return RUN_RESTART;
    check_slow(op);
    return RUN_DONE;
}

static enum run_state pause_held(struct lua_run *run)
{
    struct script_op *op = op_of(run);
    if (is_stopping(op)) run->must_die = true;
    check_slow(op);
    return RUN_SLICE;
}

/* ---- for MONITOR ---- */

void script_tell_lines(struct script_op *op)
{
    if (likely(op->lines.size == 0 && !op->has_line_gap)) return;
    monitor_send(op->worker, buf_view(&op->lines), op->has_line_gap);
    op->lines.size = 0;
}

static void show_call(struct script_op *op, const struct lua_call *call)
{
    struct buf *line = &op->run.vm->worker->scratch;
    bool is_in_place = op->run.host == &script_shard_host;
    uint64_t collected = is_in_place ? op->line_bytes : op->lines.size;
    if (likely(!op->is_watched)) return;
    line->size = 0;
    bool fits = !op->has_line_gap &&
                monitor_append_line(line, &(struct monitor_call){.command = call->route->command,
                                                                 .argv = call->argv,
                                                                 .argc = call->argc,
                                                                 .db = op->run.db,
                                                                 .who = BYTES_LITERAL("lua")}) &&
                collected + line->size <= MONITOR_WAITING_BYTES_MAX;
    if (fits && is_in_place) {
        fits = reply_try_reserve(op->shard_out, line->size) != NULL;
        if (fits) reply_raw(op->shard_out, line->data, line->size);
        if (fits) op->line_bytes += line->size;
    } else if (fits) {
        fits = buf_try_reserve(&op->lines, line->size) != NULL;
        if (fits) buf_append(&op->lines, line->data, line->size);
    }
    if (!fits) op->has_line_gap = true;
    /* Then it will not start again. */
    if (!is_in_place && op->holds_all) script_tell_lines(op);
}

/* ---- checks that need no key ---- */

static enum call_state refuse(struct lua_call *call, const char *text)
{
    call->error = bytes_of(text);
    return CALL_REFUSED;
}

/* NULL: the disk takes what is written. */
static const char *disk_refusal(struct script_op *op)
{
    struct server *srv = op->worker->server;
    if (unlikely(op->is_unsaved)) return err_text(ERR_MISCONF);
    if (likely(counter_read(&srv->durable.failing) == 0)) return NULL;
    snprintf(op->refusal, sizeof op->refusal, DURABLE_MISCONF, durable_why(srv));
    return op->refusal;
}

bool script_check_disk(struct script_op *op, struct reply *out)
{
    const char *refusal = disk_refusal(op);
    if (!refusal) return true;
    op->is_refused = true;
    reply_error(out, "%s", refusal);
    return false;
}

static enum call_state check_write(struct script_op *op, struct lua_call *call)
{
    uint32_t flags = call->route->command->flags;
    if (!(flags & (CMD_WRITE | CMD_MAY_REPLICATE))) return CALL_DONE;
    if (op->is_read_only)
        return refuse(call, "ERR Write commands are not allowed from read-only scripts.");
    const char *refusal = flags & CMD_WRITE && !op->has_written ? disk_refusal(op) : NULL;
    return refusal ? refuse(call, refusal) : CALL_DONE;
}

/* As in Redis a script that has begun to write goes on. */
static enum call_state check_memory(struct script_op *op, struct lua_call *call)
{
    bool matters = call->route->command->flags & CMD_DENY_OOM && op->run.is_full;
    if (likely(!matters) || op->has_written || op->script->flags & SCRIPT_ALLOW_OOM)
        return CALL_DONE;
    return refuse(call, err_text(ERR_NO_MEM));
}

/* CALL_DONE: it may run. */
static enum call_state check_call(struct script_op *op, struct lua_call *call)
{
    const struct route *parent;
    call->route = router_find(&op->worker->server->router, call->argv, call->argc, &parent);
    if (!call->route) return refuse(call, "ERR Unknown Redis command called from script");
    const struct command *c = call->route->command;
    if (!route_arity_fits(call->route, call->argc))
        return refuse(call, "ERR Wrong number of args calling Redis command from script");
    bool is_elsewhere = c->plan == PLAN_MAIN || (c->plan == PLAN_NET && c->flags & CMD_DEFERS);
    bool is_denied = c->flags & CMD_NO_SCRIPT && !op->worker->scripts_may_all;
    if (is_denied || is_elsewhere || c->plan == PLAN_SCRIPT)
        return refuse(call, "ERR This Redis command is not allowed from script");
    if (c->merge == MERGE_FOUND && blocking_may_wait(c, call->argv, call->argc))
        return refuse(call, c->flags & CMD_WRITE ? XREADGROUP_WAITS : XREAD_WAITS);
    const char *refusal =
        likely(!op->acl)
            ? NULL
            : script_acl_refuses(op->acl, &(struct acl_call){call->route, call->argv, call->argc});
    if (unlikely(refusal)) return refuse(call, refusal);
    enum call_state state = check_write(op, call);
    op->has_published |= (c->flags & CMD_PUBSUB) != 0;
    return state == CALL_DONE ? check_memory(op, call) : state;
}

int lua_check_command(lua_State *L, const struct lua_call *call)
{
    struct lua_vm *vm = lua_vm_of(L);
    const struct route *parent;
    const struct route *route =
        router_find(&vm->worker->server->router, call->argv, call->argc, &parent);
    if (route) {
        const struct script_op *op = op_of(vm->current);
        uint32_t index;
        struct acl_call asked = {route, call->argv, call->argc};
        bool is_allowed = !op->acl || acl_check(op->acl->user, &asked, &index) == ACL_ALLOWED;
        lua_pushboolean(L, is_allowed);
        return 1;
    }
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "ERR Invalid command passed to redis.acl_check_cmd()");
    lua_setfield(L, -2, "err");
    return lua_error(L);
}

/* For commandstats. */
static void count_call(const struct script_op *op, const struct lua_call *call)
{
    uint16_t id = call->route->id;
    counter_add(
        op->shard ? &op->shard->per_command[id].script_calls : &op->worker->routes[id].calls, 1);
}

/* A call of a script that failed, or was refused, at once: no reply of the script counts for it. */
static void count_error(const struct script_op *op, struct bytes text)
{
    worker_count_error(op->run.vm->worker, text);
}

static enum call_state count_refused(const struct script_op *op, const struct lua_call *call)
{
    count_error(op, call->error);
    if (!call->route) return CALL_REFUSED;
    struct counter *rejected = op->shard ? &op->shard->per_command[call->route->id].script_rejected
                                         : &op->worker->routes[call->route->id].rejected;
    counter_add(rejected, 1);
    return CALL_REFUSED;
}

static void count_failed(const struct script_op *op, const struct lua_call *call,
                         const struct reply *out)
{
    uint16_t id = call->route->id;
    struct counter *failed =
        op->shard ? &op->shard->per_command[id].script_failed : &op->worker->routes[id].failed;
    counter_add(failed, 1);
    if (out->first->data[0] == '-')
        count_error(op,
                    bytes_make(out->first->data + 1, (size_t)(out->cursor - out->last->data - 1)));
}

/* ---- which keys ---- */

enum reach {
    REACH_DECLARED,
    REACH_NEAR, /* on the shard of all declared keys */
    REACH_FAR,  /* elsewhere, or here but somebody holds it */
};

struct reaching {
    struct script_op *op;
    const struct bytes *argv;
    enum reach reach; /* the farthest */
};

static bool is_declared(const struct script_op *op, struct bytes name)
{
    for (uint32_t i = 0; i < op->key_count; i++)
        if (bytes_equal(op->argv[FIRST_KEY + i], name)) return true;
    return false;
}

static void reach_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct reaching *r = context;
    const struct script_op *op = r->op;
    struct bytes name = r->argv[index];
    uint64_t hash;
    int32_t shard = router_shard(&op->worker->server->router, name, &hash);
    enum reach reach = REACH_FAR;
    bool is_here = op->shard && shard == op->shard->id;
    bool is_busy = is_here && op->shard->locks.busy && locks_has_hash(op->shard, hash);
    bool is_near = shard == op->one_shard && !is_busy && (op->shard || op->holds_all);
    if (is_near)
        reach = REACH_NEAR;
    else if (is_declared(op, name))
        reach = REACH_DECLARED;
    r->reach = MAX(r->reach, reach);
}

static enum reach reach_of(struct script_op *op, const struct lua_call *call)
{
    const struct command *c = call->route->command;
    struct reaching r = {.op = op, .argv = call->argv};
    bool is_message = c->flags & CMD_PUBSUB && c->plan == PLAN_ONE_SHARD;
    if (is_message) {
        reach_key(&r, 1, NULL);
        /* Channels are no keys: nobody holds them, and under a holding they are within reach. */
        return op->shard ? r.reach : REACH_DECLARED;
    }
    if (!command_has_keys(c)) return REACH_FAR;
    if (sort_has_external_keys(c, call->argv, call->argc)) return REACH_FAR;
    command_each_key(c, call->argv, call->argc, reach_key, &r);
    return r.reach;
}

/* It needs what it does not have. */
static enum call_state out_of_reach(struct script_op *op, struct lua_call *call)
{
    op->touched_undeclared = true;
    if (!op->has_written) return CALL_RESTART;
    /* The habit is noted, so the next run begins with everything. */
    return refuse(call,
                  "ERR The script has written already and now needs a key of another shard that it "
                  "does not declare. What it wrote stays. Declare all its keys in KEYS, or give "
                  "them one {tag}; undeclared keys work from the next run on");
}

/* ---- SELECT, and what needs no thread of its own ---- */

static bool call_select(struct script_op *op, const struct lua_call *call, struct reply *out)
{
    if (strcmp(call->route->command->name, "select") != 0) return false;
    int64_t db;
    if (!text_to_i64(call->argv[1], &db))
        reply_err(out, ERR_NOT_INT);
    else if (db < 0 || db >= op->worker->server->database_count)
        reply_err(out, ERR_DB_INDEX);
    else
        reply_ok(out);
    if (out->error_count == 0) op->run.db = (uint32_t)db;
    return true;
}

/* True if the reply is there: the command asks nothing of a connection. */
static bool call_at_once(struct script_op *op, const struct lua_call *call, struct reply *out)
{
    const struct command *c = call->route->command;
    bool is_done = call_select(op, call, out);
    if (!is_done && !(c->flags & CMD_SESSIONLESS)) return false;
    struct request rq = {.command = c, .argv = call->argv, .argc = call->argc, .resp = out->resp};
    enum err e = is_done ? OK : c->on_net(NULL, &rq, out);
    if (e != OK) reply_err(out, e);
    count_call(op, call);
    if (out->error_count) count_failed(op, call, out);
    show_call(op, call);
    return true;
}

/* ---- in place ---- */

static void first_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    uint32_t *first = context;
    if (*first == 0) *first = index;
}

static void run_on_shard(struct script_op *op, struct lua_call *call, struct reply *out)
{
    struct shard *sh = op->shard;
    const struct route *route = call->route;
    struct request rq = {.command = route->command,
                         .argv = call->argv,
                         .argc = call->argc,
                         .db = (uint16_t)op->run.db,
                         .resp = out->resp,
                         .flags = REQUEST_IN_EXEC | (op->client_flags & REQUEST_NO_TOUCH),
                         .command_id = route->id};
    uint32_t first = route->has_first_key;
    if (!first) command_each_key(route->command, call->argv, call->argc, first_key, &first);
    rq.hashed_index = first & HASHED_INDEX_MAX;
    if (first) router_shard(&op->worker->server->router, call->argv[rq.hashed_index], &rq.hash);
    out->mem = &sh->mem;
    const struct slow_entry *noted = *sh->slow_to;
    uint64_t started = env_ticks();
    shard_run_request(sh, &rq, out);
    span_note(sh, &rq, started);
    if (unlikely(*sh->slow_to != noted)) (*sh->slow_to)->has_no_client = true;
    count_call(op, call);
    if (rq.error_count) count_failed(op, call, out);
    if (op->client_flags & REQUEST_TRACKED && route->command->flags & CMD_READ)
        tracking_remember_in_block(sh, &rq);
}

static enum call_state call_in_place(struct lua_run *run, struct lua_call *call, struct reply *out)
{
    struct script_op *op = op_of(run);
    enum call_state state = check_call(op, call);
    if (state == CALL_REFUSED) return count_refused(op, call);
    if (state != CALL_DONE || call_at_once(op, call, out)) return state;
    const struct command *c = call->route->command;
    if (c->plan == PLAN_NET) return out_of_reach(op, call);
    bool is_only_shard = op->worker->server->router.shard_count == 1;
    if (!is_only_shard && reach_of(op, call) == REACH_FAR) return out_of_reach(op, call);
    if (c->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) op->has_written = true;
    run_on_shard(op, call, out);
    show_call(op, call);
    return CALL_DONE;
}

const struct lua_host script_shard_host = {.call = call_in_place, .pause = pause_in_place};

/* ---- under a holding ---- */

/* A command of the net thread, as if the client had sent it. */
static void call_on_net(struct script_op *op, const struct lua_call *call, struct reply *out)
{
    struct session_ref ref = {.index = op->gather.conn_index,
                              .generation = op->gather.conn_generation};
    struct session *s = session_find(&op->worker->net, ref);
    if (!s) {
        reply_error(out, "ERR The client has gone");
        return;
    }
    uint32_t db = s->db;
    uint8_t resp = s->resp;
    s->db = op->run.db;
    s->resp = out->resp;
    session_run_queued(
        s, &(struct batch_command){.route = call->route, .argv = call->argv, .argc = call->argc},
        out);
    s->db = db;
    s->resp = resp;
}

#define CALL_REPLY_BYTES_USUAL 256

/* The arguments are Lua's, which may collect them while the script waits. */
static bool copy_call(struct script_op *op, const struct lua_call *call)
{
    struct buf *copy = &op->call_copy;
    size_t size = call->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < call->argc; i++) size += call->argv[i].size;
    copy->size = 0;
    /* The reply comes here, too; a short one must not be lost after the command has run. */
    if (!buf_try_reserve(copy, MAX(size, (size_t)CALL_REPLY_BYTES_USUAL))) return false;
    struct bytes *argv = (struct bytes *)(void *)copy->data;
    char *at = copy->data + call->argc * sizeof *argv;
    for (uint32_t i = 0; i < call->argc; i++) {
        argv[i] = bytes_make(at, call->argv[i].size);
        if (call->argv[i].size) memcpy(at, call->argv[i].data, call->argv[i].size);
        at += call->argv[i].size;
    }
    uint16_t flags = op->client_flags;
    if (!(call->route->command->flags & CMD_READ)) flags &= (uint16_t)~REQUEST_TRACKED;
    op->command = (struct batch_command){.route = call->route,
                                         .argv = argv,
                                         .argc = call->argc,
                                         .db = (uint16_t)op->run.db,
                                         .resp = op->run.resp,
                                         .flags = flags};
    uint64_t mset_bytes = 0;
    batch_place(op->worker, &op->command, &mset_bytes);
    return true;
}

static enum call_state call_held(struct lua_run *run, struct lua_call *call, struct reply *out)
{
    struct script_op *op = op_of(run);
    enum call_state state = check_call(op, call);
    if (state == CALL_REFUSED) return count_refused(op, call);
    if (state != CALL_DONE || call_at_once(op, call, out)) return state;
    const struct command *c = call->route->command;
    if (c->plan == PLAN_NET) {
        op->touched_undeclared = true;
        call_on_net(op, call, out);
        count_call(op, call);
        show_call(op, call);
        return CALL_DONE;
    }
    if (!op->touched_undeclared && op->worker->server->router.shard_count > 1) {
        op->touched_undeclared = reach_of(op, call) == REACH_FAR;
        if (op->touched_undeclared && !op->holds_all) return out_of_reach(op, call);
    }
    if (!copy_call(op, call)) return refuse(call, err_text(ERR_ALLOC));
    count_call(op, call);
    if (c->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) op->has_written = true;
    show_call(op, call);
    return CALL_LATER;
}

const struct lua_host script_held_host = {
    .call = call_held, .pause = pause_held, .may_suspend = true};
