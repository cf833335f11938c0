/* Open files and the requests on them, on both back-ends. */
#include <sys/stat.h>

#include "tests/unit/env_fixture.h"

#include "base/log.h"
#include "base/mem.h"

struct files {
    char directory[32], path[64];
    struct env_file file;
};

static void files_init(struct files *t)
{
    log_set_level(LOG_NOTHING);
    strcpy(t->directory, "/tmp/env_test.XXXXXX");
    cr_assert_not_null(mkdtemp(t->directory));
    snprintf(t->path, sizeof t->path, "%s/file", t->directory);
    cr_assert_eq(env_file_open(&t->file, t->path, ENV_OPEN_CREATE), OK);
}

static void files_deinit(struct files *t)
{
    env_file_close(&t->file);
    cr_assert_eq(env_unlink(t->path), OK);
    cr_assert_eq(rmdir(t->directory), 0);
}

static void expect_file(struct files *t, const char *text)
{
    char got[256];
    size_t size;
    cr_assert_eq(env_file_read(&t->file, 0, got, sizeof got, &size), OK);
    cr_assert(bytes_equal(bytes_make(got, size), bytes_of(text)), "%.*s", (int)size, got);
}

Test(env_file_io, reads_what_was_written_and_stops_at_the_end)
{
    struct files t;
    uint64_t size;
    files_init(&t);
    cr_assert_eq(env_file_write(&t.file, 0, BYTES_LITERAL("hello world")), OK);
    cr_assert_eq(env_file_write(&t.file, 6, BYTES_LITERAL("there")), OK);
    expect_file(&t, "hello there");
    cr_assert_eq(env_file_truncate(&t.file, 5), OK);
    expect_file(&t, "hello");
    cr_assert_eq(env_file_size(&t.file, &size), OK);
    cr_assert_eq(size, 5);
    cr_assert_eq(env_file_sync(&t.file), OK);
    files_deinit(&t);
}

Test(env_file_io, continues_calls_that_are_interrupted_or_short)
{
    struct files t;
    files_init(&t);
    fault_set("file_interrupted", 1);
    fault_set("file_short", 1);
    cr_assert_eq(env_file_write(&t.file, 0, BYTES_LITERAL("hello world")), OK);
    fault_set("file_interrupted", 2);
    fault_set("file_short", 1);
    expect_file(&t, "hello world");
    files_deinit(&t);
}

Test(env_file_io, a_failure_is_an_error_and_not_for_ever_unless_it_is_a_sync)
{
    struct files t;
    struct env_file other;
    char byte;
    size_t got;
    files_init(&t);
    fault_set("file_write", 1);
    cr_assert_eq(env_file_write(&t.file, 0, BYTES_LITERAL("x")), ERR_IO);
    cr_assert_eq(env_file_write(&t.file, 0, BYTES_LITERAL("x")), OK);
    fault_set("file_read", 1);
    cr_assert_eq(env_file_read(&t.file, 0, &byte, 1, &got), ERR_IO);
    fault_set("file_truncate", 1);
    cr_assert_eq(env_file_truncate(&t.file, 0), ERR_IO);
    fault_set("file_sync", 1);
    cr_assert_eq(env_file_sync(&t.file), ERR_IO);
    cr_assert_eq(env_file_sync(&t.file), ERR_IO, "a file whose sync failed is not synced again");
    cr_assert_eq(env_file_open(&other, t.path, ENV_OPEN_CREATE), ERR_IO);
    cr_assert_eq(other.fd, -1);
    files_deinit(&t);
}

Test(env_file_io, a_private_file_is_so_from_the_start)
{
    struct files t;
    struct env_file other;
    struct stat info;
    char path[64];
    files_init(&t);
    snprintf(path, sizeof path, "%s/private", t.directory);
    umask(022);
    cr_assert_eq(env_file_open(&other, path, ENV_OPEN_CREATE_PRIVATE), OK);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    env_file_close(&other);
    cr_assert_eq(env_unlink(path), OK);
    files_deinit(&t);
}

Test(env_file_io, names_in_directories)
{
    struct files t;
    struct mem mem;
    char inside[64], moved[64];
    files_init(&t);
    mem_init(&mem, "test");
    snprintf(inside, sizeof inside, "%s/d", t.directory);
    snprintf(moved, sizeof moved, "%s/d/file", t.directory);
    cr_assert_eq(env_make_directory(inside), OK);
    cr_assert_eq(env_make_directory(inside), OK);
    cr_assert_eq(env_make_directory(t.path), ERR_IO);
    cr_assert_eq(env_file_rename(&t.file, moved), OK);
    cr_assert_eq(env_sync_directory(inside), OK);
    bool is_there;
    cr_assert_eq(env_file_exists(moved, &is_there), OK);
    cr_assert(is_there);
    cr_assert_eq(env_file_exists(t.path, &is_there), OK);
    cr_assert_not(is_there);
    struct buf names = {.mem = &mem};
    cr_assert_eq(env_list_directory(inside, &names), OK);
    cr_assert(bytes_equal(buf_view(&names), bytes_make("file", 5)));
    cr_assert_eq(env_list_directory(moved, &names), ERR_IO);
    buf_clear(&names);
    cr_assert_eq(env_file_rename(&t.file, t.path), OK);
    rmdir(inside);
    files_deinit(&t);
    mem_deinit(&mem);
}

static void wait_for(struct fixture *f, struct env_file_request *r)
{
    struct env_event e;
    uint64_t deadline = env_now_ns() + PATIENCE_NS;
    while (r->is_pending) {
        env_wait(f->loop, PATIENCE_NS);
        cr_assert_not(env_next(f->loop, &e));
        cr_assert_lt(env_now_ns(), deadline, "the request did not end");
    }
}

BOTH(a_commit_writes_and_then_syncs)
{
    struct files t;
    struct fixture f = make(backend);
    struct env_file_request r = {0};
    files_init(&t);
    env_file_commit(f.loop, &r, &t.file, 0, BYTES_LITERAL("hello world"));
    cr_assert(r.is_pending);
    wait_for(&f, &r);
    cr_assert_eq(r.status, OK);
    expect_file(&t, "hello world");
    env_file_commit(f.loop, &r, &t.file, 0, (struct bytes){0});
    wait_for(&f, &r);
    cr_assert_eq(r.status, OK);
    files_deinit(&t);
    env_loop_destroy(f.loop);
}

BOTH(a_commit_that_is_cut_short_writes_the_rest_before_it_syncs)
{
    struct files t;
    struct fixture f = make(backend);
    struct env_file_request r = {0};
    files_init(&t);
    fault_set("file_short", 1);
    env_file_commit(f.loop, &r, &t.file, 0, BYTES_LITERAL("hello world"));
    wait_for(&f, &r);
    cr_assert_eq(r.status, OK);
    expect_file(&t, "hello world");
    files_deinit(&t);
    env_loop_destroy(f.loop);
}

BOTH(a_commit_says_whether_the_write_or_the_sync_failed)
{
    struct files t;
    struct fixture f = make(backend);
    struct env_file_request r = {0};
    files_init(&t);
    fault_set("file_write", 1);
    env_file_commit(f.loop, &r, &t.file, 0, BYTES_LITERAL("x"));
    wait_for(&f, &r);
    cr_assert_eq(r.status, ERR_IO);
    cr_assert_eq(r.failed, ENV_FILE_WRITE);
    cr_assert_not(t.file.sync_failed);
    fault_set("file_sync", 1);
    for (int i = 0; i < 2; i++) {
        env_file_commit(f.loop, &r, &t.file, 0, BYTES_LITERAL("x"));
        wait_for(&f, &r);
        cr_assert_eq(r.status, ERR_IO);
        cr_assert_eq(r.failed, ENV_FILE_SYNC);
        cr_assert(t.file.sync_failed);
    }
    files_deinit(&t);
    env_loop_destroy(f.loop);
}

BOTH(a_write_to_a_file_that_is_not_writable_fails)
{
    struct files t;
    struct fixture f = make(backend);
    struct env_file_request r = {0};
    struct env_file readable;
    files_init(&t);
    cr_assert_eq(env_file_open(&readable, t.path, ENV_OPEN_READ), OK);
    env_file_commit(f.loop, &r, &readable, 0, BYTES_LITERAL("x"));
    wait_for(&f, &r);
    cr_assert_eq(r.status, ERR_IO);
    cr_assert_eq(r.failed, ENV_FILE_WRITE);
    env_file_close(&readable);
    files_deinit(&t);
    env_loop_destroy(f.loop);
}

BOTH(a_loop_does_not_end_before_its_requests)
{
    struct files t;
    struct fixture f = make(backend);
    struct env_file_request r = {0};
    files_init(&t);
    env_file_commit(f.loop, &r, &t.file, 0, BYTES_LITERAL("hello world"));
    env_loop_destroy(f.loop);
    cr_assert_not(r.is_pending);
    expect_file(&t, "hello world");
    files_deinit(&t);
}
