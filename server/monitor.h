/* monitor.h: MONITOR: every command that any connection runs, as a line to those who watch.
 *
 *     dispatch ─▶ line ─▶ monitors of this thread
 *                    └──▶ feed ─▶ each other net thread that has monitors
 *
 * The commands of a transaction are told when it runs, those that a script calls behind its own
 * line; while somebody watches, a connection waits for both, so that its next line comes behind
 * them. Lines that come while a script runs on a shard travel in front of its reply.
 *
 * Thread     [net]
 * Limits     A monitor is bounded as a subscriber is, by client-output-buffer-limit pubsub: what it
 *            gets is not what it asked for one by one. If a thread cannot keep up with the lines of
 *            another (MONITOR_WAITING_BYTES_MAX), its monitors are cut, because a gap would lie.
 * Order      Of one connection: as it sent the commands. Between connections: as they come.
 */
#pragma once

#include "base/counter.h"
#include "base/dlist.h"
#include "base/feed.h"
#include "server/router.h"

#define MONITOR_WAITING_BYTES_MAX (16 * 1024 * 1024)

struct session;
struct worker;

/* Of a transaction: what is left to be told of it while it runs. */
struct monitor_notes {
    struct buf who;  /* the client, as lines name it; empty: nobody watches */
    struct buf last; /* the text of EXEC itself */
};

/* A command as it is shown: by a client, or "lua". */
struct monitor_call {
    const struct command *command;
    const struct bytes *argv;
    uint32_t argc, db;
    struct bytes who;
};

/* Of a net thread. */
struct monitor {
    struct dlist watchers; /* sessions */
    struct counter count;  /* of them; other threads read it */
    struct feed *feeds;    /* by net id */
    bool has_news;
    struct buf prefix, line; /* of the command that is being told */
};

void monitor_init(struct worker *w);
void monitor_deinit(struct worker *w);

/* The connection begins to watch, or no longer does. Both may be repeated. */
void monitor_start(struct session *s);
void monitor_stop(struct session *s);

/* Notes the request in the session's reader, whose memory may go when it is dispatched. */
void monitor_note(struct session *s, const struct route *route);
/* Tells whoever watches of what was noted last, once it has been dispatched. */
void monitor_tell(struct session *s);

/* In EXEC: takes over what was noted of it, if somebody watches. */
void monitor_notes_take(struct monitor_notes *n, struct session *s);
void monitor_notes_clear(struct monitor_notes *n);
/* A command of the transaction has run or is about to, in that database. */
void monitor_tell_queued(struct worker *w, const struct monitor_notes *n,
                         const struct monitor_call *call);
void monitor_tell_last(struct worker *w, const struct monitor_notes *n, uint32_t db);

/* [any] Appends the whole line. False: there was no memory. */
bool monitor_append_line(struct buf *to, const struct monitor_call *call);
/* Whole lines. With `has_gap` some are missing, and who watches is cut. */
void monitor_send(struct worker *w, struct bytes lines, bool has_gap);

/* Sends what has collected. */
void monitor_flush(struct worker *w);
/* Nothing waits, nothing is under way. */
bool monitor_is_settled(const struct worker *w);
