#include "server/batch.h"

#include "server/coord.h"
#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/placement.h"
#include "server/server.h"
#include "server/worker.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"

/* A command, or a part of it, on one shard. */
struct batch_piece {
    uint32_t command;
    uint32_t request; /* its index in the part's block */
    uint32_t argc;
    uint16_t shard;
    bool is_part;
    uint32_t hashed_index;
    uint64_t hash;
    struct bytes *argv;   /* NULL: */
    uint64_t first_slice; /* in `slices` */
};

/* One shard's share. */
struct batch_part {
    struct block block;
    struct block *pointer; /* to it: what travels */
    struct bytes *argv;
    uint32_t argc;
    bool touches_all; /* some request names no keys, but may touch any */
    bool passes;      /* no request touches any: locks do not concern it */
};

static struct batch_piece *piece_at(const struct batch *b, uint32_t index)
{
    return (struct batch_piece *)(void *)b->pieces.data + index;
}

static uint32_t piece_count(const struct batch *b)
{
    return (uint32_t)(b->pieces.size / sizeof(struct batch_piece));
}

/* ---- placing ---- */

static struct batch_piece *piece_add(struct batch *b, uint32_t command, uint16_t shard)
{
    char *at = buf_try_reserve(&b->pieces, sizeof(struct batch_piece));
    if (!at) return NULL;
    b->pieces.size += sizeof(struct batch_piece);
    struct batch_piece *p = (struct batch_piece *)(void *)at;
    const struct batch_command *c = &b->commands[command];
    *p = (struct batch_piece){.command = command, .shard = shard, .argv = c->argv, .argc = c->argc};
    return p;
}

static bool place_one(struct batch *b, uint32_t index)
{
    const struct batch_command *c = &b->commands[index];
    struct route_place place = router_place(&b->worker->server->router, c->route, c->argv, c->argc);
    struct batch_piece *p = piece_add(b, index, place.shard);
    if (!p) return false;
    p->hash = place.hash;
    p->hashed_index = place.hashed_index;
    return true;
}

static bool place_everywhere(struct batch *b, uint32_t index)
{
    b->commands[index].is_split = true;
    for (uint16_t shard = 0; shard < b->worker->server->router.shard_count; shard++) {
        struct batch_piece *p = piece_add(b, index, shard);
        if (!p) return false;
        p->is_part = true;
    }
    return true;
}

static bool note_key_parts(struct batch *b, struct batch_command *c, const struct placement *p)
{
    if (c->route->command->merge != MERGE_KEYS) return true;
    char *at = buf_try_reserve(&b->key_parts, p->key_count * sizeof(uint16_t));
    if (!at) return false;
    c->first_key_part = (uint32_t)(b->key_parts.size / sizeof(uint16_t));
    c->key_count = p->key_count;
    uint16_t *parts = (uint16_t *)(void *)at;
    for (uint32_t k = 0; k < p->key_count; k++) parts[k] = p->parts[p->shards[k]];
    b->key_parts.size += p->key_count * sizeof(uint16_t);
    return true;
}

static bool place_by_key(struct batch *b, uint32_t index)
{
    struct batch_command *c = &b->commands[index];
    struct worker *w = b->worker;
    struct placement p;
    if (w->server->router.shard_count == 1 || !placement_fits(c->route->command, c->argc))
        return place_one(b, index);
    if (!placement_make(w, c->route->command, c->argv, c->argc, &p)) return false;
    if (p.part_count <= 1) return place_one(b, index);
    c->is_split = true;
    uint64_t slices = placement_slices(&p);
    char *at = buf_try_reserve(&b->slices, slices * sizeof(struct bytes));
    if (!at || !note_key_parts(b, c, &p)) return false;
    placement_split(&p, c->argv, (struct bytes *)(void *)at, w->part_argv, w->part_argc);
    for (uint16_t i = 0; i < p.part_count; i++) {
        struct batch_piece *piece = piece_add(b, index, p.part_shards[i]);
        if (!piece) return false;
        piece->is_part = true;
        piece->argv = NULL; /* the slices may move while more are added */
        piece->first_slice =
            b->slices.size / sizeof(struct bytes) + (uint64_t)(w->part_argv[i] - w->part_argv[0]);
        piece->argc = w->part_argc[i];
        piece->hash = placement_first_hash(&p, p.part_shards[i]);
        piece->hashed_index = p.first;
    }
    b->slices.size += slices * sizeof(struct bytes);
    return true;
}

static bool place(struct batch *b, uint32_t index)
{
    struct batch_command *c = &b->commands[index];
    c->is_split = false;
    c->first_piece = piece_count(b);
    bool ok = true;
    switch ((enum plan)c->route->command->plan) {
    case PLAN_NET:
    case PLAN_MAIN:
        break;
    case PLAN_FAN_OUT:
        ok = place_by_key(b, index);
        break;
    case PLAN_ALL_SHARDS:
        ok = place_everywhere(b, index);
        break;
    case PLAN_ONE_SHARD:
        ok = router_is_everywhere(&b->worker->server->router, c->route, c->argv)
                 ? place_everywhere(b, index)
                 : place_one(b, index);
        break;
    case PLAN_LOCKED:
    case PLAN_SCRIPT:
        ok = place_one(b, index);
        break;
    }
    c->piece_count = piece_count(b) - c->first_piece;
    return ok;
}

struct across {
    const struct router *router;
    const struct bytes *argv;
    uint32_t key_count;
    uint16_t shard;
    bool is_across;
};

static void across_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct across *a = context;
    uint64_t hash;
    uint16_t shard = router_shard(a->router, a->argv[index], &hash);
    if (a->key_count++ == 0) a->shard = shard;
    a->is_across |= shard != a->shard;
}

static bool is_across(struct worker *w, const struct batch_command *c, uint64_t *spent)
{
    struct across a = {.router = &w->server->router, .argv = c->argv};
    const struct command *row = c->route->command;
    if (row->plan == PLAN_SCRIPT) return true;
    if (a.router->shard_count == 1) return false;
    if (coord_is_mset(row)) {
        bool is_spread = command_each_key(row, c->argv, c->argc, across_key, &a) && a.is_across;
        return is_spread && placement_fits(row, c->argc) &&
               coord_mset_is_big(w, c->argv, c->argc, spent);
    }
    if (row->plan != PLAN_LOCKED) return false;
    if (sort_has_external_keys(row, c->argv, c->argc)) return true;
    return command_each_key(row, c->argv, c->argc, across_key, &a) && a.is_across &&
           locked_arguments_fit(w, row, c->argv, c->argc);
}

void batch_place(struct worker *w, struct batch_command *c, uint64_t *spent)
{
    c->is_across = is_across(w, c, spent);
}

/* ---- one block per shard ---- */

/* Its keys are known, or it has to do with none, as messages. */
static bool is_bounded(const struct command *c)
{
    return command_has_keys(c) || c->flags & CMD_PUBSUB;
}

static struct batch_part *part_of(struct batch *b, uint16_t shard)
{
    return &b->parts[b->part_of_shard[shard] - 1];
}

static void part_need(struct batch *b, uint16_t shard)
{
    if (b->part_of_shard[shard]) return;
    b->shards[b->part_count++] = shard;
    b->part_of_shard[shard] = b->part_count;
}

static bool parts_alloc(struct batch *b)
{
    uint16_t shard_count = b->worker->server->router.shard_count;
    b->part_of_shard = mem_alloc_zeroed(b->mem, 2 * shard_count * sizeof *b->part_of_shard);
    b->shards = b->part_of_shard + shard_count;
    for (uint32_t i = 0; i < piece_count(b); i++) part_need(b, piece_at(b, i)->shard);
    for (uint32_t i = 0; i < b->watched_count; i++) part_need(b, b->watched[i].shard);
    if (b->part_count == 0) return true;
    b->parts = mem_alloc_zeroed(b->mem, b->part_count * sizeof *b->parts);
    b->gather.parts = mem_alloc_zeroed(b->mem, b->part_count * sizeof *b->gather.parts);
    if (piece_count(b) == 0) return true;
    b->requests = mem_try_alloc(b->mem, piece_count(b) * sizeof *b->requests);
    if (!b->requests) return false;
    b->request_count = piece_count(b);
    return true;
}

static void requests_fill(struct batch *b)
{
    struct bytes *slices = (struct bytes *)(void *)b->slices.data;
    for (uint32_t i = 0; i < b->request_count; i++)
        part_of(b, piece_at(b, i)->shard)->block.count++;
    struct request *next = b->requests;
    for (uint16_t i = 0; i < b->part_count; i++) {
        b->parts[i].block.requests = next;
        next += b->parts[i].block.count;
        b->parts[i].block.count = 0;
    }
    for (uint32_t i = 0; i < b->request_count; i++) {
        struct batch_piece *p = piece_at(b, i);
        const struct batch_command *c = &b->commands[p->command];
        struct batch_part *part = part_of(b, p->shard);
        if (!p->argv) p->argv = slices + p->first_slice;
        p->request = part->block.count++;
        part->touches_all |= !is_bounded(c->route->command);
        b->writes |= (c->route->command->flags & CMD_WRITE) != 0;
        part->block.requests[p->request] =
            (struct request){.command = c->route->command,
                             .argv = p->argv,
                             .argc = p->argc,
                             .hash = p->hash,
                             .hashed_index = p->hashed_index & HASHED_INDEX_MAX,
                             .command_id = c->route->id,
                             .flags = REQUEST_IN_EXEC | (p->is_part ? REQUEST_PART : 0)};
    }
}

/* ---- keys, for whoever holds locks ---- */

struct key_listing {
    const struct bytes *argv;
    struct bytes *to; /* NULL: only count */
    uint64_t count;
};

static void list_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    struct key_listing *l = context;
    if (l->to) l->to[l->count] = l->argv[index];
    l->count++;
}

static uint64_t part_list_keys(const struct batch *b, uint16_t index, struct bytes *to)
{
    struct key_listing listing = {.to = to};
    const struct block *block = &b->parts[index].block;
    for (uint32_t i = 0; i < block->count; i++) {
        const struct request *rq = &block->requests[i];
        listing.argv = rq->argv;
        command_each_key(rq->command, rq->argv, rq->argc, list_key, &listing);
    }
    for (uint32_t i = 0; i < b->watched_count; i++) {
        if (b->watched[i].shard != b->shards[index]) continue;
        if (to) to[listing.count] = b->watched[i].name;
        listing.count++;
    }
    return listing.count;
}

/* Arguments of the BLOCK of each part: name, pointer, and its keys unless it passes every lock or
 * waits for all. */
static bool keys_fill(struct batch *b)
{
    bool needs_keys = !(b->flags & REQUEST_COMMIT);
    uint64_t total = 2ULL * b->part_count;
    for (uint16_t i = 0; i < b->part_count; i++)
        if (needs_keys && !b->parts[i].touches_all) total += part_list_keys(b, i, NULL);
    if (total > UINT32_MAX) return false;
    b->keys = total ? mem_try_alloc(b->mem, total * sizeof *b->keys) : NULL;
    if (total && !b->keys) return false;
    b->key_count = total;
    struct bytes *at = b->keys;
    for (uint16_t i = 0; i < b->part_count; i++) {
        struct batch_part *part = &b->parts[i];
        part->pointer = &part->block;
        part->block.watch = b->watch;
        part->argv = at;
        at[0] = BYTES_LITERAL("block");
        at[1] = bytes_make(&part->pointer, sizeof(struct block *));
        part->argc = 2;
        if (needs_keys && !part->touches_all) part->argc += (uint32_t)part_list_keys(b, i, at + 2);
        /* Without keys it would be one for everything; but it needs none. */
        part->passes = !part->touches_all && part->argc == 2;
        at += part->argc;
    }
    return true;
}

/* ---- life ---- */

bool batch_plan(struct batch *b)
{
    b->mem = b->pieces.mem = b->slices.mem = b->key_parts.mem = &b->worker->net.mem;
    for (uint32_t i = 0; i < b->count; i++)
        if (!place(b, i)) return false;
    if (!parts_alloc(b)) return false;
    requests_fill(b);
    return keys_fill(b);
}

void batch_free(struct batch *b)
{
    if (!b->mem) return; /* never planned */
    uint16_t shard_count = b->worker->server->router.shard_count;
    if (b->is_sent) gather_release_parts(&b->gather);
    mem_free(b->mem, b->gather.parts, b->part_count * sizeof *b->gather.parts);
    mem_free(b->mem, b->parts, b->part_count * sizeof *b->parts);
    mem_free(b->mem, b->part_of_shard, 2 * shard_count * sizeof *b->part_of_shard);
    mem_free(b->mem, b->requests, b->request_count * sizeof *b->requests);
    mem_free(b->mem, b->keys, b->key_count * sizeof *b->keys);
    buf_clear(&b->pieces);
    buf_clear(&b->slices);
    buf_clear(&b->key_parts);
    b->mem = NULL;
}

bool batch_reserve(struct batch *b)
{
    return turn_reserve(&b->worker->net, b->shards, b->part_count);
}

static void batch_arrived(struct gather *g)
{
    struct batch *b = container_of(g, struct batch, gather);
    b->worker->net.errands--;
    b->on_complete(b);
}

void batch_send(struct batch *b)
{
    struct netloop *nl = &b->worker->net;
    uint16_t count = b->part_count;
    CHECK(count > 0);
    for (uint32_t i = 0; i < b->request_count; i++) {
        const struct batch_piece *p = piece_at(b, i);
        struct request *rq = &part_of(b, p->shard)->block.requests[p->request];
        rq->db = b->commands[p->command].db;
        rq->resp = b->commands[p->command].resp;
        rq->flags |= b->commands[p->command].flags;
    }
    b->is_sent = true;
    /* Under a holding its end is the commit. */
    bool commits = count > 1 && b->writes && !(b->flags & REQUEST_COMMIT);
    b->gather.netloop = nl;
    b->gather.on_complete = batch_arrived;
    b->gather.conn_index = b->conn_index;
    b->gather.conn_generation = b->conn_generation;
    b->gather.part_count = b->gather.waiting = count;
    nl->errands++;
    for (uint16_t i = 0; i < count; i++) {
        struct batch_part *part = &b->parts[i];
        unsigned row = part->argc == 2 ? INTERNAL_BLOCK_ALL : INTERNAL_BLOCK;
        turn_add_part(
            nl, b->shards[i], &b->gather, i,
            &(struct turn_request){.command = &internal_family.commands[row],
                                   .argv = part->argv,
                                   .argc = part->argc,
                                   .command_id = b->command_id,
                                   .resp = 2,
                                   .flags = part->passes ? b->flags | REQUEST_COMMIT : b->flags,
                                   .commits = commits,
                                   .argv_is_stable = true});
    }
}

/* ---- replies ---- */

bool batch_is_dirty(const struct batch *b)
{
    for (uint16_t i = 0; i < b->part_count; i++)
        if (b->parts[i].block.is_dirty) return true;
    return false;
}

/* A piece's share of its part's reply. */
static struct gather_part piece_reply(struct batch *b, const struct batch_piece *p)
{
    const struct block *block = &part_of(b, p->shard)->block;
    struct gather_part part = b->gather.parts[b->part_of_shard[p->shard] - 1];
    part.end = part.start + block->requests[p->request].reply_end;
    part.start += block_reply_start(block, p->request);
    return part;
}

/* True: it is an error. */
static bool count_error(struct batch *b, const struct batch_piece *p, struct gather *g,
                        uint32_t index)
{
    struct netloop *nl = &b->worker->net;
    const struct request *rq = &part_of(b, p->shard)->block.requests[p->request];
    if (likely(rq->error_count == 0) || gather_part_kind(g, index) != '-') return false;
    struct bytes text = gather_part_bytes(g, index, &nl->flatten);
    nl->hooks->on_error(nl, rq->command_id, bytes_make(text.data + 1, text.size - 1));
    return true;
}

void batch_reply(struct batch *b, uint32_t index, struct reply *out)
{
    struct netloop *nl = &b->worker->net;
    const struct batch_command *c = &b->commands[index];
    CHECK(c->piece_count > 0);
    out->resp = c->resp;
    struct gather_part *parts = mem_alloc(b->mem, c->piece_count * sizeof *parts);
    struct gather g = {.netloop = nl, .parts = parts, .part_count = c->piece_count};
    bool is_counted = false;
    for (uint32_t i = 0; i < c->piece_count; i++) {
        const struct batch_piece *p = piece_at(b, c->first_piece + i);
        parts[i] = piece_reply(b, p);
        is_counted = is_counted || count_error(b, p, &g, i); /* of a split command one */
    }
    if (c->is_split) {
        struct merge_input in = {.gather = &g,
                                 .rule = (enum merge_rule)c->route->command->merge,
                                 .key_parts =
                                     (uint16_t *)(void *)b->key_parts.data + c->first_key_part,
                                 .key_count = c->key_count};
        if (in.rule == MERGE_RANDOM) env_random(&in.random, sizeof in.random);
        merge_parts(&in, out);
    } else {
        gather_part_write(&g, 0, out);
    }
    mem_free(b->mem, parts, c->piece_count * sizeof *parts);
}

bool batch_reply_whole(struct batch *b, struct reply *out)
{
    if (b->part_count != 1 || b->request_count != b->count) return false;
    for (uint32_t i = 0; i < b->count; i++)
        if (b->commands[i].is_split || b->requests[i].error_count) return false;
    gather_part_write(&b->gather, 0, out);
    return true;
}
