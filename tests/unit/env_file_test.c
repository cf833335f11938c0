/* Reading whole files, each test in a directory of its own. */
#include <criterion/criterion.h>
#include <stdio.h>
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

static void files_deinit(struct files *t)
{
    buf_clear(&t->buf);
    unlink(t->path);
    cr_assert_eq(rmdir(t->directory), 0);
}

static void write_file(const struct files *t, const char *data, size_t size)
{
    FILE *f = fopen(t->path, "we");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(data, 1, size, f), size);
    cr_assert_eq(fclose(f), 0);
}

Test(env_file, reads_a_file_larger_than_one_read_behind_what_is_there)
{
    struct files t;
    files_init(&t);
    char *data = malloc(300000);
    for (int i = 0; i < 300000; i++) data[i] = (char)(i * 31 >> 4);
    write_file(&t, data, 300000);
    buf_append_text(&t.buf, "head");
    cr_assert_eq(env_read_file(t.path, &t.buf, t.why), OK);
    cr_assert_eq(t.buf.size, 300004);
    cr_assert_eq(memcmp(t.buf.data, "head", 4), 0);
    cr_assert_eq(memcmp(t.buf.data + 4, data, 300000), 0);
    free(data);
    files_deinit(&t);
}

Test(env_file, says_which_file_it_cannot_read)
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
    files_deinit(&t);
}

Test(env_file, a_read_that_fails_half_way_adds_nothing)
{
    static const char zeros[100000];
    struct files t;
    files_init(&t);
    write_file(&t, zeros, sizeof zeros);
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
