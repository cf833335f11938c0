"""gen_blocking.py: commands that wait, where nobody wakes them: what is there at once, errors, and the end of a short time.

Who wakes whom is the business of tests/oracle and tests/e2e."""

import gen_stream

GROUP = "blocking"

COMMANDS = [
    "6 {BLPOP|BRPOP} bkey+ soon",
    "2 {BLPOP|BRPOP} bkey+ never",
    "5 BLMOVE bkey bkey {LEFT|RIGHT} {LEFT|RIGHT} soon",
    "1 BLMOVE bkey bkey {LEFT|RIGHT|junk} {LEFT|RIGHT|junk} {soon|never}",
    "3 BRPOPLPUSH bkey bkey soon",
    "1 BRPOPLPUSH bkey bkey never",
    "3 BLMPOP soon 1 bkey {LEFT|RIGHT} [COUNT few]",
    "3 BLMPOP soon 3 bkey bkey bkey {LEFT|RIGHT} [COUNT few]",
    "1 BLMPOP {soon|never} few bkey+ {LEFT|RIGHT|junk} {COUNT few|junk}*",
    "4 {BZPOPMIN|BZPOPMAX} bkey+ soon",
    "1 {BZPOPMIN|BZPOPMAX} bkey+ never",
    "3 BZMPOP soon 1 bkey {MIN|MAX} [COUNT few]",
    "3 BZMPOP soon 3 bkey bkey bkey {MIN|MAX} [COUNT few]",
    "1 BZMPOP {soon|never} few bkey+ {MIN|MAX|junk} {COUNT few|junk}*",
    "14 RPUSH bkey belement+",
    "12 ZADD bkey few belement few belement few belement",
    "2 SET bkey belement",
    "4 DEL bkey bkey",
    "1 BLPOP bkey",
    "1 BLMPOP soon 1 bkey",
    "4 XREAD BLOCK soon_ms STREAMS bstream after",
    "3 XREAD [COUNT few] BLOCK soon_ms STREAMS bstream {bstream|bkey} after after",
    "4 XREADGROUP GROUP bgroup member BLOCK soon_ms STREAMS bstream new",
    "3 XREADGROUP GROUP bgroup member [COUNT few] [NOACK] BLOCK soon_ms STREAMS bstream {bstream|bkey} new {new|after}",
    "2 XREADGROUP GROUP bgroup member [COUNT few] STREAMS bstream bstream bstream new new {new|0}",
    "6 XADD bstream nextid f belement",
    "2 XGROUP CREATE bstream bgroup {0|$} MKSTREAM",
    "1 XGROUP DESTROY bstream bgroup",
    "1 XPENDING bstream bgroup",
    "1 XTRIM bstream MAXLEN 3",
]


def blocking_key(rng):
    roll = rng.random()
    if roll < 0.7:
        return b"blocking%d" % rng.randrange(6)
    return b"{t}blocking%d" % rng.randrange(3) if roll < 0.95 else b"missing"


def never(rng):
    """Timeouts that are errors."""
    return rng.choice((b"-1", b"-0.5", b"x", b"", b"nan", b"inf", b"1e400", b"99999999999999999", b" 1", b"1 ", b"-inf", b"1,5"))


ARGUMENTS = {
    "bkey": blocking_key,
    "belement": lambda rng: rng.choice((b"a", b"b", b"c", b"1", b"2", b"x" * 70)),
    "bstream": lambda rng: rng.choice((b"bstream0", b"bstream1", b"bstream2", b"{t}bstream0", b"{t}bstream1")),
    "bgroup": lambda rng: rng.choice((b"g", b"h")),
    "after": lambda rng: rng.choice((b"$", b"$", b"$", b"0", b"1-3", b"1-20", b"1-x", b">")),
    "new": lambda rng: b">",
    "nextid": lambda rng: b"1-*",
    "member": lambda rng: rng.choice((b"alice", b"bob")),
    "soon_ms": lambda rng: rng.choice((b"1", b"1", b"1", b"-1", b"x")),
    "soon": lambda rng: rng.choice((b"0.001", b"0.002", b"0.0001", b"1e-3", b"0x0.01p0", b".004")),
    "never": never,
    "few": lambda rng: rng.choice((b"1", b"2", b"3", b"1", b"2", b"0", b"-1", b"x")),
}


def is_unsafe(words):
    """A wait that would not end soon."""
    name = words[0].upper() if words else b""
    if name in (b"XREAD", b"XREADGROUP"):
        return gen_stream.waits_long(words)
    if name in (b"BLMPOP", b"BZMPOP"):
        text = words[1] if len(words) > 1 else b"x"
    elif name in (b"BLPOP", b"BRPOP", b"BZPOPMIN", b"BZPOPMAX", b"BLMOVE", b"BRPOPLPUSH"):
        text = words[-1]
    else:
        return False
    try:
        seconds = float.fromhex(text.decode()) if b"x" in text.lower() else float(text)
    except (ValueError, OverflowError):
        return False
    return seconds == 0 or 0.02 < seconds < 9.2e15


PRELUDE = [
    *([b"RPUSH", b"blocking%d" % i, b"a", b"b", b"1"] for i in range(2)),
    *([b"ZADD", b"blocking%d" % i, b"1", b"a", b"2", b"b"] for i in range(2, 4)),
    [b"RPUSH", b"{t}blocking0", b"x"], [b"ZADD", b"{t}blocking1", b"3", b"y"], [b"SET", b"blocking4", b"text"],
]
