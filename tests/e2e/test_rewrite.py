"""The append-only log is written anew: BGREWRITEAOF, by itself, and when it is switched on while the server runs."""

import os
import resource
import shutil
import subprocess
import threading
import time
import unittest

import redis

from case import SLOW, eventually
from support import servers
from test_aof import Case, digest


def info(c):
    return c.info("persistence")


def is_over(c):
    i = info(c)
    return not i["aof_rewrite_in_progress"] and not i["aof_rewrite_scheduled"]


class RewriteCase(Case):
    def rewrite(self, c):
        before = info(c)["aof_rewrites"]
        self.assertTrue(c.bgrewriteaof())
        self.assertTrue(eventually(lambda: is_over(c), 20))
        after = info(c)
        self.assertEqual(after["aof_last_bgrewrite_status"], "ok")
        self.assertEqual(after["aof_rewrites"], before + 1)
        return after

    def files(self, kind):
        return sorted(n for n in os.listdir(os.path.join(self.directory, "appendonlydir")) if n.endswith(kind))


class Writer(threading.Thread):
    """Counts upwards, with transactions over several shards in between, until the server has gone."""

    def __init__(self, port, number):
        super().__init__()
        self.c, self.number, self.acknowledged = redis.Redis(port=port, socket_timeout=60), number, 0
        self.should_end = False

    def run(self):
        n = 0
        try:
            while not self.should_end:
                n += 1
                self.c.rpush(f"list:{self.number}", n)
                self.acknowledged = n  # a refusal ends it, too
                self.c.mset({f"pair:{self.number}:a": n, f"pair:{self.number}:b": n, f"other {n % 50}": n})
                self.c.hset(f"hash:{self.number}", f"f{n % 300}", n)
                self.c.sadd(f"set:{n % 3}", f"member {n} of {self.number}")
        except redis.RedisError:
            pass


class Rewrite(RewriteCase):
    def test_log_is_shorter_and_everything_is_there(self):
        server, c = self.start(threads="3")
        self.fill(c)
        for _ in range(30):
            c.mset({f"m{i}": "x" * 100 for i in range(100)})
        for i in range(0, 3000, 500):
            c.rpush("long list", *range(i, i + 500))
            c.sadd("big set", *(f"m{j}" for j in range(i, i + 500)))
            c.zadd("big zset", {f"m{j}": j / 7 for j in range(i, i + 500)})
            c.hset("big hash", mapping={f"f{j}": j for j in range(i, i + 500)})
        c.execute_command("HPEXPIRE", "big hash", 1000000, "FIELDS", 2, "f1", "f2")
        c.set("big string", "abc" * 100000, ex=1000)
        for i in range(1200):
            c.xadd("big stream", {"f": i})
        c.xgroup_create("big stream", "g", "0")
        c.xreadgroup("g", "me", {"big stream": ">"}, count=10)
        before, pending, size = digest(c), c.xpending("big stream", "g"), info(c)["aof_current_size"]
        after = self.rewrite(c)
        self.assertLess(after["aof_current_size"], size)
        self.assertEqual(after["aof_current_size"], after["aof_base_size"])
        self.assertEqual((len(self.files(".base")), len(self.files(".aof"))), (3, 3))
        self.kill(server)
        server, c = self.start(threads="2")
        self.assertEqual(digest(c), before)
        self.assertEqual(c.xpending("big stream", "g"), pending)
        self.assertGreater(c.ttl("big string"), 900)

    def test_nothing_acknowledged_is_lost_when_it_is_killed_while_rewriting(self):
        for policy in ("everysec", "always", "no"):
            server, c = self.start(policy=policy)
            c.flushall()
            writers = [Writer(server.port, i) for i in range(4)]
            for w in writers:
                w.start()
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                try:
                    c.bgrewriteaof()
                except redis.ResponseError:
                    pass
                time.sleep(0.01)
            self.assertGreater(info(c)["aof_rewrites"], 1)
            self.kill(server)
            for w in writers:
                w.join()
            server, c = self.start(policy=policy, threads="3")
            for w in writers:
                self.assertIn(c.llen(f"list:{w.number}"), (w.acknowledged, w.acknowledged + 1), policy)
                self.assertEqual(*c.mget(f"pair:{w.number}:a", f"pair:{w.number}:b"))
            self.kill(server)

    def test_a_hundred_rewrites_with_restarts_in_between(self):
        server, c = self.start()
        self.fill(c)
        for i in range(100):
            c.mset({"round": i, "other round": i, "third": i})
            c.rpush("rounds", i)
            self.rewrite(c)
            if i % 20 != 19:
                continue
            before = digest(c)
            self.kill(server)
            server, c = self.start(threads=str(1 + i // 20 % 4))
            self.assertEqual(digest(c), before, f"after {i + 1} rewrites")
        self.assertEqual(c.llen("rounds"), 100)

    def test_it_happens_by_itself_when_the_log_has_grown(self):
        _, c = self.start("--auto-aof-rewrite-min-size", "20kb", "--auto-aof-rewrite-percentage", "100")
        for i in range(300):
            c.set("one", f"{i}" * 100)
        self.assertTrue(eventually(lambda: info(c)["aof_rewrites"] > 0 and is_over(c), 20))
        self.assertLess(info(c)["aof_current_size"], 50000)
        c.config_set("auto-aof-rewrite-percentage", 0)
        done = info(c)["aof_rewrites"]
        for i in range(300):
            c.set("one", f"{i}" * 100)
        time.sleep(0.3)
        self.assertEqual(info(c)["aof_rewrites"], done)

    def test_full_disk_leaves_the_old_files(self):
        server, c = self.start()
        self.fill(c)
        for i in range(300):
            c.set(f"long:{i}", os.urandom(1000))
        before, files = digest(c), self.files(".aof")
        resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (100000, resource.RLIM_INFINITY))
        c.bgrewriteaof()
        self.assertTrue(eventually(lambda: info(c)["aof_last_bgrewrite_status"] == "err", 20))
        self.assertTrue(is_over(c))
        self.assertEqual(self.files(".base"), [])
        self.assertTrue(set(files) <= set(self.files(".aof")))
        resource.prlimit(server.child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        c.set("after", "the failure")
        before = digest(c)
        self.kill(server)
        server, c = self.start()
        self.assertEqual(digest(c), before)
        self.rewrite(c)
        self.assertEqual(digest(c), before)

    def test_replies_are_those_of_redis(self):
        _, c = self.start("--save", "", "--rdb-key-save-delay", "2000")
        self.fill(c)
        self.assertEqual(c.execute_command("BGSAVE"), True)
        self.assertEqual(c.execute_command("BGREWRITEAOF"), True)
        self.assertEqual(info(c)["aof_rewrite_scheduled"], 1)
        c.config_set("rdb-key-save-delay", 0)
        self.assertTrue(eventually(lambda: info(c)["aof_rewrites"] == 1 and is_over(c), 20))
        c.config_set("rdb-key-save-delay", 2000)
        self.assertEqual(c.execute_command("BGREWRITEAOF"), True)
        with self.assertRaisesRegex(redis.ResponseError, "^Background append only file rewriting already in progress$"):
            c.execute_command("BGREWRITEAOF")
        with self.assertRaisesRegex(redis.ResponseError, "Another child process is active"):
            c.execute_command("BGSAVE")
        self.assertEqual(c.execute_command("BGSAVE", "SCHEDULE"), True)
        c.config_set("rdb-key-save-delay", 0)
        self.assertTrue(eventually(lambda: info(c)["rdb_saves"] >= 2, 20))


# fdatasync of a log fails as long as the file "fail" in the directory has as many bytes, which it eats up.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int fdatasync(int fd)
{
    char link[64], path[4096] = "";
    struct stat s;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, ".aof") && stat(getenv("FAIL"), &s) == 0 && s.st_size > 0) {
        if (truncate(getenv("FAIL"), s.st_size - 1) == 0) errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


@unittest.skipUnless(shutil.which("cc"), "needs a C compiler")
@unittest.skipUnless(SLOW == 1, "a sanitizer wants to be loaded first")
class Loss(RewriteCase):
    def test_log_that_cannot_be_synced_is_replaced_by_a_fresh_base(self):
        source, shim, fail = (os.path.join(self.directory, n) for n in ("shim.c", "shim.so", "fail"))
        with open(source, "w", encoding="ascii") as f:
            f.write(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
        server = servers.shoal_server("--threads", "3", "--appendonly", "yes", "--io-backend", "epoll", "--enable-debug-command", "yes",
                                      wrapper=("env", f"LD_PRELOAD={shim}", f"FAIL={fail}"), directory=self.directory)
        self.addCleanup(self.end, server)
        c = self.connect(server)
        self.fill(c)
        for losses in (1, 2, 3):
            with open(fail, "wb") as f:
                f.write(b"x" * losses)
            writer = Writer(server.port, losses)
            writer.start()
            self.assertTrue(eventually(lambda: server.output().count("Logs that were lost are replaced") >= losses, 20))
            self.assertTrue(eventually(lambda: os.path.getsize(fail) == 0 and is_over(c) and info(c)["aof_last_write_status"] == "ok", 20))
            self.assertTrue(eventually(lambda n=losses: server.output().count("rewrite finished") >= n, 20))
            self.assertTrue(c.mset({f"m{i}": losses for i in range(50)}))
            writer.should_end = True
            writer.join()
        before = digest(c)
        self.kill(server)
        server, c = self.start(threads="2")
        self.assertEqual(digest(c), before)


class Switch(RewriteCase):
    def test_log_can_be_switched_on_and_off_while_clients_write(self):
        server, c = self.start("--appendonly", "no", threads="3")
        self.fill(c)
        writers = [Writer(server.port, i) for i in range(4)]
        for w in writers:
            w.start()
        for _ in range(3):
            c.config_set("appendonly", "yes")
            self.assertEqual(info(c)["aof_enabled"], 1)
            self.assertTrue(eventually(lambda: is_over(c), 20))
            self.assertGreater(info(c)["aof_base_size"], 0)
            c.config_set("appendonly", "no")
            self.assertTrue(eventually(lambda: "switched off" in server.output(), 20))
            self.assertEqual(info(c)["aof_enabled"], 0)
        c.config_set("appendonly", "yes")
        self.assertTrue(eventually(lambda: is_over(c), 20))
        self.kill(server)
        for w in writers:
            w.join()
        server, c = self.start()
        for w in writers:
            self.assertIn(c.llen(f"list:{w.number}"), (w.acknowledged, w.acknowledged + 1))
            self.assertEqual(*c.mget(f"pair:{w.number}:a", f"pair:{w.number}:b"))

    def test_a_rewrite_without_a_log_leaves_one_that_can_be_loaded(self):
        server, c = self.start("--appendonly", "no", "--save", "", threads="3")
        self.fill(c)
        before = digest(c)
        for times in (1, 2):
            self.rewrite(c)
            self.assertTrue(eventually(lambda: server.output().count("switched off") == times, 20))
            self.assertEqual(info(c)["aof_enabled"], 0)
        c.set("later", "not in the log")
        c.execute_command("DEBUG", "LOADAOF")
        self.assertEqual(digest(c), before)
        c.set("later", "not in the log")
        self.kill(server)
        _, c = self.start(threads="2")
        self.assertEqual(digest(c), before)

    def test_a_rewrite_is_given_up_when_the_log_is_switched_off(self):
        _, c = self.start("--rdb-key-save-delay", "5000000", threads="2")
        self.fill(c)
        c.bgrewriteaof()
        c.config_set("appendonly", "no")
        self.assertTrue(eventually(lambda: is_over(c), 4))
        c.config_set("rdb-key-save-delay", "0")
        self.assertTrue(eventually(lambda: self.can_rewrite(c), 20))
        self.assertTrue(eventually(lambda: is_over(c), 20))
        self.assertEqual(info(c)["aof_last_bgrewrite_status"], "ok")

    def test_log_is_begun_again_though_the_last_one_ended_unsynced(self):
        server, c = self.start(threads="2", policy="no")
        self.fill(c)
        for times in (1, 2):
            c.config_set("appendonly", "no")
            self.assertTrue(eventually(lambda n=times: server.output().count("switched off") == n, 20))
            c.config_set("appendonly", "yes")
            self.assertTrue(eventually(lambda: is_over(c), 20))
            c.set("last", times)
        before = digest(c)
        self.kill(server)
        _, c = self.start()
        self.assertEqual(digest(c), before)

    @staticmethod
    def can_rewrite(c):
        try:
            return c.bgrewriteaof()
        except redis.ResponseError:
            return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
