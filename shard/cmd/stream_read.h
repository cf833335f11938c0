/* stream_read.h: the core of XREAD and XREADGROUP: what one key has for one reader. Also for
 * whoever serves a client that waits for the key.
 *
 * Thread     [shard]
 */
#pragma once

#include "shard/cmd/stream_args.h"

/* A reader, as the arguments tell it. Views are of the request. */
struct stream_reader {
    bool by_group, no_ack;
    bool blocks;
    bool is_part;       /* of a command that was split: elements are arrays in RESP3, too */
    int64_t timeout_ms; /* with BLOCK; 0: for ever */
    struct bytes group, consumer;
    uint64_t count; /* entries of a key at most; 0: all */
    uint32_t first_key, key_count;
};

/* With by_group: entries that no consumer of the group has got; else an id: the consumer's pending
 * entries behind it. */
#define STREAM_AFTER_DELIVERED STREAM_ID_MAX

/* Reads the options; false: the error is written, if there is an `out`. */
MUST_USE bool stream_reader_parse_or_reply(const struct request *rq, bool by_group,
                                           struct stream_reader *r, struct reply *out);
/* Reads the id that belongs to the key with that number (0 the first). "$" becomes the last id of
 * the stream as it is now. The key's type and the group are checked before; false: the error is
 * written. */
MUST_USE bool stream_reader_after_or_reply(struct shard *sh, const struct request *rq,
                                           const struct stream_reader *r, uint32_t number,
                                           struct stream_id *after, struct reply *out);
/* Appends what the key has for the reader, as one element of the reply, and makes it pending.
 * `*found` is false when there is nothing: then nothing is written. A key or a group that is gone
 * has nothing. ERR_ALLOC; ERR_WRONG_TYPE. */
MUST_USE enum err stream_reader_read(struct shard *sh, const struct stream_reader *r,
                                     const struct key *k, struct stream_id after, struct reply *out,
                                     bool *found);
/* The head of a reply of so many keys. */
void stream_reader_head(struct reply *out, uint64_t key_count);

/* [any] Whether the command could only fail for what its keys are, so that it can be split by key.
 */
MUST_USE bool stream_read_is_plain(const struct bytes *argv, uint32_t argc, bool by_group,
                                   struct stream_reader *r);
/* Whether the key can be read: its type, and that it has the group; `group` NULL: XREAD. False: the
 * error is written. */
MUST_USE bool stream_read_check_or_reply(struct shard *sh, const struct key *k,
                                         const struct bytes *group, struct reply *out);
