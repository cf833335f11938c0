/* turn.h: one turn of a net thread: requests sorted into parcels, published with one position, and
 * their way home.
 *
 *     turn_reserve(shards) → turn_add … → turn_publish:  push parcels, take position, store it,
 *                                                        wake
 *     turn_take_home:  parcels come back → slots and gathers → retired to the pool
 *
 * Thread     [net]
 * Ownership  Parcels come from the netloop's pool and return to it when nobody holds their bytes.
 * Limits     One parcel per shard and turn: a full one ends the turn. MESH_PARCELS parcels under
 *            way per shard: the credit.
 * Order      Requests of a turn run in the order of turn_add on every shard; a split command is
 *            never spread over two turns.
 */
#pragma once

#include "base/late.h"
#include "net/gather.h"
#include "net/payload.h"

struct conn;
struct netloop;

#define TURN_ARGS_INLINE_MAX 16 /* arguments of a request that go into the parcel itself */

/* Chunks of a shard's memory on their way back. */
struct chunk_return {
    struct call call;
    struct netloop *netloop;
    struct chunk *travelling; /* NULL: at home */
    struct chunk *waiting;
    bool is_away;
};

struct turn {
    struct parcel **open; /* by shard; NULL: nothing for it in this turn */
    uint16_t *touched;    /* shards with an open parcel */
    uint16_t touched_count;
    uint16_t part_count; /* open parcels that are parts of a transaction */
    uint16_t *in_flight; /* by shard: parcels pushed and not home yet */
    uint32_t in_flight_total;
    uint32_t request_index; /* commands of this turn so far: their place in the order */
    uint32_t request_count; /* requests of this turn so far */
    struct parcel *pool;
    uint32_t pool_count;
    struct chunk_return *returns; /* by shard */
};

void turn_init(struct netloop *nl);
void turn_deinit(struct netloop *nl);

/* Room for one request on each of these shards in the current turn, which may be published first to
 * make it. False, with nothing reserved: no credit, or too many transactions are under way; the
 * connection should stall. */
MUST_USE bool turn_reserve(struct netloop *nl, const uint16_t *shards, uint16_t count);

static inline bool parcel_has_room(const struct parcel *pc)
{
    return pc->request_count < PARCEL_REQUESTS_MAX &&
           pc->arg_count + TURN_ARGS_INLINE_MAX <= PARCEL_ARGS_MAX;
}

/* What a request is, apart from where it goes. */
struct turn_request {
    const struct command *command;
    struct bytes *argv;
    uint32_t argc;
    uint16_t command_id;
    uint16_t db;
    uint64_t hash;
    uint32_t hashed_index; /* the argument that `hash` is of; 0: none */
    uint8_t resp;
    uint16_t flags;          /* enum request_flags */
    struct input_ref *input; /* one count is taken over per call; NULL: argv outlives the request by
                                other means */
    bool argv_is_stable;     /* argv itself outlives the request (it lies in a payload) */
    bool is_same_command;    /* a part of the command that the previous request is a part of */
    bool commits; /* writes, and so do other parts of the same on other shards in this turn: the
                     turn is a transaction of the append-only log */
};

/* For a reserved shard: the replies go to the connection's next slot, shared with its previous
 * request if that is its neighbour. */
void turn_add(struct netloop *nl, uint16_t shard, struct conn *c, const struct turn_request *r);
/* The same, as part `part` of a gather. */
void turn_add_part(struct netloop *nl, uint16_t shard, struct gather *g, uint32_t part,
                   const struct turn_request *r);

void turn_publish(struct netloop *nl);
/* Takes parcels that came home; true if there were any. */
bool turn_take_home(struct netloop *nl);
/* A parcel that ran in place, or came home. */
void turn_parcel_home(struct netloop *nl, struct parcel *pc);
/* One holder less. */
void turn_unhold(struct netloop *nl, struct parcel *pc);
/* Sends overflow chunks home. */
void turn_return_chunks(struct netloop *nl);

/* [net] Puts the bytes where they belong: copied to a connection, or held by a gather until it lets
 * go of its parts. Then the late reply goes home. */
void turn_deliver_late(struct netloop *nl, struct late_reply *late);
void turn_return_late(struct netloop *nl, struct late_reply *late);
