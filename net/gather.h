/* gather.h: collects the replies of a command that was split over several shards.
 *
 * Thread     [net]
 * Ownership  Made by who splits (the server's coordinator), which frees it in on_complete. It does
 *            not depend on the connection: that may be gone by then.
 * Order      on_complete runs once, when every part is in.
 */
#pragma once

#include "base/parcel.h"

struct netloop;

struct late_reply;

/* Bytes [start, end) of the replies of a parcel that is held, or of a chain: of a late reply, or
 * our own. */
struct gather_part {
    struct parcel *parcel;
    uint64_t start, end;
    struct chunk *chain;
    struct late_reply *late; /* is held; NULL: the chain is ours */
};

struct gather {
    struct netloop *netloop;
    void (*on_complete)(struct gather *g);
    uint32_t conn_index, conn_generation, slot;
    uint32_t part_count, waiting;
    struct gather_part *parts;
    struct slow_entry *slow; /* for the slow log: of its slowest part; the server's */
};

/* The first byte of a part: what kind of reply it is; 0: it is empty. */
char gather_part_kind(const struct gather *g, uint32_t part);
/* The bytes of a part: a view into the part if it is contiguous, else copied to `scratch`. */
struct bytes gather_part_bytes(struct gather *g, uint32_t part, struct buf *scratch);
/* Writes the part as what it is: replies. */
void gather_part_write(const struct gather *g, uint32_t part, struct reply *out);
/* Makes room, so that the part can be read through `scratch`. False: no memory. */
MUST_USE bool gather_part_try_reserve(const struct gather *g, uint32_t part, struct buf *scratch);
/* Appends the bytes of a part. False, changing nothing: no memory. */
MUST_USE bool gather_part_try_append(const struct gather *g, uint32_t part, struct buf *out);
/* Copies its first bytes, at most `size`; returns how many. */
size_t gather_part_head(const struct gather *g, uint32_t part, char *out, size_t size);
/* Lets go of all parts. */
void gather_release_parts(struct gather *g);
