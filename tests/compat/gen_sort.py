"""gen_sort.py: SORT and SORT_RO.

What is not defined is left out: the order of elements with equal weights, by giving every weight its own text; the order of a set that is not sorted, by
rules.py; and, in the whole process, numbers that are out of range, after which redis-server refuses whatever it sorts (docs/COMPATIBILITY.md). So the commands
of other groups stay away, and these away from theirs.
"""

import grammar

GROUP = "sort"
WEIGHT = 2
ALONE = True

TAIL = "{ASC|DESC|LIMIT sortoffset sortlimit}*"
GETS = "{GET sortget}*"
COMMANDS = [
    "5 RPUSH numlist number+",
    "5 LPUSH numlist {number+}+",
    "5 RPUSH textlist sorttext+",
    "1 RPUSH biglist {{{{number+}+}+}+}+",
    "4 SADD numset number+",
    "4 SADD intset smallint+",
    "4 SADD textset sorttext+",
    "4 ZADD sortzset {zscore sorttext}+",
    "2 ZADD numzset {zscore number}+",
    "3 SET weightkey number",
    "3 HSET hashkey {f number}+",
    "2 HSET hashkey {f number n sorttext}+",
    "2 LREM numlist 1 number",
    "1 LPOP textlist",
    "2 DEL weightkey",
    "1 HDEL hashkey f",
    "0.5 DEL {numlist|textlist|sortzset|biglist|textset}",
    f"6 SORT {{numlist|numset|intset|numzset|biglist}} {TAIL}",
    f"6 SORT {{numlist|textlist|numset|textset|sortzset|intset|biglist}} ALPHA {TAIL}",
    f"5 SORT_RO {{numlist|numset|intset|numzset|biglist}} {{ALPHA|ASC|DESC|LIMIT sortoffset sortlimit}}*",
    f"6 SORT {{numlist|textlist|numset|intset|sortzset}} BY weightpattern {TAIL} {GETS}",
    f"4 SORT_RO {{numlist|textlist|numset|intset|sortzset}} BY weightpattern {TAIL} {GETS}",
    f"5 SORT {{numlist|textlist|textset|sortzset}} {GETS} ALPHA {TAIL}",
    f"5 SORT {{numlist|textlist|textset|sortzset}} BY weightpattern {GETS} {TAIL} STORE sorted",
    f"5 SORT {{numlist|numset|biglist}} {TAIL} STORE sorted",
    f"4 SORT {{numlist|textlist|sortzset|numzset|biglist}} BY nosort {TAIL} {GETS}",
    f"4 SORT {{numlist|textlist|sortzset|textset|numset}} BY nosort {TAIL} STORE sorted",
    "4 SORT intset BY nosort {DESC|ALPHA}*",
    f"2 SORT {{numlist|textlist|sortzset|textset|numset}} {{ALPHA|STORE sorted|STORE key|{TAIL}|GET sortget|GET}}*",
    "1 SORT {weightkey|hashkey} {ALPHA|DESC}*",
    "1 SORT missing {ALPHA|STORE sorted}*",
    "2 LRANGE sorted 0 -1",
    "1 DEL sorted",
    "1 TYPE sorted",
]

TEXTS = [b"a", b"b", b"c", b"d", b"e", b"A", b"B", b"10", b"9", b"1", b"", b"a b", b"\xc3\xa9", b"zz", b"abc", b"-3", b"x" * 70, b"#", b"*", b"a*b"]


def number(rng):
    roll = rng.random()
    if roll < 0.8:
        return b"%d" % rng.randint(-30, 120)
    if roll < 0.9:
        return repr(rng.uniform(-50, 50)).encode()
    return rng.choice(ODD_NUMBERS) if roll < 0.997 else b"abc"


PATTERNS = [b"w_*", b"w_*", b"h_*->f", b"h_*->f", b"{t}w_*", b"w_*_x", b"h_*->n", b"nothing_*", b"h_*->missing", b"nosort", b"w_1"]
GETTERS = [b"#", b"#", b"w_*", b"w_*", b"h_*->f", b"h_*->n", b"h_*", b"h_*->", b"nothing_*", b"w_1", b"*", b"##", b"#*", b"numlist*", b"w_*->f",
           b"{t}w_*", b"a*->->"]
ODD_NUMBERS = (b"1.5", b"01", b"+3", b"-0", b"1e3", b"inf", b"-inf", b"0x10", b" 5", b"5.0", b"123456789012345678", b"")



def weight_key(rng):
    if rng.random() < 0.9:
        return rng.choice((b"w_%d", b"w_%d", b"{t}w_%d", b"w_%d_x")) % rng.randint(-20, 60)
    return rng.choice((b"w_a", b"w_b", b"w_", b"a", b"#a"))


ARGUMENTS = {
    "number": number,
    "smallint": lambda rng: b"%d" % rng.randrange(-20, 60),
    "sorttext": lambda rng: rng.choice(TEXTS) if rng.random() < 0.7 else b"%d" % rng.randrange(60),
    "zscore": lambda rng: b"%d" % rng.randrange(30),
    "numlist": lambda rng: b"numlist%d" % rng.randrange(3),
    "textlist": lambda rng: b"textlist%d" % rng.randrange(2),
    "biglist": lambda _: b"biglist",
    "numset": lambda rng: b"numset%d" % rng.randrange(2),
    "intset": lambda rng: b"intset%d" % rng.randrange(2),
    "textset": lambda rng: b"textset%d" % rng.randrange(2),
    "sortzset": lambda rng: b"sortzset%d" % rng.randrange(2),
    "numzset": lambda _: b"numzset",
    "sorted": lambda rng: rng.choice((b"sorted0", b"sorted1", b"{t}sorted", b"store", b"numlist2")),
    "weightkey": weight_key,
    "hashkey": lambda rng: b"h_%d" % rng.randint(-10, 60) if rng.random() < 0.8 else rng.choice((b"h_a", b"h_b", b"h_c")),
    **{word.decode(): grammar.choose(word) for word in (b"f", b"n", b"nosort", b"missing")},
    "weightpattern": lambda rng: rng.choice(PATTERNS),
    "sortget": lambda rng: rng.choice(GETTERS),
    "sortoffset": grammar.choose(b"0", b"0", b"1", b"2", b"5", b"-1", b"100", b"x", b"9223372036854775807", b"9223372036854775808"),
    "sortlimit": lambda rng: rng.choice((b"0", b"1", b"2", b"3", b"10", b"100", b"-1", b"-5", b"x", b"9223372036854775807")),
}


OWN = (b"numlist", b"textlist", b"biglist", b"numset", b"intset", b"textset", b"sortzset", b"numzset")


def is_unsafe(argv):
    """Equal texts of BY … ALPHA, or behind a zero byte; and what other groups put into keys: sorted sets, whose encoding SORT of Redis changes."""
    name, words = argv[0].upper(), [a.upper() for a in argv[1:]]
    if len(argv) < 2 or (argv[1].startswith(OWN) and any(b"\0" in a for a in argv)):
        return len(argv) >= 2
    if name not in (b"SORT", b"SORT_RO"):
        return False
    return not argv[1].startswith(OWN) or (b"BY" in words and b"ALPHA" in words)


PRELUDE = []
READERS = {}
