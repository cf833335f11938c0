/* cmd_debug_samples.c: DEBUG PROTOCOL, ERROR, LOG and POPULATE: what test suites of clients ask
 * for.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "server/cmd_admin.h"
#include "shard/cmd/args.h"

/* ---- PROTOCOL ---- */

#define SAMPLE_COUNT 3

static void reply_numbers(struct reply *out)
{
    for (int64_t i = 0; i < SAMPLE_COUNT; i++) reply_i64(out, i);
}

static void sample_string(struct reply *out)
{
    reply_bulk(out, BYTES_LITERAL("Hello World"));
}

static void sample_integer(struct reply *out)
{
    reply_i64(out, 12345);
}

static void sample_double(struct reply *out)
{
    reply_double(out, 3.141);
}

static void sample_bignum(struct reply *out)
{
    reply_big_number(out, BYTES_LITERAL("1234567999999999999999999999999999999"));
}

static void sample_array(struct reply *out)
{
    reply_array(out, SAMPLE_COUNT);
    reply_numbers(out);
}

static void sample_set(struct reply *out)
{
    reply_set(out, SAMPLE_COUNT);
    reply_numbers(out);
}

static void sample_map(struct reply *out)
{
    reply_map(out, SAMPLE_COUNT);
    for (int64_t i = 0; i < SAMPLE_COUNT; i++) {
        reply_i64(out, i);
        reply_bool(out, i == 1);
    }
}

static void sample_attribute(struct reply *out)
{
    if (out->resp >= 3) {
        reply_attribute(out, 1);
        reply_bulk(out, BYTES_LITERAL("key-popularity"));
        reply_array(out, 2);
        reply_bulk(out, BYTES_LITERAL("key:123"));
        reply_i64(out, 90);
    }
    REPLY_LITERAL(out, "$39\r\nSome real reply following the attribute\r\n");
}

static void sample_push(struct reply *out)
{
    if (out->resp < 3) {
        reply_error(out, "ERR RESP2 is not supported by this command");
        return;
    }
    reply_push(out, 2);
    reply_bulk(out, BYTES_LITERAL("server-cpu-usage"));
    reply_i64(out, 42);
    REPLY_LITERAL(out, "$40\r\nSome real reply following the push reply\r\n");
}

static void sample_verbatim(struct reply *out)
{
    reply_verbatim(out, "txt", BYTES_LITERAL("This is a verbatim\nstring"));
}

static void sample_null(struct reply *out)
{
    reply_null(out);
}

static void sample_true(struct reply *out)
{
    reply_bool(out, true);
}

static void sample_false(struct reply *out)
{
    reply_bool(out, false);
}

enum err cmd_debug_protocol(struct session *s, struct request *rq, struct reply *out)
{
    static const struct {
        const char *name;
        void (*reply)(struct reply *out);
    } samples[] = {
        {"string", sample_string}, {"integer", sample_integer},   {"double", sample_double},
        {"bignum", sample_bignum}, {"null", sample_null},         {"array", sample_array},
        {"set", sample_set},       {"map", sample_map},           {"attrib", sample_attribute},
        {"push", sample_push},     {"verbatim", sample_verbatim}, {"true", sample_true},
        {"false", sample_false},
    };
    if (rq->argc != 3) return cmd_debug_unknown(s, rq, out);
    for (unsigned i = 0; i < ARRAY_LEN(samples); i++) {
        if (!arg_is(rq, 2, samples[i].name)) continue;
        samples[i].reply(out);
        return OK;
    }
    reply_error(out, "ERR Wrong protocol type name. Please use one of the following: "
                     "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|"
                     "true|false");
    return OK;
}

/* ---- ERROR, LOG ---- */

#define TEXT_BYTES_MAX 1024 /* of what is replied or written to the log */

static int clipped(struct bytes text)
{
    return (int)MIN(text.size, (size_t)TEXT_BYTES_MAX);
}

enum err cmd_debug_error(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3) return cmd_debug_unknown(s, rq, out);
    char line[TEXT_BYTES_MAX + sizeof "-\r\n"] = "-";
    size_t size = 1;
    for (int i = 0; i < clipped(rq->argv[2]); i++) {
        char c = rq->argv[2].data[i];
        line[size++] = c == '\r' || c == '\n' ? ' ' : c;
    }
    memcpy(line + size, "\r\n", 2);
    reply_raw(out, line, size + 2);
    out->error_count++;
    return OK;
}

enum err cmd_debug_log(struct session *s, struct request *rq, struct reply *out)
{
    if (rq->argc != 3) return cmd_debug_unknown(s, rq, out);
    log_warning("DEBUG LOG: %.*s", clipped(rq->argv[2]), rq->argv[2].data);
    reply_ok(out);
    return OK;
}

/* ---- POPULATE ---- */

/* A key's name: the prefix, a colon, and a number. */
#define NUMBER_BYTES_MAX 24
#define VALUE_BYTES_MAX ((int64_t)1 << 32)

struct population {
    struct bytes prefix;
    uint64_t count;
    size_t value_bytes; /* 0: as many as the text has */
    char *name, *value;
    size_t name_capacity, value_capacity;
};

static enum err parse_population(const struct request *rq, struct population *p)
{
    int64_t count, size = 0;
    if (!text_to_i64(rq->argv[2], &count) || count < 0) return ERR_OUT_OF_RANGE;
    if (rq->argc == 5 && (!text_to_i64(rq->argv[4], &size) || size < 0)) return ERR_OUT_OF_RANGE;
    if (size > VALUE_BYTES_MAX) return ERR_ALLOC;
    *p = (struct population){.prefix = rq->argc > 3 ? rq->argv[3] : BYTES_LITERAL("key"),
                             .count = (uint64_t)count,
                             .value_bytes = (size_t)size};
    p->name_capacity = p->prefix.size + NUMBER_BYTES_MAX;
    p->value_capacity = p->value_bytes + 2 * NUMBER_BYTES_MAX;
    return OK;
}

/* Each shard makes the keys that are its own; what is there already stays. */
static enum err populate(struct shard *sh, const struct request *rq, struct population *p)
{
    enum err err = OK;
    for (uint64_t i = 0; i < p->count && err == OK; i++) {
        size_t size = p->prefix.size;
        p->name[size++] = ':';
        size += text_from_u64(p->name + size, i);
        struct key k = {.name = bytes_make(p->name, size), .db = rq->db};
        k.hash = bytes_hash(k.name, sh->keys.seed);
        if (!shard_owns_key(sh, &k)) continue;
        if (keyspace_peek(sh, &k)) continue;
        size_t text = (size_t)snprintf(p->value, 2 * NUMBER_BYTES_MAX, "value:%" PRIu64, i);
        struct bytes value = bytes_make(p->value, p->value_bytes ? p->value_bytes : text);
        err = keyspace_set_text(sh, &k, value, DEADLINE_NONE);
    }
    return err;
}

enum err cmd_debug_populate(struct shard *sh, struct request *rq, struct reply *out)
{
    struct population p;
    if (rq->argc < 3 || rq->argc > 5) return cmd_debug_unknown(NULL, rq, out);
    enum err err = parse_population(rq, &p);
    if (err != OK) return err;
    p.name = mem_try_alloc(&sh->mem, p.name_capacity);
    p.value = mem_try_alloc(&sh->mem, p.value_capacity);
    err = p.name && p.value ? OK : ERR_ALLOC;
    if (err == OK) {
        memcpy(p.name, p.prefix.data, p.prefix.size);
        memset(p.value, 0, p.value_capacity);
        err = populate(sh, rq, &p);
    }
    mem_free(&sh->mem, p.name, p.name_capacity);
    mem_free(&sh->mem, p.value, p.value_capacity);
    if (err == OK) reply_ok(out);
    return err;
}
