/* acl_file.h: users as text: the file of aclfile, and the user lines of the configuration.
 *
 *     user NAME RULE RULE …        one line each; blank lines do not count
 *
 * Thread     [main], but acl_read_text: any.
 * Errors     All errors of a text, each with file and line, then nothing has changed.
 */
#pragma once

#include "server/acl.h"
#include "server/config.h"

/* Makes the users of a text all that there are. `path` is for the errors, which are for the client,
 * without "ERR ". */
MUST_USE bool acl_read_text(struct acl *a, const char *path, struct bytes text, struct buf *error);
/* The same with a file. */
MUST_USE bool acl_read_file(struct acl *a, const char *path, struct buf *error);
/* All users, as lines. False: no memory. */
MUST_USE bool acl_write_text(const struct acl_set *set, struct buf *out);

/* What the configuration says at the start. False: `error` has a line for the log. */
MUST_USE bool acl_boot(struct acl *a, const struct config *c, struct buf *error);
/* The present users as the lines of a configuration; none if there is an aclfile. False: no
 * memory. */
MUST_USE bool acl_config_lines(struct acl *a, struct config *c);
