"""Snapshots: what is in the file, who else reads it, and what happens when something goes wrong.

SHOAL_SEED says which random values.
"""

import os
import random
import signal
import subprocess
import threading
import time
import unittest

import redis

from case import SLOW, ServerCase, eventually
from support import servers

SEED = int(os.environ.get("SHOAL_SEED", "1"))
DEBUG = ("--enable-debug-command", "yes", "--enable-protected-configs", "yes")
KEYS = 400


def digest(c):
    return c.execute_command("DEBUG", "DIGEST")


def connect(test, server):
    c = redis.Redis(port=server.port, socket_timeout=60)
    test.addCleanup(c.close)
    return c


class Case(unittest.TestCase):
    """Servers of the test's own, each with a directory that survives it."""

    def start(self, *arguments, directory=None, threads="2", may_load=False):
        server = servers.shoal_server("--threads", threads, *DEBUG, *arguments, directory=directory or self.directory(), may_load=may_load)
        self.addCleanup(self.end, server)
        return server, connect(self, server)

    def directory(self):
        run = subprocess.run(["mktemp", "-d"], capture_output=True, check=True)
        path = run.stdout.decode().strip()
        self.addCleanup(subprocess.run, ["rm", "-rf", path], check=False)
        return path

    @staticmethod
    def end(server):
        if server.is_alive():
            server.child.kill()
        server.child.wait()

    @staticmethod
    def path(server, name="dump.rdb"):
        return os.path.join(server.directory, name)

    def fill(self, c, count=KEYS):
        """Values of all types, in three databases, some with deadlines."""
        print(f"SHOAL_SEED={SEED}", end=" ", flush=True)
        rng = random.Random(SEED)
        pipe = c.pipeline(transaction=False)
        for i in range(count):
            pipe.execute_command("SELECT", i % 3 * 5)
            key = f"key:{i}"
            kind = rng.randrange(8)
            size = rng.choice((1, 3, 20, 200, 1500))
            texts = [rng.choice((str(rng.randrange(-1000, 10**12)), "x" * rng.randrange(80), os.urandom(9))) for _ in range(size)]
            if kind == 0:
                pipe.set(key, texts[0])
            elif kind == 1:
                pipe.set(key, rng.choice((b"a", b"word ")) * size * 9)
            elif kind == 2:
                pipe.rpush(key, *texts)
            elif kind == 3:
                pipe.sadd(key, *texts)
            elif kind == 4:
                pipe.sadd(key, *(rng.randrange(10**9) for _ in range(size)))
            elif kind == 5:
                pipe.zadd(key, {t or "e": rng.choice((rng.random(), 1, float("inf"), -2.5)) for t in texts})
            elif kind == 6:
                pipe.hset(key, mapping={t: n for n, t in enumerate(texts)})
            else:
                pipe.append(key, "a" * size)
            if rng.random() < 0.2:
                pipe.expire(key, 10000 + rng.randrange(1000))
        pipe.execute_command("SELECT", 0)
        pipe.execute()


class Travel(Case):
    def test_redis_server_loads_our_file_and_we_load_its(self):
        ours, c = self.start(threads="3")
        self.fill(c)
        c.save()
        wanted = digest(c)
        check = subprocess.run(["redis-check-rdb", self.path(ours)], capture_output=True, check=False)
        self.assertEqual(check.returncode, 0, check.stdout)
        self.end(ours)
        theirs = servers.Server("redis-server", ["--save", "", *DEBUG], directory=ours.directory)
        self.addCleanup(self.end, theirs)
        t = connect(self, theirs)
        self.assertEqual(digest(t), wanted)
        t.config_set("dbfilename", "theirs.rdb")
        t.save()
        self.end(theirs)
        _, back = self.start("--dbfilename", "theirs.rdb", directory=ours.directory)
        self.assertEqual(digest(back), wanted)

    def test_any_number_of_threads_loads_it(self):
        server, c = self.start("--save", "3600 1", threads="1")
        self.fill(c)
        wanted = digest(c)
        for threads in ("2", "7", "2", "1", "7", "1"):
            server.child.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(20 * SLOW), 0, server.output()[-2000:])
            server, c = self.start("--save", "3600 1", threads=threads, directory=server.directory)
            self.assertEqual(digest(c), wanted, threads)
            self.assertEqual(c.info("persistence")["rdb_changes_since_last_save"], 0)

    def test_expired_keys_are_not_loaded(self):
        server, c = self.start()
        c.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        c.set("gone", 1, px=1)
        c.set("there", 1, ex=1000)
        time.sleep(0.01)
        c.save()
        self.end(server)
        _, c = self.start(directory=server.directory)
        self.assertEqual(c.keys(), [b"there"])
        self.assertEqual(c.info("persistence")["rdb_last_load_keys_expired"], 1)
        self.assertEqual(c.info("persistence")["rdb_last_load_keys_loaded"], 1)

    def test_debug_reload(self):
        _, c = self.start()
        self.fill(c)
        wanted = digest(c)
        c.execute_command("DEBUG", "RELOAD")
        self.assertEqual(digest(c), wanted)
        c.set("more", 1)
        with self.assertRaises(redis.exceptions.ResponseError):
            c.execute_command("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH")
        c.execute_command("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH", "MERGE")
        self.assertEqual(c.get("more"), b"1")
        c.execute_command("DEBUG", "RELOAD", "NOSAVE")
        self.assertEqual(digest(c), wanted)


class Cut(Case):
    """The file is one moment of all shards."""

    LISTS, ELEMENTS = 40, 25

    def move(self, server, stop, seed):
        rng = random.Random(seed)
        with redis.Redis(port=server.port, socket_timeout=60) as c:
            while not stop.is_set():
                pipe = c.pipeline(transaction=False)
                for _ in range(20):
                    pipe.lmove(f"list:{rng.randrange(self.LISTS)}", f"list:{rng.randrange(self.LISTS)}", "LEFT", "RIGHT")
                pipe.execute()

    def test_sums_are_conserved_under_transfers(self):
        server, c = self.start(threads="4")
        for i in range(self.LISTS):
            c.rpush(f"list:{i}", *range(self.ELEMENTS))
        pipe = c.pipeline(transaction=False)
        for i in range(20000):
            pipe.set(f"ballast:{i}", "x" * 50)
        pipe.execute()
        stop = threading.Event()
        movers = [threading.Thread(target=self.move, args=(server, stop, n)) for n in range(4)]
        for m in movers:
            m.start()
        try:
            for n in range(5):
                c.config_set("dbfilename", f"cut{n}.rdb")
                self.assertTrue(c.save() if n % 2 else c.bgsave())
                self.assertTrue(eventually(lambda: c.info("persistence")["rdb_bgsave_in_progress"] == 0, 30))
        finally:
            stop.set()
            for m in movers:
                m.join()
        self.end(server)
        for n in range(5):
            theirs = servers.Server("redis-server", ["--save", "", "--dbfilename", f"cut{n}.rdb"], directory=server.directory)
            t = connect(self, theirs)
            self.assertEqual(sum(t.llen(f"list:{i}") for i in range(self.LISTS)), self.LISTS * self.ELEMENTS)
            self.assertEqual(len(t.keys("ballast:*")), 20000)
            self.end(theirs)

    def test_what_comes_after_bgsave_is_not_in_the_file(self):
        server, c = self.start("--rdb-key-save-delay", "2000")
        for i in range(100):
            c.set(f"key:{i}", "before")
        c.set("gone", 1)
        c.bgsave()
        for i in range(100):
            c.set(f"key:{i}", "after")
        c.delete("gone")
        c.set("new", 1)
        c.flushall()
        c.set("newer", 1)
        self.assertTrue(eventually(lambda: c.info("persistence")["rdb_bgsave_in_progress"] == 0, 30))
        self.end(server)
        _, c = self.start(directory=server.directory)
        self.assertEqual(c.dbsize(), 101)
        self.assertEqual(c.get("key:7"), b"before")
        self.assertEqual(c.get("gone"), b"1")


class Errors(Case):
    def test_only_one_save_at_a_time(self):
        _, c = self.start("--rdb-key-save-delay", "50000")
        pipe = c.pipeline(transaction=False)
        for i in range(100):
            pipe.set(i, i)
        pipe.execute()
        c.bgsave()
        self.assertEqual(c.info("persistence")["rdb_bgsave_in_progress"], 1)
        for command in (("SAVE",), ("BGSAVE",), ("BGSAVE", "SCHEDULE")):
            with self.assertRaisesRegex(redis.exceptions.ResponseError, "Background save already in progress"):
                c.execute_command(*command)

    def test_the_old_file_survives_a_kill_in_the_middle(self):
        server, c = self.start()
        c.set("old", 1)
        c.save()
        before = open(self.path(server), "rb").read()
        c.config_set("rdb-key-save-delay", 20000)
        for i in range(200):
            c.set(i, i)
        c.bgsave()
        server.child.kill()
        server.child.wait()
        self.assertEqual(open(self.path(server), "rb").read(), before)
        _, c = self.start(directory=server.directory)
        self.assertEqual(c.keys(), [b"old"])

    def test_sigterm_during_a_save_saves_all(self):
        server, c = self.start("--save", "3600 1", "--rdb-key-save-delay", "30000")
        for i in range(100):
            c.set(i, i)
        c.bgsave()
        c.set("late", 1)
        c.config_set("rdb-key-save-delay", 0)
        server.child.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(20 * SLOW), 0)
        self.assertEqual([f for f in os.listdir(server.directory) if f.endswith("rdb") or "tmp" in f], ["dump.rdb"])
        _, c = self.start(directory=server.directory)
        self.assertEqual(c.dbsize(), 101)

    def test_shutdown_nosave_during_a_save_leaves_nothing_behind(self):
        server, c = self.start("--rdb-key-save-delay", "1000")
        for i in range(100):
            c.set(i, i)
        c.bgsave()
        c.shutdown(nosave=True)
        self.assertEqual(server.wait(20 * SLOW), 0)
        self.assertEqual([f for f in os.listdir(server.directory) if "rdb" in f], [])

    def test_a_failed_save_stops_writes_until_one_succeeds(self):
        server, c = self.start("--save", "3600 1000")
        os.mkdir(self.path(server, "directory.rdb"))
        c.set("a", 1)
        c.config_set("dbfilename", "directory.rdb")
        with self.assertRaises(redis.exceptions.ResponseError):
            c.save()
        self.assertEqual(c.info("persistence")["rdb_last_bgsave_status"], "err")
        for command in (("SET", "a", 2), ("PING",)):
            with self.assertRaisesRegex(redis.exceptions.ResponseError, "^MISCONF Redis is configured to save RDB snapshots"):
                c.execute_command(*command)
        self.assertEqual(c.get("a"), b"1")
        with self.assertRaisesRegex(redis.exceptions.ResponseError, "Errors trying to SHUTDOWN. Check logs."):
            c.execute_command("SHUTDOWN")
        self.assertTrue(server.is_alive())
        c.config_set("stop-writes-on-bgsave-error", "no")
        self.assertTrue(c.set("a", 2))
        c.config_set("stop-writes-on-bgsave-error", "yes")
        c.config_set("dbfilename", "good.rdb")
        c.save()
        self.assertTrue(c.set("a", 3))

    def test_a_full_disk(self):
        directory = self.directory()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", directory], capture_output=True, check=False).returncode:
            self.skipTest("may not mount")
        self.addCleanup(subprocess.run, ["umount", "-l", directory], check=False)
        server, c = self.start("--save", "3600 100000", directory=directory)
        c.set("small", 1)
        c.save()
        before = open(self.path(server), "rb").read()
        pipe = c.pipeline(transaction=False)
        for i in range(3000):
            pipe.set(i, os.urandom(1000))
        pipe.execute()
        for _ in range(2):
            with self.assertRaises(redis.exceptions.ResponseError):
                c.save()
            self.assertEqual(open(self.path(server), "rb").read(), before)
            self.assertEqual([f for f in os.listdir(directory) if "tmp" in f], [])
        self.assertIn("No space left on device", server.output())
        c.config_set("save", "")
        c.flushall()
        c.save()

    def refuse(self, server, data):
        with open(self.path(server), "wb") as f:
            f.write(data)
        run = subprocess.run([servers.shoal_binary(), "--port", str(servers.free_port()), "--dir", server.directory], capture_output=True,
                             timeout=30 * SLOW, check=False)
        self.assertEqual(run.returncode, 1, run.stdout)
        text = (run.stdout + run.stderr).decode()
        self.assertRegex(text, r"dump\.rdb: at offset \d+: ")
        return text

    def test_a_bad_file_is_refused_and_named(self):
        server, c = self.start()
        self.fill(c, 60)
        c.save()
        self.end(server)
        good = open(self.path(server), "rb").read()
        self.assertIn("the file ends too soon", self.refuse(server, good[:-20]))
        self.assertIn("the file ends too soon", self.refuse(server, good[:3]))
        self.assertIn("no RDB file", self.refuse(server, b"x" * 100))
        self.assertIn("checksum", self.refuse(server, good[:-1] + bytes([good[-1] ^ 1])))
        rng = random.Random(SEED)
        for _ in range(10):
            at = rng.randrange(9, len(good))
            self.refuse(server, good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1:])


class Behaviour(Case):
    def test_save_points(self):
        server, c = self.start("--save", "1 5")
        for i in range(4):
            c.set(i, i)
        time.sleep(1.3)
        self.assertFalse(os.path.exists(self.path(server)))
        c.set("five", 1)
        self.assertTrue(eventually(lambda: os.path.exists(self.path(server)) and c.info("persistence")["rdb_changes_since_last_save"] == 0))

    def test_loading_is_told(self):
        server, c = self.start()
        for i in range(300):
            c.set(i, i)
        c.save()
        self.end(server)
        server, c = self.start("--key-load-delay", "5000", directory=server.directory, may_load=True)
        with self.assertRaisesRegex(redis.exceptions.BusyLoadingError, "Redis is loading the dataset in memory"):
            c.get("1")
        info = c.info("persistence")
        self.assertEqual(info["loading"], 1)
        self.assertGreater(info["loading_total_bytes"], 1000)
        self.assertEqual(c.config_get("port")["port"], str(server.port))
        c.config_set("key-load-delay", 0)
        self.assertTrue(eventually(lambda: c.info("persistence")["loading"] == 0))
        self.assertTrue(eventually(lambda: self.answers(c)))
        self.assertEqual(c.dbsize(), 300)

    @staticmethod
    def answers(c):
        try:
            return c.get("1") == b"1"
        except redis.exceptions.BusyLoadingError:
            return False

    def test_a_stop_while_loading_leaves_the_file_alone(self):
        server, c = self.start()
        for i in range(300):
            c.set(i, i)
        c.save()
        self.end(server)
        before = open(self.path(server), "rb").read()
        server, c = self.start("--save", "3600 1", "--key-load-delay", "20000", directory=server.directory, may_load=True)
        server.child.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(20 * SLOW), 0)
        self.assertEqual(open(self.path(server), "rb").read(), before)

    def test_the_end_saves_when_save_points_say_so(self):
        points = "3600 1"
        cases = [((), points, True), ((), "", False), (("SAVE",), "", True), (("NOSAVE",), points, False), (("NOW", "FORCE"), points, True)]
        for words, points, is_saved in cases:
            server, c = self.start("--save", points)
            c.set("a", 1)
            with self.assertRaises(redis.exceptions.ConnectionError):
                c.execute_command("SHUTDOWN", *words)
            self.assertEqual(server.wait(20 * SLOW), 0, words)
            self.assertEqual(os.path.exists(self.path(server)), is_saved, (words, points))
