#include "tests/unit/server_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env_internal.h"
#include "server/delivery.h"
#include "server/stuck.h"
#include "server/subscription_change.h"

#define SETTLE_ROUNDS_MAX 1000

static void set_clock(struct thread *t, uint64_t now_ns, int64_t wall_ms)
{
    t->now_ns = now_ns;
    t->wall_ms = wall_ms;
}

/* ---- what clients send ---- */

/* Readers keep pointers into what they were given, so it stays as long as the fixture. */
struct server_fixture_line {
    struct server_fixture_line *next;
    size_t size;
    char text[];
};

void server_fixture_send(struct server_fixture *f, struct session *s, const char *line)
{
    size_t size = strlen(line) + 2;
    struct server_fixture_line *kept = mem_alloc(&f->server->mem, sizeof *kept + size + 1);
    kept->next = f->lines;
    kept->size = size;
    f->lines = kept;
    snprintf(kept->text, size + 1, "%s\r\n", line);
    env_buffer_ref(&f->input);
    conn_receive(&s->conn, &f->input, kept->text, size);
}

static void lines_free(struct server_fixture *f)
{
    while (f->lines) {
        struct server_fixture_line *line = f->lines;
        f->lines = line->next;
        mem_free(&f->server->mem, line, sizeof *line + line->size + 1);
    }
}

/* ---- life ---- */

static void log_wanted(struct config *config, const char *directory)
{
    char text[256];
    struct buf why = {.mem = config->mem};
    int size = snprintf(text, sizeof text, "appendonly yes\ndir %s\n", directory);
    cr_assert(config_read_text(config, bytes_make(text, (size_t)size), "test", &why) == OK);
}

static struct server_fixture make(uint32_t threads, const char *log_directory)
{
    char why[SERVER_WHY_BYTES];
    struct server *srv = calloc(1, sizeof *srv);
    cr_assert_not_null(srv);
    mem_init(&srv->mem, "server_fixture");
    struct config *config = mem_alloc_zeroed(&srv->mem, sizeof *config);
    config_defaults(config, &srv->mem);
    config->threads = threads;
    config->io_backend = ENV_EPOLL; /* its loops need no thread of their own */
    config->loglevel = LOG_WARNING;
    if (log_directory) log_wanted(config, log_directory);
    log_set_level(config->loglevel);
    cr_assert(server_init(srv, config, why), "%s", why);
    uint64_t now_ns = env_now_ns();
    for (uint16_t i = 0; i < srv->worker_count; i++) {
        struct worker *w = &srv->workers[i];
        cr_assert(worker_open(w, why), "%s", why);
        set_clock(&w->thread, now_ns, SERVER_FIXTURE_START_MS);
    }
    return (struct server_fixture){
        .server = srv, .input = {.refs = UINT32_MAX / 2}, .sent = {.mem = &srv->mem}};
}

struct server_fixture server_fixture_make(uint32_t threads)
{
    return make(threads, NULL);
}

static void log_has_begun(struct server *srv, bool ok)
{
    cr_assert(ok);
    srv->is_loaded = true;
}

struct server_fixture server_fixture_make_logging(uint32_t threads, const char *directory)
{
    struct server_fixture f = make(threads, directory);
    cr_assert(durable_begin(f.server, log_has_begun));
    server_fixture_settle(&f);
    cr_assert(f.server->is_loaded);
    return f;
}

static void log_is_closed(struct server *srv, bool ok)
{
    cr_assert(ok && !srv->durable.is_on);
}

/* A log is closed by way of the disk, which takes the time that it takes. */
static void close_logs(struct server_fixture *f)
{
    if (!f->server->durable.is_on) return;
    durable_seal(f->server, log_is_closed);
    while (f->server->durable.is_on) {
        server_fixture_settle(f);
        for (uint16_t i = 0; i < f->server->worker_count; i++) {
            struct env_event event;
            env_wait(f->server->workers[i].thread.loop, 1000000);
            while (env_next(f->server->workers[i].thread.loop, &event)) continue;
        }
    }
}

static void disconnect(struct session *s)
{
    struct conn *c = &s->conn;
    struct netloop *nl = c->netloop;
    nl->places[c->index].conn = NULL;
    conn_close(c);
    conn_destroy(c);
    nl->place_count--;
}

void server_fixture_free(struct server_fixture *f)
{
    struct server *srv = f->server;
    server_fixture_settle(f);
    for (uint16_t i = 0; i < srv->worker_count; i++) {
        struct netloop *nl = &srv->workers[i].net;
        uint32_t places = nl->place_count;
        shard_here = &srv->workers[i].shard;
        while (nl->place_count > 0) disconnect(session_of(nl->places[nl->place_count - 1].conn));
        nl->place_count = places;
        turn_publish(nl);
    }
    server_fixture_settle(f); /* what they subscribed to goes */
    close_logs(f);
    for (uint16_t i = 0; i < srv->worker_count; i++) worker_close(&srv->workers[i]);
    struct config *config = (struct config *)(uintptr_t)srv->config;
    lines_free(f);
    buf_clear(&f->sent);
    server_deinit(srv);
    config_deinit(config);
    mem_free(&srv->mem, config, sizeof *config);
    mem_deinit(&srv->mem);
    free(srv);
}

/* ---- connections ---- */

static void place_add(struct netloop *nl, struct conn *c)
{
    size_t old = nl->place_count * sizeof *nl->places;
    nl->places = mem_try_realloc(&nl->mem, nl->places, old, old + sizeof *nl->places);
    cr_assert_not_null(nl->places);
    c->index = nl->place_count++;
    nl->places[c->index] = (struct conn_place){.conn = c};
    c->id = nl->ids_given++ * nl->thread->mesh->net_count + nl->id + 1;
}

struct session *server_fixture_connect(struct server_fixture *f, uint16_t net_id)
{
    struct worker *w = f->server->net_workers[net_id];
    struct session *s = mem_alloc_zeroed(&w->net.mem, sizeof *s);
    struct conn *c = &s->conn;
    c->netloop = &w->net;
    c->socket.fd = -1;
    dlist_init(&c->queue_link);
    dlist_init(&c->dirty_link);
    c->socket.flags = SOCKET_CLOSING; /* there is nothing to close */
    timer_init(&c->idle_timer.timer);
    timer_init(&c->soft_limit_timer.timer);
    c->command_budget = NETLOOP_COMMANDS_PER_TURN;
    resp_reader_init(&c->reader, &w->net.mem);
    c->opened_ms = c->last_request_ms = thread_now_ms(&w->thread);
    c->is_receiving = true;
    place_add(&w->net, c);
    session_on_open(c);
    return s;
}

/* ---- running ---- */

/* Parcels of other threads, and what the shard has to say. */
static bool step_shard(struct worker *w)
{
    bool any = worker_run_shard(w);
    any |= w->shard.channels.has_news;
    channels_flush(&w->shard, &w->thread);
    return any;
}

bool server_fixture_step(struct server_fixture *f, uint16_t worker)
{
    struct worker *w = &f->server->workers[worker];
    thread_here = &w->thread;
    shard_set_now(&w->shard, w->thread.now_ns, w->thread.wall_ms);
    bool any = thread_run_calls(&w->thread);
    any |= stuck_resume(w);
    any |= subscription_change_resume(w);
    any |= step_shard(w);
    any |= turn_take_home(&w->net);
    any |= w->net.turn.touched_count > 0 || w->monitor.has_news || w->redirects.has_news;
    turn_publish(&w->net);
    delivery_tell_changes(w);
    monitor_flush(w);
    redirects_flush(w);
    any |= netloop_run_timers(&w->net);
    any |= netloop_run_input(&w->net);
    if (w->should_resume) {
        w->should_resume = false;
        netloop_resume_stalled(&w->net);
        any = true;
    }
    return any;
}

void server_fixture_settle(struct server_fixture *f)
{
    struct server *srv = f->server;
    bool any = true;
    for (unsigned round = 0; any; round++) {
        cr_assert_lt(round, SETTLE_ROUNDS_MAX, "the server does not come to rest");
        any = false;
        for (uint16_t i = 0; i < srv->worker_count; i++) any |= server_fixture_step(f, i);
        thread_here = &srv->thread;
        any |= thread_run_calls(&srv->thread);
    }
}

void server_fixture_pass_ms(struct server_fixture *f, uint64_t ms)
{
    for (uint16_t i = 0; i < f->server->worker_count; i++) {
        struct thread *t = &f->server->workers[i].thread;
        set_clock(t, t->now_ns + ms * 1000000, t->wall_ms + (int64_t)ms);
    }
    server_fixture_settle(f);
}

/* ---- replies ---- */

struct bytes server_fixture_take(struct server_fixture *f, struct session *s)
{
    struct conn *c = &s->conn;
    f->sent.size = 0;
    for (const struct chunk *chunk = c->out_first; chunk; chunk = chunk->next)
        buf_append(&f->sent, chunk->data, chunk->size);
    chunk_free_chain(&c->netloop->mem, c->out_first);
    c->out_first = c->out_last = NULL;
    c->out_bytes = 0;
    return buf_view(&f->sent);
}

void server_fixture_expect_sent(struct server_fixture *f, struct session *s, struct bytes reply,
                                int where)
{
    struct bytes sent = server_fixture_take(f, s);
    cr_expect(bytes_equal(sent, reply), "line %d:\n  got  %.*s\n  want %.*s", where, (int)sent.size,
              sent.data, (int)reply.size, reply.data);
}

void server_fixture_expect(struct server_fixture *f, struct session *s, const char *line,
                           struct bytes reply, int where)
{
    server_fixture_send(f, s, line);
    server_fixture_settle(f);
    server_fixture_expect_sent(f, s, reply, where);
}
