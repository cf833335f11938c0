/* The reader has two parsers. `parse_array` reads a whole request that lies in memory, in one pass,
 * and gives up at anything unusual. What it gives up on goes to `scan`, which is slower but can
 * stop anywhere and go on later, knows all limits and errors, and only finds out where the request
 * ends; then parse_array (or the splitter of inline commands) reads it.
 *
 *     piece ──parse_array──▶ request in place
 *       └─ gives up ─▶ scan ─┬─ complete ─▶ request in place
 *                            ├─ broken
 *                            └─ need more ─▶ gather, scan on … complete ─▶ request in `gather`
 *
 * Details that follow redis-server: a header line ends at the first CR and the byte behind it is
 * skipped unseen, as are the two bytes after a bulk; the search for a line's end stops at a NUL
 * byte; 65,536 bytes may arrive without the end of a line. Where Redis's answer depends on how the
 * bytes were cut into packets, ours is the one for byte-by-byte arrival.
 */
#include "base/resp.h"

#include <stdio.h>

#include "base/mem.h"

/* Without memory for more the connection ends; short requests are sure of theirs. */
#define SURE_BYTES 4096
#include "base/text.h"

#define ARG_BYTES_MIN 6       /* "$0\r\n\r\n" */
#define ARGV_KEEP 128         /* a larger argv is freed with its request */
#define GATHER_KEEP_BYTES 512 /* so is a larger gather buffer: idle connections hold little */
#define GATHER_STEP_BYTES 128 /* copied at once while the request's end is unknown */

/* The hot path tests only for MODE_FRESH. */
enum mode {
    MODE_FRESH,     /* nothing is held: the next request starts at `next` */
    MODE_GATHERING, /* `gather` holds the start of a request */
    MODE_DELIVERED, /* buffers hold the last request: free them first */
    MODE_UNREAD,    /* … which is to be given once more */
    MODE_BROKEN,
};

enum scan { SCAN_COMPLETE, SCAN_EMPTY, SCAN_MORE, SCAN_BROKEN };

void resp_reader_init(struct resp_reader *r, struct mem *mem)
{
    *r = (struct resp_reader){.gather = {.mem = mem}, .words = {.mem = mem}};
    r->argv = r->argv_inline;
    r->argv_capacity = RESP_ARGV_INLINE;
}

static void argv_drop(struct resp_reader *r)
{
    if (r->argv != r->argv_inline) {
        mem_free(r->gather.mem, r->argv, r->argv_capacity * sizeof(struct bytes));
    }
    r->argv = r->argv_inline;
    r->argv_capacity = RESP_ARGV_INLINE;
}

void resp_reader_deinit(struct resp_reader *r)
{
    argv_drop(r);
    buf_clear(&r->gather);
    buf_clear(&r->words);
}

/* Contents are lost. */
static bool argv_try_reserve(struct resp_reader *r, uint64_t count)
{
    if (count <= r->argv_capacity) return true;
    if (count > UINT32_MAX) return false;
    mem_insist(r->gather.mem, count * sizeof(struct bytes) <= SURE_BYTES);
    struct bytes *argv = mem_try_alloc(r->gather.mem, count * sizeof(struct bytes));
    mem_insist(r->gather.mem, false);
    if (!argv) return false;
    argv_drop(r);
    r->argv = argv;
    r->argv_capacity = (uint32_t)count;
    return true;
}

/* Lets go of what the last request held. */
static void request_drop(struct resp_reader *r)
{
    if (r->argv_capacity > ARGV_KEEP) argv_drop(r);
    if (r->gather.capacity > GATHER_KEEP_BYTES) buf_clear(&r->gather);
    if (r->words.capacity > GATHER_KEEP_BYTES) buf_clear(&r->words);
    r->gather.size = 0;
    r->words.size = 0;
    r->in_words = false;
    r->mode = MODE_FRESH;
}

static enum scan fail(struct resp_reader *r, const char *error)
{
    resp_reader_deinit(r);
    r->argc = 0;
    r->in_words = r->gathered = false;
    r->next = r->end;
    r->error = error;
    r->mode = MODE_BROKEN;
    return SCAN_BROKEN;
}

/* ---- whole requests ---- */

/* A plain number and its line end: the byte behind them, or NULL. 18 digits cannot overflow. */
static inline const char *parse_length(const char *p, const char *end, uint64_t *out)
{
    uint64_t value = 0;
    if (p == end || *p == '0') return NULL;
    for (const char *first = p; p < end && p - first <= 18; p++) {
        unsigned digit = (unsigned char)*p - (unsigned)'0';
        if (digit > 9) {
            *out = value;
            return *p == '\r' && p != first && end - p >= 2 ? p + 2 : NULL;
        }
        value = value * 10 + digit;
    }
    return NULL;
}

/* The byte behind the request, or NULL: not all there, not plain, or not allowed. Counts below 10
 * and lengths below 100 need no look at the limits. */
static inline const char *parse_array(struct resp_reader *r, const char *p, const char *end,
                                      const struct resp_limits *limits)
{
    if (unlikely(end - p < 4)) return NULL;
    uint64_t count = (unsigned char)p[1] - (unsigned)'0';
    if (likely(count - 1 <= 8 && p[2] == '\r')) {
        p += 4;
    } else {
        p = parse_length(p + 1, end, &count);
        if (!p || count > limits->args_max) return NULL;
        if (count > (uint64_t)(end - p) / ARG_BYTES_MIN || !argv_try_reserve(r, count)) return NULL;
    }

    struct bytes *arg = r->argv, *arg_end = arg + count;
    do {
        if (unlikely(end - p < ARG_BYTES_MIN || p[0] != '$')) return NULL;
        unsigned tens = (unsigned char)p[1] - (unsigned)'0';
        unsigned ones = (unsigned char)p[2] - (unsigned)'0';
        uint64_t length = tens;
        if (p[2] == '\r' && tens <= 9) {
            p += 4;
        } else if (likely(tens - 1 <= 8 && ones <= 9 && p[3] == '\r')) {
            length = tens * 10 + ones;
            p += 5;
        } else {
            p = parse_length(p + 1, end, &length);
            if (!p || length > limits->bulk_bytes_max) return NULL;
        }
        if (unlikely((uint64_t)(end - p) < length + 2)) return NULL;
        *arg++ = (struct bytes){p, length};
        p += length + 2;
    } while (arg != arg_end);
    r->argc = (uint32_t)count;
    if (unlikely(count > ARGV_KEEP)) r->mode = MODE_DELIVERED;
    return p;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Vertical tab and form feed stand between words, but do not end one: as in Redis. */
static bool ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Words in place. False if some word must be decoded, or there are more than argv holds. */
static bool split_in_place(struct resp_reader *r, const char *p, const char *end)
{
    uint32_t count = 0;
    for (;;) {
        while (p < end && is_space(*p)) p++;
        if (p == end) break;
        if (count == r->argv_capacity) return false;
        const char *word = p;
        for (; p < end && !ends_word(*p); p++) {
            if (*p == '"' || *p == '\'') return false;
        }
        r->argv[count++] = bytes_make(word, (size_t)(p - word));
    }
    r->argc = count;
    return true;
}

static enum scan split_line(struct resp_reader *r, const char *line, uint64_t size)
{
    if (split_in_place(r, line, line + size)) return r->argc ? SCAN_COMPLETE : SCAN_EMPTY;

    uint64_t words_max = 1;
    for (uint64_t i = 0; i < size; i++) words_max += is_space(line[i]);
    if (!argv_try_reserve(r, words_max)) return fail(r, "Protocol error: out of memory");
    r->words.size = 0;
    int count = text_split_words(bytes_make(line, size), &r->words, r->argv, (int)r->argv_capacity);
    if (count < 0) return fail(r, "Protocol error: unbalanced quotes in request");
    CHECK((uint32_t)count <= r->argv_capacity);
    r->in_words = r->gathered = true;
    r->argc = (uint32_t)count;
    return count ? SCAN_COMPLETE : SCAN_EMPTY;
}

/* Reads a request that `scan_request` found complete, and which it has measured against the limits.
 */
static enum scan read_scanned(struct resp_reader *r, const char *data, uint64_t size)
{
    static const struct resp_limits none = {.bulk_bytes_max = UINT64_MAX, .args_max = UINT32_MAX};
    if (*data != '*') return split_line(r, data, size - 1);
    const char *end = parse_array(r, data, data + size, &none);
    if (!end) return fail(r, "Protocol error: out of memory");
    CHECK(end == data + size);
    return SCAN_COMPLETE;
}

/* ---- the scanner ---- */

/* Finds `terminator` in the line at scan.at. SCAN_BROKEN: the line is too long; the caller names
 * the error. */
static enum scan find_line_end(struct resp_scan *s, const char *data, uint64_t size,
                               char terminator, uint64_t *length)
{
    const char *line = data + s->at;
    uint64_t available = MIN(size - s->at, RESP_INLINE_BYTES_MAX + 1);
    if (!s->endless) {
        const char *from = line + s->searched;
        const char *found = memchr(from, terminator, available - s->searched);
        uint64_t before = found ? (uint64_t)(found - from) : available - s->searched;
        s->endless = memchr(from, 0, before) != NULL;
        if (found && !s->endless) {
            *length = s->searched + before;
            return SCAN_COMPLETE;
        }
        s->searched = available;
    }
    return available > RESP_INLINE_BYTES_MAX ? SCAN_BROKEN : SCAN_MORE;
}

/* The number in the header line at scan.at, behind its first byte; SCAN_COMPLETE also if it is none
 * (*valid). */
static enum scan scan_header(struct resp_scan *s, const char *data, uint64_t size,
                             uint64_t *line_bytes, int64_t *value, bool *valid)
{
    uint64_t length;
    enum scan found = find_line_end(s, data, size, '\r', &length);
    if (found != SCAN_COMPLETE) return found;
    if (length + 2 > size - s->at) return SCAN_MORE;
    *valid = length > 0 && text_to_i64(bytes_make(data + s->at + 1, length - 1), value);
    *line_bytes = length + 2;
    return SCAN_COMPLETE;
}

static void next_line(struct resp_scan *s, uint64_t step)
{
    s->at += step;
    s->searched = 0;
}

static enum scan scan_count(struct resp_reader *r, const char *data, uint64_t size,
                            const struct resp_limits *limits)
{
    struct resp_scan *s = &r->scan;
    uint64_t line_bytes;
    int64_t count;
    bool valid;
    enum scan found = scan_header(s, data, size, &line_bytes, &count, &valid);
    if (found == SCAN_BROKEN) return fail(r, "Protocol error: too big mbulk count string");
    if (found != SCAN_COMPLETE) return found;
    if (!valid || count > (int64_t)limits->args_max) {
        return fail(r, "Protocol error: invalid multibulk length");
    }
    if (count > RESP_ARGS_MAX_BEFORE_AUTH && !limits->authenticated) {
        return fail(r, "Protocol error: unauthenticated multibulk length");
    }
    next_line(s, line_bytes);
    if (count <= 0) return SCAN_EMPTY;
    s->args_left = (uint32_t)count;
    s->counted = true;
    return SCAN_COMPLETE;
}

static enum scan fail_no_bulk(struct resp_reader *r, char got)
{
    if (got == '\r' || got == '\n') got = ' ';
    snprintf(r->error_text, sizeof(r->error_text), "Protocol error: expected '$', got '%c'", got);
    return fail(r, r->error_text);
}

static enum scan scan_bulk(struct resp_reader *r, const char *data, uint64_t size,
                           const struct resp_limits *limits)
{
    struct resp_scan *s = &r->scan;
    uint64_t line_bytes;
    int64_t length;
    bool valid;
    enum scan found = scan_header(s, data, size, &line_bytes, &length, &valid);
    if (found == SCAN_BROKEN) return fail(r, "Protocol error: too big bulk count string");
    if (found != SCAN_COMPLETE) return found;
    if (data[s->at] != '$') return fail_no_bulk(r, data[s->at]);
    if (!valid || (uint64_t)length > limits->bulk_bytes_max) {
        return fail(r, "Protocol error: invalid bulk length");
    }
    if (length > RESP_BULK_BYTES_MAX_BEFORE_AUTH && !limits->authenticated) {
        return fail(r, "Protocol error: unauthenticated bulk length");
    }
    next_line(s, line_bytes + (uint64_t)length + 2);
    s->args_left--;
    return SCAN_COMPLETE;
}

/* Goes on with the request whose first `size` bytes are at `data`. SCAN_COMPLETE and SCAN_EMPTY: it
 * ends at scan.at. */
static enum scan scan_request(struct resp_reader *r, const char *data, uint64_t size,
                              const struct resp_limits *limits)
{
    struct resp_scan *s = &r->scan;
    if (*data != '*') {
        uint64_t length;
        enum scan found = find_line_end(s, data, size, '\n', &length);
        if (found == SCAN_BROKEN) return fail(r, "Protocol error: too big inline request");
        if (found == SCAN_COMPLETE) next_line(s, length + 1);
        return found;
    }
    if (!s->counted) {
        enum scan found = scan_count(r, data, size, limits);
        if (found != SCAN_COMPLETE) return found;
    }
    while (s->args_left > 0) {
        if (s->at >= size) return SCAN_MORE;
        enum scan found = scan_bulk(r, data, size, limits);
        if (found != SCAN_COMPLETE) return found;
    }
    return s->at <= size ? SCAN_COMPLETE : SCAN_MORE;
}

/* ---- requests that straddle pieces ---- */

/* Moves `size` bytes of the piece. Capacity doubles, but does not grow beyond the end of the
 * request where that is known. */
static bool gather_append(struct resp_reader *r, uint64_t size)
{
    struct buf *g = &r->gather;
    const struct resp_scan *s = &r->scan;
    uint64_t needed = g->size + size;
    if (needed > g->capacity) {
        uint64_t doubled = MAX(g->capacity * 2, GATHER_STEP_BYTES);
        if (s->counted && s->args_left == 0) doubled = MIN(doubled, s->at);
        uint64_t capacity = MAX(needed, doubled);
        mem_insist(g->mem, capacity <= SURE_BYTES);
        char *data = g->data ? mem_try_realloc(g->mem, g->data, g->capacity, capacity)
                             : mem_try_alloc(g->mem, capacity);
        mem_insist(g->mem, false);
        if (!data) return false;
        g->data = data;
        g->capacity = capacity;
    }
    memcpy(g->data + g->size, r->next, size);
    g->size = needed;
    r->next += size;
    return true;
}

/* Copies from the piece what the scan needs to go on, and perhaps a little more. */
static enum scan gather_more(struct resp_reader *r)
{
    uint64_t available = resp_unread_bytes(r);
    if (available == 0) return SCAN_MORE;
    uint64_t wanted = GATHER_STEP_BYTES;
    if (r->scan.at > r->gather.size + wanted) wanted = r->scan.at - r->gather.size;
    if (!gather_append(r, MIN(available, wanted))) return fail(r, "Protocol error: out of memory");
    return SCAN_COMPLETE;
}

static enum scan gather_request(struct resp_reader *r, const struct resp_limits *limits)
{
    enum scan found;
    while ((found = scan_request(r, r->gather.data, r->gather.size, limits)) == SCAN_MORE) {
        enum scan more = gather_more(r);
        if (more != SCAN_COMPLETE) return more;
    }
    if (found == SCAN_BROKEN) return found;
    /* What was copied beyond the end is of this piece: the request was not complete without it. */
    r->next -= r->gather.size - r->scan.at;
    r->gather.size = r->scan.at;
    if (found == SCAN_COMPLETE) {
        r->gathered = true;
        found = read_scanned(r, r->gather.data, r->gather.size);
    }
    if (found == SCAN_EMPTY) request_drop(r);
    if (found == SCAN_COMPLETE) r->mode = MODE_DELIVERED;
    return found;
}

/* For what parse_array gave up on. */
static enum scan scan_in_place(struct resp_reader *r, const struct resp_limits *limits)
{
    r->scan = (struct resp_scan){0};
    enum scan found = scan_request(r, r->next, resp_unread_bytes(r), limits);
    if (found == SCAN_BROKEN) return found;
    if (found == SCAN_MORE) {
        request_drop(r);
        r->mode = MODE_GATHERING;
        bool copied = gather_append(r, resp_unread_bytes(r));
        return copied ? SCAN_MORE : fail(r, "Protocol error: out of memory");
    }
    r->start = r->next;
    r->next += r->scan.at;
    if (found == SCAN_COMPLETE) {
        r->gathered = false;
        found = read_scanned(r, r->start, r->scan.at);
    }
    if (found == SCAN_EMPTY) request_drop(r);
    if (found == SCAN_COMPLETE && r->gathered) r->mode = MODE_DELIVERED;
    return found;
}

/* ---- the reader ---- */

void resp_feed(struct resp_reader *r, const char *data, size_t size)
{
    CHECK(r->next == r->end && r->mode != MODE_UNREAD);
    if (r->mode == MODE_BROKEN) return;
    r->next = data;
    r->end = data + size;
}

/* Everything but a request that lies in the piece and is plain. */
static enum scan next_slow(struct resp_reader *r, const struct resp_limits *limits)
{
    switch ((enum mode)r->mode) {
    case MODE_BROKEN:
        return SCAN_BROKEN;
    case MODE_UNREAD:
        r->mode = MODE_DELIVERED;
        return SCAN_COMPLETE;
    case MODE_DELIVERED:
        request_drop(r);
        return SCAN_EMPTY;
    case MODE_GATHERING:
        return gather_request(r, limits);
    case MODE_FRESH:
        break;
    }
    return r->next == r->end ? SCAN_MORE : scan_in_place(r, limits);
}

enum resp_state resp_next(struct resp_reader *r, const struct resp_limits *limits)
{
    for (;;) {
        const char *start = r->next;
        if (likely(r->mode == MODE_FRESH && start != r->end && *start == '*')) {
            const char *end = limits->authenticated ? parse_array(r, start, r->end, limits) : NULL;
            if (likely(end != NULL)) {
                r->start = start;
                r->next = end;
                r->gathered = false;
                return RESP_REQUEST;
            }
        }
        enum scan found = next_slow(r, limits);
        if (found == SCAN_COMPLETE) return RESP_REQUEST;
        if (found == SCAN_MORE) return RESP_NEED_MORE;
        if (found == SCAN_BROKEN) return RESP_BROKEN;
    }
}

void resp_unread(struct resp_reader *r)
{
    if (r->gathered) {
        CHECK(r->mode == MODE_DELIVERED);
        r->mode = MODE_UNREAD;
    } else {
        CHECK(r->mode == MODE_FRESH || r->mode == MODE_DELIVERED);
        r->next = r->start;
    }
}

void resp_rebase(struct resp_reader *r, const char *data)
{
    r->end = data + resp_unread_bytes(r);
    r->next = r->start = data;
}

struct buf resp_take_gathered(struct resp_reader *r)
{
    CHECK(r->gathered && r->mode == MODE_DELIVERED);
    struct buf *from = r->in_words ? &r->words : &r->gather;
    struct buf taken = *from;
    *from = (struct buf){.mem = taken.mem};
    return taken;
}

size_t resp_held_bytes(const struct resp_reader *r)
{
    size_t argv_bytes = r->argv == r->argv_inline ? 0 : r->argv_capacity * sizeof(struct bytes);
    return r->gather.capacity + r->words.capacity + argv_bytes;
}

void resp_validate(const struct resp_reader *r)
{
    CHECK(r->next <= r->end && r->mode <= MODE_BROKEN);
    CHECK(r->gather.size <= r->gather.capacity && r->words.size <= r->words.capacity);
    CHECK((r->argv == r->argv_inline) == (r->argv_capacity == RESP_ARGV_INLINE));
    CHECK(r->mode != MODE_FRESH || (r->gather.size == 0 && r->words.size == 0));
    CHECK(r->mode != MODE_GATHERING || (r->gather.size > 0 && r->next == r->end));
    CHECK(r->mode != MODE_BROKEN || (r->error != NULL && r->next == r->end));
}
