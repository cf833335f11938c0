"""source.py: what the tidy checks share: which files are ours, and C text without its comments and strings."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAYERS = ("base", "net", "persist", "shard", "server")
C_FOLDERS = LAYERS + ("tests", "bench")
SKIPPED = {".git", "__pycache__", ".cache"}


def files(folders, suffixes):
    """Paths relative to the root, sorted, with forward slashes."""
    found = []
    for folder in folders:
        for where, names, leaves in os.walk(os.path.join(ROOT, folder)):
            names[:] = [n for n in names if n not in SKIPPED and not n.startswith("build")]
            found += [os.path.relpath(os.path.join(where, leaf), ROOT) for leaf in leaves
                      if leaf.endswith(suffixes)]
    return sorted(found)


def python_files():
    """With the programs that have no suffix."""
    programs = [p for p in files(("tests", "bench", "scripts"), ("",)) if "." not in os.path.basename(p)]
    return files(("tests", "bench", "scripts"), (".py",)) + [p for p in programs if first_line(p).endswith("python3\n")]


def first_line(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.readline()


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


PIECES = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def code_only(text, keep_strings=False):
    """The same text, line for line and column for column, with comments blanked and strings emptied."""
    def blank(match):
        piece = match.group()
        if piece[0] == "/":
            return re.sub(r"[^\n]", " ", piece)
        return piece if keep_strings else piece[0] + " " * (len(piece) - 2) + piece[0]
    return PIECES.sub(blank, text)


def data_lines(text):
    """Numbers of the lines between clang-format off and on (Python: fmt: off and on): tables of data, exempt from the limits."""
    exempt, inside = set(), False
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"(/\* clang-format|^\s*# fmt:) off", line):
            inside = True
        if inside:
            exempt.add(number)
        if re.search(r"(/\* clang-format|^\s*# fmt:) on", line):
            inside = False
    return exempt


def finish(check, problems, checked):
    """Prints the findings and the closing line that scripts/test adds up; returns the exit status."""
    for problem in problems:
        print(problem)
    bad = len({p.split(":")[0] for p in problems})
    print(f"tidy/{check}: {max(0, checked - bad)} passed, {bad} failed")
    return 1 if problems else 0
