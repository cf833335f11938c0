"""A server in a real memory group of the kernel: its limit, and that the kernel does not end it."""

import os
import threading
import time
import unittest

from case import SLOW, ServerCase, eventually
from support import servers

MIB = 1 << 20
ROOT = "/sys/fs/cgroup/memory"


def obstacle():
    """Why no group can be made here; empty if one can."""
    if SLOW > 1:
        return "sanitizers need many times the memory"
    if not os.path.exists(f"{ROOT}/memory.limit_in_bytes"):
        return "there is no memory controller of cgroup 1"
    try:
        probe = Group("probe", 64 * MIB)
        probe.remove()
    except OSError as e:
        return f"the memory controller of cgroup 1 cannot be written: {e}"
    return ""


class Group:
    """A memory group, which must be empty when it is removed."""

    def __init__(self, name, limit=None, parent=None):
        self.path = f"{parent.path if parent else ROOT}/shoal-test-{os.getpid()}-{name}"
        os.mkdir(self.path)
        if limit:
            self.limit(limit)

    def limit(self, limit):
        with open(f"{self.path}/memory.limit_in_bytes", "w", encoding="ascii") as f:
            f.write(str(limit))

    def read(self, name):
        with open(f"{self.path}/{name}", encoding="ascii") as f:
            return f.read()

    def remove(self):
        eventually(lambda: not self.read("cgroup.procs").strip())
        os.rmdir(self.path)

    def server(self, *arguments):
        enter = f'echo $$ > {self.path}/cgroup.procs && exec "$@"'
        return servers.shoal_server("--threads", "2", *arguments, wrapper=("sh", "-c", enter, "sh"))


@unittest.skipIf(obstacle(), obstacle())
class Container(ServerCase):
    """Each test has its own servers and groups."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        pass

    def group(self, name, limit=None, parent=None):
        g = Group(name, limit, parent)
        self.addCleanup(g.remove)
        return g

    def start(self, group, *arguments):
        self.server = group.server(*arguments)
        self.addCleanup(self.server.stop)
        return self.client(decode_responses=True)

    def fill(self, c, name, megabytes, size=10000):
        pipe = c.pipeline(transaction=False)
        for i in range(megabytes * MIB // size):
            pipe.set(f"{name}{i}", b"x" * size)
            if i % 200 == 199:
                pipe.execute()
        pipe.execute()

    def memory(self, c):
        return c.info("memory")

    def test_the_limit_is_what_a_percentage_is_of_and_maxmemory_follows_it(self):
        g = self.group("one", 256 * MIB)
        c = self.start(g, "--maxmemory", "75%")
        self.assertEqual((self.memory(c)["cgroup_memory_limit"], self.memory(c)["maxmemory"]), (256 * MIB, 192 * MIB))
        self.assertIn("the container's limit is 256 MB; maxmemory 192 MB (75 %)", self.server.output())
        self.fill(c, "k", 50)
        self.assertTrue(eventually(lambda: 50 * MIB < self.memory(c)["cgroup_memory_used"] < 90 * MIB))
        c.config_set("maxmemory", "50%")
        self.assertEqual(self.memory(c)["maxmemory"], 128 * MIB)
        g.limit(128 * MIB)
        self.assertTrue(eventually(lambda: self.memory(c)["maxmemory"] == 64 * MIB))
        self.assertEqual(self.memory(c)["cgroup_memory_limit"], 128 * MIB)
        self.assertIn("the container's limit is 128 MB; maxmemory 64 MB (50 %)", self.server.output())
        c.config_set("maxmemory", str(100 * MIB))
        g.limit(200 * MIB)
        self.assertTrue(eventually(lambda: self.memory(c)["cgroup_memory_limit"] == 200 * MIB))
        self.assertEqual(self.memory(c)["maxmemory"], 100 * MIB)
        g.limit(-1)
        self.assertTrue(eventually(lambda: self.memory(c)["cgroup_memory_limit"] == 0))
        c.config_set("maxmemory", "50%")
        info = self.memory(c)
        self.assertAlmostEqual(info["maxmemory"] / info["total_system_memory"], 0.5, 3)

    def test_of_nested_groups_the_tightest_counts(self):
        outer = self.group("outer", 128 * MIB)
        inner = self.group("inner", 256 * MIB, outer)
        c = self.start(inner, "--maxmemory", "50%")
        self.assertEqual((self.memory(c)["cgroup_memory_limit"], self.memory(c)["maxmemory"]), (128 * MIB, 64 * MIB))
        inner.limit(100 * MIB)
        self.assertTrue(eventually(lambda: self.memory(c)["maxmemory"] == 50 * MIB))

    def test_a_warning_comes_before_the_killer(self):
        g = self.group("near", 128 * MIB)
        c = self.start(g)
        self.assertIn("maxmemory is not set below the container's limit", self.server.output())
        self.fill(c, "k", 80)
        time.sleep(0.3)
        self.assertNotIn("The container uses", self.server.output())
        for i in range(30):
            self.fill(c, f"m{i}:", 1)
            time.sleep(0.11)
            if self.memory(c)["cgroup_memory_used"] > 0.905 * 128 * MIB:
                break
        self.assertTrue(eventually(lambda: "of 128 MB of memory. At its limit the kernel ends" in self.server.output()))
        self.assertIn("The container's limit is near", c.execute_command("MEMORY", "DOCTOR"))

    def test_the_kernel_does_not_end_a_server_at_its_cap_that_saves_and_rewrites(self):
        """Keys of 600 bytes, so that what is evicted while it is being saved would be copied."""
        g = self.group("load", 128 * MIB)
        c = self.start(g, "--maxmemory", "75%", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
        done = threading.Event()

        def load(name):
            s = self.server.connect()
            value, i = b"x" * 600, 0
            reader = threading.Thread(target=lambda: [None for _ in iter(lambda: s.recv(1 << 16), b"")], daemon=True)
            reader.start()
            while not done.is_set():
                s.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$11\r\n%s%010d\r\n$600\r\n%s\r\n" % (name, i + n, value) for n in range(500)))
                i += 500
            s.shutdown(1)
            reader.join(30)
            s.close()
        loaders = [threading.Thread(target=load, args=(n,)) for n in (b"a", b"b")]
        for t in loaders:
            t.start()
        try:
            self.assertTrue(eventually(lambda: c.info("stats")["evicted_keys"] > 0, 30))
            for _ in range(2):
                for save, flag in ((c.bgrewriteaof, "aof_rewrite_in_progress"), (c.bgsave, "rdb_bgsave_in_progress")):
                    save()
                    self.assertTrue(eventually(lambda f=flag: not c.info("persistence")[f], 30))
        finally:
            done.set()
            for t in loaders:
                t.join()
        self.assertTrue(self.server.is_alive(), self.server.output()[-2000:])
        self.assertIn("oom_kill 0", g.read("memory.oom_control"))
        self.assertLess(self.server.rss_bytes(), 128 * MIB * 0.92)


if __name__ == "__main__":
    unittest.main()
