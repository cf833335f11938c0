/* acl_log.h: ACL LOG: what was refused, to whom, newest first.
 *
 * Thread     any, under the mutex of struct acl.
 * Ownership  Entries are the acl's.
 * Limits     acllog-max-len entries; objects and names beyond ACL_LOG_TEXT_BYTES_MAX are cut. What
 *            there is no memory for is counted, but not logged.
 * Order      A refusal that resembles an entry of the last minute is added to it, which makes it
 *            the newest.
 */
#pragma once

#include "server/acl.h"

#define ACL_LOG_TEXT_BYTES_MAX 1024
#define ACL_LOG_SAME_MS 60000

enum acl_context { ACL_TOPLEVEL, ACL_MULTI, ACL_LUA };

struct acl_event {
    unsigned reason; /* enum acl_denial, ACL_DENIED_AUTH */
    enum acl_context context;
    struct bytes object; /* the command, key or channel; for AUTH the word that asked */
    struct bytes username;
    struct bytes client; /* its line of CLIENT LIST */
    int64_t now_ms;      /* on the wall clock */
};

/* `max`: acllog-max-len. Also counts it for INFO. */
void acl_log_add(struct acl *a, const struct acl_event *e, uint64_t max);
void acl_log_clear(struct acl *a);
/* At most `max` entries. Writes the reply. */
void acl_log_reply(struct acl *a, uint64_t max, int64_t now_ms, struct reply *out);
