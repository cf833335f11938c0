#include "tests/unit/disk_fixture.h"

#include "persist/crc32c.h"
#include "persist/file.h"

static void fill(struct manifest *m)
{
    m->server = uuid_of(1);
    m->hash_seed = 0xfedcba9876543210;
    m->horizon = 812;
    manifest_add_generation(m, 3, 2);
    manifest_add_generation(m, 4, 7);
    struct manifest_file f = {SEGMENT_KIND_EFFECTS, 3, 1, 2, uuid_of(2), 500, 65536};
    manifest_add_file(m, &f);
    f = (struct manifest_file){SEGMENT_KIND_BASE, 3, 1, 1, uuid_of(3), 500, 8192};
    manifest_add_file(m, &f);
    f = (struct manifest_file){SEGMENT_KIND_EFFECTS, 4, 6, 1, uuid_of(4), 0, 0};
    manifest_add_file(m, &f);
}

static const char text[] = "shoal manifest 1\n"
                           "server 01010203000000000000000000000000\n"
                           "seed fedcba9876543210\n"
                           "horizon 812\n"
                           "generation 3 shards 2\n"
                           "base 1 1 03010203000000000000000000000000 500 8192\n"
                           "segment 1 2 02010203000000000000000000000000 500 65536\n"
                           "generation 4 shards 7\n"
                           "segment 6 1 04010203000000000000000000000000 0 0\n";

static bool parse(struct fixture *f, struct bytes body)
{
    struct manifest m;
    struct buf whole = {.mem = &f->mem};
    manifest_init(&m, &f->mem);
    buf_append(&whole, body.data, body.size);
    buf_printf(&whole, "crc %08x\n", crc32c(0, body));
    bool ok = manifest_parse(&m, buf_view(&whole), f->why);
    buf_clear(&whole);
    manifest_deinit(&m);
    return ok;
}

Test(manifest, is_text_that_a_person_can_read)
{
    struct fixture *f = fixture_make();
    struct buf out = {.mem = &f->mem};
    fill(&f->manifest);
    manifest_encode(&f->manifest, &out);
    cr_assert_eq(out.size, sizeof text - 1 + 13);
    cr_assert_eq(memcmp(out.data, text, sizeof text - 1), 0, "%.*s", (int)out.size, out.data);
    buf_clear(&out);
    fixture_free(f);
}

Test(manifest, reads_back_what_it_wrote)
{
    struct fixture *f = fixture_make();
    struct manifest again;
    fill(&f->manifest);
    cr_assert_eq(manifest_write(&f->manifest, "d"), OK);
    manifest_init(&again, &f->mem);
    cr_assert_eq(manifest_read(&again, "d", f->why), OK, "%s", f->why);
    cr_assert_eq(again.horizon, 812);
    cr_assert_eq(again.hash_seed, 0xfedcba9876543210);
    cr_assert_eq(again.generation_count, 2);
    cr_assert_eq(again.file_count, 3);
    cr_assert_eq(again.files[0].kind, SEGMENT_KIND_BASE);
    struct segment_uuid uuid = uuid_of(4);
    cr_assert_eq(manifest_find(&again, &uuid), &again.files[2]);
    manifest_remove_file(&again, 2);
    manifest_remove_file(&again, 0);
    manifest_remove_file(&again, 0);
    manifest_drop_empty_generations(&again);
    cr_assert_eq(again.generation_count, 1);
    cr_assert_eq(manifest_last(&again)->number, 4);
    manifest_deinit(&again);
    fixture_free(f);
}

Test(manifest, any_changed_byte_is_refused)
{
    struct fixture *f = fixture_make();
    struct manifest again;
    fill(&f->manifest);
    cr_assert_eq(manifest_write(&f->manifest, "d"), OK);
    size_t size;
    cr_assert_not_null(disk_contents(f->disk, "d/" MANIFEST_NAME, &size));
    for (size_t at = 0; at < size; at++) {
        disk_corrupt(f->disk, "d/" MANIFEST_NAME, at, 0x01);
        manifest_init(&again, &f->mem);
        cr_assert_eq(manifest_read(&again, "d", f->why), ERR_IO);
        cr_assert_not_null(strstr(f->why, "d/" MANIFEST_NAME ": "), "%s", f->why);
        manifest_deinit(&again);
        disk_corrupt(f->disk, "d/" MANIFEST_NAME, at, 0x01);
    }
    fixture_free(f);
}

static bool is_there(struct fixture *f, const char *path)
{
    size_t size;
    return disk_contents(f->disk, path, &size) != NULL;
}

Test(manifest, says_when_there_is_none_and_when_that_is_not_known)
{
    struct fixture *f = fixture_make();
    disk_plant(f->disk, disk_call_count(f->disk), 1, DISK_EIO);
    cr_assert_eq(manifest_read(&f->manifest, "d", f->why), ERR_IO);
    cr_assert_not_null(strstr(f->why, "d/" MANIFEST_NAME), "%s", f->why);
    cr_assert_eq(manifest_read(&f->manifest, "d", f->why), ERR_NO_KEY);
    fixture_free(f);
}

#define HEAD                                                                                       \
    "shoal manifest 1\nserver 01010203000000000000000000000000\nseed fedcba9876543210\n"           \
    "horizon 812\n"
#define UUID "03010203000000000000000000000000"

Test(manifest, takes_one_spelling_only)
{
    static const char *const bad[] = {
        "",
        "shoal manifest 2\n",
        HEAD,
        HEAD "generation 3 shards 0\n",
        HEAD "generation 03 shards 1\n",
        HEAD "generation 3 shards 1\ngeneration 3 shards 1\n",
        HEAD "generation 3 shards 1",
        HEAD "generation 3 shards 1 \n",
        HEAD "generation 3 shards 5000\n",
        HEAD "segment 0 1 " UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 1 1 " UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 1 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 0 100\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 1 63\n",
        HEAD "generation 3 shards 1\nbase 0 1 " UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 1 64\nbase 0 2 " UUID " 5 64\n",
        HEAD "generation 3 shards 1\nsegment 0 2 " UUID " 0 0\nsegment 0 1 " UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 0 0\nsegment 0 1 " UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 0" UUID " 0 0\n",
        HEAD "generation 3 shards 1\nsegment 0 1 " UUID " 0 0 0\n",
        HEAD "generation 3 shards 1\nwhat 0 1 " UUID " 0 0\n"};
    struct fixture *f = fixture_make();
    cr_assert(parse(f, BYTES_LITERAL(text)), "%s", f->why);
    cr_assert(parse(f, BYTES_LITERAL(HEAD "generation 3 shards 1\n")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        f->why[0] = 0;
        cr_assert_not(parse(f, bytes_of(bad[i])), "%zu: %s", i, bad[i]);
        cr_assert_neq(f->why[0], 0);
    }
    fixture_free(f);
}

Test(manifest, removes_its_own_files_that_it_does_not_name_and_nothing_else)
{
    static const char *const names[] = {"d/g1-s0-7.aof", "d/g1-s0-7.base",
                                        "d/" MANIFEST_NAME FILE_TEMPORARY_SUFFIX "0", "d/notes.aof",
                                        "d/dump.rdb"};
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    name_file(f, 0, 1, path);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) cr_assert_eq(aof_prepare(names[i]), OK);
    manifest_remove_strangers(&f->manifest, "d");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        cr_assert_eq(is_there(f, names[i]), i >= 3, "%s", names[i]);
    cr_assert(is_there(f, path));
    fixture_free(f);
}
