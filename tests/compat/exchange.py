"""exchange.py: the same batches to several servers, and the first reply that differs."""

import select
import socket

from support import resp
import rules

REPLY_SECONDS_MAX = 20
SHRINK_REPLY_SECONDS_MAX = 1  # once a reply was missing, its absence need not be waited for so long
SMALL_BYTES = 32768
LATE = b"-(no complete reply in time)\r\n"
CLOSED = b"-(connection closed)\r\n"


class Connection:
    """One connection of a case to one server."""

    def __init__(self, server, patience):
        self.patience = patience
        self.socket = server.connect(patience)

    def send(self, data):
        """Small requests at once; big ones together with the reading of their replies, so that nobody waits for the other."""
        self.early = b""
        try:
            if len(data) <= SMALL_BYTES:
                self.socket.sendall(data)
                return
            self.send_and_receive(memoryview(data))
        except OSError:
            pass  # the missing replies are the finding

    def send_and_receive(self, rest):
        received = []
        self.socket.setblocking(False)
        try:
            while rest:
                readable, writable, _ = select.select([self.socket], [self.socket], [], self.patience)
                if not readable and not writable:
                    break
                if readable:
                    received.append(self.socket.recv(1 << 20))
                    if not received[-1]:
                        break
                if writable:
                    rest = rest[self.socket.send(rest):]
        finally:
            self.early = b"".join(received)
            self.socket.settimeout(self.patience)

    def receive(self, last):
        """All bytes up to and including the reply `last`. If that does not come, what came, and why it ended."""
        parts, tail = [self.early], self.early[-len(last):]
        while tail != last:
            try:
                more = self.socket.recv(1 << 20)
            except socket.timeout:
                return b"".join(parts) + LATE
            except OSError:
                more = b""
            if not more:
                return b"".join(parts) + CLOSED
            parts.append(more)
            tail = (tail + more)[-len(last):]
        return b"".join(parts)

    def close(self):
        self.socket.close()


class Difference(Exception):
    """Where a server parted from the reference."""

    def __init__(self, server_index, batch_index, command, expected, actual):
        super().__init__(command)
        self.server_index, self.batch_index = server_index, batch_index
        self.command, self.expected, self.actual = command, expected, actual

    def signature(self):
        """Two findings with the same one are probably the same bug."""
        if self.actual.endswith(CLOSED):
            return b"closed", b"", b""
        words = b" ".join(a.upper()[:20] for a in self.command[:2 if self.command[0].upper() in (b"CLIENT", b"CONFIG", b"OBJECT", b"COMMAND") else 1])
        return words, self.expected[:12], self.actual[:12]


def replies(raw):
    try:
        return resp.split(raw)
    except (resp.Truncated, resp.Malformed, ValueError):
        return [raw]


def once_per_reply(commands):
    """UNSUBSCRIBE and its like reply once for each channel."""
    for argv in commands:
        yield from [argv] * (max(1, len(argv) - 1) if argv[0].upper().endswith(b"SUBSCRIBE") else 1)


def first_difference(commands, expected, actual):
    """(command, expected reply, actual reply), or None if every difference is covered by a rule."""
    commands, left, right = list(once_per_reply(commands)), replies(expected), replies(actual)
    aligned = len(left) == len(right) == len(commands)
    for i in range(max(len(left), len(right))):
        l, r = left[i] if i < len(left) else b"", right[i] if i < len(right) else b""
        command = commands[min(i, len(commands) - 1)]
        if l == r or (aligned and rules.same(command, l, r)):
            continue
        if aligned and command[0].upper() == b"EXEC":
            found = difference_in_block(queued(commands, left, i), l, r)
            if not found:
                continue
            return found
        return command, l, r
    return None


def queued(commands, answers, exec_index):
    """The commands that this EXEC runs."""
    first = max((i for i in range(exec_index) if commands[i][0].upper() == b"MULTI" and answers[i] == b"+OK\r\n"), default=exec_index)
    return [commands[i] for i in range(first + 1, exec_index) if answers[i] == b"+QUEUED\r\n"]


def difference_in_block(block, expected, actual):
    left, right = (resp.children(raw) if raw[:1] == b"*" and raw != b"*-1\r\n" else None for raw in (expected, actual))
    if left is None or right is None or not len(left) == len(right) == len(block):
        return [b"EXEC", *(b" ".join(c) for c in block)], expected, actual
    for command, l, r in zip(block, left, right):
        if l != r and not rules.same(command, l, r):
            return command, l, r
    return None


class Room:
    """A set of servers, the first of which is the reference, with the same connections to each."""

    def __init__(self, servers, versions, patience=REPLY_SECONDS_MAX):
        self.servers = servers
        self.count = 0
        self.versions = versions
        self.connections = [[Connection(s, patience) for _ in versions] for s in servers]

    def prepare(self):
        """An empty keyspace and the RESP version of each connection."""
        for i, version in enumerate(self.versions):
            start = [[b"HELLO", b"3"]] if version == 3 else [[b"PING"]]
            self.run(-1, i, ([[b"FLUSHALL"], [b"FUNCTION", b"FLUSH"], [b"SCRIPT", b"FLUSH"]] if i == 0 else []) + start)

    def run(self, batch_index, connection_index, commands):
        """Sends one batch to all; raises Difference. Returns the reference's raw replies, without the mark."""
        self.count += 1
        mark = b"end-of-batch-%010d" % self.count
        batch = commands + [[b"ECHO", mark]]
        data = b"".join(map(resp.encode, batch))
        last = b"$%d\r\n%b\r\n" % (len(mark), mark)
        lanes = [lane[connection_index] for lane in self.connections]
        for connection in lanes:
            connection.send(data)
        raws = [connection.receive(last) for connection in lanes]
        if raws[0].endswith((LATE, CLOSED)):
            silent = commands[min(len(replies(raws[0])), len(commands)) - 1]
            raise Difference(0, batch_index, silent, b"a reference that answers every command", raws[0][-200:])
        for i, raw in enumerate(raws[1:], 1):
            if raw != raws[0]:
                found = first_difference(batch, raws[0], raw)
                if found:
                    raise Difference(i, batch_index, *found)
        return raws[0][:-len(last)]

    def raw(self, server_index, connection_index, commands):
        """Sends to one server only; its replies."""
        self.count += 1
        mark = b"end-of-batch-%010d" % self.count
        connection = self.connections[server_index][connection_index]
        connection.send(b"".join(map(resp.encode, commands + [[b"ECHO", mark]])))
        return replies(connection.receive(b"$%d\r\n%b\r\n" % (len(mark), mark)))[:-1]

    def close(self):
        for lane in self.connections:
            for connection in lane:
                connection.close()
