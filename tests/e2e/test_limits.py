"""What bad input, slow clients and too many of them get."""

import socket
import time
import unittest

from case import SLOW, ServerCase, eventually
from support import resp

MIB = 1 << 20


class Input(ServerCase):
    def assert_still_serves(self):
        self.assertEqual(self.raw().command("PING"), b"+PONG\r\n")

    def test_a_length_of_one_gigabyte_is_refused_and_reserves_nothing(self):
        before = self.server.rss_bytes()
        for _ in range(50):
            s = self.raw()
            s.send(b"*2\r\n$4\r\nECHO\r\n$1073741824\r\n")
            self.assertEqual(s.rest(), b"-ERR Protocol error: invalid bulk length\r\n")
        self.assertLess(self.server.rss_bytes() - before, 20 * MIB)

    def test_an_allowed_length_reserves_nothing_before_the_bytes_come(self):
        before = self.server.rss_bytes()
        many = [self.raw() for _ in range(50)]
        for s in many:
            s.send(b"*2\r\n$4\r\nECHO\r\n$500000000\r\nonly this")
        time.sleep(0.3)
        self.assertLess(self.server.rss_bytes() - before, 20 * MIB * SLOW)
        self.assert_still_serves()

    def test_a_million_arguments_announced_reserve_nothing(self):
        before = self.server.rss_bytes()
        many = [self.raw() for _ in range(50)]
        for s in many:
            s.send(b"*1048576\r\n$3\r\nDEL\r\n$1\r\nk\r\n")
        time.sleep(0.3)
        self.assertLess(self.server.rss_bytes() - before, 20 * MIB * SLOW)
        self.assert_still_serves()

    def test_half_sent_requests_hold_their_bytes_only(self):
        before = self.server.rss_bytes()
        many = [self.raw() for _ in range(500)]
        for s in many:
            s.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n" + b"x" * 500)
        time.sleep(0.3)
        self.assertLess(self.server.rss_bytes() - before, 500 * 20000 * SLOW)
        for s in many[:100]:
            s.send(b"x" * 99500 + b"\r\n")
        for s in many[:100]:
            self.assertEqual(s.reply(), b"+OK\r\n")
        self.assertEqual(self.raw().command("STRLEN", "k"), b":100000\r\n")

    def test_protocol_errors_close_only_their_connection(self):
        other = self.raw()
        for bad, text in ((b"*1\r\n:5\r\n", b"expected '$', got ':'"), (b"*x\r\n", b"invalid multibulk length"),
                          (b"*1\r\n$x\r\n", b"invalid bulk length"), (b"ECHO \"x\r\n", b"unbalanced quotes in request"),
                          (b"y" * 70000, b"too big inline request")):
            s = self.raw()
            s.send(bad)
            self.assertIn(b"-ERR Protocol error: " + text, s.rest())
        self.assertEqual(other.command("PING"), b"+PONG\r\n")

    def test_replies_before_a_protocol_error_are_sent(self):
        s = self.raw()
        s.send(b"PING\r\nSET a 1\r\nGET a\r\n*bad\r\nPING\r\n")
        self.assertEqual(s.rest(), b"+PONG\r\n+OK\r\n$1\r\n1\r\n-ERR Protocol error: invalid multibulk length\r\n")

    def test_a_pipeline_of_a_million_commands(self):
        s = self.raw()
        count = 1000000 // SLOW
        request = b"*2\r\n$4\r\nINCR\r\n$7\r\nmillion\r\n"
        self.raw().command("DEL", "million")
        received = bytearray()
        s.socket.setblocking(False)
        block = memoryview(request * 1000)
        sent, total = 0, count * len(request)
        deadline = time.monotonic() + 120
        while not received.endswith(b":%d\r\n" % count) and time.monotonic() < deadline:
            try:
                received += s.socket.recv(MIB)
            except BlockingIOError:
                time.sleep(0.0005)
            try:
                if sent < total:
                    sent += s.socket.send(block[sent % len(request):][:total - sent])
            except BlockingIOError:
                pass
        self.assertEqual(received.count(b"\n"), count)
        self.assertTrue(received.startswith(b":1\r\n:2\r\n:3\r\n"))

    def test_random_bytes_do_no_harm(self):
        import random
        rng = random.Random(7)
        for _ in range(300):
            s = self.server.connect()
            s.sendall(rng.randbytes(rng.randint(1, 3000)))
            s.close()
        self.assert_still_serves()

    def test_clients_that_leave_in_the_middle(self):
        for _ in range(200):
            s = self.server.connect()
            s.sendall(b"".join(resp.encode([b"MGET"] + [b"k%d" % i for i in range(50)]) for _ in range(100)))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            s.close()
        c = self.client()
        self.assertTrue(eventually(lambda: c.info("clients")["connected_clients"] == 1), c.client_list())


class NeverReads(ServerCase):
    ARGUMENTS = ("--threads", "2", "--client-output-buffer-limit", "normal 4mb 0 0")

    def test_a_client_that_never_reads_is_cut_at_its_limit_and_others_go_on(self):
        c = self.client()
        c.set("big", b"x" * MIB)
        s = self.server.connect()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = self.server.rss_bytes()
        try:
            for _ in range(400):
                s.sendall(b"GET big\r\n")
        except OSError:
            pass
        for _ in range(100):
            self.assertEqual(c.get("small"), None)
        self.assertTrue(eventually(lambda: c.info("clients")["connected_clients"] == 1, 10), c.info("clients"))
        self.assertLess(self.server.rss_bytes() - before, 96 * MIB * SLOW)
        self.assertRegex(self.server.output(), r"(?i)output buffer limit")
        s.close()


class StuckReader(ServerCase):
    """Without a limit, as is the default for normal clients."""

    def test_a_stuck_reader_does_not_stop_others_and_gets_all_when_it_reads(self):
        c = self.client()
        c.set("big", b"x" * 100000)
        s = self.raw()
        count = 500
        s.send(b"GET big\r\n" * count)
        for i in range(200):
            self.assertEqual(c.incr("others"), i + 1)
        for _ in range(count):
            self.assertEqual(len(s.reply()), 100000 + len("$100000\r\n\r\n"))


class MaxClients(ServerCase):
    ARGUMENTS = ("--threads", "2", "--maxclients", "8")

    def test_one_more_is_refused_with_a_text_and_a_counter(self):
        self.assertTrue(eventually(lambda: self.client_count() == 1))
        time.sleep(0.5)  # that the server has seen the counting connection go
        many = [self.raw() for _ in range(8)]
        for s in many:
            self.assertEqual(s.command("PING"), b"+PONG\r\n")
        refused = self.raw()
        self.assertEqual(refused.rest(), b"-ERR max number of clients reached\r\n")
        self.assertIn(b"rejected_connections:", many[0].command("INFO", "stats"))
        self.assertNotIn(b"rejected_connections:0\r\n", many[0].command("INFO", "stats"))
        for s in many[1:]:
            s.close()
        self.assertTrue(eventually(lambda: self.serves()))

    def client_count(self):
        s = self.raw()
        text = s.command("INFO", "clients")
        s.close()
        return int(text.split(b"connected_clients:")[1].split(b"\r\n")[0])

    def serves(self):
        s = self.raw()
        try:
            return s.command("PING") == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            s.close()


class IdleTimeout(ServerCase):
    ARGUMENTS = ("--threads", "2", "--timeout", "1")

    def test_idle_clients_are_closed_and_busy_ones_not(self):
        idle, busy = self.raw(), self.raw()
        self.assertEqual(idle.command("PING"), b"+PONG\r\n")
        idle.socket.settimeout(0.1)
        closed = False
        for _ in range(60):
            self.assertEqual(busy.command("PING"), b"+PONG\r\n")
            try:
                closed = idle.socket.recv(10) == b""
                break
            except socket.timeout:
                pass
        self.assertTrue(closed)


class Password(ServerCase):
    @classmethod
    def setUpClass(cls):
        cls.ARGUMENTS = ("--threads", "2", "--requirepass", "secret")
        super().setUpClass()

    def test_commands_need_the_password(self):
        s = self.raw()
        self.assertEqual(s.command("GET", "k"), b"-NOAUTH Authentication required.\r\n")
        self.assertTrue(s.command("AUTH", "wrong").startswith(b"-WRONGPASS"))
        self.assertTrue(s.command("HELLO", "3").startswith(b"-NOAUTH"))
        self.assertEqual(s.command("AUTH", "secret"), b"+OK\r\n")
        self.assertEqual(s.command("GET", "k"), b"$-1\r\n")
        self.assertTrue(self.raw().command("HELLO", "3", "AUTH", "default", "secret").startswith(b"%"))
        self.assertEqual(self.client(password="secret").get("k"), None)

    def test_small_limits_before_the_password(self):
        s = self.raw()
        s.send(b"*100\r\n")
        self.assertEqual(s.rest(), b"-ERR Protocol error: unauthenticated multibulk length\r\n")
        s = self.raw()
        s.send(b"*2\r\n$4\r\nAUTH\r\n$100000\r\n")
        self.assertEqual(s.rest(), b"-ERR Protocol error: unauthenticated bulk length\r\n")


if __name__ == "__main__":
    unittest.main()


class ManyWait(ServerCase):
    """More connections wait than the kernel has receive buffers for one thread."""
    ARGUMENTS = ("--threads", "1")

    def test_paused_connections_do_not_keep_the_receive_buffers(self):
        waiting = [self.server.connect() for _ in range(400)]
        c = self.client()
        c.execute_command("CLIENT", "PAUSE", "1500", "ALL")
        for i, s in enumerate(waiting):
            s.sendall(b"SET w%d %d\r\nGET w%d\r\n" % (i, i, i))
        for i, s in enumerate(waiting):
            expected, got = b"+OK\r\n$%d\r\n%d\r\n" % (len(str(i)), i), b""
            while len(got) < len(expected):
                got += s.recv(64)
            self.assertEqual(got, expected)
            s.close()
