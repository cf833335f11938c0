/* acl.h: the users of the server: who may log in, and what each may do.
 *
 *     rules ─▶ acl_apply to a copy ─▶ a new set of users ─▶ every thread, at its next request
 *
 * A set of users never changes, nor does a user in it. Whoever changes something publishes another
 * set, so permissions are looked up without a lock, and lists and files are of one moment. A
 * connection whose user may do everything is not asked at all (session_acl.h).
 *
 * Thread     any. Changes, and taking a set, go through a mutex; acl_refresh takes it only when
 *            there is a newer set.
 * Ownership  Sets and users are counted. Their memory is the home's, under its mutex.
 * Errors     Texts for the client, in `error`; then nothing has changed.
 * Order      What ACL SETUSER has answered holds from then on for every request of every
 *            connection.
 * Source     The ACL of Redis 7. Rules on commands are shown as they were given, as from 7.2 on.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/dlist.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "server/router.h"

#define ACL_COMMANDS_MAX 1024
#define ACL_DEFAULT_USER "default"

enum acl_user_flags {
    ACL_USER_ON = 1 << 0,
    ACL_USER_NOPASS = 1 << 1,
    ACL_USER_SKIP_SANITIZE = 1 << 2,
    ACL_USER_SANITIZE = 1 << 3,
};

/* Of a pattern of keys. */
enum acl_key_access { ACL_KEY_READ = 1 << 0, ACL_KEY_WRITE = 1 << 1 };
#define ACL_KEY_ALL (ACL_KEY_READ | ACL_KEY_WRITE)

/* A text in a list: the head, then its bytes. */
struct acl_item {
    uint32_t size;
    uint16_t command; /* route id; of first arguments */
    uint8_t flags;    /* enum acl_key_access; of rules: it allows */
};
struct acl_list {
    struct buf items;
};

/* What is allowed together: a command, its keys and its channels must fit the same selector. */
struct acl_selector {
    bool all_keys, all_channels;
    bool begins_with_all;                     /* +@all; the rules come on top of that */
    uint64_t commands[ACL_COMMANDS_MAX / 64]; /* by route id */
    struct acl_list first_args;               /* of commands that are allowed with these only */
    struct acl_list keys, channels;
    struct acl_list rules; /* on commands, as they are shown: "get", "@read", "select|0" */
};

struct acl_user {
    _Atomic uint32_t refs;
    struct acl *home;
    struct buf name;
    uint64_t identity; /* as long as its connections stay: changes keep it, others have another */
    uint32_t flags;    /* enum acl_user_flags */
    bool is_unlimited; /* every command, key and channel */
    struct buf passwords; /* digests, one behind the other */
    struct buf selectors; /* struct acl_selector; the first is the user's own */
};

struct acl_set {
    _Atomic uint32_t refs;
    uint32_t count;
    size_t bytes;             /* of this allocation */
    struct acl_user *users[]; /* by name */
};

enum acl_denial { ACL_ALLOWED, ACL_DENIED_COMMAND, ACL_DENIED_KEY, ACL_DENIED_CHANNEL };
#define ACL_DENIED_AUTH (ACL_DENIED_CHANNEL + 1) /* for the log and the counters */
#define ACL_REASONS (ACL_DENIED_AUTH + 1)

struct acl {
    pthread_mutex_t mutex;
    struct mem mem; /* under the mutex, as is what follows */
    const struct router *router;
    struct acl_set *set;
    struct dlist log; /* newest first: acl_log.h */
    uint64_t log_count, log_ids, identities;
    /* ---- any thread ---- */
    _Atomic bool new_users_have_channels; /* acl-pubsub-default */
    _Atomic uint64_t version;             /* grows with each change */
    _Atomic uint64_t denials[ACL_REASONS];
};

/* With the default user alone, who may do everything. */
void acl_init(struct acl *a, const struct router *router);
void acl_deinit(struct acl *a);

/* ---- changes ---- */

/* ACL SETUSER: makes the user if there is none. */
MUST_USE bool acl_change_user(struct acl *a, struct bytes name, const struct bytes *rules,
                              uint32_t count, struct buf *error);
/* ACL DELUSER. False: no memory, or the default user is among them. */
MUST_USE bool acl_delete_users(struct acl *a, const struct bytes *names, uint32_t count,
                               uint32_t *deleted, struct buf *error);
/* requirepass: the one password of the default user; empty: none is needed. False: no memory. */
MUST_USE bool acl_set_password(struct acl *a, struct bytes password);
/* Whether new users, and those that are reset, have all channels. */
void acl_set_channels_default(struct acl *a, bool all);

/* Users made outside, before they become the set, all or none. `add` returns false when there is no
 * memory. Call between acl_load_begin and acl_load_end, which hold the mutex. */
struct acl_loading {
    struct acl *acl;
    struct buf users; /* struct acl_user * */
};
void acl_load_begin(struct acl_loading *l, struct acl *a);
/* A new user to apply rules to; the default user begins as any other. NULL: no memory. */
MUST_USE struct acl_user *acl_load_add(struct acl_loading *l, struct bytes name);
bool acl_load_has(const struct acl_loading *l, struct bytes name);
/* Publishes them if `ok`, with a default user if there is none. One that is as it was before keeps
 * its connections, and so does the default user. False: no memory, or not ok. */
MUST_USE bool acl_load_end(struct acl_loading *l, bool ok);

/* ---- reading ---- */

/* The present set, counted for the caller. */
struct acl_set *acl_take(struct acl *a);
void acl_set_unref(struct acl *a, struct acl_set *set);
/* Exchanges a set that is not the present one any more. */
void acl_refresh(struct acl *a, struct acl_set **set, uint64_t *version);
static inline uint64_t acl_version(const struct acl *a)
{
    /* Pairs with the release when a set is published. */
    return atomic_load_explicit(&a->version, memory_order_acquire);
}

/* NULL: not there. */
struct acl_user *acl_set_find(const struct acl_set *set, struct bytes name);
void acl_user_ref(struct acl_user *u);
void acl_user_unref(struct acl_user *u);

/* Whether the user is on and that is a password of it; in a time that does not tell how much of it
 * was right. NULL: nobody, which takes as long. */
MUST_USE bool acl_user_accepts(const struct acl_user *u, struct bytes password);
/* Whoever connects is the default user without a password. */
bool acl_is_open(const struct acl_set *set);

/* ---- parts ---- */

static inline const struct acl_selector *acl_selectors(const struct acl_user *u, uint32_t *count)
{
    *count = (uint32_t)(u->selectors.size / sizeof(struct acl_selector));
    return (const struct acl_selector *)(const void *)u->selectors.data;
}
static inline uint32_t acl_password_count(const struct acl_user *u)
{
    return (uint32_t)(u->passwords.size / SHA256_BYTES);
}
static inline bool acl_has_command(const struct acl_selector *s, uint16_t id)
{
    return s->commands[id / 64] >> (id % 64) & 1;
}
/* Goes through a list; `*at` starts at 0. */
MUST_USE bool acl_list_next(const struct acl_list *list, size_t *at, struct acl_item *item,
                            struct bytes *text);
