"""rdb.py: DUMP payloads made by hand, in the forms of all versions of Redis."""

import struct

POLYNOMIAL = 0x95AC9329AC4BC9B5


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc64(data):
    crc = 0
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def payload(value, version=10):
    """A payload of a type byte and what follows it."""
    data = value + struct.pack("<H", version)
    return data + struct.pack("<Q", crc64(data))


def length(n):
    if n < 1 << 6:
        return bytes([n])
    if n < 1 << 14:
        return struct.pack(">H", 0x4000 | n)
    return b"\x80" + struct.pack(">I", n)


def string(text):
    return length(len(text)) + text


def read_length(data, at):
    """The length at that place, and the place behind it."""
    form = data[at] >> 6
    if form == 0:
        return data[at], at + 1
    if form == 1:
        return (data[at] & 0x3F) << 8 | data[at + 1], at + 2
    return int.from_bytes(data[at + 1:at + 5], "big"), at + 5


def skip_string(data, at):
    """The place behind a string, in whatever form."""
    if data[at] >> 6 != 3:
        size, at = read_length(data, at)
        return at + size
    if data[at] == 0xC3:
        size, at = read_length(data, at + 1)
        return read_length(data, at)[1] + size
    return at + 1 + (1 << (data[at] & 0x3F))


def as_integer(text):
    """The integer that the text is in canonical form, or None."""
    try:
        number = int(text)
    except ValueError:
        return None
    fits = -(1 << 63) <= number < 1 << 63
    return number if fits and str(number).encode() == text else None


# ---- ziplist ----

def ziplist_integer(n):
    if 0 <= n <= 12:
        return bytes([0xF1 + n])
    for head, size in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
        if -(1 << 8 * size - 1) <= n < 1 << 8 * size - 1:
            return bytes([head]) + n.to_bytes(size, "little", signed=True)
    raise ValueError(n)


def ziplist_value(text):
    number = as_integer(text)
    if number is not None:
        return ziplist_integer(number)
    if len(text) < 1 << 6:
        return bytes([len(text)]) + text
    if len(text) < 1 << 14:
        return struct.pack(">H", 0x4000 | len(text)) + text
    return b"\x80" + struct.pack(">I", len(text)) + text


def ziplist(texts):
    entries, before, last = b"", 0, 10
    for text in texts:
        last = 10 + len(entries)
        previous = bytes([before]) if before < 254 else b"\xfe" + struct.pack("<I", before)
        entry = previous + ziplist_value(text)
        entries += entry
        before = len(entry)
    return struct.pack("<IIH", 11 + len(entries), last, min(len(texts), 65535)) + entries + b"\xff"


# ---- zipmap ----

def zipmap_length(n):
    return bytes([n]) if n < 254 else b"\xfe" + struct.pack("<I", n)


def zipmap(pairs, unused=0):
    out = bytes([min(len(pairs), 254)])
    for field, value in pairs:
        out += zipmap_length(len(field)) + field + zipmap_length(len(value)) + bytes([unused]) + value + b"?" * unused
    return out + b"\xff"


# ---- listpack ----

def listpack_value(text):
    n = as_integer(text)
    if n is None:
        if len(text) < 64:
            return bytes([0x80 | len(text)]) + text
        if len(text) < 4096:
            return struct.pack(">H", 0xE000 | len(text)) + text
        return b"\xf0" + struct.pack("<I", len(text)) + text
    if 0 <= n <= 127:
        return bytes([n])
    if -4096 <= n <= 4095:
        return struct.pack(">H", 0xC000 | n & 0x1FFF)
    for head, size in ((0xF1, 2), (0xF2, 3), (0xF3, 4), (0xF4, 8)):
        if -(1 << 8 * size - 1) <= n < 1 << 8 * size - 1:
            return bytes([head]) + n.to_bytes(size, "little", signed=True)
    raise ValueError(n)


def back_length(n):
    size = 1 if n <= 127 else 2 if n < 16383 else 3 if n < 2097151 else 4 if n < 268435455 else 5
    out = [n >> 7 * i & 127 | (128 if i < size - 1 else 0) for i in range(size)]
    return bytes(reversed(out))


def listpack(texts):
    elements = b"".join(v + back_length(len(v)) for v in map(listpack_value, texts))
    return struct.pack("<IH", 7 + len(elements), min(len(texts), 65535)) + elements + b"\xff"


# ---- intset ----

def intset(numbers):
    numbers = sorted(numbers)
    size = next(s for s in (2, 4, 8) if all(-(1 << 8 * s - 1) <= n < 1 << 8 * s - 1 for n in numbers))
    body = b"".join(n.to_bytes(size, "little", signed=True) for n in numbers)
    return struct.pack("<II", size, len(numbers)) + body


# ---- whole values: the type byte and what follows it ----

def score_text(score):
    if score != score:
        return b"\xfd"
    if score in (float("inf"), float("-inf")):
        return b"\xfe" if score > 0 else b"\xff"
    text = b"%.17g" % score
    return bytes([len(text)]) + text


def list_value(kind, texts, nodes=1):
    """Kinds 1, 10, 14 and 18; of the last two with so many nodes."""
    if kind == 1:
        return b"\x01" + length(len(texts)) + b"".join(map(string, texts))
    if kind == 10:
        return b"\x0a" + string(ziplist(texts))
    size = max(1, -(-len(texts) // nodes))
    parts = [texts[i:i + size] for i in range(0, len(texts), size)]
    if kind == 14:
        return b"\x0e" + length(len(parts)) + b"".join(string(ziplist(p)) for p in parts)
    return b"\x12" + length(len(parts)) + b"".join(b"\x02" + string(listpack(p)) for p in parts)


def set_value(kind, texts):
    """Kinds 2, 11 (all integers) and 20."""
    if kind == 2:
        return b"\x02" + length(len(texts)) + b"".join(map(string, texts))
    if kind == 11:
        return b"\x0b" + string(intset([int(t) for t in texts]))
    return b"\x14" + string(listpack(texts))


def packed_score(score):
    """As 7.0 writes it: whole numbers of 64 bits as such."""
    return b"%d" % score if abs(score) < 2**63 and score == int(score) else b"%.17g" % score


def zset_value(kind, pairs):
    """Kinds 3, 5, 12 and 17; pairs are (member, score)."""
    if kind == 3:
        return b"\x03" + length(len(pairs)) + b"".join(string(m) + score_text(s) for m, s in pairs)
    if kind == 5:
        return b"\x05" + length(len(pairs)) + b"".join(string(m) + struct.pack("<d", s) for m, s in pairs)
    flat = [x for m, s in sorted(pairs, key=lambda p: (p[1], p[0])) for x in (m, packed_score(s))]
    return b"\x0c" + string(ziplist(flat)) if kind == 12 else b"\x11" + string(listpack(flat))


def hash_value(kind, pairs):
    """Kinds 4, 9, 13 and 16."""
    if kind == 4:
        return b"\x04" + length(len(pairs)) + b"".join(string(f) + string(v) for f, v in pairs)
    if kind == 9:
        return b"\x09" + string(zipmap(pairs, unused=len(pairs) % 3))
    flat = [x for pair in pairs for x in pair]
    return b"\x0d" + string(ziplist(flat)) if kind == 13 else b"\x10" + string(listpack(flat))
