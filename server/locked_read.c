/* XREAD and XREADGROUP over several shards: every stream is read where it lives.
 *
 *     lock turn   types are checked, and that every stream has the group: nothing is delivered if
 *                 one is wrong
 *     read        a part of the command on each shard; it unlocks
 *
 * A caller that would rather wait than hear that there is nothing (blocking.h) is told so while the
 * keys are still held: what waits from then on stands at the place of the lock turn.
 */
#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/stream_read.h"

static bool by_group(const struct command *c)
{
    return c->flags & CMD_WRITE;
}

static void read_arguments(const struct locked *op, struct stream_reader *r)
{
    CHECK(stream_read_is_plain(op->argv, op->argc, by_group(op->route->command), r));
}

bool locked_read_fits(const struct command *c, const struct bytes *argv, uint32_t argc)
{
    struct stream_reader r;
    return c->merge == MERGE_FOUND && stream_read_is_plain(argv, argc, by_group(c), &r);
}

static uint16_t participant_of(const struct locked *op, uint16_t shard)
{
    uint16_t at = 0;
    while (op->participants[at].shard != shard) at++;
    return at;
}

/* What reading will take: nothing may fail once the keys are held. */
static bool try_make_room(struct locked *op, const struct stream_reader *r)
{
    struct mem *mem = op->mem;
    op->read_argv_count =
        op->participant_count * (uint64_t)r->first_key + 2 * (uint64_t)op->key_count;
    op->read_argv = mem_try_alloc(mem, op->read_argv_count * sizeof *op->read_argv);
    op->read_key_parts = mem_try_alloc(mem, op->key_count * sizeof *op->read_key_parts);
    return op->read_argv && op->read_key_parts &&
           (!r->by_group || buf_try_reserve(&op->move_mode, LOCK_MODE_BYTES + r->group.size));
}

bool locked_read_plan(struct locked *op)
{
    struct stream_reader r;
    read_arguments(op, &r);
    if (!try_make_room(op, &r)) return false;
    for (uint32_t k = 0; k < op->key_count; k++) {
        op->keys[k].mode_text[0] = 'x';
        op->read_key_parts[k] = participant_of(op, op->keys[k].shard);
    }
    if (!r.by_group) return true;
    /* All keys are of one database, so they share the mode. */
    buf_append(&op->move_mode, op->keys[0].mode_text, LOCK_MODE_BYTES);
    buf_append(&op->move_mode, r.group.data, r.group.size);
    op->move_mode.data[0] = 'g';
    for (uint32_t k = 0; k < op->key_count; k++) op->keys[k].mode = buf_view(&op->move_mode);
    return true;
}

/* ---- the parts ---- */

/* What stands before the keys, then the participant's keys, then their ids. */
static uint32_t part_arguments(const struct locked *op, const struct stream_reader *r,
                               uint16_t shard, struct bytes *argv)
{
    uint32_t argc = r->first_key;
    memcpy(argv, op->argv, argc * sizeof *argv);
    for (uint32_t k = 0; k < op->key_count; k++)
        if (op->keys[k].shard == shard) argv[argc++] = op->argv[r->first_key + k];
    for (uint32_t k = 0; k < op->key_count; k++)
        if (op->keys[k].shard == shard) argv[argc++] = op->argv[r->first_key + r->key_count + k];
    return argc;
}

/* NULL: every key can be read. */
static const struct locked_key *first_wrong(const struct locked *op)
{
    for (uint32_t k = 0; k < op->key_count; k++)
        if (op->keys[k].report.data[0] == '-') return &op->keys[k];
    return NULL;
}

/* False: nothing was found, and no part is an error. */
static bool merge(struct locked *op, struct reply *out)
{
    struct gather *g = &op->gather;
    struct buf *flat = mem_alloc_zeroed(op->mem, op->participant_count * sizeof *flat);
    struct bytes *parts = mem_alloc(op->mem, op->participant_count * sizeof *parts);
    struct found_parts found = {parts, op->participant_count, op->read_key_parts, op->key_count};
    const struct bytes *wrong = NULL;
    bool has_room = true;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        flat[i].mem = op->mem;
        parts[i] = (struct bytes){0};
        has_room = has_room && gather_part_try_reserve(g, i, &flat[i]);
        if (has_room) parts[i] = gather_part_bytes(g, i, &flat[i]);
        if (has_room && !wrong && parts[i].data[0] == '-') wrong = &parts[i];
    }
    op->is_lost = !has_room;
    if (!has_room)
        reply_err(out, ERR_ALLOC);
    else if (wrong)
        reply_raw(out, wrong->data, wrong->size);
    bool has_something = !has_room || wrong || merge_found(op->mem, &found, out);
    for (uint16_t i = 0; i < op->participant_count; i++) buf_clear(&flat[i]);
    mem_free(op->mem, flat, op->participant_count * sizeof *flat);
    mem_free(op->mem, parts, op->participant_count * sizeof *parts);
    return has_something;
}

static void was_read(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    struct reply out = netloop_reply(g->netloop, op->resp);
    bool has_something = merge(op, &out);
    if (out.is_lost) reply_close(&out);
    reply_copy(&out, &op->reply);
    /* A group has got what is lost; else an error tells it. */
    op->is_lost |= op->reply.size != reply_size(&out);
    op->is_lost &= (op->route->command->flags & CMD_WRITE) != 0;
    if (op->is_lost) {
        op->reply.size = 0;
        buf_printf(&op->reply, "-%s\r\n", err_text(ERR_REPLY_LOST));
    }
    netloop_reply_drop(g->netloop, &out);
    if (!op->on_nothing)
        gave_back(g);
    else if (has_something)
        locked_read_end(op);
    else
        op->on_nothing(op);
}

void locked_read_end(struct locked *op)
{
    op->round_start = op->effect_count;
    effects_unlock(op);
    round_begin(op, gave_back);
}

void locked_read_run(struct locked *op)
{
    const struct locked_key *wrong = first_wrong(op);
    if (wrong) {
        effects_fail_reported(op, wrong->report);
        return;
    }
    struct stream_reader r;
    read_arguments(op, &r);
    struct bytes *at = op->read_argv;
    op->round_start = op->effect_count;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct effect *e = effect_add(op, op->participants[i].shard, op->route->command);
        e->argv = at;
        e->argc = part_arguments(op, &r, e->shard, at);
        e->resp = op->resp;
        e->flags = REQUEST_PART | op->client_flags;
        at += e->argc;
    }
    if (!op->on_nothing) effects_unlock(op);
    round_begin(op, was_read);
}
