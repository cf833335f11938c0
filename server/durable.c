#include "server/durable.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "base/log.h"
#include "persist/file.h"
#include "server/server.h"
#include "server/worker.h"

#define SCAN_THREADS_MAX 16
#define FIRST_LSN 1

/* ---- calls to all workers ---- */

struct durable_round {
    void (*next)(struct server *srv, bool ok); /* when all calls are back */
    durable_done_fn *done;
    uint32_t outstanding;
    bool has_failed;
    size_t bytes;
    struct durable_call {
        struct call call;
        struct aof_options options;
        char path[ENV_PATH_BYTES_MAX];
        bool has_failed;
    } calls[];
};

static void call_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct durable_round *round = srv->durable.round;
    round->has_failed |= container_of(c, struct durable_call, call)->has_failed;
    if (--round->outstanding == 0) round->next(srv, !round->has_failed);
}

static void send_back(struct thread *at, struct call *c)
{
    uint16_t back_to = c->from;
    c->run = call_is_back;
    thread_call(at, back_to, c);
}

static struct durable_round *round_make(struct server *srv, durable_done_fn *done)
{
    size_t bytes = sizeof(struct durable_round) + srv->worker_count * sizeof(struct durable_call);
    struct durable_round *round = mem_alloc_zeroed(&srv->mem, bytes);
    CHECK(!srv->durable.round);
    round->bytes = bytes;
    round->done = done;
    srv->durable.round = round;
    return round;
}

/* Call i goes to workers[i]. */
static void round_send(struct server *srv, struct worker **workers, uint32_t count,
                       void (*run)(struct thread *at, struct call *c))
{
    struct durable_round *round = srv->durable.round;
    round->outstanding = count;
    for (uint32_t i = 0; i < count; i++) {
        round->calls[i].call.run = run;
        thread_call(&srv->thread, workers[i]->thread.id, &round->calls[i].call);
    }
}

static void round_end(struct server *srv, bool ok)
{
    struct durable_round *round = srv->durable.round;
    durable_done_fn *done = round->done;
    mem_free(&srv->mem, round, round->bytes);
    srv->durable.round = NULL;
    done(srv, ok);
}

/* ---- paths and files ---- */

static void random_uuid(struct segment_uuid *uuid)
{
    env_random(uuid->bytes, sizeof uuid->bytes);
}

enum err durable_path(const struct server *srv, const struct manifest_file *f,
                      char path[ENV_PATH_BYTES_MAX])
{
    char name[MANIFEST_FILE_NAME_BYTES];
    manifest_file_name(f, name);
    return file_path(path, srv->durable.directory, name);
}

static uint32_t next_number(const struct manifest *m, uint32_t generation, uint16_t shard)
{
    uint32_t highest = 0;
    for (unsigned i = 0; i < m->file_count; i++)
        if (m->files[i].generation == generation && m->files[i].shard == shard)
            highest = MAX(highest, m->files[i].number);
    return highest + 1;
}

/* Numbers of files that were made and never named are not used again in this process: their
 * names may still be there. */
enum err durable_make_file(struct server *srv, enum segment_kind kind, uint16_t shard,
                           struct manifest_file *f, char path[ENV_PATH_BYTES_MAX])
{
    struct durable *d = &srv->durable;
    uint32_t generation = manifest_last(&d->manifest)->number;
    *f = (struct manifest_file){.kind = kind, .generation = generation, .shard = shard};
    f->number = MAX(next_number(&d->manifest, generation, shard), d->last_number[shard] + 1);
    d->last_number[shard] = f->number;
    random_uuid(&f->uuid);
    enum err e = durable_path(srv, f, path);
    if (e == OK) e = aof_prepare(path);
    return e == OK ? env_sync_directory(d->directory) : e;
}

enum err durable_write(struct server *srv)
{
    const struct manifest *m = &srv->durable.manifest;
    enum err e = manifest_write(m, srv->durable.directory);
    if (e != OK) return e;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < m->file_count; i++) bytes += m->files[i].size;
    counter_set(&srv->durable.closed_bytes, bytes);
    return OK;
}

void durable_remove_strangers(struct server *srv)
{
    manifest_remove_strangers(&srv->durable.manifest, srv->durable.directory);
}

/* ---- reading what there is ---- */

struct scanner {
    struct recovery *recovery;
    struct mem *mem;
    pthread_t thread;
    unsigned first, step;
    enum err result;
    unsigned failed_stream;
};

static void *scan_run(void *argument)
{
    struct scanner *s = argument;
    for (unsigned i = s->first; i < s->recovery->stream_count && s->result == OK; i += s->step) {
        s->result = recovery_scan(s->recovery, i, s->mem);
        s->failed_stream = i;
    }
    return NULL;
}

/* The streams are dealt out to as many threads as there are CPUs for. */
static bool scan_all(struct durable *d, struct server *srv, char *why)
{
    struct recovery *r = &d->recovery;
    struct scanner scanners[SCAN_THREADS_MAX];
    unsigned count = MIN(MIN(srv->cpus.thread_count, r->stream_count), SCAN_THREADS_MAX);
    d->scan_mems = mem_alloc_zeroed(&srv->mem, MAX(count, 1u) * sizeof *d->scan_mems);
    for (unsigned i = 0; i < count; i++) {
        mem_init(&d->scan_mems[i], "recovery");
        scanners[i] =
            (struct scanner){.recovery = r, .mem = &d->scan_mems[i], .first = i, .step = count};
        bool is_running = pthread_create(&scanners[i].thread, NULL, scan_run, &scanners[i]) == 0;
        d->scan_count = i + 1;
        CHECK(is_running);
    }
    bool ok = true;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(scanners[i].thread, NULL);
        if (scanners[i].result == OK || !ok) continue;
        ok = false;
        snprintf(why, RECOVERY_WHY_BYTES, "%s", r->streams[scanners[i].failed_stream].why);
    }
    return ok;
}

static void tell_what_was_found(const struct recovery *r, uint64_t started_ns)
{
    uint64_t records = 0, bytes = atomic_load(&r->bytes_read);
    for (unsigned i = 0; i < r->stream_count; i++) {
        const struct recovery_stream *s = &r->streams[i];
        records += s->record_count;
        if (s->torn_bytes > 0)
            log_warning("The log of shard %u of generation %" PRIu32 " has a torn tail, %" PRIu64
                        " bytes, which is left out: %s",
                        s->shard, s->generation, s->torn_bytes, s->why);
        if (s->cut_records_from > 0)
            log_warning("The log of shard %u of generation %" PRIu32
                        " ends before its record %" PRIu64
                        ": a transaction over several shards was not complete. Nothing of it, or "
                        "behind it, was acknowledged.",
                        s->shard, s->generation, s->cut_records_from);
    }
    log_notice("The append only log was checked: %.3f seconds: %" PRIu64 " records, %" PRIu64
               " bytes, %u files",
               (double)(env_now_ns() - started_ns) / 1e9, records, bytes, r->manifest.file_count);
}

void durable_forget_recovery(struct server *srv)
{
    struct durable *d = &srv->durable;
    d->has_recovery = false;
    if (!d->scan_mems) return;
    recovery_close(&d->recovery);
    for (uint32_t i = 0; i < d->scan_count; i++) mem_deinit(&d->scan_mems[i]);
    mem_free(&srv->mem, d->scan_mems, MAX(d->scan_count, 1u) * sizeof *d->scan_mems);
    d->scan_mems = NULL;
}

static bool read_log(struct server *srv, char *why)
{
    struct durable *d = &srv->durable;
    uint64_t started_ns = env_now_ns();
    struct recovery_options options = {.mem = &srv->mem,
                                       .directory = d->directory,
                                       .refuse_torn = !srv->config->aof_load_truncated};
    enum err e = recovery_open(&d->recovery, &options, why);
    d->has_recovery = e == OK;
    bool ok = e == ERR_NO_KEY || (e == OK && scan_all(d, srv, why));
    if (!ok || e == ERR_NO_KEY) {
        if (d->scan_mems)
            durable_forget_recovery(srv);
        else
            recovery_close(&d->recovery);
        return ok;
    }
    recovery_resolve(&d->recovery);
    tell_what_was_found(&d->recovery, started_ns);
    srv->hash_seed = d->recovery.manifest.hash_seed;
    sequencer_begin_at(&srv->mesh.sequencer, d->recovery.next_txid);
    return true;
}

bool durable_open(struct server *srv, char *why)
{
    struct durable *d = &srv->durable;
    const struct config *c = srv->config;
    d->resolving_lsns =
        mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *d->resolving_lsns);
    d->last_number = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *d->last_number);
    /* CONFIG SET dir moves the process, but not its log. */
    if (!c->appendonly) return true;
    if (file_path(d->directory, c->dir[0] ? c->dir : ".", c->appenddirname) != OK ||
        env_make_directory(d->directory) != OK) {
        snprintf(why, RECOVERY_WHY_BYTES, "%s: the directory of the log cannot be made",
                 d->directory);
        return false;
    }
    return read_log(srv, why);
}

void durable_deinit(struct server *srv)
{
    struct durable *d = &srv->durable;
    durable_forget_recovery(srv);
    if (d->has_manifest) manifest_deinit(&d->manifest);
    if (d->round) mem_free(&srv->mem, d->round, d->round->bytes);
    mem_free(&srv->mem, d->resolving_lsns, srv->mesh.shard_count * sizeof *d->resolving_lsns);
    mem_free(&srv->mem, d->last_number, srv->mesh.shard_count * sizeof *d->last_number);
}

/* ---- beginning ---- */

static void log_opens(struct thread *at, struct call *c)
{
    struct durable_call *call = container_of(c, struct durable_call, call);
    call->options.path = call->path;
    call->has_failed = durable_open_log(at->owner, &call->options) != OK;
    send_back(at, c);
}

static void logs_are_open(struct server *srv, bool ok)
{
    srv->durable.is_on = ok;
    round_end(srv, ok);
}

/* From now on the turns of that thread are transactions. */
static void net_begins(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    w->net.is_logging = true;
    send_back(at, c);
}

static void nets_have_begun(struct server *srv, bool ok)
{
    CHECK(ok);
    srv->durable.round->next = logs_are_open;
    round_send(srv, srv->shard_workers, srv->mesh.shard_count, log_opens);
}

static enum err make_manifest(struct server *srv, struct manifest *m)
{
    struct durable *d = &srv->durable;
    manifest_init(m, &srv->mem);
    if (d->has_recovery) {
        enum err e = recovery_seal(&d->recovery, m);
        if (e != OK) return e;
    } else {
        random_uuid(&m->server);
        m->hash_seed = srv->hash_seed;
        m->horizon = sequencer_now(&srv->mesh.sequencer);
    }
    uint32_t number = m->generation_count > 0 ? manifest_last(m)->number + 1 : 1;
    manifest_add_generation(m, number, srv->mesh.shard_count);
    return OK;
}

/* The first file of each shard; what the manifest does not name is out of the way. */
static enum err make_files(struct server *srv, struct durable_round *round)
{
    struct durable *d = &srv->durable;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        struct durable_call *call = &round->calls[i];
        struct manifest_file f = {.kind = SEGMENT_KIND_EFFECTS,
                                  .generation = manifest_last(&d->manifest)->number,
                                  .shard = i,
                                  .number = 1};
        random_uuid(&f.uuid);
        d->last_number[i] = 1;
        if (durable_path(srv, &f, call->path) != OK || aof_prepare(call->path) != OK) return ERR_IO;
        manifest_add_file(&d->manifest, &f);
        call->options = (struct aof_options){.kind = f.kind,
                                             .generation = f.generation,
                                             .shard = i,
                                             .first_lsn = FIRST_LSN,
                                             .uuid = f.uuid};
    }
    return env_sync_directory(d->directory);
}

static enum err begin_generation(struct server *srv, struct durable_round *round)
{
    struct durable *d = &srv->durable;
    struct manifest m;
    enum err e = make_manifest(srv, &m);
    if (e == OK && d->has_recovery)
        manifest_remove_strangers(&d->recovery.manifest, d->directory);
    else if (e == OK)
        manifest_remove_strangers(&m, d->directory);
    if (d->has_manifest) manifest_deinit(&d->manifest);
    d->manifest = m;
    d->has_manifest = true;
    if (e == OK) e = make_files(srv, round);
    if (e == OK) e = durable_write(srv);
    if (e == OK && d->has_recovery) e = recovery_trim(&d->recovery);
    counter_set(&d->base_bytes, counter_read(&d->closed_bytes));
    return e;
}

bool durable_begin(struct server *srv, durable_done_fn *done)
{
    struct durable_round *round = round_make(srv, done);
    enum err e = begin_generation(srv, round);
    durable_forget_recovery(srv);
    if (e != OK) {
        log_warning("%s: the append only log cannot be begun", srv->durable.directory);
        mem_free(&srv->mem, round, round->bytes);
        srv->durable.round = NULL;
        return false;
    }
    round->next = nets_have_begun;
    round_send(srv, srv->net_workers, srv->mesh.net_count, net_begins);
    return true;
}

/* ---- the end ---- */

static void log_closes(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    c->run = call_is_back;
    if (w->durable.log)
        durable_close_log(w, c);
    else
        send_back(at, c);
}

static void logs_are_closed(struct server *srv, bool ok)
{
    srv->durable.is_on = false;
    srv->durable.is_resolving = false; /* up to lsns that the next log will not reach */
    round_end(srv, ok);
}

void durable_seal(struct server *srv, durable_done_fn *done)
{
    struct durable_round *round = round_make(srv, done);
    round->next = logs_are_closed;
    round_send(srv, srv->shard_workers, srv->mesh.shard_count, log_closes);
}

/* ---- while it runs ---- */

void durable_state_changed(struct server *srv)
{
    struct durable *d = &srv->durable;
    uint64_t failing = 0;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        enum aof_state state = durable_shard_state(&srv->shard_workers[i]->durable);
        failing += state == AOF_RETRYING || state == AOF_LOST;
    }
    counter_set(&d->failing, failing);
    bool is_refusing = srv->obstacles & OBSTACLE_LOG;
    if (is_refusing == (failing > 0)) return;
    if (failing > 0) {
        log_warning("Writes are refused (MISCONF) while the append only log cannot be written");
        obstacles_change(srv, OBSTACLE_LOG, 0, NULL);
    } else {
        log_notice("The append only log can be written again: writes are accepted");
        obstacles_change(srv, 0, OBSTACLE_LOG, NULL);
    }
}

const char *durable_why(const struct server *srv)
{
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        const struct durable_shard *d = &srv->shard_workers[i]->durable;
        enum aof_state state = durable_shard_state(d);
        if (state != AOF_RETRYING && state != AOF_LOST) continue;
        return atomic_load_explicit(&d->why, memory_order_relaxed);
    }
    return "Success"; /* it works again */
}

/* What is stable everywhere now will be durable everywhere when each log is durable up to here. R
 * is read behind the counter: who has a lower position is in the ledger, or over. */
static void begin_resolving(struct server *srv)
{
    struct durable *d = &srv->durable;
    uint64_t now = sequencer_now(&srv->mesh.sequencer);
    d->resolving_txid = MIN(now, ledger_lowest(&srv->mesh.ledger));
    if (d->resolving_txid <= atomic_load_explicit(&d->resolved_txid, memory_order_relaxed)) return;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        d->resolving_lsns[i] = counter_read(&srv->shard_workers[i]->durable.last_lsn);
    d->is_resolving = true;
}

void durable_cron(struct server *srv)
{
    struct durable *d = &srv->durable;
    if (!d->is_on) return;
    if (!d->is_resolving) begin_resolving(srv);
    if (!d->is_resolving) return;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        if (counter_read(&srv->shard_workers[i]->durable.durable_lsn) < d->resolving_lsns[i])
            return;
    atomic_store_explicit(&d->resolved_txid, d->resolving_txid, memory_order_relaxed);
    d->is_resolving = false;
}
