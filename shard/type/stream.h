/* stream.h: the value of a stream: entries in compact nodes, ordered by id, and consumer groups.
 *
 * A node is a listpack that stands in the tree under its *master id*, that of the first entry it
 * ever had. Entries store the difference to it, and leave out their fields when these are the
 * master's:
 *
 *     node:    live | deleted | field count | field … | 0 | entry | entry | …
 *     entry:   flags | ms - master ms | seq - master seq | rest | elements before this one
 *     rest:    value …                            with ENTRY_SAME_FIELDS
 *              field count | field | value | …    else
 *
 * A deleted entry keeps its place with ENTRY_DELETED; a node goes with its last live entry, but for
 * the first one, of which trimming may leave what was deleted. That is the form that RDB files
 * have, so nodes are saved as they are.
 *
 * Thread     [shard]
 * Ownership  The entry of the keyspace owns the stream. Iterators and views of entries are valid
 *            until the next change.
 * Limits     Nodes by stream-node-max-bytes and stream-node-max-entries; an entry of up to 1 GiB.
 * Errors     Functions with `try` change nothing when there is no memory.
 */
#pragma once

#include "shard/object.h"
#include "shard/type/idtree.h"
#include "shard/type/listpack.h"

struct shard_config;
struct stream_group;

#define STREAM_ENTRY_BYTES_MAX ((uint64_t)1 << 30)

struct stream {
    struct idtree nodes;       /* by master id: struct listpack */
    uint64_t length;           /* live entries */
    uint64_t entries_added;    /* ever */
    struct stream_id first_id; /* of the live entries; 0-0 if there is none */
    struct stream_id last_id, max_deleted_id;
    struct stream_group **groups; /* by name: stream_group.h */
    uint32_t group_count, group_capacity;
    struct stream_id defrag_next; /* stream_defrag.c */
    struct big_value *big;        /* that is serialised in slices; NULL: none */
};

static inline struct stream *stream_of(const struct entry *e)
{
    return entry_root(e);
}

struct stream *stream_create(struct mem *mem);
void stream_free(struct mem *mem, struct stream *s);
void stream_validate(const struct stream *s);

/* ---- changing ---- */

/* Adds an entry: fields and values alternate. The id must be greater than last_id. */
MUST_USE bool stream_try_add(struct mem *mem, const struct shard_config *c, struct stream *s,
                             struct stream_id id, struct bytes pairs[], uint64_t pair_count);
/* The id that "*" gives at that time after `last`; false if there is none left. */
MUST_USE bool stream_next_id(struct stream_id last, int64_t now_ms, struct stream_id *out);

enum stream_removal { STREAM_REMOVED, STREAM_NO_SUCH_ENTRY, STREAM_NO_MEMORY };
/* Also notes the id in max_deleted_id. */
enum stream_removal stream_try_remove(struct mem *mem, struct stream *s, struct stream_id id);

enum stream_trim_by { STREAM_TRIM_NONE, STREAM_TRIM_MAXLEN, STREAM_TRIM_MINID };
struct stream_trim {
    enum stream_trim_by by;
    bool whole_nodes; /* "~" */
    uint64_t length;  /* MAXLEN */
    struct stream_id min_id;
    uint64_t limit; /* of entries that go; 0: none */
};
/* Takes the oldest entries out; returns how many. A node that must keep some entries may need a few
 * bytes more: without memory it stays whole. */
uint64_t stream_trim(struct mem *mem, struct stream *s, const struct stream_trim *t);

/* ---- reading ---- */

/* An entry; pairs are read one after the other. */
struct stream_entry {
    struct stream_id id;
    uint64_t pair_count;
    /* ---- private ---- */
    const struct listpack *lp;
    uint32_t flags_at;
    uint32_t at;       /* of the next field, or value */
    uint32_t field_at; /* of the next field of the master; 0: fields stand before their values */
};

struct stream_iterator {
    /* ---- private ---- */
    struct idtree_place node;
    struct stream_id first, last, master;
    const struct listpack *lp;
    uint64_t master_fields;
    uint32_t master_field_at, entries_at;
    uint32_t at; /* forward: of the next entry; backwards: of the element before which it ends */
    bool backwards, is_loaded;
};

/* The entries from `first` to `last`, both included. O(log n) and the entries of one node. */
void stream_iterator_init(struct stream_iterator *it, const struct stream *s,
                          struct stream_id first, struct stream_id last, bool backwards);
MUST_USE bool stream_iterator_next(struct stream_iterator *it, struct stream_entry *out);
/* The next pair of `e`; call it pair_count times. Integers are printed to the scratch buffers
 * (TEXT_I64_BYTES_MAX). */
void stream_entry_next_pair(struct stream_entry *e, struct bytes *field, char *field_scratch,
                            struct bytes *value, char *value_scratch);
MUST_USE bool stream_find(const struct stream *s, struct stream_id id, struct stream_entry *out);
/* The last live entry; 0-0 if there is none. */
struct stream_id stream_last_entry_id(const struct stream *s);

/* ---- for stream_frozen.c ---- */

/* Sets first_id. */
void stream_find_first(struct stream *s);
/* Whether a listpack is a node in every detail, whose live entries have ascending ids greater than
 * `*last`, which is moved on. `*live` is set. */
MUST_USE bool stream_node_is_valid(const struct listpack *lp, struct stream_id master,
                                   struct stream_id *last, uint64_t *live);

/* stream_defrag.c: see type_ops. */
void *stream_defrag(struct defrag_walk *w, void *root, enum encoding encoding);

extern const struct type_ops stream_ops;
