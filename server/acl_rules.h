/* acl_rules.h: the language of ACL SETUSER: one rule changes a user that is being made; and a user
 * as text, which reads back as the same user.
 *
 *     on off nopass resetpass >password <password #digest !digest
 *     ~pattern %R~pattern %W~pattern allkeys resetkeys &pattern allchannels resetchannels
 *     +command -command +command|sub +command|first-argument +@category -@category
 *     allcommands nocommands (rules of another selector) clearselectors reset
 *
 * Thread     any; of users that are not published yet under the mutex of their home.
 * Errors     acl_apply leaves a user behind that is half changed: it must be dropped.
 */
#pragma once

#include "server/acl.h"

#define ACL_QUOTED_BYTES_MAX 4096 /* of a rule, in an error */

enum acl_rule_result {
    ACL_RULE_OK,
    ACL_RULE_SYNTAX,
    ACL_RULE_UNKNOWN,  /* command or category */
    ACL_RULE_ALL_KEYS, /* a pattern behind one that means everything */
    ACL_RULE_ALL_CHANNELS,
    ACL_RULE_HASH,
    ACL_RULE_NO_PASSWORD,
    ACL_RULE_FIRST_ARG, /* of a subcommand */
    ACL_RULE_TOO_MANY,
    ACL_RULE_NO_MEMORY,
};

MUST_USE enum acl_rule_result acl_apply(struct acl_user *u, struct bytes rule);
/* As Redis words it. */
const char *acl_rule_text(enum acl_rule_result result);

/* Without spaces and zero bytes. */
#define ACL_NAME_TEXT "ERR Usernames can't contain spaces or null characters"
bool acl_name_is_valid(struct bytes name);

/* A selector that allows nothing, at the end. False: no memory. */
MUST_USE bool acl_add_selector(struct acl_user *u);
/* What the default user is without configuration: everything, without a password. False: no
 * memory. */
MUST_USE bool acl_make_default(struct acl_user *u);

/* Joins what stands in parentheses: one rule per selector. The joined ones live in `storage`.
 * `joined` has room for `count` rules. -1: the parenthesis that begins in rules[*open] does not
 * end; -2: no memory. Else how many there are. */
MUST_USE int64_t acl_join_selectors(const struct bytes *rules, uint32_t count, struct buf *storage,
                                    struct bytes *joined, uint32_t *open);

/* ---- as text; false: no memory ---- */

/* The line of ACL LIST and of files. */
MUST_USE bool acl_describe(const struct acl_user *u, struct buf *out);
MUST_USE bool acl_describe_commands(const struct acl_selector *s, struct buf *out);
MUST_USE bool acl_describe_keys(const struct acl_selector *s, struct buf *out);
/* With `with_reset` in front of them what makes them all that there are. */
MUST_USE bool acl_describe_channels(const struct acl_selector *s, bool with_reset, struct buf *out);
