/* Key specifications: every form that rows use, and arguments that do not fit them. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/command.h"
#include "base/mem.h"
#include "base/text.h"

#define WORDS_MAX 64

struct found {
    unsigned count;
    uint32_t indices[WORDS_MAX];
    uint16_t flags[WORDS_MAX];
};

static void note_key(void *context, uint32_t index, const struct key_spec *spec)
{
    struct found *f = context;
    f->indices[f->count] = index;
    f->flags[f->count++] = spec->flags;
}

/* The keys of a line as "1 3 5"; "refused" if the arguments do not fit. */
static const char *keys_of(const struct command *command, const char *line)
{
    static char text[256];
    struct mem mem;
    mem_init(&mem, "test");
    struct buf storage = {.mem = &mem};
    struct bytes words[WORDS_MAX];
    int argc = text_split_words(bytes_of(line), &storage, words, WORDS_MAX);
    cr_assert_gt(argc, 0);
    struct found f = {0};
    text[0] = '\0';
    if (!command_each_key(command, words, (uint32_t)argc, note_key, &f)) strcpy(text, "refused");
    for (unsigned i = 0; i < f.count; i++) {
        cr_assert_lt(f.indices[i], (uint32_t)argc);
        sprintf(text + strlen(text), "%s%u", text[0] ? " " : "", f.indices[i]);
    }
    buf_clear(&storage);
    mem_deinit(&mem);
    return text;
}

#define expect_keys(row, line, keys)                                                               \
    do {                                                                                           \
        const char *got = keys_of(&(row), (line));                                                 \
        cr_assert_str_eq(got, (keys), "%s: got '%s', wanted '%s'", (line), got, (keys));           \
    } while (0)

Test(command, a_row_without_keys_has_none)
{
    const struct command ping = {.name = "ping", .keys = KEYS_NONE};
    cr_assert_not(command_has_keys(&ping));
    expect_keys(ping, "PING hello", "");
}

Test(command, the_first_argument)
{
    const struct command get = {.name = "get", .keys = KEYS_FIRST(KEY_RO)};
    cr_assert(command_has_keys(&get));
    expect_keys(get, "GET k", "1");
    expect_keys(get, "GET k more arguments", "1");
    expect_keys(get, "GET", "refused");
}

Test(command, all_arguments)
{
    const struct command del = {.name = "del", .keys = KEYS_ALL(KEY_RM)};
    expect_keys(del, "DEL a", "1");
    expect_keys(del, "DEL a b c", "1 2 3");
    expect_keys(del, "DEL", "refused");
}

Test(command, every_other_argument)
{
    const struct command mset = {.name = "mset",
                                 .keys = {{.flags = KEY_OW, .begin = 1, .last = -1, .step = 2}}};
    expect_keys(mset, "MSET a 1", "1");
    expect_keys(mset, "MSET a 1 b 2 c 3", "1 3 5");
    expect_keys(mset, "MSET a 1 b", "1 3");
}

Test(command, all_but_the_last_argument)
{
    const struct command blpop = {.name = "blpop",
                                  .keys = {{.flags = KEY_RW, .begin = 1, .last = -2, .step = 1}}};
    expect_keys(blpop, "BLPOP a b c 0", "1 2 3");
    expect_keys(blpop, "BLPOP a 0", "1");
    expect_keys(blpop, "BLPOP a", "");
}

Test(command, a_fixed_range)
{
    const struct command rename = {.name = "rename",
                                   .keys = {{.flags = KEY_RW, .begin = 1, .last = 1, .step = 1}}};
    expect_keys(rename, "RENAME a b", "1 2");
    expect_keys(rename, "RENAME a", "refused");
}

Test(command, two_specifications_with_flags_of_their_own)
{
    const struct command rename = {.name = "rename",
                                   .keys = {{.flags = KEY_RW, .begin = 1, .last = 0, .step = 1},
                                            {.flags = KEY_OW, .begin = 2, .last = 0, .step = 1}}};
    expect_keys(rename, "RENAME a b", "1 2");
    struct bytes words[] = {BYTES_LITERAL("rename"), BYTES_LITERAL("a"), BYTES_LITERAL("b")};
    struct found f = {0};
    cr_assert(command_each_key(&rename, words, 3, note_key, &f));
    cr_assert_eq(f.flags[0], KEY_RW);
    cr_assert_eq(f.flags[1], KEY_OW);
}

Test(command, what_is_not_a_key_is_passed_over)
{
    const struct command sub = {
        .name = "ssubscribe", .keys = {{.flags = KEY_NOT_KEY, .begin = 1, .last = -1, .step = 1}}};
    cr_assert_not(command_has_keys(&sub));
    expect_keys(sub, "SSUBSCRIBE a b", "");
}

/* ---- a count of keys ---- */

static const struct command eval = {
    .name = "eval",
    .keys = {{.flags = KEY_RW, .begin = 2, .count_index = 0, .first = 1, .step = 1}}};

Test(command, as_many_as_an_argument_says)
{
    expect_keys(eval, "EVAL script 2 a b arg", "3 4");
    expect_keys(eval, "EVAL script 1 a b arg", "3");
    expect_keys(eval, "EVAL script 0 a b", "");
}

Test(command, a_count_that_does_not_fit_is_refused)
{
    expect_keys(eval, "EVAL script 3 a b", "refused");
    expect_keys(eval, "EVAL script -1 a b", "refused");
    expect_keys(eval, "EVAL script many a b", "refused");
    expect_keys(eval, "EVAL script 9223372036854775807 a b", "refused");
    expect_keys(eval, "EVAL script 9223372036854775808 a b", "refused");
    expect_keys(eval, "EVAL script", "refused");
}

Test(command, a_count_and_a_key_before_it)
{
    const struct command zunionstore = {
        .name = "zunionstore",
        .keys = {{.flags = KEY_OW, .begin = 1, .last = 0, .step = 1},
                 {.flags = KEY_RO, .begin = 2, .count_index = 0, .first = 1, .step = 1}}};
    expect_keys(zunionstore, "ZUNIONSTORE dst 2 a b WEIGHTS 1 2", "1 3 4");
}

/* ---- a keyword ---- */

static const struct command xread = {
    .name = "xread",
    .keys = {
        {.flags = KEY_RO, .keyword = "STREAMS", .begin = 1, .last = -1, .step = 1, .limit = 2}}};

Test(command, the_first_half_of_what_follows_a_keyword)
{
    expect_keys(xread, "XREAD STREAMS a 0", "2");
    expect_keys(xread, "XREAD COUNT 2 STREAMS a b 0 0", "4 5");
    expect_keys(xread, "XREAD count 2 streams a b c 0 0 0", "4 5 6");
}

Test(command, a_keyword_that_is_missing_or_last_gives_no_keys)
{
    expect_keys(xread, "XREAD COUNT 2", "");
    expect_keys(xread, "XREAD STREAMS", "");
}

Test(command, a_keyword_is_looked_for_from_its_start_on)
{
    const struct command c = {
        .name = "c",
        .keys = {{.flags = KEY_RO, .keyword = "at", .begin = 2, .last = 0, .step = 1}}};
    expect_keys(c, "C at x at y", "4");
    expect_keys(c, "C at x", "");
}

Test(command, a_keyword_may_be_looked_for_from_the_end)
{
    const struct command migrate = {
        .name = "migrate",
        .keys = {{.flags = KEY_RW, .keyword = "KEYS", .begin = -2, .last = -1, .step = 1}}};
    expect_keys(migrate, "MIGRATE host port keys 0 KEYS a b", "6 7");
    expect_keys(migrate, "MIGRATE host port KEYS KEYS a", "5");
    expect_keys(migrate, "MIGRATE host port x y", "");
    expect_keys(migrate, "KEYS x", "");
}

Test(command, an_option_that_is_not_given_leaves_the_other_keys)
{
    const struct command sort = {
        .name = "sort",
        .keys = {{.flags = KEY_RO, .begin = 1, .last = 0, .step = 1},
                 {.flags = KEY_OW, .keyword = "STORE", .begin = 2, .last = 0, .step = 1}}};
    expect_keys(sort, "SORT k", "1");
    expect_keys(sort, "SORT k DESC STORE dst", "1 4");
    expect_keys(sort, "SORT k STORE", "1");
}
