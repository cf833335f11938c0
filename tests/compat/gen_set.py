"""gen_set.py: set commands.

What SPOP takes depends on chance, so it only takes from a set of one member, or everything, or nothing.
"""

import grammar

GROUP = "set"

COMMANDS = [
    "6 SADD key member+",
    "4 SADD key {{smallint}+}+",
    "4 SADD key {{{member}+}+}+",
    "2 SADD bigkey {{{{bigint}+}+}+}+",
    "3 SREM key member+",
    "SREM bigkey {bigint}+",
    "3 SISMEMBER key member",
    "3 SMISMEMBER key member+",
    "2 SCARD key",
    "SCARD bigkey",
    "3 SMEMBERS key",
    "1 SMEMBERS bigkey",
    "4 SMOVE key key member",
    "4 SINTER key+",
    "4 SUNION key+",
    "4 SDIFF key+",
    "SINTER {key|bigkey}+",
    "SDIFF {key|bigkey}+",
    "4 SINTERSTORE key key+",
    "4 SUNIONSTORE key key+",
    "4 SDIFFSTORE key key+",
    "SUNIONSTORE bigkey {key|bigkey}+",
    "SDIFFSTORE bigkey {key|bigkey}+",
    "4 SINTERCARD numkeys key+ {LIMIT limit|junk}*",
    "3 SINTERCARD 1 key",
    "4 SINTERCARD 2 key key [LIMIT limit]",
    "2 SPOP key safecount",
    "SADD popkey popmember",
    "SPOP popkey",
    "SPOP popkey randomcount",
    "SRANDMEMBER popkey [randomcount]",
    "2 SRANDMEMBER key",
    "3 SRANDMEMBER key randomcount",
    "3 SSCAN key cursor {MATCH pattern|COUNT count}*",
    "SSCAN bigkey cursor {MATCH pattern|COUNT count}*",
    "2 OBJECT ENCODING key",
    "OBJECT ENCODING bigkey",
    "1 DEL key",
    "0.3 DEL bigkey",
    "COPY key key REPLACE",
    "RENAME key key",
    "TYPE key",
]


def member(rng):
    roll = rng.random()
    if roll < 0.4:
        return rng.choice((b"a", b"b", b"c", b"d", b"e", b"f", b"", b"hello", b"x" * 64, b"y" * 65, b"z" * 300))
    if roll < 0.8:
        return b"%d" % rng.randrange(-3, 12)
    return grammar.value(rng)


POP_KEY, POP_MEMBER = b"lonely", b"hermit"  # the only key with that member, and its only member

ARGUMENTS = {
    "popkey": lambda rng: POP_KEY,
    "popmember": lambda rng: POP_MEMBER,
    "member": member,
    "smallint": lambda rng: b"%d" % (rng.randrange(-5, 40) if rng.random() < 0.9 else rng.choice((2**15, -2**15 - 1, 2**31, 2**63 - 1, -2**63, 2**63))),
    "bigkey": lambda rng: b"big%d" % rng.randrange(3),
    "bigint": lambda rng: b"%d" % rng.randrange(900),
    "numkeys": lambda rng: rng.choice((b"1", b"1", b"1", b"2", b"2", b"3", b"0", b"-1", b"x", b"", b"99", b"9223372036854775808")),
    "limit": lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"100", b"-1", b"x", b"9223372036854775807")),
    "safecount": lambda rng: rng.choice((b"0", b"100000", b"100000", b"9223372036854775807", b"-1", b"x", b"", b"9223372036854775808")),
    "randomcount": lambda rng: rng.choice((b"0", b"1", b"2", b"5", b"100", b"-1", b"-3", b"-20", b"x", b"", b"1.0",
                                           b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808")),
}


def is_unsafe(argv):
    name = argv[0].upper()
    if name == b"SSCAN" and len(argv) > 2 and b"\0" in argv[2]:
        return True  # docs/COMPATIBILITY.md: a cursor with a zero byte in it
    if name == b"SPOP" and len(argv) in (2, 3) and argv[1] != POP_KEY:
        return len(argv) == 2 or argv[2] == b"1" or argv[2].isdigit() and 0 < int(argv[2]) < 10000
    if any(a == POP_KEY for a in argv[1:]):
        return name not in (b"SPOP", b"SRANDMEMBER") and (name != b"SADD" or len(argv) != 3 or argv[2] != POP_MEMBER)
    return False


PRELUDE = [
    [b"SADD", b"k5", b"a", b"b", b"1"], [b"SADD", b"k6", b"1", b"2", b"3"], [b"SADD", b"{t}3", b"a", b"x" * 100],
]
READERS = {b"set": [b"SMEMBERS"]}
