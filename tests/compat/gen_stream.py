"""gen_stream.py: stream commands.

Ids are explicit, so that both servers have the same ones, but for the streams auto0 and auto1, of which only the length is looked at. Idle times are either
next to nothing or of many days, and the limits that they are compared with lie between.
"""

import grammar

GROUP = "stream"
WEIGHT = 3

# fmt: off
COMMANDS = [
    "14 XADD skey addid {sfield svalue}+",
    "8 XADD skey addid fixed svalue",
    "4 XADD bigskey nextid fixed bigvalue sfield svalue",
    "3 XADD skey {NOMKSTREAM|MAXLEN [{=|~}] trimlen|MINID [{=|~}] id|LIMIT limit}* addid sfield svalue",
    "2 XADD skey MAXLEN [{=|~}] trimlen addid sfield svalue",
    "1 XADD skey MINID [{=|~}] id addid sfield svalue",
    "1 XADD bigskey MAXLEN ~ trimlen [LIMIT limit] nextid fixed bigvalue",
    "1 XADD bigskey MINID ~ id [LIMIT limit] nextid fixed bigvalue",
    "2 XADD autokey {NOMKSTREAM|MAXLEN 100}* clockid fixed fixed",
    "1 XADD autokey clockid fixed fixed",
    "0.5 XADD autokey MAXLEN = 5 clockid fixed fixed",
    "0.5 XLEN autokey",
    "0.5 DEL autokey",
    "2 XTRIM skey {MAXLEN|MINID} [{=|~}] {trimlen|id} [LIMIT limit]",
    "1 XTRIM bigskey {MAXLEN [{=|~}] trimlen|MINID [{=|~}] id} [LIMIT limit]",
    "0.5 XTRIM skey {MAXLEN trimlen|MINID id|LIMIT limit|junk}*",
    "3 XLEN skey",
    "8 XRANGE skey rangeid rangeid [COUNT scount]",
    "6 XREVRANGE skey rangeid rangeid [COUNT scount]",
    "2 {XRANGE|XREVRANGE} bigskey rangeid rangeid [COUNT scount]",
    "1 XRANGE skey rangeid rangeid {COUNT scount|junk}*",
    "6 XDEL skey id+",
    "3 XDEL bigskey id+",
    "2 XSETID skey id {ENTRIESADDED added|MAXDELETEDID id}*",
    "4 XREAD [COUNT scount] STREAMS skey readid",
    "5 XREAD [COUNT scount] STREAMS skey skey readid readid",
    "2 XREAD {COUNT scount|BLOCK badblock|NOACK|GROUP group consumer|junk}* STREAMS {skey|bigskey} {skey|bigskey|key} readid readid",
    "1 XREAD COUNT scount STREAMS skey+ readid+",
    "0.3 XREAD BLOCK 1 STREAMS skey id",
    "12 XREADGROUP GROUP group consumer [COUNT scount] [NOACK] STREAMS skey groupid",
    "5 XREADGROUP GROUP group consumer [COUNT scount] STREAMS skey skey groupid groupid",
    "2 XREADGROUP GROUP group consumer [COUNT scount] STREAMS bigskey groupid",
    "2 XREADGROUP {GROUP group consumer|COUNT scount|BLOCK badblock|NOACK|junk}* STREAMS {skey|key}+ {groupid|readid}+",
    "6 XGROUP CREATE skey group {id|$|0} [MKSTREAM] [ENTRIESREAD added]",
    "3 XGROUP CREATE bigskey group {0|$}",
    "1 XGROUP CREATE skey group rangeid {MKSTREAM|ENTRIESREAD added|junk}*",
    "3 XGROUP SETID skey group {rangeid|$} [ENTRIESREAD added]",
    "1 XGROUP DESTROY skey group",
    "2 XGROUP CREATECONSUMER skey group consumer",
    "1 XGROUP DELCONSUMER skey group consumer",
    "0.3 XGROUP {CREATE|SETID|DESTROY|CREATECONSUMER|DELCONSUMER|HELP|junk} {skey|group|consumer|id|junk}*",
    "0.1 XGROUP HELP",
    "6 XACK skey group id+",
    "1 XACK bigskey group id+",
    "3 XPENDING skey group",
    "6 XPENDING skey group rangeid rangeid scount [consumer]",
    "3 XPENDING skey group IDLE minidle rangeid rangeid scount [consumer]",
    "1 XPENDING skey group [IDLE minidle] {rangeid|scount|junk}+ [consumer]",
    "6 XCLAIM skey group consumer minidle id+",
    "4 XCLAIM skey group consumer minidle id+ {IDLE idle|TIME time|RETRYCOUNT retry|FORCE|JUSTID|LASTID id}*",
    "1 XCLAIM skey group consumer minidle id+ {IDLE|TIME|RETRYCOUNT|FORCE|JUSTID|LASTID|id|retry|junk}*",
    "6 XAUTOCLAIM skey group consumer minidle rangeid [COUNT scount] [JUSTID]",
    "1 XAUTOCLAIM skey group consumer minidle rangeid {COUNT scount|JUSTID|junk}*",
    "4 XINFO STREAM skey",
    "4 XINFO STREAM skey FULL [COUNT scount]",
    "1 XINFO STREAM bigskey",
    "1 XINFO STREAM bigskey FULL [COUNT scount]",
    "0.5 XINFO STREAM skey {FULL|COUNT|scount|junk}*",
    "5 XINFO GROUPS skey",
    "3 XINFO CONSUMERS skey group",
    "0.2 XINFO {STREAM|GROUPS|CONSUMERS|HELP|junk} {skey|group|junk}*",
    "0.1 XINFO HELP",
    "1 OBJECT ENCODING skey",
    "1 TYPE skey",
    "0.5 DEL skey",
    "0.3 DEL bigskey",
    "1 COPY {skey|bigskey} skey REPLACE",
    "1 RENAME skey skey",
    "0.3 SET skey svalue",
    "0.2 COMMAND GETKEYS {XREAD COUNT 2|XREADGROUP GROUP group consumer} STREAMS skey skey skey 1 2 3",
    "0.1 COMMAND INFO {XADD|XTRIM|XLEN|XRANGE|XREVRANGE|XDEL|XREAD|XREADGROUP|XGROUP}",
    "0.1 COMMAND INFO {XACK|XCLAIM|XAUTOCLAIM|XPENDING|XINFO|XSETID}",
]
# fmt: on

ODD_IDS = [b"", b"-", b"+", b"*", b"$", b">", b"(", b"(3", b"1-", b"-1", b"3--1", b"3-+1", b" 3", b"3 ", b"3- 1", b"007-01", b"0x3", b"x", b"3-x",
           b"3-1-1", b"3-*", b"3-**", b"3\x00x", b"3-1\x00", b"18446744073709551616", b"3-18446744073709551616", b"18446744073709551615",
           b"18446744073709551615-18446744073709551615",
           b"18446744073709551615-18446744073709551614", b"9223372036854775808-1", b"9" * 128, b"0" * 127, b"0" * 128, b"0-0", b"0", b"0-1"]


def any_id(rng):
    roll = rng.random()
    if roll < 0.7:
        return b"3-%d" % rng.randrange(24)
    if roll < 0.85:
        return b"%d-%d" % (rng.randrange(6), rng.randrange(6))
    return b"%d" % rng.randrange(7) if roll < 0.95 else rng.choice(ODD_IDS)


def add_id(rng):
    roll = rng.random()
    if roll < 0.65:
        return b"3-*"
    if roll < 0.8:
        return b"%d-*" % rng.randrange(4)
    if roll < 0.95:
        return b"3-%d" % rng.randrange(30)
    if roll < 0.96:
        return rng.choice((b"4-*", b"4-1", b"5-*", b"5-7"))
    odd = rng.choice(ODD_IDS)
    return b"3-*" if odd in (b"*", b"18446744073709551615", b"9223372036854775808-1") or b"709551615-" in odd and rng.random() < 0.8 else odd


def range_id(rng):
    roll = rng.random()
    if roll < 0.2:
        return b"-"
    if roll < 0.4:
        return b"+"
    return b"(" + any_id(rng) if roll < 0.55 else any_id(rng)


def stream_key(rng):
    roll = rng.random()
    if roll < 0.8:
        return b"s%d" % rng.randrange(4)
    if roll < 0.95:
        return b"{t}s%d" % rng.randrange(3)
    return grammar.key(rng)


def value(rng):
    roll = rng.random()
    if roll < 0.6:
        return rng.choice((b"", b"v", b"w", b"1", b"-5", b"100", b"4096", b"9223372036854775807", b"x" * 70))
    return grammar.value(rng)


ARGUMENTS = {
    "skey": stream_key,
    "bigskey": lambda rng: b"sbig%d" % rng.randrange(2),
    "autokey": lambda rng: b"auto%d" % rng.randrange(2),
    "addid": add_id,
    # The grammar would read their asterisks as repetition.
    "nextid": lambda _: b"3-*",
    "clockid": lambda _: b"*",
    "id": any_id,
    "rangeid": range_id,
    "readid": lambda rng: b"$" if rng.random() < 0.1 else b"0" if rng.random() < 0.3 else any_id(rng),
    "groupid": lambda rng: b">" if rng.random() < 0.65 else b"0" if rng.random() < 0.4 else any_id(rng),
    "sfield": lambda rng: rng.choice((b"f", b"f", b"g", b"h", b"", b"7", b"f" * 65)) if rng.random() < 0.95 else grammar.value(rng),
    "fixed": lambda rng: b"f",
    "svalue": value,
    "bigvalue": lambda rng: rng.choice((b"y" * 1000, b"z" * 1500, b"b" * 300, b"c" * 700, b"d" * 4096, b"v")),
    "trimlen": lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"5", b"8", b"10", b"20", b"1000", b"-1", b"x", b"9223372036854775807", b"9223372036854775808")),
    "limit": lambda rng: rng.choice((b"0", b"1", b"2", b"4", b"10", b"100", b"-1", b"x")),
    "scount": lambda rng: rng.choice((b"0", b"1", b"1", b"2", b"2", b"3", b"5", b"10", b"100", b"-1", b"x", b"")),
    "added": lambda rng: rng.choice((b"0", b"1", b"2", b"5", b"10", b"30", b"100", b"-1", b"-2", b"x", b"9223372036854775807")),
    "badblock": lambda rng: rng.choice((b"-1", b"x", b"", b"1.5", b"9223372036854775808")),
    "group": lambda rng: rng.choice((b"g", b"g", b"g", b"h", b"")) if rng.random() < 0.97 else grammar.value(rng),
    "consumer": lambda rng: rng.choice((b"alice", b"bob", b"carol", b"")) if rng.random() < 0.98 else grammar.value(rng),
    "minidle": lambda rng: rng.choice((b"0", b"0", b"0", b"-1", b"1000000", b"1000000", b"500000000000", b"1000000000000000", b"x")),
    "idle": lambda rng: rng.choice((b"0", b"1000000000", b"1000000000", b"-1", b"-9223372036854775807", b"x")),
    "time": lambda rng: rng.choice((b"0", b"1", b"1000000000", b"9223372036854775807", b"-1", b"x")),
    "retry": lambda rng: rng.choice((b"0", b"1", b"7", b"-1", b"-5", b"9223372036854775807", b"x")),
}

IDS_OF_CLOCK = (b"*", b"*\x00")
AUTO_READERS = (b"XADD", b"XLEN", b"DEL")


def is_unsafe(argv):
    name = argv[0].upper()
    is_auto = any(a.startswith(b"auto") for a in argv[1:])
    if is_auto:
        return name not in AUTO_READERS or not all(a.startswith(b"auto") for a in argv[1:] if name == b"DEL") or (
            name == b"XADD" and not argv[1].startswith(b"auto"))
    if name == b"XADD":
        return any(a[:1] == b"*" for a in argv[2:])
    if name in (b"XREAD", b"XREADGROUP"):
        return waits_long(argv)
    if name == b"XAUTOCLAIM":
        return any(len(a) > 5 for a in argv[6:])  # docs/COMPATIBILITY.md: a COUNT that Redis has no memory for
    return False


def waits_long(argv):
    """BLOCK with a time that a server would wait for."""
    words = [a.upper() for a in argv]
    for i, word in enumerate(words[:-1]):
        if word == b"BLOCK" and words[i + 1].isdigit() and words[i + 1] != b"1" and len(words[i + 1]) < 19:
            return True
        if word == b"BLOCK" and words[i + 1] not in (b"1", b"-1", b"x", b"", b"1.5", b"X", b"9223372036854775808"):
            return True
    return False


PRELUDE = [
    *([b"XADD", b"s0", b"3-%d" % i, b"f", b"%d" % i] for i in range(8)),
    *([b"XADD", b"{t}s0", b"3-%d" % i, b"f", b"%d" % i, b"g", b"x"] for i in range(5)),
    *([b"XADD", b"sbig0", b"3-%d" % i, b"f", b"y" * (400 * (i % 5) + 1)] for i in range(12)),
    [b"XGROUP", b"CREATE", b"s0", b"g", b"0"], [b"XGROUP", b"CREATE", b"{t}s0", b"g", b"$"], [b"XGROUP", b"CREATE", b"sbig0", b"g", b"0"],
    [b"XREADGROUP", b"GROUP", b"g", b"alice", b"COUNT", b"3", b"STREAMS", b"s0", b">"],
    [b"XREADGROUP", b"GROUP", b"g", b"bob", b"COUNT", b"3", b"STREAMS", b"s0", b">"],
]
READERS = {b"stream": [b"XRANGE", b"-", b"+"]}
