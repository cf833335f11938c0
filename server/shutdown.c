#include "server/shutdown.h"

#include <stdio.h>

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- ends ---- */

static void let_go(struct server *srv)
{
    srv->shutdown.state = SHUTDOWN_IDLE;
    obstacles_change(srv, 0, OBSTACLE_HELD, NULL);
}

/* With the error, or +OK. */
static void answer(struct server *srv, const char *error)
{
    struct main_request *m = srv->shutdown.asker;
    srv->shutdown.asker = NULL;
    if (!m) return;
    if (error)
        reply_error(&m->reply, "%s", error);
    else
        reply_ok(&m->reply);
    server_answer(srv, m);
}

static void fail(struct server *srv)
{
    bool is_reload = srv->shutdown.is_reload;
    let_go(srv);
    if (!is_reload) {
        log_warning("Errors trying to shut down the server: see above. It goes on.");
        answer(srv, "ERR Errors trying to SHUTDOWN. Check logs.");
    } else {
        answer(srv, srv->shutdown.words & RELOAD_LOG
                        ? "ERR Error trying to load the AOF files, check server logs."
                        : "ERR Error trying to load the RDB dump, check server logs.");
    }
}

static void stop(struct server *srv)
{
    struct main_request *m = srv->shutdown.asker;
    srv->shutdown.asker = NULL;
    srv->shutdown.state = SHUTDOWN_IDLE;
    server_request_stop(srv);
    if (m) server_answer(srv, m); /* without a reply: its connection is about to be closed */
}

/* ---- DEBUG RELOAD: loading again ---- */

static void reload_is_loaded(struct server *srv, bool ok)
{
    if (!ok) {
        fail(srv);
        return;
    }
    saver_forget_changes(srv);
    let_go(srv);
    answer(srv, NULL);
}

static void reload_is_empty(struct server *srv)
{
    srv->shutdown.state = SHUTDOWN_LOADING;
    bool merge = srv->shutdown.words & RELOAD_MERGE;
    if (loader_start(srv, merge, reload_is_loaded) == LOADER_STARTED) return;
    log_warning("DEBUG RELOAD: %s", srv->loader.why);
    fail(srv);
}

static void reload_is_flushed(struct server *srv)
{
    if (functions_flush(&srv->scripts.functions)) {
        reload_is_empty(srv);
        return;
    }
    log_warning("DEBUG RELOAD: there is no memory");
    fail(srv);
}

static void reload_load(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    s->state = SHUTDOWN_EMPTYING;
    if (s->words & RELOAD_NOFLUSH)
        reload_is_empty(srv);
    else
        everywhere_run(&s->emptying, srv, INTERNAL_EMPTY, reload_is_flushed);
}

/* ---- DEBUG LOADAOF ---- */

static void log_free(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    if (s->log) recovery_close(s->log);
    mem_free(&srv->mem, s->log, sizeof *s->log);
    mem_free(&srv->mem, s->steps_at_rest, srv->mesh.shard_count * sizeof *s->steps_at_rest);
    s->log = NULL;
    s->steps_at_rest = NULL;
}

static void log_is_replayed(struct server *srv, bool ok)
{
    log_free(srv);
    reload_is_loaded(srv, ok);
}

static void log_is_to_be_replayed(struct server *srv)
{
    srv->shutdown.state = SHUTDOWN_LOADING;
    replay_start(srv, srv->shutdown.log, log_is_replayed);
}

/* False: a line has been logged. */
static bool log_scan(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    char why[RECOVERY_WHY_BYTES];
    struct recovery_options options = {.mem = &srv->mem, .directory = srv->durable.directory};
    s->log = mem_alloc(&srv->mem, sizeof *s->log);
    enum err e = recovery_open(s->log, &options, why);
    for (unsigned i = 0; e == OK && i < s->log->stream_count; i++) {
        e = recovery_scan(s->log, i, &srv->mem);
        snprintf(why, sizeof why, "%s", s->log->streams[i].why);
    }
    if (e == OK)
        recovery_resolve(s->log);
    else
        log_warning("DEBUG LOADAOF: %s", why);
    return e == OK;
}

/* Two steps after everything has run, what the shards tell of their logs is true. */
static bool logs_are_written(struct server *srv)
{
    bool ok = true;
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++) {
        const struct worker *w = srv->shard_workers[i];
        bool is_known = counter_read(&w->steps) >= srv->shutdown.steps_at_rest[i] + 2;
        if (!is_known) env_wake(srv->thread.loop, w->thread.loop);
        ok = ok && is_known && counter_read(&w->durable.buffered_bytes) == 0 &&
             counter_read(&w->durable.is_syncing) == 0;
    }
    return ok;
}

static void log_read(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    s->state = SHUTDOWN_EMPTYING;
    if (log_scan(srv)) {
        everywhere_run(&s->emptying, srv, INTERNAL_EMPTY, log_is_to_be_replayed);
    } else {
        log_free(srv);
        fail(srv);
    }
}

static void log_step(struct server *srv)
{
    if (logs_are_written(srv)) log_read(srv);
}

static void shards_are_at_rest(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    s->steps_at_rest = mem_alloc(&srv->mem, srv->mesh.shard_count * sizeof *s->steps_at_rest);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        s->steps_at_rest[i] = counter_read(&srv->shard_workers[i]->steps);
    s->state = SHUTDOWN_SYNCING;
}

static void log_reload(struct server *srv)
{
    srv->shutdown.state = SHUTDOWN_RESTING;
    if (srv->durable.is_on) {
        everywhere_run(&srv->shutdown.emptying, srv, INTERNAL_REST, shards_are_at_rest);
    } else if (srv->durable.has_manifest) { /* of a log that is closed now */
        log_read(srv);
    } else {
        log_warning("DEBUG LOADAOF: there has been no append only log since the start");
        fail(srv);
    }
}

/* ---- saving ---- */

static void is_saved(struct server *srv, bool ok)
{
    struct shutdown *s = &srv->shutdown;
    if (!ok && s->is_reload)
        fail(srv);
    else if (s->is_reload)
        reload_load(srv);
    else if (ok || s->words & SHUTDOWN_FORCE)
        stop(srv);
    else
        fail(srv);
}

/* A save that was under way is given up: it lacks what came after its cut. */
void shutdown_step(struct server *srv)
{
    struct shutdown *s = &srv->shutdown;
    if (s->state == SHUTDOWN_SYNCING) log_step(srv);
    if (s->state != SHUTDOWN_WAITING || !saver_is_idle(&srv->saver)) return;
    if (!rewriter_is_idle(&srv->rewriter)) return;
    if (s->is_reload && s->words & RELOAD_LOG) {
        log_reload(srv);
        return;
    }
    if (s->is_reload && s->words & RELOAD_NOSAVE) {
        reload_load(srv);
        return;
    }
    if (!s->is_reload) log_notice("Saving the final RDB snapshot before exiting.");
    s->state = SHUTDOWN_SAVING;
    if (!saver_start(srv, is_saved)) is_saved(srv, false);
}

static void is_held(struct server *srv)
{
    if (srv->shutdown.state == SHUTDOWN_HOLDING) srv->shutdown.state = SHUTDOWN_WAITING;
}

static void begin(struct server *srv, unsigned words, struct main_request *asker, bool is_reload)
{
    struct shutdown *s = &srv->shutdown;
    s->state = SHUTDOWN_HOLDING;
    s->words = words;
    s->asker = asker;
    s->is_reload = is_reload;
    saver_cancel(srv);
    rewriter_cancel(srv);
    obstacles_change(srv, OBSTACLE_HELD, 0, is_held);
}

static bool should_save(const struct server *srv, unsigned words)
{
    if (srv->loader.is_loading || srv->obstacles & OBSTACLE_LOADING) return false;
    if (words & SHUTDOWN_NOSAVE) return false;
    return words & SHUTDOWN_SAVE || srv->config->save_count > 0;
}

void shutdown_begin(struct server *srv, unsigned words, struct main_request *asker)
{
    struct shutdown *s = &srv->shutdown;
    if (should_save(srv, words) && s->state == SHUTDOWN_IDLE) {
        begin(srv, words, asker, false);
    } else if (s->state == SHUTDOWN_IDLE || !should_save(srv, words)) {
        if (!s->asker) s->asker = asker;
        stop(srv);
    } else if (s->is_reload) { /* what it does to the data is soon over */
        log_warning("DEBUG RELOAD or LOADAOF is under way: ask again");
        if (asker) {
            reply_error(&asker->reply, "ERR Errors trying to SHUTDOWN. Check logs.");
            server_answer(srv, asker);
        }
    }
}

void reload_begin(struct server *srv, unsigned words, struct main_request *asker)
{
    if (srv->shutdown.state == SHUTDOWN_IDLE) {
        begin(srv, words, asker, true);
        return;
    }
    reply_error(&asker->reply, "ERR Error trying to load the RDB dump, check server logs.");
    server_answer(srv, asker);
}
