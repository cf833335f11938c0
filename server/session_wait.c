#include "server/session_wait.h"

#include "server/worker.h"

static void end(struct session_wait *w, enum session_wait_end why)
{
    w->is_ending = true;
    w->on_end(w, why);
}

static void on_timeout(struct netloop *nl, struct net_timer *t)
{
    UNUSED struct netloop *here = nl;
    end(container_of(t, struct session_wait, timer), SESSION_WAIT_TIMEOUT);
}

void session_wait_begin(struct session *s, struct session_wait *w, int64_t timeout_ms)
{
    struct netloop *nl = s->conn.netloop;
    w->session = s;
    w->from = session_defer(s);
    w->timer.on_fire = on_timeout;
    timer_init(&w->timer.timer);
    s->wait = w;
    counter_add(&session_worker(s)->blocked_clients, 1);
    bool is_finite = timeout_ms > 0 && timeout_ms < INT64_MAX - (int64_t)nl->wheel.now_ms;
    w->is_timed = is_finite;
    if (!is_finite) return;
    counter_add(&session_worker(s)->timed_clients, 1);
    wheel_arm(&nl->wheel, &w->timer.timer, nl->wheel.now_ms + (uint64_t)timeout_ms);
}

/* The session and the wait know nothing of each other from here on. */
static void part(struct session_wait *w)
{
    struct session *s = w->session;
    struct worker *worker = session_worker(s);
    wheel_disarm(&s->conn.netloop->wheel, &w->timer.timer);
    counter_set(&worker->blocked_clients, counter_read(&worker->blocked_clients) - 1);
    counter_set(&worker->timed_clients, counter_read(&worker->timed_clients) - w->is_timed);
    s->wait = NULL;
    w->session = NULL;
}

static void tell_asker(struct session_wait *w, bool was_unblocked)
{
    struct session_wait_asker *asker = w->asker;
    w->asker = NULL;
    if (asker) asker->on_outcome(asker, was_unblocked);
}

void session_wait_answer(struct session_wait *w, struct reply *out)
{
    if (!w->session) return;
    struct netloop *nl = w->session->conn.netloop;
    part(w);
    session_answer(nl, w->from, out);
    tell_asker(w, !w->was_served);
}

void session_wait_reply_error(struct session_wait *w, struct reply *out)
{
    static const char text[] = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    reply_error(out, text);
    struct session *s = w->session;
    if (!s) return;
    counter_add(&session_worker(s)->routes[s->last_route->id].failed, 1);
    worker_count_error(session_worker(s), bytes_of(text));
}

bool session_wait_unblock(struct session *s, bool with_error, struct session_wait_asker *asker)
{
    struct session_wait *w = s->wait;
    if (!w || w->is_ending) return false;
    w->asker = asker;
    end(w, with_error ? SESSION_WAIT_ERROR : SESSION_WAIT_TIMEOUT);
    return true;
}

void session_wait_deny(struct session *s)
{
    struct session_wait *w = s->wait;
    if (w && !w->is_ending) end(w, SESSION_WAIT_DENIED);
}

void session_wait_close(struct session *s)
{
    struct session_wait *w = s->wait;
    if (!w) return;
    part(w);
    tell_asker(w, false);
    end(w, SESSION_WAIT_CLOSED);
}
