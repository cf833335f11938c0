/* container.h: keeps an eye on the memory limit of the container, which may change while the server
 * runs.
 *
 * Thread     [main]
 * Limits     It looks once a second, and ten times while more than half of the limit is in use.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"

struct config;
struct server;

struct container {
    struct counter limit_bytes, used_bytes; /* limit 0: none; any thread may read them */
    uint32_t turn;                          /* of container_update */
    bool is_near;                           /* the log has said that the limit is near */
};

/* At the start: one line on what there is, so that a wrong cap is seen before the kernel's killer
 * shows it. */
void container_begin(struct server *srv);
/* Ten times a second. Warns when the limit is near; when it has changed, says so, and maxmemory
 * follows if it is a percentage of it. */
void container_update(struct server *srv);
