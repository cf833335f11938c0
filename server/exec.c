#include "server/exec.h"

#include "base/text.h"
#include "server/coord.h"
#include "server/held.h"
#include "server/script_call.h"
#include "server/server.h"
#include "server/session_acl.h"
#include "server/worker.h"
#include "shard/cmd/sort_args.h"

/* Of a command's reply: so much is made sure of before the block runs. */
#define REPLY_BYTES_USUAL 64

/* Consecutive commands that run together under a holding, or one of the net thread. */
struct exec_stage {
    struct held_stage held;
    struct exec *exec;
    uint32_t first, count;
    bool is_net;
};

/* Where the reply of a command of the net thread stands in `replies`. */
struct net_reply {
    size_t at, size;
};

struct exec {
    struct worker *worker;
    struct mem *mem;
    uint32_t conn_index, conn_generation, slot;
    struct tx tx; /* taken over */
    uint16_t command_id;
    uint16_t db;
    struct acl_user *user;    /* counted; NULL: one who may do everything */
    uint8_t resp, first_resp; /* now, and of the reply itself */
    bool is_attached;         /* the connection waits until the end */
    bool is_awaiting;         /* a command of the net thread has deferred its answer */
    bool has_lost_reply; /* for want of memory: it is done, but nobody can say what it replied */
    struct stuck stuck;  /* the answer is there: goes on with the next step */
    struct monitor_notes notes;
    struct buf replies;
    struct net_reply *net_replies; /* one turn: by command; NULL: there are none */
    struct batch batch;            /* one turn */
    /* ---- a holding ---- */
    struct held held;
    bool has_keys; /* else there is nothing to hold */
    bool is_ending, is_ended;
    struct batch_key *keys;
    uint64_t key_count;
    struct exec_stage *stages;
    uint32_t stage_count, next_stage;
};

/* ---- what the block needs ---- */

struct needs {
    bool net;      /* a command of the net or main thread */
    bool deferred; /* one that may answer later */
    bool barrier;
    bool across; /* keys of several shards together */
    bool writes;
    bool scripts; /* which may write */
    bool publishes;
    int32_t messages_at; /* then: the shard; PUBLISHED_SOMEWHERE: on several */
};

static bool is_net(const struct batch_command *c)
{
    return c->route->command->plan == PLAN_NET || c->route->command->plan == PLAN_MAIN;
}

static bool is_message(const struct batch_command *c)
{
    return c->route->command->plan == PLAN_ONE_SHARD && c->route->command->flags & CMD_PUBSUB;
}

static int32_t channel_shard(const struct worker *w, const struct batch_command *c)
{
    return router_place(&w->server->router, c->route, c->argv, c->argc).shard;
}

static struct needs needs_of(struct worker *w, const struct tx *tx)
{
    struct needs n = {.messages_at = PUBLISHED_NOTHING};
    uint64_t mset_bytes = 0;
    for (uint32_t i = 0; i < tx->count; i++) {
        struct batch_command *c = &tx->commands[i];
        uint32_t flags = c->route->command->flags;
        batch_place(w, c, &mset_bytes);
        n.net |= is_net(c);
        n.barrier |= c->route->command->plan == PLAN_MAIN || flags & CMD_BARRIER;
        n.deferred |= c->route->command->plan == PLAN_MAIN || flags & CMD_DEFERS;
        n.across |= c->is_across;
        n.writes |= (flags & CMD_WRITE) != 0;
        n.scripts |= c->route->command->plan == PLAN_SCRIPT;
        n.publishes |= !is_net(c) && flags & CMD_PUBSUB;
        if (is_message(c)) {
            int32_t shard = channel_shard(w, c);
            bool is_same = n.messages_at == PUBLISHED_NOTHING || n.messages_at == shard;
            n.messages_at = is_same ? shard : PUBLISHED_SOMEWHERE;
        }
    }
    /* One after the other. */
    n.across = n.across || n.messages_at == PUBLISHED_SOMEWHERE;
    if (n.scripts) n.messages_at = PUBLISHED_SOMEWHERE;
    return n;
}

/* ---- life ---- */

static struct exec *exec_make(struct session *s, uint16_t command_id)
{
    struct worker *w = session_worker(s);
    struct exec *x = mem_alloc_zeroed(&w->net.mem, sizeof *x);
    x->worker = w;
    x->mem = x->replies.mem = &w->net.mem;
    x->command_id = command_id;
    x->tx = s->tx; /* the session's, until exec_commit */
    return x;
}

static void exec_free(struct exec *x)
{
    batch_free(&x->batch);
    for (uint32_t i = 0; i < x->stage_count; i++)
        if (x->stages[i].held.batch.worker) stage_free(&x->stages[i].held);
    if (x->stages) mem_free(x->mem, x->stages, x->stage_count * sizeof *x->stages);
    if (x->held.worker) held_free(&x->held);
    if (x->user) acl_user_unref(x->user);
    if (x->keys) mem_free(x->mem, x->keys, x->key_count * sizeof *x->keys);
    if (x->net_replies) mem_free(x->mem, x->net_replies, x->tx.count * sizeof *x->net_replies);
    buf_clear(&x->replies);
    monitor_notes_clear(&x->notes);
    mem_free(x->mem, x, sizeof *x);
}

static uint16_t client_flags(const struct session *s, const struct batch_command *c)
{
    if (likely(!s->tracking.is_on && !s->is_no_touch)) return 0;
    return c->route->command->plan == PLAN_SCRIPT ? script_client_flags(s)
                                                  : session_client_flags(s, c->route->command);
}

/* From here on it happens. */
static void exec_commit(struct exec *x, struct session *s)
{
    struct worker *w = x->worker;
    tx_stop_watching(w, &s->tx);
    s->tx = (struct tx){0};
    x->conn_index = s->conn.index;
    x->conn_generation = s->conn.generation;
    x->slot = conn_push_slot(&s->conn);
    x->db = (uint16_t)s->db;
    x->resp = x->first_resp = s->resp;
    s->is_deferred = true;
    w->net.errands++;
    if (unlikely(s->is_restricted)) {
        x->user = s->user;
        acl_user_ref(x->user);
    }
    monitor_notes_take(&x->notes, s);
    if (unlikely(x->notes.who.size)) x->is_attached = s->is_waiting = true;
    for (uint32_t i = 0; i < x->tx.count; i++) {
        struct batch_command *c = &x->tx.commands[i];
        counter_add(&w->routes[c->route->id].calls, 1);
        c->flags = client_flags(s, c);
    }
}

/* A watched key has changed, or there was no memory for the locks. */
static void nothing_ran(struct exec *x)
{
    for (uint32_t i = 0; i < x->tx.count; i++)
        counter_add(&x->worker->routes[x->tx.commands[i].route->id].calls, UINT64_MAX);
}

/* As Redis shows it: SELECT with the database that it has chosen. */
static void show(struct exec *x, const struct batch_command *c, uint32_t db)
{
    monitor_tell_queued(
        x->worker, &x->notes,
        &(struct monitor_call){
            .command = c->route->command, .argv = c->argv, .argc = c->argc, .db = db});
}

static struct session *exec_session(struct exec *x)
{
    struct session_ref ref = {.index = x->conn_index, .generation = x->conn_generation};
    return session_find(&x->worker->net, ref);
}

static void write_null(UNUSED struct exec *x, struct reply *out)
{
    reply_null_array(out);
}

/* The reply leaves, and everything ends. */
/* Room for replies of the usual size, so that they are not lost after the block has run. */
static bool reserve_replies(struct exec *x)
{
    return buf_try_reserve(&x->replies, x->tx.count * (size_t)REPLY_BYTES_USUAL) != NULL;
}

static bool reply_fits(const struct exec *x, struct reply *out)
{
    uint64_t size = REPLY_BYTES_USUAL + x->replies.size;
    for (uint32_t i = 0; i < x->batch.gather.part_count; i++)
        size += x->batch.gather.parts[i].end - x->batch.gather.parts[i].start;
    return size <= REPLY_CHUNK_BYTES || reply_try_reserve(out, size);
}

static void exec_finish(struct exec *x, void (*write)(struct exec *x, struct reply *out))
{
    struct netloop *nl = &x->worker->net;
    struct session *s = exec_session(x);
    struct reply out = netloop_reply(nl, x->first_resp);
    x->has_lost_reply = x->has_lost_reply || !reply_fits(x, &out);
    if (!x->has_lost_reply) write(x, &out);
    x->has_lost_reply |= out.is_lost;
    monitor_tell_last(x->worker, &x->notes, x->db);
    if (s) {
        if (!x->has_lost_reply) conn_fill_slot_done(&s->conn, x->slot, &out);
        if (s->exec == x) {
            s->exec = NULL;
            s->tracking.caching = CACHING_AS_USUAL; /* it was for this transaction */
        }
        if (x->is_attached) s->is_waiting = false;
    }
    netloop_reply_drop(nl, &out);
    /* It is done, so an error would be wrong. */
    if (s && x->has_lost_reply) conn_close(&s->conn);
    x->worker->should_resume = true;
    nl->errands--;
    struct tx tx = x->tx;
    exec_free(x);
    tx_free(&nl->mem, &tx);
}

/* ---- commands of the net thread ---- */

static void take_chain(struct exec *x, const struct chunk *chain)
{
    for (; chain && !x->has_lost_reply; chain = chain->next) {
        x->has_lost_reply = buf_try_reserve(&x->replies, chain->size) == NULL;
        if (!x->has_lost_reply) buf_append(&x->replies, chain->data, chain->size);
    }
}

static void take_reply(struct exec *x, struct reply *r)
{
    reply_close(r);
    take_chain(x, r->first);
}

/* Nobody will read it. */
static void reply_gone(struct exec *x)
{
    buf_append_text(&x->replies, "$-1\r\n");
}

/* Of a connection that has gone only the database still matters. */
static void run_without_session(struct exec *x, const struct batch_command *c)
{
    int64_t db;
    if (strcmp(c->route->command->name, "select") == 0 && text_to_i64(c->argv[1], &db) && db >= 0 &&
        db < x->worker->server->database_count)
        x->db = (uint16_t)db;
    reply_gone(x);
}

/* False: the answer comes later, through exec_answer. */
static bool run_net(struct exec *x, const struct batch_command *c)
{
    struct session *s = exec_session(x);
    if (!s) {
        run_without_session(x, c);
        return true;
    }
    struct reply out = netloop_reply(&x->worker->net, s->resp);
    s->exec = x;
    session_run_queued(s, c, &out);
    /* CLIENT REPLY OFF says nothing, but an array must not lack an element. */
    if (!x->is_awaiting && reply_size(&out) == 0) reply_ok(&out);
    if (!x->is_awaiting) take_reply(x, &out);
    netloop_reply_drop(&x->worker->net, &out);
    x->db = (uint16_t)s->db;
    x->resp = s->resp;
    return !x->is_awaiting;
}

/* ---- one turn ---- */

static void write_batch(struct exec *x, struct reply *out)
{
    if (batch_reply_whole(&x->batch, out)) return;
    reply_array(out, x->tx.count);
    for (uint32_t i = 0; i < x->tx.count; i++) {
        if (is_net(&x->tx.commands[i]))
            reply_raw(out, x->replies.data + x->net_replies[i].at, x->net_replies[i].size);
        else
            batch_reply(&x->batch, i, out);
    }
}

static void batch_finish(struct exec *x)
{
    for (uint32_t i = 0; unlikely(x->notes.who.size) && i < x->tx.count; i++)
        show(x, &x->tx.commands[i], x->tx.commands[i].db);
    exec_finish(x, write_batch);
}

static void batch_done(struct batch *b)
{
    struct exec *x = container_of(b, struct exec, batch);
    if (!batch_is_dirty(b)) {
        batch_finish(x);
        return;
    }
    nothing_ran(x);
    exec_finish(x, write_null);
}

/* Runs what needs no shard, and tells the others which database and protocol are theirs by then. */
static void batch_settle(struct exec *x, struct session *s)
{
    for (uint32_t i = 0; i < x->tx.count; i++) {
        struct batch_command *c = &x->tx.commands[i];
        c->db = x->db;
        c->resp = x->resp;
        c->flags = client_flags(s, c);
        if (!is_net(c)) continue;
        size_t at = x->replies.size;
        CHECK(run_net(x, c));
        c->db = x->db;
        x->net_replies[i] = (struct net_reply){at, x->replies.size - at};
    }
    s->exec = NULL;
}

/* False: no memory. */
static bool batch_make(struct exec *x, bool has_net)
{
    struct batch *b = &x->batch;
    *b = (struct batch){.worker = x->worker,
                        .commands = x->tx.commands,
                        .count = x->tx.count,
                        .watched = x->tx.watched,
                        .watched_count = x->tx.watched_count,
                        .watch = x->tx.watch,
                        .command_id = x->command_id,
                        .on_complete = batch_done};
    if (!batch_plan(b)) return false;
    if (!has_net) return true;
    if (!reserve_replies(x)) return false;
    x->net_replies = mem_try_alloc(x->mem, x->tx.count * sizeof *x->net_replies);
    return x->net_replies != NULL;
}

static enum err run_in_one_turn(struct exec *x, struct session *s)
{
    bool has_parts = x->batch.part_count > 0;
    if (has_parts && !batch_reserve(&x->batch)) {
        exec_free(x);
        session_stall(s);
        return OK;
    }
    exec_commit(x, s);
    x->batch.conn_index = x->conn_index;
    x->batch.conn_generation = x->conn_generation;
    batch_settle(x, s);
    if (!has_parts) {
        batch_finish(x);
        return OK;
    }
    batch_send(&x->batch);
    session_record(s);
    return OK;
}

/* ---- a holding: planning ---- */

struct key_walk {
    const struct router *router;
    const struct bytes *argv;
    struct batch_key *to; /* NULL: only count */
    uint64_t count;
};

static void walk_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct key_walk *walk = context;
    if (walk->to) {
        uint64_t hash;
        struct batch_key *k = &walk->to[walk->count];
        k->name = walk->argv[index];
        k->shard = router_shard(walk->router, k->name, &hash);
    }
    walk->count++;
}

/* False: some command names no keys, or wrongly, so everything must be held. */
static bool walk_keys(const struct exec *x, struct key_walk *walk)
{
    for (uint32_t i = 0; i < x->tx.count; i++) {
        const struct batch_command *c = &x->tx.commands[i];
        uint64_t before = walk->count;
        if (is_net(c) || c->route->command->flags & CMD_PUBSUB) continue;
        bool is_unbounded = c->route->command->plan == PLAN_SCRIPT ||
                            sort_has_external_keys(c->route->command, c->argv, c->argc);
        if (is_unbounded) return false;
        walk->argv = c->argv;
        if (!command_each_key(c->route->command, c->argv, c->argc, walk_key, walk)) return false;
        if (walk->count == before) return false;
    }
    for (uint32_t i = 0; i < x->tx.watched_count; i++) {
        if (walk->to) walk->to[walk->count] = x->tx.watched[i];
        walk->count++;
    }
    return true;
}

static void on_held(struct held *h);
static void on_ended(struct held *h);

/* False: no memory. */
static bool holding_plan(struct exec *x)
{
    struct key_walk walk = {.router = &x->worker->server->router};
    bool everything = !walk_keys(x, &walk);
    x->has_keys = everything || walk.count > 0;
    if (!x->has_keys) return true;
    if (!everything) {
        x->keys = mem_try_alloc(x->mem, walk.count * sizeof *x->keys);
        if (!x->keys) return false;
        x->key_count = walk.count;
        walk = (struct key_walk){.router = walk.router, .to = x->keys};
        CHECK(walk_keys(x, &walk) && walk.count == x->key_count);
    }
    x->held.worker = x->worker;
    x->held.watch = x->tx.watch;
    x->held.command_id = x->command_id;
    x->held.on_held = on_held;
    x->held.on_ended = on_ended;
    return held_plan(&x->held, x->keys, x->key_count);
}

/* The commands from `first` on that make one stage: it publishes on one shard at most. */
static uint32_t stage_extent(struct exec *x, uint32_t first)
{
    const struct batch_command *commands = x->tx.commands;
    int32_t messages_at = PUBLISHED_NOTHING;
    uint32_t end = first;
    if (is_net(&commands[first]) || commands[first].is_across) return 1;
    for (; end < x->tx.count && !is_net(&commands[end]) && !commands[end].is_across; end++) {
        if (!is_message(&commands[end])) continue;
        int32_t shard = channel_shard(x->worker, &commands[end]);
        if (messages_at != PUBLISHED_NOTHING && messages_at != shard) break;
        messages_at = shard;
    }
    return end - first;
}

static void on_stage_sent(struct held_stage *s);
static void on_stage_done(struct held_stage *s);

static bool stage_make(struct exec *x, struct exec_stage *stage, uint32_t first, uint32_t count)
{
    struct batch_command *commands = x->tx.commands + first;
    *stage =
        (struct exec_stage){.exec = x, .first = first, .count = count, .is_net = is_net(commands)};
    if (stage->is_net) return true;
    stage->held.on_done = on_stage_done;
    stage->held.batch.command_id = x->command_id;
    if (first + count == x->tx.count) stage->held.on_sent = on_stage_sent;
    return stage_plan(&stage->held, x->worker, commands, count);
}

static bool stages_plan(struct exec *x)
{
    uint32_t count = 0;
    for (uint32_t at = 0; at < x->tx.count; at += stage_extent(x, at)) count++;
    if (count == 0) return true;
    x->stages = mem_try_alloc(x->mem, count * sizeof *x->stages);
    if (!x->stages) return false;
    memset(x->stages, 0, count * sizeof *x->stages);
    x->stage_count = count;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t extent = stage_extent(x, at);
        if (!stage_make(x, &x->stages[i], at, extent)) return false;
        at += extent;
    }
    return true;
}

/* ---- a holding: running ---- */

static void write_stages(struct exec *x, struct reply *out)
{
    if (x->has_keys && x->held.has_failed) {
        reply_err(out, ERR_ALLOC);
        return;
    }
    if (x->has_keys && x->held.is_dirty) {
        reply_null_array(out);
        return;
    }
    reply_array(out, x->tx.count);
    reply_raw(out, x->replies.data, x->replies.size);
}

static bool is_complete(const struct exec *x)
{
    bool is_done = x->next_stage == x->stage_count ||
                   (x->has_keys && (x->held.is_dirty || x->held.has_failed));
    return is_done && !x->is_awaiting && (x->is_ended || !x->has_keys);
}

static void stages_go_on(struct exec *x);

static void end_holding(struct exec *x)
{
    if (!x->has_keys || x->is_ending) return;
    x->is_ending = true;
    held_end(&x->held);
}

/* The last stage is on its way, so the locks may end behind it. */
static void on_stage_sent(struct held_stage *s)
{
    end_holding(container_of(s, struct exec_stage, held)->exec);
}

static void on_ended(struct held *h)
{
    struct exec *x = container_of(h, struct exec, held);
    x->is_ended = true;
    if (is_complete(x)) exec_finish(x, write_stages);
}

static void on_stage_done(struct held_stage *s)
{
    struct exec_stage *stage = container_of(s, struct exec_stage, held);
    struct exec *x = stage->exec;
    struct reply out = netloop_reply(&x->worker->net, x->resp);
    for (uint32_t i = 0; i < stage->count; i++) stage_reply(s, i, &out);
    /* An error would stand for all of them. */
    x->has_lost_reply |= out.is_lost || s->is_lost;
    take_reply(x, &out);
    netloop_reply_drop(&x->worker->net, &out);
    x->next_stage++;
    stages_go_on(x);
}

/* Until something must be awaited. A stage that was started may be done, and everything with it,
 * before stage_run returns; so nothing may follow it. */
static void stages_go_on(struct exec *x)
{
    while (x->next_stage < x->stage_count) {
        struct exec_stage *stage = &x->stages[x->next_stage];
        struct batch_command *commands = x->tx.commands + stage->first;
        const struct session *s = exec_session(x);
        if (!stage->is_net) {
            for (uint32_t i = 0; i < stage->count; i++) {
                commands[i].db = x->db;
                commands[i].resp = x->resp;
                /* Commands before it may have changed that; nothing else can meanwhile. */
                if (s && s->exec == x) commands[i].flags = client_flags(s, &commands[i]);
                show(x, &commands[i], x->db);
            }
            stage->held.batch.conn_index = x->conn_index;
            stage->held.batch.conn_generation = x->conn_generation;
            stage->held.batch.user = x->user;
            stage_run(&stage->held);
            return;
        }
        bool is_answered = run_net(x, commands);
        show(x, commands, x->db);
        if (!is_answered) return;
        x->next_stage++;
    }
    end_holding(x);
    if (is_complete(x)) exec_finish(x, write_stages);
}

static void on_held(struct held *h)
{
    struct exec *x = container_of(h, struct exec, held);
    if (!h->is_dirty && !h->has_failed) {
        stages_go_on(x);
        return;
    }
    nothing_ran(x);
    end_holding(x);
}

static enum err run_under_holding(struct exec *x, struct session *s, const struct needs *n)
{
    if (!reserve_replies(x) || !holding_plan(x) || !stages_plan(x)) {
        exec_free(x);
        return ERR_ALLOC;
    }
    if (x->has_keys && !held_reserve(&x->held)) {
        exec_free(x);
        session_stall(s);
        return OK;
    }
    exec_commit(x, s);
    x->held.writes = n->writes || n->scripts;
    if (n->net) {
        x->is_attached = s->is_waiting = true;
        s->exec = x;
    }
    if (!x->has_keys) {
        stages_go_on(x);
        return OK;
    }
    held_begin(&x->held);
    session_record(s);
    return OK;
}

/* ---- deferred answers ---- */

uint32_t exec_defer(struct exec *x)
{
    CHECK(x->is_attached); /* its row has CMD_DEFERS */
    x->is_awaiting = true;
    return x->slot;
}

static void resume(struct stuck *stuck)
{
    stages_go_on(container_of(stuck, struct exec, stuck));
}

void exec_answer(struct exec *x, const struct chunk *chain)
{
    CHECK(x->is_awaiting);
    x->is_awaiting = false;
    if (chain)
        take_chain(x, chain);
    else
        reply_gone(x);
    x->next_stage++;
    /* Not now: the reply lies in scratch memory that the next stage would write to. */
    stuck_wait(x->worker, &x->stuck, resume);
}

void exec_on_close(struct exec *x)
{
    if (x->is_awaiting) exec_answer(x, NULL);
}

uint32_t exec_command_count(const struct exec *x)
{
    return x->tx.count;
}

/* ---- EXEC ---- */

static bool publishers_must_wait(struct worker *w, const struct tx *tx)
{
    for (uint32_t i = 0; i < tx->count; i++) {
        const struct batch_command *c = &tx->commands[i];
        if (is_message(c) && pubsub_must_wait(w, (uint16_t)channel_shard(w, c))) return true;
    }
    return false;
}

/* A watch is checked where its key is. If something is written elsewhere, that has to wait for the
 * answer; and so does what the net thread runs. */
static enum err exec_run(struct exec *x, struct session *s, const struct needs *n)
{
    bool is_watching = x->tx.watch != 0;
    if (n->across || n->deferred || (is_watching && n->net)) return run_under_holding(x, s, n);
    if (!batch_make(x, n->net)) {
        exec_free(x);
        return ERR_ALLOC;
    }
    if (!is_watching || !n->writes || x->batch.part_count <= 1) return run_in_one_turn(x, s);
    batch_free(&x->batch);
    return run_under_holding(x, s, n);
}

enum err cmd_exec(struct session *s, struct request *rq, struct reply *out)
{
    if (!s->tx.is_open) {
        reply_error(out, "ERR EXEC without MULTI");
        return OK;
    }
    if (s->tx.is_dirty) {
        tx_discard(s);
        reply_error(out, "EXECABORT Transaction discarded because of previous errors.");
        return OK;
    }
    if (s->tx.command_flags & CMD_DENY_OOM && coord_is_full(session_worker(s))) {
        tx_discard(s);
        return ERR_EXEC_NO_MEM;
    }
    if (unlikely(s->is_restricted)) session_acl_filter_queued(s);
    struct needs n = needs_of(session_worker(s), &s->tx);
    if (n.publishes && publishers_must_wait(session_worker(s), &s->tx)) {
        session_stall(s);
        return OK;
    }
    bool must_wait = n.messages_at != PUBLISHED_NOTHING && !session_may_publish(s, n.messages_at);
    if (must_wait || (n.barrier && !session_reach_barrier(s))) {
        session_stall(s);
        return OK;
    }
    /* It may have to wait for a lock, and then its messages come later, even from one shard. */
    if (n.messages_at != PUBLISHED_NOTHING) s->messages_at = PUBLISHED_SOMEWHERE;
    struct exec *x = exec_make(s, rq->command_id);
    enum err e = exec_run(x, s, &n);
    if (e != OK) tx_discard(s);
    return e;
}
