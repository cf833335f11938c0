/* text.c: numbers in and out, glob patterns, words of a line.
 *
 * Integers have their own code, as they are parsed for every INCR. Floats take a short exact way
 * where there is one and leave the rest to the C library, whose conversions are correctly rounded;
 * the program never sets a locale, so the decimal point is a point.
 */
#include "base/text.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define I64_MIN_MAGNITUDE ((uint64_t)1 << 63)
#define U64_DIGITS_MAX 20
#define MEMORY_DIGITS_MAX 127 /* Redis copies them into 128 bytes */
/* Integers up to here are exact in a double, and so is their text in 17 digits. */
#define DOUBLE_INTEGER_MAX 9007199254740992.0
#define DOUBLE_EXACT_DIGITS_MAX 15
#define FLOAT_TEXT_BYTES_MAX (5 * 1024 - 1)

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int hex_value(char c)
{
    if (is_digit(c)) return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- integers ---- */

bool text_to_u64(struct bytes text, uint64_t *out)
{
    if (text.size == 0 || text.size > U64_DIGITS_MAX) return false;
    if (text.data[0] == '0' && text.size > 1) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i])) return false;
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        /* Nineteen digits always fit. */
        if (i < U64_DIGITS_MAX - 1) {
            value = value * 10 + digit;
            continue;
        }
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, digit, &value)) return false;
    }
    *out = value;
    return true;
}

bool text_to_i64(struct bytes text, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t magnitude;
    if (!text_to_u64(bytes_make(text.data + negative, text.size - negative), &magnitude))
        return false;
    if (!negative) {
        if (magnitude >= I64_MIN_MAGNITUDE) return false;
        *out = (int64_t)magnitude;
        return true;
    }
    if (magnitude == 0 || magnitude > I64_MIN_MAGNITUDE) return false;
    *out = (int64_t)(0 - magnitude);
    return true;
}

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

/* Of a number below 100: one digit or two. */
static inline size_t put_short(char *out, uint64_t value)
{
    if (value < 10) {
        *out = (char)('0' + value);
        return 1;
    }
    memcpy(out, &digit_pairs[2 * value], 2);
    return 2;
}

size_t text_from_u64(char *out, uint64_t value)
{
    uint64_t rest = value;
    size_t pairs = 0;
    for (; rest >= 100; rest /= 100) pairs++;
    if (pairs >= U64_DIGITS_MAX / 2) __builtin_unreachable(); /* Callers' bounds are provable. */
    size_t size = put_short(out, rest) + 2 * pairs;
    for (char *p = out + size; pairs > 0; pairs--, value /= 100) {
        p -= 2;
        memcpy(p, &digit_pairs[2 * (value % 100)], 2);
    }
    return size;
}

size_t text_from_i64(char *out, int64_t value)
{
    if (value >= 0) return text_from_u64(out, (uint64_t)value);
    *out = '-';
    return 1 + text_from_u64(out + 1, 0 - (uint64_t)value);
}

bool text_to_memory(struct bytes text, uint64_t *bytes_out)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},         {"b", 1},          {"k", 1000},     {"kb", 1 << 10}, {"m", 1000 * 1000},
        {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30},
    };
    uint64_t value = 0;
    size_t i = 0;
    for (; i < text.size && is_digit(text.data[i]); i++) {
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) return false;
    }
    if (i > MEMORY_DIGITS_MAX) return false;
    struct bytes unit = bytes_make(text.data + i, text.size - i);
    for (size_t u = 0; u < ARRAY_LEN(units); u++) {
        if (!bytes_equal_nocase(unit, units[u].name)) continue;
        if (__builtin_mul_overflow(value, units[u].bytes, &value)) return false;
        *bytes_out = value;
        return true;
    }
    return false;
}

/* ---- floats ---- */

/* "12", "-0.5": up to 15 digits without exponent. Digits and power of ten are exact doubles then,
 * so that one division rounds once and the result is the right one. */
static bool short_decimal(struct bytes text, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t mantissa = 0;
    size_t digits = 0, fraction = 0;
    bool point = false;
    if (text.size > DOUBLE_EXACT_DIGITS_MAX + 2) return false;
    for (size_t i = negative; i < text.size; i++) {
        char c = text.data[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (!is_digit(c)) return false;
        mantissa = mantissa * 10 + (uint64_t)(c - '0');
        digits++;
        fraction += point;
    }
    if (digits == 0 || digits > DOUBLE_EXACT_DIGITS_MAX) return false;
    double value = (double)mantissa / powers[fraction];
    *out = negative ? -value : value;
    return true;
}

/* Copies what strtod may read: not empty, no space in front, no NUL inside. */
static bool float_text(struct bytes text, char copy[FLOAT_TEXT_BYTES_MAX + 1])
{
    if (text.size == 0 || text.size > FLOAT_TEXT_BYTES_MAX) return false;
    if (is_space(text.data[0]) || memchr(text.data, '\0', text.size)) return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return true;
}

/* True if the text names infinity, as opposed to a number that is too large. */
static bool says_infinity(const char *text)
{
    text += *text == '-' || *text == '+';
    return lower(*text) == 'i';
}

/* True if the text names zero, as opposed to a number that is too small. */
static bool says_zero(const char *text)
{
    text += *text == '-' || *text == '+';
    bool hex = text[0] == '0' && lower(text[1]) == 'x';
    for (text += hex ? 2 : 0; *text; text++) {
        if (lower(*text) == (hex ? 'p' : 'e')) return true;
        if (*text != '0' && *text != '.') return false;
    }
    return true;
}

bool text_to_double(struct bytes text, double *out)
{
    if (short_decimal(text, out)) return true;
    char copy[FLOAT_TEXT_BYTES_MAX + 1], *end;
    if (!float_text(text, copy)) return false;
    double value = strtod(copy, &end);
    if (end != copy + text.size || isnan(value)) return false;
    if (isinf(value) && !says_infinity(copy)) return false;
    if (value == 0 && !says_zero(copy)) return false;
    *out = value;
    return true;
}

bool text_to_loose_double(struct bytes text, double *out)
{
    if (short_decimal(text, out)) return true;
    char copy[FLOAT_TEXT_BYTES_MAX + 1], *end;
    if (text.size > 0 && memchr(text.data, '\0', text.size)) {
        text.size = strnlen(text.data, text.size);
    }
    if (text.size > FLOAT_TEXT_BYTES_MAX) return false;
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    double value = strtod(copy, &end);
    if (*end != '\0' || isnan(value)) return false;
    const char *number = copy;
    while (is_space(*number)) number++;
    if (isinf(value) && !says_infinity(number)) return false;
    if (fabs(value) < DBL_MIN && !says_zero(number)) return false;
    *out = value;
    return true;
}

bool text_to_long_double(struct bytes text, long double *out)
{
    char copy[FLOAT_TEXT_BYTES_MAX + 1], *end;
    if (!float_text(text, copy)) return false;
    long double value = strtold(copy, &end);
    if (end != copy + text.size || isnan(value)) return false;
    if (isinf(value) && !says_infinity(copy)) return false;
    if (value == 0 && !says_zero(copy)) return false;
    *out = value;
    return true;
}

static size_t put_text(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return size;
}

size_t text_from_double(char *out, double value)
{
    if (isnan(value)) return put_text(out, "nan");
    if (isinf(value)) return put_text(out, value > 0 ? "inf" : "-inf");
    if (value == 0) return put_text(out, signbit(value) ? "-0" : "0");
    if (fabs(value) <= DOUBLE_INTEGER_MAX && value == (double)(int64_t)value) {
        return text_from_i64(out, (int64_t)value);
    }
    char text[40];
    snprintf(text, sizeof(text), "%.17g", value);
    return put_text(out, text);
}

size_t text_from_long_double(char *out, long double value)
{
    if (isnan(value)) return put_text(out, "nan");
    if (isinf(value)) return put_text(out, value > 0 ? "inf" : "-inf");
    /* Fixed notation has a point, so the zeros that go are those of the fraction. */
    int printed = snprintf(out, TEXT_LONG_DOUBLE_BYTES_MAX, "%.17Lf", value);
    CHECK(printed > 0 && printed < TEXT_LONG_DOUBLE_BYTES_MAX);
    size_t size = (size_t)printed;
    while (out[size - 1] == '0') size--;
    if (out[size - 1] == '.') size--;
    if (size == 2 && out[0] == '-' && out[1] == '0') return put_text(out, "0");
    return size;
}

/* ---- glob ---- */

/* Every element of a pattern but '*' matches exactly one character, so it is enough to remember the
 * last '*': if an earlier one could be stretched to make a match, so could the last. Time is at
 * most pattern times text. */

struct glob {
    const char *at, *end;
    bool ignore_case;
};

static inline char folded(const struct glob *g, char c)
{
    return g->ignore_case ? lower(c) : c;
}

/* One range, escape or character of a class. Characters are compared as signed ones, the ends of a
 * range are put in order before case is folded, and an escaped character keeps its case: all as
 * Redis does. */
static bool glob_class_item(struct glob *g, char c)
{
    size_t left = (size_t)(g->end - g->at);
    signed char first = (signed char)g->at[0];
    if (first == '\\' && left >= 2) {
        g->at += 2;
        return g->at[-1] == c;
    }
    if (left >= 3 && g->at[1] == '-') {
        signed char last = (signed char)g->at[2];
        g->at += 3;
        signed char low = (signed char)folded(g, (char)MIN(first, last));
        signed char high = (signed char)folded(g, (char)MAX(first, last));
        signed char wanted = (signed char)folded(g, c);
        return wanted >= low && wanted <= high;
    }
    g->at++;
    return folded(g, (char)first) == folded(g, c);
}

/* After the '['. A class that is not closed ends with the pattern. */
static bool glob_class(struct glob *g, char c)
{
    bool inverted = g->at < g->end && *g->at == '^';
    bool found = false;
    for (g->at += inverted; g->at < g->end && *g->at != ']';) found |= glob_class_item(g, c);
    if (g->at < g->end) g->at++;
    return found != inverted;
}

/* Steps over one element and says if it matches c. */
static bool glob_element(struct glob *g, char c)
{
    char first = *g->at++;
    if (first == '?') return true;
    if (first == '[') return glob_class(g, c);
    if (first == '\\' && g->at < g->end) first = *g->at++;
    return folded(g, first) == folded(g, c);
}

bool text_glob_match(struct bytes pattern, struct bytes text, bool ignore_case)
{
    if (text.size == 0) return pattern.size == 0;
    struct glob g = {pattern.data, pattern.data + pattern.size, ignore_case};
    const char *t = text.data, *text_end = text.data + text.size;
    const char *after_star = NULL,
               *star_text = NULL; /* where to go on when the star takes one more */
    while (t < text_end) {
        if (g.at < g.end && *g.at == '*') {
            after_star = ++g.at;
            star_text = t;
            if (g.at == g.end) return true;
        } else if (g.at < g.end && glob_element(&g, *t)) {
            t++;
        } else {
            if (!after_star) return false;
            g.at = after_star;
            t = ++star_text;
        }
    }
    while (g.at < g.end && *g.at == '*') g.at++;
    return g.at == g.end;
}

/* ---- words ---- */

struct splitter {
    const char *at, *end;
    char *out;
};

/* After a backslash in double quotes. */
static char unescape(struct splitter *s)
{
    if (s->end - s->at >= 3 && *s->at == 'x') {
        int high = hex_value(s->at[1]), low = hex_value(s->at[2]);
        if (high >= 0 && low >= 0) {
            s->at += 3;
            return (char)(high << 4 | low);
        }
    }
    char c = *s->at++;
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* After the opening quote. The closing one must end the word. */
static bool split_quoted(struct splitter *s, char quote)
{
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == quote) return s->at == s->end || is_space(*s->at);
        if (c == '\\' && s->at < s->end) {
            if (quote == '"') {
                c = unescape(s);
            } else if (*s->at == '\'') {
                c = *s->at++;
            }
        }
        *s->out++ = c;
    }
    return false;
}

/* One word; false if its quotes are unbalanced. \v and \f part words only after a quote: as Redis
 * has it. */
static bool split_word(struct splitter *s)
{
    while (s->at < s->end) {
        char c = *s->at;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') return true;
        s->at++;
        if (c == '"' || c == '\'') return split_quoted(s, c);
        *s->out++ = c;
    }
    return true;
}

int text_split_words(struct bytes line, struct buf *storage, struct bytes *words, int max)
{
    /* A NUL ends the line. Words are never longer than their text, so the storage does not move
     * under them. */
    const char *nul = line.size ? memchr(line.data, '\0', line.size) : NULL;
    size_t size = nul ? (size_t)(nul - line.data) : line.size;
    struct splitter s = {line.data, line.data + size, buf_reserve(storage, size)};
    int count = 0;
    for (;; count++) {
        while (s.at < s.end && is_space(*s.at)) s.at++;
        if (s.at == s.end) break;
        char *word = s.out;
        if (!split_word(&s)) return -1;
        if (count < max) words[count] = bytes_make(word, (size_t)(s.out - word));
    }
    storage->size = (size_t)(s.out - storage->data);
    return count;
}
