#include "tests/unit/disk_fixture.h"

/* What the file of shard 0 holds, one letter a record: the payload's first, '.' for marks. */
static void expect_file(struct fixture *f, const char *letters)
{
    struct aof_reader r;
    char found[256] = "";
    size_t size = 0;
    cr_assert_eq(aof_reader_open(&r, &f->mem, "d/g1-s0-1.aof", NULL, UINT64_MAX), AOF_FOUND_RECORD);
    aof_reader_want_payloads(&r);
    while (aof_reader_next(&r) == AOF_FOUND_RECORD)
        found[size++] = r.record.type == SEGMENT_MARK ? '.' : r.payload.data[0];
    found[size] = 0;
    aof_reader_close(&r);
    cr_assert_str_eq(found, letters);
}

Test(aof, with_everysec_a_record_is_stable_when_it_is_written_and_durable_a_second_later)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_EVERYSEC);
    uint64_t lsn = append(f->aof, "a");
    cr_assert_eq(lsn, 1);
    cr_assert_eq(aof_stable_lsn(f->aof), 0);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), 1);
    expect_file(f, "a");
    turn(f, f->aof);
    cr_assert_eq(aof_durable_lsn(f->aof), 1);
    append(f->aof, "b");
    turn(f, f->aof);
    cr_assert_eq(aof_durable_lsn(f->aof), 1);
    cr_assert_eq(aof_next_ns(f->aof), 1 + SECOND_NS);
    f->now_ns += SECOND_NS;
    turn(f, f->aof);
    cr_assert_eq(aof_durable_lsn(f->aof), aof_last_lsn(f->aof));
    fixture_free(f);
}

Test(aof, with_always_a_record_is_stable_when_its_batch_is_synced_and_the_next_batch_gathers)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    append(f->aof, "b");
    append(f->aof, "c");
    aof_step(f->aof, f->now_ns);
    expect_file(f, "a");
    cr_assert_eq(aof_stable_lsn(f->aof), 0, "written is not synced");
    cr_assert_eq(disk_pending(f->disk), 1, "one in flight");
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), 1);
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, "abc.");
    fixture_free(f);
}

Test(aof, with_always_the_time_of_a_commit_is_told_once)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_take_always_ns(f->aof), 0);
    f->now_ns += 7000000;
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_take_always_ns(f->aof), 7000000);
    cr_assert_eq(aof_take_always_ns(f->aof), 0);
    fixture_free(f);
}

Test(aof, with_always_a_large_batch_is_written_by_the_environment)
{
    static char large[70000];
    memset(large, 'x', sizeof large - 1);
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, large);
    aof_step(f->aof, f->now_ns);
    expect_file(f, "");
    cr_assert(disk_complete_one(f->disk, 0));
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), 0, "written is not synced");
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), 1);
    expect_file(f, "x");
    fixture_free(f);
}

/* A commit of four records that took 80 us, of which the log makes a mean of 10. */
static struct fixture *after_a_group(void)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    for (int i = 0; i < 4; i++) append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    append(f->aof, "b");
    f->now_ns += 80000;
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_stable_lsn(f->aof), 4);
    cr_assert_eq(disk_pending(f->disk), 0, "those who were answered may come back");
    cr_assert_eq(aof_next_ns(f->aof), f->now_ns + 10000);
    return f;
}

Test(aof, with_always_a_group_begins_when_most_of_the_last_one_are_back)
{
    struct fixture *f = after_a_group();
    append(f->aof, "b");
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(disk_pending(f->disk), 0);
    append(f->aof, "b");
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(disk_pending(f->disk), 1);
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    fixture_free(f);
}

Test(aof, with_always_nobody_waits_longer_for_a_group_than_a_commit_takes)
{
    struct fixture *f = after_a_group();
    append(f->aof, "b");
    f->now_ns += 10000;
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(disk_pending(f->disk), 1);
    append(f->aof, "c"); /* fewer than in that commit */
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(disk_pending(f->disk), 1, "it was in vain, so the next one does not wait");
    turn(f, f->aof);
    fixture_free(f);
}

Test(aof, with_always_a_transaction_does_not_wait_for_a_group)
{
    struct fixture *f = after_a_group();
    append_part(f->aof, "b", 2, 0, 7);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(disk_pending(f->disk), 1);
    turn(f, f->aof);
    fixture_free(f);
}

static void fail_and_recover(enum aof_policy policy, enum disk_fault fault, const char *letters)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, policy);
    append(f->aof, "a");
    turn(f, f->aof);
    uint64_t stable = aof_stable_lsn(f->aof);
    append(f->aof, "b");
    disk_plant(f->disk, disk_call_count(f->disk), 4, fault);
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_RETRYING);
    cr_assert_eq(aof_stable_lsn(f->aof), stable);
    cr_assert_eq(aof_next_ns(f->aof), 1 + SECOND_NS);
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_RETRYING, "it is tried once a second");
    disk_plant(f->disk, 0, 0, DISK_NO_FAULT);
    f->now_ns += SECOND_NS;
    append(f->aof, "c");
    turn(f, f->aof);
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_GOOD);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, letters);
    fixture_free(f);
}

Test(aof, a_write_that_fails_is_tried_again_without_a_restart)
{
    fail_and_recover(AOF_EVERYSEC, DISK_ENOSPC, "ab.c");
    fail_and_recover(AOF_EVERYSEC, DISK_EIO, "ab.c");
    fail_and_recover(AOF_ALWAYS, DISK_ENOSPC, "ab.c");
    fail_and_recover(AOF_ALWAYS, DISK_EIO, "ab.c");
}

Test(aof, a_sync_that_fails_ends_the_use_of_the_file)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    f->aof = open_log(f, 0, AOF_EVERYSEC);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    append(f->aof, "b");
    disk_plant(f->disk, disk_call_count(f->disk), 1, DISK_EIO);
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_state_now(f->aof), AOF_LOST);
    f->now_ns += 10 * SECOND_NS;
    turn(f, f->aof);
    cr_assert_eq(disk_syncs_after_failure(f->disk), 0);
    cr_assert_eq(aof_stable_lsn(f->aof), 1);
    name_file(f, 0, 2, path);
    struct segment_uuid uuid = uuid_of(2);
    cr_assert_eq(aof_abandon(f->aof, path, &uuid), OK);
    append(f->aof, "c");
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), 1, "nothing is stable without a base");
    aof_covered(f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), 3);
    fixture_free(f);
}

Test(aof, a_file_that_was_left_and_cannot_be_synced_ends_the_use_of_the_log)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    uint64_t size;
    f->aof = open_log(f, 0, AOF_EVERYSEC);
    append(f->aof, "a");
    turn(f, f->aof);
    append(f->aof, "b");
    name_file(f, 0, 2, path);
    struct segment_uuid uuid = uuid_of(2);
    cr_assert(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size));
    disk_plant(f->disk, disk_call_count(f->disk), 1, DISK_EIO);
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_LOST);
    cr_assert_str_eq(aof_why(f->aof), "Input/output error");
    cr_assert_not(aof_is_uncovered(f->aof));
    name_file(f, 0, 3, path);
    uuid = uuid_of(3);
    cr_assert_eq(aof_abandon(f->aof, path, &uuid), OK);
    cr_assert(aof_is_uncovered(f->aof));
    cr_assert_not(aof_is_rotating(f->aof), "the file that was left is closed");
    aof_covered(f->aof);
    append(f->aof, "c");
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    fixture_free(f);
}

/* What the environment was to write did not reach the disk. */
static void large_batch_fails(enum disk_fault fault)
{
    static char large[70000];
    memset(large, 'x', sizeof large - 1);
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, large);
    aof_step(f->aof, f->now_ns);
    disk_plant(f->disk, disk_call_count(f->disk), 1, fault);
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert_eq(aof_state_now(f->aof), AOF_RETRYING);
    cr_assert_eq(aof_stable_lsn(f->aof), 0);
    append(f->aof, "y");
    /* A second later what is there of it cannot even be cut off. */
    f->now_ns += SECOND_NS;
    disk_plant(f->disk, disk_call_count(f->disk), 1, DISK_EIO);
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_RETRYING);
    cr_assert_eq(aof_next_ns(f->aof), f->now_ns + SECOND_NS);
    f->now_ns += SECOND_NS;
    for (int i = 0; i < 3; i++) turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_GOOD);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, "xy.");
    fixture_free(f);
}

Test(aof, a_large_batch_that_fails_is_written_again_before_what_came_later)
{
    large_batch_fails(DISK_ENOSPC);
    large_batch_fails(DISK_EIO);
}

Test(aof, a_log_that_cannot_go_on_in_a_new_file_goes_on_in_the_old_one)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    uint64_t size = 0;
    f->aof = open_log(f, 0, AOF_EVERYSEC);
    append(f->aof, "a");
    turn(f, f->aof);
    name_file(f, 0, 2, path);
    struct segment_uuid uuid = uuid_of(2);
    /* Opening it, making it empty, its header. */
    for (size_t call = 0; call < 3; call++) {
        disk_plant(f->disk, disk_call_count(f->disk) + call, 1, DISK_ENOSPC);
        cr_assert_not(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size), "call %zu", call);
        cr_assert(disk_has_failed(f->disk));
        cr_assert_not(aof_is_rotating(f->aof));
    }
    append(f->aof, "b");
    turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_GOOD);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, "ab.");
    cr_assert(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size));
    fixture_free(f);
}

Test(aof, commits_begin_again_when_nobody_asks_for_a_new_file_any_more)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    uint64_t size;
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    append(f->aof, "b");
    name_file(f, 0, 2, path);
    struct segment_uuid uuid = uuid_of(2);
    cr_assert_not(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size));
    f->now_ns += SECOND_NS;
    turn(f, f->aof);
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), 1, "what comes is for the new file");
    aof_rotate_later(f->aof);
    f->now_ns += SECOND_NS;
    turn(f, f->aof);
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    fixture_free(f);
}

Test(aof, a_log_whose_file_cannot_be_opened_is_not_made)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    name_file(f, 0, 1, path);
    struct aof_options o = {
        .mem = &f->mem, .kind = SEGMENT_KIND_EFFECTS, .first_lsn = 1, .path = path};
    for (size_t call = 0; call < 3; call++) {
        struct aof *made = NULL;
        disk_plant(f->disk, disk_call_count(f->disk) + call, 1, DISK_EIO);
        cr_assert_eq(aof_create(&o, &made), ERR_IO, "call %zu", call);
        cr_assert_null(made);
    }
    fixture_free(f);
}

Test(aof, the_buffer_is_bounded)
{
    struct fixture *f = fixture_make();
    char text[1000];
    uint64_t lsn;
    f->aof = open_log(f, 0, AOF_ALWAYS);
    memset(text, 'x', sizeof text);
    struct aof_record r = {.payload = bytes_make(text, sizeof text)};
    unsigned count = 0;
    while (!aof_is_full(f->aof)) {
        cr_assert_eq(aof_append(f->aof, &r, &lsn), OK);
        cr_assert_lt(count++, 10);
    }
    cr_assert_eq(aof_append(f->aof, &r, &lsn), ERR_IO);
    turn(f, f->aof);
    cr_assert_not(aof_is_full(f->aof));
    fixture_free(f);
}

Test(aof, rotates_to_the_next_file_without_a_gap)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    uint64_t size;
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    append(f->aof, "b");
    name_file(f, 0, 2, path);
    struct segment_uuid uuid = uuid_of(2);
    cr_assert_not(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size), "a batch is in flight");
    complete(f);
    aof_step(f->aof, f->now_ns);
    cr_assert(aof_try_rotate(f->aof, path, &uuid, f->now_ns, &size));
    cr_assert(aof_is_rotating(f->aof));
    append(f->aof, "c");
    turn(f, f->aof);
    turn(f, f->aof);
    cr_assert_not(aof_is_rotating(f->aof));
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, "ab.");
    struct recovery r;
    struct recovery_options o = {.mem = &f->mem, .directory = "d"};
    cr_assert_eq(recovery_open(&r, &o, f->why), OK);
    cr_assert_eq(recovery_scan(&r, 0, &f->mem), OK, "%s", r.streams[0].why);
    cr_assert_eq(r.streams[0].end.lsn, aof_last_lsn(f->aof) + 1);
    recovery_close(&r);
    fixture_free(f);
}

Test(aof, a_sealed_log_vouches_for_all_that_it_holds)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_NO);
    append(f->aof, "a");
    append(f->aof, "b");
    aof_seal(f->aof);
    for (int i = 0; i < 5; i++) turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_SEALED);
    cr_assert_eq(aof_durable_lsn(f->aof), aof_last_lsn(f->aof));
    expect_file(f, "ab.");
    fixture_free(f);
}

Test(aof, a_base_of_several_batches_ends_with_its_end)
{
    struct fixture *f = fixture_make();
    char path[ENV_PATH_BYTES_MAX];
    name_file(f, 0, 1, path);
    struct aof_options o = {.mem = &f->mem,
                            .policy = AOF_ALWAYS,
                            .kind = SEGMENT_KIND_BASE,
                            .generation = 1,
                            .first_lsn = 1,
                            .covered_lsn = 7,
                            .path = path,
                            .uuid = uuid_of(1)};
    cr_assert_eq(aof_create(&o, &f->aof), OK);
    for (unsigned i = 0; i < 4; i++) {
        append(f->aof, "a");
        turn(f, f->aof);
    }
    aof_seal(f->aof);
    for (unsigned i = 0; i < 8 && aof_state_now(f->aof) != AOF_SEALED; i++) turn(f, f->aof);
    cr_assert_eq(aof_state_now(f->aof), AOF_SEALED);
    struct aof_reader r;
    uint8_t last = 0;
    cr_assert_eq(aof_reader_open(&r, &f->mem, path, NULL, UINT64_MAX), AOF_FOUND_RECORD);
    while (aof_reader_next(&r) == AOF_FOUND_RECORD) last = r.record.type;
    cr_assert_eq(last, SEGMENT_END);
    aof_reader_close(&r);
    fixture_free(f);
}

Test(aof, a_sync_that_is_asked_for_needs_no_policy)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_NO);
    append(f->aof, "a");
    turn(f, f->aof);
    cr_assert_eq(aof_durable_lsn(f->aof), 0);
    aof_sync_once(f->aof);
    turn(f, f->aof);
    cr_assert_eq(aof_durable_lsn(f->aof), 1);
    fixture_free(f);
}

Test(aof, the_policy_changes_while_a_batch_is_in_flight)
{
    struct fixture *f = fixture_make();
    f->aof = open_log(f, 0, AOF_ALWAYS);
    append(f->aof, "a");
    aof_step(f->aof, f->now_ns);
    aof_set_policy(f->aof, AOF_NO);
    append(f->aof, "b");
    turn(f, f->aof);
    turn(f, f->aof);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof));
    aof_set_policy(f->aof, AOF_ALWAYS);
    cr_assert_eq(aof_stable_lsn(f->aof), aof_last_lsn(f->aof), "nothing is taken back");
    expect_file(f, "ab");
    fixture_free(f);
}
