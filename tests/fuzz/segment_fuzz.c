/* Feeds the reader and recovery with whatever may stand in a segment: nothing may be read outside
 * of it, everything ends, and what recovery accepts it accepts again. */
#include "base/log.h"
#include "persist/aof_reader.h"
#include "persist/crc32c.h"
#include "persist/file.h"
#include "persist/recovery.h"
#include "tests/fuzz/driver.h"
#include "tests/sim/env_disk.h"

#define DIRECTORY "d"
#define WHY_BYTES 2048

static const struct segment_uuid uuid = {{1, 2, 3, 4}};

struct seen {
    uint64_t count, lsn, hash;
};

static enum err on_record(void *context, const struct recovery_record *record)
{
    struct seen *seen = context;
    CHECK(record->lsn > seen->lsn);
    seen->lsn = record->lsn;
    seen->hash = seen->hash * 31 + crc32c(0, record->payload);
    seen->count++;
    return OK;
}

/* Gives records a checksum that is right, so that the inner checks are reached. */
static void repair(uint8_t *file, size_t size)
{
    struct segment_header h;
    if (size < sizeof h) return;
    memcpy(&h, file, sizeof h);
    h.uuid = uuid;
    segment_header_seal(&h);
    memcpy(file, &h, sizeof h);
    struct segment_record r;
    for (size_t at = sizeof h; at + sizeof r <= size;) {
        memcpy(&r, file + at, sizeof r);
        if (r.size < sizeof r || r.size > size - at) return;
        r.crc = segment_record_crc(&uuid, at, &r);
        r.crc = crc32c(r.crc, bytes_make(file + at + sizeof r, r.size - sizeof r));
        memcpy(file + at, &r, sizeof r);
        at += segment_padded(r.size);
    }
}

static void put_file(const char *path, struct bytes contents)
{
    struct env_file f;
    CHECK(env_file_open(&f, path, ENV_OPEN_CREATE) == OK);
    CHECK(env_file_write(&f, 0, contents) == OK);
    env_file_close(&f);
}

static void put_manifest(struct mem *mem, const struct manifest_file *f)
{
    struct manifest m;
    manifest_init(&m, mem);
    manifest_add_generation(&m, 0, 1);
    manifest_add_file(&m, f);
    CHECK(manifest_write(&m, DIRECTORY) == OK);
    manifest_deinit(&m);
}

static void read_all(struct mem *mem, const char *path)
{
    struct aof_reader r;
    enum aof_found found = aof_reader_open(&r, mem, path, NULL, UINT64_MAX);
    aof_reader_want_payloads(&r);
    uint64_t before = 0;
    while (found == AOF_FOUND_RECORD) {
        found = aof_reader_next(&r);
        CHECK(r.offset >= before && r.offset <= segment_padded(r.size));
        before = r.offset;
        if (found == AOF_FOUND_DAMAGE) found = aof_reader_seek(&r);
    }
    aof_reader_close(&r);
}

static bool recover(struct mem *mem, bool accepts, struct seen *seen)
{
    struct recovery r;
    char why[WHY_BYTES];
    struct recovery_options o = {.mem = mem, .directory = DIRECTORY, .accept_corruption = accepts};
    enum err e = recovery_open(&r, &o, why);
    for (unsigned i = 0; e == OK && i < r.stream_count; i++) e = recovery_scan(&r, i, mem);
    if (e == OK) {
        struct manifest next;
        manifest_init(&next, mem);
        recovery_resolve(&r);
        for (unsigned i = 0; i < r.stream_count; i++)
            CHECK(recovery_replay(&r, i, mem, on_record, seen) == OK);
        CHECK(recovery_seal(&r, &next) == OK);
        CHECK(manifest_write(&next, DIRECTORY) == OK && recovery_trim(&r) == OK);
        manifest_deinit(&next);
    }
    recovery_close(&r);
    return e == OK;
}

/* The first byte: whether to repair, whether it is a base, whether it is closed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    if (size < 1) return 0;
    log_set_level(LOG_NOTHING);
    mem_init(&mem, "segment_fuzz");
    uint8_t options = data[0];
    uint8_t *file = malloc(size);
    if (!file) return 1;
    memcpy(file, data + 1, --size);
    if (options & 1) repair(file, size);
    struct manifest_file f = {.kind = options & 2 ? SEGMENT_KIND_BASE : SEGMENT_KIND_EFFECTS,
                              .uuid = uuid};
    if (f.kind == SEGMENT_KIND_BASE || options & 4) {
        f.size = MAX(size, SEGMENT_HEADER_BYTES);
        f.first_lsn = options >> 4 ? options >> 4 : 1;
    }
    struct disk *d = disk_create();
    disk_use(d);
    char name[MANIFEST_FILE_NAME_BYTES], path[ENV_PATH_BYTES_MAX];
    manifest_file_name(&f, name);
    CHECK(file_path(path, DIRECTORY, name) == OK);
    put_file(path, bytes_make(file, size));
    put_manifest(&mem, &f);
    read_all(&mem, path);
    struct seen first = {0}, again = {0};
    if (recover(&mem, options & 8, &first)) {
        CHECK(recover(&mem, false, &again));
        CHECK(first.count == again.count && first.hash == again.hash);
    }
    disk_destroy(d);
    free(file);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX 8192

static size_t add_record(uint8_t *to, struct random *r, uint64_t lsn, uint64_t *txid)
{
    struct segment_record record = {.lsn = lsn, .type = SEGMENT_EFFECTS, .part_count = 1};
    uint64_t payload = random_below(r, 90);
    if (random_below(r, 4) == 0) {
        record.type = SEGMENT_MARK;
        payload = sizeof(struct segment_mark);
    } else if (random_below(r, 4) == 0) {
        record.part_count = (uint16_t)(1 + random_below(r, 3));
        record.txid = record.part_count > 1 ? (*txid += random_below(r, 3)) : 0;
    }
    record.size = (uint32_t)(sizeof record + payload);
    memcpy(to, &record, sizeof record);
    for (uint64_t i = 0; i < payload; i++)
        to[sizeof record + i] = (uint8_t)(random_below(r, 3) ? 0 : random_below(r, 16));
    return segment_padded(record.size);
}

/* Options, a header and records; a few bytes of it spoilt in two runs of three. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    memset(input, 0, INPUT_BYTES_MAX);
    input[0] = (uint8_t)random_next(r) | (random_below(r, 8) ? 1 : 0);
    bool is_base = input[0] & 2;
    struct segment_header h = {.first_lsn = is_base ? 1 : 1 + random_below(r, 3),
                               .covered_lsn = is_base ? random_below(r, 3) : 0,
                               .kind = is_base ? SEGMENT_KIND_BASE : SEGMENT_KIND_EFFECTS};
    size_t size = 1 + sizeof h;
    memcpy(input + 1, &h, sizeof h);
    uint64_t txid = 1, count = random_below(r, 30);
    for (uint64_t i = 0; i < count; i++)
        size += add_record(input + size, r, h.first_lsn + i, &txid);
    size += random_below(r, 3) * 8;
    if (!(input[0] & 1)) repair(input + 1, size - 1);
    for (uint64_t i = random_below(r, 3); i > 0; i--)
        input[1 + random_below(r, size - 1)] = (uint8_t)random_next(r);
    if (random_below(r, 4) == 0) size = 1 + random_below(r, size);
    out->size = size;
}
