"""gen_hash.py: hash commands. The deadlines of fields are newer than the reference: tests/unit/cmd_hash_test.c."""

import re

GROUP = "hash"

# fmt: off
COMMANDS = [
    "8 HSET hashkey {field hashvalue}+",
    "3 HMSET hashkey {field hashvalue}+",
    "3 HSETNX hashkey field hashvalue",
    "5 HGET hashkey field",
    "4 HMGET hashkey field+",
    "3 HGETALL hashkey",
    "2 HKEYS hashkey",
    "2 HVALS hashkey",
    "2 HLEN hashkey",
    "3 HEXISTS hashkey field",
    "3 HSTRLEN hashkey field",
    "4 HDEL hashkey field+",
    "4 HINCRBY hashkey field int",
    "4 HINCRBYFLOAT hashkey field float",
    "3 HSCAN hashkey 0 [MATCH pattern] [COUNT count]",
    "1 HSCAN hashkey hashcursor {MATCH pattern|COUNT count|junk}*",
    "2 HRANDFIELD hashkey",
    "3 HRANDFIELD hashkey fieldcount [WITHVALUES]",
    "1 HRANDFIELD hashkey fieldcount {WITHVALUES|junk}*",
    "1 DEL hashkey",
]
# fmt: on


def hash_key(rng):
    roll = rng.random()
    if roll < 0.75:
        return b"hash%d" % rng.randrange(5)
    if roll < 0.85:
        return b"bighash"
    if roll < 0.95:
        return b"k%d" % rng.randrange(4)
    return b"missing"


def field(rng):
    roll = rng.random()
    if roll < 0.8:
        return rng.choice((b"a", b"b", b"c", b"d", b"e", b"1", b"2", b"-1", b"", b"f" * 30))
    if roll < 0.97:
        return rng.choice((b"127", b"128", b"4096", b"32768", b"2147483648", b"9223372036854775807", b"01", b" 1", b"\x00", b"\xff", b"x" * 63, b"x" * 64))
    return b"y" * rng.choice((65, 127, 128, 5000))


def hash_value(rng):
    roll = rng.random()
    if roll < 0.5:
        return b"%d" % rng.randint(-200, 200)
    if roll < 0.8:
        return rng.choice((b"", b"text", b"1.5", b"3.0e3", b"inf", b"nan", b" 1", b"1 ", b"01", b"0x10", b"-0", b"9223372036854775807",
                           b"-9223372036854775808", b"9223372036854775808", b"2147483648", b"1e4932", b"x" * 64, b"\x00\xff"))
    if roll < 0.97:
        return b"%.3f" % rng.uniform(-10, 10)
    return b"z" * rng.choice((65, 200, 5000))


ARGUMENTS = {
    "hashkey": hash_key,
    "field": field,
    "hashvalue": hash_value,
    # Cursors other than 0 mean different things to different servers.
    "hashcursor": lambda rng: rng.choice((b"0", b"0", b"0", b"0", b"x", b"", b"0 ", b"+0", b"18446744073709551616")),
    "fieldcount": lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"5", b"100", b"10000", b"-1", b"-3", b"-20", b"x", b"-9223372036854775808",
                                          b"4611686018427387904", b"9223372036854775807")),
}


def is_unsafe(argv):
    """A count far below zero makes the reference send that many fields; the other one is in docs/COMPATIBILITY.md."""
    if argv[0].upper() == b"HSCAN" and len(argv) > 2 and b"\0" in argv[2]:
        return True
    return argv[0].upper() == b"HRANDFIELD" and any(re.fullmatch(rb"-\d{3,18}", a) for a in argv)


PRELUDE = [
    [b"HSET", b"hash0", b"a", b"1", b"b", b"2", b"c", b"text"],
    [b"HSET", b"bighash", *[b"%s:%d" % (w, i) for i in range(600) for w in (b"field", b"value")]],
]

READERS = {b"hash": [b"HGETALL"]}
