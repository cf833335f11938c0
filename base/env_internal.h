/* env_internal.h: what env.c and its two back-ends share. Nobody else may include it.
 *
 *     env.c             loops, the state of a socket, events that need no kernel; time, randomness
 *     env_uring.c       one side of a loop: requests and completions
 *     env_epoll.c       the other: readiness, then plain calls
 *     env_listen.c      listeners and names
 *     env_file.c        reading a whole file
 *     env_file_io.c     open files and directories
 *     env_file_call.c   the calls and log lines behind them
 *     env_uring_file.c  their requests through the ring
 *     env_helper.c      and through a thread, with epoll
 *
 * A socket is found through `sockets[fd]`, and only if its token is the one that the kernel handed
 * back: what arrives late for a closed socket finds nobody, even after its descriptor number has
 * been used again.
 *
 * Thread     All on the loop's thread, but for the line marked otherwise.
 * Errors     Functions returning int return 0 or an errno.
 */
#pragma once

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/env.h"
#include "base/env_compat.h"

#define ENV_WHY_BYTES (ENV_NAME_BYTES_MAX * 2)
#define ENV_DESCRIPTION_BYTES 512
#define ENV_EPOLL_EVENTS 256
#define ENV_EPOLL_ACCEPTS 64          /* from one listener per env_wait */
#define ENV_ACCEPT_PAUSE_NS 100000000 /* after running out of descriptors */

/* ---- the state of a socket ---- */

enum env_socket_flags {
    SOCKET_LISTENS = 1 << 0,
    SOCKET_CLOSING = 1 << 1,       /* env_close was called: nothing but ENV_CLOSED follows */
    SOCKET_QUEUED = 1 << 2,        /* in loop->ready */
    SOCKET_RECV_WANTED = 1 << 3,   /* between env_recv_start and env_recv_stop */
    SOCKET_RECV_STARVED = 1 << 4,  /* in loop->starved */
    SOCKET_RECV_FAILED = 1 << 5,   /* to be reported as an error of ENV_RECV */
    SOCKET_ACCEPT_PAUSED = 1 << 6, /* in loop->paused */
    SOCKET_SENDING = 1 << 7,       /* between env_send and ENV_SEND */
    SOCKET_SENT = 1 << 8,          /* the send has ended and is to be reported */
    SOCKET_UNIX_PATH = 1 << 9,     /* owns a file that goes when it closes */
    SOCKET_POLL_IN = 1 << 10,      /* epoll watches for these */
    SOCKET_POLL_OUT = 1 << 11,
    SOCKET_BLOCKED = 1 << 12, /* epoll: the send waits for room */
};

/* The low bits of a completion's user_data. A token leaves them free. */
enum env_op {
    OP_IGNORED,
    OP_RECV,
    OP_SEND,
    OP_ACCEPT,
    OP_CANCEL, /* + one of the three above */
    OP_CANCEL_RECV,
    OP_CANCEL_SEND,
    OP_CANCEL_ACCEPT,
    OP_WAKE,       /* a peer's MSG_RING arrived */
    OP_WAKE_POLL,  /* the wake descriptor was written */
    OP_WAKE_SENT,  /* our MSG_RING failed; the rest of user_data is the target's address */
    OP_FILE_WRITE, /* the rest of user_data is the request's address */
    OP_FILE_SYNC,
};
#define OP_BITS 4
#define OP_MASK ((1u << OP_BITS) - 1)

/* ---- a loop ---- */

struct env_uring {
    struct io_uring ring;
    int enter_fd; /* the registered index, or the ring's descriptor */
    unsigned enter_flags;
    unsigned wait_flags;
    unsigned setup_flags;
    unsigned features;
    unsigned batch_left; /* completions that env_next may still take */
    bool can_msg_ring;
    struct io_uring_buf_ring *buffer_ring;
    unsigned buffer_ring_entries;
    struct msghdr
        *messages; /* one per submission slot; the kernel copies it when it takes the slot */
};

struct env_epoll {
    int fd;
    bool coarse; /* the kernel has no epoll_pwait2 */
    unsigned event_count, event_index;
    unsigned accepts_left;
    uint32_t *free_buffers; /* a stack, so that the warmest buffer is used next */
    struct epoll_event events[ENV_EPOLL_EVENTS];
};

struct env_loop {
    enum env_backend backend;
    bool woken; /* by itself */
    pthread_t thread;
    const char *name;

    struct env_socket **sockets; /* by descriptor */
    unsigned fd_limit, fd_end;
    unsigned socket_count;
    uint32_t generation;

    struct env_socket *ready_first, *ready_last; /* events that are known already */
    unsigned ready_count, ready_batch;
    struct dlist starved; /* sockets that found no receive buffer */
    struct dlist paused;  /* listeners that found no descriptor */
    uint64_t paused_until_ns;

    struct env_buffer *buffers;
    char *buffer_memory;
    unsigned buffer_count, buffer_bytes, buffers_lent;

    struct env_helper *helper; /* epoll: NULL until the first request */
    unsigned file_requests;    /* pending */

    char description[ENV_DESCRIPTION_BYTES];
    union {
        struct env_uring uring;
        struct env_epoll epoll;
    };
    /* ---- written by all threads ---- */
    alignas(CACHE_LINE) _Atomic bool wake_pending; /* the wake descriptor was written and not seen
                                                      yet */
    int wake_fd;
};

/* ---- what env.c offers to both sides ---- */

/* NULL for a token whose socket is gone. */
static inline struct env_socket *env_socket_of(struct env_loop *loop, uint64_t token)
{
    struct env_socket *s = loop->sockets[(uint32_t)token >> OP_BITS];
    return s != NULL && s->token == token ? s : NULL;
}

/* Pages that are zero and cost nothing until they are touched. Never NULL. */
void *env_map(size_t size);
void env_unmap(void *p, size_t size);
void env_why(char *why, const char *format, ...) PRINTF_LIKE(2, 3);
enum err env_err_of(int error);
/* Enters a descriptor into the loop's table; `flags` are those to begin with. */
void env_socket_open(struct env_loop *loop, struct env_socket *s, int fd, unsigned flags);
void env_start_accepting(struct env_loop *loop, struct env_socket *s);
void env_set_option(int fd, int level, int name, int value);
void env_remove_unix_path(int fd);
/* Lets env_next report what the socket's flags say. */
void env_ready_push(struct env_loop *loop, struct env_socket *s);
/* No buffer was free: receiving goes on when one is. */
void env_starve(struct env_loop *loop, struct env_socket *s);
/* Decides what a failed accept means: true to try again at once, false after pausing the listener.
 */
MUST_USE bool env_accept_failed(struct env_loop *loop, struct env_socket *s, int error);
/* Closes the descriptor; the socket is the caller's again. */
void env_finish_close(struct env_loop *loop, struct env_socket *s, struct env_event *out);
/* Books `size` sent bytes; true when nothing is left to send. */
bool env_sent(struct env_socket *s, size_t size);
void env_report_send(struct env_socket *s, struct env_event *out);
void env_report_recv_end(struct env_socket *s, enum err status, struct env_event *out);
/* The buffer is lent to the caller of env_next. */
void env_report_recv(struct env_socket *s, struct env_buffer *b, size_t size,
                     struct env_event *out);

/* ---- open files ---- */

#define ENV_FILE_CALL_BYTES_MAX (1u << 30) /* the kernel's limit is just below 2 GiB */
/* Return 0 or an errno; also called on the helper's thread. */
int env_file_write_all(int fd, uint64_t offset, struct bytes data);
int env_file_sync_now(int fd);
/* Turns an errno into a result: logs a failure once, until the same operation succeeds. */
enum err env_file_finish(struct env_file *f, enum env_file_op op, int error);
/* Takes the result out of r->error and r->failed. */
void env_file_request_finish(struct env_file_request *r);

void env_helper_commit(struct env_loop *loop, struct env_file_request *r);
void env_helper_collect(struct env_loop *loop);
void env_helper_stop(struct env_loop *loop);

void env_uring_commit(struct env_loop *loop, struct env_file_request *r);
void env_uring_on_file(struct env_loop *loop, struct env_file_request *r, enum env_op op,
                       int result);
/* An entry; the kernel takes it together with the next `room` - 1, so that a link stays whole. */
struct io_uring_sqe *env_uring_sqe(struct env_loop *loop, unsigned room);

/* ---- what each side implements ---- */

/* On failure `why` says what and what to do about it. */
MUST_USE int env_uring_init(struct env_loop *loop, char *why);
void env_uring_deinit(struct env_loop *loop);
void env_uring_wait(struct env_loop *loop, uint64_t timeout_ns);
void env_uring_flush(struct env_loop *loop);
bool env_uring_next(struct env_loop *loop, struct env_event *out);
MUST_USE bool env_uring_wake(struct env_loop *from, struct env_loop *target);
void env_uring_give_buffer(struct env_loop *loop, struct env_buffer *b);
void env_uring_accept(struct env_loop *loop, struct env_socket *s);
void env_uring_recv(struct env_loop *loop, struct env_socket *s);
void env_uring_recv_stop(struct env_loop *loop, struct env_socket *s);
void env_uring_send(struct env_loop *loop, struct env_socket *s);
void env_uring_close(struct env_loop *loop, struct env_socket *s);

MUST_USE int env_epoll_init(struct env_loop *loop, char *why);
void env_epoll_deinit(struct env_loop *loop);
void env_epoll_wait(struct env_loop *loop, uint64_t timeout_ns);
bool env_epoll_next(struct env_loop *loop, struct env_event *out);
void env_epoll_give_buffer(struct env_loop *loop, struct env_buffer *b);
/* Makes the kernel watch for what the socket's flags want now. */
void env_epoll_watch(struct env_loop *loop, struct env_socket *s);
void env_epoll_send(struct env_loop *loop, struct env_socket *s);
