#include "persist/redis_aof.h"

#include "tests/unit/disk_fixture.h"
#include "tests/unit/random.h"

#define PATH "d/appendonly.aof"

/* ---- manifests ---- */

static bool parse(struct mem *mem, const char *text, struct redis_aof_manifest *m, char *why)
{
    mem_init(mem, "test");
    redis_aof_manifest_init(m, mem);
    return redis_aof_manifest_parse(m, bytes_of(text), why);
}

static void done(struct mem *mem, struct redis_aof_manifest *m)
{
    redis_aof_manifest_deinit(m);
    mem_deinit(mem);
}

Test(redis_aof, a_manifest_names_a_base_and_increments)
{
    struct mem mem;
    struct redis_aof_manifest m;
    char why[REDIS_AOF_WHY_BYTES];
    cr_assert(parse(&mem,
                    "# a comment\n"
                    "file a.3.base.rdb seq 3 type b\n"
                    "file a.7.incr.aof seq 7 type h\n"
                    "file a.8.incr.aof seq 8 type i\n"
                    "file \"a 9.aof\" seq 9 type i startoffset 12",
                    &m, why),
              "%s", why);
    cr_assert(m.has_base);
    cr_assert_str_eq(m.base.name, "a.3.base.rdb");
    cr_assert_eq(m.increment_count, 2);
    cr_assert_str_eq(m.increments[0].name, "a.8.incr.aof");
    cr_assert_str_eq(m.increments[1].name, "a 9.aof");
    done(&mem, &m);
}

Test(redis_aof, a_manifest_that_is_wrong_is_refused_with_its_line)
{
    static const char *const texts[] = {
        "",
        "file a seq 1\n",
        "file a seq x type i\n",
        "file a/b seq 1 type i\n",
        "file a seq 1 type ib\n",
        "file a seq 1 type i more\n",
        "file a seq 1 type b\nfile b seq 2 type b\n",
        "file a seq 2 type i\nfile b seq 2 type i\n",
        "*1\r\n$4\r\nfile\r\n",
        "file \"a seq 1 type i\n",
        "file a seq 1 type h\n",
    };
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++) {
        struct mem mem;
        struct redis_aof_manifest m;
        char why[REDIS_AOF_WHY_BYTES] = "";
        cr_assert(!parse(&mem, texts[i], &m, why), "%s", texts[i]);
        cr_assert_eq(strncmp(why, "line ", 5), 0, "%s", why);
        done(&mem, &m);
    }
}

/* ---- files ---- */

static void write_file(struct bytes data)
{
    struct env_file f;
    cr_assert_eq(env_file_open(&f, PATH, ENV_OPEN_CREATE), OK);
    cr_assert_eq(env_file_write(&f, 0, data), OK);
    env_file_close(&f);
}

/* All commands from `offset` on, in one text; then what the reader has found there. */
static enum redis_aof_found read_all(struct bytes data, uint64_t offset, char *out, size_t room,
                                     struct redis_aof_reader *r)
{
    struct fixture *f = fixture_make();
    size_t used = 0;
    write_file(data);
    cr_assert(redis_aof_open(r, &f->mem, PATH, offset));
    enum redis_aof_found found;
    out[0] = '\0';
    while ((found = redis_aof_next(r)) == REDIS_AOF_COMMAND)
        for (uint32_t i = 0; i < r->argc; i++)
            used += (size_t)snprintf(out + used, room - used, "%.*s%s", (int)r->argv[i].size,
                                     r->argv[i].data, i + 1 < r->argc ? " " : ";");
    redis_aof_close(r);
    fixture_free(f);
    return found;
}

#define SET "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n"
#define DEL "*2\r\n$3\r\nDEL\r\n$1\r\na\r\n"

static void expect(const char *text, const char *commands, enum redis_aof_found found,
                   uint64_t offset)
{
    struct redis_aof_reader r;
    char got[256];
    cr_assert_eq(read_all(bytes_of(text), 0, got, sizeof got, &r), found, "%s", text);
    cr_assert_str_eq(got, commands);
    cr_assert_eq(r.offset, offset, "%s: %llu", text, (unsigned long long)r.offset);
}

Test(redis_aof, commands_come_with_their_offsets_and_annotations_are_passed_over)
{
    size_t set = sizeof SET - 1, del = sizeof DEL - 1;
    expect("", "", REDIS_AOF_END, 0);
    expect(SET DEL, "SET a 1;DEL a;", REDIS_AOF_END, set + del);
    expect("#TS:1700000000\r\n" SET "#TS:1700000001\r\n", "SET a 1;", REDIS_AOF_END, 16 + set + 16);
    expect(SET "*2\r\n$3\r\nDE", "SET a 1;", REDIS_AOF_CUT, set);
    expect(SET "*", "SET a 1;", REDIS_AOF_CUT, set);
    expect(SET "DEL a\r\n" SET, "SET a 1;", REDIS_AOF_BROKEN, set);
    expect(SET "*x\r\n", "SET a 1;", REDIS_AOF_BROKEN, set);
    expect(SET "*1\r\n:3\r\n", "SET a 1;", REDIS_AOF_BROKEN, set);
}

Test(redis_aof, reading_begins_where_it_is_told)
{
    struct redis_aof_reader r;
    char got[64];
    cr_assert_eq(read_all(BYTES_LITERAL("REDIS0010" DEL), 9, got, sizeof got, &r), REDIS_AOF_END);
    cr_assert_str_eq(got, "DEL a;");
}

/* Values of all sizes, so that commands begin and end anywhere in the reader's window. */
Test(redis_aof, commands_may_lie_across_any_piece_of_the_file)
{
    struct random random = random_make();
    struct fixture *f = fixture_make();
    struct buf file = {.mem = &f->mem};
    uint64_t starts[64];
    unsigned count = 0;
    while (count < 60) {
        static const size_t sizes[] = {1, 100, 70000, 262144 - 40, 262144, 600000};
        size_t size = sizes[random_below(&random, ARRAY_LEN(sizes))] + random_below(&random, 40);
        if (random_below(&random, 3) == 0) buf_append_text(&file, "#TS:1700000000\r\n");
        starts[count++] = file.size;
        buf_printf(&file, "*2\r\n$3\r\nDEL\r\n$%zu\r\n", size);
        char *at = buf_reserve(&file, size);
        memset(at, 'x', size);
        file.size += size;
        buf_append_text(&file, "\r\n");
    }
    struct redis_aof_reader r;
    write_file(buf_view(&file));
    cr_assert(redis_aof_open(&r, &f->mem, PATH, 0));
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(redis_aof_next(&r), REDIS_AOF_COMMAND, "%s", r.fault);
        cr_assert_eq(r.offset, starts[i]);
        cr_assert_eq(r.argc, 2);
    }
    cr_assert_eq(redis_aof_next(&r), REDIS_AOF_END);
    redis_aof_close(&r);
    buf_clear(&file);
    fixture_free(f);
}
