/* notify.h: keyspace events: what has happened to which key, for whoever subscribed to it.
 *
 * A handler says what it did in Redis's words ("lpush", "expire") after it has done it, in the
 * order in which Redis says it. Deletion of a collection that became empty is an event of its own
 * ("del"), after that of the command.
 *
 * A command of keys on several shards runs on one of them, the host (server/locked.h). What happens
 * there to the keys of others is noted, fetched by the coordinator (EVENTS), and published on the
 * keys' own shards (EMIT) before these are unlocked: so each key's events keep their order.
 *
 * Thread     [shard]
 * Limits     One test of the configuration when nobody has asked for the class
 *            (notify-keyspace-events).
 * Order      Events of a command reach subscribers before anything that a later command of this
 *            shard causes.
 */
#pragma once

#include "shard/shard.h"

enum notify_class {
    NOTIFY_KEYSPACE = 1 << 0,  /* K: channel __keyspace@<db>__:<key>, message <event> */
    NOTIFY_KEYEVENT = 1 << 1,  /* E: channel __keyevent@<db>__:<event>, message <key> */
    NOTIFY_GENERIC = 1 << 2,   /* g */
    NOTIFY_STRING = 1 << 3,    /* $ */
    NOTIFY_LIST = 1 << 4,      /* l */
    NOTIFY_SET = 1 << 5,       /* s */
    NOTIFY_HASH = 1 << 6,      /* h */
    NOTIFY_ZSET = 1 << 7,      /* z */
    NOTIFY_EXPIRED = 1 << 8,   /* x */
    NOTIFY_EVICTED = 1 << 9,   /* e */
    NOTIFY_STREAM = 1 << 10,   /* t */
    NOTIFY_KEY_MISS = 1 << 11, /* m: not in A */
    NOTIFY_MODULE = 1 << 12,   /* d: accepted; nothing here causes one */
    NOTIFY_NEW = 1 << 13,      /* n: not in A */
    NOTIFY_ALL = 0x17fc,       /* A: g$lshzxetd */
};

/* The hook of shard.h as the server has it: to the channels of this shard. */
void notify_publish(struct shard *sh, uint32_t class, const char *event, const struct key *k);
/* Moves what was noted about that guest to the end of `out`. ERR_ALLOC: it is lost. */
MUST_USE enum err notify_take_guest(struct shard *sh, const struct key *k, struct buf *out);
/* Publishes what notify_take_guest gave, of the keys that live here. */
void notify_publish_taken(struct shard *sh, struct bytes taken);
void notify_send(struct shard *sh, enum notify_class class, const char *event, const struct key *k);

static inline void notify(struct shard *sh, enum notify_class class, const char *event,
                          const struct key *k)
{
    if (unlikely(sh->config->notify_classes & (uint32_t) class)) notify_send(sh, class, event, k);
}
