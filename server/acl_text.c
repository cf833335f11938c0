/* acl_text.c: a user as text: ACL LIST, ACL GETUSER, and files. */

#include "server/acl_rules.h"
#include "server/config_value.h"

#define QUOTED_BYTES_MAX(size) (4 * (size) + 2) /* \x41 for each */

static bool put(struct buf *out, struct bytes text)
{
    if (text.size == 0) return true;
    if (!buf_try_reserve(out, text.size)) return false;
    buf_append(out, text.data, text.size);
    return true;
}

static bool put_text(struct buf *out, const char *text)
{
    return put(out, bytes_of(text));
}

bool acl_describe_commands(const struct acl_selector *s, struct buf *out)
{
    struct acl_item item;
    struct bytes text;
    bool ok = put_text(out, s->begins_with_all ? "+@all" : "-@all");
    for (size_t at = 0; ok && acl_list_next(&s->rules, &at, &item, &text);)
        ok = put_text(out, item.flags ? " +" : " -") && put(out, text);
    return ok;
}

static const char *access_prefix(uint8_t access)
{
    if (access == ACL_KEY_ALL) return "~";
    return access == ACL_KEY_READ ? "%R~" : "%W~";
}

bool acl_describe_keys(const struct acl_selector *s, struct buf *out)
{
    struct acl_item item;
    struct bytes text;
    bool ok = !s->all_keys || put_text(out, "~*");
    bool is_first = !s->all_keys;
    for (size_t at = 0; ok && acl_list_next(&s->keys, &at, &item, &text); is_first = false)
        ok = put_text(out, is_first ? "" : " ") && put_text(out, access_prefix(item.flags)) &&
             put(out, text);
    return ok;
}

bool acl_describe_channels(const struct acl_selector *s, bool with_reset, struct buf *out)
{
    struct acl_item item;
    struct bytes text;
    if (s->all_channels) return put_text(out, "&*");
    bool ok = !with_reset || put_text(out, "resetchannels");
    bool is_first = !with_reset;
    for (size_t at = 0; ok && acl_list_next(&s->channels, &at, &item, &text); is_first = false)
        ok = put_text(out, is_first ? "&" : " &") && put(out, text);
    return ok;
}

/* Quotes mean something inside parentheses, and a word with ) at its end closes them. */
static bool is_plain_in_parentheses(struct bytes word)
{
    return word.size && word.data[word.size - 1] != ')' && !memchr(word.data, '"', word.size) &&
           !memchr(word.data, '\'', word.size);
}

/* The words of a selector as they must be to read back. */
static bool put_in_parentheses(struct buf *out, struct bytes text)
{
    for (size_t start = 0; start < text.size;) {
        const char *end = memchr(text.data + start, ' ', text.size - start);
        size_t size = end ? (size_t)(end - text.data) - start : text.size - start;
        struct bytes word = bytes_make(text.data + start, size);
        start += size + 1;
        if (is_plain_in_parentheses(word)) {
            if (!put(out, word)) return false;
        } else {
            if (!buf_try_reserve(out, QUOTED_BYTES_MAX(size))) return false;
            config_quote(out, word);
        }
        if (end && !put_text(out, " ")) return false;
    }
    return true;
}

static bool describe_selector(const struct acl_selector *s, struct buf *out)
{
    bool has_keys = s->all_keys || s->keys.items.size > 0;
    return acl_describe_keys(s, out) && put_text(out, has_keys ? " " : "") &&
           acl_describe_channels(s, true, out) && put_text(out, " ") &&
           acl_describe_commands(s, out);
}

bool acl_describe(const struct acl_user *u, struct buf *out)
{
    bool ok = put_text(out, "user ") && put(out, buf_view(&u->name)) &&
              put_text(out, u->flags & ACL_USER_ON ? " on " : " off ");
    if (u->flags & ACL_USER_NOPASS) ok = ok && put_text(out, "nopass ");
    if (u->flags & ACL_USER_SKIP_SANITIZE) ok = ok && put_text(out, "skip-sanitize-payload ");
    if (u->flags & ACL_USER_SANITIZE) ok = ok && put_text(out, "sanitize-payload ");
    for (uint32_t i = 0; ok && i < acl_password_count(u); i++) {
        char hex[2 * SHA256_BYTES];
        sha256_to_hex((const uint8_t *)u->passwords.data + i * SHA256_BYTES, hex);
        ok = put_text(out, "#") && put(out, bytes_make(hex, sizeof hex)) && put_text(out, " ");
    }
    uint32_t count;
    const struct acl_selector *s = acl_selectors(u, &count);
    ok = ok && describe_selector(&s[0], out);
    struct buf rules = {.mem = out->mem};
    for (uint32_t i = 1; ok && i < count; i++) {
        rules.size = 0;
        ok = put_text(out, " (") && describe_selector(&s[i], &rules) &&
             put_in_parentheses(out, buf_view(&rules)) && put_text(out, ")");
    }
    buf_clear(&rules);
    return ok;
}
