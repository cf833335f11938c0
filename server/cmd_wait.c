#include "server/cmd_wait.h"

#include "base/text.h"
#include "server/worker.h"

struct wait {
    struct net_timer timer;
    struct session *session;
    struct session_ref from;
    bool is_waitaof;
};

/* ---- ending ---- */

static void reply_counts(bool is_waitaof, struct reply *out)
{
    /* No replica is connected and no file is written, so nobody but this server has the writes. */
    if (is_waitaof) {
        reply_array(out, 2);
        reply_i64(out, 0);
    }
    reply_i64(out, 0);
}

void wait_cancel(struct session *s)
{
    struct wait *wait = s->wait;
    if (!wait) return;
    struct netloop *nl = s->conn.netloop;
    s->wait = NULL;
    wheel_disarm(&nl->wheel, &wait->timer.timer);
    mem_free(&nl->mem, wait, sizeof *wait);
}

bool wait_unblock(struct session *s, bool with_error)
{
    if (!s->wait) return false;
    struct netloop *nl = s->conn.netloop;
    struct session_ref from = s->wait->from;
    struct reply out = netloop_reply(nl, s->resp);
    if (with_error)
        reply_error(&out, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        reply_counts(s->wait->is_waitaof, &out);
    wait_cancel(s);
    session_answer(nl, from, &out);
    netloop_reply_drop(nl, &out);
    return true;
}

static void on_timeout(struct netloop *nl, struct net_timer *t)
{
    UNUSED struct netloop *here = nl;
    wait_unblock(container_of(t, struct wait, timer)->session, false);
}

/* ---- beginning ---- */

/* 0: for ever. */
static void wait_begin(struct session *s, int64_t timeout_ms, bool is_waitaof)
{
    struct netloop *nl = s->conn.netloop;
    struct wait *wait = mem_alloc(&nl->mem, sizeof *wait);
    *wait = (struct wait){.timer = {.on_fire = on_timeout},
                          .session = s,
                          .from = session_defer(s),
                          .is_waitaof = is_waitaof};
    timer_init(&wait->timer.timer);
    s->wait = wait;
    bool is_finite = timeout_ms > 0 && timeout_ms < INT64_MAX - (int64_t)nl->wheel.now_ms;
    if (is_finite)
        wheel_arm(&nl->wheel, &wait->timer.timer, nl->wheel.now_ms + (uint64_t)timeout_ms);
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
        wait_begin(s, timeout_ms, false);
    else
        reply_counts(false, out);
    return OK;
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
    if (local > 0) {
        reply_error(out,
                    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
        return OK;
    }
    if (replicas > 0 && !s->exec)
        wait_begin(s, timeout_ms, true);
    else
        reply_counts(true, out);
    return OK;
}
