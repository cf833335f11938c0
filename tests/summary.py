#!/usr/bin/python3
"""summary.py BUILD SUITE: runs `meson test` for one suite and counts the cases inside each Criterion program.

A program that ends without a synthesis (it crashed, or timed out) counts as one failure.
"""

import json
import os
import re
import subprocess
import sys

SYNTHESIS = re.compile(r"Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(entry):
    """(passed, failed, text) of one test of the log."""
    text = COLOUR.sub("", entry.get("stdout", "") + entry.get("stderr", ""))
    good = entry["result"] in ("OK", "EXPECTEDFAIL")
    found = SYNTHESIS.findall(text)
    if not found:
        return (int(good), int(not good), text)
    tested, passing, failing, crashing = map(int, found[-1])
    bad = max(failing + crashing, 0 if good else 1)
    return (passing, bad, text)


def main():
    build, suite = sys.argv[1:3]
    log = os.path.join(build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    run = subprocess.run(["meson", "test", "-C", build, "--suite", suite, "--no-rebuild"], capture_output=True, text=True)
    if not os.path.exists(log):
        print(run.stdout + run.stderr)
        print("0 passed, 1 failed")
        return 1
    passed = failed = programs = 0
    with open(log, encoding="utf-8") as lines:
        for entry in map(json.loads, lines):
            good, bad, text = count(entry)
            programs, passed, failed = programs + 1, passed + good, failed + bad
            if bad:
                print(f"---- {entry['name']}: {entry['result']}\n{text[-6000:]}")
    print(f"{suite}: {programs} programs, {passed} passed, {failed} failed")
    return 0 if failed == 0 and programs > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
