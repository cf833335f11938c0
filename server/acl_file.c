#include "server/acl_file.h"

#include "base/env.h"
#include "base/log.h"
#include "base/text.h"
#include "server/acl_rules.h"
#include "server/config_value.h"

#define ERRORS_BYTES_MAX (64 * 1024) /* more than this nobody reads */

/* A text that is being read. */
struct reading {
    struct acl_loading loading;
    const char *path;
    unsigned line;
    struct buf *error;
    bool has_failed;
};

static int shown(struct bytes text)
{
    return (int)MIN(text.size, (size_t)ACL_QUOTED_BYTES_MAX);
}

/* True: more errors have a place. */
static bool fail(struct reading *r)
{
    r->has_failed = true;
    return r->error->size < ERRORS_BYTES_MAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct bytes trim(struct bytes line)
{
    while (line.size && is_blank(line.data[0])) line.data++, line.size--;
    while (line.size && is_blank(line.data[line.size - 1])) line.size--;
    return line;
}

static uint32_t count_words(struct bytes line)
{
    uint32_t count = 1;
    for (size_t i = 0; i < line.size; i++) count += line.data[i] == ' ';
    return count;
}

/* The words of a line, by its spaces; quotes mean nothing here. */
static uint32_t split(struct bytes line, struct bytes *words)
{
    uint32_t count = 0;
    for (size_t start = 0; start < line.size;) {
        const char *end = memchr(line.data + start, ' ', line.size - start);
        size_t size = end ? (size_t)(end - line.data) - start : line.size - start;
        if (size) words[count++] = bytes_make(line.data + start, size);
        start += size + 1;
    }
    return count;
}

static void fail_rule(struct reading *r, struct bytes rule, enum acl_rule_result result)
{
    if (!fail(r)) return;
    if (result == ACL_RULE_UNKNOWN)
        buf_printf(r->error, "%s:%u: Error in applying operation '%.*s': %s. ", r->path, r->line,
                   shown(rule), rule.data, acl_rule_text(result));
    else
        buf_printf(r->error, "%s:%u: %s. ", r->path, r->line, acl_rule_text(result));
}

static void apply_all(struct reading *r, struct acl_user *u, const struct bytes *rules,
                      uint32_t count)
{
    struct mem *mem = r->error->mem;
    struct buf storage = {.mem = mem};
    size_t bytes = (count + 1) * sizeof(struct bytes);
    struct bytes *joined = mem_try_alloc(mem, bytes);
    uint32_t open;
    int64_t made = joined ? acl_join_selectors(rules, count, &storage, joined, &open) : -2;
    if (made == -1 && fail(r))
        buf_printf(r->error, "%s:%u: Unmatched parenthesis in selector definition. ", r->path,
                   r->line);
    if (made == -2 && fail(r)) buf_printf(r->error, "%s:%u: Out of memory. ", r->path, r->line);
    for (int64_t i = 0; i < made; i++) {
        enum acl_rule_result result = acl_apply(u, joined[i]);
        if (result != ACL_RULE_OK) fail_rule(r, joined[i], result);
    }
    mem_free(mem, joined, bytes);
    buf_clear(&storage);
}

static void read_user(struct reading *r, struct bytes name, const struct bytes *rules,
                      uint32_t count)
{
    if (!acl_name_is_valid(name)) {
        if (fail(r))
            buf_printf(r->error, "%s:%u: username '%.*s' contains invalid characters. ", r->path,
                       r->line, shown(name), name.data);
        return;
    }
    if (acl_load_has(&r->loading, name)) {
        if (fail(r))
            buf_printf(r->error, "WARNING: Duplicate user '%.*s' found on line %u. ", shown(name),
                       name.data, r->line);
        return;
    }
    struct acl_user *u = acl_load_add(&r->loading, name);
    if (u)
        apply_all(r, u, rules, count);
    else if (fail(r))
        buf_printf(r->error, "%s:%u: Out of memory. ", r->path, r->line);
}

static void read_line(struct reading *r, struct bytes line)
{
    struct mem *mem = r->error->mem;
    size_t bytes = count_words(line) * sizeof(struct bytes);
    struct bytes *words = mem_try_alloc(mem, bytes);
    if (!words) {
        if (fail(r)) buf_printf(r->error, "%s:%u: Out of memory. ", r->path, r->line);
        return;
    }
    uint32_t count = split(line, words);
    if (count >= 2 && bytes_equal(words[0], BYTES_LITERAL("user")))
        read_user(r, words[1], words + 2, count - 2);
    else if (fail(r))
        buf_printf(r->error, "%s:%u should start with user keyword followed by the username. ",
                   r->path, r->line);
    mem_free(mem, words, bytes);
}

bool acl_read_text(struct acl *a, const char *path, struct bytes text, struct buf *error)
{
    struct reading r = {.path = path, .error = error};
    acl_load_begin(&r.loading, a);
    for (size_t start = 0; start < text.size;) {
        const char *end = memchr(text.data + start, '\n', text.size - start);
        size_t size = end ? (size_t)(end - text.data) - start : text.size - start;
        struct bytes line = trim(bytes_make(text.data + start, size));
        start += size + 1;
        r.line++;
        if (line.size) read_line(&r, line);
    }
    bool ok = acl_load_end(&r.loading, !r.has_failed);
    if (ok) return true;
    if (!r.has_failed) buf_append_text(error, "Out of memory. ");
    buf_append_text(error, "WARNING: ACL errors detected, no change to the previously active ACL "
                           "rules was performed");
    return false;
}

bool acl_read_file(struct acl *a, const char *path, struct buf *error)
{
    char why[2 * ENV_NAME_BYTES_MAX];
    struct buf text = {.mem = error->mem};
    bool ok = env_read_file(path, &text, why) == OK;
    if (ok)
        ok = acl_read_text(a, path, buf_view(&text), error);
    else
        buf_printf(error, "Error loading ACLs: %s", why);
    buf_clear(&text);
    return ok;
}

bool acl_write_text(const struct acl_set *set, struct buf *out)
{
    for (uint32_t i = 0; i < set->count; i++) {
        if (!acl_describe(set->users[i], out) || !buf_try_reserve(out, 1)) return false;
        buf_append_text(out, "\n");
    }
    return true;
}

/* ---- the configuration ---- */

static bool boot_rule(const struct acl_user *u, struct bytes rule, enum acl_rule_result result,
                      struct buf *error)
{
    if (result == ACL_RULE_OK) return true;
    buf_printf(error, "Error loading ACL rule '%.*s' for the user named '%.*s': %s", shown(rule),
               rule.data, shown(buf_view(&u->name)), u->name.data, acl_rule_text(result));
    return false;
}

/* A line of the configuration, its words quoted where they must be. */
static bool boot_user(struct acl_loading *l, const char *line, struct buf *error)
{
    struct mem *mem = error->mem;
    struct bytes text = bytes_of(line);
    struct buf storage = {.mem = mem}, storage_joined = {.mem = mem};
    int max = (int)count_words(text), count;
    size_t bytes = 2 * (size_t)max * sizeof(struct bytes);
    struct bytes *words = mem_alloc(mem, bytes), *joined = words + max;
    uint32_t open;
    count = text_split_words(text, &storage, words, max);
    CHECK(count >= 1 && count <= max);
    struct acl_user *u = acl_name_is_valid(words[0]) ? acl_load_add(l, words[0]) : NULL;
    bool ok = u != NULL;
    if (!u) buf_append_text(error, "Spaces not allowed in ACL usernames");
    bool is_default = u && bytes_equal(words[0], BYTES_LITERAL(ACL_DEFAULT_USER));
    if (is_default) ok = acl_apply(u, BYTES_LITERAL("reset")) == ACL_RULE_OK;
    int64_t made =
        ok ? acl_join_selectors(words + 1, (uint32_t)count - 1, &storage_joined, joined, &open) : 0;
    if (made < 0) {
        buf_printf(error, "Unmatched parenthesis in acl selector starting at '%.*s'.",
                   shown(words[1 + open]), words[1 + open].data);
        ok = false;
    }
    for (int64_t i = 0; ok && i < made; i++)
        ok = boot_rule(u, joined[i], acl_apply(u, joined[i]), error);
    mem_free(mem, words, bytes);
    buf_clear(&storage);
    buf_clear(&storage_joined);
    return ok;
}

static bool boot_users(struct acl *a, const struct config *c, struct buf *error)
{
    struct acl_loading l;
    acl_load_begin(&l, a);
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->users.count; i++)
        ok = boot_user(&l, c->users.items[i], error);
    bool has_default = acl_load_has(&l, BYTES_LITERAL(ACL_DEFAULT_USER));
    ok = acl_load_end(&l, ok) && ok;
    return ok && (has_default || acl_set_password(a, config_text_view(c->requirepass)));
}

bool acl_boot(struct acl *a, const struct config *c, struct buf *error)
{
    acl_set_channels_default(a, c->acl_pubsub_default == CONFIG_CHANNELS_ALL);
    if (c->aclfile[0] == '\0') return boot_users(a, c, error);
    if (c->users.count > 0) {
        buf_append_text(
            error, "Configuring Redis with users defined in redis.conf and at the same setting an "
                   "ACL file path is invalid. This setup is very likely to lead to configuration "
                   "errors and security holes, please define either an ACL file or declare users "
                   "directly in your redis.conf, but not both.");
        return false;
    }
    if (c->requirepass[0])
        log_warning("requirepass is not looked at: the users are those of aclfile '%s'",
                    c->aclfile);
    struct buf why = {.mem = error->mem};
    bool ok = acl_read_file(a, c->aclfile, &why);
    if (!ok)
        buf_printf(error, "Aborting startup because of ACL errors: %.*s", (int)why.size, why.data);
    buf_clear(&why);
    return ok;
}

/* Without the word "user", each word as a file must have it. False: no memory. */
static bool add_line(struct config *c, struct bytes line)
{
    struct buf quoted = {.mem = c->mem};
    struct bytes rest = bytes_make(line.data + strlen("user "), line.size - strlen("user "));
    if (!buf_try_reserve(&quoted, 4 * rest.size + 16)) return false;
    for (size_t start = 0; start <= rest.size;) {
        const char *end = memchr(rest.data + start, ' ', rest.size - start);
        size_t size = end ? (size_t)(end - rest.data) - start : rest.size - start;
        if (start) buf_append_text(&quoted, " ");
        config_quote_if_needed(&quoted, bytes_make(rest.data + start, size));
        start += size + 1;
    }
    config_list_add(c->mem, &c->users, buf_view(&quoted));
    buf_clear(&quoted);
    return true;
}

bool acl_config_lines(struct acl *a, struct config *c)
{
    config_list_clear(c->mem, &c->users);
    if (c->aclfile[0]) return true;
    struct acl_set *set = acl_take(a);
    struct buf line = {.mem = c->mem};
    bool ok = true;
    for (uint32_t i = 0; ok && i < set->count; i++) {
        line.size = 0;
        ok = acl_describe(set->users[i], &line) && add_line(c, buf_view(&line));
    }
    buf_clear(&line);
    acl_set_unref(a, set);
    return ok;
}
