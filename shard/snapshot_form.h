/* snapshot_form.h: a key and its value as a snapshot writes them down: as the record of an RDB
 * file, or as commands, which are what the base of an append-only log is made of.
 *
 *     record     [deadline] [idle | frequency] type name value          persist/rdb_file.h
 *     commands   SET key value [PXAT ms]
 *                RESTORE key ms payload REPLACE ABSTTL                  all other types
 *
 * Values that are too big for one go: big_value.h.
 *
 * Thread     [shard]
 * Errors     False when there is no memory; what has been appended then is to be cut off.
 */
#pragma once

#include "persist/rdb.h"
#include "shard/entry.h"

struct shard;

enum snapshot_form { SNAPSHOT_RECORDS, SNAPSHOT_COMMANDS };

/* The whole of it. */
MUST_USE bool snapshot_form_try_append(struct shard *sh, const struct entry *e, struct buf *out);
/* A record up to the value. */
MUST_USE bool snapshot_form_try_append_head(struct shard *sh, const struct entry *e, uint8_t type,
                                            struct buf *out);

/* ---- commands ---- */

/* "*count", then so many arguments. */
MUST_USE bool snapshot_form_try_array(struct buf *out, uint64_t count);
MUST_USE bool snapshot_form_try_argument(struct buf *out, struct bytes argument);
MUST_USE bool snapshot_form_try_integer(struct buf *out, int64_t argument);
/* RESTORE of a payload whose value (dump.h) stands in `value`, to which the footer is added. */
MUST_USE bool snapshot_form_try_restore(struct bytes key, int64_t deadline_ms, struct buf *value,
                                        struct buf *out);
