#include "server/cmd_wait.h"

#include "base/text.h"
#include "server/session_wait.h"
#include "server/worker.h"

struct wait {
    struct session_wait wait;
    struct netloop *netloop;
    uint8_t resp;
    bool is_waitaof;
};

static void reply_counts(bool is_waitaof, struct reply *out)
{
    /* No replica is connected and no file is written, so nobody but this server has the writes. */
    if (is_waitaof) {
        reply_array(out, 2);
        reply_i64(out, 0);
    }
    reply_i64(out, 0);
}

static void answer(struct wait *wait, bool with_error)
{
    struct netloop *nl = wait->netloop;
    struct reply out = netloop_reply(nl, wait->resp);
    if (with_error)
        session_wait_reply_error(&out);
    else
        reply_counts(wait->is_waitaof, &out);
    session_wait_answer(&wait->wait, &out);
    netloop_reply_drop(nl, &out);
}

static void on_end(struct session_wait *w, enum session_wait_end why)
{
    struct wait *wait = container_of(w, struct wait, wait);
    if (why != SESSION_WAIT_CLOSED) answer(wait, why == SESSION_WAIT_ERROR);
    mem_free(&wait->netloop->mem, wait, sizeof *wait);
}

/* 0: for ever. */
static void wait_begin(struct session *s, int64_t timeout_ms, bool is_waitaof)
{
    struct netloop *nl = s->conn.netloop;
    struct wait *wait = mem_alloc(&nl->mem, sizeof *wait);
    *wait = (struct wait){
        .wait.on_end = on_end, .netloop = nl, .resp = s->resp, .is_waitaof = is_waitaof};
    session_wait_begin(s, &wait->wait, timeout_ms);
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
