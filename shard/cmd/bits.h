/* bits.h: what the two files of the bitmap commands share.
 *
 * Thread     [shard]
 */
#pragma once

#include "base/command.h"

/* The position of a bit: an integer within a string of proto-max-bulk-len bytes. `width` is that of
 * a field, in which "#2" counts; 0: positions are only plain ones. On false the error is written.
 */
MUST_USE bool arg_bit_position_or_reply(const struct shard *sh, const struct request *rq,
                                        uint32_t index, unsigned width, struct reply *out,
                                        uint64_t *position);

enum err cmd_bitfield(struct shard *sh, struct request *rq, struct reply *out);
enum err cmd_bitfield_ro(struct shard *sh, struct request *rq, struct reply *out);
