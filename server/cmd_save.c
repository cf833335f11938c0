/* cmd_save.c: SAVE, BGSAVE, LASTSAVE, SHUTDOWN, DEBUG RELOAD: what the main thread does to the data
 * as a whole. */

#include "base/log.h"
#include "server/cmd_admin.h"
#include "server/families.h"
#include "server/server.h"
#include "server/worker.h"

static struct main_request *request_of(struct request *rq)
{
    return container_of(rq, struct main_request, request);
}

/* True: the error has been written. */
static bool refuse_second_save(const struct server *srv, struct reply *out)
{
    if (saver_is_idle(&srv->saver)) return false;
    reply_error(out, "ERR Background save already in progress");
    return true;
}

/* True: the error has been written. A shard is walked for one of them at a time. */
static bool refuse_while_rewriting(const struct server *srv, struct reply *out)
{
    if (rewriter_is_idle(&srv->rewriter)) return false;
    reply_error(out, "ERR Another child process is active (AOF?): can't BGSAVE right now. Use "
                     "BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.");
    return true;
}

/* The one that waits for the end of a SAVE: at most one, as saves are. */
static void answer_save(struct server *srv, bool ok)
{
    struct main_request *m = srv->saver.asker;
    srv->saver.asker = NULL;
    if (ok)
        reply_ok(&m->reply);
    else
        reply_error(&m->reply, "ERR");
    server_answer(srv, m);
}

static enum err cmd_save(struct server *srv, struct request *rq, struct reply *out)
{
    if (refuse_second_save(srv, out) || refuse_while_rewriting(srv, out)) return OK;
    if (!saver_start(srv, answer_save)) {
        reply_error(out, "ERR");
        return OK;
    }
    srv->saver.asker = request_of(rq);
    request_of(rq)->is_deferred = true;
    return OK;
}

/* The reply leaves when every shard is cut: what the client writes after it is not in the file. */
static enum err cmd_bgsave(struct server *srv, struct request *rq, struct reply *out)
{
    bool is_schedule = rq->argc == 2 && bytes_equal_nocase(rq->argv[1], "schedule");
    if (rq->argc > 1 && !is_schedule) return ERR_SYNTAX;
    if (refuse_second_save(srv, out)) return OK;
    if (is_schedule && !rewriter_is_idle(&srv->rewriter)) {
        srv->rewriter.is_save_scheduled = true;
        reply_status(out, "Background saving scheduled");
        return OK;
    }
    if (refuse_while_rewriting(srv, out)) return OK;
    if (!saver_start(srv, NULL)) {
        reply_error(out, "ERR");
        return OK;
    }
    log_notice("Background saving started");
    srv->saver.asker = request_of(rq);
    request_of(rq)->is_deferred = true;
    return OK;
}

static enum err cmd_bgrewriteaof(struct server *srv, UNUSED struct request *rq, struct reply *out)
{
    struct rewriter *r = &srv->rewriter;
    if (counter_read(&r->is_running)) {
        reply_error(out, "ERR Background append only file rewriting already in progress");
    } else if (!saver_is_idle(&srv->saver) || !rewriter_is_idle(r)) {
        r->is_scheduled = true;
        counter_set(&r->scheduled, 1);
        reply_status(out, "Background append only file rewriting scheduled");
    } else if (rewriter_start(srv)) {
        reply_status(out, "Background append only file rewriting started");
    } else {
        reply_error(out, "ERR Can't execute an AOF background rewriting. Please check the server "
                         "logs for more information.");
    }
    return OK;
}

static enum err cmd_lastsave(struct session *s, UNUSED struct request *rq, struct reply *out)
{
    reply_i64(out, (int64_t)counter_read(&session_worker(s)->server->saver.last_save_s));
    return OK;
}

/* ---- the end ---- */

static bool shutdown_words_read(const struct request *rq, unsigned *out)
{
    static const char *const words[] = {"nosave", "save", "now", "force", "abort"};
    unsigned given = 0;
    for (uint32_t i = 1; i < rq->argc; i++) {
        unsigned w = 0;
        while (w < ARRAY_LEN(words) && !bytes_equal_nocase(rq->argv[i], words[w])) w++;
        if (w == ARRAY_LEN(words)) return false;
        given |= 1U << w;
    }
    bool is_contradiction = (given & SHUTDOWN_SAVE && given & SHUTDOWN_NOSAVE) ||
                            (given & SHUTDOWN_ABORT && given != SHUTDOWN_ABORT);
    *out = given;
    return !is_contradiction;
}

/* Success has no reply: the connection is closed. */
static enum err cmd_shutdown(struct server *srv, struct request *rq, struct reply *out)
{
    unsigned words;
    if (!shutdown_words_read(rq, &words)) return ERR_SYNTAX;
    if (words & SHUTDOWN_ABORT) {
        reply_error(out, "ERR No shutdown in progress.");
        return OK;
    }
    if (!(words & SHUTDOWN_NOSAVE) && scripts_are_busy(&srv->scripts)) {
        scripts_write_busy(&srv->scripts, out);
        return OK;
    }
    log_warning("User requested shutdown...");
    request_of(rq)->is_deferred = true;
    shutdown_begin(srv, words, request_of(rq));
    return OK;
}

/* ---- DEBUG RELOAD ---- */

enum err cmd_debug_reload(struct server *srv, struct request *rq, struct reply *out)
{
    static const char *const words[] = {"nosave", "noflush", "merge"};
    unsigned given = 0;
    for (uint32_t i = 2; i < rq->argc; i++) {
        unsigned w = 0;
        while (w < ARRAY_LEN(words) && !bytes_equal_nocase(rq->argv[i], words[w])) w++;
        if (w == ARRAY_LEN(words)) {
            reply_error(out,
                        "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
            return OK;
        }
        given |= 1U << w;
    }
    request_of(rq)->is_deferred = true;
    reload_begin(srv, given, request_of(rq));
    return OK;
}

enum err cmd_debug_loadaof(struct server *srv, struct request *rq, struct reply *out)
{
    if (rq->argc != 2) {
        reply_error(out,
                    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG "
                    "HELP.",
                    (int)MIN(rq->argv[1].size, (size_t)128), rq->argv[1].data);
        return OK;
    }
    request_of(rq)->is_deferred = true;
    reload_begin(srv, RELOAD_LOG, request_of(rq));
    return OK;
}

/* clang-format off */
#define SAVE_FLAGS (CMD_ADMIN | CMD_NO_SCRIPT | CMD_NO_ASYNC_LOADING)
static const char *const tips_lastsave[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {.name = "save", .on_main = cmd_save, .arity = 1, .plan = PLAN_MAIN, .flags = SAVE_FLAGS | CMD_NO_MULTI, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N): N keys in all databases", .summary = "Writes all data to a file and answers when it is there."},
    {.name = "bgsave", .on_main = cmd_bgsave, .arity = -1, .plan = PLAN_MAIN, .flags = SAVE_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Begins to write all data to a file."},
    {.name = "bgrewriteaof", .on_main = cmd_bgrewriteaof, .arity = 1, .plan = PLAN_MAIN, .flags = SAVE_FLAGS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Begins to write the append-only log anew, as short as it can be."},
    {.name = "lastsave", .on_net = cmd_lastsave, .arity = 1, .plan = PLAN_NET, .flags = CMD_LOADING | CMD_STALE | CMD_FAST, .acl = ACL_ADMIN | ACL_DANGEROUS, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(1)", .summary = "Tells when data was last saved, in seconds since 1970.", .tips = tips_lastsave},
    {.name = "shutdown", .on_main = cmd_shutdown, .arity = -1, .plan = PLAN_MAIN, .flags = CMD_ADMIN | CMD_NO_SCRIPT | CMD_LOADING | CMD_STALE | CMD_NO_MULTI | CMD_ALLOW_BUSY, .keys = KEYS_NONE,
     .since = "1.0.0", .group = "server", .complexity = "O(N) with a save: N keys in all databases", .summary = "Saves, if save points say so, and stops the server."},
};
/* clang-format on */
const struct command_family save_family = {"save", commands, ARRAY_LEN(commands)};
