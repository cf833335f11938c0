"""Commands that wait: who wakes them, in which order, and what becomes of them when nobody does."""

import random
import threading
import time
import unittest

from case import SLOW, ServerCase, eventually

ELEMENT = b"v"
BLOCKS = 0.15 * SLOW  # after that time without a reply a command waits


def bulk(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def words(line):
    return [w.encode() if isinstance(w, str) else w for w in line]


# What waits: the command for key and other keys, the reply that has the element, the type that wakes it.
WAITERS = {
    "BLPOP": (lambda k, o: ["BLPOP", k, *o, "0"], lambda k: bulk(k, ELEMENT), "list"),
    "BRPOP, other keys first": (lambda k, o: ["BRPOP", *o, k, "0"], lambda k: bulk(k, ELEMENT), "list"),
    "BLMOVE": (lambda k, o: ["BLMOVE", k, b"to:" + k, "LEFT", "RIGHT", "0"], lambda k: b"$1\r\nv\r\n", "list"),
    "BRPOPLPUSH within a shard": (lambda k, o: ["BRPOPLPUSH", k, b"{" + k + b"}to", "0"], lambda k: b"$1\r\nv\r\n", "list"),
    "BLMPOP": (lambda k, o: ["BLMPOP", "0", str(1 + len(o)), k, *o, "LEFT"],
               lambda k: b"*2\r\n$%d\r\n%b\r\n" % (len(k), k) + bulk(ELEMENT), "list"),
    "BZPOPMIN": (lambda k, o: ["BZPOPMIN", k, *o, "0"], lambda k: bulk(k, ELEMENT, b"1"), "zset"),
    "BZMPOP": (lambda k, o: ["BZMPOP", "0", str(1 + len(o)), k, *o, "MAX"],
               lambda k: b"*2\r\n$%d\r\n%b\r\n*1\r\n" % (len(k), k) + bulk(ELEMENT, b"1"), "zset"),
}

# What wakes: commands that make the key ready; `s` is another key.
WAKERS = {
    "list": {
        "LPUSH": lambda k, s: [["LPUSH", k, "v"]],
        "RPUSH": lambda k, s: [["RPUSH", k, "v"]],
        "RENAME": lambda k, s: [["RPUSH", s, "v"], ["RENAME", s, k]],
        "RENAMENX": lambda k, s: [["RPUSH", s, "v"], ["RENAMENX", s, k]],
        "LMOVE": lambda k, s: [["RPUSH", s, "v"], ["LMOVE", s, k, "LEFT", "RIGHT"]],
        "COPY": lambda k, s: [["RPUSH", s, "v"], ["COPY", s, k]],
        "COPY over a string": lambda k, s: [["SET", k, "x"], ["RPUSH", s, "v"], ["COPY", s, k, "REPLACE"]],
        "MOVE": lambda k, s: [["SELECT", "1"], ["RPUSH", k, "v"], ["MOVE", k, "0"], ["SELECT", "0"]],
        "SWAPDB": lambda k, s: [["SELECT", "1"], ["RPUSH", k, "v"], ["SWAPDB", "0", "1"], ["SELECT", "0"]],
        "nothing but a string": lambda k, s: [["MSET", k, "x", s, "y"], ["SET", k, "x"], ["APPEND", k, "x"], ["DEL", k], ["RPUSH", k, "v"]],
    },
    "zset": {
        "ZADD": lambda k, s: [["ZADD", k, "1", "v"]],
        "ZINCRBY": lambda k, s: [["ZINCRBY", k, "1", "v"]],
        "ZUNIONSTORE": lambda k, s: [["ZADD", s, "1", "v"], ["ZUNIONSTORE", k, "1", s]],
        "ZRANGESTORE": lambda k, s: [["ZADD", s, "1", "v"], ["ZRANGESTORE", k, s, "0", "-1"]],
        "RENAME": lambda k, s: [["ZADD", s, "1", "v"], ["RENAME", s, k]],
        "a list before": lambda k, s: [["RPUSH", k, "x"], ["DEL", k], ["ZADD", k, "1", "v"]],
    },
}


class Blocking(ServerCase):
    ARGUMENTS = ("--threads", "2")

    def setUp(self):
        super().setUp()
        self.number = random.randrange(1 << 30)
        self.client().flushall()

    def key(self):
        self.number += 1
        return b"k%d" % self.number

    def waits(self, raw, *command):
        """Sends a command and sees to it that it waits."""
        raw.send(b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words(command)))
        ident = getattr(raw, "ident", None)
        if ident is None:
            self.assertTrue(eventually(lambda: self.blocked() > 0))
        else:
            self.assertTrue(eventually(lambda: b" flags=b " in self.control.command("CLIENT", "LIST", "ID", str(ident))))

    def blocked(self):
        return int(self.client().info("clients")["blocked_clients"])

    def waiter(self):
        if not hasattr(self, "control") or self.control.closed_for != self.id():
            self.control = self.raw()
            self.control.closed_for = self.id()
        raw = self.raw()
        raw.ident = int(raw.command("CLIENT", "ID")[1:])
        return raw

    def assert_silent(self, raw):
        raw.socket.settimeout(0.05)
        try:
            self.fail(f"an answer: {raw.reply()!r}")
        except (BlockingIOError, TimeoutError):
            pass
        raw.socket.settimeout(30)

    def test_every_waker_wakes_every_waiter(self):
        pusher = self.raw()
        for name, (command, reply, kind) in WAITERS.items():
            waiter = self.waiter()
            for waker, lines in WAKERS[kind].items():
                for others, source in ((0, b"s:"), (3, b"s:"), (2, None)):
                    key = self.key()
                    source_key = source + key if source else b"{" + key + b"}"
                    self.waits(waiter, *command(key, [self.key() for _ in range(others)]))
                    for line in lines(key, source_key):
                        answer = pusher.command(*words(line))
                        self.assertFalse(answer.startswith(b"-"), (name, waker, line, answer))
                    with self.subTest(waiter=name, waker=waker, others=others):
                        self.assertEqual(waiter.reply(), reply(key))
        self.assertTrue(eventually(lambda: self.blocked() == 0))
        self.assertEqual(self.client().info("clients")["total_blocking_keys"], 0)

    def test_first_come_first_served_whatever_else_they_wait_for(self):
        key, pusher = self.key(), self.raw()
        waiters = [self.waiter() for _ in range(6)]
        for i, w in enumerate(waiters):
            self.waits(w, "BLPOP", *([self.key() for _ in range(i % 3)]), key, "0")
        for i, w in enumerate(waiters):
            self.assertEqual(pusher.command("RPUSH", key, f"e{i}"), b":1\r\n")
            self.assertEqual(w.reply(), bulk(key, b"e%d" % i))

    def test_one_push_serves_as_many_as_it_has_elements(self):
        key, pusher = self.key(), self.raw()
        waiters = [self.waiter() for _ in range(5)]
        for w in waiters:
            self.waits(w, "BLPOP", self.key(), key, "0")
        pusher.command("RPUSH", key, *[f"e{i}" for i in range(4)])
        for i, w in enumerate(waiters[:4]):
            self.assertEqual(w.reply(), bulk(key, b"e%d" % i))
        self.assert_silent(waiters[4])

    def test_an_unblocking_with_an_error_counts_as_one(self):
        admin, waiter = self.client(decode_responses=True), self.waiter()
        admin.config_resetstat()
        self.waits(waiter, "BLPOP", self.key(), "0")
        self.assertEqual(admin.execute_command("CLIENT", "UNBLOCK", waiter.ident, "ERROR"), 1)
        self.assertEqual(waiter.reply(), b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")
        self.assertIn("errorstat_UNBLOCKED", admin.info("errorstats"))
        self.assertEqual(admin.info("commandstats")["cmdstat_blpop"]["failed_calls"], 1)

    def test_who_has_been_served_is_not_unblocked(self):
        """Push and CLIENT UNBLOCK go out together; the answer tells what has become of the client."""
        pusher, waiter = self.raw(), self.waiter()
        for i in range(60):
            keys = [self.key() for _ in range(1 + i % 3)]
            self.waits(waiter, "BLPOP", *keys, "0")
            unblock = bulk(b"CLIENT", b"UNBLOCK", b"%d" % waiter.ident)
            push = bulk(b"RPUSH", keys[-1], b"v")
            if i % 2:
                pusher.send(push + unblock)
                pusher.reply()
                answer = pusher.reply()
            else:
                other = self.raw()
                other.send(push)
                pusher.send(unblock)
                answer = pusher.reply()
                other.close()
            reply = waiter.reply()
            self.assertEqual((answer, reply), (b":0\r\n", bulk(keys[-1], b"v")) if answer == b":0\r\n" else (b":1\r\n", b"*-1\r\n"))
            if i % 2:
                self.assertEqual(answer, b":0\r\n")
        self.assertEqual(pusher.command("CLIENT", "UNBLOCK", str(waiter.ident)), b":0\r\n")

    def test_what_was_pushed_first_is_what_a_waiter_gets(self):
        """On whatever shards the keys live, and although the second one comes first among its arguments."""
        pusher, waiter = self.raw(), self.waiter()
        for _ in range(40):
            first, second = self.key(), self.key()
            self.waits(waiter, "BLPOP", second, self.key(), first, "0")
            pusher.send(bulk(b"RPUSH", first, b"a") + bulk(b"RPUSH", second, b"b") + bulk(b"LLEN", first) + bulk(b"LLEN", second))
            self.assertEqual([pusher.reply() for _ in range(4)], [b":1\r\n", b":1\r\n", b":0\r\n", b":1\r\n"])
            self.assertEqual(waiter.reply(), bulk(first, b"a"))

    def test_a_move_feeds_the_next_waiter(self):
        a, b, c = self.key(), self.key(), self.key()
        first, second, third = self.waiter(), self.waiter(), self.waiter()
        self.waits(first, "BLMOVE", a, b, "LEFT", "RIGHT", "0")
        self.waits(second, "BLMOVE", b, c, "LEFT", "RIGHT", "0")
        self.waits(third, "BLPOP", self.key(), c, "0")
        self.raw().command("RPUSH", a, "v")
        self.assertEqual(first.reply(), b"$1\r\nv\r\n")
        self.assertEqual(second.reply(), b"$1\r\nv\r\n")
        self.assertEqual(third.reply(), bulk(c, b"v"))

    def test_a_move_to_something_else_fails_and_leaves_the_element_to_the_next(self):
        for target in (b"{%b}to", b"to:%b"):
            key = self.key()
            target = target % key
            first, second, pusher = self.waiter(), self.waiter(), self.raw()
            self.waits(first, "BLMOVE", key, target, "LEFT", "RIGHT", "0")
            self.waits(second, "BLPOP", key, "0")
            pusher.command("SET", target, "x")
            pusher.command("RPUSH", key, "v")
            self.assertTrue(first.reply().startswith(b"-WRONGTYPE"))
            self.assertEqual(second.reply(), bulk(key, b"v"))

    def test_the_time_runs_out(self):
        waiter = self.raw()
        for others in range(4):
            keys = [self.key() for _ in range(1 + others)]
            started = time.monotonic()
            self.assertEqual(waiter.command("BLPOP", *keys, "0.05"), b"*-1\r\n")
            self.assertGreaterEqual(time.monotonic() - started, 0.049)
        self.assertEqual(waiter.command("BLMOVE", self.key(), self.key(), "LEFT", "LEFT", "0.01"), b"*-1\r\n")
        self.assertEqual(waiter.command("PING"), b"+PONG\r\n")
        self.assertEqual(self.blocked(), 0)

    def test_unblock(self):
        waiter, other = self.waiter(), self.raw()
        for line in (["BLPOP", "a"], ["BZPOPMIN", "a", "b", "c", "d", "e"], ["BLMOVE", "a", "b", "LEFT", "LEFT"]):
            for word, reply in (("TIMEOUT", b"*-1\r\n"), ("ERROR", b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")):
                self.waits(waiter, *line, "0")
                self.assertEqual(other.command("CLIENT", "UNBLOCK", str(waiter.ident), word), b":1\r\n")
                self.assertEqual(waiter.reply(), reply)
                self.assertEqual(other.command("CLIENT", "UNBLOCK", str(waiter.ident)), b":0\r\n")

    def test_nothing_is_popped_for_a_client_that_is_gone(self):
        for count in (1, 2, 6):
            for end in ("close", "kill"):
                waiter, keys = self.waiter(), [self.key() for _ in range(count)]
                self.waits(waiter, "BLPOP", *keys, "0")
                if end == "close":
                    waiter.close()
                else:
                    self.assertEqual(self.control.command("CLIENT", "KILL", "ID", str(waiter.ident)), b":1\r\n")
                self.assertTrue(eventually(lambda: self.blocked() == 0))
                pusher = self.raw()
                for k in keys:
                    pusher.command("RPUSH", k, "v")
                    self.assertEqual(pusher.command("LLEN", k), b":1\r\n")

    def test_what_comes_behind_waits(self):
        waiter, key = self.waiter(), self.key()
        self.waits(waiter, "BLPOP", key, self.key(), "0")
        waiter.send(bulk(b"SET", b"behind", b"x") + bulk(b"BLPOP", key, b"0") + bulk(b"GET", b"behind"))
        time.sleep(BLOCKS)
        pusher = self.raw()
        self.assertEqual(pusher.command("GET", "behind"), b"$-1\r\n")
        pusher.command("RPUSH", key, "a", "b")
        self.assertEqual([waiter.reply() for _ in range(4)], [bulk(key, b"a"), b"+OK\r\n", bulk(key, b"b"), b"$1\r\nx\r\n"])

    def test_a_key_of_another_type_is_an_error_or_is_waited_out(self):
        waiter, pusher = self.waiter(), self.raw()
        for others in range(3):
            key = self.key()
            pusher.command("SET", key, "x")
            names = [self.key() for _ in range(others)]
            self.assertTrue(waiter.command("BLPOP", *names, key, "0").startswith(b"-WRONGTYPE"))
            pusher.command("DEL", key)
            self.waits(waiter, "BLPOP", *names, key, "0")
            pusher.command("ZADD", key, "1", "x")
            self.assert_silent(waiter)
            pusher.command("DEL", key)
            pusher.command("RPUSH", key, "v")
            self.assertEqual(waiter.reply(), bulk(key, b"v"))

    def test_every_element_is_consumed_once_and_in_the_order_of_its_producer(self):
        queues = [b"q%d" % i for i in range(6)]
        producers, per_producer, consumers = 4, 400, 6
        taken, lock = [], threading.Lock()
        seed = random.randrange(1 << 30)

        def consume(number):
            client, rng, mine = self.client(), random.Random(seed + number), []
            while True:
                some = rng.sample(queues, rng.randrange(1, 5))
                got, what = None, rng.random()
                if what < 0.3:
                    got = client.blpop(some, timeout=0.01)
                elif what < 0.4:
                    client.blmove(some[0], b"moved:" + some[0], 0.02, "LEFT", "RIGHT")
                else:
                    everything = queues + [b"moved:" + q for q in queues] + [b"end"]
                    got = client.blpop(rng.sample(everything, len(everything)), timeout=30)
                    if got is None:
                        break  # nobody wakes it: there will be elements too few
                if got and got[0] == b"end":
                    break
                if got:
                    mine.append(got)
            with lock:
                taken.append(mine)

        def produce(number):
            client, rng = self.client(), random.Random(seed - 1 - number)
            for i in range(per_producer):
                queue = rng.choice(queues)
                element = b"%d:%d" % (number, i)
                if rng.random() < 0.2:
                    client.rpush(b"staged:%d" % number, element)
                    client.lmove(b"staged:%d" % number, queue, "LEFT", "RIGHT")
                else:
                    client.rpush(queue, element)
                if rng.random() < 0.05:
                    time.sleep(0.002)

        threads = [threading.Thread(target=consume, args=(i,)) for i in range(consumers)]
        makers = [threading.Thread(target=produce, args=(i,)) for i in range(producers)]
        for t in threads + makers:
            t.start()
        for t in makers:
            t.join()
        client = self.client()
        self.assertTrue(eventually(lambda: not any(client.exists(q) or client.exists(b"moved:" + q) for q in queues), 20), seed)
        for _ in range(consumers):
            client.rpush(b"end", "x")
        for t in threads:
            t.join()
        everything = sorted(e for mine in taken for _, e in mine)
        self.assertEqual(everything, sorted(b"%d:%d" % (p, i) for p in range(producers) for i in range(per_producer)), seed)
        for mine in taken:  # one queue, one consumer, one producer
            last = {}
            for queue, element in mine:
                producer, number = (int(x) for x in element.split(b":"))
                if not queue.startswith(b"moved:"):
                    self.assertLess(last.get((queue, producer), -1), number, (seed, queue, element))
                    last[queue, producer] = number


class BlockingAlone(Blocking):
    ARGUMENTS = ("--threads", "1")


class BlockingSeven(Blocking):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "7")


if __name__ == "__main__":
    unittest.main()
