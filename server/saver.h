/* saver.h: when the keyspace is saved, by whom it is asked for, and how that ended.
 *
 *     asked or due ─▶ cut (everywhere.h) ─▶ shards walk, chunks ─▶ rdb_thread ─▶ chunks go home
 *                     one position                                  └─▶ rename ─▶ done
 *
 * Thread     [main]; counters [any]
 * Ownership  A chunk belongs to whoever has it; its memory is the shard's.
 * Limits     One save at a time.
 * Errors     Any failure leaves the old file, is logged, and shows in rdb_last_bgsave_status; with
 *            stop-writes-on-bgsave-error and save points, writes are refused until a save succeeds.
 */
#pragma once

#include "base/counter.h"
#include "persist/rdb_thread.h"
#include "server/everywhere.h"

struct library_set;
struct main_request;
struct snapshot_chunk;

enum saver_state { SAVER_IDLE, SAVER_CUTTING, SAVER_WRITING, SAVER_ENDING };

typedef void saver_done_fn(struct server *srv, bool ok);

struct saver {
    enum saver_state state;
    struct rdb_thread thread;
    struct everywhere cut;
    struct rdb_sizes *sizes;       /* by database */
    struct library_set *libraries; /* that are saved: of the moment when the save began */
    struct bytes *codes;           /* of them */
    uint64_t functions_version;    /* of them */
    uint16_t shards_left;          /* whose last chunk has not been written */
    bool has_failed, is_cancelled;
    char why[2 * ENV_NAME_BYTES_MAX];
    saver_done_fn *done;        /* NULL: nobody waits for the end */
    struct main_request *asker; /* BGSAVE: answered at the cut */
    struct rdb_piece *early;    /* came before the cut was known to be complete, oldest first */
    struct rdb_piece **early_end;
    uint64_t started_ns;
    int64_t last_try_s;
    /* ---- any thread reads ---- */
    struct counter is_saving, started_s, saves, last_save_s, last_failed;
    struct counter last_seconds;  /* that the last save in the background took */
    struct counter has_ended;     /* there was one */
    struct counter changes_saved; /* counters.changes of all shards that need no save any more */
    struct counter keys_total, keys_written;
};

void saver_init(struct server *srv);
/* After the workers have ended. */
void saver_deinit(struct server *srv);
/* False, with a line logged: it cannot even begin. The result of what has begun comes to `done`. */
MUST_USE bool saver_start(struct server *srv, saver_done_fn *done);
/* What is under way shall end without a file. */
void saver_cancel(struct server *srv);
/* The workers have not let go of it in time: the process is about to end, and leaves no file
 * behind. */
void saver_give_up(struct server *srv);
static inline bool saver_is_idle(const struct saver *s)
{
    return s->state == SAVER_IDLE;
}
/* In each step of the main loop. */
void saver_step(struct server *srv);
/* Ten times a second: save points. */
void saver_cron(struct server *srv);
/* [shard] A chunk goes to the main thread. */
void saver_send_chunk(struct shard *sh, struct snapshot_chunk *chunk);
/* Nothing that has changed until now needs a save: after loading. */
void saver_forget_changes(struct server *srv);
/* [any] */
uint64_t saver_changes(const struct server *srv);
/* The file's name from the configuration: relative to the directory that the process is in. */
const char *saver_path(const struct server *srv);
