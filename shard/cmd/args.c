#include "shard/cmd/args.h"

#include "shard/notify.h"
#include <math.h>

#define MS_PER_SECOND 1000

bool arg_database_or_reply(const struct shard *sh, const struct request *rq, uint32_t index,
                           struct reply *out, uint32_t *db)
{
    int64_t value;
    if (!text_to_i64(rq->argv[index], &value)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (value < INT32_MIN || value > INT32_MAX) {
        reply_error(out, "ERR value is out of range, value must between %d and %d", INT32_MIN,
                    INT32_MAX);
        return false;
    }
    if (value < 0 || value >= sh->keys.database_count) {
        reply_err(out, ERR_DB_INDEX);
        return false;
    }
    *db = (uint32_t)value;
    return true;
}

enum err args_wrong_count(const struct request *rq, struct reply *out)
{
    reply_error(out, "ERR wrong number of arguments for '%s' command", rq->command->name);
    return OK;
}

enum err args_invalid_expire(const struct request *rq, struct reply *out)
{
    reply_error(out, "ERR invalid expire time in '%s' command", rq->command->name);
    return OK;
}

/* ---- keys ---- */

enum err arg_key_string(struct shard *sh, const struct request *rq, uint32_t index, char *scratch,
                        struct bytes *out)
{
    struct key k = request_key(sh, rq, index);
    struct entry *value;
    enum err e = keyspace_find(sh, &k, TYPE_STRING, &value);
    if (e != OK && e != ERR_NO_KEY) return e;
    *out = e == OK ? entry_string(value, scratch) : BYTES_LITERAL("");
    return OK;
}

struct entry *peek_counted(struct shard *sh, const struct key *k)
{
    struct entry *e = keyspace_peek(sh, k);
    counter_add(e ? &sh->counters.keyspace_hits : &sh->counters.keyspace_misses, 1);
    if (!e) notify(sh, NOTIFY_KEY_MISS, "keymiss", k);
    return e;
}

struct entry *peek_touched(struct shard *sh, const struct key *k)
{
    struct entry *e = keyspace_peek(sh, k);
    if (e) keyspace_touch(sh, e);
    return e;
}

/* ---- points in time ---- */

bool arg_time_form(const struct request *rq, uint32_t index, enum time_form *form)
{
    static const struct {
        const char *word;
        enum time_form form;
    } forms[] = {
        {"ex", TIME_SECONDS},
        {"px", TIME_MS},
        {"exat", TIME_AT_SECONDS},
        {"pxat", TIME_AT_MS},
    };
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (!arg_is(rq, index, forms[i].word)) continue;
        *form = forms[i].form;
        return true;
    }
    return false;
}

bool time_to_deadline(int64_t value, enum time_form form, int64_t now_ms, int64_t *deadline_ms)
{
    bool is_seconds = form == TIME_SECONDS || form == TIME_AT_SECONDS;
    bool is_relative = form == TIME_SECONDS || form == TIME_MS;
    if (is_seconds && __builtin_mul_overflow(value, MS_PER_SECOND, &value)) return false;
    if (is_relative && __builtin_add_overflow(value, now_ms, &value)) return false;
    *deadline_ms = value;
    return true;
}

bool arg_deadline_or_reply(const struct shard *sh, const struct request *rq, uint32_t index,
                           enum time_form form, struct reply *out, int64_t *deadline_ms)
{
    int64_t value;
    if (!text_to_i64(rq->argv[index], &value)) {
        reply_err(out, ERR_NOT_INT);
        return false;
    }
    if (value <= 0 || !time_to_deadline(value, form, sh->wall_ms, deadline_ms)) {
        (void)args_invalid_expire(rq, out);
        return false;
    }
    return true;
}

enum err arg_timeout(struct bytes text, int64_t *timeout_ms)
{
    long double seconds;
    if (!text_to_long_double(text, &seconds)) return ERR_TIMEOUT_NOT_FLOAT;
    long double ms = ceill(seconds * MS_PER_SECOND);
    if (seconds < 0 || ms >= (long double)INT64_MAX) return ERR_TIMEOUT_NEGATIVE;
    *timeout_ms = (int64_t)ms;
    return OK;
}

/* ---- ranges of indices ---- */

/* Adds the count to a negative index; what is still before the first element stays negative. */
static int64_t index_from_end(int64_t index, int64_t count)
{
    return index < 0 ? index + count : index;
}

bool range_clip(int64_t start, int64_t end, uint64_t count, uint64_t *first, uint64_t *selected)
{
    start = MAX(index_from_end(start, (int64_t)count), 0);
    end = MIN(index_from_end(end, (int64_t)count), (int64_t)count - 1);
    if (start > end) return false;
    *first = (uint64_t)start;
    *selected = (uint64_t)(end - start) + 1;
    return true;
}

/* ---- options of the SCAN family ---- */

enum err arg_scan_cursor(const struct request *rq, uint32_t index, uint64_t *cursor)
{
    struct bytes text = rq->argv[index];
    const char *p = text.data, *end = text.data + text.size;
    bool negative = false;
    if (p < end && (*p == '+' || *p == '-')) negative = *p++ == '-';
    if (p == end && text.size > 0) return ERR_INVALID_CURSOR;

    uint64_t value = 0;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return ERR_INVALID_CURSOR;
        if (__builtin_mul_overflow(value, 10, &value)) return ERR_INVALID_CURSOR;
        if (__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)) return ERR_INVALID_CURSOR;
    }
    *cursor = negative ? 0 - value : value;
    return OK;
}

static enum type type_by_name(struct bytes name)
{
    for (int t = 0; t < TYPE_COUNT; t++) {
        if (bytes_equal_nocase(name, type_name((enum type)t))) return (enum type)t;
    }
    return TYPE_COUNT;
}

static enum err scan_count(const struct request *rq, uint32_t index, uint64_t *count)
{
    int64_t value;
    if (!text_to_i64(rq->argv[index], &value)) return ERR_NOT_INT;
    if (value < 1) return ERR_SYNTAX;
    *count = (uint64_t)value;
    return OK;
}

enum err args_scan_options(const struct request *rq, uint32_t first, enum scan_form form,
                           struct scan_options *out)
{
    struct scan_options o = {.count = 10, .type = TYPE_COUNT};
    for (uint32_t i = first; i < rq->argc; i += 2) {
        bool has_value = i + 1 < rq->argc;
        if (form == SCAN_FIELDS && arg_is(rq, i, "novalues")) {
            o.no_values = true;
            i--; /* one word, not two */
        } else if (has_value && arg_is(rq, i, "count")) {
            enum err e = scan_count(rq, i + 1, &o.count);
            if (e != OK) return e;
        } else if (has_value && arg_is(rq, i, "match")) {
            /* "*" is what clients send for everything: no need to match each name with it. */
            o.pattern = rq->argv[i + 1];
            o.has_pattern = !bytes_equal(o.pattern, BYTES_LITERAL("*"));
        } else if (has_value && form == SCAN_KEYS && arg_is(rq, i, "type")) {
            o.has_type = true;
            o.type = type_by_name(rq->argv[i + 1]);
        } else {
            return ERR_SYNTAX;
        }
    }
    *out = o;
    return OK;
}
