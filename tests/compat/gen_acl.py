"""gen_acl.py: users, and what they may do.

At random: users are made and changed by rules, and ACL DRYRUN tells what they may do then. Nobody logs in as one of them: that
is for the scripts, which remove their users. How rules on commands are shown differs between 7.0 and 7.2, unless each of them
is there once and in the order in which 7.0 shows them, so only scripts look at that.
"""

GROUP = "acl"

# fmt: off
RULES = [b"on", b"off", b"nopass", b"resetpass", b"reset", b"allkeys", b"resetkeys", b"allchannels", b"resetchannels", b"allcommands", b"nocommands", b"clearselectors",
         b"+@all", b"-@all", b"+@read", b"-@read", b"+@write", b"-@write", b"-@dangerous", b"+@string", b"+@keyspace", b"-@slow", b"+@FAST", b"+@nosuch", b"+@", b"+", b"-",
         b"+get", b"-get", b"+set", b"-set", b"+GET", b"+config", b"-config", b"+config|get", b"-config|get", b"+config|nosuch", b"-config|", b"+client|id|x", b"+get|", b"+mget", b"+nosuch", b"+|",
         b"+select|0", b"+select|1", b"-select|0", b"+get|k1", b"+ping|hello", b"+object", b"+object|encoding", b"-object|encoding", b"+publish", b"+eval", b"+sort", b"+hello",
         b"~*", b"~k*", b"~k1", b"%R~k2", b"%W~k2", b"%RW~l*", b"%r~k3", b"%W~", b"%~k", b"%X~k", b"%R~*", b"~", b"~a b", b"%RW", b"%", b"~a\x00b",
         b"&*", b"&c*", b"&c1", b"&", b"&a b", b">one", b">two", b"<one", b"#", b"#abc", b"!abc", b"#" + b"a" * 64, b"!" + b"a" * 64, b"#" + b"A" * 64,
         b"(~k* +get)", b"(%R~k* +@read)", b"(+set", b"~x)", b"()", b"(", b")", b"(on)", b"(+nosuch)", b"( ~k1  +@all )", b"(~* &* +@all -@write)", b"sanitize-payload", b"skip-sanitize-payload", b"nosuch", b""]

COMMANDS = [
    "6 ACL SETUSER aname aclrule+",
    "2 ACL SETUSER aname ON aclcommands aclkeys aclchannels aclrule",
    "ACL SETUSER oddname aclrule*",
    "ACL DELUSER {aname|badname}+",
    "6 ACL DRYRUN aname {GET akey|SET akey value|SET akey value GET|DEL akey+|MGET akey+|GETSET akey value|APPEND akey value|EXISTS akey|TYPE akey|COPY akey akey|RENAME akey akey|STRLEN akey}",
    "4 ACL DRYRUN aname {BITFIELD akey GET U8 0|BITFIELD akey SET U8 0 1|SORT akey BY NOSORT STORE akey|SINTERSTORE akey akey+|XREAD STREAMS akey akey 0 0|LMOVE akey akey LEFT LEFT|ZUNIONSTORE akey 2 akey akey|EXPIRE akey 10|TTL akey|PFADD akey X|LPOP akey}",
    "3 ACL DRYRUN aname {CONFIG GET X|CONFIG SET X Y|OBJECT ENCODING akey|OBJECT FREQ akey|SELECT adb|PING HELLO|PING|CLIENT ID|INFO|KEYS X|SCAN 0|FLUSHALL|DBSIZE|AUTH X|RESET|MULTI|ECHO X}",
    "3 ACL DRYRUN aname {PUBLISH achannel X|SPUBLISH achannel X|SUBSCRIBE achannel+|PSUBSCRIBE achannel+|SSUBSCRIBE achannel|UNSUBSCRIBE achannel|EVAL X 1 akey|EVAL_RO X 1 akey|EVAL X 0|FCALL F 2 akey akey|WATCH akey}",
    "ACL DRYRUN aname {GET|GET A B|NOSUCH A|CONFIG|CONFIG NOSUCH|SET A|CLIENT|EVAL X 3 A|EVAL X junk A}",
    "ACL DRYRUN badname GET akey",
    "ACL DRYRUN aname",
    "ACL WHOAMI",
    "ACL CAT",
    "ACL CAT {NOSUCH|READ junk|}",
    "ACL GENPASS {0|-1|4097|junk|1 2}",
    "ACL LOG {junk|0|-1|RESET|RESET X}",
    "ACL GETUSER badname",
    "ACL {LOAD|SAVE}",
    "ACL {LOAD|SAVE|LIST|USERS|WHOAMI} X",
    "ACL {junk|SETUSER|GETUSER|DELUSER|DRYRUN}",
    "ACL HELP",
]

ARGUMENTS = {
    "aclrule": lambda rng: rng.choice(RULES),
    "aclcommands": lambda rng: rng.choice((b"+@all", b"-@all", b"+@read", b"+@write")),
    "aclkeys": lambda rng: rng.choice((b"~k*", b"%R~k*", b"%W~k*", b"allkeys")),
    "aclchannels": lambda rng: rng.choice((b"&c*", b"resetchannels")),
    "aname": lambda rng: rng.choice((b"u0", b"u1", b"u2")),
    "badname": lambda rng: rng.choice((b"nobody", b"a b", b"a\x00", b"default")),
    "oddname": lambda rng: rng.choice((b"a b", b"a\x00")),
    "akey": lambda rng: rng.choice((b"k1", b"k2", b"k3", b"l1", b"zz", b"")),
    "achannel": lambda rng: rng.choice((b"c1", b"c*", b"d", b"")),
    "adb": lambda rng: rng.choice((b"0", b"1")),
}

PRELUDE = [[b"ACL", b"DELUSER", b"u0", b"u1", b"u2"]]
READERS = {}

END = ["RESET", "ACL DELUSER t", "CONFIG SET requirepass ''", "ACL SETUSER default on nopass allkeys allchannels +@all", "ACL USERS"]
SCRIPTS = [
    (resp, story + END) for resp, story in [
        (2, ["ACL CAT", "ACL CAT nosuch", "ACL LIST", "ACL GETUSER default", "ACL SETUSER t", "ACL LIST", "ACL GETUSER t", "ACL USERS", "ACL GETUSER nobody"]),
        (3, ["ACL SETUSER t on >pw ~a* %R~b* %W~c* %RW~d* &ch* +@read +config|get (+mget ~x* &y)", "ACL GETUSER t", "ACL LIST", "ACL SETUSER t clearselectors", "ACL GETUSER t"]),
        (2, ["ACL SETUSER t (+get ~x ) (~y &c)", "ACL LIST", "ACL SETUSER t (+get", "ACL SETUSER t on (foo) off", "ACL LIST", "ACL SETUSER t reset", "ACL LIST"]),
        (2, ["ACL SETUSER t >a >b >a", "ACL LIST", "ACL SETUSER t <a", "ACL LIST", "ACL SETUSER t nopass", "ACL LIST", "ACL SETUSER t <a", "ACL SETUSER t resetpass skip-sanitize-payload", "ACL LIST"]),
        (2, ["ACL SETUSER t +@all -@dangerous", "ACL LIST", "ACL SETUSER t -@all +client|id +client -client|kill", "ACL LIST", "ACL SETUSER t -@all +get|a +get|a", "ACL LIST"]),
        (2, ["ACL SETUSER t +@read +@read -@read", "ACL LIST", "ACL SETUSER t +get -get", "ACL LIST", "ACL SETUSER t +get +GET +@all -@all -get", "ACL LIST", "ACL SETUSER t +@all +get|x", "ACL LIST"]),
        (2, ["ACL SETUSER t on >pw +@all -@dangerous ~a* %R~r* %W~w* resetchannels &c*", "AUTH t wrong", "AUTH t pw", "ACL WHOAMI", "SET a1 x", "GET a1", "GET z", "GET r", "SET r 1", "SET w 1", "GET w",
             "SET w 1 GET", "APPEND w 1", "STRLEN w", "EXISTS w r", "EXISTS z", "DEL w", "COPY r w", "COPY w r", "RENAME r w", "MGET a1 r z", "CONFIG GET x", "KEYS *", "OBJECT ENCODING w", "PFADD w x",
             "PFCOUNT w", "BITFIELD r GET u8 0", "BITFIELD r SET u8 0 1", "SUNIONSTORE wx a r", "SUNIONSTORE wx a w", "LMOVE r w LEFT LEFT", "WATCH zz", "EXPIRE w 1", "TTL w", "ZUNIONSTORE w 2 r zz",
             "ZUNIONSTORE w x r zz", "GEORADIUS w 0 0 1 m STORE r", "XREAD STREAMS a z 0 0", "PUBLISH c1 x", "PUBLISH d1 x", "SPUBLISH d1 x", "SUBSCRIBE d", "PSUBSCRIBE c", "SSUBSCRIBE d", "SCAN 0 MATCH nothing COUNT 1000",
             "CLIENT GETNAME", "ACL LIST", "FLUSHALL", "DBSIZE"]),
        (2, ["ACL SETUSER t on nopass +@all -@dangerous -ping ~a*", "AUTH t x", "EVAL return(redis.pcall('get','zzz')) 0", "EVAL return(redis.pcall('ping')) 0", "EVAL return(redis.call('get','a')) 0", "EVAL return(1) 1 z",
             "EVAL return(redis.pcall('publish','d','x')) 0", "EVAL return(redis.acl_check_cmd('get','z')) 0", "EVAL return(redis.acl_check_cmd('get','a')) 0", "EVAL return(redis.acl_check_cmd('ping')) 0",
             "EVAL_RO return(1) 1 a", "FCALL f 1 z", "EVALSHA abcd 1 z", "EVAL return(1) 3 z", "EVAL return(1) x z"]),
        (2, ["RPUSH abc 1 2", "ACL SETUSER t on nopass ~abc ~r* +@all", "AUTH t x", "SORT abc BY w_* GET x*", "SORT abc BY nosort GET #", "SORT abc BY nosort", "SORT abc STORE z", "SORT abc GET x* STORE r", "SORT_RO abc BY a*",
             "ACL SETUSER t %R~*", "SORT abc BY w_* GET x*", "ACL SETUSER t resetkeys ~abc (%R~* +sort)", "SORT abc BY w_* GET x*", "SORT_RO abc BY w_*"]),
        (2, ["ACL SETUSER t on nopass +@all ~a &c", "AUTH t x", "MULTI", "GET b", "GET a", "EXEC", "MULTI", "GET a", "GET a a", "EXEC", "MULTI", "GET a", "PUBLISH d x", "DISCARD", "MULTI", "GET a", "PUBLISH c x", "EXEC"]),
        (3, ["ACL SETUSER t on nopass ~* -@all +get +select|0 +acl|whoami +config|get", "HELLO 3 AUTH t bad SETNAME", "AUTH t x", "SELECT 0", "SELECT 1", "GET a", "ACL WHOAMI", "ACL LIST", "CONFIG GET nosuch", "CONFIG SET a b",
             "PING", "HELLO 3", "RESET", "ACL WHOAMI", "PING"]),
        (2, ["CONFIG SET requirepass one", "PING", "ACL LIST", "AUTH two", "AUTH one", "AUTH default one", "RESET", "PING", "GET", "AUTH one", "ACL SETUSER default >two", "AUTH two", "CONFIG GET requirepass",
             "ACL SETUSER default nopass", "AUTH three", "AUTH default three", "CONFIG GET requirepass", "CONFIG SET requirepass one", "ACL LIST", "RESET", "AUTH default one"]),
        (2, ["CONFIG SET acl-pubsub-default allchannels", "ACL SETUSER t", "ACL LIST", "ACL SETUSER t reset (~a)", "ACL LIST", "CONFIG SET acl-pubsub-default resetchannels", "ACL SETUSER t (~b)", "ACL LIST",
             "ACL SETUSER t reset", "ACL LIST", "CONFIG SET acl-pubsub-default x"]),
        (2, ["ACL SETUSER t on nopass +@all", "CLIENT KILL USER nobody", "CLIENT KILL USER t", "AUTH t x", "CLIENT KILL USER default SKIPME no ID 99999", "ACL SETUSER t off", "PING", "AUTH t x", "ACL SETUSER t on"]),
    ]
]
# fmt: on
