/* loader.h: an RDB file becomes the keyspace: read by the main thread in slices, thawed by the
 * shards.
 *
 *     file ─▶ main: where a value ends, checksum ─▶ batches by shard ─▶ shards thaw and put ─▶ back
 *
 * Thread     [main]; counters [any]
 * Ownership  A batch is the main thread's memory; the shard only reads it.
 * Limits     LOADER_AWAY_BYTES_MAX under way. A slice of reading takes about LOADER_SLICE_US, as
 *            the main thread has clients to accept meanwhile.
 * Errors     A file that is truncated, malformed, or holds what we do not know ends the loading: a
 *            line names file and offset. Keys that came before it are in the keyspace; libraries of
 *            functions come all together, at the end.
 */
#pragma once

#include <limits.h>

#include "base/counter.h"
#include "persist/rdb_file.h"
#include "server/library_load.h"
#include "server/lua_vm.h"

#define LOADER_BATCH_BYTES (256 * 1024)
#define LOADER_AWAY_BYTES_MAX (16 * 1024 * 1024)
#define LOADER_SLICE_US 2000

struct env_file;
struct load_batch;
struct server;

typedef void loader_done_fn(struct server *srv, bool ok);

struct loader {
    bool is_loading, has_failed;
    bool is_cancelled; /* failed by wish */
    bool may_replace;  /* keys and libraries that are there: DEBUG RELOAD MERGE */
    bool has_read_all;
    bool has_vm;
    struct lua_vm vm; /* once there is a library */
    struct library_batch libraries;
    struct env_file *input;
    struct rdb_file_reader reader;
    uint64_t read_bytes, next_ns;
    uint32_t db;
    struct load_batch **filling; /* by shard */
    uint64_t away_bytes;
    uint32_t away_count;
    char path[PATH_MAX];
    uint64_t end_offset; /* behind the RDB part of the file */
    char why[512];
    uint64_t started_ns;
    loader_done_fn *done;
    uint64_t keys_empty; /* collections without elements, which were left out */
    /* ---- any thread reads ---- */
    struct counter is_shown, start_s, total_bytes, loaded_bytes; /* while it is_shown */
    struct counter keys_loaded, keys_expired;                    /* of the last one */
    struct counter used_mem; /* of the server that wrote the file, as it says there */
};

enum loader_begin { LOADER_STARTED, LOADER_NO_FILE, LOADER_FAILED };
/* `done` is called later, only after LOADER_STARTED; else `loader.why` says what is wrong. */
MUST_USE enum loader_begin loader_start(struct server *srv, bool may_replace, loader_done_fn *done);
/* The same with another file, which may go on behind its RDB part. */
MUST_USE enum loader_begin loader_start_file(struct server *srv, const char *path,
                                             loader_done_fn *done);
void loader_cancel(struct server *srv);
/* In each step of the main loop: a slice; true if there is more to do at once. */
bool loader_step(struct server *srv);
static inline bool loader_is_idle(const struct loader *l)
{
    return !l->is_loading;
}
