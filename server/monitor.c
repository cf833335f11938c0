#include "server/monitor.h"

#include "base/log.h"
#include "server/config_value.h"
#include "server/redact.h"
#include "server/server.h"
#include "server/worker.h"

/* ---- lines ---- */

/* In quotes, behind a space. False: no memory. */
static bool append_argument(struct buf *line, struct bytes arg)
{
    size_t room = arg.size;
    if (__builtin_mul_overflow(room, 4, &room) || __builtin_add_overflow(room, 8, &room) ||
        !buf_try_reserve(line, room))
        return false;
    buf_append_text(line, " ");
    config_quote(line, arg);
    return true;
}

/* Of commands for servers and their keepers nothing is shown. */
static bool append_text(struct buf *line, const struct command *c, const struct bytes *argv,
                        uint32_t argc)
{
    size_t start = line->size;
    bool fits = true;
    if (c->flags & CMD_ADMIN) return true;
    for (uint32_t i = 0; i < argc && fits; i++)
        fits = append_argument(line, redact_hides(c, argv, i) ? BYTES_LITERAL(REDACTED) : argv[i]);
    if (fits && buf_try_reserve(line, 2)) {
        buf_append_text(line, "\r\n");
        return true;
    }
    line->size = start;
    return false;
}

static void append_who(struct session *s, struct buf *to)
{
    char peer[ENV_NAME_BYTES_MAX];
    env_peer_name(s->conn.socket.fd, peer);
    if (peer[0] == '/')
        buf_printf(to, "unix:%s", session_worker(s)->config->unixsocket);
    else
        buf_printf(to, "%s", peer);
}

static void append_start(struct buf *to, uint32_t db)
{
    int64_t now_us = env_wall_us();
    buf_printf(to, "+%lld.%06lld [%u ", (long long)(now_us / 1000000),
               (long long)(now_us % 1000000), db);
}

#define START_BYTES_MAX 64

bool monitor_append_line(struct buf *to, const struct monitor_call *call)
{
    size_t start = to->size;
    if (call->command->flags & CMD_ADMIN) return true;
    if (!buf_try_reserve(to, START_BYTES_MAX + call->who.size)) return false;
    append_start(to, call->db);
    buf_append(to, call->who.data, call->who.size);
    buf_append_text(to, "]");
    if (append_text(to, call->command, call->argv, call->argc)) return true;
    to->size = start;
    return false;
}

/* ---- delivery ---- */

static void deliver(struct worker *w, const struct bytes *pieces, unsigned count)
{
    dlist_each (link, &w->monitor.watchers) {
        struct session *s = container_of(link, struct session, monitor_link);
        conn_push(&s->conn, NULL, pieces, count);
    }
}

/* What has a gap is worth nothing. */
static void cut_all(struct worker *w)
{
    dlist_each_safe (link, &w->monitor.watchers) {
        struct session *s = container_of(link, struct session, monitor_link);
        log_warning("Client id=%llu closed: MONITOR cannot keep up with the commands",
                    (unsigned long long)s->conn.id);
        counter_add(&w->net.counters.connections_cut_output, 1);
        conn_close(&s->conn);
    }
}

/* The last byte of a batch behind which lines are missing. */
static const char gap = '\0';

static size_t read_feed(struct thread *at, UNUSED uint16_t sender_id, struct bytes data)
{
    struct worker *w = at->owner;
    if (data.data[data.size - 1] == gap)
        cut_all(w);
    else
        deliver(w, &data, 1);
    return data.size;
}

static void line_send(struct feed *f, struct bytes prefix, struct bytes line)
{
    size_t size = prefix.size + line.size;
    bool has_gap = f->filling.size > 0 && f->filling.data[f->filling.size - 1] == gap;
    if (has_gap) return;
    if (feed_waiting_bytes(f) + size <= MONITOR_WAITING_BYTES_MAX &&
        buf_try_reserve(&f->filling, size)) {
        buf_append(&f->filling, prefix.data, prefix.size);
        buf_append(&f->filling, line.data, line.size);
    } else {
        buf_append(&f->filling, &gap, 1);
    }
}

/* To everybody who watches, on all threads. */
static void send(struct worker *w, struct bytes prefix, struct bytes line)
{
    const struct server *srv = w->server;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        struct worker *other = srv->net_workers[i];
        if (counter_read(&other->monitor.count) == 0) continue;
        if (other == w) {
            struct bytes pieces[] = {prefix, line};
            deliver(w, pieces, ARRAY_LEN(pieces));
        } else {
            line_send(&w->monitor.feeds[i], prefix, line);
            w->monitor.has_news = true;
        }
    }
}

void monitor_send(struct worker *w, struct bytes lines, bool has_gap)
{
    if (lines.size) send(w, BYTES_LITERAL(""), lines);
    if (!has_gap) return;
    cut_all(w);
    send(w, BYTES_LITERAL(""), bytes_make(&gap, 1));
}

void monitor_note(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    struct buf *line = &session_worker(s)->monitor.line;
    line->size = 0;
    /* A command whose text does not fit is not shown. */
    (void)append_text(line, route->command, r->argv, r->argc);
}

void monitor_tell(struct session *s)
{
    struct worker *w = session_worker(s);
    struct buf *prefix = &w->monitor.prefix, *line = &w->monitor.line;
    if (line->size == 0 || s->conn.is_closing) return;
    prefix->size = 0;
    append_start(prefix, s->db);
    append_who(s, prefix);
    buf_append_text(prefix, "]");
    send(w, buf_view(prefix), buf_view(line));
    if (line->capacity > NETLOOP_SCRATCH_BYTES) buf_clear(line);
}

/* ---- of a transaction ---- */

void monitor_notes_take(struct monitor_notes *n, struct session *s)
{
    struct worker *w = session_worker(s);
    *n = (struct monitor_notes){0};
    n->who.mem = n->last.mem = &w->net.mem;
    if (likely(!server_has_monitors(w->server)) || w->monitor.line.size == 0) return;
    append_who(s, &n->who);
    buf_append(&n->last, w->monitor.line.data, w->monitor.line.size);
    w->monitor.line.size = 0;
}

void monitor_notes_clear(struct monitor_notes *n)
{
    buf_clear(&n->who);
    buf_clear(&n->last);
}

void monitor_tell_queued(struct worker *w, const struct monitor_notes *n,
                         const struct monitor_call *call)
{
    struct buf *line = &w->monitor.line;
    struct monitor_call shown = *call;
    if (likely(n->who.size == 0)) return;
    shown.who = buf_view(&n->who);
    line->size = 0;
    if (monitor_append_line(line, &shown)) monitor_send(w, buf_view(line), false);
    line->size = 0;
    if (line->capacity > NETLOOP_SCRATCH_BYTES) buf_clear(line);
}

void monitor_tell_last(struct worker *w, const struct monitor_notes *n, uint32_t db)
{
    struct buf *prefix = &w->monitor.prefix;
    if (likely(n->who.size == 0)) return;
    prefix->size = 0;
    append_start(prefix, db);
    buf_append(prefix, n->who.data, n->who.size);
    buf_append_text(prefix, "]");
    send(w, buf_view(prefix), buf_view(&n->last));
}

void monitor_flush(struct worker *w)
{
    struct mesh *mesh = &w->server->mesh;
    if (likely(!w->monitor.has_news)) return;
    w->monitor.has_news = false;
    for (uint16_t i = 0; i < mesh->net_count; i++) {
        feed_flush(&w->monitor.feeds[i], &w->thread, mesh->net_threads[i]->id);
        w->monitor.has_news |= feed_waiting_bytes(&w->monitor.feeds[i]) > 0;
    }
}

/* ---- who watches ---- */

static void count_change(struct worker *w, int change)
{
    struct counter *c = &w->monitor.count;
    counter_set(c, counter_read(c) + (uint64_t)(int64_t)change);
    atomic_fetch_add_explicit(&w->server->monitor_count, change, memory_order_relaxed);
}

void monitor_start(struct session *s)
{
    struct worker *w = session_worker(s);
    if (s->is_monitor) return;
    s->is_monitor = true;
    session_choose_output_class(s);
    dlist_push_back(&w->monitor.watchers, &s->monitor_link);
    count_change(w, 1);
}

void monitor_stop(struct session *s)
{
    if (!s->is_monitor) return;
    s->is_monitor = false;
    session_choose_output_class(s);
    dlist_remove(&s->monitor_link);
    count_change(session_worker(s), -1);
}

/* ---- life ---- */

void monitor_init(struct worker *w)
{
    struct monitor *m = &w->monitor;
    uint16_t net_count = w->server->mesh.net_count;
    dlist_init(&m->watchers);
    m->line.mem = m->prefix.mem = &w->net.mem;
    m->feeds = mem_alloc_zeroed(&w->net.mem, net_count * sizeof *m->feeds);
    for (uint16_t i = 0; i < net_count; i++)
        feed_init(&m->feeds[i], &w->net.mem, w->net.id, read_feed);
}

void monitor_deinit(struct worker *w)
{
    struct monitor *m = &w->monitor;
    uint16_t net_count = w->server->mesh.net_count;
    for (uint16_t i = 0; i < net_count; i++) feed_deinit(&m->feeds[i]);
    mem_free(&w->net.mem, m->feeds, net_count * sizeof *m->feeds);
    buf_clear(&m->line);
    buf_clear(&m->prefix);
}

bool monitor_is_settled(const struct worker *w)
{
    for (uint16_t i = 0; i < w->server->mesh.net_count; i++)
        if (!feed_is_empty(&w->monitor.feeds[i])) return false;
    return true;
}
