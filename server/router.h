/* router.h: command lookup, checks that need no key, and the choice of where a command runs.
 *
 * Thread     Constant after router_init; route_* on net threads.
 * Source     One row per command (base/command.h); the families are listed in router.c.
 */
#pragma once

#include "base/command.h"
#include "base/mem.h"

#define ROUTER_SHARDS_MAX 256 /* a cursor of SCAN has 8 bits for the shard */

/* A row and what the router adds to it. */
struct route {
    const struct command *command;
    const struct route *parent; /* of a subcommand; NULL */
    const char *name;           /* as clients know it: renamed by rename-command, or the row's */
    char *new_name;             /* of rename-command; NULL */
    char *full_name;            /* "config|get" */
    uint16_t id;                /* dense, from 0: index of all per-command counters */
    bool has_first_key; /* the first key is argv[1] and every key specification is a plain range */
    bool is_single_key; /* and there is no other, and the plan is ONE_SHARD: the fast path */
    bool is_disabled;
    struct route *children; /* subcommands */
    uint32_t child_count;
};

struct router {
    struct route *routes; /* by id */
    struct route
        *refused; /* the same, with a row that answers with its first argument as an error */
    uint32_t route_count;
    uint32_t top_count; /* routes of top level commands come first */
    uint16_t *slots;    /* hash table of top level names: id + 1 */
    uint32_t slot_mask;
    uint64_t hash_seed; /* of keys */
    uint16_t shard_count;
    struct mem *mem;
};

struct config;

/* `config` is read for rename-command. False with a line in `why` if that names a command that is
 * not there. */
MUST_USE bool router_init(struct router *r, struct mem *mem, const struct config *config,
                          uint16_t shard_count, uint64_t hash_seed, char *why);
void router_deinit(struct router *r);

/* The route of argv[0] (and argv[1] for a command with subcommands); NULL if there is none. *parent
 * is set to the container when only the subcommand is unknown. */
const struct route *router_find(const struct router *r, const struct bytes *argv, uint32_t argc,
                                const struct route **parent);
/* What stands for a queued command that may not run: counted as that command. */
const struct route *router_refused(const struct router *r, const struct route *route);
/* By name alone: "get", "config|get". Case is ignored. */
const struct route *router_find_name(const struct router *r, struct bytes name);

/* A command as a log has it: as its client called it, or by the name of its row. */
const struct route *router_find_logged(const struct router *r, const struct bytes *argv,
                                       uint32_t argc);

/* The row itself, whatever rename-command made of it. It must exist. */
const struct route *router_find_row(const struct router *r, const char *name);

/* DEBUG, whose rows of subcommands are our own affair: what it does not know it answers itself. */
static inline bool route_answers_unknown(const struct route *route)
{
    return route->child_count && route->command->on_net && route->command->arity < -1;
}
static inline bool route_arity_fits(const struct route *route, uint32_t argc)
{
    int arity = route->command->arity;
    return arity >= 0 ? argc == (uint32_t)arity : argc >= (uint32_t)-arity;
}

/* The shard of a key, and the hash that its table uses. */
static inline uint16_t router_shard(const struct router *r, struct bytes key, uint64_t *hash_out)
{
    uint64_t hash = bytes_hash(key, r->hash_seed);
    *hash_out = hash ? hash : 1; /* 0 means no key */
    return bytes_shard(key, hash, r->hash_seed, r->shard_count);
}

/* Where a command runs that is sent to one shard as it is. */
struct route_place {
    uint16_t shard;
    uint64_t hash;         /* of the first key; 0: there is none */
    uint32_t hashed_index; /* which argument that is */
};
/* The shard of the first key; SCAN goes where its cursor says; what has neither goes to any. */
struct route_place router_place(const struct router *r, const struct route *route,
                                const struct bytes *argv, uint32_t argc);

/* Whether a command of ONE_SHARD is sent to every shard all the same: a SCAN that begins, so that
 * one reply tells all of a small database. */
bool router_is_everywhere(const struct router *r, const struct route *route,
                          const struct bytes *argv);
