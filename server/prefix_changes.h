/* prefix_changes.h: the changed keys with one prefix, from one step of a net thread, for those who
 * follow it (CLIENT TRACKING … BCAST).
 *
 *     a change ─▶ prefix_changes_add … ─▶ end of the step: prefix_changes_write ─▶ one push
 *
 * Thread     [net]
 * Ownership  The memory is the net thread's; names are copied.
 * Limits     What the feeds of all shards bring in one step.
 * Errors     false: no memory, and nothing has been added or written.
 * Order      Names are told in byte order, each once, as Redis does.
 */
#pragma once

#include "base/bytes.h"
#include "base/check.h"

/* Who has changed a key; net id UINT16_MAX: nobody who is known. */
struct change_source {
    uint32_t net_id, index, generation;
};

struct prefix_changes {
    struct buf items;
    uint32_t count;
};

MUST_USE bool prefix_changes_add(struct prefix_changes *c, const struct change_source *by,
                                 struct bytes key);
/* Writes the names as an array of RESP, without those that only `except` has changed; NULL: all.
 * Nothing is written if none is left. */
MUST_USE bool prefix_changes_write(struct prefix_changes *c, const struct change_source *except,
                                   struct buf *out);
void prefix_changes_clear(struct prefix_changes *c);
