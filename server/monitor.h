/* monitor.h: MONITOR: every command that any connection runs, as a line to those who watch.
 *
 *     dispatch ─▶ line ─▶ monitors of this thread
 *                    └──▶ feed ─▶ each other net thread that has monitors
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

/* Sends what has collected. */
void monitor_flush(struct worker *w);
/* Nothing waits, nothing is under way. */
bool monitor_is_settled(const struct worker *w);
