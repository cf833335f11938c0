/* hash.c: the hash commands. Deadlines of fields are in hash_expire.c. */
#include "shard/cmd/hash.h"

#include <math.h>

#include "shard/cmd/collect.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"

/* Up to so many fields with a deadline, every command drops those that have passed. */
#define SWEEP_CHEAP_MAX 128
#define CURSOR_UNUSED_BITS 16 /* dict.h: cursors use the top 48 bits only */
/* HRANDFIELD with repetitions: the size of a reply is what the client asks for, so there is an end
 * to it. */
#define RANDOM_REPLY_BYTES_MAX ((uint64_t)4 << 30)

/* ---- opening and closing ---- */

enum err hash_open_entry(struct shard *sh, enum hash_sweep sweep, struct hash_target *t)
{
    t->hash = hash_of(t->entry);
    if (likely(!hash_has_expired(&t->hash, sh->now_ms))) return OK;
    if (sweep == HASH_SWEEP_CHEAP && hash_volatile_count(&t->hash) > SWEEP_CHEAP_MAX) return OK;
    snapshot_guard(sh, sh->keys.databases[t->key.db], t->entry); /* readers come by here, too */
    struct journal_fields gone = {.names = {.mem = &sh->mem}};
    const struct hash_drop drop = {sh->journal.is_open ? journal_gather_field : NULL, &gone};
    hash_drop_expired(&sh->mem, &t->hash, sh->now_ms, &drop);
    journal_fields_gone(sh, &t->key, &gone);
    journal_mute(sh, true);
    keyspace_changed(sh, &t->key, t->entry);
    journal_mute(sh, false);
    notify(sh, NOTIFY_HASH, "hexpired", &t->key);
    if (hash_length(&t->hash) > 0) return OK;
    keyspace_delete(sh, &t->key);
    notify(sh, NOTIFY_GENERIC, "del", &t->key);
    return ERR_NO_KEY;
}

enum err hash_open_read(struct shard *sh, const struct request *rq, enum hash_sweep sweep,
                        struct hash_target *t)
{
    t->key = request_key(sh, rq, 1);
    enum err err = keyspace_find(sh, &t->key, TYPE_HASH, &t->entry);
    return likely(err == OK) ? hash_open_entry(sh, sweep, t) : err;
}

enum err hash_open_write(struct shard *sh, const struct request *rq, enum hash_sweep sweep,
                         struct hash_target *t)
{
    t->key = request_key(sh, rq, 1);
    enum err err = keyspace_peek_typed(sh, &t->key, TYPE_HASH, &t->entry);
    if (err != OK) return err;
    keyspace_touch(sh, t->entry);
    return hash_open_entry(sh, sweep, t);
}

enum err hash_open_or_create(struct shard *sh, const struct request *rq, struct hash_target *t)
{
    enum err err = hash_open_write(sh, rq, HASH_SWEEP_CHEAP, t);
    if (err != ERR_NO_KEY) return err;
    t->entry = NULL;
    return hash_try_create(&sh->mem, &t->hash) ? OK : ERR_ALLOC;
}

enum err hash_commit(struct shard *sh, struct hash_target *t, const char *event)
{
    if (!t->entry) {
        enum err err = keyspace_put_object(sh, &t->key, TYPE_HASH, t->hash.encoding, t->hash.root,
                                           DEADLINE_NONE);
        if (err == OK && event) notify(sh, NOTIFY_HASH, event, &t->key);
        return err;
    }
    hash_store(t->entry, &t->hash);
    keyspace_changed(sh, &t->key, t->entry);
    if (event) notify(sh, NOTIFY_HASH, event, &t->key);
    if (hash_length(&t->hash) > 0) return OK;
    keyspace_delete(sh, &t->key);
    notify(sh, NOTIFY_GENERIC, "del", &t->key);
    return OK;
}

void hash_abandon(struct shard *sh, struct hash_target *t)
{
    if (t->entry) {
        hash_store(t->entry, &t->hash);
    } else {
        hash_free(&sh->mem, &t->hash);
    }
}

void hash_journal_deadline(struct shard *sh, const struct key *k, int64_t deadline_ms,
                           const struct bytes *fields, uint32_t count)
{
    if (!journal_is_on(sh)) return;
    struct journal_number time, number;
    struct buf bulks = {.mem = &sh->mem};
    bool fits = deadline_ms == 0 || journal_add_bulk(&bulks, journal_i64(&time, deadline_ms));
    fits = fits && journal_add_bulk(&bulks, BYTES_LITERAL("FIELDS")) &&
           journal_add_bulk(&bulks, journal_i64(&number, count));
    for (uint32_t i = 0; i < count; i++) fits = fits && journal_add_bulk(&bulks, fields[i]);
    const char *name = deadline_ms ? "HPEXPIREAT" : "HPERSIST";
    if (fits) journal_describe_bulks(sh, k, name, buf_view(&bulks), count + 2 + (deadline_ms != 0));
    buf_clear(&bulks);
}

/* ---- replies ---- */

static void reply_value(struct reply *out, const struct listpack_value *v)
{
    if (v->text) {
        reply_bulk(out, bytes_make(v->text, v->size));
    } else {
        reply_bulk_i64(out, v->integer);
    }
}

/* OK, or an err that is not just a missing key; then `*missing`. */
static enum err unless_missing(enum err err, bool *missing)
{
    *missing = err == ERR_NO_KEY;
    return *missing ? OK : err;
}

/* ---- setting ---- */

/* A field that has expired, but is still there, is a new one when it is set. */
static bool set_field(struct shard *sh, struct hash_target *t, const struct hash_pair *pair,
                      bool *added)
{
    struct hash_field old;
    if (unlikely(hash_volatile_count(&t->hash) > 0) &&
        !hash_find(&t->hash, pair->field, sh->now_ms, &old) &&
        hash_remove(&sh->mem, &t->hash, pair->field) && sh->journal.is_open) {
        struct journal_fields gone = {.names = {.mem = &sh->mem}};
        journal_gather_field(&gone, pair->field);
        journal_fields_gone(sh, &t->key, &gone);
    }
    return hash_try_set(&sh->mem, sh->config, &t->hash, pair, added);
}

/* Pairs of arguments from argv[2] on, all or none; `*new_count` of them are new fields. */
static enum err set_pairs(struct shard *sh, struct request *rq, int64_t *new_count)
{
    struct hash_target t;
    enum err err = hash_open_or_create(sh, rq, &t);
    if (err != OK) return err;
    size_t longest = 0;
    for (uint32_t i = 2; i < rq->argc; i++) longest = MAX(longest, rq->argv[i].size);
    bool done = hash_try_prepare(&sh->mem, sh->config, &t.hash, 0, longest);
    if (done && rq->argc == 4) {
        bool added = false;
        struct hash_pair pair = {rq->argv[2], rq->argv[3], 0};
        done = set_field(sh, &t, &pair, &added);
        *new_count = added;
    } else if (done) {
        struct hash_pairs pairs = {rq->argv + 2, rq->argc / 2 - 1, sh->now_ms};
        done = hash_try_set_all(&sh->mem, sh->config, &t.hash, &pairs, new_count);
    }
    if (done) return hash_commit(sh, &t, "hset");
    hash_abandon(sh, &t);
    return ERR_ALLOC;
}

static enum err cmd_hset(struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc % 2 != 0) return args_wrong_count(rq, out);
    int64_t new_count = 0;
    enum err err = set_pairs(sh, rq, &new_count);
    if (err == OK) reply_i64(out, new_count);
    return err;
}

static enum err cmd_hmset(struct shard *sh, struct request *rq, struct reply *out)
{
    if (rq->argc % 2 != 0) return args_wrong_count(rq, out);
    int64_t new_count = 0;
    enum err err = set_pairs(sh, rq, &new_count);
    if (err == OK) reply_ok(out);
    return err;
}

static enum err cmd_hsetnx(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    enum err err = hash_open_or_create(sh, rq, &t);
    if (err != OK) return err;
    struct hash_field old;
    bool is_new = !hash_find(&t.hash, rq->argv[2], sh->now_ms, &old), added;
    if (is_new) {
        struct hash_pair pair = {rq->argv[2], rq->argv[3], 0};
        if (!set_field(sh, &t, &pair, &added)) {
            hash_abandon(sh, &t);
            return ERR_ALLOC;
        }
        err = hash_commit(sh, &t, "hset");
    }
    if (err == OK) reply_i64(out, is_new);
    return err;
}

/* ---- arithmetic ---- */

/* Writes a field that stays as long as the one that it replaces would have. */
static enum err put_result(struct shard *sh, struct hash_target *t, struct bytes field,
                           struct bytes value, const struct hash_field *old, const char *event)
{
    struct hash_pair pair = {field, value, old->deadline_ms};
    bool added;
    if (set_field(sh, t, &pair, &added)) return hash_commit(sh, t, event);
    hash_abandon(sh, t);
    return ERR_ALLOC;
}

static bool value_to_i64(const struct listpack_value *v, int64_t *out)
{
    *out = v->integer;
    return !v->text || text_to_i64(bytes_make(v->text, v->size), out);
}

static bool value_to_long_double(const struct listpack_value *v, long double *out)
{
    *out = (long double)v->integer;
    return !v->text || text_to_long_double(bytes_make(v->text, v->size), out);
}

static enum err cmd_hincrby(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t by, n = 0;
    enum err err = arg_i64(rq, 3, &by);
    if (err != OK) return err;
    struct hash_target t;
    err = hash_open_or_create(sh, rq, &t);
    if (err != OK) return err;
    struct hash_field old = {.deadline_ms = 0};
    if (hash_find(&t.hash, rq->argv[2], sh->now_ms, &old) && !value_to_i64(&old.value, &n)) {
        hash_abandon(sh, &t);
        reply_error(out, "ERR hash value is not an integer");
        return OK;
    }
    if (__builtin_add_overflow(n, by, &n)) {
        hash_abandon(sh, &t);
        return ERR_OVERFLOW;
    }
    char text[TEXT_I64_BYTES_MAX];
    err =
        put_result(sh, &t, rq->argv[2], bytes_make(text, text_from_i64(text, n)), &old, "hincrby");
    if (err == OK) reply_i64(out, n);
    return err;
}

static enum err cmd_hincrbyfloat(struct shard *sh, struct request *rq, struct reply *out)
{
    long double by, n = 0;
    if (!text_to_long_double(rq->argv[3], &by)) return ERR_NOT_FLOAT;
    if (isinf(by)) {
        reply_error(out, "ERR value is NaN or Infinity");
        return OK;
    }
    struct hash_target t;
    enum err err = hash_open_or_create(sh, rq, &t);
    if (err != OK) return err;
    struct hash_field old = {.deadline_ms = 0};
    if (hash_find(&t.hash, rq->argv[2], sh->now_ms, &old) &&
        !value_to_long_double(&old.value, &n)) {
        hash_abandon(sh, &t);
        reply_error(out, "ERR hash value is not a float");
        return OK;
    }
    n += by;
    if (isnan(n) || isinf(n)) {
        hash_abandon(sh, &t);
        return ERR_NAN;
    }
    char text[TEXT_LONG_DOUBLE_BYTES_MAX];
    struct bytes result = bytes_make(text, text_from_long_double(text, n));
    err = put_result(sh, &t, rq->argv[2], result, &old, "hincrbyfloat");
    if (err != OK) return err;
    const struct bytes pair[] = {rq->argv[2], result};
    journal_describe(sh, &t.key, "HSET", pair, ARRAY_LEN(pair));
    if (old.deadline_ms) hash_journal_deadline(sh, &t.key, old.deadline_ms, &rq->argv[2], 1);
    reply_bulk(out, result);
    return OK;
}

/* ---- deleting ---- */

static enum err cmd_hdel(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    bool missing;
    enum err err = unless_missing(hash_open_write(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err != OK) return err;
    int64_t deleted = 0;
    bool has_changed = false;
    for (uint32_t i = 2; !missing && i < rq->argc; i++) {
        struct hash_field f;
        bool is_live =
            hash_volatile_count(&t.hash) == 0 || hash_find(&t.hash, rq->argv[i], sh->now_ms, &f);
        bool is_removed = hash_remove(&sh->mem, &t.hash, rq->argv[i]);
        has_changed |= is_removed;
        deleted += is_removed && is_live;
    }
    if (has_changed) {
        err = hash_commit(sh, &t, deleted > 0 ? "hdel" : NULL);
    } else if (!missing) {
        hash_abandon(sh, &t);
    }
    if (err == OK) reply_i64(out, deleted);
    return err;
}

/* ---- reading fields ---- */

static void reply_field_value(struct shard *sh, const struct hash_target *t, bool missing,
                              struct bytes field, struct reply *out)
{
    struct hash_field f;
    if (!missing && hash_find(&t->hash, field, sh->now_ms, &f)) {
        reply_value(out, &f.value);
    } else {
        reply_null(out);
    }
}

static enum err cmd_hget(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err == OK) reply_field_value(sh, &t, missing, rq->argv[2], out);
    return err;
}

static enum err cmd_hmget(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err != OK) return err;
    reply_array(out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        reply_field_value(sh, &t, missing, rq->argv[i], out);
    }
    return OK;
}

static enum err cmd_hexists(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    struct hash_field f;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err != OK) return err;
    reply_i64(out, !missing && hash_find(&t.hash, rq->argv[2], sh->now_ms, &f));
    return OK;
}

static enum err cmd_hstrlen(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    struct hash_field f;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err != OK) return err;
    size_t size = 0;
    if (!missing && hash_find(&t.hash, rq->argv[2], sh->now_ms, &f)) {
        char scratch[TEXT_I64_BYTES_MAX];
        size = f.value.text ? f.value.size : text_from_i64(scratch, f.value.integer);
    }
    reply_i64(out, (int64_t)size);
    return OK;
}

static enum err cmd_hlen(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t), &missing);
    if (err == OK) reply_i64(out, missing ? 0 : (int64_t)hash_length(&t.hash));
    return err;
}

/* ---- reading all of it ---- */

struct telling {
    struct reply *out;
    bool names, values;
};

static void tell_field(void *context, const struct hash_field *f)
{
    const struct telling *t = context;
    if (t->names) reply_value(t->out, &f->name);
    if (t->values) reply_value(t->out, &f->value);
}

static enum err reply_all(struct shard *sh, struct request *rq, struct reply *out, bool names,
                          bool values)
{
    struct hash_target t;
    bool missing;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_ALL, &t), &missing);
    if (err != OK) return err;
    uint64_t count = missing ? 0 : hash_length(&t.hash);
    if (names && values) {
        reply_map(out, count);
    } else {
        reply_array(out, count);
    }
    struct telling telling = {out, names, values};
    if (!missing) hash_each(&t.hash, tell_field, &telling);
    return OK;
}

static enum err cmd_hgetall(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_all(sh, rq, out, true, true);
}

static enum err cmd_hkeys(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_all(sh, rq, out, true, false);
}

static enum err cmd_hvals(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_all(sh, rq, out, false, true);
}

/* ---- gathering: replies that begin with a number which is known at the end ---- */

struct gathering {
    struct buf fields; /* struct hash_field */
    const struct scan_options *options;
    bool no_memory;
};

static void gather(void *context, const struct hash_field *f)
{
    struct gathering *g = context;
    if (g->options && g->options->has_pattern) {
        char scratch[TEXT_I64_BYTES_MAX];
        struct bytes name = bytes_make(f->name.text, f->name.size);
        if (!name.data) name = bytes_make(scratch, text_from_i64(scratch, f->name.integer));
        if (!scan_options_match(g->options, name)) return;
    }
    if (g->no_memory || !buf_try_reserve(&g->fields, sizeof *f)) {
        g->no_memory = true;
        return;
    }
    buf_append(&g->fields, f, sizeof *f);
}

static uint64_t gathered_count(const struct gathering *g)
{
    return g->fields.size / sizeof(struct hash_field);
}

static struct hash_field *gathered(const struct gathering *g)
{
    return (struct hash_field *)(void *)g->fields.data;
}

static enum err cmd_hscan(struct shard *sh, struct request *rq, struct reply *out)
{
    uint64_t cursor;
    enum err err = arg_scan_cursor(rq, 2, &cursor);
    if (err != OK) return err;
    struct hash_target t;
    bool missing;
    err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_ALL, &t), &missing);
    if (err != OK) return err;
    struct scan_options options = {.count = 0};
    if (!missing) err = args_scan_options(rq, 3, SCAN_FIELDS, &options);
    if (err != OK) return err;
    struct gathering g = {.fields = {.mem = &sh->mem}, .options = &options};
    uint64_t next = 0;
    if (!missing) {
        next = hash_scan(&t.hash, cursor << CURSOR_UNUSED_BITS, options.count, gather, &g);
    }
    if (!g.no_memory) {
        char text[TEXT_I64_BYTES_MAX];
        struct telling telling = {out, true, !options.no_values};
        reply_array(out, 2);
        reply_bulk(out, bytes_make(text, text_from_u64(text, next >> CURSOR_UNUSED_BITS)));
        reply_array(out, (options.no_values ? 1U : 2U) * gathered_count(&g));
        for (uint64_t i = 0; i < gathered_count(&g); i++) tell_field(&telling, &gathered(&g)[i]);
    }
    buf_clear(&g.fields);
    return g.no_memory ? ERR_ALLOC : OK;
}

/* ---- HRANDFIELD ---- */

struct random_reply {
    struct reply *out;
    bool with_values;
};

static void reply_random_head(const struct random_reply *r, uint64_t count)
{
    bool is_flat = r->with_values && r->out->resp == 2;
    reply_array(r->out, is_flat ? 2 * count : count);
}

static void reply_random_field(const struct random_reply *r, const struct hash_field *f)
{
    if (r->with_values && r->out->resp == 3) reply_array(r->out, 2);
    reply_value(r->out, &f->name);
    if (r->with_values) reply_value(r->out, &f->value);
}

/* `count` fields, each chosen anew. */
static enum err reply_repeated(struct shard *sh, const struct hash *h, uint64_t count,
                               const struct random_reply *r)
{
    uint64_t mean = hash_ops.bytes(h->root, h->encoding, 16) / hash_length(h) + 8;
    if (count > RANDOM_REPLY_BYTES_MAX / mean) return ERR_ALLOC;
    reply_random_head(r, count);
    for (uint64_t i = 0; i < count; i++) {
        struct hash_field f;
        hash_random(h, shard_random(sh), &f);
        reply_random_field(r, &f);
    }
    return OK;
}

/* `count` different fields, out of all of them. */
static enum err reply_shuffled(struct shard *sh, const struct hash *h, uint64_t count,
                               const struct random_reply *r)
{
    struct gathering g = {.fields = {.mem = &sh->mem}};
    hash_each(h, gather, &g);
    uint64_t total = gathered_count(&g);
    if (!g.no_memory) reply_random_head(r, count);
    for (uint64_t i = 0; !g.no_memory && i < count; i++) {
        struct hash_field *fields = gathered(&g);
        uint64_t other = i + shard_random(sh) % (total - i);
        struct hash_field chosen = fields[other];
        fields[other] = fields[i];
        reply_random_field(r, &chosen);
    }
    buf_clear(&g.fields);
    return g.no_memory ? ERR_ALLOC : OK;
}

/* Notes a field of a table, which its address tells; false if it is in `seen` already. */
static bool note_chosen(const char **seen, uint64_t mask, const struct hash_field *f)
{
    uint64_t i = ((uintptr_t)f->name.text * 0x9e3779b97f4a7c15ULL >> 20) & mask;
    for (; seen[i]; i = (i + 1) & mask) {
        if (seen[i] == f->name.text) return false;
    }
    seen[i] = f->name.text;
    return true;
}

/* `count` different fields of a table that has many more. */
static enum err reply_picked(struct shard *sh, const struct hash *h, uint64_t count,
                             const struct random_reply *r)
{
    uint64_t slots = 4;
    while (slots < 2 * count) slots *= 2;
    const char **seen = mem_try_alloc(&sh->mem, slots * sizeof *seen);
    if (!seen) return ERR_ALLOC;
    memset(seen, 0, slots * sizeof *seen);
    reply_random_head(r, count);
    for (uint64_t i = 0; i < count;) {
        struct hash_field f;
        hash_random(h, shard_random(sh), &f);
        if (!note_chosen(seen, slots - 1, &f)) continue;
        reply_random_field(r, &f);
        i++;
    }
    mem_free(&sh->mem, seen, slots * sizeof *seen);
    return OK;
}

static void tell_random(void *context, const struct hash_field *f)
{
    reply_random_field(context, f);
}

static enum err reply_random_fields(struct shard *sh, const struct hash *h, int64_t count,
                                    struct random_reply *r)
{
    if (count < 0) return reply_repeated(sh, h, (uint64_t)-count, r);
    uint64_t wanted = (uint64_t)count, length = hash_length(h);
    if (wanted >= length) {
        reply_random_head(r, length);
        hash_each(h, tell_random, r);
        return OK;
    }
    if (h->encoding == ENCODING_LISTPACK || wanted > length / 3) {
        return reply_shuffled(sh, h, wanted, r);
    }
    return reply_picked(sh, h, wanted, r);
}

static enum err cmd_hrandfield(struct shard *sh, struct request *rq, struct reply *out)
{
    int64_t count = 1;
    bool missing, has_count = rq->argc > 2;
    struct random_reply r = {.out = out};
    if (has_count && !arg_random_or_reply(rq, out, "withvalues", &count, &r.with_values)) return OK;
    struct hash_target t;
    enum err err = unless_missing(hash_open_read(sh, rq, HASH_SWEEP_ALL, &t), &missing);
    if (err != OK) return err;
    if (!has_count && missing) {
        reply_null(out);
    } else if (!has_count) {
        struct hash_field f;
        hash_random(&t.hash, shard_random(sh), &f);
        reply_random_field(&r, &f);
    } else if (missing || count == 0) {
        reply_array(out, 0);
    } else {
        err = reply_random_fields(sh, &t.hash, count, &r);
    }
    return err;
}

/* clang-format off */
#define HASH_ROW(row_name, handler, args, row_flags, key_flags) \
    .name = (row_name), .on_shard = (handler), .arity = (args), .plan = PLAN_ONE_SHARD, .flags = (row_flags), .acl = ACL_HASH, .keys = KEYS_FIRST(key_flags), .group = "hash"
static const char *const tips_order[] = {"nondeterministic_output_order", NULL};
static const char *const tips_random[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {HASH_ROW("hset", cmd_hset, -4, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE),
     .since = "2.0.0", .complexity = "O(1) for each field", .summary = "Gives values to fields of a hash, which is made if there is none"},
    {HASH_ROW("hmset", cmd_hmset, -4, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE),
     .since = "2.0.0", .deprecated_since = "4.0.0", .replaced_by = "`HSET` with multiple field-value pairs", .complexity = "O(1) for each field", .summary = "Gives values to fields of a hash; HSET does the same and counts"},
    {HASH_ROW("hsetnx", cmd_hsetnx, 4, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_INSERT),
     .since = "2.0.0", .complexity = "O(1)", .summary = "Gives a value to a field that is not there yet"},
    {HASH_ROW("hget", cmd_hget, 3, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .complexity = "O(1)", .summary = "Shows the value of a field"},
    {HASH_ROW("hmget", cmd_hmget, -3, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .complexity = "O(1) for each field", .summary = "Shows the values of several fields"},
    {HASH_ROW("hgetall", cmd_hgetall, 2, CMD_READ, KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .complexity = "O(N), N being the fields of the hash", .summary = "Shows all fields of a hash with their values", .tips = tips_order},
    {HASH_ROW("hkeys", cmd_hkeys, 2, CMD_READ, KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .complexity = "O(N), N being the fields of the hash", .summary = "Shows the names of all fields of a hash", .tips = tips_order},
    {HASH_ROW("hvals", cmd_hvals, 2, CMD_READ, KEY_RO | KEY_ACCESS),
     .since = "2.0.0", .complexity = "O(N), N being the fields of the hash", .summary = "Shows the values of all fields of a hash", .tips = tips_order},
    {HASH_ROW("hlen", cmd_hlen, 2, CMD_READ | CMD_FAST, KEY_RO),
     .since = "2.0.0", .complexity = "O(1)", .summary = "Tells how many fields a hash has"},
    {HASH_ROW("hexists", cmd_hexists, 3, CMD_READ | CMD_FAST, KEY_RO),
     .since = "2.0.0", .complexity = "O(1)", .summary = "Tells whether a hash has a field"},
    {HASH_ROW("hdel", cmd_hdel, -3, CMD_WRITE | CMD_EFFECT | CMD_FAST, KEY_RW | KEY_DELETE),
     .since = "2.0.0", .complexity = "O(1) for each field", .summary = "Removes fields of a hash, and the hash with the last one"},
    {HASH_ROW("hincrby", cmd_hincrby, 4, CMD_WRITE | CMD_EFFECT | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "2.0.0", .complexity = "O(1)", .summary = "Adds an integer to the value of a field; a missing one counts as 0"},
    {HASH_ROW("hincrbyfloat", cmd_hincrbyfloat, 4, CMD_WRITE | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_ACCESS | KEY_UPDATE),
     .since = "2.6.0", .complexity = "O(1)", .summary = "Adds a real number to the value of a field; a missing one counts as 0"},
    {HASH_ROW("hstrlen", cmd_hstrlen, 3, CMD_READ | CMD_FAST, KEY_RO),
     .since = "3.2.0", .complexity = "O(1)", .summary = "Tells how long the value of a field is"},
    {HASH_ROW("hscan", cmd_hscan, -3, CMD_READ, KEY_RO | KEY_ACCESS),
     .since = "2.8.0", .complexity = "O(1) for a step, O(N) for the whole walk", .summary = "Walks through the fields of a hash step by step", .tips = tips_random},
    {HASH_ROW("hrandfield", cmd_hrandfield, -2, CMD_READ, KEY_RO | KEY_ACCESS),
     .since = "6.2.0", .complexity = "O(N), N being the fields that are shown", .summary = "Shows fields of a hash that are chosen at random", .tips = tips_random},
};
/* clang-format on */
const struct command_family hash_family = {"hash", commands, ARRAY_LEN(commands)};
