#include "server/replay.h"

#include <stdio.h>

#include "base/log.h"
#include "server/server.h"

#define TELL_NS 5000000000ULL /* between two lines on the progress */

static uint64_t read_bytes(const struct replay *p)
{
    return atomic_load_explicit(&p->recovery->bytes_read, memory_order_relaxed) - p->bytes_before;
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

/* ---- phases ---- */

static void reader_is_home(struct thread *at, struct call *c);

/* To all readers at once. */
static void send_readers(struct server *srv, enum replay_phase phase)
{
    struct replay *p = &srv->replay;
    p->phase = phase;
    p->busy_count = srv->mesh.shard_count;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        p->readers[i].phase = phase;
        replay_reader_send(&p->readers[i]);
    }
}

/* The next generation; false if there is none. */
static bool choose_generation(struct server *srv)
{
    struct replay *p = &srv->replay;
    const struct recovery *r = p->recovery;
    unsigned first = p->next_stream, end = first;
    if (p->has_failed || first >= r->stream_count) return false;
    while (end < r->stream_count && r->streams[end].generation == r->streams[first].generation)
        end++;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        p->readers[i].first_stream = first;
        p->readers[i].end_stream = end;
    }
    p->next_stream = end;
    return true;
}

static void tell_end(const struct server *srv)
{
    const struct replay *p = &srv->replay;
    uint64_t records = 0, commands = 0, resumed = 0, bytes = read_bytes(p);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        records += counter_read(&p->readers[i].records);
        commands += counter_read(&p->readers[i].commands);
        resumed += counter_read(&p->readers[i].resumed);
    }
    double seconds = (double)(env_now_ns() - p->started_ns) / 1e9;
    log_notice("DB loaded from append only file: %.3f seconds: %llu commands in %llu records, %llu "
               "bytes (%.2f GB/s)",
               seconds, (unsigned long long)commands, (unsigned long long)records,
               (unsigned long long)bytes, gigabytes(bytes) / MAX(seconds, 1e-9));
    if (resumed)
        log_notice("%llu commands of transactions waited for locks when a log ended: they have "
                   "been run",
                   (unsigned long long)resumed);
}

static void finish(struct server *srv)
{
    struct replay *p = &srv->replay;
    if (p->has_failed)
        log_warning("Loading the append only file failed: %s", p->why);
    else
        tell_end(srv);
    mem_free(&srv->mem, p->readers, srv->mesh.shard_count * sizeof *p->readers);
    p->is_running = false;
    counter_set(&p->is_shown, 0);
    p->done(srv, !p->has_failed);
}

static void reader_is_home(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct replay *p = &srv->replay;
    const struct replay_reader *r = container_of(c, struct replay_reader, call);
    if (r->has_failed && !p->has_failed) {
        p->has_failed = true;
        snprintf(p->why, sizeof p->why, "%s", r->why);
    }
    p->needs_base |= r->needs_base;
    if (--p->busy_count > 0) return;
    if (p->phase == REPLAY_END)
        finish(srv);
    else if (choose_generation(srv))
        send_readers(srv, REPLAY_READ);
    else
        send_readers(srv, REPLAY_END);
}

/* ---- from outside ---- */

void replay_start(struct server *srv, struct recovery *r, replay_done_fn *done)
{
    struct replay *p = &srv->replay;
    CHECK(!p->is_running && r->manifest.hash_seed == srv->hash_seed);
    *p = (struct replay){.is_running = true,
                         .recovery = r,
                         .done = done,
                         .started_ns = env_now_ns(),
                         .told_ns = env_now_ns(),
                         .bytes_before = atomic_load(&r->bytes_read)};
    uint64_t total = 0;
    for (unsigned i = 0; i < r->manifest.file_count; i++) total += r->files[i].end;
    counter_set(&p->total_bytes, total);
    counter_set(&p->start_s, (uint64_t)(env_wall_us() / 1000000));
    counter_set(&p->is_shown, 1);
    p->readers = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *p->readers);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        p->readers[i].server = srv;
        p->readers[i].shard = i;
        p->readers[i].home = reader_is_home;
    }
    send_readers(srv, REPLAY_BEGIN);
}

void replay_cancel(struct server *srv)
{
    struct replay *p = &srv->replay;
    if (!p->is_running || p->has_failed) return;
    p->is_cancelled = p->has_failed = true;
    snprintf(p->why, sizeof p->why, "it was given up");
    atomic_store_explicit(&p->must_end, true, memory_order_relaxed);
}

void replay_step(struct server *srv)
{
    struct replay *p = &srv->replay;
    if (likely(!p->is_running)) return;
    uint64_t bytes = read_bytes(p), total = counter_read(&p->total_bytes);
    counter_set(&p->loaded_bytes, bytes);
    if (srv->thread.now_ns - p->told_ns < TELL_NS) return;
    p->told_ns = srv->thread.now_ns;
    double seconds = (double)(srv->thread.now_ns - p->started_ns) / 1e9;
    double left = bytes && total > bytes ? seconds * (double)(total - bytes) / (double)bytes : 0;
    log_notice("Loading the append only file: %.0f %% of %.2f GB, %.2f GB/s, some %.0f s left",
               total ? 100.0 * (double)bytes / (double)total : 100.0, gigabytes(total),
               gigabytes(bytes) / seconds, left);
}
