"""BullMQ, unchanged: queues that are made of scripts. Needs node, and a folder with node_modules/bullmq and ioredis in SHOAL_NPM."""

import json
import os
import shutil
import subprocess
import unittest

from case import ServerCase

HERE = os.path.dirname(os.path.abspath(__file__))

NPM = os.environ.get("SHOAL_NPM", "")


@unittest.skipUnless(shutil.which("node") and os.path.isdir(os.path.join(NPM, "node_modules", "bullmq")), "no BullMQ in SHOAL_NPM")
class BullMq(ServerCase):
    ARGUMENTS = ("--threads", "1")

    def test_jobs_delays_retries_and_schedulers(self):
        port = self.client().connection_pool.connection_kwargs["port"]
        environment = {**os.environ, "NODE_PATH": os.path.join(NPM, "node_modules")}
        run = subprocess.run(["node", os.path.join(HERE, "bullmq.js"), str(port)], env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        result = json.loads(run.stdout.splitlines()[-1])
        self.assertEqual(result["done"], 73, result)
        self.assertGreaterEqual(result["delayedAt"], 500)
        self.assertGreater(result["repeats"], 10)
        self.assertEqual(result["counts"]["failed"], 0)


class BullMqOverShards(BullMq):
    ARGUMENTS = ("--net-threads", "2", "--shard-threads", "7")


if __name__ == "__main__":
    unittest.main()
