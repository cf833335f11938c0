/* One shard's part of rewriter.h: the cut, and the base. */
#include "base/log.h"
#include "persist/aof.h"
#include "server/function_log.h"
#include "server/rewriter.h"
#include "server/server.h"
#include "server/worker.h"

#define LOOK_NS 1000000ULL                /* between two tries to cut */
#define CUT_PATIENCE_NS 30000000000ULL    /* then it has failed */
#define BASE_BUFFER_BYTES_MAX (1UL << 31) /* what changes early does not wait for the disk */

void rewriter_job_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct rewriter_shard *r = &w->rewriter;
    CHECK(r->state == REWRITER_SHARD_IDLE);
    r->job = container_of(c, struct rewriter_job, call);
    r->state = REWRITER_SHARD_WAITING;
    r->first = NULL;
    r->end = &r->first;
    r->is_walked = false;
}

static void report(struct worker *w)
{
    struct rewriter_shard *r = &w->rewriter;
    struct rewriter_job *job = r->job;
    r->state = REWRITER_SHARD_IDLE;
    r->job = NULL;
    job->call.run = rewriter_job_is_back;
    thread_call(&w->thread, w->server->thread.id, &job->call);
}

static void fail(struct worker *w, const char *why)
{
    struct rewriter_shard *r = &w->rewriter;
    r->job->has_failed = true;
    if (!r->job->why) r->job->why = why;
    bool is_walking = r->state == REWRITER_SHARD_WALKING && !r->is_walked;
    if (is_walking) snapshot_abandon(&w->shard);
    r->state = REWRITER_SHARD_FAILING;
}

/* ---- the cut ---- */

static bool try_rotate(struct worker *w)
{
    const struct rewriter_job *job = w->rewriter.job;
    uint64_t closed_bytes;
    return aof_try_rotate(w->durable.log, job->segment_path, &job->segment.uuid, w->thread.now_ns,
                          &closed_bytes);
}

/* A log that lacks something, though its file is good, is whole again with any base. */
static bool try_replace_log(struct worker *w)
{
    const struct rewriter_job *job = w->rewriter.job;
    struct aof *log = w->durable.log;
    if (aof_state_now(log) != AOF_LOST) return try_rotate(w);
    return !aof_is_busy(log) && aof_abandon(log, job->segment_path, &job->segment.uuid) == OK;
}

static bool try_begin_log(struct worker *w)
{
    struct rewriter_job *job = w->rewriter.job;
    struct aof_options options = {.kind = SEGMENT_KIND_EFFECTS,
                                  .generation = job->segment.generation,
                                  .shard = w->shard.id,
                                  .first_lsn = 1,
                                  .path = job->segment_path,
                                  .uuid = job->segment.uuid};
    switch (job->cut) {
    case REWRITER_ROTATE:
        return try_rotate(w);
    case REWRITER_OPEN:
        return durable_open_log(w, &options) == OK;
    case REWRITER_REPLACE:
        return try_replace_log(w);
    }
    return false;
}

static enum err create_base(struct worker *w)
{
    struct rewriter_job *job = w->rewriter.job;
    uint64_t covered_lsn = aof_last_lsn(w->durable.log);
    job->base.first_lsn = covered_lsn + 1;
    return aof_create(&(struct aof_options){.mem = &w->shard.mem,
                                            .loop = w->thread.loop,
                                            .policy = AOF_ALWAYS,
                                            .buffer_bytes_max = BASE_BUFFER_BYTES_MAX,
                                            .kind = SEGMENT_KIND_BASE,
                                            .generation = job->base.generation,
                                            .shard = w->shard.id,
                                            .first_lsn = 1,
                                            .covered_lsn = covered_lsn,
                                            .path = job->base_path,
                                            .uuid = job->base.uuid},
                      &w->rewriter.base);
}

static bool may_cut(struct worker *w)
{
    struct shard *sh = &w->shard;
    if (sh->locks.busy > 0 || sh->snapshot.is_walking) return false;
    if (!w->durable.log) return true;
    journal_flush(sh);
    return journal_is_flushed(sh);
}

static void try_cut(struct worker *w)
{
    struct rewriter_shard *r = &w->rewriter;
    struct rewriter_job *job = r->job;
    bool may = may_cut(w);
    if (!may && w->durable.log) aof_rotate_later(w->durable.log);
    if (!may || !try_begin_log(w)) {
        bool is_late = w->thread.now_ns > job->started_ns + CUT_PATIENCE_NS;
        if (is_late) fail(w, "the log could not go on in a new file");
        return;
    }
    job->is_cut = true;
    job->last_txid = w->shard.journal.last_txid;
    w->shard.journal.has_failed = false;
    if (create_base(w) != OK) {
        fail(w, "the file of the base cannot be written");
        return;
    }
    function_log_write(w, false); /* behind what the base covers */
    r->state = REWRITER_SHARD_WALKING;
    snapshot_begin(&w->shard, SNAPSHOT_COMMANDS);
}

void rewriter_log_is_covered(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    uint16_t back_to = c->from;
    if (w->durable.log) aof_covered(w->durable.log);
    c->run = rewriter_sync_is_back;
    thread_call(at, back_to, c);
}

/* ---- the base ---- */

void rewriter_take_chunk(struct worker *w, struct snapshot_chunk *chunk)
{
    struct rewriter_shard *r = &w->rewriter;
    enum err e = OK;
    if (chunk->is_last) r->is_walked = true;
    bool has_failed = r->state != REWRITER_SHARD_WALKING;
    chunk->lsn = 0;
    if (!has_failed && chunk->records.size > 0) {
        struct aof_record record = {.db = chunk->db, .payload = buf_view(&chunk->records)};
        e = aof_append(r->base, &record, &chunk->lsn);
    }
    /* The log has a copy; the chunk stays for the count of what is on its way. */
    buf_clear(&chunk->records);
    chunk->next_in_base = NULL;
    *r->end = chunk;
    r->end = &chunk->next_in_base;
    if (has_failed) return;
    if (e != OK || chunk->has_failed) {
        fail(w, "there was no memory for it");
    } else if (chunk->is_last) {
        aof_seal(r->base);
        r->state = REWRITER_SHARD_SEALING;
    }
}

static void release_chunks(struct worker *w, uint64_t stable_lsn)
{
    struct rewriter_shard *r = &w->rewriter;
    while (r->first && r->first->lsn <= stable_lsn) {
        struct snapshot_chunk *chunk = r->first;
        r->first = chunk->next_in_base;
        if (!r->first) r->end = &r->first;
        snapshot_chunk_is_back(&w->shard, chunk);
    }
}

static void step_base(struct worker *w)
{
    struct rewriter_shard *r = &w->rewriter;
    aof_step(r->base, w->thread.now_ns);
    release_chunks(w, aof_stable_lsn(r->base));
    enum aof_state state = aof_state_now(r->base);
    if (state == AOF_RETRYING || state == AOF_LOST) {
        fail(w, "the base cannot be written");
        return;
    }
    bool is_over = state == AOF_SEALED && !aof_is_rotating(w->durable.log);
    if (r->state != REWRITER_SHARD_SEALING || !is_over) return;
    r->job->base.size = aof_size(r->base);
    aof_destroy(r->base);
    r->base = NULL;
    report(w);
}

/* The walk must have ended, and the environment let go of the file. */
static void step_failing(struct worker *w)
{
    struct rewriter_shard *r = &w->rewriter;
    bool has_walk = r->base && !r->is_walked;
    if (has_walk || (r->base && aof_is_busy(r->base))) return;
    release_chunks(w, UINT64_MAX);
    if (r->base) aof_destroy(r->base);
    r->base = NULL;
    report(w);
}

void rewriter_shard_step(struct worker *w)
{
    struct rewriter_shard *r = &w->rewriter;
    if (likely(r->state == REWRITER_SHARD_IDLE)) return;
    if (atomic_load_explicit(&r->job->is_cancelled, memory_order_relaxed) &&
        r->state != REWRITER_SHARD_FAILING) {
        if (r->state == REWRITER_SHARD_WAITING && w->durable.log) aof_rotate_later(w->durable.log);
        fail(w, "it was given up");
    }
    switch (r->state) {
    case REWRITER_SHARD_IDLE:
        break;
    case REWRITER_SHARD_WAITING:
        try_cut(w);
        break;
    case REWRITER_SHARD_WALKING:
    case REWRITER_SHARD_SEALING:
        step_base(w);
        break;
    case REWRITER_SHARD_FAILING:
        step_failing(w);
        break;
    }
}

uint64_t rewriter_shard_next_ns(const struct worker *w)
{
    const struct rewriter_shard *r = &w->rewriter;
    if (likely(r->state == REWRITER_SHARD_IDLE)) return UINT64_MAX;
    if (r->base && !aof_is_busy(r->base) && aof_buffered(r->base) > 0) return 0;
    return w->thread.now_ns + LOOK_NS;
}
