/* string.c: the string commands, from GET to MSETNX. LCS has a file of its own.
 *
 * Reads go through keyspace_find and count as hits and misses; writers look with keyspace_peek, as
 * Redis does not count those.
 */
#include <math.h>

#include "shard/cmd/args.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard/object.h"
#include "shard/pairs.h"

static void reply_string(struct reply *out, const struct entry *e)
{
    if (entry_encoding(e) == ENCODING_INT) {
        reply_bulk_i64(out, entry_integer(e));
    } else {
        reply_bulk(out, entry_string(e, NULL));
    }
}

/* ---- reading ---- */

static enum err cmd_get(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (likely(e == OK)) {
        reply_string(out, value);
        return OK;
    }
    if (e != ERR_NO_KEY) return e;
    reply_null(out);
    return OK;
}

/* One part of a split MGET carries a single key, and replies without the array's header, which the
 * router writes. */
static enum err cmd_mget(struct shard *sh, struct request *rq, struct reply *out)
{
    if (!(rq->flags & REQUEST_PART)) reply_array(out, rq->argc - 1);
    for (uint32_t i = 1; i < rq->argc; i++) {
        struct key k = request_key(sh, rq, i);
        struct entry *value = keyspace_find_any(sh, &k);
        if (value && entry_type(value) == TYPE_STRING) {
            reply_string(out, value);
        } else {
            reply_null(out);
        }
    }
    return OK;
}

static enum err cmd_strlen(struct shard *sh, struct request *rq, struct reply *out)
{
    struct bytes text;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = arg_key_string(sh, rq, 1, scratch, &text);
    if (e != OK) return e;
    reply_i64(out, (int64_t)text.size);
    return OK;
}

/* GETRANGE clamps its end to the first byte where LRANGE gives nothing: "GETRANGE k -100 -50" of a
 * short string is its first byte. Only a range that is the wrong way round as written is empty. */
static struct bytes substring(struct bytes s, int64_t start, int64_t end)
{
    int64_t size = (int64_t)s.size;
    if (start < 0 && end < 0 && start > end) return (struct bytes){s.data, 0};
    if (start < 0) start = MAX(start + size, 0);
    if (end < 0) end = MAX(end + size, 0);
    end = MIN(end, size - 1);
    if (start > end) return (struct bytes){s.data, 0};
    return (struct bytes){s.data + start, (size_t)(end - start) + 1};
}

static enum err cmd_getrange(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t start, end;
    if (arg_i64(rq, 2, &start) != OK || arg_i64(rq, 3, &end) != OK) return ERR_NOT_INT;

    struct bytes all;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = arg_key_string(sh, rq, 1, scratch, &all);
    if (e != OK) return e;
    reply_bulk(out, substring(all, start, end));
    return OK;
}

/* ---- setting ---- */

static void notify_set(struct shard *sh, const struct key *k, struct bytes value,
                       int64_t deadline_ms)
{
    if (journal_is_on(sh) && deadline_ms > 0) {
        struct journal_number n;
        const struct bytes args[] = {value, BYTES_LITERAL("PXAT"), journal_i64(&n, deadline_ms)};
        journal_describe(sh, k, "SET", args, ARRAY_LEN(args));
    }
    notify(sh, NOTIFY_STRING, "set", k);
    if (deadline_ms > 0) notify(sh, NOTIFY_GENERIC, "expire", k);
}

struct set_options {
    bool if_absent, if_present; /* NX, XX */
    bool get;
    bool has_time;
    enum time_form form;
    uint32_t time_index; /* of the argument */
    int64_t deadline_ms; /* DEADLINE_NONE, DEADLINE_KEEP, or the time */
};

/* EX, PX, EXAT and PXAT exclude each other and KEEPTTL or PERSIST (`other_time`), but one may be
 * repeated: the last value counts. `i` is left at the value. */
static enum err parse_time_option(const struct request *rq, uint32_t *i, bool other_time,
                                  struct set_options *o)
{
    enum time_form form;
    if (!arg_time_form(rq, *i, &form)) return ERR_SYNTAX;
    if (other_time || *i + 1 >= rq->argc) return ERR_SYNTAX;
    if (o->has_time && o->form != form) return ERR_SYNTAX;
    o->has_time = true;
    o->form = form;
    o->time_index = ++*i;
    return OK;
}

static enum err parse_set_options(const struct request *rq, struct set_options *o)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        if (arg_is(rq, i, "nx") && !o->if_present) {
            o->if_absent = true;
        } else if (arg_is(rq, i, "xx") && !o->if_absent) {
            o->if_present = true;
        } else if (arg_is(rq, i, "get")) {
            o->get = true;
        } else if (arg_is(rq, i, "keepttl") && !o->has_time) {
            o->deadline_ms = DEADLINE_KEEP;
        } else {
            enum err e = parse_time_option(rq, &i, o->deadline_ms == DEADLINE_KEEP, o);
            if (e != OK) return e;
        }
    }
    return OK;
}

/* Replies the value that is to be overwritten, which must leave nothing that can fail after it: so
 * it is copied, the key is set, and then the copy is written. */
static enum err set_and_get_old(struct shard *sh, const struct request *rq, const struct key *k,
                                const struct set_options *o, struct reply *out)
{
    struct entry *old;
    enum err e = keyspace_find(sh, k, TYPE_STRING, &old);
    if (e != OK && e != ERR_NO_KEY) return e;
    bool exists = e == OK;
    if (exists ? o->if_absent : o->if_present) {
        if (exists) {
            reply_string(out, old);
        } else {
            reply_null(out);
        }
        return OK;
    }
    if (!exists) {
        e = keyspace_set_string(sh, k, rq->argv[2], o->deadline_ms);
        if (e != OK) return e;
        notify_set(sh, k, rq->argv[2], o->deadline_ms);
        reply_null(out);
        return OK;
    }

    char scratch[TEXT_I64_BYTES_MAX];
    struct bytes text = entry_string(old, scratch);
    struct buf copy = {.mem = &sh->mem};
    if (buf_try_reserve(&copy, MAX(text.size, 1)) == NULL) return ERR_ALLOC;
    buf_append(&copy, text.data, text.size);
    bool fits = reply_try_reserve(out, REPLY_STRING_BYTES(text.size)) != NULL;
    e = fits ? keyspace_set_string(sh, k, rq->argv[2], o->deadline_ms) : ERR_ALLOC;
    if (e == OK) {
        notify_set(sh, k, rq->argv[2], o->deadline_ms);
        reply_bulk(out, buf_view(&copy));
    }
    buf_clear(&copy);
    return e;
}

/* NX or XX. A key that is in the way has been accessed. */
static bool set_condition_holds(struct shard *sh, const struct key *k, const struct set_options *o)
{
    struct entry *old = keyspace_peek(sh, k);
    if (old && o->if_absent) keyspace_touch(sh, old);
    return (old == NULL) == o->if_absent;
}

static enum err cmd_set(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct set_options o = {.deadline_ms = DEADLINE_NONE};
    if (unlikely(rq->argc > 3)) {
        enum err e = parse_set_options(rq, &o);
        if (e != OK) return e;
        if (o.has_time &&
            !arg_deadline_or_reply(sh, rq, o.time_index, o.form, out, &o.deadline_ms)) {
            return OK;
        }
        if (o.get) return set_and_get_old(sh, rq, &k, &o, out);
        if ((o.if_absent || o.if_present) && !set_condition_holds(sh, &k, &o)) {
            reply_null(out);
            return OK;
        }
    }
    enum err e = keyspace_set_string(sh, &k, rq->argv[2], o.deadline_ms);
    if (unlikely(e != OK)) return e;
    notify_set(sh, &k, rq->argv[2], o.deadline_ms);
    reply_ok(out);
    return OK;
}

static enum err cmd_setnx(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    bool exists = peek_touched(sh, &k) != NULL;
    if (!exists) {
        enum err e = keyspace_set_string(sh, &k, rq->argv[2], DEADLINE_NONE);
        if (e != OK) return e;
        notify_set(sh, &k, rq->argv[2], DEADLINE_NONE);
    }
    reply_i64(out, !exists);
    return OK;
}

static enum err set_with_time(struct shard *sh, struct request *rq, struct reply *out,
                              enum time_form form)
{
    struct key k = request_key(sh, rq, 1);
    int64_t deadline_ms;
    if (!arg_deadline_or_reply(sh, rq, 2, form, out, &deadline_ms)) return OK;
    enum err e = keyspace_set_string(sh, &k, rq->argv[3], deadline_ms);
    if (e != OK) return e;
    notify_set(sh, &k, rq->argv[3], deadline_ms);
    reply_ok(out);
    return OK;
}

static enum err cmd_setex(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_with_time(sh, rq, out, TIME_SECONDS);
}

static enum err cmd_psetex(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_with_time(sh, rq, out, TIME_MS);
}

static enum err cmd_getset(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct set_options o = {.deadline_ms = DEADLINE_NONE};
    return set_and_get_old(sh, rq, &k, &o, out);
}

static enum err cmd_getdel(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_null(out);
        return OK;
    }
    if (e != OK) return e;
    /* Nothing goes that cannot be answered. */
    char scratch[TEXT_I64_BYTES_MAX];
    size_t size = entry_string(value, scratch).size;
    if (!reply_try_reserve(out, REPLY_STRING_BYTES(size))) return ERR_ALLOC;
    reply_string(out, value);
    keyspace_delete(sh, &k);
    notify(sh, NOTIFY_GENERIC, "del", &k);
    return OK;
}

static enum err parse_getex_options(const struct request *rq, struct set_options *o, bool *persist)
{
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (arg_is(rq, i, "persist") && !o->has_time) {
            *persist = true;
        } else {
            enum err e = parse_time_option(rq, &i, *persist, o);
            if (e != OK) return e;
        }
    }
    return OK;
}

/* A time that has passed already deletes the key. */
static enum err cmd_getex(struct shard *sh, struct request *rq, struct reply *out)
{
    struct set_options o = {.deadline_ms = DEADLINE_NONE};
    bool persist = false;
    enum err e = parse_getex_options(rq, &o, &persist);
    if (e != OK) return e;

    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        reply_null(out);
        return OK;
    }
    if (e != OK) return e;
    if (o.has_time && !arg_deadline_or_reply(sh, rq, o.time_index, o.form, out, &o.deadline_ms)) {
        return OK;
    }
    bool is_past = o.has_time && o.deadline_ms <= sh->now_ms;
    if (!is_past && (o.has_time || (persist && entry_has_deadline(value)))) {
        if (!keyspace_set_deadline(sh, &k, o.deadline_ms)) return ERR_ALLOC;
        journal_deadline(sh, &k, o.deadline_ms);
        notify(sh, NOTIFY_GENERIC, persist ? "persist" : "expire", &k);
        value = keyspace_peek(sh, &k);
    }
    reply_string(out, value);
    if (is_past) {
        keyspace_delete(sh, &k);
        notify(sh, NOTIFY_GENERIC, "del", &k);
    }
    return OK;
}

/* ---- several keys ---- */

/* Sets all pairs or none. A part of a split command must not fail by itself: its coordinator sees
 * to it that such parts are small. */
static enum err set_pairs(struct shard *sh, struct request *rq)
{
    struct pairs p;
    if (unlikely(!pairs_try_make(sh, rq, &p))) {
        if (!(rq->flags & REQUEST_PART)) return ERR_ALLOC;
        mem_insist(&sh->mem, true);
        CHECK(pairs_try_make(sh, rq, &p));
        mem_insist(&sh->mem, false);
    }
    pairs_put(sh, rq, &p);
    return OK;
}

static enum err cmd_mset(struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc % 2 == 0) return args_wrong_count(rq, out);
    enum err e = set_pairs(sh, rq);
    if (e == OK) reply_ok(out);
    return e;
}

static enum err cmd_msetnx(struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc % 2 == 0) return args_wrong_count(rq, out);
    for (uint32_t i = 1; i < rq->argc; i += 2) {
        struct key k = request_key(sh, rq, i);
        if (peek_touched(sh, &k) == NULL) continue;
        reply_i64(out, 0);
        return OK;
    }
    enum err e = set_pairs(sh, rq);
    if (e == OK) reply_i64(out, 1);
    return e;
}

/* ---- counting ---- */

static enum err add_to_integer(struct shard *sh, struct request *rq, int64_t increment,
                               struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    int64_t n = 0;
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    if (e == OK) {
        if (entry_encoding(value) == ENCODING_INT) {
            n = entry_integer(value);
        } else if (!text_to_i64(entry_string(value, NULL), &n)) {
            return ERR_NOT_INT;
        }
    }
    if (__builtin_add_overflow(n, increment, &n)) return ERR_OVERFLOW;
    e = keyspace_set_integer(sh, &k, n, DEADLINE_KEEP);
    if (e != OK) return e;
    notify(sh, NOTIFY_STRING, "incrby", &k);
    reply_i64(out, n);
    return OK;
}

static enum err cmd_incr(struct shard *sh, struct request *rq, struct reply *out)
{
    return add_to_integer(sh, rq, 1, out);
}

static enum err cmd_decr(struct shard *sh, struct request *rq, struct reply *out)
{
    return add_to_integer(sh, rq, -1, out);
}

static enum err cmd_incrby(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t increment;
    enum err e = arg_i64(rq, 2, &increment);
    return e == OK ? add_to_integer(sh, rq, increment, out) : e;
}

static enum err cmd_decrby(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t decrement;
    enum err e = arg_i64(rq, 2, &decrement);
    if (e != OK) return e;
    if (decrement == INT64_MIN) {
        reply_error(out, "ERR decrement would overflow");
        return OK;
    }
    return add_to_integer(sh, rq, -decrement, out);
}

static enum err cmd_incrbyfloat(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct entry *value;
    char text[TEXT_LONG_DOUBLE_BYTES_MAX];
    long double n = 0, increment;
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    if (e == OK && !text_to_long_double(entry_string(value, text), &n)) return ERR_NOT_FLOAT;
    if (!text_to_long_double(rq->argv[2], &increment)) return ERR_NOT_FLOAT;
    n += increment;
    if (!isfinite(n)) return ERR_NAN;

    struct bytes printed = {text, text_from_long_double(text, n)};
    e = keyspace_set_text(sh, &k, printed, DEADLINE_KEEP);
    if (e != OK) return e;
    const struct bytes args[] = {printed, BYTES_LITERAL("KEEPTTL")};
    journal_describe(sh, &k, "SET", args, ARRAY_LEN(args));
    notify(sh, NOTIFY_STRING, "incrbyfloat", &k);
    reply_bulk(out, printed);
    return OK;
}

/* ---- editing in place ---- */

/* ERR_STRING_TOO_LONG unless a string of offset + extra bytes is allowed. */
static enum err check_string_size(const struct shard *sh, uint64_t offset, uint64_t extra)
{
    uint64_t size;
    if (__builtin_add_overflow(offset, extra, &size)) return ERR_STRING_TOO_LONG;
    return size > sh->config->proto_max_bulk_bytes ? ERR_STRING_TOO_LONG : OK;
}

static enum err cmd_append(struct shard *sh, struct request *rq, struct reply *out)
{
    struct key k = request_key(sh, rq, 1);
    struct bytes tail = rq->argv[2];
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    enum err e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e == ERR_NO_KEY) {
        e = keyspace_set_string(sh, &k, tail, DEADLINE_NONE);
        if (e != OK) return e;
        notify(sh, NOTIFY_STRING, "append", &k);
        reply_i64(out, (int64_t)tail.size);
        return OK;
    }
    if (e != OK) return e;

    size_t old_size = entry_string(value, scratch).size;
    e = check_string_size(sh, old_size, tail.size);
    if (e != OK) return e;
    char *data;
    e = keyspace_edit_string(sh, &k, old_size + tail.size, &data);
    if (e != OK) return e;
    if (tail.size > 0) memcpy(data + old_size, tail.data, tail.size);
    notify(sh, NOTIFY_STRING, "append", &k);
    reply_i64(out, (int64_t)(old_size + tail.size));
    return OK;
}

static enum err cmd_setrange(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t offset;
    enum err e = arg_i64(rq, 2, &offset);
    if (e != OK) return e;
    if (offset < 0) return ERR_OFFSET_RANGE;

    struct key k = request_key(sh, rq, 1);
    struct bytes patch = rq->argv[3];
    struct entry *value;
    char scratch[TEXT_I64_BYTES_MAX];
    e = keyspace_peek_typed(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    size_t old_size = e == OK ? entry_string(value, scratch).size : 0;
    if (patch.size == 0) {
        if (e == OK) keyspace_touch(sh, value);
        reply_i64(out, (int64_t)old_size);
        return OK;
    }

    e = check_string_size(sh, (uint64_t)offset, patch.size);
    if (e != OK) return e;
    size_t size = MAX(old_size, (size_t)offset + patch.size);
    char *data;
    e = keyspace_edit_string(sh, &k, size, &data);
    if (e != OK) return e;
    memcpy(data + offset, patch.data, patch.size);
    notify(sh, NOTIFY_STRING, "setrange", &k);
    reply_i64(out, (int64_t)size);
    return OK;
}

/* clang-format off */
static const char *const tips_multi_shard[] = {"request_policy:multi_shard", NULL};
static const char *const tips_multi_shard_all_succeeded[] = {"request_policy:multi_shard", "response_policy:all_succeeded", NULL};
static const char *const tips_multi_shard_agg_min[] = {"request_policy:multi_shard", "response_policy:agg_min", NULL};
static const struct command commands[] = {
    {.name = "get", .on_shard = cmd_get, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "The string under a key."},
    {.name = "set", .on_shard = cmd_set, .arity = -3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_BRIEF, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE | KEY_VARIABLE_FLAGS),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Stores a string, with options for expiry and condition."},
    {.name = "setnx", .on_shard = cmd_setnx, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_OW | KEY_INSERT),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Stores a string where there is no key yet."},
    {.name = "setex", .on_shard = cmd_setex, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_BRIEF, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_OW | KEY_UPDATE),
     .since = "2.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Stores a string that expires after some seconds."},
    {.name = "psetex", .on_shard = cmd_psetex, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_BRIEF, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_OW | KEY_UPDATE),
     .since = "2.6.0", .group = "string", .complexity = "O(1)",
     .summary = "Stores a string that expires after some milliseconds."},
    {.name = "getset", .on_shard = cmd_getset, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .deprecated_since = "6.2.0", .replaced_by = "`SET` with the `!GET` argument", .group = "string", .complexity = "O(1)",
     .summary = "Stores a string and answers the one before."},
    {.name = "getdel", .on_shard = cmd_getdel, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_DELETE),
     .since = "6.2.0", .group = "string", .complexity = "O(1)",
     .summary = "Answers a string and deletes its key."},
    {.name = "getex", .on_shard = cmd_getex, .arity = -2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "6.2.0", .group = "string", .complexity = "O(1)",
     .summary = "Answers a string and may change its expiry."},
    {.name = "append", .on_shard = cmd_append, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_INSERT),
     .since = "2.0.0", .group = "string", .complexity = "O(1) amortised",
     .summary = "Adds bytes to the end of a string."},
    {.name = "strlen", .on_shard = cmd_strlen, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_READ | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RO),
     .since = "2.2.0", .group = "string", .complexity = "O(1)",
     .summary = "The length of a string."},
    {.name = "incr", .on_shard = cmd_incr, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Adds one to an integer."},
    {.name = "decr", .on_shard = cmd_decr, .arity = 2, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Takes one from an integer."},
    {.name = "incrby", .on_shard = cmd_incrby, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Adds a number to an integer."},
    {.name = "decrby", .on_shard = cmd_decrby, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "1.0.0", .group = "string", .complexity = "O(1)",
     .summary = "Takes a number from an integer."},
    {.name = "incrbyfloat", .on_shard = cmd_incrbyfloat, .arity = 3, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_DENY_OOM | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "2.6.0", .group = "string", .complexity = "O(1)",
     .summary = "Adds a number to a floating point number."},
    {.name = "setrange", .on_shard = cmd_setrange, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RW | KEY_UPDATE),
     .since = "2.2.0", .group = "string", .complexity = "O(n) for n bytes written",
     .summary = "Overwrites a string from an offset on."},
    {.name = "getrange", .on_shard = cmd_getrange, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "2.4.0", .group = "string", .complexity = "O(n) for n bytes answered",
     .summary = "A part of a string."},
    {.name = "substr", .on_shard = cmd_getrange, .arity = 4, .plan = PLAN_ONE_SHARD, .flags = CMD_READ, .acl = ACL_STRING, .keys = KEYS_FIRST(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .deprecated_since = "2.0.0", .replaced_by = "`GETRANGE`", .group = "string", .complexity = "O(n) for n bytes answered",
     .summary = "The old name of GETRANGE."},
    {.name = "mget", .on_shard = cmd_mget, .arity = -2, .plan = PLAN_FAN_OUT, .merge = MERGE_KEYS, .flags = CMD_READ | CMD_FAST, .acl = ACL_STRING, .keys = KEYS_ALL(KEY_RO | KEY_ACCESS),
     .since = "1.0.0", .group = "string", .complexity = "O(n) for n keys",
     .summary = "The strings under several keys.", .tips = tips_multi_shard},
    {.name = "mset", .on_shard = cmd_mset, .arity = -3, .plan = PLAN_FAN_OUT, .merge = MERGE_OK, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_STRING, .keys = {{.flags = KEY_OW | KEY_UPDATE, .begin = 1, .last = -1, .step = 2}},
     .since = "1.0.1", .group = "string", .complexity = "O(n) for n keys",
     .summary = "Stores several strings at once.", .tips = tips_multi_shard_all_succeeded},
    {.name = "msetnx", .on_shard = cmd_msetnx, .arity = -3, .plan = PLAN_LOCKED, .merge = MERGE_OK, .flags = CMD_WRITE | CMD_DENY_OOM, .acl = ACL_STRING, .keys = {{.flags = KEY_OW | KEY_INSERT, .begin = 1, .last = -1, .step = 2}},
     .since = "1.0.1", .group = "string", .complexity = "O(n) for n keys",
     .summary = "Stores several strings at once if none of the keys exists.", .tips = tips_multi_shard_agg_min},
};
/* clang-format on */
const struct command_family string_family = {"string", commands, ARRAY_LEN(commands)};
