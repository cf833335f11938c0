#include "persist/file.h"

#include <stdio.h>

#include "base/log.h"

enum err file_path(char out[ENV_PATH_BYTES_MAX], const char *directory, const char *name)
{
    int n = snprintf(out, ENV_PATH_BYTES_MAX, "%s/%s", directory, name);
    if (n > 0 && n < ENV_PATH_BYTES_MAX) return OK;
    log_warning("cannot use %s/%s: the name is too long", directory, name);
    return ERR_IO;
}

static enum err write_new(const char *path, struct bytes contents)
{
    struct env_file f;
    bool is_left; /* by an earlier attempt */
    if (env_file_exists(path, &is_left) != OK) return ERR_IO;
    if (is_left && env_unlink(path) != OK) return ERR_IO;
    if (env_file_open(&f, path, ENV_OPEN_CREATE) != OK) return ERR_IO;
    enum err e = env_file_write(&f, 0, contents);
    if (e == OK) e = env_file_sync(&f);
    env_file_close(&f);
    return e;
}

enum err file_replace(const char *directory, const char *name, struct bytes contents)
{
    char path[ENV_PATH_BYTES_MAX], temporary[ENV_PATH_BYTES_MAX];
    if (file_path(path, directory, name) != OK) return ERR_IO;
    int n = snprintf(temporary, sizeof temporary, "%s" FILE_TEMPORARY_SUFFIX, path);
    if (n < 0 || (size_t)n >= sizeof temporary) return ERR_IO;
    if (write_new(temporary, contents) != OK) return ERR_IO;
    if (env_rename(temporary, path) != OK) return ERR_IO;
    return env_sync_directory(directory);
}

enum err file_read(const char *path, size_t bytes_max, struct buf *out)
{
    struct env_file f;
    uint64_t size;
    size_t got;
    if (env_file_open(&f, path, ENV_OPEN_READ) != OK) return ERR_IO;
    enum err e = env_file_size(&f, &size);
    if (e == OK && size > bytes_max) e = ERR_ALLOC;
    char *at = e == OK && size > 0 ? buf_try_reserve(out, (size_t)size) : NULL;
    if (e == OK && size > 0 && at == NULL) e = ERR_ALLOC;
    if (at != NULL) e = env_file_read(&f, 0, at, (size_t)size, &got);
    if (at != NULL && e == OK) out->size += got;
    env_file_close(&f);
    return e;
}
