"""case.py: the test case that the end-to-end tests are built on: one real server per class."""

import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import redis  # noqa: E402

from support import resp, servers  # noqa: E402

SLOW = 10 if os.environ.get("SHOAL_BUILD", "").endswith(("-asan", "-tsan")) else 1


def eventually(condition, seconds=5):
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds * SLOW
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


class Raw:
    """A socket that speaks in commands and raw replies."""

    def __init__(self, socket):
        self.socket, self.pending = socket, b""

    def send(self, data):
        self.socket.sendall(data)

    def command(self, *argv):
        self.send(resp.encode([a if isinstance(a, bytes) else str(a).encode() for a in argv]))
        return self.reply()

    def reply(self):
        raw, self.pending = resp.read_reply(self.socket, self.pending)
        return raw

    def rest(self):
        """All that comes until the server closes."""
        data, self.pending = self.pending, b""
        try:
            while more := self.socket.recv(1 << 16):
                data += more
        except ConnectionResetError:
            pass
        return data

    def close(self):
        self.socket.close()


class ServerCase(unittest.TestCase):
    """self.server runs with ARGUMENTS; self.client() is redis-py, self.raw() a socket."""

    ARGUMENTS = ("--threads", "2")

    @classmethod
    def setUpClass(cls):
        cls.server = servers.shoal_server(*cls.ARGUMENTS)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.assertTrue(self.server.is_alive(), "the server is gone:\n" + self.server.output()[-3000:])

    def client(self, **options):
        c = redis.Redis(port=self.server.port, socket_timeout=30, **options)
        self.addCleanup(c.close)
        return c

    def raw(self):
        r = Raw(self.server.connect())
        self.addCleanup(r.close)
        return r

    def tool(self, *command, data=None, seconds=60, status=0):
        """Runs redis-cli or another tool against the server; its output."""
        run = subprocess.run([command[0], "-p", str(self.server.port), *command[1:]], input=data, capture_output=True,
                             timeout=seconds * SLOW)
        text = (run.stdout + run.stderr).decode("utf-8", "replace")
        if status is not None:
            self.assertEqual(run.returncode, status, text)
        return text
