/* snapshot_colour.pml: does a snapshot hold exactly what was there at the cut? (shard/snapshot.h)
 *
 * Two databases of two keys each, on one shard. A cut flips the colour; from then on a walk in the
 * order of hashes saves what has the old colour and gives it the new one, and whatever changes an
 * entry saves it before. Meanwhile keys are put, changed and deleted, entries are displaced to other
 * buckets, the table grows (a bucket is half as wide), databases are swapped and emptied, and a
 * transaction changes two keys in two steps under a lock. Then a second snapshot, as the first one
 * has left the colours.
 *
 * At the end of each: every key that was there at the cut has been saved once, with its value and
 * the number of its database at the cut; nothing else has been saved; no half transaction is in it.
 *
 * Planted:  SAVE_AFTER_CHANGE  a change saves the entry when it is done
 *           DELETE_UNGUARDED   a deleted entry is not saved
 *           PUT_OLD_COLOUR     what is put has the colour from before the cut
 *           WALK_BY_PLACE      the walk goes by buckets and not by hashes
 *           FLUSH_FREES        an emptied table is not kept for the walk
 *           SWAP_BY_NUMBER     a database has the number that it has when it is walked
 *           CUT_UNDER_LOCK     the cut does not wait for the lock
 *           NO_MARK            a saved entry keeps its colour
 */
#ifndef OPS
#define OPS 3 /* changes of any kind in one snapshot */
#endif
#define KEYS 2
#define TABLES 3 /* two databases, and one that was emptied and is kept */
#define HASHES 4
#define NONE 0

#define AT(t, k) ((t) * KEYS + (k))
#define HASH(k) (1 + (k))

byte value[6];      /* of each entry of each table; NONE: not there */
bit colour_of[6];
bool displaced[6];  /* it stands in the other half of the table */
byte table_of[2];   /* of a database */
bit colour;         /* of what is put */
bool wide = true;   /* a bucket holds two hashes */

bool walking, locked, half, half_at_cut, kept;
byte walked;        /* tables that are through, in the order of `order` */
byte order[2], count, number_of[TABLES];
byte cursor;
byte wanted[4], got[4]; /* by number of the database at the cut, and key */
byte left, rounds;
byte k, d, t, h, n;

inline save(tt, kk)
{
    n = number_of[tt];
#ifdef SWAP_BY_NUMBER
    if
    :: table_of[0] == tt -> n = 0
    :: table_of[1] == tt -> n = 1
    :: else -> skip
    fi;
#endif
    assert(got[AT(n, kk)] == NONE);
    got[AT(n, kk)] = value[AT(tt, kk)];
#ifndef NO_MARK
    colour_of[AT(tt, kk)] = colour
#endif
}

inline guard(tt, kk)
{
    if
    :: walking && value[AT(tt, kk)] != NONE && colour_of[AT(tt, kk)] != colour -> save(tt, kk)
    :: else -> skip
    fi
}

inline change(tt, kk)
{
#ifdef SAVE_AFTER_CHANGE
    value[AT(tt, kk)] = 3 - value[AT(tt, kk)];
    guard(tt, kk)
#else
    guard(tt, kk);
    value[AT(tt, kk)] = 3 - value[AT(tt, kk)]
#endif
}

inline cut()
{
    colour = 1 - colour;
    walking = true;
    half_at_cut = half;
    walked = 0;
    cursor = 0;
    count = 2;
    order[0] = table_of[0];
    order[1] = table_of[1];
    number_of[order[0]] = 0;
    number_of[order[1]] = 1;
    for (k : 0 .. KEYS - 1) {
        wanted[AT(0, k)] = value[AT(order[0], k)];
        wanted[AT(1, k)] = value[AT(order[1], k)];
        got[AT(0, k)] = NONE;
        got[AT(1, k)] = NONE
    }
    left = OPS
}

/* One bucket. */
inline walk()
{
    t = order[walked];
    for (k : 0 .. KEYS - 1) {
        h = HASH(k);
#ifdef WALK_BY_PLACE
        h = (displaced[AT(t, k)] -> (HASH(k) + 2) % HASHES : HASH(k));
#endif
        if
        :: h >= cursor && h < cursor + (wide -> 2 : 1) && value[AT(t, k)] != NONE &&
           colour_of[AT(t, k)] != colour -> save(t, k)
        :: else -> skip
        fi
    }
    cursor = cursor + (wide -> 2 : 1);
    if
    :: cursor >= HASHES ->
        cursor = 0;
        walked++;
        if
        :: t != table_of[0] && t != table_of[1] -> /* it was kept: freed now */
            for (k : 0 .. KEYS - 1) {
                value[AT(t, k)] = NONE
            }
            kept = false
        :: else -> skip
        fi
    :: else -> skip
    fi
}

inline end()
{
    walking = false;
    rounds++;
    assert(!half_at_cut);
    for (k : 0 .. 3) {
        assert(got[k] == wanted[k]);
        wanted[k] = NONE;
        got[k] = NONE
    }
    half_at_cut = false;
    left = 1
}

/* A free table; the order of the walk says whether this one is still needed. */
inline flush(dd)
{
    t = table_of[dd];
    if
#ifndef FLUSH_FREES
    :: walking && ((walked == 0 && (t == order[0] || t == order[1])) ||
                   (walked == 1 && t == order[1])) ->
        n = 0;
        do
        :: n == table_of[0] || n == table_of[1] -> n++
        :: else -> break
        od;
        table_of[dd] = n;
        kept = true
#endif
    :: else ->
        for (k : 0 .. KEYS - 1) {
            value[AT(t, k)] = NONE
        }
    fi
}

inline forget()
{
    k = 0;
    d = 0;
    t = 0;
    h = 0;
    n = 0
}

active proctype shard()
{
    atomic {
        table_of[1] = 1;
        left = 2
    }
    do
    :: rounds == 2 -> break
#ifdef CUT_UNDER_LOCK
    :: rounds < 2 && !walking -> atomic { cut(); forget() }
#else
    :: rounds < 2 && !walking && !locked -> atomic { cut(); forget() }
#endif
    :: walking && walked < 2 -> atomic { walk(); forget() }
    :: walking && walked == 2 -> atomic { end(); forget() }
    :: left > 0 -> atomic { /* put or change */
        left--;
        select(d : 0 .. 1);
        select(k : 0 .. KEYS - 1);
        t = table_of[d];
        if
        :: locked -> skip
        :: !locked && value[AT(t, k)] != NONE -> change(t, k)
        :: !locked && value[AT(t, k)] == NONE ->
            value[AT(t, k)] = 1;
            displaced[AT(t, k)] = false;
#ifdef PUT_OLD_COLOUR
            colour_of[AT(t, k)] = (walking -> 1 - colour : colour)
#else
            colour_of[AT(t, k)] = colour
#endif
        fi;
        forget()
    }
    :: left > 0 && !locked -> atomic { /* delete */
        left--;
        select(d : 0 .. 1);
        select(k : 0 .. KEYS - 1);
        t = table_of[d];
#ifndef DELETE_UNGUARDED
        guard(t, k);
#endif
        value[AT(t, k)] = NONE;
        displaced[AT(t, k)] = false;
        forget()
    }
    :: left > 0 -> atomic { /* displace */
        left--;
        select(d : 0 .. 1);
        select(k : 0 .. KEYS - 1);
        displaced[AT(table_of[d], k)] = value[AT(table_of[d], k)] != NONE;
        forget()
    }
    :: left > 0 && wide && cursor % 2 == 0 -> atomic { /* grow */
        left--;
        wide = false
    }
    :: left > 0 && !locked -> atomic { /* swap */
        left--;
        t = table_of[0];
        table_of[0] = table_of[1];
        table_of[1] = t;
        forget()
    }
    :: left > 0 && !locked && !kept -> atomic { /* flush */
        left--;
        select(d : 0 .. 1);
        flush(d);
        forget()
    }
    :: left > 1 && !locked && value[AT(table_of[0], 0)] != NONE && value[AT(table_of[0], 1)] != NONE ->
        atomic { /* a transaction: its first half */
        left--;
        locked = true;
        half = true;
        t = table_of[0];
        change(t, 0);
        forget()
    }
    :: locked -> atomic { /* and its second */
        t = table_of[0];
        change(t, 1);
        half = false;
        locked = false;
        forget()
    }
    od
}
