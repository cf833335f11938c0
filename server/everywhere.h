/* everywhere.h: the main thread's way into the turn order: one internal request to every shard, in
 * one turn.
 *
 *     main ──call──▶ net thread 0 ──turn──▶ every shard ──▶ net thread 0 ──call──▶ main: `done`
 *
 * Thread     [main], but for what runs on the net thread
 * Ownership  The caller's memory, until `done`.
 * Order      One position on all shards, as any command of PLAN_ALL_SHARDS; it waits for locks, and
 *            so comes before or after a command over several shards, never between its parts.
 */
#pragma once

#include "base/thread.h"
#include "net/gather.h"
#include "shard/cmd/families.h"

struct server;

struct everywhere {
    struct call call;
    struct gather gather;
    struct server *server;
    const struct command *row;
    void (*done)(struct server *srv);
    bool is_under_way;
    struct bytes argv[1];
};

void everywhere_run(struct everywhere *e, struct server *srv, enum internal_command row,
                    void (*done)(struct server *srv));
