"""CONFIG, INFO, CLIENT and what else an operator uses."""

import itertools
import os
import re
import socket
import tempfile
import threading
import time
import unittest

import redis

from case import SLOW, ServerCase, eventually
from support import resp, servers

INFO_FIELDS = {
    "server": "redis_version redis_mode run_id tcp_port process_id uptime_in_seconds os multiplexing_api",
    "clients": "connected_clients blocked_clients maxclients tracking_clients client_recent_max_input_buffer client_recent_max_output_buffer",
    "memory": "used_memory used_memory_rss used_memory_peak used_memory_overhead used_memory_startup used_memory_dataset maxmemory "
              "maxmemory_policy mem_fragmentation_ratio allocator_allocated allocator_active allocator_resident mem_clients_normal "
              "lazyfree_pending_objects total_system_memory",
    "stats": "total_connections_received total_commands_processed instantaneous_ops_per_sec instantaneous_input_kbps "
             "instantaneous_output_kbps total_net_input_bytes total_net_output_bytes rejected_connections expired_keys evicted_keys "
             "keyspace_hits keyspace_misses pubsub_channels pubsub_patterns",
    "cpu": "used_cpu_sys used_cpu_user",
}


class Config(ServerCase):
    def test_get_by_name_glob_and_several(self):
        c = self.client(decode_responses=True)
        self.assertEqual(c.config_get("databases"), {"databases": "16"})
        self.assertEqual(c.config_get("port"), {"port": str(self.server.port)})
        self.assertIn("maxmemory-policy", c.config_get("maxmemory*"))
        self.assertEqual(c.config_get("nosuch"), {})
        self.assertGreater(len(c.config_get("*")), 50)
        both = c.execute_command("CONFIG", "GET", "save", "timeout")
        names = list(both) if isinstance(both, dict) else both[::2]
        self.assertEqual(sorted(names), ["save", "timeout"])

    def test_set_and_its_errors(self):
        c = self.client(decode_responses=True)
        self.assertTrue(c.config_set("maxmemory", "100mb"))
        self.assertEqual(c.config_get("maxmemory"), {"maxmemory": str(100 << 20)})
        self.assertTrue(c.config_set("maxmemory", "0"))
        self.assertTrue(c.execute_command("CONFIG", "SET", "timeout", "100", "maxmemory-samples", "7"))
        self.assertEqual(c.config_get("timeout"), {"timeout": "100"})
        for arguments in (("nosuch", "1"), ("timeout", "abc"), ("port",), ("databases", "3"), ("timeout", "1", "nosuch", "2"),
                          ("maxmemory-policy", "sometimes")):
            with self.assertRaises(redis.ResponseError, msg=arguments):
                c.execute_command("CONFIG", "SET", *arguments)
        self.assertEqual(c.config_get("timeout"), {"timeout": "100"})
        c.config_set("timeout", "0")

    def test_oom_score_follows_the_configuration(self):
        c = self.client()

        def score():
            with open(f"/proc/{self.server.child.pid}/oom_score_adj", encoding="ascii") as f:
                return int(f.read())
        before = score()
        c.execute_command("CONFIG", "SET", "oom-score-adj-values", "10 20 30", "oom-score-adj", "relative")
        self.assertEqual(score(), min(before + 10, 1000))
        c.config_set("oom-score-adj-values", "33 20 30")
        self.assertEqual(score(), min(before + 33, 1000))
        c.config_set("oom-score-adj", "no")
        self.assertEqual(score(), before)
        c.execute_command("CONFIG", "SET", "oom-score-adj-values", "2000 20 30", "oom-score-adj", "absolute")
        self.assertEqual(score(), 1000)
        c.config_set("oom-score-adj", "no")
        self.assertEqual(score(), before)

    def test_a_change_that_fails_changes_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as taken, tempfile.TemporaryDirectory() as elsewhere:
            server = servers.shoal_server("--enable-protected-configs", "yes")
            self.addCleanup(server.stop)
            c = redis.Redis(port=server.port, decode_responses=True)
            values = {"requirepass": "secret", "dir": elsewhere, "maxmemory": "1gb", "oom-score-adj": "absolute", "loglevel": "debug",
                      "appendonly": "yes", "port": str(taken.getsockname()[1])}
            before, process = c.config_get(*values), f"/proc/{server.child.pid}"
            score = open(f"{process}/oom_score_adj", encoding="ascii").read()
            with self.assertRaisesRegex(redis.ResponseError, "'port'.*Unable to listen"):
                c.execute_command("CONFIG", "SET", *itertools.chain(*values.items()))
            self.assertTrue(redis.Redis(port=server.port).ping(), "who connects needs no password")
            self.assertEqual(c.config_get(*values), before)
            self.assertEqual(os.readlink(f"{process}/cwd"), before["dir"])
            self.assertEqual(open(f"{process}/oom_score_adj", encoding="ascii").read(), score)
            self.assertEqual(c.info("persistence")["aof_enabled"], 0)

    def test_resetstat(self):
        c = self.client()
        c.get("missing")
        self.assertTrue(c.config_resetstat())
        self.assertEqual(c.info("stats")["keyspace_misses"], 0)


class Info(ServerCase):
    def test_fields_that_tools_read(self):
        c = self.client()
        for section, fields in INFO_FIELDS.items():
            found = c.info(section)
            missing = [f for f in fields.split() if f not in found]
            self.assertEqual(missing, [], section)
            self.assertNotIn(-1, [v for v in found.values() if not isinstance(v, dict)], section)

    def test_every_field_of_redis_is_there(self):
        c = self.client(decode_responses=True)
        c.set("k", "v")
        with servers.redis_server() as other:
            r = redis.Redis(port=other.port, decode_responses=True)
            r.set("k", "v")
            for section in ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "cluster", "keyspace"):
                self.assertEqual(sorted(set(r.info(section)) - set(c.info(section))), [], section)
            self.assertEqual(set(r.memory_stats()) - set(c.memory_stats()), set())
        self.assertRegex(c.info("server")["redis_build_id"], "^[0-9a-f]{1,16}$")

    def test_who_waits_and_for_how_long(self):
        c, waiting = self.client(), [self.raw(), self.raw(), self.raw()]
        c.xgroup_create("stream", "group", mkstream=True)
        waiting[0].send(resp.encode([b"BLPOP", b"list", b"100"]))
        waiting[1].send(resp.encode([b"BLPOP", b"list", b"0"]))
        waiting[2].send(resp.encode([b"XREADGROUP", b"GROUP", b"group", b"c", b"BLOCK", b"0", b"STREAMS", b"stream", b">"]))
        self.assertTrue(eventually(lambda: c.info("clients")["blocked_clients"] == 3))
        names = ("clients_in_timeout_table", "total_blocking_keys", "total_blocking_keys_on_nokey")
        self.assertTrue(eventually(lambda: [c.info("clients")[n] for n in names] == [1, 2, 1]), c.info("clients"))
        c.rpush("list", "a", "b")
        c.delete("stream")
        for s in waiting:
            s.reply()
        self.assertEqual([c.info("clients")[n] for n in names], [0, 0, 0])

    def test_values_are_true(self):
        c = self.client()
        c.flushall()
        c.config_resetstat()
        c.set("a", "x")
        c.set("b", "x", ex=1000)
        c.get("a")
        c.get("missing")
        info = c.info("all")
        self.assertEqual((info["keyspace_hits"], info["keyspace_misses"]), (1, 1))
        self.assertEqual((info["db0"]["keys"], info["db0"]["expires"]), (2, 1))
        self.assertTrue(eventually(lambda: 900000 < c.info("keyspace")["db0"]["avg_ttl"] <= 1000000))
        self.assertNotIn("db1", info)
        self.assertEqual(info["process_id"], self.server.pid)
        self.assertEqual(info["tcp_port"], self.server.port)
        self.assertEqual(info["connected_clients"], 1)
        self.assertGreaterEqual(tuple(map(int, info["redis_version"].split(".")[:2])), (7, 2))
        self.assertRegex(info["run_id"], "^[0-9a-f]{40}$")
        self.assertEqual(info["cmdstat_set"]["calls"], 2)
        self.assertEqual(info["cmdstat_get"]["calls"], 2)
        self.assertLess(abs(info["used_memory_rss"] - self.server.rss_bytes()), (16 << 20) * SLOW)
        self.assertGreater(info["used_memory"], 100000)

    def test_used_memory_follows_the_data(self):
        c = self.client()
        c.flushall()
        before = c.info("memory")["used_memory"]
        with c.pipeline(transaction=False) as p:
            for i in range(1000):
                p.set(f"m{i}", "x" * 1000)
            p.execute()
        grown = c.info("memory")["used_memory"] - before
        self.assertTrue(1000000 < grown < 2500000, grown)
        c.flushall()
        self.assertTrue(eventually(lambda: c.info("memory")["used_memory"] - before < 400000))  # parcels are kept for reuse

    def test_shards_and_threads_sections(self):
        c = self.client()
        self.assertTrue(c.info("shards"))
        self.assertTrue(c.info("threads"))

    def test_sections_by_name(self):
        raw = self.raw()
        self.assertIn(b"# Server\r\n", raw.command("INFO"))
        self.assertNotIn(b"# Clients", raw.command("INFO", "server"))
        both = raw.command("INFO", "server", "CLIENTS")
        self.assertTrue(b"# Server" in both and b"# Clients" in both and b"# Memory" not in both)
        self.assertNotIn(b"#", raw.command("INFO", "nosuch"))


class Clients(ServerCase):
    def test_list_shows_every_connection(self):
        c = self.client(client_name="watcher")
        others = [self.client(client_name=f"c{i}", db=3) for i in range(6)]
        for o in others:
            o.ping()
        names = [line["name"] for line in c.client_list()]
        for name in ["watcher"] + [f"c{i}" for i in range(6)]:
            self.assertIn(name, names)
        line = [x for x in c.client_list() if x["name"] == "c0"][0]
        self.assertEqual((line["db"], line["cmd"], line["user"], line["resp"]), ("3", "ping", "default", "2"))

    def test_ids_are_unique_and_grow(self):
        ids = [int(self.raw().command("CLIENT", "ID")[1:]) for _ in range(20)]
        self.assertEqual(len(set(ids)), 20)

    def test_kill_by_id_address_and_name(self):
        c = self.client()
        victims = [self.raw() for _ in range(6)]
        ids = [int(v.command("CLIENT", "ID")[1:]) for v in victims]
        for i in ids[:5]:
            self.assertEqual(c.execute_command("CLIENT", "KILL", "ID", i), 1)
        address = "%s:%d" % victims[5].socket.getsockname()[:2]
        self.assertTrue(c.execute_command("CLIENT", "KILL", address))
        for v in victims:
            self.assertEqual(v.rest(), b"")
        with self.assertRaises(redis.ResponseError):
            c.execute_command("CLIENT", "KILL", address)
        self.assertEqual(c.execute_command("CLIENT", "KILL", "ID", ids[0]), 0)

    def test_kill_of_all_others(self):
        victims = [self.raw() for _ in range(10)]
        for v in victims:
            v.command("PING")
        me = self.raw()
        self.assertGreaterEqual(int(me.command("CLIENT", "KILL", "TYPE", "normal")[1:]), 10)
        for v in victims:
            self.assertEqual(v.rest(), b"")
        self.assertEqual(me.command("PING"), b"+PONG\r\n")

    def test_killing_oneself_still_answers(self):
        s = self.raw()
        number = s.command("CLIENT", "ID")[1:-2]
        self.assertEqual(s.command("CLIENT", "KILL", "ID", number, "SKIPME", "no"), b":1\r\n")
        self.assertEqual(s.rest(), b"")

    def test_pause_holds_writes_and_lets_reads_pass(self):
        c, admin = self.client(), self.client()
        c.set("p", "1")
        self.assertTrue(admin.execute_command("CLIENT", "PAUSE", "500", "WRITE"))
        began = time.monotonic()
        self.assertEqual(c.get("p"), b"1")
        self.assertLess(time.monotonic() - began, 0.4 * SLOW)
        self.assertTrue(c.set("p", "2"))
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_unpause_lets_everything_go(self):
        c, admin = self.client(), self.client()
        c.ping()
        self.assertTrue(admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE"))
        waiting = threading.Thread(target=c.set, args=("p", "3"))
        waiting.start()
        time.sleep(0.1)
        self.assertTrue(waiting.is_alive())
        self.assertTrue(admin.execute_command("CLIENT", "UNPAUSE"))
        waiting.join(10)
        self.assertFalse(waiting.is_alive())

    def test_reply_off_on_and_skip(self):
        s = self.raw()
        s.send(b"CLIENT REPLY OFF\r\nSET r 1\r\nGET r\r\nCLIENT REPLY ON\r\n")
        self.assertEqual(s.reply(), b"+OK\r\n")
        s.send(b"CLIENT REPLY SKIP\r\nPING\r\nGET r\r\n")
        self.assertEqual(s.reply(), b"$1\r\n1\r\n")


class Debug(ServerCase):
    ARGUMENTS = ("--threads", "2", "--enable-debug-command", "yes")

    def test_a_sleeping_shard_delays_but_loses_nothing(self):
        c = self.client()
        began = time.monotonic()
        c.execute_command("DEBUG", "SLEEP", "0.3")
        self.assertGreaterEqual(time.monotonic() - began, 0.29)
        self.assertTrue(c.ping())

    def test_object(self):
        c = self.client()
        c.set("n", 12345)
        c.set("s", "x" * 100)
        c.set("e", "short")
        s = self.raw()
        self.assertEqual([s.command("OBJECT", "ENCODING", k) for k in ("n", "s", "e", "missing")],
                         [b"$3\r\nint\r\n", b"$3\r\nraw\r\n", b"$6\r\nembstr\r\n", b"$-1\r\n"])

    def test_tables_tell_how_full_they_are(self):
        c = self.client()
        c.flushall()
        c.sadd("big", *range(-1000, 1000))
        c.hset("small", "field", "value")
        of_key = c.execute_command("DEBUG", "HTSTATS-KEY", "big").decode()
        self.assertIn(" number of elements: 2000\n", of_key)
        chains = re.findall(r"^   (\d+): (\d+) \(", of_key, re.MULTILINE)
        self.assertEqual(sum(int(length) * int(count) for length, count in chains), 2000)
        self.assertEqual(sum(int(count) for _, count in chains), int(re.search(r"table size: (\d+)", of_key).group(1)))
        s = self.raw()
        whole = s.command("DEBUG", "HTSTATS", "0").decode()
        self.assertEqual(sum(int(n) for n in re.findall(r"number of elements: (\d+)", whole)), 2)
        self.assertEqual(whole.count("[Dictionary HT]\n"), 2)
        s.command("HELLO", "3")
        self.assertEqual(s.command("DEBUG", "HTSTATS", "0").decode().partition("\r\n")[2], "txt:" + whole.partition("\r\n")[2])
        self.assertEqual([s.command("DEBUG", *words.split()) for words in ("HTSTATS 16", "HTSTATS x", "HTSTATS-KEY small", "HTSTATS-KEY none",
                                                                          "LISTPACK small", "LISTPACK big", "LISTPACK none")],
                         [b"-ERR Out of range database\r\n", b"-ERR value is not an integer or out of range\r\n",
                          b"-ERR The value stored at the specified key is not represented using an hash table\r\n", b"-ERR no such key\r\n",
                          b"+Listpack structure printed on stdout\r\n", b"-ERR Not a listpack encoded object.\r\n", b"-ERR no such key\r\n"])


if __name__ == "__main__":
    unittest.main()
