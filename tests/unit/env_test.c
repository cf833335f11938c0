/* The door to the outside world, over real sockets on this machine. Every test of a loop runs on
 * both back-ends; those of io_uring are skipped where the kernel or a sandbox does not allow it. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/env.h"
#include "base/mem.h"
#include "tests/unit/random.h"

#define WHY_BYTES (ENV_NAME_BYTES_MAX * 2)
#define PATIENCE_NS 10000000000ULL
#define SECOND_NS 1000000000ULL

/* ---- helpers ---- */

struct fixture {
    struct env_loop *loop;
    char why[WHY_BYTES];
};

static struct fixture make_sized(enum env_backend backend, unsigned count, unsigned bytes)
{
    struct fixture f = {0};
    struct env_loop_options o = {"test", count, bytes, backend};
    cr_assert_eq(env_loop_create(&o, &f.loop, f.why), OK, "%s", f.why);
    return f;
}

static struct fixture make(enum env_backend backend)
{
    return make_sized(backend, 8, 4096);
}

static bool uring_is_allowed(void)
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

static struct env_event next(struct fixture *f)
{
    struct env_event e;
    uint64_t deadline = env_now_ns() + PATIENCE_NS;
    while (!env_next(f->loop, &e)) {
        cr_assert_lt(env_now_ns(), deadline, "no event came");
        env_wait(f->loop, SECOND_NS);
    }
    return e;
}

static struct env_event expect(struct fixture *f, enum env_event_kind kind, struct env_socket *s)
{
    struct env_event e = next(f);
    cr_assert_eq(e.kind, kind, "kind %d", (int)e.kind);
    cr_assert_eq(e.socket, s);
    return e;
}

/* What the kernel does for sockets of one thread is done when the call returns: so a few turns are
 * enough to see that nothing comes. */
static void expect_silence(struct fixture *f)
{
    struct env_event e;
    for (int i = 0; i < 5; i++) {
        cr_assert_not(env_next(f->loop, &e), "unexpected event %d", (int)e.kind);
        env_wait(f->loop, 0);
    }
    cr_assert_not(env_next(f->loop, &e));
}

/* A socket on the loop and the other end of it, which does not block. */
static int pair(struct fixture *f, struct env_socket *s)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    cr_assert_eq(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    env_socket_adopt(f->loop, s, fds[0], 0);
    return fds[1];
}

static void put(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void expect_text(struct fixture *f, struct env_socket *s, const char *text)
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

static void send_text(struct fixture *f, struct env_socket *s, const char *text)
{
    struct iovec piece = {(char *)(uintptr_t)text, strlen(text)};
    env_send(f->loop, s, &piece, 1);
    struct env_event e = expect(f, ENV_SEND, s);
    cr_assert_eq(e.status, OK);
    cr_assert_eq(e.size, strlen(text));
}

static void expect_at_peer(int fd, const char *text)
{
    char got[256] = {0};
    cr_assert_eq(read(fd, got, sizeof got), (ssize_t)strlen(text));
    cr_assert_str_eq(got, text);
}

static void close_and_wait(struct fixture *f, struct env_socket *s)
{
    env_close(f->loop, s);
    expect(f, ENV_CLOSED, s);
    cr_assert_eq(s->fd, -1);
}

static int connect_tcp(int family, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&v4, sizeof v4)
                               : connect(fd, (struct sockaddr *)&v6, sizeof v6);
    cr_assert_eq(rc, 0, "%s", strerror(errno));
    return fd;
}

static uint16_t listen_on(struct fixture *f, struct env_socket *s, const char *address)
{
    uint16_t port = 0;
    cr_assert_eq(env_listen_tcp(f->loop, s, address, 0, 16, &port, f->why), OK, "%s", f->why);
    cr_assert_gt(port, 0);
    return port;
}

static bool ipv6_works(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool works = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return works;
}

/* ---- time, randomness, names ---- */

Test(env, monotonic_time_and_ticks_agree)
{
    double scale = env_ticks_per_us();
    uint64_t ns = env_now_ns(), ticks = env_ticks();
    while (env_now_ns() - ns < 20000000) continue;
    double us_of_ticks = (double)(env_ticks() - ticks) / scale;
    double us = (double)(env_now_ns() - ns) / 1000;
    cr_assert(us_of_ticks > us * 0.9 && us_of_ticks < us * 1.1, "%f against %f", us_of_ticks, us);
    cr_assert_eq(scale, env_ticks_per_us());
}

Test(env, wall_time_is_after_this_was_written)
{
    cr_assert_gt(env_wall_us(), INT64_C(1700000000) * 1000000);
}

Test(env, random_bytes_fill_all_of_the_space)
{
    unsigned char a[300] = {0}, seen[300] = {0};
    for (int round = 0; round < 20; round++) {
        env_random(a, sizeof a);
        for (size_t i = 0; i < sizeof a; i++) seen[i] |= a[i];
    }
    for (size_t i = 0; i < sizeof seen; i++) cr_assert_neq(seen[i], 0);
}

/* ---- listening ---- */

BOTH(accepts_over_ipv4_and_echoes)
{
    struct fixture f = make(backend);
    struct env_socket listener, s;
    char name[ENV_NAME_BYTES_MAX], expected[ENV_NAME_BYTES_MAX];
    uint16_t port = listen_on(&f, &listener, "127.0.0.1");
    int peer = connect_tcp(AF_INET, port);
    struct env_event e = expect(&f, ENV_ACCEPT, &listener);
    env_socket_adopt(f.loop, &s, e.accepted_fd, 60);

    int nodelay = 0, keepalive = 0;
    socklen_t size = sizeof nodelay;
    getsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
    getsockopt(s.fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, &size);
    cr_assert(nodelay && keepalive);
    env_local_name(s.fd, name);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    cr_assert_str_eq(name, expected);
    env_peer_name(s.fd, name);
    cr_assert(strncmp(name, "127.0.0.1:", 10) == 0);
    cr_assert(env_peer_is_local(s.fd));

    env_recv_start(f.loop, &s);
    put(peer, "hello");
    expect_text(&f, &s, "hello");
    send_text(&f, &s, "world");
    expect_at_peer(peer, "world");
    close_and_wait(&f, &s);
    cr_assert_eq(read(peer, name, 1), 0);
    close(peer);
    close_and_wait(&f, &listener);
    env_loop_destroy(f.loop);
}

BOTH(ipv6_listener_leaves_the_ipv4_port_alone)
{
    if (!ipv6_works()) cr_skip_test("no IPv6 here");
    struct fixture f = make(backend);
    struct env_socket v6, v4;
    char name[ENV_NAME_BYTES_MAX];
    uint16_t port = listen_on(&f, &v6, "::"), port_v4;
    cr_assert_eq(env_listen_tcp(f.loop, &v4, "*", port, 16, &port_v4, f.why), OK, "%s", f.why);
    int peer = connect_tcp(AF_INET6, port);
    struct env_event e = expect(&f, ENV_ACCEPT, &v6);
    env_peer_name(e.accepted_fd, name);
    cr_assert(strncmp(name, "[::1]:", 6) == 0, "%s", name);
    cr_assert(env_peer_is_local(e.accepted_fd));
    env_refuse(e.accepted_fd, BYTES_LITERAL("-ERR full\r\n"));
    expect_at_peer(peer, "-ERR full\r\n");
    close(peer);
    peer = connect_tcp(AF_INET, port);
    e = expect(&f, ENV_ACCEPT, &v4);
    close(e.accepted_fd);
    close(peer);
    env_loop_destroy(f.loop);
}

BOTH(accepts_many_connections_without_losing_one)
{
    struct fixture f = make(backend);
    struct env_socket listener, s[40];
    int peers[40];
    uint16_t port = 0;
    cr_assert_eq(env_listen_tcp(f.loop, &listener, "127.0.0.1", 0, 128, &port, f.why), OK);
    for (int i = 0; i < 40; i++) peers[i] = connect_tcp(AF_INET, port);
    for (int i = 0; i < 40; i++) {
        struct env_event e = expect(&f, ENV_ACCEPT, &listener);
        env_socket_adopt(f.loop, &s[i], e.accepted_fd, 0);
        env_recv_start(f.loop, &s[i]);
    }
    for (int i = 0; i < 40; i++) {
        put(peers[i], "x");
        struct env_event e = next(&f);
        cr_assert_eq(e.kind, ENV_RECV);
        cr_assert_eq(e.size, 1);
        env_buffer_unref(e.buffer);
        close(peers[i]);
        cr_assert_null(next(&f).buffer);
    }
    env_loop_destroy(f.loop);
}

static bool drop_root(void)
{
    if (geteuid() != 0) return false;
    cr_assert_eq(seteuid(65534), 0);
    return true;
}

static void regain_root(void)
{
    cr_assert_eq(seteuid(0), 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* for the leak checker, which the change had shut out */
}

static void listen_fails(struct fixture *f, const char *address, uint16_t port, const char *text)
{
    struct env_socket s;
    uint16_t port_out;
    cr_assert_eq(env_listen_tcp(f->loop, &s, address, port, 16, &port_out, f->why), ERR_IO);
    cr_assert_not_null(strstr(f->why, text), "%s", f->why);
}

BOTH(says_why_it_cannot_listen_on_a_port)
{
    struct fixture f = make(backend);
    struct env_socket listener;
    uint16_t port = listen_on(&f, &listener, "127.0.0.1");
    listen_fails(&f, "127.0.0.1", port, "the port is in use");
    listen_fails(&f, "203.0.113.1", 0, "no interface of this machine has that address");
    listen_fails(&f, "1.2.3.4.5", 0, "not an address");
    bool was_root = drop_root();
    listen_fails(&f, "127.0.0.1", 1, "permission denied");
    if (was_root) regain_root();
    env_loop_destroy(f.loop);
}

BOTH(a_port_is_free_as_soon_as_its_loop_is_gone)
{
    struct env_socket listener;
    uint16_t port = 0;
    for (int i = 0; i < 10; i++) {
        struct fixture f = make(backend);
        uint64_t before = env_now_ns();
        cr_assert_eq(env_listen_tcp(f.loop, &listener, "127.0.0.1", port, 16, &port, f.why), OK,
                     "%s", f.why);
        cr_assert_lt(env_now_ns() - before, 20000000ULL, "the port was still busy");
        env_wait(f.loop, 0);
        env_loop_destroy(f.loop);
        cr_assert_eq(listener.fd, -1);
    }
}

BOTH(serves_a_unix_socket_and_removes_its_file)
{
    struct fixture f = make(backend);
    struct env_socket listener, s;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat info;
    char name[ENV_NAME_BYTES_MAX], expected[ENV_NAME_BYTES_MAX];
    snprintf(a.sun_path, sizeof a.sun_path, "/tmp/env_test.%d.sock", (int)getpid());
    /* An old file of a server that is gone. */
    int old = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(old, (struct sockaddr *)&a, sizeof a), 0);
    close(old);
    cr_assert_eq(env_listen_unix(f.loop, &listener, a.sun_path, 0700, 16, f.why), OK, "%s", f.why);
    cr_assert_eq(stat(a.sun_path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0700);

    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(peer, (struct sockaddr *)&a, sizeof a), 0);
    struct env_event e = expect(&f, ENV_ACCEPT, &listener);
    env_socket_adopt(f.loop, &s, e.accepted_fd, 60);
    env_peer_name(s.fd, name);
    snprintf(expected, sizeof expected, "%s:0", a.sun_path);
    cr_assert_str_eq(name, expected);
    cr_assert(env_peer_is_local(s.fd));
    env_recv_start(f.loop, &s);
    put(peer, "hello");
    expect_text(&f, &s, "hello");

    close_and_wait(&f, &listener);
    cr_assert_neq(stat(a.sun_path, &info), 0);
    env_loop_destroy(f.loop);
}

static void listen_unix_fails(struct fixture *f, const char *path, const char *text)
{
    struct env_socket s;
    cr_assert_eq(env_listen_unix(f->loop, &s, path, 0, 16, f->why), ERR_IO);
    cr_assert_not_null(strstr(f->why, text), "%s", f->why);
}

BOTH(says_why_it_cannot_listen_on_a_path)
{
    struct fixture f = make(backend);
    struct env_socket listener;
    char path[200];
    snprintf(path, sizeof path, "/tmp/env_test.%d.busy", (int)getpid());
    cr_assert_eq(env_listen_unix(f.loop, &listener, path, 0, 16, f.why), OK, "%s", f.why);
    listen_unix_fails(&f, path, "another server listens there");
    listen_unix_fails(&f, "/tmp/no/such/directory/x.sock", "its directory does not exist");
    listen_unix_fails(&f, "/etc/passwd/x.sock", "not a directory");
    listen_unix_fails(&f, "/etc/passwd", "not a socket is in the way");
    memset(path, 'x', 150);
    path[150] = 0;
    listen_unix_fails(&f, path, "150 bytes; 1 to 107 are possible");
    bool was_root = drop_root();
    listen_unix_fails(&f, "/etc/x.sock", "permission denied");
    if (was_root) regain_root();
    env_loop_destroy(f.loop);
}

BOTH(accepting_goes_on_after_descriptors_ran_out)
{
    struct fixture f = make(backend);
    struct env_socket listener;
    struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};
    int fd, hog[64];
    unsigned count = 0;
    /* An accept of io_uring knows the limit of the time when it was armed. */
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    uint16_t port = listen_on(&f, &listener, "127.0.0.1");
    int peer = connect_tcp(AF_INET, port);
    while ((fd = dup(peer)) >= 0) hog[count++] = fd;
    cr_assert_gt(count, 0);
    expect_silence(&f);
    expect_silence(&f);
    close(hog[0]);
    struct env_event e = expect(&f, ENV_ACCEPT, &listener);
    cr_assert_eq(e.accepted_fd, hog[0]);
    env_loop_destroy(f.loop);
}

/* ---- receiving ---- */

BOTH(end_of_stream_is_told_once)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "last words");
    close(peer);
    expect_text(&f, &s, "last words");
    struct env_event e = expect(&f, ENV_RECV, &s);
    cr_assert_null(e.buffer);
    cr_assert_eq(e.status, OK);
    expect_silence(&f);
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(a_reset_is_an_error)
{
    struct fixture f = make(backend);
    struct env_socket listener, s;
    uint16_t port = listen_on(&f, &listener, "127.0.0.1");
    int peer = connect_tcp(AF_INET, port);
    env_socket_adopt(f.loop, &s, expect(&f, ENV_ACCEPT, &listener).accepted_fd, 0);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(peer);
    struct env_event e = expect(&f, ENV_RECV, &s);
    cr_assert_null(e.buffer);
    cr_assert_eq(e.status, ERR_CLOSED);
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(nothing_arrives_between_stop_and_start_and_nothing_is_lost)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "one");
    expect_text(&f, &s, "one");
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    put(peer, "two");
    expect_silence(&f);
    env_recv_start(f.loop, &s);
    expect_text(&f, &s, "two");
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(stop_and_start_in_one_turn_changes_nothing)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    for (int i = 0; i < 3; i++) {
        env_recv_stop(f.loop, &s);
        env_recv_start(f.loop, &s);
    }
    put(peer, "here");
    expect_text(&f, &s, "here");
    env_recv_stop(f.loop, &s);
    env_recv_start(f.loop, &s);
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    put(peer, "not now");
    expect_silence(&f);
    env_loop_destroy(f.loop);
}

BOTH(a_hang_up_of_a_stopped_socket_keeps_the_loop_asleep)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    expect_silence(&f);
    env_recv_stop(f.loop, &s);
    expect_silence(&f);
    close(peer);
    expect_silence(&f);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 30000000);
    cr_assert_geq(env_now_ns() - before, 29000000ULL);
    env_recv_start(f.loop, &s);
    cr_assert_null(expect(&f, ENV_RECV, &s).buffer);
    env_loop_destroy(f.loop);
}

BOTH(data_waits_in_the_socket_while_all_buffers_are_held)
{
    struct fixture f = make_sized(backend, 2, 64);
    struct env_socket s[3];
    struct env_buffer *held[2];
    int peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = pair(&f, &s[i]);
        env_recv_start(f.loop, &s[i]);
    }
    cr_assert_eq(env_buffers_free(f.loop), 2);
    for (int i = 0; i < 3; i++) put(peers[i], "data");
    for (int i = 0; i < 2; i++) held[i] = next(&f).buffer;
    cr_assert_eq(env_buffers_free(f.loop), 0);
    expect_silence(&f);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 20000000);
    cr_assert_geq(env_now_ns() - before, 19000000ULL, "a starved socket must not spin");

    env_buffer_ref(held[0]);
    env_buffer_unref(held[0]);
    expect_silence(&f);
    env_buffer_unref(held[0]);
    struct env_event e = next(&f);
    cr_assert_eq(e.kind, ENV_RECV);
    cr_assert_eq(e.size, 4);
    env_buffer_unref(e.buffer);
    env_buffer_unref(held[1]);
    for (int i = 0; i < 3; i++) {
        put(peers[i], "more");
        expect_text(&f, &s[i], "more");
    }
    cr_assert_eq(env_buffers_free(f.loop), 2);
    env_loop_destroy(f.loop);
}

BOTH(a_starved_socket_can_be_stopped_and_closed)
{
    struct fixture f = make_sized(backend, 1, 64);
    struct env_socket a, b, c;
    int peer_a = pair(&f, &a), peer_b = pair(&f, &b), peer_c = pair(&f, &c);
    env_recv_start(f.loop, &a);
    put(peer_a, "a");
    struct env_buffer *held = expect(&f, ENV_RECV, &a).buffer;
    env_recv_start(f.loop, &b);
    env_recv_start(f.loop, &c);
    put(peer_b, "b");
    put(peer_c, "c");
    expect_silence(&f);
    env_recv_stop(f.loop, &b);
    close_and_wait(&f, &c);
    env_buffer_unref(held);
    expect_silence(&f);
    env_recv_start(f.loop, &b);
    expect_text(&f, &b, "b");
    env_loop_destroy(f.loop);
}

/* ---- sending ---- */

static size_t read_and_check(int fd, size_t at)
{
    unsigned char got[65536];
    ssize_t n;
    while ((n = read(fd, got, sizeof got)) > 0) {
        for (ssize_t i = 0; i < n; i++, at++) cr_assert_eq(got[i], (unsigned char)(at * 7 >> 3));
    }
    return at;
}

/* `count` pieces of odd sizes through a socket that takes little at a time. */
static void send_pieces(enum env_backend backend, unsigned count, size_t total)
{
    struct fixture f = make(backend);
    struct env_socket s;
    struct iovec pieces[ENV_IOV_MAX];
    unsigned char *data = malloc(total);
    int peer = pair(&f, &s);
    for (size_t i = 0; i < total; i++) data[i] = (unsigned char)(i * 7 >> 3);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = i + 1 == count ? total - at : (total / count) + i % 3 - 1;
        pieces[i] = (struct iovec){data + at, size};
        at += size;
    }
    env_recv_start(f.loop, &s); /* both directions at once */
    env_send(f.loop, &s, pieces, count);
    struct env_event e;
    size_t got = 0;
    bool sent = false;
    uint64_t deadline = env_now_ns() + PATIENCE_NS;
    while (got < total || !sent) {
        cr_assert_lt(env_now_ns(), deadline);
        env_wait(f.loop, 1000000);
        while (env_next(f.loop, &e)) {
            cr_assert_eq(e.kind, ENV_SEND);
            cr_assert_eq(e.status, OK);
            cr_assert_eq(e.size, total);
            cr_assert_not(sent);
            sent = true;
        }
        got = read_and_check(peer, got);
    }
    put(peer, "thanks");
    expect_text(&f, &s, "thanks");
    free(data);
    env_loop_destroy(f.loop);
}

BOTH(sends_one_large_piece_completely)
{
    send_pieces(backend, 1, 3000001);
}

BOTH(sends_many_pieces_in_order)
{
    send_pieces(backend, ENV_IOV_MAX, 2000003);
}

BOTH(a_send_that_was_cut_short_goes_on)
{
    fault_set("env_send_short", 1);
    send_pieces(backend, 1, 100001);
    fault_set("env_send_short", 1);
    send_pieces(backend, 7, 100001);
    fault_set("env_send_short", 2);
    send_pieces(backend, 2, 1000);
}

BOTH(a_send_comes_back_after_a_later_wait)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    struct iovec piece = {"abc", 3};
    struct env_event e;
    env_wait(f.loop, 0);
    env_send(f.loop, &s, &piece, 1);
    env_flush(f.loop);
    cr_assert_not(env_next(f.loop, &e));
    expect_at_peer(peer, "abc");
    expect(&f, ENV_SEND, &s);
    env_loop_destroy(f.loop);
}

BOTH(sending_to_a_peer_that_left_is_an_error_and_no_signal)
{
    struct fixture f = make(backend);
    struct env_socket s;
    int peer = pair(&f, &s);
    close(peer);
    struct iovec pieces[2] = {{"abc", 3}, {"def", 3}};
    env_send(f.loop, &s, pieces, 2);
    struct env_event e = expect(&f, ENV_SEND, &s);
    cr_assert_eq(e.status, ERR_CLOSED);
    cr_assert_eq(e.size, 0);
    close_and_wait(&f, &s);
    env_loop_destroy(f.loop);
}

BOTH(a_blocked_send_fails_when_the_peer_leaves)
{
    struct fixture f = make(backend);
    struct env_socket s;
    char *data = calloc(1, 4000000);
    int peer = pair(&f, &s);
    struct iovec piece = {data, 4000000};
    env_send(f.loop, &s, &piece, 1);
    expect_silence(&f);
    close(peer);
    struct env_event e = expect(&f, ENV_SEND, &s);
    cr_assert_eq(e.status, ERR_CLOSED);
    cr_assert_lt(e.size, 4000000);
    close_and_wait(&f, &s);
    free(data);
    env_loop_destroy(f.loop);
}

/* ---- closing ---- */

BOTH(closing_ends_a_blocked_send_and_a_receive_without_other_events)
{
    struct fixture f = make(backend);
    struct env_socket s;
    char *data = calloc(1, 4000000), byte;
    int peer = pair(&f, &s);
    struct iovec piece = {data, 4000000};
    env_recv_start(f.loop, &s);
    env_send(f.loop, &s, &piece, 1);
    expect_silence(&f);
    put(peer, "too late");
    env_close(f.loop, &s);
    env_close(f.loop, &s);
    env_recv_start(f.loop, &s);
    env_recv_stop(f.loop, &s);
    expect(&f, ENV_CLOSED, &s);
    expect_silence(&f);
    while (read(peer, data, 65536) > 0) continue;
    cr_assert_leq(read(peer, &byte, 1), 0, "the descriptor is really closed");
    cr_assert_eq(env_buffers_free(f.loop), 8);
    free(data);
    env_loop_destroy(f.loop);
}

BOTH(closing_before_anything_was_submitted_works)
{
    struct fixture f = make(backend);
    struct env_socket s;
    struct iovec piece = {"abc", 3};
    int peer = pair(&f, &s);
    close_and_wait(&f, &s);
    close(peer);
    peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    env_send(f.loop, &s, &piece, 1);
    env_recv_stop(f.loop, &s);
    close_and_wait(&f, &s);
    expect_silence(&f);
    close(peer);
    env_loop_destroy(f.loop);
}

BOTH(a_new_socket_with_the_same_descriptor_hears_nothing_of_the_old)
{
    struct fixture f = make(backend);
    struct env_socket old, new;
    for (int i = 0; i < 20; i++) {
        int peer = pair(&f, &old), fd = old.fd;
        env_recv_start(f.loop, &old);
        expect_silence(&f);
        put(peer, "for the old one");
        env_close(f.loop, &old);
        expect(&f, ENV_CLOSED, &old);
        memset(&old, 0xa5, sizeof old); /* the memory is ours again */
        close(peer);
        peer = pair(&f, &new);
        cr_assert_eq(new.fd, fd);
        env_recv_start(f.loop, &new);
        expect_silence(&f);
        put(peer, "new");
        expect_text(&f, &new, "new");
        close_and_wait(&f, &new);
        close(peer);
    }
    env_loop_destroy(f.loop);
}

BOTH(events_of_the_same_batch_do_not_reach_a_socket_closed_in_it)
{
    struct fixture f = make(backend);
    struct env_socket s[2];
    struct env_event e;
    int peers[2];
    for (int i = 0; i < 2; i++) {
        peers[i] = pair(&f, &s[i]);
        env_recv_start(f.loop, &s[i]);
    }
    expect_silence(&f);
    for (int i = 0; i < 2; i++) put(peers[i], "x");
    env_wait(f.loop, SECOND_NS);
    cr_assert(env_next(f.loop, &e));
    env_buffer_unref(e.buffer);
    struct env_socket *other = e.socket == &s[0] ? &s[1] : &s[0];
    env_close(f.loop, other);
    expect(&f, ENV_CLOSED, other);
    cr_assert_eq(env_buffers_free(f.loop), 8);
    env_loop_destroy(f.loop);
}

BOTH(destroying_a_loop_closes_all_its_sockets)
{
    struct fixture f = make(backend);
    struct env_socket s[5];
    int peers[5];
    char byte;
    for (int i = 0; i < 5; i++) {
        peers[i] = pair(&f, &s[i]);
        env_recv_start(f.loop, &s[i]);
    }
    env_wait(f.loop, 0);
    env_loop_destroy(f.loop);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(s[i].fd, -1);
        cr_assert_eq(read(peers[i], &byte, 1), 0);
    }
}

/* ---- waiting and waking ---- */

BOTH(waiting_ends_after_its_time)
{
    struct fixture f = make(backend);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 5000000);
    uint64_t spent = env_now_ns() - before;
    cr_assert(spent >= 5000000 && spent < SECOND_NS, "%llu", (unsigned long long)spent);
    env_loop_destroy(f.loop);
}

BOTH(a_wake_before_the_wait_is_not_lost)
{
    struct fixture f = make(backend), g = make(backend);
    for (int i = 0; i < 5; i++) {
        env_wake(NULL, f.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
        env_wake(g.loop, f.loop);
        env_flush(g.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
        env_wake(f.loop, f.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
    }
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

BOTH(a_wake_rides_on_the_wakers_own_wait)
{
    struct fixture f = make(backend), g = make(backend);
    env_wake(g.loop, f.loop);
    env_wait(g.loop, 0);
    env_wait(f.loop, UINT64_MAX);
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

BOTH(loops_of_different_kinds_wake_each_other)
{
    if (!uring_is_allowed()) cr_skip_test("io_uring is not allowed here");
    struct fixture f = make(backend), g = make(backend == ENV_URING ? ENV_EPOLL : ENV_URING);
    env_wake(g.loop, f.loop);
    env_flush(g.loop);
    env_wait(f.loop, UINT64_MAX);
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

#define ROUNDS 2000

struct table {
    enum env_backend backend;
    struct env_loop *loops[2];
    pthread_barrier_t ready;
    _Atomic int turn;
};

struct player {
    struct table *table;
    int id;
};

/* Ball games: each side sleeps without limit until the other has played. A lost wake would hang it.
 */
static void *play(void *argument)
{
    struct player *me = argument;
    struct table *t = me->table;
    struct fixture f = make(t->backend);
    struct env_event e;
    t->loops[me->id] = f.loop;
    pthread_barrier_wait(&t->ready);
    for (int round = me->id; round < ROUNDS; round += 2) {
        while (t->turn < round) {
            env_wait(f.loop, UINT64_MAX);
            while (env_next(f.loop, &e)) continue;
        }
        t->turn = round + 1;
        env_wake(round % 6 < 3 ? f.loop : NULL, t->loops[1 - me->id]);
        env_flush(f.loop);
    }
    pthread_barrier_wait(&t->ready);
    env_loop_destroy(f.loop);
    return NULL;
}

BOTH(no_wake_is_lost_between_two_threads)
{
    struct table t = {.backend = backend};
    struct player players[2] = {{&t, 0}, {&t, 1}};
    pthread_t threads[2];
    pthread_barrier_init(&t.ready, NULL, 2);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, play, &players[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(t.turn, ROUNDS);
}

static void *make_and_leave(void *argument)
{
    struct fixture *f = argument;
    *f = make(ENV_AUTO);
    return NULL;
}

Test(env, another_thread_may_destroy_the_loop_of_a_thread_that_ended)
{
    struct fixture own = make(ENV_AUTO), f;
    pthread_t thread;
    pthread_create(&thread, NULL, make_and_leave, &f);
    pthread_join(thread, NULL);
    env_loop_destroy(f.loop);
    /* Its own ring is untouched by that. */
    env_wake(NULL, own.loop);
    env_wait(own.loop, UINT64_MAX);
    env_loop_destroy(own.loop);
}

/* ---- all of it at once ---- */

#define STREAMS 6

struct stream {
    struct env_socket s;
    int peer;
    bool receiving, sending;
    uint8_t written, received, sent, read; /* positions, modulo 256: what each byte's value is */
    unsigned char out[700];
    struct iovec pieces[3];
};

static void stream_open(struct fixture *f, struct stream *t)
{
    memset(t, 0, sizeof *t);
    t->written = t->received = t->sent = t->read = 250; /* so that they wrap early */
    t->peer = pair(f, &t->s);
}

static void stream_write(struct stream *t, struct random *r)
{
    unsigned char data[300];
    size_t size = 1 + random_below(r, sizeof data);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)(t->written + i);
    ssize_t n = write(t->peer, data, size);
    if (n > 0) t->written = (uint8_t)(t->written + n);
}

static void stream_read(struct stream *t)
{
    unsigned char data[500];
    ssize_t n = read(t->peer, data, sizeof data);
    for (ssize_t i = 0; i < n; i++) cr_assert_eq(data[i], t->read++);
}

static void stream_send(struct fixture *f, struct stream *t, struct random *r)
{
    if (t->sending) return;
    unsigned count = 1 + (unsigned)random_below(r, 3);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = 1 + random_below(r, 200);
        t->pieces[i] = (struct iovec){t->out + at, size};
        at += size;
    }
    for (size_t i = 0; i < at; i++) t->out[i] = t->sent++;
    t->sending = true;
    env_send(f->loop, &t->s, t->pieces, count);
}

static void stream_on_event(const struct env_event *e, struct env_buffer **held, unsigned *count)
{
    struct stream *t = container_of(e->socket, struct stream, s);
    if (e->kind == ENV_SEND) {
        cr_assert_eq(e->status, OK);
        cr_assert(t->sending);
        t->sending = false;
        return;
    }
    cr_assert_eq(e->kind, ENV_RECV);
    cr_assert_not_null(e->buffer);
    for (size_t i = 0; i < e->size; i++) cr_assert_eq((uint8_t)e->data[i], t->received++);
    if (*count < 4)
        held[(*count)++] = e->buffer;
    else
        env_buffer_unref(e->buffer);
}

static void stream_close(struct fixture *f, struct stream *t, struct env_buffer **held,
                         unsigned *count)
{
    struct env_event e;
    env_close(f->loop, &t->s);
    while ((e = next(f)).kind != ENV_CLOSED) {
        cr_assert_neq(e.socket, &t->s);
        stream_on_event(&e, held, count);
    }
    cr_assert_eq(e.socket, &t->s);
    close(t->peer);
    stream_open(f, t);
}

static void stream_act(struct fixture *f, struct stream *t, struct random *r)
{
    switch (random_below(r, 6)) {
    case 0:
        if (t->receiving)
            env_recv_stop(f->loop, &t->s);
        else
            env_recv_start(f->loop, &t->s);
        t->receiving = !t->receiving;
        break;
    case 1:
    case 2:
        stream_write(t, r);
        break;
    case 3:
        stream_read(t);
        break;
    default:
        stream_send(f, t, r);
        break;
    }
}

BOTH(random_traffic_keeps_its_order_and_gives_all_buffers_back)
{
    struct random r = random_make();
    struct fixture f = make_sized(backend, 4, 128);
    struct stream streams[STREAMS];
    struct env_buffer *held[4];
    struct env_event e;
    unsigned held_count = 0;
    for (int i = 0; i < STREAMS; i++) stream_open(&f, &streams[i]);
    for (int step = 0; step < 20000; step++) {
        struct stream *t = &streams[random_below(&r, STREAMS)];
        if (random_below(&r, 100) == 0) fault_set("env_send_short", 1);
        stream_act(&f, t, &r);
        if (held_count > 0 && random_below(&r, 3) == 0) env_buffer_unref(held[--held_count]);
        if (random_below(&r, 200) == 0) stream_close(&f, t, held, &held_count);
        if (random_below(&r, 3) == 0) env_wait(f.loop, 0);
        while (env_next(f.loop, &e)) stream_on_event(&e, held, &held_count);
        cr_assert_eq(env_buffers_free(f.loop), 4 - held_count);
    }
    env_loop_destroy(f.loop);
}

/* ---- where io_uring is forbidden ---- */

/* From now on io_uring_setup fails with `error`, as under a container's profile. */
static void forbid_io_uring(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void falls_back(int error, const char *text)
{
    forbid_io_uring(error);
    struct fixture f = make(ENV_AUTO);
    struct env_socket s;
    cr_assert_str_eq(env_loop_backend(f.loop), "epoll");
    cr_assert_not_null(strstr(env_loop_description(f.loop), text), "%s",
                       env_loop_description(f.loop));
    cr_assert_not_null(strstr(env_loop_description(f.loop), "using epoll"));
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "still here");
    expect_text(&f, &s, "still here");
    env_loop_destroy(f.loop);

    struct env_loop *loop;
    struct env_loop_options o = {"test", 8, 4096, ENV_URING};
    cr_assert_eq(env_loop_create(&o, &loop, f.why), ERR_IO);
    cr_assert_not_null(strstr(f.why, text), "%s", f.why);
}

Test(env, falls_back_to_epoll_under_a_seccomp_profile_and_says_so)
{
    char digit = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY);
    if (fd >= 0) cr_assert_eq(read(fd, &digit, 1), 1);
    falls_back(EPERM, digit == '0' ? "seccomp" : "kernel.io_uring_disabled");
}

Test(env, falls_back_to_epoll_on_a_kernel_without_io_uring)
{
    falls_back(ENOSYS, "ENOSYS");
}

Test(env, falls_back_to_epoll_when_locked_memory_is_used_up)
{
    falls_back(ENOMEM, "ulimit -l");
}

Test(env, falls_back_to_epoll_on_a_kernel_that_is_too_old)
{
    falls_back(EINVAL, "Linux 6.1 or newer");
}

Test(env_uring, describes_what_it_found)
{
    if (!uring_is_allowed()) cr_skip_test("io_uring is not allowed here");
    struct fixture f = make(ENV_AUTO);
    cr_assert_str_eq(env_loop_backend(f.loop), "io_uring");
    cr_assert_not_null(strstr(env_loop_description(f.loop), "SINGLE_ISSUER"));
    cr_assert_not_null(strstr(env_loop_description(f.loop), "8 x 4096 B"));
    env_loop_destroy(f.loop);
}

/* ---- files ---- */

struct files {
    struct mem mem;
    struct buf buf;
    char directory[32], path[64], why[WHY_BYTES];
};

static void files_init(struct files *t)
{
    memset(t, 0, sizeof *t);
    mem_init(&t->mem, "test");
    t->buf.mem = &t->mem;
    strcpy(t->directory, "/tmp/env_test.XXXXXX");
    cr_assert_not_null(mkdtemp(t->directory));
    snprintf(t->path, sizeof t->path, "%s/file", t->directory);
}

/* Nothing but the file itself may be left. */
static void files_deinit(struct files *t)
{
    buf_clear(&t->buf);
    unlink(t->path);
    cr_assert_eq(rmdir(t->directory), 0, "a temporary file was left behind");
}

static void expect_contents(struct files *t, const char *text)
{
    t->buf.size = 0;
    cr_assert_eq(env_read_file(t->path, &t->buf, t->why), OK, "%s", t->why);
    cr_assert(bytes_equal(buf_view(&t->buf), bytes_of(text)));
}

Test(env, a_replaced_file_has_the_new_contents_and_keeps_its_mode)
{
    struct files t;
    struct stat info;
    files_init(&t);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("first"), t.why), OK, "%s", t.why);
    expect_contents(&t, "first");
    cr_assert_eq(chmod(t.path, 0604), 0);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("second, longer"), t.why), OK);
    expect_contents(&t, "second, longer");
    cr_assert_eq(stat(t.path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0604);
    files_deinit(&t);
}

Test(env, a_failed_replacement_leaves_the_old_file)
{
    static const char *const points[] = {"env_file_write", "env_file_fsync", "env_file_rename"};
    struct files t;
    files_init(&t);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("old"), t.why), OK);
    for (unsigned i = 0; i < ARRAY_LEN(points); i++) {
        fault_set(points[i], 1);
        cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("new"), t.why), ERR_IO);
        cr_assert_not_null(strstr(t.why, t.path), "%s", t.why);
        expect_contents(&t, "old");
    }
    files_deinit(&t);
}

Test(env, a_replaced_symbolic_link_still_points_to_its_file)
{
    struct files t;
    struct stat info;
    char link_path[64];
    files_init(&t);
    snprintf(link_path, sizeof link_path, "%s/link", t.directory);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("old"), t.why), OK);
    cr_assert_eq(symlink("file", link_path), 0);
    cr_assert_eq(env_replace_file(link_path, BYTES_LITERAL("new"), t.why), OK, "%s", t.why);
    expect_contents(&t, "new");
    cr_assert_eq(lstat(link_path, &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    unlink(link_path);
    files_deinit(&t);
}

Test(env, reads_a_file_larger_than_one_read_behind_what_is_there)
{
    struct files t;
    files_init(&t);
    char *data = malloc(300000);
    for (int i = 0; i < 300000; i++) data[i] = (char)(i * 31 >> 4);
    cr_assert_eq(env_replace_file(t.path, bytes_make(data, 300000), t.why), OK);
    buf_append_text(&t.buf, "head");
    cr_assert_eq(env_read_file(t.path, &t.buf, t.why), OK);
    cr_assert_eq(t.buf.size, 300004);
    cr_assert_eq(memcmp(t.buf.data, "head", 4), 0);
    cr_assert_eq(memcmp(t.buf.data + 4, data, 300000), 0);
    free(data);
    files_deinit(&t);
}

Test(env, says_which_file_it_cannot_read_or_write)
{
    struct files t;
    files_init(&t);
    cr_assert_eq(env_read_file("/no/such/file", &t.buf, t.why), ERR_IO);
    cr_assert_str_eq(t.why, "cannot open /no/such/file: No such file or directory");
    cr_assert_eq(env_read_file("/tmp", &t.buf, t.why), ERR_IO);
    cr_assert_str_eq(t.why, "cannot read /tmp: Is a directory");
    cr_assert_eq(env_replace_file("/no/such/file", BYTES_LITERAL("x"), t.why), ERR_IO);
    cr_assert_str_eq(t.why, "cannot write /no/such/file: No such file or directory");
    files_deinit(&t);
}

Test(env, reads_standard_input)
{
    struct files t;
    int pipe_fds[2];
    files_init(&t);
    cr_assert_eq(pipe(pipe_fds), 0);
    put(pipe_fds[1], "port 7000\n");
    close(pipe_fds[1]);
    dup2(pipe_fds[0], STDIN_FILENO);
    cr_assert_eq(env_read_file("-", &t.buf, t.why), OK);
    cr_assert(bytes_equal(buf_view(&t.buf), bytes_of("port 7000\n")));
    files_deinit(&t);
}
