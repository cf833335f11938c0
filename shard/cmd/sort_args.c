#include "shard/cmd/sort_args.h"

#include "base/text.h"

enum sort_word { WORD_ASC, WORD_DESC, WORD_ALPHA, WORD_LIMIT, WORD_STORE, WORD_BY, WORD_GET };

/* The option at argv[*at], which is left behind it and its values. False if it is none. */
static bool next_word(const struct bytes *argv, uint32_t argc, uint32_t *at, enum sort_word *word)
{
    static const struct {
        const char *text;
        uint32_t value_count;
    } words[] = {{"asc", 0},   {"desc", 0}, {"alpha", 0}, {"limit", 2},
                 {"store", 1}, {"by", 1},   {"get", 1}};
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        if (!bytes_equal_nocase(argv[*at], words[i].text)) continue;
        if (words[i].value_count >= argc - *at) return false;
        *at += 1 + words[i].value_count;
        *word = (enum sort_word)i;
        return true;
    }
    return false;
}

enum err sort_options_read(const struct bytes *argv, uint32_t argc, bool can_store,
                           struct sort_options *out)
{
    struct sort_options o = {.count = -1};
    enum sort_word word;
    for (uint32_t at = 2; at < argc;) {
        if (!next_word(argv, argc, &at, &word)) return ERR_SYNTAX;
        switch (word) {
        case WORD_ASC:
        case WORD_DESC:
            o.descending = word == WORD_DESC;
            break;
        case WORD_ALPHA:
            o.alphabetic = true;
            break;
        case WORD_LIMIT:
            if (!text_to_i64(argv[at - 2], &o.offset)) return ERR_NOT_INT;
            if (!text_to_i64(argv[at - 1], &o.count)) return ERR_NOT_INT;
            break;
        case WORD_STORE:
            if (!can_store) return ERR_SYNTAX;
            o.store = at - 1;
            break;
        case WORD_BY:
            o.has_by = true;
            o.by = argv[at - 1];
            o.keeps_order |= !memchr(o.by.data, '*', strnlen(o.by.data, o.by.size));
            break;
        case WORD_GET:
            o.get_count++;
            break;
        }
    }
    *out = o;
    return OK;
}

bool sort_next_get(const struct bytes *argv, uint32_t argc, uint32_t *at, struct bytes *pattern)
{
    enum sort_word word;
    if (*at == 0) *at = 2;
    while (*at < argc && next_word(argv, argc, at, &word)) {
        if (word != WORD_GET) continue;
        *pattern = argv[*at - 1];
        return true;
    }
    return false;
}

void sort_limit(const struct sort_options *o, uint64_t length, uint64_t *first, uint64_t *selected)
{
    uint64_t offset = o->offset > 0 ? (uint64_t)o->offset : 0;
    *first = MIN(offset, length);
    *selected = length - *first;
    if (o->count >= 0) *selected = MIN(*selected, (uint64_t)o->count);
}

/* ---- patterns ---- */

/* Signs are looked for in front of a zero byte only, as Redis looks for them in a C string. */
struct sort_pattern sort_pattern_read(struct bytes pattern)
{
    struct sort_pattern p = {.source = SORT_NOTHING};
    size_t size = pattern.size > 0 ? strnlen(pattern.data, pattern.size) : 0;
    if (size == 1 && pattern.data[0] == '#') {
        p.source = SORT_ELEMENT;
        return p;
    }
    const char *star = size > 0 ? memchr(pattern.data, '*', size) : NULL;
    if (!star) return p;
    const char *end = pattern.data + pattern.size, *rest = star + 1;
    const char *arrow = memmem(rest, size - (size_t)(rest - pattern.data), "->", 2);
    p.source = SORT_STRING;
    p.prefix = bytes_make(pattern.data, (size_t)(star - pattern.data));
    if (arrow && arrow + 2 < pattern.data + size) {
        p.source = SORT_FIELD;
        p.field = bytes_make(arrow + 2, (size_t)(end - arrow - 2));
        end = arrow;
    }
    p.suffix = bytes_make(rest, (size_t)(end - rest));
    return p;
}

bool sort_pattern_key(const struct sort_pattern *p, struct bytes element, struct buf *buf)
{
    buf->size = 0;
    if (!buf_try_reserve(buf, p->prefix.size + element.size + p->suffix.size + 1)) return false;
    buf_append(buf, p->prefix.data, p->prefix.size);
    buf_append(buf, element.data, element.size);
    buf_append(buf, p->suffix.data, p->suffix.size);
    return true;
}

/* ---- for the router ---- */

/* As in Redis, options that are wrong are passed over word by word. */
bool sort_each_key(const struct command *command, const struct bytes *argv, uint32_t argc,
                   command_key_fn *fn, void *context)
{
    uint32_t store = 0;
    enum sort_word word;
    fn(context, 1, &command->keys[0]);
    for (uint32_t at = 2; at < argc;) {
        if (!next_word(argv, argc, &at, &word)) {
            at++;
        } else if (word == WORD_STORE) {
            store = at - 1;
        }
    }
    const struct key_spec *spec = &command->keys[2];
    if (store && spec->flags) fn(context, store, spec);
    return true;
}

bool sort_has_external_keys(const struct command *command, const struct bytes *argv, uint32_t argc)
{
    struct sort_options o;
    if (command->each_key != sort_each_key) return false;
    bool can_store = command->keys[2].flags != 0;
    if (argc < 2 || sort_options_read(argv, argc, can_store, &o) != OK) return false;
    if (o.has_by && !o.keeps_order) return true;
    uint32_t at = 0;
    struct bytes pattern;
    while (sort_next_get(argv, argc, &at, &pattern))
        if (sort_pattern_is_external(pattern)) return true;
    return false;
}
