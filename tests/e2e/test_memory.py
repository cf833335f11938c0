"""Clients that use too much memory, defragmentation, and where the cap comes from."""

import time
import unittest

import redis

from case import SLOW, ServerCase, eventually
from support import resp

MIB = 1 << 20


class ClientEviction(ServerCase):
    def tearDown(self):
        self.client().config_set("maxmemory-clients", "0")

    def slow_reader(self, megabytes, protect=False):
        """A connection that has asked for so much and reads nothing."""
        s = self.raw()
        if protect:
            self.assertEqual(s.command("CLIENT", "NO-EVICT", "on"), b"+OK\r\n")
        s.command("CLIENT", "SETNAME", f"reads-nothing-{megabytes}")
        for _ in range(megabytes):
            s.send(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
        return s

    def names(self):
        return {c["name"] for c in self.client(decode_responses=True).client_list()}

    def evicted(self):
        return self.client().info("stats")["evicted_clients"]

    def test_the_largest_goes_first_and_a_protected_one_stays(self):
        c = self.client()
        c.set("big", b"x" * MIB)
        keep = [self.slow_reader(20), self.slow_reader(60), self.slow_reader(70, protect=True)]

        def memory(name):
            return sum(int(c["tot-mem"]) for c in self.client(decode_responses=True).client_list() if c["name"] == name)
        self.assertTrue(eventually(lambda: memory("reads-nothing-60") > 40 * MIB))
        self.assertTrue(eventually(lambda: memory("reads-nothing-70") > 50 * MIB))
        before = self.evicted()
        c.config_set("maxmemory-clients", str(110 * MIB))
        self.assertTrue(eventually(lambda: "reads-nothing-60" not in self.names()))
        time.sleep(0.5)
        self.assertLessEqual({"reads-nothing-20", "reads-nothing-70"}, self.names())
        self.assertEqual(self.evicted(), before + 1)
        self.assertIn("Evicting client: id=", self.server.output())
        del keep

    def test_clients_go_before_keys_do(self):
        c = self.client()
        c.flushall()
        c.config_set("client-output-buffer-limit", "pubsub 0 0 0")
        for _ in range(20):
            c.mset({f"key:{c.incr('n')}": b"x" * 10000 for _ in range(200)})
        c.config_set("maxmemory-policy", "allkeys-lru")
        c.config_set("maxmemory", str(c.info("memory")["used_memory"] + 30 * MIB))
        c.config_set("maxmemory-clients", str(8 * MIB))
        time.sleep(0.3)
        before = c.info("stats")
        for _ in range(3):
            reader = self.raw()
            reader.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$7\r\nchannel\r\n")
            self.assertTrue(eventually(lambda: c.pubsub_numsub("channel")[0][1] == 1))
            for _ in range(60 * MIB // 100000):
                c.publish("channel", b"x" * 100000)
            self.assertTrue(eventually(lambda: c.pubsub_numsub("channel")[0][1] == 0))
        after = c.info("stats")
        c.config_set("maxmemory", "0")
        c.flushall()
        self.assertGreaterEqual(after["evicted_clients"], before["evicted_clients"] + 3)
        self.assertEqual(after["evicted_keys"], before["evicted_keys"])

    def test_protected_ones_over_the_limit_do_not_save_the_others(self):
        watcher = self.raw()
        self.assertEqual(watcher.command("CLIENT", "NO-EVICT", "on"), b"+OK\r\n")
        self.client().set("big", b"x" * MIB)
        keep = [self.slow_reader(20, protect=True), self.slow_reader(8)]
        self.assertTrue(eventually(lambda: self.client().info("clients")["connected_clients"] >= 3))
        watcher.command("CONFIG", "SET", "maxmemory-clients", str(2 * MIB))
        self.assertTrue(eventually(lambda: b"reads-nothing-8" not in watcher.command("CLIENT", "LIST")))
        self.assertIn(b"reads-nothing-20", watcher.command("CLIENT", "LIST"))
        watcher.command("CONFIG", "SET", "maxmemory-clients", "0")
        del keep

    def test_a_large_query_buffer_counts(self):
        s = self.raw()
        before = self.evicted()
        self.client().config_set("maxmemory-clients", str(4 * MIB))
        s.send(b"*2\r\n$4\r\nECHO\r\n$40000000\r\n")
        try:
            for _ in range(20):
                s.send(b"y" * MIB)
                time.sleep(0.05)
        except OSError:
            pass
        self.assertTrue(eventually(lambda: self.evicted() > before))
        self.assertTrue(self.client().ping())

    def test_a_request_that_has_not_arrived_as_a_whole_is_in_the_query_buffer(self):
        s = self.raw()
        s.send(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$4\r\nslow\r\n*2\r\n$4\r\nECHO\r\n$200000\r\n")
        s.send(b"y" * 100000)
        c = self.client(decode_responses=True)
        self.assertTrue(eventually(lambda: any(
            int(line["qbuf"]) >= 100000 for line in c.client_list() if line["name"] == "slow")))

    def test_what_clients_are_told_to_hold_is_what_they_hold(self):
        """Within a twentieth: of commands that are queued, and of replies that nobody reads."""
        watcher = self.client(decode_responses=True)
        watcher.set("big", b"x" * 1_000_000)

        def held():
            return sum(int(c["tot-mem"]) for c in watcher.client_list() if c["name"] == "holds")

        def used():
            return watcher.info("memory")["used_memory"]
        for ask, least in (([["MULTI"], *[["SET", "a", b"y" * 10_000]] * 300], 3_000_000),
                           ([["MULTI"], *[["GET", "a"]] * 20_000], 3_000_000), ([["GET", "big"]] * 30, 15_000_000)):
            time.sleep(0.3)
            before = used()
            s = self.raw()
            s.command("CLIENT", "SETNAME", "holds")
            for command in ask:
                s.send(resp.encode([a if isinstance(a, bytes) else a.encode() for a in command]))
            if ask[0] == ["MULTI"]:
                for _ in ask:
                    s.reply()
            self.assertTrue(eventually(lambda: held() > least))
            seen = []
            self.assertTrue(eventually(lambda: seen.append((held(), used() - before)) or len(seen) > 4 and len(set(seen[-4:])) == 1))
            self.assertLess(seen[-1][1], seen[-1][0] * 1.05 + 100_000, ask[0])
            s.close()
            self.assertTrue(eventually(lambda: held() == 0))

    def test_a_percentage_is_one_of_maxmemory(self):
        c = self.client()
        c.config_set("maxmemory-clients", "5%")
        self.assertTrue(c.ping())
        c.config_set("maxmemory", str(200 * MIB))
        c.set("big", b"x" * MIB)
        before = self.evicted()
        s = self.slow_reader(40)
        self.assertTrue(eventually(lambda: self.evicted() > before))
        s.rest()
        c.config_set("maxmemory", "0")

    def test_a_tiny_limit_lets_an_administrator_in(self):
        self.client().config_set("maxmemory-clients", "1")
        time.sleep(0.3)
        self.assertTrue(self.client().ping())


class Cap(ServerCase):
    def test_a_percentage_of_what_the_container_has(self):
        c = self.client(decode_responses=True)
        c.config_set("maxmemory", "50%")
        info = c.info("memory")
        total = min(info["cgroup_memory_limit"] or info["total_system_memory"], info["total_system_memory"])
        self.assertAlmostEqual(info["maxmemory"] / total, 0.5, 3)
        self.assertEqual(c.config_get("maxmemory"), {"maxmemory": str(info["maxmemory"])})
        for bad in ("101%", "x%", "-1%", "%"):
            with self.assertRaises(redis.ResponseError, msg=bad):
                c.config_set("maxmemory", bad)
        c.config_set("maxmemory", "0")
        self.assertIn("Memory: ", self.server.output())


class Background(ServerCase):
    def test_many_clients_raise_hz(self):
        c = self.client()
        c.config_set("hz", 1)
        keep = [self.raw() for _ in range(201)]
        self.assertTrue(eventually(lambda: c.info("server")["hz"] == 2))
        self.assertEqual(c.info("server")["configured_hz"], 1)
        c.config_set("dynamic-hz", "no")
        self.assertTrue(eventually(lambda: c.info("server")["hz"] == 1))
        del keep

    def test_what_a_client_without_touch_uses_does_not_count(self):
        c, s = self.client(), self.raw()
        c.config_set("maxmemory-policy", "allkeys-lfu")
        c.config_set("lfu-log-factor", 0)
        script = "redis.call('get', KEYS[1]) return redis.call('get', KEYS[2])"
        names = [f"k{i}" for i in range(8)]  # on both shards
        c.mset({n: "x" for n in names})

        def counters():
            return [c.object("freq", n) for n in names]

        def use():
            for _ in range(2):
                self.assertEqual(s.command("GET", "k0"), b"$1\r\nx\r\n")
                s.command("MGET", *names)
                s.command("APPEND", "k1", "y")
                s.command("SET", "k2", "x" * 100)
                for n in names:
                    s.command("EVAL", script, 2, "k3", n)
                    s.command("GETEX", n)
                s.command("SINTERSTORE", "none", *names)
                s.command("MULTI")
                s.command("GET", "k4")
                s.command("SET", "k5", "z")
                s.command("EXEC")
        s.command("CLIENT", "NO-TOUCH", "on")
        before = counters()
        use()
        self.assertEqual(counters(), before)
        s.command("TOUCH", "k0", "k1")
        self.assertEqual(counters(), [before[0] + 1, before[1] + 1] + before[2:])
        s.command("CLIENT", "NO-TOUCH", "off")
        before = counters()
        use()
        self.assertTrue(all(now > then for now, then in zip(counters(), before)))
        c.config_set("maxmemory-policy", "noeviction")

    def test_counters_of_freeing_begin_anew(self):
        c = self.client()
        c.sadd("big", *range(1000))
        c.delete("big")
        self.assertTrue(eventually(lambda: c.info("memory")["lazyfreed_objects"] > 0))
        c.config_resetstat()
        self.assertTrue(eventually(lambda: c.info("memory")["lazyfreed_objects"] == 0))


class Defragmentation(ServerCase):
    ARGUMENTS = ("--threads", "2", "--active-defrag-ignore-bytes", "1mb")
    KEYS = 300000 // SLOW

    def fill(self, c, name, count, size):
        pipe = c.pipeline(transaction=False)
        for i in range(count):
            pipe.set(f"{name}{i}", b"x" * size)
            if i % 2000 == 1999:
                pipe.execute()
        pipe.execute()

    @unittest.skipIf(SLOW > 1, "sanitizers have an allocator of their own")
    def test_memory_that_deletion_has_left_sparse_comes_back(self):
        c = self.client()
        self.fill(c, "a", self.KEYS, 180)
        for start in range(0, self.KEYS, 1000):
            c.delete(*[f"a{i}" for i in range(start, start + 1000) if i % 10])
        self.fill(c, "b", self.KEYS // 5, 500)
        sparse = c.info("memory")["allocator_frag_ratio"]
        self.assertGreater(sparse, 1.8)
        c.config_set("activedefrag", "yes")
        self.assertTrue(eventually(lambda: c.info("memory")["allocator_frag_ratio"] < 1.1, 30), c.info("memory"))
        self.assertGreater(c.info("stats")["active_defrag_hits"], self.KEYS // 20)
        self.assertGreater(c.info("stats")["active_defrag_key_hits"], self.KEYS // 20)
        # The process itself, its threads' stacks and buffers, is part of what is resident.
        own = 12 * MIB
        self.assertTrue(eventually(lambda: self.server.rss_bytes() - own < 1.2 * c.info("memory")["used_memory"], 40),
                        (self.server.rss_bytes(), c.info("memory")["used_memory"]))
        for i in range(0, self.KEYS, 1000):
            self.assertEqual(c.get(f"a{i}"), b"x" * 180)


class FragmentationCharge(ServerCase):
    """Random eviction leaves holes everywhere, and the next values do not fit them."""

    ARGUMENTS = ("--net-threads", "1", "--shard-threads", "1", "--maxmemory", "24mb", "--maxmemory-policy", "allkeys-random")
    CAP = 24 * MIB

    def fill(self, size, megabytes):
        """The most that was charged meanwhile. What that does to RSS is bench/soak's to show."""
        c = self.client()
        pipe, charge = c.pipeline(transaction=False), 0
        for i in range(megabytes * MIB // (size + 40)):
            pipe.set(f"{size}:{i}", b"x" * size)
            if i % 5000 == 4999:
                pipe.execute()
                charge = max(charge, c.info("memory")["mem_fragmentation_charge"])
        pipe.execute()
        return charge

    @unittest.skipIf(SLOW > 1, "sanitizers have an allocator of their own")
    def test_pages_that_are_not_full_count_in_the_end(self):
        c = self.client()
        worst = {}
        for percent in (0, 10):
            c.flushall()
            c.config_set("maxmemory-fragmentation-percent", percent)
            self.fill(100, 26)
            worst[percent] = self.fill(1500, 24)
        self.assertEqual(worst[0], 0)
        self.assertGreater(worst[10], 0)
        self.assertLessEqual(worst[10], self.CAP // 8)
        self.assertTrue(eventually(lambda: c.info("memory")["used_memory"] > self.CAP * 0.85))


class KeysOfAnotherShard(ServerCase):
    ARGUMENTS = ("--threads", "4", "--maxmemory-policy", "volatile-lru")

    def test_a_write_is_refused_only_when_no_shard_has_a_key_that_may_go(self):
        c = self.client()
        pipe = c.pipeline(transaction=False)
        for i in range(5000):
            pipe.set(f"{{one}}:{i}", b"x" * 200, ex=10000)
        pipe.execute()
        used = c.info("memory")["used_memory"]
        c.config_set("maxmemory", str(used + 2 * MIB))
        with self.assertRaisesRegex(redis.ResponseError, "maxmemory"):
            for i in range(100000):
                c.set(f"stays:{i}", b"y" * 200)
        self.assertGreater(i, 8000)
        self.assertEqual(c.info("stats")["evicted_keys"], 5000)
        self.assertEqual(c.info("keyspace")["db0"]["expires"], 0)


if __name__ == "__main__":
    unittest.main()
