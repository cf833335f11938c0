/* config_file.c: reading configuration text: files, included files, standard input and the command
 * line.
 *
 * All four become text of the same syntax; the command line does so by putting each `--name` on a
 * line of its own and its values in quotes, which is how redis-server lets a value have spaces or
 * start with a dash.
 */
#include "server/config_value.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

#define BAD_DIRECTIVE "Bad directive or wrong number of arguments"

/* One text that is being read, and what included it. */
struct source {
    const struct source *parent;
    const char *name;
    bool is_file;      /* else something with a name of its own: standard input, the command line */
    bool is_arguments; /* lines mean nothing to the user */
    bool may_include;
    unsigned line, depth;
    struct config *config;
    struct buf *why;
};

static bool read_text(struct source *s, struct bytes text);

/* ---- errors ---- */

static void title(struct buf *why)
{
    buf_append_text(why, "\n*** FATAL CONFIG FILE ERROR (Shoal) ***\n");
}

static struct bytes first_word(struct bytes line)
{
    size_t size = 0;
    while (size < line.size && line.data[size] != ' ' && line.data[size] != '\t') size++;
    return bytes_make(line.data, size);
}

/* A password stays out of what is printed. */
static void show_line(struct buf *why, struct bytes line)
{
    const struct config_param *p = config_find(first_word(line));
    if (p && (p->flags & CONFIG_SENSITIVE)) {
        buf_printf(why, ">>> '%s (hidden)'\n", p->name);
        return;
    }
    buf_append_text(why, ">>> '");
    buf_append(why, line.data, line.size);
    buf_append_text(why, "'\n");
}

static bool fail_at(const struct source *s, struct bytes line, const char *reason)
{
    struct buf *why = s->why;
    title(why);
    if (s->is_file) {
        buf_printf(why, "Reading the configuration file '%s', at line %u\n", s->name, s->line);
    } else if (s->is_arguments) {
        buf_printf(why, "Reading %s\n", s->name);
    } else {
        buf_printf(why, "Reading %s, at line %u\n", s->name, s->line);
    }
    for (const struct source *from = s->parent; from; from = from->parent) {
        buf_printf(why, "included from '%s', at line %u\n", from->name, from->line);
    }
    show_line(why, line);
    buf_printf(why, "%s\n", reason);
    return false;
}

/* ---- included files ---- */

static bool read_file(const struct source *parent, const char *path, struct source *s,
                      struct bytes line)
{
    char why[ENV_NAME_BYTES_MAX * 2];
    struct buf text = {.mem = s->config->mem};
    if (env_read_file(path, &text, why) != OK) {
        buf_clear(&text);
        if (parent) return fail_at(parent, line, why);
        title(s->why);
        buf_printf(s->why, "%s\n", why);
        return false;
    }
    bool good = read_text(s, buf_view(&text));
    buf_clear(&text);
    return good;
}

static bool include_one(struct source *parent, const char *path, struct bytes line)
{
    struct source s = {.parent = parent,
                       .name = path,
                       .is_file = true,
                       .may_include = true,
                       .depth = parent->depth + 1};
    s.config = parent->config;
    s.why = parent->why;
    return read_file(parent, path, &s, line);
}

static bool has_wildcard(struct bytes path)
{
    for (size_t i = 0; i < path.size; i++) {
        if (path.data[i] == '*' || path.data[i] == '?' || path.data[i] == '[') return true;
    }
    return false;
}

/* A pattern that matches nothing is no error: such is a directory of optional pieces. */
static bool include(struct source *s, struct bytes path, struct bytes line)
{
    char name[PATH_MAX];
    glob_t found;
    if (!s->may_include) return fail_at(s, line, "Files cannot be included here");
    if (path.size == 0 || path.size >= sizeof(name) - 2) return fail_at(s, line, "Bad file name");
    if (s->depth >= CONFIG_INCLUDE_DEPTH_MAX)
        return fail_at(s, line, "Includes are nested too deeply");
    /* A file called "-" is a file. */
    snprintf(name, sizeof(name), "%s%.*s", path.data[0] == '-' ? "./" : "", (int)path.size,
             path.data);
    if (!has_wildcard(path)) return include_one(s, name, line);
    int result = glob(name, 0, NULL, &found);
    if (result == GLOB_NOMATCH) return true;
    if (result != 0) return fail_at(s, line, "Can't look for the included files");
    bool good = true;
    for (size_t i = 0; i < found.gl_pathc && good; i++)
        good = include_one(s, found.gl_pathv[i], line);
    globfree(&found);
    return good;
}

/* ---- lines ---- */

static bool read_directive(struct source *s, struct bytes line, const struct bytes *words,
                           uint32_t count)
{
    struct buf why = {.mem = s->config->mem};
    const struct config_param *p = config_find(words[0]);
    if (!p) return fail_at(s, line, BAD_DIRECTIVE);
    if (strcmp(p->name, "include") == 0) {
        return count == 2 ? include(s, words[1], line) : fail_at(s, line, BAD_DIRECTIVE);
    }
    struct config_words in = {words + 1, count - 1, config_given_bit(s->config, p)};
    bool good = config_value_set(s->config, p, &in, &why);
    if (good) {
        config_set_given_bit(s->config, p);
    } else {
        buf_append(&why, "", 1);
        good = fail_at(s, line, why.data);
    }
    buf_clear(&why);
    return good;
}

static bool read_line(struct source *s, struct bytes line)
{
    struct mem *mem = s->config->mem;
    struct buf storage = {.mem = mem};
    if (line.size > CONFIG_LINE_BYTES_MAX)
        return fail_at(s, bytes_make(line.data, 64), "The line is too long");
    if (memchr(line.data, '\0', line.size))
        return fail_at(s, line, "NUL byte in configuration line");
    int count = text_split_words(line, &storage, NULL, 0);
    if (count < 1) {
        buf_clear(&storage);
        return fail_at(s, line, "Unbalanced quotes in configuration line");
    }
    size_t bytes = (size_t)count * sizeof(struct bytes);
    struct bytes *words = mem_alloc(mem, bytes);
    storage.size = 0;
    count = text_split_words(line, &storage, words, count);
    bool good = read_directive(s, line, words, (uint32_t)count);
    mem_free(mem, words, bytes);
    buf_clear(&storage);
    return good;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct bytes trimmed(struct bytes line)
{
    while (line.size && is_blank(line.data[line.size - 1])) line.size--;
    while (line.size && is_blank(line.data[0])) line.data++, line.size--;
    return line;
}

static bool read_text(struct source *s, struct bytes text)
{
    const char *at = text.data, *end = text.data + text.size;
    for (s->line = 1; at < end; s->line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        struct bytes line = trimmed(bytes_make(at, (size_t)(stop - at)));
        at = stop + 1;
        if (line.size == 0 || line.data[0] == '#') continue;
        if (!read_line(s, line)) return false;
    }
    return true;
}

enum err config_read_text(struct config *c, struct bytes text, const char *origin, struct buf *why)
{
    struct source s = {.name = origin, .config = c, .why = why};
    return read_text(&s, text) ? OK : ERR_SYNTAX;
}

/* ---- the command line ---- */

static bool is_option(const char *arg)
{
    return arg[0] == '-' && arg[1] == '-';
}

static bool has_several_words(const char *text)
{
    text += strspn(text, " \t\n");
    text += strcspn(text, " \t\n");
    return text[strspn(text, " \t\n")] != '\0';
}

/* The argument right after `--name` is its value even if it looks like an option; later ones are
 * values until the next option.
 * `--save` alone stands for `--save ""`, and `--name value` may be one argument. */
static void append_arguments(int argc, char **argv, struct buf *text)
{
    bool value_due = false;
    for (int i = 0; i < argc; i++) {
        if (value_due || !is_option(argv[i])) {
            config_quote(text, bytes_of(argv[i]));
            buf_append_text(text, " ");
            value_due = false;
            continue;
        }
        const char *name = argv[i] + 2;
        bool is_last = i + 1 == argc || is_option(argv[i + 1]);
        bool bare_save = is_last && bytes_equal_nocase(bytes_of(name), "save");
        buf_printf(text, "%s%s ", text->size ? "\n" : "", name);
        if (bare_save) buf_append_text(text, "\"\"");
        value_due = !bare_save && !has_several_words(name);
    }
}

static bool check_threads(const struct config *c, struct buf *why)
{
    bool net = c->net_threads != CONFIG_THREADS_AUTO,
         shard = c->shard_threads != CONFIG_THREADS_AUTO;
    const char *reason = NULL;
    if (net != shard) reason = "net-threads and shard-threads must be given together";
    if (net && shard && c->threads != CONFIG_THREADS_AUTO) {
        reason = "threads cannot be combined with net-threads and shard-threads";
    }
    if (!reason) return true;
    title(why);
    buf_printf(why, "%s\n", reason);
    return false;
}

static bool load_file(struct config *c, const char *path, struct buf *why)
{
    char resolved[PATH_MAX];
    struct source s = {.name = path, .is_file = true, .may_include = true, .config = c, .why = why};
    if (!read_file(NULL, path, &s, BYTES_LITERAL(""))) return false;
    if (realpath(path, resolved)) {
        config_text_free(c->mem, c->file_path);
        c->file_path = config_text_copy(c->mem, bytes_of(resolved));
    }
    return true;
}

static bool load_all(int argc, char **argv, struct config *c, struct buf *why)
{
    int first = 1, last = argc;
    bool use_stdin = false;
    const char *file = NULL;
    if (argc > 1 && argv[1][0] != '-') file = argv[first++];
    if (first < last && strcmp(argv[last - 1], "-") == 0) use_stdin = true, last--;
    if (!use_stdin && !file && first < last && strcmp(argv[first], "-") == 0)
        use_stdin = true, first++;

    if (file && !load_file(c, file, why)) return false;
    if (use_stdin) {
        struct source s = {.name = "standard input", .may_include = true, .config = c, .why = why};
        if (!read_file(NULL, "-", &s, BYTES_LITERAL(""))) return false;
    }
    struct buf text = {.mem = c->mem};
    append_arguments(last - first, argv + first, &text);
    struct source s = {.name = "the command line",
                       .is_arguments = true,
                       .may_include = true,
                       .config = c,
                       .why = why};
    bool good = read_text(&s, buf_view(&text));
    buf_clear(&text);
    return good && check_threads(c, why);
}

enum err config_load(int argc, char **argv, struct mem *mem, struct config *out, struct buf *why)
{
    config_defaults(out, mem);
    if (load_all(argc, argv, out, why)) return OK;
    config_deinit(out);
    return ERR_SYNTAX;
}
