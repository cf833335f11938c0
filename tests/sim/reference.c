#include "tests/sim/reference.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 500
#define START_PAUSE_NS 10000000
#define READ_BYTES 65536
#define WINDOW 256 /* commands under way: bounds what waits in the sockets */

static int dial(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static void serve(const char *folder, const char *path)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* A run may end in a CHECK. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || chdir(folder) != 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0)
        _exit(127);
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
           "--appendonly", "no", (char *)NULL);
    _exit(127);
}

bool reference_start(struct reference *r)
{
    *r = (struct reference){.fd = -1};
    snprintf(r->folder, sizeof r->folder, "/tmp/shoal-sim-XXXXXX");
    CHECK(mkdtemp(r->folder));
    char path[96];
    snprintf(path, sizeof path, "%s/redis.sock", r->folder);
    r->pid = fork();
    CHECK(r->pid >= 0);
    if (r->pid == 0) serve(r->folder, path);
    for (unsigned i = 0; i < START_TRIES && r->fd < 0; i++) {
        if (waitpid(r->pid, NULL, WNOHANG) == r->pid) break;
        nanosleep(&(struct timespec){.tv_nsec = START_PAUSE_NS}, NULL);
        r->fd = dial(path);
    }
    if (r->fd >= 0) return true;
    rmdir(r->folder);
    return false;
}

void reference_stop(struct reference *r)
{
    char path[96];
    snprintf(path, sizeof path, "%s/redis.sock", r->folder);
    close(r->fd);
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    unlink(path);
    rmdir(r->folder);
    free(r->pending);
}

static void receive(struct reference *r)
{
    if (r->pending_capacity - r->pending_bytes < READ_BYTES) {
        r->pending_capacity = 2 * r->pending_capacity + READ_BYTES;
        r->pending = realloc(r->pending, r->pending_capacity);
        CHECK(r->pending);
    }
    ssize_t n = read(r->fd, r->pending + r->pending_bytes, r->pending_capacity - r->pending_bytes);
    CHECK(n > 0);
    r->pending_bytes += (size_t)n;
}

/* The next reply; forget_reply lets it go. */
static struct bytes next_reply(struct reference *r)
{
    size_t size;
    while ((size = resp_reply_bytes(bytes_make(r->pending, r->pending_bytes))) == 0) receive(r);
    return bytes_make(r->pending, size);
}

static void forget_reply(struct reference *r, size_t size)
{
    r->pending_bytes -= size;
    memmove(r->pending, r->pending + size, r->pending_bytes);
}

/* Takes replies while the socket is full, so that neither side waits for the other for ever. */
static void send_all(struct reference *r, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = send(r->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
            continue;
        }
        CHECK(errno == EAGAIN || errno == EINTR);
        struct pollfd p = {.fd = r->fd, .events = POLLIN | POLLOUT};
        poll(&p, 1, -1);
        if (p.revents & POLLIN) receive(r);
    }
}

/* An EXEC with its MULTI and all between. */
static void send_step(struct reference *r, const struct step *s)
{
    for (const struct step *at = s->block ? s - s->block - 1 : s; at <= s; at++)
        send_all(r, at->request, at->request_bytes);
}

size_t reference_replay(struct reference *r, const struct history *h, struct bytes *expected)
{
    static const char flush[] = "*1\r\n$8\r\nflushall\r\n";
    send_all(r, flush, sizeof flush - 1);
    forget_reply(r, next_reply(r).size);
    size_t sent = 0, bad = SIZE_MAX;
    for (size_t i = 0; i < h->order_count; i++) {
        for (; sent < h->order_count && sent < i + WINDOW; sent++) send_step(r, h->order[sent]);
        const struct step *s = h->order[i];
        /* Those to MULTI and to what is queued. */
        for (unsigned k = s->block ? s->block + 1 : 0; k > 0; k--)
            forget_reply(r, next_reply(r).size);
        struct bytes reply = next_reply(r);
        if (bad == SIZE_MAX && s->reply &&
            !bytes_equal(reply, bytes_make(s->reply, s->reply_bytes))) {
            *expected = reply;
            return i;
        }
        forget_reply(r, reply.size);
    }
    return bad;
}
