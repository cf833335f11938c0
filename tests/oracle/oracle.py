#!/usr/bin/python3
"""The serial-order oracle.

Eight concurrent clients send random pipelines to a Shoal that records its turn order (--record-order). Afterwards all commands are
replayed, in that order and one at a time, on a single-threaded redis-server, and every reply is compared. Equal replies mean that the
run was equivalent to one serial execution, in an order that every client's own order agrees with.

The record holds (order, client id, number of the client's command); the clients know what they sent and got.
"""

import argparse
import os
import random
import selectors
import signal
import socket
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import resp  # noqa: E402
import servers  # noqa: E402

RECORD = struct.Struct("<QQQIHH")
KEYS = [b"k%d" % i for i in range(24)] + [b"{t}%d" % i for i in range(4)]
UNORDERED = {b"KEYS"}  # the order of the elements is nobody's promise: compared as sets


def key(rng):
    return rng.choice(KEYS)


def value(rng):
    return rng.choice([b"%d" % rng.randrange(100), b"v" * rng.randrange(1, 60), b"x%d" % rng.randrange(10)])


def keys(rng, most):
    return [key(rng) for _ in range(rng.randrange(1, most + 1))]


def pairs(rng, most):
    return [x for k in keys(rng, most) for x in (k, value(rng))]


COMMANDS = [
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
]
WEIGHTS = [w for w, _ in COMMANDS]


class Client:
    """One connection with its own stream of commands and the replies that it got."""

    def __init__(self, connected, seed, count):
        self.rng = random.Random(seed)
        self.socket = connected
        self.sent = [[b"HELLO", b"2"]]
        self.left = count
        self.replies = []
        self.buffer = b""
        self.out = resp.encode(self.sent[0])
        self.socket.setblocking(False)
        self.id = None

    def more(self):
        """Another pipeline, while not too much is unanswered."""
        if self.out or self.left == 0 or len(self.sent) - len(self.replies) > 200:
            return
        batch = []
        for _ in range(min(self.left, self.rng.choice([1, 2, 4, 16, 64]))):
            batch.append(self.rng.choices(COMMANDS, WEIGHTS)[0][1](self.rng))
        self.left -= len(batch)
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
    for c in clients:
        c.id = int(resp.children(c.replies[0])[7][1:-2])


def read_order(path, clients):
    by_id = {c.id: c for c in clients}
    with open(path, "rb") as f:
        data = f.read()
    records = []
    for order, client, request, turn, index, thread in RECORD.iter_unpack(data):
        records.append((order, thread, turn, index, client, request))
    records.sort()
    return [(by_id[r[4]], r[5]) for r in records if r[4] in by_id]


def databases(client):
    """The database of each of a client's commands."""
    db, out = 0, []
    for command, reply in zip(client.sent, client.replies):
        out.append(db)
        if command[0] == b"SELECT" and reply == b"+OK\r\n":
            db = int(command[1])
    return out


def replay(port, order, clients):
    """Returns the differences, in order."""
    dbs = {c: databases(c) for c in clients}
    s = socket.create_connection(("127.0.0.1", port))
    differences, current_db, at = [], 0, 0
    buffer = b""
    while at < len(order):
        batch, out = [], []
        for client, number in order[at:at + 500]:
            db = dbs[client][number]
            if db != current_db:
                batch.append(None)
                out.append(resp.encode([b"SELECT", b"%d" % db]))
                current_db = db
            batch.append((client, number))
            out.append(resp.encode(client.sent[number]))
        s.sendall(b"".join(out))
        expected = []
        while len(expected) < len(batch):
            try:
                behind = resp.skip(buffer, 0)
                expected.append(buffer[:behind])
                buffer = buffer[behind:]
            except resp.Truncated:
                buffer += s.recv(1 << 18)
        for position, (who, want) in enumerate(zip(batch, expected)):
            if who is None:
                continue
            client, number = who
            command, got = client.sent[number], client.replies[number]
            if command[0] in UNORDERED:
                got, want = sorted(resp.children(got)), sorted(resp.children(want))
            if got != want:
                differences.append((at + position, client.id, number, command, got, want))
        at += 500
    return differences


def check_complete(order, clients):
    """Every command that a shard ran is in the record, each client's in its order."""
    local = {b"HELLO", b"PING", b"SELECT"}
    seen = {c: [] for c in clients}
    for client, number in order:
        seen[client].append(number)
    for c in clients:
        wanted = [i for i, command in enumerate(c.sent) if command[0] not in local]
        if seen[c] != wanted:
            raise SystemExit(f"oracle: the record of client {c.id} is not its commands in their order")


def run(arguments, seed):
    with tempfile.TemporaryDirectory(prefix="shoal-oracle-") as folder:
        record = os.path.join(folder, "order")
        server = servers.shoal_server("--record-order", record, *arguments.split(), directory=folder)
        try:
            count = options.commands // options.clients
            clients = [Client(server.connect(), f"{seed}/{i}", count) for i in range(options.clients)]
            drive(clients)
        except (OSError, SystemExit):
            print(f"oracle [{arguments}] seed {seed}: the server said:\n{server.output()}")
            raise
        finally:
            server.stop(signal.SIGTERM)
        order = read_order(record, clients)
    check_complete(order, clients)
    redis = servers.redis_server()
    try:
        differences = replay(redis.port, order, clients)
    finally:
        redis.stop(signal.SIGTERM)
    print(f"oracle [{arguments}] seed {seed}: {len(order)} commands of {len(clients)} clients replayed, {len(differences)} differences")
    for d in differences[:5]:
        print("  at %d: client %d, command %d: %r\n    shoal %r\n    redis %r" % d)
    return not differences


def main():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--commands", type=int, default=50000, help="per configuration")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", default=os.environ.get("SHOAL_SEED") or str(random.randrange(1 << 32)))
    parser.add_argument("--configurations", default="--threads 1;--threads 2;--net-threads 2 --shard-threads 2;--threads 7;--net-threads 3 --shard-threads 7")
    options = parser.parse_args()
    results = [run(c, options.seed) for c in options.configurations.split(";")]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
