"""The append-only log: what was acknowledged is there after any end, and what happens when the disk fails.

SHOAL_SEED says which random values.
"""

import os
import random
import resource
import signal
import subprocess
import threading
import time
import unittest

import redis

from case import SLOW, eventually
from support import servers

SEED = int(os.environ.get("SHOAL_SEED", "1"))
DEBUG = ("--enable-debug-command", "yes", "--enable-protected-configs", "yes")
POLICIES = ("everysec", "always", "no")
MISCONF = "Errors writing to the AOF file"


def digest(c):
    return c.execute_command("DEBUG", "DIGEST")


class Case(unittest.TestCase):
    """Servers of the test's own, in a directory that survives them."""

    def setUp(self):
        run = subprocess.run(["mktemp", "-d"], capture_output=True, check=True)
        self.directory = run.stdout.decode().strip()
        self.addCleanup(subprocess.run, ["rm", "-rf", self.directory], check=False)

    def start(self, *arguments, threads="2", policy="everysec"):
        server = servers.shoal_server("--threads", threads, "--appendonly", "yes", "--appendfsync", policy, *DEBUG, *arguments,
                                      directory=self.directory)
        self.addCleanup(self.end, server)
        return server, self.connect(server)

    def connect(self, server, timeout=60):
        c = redis.Redis(port=server.port, socket_timeout=timeout)
        self.addCleanup(c.close)
        return c

    @staticmethod
    def end(server):
        if server.is_alive():
            server.child.kill()
        server.child.wait()

    def kill(self, server):
        server.child.kill()
        server.child.wait()

    @staticmethod
    def fill(c, count=300):
        """Values of all types in two databases, over all shards."""
        print(f"SHOAL_SEED={SEED}", end=" ", flush=True)
        r = random.Random(SEED)
        for i in range(count):
            kind, name = i % 6, f"key:{i}"
            if kind == 0:
                c.set(name, "x" * r.randrange(200), ex=r.choice((None, 1000)))
            elif kind == 1:
                c.rpush(name, *range(r.randrange(1, 40)))
            elif kind == 2:
                c.sadd(name, *(r.randrange(1000) for _ in range(20)))
            elif kind == 3:
                c.zadd(name, {f"m{j}": r.random() for j in range(10)})
            elif kind == 4:
                c.hset(name, mapping={f"f{j}": j for j in range(r.randrange(1, 30))})
            else:
                c.xadd(name, {"a": i})
        c.mset({f"m{i}": i for i in range(50)})
        c.delete("m1", "m2", "m3", "nothing")
        with c.pipeline() as p:
            for i in range(20):
                p.incrby(f"count:{i}", i).expire(f"count:{i}", 500)
            p.execute()
        c.rename("m4", "renamed")
        c.sunionstore("union", "key:2", "key:8", "key:14")
        c.eval("for i = 1, 10 do redis.call('incr', KEYS[i]) end", 10, *(f"script:{i}" for i in range(10)))
        c.spop("key:2", 5)
        c.execute_command("SELECT", 3)
        c.set("elsewhere", "3")
        c.execute_command("SELECT", 0)


class Restart(Case):
    def test_everything_is_there_after_every_kind_of_end_at_every_number_of_threads(self):
        server, c = self.start()
        self.fill(c)
        before = digest(c)
        for policy, threads, number in (("everysec", "1", signal.SIGTERM), ("always", "4", signal.SIGKILL), ("no", "2", signal.SIGKILL),
                                        ("everysec", "3", signal.SIGINT), ("always", "2", signal.SIGTERM)):
            server.child.send_signal(number)
            status = server.child.wait(20 * SLOW)
            self.assertEqual(status, 0 if number != signal.SIGKILL else -signal.SIGKILL, server.output()[-2000:])
            server, c = self.start(threads=threads, policy=policy)
            self.assertEqual(digest(c), before, f"{policy}, {threads} threads")
            c.mset({"again a": number, "again b": threads, "again c": policy})
            before = digest(c)

    def test_shutdown_closes_the_log_and_the_next_start_finds_nothing_torn(self):
        server, c = self.start(policy="always")
        self.fill(c, 60)
        before = digest(c)
        with self.assertRaises(redis.ConnectionError):
            c.execute_command("SHUTDOWN")
        self.assertEqual(server.child.wait(20), 0)
        self.assertIn("The append only log is closed", server.output())
        server, c = self.start()
        self.assertEqual(digest(c), before)
        self.assertNotIn("torn", server.output())

    def test_functions_are_there_after_a_crash_and_after_a_rewrite(self):
        server, c = self.start(threads="3", policy="always")
        for name in ("one", "two", "three"):
            c.function_load(f"#!lua name={name}\nredis.register_function('{name}', function() return '{name}' end)")
        c.function_delete("two")
        self.kill(server)
        for threads in ("2", "1"):
            server, c = self.start(threads=threads, policy="always")
            self.assertEqual([c.fcall(name, 0) for name in ("one", "three")], [b"one", b"three"])
            self.assertEqual(len(c.function_list()), 2)
            c.bgrewriteaof()
            self.assertTrue(eventually(lambda c=c: not c.info("persistence")["aof_rewrite_in_progress"]))
            self.kill(server)
        server, c = self.start()
        self.assertEqual(len(c.function_list()), 2)
        c.function_flush()
        self.end(server)

    def test_flushes_and_swaps_are_in_the_log(self):
        server, c = self.start(threads="3")
        c.mset({f"k{i}": i for i in range(30)})
        c.execute_command("SELECT", 1)
        c.mset({f"l{i}": i for i in range(30)})
        c.flushdb()
        c.mset({f"n{i}": i for i in range(7)})
        c.swapdb(0, 1)
        before = digest(c)
        self.kill(server)
        server, c = self.start(threads="2")
        self.assertEqual((digest(c), c.dbsize(), c.get("n3")), (before, 7, b"3"))
        c.flushall()
        self.kill(server)
        _, c = self.start()
        self.assertEqual(c.dbsize(), 0)

    def test_a_log_that_is_damaged_in_the_middle_ends_the_start_and_says_where(self):
        server, c = self.start("--threads", "1", policy="always")
        for i in range(50):
            c.set(f"k{i}", "v" * 50)
        server.child.terminate()
        server.child.wait()
        path = os.path.join(self.directory, "appendonlydir", "g1-s0-1.aof")
        with open(path, "r+b") as f:
            f.seek(1000)
            byte = f.read(1)
            f.seek(1000)
            f.write(bytes((byte[0] ^ 1,)))
        with self.assertRaises(servers.StartError) as refused:
            self.start()
        self.assertIn("g1-s0-1.aof", str(refused.exception))
        self.assertIn("shoal-aof", str(refused.exception))

    def test_a_torn_tail_is_left_out_or_refused(self):
        server, c = self.start("--threads", "1")
        c.set("a", "1")
        c.set("b", "2")
        self.kill(server)
        path = os.path.join(self.directory, "appendonlydir", "g1-s0-1.aof")
        with open(path, "rb") as f:
            os.truncate(path, f.read().index(b"$1\r\nb\r\n") + 3)  # a mark may stand behind it
        with self.assertRaises(servers.StartError) as refused:
            self.start("--aof-load-truncated", "no")
        self.assertIn("aof-load-truncated", str(refused.exception))
        server, c = self.start()
        self.assertEqual((c.get("a"), c.get("b")), (b"1", None))
        self.assertIn("torn tail", server.output())


class Kill(Case):
    """kill -9 while clients write: what they were told is there."""

    CLIENTS = 6

    def write(self, server, number, told, stop):
        """Counters of its own, MSETs and transactions over several shards; `told` holds the last that was acknowledged."""
        c = redis.Redis(port=server.port, socket_timeout=60)
        try:
            for n in range(1, 1 << 30):
                if stop.is_set():
                    return
                c.set(f"c{number}", n)
                told[number, "set"] = n
                c.mset({f"m{number}:{i}": n for i in range(5)})
                told[number, "mset"] = n
                with c.pipeline() as p:
                    for i in range(4):
                        p.set(f"t{number}:{i}", n)
                    p.execute()
                told[number, "exec"] = n
        except redis.ConnectionError:
            pass
        finally:
            c.close()

    def check(self, c, told):
        for (number, what), n in told.items():
            if what == "set":
                self.assertGreaterEqual(int(c.get(f"c{number}")), n)
                continue
            names = [f"m{number}:{i}" for i in range(5)] if what == "mset" else [f"t{number}:{i}" for i in range(4)]
            values = {int(v) for v in c.mget(names)}
            self.assertEqual(len(values), 1, f"{what} of client {number} is torn: {values}")
            self.assertGreaterEqual(values.pop(), n)

    def run_policy(self, policy):
        threads = iter(("2", "3", "1", "4"))
        for _ in range(4):
            server, c = self.start(threads=next(threads), policy=policy)
            if _ > 0:
                self.check(c, told)
            told, stop = {}, threading.Event()
            clients = [threading.Thread(target=self.write, args=(server, i, told, stop)) for i in range(self.CLIENTS)]
            for t in clients:
                t.start()
            eventually(lambda: len(told) == 3 * self.CLIENTS)
            time.sleep(0.3 + 0.2 * random.random())
            self.kill(server)
            stop.set()
            for t in clients:
                t.join()
        _, c = self.start(policy=policy)
        self.check(c, told)

    def test_everysec(self):
        self.run_policy("everysec")

    def test_always(self):
        self.run_policy("always")

    def test_the_policy_is_switched_under_load(self):
        server, c = self.start()
        told, stop = {}, threading.Event()
        clients = [threading.Thread(target=self.write, args=(server, i, told, stop)) for i in range(self.CLIENTS)]
        for t in clients:
            t.start()
        for policy in POLICIES * 3:
            self.assertTrue(c.config_set("appendfsync", policy))
            self.assertEqual(c.config_get("appendfsync"), {"appendfsync": policy})
            time.sleep(0.05)
        self.kill(server)
        stop.set()
        for t in clients:
            t.join()
        _, c = self.start()
        self.check(c, told)


class DiskFailure(Case):
    LIMIT = 64 << 10

    def limit(self, server, size):
        """Files may not grow beyond that: as a disk that is full."""
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def fill_the_disk(self, server, c):
        """Until a write is not acknowledged; the client that waits for it."""
        self.limit(server, self.LIMIT)
        stuck = redis.Redis(port=server.port, socket_timeout=60)
        self.addCleanup(stuck.close)
        result = {"written": 0}

        def write():
            try:
                for i in range(10000):
                    stuck.set(f"k{i}", "v" * 1000)
                    result["written"] = i + 1
            except (redis.ResponseError, redis.ConnectionError) as e:
                result["error"] = str(e)

        t = threading.Thread(target=write)
        t.start()
        self.assertTrue(eventually(lambda: c.info("persistence")["aof_last_write_status"] == "err"))
        return t, result

    def run_policy(self, policy):
        server, c = self.start(policy=policy)
        c.set("before", "1")
        t, result = self.fill_the_disk(server, c)

        def is_refused():
            try:
                c.set("refused", "1")
            except redis.ResponseError as e:
                return MISCONF in str(e) and str(e).startswith("MISCONF")
            return False

        other = self.connect(server)
        self.assertTrue(eventually(is_refused) if policy != "always" else True)
        with self.assertRaises(redis.ResponseError):
            other.mset({"a": "1", "b": "2"})
        with self.assertRaises(redis.ResponseError):
            other.ping()
        self.assertEqual(other.exists("refused"), 0)
        self.limit(server, resource.RLIM_INFINITY)
        self.assertTrue(eventually(lambda: c.info("persistence")["aof_last_write_status"] == "ok", 10))
        t.join(30)
        self.assertFalse(t.is_alive())
        c.set("after", "1")
        before = digest(c)
        self.kill(server)
        _, c = self.start()
        self.assertEqual(digest(c), before)
        self.assertEqual((c.get("before"), c.get("after")), (b"1", b"1"))
        for i in range(result["written"]):
            self.assertEqual(c.strlen(f"k{i}"), 1000)

    def test_writes_are_refused_and_reads_go_on_until_there_is_room(self):
        self.run_policy("everysec")

    def test_the_same_without_fsync(self):
        self.run_policy("no")

    def test_what_was_acknowledged_survives_a_kill_while_the_disk_fails(self):
        for policy in POLICIES:
            with self.subTest(policy=policy):
                server, c = self.start(policy=policy)
                c.flushall()
                t, result = self.fill_the_disk(server, c)
                self.kill(server)
                t.join(30)
                _, c = self.start()
                for i in range(result["written"]):
                    self.assertEqual(c.strlen(f"k{i}"), 1000, f"k{i} of {result['written']}")
                self.kill(_)

    def test_a_failed_fsync_ends_a_server_that_syncs_always(self):
        server, c = self.start("--io-backend", "epoll", policy="always")
        c.set("told", "1")
        c.execute_command("DEBUG", "FAULT", "file_sync", 1)
        with self.assertRaises(redis.ConnectionError):
            c.set("not told", "1")
        self.assertEqual(server.child.wait(20), 1)
        self.assertIn("exiting before anything more is acknowledged", server.output())
        _, c = self.start(policy="always")
        self.assertEqual(c.get("told"), b"1")

    def test_a_directory_that_cannot_be_made_ends_the_start(self):
        with open(os.path.join(self.directory, "appendonlydir"), "w", encoding="ascii") as f:
            f.write("in the way")
        with self.assertRaises(servers.StartError) as refused:
            self.start()
        self.assertIn("appendonlydir", str(refused.exception))


class Information(Case):
    FIELDS = ("aof_current_size", "aof_base_size", "aof_pending_rewrite", "aof_buffer_length", "aof_pending_bio_fsync", "aof_delayed_fsync")

    def test_info_tells_what_is_there(self):
        server, c = self.start(policy="no")
        info = c.info("persistence")
        self.assertEqual((info["aof_enabled"], info["aof_last_write_status"]), (1, "ok"))
        for field in self.FIELDS:
            self.assertIn(field, info)
        size = info["aof_current_size"]
        for i in range(100):
            c.set(f"k{i}", "x" * 100)
        on_disk = sum(e.stat().st_size for e in os.scandir(os.path.join(self.directory, "appendonlydir")) if e.name.endswith(".aof"))
        info = c.info("persistence")
        self.assertGreater(info["aof_current_size"], size + 10000)
        self.assertEqual(info["aof_current_size"], on_disk)
        server.child.terminate()
        server.child.wait()
        _, c = self.start()
        self.assertGreater(c.info("persistence")["aof_base_size"], 10000)

    def test_waitaof_waits_for_the_disk(self):
        _, c = self.start(policy="everysec")
        for i in range(3):
            c.mset({f"k{j}": i for j in range(10)})
            self.assertEqual(c.execute_command("WAITAOF", 1, 0, 20000), [1, 0])
        c.config_set("appendfsync", "no")
        time.sleep(0.1)
        c.set("a", "1")
        self.assertEqual(c.execute_command("WAITAOF", 1, 0, 50), [0, 0])
        c.config_set("appendfsync", "always")
        c.set("a", "2")
        self.assertEqual(c.execute_command("WAITAOF", 1, 0, 0), [1, 0])
        self.assertEqual(c.execute_command("WAITAOF", 1, 1, 50), [1, 0])

    def test_without_a_log_there_are_no_such_fields(self):
        server = servers.shoal_server("--threads", "2", directory=self.directory)
        self.addCleanup(self.end, server)
        info = self.connect(server).info("persistence")
        self.assertEqual(info["aof_enabled"], 0)
        for field in self.FIELDS:
            self.assertNotIn(field, info)
        self.assertFalse(os.path.exists(os.path.join(self.directory, "appendonlydir")))


if __name__ == "__main__":
    unittest.main()
