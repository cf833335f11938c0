"""XREAD and XREADGROUP with BLOCK, over one shard and over several."""

import random
import time
import unittest

from case import SLOW, ServerCase, eventually
from test_blocking import bulk, words


def entry(ident, *pair):
    return b"*2\r\n" + b"$%d\r\n%b\r\n" % (len(ident), ident) + bulk(*(pair or (b"f", b"v")))


def found(*keys):
    """[(name, [id, …]), …] as a reply of RESP2."""
    out = b"*%d\r\n" % len(keys)
    for name, ids in keys:
        out += b"*2\r\n$%d\r\n%b\r\n*%d\r\n" % (len(name), name, len(ids)) + b"".join(map(entry, ids))
    return out


class BlockingStreams(ServerCase):
    ARGUMENTS = ("--threads", "4")

    def setUp(self):
        super().setUp()
        self.client().flushall()
        self.base = b"s%d:" % random.randrange(1 << 30)
        self.a, self.b, self.c = (self.base + x for x in (b"a", b"b", b"c"))
        self.control, self.pusher = self.raw(), self.raw()

    def push(self, *command):
        answer = self.pusher.command(*words(command))
        self.assertFalse(answer.startswith(b"-"), (command, answer))
        return answer

    def groups(self, *keys, start="$"):
        for k in keys:
            self.push("XGROUP", "CREATE", k, "g", start, "MKSTREAM")

    def add(self, key, ident):
        self.push("XADD", key, ident, "f", "v")

    def waiter(self, *command, resp=2):
        raw = self.raw()
        raw.ident = raw.command("CLIENT", "ID")[1:-2]
        if resp == 3:
            raw.command("HELLO", "3")
        self.waits(raw, *command)
        return raw

    def waits(self, raw, *command):
        raw.send(bulk(*words(command)))
        self.assertTrue(eventually(lambda: self.is_waiting(raw)), command)

    def is_waiting(self, raw):
        return b" flags=b " in self.control.command("CLIENT", "LIST", "ID", raw.ident)

    def read(self, *keys, after="$", resp=2):
        return self.waiter("XREAD", "BLOCK", "0", "STREAMS", *keys, *[after] * len(keys), resp=resp)

    def group_read(self, *keys, name="alice", options=()):
        return self.waiter("XREADGROUP", "GROUP", "g", name, *options, "BLOCK", "0", "STREAMS", *keys, *[">"] * len(keys))

    def test_the_last_id_is_that_of_the_command_s_place(self):
        """What the same connection adds before is not new, what others add later is."""
        for keys in ((self.a,), (self.a, self.b, self.c)):
            self.push("DEL", *keys)
            raw = self.raw()
            raw.ident = raw.command("CLIENT", "ID")[1:-2]
            read = ["XREAD", "BLOCK", "0", "STREAMS", *keys, *["$"] * len(keys)]
            raw.send(b"".join(bulk(*words(line)) for line in (["XADD", self.a, "5-1", "f", "v"], read)))
            self.assertEqual(raw.reply(), b"$3\r\n5-1\r\n")
            self.assertTrue(eventually(lambda: self.is_waiting(raw)))
            self.add(self.a, "5-2")
            self.assertEqual(raw.reply(), found((self.a, [b"5-2"])))

    def test_several_readers_get_the_same_entry_and_members_of_a_group_do_not(self):
        self.groups(self.a, self.b)
        readers = [self.read(self.a), self.read(self.b, self.a), self.read(self.c, self.a)]
        members = [self.group_read(self.a), self.group_read(self.b, self.a, name="bob"), self.group_read(self.a, name="carol")]
        self.add(self.a, "1-1")
        for r in readers:
            self.assertEqual(r.reply(), found((self.a, [b"1-1"])))
        self.assertEqual(members[0].reply(), found((self.a, [b"1-1"])))
        self.add(self.a, "1-2")
        self.assertEqual(members[1].reply(), found((self.a, [b"1-2"])))
        self.assertTrue(self.is_waiting(members[2]))
        pending = self.client().xpending(self.a, "g")
        self.assertEqual([(c["name"], c["pending"]) for c in pending["consumers"]], [(b"alice", 1), (b"bob", 1)])

    def test_what_is_there_at_once_comes_in_the_order_of_the_keys(self):
        self.groups(self.a, self.b, self.c)
        for k in (self.c, self.a):
            self.add(k, "2-1")
            self.add(k, "2-2")
        raw = self.raw()
        want = found((self.a, [b"2-1"]), (self.c, [b"2-1"]))
        self.assertEqual(raw.command("XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", self.a, self.b, self.c, "0", "$", "1"), want)
        group = ["XREADGROUP", "GROUP", "g", "alice", "COUNT", "1"]
        self.assertEqual(raw.command(*group, "BLOCK", "0", "STREAMS", self.a, self.b, self.c, ">", ">", ">"), want)
        self.assertEqual(raw.command(*group, "STREAMS", self.a, self.b, self.c, ">", ">", ">"), want.replace(b"2-1", b"2-2"))
        self.assertEqual(raw.command(*group, "STREAMS", self.a, self.b, self.c, ">", ">", ">"), b"*-1\r\n")
        raw.command("HELLO", "3")
        self.assertTrue(raw.command("XREAD", "BLOCK", "0", "STREAMS", self.a, self.b, self.c, "0", "0", "0").startswith(b"%2\r\n"))

    def test_nothing_is_delivered_if_a_group_is_missing_anywhere(self):
        self.groups(self.a, self.c)
        self.add(self.a, "1-1")
        raw = self.raw()
        for options in ([], ["BLOCK", "0"]):
            answer = raw.command("XREADGROUP", "GROUP", "g", "alice", *options, "STREAMS", self.a, self.b, self.c, ">", ">", ">")
            self.assertEqual(answer, b"-NOGROUP No such key '%b' or consumer group 'g' in XREADGROUP with GROUP option\r\n" % self.b)
        self.assertEqual(self.client().xpending(self.a, "g")["pending"], 0)
        self.push("SET", self.b, "x")
        for command in (["XREADGROUP", "GROUP", "g", "alice", "BLOCK", "0"], ["XREAD", "BLOCK", "0"]):
            ids = [">"] * 3 if "GROUP" in command else ["0"] * 3
            answer = raw.command(*command, "STREAMS", self.a, self.b, self.c, *ids)
            self.assertTrue(answer.startswith(b"-WRONGTYPE"), answer)

    def test_the_end_of_stream_or_group_is_an_error_for_its_members_only(self):
        ends = {
            "DEL": ["DEL", self.a], "DESTROY": ["XGROUP", "DESTROY", self.a, "g"], "SET": ["SET", self.a, "x"],
            "PEXPIRE": ["PEXPIRE", self.a, "1"], "RENAME": ["RENAME", self.a, b"elsewhere"], "FLUSHALL": ["FLUSHALL"],
            "SWAPDB": ["SWAPDB", "0", "1"], "MOVE": ["MOVE", self.a, "1"],
        }
        for name, line in ends.items():
            with self.subTest(name):
                self.push("FLUSHALL")
                self.groups(self.a, self.b)
                member, spread, reader = self.group_read(self.a), self.group_read(self.a, self.b), self.read(self.b, self.a)
                self.push(*line)
                for raw in (member, spread):
                    self.assertRegex(raw.reply(), b"^-(NOGROUP|WRONGTYPE)")
                self.assertTrue(self.is_waiting(reader))
                self.push("DEL", self.a)
                self.add(self.a, "9-1")
                self.assertEqual(reader.reply(), found((self.a, [b"9-1"])))
        self.assertTrue(eventually(lambda: self.client().info("clients")["blocked_clients"] == 0))

    def test_a_group_that_is_set_back_has_something(self):
        self.add(self.a, "1-1")
        self.groups(self.a, self.b)
        member = self.group_read(self.b, self.a)
        self.push("XGROUP", "SETID", self.a, "g", "0")
        self.assertEqual(member.reply(), found((self.a, [b"1-1"])))

    def test_without_acknowledgement_nothing_is_pending(self):
        self.groups(self.a, self.b)
        member = self.group_read(self.b, self.a, options=("NOACK",))
        self.add(self.a, "1-1")
        self.assertEqual(member.reply(), found((self.a, [b"1-1"])))
        self.assertEqual(self.client().xpending(self.a, "g")["pending"], 0)

    def test_the_end_of_the_time_and_of_patience(self):
        self.groups(self.a, self.b)
        group = ["XREADGROUP", "GROUP", "g", "alice"]
        for keys in ((self.a,), (self.a, self.b)):
            for resp, null in ((2, b"*-1\r\n"), (3, b"_\r\n")):
                for command, ident in ((["XREAD"], "$"), (group, ">")):
                    raw = self.raw()
                    if resp == 3:
                        raw.command("HELLO", "3")
                    started = time.monotonic()
                    self.assertEqual(raw.command(*command, "BLOCK", "40", "STREAMS", *keys, *[ident] * len(keys)), null)
                    self.assertGreaterEqual(time.monotonic() - started, 0.039)
                    waiter = self.waiter(*command, "BLOCK", "0", "STREAMS", *keys, *[ident] * len(keys), resp=resp)
                    self.assertEqual(self.control.command("CLIENT", "UNBLOCK", waiter.ident), b":1\r\n")
                    self.assertEqual(waiter.reply(), null)
                    self.waits(waiter, *command, "BLOCK", "0", "STREAMS", *keys, *[ident] * len(keys))
                    self.assertEqual(self.control.command("CLIENT", "UNBLOCK", waiter.ident, "ERROR"), b":1\r\n")
                    self.assertEqual(waiter.reply(), b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")
                    self.assertEqual(waiter.command("PING"), b"+PONG\r\n")

    def test_who_has_gone_takes_nothing(self):
        self.groups(self.a, self.b)
        first, second = self.group_read(self.a, self.b), self.group_read(self.b, self.a, name="bob")
        first.close()
        self.assertTrue(eventually(lambda: not self.is_waiting(first)))
        self.add(self.a, "1-1")
        self.assertEqual(second.reply(), found((self.a, [b"1-1"])))
        names = [c["name"] for c in self.client().xpending(self.a, "g")["consumers"]]
        self.assertEqual(names, [b"bob"])

    def test_transactions_and_scripts_do_not_wait(self):
        self.groups(self.a, self.b)
        raw = self.raw()
        raw.command("MULTI")
        raw.command("XREAD", "BLOCK", "0", "STREAMS", self.a, self.b, "$", "$")
        raw.command("XREADGROUP", "GROUP", "g", "alice", "BLOCK", "0", "STREAMS", self.a, self.b, ">", ">")
        raw.command("XADD", self.b, "1-1", "f", "v")
        raw.command("XREADGROUP", "GROUP", "g", "alice", "BLOCK", "0", "STREAMS", self.a, self.b, ">", ">")
        self.assertEqual(raw.command("EXEC"), b"*4\r\n*-1\r\n*-1\r\n$3\r\n1-1\r\n" + found((self.b, [b"1-1"])))
        for name, ident in (("xread", "$"), ("xreadgroup", ">")):
            group = "'group', 'g', 'bob', " if name == "xreadgroup" else ""
            text = f"return redis.call('{name}', {group}'block', '0', 'streams', KEYS[1], '{ident}')"
            answer = raw.command("EVAL", text, "1", self.a)
            self.assertTrue(answer.startswith(b"-ERR %b command is not allowed with BLOCK option from scripts" % name.encode()), answer)

    def test_a_map_in_resp3(self):
        for keys in ((self.a,), (self.b, self.a)):
            reader = self.read(*keys, resp=3)
            self.push("XADD", self.a, "*", "f", "v")
            self.assertTrue(reader.reply().startswith(b"%%1\r\n$%d\r\n%b\r\n*1\r\n" % (len(self.a), self.a)))

    def test_first_come_first_served_over_many_shards(self):
        """Members that wait for several streams each get one entry, in the order in which they came, whichever stream has it."""
        keys = [self.base + b"%d" % i for i in range(6)]
        self.groups(*keys)
        for _ in range(5 if SLOW == 1 else 2):
            members = [self.group_read(*random.sample(keys, 4), keys[0], name=f"c{i}", options=("COUNT", "1")) for i in range(4)]
            self.push("XADD", keys[0], "*", "f", "v")
            for m in members[:1]:
                self.assertIn(keys[0], m.reply())
            for i, m in enumerate(members[1:]):
                self.push("XADD", keys[0], "*", "f", "v")
                self.assertIn(keys[0], m.reply())

    def test_a_lot_of_streams_and_readers(self):
        keys = [self.base + b"%d" % i for i in range(50)]
        readers = [self.read(*random.sample(keys, 20), keys[7]) for _ in range(20)]
        self.add(keys[7], "1-1")
        for r in readers:
            self.assertEqual(r.reply(), found((keys[7], [b"1-1"])))
        self.assertTrue(eventually(lambda: self.client().info("clients")["total_blocking_keys"] == 0))


if __name__ == "__main__":
    unittest.main()
