#include "server/script.h"

#include "base/text.h"
#include "server/coord.h"
#include "server/lua_vm.h"
#include "server/script_call.h"
#include "server/server.h"
#include "server/slow_client.h"
#include "server/worker.h"

#define FIRST_KEY 3 /* EVAL script numkeys key … */

/* ---- the state of a thread ---- */

struct lua_vm *script_vm(struct worker *w)
{
    if (unlikely(!w->vm.L) && !lua_vm_try_init(&w->vm, w)) return NULL;
    return &w->vm;
}

static struct script_table *table_of(struct worker *w)
{
    if (unlikely(!w->script_table)) {
        w->script_table = mem_alloc(&w->net.mem, sizeof *w->script_table);
        script_table_init(w->script_table, &w->server->scripts.cache, w->server->hash_seed);
    }
    return w->script_table;
}

void script_worker_deinit(struct worker *w)
{
    if (w->vm.L) lua_vm_deinit(&w->vm);
    if (w->libraries) library_set_unref(&w->server->scripts.functions, w->libraries);
    if (!w->script_table) return;
    script_table_deinit(w->script_table);
    mem_free(&w->net.mem, w->script_table, sizeof *w->script_table);
}

void scripts_init(struct scripts *s)
{
    script_cache_init(&s->cache);
    functions_init(&s->functions);
    pthread_mutex_init(&s->mutex, NULL);
    dlist_init(&s->running);
}

void scripts_deinit(struct scripts *s)
{
    script_cache_deinit(&s->cache);
    functions_deinit(&s->functions);
    pthread_mutex_destroy(&s->mutex);
}

/* ---- finding the script ---- */

struct script *script_load(struct worker *w, struct bytes text, struct reply *out)
{
    struct script *s = script_table_find_text(table_of(w), text);
    if (likely(s)) {
        script_ref(s);
        return s;
    }
    uint32_t flags;
    bool has_shebang;
    struct buf *error = &w->scratch;
    error->size = 0;
    struct lua_vm *vm = script_vm(w);
    if (!vm) {
        reply_err(out, ERR_ALLOC);
        return NULL;
    }
    if (!script_read_shebang(text, &flags, &has_shebang, error) ||
        !lua_vm_check(vm, text, has_shebang, error)) {
        reply_error(out, "%.*s", (int)error->size, error->data);
        return NULL;
    }
    s = script_cache_add(&w->server->scripts.cache, text, flags, has_shebang);
    if (!s) {
        reply_err(out, ERR_ALLOC);
        return NULL;
    }
    script_ref(s);
    script_table_put(table_of(w), s);
    return s;
}

static struct script *find_function(struct worker *w, struct bytes name, struct reply *out)
{
    functions_refresh(&w->server->scripts.functions, &w->libraries, &w->libraries_version);
    struct function *f = library_set_find_function(w->libraries, name);
    if (!f) {
        reply_error(out, "ERR Function not found");
        return NULL;
    }
    script_ref(&f->script);
    return &f->script;
}

static bool is_fcall(const struct route *route)
{
    return route->command->name[0] == 'f';
}

static bool is_by_sha(const struct route *route)
{
    return strncmp(route->command->name, "evalsha", 7) == 0;
}

/* Counted. NULL: the error has been written. */
static struct script *find_script(struct worker *w, const struct route *route,
                                  const struct bytes *argv, struct reply *out)
{
    if (is_fcall(route)) return find_function(w, argv[1], out);
    if (!is_by_sha(route)) return script_load(w, argv[1], out);
    struct script *s = script_table_find_sha(table_of(w), argv[1]);
    if (s)
        script_ref(s);
    else
        reply_error(out, "NOSCRIPT No matching script. Please use EVAL.");
    return s;
}

/* A first line that claims neither makes the script one that needs memory from its start. */
static bool must_have_memory(bool has_shebang, uint32_t flags)
{
    return has_shebang && !(flags & (SCRIPT_NO_WRITES | SCRIPT_ALLOW_OOM));
}

uint32_t script_needs(struct worker *w, const struct command *c, const struct bytes *argv)
{
    uint32_t flags = 0;
    bool has_shebang = false;
    const struct script *s = NULL;
    if (c->name[0] == 'f') {
        functions_refresh(&w->server->scripts.functions, &w->libraries, &w->libraries_version);
        const struct function *f = library_set_find_function(w->libraries, argv[1]);
        if (f) s = &f->script;
    } else if (strncmp(c->name, "evalsha", 7) == 0) {
        s = script_table_find_sha(table_of(w), argv[1]);
    } else {
        w->scratch.size = 0;
        if (!script_read_shebang(argv[1], &flags, &has_shebang, &w->scratch)) return CMD_WRITE;
    }
    if (s) flags = s->flags;
    if (s) has_shebang = s->has_shebang;
    return (flags & SCRIPT_NO_WRITES ? 0 : CMD_WRITE) |
           (must_have_memory(has_shebang, flags) ? CMD_DENY_OOM : 0);
}

/* ---- life ---- */

static struct script_op *op_make(struct worker *w, const struct route *route)
{
    struct script_op *op = mem_alloc_zeroed(&w->net.mem, sizeof *op);
    op->worker = w;
    op->route = route;
    op->call_copy.mem = op->reply.mem = op->lines.mem = &w->net.mem;
    op->is_watched = server_has_monitors(w->server);
    op->is_unsaved = w->obstacles & OBSTACLE_MISCONF && w->config->stop_writes_on_bgsave_error &&
                     w->config->save_count > 0;
    op->is_read_only = route->command->flags & CMD_READ;
    op->one_shard = -1;
    return op;
}

static void op_free(struct script_op *op)
{
    struct worker *w = op->worker;
    struct mem *mem = &w->net.mem;
    if (op->is_slow) script_leave_slow(op);
    if (op->held.worker) held_free(&op->held);
    if (op->keys) mem_free(mem, op->keys, op->key_count * sizeof *op->keys);
    if (op->stage.batch.worker) stage_free(&op->stage);
    if (op->shard_argv) mem_free(mem, op->shard_argv, (2 + op->key_count) * sizeof *op->shard_argv);
    if (op->input) payload_unref(op->input);
    script_acl_free(op->acl);
    buf_clear(&op->call_copy);
    buf_clear(&op->reply);
    buf_clear(&op->lines);
    if (op->script) script_unref(&w->server->scripts.cache, op->script);
    mem_free(mem, op, sizeof *op);
}

/* Declared keys and their shards. False: `out` says why not. */
static bool read_keys(struct script_op *op, struct reply *out)
{
    int64_t count;
    if (!text_to_i64(op->argv[2], &count)) {
        if (is_fcall(op->route))
            reply_error(out, "ERR Bad number of keys provided");
        else
            reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (count > (int64_t)op->argc - FIRST_KEY) {
        reply_error(out, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    if (count < 0) {
        reply_error(out, "ERR Number of keys can't be negative");
        return false;
    }
    op->key_count = (uint32_t)count;
    const struct router *router = &op->worker->server->router;
    for (uint32_t i = 0; i < op->key_count; i++) {
        uint64_t hash;
        uint16_t shard = router_shard(router, op->argv[FIRST_KEY + i], &hash);
        if (i == 0) op->one_shard = shard;
        if (op->one_shard != shard) {
            op->one_shard = -1;
            break;
        }
    }
    return true;
}

/* What a first line promises, before it runs. */
static bool check_flags(struct script_op *op, struct reply *out)
{
    const struct script *s = op->script;
    if (likely(!s->has_shebang)) return true;
    if (!(s->flags & SCRIPT_NO_WRITES) && !script_check_disk(op, out)) return false;
    if (must_have_memory(s->has_shebang, s->flags) && coord_is_full(op->worker)) {
        op->is_refused = true;
        reply_err(out, ERR_NO_MEM);
        return false;
    }
    if (op->route->command->flags & CMD_READ && !(s->flags & SCRIPT_NO_WRITES)) {
        reply_error(out, "ERR Can not execute a script with write flag using *_ro command.");
        return false;
    }
    return true;
}

/* Finds script and keys. False: `out` says what is wrong. As in Redis a function must be there
 * before its keys are counted, and what is no digest is not looked for. */
static bool prepare(struct script_op *op, struct reply *out)
{
    bool is_function = is_fcall(op->route);
    if (is_function) op->script = find_script(op->worker, op->route, op->argv, out);
    if (is_function && !op->script) return false;
    if (is_by_sha(op->route) && op->argv[1].size != SCRIPT_SHA_BYTES) {
        reply_error(out, "NOSCRIPT No matching script. Please use EVAL.");
        return false;
    }
    if (!read_keys(op, out)) return false;
    if (!is_function) op->script = find_script(op->worker, op->route, op->argv, out);
    if (!op->script || !check_flags(op, out)) return false;
    op->is_read_only |= (op->script->flags & SCRIPT_NO_WRITES) != 0;
    return true;
}

/* ---- the reply ---- */

static void send_answer(struct script_op *op, struct bytes reply)
{
    if (op->is_slow) script_leave_slow(op); /* who has the reply must not meet BUSY */
    struct netloop *nl = &op->worker->net;
    struct session_ref ref = {.index = op->gather.conn_index,
                              .generation = op->gather.conn_generation};
    struct session *s = session_find(nl, ref);
    if (!s) return;
    script_acl_tell(op->acl, s);
    struct reply out = netloop_reply(nl, op->resp);
    reply_raw(&out, reply.data, reply.size);
    if (op->has_written) /* an error would tell that nothing was done */
        conn_fill_slot_done(&s->conn, op->gather.slot, &out);
    else
        conn_fill_slot(&s->conn, op->gather.slot, &out);
    netloop_reply_drop(nl, &out);
    if (op->is_attached) s->is_waiting = false;
    op->worker->should_resume = true;
}

static void count_failures(struct script_op *op)
{
    counter_add(&op->worker->routes[op->route->id].failed, op->error_count);
    op->error_count = 0;
}

/* The reply of a run. */
static void answer(struct script_op *op, struct bytes reply)
{
    count_failures(op);
    send_answer(op, reply);
}

/* In place of a run. */
static void answer_error(struct script_op *op, const char *text)
{
    struct netloop *nl = &op->worker->net;
    struct buf *line = &op->worker->scratch;
    line->size = 0;
    buf_printf(line, "-%s\r\n", text);
    nl->hooks->on_error(nl, op->route->id, bytes_make(line->data + 1, line->size - 1));
    send_answer(op, buf_view(line));
}

/* ---- under a holding ---- */

static void held_go_on(struct script_op *op);

static void op_finish(struct script_op *op)
{
    op->worker->net.errands--;
    op_free(op);
}

static void on_ended(struct held *h)
{
    struct script_op *op = container_of(h, struct script_op, held);
    if (op->answers_last) answer(op, buf_view(&op->reply));
    if (!op->must_restart) {
        op_finish(op);
        return;
    }
    held_free(h);
    op->held = (struct held){0};
    op->must_restart = false;
    script_hold(op, true);
}

/* From its first step to its end, with the way to the shards and back for what it calls. */
static void note_time(struct script_op *op)
{
    struct worker *w = op->worker;
    struct conn *c = netloop_conn(&w->net, op->gather.conn_index, op->gather.conn_generation);
    struct request rq = {.command = op->route->command,
                         .argv = op->argv,
                         .argc = op->argc,
                         .command_id = op->route->id};
    slow_check(w, c, &rq, env_now_ns() - op->started_ns);
}

/* The script is done; what it wrote is there, as every reply has come. With a log, it will survive
 * when the holding has ended. */
static void held_done(struct script_op *op)
{
    if (op->has_begun) note_time(op);
    script_tell_lines(op);
    if (op->stage_of_exec) {
        struct held_stage *s = op->stage_of_exec;
        struct buf reply = op->reply;
        struct session_ref ref = {.index = op->gather.conn_index,
                                  .generation = op->gather.conn_generation};
        script_acl_tell(op->acl, session_find(&op->worker->net, ref));
        count_failures(op);
        op->reply = s->reply;
        s->reply = reply;
        op_finish(op);
        if (s->on_sent) s->on_sent(s);
        s->on_done(s);
        return;
    }
    script_note_habits(op);
    op->held.writes = op->has_written;
    op->answers_last = op->has_written && op->worker->net.is_logging;
    if (!op->answers_last) answer(op, buf_view(&op->reply));
    held_end(&op->held);
}

static void held_restart(struct script_op *op)
{
    if (script_may_restart(op)) {
        op->must_restart = true;
    } else {
        answer_error(op, SCRIPT_PIPELINED_TEXT);
    }
    held_end(&op->held);
}

static void take_reply(struct script_op *op, struct reply *out)
{
    if (!out->last) return;
    reply_close(out);
    bool fits = true;
    for (const struct chunk *c = out->first; c && fits; c = c->next) {
        fits = buf_try_reserve(&op->reply, c->size) != NULL;
        if (fits) buf_append(&op->reply, c->data, c->size);
    }
    if (!fits) { /* an error like any other that ends a script: what it wrote stays */
        op->reply.size = 0;
        buf_printf(&op->reply, "-%s\r\n", err_text(ERR_ALLOC));
    }
    chunk_free_chain(out->mem, out->first);
}

static void slice_resume(struct stuck *stuck)
{
    held_go_on(container_of(stuck, struct script_op, stuck));
}

static void call_done(struct held_stage *s)
{
    struct script_op *op = container_of(s, struct script_op, stage);
    op->has_reply = true;
    if (!op->is_stepping) held_go_on(op);
}

/* Sends the command that the script waits for. False: it is away. */
static bool run_call(struct script_op *op)
{
    op->has_reply = false;
    if (op->stage.batch.worker) stage_free(&op->stage);
    op->stage = (struct held_stage){.on_done = call_done};
    op->stage.batch.command_id = op->route->id;
    op->stage.batch.conn_index = op->gather.conn_index;
    op->stage.batch.conn_generation = op->gather.conn_generation;
    if (!stage_plan(&op->stage, op->worker, &op->command, 1)) {
        op->call_failed = op->has_reply = true;
        return true;
    }
    stage_run(&op->stage);
    return op->has_reply;
}

/* Takes the reply of the last command, and lets the script go on. */
static enum run_state held_resume(struct script_op *op, struct reply *out)
{
    struct buf *text = &op->call_copy;
    struct bytes reply = BYTES_LITERAL("-ERR out of memory: the value does not fit\r\n");
    if (op->run.vm && op->is_waiting_for_call && !op->call_failed) {
        struct reply got = netloop_reply(&op->worker->net, op->command.resp);
        stage_reply(&op->stage, 0, &got);
        got.last->size = (uint32_t)(got.cursor - got.last->data);
        text->size = 0;
        reply = BYTES_LITERAL("-ERR out of memory for the reply: the command has run\r\n");
        if (buf_try_reserve(text, reply_size(&got))) {
            for (const struct chunk *c = got.first; c; c = c->next)
                buf_append(text, c->data, c->size);
            reply = buf_view(text);
        }
        netloop_reply_drop(&op->worker->net, &got);
    }
    op->call_failed = op->is_waiting_for_call = false;
    return lua_run_resume(&op->run, reply, out);
}

static enum run_state held_step(struct script_op *op)
{
    struct reply out;
    reply_init(&out, NULL, &op->worker->net.mem);
    out.resp = op->resp;
    enum run_state state = op->has_begun ? held_resume(op, &out) : lua_run_start(&op->run, &out);
    op->has_begun = true;
    op->error_count = out.error_count;
    take_reply(op, &out);
    return state;
}

static void held_go_on(struct script_op *op)
{
    op->is_stepping = true;
    enum run_state state;
    for (;;) {
        state = held_step(op);
        if (state != RUN_CALLS) break;
        op->is_waiting_for_call = true;
        if (!run_call(op)) break;
    }
    op->is_stepping = false;
    if (state == RUN_SLICE) stuck_wait(op->worker, &op->stuck, slice_resume);
    if (state == RUN_DONE) held_done(op);
    if (state == RUN_RESTART) held_restart(op);
}

static void begin_held(struct script_op *op)
{
    counter_add(&op->worker->scripts.held, 1);
    op->has_begun = false;
    op->has_written = false;
    op->reply.size = op->lines.size = 0;
    op->has_line_gap = false;
    op->started_ns = env_now_ns();
    script_prepare_run(op, script_vm(op->worker), &script_held_host);
    op->run.is_full = coord_is_full(op->worker);
    held_go_on(op);
}

static void on_held(struct held *h)
{
    struct script_op *op = container_of(h, struct script_op, held);
    if (!h->has_failed && script_vm(op->worker)) {
        begin_held(op);
        return;
    }
    answer_error(op, err_text(ERR_ALLOC));
    held_end(h);
}

/* False: no memory. */
static bool holding_plan(struct script_op *op, bool everything)
{
    struct mem *mem = &op->worker->net.mem;
    op->holds_all = everything || op->key_count == 0;
    if (!op->holds_all && !op->keys) {
        op->keys = mem_try_alloc(mem, op->key_count * sizeof *op->keys);
        if (!op->keys) return false;
        for (uint32_t i = 0; i < op->key_count; i++) {
            uint64_t hash;
            op->keys[i].name = op->argv[FIRST_KEY + i];
            op->keys[i].shard = router_shard(&op->worker->server->router, op->keys[i].name, &hash);
        }
    }
    op->held.worker = op->worker;
    op->held.command_id = op->route->id;
    op->held.on_held = on_held;
    op->held.on_ended = on_ended;
    return held_plan(&op->held, op->holds_all ? NULL : op->keys, op->key_count);
}

/* It has started again: here is its place in the order, and not where it came. */
static void record_again(const struct script_op *op)
{
    struct worker *w = op->worker;
    if (w->recorder)
        recorder_add(w->recorder, op->client_id, op->sequence, w->net.turn.request_index++);
}

static void hold_resume(struct stuck *stuck)
{
    struct script_op *op = container_of(stuck, struct script_op, stuck);
    if (!held_reserve(&op->held)) {
        stuck_wait(op->worker, &op->stuck, hold_resume);
        return;
    }
    held_begin(&op->held);
    record_again(op);
}

void script_hold(struct script_op *op, bool everything)
{
    if (!holding_plan(op, everything)) {
        answer_error(op, err_text(ERR_ALLOC));
        op_finish(op);
        return;
    }
    hold_resume(&op->stuck);
}

/* ---- in place ---- */

static void in_place_done(struct gather *g)
{
    struct script_op *op = container_of(g, struct script_op, gather);
    counter_add(&op->worker->scripts.in_place, 1);
    if (op->outcome != RUN_RESTART && !gather_part_try_reserve(g, 0, &g->netloop->flatten)) {
        script_note_habits(op);
        answer_error(op, err_text(ERR_ALLOC));
        gather_release_parts(g);
        op_finish(op);
        return;
    }
    if (op->outcome != RUN_RESTART) {
        struct bytes reply = gather_part_bytes(g, 0, &g->netloop->flatten);
        script_note_habits(op);
        monitor_send(op->worker, bytes_make(reply.data, op->line_bytes), op->has_line_gap);
        reply = bytes_make(reply.data + op->line_bytes, reply.size - op->line_bytes);
        answer(op, reply);
        gather_release_parts(g);
        op_finish(op);
        return;
    }
    gather_release_parts(g);
    counter_add(&op->worker->scripts.restarted, 1);
    script_note_habits(op);
    if (!script_may_restart(op)) {
        answer_error(op, SCRIPT_PIPELINED_TEXT);
        op_finish(op);
        return;
    }
    script_hold(op, true);
}

struct script_op *script_op_of(const struct request *rq)
{
    struct script_op *op;
    CHECK(rq->argv[1].size == sizeof op);
    memcpy(&op, rq->argv[1].data, sizeof op);
    return op;
}

enum err cmd_script_in_place(struct shard *sh, struct request *rq, struct reply *out)
{
    struct worker *w = container_of(sh, struct worker, shard);
    struct script_op *op = script_op_of(rq);
    static const struct command probe = {.name = "script", .flags = CMD_DENY_OOM};
    op->started_ns = env_now_ns();
    struct lua_vm *vm = script_vm(w);
    if (!vm) {
        op->outcome = RUN_DONE;
        return ERR_ALLOC;
    }
    op->shard = sh;
    op->shard_out = out;
    script_prepare_run(op, vm, &script_shard_host);
    op->run.is_full = !shard_admits(sh, &(struct request){.command = &probe});
    uint32_t errors = out->error_count;
    op->outcome = lua_run_start(&op->run, out);
    op->error_count = out->error_count - errors;
    out->error_count = errors; /* they are counted, so the parcel has none to report */
    CHECK(op->outcome == RUN_DONE || op->outcome == RUN_RESTART);
    if (op->outcome == RUN_RESTART) reply_null(out);
    op->shard = NULL; /* what may follow runs on the net thread */
    op->shard_out = NULL;
    if (op->is_slow) script_leave_slow(op);
    return OK;
}

/* With keys: waits for their locks. Without: for all of the shard. */
static const struct command in_place_rows[] = {
    {.name = "script_keys",
     .on_shard = cmd_script_in_place,
     .arity = -2,
     .plan = PLAN_ONE_SHARD,
     .flags = CMD_COUNTS_ERRORS,
     .keys = {{.flags = KEY_RW, .begin = 2, .last = -1, .step = 1}}},
    {.name = "script_all",
     .on_shard = cmd_script_in_place,
     .arity = 2,
     .plan = PLAN_ONE_SHARD,
     .flags = CMD_COUNTS_ERRORS},
};

static void in_place_send(struct script_op *op, uint16_t shard)
{
    struct netloop *nl = &op->worker->net;
    bool is_only_shard = op->worker->server->router.shard_count == 1;
    op->pointer = op;
    op->shard_argv[0] = BYTES_LITERAL("script");
    op->shard_argv[1] = bytes_make(&op->pointer, sizeof op->pointer);
    for (uint32_t i = 0; i < op->key_count; i++) op->shard_argv[2 + i] = op->argv[FIRST_KEY + i];
    op->gather.netloop = nl;
    op->gather.on_complete = in_place_done;
    op->gather.part_count = op->gather.waiting = 1;
    op->gather.parts = &op->part;
    turn_add_part(nl, shard, &op->gather, 0,
                  &(struct turn_request){.command = &in_place_rows[is_only_shard],
                                         .argv = op->shard_argv,
                                         .argc = is_only_shard ? 2 : 2 + op->key_count,
                                         .command_id = op->route->id,
                                         .db = op->db,
                                         .resp = op->resp,
                                         .argv_is_stable = true});
}

/* ---- dispatch ---- */

enum where { IN_PLACE, HOLD_KEYS, HOLD_ALL };

static enum where choose(const struct script_op *op)
{
    uint32_t habits = atomic_load_explicit(&op->script->habits, memory_order_relaxed);
    if (habits & HABIT_UNDECLARED) return HOLD_ALL;
    bool is_only_shard = op->worker->server->router.shard_count == 1;
    if (habits & HABIT_LONG) return is_only_shard ? HOLD_ALL : HOLD_KEYS;
    if (!script_is_modest(op->script)) {
        bool is_harmless = op->is_read_only && (is_only_shard || op->one_shard >= 0);
        return is_harmless ? IN_PLACE : HOLD_ALL;
    }
    return is_only_shard || op->one_shard >= 0 || op->key_count == 0 ? IN_PLACE : HOLD_KEYS;
}

static uint16_t place_of(const struct script_op *op)
{
    if (op->one_shard >= 0) return (uint16_t)op->one_shard;
    int32_t own = op->worker->net.own_shard;
    return own >= 0 ? (uint16_t)own : 0;
}

/* False: no memory. */
static bool plan_for(struct script_op *op, enum where where)
{
    if (where != IN_PLACE) return holding_plan(op, where == HOLD_ALL);
    op->shard_argv =
        mem_try_alloc(&op->worker->net.mem, (2 + op->key_count) * sizeof *op->shard_argv);
    return op->shard_argv != NULL;
}

static bool reserve(struct script_op *op, enum where where)
{
    if (where != IN_PLACE) return held_reserve(&op->held);
    return turn_reserve_one(&op->worker->net, place_of(op));
}

/* Whether it has published, or has not yet run so often that we know that it does not. */
static bool may_publish(const struct script_op *op)
{
    uint32_t habits = atomic_load_explicit(&op->script->habits, memory_order_relaxed);
    return habits & HABIT_PUBLISHES || (!op->is_read_only && !script_is_modest(op->script));
}

/* The script and its keys are known. False: no credit, or something must come first. */
static bool dispatch_op(struct script_op *op, struct session *s)
{
    enum where where = choose(op);
    if (may_publish(op) && !session_may_publish(s, PUBLISHED_SOMEWHERE)) return false;
    bool fits = plan_for(op, where);
    if (fits && !reserve(op, where)) return false;
    struct input_ref input;
    enum err e = fits ? conn_hold_request(&s->conn, op->argc, &input) : ERR_ALLOC;
    if (e != OK) {
        session_refuse(s, op->route, e);
        op_free(op);
        return true;
    }
    op->input = input.payload;
    memcpy(op->input->argv, op->argv, op->argc * sizeof *op->argv);
    op->argv = op->input->argv;
    for (uint32_t i = 0; op->keys && i < op->key_count; i++)
        op->keys[i].name = op->argv[FIRST_KEY + i];
    op->gather.conn_index = s->conn.index;
    op->gather.conn_generation = s->conn.generation;
    op->gather.slot = conn_push_slot(&s->conn);
    op->worker->net.errands++;
    /* Modest ones have been so in many runs, so that what follows need not wait. */
    op->is_attached = (where != HOLD_ALL && !script_is_modest(op->script)) || op->is_watched;
    if (op->is_attached) s->is_waiting = true;
    if (where == IN_PLACE)
        in_place_send(op, place_of(op));
    else
        held_begin(&op->held);
    return true;
}

bool coord_script(struct session *s, const struct route *route)
{
    struct worker *w = session_worker(s);
    const struct resp_reader *r = &s->conn.reader;
    struct reply out = netloop_reply(&w->net, s->resp);
    struct script_op *op = op_make(w, route);
    op->argv = r->argv;
    op->argc = r->argc;
    op->db = (uint16_t)s->db;
    op->resp = s->resp;
    op->client_flags = script_client_flags(s);
    op->acl = s->is_restricted ? script_acl_make(s->user, &w->net.mem) : NULL;
    op->sequence = s->requests;
    op->client_id = s->conn.id;
    if (!prepare(op, &out)) {
        if (op->is_refused)
            session_refuse_with(s, route, &out);
        else
            session_fail_with(s, route, &out);
        op_free(op);
        return true;
    }
    netloop_reply_drop(&w->net, &out);
    if (dispatch_op(op, s)) return true;
    op_free(op);
    return false;
}

void script_run_stage(struct held_stage *stage)
{
    struct worker *w = stage->batch.worker;
    const struct batch_command *c = stage->batch.commands;
    struct reply out = netloop_reply(&w->net, c->resp);
    struct script_op *op = op_make(w, c->route);
    w->net.errands++;
    op->stage_of_exec = stage;
    op->client_flags = c->flags;
    op->argv = c->argv;
    op->argc = c->argc;
    op->db = c->db;
    op->resp = c->resp;
    op->gather.conn_index = stage->batch.conn_index;
    op->gather.conn_generation = stage->batch.conn_generation;
    op->acl = script_acl_make(stage->batch.user, &w->net.mem);
    op->holds_all = true;
    bool ok = prepare(op, &out);
    if (ok && !script_vm(w)) {
        reply_err(&out, ERR_ALLOC);
        ok = false;
    }
    if (!ok) {
        reply_close(&out);
        buf_append(&op->reply, out.first->data, out.first->size);
        w->net.hooks->on_error(&w->net, op->route->id,
                               bytes_make(op->reply.data + 1, op->reply.size - 1));
    }
    netloop_reply_drop(&w->net, &out);
    if (!ok) {
        held_done(op);
        return;
    }
    begin_held(op);
}
