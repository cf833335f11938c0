#include "tests/sim/env_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "shard/shard.h"
#include "tests/sim/fiber.h"

#define WHY_BYTES (2 * ENV_NAME_BYTES_MAX)
#define FIRST_FD 100
#define START_NS UINT64_C(1000000000)
#define START_WALL_US INT64_C(1700000000000000)
#define STEP_NS_MAX 50000 /* a step takes up to so much time */
#define PIECE_BYTES 65536
#define SLOW_BYTES 7
#define LOOPS_MAX 32

struct queue {
    char *data;
    size_t start, size, capacity;
};

/* One connection, both ends. Its descriptor is FIRST_FD plus its index. */
struct sim_client {
    unsigned index;
    uint16_t port;
    /* client → server */
    struct queue wire; /* the first `arrived` bytes can be received */
    size_t arrived;
    bool is_finished, is_finish_arrived, is_reset;
    /* server → client */
    struct queue received;
    bool is_slow, is_closed;
    /* the server's end */
    struct env_loop *loop; /* NULL: not adopted yet */
    struct env_socket *socket;
    bool is_receiving, receives_late, is_closing, is_close_ready;
    const struct iovec *pieces; /* being sent */
    unsigned piece_count, piece_index;
    size_t piece_done, sent;
    bool is_sending, is_send_ready;
};

struct listener {
    struct env_loop *loop;
    struct env_socket *socket;
    uint16_t port; /* 0: a Unix path */
    char path[ENV_NAME_BYTES_MAX];
    unsigned *waiting; /* clients to be accepted */
    unsigned waiting_count;
    bool is_closing;
};

struct event {
    enum env_event_kind kind;
    bool is_listener;
    unsigned index; /* of the client or listener */
    size_t size;    /* ENV_RECV: so many bytes; 0: the end */
};

struct env_loop {
    char name[THREAD_NAME_BYTES];
    struct fiber *fiber;
    uint64_t deadline_ns; /* of env_wait; 0: it does not sleep */
    bool is_woken;
    struct env_loop *wakes[LOOPS_MAX]; /* ride on the next env_flush or env_wait */
    unsigned wake_count;
    struct event *events;
    unsigned event_count, event_index, event_capacity;
    unsigned buffer_count, buffers_lent, buffer_bytes;
};

struct world {
    struct sim_options options;
    uint64_t random_state;
    uint64_t now_ns;
    int64_t wall_offset_us; /* by sim_wall_jump */
    struct sim_client **clients;
    unsigned client_count;
    struct listener **listeners; /* NULL: closed */
    unsigned listener_count;
    struct fiber *fibers[LOOPS_MAX];
    struct env_loop *loops[LOOPS_MAX]; /* by fiber; NULL until its first env_wait */
    unsigned fiber_count;
    unsigned loop_count;
};

/* env.h has no parameter for it, as there is only one real world. */
static struct world world;

/* ---- small helpers ---- */

static void *grow(void *p, size_t size)
{
    void *grown = realloc(p, size);
    CHECK(grown);
    return grown;
}

static void queue_append(struct queue *q, const void *data, size_t size)
{
    if (q->start + q->size + size > q->capacity) {
        if (q->size > 0) memmove(q->data, q->data + q->start, q->size);
        q->start = 0;
        q->capacity = 2 * (q->size + size) + 64;
        q->data = grow(q->data, q->capacity);
    }
    if (size > 0) memcpy(q->data + q->start + q->size, data, size);
    q->size += size;
}

static void queue_drop(struct queue *q, size_t size)
{
    CHECK(size <= q->size);
    q->start += size;
    q->size -= size;
}

static const char *queue_data(const struct queue *q)
{
    return q->data ? q->data + q->start : "";
}

static void write_why(char *why, const char *format, ...) PRINTF_LIKE(2, 3);
static void write_why(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, WHY_BYTES, format, args);
    va_end(args);
}

/* splitmix64 */
uint64_t sim_random(void)
{
    uint64_t z = world.random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t limit)
{
    return sim_random() % limit;
}

/* 1 … limit, small ones more often. */
static size_t some_of(size_t limit)
{
    size_t n = sim_chance(50) ? limit : sim_chance(50) ? MIN(limit, (size_t)16) : limit / 2 + 1;
    return 1 + sim_below(n);
}

/* ---- the world ---- */

void sim_init(const struct sim_options *options)
{
    world = (struct world){.options = *options, .random_state = options->seed, .now_ns = START_NS};
}

static void client_free(struct sim_client *c)
{
    free(c->wire.data);
    free(c->received.data);
    free(c);
}

void sim_deinit(void)
{
    CHECK(world.loop_count == 0 && sim_all_over());
    for (unsigned i = 0; i < world.fiber_count; i++) fiber_destroy(world.fibers[i]);
    for (unsigned i = 0; i < world.client_count; i++) client_free(world.clients[i]);
    for (unsigned i = 0; i < world.listener_count; i++) CHECK(!world.listeners[i]);
    free(world.clients);
    free(world.listeners);
    world = (struct world){0};
}

void sim_time_advance(uint64_t ns)
{
    world.now_ns += ns;
}

void sim_wall_jump(int64_t us)
{
    world.wall_offset_us += us;
}

/* ---- time and randomness ---- */

uint64_t env_now_ns(void)
{
    return world.now_ns;
}

uint64_t env_thread_cpu_ns(void)
{
    return world.now_ns;
}

int64_t env_wall_us(void)
{
    return START_WALL_US + world.wall_offset_us + (int64_t)(world.now_ns / 1000);
}

void env_random(void *out, size_t size)
{
    char *at = out;
    for (size_t i = 0; i < size; i++) at[i] = (char)sim_random();
}

double env_ticks_per_us(void)
{
    return 1000;
}

/* ---- loops ---- */

/* Leaves the fiber, with what makes it a thread. */
static void leave(void)
{
    struct thread *thread = thread_here;
    struct shard *shard = shard_here;
    struct check_context context = *check_context_here();
    fiber_yield();
    thread_here = thread;
    shard_here = shard;
    *check_context_here() = context;
}

/* Between two calls of env.h within one step, as the other threads may come between them as well.
 */
static void maybe_leave(void)
{
    if (fiber_here() && sim_chance(world.options.preempts_pct)) leave();
}

enum err env_loop_create(const struct env_loop_options *options, struct env_loop **out, char *why)
{
    if (fault_hit("env_loop_create")) {
        write_why(why, "no loop: a planted fault");
        return ERR_IO;
    }
    struct env_loop *loop = calloc(1, sizeof *loop);
    CHECK(loop);
    snprintf(loop->name, sizeof loop->name, "%s", options->name);
    unsigned max = world.options.buffers_max;
    loop->buffer_count = max ? MIN(max, options->recv_buffer_count) : options->recv_buffer_count;
    loop->buffer_bytes = options->recv_buffer_bytes;
    world.loop_count++;
    *out = loop;
    return OK;
}

/* The server is gone from these connections. */
static void client_hang_up(struct sim_client *c)
{
    if (c->socket) c->socket->fd = -1;
    c->socket = NULL;
    c->loop = NULL;
    c->is_closed = true;
    c->is_sending = c->is_send_ready = false;
}

static void listener_free(unsigned index)
{
    struct listener *l = world.listeners[index];
    for (unsigned i = 0; i < l->waiting_count; i++) client_hang_up(world.clients[l->waiting[i]]);
    l->socket->fd = -1;
    free(l->waiting);
    free(l);
    world.listeners[index] = NULL;
}

void env_loop_destroy(struct env_loop *loop)
{
    CHECK(loop->buffers_lent == 0);
    for (unsigned i = 0; i < world.client_count; i++)
        if (world.clients[i]->loop == loop) client_hang_up(world.clients[i]);
    for (unsigned i = 0; i < world.listener_count; i++)
        if (world.listeners[i] && world.listeners[i]->loop == loop) listener_free(i);
    for (unsigned i = 0; i < world.fiber_count; i++)
        if (world.loops[i] == loop) world.loops[i] = NULL;
    world.loop_count--;
    free(loop->events);
    free(loop);
}

const char *env_loop_backend(UNUSED const struct env_loop *loop)
{
    return "simulator";
}

const char *env_loop_description(UNUSED const struct env_loop *loop)
{
    return "simulator";
}

static void deliver_wakes(struct env_loop *loop)
{
    for (unsigned i = 0; i < loop->wake_count; i++) loop->wakes[i]->is_woken = true;
    loop->wake_count = 0;
}

void env_flush(struct env_loop *loop)
{
    deliver_wakes(loop);
    maybe_leave();
}

void env_wake(struct env_loop *from, struct env_loop *target)
{
    CHECK(target);
    if (!from || from == target || from->wake_count == LOOPS_MAX)
        target->is_woken = true;
    else
        from->wakes[from->wake_count++] = target;
    maybe_leave();
}

static bool can_receive(const struct sim_client *c)
{
    if (!c->is_receiving || c->is_closing) return false;
    bool has_end = c->is_reset || (c->is_finish_arrived && c->arrived == 0);
    return has_end || (c->arrived > 0 && c->loop->buffers_lent < c->loop->buffer_count);
}

static bool client_is_ready(const struct sim_client *c)
{
    return c->is_close_ready || c->is_send_ready || can_receive(c);
}

static bool listener_is_ready(const struct listener *l)
{
    return l->is_closing || l->waiting_count > 0;
}

bool sim_loop_is_runnable(const struct env_loop *loop)
{
    if (loop->is_woken || loop->deadline_ns <= world.now_ns) return true;
    for (unsigned i = 0; i < world.client_count; i++)
        if (world.clients[i]->loop == loop && client_is_ready(world.clients[i])) return true;
    for (unsigned i = 0; i < world.listener_count; i++)
        if (world.listeners[i] && world.listeners[i]->loop == loop &&
            listener_is_ready(world.listeners[i]))
            return true;
    return false;
}

static void add_event(struct env_loop *loop, struct event e)
{
    if (loop->event_count == loop->event_capacity) {
        loop->event_capacity = 2 * loop->event_capacity + 16;
        loop->events = grow(loop->events, loop->event_capacity * sizeof(struct event));
    }
    loop->events[loop->event_count++] = e;
}

/* What is received now, cut into pieces. The rest stays for a later env_wait. */
static void add_received(struct env_loop *loop, struct sim_client *c)
{
    size_t left = some_of(c->arrived);
    size_t max = world.options.piece_bytes_max
                     ? MIN(world.options.piece_bytes_max, loop->buffer_bytes)
                     : loop->buffer_bytes;
    while (left > 0) {
        size_t size = some_of(MIN(left, max));
        add_event(loop, (struct event){.kind = ENV_RECV, .index = c->index, .size = size});
        left -= size;
    }
}

static void add_client_events(struct env_loop *loop, struct sim_client *c)
{
    if (c->is_close_ready) {
        add_event(loop, (struct event){.kind = ENV_CLOSED, .index = c->index});
        return;
    }
    if (c->is_closing) return;
    if (c->is_send_ready) add_event(loop, (struct event){.kind = ENV_SEND, .index = c->index});
    if (!can_receive(c)) return;
    if (c->arrived > 0 && !c->is_reset)
        add_received(loop, c);
    else
        add_event(loop, (struct event){.kind = ENV_RECV, .index = c->index});
}

static void add_listener_events(struct env_loop *loop, unsigned index)
{
    const struct listener *l = world.listeners[index];
    if (!l || l->loop != loop) return;
    if (l->is_closing) {
        add_event(loop, (struct event){.kind = ENV_CLOSED, .is_listener = true, .index = index});
        return;
    }
    for (unsigned i = 0; i < l->waiting_count; i++)
        add_event(loop, (struct event){.kind = ENV_ACCEPT, .is_listener = true, .index = index});
}

void env_wait(struct env_loop *loop, uint64_t timeout_ns)
{
    deliver_wakes(loop);
    loop->deadline_ns = timeout_ns == 0                          ? 0
                        : timeout_ns > UINT64_MAX - world.now_ns ? UINT64_MAX
                                                                 : world.now_ns + timeout_ns;
    struct fiber *here = fiber_here();
    if (here) {
        for (unsigned i = 0; i < world.fiber_count; i++)
            if (world.fibers[i] == here) world.loops[i] = loop;
        leave();
    }
    loop->is_woken = false;
    loop->deadline_ns = 0;
    loop->event_count = loop->event_index = 0;
    unsigned first = world.client_count > 0 ? (unsigned)sim_below(world.client_count) : 0;
    for (unsigned i = 0; i < world.client_count; i++) {
        struct sim_client *c = world.clients[(first + i) % world.client_count];
        if (c->loop == loop) add_client_events(loop, c);
    }
    for (unsigned i = 0; i < world.listener_count; i++) add_listener_events(loop, i);
}

/* ---- events ---- */

static bool take_received(struct env_loop *loop, struct sim_client *c, size_t size,
                          struct env_event *out)
{
    if (c->is_closing || !(c->is_receiving || c->receives_late)) return false;
    *out = (struct env_event){.kind = ENV_RECV, .socket = c->socket};
    if (size == 0 || c->is_reset) {
        out->status = c->is_reset ? ERR_CLOSED : OK;
        c->is_receiving = c->receives_late = false;
        return true;
    }
    if (loop->buffers_lent == loop->buffer_count) return false; /* Starved: it stays on the wire. */
    CHECK(size <= c->arrived);
    struct env_buffer *b = calloc(1, sizeof *b);
    char *data = malloc(size); /* Exactly: AddressSanitizer sees a step too far. */
    CHECK(b && data);
    memcpy(data, queue_data(&c->wire), size);
    queue_drop(&c->wire, size);
    c->arrived -= size;
    *b = (struct env_buffer){.loop = loop, .data = data, .refs = 1, .id = loop->buffers_lent++};
    out->buffer = b;
    out->data = data;
    out->size = size;
    return true;
}

static bool take_client_event(struct env_loop *loop, struct sim_client *c, const struct event *e,
                              struct env_event *out)
{
    if (e->kind == ENV_RECV) return take_received(loop, c, e->size, out);
    if (e->kind == ENV_CLOSED) {
        *out = (struct env_event){.kind = ENV_CLOSED, .socket = c->socket};
        c->is_close_ready = false;
        client_hang_up(c);
        return true;
    }
    if (c->is_closing) return false;
    *out = (struct env_event){.kind = ENV_SEND,
                              .socket = c->socket,
                              .size = c->sent,
                              .status = c->is_reset ? ERR_CLOSED : OK};
    c->is_sending = c->is_send_ready = false;
    return true;
}

static bool take_listener_event(struct listener *l, const struct event *e, struct env_event *out)
{
    *out = (struct env_event){.kind = e->kind, .socket = l->socket};
    if (e->kind == ENV_CLOSED) {
        listener_free(e->index);
        return true;
    }
    if (l->is_closing || l->waiting_count == 0) return false;
    out->accepted_fd = FIRST_FD + (int)l->waiting[0];
    l->waiting_count--;
    memmove(l->waiting, l->waiting + 1, l->waiting_count * sizeof l->waiting[0]);
    return true;
}

bool env_next(struct env_loop *loop, struct env_event *out)
{
    while (loop->event_index < loop->event_count) {
        const struct event *e = &loop->events[loop->event_index++];
        if (e->is_listener ? take_listener_event(world.listeners[e->index], e, out)
                           : take_client_event(loop, world.clients[e->index], e, out))
            return true;
    }
    return false;
}

/* ---- receive buffers ---- */

void env_buffer_release(struct env_buffer *b)
{
    CHECK(b->loop->buffers_lent > 0);
    b->loop->buffers_lent--;
    free(b->data);
    free(b);
}

unsigned env_buffers_free(const struct env_loop *loop)
{
    return loop->buffer_count - loop->buffers_lent;
}

/* ---- sockets ---- */

static struct sim_client *client_of(int fd)
{
    CHECK(fd >= FIRST_FD && (unsigned)(fd - FIRST_FD) < world.client_count);
    return world.clients[fd - FIRST_FD];
}

static struct listener *listener_create(struct env_loop *loop, struct env_socket *s)
{
    world.listeners = grow(world.listeners, (world.listener_count + 1) * sizeof(struct listener *));
    struct listener *l = calloc(1, sizeof *l);
    CHECK(l);
    memset(s, 0, sizeof *s);
    s->fd = (int)world.listener_count;
    l->loop = loop;
    l->socket = s;
    world.listeners[world.listener_count++] = l;
    return l;
}

static struct listener *listener_find(uint16_t port)
{
    for (unsigned i = 0; i < world.listener_count; i++) {
        struct listener *l = world.listeners[i];
        if (l && l->port == port && !l->is_closing) return l;
    }
    return NULL;
}

enum err env_listen_tcp(struct env_loop *loop, struct env_socket *s, const char *address,
                        uint16_t *port, UNUSED int backlog, char *why)
{
    uint16_t chosen = *port ? *port : (uint16_t)(50000 + world.listener_count);
    if (listener_find(chosen)) {
        write_why(why, "cannot listen on %s:%u: Address already in use", address, (unsigned)*port);
        return ERR_IO;
    }
    listener_create(loop, s)->port = chosen;
    *port = chosen;
    return OK;
}

enum err env_listen_unix(struct env_loop *loop, struct env_socket *s, const char *path,
                         unsigned mode, int backlog, char *why)
{
    UNUSED unsigned any = mode + (unsigned)backlog;
    if (strlen(path) >= ENV_NAME_BYTES_MAX) {
        write_why(why, "cannot listen on %.64s…: File name too long", path);
        return ERR_IO;
    }
    snprintf(listener_create(loop, s)->path, ENV_NAME_BYTES_MAX, "%s", path);
    return OK;
}

void env_socket_adopt(struct env_loop *loop, struct env_socket *s, int fd,
                      UNUSED unsigned keepalive_s)
{
    struct sim_client *c = client_of(fd);
    CHECK(!c->socket && !c->is_closed);
    memset(s, 0, sizeof *s);
    s->fd = fd;
    c->socket = s;
    c->loop = loop;
}

/* Nothing that is simulated imports files of another server. */
enum err env_socket_pair(int fds[2])
{
    fds[0] = fds[1] = -1;
    return ERR_IO;
}

void env_peer_name(int fd, char out[ENV_NAME_BYTES_MAX])
{
    snprintf(out, ENV_NAME_BYTES_MAX, "127.0.0.1:%d", 10000 + fd);
}

void env_local_name(int fd, char out[ENV_NAME_BYTES_MAX])
{
    snprintf(out, ENV_NAME_BYTES_MAX, "127.0.0.1:%u", (unsigned)client_of(fd)->port);
}

bool env_peer_is_local(int fd)
{
    return client_of(fd) != NULL;
}

void env_refuse(int fd, struct bytes farewell)
{
    struct sim_client *c = client_of(fd);
    CHECK(!c->socket);
    if (!c->is_reset) queue_append(&c->received, farewell.data, farewell.size);
    client_hang_up(c);
}

void env_recv_start(struct env_loop *loop, struct env_socket *s)
{
    struct sim_client *c = client_of(s->fd);
    CHECK(c->loop == loop && loop->buffer_count > 0);
    if (!c->is_closing) c->is_receiving = true;
    c->receives_late = false;
}

void env_recv_stop(struct env_loop *loop, struct env_socket *s)
{
    struct sim_client *c = client_of(s->fd);
    CHECK(c->loop == loop);
    c->receives_late =
        c->is_receiving && sim_chance(50); /* The rest of this batch still comes, or not. */
    c->is_receiving = false;
}

void env_send(struct env_loop *loop, struct env_socket *s, const struct iovec *pieces,
              unsigned count)
{
    struct sim_client *c = client_of(s->fd);
    CHECK(c->loop == loop && !c->is_sending && !c->is_closing && count > 0 && count <= ENV_IOV_MAX);
    c->pieces = pieces;
    c->piece_count = count;
    c->piece_index = 0;
    c->piece_done = c->sent = 0;
    c->is_sending = true;
    c->is_send_ready = false;
    maybe_leave();
}

void env_close(struct env_loop *loop, struct env_socket *s)
{
    for (unsigned i = 0; i < world.listener_count; i++) {
        if (!world.listeners[i] || world.listeners[i]->socket != s) continue;
        world.listeners[i]->is_closing = true;
        return;
    }
    struct sim_client *c = client_of(s->fd);
    CHECK(c->loop == loop);
    c->is_closing = true;
    c->is_receiving = c->receives_late = false;
}

/* ---- what moves on the network ---- */

static bool can_arrive(const struct sim_client *c)
{
    return c->arrived < c->wire.size || (c->is_finished && !c->is_finish_arrived);
}

static bool can_move(const struct sim_client *c)
{
    if (!c->socket) return false;
    if (c->is_closing) return !c->is_close_ready;
    return can_arrive(c) || (c->is_sending && !c->is_send_ready);
}

static void move_sent(struct sim_client *c)
{
    size_t budget = c->is_slow ? 1 + sim_below(SLOW_BYTES) : some_of(PIECE_BYTES);
    while (c->piece_index < c->piece_count && !c->is_reset) {
        const struct iovec *piece = &c->pieces[c->piece_index];
        size_t size = MIN(budget, piece->iov_len - c->piece_done);
        queue_append(&c->received, (const char *)piece->iov_base + c->piece_done, size);
        c->sent += size;
        c->piece_done += size;
        budget -= size;
        if (c->piece_done < piece->iov_len) return;
        c->piece_index++;
        c->piece_done = 0;
    }
    c->is_send_ready = true;
}

static void move(struct sim_client *c)
{
    if (c->is_closing) {
        c->is_close_ready = true;
        return;
    }
    bool sends = c->is_sending && !c->is_send_ready;
    if (sends && (!can_arrive(c) || sim_chance(50)))
        move_sent(c);
    else if (c->arrived < c->wire.size)
        c->arrived += some_of(c->wire.size - c->arrived);
    else
        c->is_finish_arrived = true;
}

static bool step_network(void)
{
    if (world.client_count == 0) return false;
    unsigned first = (unsigned)sim_below(world.client_count);
    for (unsigned i = 0; i < world.client_count; i++) {
        struct sim_client *c = world.clients[(first + i) % world.client_count];
        if (!can_move(c)) continue;
        move(c);
        return true;
    }
    return false;
}

/* ---- the scheduler ---- */

void sim_start(void (*run)(void *argument), void *argument)
{
    CHECK(world.fiber_count < LOOPS_MAX);
    world.fibers[world.fiber_count++] = fiber_create(run, argument);
}

static bool fiber_is_runnable(unsigned i)
{
    if (fiber_is_over(world.fibers[i])) return false;
    return !world.loops[i] || sim_loop_is_runnable(world.loops[i]);
}

static bool step_fiber(void)
{
    if (world.fiber_count == 0) return false;
    unsigned first = (unsigned)sim_below(world.fiber_count);
    bool spurious = world.options.wakes_spuriously && sim_chance(2);
    for (unsigned i = 0; i < world.fiber_count; i++) {
        unsigned at = (first + i) % world.fiber_count;
        if (!fiber_is_runnable(at) && !(spurious && !fiber_is_over(world.fibers[at]))) continue;
        sim_time_advance(sim_below(STEP_NS_MAX));
        fiber_resume(world.fibers[at]);
        return true;
    }
    return false;
}

void sim_yield(void)
{
    leave();
}

void sim_maybe_yield(void)
{
    maybe_leave();
}

bool sim_step(void)
{
    if (sim_chance(40)) return step_network() || step_fiber();
    return step_fiber() || step_network();
}

bool sim_sleep(void)
{
    uint64_t earliest_ns = UINT64_MAX;
    for (unsigned i = 0; i < world.fiber_count; i++)
        if (world.loops[i] && !fiber_is_over(world.fibers[i]))
            earliest_ns = MIN(earliest_ns, world.loops[i]->deadline_ns);
    if (earliest_ns == UINT64_MAX) return false;
    if (earliest_ns > world.now_ns) world.now_ns = earliest_ns;
    return true;
}

bool sim_all_over(void)
{
    for (unsigned i = 0; i < world.fiber_count; i++)
        if (!fiber_is_over(world.fibers[i])) return false;
    return true;
}

/* ---- clients ---- */

struct sim_client *sim_connect(uint16_t port)
{
    struct listener *l = listener_find(port);
    if (!l) return NULL;
    struct sim_client *c = calloc(1, sizeof *c);
    CHECK(c);
    c->index = world.client_count;
    c->port = port;
    c->is_slow = sim_chance(world.options.slow_readers_pct);
    world.clients = grow(world.clients, (world.client_count + 1) * sizeof *world.clients);
    world.clients[world.client_count++] = c;
    l->waiting = grow(l->waiting, (l->waiting_count + 1) * sizeof l->waiting[0]);
    l->waiting[l->waiting_count++] = c->index;
    return c;
}

void sim_client_send(struct sim_client *c, struct bytes data)
{
    CHECK(!c->is_finished);
    if (!c->is_reset && !c->is_closed) queue_append(&c->wire, data.data, data.size);
}

struct bytes sim_client_received(const struct sim_client *c)
{
    return bytes_make(queue_data(&c->received), c->received.size);
}

void sim_client_drop(struct sim_client *c, size_t size)
{
    queue_drop(&c->received, size);
}

void sim_client_finish(struct sim_client *c)
{
    c->is_finished = true;
}

void sim_client_close(struct sim_client *c)
{
    c->is_reset = true;
    c->is_slow = false;
}

bool sim_client_is_closed(const struct sim_client *c)
{
    return c->is_closed;
}

int sim_client_fd(const struct sim_client *c)
{
    return FIRST_FD + (int)c->index;
}
