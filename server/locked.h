/* locked.h: the LOCKED plan: one operation over keys of several shards, from its lock turn to its reply.
 *
 *     lock turn     LOCK to each participant, in one turn: the operation's place in the turn order
 *     reports       what the command needs to know of each key
 *     compute       effects: requests for single shards, and the reply
 *     commit turn   per shard: its effects, then UNLOCK; spread over several turns if they are many, for the locks hide what is half done
 *     reply         when every part of the commit is back
 *
 * Thread     [net] of the connection.
 * Ownership  The operation owns its memory and a count of the request's input until its last part is back, whether or not the connection is still there.
 * Errors     A report that is an error (no memory to copy a value) ends the operation without effects.
 */
#pragma once

#include "server/session.h"

#define LOCKED_ARGS_MAX 4 /* arguments of an effect with an argv of its own */

/* A key of the command. */
struct locked_key {
    uint32_t argv_index;
    uint16_t shard;
    char mode[3];  /* '-', 'e' or 'd' and the database: shard/cmd/internal.c */
    uint64_t hash;
    struct bytes report; /* RESP bytes; valid from the reports on */
};

struct locked_effect {
    uint16_t shard;
    uint16_t db;
    const struct command *command;
    uint64_t hash;
    uint32_t argc;
    struct bytes *argv; /* inline_argv, or of the operation's memory */
    struct bytes inline_argv[LOCKED_ARGS_MAX];
};

struct locked;

/* What a command does with the plan. */
struct locked_command {
    const char *name;
    /* Fills op->keys (modes). False: the arguments are wrong, the shard's handler will say how. */
    bool (*begin)(struct locked *op);
    /* Reads the reports, adds effects, writes the reply. */
    void (*compute)(struct locked *op, struct reply *out);
};
extern const struct locked_command locked_commands[];

struct locked_participant {
    uint16_t shard;
    uint64_t token;
};

struct locked {
    struct gather gather;
    struct dlist stuck_link;
    const struct locked_command *how;
    struct worker *worker;
    struct payload *input; /* argv of the command */
    struct bytes *argv;
    uint32_t argc;
    uint16_t db, to_db;
    uint16_t route_id; /* all its requests count as the command itself */
    uint8_t resp;
    bool replace; /* COPY */
    struct locked_key *keys;
    uint32_t key_count;
    struct locked_participant *participants;
    uint16_t participant_count;
    struct buf reports;
    struct locked_effect *effects;
    uint32_t effect_count, effect_capacity;
    uint32_t next_effect, next_unlock; /* progress of the commit turn */
    struct buf reply;                  /* written by compute */
    struct bytes *unlock_argv;         /* two slices per participant */
    struct bytes *lock_argv;
    uint32_t lock_argv_count;
    struct mem *mem;
};

/* For compute: an effect to fill further. */
struct locked_effect *locked_add_effect(struct locked *op, uint16_t shard, const char *command_name);
struct locked_effect *locked_add_internal(struct locked *op, uint16_t shard, unsigned internal_command);
