/* Feeds the readers of a Redis server's append-only files: the first byte says whether the rest is
 * a manifest or a file of commands. What was read before a file's fault must be read again when the
 * file ends there. */
#include "base/log.h"
#include "persist/redis_aof.h"
#include "tests/fuzz/driver.h"
#include "tests/sim/env_disk.h"

#define PATH "d/appendonly.aof"
#define INPUT_BYTES_MAX 200000

static void parse_manifest(struct mem *mem, struct bytes text)
{
    struct redis_aof_manifest m;
    char why[REDIS_AOF_WHY_BYTES] = "";
    redis_aof_manifest_init(&m, mem);
    if (redis_aof_manifest_parse(&m, text, why)) {
        for (unsigned i = 0; i < m.increment_count; i++) {
            const struct redis_aof_file *f = &m.increments[i];
            CHECK(f->name[0] && !strchr(f->name, '/') && strlen(f->name) < REDIS_AOF_NAME_BYTES);
            CHECK(i == 0 || f->number > m.increments[i - 1].number);
        }
    } else {
        CHECK(why[0] != 0);
    }
    redis_aof_manifest_deinit(&m);
}

static void write_file(struct bytes contents)
{
    struct env_file f;
    CHECK(env_file_open(&f, PATH, ENV_OPEN_CREATE) == OK);
    CHECK(env_file_write(&f, 0, contents) == OK);
    env_file_close(&f);
}

struct outcome {
    uint64_t commands, end;
    enum redis_aof_found found;
};

static struct outcome read_file(struct mem *mem, struct bytes contents)
{
    struct disk *disk = disk_create();
    disk_use(disk);
    write_file(contents);
    struct redis_aof_reader r;
    struct outcome o = {.commands = 0};
    CHECK(redis_aof_open(&r, mem, PATH, 0) && r.size == contents.size);
    while ((o.found = redis_aof_next(&r)) == REDIS_AOF_COMMAND) {
        CHECK(r.argc > 0 && r.offset >= o.end && r.end > r.offset && r.end <= contents.size);
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < r.argc; i++)
            for (size_t at = 0; at < r.argv[i].size; at++) bytes += (uint8_t)r.argv[i].data[at];
        CHECK(bytes <= 255 * contents.size);
        o.end = r.end;
        o.commands++;
    }
    CHECK(o.found == REDIS_AOF_END || r.fault);
    redis_aof_close(&r);
    disk_destroy(disk);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    log_set_level(LOG_NOTHING);
    struct mem mem;
    mem_init(&mem, "redis_aof_fuzz");
    struct bytes rest = bytes_make((const char *)data + 1, size - 1);
    if (data[0] % 4 == 0) {
        parse_manifest(&mem, rest);
    } else {
        struct outcome whole = read_file(&mem, rest);
        struct outcome good = read_file(&mem, bytes_make(rest.data, whole.end));
        CHECK(good.found == REDIS_AOF_END && good.commands == whole.commands);
    }
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

static void make_manifest(struct buf *out, struct random *r)
{
    static const char kinds[] = "biih?";
    for (uint64_t i = 0, n = random_below(r, 6); i < n; i++)
        buf_printf(out, "file %s.%llu.%s seq %llu type %c\n", i % 3 ? "appendonly.aof" : "a b",
                   (unsigned long long)i + 1, random_below(r, 2) ? "incr.aof" : "base.rdb",
                   (unsigned long long)(i + random_below(r, 3)), kinds[random_below(r, 5)]);
}

static void make_commands(struct buf *out, struct random *r)
{
    for (uint64_t n = random_below(r, 30); n > 0; n--) {
        if (random_below(r, 8) == 0)
            buf_printf(out, "#TS:%llu\r\n", (unsigned long long)random_below(r, 2000000000));
        uint64_t argc = 1 + random_below(r, 5);
        buf_printf(out, "*%llu\r\n", (unsigned long long)argc);
        for (; argc > 0; argc--) {
            size_t size = random_below(r, random_below(r, 40) ? 30 : 70000);
            buf_printf(out, "$%zu\r\n", size);
            memset(buf_reserve(out, size + 2), (int)random_below(r, 256), size);
            memcpy(out->data + out->size + size, "\r\n", 2);
            out->size += size + 2;
        }
    }
}

/* Cut somewhere, or with a few bytes spoilt, in three runs of four. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    char kind = (char)random_below(r, 4);
    buf_append(out, &kind, 1);
    if (kind == 0)
        make_manifest(out, r);
    else
        make_commands(out, r);
    out->size = MIN(out->size, (size_t)INPUT_BYTES_MAX);
    if (random_below(r, 2)) out->size = 1 + random_below(r, out->size);
    for (uint64_t i = random_below(r, 2) * random_below(r, 4); i > 0 && out->size > 1; i--)
        out->data[1 + random_below(r, out->size - 1)] = "0123456789*$\r\n#- "[random_below(r, 17)];
}
