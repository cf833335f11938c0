/* env.c: time, randomness, and what both back-ends of a loop share.
 *
 * Which back-end serves a loop is decided once, when it is created; after that one branch per call
 * tells, always the same way. The state of a socket lives here: the back-ends move bytes, this file
 * says what that means.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/env_internal.h"

#define FD_LIMIT_MIN (1u << 20) /* what may be open later, when the limit has been raised */
#define FD_LIMIT_MAX (1u << 24)
#define DESTROY_NS_MAX 1000000000
#define CALIBRATION_NS 2000000

/* ---- time and randomness ---- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t env_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t env_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

int64_t env_wall_us(void)
{
    return (int64_t)(clock_ns(CLOCK_REALTIME) / 1000);
}

void env_random(void *out, size_t size)
{
    char *at = out;
    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);
        CHECK(n > 0 || errno == EINTR);
        if (n <= 0) continue;
        at += n;
        size -= (size_t)n;
    }
}

struct instant {
    uint64_t ns, ticks;
};

/* Both clocks at once: of several readings the one that was disturbed least. */
static struct instant read_clocks(void)
{
    struct instant best = {0, 0};
    uint64_t width_best = UINT64_MAX;
    for (int i = 0; i < 16; i++) {
        uint64_t before = env_ticks(), ns = env_now_ns(), width = env_ticks() - before;
        if (width >= width_best) continue;
        width_best = width;
        best = (struct instant){ns, before + width / 2};
    }
    return best;
}

/* Written once, under `ticks_once`. */
static pthread_once_t ticks_once = PTHREAD_ONCE_INIT;
static double ticks_per_us;

static void calibrate_ticks(void)
{
    struct instant first = read_clocks(), last;
    while (env_now_ns() - first.ns < CALIBRATION_NS) continue;
    last = read_clocks();
    ticks_per_us = (double)(last.ticks - first.ticks) * 1000 / (double)(last.ns - first.ns);
}

double env_ticks_per_us(void)
{
    pthread_once(&ticks_once, calibrate_ticks);
    return ticks_per_us;
}

/* ---- small helpers ---- */

void env_why(char *why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, ENV_WHY_BYTES, format, args);
    va_end(args);
}

enum err env_err_of(int error)
{
    switch (error) {
    case 0:
        return OK;
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case ENOTCONN:
    case ECONNABORTED:
        return ERR_CLOSED;
    default:
        return ERR_IO;
    }
}

void *env_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

void env_unmap(void *p, size_t size)
{
    CHECK(munmap(p, size) == 0);
}

/* ---- loops ---- */

static unsigned read_fd_limit(void)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    return (unsigned)MIN(MAX(limit.rlim_max, FD_LIMIT_MIN), FD_LIMIT_MAX);
}

static void map_buffers(struct env_loop *loop)
{
    if (loop->buffer_count == 0) return;
    size_t bytes = (size_t)loop->buffer_count * loop->buffer_bytes;
    loop->buffers = env_map(loop->buffer_count * sizeof(struct env_buffer));
    loop->buffer_memory = env_map(bytes);
    /* A huge page would make one byte received cost 2 MiB. */
    madvise(loop->buffer_memory, bytes, MADV_NOHUGEPAGE);
    for (unsigned i = 0; i < loop->buffer_count; i++) {
        loop->buffers[i] = (struct env_buffer){
            .loop = loop, .data = loop->buffer_memory + (size_t)i * loop->buffer_bytes, .id = i};
    }
}

static void free_loop(struct env_loop *loop)
{
    if (loop->buffer_count > 0) {
        env_unmap(loop->buffer_memory, (size_t)loop->buffer_count * loop->buffer_bytes);
        env_unmap(loop->buffers, loop->buffer_count * sizeof(struct env_buffer));
    }
    env_unmap(loop->sockets, loop->fd_limit * sizeof(loop->sockets[0]));
    if (loop->wake_fd >= 0) close(loop->wake_fd);
    env_unmap(loop, sizeof *loop);
}

static int init_backend(struct env_loop *loop, enum env_backend backend, char *why)
{
    int error = EINVAL;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        error = errno;
        env_why(why, "eventfd: %s", strerrordesc_np(error));
        return error;
    }
    if (backend != ENV_EPOLL) {
        loop->backend = ENV_URING;
        error = env_uring_init(loop, why);
        if (error == 0 || backend == ENV_URING) return error;
        snprintf(loop->description, sizeof loop->description, "%s", why);
    }
    loop->backend = ENV_EPOLL;
    return env_epoll_init(loop, why);
}

enum err env_loop_create(const struct env_loop_options *options, struct env_loop **out, char *why)
{
    env_ticks_per_us();
    struct env_loop *loop = env_map(sizeof *loop);
    loop->thread = pthread_self();
    loop->name = options->name;
    loop->buffer_count = options->recv_buffer_count;
    loop->buffer_bytes = options->recv_buffer_bytes;
    loop->fd_limit = read_fd_limit();
    loop->sockets = env_map(loop->fd_limit * sizeof(loop->sockets[0]));
    dlist_init(&loop->starved);
    dlist_init(&loop->paused);
    map_buffers(loop);
    if (init_backend(loop, options->backend, why) != 0) {
        free_loop(loop);
        return ERR_IO;
    }
    *out = loop;
    return OK;
}

/* What still comes for sockets that are being closed. */
static void discard_events(struct env_loop *loop)
{
    struct env_event e;
    while (env_next(loop, &e)) {
        if (e.kind == ENV_ACCEPT) close(e.accepted_fd);
        if (e.kind == ENV_RECV && e.buffer != NULL) env_buffer_unref(e.buffer);
    }
}

/* A ring that is torn down with an accept in it keeps the port for a while: so everything is ended
 * first. */
static void close_sockets(struct env_loop *loop)
{
    uint64_t deadline = env_now_ns() + DESTROY_NS_MAX;
    for (unsigned fd = 0; fd < loop->fd_end; fd++) {
        if (loop->sockets[fd] != NULL) env_close(loop, loop->sockets[fd]);
    }
    /* The kernel reads the memory of a pending write: it is not left behind, however long that
     * takes. */
    while ((loop->socket_count > 0 && env_now_ns() < deadline) || loop->file_requests > 0) {
        env_wait(loop, DESTROY_NS_MAX / 100);
        discard_events(loop);
    }
}

static void drop_sockets(struct env_loop *loop)
{
    for (unsigned fd = 0; fd < loop->fd_end; fd++) {
        if (loop->sockets[fd] == NULL) continue;
        close((int)fd);
        loop->sockets[fd]->fd = -1;
    }
}

void env_loop_destroy(struct env_loop *loop)
{
    if (pthread_equal(loop->thread, pthread_self())) close_sockets(loop);
    if (loop->helper != NULL) env_helper_stop(loop);
    if (loop->backend == ENV_URING)
        env_uring_deinit(loop);
    else
        env_epoll_deinit(loop);
    drop_sockets(loop);
    free_loop(loop);
}

const char *env_loop_backend(const struct env_loop *loop)
{
    return loop->backend == ENV_URING ? "io_uring" : "epoll";
}

const char *env_loop_description(const struct env_loop *loop)
{
    return loop->description;
}

/* ---- one turn ---- */

static void start_receiving(struct env_loop *loop, struct env_socket *s)
{
    if (loop->backend == ENV_URING)
        env_uring_recv(loop, s);
    else
        env_epoll_watch(loop, s);
}

void env_start_accepting(struct env_loop *loop, struct env_socket *s)
{
    if (loop->backend == ENV_URING)
        env_uring_accept(loop, s);
    else
        env_epoll_watch(loop, s);
}

/* As many as there are buffers, longest waiting first. */
static void feed_starved(struct env_loop *loop)
{
    for (unsigned left = env_buffers_free(loop); left > 0; left--) {
        struct dlist *node = dlist_pop_front(&loop->starved);
        if (node == NULL) return;
        struct env_socket *s = container_of(node, struct env_socket, waiting);
        s->flags &= (uint16_t)~SOCKET_RECV_STARVED;
        start_receiving(loop, s);
    }
}

/* Returns how long the loop may sleep. */
static uint64_t retry_paused(struct env_loop *loop, uint64_t timeout_ns)
{
    uint64_t now = env_now_ns();
    if (now < loop->paused_until_ns) return MIN(timeout_ns, loop->paused_until_ns - now);
    struct dlist *node;
    while ((node = dlist_pop_front(&loop->paused)) != NULL) {
        struct env_socket *s = container_of(node, struct env_socket, waiting);
        s->flags &= (uint16_t)~SOCKET_ACCEPT_PAUSED;
        env_start_accepting(loop, s);
    }
    return timeout_ns;
}

void env_wait(struct env_loop *loop, uint64_t timeout_ns)
{
    DCHECK(pthread_equal(loop->thread, pthread_self()));
    if (unlikely(!dlist_is_empty(&loop->starved))) feed_starved(loop);
    if (unlikely(!dlist_is_empty(&loop->paused))) timeout_ns = retry_paused(loop, timeout_ns);
    if (loop->ready_count > 0 || loop->woken) timeout_ns = 0;
    loop->woken = false;
    loop->ready_batch = loop->ready_count;
    if (likely(loop->backend == ENV_URING))
        env_uring_wait(loop, timeout_ns);
    else
        env_epoll_wait(loop, timeout_ns);
}

void env_flush(struct env_loop *loop)
{
    if (likely(loop->backend == ENV_URING)) env_uring_flush(loop);
}

void env_wake(struct env_loop *from, struct env_loop *target)
{
    if (from == target) {
        target->woken = true;
        return;
    }
    bool both_rings = from != NULL && from->backend == ENV_URING && target->backend == ENV_URING;
    if (both_rings && env_uring_wake(from, target)) return;
    /* Pairs with the exchange where the target sees the descriptor: either it has not looked yet
     * and sees what was done before this call, or it is told again. */
    if (atomic_exchange(&target->wake_pending, true)) return;
    uint64_t one = 1;
    ssize_t n = write(target->wake_fd, &one, sizeof one);
    CHECK(n == sizeof one || errno == EAGAIN);
}

/* ---- events that need no kernel ---- */

void env_ready_push(struct env_loop *loop, struct env_socket *s)
{
    if (s->flags & SOCKET_QUEUED) return;
    s->flags |= SOCKET_QUEUED;
    s->next_ready = NULL;
    if (loop->ready_count++ == 0)
        loop->ready_first = s;
    else
        loop->ready_last->next_ready = s;
    loop->ready_last = s;
}

static struct env_socket *ready_pop(struct env_loop *loop)
{
    struct env_socket *s = loop->ready_first;
    loop->ready_first = s->next_ready;
    loop->ready_count--;
    loop->ready_batch--;
    s->flags &= (uint16_t)~SOCKET_QUEUED;
    return s;
}

static bool next_ready(struct env_loop *loop, struct env_event *out)
{
    while (loop->ready_batch > 0) {
        struct env_socket *s = ready_pop(loop);
        if (s->flags & SOCKET_CLOSING) {
            env_finish_close(loop, s, out);
            return true;
        }
        if (s->flags & SOCKET_RECV_FAILED) {
            s->flags &= (uint16_t)~SOCKET_RECV_FAILED;
            if (s->flags & SOCKET_SENT) env_ready_push(loop, s);
            env_report_recv_end(s, ERR_IO, out);
            return true;
        }
        if (s->flags & SOCKET_SENT) {
            env_report_send(s, out);
            return true;
        }
    }
    return false;
}

bool env_next(struct env_loop *loop, struct env_event *out)
{
    if (unlikely(loop->ready_batch > 0) && next_ready(loop, out)) return true;
    if (likely(loop->backend == ENV_URING)) return env_uring_next(loop, out);
    if (unlikely(loop->helper != NULL)) env_helper_collect(loop);
    return env_epoll_next(loop, out);
}

bool env_sent(struct env_socket *s, size_t size)
{
    while (s->piece_index < s->piece_count) {
        size_t left = s->pieces[s->piece_index].iov_len - s->piece_done;
        if (size < left) {
            s->piece_done += size;
            return false;
        }
        size -= left;
        s->piece_index++;
        s->piece_done = 0;
    }
    return true;
}

void env_report_send(struct env_socket *s, struct env_event *out)
{
    size_t size = s->piece_done;
    for (unsigned i = 0; i < s->piece_index; i++) size += s->pieces[i].iov_len;
    s->flags &= (uint16_t) ~(SOCKET_SENDING | SOCKET_SENT);
    *out = (struct env_event){
        .kind = ENV_SEND, .status = (enum err)s->send_status, .socket = s, .size = size};
}

void env_report_recv(struct env_socket *s, struct env_buffer *b, size_t size, struct env_event *out)
{
    b->refs = 1;
    b->loop->buffers_lent++;
    *out = (struct env_event){
        .kind = ENV_RECV, .socket = s, .buffer = b, .data = b->data, .size = size};
}

void env_report_recv_end(struct env_socket *s, enum err status, struct env_event *out)
{
    *out = (struct env_event){.kind = ENV_RECV, .status = status, .socket = s};
}

void env_finish_close(struct env_loop *loop, struct env_socket *s, struct env_event *out)
{
    loop->sockets[s->fd] = NULL;
    loop->socket_count--;
    close(s->fd);
    s->fd = -1;
    *out = (struct env_event){.kind = ENV_CLOSED, .socket = s};
}

/* ---- receive buffers ---- */

void env_buffer_release(struct env_buffer *b)
{
    struct env_loop *loop = b->loop;
    loop->buffers_lent--;
    if (likely(loop->backend == ENV_URING))
        env_uring_give_buffer(loop, b);
    else
        env_epoll_give_buffer(loop, b);
}

unsigned env_buffers_free(const struct env_loop *loop)
{
    return loop->buffer_count - loop->buffers_lent;
}

void env_starve(struct env_loop *loop, struct env_socket *s)
{
    s->flags |= SOCKET_RECV_STARVED;
    dlist_push_back(&loop->starved, &s->waiting);
}

/* ---- sockets ---- */

void env_socket_open(struct env_loop *loop, struct env_socket *s, int fd, unsigned flags)
{
    CHECK(fd >= 0 && (unsigned)fd < loop->fd_limit && loop->sockets[fd] == NULL);
    memset(s, 0, sizeof *s);
    s->fd = fd;
    s->flags = (uint16_t)flags;
    s->token = (uint64_t)++loop->generation << 32 | (uint64_t)fd << OP_BITS;
    dlist_init(&s->waiting);
    loop->sockets[fd] = s;
    loop->socket_count++;
    loop->fd_end = MAX(loop->fd_end, (unsigned)fd + 1);
}

void env_set_option(int fd, int level, int name, int value)
{
    /* What a socket cannot do (TCP options on a Unix socket) does not matter. */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

void env_socket_adopt(struct env_loop *loop, struct env_socket *s, int fd, unsigned keepalive_s)
{
    env_socket_open(loop, s, fd, 0);
    env_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (keepalive_s == 0) return;
    env_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    env_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)MIN(keepalive_s, INT_MAX));
    env_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)MAX(MIN(keepalive_s, INT_MAX) / 3, 1));
    env_set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void env_recv_start(struct env_loop *loop, struct env_socket *s)
{
    if (s->flags & (SOCKET_CLOSING | SOCKET_RECV_WANTED)) return;
    CHECK(s->fd >= 0 && loop->buffer_count > 0);
    s->flags |= SOCKET_RECV_WANTED;
    start_receiving(loop, s);
}

void env_recv_stop(struct env_loop *loop, struct env_socket *s)
{
    if (s->flags & SOCKET_CLOSING || !(s->flags & SOCKET_RECV_WANTED)) return;
    s->flags &= (uint16_t) ~(SOCKET_RECV_WANTED | SOCKET_RECV_STARVED);
    dlist_remove(&s->waiting);
    if (loop->backend == ENV_URING)
        env_uring_recv_stop(loop, s);
    else
        env_epoll_watch(loop, s);
}

void env_send(struct env_loop *loop, struct env_socket *s, const struct iovec *pieces,
              unsigned count)
{
    CHECK(!(s->flags & (SOCKET_SENDING | SOCKET_CLOSING)) && s->fd >= 0);
    CHECK(count > 0 && count <= ENV_IOV_MAX);
    s->flags |= SOCKET_SENDING;
    s->send_status = OK;
    s->pieces = pieces;
    s->piece_count = (uint16_t)count;
    s->piece_index = 0;
    s->piece_done = 0;
    if (likely(loop->backend == ENV_URING))
        env_uring_send(loop, s);
    else
        env_epoll_send(loop, s);
}

void env_close(struct env_loop *loop, struct env_socket *s)
{
    if (s->flags & SOCKET_CLOSING) return;
    CHECK(s->fd >= 0);
    s->flags |= SOCKET_CLOSING;
    dlist_remove(&s->waiting);
    /* Before the port of the next server can be tried, so that only ours is removed. */
    if (s->flags & SOCKET_UNIX_PATH) env_remove_unix_path(s->fd);
    if (loop->backend == ENV_URING) {
        env_uring_close(loop, s);
        return;
    }
    env_epoll_watch(loop, s);
    env_ready_push(loop, s);
}
