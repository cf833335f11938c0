/* The thread that writes an RDB file, on a disk that fails: the old file or the whole new one is
 * there, and every piece comes back. */
#include <semaphore.h>

#include "persist/rdb_thread.h"
#include "tests/unit/disk_fixture.h"

#define PIECES 3
#define PIECE_BYTES (1u << 20) /* more than the writer collects, so that a piece can fail */
#define PATH "d/dump.rdb"

struct saving {
    struct fixture *f;
    struct rdb_thread thread;
    struct rdb_thread_options options;
    struct rdb_piece pieces[PIECES];
    char why[FILE_WHY_BYTES];
    sem_t woken;
};

static void wake(void *context)
{
    sem_post(context);
}

static void saving_init(struct saving *s)
{
    static const struct bytes function = BYTES_LITERAL("#!lua name=l\n");
    static const struct rdb_sizes sizes = {.keys = PIECES};
    memset(s, 0, sizeof *s);
    s->f = fixture_make();
    sem_init(&s->woken, 0, 0);
    s->options = (struct rdb_thread_options){.path = PATH,
                                             .server_version = "7.2.0",
                                             .sync_bytes = 1,
                                             .file = {.with_checksum = true},
                                             .functions = &function,
                                             .function_count = 1,
                                             .sizes = &sizes,
                                             .wake = wake,
                                             .context = &s->woken};
    /* The simulated disk resolves no links: that needs no call. */
    cr_assert_eq(file_replace(PATH, BYTES_LITERAL("old"), s->why), OK);
}

static void saving_deinit(struct saving *s)
{
    sem_destroy(&s->woken);
    fixture_free(s->f);
}

/* Nobody touches the disk but the writer until it is over. NULL: all is well. */
static const char *save(struct saving *s)
{
    if (!rdb_thread_start(&s->thread, &s->options, s->why)) return s->why;
    static const char records[PIECE_BYTES];
    for (int i = 0; i < PIECES; i++) {
        s->pieces[i] =
            (struct rdb_piece){.key_count = 1, .records = bytes_make(records, sizeof records)};
        rdb_thread_push(&s->thread, &s->pieces[i]);
    }
    rdb_thread_end(&s->thread, true);
    while (!rdb_thread_is_over(&s->thread)) sem_wait(&s->woken);
    unsigned back = 0;
    for (struct rdb_piece *p = rdb_thread_take_done(&s->thread); p; p = p->next) back++;
    cr_assert_eq(back, PIECES);
    const char *error = rdb_thread_error(&s->thread);
    if (error) snprintf(s->why, sizeof s->why, "%s", error);
    rdb_thread_join(&s->thread);
    return error ? s->why : NULL;
}

static bool is_whole(const char *data, size_t size)
{
    return size > 50 && memcmp(data, "REDIS", 5) == 0 && memmem(data, size, "name=l", 6);
}

/* The file is there once, and nothing beside it. */
static const char *only_file(struct saving *s, size_t *size)
{
    struct buf names = {.mem = &s->f->mem};
    cr_assert_eq(env_list_directory("d", &names), OK);
    cr_assert_eq(names.size, sizeof "dump.rdb", "%.*s", (int)names.size, names.data);
    buf_clear(&names);
    const char *data = disk_contents(s->f->disk, PATH, size);
    cr_assert_not_null(data);
    return data;
}

Test(rdb_thread, a_file_is_replaced_as_a_whole_or_not_at_all_and_the_reason_is_told)
{
    struct saving s;
    size_t calls, size;
    saving_init(&s);
    calls = disk_call_count(s.f->disk);
    cr_assert_null(save(&s), "%s", s.why);
    calls = disk_call_count(s.f->disk) - calls;
    const char *data = only_file(&s, &size);
    cr_assert(is_whole(data, size));
    saving_deinit(&s);
    for (size_t i = 0; i < calls; i++) {
        saving_init(&s);
        disk_plant(s.f->disk, disk_call_count(s.f->disk) + i, 1, DISK_ENOSPC);
        const char *error = save(&s);
        cr_assert_not_null(error, "call %zu of %zu", i, calls);
        cr_assert_not_null(strstr(error, PATH), "%s", error);
        data = only_file(&s, &size);
        /* The last call is the sync of the directory. */
        bool is_new = i == calls - 1;
        cr_assert(is_new ? is_whole(data, size) : size == 3 && memcmp(data, "old", 3) == 0,
                  "call %zu of %zu: %s", i, calls, error);
        saving_deinit(&s);
    }
}

Test(rdb_thread, without_a_thread_nothing_has_begun)
{
    struct saving s;
    size_t size;
    saving_init(&s);
    fault_set("thread_create", 1);
    cr_assert_str_eq(save(&s), "cannot create the thread that writes the file");
    cr_assert_eq(memcmp(only_file(&s, &size), "old", 3), 0);
    cr_assert_null(save(&s));
    saving_deinit(&s);
}
