/* hash_expire.c: the commands that set, read and remove the deadlines of a hash's fields. */
#include "shard/cmd/families.h"
#include "shard/cmd/hash.h"
#include "shard/notify.h"

/* What Redis 7.4 has room for in the deadline of a field: 46 bits of milliseconds. */
#define FIELD_DEADLINE_MS_MAX ((((int64_t)1 << 48) - 2) >> 2)

/* What is replied for a field. */
enum {
    FIELD_MISSING = -2,
    FIELD_NO_DEADLINE = -1,
    FIELD_CONDITION_FAILED = 0,
    FIELD_DONE = 1,
    FIELD_DELETED = 2, /* the deadline has passed already */
};

enum expire_condition { EXPIRE_ALWAYS, EXPIRE_IF_NONE, EXPIRE_IF_ANY, EXPIRE_IF_GT, EXPIRE_IF_LT };

/* ---- arguments ---- */

/* FIELDS numfields field …, the whole rest of the arguments from `index` on. */
static bool parse_fields_or_reply(const struct request *rq, uint32_t index, struct reply *out,
                                  uint32_t *first)
{
    int64_t count;
    if (index >= rq->argc || !arg_is(rq, index, "fields")) {
        reply_error(out, "ERR Mandatory argument FIELDS is missing or not at the right position");
        return false;
    }
    if (index + 1 >= rq->argc || !text_to_i64(rq->argv[index + 1], &count) || count < 1) {
        reply_error(out, "ERR Parameter `numFields` should be greater than 0");
        return false;
    }
    *first = index + 2;
    if (count == (int64_t)rq->argc - *first) return true;
    reply_error(out, "ERR The `numfields` parameter must match the number of arguments");
    return false;
}

static bool parse_deadline_or_reply(const struct shard *sh, const struct request *rq,
                                    enum time_form form, struct reply *out, int64_t *deadline_ms)
{
    int64_t value;
    if (!text_to_i64(rq->argv[2], &value)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (value < 0) {
        reply_error(out, "ERR invalid expire time, must be >= 0");
        return false;
    }
    if (!time_to_deadline(value, form, sh->wall_ms, deadline_ms) ||
        *deadline_ms > FIELD_DEADLINE_MS_MAX) {
        (void)args_invalid_expire(rq, out);
        return false;
    }
    return true;
}

static bool parse_condition(const struct request *rq, uint32_t index, enum expire_condition *c)
{
    static const struct {
        const char *word;
        enum expire_condition condition;
    } words[] = {
        {"nx", EXPIRE_IF_NONE}, {"xx", EXPIRE_IF_ANY}, {"gt", EXPIRE_IF_GT}, {"lt", EXPIRE_IF_LT}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!arg_is(rq, index, words[i].word)) continue;
        *c = words[i].condition;
        return true;
    }
    return false;
}

/* No deadline counts as infinity. */
static bool condition_holds(enum expire_condition c, int64_t old_ms, int64_t new_ms)
{
    switch (c) {
    case EXPIRE_ALWAYS:
        return true;
    case EXPIRE_IF_NONE:
        return old_ms == 0;
    case EXPIRE_IF_ANY:
        return old_ms != 0;
    case EXPIRE_IF_GT:
        return old_ms != 0 && new_ms > old_ms;
    case EXPIRE_IF_LT:
        return old_ms == 0 || new_ms < old_ms;
    }
    return false;
}

/* ---- setting ---- */

struct expire_request {
    enum expire_condition condition;
    int64_t deadline_ms;
    uint32_t first_field;
};

/* What became of a field, and how to take it back. */
struct field_change {
    int result;
    struct hash_undo undo;
};

/* False when there is no memory. */
static bool expire_field(struct shard *sh, struct hash_target *t, struct bytes field,
                         const struct expire_request *x, struct field_change *change)
{
    struct hash_field f;
    *change = (struct field_change){.result = FIELD_MISSING};
    if (!hash_find(&t->hash, field, sh->now_ms, &f)) return true;
    change->result = FIELD_CONDITION_FAILED;
    if (!condition_holds(x->condition, f.deadline_ms, x->deadline_ms)) return true;
    change->result = FIELD_DONE;
    if (x->deadline_ms > sh->now_ms) {
        return hash_try_change_deadline(&sh->mem, &t->hash, field, x->deadline_ms, &change->undo);
    }
    hash_remove(&sh->mem, &t->hash, field); /* So are all others: nothing needs memory. */
    change->result = FIELD_DELETED;
    return true;
}

/* As HPERSIST has it. */
static bool persist_field(struct shard *sh, struct hash_target *t, struct bytes field,
                          UNUSED const struct expire_request *x, struct field_change *change)
{
    struct hash_field f;
    *change = (struct field_change){.result = FIELD_MISSING};
    if (!hash_find(&t->hash, field, sh->now_ms, &f)) return true;
    change->result = f.deadline_ms ? FIELD_DONE : FIELD_NO_DEADLINE;
    return f.deadline_ms == 0 ||
           hash_try_change_deadline(&sh->mem, &t->hash, field, 0, &change->undo);
}

static void reply_missing(const struct request *rq, uint32_t first, struct reply *out)
{
    reply_array(out, rq->argc - first);
    for (uint32_t i = first; i < rq->argc; i++) reply_i64(out, FIELD_MISSING);
}

typedef bool change_field_fn(struct shard *sh, struct hash_target *t, struct bytes field,
                             const struct expire_request *x, struct field_change *change);

static struct field_change *change_at(const struct buf *changes, size_t i)
{
    return (struct field_change *)(void *)changes->data + i;
}

/* All fields or none. `changes` gets what became of each. */
static enum err change_fields(struct shard *sh, const struct request *rq, struct hash_target *t,
                              const struct expire_request *x, change_field_fn *fn,
                              struct buf *changes)
{
    size_t count = rq->argc - x->first_field, done = 0;
    if (!buf_try_reserve(changes, count * sizeof(struct field_change))) return ERR_ALLOC;
    struct hash_due due = hash_due(&t->hash);
    while (done < count && fn(sh, t, rq->argv[x->first_field + done], x, change_at(changes, done)))
        done++;
    if (done == count) {
        for (size_t i = 0; i < count; i++) hash_keep_change(&sh->mem, &change_at(changes, i)->undo);
        changes->size = count * sizeof(struct field_change);
        return OK;
    }
    while (done-- > 0) hash_undo_change(&sh->mem, &t->hash, &change_at(changes, done)->undo);
    hash_undo_due(&t->hash, due);
    return ERR_ALLOC;
}

/* Nothing changes that cannot be answered. */
static bool changes_fit(const struct request *rq, const struct expire_request *x, struct reply *out)
{
    size_t count = rq->argc - x->first_field;
    return reply_has_room(out, REPLY_STRING_BYTES(count * REPLY_INTEGER_BYTES));
}

static void reply_changes(const struct buf *changes, struct reply *out)
{
    size_t count = changes->size / sizeof(struct field_change);
    reply_array(out, count);
    for (size_t i = 0; i < count; i++) reply_i64(out, change_at(changes, i)->result);
}

/* What keyspace events call it; NULL: nothing has happened. All fields get the same deadline, so
 * either some were deleted or some got it. */
static const char *expire_event(const struct buf *changes)
{
    for (size_t i = 0; i < changes->size / sizeof(struct field_change); i++) {
        int result = change_at(changes, i)->result;
        if (result == FIELD_DONE) return "hexpire";
        if (result == FIELD_DELETED) return "hdel";
    }
    return NULL;
}

/* All fields get the same deadline, so either some were deleted or some got it. */
static void describe_changes(struct shard *sh, const struct key *k, const struct request *rq,
                             const struct expire_request *x, const struct buf *changes)
{
    uint32_t count = (uint32_t)(changes->size / sizeof(struct field_change)), told = 0;
    struct bytes *fields = mem_try_alloc(&sh->mem, count * sizeof *fields);
    if (!fields) return;
    bool is_deleted = false;
    for (uint32_t i = 0; i < count; i++) {
        int result = change_at(changes, i)->result;
        is_deleted |= result == FIELD_DELETED;
        if (result == FIELD_DONE || result == FIELD_DELETED)
            fields[told++] = rq->argv[x->first_field + i];
    }
    if (is_deleted)
        journal_describe(sh, k, "HDEL", fields, told);
    else if (told > 0)
        hash_journal_deadline(sh, k, x->deadline_ms, fields, told);
    else
        journal_describe_nothing(sh, k);
    mem_free(&sh->mem, fields, count * sizeof *fields);
}

static enum err set_deadlines(struct shard *sh, struct request *rq, struct reply *out,
                              enum time_form form)
{
    struct hash_target t;
    struct expire_request x = {.condition = EXPIRE_ALWAYS};
    enum err err = hash_open_write(sh, rq, HASH_SWEEP_CHEAP, &t);
    if (err != OK && err != ERR_NO_KEY) return err;
    if (!parse_deadline_or_reply(sh, rq, form, out, &x.deadline_ms)) return OK;
    bool has_condition = parse_condition(rq, 3, &x.condition);
    if (!parse_fields_or_reply(rq, has_condition ? 4 : 3, out, &x.first_field)) return OK;
    if (err == ERR_NO_KEY) {
        reply_missing(rq, x.first_field, out);
        return OK;
    }
    struct buf changes = {.mem = &sh->mem};
    err = changes_fit(rq, &x, out) ? change_fields(sh, rq, &t, &x, expire_field, &changes)
                                   : ERR_ALLOC;
    if (err == OK) {
        reply_changes(&changes, out);
        err = hash_commit(sh, &t, expire_event(&changes));
        if (journal_is_on(sh)) describe_changes(sh, &t.key, rq, &x, &changes);
    } else {
        hash_abandon(sh, &t);
    }
    buf_clear(&changes);
    return err;
}

static enum err cmd_hexpire(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadlines(sh, rq, out, TIME_SECONDS);
}

static enum err cmd_hpexpire(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadlines(sh, rq, out, TIME_MS);
}

static enum err cmd_hexpireat(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadlines(sh, rq, out, TIME_AT_SECONDS);
}

static enum err cmd_hpexpireat(struct shard *sh, struct request *rq, struct reply *out)
{
    return set_deadlines(sh, rq, out, TIME_AT_MS);
}

static enum err cmd_hpersist(struct shard *sh, struct request *rq, struct reply *out)
{
    struct hash_target t;
    struct expire_request x = {.condition = EXPIRE_ALWAYS};
    enum err err = hash_open_write(sh, rq, HASH_SWEEP_CHEAP, &t);
    if (err != OK && err != ERR_NO_KEY) return err;
    if (!parse_fields_or_reply(rq, 2, out, &x.first_field)) return OK;
    if (err == ERR_NO_KEY) {
        reply_missing(rq, x.first_field, out);
        return OK;
    }
    struct buf changes = {.mem = &sh->mem};
    err = changes_fit(rq, &x, out) ? change_fields(sh, rq, &t, &x, persist_field, &changes)
                                   : ERR_ALLOC;
    if (err == OK) {
        reply_changes(&changes, out);
        err = hash_commit(sh, &t, expire_event(&changes) ? "hpersist" : NULL);
        if (journal_is_on(sh)) describe_changes(sh, &t.key, rq, &x, &changes);
    } else {
        hash_abandon(sh, &t);
    }
    buf_clear(&changes);
    return err;
}

/* ---- reading ---- */

/* Of a field that has a deadline. A part of a second counts as a whole one. */
static int64_t deadline_in_form(const struct shard *sh, int64_t deadline_ms, enum time_form form)
{
    if (form == TIME_SECONDS || form == TIME_MS) deadline_ms -= sh->now_ms;
    bool in_seconds = form == TIME_SECONDS || form == TIME_AT_SECONDS;
    return in_seconds ? (deadline_ms + 999) / 1000 : deadline_ms;
}

static enum err reply_deadlines(struct shard *sh, struct request *rq, struct reply *out,
                                enum time_form form)
{
    struct hash_target t;
    uint32_t first;
    enum err err = hash_open_read(sh, rq, HASH_SWEEP_CHEAP, &t);
    if (err != OK && err != ERR_NO_KEY) return err;
    if (!parse_fields_or_reply(rq, 2, out, &first)) return OK;
    if (err == ERR_NO_KEY) {
        reply_missing(rq, first, out);
        return OK;
    }
    reply_array(out, rq->argc - first);
    for (uint32_t i = first; i < rq->argc; i++) {
        struct hash_field f;
        if (!hash_find(&t.hash, rq->argv[i], sh->now_ms, &f)) {
            reply_i64(out, FIELD_MISSING);
        } else if (f.deadline_ms == 0) {
            reply_i64(out, FIELD_NO_DEADLINE);
        } else {
            reply_i64(out, deadline_in_form(sh, f.deadline_ms, form));
        }
    }
    return OK;
}

static enum err cmd_httl(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadlines(sh, rq, out, TIME_SECONDS);
}

static enum err cmd_hpttl(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadlines(sh, rq, out, TIME_MS);
}

static enum err cmd_hexpiretime(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadlines(sh, rq, out, TIME_AT_SECONDS);
}

static enum err cmd_hpexpiretime(struct shard *sh, struct request *rq, struct reply *out)
{
    return reply_deadlines(sh, rq, out, TIME_AT_MS);
}

/* clang-format off */
#define EXPIRE_ROW(row_name, handler, args, row_flags, key_flags) \
    .name = (row_name), .on_shard = (handler), .arity = (args), .plan = PLAN_ONE_SHARD, .flags = (row_flags), .acl = ACL_HASH, .keys = KEYS_FIRST(key_flags), \
    .since = "7.4.0", .group = "hash", .complexity = "O(1) for each field"
static const char *const tips_random[] = {"nondeterministic_output", NULL};
static const struct command commands[] = {
    {EXPIRE_ROW("hexpire", cmd_hexpire, -6, CMD_WRITE | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE), .summary = "Lets fields of a hash go after some seconds"},
    {EXPIRE_ROW("hpexpire", cmd_hpexpire, -6, CMD_WRITE | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE), .summary = "Lets fields of a hash go after some milliseconds"},
    {EXPIRE_ROW("hexpireat", cmd_hexpireat, -6, CMD_WRITE | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE), .summary = "Lets fields of a hash go at a Unix time in seconds"},
    {EXPIRE_ROW("hpexpireat", cmd_hpexpireat, -6, CMD_WRITE | CMD_DENY_OOM | CMD_FAST, KEY_RW | KEY_UPDATE), .summary = "Lets fields of a hash go at a Unix time in milliseconds"},
    {EXPIRE_ROW("hpersist", cmd_hpersist, -5, CMD_WRITE | CMD_FAST, KEY_RW | KEY_UPDATE), .summary = "Takes the deadline off fields of a hash"},
    {EXPIRE_ROW("httl", cmd_httl, -5, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS), .summary = "Tells how many seconds fields of a hash have left", .tips = tips_random},
    {EXPIRE_ROW("hpttl", cmd_hpttl, -5, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS), .summary = "Tells how many milliseconds fields of a hash have left", .tips = tips_random},
    {EXPIRE_ROW("hexpiretime", cmd_hexpiretime, -5, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS), .summary = "Tells the Unix time, in seconds, when fields of a hash go"},
    {EXPIRE_ROW("hpexpiretime", cmd_hpexpiretime, -5, CMD_READ | CMD_FAST, KEY_RO | KEY_ACCESS), .summary = "Tells the Unix time, in milliseconds, when fields of a hash go"},
};
/* clang-format on */
const struct command_family hash_expire_family = {"hash_expire", commands, ARRAY_LEN(commands)};
