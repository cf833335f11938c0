#include "server/rewriter.h"

#include <inttypes.h>

#include "base/log.h"
#include "persist/file.h"
#include "server/server.h"
#include "server/worker.h"

/* Between two requests to sync. */
#define SYNC_NS 200000000ULL

static int64_t wall_s(void)
{
    return env_wall_us() / 1000000;
}

static uint64_t resolved_txid(const struct server *srv)
{
    return atomic_load_explicit(&srv->durable.resolved_txid, memory_order_relaxed);
}

static void remember_failure(struct server *srv, const char *why)
{
    srv->rewriter.has_failed = true;
    if (!srv->rewriter.why) srv->rewriter.why = why;
}

/* ---- the end ---- */

static uint64_t log_bytes(const struct server *srv)
{
    uint64_t bytes = counter_read(&srv->durable.closed_bytes);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        bytes += counter_read(&srv->shard_workers[i]->durable.bytes);
    return bytes;
}

static void remember_result(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    counter_set(&r->last_failed, r->has_failed);
    if (r->has_failed)
        counter_add(&r->failures, 1);
    else
        counter_set(&r->failures, 0);
}

static void tell_who_waits(struct server *srv)
{
    rewriter_done_fn *done = srv->rewriter.done;
    srv->rewriter.done = NULL;
    if (done) done(srv, !srv->rewriter.has_failed);
}

/* After switching off there is no rewrite to tell of. */
static void stand_still(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->state = REWRITER_IDLE;
    counter_set(&r->is_running, 0);
    if (!r->has_failed) return;
    log_warning("Background AOF rewrite error: %s", r->why ? r->why : "it was given up");
    r->failed_ns = env_now_ns();
    if (!r->is_cancelled) remember_result(srv);
    tell_who_waits(srv);
}

static enum err forget_unused_segments(struct server *srv);

static void finish(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    double seconds = (double)(env_now_ns() - r->started_ns) / 1e9;
    counter_set(&r->has_ended, 1);
    counter_set(&r->last_seconds, (uint64_t)seconds);
    /* What a failed one has left, and what a good one has made needless. */
    if (srv->durable.is_on && r->has_failed) (void)!forget_unused_segments(srv);
    if (srv->durable.is_on) durable_remove_strangers(srv);
    stand_still(srv);
    if (r->has_failed) return;
    counter_set(&srv->durable.base_bytes, log_bytes(srv));
    remember_result(srv);
    log_notice("Background AOF rewrite finished successfully: %" PRIu64 " bytes in %.3f seconds",
               counter_read(&srv->durable.closed_bytes), seconds);
    tell_who_waits(srv);
}

/* ---- the manifest ---- */

static bool has_base(const struct manifest *m, uint32_t generation, uint16_t shard)
{
    for (unsigned i = 0; i < m->file_count; i++) {
        const struct manifest_file *f = &m->files[i];
        if (f->generation == generation && f->shard == shard && f->kind == SEGMENT_KIND_BASE)
            return true;
    }
    return false;
}

/* The base replaces what came before it; those of all shards replace older generations. */
static void remove_replaced(struct manifest *m, const struct manifest_file *base)
{
    const struct manifest_generation *last = manifest_last(m);
    bool all = true;
    for (uint16_t i = 0; i < last->shard_count; i++) all = all && has_base(m, last->number, i);
    for (unsigned i = m->file_count; i-- > 0;) {
        const struct manifest_file *f = &m->files[i];
        bool is_replaced = f->generation == base->generation && f->shard == base->shard &&
                           f->number < base->number;
        if (is_replaced || (all && f->generation < base->generation)) manifest_remove_file(m, i);
    }
    manifest_drop_empty_generations(m);
}

/* The live manifest is what `text` says again. */
static void undo_manifest(struct server *srv, const struct buf *text)
{
    char why[MANIFEST_WHY_BYTES];
    struct manifest *m = &srv->durable.manifest;
    manifest_deinit(m);
    manifest_init(m, &srv->mem);
    CHECK(manifest_parse(m, buf_view(text), why));
}

static bool is_unused_segment(const struct rewriter *r, uint16_t shard_count,
                              const struct manifest_file *f)
{
    for (uint16_t i = 0; i < shard_count; i++)
        if (!r->jobs[i].is_cut && segment_uuid_equal(&r->jobs[i].segment.uuid, &f->uuid))
            return true;
    return false;
}

/* A file that was named and never cut to is empty: before one that is used, a start would take it
 * for damage. So where the manifest cannot be written, the next rewrite begins with this, too. */
static enum err forget_unused_segments(struct server *srv)
{
    struct manifest *m = &srv->durable.manifest;
    struct buf before = {.mem = &srv->mem};
    bool any = false;
    manifest_encode(m, &before);
    for (unsigned i = m->file_count; i-- > 0;) {
        if (!is_unused_segment(&srv->rewriter, srv->mesh.shard_count, &m->files[i])) continue;
        manifest_remove_file(m, i);
        any = true;
    }
    enum err e = any ? durable_write(srv) : OK;
    if (e != OK) undo_manifest(srv, &before);
    buf_clear(&before);
    return e;
}

static enum err publish_jobs(struct server *srv, uint16_t first, uint16_t count)
{
    struct rewriter *r = &srv->rewriter;
    struct manifest *m = &srv->durable.manifest;
    struct buf before = {.mem = &srv->mem};
    manifest_encode(m, &before);
    for (uint16_t i = first; i < first + count; i++) {
        const struct rewriter_job *job = &r->jobs[i];
        if (!job->is_cut) continue;
        manifest_add_file(m, &job->base);
        if (!manifest_find(m, &job->segment.uuid)) manifest_add_file(m, &job->segment);
        remove_replaced(m, &job->base);
    }
    m->horizon = MAX(m->horizon, MAX(r->wanted_txid, resolved_txid(srv)));
    enum err e = durable_write(srv);
    if (e != OK) undo_manifest(srv, &before);
    buf_clear(&before);
    return e;
}

/* ---- jobs ---- */

static bool prepare_job(struct server *srv, uint16_t shard)
{
    struct rewriter_job *job = &srv->rewriter.jobs[shard];
    memset(job, 0, sizeof *job);
    job->cut = srv->rewriter.cut;
    job->started_ns = env_now_ns();
    /* In this order: a base stands before the log that follows it. */
    return durable_make_file(srv, SEGMENT_KIND_BASE, shard, &job->base, job->base_path) == OK &&
           durable_make_file(srv, SEGMENT_KIND_EFFECTS, shard, &job->segment, job->segment_path) ==
               OK;
}

static void send_job(struct server *srv, uint16_t shard)
{
    struct rewriter *r = &srv->rewriter;
    struct rewriter_job *job = &r->jobs[shard];
    r->away++;
    r->state = REWRITER_RUNNING;
    job->call.run = rewriter_job_arrives;
    thread_call(&srv->thread, srv->shard_workers[shard]->thread.id, &job->call);
}

/* Named by the manifest before it is written to. */
static bool name_segment(struct server *srv, uint16_t shard)
{
    struct manifest *m = &srv->durable.manifest;
    struct buf before = {.mem = &srv->mem};
    manifest_encode(m, &before);
    manifest_add_file(m, &srv->rewriter.jobs[shard].segment);
    bool ok = durable_write(srv) == OK;
    if (!ok) undo_manifest(srv, &before);
    buf_clear(&before);
    return ok;
}

static bool start_shard(struct server *srv, uint16_t shard)
{
    srv->rewriter.shard = shard;
    if (!prepare_job(srv, shard) || !name_segment(srv, shard)) {
        remember_failure(srv, "its files cannot be made");
        return false;
    }
    send_job(srv, shard);
    return true;
}

/* ---- a rewrite: one shard after the other ---- */

void rewriter_sync_is_back(struct thread *at, UNUSED struct call *c)
{
    struct server *srv = at->owner;
    srv->rewriter.syncs_away--;
}

static void sync_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    uint16_t back_to = c->from;
    if (w->durable.log) aof_sync_once(w->durable.log);
    c->run = rewriter_sync_is_back;
    thread_call(at, back_to, c);
}

/* The other logs would be synced later, or with appendfsync no never. */
static void sync_others(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        r->syncs_away++;
        r->sync_calls[i].run = sync_arrives;
        thread_call(&srv->thread, srv->shard_workers[i]->thread.id, &r->sync_calls[i]);
    }
}

static void await_others(struct server *srv, uint64_t txid)
{
    struct rewriter *r = &srv->rewriter;
    r->state = REWRITER_PUBLISHING;
    r->wanted_txid = txid;
    r->sync_ns = 0;
}

static void shard_is_published(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    durable_remove_strangers(srv);
    uint16_t next = (uint16_t)(r->shard + 1);
    if (next < srv->mesh.shard_count && !r->is_cancelled && start_shard(srv, next)) return;
    if (next < srv->mesh.shard_count) remember_failure(srv, NULL);
    finish(srv);
}

static void begin_switch_on(struct server *srv);

/* With `appendonly no` a log is switched on; rewriter_cron switches it off when its bases are
 * there. */
static bool start_once(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->is_scheduled = false;
    counter_add(&r->rewrites, 1);
    begin_switch_on(srv);
    return r->state != REWRITER_IDLE;
}

bool rewriter_start(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    CHECK(r->state == REWRITER_IDLE);
    if (!srv->durable.is_on) return start_once(srv);
    r->cut = REWRITER_ROTATE;
    r->has_failed = r->is_cancelled = r->is_scheduled = false;
    r->why = NULL;
    r->started_ns = env_now_ns();
    counter_set(&r->scheduled, 0);
    counter_add(&r->rewrites, 1);
    counter_set(&r->is_running, 1);
    counter_set(&r->started_s, (uint64_t)wall_s());
    if (forget_unused_segments(srv) != OK)
        remember_failure(srv, "its files cannot be made");
    else if (start_shard(srv, 0))
        return true;
    finish(srv);
    return false;
}

/* ---- switching on: all shards at once ---- */

/* Calls to all net threads, one after the other: switching is rare. */
static void switch_nets(struct server *srv, enum rewriter_state state);

static void net_is_back(struct thread *at, UNUSED struct call *c)
{
    struct server *srv = at->owner;
    srv->rewriter.away--;
}

static void net_switches(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    uint16_t back_to = c->from;
    w->net.is_logging = w->server->rewriter.is_switching_on;
    c->run = net_is_back;
    thread_call(at, back_to, c);
}

static void switch_nets(struct server *srv, enum rewriter_state state)
{
    struct rewriter *r = &srv->rewriter;
    r->state = state;
    r->is_switching_on = state == REWRITER_STARTING_NETS;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        r->away++;
        r->net_calls[i].run = net_switches;
        thread_call(&srv->thread, srv->net_workers[i]->thread.id, &r->net_calls[i]);
    }
}

static uint32_t last_generation(const struct manifest *m)
{
    return m->generation_count > 0 ? manifest_last(m)->number : 0;
}

/* A generation that was never used here. What a crash has left of one that was never named goes. */
static uint32_t next_generation(struct server *srv)
{
    struct durable *d = &srv->durable;
    struct manifest on_disk;
    char why[MANIFEST_WHY_BYTES];
    manifest_init(&on_disk, &srv->mem);
    enum err e = manifest_read(&on_disk, d->directory, why);
    if (e == OK || e == ERR_NO_KEY) manifest_remove_strangers(&on_disk, d->directory);
    uint32_t in_memory = d->has_manifest ? last_generation(&d->manifest) : 0;
    uint32_t next = MAX(last_generation(&on_disk), in_memory) + 1;
    manifest_deinit(&on_disk);
    return next;
}

/* What there was is a stranger from then on: the new generation has all. */
static bool begin_generation(struct server *srv)
{
    struct durable *d = &srv->durable;
    const char *dir = srv->config->dir[0] ? srv->config->dir : ".";
    if (file_path(d->directory, dir, srv->config->appenddirname) != OK ||
        env_make_directory(d->directory) != OK)
        return false;
    uint32_t number = next_generation(srv);
    if (d->has_manifest) manifest_deinit(&d->manifest);
    manifest_init(&d->manifest, &srv->mem);
    d->has_manifest = true;
    d->manifest.hash_seed = srv->hash_seed;
    env_random(&d->manifest.server, sizeof d->manifest.server);
    manifest_add_generation(&d->manifest, number, srv->mesh.shard_count);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        d->last_number[i] = 0;
        if (!prepare_job(srv, i)) return false;
    }
    return true;
}

static void begin_switch_on(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->cut = REWRITER_OPEN;
    r->has_failed = r->is_cancelled = false;
    r->why = NULL;
    r->started_ns = env_now_ns();
    counter_set(&r->scheduled, 0);
    counter_set(&r->is_running, 1);
    counter_set(&r->started_s, (uint64_t)wall_s());
    if (begin_generation(srv)) {
        switch_nets(srv, REWRITER_STARTING_NETS);
        return;
    }
    remember_failure(srv, "its files cannot be made");
    finish(srv);
}

void rewriter_begin_log(struct server *srv, rewriter_done_fn *done)
{
    CHECK(srv->rewriter.state == REWRITER_IDLE && !srv->durable.is_on);
    durable_forget_recovery(srv);
    srv->rewriter.done = done;
    begin_switch_on(srv);
}

static void nets_are_switched(struct server *srv)
{
    if (!srv->rewriter.is_switching_on) {
        stand_still(srv);
        return;
    }
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) send_job(srv, i);
}

static void log_is_closed(struct server *srv, bool ok)
{
    if (!ok) remember_failure(srv, "the log cannot be closed");
    switch_nets(srv, REWRITER_STOPPING_NETS);
}

/* Switched off, or never on: the logs are closed, and turns are no transactions any more. */
static void begin_switch_off(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->state = REWRITER_CLOSING;
    memset(r->is_uncovered, 0, srv->mesh.shard_count * sizeof *r->is_uncovered);
    durable_seal(srv, log_is_closed);
}

static void switch_off(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->has_failed = r->is_cancelled = false;
    r->why = NULL;
    r->started_ns = env_now_ns();
    log_notice("The append only log is switched off");
    begin_switch_off(srv);
}

/* ---- after a loss: all logs that were lost, together ---- */

static uint64_t rests_of(const struct server *srv, uint16_t shard)
{
    return counter_read(&srv->shard_workers[shard]->shard.counters.rests);
}

static bool all_have_passed(const struct server *srv)
{
    const struct rewriter *r = &srv->rewriter;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        if (rests_of(srv, i) == r->rests_before[i]) return false;
    return r->is_passing;
}

/* Nobody waits for the replies: they may be kept, with others', until the base is published. */
static void passes_are_home(UNUSED struct server *srv)
{
}

/* Their transactions wait for each other, so no R can be waited for: instead every shard runs what
 * was given out before, and each log is synced as far as it was then. */
static void look_at_passing(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    if (!r->is_passing && !r->pass.is_under_way) {
        r->is_passing = true;
        for (uint16_t i = 0; i < srv->mesh.shard_count; i++) r->rests_before[i] = rests_of(srv, i);
        everywhere_run(&r->pass, srv, INTERNAL_REST, passes_are_home);
    }
    if (!all_have_passed(srv)) return;
    r->state = REWRITER_PUBLISHING;
    r->has_wanted_lsns = false;
    r->sync_ns = env_now_ns() + SYNC_NS; /* by then shards have told of their last record */
}

static void begin_passing(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->state = REWRITER_PASSING;
    r->is_passing = false;
    r->wanted_txid = sequencer_now(&srv->mesh.sequencer);
}

static bool all_are_durable(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    if (!r->has_wanted_lsns && env_now_ns() < r->sync_ns) return false;
    for (uint16_t i = 0; !r->has_wanted_lsns && i < srv->mesh.shard_count; i++)
        r->wanted_lsns[i] = counter_read(&srv->shard_workers[i]->durable.last_lsn);
    r->has_wanted_lsns = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        if (counter_read(&srv->shard_workers[i]->durable.durable_lsn) < r->wanted_lsns[i])
            return false;
    return true;
}

static bool log_is_lost(const struct server *srv, uint16_t shard)
{
    return durable_shard_state(&srv->shard_workers[shard]->durable) == AOF_LOST;
}

static bool any_log_is_lost(const struct server *srv)
{
    bool any = false;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) any |= log_is_lost(srv, i);
    return any;
}

/* Or was, and goes on in another file that no base stands before. */
static bool must_replace(const struct server *srv, uint16_t shard)
{
    return srv->rewriter.is_uncovered[shard] || log_is_lost(srv, shard);
}

static bool must_replace_any(const struct server *srv)
{
    bool any = false;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) any |= must_replace(srv, i);
    return any;
}

static bool prepare_replacements(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    if (forget_unused_segments(srv) != OK) return false;
    bool ok = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        memset(&r->jobs[i], 0, sizeof r->jobs[i]);
        if (must_replace(srv, i)) ok = ok && prepare_job(srv, i) && name_segment(srv, i);
    }
    return ok;
}

static void begin_replacing(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->cut = REWRITER_REPLACE;
    r->has_failed = r->is_cancelled = false;
    r->why = NULL;
    r->started_ns = env_now_ns();
    counter_set(&r->is_running, 1);
    counter_set(&r->started_s, (uint64_t)wall_s());
    log_notice("Logs that were lost are replaced by new ones");
    if (!prepare_replacements(srv)) {
        remember_failure(srv, "its files cannot be made");
        finish(srv);
        return;
    }
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        if (r->jobs[i].started_ns) send_job(srv, i); /* prepared: a state may change meanwhile */
}

static void cover_logs(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        if (!r->is_uncovered[i]) continue;
        r->is_uncovered[i] = false;
        r->syncs_away++;
        r->sync_calls[i].run = rewriter_log_is_covered;
        thread_call(&srv->thread, srv->shard_workers[i]->thread.id, &r->sync_calls[i]);
    }
}

/* ---- what comes back ---- */

static void all_jobs_are_back(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    if (r->cut == REWRITER_OPEN && (r->has_failed || r->is_cancelled)) {
        begin_switch_off(srv);
    } else if (r->has_failed || r->is_cancelled) {
        remember_failure(srv, NULL);
        finish(srv);
    } else if (r->cut == REWRITER_REPLACE) {
        begin_passing(srv);
    } else if (r->cut == REWRITER_OPEN) {
        /* What began before all logs were open lacks parts: it must lie below the horizon. */
        srv->durable.is_on = true;
        await_others(srv, sequencer_now(&srv->mesh.sequencer));
    } else {
        uint64_t txid = r->jobs[r->shard].last_txid;
        await_others(srv, txid ? txid + 1 : 0);
    }
}

void rewriter_job_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct rewriter *r = &srv->rewriter;
    const struct rewriter_job *job = container_of(c, struct rewriter_job, call);
    if (job->has_failed) remember_failure(srv, job->why);
    if (job->cut == REWRITER_REPLACE && job->is_cut) r->is_uncovered[job->base.shard] = true;
    if (--r->away == 0) all_jobs_are_back(srv);
}

static void publish(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    bool is_rewrite = r->cut == REWRITER_ROTATE;
    enum err e =
        is_rewrite ? publish_jobs(srv, r->shard, 1) : publish_jobs(srv, 0, srv->mesh.shard_count);
    if (e == OK && is_rewrite) {
        shard_is_published(srv);
        return;
    }
    if (e != OK) remember_failure(srv, "the manifest cannot be written");
    if (e != OK && r->cut == REWRITER_OPEN) {
        begin_switch_off(srv);
        return;
    }
    finish(srv);
    if (e == OK && r->cut == REWRITER_REPLACE) cover_logs(srv);
}

/* ---- steps ---- */

static void look_at_others(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    bool is_replacing = r->cut == REWRITER_REPLACE;
    if (is_replacing ? all_are_durable(srv) : resolved_txid(srv) >= r->wanted_txid) {
        if (r->syncs_away > 0) return; /* whose calls are needed for what follows */
        publish(srv);
        return;
    }
    bool has_lost = any_log_is_lost(srv);
    if (r->cut != REWRITER_OPEN && (r->is_cancelled || has_lost)) {
        remember_failure(srv, has_lost ? "another log was lost" : NULL);
        finish(srv);
        if (has_lost) r->failed_ns = 0; /* they are replaced together */
        return;
    }
    uint64_t now_ns = env_now_ns();
    if (now_ns < r->sync_ns || r->syncs_away > 0) return;
    r->sync_ns = now_ns + SYNC_NS;
    sync_others(srv);
}

void rewriter_step(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    bool is_switching = r->state == REWRITER_STARTING_NETS || r->state == REWRITER_STOPPING_NETS;
    if (is_switching && r->away == 0) nets_are_switched(srv);
    if (r->state == REWRITER_PASSING) look_at_passing(srv);
    if (r->state == REWRITER_PUBLISHING) look_at_others(srv);
}

static bool has_grown(const struct server *srv)
{
    uint64_t percentage = (uint64_t)srv->config->auto_aof_rewrite_percentage;
    uint64_t bytes = log_bytes(srv), base = MAX(counter_read(&srv->durable.base_bytes), 1u);
    if (percentage == 0 || bytes <= srv->config->auto_aof_rewrite_min_bytes) return false;
    uint64_t growth = bytes > base ? (bytes - base) * 100 / base : 0;
    if (growth < percentage) return false;
    log_notice("Starting automatic rewriting of AOF on %" PRIu64 "%% growth", growth);
    return true;
}

static void start_save(struct server *srv)
{
    srv->rewriter.is_save_scheduled = false;
    if (saver_start(srv, NULL)) log_notice("Background saving started");
}

void rewriter_cron(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    if (r->state != REWRITER_IDLE || !srv->is_loaded || srv->should_stop) return;
    if (srv->durable.round || srv->shutdown.state != SHUTDOWN_IDLE) return;
    if (!srv->config->appendonly && srv->durable.is_on) switch_off(srv);
    if (!srv->config->appendonly || srv->durable.is_on) counter_set(&r->scheduled, r->is_scheduled);
    if (r->state != REWRITER_IDLE || !saver_is_idle(&srv->saver)) return;
    if (r->is_save_scheduled) {
        start_save(srv);
        return;
    }
    bool is_too_soon =
        r->failed_ns && env_now_ns() < r->failed_ns + REWRITER_RETRY_S * UINT64_C(1000000000);
    if (srv->config->appendonly && !srv->durable.is_on) {
        if (!is_too_soon) begin_switch_on(srv);
        return;
    }
    if (srv->durable.is_on && must_replace_any(srv)) {
        if (!is_too_soon) begin_replacing(srv);
        return;
    }
    bool is_due = r->is_scheduled || (srv->durable.is_on && !is_too_soon && has_grown(srv));
    if (!is_due) return;
    if (rewriter_start(srv)) log_notice("Background append only file rewriting started");
}

void rewriter_apply_config(struct server *srv, const struct config *changed)
{
    struct rewriter *r = &srv->rewriter;
    /* Also while the log is still being switched off. */
    if (changed->appendonly && (!srv->durable.is_on || !srv->config->appendonly))
        counter_set(&r->scheduled, 1);
    if (changed->appendonly || !srv->config->appendonly || r->state == REWRITER_IDLE) return;
    log_notice("Rewrite of the append only log given up: appendonly is no");
    rewriter_cancel(srv);
}

void rewriter_cancel(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->is_scheduled = r->is_save_scheduled = false;
    counter_set(&r->scheduled, 0);
    if (r->state == REWRITER_IDLE) return;
    r->is_cancelled = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        atomic_store_explicit(&r->jobs[i].is_cancelled, true, memory_order_relaxed);
}

void rewriter_init(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    r->jobs = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *r->jobs);
    r->sync_calls = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *r->sync_calls);
    r->is_uncovered = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *r->is_uncovered);
    r->wanted_lsns = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *r->wanted_lsns);
    r->rests_before = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *r->rests_before);
    r->net_calls = mem_alloc_zeroed(&srv->mem, srv->mesh.net_count * sizeof *r->net_calls);
}

void rewriter_deinit(struct server *srv)
{
    struct rewriter *r = &srv->rewriter;
    mem_free(&srv->mem, r->jobs, srv->mesh.shard_count * sizeof *r->jobs);
    mem_free(&srv->mem, r->sync_calls, srv->mesh.shard_count * sizeof *r->sync_calls);
    mem_free(&srv->mem, r->is_uncovered, srv->mesh.shard_count * sizeof *r->is_uncovered);
    mem_free(&srv->mem, r->wanted_lsns, srv->mesh.shard_count * sizeof *r->wanted_lsns);
    mem_free(&srv->mem, r->rests_before, srv->mesh.shard_count * sizeof *r->rests_before);
    mem_free(&srv->mem, r->net_calls, srv->mesh.net_count * sizeof *r->net_calls);
}
