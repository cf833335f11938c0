/* list.h: the value of a list: a listpack while it is small, else a quicklist.
 *
 * A `struct list` is a handle on the root that an entry holds: after a change it goes back into the
 * entry with list_store, as root and encoding may be others. `limit` is list-max-listpack-size.
 *
 * Thread     [shard]
 * Ownership  The entry owns the root. Views of elements and places are valid until the next change.
 * Limits     2^63 elements.
 * Errors     Functions with `try` change no element when there is no memory.
 * Order      Encodings change as in Redis 7.2: to a quicklist before something is added that would
 *            exceed the limit, back when one node holds everything and is at most half full.
 */
#pragma once

#include "shard/object.h"
#include "shard/type/quicklist.h"

struct list {
    void *root;
    enum encoding encoding; /* ENCODING_LISTPACK or ENCODING_QUICKLIST */
};

enum list_end { LIST_HEAD, LIST_TAIL };

/* Places are those of a quicklist; in a listpack `node` is NULL. */
static inline bool list_place_exists(struct quicklist_place place)
{
    return place.node || place.at;
}

static inline struct list list_of(const struct entry *e)
{
    return (struct list){entry_root(e), entry_encoding(e)};
}
static inline void list_store(struct entry *e, const struct list *l)
{
    /* The root of a quicklist seldom moves: its entry is not made dirty. */
    if (entry_root(e) != l->root) entry_set_root(e, l->root);
    if (entry_encoding(e) != l->encoding) entry_set_encoding(e, l->encoding);
}

/* Empty. False when there is no memory. */
MUST_USE bool list_try_create(struct mem *mem, struct list *out);
void list_free(struct mem *mem, struct list *l);
uint64_t list_length(const struct list *l);
void list_validate(const struct list *l);

/* ---- reading ---- */

/* Negative from the end; none if there is no such element. */
struct quicklist_place list_seek(const struct list *l, int64_t index);
struct quicklist_place list_next(const struct list *l, struct quicklist_place place);
struct quicklist_place list_prev(const struct list *l, struct quicklist_place place);
void list_get(const struct list *l, struct quicklist_place place, struct listpack_value *out);
/* What an element says; an integer is printed to `scratch` (TEXT_I64_BYTES_MAX). */
struct bytes list_text(const struct list *l, struct quicklist_place place, char *scratch);

/* ---- changing ---- */

/* Takes the encoding that the list needs once so many values of so many bytes together are added.
 * To be called before the functions below add something. */
MUST_USE bool list_try_prepare_packed(struct mem *mem, struct list *l, int32_t limit,
                                      uint64_t value_count, uint64_t value_bytes);
MUST_USE static inline bool list_try_prepare(struct mem *mem, struct list *l, int32_t limit,
                                             uint64_t value_count, uint64_t value_bytes)
{
    return l->encoding != ENCODING_LISTPACK ||
           list_try_prepare_packed(mem, l, limit, value_count, value_bytes);
}
/* The opposite, after something was removed or replaced. Never fails. */
void list_shrink(struct mem *mem, struct list *l, int32_t limit);

MUST_USE bool list_try_push_packed(struct mem *mem, struct list *l, enum list_end end,
                                   struct bytes value);
MUST_USE static inline bool list_try_push(struct mem *mem, struct list *l, int32_t limit,
                                          enum list_end end, struct bytes value)
{
    if (l->encoding == ENCODING_LISTPACK) return list_try_push_packed(mem, l, end, value);
    return quicklist_try_push(mem, l->root, limit, end == LIST_TAIL, value);
}
MUST_USE bool list_try_insert(struct mem *mem, struct list *l, int32_t limit,
                              struct quicklist_place place, bool after, struct bytes value);
MUST_USE bool list_try_replace(struct mem *mem, struct list *l, int32_t limit,
                               struct quicklist_place place, struct bytes value);
/* Returns the place of the element that followed. Places before it stay valid. */
struct quicklist_place list_remove(struct mem *mem, struct list *l, struct quicklist_place place);
/* `count` elements from that index on, or all that are left; `aside`: see quicklist.h. */
void list_delete_range(struct mem *mem, struct list *l, uint64_t index, uint64_t count,
                       struct quicklist *aside);

extern const struct type_ops list_ops;
