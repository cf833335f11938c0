"""A user copies the append-only files of a Redis server and starts with appendonly yes.

SHOAL_SEED says which random commands.
"""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import redis

from case import SLOW, eventually
from support import servers, values

SEED = int(os.environ.get("SHOAL_SEED", "1"))
COMMANDS = 600
LIBRARIES = ["early", "late"]
LUA = "redis.call('SET', KEYS[1], ARGV[1]); redis.call('RPUSH', KEYS[2], ARGV[1], ARGV[1]); return 1"


def digest(c):
    return c.execute_command("DEBUG", "DIGEST")


def libraries(c):
    return sorted(x[1].decode() for x in c.execute_command("FUNCTION", "LIST"))


def is_written(c):
    i = c.info("persistence")
    return i["aof_rewrite_in_progress"] == i["aof_rewrite_scheduled"] == 0


def load_library(c, name):
    c.execute_command("FUNCTION", "LOAD", f"#!lua name={name}\nredis.register_function('{name}_f', function(k, a) return redis.call('INCRBY', k[1], a[1]) end)")


def resp(*argv):
    parts = [a if isinstance(a, bytes) else str(a).encode() for a in argv]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Case(unittest.TestCase):
    def directory(self):
        path = tempfile.mkdtemp(prefix="shoal-import-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    @staticmethod
    def end(server):
        if server.is_alive():
            server.stop()

    def connect(self, server):
        c = redis.Redis(port=server.port, socket_timeout=60)
        self.addCleanup(c.close)
        return c

    def redis(self, directory, *arguments):
        server = servers.redis_server("--appendonly", "yes", "--enable-debug-command", "yes", *arguments, directory=directory)
        self.addCleanup(self.end, server)
        return server, self.connect(server)

    def shoal(self, directory, *arguments, threads="2"):
        server = servers.shoal_server("--appendonly", "yes", "--enable-debug-command", "yes", "--threads", threads, *arguments,
                                      directory=directory)
        self.addCleanup(self.end, server)
        return server, self.connect(server)

    def refused(self, directory, *arguments):
        """The output of a server that does not start."""
        child = subprocess.Popen([servers.shoal_binary(), "--port", str(servers.free_port()), "--dir", directory, "--appendonly", "yes",
                                  *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=servers.die_with_parent)
        output = child.communicate(timeout=30 * SLOW)[0].decode("utf-8", "replace")
        self.assertNotEqual(child.returncode, 0, output)
        return output

    def copy(self, source):
        target = self.directory()
        for name in os.listdir(source):
            path = os.path.join(source, name)
            if name == "appendonlydir":
                shutil.copytree(path, os.path.join(target, name))
            elif name == "appendonly.aof":
                shutil.copy(path, target)
        return target

    def increment(self, directory):
        d = os.path.join(directory, "appendonlydir")
        return os.path.join(d, max(n for n in os.listdir(d) if n.endswith(".incr.aof")))

    def same_after_restarts(self, server, c, target, functions=()):
        """From our own log, with other numbers of threads: a crash, then an orderly end."""
        c.set("written:after", "import")
        after = digest(c)
        for threads in ("3", "2", "1"):
            server.stop(signal.SIGTERM if threads == "2" else signal.SIGKILL)
            server, c = self.shoal(target, threads=threads)
            self.assertEqual(digest(c), after, server.output()[-2000:])
            self.assertEqual(libraries(c), sorted(functions))
        return c

    def same_after_import(self, source, wanted, threads, functions=()):
        """Imported, and then from our own log."""
        target = self.copy(source)
        server, c = self.shoal(target, threads=threads)
        self.assertEqual(digest(c), wanted, server.output()[-2000:])
        self.assertEqual(libraries(c), sorted(functions))
        return self.same_after_restarts(server, c, target, functions)


def run(c, argv):
    try:
        c.execute_command(*argv)
    except redis.ResponseError:
        pass


def fill(c, rng, count=COMMANDS):
    """Everything that a log may hold."""
    for i in range(count):
        key = b"k%d" % rng.randrange(200)
        kind = rng.randrange(20)
        if kind < 8:
            for argv in values.commands(rng, key):
                run(c, argv)
        elif kind == 8:
            run(c, ("PEXPIREAT", key, 99999999999000 + i))
        elif kind == 9:
            run(c, ("SET", key, i, "EX", 1000000))
            run(c, ("PERSIST", key))
        elif kind == 10:
            run(c, ("EVAL", LUA, 2, b"s%d" % i, b"l%d" % rng.randrange(20), i))
        elif kind == 11:
            run(c, ("RENAME", key, b"k%d" % rng.randrange(200)))
        elif kind == 12:
            with c.pipeline(transaction=True) as p:
                p.set(b"m%d" % i, i).incr(b"n%d" % rng.randrange(9)).delete(key)
                p.execute()
        elif kind == 13:
            run(c, ("SPOP", key, 2))
        elif kind == 14:
            run(c, ("XADD", b"x%d" % rng.randrange(5), "*", "f", i))
            run(c, ("XGROUP", "CREATE", b"x%d" % rng.randrange(5), "g", "0"))
            run(c, ("XREADGROUP", "GROUP", "g", "me", "COUNT", 2, "STREAMS", b"x%d" % rng.randrange(5), ">"))
        elif kind == 15:
            run(c, ("SELECT", rng.randrange(3)))
        elif kind == 16:
            run(c, ("MSET", b"a%d" % i, i, b"b%d" % i, i, b"c%d" % i, i))
        elif kind == 17:
            run(c, ("LMOVE", key, b"l%d" % rng.randrange(20), "LEFT", "RIGHT"))
        elif kind == 18 and i % 7 == 0:
            run(c, ("SWAPDB", 0, rng.randrange(3)))
        else:
            run(c, ("PFADD", b"p%d" % rng.randrange(4), i, i + 1))
    run(c, ("SELECT", 0))


class Whole(Case):
    def source(self, *arguments, rewrite=True, count=COMMANDS):
        rng = random.Random(SEED)
        directory = self.directory()
        server, c = self.redis(directory, *arguments)
        c = redis.Redis(port=server.port, socket_timeout=60, single_connection_client=True)
        load_library(c, "early")
        load_library(c, "gone")
        fill(c, rng, count)
        if rewrite:
            c.bgrewriteaof()
            self.assertTrue(eventually(lambda: is_written(c), 20))
            time.sleep(1)  # annotations have whole seconds
            fill(c, rng, count)
        load_library(c, "late")
        c.execute_command("FUNCTION", "DELETE", "gone")
        c.execute_command("FCALL", "late_f", 1, "by a function", 41)
        wanted = digest(c)
        c.close()
        server.stop()
        return directory, wanted

    def test_a_base_in_rdb_form_and_increments(self):
        directory, wanted = self.source()
        for threads in ("1", "4"):
            c = self.same_after_import(directory, wanted, threads, LIBRARIES)
            self.assertEqual(c.execute_command("FCALL", "early_f", 1, "by a function", 1), 42)

    def test_a_base_of_commands_and_annotations(self):
        directory, wanted = self.source("--aof-use-rdb-preamble", "no", "--aof-timestamp-enabled", "yes")
        with open(self.increment(directory), "rb") as f:
            self.assertTrue(b"#TS:" in f.read())
        self.same_after_import(directory, wanted, "2", LIBRARIES)

    def test_a_single_file_with_and_without_a_preamble(self):
        for preamble in ("yes", "no"):
            directory, wanted = self.source("--aof-use-rdb-preamble", preamble, count=200)
            d = os.path.join(directory, "appendonlydir")
            names = sorted(os.listdir(d), key=lambda n: (".incr." in n, n))
            whole = b""
            for name in names:
                if not name.endswith(".manifest"):
                    with open(os.path.join(d, name), "rb") as f:
                        whole += f.read()
            shutil.rmtree(d)
            with open(os.path.join(directory, "appendonly.aof"), "wb") as f:
                f.write(whole)
            self.same_after_import(directory, wanted, "2", LIBRARIES)

    def test_a_snapshot_whose_log_is_switched_on(self):
        directory = self.directory()
        server, c = self.redis(directory, "--appendonly", "no")
        fill(c, random.Random(SEED))
        load_library(c, "early")
        wanted = digest(c)
        c.save()
        server.stop()
        target = self.copy(directory)
        shutil.copy(os.path.join(directory, "dump.rdb"), target)
        server = servers.shoal_server("--appendonly", "no", "--enable-debug-command", "yes", "--threads", "2", directory=target)
        self.addCleanup(self.end, server)
        c = self.connect(server)
        self.assertEqual(digest(c), wanted)
        c.config_set("appendonly", "yes")
        self.assertTrue(eventually(lambda: is_written(c), 20))
        self.same_after_restarts(server, c, target, ["early"])

    def test_without_an_append_only_file_the_snapshot_is_not_loaded(self):
        directory = self.directory()
        server, c = self.redis(directory, "--appendonly", "no")
        c.set("a", 1)
        c.save()
        server.stop()
        reference = self.copy(directory)
        shutil.copy(os.path.join(directory, "dump.rdb"), reference)
        _, of_redis = self.redis(reference)
        _, c = self.shoal(directory)
        self.assertEqual(c.dbsize(), of_redis.dbsize())
        self.assertEqual(c.dbsize(), 0)


class Cut(Case):
    """Files that end too early, or hold what they should not."""

    def source(self, tail, manifest=None, name="appendonly.aof.1.incr.aof"):
        directory = self.directory()
        d = os.path.join(directory, "appendonlydir")
        os.mkdir(d)
        with open(os.path.join(d, "appendonly.aof.manifest"), "w", encoding="ascii") as f:
            f.write(manifest or f"file {name} seq 1 type i\n")
        with open(os.path.join(d, "appendonly.aof.1.incr.aof"), "wb") as f:
            f.write(resp("SELECT", 0) + resp("SET", "a", 1) + resp("MULTI") + resp("SET", "b", 2) + resp("SET", "c", 3) + resp("EXEC") + tail)
        return directory

    def kept(self, tail):
        directory = self.source(tail)
        reference = self.copy(directory)
        server, c = self.shoal(directory)
        _, of_redis = self.redis(reference)
        self.assertEqual(c.mget("a", "b", "c", "d", "e"), of_redis.mget("a", "b", "c", "d", "e"))
        return server, c

    def test_a_command_that_is_cut_is_left_out(self):
        for size in (1, 5, 14, 20):
            server, c = self.kept(resp("SET", "d", 4)[:size])
            self.assertEqual(c.mget("a", "b", "c", "d"), [b"1", b"2", b"3", None])
            self.assertIn("are left out", server.output())

    def test_a_transaction_that_is_cut_is_left_out_whole(self):
        tail = resp("MULTI") + resp("SET", "a", 9) + resp("SET", "d", 4)
        _, c = self.kept(tail)
        self.assertEqual(c.mget("a", "d"), [b"1", None])
        _, c = self.kept(tail + resp("EXEC")[:-3])
        self.assertEqual(c.mget("a", "d"), [b"1", None])

    def test_what_is_cut_ends_the_start_if_aof_load_truncated_says_so(self):
        output = self.refused(self.source(resp("SET", "d", 4)[:9]), "--aof-load-truncated", "no")
        self.assertIn("ends within a command, at offset", output)

    def test_a_file_before_the_last_must_be_whole(self):
        manifest = "file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n"
        directory = self.source(resp("SET", "d", 4)[:9], manifest)
        with open(os.path.join(directory, "appendonlydir", "appendonly.aof.2.incr.aof"), "wb") as f:
            f.write(resp("SELECT", 0) + resp("SET", "e", 5))
        self.assertIn("appendonly.aof.1.incr.aof ends within a command", self.refused(directory))

    def test_what_is_no_command_ends_the_start_with_file_and_offset(self):
        self.assertIn("has no command where one should be, at offset", self.refused(self.source(b"garbage\r\n")))
        self.assertIn("has an unknown command, at offset", self.refused(self.source(resp("NOSUCH", "a"))))
        self.assertIn("has a command that changes nothing", self.refused(self.source(resp("SHUTDOWN"))))
        self.assertIn("higher database", self.refused(self.source(resp("SELECT", 99))))

    def test_a_manifest_that_is_not_valid_ends_the_start(self):
        for manifest in ("nonsense\n", "file ../x seq 1 type i\n", "file a seq 1 type q\n", "file a seq 2 type i\nfile b seq 1 type i\n"):
            self.assertIn("appendonly.aof.manifest: line", self.refused(self.source(b"", manifest)), manifest)

    def test_a_file_that_is_named_and_missing_ends_the_start(self):
        self.assertIn("No such file", self.refused(self.source(b"", name="elsewhere.aof")))

    def test_history_is_not_read(self):
        manifest = "file gone.aof seq 1 type h\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        _, c = self.shoal(self.source(b"", manifest))
        self.assertEqual(c.get("a"), b"1")

    def test_no_deadline_passes_between_two_commands(self):
        tail = resp("SET", "d", 1, "PXAT", 1000) + resp("INCR", "d") + resp("PERSIST", "d") + resp("SET", "e", 1, "PXAT", 1000)
        _, c = self.kept(tail)
        self.assertEqual(c.mget("d", "e"), [b"2", None])

    def test_errors_are_told(self):
        server, _ = self.shoal(self.source(resp("LPUSH", "a", 1)))
        self.assertIn("1 commands of the append only file were answered with an error", server.output())


class Crashes(Case):
    def test_an_import_that_a_crash_ends_begins_again(self):
        """Also while the first bases are written: until our manifest names them, the files that were copied are what counts."""
        directory = self.directory()
        with open(os.path.join(directory, "appendonly.aof"), "wb") as f:
            f.write(resp("SELECT", 0))
            f.write(resp("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 7 end)"))
            for i in range(30000):
                f.write(resp("RPUSH", f"list:{i % 5000}", i))
        log = os.path.join(directory, "appendonlydir")
        rng, bases = random.Random(SEED), 0
        for i in range(12):
            child = subprocess.Popen([servers.shoal_binary(), "--port", str(servers.free_port()), "--dir", directory, "--appendonly", "yes",
                                      "--threads", str(rng.choice([1, 2, 4]))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                     preexec_fn=servers.die_with_parent)
            deadline = time.monotonic() + 10 * SLOW
            before = names(log)
            if i % 2:
                time.sleep(rng.random() * 0.3)
            while i % 2 == 0 and time.monotonic() < deadline and names(log) == before:
                time.sleep(0.0005)
            time.sleep(rng.random() * 0.01)
            child.kill()
            child.wait()
            if os.path.exists(os.path.join(log, "shoal.manifest")):
                break  # it was through
            bases += any(n.endswith(".base") for n in os.listdir(log))
        self.assertGreater(bases, 0)
        for threads in ("2", "1"):
            server, c = self.shoal(directory, threads=threads)
            self.assertEqual(c.dbsize(), 5000)
            self.assertEqual(c.lrange("list:4999", 0, -1), [b"%d" % i for i in range(4999, 30000, 5000)])
            self.assertEqual(c.execute_command("FCALL", "f", 0), 7)
            server.stop()
        self.assertTrue(os.path.exists(os.path.join(directory, "appendonly.aof")))


def names(directory):
    """With what tells a file from the next one of that name."""
    found = set()
    for n in os.listdir(directory) if os.path.isdir(directory) else ():
        try:
            found.add((n, os.stat(os.path.join(directory, n)).st_ino))
        except FileNotFoundError:
            pass
    return found


class Meanwhile(Case):
    def test_clients_are_told_that_it_takes_a_moment(self):
        directory = self.directory()
        with open(os.path.join(directory, "appendonly.aof"), "wb") as f:
            f.write(resp("SELECT", 0))
            for i in range(60000):
                f.write(resp("SET", f"key:{i}", "x" * 100))
        server = servers.shoal_server("--appendonly", "yes", directory=directory, may_load=True)
        self.addCleanup(self.end, server)
        c = self.connect(server)
        seen = set()

        def is_loaded():
            seen.update(k for k in c.info("persistence") if k.startswith("loading_"))
            try:
                return c.get("key:59999") is not None
            except redis.BusyLoadingError:
                seen.add("LOADING")
                return False

        self.assertTrue(eventually(is_loaded, 30))
        self.assertEqual(c.dbsize(), 60000)
        self.assertLessEqual({"LOADING", "loading_start_time", "loading_loaded_perc", "loading_eta_seconds"}, seen)


if __name__ == "__main__":
    unittest.main()
