#include "bench/load/replies.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct reply_expected reply_expected_read(const char *text)
{
    return (struct reply_expected){.type = text[0],
                                   .has_value = text[0] && text[1],
                                   .value = text[0] && text[1] ? strtoll(text + 1, NULL, 10) : 0};
}

static int64_t line_value(const char *line, const char *end)
{
    bool negative = line + 1 < end && line[1] == '-';
    int64_t value = 0;
    for (const char *p = line + 1 + negative; p < end && *p >= '0' && *p <= '9'; p++)
        value = value * 10 + (*p - '0');
    return negative ? -value : value;
}

static void check_first(const struct reply_expected *expected, struct reply_counts *counts,
                        const char *line, const char *end, int64_t value)
{
    if (line[0] == '-' && counts->errors++ == 0) {
        size_t size = MIN((size_t)(end - line), sizeof counts->first_error - 1);
        memcpy(counts->first_error, line, size);
    }
    bool is_null = line[0] == '_' || ((line[0] == '$' || line[0] == '*') && value < 0);
    counts->nulls += is_null;
    bool fits = line[0] == expected->type && (!expected->has_value || value == expected->value);
    if (expected->type && !fits && !is_null && line[0] != '-') counts->unexpected++;
}

/* A whole header line, without its line end. True if a reply ended with it. */
static bool on_line(struct reply_parser *p, const struct reply_expected *expected,
                    struct reply_counts *counts, const char *line, const char *end)
{
    int64_t value = line_value(line, end);
    if (p->pending == 0) {
        check_first(expected, counts, line, end, value);
        p->pending = 1;
    }
    p->pending--;
    switch (line[0]) {
    case '$':
    case '=':
        if (value < 0) break;
        p->skip = (uint64_t)value + 2;
        return false;
    case '*':
    case '~':
    case '>':
        if (value > 0) p->pending += (uint64_t)value;
        break;
    case '%':
        p->pending += 2 * (uint64_t)value;
        break;
    default:
        break;
    }
    return p->pending == 0;
}

/* Keeps the start of a line whose end has not arrived. */
static void keep_line(struct reply_parser *p, const char *data, size_t size)
{
    size_t n = MIN(size, sizeof p->line - p->line_bytes);
    memcpy(p->line + p->line_bytes, data, n);
    p->line_bytes += (unsigned)n;
}

uint64_t replies_read(struct reply_parser *p, const struct reply_expected *expected,
                      struct reply_counts *counts, const char *data, size_t size)
{
    const char *at = data, *end = data + size;
    uint64_t done = 0;
    while (at < end) {
        if (p->skip > 0) {
            size_t n = MIN(p->skip, (uint64_t)(end - at));
            at += n;
            p->skip -= n;
            if (p->skip == 0 && p->pending == 0) done++;
            continue;
        }
        const char *newline = at;
        while (newline < end && *newline != '\n') newline++;
        if (newline == end) {
            keep_line(p, at, (size_t)(end - at));
            break;
        }
        if (p->line_bytes > 0) {
            keep_line(p, at, (size_t)(newline - at));
            done += on_line(p, expected, counts, p->line, p->line + p->line_bytes);
            p->line_bytes = 0;
        } else {
            done += on_line(p, expected, counts, at, newline);
        }
        at = newline + 1;
    }
    counts->replies += done;
    return done;
}
