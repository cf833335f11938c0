"""gen_list.py: list commands."""

GROUP = "list"

COMMANDS = [
    "6 LPUSH listkey element+",
    "6 RPUSH listkey element+",
    "2 LPUSHX listkey element+",
    "2 RPUSHX listkey element+",
    "3 LPOP listkey [popcount]",
    "3 RPOP listkey [popcount]",
    "2 LLEN listkey",
    "1 LRANGE listkey index index",
    "4 LRANGE listkey listindex listindex",
    "1 LRANGE longkey index index",
    "1 LINDEX listkey index",
    "3 LINDEX listkey listindex",
    "3 LSET listkey listindex element",
    "4 LINSERT listkey {BEFORE|AFTER|BEFORE|AFTER|junk} element element",
    "3 LREM listkey index element",
    "1 LTRIM listkey trimstart trimend",
    "2 LPOS listkey element {RANK index|COUNT popcount|MAXLEN popcount|RANK listindex|junk}*",
    "4 LPOS listkey element [RANK listindex] [COUNT smallcount] [MAXLEN smallcount]",
    "0.5 LPOS listkey element {RANK -9223372036854775808|COUNT 2305843009213693953|COUNT smallcount|MAXLEN smallcount}+",
    "4 LMOVE listkey listkey {LEFT|RIGHT} {LEFT|RIGHT}",
    "1 LMOVE listkey listkey {LEFT|RIGHT|junk} {LEFT|RIGHT|junk}",
    "3 RPOPLPUSH listkey listkey",
    "2 LMPOP 1 listkey {LEFT|RIGHT} [COUNT popcount]",
    "3 LMPOP 3 listkey listkey listkey {LEFT|RIGHT} [COUNT popcount]",
    "1 LMPOP popcount listkey+ {LEFT|RIGHT|junk} {COUNT popcount|junk}*",
    "2 RPUSH longkey element+ element+ element+ element+",
    "1 RPUSH longkey longelement",
    "1 LPUSH longkey longelement",
    "1 LINSERT longkey {BEFORE|AFTER} element longelement",
    "1 LSET longkey listindex longelement",
    "1 DEL listkey",
]


def list_key(rng):
    roll = rng.random()
    if roll < 0.75:
        return b"list%d" % rng.randrange(5)
    if roll < 0.85:
        return b"{t}list%d" % rng.randrange(2)
    if roll < 0.93:
        return b"k%d" % rng.randrange(4)
    return b"missing" if roll < 0.97 else b"long%d" % rng.randrange(2)


def element(rng):
    """Few values, so that searches find them, and every form that a listpack has."""
    roll = rng.random()
    if roll < 0.5:
        return rng.choice((b"a", b"b", b"c", b"1", b"2", b"10", b"", b"-1"))
    if roll < 0.75:
        return rng.choice((b"127", b"128", b"-4096", b"4095", b"4096", b"-4097", b"32767", b"-32768", b"32768", b"8388607", b"8388608", b"-8388609",
                           b"2147483647", b"2147483648", b"-2147483649", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
                           b"01", b"+1", b" 1", b"1 ", b"-0", b"1.0", b"00", b"\x00", b"\xff"))
    if roll < 0.95:
        return bytes((97 + rng.randrange(3),)) * rng.choice((5, 20, 21, 62, 63, 64, 65, 125, 126, 127))
    return bytes((97 + rng.randrange(3),)) * rng.choice((200, 1000, 4094, 4095, 4096, 5000))


def long_element(rng):
    return bytes((97 + rng.randrange(3),)) * rng.choice((4000, 8000, 8170, 8180, 8190, 8192, 9000, 16378, 16379, 20000))


def list_index(rng):
    return b"%d" % rng.randint(-12, 12)


def pop_count(rng):
    if rng.random() < 0.75:
        return b"%d" % rng.choice((0, 1, 1, 1, 2, 2, 3, 5))
    return rng.choice((b"100", b"-1", b"x", b"", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"1.5", b" 1"))


ARGUMENTS = {
    "listkey": list_key,
    "longkey": lambda rng: b"long%d" % rng.randrange(2),
    "element": element,
    "longelement": long_element,
    "listindex": list_index,
    "popcount": pop_count,
    "smallcount": lambda rng: b"%d" % rng.choice((0, 1, 2, 3, 10)),
    "trimstart": lambda rng: b"%d" % rng.choice((0, 0, 0, 1, -30, -20, -5)),
    "trimend": lambda rng: b"%d" % rng.choice((-1, -1, -1, -2, 30, 10, 4)),
}


PRELUDE = [
    [b"RPUSH", b"list0", b"a", b"b", b"c", b"1", b"2"], [b"RPUSH", b"list1", b"x"], [b"RPUSH", b"{t}list0", b"a", b"10"],
    [b"RPUSH", b"long0", *[b"value:%d" % i for i in range(1000)]], [b"RPUSH", b"long1", b"a" * 9000, b"b", b"c" * 9000],
]

READERS = {b"list": [b"LRANGE", b"0", b"-1"]}
