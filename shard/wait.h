/* wait.h: requests that wait until a key has something for them: BLPOP and its like.
 *
 * A handler that finds nothing says so (wait_or_serve), and the request leaves its parcel and joins
 * the queue of each of its keys. A key that changes is noted (wait_note); when the command that
 * changed it is over, or lets go of the key, those that wait for it are served in the order of
 * their arrival, at the same place in the turn order, before anything else runs. Serving is running
 * the handler again for that one key.
 *
 *     key ─▶ [waiter] [waiter] …       a waiter stands in the queues of all its keys and leaves
 *                                      them together
 *
 * Where somebody else may have had something for the waiter earlier, the key is held for it until
 * that is certain: wait_claim.h. wait_queue.h has the queues.
 *
 * A waiter that also writes another key (BLMOVE) is served at once only if that key lives here,
 * too, and nothing stands between. Otherwise its coordinator is told that its key is ready
 * (REQUEST_ASK says that this must be so), it keeps its place in the queue, and its coordinator
 * sends the command again, which then has a place of its own in the turn order.
 *
 * Thread     [shard]
 * Ownership  A waiter is freed when it is answered, settled, or its claim has ended.
 * Limits     Costs one test per request and per change of a key while nobody waits.
 * Order      Waiters of a key are served in the order in which they began to wait, a key at a time
 *            in the order in which the command changed them.
 */
#pragma once

#include "base/dlist.h"
#include "base/node_table.h"
#include "shard/parked.h"

struct key;
struct reply;
struct shard;

/* How a command waits. */
struct wait_rule {
    /* Whether the key at argv[index] has something for the request. It exists, if the rule does not
     * see absence. */
    bool (*is_ready)(struct shard *sh, const struct request *rq, const struct key *k,
                     uint32_t index);
    uint32_t target;   /* the argument with the key that it writes besides; 0: none */
    bool is_shared;    /* it only reads: whoever comes later gets the same */
    bool sees_absence; /* a key that goes is something for it: an error */
};

/* Of which keys: argv[first] and those that follow. */
struct wait_keys {
    const struct wait_rule *rule;
    uint32_t first, count;
};

struct waits {
    struct node_table queues;  /* of keys that somebody waits for */
    struct node_table waiters; /* by whose they are */
    struct dlist ready;        /* keys that have changed, in order */
    struct dlist settling;     /* questions that cannot be answered yet */
    struct dlist tentative;    /* waiters with claims that are not certain yet */
    struct dlist spare;        /* claims that were given up */
    bool is_going_on;
    uint64_t claimants; /* waiters with parts on other shards: turns need positions of their own */
    uint32_t serving;   /* the argument with the key for which a waiter is being served; 0: none */
};

/* Whose a waiter is: a connection waits for one thing at a time. Zeroed padding. */
struct wait_id {
    uint32_t conn_index, conn_generation;
    uint32_t net_id;
};

/* What a coordinator gets about a claim: that key is held for it, or is ready. */
struct wait_report {
    uint64_t mark; /* 0: no reply of a command starts with that byte */
    struct turn_point since;
    uint64_t index;    /* of the key among the arguments */
    uint64_t is_first; /* found, or an error, when the command was first run */
    /* What follows is the reply for the key; of the first run one value for each key of this shard,
     * or the error. Nothing: the key is held, and the claim must be ended. */
};

void waits_init(struct waits *w, struct mem *mem);
void waits_deinit(struct shard *sh);
static inline bool waits_are_empty(const struct waits *w)
{
    return w->waiters.count == 0 && dlist_is_empty(&w->settling) && dlist_is_empty(&w->spare);
}

/* For a handler, after its arguments have been read. `*index`: pop from the key at argv[*index],
 * which exists, or say why not. 0: return what this returns. The reply is null, or the request
 * waits, or there is no memory for that. */
MUST_USE enum err wait_or_serve(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                                struct reply *out, uint32_t *index);

/* For handlers that look for themselves. The key that they are run for once more; 0: they run for
 * the first time. */
static inline uint32_t wait_served_key(const struct waits *w)
{
    return w->serving;
}
/* There was nothing: the request, which may, waits from here on. Return OK without a reply.
 * `resolved`: what stands for argv[first + count + i] from now on; without data: what stands there.
 * NULL: nothing changes. */
MUST_USE bool wait_for_keys(struct shard *sh, struct request *rq, const struct wait_keys *keys,
                            const struct bytes *resolved);
/* Of a request with REQUEST_CLAIM, of which only the keys that live here are looked at: there was
 * something when it was first run. `content` is appended to it. */
void wait_report_first(struct shard *sh, const struct request *rq, uint32_t index,
                       struct reply *out);

/* For the keyspace: a key has changed so that somebody may be waiting for that. */
void wait_note_slow(struct shard *sh, const struct key *k);
/* All keys of a database have. */
void wait_note_database(struct shard *sh, uint32_t db);

/* The command that ran at that point is over. */
void wait_serve_slow(struct shard *sh, struct turn_point point);

void waits_validate(struct shard *sh);
