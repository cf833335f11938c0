"""SLOWLOG, LATENCY and histograms, as dashboards and exporters ask for them."""

import subprocess
import threading
import unittest

from case import SLOW, ServerCase
from support import resp

DEBUG = ("--enable-debug-command", "yes")


class Observation(ServerCase):
    ARGUMENTS = ("--threads", "4", *DEBUG)

    def setUp(self):
        super().setUp()
        c = self.client()
        c.config_set("slowlog-log-slower-than", 10000)
        c.config_set("latency-monitor-threshold", 0)
        c.slowlog_reset()
        c.execute_command("LATENCY RESET")
        c.flushall()

    def log(self, c):
        """Entries for what is not about the log itself, oldest first."""
        return [e for e in reversed(c.slowlog_get(-1)) if not e["command"].lower().startswith((b"slowlog", b"config", b"client", b"hello"))]

    def test_a_slow_command_in_a_pipeline_is_found_with_its_time_and_client(self):
        c = self.client(client_name="me")
        c.execute_command("CONFIG", "SET", "slowlog-log-slower-than", 40000 * SLOW)
        p = c.pipeline(transaction=False)
        for i in range(60):
            p.get(f"k{i}")
        p.execute_command("DEBUG", "SLEEP", 0.05 * SLOW)
        for i in range(60):
            p.get(f"k{i}")
        p.execute()
        entries = [e for e in self.log(c) if e["command"].startswith(b"DEBUG")]
        self.assertEqual([e["command"] for e in entries], [f"DEBUG SLEEP {0.05 * SLOW}".encode()])
        self.assertGreaterEqual(entries[0]["duration"], 50000 * SLOW)
        who = c.client_info()["addr"].encode()
        self.assertIn(b"$%d\r\n%s\r\n$2\r\nme\r\n" % (len(who), who), self.raw().command("SLOWLOG", "GET", -1))

    def test_short_commands_with_big_values_are_found_one_by_one(self):
        c = self.client()
        c.set("big", b"x" * (32 << 20))
        c.execute_command("CONFIG", "SET", "slowlog-log-slower-than", 1000)
        p = c.pipeline(transaction=False)
        for i in range(20):
            p.get("small")
        p.get("big")
        for i in range(20):
            p.get("small")
        p.execute()
        self.assertIn(b"get big", [e["command"].lower() for e in self.log(c)])

    def test_a_threshold_of_0_logs_everything_in_the_order_of_one_client(self):
        c = self.client()
        c.config_set("slowlog-max-len", 1000)
        c.config_set("slowlog-log-slower-than", 0)
        c.slowlog_reset()
        sent = []
        for i in range(50):
            c.set(f"k{i}", i)
            sent.append(f"SET k{i} {i}".encode())
        c.mset({f"m{i}": i for i in range(40)})
        c.rename("k1", "k2")
        c.execute_command("LMPOP", 2, "nolist", "nolist2", "LEFT")
        entries = self.log(c)
        self.assertEqual([e["command"] for e in entries[:50]], sent)
        self.assertEqual([e["command"].split()[0] for e in entries[50:]], [b"MSET", b"RENAME", b"LMPOP"])
        ids = [e["id"] for e in entries]
        self.assertEqual(ids, sorted(set(ids)))
        c.config_set("slowlog-max-len", 7)
        self.assertEqual(c.slowlog_len(), 7)
        c.config_set("slowlog-max-len", 128)

    def test_many_clients_lose_no_entry(self):
        c = self.client()
        c.config_set("slowlog-max-len", 100000)
        c.config_set("slowlog-log-slower-than", 0)
        c.slowlog_reset()

        def work(n):
            mine = self.client()
            for i in range(20):
                p = mine.pipeline(transaction=i % 2 == 0)
                for k in range(20):
                    p.incr(f"k{n}:{i}:{k}")
                p.execute()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        names = [e["command"] for e in self.log(c) if e["command"].startswith(b"INCR")]
        self.assertEqual(len(names), 6 * 20 * 20)
        self.assertEqual(len(set(names)), len(names))
        c.config_set("slowlog-max-len", 128)
        c.slowlog_reset()

    def test_latency_events_of_a_sleep(self):
        c = self.client()
        c.config_set("latency-monitor-threshold", 20)
        c.execute_command("DEBUG", "SLEEP", 0.03)
        latest = {e[0]: e for e in c.execute_command("LATENCY", "LATEST")}
        self.assertGreaterEqual(latest[b"command"][2], 30)
        self.assertEqual(len(c.execute_command("LATENCY", "HISTORY", "command")[0]), 2)
        self.assertIn("command - high", c.execute_command("LATENCY", "GRAPH", "command").decode())
        self.assertIn("1. command:", c.execute_command("LATENCY", "DOCTOR").decode())
        self.assertGreaterEqual(c.execute_command("LATENCY", "RESET", "command"), 1)

    def test_what_an_exporter_asks_for_on_both_protocols(self):
        c = self.client()
        c.get("k")
        for version in (2, 3):
            raw = self.raw()
            self.assertFalse(resp.is_error(raw.command("HELLO", version)))
            for argv in ("CONFIG GET *", "INFO ALL", "INFO latencystats", "SLOWLOG LEN", "SLOWLOG GET 1", "LATENCY LATEST", "LATENCY HISTOGRAM",
                         "LATENCY HISTOGRAM get nosuch", "LATENCY DOCTOR", "CLIENT LIST", "SLOWLOG HELP", "LATENCY HELP"):
                self.assertFalse(resp.is_error(raw.command(*argv.split())), argv)
        self.assertIn("latency_percentiles_usec_get", c.info("latencystats"))

    def test_histograms_count_every_call(self):
        c = self.client()
        c.config_resetstat()
        p = c.pipeline(transaction=False)
        for i in range(500):
            p.get(f"k{i}")
        p.execute()
        reply = c.execute_command("LATENCY", "HISTOGRAM", "get")
        self.assertEqual(reply[0], b"get")
        self.assertEqual(reply[1][1], 500)
        self.assertEqual(reply[1][3][-1], 500)
        c.config_resetstat()
        self.assertEqual(c.execute_command("LATENCY", "HISTOGRAM", "get"), [])

    def test_the_latency_modes_of_redis_cli(self):
        for mode in ("--latency-history", "--latency-dist"):
            run = subprocess.run(["timeout", "0.7", "redis-cli", "-p", str(self.server.port), mode, "-i", "1"], capture_output=True,
                                 stdin=subprocess.DEVNULL)
            self.assertNotIn(b"rror", run.stdout + run.stderr, mode)


class ObservationOneThread(Observation):
    ARGUMENTS = ("--threads", "1", *DEBUG)


if __name__ == "__main__":
    unittest.main()
