"""clients.py: clients whose commands leave something behind that can be checked after a crash, and the check.

    accounts          transfers by MULTI/EXEC, with WATCH, by script: the sum stays
    counters, logs    one client each: what was acknowledged is there, and nothing that was not sent
    pairs             MSET and DEL of two keys: both or none
    tokens            LMOVE, SMOVE, RENAME, SPOP and SADD in a script: each is in one place
    twins             EXEC appends the same to two lists: they are equal
    events            EXEC adds to a stream, which takes an id from the clock, and counts it elsewhere: as many as counted
"""

import random
import socket
import threading

from support import resp

ACCOUNTS = 16
MONEY = 1000
PAIRS = 8
PLACES = 6
TOKENS = 40
BATONS = 4

SCRIPT = b"redis.call('DECRBY', KEYS[1], ARGV[1]); redis.call('INCRBY', KEYS[2], ARGV[1]); return 1"
BAG = b"local m = redis.call('SPOP', KEYS[1]); if m then redis.call('SADD', KEYS[2], m) end; return m"


def b(*argv):
    return resp.encode([a if isinstance(a, bytes) else str(a).encode() for a in argv])


class Gone(Exception):
    """The server has ended."""


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.TCP_NODELAY, 1)
        self.pending = b""

    def reply(self):
        try:
            raw, self.pending = resp.read_reply(self.socket, self.pending)
        except (OSError, resp.Truncated, EOFError) as e:
            raise Gone from e
        if not raw:
            raise Gone
        return raw

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as e:
            raise Gone from e

    def close(self):
        self.socket.close()


class Client(threading.Thread):
    """Sends short pipelines until the server is gone. `fault` says what was wrong before that."""

    def __init__(self, number, seed, port, reads):
        super().__init__(daemon=True)
        self.number, self.rng, self.port, self.reads = number, random.Random(seed), port, reads
        self.sent = self.acked = 0  # increments, and entries of the log
        self.twin = 0
        self.commands = 0
        self.fault = None

    def begin(self, value, twin):
        self.sent = self.acked = value
        self.twin = twin

    def run(self):
        try:
            c = Connection(self.port)
        except OSError:
            return
        try:
            while not self.fault:
                self.batch(c)
        except Gone:
            pass
        finally:
            c.close()

    def batch(self, c):
        steps = [self.step() for _ in range(self.rng.choice([1, 1, 4, 16]))]
        c.send(b"".join(data for data, _, _ in steps))
        for _, replies, check in steps:
            got = [c.reply() for _ in range(replies)]
            self.commands += replies
            for raw in got:
                if raw.startswith(b"-") and not raw.startswith((b"-ERR no such key", b"-ERR The script has written already")):
                    self.fault = f"client {self.number}: {raw[:200]!r}"
            if check:
                check(got)

    def two(self, count):
        return self.rng.sample(range(count), 2)

    def step(self):
        """Bytes, how many replies they get, and what to do with them."""
        rng, me = self.rng, self.number
        kind = rng.randrange(15)
        if kind < 2:
            self.sent += 1
            n = self.sent
            return b("INCR", f"count:{me}") + b("RPUSH", f"log:{me}", n), 2, lambda got: self.counted(n, got)
        if kind == 2 and self.reads:
            return b("MGET", *(f"count:{i}" for i in range(4))), 1, self.reads
        if kind < 5:
            x, y = self.two(ACCOUNTS)
            money = rng.randrange(1, 9)
            self.twin += 1
            data = b("MULTI") + b("DECRBY", f"account:{x}", money) + b("RPUSH", f"twin:a:{me}", self.twin)
            return data + b("INCRBY", f"account:{y}", money) + b("RPUSH", f"twin:b:{me}", self.twin) + b("EXEC"), 6, None
        if kind == 5:
            x, y = self.two(ACCOUNTS)
            data = b("WATCH", f"account:{x}", f"account:{y}") + b("MULTI")
            return data + b("DECRBY", f"account:{x}", 1) + b("INCRBY", f"account:{y}", 1) + b("EXEC"), 5, None
        if kind == 6:
            x, y = self.two(ACCOUNTS)
            return b("EVAL", SCRIPT, 2, f"account:{x}", f"account:{y}", rng.randrange(1, 9)), 1, None
        if kind == 7:
            k, v = rng.randrange(PAIRS), rng.randrange(1 << 30)
            return b("MSET", f"pair:a:{k}", v, f"pair:b:{k}", v), 1, None
        if kind == 8:
            k = rng.randrange(PAIRS)
            return b("DEL", f"pair:a:{k}", f"pair:b:{k}"), 1, None
        x, y = self.two(PLACES)
        if kind >= 13:
            watch = b("WATCH", f"events:{x}", f"counted:{y}") if kind == 14 else b("PING")
            return watch + b("MULTI") + b("XADD", f"events:{x}", "*", "f", me) + b("INCR", f"counted:{y}") + b("EXEC"), 5, None
        if kind == 9:
            return b("LMOVE", f"list:{x}", f"list:{y}", rng.choice(["LEFT", "RIGHT"]), "RIGHT"), 1, None
        if kind == 10:
            return b("SMOVE", f"set:{x}", f"set:{y}", rng.randrange(TOKENS)), 1, None
        if kind == 11:
            return b("EVAL", BAG, 2, f"bag:{x}", f"bag:{y}"), 1, None
        baton = rng.randrange(BATONS)
        return b("RENAMENX", f"baton:{baton}:{x}", f"baton:{baton}:{y}"), 1, None

    def counted(self, n, got):
        if got[0] != b":%d\r\n" % n or got[1] != b":%d\r\n" % n:
            self.fault = f"client {self.number}: increment {n} was answered with {got!r}"
        self.acked = n


def prepare(c):
    """What is there before the first client."""
    with c.pipeline(transaction=True) as p:
        for i in range(ACCOUNTS):
            p.set(f"account:{i}", MONEY)
        p.rpush("list:0", *range(TOKENS))
        p.sadd("set:0", *range(TOKENS))
        p.sadd("bag:0", *range(TOKENS))
        for i in range(BATONS):
            p.set(f"baton:{i}:0", i)
        p.execute()


def even_out(c, number):
    """The crash may have come between an increment and its entry in the log, neither of them acknowledged: both go on from the same."""
    count, length = int(c.get(f"count:{number}") or 0), c.llen(f"log:{number}")
    if length < count:
        c.rpush(f"log:{number}", *range(length + 1, count + 1))
    elif count < length:
        c.set(f"count:{number}", length)
    return max(count, length)


def check(c, clients, seen):
    """What is wrong with the data after a restart; a list of lines."""
    faults = []
    money = sum(int(v) for v in c.mget(*(f"account:{i}" for i in range(ACCOUNTS))))
    if money != ACCOUNTS * MONEY:
        faults.append(f"the accounts hold {money}")
    for k in range(PAIRS):
        first, second = c.mget(f"pair:a:{k}", f"pair:b:{k}")
        if first != second:
            faults.append(f"pair {k} is {first} and {second}")
    for name, read in (("list", lambda k: c.lrange(k, 0, -1)), ("set", c.smembers), ("bag", c.smembers)):
        tokens = sorted(int(t) for i in range(PLACES) for t in read(f"{name}:{i}"))
        if tokens != list(range(TOKENS)):
            faults.append(f"the tokens of {name} are {tokens}")
    for i in range(BATONS):
        there = [v for v in c.mget(*(f"baton:{i}:{place}" for place in range(PLACES))) if v is not None]
        if there != [b"%d" % i]:
            faults.append(f"baton {i} is there as {there}")
    events = sum(c.xlen(f"events:{i}") for i in range(PLACES))
    counted = sum(int(v or 0) for v in c.mget(*(f"counted:{i}" for i in range(PLACES))))
    if events != counted:
        faults.append(f"there are {events} events, and {counted} were counted")
    for client in clients:
        faults += check_client(c, client, seen)
    return faults


def check_client(c, client, seen):
    me = client.number
    count, log = int(c.get(f"count:{me}") or 0), [int(v) for v in c.lrange(f"log:{me}", 0, -1)]
    faults = []
    for what, n in (("count", count), ("log", len(log))):
        if not client.acked <= n <= client.sent:
            faults.append(f"client {me}: {client.acked} acknowledged, {client.sent} sent, and the {what} is at {n}")
    if count < seen[me]:
        faults.append(f"client {me}: {seen[me]} was read, and the count is {count}")
    if log != list(range(1, len(log) + 1)):
        faults.append(f"client {me}: its log has gaps")
    if c.lrange(f"twin:a:{me}", 0, -1) != c.lrange(f"twin:b:{me}", 0, -1):
        faults.append(f"client {me}: its twins differ")
    return faults
