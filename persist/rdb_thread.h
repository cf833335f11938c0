/* rdb_thread.h: a thread that writes one RDB file from pieces that others make, so that a slow disk
 * stalls nobody else.
 *
 *     start ─▶ push, push … ─▶ end ─▶ is_over ─▶ join
 *              ◀─ take_done
 *
 * Thread     All calls are one thread's, the owner's; the writer's own side is private. `wake` is
 *            called on the writer's thread.
 * Ownership  A piece and its records belong to the writer from push until take_done gives them
 *            back. What the options point to must stay until join.
 * Limits     The queue has none: who pushes bounds what is under way.
 * Errors     After a failure pieces come back unwritten, and the file that was there stays.
 */
#pragma once

#include <pthread.h>

#include "base/env.h"
#include "persist/file.h"
#include "persist/rdb_file.h"

/* Records of one database. A piece that is open ends within a record: the next one of the same lane
 * belongs directly behind it, and pieces of other lanes wait. */
struct rdb_piece {
    struct rdb_piece *next;
    uint32_t db;
    uint32_t lane;
    bool is_open;
    uint64_t key_count;
    struct bytes records;
};

/* What a database had at the beginning: readers take it for a hint. */
struct rdb_sizes {
    uint64_t keys, deadlines;
};

struct rdb_thread_options {
    const char *path;
    const char *server_version;
    int64_t time_s;
    uint64_t used_memory_bytes;
    uint64_t sync_bytes; /* 0: only at the end */
    struct rdb_file_options file;
    const struct bytes *functions; /* the codes of libraries */
    uint32_t function_count;
    const struct rdb_sizes *sizes; /* by database */
    void (*wake)(void *context);   /* there is something to take, or it is over */
    void *context;
};

struct rdb_thread {
    _Atomic uint64_t keys_written, bytes_written;
    /* ---- private ---- */
    struct rdb_thread_options options;
    struct mem mem;
    struct file_output output;
    struct rdb_file_writer writer;
    pthread_t pthread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct rdb_piece *first, *last; /* to be written; under the mutex, as is what follows */
    struct rdb_piece *done;
    bool has_open_record; /* of `open_lane`; the writer's own */
    uint32_t open_lane;
    bool has_end, should_keep, is_over, has_failed;
    bool is_running; /* the owner's: between start and join */
    char why[FILE_WHY_BYTES];
};

/* False with a line in `why` (FILE_WHY_BYTES): nothing has been started. */
MUST_USE bool rdb_thread_start(struct rdb_thread *t, const struct rdb_thread_options *options,
                               char *why);
void rdb_thread_push(struct rdb_thread *t, struct rdb_piece *piece);
/* Pieces that are done with, linked; NULL: none. */
struct rdb_piece *rdb_thread_take_done(struct rdb_thread *t);
/* No piece follows. Without `keep` the file shall not be. */
void rdb_thread_end(struct rdb_thread *t, bool keep);
/* It has failed, or ended: what is wrong, NULL if nothing. */
bool rdb_thread_is_over(struct rdb_thread *t);
const char *rdb_thread_error(struct rdb_thread *t);
/* After the end. All pieces have come back. */
void rdb_thread_join(struct rdb_thread *t);
