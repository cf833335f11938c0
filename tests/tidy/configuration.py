#!/usr/bin/python3
"""configuration.py: docs/CONFIGURATION.md names every directive of server/config_params.c, and no other.

Each with its alias, its default, when it can be changed and whether it has an effect.
"""

import re
import sys

TABLE = "server/config_params.c"
PAGE = "docs/CONFIGURATION.md"
NO_EFFECT = "No effect yet."

# One line of the table: MACRO("name", alias, … or {"name", alias, …
ROW = re.compile(r'^    (?:[A-Z]+\(|\{)"([a-z_-]+)", (NULL|"[a-z_-]+"), (.*)[)}],$', re.M)
# | `name` (`alias`) | `default` | when | text |
LINE = re.compile(r"^\| `([a-z_-]+)`(?: \(`([a-z_-]+)`\))? \| (.*?) \| (yes|start|file|protected) \| (.*) \|$", re.M)


def default_of(rest):
    last = rest.split(", special")[0]
    texts = re.findall(r'"([^"]*)"', last)
    return texts[-1] if texts else None


def when_of(rest):
    if "FILE_ONLY" in rest:
        return "file"
    if "IMMUTABLE" in rest:
        return "start"
    return "protected" if "PROTECTED" in rest.replace("words_protected", "") else "yes"


def rows():
    with open(TABLE, encoding="utf-8") as f:
        text = f.read()
    text = text[text.index("config_params[] = {"):]
    for name, alias, rest in ROW.findall(text):
        alias = "" if alias == "NULL" else alias.strip('"')
        default = default_of(rest)
        shown = "—" if default is None else "`%s`" % default if default else "*empty*"
        yield name, (alias, shown, when_of(rest), "UNUSED_HERE" in rest)


def lines():
    with open(PAGE, encoding="utf-8") as f:
        text = f.read()
    for name, alias, default, when, what in LINE.findall(text):
        yield name, (alias, default, when, what.startswith(NO_EFFECT))


def main():
    table, page, failures = dict(rows()), {}, []
    for name, line in lines():
        if name in page:
            failures.append("%s stands twice" % name)
        page[name] = line
    if len(table) < 150:
        failures.append("only %d rows of %s were understood" % (len(table), TABLE))
    for name in sorted(set(table) - set(page)):
        failures.append("%s is missing" % name)
    for name in sorted(set(page) - set(table)):
        failures.append("%s is no directive" % name)
    for name in sorted(set(page) & set(table)):
        if page[name] != table[name]:
            failures.append("%s: the page says %s, the table %s" % (name, page[name], table[name]))
    for failure in failures:
        print("%s: %s" % (PAGE, failure))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
