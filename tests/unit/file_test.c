#include "tests/unit/disk_fixture.h"

#include "persist/file.h"

static void expect_contents(struct fixture *f, const char *text)
{
    struct buf out = {.mem = &f->mem};
    cr_assert_eq(file_read("d/name", 100, &out), OK);
    cr_assert(bytes_equal(buf_view(&out), bytes_of(text)));
    cr_assert_eq(file_read("d/name", 2, &out), ERR_ALLOC);
    buf_clear(&out);
}

Test(file, new_contents_are_there_at_once_or_not_at_all)
{
    struct fixture *f = fixture_make();
    cr_assert_eq(file_replace("d/name", BYTES_LITERAL("first"), NULL), OK);
    size_t before = disk_trace_length(f->disk);
    cr_assert_eq(file_replace("d/name", BYTES_LITERAL("second"), NULL), OK);
    size_t after = disk_trace_length(f->disk), size;
    for (size_t length = before; length <= after; length++) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            enum disk_crash how = (enum disk_crash)(seed % DISK_CRASH_COUNT);
            struct disk *d = disk_crash(f->disk, length, how, seed);
            const char *data = disk_contents(d, "d/name", &size);
            cr_assert_not_null(data);
            struct bytes got = bytes_make(data, size);
            bool is_new = bytes_equal(got, BYTES_LITERAL("second"));
            cr_assert(is_new || bytes_equal(got, BYTES_LITERAL("first")));
            cr_assert(is_new || length < after);
            disk_destroy(d);
        }
    }
    expect_contents(f, "second");
    fixture_free(f);
}

Test(file, a_failure_leaves_the_old_contents_and_can_be_repeated)
{
    struct fixture *f = fixture_make();
    cr_assert_eq(file_replace("d/name", BYTES_LITERAL("first"), NULL), OK);
    for (size_t call = 0; call < 5; call++) {
        disk_plant(f->disk, disk_call_count(f->disk) + call, 1, DISK_ENOSPC);
        cr_assert_eq(file_replace("d/name", BYTES_LITERAL("second"), NULL), ERR_IO);
        disk_plant(f->disk, 0, 0, DISK_NO_FAULT);
        expect_contents(f, "first");
    }
    cr_assert_eq(file_replace("d/name", BYTES_LITERAL("second"), NULL), OK);
    expect_contents(f, "second");
    fixture_free(f);
}

Test(file, a_name_that_is_too_long_is_an_error)
{
    char path[ENV_PATH_BYTES_MAX], name[ENV_PATH_BYTES_MAX];
    log_set_level(LOG_NOTHING);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = 0;
    cr_assert_eq(file_path(path, "d", name), ERR_IO);
    cr_assert_eq(file_path(path, "d", "name"), OK);
    cr_assert_str_eq(path, "d/name");
}
