/* env_fixture.h: a loop and the other ends of its sockets, for tests of env on both back-ends.
 *
 * Every BOTH(sentence) is two tests; that of io_uring is skipped where the kernel or a sandbox
 * forbids it.
 */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"

#define WHY_BYTES (ENV_NAME_BYTES_MAX * 2)
#define PATIENCE_NS 5000000000ULL
#define SECOND_NS 1000000000ULL

struct fixture {
    struct env_loop *loop;
    char why[WHY_BYTES];
};

static inline struct fixture make_sized(enum env_backend backend, unsigned count, unsigned bytes)
{
    struct fixture f = {0};
    struct env_loop_options o = {"test", count, bytes, backend};
    cr_assert_eq(env_loop_create(&o, &f.loop, f.why), OK, "%s", f.why);
    return f;
}

static inline struct fixture make(enum env_backend backend)
{
    return make_sized(backend, 8, 4096);
}

static inline bool uring_is_allowed(void)
{
    struct env_loop *loop;
    char why[WHY_BYTES];
    struct env_loop_options o = {"probe", 0, 0, ENV_URING};
    if (env_loop_create(&o, &loop, why) != OK) return false;
    env_loop_destroy(loop);
    return true;
}

#define BOTH(sentence)                                                                             \
    static void sentence(enum env_backend backend);                                                \
    Test(env_uring, sentence)                                                                      \
    {                                                                                              \
        if (!uring_is_allowed()) cr_skip_test("io_uring is not allowed here");                     \
        sentence(ENV_URING);                                                                       \
    }                                                                                              \
    Test(env_epoll, sentence)                                                                      \
    {                                                                                              \
        sentence(ENV_EPOLL);                                                                       \
    }                                                                                              \
    static void sentence(enum env_backend backend)

/* A loop that sleeps although something is due fails, too. */
static inline struct env_event next(struct fixture *f)
{
    struct env_event e;
    uint64_t deadline = env_now_ns() + PATIENCE_NS;
    while (!env_next(f->loop, &e)) {
        env_wait(f->loop, PATIENCE_NS);
        cr_assert_lt(env_now_ns(), deadline, "no event came");
    }
    return e;
}

static inline struct env_event expect(struct fixture *f, enum env_event_kind kind,
                                      struct env_socket *s)
{
    struct env_event e = next(f);
    cr_assert_eq(e.kind, kind, "kind %d", (int)e.kind);
    cr_assert_eq(e.socket, s);
    return e;
}

/* What the kernel does for sockets of one thread is done when the call returns: so a few turns are
 * enough to see that nothing comes. */
static inline void expect_silence(struct fixture *f)
{
    struct env_event e;
    for (int i = 0; i < 5; i++) {
        cr_assert_not(env_next(f->loop, &e), "unexpected event %d", (int)e.kind);
        env_wait(f->loop, 0);
    }
    cr_assert_not(env_next(f->loop, &e));
}

/* A socket on the loop and the other end of it, which does not block. */
static inline int pair(struct fixture *f, struct env_socket *s)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    env_socket_adopt(f->loop, s, fds[0], 0);
    return fds[1];
}

static inline void put(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static inline void expect_text(struct fixture *f, struct env_socket *s, const char *text)
{
    char got[256];
    size_t size = 0;
    while (size < strlen(text)) {
        struct env_event e = expect(f, ENV_RECV, s);
        cr_assert_not_null(e.buffer);
        cr_assert_leq(size + e.size, sizeof got);
        memcpy(got + size, e.data, e.size);
        size += e.size;
        env_buffer_unref(e.buffer);
    }
    cr_assert_eq(size, strlen(text));
    cr_assert_eq(memcmp(got, text, size), 0);
}

static inline struct iovec text_piece(const char *text)
{
    return (struct iovec){(char *)(uintptr_t)text, strlen(text)};
}

static inline void send_text(struct fixture *f, struct env_socket *s, const char *text)
{
    struct iovec piece = text_piece(text);
    env_send(f->loop, s, &piece, 1);
    struct env_event e = expect(f, ENV_SEND, s);
    cr_assert_eq(e.status, OK);
    cr_assert_eq(e.size, strlen(text));
}

static inline void expect_at_peer(int fd, const char *text)
{
    char got[256] = {0};
    cr_assert_eq(read(fd, got, sizeof got), (ssize_t)strlen(text));
    cr_assert_str_eq(got, text);
}

static inline void close_and_wait(struct fixture *f, struct env_socket *s)
{
    env_close(f->loop, s);
    expect(f, ENV_CLOSED, s);
    cr_assert_eq(s->fd, -1);
    memset(s, 0xa5, sizeof *s); /* its memory is ours again */
}
