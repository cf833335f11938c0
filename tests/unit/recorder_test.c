/* The record of the turn order, as tests/oracle reads it. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "server/recorder.h"

static struct mem mem;
static struct recorder r;

static struct record record_at(size_t index)
{
    struct record record;
    cr_assert_leq((index + 1) * sizeof record, r.records.size);
    memcpy(&record, r.records.data + index * sizeof record, sizeof record);
    return record;
}

static void start(uint16_t thread)
{
    mem_init(&mem, "test");
    recorder_init(&r, &mem, thread);
}

static void finish(void)
{
    recorder_deinit(&r);
    mem_deinit(&mem);
}

Test(recorder, commands_of_a_turn_share_its_position_and_keep_their_order)
{
    start(3);
    recorder_add(&r, 100, 5, 0);
    recorder_add(&r, 101, 0, 1);
    recorder_publish(&r, 7, false);
    for (unsigned i = 0; i < 2; i++) {
        struct record record = record_at(i);
        cr_assert_eq(record.order, 14);
        cr_assert_eq(record.thread, 3);
        cr_assert_eq(record.index, i);
        cr_assert_eq(record.client_id, 100 + i);
        cr_assert_eq(record.request, i == 0 ? 5 : 0);
    }
    cr_assert_eq(r.turn_start, 2 * sizeof(struct record));
    finish();
}

Test(recorder, a_turn_in_place_stands_just_before_the_position_that_nobody_had)
{
    start(0);
    recorder_add(&r, 1, 0, 0);
    recorder_publish(&r, 7, true);
    recorder_add(&r, 1, 1, 0);
    recorder_publish(&r, 7, false);
    recorder_add(&r, 1, 2, 0);
    recorder_publish(&r, 8, true);
    cr_assert_eq(record_at(0).order, 13);
    cr_assert_eq(record_at(1).order, 14);
    cr_assert_eq(record_at(2).order, 15);
    finish();
}

Test(recorder, turns_in_place_before_the_same_position_are_told_apart)
{
    start(0);
    for (unsigned i = 0; i < 3; i++) {
        recorder_add(&r, 1, i, 0);
        recorder_publish(&r, 7, true);
    }
    for (unsigned i = 1; i < 3; i++)
        cr_assert_gt(record_at(i).thread_turn, record_at(i - 1).thread_turn);
    finish();
}

Test(recorder, what_was_not_published_is_not_part_of_the_record)
{
    start(0);
    recorder_add(&r, 1, 0, 0);
    recorder_publish(&r, 1, false);
    recorder_add(&r, 1, 1, 0);
    cr_assert_eq(r.turn_start, sizeof(struct record));
    cr_assert_eq(r.records.size, 2 * sizeof(struct record));
    finish();
}

Test(recorder, an_empty_turn_leaves_no_record)
{
    start(0);
    recorder_publish(&r, 1, false);
    cr_assert_eq(r.records.size, 0);
    finish();
}
