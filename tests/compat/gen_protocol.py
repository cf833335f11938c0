"""gen_protocol.py: what is not RESP, or barely: each on a fresh connection, in pieces of any size.

Compared are all bytes that come back and whether the server then closes, or waits for more.
"""

GROUP = "protocol"

# Nothing here may change data: the cases run at the same time.
# fmt: off
WHOLE = [
    b"PING\r\n", b"PING\n", b"ping\r\nPING\r\n", b"\r\n", b"\n", b"\r\n\r\nPING\r\n", b"  PING  \r\n", b"PING x\r\n", b"PING 'a b'\r\n", b"PING \"a\\x41\\n\"\r\n",
    b"ECHO \"unbalanced\r\n", b"ECHO 'unbalanced\r\n", b"ECHO \"a\"b\r\n", b"ECHO 'a'b\r\n", b"ECHO \"\"\r\n", b"ECHO 'it\\'s'\r\n", b"ECHO \"\\r\\t\\b\\a\\\\\\q\"\r\n",
    b"ECHO \"\\x4\"\r\n", b"ECHO \"\\xzz\"\r\n", b"PING\x00\r\n", b"\x00\r\n", b"GET\tk\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"Host: x\r\n\r\n", b"PING\r\nHOST: a\r\nPING\r\n",
    b"*1\r\n$4\r\nPING\r\n", b"*0\r\n", b"*0\r\nPING\r\n", b"*-1\r\n", b"*-1\r\nPING\r\n", b"*-10\r\nPING\r\n", b"*\r\n", b"*\r\nPING\r\n", b"*x\r\n", b"*1x\r\n", b"* 1\r\n", b"*+1\r\n$4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n", b"*1\n$4\r\nPING\r\n", b"*1\r$4\r\nPING\r\n", b"*1\r\n$4\nPING\r\n", b"*1\r\n$4\r\nPINGxx", b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n", b"*1\r\n$4\r\nPING\r\r\n",
    b"*1\r\nPING\r\n", b"*1\r\n:4\r\n", b"*1\r\n*1\r\n", b"*1\r\n\r\n", b"*1\r\n$\r\n", b"*1\r\n$x\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-0\r\n\r\n", b"*1\r\n$0\r\n\r\n", b"*1\r\n$ 4\r\nPING\r\n", b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n", b"*1\r\n$4x\r\nPING\r\n", b"*1\r\n$9999999999\r\n", b"*1\r\n$1073741824\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$536870912\r\n", b"*1\r\n$9223372036854775807\r\n", b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\n$18446744073709551616\r\n", b"*2147483648\r\n", b"*1048576\r\n", b"*9223372036854775807\r\n", b"*9223372036854775808\r\n", b"*-9223372036854775808\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n", b"*2\r\n$4\r\nECHO\r\n$-5\r\n", b"*3\r\n$4\r\nPING\r\n", b"*1\r\n$4\r\nPI", b"*", b"*1", b"*1\r", b"*1\r\n$", b"$4\r\nPING\r\n", b"+PING\r\n", b":1\r\n", b"-x\r\n", b"%1\r\n", b"~1\r\n", b">1\r\n",
    b"_\r\n", b"#t\r\n", b"\xff\xff\xff\xff\r\n", b"PING" + b" x" * 2000 + b"\r\n", b"x" * 65535 + b"\r\n", b"x" * 65536, b"x" * 65537, b"*" + b"1" * 65600,
    b"*" + b"0" * 100 + b"1\r\n$4\r\nPING\r\n", b"*1\r\n$" + b"4" * 65600, b"*1\r\n$" + b"0" * 70 + b"4\r\nPING\r\n", b"ECHO " + b"y" * 60000 + b"\r\n", b"GET k\r\nGET\r\nNOSUCH\r\n*1\r\n$3\r\nGET\r\n", b"QUIT\r\nPING\r\n", b"*1\r\n$4\r\nQUIT\r\n*1\r\n$4\r\nPING\r\n",
    b"QUIT x\r\nPING\r\n", b"PING\r\n*x\r\nPING\r\n", b"HELLO 3\r\nGET nothing\r\n*x\r\n", b"HELLO 4\r\nPING\r\n", b"SELECT 99\r\nPING\r\n", b"CLIENT REPLY OFF\r\nPING\r\n", b"*3\r\n$4\r\nECHO\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*1\r\n$40\r\n" + b"n" * 40 + b"\r\n", b"*2\r\n$40\r\n" + b"n" * 40 + b"\r\n$200\r\n" + b"a" * 200 + b"\r\n", b"*1\r\n$300\r\n" + b"\x01" * 300 + b"\r\n",
]
# fmt: on

# fmt: off
VALID = [
    [b"PING"], [b"PING", b"hello"], [b"ECHO", b"x"], [b"ECHO", b"\x00\xff\r\n"], [b"GET", b"nothing"], [b"MGET", b"n1", b"n2", b"n3"], [b"ECHO", b"e" * 5000], [b"NOSUCH", b"a"], [b"GET"], [b"EXISTS", b"n1", b"n2"],
]
# fmt: on


def encode(argv):
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


def inline(argv):
    return b" ".join(a for a in argv if a and not set(a) & set(b"\r\n\x00\"' \xff")) + b"\r\n"


def damaged(rng, data):
    """A valid stream with one byte changed, lost or doubled, or cut short."""
    at = rng.randrange(len(data))
    kind = rng.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + data[at + 1:]
    if kind == 2:
        return data[:at] + data[at:at + 1] + data[at:]
    if kind == 3:
        return data[:at] + bytes((rng.choice(b"*$\r\n0123456789-+:x\x00\xff"),)) + data[at + 1:]
    return data if kind == 4 else data[:at] + rng.choice((b"\r\n", b"*1\r\n", b"$-1\r\n", b"\r", b"\n")) + data[at:]


def ends_without_a_reply(data):
    """POST and Host: end the connection at once. Whether a reply to an earlier piece leaves before, and whether what comes behind resets
    the connection and takes that reply along, is a race on either server."""
    lower = data.lower()
    return any(lower.startswith(word) or b"\n" + word in lower for word in (b"post ", b"host: "))


def split(rng, data):
    """Pieces of any size; sometimes all of it at once."""
    if rng.random() < 0.3 or len(data) < 2 or ends_without_a_reply(data):
        return [data]
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.randint(1, 5))})
    return [data[a:b] for a, b in zip([0] + cuts, cuts + [len(data)])]


def cases(rng, count):
    """Lists of pieces: all of WHOLE first, then as many random streams as asked for."""
    yield from ([data] for data in WHOLE)
    yield from (split(rng, data) for data in WHOLE)
    for _ in range(max(0, count - 2 * len(WHOLE))):
        stream = b"".join(rng.choice((encode, encode, inline))(rng.choice(VALID)) for _ in range(rng.randint(1, 6)))
        yield split(rng, damaged(rng, stream))
