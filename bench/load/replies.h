/* replies.h: counts replies in a stream of RESP that is cut anywhere, and looks at each: an error,
 * a null, and what is not of the expected kind are counted apart.
 *
 * Thread     one owner.
 * Limits     Header lines up to REPLY_LINE_BYTES_MAX are understood; longer ones are cut.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLY_LINE_BYTES_MAX 256

struct reply_counts {
    uint64_t replies, errors, nulls, unexpected;
    char first_error[REPLY_LINE_BYTES_MAX];
};

/* What a reply should begin with: a type, and its length or value. */
struct reply_expected {
    char type; /* 0: anything */
    bool has_value;
    int64_t value;
};

struct reply_parser {
    uint64_t skip;    /* bytes of a bulk string, with its line end, that are still to come */
    uint64_t pending; /* elements of the present reply that are still to come; 0: none begun */
    unsigned line_bytes;
    char line[REPLY_LINE_BYTES_MAX];
};

/* "$32", "+", ":", "*10". */
struct reply_expected reply_expected_read(const char *text);
/* Returns how many replies ended in these bytes. */
uint64_t replies_read(struct reply_parser *p, const struct reply_expected *expected,
                      struct reply_counts *counts, const char *data, size_t size);
