/* text.h: strict parsing and printing of numbers, and glob patterns: exactly as Redis reads and
 * writes them.
 *
 * Thread     any; pure functions.
 * Errors     Parsers return false and leave *out alone.
 */
#pragma once

#include "base/bytes.h"

#define TEXT_I64_BYTES_MAX 20     /* "-9223372036854775808" */
#define TEXT_DOUBLE_BYTES_MAX 400 /* the longest that any printer here makes */

/* Whole string, no leading '+', spaces or zeros: what Redis calls an integer. */
MUST_USE bool text_to_i64(struct bytes text, int64_t *out);
MUST_USE bool text_to_u64(struct bytes text, uint64_t *out);
/* A finite or infinite number, as in ZADD and INCRBYFLOAT arguments: whole string of at most 5,119
 * bytes, no NaN, no spaces, and neither too large nor so small that it would become 0. Hexadecimal
 * is allowed. */
MUST_USE bool text_to_double(struct bytes text, double *out);
/* What SORT takes for a number: as C's strtod reads, up to the end or a zero byte. Spaces may stand
 * in front, nothing is 0, and what is too large or too small for a normal double is none. */
MUST_USE bool text_to_loose_double(struct bytes text, double *out);
MUST_USE bool text_to_long_double(struct bytes text, long double *out);
/* "100", "1k", "4gb", "10MB" …: as sizes in redis.conf; no digits are 0. False on overflow, where
 * Redis wraps. */
MUST_USE bool text_to_memory(struct bytes text, uint64_t *bytes_out);

/* Printers write to `out` (big enough by the constants above), no NUL, and return the length. */
size_t text_from_i64(char *out, int64_t value);
size_t text_from_u64(char *out, uint64_t value);
/* In the form of Redis's RESP3 doubles and scores: %.17g, which reads back the same, or "inf",
 * "-inf", "nan". */
size_t text_from_double(char *out, double value);
/* As INCRBYFLOAT prints: %.17Lf without trailing zeros. `out` holds TEXT_LONG_DOUBLE_BYTES_MAX. */
#define TEXT_LONG_DOUBLE_BYTES_MAX (5 * 1024)
size_t text_from_long_double(char *out, long double value);

/* Redis's glob: * ? [a-z] [^x] and \ escapes; at most O(pattern * text). As in Redis only the empty
 * pattern matches an empty text: where a lone "*" means everything (KEYS, SCAN), the caller asks
 * for that first. */
bool text_glob_match(struct bytes pattern, struct bytes text, bool ignore_case);

/* Splits a line of configuration or of an inline command into words, with Redis's quoting rules
 * ("\x41", 'it\'s'). Words are appended to `storage`, which must stay as it is while they are in
 * use; the first `max` are put in `words`. Returns the count of all, or -1 for unbalanced quotes.
 * For lines of bounded length: aborts when there is no memory. */
int text_split_words(struct bytes line, struct buf *storage, struct bytes *words, int max);
