#include "server/script_acl.h"

#include "server/session_acl.h"

struct script_acl *script_acl_make(struct acl_user *u, struct mem *mem)
{
    if (likely(!u || u->is_unlimited)) return NULL;
    struct script_acl *acl = mem_alloc(mem, sizeof *acl);
    acl->user = u;
    acl->mem = mem;
    acl->denial_count = 0;
    acl_user_ref(u);
    return acl;
}

void script_acl_free(struct script_acl *acl)
{
    if (likely(!acl)) return;
    acl_user_unref(acl->user);
    mem_free(acl->mem, acl, sizeof *acl);
}

static void note(struct script_acl *acl, enum acl_denial reason, struct bytes object)
{
    if (acl->denial_count == SCRIPT_DENIALS_MAX) return;
    struct script_denial *d = &acl->denials[acl->denial_count++];
    d->reason = reason;
    d->size = MIN(object.size, sizeof d->object);
    if (d->size) memcpy(d->object, object.data, d->size);
}

const char *script_acl_refuses(struct script_acl *acl, const struct acl_call *call)
{
    static const char *const texts[] = {
        [ACL_DENIED_COMMAND] =
            "ERR The user executing the script can't run this command or subcommand",
        [ACL_DENIED_KEY] = "ERR The user executing the script can't access at least one of the "
                           "keys mentioned in the command arguments",
        [ACL_DENIED_CHANNEL] = "ERR The user executing the script can't publish to the channel "
                               "mentioned in the command",
    };
    uint32_t index;
    const char *option;
    enum acl_denial denial = acl_check(acl->user, call, &index);
    if (denial == ACL_ALLOWED) {
        if (acl_check_sort(acl->user, call, &option)) return NULL;
        return option[0] == 'B'
                   ? "ERR BY option of SORT denied due to insufficient ACL permissions."
                   : "ERR GET option of SORT denied due to insufficient ACL permissions.";
    }
    note(acl, denial, index ? call->argv[index] : bytes_of(call->route->full_name));
    return texts[denial];
}

void script_acl_tell(struct script_acl *acl, struct session *s)
{
    if (likely(!acl)) return;
    for (unsigned i = 0; s && i < acl->denial_count; i++)
        session_acl_log(s, acl->user, acl->denials[i].reason, ACL_LUA,
                        bytes_make(acl->denials[i].object, acl->denials[i].size));
    acl->denial_count = 0;
}
