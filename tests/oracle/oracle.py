#!/usr/bin/python3
"""The serial-order oracle.

Eight concurrent clients send random pipelines to a Shoal that records its turn order (--record-order). Afterwards all commands are
replayed, in that order and one at a time, on a single-threaded redis-server, and every reply is compared. Equal replies mean that the
run was equivalent to one serial execution, in an order that every client's own order agrees with.

The record holds (order, client id, number of the client's command); the clients know what they sent and got.

A transaction is recorded at its EXEC, and replayed there as a whole; a WATCH at its place. Both need a connection of their own on the
reference for each client; everything else shares one.

A script that has to start again, because it needs keys that it does not declare, is recorded once more; the last record is its place.

In the second mix some of the clients wait for lists, sorted sets and streams (BLPOP and its like, XREAD) which the others fill. The reference gets such a
command on the client's own connection, at its place in the order; whoever is served there must have been served here.
"""

import argparse
import os
import random
import select
import selectors
import signal
import socket
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import resp  # noqa: E402
import servers  # noqa: E402

RECORD = struct.Struct("<QQQIHH")
WAITING_SHARE = 20  # the reference needs as many times longer for a command that waits
KEYS = [b"k%d" % i for i in range(24)] + [b"{t}%d" % i for i in range(4)]
TAGGED = [b"{t}%d" % i for i in range(4)]  # on one shard
LISTS = [b"l%d" % i for i in range(6)]
SETS = [b"s%d" % i for i in range(4)]
UNORDERED = {b"KEYS"}  # the order of the elements is nobody's promise: compared as sets


def key(rng):
    return rng.choice(KEYS)


def value(rng):
    return rng.choice([b"%d" % rng.randrange(100), b"v" * rng.randrange(1, 60), b"x%d" % rng.randrange(10)])


def keys(rng, most):
    return [key(rng) for _ in range(rng.randrange(1, most + 1))]


def pairs(rng, most):
    return [x for k in keys(rng, most) for x in (k, value(rng))]


STREAMS = [b"x%d" % i for i in range(5)] + [b"{t}x%d" % i for i in range(2)]
GROUPS = [b"g", b"h"]


def stream(rng):
    return rng.choice(STREAMS)


def moment():
    """The first half of an id: it grows, so that whoever waits for what comes after a stream that was deleted need not wait long."""
    return b"%d" % (time.monotonic() * 20)


def xadd(rng):
    """The second half of the id, or an error, follows from the order."""
    return [b"XADD", stream(rng), b"MAXLEN", b"12", moment() + b"-*", b"f", value(rng)]


def xread(rng, block, most):
    names = [stream(rng) for _ in range(rng.randrange(1, most + 1))]
    limit = rng.choice([[], [], [b"COUNT", b"1"], [b"COUNT", b"3"]])
    if rng.random() < 0.5:
        return [b"XREAD", *limit, *block, b"STREAMS", *names] + [rng.choice([b"$", b"$", moment() + b"-3", moment()]) for _ in names]
    group = [b"GROUP", rng.choice(GROUPS), rng.choice([b"alice", b"bob"])]
    ids = [rng.choice([b">"] * 9 + [b"0"]) for _ in names]
    return [b"XREADGROUP", *group, *limit, *rng.choice([[], [], [b"NOACK"]]), *block, b"STREAMS", *names, *ids]


# What scripts do: how many keys they declare, and more words for them.
SCRIPTS = [
    (b"return redis.call('INCR', KEYS[1])", 1, 0),
    (b"local v = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[1], (v or '') .. ARGV[1]) return v", 1, 1),
    (b"local a, b = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) "
     b"redis.call('SET', KEYS[1], b or '-') redis.call('SET', KEYS[2], a or '-') return {a, b}", 2, 0),
    (b"return redis.call('MGET', unpack(KEYS))", 3, 0),
    (b"redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], ARGV[1]) return redis.call('RENAME', KEYS[1], KEYS[2])", 2, 1),
    (b"return redis.call('LMOVE', 'l0', 'l1', 'LEFT', 'RIGHT')", 0, 0),  # keys that are not declared
    (b"local v = redis.call('GET', ARGV[1]) if v then redis.call('SET', ARGV[2], v) end return v", 0, 2),
    (b"return {redis.call('GET', KEYS[1]), redis.call('EXISTS', ARGV[1]), redis.call('DBSIZE')}", 1, 1),
    # Sometimes: it starts again before it has written anything.
    (b"local v = redis.call('GET', KEYS[1]) if v and #v % 5 == 0 then redis.call('APPEND', ARGV[1], 'x') end "
     b"return redis.call('SET', KEYS[1], ARGV[2], 'GET')", 1, 2),
    (b"local r = redis.pcall('INCR', KEYS[1]) "
     b"if type(r) == 'table' then return redis.call('DEL', KEYS[1]) end return r", 1, 0),
]
READING = {3, 7}
REFUSED = b"-ERR The script needs keys that it does not declare, and commands that follow"  # and nothing has been done


def script(rng, names):
    """Some texts are known and have shown their habits, others are new."""
    number = rng.randrange(len(SCRIPTS))
    text, key_count, word_count = SCRIPTS[number]
    if rng.random() < 0.5:
        text = b"-- %d\n" % rng.randrange(50) + text
    name = b"EVAL_RO" if number in READING and rng.random() < 0.5 else b"EVAL"
    return [name, text, b"%d" % key_count] + [rng.choice(names) for _ in range(key_count + word_count)]


STREAM_COMMANDS = [
    (6, xadd),
    (5, lambda r: xread(r, [], 4)),
    (2, lambda r: [b"XGROUP", b"CREATE", stream(r), r.choice(GROUPS), r.choice([b"0", b"$"]), b"MKSTREAM"]),
    (0.3, lambda r: [b"XGROUP", b"DESTROY", stream(r), r.choice(GROUPS)]),
    (1, lambda r: [b"XACK", stream(r), r.choice(GROUPS)] + [moment() + b"-%d" % i for i in range(3)]),
    (1, lambda r: [b"XRANGE", stream(r), b"-", b"+", b"COUNT", b"3"]),
    (1, lambda r: [b"XPENDING", stream(r), r.choice(GROUPS)]),
]


COMMANDS = STREAM_COMMANDS + [
    (8, lambda r: script(r, KEYS)),
    (3, lambda r: script(r, TAGGED)),
    (20, lambda r: [b"SET", key(r), value(r)]),
    (20, lambda r: [b"GET", key(r)]),
    (10, lambda r: [b"INCR", key(r)]),
    (6, lambda r: [b"APPEND", key(r), value(r)]),
    (10, lambda r: [b"MSET"] + pairs(r, 8)),
    (12, lambda r: [b"MGET"] + keys(r, 10)),
    (6, lambda r: [b"DEL"] + keys(r, 4)),
    (3, lambda r: [b"UNLINK"] + keys(r, 3)),
    (5, lambda r: [b"EXISTS"] + keys(r, 6)),
    (2, lambda r: [b"TOUCH"] + keys(r, 4)),
    (8, lambda r: [b"MSETNX"] + pairs(r, 4)),
    (8, lambda r: [b"RENAME", key(r), key(r)]),
    (5, lambda r: [b"RENAMENX", key(r), key(r)]),
    (6, lambda r: [b"COPY", key(r), key(r)] + r.choice([[], [b"REPLACE"], [b"DB", b"1"], [b"DB", b"1", b"REPLACE"]])),
    (3, lambda r: [b"GETDEL", key(r)]),
    (3, lambda r: [b"GETSET", key(r), value(r)]),
    (3, lambda r: [b"SETRANGE", key(r), b"%d" % r.randrange(20), value(r)]),
    (3, lambda r: [b"SET", key(r), value(r), r.choice([b"NX", b"XX"]), b"GET"]),
    (2, lambda r: [b"MOVE", key(r), b"%d" % r.randrange(3)]),
    (2, lambda r: [b"DBSIZE"]),
    (2, lambda r: [b"KEYS", b"*"]),
    (2, lambda r: [b"SELECT", b"%d" % r.randrange(2)]),
    (1, lambda r: [b"PING"]),
    (1, lambda r: [b"SWAPDB", b"0", b"1"]),
    (0.3, lambda r: [b"FLUSHDB"]),
    (0.1, lambda r: [b"FLUSHALL"]),
    (4, lambda r: [b"RPUSH", r.choice(LISTS), value(r)]),
    (6, lambda r: [b"LMOVE", r.choice(LISTS), r.choice(LISTS + KEYS[:1]), r.choice([b"LEFT", b"RIGHT"]), r.choice([b"LEFT", b"RIGHT"])]),
    (3, lambda r: [b"RPOPLPUSH", r.choice(LISTS), r.choice(LISTS)]),
    (3, lambda r: [b"LRANGE", r.choice(LISTS), b"0", b"-1"]),
    (3, lambda r: [b"SADD", r.choice(SETS), b"m%d" % r.randrange(9)]),
    (4, lambda r: [b"SMOVE", r.choice(SETS), r.choice(SETS + KEYS[:1]), b"m%d" % r.randrange(9)]),
    (2, lambda r: [b"SCARD", r.choice(SETS)]),
    (1, lambda r: [b"RPUSH", r.choice(LISTS), b"%d" % r.randrange(24)]),
    (1, lambda r: [b"SORT", r.choice(LISTS), b"BY", b"nosort", b"GET", b"#", b"GET", b"k*"] + r.choice([[], [b"STORE", r.choice(LISTS)]])),
    (2, lambda r: [b"PEXPIRE", key(r), b"100000"]),
]
WEIGHTS = [w for w, _ in COMMANDS]


TAGGED_COMMANDS = [
    lambda r: script(r, TAGGED),
    lambda r: [b"SET", r.choice(TAGGED), value(r)],
    lambda r: [b"GET", r.choice(TAGGED)],
    lambda r: [b"MGET"] + r.sample(TAGGED, 2),
    lambda r: [b"RENAME", r.choice(TAGGED), r.choice(TAGGED)],
]
SPREAD_COMMANDS = [
    lambda r: [b"SET", key(r), value(r)],
    lambda r: [b"GET", key(r)],
    lambda r: [b"INCR", key(r)],
    lambda r: [b"MGET"] + keys(r, 5),
    lambda r: [b"MSET"] + pairs(r, 4),
    lambda r: [b"DEL"] + keys(r, 3),
    lambda r: [b"DBSIZE"],
]


def transaction(rng):
    """WATCH (perhaps), MULTI, commands of one shard, of many, or of any kind, EXEC. At None the client waits for its replies: others get a chance."""
    way = rng.choice(["tagged", "spread", "any"])
    watched = {"tagged": TAGGED, "spread": KEYS, "any": KEYS + LISTS}[way]
    out = []
    if rng.random() < 0.6:
        out.append([b"WATCH"] + [rng.choice(watched) for _ in range(rng.randrange(1, 4))])
        for _ in range(rng.choice([0, 0, 1, 3])):
            out.append([b"GET", rng.choice(watched[:5])])
        if rng.random() < 0.1:
            out.append([b"UNWATCH"])
        if rng.random() < 0.7:
            out.append(None)
    out.append([b"MULTI"])
    for _ in range(rng.choice([0, 1, 2, 3, 8])):
        if way == "tagged":
            out.append(rng.choice(TAGGED_COMMANDS)(rng))
        elif way == "spread":
            out.append(rng.choice(SPREAD_COMMANDS)(rng))
        else:
            out.append(rng.choices(COMMANDS, WEIGHTS)[0][1](rng))
    out.append([b"DISCARD"] if rng.random() < 0.05 else [b"EXEC"])
    return out


QUEUES = [b"l%d" % i for i in range(8)] + [b"{t}l%d" % i for i in range(3)]
ZSETS = [b"z%d" % i for i in range(5)] + [b"{t}z%d" % i for i in range(2)]
BLOCK = [b"BLOCK", b"0"]
BLOCKING = {b"BLPOP", b"BRPOP", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP", b"BLMOVE", b"BRPOPLPUSH"}


def some(rng, of, most):
    return [rng.choice(of) for _ in range(rng.randrange(1, most + 1))]


def lst(rng):
    return rng.choice(QUEUES)


def end(rng):
    return rng.choice([b"LEFT", b"RIGHT"])


def scores(rng):
    return [x for _ in range(rng.randrange(1, 4)) for x in (b"%d" % rng.randrange(9), value(rng))]


def may_wait(command):
    return command[0] in BLOCKING or (command[0] in (b"XREAD", b"XREADGROUP") and b"BLOCK" in command)


def push_by_script(rng):
    """One push, to a key that is declared or not; and a look at others, which makes it wait for them."""
    line = rng.choice([[b"RPUSH", lst(rng), value(rng)], [b"ZADD", rng.choice(ZSETS)] + scores(rng), xadd(rng)])
    text = b"redis.call('EXISTS', KEYS[1], KEYS[2]) return redis.call(unpack(ARGV))"
    if rng.random() < 0.5:
        text = b"-- %d\n" % rng.randrange(50) + text
    return [b"EVAL", text, b"2", rng.choice([line[1], lst(rng)]), lst(rng), *line]


MOVING = [b"{m}%d" % i for i in range(4)]


FILLING = STREAM_COMMANDS + [
    (5, xadd),
    (3, lambda r: push_by_script(r)),
    (1, lambda r: [b"RENAME", stream(r), stream(r)]),
    (1, lambda r: [b"COPY", stream(r), stream(r)] + r.choice([[], [b"REPLACE"], [b"DB", b"1", b"REPLACE"]])),
    (1, lambda r: [b"MOVE", stream(r), b"%d" % r.randrange(2)]),
    (0.5, lambda r: [b"DEL", stream(r)]),
    (14, lambda r: [r.choice([b"RPUSH", b"LPUSH"]), lst(r)] + [value(r) for _ in range(r.randrange(1, 4))]),
    (8, lambda r: [b"ZADD", r.choice(ZSETS)] + scores(r)),
    (3, lambda r: [b"LMOVE", lst(r), lst(r), end(r), end(r)]),
    (3, lambda r: [b"RENAME", lst(r), lst(r)]),
    (2, lambda r: [b"RENAME", r.choice(ZSETS), r.choice(ZSETS)]),
    (3, lambda r: [b"COPY", lst(r), lst(r)] + r.choice([[], [b"REPLACE"], [b"DB", b"1", b"REPLACE"]])),
    (2, lambda r: [b"ZUNIONSTORE", r.choice(ZSETS), b"2", r.choice(ZSETS), r.choice(ZSETS)]),
    (2, lambda r: [b"MOVE", r.choice(QUEUES + ZSETS), b"%d" % r.randrange(2)]),
    (2, lambda r: [b"DEL"] + some(r, QUEUES + ZSETS, 3)),
    (3, lambda r: [b"LPOP", lst(r)]),
    (4, lambda r: [b"RPUSH", r.choice(MOVING), value(r)]),
    (1, lambda r: [b"LRANGE", r.choice(MOVING), b"0", b"-1"]),
    (4, lambda r: [b"LRANGE", lst(r), b"0", b"-1"]),
    (2, lambda r: [b"ZRANGE", r.choice(ZSETS), b"0", b"-1"]),
    (2, lambda r: [b"EXISTS"] + some(r, QUEUES + ZSETS, 6)),
    (1, lambda r: [b"SELECT", b"%d" % r.randrange(2)]),
    (0.2, lambda r: [b"FLUSHDB"]),
]


def filling_transaction(rng):
    """On one shard anything; over several one push at most, because which of several was first is not told."""
    tagged = [k for k in QUEUES + ZSETS if k.startswith(b"{t}")]
    out = [[b"MULTI"]]
    if rng.random() < 0.5:
        for _ in range(rng.randrange(1, 5)):
            k = rng.choice(tagged)
            push = [b"ZADD", k] + scores(rng) if b"z" in k else [b"RPUSH", k, value(rng)]
            add = [b"XADD", rng.choice(STREAMS[-2:]), moment() + b"-*", b"f", value(rng)]
            out.append(rng.choice([push, push, add, [b"DEL", k], [b"EXISTS", k]]))
    else:
        out += [[b"EXISTS"] + some(rng, QUEUES, 4), [b"LPOP", lst(rng)], [b"RPUSH", lst(rng), value(rng)], [b"DEL"] + some(rng, ZSETS, 2)]
    return out + [[b"EXEC"]]


def counted(name, rng, of, ends):
    names = some(rng, of, 4)
    return [name, b"0", b"%d" % len(names), *names, rng.choice(ends)] + rng.choice([[], [b"COUNT", b"2"]])


WAITING = FILLING + [
    (20, lambda r: [r.choice([b"BLPOP", b"BRPOP"])] + some(r, QUEUES, 4) + [b"0"]),
    (8, lambda r: [r.choice([b"BZPOPMIN", b"BZPOPMAX"])] + some(r, ZSETS, 3) + [b"0"]),
    (4, lambda r: counted(b"BLMPOP", r, QUEUES, [b"LEFT", b"RIGHT"])),
    (3, lambda r: counted(b"BZMPOP", r, ZSETS, [b"MIN", b"MAX"])),
    # A move that has to wait for a lock gets a place of its own, which the record does not tell. Nobody locks these.
    (4, lambda r: [b"BLMOVE", r.choice(MOVING), r.choice(MOVING), end(r), end(r), b"0"]),
    (1, lambda r: [b"BRPOPLPUSH", r.choice(MOVING), r.choice(MOVING), b"0"]),
    (3, lambda r: [b"BLPOP"] + some(r, MOVING, 3) + [b"0"]),
    (20, lambda r: xread(r, BLOCK, 3)),
]


def mix_of(rows):
    return [row for _, row in rows], [weight for weight, _ in rows]


class Client:
    """One connection with its own stream of commands and the replies that it got."""

    def __init__(self, connected, seed, count, rows, block):
        self.rng = random.Random(seed)
        self.rows, self.weights = mix_of(rows)
        self.block = block      # makes a transaction
        self.ends_last = False  # it goes on until the others are through
        self.socket = connected
        self.sent = [[b"HELLO", b"2"]]
        self.left = count
        self.later = []  # the rest of a transaction that waits for its replies
        self.replies = []
        self.buffer = b""
        self.out = resp.encode(self.sent[0])
        self.socket.setblocking(False)
        self.id = None

    def more(self):
        """Another pipeline, while not too much is unanswered."""
        if self.ends_last:
            self.left = 1000
        if self.out or self.left == 0 or len(self.sent) - len(self.replies) > 200:
            return
        if self.later and len(self.sent) > len(self.replies):
            return
        batch, self.later = self.later, []
        wanted = len(batch) + min(self.left, self.rng.choice([1, 2, 4, 16, 64]))
        while len(batch) < wanted:
            if self.rng.random() < options.transactions:
                batch += self.block(self.rng)
            else:
                batch.append(self.rng.choices(self.rows, self.weights)[0](self.rng))
            if None in batch:
                at = batch.index(None)
                self.later = batch[at + 1:]
                batch = batch[:at]
                break
        self.left = max(self.left - len(batch), 0)
        if self.left == 0:  # whole transactions to the end
            batch, self.later = batch + self.later, []
        self.sent += batch
        self.out = b"".join(resp.encode(c) for c in batch)

    def write(self):
        try:
            n = self.socket.send(self.out[:self.rng.choice([7, 300, 65536])])
            self.out = self.out[n:]
        except BlockingIOError:
            pass

    def read(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise SystemExit("oracle: the server closed a connection")
        data = self.buffer + data
        at = 0
        try:
            while at < len(data):
                behind = resp.skip(data, at)
                self.replies.append(data[at:behind])
                at = behind
        except resp.Truncated:
            pass
        self.buffer = data[at:]

    def done(self):
        return self.left == 0 and not self.out and len(self.replies) == len(self.sent)


def drive(clients):
    selector = selectors.DefaultSelector()
    for c in clients:
        selector.register(c.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, c)
    waiting = set(clients)
    while waiting:
        ready = selector.select(30)
        if not ready:
            raise SystemExit("oracle: no progress for 30 s")
        for entry, mask in ready:
            c = entry.data
            if mask & selectors.EVENT_READ:
                c.read()
            c.more()
            if c.out:
                c.write()
            selector.modify(c.socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if c.out or c.left else 0), c)
            if c.done():
                waiting.discard(c)
        if all(c.ends_last for c in waiting):
            for c in waiting:
                c.ends_last, c.left = False, 0
    for c in clients:
        c.id = int(resp.children(c.replies[0])[7][1:-2])


def read_order(path, clients):
    """Commands in their order, and how many scripts have started again."""
    by_id = {c.id: c for c in clients}
    with open(path, "rb") as f:
        data = f.read()
    records = []
    for order, client, request, turn, index, thread in RECORD.iter_unpack(data):
        records.append((order, thread, turn, index, client, request))
    last = {r[4:]: r for r in sorted(records)}
    return [(by_id[r[4]], r[5]) for r in sorted(last.values()) if r[4] in by_id], len(records) - len(last)


def is_local(command):
    return command[0] in {b"HELLO", b"PING", b"SELECT", b"MULTI", b"DISCARD", b"UNWATCH"}


class Block:
    """A transaction: its commands, their replies within that of EXEC, and where it begins."""

    def __init__(self, first, commands):
        self.first, self.commands = first, commands


def transactions(client):
    """By the number of its EXEC or DISCARD; and the numbers of all queued commands."""
    blocks, queued, start = {}, set(), None
    for number, command in enumerate(client.sent):
        if command[0] == b"MULTI":
            start = number
        elif command[0] in (b"EXEC", b"DISCARD") and start is not None:
            blocks[number] = Block(start, client.sent[start + 1:number])
            queued.update(range(start, number))
            start = None
    return blocks, queued


def databases(client, blocks, queued):
    """The database of each of a client's commands."""
    db, out = 0, []
    for number, (command, reply) in enumerate(zip(client.sent, client.replies)):
        out.append(db)
        if number in queued:
            continue
        if command[0] == b"SELECT" and reply == b"+OK\r\n":
            db = int(command[1])
        if command[0] == b"EXEC" and reply[:1] == b"*" and reply != b"*-1\r\n":
            for inner, inner_reply in zip(blocks[number].commands, resp.children(reply)):
                if inner[0] == b"SELECT" and inner_reply == b"+OK\r\n":
                    db = int(inner[1])
    return out


class Reference:
    """A connection to the reference server, with the database that it is in."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = b""
        self.db = 0
        self.pending = None  # (position, client, number) of a command that may wait, or may have been served since
        self.id = int(self.ask([[b"CLIENT", b"ID"]])[0][1:])

    def ask(self, commands, count=None):
        self.socket.sendall(b"".join(resp.encode(c) for c in commands))
        replies = []
        while len(replies) < (count or len(commands)):
            try:
                behind = resp.skip(self.buffer, 0)
                replies.append(self.buffer[:behind])
                self.buffer = self.buffer[behind:]
            except resp.Truncated:
                self.buffer += self.socket.recv(1 << 18)
        return replies


class Replay:
    def __init__(self, port, clients):
        self.port, self.clients = port, clients
        self.shared = Reference(port)
        self.own = {}
        self.position = 0
        self.batch = []  # (position, client, number, database) for the shared connection
        self.differences = []
        self.blocks, self.dbs, self.done = {}, {}, {c: 0 for c in clients}
        for c in clients:
            self.blocks[c], queued = transactions(c)
            self.dbs[c] = databases(c, self.blocks[c], queued)

    def compare(self, position, client, number, command, got, want):
        is_ended = command[0] == b"XREADGROUP" and want.startswith((b"-UNBLOCKED the stream", b"-NOGROUP the consumer"))
        if is_ended and got.startswith((b"-NOGROUP", b"-WRONGTYPE")):
            return  # the texts are those of 7.2: docs/COMPATIBILITY.md
        if command[0] in UNORDERED:
            got, want = sorted(resp.children(got)), sorted(resp.children(want))
        if got != want:
            self.differences.append((position, client.id, number, command, got, want))

    def compare_block(self, position, client, number, got, want):
        block = self.blocks[client][number]
        parts, wanted = [resp.children(r) if r[:1] == b"*" and r != b"*-1\r\n" else None for r in (got, want)]
        if parts is None or wanted is None or len(parts) != len(wanted):
            self.compare(position, client, number, [b"EXEC"] + block.commands, got, want)
            return
        for command, a, b in zip(block.commands, parts, wanted):
            self.compare(position, client, number, command, a, b)

    def settle(self, reference):
        """The reply to its last command that may have waited: it is due."""
        if reference.pending is None:
            return
        (position, client, number), reference.pending = reference.pending, None
        if not reference.buffer and not select.select([reference.socket], [], [], 10)[0]:
            self.differences.append((position, client.id, number, client.sent[number], client.replies[number], b"(waits)"))
            raise StopIteration
        self.compare(position, client, number, client.sent[number], client.replies[number], reference.ask([], 1)[0])

    def wait(self, client, number):
        """Returns when the reference has run it, or waits with it."""
        self.flush()
        reference = self.reference_of(client)
        db = self.dbs[client][number]
        if db != reference.db:
            reference.ask([[b"SELECT", b"%d" % db]])
            reference.db = db
        reference.pending = self.position, client, number
        reference.socket.sendall(resp.encode(client.sent[number]))
        while not select.select([reference.socket], [], [], 0)[0]:
            if b" flags=b " in self.shared.ask([[b"CLIENT", b"LIST", b"ID", b"%d" % reference.id]])[0]:
                return

    def reference_of(self, client):
        if client not in self.own:
            self.own[client] = Reference(self.port)
        self.settle(self.own[client])
        return self.own[client]

    def flush(self):
        commands, who = [], []
        for position, client, number, db in self.batch:
            if db != self.shared.db:
                commands.append([b"SELECT", b"%d" % db])
                who.append(None)
                self.shared.db = db
            commands.append(client.sent[number])
            who.append((position, client, number))
        for of, want in zip(who, self.shared.ask(commands)):
            if of:
                position, client, number = of
                self.compare(position, client, number, client.sent[number], client.replies[number], want)
        self.batch = []

    def alone(self, client, number):
        """WATCH and EXEC, on the client's own connection, after what ended its watches before."""
        self.flush()
        reference, commands = self.reference_of(client), []
        command = client.sent[number]
        start = self.blocks[client][number].first if command[0] == b"EXEC" else number
        if any(client.sent[i][0] in (b"UNWATCH", b"DISCARD") for i in range(self.done[client], start)):
            commands.append([b"UNWATCH"])
        self.done[client] = number + 1
        db = self.dbs[client][start]
        if db != reference.db:
            commands.append([b"SELECT", b"%d" % db])
            reference.db = db
        if command[0] == b"EXEC":
            commands += [[b"MULTI"]] + self.blocks[client][number].commands
        want = reference.ask(commands + [command])[-1]
        if command[0] != b"EXEC":
            self.compare(self.position, client, number, command, client.replies[number], want)
            return
        reference.db = None  # a SELECT in the block may have changed it
        self.compare_block(self.position, client, number, client.replies[number], want)

    def run(self, order):
        for client, number in order:
            if client.replies[number].startswith(REFUSED):
                continue
            if client.sent[number][0] in (b"WATCH", b"EXEC"):
                self.alone(client, number)
            elif may_wait(client.sent[number]):
                self.wait(client, number)
            else:
                self.batch.append((self.position, client, number, self.dbs[client][number]))
            self.position += 1
            if len(self.batch) == 500:
                self.flush()
        self.flush()
        for reference in self.own.values():
            self.settle(reference)


def replay(port, order, clients):
    """Returns the differences, in order."""
    r = Replay(port, clients)
    try:
        r.run(order)
    except StopIteration:
        pass
    return sorted(r.differences, key=lambda d: d[0])


def check_complete(order, clients):
    """Every command that a shard ran is in the record (the last place of a script that started again), each client's in its order. A
    transaction that needs no shard may be left out; so may a WATCH of what is watched already."""
    seen = {c: [] for c in clients}
    for client, number in order:
        seen[client].append(number)
    for c in clients:
        blocks, queued = transactions(c)
        may_miss = {i for i, block in blocks.items() if all(is_local(x) for x in block.commands)}
        may_miss |= {i for i, command in enumerate(c.sent) if command[0] == b"WATCH"}
        wanted = [i for i, command in enumerate(c.sent) if i not in queued and not is_local(command)]
        present = set(seen[c])
        if seen[c] != [i for i in wanted if i in present or i not in may_miss]:
            raise SystemExit(f"oracle: the record of client {c.id} is not its commands in their order")


def clients_of(server, mix, seed):
    count = options.commands // options.clients
    if mix == "plain":
        return [Client(server.connect(), f"{seed}/{i}", count, COMMANDS, transaction) for i in range(options.clients)]
    clients = [Client(server.connect(), f"{seed}/{i}", count // WAITING_SHARE, WAITING, filling_transaction) for i in range(options.clients)]
    for i in range(2):
        clients.append(Client(server.connect(), f"{seed}/fill{i}", 1, FILLING, filling_transaction))
        clients[-1].ends_last = True
    return clients


def show_history(order, differences):
    """What was said around the first difference about its keys."""
    at, _, _, command, _, _ = differences[0]
    words = set(command[1:]) - {b"0", b"1", b"2"}
    blocks, dbs = {}, {}
    for i, (client, number) in enumerate(order):
        if client not in blocks:
            blocks[client], queued = transactions(client)
            dbs[client] = databases(client, blocks[client], queued)
        sent = client.sent[number]
        if sent[0] == b"EXEC":
            sent = sent + blocks[client][number].commands
        said = {w for part in sent for w in (part if isinstance(part, list) else [part])}
        if abs(at - i) < options.history and words & said:
            print(f"    {i}: client {client.id}.{number} in {dbs[client][number]}: {sent} -> {client.replies[number]}")


def run(arguments, mix, seed):
    with tempfile.TemporaryDirectory(prefix="shoal-oracle-") as folder:
        record = os.path.join(folder, "order")
        server = servers.shoal_server("--record-order", record, *arguments.split(), directory=folder)
        try:
            clients = clients_of(server, mix, seed)
            drive(clients)
        except (OSError, SystemExit):
            print(f"oracle [{arguments}] {mix} seed {seed}: the server said:\n{server.output()}")
            raise
        finally:
            server.stop(signal.SIGTERM)
        order, restarts = read_order(record, clients)
    check_complete(order, clients)
    redis = servers.redis_server()
    try:
        differences = replay(redis.port, order, clients)
    finally:
        redis.stop(signal.SIGTERM)
    blocks = sum(c.sent[n][0] == b"EXEC" for c, n in order)
    refused = sum(reply == b"*-1\r\n" for c in clients for command, reply in zip(c.sent, c.replies) if command[0] == b"EXEC")
    scripts = sum(c.sent[n][0].startswith(b"EVAL") for c, n in order)
    print(f"oracle [{arguments}] {mix} seed {seed}: {len(order)} commands of {len(clients)} clients replayed, {blocks} transactions "
          f"({refused} refused by a watch) and {scripts} scripts ({restarts} started again) among them, {len(differences)} differences")
    if differences and options.history:
        show_history(order, differences)
    for d in differences[:5]:
        print("  at %d: client %d, command %d: %r\n    shoal %r\n    redis %r" % d)
    return not differences


def main():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", type=int, default=50000, help="per configuration")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--transactions", type=float, default=0.1, help="share of the steps of a client that are whole transactions")
    parser.add_argument("--seed", default=os.environ.get("SHOAL_SEED") or str(random.randrange(1 << 32)))
    parser.add_argument("--configurations", default="--threads 1;--threads 2;--net-threads 2 --shard-threads 2;--threads 7;--net-threads 3 --shard-threads 7")
    parser.add_argument("--mixes", default="plain,waiting")
    parser.add_argument("--history", type=int, default=0, help="commands to show around the first difference")
    options = parser.parse_args()
    results = [run(c, mix, options.seed) for c in options.configurations.split(";") for mix in options.mixes.split(",")]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
