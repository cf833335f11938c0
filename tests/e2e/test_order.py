"""The promise of one order: what concurrent clients may and may not see when keys live on several shards."""

import random
import threading
import time
import unittest

import redis

from case import ServerCase

SECONDS = 2.0


class Order(ServerCase):
    ARGUMENTS = ("--threads", "2")

    def together(self, *works):
        """Runs each work(client, deadline) on a thread; the first failure fails the test."""
        failures = []

        def guarded(work):
            client = redis.Redis(port=self.server.port)
            try:
                work(client, time.monotonic() + SECONDS)
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
            finally:
                client.close()
        threads = [threading.Thread(target=guarded, args=(w,)) for w in works]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failures:
            raise failures[0]

    def test_mget_never_sees_half_an_mset(self):
        keys = [f"half{i}" for i in range(8)]

        def write(client, deadline):
            n = 0
            while time.monotonic() < deadline:
                n += 1
                client.mset({k: n for k in keys})

        def read(client, deadline):
            while time.monotonic() < deadline:
                assert len(set(client.mget(keys))) == 1
        self.client().mset({k: 0 for k in keys})
        self.together(write, write, read, read, read)

    def test_a_pipeline_over_two_shards_is_seen_in_its_order(self):
        """Whoever sees the second write sees the first."""
        def write(client, deadline):
            n = 0
            while time.monotonic() < deadline:
                n += 1
                with client.pipeline(transaction=False) as p:
                    p.set("first", n)
                    p.set("second", n)
                    p.execute()

        def read(client, deadline):
            while time.monotonic() < deadline:
                with client.pipeline(transaction=False) as p:
                    p.get("second")
                    p.get("first")
                    second, first = p.execute()
                assert int(first) >= int(second), (first, second)
        self.client().mset({"first": 0, "second": 0})
        self.together(write, read, read)

    def test_sort_finds_the_value_of_every_element_that_it_finds(self):
        """The keys of BY and GET are on other shards, and are known only when the elements have been seen."""
        def write(client, deadline):
            n = 0
            while time.monotonic() < deadline:
                n += 1
                with client.pipeline(transaction=False) as p:
                    p.set(f"value:{n}", n)
                    p.hset(f"record:{n}", "f", n)
                    p.rpush("elements", n)
                    p.ltrim("elements", -20, -1)
                    p.execute()

        def read(client, deadline):
            while time.monotonic() < deadline:
                rows = client.sort("elements", by="record:*->f", get=["#", "value:*", "record:*->f"], groups=True)
                assert all(a == b == c for a, b, c in rows), rows
                assert [int(r[0]) for r in rows] == sorted(int(r[0]) for r in rows)

        def store(client, deadline):
            while time.monotonic() < deadline:
                client.sort("elements", by="nosort", get=["value:*"], store="stored")
                assert all(v for v in client.lrange("stored", 0, -1))
        self.together(write, read, read, store)

    def test_sort_sees_no_later_value_beside_an_earlier_element(self):
        def write(client, deadline):
            n = 0
            while time.monotonic() < deadline:
                n += 1
                with client.pipeline(transaction=False) as p:
                    p.lset("counts", 1, n)
                    for i in range(8):
                        p.set(f"count{i}:first", n)
                    p.execute()

        def read(client, deadline):
            i = 0
            while time.monotonic() < deadline:
                i += 1
                rows = client.sort("counts", by="nosort", get=["#", f"count{i % 8}:*"], groups=True)
                assert int(rows[0][1] or 0) <= int(rows[1][0]), rows
        self.client().rpush("counts", "first", 0)
        self.together(write, read, read, read)

    def test_del_of_several_keys_is_atomic(self):
        keys = [f"gone{i}" for i in range(6)]

        def write(client, deadline):
            while time.monotonic() < deadline:
                client.mset({k: 1 for k in keys})
                client.delete(*keys)

        def read(client, deadline):
            while time.monotonic() < deadline:
                assert client.exists(*keys) in (0, len(keys))
        self.together(write, read, read)

    def test_msetnx_has_one_winner(self):
        keys = [f"nx{i}" for i in range(5)]
        wins, rounds, guard = [0], [0], threading.Barrier(4)

        def work(client, _deadline):
            for _ in range(200):
                won = client.msetnx({k: threading.get_ident() for k in keys})
                wins[0] += won
                assert len(set(client.mget(keys))) == 1
                if guard.wait() == 0:
                    client.delete(*keys)
                    rounds[0] += 1
                guard.wait()
        self.client().delete(*keys)
        self.together(*[work] * 4)
        self.assertEqual(wins[0], rounds[0])

    def test_rename_across_shards_never_loses_or_doubles(self):
        """One token wanders over many keys, moved by several clients at once."""
        names = [f"token{i}" for i in range(10)]

        def move(client, deadline):
            rng = random.Random(threading.get_ident())
            while time.monotonic() < deadline:
                try:
                    client.rename(rng.choice(names), rng.choice(names))
                except redis.ResponseError as error:
                    assert "no such key" in str(error)

        def count(client, deadline):
            while time.monotonic() < deadline:
                assert client.exists(*names) == 1
        self.client().set(names[0], "the token")
        self.together(move, move, move, count, count)
        values = [v for v in self.client().mget(names) if v]
        self.assertEqual(values, [b"the token"])

    def test_copy_across_shards_under_load(self):
        def write(client, deadline):
            n = 0
            while time.monotonic() < deadline:
                n += 1
                client.set("source", "%d:%s" % (n, "x" * 500))
                client.execute_command("COPY", "source", "target", "REPLACE")

        def read(client, deadline):
            last = 0
            while time.monotonic() < deadline:
                value = client.get("target")
                n = int(value.split(b":")[0]) if value else 0
                assert n >= last
                last = n
        self.client().delete("source", "target")
        self.together(write, read, read)


class OrderOfDedicatedThreads(Order):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "3")


if __name__ == "__main__":
    unittest.main()
