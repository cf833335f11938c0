/* big_value.h: values that are too big to be serialised in one go: in slices, while they change.
 *
 * A value that a snapshot has come to, or that is about to change before that, is *begun*: its head
 * (key, count) is noted as it is now, and it joins a queue. The walk takes the elements of the
 * first one of the queue, slice by slice. An element that is about to change or go, and has not
 * been taken, is taken before, whatever its place in the queue:
 *
 *     tables (set, zset, hash)   elements have colours, as entries have them in snapshot.h: at the
 *                                beginning the root's is flipped; an element that is taken, or put
 *                                from then on, gets the root's. Their order does not matter.
 *     lists                      nodes have colours. They are taken from the head on; what is about
 *                                to change at the tail is put aside as it is. A change in between
 *                                takes all that is left, in one go.
 *     strings, streams           a change takes all that is left, in one go.
 *
 * A value that is removed is not freed before it has been taken: the queue owns it from then on.
 *
 * In an RDB file a value is one record, in one piece, so what changes early waits in `early` until
 * its value's turn has come. As commands (SNAPSHOT_COMMANDS) a value is several of them, between
 * which others may stand: nothing waits but an unfinished command.
 *
 * Thread     [shard]
 * Ownership  Heap, until the value is through. The root knows of its walk, so that whoever changes
 *            the value needs no search.
 * Limits     A slice takes no longer than the snapshot's, unless one element alone does.
 */
#pragma once

#include "base/dlist.h"
#include "shard/entry.h"
#include "shard/type/stream_id.h"

struct shard;
struct database;
struct dict;
struct big_value;
struct quicklist_node;
struct rdb_writer;

/* More than that is big: elements of a table; nodes of a list or stream; bytes of a string. */
#define BIG_VALUE_ELEMENTS 64
#define BIG_VALUE_NODES 4
#define BIG_VALUE_STRING_BYTES (64 * 1024)

/* In the root of a table. At rest all elements have its colour. */
struct big_mark {
    struct big_value *value; /* NULL: no walk is under way */
    unsigned colour;         /* 0 or ENTRY_COLOUR */
};

void big_value_save_element(struct big_value *v, struct entry *element);

/* Before an element changes or goes. */
static inline void big_mark_guard(const struct big_mark *m, struct entry *element)
{
    if (unlikely(m->value != NULL) && entry_colour(element) != m->colour)
        big_value_save_element(m->value, element);
}

/* An element that is put. */
static inline void big_mark_admit(const struct big_mark *m, struct entry *element)
{
    entry_set_colour(element, m->colour);
}

/* ---- for the types ---- */

/* What a type needs while its value is walked. */
struct big_value {
    struct dlist link; /* in the queue */
    struct shard *sh;
    void *root;
    enum type type;
    enum encoding encoding;
    uint32_t db;
    uint64_t cursor;
    struct stream_id next_id;            /* of a stream */
    uint8_t rdb_type;                    /* set by `begin`, as are the next two */
    uint64_t count;                      /* of elements: how many there will be */
    int64_t base_ms;                     /* of a hash: what deadlines are relative to; 0: none */
    struct quicklist_node *first, *last; /* of a list: of those to be taken; NULL: none */
    struct buf aside;                    /* of a list: images of nodes, behind `last` */
    /* ---- private ---- */
    struct entry *kept;  /* removed from the keyspace: only this walk needs it */
    struct bytes text;   /* of a string */
    int64_t deadline_ms; /* of the key */
    struct buf key, early, args;
    size_t early_at; /* what stands before has been written */
    uint32_t arg_count;
    bool is_open;    /* its record is the one that is being written, and `early` is through */
    bool is_rushed;  /* all that is left, now */
    bool is_through; /* nothing is left, but maybe of `early` */
};

struct big_value_ops {
    /* Where the root notes its walk. NULL: a value of that encoding is never big. */
    struct big_value **(*slot)(void *root, enum encoding encoding);
    /* All elements are to be taken from now on. */
    void (*begin)(struct big_value *v);
    /* Of a table: puts one element. */
    void (*put)(struct big_value *v, const struct entry *element);
    /* Takes elements as long as big_value_may_go_on; true when none is left. */
    bool (*step)(struct big_value *v);
    uint64_t effort_max; /* what exceeds it is big */
};

/* A string of the record, or an argument of the command. */
void big_value_put(struct big_value *v, struct bytes text);
/* Bytes as they are: records only. */
void big_value_put_raw(struct big_value *v, const void *data, size_t size);
void big_value_put_length(struct big_value *v, uint64_t length);
/* Where a record's value is appended to, for types that do so themselves; NULL: nobody wants it.
 */
struct rdb_writer *big_value_writer(struct big_value *v);
/* An element is complete: here a command may end and another one begin. */
void big_value_end_element(struct big_value *v);
/* What has just ended as an element is a field that has a deadline: commands only. */
void big_value_put_deadline(struct big_value *v, struct bytes field, int64_t deadline_ms);
/* Elements are written as commands, not as a record. */
bool big_value_is_command(const struct big_value *v);
/* The slice has time left. */
bool big_value_may_go_on(struct big_value *v);
/* `step` of the tables. */
bool big_value_step_table(struct big_value *v, const struct dict *elements,
                          const struct big_mark *mark);
/* Takes all that is left, now; the value is through, and its root free of the walk. */
void big_value_finish(struct big_value *v);
static inline void big_value_settle_root(struct big_value *v)
{
    if (unlikely(v != NULL)) big_value_finish(v);
}

/* ---- for the snapshot and the keyspace ---- */

bool big_value_is_big(const struct entry *e);
/* The entry is in that database and as it was at the beginning. */
void big_value_begin(struct shard *sh, const struct database *db, const struct entry *e);
/* The first one of the queue, for the rest of the slice. */
void big_value_step(struct shard *sh);
/* The entry is out of its table and about to be freed. True: not now, it belongs to the queue. */
bool big_value_keep(struct shard *sh, struct entry *e);
/* A string or stream that has been begun is about to change in place. */
void big_value_settle(struct shard *sh, const struct entry *e);
static inline bool big_value_is_any(const struct dlist *queue)
{
    return !dlist_is_empty(queue);
}
/* Forgets all; colours stay as they are. Before the keyspace is freed. */
void big_value_deinit(struct shard *sh);
