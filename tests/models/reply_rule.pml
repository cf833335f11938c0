/* reply_rule.pml: when may a reply leave, so that no crash takes back what it told? (persist/aof.h)
 *
 * Two shards, each with a log. Transaction t (t = 1 … TURNS) has a part on both; besides, each
 * shard runs plain writes at any moment. A shard runs its parts in the order of t. What is appended
 * becomes stable later, in the order of the log, on each shard in its own time.
 *
 *     log of a shard:   p t1 p p t2 …          stable ──────▶ |  appended ──▶
 *
 * A crash at any moment leaves of each log any prefix that is not shorter than its stable part.
 * Recovery cuts each log at its first part of T*, the lowest transaction with a part missing, or of
 * a later one. What an acknowledged operation wrote, or read, must still be there, and each
 * transaction on both shards or on none.
 *
 * Planted:  NO_R_RULE          a reply waits for its own shard only
 *           APPENDED_ONLY      R does not count parts that are not appended yet
 *           UNORDERED_PARTS    shards run their parts in any order
 *           READS_LEAVE_FREELY a read's reply does not wait
 */
#ifndef TURNS
#define TURNS 2
#endif
#define LOG 4 /* entries of a log: each transaction, and plain writes */

/* An entry is the txid of a part, or 0 for a plain write. */
typedef log {
    byte entry[LOG];
    byte size;
    byte stable;   /* entries of it that no crash takes */
    byte promised; /* entries that an acknowledged reply tells of */
    byte done;     /* parts that were run, one bit each */
    byte kept;     /* after the crash */
};
log logs[2];
bool crashed;

/* Scratch of one atomic step; clean() takes it out of the state. */
byte k, t, u, n, r, top, cut, side;
bool here, there, begun;

#define BIT(t) (1 << (t))
#define OTHER(s) (1 - (s))

inline clean()
{
    k = 0;
    t = 0;
    u = 0;
    n = 0;
    r = 0;
    top = 0;
    cut = 0;
    side = 0;
    here = false;
    there = false;
    begun = false
}

/* Whether the part of t on shard s is in the first n entries of its log. */
inline has_part(s, t, n, result)
{
    result = false;
    for (k : 0 .. LOG - 1) {
        if
        :: k < n && logs[s].entry[k] == t -> result = true
        :: else
        fi
    }
}

/* R: the lowest transaction that began and has a part that is not stable. */
inline find_r(r)
{
    r = TURNS + 1;
    for (t : 1 .. TURNS) {
        begun = false;
        for (u : 0 .. 1) {
            has_part(u, t, logs[u].size, here);
            if
            :: here -> begun = true
            :: else
            fi
        }
        for (u : 0 .. 1) {
            has_part(u, t, logs[u].stable, here);
#ifdef APPENDED_ONLY
            if
            :: !(logs[u].done & BIT(t)) -> here = true
            :: else
            fi;
#endif
            if
            :: begun && !here && r > t -> r = t
            :: else
            fi
        }
    }
}

/* The highest transaction in the first n entries of a log. */
inline highest(s, n, result)
{
    result = 0;
    for (k : 0 .. LOG - 1) {
        if
        :: k < n && logs[s].entry[k] > result -> result = logs[s].entry[k]
        :: else
        fi
    }
}

/* A reply that tells of the first n entries of shard s leaves, if it may. */
inline reply(s, n, is_read)
{
    find_r(r);
    highest(s, n, top);
#ifdef NO_R_RULE
    r = TURNS + 1;
#endif
    if
    :: (logs[s].stable >= n && r > top) || is_read ->
       if
       :: logs[s].promised < n -> logs[s].promised = n
       :: else
       fi
    :: else
    fi
}

proctype shard(byte s)
{
end:
    do
    :: atomic {
        !crashed && logs[s].size < LOG -> /* a plain write */
        logs[s].size++
    }
    :: atomic {
        !crashed && logs[s].size < LOG && logs[s].done != BIT(TURNS + 1) - 2 ->
        t = 1;
        do /* the next part, or any of those that are left */
        :: logs[s].done & BIT(t) -> t++
        :: else ->
           if
           :: break
#ifdef UNORDERED_PARTS
           :: t < TURNS -> t++
#endif
           fi
        od;
        if
        :: t <= TURNS ->
           logs[s].entry[logs[s].size] = t;
           logs[s].done = logs[s].done | BIT(t);
           logs[s].size++
        :: else
        fi;
        clean()
    }
    :: atomic {
        !crashed && logs[s].stable < logs[s].size -> /* a commit completes */
        logs[s].stable++
    }
    :: atomic {
        !crashed && logs[s].size > logs[s].promised -> /* a reply to a write or a read */
        select(n : 1 .. LOG);
        if
        :: n <= logs[s].size && n > logs[s].promised -> reply(s, n, false)
        :: else
        fi;
        clean()
    }
#ifdef READS_LEAVE_FREELY
    :: atomic {
        !crashed && logs[s].size > logs[s].promised ->
        n = logs[s].size;
        reply(s, n, true);
        clean()
    }
#endif
    :: crashed -> break
    od
}

/* Keeps any prefix, cuts at T*, and looks at what is left. */
proctype crash()
{
    atomic {
        crashed = true;
        for (side : 0 .. 1) {
            select(k : 0 .. LOG);
            if
            :: k >= logs[side].stable && k <= logs[side].size -> logs[side].kept = k
            :: else -> logs[side].kept = logs[side].stable
            fi
        }
        cut = TURNS + 1;
        for (t : 1 .. TURNS) {
            has_part(0, t, logs[0].kept, here);
            has_part(1, t, logs[1].kept, there);
            if
            :: here != there && cut > t -> cut = t
            :: else
            fi
        }
        for (side : 0 .. 1) {
            for (k : 0 .. LOG - 1) {
                if
                :: k < logs[side].kept && logs[side].entry[k] >= cut -> logs[side].kept = k
                :: else
                fi
            }
        }
        for (side : 0 .. 1) {
            assert(logs[side].kept >= logs[side].promised)
        }
        for (t : 1 .. TURNS) {
            has_part(0, t, logs[0].kept, here);
            has_part(1, t, logs[1].kept, there);
            assert(here == there)
        }
        clean()
    }
}

init
{
    atomic {
        run shard(0);
        run shard(1);
        run crash()
    }
}
