#include "server/cmd_wait.h"

#include "base/text.h"
#include "server/server.h"
#include "server/session_wait.h"
#include "server/worker.h"

#define LOOK_MS 10

struct wait {
    struct session_wait wait;
    struct worker *worker;
    uint8_t resp;
    bool is_waitaof;
    /* ---- WAITAOF ---- */
    uint64_t *lsns;        /* by shard: what was written before */
    struct net_timer look; /* whether the logs are synced up to there */
};

/* No replica is connected. */
static void reply_counts(bool is_waitaof, bool is_local, struct reply *out)
{
    if (is_waitaof) {
        reply_array(out, 2);
        reply_i64(out, is_local);
    }
    reply_i64(out, 0);
}

/* ---- the log ---- */

static size_t lsns_bytes(const struct worker *w)
{
    return w->server->mesh.shard_count * sizeof(uint64_t);
}

/* The command runs behind all earlier replies of its connection, and a reply leaves its shard only
 * after the shard has told how far its log goes. */
static void note_lsns(const struct worker *w, uint64_t *lsns)
{
    for (uint16_t i = 0; i < w->server->mesh.shard_count; i++)
        lsns[i] = counter_read(&w->server->shard_workers[i]->durable.last_lsn);
}

static bool is_synced(const struct worker *w, const uint64_t *lsns)
{
    for (uint16_t i = 0; i < w->server->mesh.shard_count; i++)
        if (counter_read(&w->server->shard_workers[i]->durable.durable_lsn) < lsns[i]) return false;
    return true;
}

/* ---- waiting ---- */

static bool is_local(const struct wait *wait)
{
    return wait->lsns && is_synced(wait->worker, wait->lsns);
}

static void answer(struct wait *wait, bool with_error)
{
    struct netloop *nl = &wait->worker->net;
    struct reply out = netloop_reply(nl, wait->resp);
    if (with_error)
        session_wait_reply_error(&wait->wait, &out);
    else
        reply_counts(wait->is_waitaof, is_local(wait), &out);
    session_wait_answer(&wait->wait, &out);
    netloop_reply_drop(nl, &out);
}

static void wait_free(struct wait *wait)
{
    struct netloop *nl = &wait->worker->net;
    wheel_disarm(&nl->wheel, &wait->look.timer);
    if (wait->lsns) mem_free(&nl->mem, wait->lsns, lsns_bytes(wait->worker));
    mem_free(&nl->mem, wait, sizeof *wait);
}

static void on_end(struct session_wait *w, enum session_wait_end why)
{
    struct wait *wait = container_of(w, struct wait, wait);
    if (why != SESSION_WAIT_CLOSED) answer(wait, why == SESSION_WAIT_ERROR);
    wait_free(wait);
}

static void on_look(struct netloop *nl, struct net_timer *t)
{
    struct wait *wait = container_of(t, struct wait, look);
    if (is_local(wait)) {
        answer(wait, false);
        wait_free(wait);
        return;
    }
    wheel_arm(&nl->wheel, &t->timer, nl->wheel.now_ms + LOOK_MS);
}

static struct wait *wait_make(struct session *s, bool is_waitaof)
{
    struct worker *w = session_worker(s);
    struct wait *wait = mem_alloc(&w->net.mem, sizeof *wait);
    *wait = (struct wait){
        .wait.on_end = on_end, .worker = w, .resp = s->resp, .is_waitaof = is_waitaof};
    wait->look.on_fire = on_look;
    timer_init(&wait->look.timer);
    return wait;
}

static enum err read_timeout(struct bytes text, int64_t *timeout_ms)
{
    if (!text_to_i64(text, timeout_ms)) return ERR_TIMEOUT_NOT_INT;
    return *timeout_ms < 0 ? ERR_TIMEOUT_NEGATIVE : OK;
}

enum err cmd_wait(struct session *s, struct request *rq, struct reply *out)
{
    int64_t replicas, timeout_ms;
    if (!text_to_i64(rq->argv[1], &replicas)) return ERR_NOT_INT;
    enum err e = read_timeout(rq->argv[2], &timeout_ms);
    if (e != OK) return e;
    if (replicas > 0 && !s->exec)
        session_wait_begin(s, &wait_make(s, false)->wait, timeout_ms);
    else
        reply_counts(false, false, out);
    return OK;
}

static void wait_for_log(struct session *s, bool local, int64_t replicas, int64_t timeout_ms,
                         struct reply *out)
{
    struct worker *w = session_worker(s);
    struct wait *wait = wait_make(s, true);
    if (w->config->appendonly) {
        wait->lsns = mem_alloc(&w->net.mem, lsns_bytes(w));
        note_lsns(w, wait->lsns);
    }
    bool is_done = replicas == 0 && (!local || is_local(wait));
    if (is_done || s->exec) {
        reply_counts(true, is_local(wait), out);
        wait_free(wait);
        return;
    }
    if (replicas == 0) wheel_arm(&w->net.wheel, &wait->look.timer, w->net.wheel.now_ms + LOOK_MS);
    session_wait_begin(s, &wait->wait, timeout_ms);
}

enum err cmd_waitaof(struct session *s, struct request *rq, struct reply *out)
{
    int64_t local, replicas, timeout_ms;
    if (!text_to_i64(rq->argv[1], &local)) return ERR_NOT_INT;
    if (local < 0 || local > 1) {
        reply_error(out, "ERR value is out of range, value must between 0 and 1");
        return OK;
    }
    if (!text_to_i64(rq->argv[2], &replicas)) return ERR_NOT_INT;
    if (replicas < 0) return ERR_OUT_OF_RANGE;
    enum err e = read_timeout(rq->argv[3], &timeout_ms);
    if (e != OK) return e;
    struct worker *w = session_worker(s);
    if (local > 0 && !w->config->appendonly) {
        reply_error(out,
                    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
        return OK;
    }
    wait_for_log(s, local > 0, replicas, timeout_ms, out);
    return OK;
}
