/* config_value.c: the kinds of configuration values: how each is read, checked, shown and written.
 */
#include "server/config_value.h"

#include <ctype.h>

#include "base/mem.h"
#include "base/text.h"

#define WRONG_COUNT "wrong number of arguments"
#define BAD_DIRECTIVE "Bad directive or wrong number of arguments"
#define HOSTNAME_BYTES_MAX 255

bool config_fail(struct buf *why, const char *text)
{
    buf_append_text(why, text);
    return false;
}

/* ---- texts and lists in the configuration's memory ---- */

/* The size stands in front of the text, which ends with a zero byte and may have others. */
char *config_text_copy(struct mem *mem, struct bytes text)
{
    char *block = mem_alloc(mem, sizeof text.size + text.size + 1);
    char *copy = block + sizeof text.size;
    memcpy(block, &text.size, sizeof text.size);
    if (text.size) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

struct bytes config_text_view(const char *text)
{
    struct bytes view = {.data = text};
    memcpy(&view.size, text - sizeof view.size, sizeof view.size);
    return view;
}

void config_text_free(struct mem *mem, char *text)
{
    if (!text) return;
    size_t size = config_text_view(text).size;
    mem_free(mem, text - sizeof size, sizeof size + size + 1);
}

void config_list_add(struct mem *mem, struct config_list *list, struct bytes item)
{
    size_t old_bytes = list->count * sizeof(char *);
    char **items = mem_alloc(mem, old_bytes + sizeof(char *));
    if (old_bytes) memcpy(items, list->items, old_bytes);
    mem_free(mem, list->items, old_bytes);
    items[list->count++] = config_text_copy(mem, item);
    list->items = items;
}

void config_list_clear(struct mem *mem, struct config_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) config_text_free(mem, list->items[i]);
    if (list->items) mem_free(mem, list->items, list->count * sizeof(char *));
    *list = (struct config_list){0};
}

bool config_owns_text(const struct config_param *p)
{
    return p->kind == CONFIG_TEXT || (p->special && p->special->is_text);
}

bool config_owns_list(const struct config_param *p)
{
    return p->special && p->special->is_list;
}

static void *field_of(struct config *c, const struct config_param *p)
{
    return (char *)c + p->offset;
}

const void *config_field_of(const struct config *c, const struct config_param *p)
{
    return (const char *)c + p->offset;
}

char **config_text_of(struct config *c, const struct config_param *p)
{
    return field_of(c, p);
}

struct config_list *config_list_of(struct config *c, const struct config_param *p)
{
    return field_of(c, p);
}

void config_replace_text(struct config *c, const struct config_param *p, struct bytes text)
{
    char **field = config_text_of(c, p);
    char *old = *field;
    *field = config_text_copy(c->mem, text);
    config_text_free(c->mem, old);
}

bool config_has_nul(struct bytes text)
{
    return text.size && memchr(text.data, '\0', text.size);
}

/* ---- quoting ---- */

void config_quote(struct buf *out, struct bytes word)
{
    static const char named[] = "\nn\rr\tt\aa\bb";
    buf_append_text(out, "\"");
    for (size_t i = 0; i < word.size; i++) {
        unsigned char ch = (unsigned char)word.data[i];
        const char *name = NULL;
        for (size_t n = 0; n + 1 < sizeof(named); n += 2) {
            if (named[n] == (char)ch) name = &named[n + 1];
        }
        if (name) {
            buf_printf(out, "\\%c", *name);
        } else if (ch == '"' || ch == '\\') {
            buf_printf(out, "\\%c", ch);
        } else if (ch >= ' ' && ch < 127) {
            buf_append(out, &word.data[i], 1);
        } else {
            buf_printf(out, "\\x%02x", ch);
        }
    }
    buf_append_text(out, "\"");
}

bool config_is_plain(struct bytes word)
{
    for (size_t i = 0; i < word.size; i++) {
        unsigned char ch = (unsigned char)word.data[i];
        if (ch <= ' ' || ch >= 127 || ch == '"' || ch == '\'' || ch == '\\') return false;
    }
    return word.size > 0;
}

void config_quote_if_needed(struct buf *out, struct bytes word)
{
    if (config_is_plain(word)) {
        buf_append(out, word.data, word.size);
    } else {
        config_quote(out, word);
    }
}

/* ---- numbers in fields of any width ---- */

static void store_number(struct config *c, const struct config_param *p, uint64_t value)
{
    void *field = field_of(c, p);
    uint16_t half = (uint16_t)value;
    uint32_t word = (uint32_t)value;
    bool truth = value != 0;
    switch (p->bytes) {
    case 1:
        memcpy(field, &truth, 1);
        return;
    case 2:
        memcpy(field, &half, 2);
        return;
    case 4:
        memcpy(field, &word, 4);
        return;
    default:
        memcpy(field, &value, 8);
        return;
    }
}

/* Sign-extended where the range has negative values. */
static uint64_t load_number(const struct config *c, const struct config_param *p)
{
    uint64_t value = 0;
    memcpy(&value, config_field_of(c, p), p->bytes);
    if (p->bytes == 4 && p->min < 0) return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
    return value;
}

static bool set_bool(struct config *c, const struct config_param *p, struct bytes word,
                     struct buf *why)
{
    bool yes = bytes_equal_nocase(word, "yes");
    if (!yes && !bytes_equal_nocase(word, "no"))
        return config_fail(why, "argument must be 'yes' or 'no'");
    if (p->special && p->special->check && !p->special->check(word, why)) return false;
    store_number(c, p, yes);
    return true;
}

bool config_set_int(struct config *c, const struct config_param *p, struct bytes word,
                    struct buf *why)
{
    int64_t value;
    if (!text_to_i64(word, &value))
        return config_fail(why, "argument couldn't be parsed into an integer");
    if (value < p->min || value > p->max) {
        buf_printf(why, "argument must be between %lld and %lld inclusive", (long long)p->min,
                   (long long)p->max);
        return false;
    }
    store_number(c, p, (uint64_t)value);
    return true;
}

static bool set_threads(struct config *c, const struct config_param *p, struct bytes word,
                        struct buf *why)
{
    if (!bytes_equal_nocase(word, "auto")) return config_set_int(c, p, word, why);
    store_number(c, p, CONFIG_THREADS_AUTO);
    return true;
}

bool config_set_memory(struct config *c, const struct config_param *p, struct bytes word,
                       struct buf *why)
{
    uint64_t value, min = (uint64_t)p->min, max = (uint64_t)p->max;
    if (!text_to_memory(word, &value)) return config_fail(why, "argument must be a memory value");
    if (value < min || value > max) {
        buf_printf(why, "argument must be between %llu and %llu inclusive", (unsigned long long)min,
                   (unsigned long long)max);
        return false;
    }
    store_number(c, p, value);
    return true;
}

/* A percentage is stored as its negative. */
static bool set_memory_percent(struct config *c, const struct config_param *p, struct bytes word,
                               struct buf *why)
{
    static const char bad[] = "argument must be a memory or percent value";
    bool is_percent = word.size > 0 && word.data[word.size - 1] == '%';
    int64_t percent = 0;
    uint64_t bytes = 0;
    if (is_percent) {
        if (!text_to_i64(bytes_make(word.data, word.size - 1), &percent) || percent < 0)
            return config_fail(why, bad);
    } else if (!text_to_memory(word, &bytes)) {
        return config_fail(why, bad);
    }
    if (percent > -p->min || bytes > (uint64_t)p->max) {
        buf_printf(why, "percentage argument must be less or equal to %lld", (long long)-p->min);
        return false;
    }
    store_number(c, p, is_percent ? (uint64_t)-percent : bytes);
    return true;
}

static bool set_octal(struct config *c, const struct config_param *p, struct bytes word,
                      struct buf *why)
{
    static const char bad[] = "argument couldn't be parsed as an octal number";
    int64_t value = 0;
    if (word.size == 0) return config_fail(why, bad);
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] < '0' || word.data[i] > '7') return config_fail(why, bad);
        if (value <= p->max) value = value * 8 + (word.data[i] - '0');
    }
    if (value > p->max) {
        buf_printf(why, "argument must be between %llo and %llo inclusive",
                   (unsigned long long)p->min, (unsigned long long)p->max);
        return false;
    }
    store_number(c, p, (uint64_t)value);
    return true;
}

/* ---- words of a set ---- */

static bool bad_word(const struct config_param *p, struct buf *why)
{
    buf_append_text(why, "argument(s) must be one of the following: ");
    for (const struct config_word *w = p->words; w->word; w++) {
        buf_printf(why, "%s%s", w == p->words ? "" : ", ", w->word);
    }
    return false;
}

static const struct config_word *find_word(const struct config_param *p, struct bytes text)
{
    for (const struct config_word *w = p->words; w->word; w++) {
        if (bytes_equal_nocase(text, w->word)) return w;
    }
    return NULL;
}

static bool set_enum(struct config *c, const struct config_param *p, struct bytes word,
                     struct buf *why)
{
    const struct config_word *w = find_word(p, word);
    if (!w) return bad_word(p, why);
    store_number(c, p, (uint64_t)w->value);
    return true;
}

/* shutdown-on-sigint and shutdown-on-sigterm are the only ones of this kind, so their rule stands
 * here. */
static bool set_bits(struct config *c, const struct config_param *p, const struct config_words *in,
                     struct buf *why)
{
    uint64_t bits = 0, both = CONFIG_SHUTDOWN_SAVE | CONFIG_SHUTDOWN_NOSAVE;
    if (in->count == 0) return bad_word(p, why);
    for (uint32_t i = 0; i < in->count; i++) {
        const struct config_word *w = find_word(p, in->words[i]);
        if (!w) return bad_word(p, why);
        bits |= (uint64_t)w->value;
    }
    if ((bits & both) == both)
        return config_fail(why, "shutdown options SAVE and NOSAVE can't be used simultaneously");
    store_number(c, p, bits);
    return true;
}

static void print_words(const struct config *c, const struct config_param *p, struct buf *out)
{
    uint64_t value = load_number(c, p);
    size_t start = out->size;
    for (const struct config_word *w = p->words; w->word; w++) {
        bool bit = p->kind == CONFIG_BITS && w->value && (value & (uint64_t)w->value);
        if (!bit && value != (uint64_t)w->value) continue;
        buf_printf(out, "%s%s", out->size == start ? "" : " ", w->word);
        if (p->kind == CONFIG_ENUM) return;
    }
}

/* ---- texts ---- */

static bool set_text(struct config *c, const struct config_param *p, struct bytes word,
                     struct buf *why)
{
    if (config_has_nul(word) && !(p->flags & CONFIG_BINARY))
        return config_fail(why, "argument must not contain a NUL byte");
    if (p->special && p->special->check && !p->special->check(word, why)) return false;
    config_replace_text(c, p, word);
    return true;
}

static bool is_path(struct bytes name)
{
    return name.size && memchr(name.data, '/', name.size);
}

static bool check_file_name(struct bytes name, struct buf *why)
{
    return is_path(name) ? config_fail(why, "dbfilename can't be a path, just a filename") : true;
}

static bool check_file_name_needed(struct bytes name, struct buf *why)
{
    if (name.size == 0) return config_fail(why, "appendfilename can't be empty");
    return is_path(name) ? config_fail(why, "appendfilename can't be a path, just a filename")
                         : true;
}

static bool check_dir_name_needed(struct bytes name, struct buf *why)
{
    if (name.size == 0) return config_fail(why, "appenddirname can't be empty");
    return is_path(name) ? config_fail(why, "appenddirname can't be a path, just a dirname") : true;
}

static bool check_hostname(struct bytes name, struct buf *why)
{
    if (name.size > HOSTNAME_BYTES_MAX)
        return config_fail(why, "Hostnames must be less than 256 characters");
    for (size_t i = 0; i < name.size; i++) {
        unsigned char ch = (unsigned char)name.data[i];
        if (isalnum(ch) || ch == '-' || ch == '.') continue;
        return config_fail(why,
                           "Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    return true;
}

static bool is_title_variable(struct bytes name)
{
    static const char *const known[] = {"title",    "listen-addr", "server-mode", "port",
                                        "tls-port", "unixsocket",  "config-file"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (bytes_equal(name, bytes_of(known[i]))) return true;
    }
    return false;
}

static bool check_title(struct bytes text, struct buf *why)
{
    static const char bad[] = "template format is invalid or contains unknown variables";
    if (text.size == 0) return config_fail(why, bad);
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] != '{') continue;
        const char *end = memchr(text.data + i, '}', text.size - i);
        if (!end) return config_fail(why, bad);
        size_t name_bytes = (size_t)(end - text.data) - i - 1;
        if (!is_title_variable(bytes_make(text.data + i + 1, name_bytes)))
            return config_fail(why, bad);
        i += name_bytes + 1;
    }
    return true;
}

/* Redis's words: there, too, the allocator has to help. */
static bool check_defrag(struct bytes word, struct buf *why)
{
    if (!bytes_equal_nocase(word, "yes") || mem_knows_slabs()) return true;
    return config_fail(why, "Active defragmentation cannot be enabled: it requires a Redis server "
                            "compiled with a modified Jemalloc like the one shipped by default "
                            "with the Redis source distribution");
}

const struct config_special config_special_defrag = {.check = check_defrag};
const struct config_special config_special_file_name = {.check = check_file_name};
const struct config_special config_special_file_name_needed = {.check = check_file_name_needed};
const struct config_special config_special_dir_name_needed = {.check = check_dir_name_needed};
const struct config_special config_special_hostname = {.check = check_hostname};
const struct config_special config_special_title = {.check = check_title};

/* As large a unit as divides the value. */
void config_print_memory(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"", "kb", "mb", "gb"};
    int unit = 0;
    while (unit < 3 && bytes && bytes % 1024 == 0) bytes /= 1024, unit++;
    buf_printf(out, "%llu%s", (unsigned long long)bytes, units[unit]);
}

void config_print_text(const struct config *c, const struct config_param *p, struct buf *out)
{
    const char *const *field = config_field_of(c, p);
    struct bytes text = config_text_view(*field);
    buf_append(out, text.data, text.size);
}

void config_lines_text(const struct config *c, const struct config_param *p, struct buf *out)
{
    const char *const *field = config_field_of(c, p);
    buf_printf(out, "%s ", p->name);
    config_quote(out, config_text_view(*field));
    buf_append_text(out, "\n");
}

/* ---- by kind ---- */

static bool set_by_kind(struct config *c, const struct config_param *p,
                        const struct config_words *in, struct buf *why)
{
    if (p->special && p->special->set) return p->special->set(c, p, in, why);
    switch (p->kind) {
    case CONFIG_BOOL:
        return set_bool(c, p, in->words[0], why);
    case CONFIG_ENUM:
        return set_enum(c, p, in->words[0], why);
    case CONFIG_BITS:
        return set_bits(c, p, in, why);
    case CONFIG_INT:
        return config_set_int(c, p, in->words[0], why);
    case CONFIG_MEMORY:
        return config_set_memory(c, p, in->words[0], why);
    case CONFIG_MEMORY_PERCENT:
        return set_memory_percent(c, p, in->words[0], why);
    case CONFIG_OCTAL:
        return set_octal(c, p, in->words[0], why);
    case CONFIG_THREADS:
        return set_threads(c, p, in->words[0], why);
    case CONFIG_TEXT:
        return set_text(c, p, in->words[0], why);
    case CONFIG_SPECIAL:
        break;
    }
    return config_fail(why, BAD_DIRECTIVE);
}

static uint32_t count_parts(struct bytes text)
{
    uint32_t count = text.size > 0;
    for (size_t i = 0; i < text.size; i++) count += text.data[i] == ' ';
    return count;
}

static void split_at_spaces(struct bytes text, struct bytes *parts)
{
    const char *start = text.data, *end = text.data + text.size;
    for (const char *at = start; at < end; at++) {
        if (*at != ' ') continue;
        *parts++ = bytes_make(start, (size_t)(at - start));
        start = at + 1;
    }
    *parts = bytes_make(start, (size_t)(end - start));
}

bool config_value_set(struct config *c, const struct config_param *p, const struct config_words *in,
                      struct buf *why)
{
    bool several = p->flags & CONFIG_MULTI, in_file_only = p->flags & CONFIG_FILE_ONLY;
    for (uint32_t i = 0; i < in->count; i++) {
        if (in->words[i].size > CONFIG_LINE_BYTES_MAX)
            return config_fail(why, "argument is too long");
    }
    if (!several && in->count != 1)
        return config_fail(why, in_file_only ? BAD_DIRECTIVE : WRONG_COUNT);
    if (!several || in_file_only || in->count != 1) return set_by_kind(c, p, in, why);

    /* One word that stands for several: `save "60 1000 10 5"`, and every CONFIG SET. */
    struct config_words parts = {.count = count_parts(in->words[0]), .more = in->more};
    if (parts.count == 0) return set_by_kind(c, p, &parts, why);
    size_t bytes = parts.count * sizeof(struct bytes);
    struct bytes *words = mem_try_alloc(c->mem, bytes);
    if (!words) return config_fail(why, "out of memory");
    split_at_spaces(in->words[0], words);
    parts.words = words;
    bool good = set_by_kind(c, p, &parts, why);
    mem_free(c->mem, words, bytes);
    return good;
}

void config_value_print(const struct config *c, const struct config_param *p, struct buf *out)
{
    uint64_t number = p->kind == CONFIG_TEXT || p->kind == CONFIG_SPECIAL ? 0 : load_number(c, p);
    int64_t signed_number = (int64_t)number;
    switch (p->kind) {
    case CONFIG_BOOL:
        buf_append_text(out, number ? "yes" : "no");
        return;
    case CONFIG_ENUM:
    case CONFIG_BITS:
        print_words(c, p, out);
        return;
    case CONFIG_INT:
        buf_printf(out, "%lld", (long long)signed_number);
        return;
    case CONFIG_MEMORY:
        buf_printf(out, "%llu", (unsigned long long)number);
        return;
    case CONFIG_MEMORY_PERCENT:
        buf_printf(out, signed_number < 0 ? "%lld%%" : "%lld",
                   (long long)(signed_number < 0 ? -signed_number : signed_number));
        return;
    case CONFIG_OCTAL:
        buf_printf(out, "%llo", (unsigned long long)number);
        return;
    case CONFIG_THREADS:
        if (number == CONFIG_THREADS_AUTO) {
            buf_append_text(out, "auto");
        } else {
            buf_printf(out, "%llu", (unsigned long long)number);
        }
        return;
    case CONFIG_TEXT:
        config_print_text(c, p, out);
        return;
    case CONFIG_SPECIAL:
        if (p->special->print) p->special->print(c, p, out);
        return;
    }
}

void config_value_lines(const struct config *c, const struct config_param *p, struct buf *out)
{
    if (p->special && p->special->lines) {
        p->special->lines(c, p, out);
        return;
    }
    if (p->kind == CONFIG_TEXT) {
        config_lines_text(c, p, out);
        return;
    }
    buf_printf(out, "%s ", p->name);
    size_t start = out->size;
    bool is_memory = p->kind == CONFIG_MEMORY ||
                     (p->kind == CONFIG_MEMORY_PERCENT && (int64_t)load_number(c, p) >= 0);
    if (is_memory) {
        config_print_memory(out, load_number(c, p));
    } else {
        config_value_print(c, p, out);
    }
    buf_append_text(out, out->size == start ? "\"\"\n" : "\n");
}
