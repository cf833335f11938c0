/* redirect.h: CLIENT TRACKING … REDIRECT: the invalidations of one connection go to another one, of
 * any net thread.
 *
 *     REDIRECT id ─▶ search on the net thread that gave the id ─▶ place of the connection
 *     invalidation ─▶ feed of that net thread ─▶ push, or message of __redis__:invalidate
 *                                           └─▶ it has gone: back by the feed, the tracker is told
 *
 * Thread     [net]
 * Ownership  A search is the asking thread's memory and ends with its answer, whether the
 *            connection is still there or not.
 * Limits     A search looks at every connection of one thread. If a thread cannot keep up with the
 *            invalidations of another (REDIRECT_WAITING_BYTES_MAX), the connection that should get
 *            them is cut, because to leave one out would leave a stale value in a cache.
 * Order      What one connection's keys bring arrives in its order. To replies on other connections
 *            there is none, as in Redis.
 */
#pragma once

#include "base/feed.h"
#include "server/router.h"

#define REDIRECT_WAITING_BYTES_MAX (16 * 1024 * 1024)

struct session;
struct worker;

/* Of a connection that tracks: who is told in its place. */
struct redirect {
    uint64_t id; /* of a client; 0: nobody */
    uint32_t index, generation;
    bool is_broken; /* that client has gone */
};

/* Of a net thread. */
struct net_redirects {
    struct feed *feeds; /* by net id */
    bool has_news;
};

void redirects_init(struct worker *w);
void redirects_deinit(struct worker *w);
/* Sends what has collected. */
void redirects_flush(struct worker *w);
/* Nothing waits, nothing is under way. */
bool redirects_are_settled(const struct worker *w);

/* Runs a command again when it is known where the client is; `found` has the id 0 if it is nowhere.
 * Writes a reply, or lets pubsub.h do so later. */
typedef void redirect_found_fn(struct session *s, struct request *rq, const struct redirect *found,
                               struct reply *out);
/* In a handler: searches; OK without a reply, or ERR_ALLOC. `rq` is copied. */
MUST_USE enum err redirect_search(struct session *s, uint64_t id, const struct request *rq,
                                  redirect_found_fn *fn);

enum redirect_what {
    REDIRECT_KEY,  /* the text is its name */
    REDIRECT_KEYS, /* the text is an array of names, as RESP */
    REDIRECT_ALL,  /* no text */
};
/* Tells whoever takes that connection's invalidations. */
void redirect_tell(struct session *tracker, enum redirect_what what, struct bytes text);
