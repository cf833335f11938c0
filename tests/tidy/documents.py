#!/usr/bin/python3
"""documents.py: what the documents point to is there: links, and the files and folders that they name in code; and a README
with a list of files names each source of its folder."""

import os
import re
import sys

import source

LINK = re.compile(r"\]\(([^)#]+)")
CODE = re.compile(r"`([^`\n]+)`")
# A path from the root, and whole: not the beginning of `gen_<group>.py`.
PATH = re.compile(r"(?<![\w/.-])((?:base|persist|net|shard|server|tests|bench|scripts|docs)/[\w./-]*\w)(?![\w<*])")
# A source that is named without its folder.
NAME = re.compile(r"[a-z0-9_]+\.(?:[ch]|py|pml)")
FOLDERS = ("base", "persist", "net", "shard", "server", "tests", "bench", "scripts", "docs")


def exists(path):
    """A file, a folder, or a module: `net/turn` is net/turn.c."""
    return any(os.path.exists(os.path.join(source.ROOT, path + end)) for end in ("", ".c", ".h"))


def missing(page, text, names):
    folder = os.path.dirname(page)
    for link in LINK.findall(text):
        if "://" not in link and not exists(os.path.join(folder, link)):
            yield link
    for code in CODE.findall(text):
        if code.startswith("ninja "):  # targets
            continue
        for path in PATH.findall(code):
            if not exists(path) and not exists(os.path.join(folder, path)):
                yield path
        if NAME.fullmatch(code) and code not in names:
            yield code


def unlisted(page, text):
    """Sources of the folder that its "## Files" leaves out; `cmd_` files stand there as a family."""
    _, found, files = text.partition("\n## Files\n")
    listed = set(re.findall(r"\w+", files))
    folder = os.path.dirname(page)
    for name in sorted(os.listdir(os.path.join(source.ROOT, folder))) if found else ():
        module, end = os.path.splitext(name)
        if end == ".c" and module not in listed and not module.startswith("cmd_"):
            yield name


def main():
    names = {os.path.basename(f) for f in source.files(FOLDERS, ("",))}
    pages = source.files(FOLDERS, (".md",)) + [f for f in os.listdir(source.ROOT) if f.endswith(".md")]
    failures = ["%s: there is no %s" % (page, what) for page in pages for what in missing(page, source.read(page), names)]
    failures += ["%s: does not list %s" % (page, name) for page in pages for name in unlisted(page, source.read(page))]
    for line in failures:
        print(line)
    print("tidy/documents: %d passed, %d failed" % (len(pages), len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
