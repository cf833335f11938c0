/* held.h: a sequence of commands under one holding of locks, over any shards: what transactions and
 * scripts run on.
 *
 *     held_plan(keys or everything) ─▶ held_begin: the lock turn ─▶ on_held
 *       ─▶ stage ─▶ on_done ─▶ stage … ─▶ held_end: unlock ─▶ on_ended
 *
 * The holding stands in the turn order at its lock turn. Its commands pass the locks; everybody
 * else's that touch the same keys wait until the unlock of their shard, so what is half done cannot
 * be seen. A stage is either commands that need no locks among themselves (batch.h), or one command
 * over several shards (locked.h).
 *
 * Thread     [net]
 * Ownership  Holding and stages are embedded in what their user owns; it lives until on_ended, and
 *            on_done of every stage.
 * Errors     held_plan and stage_plan are false when there is no memory; nothing has happened then.
 *            has_failed says so of a shard.
 * Order      held_end may follow the last stage before it is done, once it is sent: locks end on
 *            each shard behind what was sent there.
 */
#pragma once

#include "server/batch.h"
#include "server/stuck.h"

struct held_participant;

struct held {
    struct gather gather;
    struct stuck stuck;
    struct worker *worker;
    uint64_t watch;      /* id that is checked and ended with the lock turn; 0: none */
    uint16_t command_id; /* that time is counted for */
    bool is_dirty;       /* a watched key had changed; from on_held on */
    bool writes;         /* its end commits what was changed; to be set before held_end */
    bool has_failed;     /* a shard had no memory for its locks: only held_end may follow */
    void (*on_held)(struct held *h);
    void (*on_ended)(struct held *h);
    /* ---- private ---- */
    struct held_participant *participants;
    uint16_t participant_count;
    struct bytes *argv;
    uint64_t argv_count;
};

/* Everything if `keys` is NULL; a key may stand there more than once. The names stay the caller's
 * until on_held. */
MUST_USE bool held_plan(struct held *h, const struct batch_key *keys, uint64_t key_count);
/* False: no credit. The room is used by held_begin, at once. */
MUST_USE bool held_reserve(struct held *h);
void held_begin(struct held *h);
void held_end(struct held *h);
void held_free(struct held *h);

struct held_stage {
    struct batch batch;
    struct stuck stuck;
    bool is_across;
    struct buf reply;                      /* of a command over several shards … */
    bool is_lost;                          /* … which has found no memory */
    void (*on_sent)(struct held_stage *s); /* no more requests will follow, if on_done does not add
                                              any; NULL: nobody asks */
    void (*on_done)(struct held_stage *s);
};

/* Commands that are pieces of one batch, or a single one that is_across. */
MUST_USE bool stage_plan(struct held_stage *s, struct worker *w, struct batch_command *commands,
                         uint32_t count);
void stage_run(struct held_stage *s);
/* In on_done and later: appends the reply of that command. */
void stage_reply(struct held_stage *s, uint32_t index, struct reply *out);
void stage_free(struct held_stage *s);
