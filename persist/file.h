/* file.h: what the files of persistence have in common.
 *
 * Thread     any.
 * Errors     ERR_IO, logged by env.
 */
#pragma once

#include "base/env.h"

/* "directory/name". ERR_IO, logged, if that is too long. */
MUST_USE enum err file_path(char out[ENV_PATH_BYTES_MAX], const char *directory, const char *name);

/* New contents of directory/name appear at once or not at all, and are durable: a temporary file,
 * its sync, rename, and the sync of the directory. One writer per name. */
MUST_USE enum err file_replace(const char *directory, const char *name, struct bytes contents);
#define FILE_TEMPORARY_SUFFIX ".new"

/* All of it, appended; `out` is unchanged if that fails. ERR_ALLOC beyond `bytes_max` or when there
 * is no memory. */
MUST_USE enum err file_read(const char *path, size_t bytes_max, struct buf *out);
