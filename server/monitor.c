#include "server/monitor.h"

#include "base/log.h"
#include "server/config_value.h"
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

/* Passwords: all of AUTH; of other sensitive commands the two words behind AUTH. */
static bool is_secret(const struct command *c, const struct resp_reader *r, uint32_t index)
{
    if (!(c->flags & CMD_SENSITIVE) || index == 0) return false;
    if (strcmp(c->name, "auth") == 0) return true;
    for (uint32_t back = 1; back <= 2 && back < index; back++)
        if (bytes_equal_nocase(r->argv[index - back], "auth")) return true;
    return false;
}

static void prefix_build(struct session *s, struct buf *prefix)
{
    int64_t now_us = env_wall_us();
    char peer[ENV_NAME_BYTES_MAX];
    env_peer_name(s->conn.socket.fd, peer);
    prefix->size = 0;
    buf_printf(prefix, "+%lld.%06lld [%u ", (long long)(now_us / 1000000),
               (long long)(now_us % 1000000), s->db);
    if (peer[0] == '/')
        buf_printf(prefix, "unix:%s]", session_worker(s)->config->unixsocket);
    else
        buf_printf(prefix, "%s]", peer);
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

static size_t read_feed(struct thread *at, uint16_t sender_id, struct bytes data)
{
    UNUSED uint16_t any = sender_id;
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

void monitor_note(struct session *s, const struct route *route)
{
    const struct resp_reader *r = &s->conn.reader;
    const struct command *c = route->command;
    struct buf *line = &session_worker(s)->monitor.line;
    line->size = 0;
    if (c->flags & (CMD_ADMIN | CMD_SKIP_MONITOR)) return;
    bool fits = true;
    for (uint32_t i = 0; i < r->argc && fits; i++)
        fits = append_argument(line, is_secret(c, r, i) ? BYTES_LITERAL("(redacted)") : r->argv[i]);
    if (fits && buf_try_reserve(line, 2))
        buf_append_text(line, "\r\n");
    else
        line->size = 0; /* a command whose text does not fit is not shown */
}

void monitor_tell(struct session *s)
{
    struct worker *w = session_worker(s);
    const struct server *srv = w->server;
    struct buf *prefix = &w->monitor.prefix, *line = &w->monitor.line;
    if (line->size == 0 || s->conn.is_closing) return;
    prefix_build(s, prefix);
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        struct worker *other = srv->net_workers[i];
        if (counter_read(&other->monitor.count) == 0) continue;
        if (other == w) {
            struct bytes pieces[] = {buf_view(prefix), buf_view(line)};
            deliver(w, pieces, ARRAY_LEN(pieces));
        } else {
            line_send(&w->monitor.feeds[i], buf_view(prefix), buf_view(line));
            w->monitor.has_news = true;
        }
    }
    if (line->capacity > NETLOOP_SCRATCH_BYTES) buf_clear(line);
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
