/* env_file.c: reading a whole file. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/env_internal.h"

#define READ_CHUNK_BYTES 65536

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
