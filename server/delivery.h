/* delivery.h: what the feeds of shards bring to a net thread: messages for topics, changed keys,
 * acknowledgements.
 *
 *     feed: message for a topic ─▶ each subscription that this shard has acknowledged
 *     feed: key under a prefix  ─▶ collected ─▶ told once a step
 *
 * A message is delivered when nothing that was published earlier is under way from another shard.
 *
 * Thread     [net]
 * Limits     A slice is DELIVERIES_PER_SLICE; the rest waits in the feed.
 * Order      That of the places which the shards took for their messages.
 */
#pragma once

#include "base/bytes.h"

struct thread;
struct worker;

/* What the feed of a shard brings: a feed_read_fn. What must wait is given again in the next step.
 */
size_t delivery_read_feed(struct thread *at, uint16_t shard_id, struct bytes data);
/* Tells those who follow prefixes what has changed in this step. */
void delivery_tell_changes(struct worker *w);
