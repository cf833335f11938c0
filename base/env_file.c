/* env_file.c: files: reading one, replacing one, whole or piece by piece. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env_internal.h"

#define READ_CHUNK_BYTES 65536
#define NEW_FILE_MODE 0644

/* ---- reading ---- */

static enum err read_all(int fd, const char *path, struct buf *out, char *why)
{
    for (;;) {
        char *at = buf_try_reserve(out, READ_CHUNK_BYTES);
        if (at == NULL) {
            env_why(why, "cannot read %s: out of memory", path);
            return ERR_ALLOC;
        }
        ssize_t n = read(fd, at, READ_CHUNK_BYTES);
        if (n > 0 && fault_hit("env_file_read")) {
            n = -1;
            errno = EIO;
        }
        if (n == 0) return OK;
        if (n > 0) {
            out->size += (size_t)n;
        } else if (errno != EINTR) {
            env_why(why, "cannot read %s: %s", path, strerrordesc_np(errno));
            return ERR_IO;
        }
    }
}

enum err env_read_file(const char *path, struct buf *out, char *why)
{
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        env_why(why, "cannot open %s: %s", path, strerrordesc_np(errno));
        return ERR_IO;
    }
    size_t size_before = out->size;
    enum err e = read_all(fd, path, out, why);
    if (e != OK) out->size = size_before;
    if (!standard_input) close(fd);
    return e;
}

/* ---- replacing ---- */

static int write_all(int fd, struct bytes contents)
{
    while (contents.size > 0) {
        if (fault_hit("env_file_write")) return ENOSPC;
        ssize_t n = write(fd, contents.data, contents.size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        contents.data += n;
        contents.size -= (size_t)n;
    }
    if (fault_hit("env_file_fsync")) return EIO;
    return fsync(fd) == 0 ? 0 : errno;
}

/* A file that keeps its place keeps its permissions. */
static unsigned mode_for(const char *target)
{
    struct stat info;
    return stat(target, &info) == 0 ? info.st_mode & 07777 : 0;
}

static int create_temporary(const char *target, char *path, size_t path_bytes, int *out)
{
    uint64_t number;
    env_random(&number, sizeof number);
    int n = snprintf(path, path_bytes, "%s.tmp-%016llx", target, (unsigned long long)number);
    if (n < 0 || (size_t)n >= path_bytes) return ENAMETOOLONG;
    unsigned mode = mode_for(target);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode != 0 ? 0600 : NEW_FILE_MODE);
    if (fd < 0) return errno;
    if (mode != 0) (void)fchmod(fd, mode);
    *out = fd;
    return 0;
}

/* The new name is durable only when its directory is. */
static int sync_directory_of(const char *target)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(target, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - target);
    if (size >= sizeof directory) return ENAMETOOLONG;
    memcpy(directory, target, size);
    directory[size] = 0;
    const char *name = directory;
    if (size == 0) name = slash == NULL ? "." : "/";
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return error;
}

static int replace(const char *target, struct bytes contents)
{
    char temporary[PATH_MAX];
    int fd = -1;
    int error = create_temporary(target, temporary, sizeof temporary, &fd);
    if (error != 0) return error;
    error = write_all(fd, contents);
    if (close(fd) != 0 && error == 0) error = errno;
    if (error == 0 && fault_hit("env_file_rename")) error = EIO;
    if (error == 0 && rename(temporary, target) != 0) error = errno;
    if (error != 0) {
        (void)unlink(temporary);
        return error;
    }
    return sync_directory_of(target);
}

enum err env_replace_file(const char *path, struct bytes contents, char *why)
{
    /* A symbolic link stays one: the file that it names is replaced. */
    char resolved[PATH_MAX];
    const char *target = realpath(path, resolved) != NULL ? resolved : path;
    int error = replace(target, contents);
    if (error == 0) return OK;
    env_why(why, "cannot write %s: %s", path, strerrordesc_np(error));
    return ERR_IO;
}

/* ---- piece by piece ---- */

enum err env_output_create(struct env_output *f, const char *path, char *why)
{
    *f = (struct env_output){.fd = -1};
    char resolved[PATH_MAX];
    const char *target = realpath(path, resolved) != NULL ? resolved : path;
    int n = snprintf(f->target, sizeof f->target, "%s", target);
    int error = n < 0 || (size_t)n >= sizeof f->target ? ENAMETOOLONG : 0;
    if (error == 0 && fault_hit("env_output_create")) error = EACCES;
    if (error == 0) error = create_temporary(f->target, f->temporary, sizeof f->temporary, &f->fd);
    if (error == 0) return OK;
    env_why(why, "cannot create a file beside %s: %s", path, strerrordesc_np(error));
    return ERR_IO;
}

static int sync_output(struct env_output *f)
{
    if (fault_hit("env_output_sync")) return EIO;
    f->synced = f->written;
    return fdatasync(f->fd) == 0 ? 0 : errno;
}

enum err env_output_write(struct env_output *f, struct bytes bytes, uint64_t sync_bytes, char *why)
{
    int error = 0;
    while (error == 0 && bytes.size > 0) {
        if (fault_hit("env_output_write")) {
            error = ENOSPC;
            break;
        }
        ssize_t n = write(f->fd, bytes.data, bytes.size);
        if (n < 0) {
            error = errno == EINTR ? 0 : errno;
            continue;
        }
        bytes.data += n;
        bytes.size -= (size_t)n;
        f->written += (uint64_t)n;
    }
    if (error == 0 && sync_bytes && f->written - f->synced >= sync_bytes) error = sync_output(f);
    if (error == 0) return OK;
    env_why(why, "cannot write %s: %s", f->temporary, strerrordesc_np(error));
    return ERR_IO;
}

void env_output_abandon(struct env_output *f)
{
    if (f->fd < 0) return;
    close(f->fd);
    f->fd = -1;
    (void)unlink(f->temporary);
}

enum err env_output_commit(struct env_output *f, char *why)
{
    int error = sync_output(f);
    if (error == 0 && fault_hit("env_output_rename")) error = EIO;
    if (error == 0 && rename(f->temporary, f->target) != 0) error = errno;
    if (error != 0) {
        env_why(why, "cannot put %s in its place: %s", f->target, strerrordesc_np(error));
        env_output_abandon(f);
        return ERR_IO;
    }
    close(f->fd);
    f->fd = -1;
    error = sync_directory_of(f->target);
    if (error == 0) return OK;
    env_why(why, "cannot make the name %s durable: %s", f->target, strerrordesc_np(error));
    return ERR_IO;
}

enum err env_input_open(struct env_input *f, const char *path, bool *is_missing, char *why)
{
    *f = (struct env_input){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    int error = f->fd < 0 ? errno : 0;
    *is_missing = error == ENOENT;
    struct stat info;
    if (error == 0 && fstat(f->fd, &info) != 0) error = errno;
    if (error == 0 && S_ISDIR(info.st_mode)) error = EISDIR;
    if (error == 0) {
        f->size = (uint64_t)info.st_size;
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        return OK;
    }
    env_input_close(f);
    env_why(why, "cannot open %s: %s", path, strerrordesc_np(error));
    return ERR_IO;
}

enum err env_input_read(struct env_input *f, char *to, size_t room, size_t *size)
{
    ssize_t n;
    do n = read(f->fd, to, room);
    while (n < 0 && errno == EINTR);
    if (n >= 0 && fault_hit("env_input_read")) n = -1;
    *size = n > 0 ? (size_t)n : 0;
    return n < 0 ? ERR_IO : OK;
}

void env_input_close(struct env_input *f)
{
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}
