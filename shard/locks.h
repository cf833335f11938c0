/* locks.h: key locks of LOCKED commands and the queues behind them.
 *
 * A LOCKED command holds its keys from its lock turn to its commit turn. A later request that
 * touches a locked key waits in that key's queue, in turn order; all others go on. A request for
 * the whole keyspace waits at the gate until no lock is left, and whatever comes after it waits
 * behind it. A request without keys may hold, too: it holds the whole keyspace, and stays at the
 * head of the gate until it lets go.
 *
 *     key ─▶ [holder] [waiter] [waiter] …      a waiter with several keys runs when it is first in
 *                                              all its queues
 *
 * A holding may also cover the whole keyspace: it begins when no other is left, and until it ends
 * everything else waits at the gate.
 *
 * Lock order is turn order on every shard, so there is no deadlock and no retry. Checked by
 * tests/models/locks.pml.
 *
 * A holding may be marked as *short*: a value that its next command needs found no memory here.
 * Then that command is refused once.
 *
 * Thread     [shard]
 * Ownership  A parked request is copied, arguments and all: its parcel goes home at once and a
 *            late reply follows. The arguments of parts of several stay where they are.
 * Errors     A request that finds no memory to wait is refused (ERR_ALLOC), and so is a LOCK that
 *            finds none to hold. Parts of several must not fail by themselves: pieces of split
 *            commands, and internal requests. One that finds no memory for its places in the queues
 *            waits at the gate, as if it could touch any key.
 * Order      Waiters of a key run in turn order.
 */
#pragma once

#include "base/dlist.h"
#include "shard/parked.h"

#define LOCK_BUCKETS 256 /* at first; doubled when more keys are locked */

struct effects;
struct key;
struct shard;
struct ticket;

struct locks {
    uint64_t busy; /* keys with a holder or waiters, requests at the gate, and a holder of
                      everything: 0 is the fast path's one test */
    uint64_t entry_count;
    struct dlist *buckets; /* of lock entries, by hash; NULL until first used */
    uint32_t bucket_count;
    uint64_t claims_made;     /* locks_take_key so far */
    struct dlist gate;        /* tickets, in turn order */
    struct ticket *exclusive; /* the holding of the whole keyspace; NULL: there is none */
    struct ticket *running;   /* the parked request that is being run right now */
    struct ticket *leaving;   /* whoever has just run or lets go, and is still in its queues */
    bool is_at_gate;          /* the first at the gate runs: all that came later is behind it */
    uint32_t short_count;     /* holdings that are short of memory */
};

void locks_init(struct locks *l);
void locks_deinit(struct shard *sh);

enum parking { PARKING_NOT_NEEDED, PARKING_DONE, PARKING_REFUSED };

/* Only when l->busy: whether the request must wait. It has then been copied and will be answered by
 * a late reply; or is refused, when there is no memory for it. */
enum parking locks_park(struct shard *sh, struct parcel *pc, uint32_t index);

/* The lock turn's request runs: its keys (all free, or it is first in their queues) are held from
 * here on. The token names the holding in locks_release; 0: no memory, and nothing is held. */
MUST_USE uint64_t locks_take(struct shard *sh, struct request *rq);
/* The commit turn's last request: serves who waits for what has changed, lets go, and runs whoever
 * can run now. */
void locks_release(struct shard *sh, uint64_t token);
/* The holding that covers the key is short. */
void locks_set_short(struct shard *sh, const struct key *k);
/* Only when l->short_count: whether the command of a holding is refused because that is short,
 * which it no longer is then. */
bool locks_refuse_command(struct shard *sh, const struct request *rq);
/* Holds one key for somebody who has waited for it, in front of all that are parked for it, since
 * that point, or one that is before all of them. Nobody holds it. */
uint64_t locks_take_key(struct shard *sh, const struct key *k, struct turn_point *since);

/* The number of a holding of locks_take_key, in their order; and of the one that lets go right now,
 * 0: there is none. */
uint64_t locks_claim_number(uint64_t token);
uint64_t locks_leaving_claim(const struct shard *sh);

/* The parked request that is being run right now; NULL: none. */
struct parked *locks_running(const struct shard *sh);
/* Whether somebody holds the key. */
bool locks_hold(struct shard *sh, const struct key *k);
/* Whether nobody holds or waits for it but the one that runs or lets go right now. */
bool locks_is_free(struct shard *sh, const struct key *k);
/* Whether everything that was published up to that point and is about the key has run: of
 * locks_take_key at that very point only the first so many. */
bool locks_passed(struct shard *sh, const struct key *k, struct turn_point point, uint64_t claims);

/* True if some key of that hash is held, or waited for; or everything is held. */
bool locks_has_hash(const struct shard *sh, uint64_t hash);

/* What the journal gathers for the holder of the key (NULL: of everything); NULL: nobody holds it,
 * and what happens to it is not hidden. */
struct effects *locks_effects(struct shard *sh, const struct key *k);
/* Whether some holding has gathered something. Slow. */
bool locks_have_effects(const struct shard *sh);

void locks_validate(const struct shard *sh);
