/* acl_check.h: whether a user may run a command with its arguments.
 *
 * Thread     any; pure functions of what does not change.
 * Source     A command is allowed if one selector allows it together with all its keys and
 *            channels. Which of several refusals is told: the one of the selector that got
 * furthest.
 */
#pragma once

#include "server/acl.h"

struct acl_call {
    const struct route *route;
    const struct bytes *argv;
    uint32_t argc;
};

/* *index: the argument that is refused; 0: the command itself. */
MUST_USE enum acl_denial acl_check(const struct acl_user *u, const struct acl_call *call,
                                   uint32_t *index);
#define ACL_SORT_TEXT "ERR %s option of SORT denied due to insufficient ACL permissions."

/* Whether SORT's patterns may read keys that no argument names. Else *option is "BY" or "GET". */
MUST_USE bool acl_check_sort(const struct acl_user *u, const struct acl_call *call,
                             const char **option);
/* Whether the user may subscribe to that. A pattern must be one of the user's own. */
MUST_USE bool acl_may_hear(const struct acl_user *u, struct bytes channel, bool is_pattern);
