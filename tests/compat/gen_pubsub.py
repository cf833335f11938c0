"""gen_pubsub.py: publish/subscribe.

A subscriber of RESP2 may do little else, so conversations with subscriptions are scripts. Messages between clients are
tests/e2e/test_pubsub.py's affair.
"""

GROUP = "pubsub"

# fmt: off
COMMANDS = [
    "4 PUBLISH channel value",
    "2 SPUBLISH channel value",
    "PUBLISH channel",
    "2 PUBSUB CHANNELS [channel]",
    "PUBSUB CHANNELS channel channel",
    "2 PUBSUB NUMSUB channel*",
    "PUBSUB NUMPAT",
    "PUBSUB NUMPAT junk",
    "PUBSUB SHARDCHANNELS [channel]",
    "PUBSUB SHARDNUMSUB channel*",
    "PUBSUB junk*",
    "PUBSUB",
    "2 UNSUBSCRIBE [channel]",
    "PUNSUBSCRIBE [channel]",
    "SUNSUBSCRIBE [channel]",
]

ARGUMENTS = {
    "channel": lambda rng: rng.choice((b"news", b"news.a", b"n*", b"", b"\x00\r\n", b"__keyspace@0__:k", b"{t}c", b"c" * 300)),
}

PRELUDE = []
READERS = {}

SCRIPTS = [
    (2, ["SUBSCRIBE a b a", "GET x", "CLIENT ID", "GET", "NOSUCH", "PING", "PING x", "PING x y", "UNSUBSCRIBE zz", "UNSUBSCRIBE a", "UNSUBSCRIBE", "GET x"]),
    (2, ["PSUBSCRIBE p* q?", "SSUBSCRIBE s", "SUBSCRIBE c", "PUBLISH c x", "SPUBLISH s x", "PUBSUB HELP", "HELLO 3", "PUNSUBSCRIBE q? q?", "SUNSUBSCRIBE", "PUNSUBSCRIBE", "UNSUBSCRIBE", "PING"]),
    (2, ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE a b", "PUNSUBSCRIBE a", "SUNSUBSCRIBE a"]),
    (2, ["SUBSCRIBE a", "RESET", "GET x", "PUBLISH a 1", "PUBSUB CHANNELS", "PUBSUB NUMSUB a"]),
    (2, ["SUBSCRIBE a", "QUIT", "PING"]),
    (2, ["CLIENT REPLY OFF", "SUBSCRIBE a", "PING", "UNSUBSCRIBE a", "CLIENT REPLY ON", "PING"]),
    (2, ["CLIENT REPLY SKIP", "SUBSCRIBE a", "PING", "UNSUBSCRIBE"]),
    (3, ["SUBSCRIBE a b", "GET x", "PING", "PING q", "PSUBSCRIBE z*", "SSUBSCRIBE a", "PUBSUB NUMSUB a", "PUBSUB NUMPAT", "PUBSUB SHARDNUMSUB a b", "UNSUBSCRIBE b", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE"]),
    (3, ["SUBSCRIBE a", "HELLO 2", "GET x", "PING", "UNSUBSCRIBE", "GET x"]),
    (3, ["SUBSCRIBE a", "RESET", "PUBLISH a x", "GET x"]),
    (2, ["MONITOR", "GET x", "SET x 1", "RESET", "GET x"]),
]
# fmt: on
