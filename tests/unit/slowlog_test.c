/* The slow log by itself. */
#include "server/slowlog.h"

#include <criterion/criterion.h>
#include <string.h>

#include "server/redact.h"

static struct slowlog list;
static struct buf text;
static const struct command row = {.name = "rpush"};

static void start(uint64_t count_max)
{
    slowlog_init(&list, count_max);
    text.mem = &list.mem;
}

static void finish(void)
{
    buf_clear(&text);
    slowlog_deinit(&list);
}

static void add(uint32_t argc, const struct bytes *argv, uint64_t us)
{
    struct slow_call call = {.command = &row, .argv = argv, .argc = argc, .us = us};
    struct slow_entry *e = slowlog_make(&list, &call);
    cr_assert_not_null(e);
    slowlog_add(&list, e, BYTES_LITERAL("1.2.3.4:5"), BYTES_LITERAL("bob"));
}

static void add_word(const char *word)
{
    struct bytes argv[] = {bytes_of(word)};
    add(1, argv, 7);
}

/* The reply without the times at which entries were made. */
static const char *get(uint64_t count)
{
    struct reply out;
    reply_init(&out, NULL, &list.mem);
    slowlog_reply(&list, count, &out);
    text.size = 0;
    struct chunk *chain = reply_take(&out);
    for (const struct chunk *c = chain; c; c = c->next) buf_append(&text, c->data, c->size);
    buf_append(&text, "", 1);
    chunk_free_chain(&list.mem, chain);
    for (char *at = text.data; (at = strstr(at, "*6\r\n:"));) {
        at = strstr(at + 5, "\r\n:") + 3;
        char *end = strstr(at, "\r\n");
        memmove(at, end, strlen(end) + 1);
    }
    return text.data;
}

Test(slowlog, shows_the_last_entries_first)
{
    start(10);
    add_word("a");
    add_word("b");
    add_word("c");
    cr_assert_eq(slowlog_count(&list), 3);
    cr_assert_str_eq(get(2),
                     "*2\r\n"
                     "*6\r\n:2\r\n:\r\n:7\r\n*1\r\n$1\r\nc\r\n$9\r\n1.2.3.4:5\r\n$3\r\nbob\r\n"
                     "*6\r\n:1\r\n:\r\n:7\r\n*1\r\n$1\r\nb\r\n$9\r\n1.2.3.4:5\r\n$3\r\nbob\r\n");
    cr_assert_str_eq(get(0), "*0\r\n");
    cr_assert_eq(strncmp(get(UINT64_MAX), "*3\r\n", 4), 0);
    finish();
}

/* Two clients are served by one command, and their net threads are not equally fast. */
Test(slowlog, what_comes_late_stands_where_it_happened)
{
    struct slow_entry *made[4];
    struct bytes words[] = {bytes_of("a"), bytes_of("b"), bytes_of("c"), bytes_of("d")};
    start(10);
    for (unsigned i = 0; i < 4; i++) {
        struct slow_call call = {.command = &row, .argv = &words[i], .argc = 1, .us = 7};
        made[i] = slowlog_make(&list, &call);
    }
    static const unsigned order[] = {1, 3, 0, 2};
    for (unsigned i = 0; i < 4; i++)
        slowlog_add(&list, made[order[i]], BYTES_LITERAL(""), BYTES_LITERAL(""));
    cr_assert_str_eq(get(9), "*4\r\n"
                             "*6\r\n:3\r\n:\r\n:7\r\n*1\r\n$1\r\nd\r\n$0\r\n\r\n$0\r\n\r\n"
                             "*6\r\n:2\r\n:\r\n:7\r\n*1\r\n$1\r\nc\r\n$0\r\n\r\n$0\r\n\r\n"
                             "*6\r\n:1\r\n:\r\n:7\r\n*1\r\n$1\r\nb\r\n$0\r\n\r\n$0\r\n\r\n"
                             "*6\r\n:0\r\n:\r\n:7\r\n*1\r\n$1\r\na\r\n$0\r\n\r\n$0\r\n\r\n");
    add_word("e");
    cr_assert(strstr(get(1), ":4\r\n"));
    finish();
}

Test(slowlog, keeps_the_last_ones_and_ids_grow_on)
{
    start(2);
    for (unsigned i = 0; i < 5; i++) add_word("x");
    cr_assert_eq(slowlog_count(&list), 2);
    cr_assert(strstr(get(9), "*6\r\n:4\r\n") && strstr(get(9), "*6\r\n:3\r\n"));
    slowlog_set_max(&list, 1);
    cr_assert_eq(slowlog_count(&list), 1);
    cr_assert(strstr(get(9), "*6\r\n:4\r\n"));
    slowlog_reset(&list);
    cr_assert_eq(slowlog_count(&list), 0);
    add_word("y");
    cr_assert(strstr(get(9), "*6\r\n:5\r\n"));
    slowlog_set_max(&list, 0);
    add_word("z");
    cr_assert_eq(slowlog_count(&list), 0);
    finish();
}

Test(slowlog, shows_at_most_32_arguments)
{
    start(2);
    struct bytes argv[42];
    for (unsigned i = 0; i < ARRAY_LEN(argv); i++) argv[i] = BYTES_LITERAL("a");
    add(32, argv, 1);
    cr_assert(strstr(get(1), "*32\r\n") && !strstr(get(1), "more"));
    add(42, argv, 1);
    cr_assert(strstr(get(1), "*32\r\n"));
    cr_assert(strstr(get(1), "$1\r\na\r\n$23\r\n... (11 more arguments)\r\n"));
    finish();
}

Test(slowlog, shows_at_most_128_bytes_of_an_argument)
{
    start(2);
    char data[200];
    memset(data, 'z', sizeof data);
    struct bytes argv[] = {BYTES_LITERAL("set"), bytes_make(data, 128), bytes_make(data, 200)};
    add(2, argv, 1);
    cr_assert(!strstr(get(1), "more"));
    add(3, argv, 1);
    cr_assert(strstr(get(1), "$147\r\nzzz"));
    cr_assert(strstr(get(1), "zzz... (72 more bytes)\r\n"));
    finish();
}

/* ---- secrets ---- */

static bool hides(const struct command *c, const char *words, uint32_t index)
{
    struct bytes argv[8];
    uint32_t argc = 0;
    for (const char *at = words; *at; at += strcspn(at, " "), at += *at == ' ')
        argv[argc++] = bytes_make(at, strcspn(at, " "));
    cr_assert_lt(index, argc);
    return redact_hides(c, argv, index);
}

static enum err on_main(UNUSED struct server *srv, UNUSED struct request *rq,
                        UNUSED struct reply *out)
{
    return OK;
}

Test(slowlog, hides_passwords)
{
    const struct command auth = {.name = "auth", .flags = CMD_SENSITIVE};
    const struct command hello = {.name = "hello", .flags = CMD_SENSITIVE};
    const struct command set = {.name = "set", .flags = CMD_SENSITIVE, .on_main = on_main};
    const struct command setuser = {.name = "setuser"}, get = {.name = "get"};
    cr_assert(hides(&auth, "auth me pass", 1) && hides(&auth, "auth me pass", 2));
    cr_assert_not(hides(&auth, "auth me pass", 0));
    cr_assert(hides(&hello, "hello 3 AUTH me pass setname x", 3));
    cr_assert(hides(&hello, "hello 3 AUTH me pass setname x", 4));
    cr_assert_not(hides(&hello, "hello 3 AUTH me pass setname x", 2));
    cr_assert_not(hides(&hello, "hello 3 AUTH me pass setname x", 6));
    cr_assert(hides(&set, "config set hz 1 requirepass x", 5));
    cr_assert_not(hides(&set, "config set hz 1 requirepass x", 3));
    cr_assert_not(hides(&set, "config set hz requirepass x 1", 3), "a value is no name");
    cr_assert_not(hides(&set, "config set requirepass x", 2));
    cr_assert(hides(&setuser, "acl setuser bob >x", 2) && hides(&setuser, "acl setuser bob >x", 3));
    cr_assert_not(hides(&get, "get auth x", 2));
}
