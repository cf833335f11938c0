#include "server/blocking_parts.h"

#include "server/server.h"

/* ---- what comes back ---- */

void blocking_take_reply(struct blocking *op, struct bytes reply)
{
    if (op->has_reply) return;
    reply_copy_bytes(reply, &op->reply);
    op->has_reply = true;
}

void blocking_refuse(struct blocking *op)
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

struct bytes blocking_whole_reply(struct gather *g)
{
    struct buf *scratch = &g->netloop->flatten;
    if (gather_part_try_reserve(g, 0, scratch)) return gather_part_bytes(g, 0, scratch);
    char head[sizeof(struct wait_report)];
    bool is_report = gather_part_kind(g, 0) == '\0';
    scratch->size = 0;
    if (is_report) buf_append(scratch, head, gather_part_head(g, 0, head, sizeof head));
    buf_printf(scratch, "-%s\r\n", err_text(ERR_REPLY_LOST));
    return buf_view(scratch);
}

/* The part's own request: a report, the client's reply, or nothing: it was settled. */
static void waiting_answered(struct gather *g)
{
    struct blocking_part *part = container_of(g, struct blocking_part, waiting);
    struct blocking *op = part->op;
    struct bytes reply = blocking_whole_reply(g);
    bool is_report = reply.size >= sizeof part->report && reply.data[0] == 0;
    if (is_report && op->mode == BLOCKING_ALONE)
        op->mode = BLOCKING_ASK; /* a move that got stuck */
    bool is_gone = op->mode == BLOCKING_ASK && part->is_asked_to_settle;
    part->state = is_report && !is_gone ? PART_CLAIMS : PART_IS_OVER;
    if (is_report) op->must_try = op->mode == BLOCKING_ASK;
    if (is_report)
        take_report(part, reply);
    else if (reply.size > 0)
        blocking_take_reply(op, reply);
    gather_release_parts(g);
    op->on_event(op);
}

/* ---- what is sent ---- */

static void resume(struct stuck *s)
{
    struct blocking *op = container_of(s, struct blocking, stuck);
    op->on_event(op);
}

void blocking_wait_for_credit(struct blocking *op)
{
    dlist_remove(&op->stuck.link); /* it may wait already */
    stuck_wait(op->worker, &op->stuck, resume);
}

bool blocking_reserve(struct blocking *op, bool (*fits)(const struct blocking_part *part))
{
    uint16_t shards[ROUTER_SHARDS_MAX], count = 0;
    for (uint16_t i = 0; i < op->part_count; i++)
        if (fits(&op->parts[i])) shards[count++] = op->parts[i].shard;
    if (turn_reserve(&op->worker->net, shards, count)) return true;
    blocking_wait_for_credit(op);
    return false;
}

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

void blocking_part_send(struct blocking_part *part, const struct turn_request *rq)
{
    part->state = PART_WAITS;
    gather_arm(part->op, &part->waiting, &part->waiting_part, waiting_answered);
    turn_add_part(&part->op->worker->net, part->shard, &part->waiting, 0, rq);
}

void blocking_send_parts(struct blocking *op, uint16_t more_flags)
{
    uint16_t flags = REQUEST_MAY_WAIT | op->client_flags | more_flags;
    if (op->mode == BLOCKING_CLAIM) flags |= REQUEST_CLAIM;
    if (op->mode == BLOCKING_ASK) flags |= REQUEST_ASK;
    for (uint16_t i = 0; i < op->part_count; i++) {
        blocking_part_send(&op->parts[i], &(struct turn_request){.command = op->route->command,
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

/* ---- controls ---- */

static size_t control_bytes(uint32_t argc)
{
    return sizeof(struct control) + argc * sizeof(struct bytes);
}

struct control *control_try_make(struct blocking_part *part, uint32_t argc)
{
    struct control *c = mem_try_alloc(&part->op->worker->net.mem, control_bytes(argc));
    if (c) *c = (struct control){.part = part, .argc = argc};
    return c;
}

struct control *control_make(struct blocking_part *part, uint32_t argc)
{
    struct control *c = mem_alloc(&part->op->worker->net.mem, control_bytes(argc));
    *c = (struct control){.part = part, .argc = argc};
    return c;
}

void control_send(struct control *c, const struct command *command, uint16_t flags,
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

void control_free(struct control *c)
{
    struct netloop *nl = c->gather.netloop;
    c->part->controls_out--;
    gather_release_parts(&c->gather);
    mem_free(&nl->mem, c, control_bytes(c->argc));
}
