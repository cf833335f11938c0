/* command.h: one row per command: the single source for dispatch, routing, COMMAND, ACL categories
 * and documentation.
 *
 * Thread     Rows are constant data. Which handler field is set says on which kind of thread the
 *            command runs.
 * Errors     A handler either writes one reply and returns OK, or writes nothing and returns an
 *            err, which the dispatcher turns into text. It validates and allocates first and
 *            mutates last, so an error changes nothing.
 */
#pragma once

#include "base/parcel.h"
#include "base/reply.h"

struct shard;
struct session;
struct server;

/* Where a command runs: docs/ARCHITECTURE.md, "Plans". */
enum plan {
    PLAN_NET,       /* on the connection's net thread, at its place in the connection's order */
    PLAN_ONE_SHARD, /* where its keys live; keys on several shards: error CROSSSLOT is never used,
                       such rows have another plan */
    PLAN_FAN_OUT,   /* split by key, one hop, merged; runs as ONE_SHARD when all keys live on one */
    PLAN_ALL_SHARDS, /* one hop to each shard, merged */
    PLAN_LOCKED, /* lock turn, compute, commit turn; runs as ONE_SHARD when all keys live on one */
    PLAN_MAIN,   /* on the main thread */
    PLAN_SCRIPT, /* on the shard of its keys, or under a holding: server/script.h */
};

/* How the parts of FAN_OUT and ALL_SHARDS become one reply. */
enum merge_rule {
    MERGE_NONE,
    MERGE_SUM,    /* integers are added */
    MERGE_OK,     /* +OK, or the first error; of LOCKED: MSETNX, locked_mset.c */
    MERGE_CONCAT, /* arrays are joined */
    MERGE_KEYS, /* one reply per key, in the order of the keys: each part is one single-key request
                 */
    MERGE_CURSOR, /* of ONE_SHARD: the cursor in argv[1] says which; cursor 0 asks all, parts are
                     [cursor, keys] */
    MERGE_DIGEST, /* parts [database and digest …]: DEBUG DIGEST */
    MERGE_COUNTS, /* the same pairs [name, count] from each: counts are added */
    MERGE_FOUND,  /* of LOCKED: as MERGE_KEYS, [name, value] of those keys that have something; in
                     RESP3 a map; null if none has */
    MERGE_TEXT,   /* verbatim texts are joined */
    MERGE_RANDOM, /* parts [weight, value]: one of the values by weight */
};

enum command_flags {
    CMD_WRITE = 1 << 0,
    CMD_READ = 1 << 1, /* "readonly" */
    CMD_DENY_OOM = 1 << 2,
    CMD_ADMIN = 1 << 3,
    CMD_PUBSUB = 1 << 4,
    CMD_NO_SCRIPT = 1 << 5,
    CMD_BLOCKING = 1 << 6,
    CMD_LOADING = 1 << 7,
    CMD_STALE = 1 << 8,
    CMD_SKIP_MONITOR = 1 << 9,
    CMD_SKIP_SLOWLOG = 1 << 10,
    CMD_ASKING = 1 << 11,
    CMD_FAST = 1 << 12,
    CMD_NO_AUTH = 1 << 13,
    CMD_MAY_REPLICATE = 1 << 14,
    CMD_NO_ASYNC_LOADING = 1 << 15,
    CMD_NO_MULTI = 1 << 16,
    CMD_MOVABLE_KEYS = 1 << 17,
    CMD_ALLOW_BUSY = 1 << 18,
    CMD_NO_MANDATORY_KEYS = 1 << 19,
    CMD_PROTECTED = 1 << 20,
    CMD_SENSITIVE = 1 << 21, /* ours: its arguments are kept out of logs */
    /* ours, not shown to clients */
    CMD_COUNTS_ERRORS = 1 << 23, /* sees to it that its error replies are counted */
    CMD_BARRIER =
        1 << 24, /* PLAN_NET: runs only after every earlier command of the connection has replied */
    CMD_DEFERS = 1 << 25,      /* PLAN_NET: may answer later (session_defer) */
    CMD_NOT_QUEUED = 1 << 26,  /* runs at once, even in a transaction */
    CMD_SESSIONLESS = 1 << 27, /* PLAN_NET: asks nothing of a connection, which may be NULL */
    CMD_EFFECT = 1 << 28, /* changes its one key in a way that depends on nothing else: the command
                             itself goes into the log (shard/journal.h) */
    CMD_BRIEF = 1 << 29,  /* short by nature, although Redis does not call it fast */
    CMD_ERRAND = 1 << 30, /* of an operation over several shards: its time is the command's, but it
                             is no call of it */
};

/* What of a big collection a command will touch, so that its memory can be asked for early. */
enum command_touches {
    TOUCHES_MEMBER, /* argv[2], if anything */
    TOUCHES_PLACE,  /* of a sorted set: the last argument, and where it stands in the order */
    TOUCHES_FIRST,  /* of a sorted set: the elements with the ranks argv[2] to argv[3] */
    TOUCHES_LAST,   /* the same from the end; of a list: its tail, where others touch the head */
};

enum acl_category {
    ACL_KEYSPACE = 1 << 0,
    ACL_READ = 1 << 1,
    ACL_WRITE = 1 << 2,
    ACL_SET = 1 << 3,
    ACL_SORTEDSET = 1 << 4,
    ACL_LIST = 1 << 5,
    ACL_HASH = 1 << 6,
    ACL_STRING = 1 << 7,
    ACL_BITMAP = 1 << 8,
    ACL_HYPERLOGLOG = 1 << 9,
    ACL_GEO = 1 << 10,
    ACL_STREAM = 1 << 11,
    ACL_PUBSUB = 1 << 12,
    ACL_ADMIN = 1 << 13,
    ACL_FAST = 1 << 14,
    ACL_SLOW = 1 << 15,
    ACL_BLOCKING = 1 << 16,
    ACL_DANGEROUS = 1 << 17,
    ACL_CONNECTION = 1 << 18,
    ACL_TRANSACTION = 1 << 19,
    ACL_SCRIPTING = 1 << 20,
};

enum key_flags {
    KEY_RO = 1 << 0,
    KEY_RW = 1 << 1,
    KEY_OW = 1 << 2,
    KEY_RM = 1 << 3,
    KEY_ACCESS = 1 << 4,
    KEY_UPDATE = 1 << 5,
    KEY_INSERT = 1 << 6,
    KEY_DELETE = 1 << 7,
    KEY_NOT_KEY = 1 << 8,
    KEY_INCOMPLETE = 1 << 9,
    KEY_VARIABLE_FLAGS = 1 << 10,
    KEY_CHANGED = 1 << 11, /* ours, not shown: RO for Redis, and yet the value changes */
};

/* Where keys stand among the arguments, as Redis's key specifications. A row has up to
 * KEY_SPECS_MAX; one with flags 0 ends them. */
struct key_spec {
    uint16_t flags; /* enum key_flags */
    int8_t begin;   /* index of the first key, or where the search for `keyword` starts (negative:
                       from the end) */
    int8_t last;  /* RANGE: last key, relative to begin; negative: from the end of the arguments */
    int8_t step;  /* RANGE: distance between keys */
    int8_t limit; /* RANGE with last -1: 0 all, n: 1/n of the rest */
    int8_t count_index;  /* KEYNUM (count_index > 0 or first > 0): index of the count, relative to
                            begin */
    int8_t first;        /* KEYNUM: index of the first key, relative to begin */
    const char *keyword; /* NULL: by index */
    bool is_unknown;     /* for COMMAND only: `each_key` of the row knows where */
};
#define KEY_SPECS_MAX 4

#define KEYS_NONE                                                                                  \
    {                                                                                              \
        {                                                                                          \
            0                                                                                      \
        }                                                                                          \
    }
#define KEYS_FIRST(key_flags)                                                                      \
    {                                                                                              \
        {                                                                                          \
            .flags = (key_flags), .begin = 1, .last = 0, .step = 1                                 \
        }                                                                                          \
    }
#define KEYS_ALL(key_flags)                                                                        \
    {                                                                                              \
        {                                                                                          \
            .flags = (key_flags), .begin = 1, .last = -1, .step = 1                                \
        }                                                                                          \
    }

struct command;

/* Called for the index of a key among the arguments, and what the command does to it. */
typedef void command_key_fn(void *context, uint32_t index, const struct key_spec *spec);

struct command {
    const char *name; /* lower case; "get", and for a row of `subcommands` only its own part: "list"
                         of CLIENT LIST */
    enum err (*on_shard)(struct shard *sh, struct request *rq, struct reply *out);
    enum err (*on_net)(struct session *s, struct request *rq, struct reply *out);
    enum err (*on_main)(struct server *srv, struct request *rq, struct reply *out);
    int16_t arity;   /* exact count with the name, or -(least count) */
    uint8_t plan;    /* enum plan */
    uint8_t merge;   /* enum merge_rule */
    uint32_t flags;  /* enum command_flags */
    uint32_t acl;    /* enum acl_category beyond those that follow from flags */
    uint8_t touches; /* enum command_touches */
    int8_t timeout;  /* of a command that waits: the argument that says for how many seconds;
                        negative: from the end; 0: it does not wait */
    struct key_spec keys[KEY_SPECS_MAX];
    /* How the keys are found where specifications cannot tell: as command_each_key. NULL: by
     * `keys`. */
    bool (*each_key)(const struct command *command, const struct bytes *argv, uint32_t argc,
                     command_key_fn *fn, void *context);
    const char *since, *group, *complexity, *summary;
    const char *deprecated_since, *replaced_by; /* NULL: it is not */
    bool is_syscmd;                    /* for servers and their developers: shown by COMMAND DOCS */
    const char *const *tips;           /* NULL-terminated; NULL: none */
    const char *const *help;           /* of a row "help": its lines, NULL-terminated */
    const struct command *subcommands; /* ended by a row without a name; NULL: none */
};

struct command_family {
    const char *name;
    const struct command *commands;
    uint32_t count;
};

/* Calls `fn` for the index of every key among the arguments, by specification. False if the
 * arguments do not fit (a count of keys that is no number or too big): the command itself will say
 * what is wrong. [any] */
bool command_each_key(const struct command *command, const struct bytes *argv, uint32_t argc,
                      command_key_fn *fn, void *context);
bool command_has_keys(const struct command *command);

/* The handlers of every row with `help`. */
enum err command_help_on_shard(struct shard *sh, struct request *rq, struct reply *out);
enum err command_help_on_net(struct session *s, struct request *rq, struct reply *out);
