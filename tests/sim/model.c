#include "tests/sim/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

/* ---- replies ---- */

static void put(struct model *m, const void *data, size_t size)
{
    if (m->reply_bytes + size > m->reply_capacity) {
        m->reply_capacity = 2 * (m->reply_bytes + size);
        m->reply = realloc(m->reply, m->reply_capacity);
        CHECK(m->reply);
    }
    if (size > 0) memcpy(m->reply + m->reply_bytes, data, size);
    m->reply_bytes += size;
}

static void put_text(struct model *m, const char *format, ...) PRINTF_LIKE(2, 3);
static void put_text(struct model *m, const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put(m, text, (size_t)n);
}

static void put_i64(struct model *m, int64_t value)
{
    put_text(m, ":%lld\r\n", (long long)value);
}

static void put_value(struct model *m, const struct model_entry *e)
{
    if (!e) {
        put_text(m, "$-1\r\n");
        return;
    }
    put_text(m, "$%zu\r\n", e->value_bytes);
    put(m, e->value, e->value_bytes);
    put_text(m, "\r\n");
}

/* ---- entries ---- */

const struct model_entry *model_find(const struct model *m, struct bytes key)
{
    for (unsigned i = 0; i < MODEL_KEYS_MAX; i++) {
        const struct model_entry *e = &m->entries[i];
        if (e->key && bytes_equal(bytes_make(e->key, e->key_bytes), key)) return e;
    }
    return NULL;
}

static struct model_entry *find(struct model *m, struct bytes key)
{
    const struct model_entry *e = model_find(m, key);
    return e ? &m->entries[e - m->entries] : NULL;
}

static void drop(struct model_entry *e)
{
    free(e->key);
    free(e->value);
    *e = (struct model_entry){0};
}

static char *copy_of(struct bytes data)
{
    char *p = malloc(data.size + 1);
    CHECK(p);
    if (data.size > 0) memcpy(p, data.data, data.size);
    return p;
}

static struct model_entry *store(struct model *m, struct bytes key, struct bytes value)
{
    struct model_entry *e = find(m, key);
    if (!e) {
        for (e = m->entries; e->key;) CHECK(++e < m->entries + MODEL_KEYS_MAX);
        e->key = copy_of(key);
        e->key_bytes = key.size;
    }
    char *old = e->value; /* which `value` may be */
    e->value = copy_of(value);
    e->value_bytes = value.size;
    free(old);
    return e;
}

static struct bytes value_of(const struct model_entry *e)
{
    return e ? bytes_make(e->value, e->value_bytes) : bytes_make("", 0);
}

/* ---- commands ---- */

static void run_get(struct model *m, const struct step *s)
{
    put_value(m, find(m, s->argv[1]));
}

static void run_set(struct model *m, const struct step *s)
{
    bool exists = find(m, s->argv[1]) != NULL;
    bool only_new = s->argc > 3 && bytes_equal_nocase(s->argv[3], "nx");
    bool only_old = s->argc > 3 && bytes_equal_nocase(s->argv[3], "xx");
    if ((only_new && exists) || (only_old && !exists)) {
        put_text(m, "$-1\r\n");
        return;
    }
    store(m, s->argv[1], s->argv[2]);
    put_text(m, "+OK\r\n");
}

static void run_setnx(struct model *m, const struct step *s)
{
    bool exists = find(m, s->argv[1]) != NULL;
    if (!exists) store(m, s->argv[1], s->argv[2]);
    put_i64(m, !exists);
}

static void run_getset(struct model *m, const struct step *s)
{
    put_value(m, find(m, s->argv[1]));
    store(m, s->argv[1], s->argv[2]);
}

static void run_getdel(struct model *m, const struct step *s)
{
    struct model_entry *e = find(m, s->argv[1]);
    put_value(m, e);
    if (e) drop(e);
}

static void run_append(struct model *m, const struct step *s)
{
    struct bytes old = value_of(find(m, s->argv[1])), more = s->argv[2];
    char *joined = malloc(old.size + more.size + 1);
    CHECK(joined);
    memcpy(joined, old.data, old.size);
    memcpy(joined + old.size, more.data, more.size);
    store(m, s->argv[1], bytes_make(joined, old.size + more.size));
    put_i64(m, (int64_t)(old.size + more.size));
    free(joined);
}

static void run_strlen(struct model *m, const struct step *s)
{
    put_i64(m, (int64_t)value_of(find(m, s->argv[1])).size);
}

static void run_incr(struct model *m, const struct step *s)
{
    const struct model_entry *e = find(m, s->argv[1]);
    int64_t n = 0, by = 1;
    bool by_is_good = s->argc < 3 || text_to_i64(s->argv[2], &by);
    if (!by_is_good || (e && !text_to_i64(value_of(e), &n))) {
        put_text(m, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    char text[32];
    int size = snprintf(text, sizeof text, "%lld", (long long)(n + by));
    store(m, s->argv[1], bytes_make(text, (size_t)size));
    put_i64(m, n + by);
}

static void run_mset(struct model *m, const struct step *s)
{
    for (unsigned i = 1; i + 1 < s->argc; i += 2) store(m, s->argv[i], s->argv[i + 1]);
    put_text(m, "+OK\r\n");
}

static void run_msetnx(struct model *m, const struct step *s)
{
    bool any = false;
    for (unsigned i = 1; i + 1 < s->argc; i += 2) any |= find(m, s->argv[i]) != NULL;
    for (unsigned i = 1; !any && i + 1 < s->argc; i += 2) store(m, s->argv[i], s->argv[i + 1]);
    put_i64(m, !any);
}

static void run_mget(struct model *m, const struct step *s)
{
    put_text(m, "*%u\r\n", s->argc - 1);
    for (unsigned i = 1; i < s->argc; i++) put_value(m, find(m, s->argv[i]));
}

static void run_del(struct model *m, const struct step *s)
{
    int64_t n = 0;
    for (unsigned i = 1; i < s->argc; i++) {
        struct model_entry *e = find(m, s->argv[i]);
        if (!e) continue;
        drop(e);
        n++;
    }
    put_i64(m, n);
}

static void run_exists(struct model *m, const struct step *s)
{
    int64_t n = 0;
    for (unsigned i = 1; i < s->argc; i++) n += find(m, s->argv[i]) != NULL;
    put_i64(m, n);
}

/* Moves or copies argv[1] to argv[2], which may be itself. */
static void transfer(struct model *m, const struct step *s, bool keep)
{
    struct model_entry *from = find(m, s->argv[1]);
    if (bytes_equal(s->argv[1], s->argv[2])) return;
    store(m, s->argv[2], value_of(from));
    if (!keep) drop(from);
}

static void run_rename(struct model *m, const struct step *s)
{
    if (!find(m, s->argv[1])) {
        put_text(m, "-ERR no such key\r\n");
        return;
    }
    transfer(m, s, false);
    put_text(m, "+OK\r\n");
}

static void run_renamenx(struct model *m, const struct step *s)
{
    if (!find(m, s->argv[1])) {
        put_text(m, "-ERR no such key\r\n");
        return;
    }
    bool exists = find(m, s->argv[2]) != NULL;
    if (!exists) transfer(m, s, false);
    put_i64(m, !exists);
}

static void run_copy(struct model *m, const struct step *s)
{
    if (bytes_equal(s->argv[1], s->argv[2])) {
        put_text(m, "-ERR source and destination objects are the same\r\n");
        return;
    }
    bool can = find(m, s->argv[1]) && (s->argc > 3 || !find(m, s->argv[2]));
    if (can) transfer(m, s, true);
    put_i64(m, can);
}

static void run_dbsize(struct model *m, UNUSED const struct step *s)
{
    int64_t n = 0;
    for (unsigned i = 0; i < MODEL_KEYS_MAX; i++) n += m->entries[i].key != NULL;
    put_i64(m, n);
}

static void run_flushall(struct model *m, UNUSED const struct step *s)
{
    for (unsigned i = 0; i < MODEL_KEYS_MAX; i++) drop(&m->entries[i]);
    put_text(m, "+OK\r\n");
}

static const struct {
    const char *name;
    void (*run)(struct model *m, const struct step *s);
} commands[] = {
    {"get", run_get},       {"set", run_set},           {"setnx", run_setnx},
    {"getset", run_getset}, {"getdel", run_getdel},     {"append", run_append},
    {"strlen", run_strlen}, {"incr", run_incr},         {"incrby", run_incr},
    {"mset", run_mset},     {"msetnx", run_msetnx},     {"mget", run_mget},
    {"del", run_del},       {"unlink", run_del},        {"exists", run_exists},
    {"rename", run_rename}, {"renamenx", run_renamenx}, {"copy", run_copy},
    {"dbsize", run_dbsize}, {"flushall", run_flushall},
};

static void run_step(struct model *m, const struct step *s)
{
    size_t before = m->reply_bytes;
    for (unsigned i = 0; i < ARRAY_LEN(commands); i++)
        if (bytes_equal_nocase(s->argv[0], commands[i].name)) commands[i].run(m, s);
    CHECK(m->reply_bytes > before);
}

/* Commands of the block that were refused, as its reply tells, have done nothing. */
static void run_block(struct model *m, const struct step *s)
{
    struct bytes told = bytes_make(s->reply, s->reply ? s->reply_bytes : 0);
    const char *at = told.size ? memchr(told.data, '\n', told.size) : NULL;
    size_t done = at ? (size_t)(at + 1 - told.data) : told.size;
    put_text(m, "*%u\r\n", s->block);
    for (unsigned i = s->block; i > 0; i--) {
        struct bytes rest = bytes_make(told.data + done, told.size - done);
        size_t size = rest.size ? resp_reply_bytes(rest) : 0;
        if (rest.size && is_refusal(rest))
            put(m, rest.data, size);
        else
            run_step(m, s - i);
        done += size;
    }
}

struct bytes model_run(struct model *m, const struct step *s)
{
    m->reply_bytes = 0;
    if (s->is_refused)
        put(m, s->reply, s->reply_bytes);
    else if (s->block == 0)
        run_step(m, s);
    else
        run_block(m, s);
    return bytes_make(m->reply, m->reply_bytes);
}

void model_clear(struct model *m)
{
    for (unsigned i = 0; i < MODEL_KEYS_MAX; i++) drop(&m->entries[i]);
    free(m->reply);
    *m = (struct model){0};
}
