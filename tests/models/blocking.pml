/* blocking.pml: waiting for keys on several shards (shard/wait_claim.h and server/blocking_claim.h) as a Promela model.
 *
 *     shard         key ─▶ [waiter] [waiter] …   in the order of arrival. A key that becomes ready is served at the place of the push; for a waiter with
 *                                                keys elsewhere it is held since that place, and its coordinator is told
 *     coordinator   first claim c ─▶ SETTLE(c) to the other shard ─▶ the earliest claim is served, the other dropped for the next in its queue
 *
 * What is assumed is what sequencer.pml proves: turns have one order, and each shard runs its share in that order at its own pace. So publishing is one
 * step that appends to the inputs of both shards. What waits for a held key is one list per shard here, from which runs whoever shares no key with a holding
 * or with somebody before it; locks.pml has the queues.
 *
 * Waiters want any of the keys 0 and 1 (shard 0) and 2 (shard 1), in this order; pushes add one element or two to one key; published in any order.
 * WITH_CANCEL, one waiter may give up at any time (a timeout), at a place of its own. WITH_LOCK, a LOCKED command holds the keys 0 and 2 for a while.
 *
 * Properties
 *  - order      Whoever is served is served from the key from which a single-threaded server serves it that gets the commands in the order of their places.
 *  - liveness   Whoever is served there is served here, when nothing else moves any more.
 *
 * Planted    SERVE_AT_ONCE, NO_DOUBT, SETTLE_AT_ONCE, SETTLE_WAITS_FOR_ALL, ASK_ONCE, SERVE_PAST_BOUND
 */

#ifdef THREE
#define WAITERS 3 /* each of which shares a key with each other */
#endif
#ifndef WAITERS
#define WAITERS 2
#endif
#ifndef PUSHES
#define PUSHES 3
#endif
#ifdef WITH_LOCK
#define LOCKS 1
#else
#define LOCKS 0
#endif
#define KEYS 3
#define LOCKER (WAITERS + 1) /* as a holder */
#define NONE 255
#define GONE 9

#define HOME(k) ((k) / 2)
#define HAS(mask, k) (((mask) >> (k)) & 1)
#define SLICE(shard) (3 + (shard)) /* bits of the shard's keys: 0 and 1, or 2 */
#define IS_SPREAD(w) ((wants[w] & 3) && (wants[w] & 4))

mtype = { REGISTER, PUSH, LOCK, UNLOCK, SETTLE, SERVE, DROP };
mtype = { CLAIM, NOTHING };

byte wants[WAITERS]; /* bit per key */
byte place[WAITERS]; /* in the order; 0: not published */
byte push_key[PUSHES], push_count[PUSHES], push_place[PUSHES];
byte lock_place;
byte arrivals; /* shards that hold its key for it */
byte places; /* given so far */
chan input[2] = [WAITERS * 4 + PUSHES + 2 * LOCKS] of { mtype, byte, byte };
chan report[WAITERS] = [6] of { mtype, byte, byte, byte }; /* shard, key, since */

/* ---- the single-threaded server ---- */
byte model_count[KEYS];
byte model_served[WAITERS]; /* key + 1; GONE: gave up before; 0: waits, or has not come */
bool is_done[WAITERS];

/* ---- shards; every key and every (waiter, shard) belongs to one ---- */
byte count[KEYS];
byte holder[KEYS] = NONE;
byte since[KEYS];    /* of the holding */
bool is_spare[KEYS]; /* the holder does not want it any more */
bool is_due[KEYS];   /* it must be looked at who is served, */
byte due[KEYS];      /* at this place */
chan parked[2] = [WAITERS + PUSHES + LOCKS] of { mtype, byte };

#define AT(shard, w) ((shard) * WAITERS + (w))
bool waits[2 * WAITERS]; /* stands in the queues of its keys here */
byte claim[2 * WAITERS] = NONE;
bool is_told[2 * WAITERS]; /* of the claim */
bool is_asked[2 * WAITERS];
byte bound[2 * WAITERS];

inline model_serve(k)
{
    do
    :: model_count[k] > 0 ->
        best = NONE;
        for (i : 0 .. WAITERS - 1) {
            if
            :: place[i] > 0 && model_served[i] == 0 && HAS(wants[i], k) && (best == NONE || place[i] < place[best]) -> best = i
            :: else
            fi
        }
        if
        :: best == NONE -> break
        :: else -> model_served[best] = k + 1; model_count[k]--
        fi
    :: else -> break
    od;
    best = 0; i = 0
}

proctype pusher(byte p)
{
    byte i, best;
    d_step {
        places++;
        push_place[p] = places;
        model_count[push_key[p]] = model_count[push_key[p]] + push_count[p];
        model_serve(push_key[p]);
        input[HOME(push_key[p])] ! PUSH, p, 0
    }
}

proctype locker()
{
    d_step { places++; lock_place = places; input[0] ! LOCK, 0, 0; input[1] ! LOCK, 0, 0 }
    arrivals == 2;
    d_step { places++; input[0] ! UNLOCK, 0, 0; input[1] ! UNLOCK, 0, 0; arrivals = 3 }
}

/* ---- coordinators ---- */

inline ask(bound_now)
{
    for (s : 0 .. 1) {
        if
        :: part[s] == 1 && (!asked[s] || bound_now < asked_bound[s]) ->
#ifdef ASK_ONCE
            if
            :: !asked[s] -> input[s] ! SETTLE, w, bound_now
            :: else
            fi;
#else
            input[s] ! SETTLE, w, bound_now;
#endif
            asked[s] = true;
            asked_bound[s] = bound_now
        :: else
        fi
    }
    s = 0
}

inline first_claim()
{
    best = NONE;
    for (s : 0 .. 1) {
        if
        :: part[s] == 2 && (best == NONE || at[s] < at[best] || (at[s] == at[best] && key_of[s] < key_of[best])) -> best = s
        :: else
        fi
    }
    s = 0
}

proctype waiter(byte w)
{
    byte part[2]; /* 1: waits, 2: claims */
    byte at[2], key_of[2], asked_bound[2];
    bool asked[2];
    byte s, k, c, best, i;
    bool has_cancelled;
    mtype what;
    d_step {
        places++;
        place[w] = places;
        i = 0;
        do
        :: i < KEYS && model_served[w] == 0 ->
            if
            :: HAS(wants[w], i) && model_count[i] > 0 -> model_served[w] = i + 1; model_count[i]--
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0;
        if
        :: wants[w] & 3 -> part[0] = 1; input[0] ! REGISTER, w, 0
        :: else
        fi;
        if
        :: wants[w] & 4 -> part[1] = 1; input[1] ! REGISTER, w, 0
        :: else
        fi
    }
    if
    :: !IS_SPREAD(w) -> goto served_there
    :: else
    fi;
end:
    do
    :: part[0] != 1 && part[1] != 1 -> break
    :: d_step {
        report[w] ? what, s, k, c;
        if
        :: what == CLAIM -> part[s] = 2; key_of[s] = k; at[s] = c
        :: else -> part[s] = 0
        fi;
        first_claim();
        if
        :: best != NONE -> ask(at[best])
        :: else
        fi;
        best = 0; k = 0; c = 0; what = 0
    }
#ifdef WITH_CANCEL
    :: d_step {
        w == 0 && !has_cancelled && (part[0] == 1 || part[1] == 1) ->
        has_cancelled = true;
        places++;
        if
        :: model_served[w] == 0 -> model_served[w] = GONE
        :: else
        fi;
        ask(places)
    }
#endif
    od;
    skip;
    d_step {
        first_claim();
        for (s : 0 .. 1) {
            if
            :: part[s] == 2 && s == best -> input[s] ! SERVE, w, 0
            :: part[s] == 2 && s != best -> input[s] ! DROP, w, 0
            :: else
            fi
        }
        if
        :: best == NONE -> assert(model_served[w] == GONE); is_done[w] = true
        :: else
        fi
    }
served_there:
    skip
}

/* ---- a shard ---- */

#define MASK(kind, who) ((kind == PUSH -> (1 << push_key[who]) : (kind == LOCK -> 5 : wants[who])) & SLICE(shard))
#define PLACE(kind, who) (kind == PUSH -> push_place[who] : (kind == LOCK -> lock_place : place[who]))
#define LOCKED_KEY (shard * 2)

/* Sets `ok`: everything up to that place that is about key k has run, `mine` being a holding that does not count. */
inline passed(k, c, mine)
{
    ok = !(holder[k] != NONE && holder[k] != mine && since[k] <= c);
#ifdef SETTLE_WAITS_FOR_ALL
    ok = ok && (holder[k] == NONE || holder[k] == mine);
#endif
    n = len(parked[shard]);
    do
    :: n > 0 ->
        parked[shard] ? kind, who;
        if
        :: HAS(MASK(kind, who), k) && PLACE(kind, who) <= c -> ok = false
        :: else
        fi;
        parked[shard] ! kind, who;
        n--
    :: else -> break
    od
}

inline pop_for(w, k)
{
    assert(count[k] > 0);
    assert(model_served[w] == k + 1);
    count[k]--;
    is_done[w] = true
}

/* Sets `certain`: no key of the waiter but k can turn out to have been ready for it before c. */
inline look_certain(w, k, c)
{
    certain = true;
#ifndef NO_DOUBT
    for (other : 0 .. KEYS - 1) {
        if
        :: other != k && HOME(other) == shard && HAS(wants[w], other) -> passed(other, c, NONE); certain = certain && ok
        :: else
        fi
    }
#endif
    other = 0
}

inline tell(w)
{
    waits[AT(shard, w)] = false;
    is_told[AT(shard, w)] = true;
    is_asked[AT(shard, w)] = false;
    report[w] ! CLAIM, shard, claim[AT(shard, w)], since[claim[AT(shard, w)]]
}

/* Whoever is asked about what came up to a place must not be served after it: it may have given up there. */
#ifdef SERVE_PAST_BOUND
#define TOO_LATE(w, c) false
#else
#define TOO_LATE(w, c) (is_asked[AT(shard, w)] && bound[AT(shard, w)] < (c))
#endif

/* The first in the queue of key k gets it at place c, if there is one. */
inline serve_key(k, c)
{
    best = NONE;
    for (other : 0 .. WAITERS - 1) {
        if
        :: waits[AT(shard, other)] && HAS(wants[other], k) && !(claim[AT(shard, other)] != NONE && since[claim[AT(shard, other)]] <= c) &&
           !TOO_LATE(other, c) && (best == NONE || place[other] < place[best]) -> best = other
        :: else
        fi
    }
    other = 0;
    if
    :: best == NONE -> is_due[k] = false
    :: else ->
        if
        :: claim[AT(shard, best)] != NONE -> is_spare[claim[AT(shard, best)]] = true; claim[AT(shard, best)] = NONE
        :: else
        fi;
        look_certain(best, k, c);
#ifdef SERVE_AT_ONCE
        if
        :: certain ->
#else
        if
        :: certain && !IS_SPREAD(best) ->
#endif
            waits[AT(shard, best)] = false;
            if
            :: !is_done[best] -> pop_for(best, k)
            :: else
            fi
        :: else ->
            holder[k] = best;
            since[k] = c;
            claim[AT(shard, best)] = k;
            is_due[k] = false;
            if
            :: certain -> tell(best)
            :: else
            fi
        fi
    fi;
    best = 0
}

inline register(w)
{
    best = NONE;
    for (other : 0 .. KEYS - 1) {
        if
        :: best == NONE && HOME(other) == shard && HAS(wants[w], other) && count[other] > 0 -> best = other
        :: else
        fi
    }
    other = 0;
    if
    :: best == NONE -> waits[AT(shard, w)] = true
    :: best != NONE && !IS_SPREAD(w) -> pop_for(w, best)
    :: else -> holder[best] = w; since[best] = place[w]; claim[AT(shard, w)] = best; tell(w)
    fi;
    best = 0
}

inline execute(kind_now, who_now)
{
    if
    :: kind_now == PUSH ->
        count[push_key[who_now]] = count[push_key[who_now]] + push_count[who_now];
        is_due[push_key[who_now]] = true;
        due[push_key[who_now]] = push_place[who_now]
    :: kind_now == LOCK -> holder[LOCKED_KEY] = LOCKER; since[LOCKED_KEY] = lock_place; arrivals++
    :: else -> register(who_now)
    fi
}

/* The key is free again, and for the next at the same place. */
inline release(k)
{
    holder[k] = NONE;
    is_spare[k] = false;
    is_due[k] = true;
    due[k] = since[k]
}

/* One parked command that nothing stands in the way of; sets `found`. */
inline unpark()
{
    n = len(parked[shard]);
    blocked = 0;
    for (other : 0 .. KEYS - 1) {
        if
        :: holder[other] != NONE || is_due[other] -> blocked = blocked | (1 << other)
        :: else
        fi
    }
    other = 0;
    kind_found = 0;
    do
    :: n > 0 ->
        parked[shard] ? kind, who;
        if
        :: !found && (MASK(kind, who) & blocked) == 0 -> found = true; kind_found = kind; who_found = who
        :: else -> blocked = blocked | MASK(kind, who); parked[shard] ! kind, who
        fi;
        n--
    :: else -> break
    od;
    if
    :: found -> execute(kind_found, who_found)
    :: else
    fi;
    kind_found = 0; who_found = 0; blocked = 0
}

/* A claim that has become certain, or a question that can be answered; sets `found`. */
inline decide()
{
    mine = 0;
    do
    :: mine < WAITERS && !found ->
        if
        :: claim[AT(shard, mine)] != NONE && !is_told[AT(shard, mine)] ->
            look_certain(mine, claim[AT(shard, mine)], since[claim[AT(shard, mine)]]);
            if
            :: certain && IS_SPREAD(mine) -> found = true; tell(mine)
            :: certain && !IS_SPREAD(mine) ->
                found = true;
                waits[AT(shard, mine)] = false;
                pop_for(mine, claim[AT(shard, mine)]);
                release(claim[AT(shard, mine)]);
                claim[AT(shard, mine)] = NONE
            :: else
            fi
        :: else
        fi;
        if
        :: !found && is_asked[AT(shard, mine)] && waits[AT(shard, mine)] &&
           !(claim[AT(shard, mine)] != NONE && since[claim[AT(shard, mine)]] <= bound[AT(shard, mine)]) ->
            certain = true;
#ifndef SETTLE_AT_ONCE
            for (other : 0 .. KEYS - 1) {
                if
                :: HOME(other) == shard && HAS(wants[mine], other) -> passed(other, bound[AT(shard, mine)], mine); certain = certain && ok
                :: else
                fi
            }
            other = 0;
#endif
            if
            :: certain ->
                found = true;
                waits[AT(shard, mine)] = false;
                is_asked[AT(shard, mine)] = false;
                if
                :: claim[AT(shard, mine)] != NONE -> is_spare[claim[AT(shard, mine)]] = true; claim[AT(shard, mine)] = NONE
                :: else
                fi;
                report[mine] ! NOTHING, shard, 0, 0
            :: else
            fi
        :: else
        fi;
        mine++
    :: else -> break
    od;
    mine = 0
}

/* Everything that follows from what has just happened. */
inline settle_down()
{
    do
    :: true ->
        found = false;
        for (k : 0 .. KEYS - 1) {
            if
            :: !found && HOME(k) == shard && is_due[k] && holder[k] == NONE ->
                found = true;
                if
                :: count[k] > 0 -> serve_key(k, due[k])
                :: else -> is_due[k] = false
                fi
            :: else
            fi
        }
        if
        :: !found -> unpark()
        :: else
        fi;
        for (k : 0 .. KEYS - 1) {
            if
            :: !found && HOME(k) == shard && is_spare[k] -> found = true; release(k)
            :: else
            fi
        }
        k = 0;
        if
        :: !found -> decide()
        :: else
        fi;
        if
        :: !found -> break
        :: else
        fi
    od;
    ok = false; certain = false; kind = 0; who = 0; n = 0
}

inline take_request()
{
    if
    :: now == SETTLE ->
        if
        :: waits[AT(shard, whose)] || (!is_told[AT(shard, whose)]) -> is_asked[AT(shard, whose)] = true; bound[AT(shard, whose)] = about
        :: else
        fi
    :: now == SERVE -> pop_for(whose, claim[AT(shard, whose)]); release(claim[AT(shard, whose)]); claim[AT(shard, whose)] = NONE
    :: now == UNLOCK -> release(LOCKED_KEY)
    :: now == DROP -> release(claim[AT(shard, whose)]); claim[AT(shard, whose)] = NONE
    :: else -> parked[shard] ! now, whose /* and out again at once, if nothing stands in the way */
    fi
}

proctype shard_thread(byte shard)
{
    mtype now, kind, kind_found;
    byte whose, about, who, who_found, n, k, other, best, mine, blocked;
    bool ok, certain, found;
end:
    do
    :: d_step { input[shard] ? now, whose, about; take_request(); settle_down(); now = 0; whose = 0; about = 0 }
    od
}

init
{
    byte some;
    atomic {
#ifdef THREE
        wants[0] = 5; wants[1] = 6; wants[2] = 3;
#else
        for (some : 0 .. WAITERS - 1) {
            if
            :: wants[some] = 7
            :: wants[some] = 5
            :: wants[some] = 3
            :: wants[some] = 1
            :: wants[some] = 4
            :: wants[some] = 6
            fi
        }
#endif
        for (some : 0 .. PUSHES - 1) {
            if
            :: push_key[some] = 0
            :: push_key[some] = 1
            :: push_key[some] = 2
            fi;
            if
            :: push_count[some] = 1
#ifndef THREE
            :: push_count[some] = 2
#endif
            fi
        }
        /* The rest is the same with other names. */
#ifndef THREE
        for (some : 1 .. WAITERS - 1) {
            if
            :: wants[some - 1] < wants[some] -> goto done
            :: else
            fi
        }
#endif
        for (some : 1 .. PUSHES - 1) {
            if
            :: push_key[some - 1] * 4 + push_count[some - 1] < push_key[some] * 4 + push_count[some] -> goto done
            :: else
            fi
        }
        run shard_thread(0);
        run shard_thread(1);
        for (some : 0 .. WAITERS - 1) { run waiter(some) }
#ifdef WITH_LOCK
        run locker();
#endif
        for (some : 0 .. PUSHES - 1) { run pusher(some) }
    }
    timeout; /* nothing else can move */
    for (some : 0 .. WAITERS - 1) {
        assert(model_served[some] == 0 || is_done[some])
    }
    assert(arrivals == 3 * LOCKS);
done:
    skip
}
