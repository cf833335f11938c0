"""test_load: the load generator of bench/ counts what the server did, and tells what went wrong."""

import json
import os
import subprocess
import unittest

import redis

from support import servers

LOAD = os.path.join(os.path.dirname(os.path.dirname(servers.shoal_binary())), "bench", "load")


@unittest.skipUnless(os.path.exists(LOAD), f"{LOAD} is not built")
class Load(unittest.TestCase):
    def load(self, *arguments):
        run = subprocess.run([LOAD, "--sleep", "--json", "-p", str(self.server.port), *arguments], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout), run.stderr

    def setUp(self):
        self.server = servers.shoal_server("--threads", "2")
        self.addCleanup(self.server.stop)
        self.client = redis.Redis(port=self.server.port)

    def test_counts_as_the_server_does(self):
        for connections, pipeline, threads in ((1, 1, 1), (7, 16, 2), (50, 64, 1)):
            self.client.config_resetstat()
            row, _ = self.load("-c", str(connections), "-P", str(pipeline), "-t", str(threads), "-n", "20000", "--keys", "100", "--expect", ":", "INCR n:{key}")
            self.assertEqual(row["operations"], self.client.info("commandstats")["cmdstat_incr"]["calls"])
            self.assertGreaterEqual(row["operations"], 20000)
            self.assertEqual(row["errors"] + row["nulls"] + row["unexpected"], 0)

    def test_fills_each_key_and_member_once(self):
        self.load("-P", "64", "--keys", "1000", "--value-bytes", "5", "--fill", "SET k:{key} {value}")
        self.assertEqual(self.client.dbsize(), 1000)
        self.assertEqual(self.client.strlen("k:000000000999"), 5)
        self.load("-P", "64", "--keys", "10", "--members", "300", "--fill", "SADD s:{key} m:{member}")
        self.assertEqual([self.client.scard(f"s:{i:012}") for i in range(10)], [300] * 10)

    def test_tells_errors_nulls_and_what_it_did_not_expect(self):
        self.client.set("text", "x")
        row, errors = self.load("-n", "1000", "--expect", ":", "INCR text")
        self.assertEqual(row["errors"], row["operations"])
        self.assertIn("not an integer", errors)
        row, _ = self.load("-n", "1000", "--expect", "$1", "GET nothing")
        self.assertEqual((row["nulls"], row["unexpected"]), (row["operations"], 0))
        row, _ = self.load("-n", "1000", "--expect", "$2", "GET text")
        self.assertEqual(row["unexpected"], row["operations"])
        row, _ = self.load("-n", "1000", "-P", "8", "--expect", "*2", "MGET text nothing")
        self.assertEqual((row["unexpected"], row["nulls"]), (0, 0))

    def test_replies_longer_than_a_buffer_are_counted(self):
        self.client.set("long", "x" * 100000)
        row, _ = self.load("-c", "5", "-P", "3", "-n", "600", "--expect", "$100000", "GET long")
        self.assertEqual(row["unexpected"] + row["errors"], 0)
        self.assertGreaterEqual(row["operations"], 600)


if __name__ == "__main__":
    unittest.main()
