#include "server/prefix_changes.h"

#include <criterion/criterion.h>

#include "base/mem.h"

static struct mem mem;
static struct prefix_changes changes;
static struct buf out;
static const struct change_source nobody = {.net_id = UINT16_MAX}, me = {.net_id = 1, .index = 2};

static void start(void)
{
    mem_init(&mem, "test");
    changes = (struct prefix_changes){.items.mem = &mem};
    out = (struct buf){.mem = &mem};
}

static void stop(void)
{
    prefix_changes_clear(&changes);
    buf_clear(&out);
    cr_assert_eq(mem_live_bytes(&mem), 0);
    mem_deinit(&mem);
}

TestSuite(prefix_changes, .init = start, .fini = stop);

static void add(const char *name, const struct change_source *by)
{
    cr_assert(prefix_changes_add(&changes, by, bytes_of(name)));
}

static void expect_text(const struct change_source *except, const char *text)
{
    out.size = 0;
    cr_assert(prefix_changes_write(&changes, except, &out));
    cr_expect(bytes_equal(buf_view(&out), bytes_of(text)), "got %.*s", (int)out.size, out.data);
}

Test(prefix_changes, names_are_told_once_and_in_byte_order)
{
    const char *names[] = {"k", "j", "k", "key", "", "j", "\xff"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) add(names[i], &nobody);
    expect_text(NULL, "*5\r\n$0\r\n\r\n$1\r\nj\r\n$1\r\nk\r\n$3\r\nkey\r\n$1\r\n\xff\r\n");
}

Test(prefix_changes, what_only_the_reader_itself_has_changed_is_left_out)
{
    add("mine", &me);
    add("ours", &me);
    add("ours", &nobody);
    expect_text(&me, "*1\r\n$4\r\nours\r\n");
    expect_text(NULL, "*2\r\n$4\r\nmine\r\n$4\r\nours\r\n");
}

Test(prefix_changes, nothing_is_written_when_nothing_is_left)
{
    expect_text(NULL, "");
    add("mine", &me);
    expect_text(&me, "");
    prefix_changes_clear(&changes);
    expect_text(NULL, "");
}
