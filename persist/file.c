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

/* ---- taking the place of a file ---- */

enum err file_output_create(struct file_output *f, const char *path)
{
    *f = (struct file_output){.file = {.fd = -1}};
    snprintf(f->target, sizeof f->target, "%s", path);
    if (env_resolve(path, f->target) != OK) return ERR_IO;
    char temporary[ENV_PATH_BYTES_MAX];
    uint64_t number;
    env_random(&number, sizeof number);
    int n = snprintf(temporary, sizeof temporary, "%s" FILE_TEMPORARY_SUFFIX "%016llx", f->target,
                     (unsigned long long)number);
    if (n < 0 || (size_t)n >= sizeof temporary) {
        log_warning("cannot create a file beside %s: the name is too long", path);
        return ERR_IO;
    }
    bool exists;
    if (env_file_exists(f->target, &exists) != OK) return ERR_IO;
    /* Whoever may not read the old contents may at no moment open the new ones. */
    enum env_open_mode mode = exists ? ENV_OPEN_CREATE_PRIVATE : ENV_OPEN_CREATE;
    if (env_file_open(&f->file, temporary, mode) != OK) return ERR_IO;
    env_file_take_mode(&f->file, f->target);
    return OK;
}

static enum err sync_output(struct file_output *f)
{
    f->synced = f->written;
    return env_file_sync(&f->file);
}

enum err file_output_write(struct file_output *f, struct bytes bytes, uint64_t sync_bytes)
{
    if (env_file_write(&f->file, f->written, bytes) != OK) return ERR_IO;
    f->written += bytes.size;
    return sync_bytes && f->written - f->synced >= sync_bytes ? sync_output(f) : OK;
}

void file_output_abandon(struct file_output *f)
{
    if (f->file.fd < 0) return;
    env_file_close(&f->file);
    (void)!env_unlink(f->file.path);
}

static enum err sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char parent[ENV_PATH_BYTES_MAX] = ".";
    if (slash == path)
        memcpy(parent, "/", 2);
    else if (slash)
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    return env_sync_directory(parent);
}

enum err file_output_commit(struct file_output *f)
{
    enum err e = sync_output(f);
    if (e == OK) e = env_file_rename(&f->file, f->target);
    if (e != OK) {
        file_output_abandon(f);
        return e;
    }
    env_file_close(&f->file);
    return sync_directory_of(f->target);
}

void file_output_why(const struct file_output *f, char why[FILE_WHY_BYTES])
{
    const char *cause = f->file.logged_error ? env_file_why(&f->file) : "the log says why";
    snprintf(why, FILE_WHY_BYTES, "cannot write %.150s: %.80s", f->target, cause);
}

enum err file_replace(const char *path, struct bytes contents, char *why)
{
    struct file_output f;
    enum err e = file_output_create(&f, path);
    if (e == OK) {
        e = file_output_write(&f, contents, 0);
        if (e == OK)
            e = file_output_commit(&f);
        else
            file_output_abandon(&f);
    }
    if (e != OK && why) file_output_why(&f, why);
    return e;
}
