/* file.h: what the files of persistence have in common.
 *
 * Thread     any.
 * Errors     ERR_IO, logged by env.
 */
#pragma once

#include "base/env.h"

/* "directory/name". ERR_IO, logged, if that is too long. */
MUST_USE enum err file_path(char out[ENV_PATH_BYTES_MAX], const char *directory, const char *name);

/* All of it, appended; `out` is unchanged if that fails. ERR_ALLOC beyond `bytes_max` or when there
 * is no memory. */
MUST_USE enum err file_read(const char *path, size_t bytes_max, struct buf *out);

/* ---- taking the place of a file ---- */

/* A file that is written piece by piece, and takes the place of another, with its permissions, when
 * it is whole: until the commit nobody sees anything under its name. A symbolic link stays one: the
 * file that it names is replaced. Belongs to one thread at a time. */
struct file_output {
    struct env_file file;
    uint64_t written, synced; /* bytes */
    char target[ENV_PATH_BYTES_MAX];
};

/* What a temporary file's name has behind that of its target; left behind only if the process ends.
 */
#define FILE_TEMPORARY_SUFFIX ".tmp-"
#define FILE_WHY_BYTES (2 * ENV_NAME_BYTES_MAX)

/* A temporary file beside `path`. */
MUST_USE enum err file_output_create(struct file_output *f, const char *path);
/* All of it. `sync_bytes` > 0: what has been written goes to the disk each time it amounts to that
 * much, so that the end has no mountain to move. */
MUST_USE enum err file_output_write(struct file_output *f, struct bytes bytes, uint64_t sync_bytes);
/* Its sync, rename, and the sync of the directory; `f` is done with, whatever the result. */
MUST_USE enum err file_output_commit(struct file_output *f);
/* As if it had never been. */
void file_output_abandon(struct file_output *f);
/* One line that says which file could not be written, and the cause, if a call on `f` has failed.
 */
void file_output_why(const struct file_output *f, char why[FILE_WHY_BYTES]);

/* All of these, for contents that are at hand: the new ones appear at once or not at all, and are
 * durable. `why`: for whoever must be told of a failure, as above; NULL: the log is enough. */
MUST_USE enum err file_replace(const char *path, struct bytes contents, char *why);
