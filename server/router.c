#include "server/router.h"

#include <stdio.h>

#include "base/env.h"
#include "base/text.h"
#include "server/config.h"
#include "server/families.h"
#include "shard/cmd/families.h"

/* One a line, so that additions meet without conflict. */
/* clang-format off */
static const struct command_family *const families[] = {
    &connection_family,
    &client_family,
    &command_info_family,
    &admin_family,
    &acl_family,
    &save_family,
    &info_family,
    &string_family,
    &lcs_family,
    &generic_family,
    &expire_family,
    &scan_family,
    &server_family,
    &list_family,
    &hash_family,
    &hash_expire_family,
    &set_family,
    &zset_family,
    &dump_family,
    &bits_family,
    &hyperloglog_family,
    &geo_family,
    &sort_family,
    &transaction_family,
    &publish_family,
    &pubsub_family,
    &stream_family,
    &list_blocking_family,
    &zset_blocking_family,
    &script_family,
    &function_family,
    &slowlog_family,
    &latency_family,
};
/* clang-format on */

static uint64_t name_hash(struct bytes name)
{
    uint64_t h = 0xcbf29ce484222325ULL;
    for (size_t i = 0; i < name.size; i++)
        h = (h ^ ((unsigned char)name.data[i] | 0x20)) * 0x100000001b3ULL;
    return h ^ h >> 29;
}

/* ---- building ---- */

static bool row_is_plain(const struct command *c)
{
    for (unsigned i = 0; i < KEY_SPECS_MAX && c->keys[i].flags; i++)
        if (c->keys[i].keyword || c->keys[i].first > 0 || c->keys[i].flags & KEY_NOT_KEY ||
            c->keys[i].is_unknown)
            return false;
    return c->keys[0].flags && c->keys[0].begin == 1;
}

static void route_fill(struct router *r, struct route *route, const struct command *c,
                       struct route *parent)
{
    route->command = c;
    route->parent = parent;
    route->name = c->name;
    route->id = (uint16_t)(route - r->routes);
    route->has_first_key = row_is_plain(c);
    route->is_single_key = c->plan == PLAN_ONE_SHARD && route->has_first_key && !c->keys[1].flags &&
                           c->keys[0].last == 0;
    size_t size = strlen(c->name) + (parent ? strlen(parent->name) + 1 : 0) + 1;
    route->full_name = mem_alloc(r->mem, size);
    if (parent)
        snprintf(route->full_name, size, "%s|%s", parent->name, c->name);
    else
        snprintf(route->full_name, size, "%s", c->name);
}

static uint32_t children_count(const struct command *c)
{
    uint32_t n = 0;
    while (c->subcommands && c->subcommands[n].name) n++;
    return n;
}

static void routes_make(struct router *r)
{
    uint32_t total = 0;
    for (unsigned f = 0; f < ARRAY_LEN(families); f++) {
        r->top_count += families[f]->count;
        for (uint32_t i = 0; i < families[f]->count; i++)
            total += 1 + children_count(&families[f]->commands[i]);
    }
    CHECK(total < UINT16_MAX);
    r->route_count = total;
    r->routes = mem_alloc_zeroed(r->mem, total * sizeof *r->routes);
    uint32_t top = 0, child = r->top_count;
    for (unsigned f = 0; f < ARRAY_LEN(families); f++) {
        for (uint32_t i = 0; i < families[f]->count; i++) {
            const struct command *c = &families[f]->commands[i];
            struct route *route = &r->routes[top++];
            route_fill(r, route, c, NULL);
            route->children = &r->routes[child];
            route->child_count = children_count(c);
            for (uint32_t k = 0; k < route->child_count; k++)
                route_fill(r, &r->routes[child++], &c->subcommands[k], route);
        }
    }
}

/* ---- what may not run ---- */

static enum err cmd_refused(UNUSED struct session *s, struct request *rq, struct reply *out)
{
    reply_error(out, "%.*s", (int)rq->argv[0].size, rq->argv[0].data);
    return OK;
}

/* MONITOR does not show it, and nobody asks whether it is allowed. */
static const struct command refused_row = {.name = "refused",
                                           .on_net = cmd_refused,
                                           .arity = 1,
                                           .plan = PLAN_NET,
                                           .flags = CMD_ADMIN | CMD_NO_AUTH};

static void refused_make(struct router *r)
{
    r->refused = mem_alloc(r->mem, r->route_count * sizeof *r->refused);
    memcpy(r->refused, r->routes, r->route_count * sizeof *r->refused);
    for (uint32_t i = 0; i < r->route_count; i++) {
        r->refused[i].command = &refused_row;
        r->refused[i].has_first_key = r->refused[i].is_single_key = false;
    }
}

const struct route *router_refused(const struct router *r, const struct route *route)
{
    return &r->refused[route->id];
}

static void table_insert(struct router *r, const struct route *route)
{
    uint32_t i = (uint32_t)name_hash(bytes_of(route->name)) & r->slot_mask;
    while (r->slots[i]) i = (i + 1) & r->slot_mask;
    r->slots[i] = (uint16_t)(route->id + 1);
}

static const struct route *find_top(const struct router *r, struct bytes name)
{
    for (uint32_t i = (uint32_t)name_hash(name) & r->slot_mask; r->slots[i];
         i = (i + 1) & r->slot_mask) {
        const struct route *route = &r->routes[r->slots[i] - 1];
        if (bytes_equal_nocase(name, route->name)) return route;
    }
    return NULL;
}

static bool renames_apply(struct router *r, const struct config *config, char *why)
{
    for (uint32_t i = 0; i < config->rename_commands.count; i++) {
        const char *from = config->rename_commands.items[2 * i],
                   *to = config->rename_commands.items[2 * i + 1];
        struct route *found = NULL;
        for (uint32_t k = 0; k < r->top_count; k++)
            if (bytes_equal_nocase(bytes_of(from), r->routes[k].command->name))
                found = &r->routes[k];
        if (!found) {
            snprintf(why, 2 * ENV_NAME_BYTES_MAX, "No such command in rename-command: '%.100s'",
                     from);
            return false;
        }
        found->is_disabled = to[0] == '\0';
        if (found->new_name) mem_free(r->mem, found->new_name, strlen(found->new_name) + 1);
        found->new_name = NULL;
        found->name = found->command->name;
        if (found->is_disabled) continue;
        /* A copy: CONFIG SET puts another configuration in place of this one. */
        found->new_name = mem_alloc(r->mem, strlen(to) + 1);
        memcpy(found->new_name, to, strlen(to) + 1);
        found->name = found->new_name;
    }
    return true;
}

bool router_init(struct router *r, struct mem *mem, const struct config *config,
                 uint16_t shard_count, uint64_t hash_seed, char *why)
{
    *r = (struct router){.mem = mem, .hash_seed = hash_seed, .shard_count = shard_count};
    routes_make(r);
    if (!renames_apply(r, config, why)) return false;
    refused_make(r);
    uint32_t capacity = 64;
    while (capacity < 4 * r->top_count) capacity *= 2;
    r->slot_mask = capacity - 1;
    r->slots = mem_alloc_zeroed(mem, capacity * sizeof *r->slots);
    for (uint32_t i = 0; i < r->top_count; i++) {
        if (r->routes[i].is_disabled) continue;
        if (find_top(r, bytes_of(r->routes[i].name))) {
            snprintf(why, 2 * ENV_NAME_BYTES_MAX,
                     "Target command name already exists in rename-command: '%.100s'",
                     r->routes[i].name);
            return false;
        }
        table_insert(r, &r->routes[i]);
    }
    return true;
}

void router_deinit(struct router *r)
{
    for (uint32_t i = 0; i < r->route_count; i++) {
        char *full_name = r->routes[i].full_name, *new_name = r->routes[i].new_name;
        mem_free(r->mem, full_name, strlen(full_name) + 1);
        if (new_name) mem_free(r->mem, new_name, strlen(new_name) + 1);
    }
    if (r->refused) mem_free(r->mem, r->refused, r->route_count * sizeof *r->refused);
    if (r->routes) mem_free(r->mem, r->routes, r->route_count * sizeof *r->routes);
    if (r->slots) mem_free(r->mem, r->slots, (r->slot_mask + 1) * sizeof *r->slots);
}

/* ---- looking up ---- */

static const struct route *find_child(const struct route *parent, struct bytes name)
{
    for (uint32_t i = 0; i < parent->child_count; i++)
        if (bytes_equal_nocase(name, parent->children[i].name)) return &parent->children[i];
    return NULL;
}

const struct route *router_find(const struct router *r, const struct bytes *argv, uint32_t argc,
                                const struct route **parent)
{
    const struct route *route = find_top(r, argv[0]);
    *parent = NULL;
    if (likely(!route || route->child_count == 0) || argc < 2) return route;
    const struct route *child = find_child(route, argv[1]);
    if (!child) *parent = route;
    return child;
}

const struct route *router_find_name(const struct router *r, struct bytes name)
{
    const char *bar = memchr(name.data, '|', name.size);
    size_t top_size = bar ? (size_t)(bar - name.data) : name.size;
    const struct route *route = find_top(r, bytes_make(name.data, top_size));
    if (!route || !bar) return route;
    return find_child(route, bytes_make(bar + 1, name.size - top_size - 1));
}

const struct route *router_find_logged(const struct router *r, const struct bytes *argv,
                                       uint32_t argc)
{
    const struct route *parent, *route = router_find(r, argv, argc, &parent);
    for (uint32_t i = 0; !route && !parent && i < r->top_count; i++)
        if (bytes_equal_nocase(argv[0], r->routes[i].command->name)) route = &r->routes[i];
    if (!route || route->child_count == 0) return route;
    return argc > 1 ? find_child(route, argv[1]) : NULL;
}

const struct route *router_find_row(const struct router *r, const char *name)
{
    for (uint32_t i = 0; i < r->top_count; i++)
        if (strcmp(r->routes[i].command->name, name) == 0) return &r->routes[i];
    CHECK_NEVER("the row is in a table");
    return NULL;
}

/* ---- placing ---- */

static void first_key(void *context, uint32_t index, UNUSED const struct key_spec *spec)
{
    uint32_t *first = context;
    if (*first == 0) *first = index;
}

struct route_place router_place(const struct router *r, const struct route *route,
                                const struct bytes *argv, uint32_t argc)
{
    struct route_place place = {.hashed_index = 1};
    if (unlikely(!route->has_first_key)) {
        place.hashed_index = 0;
        command_each_key(route->command, argv, argc, first_key, &place.hashed_index);
    }
    /* A channel lives where a key of its name would. */
    bool is_message = route->command->flags & CMD_PUBSUB && argc > 1;
    if (unlikely(is_message)) place.hashed_index = 1;
    if (likely(place.hashed_index)) {
        place.shard = router_shard(r, argv[place.hashed_index], &place.hash);
        return place;
    }
    uint64_t cursor = 0;
    if (route->command->merge == MERGE_CURSOR && !text_to_u64(argv[1], &cursor)) cursor = 0;
    place.shard = (uint16_t)(scan_cursor_shard(cursor) % r->shard_count);
    return place;
}

bool router_is_everywhere(const struct router *r, const struct route *route,
                          const struct bytes *argv)
{
    return route->command->merge == MERGE_CURSOR && r->shard_count > 1 &&
           bytes_equal(argv[1], BYTES_LITERAL("0"));
}
