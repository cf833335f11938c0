"""grammar.py: random commands, valid and invalid, from one line of grammar per command.

    "SET key value {NX|XX|GET|KEEPTTL|EX ttl_s|PX ttl_ms}*"

UPPER CASE is a keyword (its case is varied), lower case names a kind of argument in ARGUMENTS, {a|b} chooses, [a] may be left out,
x* stands 0 to 4 times and x+ 1 to 4 times. One command in eight is then damaged: an argument lost, added, doubled, exchanged or replaced.

Nothing here depends on the clock: a relative deadline is far away or past already, an absolute one is in the last or the next century, so that no key
runs out in the middle of a comparison.
"""

import re

DAMAGE_EVERY = 8

# fmt: off
EDGE_INTEGERS = [b"%d" % n for n in (
    0, 0, 1, 1, -1, 2, 3, -2, 9, 10, 99, 100, 127, 128, -128, 255, 256, 9999, 10000, 32767, -32768, 65535, 65536,
    2**31 - 1, -2**31, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 2, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64 - 1, 2**64, 10**30)]
ODD_INTEGERS = [b"", b" 1", b"1 ", b"+1", b"-0", b"00", b"01", b"1.0", b"1e3", b"0x10", b"abc", b"-", b"+", b"1\x00", b"\x001",
                b"nan", b"inf", b"- 1", b"--1", b"1_000", b"\xd9\xa1"]
FLOATS = [b"0", b"-0", b"1", b"1.5", b"-1.5", b"0.1", b"3.0", b"3.00000", b"1e3", b"1E3", b"5.0e3", b"1e-3", b"1e17", b"1e21", b"1e300", b"-1e300",
          b"1e308", b"1.7976931348623157e308", b"1e309", b"1e-320", b"1e-400", b"3.14159265358979323846", b"0.30000000000000004", b".5", b"5.", b"-.5",
          b"9007199254740993", b"123456789012345678", b"0x1p3", b"0x10", b"1e", b"e1", b"1e5000", b"99999999999999999999999999999999",
          b"0.000000000000000001", b"1e-17", b"1e18"]
ODD_FLOATS = [b"inf", b"+inf", b"-inf", b"infinity", b"INF", b"nan", b"-nan", b"NaN", b"", b" 1", b"1 ", b"1,5", b"abc", b"1.5x", b"1\x00", b"--1", b"+1.5", b"1.5 "]
PATTERNS = [b"*", b"*", b"k*", b"*1", b"k?", b"k[0-3]", b"k[^0-3]", b"[a-z]*", b"k\\*", b"\\k1", b"", b"[", b"[a-", b"k[", b"k[1", b"**", b"***k***1", b"{t}*", b"*\\",
            b"k[3-0]", b"k[\\]1]", b"?*?", b"*\x00*", b"\xff*", b"[^]*", b"[]1]*", b"nothing*"]
# fmt: on


def choose(*options):
    return lambda rng: rng.choice(options)


def integer(rng):
    roll = rng.random()
    if roll < 0.5:
        return b"%d" % rng.randint(-20, 120)
    return rng.choice(EDGE_INTEGERS) if roll < 0.85 else rng.choice(ODD_INTEGERS)


def real(rng):
    roll = rng.random()
    if roll < 0.35:
        return b"%d" % rng.randint(-20, 120)
    if roll < 0.5:
        return repr(rng.uniform(-100, 100)).encode()
    return rng.choice(FLOATS) if roll < 0.85 else rng.choice(ODD_FLOATS)


def key(rng):
    roll = rng.random()
    if roll < 0.6:
        return b"k%d" % rng.randrange(12)
    if roll < 0.8:
        return b"{t}%d" % rng.randrange(5)
    if roll < 0.97:
        return rng.choice((b"", b"a key", b"k\r\n", b"\x00\xff", b"{}", b"{}x", b"{", b"}{t}", b"{t", b"{{t}}", b"long" * 30, b"\xc3\xa9"))
    return b"missing%d" % rng.randrange(3)


def blob(rng):
    size = rng.choice((1, 2, 10, 43, 44, 45, 63, 64, 65, 127, 128, 300))
    return rng.randbytes(size)


def long_value(rng):
    size = rng.choice((1000, 4095, 4096, 4097, 16383, 16384, 16385, 20000, 65536, 70000))
    return bytes((rng.randrange(256),)) * size


def value(rng):
    roll = rng.random()
    if roll < 0.35:
        return rng.choice((b"", b"a", b"abc", b"hello world", b"foo", b"x" * 44, b"x" * 45, b"OK", b"ab\r\ncd", b"\x00"))
    if roll < 0.7:
        return integer(rng)
    if roll < 0.85:
        return real(rng)
    return blob(rng) if roll < 0.99 else long_value(rng)


def ttl(scale):
    """Far ones are all different: whether GT finds an equal one greater would depend on the clock."""
    odd = [b"0", b"-1", b"-100", *(b"%d" % n for n in (2**63 - 1, 2**63 // 1000 + 1, 2**63 // 1000 - 10, -2**63, 2**63))]
    odd += ODD_INTEGERS[:3] + ODD_INTEGERS[8:10]
    return lambda rng: b"%d" % (rng.randrange(100, 1000000) * scale) if rng.random() < 0.75 else rng.choice(odd)


def instant(scale, past=True):
    """Without `past`, none that makes a key which is dead from the start: when Redis stops counting such a key in DBSIZE depends on the clock."""
    far = [b"%d" % (n * scale) for n in (4102444800, 4102444801, 7258118400)]
    odd = [b"0", b"-1", b"%d" % (2**63 - 1), b"%d" % (2**63 // 1000 + 1), b"%d" % (2**63 // 1000 - 10), *ODD_INTEGERS[:3], *ODD_INTEGERS[8:10]]
    odd += [b"1", b"%d" % (1000000000 * scale)] if past else []
    return lambda rng: rng.choice(far) if rng.random() < 0.75 else rng.choice(odd)


def database(rng):
    return b"%d" % rng.randrange(3) if rng.random() < 0.8 else rng.choice((b"15", b"16", b"-1", b"x", b"", b"2147483648", b"9223372036854775808", b"1.0"))


def write_offset(rng):
    """Never one that is allowed and makes a value of hundreds of megabytes."""
    roll = rng.random()
    if roll < 0.7:
        return b"%d" % rng.choice((0, 0, 1, 2, 5, 10, 50, 1000))
    return rng.choice((b"-1", b"536870912", b"536870913", b"4294967296", b"9223372036854775807", b"-9223372036854775808", b"18446744073709551616")) \
        if roll < 0.9 else rng.choice(ODD_INTEGERS)


def junk(rng):
    return rng.choice((b"", b"x", b"*", b"NX", b"EX", b"GET", b"-1", b"0", b"1", b"\x00", b"\r\n", b"\xff\xfe", b"y" * 200, b"k1", b"9223372036854775808"))


# kind of argument → function of the random generator. Modules of groups add theirs.
# fmt: off
ARGUMENTS = {
    "key": key,
    "value": value,
    "blob": blob,
    "int": integer,
    "float": real,
    "index": integer,
    "pattern": lambda rng: rng.choice(PATTERNS),
    "ttl_s": ttl(1),
    "ttl_ms": ttl(1000),
    "at_s": instant(1),
    "at_ms": instant(1000),
    "future_s": instant(1, past=False),
    "future_ms": instant(1000, past=False),
    "db": database,
    "write_offset": write_offset,
    "count": lambda rng: rng.choice((b"1", b"2", b"5", b"10", b"100", b"1000", b"0", b"-1", b"x", b"9223372036854775807", b"9223372036854775808")),
    "word": choose(b"abc", b"x", b"", b"two words", b"\x00", b"new\nline", b"tab\t", b"\xff", b"w" * 300, b"ok-name", b"a:b=c"),
    "junk": junk,
}
# fmt: on

WORDS = re.compile(r"[{}\[\]|*+]|[^\s{}\[\]|*+]+")


class Grammar:
    """One line, compiled to a function of (random generator, list of arguments to extend)."""

    def __init__(self, line):
        self.line = line
        self.words = WORDS.findall(line)
        self.at = 0
        self.produce = self.alternatives()
        if self.at != len(self.words):
            raise ValueError(f"{line}: cannot read from {self.words[self.at]!r} on")

    def peek(self):
        return self.words[self.at] if self.at < len(self.words) else None

    def alternatives(self):
        options = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            options.append(self.sequence())
        if len(options) == 1:
            return options[0]
        return lambda rng, out: rng.choice(options)(rng, out)

    def sequence(self):
        items = []
        while self.peek() not in (None, "|", "}", "]"):
            items.append(self.repeated(self.atom()))

        def produce(rng, out):
            for item in items:
                item(rng, out)
        return produce

    def repeated(self, item):
        sign = self.peek()
        if sign not in ("*", "+"):
            return item
        self.at += 1
        least = 1 if sign == "+" else 0

        def produce(rng, out):
            for _ in range(max(least, rng.choice((0, 1, 1, 2, 2, 3, 4)))):
                item(rng, out)
        return produce

    def atom(self):
        word = self.words[self.at]
        self.at += 1
        if word in "{[":
            inner = self.alternatives()
            self.at += 1  # the closing bracket
            return inner if word == "{" else lambda rng, out: rng.random() < 0.5 and inner(rng, out)
        if word.islower():
            argument = ARGUMENTS[word]
            return lambda rng, out: out.append(argument(rng))
        return lambda rng, out: out.append(vary_case(rng, word.encode()))


def vary_case(rng, word):
    roll = rng.random()
    if roll < 0.7:
        return word
    return word.lower() if roll < 0.9 else bytes(rng.choice((c, c | 32)) if 65 <= c <= 90 else c for c in word)


def damage(rng, argv):
    """One thing wrong with a command. (No name with a zero byte behind it: whether Redis knows that one depends on its hash seed.)"""
    at = rng.randrange(len(argv))
    kind = rng.randrange(7)
    if kind == 0 and len(argv) > 1:
        argv.pop(max(1, at))
    elif kind == 1:
        argv.insert(max(1, at), junk(rng))
    elif kind == 2:
        argv.append(rng.choice(argv))
    elif kind == 3 and at > 0:
        argv[at] = junk(rng)
    elif kind == 4 and len(argv) > 2:
        other = rng.randrange(1, len(argv))
        argv[max(1, at)], argv[other] = argv[other], argv[max(1, at)]
    elif kind == 5:
        del argv[max(1, at):]
    elif rng.random() < 0.2:
        argv[0] += rng.choice((b"x", b" ", b"'", b"y" * 150, b"\r\n"))


DEADLINE_WORDS = {b"EX", b"PX", b"EXPIRE", b"PEXPIRE", b"SETEX", b"PSETEX"}
SOON = re.compile(rb"[1-9]\d{0,4}$")


def depends_on_time(argv):
    """Damage must not make a key run out soon, nor a client wait for replicas that are not there."""
    if argv[0].upper() == b"WAIT":
        return len(argv) == 3 and SOON.match(argv[1])
    words = {a.upper() for a in argv}
    now = 1800000000000 if b"PXAT" in words else 1800000000
    if words & {b"EXAT", b"PXAT"} and any(a.isdigit() and len(a) < 30 and 0 < int(a) < now for a in argv):
        return True
    return words & DEADLINE_WORDS and any(SOON.match(a) for a in argv)


# group → whether a damaged command of any group would make the servers differ by chance, or run for ever. Modules may add theirs.
UNSAFE = {}


class CommandTable:
    """Weighted lines of grammar."""

    def __init__(self, lines):
        self.grammars, self.weights = [], []
        for line in lines:
            weight, _, rest = line.partition(" ")
            weighted = weight[0].isdigit()
            self.grammars.append(Grammar(rest if weighted else line))
            self.weights.append(float(weight) if weighted else 2)
        self.total = list(self.accumulate())

    def accumulate(self):
        total = 0
        for weight in self.weights:
            total += weight
            yield total

    def make(self, rng):
        argv = []
        rng.choices(self.grammars, cum_weights=self.total)[0].produce(rng, argv)
        if rng.randrange(DAMAGE_EVERY) == 0:
            whole = list(argv)
            damage(rng, argv)
            return whole if depends_on_time(argv) or any(is_unsafe(argv) for is_unsafe in UNSAFE.values()) else argv
        return argv
