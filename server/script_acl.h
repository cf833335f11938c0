/* script_acl.h: what a script may call, when the user who runs it may not do everything.
 *
 * Thread     [net] of the connection makes, tells and frees it; the thread that the script runs on
 *            asks it.
 * Ownership  The net thread's memory; it counts the user, who is the one of the script's begin.
 * Limits     SCRIPT_DENIALS_MAX refusals of a run come into the log.
 */
#pragma once

#include "server/acl_check.h"

#define SCRIPT_DENIALS_MAX 8
#define SCRIPT_DENIED_BYTES_MAX 120

struct session;

struct script_acl {
    struct acl_user *user;
    struct mem *mem;
    unsigned denial_count;
    struct script_denial {
        enum acl_denial reason;
        size_t size;
        char object[SCRIPT_DENIED_BYTES_MAX]; /* cut */
    } denials[SCRIPT_DENIALS_MAX];
};

/* NULL: the user may do everything. */
struct script_acl *script_acl_make(struct acl_user *u, struct mem *mem);
void script_acl_free(struct script_acl *acl);
/* NULL: it may run. Else the error for the script. */
const char *script_acl_refuses(struct script_acl *acl, const struct acl_call *call);
/* Into the log; the session may be NULL. [net] */
void script_acl_tell(struct script_acl *acl, struct session *s);
