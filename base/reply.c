/* reply.c: the builders that are too long, or too rare, to be inline; and the chunks. */
#include "base/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"

#define HEAD_BYTES_MAX 24   /* type, 20 digits, line end */
#define ERROR_BYTES 512     /* longer errors are printed twice */
#define LINE_BYTES_SURE 256 /* of a line that finds no memory for the whole of it */

/* clang-format off */
#define HEAD(tens, ones) "$" tens #ones "\r\n"
#define TEN(tens) HEAD(tens, 0), HEAD(tens, 1), HEAD(tens, 2), HEAD(tens, 3), HEAD(tens, 4), \
                  HEAD(tens, 5), HEAD(tens, 6), HEAD(tens, 7), HEAD(tens, 8), HEAD(tens, 9)
const char reply_heads[REPLY_HEADS][REPLY_HEAD_BYTES] = {
    TEN(""), TEN("1"), TEN("2"), TEN("3"), TEN("4"), TEN("5"), TEN("6"), TEN("7"), TEN("8"), TEN("9"),
};
/* clang-format on */

/* ---- chunks ---- */

void reply_init(struct reply *r, struct chunk *lent, struct mem *mem)
{
    *r = (struct reply){.mem = mem, .resp = 2};
    if (!lent) return;
    lent->next = NULL;
    lent->size = 0;
    r->first = r->last = lent;
    r->cursor = lent->data;
    r->limit = lent->data + lent->capacity;
}

static void close_last(struct reply *r)
{
    if (r->last) r->last->size = (uint32_t)(r->cursor - r->last->data);
}

/* A chunk in which nothing was written is of no use in a chain, except that a lent one stays. */
static void drop_empty_last(struct reply *r)
{
    struct chunk *empty = r->last;
    if (!empty || r->cursor != empty->data || empty->home == CHUNK_LENT) return;
    struct chunk *before = r->first == empty ? NULL : r->first;
    while (before && before->next != empty) before = before->next;
    chunk_free(r->mem, empty);
    r->last = before;
    if (before) {
        before->next = NULL;
        r->cursor = before->data + before->size;
        r->limit = before->data + before->capacity;
        r->base -= before->size;
    } else {
        r->first = NULL;
        r->cursor = r->limit = NULL;
    }
}

void reply_copy_bytes(struct bytes reply, struct buf *out)
{
    if (reply.size == 0 || buf_try_reserve(out, reply.size))
        buf_append(out, reply.data, reply.size);
    else
        buf_printf(out, "-%s\r\n", err_text(ERR_REPLY_LOST));
}

void reply_copy(const struct reply *r, struct buf *out)
{
    uint64_t whole = reply_size(r);
    if (whole > 0 && !buf_try_reserve(out, whole)) {
        buf_printf(out, "-%s\r\n", err_text(ERR_ALLOC));
        return;
    }
    for (const struct chunk *at = r->first; at; at = at->next) {
        size_t size = at == r->last ? (size_t)(r->cursor - at->data) : at->size;
        buf_append(out, at->data, size);
    }
}

void reply_drop(struct reply *r)
{
    struct chunk *c = r->first;
    uint64_t base = 0;
    r->is_lost = false;
    close_last(r);
    while (base + c->size < r->start) {
        base += c->size;
        c = c->next;
    }
    chunk_free_chain(r->mem, c->next);
    c->next = NULL;
    r->last = c;
    r->base = base;
    r->cursor = c->data + (r->start - base);
    r->limit = c->data + c->capacity;
}

void reply_close(struct reply *r)
{
    if (unlikely(r->is_lost)) {
        reply_drop(r);
        reply_err(r, ERR_ALLOC);
    }
    close_last(r);
}

struct chunk *reply_take(struct reply *r)
{
    reply_close(r);
    drop_empty_last(r);
    close_last(r);
    struct chunk *chain = reply_size(r) ? r->first : NULL;
    r->first = r->last = NULL;
    r->cursor = r->limit = NULL;
    r->base = 0;
    return chain;
}

void chunk_free(struct mem *mem, struct chunk *c)
{
    if (c->home != CHUNK_LENT) mem_free(mem, c, sizeof(*c) + c->capacity);
}

void chunk_free_chain(struct mem *mem, struct chunk *first)
{
    while (first) {
        struct chunk *next = first->next;
        chunk_free(mem, first);
        first = next;
    }
}

/* Large replies get larger chunks, so that they leave in few pieces. All of the size class is used.
 */
static size_t chunk_bytes(const struct reply *r, size_t size)
{
    size_t room = MIN(MAX(reply_size(r), REPLY_CHUNK_BYTES), REPLY_CHUNK_BYTES_MAX);
    return mem_class_bytes(sizeof(struct chunk) + MAX(room, size));
}

static void append_chunk(struct reply *r, struct chunk *c, size_t bytes)
{
    *c = (struct chunk){.capacity = (uint32_t)(bytes - sizeof(*c)),
                        .home = r->home,
                        .owner_is_shard = r->owner_is_shard};
    close_last(r);
    r->base = reply_size(r);
    if (r->last) {
        r->last->next = c;
    } else {
        r->first = c;
    }
    r->last = c;
    r->cursor = c->data;
    r->limit = c->data + c->capacity;
}

static void add_chunk(struct reply *r, struct chunk *c, size_t bytes)
{
    drop_empty_last(r);
    append_chunk(r, c, bytes);
}

char *reply_try_reserve(struct reply *r, size_t size)
{
    if ((size_t)(r->limit - r->cursor) >= size && r->last) return r->cursor;
    if (size > UINT32_MAX / 2) return NULL;
    size_t bytes = chunk_bytes(r, size);
    struct chunk *c = mem_try_alloc(r->mem, bytes);
    if (!c) return NULL;
    add_chunk(r, c, bytes);
    return r->cursor;
}

/* A small chunk that is sure. */
static void add_small_chunk(struct reply *r, size_t size)
{
    size_t bytes = mem_class_bytes(sizeof(struct chunk) + MAX(size, (size_t)REPLY_CHUNK_BYTES));
    add_chunk(r, mem_alloc(r->mem, bytes), bytes);
}

void reply_lose(struct reply *r)
{
    if (r->is_lost) return;
    add_small_chunk(r, 0); /* in which all that follows is written, again and again */
    r->is_lost = true;
}

/* A command has done its work by the time it replies, so there is no way back: without memory for
 * its chunks the reply is lost, unless it is a short one. */
static __attribute__((noinline, cold)) char *reserve_without_memory(struct reply *r, size_t size)
{
    if (r->is_lost) {
        r->cursor = r->last->data;
        if ((size_t)(r->limit - r->cursor) < size) add_small_chunk(r, size);
        return r->cursor;
    }
    bool is_short = reply_size(r) - r->start + size <= REPLY_SURE_BYTES;
    add_small_chunk(r, size);
    r->is_lost = !is_short;
    return r->cursor;
}

char *reply_reserve_slow(struct reply *r, size_t size)
{
    if ((size_t)(r->limit - r->cursor) >= size && r->last) return r->cursor;
    CHECK(size <= UINT32_MAX / 2);
    size_t bytes = chunk_bytes(r, size);
    struct chunk *c = r->is_lost ? NULL : mem_try_alloc(r->mem, bytes);
    if (unlikely(!c)) return reserve_without_memory(r, size);
    add_chunk(r, c, bytes);
    return r->cursor;
}

void reply_shorten(struct reply *r, uint64_t written, uint64_t count)
{
    char text[TEXT_I64_BYTES_MAX];
    struct chunk *c = r->first;
    uint64_t base = 0;
    close_last(r);
    while (base + c->size <= r->start) {
        base += c->size;
        c = c->next;
    }
    char *number = c->data + (r->start - base) + 1;
    size_t before = text_from_u64(text, written), after = text_from_u64(text, count);
    CHECK(!r->is_lost && count <= written && number + before < c->data + c->size);
    memcpy(number, text, after);
    memmove(number + after, number + before, (size_t)(c->data + c->size - number) - before);
    c->size -= (uint32_t)(before - after);
    if (c == r->last)
        r->cursor -= before - after;
    else
        r->base -= before - after;
}

/* Fills up the last chunk first: no room is lost to a large value. */
void reply_long_raw(struct reply *r, const void *data, size_t size)
{
    const char *from = data;
    while (size > 0 && !r->is_lost) {
        if (r->cursor == r->limit && !reply_try_reserve(r, MIN(size, REPLY_CHUNK_BYTES_MAX)))
            reply_reserve_slow(r, MIN(size, REPLY_SURE_BYTES + 1));
        size_t part = MIN(size, (size_t)(r->limit - r->cursor));
        memcpy(r->cursor, from, part);
        reply_advance(r, part);
        from += part;
        size -= part;
    }
}

/* ---- numbers and strings ---- */

static char *put_line_end(char *p)
{
    memcpy(p, "\r\n", 2);
    return p + 2;
}

void reply_long_head(struct reply *r, char type, uint64_t value)
{
    char *p = reply_reserve(r, HEAD_BYTES_MAX);
    *p++ = type;
    p += text_from_u64(p, value);
    r->cursor = put_line_end(p);
}

void reply_long_i64(struct reply *r, int64_t value)
{
    char *p = reply_reserve(r, HEAD_BYTES_MAX);
    *p++ = ':';
    p += text_from_i64(p, value);
    r->cursor = put_line_end(p);
}

void reply_long_bulk(struct reply *r, struct bytes value)
{
    reply_head(r, '$', value.size);
    reply_raw(r, value.data, value.size);
    REPLY_LITERAL(r, "\r\n");
}

void reply_bulk_text(struct reply *r, const char *text)
{
    reply_bulk(r, bytes_of(text));
}

void reply_bulk_i64(struct reply *r, int64_t value)
{
    char digits[TEXT_I64_BYTES_MAX];
    reply_bulk(r, bytes_make(digits, text_from_i64(digits, value)));
}

/* ---- lines ---- */

/* What would end a line early becomes a space. */
static char *put_clean(char *p, struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        *p++ = c == '\r' || c == '\n' ? ' ' : c;
    }
    return put_line_end(p);
}

/* What there is memory for. */
static struct bytes line_that_fits(struct reply *r, struct bytes text)
{
    if (!reply_try_reserve(r, text.size + HEAD_BYTES_MAX + 2))
        text.size = MIN(text.size, (size_t)LINE_BYTES_SURE);
    return text;
}

static void put_line(struct reply *r, char type, struct bytes text)
{
    text = line_that_fits(r, text);
    char *p = reply_reserve(r, text.size + 3);
    *p++ = type;
    r->cursor = put_clean(p, text);
}

void reply_status(struct reply *r, const char *text)
{
    put_line(r, '+', bytes_of(text));
}

void reply_err(struct reply *r, enum err e)
{
    r->error_count++;
    put_line(r, '-', bytes_of(err_text(e)));
}

static void put_error(struct reply *r, struct bytes text)
{
    while (text.size > 0 && strchr("\r\n", text.data[text.size - 1])) text.size--;
    r->error_count++;
    put_line(r, '-', text);
}

void reply_error(struct reply *r, const char *format, ...)
{
    char text[ERROR_BYTES];
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int printed = vsnprintf(text, sizeof(text), format, args);
    CHECK(printed >= 0);
    size_t size = (size_t)printed;
    if (size < sizeof(text)) {
        put_error(r, bytes_make(text, size));
    } else {
        char *whole = mem_try_alloc(r->mem, size + 1);
        if (whole) vsnprintf(whole, size + 1, format, again);
        put_error(r, whole ? bytes_make(whole, size) : bytes_make(text, sizeof text - 1));
        mem_free(r->mem, whole, size + 1);
    }
    va_end(again);
    va_end(args);
}

/* ---- the types of RESP3 ---- */

void reply_null_array(struct reply *r)
{
    if (r->resp == 2) {
        REPLY_LITERAL(r, "*-1\r\n");
    } else {
        REPLY_LITERAL(r, "_\r\n");
    }
}

void reply_map(struct reply *r, uint64_t pair_count)
{
    if (r->resp == 2) {
        reply_head(r, '*', pair_count * 2);
    } else {
        reply_head(r, '%', pair_count);
    }
}

void reply_set(struct reply *r, uint64_t count)
{
    reply_head(r, r->resp == 2 ? '*' : '~', count);
}

void reply_push(struct reply *r, uint64_t count)
{
    reply_head(r, r->resp == 2 ? '*' : '>', count);
}

void reply_attribute(struct reply *r, uint64_t pair_count)
{
    CHECK(r->resp != 2);
    reply_head(r, '|', pair_count);
}

void reply_bool(struct reply *r, bool value)
{
    if (r->resp == 2) {
        reply_i64(r, value);
    } else if (value) {
        REPLY_LITERAL(r, "#t\r\n");
    } else {
        REPLY_LITERAL(r, "#f\r\n");
    }
}

/* Of RESP3; else a bulk string of the same bytes. */
static void put_typed_line(struct reply *r, char type, struct bytes text)
{
    if (r->resp == 2) {
        text = line_that_fits(r, text);
        reply_head(r, '$', text.size);
        r->cursor = put_clean(reply_reserve(r, text.size + 2), text);
        return;
    }
    put_line(r, type, text);
}

void reply_double(struct reply *r, double value)
{
    char text[TEXT_DOUBLE_BYTES_MAX];
    put_typed_line(r, ',', bytes_make(text, text_from_double(text, value)));
}

void reply_big_number(struct reply *r, struct bytes digits)
{
    put_typed_line(r, '(', digits);
}

void reply_verbatim(struct reply *r, const char format[3], struct bytes text)
{
    if (r->resp == 2) {
        reply_bulk(r, text);
        return;
    }
    reply_head(r, '=', text.size + 4);
    reply_raw(r, format, 3);
    REPLY_LITERAL(r, ":");
    reply_raw(r, text.data, text.size);
    REPLY_LITERAL(r, "\r\n");
}

void reply_validate(const struct reply *r)
{
    uint64_t base = 0;
    const struct chunk *last = NULL;
    for (const struct chunk *c = r->first; c; last = c, c = c->next) {
        if (c == r->last) continue;
        CHECK(c->size <= c->capacity && (c->size > 0 || c == r->first));
        base += c->size;
    }
    CHECK(last == r->last && base == r->base);
    if (!last) {
        CHECK(!r->cursor && !r->limit);
        return;
    }
    CHECK(r->cursor >= last->data && r->cursor <= r->limit);
    CHECK(r->limit == last->data + last->capacity);
}
