/* env_file_call.c: what every way of working on an open file ends in: the calls that write and
 * sync, and the log line of a failure.
 */
#include <errno.h>
#include <unistd.h>

#include "base/env_internal.h"
#include "base/log.h"

static const char *const verbs[] = {
    [ENV_FILE_NOTHING] = "use",
    [ENV_FILE_OPEN] = "open",
    [ENV_FILE_READ] = "read",
    [ENV_FILE_WRITE] = "write",
    [ENV_FILE_SYNC] = "sync",
    [ENV_FILE_TRUNCATE] = "truncate",
    [ENV_FILE_SIZE] = "find the size of",
    [ENV_FILE_RENAME] = "rename",
};

static enum err failed(struct env_file *f, enum env_file_op op, int error)
{
    if (op == ENV_FILE_SYNC) f->sync_failed = true;
    if (f->logged_op == op && f->logged_error == error) return ERR_IO;
    f->logged_op = (uint8_t)op;
    f->logged_error = error;
    log_warning("cannot %s %s: %s", verbs[op], f->path, strerrordesc_np(error));
    return ERR_IO;
}

static void succeeded(struct env_file *f, enum env_file_op op)
{
    if (f->logged_op == op) f->logged_op = ENV_FILE_NOTHING;
}

enum err env_file_finish(struct env_file *f, enum env_file_op op, int error)
{
    if (error != 0) return failed(f, op, error);
    succeeded(f, op);
    return OK;
}

int env_file_write_all(int fd, uint64_t offset, struct bytes data)
{
    while (data.size > 0) {
        size_t size = MIN(data.size, ENV_FILE_CALL_BYTES_MAX);
        if (fault_hit("file_write")) return EIO;
        if (fault_hit("file_interrupted")) continue;
        if (fault_hit("file_short")) size = (size + 1) / 2;
        ssize_t n = pwrite(fd, data.data, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return ENOSPC;
        offset += (uint64_t)n;
        data = bytes_make(data.data + n, data.size - (size_t)n);
    }
    return 0;
}

int env_file_sync_now(int fd)
{
    if (fault_hit("file_sync")) return EIO;
    int status;
    do {
        status = fdatasync(fd);
    } while (status != 0 && errno == EINTR);
    return status == 0 ? 0 : errno;
}

void env_file_request_finish(struct env_file_request *r)
{
    CHECK(r->loop->file_requests > 0);
    r->loop->file_requests--;
    r->status = env_file_finish(r->file, r->failed == ENV_FILE_NOTHING ? ENV_FILE_SYNC : r->failed,
                                r->error);
    if (r->status == OK && r->is_write_done) succeeded(r->file, ENV_FILE_WRITE);
    r->is_pending = false;
}
