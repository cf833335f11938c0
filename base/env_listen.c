/* env_listen.c: listening sockets, refusing a connection, and the names of both ends.
 *
 * A port may still be held for a moment by a server that has just ended: its ring lets go of the
 * listening socket only after the process is gone, and SO_REUSEADDR does not help against that. So
 * binding is tried for a second.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/env_internal.h"
#include "base/log.h"

#define BIND_TRIES 50
#define BIND_PAUSE_NS 20000000
#define REFUSE_DRAIN_BYTES 65536

/* ---- TCP ---- */

/* One attempt: a listening descriptor in *out, or an errno. */
static int open_tcp(const struct addrinfo *a, int backlog, int *out)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    env_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    /* Accepted sockets inherit it. */
    env_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    /* So that "*" and "::" can share a port. */
    if (a->ai_family == AF_INET6) env_set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, backlog) != 0) {
        int error = errno;
        close(fd);
        return error;
    }
    *out = fd;
    return 0;
}

static void pause_before_retry(void)
{
    struct timespec ts = {.tv_nsec = BIND_PAUSE_NS};
    nanosleep(&ts, NULL);
}

static void explain_tcp(char *why, const char *address, uint16_t port, int error)
{
    const char *remedy;
    switch (error) {
    case EADDRINUSE:
        remedy = "the port is in use; stop what listens there or take another port";
        break;
    case EACCES:
        remedy = "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE";
        break;
    case EADDRNOTAVAIL:
        remedy = "no interface of this machine has that address";
        break;
    case EAFNOSUPPORT:
        remedy = "this machine has no such address family (is IPv6 off?)";
        break;
    default:
        remedy = strerrordesc_np(error);
        break;
    }
    env_why(why, "cannot listen on %s port %u: %s", address, port, remedy);
}

static enum err resolve(const char *address, uint16_t port, struct addrinfo **out, char *why)
{
    char port_text[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char *host = address;
    if (strcmp(address, "*") == 0) {
        hints.ai_family = AF_INET;
        host = NULL;
    } else if (strcmp(address, "::*") == 0 || strcmp(address, "::") == 0) {
        hints.ai_family = AF_INET6;
        host = NULL;
    }
    snprintf(port_text, sizeof port_text, "%u", port);
    int error = getaddrinfo(host, port_text, &hints, out);
    if (error == 0) return OK;
    env_why(why, "cannot listen on %s port %u: not an address of this machine (%s)", address, port,
            gai_strerror(error));
    return ERR_IO;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0) return 0;
    if (a.ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)&a)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&a)->sin_port);
}

static void start_listener(struct env_loop *loop, struct env_socket *s, int fd, unsigned flags)
{
    /* io_uring waits inside the kernel and needs a blocking descriptor, epoll the opposite. */
    if (loop->backend == ENV_EPOLL) (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    env_socket_open(loop, s, fd, SOCKET_LISTENS | flags);
    env_start_accepting(loop, s);
}

enum err env_listen_tcp(struct env_loop *loop, struct env_socket *s, const char *address,
                        uint16_t *port, int backlog, char *why)
{
    struct addrinfo *found;
    enum err e = resolve(address, *port, &found, why);
    if (e != OK) return e;
    int fd = -1, error = EADDRINUSE;
    for (int i = 0; i < BIND_TRIES && error == EADDRINUSE; i++) {
        if (i > 0) pause_before_retry();
        error = open_tcp(found, backlog, &fd);
    }
    freeaddrinfo(found);
    if (error != 0) {
        explain_tcp(why, address, *port, error);
        return ERR_IO;
    }
    *port = bound_port(fd);
    start_listener(loop, s, fd, 0);
    return OK;
}

/* ---- Unix sockets ---- */

/* Removes a socket file that nobody listens on. */
static int clear_unix_path(const struct sockaddr_un *a)
{
    struct stat info;
    if (lstat(a->sun_path, &info) != 0) return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(info.st_mode)) return EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return errno;
    bool alive = connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno == EAGAIN;
    close(fd);
    if (alive) return EADDRINUSE;
    return unlink(a->sun_path) == 0 ? 0 : errno;
}

static int open_unix(const struct sockaddr_un *a, unsigned mode, int backlog, int *out)
{
    int error = clear_unix_path(a);
    if (error != 0) return error;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    bool bound = bind(fd, (const struct sockaddr *)a, sizeof *a) == 0;
    if (!bound || (mode != 0 && chmod(a->sun_path, mode) != 0) || listen(fd, backlog) != 0) {
        error = errno;
        if (bound) (void)unlink(a->sun_path);
        close(fd);
        return error;
    }
    *out = fd;
    return 0;
}

static void explain_unix(char *why, const char *path, int error)
{
    const char *remedy;
    switch (error) {
    case EADDRINUSE:
        remedy = "another server listens there";
        break;
    case EEXIST:
        remedy = "a file that is not a socket is in the way";
        break;
    case ENOENT:
        remedy = "its directory does not exist";
        break;
    case ENOTDIR:
        remedy = "a part of the path is not a directory";
        break;
    case EACCES:
    case EPERM:
        remedy = "permission denied; the directory must be writable for this user";
        break;
    default:
        remedy = strerrordesc_np(error);
        break;
    }
    env_why(why, "cannot listen on Unix socket %s: %s", path, remedy);
}

enum err env_listen_unix(struct env_loop *loop, struct env_socket *s, const char *path,
                         unsigned mode, int backlog, char *why)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof a.sun_path) {
        env_why(why, "cannot listen on Unix socket: its path has %zu bytes; 1 to %zu are possible",
                size, sizeof a.sun_path - 1);
        return ERR_IO;
    }
    memcpy(a.sun_path, path, size);
    int fd = -1, error = EADDRINUSE;
    for (int i = 0; i < BIND_TRIES && error == EADDRINUSE; i++) {
        if (i > 0) pause_before_retry();
        error = open_unix(&a, mode, backlog, &fd);
    }
    if (error != 0) {
        explain_unix(why, path, error);
        return ERR_IO;
    }
    start_listener(loop, s, fd, SOCKET_UNIX_PATH);
    return OK;
}

void env_remove_unix_path(int fd)
{
    struct sockaddr_un a = {0};
    socklen_t size = sizeof a - 1;
    if (getsockname(fd, (struct sockaddr *)&a, &size) == 0 && a.sun_path[0] != 0) {
        (void)unlink(a.sun_path);
    }
}

/* ---- connections that come ---- */

bool env_accept_failed(struct env_loop *loop, struct env_socket *s, int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        break;
    /* The connection was gone before it was taken, or the accept was interrupted. */
    default:
        return true;
    }
    if (dlist_is_empty(&loop->paused)) {
        log_warning("%s: accept: %s; new connections wait. Raise the limit of open files "
                    "(ulimit -n, LimitNOFILE=) or lower maxclients",
                    loop->name, strerrordesc_np(error));
        loop->paused_until_ns = env_now_ns() + ENV_ACCEPT_PAUSE_NS;
    }
    s->flags |= SOCKET_ACCEPT_PAUSED;
    dlist_push_back(&loop->paused, &s->waiting);
    return false;
}

void env_refuse(int fd, struct bytes farewell)
{
    char unread[4096];
    (void)send(fd, farewell.data, farewell.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    /* Closing with unread input would reset the connection and take the farewell with it. */
    for (size_t n = 0; n < REFUSE_DRAIN_BYTES; n += sizeof unread) {
        if (recv(fd, unread, sizeof unread, MSG_DONTWAIT) <= 0) break;
    }
    close(fd);
}

enum err env_socket_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0 ? OK : ERR_IO;
}

/* ---- names ---- */

/* A client of a Unix socket has no name; the path that it connected to stands for it. */
static bool read_address(int fd, bool peer, struct sockaddr_storage *out)
{
    socklen_t size = sizeof *out;
    if (peer && getpeername(fd, (struct sockaddr *)out, &size) != 0) return false;
    if (peer && out->ss_family != AF_UNIX) return true;
    size = sizeof *out;
    return getsockname(fd, (struct sockaddr *)out, &size) == 0;
}

static void print_name(int fd, bool peer, char out[ENV_NAME_BYTES_MAX])
{
    struct sockaddr_storage a = {0};
    char text[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
    const struct sockaddr_un *path = (const struct sockaddr_un *)&a;
    snprintf(out, ENV_NAME_BYTES_MAX, "?:0");
    if (!read_address(fd, peer, &a)) return;
    if (a.ss_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(out, ENV_NAME_BYTES_MAX, "%s:%u", text, ntohs(v4->sin_port));
    } else if (a.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(out, ENV_NAME_BYTES_MAX, "[%s]:%u", text, ntohs(v6->sin6_port));
    } else if (a.ss_family == AF_UNIX) {
        snprintf(out, ENV_NAME_BYTES_MAX, "%.*s:0", (int)sizeof path->sun_path, path->sun_path);
    }
}

void env_peer_name(int fd, char out[ENV_NAME_BYTES_MAX])
{
    print_name(fd, true, out);
}

void env_local_name(int fd, char out[ENV_NAME_BYTES_MAX])
{
    print_name(fd, false, out);
}

bool env_peer_is_local(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (getpeername(fd, (struct sockaddr *)&a, &size) != 0) return false;
    if (a.ss_family == AF_UNIX) return true;
    if (a.ss_family == AF_INET) {
        return ntohl(((const struct sockaddr_in *)&a)->sin_addr.s_addr) >> 24 == 127;
    }
    return a.ss_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&a)->sin6_addr);
}
