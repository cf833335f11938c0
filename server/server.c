#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "server/acl_file.h"
#include "server/batch.h"
#include "server/boot.h"
#include "server/defragmenter.h"
#include "server/descriptors.h"
#include "server/lending.h"
#include "server/slow_client.h"
#include "server/stats.h"
#include "server/worker.h"

#define CRON_NS 100000000ULL
#define STOP_PATIENCE_NS 2000000000ULL
#define SEAL_PATIENCE_NS 10000000000ULL

/* ---- totals ---- */

uint64_t server_commands_processed(const struct server *srv)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        n += counter_read(&srv->net_workers[i]->commands_processed);
    return n;
}

uint64_t server_live_bytes(const struct server *srv)
{
    uint64_t n = mem_live_bytes(&srv->mem) + mem_live_bytes(&srv->mesh.mem);
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        n += mem_live_bytes(&srv->net_workers[i]->net.mem);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        n += mem_live_bytes(&srv->shard_workers[i]->shard.mem);
    for (uint16_t i = 0; i < srv->worker_count; i++)
        n += counter_read(&srv->workers[i].vm.used_bytes);
    return n + mem_live_bytes(&srv->scripts.cache.mem) +
           mem_live_bytes(&srv->scripts.functions.mem) + mem_live_bytes(&srv->slowlog.mem) +
           mem_live_bytes(&srv->acl.mem);
}

/* ---- accepting ---- */

/* An accepted socket on its way to its net thread. */
struct accepted {
    struct call call;
    struct server *server;
    int fd;
};

static void accepted_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    mem_free(&srv->mem, container_of(c, struct accepted, call), sizeof(struct accepted));
    srv->accepted_count--;
}

static void accepted_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    netloop_adopt(&w->net, container_of(c, struct accepted, call)->fd);
    c->run = accepted_is_back;
    thread_call(at, w->server->thread.id, c);
}

/* Given to a net thread and not ended: counts those that are still on their way to it. */
static uint64_t connections_of(const struct worker *w)
{
    return w->assigned_connections - counter_read(&w->net.counters.connections_ended);
}

static struct worker *least_loaded(const struct server *srv)
{
    struct worker *best = srv->net_workers[0];
    for (uint16_t i = 1; i < srv->mesh.net_count; i++)
        if (connections_of(srv->net_workers[i]) < connections_of(best)) best = srv->net_workers[i];
    return best;
}

static uint64_t open_connections(const struct server *srv)
{
    uint64_t n = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) n += connections_of(srv->net_workers[i]);
    return n;
}

static const char protected_text[] =
    "-DENIED Shoal is running in protected mode because protected mode is enabled and no password "
    "is set for the "
    "default user. In this mode connections are only accepted from the loopback interface. If you "
    "want to connect "
    "from other hosts, set a password with requirepass, or bind to the addresses you trust and "
    "switch protected "
    "mode off with 'CONFIG SET protected-mode no' from the loopback interface.\r\n";

static bool users_are_open(struct server *srv)
{
    struct acl_set *set = acl_take(&srv->acl);
    bool is_open = acl_is_open(set);
    acl_set_unref(&srv->acl, set);
    return is_open;
}

static void on_accept(struct server *srv, int fd)
{
    const struct config *c = srv->config;
    if (open_connections(srv) >= c->maxclients) {
        counter_add(&srv->rejected_connections, 1);
        env_refuse(fd, BYTES_LITERAL("-ERR max number of clients reached\r\n"));
        return;
    }
    if (c->protected_mode && !env_peer_is_local(fd) && users_are_open(srv)) {
        counter_add(&srv->rejected_connections, 1);
        env_refuse(fd, bytes_of(protected_text));
        return;
    }
    struct worker *w = least_loaded(srv);
    w->assigned_connections++;
    srv->accepted_count++;
    struct accepted *a = mem_alloc(&srv->mem, sizeof *a);
    *a = (struct accepted){.call = {.run = accepted_arrives}, .server = srv, .fd = fd};
    thread_call(&srv->thread, w->thread.id, &a->call);
}

/* ---- listeners ---- */

static struct listener *listener_add(struct server *srv)
{
    for (uint32_t i = 0; i < srv->listener_count; i++)
        if (!srv->listeners[i].is_open && srv->listeners[i].socket.fd < 0)
            return &srv->listeners[i];
    if (srv->listener_count == SERVER_LISTENERS_MAX) return NULL;
    return &srv->listeners[srv->listener_count++];
}

static bool listen_tcp(struct server *srv, const struct config *c, char *why)
{
    for (uint32_t i = 0; c->port && i < c->bind.count; i++) {
        const char *address = c->bind.items[i];
        bool is_optional = address[0] == '-';
        struct listener *l = listener_add(srv);
        if (!l) break;
        *l = (struct listener){.socket = {.fd = -1}};
        snprintf(l->address, sizeof l->address, "%s", address + is_optional);
        uint16_t port = c->port;
        enum err e =
            env_listen_tcp(srv->thread.loop, &l->socket, l->address, &port, c->tcp_backlog, why);
        if (e == OK) {
            l->is_open = true;
            srv->tcp_port = port;
        } else {
            l->socket.fd = -1;
            if (!is_optional) return false;
        }
    }
    return true;
}

static bool listen_unix(struct server *srv, const struct config *c, char *why)
{
    if (c->unixsocket[0] == '\0') return true;
    struct listener *l = listener_add(srv);
    if (!l) return true;
    *l = (struct listener){.socket = {.fd = -1}, .is_unix = true};
    snprintf(l->address, sizeof l->address, "%s", c->unixsocket);
    if (env_listen_unix(srv->thread.loop, &l->socket, c->unixsocket, c->unixsocketperm,
                        c->tcp_backlog, why) != OK) {
        l->socket.fd = -1;
        return false;
    }
    l->is_open = true;
    return true;
}

static void listeners_close(struct server *srv)
{
    for (uint32_t i = 0; i < srv->listener_count; i++) {
        struct listener *l = &srv->listeners[i];
        if (!l->is_open) continue;
        l->is_open = false;
        env_close(srv->thread.loop, &l->socket);
        if (l->is_unix) unlink(l->address);
    }
}

/* Until the kernel has let go of them, so that a successor can bind at once. */
static void listeners_await_closed(struct server *srv)
{
    uint64_t give_up_ns = env_now_ns() + STOP_PATIENCE_NS;
    for (;;) {
        bool any = false;
        for (uint32_t i = 0; i < srv->listener_count; i++) any |= srv->listeners[i].socket.fd >= 0;
        if (!any || env_now_ns() > give_up_ns) return;
        server_step(srv, 1000000);
    }
}

static bool listeners_open(struct server *srv, const struct config *c, char *why)
{
    return listen_tcp(srv, c, why) && listen_unix(srv, c, why);
}

static void take_events(struct server *srv)
{
    struct env_event event;
    while (env_next(srv->thread.loop, &event)) {
        struct listener *l = container_of(event.socket, struct listener, socket);
        if (event.kind == ENV_ACCEPT) {
            if (l->is_open)
                on_accept(srv, event.accepted_fd);
            else
                env_refuse(event.accepted_fd, BYTES_LITERAL(""));
        }
        if (event.kind == ENV_CLOSED) l->socket.fd = -1;
    }
}

/* ---- requests for the main thread ---- */

static void request_is_freed(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct main_request *m = container_of(c, struct main_request, call);
    mem_free(m->mem, m, m->bytes);
    w->net.errands--;
}

static void reply_is_back(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct main_request *m = container_of(c, struct main_request, call);
    chunk_free_chain(&srv->mem, m->chain);
    c->run = request_is_freed;
    thread_call(at, srv->net_workers[m->from.net_id]->thread.id, c);
}

static void reply_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    struct main_request *m = container_of(c, struct main_request, call);
    struct reply out = netloop_reply(&w->net, m->request.resp);
    for (const struct chunk *chunk = m->chain; chunk; chunk = chunk->next)
        reply_raw(&out, chunk->data, chunk->size);
    if (m->reply.error_count) {
        counter_add(&w->routes[m->route->id].failed, 1);
        worker_count_error(w, bytes_make(m->chain->data + 1, m->chain->size - 1));
    }
    slow_check(w, netloop_conn(&w->net, m->from.index, m->from.generation), &m->request,
               slow_ns(m->ticks));
    /* Only the end of the server has no reply: its connection waits until it is closed. */
    if (m->chain) session_answer(&w->net, m->from, &out);
    netloop_reply_drop(&w->net, &out);
    c->run = reply_is_back;
    thread_call(at, w->server->thread.id, c);
}

void server_answer(struct server *srv, struct main_request *m)
{
    if (m->is_running) { /* It leaves when its handler has returned. */
        m->is_deferred = false;
        return;
    }
    uint32_t errors = m->reply.error_count;
    m->chain = reply_take(&m->reply);
    m->reply.error_count = errors;
    m->call.run = reply_arrives;
    thread_call(&srv->thread, srv->net_workers[m->from.net_id]->thread.id, &m->call);
}

/* A change of the configuration that is on its way to the workers, and the request that waits for
 * it. */
struct config_change {
    struct config *config;
    const struct config *old;
    struct main_request *waiting;
    uint32_t outstanding;
    struct config_call {
        struct call call;
        struct config_change *change;
    } calls[];
};

static void request_run(struct server *srv, struct main_request *m)
{
    check_context_here()->command = m->route->full_name;
    uint64_t started = env_ticks();
    m->is_running = true;
    enum err e = m->request.command->on_main(srv, &m->request, &m->reply);
    m->is_running = false;
    if (e != OK) reply_err(&m->reply, e);
    m->ticks = env_ticks() - started;
    counter_add(&srv->route_ticks[m->route->id], m->ticks);
}

/* What comes after the end was decided goes home without a reply: its connection is about to be
 * closed. */
static void requests_run(struct server *srv)
{
    while (srv->queue_first && !srv->change) {
        struct main_request *m = srv->queue_first;
        srv->queue_first = m->next;
        if (!srv->should_stop) request_run(srv, m);
        if (srv->change)
            srv->change->waiting = m;
        else if (!m->is_deferred)
            server_answer(srv, m);
    }
}

static void request_arrives(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct main_request *m = container_of(c, struct main_request, call);
    reply_init(&m->reply, NULL, &srv->mem);
    m->reply.resp = m->request.resp;
    m->next = NULL;
    if (srv->queue_first)
        srv->queue_last->next = m;
    else
        srv->queue_first = m;
    srv->queue_last = m;
    requests_run(srv);
}

bool server_ask_main(struct session *s, const struct batch_command *c)
{
    struct worker *w = session_worker(s);
    size_t size = sizeof(struct main_request) + c->argc * sizeof(struct bytes);
    for (uint32_t i = 0; i < c->argc; i++) size += c->argv[i].size;
    struct main_request *m = mem_try_alloc(&w->net.mem, size);
    if (!m) return false;
    w->net.errands++;
    *m = (struct main_request){.call = {.run = request_arrives},
                               .from = session_defer(s),
                               .route = c->route,
                               .client_is_local = env_peer_is_local(s->conn.socket.fd),
                               .bytes = size,
                               .mem = &w->net.mem};
    struct bytes *argv = (struct bytes *)(void *)(m + 1);
    char *at = (char *)(argv + c->argc);
    for (uint32_t i = 0; i < c->argc; i++) {
        argv[i] = bytes_make(at, c->argv[i].size);
        memcpy(at, c->argv[i].data, c->argv[i].size);
        at += c->argv[i].size;
    }
    m->request = (struct request){.command = c->route->command,
                                  .argv = argv,
                                  .argc = c->argc,
                                  .db = (uint16_t)s->db,
                                  .resp = s->resp,
                                  .command_id = c->route->id};
    thread_call(&w->thread, w->server->thread.id, &m->call);
    return true;
}

/* ---- configuration ---- */

static size_t change_bytes(const struct server *srv)
{
    return sizeof(struct config_change) + srv->worker_count * sizeof(struct config_call);
}

static void config_is_taken(struct thread *at, struct call *c)
{
    struct server *srv = at->owner;
    struct config_change *change = container_of(c, struct config_call, call)->change;
    if (--change->outstanding > 0) return;
    config_deinit((struct config *)(uintptr_t)change->old);
    mem_free(&srv->mem, (struct config *)(uintptr_t)change->old, sizeof *change->old);
    struct main_request *m = change->waiting;
    srv->change = NULL;
    mem_free(&srv->mem, change, change_bytes(srv));
    if (m) server_answer(srv, m);
    requests_run(srv);
}

static void config_arrives(struct thread *at, struct call *c)
{
    struct worker *w = at->owner;
    worker_apply_config(w, container_of(c, struct config_call, call)->change->config);
    c->run = config_is_taken;
    thread_call(at, w->server->thread.id, c);
}

void server_publish_config(struct server *srv, struct config *changed)
{
    CHECK(!srv->change);
    struct config_change *change = mem_alloc_zeroed(&srv->mem, change_bytes(srv));
    change->config = changed;
    change->old = srv->config;
    change->outstanding = srv->worker_count;
    srv->change = change;
    srv->config = changed;
    for (uint16_t i = 0; i < srv->worker_count; i++) {
        change->calls[i].change = change;
        change->calls[i].call.run = config_arrives;
        thread_call(&srv->thread, i, &change->calls[i].call);
    }
}

static bool apply_directory(UNUSED struct server *srv, const struct config *to, struct buf *error)
{
    if (chdir(to->dir) == 0) return true;
    config_set_failure(error, "dir", "No such file or directory");
    return false;
}

static bool apply_oom_score(struct server *srv, const struct config *to, struct buf *error)
{
    if (oom_score_apply(&srv->oom_score, to)) return true;
    config_set_failure(error, "oom-score-adj",
                       "Failed to apply new oom_score_adj configuration, check server logs.");
    return false;
}

static bool apply_client_limit(struct server *srv, const struct config *to, struct buf *error)
{
    if (to->maxclients <= srv->config->maxclients) return true;
    uint32_t possible = descriptors_reserve(to->maxclients);
    if (possible >= to->maxclients) return true;
    char text[128];
    snprintf(text, sizeof text,
             "The operating system is not able to handle the specified number of clients, "
             "try with %u",
             possible);
    config_set_failure(error, "maxclients", text);
    return false;
}

static bool apply_log_file(struct server *srv, const struct config *to, struct buf *error)
{
    if (!config_differs(srv->config, to, "logfile") || log_open(to->logfile)) return true;
    config_set_failure(error, "logfile", "can't open the file");
    return false;
}

static bool listen_again(struct server *srv, const struct config *to)
{
    char why[2 * ENV_NAME_BYTES_MAX];
    listeners_close(srv);
    listeners_await_closed(srv);
    if (listeners_open(srv, to, why)) return true;
    log_warning("Failed listening: %s", why);
    return false;
}

static bool apply_listeners(struct server *srv, const struct config *to, struct buf *error)
{
    if (listen_again(srv, to)) return true;
    if (!listen_again(srv, srv->config))
        log_warning("Failed listening on the old addresses as well");
    if (config_differs(srv->config, to, "bind"))
        config_set_failure(error, "bind", "Failed to bind to specified addresses.");
    else
        config_set_failure(error, "port", "Unable to listen on this port. Check server logs.");
    return false;
}

static bool apply_password(struct server *srv, const struct config *to, struct buf *error)
{
    if (acl_set_password(&srv->acl, config_text_view(to->requirepass))) return true;
    config_set_failure(error, "requirepass", "Out of memory");
    return false;
}

/* What may fail, and is taken back by applying the old configuration if something behind it does.
 * The password comes last: with the old configuration it would take back what ACL SETUSER has done.
 */
static const struct {
    uint32_t areas;
    bool (*apply)(struct server *srv, const struct config *to, struct buf *error);
} fallible[] = {
    {CONFIG_AREA_PROCESS, apply_directory},    {CONFIG_AREA_PROCESS, apply_oom_score},
    {CONFIG_AREA_CLIENTS, apply_client_limit}, {CONFIG_AREA_LOG, apply_log_file},
    {CONFIG_AREA_LISTEN, apply_listeners},     {CONFIG_AREA_PASSWORD, apply_password},
};

static void take_back(struct server *srv, uint32_t areas, unsigned count)
{
    struct buf error = {.mem = &srv->mem};
    while (count-- > 0)
        if (areas & fallible[count].areas) (void)!fallible[count].apply(srv, srv->config, &error);
    if (error.size > 0)
        log_warning("It could not be taken back: %.*s", (int)error.size, error.data);
    buf_clear(&error);
}

bool server_apply_config(struct server *srv, const struct config *changed, uint32_t areas,
                         struct buf *error)
{
    for (unsigned i = 0; i < ARRAY_LEN(fallible); i++) {
        if (!(areas & fallible[i].areas) || fallible[i].apply(srv, changed, error)) continue;
        take_back(srv, areas, i);
        return false;
    }
    acl_set_channels_default(&srv->acl, changed->acl_pubsub_default == CONFIG_CHANNELS_ALL);
    if (areas & CONFIG_AREA_MEMORY) lending_update(srv, changed);
    if (areas & CONFIG_AREA_OBSERVE) slowlog_set_max(&srv->slowlog, changed->slowlog_entries_max);
    if (areas & CONFIG_AREA_PERSIST) rewriter_apply_config(srv, changed);
    if (areas & CONFIG_AREA_LOG) log_set_level(changed->loglevel);
    return true;
}

/* ---- boot ---- */

static void make_run_id(struct server *srv)
{
    unsigned char random[SERVER_RUN_ID_BYTES / 2];
    env_random(random, sizeof random);
    for (unsigned i = 0; i < sizeof random; i++)
        snprintf(srv->run_id + 2 * i, 3, "%02x", random[i]);
}

/* Which thread carries what. */
struct topology {
    uint16_t threads, nets, shards;
    bool is_fused;
};

static struct topology topology_choose(struct server *srv)
{
    const struct config *c = srv->config;
    cpu_budget_read(&srv->cpus);
    struct topology t = {.is_fused = true};
    if (c->net_threads && c->shard_threads) {
        t = (struct topology){.nets = (uint16_t)c->net_threads,
                              .shards = (uint16_t)c->shard_threads};
        t.threads = (uint16_t)(t.nets + t.shards);
    } else {
        t.threads =
            (uint16_t)(c->threads == CONFIG_THREADS_AUTO ? srv->cpus.thread_count : c->threads);
        t.nets = t.shards = t.threads;
    }
    char quota[32] = "none";
    if (srv->cpus.cgroup_quota > 0) snprintf(quota, sizeof quota, "%.2f", srv->cpus.cgroup_quota);
    log_notice("Threads: %u (%s: %u net, %u shard). CPUs: %u in the affinity mask, %u online, "
               "cgroup quota %s; asked for %s",
               t.threads, t.is_fused ? "each carries both roles" : "dedicated", t.nets, t.shards,
               srv->cpus.affinity_count, srv->cpus.online_count, quota,
               t.is_fused && c->threads == CONFIG_THREADS_AUTO ? "auto" : "that number");
    return t;
}

static void workers_init(struct server *srv, const struct topology *t)
{
    srv->worker_count = t->threads;
    srv->workers = mem_alloc_aligned(&srv->mem, t->threads * sizeof *srv->workers, CACHE_LINE);
    srv->net_workers = mem_alloc_zeroed(&srv->mem, t->nets * sizeof(struct worker *));
    srv->shard_workers = mem_alloc_zeroed(&srv->mem, t->shards * sizeof(struct worker *));
    srv->all_shards = mem_alloc(&srv->mem, t->shards * sizeof *srv->all_shards);
    for (uint16_t i = 0; i < t->shards; i++) srv->all_shards[i] = i;
    /* Spinning pays only while a core is left for whoever feeds us. */
    uint64_t spin_ns = t->threads < srv->cpus.thread_count ? 20000 : 0;
    for (uint16_t i = 0; i < t->threads; i++) {
        bool net = t->is_fused || i < t->nets, shard = t->is_fused || i >= t->nets;
        struct worker_options o = {.server = srv,
                                   .thread_id = i,
                                   .net_id = net ? i : -1,
                                   .shard_id = shard ? (t->is_fused ? i : i - t->nets) : -1,
                                   .spin_ns = spin_ns};
        worker_init(&srv->workers[i], &o);
        if (net) srv->net_workers[o.net_id] = &srv->workers[i];
        if (shard) srv->shard_workers[o.shard_id] = &srv->workers[i];
    }
}

/* False: the configuration's users cannot be. */
static bool read_users(struct server *srv, char *why)
{
    struct buf error = {.mem = &srv->mem};
    bool ok = acl_boot(&srv->acl, srv->config, &error);
    if (!ok) snprintf(why, SERVER_WHY_BYTES, "%.*s", (int)error.size, error.data);
    buf_clear(&error);
    return ok;
}

bool server_init(struct server *srv, struct config *config, char *why)
{
    srv->config = config;
    if (!oom_score_apply(&srv->oom_score, config))
        log_warning("The server starts with another out-of-memory score than it should have");
    srv->started_wall_us = env_wall_us();
    srv->started_ns = env_now_ns();
    srv->database_count = config->databases;
    make_run_id(srv);
    env_random(&srv->hash_seed, sizeof srv->hash_seed);
    struct topology t = topology_choose(srv);
    mesh_init(&srv->mesh, (uint16_t)(t.threads + 1), t.nets, t.shards);
    srv->thread = (struct thread){
        .id = t.threads, .net_id = -1, .shard_id = -1, .mesh = &srv->mesh, .owner = srv};
    snprintf(srv->thread.name, sizeof srv->thread.name, "main");
    srv->mesh.threads[t.threads] = &srv->thread;
    thread_enter(&srv->thread);
    if (!durable_open(srv, why)) return false;
    if (!router_init(&srv->router, &srv->mem, config, t.shards, srv->hash_seed, why)) return false;
    scripts_init(&srv->scripts);
    slowlog_init(&srv->slowlog, config->slowlog_entries_max);
    latency_init(&srv->latency);
    acl_init(&srv->acl, &srv->router);
    if (!read_users(srv, why)) return false;
    srv->route_ticks =
        mem_alloc_zeroed(&srv->mem, srv->router.route_count * sizeof *srv->route_ticks);
    workers_init(srv, &t);
    saver_init(srv);
    rewriter_init(srv);
    lending_update(srv, config);
    return true;
}

bool server_start(struct server *srv, char *why)
{
    const struct config *c = srv->config;
    struct env_loop_options options = {.name = "main", .backend = c->io_backend};
    if (env_loop_create(&options, &srv->thread.loop, why) != OK) return false;
    if (!boot_prepare(srv, why)) return false;
    bool pin = c->pin_threads == CONFIG_PIN_YES ||
               (c->pin_threads == CONFIG_PIN_AUTO && srv->worker_count > 1 &&
                srv->cpus.affinity_count == srv->cpus.online_count &&
                srv->worker_count == srv->cpus.affinity_count && srv->cpus.cgroup_quota == 0);
    for (uint16_t i = 0; i < srv->worker_count; i++)
        if (!worker_start(&srv->workers[i], pin, why)) return false;
    log_notice("I/O: %s", env_loop_description(srv->workers[0].thread.loop));
    container_begin(srv);
    if (!listeners_open(srv, c, why)) return false;
    struct mem_totals totals;
    mem_read_totals(&totals);
    srv->startup_metadata_bytes = totals.metadata;
    srv->startup_memory_bytes = server_live_bytes(srv);
    for (uint16_t i = 0; i < srv->mesh.net_count; i++)
        srv->startup_net_bytes += mem_live_bytes(&srv->net_workers[i]->net.mem);
    srv->cron_next_ns = env_now_ns();
    boot_begin(srv);
    return true;
}

/* ---- running ---- */

void server_request_stop(struct server *srv)
{
    srv->should_stop = true;
}

static void sample(struct server *srv, uint64_t now_ns)
{
    struct server_samples *s = &srv->samples;
    uint64_t ops = server_commands_processed(srv), in = 0, out = 0;
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        in += counter_read(&srv->net_workers[i]->net.counters.bytes_in);
        out += counter_read(&srv->net_workers[i]->net.counters.bytes_out);
    }
    /* After CONFIG RESETSTAT a total may be less than before. */
    s->last_ops = MIN(s->last_ops, ops);
    s->last_in = MIN(s->last_in, in);
    s->last_out = MIN(s->last_out, out);
    double seconds = s->last_ns ? (double)(now_ns - s->last_ns) / 1e9 : 0;
    /* A moving average over about a second and a half, as users of instantaneous_ops_per_sec
     * expect. */
    if (seconds > 0) {
        double keep = 15.0 / 16.0;
        s->ops_average = s->ops_average * keep + (double)(ops - s->last_ops) / seconds * (1 - keep);
        s->in_average = s->in_average * keep + (double)(in - s->last_in) / seconds * (1 - keep);
        s->out_average = s->out_average * keep + (double)(out - s->last_out) / seconds * (1 - keep);
        counter_set(&s->ops_per_s, (uint64_t)(s->ops_average + 0.5));
        counter_set(&s->input_bytes_per_s, (uint64_t)s->in_average);
        counter_set(&s->output_bytes_per_s, (uint64_t)s->out_average);
    }
    s->last_ns = now_ns;
    s->last_ops = ops;
    s->last_in = in;
    s->last_out = out;
    stats_sample(srv, seconds);
    uint64_t live = server_live_bytes(srv);
    if (live > counter_read(&s->used_memory_peak_bytes))
        counter_set(&s->used_memory_peak_bytes, live);
}

/* With dynamic-hz it doubles while there are more than so many clients to one of its turns. */
#define CLIENTS_PER_TURN_MAX 200

static void raise_hz(struct server *srv)
{
    uint64_t hz = (uint64_t)srv->config->hz, clients = open_connections(srv);
    while (srv->config->dynamic_hz && clients / hz > CLIENTS_PER_TURN_MAX && hz < CONFIG_HZ_MAX)
        hz = MIN(hz * 2, CONFIG_HZ_MAX);
    counter_set(&srv->hz, hz);
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        counter_set(&srv->shard_workers[i]->shard.raised_hz, hz);
}

void server_step(struct server *srv, uint64_t max_sleep_ns)
{
    thread_enter(&srv->thread);
    uint64_t now_ns = srv->thread.now_ns;
    bool any = thread_run_calls(&srv->thread);
    take_events(srv);
    saver_step(srv);
    shutdown_step(srv);
    any |= loader_step(srv);
    replay_step(srv);
    import_step(srv);
    rewriter_step(srv);
    if (now_ns >= srv->cron_next_ns && srv->is_cron_paused) {
        client_eviction_update(srv); /* not by the clock in Redis */
        srv->cron_next_ns = now_ns + CRON_NS;
    } else if (now_ns >= srv->cron_next_ns) {
        sample(srv, now_ns);
        container_update(srv);
        raise_hz(srv);
        lending_update(srv, srv->config);
        defragmenter_update(srv, now_ns);
        client_eviction_update(srv);
        script_sweep_update(srv);
        saver_cron(srv);
        durable_cron(srv);
        rewriter_cron(srv);
        srv->cron_next_ns = now_ns + CRON_NS;
    }
    uint64_t sleep_ns = any ? 0 : MIN(max_sleep_ns, srv->cron_next_ns - now_ns);
    sleeper_announce(&srv->thread.sleeper);
    if (!thread_calls_empty(&srv->thread)) sleep_ns = 0;
    env_wait(srv->thread.loop, sleep_ns);
    sleeper_cancel(&srv->thread.sleeper);
}

/* ---- stop ---- */

static bool workers_drained(const struct server *srv)
{
    for (uint16_t i = 0; i < srv->worker_count; i++)
        if (srv->workers[i].is_started &&
            !atomic_load_explicit(&srv->workers[i].is_drained, memory_order_acquire))
            return false;
    return true;
}

static void log_is_sealed(UNUSED struct server *srv, bool ok)
{
    if (ok) log_notice("The append only log is closed");
}

/* Nothing of the main thread's is at a worker. */
static bool main_is_drained(const struct server *srv)
{
    return srv->accepted_count == 0 && srv->acl_sweeps == 0 && !srv->change && !srv->queue_first &&
           srv->client_eviction.waiting == 0 && srv->script_sweep.waiting == 0 &&
           srv->obstacle_changes == 0 && saver_is_idle(&srv->saver) &&
           loader_is_idle(&srv->loader) && replay_is_idle(&srv->replay) &&
           import_is_idle(&srv->import) && !srv->durable.round && rewriter_is_idle(&srv->rewriter);
}

/* Nothing changes any more, so the log ends here. A disk that fails is given some time. */
static void seal_log(struct server *srv)
{
    if (!srv->durable.is_on) return;
    uint64_t give_up_ns = env_now_ns() + SEAL_PATIENCE_NS;
    durable_seal(srv, log_is_sealed);
    while (srv->durable.is_on && env_now_ns() < give_up_ns) server_step(srv, 1000000);
    if (srv->durable.is_on) log_warning("The append only log could not be closed in time");
}

void server_stop(struct server *srv)
{
    listeners_close(srv);
    listeners_await_closed(srv);
    uint64_t give_up_ns = env_now_ns() + STOP_PATIENCE_NS;
    saver_cancel(srv);
    rewriter_cancel(srv);
    loader_cancel(srv);
    replay_cancel(srv);
    import_cancel(srv);
    /* Workers close the connections that they have, so those on their way must have arrived. */
    while (!main_is_drained(srv) && env_now_ns() < give_up_ns) server_step(srv, 1000000);
    for (uint16_t i = 0; i < srv->worker_count; i++) worker_ask_to_stop(&srv->workers[i]);
    while (!(workers_drained(srv) && main_is_drained(srv)) && env_now_ns() < give_up_ns)
        server_step(srv, 1000000);
    seal_log(srv);
    srv->is_drained = workers_drained(srv) && main_is_drained(srv);
    for (uint16_t i = 0; i < srv->worker_count; i++) worker_join(&srv->workers[i]);
    if (!saver_is_idle(&srv->saver)) saver_give_up(srv);
    if (srv->thread.loop) env_loop_destroy(srv->thread.loop);
    srv->thread.loop = NULL;
}

void server_deinit(struct server *srv)
{
    for (uint16_t i = 0; i < srv->worker_count; i++) worker_deinit(&srv->workers[i]);
    client_eviction_deinit(srv);
    script_sweep_deinit(srv);
    saver_deinit(srv);
    durable_deinit(srv);
    rewriter_deinit(srv);
    mem_free(&srv->mem, srv->workers, srv->worker_count * sizeof *srv->workers);
    mem_free(&srv->mem, srv->net_workers, srv->mesh.net_count * sizeof(struct worker *));
    mem_free(&srv->mem, srv->shard_workers, srv->mesh.shard_count * sizeof(struct worker *));
    mem_free(&srv->mem, srv->all_shards, srv->mesh.shard_count * sizeof *srv->all_shards);
    mem_free(&srv->mem, srv->route_ticks, srv->router.route_count * sizeof *srv->route_ticks);
    scripts_deinit(&srv->scripts);
    slowlog_deinit(&srv->slowlog);
    latency_deinit(&srv->latency);
    acl_deinit(&srv->acl);
    router_deinit(&srv->router);
    mesh_deinit(&srv->mesh);
}
