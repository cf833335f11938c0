/* env_file.c: whole files: reading one, replacing one. */
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
