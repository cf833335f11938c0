/* client_eviction.h: keeps the memory of all clients under maxmemory-clients, by closing those that
 * use most.
 *
 *     main ──measure──▶ every net thread: bytes of its connections, in buckets by powers of two
 *          ◀──back────
 *     main: how much is over, and the bucket from which on connections must go
 *          ──evict────▶ every net thread: closes those above the bucket, and its share inside it
 *
 * Ten times a second while there is a limit; nothing is counted on the way of a request.
 *
 * Thread     [main], but for what its calls do on net threads
 * Limits     A net thread visits CLIENTS_PER_SLICE connections in a step. A limit below 128 KiB is
 *            taken for that, so that an administrator can still connect.
 * Order      Largest first, within a factor of two. CLIENT NO-EVICT protects a connection; what it
 *            uses counts.
 * Source     Redis's client eviction; measuring in place of counting is ours.
 */
#pragma once

#include "base/thread.h"

struct config;
struct server;
struct worker;

/* Of powers of two of bytes. */
#define CLIENT_BUCKETS 40

struct client_bucket {
    uint64_t bytes, count;
};

/* What is at one net thread. */
struct client_eviction_part {
    struct call call;
    struct worker *worker;
    uint32_t next_index; /* of its connections */
    /* ---- measured ---- */
    uint64_t bytes; /* of all, the protected ones included */
    struct client_bucket buckets[CLIENT_BUCKETS];
    /* ---- to evict ---- */
    uint32_t bucket;      /* all above it, and of it … */
    uint64_t quota_bytes; /* … so much */
};

struct client_eviction {
    uint16_t waiting; /* parts that are elsewhere */
    uint64_t limit_bytes;
    struct client_eviction_part *parts; /* by net id; NULL until first used */
    /* ---- the last measurement ---- */
    uint64_t bytes, evictable_bytes; /* 0: there was none */
    uint64_t net_bytes;              /* in use on net threads, then */
};

/* 0: no limit. */
uint64_t client_eviction_limit(const struct config *config);
/* Begins another round unless one is under way. */
void client_eviction_update(struct server *srv);
/* By how much clients are over the limit now, which they are about to give back: so keys need not
 * go for it. What net threads have come to use since the last measurement is taken for clients'. */
uint64_t client_eviction_excess(const struct server *srv);
void client_eviction_deinit(struct server *srv);
