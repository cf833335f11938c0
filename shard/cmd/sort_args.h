/* sort_args.h: the options of SORT and SORT_RO, and the patterns that name keys of other values.
 *
 *     BY weight_*         the key "weight_" + element          a string
 *     BY user_*->age      the field "age" of a hash
 *     GET #               the element itself
 *     no asterisk         BY: no sorting; GET: nothing
 *
 * Thread     any; pure functions.
 * Errors     As in args.h.
 */
#pragma once

#include "base/command.h"

struct sort_options {
    bool descending, alphabetic;
    bool keeps_order; /* a BY without asterisk: the order in which the elements stand */
    bool has_by;
    struct bytes by;
    uint32_t get_count;
    uint32_t store;        /* index of the key to store at; 0: none */
    int64_t offset, count; /* of LIMIT; count negative: all */
};

/* ERR_SYNTAX, ERR_NOT_INT. */
MUST_USE enum err sort_options_read(const struct bytes *argv, uint32_t argc, bool can_store,
                                    struct sort_options *out);
/* Goes through the patterns of GET in options that have been read; `*at` starts at 0. */
MUST_USE bool sort_next_get(const struct bytes *argv, uint32_t argc, uint32_t *at,
                            struct bytes *pattern);

/* The part [*first, *first + *selected) of `length` elements that LIMIT selects. */
void sort_limit(const struct sort_options *o, uint64_t length, uint64_t *first, uint64_t *selected);

/* ---- patterns ---- */

enum sort_source { SORT_ELEMENT, SORT_NOTHING, SORT_STRING, SORT_FIELD };

/* key = prefix + element + suffix */
struct sort_pattern {
    enum sort_source source;
    struct bytes prefix, suffix, field;
};

struct sort_pattern sort_pattern_read(struct bytes pattern);
/* Whether it names keys by the elements. */
static inline bool sort_pattern_is_external(struct bytes pattern)
{
    return sort_pattern_read(pattern).source >= SORT_STRING;
}
/* The key for an element, put into `buf`; false when there is no memory. */
MUST_USE bool sort_pattern_key(const struct sort_pattern *p, struct bytes element, struct buf *buf);

/* ---- for the router ---- */

/* The keys of SORT: argv[1], and the last one behind STORE. */
bool sort_each_key(const struct command *command, const struct bytes *argv, uint32_t argc,
                   command_key_fn *fn, void *context);
/* Whether the command is SORT or SORT_RO, and needs keys that its arguments do not name. */
bool sort_has_external_keys(const struct command *command, const struct bytes *argv, uint32_t argc);
