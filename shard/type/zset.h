/* zset.h: a set of byte strings with scores, in the order of the scores, in the encoding that its
 * size asks for.
 *
 *     ENCODING_LISTPACK  a few short members   struct listpack: member, score, member, score …
 *     ENCODING_SKIPLIST  everything else       struct zset_table: a skiplist, and a dict of the
 *                                              entries in its nodes
 *
 * Elements with equal scores stand in the order of their bytes. A listpack becomes a table and
 * never the other way round, but for zset_compact. Ranks count from 0 at the lowest score.
 *
 * Thread     [shard]
 * Ownership  A struct zset is a view of a root that an entry or the caller owns; zset_store puts a
 *            changed one back into its entry. Views of members and places are valid until the next
 *            change.
 * Limits     Members < 4 GiB. Scores are never NaN. The thresholds are those of the shard's
 *            configuration.
 * Errors     Functions with `try` change nothing that a reader could see when there is no memory.
 */
#pragma once

#include "base/text.h"
#include "shard/dict.h"
#include "shard/object.h"
#include "shard/type/listpack.h"
#include "shard/type/skiplist.h"

struct shard_config;

struct zset {
    void *root;
    enum encoding encoding;
};

/* A drain that has not begun is a table: freeing in slices then needs no memory. */
struct zset_table {
    struct dict_drain members; /* of the entries in the nodes of the list */
    struct skiplist list;
    struct big_mark mark;
};

extern const struct type_ops zset_ops;

static inline struct zset zset_of(const struct entry *e)
{
    return (struct zset){entry_root(e), entry_encoding(e)};
}
static inline void zset_store(struct entry *e, const struct zset *z)
{
    entry_set_root(e, z->root);
    entry_set_encoding(e, z->encoding);
}

/* Empty; `first` is the member that it is about to get. */
MUST_USE bool zset_try_create(struct mem *mem, const struct shard_config *c, struct bytes first,
                              struct zset *out);
/* Empty, and without a look at thresholds. */
MUST_USE bool zset_try_create_as(struct mem *mem, enum encoding encoding, struct zset *out);
/* All at once. */
void zset_free(struct mem *mem, struct zset *z);
uint64_t zset_size(const struct zset *z);

/* ---- one element ---- */

struct zset_place {
    double score;
    uint32_t at;                /* in a listpack: of the member */
    struct skiplist_node *node; /* in a table */
};

bool zset_find(const struct zset *z, struct bytes member, struct zset_place *out);
/* The member is not there yet, and may not point into the set. */
MUST_USE bool zset_try_insert(struct mem *mem, const struct shard_config *c, struct zset *z,
                              struct bytes member, double score);
/* Another score. */
MUST_USE bool zset_try_move(struct mem *mem, struct zset *z, const struct zset_place *place,
                            double score);
void zset_remove(struct mem *mem, struct zset *z, const struct zset_place *place);
/* O(log n), or O(n) in a listpack. */
uint64_t zset_rank(const struct zset *z, const struct zset_place *place);
/* An element chosen evenly; the set is not empty. `scratch` holds TEXT_I64_BYTES_MAX. */
struct bytes zset_random(const struct zset *z, uint64_t random, char *scratch, double *score);

/* ---- ranges: O(log n), or O(n) in a listpack ---- */

/* What a range selects: `count` elements from the one with rank `first` on. */
struct zset_slice {
    uint64_t first, count;
};

struct zset_score_range {
    double min, max;
    bool min_is_open, max_is_open; /* the bound itself is not in the range */
};
struct zset_slice zset_select_scores(const struct zset *z, const struct zset_score_range *range);

/* Before everything, at a text, behind everything. */
enum zset_lex_kind { LEX_LOWEST, LEX_TEXT, LEX_HIGHEST };
struct zset_lex_bound {
    enum zset_lex_kind kind;
    struct bytes text;
    bool is_open;
};
struct zset_lex_range {
    struct zset_lex_bound min, max;
};
/* Meant for sets whose scores are all equal. In others a listpack selects as Redis does: the first
 * run of members in the range, or, seen from the end, the last. */
struct zset_slice zset_select_lex(const struct zset *z, const struct zset_lex_range *range,
                                  bool from_end);

void zset_remove_slice(struct mem *mem, struct zset *z, struct zset_slice slice);
/* The same for a table of which little stays, in the time that this takes: `*aside` is the root
 * that the set had, with all elements, to be freed at leisure. False, with nothing changed, if it
 * is not worth it, or there is no memory. */
MUST_USE bool zset_try_set_aside(struct mem *mem, struct zset *z, struct zset_slice slice,
                                 struct zset *aside);

/* ---- walking ---- */

struct zset_iterator {
    const struct zset *zset;
    struct skiplist_node *node;
    uint64_t left;
    uint32_t at;
    bool reverse;
    char scratch[TEXT_I64_BYTES_MAX];
};
/* The elements of a slice, in their order or backwards. */
void zset_iterator_init(struct zset_iterator *it, const struct zset *z, struct zset_slice slice,
                        bool reverse);
/* False at the end. The member is valid until the next call. */
bool zset_iterator_next(struct zset_iterator *it, struct bytes *member, double *score);

/* Some elements from `cursor` on, in any order; returns where to go on, 0 at the end. About `count`
 * of a table, and all of a listpack. */
typedef void zset_scan_fn(void *context, struct bytes member, double score);
uint64_t zset_scan(const struct zset *z, uint64_t cursor, uint64_t count, zset_scan_fn *fn,
                   void *context);

/* A score as the set holds it: a listpack has large integers with all digits, where others print an
 * exponent. `out` holds TEXT_DOUBLE_BYTES_MAX; returns the length. */
size_t zset_score_text(const struct zset *z, double score, char *out);

/* A table that fits becomes a listpack; short of memory it stays what it is. */
void zset_compact(struct mem *mem, const struct shard_config *c, struct zset *z);

/* Checks every invariant. Slow. */
void zset_validate(const struct zset *z);

/* ---- for zset_frozen.c ---- */

/* Of zset_ops. */
bool zset_prefetch(struct value_prefetch *p, unsigned step);

/* Appends to an empty or sorted set an element that belongs at its end; no look at thresholds. */
MUST_USE bool zset_try_append(struct mem *mem, struct zset *z, struct bytes member, double score);
/* The score behind a member of a listpack; false if it is no number. */
bool zset_listpack_score(const struct listpack *lp, uint32_t member_at, double *score);
/* Whether a is to stand before b. */
static inline bool zset_is_before(double score_a, struct bytes a, double score_b, struct bytes b)
{
    return score_a != score_b ? score_a < score_b : bytes_compare(a, b) < 0;
}
MUST_USE bool zset_try_convert_to_table(struct mem *mem, struct zset *z);
static inline struct zset_table *zset_table_of(const struct zset *z)
{
    return (struct zset_table *)z->root;
}
