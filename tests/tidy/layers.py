#!/usr/bin/python3
"""layers.py: who may include whom, which library calls belong to one file, and that the build names every source.

A lower layer never includes a higher one, and net and shard never include each other: they meet in server.
"""

import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import source

ALL = set(source.LAYERS)
MAY_INCLUDE = {
    "base": {"base"},
    "persist": {"base", "persist"},
    "net": {"base", "net"},
    "shard": {"base", "persist", "shard"},
    "server": ALL,
    "tests": ALL | {"tests"},
    "bench": ALL | {"bench"},
}
# Headers that belong to one door: pattern of the header, who may include it, why.
SYSTEM_HEADERS = (
    (r"^liburing", r"^base/(env|uring)", "io_uring is behind base/env.h"),
    (r"^jemalloc/", r"^base/mem\.c$", "only base/mem.c calls jemalloc"),
    (r"^sys/epoll\.h$", r"^base/env", "epoll is behind base/env.h"),
    (r"^errno\.h$", r"^(base/env\w*\.[ch]|net/tls\.c)$", "errno stays in base/env*.c and net/tls.c"),
    (r"^(sys/socket|netinet/\w+|netdb|sys/un|arpa/inet)\.h$", r"^base/env", "sockets are behind base/env.h"),
)
# Names that belong to one file: pattern, who may use it, why.
NAMES = (
    (r"\berrno\b(?!\.h)", r"^(base/env\w*\.[ch]|net/tls\.c)$", "errno stays in base/env*.c and net/tls.c"),
    (r"\b(malloc|calloc|realloc|free|mallocx|rallocx|xallocx|sdallocx|dallocx|mallctl\w*|strdup|strndup|asprintf|"
     r"vasprintf|posix_memalign|aligned_alloc|malloc_usable_size)\s*\(",
     r"^base/mem\.c$", "only base/mem.c allocates: use mem_alloc of the owner"),
)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def layer_of(path):
    return path.split("/")[0]


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_includes(path, text):
    layer = layer_of(path)
    product = layer in source.LAYERS
    for match in INCLUDE.finditer(text):
        kind, name = match.groups()
        where = f"{path}:{line_of(text, match.start(2))}"
        if kind == '"':
            if "/" not in name:
                if product:
                    yield f"{where}: include \"{name}\" by its path from the root"
            elif layer_of(name) not in MAY_INCLUDE[layer]:
                yield f"{where}: {layer} may not include {name}"
            continue
        if layer_of(name) in ALL:
            yield f"{where}: include {name} with quotes"
        for header, allowed, why in SYSTEM_HEADERS if product else ():
            if re.search(header, name) and not re.search(allowed, path):
                yield f"{where}: <{name}>: {why}"


def check_names(path, text):
    if layer_of(path) not in source.LAYERS:
        return
    for name, allowed, why in NAMES:
        if re.search(allowed, path):
            continue
        for match in re.finditer(name, text):
            if text[:match.start()].rstrip().endswith(("->", ".")):
                continue  # a member of that name, not the function
            yield f"{path}:{line_of(text, match.start())}: {match.group().rstrip('( ')}: {why}"


def check_cycles(paths):
    """Headers that include each other in a ring."""
    graph = {p: [m[1] for m in INCLUDE.findall(source.code_only(source.read(p), True)) if m[0] == '"']
             for p in paths if p.endswith(".h")}
    done, path = set(), []

    def visit(node):
        if node in path:
            ring = path[path.index(node):] + [node]
            return [f"{node}:1: circular include: {' -> '.join(ring)}"]
        if node in done or node not in graph:
            return []
        path.append(node)
        found = [f for nxt in graph[node] for f in visit(nxt)]
        path.pop()
        done.add(node)
        return found
    return [f for p in sorted(graph) for f in visit(p)]


def check_built(paths):
    """Every source of a layer stands in the layer's meson.build, every test in tests/unit's."""
    for path in paths:
        layer = layer_of(path)
        if not path.endswith(".c") or not (layer in source.LAYERS or path.startswith("tests/unit/")):
            continue
        folder = layer if layer in source.LAYERS else "tests/unit"
        stem = os.path.relpath(path, folder)[:-2]
        names = (f"'{stem}'", f"'{stem}.c'", f"'{stem[:-5]}'" if stem.endswith("_test") else "''")
        build = source.read(f"{folder}/meson.build")
        if not any(name in build for name in names if name != "''"):
            yield f"{path}:1: is not named in {folder}/meson.build, so nobody builds it"


def main():
    paths = source.files(source.C_FOLDERS, (".c", ".h"))
    problems = check_cycles(paths) + list(check_built(paths))
    for path in paths:
        text = source.read(path)
        problems += check_includes(path, source.code_only(text, keep_strings=True))
        problems += check_names(path, source.code_only(text))
    return source.finish("layers", problems, len(paths))


if __name__ == "__main__":
    sys.exit(main())
