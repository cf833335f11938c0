/* tracking.h: the net thread's side of client-side caching: what a connection wants to be told, and
 * the telling.
 *
 *     default   its reads carry REQUEST_TRACKED; the shard remembers the keys (shard/tracking.h)
 *     BCAST     prefixes are subscriptions (pubsub.h); every change of a key that fits is told
 *
 * Thread     [net]
 * Limits     Only RESP3 can carry invalidations; a connection of RESP2 tracks without being told,
 *            unless it has another one told (redirect.h).
 * Order      An invalidation follows the replies of what the connection had asked before it came,
 *            so that no reply that is older than the change is cached after it.
 */
#pragma once

#include "base/command.h"
#include "base/counter.h"
#include "server/redirect.h"
#include "shard/channels.h"

struct session;
struct worker;

enum tracking_caching { CACHING_AS_USUAL, CACHING_YES, CACHING_NO };

/* Of a connection. */
struct client_tracking {
    bool is_on, is_bcast, is_optin, is_optout, is_noloop;
    uint8_t caching; /* enum tracking_caching: of the next command */
    struct redirect redirect;
    struct dlist link; /* of its net thread's */
};

/* Of a net thread. */
struct net_tracking {
    struct dlist clients;
    struct counter count; /* of them */
    uint64_t flushes;     /* that shards have told of */
};

enum err cmd_client_tracking(struct session *s, struct request *rq, struct reply *out);
enum err cmd_client_caching(struct session *s, struct request *rq, struct reply *out);
enum err cmd_client_trackinginfo(struct session *s, struct request *rq, struct reply *out);
enum err cmd_client_getredir(struct session *s, struct request *rq, struct reply *out);

/* The client that is told in its place; 0: none, -1: it does not track. */
int64_t tracking_redirect(const struct session *s);
void tracking_open(struct session *s);
/* No more: CLIENT TRACKING OFF, RESET, the end. The prefixes are the caller's affair. */
void tracking_stop(struct session *s);

/* Sends something behind all that the connection has asked so far. */
void tracking_push(struct session *s, const struct bytes *pieces, unsigned count);
/* What a feed brings: a key has changed; whole databases have. */
void tracking_tell(struct session *s, const struct feed_head *head, struct bytes key);
/* The same of several, which stand in an array as RESP. */
void tracking_tell_keys(struct session *s, struct bytes keys);
/* Everything has changed, or may have. */
void tracking_tell_all(struct session *s);
void tracking_tell_reader(struct worker *w, const struct feed_head *head, const char *body);
void tracking_tell_flush(struct worker *w, const struct feed_head *head);
