"""cases.py: a case is a list of batches on a few connections; it starts with an empty keyspace and ends with a look at all of it."""

import json
import random
import zlib

from support import resp
from exchange import REPLY_SECONDS_MAX, Difference, Room
import grammar

CASE_COMMANDS = 1500
DATABASES = 16
VERSIONS = (2, 3, 2)  # RESP version of each connection
READ_BATCH = 200


def pipeline_length(rng):
    return rng.choice((1, 1, 2, 3, 5, 10, 16, 32, 64))


class Generator:
    """Cases of one group, from its module and from what the other groups leave in the keyspace."""

    def __init__(self, module, others, skip=()):
        self.skip = set(skip)
        for m in (module, *others):
            grammar.ARGUMENTS.update(getattr(m, "ARGUMENTS", {}))
            if hasattr(m, "is_unsafe"):
                grammar.UNSAFE[m.GROUP] = m.is_unsafe
        self.module = module
        self.own = grammar.CommandTable(module.COMMANDS)
        is_alone = getattr(module, "ALONE", False)
        guests = [m for m in others if m.GROUP not in ("connection", "transaction") and not (is_alone or getattr(m, "ALONE", False))]
        self.rest = [grammar.CommandTable(m.COMMANDS) for m in guests]
        self.preludes = [m.PRELUDE for m in (module, *others)]

    def command(self, rng):
        table = rng.choice(self.rest) if self.rest and rng.random() < 0.15 else self.own
        while True:
            argv = table.make(rng)
            if argv[0].upper() not in self.skip:
                return argv

    def case(self, seed, number, commands_max=CASE_COMMANDS):
        """[(connection, [command …]) …], the same for the same arguments."""
        rng = random.Random(zlib.crc32(f"{self.module.GROUP}:{seed}:{number}".encode()))
        batches = []
        if rng.random() < 0.8:
            batches += [(0, list(p)) for p in self.preludes if p]
        made = 0
        while made < commands_max and hasattr(self.module, "story"):
            some = self.module.story(rng, self.command, len(VERSIONS))
            batches += some
            made += sum(len(commands) for _, commands in some)
        while made < commands_max:
            batch = [self.command(rng) for _ in range(min(pipeline_length(rng), commands_max - made))]
            batches.append((rng.randrange(len(VERSIONS)), batch))
            made += len(batch)
        return batches


def look_at_everything(room, readers):
    """Compares every key of every database: type, encoding, deadline and value; and what a SCAN walk finds."""
    listing = replies_of(room, [c for db in range(DATABASES) for c in ([b"SELECT", b"%d" % db], [b"DBSIZE"], [b"KEYS", b"*"])])
    for db in range(DATABASES):
        keys = sorted(resp.text(k) for k in resp.children(listing[3 * db + 2]))
        if not keys:
            continue
        for start in range(0, len(keys), READ_BATCH):
            some = keys[start:start + READ_BATCH]
            types = replies_of(room, [[b"SELECT", b"%d" % db], *([b"TYPE", k] for k in some)])[1:]
            batch = []
            for k, kind in zip(some, map(resp.text, types)):
                reader = readers.get(kind, [b"TYPE"])
                batch += [[reader[0], k, *reader[1:]], [b"OBJECT", b"ENCODING", k], [b"PEXPIRETIME", k]]
            room.run(-1, 0, batch)
        for i in range(1, len(room.servers)):
            walk_finds(room, i, keys)


def replies_of(room, commands):
    return resp.split(room.run(-1, 0, commands))


def walk_finds(room, server_index, keys):
    found, cursor = [], b"0"
    for _ in range(10 * len(keys) + 1000):
        step = room.raw(server_index, 0, [[b"SCAN", cursor, b"COUNT", b"20"]])[0]
        cursor, some = resp.children(step)
        cursor = resp.text(cursor)
        found += [resp.text(k) for k in resp.children(some)]
        if cursor == b"0":
            break
    if set(found) != set(keys) or cursor != b"0":
        raise Difference(server_index, -1, [b"SCAN", b"(a whole walk)"], repr(sorted(keys)).encode(), repr(sorted(set(found))).encode())


def play(servers, batches, readers, versions=VERSIONS, patience=REPLY_SECONDS_MAX):
    """Runs a case; the first Difference, or None."""
    room = None
    try:
        room = Room(servers, versions, patience)
        room.prepare()
        for i, (connection, commands) in enumerate(batches):
            room.run(i, connection, commands)
        look_at_everything(room, readers)
        return None
    except Difference as difference:
        return difference
    except (OSError, resp.Malformed, resp.Truncated, ValueError) as error:
        return Difference(1, -1, [b"(harness)"], b"a reply that can be read", repr(error).encode())
    finally:
        if room:
            room.close()


# ---- cases in files: one JSON array per command, [connection, argument …] in Latin-1; an empty line ends a batch ----

def dump(batches, path, note):
    with open(path, "w", encoding="utf-8") as f:
        for line in note.split("\n"):
            f.write(f"# {line}\n")
        for connection, commands in batches:
            for argv in commands:
                f.write(json.dumps([connection] + [a.decode("latin-1") for a in argv]) + "\n")
            f.write("\n")


def load(path):
    batches, commands, connection = [], [], 0
    with open(path, encoding="utf-8") as f:
        for line in [*f, "\n"]:
            if line.startswith("#"):
                continue
            if line.strip():
                connection, *argv = json.loads(line)
                commands.append([a.encode("latin-1") for a in argv])
            elif commands:
                batches.append((connection, commands))
                commands = []
    return batches
