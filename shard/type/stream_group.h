/* stream_group.h: consumer groups of a stream: who has got which entries and has not acknowledged
 * them.
 *
 *     stream ─▶ group ─▶ pending entries by id ──────┐
 *                 └────▶ consumer ─▶ the same by id ─┴▶ struct stream_pending ─▶ its consumer
 *
 * Groups and consumers stand in arrays sorted by name: they are few beside the entries, and told in
 * that order.
 *
 * Thread     [shard]
 * Ownership  The stream owns groups, they own consumers and pending entries. Names are copies.
 * Errors     Functions with `try` change nothing when there is no memory.
 */
#pragma once

#include "shard/type/stream.h"

#define STREAM_READ_UNKNOWN (-1) /* entries_read: nobody knows */
#define STREAM_NEVER (-1)        /* active_ms */

struct stream_name {
    char *data;
    size_t size;
};

struct stream_consumer {
    struct stream_name name;
    int64_t seen_ms;   /* when it last asked for anything */
    int64_t active_ms; /* when it last got something; STREAM_NEVER */
    struct idtree pending;
};

struct stream_pending {
    struct stream_consumer *consumer;
    int64_t delivered_ms;
    uint64_t delivery_count;
};

struct stream_group {
    struct stream_name name;
    struct stream_id last_id; /* delivered */
    int64_t entries_read; /* up to last_id, of all that were ever added; or STREAM_READ_UNKNOWN */
    struct idtree pending;
    struct stream_consumer **consumers;
    uint32_t consumer_count, consumer_capacity;
};

static inline struct bytes stream_name_view(const struct stream_name *n)
{
    return bytes_make(n->data, n->size);
}

/* ---- groups ---- */

/* NULL if there is none. */
struct stream_group *stream_group_find(const struct stream *s, struct bytes name);
/* The name must be new. */
MUST_USE struct stream_group *stream_group_try_create(struct mem *mem, struct stream *s,
                                                      struct bytes name, struct stream_id last_id,
                                                      int64_t entries_read);
void stream_group_destroy(struct mem *mem, struct stream *s, struct stream_group *g);
/* Takes it out of the stream and returns another stream that has nothing else, to be freed at
 * leisure; NULL when there is no memory. */
MUST_USE struct stream *stream_group_try_set_aside(struct mem *mem, struct stream *s,
                                                   struct stream_group *g);
/* Frees at most so many pending entries or consumers, less what it returns, of all groups. 0: maybe
 * more are left. */
uint64_t stream_groups_free_some(struct mem *mem, struct stream *s, uint64_t budget);
/* Copies all groups of `from`; on false some may be there. */
MUST_USE bool stream_groups_try_copy(struct mem *mem, struct stream *to, const struct stream *from);
uint64_t stream_groups_bytes(const struct stream *s);
uint64_t stream_groups_effort(const struct stream *s);
void stream_groups_validate(const struct stream *s);

/* ---- how far a group is ---- */

/* Whether an entry from `from` to the end may have been deleted, so that ids do not tell counts. */
bool stream_has_gaps_after(const struct stream *s, struct stream_id from);
/* How many entries were ever added up to that id; STREAM_READ_UNKNOWN if that cannot be told. */
int64_t stream_entries_until(const struct stream *s, struct stream_id id);
/* How many entries were not delivered yet; false: unknown. */
MUST_USE bool stream_group_lag(const struct stream *s, const struct stream_group *g, uint64_t *out);
/* Entry `id`, behind last_id, is delivered. */
void stream_group_advance(const struct stream *s, struct stream_group *g, struct stream_id id);

/* ---- consumers ---- */

struct stream_consumer *stream_consumer_find(const struct stream_group *g, struct bytes name);
/* The name must be new. */
MUST_USE struct stream_consumer *stream_consumer_try_create(struct mem *mem, struct stream_group *g,
                                                            struct bytes name, int64_t seen_ms);
/* The same for a consumer for which everything is pending that is pending in the group; NULL,
 * with nothing changed, if that is not so, either. */
MUST_USE struct stream *stream_consumer_try_set_aside(struct mem *mem, struct stream_group *g,
                                                      struct stream_consumer *c);
/* With what is pending for it; returns how much that was. */
uint64_t stream_consumer_delete(struct mem *mem, struct stream_group *g, struct stream_consumer *c);

/* ---- pending entries ---- */

static inline struct stream_pending *stream_pending_find(const struct stream_group *g,
                                                         struct stream_id id)
{
    return idtree_find(&g->pending, id);
}
/* The id must be new in the group. */
struct stream_pending *stream_pending_add(struct mem *mem, struct stream_group *g,
                                          struct stream_consumer *c, struct stream_id id);
/* Gives it to another consumer, or the same. */
void stream_pending_move(struct mem *mem, struct stream_pending *p, struct stream_id id,
                         struct stream_consumer *to);
/* False if there was none. */
bool stream_pending_remove(struct mem *mem, struct stream_group *g, struct stream_id id);
