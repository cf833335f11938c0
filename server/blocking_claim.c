#include "server/blocking_claim.h"

#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "shard/cmd/families.h"

#define CLAIM_ARGC 3

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

bool blocking_has_claim(struct blocking *op)
{
    return op->mode == BLOCKING_CLAIM && earliest_claim(op);
}

static void control_answered(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking_part *part = c->part;
    struct blocking *op = part->op;
    if (op->mode == BLOCKING_ASK && part->state != PART_WAITS) part->state = PART_IS_OVER;
    control_free(c);
    op->on_event(op);
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

bool blocking_settle(struct blocking *op)
{
    bool must = false;
    for (uint16_t i = 0; i < op->part_count; i++) must |= must_settle(&op->parts[i]);
    if (!must || !blocking_reserve(op, must_settle)) return false;
    const struct blocking_part *first = op->mode == BLOCKING_CLAIM ? earliest_claim(op) : NULL;
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        if (!must_settle(part)) continue; /* answered while room was made */
        struct turn_point since =
            first ? first->report.since : (struct turn_point){UINT64_MAX, UINT64_MAX};
        struct control *c = settle_try_make(part, since);
        if (!c) {
            blocking_wait_for_credit(op); /* and for memory */
            return false;
        }
        part->is_asked_to_settle = true;
        part->settle_since = since;
        control_send(c, internal_row(INTERNAL_SETTLE), REQUEST_COMMIT, control_answered);
    }
    return true;
}

bool blocking_is_unsettled(const struct blocking *op)
{
    for (uint16_t i = 0; i < op->part_count; i++)
        if (op->parts[i].state == PART_WAITS || op->parts[i].controls_out > 0) return true;
    return false;
}

/* ---- what was there at once ---- */

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
        blocking_refuse(op);
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

/* ---- the end of claims ---- */

static void take_content(struct blocking *op, const struct blocking_part *winner)
{
    const struct blocking_part *failed = first_error(op);
    if (failed || !winner->report.is_first)
        blocking_take_reply(op, buf_view(&(failed ? failed : winner)->content));
    else
        merge_first_run(op);
}

/* With content there is nothing to end. */
static bool holds_key(const struct blocking_part *part)
{
    return part->state == PART_CLAIMS && part->content.size == 0;
}

static void claim_served(struct gather *g)
{
    struct control *c = container_of(g, struct control, gather);
    struct blocking *op = c->part->op;
    blocking_take_reply(op, blocking_whole_reply(g));
    control_free(c);
    op->on_event(op);
}

bool blocking_commit(struct blocking *op)
{
    if (!blocking_reserve(op, holds_key)) return false;
    op->phase = BLOCKING_COMMITS;
    bool is_wanted = op->wait.session && !op->has_reply;
    const struct blocking_part *winner = is_wanted ? earliest_claim(op) : NULL;
    if (winner && winner->content.size > 0) take_content(op, winner);
    for (uint16_t i = 0; i < op->part_count; i++) {
        struct blocking_part *part = &op->parts[i];
        bool is_held = holds_key(part);
        if (part->state == PART_CLAIMS) part->state = PART_IS_OVER;
        if (!is_held) continue;
        struct control *c = control_make(part, CLAIM_ARGC);
        c->argv[0] = BYTES_LITERAL("claim");
        c->argv[1] = bytes_make(&op->id, sizeof op->id);
        c->argv[2] = part == winner ? BYTES_LITERAL("s") : BYTES_LITERAL("d");
        control_send(c, internal_row(INTERNAL_CLAIM), REQUEST_COMMIT,
                     part == winner ? claim_served : control_answered);
    }
    return true;
}
