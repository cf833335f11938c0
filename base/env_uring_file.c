/* env_uring_file.c: writes and fdatasyncs through the ring.
 *
 *     write ══link══▶ fdatasync        both are executed by the kernel's workers
 *
 * A write that is short or fails breaks the link: the fdatasync ends with ECANCELED, and the rest
 * is sent as a new pair. A link also breaks, without a word, where the kernel stops taking entries
 * between the two; so an fdatasync counts only if it completes after its write.
 */
#include <errno.h>

#include "base/env_internal.h"

enum { IN_FLIGHT_WRITE = 1, IN_FLIGHT_SYNC = 2 };

/* True if it is linked to the entry that comes next. */
static bool queue_write(struct env_loop *loop, struct env_file_request *r)
{
    size_t size = MIN(r->left.size, ENV_FILE_CALL_BYTES_MAX);
    if (fault_hit("file_short")) size = (size + 1) / 2;
    bool is_linked = size == r->left.size;
    struct io_uring_sqe *sqe = env_uring_sqe(loop, 2);
    io_uring_prep_write(sqe, r->file->fd, r->left.data, (unsigned)size, r->offset);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)r | OP_FILE_WRITE);
    if (is_linked) sqe->flags |= IOSQE_IO_LINK;
    r->in_flight |= IN_FLIGHT_WRITE;
    return is_linked;
}

static void queue_pair(struct env_loop *loop, struct env_file_request *r)
{
    r->sync_came_late = r->is_write_done;
    /* There is no use in making a part of the write durable. */
    if (!r->is_write_done && !queue_write(loop, r)) return;
    struct io_uring_sqe *sqe = env_uring_sqe(loop, 1);
    io_uring_prep_fsync(sqe, r->file->fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)r | OP_FILE_SYNC);
    r->in_flight |= IN_FLIGHT_SYNC;
}

void env_uring_commit(struct env_loop *loop, struct env_file_request *r)
{
    _Static_assert(_Alignof(struct env_file_request) > OP_MASK, "the low bits hold the operation");
    queue_pair(loop, r);
}

static void on_write(struct env_file_request *r, int result)
{
    if (result > 0 && fault_hit("file_write")) result = -EIO;
    if (result == -EINTR || result == -EAGAIN) return;
    if (result <= 0) {
        r->failed = ENV_FILE_WRITE;
        r->error = result == 0 ? ENOSPC : -result;
        return;
    }
    r->offset += (uint64_t)result;
    r->left = bytes_make(r->left.data + result, r->left.size - (size_t)result);
    r->is_write_done = r->left.size == 0;
    r->sync_came_late = r->is_write_done && r->in_flight & IN_FLIGHT_SYNC;
}

static void on_sync(struct env_file_request *r, int result)
{
    if (result == 0 && fault_hit("file_sync")) result = -EIO;
    if (result == 0) {
        r->is_sync_done = r->sync_came_late;
        return;
    }
    if (result == -ECANCELED || result == -EINTR || result == -EAGAIN) return;
    r->failed = ENV_FILE_SYNC;
    r->error = -result;
}

void env_uring_on_file(struct env_loop *loop, struct env_file_request *r, enum env_op op,
                       int result)
{
    r->in_flight &= op == OP_FILE_WRITE ? (uint8_t)~IN_FLIGHT_WRITE : (uint8_t)~IN_FLIGHT_SYNC;
    if (op == OP_FILE_WRITE)
        on_write(r, result);
    else
        on_sync(r, result);
    if (r->in_flight != 0) return;
    if (r->error != 0 || r->is_sync_done)
        env_file_request_finish(r);
    else
        queue_pair(loop, r);
}
