/* Reading and replacing whole files, each test in a directory of its own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/mem.h"

#define WHY_BYTES (ENV_NAME_BYTES_MAX * 2)

struct files {
    struct mem mem;
    struct buf buf;
    char directory[32], path[64], why[WHY_BYTES];
};

static void files_init(struct files *t)
{
    memset(t, 0, sizeof *t);
    mem_init(&t->mem, "test");
    t->buf.mem = &t->mem;
    strcpy(t->directory, "/tmp/env_test.XXXXXX");
    cr_assert_not_null(mkdtemp(t->directory));
    snprintf(t->path, sizeof t->path, "%s/file", t->directory);
}

/* Nothing but the file itself may be left. */
static void files_deinit(struct files *t)
{
    buf_clear(&t->buf);
    unlink(t->path);
    cr_assert_eq(rmdir(t->directory), 0, "a temporary file was left behind");
}

static void expect_contents(struct files *t, const char *text)
{
    t->buf.size = 0;
    cr_assert_eq(env_read_file(t->path, &t->buf, t->why), OK, "%s", t->why);
    cr_assert(bytes_equal(buf_view(&t->buf), bytes_of(text)));
}

Test(env_file, a_replaced_file_has_the_new_contents_and_keeps_its_mode)
{
    struct files t;
    struct stat info;
    files_init(&t);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("first"), t.why), OK, "%s", t.why);
    expect_contents(&t, "first");
    cr_assert_eq(chmod(t.path, 0604), 0);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("second, longer"), t.why), OK);
    expect_contents(&t, "second, longer");
    cr_assert_eq(stat(t.path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0604);
    files_deinit(&t);
}

Test(env_file, a_failed_replacement_leaves_the_old_file)
{
    static const char *const points[] = {"env_file_write", "env_file_fsync", "env_file_rename"};
    struct files t;
    files_init(&t);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("old"), t.why), OK);
    for (unsigned i = 0; i < ARRAY_LEN(points); i++) {
        fault_set(points[i], 1);
        cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("new"), t.why), ERR_IO);
        cr_assert_not_null(strstr(t.why, t.path), "%s", t.why);
        expect_contents(&t, "old");
    }
    files_deinit(&t);
}

Test(env_file, a_replaced_symbolic_link_still_points_to_its_file)
{
    struct files t;
    struct stat info;
    char link_path[64];
    files_init(&t);
    snprintf(link_path, sizeof link_path, "%s/link", t.directory);
    cr_assert_eq(env_replace_file(t.path, BYTES_LITERAL("old"), t.why), OK);
    cr_assert_eq(symlink("file", link_path), 0);
    cr_assert_eq(env_replace_file(link_path, BYTES_LITERAL("new"), t.why), OK, "%s", t.why);
    expect_contents(&t, "new");
    cr_assert_eq(lstat(link_path, &info), 0);
    cr_assert(S_ISLNK(info.st_mode));
    unlink(link_path);
    files_deinit(&t);
}

Test(env_file, reads_a_file_larger_than_one_read_behind_what_is_there)
{
    struct files t;
    files_init(&t);
    char *data = malloc(300000);
    for (int i = 0; i < 300000; i++) data[i] = (char)(i * 31 >> 4);
    cr_assert_eq(env_replace_file(t.path, bytes_make(data, 300000), t.why), OK);
    buf_append_text(&t.buf, "head");
    cr_assert_eq(env_read_file(t.path, &t.buf, t.why), OK);
    cr_assert_eq(t.buf.size, 300004);
    cr_assert_eq(memcmp(t.buf.data, "head", 4), 0);
    cr_assert_eq(memcmp(t.buf.data + 4, data, 300000), 0);
    free(data);
    files_deinit(&t);
}

Test(env_file, says_which_file_it_cannot_read_or_write)
{
    struct files t;
    char missing[64], expected[WHY_BYTES];
    files_init(&t);
    snprintf(missing, sizeof missing, "%s/no/file", t.directory);
    cr_assert_eq(env_read_file(missing, &t.buf, t.why), ERR_IO);
    snprintf(expected, sizeof expected, "cannot open %s: No such file or directory", missing);
    cr_assert_str_eq(t.why, expected);
    cr_assert_eq(env_read_file(t.directory, &t.buf, t.why), ERR_IO);
    snprintf(expected, sizeof expected, "cannot read %s: Is a directory", t.directory);
    cr_assert_str_eq(t.why, expected);
    cr_assert_eq(env_replace_file(missing, BYTES_LITERAL("x"), t.why), ERR_IO);
    snprintf(expected, sizeof expected, "cannot write %s: No such file or directory", missing);
    cr_assert_str_eq(t.why, expected);
    files_deinit(&t);
}

Test(env_file, a_read_that_fails_half_way_adds_nothing)
{
    static const char zeros[100000];
    struct files t;
    files_init(&t);
    cr_assert_eq(env_replace_file(t.path, bytes_make(zeros, sizeof zeros), t.why), OK);
    buf_append_text(&t.buf, "head");
    fault_set("env_file_read", 2);
    cr_assert_eq(env_read_file(t.path, &t.buf, t.why), ERR_IO);
    cr_assert(bytes_equal(buf_view(&t.buf), bytes_of("head")));
    cr_assert_eq(env_read_file(t.path, &t.buf, t.why), OK);
    cr_assert_eq(t.buf.size, 100004);
    files_deinit(&t);
}

Test(env_file, reads_standard_input)
{
    struct files t;
    int pipe_fds[2];
    files_init(&t);
    cr_assert_eq(pipe(pipe_fds), 0);
    cr_assert_eq(write(pipe_fds[1], "port 7000\n", 10), 10);
    close(pipe_fds[1]);
    dup2(pipe_fds[0], STDIN_FILENO);
    cr_assert_eq(env_read_file("-", &t.buf, t.why), OK);
    cr_assert(bytes_equal(buf_view(&t.buf), bytes_of("port 7000\n")));
    files_deinit(&t);
}
