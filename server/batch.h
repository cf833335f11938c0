/* batch.h: commands that need no locks among themselves, as one request per shard in one turn.
 *
 *     commands ─▶ pieces, by shard ─▶ one BLOCK per shard (base/block.h) ─▶ one reply per command
 *
 * Each shard runs its pieces one after the other, at the turn's place in the order, so the whole
 * is atomic as a split command is. Commands of the net and main threads have no pieces; who made
 * the batch answers them.
 *
 * Thread     [net]
 * Ownership  The maker owns commands and arguments until on_complete.
 * Errors     batch_plan is false when there is no memory; nothing has happened then.
 * Order      batch_plan, batch_reserve, batch_send, on_complete.
 */
#pragma once

#include "base/block.h"
#include "net/gather.h"
#include "server/router.h"

struct batch_command {
    const struct route *route;
    struct bytes *argv;
    uint32_t argc;
    uint16_t db;    /* may be set as late as before batch_send, */
    uint8_t resp;   /* so may this, */
    uint16_t flags; /* and this: session_client_flags */
    bool is_across; /* batch_is_across said so: the command is no piece of a batch */
    /* ---- private ---- */
    bool is_split;
    uint32_t first_piece, piece_count;
    uint32_t first_key_part, key_count; /* MERGE_KEYS */
};

/* A key that nobody may hold when the block runs, beyond those of the commands. */
struct batch_key {
    struct bytes name;
    uint16_t shard;
};

struct acl_user;
struct batch_part;
struct worker;
struct batch_piece;

struct batch {
    struct gather gather;
    struct worker *worker;
    struct mem *mem;
    struct batch_command *commands;
    uint32_t count;
    const struct batch_key *watched; /* with `watch`: their shards take part */
    uint32_t watched_count;
    uint64_t watch;                       /* id that is checked and ended on every shard; 0: none */
    uint16_t command_id;                  /* that the time of the whole is counted for */
    uint32_t conn_index, conn_generation; /* whose commands they are; set before batch_send */
    uint16_t flags;                       /* enum request_flags of the blocks */
    struct acl_user *user;                /* who scripts run for; NULL: one who may do everything */
    void (*on_complete)(struct batch *b);
    /* ---- private ---- */
    struct buf pieces, slices, key_parts;
    struct request *requests;
    uint32_t request_count;
    struct bytes *keys;
    uint64_t key_count;
    struct batch_part *parts;
    uint16_t *shards; /* by part */
    uint16_t *part_of_shard;
    uint16_t part_count;
    bool is_sent, writes;
};

/* Sets is_across of a command that cannot be a piece: its keys lie on several shards and it needs
 * them together. So it is with an MSET over several shards when its bytes and `spent`, those of
 * earlier ones of the same block, to which they are added, are more than may go in one hop. [net]
 */
void batch_place(struct worker *w, struct batch_command *c, uint64_t *spent);

/* Fields above the private ones are the maker's to fill before. */
MUST_USE bool batch_plan(struct batch *b);
/* False: no credit. The room is used by batch_send, at once. */
MUST_USE bool batch_reserve(struct batch *b);
void batch_send(struct batch *b);
/* Also of one that was planned only, or could not be. */
void batch_free(struct batch *b);

/* ---- in on_complete ---- */

/* A watched key had changed on one of the shards, where nothing was run then. */
bool batch_is_dirty(const struct batch *b);
/* Appends the reply of that command. */
void batch_reply(struct batch *b, uint32_t index, struct reply *out);
/* The whole reply, as an array: only if a single shard took part and every command has a piece
 * there. False, writing nothing: it is not so simple. */
bool batch_reply_whole(struct batch *b, struct reply *out);
