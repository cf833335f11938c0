"""gen_bitmap.py: bitmap commands.

Offsets are within a few hundred bytes, or refused: never one that is allowed and makes a value of hundreds of megabytes.
"""

import grammar

GROUP = "bitmap"

COMMANDS = [
    "6 SETBIT key bit_offset bit_value",
    "3 SETBIT key bit_offset {bit_value|int}",
    "4 GETBIT key bit_offset",
    "2 BITCOUNT key",
    "5 BITCOUNT key bit_bound bit_bound [{BYTE|BIT}]",
    "1 BITCOUNT key bit_bound*",
    "3 BITPOS key bit_value",
    "4 BITPOS key bit_value bit_bound",
    "6 BITPOS key bit_value bit_bound bit_bound [{BYTE|BIT}]",
    "1 BITPOS key int bit_bound*",
    "6 BITOP {AND|OR|XOR} key key+",
    "3 BITOP NOT key key",
    "1 BITOP {NOT|junk|AND} key key+",
    "8 BITFIELD key {GET bit_type bit_field}*",
    "12 BITFIELD key {GET bit_type bit_field|SET bit_type bit_field bit_setnumber|INCRBY bit_type bit_field bit_number|OVERFLOW {WRAP|SAT|FAIL}}+",
    "4 BITFIELD key OVERFLOW {WRAP|SAT|FAIL} {SET bit_type bit_field bit_setnumber|INCRBY bit_type bit_field bit_number}+",
    "4 BITFIELD bit_key OVERFLOW {WRAP|SAT|FAIL} {SET bit_narrow bit_zero bit_setnumber|INCRBY bit_narrow bit_zero bit_number}+",
    "3 BITFIELD_RO key {GET bit_type bit_field}+",
    "1 BITFIELD_RO key {GET bit_type bit_field|SET bit_type bit_field bit_setnumber|OVERFLOW {WRAP|junk}}*",
    "3 SET key bit_pattern",
    "3 SETRANGE key bit_byte bit_pattern",
    "1 APPEND key bit_pattern",
    "1 SET key bit_number",
    "1 DEL key",
    "2 OBJECT ENCODING key",
    "1 STRLEN key",
    "1 GET key",
]

TYPES = [b"%c%d" % (sign, width) for sign in b"iu" for width in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 62, 63, 64)]
ODD_TYPES = [b"u64", b"u0", b"i0", b"i65", b"u65", b"x8", b"8", b"u", b"i", b"", b"I8", b"U8", b"u08", b"i-1", b"u+8", b"u8 ", b"u1e1", b"i9223372036854775808"]
ODD_OFFSETS = [b"-1", b"4294967296", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"", b"x", b"1.0", b"+1", b"01", b" 1", b"1 "]
EDGES = [n + d for n in (0, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**62, 2**63, -2**7, -2**15, -2**31, -2**63) for d in (-1, 0, 1)]


def offset(rng):
    roll = rng.random()
    if roll < 0.6:
        return b"%d" % rng.randrange(80)
    return b"%d" % rng.choice((127, 128, 1000, 2399, 8191, 8192)) if roll < 0.92 else rng.choice(ODD_OFFSETS)


def field(rng):
    if rng.random() < 0.35:
        return b"#" + (b"%d" % rng.randrange(12) if rng.random() < 0.9 else rng.choice((b"", b"-1", b"x", b"#1", b"4294967296", b"9007199254740992")))
    return offset(rng)


def number(rng):
    roll = rng.random()
    if roll < 0.5:
        return b"%d" % rng.randint(-300, 300)
    if roll < 0.7:
        return b"%d" % rng.choice(EDGES)
    return b"%d" % rng.randint(-2**63, 2**63 - 1) if roll < 0.95 else rng.choice(grammar.ODD_INTEGERS)


def setnumber(rng):
    """docs/COMPATIBILITY.md: SET with OVERFLOW SAT of a number far below the smallest that fits."""
    while True:
        text = number(rng)
        if not is_far_below(text):
            return text


def is_far_below(text):
    return len(text) < 25 and text[:1] == b"-" and text[1:].isdigit() and int(text) < -2**62


def bound(rng):
    roll = rng.random()
    if roll < 0.7:
        return b"%d" % rng.randint(-40, 40)
    if roll < 0.85:
        return b"%d" % rng.randint(-2600, 2600)
    return b"%d" % rng.choice(EDGES) if roll < 0.95 else grammar.integer(rng)


def pattern_value(rng):
    """Runs of ones and of zeros, so that a search has a way to go."""
    size = rng.choice((0, 1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 44, 45, 64, 100, 300))
    roll = rng.random()
    if roll < 0.3:
        return rng.randbytes(size)
    data = bytearray(rng.choice((b"\x00", b"\xff")) * size)
    if size and roll < 0.8:
        data[rng.randrange(size)] ^= 1 << rng.randrange(8)
    return bytes(data)


ARGUMENTS = {
    "bit_offset": offset,
    "bit_value": grammar.choose(b"0", b"1"),
    "bit_bound": bound,
    "bit_field": field,
    "bit_type": lambda rng: rng.choice(TYPES) if rng.random() < 0.97 else rng.choice(ODD_TYPES),
    "bit_zero": grammar.choose(b"0", b"#0"),
    "bit_narrow": lambda rng: rng.choice((b"u1", b"i1", b"u2", b"i2", b"i3", b"u7", b"i8", b"u8", b"u62", b"u63", b"i63", b"i64")),
    "bit_key": lambda rng: b"small%d" % rng.randrange(4),
    "bit_number": number,
    "bit_setnumber": setnumber,
    "bit_byte": lambda rng: b"%d" % rng.randrange(300),
    "bit_pattern": pattern_value,
}

GROWS = {b"SETBIT", b"BITFIELD", b"BITFIELD_RO"}
BITS_MAX = 1 << 20


def is_unsafe(argv):
    """A damaged offset may be one that is allowed and far away. What does not fit into 64 bits is in docs/COMPATIBILITY.md."""
    name = argv[0].upper()
    if name == b"BITFIELD" and any(a.upper() == b"SAT" for a in argv) and any(is_far_below(a) for a in argv):
        return True
    return name in GROWS and any(is_far(a) for a in argv[2:])


def is_far(text):
    digits = text[1:] if text[:1] == b"#" else text
    if not digits.isdigit() or len(digits) > 20:
        return False
    return BITS_MAX < int(digits) < 1 << 32 or digits != text and int(digits) > 1 << 57


PRELUDE = [
    [b"SET", b"k7", b"\xff" * 40 + b"\x00" * 40], [b"SET", b"k8", b"\x00" * 100 + b"\x01"], [b"SET", b"{t}4", b"12345"],
    [b"SETBIT", b"k9", b"100", b"1"],
]
READERS = {b"string": [b"GET"]}
