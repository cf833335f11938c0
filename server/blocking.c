#include "server/blocking.h"

#include "server/batch.h"
#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/session_wait.h"
#include "server/worker.h"
#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/cmd/stream_read.h"

#define CLAIM_ARGC 3

enum blocking_mode { BLOCKING_ALONE, BLOCKING_CLAIM, BLOCKING_ASK };

enum part_state {
    PART_WAITS,  /* its request has not been answered */
    PART_CLAIMS, /* `report`: a key is held; in mode ask: there is something */
    PART_TRIED,  /* mode ask: somebody else was faster; the waiter stands in its queue */
    PART_IS_OVER,
};

struct blocking;

/* The command on one shard. */
struct blocking_part {
    struct blocking *op;
    uint16_t shard;
    enum part_state state;
    bool is_asked_to_settle;
    uint32_t controls_out; /* requests of ours about it that are under way */
    struct gather waiting; /* the request itself */
    struct gather_part waiting_part;
    struct wait_report report;
    struct buf content;             /* what came with the report */
    struct turn_point settle_since; /* of the last question */
};

/* A request about a part. */
struct control {
    struct gather gather;
    struct gather_part gather_part;
    struct blocking_part *part;
    struct turn_point since; /* of a question */
    uint32_t argc;
    struct bytes argv[];
};

enum blocking_phase {
    BLOCKING_WAITS,   /* until every part is settled */
    BLOCKING_TRIES,   /* mode ask: the command runs; the first run under locks */
    BLOCKING_HOLDS,   /* it has found nothing; the keys are held until its parts wait */
    BLOCKING_COMMITS, /* claims are being served and dropped */
};

struct blocking {
    struct session_wait wait;
    struct stuck stuck;
    struct worker *worker;
    const struct route *route;
    struct payload *input; /* argv of the command */
    struct bytes *argv;
    uint32_t argc;
    uint16_t db;
    uint8_t resp;
    enum blocking_mode mode;
    enum blocking_phase phase;
    bool is_spread; /* its keys live on several shards */
    bool is_advancing, must_look_again;
    bool is_unlocking; /* the first run has not come back */
    bool has_end, has_reply;
    struct locked *holding; /* in phase HOLDS */
    bool must_try; /* mode ask: there was something before whatever may have ended the waiting */
    enum session_wait_end end;
    struct wait_id id;
    uint64_t first_hash; /* of argv[first_index] */
    uint32_t first_index;
    uint16_t client_flags;
    struct buf reply;
    struct bytes again_argv[2];
    uint16_t part_count;
    struct blocking_part parts[];
};

static void advance(struct blocking *op);

static size_t blocking_bytes(uint16_t part_count)
{
    return sizeof(struct blocking) + part_count * sizeof(struct blocking_part);
}

static void blocking_free(struct blocking *op)
{
    struct netloop *nl = &op->worker->net;
    for (uint16_t i = 0; i < op->part_count; i++) buf_clear(&op->parts[i].content);
    payload_unref(op->input);
    buf_clear(&op->reply);
    nl->errands--;
    mem_free(&nl->mem, op, blocking_bytes(op->part_count));
}

/* ---- what comes back ---- */

static void take_reply(struct blocking *op, struct bytes reply)
{
    if (op->has_reply) return;
    reply_copy_bytes(reply, &op->reply);
    op->has_reply = true;
}

static void refuse(struct blocking *op)
{
    buf_printf(&op->reply, "-%s\r\n", err_text(ERR_ALLOC));
    op->has_reply = true;
}

static void take_report(struct blocking_part *part, struct bytes reply)
{
    memcpy(&part->report, reply.data, sizeof part->report);
    size_t head = sizeof part->report;
    reply_copy_bytes(bytes_make(reply.data + head, reply.size - head), &part->content);
}

/* A reply in one piece; without memory for that, the error that says so, behind the report if it is
 * one. */
static struct bytes whole_reply(struct gather *g)
{
    struct buf *scratch = &g->netloop->flatten;
    if (gather_part_try_reserve(g, 0, scratch)) return gather_part_bytes(g, 0, scratch);
    char head[sizeof(struct wait_report)];
    bool is_report = gather_part_kind(g, 0) == '\0';
    scratch->size = 0;
    if (is_report) buf_append(scratch, head, gather_part_head(g, 0, head, sizeof head));
    buf_printf(scratch, "-%s\r\n", err_text(ERR_ALLOC));
    return buf_view(scratch);
}

/* The part's own request: a report, the client's reply, or nothing: it was settled. */
static void waiting_answered(struct gather *g)
{
    struct blocking_part *part = container_of(g, struct blocking_part, waiting);
    struct blocking *op = part->op;
    struct bytes reply = whole_reply(g);
    bool is_report = reply.size >= sizeof part->report && reply.data[0] == 0;
    if (is_report && op->mode == BLOCKING_ALONE)
        op->mode = BLOCKING_ASK; /* a move that got stuck */
    bool is_gone = op->mode == BLOCKING_ASK && part->is_asked_to_settle;
    part->state = is_report && !is_gone ? PART_CLAIMS : PART_IS_OVER;
    if (is_report) op->must_try = op->mode == BLOCKING_ASK;
    if (is_report)
        take_report(part, reply);
    else if (reply.size > 0)
        take_reply(op, reply);
    gather_release_parts(g);
    advance(op);
}

static size_t control_bytes(uint32_t argc)
{
    return sizeof(struct control) + argc * sizeof(struct bytes);
}

static void control_free(struct control *c)
{
    struct netloop *nl = c->gather.netloop;
    c->part->controls_out--;
    gather_release_parts(&c->gather);
    mem_free(&nl->mem, c, control_bytes(c->argc));
}

static void control_answered(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking_part *part = c->part;
    if (part->op->mode == BLOCKING_ASK && part->state != PART_WAITS) part->state = PART_IS_OVER;
    control_free(c);
    advance(part->op);
}

static void claim_served(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking *op = c->part->op;
    take_reply(op, whole_reply(g));
    control_free(c);
    advance(op);
}

/* ---- what is sent ---- */

static void gather_arm(struct blocking *op, struct gather *g, struct gather_part *part,
                       void (*on_complete)(struct gather *g))
{
    *part = (struct gather_part){0};
    *g = (struct gather){.netloop = &op->worker->net,
                         .on_complete = on_complete,
                         .conn_index = op->id.conn_index,
                         .conn_generation = op->id.conn_generation,
                         .slot = op->wait.from.slot,
                         .part_count = 1,
                         .waiting = 1,
                         .parts = part};
}

/* NULL: no memory. */
static struct control *control_try_make(struct blocking_part *part, uint32_t argc)
{
    struct control *c = mem_try_alloc(&part->op->worker->net.mem, control_bytes(argc));
    if (c) *c = (struct control){.part = part, .argc = argc};
    return c;
}

static struct control *claim_make(struct blocking_part *part)
{
    struct control *c = mem_alloc(&part->op->worker->net.mem, control_bytes(CLAIM_ARGC));
    *c = (struct control){.part = part, .argc = CLAIM_ARGC};
    return c;
}

static void control_send(struct control *c, const struct command *command, uint16_t flags,
                         void (*on_complete)(struct gather *g))
{
    struct blocking_part *part = c->part;
    struct blocking *op = part->op;
    gather_arm(op, &c->gather, &c->gather_part, on_complete);
    part->controls_out++;
    turn_add_part(&op->worker->net, part->shard, &c->gather, 0,
                  &(struct turn_request){.command = command,
                                         .argv = c->argv,
                                         .argc = c->argc,
                                         .command_id = op->route->id,
                                         .db = op->db,
                                         .resp = op->resp,
                                         .flags = flags,
                                         .argv_is_stable = true});
}

static void resume(struct stuck *s)
{
    advance(container_of(s, struct blocking, stuck));
}

static void wait_for_credit(struct blocking *op)
{
    dlist_remove(&op->stuck.link); /* it may wait already */
    stuck_wait(op->worker, &op->stuck, resume);
}

/* Room for a request on each shard whose part fits; else the operation goes on when there is. */
static bool reserve(struct blocking *op, bool (*fits)(const struct blocking_part *part))
{
    uint16_t shards[ROUTER_SHARDS_MAX], count = 0;
    for (uint16_t i = 0; i < op->part_count; i++)
        if (fits(&op->parts[i])) shards[count++] = op->parts[i].shard;
    if (turn_reserve(&op->worker->net, shards, count)) return true;
    wait_for_credit(op);
    return false;
}

/* ---- settling ---- */

/* The keys of a part, appended to the arguments, or only counted. */
struct settle_keys {
    const struct blocking_part *part;
    struct bytes *argv; /* NULL: count */
    uint32_t argc;
};

static void settle_add_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct settle_keys *keys = context;
    const struct blocking *op = keys->part->op;
    uint64_t hash;
    if (router_shard(&op->worker->server->router, op->argv[index], &hash) != keys->part->shard)
        return;
    if (keys->argv) keys->argv[keys->argc] = op->argv[index];
    keys->argc++;
}

/* NULL: no memory. */
static struct control *settle_try_make(struct blocking_part *part, struct turn_point since)
{
    struct blocking *op = part->op;
    struct settle_keys keys = {.part = part, .argc = 3};
    command_each_key(op->route->command, op->argv, op->argc, settle_add_key, &keys);
    struct control *c = control_try_make(part, keys.argc);
    if (!c) return NULL;
    c->since = since;
    c->argv[0] = BYTES_LITERAL("settle");
    c->argv[1] = bytes_make(&op->id, sizeof op->id);
    c->argv[2] = bytes_make(&c->since, sizeof c->since);
    keys = (struct settle_keys){.part = part, .argv = c->argv, .argc = 3};
    command_each_key(op->route->command, op->argv, op->argc, settle_add_key, &keys);
    return c;
}

static bool report_before(const struct wait_report *a, const struct wait_report *b)
{
    if (turn_point_before(a->since, b->since)) return true;
    return !turn_point_before(b->since, a->since) && a->index < b->index;
}

/* NULL: nobody claims. */
static struct blocking_part *earliest_claim(struct blocking *op)
{
    struct blocking_part *best = NULL;
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        if (part->state != PART_CLAIMS) continue;
        if (!best || report_before(&part->report, &best->report)) best = part;
    }
    return best;
}

/* A part is asked again when there is an earlier claim than the one that it was asked about: what
 * it waits for may wait for that claim. In mode ask the waiter stands in its queue until it is told
 * to go. */
static bool must_settle(const struct blocking_part *part)
{
    struct blocking *op = part->op;
    if (op->mode == BLOCKING_ASK) return !part->is_asked_to_settle && part->state != PART_IS_OVER;
    if (part->state != PART_WAITS) return false;
    if (!part->is_asked_to_settle) return true;
    const struct blocking_part *first = earliest_claim(op);
    return first && turn_point_before(first->report.since, part->settle_since);
}

/* True: something was sent. */
static bool settle(struct blocking *op)
{
    bool must = false;
    for (uint16_t i = 0; i < op->part_count; i++) must |= must_settle(&op->parts[i]);
    if (!must || !reserve(op, must_settle)) return false;
    const struct blocking_part *first = op->mode == BLOCKING_CLAIM ? earliest_claim(op) : NULL;
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        if (!must_settle(part)) continue; /* answered while room was made */
        struct turn_point since =
            first ? first->report.since : (struct turn_point){UINT64_MAX, UINT64_MAX};
        struct control *c = settle_try_make(part, since);
        if (!c) {
            wait_for_credit(op); /* and for memory */
            return false;
        }
        part->is_asked_to_settle = true;
        part->settle_since = since;
        control_send(c, internal_row(INTERNAL_SETTLE), REQUEST_COMMIT, control_answered);
    }
    return true;
}

/* ---- the end ---- */

static bool is_unsettled(const struct blocking *op)
{
    for (uint16_t i = 0; i < op->part_count; i++)
        if (op->parts[i].state == PART_WAITS || op->parts[i].controls_out > 0) return true;
    return false;
}

/* With content there is nothing to end. */
static bool holds_key(const struct blocking_part *part)
{
    return part->state == PART_CLAIMS && part->content.size == 0;
}

/* What the first run has found on any shard. */
struct first_run {
    const struct blocking *op;
    struct bytes parts[ROUTER_SHARDS_MAX];
    uint16_t *key_parts;
    uint32_t key_count;
};

static void first_run_add_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct first_run *f = context;
    const struct blocking *op = f->op;
    uint64_t hash;
    uint16_t shard = router_shard(&op->worker->server->router, op->argv[index], &hash), part = 0;
    while (op->parts[part].shard != shard) part++;
    f->key_parts[f->key_count++] = part;
}

static bool is_first(const struct blocking_part *part)
{
    return part->state == PART_CLAIMS && part->report.is_first;
}

/* NULL: no part is an error. */
static const struct blocking_part *first_error(const struct blocking *op)
{
    const struct blocking_part *found = NULL;
    for (uint16_t i = 0; i < op->part_count; i++) {
        const struct blocking_part *part = &op->parts[i];
        if (!is_first(part) || part->content.data[0] != '-') continue;
        if (!found || part->report.index < found->report.index) found = part;
    }
    return found;
}

static void merge_first_run(struct blocking *op)
{
    struct netloop *nl = &op->worker->net;
    struct first_run f = {.op = op};
    f.key_parts = mem_try_alloc(&nl->mem, op->argc * sizeof *f.key_parts);
    if (!f.key_parts) {
        refuse(op);
        return;
    }
    struct reply out = netloop_reply(nl, op->resp);
    for (uint16_t i = 0; i < op->part_count; i++)
        if (is_first(&op->parts[i])) f.parts[i] = buf_view(&op->parts[i].content);
    command_each_key(op->route->command, op->argv, op->argc, first_run_add_key, &f);
    merge_found(&nl->mem, &(struct found_parts){f.parts, op->part_count, f.key_parts, f.key_count},
                &out);
    reply_copy(&out, &op->reply);
    op->has_reply = true;
    netloop_reply_drop(nl, &out);
    mem_free(&nl->mem, f.key_parts, op->argc * sizeof *f.key_parts);
}

static void take_content(struct blocking *op, const struct blocking_part *winner)
{
    const struct blocking_part *failed = first_error(op);
    if (failed || !winner->report.is_first)
        take_reply(op, buf_view(&(failed ? failed : winner)->content));
    else
        merge_first_run(op);
}

/* The claims end; nothing else of this operation is under way. */
static bool commit(struct blocking *op)
{
    if (!reserve(op, holds_key)) return false;
    op->phase = BLOCKING_COMMITS;
    bool is_wanted = op->wait.session && !op->has_reply;
    const struct blocking_part *winner = is_wanted ? earliest_claim(op) : NULL;
    if (winner && winner->content.size > 0) take_content(op, winner);
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        bool is_held = holds_key(part);
        if (part->state == PART_CLAIMS) part->state = PART_IS_OVER;
        if (!is_held) continue;
        struct control *c = claim_make(part);
        c->argv[0] = BYTES_LITERAL("claim");
        c->argv[1] = bytes_make(&op->id, sizeof op->id);
        c->argv[2] = part == winner ? BYTES_LITERAL("s") : BYTES_LITERAL("d");
        control_send(c, internal_row(INTERNAL_CLAIM), REQUEST_COMMIT,
                     part == winner ? claim_served : control_answered);
    }
    return true;
}

static void finish(struct blocking *op)
{
    struct netloop *nl = &op->worker->net;
    if (op->wait.session) {
        struct reply out = netloop_reply(nl, op->resp);
        if (op->has_reply)
            reply_raw(&out, op->reply.data, op->reply.size);
        else if (op->end == SESSION_WAIT_ERROR)
            session_wait_reply_error(&op->wait, &out);
        else if (op->end == SESSION_WAIT_DENIED)
            reply_error(&out, "NOPERM this user has no permissions to access one of the keys used "
                              "as arguments");
        else
            reply_null_array(&out);
        op->wait.was_served = op->has_reply;
        session_wait_answer(&op->wait, &out);
        netloop_reply_drop(nl, &out);
    }
    dlist_remove(&op->stuck.link);
    blocking_free(op);
}

/* ---- mode ask ---- */

static bool is_null(struct bytes reply)
{
    return bytes_equal(reply, BYTES_LITERAL("$-1\r\n")) ||
           bytes_equal(reply, BYTES_LITERAL("_\r\n"));
}

static void take_try(struct blocking *op, struct bytes reply)
{
    op->phase = BLOCKING_WAITS;
    if (op->parts[0].state == PART_CLAIMS) op->parts[0].state = PART_TRIED;
    if (!is_null(reply)) take_reply(op, reply);
}

static void tried(struct locked *locked)
{
    struct blocking *op = locked->caller;
    take_try(op, buf_view(&locked->reply));
    advance(op);
}

static void tried_alone(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking *op = c->part->op;
    take_try(op, whole_reply(g));
    control_free(c);
    advance(op);
}

static bool first_part(const struct blocking_part *part)
{
    return part == &part->op->parts[0];
}

/* Both lists live on one shard. */
static bool try_alone(struct blocking *op)
{
    if (!reserve(op, first_part)) return false;
    struct control *c = control_try_make(&op->parts[0], op->argc);
    if (!c) {
        wait_for_credit(op); /* and for memory */
        return false;
    }
    op->phase = BLOCKING_TRIES;
    op->must_try = false;
    memcpy(c->argv, op->argv, op->argc * sizeof *op->argv);
    control_send(c, op->route->command, 0, tried_alone);
    return true;
}

static bool try_command(struct blocking *op)
{
    if (!op->is_spread) return try_alone(op);
    struct batch_command c = {
        .route = op->route, .argv = op->argv, .argc = op->argc, .db = op->db, .resp = op->resp};
    op->phase = BLOCKING_TRIES;
    op->must_try = false;
    if (locked_run_alone(op->worker, &c, op->input,
                         &(struct locked_caller){.who = op, .on_reply = tried}))
        return true;
    op->phase = BLOCKING_WAITS;
    op->must_try = true;
    wait_for_credit(op);
    return false;
}

static bool go_on_waiting(struct blocking *op)
{
    struct blocking_part *part = &op->parts[0];
    if (!reserve(op, first_part)) return false;
    part->state = PART_WAITS;
    gather_arm(op, &part->waiting, &part->waiting_part, waiting_answered);
    turn_add_part(&op->worker->net, part->shard, &part->waiting, 0,
                  &(struct turn_request){.command = internal_row(INTERNAL_AGAIN),
                                         .argv = op->again_argv,
                                         .argc = 2,
                                         .command_id = op->route->id,
                                         .db = op->db,
                                         .resp = 2,
                                         .flags = REQUEST_COMMIT,
                                         .argv_is_stable = true});
    return true;
}

enum step { STEP_WAIT, STEP_AGAIN, STEP_OVER };

static bool any_part(UNUSED const struct blocking_part *part)
{
    return true;
}

/* The command itself, to each of its shards. */
static void send_parts(struct blocking *op, uint16_t more_flags)
{
    uint16_t flags = REQUEST_MAY_WAIT | op->client_flags | more_flags;
    if (op->mode == BLOCKING_CLAIM) flags |= REQUEST_CLAIM;
    if (op->mode == BLOCKING_ASK) flags |= REQUEST_ASK;
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        part->state = PART_WAITS;
        gather_arm(op, &part->waiting, &part->waiting_part, waiting_answered);
        turn_add_part(&op->worker->net, part->shard, &part->waiting, 0,
                      &(struct turn_request){.command = op->route->command,
                                             .argv = op->argv,
                                             .argc = op->argc,
                                             .command_id = op->route->id,
                                             .db = op->db,
                                             .hash = op->first_hash,
                                             .hashed_index = op->first_index,
                                             .resp = op->resp,
                                             .flags = flags,
                                             .argv_is_stable = true,
                                             .is_same_command = i > 0});
    }
}

/* ---- first run under locks: XREADGROUP ---- */

/* The keys are still held, so nobody comes between. */
static enum step begin_under_locks(struct blocking *op)
{
    struct locked *holding = op->holding;
    bool is_wanted = op->wait.session && !op->has_end;
    if (is_wanted && !reserve(op, any_part)) return STEP_WAIT;
    if (is_wanted) send_parts(op, REQUEST_COMMIT);
    op->phase = BLOCKING_WAITS;
    op->holding = NULL;
    locked_read_end(holding);
    return STEP_AGAIN;
}

static void found_nothing(struct locked *locked)
{
    struct blocking *op = locked->caller;
    op->holding = locked;
    op->phase = BLOCKING_HOLDS;
    advance(op);
}

/* With a reply that counts, or behind begin_under_locks. */
static void ran_under_locks(struct locked *locked)
{
    struct blocking *op = locked->caller;
    op->is_unlocking = false;
    if (op->phase == BLOCKING_TRIES) {
        op->phase = BLOCKING_WAITS;
        take_reply(op, buf_view(&locked->reply));
    }
    advance(op);
}

static void run_under_locks(struct blocking *op)
{
    struct batch_command c = {.route = op->route,
                              .argv = op->argv,
                              .argc = op->argc,
                              .db = op->db,
                              .resp = op->resp,
                              .flags = op->client_flags};
    op->phase = BLOCKING_TRIES;
    op->is_unlocking = true;
    if (locked_run_alone(op->worker, &c, op->input,
                         &(struct locked_caller){op, ran_under_locks, found_nothing}))
        return;
    op->phase = BLOCKING_WAITS; /* There was room for the turn, so memory is short. */
    op->is_unlocking = false;
    refuse(op);
    advance(op);
}

/* ---- from event to event ---- */

static enum step step(struct blocking *op)
{
    if (op->phase == BLOCKING_TRIES) return STEP_WAIT;
    if (op->phase == BLOCKING_HOLDS) return begin_under_locks(op);
    if (op->must_try && !op->has_reply && op->wait.session)
        return try_command(op) ? STEP_AGAIN : STEP_WAIT;
    bool has_claim = op->mode == BLOCKING_CLAIM && earliest_claim(op);
    if (!op->has_end && !op->has_reply && !has_claim) {
        bool was_tried = op->parts[0].state == PART_TRIED;
        return was_tried && go_on_waiting(op) ? STEP_AGAIN : STEP_WAIT;
    }
    if (settle(op)) return STEP_AGAIN;
    if (is_unsettled(op) || op->is_unlocking) return STEP_WAIT;
    if (!has_claim) return STEP_OVER;
    return commit(op) ? STEP_AGAIN : STEP_WAIT;
}

/* Making room may publish a turn, and that may answer a request of the very operation. */
static void advance(struct blocking *op)
{
    op->must_look_again = true;
    if (op->is_advancing) return;
    op->is_advancing = true;
    enum step next = STEP_AGAIN;
    while (next != STEP_OVER && (next == STEP_AGAIN || op->must_look_again)) {
        op->must_look_again = false;
        next = step(op);
    }
    op->is_advancing = false;
    if (next == STEP_OVER) finish(op);
}

static void on_end(struct session_wait *w, enum session_wait_end why)
{
    struct blocking *op = container_of(w, struct blocking, wait);
    op->has_end = true;
    op->end = why;
    advance(op);
}

bool blocking_command(struct session_wait *w, const struct route **route, const struct bytes **argv,
                      uint32_t *argc)
{
    if (w->on_end != on_end) return false;
    const struct blocking *op = container_of(w, struct blocking, wait);
    *route = op->route;
    *argv = op->argv;
    *argc = op->argc;
    return true;
}

/* ---- beginning ---- */

/* Where the keys live that it waits for. */
struct places {
    const struct router *router;
    const struct bytes *argv;
    uint16_t shards[ROUTER_SHARDS_MAX], count;
    uint64_t first_hash;
    uint32_t first_index; /* 0: there are no keys */
};

static void add_place(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct places *p = context;
    uint64_t hash;
    uint16_t shard = router_shard(p->router, p->argv[index], &hash);
    if (p->first_index == 0) {
        p->first_index = index;
        p->first_hash = hash;
    }
    for (uint16_t i = 0; i < p->count; i++)
        if (p->shards[i] == shard) return;
    p->shards[p->count++] = shard;
}

/* A second specification names a key that is only written. */
static bool is_move(const struct command *c)
{
    return c->keys[1].flags != 0;
}

/* The source of a move comes first. */
static uint16_t part_count_of(const struct command *c, const struct places *places)
{
    return is_move(c) ? 1 : places->count;
}

static struct blocking *blocking_create(struct session *s, const struct route *route,
                                        const struct places *places)
{
    struct worker *w = session_worker(s);
    bool is_asking = places->count > 1 && is_move(route->command);
    uint16_t part_count = part_count_of(route->command, places);
    struct blocking *op = mem_alloc_zeroed(&w->net.mem, blocking_bytes(part_count));
    op->wait.on_end = on_end;
    dlist_init(&op->stuck.link);
    op->worker = w;
    op->route = route;
    op->argc = s->conn.reader.argc;
    op->db = (uint16_t)s->db;
    op->resp = s->resp;
    op->is_spread = places->count > 1;
    op->mode = is_asking ? BLOCKING_ASK : places->count > 1 ? BLOCKING_CLAIM : BLOCKING_ALONE;
    op->id = (struct wait_id){s->conn.index, s->conn.generation, w->net.id};
    op->reply.mem = &w->net.mem;
    op->part_count = part_count;
    for (uint16_t i = 0; i < part_count; i++)
        op->parts[i] = (struct blocking_part){.op = op,
                                              .shard = places->shards[i],
                                              .state = PART_IS_OVER,
                                              .content = {.mem = &w->net.mem}};
    op->first_hash = places->first_hash;
    op->first_index = places->first_index;
    op->client_flags = session_client_flags(s, route->command);
    op->again_argv[0] = BYTES_LITERAL("again");
    op->again_argv[1] = bytes_make(&op->id, sizeof op->id);
    w->net.errands++;
    return op;
}

static bool is_read_of_group(const struct command *c)
{
    return c->merge == MERGE_FOUND && c->flags & CMD_WRITE;
}

bool blocking_may_wait(const struct command *c, const struct bytes *argv, uint32_t argc)
{
    struct stream_reader reader;
    if (c->timeout) return true;
    return c->merge == MERGE_FOUND &&
           stream_read_is_plain(argv, argc, is_read_of_group(c), &reader) && reader.blocks;
}

/* False: the arguments are wrong, which the handler will say. */
static bool read_timeout(const struct command *c, const struct resp_reader *r, int64_t *timeout_ms)
{
    struct stream_reader reader;
    if (c->merge != MERGE_FOUND) {
        int64_t at = c->timeout < 0 ? (int64_t)r->argc + c->timeout : c->timeout;
        return arg_timeout(r->argv[at], timeout_ms) == OK;
    }
    CHECK(stream_read_is_plain(r->argv, r->argc, is_read_of_group(c), &reader));
    *timeout_ms = reader.timeout_ms;
    return true;
}

static bool read_arguments(struct session *s, const struct route *route, struct places *places,
                           int64_t *timeout_ms)
{
    const struct resp_reader *r = &s->conn.reader;
    const struct command *c = route->command;
    if (!read_timeout(c, r, timeout_ms)) return false;
    *places = (struct places){.router = &session_worker(s)->server->router, .argv = r->argv};
    return command_each_key(c, r->argv, r->argc, add_place, places) && places->count > 0;
}

bool blocking_dispatch(struct session *s, const struct route *route)
{
    struct netloop *nl = s->conn.netloop;
    const struct resp_reader *r = &s->conn.reader;
    struct places places;
    int64_t timeout_ms;
    if (!read_arguments(s, route, &places, &timeout_ms))
        return session_dispatch_to_shard_of_key(s, route);
    if (!turn_reserve(nl, places.shards, part_count_of(route->command, &places))) return false;
    struct input_ref input;
    enum err e = conn_hold_request(&s->conn, r->argc, &input);
    if (e != OK) {
        session_reject(s, route, e);
        return true;
    }
    struct blocking *op = blocking_create(s, route, &places);
    op->input = input.payload;
    op->argv = op->input->argv;
    memcpy(op->argv, r->argv, op->argc * sizeof *op->argv);
    session_wait_begin(s, &op->wait, timeout_ms);
    if (op->mode == BLOCKING_CLAIM && is_read_of_group(route->command))
        run_under_locks(op);
    else
        send_parts(op, 0);
    return true;
}
