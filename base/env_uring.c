/* env_uring.c: the io_uring side of env.
 *
 *     submission                         completion (env_next)
 *     accept, receive: multishot,        many; the last one lacks F_MORE, then it is armed again
 *       one request
 *     send: one in flight per socket     one; if short, the rest is sent before the caller hears
 *     cancel by user_data                only if it found nothing; tried again while the request
 *                                        lives
 *
 * Everything queued goes to the kernel with the io_uring_enter of env_wait: one system call per
 * turn. Cancelling by user_data is a hash lookup; by descriptor the kernel would walk all requests,
 * which is quadratic when thousands of clients leave at once. A descriptor is closed after its last
 * completion, because a request holds the file open.
 *
 * Source     liburing's man pages; figures and pitfalls behind each choice: docs/ARCHITECTURE.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/env_internal.h"

#define SQ_ENTRIES 512
#define CQ_ENTRIES 4096
#define BUFFER_GROUP 0
#define BUFFER_RING_ENTRIES_MAX 32768
#define SEND_BYTES_MAX (1u << 30) /* of one request; the kernel's own limit is just below 2 GiB */

#define SETUP_ALWAYS                                                                               \
    (IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE |                          \
     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_TASKRUN_FLAG)
#define FEATURES_NEEDED                                                                            \
    (IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |                      \
     IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP)

static const struct {
    unsigned bit;
    const char *name;
} flag_names[] = {
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"},
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"},
    {IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN"},
    {IORING_SETUP_TASKRUN_FLAG, "TASKRUN_FLAG"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
    {IORING_SETUP_CLAMP, "CLAMP"},
    {IORING_SETUP_CQSIZE, "CQSIZE"},
};

/* ---- entering the kernel ---- */

/* Publishes the prepared entries; how many the kernel has not taken yet. */
static unsigned publish(struct io_uring *ring)
{
    struct io_uring_sq *sq = &ring->sq;
    unsigned tail = *sq->ktail, mask = *sq->kring_mask;
    for (; sq->sqe_head != sq->sqe_tail; sq->sqe_head++, tail++) {
        if (sq->array != NULL) sq->array[tail & mask] = sq->sqe_head & mask;
    }
    io_uring_smp_store_release(sq->ktail, tail);
    return tail - *sq->khead;
}

/* The only system call of a turn. UINT64_MAX: no limit. */
static void enter(struct env_uring *u, unsigned wait_count, unsigned flags, uint64_t timeout_ns)
{
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / 1000000000),
                                   .tv_nsec = (int64_t)(timeout_ns % 1000000000)};
    struct io_uring_getevents_arg arg = {0};
    if (timeout_ns != UINT64_MAX) arg.ts = (uint64_t)(uintptr_t)&ts;
    int n =
        io_uring_enter2((unsigned)u->enter_fd, publish(&u->ring), wait_count,
                        flags | u->enter_flags | IORING_ENTER_EXT_ARG, (void *)&arg, sizeof arg);
    /* A timeout, a signal, or no memory for requests now: what was not taken stays queued. */
    CHECK(n >= 0 || n == -ETIME || n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ENOMEM);
}

static struct io_uring_sqe *next_sqe(struct env_uring *u)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&u->ring)) == NULL) {
        enter(u, 0, IORING_ENTER_GETEVENTS, UINT64_MAX);
    }
    return sqe;
}

struct io_uring_sqe *env_uring_sqe(struct env_loop *loop, unsigned room)
{
    struct env_uring *u = &loop->uring;
    while (io_uring_sq_space_left(&u->ring) < room) {
        enter(u, 0, IORING_ENTER_GETEVENTS, UINT64_MAX);
    }
    return next_sqe(u);
}

static bool has_kernel_work(const struct env_uring *u)
{
    unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void env_uring_wait(struct env_loop *loop, uint64_t timeout_ns)
{
    struct env_uring *u = &loop->uring;
    if (timeout_ns > 0 && io_uring_cq_ready(&u->ring) == 0) {
        enter(u, 1, IORING_ENTER_GETEVENTS | u->wait_flags, timeout_ns);
    } else if (io_uring_sq_ready(&u->ring) > 0 || has_kernel_work(u)) {
        enter(u, 0, IORING_ENTER_GETEVENTS, UINT64_MAX);
    }
    u->batch_left = io_uring_cq_ready(&u->ring);
}

void env_uring_flush(struct env_loop *loop)
{
    if (io_uring_sq_ready(&loop->uring.ring) > 0) enter(&loop->uring, 0, 0, UINT64_MAX);
}

/* ---- requests ---- */

static void mark(struct io_uring_sqe *sqe, struct env_socket *s, enum env_op op)
{
    io_uring_sqe_set_data64(sqe, s->token | op);
    s->in_flight |= (uint8_t)(1u << op);
}

void env_uring_accept(struct env_loop *loop, struct env_socket *s)
{
    struct io_uring_sqe *sqe = next_sqe(&loop->uring);
    io_uring_prep_multishot_accept(sqe, s->fd, NULL, NULL, SOCK_CLOEXEC);
    mark(sqe, s, OP_ACCEPT);
}

void env_uring_recv(struct env_loop *loop, struct env_socket *s)
{
    if (s->in_flight & 1u << OP_RECV) return; /* being cancelled: armed again when that is done */
    struct io_uring_sqe *sqe = next_sqe(&loop->uring);
    io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    mark(sqe, s, OP_RECV);
}

void env_uring_send(struct env_loop *loop, struct env_socket *s)
{
    struct env_uring *u = &loop->uring;
    const struct iovec *piece = &s->pieces[s->piece_index];
    unsigned piece_count = (unsigned)(s->piece_count - s->piece_index);
    int flags = MSG_NOSIGNAL | MSG_WAITALL;
    struct io_uring_sqe *sqe = next_sqe(u);
    bool cut_short = fault_hit("env_send_short");
    if (piece_count == 1 || s->piece_done > 0 || cut_short) {
        size_t size = MIN(piece->iov_len - s->piece_done, SEND_BYTES_MAX);
        if (cut_short) size = (size + 1) / 2;
        if (piece_count > 1) flags |= MSG_MORE;
        io_uring_prep_send(sqe, s->fd, (char *)piece->iov_base + s->piece_done, size, flags);
    } else {
        struct msghdr *message = &u->messages[sqe - u->ring.sq.sqes];
        *message =
            (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)piece, .msg_iovlen = piece_count};
        io_uring_prep_sendmsg(sqe, s->fd, message, (unsigned)flags);
    }
    mark(sqe, s, OP_SEND);
}

static void cancel(struct env_loop *loop, struct env_socket *s, enum env_op op)
{
    struct io_uring_sqe *sqe = next_sqe(&loop->uring);
    io_uring_prep_cancel64(sqe, s->token | op, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, s->token | OP_CANCEL | op);
    s->cancelling |= (uint8_t)(1u << op);
}

void env_uring_recv_stop(struct env_loop *loop, struct env_socket *s)
{
    if ((s->in_flight & ~s->cancelling) & 1u << OP_RECV) cancel(loop, s, OP_RECV);
}

void env_uring_close(struct env_loop *loop, struct env_socket *s)
{
    if (s->in_flight == 0) {
        env_ready_push(loop, s);
        return;
    }
    for (enum env_op op = OP_RECV; op <= OP_ACCEPT; op++) {
        if ((s->in_flight & ~s->cancelling) & 1u << op) cancel(loop, s, op);
    }
}

bool env_uring_wake(struct env_loop *from, struct env_loop *target)
{
    if (!from->uring.can_msg_ring) return false;
    struct io_uring_sqe *sqe = next_sqe(&from->uring);
    io_uring_prep_msg_ring(sqe, target->uring.ring.ring_fd, 0, OP_WAKE, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)target | OP_WAKE_SENT);
    return true;
}

static void watch_wake_fd(struct env_loop *loop)
{
    /* Edge triggered, and every write is an edge: the counter need not be read. */
    struct io_uring_sqe *sqe = next_sqe(&loop->uring);
    io_uring_prep_poll_multishot(sqe, loop->wake_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, OP_WAKE_POLL);
}

/* ---- completions ---- */

void env_uring_give_buffer(struct env_loop *loop, struct env_buffer *b)
{
    struct env_uring *u = &loop->uring;
    io_uring_buf_ring_add(u->buffer_ring, b->data, loop->buffer_bytes, (unsigned short)b->id,
                          (int)u->buffer_ring_entries - 1, 0);
    io_uring_buf_ring_advance(u->buffer_ring, 1);
}

/* The request is out of the kernel. True when the socket waited only for that and is closed now. */
static bool end_request(struct env_loop *loop, struct env_socket *s, enum env_op op,
                        struct env_event *out)
{
    s->in_flight &= (uint8_t) ~(1u << op);
    s->cancelling &= (uint8_t) ~(1u << op);
    if (!(s->flags & SOCKET_CLOSING) || s->in_flight != 0) return false;
    env_finish_close(loop, s, out);
    return true;
}

/* A receive that gave no bytes. True if the caller must hear of it. */
static bool on_recv_end(struct env_loop *loop, struct env_socket *s, int result,
                        struct env_event *out)
{
    bool wanted = (s->flags & SOCKET_RECV_WANTED) != 0;
    if (result == -ENOBUFS || result == -ECANCELED || result == -EINTR || result == -EAGAIN) {
        if (wanted && result == -ENOBUFS) env_starve(loop, s);
        if (wanted && result != -ENOBUFS) env_uring_recv(loop, s);
        return false;
    }
    s->flags &= (uint16_t)~SOCKET_RECV_WANTED;
    env_report_recv_end(s, result == 0 ? OK : env_err_of(-result), out);
    return true;
}

static bool on_recv(struct env_loop *loop, struct env_socket *s, const struct io_uring_cqe *c,
                    struct env_event *out)
{
    struct env_buffer *b = NULL;
    if (c->flags & IORING_CQE_F_BUFFER) {
        b = &loop->buffers[c->flags >> IORING_CQE_BUFFER_SHIFT];
        if (s == NULL || s->flags & SOCKET_CLOSING || c->res <= 0) {
            env_uring_give_buffer(loop, b);
            b = NULL;
        }
    }
    if (s == NULL) return false;
    bool ended = (c->flags & IORING_CQE_F_MORE) == 0;
    if (ended && end_request(loop, s, OP_RECV, out)) return true;
    if (s->flags & SOCKET_CLOSING) return false;
    if (b == NULL) return on_recv_end(loop, s, c->res, out);
    if (ended && s->flags & SOCKET_RECV_WANTED) env_uring_recv(loop, s);
    env_report_recv(s, b, (size_t)c->res, out);
    return true;
}

static bool on_send(struct env_loop *loop, struct env_socket *s, int result, struct env_event *out)
{
    if (s == NULL) return false;
    if (end_request(loop, s, OP_SEND, out)) return true;
    if (s->flags & SOCKET_CLOSING) return false;
    if (result == -EINTR || result == -EAGAIN || (result > 0 && !env_sent(s, (size_t)result))) {
        env_uring_send(loop, s);
        return false;
    }
    if (result == 0 && !env_sent(s, 0)) result = -EPIPE;
    if (result < 0) s->send_status = (uint8_t)env_err_of(-result);
    env_report_send(s, out);
    return true;
}

static bool on_accept(struct env_loop *loop, struct env_socket *s, const struct io_uring_cqe *c,
                      struct env_event *out)
{
    bool closed = s == NULL;
    if (s != NULL && (c->flags & IORING_CQE_F_MORE) == 0) {
        closed = end_request(loop, s, OP_ACCEPT, out);
        bool again = !closed && !(s->flags & SOCKET_CLOSING) &&
                     (c->res >= 0 || env_accept_failed(loop, s, -c->res));
        if (again) env_uring_accept(loop, s);
    }
    if (closed || s->flags & SOCKET_CLOSING) {
        if (c->res >= 0) close(c->res);
        return closed && s != NULL;
    }
    if (c->res < 0) return false;
    *out = (struct env_event){.kind = ENV_ACCEPT, .socket = s, .accepted_fd = c->res};
    return true;
}

static void on_wake_failed(struct env_loop *target, int result)
{
    /* EBADF, EBADFD: the target has closed its ring, so nobody sleeps there any more. */
    if (result < 0 && result != -EBADF && result != -EBADFD) env_wake(NULL, target);
}

static bool on_completion(struct env_loop *loop, const struct io_uring_cqe *c,
                          struct env_event *out)
{
    enum env_op op = (enum env_op)(c->user_data & OP_MASK);
    struct env_socket *s = NULL;
    if (op < OP_WAKE) s = env_socket_of(loop, c->user_data & ~(uint64_t)OP_MASK);
    switch (op) {
    case OP_RECV:
        return on_recv(loop, s, c, out);
    case OP_SEND:
        return on_send(loop, s, c->res, out);
    case OP_ACCEPT:
        return on_accept(loop, s, c, out);
    case OP_CANCEL_RECV:
    case OP_CANCEL_SEND:
    case OP_CANCEL_ACCEPT:
        /* A request that is just being started again is not found; it must not stay. */
        op = op & ~(unsigned)OP_CANCEL;
        if (s != NULL && s->cancelling & 1u << op) cancel(loop, s, op);
        return false;
    case OP_WAKE_POLL:
        atomic_exchange(&loop->wake_pending, false);
        if ((c->flags & IORING_CQE_F_MORE) == 0) watch_wake_fd(loop);
        return false;
    case OP_WAKE_SENT:
        on_wake_failed((struct env_loop *)(uintptr_t)(c->user_data & ~(uint64_t)OP_MASK), c->res);
        return false;
    case OP_FILE_WRITE:
    case OP_FILE_SYNC:
        env_uring_on_file(loop, (void *)(uintptr_t)(c->user_data & ~(uint64_t)OP_MASK), op, c->res);
        return false;
    case OP_IGNORED:
    case OP_CANCEL:
    case OP_WAKE:
        return false;
    }
    return false;
}

bool env_uring_next(struct env_loop *loop, struct env_event *out)
{
    struct env_uring *u = &loop->uring;
    struct io_uring_cq *cq = &u->ring.cq;
    while (u->batch_left > 0) {
        u->batch_left--;
        unsigned head = *cq->khead;
        struct io_uring_cqe c = {.user_data = cq->cqes[head & *cq->kring_mask].user_data,
                                 .res = cq->cqes[head & *cq->kring_mask].res,
                                 .flags = cq->cqes[head & *cq->kring_mask].flags};
        io_uring_smp_store_release(cq->khead, head + 1);
        if (on_completion(loop, &c, out)) return true;
    }
    return false;
}

/* ---- setting up ---- */

static int read_disabled_sysctl(void)
{
    char digit = 0;
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, &digit, 1);
    close(fd);
    return n == 1 && digit >= '0' && digit <= '9' ? digit - '0' : 0;
}

static void explain(char *why, int error)
{
    int disabled = read_disabled_sysctl();
    struct rlimit lock = {0};
    switch (error) {
    case EPERM:
        if (disabled > 0) {
            env_why(why,
                    "io_uring unavailable: EPERM (sysctl kernel.io_uring_disabled=%d; set it "
                    "to 0)",
                    disabled);
        } else {
            env_why(why, "io_uring unavailable: EPERM (a seccomp profile forbids it; allow "
                         "io_uring_setup, io_uring_enter and io_uring_register, in Docker with "
                         "--security-opt seccomp=FILE)");
        }
        return;
    case ENOSYS:
        env_why(why, "io_uring unavailable: ENOSYS (this kernel or its seccomp profile has none; "
                     "use Linux 6.1 or newer)");
        return;
    case ENOMEM:
        getrlimit(RLIMIT_MEMLOCK, &lock);
        env_why(why,
                "io_uring unavailable: ENOMEM (the limit of locked memory, %llu KiB, is used "
                "up; raise it with ulimit -l or LimitMEMLOCK=)",
                (unsigned long long)lock.rlim_cur / 1024);
        return;
    case EINVAL:
    case EOPNOTSUPP:
        env_why(why, "io_uring unavailable: this kernel lacks features that are needed; use Linux "
                     "6.1 or newer");
        return;
    default:
        env_why(why, "io_uring unavailable: %s", strerrordesc_np(error));
    }
}

/* Drops a flag when the kernel does not know it. */
static int open_ring(struct env_uring *u)
{
    static const unsigned task_run[] = {IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN};
    int error = EINVAL;
    for (unsigned i = 0; i < ARRAY_LEN(task_run) && error == EINVAL; i++) {
        struct io_uring_params p = {.flags = SETUP_ALWAYS | task_run[i], .cq_entries = CQ_ENTRIES};
        error = -io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
        u->setup_flags = p.flags;
        u->features = p.features;
    }
    return error;
}

/* Multishot receive has no bit of its own; it came with Linux 6.0, as did SEND_ZC. */
static int probe_operations(struct env_uring *u)
{
    static const int needed[] = {IORING_OP_RECV,         IORING_OP_SEND,     IORING_OP_SENDMSG,
                                 IORING_OP_ACCEPT,       IORING_OP_POLL_ADD, IORING_OP_SEND_ZC,
                                 IORING_OP_ASYNC_CANCEL, IORING_OP_WRITE,    IORING_OP_FSYNC};
    if ((u->features & FEATURES_NEEDED) != FEATURES_NEEDED) return EINVAL;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    if (probe == NULL) return EINVAL;
    int error = 0;
    for (unsigned i = 0; i < ARRAY_LEN(needed); i++) {
        if (!io_uring_opcode_supported(probe, needed[i])) error = EINVAL;
    }
    u->can_msg_ring = io_uring_opcode_supported(probe, IORING_OP_MSG_RING) &&
                      u->features & IORING_FEAT_REG_REG_RING;
    io_uring_free_probe(probe);
    return error;
}

/* Saves the kernel a look-up of the descriptor at every enter. The index belongs to this thread. */
static void register_ring_fd(struct env_uring *u)
{
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t)u->ring.ring_fd};
    u->enter_fd = u->ring.ring_fd;
    if (io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1) != 1) {
        return;
    }
    u->enter_fd = (int)update.offset;
    u->enter_flags = IORING_ENTER_REGISTERED_RING;
}

static size_t buffer_ring_bytes(const struct env_uring *u)
{
    return u->buffer_ring_entries * sizeof(struct io_uring_buf);
}

static int register_buffers(struct env_loop *loop)
{
    struct env_uring *u = &loop->uring;
    if (loop->buffer_count == 0) return 0;
    u->buffer_ring_entries = 1;
    while (u->buffer_ring_entries < loop->buffer_count) u->buffer_ring_entries *= 2;
    CHECK(u->buffer_ring_entries <= BUFFER_RING_ENTRIES_MAX);
    u->buffer_ring = env_map(buffer_ring_bytes(u));
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)u->buffer_ring,
                                   .ring_entries = u->buffer_ring_entries,
                                   .bgid = BUFFER_GROUP};
    int error = -io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (error != 0) return error;
    io_uring_buf_ring_init(u->buffer_ring);
    for (unsigned i = 0; i < loop->buffer_count; i++) {
        env_uring_give_buffer(loop, &loop->buffers[i]);
    }
    return 0;
}

static void describe(struct env_loop *loop)
{
    struct env_uring *u = &loop->uring;
    char *at = loop->description, *end = at + sizeof loop->description;
    at += snprintf(at, (size_t)(end - at), "io_uring:");
    for (unsigned i = 0; i < ARRAY_LEN(flag_names); i++) {
        if (!(u->setup_flags & flag_names[i].bit)) continue;
        at += snprintf(at, (size_t)(end - at), " %s", flag_names[i].name);
    }
    snprintf(at, (size_t)(end - at), ", SQ %u, CQ %u, %u x %u B receive buffers, %s, wake by %s%s",
             u->ring.sq.ring_entries, u->ring.cq.ring_entries, loop->buffer_count,
             loop->buffer_bytes,
             u->enter_flags & IORING_ENTER_REGISTERED_RING ? "registered ring" : "plain ring",
             u->can_msg_ring ? "MSG_RING" : "eventfd",
             u->wait_flags & IORING_ENTER_NO_IOWAIT ? ", NO_IOWAIT" : "");
}

int env_uring_init(struct env_loop *loop, char *why)
{
    struct env_uring *u = &loop->uring;
    u->ring.ring_fd = -1;
    int error = open_ring(u);
    if (error == 0) {
        error = probe_operations(u);
        if (error == 0) error = register_buffers(loop);
        if (error != 0) env_uring_deinit(loop);
    }
    if (error != 0) {
        explain(why, error);
        return error;
    }
    register_ring_fd(u);
    if (u->features & IORING_FEAT_NO_IOWAIT) u->wait_flags = IORING_ENTER_NO_IOWAIT;
    u->messages = env_map(u->ring.sq.ring_entries * sizeof(struct msghdr));
    watch_wake_fd(loop);
    describe(loop);
    return 0;
}

void env_uring_deinit(struct env_loop *loop)
{
    struct env_uring *u = &loop->uring;
    /* In another thread's table of rings our index may be somebody else's. */
    if (u->enter_flags != 0 && pthread_equal(loop->thread, pthread_self())) {
        struct io_uring_rsrc_update update = {.offset = (unsigned)u->enter_fd};
        io_uring_register((unsigned)u->ring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    if (u->messages != NULL) {
        env_unmap(u->messages, u->ring.sq.ring_entries * sizeof(struct msghdr));
    }
    io_uring_queue_exit(&u->ring);
    if (u->buffer_ring != NULL) env_unmap(u->buffer_ring, buffer_ring_bytes(u));
    memset(u, 0, sizeof *u);
}
