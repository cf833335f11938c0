/* reference.h: a redis-server of our own, reached through a Unix socket, that runs a recorded order
 * once more.
 *
 * Errors     reference_start: false when there is no redis-server here; the run then goes on with
 *            the in-process model alone.
 */
#pragma once

#include <sys/types.h>

#include "tests/sim/history.h"

struct reference {
    pid_t pid;
    int fd;
    char folder[64];
    char *pending; /* received, not used */
    size_t pending_bytes, pending_capacity;
};

MUST_USE bool reference_start(struct reference *r);
void reference_stop(struct reference *r);
/* Replays on an empty data set; the index of the first command whose reply differs, or SIZE_MAX.
 * *expected is valid until the next call. */
size_t reference_replay(struct reference *r, const struct history *h, struct bytes *expected);
