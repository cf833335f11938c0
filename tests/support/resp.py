"""resp.py: RESP as bytes: requests, and replies kept raw so that they can be compared byte by byte."""


class Truncated(Exception):
    """The reply is not complete yet."""


class Malformed(Exception):
    """Not RESP."""


AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}


def encode(argv):
    parts = [b"*%d\r\n" % len(argv)]
    for a in argv:
        parts.append(b"$%d\r\n%b\r\n" % (len(a), a))
    return b"".join(parts)


def line_end(data, start):
    end = data.find(b"\r\n", start)
    if end < 0:
        raise Truncated
    return end


def skip(data, start):
    """The offset behind the reply that starts here."""
    kind = data[start:start + 1]
    end = line_end(data, start)
    if kind in b"+-:_,#(" and kind:
        return end + 2
    if kind in (b"$", b"=", b"!"):
        size = int(data[start + 1:end])
        behind = end + 2 if size < 0 else end + 4 + size
        if behind > len(data):
            raise Truncated
        return behind
    if kind in AGGREGATES:
        at = end + 2
        for _ in range(max(0, int(data[start + 1:end])) * AGGREGATES[kind]):
            at = skip(data, at)
        # An attribute is followed by the reply that it describes.
        return skip(data, at) if kind == b"|" else at
    raise Malformed(f"byte {kind!r} at {start}: {data[start:start + 60]!r}")


def split(data):
    """The raw replies in data, one after the other."""
    replies, at = [], 0
    while at < len(data):
        behind = skip(data, at)
        replies.append(data[at:behind])
        at = behind
    return replies


def children(raw):
    """The raw elements of an aggregate; a scalar gives itself."""
    if raw[:1] not in AGGREGATES or raw[1:2] == b"-":
        return [raw]
    return split(raw[raw.index(b"\r\n") + 2:])


def head(raw):
    """The first line with its type, without the line end: b"*3", b":17", b"-ERR …"."""
    return raw[:raw.index(b"\r\n")]


def text(raw):
    """The contents of a bulk or simple string; None for nil."""
    first = head(raw)
    if raw[:1] in (b"$", b"=", b"!"):
        return None if first[1:2] == b"-" else raw[len(first) + 2:-2]
    return None if raw[:1] == b"_" else first[1:]


def is_error(raw):
    return raw[:1] in (b"-", b"!")


def read_reply(s, pending=b""):
    """(raw reply, bytes behind it) from a socket, for tests that go step by step."""
    data = pending
    while True:
        try:
            behind = skip(data, 0)
            return data[:behind], data[behind:]
        except Truncated:
            more = s.recv(1 << 16)
            if not more:
                raise ConnectionError(f"closed after {data!r}") from None
            data += more
