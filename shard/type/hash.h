/* hash.h: the value of a hash: a listpack of fields and values while it is small, else a table.
 *
 *     ENCODING_LISTPACK   field, value, field, value …        struct listpack
 *     ENCODING_HASHTABLE  entries: key = field, string =      struct hash_table
 *                         value, deadline = field's expiry
 *
 * A hash becomes a table when it has more than hash-max-listpack-entries fields, when a field or a
 * value is longer than hash-max-listpack-value, or when a field gets a deadline; it never goes
 * back.
 *
 * A struct hash is a view of the root that an entry or the caller owns: after a change it goes back
 * into the entry with hash_store, as root and encoding may be others.
 *
 * Fields whose deadline has passed are as good as absent for hash_find; the functions that walk or
 * count see them until hash_drop_expired.
 *
 * Thread     [shard]
 * Ownership  The entry owns the root. Views of fields and values are valid until the next change.
 * Limits     Fields < 4 GiB.
 * Errors     Functions with `try` change no field when there is no memory.
 */
#pragma once

#include "shard/dict.h"
#include "shard/object.h"
#include "shard/type/listpack.h"

struct shard_config;

struct hash {
    void *root;
    enum encoding encoding;
};

static inline struct hash hash_of(const struct entry *e)
{
    return (struct hash){entry_root(e), entry_encoding(e)};
}
static inline void hash_store(struct entry *e, const struct hash *h)
{
    entry_set_root(e, h->root);
    entry_set_encoding(e, h->encoding);
}

/* Empty. False when there is no memory. */
MUST_USE bool hash_try_create(struct mem *mem, struct hash *out);
void hash_free(struct mem *mem, struct hash *h);
uint64_t hash_length(const struct hash *h);
void hash_validate(const struct hash *h);

/* ---- reading ---- */

/* One field: its value, and its deadline, 0 for none. */
struct hash_field {
    struct listpack_value name, value;
    int64_t deadline_ms;
};

/* False if there is no such field, or its deadline has passed at `now_ms`. */
MUST_USE bool hash_find(const struct hash *h, struct bytes field, int64_t now_ms,
                        struct hash_field *out);
typedef void hash_each_fn(void *context, const struct hash_field *field);
/* Every field; in a listpack in the order in which they came. `fn` may not change the hash. */
void hash_each(const struct hash *h, hash_each_fn *fn, void *context);
/* About `count` fields of a table from `cursor` on, or all of a listpack; returns where to go on, 0
 * at the end. */
uint64_t hash_scan(const struct hash *h, uint64_t cursor, uint64_t count, hash_each_fn *fn,
                   void *context);
/* A field chosen evenly; the hash is not empty. O(n) for a listpack. */
void hash_random(const struct hash *h, uint64_t random, struct hash_field *out);

/* ---- changing ---- */

/* Takes the encoding that the hash needs once so many pairs, the longest field or value of that
 * many bytes, are added. To be called before the first of them is set. */
MUST_USE bool hash_try_prepare(struct mem *mem, const struct shard_config *c, struct hash *h,
                               uint64_t pair_count, uint64_t longest_bytes);
struct hash_pair {
    struct bytes field, value;
    int64_t deadline_ms; /* 0: none */
};
/* `*added` tells whether the field is new. */
MUST_USE bool hash_try_set(struct mem *mem, const struct shard_config *c, struct hash *h,
                           const struct hash_pair *pair, bool *added);
struct hash_pairs {
    const struct bytes *args; /* field, value, field, value … */
    uint32_t count;           /* of pairs */
    int64_t now_ms;           /* a field whose deadline has passed is as good as new */
};
/* All or none, to a hash that has been prepared. `*added` counts the new fields. */
MUST_USE bool hash_try_set_all(struct mem *mem, const struct shard_config *c, struct hash *h,
                               const struct hash_pairs *pairs, int64_t *added);
/* True if there was such a field, expired or not. */
bool hash_remove(struct mem *mem, struct hash *h, struct bytes field);

/* What takes the change of a deadline back: every change must be kept, or undone in reverse order.
 */
struct hash_undo {
    struct entry *entry, *old; /* `old`: what was there, when it is another one */
    int64_t old_ms;
};
/* The field exists; 0 removes the deadline. */
MUST_USE bool hash_try_change_deadline(struct mem *mem, struct hash *h, struct bytes field,
                                       int64_t deadline_ms, struct hash_undo *undo);
void hash_keep_change(struct mem *mem, const struct hash_undo *undo);
void hash_undo_change(struct mem *mem, const struct hash *h, const struct hash_undo *undo);
/* When its fields are due, from before the first change on, to be put back behind the last undo. */
struct hash_due {
    int64_t next_ms, sweep_next_ms;
};
struct hash_due hash_due(const struct hash *h);
void hash_undo_due(const struct hash *h, struct hash_due before);

/* ---- deadlines ---- */

/* Fields with a deadline. */
uint64_t hash_volatile_count(const struct hash *h);
/* Whether a deadline has passed. O(1). */
bool hash_has_expired(const struct hash *h, int64_t now_ms);
/* Who is told the names of fields before they go; may be NULL, and so may its function. */
struct hash_drop {
    void (*fn)(void *context, struct bytes name);
    void *context;
};
/* Removes the fields whose deadline has passed; returns how many. O(volatile fields). */
uint64_t hash_drop_expired(struct mem *mem, struct hash *h, int64_t now_ms,
                           const struct hash_drop *drop);
/* The same in slices: looks at some fields for each step of `*budget`, and goes on where the last
 * slice has ended. Until the walk is through, hash_has_expired says that there is more. */
uint64_t hash_drop_some_expired(struct mem *mem, struct hash *h, int64_t now_ms, unsigned *budget,
                                const struct hash_drop *drop);

/* ---- for the keyspace, which marks a key in its table by what expires next ---- */

static inline bool hash_is_table(const struct entry *e)
{
    return e->type_encoding == (TYPE_HASH | ENCODING_HASHTABLE << 4);
}
/* Of a table: no field expires before; 0: none has a deadline. `*marked_ms` is the owner's: what
 * it has marked the key by. */
int64_t hash_next_deadline_ms(const struct entry *e, int64_t **marked_ms);

extern const struct type_ops hash_ops;

/* ---- for hash_frozen.c ---- */

#define HASH_NO_DEADLINE INT64_MAX

/* A drain that has not begun is a table: freeing in slices then needs no memory. */
struct hash_table {
    struct dict_drain fields;
    int64_t next_deadline_ms; /* no field's deadline is before it; HASH_NO_DEADLINE */
    int64_t marked_ms;        /* the keyspace's: what the key is marked by; 0: nothing */
    uint64_t sweep_cursor;    /* of a walk in slices; 0: at the start */
    int64_t sweep_next_ms;    /* what next_deadline_ms becomes when that walk is through */
    struct big_mark mark;
};

MUST_USE bool hash_try_create_table(struct mem *mem, struct hash *out);
/* A table of the pairs of a listpack, which has an even count of elements; false if a field stands
 * there twice, or there is no memory. */
MUST_USE bool hash_try_make_table(struct mem *mem, const struct listpack *lp, struct hash *out);
/* A field that is not in the table yet. */
void hash_insert_entry(const struct hash *table, struct entry *e);
