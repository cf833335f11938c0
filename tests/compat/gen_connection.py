"""gen_connection.py: commands about the connection and the server itself, and unknown commands."""

GROUP = "connection"

# fmt: off
COMMANDS = [
    "4 PING [value]",
    "PING value value",
    "4 ECHO value",
    "4 SELECT db",
    "3 GET key",
    "3 SET key value",
    "CLIENT SETNAME word",
    "CLIENT GETNAME",
    "CLIENT ID",
    "1 CLIENT INFO",
    "1 CLIENT LIST",
    "1 CLIENT LIST {TYPE clienttype|ID farid|junk}*",
    "CLIENT NO-EVICT {ON|OFF|junk}",
    "1 CLIENT UNPAUSE",
    "1 CLIENT KILL killfilter killvalue",
    "1 CLIENT KILL ID farid {ADDR faraddress|LADDR faraddress|TYPE badtype|SKIPME {YES|NO|junk}|USER junk}*",
    "1 CLIENT KILL faraddress",
    "1 CLIENT UNBLOCK farid [TIMEOUT|ERROR|junk]",
    "1 CLIENT PAUSE badtime [WRITE|ALL|junk]",
    "1 CLIENT REPLY junk",
    "1 CLIENT HELP",
    "1 CLIENT {junk|word}*",
    "1 CLIENT",
    "HELLO [protocol]",
    "HELLO protocol {AUTH word word|SETNAME word|junk}*",
    "1 AUTH word",
    "1 AUTH word word",
    "1 RESET",
    "TIME",
    "1 LOLWUT",
    "1 COMMAND COUNT",
    "COMMAND GETKEYS {GET key|SET key value|MSET {key value}+|MGET key+|DEL key+|COPY key key|RENAME key key|PING|junk}",
    "COMMAND GETKEYSANDFLAGS {GET key|SET key value|MSET {key value}+|MGET key+|COPY key key DB db|BITFIELD key GET TYPE OFFSET|BITFIELD key GET TYPE OFFSET SET TYPE OFFSET value|BITFIELD key OVERFLOW WRAP GET TYPE OFFSET|BITFIELD key OVERFLOW|PING}",
    "1 COMMAND GETKEYS junk*",
    "1 COMMAND INFO knowncommand",
    "1 COMMAND HELP",
    "1 COMMAND {junk|word}*",
    "3 nonsense {junk|value}*",
    "1 CONFIG GET knownconfig",
    "1 CONFIG {GET|SET|RESETSTAT|REWRITE} junk junk junk",
    "1 CONFIG GET",
    "1 CONFIG SET {badconfig value}+",
    "1 CONFIG HELP",
    "1 CONFIG RESETSTAT",
    "1 CONFIG {junk|word}*",
]
# fmt: on

# fmt: off
ARGUMENTS = {
    "clienttype": lambda rng: rng.choice((b"normal", b"NORMAL", b"master", b"replica", b"slave", b"pubsub", b"x", b"")),
    "badtype": lambda rng: rng.choice((b"x", b"", b"normals", b"0")),
    "killfilter": lambda rng: rng.choice((b"ID", b"ADDR", b"LADDR", b"TYPE", b"USER", b"x")),
    "killvalue": lambda rng: rng.choice((b"-1", b"0", b"x", b"1.2.3.4:5", b"999999999999", b"")),
    "farid": lambda rng: rng.choice((b"999999999999", b"x", b"-1", b"0", b"")),
    "faraddress": lambda rng: rng.choice((b"1.2.3.4:5", b"x", b"", b"[::1]:99999")),
    "badtime": lambda rng: rng.choice((b"x", b"-1", b"", b"9223372036854775808", b"0")),
    "protocol": lambda rng: rng.choice((b"2", b"3", b"2", b"3", b"1", b"4", b"0", b"-1", b"x", b"", b"3.0")),
    "nonsense": lambda rng: rng.choice((b"NOSUCH", b"nosuch", b"", b"G E T", b"\x00", b"get\r\n", b"'quoted'", b"n" * 300, b"\xff\xfe", b"foo|bar", b"client|list")),
    "knowncommand": lambda rng: rng.choice((b"get", b"SET", b"mget", b"nosuch", b"", b"echo", b"del", b"getrange", b"incrby", b"dbsize")),
    "knownconfig": lambda rng: rng.choice((b"databases", b"maxmemory", b"maxmemory-policy", b"TIMEOUT", b"maxclients", b"tcp-keepalive", b"nosuch", b"", b"maxmemory-samples",
                                           b"save", b"appendonly", b"proto-max-bulk-len", b"lfu-log-factor", b"hash-max-listpack-entries", b"maxmemor?")),
    "badconfig": lambda rng: rng.choice((b"nosuch", b"", b"port-x", b"databases")),
}
# fmt: on

PRELUDE = [[b"SET", b"k0", b"10"], [b"SET", b"k1", b"hello"]]
READERS = {}

# Sent as they are, once per run, on a fresh connection each: (RESP version, commands).
# fmt: off
SCRIPTS = [
    (2, ["CLIENT REPLY SKIP", "SET s 1", "GET s"]),
    (2, ["CLIENT REPLY OFF", "SET s 1", "GET nothing", "BADCOMMAND", "CLIENT REPLY ON", "PING"]),
    (3, ["CLIENT REPLY SKIP", "PING", "PING", "CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING", "PING"]),
    (2, ["CLIENT REPLY OFF", "CLIENT REPLY SKIP", "PING", "CLIENT REPLY ON"]),
    (2, ["CLIENT SETNAME one", "CLIENT GETNAME", "RESET", "CLIENT GETNAME", "SELECT 3", "RESET", "DBSIZE"]),
    (2, ["HELLO 3", "GET nothing", "HELLO 2", "GET nothing", "RESET", "GET nothing"]),
    (3, ["RESET", "GET nothing", "HELLO 3 SETNAME me", "CLIENT GETNAME"]),
    (3, ["CLIENT KILL TYPE normal SKIPME yes ID 999999", "CLIENT KILL ID 1000000", "CLIENT NO-EVICT on", "CLIENT NO-EVICT off"]),
    (2, ["SET a 1", "QUIT", "SET a 2"]),
    (3, ["PING", "QUIT", "PING"]),
    (2, ["quit", "PING"]),
    (2, ["QUIT a b c", "PING"]),
    (2, ["SHUTDOWN ABORT", "SHUTDOWN BAD", "SHUTDOWN NOSAVE SAVE", "SHUTDOWN ABORT NOSAVE", "SHUTDOWN NOW NOW x", "PING"]),
    (2, ["DEBUG SLEEP 0", "DEBUG SLEEP", "DEBUG SET-ACTIVE-EXPIRE 1", "PING"]),
    *((resp, [f"DEBUG PROTOCOL {kind}" for kind in "string integer double bignum null array set map attrib verbatim TRUE false junk".split()]) for resp in (2, 3)),
    (2, ["DEBUG PROTOCOL", "DEBUG PROTOCOL push", "DEBUG ERROR FOO", "DEBUG ERROR", "DEBUG LOG word", "DEBUG POPULATE", "DEBUG POPULATE x",
         "DEBUG POPULATE -1", "DEBUG POPULATE 3 populated 9", "GET populated:2", "OBJECT ENCODING populated:0", "DEBUG POPULATE 1 populated x",
         "DEL populated:0 populated:1 populated:2"]),
    (2, ["SELECT 1", "SET a 1", "SWAPDB 0 1", "GET a", "SELECT 0", "GET a", "SWAPDB 0 99", "SWAPDB x 0", "SWAPDB 0 x", "FLUSHALL"]),
]
# fmt: on
