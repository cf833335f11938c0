"""gen_dump.py: DUMP of what other commands have made, and RESTORE of payloads of all versions, good and bad."""

import grammar
from support import rdb, values

GROUP = "dump"

COMMANDS = [
    "4 SET key text",
    "2 APPEND key text",
    "4 RPUSH key text+",
    "2 RPUSH key {{{text}+}+}+",
    "2 LPUSH key text+",
    "2 LREM key 0 text",
    "4 SADD key text+",
    "3 SADD key {{bigint}+}+",
    "2 SREM key text",
    "4 ZADD key {score text}+",
    "2 ZADD key {{{score text}+}+}+",
    "4 HSET key {text text}+",
    "2 HSET key {{{text text}+}+}+",
    "2 HDEL key text",
    "2 EXPIRE key 1000",
    "4 DEL key",
    "9 DUMP key",
    "6 RESTORE key 0 payload REPLACE",
    "3 RESTORE key restorettl payload {REPLACE|ABSTTL|IDLETIME idle|FREQ freq|junk}*",
    "RESTORE key 1 payload ABSTTL [REPLACE]",
    "3 RESTORE key 0 badpayload [REPLACE]",
    "2 OBJECT ENCODING key",
    "TYPE key",
    "PTTL key",
    "COPY key key REPLACE",
    "RENAME key key",
]


def payload(rng):
    """In any form that Redis 7.0 reads."""
    count = rng.choice((1, 2, 3, 5, 20, 130))
    kind = rng.choice((0, 1, 10, 14, 18, 2, 11, 3, 5, 12, 17, 4, 9, 13, 16))
    if kind == 0:
        return rdb.payload(b"\0" + rdb.string(values.word(rng)))
    if kind in (1, 10, 14, 18):
        return rdb.payload(rdb.list_value(kind, [values.word(rng) for _ in range(count)], rng.choice((1, 2, 3))))
    if kind in (2, 11):
        return rdb.payload(rdb.set_value(kind, values.words(rng, count) if kind == 2 else values.integers(rng, count)))
    if kind in (3, 5, 12, 17):
        return rdb.payload(rdb.zset_value(kind, [(m, values.score(rng)) for m in values.words(rng, count)]))
    return rdb.payload(rdb.hash_value(kind, [(f, values.word(rng)) for f in values.words(rng, count)]))


def badpayload(rng):
    good = payload(rng)
    roll = rng.randrange(5)
    if roll == 0:
        return good[:rng.randrange(len(good))]
    if roll == 1:
        at = rng.randrange(len(good))
        return good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1:]
    if roll == 2:
        return rdb.payload(good[:-10], rng.choice((13, 99, 65535)))
    if roll == 3:
        return rdb.payload(bytes([rng.choice((6, 7, 8, 26, 63, 64, 128, 255))]) + good[1:-10])
    return rng.choice((b"", b"x", b"0123456789", rdb.payload(b""), rdb.payload(b"\x01\0"), rdb.payload(b"\x04\0")))


# fmt: off
ARGUMENTS = {
    "text": values.word,
    "bigint": lambda rng: b"%d" % (rng.randrange(-(1 << 63), 1 << 63) >> rng.randrange(64)),
    "score": lambda rng: b"%.17g" % values.score(rng),
    "payload": payload,
    "badpayload": badpayload,
    "restorettl": lambda rng: rng.choice((b"0", b"100000", b"-1", b"x", b"", b"9223372036854775807", b"4102444800000")),
    "idle": lambda rng: rng.choice((b"0", b"100", b"-1", b"x")),
    "freq": lambda rng: rng.choice((b"0", b"255", b"256", b"-1", b"x")),
}
# fmt: on

PRELUDE = []
READERS = {}


def is_unsafe(argv):
    """A damaged RESTORE must not make a key that runs out soon."""
    is_relative = b"ABSTTL" not in (a.upper() for a in argv)
    return argv[0].upper() == b"RESTORE" and len(argv) > 2 and is_relative and grammar.SOON.match(argv[2])
