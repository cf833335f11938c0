"""What INFO counts of errors: rejected_calls and failed_calls of each command, and errorstats, beside redis-server.

A scene is a sequence of commands of some clients, each of whom waits for its reply. It runs on both servers from fresh counters; what
they answer, and what they have counted then, must be equal. With several threads the scenes take every way an error can come: a command
on one shard, on several, under a lock, in a block, in scripts of each kind, and one that ends a waiting.
"""

import os
import unittest

from case import Raw, eventually
from support import resp, servers

FULL = ("CONFIG", "SET", "maxmemory", "1")
ROOM = ("CONFIG", "SET", "maxmemory", "0")
NOT_COMPARED = {"info", "config|resetstat", "config|set", "client|list", "bgsave",
                # Redis counts two answers to the others as failures of CLIENT UNBLOCK.
                "client|unblock"}
LIB = "#!lua name=lib\nredis.register_function('fail', function(k) return redis.call('incr', k[1]) end)\n" \
      "redis.register_function('pfail', function(k) return redis.pcall('incr', k[1]) end)"

# Each is a list of (client, *command). Client "w" sends without waiting: it will be blocked. Keys a, b, c … are on several shards.
SCENES = {
    "unknown command": [("1", "NOSUCH", "a"), ("1", "CONFIG", "NOSUCH"), ("1", "XGROUP", "NOSUCH")],
    "unknown command in MULTI": [("1", "MULTI"), ("1", "NOSUCH"), ("1", "EXEC"), ("1", "MULTI"), ("1", "XGROUP", "NOSUCH"), ("1", "EXEC")],
    "arity": [("1", "GET"), ("1", "SET", "a"), ("1", "XGROUP", "CREATE"), ("1", "MGET")],
    "arity in MULTI": [("1", "MULTI"), ("1", "GET"), ("1", "SET", "a", "1"), ("1", "EXEC")],
    "wrong type": [("1", "SET", "a", "x"), ("1", "LPUSH", "a", "1"), ("1", "INCR", "a"), ("1", "HGET", "a", "f"), ("1", "SINTER", "b", "a")],
    "wrong type over several shards": [("1", "SET", "a", "x"), ("1", "SUNIONSTORE", "d", "b", "c", "a"), ("1", "LMOVE", "a", "b", "LEFT", "LEFT"),
        ("1", "PFCOUNT", "a", "b", "c"), ("1", "SMOVE", "b", "a", "m"), ("1", "RENAME", "none", "b"), ("1", "ZUNION", "2", "b", "a"),
        ("1", "XREAD", "STREAMS", "b", "a", "0", "0"), ("1", "LMPOP", "2", "b", "a", "LEFT")],
    "wrong type in MULTI": [("1", "SET", "a", "x"), ("1", "MULTI"), ("1", "INCR", "a"), ("1", "GET", "a"), ("1", "LPUSH", "a", "1"), ("1", "EXEC")],
    "wrong type in MULTI over several shards": [("1", "MSET", "a", "x", "b", "x", "c", "x"), ("1", "MULTI"), ("1", "INCR", "a"), ("1", "INCR", "b"),
        ("1", "INCR", "c"), ("1", "MGET", "a", "b"), ("1", "EXEC")],
    "wrong type in MULTI that holds": [("1", "MSET", "a", "x", "b", "x", "c", "x"), ("1", "WATCH", "d"), ("1", "MULTI"), ("1", "INCR", "a"),
        ("1", "INCR", "b"), ("1", "LPUSH", "c", "1"), ("1", "LMOVE", "a", "b", "LEFT", "LEFT"), ("1", "OBJECT", "ENCODING"), ("1", "EXEC"),
        ("1", "WATCH", "d"), ("1", "MULTI"), ("1", "INCR", "a"), ("1", "INCR", "b"), ("1", "LPUSH", "c", "1"),
        ("1", "LMOVE", "a", "b", "LEFT", "LEFT"), ("1", "CONFIG", "SET", "nosuch", "1"), ("1", "SELECT", "99"), ("1", "EXEC")],
    "a dirty watch": [("1", "WATCH", "a", "b"), ("2", "SET", "a", "1"), ("1", "MULTI"), ("1", "INCR", "b"), ("1", "EXEC")],
    "EXEC and DISCARD without MULTI": [("1", "EXEC"), ("1", "DISCARD"), ("1", "MULTI"), ("1", "MULTI"), ("1", "WATCH", "a"), ("1", "EXEC")],
    "NOAUTH": [("1", "CONFIG", "SET", "requirepass", "pw"), ("fresh", "GET", "a"), ("fresh", "MULTI"), ("fresh", "NOSUCH"),
        ("fresh", "AUTH", "wrong"), ("1", "CONFIG", "SET", "requirepass", "")],
    "NOPERM": [("1", "ACL", "SETUSER", "u", "on", ">p", "+get", "+multi", "+exec", "+eval", "+auth", "~x*", "resetchannels", "+publish"),
        ("2", "AUTH", "u", "p"), ("2", "SET", "x", "1"), ("2", "GET", "a"), ("2", "PUBLISH", "c", "m"), ("2", "CONFIG", "GET", "x"), ("2", "MULTI"),
        ("2", "GET", "a"), ("2", "EXEC"), ("2", "EVAL", "return redis.call('set', 'x', 1)", "0"),
        ("2", "EVAL", "return redis.pcall('get', 'a')", "0"), ("1", "ACL", "DELUSER", "u")],
    "OOM": [("1", *FULL), ("1", "SET", "a", "x"), ("1", "MSET", "a", "1", "b", "1", "c", "1"), ("1", "GET", "a"),
        ("1", "SUNIONSTORE", "a", "b", "c"), ("1", "LMOVE", "a", "b", "LEFT", "LEFT"), ("1", "BLMOVE", "a", "b", "LEFT", "LEFT", "0"),
        ("1", "DEL", "a"), ("1", "PUBLISH", "a", "b"), ("1", *ROOM)],
    "OOM in MULTI": [("1", *FULL), ("1", "MULTI"), ("1", "SET", "a", "x"), ("1", "EXEC"), ("1", *ROOM)],
    "OOM at EXEC": [("1", "MULTI"), ("1", "SET", "a", "x"), ("1", "SET", "b", "x"), ("2", *FULL), ("1", "EXEC"), ("1", *ROOM)],
    "OOM in scripts": [("1", *FULL), ("1", "EVAL", "return redis.call('set', KEYS[1], 1)", "1", "a"),
        ("1", "EVAL", "return redis.pcall('set', KEYS[1], 1)", "1", "a"), ("1", "EVAL", "return redis.call('set', KEYS[1], 1)", "3", "a", "b", "c"),
        ("1", "EVAL", "#!lua\nreturn redis.call('set', KEYS[1], 1)", "1", "a"),
        ("1", "EVAL", "#!lua flags=allow-oom\nreturn redis.call('set', KEYS[1], 1)", "1", "a"), ("1", "FUNCTION", "LOAD", LIB), ("1", *ROOM)],
    "NOSCRIPT": [("1", "EVALSHA", "0" * 40, "0"), ("1", "EVALSHA_RO", "0" * 40, "1", "a"), ("1", "MULTI"), ("1", "EVALSHA", "0" * 40, "0"),
        ("1", "EXEC"), ("1", "FCALL", "nosuch", "0"), ("1", "EVAL", "return redis.call('evalsha', 'x', 0)", "0")],
    "scripts that do not compile or call": [("1", "EVAL", "return (", "0"), ("1", "EVAL", "return 1", "-1"), ("1", "EVAL", "return 1", "x"),
        ("1", "EVAL", "error('x')", "0"), ("1", "EVAL", "error({err='MY error'})", "0"), ("1", "EVAL", "return redis.error_reply('MY error')", "0"),
        ("1", "EVAL", "return {err='MY other'}", "1", "a"), ("1", "EVAL", "return {1, {err='MY other'}}", "1", "a"),
        ("1", "EVAL", "return redis.error_reply('MY error')", "3", "a", "b", "c"), ("1", "SCRIPT", "KILL"), ("1", "SCRIPT", "LOAD", "return (")],
    "script: unknown command": [("1", "EVAL", "return redis.call('nosuch')", "0"), ("1", "EVAL", "return redis.pcall('nosuch')", "0"),
        ("1", "EVAL", "return redis.call()", "0"), ("1", "EVAL", "return redis.call('nosuch')", "1", "a"),
        ("1", "EVAL", "redis.pcall('nosuch') return 1", "2", "a", "b")],
    "script: arity": [("1", "EVAL", "return redis.call('get')", "0"), ("1", "EVAL", "return redis.pcall('get')", "0"),
        ("1", "EVAL", "return redis.call('get')", "1", "a"), ("1", "EVAL", "redis.pcall('get') return 1", "3", "a", "b", "c"),
        ("1", "EVAL", "return redis.call('xgroup', 'create')", "1", "a"), ("1", "EVAL", "return redis.call('subscribe', 'x')", "0"),
        ("1", "EVAL", "return redis.call('set', 'a', {})", "0")],
    "script: wrong type": [("1", "MSET", "a", "x", "b", "x"), ("1", "EVAL", "return redis.call('incr', KEYS[1])", "1", "a"),
        ("1", "EVAL", "return redis.pcall('incr', KEYS[1])", "1", "a"), ("1", "EVAL", "redis.pcall('incr', KEYS[1]) return 1", "1", "a"),
        ("1", "EVAL", "return redis.call('lpush', KEYS[1], 1)", "1", "a"), ("1", "EVAL", "return redis.call('incr', KEYS[2])", "3", "a", "b", "c"),
        ("1", "EVAL", "redis.pcall('incr', KEYS[2]) redis.pcall('lpush', KEYS[1], 1) return 1", "3", "a", "b", "c"),
        ("1", "EVAL", "return redis.call('incr', 'a')", "0"), ("1", "EVAL", "redis.pcall('incr', 'a') return redis.pcall('incr', 'b')", "0"),
        ("1", "EVAL", "return redis.call('lmove', KEYS[1], KEYS[2], 'LEFT', 'LEFT')", "2", "a", "b"),
        ("1", "EVAL", "return redis.pcall('select', 99)", "0"), ("1", "EVAL", "return redis.pcall('config', 'get')", "0"),
        ("1", "EVAL_RO", "return redis.call('set', KEYS[1], 1)", "1", "a"), ("1", "EVAL_RO", "return redis.pcall('set', KEYS[1], 1)", "1", "a"),
        ("1", "EVAL_RO", "return redis.pcall('set', KEYS[1], 1)", "2", "a", "b")],
    "script that has run often": [("1", "SET", "a", "x")] + [("1", "EVAL", "return redis.call('get', KEYS[1])", "1", "a")] * 20 +
        [("1", "EVAL", "return redis.pcall('incr', KEYS[1])", "1", "a")] * 20 +
        [("1", "EVAL", "return redis.call('incr', KEYS[1])", "1", "a")] * 20 + [("1", "EVAL", "redis.pcall('incr') return 1", "1", "a")] * 20 +
        [("1", "EVAL", "return redis.call('incr', KEYS[1])", "2", "a", "b")] * 20 + [("1", "EVAL", "return redis.call('incr', 'b')", "1", "a")] * 20,
    "scripts in MULTI": [("1", "SET", "a", "x"), ("1", "MULTI"), ("1", "EVAL", "return redis.call('incr', KEYS[1])", "1", "a"),
        ("1", "EVAL", "return redis.pcall('incr', KEYS[1])", "1", "a"), ("1", "INCR", "a"), ("1", "EXEC"), ("1", "MULTI"),
        ("1", "EVAL", "return redis.call('incr', KEYS[1])", "3", "a", "b", "c"), ("1", "INCR", "b"), ("1", "EXEC")],
    "functions": [("1", "FUNCTION", "LOAD", "REPLACE", LIB), ("1", "SET", "a", "x"), ("1", "FCALL", "fail", "1", "a"),
        ("1", "FCALL", "pfail", "1", "a"), ("1", "FCALL", "fail", "3", "a", "b", "c"), ("1", "FCALL_RO", "fail", "1", "a"),
        ("1", "FUNCTION", "LOAD", LIB), ("1", "FUNCTION", "LOAD", "nonsense"), ("1", "FUNCTION", "DELETE", "nosuch"), ("1", "FCALL", "fail", "x"),
        ("1", "FUNCTION", "FLUSH")],
    "who waits is unblocked with an error": [("w", "BLPOP", "a", "0"), ("1", "CLIENT", "UNBLOCK", "W", "ERROR"), ("w",),
        ("w", "BLPOP", "a", "b", "c", "0"), ("1", "CLIENT", "UNBLOCK", "W", "ERROR"), ("w",)],
    "who waits finds another type": [("w", "BLPOP", "a", "0"), ("1", "SET", "a", "x"), ("1", "DEL", "a"), ("1", "LPUSH", "a", "1"), ("w",),
        ("1", "SET", "d", "x"), ("w", "BLMOVE", "a", "d", "LEFT", "LEFT", "0"), ("1", "LPUSH", "a", "1"), ("w",),
        ("w", "BLMOVE", "b", "d", "LEFT", "LEFT", "0"), ("1", "LPUSH", "b", "1"), ("w",)],
    "what scripts promise": [("1", "EVAL_RO", "#!lua\nreturn 1", "0"),
        ("1", "EVAL", "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 1)", "1", "a"),
        ("1", "EVAL", "#!lua flags=nonsense\nreturn 1", "0"), ("1", "EVAL", "#!nonsense\nreturn 1", "0"), ("1", "MULTI"),
        ("1", "EVAL_RO", "#!lua\nreturn 1", "0"), ("1", "EVAL", "return (", "0"), ("1", "FCALL", "nosuch", "0"), ("1", "EXEC")],
    "no saves": [("1", "break saves"), ("1", "SET", "a", "1"), ("1", "PING"), ("1", "GET", "a"), ("1", "MULTI"), ("1", "SET", "a", "1"),
        ("1", "EXEC"), ("1", "EVAL", "return redis.call('set', KEYS[1], 1)", "1", "a"), ("1", "MSET", "a", "1", "b", "1", "c", "1"),
        ("1", "EVAL", "return redis.pcall('set', KEYS[1], 1)", "3", "a", "b", "c"), ("1", "EVAL", "return redis.pcall('publish', 'c', 'm')", "0"),
        ("1", "EVAL", "#!lua\nreturn 1", "0"), ("1", "EVAL", "#!lua flags=no-writes\nreturn 1", "0"), ("1", "FUNCTION", "LOAD", LIB),
        ("1", "MULTI"), ("1", "EVAL", "return redis.call('set', KEYS[1], 1)", "1", "a"), ("1", "EXEC"), ("1", "repair saves")],
    "a subscriber": [("s", "SUBSCRIBE", "c"), ("s", "GET", "a"), ("s", "NOSUCH")],
    "errors of all shards": [("1", "SWAPDB", "0", "99"), ("1", "FLUSHALL", "x"), ("1", "MULTI"), ("1", "SWAPDB", "0", "99"), ("1", "FLUSHDB", "x"),
        ("1", "INCR", "a"), ("1", "EXEC")],
    "streams over several shards": [("1", "XADD", "s", "1-1", "f", "v"), ("1", "XGROUP", "CREATE", "s", "g", "0"),
        ("1", "XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", "t", "u", ">", ">", ">"), ("1", "SET", "t", "x"),
        ("1", "XREAD", "STREAMS", "s", "t", "u", "0", "0", "0"), ("1", "XADD", "s", "1-1", "f", "v"), ("1", "XGROUP", "CREATE", "s", "g", "0")],
    "sorts": [("1", "RPUSH", "l", "x", "y"), ("1", "SET", "a", "1"), ("1", "SORT", "l"), ("1", "SORT", "l", "BY", "w*", "GET", "v*"),
        ("1", "MSET", "wx", "p", "wy", "q"), ("1", "SORT", "l", "BY", "w*", "GET", "v*"), ("1", "SORT", "a"), ("1", "SORT", "a", "BY", "w*"),
        ("1", "SORT", "l", "STORE", "d"), ("1", "SORT", "l", "NOSUCH")],
    "errors of the net thread": [("1", "SELECT", "99"), ("1", "CONFIG", "SET", "nosuch", "1"), ("1", "CLIENT", "KILL", "nosuch:1"),
        ("1", "CLIENT", "PAUSE", "x"), ("1", "HELLO", "9"), ("1", "AUTH", "x"), ("1", "AUTH", "x", "y"), ("1", "OBJECT", "NOSUCH"),
        ("1", "DEBUG", "NOSUCH"), ("1", "SWAPDB", "0", "99"), ("1", "CLIENT", "SETNAME", "a b"), ("1", "ACL", "SETUSER", "x", "nonsense"),
        ("1", "SCAN", "x"), ("1", "COPY", "a", "a"), ("1", "COMMAND", "GETKEYS", "GET"), ("1", "WAIT", "x", "0")],
}


class Side:
    """One server, its clients, and a scene on it."""

    def __init__(self, server):
        self.server, self.admin = server, Raw(server.connect())

    def counted(self):
        raw = self.admin.command("INFO", "everything")
        lines = raw.decode().split("\r\n")
        counts = {}
        for line in lines:
            name, _, fields = line.partition(":")
            if name.startswith("errorstat_") or name == "total_error_replies":
                counts[name] = fields
            elif name.startswith("cmdstat_") and name[8:] not in NOT_COMPARED:
                of = dict(f.split("=") for f in fields.split(","))
                counts[name] = tuple(f"{f}={of[f]}" for f in ("calls", "rejected_calls", "failed_calls"))
        return counts

    def is_blocked(self, number):
        listed = self.admin.command("CLIENT", "LIST", "ID", number)
        return b" flags=b " in listed

    def break_saves(self):
        """The file cannot be named as it should be."""
        os.makedirs(os.path.join(self.server.directory, "taken"), exist_ok=True)
        for command in (("SET", "x", "1"), ("CONFIG", "SET", "save", "3600 1"), ("CONFIG", "SET", "dbfilename", "taken"), ("BGSAVE",)):
            self.admin.command(*command)
        assert eventually(lambda: b"rdb_last_bgsave_status:err" in self.admin.command("INFO", "persistence"))
        self.admin.command("CONFIG", "RESETSTAT")

    def repair_saves(self):
        for command in (("CONFIG", "SET", "dbfilename", "dump.rdb"), ("CONFIG", "SET", "save", ""), ("BGSAVE",)):
            self.admin.command(*command)
        assert eventually(lambda: b"rdb_last_bgsave_status:ok" in self.admin.command("INFO", "persistence"))

    def play(self, scene):
        """The replies, and what was counted."""
        for command in (ROOM, ("FLUSHALL",), ("FUNCTION", "FLUSH"), ("CONFIG", "RESETSTAT")):
            self.admin.command(*command)
        self.clients, replies = {}, []
        ids = {}
        for name in sorted({who for who, *_ in scene} - {"fresh"}):  # it comes when others have done something
            self.clients[name] = Raw(self.server.connect())
            ids[name.upper()] = self.clients[name].command("CLIENT", "ID")[1:-2].decode()
        for who, *command in scene:
            if who not in self.clients:
                self.clients[who] = Raw(self.server.connect())
            if command in (["break saves"], ["repair saves"]):
                self.break_saves() if "break" in command[0] else self.repair_saves()
                continue
            command = [ids[word] if word == "W" else word for word in command]
            if who == "w" and command:
                self.clients[who].send(resp.encode([word.encode() for word in command]))
                assert eventually(lambda: self.is_blocked(ids["W"])), command
            elif who == "w":
                replies.append((who, self.clients[who].reply()))
            else:
                replies.append(([word for word in command if word not in ids.values()], self.clients[who].command(*command)))
        for client in self.clients.values():
            client.close()
        return replies, self.counted()


class ErrorStats:
    ARGUMENTS = ("--threads", "1")

    @classmethod
    def setUpClass(cls):
        more = ("--enable-debug-command", "yes", "--enable-protected-configs", "yes")
        cls.theirs = servers.redis_server(*more)
        cls.ours = servers.shoal_server(*cls.ARGUMENTS, *more)

    @classmethod
    def tearDownClass(cls):
        cls.ours.stop()
        cls.theirs.stop()

    def test_errors_are_counted_as_by_redis(self):
        ours, theirs = Side(self.ours), Side(self.theirs)
        for name, scene in SCENES.items():
            with self.subTest(scene=name):
                replies, counted = ours.play(scene)
                their_replies, expected = theirs.play(scene)
                self.maxDiff = None
                self.assertEqual([r for r in zip(replies, their_replies) if r[0] != r[1]], [])
                self.assertEqual({k: v for k, v in counted.items() if expected.get(k) != v}, {k: v for k, v in expected.items() if counted.get(k) != v})


class WithDedicatedThreads(ErrorStats, unittest.TestCase):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "2")


class WithOneThread(ErrorStats, unittest.TestCase):
    ARGUMENTS = ("--threads", "1")


class WithFourThreads(ErrorStats, unittest.TestCase):
    ARGUMENTS = ("--threads", "4")
