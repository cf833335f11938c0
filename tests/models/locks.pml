/* locks.pml: the LOCKED plan (shard/locks.h and the coordinator) as a Promela model.
 *
 *     coordinator   lock turn ─▶ wait for arrival of every participant ─▶ commit turn
 *     shard         key ─▶ [holder] [waiter] [waiter] …      in turn order; first in all its queues: run, or hold and report arrival
 *                   gate ─▶ [whole] [anything later] …       a request for the whole keyspace waits here until no key has a queue; all that
 *                                                            comes later waits behind it, but for commit turns
 *
 * What is assumed is what sequencer.pml proves: turns have one order, and each shard runs its share in that order at its own pace. So publishing
 * is one step that appends to the inputs of all shards that the turn names.
 *
 * Commands. Two LOCKED ones over both shards, and two plain ones (a FAN_OUT when they name both shards); WITH_WHOLE, the second plain one
 * is one for the whole keyspace (plain, or LOCKED with WHOLE_LOCKED); on all choices of three keys: 0 and 1 on shard 0, 2 on shard 1; published in any order.
 *
 * Properties
 *  - order     Every key is used in the order of the commands' first positions: the lock turn is the place of a LOCKED command in the serial order.
 *  - holding   From its arrival to its commit nobody else uses a key of a LOCKED command; a commit finds its keys held.
 *  - liveness  Every command ends: a deadlock or a forgotten waiter is an invalid end state.
 *
 * Planted    GRANT_OUT_OF_ORDER, COMMIT_QUEUES_BEHIND_GATE, PLAIN_OVERTAKES, LATE_ONES_PASS_GATE
 */

#define COMMANDS 5
#define KEYS 3
#define SLICE(shard) (3 + (shard)) /* bits of the shard's keys: 0 and 1, or 2 */
#define NOBODY 9

#define WHOLE 4 /* its id; commands 0 and 1 are LOCKED, 2 and 3 plain */
#ifdef WHOLE_LOCKED
#define IS_LOCKED(c) ((c) < 2 || (c) == WHOLE)
#else
#define IS_LOCKED(c) ((c) < 2)
#endif

#define NAMES(c, shard) ((keys[c] & SLICE(shard)) != 0)
#define HERE(c, key, shard) ((keys[c] >> (key)) & (SLICE(shard) >> (key)) & 1)
#define PARTICIPANTS(c) (NAMES(c, 0) + NAMES(c, 1))

byte keys[COMMANDS]; /* bit per key */
byte position_of[COMMANDS]; /* of the first turn */
byte positions;
chan input[2] = [COMMANDS + 3] of { byte, bool }; /* command, is it the commit */
byte arrivals[COMMANDS]; /* shards that hold its keys for it */
byte ends[COMMANDS];     /* shards that are done with it */

/* ---- of each shard ---- */
chan queue[KEYS] = [COMMANDS] of { byte };
chan gate[2] = [COMMANDS] of { byte, bool };
byte waiting[2]; /* bit per command that is in queues and holds nothing */
bool gate_held[2]; /* the command for the whole keyspace at the head of the gate is LOCKED and has arrived */

/* ---- ghosts ---- */
byte holder[KEYS] = NOBODY;
byte last_used[KEYS]; /* first position of the last command that used the key */

/* A turn: its position and its parcels, at once. */
inline publish(c, is_commit)
{
    d_step {
        if
        :: !(is_commit) -> positions++; position_of[c] = positions
        :: else
        fi;
        if
        :: NAMES(c, 0) -> input[0] ! c, is_commit
        :: else
        fi;
        if
        :: NAMES(c, 1) -> input[1] ! c, is_commit
        :: else
        fi
    }
}

/* Command c runs on this shard, or its lock is granted: it is the next user of its keys. */
inline use(c)
{
    key = 0;
    do
    :: key < KEYS ->
        if
        :: HERE(c, key, shard) ->
            assert(holder[key] == NOBODY);
            assert(position_of[c] > last_used[key]);
            last_used[key] = position_of[c];
            if
            :: IS_LOCKED(c) -> holder[key] = c
            :: else
            fi
        :: else
        fi;
        key++
    :: else -> break
    od;
    key = 0;
    if
    :: IS_LOCKED(c) -> arrivals[c]++
    :: else -> ends[c]++
    fi
}

/* Sets `first`: is c at the head of the queue of each of its keys here? */
inline look_first(c)
{
    first = true;
    key = 0;
    do
    :: key < KEYS ->
        if
#ifdef GRANT_OUT_OF_ORDER
        :: HERE(c, key, shard) && holder[key] != NOBODY -> first = false
#else
        :: HERE(c, key, shard) && !(queue[key] ? [eval(c)]) -> first = false
#endif
        :: else
        fi;
        key++
    :: else -> break
    od;
    key = 0
}

inline leave_queues(c)
{
    key = 0;
    do
    :: key < KEYS ->
        if
        :: HERE(c, key, shard) -> queue[key] ?? eval(c)
        :: else
        fi;
        key++
    :: else -> break
    od;
    key = 0
}

inline enter_queues(c)
{
    key = 0;
    do
    :: key < KEYS ->
        if
        :: HERE(c, key, shard) -> queue[key] ! c
        :: else
        fi;
        key++
    :: else -> break
    od;
    key = 0;
    waiting[shard] = waiting[shard] | (1 << c)
}

/* Runs every waiter that has become first, until there is none: a plain one leaves at once and may free the next. */
inline grant()
{
    other = 0;
    do
    :: other < WHOLE ->
        first = false;
        if
        :: (waiting[shard] >> other) & 1 -> look_first(other)
        :: else
        fi;
        if
        :: first ->
            waiting[shard] = waiting[shard] & ~(1 << other);
            use(other);
            if
            :: IS_LOCKED(other)
            :: else -> leave_queues(other)
            fi;
            other = 0
        :: else -> other++
        fi
    :: else -> break
    od;
    other = 0;
    first = false
}

#define QUEUES_EMPTY ((shard == 0 && len(queue[0]) + len(queue[1]) == 0) || (shard == 1 && len(queue[2]) == 0))

#ifdef PLAIN_OVERTAKES
#define OVERTAKES(c) (!IS_LOCKED(c) && \
    !(HERE(c, 0, shard) && holder[0] != NOBODY) && !(HERE(c, 1, shard) && holder[1] != NOBODY) && !(HERE(c, 2, shard) && holder[2] != NOBODY))
#else
#define OVERTAKES(c) false
#endif

/* A request with keys that the gate lets in. */
inline enter(c)
{
    if
    :: OVERTAKES(c) -> use(c)
    :: else -> enter_queues(c); grant()
    fi
}

inline commit(c)
{
    key = 0;
    do
    :: key < KEYS ->
        if
        :: HERE(c, key, shard) -> assert(holder[key] == c); holder[key] = NOBODY
        :: else
        fi;
        key++
    :: else -> break
    od;
    key = 0;
    ends[c]++;
    if
    :: c == WHOLE -> gate_held[shard] = false; gate[shard] ? eval(WHOLE), false
    :: else -> leave_queues(c)
    fi;
    grant()
}

/* Lets in what stands at the gate, as far as it may go. */
inline open_gate()
{
    first = gate[shard] ? [WHOLE, false];
    do
    :: first && QUEUES_EMPTY && !gate_held[shard] ->
        use(WHOLE);
        if
        :: IS_LOCKED(WHOLE) -> gate_held[shard] = true
        :: else -> gate[shard] ? eval(WHOLE), false; first = false
        fi
    :: !first && len(gate[shard]) > 0 ->
        gate[shard] ? behind, behind_commits;
        if
        :: behind_commits -> commit(behind)
        :: else -> enter(behind)
        fi;
        behind = 0;
        behind_commits = false;
        first = gate[shard] ? [WHOLE, false]
    :: else -> break
    od;
    first = false
}

#ifdef COMMIT_QUEUES_BEHIND_GATE
#define PASSES_GATE(is_commit) false
#elif defined(LATE_ONES_PASS_GATE)
#define PASSES_GATE(is_commit) true
#else
#define PASSES_GATE(is_commit) (is_commit)
#endif

inline run_request()
{
    if
    :: c == WHOLE && !is_commit -> gate[shard] ! c, false
    :: len(gate[shard]) > 0 && !PASSES_GATE(is_commit) -> gate[shard] ! c, is_commit
    :: else ->
        if
        :: is_commit -> commit(c)
        :: else -> enter(c)
        fi
    fi;
    open_gate();
    c = 0;
    is_commit = false
}

/* Nothing inside a shard ever waits, so one request is one step. */
proctype shard_thread(byte shard)
{
    byte c, key, other, behind;
    bool is_commit, first, behind_commits;
end:
    do
    :: d_step { input[shard] ? c, is_commit; run_request() }
    od
}

proctype coordinator(byte c)
{
    publish(c, false);
    if
    :: IS_LOCKED(c) -> arrivals[c] == PARTICIPANTS(c); publish(c, true)
    :: else
    fi;
    ends[c] == PARTICIPANTS(c)
}

/* LOCKED commands span both shards: {0, 2}, {1, 2} or all three. */
init
{
    byte some;
    atomic {
        if
        :: keys[0] = 5
        :: keys[0] = 6
        :: keys[0] = 7
        fi;
        if
        :: keys[1] = 5
        :: keys[1] = 6
        :: keys[1] = 7
        fi;
        select(some : 1 .. 7);
        keys[2] = some;
        select(some : 1 .. 7);
        keys[3] = some;
        some = 0;
        if /* The rest is the same with other names. */
        :: keys[0] > keys[1] || keys[2] > keys[3] -> goto done
        :: else
        fi;
        keys[WHOLE] = 7;
        run shard_thread(0);
        run shard_thread(1);
        run coordinator(0);
        run coordinator(1);
        run coordinator(2);
#ifdef WITH_WHOLE
        run coordinator(WHOLE)
#else
        run coordinator(3)
#endif
    }
done:
    skip
}
