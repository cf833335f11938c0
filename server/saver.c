#include "server/saver.h"

#include <stdio.h>

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"

#define SYNC_BYTES (4 * 1024 * 1024) /* of rdb-save-incremental-fsync */
#define RETRY_SECONDS 5              /* after a failure */

static int64_t wall_s(void)
{
    return env_wall_us() / 1000000;
}

const char *saver_path(const struct server *srv)
{
    return srv->config->dbfilename;
}

/* ---- changes ---- */

static uint64_t changes_so_far(const struct server *srv)
{
    uint64_t n = atomic_load_explicit(&srv->scripts.functions.version, memory_order_relaxed);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        n += counter_read(&srv->shard_workers[i]->shard.counters.changes);
    return n;
}

uint64_t saver_changes(const struct server *srv)
{
    uint64_t now = changes_so_far(srv), saved = counter_read(&srv->saver.changes_saved);
    return now > saved ? now - saved : 0;
}

void saver_forget_changes(struct server *srv)
{
    counter_set(&srv->saver.changes_saved, changes_so_far(srv));
}

/* ---- functions ---- */

static void take_functions(struct server *srv, struct rdb_thread_options *options)
{
    struct saver *s = &srv->saver;
    struct functions *f = &srv->scripts.functions;
    functions_refresh(f, &s->libraries, &s->functions_version);
    uint32_t count = s->libraries->library_count;
    s->codes = mem_alloc(&srv->mem, (count + 1) * sizeof *s->codes);
    for (uint32_t i = 0; i < count; i++) s->codes[i] = s->libraries->libraries[i]->code;
    options->functions = s->codes;
    options->function_count = count;
}

static void drop_functions(struct server *srv)
{
    struct saver *s = &srv->saver;
    if (!s->libraries) return;
    mem_free(&srv->mem, s->codes, (s->libraries->library_count + 1) * sizeof *s->codes);
    library_set_unref(&srv->scripts.functions, s->libraries);
    s->libraries = NULL;
    s->codes = NULL;
}

/* ---- the end of a save ---- */

static void note_result(struct server *srv, bool ok)
{
    struct saver *s = &srv->saver;
    if (!s->done) { /* Of SAVE nothing is told here, as in Redis. */
        counter_set(&s->has_ended, 1);
        counter_set(&s->last_seconds, (env_now_ns() - s->started_ns) / 1000000000);
    }
    if (!ok) {
        log_warning("Background saving error: %s", s->why);
        if (s->is_cancelled) return;
        counter_set(&s->last_failed, 1);
        obstacles_change(srv, OBSTACLE_MISCONF, 0, NULL);
        return;
    }
    uint64_t saved = s->functions_version;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        saved += srv->shard_workers[i]->shard.snapshot.changes;
    counter_set(&s->changes_saved, saved);
    counter_set(&s->last_save_s, (uint64_t)wall_s());
    counter_add(&s->saves, 1);
    counter_set(&s->last_failed, 0);
    obstacles_change(srv, 0, OBSTACLE_MISCONF, NULL);
    log_notice("DB saved on disk: %llu keys, %llu bytes in %.3f seconds",
               (unsigned long long)atomic_load(&s->thread.keys_written),
               (unsigned long long)atomic_load(&s->thread.bytes_written),
               (double)(env_now_ns() - s->started_ns) / 1e9);
}

static void finish(struct server *srv)
{
    struct saver *s = &srv->saver;
    const char *error = rdb_thread_error(&s->thread);
    if (error && s->why[0] == '\0') snprintf(s->why, sizeof s->why, "%s", error);
    rdb_thread_join(&s->thread);
    drop_functions(srv);
    s->state = SAVER_IDLE;
    counter_set(&s->is_saving, 0);
    note_result(srv, !error);
    saver_done_fn *done = s->done;
    s->done = NULL;
    if (done) done(srv, !error);
}

/* ---- chunks ---- */

static void chunk_is_home(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct snapshot_chunk *chunk = container_of(c, struct snapshot_chunk, call);
    if (chunk->has_failed) snapshot_abandon(&w->shard);
    snapshot_chunk_is_back(&w->shard, chunk);
}

static void send_home(struct server *srv, struct snapshot_chunk *chunk)
{
    struct saver *s = &srv->saver;
    if (chunk->has_failed) s->has_failed = true;
    if (chunk->is_last) s->shards_left--;
    chunk->has_failed = s->has_failed || s->is_cancelled;
    chunk->call.run = chunk_is_home;
    thread_call(&srv->thread, srv->shard_workers[chunk->shard_id]->thread.id, &chunk->call);
}

static void chunk_arrives(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct snapshot_chunk *chunk = container_of(c, struct snapshot_chunk, call);
    struct saver *s = &srv->saver;
    chunk->piece = (struct rdb_piece){
        .db = chunk->db,
        .lane = (uint32_t)chunk->shard_id * SNAPSHOT_LANES + chunk->lane,
        .is_open = chunk->is_open,
        .key_count = chunk->key_count,
        .records = buf_view(&chunk->records),
    };
    if (s->state != SAVER_CUTTING) {
        rdb_thread_push(&s->thread, &chunk->piece);
        return;
    }
    /* The sizes that go before the records are known when every shard is cut. */
    *s->early_end = &chunk->piece;
    s->early_end = &chunk->piece.next;
}

void saver_send_chunk(struct shard *sh, struct snapshot_chunk *chunk)
{
    struct worker *w = container_of(sh, struct worker, shard);
    chunk->call.run = chunk_arrives;
    thread_call(&w->thread, w->server->thread.id, &chunk->call);
}

void saver_step(struct server *srv)
{
    struct saver *s = &srv->saver;
    if (s->state == SAVER_IDLE || s->state == SAVER_CUTTING) return;
    if (!s->has_failed && !s->is_cancelled && rdb_thread_error(&s->thread)) s->has_failed = true;
    counter_set(&s->keys_written, atomic_load(&s->thread.keys_written));
    struct rdb_piece *piece = rdb_thread_take_done(&s->thread);
    while (piece) {
        struct rdb_piece *next = piece->next;
        send_home(srv, container_of(piece, struct snapshot_chunk, piece));
        piece = next;
    }
    /* Once: pieces that were overtaken by the last ones may still come. */
    if (s->state == SAVER_WRITING && s->shards_left == 0) {
        s->state = SAVER_ENDING;
        rdb_thread_end(&s->thread, !s->has_failed && !s->is_cancelled);
    }
    if (s->state == SAVER_ENDING && rdb_thread_is_over(&s->thread)) finish(srv);
}

void saver_cancel(struct server *srv)
{
    struct saver *s = &srv->saver;
    if (s->state == SAVER_IDLE) return;
    s->is_cancelled = true;
    snprintf(s->why, sizeof s->why, "it was given up");
}

/* ---- the beginning ---- */

static void wake_main(void *context)
{
    const struct server *srv = context;
    env_wake(NULL, srv->thread.loop);
}

/* What the shards had at the cut. */
static void count_keys(struct server *srv)
{
    struct saver *s = &srv->saver;
    uint64_t total = 0;
    memset(s->sizes, 0, srv->database_count * sizeof *s->sizes);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        const struct snapshot *snapshot = &srv->shard_workers[i]->shard.snapshot;
        for (uint32_t t = 0; t < snapshot->table_count; t++) {
            const struct snapshot_table *table = &snapshot->tables[t];
            s->sizes[table->number].keys += table->key_count;
            s->sizes[table->number].deadlines += table->deadline_count;
            total += table->key_count;
        }
    }
    counter_set(&s->keys_total, total);
}

static void is_cut(struct server *srv)
{
    struct saver *s = &srv->saver;
    s->state = SAVER_WRITING;
    count_keys(srv);
    while (s->early) {
        struct rdb_piece *piece = s->early;
        s->early = piece->next;
        rdb_thread_push(&s->thread, piece);
    }
    if (!s->asker || s->done) return; /* SAVE is answered at the end */
    reply_status(&s->asker->reply, "Background saving started");
    server_answer(srv, s->asker);
    s->asker = NULL;
}

bool saver_start(struct server *srv, saver_done_fn *done)
{
    struct saver *s = &srv->saver;
    const struct config *c = srv->config;
    CHECK(s->state == SAVER_IDLE);
    s->last_try_s = wall_s();
    s->done = done;
    s->why[0] = '\0';
    s->has_failed = s->is_cancelled = false;
    s->started_ns = env_now_ns();
    struct rdb_thread_options options = {
        .path = saver_path(srv),
        .server_version = SERVER_REDIS_VERSION,
        .time_s = wall_s(),
        .used_memory_bytes = server_live_bytes(srv),
        .sync_bytes = c->rdb_save_incremental_fsync ? SYNC_BYTES : 0,
        .file = {.with_checksum = c->rdbchecksum, .compress = c->rdbcompression},
        .sizes = s->sizes,
        .wake = wake_main,
        .context = srv,
    };
    take_functions(srv, &options);
    if (!rdb_thread_start(&s->thread, &options, s->why)) {
        drop_functions(srv);
        note_result(srv, false);
        s->done = NULL;
        return false;
    }
    s->state = SAVER_CUTTING;
    s->early = NULL;
    s->early_end = &s->early;
    s->shards_left = srv->mesh.shard_count;
    counter_set(&s->is_saving, 1);
    counter_set(&s->started_s, (uint64_t)wall_s());
    everywhere_run(&s->cut, srv, INTERNAL_SNAPSHOT, is_cut);
    return true;
}

void saver_cron(struct server *srv)
{
    struct saver *s = &srv->saver;
    const struct config *c = srv->config;
    if (s->state != SAVER_IDLE || !rewriter_is_idle(&srv->rewriter) || srv->should_stop ||
        srv->obstacles & ~OBSTACLE_MISCONF)
        return;
    uint64_t changes = saver_changes(srv);
    int64_t now_s = wall_s(), age_s = now_s - (int64_t)counter_read(&s->last_save_s);
    if (counter_read(&s->last_failed) && now_s - s->last_try_s <= RETRY_SECONDS) return;
    for (uint32_t i = 0; i < c->save_count; i++) {
        const struct config_save_point *p = &c->save[i];
        if (changes < (uint64_t)p->changes || age_s <= p->seconds) continue;
        log_notice("%lld changes in %lld seconds. Saving...", (long long)p->changes,
                   (long long)p->seconds);
        if (saver_start(srv, NULL)) log_notice("Background saving started");
        return;
    }
}

void saver_init(struct server *srv)
{
    struct saver *s = &srv->saver;
    s->sizes = mem_alloc_zeroed(&srv->mem, srv->database_count * sizeof *s->sizes);
    counter_set(&s->last_save_s, (uint64_t)wall_s());
}

void saver_deinit(struct server *srv)
{
    mem_free(&srv->mem, srv->saver.sizes, srv->database_count * sizeof *srv->saver.sizes);
}

void saver_give_up(struct server *srv)
{
    rdb_thread_end(&srv->saver.thread, false);
    rdb_thread_join(&srv->saver.thread);
    drop_functions(srv);
}
