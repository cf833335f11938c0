#!/usr/bin/python3
"""headers.py: every header compiles alone, with the warnings of the project as errors; the labels of its contract start lines.

The warnings are read from meson.build, so there is one list of them.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import source

COMPILER = os.environ.get("CC") or shutil.which("gcc") or "cc"


def project_flags():
    """The strings of add_project_arguments that start with -W or -D, as far as this compiler knows them."""
    wanted = ["-Wall", "-Wextra", "-Wpedantic"]
    wanted += re.findall(r"'(-[WD][\w=-]+)'", source.read("meson.build").split("root_inc")[0])
    probe = ["-std=gnu17", "-Werror", "-x", "c", "-fsyntax-only", "-"]
    return [f for f in wanted
            if subprocess.run([COMPILER, f, *probe], input=b"extern int x;\n", capture_output=True).returncode == 0]


def compile_alone(header, flags):
    # Included from a file of its own: as the main file, gcc would complain about #pragma once.
    text = f'#include "{header}"\n'
    command = [COMPILER, "-std=gnu17", *flags, "-Werror", "-I.", "-x", "c", "-fsyntax-only", "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, cwd=source.ROOT)
    if run.returncode == 0:
        return []
    errors = [line for line in run.stderr.split("\n") if re.search(r":\d+:\d+: (fatal )?error:", line)]
    return [f"{e.removeprefix('./')} (compiling {header} alone)" for e in errors[:5]] or [
        f"{header}:1: does not compile: {run.stderr[:300]}"]


LABEL = re.compile(r"^ \*.*\S (Thread|Ownership|Limits|Errors|Order|Source)(  |$)")


def lost_labels(header):
    """clang-format joins lines of a comment that it reflows, and a label in the middle of one is not found by the eye."""
    block = source.read(header).split("*/", 1)[0].split("\n")
    return [f"{header}:{number}: a label in the middle of a line" for number, line in enumerate(block, 1) if LABEL.match(line)]


def main():
    headers = source.files(source.C_FOLDERS, (".h",))
    flags = project_flags() + ["-DSHOAL_DCHECK"]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda h: compile_alone(h, flags), headers))
    problems = [problem for result in results for problem in result]
    for header in headers:
        if "#pragma once" not in source.read(header):
            problems.append(f"{header}:1: has no #pragma once")
        problems += lost_labels(header)
    return source.finish("headers", problems, len(headers))


if __name__ == "__main__":
    sys.exit(main())
