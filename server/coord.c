#include "server/coord.h"

#include "server/lending.h"
#include "server/merge_parts.h"
#include "server/server.h"
#include "server/worker.h"

/* One split command under way. */
struct split {
    struct gather gather;
    enum merge_rule rule;
    uint8_t resp;
    uint32_t key_count;
    uint16_t *key_parts; /* MERGE_KEYS */
    struct gather_part parts[];
};

static size_t split_bytes(uint16_t part_count)
{
    return sizeof(struct split) + part_count * sizeof(struct gather_part);
}

static void split_complete(struct gather *g)
{
    struct split *split = container_of(g, struct split, gather);
    struct netloop *nl = g->netloop;
    struct worker *w = nl->owner;
    struct conn *c = netloop_conn(nl, g->conn_index, g->conn_generation);
    if (c && !c->is_closing) {
        struct reply out = netloop_reply(nl, split->resp);
        struct merge_input in = {.gather = g,
                                 .rule = split->rule,
                                 .key_parts = split->key_parts,
                                 .key_count = split->key_count};
        if (split->rule == MERGE_RANDOM) env_random(&in.random, sizeof in.random);
        merge_parts(&in, &out);
        conn_fill_slot(c, g->slot, &out);
        netloop_reply_drop(nl, &out);
        w->should_resume = true;
    }
    gather_release_parts(g);
    if (split->key_parts) mem_free(&nl->mem, split->key_parts, split->key_count * sizeof(uint16_t));
    mem_free(&nl->mem, split, split_bytes((uint16_t)g->part_count));
    nl->errands--;
}

static struct split *split_create(struct session *s, const struct route *route, uint16_t part_count)
{
    struct netloop *nl = s->conn.netloop;
    struct split *split = mem_alloc_zeroed(&nl->mem, split_bytes(part_count));
    split->gather = (struct gather){.netloop = nl,
                                    .on_complete = split_complete,
                                    .conn_index = s->conn.index,
                                    .conn_generation = s->conn.generation,
                                    .slot = conn_push_slot(&s->conn),
                                    .part_count = part_count,
                                    .waiting = part_count,
                                    .parts = split->parts};
    split->rule = (enum merge_rule)route->command->merge;
    split->resp = s->resp;
    nl->errands++;
    return split;
}

/* True: the request is done with. Stalling would not help, as nothing that is under way need give
 * memory back. */
static bool reject_no_memory(struct session *s, const struct route *route)
{
    session_reject(s, route, ERR_ALLOC);
    return true;
}

/* ---- every shard ---- */

bool coord_all_shards(struct session *s, const struct route *route)
{
    struct netloop *nl = s->conn.netloop;
    struct worker *w = session_worker(s);
    struct resp_reader *r = &s->conn.reader;
    uint16_t shard_count = w->server->router.shard_count;
    if (!turn_reserve(nl, w->server->all_shards, shard_count)) return false;
    struct input_ref input;
    /* Hostile argument counts do not get here unless the row allows them, so this is small. */
    enum err e = conn_hold_request(&s->conn, r->argc, &input);
    if (e != OK) return reject_no_memory(s, route);
    memcpy(input.payload->argv, r->argv, r->argc * sizeof *r->argv);
    input.payload->refs = shard_count;
    struct split *split = split_create(s, route, shard_count);
    for (uint16_t i = 0; i < shard_count; i++)
        turn_add_part(nl, i, &split->gather, i,
                      &(struct turn_request){.command = route->command,
                                             .argv = input.payload->argv,
                                             .argc = r->argc,
                                             .command_id = route->id,
                                             .db = (uint16_t)s->db,
                                             .resp = s->resp,
                                             .flags = REQUEST_PART,
                                             .input = &input,
                                             .argv_is_stable = true});
    return true;
}

bool coord_reject_full(struct session *s, const struct route *route)
{
    if (likely(!(route->command->flags & CMD_DENY_OOM)) ||
        likely(session_worker(s)->config->maxmemory_bytes == 0) ||
        !server_is_full(session_worker(s)->server))
        return false;
    session_reject(s, route, ERR_NO_MEM);
    return true;
}

/* ---- by key ---- */

/* How the keys of the present request fall on shards. Lives in the worker's scratch memory during
 * the dispatch. */
struct placement {
    uint32_t key_count, first, step; /* `first`: arguments before the keys */
    uint16_t *shards;                /* by key */
    uint64_t *hashes;                /* by key */
    uint32_t *counts;                /* by shard: keys */
    uint16_t *parts;                 /* by shard: its part */
    uint16_t *part_shards;           /* by part */
    uint16_t part_count;
};

/* One block for all arrays. False: no memory for a request of that many keys. */
static bool placement_alloc(struct worker *w, struct placement *p)
{
    uint64_t shard_count = w->server->router.shard_count, keys = p->key_count;
    uint64_t size = keys * (sizeof *p->hashes + sizeof *p->shards) +
                    shard_count * (sizeof *p->counts + sizeof *p->parts + sizeof *p->part_shards);
    w->placement.size = 0;
    char *at = buf_try_reserve(&w->placement, size);
    if (!at) return false;
    memset(at, 0, size);
    p->hashes = (uint64_t *)(void *)at;
    p->counts = (uint32_t *)(void *)(p->hashes + keys);
    p->shards = (uint16_t *)(void *)(p->counts + shard_count);
    p->parts = p->shards + keys;
    p->part_shards = p->parts + shard_count;
    return true;
}

static bool placement_make(struct session *s, const struct route *route, struct placement *p)
{
    struct worker *w = session_worker(s);
    const struct resp_reader *r = &s->conn.reader;
    p->step = (uint32_t)route->command->keys[0].step;
    p->first = (uint32_t)route->command->keys[0].begin;
    p->key_count = (r->argc - p->first) / p->step;
    p->part_count = 0;
    if (!placement_alloc(w, p)) return false;
    for (uint32_t k = 0; k < p->key_count; k++) {
        uint16_t shard =
            router_shard(&w->server->router, r->argv[p->first + k * p->step], &p->hashes[k]);
        p->shards[k] = shard;
        if (p->counts[shard]++ > 0) continue;
        p->parts[shard] = p->part_count;
        p->part_shards[p->part_count++] = shard;
    }
    return true;
}

/* One argv per part, in the payload: what stands before the keys, then the part's keys (with what
 * belongs to them) in their order. */
static void split_argv(const struct session *s, const struct placement *p, struct payload *payload,
                       struct bytes **part_argv, uint32_t *part_argc)
{
    const struct resp_reader *r = &s->conn.reader;
    struct bytes *at = payload->argv;
    for (uint16_t i = 0; i < p->part_count; i++) {
        part_argv[i] = at;
        part_argc[i] = p->first;
        memcpy(at, r->argv, p->first * sizeof *at);
        at += p->first + p->counts[p->part_shards[i]] * p->step;
    }
    for (uint32_t k = 0; k < p->key_count; k++) {
        uint16_t part = p->parts[p->shards[k]];
        for (uint32_t i = 0; i < p->step; i++)
            part_argv[part][part_argc[part]++] = r->argv[p->first + k * p->step + i];
    }
}

static void split_note_keys(struct netloop *nl, struct split *split, const struct placement *p)
{
    if (split->rule != MERGE_KEYS) return;
    split->key_count = p->key_count;
    split->key_parts = mem_alloc(&nl->mem, p->key_count * sizeof *split->key_parts);
    for (uint32_t k = 0; k < p->key_count; k++) split->key_parts[k] = p->parts[p->shards[k]];
}

static uint64_t first_hash_of(const struct placement *p, uint16_t shard)
{
    uint32_t k = 0;
    while (p->shards[k] != shard) k++;
    return p->hashes[k];
}

static void fan_out_parts(struct session *s, const struct route *route, const struct placement *p,
                          struct input_ref *input)
{
    struct netloop *nl = s->conn.netloop;
    struct worker *w = session_worker(s);
    struct bytes **part_argv = w->part_argv;
    uint32_t *part_argc = w->part_argc;
    split_argv(s, p, input->payload, part_argv, part_argc);
    input->payload->refs = p->part_count;
    struct split *split = split_create(s, route, p->part_count);
    split_note_keys(nl, split, p);
    for (uint16_t i = 0; i < p->part_count; i++)
        turn_add_part(
            nl, p->part_shards[i], &split->gather, i,
            &(struct turn_request){.command = route->command,
                                   .argv = part_argv[i],
                                   .argc = part_argc[i],
                                   .command_id = route->id,
                                   .db = (uint16_t)s->db,
                                   .hash = first_hash_of(p, p->part_shards[i]),
                                   .hashed_index = p->first,
                                   .resp = s->resp,
                                   .flags = REQUEST_PART | session_tracked_flag(s, route->command),
                                   .input = input,
                                   .argv_is_stable = true});
}

bool coord_fan_out(struct session *s, const struct route *route)
{
    struct netloop *nl = s->conn.netloop;
    const struct resp_reader *r = &s->conn.reader;
    const struct key_spec *keys = &route->command->keys[0];
    struct placement p;
    /* A count of arguments that does not fit the keys is the handler's to refuse, before anything
     * is split. */
    if (session_worker(s)->server->router.shard_count == 1 ||
        (r->argc - keys->begin) % (uint32_t)keys->step != 0)
        return session_dispatch_to_shard_of_key(s, route);
    if (!placement_make(s, route, &p)) return reject_no_memory(s, route);
    if (p.part_count <= 1) return session_dispatch_to_shard_of_key(s, route);
    if (coord_reject_full(s, route)) return true;
    if (!turn_reserve(nl, p.part_shards, p.part_count)) return false;
    struct input_ref input;
    if (conn_hold_request(&s->conn,
                          p.part_count * (uint64_t)p.first + (uint64_t)p.key_count * p.step,
                          &input) != OK)
        return reject_no_memory(s, route);
    fan_out_parts(s, route, &p, &input);
    return true;
}
