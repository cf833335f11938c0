/* blocking_parts.h: a blocking operation, its part on each shard, and the requests about these.
 *
 * For blocking.c and what belongs to it.
 *
 * Thread     [net] of the connection.
 * Ownership  A control frees itself when it is answered (control_free in its completion).
 */
#pragma once

#include "net/turn.h"
#include "server/session_wait.h"
#include "server/stuck.h"
#include "server/worker.h"

enum blocking_mode { BLOCKING_ALONE, BLOCKING_CLAIM, BLOCKING_ASK }; /* blocking.h */

enum part_state {
    PART_WAITS,  /* its request has not been answered */
    PART_CLAIMS, /* `report`: a key is held; in mode ask: there is something */
    PART_TRIED,  /* mode ask: somebody else was faster; the waiter stands in its queue */
    PART_IS_OVER,
};

struct blocking;

/* The command on one shard. */
struct blocking_part {
    struct blocking *op;
    uint16_t shard;
    enum part_state state;
    bool is_asked_to_settle;
    uint32_t controls_out; /* requests of ours about it that are under way */
    struct gather waiting; /* the request itself */
    struct gather_part waiting_part;
    struct wait_report report;
    struct buf content;             /* what came with the report */
    struct turn_point settle_since; /* of the last question */
};

/* A request about a part. */
struct control {
    struct gather gather;
    struct gather_part gather_part;
    struct blocking_part *part;
    struct turn_point since; /* of a question */
    uint32_t argc;
    struct bytes argv[];
};

enum blocking_phase {
    BLOCKING_WAITS,   /* until every part is settled */
    BLOCKING_TRIES,   /* mode ask: the command runs; the first run under locks */
    BLOCKING_HOLDS,   /* it has found nothing; the keys are held until its parts wait */
    BLOCKING_COMMITS, /* claims are being served and dropped */
};

struct blocking {
    struct session_wait wait;
    struct stuck stuck;
    void (*on_event)(struct blocking *op); /* something has come, or there is room: go on */
    struct worker *worker;
    const struct route *route;
    struct payload *input; /* argv of the command */
    struct bytes *argv;
    uint32_t argc;
    uint16_t db;
    uint8_t resp;
    enum blocking_mode mode;
    enum blocking_phase phase;
    bool is_spread; /* its keys live on several shards */
    bool is_advancing, must_look_again;
    bool is_unlocking; /* the first run has not come back */
    bool has_end, has_reply;
    struct locked *holding; /* in phase HOLDS */
    bool must_try; /* mode ask: there was something before whatever may have ended the waiting */
    enum session_wait_end end;
    struct wait_id id;
    uint64_t first_hash; /* of argv[first_index] */
    uint32_t first_index;
    uint16_t client_flags;
    struct buf reply;
    struct bytes again_argv[2];
    uint16_t part_count;
    struct blocking_part parts[];
};

/* The first reply that comes is the client's. */
void blocking_take_reply(struct blocking *op, struct bytes reply);
/* The client's reply is that there is no memory. */
void blocking_refuse(struct blocking *op);
/* A reply in one piece; without memory for that, the error that says so, behind the report if it is
 * one. */
struct bytes blocking_whole_reply(struct gather *g);

/* Room for a request on each shard whose part fits; else the operation goes on when there is. */
MUST_USE bool blocking_reserve(struct blocking *op, bool (*fits)(const struct blocking_part *part));
/* Goes on when there may be credit, or memory. */
void blocking_wait_for_credit(struct blocking *op);
/* The part's own request: it waits for the reply. */
void blocking_part_send(struct blocking_part *part, const struct turn_request *rq);
/* The command itself, to each of its shards. */
void blocking_send_parts(struct blocking *op, uint16_t more_flags);

/* NULL: no memory. */
struct control *control_try_make(struct blocking_part *part, uint32_t argc);
/* Of a few arguments, so it does not fail. */
struct control *control_make(struct blocking_part *part, uint32_t argc);
void control_send(struct control *c, const struct command *command, uint16_t flags,
                  void (*on_complete)(struct gather *g));
void control_free(struct control *c);
