#include "server/import.h"

#include <stdio.h>

#include "base/log.h"
#include "persist/file.h"
#include "server/server.h"
#include "server/session_acl.h"
#include "server/stats.h"
#include "server/worker.h"

#define TELL_NS 5000000000ULL /* between two lines on the progress */

struct import_shard {
    struct call call;
    bool is_replaying;
};

static void fail(struct import *im, const char *why)
{
    if (!im->has_failed) snprintf(im->why, sizeof im->why, "%s", why);
    im->has_failed = true;
}

/* ---- which files ---- */

static bool add_source(struct server *srv, const char *directory, const char *name)
{
    struct import *im = &srv->import;
    if (im->file_count == im->file_capacity) {
        unsigned capacity = im->file_capacity ? 2 * im->file_capacity : 4;
        void *grown = mem_try_realloc(&srv->mem, im->files, im->file_capacity * sizeof *im->files,
                                      capacity * sizeof *im->files);
        if (!grown) return false;
        im->files = grown;
        im->file_capacity = capacity;
    }
    struct import_source *s = &im->files[im->file_count++];
    *s = (struct import_source){0};
    return file_path(s->path, directory, name) == OK;
}

static bool add_named(struct server *srv, const struct redis_aof_manifest *m)
{
    const char *directory = srv->config->appenddirname;
    bool ok = !m->has_base || add_source(srv, directory, m->base.name);
    for (unsigned i = 0; ok && i < m->increment_count; i++)
        ok = add_source(srv, directory, m->increments[i].name);
    return ok;
}

static bool read_manifest(struct server *srv, const char *path)
{
    struct import *im = &srv->import;
    struct redis_aof_manifest m;
    struct buf text = {.mem = &srv->mem};
    char why[REDIS_AOF_WHY_BYTES], line[IMPORT_WHY_BYTES];
    redis_aof_manifest_init(&m, &srv->mem);
    snprintf(why, sizeof why, "cannot be read");
    bool ok =
        env_read_file(path, &text, why) == OK && redis_aof_manifest_parse(&m, buf_view(&text), why);
    if (!ok) {
        snprintf(line, sizeof line, "%s: %s", path, why);
        fail(im, line);
    } else if (!add_named(srv, &m)) {
        ok = false;
        fail(im, "the names of the append only files are too long");
    }
    buf_clear(&text);
    redis_aof_manifest_deinit(&m);
    return ok;
}

/* IMPORT_STARTED: they are known. */
static enum import_begin find_files(struct server *srv)
{
    struct import *im = &srv->import;
    const struct config *c = srv->config;
    char name[ENV_PATH_BYTES_MAX], path[ENV_PATH_BYTES_MAX];
    bool exists = false, is_single = false;
    snprintf(name, sizeof name, "%s.manifest", c->appendfilename);
    if (file_path(path, c->appenddirname, name) != OK || env_file_exists(path, &exists) != OK ||
        (!exists && env_file_exists(c->appendfilename, &is_single) != OK)) {
        fail(im, "cannot find out whether there is an append only file");
        return IMPORT_FAILED;
    }
    if (exists) return read_manifest(srv, path) ? IMPORT_STARTED : IMPORT_FAILED;
    if (!is_single) return IMPORT_NOTHING;
    if (add_source(srv, ".", c->appendfilename)) return IMPORT_STARTED;
    fail(im, "the name of the append only file is too long");
    return IMPORT_FAILED;
}

/* Whether a file begins with an RDB part; adds its size to the total. */
static bool begins_with_rdb(struct import *im, const struct import_source *s)
{
    static const char magic[] = "REDIS";
    char head[sizeof magic - 1];
    struct env_file f;
    uint64_t size;
    size_t got = 0;
    bool ok = env_file_open(&f, s->path, ENV_OPEN_READ) == OK && env_file_size(&f, &size) == OK &&
              env_file_read(&f, 0, head, sizeof head, &got) == OK;
    if (ok) counter_add(&im->total_bytes, size);
    env_file_close(&f);
    if (!ok) fail(im, "an append only file that is named cannot be read: see above");
    return ok && got == sizeof head && memcmp(head, magic, sizeof head) == 0;
}

/* ---- deadlines stand still ---- */

static void end(struct server *srv);
static void shards_are_set(struct server *srv);

static void shard_is_set(struct thread *at, UNUSED struct call *c)
{
    struct server *srv = at->owner;
    if (--srv->import.busy_count == 0) shards_are_set(srv);
}

static void shard_is_told(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    shard_set_replaying(&w->shard, container_of(c, struct import_shard, call)->is_replaying);
    c->run = shard_is_set;
    thread_call(at, w->server->thread.id, c);
}

static void set_shards(struct server *srv, bool is_replaying)
{
    struct import *im = &srv->import;
    im->busy_count = srv->mesh.shard_count;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        im->shards[i] = (struct import_shard){.is_replaying = is_replaying};
        im->shards[i].call.run = shard_is_told;
        thread_call(&srv->thread, srv->mesh.shard_threads[i]->id, &im->shards[i].call);
    }
}

/* ---- commands ---- */

/* Clients that come meanwhile get errors of their own. */
static uint64_t error_count(const struct server *srv)
{
    struct stats_error errors[STATS_ERRORS_MAX];
    uint64_t sum = 0;
    for (uint32_t i = 0, n = stats_read_errors(srv, errors); i < n; i++) {
        bool is_of_others = !strcmp(errors[i].name, "LOADING") || !strcmp(errors[i].name, "NOAUTH");
        if (!is_of_others) sum += errors[i].count;
    }
    return sum;
}

static void wake(void *context)
{
    struct server *srv = context;
    env_wake(NULL, srv->thread.loop);
}

struct import_adopting {
    struct call call;
    int fd;
};

static void adopted(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    mem_free(&srv->mem, container_of(c, struct import_adopting, call),
             sizeof(struct import_adopting));
}

static void adopt(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    int fd = container_of(c, struct import_adopting, call)->fd;
    struct session *s = session_of(netloop_adopt(&w->net, fd));
    session_acl_trust(s);
    s->is_no_evict = true;
    c->run = adopted;
    thread_call(at, w->server->thread.id, c);
}

/* A connection to net thread 0; the other end is *fd. */
static bool connect_here(struct server *srv, int *fd)
{
    int fds[2];
    if (env_socket_pair(fds) != OK) return false;
    struct import_adopting *a = mem_alloc(&srv->mem, sizeof *a);
    *a = (struct import_adopting){.call = {.run = adopt}, .fd = fds[0]};
    *fd = fds[1];
    srv->net_workers[0]->assigned_connections++;
    thread_call(&srv->thread, srv->net_workers[0]->thread.id, &a->call);
    return true;
}

static void start_feed(struct server *srv)
{
    struct import *im = &srv->import;
    struct import_feed_options o = {.files = im->files,
                                    .file_count = im->file_count,
                                    .may_be_cut = srv->config->aof_load_truncated,
                                    .database_count = srv->database_count,
                                    .router = &srv->router,
                                    .backend = srv->config->io_backend,
                                    .wake = wake,
                                    .context = srv};
    im->errors_before = error_count(srv);
    if (!connect_here(srv, &o.fd))
        fail(im, "cannot make a connection for the append only file");
    else if (import_feed_start(&im->feed, &o))
        im->is_feeding = true;
    else
        fail(im, im->feed.why);
    if (!im->is_feeding) set_shards(srv, false);
}

static void feed_is_over(struct server *srv)
{
    struct import *im = &srv->import;
    uint64_t errors = error_count(srv) - im->errors_before;
    import_feed_join(&im->feed);
    im->is_feeding = false;
    if (im->feed.why[0]) fail(im, im->feed.why);
    if (im->feed.cut[0]) log_warning("%s", im->feed.cut);
    if (errors)
        log_warning("%llu commands of the append only file were answered with an error",
                    (unsigned long long)errors);
    set_shards(srv, false);
}

/* ---- the way of an import ---- */

static void base_is_loaded(struct server *srv, bool ok)
{
    struct import *im = &srv->import;
    if (!ok) fail(im, srv->loader.why);
    im->files[0].offset = srv->loader.end_offset;
    if (im->has_failed)
        set_shards(srv, false);
    else
        start_feed(srv);
}

static void shards_are_set(struct server *srv)
{
    struct import *im = &srv->import;
    if (!im->shards[0].is_replaying) {
        end(srv);
        return;
    }
    bool has_rdb = begins_with_rdb(im, &im->files[0]);
    for (unsigned i = 1; i < im->file_count && !im->has_failed; i++)
        if (begins_with_rdb(im, &im->files[i])) fail(im, "an increment begins with an RDB part");
    if (im->has_failed) {
        set_shards(srv, false);
    } else if (!has_rdb) {
        start_feed(srv);
    } else if (loader_start_file(srv, im->files[0].path, base_is_loaded) != LOADER_STARTED) {
        fail(im, srv->loader.why);
        set_shards(srv, false);
    }
}

static void end(struct server *srv)
{
    struct import *im = &srv->import;
    double seconds = (double)(env_now_ns() - im->started_ns) / 1e9;
    if (im->has_failed)
        log_warning("Loading the append only file of a Redis server failed: %s", im->why);
    else
        log_notice("DB loaded from the append only file of a Redis server: %.3f seconds: %llu "
                   "commands behind the base. It is not used any more.",
                   seconds, (unsigned long long)atomic_load(&im->feed.commands));
    mem_free(&srv->mem, im->shards, srv->mesh.shard_count * sizeof *im->shards);
    mem_free(&srv->mem, im->files, im->file_capacity * sizeof *im->files);
    im->is_running = false;
    counter_set(&im->is_shown, 0);
    im->done(srv, !im->has_failed);
}

/* ---- from outside ---- */

enum import_begin import_start(struct server *srv, import_done_fn *done)
{
    struct import *im = &srv->import;
    CHECK(!im->is_running);
    *im = (struct import){.done = done, .started_ns = env_now_ns(), .told_ns = env_now_ns()};
    enum import_begin begin = find_files(srv);
    if (begin != IMPORT_STARTED) {
        mem_free(&srv->mem, im->files, im->file_capacity * sizeof *im->files);
        return begin;
    }
    log_notice("Loading the append only file of a Redis server: %s and %u more", im->files[0].path,
               im->file_count - 1);
    im->is_running = true;
    counter_set(&im->start_s, (uint64_t)(env_wall_us() / 1000000));
    counter_set(&im->is_shown, 1);
    im->shards = mem_alloc_zeroed(&srv->mem, srv->mesh.shard_count * sizeof *im->shards);
    set_shards(srv, true);
    return IMPORT_STARTED;
}

void import_cancel(struct server *srv)
{
    struct import *im = &srv->import;
    if (!im->is_running) return;
    im->is_cancelled = true;
    fail(im, "it was given up");
    loader_cancel(srv);
    if (im->is_feeding) atomic_store_explicit(&im->feed.must_end, true, memory_order_relaxed);
}

void import_step(struct server *srv)
{
    struct import *im = &srv->import;
    if (likely(!im->is_feeding)) return;
    if (atomic_load_explicit(&im->feed.is_over, memory_order_acquire)) {
        feed_is_over(srv);
        return;
    }
    uint64_t bytes = atomic_load_explicit(&im->feed.bytes_read, memory_order_relaxed),
             total = counter_read(&im->total_bytes);
    counter_set(&im->loaded_bytes, bytes + im->files[0].offset);
    if (srv->thread.now_ns - im->told_ns < TELL_NS) return;
    im->told_ns = srv->thread.now_ns;
    log_notice("Loading the append only file: %.0f %% of %.2f GB",
               total ? 100.0 * (double)counter_read(&im->loaded_bytes) / (double)total : 100.0,
               (double)total / 1e9);
}
