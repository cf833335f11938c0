"""Transactions with real clients: pipelines, retry loops around WATCH, and money that must not get lost between shards."""

import os
import random
import threading
import time
import unittest

import redis

from case import SLOW, ServerCase, eventually

SECONDS = float(os.environ.get("SHOAL_TRANSFER_SECONDS", "10"))
ACCOUNTS = 1000
PAY = "redis.call('DECRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])"
START = 100


class Transactions(ServerCase):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "7")

    def setUp(self):
        super().setUp()
        self.client().flushall()

    def test_a_pipeline_is_one_transaction(self):
        with self.client().pipeline() as p:
            p.set("a", 1).incr("a").rpush("list", "x", "y").rename("a", "b").mget("a", "b").dbsize()
            self.assertEqual(p.execute(), [True, 2, 2, True, [None, b"2"], 2])

    def test_an_error_in_the_block_leaves_the_rest(self):
        with self.client().pipeline() as p:
            p.set("text", "x").incr("text").set("after", 1)
            self.assertIsInstance(p.execute(raise_on_error=False)[1], redis.ResponseError)
        self.assertEqual(self.client().get("after"), b"1")

    def test_a_long_block_with_big_values(self):
        big = os.urandom(3_000_000)
        with self.client().pipeline() as p:
            for i in range(5000):
                p.set(f"k{i}", i)
            p.set("big", big).copy("big", "copy").get("copy").rename("copy", "moved").get("moved")
            replies = p.execute()
        self.assertEqual(len(replies), 5005)
        self.assertTrue(replies[5002] == replies[5004] == big)
        self.assertEqual(self.client().dbsize(), 5002)

    def test_a_transaction_beyond_the_limit_closes_the_connection(self):
        self.client().config_set("client-query-buffer-limit", 1 << 20)
        self.addCleanup(self.client().config_set, "client-query-buffer-limit", 1 << 30)
        raw = self.raw()
        self.assertEqual(raw.command("MULTI"), b"+OK\r\n")
        answers = 0
        try:
            for _ in range(30):
                answers += raw.command("SET", "k", b"x" * 100_000) == b"+QUEUED\r\n"
        except (ConnectionError, EOFError, OSError, ValueError):
            pass
        self.assertTrue(5 < answers < 15, answers)

    def test_watching_many_keys_costs_no_more_for_each(self):
        raw = self.raw()
        before = self.server.cpu_seconds()
        for _ in range(2):  # the second time they are watched already
            self.assertEqual(raw.command("WATCH", *range(200_000)), b"+OK\r\n")
        self.assertEqual(self.client().info("clients")["total_watched_keys"], 200_000)
        self.assertLess(self.server.cpu_seconds() - before, 3 * SLOW)
        self.assertEqual(raw.command("UNWATCH"), b"+OK\r\n")
        self.assertTrue(eventually(lambda: self.client().info("clients")["total_watched_keys"] == 0))

    def test_without_memory_a_block_is_refused_as_a_whole(self):
        client, raw = self.client(), self.raw()
        self.addCleanup(client.config_set, "maxmemory", 0)
        self.assertEqual([raw.command(*c) for c in (["MULTI"], ["SET", "k", "v"])], [b"+OK\r\n", b"+QUEUED\r\n"])
        client.config_set("maxmemory", 1)
        self.assertTrue(eventually(lambda: self.raw().command("SET", "other", "v").startswith(b"-OOM")))
        self.assertTrue(raw.command("EXEC").startswith(b"-EXECABORT Transaction discarded because of: OOM "))
        self.assertEqual(raw.command("MULTI"), b"+OK\r\n")
        self.assertTrue(raw.command("GET", "k").startswith(b"-OOM"))
        self.assertEqual(raw.command("EXEC"), b"-EXECABORT Transaction discarded because of previous errors.\r\n")
        client.config_set("maxmemory", 0)
        self.assertEqual(client.exists("k"), 0)

    def test_a_script_whose_first_line_says_nothing_of_memory_refuses_a_block_without_memory(self):
        client = self.client()
        self.addCleanup(client.config_set, "maxmemory", 0)
        client.function_flush()
        client.function_load("#!lua name=l\nredis.register_function('f', function() return 1 end)\n"
                             "redis.register_function{function_name='g', callback=function() return 1 end, flags={'allow-oom'}}")
        plain, careful = "#!lua\nreturn 1", "#!lua flags=no-writes\nreturn 1"
        shas = client.script_load(plain), client.script_load(careful)
        refused = (["EVAL", plain, 0], ["EVALSHA", shas[0], 0], ["EVAL_RO", plain, 0], ["FCALL", "f", 0])
        run = (["EVAL", "return 1", 0], ["EVAL", careful, 0], ["EVALSHA", shas[1], 0], ["FCALL", "g", 0])
        for command in refused + run:
            client.config_set("maxmemory", 0)
            client.set("k", "v")
            raw = self.raw()
            for c in (["MULTI"], ["DEL", "k"], command):
                self.assertIn(raw.command(*c), (b"+OK\r\n", b"+QUEUED\r\n"))
            client.config_set("maxmemory", 1)
            self.assertTrue(eventually(lambda: self.raw().command("SET", "other", "v").startswith(b"-OOM")))
            reply = raw.command("EXEC")
            if command in refused:
                self.assertTrue(reply.startswith(b"-EXECABORT Transaction discarded because of: OOM "), (command, reply))
            else:
                self.assertEqual(reply, b"*2\r\n:1\r\n:1\r\n", command)
            self.assertEqual(client.exists("k"), command in refused, command)

    def test_counters_with_watch_lose_nothing(self):
        rounds, keys = 60, [f"counter{i}" for i in range(5)]

        def work(number):
            client, rng = redis.Redis(port=self.server.port), random.Random(number)
            for _ in range(rounds):
                some = rng.sample(keys, 2)

                def add(p, some=some):
                    values = [int(p.get(k) or 0) for k in some]
                    p.multi()
                    for k, v in zip(some, values):
                        p.set(k, v + 1)
                client.transaction(add, *some)
            client.close()
        run_all([lambda n=n: work(n) for n in range(8)])
        self.assertEqual(sum(map(int, self.client().mget(keys))), 8 * rounds * 2)

    def test_a_client_that_goes_away_in_the_middle_leaves_nothing(self):
        for _ in range(50):
            raw = self.raw()
            raw.send(b"WATCH a b c d\r\nMULTI\r\nSET a 1\r\nRENAME a b\r\nCLIENT LIST\r\nCONFIG SET maxmemory-samples 5\r\nDEL b\r\nEXEC\r\n")
            raw.close()
        client = self.client()
        self.assertTrue(eventually(lambda: client.info("clients")["connected_clients"] <= 2))
        self.assertTrue(client.set("a", 1))
        self.assertTrue(client.rename("a", "b"))
        self.assertEqual(client.flushall(), True)

    def test_money_is_neither_lost_nor_made(self):
        """Sixteen writers move money between accounts in six ways, readers add it all up in two; every sum is right."""
        accounts = [f"account:{i}" for i in range(ACCOUNTS)]
        client = self.client()
        client.mset({a: START for a in accounts})
        for i in range(20):
            client.rpush(f"purse:{i}", *["coin"] * 10)
        deadline = time.monotonic() + SECONDS
        counts = {"transfers": 0, "refused": 0, "sums": 0}
        lock = threading.Lock()

        def count(what, n=1):
            with lock:
                counts[what] += n

        def by_watch(c, rng):
            a, b = rng.sample(accounts, 2)
            with c.pipeline() as p:
                p.watch(a, b)
                have_a, have_b = int(p.get(a)), int(p.get(b))
                amount = rng.randrange(10)
                p.multi()
                p.set(a, have_a - amount).set(b, have_b + amount)
                try:
                    p.execute()
                    count("transfers")
                except redis.WatchError:
                    count("refused")

        def by_block(c, rng):
            some = rng.sample(accounts, rng.choice((2, 2, 4, 8)))
            with c.pipeline() as p:
                for a, b in zip(some[::2], some[1::2]):
                    p.decrby(a, 3).incrby(b, 3)
                p.execute()
            count("transfers")

        def by_block_across(c, rng):
            a, b = rng.sample(accounts, 2)
            with c.pipeline() as p:  # the two change their names, then one pays
                p.rename(a, "swap").rename(b, a).rename("swap", b).decr(a).incr(b)
                p.execute()
            count("transfers")

        def by_move(c, rng):
            a, b = rng.sample(range(20), 2)
            c.lmove(f"purse:{a}", f"purse:{b}")
            count("transfers")

        def by_script(c, rng):
            c.eval(PAY, 2, *rng.sample(accounts, 2), rng.randrange(10))
            count("transfers")

        def by_script_without_keys(c, rng):
            c.eval("local KEYS = ARGV " + PAY.replace("ARGV[1]", "ARGV[3]"), 0, *rng.sample(accounts, 2), rng.randrange(10))
            count("transfers")

        def write(number):
            c, rng = redis.Redis(port=self.server.port), random.Random(number)
            ways = [by_watch, by_block, by_block_across, by_move, by_script, by_script_without_keys]
            while time.monotonic() < deadline:
                rng.choice(ways)(c, rng)
            c.close()

        def read(number):
            c = redis.Redis(port=self.server.port)
            while time.monotonic() < deadline:
                if number % 2:
                    with c.pipeline() as p:
                        for i in range(0, ACCOUNTS, 100):
                            p.mget(accounts[i:i + 100])
                        for i in range(20):
                            p.llen(f"purse:{i}")
                        replies = p.execute()
                    values, coins = sum(replies[:10], []), sum(replies[10:])
                    assert coins == 200, coins
                else:
                    values = c.mget(accounts)
                assert sum(map(int, values)) == ACCOUNTS * START, "money got lost"
                count("sums")
            c.close()
        run_all([lambda n=n: write(n) for n in range(16)] + [lambda n=n: read(n) for n in range(4)])
        self.assertTrue(counts["transfers"] > 100 / SLOW and counts["sums"] > 10, counts)
        print(counts, end=" ", flush=True)


def run_all(works):
    """Each on a thread; the first failure fails the test."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)
    threads = [threading.Thread(target=guarded, args=(w,)) for w in works]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


class TransactionsOnSharedThreads(Transactions):
    ARGUMENTS = ("--threads", "7")


class TransactionsOnOneThread(Transactions):
    ARGUMENTS = ("--threads", "1")


if __name__ == "__main__":
    unittest.main()
