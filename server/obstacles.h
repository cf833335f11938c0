/* obstacles.h: what keeps the net threads from running commands: the main thread sets it, and knows
 * when all have seen it.
 *
 * Thread     [main] sets; each net thread looks at its own copy, one test per command.
 * Order      After `done` no command that an obstacle concerns is published any more.
 */
#pragma once

#include "base/command.h"

struct server;

enum obstacle {
    OBSTACLE_HELD = 1 << 0,    /* everything waits: the last save, DEBUG RELOAD */
    OBSTACLE_LOADING = 1 << 1, /* -LOADING, but for commands with CMD_LOADING */
    OBSTACLE_MISCONF = 1 << 2, /* -MISCONF for writes: the last save failed */
    OBSTACLE_LOG = 1 << 3,     /* -MISCONF for writes: the append-only log cannot be written */
};

/* Sets some and clears others; `done` may be NULL. */
void obstacles_change(struct server *srv, uint32_t set, uint32_t clear,
                      void (*done)(struct server *srv));
