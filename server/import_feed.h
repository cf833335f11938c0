/* import_feed.h: a thread that sends the commands of a Redis append-only file to this server, as a
 * client would.
 *
 *     files ─▶ commands ─▶ socket ─▶ a connection of net thread 0, whose replies are off
 *
 * The first command is CLIENT REPLY OFF, the last CLIENT REPLY ON: its answer says that all before
 * it has run.
 *
 * Thread     All calls are the owner's. `wake` is called on the feeding thread.
 * Ownership  The path stays until join.
 * Limits     Two buffers of FEED_BYTES, and a command.
 * Errors     `why` after it is over. A file that ends within a command or transaction is an error
 *            unless it is the last one and may be cut.
 */
#pragma once

#include <pthread.h>

#include "persist/redis_aof.h"

struct router;

struct import_source {
    char path[ENV_PATH_BYTES_MAX];
    uint64_t offset; /* where the commands begin */
};

struct import_feed_options {
    const struct import_source *files;
    unsigned file_count;
    bool may_be_cut; /* aof-load-truncated */
    uint32_t database_count;
    const struct router *router;
    enum env_backend backend;
    int fd; /* taken over */
    void (*wake)(void *context);
    void *context;
};

#define IMPORT_WHY_BYTES (ENV_PATH_BYTES_MAX + 1024)

struct import_feed {
    _Atomic uint64_t bytes_read, commands;
    _Atomic bool must_end, is_over;
    char why[IMPORT_WHY_BYTES]; /* of a failure; empty: all is well */
    char cut[IMPORT_WHY_BYTES]; /* what was left out; empty: nothing */
    /* ---- private ---- */
    struct import_feed_options options;
    struct mem mem;
    struct env_loop *loop;
    struct env_socket socket;
    struct buf filling, sending;
    struct iovec piece;
    bool is_sending, is_cut_off;
    bool in_multi;
    uint64_t multi_offset;
    char reply[16];
    size_t reply_size;
    pthread_t pthread;
};

/* False with `why`: nothing was started, and `fd` is closed. */
MUST_USE bool import_feed_start(struct import_feed *f, const struct import_feed_options *options);
/* After is_over. */
void import_feed_join(struct import_feed *f);
