/* stream.c: the commands on the entries of one stream, and the rows of the family. Reading of
 * several streams and by groups is in stream_read.c, groups in stream_group.c and stream_claim.c,
 * XINFO in stream_info.c.
 */
#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/cmd/stream_args.h"
#include "shard/cmd/stream_commands.h"
#include "shard/notify.h"

/* "~" without LIMIT: so many nodes of the configured size. */
#define TRIM_NODES_DEFAULT 100
#define TRIM_LIMIT_UNKNOWN 10000 /* nodes have no limit */
#define TRIM_LIMIT_MAX 1000000

/* ---- options of XADD and XTRIM ---- */

struct add_options {
    struct stream_trim trim;
    bool no_create; /* NOMKSTREAM */
    bool has_limit;
    bool any_id, any_seq; /* "*", "5-*" */
    bool has_id;
    struct stream_id id;
    uint32_t id_at; /* XADD: where the id stands */
};

/* MAXLEN or MINID at argv[*i], which is left at the last word that belongs to it. */
static bool read_strategy_or_reply(const struct request *rq, uint32_t *i, enum stream_trim_by by,
                                   struct stream_trim *t, struct reply *out)
{
    if (t->by != STREAM_TRIM_NONE) {
        reply_error(
            out, "ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
        return false;
    }
    bool has_operator = *i + 2 < rq->argc;
    t->by = by;
    t->whole_nodes = has_operator && arg_is_char(rq, *i + 1, '~');
    if (t->whole_nodes || (has_operator && arg_is_char(rq, *i + 1, '='))) ++*i;
    ++*i;
    if (by == STREAM_TRIM_MINID) return arg_stream_id_or_reply(rq, *i, out, &t->min_id);
    int64_t length;
    if (arg_i64(rq, *i, &length) != OK) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    t->length = (uint64_t)length;
    if (length < 0) reply_error(out, "ERR The MAXLEN argument must be >= 0.");
    return length >= 0;
}

static bool read_limit_or_reply(const struct request *rq, uint32_t index, struct add_options *o,
                                struct reply *out)
{
    int64_t limit;
    if (arg_i64(rq, index, &limit) != OK) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    o->has_limit = true;
    o->trim.limit = (uint64_t)limit;
    if (limit < 0) reply_error(out, "ERR The LIMIT argument must be >= 0.");
    return limit >= 0;
}

static uint64_t default_limit(const struct shard *sh)
{
    uint64_t entries = sh->config->stream_node_max_entries;
    if (entries == 0) return TRIM_LIMIT_UNKNOWN;
    if (entries > TRIM_LIMIT_MAX / TRIM_NODES_DEFAULT) return TRIM_LIMIT_MAX;
    return entries * TRIM_NODES_DEFAULT;
}

static bool check_limit_or_reply(const struct shard *sh, bool is_add, struct add_options *o,
                                 struct reply *out)
{
    if (o->trim.limit > 0 && o->trim.by == STREAM_TRIM_NONE) {
        reply_error(
            out, "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
        return false;
    }
    if (!is_add && o->trim.by == STREAM_TRIM_NONE) {
        reply_error(out, "ERR syntax error, XTRIM must be called with a trimming strategy");
        return false;
    }
    if (o->has_limit && !o->trim.whole_nodes) {
        reply_error(out, "ERR syntax error, LIMIT cannot be used without the special ~ option");
        return false;
    }
    if (!o->has_limit && o->trim.whole_nodes) o->trim.limit = default_limit(sh);
    return true;
}

/* One option at argv[*i], or the id of XADD, which ends them. */
static bool read_option_or_reply(const struct request *rq, uint32_t *i, bool is_add,
                                 struct add_options *o, struct reply *out)
{
    bool has_value = *i + 1 < rq->argc;
    if (is_add && arg_is_char(rq, *i, '*')) {
        o->any_id = o->has_id = true;
    } else if (has_value && arg_is(rq, *i, "maxlen")) {
        return read_strategy_or_reply(rq, i, STREAM_TRIM_MAXLEN, &o->trim, out);
    } else if (has_value && arg_is(rq, *i, "minid")) {
        return read_strategy_or_reply(rq, i, STREAM_TRIM_MINID, &o->trim, out);
    } else if (has_value && arg_is(rq, *i, "limit")) {
        return read_limit_or_reply(rq, ++*i, o, out);
    } else if (is_add && arg_is(rq, *i, "nomkstream")) {
        o->no_create = true;
    } else if (!is_add) {
        reply_err(out, ERR_SYNTAX);
        return false;
    } else if (stream_id_parse(rq->argv[*i], 0, &o->id, &o->any_seq)) {
        o->has_id = true;
    } else {
        return arg_stream_id_or_reply(rq, *i, out, &o->id);
    }
    return true;
}

static bool read_options_or_reply(const struct shard *sh, const struct request *rq, bool is_add,
                                  struct add_options *o, struct reply *out)
{
    uint32_t i = 2;
    for (; i < rq->argc && !o->has_id; i++) {
        if (!read_option_or_reply(rq, &i, is_add, o, out)) return false;
    }
    o->id_at = i - 1;
    return check_limit_or_reply(sh, is_add, o, out);
}

/* ---- XADD, XTRIM ---- */

/* The id of the new entry. */
static bool choose_id_or_reply(const struct shard *sh, const struct add_options *o,
                               struct stream_id last, struct reply *out, struct stream_id *id)
{
    if (stream_id_compare(last, STREAM_ID_MAX) == 0) {
        reply_error(out, "ERR The stream has exhausted the last possible ID, unable to add more "
                         "items");
        return false;
    }
    if (o->any_id) return stream_next_id(last, sh->wall_ms, id);
    *id = o->id;
    bool has_room = true;
    if (o->any_seq && id->ms == last.ms) {
        id->seq = last.seq + 1;
        has_room = last.seq < UINT64_MAX;
    }
    if (has_room && stream_id_compare(*id, last) > 0) return true;
    reply_error(out, "ERR The ID specified in XADD is equal or smaller than the target stream top "
                     "item");
    return false;
}

static bool entry_fits_or_reply(const struct request *rq, uint32_t first, struct reply *out)
{
    uint64_t bytes = 0;
    for (uint32_t i = first; i < rq->argc; i++) bytes += rq->argv[i].size;
    if (bytes <= STREAM_ENTRY_BYTES_MAX) return true;
    reply_error(out, "ERR Elements are too large to be stored");
    return false;
}

/* The command as it would be with that id and no trimming. */
static void describe_entry(struct shard *sh, struct request *rq, uint32_t id_at,
                           const struct key *k, struct stream_id id)
{
    char text[STREAM_ID_TEXT_BYTES_MAX];
    struct bytes given = rq->argv[id_at];
    rq->argv[id_at] = bytes_make(text, stream_id_text(id, text));
    journal_describe(sh, k, "XADD", &rq->argv[id_at], rq->argc - id_at);
    rq->argv[id_at] = given;
}

/* However it was trimmed, the oldest entries went. */
static void describe_length(struct shard *sh, const struct key *k, uint64_t length)
{
    struct journal_number n;
    const struct bytes args[] = {BYTES_LITERAL("MAXLEN"), BYTES_LITERAL("="),
                                 journal_i64(&n, (int64_t)length)};
    journal_describe(sh, k, "XTRIM", args, ARRAY_LEN(args));
}

static enum err add_entry(struct shard *sh, struct request *rq, const struct add_options *o,
                          struct stream_target *t, struct reply *out)
{
    uint32_t first = o->id_at + 1;
    bool is_new = !t->s;
    struct stream_id id;
    if (!choose_id_or_reply(sh, o, is_new ? STREAM_ID_MIN : t->s->last_id, out, &id)) return OK;
    if (!entry_fits_or_reply(rq, first, out)) return OK;
    struct stream *s = is_new ? stream_create(&sh->mem) : t->s;
    if (!stream_try_add(&sh->mem, sh->config, s, id, &rq->argv[first], (rq->argc - first) / 2)) {
        if (is_new) stream_free(&sh->mem, s);
        return ERR_ALLOC;
    }
    uint64_t trimmed = stream_trim(&sh->mem, s, &o->trim), length = s->length;
    if (!is_new) {
        keyspace_touch_changed(sh, &t->key, t->e);
    } else if (keyspace_put_object(sh, &t->key, TYPE_STREAM, ENCODING_STREAM, s, DEADLINE_NONE) !=
               OK) {
        return ERR_ALLOC;
    }
    if (journal_is_on(sh)) describe_entry(sh, rq, o->id_at, &t->key, id);
    if (trimmed > 0) describe_length(sh, &t->key, length);
    notify(sh, NOTIFY_STREAM, "xadd", &t->key);
    if (trimmed > 0) notify(sh, NOTIFY_STREAM, "xtrim", &t->key);
    reply_stream_id(out, id);
    return OK;
}

static enum err cmd_xadd(struct shard *sh, struct request *rq, struct reply *out)
{
    struct add_options o = {.no_create = false};
    if (!read_options_or_reply(sh, rq, true, &o, out)) return OK;
    uint32_t words = rq->argc - 1 - o.id_at;
    if (words < 2 || words % 2 != 0) return args_wrong_count(rq, out);
    if (!o.any_id && !o.any_seq && stream_id_is_zero(o.id)) {
        reply_error(out, "ERR The ID specified in XADD must be greater than 0-0");
        return OK;
    }
    struct stream_target t;
    enum err e = stream_target_write(sh, rq, 1, &t);
    if (e != OK) return e;
    if (!t.s && o.no_create) {
        reply_null(out);
        return OK;
    }
    return add_entry(sh, rq, &o, &t, out);
}

static enum err cmd_xtrim(struct shard *sh, struct request *rq, struct reply *out)
{
    struct add_options o = {.no_create = false};
    struct stream_target t;
    if (!read_options_or_reply(sh, rq, false, &o, out)) return OK;
    enum err e = stream_target_write(sh, rq, 1, &t);
    if (e != OK) return e;
    uint64_t trimmed = t.s ? stream_trim(&sh->mem, t.s, &o.trim) : 0;
    if (trimmed > 0) {
        keyspace_touch_changed(sh, &t.key, t.e);
        describe_length(sh, &t.key, t.s->length);
        notify(sh, NOTIFY_STREAM, "xtrim", &t.key);
    }
    reply_i64(out, (int64_t)trimmed);
    return OK;
}

/* ---- XLEN, XRANGE, XREVRANGE, XDEL ---- */

static enum err cmd_xlen(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    enum err e = stream_target_read(sh, rq, 1, &t);
    if (e == OK) reply_i64(out, t.s ? (int64_t)t.s->length : 0);
    return e;
}

/* "COUNT n", more than once if it must be; `*count` stays -1 without. */
static enum err read_count(const struct request *rq, uint32_t first, int64_t *count)
{
    *count = -1;
    for (uint32_t i = first; i < rq->argc; i += 2) {
        if (i + 1 >= rq->argc || !arg_is(rq, i, "count")) return ERR_SYNTAX;
        enum err e = arg_i64(rq, i + 1, count);
        if (e != OK) return e;
        *count = MAX(*count, 0);
    }
    return OK;
}

static void reply_range(struct shard *sh, struct stream_iterator *it, uint64_t count,
                        struct reply *out)
{
    struct collection found;
    struct stream_entry e;
    collection_begin(&found, sh, out);
    while (found.count < count && stream_iterator_next(it, &e)) {
        reply_stream_entry(&found.items, &e);
        found.count++;
    }
    reply_array(out, found.count);
    collection_end(&found, sh, out);
}

static enum err range(struct shard *sh, const struct request *rq, bool backwards, struct reply *out)
{
    struct stream_id first, last;
    struct stream_target t;
    int64_t count;
    if (!arg_stream_start_or_reply(rq, backwards ? 3 : 2, out, &first)) return OK;
    if (!arg_stream_end_or_reply(rq, backwards ? 2 : 3, out, &last)) return OK;
    enum err e = read_count(rq, 4, &count);
    if (e == OK) e = stream_target_read(sh, rq, 1, &t);
    if (e != OK) return e;
    if (!t.s) {
        reply_array(out, 0);
    } else if (count == 0) {
        reply_null_array(out);
    } else {
        struct stream_iterator it;
        stream_iterator_init(&it, t.s, first, last, backwards);
        reply_range(sh, &it, count < 0 ? UINT64_MAX : (uint64_t)count, out);
    }
    return OK;
}

static enum err cmd_xrange(struct shard *sh, struct request *rq, struct reply *out)
{
    return range(sh, rq, false, out);
}

static enum err cmd_xrevrange(struct shard *sh, struct request *rq, struct reply *out)
{
    return range(sh, rq, true, out);
}

static enum err cmd_xdel(struct shard *sh, struct request *rq, struct reply *out)
{
    struct stream_target t;
    enum err e = stream_target_write(sh, rq, 1, &t);
    if (e != OK) return e;
    int64_t removed = 0;
    if (t.s && !args_stream_ids_or_reply(rq, 2, out)) return OK;
    for (uint32_t i = 2; t.s && i < rq->argc; i++) {
        struct stream_id id;
        CHECK(stream_id_parse(rq->argv[i], 0, &id, NULL));
        enum stream_removal r = stream_try_remove(&sh->mem, t.s, id);
        if (r == STREAM_NO_MEMORY && removed == 0) return ERR_ALLOC;
        removed += r == STREAM_REMOVED;
    }
    if (removed > 0) {
        keyspace_touch_changed(sh, &t.key, t.e);
        notify(sh, NOTIFY_STREAM, "xdel", &t.key);
    }
    reply_i64(out, removed);
    return OK;
}

/* ---- XSETID ---- */

struct setid_options {
    struct stream_id id, max_deleted;
    int64_t entries_added; /* -1: as it is */
};

static bool read_setid_or_reply(const struct request *rq, struct setid_options *o,
                                struct reply *out)
{
    *o = (struct setid_options){.entries_added = -1};
    if (!arg_stream_id_or_reply(rq, 2, out, &o->id)) return false;
    for (uint32_t i = 3; i < rq->argc; i += 2) {
        bool has_value = i + 1 < rq->argc;
        if (has_value && arg_is(rq, i, "entriesadded")) {
            enum err e = arg_i64(rq, i + 1, &o->entries_added);
            if (e != OK) reply_err(out, e);
            if (e == OK && o->entries_added < 0) {
                reply_error(out, "ERR entries_added must be positive");
            }
            if (e != OK || o->entries_added < 0) return false;
        } else if (has_value && arg_is(rq, i, "maxdeletedid")) {
            if (!arg_stream_id_or_reply(rq, i + 1, out, &o->max_deleted)) return false;
            if (stream_id_compare(o->id, o->max_deleted) < 0) {
                reply_error(out, "ERR The ID specified in XSETID is smaller than the provided "
                                 "max_deleted_entry_id");
                return false;
            }
        } else {
            reply_err(out, ERR_SYNTAX);
            return false;
        }
    }
    return true;
}

static bool check_setid_or_reply(const struct stream *s, const struct setid_options *o,
                                 struct reply *out)
{
    if (s->length == 0) return true;
    if (stream_id_compare(o->id, stream_last_entry_id(s)) < 0) {
        reply_error(out,
                    "ERR The ID specified in XSETID is smaller than the target stream top item");
        return false;
    }
    if (o->entries_added == -1 || (uint64_t)o->entries_added >= s->length) return true;
    reply_error(
        out, "ERR The entries_added specified in XSETID is smaller than the target stream length");
    return false;
}

static enum err cmd_xsetid(struct shard *sh, struct request *rq, struct reply *out)
{
    struct setid_options o;
    struct stream_target t;
    if (!read_setid_or_reply(rq, &o, out)) return OK;
    enum err e = stream_target_write(sh, rq, 1, &t);
    if (e == OK && !t.s) e = ERR_NO_KEY;
    if (e != OK) return e;
    if (!check_setid_or_reply(t.s, &o, out)) return OK;
    t.s->last_id = o.id;
    if (o.entries_added != -1) t.s->entries_added = (uint64_t)o.entries_added;
    if (!stream_id_is_zero(o.max_deleted)) t.s->max_deleted_id = o.max_deleted;
    keyspace_touch_changed(sh, &t.key, t.e);
    notify(sh, NOTIFY_STREAM, "xsetid", &t.key);
    reply_ok(out);
    return OK;
}

/* clang-format off */
#define KEYS_SECOND(key_flags) {{.flags = (key_flags), .begin = 2, .last = 0, .step = 1}}
#define KEYS_STREAMS(key_flags, from) {{.flags = (key_flags), .begin = (from), .keyword = "STREAMS", .last = -1, .step = 1, .limit = 2}}
static const char *const tips_any_output[] = {"nondeterministic_output", NULL};
static const struct command xgroup_subcommands[] = {
    {.name = "create", .on_shard = cmd_xgroup_create, .arity = -5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RW | KEY_INSERT),
     .since = "5.0.0", .group = "stream", .complexity = "O(1)", .summary = "Makes a consumer group."},
    {.name = "setid", .on_shard = cmd_xgroup_setid, .arity = -5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RW | KEY_UPDATE),
     .since = "5.0.0", .group = "stream", .complexity = "O(1)", .summary = "Says where a consumer group goes on."},
    {.name = "destroy", .on_shard = cmd_xgroup_destroy, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RW | KEY_DELETE),
     .since = "5.0.0", .group = "stream", .complexity = "O(N log N) for N pending entries", .summary = "Removes a consumer group and forgets what is pending in it."},
    {.name = "createconsumer", .on_shard = cmd_xgroup_createconsumer, .arity = 5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RW | KEY_INSERT),
     .since = "6.2.0", .group = "stream", .complexity = "O(N) for N consumers", .summary = "Makes a consumer in a group."},
    {.name = "delconsumer", .on_shard = cmd_xgroup_delconsumer, .arity = 5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RW | KEY_DELETE),
     .since = "5.0.0", .group = "stream", .complexity = "O(N log N) for N pending entries", .summary = "Removes a consumer with what is pending for it."},
    {.name = "help", .on_shard = command_help_on_shard, .help = xgroup_help, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_STREAM, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "stream", .complexity = "O(1)", .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command xinfo_subcommands[] = {
    {.name = "stream", .on_shard = cmd_xinfo_stream, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(1); O(N) with FULL, for N entries and pending entries that are told", .summary = "What is known of a stream."},
    {.name = "groups", .on_shard = cmd_xinfo_groups, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(N) for N groups", .summary = "Lists the consumer groups of a stream."},
    {.name = "consumers", .on_shard = cmd_xinfo_consumers, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_SECOND(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(N) for N consumers", .summary = "Lists the consumers of a group.", .tips = tips_any_output},
    {.name = "help", .on_shard = command_help_on_shard, .help = xinfo_help, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_LOADING | CMD_STALE, .acl = ACL_STREAM, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "stream", .complexity = "O(1)", .summary = "Explains the subcommands."},
    {.name = NULL},
};
static const struct command commands[] = {
    {.name = "xadd", .on_shard = cmd_xadd, .arity = -5, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N), and O(M) for M entries that are trimmed",
     .summary = "Adds an entry to a stream, which is made if there is none.", .tips = tips_any_output},
    {.name = "xtrim", .on_shard = cmd_xtrim, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "5.0.0", .group = "stream", .complexity = "O(M) for M entries that go, by whole nodes",
     .summary = "Takes the oldest entries out of a stream.", .tips = tips_any_output},
    {.name = "xlen", .on_shard = cmd_xlen, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RO),
     .since = "5.0.0", .group = "stream", .complexity = "O(1)",
     .summary = "Counts the entries of a stream."},
    {.name = "xrange", .on_shard = cmd_xrange, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N + M) for M of N entries",
     .summary = "Returns the entries whose ids lie in a range."},
    {.name = "xrevrange", .on_shard = cmd_xrevrange, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N + M) for M of N entries",
     .summary = "Returns the entries whose ids lie in a range, the last one first."},
    {.name = "xdel", .on_shard = cmd_xdel, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N) for each entry, N being those of the stream",
     .summary = "Removes entries from a stream."},
    {.name = "xsetid", .on_shard = cmd_xsetid, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "5.0.0", .group = "stream", .complexity = "O(1)",
     .summary = "Sets the last id of a stream and what it remembers of entries that are gone."},
    {.name = "xread", .on_shard = cmd_xread, .arity = -4, .plan = PLAN_LOCKED, .merge = MERGE_FOUND, .flags = CMD_READ | CMD_BLOCKING | CMD_MOVABLE_KEYS, .acl = ACL_STREAM, .keys = KEYS_STREAMS(KEY_RO | KEY_ACCESS, 1),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N + M) for each stream, M of N entries being returned",
     .summary = "Returns the entries of several streams that come after given ids."},
    {.name = "xreadgroup", .on_shard = cmd_xreadgroup, .arity = -7, .plan = PLAN_LOCKED, .merge = MERGE_FOUND, .flags = CMD_WRITE | CMD_BLOCKING | CMD_MOVABLE_KEYS, .acl = ACL_STREAM, .keys = KEYS_STREAMS(KEY_RO | KEY_ACCESS | KEY_CHANGED, 4),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N + M log P) for each stream, M of N entries being returned, P pending ones",
     .summary = "Returns entries that a group has not got yet, or those pending for a consumer."},
    {.name = "xack", .on_shard = cmd_xack, .arity = -4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "5.0.0", .group = "stream", .complexity = "O(log P) for each id, P being the pending entries",
     .summary = "Acknowledges entries, which are then no longer pending."},
    {.name = "xpending", .on_shard = cmd_xpending, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "5.0.0", .group = "stream", .complexity = "O(C) for C consumers; O(log P + M) for a range of M of P pending entries, more if IDLE passes over some",
     .summary = "Lists the pending entries of a group, or counts them.", .tips = tips_any_output},
    {.name = "xclaim", .on_shard = cmd_xclaim, .arity = -6, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "5.0.0", .group = "stream", .complexity = "O(log N) for each id, N being the entries and the pending ones",
     .summary = "Makes pending entries another consumer's.", .tips = tips_any_output},
    {.name = "xautoclaim", .on_shard = cmd_xautoclaim, .arity = -6, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_STREAM, .keys = KEYS_FIRST(KEY_RW | KEY_DELETE),
     .since = "6.2.0", .group = "stream", .complexity = "O(M log N) for M entries that are looked at",
     .summary = "Makes entries that have been pending for long another consumer's.", .tips = tips_any_output},
    {.name = "xgroup", .arity = -2, .plan = PLAN_ONE_SHARD, .flags = 0, .acl = 0, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "stream", .complexity = "Depends on subcommand.", .summary = "Makes, changes and removes consumer groups.", .subcommands = xgroup_subcommands},
    {.name = "xinfo", .arity = -2, .plan = PLAN_ONE_SHARD, .flags = 0, .acl = 0, .keys = KEYS_NONE,
     .since = "5.0.0", .group = "stream", .complexity = "Depends on subcommand.", .summary = "Tells of streams, groups and consumers.", .subcommands = xinfo_subcommands},
};
/* clang-format on */
const struct command_family stream_family = {"stream", commands, ARRAY_LEN(commands)};
