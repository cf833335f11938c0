#include "server/acl_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "server/command_info.h"
#include "server/config_value.h"

/* Searching them is linear. */
#define LIST_ITEMS_MAX 8192

/* ---- lists ---- */

static bool list_find(const struct acl_list *list, uint16_t command, struct bytes text,
                      size_t *start)
{
    struct acl_item item;
    struct bytes found;
    for (size_t at = 0;; *start = at) {
        *start = at;
        if (!acl_list_next(list, &at, &item, &found)) return false;
        if (item.command == command && bytes_equal(found, text)) return true;
    }
}

static void list_remove(struct acl_list *list, size_t start)
{
    struct acl_item item;
    memcpy(&item, list->items.data + start, sizeof item);
    size_t size = sizeof item + item.size, end = start + size;
    memmove(list->items.data + start, list->items.data + end, list->items.size - end);
    list->items.size -= size;
}

static enum acl_rule_result list_add(struct acl_list *list, struct acl_item item, struct bytes text)
{
    struct acl_item other;
    struct bytes found;
    size_t count = 0, at = 0;
    while (acl_list_next(list, &at, &other, &found)) count++;
    if (count >= LIST_ITEMS_MAX) return ACL_RULE_TOO_MANY;
    if (text.size > UINT32_MAX || !buf_try_reserve(&list->items, sizeof item + text.size))
        return ACL_RULE_NO_MEMORY;
    item.size = (uint32_t)text.size;
    buf_append(&list->items, &item, sizeof item);
    if (text.size) buf_append(&list->items, text.data, text.size);
    return ACL_RULE_OK;
}

/* In a file of users white space ends a rule or a line. */
static bool has_space(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (isspace((unsigned char)text.data[i]) || text.data[i] == '\0') return true;
    return false;
}

static struct bytes from(struct bytes text, size_t start)
{
    return bytes_make(text.data + start, text.size - start);
}

/* ---- keys and channels ---- */

static enum acl_rule_result add_key(struct acl_selector *s, struct bytes pattern, uint8_t access)
{
    size_t start;
    struct acl_item item = {.flags = access};
    if (has_space(pattern)) return ACL_RULE_SYNTAX;
    if (!list_find(&s->keys, 0, pattern, &start)) return list_add(&s->keys, item, pattern);
    memcpy(&item, s->keys.items.data + start, sizeof item);
    item.flags |= access;
    memcpy(s->keys.items.data + start, &item, sizeof item);
    return ACL_RULE_OK;
}

static enum acl_rule_result set_all_keys(struct acl_selector *s)
{
    s->keys.items.size = 0;
    s->all_keys = true;
    return ACL_RULE_OK;
}

/* ~pattern, %R~pattern … */
static enum acl_rule_result apply_key(struct acl_selector *s, struct bytes rule)
{
    if (bytes_equal(rule, BYTES_LITERAL("~*"))) return set_all_keys(s);
    if (s->all_keys) return ACL_RULE_ALL_KEYS;
    uint8_t access = rule.data[0] == '~' ? ACL_KEY_ALL : 0;
    size_t at = 1;
    for (; rule.data[0] == '%' && at < rule.size && rule.data[at] != '~'; at++) {
        char c = (char)toupper((unsigned char)rule.data[at]);
        if (c != 'R' && c != 'W') return ACL_RULE_SYNTAX;
        access |= c == 'R' ? ACL_KEY_READ : ACL_KEY_WRITE;
    }
    if (rule.data[0] == '%' && at < rule.size) at++;
    if (!access) return ACL_RULE_SYNTAX;
    return add_key(s, from(rule, at), access);
}

static enum acl_rule_result set_all_channels(struct acl_selector *s)
{
    s->channels.items.size = 0;
    s->all_channels = true;
    return ACL_RULE_OK;
}

static enum acl_rule_result apply_channel(struct acl_selector *s, struct bytes rule)
{
    size_t start;
    struct bytes pattern = from(rule, 1);
    if (bytes_equal(pattern, BYTES_LITERAL("*"))) return set_all_channels(s);
    if (s->all_channels) return ACL_RULE_ALL_CHANNELS;
    if (has_space(pattern)) return ACL_RULE_SYNTAX;
    if (list_find(&s->channels, 0, pattern, &start)) return ACL_RULE_OK;
    return list_add(&s->channels, (struct acl_item){0}, pattern);
}

/* ---- commands ---- */

/* What a rule on commands is about. */
struct subject {
    const struct route *route; /* NULL: a category */
    uint32_t category;
    struct bytes first_arg; /* of the command; no data: none */
    char name[128];         /* as it is shown, without the first argument */
};

/* By the name in its row, whatever rename-command made of it. */
static const struct route *find_row(const struct router *r, struct bytes name)
{
    const char *bar = memchr(name.data, '|', name.size);
    struct bytes top = bytes_make(name.data, bar ? (size_t)(bar - name.data) : name.size);
    for (uint32_t i = 0; i < r->top_count; i++) {
        const struct route *route = &r->routes[i];
        if (!bytes_equal_nocase(top, route->command->name)) continue;
        for (uint32_t k = 0; bar && k < route->child_count; k++)
            if (bytes_equal_nocase(from(name, top.size + 1), route->children[k].command->name))
                return &route->children[k];
        return bar ? NULL : route;
    }
    return NULL;
}

static void name_row(struct subject *about)
{
    const struct route *route = about->route;
    if (route->parent)
        snprintf(about->name, sizeof about->name, "%s|%s", route->parent->command->name,
                 route->command->name);
    else
        snprintf(about->name, sizeof about->name, "%s", route->command->name);
}

/* A command, a subcommand, or for what is allowed a command with its first argument. */
static enum acl_rule_result read_command(const struct router *r, struct bytes name, bool allow,
                                         struct subject *about)
{
    *about = (struct subject){.route = find_row(r, name)};
    bool is_subcommand = about->route && about->route->parent;
    if (is_subcommand && !allow && route_answers_unknown(about->route->parent))
        return ACL_RULE_UNKNOWN;
    if (about->route) {
        name_row(about);
        return ACL_RULE_OK;
    }
    const char *bar = memrchr(name.data, '|', name.size);
    if (!bar || !allow) return ACL_RULE_UNKNOWN;
    about->first_arg = from(name, (size_t)(bar - name.data) + 1);
    about->route = find_row(r, bytes_make(name.data, (size_t)(bar - name.data)));
    if (!about->route) return ACL_RULE_UNKNOWN;
    if (about->route->parent) return ACL_RULE_FIRST_ARG;
    if (about->first_arg.size == 0 || has_space(about->first_arg)) return ACL_RULE_SYNTAX;
    if (about->route->child_count && !route_answers_unknown(about->route)) return ACL_RULE_UNKNOWN;
    name_row(about);
    return ACL_RULE_OK;
}

static enum acl_rule_result read_subject(const struct router *r, struct bytes text, bool allow,
                                         struct subject *about)
{
    if (text.size == 0) return ACL_RULE_UNKNOWN;
    if (text.data[0] != '@') return read_command(r, text, allow, about);
    struct bytes name = from(text, 1);
    *about = (struct subject){.category = acl_category_of_name(name)};
    if (!about->category || name.size >= sizeof about->name - 1) return ACL_RULE_UNKNOWN;
    for (size_t i = 0; i < text.size; i++)
        about->name[i] = (char)tolower((unsigned char)text.data[i]);
    return ACL_RULE_OK;
}

static void forget_first_args(struct acl_selector *s, uint16_t id)
{
    struct acl_item item;
    struct bytes text;
    for (size_t at = 0, start = 0; acl_list_next(&s->first_args, &at, &item, &text); start = at) {
        if (item.command != id) continue;
        list_remove(&s->first_args, start);
        at = start;
    }
}

/* True if that changes anything. */
static bool set_command(struct acl_selector *s, uint16_t id, bool allow)
{
    uint64_t bit = (uint64_t)1 << (id % 64), before = s->commands[id / 64];
    size_t args = s->first_args.items.size;
    forget_first_args(s, id);
    s->commands[id / 64] = allow ? before | bit : before & ~bit;
    return before != s->commands[id / 64] || args != s->first_args.items.size;
}

static bool set_with_children(struct acl_selector *s, const struct route *route, bool allow)
{
    bool has_changed = set_command(s, route->id, allow);
    for (uint32_t i = 0; i < route->child_count; i++)
        has_changed |= set_command(s, route->children[i].id, allow);
    return has_changed;
}

static bool set_category(const struct router *r, struct acl_selector *s, uint32_t category,
                         bool allow)
{
    bool has_changed = false;
    for (uint32_t i = 0; i < r->route_count; i++)
        if (command_acl(r->routes[i].command) & category)
            has_changed |= set_command(s, r->routes[i].id, allow);
    return has_changed;
}

static enum acl_rule_result add_first_arg(struct acl_selector *s, const struct subject *about)
{
    size_t start;
    uint16_t id = about->route->id;
    if (acl_has_command(s, id) || list_find(&s->first_args, id, about->first_arg, &start))
        return ACL_RULE_OK;
    return list_add(&s->first_args, (struct acl_item){.command = id}, about->first_arg);
}

static bool set_subject(const struct router *r, struct acl_selector *s, const struct subject *about,
                        bool allow)
{
    return about->route ? set_with_children(s, about->route, allow)
                        : set_category(r, s, about->category, allow);
}

static void begin_commands(struct acl_selector *s, bool with_all)
{
    s->begins_with_all = with_all;
    memset(s->commands, with_all ? 0xff : 0, sizeof s->commands);
    s->first_args.items.size = 0;
}

static enum acl_rule_result set_all_commands(struct acl_selector *s, bool with_all)
{
    s->rules.items.size = 0;
    begin_commands(s, with_all);
    return ACL_RULE_OK;
}

/* Whether an earlier rule does not matter any more behind one about `name`. */
static bool is_overruled(struct bytes earlier, struct bytes name)
{
    if (earlier.size < name.size || memcmp(earlier.data, name.data, name.size) != 0) return false;
    return earlier.size == name.size || earlier.data[name.size] == '|';
}

/* False: the rule changes nothing. */
static bool apply_again(const struct router *r, struct acl_selector *s, const struct subject *about,
                        bool allow, enum acl_rule_result *result)
{
    size_t before = s->first_args.items.size;
    if (!about->first_arg.data) return set_subject(r, s, about, allow);
    *result = add_first_arg(s, about);
    return s->first_args.items.size != before;
}

/* What the rules that are left allow; those that have lost their effect go, so that the text is
 * what it would be if it was read back. */
static enum acl_rule_result replay(const struct router *r, struct acl_selector *s)
{
    struct acl_item item;
    struct bytes text;
    enum acl_rule_result result = ACL_RULE_OK;
    begin_commands(s, s->begins_with_all);
    for (size_t at = 0, start = 0;
         result == ACL_RULE_OK && acl_list_next(&s->rules, &at, &item, &text);) {
        struct subject about;
        CHECK(read_subject(r, text, item.flags, &about) == ACL_RULE_OK);
        if (!apply_again(r, s, &about, item.flags, &result)) {
            list_remove(&s->rules, start);
            at = start;
        }
        start = at;
    }
    return result;
}

static enum acl_rule_result forget_overruled(const struct router *r, struct acl_selector *s,
                                             struct bytes name)
{
    struct acl_item item;
    struct bytes text;
    bool has_changed = false;
    for (size_t at = 0, start = 0; acl_list_next(&s->rules, &at, &item, &text); start = at) {
        if (!is_overruled(text, name)) continue;
        list_remove(&s->rules, start);
        at = start;
        has_changed = true;
    }
    return has_changed ? replay(r, s) : ACL_RULE_OK;
}

static enum acl_rule_result apply_first_arg(struct acl_selector *s, const struct subject *about,
                                            struct mem *mem)
{
    size_t before = s->first_args.items.size;
    enum acl_rule_result result = add_first_arg(s, about);
    if (result != ACL_RULE_OK || s->first_args.items.size == before) return result;
    struct buf shown = {.mem = mem};
    size_t size = strlen(about->name) + 1 + about->first_arg.size;
    if (!buf_try_reserve(&shown, size)) return ACL_RULE_NO_MEMORY;
    buf_append_text(&shown, about->name);
    buf_append_text(&shown, "|");
    buf_append(&shown, about->first_arg.data, about->first_arg.size);
    result = list_add(&s->rules, (struct acl_item){.flags = true}, buf_view(&shown));
    buf_clear(&shown);
    return result;
}

/* +name, -name. A rule that changes nothing is not kept. */
static enum acl_rule_result apply_command(struct acl *a, struct acl_selector *s, struct bytes rule)
{
    bool allow = rule.data[0] == '+';
    struct bytes text = from(rule, 1);
    struct subject about;
    if (bytes_equal_nocase(text, "@all")) return set_all_commands(s, allow);
    enum acl_rule_result result = read_subject(a->router, text, allow, &about);
    if (result != ACL_RULE_OK) return result;
    if (about.first_arg.data) return apply_first_arg(s, &about, &a->mem);
    struct bytes name = bytes_of(about.name);
    result = forget_overruled(a->router, s, name);
    if (result != ACL_RULE_OK || !set_subject(a->router, s, &about, allow)) return result;
    return list_add(&s->rules, (struct acl_item){.flags = allow}, name);
}

/* ---- one selector ---- */

static enum acl_rule_result apply_to_selector(struct acl *a, struct acl_selector *s,
                                              struct bytes rule)
{
    if (bytes_equal_nocase(rule, "allkeys")) return set_all_keys(s);
    if (bytes_equal_nocase(rule, "allchannels")) return set_all_channels(s);
    if (bytes_equal_nocase(rule, "allcommands")) return set_all_commands(s, true);
    if (bytes_equal_nocase(rule, "nocommands")) return set_all_commands(s, false);
    if (bytes_equal_nocase(rule, "resetkeys")) {
        s->keys.items.size = 0;
        s->all_keys = false;
        return ACL_RULE_OK;
    }
    if (bytes_equal_nocase(rule, "resetchannels")) {
        s->channels.items.size = 0;
        s->all_channels = false;
        return ACL_RULE_OK;
    }
    if (rule.size == 0) return ACL_RULE_OK; /* as in Redis */
    switch (rule.data[0]) {
    case '~':
    case '%':
        return apply_key(s, rule);
    case '&':
        return apply_channel(s, rule);
    case '+':
    case '-':
        return apply_command(a, s, rule);
    }
    return ACL_RULE_SYNTAX;
}

bool acl_add_selector(struct acl_user *u)
{
    struct acl *a = u->home;
    struct acl_selector s = {0};
    s.all_channels = atomic_load_explicit(&a->new_users_have_channels, memory_order_relaxed);
    s.first_args.items.mem = s.keys.items.mem = s.channels.items.mem = s.rules.items.mem = &a->mem;
    if (!buf_try_reserve(&u->selectors, sizeof s)) return false;
    buf_append(&u->selectors, &s, sizeof s);
    return true;
}

static struct acl_selector *selector_at(struct acl_user *u, uint32_t i)
{
    return (struct acl_selector *)(void *)u->selectors.data + i;
}

static void drop_selectors(struct acl_user *u)
{
    uint32_t count;
    (void)acl_selectors(u, &count);
    for (uint32_t i = 1; i < count; i++) {
        struct acl_selector *s = selector_at(u, i);
        buf_clear(&s->first_args.items);
        buf_clear(&s->keys.items);
        buf_clear(&s->channels.items);
        buf_clear(&s->rules.items);
    }
    u->selectors.size = sizeof(struct acl_selector);
}

/* (rules): quotes mean what they mean in a file. */
static enum acl_rule_result apply_selector(struct acl_user *u, struct bytes rule)
{
    struct acl *a = u->home;
    struct bytes inner = bytes_make(rule.data + 1, rule.size - 2);
    struct buf storage = {.mem = &a->mem};
    uint32_t count;
    (void)acl_selectors(u, &count);
    if (count >= LIST_ITEMS_MAX) return ACL_RULE_TOO_MANY;
    /* At most one word for two bytes, and one more. */
    size_t words_max = inner.size / 2 + 1, words_bytes = words_max * sizeof(struct bytes);
    struct bytes *words = mem_try_alloc(&a->mem, words_bytes);
    bool fits = words && buf_try_reserve(&storage, inner.size + 1) && acl_add_selector(u);
    enum acl_rule_result result = fits ? ACL_RULE_OK : ACL_RULE_NO_MEMORY;
    int word_count = fits ? text_split_words(inner, &storage, words, (int)words_max) : 0;
    if (word_count < 0) result = ACL_RULE_SYNTAX;
    for (int i = 0; i < word_count && result == ACL_RULE_OK; i++)
        result = apply_to_selector(a, selector_at(u, count), words[i]);
    mem_free(&a->mem, words, words_bytes);
    buf_clear(&storage);
    return result;
}

/* ---- passwords ---- */

static enum acl_rule_result password_digest(struct bytes rule, uint8_t digest[SHA256_BYTES])
{
    bool is_text = rule.data[0] == '>' || rule.data[0] == '<';
    if (is_text)
        sha256(from(rule, 1), digest);
    else if (!sha256_from_hex(from(rule, 1), digest))
        return ACL_RULE_HASH;
    return ACL_RULE_OK;
}

static enum acl_rule_result apply_password(struct acl_user *u, struct bytes rule)
{
    uint8_t digest[SHA256_BYTES];
    enum acl_rule_result result = password_digest(rule, digest);
    if (result != ACL_RULE_OK) return result;
    uint32_t i = 0, count = acl_password_count(u);
    while (i < count && memcmp(u->passwords.data + i * SHA256_BYTES, digest, SHA256_BYTES) != 0)
        i++;
    if (rule.data[0] == '>' || rule.data[0] == '#') {
        u->flags &= ~(uint32_t)ACL_USER_NOPASS;
        if (i < count) return ACL_RULE_OK;
        if (count >= LIST_ITEMS_MAX) return ACL_RULE_TOO_MANY;
        if (!buf_try_reserve(&u->passwords, SHA256_BYTES)) return ACL_RULE_NO_MEMORY;
        buf_append(&u->passwords, digest, SHA256_BYTES);
        return ACL_RULE_OK;
    }
    if (i == count) return ACL_RULE_NO_PASSWORD;
    char *at = u->passwords.data + i * SHA256_BYTES;
    memmove(at, at + SHA256_BYTES, (count - i - 1) * SHA256_BYTES);
    u->passwords.size -= SHA256_BYTES;
    return ACL_RULE_OK;
}

/* ---- a rule ---- */

static enum acl_rule_result apply_reset(struct acl_user *u)
{
    struct acl_selector *s = selector_at(u, 0);
    drop_selectors(u);
    u->passwords.size = 0;
    u->flags = ACL_USER_SANITIZE;
    s->keys.items.size = s->channels.items.size = 0;
    s->all_keys = false;
    s->all_channels = atomic_load_explicit(&u->home->new_users_have_channels, memory_order_relaxed);
    return set_all_commands(s, false);
}

/* True: it was one of them. */
static bool apply_flag(struct acl_user *u, struct bytes rule)
{
    static const struct {
        const char *name;
        uint32_t set, clear;
    } flags[] = {{"on", ACL_USER_ON, 0},
                 {"off", 0, ACL_USER_ON},
                 {"nopass", ACL_USER_NOPASS, 0},
                 {"resetpass", 0, ACL_USER_NOPASS},
                 {"sanitize-payload", ACL_USER_SANITIZE, ACL_USER_SKIP_SANITIZE},
                 {"skip-sanitize-payload", ACL_USER_SKIP_SANITIZE, ACL_USER_SANITIZE}};
    for (unsigned i = 0; i < ARRAY_LEN(flags); i++) {
        if (!bytes_equal_nocase(rule, flags[i].name)) continue;
        u->flags = (u->flags & ~flags[i].clear) | flags[i].set;
        if ((flags[i].set | flags[i].clear) & ACL_USER_NOPASS) u->passwords.size = 0;
        return true;
    }
    return false;
}

enum acl_rule_result acl_apply(struct acl_user *u, struct bytes rule)
{
    if (apply_flag(u, rule)) return ACL_RULE_OK;
    if (bytes_equal_nocase(rule, "reset")) return apply_reset(u);
    if (bytes_equal_nocase(rule, "clearselectors")) {
        drop_selectors(u);
        return ACL_RULE_OK;
    }
    if (rule.size && memchr("><#!", rule.data[0], 4)) return apply_password(u, rule);
    if (rule.size > 1 && rule.data[0] == '(' && rule.data[rule.size - 1] == ')')
        return apply_selector(u, rule);
    return apply_to_selector(u->home, selector_at(u, 0), rule);
}

const char *acl_rule_text(enum acl_rule_result result)
{
    switch (result) {
    case ACL_RULE_OK:
        return "OK";
    case ACL_RULE_SYNTAX:
        return "Syntax error";
    case ACL_RULE_UNKNOWN:
        return "Unknown command or category name in ACL";
    case ACL_RULE_ALL_KEYS:
        return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does "
               "not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    case ACL_RULE_ALL_CHANNELS:
        return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and "
               "does not have any effect. Try 'resetchannels' to start with an empty list of "
               "channels";
    case ACL_RULE_HASH:
        return "The password hash must be exactly 64 characters and contain only lowercase "
               "hexadecimal characters";
    case ACL_RULE_NO_PASSWORD:
        return "The password you are trying to remove from the user does not exist";
    case ACL_RULE_FIRST_ARG:
        return "Allowing first-arg of a subcommand is not supported";
    case ACL_RULE_TOO_MANY:
        return "A user cannot have more than 8192 rules of one kind";
    case ACL_RULE_NO_MEMORY:
        return "Out of memory";
    }
    return "Wrong format";
}

bool acl_name_is_valid(struct bytes name)
{
    return !has_space(name);
}

bool acl_make_default(struct acl_user *u)
{
    static const char *const rules[] = {"on", "nopass", "allkeys", "allchannels", "allcommands"};
    for (unsigned i = 0; i < ARRAY_LEN(rules); i++)
        if (acl_apply(u, bytes_of(rules[i])) != ACL_RULE_OK) return false;
    return true;
}

/* ---- selectors in several arguments ---- */

static bool ends_selector(struct bytes rule)
{
    return rule.size && rule.data[rule.size - 1] == ')';
}

/* As Redis does it: another parenthesis that opens drops what the first one has collected. */
int64_t acl_join_selectors(const struct bytes *rules, uint32_t count, struct buf *storage,
                           struct bytes *joined, uint32_t *open)
{
    size_t bytes = 0, start = 0;
    for (uint32_t i = 0; i < count; i++) bytes += rules[i].size + 1;
    if (count && !buf_try_reserve(storage, bytes)) return -2;
    int64_t made = 0;
    bool is_open = false;
    for (uint32_t i = 0; i < count; i++) {
        bool opens = rules[i].size && rules[i].data[0] == '(' && !ends_selector(rules[i]);
        if (!opens && !is_open) {
            joined[made++] = rules[i];
            continue;
        }
        if (opens) {
            *open = i;
            start = storage->size;
        } else {
            buf_append_text(storage, " ");
        }
        if (rules[i].size) buf_append(storage, rules[i].data, rules[i].size);
        is_open = !ends_selector(rules[i]);
        if (!is_open) joined[made++] = bytes_make(storage->data + start, storage->size - start);
    }
    return is_open ? -1 : made;
}
