"""gen_hyperloglog.py: PFADD, PFCOUNT, PFMERGE, and sketches as the strings that they are.

Elements are made backwards from the register and the rank that they should hit, so that runs of neighbours, equal ranks and ranks above 32 come up often.
What is written to an invalid sketch is not compared (docs/COMPATIBILITY.md), so PFADD goes only to keys that no other group's string commands get at.
"""

GROUP = "hyperloglog"

COMMANDS = [
    "8 PFADD hll_key hll_element+",
    "6 PFADD hll_key {hll_element+}+",
    "4 PFADD hll_key {{{hll_element}+}+}+",
    "3 PFADD hll_bigkey {{{{hll_element}+}+}+}+",
    "2 PFADD hll_bigkey {{{{word}+}+}+}+",
    "2 PFADD hll_key word+",
    "1 PFADD hll_key",
    "2 PFADD hll_key {value|junk}+",
    "2 PFADD hll_other hll_element*",
    "1 PFMERGE {hll_key|hll_other} {hll_key|hll_other}+",
    "1 {RPUSH|SET|APPEND} hll_other word",
    "1 DEL hll_other",
    "5 PFCOUNT hll_key",
    "3 PFCOUNT key",
    "3 PFCOUNT hll_bigkey",
    "6 PFCOUNT {key|hll_key|hll_bigkey} {key|hll_key|hll_bigkey}+",
    "6 PFMERGE hll_key {key|hll_key|hll_bigkey}*",
    "2 PFMERGE key {hll_key|hll_bigkey}*",
    "3 PFMERGE hll_bigkey {hll_key|hll_bigkey}+",
    "1 PFDEBUG {ENCODING|DECODE|TODENSE|GETREG|word} hll_key",
    "1 PFDEBUG ENCODING key",
    "1 PFMERGE {key|hll_key} {hll_key|hll_badkey}+",
    "8 GET hll_key",
    "2 GET hll_bigkey",
    "3 OBJECT ENCODING hll_key",
    "1 STRLEN hll_bigkey",
    "1.5 DEL hll_key",
    "0.5 DEL hll_bigkey",
    "1 SET {key|hll_key} hll_sketch",
    "1 SET key value",
    "2 SET hll_badkey hll_badsketch",
    "2 PFADD hll_badkey hll_element",
    "1 PFADD hll_badkey",
    "2 PFCOUNT hll_badkey",
    "1 PFCOUNT hll_key hll_badkey",
    "1 PFMERGE hll_badkey hll_key",
    "1 COPY hll_key {key|hll_key} REPLACE",
    "1 RENAME hll_key hll_key",
    "1 EXPIRE hll_key ttl_s",
    "1 CONFIG SET HLL-SPARSE-MAX-BYTES hll_limit",
]

MASK = 2**64 - 1
M = 0xc6a4a7935bd1e995
M_INVERSE = pow(M, -1, 2**64)
SEED = 0xadc83b19


def unshift(x):
    """The inverse of x ^= x >> 47."""
    return x ^ x >> 47


def preimage(wanted):
    """The 8 bytes whose MurmurHash64A is that."""
    h = unshift(unshift(wanted) * M_INVERSE & MASK)
    k = h * M_INVERSE & MASK ^ SEED ^ 8 * M & MASK
    return (unshift(k * M_INVERSE & MASK) * M_INVERSE & MASK).to_bytes(8, "little")


def element_at(rng, index, rank):
    zeros = rank - 1
    rest = 0 if zeros == 50 else 1 << zeros | rng.getrandbits(50) & ~((2 << zeros) - 1) & (1 << 50) - 1
    return preimage(rest << 14 | index)


def element(rng):
    """Mostly near a few places, the first and the last register among them, and of few ranks."""
    roll = rng.random()
    near = rng.choice((0, 0, 60, 64, 70, 8000, 16320, 16383))
    index = min(16383, max(0, near + rng.randint(-8, 8)))
    if roll > 0.9:
        index = rng.randrange(16384)
    rank = rng.choice((1, 1, 1, 2, 2, 2, 3, 4, 5, 20, 31, 32))
    if rng.random() < 0.004:
        rank = rng.choice((33, 34, 50, 51))
    return element_at(rng, index, rank)


HEADER = b"HYLL\x01\x00\x00\x00" + b"\x00" * 7
ZEROS = b"\x7f\xff"


def sketch(rng):
    """Valid ones, written as nobody would: unjoined neighbours, long forms of short runs, an unused byte, any cached count."""
    left, body = 16384, b""
    while left > 0 and len(body) < 60:
        roll = rng.random()
        if roll < 0.5:
            count = min(left, rng.randint(1, 4))
            body += bytes((0x80 | rng.choice((0, 1, 2, 31)) << 2 | count - 1,))
        elif roll < 0.8:
            count = min(left, rng.randint(1, 64))
            body += bytes((count - 1,))
        else:
            count = min(left, rng.choice((1, 64, 65, 300, 16384)))
            body += bytes((0x40 | count - 1 >> 8, count - 1 & 255))
        left -= count
    if left:
        body += bytes((0x40 | left - 1 >> 8, left - 1 & 255))
    header = b"HYLL\x01" + rng.choice((b"\x00\x00\x00", b"abc"))
    return header + rng.choice((b"\x00" * 7 + b"\x80", b"\x05" + b"\x00" * 7, b"\xff" * 8, b"\xff" * 7 + b"\x7f")) + body


def badsketch(rng):
    """Runs that make too few registers or too many; other headers. No half run: Redis reads a byte behind it."""
    return rng.choice((
        HEADER + b"\x80", HEADER + b"\x80\x00", HEADER + b"\x80\x7f\xfe", HEADER + b"\x80" + ZEROS + b"\x00", HEADER + b"\x80" + ZEROS * 2,
        HEADER + b"\x80\x7f\xfe\x81", HEADER + b"\x80\x7f\xfe\x83\x84", HEADER + b"\x80" + b"\x83" * 30, HEADER[:-1], HEADER, HEADER + b"\x00",
        b"HYLL\x00\x00\x00\x00" + b"\x00" * 8, b"HYLL\x02\x00\x00\x00" + b"\x00" * 8 + ZEROS, b"hyll\x01\x00\x00\x00" + b"\x00" * 8 + ZEROS,
        b"HYLL\x00\x00\x00\x00" + b"\x00" * 12295, b"HYLL\x00\x00\x00\x00" + b"\x00" * 12297, b"", b"HYLL", b"12",
    ))


ARGUMENTS = {
    "hll_element": element,
    "hll_sketch": sketch,
    "hll_badsketch": badsketch,
    "hll_key": lambda rng: rng.choice((b"hll%d", b"{hll}%d")) % rng.randrange(5),
    "hll_other": lambda rng: b"hllother%d" % rng.randrange(4),
    "hll_bigkey": lambda rng: b"hllbig%d" % rng.randrange(3),
    "hll_badkey": lambda rng: b"badhll%d" % rng.randrange(3),
    "hll_limit": lambda rng: rng.choice((b"3000", b"3000", b"3000", b"1000", b"100", b"64", b"24", b"0", b"20000")),
}


def is_unsafe(argv):
    """Changes of sketches that may be invalid: of those, only some that are known, by one element. A size with a zero byte in it is a C string's."""
    if argv[0].upper() == b"CONFIG":
        return any(b"\0" in a for a in argv)
    if argv[0].upper() != b"PFADD" or len(argv) < 2:
        return False
    return not argv[1].startswith((b"hll", b"{hll}")) and (len(argv) > 3 or not argv[1].startswith(b"badhll"))


PRELUDE = [
    [b"PFADD", b"hll0", b"a", b"b", b"c"], [b"PFADD", b"hllbig0", *(b"%d" % i for i in range(2000))], [b"PFADD", b"{t}2", b"x"],
    [b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"3000"],
]
READERS = {b"string": [b"GET"]}
