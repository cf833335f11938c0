#include "server/command_info.h"

/* ---- words ---- */

struct flag_name {
    uint32_t flag;
    const char *name;
};

/* In the order in which they are shown. */
/* clang-format off */
static const struct flag_name command_flag_names[] = {
    {CMD_WRITE, "write"}, {CMD_READ, "readonly"}, {CMD_DENY_OOM, "denyoom"}, {CMD_ADMIN, "admin"}, {CMD_PUBSUB, "pubsub"},
    {CMD_NO_SCRIPT, "noscript"}, {CMD_BLOCKING, "blocking"}, {CMD_LOADING, "loading"}, {CMD_STALE, "stale"},
    {CMD_SKIP_MONITOR, "skip_monitor"}, {CMD_SKIP_SLOWLOG, "skip_slowlog"}, {CMD_ASKING, "asking"}, {CMD_FAST, "fast"},
    {CMD_NO_AUTH, "no_auth"}, {CMD_NO_ASYNC_LOADING, "no_async_loading"}, {CMD_NO_MULTI, "no_multi"},
    {CMD_NO_MANDATORY_KEYS, "no_mandatory_keys"}, {CMD_MOVABLE_KEYS, "movablekeys"}, {CMD_ALLOW_BUSY, "allow_busy"},
};
static const struct flag_name acl_names[] = {
    {ACL_KEYSPACE, "@keyspace"}, {ACL_READ, "@read"}, {ACL_WRITE, "@write"}, {ACL_SET, "@set"}, {ACL_SORTEDSET, "@sortedset"},
    {ACL_LIST, "@list"}, {ACL_HASH, "@hash"}, {ACL_STRING, "@string"}, {ACL_BITMAP, "@bitmap"}, {ACL_HYPERLOGLOG, "@hyperloglog"},
    {ACL_GEO, "@geo"}, {ACL_STREAM, "@stream"}, {ACL_PUBSUB, "@pubsub"}, {ACL_ADMIN, "@admin"}, {ACL_FAST, "@fast"},
    {ACL_SLOW, "@slow"}, {ACL_BLOCKING, "@blocking"}, {ACL_DANGEROUS, "@dangerous"}, {ACL_CONNECTION, "@connection"},
    {ACL_TRANSACTION, "@transaction"}, {ACL_SCRIPTING, "@scripting"},
};
static const struct flag_name key_flag_names[] = {
    {KEY_RO, "RO"}, {KEY_RW, "RW"}, {KEY_OW, "OW"}, {KEY_RM, "RM"}, {KEY_ACCESS, "access"}, {KEY_UPDATE, "update"},
    {KEY_INSERT, "insert"}, {KEY_DELETE, "delete"}, {KEY_NOT_KEY, "not_key"}, {KEY_INCOMPLETE, "incomplete"},
    {KEY_VARIABLE_FLAGS, "variable_flags"},
};
/* clang-format on */

static void reply_flags(struct reply *out, uint32_t flags, const struct flag_name *names,
                        unsigned name_count)
{
    unsigned count = 0;
    for (unsigned i = 0; i < name_count; i++) count += (flags & names[i].flag) != 0;
    reply_set(out, count);
    for (unsigned i = 0; i < name_count; i++)
        if (flags & names[i].flag) reply_status(out, names[i].name);
}

void command_key_flags_reply(uint32_t flags, struct reply *out)
{
    reply_flags(out, flags, key_flag_names, ARRAY_LEN(key_flag_names));
}

const char *acl_category_name(unsigned i)
{
    return i < ARRAY_LEN(acl_names) ? acl_names[i].name + 1 : NULL;
}

uint32_t acl_category_of_name(struct bytes name)
{
    for (unsigned i = 0; i < ARRAY_LEN(acl_names); i++)
        if (bytes_equal_nocase(name, acl_names[i].name + 1)) return acl_names[i].flag;
    return 0;
}

/* ---- what follows from a row ---- */

uint32_t command_acl(const struct command *c)
{
    uint32_t acl = c->acl;
    if (c->flags & CMD_WRITE) acl |= ACL_WRITE;
    /* What a script reads is not known from the command. */
    if (c->flags & CMD_READ && !(acl & ACL_SCRIPTING)) acl |= ACL_READ;
    if (c->flags & CMD_ADMIN) acl |= ACL_ADMIN | ACL_DANGEROUS;
    if (c->flags & CMD_PUBSUB) acl |= ACL_PUBSUB;
    if (c->flags & CMD_BLOCKING) acl |= ACL_BLOCKING;
    acl |= c->flags & CMD_FAST ? ACL_FAST : ACL_SLOW;
    return acl;
}

/* Of two last keys the later one; negative: counted from the end, so later than any index. */
static int later_key(int a, int b)
{
    if (b < 0) return b;
    return a < 0 ? a : MAX(a, b);
}

struct command_range command_range_of(const struct command *c)
{
    struct command_range range = {0};
    for (unsigned i = 0; i < KEY_SPECS_MAX && c->keys[i].flags; i++) {
        const struct key_spec *spec = &c->keys[i];
        if (spec->keyword || spec->first > 0 || spec->is_unknown) continue;
        int last = spec->last < 0 ? spec->last : spec->begin + spec->last;
        bool is_first = range.step == 0;
        range.first = is_first ? spec->begin : MIN(range.first, spec->begin);
        range.last = is_first ? last : later_key(range.last, last);
        range.step = is_first ? spec->step : 1;
    }
    return range;
}

/* ---- COMMAND INFO ---- */

static void reply_tips(const struct command *c, struct reply *out)
{
    unsigned count = 0;
    while (c->tips && c->tips[count]) count++;
    reply_set(out, count);
    for (unsigned i = 0; i < count; i++) reply_bulk_text(out, c->tips[i]);
}

static void reply_number(struct reply *out, const char *name, int64_t value)
{
    reply_bulk_text(out, name);
    reply_i64(out, value);
}

static void reply_unknown(const char *name, struct reply *out)
{
    reply_bulk_text(out, name);
    reply_map(out, 2);
    reply_bulk_text(out, "type");
    reply_bulk_text(out, "unknown");
    reply_bulk_text(out, "spec");
    reply_map(out, 0);
}

static void reply_begin_search(const struct key_spec *spec, struct reply *out)
{
    reply_bulk_text(out, "begin_search");
    reply_map(out, 2);
    reply_bulk_text(out, "type");
    reply_bulk_text(out, spec->keyword ? "keyword" : "index");
    reply_bulk_text(out, "spec");
    if (!spec->keyword) {
        reply_map(out, 1);
        reply_number(out, "index", spec->begin);
        return;
    }
    reply_map(out, 2);
    reply_bulk_text(out, "keyword");
    reply_bulk_text(out, spec->keyword);
    reply_number(out, "startfrom", spec->begin);
}

static void reply_find_keys(const struct key_spec *spec, struct reply *out)
{
    bool is_counted = spec->first > 0;
    reply_bulk_text(out, "find_keys");
    reply_map(out, 2);
    reply_bulk_text(out, "type");
    reply_bulk_text(out, is_counted ? "keynum" : "range");
    reply_bulk_text(out, "spec");
    reply_map(out, 3);
    if (is_counted) {
        reply_number(out, "keynumidx", spec->count_index);
        reply_number(out, "firstkey", spec->first);
        reply_number(out, "keystep", spec->step);
    } else {
        reply_number(out, "lastkey", spec->last);
        reply_number(out, "keystep", spec->step);
        reply_number(out, "limit", spec->limit);
    }
}

static void reply_key_specs(const struct command *c, struct reply *out)
{
    unsigned count = 0;
    while (count < KEY_SPECS_MAX && c->keys[count].flags) count++;
    reply_set(out, count);
    for (unsigned i = 0; i < count; i++) {
        reply_map(out, 3);
        reply_bulk_text(out, "flags");
        command_key_flags_reply(c->keys[i].flags, out);
        if (c->keys[i].is_unknown) {
            reply_unknown("begin_search", out);
            reply_unknown("find_keys", out);
            continue;
        }
        reply_begin_search(&c->keys[i], out);
        reply_find_keys(&c->keys[i], out);
    }
}

static void reply_entry_head(const struct route *route, struct reply *out)
{
    const struct command *c = route->command;
    struct command_range range = command_range_of(c);
    reply_array(out, 10);
    reply_bulk_text(out, route->full_name);
    reply_i64(out, c->arity);
    reply_flags(out, c->flags, command_flag_names, ARRAY_LEN(command_flag_names));
    reply_i64(out, range.first);
    reply_i64(out, range.last);
    reply_i64(out, range.step);
    reply_flags(out, command_acl(c), acl_names, ARRAY_LEN(acl_names));
    reply_tips(c, out);
    reply_key_specs(c, out);
}

void command_info_reply(const struct route *route, struct reply *out)
{
    reply_entry_head(route, out);
    if (route->child_count)
        reply_array(out, route->child_count);
    else
        reply_set(out, 0); /* in RESP3 Redis sends no subcommands as a set, but some as an array */
    for (uint32_t i = 0; i < route->child_count; i++) {
        reply_entry_head(&route->children[i], out);
        reply_set(out, 0);
    }
}

/* ---- COMMAND DOCS ---- */

static void reply_text(struct reply *out, const char *name, const char *text)
{
    reply_bulk_text(out, name);
    reply_bulk_text(out, text);
}

static void reply_doc_flag(struct reply *out, const char *flag)
{
    reply_bulk_text(out, "doc_flags");
    reply_set(out, 1);
    reply_status(out, flag);
}

static void reply_doc_head(const struct route *route, struct reply *out)
{
    const struct command *c = route->command;
    reply_bulk_text(out, route->full_name);
    unsigned extra = (c->deprecated_since ? 3 : 0) + (c->is_syscmd ? 1 : 0);
    reply_map(out, (route->child_count ? 5 : 4) + extra);
    reply_text(out, "summary", c->summary);
    reply_text(out, "since", c->since);
    reply_text(out, "group", c->group);
    reply_text(out, "complexity", c->complexity);
    if (c->deprecated_since) {
        reply_doc_flag(out, "deprecated");
        reply_text(out, "deprecated_since", c->deprecated_since);
        reply_text(out, "replaced_by", c->replaced_by);
    } else if (c->is_syscmd) {
        reply_doc_flag(out, "syscmd");
    }
}

void command_docs_reply(const struct route *route, struct reply *out)
{
    reply_doc_head(route, out);
    if (!route->child_count) return;
    reply_bulk_text(out, "subcommands");
    reply_map(out, route->child_count);
    for (uint32_t i = 0; i < route->child_count; i++) reply_doc_head(&route->children[i], out);
}

/* ---- the keys of a call ---- */

static uint32_t set_key_flags(const struct bytes *argv, uint32_t argc)
{
    for (uint32_t i = 3; i < argc; i++)
        if (bytes_equal_nocase(argv[i], "get")) return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    return KEY_OW | KEY_UPDATE;
}

/* Only GETs, with what belongs to them, are sure not to write. */
static uint32_t bitfield_key_flags(const struct bytes *argv, uint32_t argc)
{
    uint32_t i = 2;
    while (i < argc) {
        if (bytes_equal_nocase(argv[i], "get"))
            i += 3;
        else if (bytes_equal_nocase(argv[i], "overflow"))
            i += 2;
        else
            break;
    }
    return i == argc ? KEY_RO | KEY_ACCESS : KEY_RW | KEY_ACCESS | KEY_UPDATE;
}

/* Commands whose options decide what happens to the key: KEY_VARIABLE_FLAGS. */
static const struct {
    const char *name;
    uint32_t (*flags)(const struct bytes *argv, uint32_t argc);
} variable_flags[] = {{"set", set_key_flags}, {"bitfield", bitfield_key_flags}};

uint32_t command_key_flags(const struct command *c, const struct bytes *argv, uint32_t argc,
                           uint32_t flags)
{
    if (!(flags & KEY_VARIABLE_FLAGS)) return flags;
    for (unsigned i = 0; i < ARRAY_LEN(variable_flags); i++)
        if (strcmp(c->name, variable_flags[i].name) == 0)
            return variable_flags[i].flags(argv, argc);
    return flags;
}

static void key_add(void *context, uint32_t index, const struct key_spec *spec)
{
    struct command_keys *keys = context;
    CHECK(keys->count < keys->capacity);
    keys->has_counted |= spec->first > 0;
    keys->indexes[keys->count] = index;
    keys->flags[keys->count++] = spec->flags;
}

/* Whether an argument says how many keys follow. */
static bool counts_keys(const struct command *c)
{
    for (uint32_t i = 0; i < KEY_SPECS_MAX && c->keys[i].flags != 0; i++)
        if (c->keys[i].first > 0 && !c->keys[i].keyword) return true;
    return false;
}

/* A specification names an argument at most once. */
static bool keys_alloc(struct command_keys *keys, uint32_t argc)
{
    keys->capacity = argc * KEY_SPECS_MAX;
    keys->indexes = mem_try_alloc(keys->mem, keys->capacity * sizeof *keys->indexes);
    keys->flags = mem_try_alloc(keys->mem, keys->capacity * sizeof *keys->flags);
    return keys->indexes && keys->flags;
}

enum command_keys_result command_keys_find(const struct router *r, const struct bytes *argv,
                                           uint32_t argc, struct command_keys *keys)
{
    const struct route *parent, *route = router_find(r, argv, argc, &parent);
    if (!route) return KEYS_NO_COMMAND;
    const struct command *c = route->command;
    if (!command_has_keys(c)) return KEYS_NEVER;
    if (!route_arity_fits(route, argc)) return KEYS_ARITY;
    if (!keys_alloc(keys, argc)) return KEYS_NO_MEMORY;
    bool is_valid = command_each_key(c, argv, argc, key_add, keys);
    bool lacks_counted = counts_keys(c) && !keys->has_counted;
    if (!is_valid || lacks_counted) keys->count = 0;
    if (keys->count == 0 && !(c->flags & CMD_NO_MANDATORY_KEYS)) return KEYS_INVALID;
    for (uint32_t i = 0; i < keys->count; i++)
        keys->flags[i] = command_key_flags(c, argv, argc, keys->flags[i]);
    return KEYS_FOUND;
}

void command_keys_free(struct command_keys *keys)
{
    mem_free(keys->mem, keys->indexes, keys->capacity * sizeof *keys->indexes);
    mem_free(keys->mem, keys->flags, keys->capacity * sizeof *keys->flags);
    *keys = (struct command_keys){.mem = keys->mem};
}
