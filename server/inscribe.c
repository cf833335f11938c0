#include "server/inscribe.h"

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"

#define SCAN_SLOTS 64 /* between two looks at the clock */

/* ---- on the shard ---- */

struct noting {
    struct shard *sh;
    struct inscribe_shard *part;
};

static void note_key(void *context, struct entry *e, uint64_t position)
{
    UNUSED uint64_t any = position;
    struct noting *n = context;
    struct bytes name = entry_key(e);
    struct key k = {.name = name, .hash = bytes_hash(name, n->sh->keys.seed), .db = n->part->db};
    journal_note(n->sh, &k);
    n->part->keys++;
}

/* False: all keys have been noted. */
static bool note_some(struct shard *sh, struct inscribe_shard *p)
{
    struct noting n = {sh, p};
    p->cursor = keyspace_scan(sh, p->db, p->cursor, SCAN_SLOTS, note_key, &n);
    journal_flush(sh);
    return p->cursor != 0 || ++p->db < sh->keys.database_count;
}

static void shard_is_through(struct thread *at, struct call *c)
{
    UNUSED const struct call *any = c;
    struct server *srv = at->owner;
    srv->inscribe.busy_count--;
}

static bool must_end(const struct inscribe_shard *p)
{
    return atomic_load_explicit(&p->must_end, memory_order_relaxed);
}

static void inscribe_slice(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct shard *sh = &w->shard;
    struct inscribe_shard *p = container_of(c, struct inscribe_shard, call);
    uint64_t end_ns = env_now_ns() + SHARD_SLICE_US * 1000ULL;
    bool more = true;
    do {
        p->has_failed = must_end(p) || !sh->journal.is_open || sh->journal.has_failed;
        more = !p->has_failed && (durable_is_stuffed(w) || note_some(sh, p));
    } while (more && !durable_is_stuffed(w) && env_now_ns() < end_ns);
    p->last_lsn = sh->journal.last_lsn;
    if (!more) c->run = shard_is_through;
    thread_call(at, more ? at->id : w->server->thread.id, c);
}

/* ---- on the main thread ---- */

void inscribe_start(struct server *srv, inscribe_done_fn *done)
{
    struct inscribe *in = &srv->inscribe;
    CHECK(!in->is_running);
    uint16_t count = srv->mesh.shard_count;
    *in = (struct inscribe){
        .is_running = true, .done = done, .busy_count = count, .started_ns = env_now_ns()};
    in->shards = mem_alloc_zeroed(&srv->mem, count * sizeof *in->shards);
    for (uint16_t i = 0; i < count; i++) {
        in->shards[i].shard = i;
        in->shards[i].call.run = inscribe_slice;
        thread_call(&srv->thread, srv->mesh.shard_threads[i]->id, &in->shards[i].call);
    }
}

void inscribe_cancel(struct server *srv)
{
    struct inscribe *in = &srv->inscribe;
    if (!in->is_running) return;
    in->is_cancelled = in->has_failed = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        atomic_store_explicit(&in->shards[i].must_end, true, memory_order_relaxed);
}

/* With `no` nobody has asked for more than that the system has it. */
static bool is_durable(const struct server *srv, const struct inscribe_shard *p)
{
    const struct durable_shard *d = &srv->shard_workers[p->shard]->durable;
    if (counter_read(&d->last_lsn) < p->last_lsn) return false;
    if (srv->config->appendfsync == CONFIG_FSYNC_NO) return counter_read(&d->buffered_bytes) == 0;
    return counter_read(&d->durable_lsn) >= p->last_lsn;
}

/* The present generation holds everything now. */
static bool forget_older(struct server *srv)
{
    struct manifest *m = &srv->durable.manifest;
    uint32_t present = manifest_last(m)->number;
    if (m->file_count == 0 || m->files[0].generation == present) return true;
    for (unsigned i = m->file_count; i > 0; i--)
        if (m->files[i - 1].generation != present) manifest_remove_file(m, i - 1);
    manifest_drop_empty_generations(m);
    if (durable_write(srv) != OK) return false;
    durable_remove_strangers(srv);
    return true;
}

void inscribe_step(struct server *srv)
{
    struct inscribe *in = &srv->inscribe;
    if (likely(!in->is_running) || in->busy_count > 0) return;
    uint64_t keys = 0;
    bool all_durable = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        in->has_failed |= in->shards[i].has_failed;
        all_durable &= is_durable(srv, &in->shards[i]);
        keys += in->shards[i].keys;
    }
    if (!all_durable && !in->has_failed) return;
    mem_free(&srv->mem, in->shards, srv->mesh.shard_count * sizeof *in->shards);
    in->is_running = false;
    in->has_failed = in->has_failed || !forget_older(srv);
    if (!in->has_failed)
        log_notice("%llu keys were written into the append only log: %.3f seconds",
                   (unsigned long long)keys, (double)(env_now_ns() - in->started_ns) / 1e9);
    in->done(srv, !in->has_failed);
}
