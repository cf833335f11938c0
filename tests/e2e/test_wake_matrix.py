"""Who wakes whom: every way to make a key ready, with its source on the same shard or elsewhere, for every command that waits, for one key
or several: at once, and first come, first served."""

import random
import time
import unittest

from case import SLOW, ServerCase, eventually
from test_blocking import bulk, words

AT_ONCE = 0.5 * SLOW
V = b"v"
ENTRY = b"*2\r\n$3\r\n9-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n"


def stream_reply(key):
    return b"*1\r\n*2\r\n$%d\r\n%b\r\n*1\r\n%b" % (len(key), key, ENTRY)


def popped(key, *element):
    return b"*2\r\n$%d\r\n%b\r\n" % (len(key), key) + bulk(*element)


# The command for key k and others o, the reply, the type that it waits for.
WAITERS = {
    "BLPOP": (lambda k, o: ["BLPOP", *o, k, "0"], lambda k: bulk(k, V), "list"),
    "BLMOVE": (lambda k, o: ["BLMOVE", k, b"to:" + k, "LEFT", "RIGHT", "0"], lambda k: b"$1\r\nv\r\n", "list"),
    "BLMOVE within a shard": (lambda k, o: ["BLMOVE", k, b"{" + k + b"}to", "LEFT", "RIGHT", "0"], lambda k: b"$1\r\nv\r\n", "list"),
    "BLMPOP": (lambda k, o: ["BLMPOP", "0", str(1 + len(o)), k, *o, "LEFT"], lambda k: popped(k, V), "list"),
    "BZPOPMIN": (lambda k, o: ["BZPOPMIN", *o, k, "0"], lambda k: bulk(k, V, b"1"), "zset"),
    "BZMPOP": (lambda k, o: ["BZMPOP", "0", str(1 + len(o)), *o, k, "MAX"],
               lambda k: b"*2\r\n$%d\r\n%b\r\n*1\r\n" % (len(k), k) + bulk(V, b"1"), "zset"),
    "XREAD": (lambda k, o: ["XREAD", "BLOCK", "0", "STREAMS", *o, k, *["$"] * (1 + len(o))], stream_reply, "stream"),
    "XREADGROUP": (lambda k, o: ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", k, *o, *[">"] * (1 + len(o))], stream_reply, "stream"),
}
MAKE = {
    "list": lambda k: [["RPUSH", k, "v"]],
    "zset": lambda k: [["ZADD", k, "1", "v"]],
    "stream": lambda k: [["XADD", k, "9-1", "f", "v"]],
}


def make(kind, k):
    """All that a waiter may ask for: a stream has its group."""
    return MAKE[kind](k) + ([["XGROUP", "CREATE", k, "g", "0"]] if kind == "stream" else [])


def script(line):
    return ["EVAL", "return redis.call(unpack(ARGV))", "1", line[1], *line]


# What makes key k ready; s is another key.
WAKERS = {
    "the plain command": lambda t, k, s: MAKE[t](k),
    "a script": lambda t, k, s: [script(MAKE[t](k)[0])],
    "a script without keys": lambda t, k, s: [["EVAL", "return redis.call(unpack(ARGV))", "0", *MAKE[t](k)[0]]],
    "EXEC": lambda t, k, s: [["MULTI"], ["SET", s, "x"], *MAKE[t](k), ["GET", s], ["EXEC"]],
    "EXEC with a watch": lambda t, k, s: [["WATCH", s, k], ["MULTI"], ["SET", s, "x"], *MAKE[t](k), ["EXEC"]],
    "RENAME": lambda t, k, s: [*make(t, s), ["RENAME", s, k]],
    "COPY": lambda t, k, s: [*make(t, s), ["COPY", s, k, "REPLACE"]],
    "RESTORE": lambda t, k, s: [*make(t, s), ["DUMP", s], ["RESTORE", k, "0", None, "REPLACE"]],
    "SWAPDB": lambda t, k, s: [["SELECT", "1"], *make(t, k), ["SWAPDB", "0", "1"], ["SELECT", "0"]],
}
OF_TYPE = {
    "list": {
        "LMOVE": lambda t, k, s: [["RPUSH", s, "v"], ["LMOVE", s, k, "LEFT", "RIGHT"]],
        "SORT STORE": lambda t, k, s: [["SADD", s, "v"], ["SORT", s, "ALPHA", "STORE", k]],
    },
    "zset": {
        "ZUNIONSTORE": lambda t, k, s: [["ZADD", s, "1", "v"], ["ZUNIONSTORE", k, "1", s]],
        "ZRANGESTORE": lambda t, k, s: [["ZADD", s, "1", "v"], ["ZRANGESTORE", k, s, "0", "-1"]],
    },
    "stream": {},
}


class WakeMatrix(ServerCase):
    ARGUMENTS = ("--threads", "2")

    def setUp(self):
        super().setUp()
        self.number = random.randrange(1 << 30)
        self.client().flushall()
        self.control, self.pusher = self.raw(), self.raw()

    def key(self):
        self.number += 1
        return b"k%d" % self.number

    def waiter(self):
        raw = self.raw()
        raw.ident = raw.command("CLIENT", "ID")[1:-2]
        return raw

    def waits(self, raw, command):
        raw.send(bulk(*words(command)))
        self.assertTrue(eventually(lambda: b" flags=b " in self.control.command("CLIENT", "LIST", "ID", raw.ident)), command)

    def push(self, lines):
        answer = b""
        for line in lines:
            payload = answer[answer.index(b"\n") + 1:-2] if None in line else None
            answer = self.pusher.command(*[payload if w is None else w for w in words(line)])
            self.assertFalse(answer.startswith(b"-"), (line, answer))
        return answer

    def prepare(self, kind, key, rest):
        """Groups to wait with, those of the other keys in the second database, too: SWAPDB must not take them away."""
        if kind == "stream":
            for k in (key, *rest):
                self.push([["XGROUP", "CREATE", k, "g", "$", "MKSTREAM"]])
            for k in rest:
                self.push([["COPY", k, k, "DB", "1"]])

    def check_cell(self, name, waker, others, is_near):
        command, reply, kind = WAITERS[name]
        key, rest = self.key(), [self.key() for _ in range(others)]
        source = b"{" + key + b"}s" if is_near else b"s:" + key
        self.prepare(kind, key, rest)
        for w in (self.first, self.second):
            self.waits(w, command(key, rest))
        self.push({**WAKERS, **OF_TYPE[kind]}[waker](kind, key, source))
        started = time.monotonic()
        self.assertEqual(self.first.reply(), reply(key))
        if name == "XREAD":
            self.assertEqual(self.second.reply(), reply(key))
        self.assertLess(time.monotonic() - started, AT_ONCE)
        if name != "XREAD":
            self.assertIn(b" flags=b ", self.control.command("CLIENT", "LIST", "ID", self.second.ident))
            if kind == "stream":
                self.push([["XADD", key, "9-2", "f", "v"]])
                self.assertEqual(self.second.reply(), reply(key).replace(b"9-1", b"9-2"))
            else:
                self.push(MAKE[kind](key))
                self.assertEqual(self.second.reply(), reply(key))

    def test_every_way_wakes_every_waiter_in_its_turn(self):
        self.first, self.second = self.waiter(), self.waiter()
        for name, (_, _, kind) in WAITERS.items():
            for waker in {**WAKERS, **OF_TYPE[kind]}:
                for others in ((0,) if "MOVE" in name else (0, 3)):
                    for is_near in (True, False):
                        with self.subTest(waiter=name, waker=waker, others=others, near=is_near):
                            self.check_cell(name, waker, others, is_near)
        self.assertEqual(self.client().info("clients")["blocked_clients"], 0)
        self.assertEqual(self.client().info("clients")["total_blocking_keys"], 0)


class WakeMatrixOverSeven(WakeMatrix):
    ARGUMENTS = ("--threads", "7")


if __name__ == "__main__":
    unittest.main()
