/* locked.h: the LOCKED plan: one operation over keys of several shards, from its lock turn to its
 * reply.
 *
 *     lock turn   LOCK to each participant, all in one turn: the operation's place in the turn
 *                 order. The reports bring copies of the values that do not live on the *host*,
 *                 the shard of the first key that is written.
 *     run         on the host: the copies are put beside its own keys as guests, the ordinary
 *                 handler runs, the guests depart
 *     unlock      every participant
 *     reply       when every part is back
 *
 * Guests are only read: no command changes keys of several shards but MSETNX, which makes its pairs
 * where they will live, as a big MSET does (locked_mset.c), and those that move an element or a
 * value (locked_move.c).
 *
 * LMPOP and ZMPOP change one key only, the first that is there: the lock turn tells which, and the
 * handler runs on its shard, where the keys in front of it are not there either.
 *
 * XREAD and XREADGROUP read their keys where they live: locked_read.c.
 *
 * Under a holding (held.h) the keys are held already: the values are fetched instead, and nothing
 * is unlocked.
 *
 * So a command needs no code of its own to run over several shards, and its handler does not know
 * that it does. Guests cannot be seen: requests for a key go to the key's shard, and requests for
 * the whole keyspace wait at the gate until no lock is left.
 *
 * Thread     [net] of the connection.
 * Ownership  The operation owns its memory and the request's input until its last part is back,
 *            whether or not the connection is still there.
 * Errors     Without memory for a lock, a copy or a report the operation ends without effects.
 *            Once something was changed, nothing that is left to do can fail. A reply that finds no
 *            memory is an error if the command only reads, else it closes the connection.
 */
#pragma once

#include "server/session.h"
#include "server/stuck.h"
#include "shard/cmd/families.h"

#define EFFECT_ARGS_MAX 6

/* A key of the command. */
struct locked_key {
    uint32_t argv_index;
    uint16_t shard;
    uint16_t db;
    bool is_written;
    bool is_repeated;  /* the same name stands among the earlier keys */
    struct bytes mode; /* shard/cmd/internal.c */
    char mode_text[3]; /* the usual one: '-' or 'd', and the database */
    uint64_t hash;
    struct bytes report; /* RESP bytes; valid from the reports on */
};

/* One request of a round. */
struct effect {
    uint16_t shard, db;
    uint8_t resp;
    uint16_t flags; /* beyond those that all of the operation have */
    const struct command *command;
    uint64_t hash;
    uint32_t argc;
    struct bytes *argv; /* NULL: inline_argv */
    struct bytes inline_argv[EFFECT_ARGS_MAX];
};

struct participant {
    uint16_t shard;
    uint64_t token;
    struct bytes *argv; /* of its LOCK */
    uint32_t argc;
    uint64_t first_hash;          /* of an MSET: of its first key, */
    struct prepared_end prepared; /* and what it has made */
};

struct locked_move;

struct locked {
    struct gather gather;
    struct stuck stuck;
    struct worker *worker;
    struct mem *mem;
    const struct route *route;
    struct payload *input; /* argv of the command; NULL under a holding: the caller's */
    bool is_held;          /* under a holding */
    bool lacks_memory;     /* while it is planned */
    bool is_lost;          /* it has run, but its reply found no memory */
    void (*on_reply)(struct locked *op); /* `reply` is there; NULL: it goes to the connection */
    void *caller;
    const struct locked_move *move; /* NULL: by guests */
    bool takes_first;               /* runs where the first of its keys lives that is there */
    uint32_t first_key;             /* which that is */
    bool is_read;                   /* locked_read.c */
    void (*on_nothing)(struct locked *op); /* of a read: it has found nothing, and goes on with
                                              locked_read_end; NULL: it replies null */
    struct bytes *read_argv;               /* of all participants */
    uint64_t read_argv_count;
    uint16_t *read_key_parts; /* by key: the participant that reads it */
    struct buf move_mode;
    struct bytes *argv;
    uint32_t argc;
    uint16_t db;
    uint8_t resp;
    uint16_t client_flags; /* TRACKED: of the lock turn, for there the keys are read */
    uint16_t host;
    struct locked_key *keys;
    uint32_t key_count, key_capacity;
    struct participant *participants;
    uint16_t participant_count;
    uint32_t participant_capacity;
    struct buf reports; /* of the lock turn */
    struct buf reply;
    struct buf names; /* of the keys that a SORT leads to */
    struct bytes *lock_argv;
    uint32_t lock_argv_count;
    struct effect *effects;
    uint32_t effect_count, effect_capacity; /* the capacity of the gather's parts as well */
    uint32_t round_start,
        next_effect;         /* effects of this round from round_start on; sent up to next_effect */
    uint32_t command_effect; /* the command itself */
    uint32_t events_effect;  /* keyspace events of its guests; 0: nobody wants them */
    struct bytes *events_argv;
    uint32_t events_argv_count;
    struct buf events;
};

/* ---- for sort_external.c ---- */

/* For the present request of the session; its arguments are the reader's until locked_hold. */
struct locked *locked_create_for(struct session *s, const struct route *route);
void locked_free(struct locked *op);
MUST_USE bool reserve_participants(struct locked *op);
/* Room for all effects of the keys that it has by now. False: no memory. */
MUST_USE bool locked_reserve(struct locked *op);
/* Takes over the request's arguments. */
MUST_USE enum err locked_hold(struct locked *op, struct session *s);
/* Awaits `count` parts. */
void parts_set(struct locked *op, uint32_t count, void (*on_complete)(struct gather *));
/* The tokens of the participants, and the reports of the keys that the operation has by now. False:
 * one of them or this thread had no memory, and the operation ends. */
MUST_USE bool reports_read(struct locked *op);
const struct command *internal_row(enum internal_command row);
struct effect *effect_add(struct locked *op, uint16_t shard, const struct command *command);
/* Those that were added are over. */
void effects_restart(struct locked *op);
/* Sends the effects from round_start on. */
void round_begin(struct locked *op, void (*on_complete)(struct gather *));
/* The keys, the participants and what they are asked for. SPREAD_NOT: everything lives on one
 * shard, or the arguments are wrong, which the handler will say. */
enum spread { SPREAD_NOT, SPREAD_OVER_SHARDS, SPREAD_UNKNOWN /* no memory */ };
MUST_USE enum spread locked_plan(struct locked *op);
/* A command_key_fn: adds the key at that index of op->argv. */
void key_found(void *context, uint32_t index, const struct key_spec *spec);
MUST_USE bool keys_merge_repeated(struct locked *op);
/* The shard of the key that is written, or of the first one. */
uint16_t locked_host(const struct locked *op);
/* Whether a copy of the key is to stand beside the host's own. */
bool is_guest(const struct locked *op, const struct locked_key *k);
/* The last steps: the command with its guests, or an error; then the unlocks and the reply. */
void effects_run(struct locked *op);
void effects_fail(struct locked *op, struct bytes error);
/* The same for an error in a report, which no request has answered: it is counted. */
void effects_fail_reported(struct locked *op, struct bytes report);
void effects_fail_for_memory(struct locked *op);

struct batch;

/* False: the handler itself, on the shard of its first key, will say what is wrong. */
bool locked_arguments_fit(const struct worker *w, const struct command *c, const struct bytes *argv,
                          uint32_t argc);
/* Runs the only command of the batch, one over several shards (is_across) whose keys are
 * held, or everything is. The arguments stay the caller's, until on_reply, which finds the reply in
 * op->reply. */
void locked_run(const struct batch *b, void *caller, void (*on_reply)(struct locked *op));
/* Runs a command whose keys live on several shards on behalf of somebody else than a connection
 * that has just sent it. `input`, in which the arguments lie, is counted once more. False: nothing
 * was done for want of credit. */
struct locked_caller {
    void *who;
    void (*on_reply)(struct locked *op);
    void (*on_nothing)(struct locked *op); /* of a read, or NULL */
};
MUST_USE bool locked_run_alone(struct worker *w, const struct batch_command *c,
                               struct payload *input, const struct locked_caller *caller);

/* ---- for locked_mset.c ---- */

struct batch_command;
struct locked *locked_create(struct worker *w, const struct batch_command *c);
/* The tokens of the participants' holdings. False: one of them had no memory. */
MUST_USE bool tokens_read(struct locked *op);
struct placement;
/* False: nothing was done for want of credit. */
MUST_USE bool locked_mset(struct session *s, const struct route *route, const struct placement *p);
/* Runs it under a holding. */
void locked_mset_run(struct locked *op);

/* ---- for locked_move.c and locked_read.c ---- */

/* Every participant unlocks, if it has locked. */
void effects_unlock(struct locked *op);
/* The last round is over: the reply. */
void gave_back(struct gather *g);

/* XREAD and XREADGROUP. False: it is another one; or an id is wrong, which the handler will say at
 * its place among what else is wrong: by guests. */
bool locked_read_fits(const struct command *c, const struct bytes *argv, uint32_t argc);
/* Sets the modes of the keys. */
MUST_USE bool locked_read_plan(struct locked *op);
/* The reports are there. */
void locked_read_run(struct locked *op);
/* After on_nothing: unlocks, and replies null. */
void locked_read_end(struct locked *op);

/* How a command that moves one element, or a value, runs over two shards: LMOVE, RPOPLPUSH, SMOVE
 * and their like, RENAME. */
struct locked_move {
    const char *name;
    /* False: the arguments are wrong, which the handler will say. */
    bool (*fits)(const struct bytes *argv, uint32_t argc);
    /* Sets the modes of both keys. False: no memory. */
    bool (*plan)(struct locked *op);
    /* The reports are there: an effect that puts the element, or false with the reply written. */
    bool (*put)(struct locked *op);
    /* It was put: an effect that takes it away. */
    void (*take)(struct locked *op);
    /* It was taken: an effect that tells so at the destination, where events may be wanted. NULL:
     * that is not told. */
    void (*tell)(struct locked *op);
};
/* An effect: the reported value of one key, put at another. */
void effect_put_value(struct locked *op, const struct locked_key *from,
                      const struct locked_key *to);
const struct locked_move *locked_move_find(const struct command *c);
