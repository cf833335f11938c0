"""gen_edges.py: every data command with the limits of every argument, on keys of every type and encoding.

The other groups meet keys of other types now and then; here COPY puts a value of any type and encoding at any key, so each command meets them all. What is
random, or not defined (texts of sorted sets with different scores, ids of the clock), is left to those groups.
"""

GROUP = "edges"
WEIGHT = 3
ALONE = True

SET_OPTIONS = "{NX|XX|GET|KEEPTTL|EX eend|PX eend|EXAT eat|PXAT eatms|PERSIST|CH|LT}"
RANGE_OPTIONS = "{REV|BYSCORE|WITHSCORES|LIMIT elimit elimit|WITHSCORE}"
STORE_OPTIONS = "{AGGREGATE {SUM|MIN|MAX|COUNT}|WEIGHTS efloat|WEIGHTS efloat efloat}"
GEO_OPTIONS = "{ASC|DESC|COUNT elimit|WITHDIST|WITHHASH|WITHCOORD|ANY|STOREDIST|STORE etarget}"

COMMANDS = [
    "60 COPY eseed ekey REPLACE",
    # strings
    f"6 SET ekey evalue {SET_OPTIONS}*",
    f"4 SET ekey evalue {SET_OPTIONS} {SET_OPTIONS}",
    f"4 GETEX ekey {SET_OPTIONS}*",
    "2 {SETEX|PSETEX} ekey eend evalue",
    "2 {GETSET|SETNX|APPEND} ekey evalue",
    "3 {GET|GETDEL|STRLEN|INCR|DECR|TYPE|TTL|PTTL|PERSIST|EXPIRETIME|PEXPIRETIME|LLEN|SCARD|HLEN|ZCARD|XLEN|DUMP} ekey",
    "3 {INCRBY|DECRBY} ekey eint",
    "3 INCRBYFLOAT ekey efloat",
    "3 {GETRANGE|SUBSTR} ekey eint eint",
    "3 SETRANGE ekey eoffset evalue",
    "2 MSETNX {ekey evalue}+",
    "2 {MGET|EXISTS|TOUCH|PFCOUNT} ekey+",
    "1 LCS ekey ekey {LEN|IDX|WITHMATCHLEN|MINMATCHLEN eint}*",
    # keys
    "4 {EXPIRE|PEXPIRE} ekey eend {NX|XX|GT|LT}*",
    "3 EXPIREAT ekey eat {NX|XX|GT|LT}*",
    "3 PEXPIREAT ekey eatms {NX|XX|GT|LT}*",
    "3 COPY ekey ekey {DB edb|REPLACE}*",
    "2 MOVE ekey edb",
    "2 {RENAME|RENAMENX} ekey ekey",
    "3 SCAN 0 {MATCH pattern|COUNT elimit|TYPE etype}*",
    "3 {HSCAN|SSCAN|ZSCAN} ekey 0 {MATCH pattern|COUNT elimit}*",
    "2 OBJECT {ENCODING|FREQ|REFCOUNT|IDLETIME|HELP} ekey",
    "1 OBJECT ENCODING ekey",
    "2 {DEL|UNLINK} ekey",
    # lists
    "3 {LPUSH|RPUSH|LPUSHX|RPUSHX} ekey evalue+",
    "3 {LPOP|RPOP} ekey [elimit]",
    "3 {LRANGE|LTRIM} ekey eint eint",
    "3 LINDEX ekey eint",
    "3 LSET ekey eint evalue",
    "3 LREM ekey eint evalue",
    "2 LINSERT ekey {BEFORE|AFTER} evalue evalue",
    "4 LPOS ekey emember {RANK eint|COUNT elimit|MAXLEN elimit}*",
    "3 LMOVE ekey ekey {LEFT|RIGHT} {LEFT|RIGHT}",
    "2 RPOPLPUSH ekey ekey",
    "3 LMPOP ecount ekey+ {LEFT|RIGHT} {COUNT elimit}*",
    # sets
    "3 {SADD|SREM|SMISMEMBER} ekey emember+",
    "2 SISMEMBER ekey emember",
    "3 SMOVE ekey ekey emember",
    "3 {SINTER|SUNION|SDIFF} ekey+",
    "3 {SINTERSTORE|SUNIONSTORE|SDIFFSTORE} etarget ekey+",
    "3 SINTERCARD ecount ekey+ {LIMIT elimit}*",
    "2 {SRANDMEMBER|SPOP} ekey eallor",
    # hashes
    "3 {HSET|HMSET} ekey {emember evalue}+",
    "2 HSETNX ekey emember evalue",
    "3 {HGET|HEXISTS|HSTRLEN} ekey emember",
    "2 {HMGET|HDEL} ekey emember+",
    "3 HINCRBY ekey emember eint",
    "3 HINCRBYFLOAT ekey emember efloat",
    "2 {HGETALL|HKEYS|HVALS} ekey",
    "2 HRANDFIELD ekey [eallor [WITHVALUES]]",
    # sorted sets
    "6 ZADD ekey {NX|XX|GT|LT|CH|INCR}* {efloat emember}+",
    "4 ZADD ekey {NX|XX|GT|LT|CH|INCR} {NX|XX|GT|LT|CH|INCR} efloat emember",
    "3 ZINCRBY ekey efloat emember",
    "2 {ZREM|ZMSCORE} ekey emember+",
    "2 {ZSCORE|ZRANK|ZREVRANK} ekey emember",
    f"5 ZRANGE ekey ebound ebound {RANGE_OPTIONS}*",
    f"4 ZRANGESTORE etarget ekey ebound ebound {RANGE_OPTIONS}*",
    "3 {ZREVRANGE|ZREMRANGEBYRANK} ekey eint eint [WITHSCORES]",
    "3 {ZRANGEBYSCORE|ZREVRANGEBYSCORE} ekey ebound ebound {WITHSCORES|LIMIT elimit elimit}*",
    "2 {ZCOUNT|ZREMRANGEBYSCORE} ekey ebound ebound",
    "2 {ZPOPMIN|ZPOPMAX} ekey [elimit]",
    "3 ZMPOP ecount ekey+ {MIN|MAX} {COUNT elimit}*",
    f"4 {{ZUNION|ZINTER|ZDIFF}} ecount ekey+ {{WITHSCORES|{STORE_OPTIONS}}}*",
    f"4 {{ZUNIONSTORE|ZINTERSTORE|ZDIFFSTORE}} etarget ecount ekey+ {STORE_OPTIONS}*",
    "3 ZINTERCARD ecount ekey+ {LIMIT elimit}*",
    "2 ZRANDMEMBER ekey [eallor [WITHSCORES]]",
    # bitmaps and sketches
    "3 SETBIT ekey ebit {0|1|eint}",
    "3 GETBIT ekey ebit",
    "3 BITCOUNT ekey [eint eint [{BYTE|BIT}]]",
    "3 BITPOS ekey {0|1|eint} [eint [eint [{BYTE|BIT}]]]",
    "3 BITOP {AND|OR|XOR|NOT|ANDOR} etarget ekey+",
    "4 BITFIELD ekey {GET ebits ebit|SET ebits ebit eint|INCRBY ebits ebit eint|OVERFLOW {WRAP|SAT|FAIL}}*",
    "2 BITFIELD_RO ekey {GET ebits ebit|SET ebits ebit eint}*",
    # geo sets
    "6 COPY {seedgeo|seedgeo|seedother} egeo REPLACE",
    "3 GEOADD egeo {NX|XX|CH}* {elon elat emember}+",
    "2 {GEOPOS|GEOHASH} egeo emember+",
    "2 GEODIST egeo emember emember [eunit]",
    f"4 GEOSEARCH egeo FROMLONLAT elon elat {{BYRADIUS esize eunit|BYBOX esize esize eunit}} {GEO_OPTIONS}*",
    f"3 GEOSEARCH egeo FROMMEMBER emember {{BYRADIUS esize eunit|BYBOX esize esize eunit}} {GEO_OPTIONS}*",
    "2 GEOSEARCHSTORE etarget egeo FROMMEMBER emember BYBOX esize esize eunit {ASC|COUNT elimit|STOREDIST}*",
    "2 GEORADIUS egeo elon elat esize eunit {ASC|DESC|COUNT elimit|WITHDIST|STORE etarget}*",
    # streams
    "3 XADD ekey {NOMKSTREAM|MAXLEN elimit|MAXLEN = elimit|MINID eid|LIMIT elimit}* {eid|enext} emember evalue",
    "3 XTRIM ekey {MAXLEN {=|~}|MAXLEN|MINID {=|~}|MINID} {elimit|eid} {LIMIT elimit}*",
    "3 {XRANGE|XREVRANGE} ekey erangeid erangeid {COUNT elimit}*",
    "2 XDEL ekey eid+",
    "2 XSETID ekey eid {ENTRIESADDED elimit|MAXDELETEDID eid}*",
    "2 XREAD {COUNT elimit}* STREAMS ekey ekey eid eid",
    "3 XREADGROUP GROUP g alice {COUNT elimit|NOACK}* STREAMS ekey {>|eid}",
    "2 XGROUP {CREATE|SETID} ekey g {eid|$} {MKSTREAM|ENTRIESREAD eint}*",
    "1 XGROUP {DESTROY|CREATECONSUMER|DELCONSUMER} ekey {g|h} [alice]",
    "2 XACK ekey g eid+",
    "3 XPENDING ekey g [[IDLE elimit] erangeid erangeid elimit [alice]]",
    "2 XCLAIM ekey g alice eidle eid+ {IDLE eidle|RETRYCOUNT elimit|FORCE|JUSTID|LASTID eid}*",
    "3 XAUTOCLAIM ekey g alice eidle erangeid {COUNT esmall|JUSTID}*",
    "1 XINFO {STREAM|GROUPS} ekey",
    # what is refused by form
    "2 {LMPOP|ZMPOP|SINTERCARD|ZUNION|ZINTER|ZDIFF|ZINTERCARD} {eint|ekey}*",
    "2 {SET|GETEX|ZADD|LPOS|GEOADD|XADD|COPY|RESTORE|BITFIELD|LCS|EXPIRE} {ekey|eint|junk}*",
    "2 {HSETNX|LINSERT|SMOVE|ZRANGESTORE|BITOP|PFMERGE|XACK|XGROUP|OBJECT|GETBIT|SETRANGE|RENAMENX} {ekey|eint|junk}*",
]

INTEGERS = [b"0", b"1", b"-1", b"2", b"-2", b"3", b"5", b"-5", b"7", b"100", b"-100"]
LIMITS = [b"%d" % n for n in (2**31 - 1, 2**31, -2**31, -2**31 - 1, 2**32, 2**53, 2**62, 2**63 - 2, 2**63 - 1, 2**63, -2**63, -2**63 + 1, -2**63 - 1,
    2**64 - 1, 2**64)]
ODD = [b"", b" 1", b"1 ", b"+1", b"-0", b"00", b"01", b"1.0", b"1e2", b"0x1", b"abc", b"-", b"1\x00", b"nan", b"inf", b"-inf", b"9" * 40]
NUMBERS = [b"0", b"-0", b"1", b"-1", b"1.5", b"2", b"3", b"-2.5", b"0.1", b"1e3", b"1e300", b"-1e300", b"5e-324", b"9007199254740993", b"1e17", b"1e21",
           b"inf", b"-inf", b"+inf", b"1.7976931348623157e308", b"0x10", b"+5", b".5", b"5."]
ODD_NUMBERS = [b"nan", b"-nan", b"", b" 1", b"1 ", b"1,5", b"x", b"1e309", b"1\x00", b"infinity", b"INF", b"--1", b"1e5000"]
SEEDS = [b"seed:" + name for name in (
    b"list", b"quicklist", b"set", b"intset", b"hashtable", b"hash", b"bighash", b"zset", b"skiplist", b"int", b"text", b"raw", b"stream", b"sketch", b"geo",
    b"bits", b"infinite", b"expiring", b"float", b"empty")]
KEYS = [b"e1", b"e2", b"{e1}3", b"e4", b"", b"\x00\xff\r\n", b"{}e", b"{e1}", b"K" * 65536]


def mixed(*weighted):
    """A function that draws from lists with the given shares."""
    lists, shares = zip(*weighted)
    return lambda rng: rng.choice(rng.choices(lists, shares)[0])


def any_key(rng):
    roll = rng.random()
    return b"e%d" % rng.randrange(1, 6) if roll < 0.7 else rng.choice(KEYS[:-1]) if roll < 0.98 else KEYS[-1]


def member(rng):
    if rng.random() < 0.8:
        return rng.choice((b"a", b"b", b"c", b"1", b"2", b"3", b"-1", b""))
    return rng.choice((b"\x00", b"\xff", b"x" * 64, b"x" * 65, b"9223372036854775807", b"01", b"f1", b"m7", b"a b", b"y" * 70000))


ARGUMENTS = {
    "eseed": lambda rng: rng.choice(SEEDS),
    "ekey": any_key,
    "etarget": any_key,
    "egeo": lambda rng: rng.choice((b"g1", b"g2", b"g3")),
    "seedgeo": lambda _: b"seed:geo",
    # No sorted sets with other scores: they lie in the corner of the world (docs/COMPATIBILITY.md).
    "seedother": lambda rng: rng.choice([s for s in SEEDS if s[5:] not in (b"zset", b"skiplist", b"infinite")]),
    "enext": lambda _: b"9-*",
    "eint": mixed((INTEGERS, 60), (LIMITS, 25), (ODD, 15)),
    "efloat": mixed((NUMBERS, 80), (ODD_NUMBERS, 12), (LIMITS, 8)),
    "elimit": mixed(([b"0", b"1", b"2", b"3", b"10", b"100"], 70), ([b"-1", b"-2"], 10), (LIMITS, 10), (ODD, 10)),
    "esmall": mixed(([b"0", b"1", b"2", b"3", b"10", b"100"], 80), ([b"-1", b"", b"x", b"1.0", b"9223372036854775808"], 20)),
    "ecount": mixed(([b"1", b"2", b"3"], 80), ([b"0", b"-1", b"4", b"100"], 10), (LIMITS, 5), (ODD, 5)),
    "eallor": mixed(([b"0", b"100000", b"2147483648", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809"], 70),
        (ODD[:4] + ODD[10:13], 30)),
    # All different: whether GT finds an equal one greater would depend on the clock.
    "eend": lambda rng: b"%d" % rng.randrange(100000, 99999999) if rng.random() < 0.6 else rng.choice([b"0", b"-1", b"-100", *LIMITS[7:], *ODD[:3], *ODD[5:]]),
    "eat": mixed(([b"4102444800", b"4102444801", b"7258118400"], 65), ([b"0", b"-1", *LIMITS[7:]], 20), ([b"", b"x", b"1.0", b"01", b"4102444800 "], 15)),
    "eatms": mixed(([b"4102444800000", b"4102444801000", b"7258118400000"], 65), ([b"0", b"-1", *LIMITS[7:]], 20), ([b"", b"x", b"1.0", b"01"], 15)),
    "edb": mixed(([b"0", b"1", b"15"], 75), ([b"16", b"-1", b"x", b"", b"01", b"1.0"], 15), (LIMITS, 10)),
    "etype": mixed(([b"string", b"list", b"set", b"zset", b"hash", b"stream", b"LIST"], 85), ([b"", b"x", b"module"], 15)),
    "evalue": mixed(([b"", b"a", b"1", b"-5", b"1.5", b"text", b"9223372036854775807", b"3", b"x" * 44, b"x" * 45, b"\x00\xff"], 98), ([b"z" * 70000], 2)),
    "emember": member,
    "eoffset": mixed(([b"0", b"1", b"5", b"1000"], 60), ([b"-1", b"536870912", b"536870913", *LIMITS], 25), (ODD, 15)),
    "ebit": mixed(([b"0", b"1", b"7", b"8", b"100", b"#0", b"#1", b"#9"], 70),
                  ([b"-1", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"#-1", b"#", b"#x", b"#4294967296"], 15), (ODD[:14], 15)),
    "ebits": mixed(([b"u8", b"i8", b"u1", b"i64", b"u63", b"i5", b"u32"], 80), ([b"u64", b"i65", b"u0", b"i0", b"", b"8", b"x8", b"u08", b"U8", b"i-8"], 20)),
    # Random places: those equally far from a center have no order.
    "elon": lambda rng: b"%.5f" % rng.uniform(-179, 179) if rng.random() < 0.85 else rng.choice((b"180.000001", b"181", b"nan", b"inf", b"", b"x", b"1e400")),
    "elat": lambda rng: b"%.5f" % rng.uniform(-84, 84) if rng.random() < 0.85 else rng.choice((b"85.05112879", b"86", b"nan", b"-inf", b"", b"x", b"90")),
    "esize": mixed(([b"100", b"1000.5", b"5000", b"40000", b"0.001"], 75), ([b"0", b"-1", b"nan", b"", b"x", b"-0"], 25)),
    "eunit": mixed(([b"m", b"km", b"mi", b"ft", b"KM"], 90), ([b"", b"x", b"mm"], 10)),
    "eid": mixed(([b"1", b"3-1", b"3-2", b"3-5", b"5-0", b"0", b"9-1"], 75),
                 ([b"", b"-", b"x", b"1-", b"-1", b"1-1-1", b"18446744073709551616", b"1-18446744073709551616", b"0-0", b"01-01"], 25)),
    "erangeid": mixed(([b"-", b"+", b"3", b"3-2", b"(3-2", b"(3", b"9"], 80),
                      ([b"", b"(", b"(-", b"(+", b"x", b"18446744073709551615-18446744073709551615", b"(18446744073709551615-18446744073709551615",
                          b"(0-0"], 20)),
    "eidle": mixed(([b"0", b"0", b"1000000000"], 80), ([b"-1", b"x", b"", b"9223372036854775808"], 20)),
    "ebound": mixed(([b"-inf", b"+inf", b"0", b"1", b"(1", b"2", b"(2", b"-1", b"3"], 75), (LIMITS, 8), ([b"", b"(", b"nan", b"x", b"((1", b"(nan",
        b"1 "], 17)),
    **{word: (lambda w: lambda _: w)(word.encode()) for word in ("g", "h", "alice")},
}

def is_unsafe(argv):
    """Scores of their own put members of a geo set into the corner, too."""
    return any(a in (b"g1", b"g2", b"g3") for a in argv[1:]) and not argv[0].upper().startswith((b"GEO", b"COPY"))


def compact(*parts):
    return [p for part in parts for p in part]


PRELUDE = [
    [b"RPUSH", b"seed:list", b"a", b"b", b"c", b"1", b"2", b"a", b"", b"3", b"a"],
    [b"RPUSH", b"seed:quicklist", *[b"m%d" % (i % 40) + b"-" * (i % 3) * 90 for i in range(300)], b"a", b"b", b"a"],
    [b"SADD", b"seed:set", b"a", b"b", b"c", b"1"], [b"SADD", b"seed:intset", b"1", b"2", b"3", b"-1", b"9223372036854775807"],
    [b"SADD", b"seed:hashtable", *[b"m%d" % i for i in range(300)], b"a", b"1", b""],
    [b"HSET", b"seed:hash", b"a", b"1", b"b", b"1.5", b"c", b"text", b"1", b"9223372036854775807", b"", b"-9223372036854775808"],
    [b"HSET", b"seed:bighash", *compact(*((b"m%d" % i, b"%d" % i) for i in range(300))), b"a", b"1"],
    [b"ZADD", b"seed:zset", b"1", b"a", b"2", b"b", b"2", b"c", b"-1.5", b"1"],
    [b"ZADD", b"seed:skiplist", *compact(*((b"%d" % (i // 7), b"m%d" % i) for i in range(300))), b"1", b"a", b"3.5", b"b"],
    [b"ZADD", b"seed:infinite", b"-inf", b"a", b"inf", b"b", b"0", b"c", b"inf", b"1"],
    [b"SET", b"seed:int", b"10"], [b"SET", b"seed:text", b"hello"], [b"SET", b"seed:raw", b"r" * 300], [b"SET", b"seed:float", b"3.25"],
    [b"SET", b"seed:empty", b""], [b"SET", b"seed:bits", b"\x00\xff\x0f\xf0\x01" * 10], [b"SET", b"seed:expiring", b"v", b"EXAT", b"4102444900"],
    [b"PFADD", b"seed:sketch", *[b"m%d" % i for i in range(50)]],
    [b"GEOADD", b"seed:geo", b"13.361389", b"38.115556", b"a", b"15.087269", b"37.502669", b"b", b"2.3522", b"48.8566", b"c", b"-122.4194", b"37.7749", b"1"],
    *([b"XADD", b"seed:stream", b"3-%d" % i, b"a", b"%d" % i] for i in range(1, 9)),
    [b"XGROUP", b"CREATE", b"seed:stream", b"g", b"0"],
]
READERS = {}
