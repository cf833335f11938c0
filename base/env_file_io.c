/* env_file_io.c: open files and directories, by plain system calls.
 *
 * Named fault points: file_open, file_read, file_write, file_sync, file_truncate, file_rename,
 * file_sync_directory fail with EIO; file_interrupted makes a read or write return EINTR,
 * file_short makes it take half.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env_internal.h"
#include "base/log.h"

#define NEW_FILE_MODE 0644
#define PRIVATE_FILE_MODE 0600
#define NEW_DIRECTORY_MODE 0755

static enum err path_failed(const char *verb, const char *path, int error)
{
    log_warning("cannot %s %s: %s", verb, path, strerrordesc_np(error));
    return ERR_IO;
}

/* ---- files ---- */

enum err env_file_open(struct env_file *f, const char *path, enum env_open_mode mode)
{
    static const int flags[] = {[ENV_OPEN_READ] = O_RDONLY,
                                [ENV_OPEN_WRITE] = O_RDWR,
                                [ENV_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL,
                                [ENV_OPEN_CREATE_PRIVATE] = O_RDWR | O_CREAT | O_EXCL};
    memset(f, 0, sizeof *f);
    f->fd = -1;
    size_t size = strlen(path);
    if (size >= sizeof f->path) return path_failed("open", path, ENAMETOOLONG);
    memcpy(f->path, path, size + 1);
    if (fault_hit("file_open")) return env_file_finish(f, ENV_FILE_OPEN, EIO);
    mode_t permissions = mode == ENV_OPEN_CREATE_PRIVATE ? PRIVATE_FILE_MODE : NEW_FILE_MODE;
    do {
        f->fd = open(path, flags[mode] | O_CLOEXEC, permissions);
    } while (f->fd < 0 && errno == EINTR);
    return env_file_finish(f, ENV_FILE_OPEN, f->fd < 0 ? errno : 0);
}

void env_file_close(struct env_file *f)
{
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

enum err env_file_read(struct env_file *f, uint64_t offset, char *out, size_t room, size_t *got)
{
    size_t done = 0;
    while (done < room) {
        size_t size = MIN(room - done, ENV_FILE_CALL_BYTES_MAX);
        if (fault_hit("file_read")) return env_file_finish(f, ENV_FILE_READ, EIO);
        if (fault_hit("file_interrupted")) continue;
        if (fault_hit("file_short")) size = (size + 1) / 2;
        ssize_t n = pread(f->fd, out + done, size, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return env_file_finish(f, ENV_FILE_READ, errno);
        if (n == 0) break;
        done += (size_t)n;
    }
    *got = done;
    return env_file_finish(f, ENV_FILE_READ, 0);
}

enum err env_file_write(struct env_file *f, uint64_t offset, struct bytes data)
{
    return env_file_finish(f, ENV_FILE_WRITE, env_file_write_all(f->fd, offset, data));
}

enum err env_file_truncate(struct env_file *f, uint64_t size)
{
    if (fault_hit("file_truncate")) return env_file_finish(f, ENV_FILE_TRUNCATE, EIO);
    int status;
    do {
        status = ftruncate(f->fd, (off_t)size);
    } while (status != 0 && errno == EINTR);
    return env_file_finish(f, ENV_FILE_TRUNCATE, status == 0 ? 0 : errno);
}

enum err env_file_size(struct env_file *f, uint64_t *size)
{
    struct stat info;
    if (fstat(f->fd, &info) != 0) return env_file_finish(f, ENV_FILE_SIZE, errno);
    *size = (uint64_t)info.st_size;
    return env_file_finish(f, ENV_FILE_SIZE, 0);
}

enum err env_file_sync(struct env_file *f)
{
    if (f->sync_failed) return ERR_IO;
    return env_file_finish(f, ENV_FILE_SYNC, env_file_sync_now(f->fd));
}

enum err env_file_rename(struct env_file *f, const char *to)
{
    size_t size = strlen(to);
    if (size >= sizeof f->path) return env_file_finish(f, ENV_FILE_RENAME, ENAMETOOLONG);
    if (fault_hit("file_rename")) return env_file_finish(f, ENV_FILE_RENAME, EIO);
    if (rename(f->path, to) != 0) return env_file_finish(f, ENV_FILE_RENAME, errno);
    memcpy(f->path, to, size + 1);
    return env_file_finish(f, ENV_FILE_RENAME, 0);
}

void env_file_take_mode(struct env_file *f, const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0) (void)fchmod(f->fd, info.st_mode & 07777);
}

/* ---- names ---- */

enum err env_resolve(const char *path, char out[ENV_PATH_BYTES_MAX])
{
    char resolved[PATH_MAX];
    const char *target = realpath(path, resolved) != NULL ? resolved : path;
    size_t size = strlen(target);
    if (size >= ENV_PATH_BYTES_MAX) return path_failed("use", path, ENAMETOOLONG);
    memcpy(out, target, size + 1);
    return OK;
}

enum err env_file_exists(const char *path, bool *exists)
{
    *exists = access(path, F_OK) == 0;
    if (*exists || errno == ENOENT || errno == ENOTDIR) return OK;
    return path_failed("look for", path, errno);
}

enum err env_unlink(const char *path)
{
    return unlink(path) == 0 ? OK : path_failed("remove", path, errno);
}

enum err env_make_directory(const char *path)
{
    if (mkdir(path, NEW_DIRECTORY_MODE) == 0) return OK;
    int error = errno;
    struct stat info;
    if (error == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) return OK;
    return path_failed("make the directory", path, error);
}

enum err env_sync_directory(const char *path)
{
    if (fault_hit("file_sync_directory")) return path_failed("sync the directory", path, EIO);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return path_failed("open the directory", path, errno);
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error == 0 ? OK : path_failed("sync the directory", path, error);
}

enum err env_list_directory(const char *path, struct buf *out)
{
    DIR *directory = opendir(path);
    if (directory == NULL) return path_failed("list", path, errno);
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            buf_append(out, entry->d_name, strlen(entry->d_name) + 1);
        }
        errno = 0;
    }
    int error = errno;
    closedir(directory);
    return error == 0 ? OK : path_failed("list", path, error);
}

/* ---- requests ---- */

void env_file_commit(struct env_loop *loop, struct env_file_request *r, struct env_file *f,
                     uint64_t offset, struct bytes data)
{
    CHECK(!r->is_pending);
    *r = (struct env_file_request){.is_pending = true,
                                   .file = f,
                                   .loop = loop,
                                   .offset = offset,
                                   .left = data,
                                   .is_write_done = data.size == 0};
    loop->file_requests++;
    if (f->sync_failed) {
        r->failed = ENV_FILE_SYNC;
        r->error = f->logged_error;
        env_file_request_finish(r);
    } else if (loop->backend == ENV_URING) {
        env_uring_commit(loop, r);
    } else {
        env_helper_commit(loop, r);
    }
}
