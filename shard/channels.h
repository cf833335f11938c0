/* channels.h: a shard's part of publish/subscribe: which net threads have subscribers of which
 * channel, and what goes to them.
 *
 *     PUBLISH ─▶ channel's shard: how many, on which net threads ─▶ one copy per net thread ─▶ feed
 *     ATTEND  ─▶ the same shard: counts ─▶ an acknowledgement into the same feed
 *
 * A channel lives on the shard of its hash; patterns, and channels of keyspace events (which come
 * from every shard), live on all of them. Because messages and acknowledgements share a feed, a net
 * thread knows exactly which messages count a subscriber and which do not.
 *
 * Thread     [shard]; counters [any]
 * Ownership  Names are those of the net threads. A topic is the net thread's word for its side of a
 *            channel; it goes back to it with each message and means nothing here.
 * Errors     ERR_ALLOC: the message does not fit; nobody gets it.
 * Order      Of one channel: as published. Messages of different shards have no order among them.
 */
#pragma once

#include "base/counter.h"
#include "base/feed.h"
#include "base/node_table.h"
#include "shard/tracking.h"

struct shard;

enum channel_kind {
    CHANNEL_PLAIN,
    CHANNEL_PATTERN,
    CHANNEL_SHARDED,
    CHANNEL_PREFIX /* no channel: of keys, whose changes are told (tracking.h) */
};
#define CHANNEL_KINDS 4

/* What a feed consists of: heads, each followed by its contents and padding to 8 bytes. */
enum feed_item { FEED_ACK, FEED_MESSAGE, FEED_INVALIDATE, FEED_FLUSH };
struct feed_head {
    uint64_t bytes; /* with the head and the padding */
    uint64_t token; /* FEED_ACK: of the request */
    uint32_t item;  /* enum feed_item */
    uint32_t topic_count;
    uint64_t channel_bytes, message_bytes;
    /* Who has changed the key that is told; net id UINT16_MAX: nobody who is known. FEED_INVALIDATE
     * has its one reader behind it in the place of topics. */
    uint32_t source_index, source_generation, source_net_id, reserved;
    uint64_t place; /* of a message among those of all shards; 0: it has none */
    /* then, of a message: uint64_t topics[topic_count], the channel, the message */
};

/* How many messages that have a place a shard has written for one net thread, twice; odd: the next
 * one is being written. So a net thread that has a message of another shard knows whether an
 * earlier one may come from here: whoever is not odd now, and has nothing that was not read, will
 * take a later place. */
struct written {
    _Atomic uint64_t twice;
    char padding[CACHE_LINE - sizeof(uint64_t)]; /* each has a cache line of its own */
};

struct channels {
    _Atomic uint64_t *places; /* the last one, of all shards; NULL: there is one shard */
    struct written *written;  /* by net id */
    struct node_table names[CHANNEL_KINDS];
    struct dlist patterns, prefixes; /* in the order in which they came */
    struct feed *feeds;              /* by net id */
    uint16_t net_count;
    bool has_news; /* some feed is to be flushed */
    struct buf matched;
    struct counter counts[CHANNEL_KINDS]; /* of names that have their home here */
    struct counter waiting_bytes;         /* in the fullest feed; for those who publish */
};

void channels_init(struct shard *sh, uint16_t net_count, feed_read_fn *read,
                   _Atomic uint64_t *places);
void channels_deinit(struct shard *sh);
/* What messages take that wait for net threads, or are on their way. */
uint64_t channels_feed_bytes(const struct shard *sh);

/* ATTEND: argv[1] is the header; then pairs follow, each a name and its topic. */
struct attend {
    uint64_t token;
    uint16_t net_id;
    bool is_leave;
};
struct attend_topic {
    uint64_t topic;
    uint32_t kind; /* enum channel_kind */
};

/* One subscription more, or one less. The name stays the net thread's, and there, until the last
 * one of that net thread has left. */
void channels_join(struct shard *sh, uint16_t net_id, const struct attend_topic *topic,
                   struct bytes name);
void channels_leave(struct shard *sh, uint16_t net_id, const struct attend_topic *topic,
                    struct bytes name);
void channels_acknowledge(struct shard *sh, const struct attend *a);

/* To all subscribers of the channel and, of plain ones, to those of matching patterns. */
MUST_USE enum err channels_publish(struct shard *sh, enum channel_kind kind, struct bytes channel,
                                   struct bytes message, uint64_t *receivers);
/* Tells one connection that a key has changed; those that subscribe to a prefix of it; and all that
 * whole databases have. Who finds no memory for that loses its connection's trust: the flush is
 * told instead. */
void channels_invalidate(struct shard *sh, const struct tracker *reader,
                         const struct tracker *source, struct bytes key);
void channels_invalidate_prefixes(struct shard *sh, const struct tracker *source, struct bytes key);
void channels_tell_flush(struct shard *sh);
/* Subscribers without those by pattern. */
uint64_t channels_subscribers(const struct shard *sh, enum channel_kind kind, struct bytes name);
/* Calls `fn` for each name that has its home here. */
typedef void channel_fn(void *context, struct bytes name);
void channels_each(const struct shard *sh, enum channel_kind kind, channel_fn *fn, void *context);

/* Whether the channel carries keyspace events and so lives on every shard. [any] */
bool channel_is_everywhere(struct bytes name);

/* Sends what has collected. */
void channels_flush(struct shard *sh, struct thread *thread);
/* Nothing waits, nothing is under way. */
bool channels_are_settled(const struct shard *sh);
