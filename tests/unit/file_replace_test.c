/* Taking the place of a file of the real system, each test in a directory of its own; on the
 * simulated disk, which crashes, it is in file_test.c. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "persist/file.h"

struct files {
    struct mem mem;
    char directory[32], path[64], why[FILE_WHY_BYTES];
};

static void files_init(struct files *t)
{
    memset(t, 0, sizeof *t);
    log_set_level(LOG_NOTHING);
    mem_init(&t->mem, "test");
    strcpy(t->directory, "/tmp/file_test.XXXXXX");
    cr_assert_not_null(mkdtemp(t->directory));
    snprintf(t->path, sizeof t->path, "%s/file", t->directory);
}

/* Nothing but the file itself may be left. */
static void files_deinit(struct files *t)
{
    unlink(t->path);
    cr_assert_eq(rmdir(t->directory), 0, "a temporary file was left behind");
}

static void expect_contents(struct files *t, const char *text)
{
    struct buf got = {.mem = &t->mem};
    cr_assert_eq(file_read(t->path, 1000, &got), OK);
    cr_assert(bytes_equal(buf_view(&got), bytes_of(text)));
    buf_clear(&got);
}

static unsigned mode_of(const char *path)
{
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    return info.st_mode & 0777;
}

Test(file_replace, new_contents_keep_the_mode)
{
    struct files t;
    files_init(&t);
    umask(022);
    cr_assert_eq(file_replace(t.path, BYTES_LITERAL("first"), t.why), OK, "%s", t.why);
    expect_contents(&t, "first");
    cr_assert_eq(mode_of(t.path), 0644);
    cr_assert_eq(chmod(t.path, 0604), 0);
    cr_assert_eq(file_replace(t.path, BYTES_LITERAL("second, longer"), t.why), OK);
    expect_contents(&t, "second, longer");
    cr_assert_eq(mode_of(t.path), 0604);
    files_deinit(&t);
}

Test(file_replace, a_failure_leaves_the_old_file_and_is_explained)
{
    static const char *const points[] = {"file_open", "file_write", "file_sync", "file_rename"};
    struct files t;
    char expected[FILE_WHY_BYTES];
    files_init(&t);
    cr_assert_eq(file_replace(t.path, BYTES_LITERAL("old"), t.why), OK);
    snprintf(expected, sizeof expected, "cannot write %s: Input/output error", t.path);
    for (unsigned i = 0; i < ARRAY_LEN(points); i++) {
        fault_set(points[i], 1);
        t.why[0] = 0;
        cr_assert_eq(file_replace(t.path, BYTES_LITERAL("new"), t.why), ERR_IO);
        cr_assert_str_eq(t.why, expected, "%s", points[i]);
        expect_contents(&t, "old");
    }
    files_deinit(&t);
}

Test(file_replace, a_symbolic_link_still_points_to_its_file)
{
    struct files t;
    struct stat info;
    char link_path[64];
    files_init(&t);
    snprintf(link_path, sizeof link_path, "%s/link", t.directory);
    cr_assert_eq(file_replace(t.path, BYTES_LITERAL("old"), t.why), OK);
    cr_assert_eq(symlink("file", link_path), 0);
    cr_assert_eq(file_replace(link_path, BYTES_LITERAL("new"), t.why), OK, "%s", t.why);
    expect_contents(&t, "new");
    cr_assert_eq(lstat(link_path, &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    unlink(link_path);
    files_deinit(&t);
}

Test(file_replace, says_which_file_it_cannot_write)
{
    struct files t;
    char missing[64], expected[FILE_WHY_BYTES];
    files_init(&t);
    snprintf(missing, sizeof missing, "%s/no/file", t.directory);
    cr_assert_eq(file_replace(missing, BYTES_LITERAL("x"), t.why), ERR_IO);
    snprintf(expected, sizeof expected, "cannot write %s: No such file or directory", missing);
    cr_assert_str_eq(t.why, expected);
    files_deinit(&t);
}
