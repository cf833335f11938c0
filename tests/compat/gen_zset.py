"""gen_zset.py: sorted set commands.

Ranges of texts are asked of sets whose scores are all equal (lexkey): in others the result is not defined, and in a skiplist it depends on chance.
"""

import grammar

GROUP = "zset"
WEIGHT = 2

COMMANDS = [
    "6 ZADD key {score zmember}+",
    "4 ZADD key {{score zmember}+}+",
    "6 ZADD key {NX|XX|GT|LT|CH|INCR}* {score zmember}+",
    "3 ZADD key [XX|GT|LT] INCR score zmember",
    "3 ZADD key {GT|LT} [CH] [XX] {score zmember}+",
    "2 ZADD bigkey {{{{bigscore bigmember}+}+}+}+",
    "4 ZADD lexkey {0 lexmember}+",
    "4 ZINCRBY key score zmember",
    "1 ZINCRBY bigkey bigscore bigmember",
    "3 ZREM key zmember+",
    "1 ZREM bigkey bigmember+",
    "0.5 ZREM lexkey lexmember+",
    "3 ZSCORE key zmember",
    "3 ZMSCORE key zmember+",
    "2 ZCARD key",
    "1 ZCARD bigkey",
    "4 ZCOUNT key scorebound scorebound",
    "2 ZCOUNT bigkey scorebound scorebound",
    "4 ZLEXCOUNT lexkey lexbound lexbound",
    "3 ZRANK key zmember",
    "3 ZREVRANK key zmember",
    "2 ZRANK bigkey bigmember",
    "2 ZREVRANK bigkey bigmember",
    "4 ZRANGE key index index [WITHSCORES]",
    "4 ZRANGE key index index {WITHSCORES|REV|junk}*",
    "4 ZRANGE key scorebound scorebound BYSCORE {REV|WITHSCORES|LIMIT offset limit}*",
    "4 ZRANGE lexkey lexbound lexbound BYLEX {REV|LIMIT offset limit}*",
    "2 ZRANGE lexkey lexbound lexbound {REV|BYLEX|BYSCORE|WITHSCORES|LIMIT offset limit}*",
    "2 ZRANGE key index index {REV|BYSCORE|WITHSCORES|LIMIT offset limit}*",
    "3 ZRANGE bigkey index index {REV|WITHSCORES}*",
    "3 ZRANGE bigkey scorebound scorebound BYSCORE {REV|WITHSCORES|LIMIT offset limit}*",
    "3 ZRANGESTORE key key index index [REV]",
    "3 ZRANGESTORE key {key|bigkey} scorebound scorebound BYSCORE {REV|LIMIT offset limit}*",
    "2 ZRANGESTORE key lexkey lexbound lexbound BYLEX {REV|LIMIT offset limit}*",
    "1 ZRANGESTORE key key index index {REV|BYSCORE|WITHSCORES|LIMIT offset limit}*",
    "3 ZREVRANGE key index index [WITHSCORES]",
    "3 ZRANGEBYSCORE key scorebound scorebound {WITHSCORES|LIMIT offset limit}*",
    "3 ZREVRANGEBYSCORE key scorebound scorebound {WITHSCORES|LIMIT offset limit}*",
    "2 ZREVRANGEBYSCORE bigkey scorebound scorebound {WITHSCORES|LIMIT offset limit}*",
    "3 ZRANGEBYLEX lexkey lexbound lexbound [LIMIT offset limit]",
    "3 ZREVRANGEBYLEX lexkey lexbound lexbound [LIMIT offset limit]",
    "1 ZRANGEBYLEX lexkey lexbound lexbound {WITHSCORES|LIMIT offset limit|junk}*",
    "2 ZREMRANGEBYRANK key index index",
    "2 ZREMRANGEBYSCORE key scorebound scorebound",
    "1 ZREMRANGEBYLEX lexkey lexbound lexbound",
    "0.5 ZREMRANGEBYRANK bigkey index index",
    "0.3 ZREMRANGEBYSCORE bigkey scorebound scorebound",
    "2 ZPOPMIN key [popcount]",
    "2 ZPOPMAX key [popcount]",
    "1 ZPOPMIN bigkey popcount",
    "2 ZMPOP 2 key key {MIN|MAX} [COUNT popcount]",
    "2 ZMPOP numkeys key+ {MIN|MAX|junk} {COUNT popcount|junk}*",
    "2 ZRANDMEMBER key",
    "3 ZRANDMEMBER key randomcount [WITHSCORES]",
    "1 ZRANDMEMBER bigkey randomcount [WITHSCORES]",
    "3 ZUNION 2 key key {WITHSCORES|AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight weight}*",
    "3 ZINTER 2 key key {WITHSCORES|AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight weight}*",
    "2 ZUNION 3 key key key WITHSCORES {AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight weight weight}*",
    "2 ZINTER 3 key key key WITHSCORES {AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight weight weight}*",
    "2 ZINTER 1 key WITHSCORES {AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight}*",
    "3 ZDIFF 2 key key [WITHSCORES]",
    "2 ZDIFF 3 {key|bigkey} key {key|bigkey} [WITHSCORES]",
    "1 ZUNION 2 bigkey bigkey WITHSCORES",
    "1 ZINTER 2 bigkey bigkey WITHSCORES",
    "2 {ZUNION|ZINTER|ZDIFF} numkeys key+ {WITHSCORES|AGGREGATE {SUM|MIN|MAX|junk}|WEIGHTS weight+|LIMIT limit|junk}*",
    "2 {ZUNIONSTORE|ZINTERSTORE|ZDIFFSTORE} key numkeys key+ {WITHSCORES|AGGREGATE {SUM|MIN|MAX|junk}|WEIGHTS weight+|junk}*",
    "4 {ZUNIONSTORE|ZINTERSTORE} key 2 {key|bigkey} key {AGGREGATE {SUM|MIN|MAX}|WEIGHTS weight weight}*",
    "2 ZDIFFSTORE key 2 {key|bigkey} {key|bigkey}",
    "1 ZUNIONSTORE bigkey 2 bigkey {key|bigkey}",
    "3 ZINTERCARD 2 key key [LIMIT limit]",
    "2 ZINTERCARD numkeys key+ {LIMIT limit|junk}*",
    "3 ZSCAN key cursor {MATCH pattern|COUNT count}*",
    "1 ZSCAN bigkey cursor {MATCH pattern|COUNT count}*",
    "3 SADD key zmember+",
    "2 OBJECT ENCODING key",
    "1 OBJECT ENCODING bigkey",
    "1 OBJECT ENCODING lexkey",
    "1 DEL key",
    "0.3 DEL bigkey",
    "0.3 DEL lexkey",
    "1 COPY {key|bigkey} key REPLACE",
    "1 RENAME key key",
]


def score(rng):
    roll = rng.random()
    if roll < 0.55:
        return b"%d" % rng.randint(-5, 12)
    if roll < 0.75:
        return rng.choice((b"inf", b"-inf", b"+inf", b"0.1", b"0.2", b"0.3", b"-0", b"1e17", b"1e300", b"-1.5", b"3.0", b"9007199254740993", b"5e-324",
                           b"1e22", b"123456789.125", b"1.7976931348623157e308", b"100000000000000000000"))
    return grammar.real(rng)


def member(rng):
    roll = rng.random()
    if roll < 0.5:
        return rng.choice((b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h", b""))
    if roll < 0.85:
        return b"%d" % rng.randrange(-3, 12)
    return rng.choice((b"x" * 64, b"x" * 65, b"z" * 300)) if roll < 0.87 else grammar.value(rng)


def bound(rng):
    roll = rng.random()
    if roll < 0.3:
        return rng.choice((b"-inf", b"+inf", b"inf", b"(-inf", b"(inf"))
    if roll < 0.85:
        return rng.choice((b"", b"(")) + b"%d" % rng.randint(-6, 14)
    return rng.choice((b"", b"(", b"((1", b" 1", b"1 ", b"( 1", b"nan", b"x", b"1e400", b"-1e400", b"0x10", b"1\x00x",
                       b"0.3", b"(0.1", b"[1", b"-", b"+", b"5e-324"))


def lexbound(rng):
    roll = rng.random()
    if roll < 0.4:
        return rng.choice((b"-", b"+", b"-", b"+", b"-\x00x"))
    if roll < 0.9:
        return rng.choice((b"[", b"(")) + lexmember(rng)
    return rng.choice((b"", b"a", b"[", b"(", b"--", b"-x", b"+inf", b"-inf", b"1", b"((a", b"\x00"))


def lexmember(rng):
    return bytes(rng.choices(b"abcd\xff\x00", k=rng.choice((0, 1, 1, 2, 3)))) if rng.random() < 0.8 else b"%d" % rng.randrange(30)


ARGUMENTS = {
    "score": score,
    "zmember": member,
    "bigkey": lambda rng: b"zbig%d" % rng.randrange(3),
    "bigscore": lambda rng: b"%d" % rng.randrange(20) if rng.random() < 0.8 else repr(rng.uniform(0, 20)).encode(),
    "bigmember": lambda rng: b"m%d" % rng.randrange(300),
    "lexkey": lambda rng: b"lex%d" % rng.randrange(2),
    "lexmember": lexmember,
    "scorebound": bound,
    "lexbound": lexbound,
    "offset": lambda rng: rng.choice((b"0", b"0", b"1", b"2", b"5", b"-1", b"100", b"x", b"9223372036854775807", b"9223372036854775808")),
    "limit": lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"10", b"100", b"-1", b"-5", b"x", b"9223372036854775807")),
    "popcount": lambda rng: rng.choice((b"0", b"1", b"1", b"2", b"3", b"-1", b"x", b"100")),
    "numkeys": lambda rng: rng.choice((b"1", b"1", b"1", b"2", b"2", b"3", b"0", b"-1", b"x", b"", b"99", b"9223372036854775808")),
    "randomcount": lambda rng: rng.choice((b"0", b"1", b"2", b"5", b"100", b"-1", b"-3", b"-20", b"x", b"",
                                           b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
                                           b"4611686018427387903", b"4611686018427387904")),
    "weight": lambda rng: b"%d" % rng.randint(-3, 3) if rng.random() < 0.5 else rng.choice(
        (b"0", b"1", b"2", b"-1", b"0.5", b"inf", b"-inf", b"1e300", b"x", b"nan", b"")),
}


def is_unsafe(argv):
    name = argv[0].upper()
    if name in (b"ZRANK", b"ZREVRANK"):
        return len(argv) > 3  # WITHSCORE is from 7.2
    if name == b"ZSCAN":
        return len(argv) > 2 and b"\0" in argv[2]  # docs/COMPATIBILITY.md: a cursor with a zero byte in it
    if any(a.startswith(b"lex") for a in argv[1:]):
        return name in (b"ZADD", b"ZINCRBY") or name.endswith(b"STORE")
    return b"LEX" in name or b"BYLEX" in [a.upper() for a in argv]


PRELUDE = [
    [b"ZADD", b"k8", b"1", b"a", b"2", b"b", b"3", b"c"], [b"ZADD", b"{t}4", b"1.5", b"a", b"inf", b"b"], [b"ZADD", b"k9", b"1", b"y" * 65],
]
READERS = {b"zset": [b"ZRANGE", b"0", b"-1", b"WITHSCORES"]}
