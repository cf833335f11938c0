#include "server/locked.h"

#include "server/coord.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"

static void commit_continue(struct locked *op);

/* ---- memory ---- */

static void locked_free(struct locked *op)
{
    struct mem *mem = op->mem;
    gather_release_parts(&op->gather);
    if (op->gather.parts) mem_free(mem, op->gather.parts, op->gather.part_count * sizeof *op->gather.parts);
    if (op->input) payload_unref(op->input);
    if (op->keys) mem_free(mem, op->keys, op->key_count * sizeof *op->keys);
    uint32_t n = op->participant_count;
    if (op->participants) mem_free(mem, op->participants, op->key_count * sizeof *op->participants);
    if (op->unlock_argv) mem_free(mem, op->unlock_argv, 2 * n * sizeof *op->unlock_argv);
    if (op->lock_argv) mem_free(mem, op->lock_argv, op->lock_argv_count * sizeof *op->lock_argv);
    for (uint32_t i = 0; i < op->effect_count; i++) {
        struct locked_effect *e = &op->effects[i];
        if (e->argv) mem_free(mem, e->argv, e->argc * sizeof *e->argv);
    }
    if (op->effects) mem_free(mem, op->effects, op->effect_capacity * sizeof *op->effects);
    buf_clear(&op->reports);
    buf_clear(&op->reply);
    mem_free(mem, op, sizeof *op);
}

static void parts_set(struct locked *op, uint32_t count, void (*on_complete)(struct gather *))
{
    struct gather *g = &op->gather;
    gather_release_parts(g);
    if (g->parts) mem_free(op->mem, g->parts, g->part_count * sizeof *g->parts);
    g->parts = mem_alloc_zeroed(op->mem, count * sizeof *g->parts);
    g->part_count = g->waiting = (uint16_t)count;
    g->on_complete = on_complete;
}

struct locked_effect *locked_add_internal(struct locked *op, uint16_t shard, unsigned internal_command)
{
    if (op->effect_count == op->effect_capacity) {
        uint32_t grown = op->effect_capacity ? 2 * op->effect_capacity : 4;
        op->effects = mem_try_realloc(op->mem, op->effects, op->effect_capacity * sizeof *op->effects,
                                      grown * sizeof *op->effects);
        CHECK(op->effects);
        op->effect_capacity = grown;
    }
    struct locked_effect *e = &op->effects[op->effect_count++];
    *e = (struct locked_effect){.shard = shard, .db = op->db};
    if (internal_command < internal_family.count) e->command = &internal_family.commands[internal_command];
    return e;
}

struct locked_effect *locked_add_effect(struct locked *op, uint16_t shard, const char *command_name)
{
    struct locked_effect *e = locked_add_internal(op, shard, UINT32_MAX);
    e->command = router_find_row(&op->worker->server->router, command_name)->command;
    return e;
}

/* ---- reply ---- */

static void locked_finish(struct locked *op)
{
    struct netloop *nl = op->gather.netloop;
    struct conn *c = netloop_conn(nl, op->gather.conn_index, op->gather.conn_generation);
    if (c && !c->is_closing) {
        struct reply out = netloop_reply(nl, op->resp);
        reply_raw(&out, op->reply.data, op->reply.size);
        conn_fill_slot(c, op->gather.slot, &out);
        netloop_reply_drop(nl, &out);
    }
    op->worker->should_resume = true;
    locked_free(op);
}

static void commit_complete(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    for (uint16_t i = 0; i < g->part_count; i++) {
        struct bytes part = gather_part_bytes(g, i, &g->netloop->flatten);
        if (part.size == 0 || part.data[0] != '-') continue;
        op->reply.size = 0; /* an effect found no memory */
        buf_append(&op->reply, part.data, part.size);
        break;
    }
    locked_finish(op);
}

/* ---- commit turn ---- */

static bool commit_add(struct locked *op, uint16_t part, const struct locked_effect *e)
{
    struct netloop *nl = op->gather.netloop;
    if (!turn_reserve(nl, &e->shard, 1)) return false;
    turn_add_part(nl, e->shard, &op->gather, part,
                  &(struct turn_request){.command = e->command,
                                         .argv = e->argv ? e->argv : (struct bytes *)(uintptr_t)e->inline_argv,
                                         .argc = e->argc,
                                         .command_id = op->route_id,
                                         .db = e->db,
                                         .hash = e->hash,
                                         .hashed_index = e->hash ? 1 : 0,
                                         .resp = 2,
                                         .flags = REQUEST_COMMIT | REQUEST_PART,
                                         .argv_is_stable = true});
    return true;
}

static bool commit_add_unlock(struct locked *op, uint32_t index)
{
    struct locked_participant *p = &op->participants[index];
    struct bytes *argv = &op->unlock_argv[2 * index];
    argv[0] = BYTES_LITERAL("unlock");
    argv[1] = bytes_make(&p->token, sizeof p->token);
    struct locked_effect unlock = {.shard = p->shard,
                                   .db = op->db,
                                   .command = &internal_family.commands[INTERNAL_UNLOCK],
                                   .argc = 2,
                                   .argv = argv};
    return commit_add(op, (uint16_t)(op->effect_count + index), &unlock);
}

/* Effects first, then the unlocks: each shard's requests arrive in the order in which they are added. The last addition may complete the
 * operation at once, in a turn that runs in place, so nothing may follow it. */
static void commit_continue(struct locked *op)
{
    while (op->next_effect < op->effect_count) {
        if (!commit_add(op, (uint16_t)op->next_effect, &op->effects[op->next_effect])) goto stuck;
        op->next_effect++;
    }
    while (op->next_unlock < op->participant_count) {
        if (!commit_add_unlock(op, op->next_unlock)) goto stuck;
        op->next_unlock++;
    }
    return;
stuck:
    dlist_push_back(&op->worker->stuck, &op->stuck_link);
}

bool coord_resume(struct worker *w)
{
    if (likely(dlist_is_empty(&w->stuck))) return false;
    struct dlist batch;
    dlist_init(&batch);
    dlist_splice(&batch, &w->stuck);
    struct dlist *link;
    while ((link = dlist_pop_front(&batch))) commit_continue(container_of(link, struct locked, stuck_link));
    return true;
}

/* ---- lock turn ---- */

static struct locked_participant *participant_of(struct locked *op, uint16_t shard)
{
    for (uint16_t i = 0; i < op->participant_count; i++)
        if (op->participants[i].shard == shard) return &op->participants[i];
    return NULL;
}

/* Every participant's reply is an array: the token, then a report per key in the order in which they were sent. */
static void reports_read(struct locked *op)
{
    struct gather *g = &op->gather;
    size_t *offsets = mem_alloc(op->mem, g->part_count * sizeof *offsets);
    for (uint16_t i = 0; i < g->part_count; i++) {
        struct bytes part = gather_part_bytes(g, i, &g->netloop->flatten);
        offsets[i] = op->reports.size;
        buf_append(&op->reports, part.data, part.size);
    }
    for (uint16_t i = 0; i < g->part_count; i++) {
        struct bytes rest = bytes_make(op->reports.data + offsets[i], op->reports.size - offsets[i]);
        const char *token = memchr(rest.data, '\n', rest.size); /* past "*n\r\n$8\r\n" */
        token = memchr(token + 1, '\n', rest.size - (size_t)(token + 1 - rest.data));
        token++;
        memcpy(&op->participants[i].token, token, sizeof op->participants[i].token);
        size_t at = (size_t)(token - rest.data) + sizeof(uint64_t) + 2;
        for (uint32_t k = 0; k < op->key_count; k++) {
            if (op->keys[k].shard != op->participants[i].shard) continue;
            size_t size = reply_value_bytes(bytes_make(rest.data + at, rest.size - at));
            op->keys[k].report = bytes_make(rest.data + at, size);
            at += size;
        }
    }
    mem_free(op->mem, offsets, g->part_count * sizeof *offsets);
}

static void lock_complete(struct gather *g)
{
    struct locked *op = container_of(g, struct locked, gather);
    reports_read(op);
    struct reply out;
    reply_init(&out, NULL, op->mem);
    out.resp = op->resp;
    bool failed = false;
    for (uint32_t k = 0; k < op->key_count && !failed; k++) {
        failed = op->keys[k].report.data[0] == '-';
        if (failed) reply_raw(&out, op->keys[k].report.data, op->keys[k].report.size);
    }
    if (!failed) op->how->compute(op, &out);
    struct chunk *chain = reply_take(&out);
    for (const struct chunk *c = chain; c; c = c->next) buf_append(&op->reply, c->data, c->size);
    chunk_free_chain(op->mem, chain);
    parts_set(op, op->effect_count + op->participant_count, commit_complete);
    commit_continue(op);
}

static void lock_argv_make(struct locked *op, const struct locked_participant *p, struct bytes **at, uint32_t *argc)
{
    struct bytes *argv = *at;
    uint32_t n = 0;
    argv[n++] = BYTES_LITERAL("lock");
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (op->keys[k].shard != p->shard) continue;
        argv[n++] = op->argv[op->keys[k].argv_index];
        argv[n++] = bytes_make(op->keys[k].mode, LOCK_MODE_BYTES);
    }
    *argc = n;
    *at = argv + n;
}

static void lock_turn(struct locked *op)
{
    struct netloop *nl = op->gather.netloop;
    op->lock_argv_count = op->participant_count + 2 * op->key_count;
    op->lock_argv = mem_alloc(op->mem, op->lock_argv_count * sizeof *op->lock_argv);
    op->unlock_argv = mem_alloc(op->mem, 2 * op->participant_count * sizeof *op->unlock_argv);
    parts_set(op, op->participant_count, lock_complete);
    struct bytes *at = op->lock_argv;
    for (uint16_t i = 0; i < op->participant_count; i++) {
        struct bytes *argv = at;
        uint32_t argc;
        lock_argv_make(op, &op->participants[i], &at, &argc);
        turn_add_part(nl, op->participants[i].shard, &op->gather, i,
                      &(struct turn_request){.command = &internal_family.commands[INTERNAL_LOCK],
                                             .argv = argv,
                                             .argc = argc,
                                             .command_id = op->route_id,
                                             .db = op->db,
                                             .resp = 2,
                                             .flags = REQUEST_PART,
                                             .argv_is_stable = true});
    }
}

static void participants_find(struct locked *op)
{
    op->participants = mem_alloc_zeroed(op->mem, op->key_count * sizeof *op->participants);
    for (uint32_t k = 0; k < op->key_count; k++) {
        if (participant_of(op, op->keys[k].shard)) continue;
        op->participants[op->participant_count++].shard = op->keys[k].shard;
    }
}

static bool reserve_participants(struct locked *op)
{
    uint16_t shards[ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < op->participant_count; i++) shards[i] = op->participants[i].shard;
    return turn_reserve(op->gather.netloop, shards, op->participant_count);
}

static const struct locked_command *locked_find(const struct route *route)
{
    const struct locked_command *how = locked_commands;
    while (how->name && strcmp(how->name, route->command->name) != 0) how++;
    CHECK(how->name);
    return how;
}

static struct locked *locked_create(struct session *s, const struct route *route)
{
    struct netloop *nl = s->conn.netloop;
    struct locked *op = mem_alloc_zeroed(&nl->mem, sizeof *op);
    op->mem = op->reports.mem = op->reply.mem = &nl->mem;
    op->worker = session_worker(s);
    op->how = locked_find(route);
    op->route_id = route->id;
    op->gather.netloop = nl;
    op->argv = s->conn.reader.argv; /* until the request is held */
    op->argc = s->conn.reader.argc;
    op->db = op->to_db = (uint16_t)s->db;
    op->resp = s->resp;
    dlist_init(&op->stuck_link);
    return op;
}

/* Takes over the request's arguments. False: no memory. */
static bool locked_hold(struct locked *op, struct session *s)
{
    struct input_ref input;
    if (conn_hold_request(&s->conn, op->argc, &input) != OK) return false;
    op->input = input.payload;
    memcpy(op->input->argv, s->conn.reader.argv, op->argc * sizeof *op->argv);
    op->argv = op->input->argv;
    op->gather.conn_index = s->conn.index;
    op->gather.conn_generation = s->conn.generation;
    op->gather.slot = conn_push_slot(&s->conn);
    return true;
}

bool coord_locked(struct session *s, const struct route *route)
{
    if (session_worker(s)->server->router.shard_count == 1) return session_dispatch_to_shard_of_key(s, route);
    struct locked *op = locked_create(s, route);
    bool is_local = !op->how->begin(op);
    if (!is_local) {
        participants_find(op);
        is_local = op->participant_count == 1;
    }
    if (is_local) {
        locked_free(op);
        return session_dispatch_to_shard_of_key(s, route);
    }
    if (conn_slots_full(&s->conn) || !reserve_participants(op) || !locked_hold(op, s)) {
        locked_free(op);
        return false;
    }
    lock_turn(op);
    return true;
}
