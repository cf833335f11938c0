/* acl_fuzz.c: any text as a file of users.
 *
 * What was accepted must survive: the text of ACL SAVE reads back as the same text, and its users
 * may do the same as before. What was refused must have a reason and change nothing.
 */
#include <stdio.h>

#include "base/env.h"
#include "server/acl_check.h"
#include "server/acl_file.h"
#include "server/acl_rules.h"
#include "tests/fuzz/driver.h"

static struct buf text_of(struct acl *a, struct mem *mem)
{
    struct buf text = {.mem = mem};
    struct acl_set *set = acl_take(a);
    CHECK(acl_write_text(set, &text));
    acl_set_unref(a, set);
    return text;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return bytes_equal(buf_view(a), buf_view(b));
}

/* Permissions, without the text that stands for them. */
static void check_same_rights(const struct acl_set *one, const struct acl_set *two)
{
    CHECK(one->count == two->count);
    for (uint32_t i = 0; i < one->count; i++) {
        uint32_t count, same_count;
        const struct acl_selector *a = acl_selectors(one->users[i], &count);
        const struct acl_selector *b = acl_selectors(two->users[i], &same_count);
        CHECK(count == same_count && one->users[i]->is_unlimited == two->users[i]->is_unlimited);
        for (uint32_t k = 0; k < count; k++)
            CHECK(memcmp(a[k].commands, b[k].commands, sizeof a[k].commands) == 0);
    }
}

static void read_back(struct acl *a, struct mem *mem, const struct buf *text)
{
    struct acl again;
    struct buf error = {.mem = mem};
    acl_init(&again, a->router);
    if (!acl_read_text(&again, "saved", buf_view(text), &error)) {
        fprintf(stderr, "%.*s\n%.*s\n", (int)error.size, error.data, (int)text->size, text->data);
        CHECK_NEVER("the saved text is refused");
    }
    struct buf found = text_of(&again, mem);
    CHECK(same(&found, text));
    struct acl_set *before = acl_take(a), *after = acl_take(&again);
    check_same_rights(before, after);
    acl_set_unref(a, before);
    acl_set_unref(&again, after);
    buf_clear(&found);
    acl_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    struct acl a;
    struct router router;
    struct config config;
    char why[2 * ENV_NAME_BYTES_MAX];
    mem_init(&mem, "acl_fuzz");
    config_defaults(&config, &mem);
    CHECK(router_init(&router, &mem, &config, 1, 1, why));
    acl_init(&a, &router);
    struct buf error = {.mem = &mem}, before = text_of(&a, &mem);
    bool ok = acl_read_text(&a, "input", bytes_make(data, size), &error);
    struct buf after = text_of(&a, &mem);
    CHECK(ok == (error.size == 0));
    CHECK(ok || same(&before, &after));
    if (ok) read_back(&a, &mem, &after);
    buf_clear(&error);
    buf_clear(&before);
    buf_clear(&after);
    acl_deinit(&a);
    router_deinit(&router);
    config_deinit(&config);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define LINES_MAX 4
#define WORDS_MAX 10
#define WORD_BYTES_MAX 80

/* clang-format off */
static const char *const words[] = {
    "on", "off", "nopass", "resetpass", "reset", "allkeys", "resetkeys", "allchannels", "resetchannels", "allcommands", "nocommands", "clearselectors",
    "+@all", "-@all", "+@read", "-@read", "+@write", "-@dangerous", "+@slow", "-@slow", "+get", "-get", "+set", "-set", "+config", "-config", "+config|get",
    "-config|get", "+client|id|x", "+select|0", "+select|1", "+get|a", "-select", "+object", "+OBJECT|freq", "+ping|x", "~*", "~a", "%R~a", "%W~a", "%RW~b", "%R~*",
    "~", "&*", "&a", "&b*", ">one", ">two", "<one", "#abc", "#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4", "(~a", "+get)", "(+@all)", "()",
    "(-@all", "&x)", ")", "(", "sanitize-payload", "skip-sanitize-payload", "+nosuch",
    "~a'", "~a\"", "&a)", "+get|a)", "+get|a\t", "+get|a\r", "(\"~a)\"", "\"%R~a\\\"b\"", "'&a\\''", "(\"~a\\x00\"", "\"+get|\\n\")", "+get|\xe4",
};
/* clang-format on */

/* Most rules are good, as one bad rule refuses the whole. */
void fuzz_make_input(struct buf *out, struct random *random)
{
    buf_reserve(out, LINES_MAX * (WORDS_MAX + 2) * WORD_BYTES_MAX);
    for (uint64_t i = random_below(random, LINES_MAX); i <= LINES_MAX; i++) {
        buf_append_text(out, "user ");
        buf_append_text(out, random_below(random, 5) ? (const char *[]){"a", "b", "c", "d", "e"}[i]
                                                     : "default");
        for (uint64_t k = random_below(random, WORDS_MAX); k > 0; k--) {
            buf_append_text(out, " ");
            buf_append_text(out, words[random_below(random, ARRAY_LEN(words))]);
        }
        buf_append_text(out, random_below(random, 9) ? "\n" : " \r\n\n");
    }
    if (random_below(random, 4) == 0)
        out->data[random_below(random, out->size)] = (char)random_below(random, 256);
}
