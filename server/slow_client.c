#include "server/slow_client.h"

#include "server/script.h"
#include "server/script_call.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- on the shard ---- */

static struct worker *worker_of(struct shard *sh)
{
    return container_of(sh, struct worker, shard);
}

/* A script in place travels as a pointer: what its client sent is there. False: it has run in vain,
 * and will be noted when it has run under a holding. */
static bool find_call(struct shard *sh, const struct request *rq, struct slow_call *call)
{
    const struct route *route = &worker_of(sh)->server->router.routes[rq->command_id];
    if (rq->command->on_shard == cmd_script_in_place) {
        const struct script_op *op = script_op_of(rq);
        call->command = route->command;
        call->argv = op->argv;
        call->argc = op->argc;
        return op->outcome != RUN_RESTART;
    }
    call->command = rq->command;
    call->argv = rq->argv;
    call->argc = rq->argc;
    return true;
}

void slow_note(struct shard *sh, const struct request *rq, uint64_t us, struct slow_entry **list)
{
    struct slow_call call = {.us = us};
    if (!find_call(sh, rq, &call)) return;
    struct slow_entry *e = slowlog_make(&worker_of(sh)->server->slowlog, &call);
    if (!e) return;
    e->request_index = (uint16_t)sh->request_index;
    e->is_part = rq->flags & REQUEST_PART && !(rq->flags & REQUEST_IN_EXEC);
    e->next = *list;
    *list = e;
}

void slow_pass(struct shard *sh, struct slow_entry *list)
{
    struct slow_entry *last = list;
    for (; last->next; last = last->next) last->request_index = (uint16_t)sh->request_index;
    last->request_index = (uint16_t)sh->request_index;
    last->next = *sh->slow_to;
    *sh->slow_to = list;
}

void slow_drop(struct shard *sh, struct slow_entry *list)
{
    while (list) {
        struct slow_entry *next = list->next;
        slowlog_drop(&worker_of(sh)->server->slowlog, list);
        list = next;
    }
}

/* ---- on the net thread ---- */

static struct slowlog *log_of(struct netloop *nl)
{
    struct worker *w = nl->owner;
    return &w->server->slowlog;
}

/* What the server itself sends is nobody's business. */
static void add(struct slowlog *log, struct slow_entry *e, struct conn *c)
{
    char peer[ENV_NAME_BYTES_MAX];
    struct session *s = c ? session_of(c) : NULL;
    if (s && s->is_import) {
        slowlog_drop(log, e);
    } else if (!s || e->has_no_client) {
        slowlog_add(log, e, BYTES_LITERAL("?:0"), BYTES_LITERAL(""));
    } else {
        env_peer_name(c->socket.fd, peer);
        slowlog_add(log, e, bytes_of(peer), buf_view(&s->name));
    }
}

static void note_part(struct netloop *nl, struct gather *g, struct slow_entry *e)
{
    struct slow_entry *faster = e;
    if (!g->slow || g->slow->us < e->us) {
        faster = g->slow;
        g->slow = e;
    }
    if (faster) slowlog_drop(log_of(nl), faster);
}

static void place(struct netloop *nl, struct slow_entry *e, const struct run *run)
{
    if (!run) {
        add(log_of(nl), e, NULL);
    } else if (!run->gather) {
        add(log_of(nl), e, netloop_conn(nl, run->conn_index, run->conn_generation));
    } else if (e->is_part) {
        note_part(nl, run->gather, e);
    } else {
        const struct gather *g = run->gather;
        add(log_of(nl), e, netloop_conn(nl, g->conn_index, g->conn_generation));
    }
}

/* The list has the last one first. */
static struct slow_entry *reversed(struct slow_entry *list)
{
    struct slow_entry *out = NULL;
    while (list) {
        struct slow_entry *next = list->next;
        list->next = out;
        out = list;
        list = next;
    }
    return out;
}

void slow_in_run(struct netloop *nl, struct slow_entry *list, const struct run *run)
{
    for (struct slow_entry *e = reversed(list), *next; e; e = next) {
        next = e->next;
        place(nl, e, run);
    }
}

static const struct run *run_of(const struct parcel *pc, uint32_t index)
{
    for (uint32_t i = 0; i < pc->run_count; i++) {
        const struct run *run = &pc->runs[i];
        if (index >= run->first && index < (uint32_t)run->first + run->count) return run;
    }
    return NULL;
}

void slow_in_parcel(struct netloop *nl, const struct parcel *pc)
{
    for (struct slow_entry *e = reversed(pc->slow), *next; e; e = next) {
        next = e->next;
        place(nl, e, run_of(pc, e->request_index));
    }
}

void slow_of_gather(struct netloop *nl, struct gather *g)
{
    struct slow_entry *e = g->slow;
    g->slow = NULL;
    add(log_of(nl), e, netloop_conn(nl, g->conn_index, g->conn_generation));
}

/* ---- what runs outside of shards ---- */

static void log_here(struct worker *w, struct conn *c, const struct request *rq, uint64_t us)
{
    struct slow_call call = {.command = rq->command, .argv = rq->argv, .argc = rq->argc, .us = us};
    struct slow_entry *e = slowlog_make(&w->server->slowlog, &call);
    if (e) add(&w->server->slowlog, e, c);
}

void slow_check(struct worker *w, struct conn *c, const struct request *rq, uint64_t ns)
{
    const struct config *config = w->config;
    uint64_t us = ns / 1000;
    if (config->latency_tracking)
        histogram_slot_add(&w->routes[rq->command_id].histogram, &w->net.mem, ns, 1);
    if (unlikely(config->slowlog_slower_than_us >= 0 &&
                 us >= (uint64_t)config->slowlog_slower_than_us) &&
        !(rq->command->flags & CMD_SKIP_SLOWLOG))
        log_here(w, c, rq, us);
    if (unlikely(config->latency_monitor_threshold_ms > 0) &&
        us / 1000 >= config->latency_monitor_threshold_ms)
        latency_add(&w->server->latency, rq->command->flags & CMD_FAST ? "fast-command" : "command",
                    us / 1000);
}
