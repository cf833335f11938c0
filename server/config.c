/* config.c: the configuration as a whole: defaults, copies, CONFIG GET and SET, differences,
 * warnings. */
#include "server/config_value.h"

#include "base/mem.h"
#include "base/text.h"

#define NAME_BYTES_MAX 64
#define SHOWN_BYTES_MAX 1024 /* of an unknown name, in an error */

/* ---- life ---- */

void config_defaults(struct config *c, struct mem *mem)
{
    struct buf why = {.mem = mem};
    *c = (struct config){.mem = mem, .file_path = config_text_copy(mem, BYTES_LITERAL(""))};
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if (!p->initial) continue;
        struct bytes word = bytes_of(p->initial);
        struct config_words in = {&word, 1, false};
        /* A text may start as what its own check would not take from a user: no master, or a
         * working directory that is gone. */
        bool as_it_is = config_owns_text(p) && word.size == 0;
        if (!as_it_is && config_value_set(c, p, &in, &why)) continue;
        CHECK(config_owns_text(p));
        *config_text_of(c, p) = config_text_copy(mem, word);
    }
    buf_clear(&why);
}

void config_copy(const struct config *c, struct config *out)
{
    *out = *c;
    out->file_path = config_text_copy(c->mem, bytes_of(c->file_path));
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if (config_owns_text(p)) {
            char **text = config_text_of(out, p);
            *text = config_text_copy(c->mem, config_text_view(*text));
        }
        if (config_owns_list(p)) {
            struct config_list *list = config_list_of(out, p), theirs = *list;
            *list = (struct config_list){0};
            for (uint32_t n = 0; n < theirs.count; n++)
                config_list_add(c->mem, list, bytes_of(theirs.items[n]));
        }
    }
}

void config_deinit(struct config *c)
{
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if (config_owns_text(p)) config_text_free(c->mem, *config_text_of(c, p));
        if (config_owns_list(p)) config_list_clear(c->mem, config_list_of(c, p));
    }
    config_text_free(c->mem, c->file_path);
    *c = (struct config){0};
}

/* ---- the table ---- */

const struct config_param *config_find(struct bytes name)
{
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if (bytes_equal_nocase(name, p->name)) return p;
        if (p->alias && bytes_equal_nocase(name, p->alias)) return p;
    }
    return NULL;
}

static const struct config_param *find_known(const char *name)
{
    const struct config_param *p = config_find(bytes_of(name));
    CHECK(p != NULL);
    return p;
}

/* ---- CONFIG GET ---- */

static bool is_glob(struct bytes pattern)
{
    for (size_t i = 0; i < pattern.size; i++) {
        if (pattern.data[i] == '*' || pattern.data[i] == '?' || pattern.data[i] == '[') return true;
    }
    return false;
}

/* How this name is to be shown if one of the patterns asks for it: an exact one is repeated as the
 * client wrote it. */
static bool wanted_as(const char *name, bool hidden, const struct bytes *patterns,
                      uint32_t pattern_count, char shown[NAME_BYTES_MAX])
{
    for (uint32_t i = 0; i < pattern_count; i++) {
        struct bytes pattern = patterns[i], as = bytes_of(name);
        if (is_glob(pattern)) {
            if (hidden || !text_glob_match(pattern, as, true)) continue;
        } else {
            if (!bytes_equal_nocase(pattern, name)) continue;
            as = pattern;
        }
        CHECK(as.size < NAME_BYTES_MAX);
        memcpy(shown, as.data, as.size);
        shown[as.size] = '\0';
        return true;
    }
    return false;
}

void config_get(const struct config *c, const struct bytes *patterns, uint32_t pattern_count,
                config_visit_fn *visit, void *context)
{
    struct buf value = {.mem = c->mem};
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        const char *names[] = {p->name, p->alias};
        char shown[NAME_BYTES_MAX];
        for (int n = 0; n < 2; n++) {
            if (!names[n] || (p->flags & CONFIG_FILE_ONLY)) continue;
            if (!wanted_as(names[n], p->flags & CONFIG_HIDDEN, patterns, pattern_count, shown))
                continue;
            value.size = 0;
            config_value_print(c, p, &value);
            visit(context, shown, buf_view(&value));
        }
    }
    buf_clear(&value);
}

/* ---- CONFIG SET ---- */

void config_set_failure(struct buf *error, const char *name, const char *reason)
{
    buf_printf(error, "ERR CONFIG SET failed (possibly related to argument '%s') - %s", name,
               reason);
}

static void unknown_option(struct buf *error, struct bytes name)
{
    buf_append_text(error, "ERR Unknown option or number of arguments for CONFIG SET - '");
    for (size_t i = 0; i < MIN(name.size, (size_t)SHOWN_BYTES_MAX) && name.data[i]; i++) {
        bool line_end = name.data[i] == '\r' || name.data[i] == '\n';
        buf_append(error, line_end ? " " : &name.data[i], 1);
    }
    buf_append_text(error, "'");
}

/* The name or the alias, whichever the client used, as the table writes it. */
static const char *name_used(const struct config_param *p, struct bytes name)
{
    return p->alias && bytes_equal_nocase(name, p->alias) ? p->alias : p->name;
}

/* Names that differ only as name and alias are not duplicates in Redis. At most all names of the
 * table can come before one repeats, so this stays small whatever the client sends. */
static bool is_duplicate(const struct bytes *argv, uint32_t at, const char *name)
{
    for (uint32_t i = 0; i < at; i += 2) {
        if (bytes_equal_nocase(argv[i], name)) return true;
    }
    return false;
}

static const char *why_not_settable(const struct config *old, const struct config_param *p,
                                    bool client_is_local)
{
    enum config_protected rule = old->enable_protected_configs;
    bool allowed =
        rule == CONFIG_PROTECTED_YES || (rule == CONFIG_PROTECTED_LOCAL && client_is_local);
    if (p->flags & CONFIG_IMMUTABLE) return "can't set immutable config";
    if ((p->flags & CONFIG_PROTECTED) && !allowed) return "can't set protected config";
    return NULL;
}

/* Everything that can be said without looking at the values comes first, as in Redis. */
static bool check_names(const struct config *old, const struct bytes *argv, uint32_t argc,
                        bool client_is_local, struct buf *error)
{
    for (uint32_t i = 0; i < argc; i += 2) {
        const struct config_param *p = config_find(argv[i]);
        if (!p || (p->flags & CONFIG_FILE_ONLY)) {
            unknown_option(error, argv[i]);
            return false;
        }
        const char *name = name_used(p, argv[i]),
                   *reason = why_not_settable(old, p, client_is_local);
        if (!reason && is_duplicate(argv, i, name)) reason = "duplicate parameter";
        if (!reason) continue;
        config_set_failure(error, name, reason);
        return false;
    }
    return true;
}

enum err config_set(const struct config *old, const struct bytes *argv, uint32_t argc,
                    bool client_is_local, struct config *out, struct buf *error)
{
    CHECK(argc % 2 == 0);
    if (!check_names(old, argv, argc, client_is_local, error)) return ERR_SYNTAX;

    struct config changed;
    struct buf why = {.mem = old->mem};
    bool good = true;
    config_copy(old, &changed);
    for (uint32_t i = 0; i < argc && good; i += 2) {
        const struct config_param *p = config_find(argv[i]);
        struct config_words in = {&argv[i + 1], 1, false};
        good = config_value_set(&changed, p, &in, &why);
        config_set_given_bit(&changed, p);
        if (good) continue;
        buf_append(&why, "", 1);
        config_set_failure(error, name_used(p, argv[i]), why.data);
    }
    buf_clear(&why);
    if (!good) {
        config_deinit(&changed);
        return ERR_SYNTAX;
    }
    *out = changed;
    return OK;
}

/* ---- differences ---- */

/* The text for a file is exact where what CONFIG GET shows is not. */
static bool differs(const struct config *a, const struct config *b, const struct config_param *p)
{
    struct buf of_a = {.mem = a->mem}, of_b = {.mem = b->mem};
    config_value_lines(a, p, &of_a);
    config_value_lines(b, p, &of_b);
    bool yes =
        of_a.size != of_b.size || (of_a.size && memcmp(of_a.data, of_b.data, of_a.size) != 0);
    buf_clear(&of_a);
    buf_clear(&of_b);
    return yes;
}

uint32_t config_diff(const struct config *a, const struct config *b)
{
    uint32_t areas = 0;
    for (uint32_t i = 0; i < config_param_count; i++) {
        const struct config_param *p = &config_params[i];
        if ((areas | p->area) != areas && differs(a, b, p)) areas |= p->area;
    }
    return areas;
}

bool config_differs(const struct config *a, const struct config *b, const char *name)
{
    return differs(a, b, find_known(name));
}

/* ---- warnings ---- */

/* What would betray a user who trusted it. Each is said while its row has CONFIG_NO_EFFECT, it was
 * set, and its value is not the harmless one. */
static const struct {
    const char *name, *harmless, *line;
} betrayals[] = {
    {"tls-port", "0",
     "tls-port is set, but this version does not speak TLS: nothing listens there"},
    {"replicaof", "",
     "replicaof is set, but this version does not replicate: this server starts empty and accepts "
     "writes"},
    {"cluster-enabled", "no",
     "cluster-enabled is set, but this version is no cluster node: all keys are kept here"},
    {"loadmodule", NULL, "loadmodule is set, but this version loads no modules"},
};

static bool has_no_effect(const struct config *c, const struct config_param *p)
{
    return (p->flags & CONFIG_NO_EFFECT) && config_given_bit(c, p);
}

void config_warnings(const struct config *c, config_warn_fn *warn, void *context)
{
    struct buf line = {.mem = c->mem};
    for (uint32_t i = 0; i < config_param_count; i++) {
        if (!has_no_effect(c, &config_params[i])) continue;
        buf_printf(&line, "%s%s",
                   line.size ? ", " : "Known directives that have no effect in this version: ",
                   config_params[i].name);
    }
    if (line.size) {
        buf_append(&line, "", 1);
        warn(context, line.data);
    }
    for (size_t i = 0; i < ARRAY_LEN(betrayals); i++) {
        const struct config_param *p = find_known(betrayals[i].name);
        if (!has_no_effect(c, p)) continue;
        line.size = 0;
        config_value_print(c, p, &line);
        bool harmless =
            betrayals[i].harmless && bytes_equal(buf_view(&line), bytes_of(betrayals[i].harmless));
        if (!harmless) warn(context, betrayals[i].line);
    }
    buf_clear(&line);
}
