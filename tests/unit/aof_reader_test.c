#include "tests/unit/disk_fixture.h"

#define PATH "d/g1-s0-1.aof"

static struct fixture *three_records(size_t payload_bytes)
{
    struct fixture *f = fixture_make();
    char *text = calloc(1, payload_bytes + 1);
    f->aof = open_log(f, 0, AOF_NO);
    for (char c = 'a'; c <= 'c'; c++) {
        memset(text, c, payload_bytes);
        append(f->aof, text);
        turn(f, f->aof);
    }
    free(text);
    return f;
}

static enum aof_found open_reader(struct fixture *f, struct aof_reader *r)
{
    enum aof_found found = aof_reader_open(r, &f->mem, PATH, NULL, UINT64_MAX);
    aof_reader_want_payloads(r);
    return found;
}

static void expect_record(struct aof_reader *r, char c, size_t size)
{
    cr_assert_eq(aof_reader_next(r), AOF_FOUND_RECORD);
    cr_assert_eq(r->payload.size, size);
    for (size_t i = 0; i < size; i++) cr_assert_eq(r->payload.data[i], c);
}

static void read_three(size_t size)
{
    struct fixture *f = three_records(size);
    struct aof_reader r;
    cr_assert_eq(open_reader(f, &r), AOF_FOUND_RECORD);
    for (char c = 'a'; c <= 'c'; c++) expect_record(&r, c, size);
    cr_assert_eq(aof_reader_next(&r), AOF_FOUND_END);
    cr_assert_eq(r.next_lsn, 4);
    aof_reader_close(&r);
    fixture_free(f);
}

Test(aof_reader, reads_records_of_any_size)
{
    read_three(0);
    read_three(1);
    read_three(8);
    read_three(AOF_READER_WINDOW_BYTES - SEGMENT_RECORD_BYTES);
    read_three(AOF_READER_WINDOW_BYTES);
    read_three(3 * AOF_READER_WINDOW_BYTES + 5);
}

Test(aof_reader, any_changed_byte_is_damage_and_the_search_finds_what_is_behind)
{
    struct fixture *f = three_records(20);
    struct aof_reader r;
    for (size_t at = SEGMENT_HEADER_BYTES; at < SEGMENT_HEADER_BYTES + 56; at++) {
        disk_corrupt(f->disk, PATH, at, 0x40);
        cr_assert_eq(open_reader(f, &r), AOF_FOUND_RECORD);
        cr_assert_eq(aof_reader_next(&r), AOF_FOUND_DAMAGE, "byte %zu", at);
        cr_assert_eq(r.offset, SEGMENT_HEADER_BYTES);
        cr_assert_not_null(r.fault);
        cr_assert_eq(aof_reader_seek(&r), AOF_FOUND_RECORD);
        expect_record(&r, 'b', 20);
        expect_record(&r, 'c', 20);
        aof_reader_close(&r);
        disk_corrupt(f->disk, PATH, at, 0x40);
    }
    fixture_free(f);
}

Test(aof_reader, a_torn_tail_has_nothing_behind_it)
{
    struct fixture *f = three_records(20);
    struct aof_reader r;
    disk_corrupt(f->disk, PATH, SEGMENT_HEADER_BYTES + 2 * 56 + 40, 1);
    cr_assert_eq(open_reader(f, &r), AOF_FOUND_RECORD);
    expect_record(&r, 'a', 20);
    expect_record(&r, 'b', 20);
    cr_assert_eq(aof_reader_next(&r), AOF_FOUND_DAMAGE);
    cr_assert_eq(aof_reader_seek(&r), AOF_FOUND_END);
    aof_reader_close(&r);
    fixture_free(f);
}

Test(aof_reader, a_record_that_claims_more_than_the_file_holds_reserves_nothing)
{
    struct fixture *f = three_records(20);
    struct aof_reader r;
    disk_corrupt(f->disk, PATH, SEGMENT_HEADER_BYTES + 3, 0x7f);
    uint64_t before = mem_live_bytes(&f->mem);
    cr_assert_eq(open_reader(f, &r), AOF_FOUND_RECORD);
    cr_assert_eq(aof_reader_next(&r), AOF_FOUND_DAMAGE);
    cr_assert_lt(mem_live_bytes(&f->mem) - before, 2 * AOF_READER_WINDOW_BYTES);
    aof_reader_close(&r);
    fixture_free(f);
}

Test(aof_reader, says_that_it_cannot_read)
{
    struct fixture *f = three_records(20);
    struct aof_reader r;
    cr_assert_eq(aof_reader_open(&r, &f->mem, "d/none", NULL, UINT64_MAX), AOF_FOUND_FAILURE);
    aof_reader_close(&r);
    cr_assert_eq(open_reader(f, &r), AOF_FOUND_RECORD);
    aof_reader_close(&r);
    disk_plant(f->disk, disk_call_count(f->disk) + 2, 1, DISK_EIO);
    cr_assert_eq(open_reader(f, &r), AOF_FOUND_FAILURE);
    aof_reader_close(&r);
    fixture_free(f);
}

Test(aof_reader, takes_only_the_file_that_was_named)
{
    struct fixture *f = three_records(20);
    struct aof_reader r;
    struct segment_uuid other = uuid_of(99);
    cr_assert_eq(aof_reader_open(&r, &f->mem, PATH, &other, UINT64_MAX), AOF_FOUND_DAMAGE);
    cr_assert_str_eq(r.fault, "is not the file that the manifest names");
    aof_reader_close(&r);
    fixture_free(f);
}
