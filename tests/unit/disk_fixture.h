/* disk_fixture.h: a simulated disk and a log on it, for tests of persistence. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>

#include "base/log.h"
#include "persist/aof.h"
#include "persist/aof_reader.h"
#include "persist/manifest.h"
#include "persist/recovery.h"
#include "tests/sim/env_disk.h"

#define WHY_BYTES 2048
#define SECOND_NS UINT64_C(1000000000)

struct fixture {
    struct mem mem;
    struct disk *disk;
    struct manifest manifest;
    struct aof *aof;
    uint64_t now_ns;
    char why[WHY_BYTES];
};

static inline struct fixture *fixture_make(void)
{
    struct fixture *f = calloc(1, sizeof *f);
    cr_assert_not_null(f);
    log_set_level(LOG_NOTHING);
    mem_init(&f->mem, "test");
    manifest_init(&f->manifest, &f->mem);
    f->disk = disk_create();
    disk_use(f->disk);
    f->now_ns = 1;
    return f;
}

static inline struct segment_uuid uuid_of(uint8_t number)
{
    return (struct segment_uuid){{number, 1, 2, 3}};
}

/* The file `number` of a shard, made and named by the manifest. */
static inline void name_file(struct fixture *f, uint16_t shard, uint8_t number, char *path)
{
    struct manifest_file file = {.kind = SEGMENT_KIND_EFFECTS,
                                 .generation = 1,
                                 .shard = shard,
                                 .number = number,
                                 .uuid = uuid_of((uint8_t)(shard * 16 + number))};
    if (f->manifest.generation_count == 0) manifest_add_generation(&f->manifest, 1, 4);
    char name[MANIFEST_FILE_NAME_BYTES];
    manifest_file_name(&file, name);
    snprintf(path, ENV_PATH_BYTES_MAX, "d/%s", name);
    cr_assert_eq(aof_prepare(path), OK);
    manifest_add_file(&f->manifest, &file);
    cr_assert_eq(env_sync_directory("d"), OK);
    cr_assert_eq(manifest_write(&f->manifest, "d"), OK);
}

static inline struct aof *open_log(struct fixture *f, uint16_t shard, enum aof_policy policy)
{
    char path[ENV_PATH_BYTES_MAX];
    struct aof *aof;
    name_file(f, shard, 1, path);
    struct aof_options o = {.mem = &f->mem,
                            .policy = policy,
                            .kind = SEGMENT_KIND_EFFECTS,
                            .generation = 1,
                            .shard = shard,
                            .first_lsn = 1,
                            .buffer_bytes_max = 4096,
                            .path = path,
                            .uuid = uuid_of((uint8_t)(shard * 16 + 1))};
    cr_assert_eq(aof_create(&o, &aof), OK);
    return aof;
}

static inline uint64_t append_part(struct aof *a, const char *text, uint16_t part_count,
                                   uint16_t part, uint64_t txid)
{
    uint64_t lsn;
    struct aof_record r = {
        .part_count = part_count, .part = part, .txid = txid, .payload = bytes_of(text)};
    cr_assert_eq(aof_append(a, &r, &lsn), OK);
    return lsn;
}

static inline uint64_t append(struct aof *a, const char *text)
{
    return append_part(a, text, 1, 0, 0);
}

static inline void complete(struct fixture *f)
{
    while (disk_complete_one(f->disk, 0)) continue;
}

/* A step, what the disk does, and a step that sees it. */
static inline void turn(struct fixture *f, struct aof *a)
{
    aof_step(a, f->now_ns);
    complete(f);
    aof_step(a, f->now_ns);
}

static inline void fixture_free(struct fixture *f)
{
    complete(f);
    if (f->aof) aof_destroy(f->aof);
    manifest_deinit(&f->manifest);
    mem_deinit(&f->mem);
    disk_destroy(f->disk);
    free(f);
}
