/* env_epoll.c: the epoll side of env, for where io_uring is forbidden or too old.
 *
 * Level triggered. A receive takes one buffer per socket and env_wait, a listener gives
 * ENV_EPOLL_ACCEPTS: nobody starves the others. A send is tried at once and waits for room if it
 * must; either way it is reported by env_next after the next env_wait, as io_uring does. A socket
 * that wants nothing is not watched at all, because epoll would report a hang-up for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/env_internal.h"

#define WAKE_TOKEN UINT64_MAX
#define WATCHED (SOCKET_POLL_IN | SOCKET_POLL_OUT)

/* ---- what is watched ---- */

static unsigned wanted_events(const struct env_socket *s)
{
    if (s->flags & SOCKET_CLOSING) return 0;
    if (s->flags & SOCKET_LISTENS) return s->flags & SOCKET_ACCEPT_PAUSED ? 0 : SOCKET_POLL_IN;
    unsigned wanted = 0;
    bool receives = (s->flags & SOCKET_RECV_WANTED) && !(s->flags & SOCKET_RECV_STARVED);
    if (receives) wanted |= SOCKET_POLL_IN;
    if (s->flags & SOCKET_BLOCKED) wanted |= SOCKET_POLL_OUT;
    return wanted;
}

/* The kernel has no room for one more watch. */
static void watch_failed(struct env_loop *loop, struct env_socket *s)
{
    s->flags &= (uint16_t)~WATCHED;
    if (s->flags & SOCKET_RECV_WANTED) s->flags |= SOCKET_RECV_FAILED;
    s->flags &= (uint16_t)~SOCKET_RECV_WANTED;
    if (s->flags & SOCKET_BLOCKED) {
        s->flags = (uint16_t)((s->flags & ~SOCKET_BLOCKED) | SOCKET_SENT);
        s->send_status = ERR_IO;
    }
    env_ready_push(loop, s);
}

void env_epoll_watch(struct env_loop *loop, struct env_socket *s)
{
    unsigned wanted = wanted_events(s), watched = s->flags & WATCHED;
    if (wanted == watched) return;
    struct epoll_event e = {.data.u64 = s->token};
    if (wanted & SOCKET_POLL_IN) e.events |= EPOLLIN;
    if (wanted & SOCKET_POLL_OUT) e.events |= EPOLLOUT;
    int what = EPOLL_CTL_MOD;
    if (watched == 0) what = EPOLL_CTL_ADD;
    if (wanted == 0) what = EPOLL_CTL_DEL;
    s->flags = (uint16_t)((s->flags & ~WATCHED) | wanted);
    if (epoll_ctl(loop->epoll.fd, what, s->fd, &e) != 0 && wanted != 0) watch_failed(loop, s);
}

/* ---- sending ---- */

/* True when the send has ended, well or badly. */
static bool try_send(struct env_socket *s)
{
    for (;;) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)&s->pieces[s->piece_index],
                                 .msg_iovlen = (size_t)(s->piece_count - s->piece_index)};
        struct iovec rest;
        if (s->piece_done > 0 || fault_hit("env_send_short")) {
            /* The piece that was cut goes alone, so that the caller's pieces stay as they are. */
            size_t left = message.msg_iov->iov_len - s->piece_done;
            rest = (struct iovec){(char *)message.msg_iov->iov_base + s->piece_done,
                                  s->piece_done > 0 ? left : (left + 1) / 2};
            message.msg_iov = &rest;
            message.msg_iovlen = 1;
        }
        ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0 && env_sent(s, (size_t)n)) return true;
        if (n < 0 && errno == EAGAIN) return false;
        if (n < 0 && errno != EINTR) {
            s->send_status = (uint8_t)env_err_of(errno);
            return true;
        }
    }
}

void env_epoll_send(struct env_loop *loop, struct env_socket *s)
{
    if (try_send(s)) {
        s->flags |= SOCKET_SENT;
        env_ready_push(loop, s);
        return;
    }
    s->flags |= SOCKET_BLOCKED;
    env_epoll_watch(loop, s);
}

/* ---- events ---- */

void env_epoll_wait(struct env_loop *loop, uint64_t timeout_ns)
{
    struct env_epoll *ep = &loop->epoll;
    struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000),
                          .tv_nsec = (long)(timeout_ns % 1000000000)};
    bool forever = timeout_ns == UINT64_MAX;
    int n = -1;
    if (timeout_ns > 0 && !forever && !ep->coarse) {
        n = epoll_pwait2(ep->fd, ep->events, ENV_EPOLL_EVENTS, &ts, NULL);
        ep->coarse = n < 0 && errno == ENOSYS;
    }
    if (timeout_ns == 0 || forever || ep->coarse) {
        uint64_t ms = timeout_ns / 1000000 + (timeout_ns % 1000000 != 0);
        n = epoll_wait(ep->fd, ep->events, ENV_EPOLL_EVENTS, forever ? -1 : (int)MIN(ms, 1u << 30));
    }
    CHECK(n >= 0 || errno == EINTR || errno == ENOSYS);
    ep->event_count = n > 0 ? (unsigned)n : 0;
    ep->event_index = 0;
    ep->accepts_left = ENV_EPOLL_ACCEPTS;
}

static bool on_readable(struct env_loop *loop, struct env_socket *s, struct env_event *out)
{
    if (!(s->flags & SOCKET_RECV_WANTED) || s->flags & SOCKET_RECV_STARVED) return false;
    if (env_buffers_free(loop) == 0) {
        env_starve(loop, s);
        env_epoll_watch(loop, s);
        return false;
    }
    struct env_buffer *b = &loop->buffers[loop->epoll.free_buffers[env_buffers_free(loop) - 1]];
    ssize_t n = recv(s->fd, b->data, loop->buffer_bytes, MSG_DONTWAIT);
    if (n > 0) {
        env_report_recv(s, b, (size_t)n, out);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    enum err status = n == 0 ? OK : env_err_of(errno);
    s->flags &= (uint16_t)~SOCKET_RECV_WANTED;
    env_epoll_watch(loop, s);
    env_report_recv_end(s, status, out);
    return true;
}

static bool on_writable(struct env_loop *loop, struct env_socket *s, struct env_event *out)
{
    if (!(s->flags & SOCKET_BLOCKED) || !try_send(s)) return false;
    s->flags &= (uint16_t)~SOCKET_BLOCKED;
    env_epoll_watch(loop, s);
    env_report_send(s, out);
    return true;
}

/* True for one accepted connection; the listener has nothing more when it is false. */
static bool on_acceptable(struct env_loop *loop, struct env_socket *s, struct env_event *out)
{
    while (loop->epoll.accepts_left > 0 && !(s->flags & SOCKET_ACCEPT_PAUSED)) {
        loop->epoll.accepts_left--;
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            *out = (struct env_event){.kind = ENV_ACCEPT, .socket = s, .accepted_fd = fd};
            return true;
        }
        if (errno == EAGAIN) return false;
        if (!env_accept_failed(loop, s, errno)) env_epoll_watch(loop, s);
    }
    return false;
}

/* Takes one event out of `e`; clears what has been seen to. */
static bool on_event(struct env_loop *loop, struct epoll_event *e, struct env_event *out)
{
    if (e->data.u64 == WAKE_TOKEN) {
        atomic_exchange(&loop->wake_pending, false);
        e->events = 0;
        return false;
    }
    struct env_socket *s = env_socket_of(loop, e->data.u64);
    if (s == NULL || s->flags & SOCKET_CLOSING) {
        e->events = 0;
        return false;
    }
    if (s->flags & SOCKET_LISTENS) {
        if (on_acceptable(loop, s, out)) return true;
        e->events = 0;
        return false;
    }
    /* A hang-up or an error shows in whatever is tried next. */
    unsigned events = e->events;
    e->events = 0;
    if (events & ~(unsigned)EPOLLIN && on_writable(loop, s, out)) {
        e->events = events & ~(unsigned)EPOLLOUT;
        return true;
    }
    return events & ~(unsigned)EPOLLOUT && on_readable(loop, s, out);
}

bool env_epoll_next(struct env_loop *loop, struct env_event *out)
{
    struct env_epoll *ep = &loop->epoll;
    while (ep->event_index < ep->event_count) {
        struct epoll_event *e = &ep->events[ep->event_index];
        bool found = on_event(loop, e, out);
        if (e->events == 0) ep->event_index++;
        if (found) return true;
    }
    return false;
}

void env_epoll_give_buffer(struct env_loop *loop, struct env_buffer *b)
{
    /* buffers_lent counts this one no more. */
    loop->epoll.free_buffers[env_buffers_free(loop) - 1] = b->id;
}

/* ---- setting up ---- */

static size_t free_buffers_bytes(const struct env_loop *loop)
{
    return (loop->buffer_count + 1) * sizeof(uint32_t);
}

int env_epoll_init(struct env_loop *loop, char *why)
{
    struct env_epoll *ep = &loop->epoll;
    memset(ep, 0, sizeof *ep);
    ep->fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKE_TOKEN};
    if (ep->fd < 0 || epoll_ctl(ep->fd, EPOLL_CTL_ADD, loop->wake_fd, &e) != 0) {
        int error = errno;
        env_why(why, "epoll unavailable: %s", strerrordesc_np(error));
        if (ep->fd >= 0) close(ep->fd);
        return error;
    }
    ep->free_buffers = env_map(free_buffers_bytes(loop));
    for (unsigned i = 0; i < loop->buffer_count; i++) ep->free_buffers[i] = i;
    size_t used = strlen(loop->description); /* why it is not io_uring */
    snprintf(loop->description + used, sizeof loop->description - used,
             "%sepoll: level triggered, %u x %u B receive buffers, wake by eventfd",
             used > 0 ? "; using " : "", loop->buffer_count, loop->buffer_bytes);
    return 0;
}

void env_epoll_deinit(struct env_loop *loop)
{
    env_unmap(loop->epoll.free_buffers, free_buffers_bytes(loop));
    close(loop->epoll.fd);
}
