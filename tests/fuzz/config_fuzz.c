/* config_fuzz.c: any text as a configuration file, and any pairs as CONFIG SET.
 *
 * What was accepted must survive: the file that CONFIG REWRITE makes of it, alone or over the old
 * text, reads back as the same values, and writing it again changes nothing. What was refused must
 * have a reason and change nothing.
 */
#include <stdio.h>

#include "base/mem.h"
#include "server/config.h"
#include "tests/fuzz/driver.h"

#define PAIRS_MAX 8

static bool same(const struct buf *a, const struct buf *b)
{
    return a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
}

/* Everything that a configuration holds, as the text of a file. */
static struct buf text_of(const struct config *c, struct bytes over)
{
    struct buf text = {.mem = c->mem};
    config_rewrite_text(c, over, &text);
    return text;
}

static void read_back(const struct config *c, const struct buf *text)
{
    struct config again;
    struct buf why = {.mem = c->mem}, expected = text_of(c, BYTES_LITERAL(""));
    config_defaults(&again, c->mem);
    if (config_read_text(&again, buf_view(text), "rewritten", &why) != OK) {
        fprintf(stderr, "%.*s\n%.*s\n", (int)why.size, why.data, (int)text->size, text->data);
        CHECK_NEVER("the rewritten file is refused");
    }
    struct buf found = text_of(&again, BYTES_LITERAL(""));
    if (!same(&found, &expected)) {
        fprintf(stderr, "expected:\n%.*s\nfound:\n%.*s\n", (int)expected.size, expected.data,
                (int)found.size, found.data);
        CHECK_NEVER("the rewritten file means something else");
    }
    CHECK(config_diff(c, &again) == 0);
    config_deinit(&again);
    buf_clear(&found);
    buf_clear(&expected);
    buf_clear(&why);
}

static void check_rewrite(const struct config *c, struct bytes old)
{
    struct buf fresh = text_of(c, BYTES_LITERAL("")), over = text_of(c, old);
    read_back(c, &fresh);
    read_back(c, &over);
    struct buf twice = text_of(c, buf_view(&over));
    CHECK(same(&over, &twice));
    buf_clear(&fresh);
    buf_clear(&over);
    buf_clear(&twice);
}

static void ignore_line(UNUSED void *context, const char *line)
{
    CHECK(line[0] != '\0');
}

static void ignore_value(UNUSED void *context, const char *name, struct bytes value)
{
    CHECK(name[0] != '\0');
    CHECK(value.size == 0 || value.data);
}

static struct bytes take_until(struct bytes *text, char stop)
{
    const char *end = text->size ? memchr(text->data, stop, text->size) : NULL;
    size_t size = end ? (size_t)(end - text->data) : text->size, used = size + (end != NULL);
    struct bytes part = bytes_make(text->data, size);
    *text = bytes_make(text->data + used, text->size - used);
    return part;
}

/* Each line is a name and a value. */
static void try_set(struct config *c, struct bytes text)
{
    struct bytes argv[2 * PAIRS_MAX];
    uint32_t argc = 0;
    for (; text.size && argc < 2 * PAIRS_MAX; argc += 2) {
        argv[argc + 1] = take_until(&text, '\n');
        argv[argc] = take_until(&argv[argc + 1], ' ');
    }
    struct config changed;
    struct buf error = {.mem = c->mem}, before = text_of(c, BYTES_LITERAL(""));
    enum err e = config_set(c, argv, argc, argc % 4 == 0, &changed, &error);
    struct buf after = text_of(c, BYTES_LITERAL(""));
    CHECK(same(&before, &after));
    if (e == OK) {
        config_get(&changed, argv, argc, ignore_value, NULL);
        check_rewrite(&changed, BYTES_LITERAL("timeout 5\nsave 1 1\n"));
        config_deinit(&changed);
    } else {
        CHECK(error.size > 4 && memcmp(error.data, "ERR ", 4) == 0);
        CHECK(!memchr(error.data, '\r', error.size) && !memchr(error.data, '\n', error.size));
    }
    buf_clear(&error);
    buf_clear(&before);
    buf_clear(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    struct config c;
    struct bytes text = bytes_make(data, size);
    mem_init(&mem, "config_fuzz");
    struct buf why = {.mem = &mem};
    config_defaults(&c, &mem);
    if (config_read_text(&c, text, "input", &why) == OK) {
        CHECK(why.size == 0);
        check_rewrite(&c, text);
        config_warnings(&c, ignore_line, NULL);
    } else {
        CHECK(why.size > 0);
    }
    try_set(&c, text);
    config_deinit(&c);
    buf_clear(&why);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define LINES_MAX 12
#define LINE_BYTES_MAX 600

/* clang-format off */
static const char *const values[] = {
    "0", "1", "-1", "100", "65536", "4294967295", "9223372036854775807", "18446744073709551616",
    "5%", "101%", "1gb", "64kb", "yes", "no", "auto", "KEAnm", "\"\"", "''", "\"a b\"",
    "'it\\'s'", "\"\\x00\\xff\\n\"", "\"", "noeviction", "local", "normal", "replica", "pubsub",
    "nosave", "force", "127.0.0.1", "-::1", "/", ".", "99.9", "#", "{title}", "default", "on",
    "60 1000", "750",
};
/* clang-format on */

static size_t add_text(uint8_t *input, size_t size, const char *text)
{
    memcpy(input + size, text, strlen(text));
    return size + strlen(text);
}

static size_t make_line(uint8_t *input, size_t size, struct random *random)
{
    const struct config_param *p = &config_params[random_below(random, config_param_count)];
    size = add_text(input, size, p->alias && random_below(random, 2) ? p->alias : p->name);
    for (uint64_t i = random_below(random, 5); i > 0; i--) {
        size = add_text(input, size, random_below(random, 8) ? " " : "  \t");
        size = add_text(input, size, values[random_below(random, ARRAY_LEN(values))]);
    }
    return add_text(input, size, random_below(random, 9) ? "\n" : "\r\n\n# c\n");
}

/* Most inputs are one line that may be good, as one bad line refuses the whole. */
void fuzz_make_input(struct buf *out, struct random *random)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, LINES_MAX * LINE_BYTES_MAX);
    size_t size = 0;
    uint64_t lines = random_below(random, 3) ? 1 : 1 + random_below(random, LINES_MAX);
    for (uint64_t i = 0; i < lines; i++) size = make_line(input, size, random);
    if (random_below(random, 4) == 0) {
        input[random_below(random, size)] = (uint8_t)random_below(random, 256);
    }
    out->size = size;
}
