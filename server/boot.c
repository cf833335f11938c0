#include "server/boot.h"

#include <stdio.h>

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"

static void fail(struct server *srv)
{
    srv->has_failed_to_load = true;
    srv->should_stop = true;
}

static void serve(struct server *srv)
{
    saver_forget_changes(srv);
    srv->is_loaded = true;
    if (srv->obstacles & OBSTACLE_LOADING) obstacles_change(srv, 0, OBSTACLE_LOADING, NULL);
}

/* ---- a snapshot ---- */

static void snapshot_is_loaded(struct server *srv, bool ok)
{
    if (srv->loader.is_cancelled) return; /* the server has been told to stop */
    if (ok) {
        serve(srv);
        return;
    }
    log_warning("The server does not start with a part of its data: bring back a good %s, or "
                "move it away to start empty.",
                saver_path(srv));
    fail(srv);
}

/* ---- the log ---- */

static void log_has_begun(struct server *srv, bool ok)
{
    if (ok)
        serve(srv);
    else
        fail(srv);
}

static void begin_log(struct server *srv)
{
    if (!durable_begin(srv, log_has_begun)) fail(srv);
}

static void bases_are_written(struct server *srv, bool ok)
{
    if (srv->rewriter.is_cancelled) return;
    if (!ok) log_warning("The append only log cannot be begun with what was loaded");
    log_has_begun(srv, ok);
}

static void log_is_replayed(struct server *srv, bool ok)
{
    if (srv->replay.is_cancelled) return;
    if (ok && srv->replay.needs_base) {
        rewriter_begin_log(srv, bases_are_written);
        return;
    }
    if (ok) {
        begin_log(srv);
        return;
    }
    log_warning("The server does not start with a part of its data: see docs/PERSISTENCE.md, and "
                "`shoal-aof check %s/" MANIFEST_NAME "`",
                srv->durable.directory);
    fail(srv);
}

/* ---- the append-only file of a Redis server ---- */

static void file_is_imported(struct server *srv, bool ok)
{
    if (srv->import.is_cancelled) return;
    if (ok) {
        rewriter_begin_log(srv, bases_are_written);
        return;
    }
    log_warning("The server does not start with a part of its data: repair the file with "
                "redis-check-aof, or move it away to start empty.");
    fail(srv);
}

static void begin_without_log(struct server *srv)
{
    switch (import_start(srv, file_is_imported)) {
    case IMPORT_STARTED:
        return;
    case IMPORT_NOTHING:
        begin_log(srv);
        return;
    case IMPORT_FAILED:
        log_warning("%s", srv->import.why);
        fail(srv);
        return;
    }
}

/* ---- the order ---- */

static void hold_clients(struct server *srv)
{
    srv->obstacles = OBSTACLE_LOADING;
    for (uint16_t i = 0; i < srv->worker_count; i++) srv->workers[i].obstacles = OBSTACLE_LOADING;
}

bool boot_prepare(struct server *srv, char *why)
{
    if (srv->config->appendonly) {
        hold_clients(srv);
        return true;
    }
    enum loader_begin begun = loader_start(srv, false, snapshot_is_loaded);
    if (begun == LOADER_FAILED) snprintf(why, SERVER_WHY_BYTES, "%s", srv->loader.why);
    if (begun == LOADER_STARTED) hold_clients(srv);
    return begun != LOADER_FAILED;
}

void boot_begin(struct server *srv)
{
    if (!srv->config->appendonly && loader_is_idle(&srv->loader))
        serve(srv);
    else if (srv->config->appendonly && srv->durable.has_recovery)
        replay_start(srv, &srv->durable.recovery, log_is_replayed);
    else if (srv->config->appendonly)
        begin_without_log(srv);
}
