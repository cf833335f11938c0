#include "server/acl.h"

#include <stdlib.h>

#include "server/acl_log.h"
#include "server/acl_rules.h"

/* ---- lists ---- */

bool acl_list_next(const struct acl_list *list, size_t *at, struct acl_item *item,
                   struct bytes *text)
{
    if (*at >= list->items.size) return false;
    memcpy(item, list->items.data + *at, sizeof *item);
    *text = bytes_make(list->items.data + *at + sizeof *item, item->size);
    *at += sizeof *item + item->size;
    return true;
}

/* ---- a user ---- */

static bool try_copy(struct buf *to, const struct buf *from, struct mem *mem)
{
    *to = (struct buf){.mem = mem};
    if (from->size == 0) return true;
    if (!buf_try_reserve(to, from->size)) return false;
    buf_append(to, from->data, from->size);
    return true;
}

static struct acl_selector *selector_at(struct acl_user *u, uint32_t i)
{
    return (struct acl_selector *)(void *)u->selectors.data + i;
}

static void selector_free(struct acl_selector *s)
{
    buf_clear(&s->first_args.items);
    buf_clear(&s->keys.items);
    buf_clear(&s->channels.items);
    buf_clear(&s->rules.items);
}

/* Under the mutex. */
static void user_free(struct acl_user *u)
{
    uint32_t count;
    (void)acl_selectors(u, &count);
    for (uint32_t i = 0; i < count; i++) selector_free(selector_at(u, i));
    buf_clear(&u->selectors);
    buf_clear(&u->passwords);
    buf_clear(&u->name);
    mem_free(&u->home->mem, u, sizeof *u);
}

/* Under the mutex. */
static void user_let_go(struct acl_user *u)
{
    /* Release what this thread did with it; acquire what the others did, before it is freed. */
    if (atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) == 1) user_free(u);
}

/* NULL: no memory. */
static struct acl_user *user_make(struct acl *a, struct bytes name)
{
    struct acl_user *u = mem_try_alloc(&a->mem, sizeof *u);
    if (!u) return NULL;
    *u = (struct acl_user){.home = a, .identity = ++a->identities};
    atomic_init(&u->refs, 1);
    u->name.mem = u->passwords.mem = u->selectors.mem = &a->mem;
    struct buf given = {.data = (char *)(uintptr_t)name.data, .size = name.size};
    if (try_copy(&u->name, &given, &a->mem) && acl_add_selector(u)) return u;
    user_free(u);
    return NULL;
}

static bool selectors_copy(struct acl_user *to, const struct acl_user *from)
{
    struct mem *mem = &to->home->mem;
    uint32_t count;
    const struct acl_selector *selectors = acl_selectors(from, &count);
    bool ok = true;
    if (!buf_try_reserve(&to->selectors, from->selectors.size)) return false;
    for (uint32_t i = 0; i < count; i++) {
        struct acl_selector s = selectors[i];
        ok = try_copy(&s.first_args.items, &selectors[i].first_args.items, mem) && ok;
        ok = try_copy(&s.keys.items, &selectors[i].keys.items, mem) && ok;
        ok = try_copy(&s.channels.items, &selectors[i].channels.items, mem) && ok;
        ok = try_copy(&s.rules.items, &selectors[i].rules.items, mem) && ok;
        buf_append(&to->selectors, &s, sizeof s);
    }
    return ok;
}

/* NULL: no memory. */
static struct acl_user *user_copy(const struct acl_user *from)
{
    struct acl *a = from->home;
    struct acl_user *u = mem_try_alloc(&a->mem, sizeof *u);
    if (!u) return NULL;
    *u = (struct acl_user){.home = a, .flags = from->flags, .identity = from->identity};
    atomic_init(&u->refs, 1);
    u->selectors.mem = u->name.mem = u->passwords.mem = &a->mem;
    if (try_copy(&u->name, &from->name, &a->mem) &&
        try_copy(&u->passwords, &from->passwords, &a->mem) && selectors_copy(u, from))
        return u;
    user_free(u);
    return NULL;
}

void acl_user_ref(struct acl_user *u)
{
    atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
}

void acl_user_unref(struct acl_user *u)
{
    struct acl *a = u->home;
    uint32_t refs = atomic_load_explicit(&u->refs, memory_order_relaxed);
    /* Only what may be the last count needs the mutex. */
    while (refs > 1)
        if (atomic_compare_exchange_weak_explicit(&u->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    pthread_mutex_lock(&a->mutex);
    user_let_go(u);
    pthread_mutex_unlock(&a->mutex);
}

static bool may_do_everything(const struct acl *a, const struct acl_user *u)
{
    uint32_t count;
    const struct acl_selector *s = acl_selectors(u, &count);
    if (!s->all_keys || !s->all_channels) return false;
    for (uint32_t id = 0; id < a->router->route_count; id++)
        if (!acl_has_command(s, (uint16_t)id)) return false;
    return true;
}

/* ---- a set ---- */

/* The place of that name, or the one that it would have. */
static uint32_t place_of(const struct acl_set *set, struct bytes name, bool *is_there)
{
    uint32_t low = 0, high = set->count;
    *is_there = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_compare(buf_view(&set->users[middle]->name), name);
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct acl_user *acl_set_find(const struct acl_set *set, struct bytes name)
{
    bool is_there;
    uint32_t i = place_of(set, name, &is_there);
    return is_there ? set->users[i] : NULL;
}

/* Empty, with room for so many. NULL: no memory. */
static struct acl_set *set_make(struct acl *a, uint32_t count)
{
    size_t bytes = sizeof(struct acl_set) + count * sizeof(struct acl_user *);
    struct acl_set *set = mem_try_alloc(&a->mem, bytes);
    if (!set) return NULL;
    *set = (struct acl_set){.bytes = bytes};
    atomic_init(&set->refs, 1);
    return set;
}

/* Under the mutex. */
static void set_let_go(struct acl *a, struct acl_set *set)
{
    if (atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1) return;
    for (uint32_t i = 0; i < set->count; i++) user_let_go(set->users[i]);
    mem_free(&a->mem, set, set->bytes);
}

/* The count of `u` goes to the set. There is room, and nobody of that name. */
static void set_put(struct acl_set *set, struct acl_user *u)
{
    bool is_there;
    uint32_t i = place_of(set, buf_view(&u->name), &is_there);
    CHECK(!is_there);
    memmove(set->users + i + 1, set->users + i, (set->count - i) * sizeof *set->users);
    set->users[i] = u;
    set->count++;
}

void acl_set_unref(struct acl *a, struct acl_set *set)
{
    pthread_mutex_lock(&a->mutex);
    set_let_go(a, set);
    pthread_mutex_unlock(&a->mutex);
}

struct acl_set *acl_take(struct acl *a)
{
    pthread_mutex_lock(&a->mutex);
    struct acl_set *set = a->set;
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&a->mutex);
    return set;
}

void acl_refresh(struct acl *a, struct acl_set **set, uint64_t *version)
{
    if (likely(*set && acl_version(a) == *version)) return;
    pthread_mutex_lock(&a->mutex);
    if (*set) set_let_go(a, *set);
    *set = a->set;
    atomic_fetch_add_explicit(&a->set->refs, 1, memory_order_relaxed);
    *version = atomic_load_explicit(&a->version, memory_order_relaxed);
    pthread_mutex_unlock(&a->mutex);
}

/* ---- changes, under the mutex ---- */

static void publish(struct acl *a, struct acl_set *set)
{
    if (a->set) set_let_go(a, a->set);
    a->set = set;
    atomic_fetch_add_explicit(&a->version, 1, memory_order_release);
}

/* The present set with `u` in place of whoever has that name. Takes over the count of `u`. False:
 * no memory. */
static bool put_user(struct acl *a, struct acl_user *u)
{
    const struct acl_set *old = a->set;
    struct acl_set *set = set_make(a, old->count + 1);
    if (!set) {
        user_let_go(u);
        return false;
    }
    u->is_unlimited = may_do_everything(a, u);
    for (uint32_t i = 0; i < old->count; i++) {
        if (bytes_equal(buf_view(&old->users[i]->name), buf_view(&u->name))) continue;
        acl_user_ref(old->users[i]);
        set->users[set->count++] = old->users[i];
    }
    set_put(set, u);
    publish(a, set);
    return true;
}

static bool fail_alloc(struct buf *error)
{
    buf_append_text(error, err_text(ERR_ALLOC));
    return false;
}

static bool change_locked(struct acl *a, struct bytes name, const struct bytes *rules,
                          uint32_t count, struct buf *error)
{
    const struct acl_user *old = acl_set_find(a->set, name);
    struct acl_user *u = old ? user_copy(old) : user_make(a, name);
    if (!u) return fail_alloc(error);
    for (uint32_t i = 0; i < count; i++) {
        enum acl_rule_result result = acl_apply(u, rules[i]);
        if (result == ACL_RULE_OK) continue;
        user_let_go(u);
        if (result == ACL_RULE_NO_MEMORY) return fail_alloc(error);
        buf_printf(error, "ERR Error in ACL SETUSER modifier '%.*s': %s",
                   (int)MIN(rules[i].size, (size_t)ACL_QUOTED_BYTES_MAX), rules[i].data,
                   acl_rule_text(result));
        return false;
    }
    return put_user(a, u) || fail_alloc(error);
}

bool acl_change_user(struct acl *a, struct bytes name, const struct bytes *rules, uint32_t count,
                     struct buf *error)
{
    if (!acl_name_is_valid(name)) {
        buf_append_text(error, ACL_NAME_TEXT);
        return false;
    }
    pthread_mutex_lock(&a->mutex);
    bool ok = change_locked(a, name, rules, count, error);
    pthread_mutex_unlock(&a->mutex);
    return ok;
}

static bool is_among(const struct bytes *names, uint32_t count, struct bytes name)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes_equal(names[i], name)) return true;
    return false;
}

bool acl_delete_users(struct acl *a, const struct bytes *names, uint32_t count, uint32_t *deleted,
                      struct buf *error)
{
    if (is_among(names, count, BYTES_LITERAL(ACL_DEFAULT_USER))) {
        buf_append_text(error, "ERR The 'default' user cannot be removed");
        return false;
    }
    pthread_mutex_lock(&a->mutex);
    const struct acl_set *old = a->set;
    struct acl_set *set = set_make(a, old->count);
    for (uint32_t i = 0; set && i < old->count; i++) {
        if (is_among(names, count, buf_view(&old->users[i]->name))) continue;
        acl_user_ref(old->users[i]);
        set->users[set->count++] = old->users[i];
    }
    *deleted = set ? old->count - set->count : 0;
    if (*deleted)
        publish(a, set);
    else if (set)
        set_let_go(a, set);
    pthread_mutex_unlock(&a->mutex);
    return set || fail_alloc(error);
}

static bool set_password_locked(struct acl *a, struct bytes password)
{
    struct acl_user *u = user_copy(acl_set_find(a->set, BYTES_LITERAL(ACL_DEFAULT_USER)));
    if (!u) return false;
    u->passwords.size = 0;
    u->flags &= ~(uint32_t)ACL_USER_NOPASS;
    uint8_t digest[SHA256_BYTES];
    sha256(password, digest);
    if (password.size)
        buf_append(&u->passwords, digest, sizeof digest);
    else
        u->flags |= ACL_USER_NOPASS;
    return put_user(a, u);
}

bool acl_set_password(struct acl *a, struct bytes password)
{
    pthread_mutex_lock(&a->mutex);
    bool ok = set_password_locked(a, password);
    pthread_mutex_unlock(&a->mutex);
    return ok;
}

void acl_set_channels_default(struct acl *a, bool all)
{
    atomic_store_explicit(&a->new_users_have_channels, all, memory_order_relaxed);
}

/* ---- loading ---- */

static struct acl_user **loaded(const struct acl_loading *l, uint32_t *count)
{
    *count = (uint32_t)(l->users.size / sizeof(struct acl_user *));
    return (struct acl_user **)(void *)l->users.data;
}

void acl_load_begin(struct acl_loading *l, struct acl *a)
{
    pthread_mutex_lock(&a->mutex);
    *l = (struct acl_loading){.acl = a, .users = {.mem = &a->mem}};
}

bool acl_load_has(const struct acl_loading *l, struct bytes name)
{
    uint32_t count;
    struct acl_user **users = loaded(l, &count);
    for (uint32_t i = 0; i < count; i++)
        if (bytes_equal(buf_view(&users[i]->name), name)) return true;
    return false;
}

struct acl_user *acl_load_add(struct acl_loading *l, struct bytes name)
{
    struct acl_user *u = user_make(l->acl, name);
    if (!u) return NULL;
    if (!buf_try_reserve(&l->users, sizeof(struct acl_user *))) {
        user_let_go(u);
        return NULL;
    }
    buf_append(&l->users, &u, sizeof(struct acl_user *));
    return u;
}

static bool add_default(struct acl_loading *l)
{
    struct bytes name = BYTES_LITERAL(ACL_DEFAULT_USER);
    if (acl_load_has(l, name)) return true;
    struct acl_user *u = acl_load_add(l, name);
    return u && acl_make_default(u);
}

/* Whether the connections of a user of that name, who was there before, are this one's. */
static bool is_the_same(const struct acl_user *old, const struct acl_user *u)
{
    struct mem *mem = &u->home->mem;
    struct buf before = {.mem = mem}, now = {.mem = mem};
    bool is_same = bytes_equal(buf_view(&u->name), BYTES_LITERAL(ACL_DEFAULT_USER));
    if (!is_same && acl_describe(old, &before) && acl_describe(u, &now))
        is_same = bytes_equal(buf_view(&before), buf_view(&now));
    buf_clear(&before);
    buf_clear(&now);
    return is_same;
}

static void take_identity(const struct acl *a, struct acl_user *u)
{
    const struct acl_user *old = a->set ? acl_set_find(a->set, buf_view(&u->name)) : NULL;
    if (old && is_the_same(old, u)) u->identity = old->identity;
}

bool acl_load_end(struct acl_loading *l, bool ok)
{
    struct acl *a = l->acl;
    ok = ok && add_default(l);
    uint32_t count;
    struct acl_user **users = loaded(l, &count);
    struct acl_set *set = ok ? set_make(a, count) : NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (!set) {
            user_let_go(users[i]);
            continue;
        }
        users[i]->is_unlimited = may_do_everything(a, users[i]);
        take_identity(a, users[i]);
        set_put(set, users[i]);
    }
    if (set) publish(a, set);
    buf_clear(&l->users);
    pthread_mutex_unlock(&a->mutex);
    return set != NULL;
}

/* ---- passwords ---- */

bool acl_user_accepts(const struct acl_user *u, struct bytes password)
{
    uint8_t digest[SHA256_BYTES];
    sha256(password, digest);
    bool is_right = false;
    for (uint32_t i = 0; u && i < acl_password_count(u); i++) {
        const uint8_t *known = (const uint8_t *)u->passwords.data + i * SHA256_BYTES;
        unsigned difference = 0;
        for (unsigned k = 0; k < SHA256_BYTES; k++) difference |= (unsigned)(known[k] ^ digest[k]);
        is_right |= difference == 0;
    }
    return u && u->flags & ACL_USER_ON && (is_right || u->flags & ACL_USER_NOPASS);
}

bool acl_is_open(const struct acl_set *set)
{
    const struct acl_user *u = acl_set_find(set, BYTES_LITERAL(ACL_DEFAULT_USER));
    uint32_t open = ACL_USER_ON | ACL_USER_NOPASS;
    return (u->flags & open) == open;
}

/* ---- life ---- */

void acl_init(struct acl *a, const struct router *router)
{
    CHECK(router->route_count <= ACL_COMMANDS_MAX);
    *a = (struct acl){.router = router};
    pthread_mutex_init(&a->mutex, NULL);
    mem_init(&a->mem, "users");
    dlist_init(&a->log);
    struct acl_loading l;
    acl_load_begin(&l, a);
    CHECK(acl_load_end(&l, true));
}

void acl_deinit(struct acl *a)
{
    acl_log_clear(a);
    set_let_go(a, a->set);
    mem_deinit(&a->mem);
    pthread_mutex_destroy(&a->mutex);
}
