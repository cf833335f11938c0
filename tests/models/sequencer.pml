/* sequencer.pml: base/sequencer.h as a Promela model: turns, merge, sleep and wake, own-shard shortcut.
 *
 *     net role                                     shard role
 *     push every parcel, position PENDING          a  count all rings
 *     p = fetch_add(counter)                       b  H = highest position seen, waiting for PENDING ones
 *     store p in every parcel                      c  count all rings again
 *     fence, look at sleeping flags, wake          d  run all parcels up to H, lowest position first
 *
 * Memory. Every thread has a FIFO store buffer, `buffer[thread]`, that `memory` drains at any later moment. Ring tails, positions,
 * sleeping flags and the written half of fetch_add go through it. So a load may overtake an older store of its own thread unless a
 * fence, which waits for an empty buffer, stands between them. fetch_add is acquire and release but not a full fence: its read happens at
 * once and locks the counter until its write leaves the buffer (the ARMv8 pair of exclusive accesses). On x86 it would be a fence, so
 * the model is the weaker machine. What a thread writes for itself only (its own ring to its own shard) needs no buffer.
 *
 * Clients. Each net role has TURNS turns; each names shard 0, shard 1 or both. A thread may also fall asleep with turns left: the network
 * wakes it.
 *
 * Properties
 *  - order     A shard runs strictly growing keys, and so do the turns of one net role. The key of a turn is twice its position; the key of an in-place
 *              turn is 2 * n - 1, where n is the counter before the last look at the rings. So the keys are one total order that explains
 *              what every shard did and what every connection sees: it is the serial order, and the one that the recorder writes.
 *  - pairs     No two turns run in opposite orders on two shards. Said without positions.
 *  - liveness  Each thread ends only when all that was pushed has run (and, with HOME, is back): a lost wake is an invalid end state.
 *  - litmus    LITMUS=1: data to the other shard, then the flag in place; who sees the flag finds the data.
 *              LITMUS=2: one turn writes x here and y there; the owner that sees y through a position sees x in place.
 *
 * Options    FUSED | DEDICATED | MIXED   who carries which role          TURNS=n
 *            HOME                        parcels go home, and their net thread may have to be woken
 *            SPIN                        nobody sleeps: for more turns in the same time
 * Planted    NO_SECOND_LOOK, NO_FENCE_SLEEPER, NO_FENCE_WAKER, POSITION_BEFORE_PUSH, SHORTCUT_WITHOUT_DRAIN, NO_WAIT_FOR_PENDING,
 *            COUNTER_AFTER_LOOK (the order is right, its record is not)
 */

#ifndef TURNS
#define TURNS 2
#endif
#ifdef LITMUS
#undef TURNS
#define TURNS 2
#endif

#define NETS 2
#define SHARDS 2
#define RINGS 4
#define NONE 9

#define RING(net, shard) ((net) * SHARDS + (shard))
#define SLOT(ring, index) ((ring) * TURNS + (index))
#define TURN(net, index) ((net) * TURNS + (index))

/* Which thread carries which role. */
#if defined(FUSED)
#define THREADS 2
#define THREAD_OF_NET(n) (n)
#define THREAD_OF_SHARD(s) (s)
#elif defined(MIXED)
#define THREADS 3 /* net 0 with shard 0, net 1 alone, shard 1 alone */
#define THREAD_OF_NET(n) (n)
#define THREAD_OF_SHARD(s) ((s) * 2)
#else
#define THREADS 4
#define THREAD_OF_NET(n) (n)
#define THREAD_OF_SHARD(s) (2 + (s))
#endif

mtype = { TAIL, POSITION, COUNTER, SLEEPING, HOME_TAIL };

/* ---- what all threads see ---- */
byte tail[RINGS];                  /* parcels pushed, per ring */
byte position[RINGS * TURNS];      /* of the parcel in each slot; 0 is PENDING */
byte counter = 1;
bool counter_locked;
bit sleeping[THREADS];
bit wake[THREADS];                 /* the kernel's side of a wake: sticky, like a completion */
#ifdef HOME
byte home_tail[RINGS];             /* parcels sent home, per ring */
#endif

chan buffer[THREADS] = [7] of { mtype, byte, byte };

/* ---- what one thread owns ---- */
byte head[RINGS];                  /* the shard's; credits are not modelled: a ring holds all turns */
byte pushed[RINGS];                /* the net role's own idea of tail */
byte turn_in[RINGS * TURNS];       /* which turn the parcel in each slot belongs to */
byte turns[NETS];                  /* turns done */
#ifdef HOME
byte home_pushed[RINGS];
byte home_taken[RINGS];
#endif

/* ---- ghosts ---- */
byte unfinished;                   /* parcels pushed and not run (HOME: and not back) */
byte unpublished = NETS * TURNS;
byte shard_key[SHARDS];            /* last key that ran */
byte net_key[NETS];
byte ran[SHARDS];                  /* bit per turn */
byte before[SHARDS * NETS * TURNS];  /* what had run on that shard when that turn ran: also what the turn saw */

#define ALL_DONE (unfinished == 0 && unpublished == 0)

/* The oldest store of thread i becomes visible. */
inline apply(i)
{
    d_step {
        buffer[i] ? kind, where, value;
        if
        :: kind == TAIL -> tail[where] = value
        :: kind == POSITION -> position[where] = value
        :: kind == COUNTER -> counter = value; counter_locked = false
        :: kind == SLEEPING -> sleeping[where] = value
#ifdef HOME
        :: kind == HOME_TAIL -> home_tail[where] = value
#endif
        fi;
        kind = 0;
        where = 0;
        value = 0
    }
}

active proctype memory()
{
    mtype kind;
    byte where, value;
end:
    do
    :: nempty(buffer[0]) -> apply(0)
    :: nempty(buffer[1]) -> apply(1)
#if THREADS > 2
    :: nempty(buffer[2]) -> apply(2)
#endif
#if THREADS > 3
    :: nempty(buffer[3]) -> apply(3)
#endif
    od
}

#define FENCE empty(buffer[me])

/* Stores to a ring between two roles of one thread are seen in program order by the only thread that looks. */
inline store_tail(r, s)
{
    turn_in[SLOT(r, pushed[r])] = TURN(net, turns[net]);
    pushed[r]++;
    if
    :: THREAD_OF_SHARD(s) == me -> tail[r] = pushed[r]
    :: else -> buffer[me] ! TAIL, r, pushed[r]
    fi
}

inline store_position(at, s, p)
{
    if
    :: THREAD_OF_SHARD(s) == me -> position[at] = p
    :: else -> buffer[me] ! POSITION, at, p
    fi
}

/* sleeper_must_wake without its fence, and env_wake. */
inline wake_thread(t)
{
    if
    :: t != me && sleeping[t] -> sleeping[t] = 0; wake[t] = 1
    :: else
    fi
}

/* ---- the net role ---- */

inline push_parcels()
{
    if
    :: targets & 1 -> store_tail(RING(net, 0), 0); unfinished++
    :: else
    fi;
    if
    :: targets & 2 -> store_tail(RING(net, 1), 1); unfinished++
    :: else
    fi
}

/* acquire and release, not a fence: the write follows the pushes through the buffer. */
inline take_position()
{
    !counter_locked;
    p = counter;
    counter_locked = true;
    buffer[me] ! COUNTER, 0, p + 1
}

inline store_positions(offset)
{
    if
    :: targets & 1 -> store_position(SLOT(RING(net, 0), pushed[RING(net, 0)] + offset), 0, p)
    :: else
    fi;
    if
    :: targets & 2 -> store_position(SLOT(RING(net, 1), pushed[RING(net, 1)] + offset), 1, p)
    :: else
    fi
}

#ifdef NO_FENCE_WAKER
#define WAKER_FENCE skip
#else
#define WAKER_FENCE FENCE
#endif

/* One step as far as others can tell: it reads one shared variable, the counter, and all stores go to the buffer. */
inline publish()
{
    atomic {
#ifdef POSITION_BEFORE_PUSH
        take_position();
        store_positions(0);
        push_parcels();
#else
        push_parcels();
        take_position();
        store_positions(-1);
#endif
#ifndef LITMUS
        assert(2 * p > net_key[net]);
#endif
        net_key[net] = 2 * p;
        p = 0;
        turns[net]++;
        unpublished--
    }
#ifdef SPIN
    targets = 0
#else
    atomic { WAKER_FENCE; if :: targets & 1 -> wake_thread(THREAD_OF_SHARD(0)) :: else fi }
    atomic { if :: targets & 2 -> wake_thread(THREAD_OF_SHARD(1)) :: else fi; targets = 0 }
#endif
}

/* What a turn does on a shard, at once: it writes its mark and reads all marks. */
inline run_turn(turn, key)
{
#ifndef LITMUS
    assert(key >= shard_key[shard]);
#endif
    shard_key[shard] = key;
    before[shard * NETS * TURNS + turn] = ran[shard];
#ifndef LITMUS
    other = 0;
    do
    :: other < NETS * TURNS ->
        /* `other` ran before `turn` here: it must not have run after it on the other shard. */
        assert(!((ran[shard] >> other) & (ran[1 - shard] >> other) & (ran[1 - shard] >> turn) & 1)
            || !((before[(1 - shard) * NETS * TURNS + other] >> turn) & 1));
        other++
    :: else -> break
    od;
    other = 0;
#endif
    ran[shard] = ran[shard] | (1 << turn)
}

#ifdef SHORTCUT_WITHOUT_DRAIN
#define NOTHING_WAITS true
#else
#define NOTHING_WAITS (seen0 == head[RING(0, shard)] && seen1 == head[RING(1, shard)])
#endif

/* The thread's own fetch_add may still be in its buffer: a load finds it there. */
inline read_counter()
{
    atomic { p = counter; if :: 2 * p <= net_key[net] -> p++ :: else fi }
}

/* S4. The drain is step_shard, which may or may not run before; what counts is the last look. The counter is read before it, so that all that was
 * taken before has been seen to be run; it is needed for the record only. */
inline try_in_place()
{
#ifndef COUNTER_AFTER_LOOK
    read_counter();
#endif
    seen0 = tail[RING(0, shard)];
    seen1 = tail[RING(1, shard)];
#ifdef COUNTER_AFTER_LOOK
    read_counter();
#endif
    if
    :: NOTHING_WAITS ->
        d_step {
            run_turn(TURN(net, turns[net]), 2 * p - 1);
#ifndef LITMUS
            assert(2 * p - 1 >= net_key[net]);
#endif
            net_key[net] = 2 * p - 1;
            p = 0;
            seen0 = 0;
            seen1 = 0;
            targets = 0;
            turns[net]++;
            unpublished--
        }
    :: else -> p = 0; seen0 = 0; seen1 = 0; publish()
    fi
}

#ifdef LITMUS
/* What the two programs do; the shards are named by bits: 1 is shard 0, which net 0 owns. */
inline choose_targets()
{
    if
#if LITMUS == 1
    :: net == 0 && turns[0] == 0 -> targets = 2
    :: net == 0 && turns[0] == 1 -> targets = 1
    :: net == 1 && turns[1] == 0 -> targets = 1
    :: net == 1 && turns[1] == 1 -> targets = 2
#else
    :: net == 0 && turns[0] == 0 -> targets = 2
    :: net == 0 && turns[0] == 1 -> targets = 1
    :: net == 1 && turns[1] == 0 -> targets = 3
    :: net == 1 && turns[1] == 1 -> targets = 2
#endif
    fi
}
#else
inline choose_targets()
{
    if
    :: targets = 1
    :: targets = 2
    :: targets = 3
    fi
}
#endif

inline step_net()
{
    choose_targets();
    if
    :: shard != NONE && targets == 1 << shard -> try_in_place()
    :: else -> publish()
    fi
}

/* ---- the shard role ---- */

#ifdef NO_WAIT_FOR_PENDING
#define WAIT_FOR(at) true
#else
#define WAIT_FOR(at) (position[at] != 0)
#endif

#define IS_READY(n, index) WAIT_FOR(SLOT(RING(n, shard), index))

/* merge_next's step b: the youngest parcel that was seen has the highest position of its ring. A position that was seen never changes, so
 * waiting for both and reading both is one step. */
inline cover()
{
    atomic {
        (seen0 == head[RING(0, shard)] || IS_READY(0, seen0 - 1)) && (seen1 == head[RING(1, shard)] || IS_READY(1, seen1 - 1));
        if
        :: seen0 > head[RING(0, shard)] -> covered = position[SLOT(RING(0, shard), seen0 - 1)]
        :: else
        fi;
        if
        :: seen1 > head[RING(1, shard)] && position[SLOT(RING(1, shard), seen1 - 1)] > covered ->
            covered = position[SLOT(RING(1, shard), seen1 - 1)]
        :: else
        fi
    }
}

#define AT_HEAD(n) position[SLOT(RING(n, shard), head[RING(n, shard)])]

#ifdef HOME
inline go_home(n)
{
    home_pushed[RING(n, shard)]++;
    if
    :: THREAD_OF_NET(n) == me -> home_tail[RING(n, shard)] = home_pushed[RING(n, shard)]
    :: else -> buffer[me] ! HOME_TAIL, RING(n, shard), home_pushed[RING(n, shard)]; homeward = homeward | (1 << n)
    fi
}

inline wake_nets()
{
    if
    :: homeward != 0 ->
        atomic { WAKER_FENCE; if :: homeward & 1 -> wake_thread(THREAD_OF_NET(0)) :: else fi }
        atomic { if :: homeward & 2 -> wake_thread(THREAD_OF_NET(1)) :: else fi; homeward = 0 }
    :: else
    fi
}

inline take_home(s)
{
    d_step {
        unfinished = unfinished - (home_tail[RING(net, s)] - home_taken[RING(net, s)]);
        home_taken[RING(net, s)] = home_tail[RING(net, s)]
    }
}
#define HOME_WAITS(s) (home_tail[RING(net, s)] != home_taken[RING(net, s)])
#endif

inline run_parcel(n)
{
    run_turn(turn_in[SLOT(RING(n, shard), head[RING(n, shard)])], 2 * AT_HEAD(n));
    head[RING(n, shard)]++;
#ifdef HOME
    go_home(n)
#else
    unfinished--
#endif
}

#define DUE(n, seen) (seen > head[RING(n, shard)] && AT_HEAD(n) != 0 && AT_HEAD(n) <= covered)

inline step_shard()
{
    seen0 = tail[RING(0, shard)]; /* a */
    seen1 = tail[RING(1, shard)];
    cover(); /* b */
#ifndef NO_SECOND_LOOK
    seen0 = tail[RING(0, shard)]; /* c */
    seen1 = tail[RING(1, shard)];
#endif
    do /* d */
    :: atomic {
        (seen0 == head[RING(0, shard)] || IS_READY(0, head[RING(0, shard)])) &&
            (seen1 == head[RING(1, shard)] || IS_READY(1, head[RING(1, shard)]));
        if
        :: DUE(0, seen0) && !(DUE(1, seen1) && AT_HEAD(1) < AT_HEAD(0)) -> run_parcel(0)
        :: DUE(1, seen1) && !(DUE(0, seen0) && AT_HEAD(0) < AT_HEAD(1)) -> run_parcel(1)
        :: else -> seen0 = 0; seen1 = 0; covered = 0; break
        fi
       }
    od;
#ifdef HOME
    wake_nets()
#endif
}

/* ---- a thread ---- */

#define RING_WAITS(n) (tail[RING(n, shard)] != head[RING(n, shard)])

#ifdef NO_FENCE_SLEEPER
#define SLEEPER_FENCE true
#else
#define SLEEPER_FENCE FENCE
#endif

/* Each ring is one look of its own; the first one comes with the fence. */
inline last_look()
{
    if
    :: shard != NONE ->
        atomic { SLEEPER_FENCE; found = RING_WAITS(0) }
        found = found || RING_WAITS(1)
    :: else
    fi;
#ifdef HOME
    if
    :: net != NONE ->
        atomic { SLEEPER_FENCE; found = found || HOME_WAITS(0) }
        found = found || HOME_WAITS(1)
    :: else
    fi
#endif
}

/* The second store is left out where it would change nothing. */
inline sleep()
{
    buffer[me] ! SLEEPING, me, 1;
    last_look();
    atomic {
        if
        :: found -> found = false
        :: else ->
            if
            :: wake[me] -> wake[me] = 0
            :: net != NONE && turns[net] < TURNS /* bytes of a client */
            :: ALL_DONE -> break
            fi
        fi;
        if
        :: sleeping[me] == 0 && len(buffer[me]) == 0
        :: sleeping[me] != 0 || len(buffer[me]) != 0 -> buffer[me] ! SLEEPING, me, 0
        fi
    }
}

/* Without HOME nobody ever has to wake a thread that has no shard. With SPIN nobody sleeps. */
#ifdef SPIN
#define MAY_SLEEP false
#elif defined(HOME)
#define MAY_SLEEP true
#else
#define MAY_SLEEP (shard != NONE)
#endif

proctype thread(byte me, net, shard)
{
    byte targets, p, seen0, seen1, covered, other;
    bool found;
#ifdef HOME
    byte homeward;
#endif
    do
    :: net != NONE && turns[net] < TURNS -> step_net()
    :: shard != NONE && (RING_WAITS(0) || RING_WAITS(1)) -> step_shard()
#ifdef HOME
    :: net != NONE && HOME_WAITS(0) -> take_home(0)
    :: net != NONE && HOME_WAITS(1) -> take_home(1)
#endif
    :: MAY_SLEEP && (shard == NONE || !(RING_WAITS(0) || RING_WAITS(1))) -> sleep()
    :: !MAY_SLEEP && ALL_DONE -> break
    od
}

#ifdef LITMUS
#define SAW(net, index, shard, mark) ((before[(shard) * NETS * TURNS + TURN(net, index)] >> (mark)) & 1)
active proctype litmus()
{
    ALL_DONE;
#if LITMUS == 1
    assert(!SAW(1, 0, 0, TURN(0, 1)) || SAW(1, 1, 1, TURN(0, 0)))
#else
    assert(!SAW(0, 0, 1, TURN(1, 0)) || SAW(0, 1, 0, TURN(1, 0)))
#endif
}
#endif

init
{
    atomic {
#if defined(FUSED)
        run thread(0, 0, 0);
        run thread(1, 1, 1)
#elif defined(MIXED)
        run thread(0, 0, 0);
        run thread(1, 1, NONE);
        run thread(2, NONE, 1)
#else
        run thread(0, 0, NONE);
        run thread(1, 1, NONE);
        run thread(2, NONE, 0);
        run thread(3, NONE, 1)
#endif
    }
}
