#include "tests/sim/run.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "server/server.h"
#include "server/worker.h"
#include "tests/sim/commands.h"
#include "tests/sim/env_disk.h"
#include "tests/sim/env_sim.h"
#include "tests/sim/recovered.h"

#define PORT 6379
#define BATCH_MAX 24
#define STEPS_MAX 400000
#define STOP_STEPS_MAX 100000
#define RECOVER_STEPS_MAX 400000
#define LOGGED_PCT 15
#define REPLY_STEPS_MAX 2000
#define RUSH_NS_MAX 40000000
#define FAULTY_PCT 30
#define FAULT "mem_try_alloc"
#define FAULT_DISTANCE_MAX 12 /* allocations until one fails */

struct client {
    struct sim_client *socket;
    uint64_t id; /* the server's; 0: not known yet */
    size_t sent, answered, total;
    size_t closes_at; /* after so many replies it is gone at once; SIZE_MAX: never */
    bool is_over, is_cut;
};

struct simulation {
    struct server *server;
    struct config *config; /* it starts with */
    struct history *history;
    struct client clients[HISTORY_CLIENTS_MAX];
    unsigned client_count;
    struct command_mix mix;
    struct disk *disk;
    unsigned disk_pct;    /* how fast it is */
    bool has_clocked_log; /* appendfsync always: a commit waits a moment for others */
    size_t answered;      /* commands of all clients */
    bool stops_at_reply;  /* not before the next reply has come */
    unsigned rushes_pct; /* how often much time passes, so that what is done by the clock is done */
    bool has_faults, is_armed, has_cut;
    unsigned faults_pct;
    bool is_listening, has_ended; /* the server */
    uint64_t stops_at; /* the server stops after so many steps, in the middle of everything;
                          UINT64_MAX: when all is answered */
    char *why;
};

/* What main() does, on the main thread. The workers' threads are fibers as well (threads.c). */
static void main_fiber(void *argument)
{
    struct simulation *sim = argument;
    struct server *srv = sim->server;
    char why[SERVER_WHY_BYTES] = "";
    if (!server_init(srv, sim->config, why) || !server_start(srv, why)) {
        snprintf(sim->why, RUN_WHY_BYTES, "the server does not start: %.200s", why);
        sim->has_ended = true;
        return;
    }
    sim->is_listening = true;
    while (!srv->should_stop) server_step(srv, UINT64_MAX);
    server_stop(srv);
    sim->has_ended = true;
}

/* Something happens somewhere; false: only time can bring it. */
static bool advance(struct simulation *sim)
{
    if (sim_chance(sim->disk_pct) && disk_complete_one(sim->disk, sim_random())) return true;
    return sim_step() || disk_complete_one(sim->disk, sim_random());
}

/* ---- boot and end ---- */

static void choose_shape(struct run_shape *shape)
{
    bool is_fused = sim_chance(60);
    shape->nets = shape->shards = shape->threads = is_fused ? 1 + (unsigned)sim_below(4) : 0;
    if (!is_fused) {
        shape->nets = 1 + (unsigned)sim_below(3);
        shape->shards = 1 + (unsigned)sim_below(3);
    }
    shape->clients = 4 + (unsigned)sim_below(5);
}

static void choose_log(struct run_shape *shape)
{
    static const char *const policies[] = {"always", "everysec", "no"};
    shape->has_log = sim_chance(LOGGED_PCT);
    shape->policy = policies[sim_below(ARRAY_LEN(policies))];
}

static enum err load_config(const struct run_shape *shape, struct mem *mem, struct config *config)
{
    char words[19][32];
    char *argv[20] = {NULL};
    unsigned argc = 0;
    snprintf(words[argc++], sizeof words[0], "sim");
    snprintf(words[argc++], sizeof words[0], "--port");
    snprintf(words[argc++], sizeof words[0], "%u", PORT);
    snprintf(words[argc++], sizeof words[0], "--bind");
    snprintf(words[argc++], sizeof words[0], "127.0.0.1");
    snprintf(words[argc++], sizeof words[0], "--pin-threads");
    snprintf(words[argc++], sizeof words[0], "no");
    snprintf(words[argc++], sizeof words[0], shape->threads ? "--threads" : "--net-threads");
    snprintf(words[argc++], sizeof words[0], "%u", shape->nets);
    if (!shape->threads) {
        snprintf(words[argc++], sizeof words[0], "--shard-threads");
        snprintf(words[argc++], sizeof words[0], "%u", shape->shards);
    }
    snprintf(words[argc++], sizeof words[0], "--save");
    words[argc++][0] = '\0'; /* its writer is a thread of the system's */
    if (shape->has_log) {
        snprintf(words[argc++], sizeof words[0], "--dir");
        snprintf(words[argc++], sizeof words[0], "/");
        snprintf(words[argc++], sizeof words[0], "--appendonly");
        snprintf(words[argc++], sizeof words[0], "yes");
        snprintf(words[argc++], sizeof words[0], "--appendfsync");
        snprintf(words[argc++], sizeof words[0], "%s", shape->policy);
    }
    for (unsigned i = 0; i < argc; i++) argv[i] = words[i];
    struct buf error = {.mem = mem};
    enum err e = config_load((int)argc, argv, mem, config, &error);
    if (e != OK) printf("%.*s\n", (int)error.size, error.data);
    return e;
}

static void boot(struct simulation *sim, const struct run_shape *shape)
{
    struct server *srv = sim->server = calloc(1, sizeof *srv);
    CHECK(srv);
    mem_init(&srv->mem, "server");
    struct config *config = mem_alloc_zeroed(&srv->mem, sizeof *config);
    CHECK(load_config(shape, &srv->mem, config) == OK);
    srv->is_recording = true;
    sim->config = config;
    sim_start(main_fiber, sim);
}

static void tear_down(struct simulation *sim)
{
    struct server *srv = sim->server;
    struct config *config = (struct config *)(uintptr_t)srv->config;
    server_deinit(srv);
    config_deinit(config);
    mem_free(&srv->mem, config, sizeof *config);
    mem_deinit(&srv->mem);
    free(srv);
}

static bool fail(struct simulation *sim, const char *what)
{
    snprintf(sim->why, RUN_WHY_BYTES, "%s", what);
    return false;
}

static bool stop(struct simulation *sim)
{
    server_request_stop(sim->server);
    env_wake(NULL, sim->server->thread.loop);
    for (unsigned n = 0; !sim_all_over(); n++) {
        if (n > STOP_STEPS_MAX) return fail(sim, "the server does not stop");
        if (!advance(sim) && !sim_sleep()) return fail(sim, "the server sleeps and does not stop");
    }
    return true;
}

/* ---- clients ---- */

static struct client_history *history_of(struct simulation *sim, const struct client *c)
{
    return &sim->history->clients[c - sim->clients];
}

static void learn_id(struct simulation *sim, struct client *c)
{
    for (uint16_t i = 0; i < sim->server->mesh.net_count; i++) {
        struct netloop *nl = &sim->server->net_workers[i]->net;
        for (uint32_t at = 0; at < nl->place_count; at++) {
            const struct conn *conn = netloop_conn_at(nl, at);
            if (conn && conn->socket.fd == sim_client_fd(c->socket)) c->id = conn->id;
        }
    }
}

static bool may_send(struct simulation *sim, struct client *c)
{
    if (c->is_over || c->sent == c->total) return false;
    if (c->id == 0) learn_id(sim, c);
    return c->id != 0 && c->sent - c->answered < BATCH_MAX;
}

static void send_batch(struct simulation *sim, struct client *c)
{
    unsigned index = (unsigned)(c - sim->clients);
    size_t wanted = 1 + sim_below(sim_chance(30) ? BATCH_MAX : 4), left = c->total - c->sent;
    for (size_t count = MIN(wanted, left); count > 0; count--) {
        const struct step *s = commands_make(&sim->mix, sim->history, index);
        sim_client_send(c->socket, bytes_make(s->request, s->request_bytes));
        c->sent++;
    }
    /* Half closed: everything that was asked is still answered. */
    if (c->sent == c->total && sim_chance(30)) sim_client_finish(c->socket);
}

static bool take_replies(struct simulation *sim, struct client *c)
{
    struct client_history *h = history_of(sim, c);
    for (;;) {
        struct bytes received = sim_client_received(c->socket);
        size_t size = resp_reply_bytes(received);
        if (size == 0) break;
        if (c->answered == c->sent)
            return fail(sim, "a client received a reply that it did not ask for");
        sim->answered++;
        history_set_reply(&h->steps[c->answered++], bytes_make(received.data, size));
        sim_client_drop(c->socket, size);
    }
    if (c->answered >= c->closes_at) {
        sim_client_close(c->socket);
        c->is_over = c->is_cut = true;
    }
    if (c->answered == c->total) c->is_over = true;
    if (!c->is_over && sim_client_is_closed(c->socket)) {
        if (!sim->has_faults) return fail(sim, "the server closed a connection");
        c->is_over = c->is_cut = sim->has_cut = true;
    }
    return true;
}

static bool try_send(struct simulation *sim)
{
    unsigned first = (unsigned)sim_below(sim->client_count);
    for (unsigned i = 0; i < sim->client_count; i++) {
        struct client *c = &sim->clients[(first + i) % sim->client_count];
        if (!may_send(sim, c)) continue;
        send_batch(sim, c);
        return true;
    }
    return false;
}

static void connect_clients(struct simulation *sim, unsigned count)
{
    sim->client_count = sim->history->client_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &sim->clients[i];
        *c = (struct client){.socket = sim_connect(PORT), .closes_at = SIZE_MAX};
        CHECK(c->socket);
        c->total = 10 + sim_below(60);
        if (i > 0 && sim_chance(15) && !sim->has_faults) c->closes_at = sim_below(c->total);
    }
}

static void maybe_fail(struct simulation *sim, struct run_totals *totals)
{
    if (!sim->has_faults) return;
    bool was_armed = sim->is_armed;
    sim->is_armed = atomic_load(&fault_points_armed) > 0;
    totals->faults += was_armed && !sim->is_armed;
    if (sim->is_armed || !sim_chance(sim->faults_pct)) return;
    fault_set(FAULT, 1 + (unsigned)sim_below(FAULT_DISTANCE_MAX));
    sim->is_armed = true;
}

static bool drive(struct simulation *sim, struct run_totals *totals)
{
    bool all_over = false;
    size_t answered = 0;
    for (uint64_t n = 0; !all_over; n++) {
        if (n == sim->stops_at) answered = sim->answered;
        bool has_news = sim->answered != answered || n > sim->stops_at + REPLY_STEPS_MAX;
        if (n >= sim->stops_at && (has_news || !sim->stops_at_reply)) return true;
        if (n > STEPS_MAX) return fail(sim, "no end: the server is busy with nothing");
        maybe_fail(sim, totals);
        bool sent = sim_chance(10) && try_send(sim);
        if (sim->rushes_pct && sim_chance(sim->rushes_pct))
            sim_time_advance(sim_below(RUSH_NS_MAX));
        if (!sent && !advance(sim) && !try_send(sim) &&
            !((sim->has_clocked_log || sim->has_faults) && sim_sleep()))
            return fail(sim, "every loop sleeps while replies are due: a lost wake");
        all_over = true;
        for (unsigned i = 0; i < sim->client_count; i++) {
            struct client *c = &sim->clients[i];
            if (!c->is_over && !take_replies(sim, c)) return false;
            all_over &= c->is_over;
        }
        totals->steps++;
    }
    return true;
}

/* ---- the recorded order ---- */

static int by_order(const void *left, const void *right)
{
    const struct record *a = left, *b = right;
    if (a->order != b->order) return a->order < b->order ? -1 : 1;
    if (a->thread != b->thread) return a->thread < b->thread ? -1 : 1;
    if (a->thread_turn != b->thread_turn) return a->thread_turn < b->thread_turn ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static struct record *collect_records(struct simulation *sim, size_t *count_out)
{
    size_t bytes = 0;
    char *all = NULL;
    for (uint16_t i = 0; i < sim->server->mesh.net_count; i++) {
        const struct recorder *r = sim->server->net_workers[i]->recorder;
        if (r->turn_start == 0) continue;
        all = realloc(all, bytes + r->turn_start);
        CHECK(all);
        memcpy(all + bytes, r->records.data, r->turn_start);
        bytes += r->turn_start;
    }
    *count_out = bytes / sizeof(struct record);
    if (bytes > 0) qsort(all, *count_out, sizeof(struct record), by_order);
    return (struct record *)(void *)all;
}

static struct client *client_by_id(struct simulation *sim, uint64_t id)
{
    for (unsigned i = 0; i < sim->client_count; i++)
        if (sim->clients[i].id == id) return &sim->clients[i];
    return NULL;
}

static bool is_ordered_by_client(struct simulation *sim, const struct record *records, size_t count)
{
    uint64_t next[HISTORY_CLIENTS_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        const struct client *c = client_by_id(sim, records[i].client_id);
        if (!c || records[i].request >= c->sent)
            return fail(sim, "the record names a command that nobody sent");
        uint64_t *at = &next[c - sim->clients];
        struct step *s = &history_of(sim, c)->steps[records[i].request];
        if (!s->is_ordered)
            return fail(sim, "the record names a command that has no place in the order");
        if (records[i].request < *at)
            return fail(sim, "the record has commands of one client twice, or in another order "
                             "than they were sent");
        *at = records[i].request + 1;
        history_append_order(sim->history, s);
    }
    return true;
}

static bool is_complete(struct simulation *sim)
{
    size_t answered = 0, recorded = 0;
    for (unsigned i = 0; i < sim->client_count; i++)
        for (size_t k = 0; k < history_of(sim, &sim->clients[i])->step_count; k++) {
            const struct step *s = &history_of(sim, &sim->clients[i])->steps[k];
            answered += s->reply && s->is_ordered && !s->is_refused;
        }
    for (size_t i = 0; i < sim->history->order_count; i++)
        recorded += sim->history->order[i]->reply && !sim->history->order[i]->is_refused;
    return answered == recorded ||
           fail(sim, "a command that was answered is missing in the record");
}

/* False: a connection was closed, or a block did not begin, and the rest is another one than was
 * meant. */
static bool find_refused(struct simulation *sim, struct run_totals *totals)
{
    bool is_clear = !sim->has_cut;
    for (unsigned i = 0; sim->has_faults && i < sim->client_count; i++)
        for (size_t k = 0; k < history_of(sim, &sim->clients[i])->step_count; k++) {
            struct step *s = &history_of(sim, &sim->clients[i])->steps[k];
            s->is_refused = s->reply && is_refusal(bytes_make(s->reply, s->reply_bytes));
            totals->refused += s->is_refused;
            is_clear &= !(s->is_refused && bytes_equal_nocase(s->argv[0], "multi"));
        }
    totals->cut += !is_clear;
    return is_clear;
}

static bool read_order(struct simulation *sim)
{
    size_t count;
    struct record *records = collect_records(sim, &count);
    bool ok = is_ordered_by_client(sim, records, count) && is_complete(sim);
    free(records);
    return ok;
}

static void add_totals(const struct server *srv, struct run_totals *totals)
{
    for (uint16_t i = 0; i < srv->mesh.net_count; i++) {
        const struct net_counters *c = &srv->net_workers[i]->net.counters;
        totals->in_place += counter_read(&c->turns_in_place);
        totals->sequenced += counter_read(&c->turns) - counter_read(&c->turns_in_place);
    }
    for (uint16_t i = 0; i < srv->mesh.shard_count; i++)
        totals->locked_waits += counter_read(&srv->shard_workers[i]->shard.counters.locked_waits);
}

static void choose(uint64_t seed, struct run_shape *shape, struct sim_options *options)
{
    *options = (struct sim_options){.seed = seed};
    sim_init(options);
    choose_shape(shape);
    choose_log(shape);
    static const unsigned buffers[] = {0, 2, 4, 16}, pieces[] = {0, 0, 16, 200};
    options->seed = sim_random();
    options->buffers_max = shape->buffers_max = buffers[sim_below(ARRAY_LEN(buffers))];
    options->piece_bytes_max = pieces[sim_below(ARRAY_LEN(pieces))];
    options->wakes_spuriously = shape->wakes_spuriously = sim_chance(20);
    options->preempts_pct = sim_chance(50) ? 0 : 20;
    options->slow_readers_pct = sim_chance(50) ? 0 : 40;
    shape->has_faults = !shape->has_log && sim_chance(FAULTY_PCT);
    sim_deinit();
}

static void use_disk(struct simulation *sim, struct disk *d)
{
    sim->disk = d;
    disk_use(d);
    disk_on_call(d, sim_maybe_yield);
}

static bool await_loaded(struct simulation *sim)
{
    for (unsigned n = 0; !(sim->is_listening && sim->server->is_loaded); n++) {
        if (sim->has_ended)
            return sim->why[0] ? false : fail(sim, "the server does not start from its log");
        if (n > RECOVER_STEPS_MAX) return fail(sim, "the server does not become ready");
        if (!advance(sim)) CHECK(sim_sleep());
    }
    return true;
}

/* ---- after the end ---- */

static bool ask_for_all(struct simulation *sim, struct recovered *out)
{
    char text[512];
    int size = snprintf(text, sizeof text, "*%d\r\n$4\r\nMGET\r\n", COMMANDS_KEYS_MAX + 1);
    for (unsigned k = 0; k < COMMANDS_KEYS_MAX; k++)
        size += snprintf(text + size, sizeof text - (size_t)size, "$%zu\r\n%s\r\n",
                         commands_key(k).size, commands_key(k).data);
    struct sim_client *c = sim_connect(PORT);
    CHECK(c);
    sim_client_send(c, bytes_make(text, (size_t)size));
    while (resp_reply_bytes(sim_client_received(c)) == 0)
        if (!advance(sim) && !sim_sleep()) return fail(sim, "no answer after the crash");
    recovered_parse(out, sim_client_received(c));
    sim_client_close(c);
    return true;
}

/* A server of another shape starts from what the disk holds, says what is there, and stops. */
static bool start_with(struct simulation *sim, const struct run_shape *shape, struct recovered *out)
{
    sim_init(&(struct sim_options){.seed = sim_random(), .preempts_pct = sim_chance(50) ? 0 : 20});
    use_disk(sim, sim->disk);
    sim->is_listening = sim->has_ended = false;
    boot(sim, shape);
    return await_loaded(sim) && ask_for_all(sim, out) && stop(sim);
}

/* docs/PERSISTENCE.md, unfinished transactions: whose keys live on several shards now. */
static bool wants_old_shape(const struct simulation *sim)
{
    return sim->has_ended && strstr(sim->server->replay.why, "as many shards as before");
}

static bool start_again(struct simulation *sim, struct run_shape shape, struct recovered *out)
{
    struct run_shape other = shape;
    choose_shape(&other);
    bool ok = start_with(sim, &other, out);
    bool again = !ok && wants_old_shape(sim);
    if (!ok && !again) return false;
    tear_down(sim);
    if (again) {
        sim->why[0] = '\0';
        if (!start_with(sim, &shape, out)) return false;
        tear_down(sim);
    }
    sim_deinit();
    return true;
}

/* What is lost with the power is, without `always`, more than one log can tell: only that the
 * server starts, and finds the same again. */
enum promise { PROMISE_A_START, PROMISE_WRITES, PROMISE_READS };

static bool check_recovered(struct simulation *sim, const struct run_shape *shape,
                            enum promise promise, struct run_totals *totals)
{
    struct recovered once = {.value_bytes = {0}}, twice = {.value_bytes = {0}};
    bool ok = start_again(sim, *shape, &once);
    if (ok && promise != PROMISE_A_START) {
        enum recovered_result result =
            recovered_check(sim->history, &once, promise == PROMISE_READS, sim->why);
        ok = result != RECOVERED_WRONG;
        totals->undecided += result == RECOVERED_UNDECIDED;
    }
    if (ok && sim_chance(30)) {
        ok = start_again(sim, *shape, &twice);
        if (ok && !recovered_equal(&once, &twice))
            ok = fail(sim, "a second start finds other data");
    }
    recovered_clear(&once);
    recovered_clear(&twice);
    return ok;
}

/* Everything stops where it is. The memory of the process is left as it is; the order is read from
 * it. */
static bool crash(struct simulation *sim, struct run_shape *shape, struct run_totals *totals)
{
    static const char *const names[] = {"kill -9",      "lose all",      "keep all", "lose writes",
                                        "lose sectors", "tear the last", "misplace"};
    enum disk_crash how = sim_chance(40) ? DISK_KILL : (enum disk_crash)sim_below(DISK_CRASH_COUNT);
    bool is_kill = how == DISK_KILL, is_always = strcmp(shape->policy, "always") == 0;
    shape->crash = names[how];
    totals->crashes++;
    totals->rewrites += counter_read(&sim->server->rewriter.rewrites);
    for (unsigned i = 0; i < sim->client_count; i++)
        if (!sim->clients[i].is_over && !take_replies(sim, &sim->clients[i])) return false;
    if (!read_order(sim)) return false;
    sim->disk = disk_crash(sim->disk, disk_trace_length(sim->disk), how, sim_random());
    enum promise promise = is_always ? PROMISE_READS : is_kill ? PROMISE_WRITES : PROMISE_A_START;
    return check_recovered(sim, shape, promise, totals);
}

/* ---- one run ---- */

bool run_has_log(uint64_t seed)
{
    struct run_shape shape = {.threads = 0};
    struct sim_options options;
    choose(seed, &shape, &options);
    return shape.has_log;
}

static bool end_orderly(struct simulation *sim, const struct run_shape *shape,
                        struct run_totals *totals)
{
    for (unsigned i = 0; i < sim->client_count; i++)
        if (!sim->clients[i].is_cut && sim_chance(50)) sim_client_close(sim->clients[i].socket);
    fault_set(FAULT, 0);
    if (!stop(sim)) return false;
    if (find_refused(sim, totals) && !read_order(sim)) return false;
    if (!sim->server->is_drained)
        return fail(sim, "the server gave up waiting for what was under way");
    add_totals(sim->server, totals);
    tear_down(sim);
    uint64_t seed = sim_random();
    sim_deinit();
    if (!shape->has_log) return true;
    sim_init(&(struct sim_options){.seed = seed});
    return check_recovered(sim, shape, PROMISE_READS, totals);
}

bool run_simulate(uint64_t seed, struct history *h, struct run_shape *shape,
                  struct run_totals *totals, char *why)
{
    struct sim_options options;
    choose(seed, shape, &options);
    sim_init(&options);
    log_set_level(LOG_NOTHING);
    struct simulation sim = {.history = h, .why = why};
    struct disk *disk = disk_create();
    use_disk(&sim, disk);
    commands_init(&sim.mix);
    if (shape->has_log) {
        sim.mix.rewrite_pct = sim_chance(50) ? 30 : 0;
        sim.rushes_pct = sim_chance(50) ? 2 : 0;
        totals->logged++;
    }
    if (shape->has_faults) {
        sim.has_faults = sim.mix.takes_nothing = true;
        sim.faults_pct = 1 + (unsigned)sim_below(30);
        totals->faulty++;
    }
    sim.disk_pct = sim_chance(50) ? 2 : 15;
    sim.has_clocked_log = shape->has_log && strcmp(shape->policy, "always") == 0;
    sim.stops_at_reply = shape->has_log && sim_chance(60);
    boot(&sim, shape);
    bool ok = await_loaded(&sim);
    if (ok) connect_clients(&sim, shape->clients);
    bool crashes = shape->has_log && sim_chance(85);
    sim.stops_at = crashes                                ? sim_below(sim_chance(50) ? 6000 : 1500)
                   : sim_chance(15) && !shape->has_faults ? sim_below(1500)
                                                          : UINT64_MAX;
    ok = ok && drive(&sim, totals);
    if (!ok) return false; /* The process is about to end: nothing is torn down. */
    ok = crashes ? crash(&sim, shape, totals) : end_orderly(&sim, shape, totals);
    if (!ok) return false;
    if (sim.disk != disk) disk_destroy(sim.disk);
    disk_destroy(disk);
    return true;
}
