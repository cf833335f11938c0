/* generic.c: the commands that treat a key as a whole, whatever its type. Deadlines are in
 * expire.c, walks in scan.c. */
#include <inttypes.h>
#include <stdio.h>

#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/object.h"

/* ---- counting and deleting ---- */

static enum err cmd_del(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t deleted = 0;
    for (uint32_t i = 1; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        if (!keyspace_delete(sh, &k)) continue;
        notify(sh, NOTIFY_GENERIC, "del", &k);
        deleted++;
    }
    reply_i64(out, deleted);
    return OK;
}

static enum err cmd_exists(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t found = 0;
    for (uint32_t i = 1; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        found += peek_counted(sh, &k) != NULL;
    }
    reply_i64(out, found);
    return OK;
}

static enum err cmd_touch(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t found = 0;
    for (uint32_t i = 1; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        found += keyspace_find_any(sh, &k) != NULL;
    }
    reply_i64(out, found);
    return OK;
}

static enum err cmd_type(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *e = peek_counted(sh, &k);
    reply_status(out, e ? type_name(entry_type(e)) : "none");
    return OK;
}

/* ---- moving and copying ---- */

static enum err rename_key(struct shard *sh, const struct key *from, const struct key *to)
{
    enum err e = keyspace_move(sh, from, to);
    if (e != OK) return e;
    notify(sh, NOTIFY_GENERIC, "rename_from", from);
    notify(sh, NOTIFY_GENERIC, "rename_to", to);
    return OK;
}

static enum err cmd_rename(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key from = request_key(sh, rq, 1), to = request_key(sh, rq, 2);
    if (peek_touched(sh, &from) == NULL) return ERR_NO_KEY;
    if (!bytes_equal(from.name, to.name)) {
        enum err e = rename_key(sh, &from, &to);
        if (e != OK) return e;
    }
    reply_ok(out);
    return OK;
}

static enum err cmd_renamenx(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key from = request_key(sh, rq, 1), to = request_key(sh, rq, 2);
    if (peek_touched(sh, &from) == NULL) return ERR_NO_KEY;
    bool is_free = peek_touched(sh, &to) == NULL;
    if (is_free) {
        enum err e = rename_key(sh, &from, &to);
        if (e != OK) return e;
    }
    reply_i64(out, is_free);
    return OK;
}

static enum err cmd_move(struct shard *sh, struct request *rq, struct reply *out)
{
    uint32_t db;
    if (!arg_database_or_reply(sh, rq, 2, out, &db)) return OK;
    if (db == rq->db) return ERR_SAME_OBJECT;

    struct key from = request_key(sh, rq, 1), to = from;
    to.db = db;
    bool can_move = peek_touched(sh, &from) != NULL && keyspace_peek(sh, &to) == NULL;
    if (can_move) {
        enum err e = keyspace_move(sh, &from, &to);
        if (e != OK) return e;
        notify(sh, NOTIFY_GENERIC, "move_from", &from);
        notify(sh, NOTIFY_GENERIC, "move_to", &to);
    }
    reply_i64(out, can_move);
    return OK;
}

/* Options are checked one after the other: a bad database number wins over a bad word behind it. */
static bool parse_copy_options_or_reply(const struct shard *sh, const struct request *rq,
                                        struct reply *out, uint32_t *db, bool *replace)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        if (arg_is(rq, i, "replace")) {
            *replace = true;
        } else if (arg_is(rq, i, "db") && i + 1 < rq->argc) {
            if (!arg_database_or_reply(sh, rq, ++i, out, db)) return false;
        } else {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
    }
    return true;
}

static enum err cmd_copy(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key from = request_key(sh, rq, 1), to = request_key(sh, rq, 2);
    bool replace = false;
    if (!parse_copy_options_or_reply(sh, rq, out, &to.db, &replace)) return OK;
    if (from.db == to.db && bytes_equal(from.name, to.name)) return ERR_SAME_OBJECT;

    struct entry *source = keyspace_find_any(sh, &from);
    bool can_copy = source != NULL && (replace || keyspace_peek(sh, &to) == NULL);
    if (can_copy) {
        struct entry *copy = object_try_copy(&sh->mem, source, to.name, entry_deadline_ms(source));
        if (copy == NULL) return ERR_ALLOC;
        keyspace_put_entry(sh, &to, copy);
        notify(sh, NOTIFY_GENERIC, "copy_to", &to);
    }
    reply_i64(out, can_copy);
    return OK;
}

/* ---- OBJECT and DEBUG OBJECT: neither counts nor touches ---- */

#define REFCOUNT_SHARED                                                                            \
    INT32_MAX /* what Redis says of the integers below 10,000, which it shares */
#define SHARED_INTEGERS 10000

/* As Redis shows it: the second of the last access, or the two parts of LFU. */
static uint32_t access_clock(const struct shard *sh, const struct entry *e)
{
    return sh->config->evict_policy == EVICT_LFU ? entry_clock(e) : entry_clock(e) / 16;
}

static int64_t idle_seconds(const struct shard *sh, const struct entry *e)
{
    return (int64_t)(keyspace_idle_ms(sh, e) / 1000);
}

/* The key of OBJECT <subcommand> key; NULL, with the null written, if there is none. */
static struct entry *object_entry_or_null(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    struct entry *e = keyspace_peek(sh, &k);
    struct shard_counters *c = &sh->counters;
    counter_add(e ? &c->keyspace_hits : &c->keyspace_misses, 1); /* a hit that touches nothing */
    if (e == NULL) reply_null(out);
    return e;
}

static enum err cmd_object_encoding(struct shard *sh, struct request *rq, struct reply *out)
{
    struct entry *e = object_entry_or_null(sh, rq, out);
    if (e) reply_bulk_text(out, encoding_name(entry_encoding(e)));
    return OK;
}

static int64_t reference_count(const struct shard *sh, const struct entry *e)
{
    enum evict_policy policy = sh->config->evict_policy;
    bool is_clocked =
        sh->config->maxmemory_bytes > 0 &&
        (policy == EVICT_LRU || policy == EVICT_LFU); /* each has a clock of its own */
    if (entry_encoding(e) != ENCODING_INT || is_clocked) return 1;
    return entry_integer(e) >= 0 && entry_integer(e) < SHARED_INTEGERS ? REFCOUNT_SHARED : 1;
}

static enum err cmd_object_refcount(struct shard *sh, struct request *rq, struct reply *out)
{
    struct entry *e = object_entry_or_null(sh, rq, out);
    if (e) reply_i64(out, reference_count(sh, e));
    return OK;
}

static enum err cmd_object_idletime(struct shard *sh, struct request *rq, struct reply *out)
{
    struct entry *e = object_entry_or_null(sh, rq, out);
    if (e == NULL) return OK;
    if (sh->config->evict_policy == EVICT_LFU) {
        reply_error(out, "ERR An LFU maxmemory policy is selected, idle time not tracked. Please "
                         "note that when switching between policies at runtime LRU and LFU data "
                         "will take some time to adjust.");
        return OK;
    }
    if (sh->config->evict_policy == EVICT_S3FIFO) {
        reply_error(out,
                    "ERR The maxmemory policy allkeys-s3fifo is selected, idle time not tracked.");
        return OK;
    }
    reply_i64(out, idle_seconds(sh, e));
    return OK;
}

static enum err cmd_object_freq(struct shard *sh, struct request *rq, struct reply *out)
{
    struct entry *e = object_entry_or_null(sh, rq, out);
    if (e == NULL) return OK;
    if (sh->config->evict_policy != EVICT_LFU) {
        reply_error(out, "ERR An LFU maxmemory policy is not selected, access frequency not "
                         "tracked. Please note that when switching between policies at runtime "
                         "LRU and LFU data will take some time to adjust.");
        return OK;
    }
    reply_i64(out, keyspace_frequency(sh, e));
    return OK;
}

static const char *const object_help[] = {
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
    NULL,
};

/* The serialised length is that of the value's RDB form: without the byte of the type. */
enum err cmd_debug_object(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 2);
    /* Also one that has expired and is still there. */
    const struct database *db = sh->keys.databases[k.db];
    const struct entry *e = db ? dict_find(&db->keys, k.hash, k.name) : NULL;
    if (e == NULL) return ERR_NO_KEY;
    struct buf frozen = {.mem = &sh->mem};
    struct rdb_writer writer = {.out = &frozen};
    bool is_frozen = object_try_freeze(e, &writer);
    size_t serialized = frozen.size > 0 ? frozen.size - 1 : 0;
    buf_clear(&frozen);
    if (!is_frozen) return ERR_ALLOC;

    char line[256];
    snprintf(line, sizeof line,
             "Value at:%p refcount:%" PRId64 " encoding:%s serializedlength:%zu lru:%u "
             "lru_seconds_idle:%" PRId64,
             (const void *)e, reference_count(sh, e), encoding_name(entry_encoding(e)), serialized,
             access_clock(sh, e), idle_seconds(sh, e));
    reply_status(out, line);
    return OK;
}

/* clang-format off */
static const char *const tips_multi_shard_agg_sum[] = {"request_policy:multi_shard", "response_policy:agg_sum", NULL};
static const char *const tips_nondeterministic_output[] = {"nondeterministic_output", NULL};
static const struct command object_subcommands[] = {
    {.name = "refcount", .on_shard = cmd_object_refcount, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "2.2.3", .group = "generic", .complexity = "O(1)",
     .summary = "How many references a value has.", .tips = tips_nondeterministic_output},
    {.name = "encoding", .on_shard = cmd_object_encoding, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "2.2.3", .group = "generic", .complexity = "O(1)",
     .summary = "How a value is stored in memory.", .tips = tips_nondeterministic_output},
    {.name = "freq", .on_shard = cmd_object_freq, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "4.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "How often a key is used, on a logarithmic scale.", .tips = tips_nondeterministic_output},
    {.name = "idletime", .on_shard = cmd_object_idletime, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RO, .begin = 2, .last = 0, .step = 1}},
     .since = "2.2.3", .group = "generic", .complexity = "O(1)",
     .summary = "Seconds since a key was last used.", .tips = tips_nondeterministic_output},
    {.name = "help", .on_shard = command_help_on_shard, .help = object_help, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_KEYSPACE, .keys = KEYS_NONE,
     .since = "6.2.0", .group = "generic", .complexity = "O(1)",
     .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "del", .on_shard = cmd_del, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_SUM, .flags = CMD_WRITE, .acl = ACL_KEYSPACE, .keys = KEYS_ALL(KEY_RM | KEY_DELETE),
     .since = "1.0.0", .group = "generic", .complexity = "O(n) for n keys and elements",
     .summary = "Deletes keys.", .tips = tips_multi_shard_agg_sum},
    {.name = "unlink", .on_shard = cmd_del, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_SUM, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_ALL(KEY_RM | KEY_DELETE),
     .since = "4.0.0", .group = "generic", .complexity = "O(n) for n keys",
     .summary = "Deletes keys and frees large values later.", .tips = tips_multi_shard_agg_sum},
    {.name = "exists", .on_shard = cmd_exists, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_SUM, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_ALL(KEY_RO),
     .since = "1.0.0", .group = "generic", .complexity = "O(n) for n keys",
     .summary = "Counts which of these keys exist.", .tips = tips_multi_shard_agg_sum},
    {.name = "type", .on_shard = cmd_type, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RO),
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "The type of the value under a key."},
    {.name = "touch", .on_shard = cmd_touch, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_SUM, .flags = CMD_READ | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_ALL(KEY_RO),
     .since = "3.2.1", .group = "generic", .complexity = "O(n) for n keys",
     .summary = "Marks keys as just used and counts them.", .tips = tips_multi_shard_agg_sum},
    {.name = "rename", .on_shard = cmd_rename, .arity = 3, .plan = PLAN_LOCKED, .flags = CMD_WRITE, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_OW | KEY_UPDATE, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Moves a value to another key, whatever was there."},
    {.name = "renamenx", .on_shard = cmd_renamenx, .arity = 3, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RW | KEY_ACCESS | KEY_DELETE, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_OW | KEY_INSERT, .begin = 2, .last = 0, .step = 1}},
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Moves a value to another key if that is free."},
    {.name = "copy", .on_shard = cmd_copy, .arity = -3, .plan = PLAN_LOCKED, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_KEYSPACE, .keys = {{.flags = KEY_RO | KEY_ACCESS, .begin = 1, .last = 0, .step = 1}, {.flags = KEY_OW | KEY_UPDATE, .begin = 2, .last = 0, .step = 1}},
     .since = "6.2.0", .group = "generic", .complexity = "O(n) for n elements",
     .summary = "Copies a value to another key."},
    {.name = "move", .on_shard = cmd_move, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_KEYSPACE, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .group = "generic", .complexity = "O(1)",
     .summary = "Moves a key to another database."},
    {.name = "object", .arity = -2, .plan = PLAN_ONE_SHARD, .flags = 0, .acl = 0, .keys = KEYS_NONE,
     .since = "2.2.3", .group = "generic", .complexity = "That of the subcommand",
     .summary = "What is known of a value beyond its contents.", .subcommands = object_subcommands},
};
/* clang-format on */
const struct command_family generic_family = {"generic", commands, ARRAY_LEN(commands)};
