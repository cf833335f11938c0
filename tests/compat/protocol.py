"""protocol.py: plays the cases of gen_protocol.py, many at a time, on fresh connections."""

import random
import re
import select
import time

import gen_protocol

AT_A_TIME = 40
QUIET_SECONDS = 0.12   # a reference that says nothing for so long waits for more
PATIENCE_SECONDS = 3.0  # how long ours may take to say the same
# The rule "hello": server, version and id in its replies are the server's identity.
HELLO_OWN = re.compile(rb"(\$6\r\nserver\r\n)\$\d+\r\n[^\r]*(\r\n\$7\r\nversion\r\n)\$\d+\r\n[^\r]*(\r\n\$5\r\nproto\r\n:\d\r\n\$2\r\nid\r\n):\d+")
# The rule "slow-entries": id, time and duration of an entry of the slow log, and the client's address.
SLOW_OWN = re.compile(rb"(\*6\r\n):\d+\r\n:\d{10}\r\n:\d+\r\n(\*\d+\r\n)")
ADDRESS_OWN = re.compile(rb"\$\d+\r\n127\.0\.0\.1:\d+\r\n")


class Talk:
    """One connection of one case: what came back, and whether it was closed."""

    def __init__(self, server):
        self.socket = server.connect(5)
        self.socket.setblocking(False)
        self.received = b""
        self.closed = False
        self.is_refusing = False  # the peer takes no more; what it said before may still be on its way

    def fileno(self):
        return self.socket.fileno()

    def send(self, data):
        while data and not self.closed and not self.is_refusing:
            try:
                data = data[self.socket.send(data):]
            except BlockingIOError:
                select.select([], [self.socket], [], 1)
            except OSError:
                self.is_refusing = True

    def take(self):
        try:
            more = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        self.received += more
        self.closed = self.closed or not more

    def outcome(self):
        told = HELLO_OWN.sub(rb"\1own\2own\3own", self.received)
        return ADDRESS_OWN.sub(b"own", SLOW_OWN.sub(rb"\1own\2", told)), self.closed


def listen(talks, quiet_seconds):
    """Takes what comes until all are closed or nothing has come for a while."""
    while True:
        open_talks = [t for t in talks if not t.closed]
        ready = select.select(open_talks, [], [], quiet_seconds)[0] if open_talks else []
        if not ready:
            return
        for talk in ready:
            talk.take()


def play_some(servers, cases):
    """[(case, server index, expected, actual) …] of the cases that differ."""
    lanes = [[Talk(server) for _ in cases] for server in servers]
    everyone = [talk for lane in lanes for talk in lane]
    try:
        for piece in range(max(len(c) for c in cases)):
            for lane in lanes:
                for talk, pieces in zip(lane, cases):
                    if piece < len(pieces):
                        talk.send(pieces[piece])
            time.sleep(0.002)
        listen(everyone, QUIET_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            late = [t for lane in lanes[1:] for t, r in zip(lane, lanes[0]) if t.outcome() != r.outcome()]
            if not late:
                break
            listen([*late, *lanes[0]], QUIET_SECONDS)
            time.sleep(0.02)
        return [(case, i, lanes[0][n].outcome(), lanes[i][n].outcome())
                for n, case in enumerate(cases) for i in range(1, len(servers))
                if lanes[0][n].outcome() != lanes[i][n].outcome()]
    finally:
        for talk in everyone:
            talk.socket.close()


def play_all(servers, seed, count):
    """(cases played, differences)."""
    cases = list(gen_protocol.cases(random.Random(seed), count))
    found = []
    for start in range(0, len(cases), AT_A_TIME):
        found += play_some(servers, cases[start:start + AT_A_TIME])
    return len(cases), found
