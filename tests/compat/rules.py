"""rules.py: where a reply may differ from the reference's, and why. The same table stands in docs/COMPATIBILITY.md.

A rule is a function of (arguments, reference's raw reply, ours): whether they say the same. An error never equals anything but the same error.
"""

import re

from support import rdb, resp

TTL_SLACK = {b"TTL": 1, b"EXPIRETIME": 1, b"PTTL": 1000, b"PEXPIRETIME": 1000}
HELLO_OWN = {b"server", b"version", b"id"}
CONFIG_OWN = {b"port", b"dir", b"pidfile", b"logfile", b"io-threads", b"enable-debug-command", b"proc-title-template",
              b"bind", b"locale-collate", b"syslog-ident", b"appendonly", b"appendfsync"}
CLIENT_FIELD = re.compile(rb"\b([\w-]+)=(\S*)")
CLIENT_SAME = {b"name", b"db", b"sub", b"psub", b"ssub", b"multi", b"user", b"resp", b"redir", b"cmd"}


def unordered(_argv, expected, actual):
    return resp.head(expected) == resp.head(actual) and sorted(resp.children(expected)) == sorted(resp.children(actual))


def any_key(_argv, expected, actual):
    return (resp.text(expected) is None) == (resp.text(actual) is None) and expected[:1] == actual[:1]


def scan(_argv, expected, actual):
    """The same shape: [cursor, keys]. What a walk finds is checked by the runner at the end of each case."""
    sides = [resp.children(raw) for raw in (expected, actual)]
    return resp.head(expected) == resp.head(actual) and all(
        len(s) == 2 and s[0][:1] == b"$" and resp.text(s[0]).isdigit() and s[1][:1] == b"*" for s in sides)


def scan_collection(argv, expected, actual):
    """The same elements when both servers told all of them in one step; else the shape."""
    sides = [resp.children(raw) for raw in (expected, actual)]
    if not scan(argv, expected, actual):
        return False
    is_whole = argv[2] in (b"0", b"+0", b"") and all(resp.text(s[0]) == b"0" for s in sides)
    return not is_whole or unordered(argv, sides[0][1], sides[1][1])


def as_many(_argv, expected, actual):
    return resp.head(expected) == resp.head(actual) if expected[:1] in b"*~%" else any_key(_argv, expected, actual)


def small_encoding(argv, expected, actual):
    was_sorted = argv[-1].startswith((b"sortzset", b"numzset")) and resp.text(expected) == b"skiplist"
    return (was_sorted or resp.text(expected) in (b"hashtable", b"quicklist")) and resp.text(actual) == b"listpack"


def geo_area(argv, expected, actual):
    """COUNT n ANY stops at any n; without COUNT, ASC or DESC there is no order."""
    words = {a.upper() for a in argv}
    if b"ANY" in words:
        return as_many(argv, expected, actual)
    return not words & {b"ASC", b"DESC", b"COUNT"} and unordered(argv, expected, actual)


def sort_set(argv, expected, actual):
    """A set that is not sorted: BY without an asterisk, and no STORE."""
    words = [a.upper() for a in argv]
    patterns = [argv[i + 1] for i, w in enumerate(words[:-1]) if w == b"BY"]
    if b"set" not in argv[1] or b"zset" in argv[1] or all(b"*" in p for p in patterns):
        return False
    if b"LIMIT" in words:
        return as_many(argv, expected, actual)
    size = max(1, words.count(b"GET"))

    def groups(raw):
        parts = resp.children(raw)
        return sorted(parts[i:i + size] for i in range(0, len(parts), size))
    return resp.head(expected) == resp.head(actual) and groups(expected) == groups(actual)


def pairs(_argv, expected, actual):
    """Fields with their values, in any order."""
    def of(raw):
        parts = resp.children(raw)
        return sorted(zip(parts[::2], parts[1::2]))
    return resp.head(expected) == resp.head(actual) and of(expected) == of(actual)


def deadline(argv, expected, actual):
    if expected[:1] != b":" or actual[:1] != b":":
        return False
    left, right = int(expected[1:-2]), int(actual[1:-2])
    return left >= 0 and right >= 0 and abs(left - right) <= TTL_SLACK[argv[0].upper()]


def stream_groups_at(data):
    """Behind the nodes, the numbers that follow them, and the count of groups."""
    count, at = rdb.read_length(data, 1)
    for _ in range(2 * count):
        at = rdb.skip_string(data, at)
    for _ in range(9):
        at = rdb.read_length(data, at)[1]
    return at


def payload(_argv, expected, actual):
    """Sets and hashes that are hash tables there: the same members, or pairs of them, in any order. Streams: all before the groups."""
    def parts(raw):
        data = resp.text(raw)
        if data is not None and data[:1] == b"\x13":
            return data[:stream_groups_at(data)]
        if data is None or data[:1] not in (b"\x02", b"\x04"):
            return raw
        count, at = rdb.read_length(data, 1)
        strings = []
        for _ in range(count * (2 if data[0] == 4 else 1)):
            end = rdb.skip_string(data, at)
            strings.append(data[at:end])
            at = end
        return sorted(zip(strings[::2], strings[1::2])) if data[0] == 4 else sorted(strings), data[at:at + 2]
    return expected[:1] == actual[:1] and parts(expected) == parts(actual)


def libraries(argv, expected, actual):
    """FUNCTION LIST: libraries, and the functions of each, in any order."""
    def canonical(raw):
        if raw[:1] == b"*" and resp.children(raw)[:1] != [b"$12\r\nlibrary_name\r\n"] and resp.children(raw)[:1] != [b"$4\r\nname\r\n"]:
            return sorted(map(str, map(canonical, resp.children(raw))))
        return list(map(canonical, resp.children(raw))) if raw[:1] in (b"*", b"%") else raw
    return resp.head(expected) == resp.head(actual) and canonical(expected) == canonical(actual)


def libraries_payload(_argv, expected, actual):
    def parts(raw):
        data, at, codes = resp.text(raw), 0, []
        while data[at] == 0xF5:
            end = rdb.skip_string(data, at + 1)
            codes.append(data[at:end])
            at = end
        return sorted(codes), data[at:at + 2]
    return expected[:1] == actual[:1] == b"$" and parts(expected) == parts(actual)


def hello(_argv, expected, actual):
    left, right = resp.children(expected), resp.children(actual)
    if resp.head(expected) != resp.head(actual) or len(left) != len(right):
        return False
    return all(l == r or (i % 2 == 1 and resp.text(left[i - 1]) in HELLO_OWN and l[:1] == r[:1])
               for i, (l, r) in enumerate(zip(left, right)))


def client_line(_argv, expected, actual):
    """The fields whose values do not depend on the server's build or on the connection's address."""
    def fields(raw):
        return [[(k, v) for k, v in CLIENT_FIELD.findall(line) if k in CLIENT_SAME] for line in resp.text(raw).strip().split(b"\n")]
    return expected[:1] == actual[:1] and sorted(fields(expected)) == sorted(fields(actual))


def config(_argv, expected, actual):
    """Equal values for every directive that both sides have, but for those that say where a server lives."""
    def values(raw):
        items = resp.children(raw)
        return {resp.text(k): v for k, v in zip(items[::2], items[1::2])}
    left, right = values(expected), values(actual)
    both = left.keys() & right.keys()
    return expected[:1] == actual[:1] and bool(both) == bool(left) and all(
        left[k] == right[k] for k in both if k not in CONFIG_OWN)


CLOCK_SLACK_MS = 20000
AUTO_ID = re.compile(rb"\$\d+\r\n\d+-\d+\r\n")


def about(expected, actual):
    """Two times, or two spans of time."""
    return expected[:1] == actual[:1] == b":" and abs(int(expected[1:-2]) - int(actual[1:-2])) <= CLOCK_SLACK_MS


def auto_id(argv, expected, actual):
    return argv[1][:4] == b"auto" and all(AUTO_ID.fullmatch(raw) for raw in (expected, actual))


def auto_range(argv, expected, actual):
    return argv[1][:4] == b"auto" and resp.head(expected) == resp.head(actual)


def pending(_argv, expected, actual):
    """Rows of [id, consumer, idle, deliveries]."""
    rows = [[resp.children(row) for row in resp.children(raw)] for raw in (expected, actual)]
    return resp.head(expected) == resp.head(actual) and all(
        len(a) == len(b) == 4 and a[:2] + a[3:] == b[:2] + b[3:] and about(a[2], b[2]) for a, b in zip(*rows))


STREAM_OWN = {b"radix-tree-nodes", b"seen-time", b"active-time", b"idle", b"inactive", b"consumers"}


def stream_fields(raw):
    items = resp.children(raw)
    return {resp.text(k): v for k, v in zip(items[::2], items[1::2])}


def same_stream_fields(left, right):
    return left.keys() - STREAM_OWN == right.keys() - STREAM_OWN and all(
        left[k] == right[k] or k == b"pending" and times_alike(left[k], right[k]) for k in left if k not in STREAM_OWN)


def times_alike(expected, actual):
    """Rows of pending entries: the time stands before the last number."""
    rows = [[resp.children(row) for row in resp.children(raw)] for raw in (expected, actual)]
    return resp.head(expected) == resp.head(actual) and all(
        a[:-2] + a[-1:] == b[:-2] + b[-1:] and about(a[-2], b[-2]) for a, b in zip(*rows))


def consumers(_argv, expected, actual):
    """Those that have something pending."""
    sides = [[c for c in map(stream_fields, resp.children(raw)) if c.get(b"pel-count", c[b"pending"]) != b":0\r\n"] for raw in (expected, actual)]
    return len(sides[0]) == len(sides[1]) and all(map(same_stream_fields, *sides))


def groups(_argv, expected, actual):
    sides = [list(map(stream_fields, resp.children(raw))) for raw in (expected, actual)]
    return resp.head(expected) == resp.head(actual) and all(map(same_stream_fields, *sides))


def stream(_argv, expected, actual):
    left, right = stream_fields(expected), stream_fields(actual)
    if left.get(b"groups", b":")[:1] == b"*":
        sides = [list(map(stream_fields, resp.children(side.pop(b"groups")))) for side in (left, right)]
        if len(sides[0]) != len(sides[1]) or not all(map(same_stream_fields, *sides)):
            return False
        if not all(consumers(None, a[b"consumers"], b[b"consumers"]) for a, b in zip(*sides)):
            return False
    return same_stream_fields(left, right)


NOTES = b"$5\r\nnotes\r\n"


def command_rows(argv, expected, actual):
    """Row by row without the subcommands, sets in any order. Without names in the request: the type only."""
    def canonical(raw):
        parts = resp.children(raw)
        if parts == [raw]:
            return raw
        while NOTES in parts:
            at = parts.index(NOTES)
            del parts[at:at + 2]
        return raw[:1], sorted(map(str, map(canonical, parts)))

    def rows(raw):
        return [[canonical(part) for part in resp.children(row)[:9]] for row in resp.children(raw)]
    return expected[:1] == actual[:1] and (len(argv) == 2 or rows(expected) == rows(actual))


def same_type(_argv, expected, actual):
    return expected[:1] == actual[:1]


def help_text(_argv, expected, actual):
    first = resp.children(expected), resp.children(actual)
    return expected[:1] == actual[:1] and first[0][:1] == first[1][:1]


# name → (function, what is compared instead of the bytes, why)
# fmt: off
RULES = {
    "unordered": (unordered, "the elements, in any order", "the order follows the hash table, whose seed is random in every server"),
    "any-key": (any_key, "whether there is a key", "the choice is random"),
    "scan": (scan, "the shape; and a whole walk must give exactly the keys of KEYS *", "cursors are private to a server, and so is the number of keys of one step"),
    "scan-collection": (scan_collection, "the elements, in any order, if both servers tell all in one step; else the shape", "cursors are private to a server, and so is the number of elements of one step"),
    "as-many": (as_many, "how many there are", "the choice is random"),
    "small-encoding": (small_encoding, "hashtable or quicklist there may be listpack here; so may skiplist, if SORT has read the key", "small sets and lists are listpacks from Redis 7.2 on, and the reference is 7.0; and SORT here leaves encodings alone"),
    "geo-area": (geo_area, "with ANY how many there are; without ASC, DESC and COUNT the elements, in any order", "the order follows the cells into which an area is cut, and any element will do"),
    "sort-set": (sort_set, "of a set that is not sorted (BY without an asterisk) the elements in any order; with LIMIT how many there are", "the order follows the hash table, whose seed is random in every server"),
    "pairs": (pairs, "the fields with their values, in any order", "the order follows the hash table, whose seed is random in every server"),
    "libraries": (libraries, "libraries, and functions of each, in any order", "the order follows the hash table, whose seed is random in every server"),
    "libraries-payload": (libraries_payload, "the libraries, in any order", "the order follows the hash table, whose seed is random in every server"),
    "payload": (payload, "sets and hashes that are hash tables: the elements, in any order; streams: all but the groups; all others byte for byte",
                "the order follows the hash table, whose seed is random in every server; groups have times in them"),
    "deadline": (deadline, "the number, ± 1 second", "the two servers execute a command at slightly different times"),
    "hello": (hello, "all fields but server, version and id", "they are the server's identity"),
    "client-line": (client_line, "name, db, sub, psub, ssub, multi, user, resp, redir and cmd of each line", "addresses, ids, ages and buffer sizes are the server's own"),
    "config": (config, "the values of the directives that both have, but for port, dir, bind, logfile, pidfile, io-threads and the like", "the order is that of a hash table; each has directives of its own"),
    "catalogue": (same_type, "the type; single rows are compared by COMMAND INFO", "the order is that of a hash table, and a newer Redis has more commands"),
    "command-rows": (command_rows, "each row without its subcommands and notes, sets in any order", "subcommands are in the order of a hash table, and a newer Redis has more of them; notes are remarks for people"),
    "auto-id": (auto_id, "for the streams auto0 and auto1: that it is an id", "it is made of the clock"),
    "auto-range": (auto_range, "for the streams auto0 and auto1: how many entries there are", "their ids are made of the clock"),
    "pending": (pending, "idle times ± 20 seconds", "the two servers execute a command at slightly different times"),
    "stream": (stream, "all fields but radix-tree-nodes; of groups and consumers as XINFO GROUPS and XINFO CONSUMERS; times ± 20 seconds", "the tree is another one, and Redis 7.2 tells active-time"),
    "groups": (groups, "all fields but the count of consumers", "from Redis 7.2 on a consumer is made that gets nothing, too"),
    "consumers": (consumers, "consumers that have something pending: names and counts", "from Redis 7.2 on a consumer is made that gets nothing, too, and there is the field inactive"),
    "own-number": (same_type, "the type", "ids, clocks, ages, counts of commands and which small integers share an object are the server's own"),
    "own-text": (same_type, "the type", "art and reports of the server about itself"),
    "slow-entries": (same_type, "the type; in fixed conversations the arguments and the client's name of each entry", "ids, times and addresses are the server's own, and so is what was slow by chance"),
    "users": (same_type, "the type; conversations that are compared as bytes look at them, too", "rules on commands are shown as they were given, as from 7.2 on; entries of the log have more fields; Redis has more commands"),
    "help": (help_text, "the type and the first line", "a newer Redis lists more subcommands than the reference"),
}
# fmt: on

# First words of the command → rule. The longest match wins; an empty second word stands for the command without arguments.
BY_COMMAND = {
    (b"KEYS",): "unordered",
    (b"SMEMBERS",): "unordered",
    (b"SINTER",): "unordered",
    (b"SUNION",): "unordered",
    (b"SDIFF",): "unordered",
    (b"SPOP",): "unordered",
    (b"SSCAN",): "scan-collection",
    (b"SRANDMEMBER",): "as-many",
    (b"ZRANDMEMBER",): "as-many",
    (b"ZSCAN",): "scan-collection",
    (b"OBJECT", b"ENCODING"): "small-encoding",
    (b"GEOSEARCH",): "geo-area",
    (b"GEORADIUS",): "geo-area",
    (b"GEORADIUS_RO",): "geo-area",
    (b"GEORADIUSBYMEMBER",): "geo-area",
    (b"GEORADIUSBYMEMBER_RO",): "geo-area",
    (b"SORT",): "sort-set",
    (b"SORT_RO",): "sort-set",
    (b"HGETALL",): "pairs",
    (b"HKEYS",): "unordered",
    (b"HVALS",): "unordered",
    (b"HSCAN",): "scan-collection",
    (b"HRANDFIELD",): "as-many",
    (b"DUMP",): "payload",
    (b"FUNCTION", b"LIST"): "libraries",
    (b"FUNCTION", b"DUMP"): "libraries-payload",
    (b"FUNCTION", b"HELP"): "help",
    (b"SCRIPT", b"HELP"): "help",
    (b"RANDOMKEY",): "any-key",
    (b"XADD",): "auto-id",
    (b"XRANGE",): "auto-range",
    (b"XPENDING",): "pending",
    (b"XINFO", b"STREAM"): "stream",
    (b"XINFO", b"GROUPS"): "groups",
    (b"XINFO", b"CONSUMERS"): "consumers",
    (b"XINFO", b"HELP"): "help",
    (b"XGROUP", b"HELP"): "help",
    (b"XGROUP", b"CREATECONSUMER"): "own-number",
    (b"SCAN",): "scan",
    (b"TTL",): "deadline",
    (b"PTTL",): "deadline",
    (b"EXPIRETIME",): "deadline",
    (b"PEXPIRETIME",): "deadline",
    (b"HELLO",): "hello",
    (b"CLIENT", b"LIST"): "client-line",
    (b"CLIENT", b"INFO"): "client-line",
    (b"CLIENT", b"ID"): "own-number",
    (b"ACL", b"HELP"): "help",
    (b"ACL", b"LIST"): "users",
    (b"ACL", b"GETUSER"): "users",
    (b"ACL", b"LOG"): "users",
    (b"ACL", b"CAT"): "users",
    (b"ACL", b"GENPASS"): "own-text",
    (b"CLIENT", b"HELP"): "help",
    (b"COMMAND", b"HELP"): "help",
    (b"CONFIG", b"HELP"): "help",
    (b"OBJECT", b"HELP"): "help",
    (b"PUBSUB", b"HELP"): "help",
    (b"OBJECT", b"IDLETIME"): "own-number",
    (b"OBJECT", b"REFCOUNT"): "own-number",
    (b"TIME",): "own-text",
    (b"LOLWUT",): "own-text",
    (b"COMMAND", b"COUNT"): "own-number",
    (b"COMMAND", b""): "catalogue",
    (b"COMMAND", b"INFO"): "command-rows",
    (b"CONFIG", b"GET"): "config",
    (b"SLOWLOG", b"GET"): "slow-entries",
    (b"SLOWLOG", b"LEN"): "own-number",
    (b"SLOWLOG", b"HELP"): "help",
    (b"LATENCY", b"HELP"): "help",
    (b"LATENCY", b"DOCTOR"): "own-text",
    (b"LATENCY", b"LATEST"): "own-text",
    (b"LATENCY", b"HISTORY"): "own-text",
    (b"LATENCY", b"RESET"): "own-number",
    (b"LATENCY", b"HISTOGRAM"): "own-text",
}


def rule_of(argv):
    """The name of the rule for this command, or None: byte for byte."""
    words = (argv[0].upper(), argv[1].upper() if len(argv) > 1 else b"")
    return BY_COMMAND.get(words) or BY_COMMAND.get(words[:1])


def same(argv, expected, actual):
    if expected == actual:
        return True
    name = rule_of(argv)
    if name is None or resp.is_error(expected) or resp.is_error(actual):
        return False
    return RULES[name][0](argv, expected, actual)


def markdown():
    """The table for docs/COMPATIBILITY.md."""
    commands = {name: sorted({b" ".join(k).decode().strip() for k, v in BY_COMMAND.items() if v == name}) for name in RULES}
    rows = [f"| {name} | {', '.join(commands[name])} | {what} | {why} |" for name, (_, what, why) in RULES.items()]
    return "\n".join(["| rule | commands | compared | reason |", "|---|---|---|---|", *rows])
