"""Values travel between shoal-server and redis-server by DUMP and RESTORE, and arrive as they were.

SHOAL_DUMP_VALUES says how many random values (default: some hundreds), SHOAL_SEED which.
"""

import os
import random

import redis
from case import ServerCase
from support import rdb, servers, values

COUNT = int(os.environ.get("SHOAL_DUMP_VALUES", "300"))
SEED = int(os.environ.get("SHOAL_SEED", "1"))
UNORDERED = {b"hashtable"}  # the order of the elements follows the seed of the server's hash table
NEWER = {(b"quicklist", b"listpack"), (b"hashtable", b"listpack")}  # 7.0 and 7.2 differ for small lists and sets
BAD = [6, 7, 8, 15, 19, 21, *range(26, 256)]


def read_all(c, key):
    """The whole value, by the commands of its type."""
    kind = c.type(key)
    if kind == b"string":
        return c.get(key)
    if kind == b"list":
        return c.lrange(key, 0, -1)
    if kind == b"set":
        return c.smembers(key)
    if kind == b"zset":
        return c.zrange(key, 0, -1, withscores=True)
    return c.hgetall(key)


def digest(c, key):
    return c.execute_command("DEBUG", "DIGEST-VALUE", key)[0]


def restore(c, key, payload, *options):
    """The error, None if it went well."""
    try:
        c.execute_command("RESTORE", key, 0, payload, "REPLACE", *options)
    except redis.exceptions.ResponseError as e:
        return str(e)
    return None


def may_be_one_node(command):
    """A list that one command fills: 7.2, as we, adds up the elements alone before it makes a second node, 7.0 what they take in a node."""
    return command[0] in ("RPUSH", "LPUSH") and 6000 < sum(map(len, command[2:])) < 8192


class Dump(ServerCase):
    ARGUMENTS = ("--threads", "2", "--enable-debug-command", "yes")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = servers.redis_server("--enable-debug-command", "yes", "--sanitize-dump-payload", "yes")

    @classmethod
    def tearDownClass(cls):
        cls.reference.stop()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.ours = self.client()
        self.theirs = redis.Redis(port=self.reference.port, socket_timeout=60)
        self.addCleanup(self.theirs.close)
        self.ours.flushall()
        self.theirs.flushall()
        print(f"SHOAL_SEED={SEED}", end=" ", flush=True)

    def assert_arrived(self, key, copy, context):
        """What lies under `copy` on both servers is what lies under `key`."""
        wanted = digest(self.theirs, key)
        for c in (self.ours, self.theirs):
            self.assertEqual(digest(c, copy), wanted, context)
        self.assertEqual(read_all(self.ours, copy), read_all(self.theirs, key), context)
        ours, theirs = self.ours.object("encoding", copy), self.theirs.object("encoding", copy)
        self.assertTrue(ours == theirs or (theirs, ours) in NEWER, (context, ours, theirs))

    def test_random_values_travel_both_ways(self):
        rng = random.Random(SEED)
        equal = 0
        for i in range(COUNT):
            key = b"key:%d" % i
            for command in values.commands(rng, key):
                self.ours.execute_command(*command)
                self.theirs.execute_command(*command)
            context = f"value {i}: {command[0]}"
            ours, theirs = self.ours.dump(key), self.theirs.dump(key)
            self.assertIsNone(restore(self.theirs, "copy", ours), context)
            self.assertIsNone(restore(self.ours, "copy", theirs), context)
            self.assert_arrived(key, "copy", context)
            encodings = {c.object("encoding", key) for c in (self.ours, self.theirs)}
            if not encodings & UNORDERED and not may_be_one_node(command):
                self.assertEqual(ours, theirs, context)
                equal += 1
        self.assertGreater(equal, COUNT // 3)

    def test_without_compression_payloads_are_equal_too(self):
        rng = random.Random(SEED + 1)
        for c in (self.ours, self.theirs):
            c.config_set("rdbcompression", "no")
            self.addCleanup(c.config_set, "rdbcompression", "yes")
        for i in range(COUNT // 4):
            for command in values.commands(rng, "key"):
                self.ours.execute_command(*command)
                self.theirs.execute_command(*command)
            encodings = {c.object("encoding", "key") for c in (self.ours, self.theirs)}
            if not encodings & UNORDERED and not may_be_one_node(command):
                self.assertEqual(self.ours.dump("key"), self.theirs.dump("key"), f"value {i}: {command[0]}")
            for c in (self.ours, self.theirs):
                c.delete("key")

    def test_the_digest_of_the_data_set_is_equal(self):
        rng = random.Random(SEED + 2)
        for i in range(COUNT // 4):
            db, key = rng.choice([0, 0, 3, 9]), b"key:%d" % i
            made = values.commands(rng, key) + ([("EXPIRE", key, 10000)] if rng.random() < 0.3 else [])
            for c in (self.ours, self.theirs):
                pipe = c.pipeline(transaction=False)
                for command in [("SELECT", db), *made, ("SELECT", 0)]:
                    pipe.execute_command(*command)
                pipe.execute()
            if i % (COUNT // 40 + 1) == 0:
                self.assertEqual(*(c.execute_command("DEBUG", "DIGEST") for c in (self.ours, self.theirs)), f"value {i}")
        keys = self.theirs.keys() + [b"missing"]
        self.assertEqual(*(c.execute_command("DEBUG", "DIGEST-VALUE", *keys) for c in (self.ours, self.theirs)))

    def old_value(self, rng):
        """A value in any form that a server up to 7.2 writes and 7.0 reads."""
        count = values.size(rng)
        kind = rng.choice([1, 10, 14, 18, 2, 11, 3, 5, 12, 17, 4, 9, 13, 16])
        if kind in (1, 10, 14, 18):
            return rdb.list_value(kind, [values.word(rng) for _ in range(count)], rng.choice([1, 1, 2, 3]))
        if kind in (2, 11):
            return rdb.set_value(kind, values.words(rng, count) if kind == 2 else values.integers(rng, count))
        if kind in (3, 5, 12, 17):
            return rdb.zset_value(kind, [(m, values.score(rng)) for m in values.words(rng, count)])
        return rdb.hash_value(kind, [(f, values.word(rng)) for f in values.words(rng, count)])

    def test_the_forms_of_all_versions_are_read(self):
        rng = random.Random(SEED + 3)
        for i in range(COUNT):
            value = self.old_value(rng)
            context = f"value {i} of type {value[0]}"
            for c in (self.ours, self.theirs):
                self.assertIsNone(restore(c, "key", rdb.payload(value)), context)
            self.assert_arrived("key", "key", context)

    def test_spoilt_payloads_do_no_harm(self):
        """What is taken here, redis-server takes, too, and for the same value."""
        rng = random.Random(SEED + 4)
        taken = 0
        for i in range(COUNT * 4):
            value = bytearray(self.old_value(rng))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(value) if rng.random() < 0.5 else min(len(value), 16))
                value[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0x81, 0xC0, 0xC3, 0xFE, 0xFF, value[at] ^ 1, rng.randrange(256)])
            if rng.random() < 0.1:
                del value[rng.randrange(1, len(value) + 1):]
            if value[0] in (15, 19, 21):
                continue
            payload = rdb.payload(bytes(value))
            context = f"value {i}: {bytes(value[:200])}"
            error = restore(self.ours, "key", payload)
            self.assertIn(error, (None, "Bad data format"), context)
            if error is None and value[0] not in (20, 22, 23, 24, 25):
                taken += 1
                self.assertIsNone(restore(self.theirs, "key", payload), context)
                self.assert_arrived("key", "key", context)
        self.assertGreater(taken, COUNT // 8)

    def test_types_that_nobody_knows_are_refused(self):
        for kind in BAD:
            error = restore(self.ours, "key", rdb.payload(bytes([kind]) + b"\x01\x01a\x01b"))
            self.assertEqual(error, "Bad data format", kind)

    def test_what_redis_7_2_writes_for_small_sets_is_read(self):
        value = rdb.set_value(20, [b"a", b"1", b"x" * 64])
        self.assertIsNone(restore(self.ours, "key", rdb.payload(value, 11)))
        self.assertEqual(self.ours.smembers("key"), {b"a", b"1", b"x" * 64})
        self.assertEqual(self.ours.object("encoding", "key"), b"listpack")
        self.assertIsNone(restore(self.theirs, "key", self.ours.dump("key")))
        self.assertEqual(self.theirs.smembers("key"), {b"a", b"1", b"x" * 64})

    def test_deadlines_of_fields_travel_between_servers_that_know_them(self):
        self.ours.hset("key", mapping={"a": "1", "b": "2"})
        self.ours.execute_command("HPEXPIREAT", "key", 4102444800000, "FIELDS", 1, "a")
        payload = self.ours.dump("key")
        self.assertEqual(restore(self.theirs, "key", payload), "DUMP payload version or checksum are wrong")
        self.assertIsNone(restore(self.ours, "copy", payload))
        self.assertEqual(self.ours.execute_command("HPEXPIRETIME", "copy", "FIELDS", 2, "a", "b"), [4102444800000, -1])

    def test_errors_are_those_of_redis(self):
        good = rdb.payload(b"\0\x01v")
        cases = [("k", "x", good), ("k", "-1", good), ("k", "0", b""), ("k", "0", good[:-1]), ("k", "0", good, "FOO"),
                 ("k", "0", good, "IDLETIME"), ("k", "0", good, "IDLETIME", "-1"), ("k", "0", good, "FREQ", "256"),
                 ("k", "0", good, "FREQ", "1", "IDLETIME", "1"), ("k", "0", rdb.payload(b"")), ("k", "0"), ("s", "x", b""),
                 ("k", "9223372036854775808", good), ("k", "0", rdb.payload(b"\0\x01v", 99))]
        for c in (self.ours, self.theirs):
            c.set("s", "v")
        for case in cases:
            errors = []
            for c in (self.ours, self.theirs):
                with self.assertRaises(redis.exceptions.ResponseError, msg=case) as caught:
                    c.execute_command("RESTORE", *case)
                errors.append(str(caught.exception))
            self.assertEqual(*errors, case)
