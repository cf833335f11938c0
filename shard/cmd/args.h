/* args.h: reading of options, numbers, deadlines and ranges that several command families share.
 *
 * Thread     [shard]
 * Errors     A function that returns an err writes nothing, and sets its result only on OK. One
 *            whose text depends on the request is named …_or_reply: on false it has written the
 *            error, and the handler returns OK.
 */
#pragma once

#include "base/command.h"
#include "base/text.h"
#include "shard/shard.h"

/* Whether argument `index` is that word, in any case. */
static inline bool arg_is(const struct request *rq, uint32_t index, const char *word)
{
    return bytes_equal_nocase(rq->argv[index], word);
}

/* ERR_NOT_INT. */
MUST_USE static inline enum err arg_i64(const struct request *rq, uint32_t index, int64_t *out)
{
    return text_to_i64(rq->argv[index], out) ? OK : ERR_NOT_INT;
}

/* The number of a database, a 32-bit integer within the configured count. */
MUST_USE bool arg_database_or_reply(const struct shard *sh, const struct request *rq,
                                    uint32_t index, struct reply *out, uint32_t *db);

/* -wrong number of arguments for '<command>' command. Returns OK: the reply is written. */
enum err args_wrong_count(const struct request *rq, struct reply *out);
/* -invalid expire time in '<command>' command. Returns OK. */
enum err args_invalid_expire(const struct request *rq, struct reply *out);

/* ---- keys ---- */

/* The string at the key argv[index], an access as GET is one; empty if there is none. `scratch` has
 * TEXT_I64_BYTES_MAX. */
MUST_USE enum err arg_key_string(struct shard *sh, const struct request *rq, uint32_t index,
                                 char *scratch, struct bytes *out);
/* A live entry of any type, NULL if there is none. Counts a hit or a miss as every read does, but
 * is no access: for EXISTS, TYPE and TTL, which do not make a key look used. */
struct entry *peek_counted(struct shard *sh, const struct key *k);
/* The opposite, as writers look at a key whose value they may leave alone: an access, but neither a
 * hit nor a miss. */
struct entry *peek_touched(struct shard *sh, const struct key *k);

/* ---- points in time ---- */

/* How a client writes one: EX, PX, EXAT, PXAT; EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT. */
enum time_form { TIME_SECONDS, TIME_MS, TIME_AT_SECONDS, TIME_AT_MS };

/* True and the form if argument `index` is EX, PX, EXAT or PXAT. */
MUST_USE bool arg_time_form(const struct request *rq, uint32_t index, enum time_form *form);
/* Milliseconds since 1970, maybe not positive. False when it does not fit. */
MUST_USE bool time_to_deadline(int64_t value, enum time_form form, int64_t now_ms,
                               int64_t *deadline_ms);
/* The deadline that SET and its like accept: positive, and one that fits. */
MUST_USE bool arg_deadline_or_reply(const struct shard *sh, const struct request *rq,
                                    uint32_t index, enum time_form form, struct reply *out,
                                    int64_t *deadline_ms);

/* For how long a blocking command waits: seconds as a decimal number, 0: for ever. Milliseconds,
 * rounded up. ERR_TIMEOUT_NOT_FLOAT, ERR_TIMEOUT_NEGATIVE (as Redis 7.0 calls what is too large,
 * too). [any] */
MUST_USE enum err arg_timeout(struct bytes text, int64_t *timeout_ms);

/* ---- ranges of indices ---- */

/* Redis's [start, end], both inclusive, negative from the end, over `count` elements: LRANGE,
 * LTRIM, ZRANGE. False if it selects nothing. */
MUST_USE bool range_clip(int64_t start, int64_t end, uint64_t count, uint64_t *first,
                         uint64_t *selected);

/* ---- options of SCAN, HSCAN, SSCAN and ZSCAN ---- */

struct scan_options {
    uint64_t count;
    bool has_pattern; /* false: everything matches */
    bool has_type;
    bool no_values; /* NOVALUES: of HSCAN */
    struct bytes pattern;
    enum type type; /* TYPE_COUNT: a name that no type has, so nothing matches */
};

/* Digits as C's strtoul takes them, so "" and "+0" are 0. ERR_INVALID_CURSOR. */
MUST_USE enum err arg_scan_cursor(const struct request *rq, uint32_t index, uint64_t *cursor);
/* What is scanned: SCAN has TYPE, HSCAN has NOVALUES. */
enum scan_form { SCAN_ELEMENTS, SCAN_KEYS, SCAN_FIELDS };
/* Options from argument `first` on. */
MUST_USE enum err args_scan_options(const struct request *rq, uint32_t first, enum scan_form form,
                                    struct scan_options *out);
static inline bool scan_options_match(const struct scan_options *o, struct bytes name)
{
    return !o->has_pattern || text_glob_match(o->pattern, name, false);
}
