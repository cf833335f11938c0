"""gen_string.py: string commands."""

GROUP = "string"

# fmt: off
COMMANDS = [
    "8 SET key value {NX|XX|GET|KEEPTTL|EX ttl_s|PX ttl_ms|EXAT future_s|PXAT future_ms}*",
    "8 SET key value",
    "8 GET key",
    "SETNX key value",
    "SETEX key ttl_s value",
    "PSETEX key ttl_ms value",
    "GETSET key value",
    "GETDEL key",
    "3 GETEX key [EX ttl_s|PX ttl_ms|EXAT future_s|PXAT future_ms|PERSIST]",
    "GETEX key {EX ttl_s|PX ttl_ms|EXAT future_s|PXAT future_ms|PERSIST}*",
    "3 APPEND key value",
    "STRLEN key",
    "3 INCR key",
    "DECR key",
    "3 INCRBY key int",
    "DECRBY key int",
    "4 INCRBYFLOAT key float",
    "3 SETRANGE key write_offset value",
    "4 GETRANGE key index index",
    "SUBSTR key index index",
    "3 MSET {key value}+",
    "3 MSETNX {key value}+",
    "4 MGET key+",
    "3 LCS lcskey lcskey {LEN|IDX|MINMATCHLEN int|WITHMATCHLEN}*",
    "3 MSET {lcskey lcsvalue}+",
]
# fmt: on

# fmt: off
ARGUMENTS = {
    # Short values of few letters: LCS costs the product of the sizes.
    "lcskey": lambda rng: b"lcs%d" % rng.randrange(4),
    "lcsvalue": lambda rng: bytes(rng.choices(b"abcd", k=rng.choice((0, 1, 5, 20, 60)))),
}
# fmt: on

# What other groups find in the keyspace: keys of this type.
PRELUDE = [
    [b"SET", b"k0", b"10"], [b"SET", b"k1", b"hello"], [b"SET", b"k2", b"3.25"], [b"SET", b"{t}0", b"x" * 100],
    [b"SET", b"k3", b"100", b"EX", b"5000"],
]

# Reads all of a value of the type, for the comparison of the whole keyspace after each case.
READERS = {b"string": [b"GET"]}
