/* env.h: the only door to the outside world: time, randomness, sockets, wake-ups, files.
 *
 *     a loop ──env_wait──▶ kernel (io_uring or epoll), or the simulator's scheduler
 *            ◀─env_next── one event at a time: accepted, received, sent, closed
 *
 * Everything else in the house is a function of what comes through here, so the simulator
 * (tests/sim/env_sim.c) replaces this file's implementation at link time and owns the whole run.
 *
 * Thread     A loop belongs to the thread that created it; env_wake may be called by any thread.
 * Ownership  A receive buffer is lent with a count of 1 and goes back to its loop at 0. The memory
 *            of a socket belongs to the caller and must stay until its ENV_CLOSED.
 * Limits     One send in flight per socket. ENV_IOV_MAX pieces a send.
 * Errors     errno stays in env_*.c: callers see an enum err and, where a person must be told, a
 *            text.
 * Order      Bytes of a socket arrive in order. ENV_CLOSED is the last event of a socket, and after
 *            env_close the only one.
 */
#pragma once

#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/dlist.h"
#include "base/err.h"

#define ENV_IOV_MAX 64
#define ENV_NAME_BYTES_MAX 128

/* ---- time and randomness [any] ---- */

uint64_t env_now_ns(void);               /* monotonic */
int64_t env_wall_us(void);               /* since 1970, UTC */
uint64_t env_thread_cpu_ns(void);        /* what this thread has computed for; a system call */
void env_random(void *out, size_t size); /* from the system, for seeds and ids */

/* Cheap ticks for measuring spans within one thread, and their scale. */
static inline uint64_t env_ticks(void);
double env_ticks_per_us(void);

/* ---- loops ---- */

struct env_loop;

enum env_backend { ENV_AUTO, ENV_URING, ENV_EPOLL };

struct env_loop_options {
    const char *name;           /* for the log */
    unsigned recv_buffer_count; /* 0: a loop without sockets */
    unsigned recv_buffer_bytes;
    enum env_backend backend; /* ENV_AUTO: io_uring, or epoll where that is forbidden or too old */
};

/* On failure `why` (ENV_NAME_BYTES_MAX * 2 bytes) holds one line for the log that names cause and
 * remedy. Where ENV_AUTO ends at epoll, env_loop_description says why. */
MUST_USE enum err env_loop_create(const struct env_loop_options *options, struct env_loop **out,
                                  char *why);
/* Ends what is still open, so that its ports are free at once; no ENV_CLOSED, but the memory of the
 * sockets is the caller's again. By the loop's thread, or by another when that one has ended. No
 * wake may be sent to it any more. */
void env_loop_destroy(struct env_loop *loop);
/* "io_uring" or "epoll". */
const char *env_loop_backend(const struct env_loop *loop);
/* One line for the log: back-end, ring flags and features found, and why epoll if it is epoll. */
const char *env_loop_description(const struct env_loop *loop);

/* Submits what is queued and takes what has completed. Sleeps until something completes, a signal
 * comes or `timeout_ns` has passed; 0 does not sleep, UINT64_MAX has no limit. It may return early.
 * Then call env_next until it is false. */
void env_wait(struct env_loop *loop, uint64_t timeout_ns);
/* Hands queued submissions (wakes, sends) to the kernel now, without waiting and without taking
 * completions. */
void env_flush(struct env_loop *loop);
/* Makes `target`'s env_wait return; there is no event for it. `from` is the caller's own loop or
 * NULL: with it the wake rides on from's next env_flush or env_wait. With NULL also from a signal
 * handler. [any] */
void env_wake(struct env_loop *from, struct env_loop *target);

/* ---- receive buffers ---- */

struct env_buffer {
    struct env_loop *loop;
    char *data;
    uint32_t refs; /* touched by the loop's thread only */
    uint32_t id;
};

static inline void env_buffer_ref(struct env_buffer *b)
{
    b->refs++;
}
void env_buffer_release(struct env_buffer *b); /* the count fell to 0 */
static inline void env_buffer_unref(struct env_buffer *b)
{
    if (--b->refs == 0) env_buffer_release(b);
}
/* How many buffers the kernel can still fill; when few are left, holders should copy and let go. */
unsigned env_buffers_free(const struct env_loop *loop);

/* ---- sockets ---- */

struct env_socket {
    int fd; /* -1: none. For the simulator: an index. */
    /* ---- private to env ---- */
    uint16_t flags;
    uint8_t in_flight;  /* requests that the kernel holds, one bit each */
    uint8_t cancelling; /* those of them that were asked to end */
    uint64_t token;     /* generation and descriptor: what the kernel hands back to us */
    struct env_socket *next_ready;
    struct dlist waiting; /* for a receive buffer, or for a free descriptor */
    const struct iovec *pieces;
    uint16_t piece_count, piece_index;
    uint8_t send_status;
    size_t piece_done; /* bytes of pieces[piece_index] that are out */
};
_Static_assert(sizeof(struct env_socket) == CACHE_LINE, "one line per socket");

enum env_event_kind {
    ENV_ACCEPT, /* result: a new descriptor, to be given to env_socket_adopt on some loop */
    /* buffer, size > 0: yours until you unref it. buffer NULL: end of stream (status OK) or an
     * error, and receiving has stopped. */
    ENV_RECV,
    ENV_SEND,   /* size: bytes that went out; status ERR_CLOSED or ERR_IO when the peer is gone */
    ENV_CLOSED, /* the socket's memory is yours again, and its fd is -1 */
};

struct env_event {
    enum env_event_kind kind;
    enum err status;
    struct env_socket *socket;
    struct env_buffer *buffer;
    const char *data; /* into buffer */
    size_t size;
    int accepted_fd;
};

/* False when this batch is finished. */
MUST_USE bool env_next(struct env_loop *loop, struct env_event *out);

/* Listens and accepts on this loop until env_close. `address` is "127.0.0.1", "::1", a host name,
 * "*" (all of IPv4) or "::" (all of IPv6, and only that); *port 0 takes any free port and
 * *port says which. A busy port is tried for a second. On failure `why` (ENV_NAME_BYTES_MAX * 2
 * bytes) says what and what to do. Out of descriptors: logged, and accepting goes on when some are
 * free.
 */
MUST_USE enum err env_listen_tcp(struct env_loop *loop, struct env_socket *s, const char *address,
                                 uint16_t *port, int backlog, char *why);
/* `mode` 0 leaves the umask's. A socket file that nobody listens on any more is removed. The file
 * goes when the socket is closed. */
MUST_USE enum err env_listen_unix(struct env_loop *loop, struct env_socket *s, const char *path,
                                  unsigned mode, int backlog, char *why);

/* Takes over an accepted descriptor, which must be a blocking one: TCP_NODELAY, keepalive (0:
 * none). Initialises all of *s. */
void env_socket_adopt(struct env_loop *loop, struct env_socket *s, int fd, unsigned keepalive_s);
/* Two ends of a stream within this process, each for env_socket_adopt. */
MUST_USE enum err env_socket_pair(int fds[2]);
/* Peer and own address as Redis prints them: "127.0.0.1:1234", "[::1]:1234", "/path:0". */
void env_peer_name(int fd, char out[ENV_NAME_BYTES_MAX]);
void env_local_name(int fd, char out[ENV_NAME_BYTES_MAX]);
bool env_peer_is_local(int fd); /* loopback or Unix: for protected mode */
/* Writes what fits right now and closes: for a connection that is refused. */
void env_refuse(int fd, struct bytes farewell);

/* Receiving continues until env_recv_stop, end of stream, an error or env_close. Stopping is
 * asynchronous: what the kernel had already taken still arrives. */
void env_recv_start(struct env_loop *loop, struct env_socket *s);
void env_recv_stop(struct env_loop *loop, struct env_socket *s);
/* The array of pieces and what they point to must stay until ENV_SEND (or ENV_CLOSED), which comes
 * after a later env_wait. The event may be short only with an error. */
void env_send(struct env_loop *loop, struct env_socket *s, const struct iovec *pieces,
              unsigned count);
/* Cancels what is in flight; ENV_CLOSED follows after a later env_wait, and no other event. */
void env_close(struct env_loop *loop, struct env_socket *s);

/* ---- whole files ---- */

/* For what people write, the configuration: a file, a pipe, a link, or standard input for "-". On
 * failure `out` is unchanged and `why` as above. */
MUST_USE enum err env_read_file(const char *path, struct buf *out, char *why);

/* ---- open files ----
 *
 * A failure is logged here, with the operation, the path and the cause, and is ERR_IO to the
 * caller. One that repeats on the same file is logged once, until the same operation succeeds.
 * Interrupted and short calls are continued here; nobody else sees them.
 */

#define ENV_PATH_BYTES_MAX 1024

enum env_file_op {
    ENV_FILE_NOTHING,
    ENV_FILE_OPEN,
    ENV_FILE_READ,
    ENV_FILE_WRITE,
    ENV_FILE_SYNC,
    ENV_FILE_TRUNCATE,
    ENV_FILE_SIZE,
    ENV_FILE_RENAME,
};

struct env_file {
    int fd; /* -1: none. For the simulator: an index. */
    /* An fdatasync has failed: the kernel may have dropped what it could not write, and a later
     * one would say that all is well. So nothing syncs this file any more. */
    bool sync_failed;
    uint8_t logged_op; /* the failure that was logged last */
    int logged_error;
    char path[ENV_PATH_BYTES_MAX];
};

enum env_open_mode {
    ENV_OPEN_READ,
    ENV_OPEN_WRITE,  /* read and write; it must exist */
    ENV_OPEN_CREATE, /* the same; it must not exist. Durable when its directory is synced. */
    ENV_OPEN_CREATE_PRIVATE, /* the same, and nobody but its owner may open it */
};

/* Initialises all of *f. On failure f->fd is -1. */
MUST_USE enum err env_file_open(struct env_file *f, const char *path, enum env_open_mode mode);
/* The cause of the failure that was logged last, a constant; "Success" if there was none. */
static inline const char *env_file_why(const struct env_file *f)
{
    const char *text = strerrordesc_np(f->logged_error);
    return text ? text : "Input/output error";
}
/* It gets the permissions of the file at `path`, if there is one: for a file that takes the place
 * of another. */
void env_file_take_mode(struct env_file *f, const char *path);
/* fd -1 is allowed. No request may be pending. */
void env_file_close(struct env_file *f);
/* *got is less than `room` only at the end of the file. */
MUST_USE enum err env_file_read(struct env_file *f, uint64_t offset, char *out, size_t room,
                                size_t *got);
/* All of it, or ERR_IO with any part of it written. Durable after a sync. */
MUST_USE enum err env_file_write(struct env_file *f, uint64_t offset, struct bytes data);
/* Cuts or extends with zeros. */
MUST_USE enum err env_file_truncate(struct env_file *f, uint64_t size);
MUST_USE enum err env_file_size(struct env_file *f, uint64_t *size);
/* fdatasync, which blocks: for start, stop and small files. */
MUST_USE enum err env_file_sync(struct env_file *f);
/* It takes the place of what `to` names. Durable when the directory is synced. */
MUST_USE enum err env_file_rename(struct env_file *f, const char *to);

/* Where `path` leads if it is a symbolic link; else `path`. ERR_IO: it is too long. */
MUST_USE enum err env_resolve(const char *path, char out[ENV_PATH_BYTES_MAX]);
/* ERR_IO: that cannot be found out. */
MUST_USE enum err env_file_exists(const char *path, bool *exists);
/* Durable when the directory is synced. */
MUST_USE enum err env_unlink(const char *path);
/* OK if it is there already. */
MUST_USE enum err env_make_directory(const char *path);
MUST_USE enum err env_sync_directory(const char *path);
/* Appends the names in a directory to `out`, each with its NUL, without "." and "..", in no
 * order. */
MUST_USE enum err env_list_directory(const char *path, struct buf *out);

/* Work on a file that does not block the loop. On io_uring an optional write and the fdatasync are
 * linked requests that the kernel's workers execute; with epoll a helper thread of the loop makes
 * the calls. */
struct env_file_request {
    /* The environment has it: request, file and data must stay. Becomes false in an env_next of
     * the loop, which returns to its caller then or soon; there is no event for it. */
    alignas(16) bool is_pending;
    enum err status;         /* of the last one */
    enum env_file_op failed; /* ENV_FILE_WRITE or ENV_FILE_SYNC if status is not OK */
    /* ---- private to env ---- */
    uint8_t in_flight;   /* requests that the kernel holds, one bit each */
    bool is_write_done;  /* nothing is left to write */
    bool is_sync_done;   /* an fdatasync that started after the last write succeeded */
    bool sync_came_late; /* after the write it belongs to */
    int error;
    struct env_file *file;
    struct env_loop *loop;
    uint64_t offset;
    struct bytes left;
    _Atomic bool is_done_by_helper;
    struct env_file_request *next;
};

/* Writes `data` (empty: nothing) at `offset`, then makes all that was written before durable. */
void env_file_commit(struct env_loop *loop, struct env_file_request *r, struct env_file *f,
                     uint64_t offset, struct bytes data);

#if defined(__x86_64__)
static inline uint64_t env_ticks(void)
{
    return __builtin_ia32_rdtsc();
}
#else
static inline uint64_t env_ticks(void)
{
    return env_now_ns();
}
#endif
