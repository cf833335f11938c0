#include "server/acl_check.h"

#include "base/text.h"
#include "server/command_info.h"
#include "shard/cmd/sort_args.h"

/* ---- the command ---- */

static bool allows_command(const struct acl_selector *s, const struct acl_call *call)
{
    uint16_t id = call->route->id;
    struct acl_item item;
    struct bytes text;
    if (acl_has_command(s, id)) return true;
    for (size_t at = 0; acl_list_next(&s->first_args, &at, &item, &text);) {
        bool fits = item.command == id && call->argc > 1 && call->argv[1].size == text.size &&
                    strncasecmp(call->argv[1].data, text.data, text.size) == 0;
        if (fits) return true;
    }
    return false;
}

/* ---- keys ---- */

static uint8_t access_needed(uint32_t key_flags)
{
    uint8_t access = key_flags & KEY_ACCESS ? ACL_KEY_READ : 0;
    if (key_flags & (KEY_INSERT | KEY_DELETE | KEY_UPDATE)) access |= ACL_KEY_WRITE;
    return access;
}

static bool allows_key(const struct acl_selector *s, struct bytes key, uint8_t access)
{
    struct acl_item item;
    struct bytes pattern;
    for (size_t at = 0; acl_list_next(&s->keys, &at, &item, &pattern);)
        if ((item.flags & access) == access && text_glob_match(pattern, key, false)) return true;
    return false;
}

struct key_check {
    const struct acl_selector *selector;
    const struct acl_call *call;
    uint32_t denied; /* index of the first; 0: none */
};

static void check_key(void *context, uint32_t index, const struct key_spec *spec)
{
    struct key_check *c = context;
    if (c->denied) return;
    uint32_t flags =
        command_key_flags(c->call->route->command, c->call->argv, c->call->argc, spec->flags);
    if (!allows_key(c->selector, c->call->argv[index], access_needed(flags))) c->denied = index;
}

/* Arguments that do not fit the command name no keys: it will say what is wrong. */
static bool allows_keys(const struct acl_selector *s, const struct acl_call *call, uint32_t *index)
{
    if (s->all_keys) return true;
    struct key_check c = {.selector = s, .call = call};
    bool fits = command_each_key(call->route->command, call->argv, call->argc, check_key, &c);
    if (!fits || !c.denied) return true;
    *index = c.denied;
    return false;
}

/* ---- channels ---- */

static bool selector_may_hear(const struct acl_selector *s, struct bytes channel, bool is_pattern)
{
    struct acl_item item;
    struct bytes pattern;
    if (s->all_channels) return true;
    for (size_t at = 0; acl_list_next(&s->channels, &at, &item, &pattern);) {
        bool fits =
            is_pattern ? bytes_equal(pattern, channel) : text_glob_match(pattern, channel, false);
        if (fits) return true;
    }
    return false;
}

bool acl_may_hear(const struct acl_user *u, struct bytes channel, bool is_pattern)
{
    uint32_t count;
    const struct acl_selector *s = acl_selectors(u, &count);
    for (uint32_t i = 0; i < count; i++)
        if (selector_may_hear(&s[i], channel, is_pattern)) return true;
    return false;
}

/* Commands that name channels: the first of them, and how many (0: all that follow). */
static const struct {
    const char *name;
    uint32_t count;
    bool are_patterns;
} channel_commands[] = {{"publish", 1, false},
                        {"spublish", 1, false},
                        {"subscribe", 0, false},
                        {"ssubscribe", 0, false},
                        {"psubscribe", 0, true}};

static bool allows_channels(const struct acl_selector *s, const struct acl_call *call,
                            uint32_t *index)
{
    const struct command *c = call->route->command;
    if (s->all_channels || !(c->flags & CMD_PUBSUB)) return true;
    for (unsigned k = 0; k < ARRAY_LEN(channel_commands); k++) {
        if (strcmp(c->name, channel_commands[k].name) != 0) continue;
        uint32_t count = channel_commands[k].count ? channel_commands[k].count : call->argc - 1;
        for (uint32_t i = 1; i <= count && i < call->argc; i++) {
            if (selector_may_hear(s, call->argv[i], channel_commands[k].are_patterns)) continue;
            *index = i;
            return false;
        }
    }
    return true;
}

/* ---- the whole ---- */

static enum acl_denial check_selector(const struct acl_selector *s, const struct acl_call *call,
                                      uint32_t *index)
{
    *index = 0;
    if (!allows_command(s, call)) return ACL_DENIED_COMMAND;
    if (!allows_keys(s, call, index)) return ACL_DENIED_KEY;
    if (!allows_channels(s, call, index)) return ACL_DENIED_CHANNEL;
    return ACL_ALLOWED;
}

enum acl_denial acl_check(const struct acl_user *u, const struct acl_call *call, uint32_t *index)
{
    uint32_t count;
    const struct acl_selector *s = acl_selectors(u, &count);
    enum acl_denial told = ACL_DENIED_COMMAND;
    *index = 0;
    if (call->route->command->flags & CMD_NO_AUTH) return ACL_ALLOWED;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at;
        enum acl_denial denial = check_selector(&s[i], call, &at);
        if (denial == ACL_ALLOWED) return ACL_ALLOWED;
        if (denial < told || (denial == told && at <= *index)) continue;
        told = denial;
        *index = at;
    }
    return told;
}

/* ---- SORT ---- */

static bool may_read_all(const struct acl_user *u, const struct acl_call *call)
{
    uint32_t count, index;
    const struct acl_selector *s = acl_selectors(u, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (check_selector(&s[i], call, &index) != ACL_ALLOWED) continue;
        struct acl_item item;
        struct bytes pattern;
        if (s[i].all_keys) return true;
        for (size_t at = 0; acl_list_next(&s[i].keys, &at, &item, &pattern);)
            if (item.flags & ACL_KEY_READ && bytes_equal(pattern, BYTES_LITERAL("*"))) return true;
    }
    return false;
}

bool acl_check_sort(const struct acl_user *u, const struct acl_call *call, const char **option)
{
    const struct command *c = call->route->command;
    struct sort_options o;
    if (likely(c->each_key != sort_each_key)) return true;
    bool is_valid =
        sort_options_read(call->argv, call->argc, strcmp(c->name, "sort") == 0, &o) == OK;
    if (!is_valid || (o.get_count == 0 && (!o.has_by || o.keeps_order))) return true;
    if (may_read_all(u, call)) return true;
    *option = o.has_by && !o.keeps_order ? "BY" : "GET";
    return false;
}
