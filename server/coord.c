#include "server/coord.h"

#include "server/lending.h"
#include "server/locked.h"
#include "server/merge_parts.h"
#include "server/placement.h"
#include "server/server.h"
#include "server/worker.h"

/* An MSET of so many bytes goes in one hop: its parts fall back on the reserves of their shards. */
#define MSET_ONE_HOP_BYTES_MAX (16 * 1024)
#define PAIR_BYTES_BESIDES 64 /* of an entry, and in the table */

/* One split command under way. */
struct split {
    struct gather gather;
    enum merge_rule rule;
    uint8_t resp;
    uint16_t command_id;
    uint32_t key_count;
    uint16_t *key_parts;     /* MERGE_KEYS, MERGE_FOUND */
    struct payload *payload; /* the arguments of all parts: parked ones are read there, too */
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
        if (unlikely(out.first->data[0] == '-'))
            nl->hooks->on_error(
                nl, split->command_id,
                bytes_make(out.first->data + 1, (size_t)(out.cursor - out.first->data - 1)));
        conn_fill_slot(c, g->slot, &out);
        netloop_reply_drop(nl, &out);
        w->should_resume = true;
    }
    gather_release_parts(g);
    payload_unref(split->payload);
    if (split->key_parts) mem_free(&nl->mem, split->key_parts, split->key_count * sizeof(uint16_t));
    mem_free(&nl->mem, split, split_bytes((uint16_t)g->part_count));
    nl->errands--;
}

static struct split *split_create(struct session *s, const struct route *route,
                                  struct payload *payload, uint16_t part_count)
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
    split->payload = payload;
    split->rule = (enum merge_rule)route->command->merge;
    split->resp = s->resp;
    split->command_id = route->id;
    nl->errands++;
    return split;
}

/* True: the request is done with. Stalling would not help, as nothing that is under way need give
 * memory back. */
static bool reject_no_memory(struct session *s, const struct route *route)
{
    session_refuse(s, route, ERR_ALLOC);
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
    struct split *split = split_create(s, route, input.payload, shard_count);
    for (uint16_t i = 0; i < shard_count; i++)
        turn_add_part(nl, i, &split->gather, i,
                      &(struct turn_request){.command = route->command,
                                             .argv = input.payload->argv,
                                             .argc = r->argc,
                                             .command_id = route->id,
                                             .db = (uint16_t)s->db,
                                             .resp = s->resp,
                                             .flags = REQUEST_PART,
                                             .commits = route->command->flags & CMD_WRITE,
                                             .argv_is_stable = true});
    return true;
}

bool coord_is_full(const struct worker *w)
{
    return unlikely(w->config->maxmemory_bytes > 0) && server_is_full(w->server);
}

bool coord_reject_full(struct session *s, const struct route *route)
{
    if (likely(!(route->command->flags & CMD_DENY_OOM)) || !coord_is_full(session_worker(s)))
        return false;
    session_refuse(s, route, ERR_NO_MEM);
    return true;
}

/* ---- by key ---- */

/* Where each key's reply will be found; false: no memory. */
static bool note_keys(struct netloop *nl, enum merge_rule rule, const struct placement *p,
                      uint16_t **key_parts)
{
    *key_parts = NULL;
    if (rule != MERGE_KEYS && rule != MERGE_FOUND) return true;
    *key_parts = mem_try_alloc(&nl->mem, p->key_count * sizeof **key_parts);
    if (!*key_parts) return false;
    for (uint32_t k = 0; k < p->key_count; k++) (*key_parts)[k] = p->parts[p->shards[k]];
    return true;
}

bool coord_is_mset(const struct command *c)
{
    return c->plan == PLAN_FAN_OUT && c->merge == MERGE_OK && c->flags & CMD_WRITE;
}

bool coord_is_msetnx(const struct command *c)
{
    return c->plan == PLAN_LOCKED && c->merge == MERGE_OK;
}

bool coord_mset_is_big(const struct worker *w, const struct bytes *argv, uint32_t argc,
                       uint64_t *spent)
{
    for (uint32_t i = 1; i + 1 < argc; i += 2)
        *spent += argv[i].size + argv[i + 1].size + PAIR_BYTES_BESIDES;
    return unlikely(*spent > MSET_ONE_HOP_BYTES_MAX) ||
           unlikely(atomic_load_explicit(&w->server->short_shards, memory_order_relaxed) > 0);
}

static void fan_out_parts(struct session *s, const struct route *route, const struct placement *p,
                          struct input_ref *input, uint16_t *key_parts)
{
    struct netloop *nl = s->conn.netloop;
    struct worker *w = session_worker(s);
    struct bytes **part_argv = w->part_argv;
    uint32_t *part_argc = w->part_argc;
    placement_split(p, s->conn.reader.argv, input->payload->argv, part_argv, part_argc);
    struct split *split = split_create(s, route, input->payload, p->part_count);
    split->key_parts = key_parts;
    split->key_count = key_parts ? p->key_count : 0;
    for (uint16_t i = 0; i < p->part_count; i++)
        turn_add_part(
            nl, p->part_shards[i], &split->gather, i,
            &(struct turn_request){.command = route->command,
                                   .argv = part_argv[i],
                                   .argc = part_argc[i],
                                   .command_id = route->id,
                                   .db = (uint16_t)s->db,
                                   .hash = placement_first_hash(p, p->part_shards[i]),
                                   .hashed_index = p->first,
                                   .resp = s->resp,
                                   .flags = REQUEST_PART | session_client_flags(s, route->command),
                                   .commits = route->command->flags & CMD_WRITE,
                                   .argv_is_stable = true});
}

static bool fan_out(struct session *s, const struct route *route, const struct placement *p)
{
    if (p->part_count <= 1) return session_dispatch_to_shard_of_key(s, route);
    if (coord_reject_full(s, route)) return true;
    uint64_t bytes = 0;
    if (coord_is_mset(route->command) &&
        coord_mset_is_big(session_worker(s), s->conn.reader.argv, s->conn.reader.argc, &bytes))
        return locked_mset(s, route, p);
    if (unlikely(coord_is_msetnx(route->command))) return locked_mset(s, route, p);
    if (!turn_reserve(s->conn.netloop, p->part_shards, p->part_count)) return false;
    struct input_ref input;
    uint16_t *key_parts;
    if (!note_keys(s->conn.netloop, (enum merge_rule)route->command->merge, p, &key_parts))
        return reject_no_memory(s, route);
    if (conn_hold_request(&s->conn, placement_slices(p), &input) != OK) {
        mem_free(&s->conn.netloop->mem, key_parts, p->key_count * sizeof *key_parts);
        return reject_no_memory(s, route);
    }
    fan_out_parts(s, route, p, &input, key_parts);
    return true;
}

bool coord_fan_out(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    struct placement p;
    if (session_worker(s)->server->router.shard_count == 1 ||
        !placement_fits(route->command, r->argc))
        return session_dispatch_to_shard_of_key(s, route);
    if (!placement_make(session_worker(s), route->command, r->argv, r->argc, &p))
        return reject_no_memory(s, route);
    return fan_out(s, route, &p);
}

bool coord_fan_out_found(struct session *s, const struct route *route, uint32_t first)
{
    const struct resp_reader *r = &s->conn.reader;
    struct placement p;
    if (!placement_make_apart(session_worker(s), r->argv, r->argc, first, &p))
        return reject_no_memory(s, route);
    return fan_out(s, route, &p);
}
