#include <criterion/criterion.h>

#include "persist/crc32c.h"
#include "persist/segment.h"

static struct segment_header header(void)
{
    struct segment_header h = {.first_lsn = 5, .generation = 2, .kind = SEGMENT_KIND_EFFECTS};
    segment_header_seal(&h);
    return h;
}

Test(segment, a_sealed_header_is_good_and_any_changed_bit_makes_it_bad)
{
    struct segment_header h = header();
    cr_assert_null(segment_header_fault(&h));
    for (size_t bit = 0; bit < 8 * sizeof h; bit++) {
        ((uint8_t *)&h)[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not_null(segment_header_fault(&h), "bit %zu", bit);
        ((uint8_t *)&h)[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

Test(segment, a_base_begins_at_one_and_a_segment_covers_nothing)
{
    struct segment_header h = header();
    h.kind = SEGMENT_KIND_BASE;
    segment_header_seal(&h);
    cr_assert_not_null(segment_header_fault(&h));
    h.first_lsn = 1;
    h.covered_lsn = 9;
    segment_header_seal(&h);
    cr_assert_null(segment_header_fault(&h));
    h.kind = SEGMENT_KIND_EFFECTS;
    segment_header_seal(&h);
    cr_assert_not_null(segment_header_fault(&h));
}

Test(segment, a_records_checksum_depends_on_file_and_place)
{
    struct segment_uuid one = {{1}}, two = {{2}};
    struct segment_record r = {.size = 40, .lsn = 7, .type = SEGMENT_EFFECTS, .part_count = 1};
    uint32_t crc = segment_record_crc(&one, 64, &r);
    cr_assert_neq(crc, segment_record_crc(&two, 64, &r));
    cr_assert_neq(crc, segment_record_crc(&one, 128, &r));
    r.crc = 99;
    cr_assert_eq(crc, segment_record_crc(&one, 64, &r));
    r.part = 1;
    cr_assert_neq(crc, segment_record_crc(&one, 64, &r));
}

Test(segment, databases_need_three_bytes)
{
    struct segment_record r = {0};
    segment_set_db(&r, SEGMENT_DB_MAX);
    cr_assert_eq(segment_db(&r), SEGMENT_DB_MAX);
    segment_set_db(&r, 0x010203);
    cr_assert_eq(segment_db(&r), 0x010203);
    cr_assert_eq(r.db[0], 3);
}

Test(segment, records_without_sense_are_refused)
{
    struct segment_record good = {
        .size = 40, .lsn = 7, .type = SEGMENT_EFFECTS, .part_count = 2, .part = 1, .txid = 3};
    cr_assert(segment_record_is_sane(&good));
    struct segment_record r = good;
    r.size = 31;
    cr_assert_not(segment_record_is_sane(&r));
    r = good;
    r.lsn = 0;
    cr_assert_not(segment_record_is_sane(&r));
    r = good;
    r.part = 2;
    cr_assert_not(segment_record_is_sane(&r));
    r = good;
    r.txid = 0;
    cr_assert_not(segment_record_is_sane(&r));
    r = good;
    r.type = 9;
    cr_assert_not(segment_record_is_sane(&r));
    r = (struct segment_record){.size = 48, .lsn = 1, .type = SEGMENT_MARK, .part_count = 1};
    cr_assert(segment_record_is_sane(&r));
    r.size = 40;
    cr_assert_not(segment_record_is_sane(&r));
}
