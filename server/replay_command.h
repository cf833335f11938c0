/* replay_command.h: a command of the log: packed for the shard that runs it, and run there.
 *
 *     struct packed · argv (offsets until it is unpacked) · bytes of the arguments
 *
 * Thread     Packing [shard] of the reader, unpacking and running [shard] of the key.
 * Limits     A pack is aligned to 8 bytes.
 */
#pragma once

#include "base/mem.h"
#include "shard/slice.h"

struct route;

enum replay_kind {
    REPLAY_EFFECT,    /* a command on one key */
    REPLAY_FLUSH,     /* one database of a slice */
    REPLAY_FLUSH_ALL, /* all databases of a slice */
    REPLAY_SWAP,      /* two databases of a slice */
};

struct replay_command {
    enum replay_kind kind;
    bool may_fail; /* a client's command, which may be answered with an error */
    struct slice slice;
    uint32_t db, other_db;
    uint32_t argc, hashed_index;
    uint64_t hash;
    const struct route *route;
    struct bytes *argv;
    /* Where it stands in the log. */
    unsigned file;
    uint64_t offset;
};

/* Appends to `packs`. False: no memory. */
MUST_USE bool replay_command_try_pack(struct buf *packs, const struct replay_command *c);
/* Takes the first of some packs, whose bytes are changed and must stay as long as the arguments are
 * needed. */
struct replay_command replay_command_unpack(struct bytes *packs);

#define REPLAY_ERROR_BYTES 256
/* False with a phrase in `error`. */
MUST_USE bool replay_command_run(struct shard *sh, const struct replay_command *c, char *error);
