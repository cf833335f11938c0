#include "server/import_feed.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/text.h"
#include "server/router.h"

#define FEED_BYTES (256u << 10)
#define PATIENCE_NS 100000000ULL /* between two looks at must_end */

static const char reply_off[] = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n";
static const char reply_on[] = "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$2\r\nON\r\n";

static bool has_failed(const struct import_feed *f)
{
    return f->why[0] != '\0';
}

static void fail(struct import_feed *f, const char *what)
{
    if (!has_failed(f)) snprintf(f->why, sizeof f->why, "%s", what);
}

static void fail_at(struct import_feed *f, const struct import_source *file, uint64_t offset,
                    const char *what)
{
    if (has_failed(f)) return;
    snprintf(f->why, sizeof f->why, "%s %s, at offset %" PRIu64, file->path, what, offset);
}

/* ---- the connection ---- */

static void take_events(struct import_feed *f)
{
    struct env_event event;
    while (env_next(f->loop, &event)) {
        if (event.kind == ENV_SEND) {
            f->is_sending = false;
            f->is_cut_off |= event.status != OK;
        } else if (event.kind == ENV_RECV && event.buffer) {
            size_t size = MIN(event.size, sizeof f->reply - f->reply_size);
            memcpy(f->reply + f->reply_size, event.data, size);
            f->reply_size += size;
            env_buffer_unref(event.buffer);
        } else if (event.kind == ENV_RECV) {
            f->is_cut_off = true;
        }
    }
}

/* False: it is over. */
static bool wait_a_while(struct import_feed *f)
{
    env_wait(f->loop, PATIENCE_NS);
    take_events(f);
    if (f->is_cut_off) fail(f, "its connection was closed");
    if (atomic_load_explicit(&f->must_end, memory_order_relaxed)) fail(f, "it was given up");
    return !has_failed(f);
}

/* Sends what has gathered, behind what is being sent. */
static void flush(struct import_feed *f)
{
    while (f->is_sending)
        if (!wait_a_while(f)) return;
    struct buf sent = f->sending;
    f->sending = f->filling;
    f->filling = sent;
    f->filling.size = 0;
    if (f->sending.size == 0) return;
    f->piece = (struct iovec){f->sending.data, f->sending.size};
    f->is_sending = true;
    env_send(f->loop, &f->socket, &f->piece, 1);
    env_flush(f->loop);
}

static void append(struct import_feed *f, const void *data, size_t size)
{
    char *to = buf_try_reserve(&f->filling, size);
    if (!to) {
        fail(f, "has a command for which there is no memory");
        return;
    }
    if (size) memcpy(to, data, size);
    f->filling.size += size;
}

static void append_head(struct import_feed *f, char type, uint64_t value)
{
    char head[32];
    int size = snprintf(head, sizeof head, "%c%" PRIu64 "\r\n", type, value);
    append(f, head, (size_t)size);
}

static void send_command(struct import_feed *f, const struct redis_aof_reader *r)
{
    append_head(f, '*', r->argc);
    for (uint32_t i = 0; i < r->argc && !has_failed(f); i++) {
        append_head(f, '$', r->argv[i].size);
        append(f, r->argv[i].data, r->argv[i].size);
        append(f, "\r\n", 2);
    }
    atomic_fetch_add_explicit(&f->commands, 1, memory_order_relaxed);
    if (f->filling.size >= FEED_BYTES) flush(f);
}

/* ---- commands ---- */

/* NULL, or why it may not be in a file. */
static const char *check_command(const struct import_feed *f, const struct redis_aof_reader *r)
{
    const struct route *route = router_find_logged(f->options.router, r->argv, r->argc);
    if (!route || !route_arity_fits(route, r->argc)) return "has an unknown command";
    const struct command *c = route->command;
    int64_t db;
    if (strcmp(c->name, "select") == 0) {
        bool ok = text_to_i64(r->argv[1], &db) && db >= 0 && db < f->options.database_count;
        return ok ? NULL : "has a higher database than `databases` allows";
    }
    bool is_transaction = strcmp(c->name, "multi") == 0 || strcmp(c->name, "exec") == 0;
    if (is_transaction || c->flags & (CMD_WRITE | CMD_MAY_REPLICATE)) return NULL;
    return "has a command that changes nothing";
}

/* NULL, or what is wrong. */
static const char *note_transaction(struct import_feed *f, const struct redis_aof_reader *r)
{
    bool is_multi = bytes_equal_nocase(r->argv[0], "multi"),
         is_exec = bytes_equal_nocase(r->argv[0], "exec");
    if (is_multi && f->in_multi) return "has a transaction within a transaction";
    if (is_exec && !f->in_multi) return "has an EXEC without MULTI";
    if (is_multi) f->multi_offset = r->offset;
    if (is_multi || is_exec) f->in_multi = is_multi;
    return NULL;
}

/* The end of a file. What is left of a transaction has been queued, and is never executed. */
static void on_end(struct import_feed *f, const struct redis_aof_reader *r,
                   const struct import_source *file, enum redis_aof_found found)
{
    bool is_last = file == &f->options.files[f->options.file_count - 1];
    if (found == REDIS_AOF_END && !f->in_multi) return;
    if (found == REDIS_AOF_FAILURE || found == REDIS_AOF_BROKEN) {
        fail_at(f, file, r->offset, r->fault);
        return;
    }
    uint64_t from = f->in_multi ? f->multi_offset : r->offset;
    const char *what = f->in_multi ? "ends within a transaction" : "ends within a command";
    if (!is_last || !f->options.may_be_cut) {
        fail_at(f, file, from, what);
        return;
    }
    snprintf(f->cut, sizeof f->cut,
             "%s %s: the %" PRIu64 " bytes from offset %" PRIu64 " on are left out", file->path,
             what, r->size - from, from);
}

static void feed_file(struct import_feed *f, const struct import_source *file)
{
    struct redis_aof_reader r;
    enum redis_aof_found found = REDIS_AOF_FAILURE;
    uint64_t told = file->offset;
    bool is_open = redis_aof_open(&r, &f->mem, file->path, file->offset);
    while (is_open && !has_failed(f) && (found = redis_aof_next(&r)) == REDIS_AOF_COMMAND) {
        const char *fault = check_command(f, &r);
        if (!fault) fault = note_transaction(f, &r);
        if (fault)
            fail_at(f, file, r.offset, fault);
        else
            send_command(f, &r);
        atomic_fetch_add_explicit(&f->bytes_read, r.end - told, memory_order_relaxed);
        told = r.end;
    }
    if (!has_failed(f)) on_end(f, &r, file, found);
    redis_aof_close(&r);
}

/* ---- the thread ---- */

static void feed_all(struct import_feed *f)
{
    append(f, reply_off, sizeof reply_off - 1);
    for (unsigned i = 0; i < f->options.file_count && !has_failed(f); i++)
        feed_file(f, &f->options.files[i]);
    if (f->in_multi) append(f, "*1\r\n$7\r\nDISCARD\r\n", 17);
    append(f, reply_on, sizeof reply_on - 1);
    if (!has_failed(f)) flush(f);
    while (!has_failed(f) && f->reply_size < 5) wait_a_while(f);
    if (!has_failed(f) && memcmp(f->reply, "+OK\r\n", 5) != 0)
        fail(f, "its connection is confused");
}

static void close_socket(struct import_feed *f)
{
    env_close(f->loop, &f->socket);
    while (f->socket.fd >= 0) {
        struct env_event event;
        env_wait(f->loop, PATIENCE_NS);
        while (env_next(f->loop, &event))
            if (event.buffer) env_buffer_unref(event.buffer);
    }
}

static void *run(void *argument)
{
    struct import_feed *f = argument;
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop_options o = {.name = "import",
                                 .recv_buffer_count = 2,
                                 .recv_buffer_bytes = 4096,
                                 .backend = f->options.backend};
    if (env_loop_create(&o, &f->loop, why) == OK) {
        env_socket_adopt(f->loop, &f->socket, f->options.fd, 0);
        env_recv_start(f->loop, &f->socket);
        feed_all(f);
        close_socket(f);
        env_loop_destroy(f->loop);
    } else {
        env_refuse(f->options.fd, BYTES_LITERAL(""));
        fail(f, why);
    }
    buf_clear(&f->filling);
    buf_clear(&f->sending);
    atomic_store_explicit(&f->is_over, true, memory_order_release);
    f->options.wake(f->options.context);
    return NULL;
}

bool import_feed_start(struct import_feed *f, const struct import_feed_options *options)
{
    *f = (struct import_feed){.options = *options};
    mem_init(&f->mem, "import");
    f->filling.mem = f->sending.mem = &f->mem;
    /* Signals are the main thread's. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    bool done = pthread_create(&f->pthread, NULL, run, f) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (done) {
        pthread_setname_np(f->pthread, "import");
        return true;
    }
    env_refuse(f->options.fd, BYTES_LITERAL(""));
    mem_deinit(&f->mem);
    fail(f, "cannot create the thread that reads the append only file");
    return false;
}

void import_feed_join(struct import_feed *f)
{
    pthread_join(f->pthread, NULL);
    mem_deinit(&f->mem);
}
