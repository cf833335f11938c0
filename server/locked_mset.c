/* An MSET over several shards that is too big to be sure of its memory, and every MSETNX: each
 * shard makes its pairs first, and puts them when all could.
 *
 *     lock turn   PREPARE to each participant, all in one turn: holds the keys, makes the pairs;
 *                 or, of an MSETNX, says that one of the keys is there
 *     run         COMMIT to each: puts them, or drops them where some shard had no memory or such a
 *                 key; UNLOCK
 *
 * Small MSETs go in one hop (coord.c): their parts are sure of their memory, as each shard keeps a
 * reserve for them. Without an answer for each value there is nothing to report but the two tokens.
 */
#include "server/coord.h"
#include "server/locked.h"
#include "server/placement.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

#define TOKEN_HEADER "$8\r\n"

/* "*2\r\n$8\r\n<holding>\r\n$8\r\n<pairs>\r\n"; 0: the shard had no memory. */
static uint64_t pairs_token(const struct locked *op, uint32_t part)
{
    char head[64] = "";
    const size_t at = sizeof "*2\r\n" - 1 + 2 * (sizeof TOKEN_HEADER - 1) + sizeof(uint64_t) + 2;
    uint64_t token = 0;
    size_t size = gather_part_head(&op->gather, part, head, sizeof head);
    if (head[0] != '*') return 0;
    CHECK(size >= at + sizeof token);
    memcpy(&token, head + at, sizeof token);
    return token;
}

static void effects_commit(struct locked *op, bool is_put)
{
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        if (p->prepared.token == 0) continue;
        p->prepared.is_put = is_put;
        p->argv[0] = bytes_make(&p->prepared, sizeof p->prepared);
        struct effect *e = effect_add(op, p->shard, internal_row(INTERNAL_COMMIT));
        e->hash = p->first_hash;
        e->argv = p->argv;
        e->argc = p->argc;
    }
}

/* A shard that has one of the keys of an MSETNX holds nothing. */
static bool is_there(const struct locked *op, uint16_t part)
{
    return gather_part_kind(&op->gather, part) == ':';
}

static void prepared(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    bool is_put = true, any_is_there = false;
    if (!op->is_held) (void)!tokens_read(op);
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct participant *p = &op->participants[i];
        p->prepared = (struct prepared_end){.token = pairs_token(op, i)};
        is_put = is_put && p->prepared.token;
        any_is_there = any_is_there || is_there(op, i);
    }
    if (any_is_there)
        buf_append_text(&op->reply, ":0\r\n");
    else if (is_put)
        buf_append_text(&op->reply, coord_is_msetnx(op->route->command) ? ":1\r\n" : "+OK\r\n");
    else
        buf_printf(&op->reply, "-%s\r\n", err_text(ERR_ALLOC));
    effects_restart(op);
    effects_commit(op, is_put);
    effects_unlock(op);
    round_begin(op, gave_back);
}

/* `slices` has room for the arguments of all parts. False: no memory. */
static bool participants_make(struct locked *op, const struct placement *p, struct bytes *slices)
{
    struct worker *w = op->worker;
    op->participants = mem_try_alloc(op->mem, p->part_count * sizeof *op->participants);
    if (!op->participants) return false;
    op->participant_capacity = p->part_count;
    placement_split(p, op->argv, slices, w->part_argv, w->part_argc);
    for (uint16_t i = 0; i < p->part_count; i++)
        op->participants[i] =
            (struct participant){.shard = p->part_shards[i],
                                 .argv = w->part_argv[i],
                                 .argc = w->part_argc[i],
                                 .first_hash = placement_first_hash(p, p->part_shards[i])};
    op->participant_count = p->part_count;
    for (uint16_t i = 0; i < p->part_count; i++)
        op->participants[i].argv[0] = coord_is_msetnx(op->route->command)
                                          ? BYTES_LITERAL(PREPARE_NEW)
                                          : BYTES_LITERAL("prepare");
    return locked_reserve(op);
}

static void prepare_turn(struct locked *op)
{
    parts_set(op, op->participant_count, prepared);
    for (uint16_t i = 0; i < op->participant_count; i++) {
        const struct participant *p = &op->participants[i];
        turn_add_part(op->gather.netloop, p->shard, &op->gather, i,
                      &(struct turn_request){.command = internal_row(INTERNAL_PREPARE),
                                             .argv = p->argv,
                                             .argc = p->argc,
                                             .command_id = op->route->id,
                                             .db = op->db,
                                             .hash = p->first_hash,
                                             .hashed_index = 1,
                                             .resp = 2,
                                             .argv_is_stable = true,
                                             .is_same_command = i > 0});
    }
}

bool locked_mset(struct session *s, const struct route *route, const struct placement *p)
{
    if (!turn_reserve(s->conn.netloop, p->part_shards, p->part_count)) return false;
    struct locked *op = locked_create_for(s, route);
    op->lock_argv_count = (uint32_t)placement_slices(p);
    op->lock_argv = mem_try_alloc(op->mem, op->lock_argv_count * sizeof *op->lock_argv);
    enum err e = op->lock_argv && participants_make(op, p, op->lock_argv) ? OK : ERR_ALLOC;
    if (e == OK) e = locked_hold(op, s);
    if (e != OK) {
        locked_free(op);
        session_refuse(s, route, e);
        return true;
    }
    prepare_turn(op);
    return true;
}

/* Under a holding: the same, without locks. */
void locked_mset_run(struct locked *op)
{
    struct placement p;
    bool fits = placement_make(op->worker, op->route->command, op->argv, op->argc, &p);
    if (fits) {
        op->lock_argv_count = (uint32_t)placement_slices(&p);
        op->lock_argv = mem_try_alloc(op->mem, op->lock_argv_count * sizeof *op->lock_argv);
        fits = op->lock_argv && participants_make(op, &p, op->lock_argv);
    }
    if (!fits) {
        effects_fail_for_memory(op);
        return;
    }
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct effect *e =
            effect_add(op, op->participants[i].shard, internal_row(INTERNAL_PREPARE));
        e->hash = op->participants[i].first_hash;
        e->argv = op->participants[i].argv;
        e->argc = op->participants[i].argc;
    }
    round_begin(op, prepared);
}
