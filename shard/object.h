/* object.h: what every value type tells the rest of the shard: how to free, measure, save and load
 * itself.
 *
 * Thread     [shard]
 * Ownership  `free_some` gives back everything behind the entry's root, but not the entry.
 * Errors     `thaw` validates everything: the bytes may come from a client. NULL leaves nothing
 *            behind.
 * Source     The serialised form is that of an RDB file of version 10 (docs of Redis; checked
 *            against redis-server).
 */
#pragma once

#include "persist/rdb.h"
#include "shard/big_value.h"
#include "shard/defrag_walk.h"
#include "shard/dict.h"
#include "shard/digest.h"
#include "shard/type/skiplist.h"

struct request;
struct type_ops;

/* A value on its way into the cache. */
struct value_prefetch {
    const struct request *request;
    const struct type_ops *ops;
    const void *root;
    enum encoding encoding;
    uint64_t hash;                   /* of the member */
    struct skiplist_scout scouts[2]; /* of a sorted set: to where it stands, and will stand */
};

struct type_ops {
    /* Frees at most `budget` elements; true when the value is gone. Called again until then. */
    bool (*free_some)(struct mem *mem, void *root, enum encoding encoding, uint64_t budget);
    /* How many elements `free_some` has to visit: what makes a value big. */
    uint64_t (*effort)(const void *root, enum encoding encoding);
    /* A deep copy for COPY; NULL when there is no memory. */
    void *(*copy)(struct mem *mem, const void *root, enum encoding encoding);
    /* Bytes behind the entry. `samples` 0: all of it. */
    uint64_t (*bytes)(const void *root, enum encoding encoding, uint64_t samples);
    /* Appends the RDB type byte and the value; false when there is no memory. */
    bool (*freeze)(const void *root, enum encoding encoding, struct rdb_writer *out);
    /* A root from the value behind the type byte, `*in` moved past it; NULL if it is malformed, of
     * another type, or there is no memory. */
    void *(*thaw)(struct mem *mem, uint8_t rdb_type, struct bytes *in, enum encoding *encoding);
    /* The table of its elements, for DEBUG HTSTATS-KEY; NULL in an encoding without one, or for a
     * type that has none. */
    const struct dict *(*table)(const void *root, enum encoding encoding);
    /* Mixes the elements into a digest that does not depend on the encoding. */
    void (*digest)(const void *root, enum encoding encoding, struct digest *out);
    /* Asks for memory that the request will touch (shard/prefetch.h); false when that was all.
     * What the step before asked for has arrived; before step 0, the first two cache lines of the
     * root. NULL: a type whose values are not asked for. */
    bool (*prefetch)(struct value_prefetch *p, unsigned step);
    /* Moves blocks out of sparse slabs, from w->cursor on, which is 0 again when it is through: the
     * value may change between two calls, and a change of place may leave some blocks out. Returns
     * the root. */
    void *(*defrag)(struct defrag_walk *w, void *root, enum encoding encoding);
    /* How it is serialised in slices. */
    const struct big_value_ops *big;
};

/* The first steps for a table of members; false after the last one, behind which the entry has
 * arrived. */
#define PREFETCH_MEMBER_STEPS 3
bool object_prefetch_member(struct value_prefetch *p, unsigned step, const struct dict *members,
                            struct bytes member);

/* Of the collections; NULL for a string, which the entry itself holds. */
const struct type_ops *object_ops(enum type type);

/* Frees the value and the entry, now. */
void object_free(struct mem *mem, struct entry *e);
/* Moves what is behind the entry, not the entry itself, as type_ops says. */
void object_defrag(struct defrag_walk *w, struct entry *e);
/* The entry of a string that stands in a table, and what is behind it: where the entry is now. */
struct entry *object_defrag_string(struct defrag_walk *w, struct entry *e);
/* Elements behind the entry: 1 for a string. */
uint64_t object_effort(const struct entry *e);
/* Bytes of the entry and all behind it. */
uint64_t object_bytes(const struct entry *e, uint64_t samples);
/* A copy under another key. NULL when there is no memory. */
MUST_USE struct entry *object_try_copy(struct mem *mem, const struct entry *e, struct bytes key,
                                       int64_t deadline_ms);

/* The value as bytes that object_try_thaw reads on another shard: a type byte, then the RDB form.
 * A string whose encoding is not the one that its text gets when it is set (APPEND made it raw)
 * has OBJECT_FROZEN_STRING + its encoding for a type byte, so that it stays what it is; for RDB and
 * DUMP that byte must be 0. Appends to `out`. */
#define OBJECT_FROZEN_STRING 0xf0
/* The type byte of a collection may carry one of these two bits, when loading its RDB form would
 * give it another encoding than it has: it stays a hashtable or a skiplist, however small, or
 * compact, whatever is in it. The value behind the byte is plain RDB: for RDB and DUMP the bits are
 * to be cleared, and a type byte that a client sends may not have them. */
#define OBJECT_FROZEN_TABLE 0x80
#define OBJECT_FROZEN_COMPACT 0x40
#define OBJECT_FROZEN_EXACT (OBJECT_FROZEN_TABLE | OBJECT_FROZEN_COMPACT)
/* The type byte without marks. */
static inline uint8_t object_plain_type(uint8_t type)
{
    return type >= OBJECT_FROZEN_STRING ? RDB_TYPE_STRING : type & (uint8_t)~OBJECT_FROZEN_EXACT;
}
MUST_USE bool object_try_freeze(const struct entry *e, struct rdb_writer *out);
MUST_USE struct entry *object_try_thaw(struct mem *mem, struct bytes frozen, struct bytes key,
                                       int64_t deadline_ms);
/* A string, encoded as Redis encodes what SET gets: int, embstr or raw. */
MUST_USE struct entry *object_try_make_string(struct mem *mem, struct bytes key, struct bytes value,
                                              int64_t deadline_ms);
/* How Redis encodes that text when it is set; `*integer` is set for ENCODING_INT. */
enum encoding object_string_encoding(struct bytes value, int64_t *integer);

/* A root without an entry: frees all of it, now. */
void object_free_root(struct mem *mem, enum type type, enum encoding encoding, void *root);
