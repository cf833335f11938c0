"""gen_generic.py: commands on keys of any type, and on databases."""

GROUP = "generic"

# fmt: off
COMMANDS = [
    "6 SET key value",
    "3 SET key value EX ttl_s",
    "GET key",
    "4 DEL key+",
    "3 UNLINK key+",
    "4 EXISTS key+",
    "3 TOUCH key+",
    "3 TYPE key",
    "4 EXPIRE key ttl_s [NX|XX|GT|LT]",
    "EXPIRE key ttl_s {NX|XX|GT|LT}*",
    "3 PEXPIRE key ttl_ms [NX|XX|GT|LT]",
    "PEXPIRE key ttl_ms {NX|XX|GT|LT}*",
    "3 EXPIREAT key at_s [NX|XX|GT|LT]",
    "3 PEXPIREAT key at_ms [NX|XX|GT|LT]",
    "3 TTL key",
    "3 PTTL key",
    "EXPIRETIME key",
    "PEXPIRETIME key",
    "3 PERSIST key",
    "4 RENAME key key",
    "4 RENAMENX key key",
    "4 COPY key key {DB db|REPLACE}*",
    "3 MOVE key db",
    "0.5 SWAPDB db db",
    "3 SELECT db",
    "RANDOMKEY",
    "3 KEYS pattern",
    "3 SCAN cursor {MATCH pattern|COUNT count|TYPE typename}*",
    "3 DBSIZE",
    "0.2 FLUSHDB [ASYNC|SYNC]",
    "0.2 FLUSHALL [ASYNC|SYNC]",
    "0.2 FLUSHALL {ASYNC|SYNC|junk}*",
    "OBJECT ENCODING key",
    "OBJECT REFCOUNT key",
    "OBJECT IDLETIME key",
    "1 OBJECT FREQ key",
    "1 OBJECT HELP",
    "1 OBJECT {junk|key}*",
    "1 WAIT waitnumber waittime",
    "1 WAIT waitnumber junk",
]
# fmt: on

# fmt: off
ARGUMENTS = {
    # Cursors other than 0 mean different things to different servers, so only those that end the walk or are errors.
    "cursor": lambda rng: rng.choice((b"0", b"0", b"0", b"0", b"x", b"", b"-1", b"0 ", b"+0", b"1.0", b"18446744073709551616")),
    "typename": lambda rng: rng.choice((b"string", b"STRING", b"list", b"set", b"hash", b"zset", b"stream", b"none", b"", b"x")),
    "waitnumber": lambda rng: rng.choice((b"0", b"-1", b"-5", b"0", b"x", b"")),
    "waittime": lambda rng: rng.choice((b"0", b"1", b"10", b"-1", b"x", b"9223372036854775808")),
}
# fmt: on

PRELUDE = []
READERS = {}


def is_unsafe(argv):
    """A cursor with a zero byte in it is another one for redis-server: docs/COMPATIBILITY.md."""
    return argv[0].upper() == b"SCAN" and len(argv) > 1 and b"\0" in argv[1]
