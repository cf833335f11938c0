"""Boot, configuration files, signals and the end."""

import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from unittest import mock

import redis

from case import SLOW
from support import servers


class Refusals(unittest.TestCase):
    """Each ends with a status that is not 0 and one clear line."""

    def refuse(self, *arguments, data=b""):
        with tempfile.TemporaryDirectory() as directory:
            run = subprocess.run([servers.shoal_binary(), *arguments], input=data, capture_output=True, cwd=directory, timeout=20 * SLOW)
        self.assertNotEqual(run.returncode, 0)
        self.assertGreater(run.returncode, 0, "ended by a signal")
        return (run.stdout + run.stderr).decode()

    def config(self, text):
        f = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.addCleanup(f.close)
        f.write(text)
        f.flush()
        return f.name

    def test_a_busy_port(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
            text = self.refuse("--port", str(port), "--bind", "127.0.0.1")
        self.assertIn(str(port), text)
        self.assertRegex(text, "(?i)in use|busy")

    def test_a_missing_directory(self):
        text = self.refuse("--port", str(servers.free_port()), "--dir", "/no/such/directory")
        self.assertIn("/no/such/directory", text)

    def test_an_unknown_directive_with_file_and_line(self):
        path = self.config(f"port {servers.free_port()}\n# a comment\n\nno-such-directive yes\n")
        text = self.refuse(path)
        self.assertIn("no-such-directive", text)
        self.assertIn(os.path.basename(path), text)
        self.assertRegex(text, r"\b4\b")

    def test_a_bad_value_with_file_and_line(self):
        path = self.config("timeout notanumber\n")
        text = self.refuse(path)
        self.assertIn("timeout", text)
        self.assertRegex(text, r"\b1\b")

    def test_an_unknown_option_of_the_command_line(self):
        self.assertIn("no-such-option", self.refuse("--no-such-option", "1"))

    def test_a_missing_file(self):
        self.assertIn("/no/such/file.conf", self.refuse("/no/such/file.conf"))

    def test_a_directive_on_standard_input(self):
        self.assertIn("nonsense", self.refuse("-", data=b"nonsense 1\n"))


class Starts(unittest.TestCase):
    def server(self, *arguments, **options):
        s = servers.shoal_server(*arguments, **options)
        self.addCleanup(s.stop)
        return s

    def test_systemd_hears_of_readiness_and_of_the_end(self):
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(os.path.join(directory, "notify"))
            manager.settimeout(20 * SLOW)
            with mock.patch.dict(os.environ, NOTIFY_SOCKET=manager.getsockname()):
                s = self.server("--supervised", "auto")
            self.assertIn(b"READY=1", manager.recv(4096))
            with redis.Redis(port=s.port) as client:
                self.assertEqual(client.info("server")["process_supervised"], "systemd")
            s.stop()
            self.assertIn(b"STOPPING=1", manager.recv(4096))

    def test_more_clients_than_descriptors_allow_are_refused_with_the_number_that_fits(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        s = self.server("--maxclients", "100", wrapper=("prlimit", "--nofile=1000:1000", "setpriv", "--bounding-set=-sys_resource", "--"))
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), limit)
        with redis.Redis(port=s.port) as client:
            with self.assertRaisesRegex(redis.ResponseError, "not able to handle the specified number of clients, try with 9[0-9]{2}"):
                client.config_set("maxclients", 5000)
            self.assertEqual(client.config_get("maxclients"), {"maxclients": "100"})
            client.config_set("maxclients", 500)
            self.assertEqual(client.config_get("maxclients"), {"maxclients": "500"})

    def test_a_file_and_options_that_overrule_it(self):
        directory = tempfile.mkdtemp(prefix="shoal-test-")
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", directory], check=False))
        path = os.path.join(directory, "shoal.conf")
        with open(path, "w", encoding="ascii") as f:
            f.write("# comment\ntimeout 77\nmaxmemory 4mb\n\ndatabases 3\nio-threads 2\nmaxmemory-samples \"9\"\n")
        port = servers.free_port()
        with servers.Process([servers.shoal_binary(), path, "--port", str(port), "--timeout", "88", "--save", ""]) as process:
            c = redis.Redis(port=port, decode_responses=True)
            deadline = time.monotonic() + 10 * SLOW
            while time.monotonic() < deadline and process.is_alive():
                try:
                    c.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            self.assertEqual(c.config_get("timeout"), {"timeout": "88"}, process.output())
            self.assertEqual(c.config_get("maxmemory"), {"maxmemory": str(4 << 20)})
            self.assertEqual(c.config_get("databases"), {"databases": "3"})
            self.assertEqual(c.config_get("maxmemory-samples"), {"maxmemory-samples": "9"})

    def test_every_topology_serves(self):
        for arguments in (("--threads", "1"), ("--threads", "3"), ("--threads", "auto"), ("--threads", "64"), ("--io-threads", "2"),
                          ("--net-threads", "1", "--shard-threads", "1"), ("--net-threads", "3", "--shard-threads", "7")):
            with servers.shoal_server(*arguments) as s:
                c = redis.Redis(port=s.port)
                self.assertTrue(c.mset({f"k{i}": i for i in range(100)}))
                self.assertEqual(c.mget([f"k{i}" for i in range(100)]), [b"%d" % i for i in range(100)])
                self.assertEqual(c.dbsize(), 100)
                c.close()
                self.assertEqual(s.stop(), 0, arguments)

    def test_the_log_says_what_was_found(self):
        s = self.server("--threads", "2")
        text = s.output()
        self.assertRegex(text, r"(?m)^\d+:\S+ \d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3} ")
        self.assertRegex(text, "io_uring|epoll")
        self.assertIn("ready to accept connections", text.lower())

    def test_an_idle_server_sleeps(self):
        s = self.server("--threads", "2")
        time.sleep(1.5)
        before = s.cpu_seconds()
        time.sleep(2)
        self.assertLessEqual(s.cpu_seconds() - before, 0.04 * SLOW)


class Stops(unittest.TestCase):
    def stops_by(self, action, expected=0):
        s = servers.shoal_server("--threads", "2")
        self.addCleanup(s.stop)
        c = redis.Redis(port=s.port)
        c.set("k", "v")
        action(s, c)
        self.assertEqual(s.wait(10 * SLOW), expected, s.output())
        with self.assertRaises(OSError):
            s.connect(2)

    def test_sigterm(self):
        self.stops_by(lambda s, c: s.child.send_signal(signal.SIGTERM))

    def test_sigint(self):
        self.stops_by(lambda s, c: s.child.send_signal(signal.SIGINT))

    def test_shutdown_nosave(self):
        def shutdown(_s, c):
            with self.assertRaises(redis.ConnectionError):
                c.execute_command("SHUTDOWN", "NOSAVE")
        self.stops_by(shutdown)

    def test_stops_while_clients_are_busy(self):
        def under_load(s, _c):
            load = subprocess.Popen(["redis-benchmark", "-p", str(s.port), "-n", "100000000", "-q", "-t", "set", "-P", "16"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(load.wait)
            self.addCleanup(load.kill)
            time.sleep(0.5)
            s.child.send_signal(signal.SIGTERM)
        self.stops_by(under_load)

    def test_sighup_does_not_stop(self):
        with servers.shoal_server("--threads", "1") as s:
            s.child.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            self.assertTrue(redis.Redis(port=s.port).ping())

    def test_the_unix_socket_is_gone_after_the_end(self):
        directory = tempfile.mkdtemp(prefix="shoal-test-")
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", directory], check=False))
        path = os.path.join(directory, "s.sock")
        s = servers.shoal_server("--threads", "1", "--unixsocket", path)
        self.assertTrue(os.path.exists(path))
        self.assertEqual(s.stop(), 0)
        self.assertFalse(os.path.exists(path))


if __name__ == "__main__":
    unittest.main()
