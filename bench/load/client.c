#include "bench/load/client.h"

#include <liburing.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

#define SQ_ENTRIES 1024
#define CQ_ENTRIES 8192
#define BUFFERS 512
#define BUFFER_BYTES (16 * 1024)
#define DRAIN_NS 5000000000 /* for the last replies */
#define SEND_BIT 1u

struct connection {
    unsigned replies_left;
    uint64_t sent_at_ns;
    size_t send_bytes;
    struct reply_parser parser;
};

struct client {
    const struct client_options *o;
    struct client_result *result;
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *buffer_memory;
    struct connection *connections;
    unsigned open_pipelines;
    uint64_t random, started_ns, now_ns, asked;
    struct timeline timeline;
};

static uint64_t clock_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* ---- setting up ---- */

static int connect_one(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int one = 1;
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static const char *connect_all(struct client *c)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
    if (getaddrinfo(c->o->host, c->o->port, &hints, &address) != 0) return "unknown host or port";
    int *fds = calloc(c->o->connections, sizeof *fds);
    CHECK(fds);
    const char *problem = NULL;
    unsigned count = 0;
    for (; count < c->o->connections && !problem; count++) {
        fds[count] = connect_one(address);
        if (fds[count] < 0) problem = "cannot connect";
    }
    freeaddrinfo(address);
    if (!problem && io_uring_register_files(&c->ring, fds, count) != 0)
        problem = "cannot register the sockets";
    /* Registered or failed: the descriptors themselves are not needed. */
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0) close(fds[i]);
    free(fds);
    return problem;
}

static void give_buffer(struct client *c, unsigned id)
{
    io_uring_buf_ring_add(c->buffers, c->buffer_memory + (size_t)id * BUFFER_BYTES, BUFFER_BYTES,
                          (unsigned short)id, BUFFERS - 1, 0);
    io_uring_buf_ring_advance(c->buffers, 1);
}

static void *map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static const char *open_ring(struct client *c)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE |
                                         IORING_SETUP_SUBMIT_ALL,
                                .cq_entries = CQ_ENTRIES};
    if (io_uring_queue_init_params(SQ_ENTRIES, &c->ring, &p) != 0)
        return "io_uring with DEFER_TASKRUN is not available (Linux 6.1)";
    c->buffers = map(BUFFERS * sizeof(struct io_uring_buf));
    c->buffer_memory = map((size_t)BUFFERS * BUFFER_BYTES);
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)c->buffers,
                                   .ring_entries = BUFFERS};
    if (io_uring_register_buf_ring(&c->ring, &reg, 0) != 0) return "no buffer rings";
    io_uring_buf_ring_init(c->buffers);
    for (unsigned i = 0; i < BUFFERS; i++) give_buffer(c, i);
    return NULL;
}

static void close_ring(struct client *c)
{
    io_uring_queue_exit(&c->ring);
    if (c->buffers) munmap(c->buffers, BUFFERS * sizeof(struct io_uring_buf));
    if (c->buffer_memory) munmap(c->buffer_memory, (size_t)BUFFERS * BUFFER_BYTES);
}

/* ---- requests ---- */

static struct io_uring_sqe *next_sqe(struct client *c)
{
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(&c->ring))) io_uring_submit(&c->ring);
    return sqe;
}

static void start_receiving(struct client *c, unsigned index)
{
    struct io_uring_sqe *sqe = next_sqe(c);
    io_uring_prep_recv_multishot(sqe, (int)index, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    io_uring_sqe_set_data64(sqe, (uint64_t)index << 1);
}

static bool is_over(const struct client *c)
{
    if (c->o->duration_ns) return c->now_ns - c->started_ns >= c->o->duration_ns;
    return c->asked >= c->o->count;
}

static void send_block(struct client *c, unsigned index)
{
    const struct requests *r = c->o->requests;
    struct connection *connection = &c->connections[index];
    uint32_t block = (uint32_t)((random_next(&c->random) >> 32) * r->block_count >> 32);
    if (c->o->fills) block = (uint32_t)(c->asked / c->o->pipeline);
    connection->send_bytes = r->starts[block + 1] - r->starts[block];
    connection->replies_left = c->o->pipeline;
    connection->sent_at_ns = c->now_ns;
    struct io_uring_sqe *sqe = next_sqe(c);
    io_uring_prep_send(sqe, (int)index, r->bytes + r->starts[block], connection->send_bytes,
                       MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, (uint64_t)index << 1 | SEND_BIT);
    c->asked += c->o->pipeline;
    c->open_pipelines++;
}

/* ---- replies ---- */

static void on_bytes(struct client *c, unsigned index, const char *data, size_t size)
{
    struct connection *connection = &c->connections[index];
    uint64_t n = replies_read(&connection->parser, &c->o->expected, &c->result->counts, data, size);
    if (n > connection->replies_left) {
        c->result->problem = "more replies than requests";
        return;
    }
    connection->replies_left -= (unsigned)n;
    if (n == 0 || connection->replies_left > 0) return;
    c->open_pipelines--;
    uint64_t latency_ns = c->now_ns - connection->sent_at_ns;
    histogram_add(&c->result->latencies, latency_ns, c->o->pipeline);
    timeline_add(&c->timeline, c->now_ns, latency_ns, c->o->pipeline);
    if (!is_over(c)) send_block(c, index);
}

static void on_completion(struct client *c, const struct io_uring_cqe *cqe)
{
    unsigned index = (unsigned)(cqe->user_data >> 1);
    if (cqe->user_data & SEND_BIT) {
        if (cqe->res != (int)c->connections[index].send_bytes) c->result->problem = "a send failed";
        return;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (cqe->res > 0)
            on_bytes(c, index, c->buffer_memory + (size_t)id * BUFFER_BYTES, (size_t)cqe->res);
        give_buffer(c, id);
    }
    if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS))
        c->result->problem = "the server closed a connection";
    else if (!(cqe->flags & IORING_CQE_F_MORE))
        start_receiving(c, index);
}

static unsigned take_completions(struct client *c)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    io_uring_for_each_cqe(&c->ring, head, cqe)
    {
        on_completion(c, cqe);
        n++;
    }
    io_uring_cq_advance(&c->ring, n);
    return n;
}

/* Until something has completed: how long it took to come is idle time. */
static void wait_for_completions(struct client *c)
{
    io_uring_submit_and_get_events(&c->ring);
    if (io_uring_cq_ready(&c->ring)) return;
    uint64_t before = clock_now_ns(), limit = before + 1000000;
    if (c->o->sleeps) {
        struct __kernel_timespec ts = {.tv_nsec = 1000000};
        struct io_uring_cqe *cqe;
        io_uring_wait_cqes(&c->ring, &cqe, 1, &ts, NULL);
    }
    while (!io_uring_cq_ready(&c->ring) && clock_now_ns() < limit) {
        if (IO_URING_READ_ONCE(*c->ring.sq.kflags) & IORING_SQ_TASKRUN)
            io_uring_get_events(&c->ring);
        cpu_relax();
    }
    c->result->idle_ns += clock_now_ns() - before;
}

static void run_loop(struct client *c)
{
    c->started_ns = c->now_ns = clock_now_ns();
    for (unsigned i = 0; i < c->o->connections; i++) {
        start_receiving(c, i);
        if (!is_over(c)) send_block(c, i);
    }
    uint64_t last_reply_ns = c->now_ns;
    timeline_begin(&c->timeline, c->o->timeline, c->now_ns);
    while (c->open_pipelines > 0 && !c->result->problem) {
        wait_for_completions(c);
        c->now_ns = clock_now_ns();
        if (take_completions(c) > 0) last_reply_ns = c->now_ns;
        timeline_step(&c->timeline, c->now_ns);
        if (c->now_ns - last_reply_ns > DRAIN_NS) c->result->problem = "no replies for 5 seconds";
    }
    c->result->elapsed_ns = last_reply_ns - c->started_ns;
}

void client_run(const struct client_options *options, struct client_result *result)
{
    struct client c = {.o = options, .result = result, .random = options->seed * 2 + 1};
    c.connections = calloc(options->connections, sizeof *c.connections);
    CHECK(c.connections);
    result->problem = open_ring(&c);
    if (!result->problem) {
        io_uring_register_ring_fd(&c.ring);
        result->problem = connect_all(&c);
        if (!result->problem) run_loop(&c);
        close_ring(&c);
    }
    free(c.connections);
}
