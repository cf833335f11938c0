/* Listeners, names, and what a person is told when a listener cannot be opened. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/env_fixture.h"

/* ---- helpers ---- */

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
    cr_assert_eq(env_listen_tcp(f->loop, s, address, &port, 16, f->why), OK, "%s", f->why);
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

/* ---- listening ---- */

BOTH(accepts_over_ipv4_and_echoes)
{
    struct fixture f = make(backend);
    struct env_socket listener, s;
    char name[ENV_NAME_BYTES_MAX], expected[ENV_NAME_BYTES_MAX];
    uint16_t port = listen_on(&f, &listener, "127.0.0.1");
    int peer = connect_tcp(AF_INET, port);
    struct env_event e = expect(&f, ENV_ACCEPT, &listener);
    int nodelay = 0, keepalive = 0;
    socklen_t size = sizeof nodelay;
    getsockopt(e.accepted_fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &size);
    cr_assert(nodelay, "inherited from the listener");
    nodelay = 0;
    env_socket_adopt(f.loop, &s, e.accepted_fd, 60);
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
    uint16_t port = listen_on(&f, &v6, "::"), port_v4 = port;
    cr_assert_eq(env_listen_tcp(f.loop, &v4, "*", &port_v4, 16, f.why), OK, "%s", f.why);
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
    cr_assert_eq(env_listen_tcp(f.loop, &listener, "127.0.0.1", &port, 128, f.why), OK);
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
    cr_assert_eq(env_listen_tcp(f->loop, &s, address, &port, 16, f->why), ERR_IO);
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
        cr_assert_eq(env_listen_tcp(f.loop, &listener, "127.0.0.1", &port, 16, f.why), OK, "%s",
                     f.why);
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
    struct stat info;
    /* All of it in a directory of our own: a listener that removes what it should not must not hurt
     * anybody. */
    char directory[] = "/tmp/env_test.XXXXXX", busy[64], file[64], below[64], missing[64];
    cr_assert_not_null(mkdtemp(directory));
    snprintf(busy, sizeof busy, "%s/busy", directory);
    snprintf(file, sizeof file, "%s/file", directory);
    snprintf(below, sizeof below, "%s/file/x.sock", directory);
    snprintf(missing, sizeof missing, "%s/missing/x.sock", directory);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(env_listen_unix(f.loop, &listener, busy, 0, 16, f.why), OK, "%s", f.why);

    listen_unix_fails(&f, busy, "another server listens there");
    listen_unix_fails(&f, missing, "its directory does not exist");
    listen_unix_fails(&f, below, "not a directory");
    listen_unix_fails(&f, file, "not a socket is in the way");
    cr_assert_eq(stat(file, &info), 0);
    cr_assert(S_ISREG(info.st_mode));
    char long_path[151];
    memset(long_path, 'x', 150);
    long_path[150] = 0;
    listen_unix_fails(&f, long_path, "150 bytes; 1 to 107 are possible");

    cr_assert_eq(chmod(directory, 0555), 0);
    snprintf(missing, sizeof missing, "%s/x.sock", directory);
    bool was_root = drop_root();
    listen_unix_fails(&f, missing, "permission denied");
    if (was_root) regain_root();
    cr_assert_eq(chmod(directory, 0700), 0);
    env_loop_destroy(f.loop);
    close(fd);
    unlink(file);
    cr_assert_eq(rmdir(directory), 0);
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
