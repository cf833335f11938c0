"""gen_transaction.py: stories of transactions: what is watched, who changes it, what is queued, and how it ends."""

GROUP = "transaction"

# fmt: off
COMMANDS = [
    "6 SET key value",
    "4 GET key",
    "3 INCR key",
    "3 MGET key+",
    "3 MSET key value key value",
    "2 MSETNX key value key value",
    "3 DEL key+",
    "2 EXISTS key+",
    "3 RPUSH key value+",
    "3 LMOVE key key {LEFT|RIGHT} {LEFT|RIGHT}",
    "2 RPOPLPUSH key key",
    "2 LRANGE key index index",
    "2 SADD key value+",
    "3 SMOVE key key value",
    "2 SINTERSTORE key key+",
    "2 RENAME key key",
    "2 RENAMENX key key",
    "2 COPY key key {DB db|REPLACE}*",
    "1 MOVE key db",
    "1 EXPIRE key ttl_s",
    "1 PERSIST key",
    "1 DBSIZE",
    "1 KEYS pattern",
    "1 RANDOMKEY",
    "1 SCAN 0 COUNT 100000",
    "0.3 FLUSHDB",
    "0.1 FLUSHALL",
    "0.3 SWAPDB db db",
    "2 SELECT db",
    "2 PING",
    "1 ECHO value",
    "1 CLIENT GETNAME",
    "1 CLIENT SETNAME clientname",
    "0.5 CLIENT INFO",
    "0.5 HELLO {2|3}",
    "0.5 CONFIG SET samples {5|6}",
    "0.5 CONFIG GET samples",
    "0.3 CONFIG RESETSTAT",
    "0.5 OBJECT HELP",
    "1 WAIT 0 0",
    "1 UNWATCH",
    "0.5 MULTI",
    "0.5 WATCH key+",
    "0.2 EXEC junk",
    "0.3 DISCARD",
    "0.3 RESET",
    "0.3 NOSUCHCOMMAND key",
]
# fmt: on
ARGUMENTS = {
    "clientname": lambda rng: rng.choice((b"x", b"y", b"a b")),
    "samples": lambda rng: b"maxmemory-samples",
}
PRELUDE = []
READERS = {}
KEYS = [b"k%d" % i for i in range(6)] + [b"{t}1", b"{t}2"]


def is_unsafe(argv):
    """WAIT for replicas blocks; a name is not a command."""
    return argv[0].upper() == b"WAIT" and len(argv) > 2 and argv[1:] != [b"0", b"0"]


def ending(rng):
    return rng.choice([b"EXEC"] * 12 + [b"DISCARD", b"RESET"])


def block(rng, command):
    """MULTI … EXEC; a damaged one may be refused, but nothing stays open."""
    return [[b"MULTI"], *(command(rng) for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9, 20)))), [ending(rng)], [b"DISCARD"]]


def outside(rng, command):
    """Something that does not open a transaction."""
    while True:
        argv = command(rng)
        if argv[0].upper() != b"MULTI":
            return argv


def story(rng, command, connections):
    """[(connection, [command …]) …]"""
    me, other = rng.sample(range(connections), 2)
    if rng.random() < 0.5:
        return [(me, [outside(rng, command) for _ in range(rng.randrange(3))] + block(rng, command))]
    watched = rng.choices(KEYS, k=rng.choice((1, 1, 2, 3)))
    batches = [(me, [[b"WATCH", *watched]])]
    if rng.random() < 0.6:
        batches.append((other, [outside(rng, command) for _ in range(rng.choice((1, 1, 2)))]))
    if rng.random() < 0.2:
        batches.append((me, [outside(rng, command)]))
    batches.append((me, block(rng, command)))
    return batches


# Sent in one piece on a fresh connection.
SCRIPTS = [
    (2, ["EXEC"]),
    (2, ["DISCARD"]),
    (2, ["EXEC x", "MULTI", "EXEC x", "EXEC"]),
    (2, ["MULTI", "MULTI", "PING", "EXEC"]),
    (2, ["MULTI", "WATCH a", "PING", "EXEC"]),
    (2, ["MULTI", "SET a", "PING", "EXEC", "EXEC"]),
    (2, ["MULTI", "nosuch", "EXEC"]),
    (2, ["MULTI", "SHUTDOWN NOSAVE", "EXEC"]),
    (2, ["MULTI", "DISCARD x", "PING", "DISCARD", "EXEC"]),
    (2, ["MULTI", "INCR a", "RESET", "EXEC"]),
    (2, ["MULTI", "INCR a", "QUIT", "EXEC"]),
    (2, ["MULTI", "HELLO 3", "GET nokey", "EXEC", "GET nokey"]),
    (3, ["WATCH w", "SET w 1", "MULTI", "GET w", "EXEC"]),
    (3, ["MULTI", "HELLO 2", "GET nokey", "EXEC", "GET nokey"]),
    (2, ["MULTI", "SELECT 9", "SET a 9", "SELECT 0", "GET a", "SELECT 9", "DEL a", "SELECT 99", "EXEC", "SELECT 0"]),
    (2, ["WATCH w x y z", "MULTI", "EXEC", "WATCH w", "SET w 2", "MULTI", "EXEC", "MULTI", "DEL w", "EXEC"]),
    (2, ["WATCH w", "SET w 1", "UNWATCH", "MULTI", "DEL w", "EXEC"]),
    (2, ["WATCH w", "SET w 1", "MULTI", "DISCARD", "MULTI", "DEL w", "EXEC"]),
    (2, ["WATCH w", "SET w 1", "RESET", "MULTI", "DEL w", "EXEC"]),
    (2, ["SET w 1", "WATCH w", "EXPIRE w -1", "MULTI", "EXEC"]),
    (2, ["WATCH nokey", "FLUSHALL", "MULTI", "EXEC"]),
    (2, ["SET w 1", "WATCH w", "SWAPDB 0 1", "MULTI", "EXEC", "FLUSHALL"]),
    (2, ["SET w 1", "WATCH w", "SWAPDB 2 3", "SWAPDB 0 0", "MULTI", "EXEC", "FLUSHALL"]),
    (2, ["SELECT 1", "SET w 1", "SELECT 0", "WATCH w", "SWAPDB 0 1", "MULTI", "EXEC", "FLUSHALL"]),
    (2, ["RPUSH a 1", "SADD b 1", "WATCH a b", "SET c 1", "MULTI", "LMOVE a b LEFT LEFT", "LMOVE a c LEFT x", "SMOVE b a 1", "SMOVE no a 1",
         "LMOVE no b LEFT LEFT", "EXEC", "FLUSHALL"]),
    (2, ["MULTI", "CONFIG SET maxmemory-samples 7", "CONFIG GET samples", "CONFIG SET maxmemory-samples 5", "CONFIG SET nosuch 1", "EXEC"]),
    (2, ["MULTI", "COPY a b DB 99", "COPY a b DB x", "RENAME nokey other", "EXEC"]),
]
