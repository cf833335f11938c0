#include "server/blocking.h"

#include "server/batch.h"
#include "server/blocking_claim.h"
#include "server/blocking_move.h"
#include "server/locked.h"
#include "server/server.h"
#include "shard/cmd/args.h"
#include "shard/cmd/stream_read.h"

static size_t blocking_bytes(uint16_t part_count)
{
    return sizeof(struct blocking) + part_count * sizeof(struct blocking_part);
}

/* ---- the end ---- */

static void blocking_free(struct blocking *op)
{
    struct netloop *nl = &op->worker->net;
    for (uint16_t i = 0; i < op->part_count; i++) buf_clear(&op->parts[i].content);
    payload_unref(op->input);
    buf_clear(&op->reply);
    nl->errands--;
    mem_free(&nl->mem, op, blocking_bytes(op->part_count));
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

/* ---- from event to event ---- */

enum step { STEP_WAIT, STEP_AGAIN, STEP_OVER };

static bool any_part(UNUSED const struct blocking_part *part)
{
    return true;
}

/* The keys are still held, so nobody comes between. */
static enum step begin_under_locks(struct blocking *op)
{
    struct locked *holding = op->holding;
    bool is_wanted = op->wait.session && !op->has_end;
    if (is_wanted && !blocking_reserve(op, any_part)) return STEP_WAIT;
    if (is_wanted) blocking_send_parts(op, REQUEST_COMMIT);
    op->phase = BLOCKING_WAITS;
    op->holding = NULL;
    locked_read_end(holding);
    return STEP_AGAIN;
}

static enum step step(struct blocking *op)
{
    if (op->phase == BLOCKING_TRIES) return STEP_WAIT;
    if (op->phase == BLOCKING_HOLDS) return begin_under_locks(op);
    if (op->must_try && !op->has_reply && op->wait.session)
        return blocking_try_move(op) ? STEP_AGAIN : STEP_WAIT;
    bool has_claim = blocking_has_claim(op);
    if (!op->has_end && !op->has_reply && !has_claim) {
        bool was_tried = op->parts[0].state == PART_TRIED;
        return was_tried && blocking_wait_again(op) ? STEP_AGAIN : STEP_WAIT;
    }
    if (blocking_settle(op)) return STEP_AGAIN;
    if (blocking_is_unsettled(op) || op->is_unlocking) return STEP_WAIT;
    if (!has_claim) return STEP_OVER;
    return blocking_commit(op) ? STEP_AGAIN : STEP_WAIT;
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
    op->on_event = advance;
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

/* ---- first run under locks: XREADGROUP ---- */

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
        blocking_take_reply(op, buf_view(&locked->reply));
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
    blocking_refuse(op);
    advance(op);
}

/* ---- dispatch ---- */

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
        session_refuse(s, route, e);
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
        blocking_send_parts(op, 0);
    return true;
}
