"""Client libraries and the tools of the distribution."""

import os
import pty
import re
import subprocess
import threading
import time
import unittest

import hiredis
import redis
from redis.connection import HiredisParser, PythonParser

from case import Raw, ServerCase, eventually
from support import resp

BIG = 10 * 1024 * 1024


class RedisPy(ServerCase):
    ARGUMENTS = ("--threads", "2")

    def test_strings_round_trip_with_both_parsers(self):
        for parser in (HiredisParser, PythonParser):
            pool = redis.ConnectionPool(port=self.server.port, parser_class=parser)
            c = redis.Redis(connection_pool=pool)
            for value in (b"", b"x", b"\x00\r\n\xff", b"y" * 100000):
                self.assertTrue(c.set("k", value))
                self.assertEqual(c.get("k"), value)
            self.assertIsNone(c.get("missing"))
            pool.disconnect()

    def test_typed_replies(self):
        c = self.client(decode_responses=True)
        c.flushall()
        self.assertEqual(c.incr("n"), 1)
        self.assertEqual(c.incrbyfloat("f", 1.5), 1.5)
        self.assertTrue(c.mset({"a": 1, "b": 2, "c": 3}))
        self.assertEqual(c.mget("a", "b", "c", "d"), ["1", "2", "3", None])
        self.assertEqual(c.delete("a", "b", "zz"), 2)
        self.assertEqual(sorted(c.keys("*")), ["c", "f", "n"])
        self.assertEqual(sorted(c.scan_iter("*")), ["c", "f", "n"])
        self.assertEqual(c.dbsize(), 3)
        self.assertTrue(c.expire("c", 100))
        self.assertTrue(98 <= c.ttl("c") <= 100)
        self.assertEqual(c.type("c"), "string")
        with self.assertRaises(redis.ResponseError):
            c.execute_command("INCR", "f")

    def test_set_options(self):
        c = self.client(decode_responses=True)
        c.delete("k")
        self.assertTrue(c.set("k", "1", nx=True))
        self.assertIsNone(c.set("k", "2", nx=True))
        self.assertEqual(c.set("k", "3", xx=True, get=True), "1")
        self.assertTrue(c.set("k", "4", px=50000))
        self.assertTrue(0 < c.pttl("k") <= 50000)
        self.assertEqual(c.getex("k", persist=True), "4")
        self.assertEqual(c.ttl("k"), -1)

    def test_databases_of_connections_are_their_own(self):
        a, b = self.client(db=0), self.client(db=5)
        a.set("where", "zero")
        b.set("where", "five")
        self.assertEqual((a.get("where"), b.get("where")), (b"zero", b"five"))
        b.flushdb()
        self.assertEqual((a.get("where"), b.get("where")), (b"zero", None))

    def test_a_pipeline_of_ten_thousand_keeps_its_order(self):
        with self.client().pipeline(transaction=False) as p:
            for i in range(10000):
                p.set(f"p{i}", i)
                p.get(f"p{i}")
            replies = p.execute()
        self.assertEqual(replies[1::2], [b"%d" % i for i in range(10000)])

    def test_values_of_ten_megabytes(self):
        c = self.client()
        value = os.urandom(BIG)
        c.set("big", value)
        self.assertEqual(c.get("big"), value)
        self.assertEqual(c.append("big", b"tail"), BIG + 4)
        self.assertEqual(c.getrange("big", BIG - 2, -1), value[-2:] + b"tail")
        self.assertEqual(c.mget(["big"] * 3), [value + b"tail"] * 3)
        c.delete("big")

    def test_many_threads_of_clients(self):
        c = self.client()
        c.delete("total")

        def work():
            own = redis.Redis(port=self.server.port)
            for _ in range(200):
                own.incr("total")
            own.close()
        threads = [threading.Thread(target=work) for _ in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(c.get("total"), b"4000")

    def test_expired_keys_disappear_without_access(self):
        c = self.client()
        c.flushall()
        with c.pipeline(transaction=False) as p:
            for i in range(2000):
                p.set(f"e{i}", "x", px=200)
            p.execute()
        self.assertTrue(eventually(lambda: c.dbsize() == 0, 10))

    def test_an_expired_key_is_not_seen(self):
        c = self.client()
        c.set("soon", "x", px=30)
        self.assertTrue(eventually(lambda: c.get("soon") is None and not c.exists("soon")))


class Hiredis(ServerCase):
    def test_replies_through_the_c_parser(self):
        s = self.raw()
        reader = hiredis.Reader()
        s.send(resp.encode([b"HELLO", b"2"]))
        reader.feed(s.reply())
        hello = reader.gets()
        self.assertEqual(dict(zip(hello[::2], hello[1::2]))[b"proto"], 2)
        s.send(resp.encode([b"MSET", b"a", b"1", b"b", b"2"]) + resp.encode([b"MGET", b"a", b"b", b"nothing"]))
        reader.feed(s.reply() + s.reply())
        self.assertEqual((reader.gets(), reader.gets()), (b"OK", [b"1", b"2", None]))


class Handshake(ServerCase):
    def test_what_client_libraries_send_first(self):
        s = self.raw()
        hello = s.command("HELLO", "3", "SETNAME", "app")
        self.assertTrue(hello.startswith(b"%"))
        self.assertIn(b"$7\r\nversion\r\n$", hello)
        version = hello.split(b"version\r\n")[1].split(b"\r\n")[1]
        self.assertGreaterEqual([int(x) for x in version.split(b".")[:2]], [7, 2])
        self.assertEqual(s.command("CLIENT", "SETINFO", "LIB-NAME", "redis-py"), b"+OK\r\n")
        self.assertEqual(s.command("CLIENT", "SETINFO", "LIB-VER", "5.0.0"), b"+OK\r\n")
        self.assertTrue(s.command("CLIENT", "SETINFO", "LIB-NAME", "with space").startswith(b"-ERR"))
        self.assertEqual(s.command("CLIENT", "GETNAME"), b"$3\r\napp\r\n")
        self.assertEqual(s.command("SELECT", "1"), b"+OK\r\n")
        self.assertTrue(s.command("COMMAND", "DOCS", "GET").startswith(b"%1\r\n"))

    def test_every_split_of_a_request(self):
        request = resp.encode([b"ECHO", b"split me"]) + b"PING\r\n"
        s = self.raw()
        for at in range(1, len(request)):
            s.send(request[:at])
            s.send(request[at:])
            self.assertEqual((s.reply(), s.reply()), (b"$8\r\nsplit me\r\n", b"+PONG\r\n"))

    def test_a_client_that_closes_its_side_gets_its_replies(self):
        s = self.raw()
        s.send(b"PING\r\nECHO x\r\n")
        s.socket.shutdown(1)
        self.assertEqual(s.rest(), b"+PONG\r\n$1\r\nx\r\n")


class Sockets(ServerCase):
    @classmethod
    def setUpClass(cls):
        cls.ARGUMENTS = ("--threads", "2", "--bind", "127.0.0.1 ::1", "--unixsocket", "shoal.sock", "--unixsocketperm", "700")
        super().setUpClass()

    def test_unix_socket(self):
        path = os.path.join(self.server.directory, "shoal.sock")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o700)
        c = redis.Redis(unix_socket_path=path)
        self.assertTrue(c.set("u", "1"))
        self.assertEqual(self.client().get("u"), b"1")
        lines = [line for line in c.client_list() if line["addr"].startswith("/") or ":0" in line["addr"]]
        self.assertTrue(lines)
        c.close()

    def test_ipv6(self):
        import socket
        try:
            s = Raw(socket.create_connection(("::1", self.server.port), 10))
        except OSError as error:
            if not os.path.exists("/proc/net/if_inet6") or not open("/proc/net/if_inet6").read():
                self.skipTest("no IPv6 here")
            raise error
        self.assertEqual(s.command("PING"), b"+PONG\r\n")
        self.assertIn(b"addr=[::1]:", s.command("CLIENT", "INFO"))
        s.close()


class Tools(ServerCase):
    def test_redis_cli(self):
        self.assertEqual(self.tool("redis-cli", "SET", "cli", "value"), "OK\n")
        self.assertEqual(self.tool("redis-cli", "-3", "GET", "cli"), "value\n")
        self.assertIn("wrong number of arguments", self.tool("redis-cli", "GET", status=None))
        self.assertIn("redis_version:", self.tool("redis-cli", "INFO", "server"))
        self.assertEqual(self.tool("redis-cli", data=b"SET a 1\nINCR a\nGET a\n").split(), ["OK", "2", "2"])

    def test_pipe_mode(self):
        data = b"".join(resp.encode([b"SET", b"pipe%d" % i, b"v%d" % i]) for i in range(20000))
        self.assertIn("errors: 0, replies: 20000", self.tool("redis-cli", "--pipe", data=data))
        self.assertEqual(self.tool("redis-cli", "GET", "pipe19999"), "v19999\n")

    def test_bigkeys_memkeys_and_scan(self):
        c = self.client()
        c.flushall()
        c.mset({f"s{i}": "x" * i for i in range(1, 200)})
        text = self.tool("redis-cli", "--bigkeys")
        self.assertIn("Sampled 199 keys in the keyspace!", text)
        self.assertRegex(text, r"Biggest string found \W*s199\W* has 199 bytes")
        self.assertEqual(len(self.tool("redis-cli", "--scan", "--pattern", "s1*").split()), 111)
        self.assertIn("199", self.tool("redis-cli", "--memkeys"))

    def test_latency(self):
        run = subprocess.run(["timeout", "2", "redis-cli", "-p", str(self.server.port), "--latency", "--raw"], capture_output=True)
        self.assertRegex(run.stdout.decode(), r"^\d+ \d+ [\d.]+ \d+")

    def test_stat(self):
        # On a terminal, because redis-cli keeps its output to itself otherwise.
        ours, theirs = pty.openpty()
        run = subprocess.Popen(["redis-cli", "-p", str(self.server.port), "--stat", "-i", "1"], stdout=theirs)
        os.close(theirs)
        text = ""
        deadline = time.monotonic() + 5
        while text.count("\n") < 5 and time.monotonic() < deadline:
            text += os.read(ours, 4096).decode()
        run.terminate()
        run.wait()
        os.close(ours)
        self.assertRegex(text, r"(?m)^\d+\s+[\d.]+[KMG]\s+\d+\s+\d+\s+\d+ \(\+\d+\)\s+\d+")

    def test_redis_benchmark(self):
        for extra in ((), ("-P", "16"), ("-3", "-P", "4"), ("-c", "1")):
            text = self.tool("redis-benchmark", "-n", "5000", "-q", "-t", "ping,set,get,incr,mset", "-r", "1000", *extra)
            rates = re.findall(r"(\w+)(?: \([^)]*\))?: ([\d.]+) requests per second", text)
            self.assertGreaterEqual(len(rates), 5, text)
            self.assertNotIn("ERR", text)
            self.assertNotIn("WARN", text)


class OtherTopology(RedisPy):
    """The same with dedicated net and shard threads."""
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "3")


if __name__ == "__main__":
    unittest.main()
