#include "server/blocking_move.h"

#include "server/batch.h"
#include "server/locked.h"
#include "shard/cmd/families.h"

static bool is_null(struct bytes reply)
{
    return bytes_equal(reply, BYTES_LITERAL("$-1\r\n")) ||
           bytes_equal(reply, BYTES_LITERAL("_\r\n"));
}

static void take_try(struct blocking *op, struct bytes reply)
{
    op->phase = BLOCKING_WAITS;
    if (op->parts[0].state == PART_CLAIMS) op->parts[0].state = PART_TRIED;
    if (!is_null(reply)) blocking_take_reply(op, reply);
}

static void tried(struct locked *locked)
{
    struct blocking *op = locked->caller;
    take_try(op, buf_view(&locked->reply));
    op->on_event(op);
}

static void tried_alone(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking *op = c->part->op;
    take_try(op, blocking_whole_reply(g));
    control_free(c);
    op->on_event(op);
}

static bool first_part(const struct blocking_part *part)
{
    return part == &part->op->parts[0];
}

/* Both lists live on one shard. */
static bool try_alone(struct blocking *op)
{
    if (!blocking_reserve(op, first_part)) return false;
    struct control *c = control_try_make(&op->parts[0], op->argc);
    if (!c) {
        blocking_wait_for_credit(op); /* and for memory */
        return false;
    }
    op->phase = BLOCKING_TRIES;
    op->must_try = false;
    memcpy(c->argv, op->argv, op->argc * sizeof *op->argv);
    control_send(c, op->route->command, 0, tried_alone);
    return true;
}

bool blocking_try_move(struct blocking *op)
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
    blocking_wait_for_credit(op);
    return false;
}

bool blocking_wait_again(struct blocking *op)
{
    struct blocking_part *part = &op->parts[0];
    if (!blocking_reserve(op, first_part)) return false;
    blocking_part_send(part, &(struct turn_request){.command = internal_row(INTERNAL_AGAIN),
                                                    .argv = op->again_argv,
                                                    .argc = 2,
                                                    .command_id = op->route->id,
                                                    .db = op->db,
                                                    .resp = 2,
                                                    .flags = REQUEST_COMMIT,
                                                    .argv_is_stable = true});
    return true;
}
