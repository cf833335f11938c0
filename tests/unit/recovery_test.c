#include "tests/unit/disk_fixture.h"

#define SHARDS 2

struct logs {
    struct fixture *f;
    struct aof *shards[SHARDS];
};

static struct logs logs_make(void)
{
    struct logs l = {.f = fixture_make()};
    for (uint16_t i = 0; i < SHARDS; i++) l.shards[i] = open_log(l.f, i, AOF_NO);
    return l;
}

static void write_all(struct logs *l)
{
    for (unsigned i = 0; i < SHARDS; i++) turn(l->f, l->shards[i]);
}

static void logs_free(struct logs *l)
{
    complete(l->f);
    for (unsigned i = 0; i < SHARDS; i++) aof_destroy(l->shards[i]);
    fixture_free(l->f);
}

static enum err take(void *context, const struct recovery_record *record)
{
    buf_append(context, record->payload.data, record->payload.size);
    return OK;
}

/* What both shards hold, as text with a '|' between, or ERR_IO with f->why. */
static enum err recover(struct fixture *f, struct recovery_options o, char *out)
{
    struct recovery r;
    struct buf text = {.mem = &f->mem};
    o.mem = &f->mem;
    o.directory = "d";
    enum err e = recovery_open(&r, &o, f->why);
    for (unsigned i = 0; e == OK && i < r.stream_count; i++) {
        e = recovery_scan(&r, i, &f->mem);
        snprintf(f->why, sizeof f->why, "%s", r.streams[i].why);
    }
    if (e == OK) recovery_resolve(&r);
    for (unsigned i = 0; e == OK && i < r.stream_count; i++) {
        if (i > 0) buf_append_text(&text, "|");
        e = recovery_replay(&r, i, &f->mem, take, &text);
    }
    snprintf(out, 256, "%.*s", (int)text.size, text.data ? text.data : "");
    buf_clear(&text);
    recovery_close(&r);
    return e;
}

static void expect(struct logs *l, const char *expected)
{
    char got[256];
    cr_assert_eq(recover(l->f, (struct recovery_options){0}, got), OK, "%s", l->f->why);
    cr_assert_str_eq(got, expected);
}

Test(recovery, hands_over_what_was_written_shard_by_shard)
{
    struct logs l = logs_make();
    append(l.shards[0], "a");
    append(l.shards[1], "b");
    append_part(l.shards[0], "c", 2, 0, 1);
    append_part(l.shards[1], "d", 2, 1, 1);
    append(l.shards[0], "e");
    write_all(&l);
    expect(&l, "ace|bd");
    logs_free(&l);
}

Test(recovery, cuts_at_the_first_transaction_that_is_not_whole)
{
    struct logs l = logs_make();
    append_part(l.shards[0], "a", 2, 0, 1);
    append_part(l.shards[1], "A", 2, 1, 1);
    append(l.shards[1], "x");
    append_part(l.shards[0], "b", 2, 0, 2);
    append(l.shards[0], "y");
    append_part(l.shards[0], "c", 2, 0, 3);
    append_part(l.shards[1], "C", 2, 1, 3);
    append(l.shards[1], "z");
    write_all(&l);
    expect(&l, "a|Ax");
    logs_free(&l);
}

Test(recovery, two_parts_with_the_same_number_are_not_a_whole)
{
    struct logs l = logs_make();
    append_part(l.shards[0], "a", 2, 0, 1);
    append_part(l.shards[1], "A", 2, 0, 1);
    write_all(&l);
    expect(&l, "|");
    logs_free(&l);
}

Test(recovery, a_mark_forgets_transactions_that_are_resolved)
{
    struct logs l = logs_make();
    append_part(l.shards[0], "a", 2, 0, 1);
    aof_set_policy(l.shards[0], AOF_EVERYSEC);
    aof_set_resolved(l.shards[0], 2);
    write_all(&l);
    append(l.shards[0], "b");
    write_all(&l);
    expect(&l, "ab|");
    logs_free(&l);
}

/* A log of three records; `durable`: a mark vouches for the first two. */
static void spoil(struct logs *l, bool durable)
{
    if (durable) aof_set_policy(l->shards[0], AOF_EVERYSEC);
    append(l->shards[0], "a");
    append(l->shards[0], "b");
    write_all(l);
    append(l->shards[0], "c");
    write_all(l);
    disk_corrupt(l->f->disk, "d/g1-s0-1.aof", SEGMENT_HEADER_BYTES + 40 + 20, 1);
}

Test(recovery, damage_that_no_mark_vouches_for_is_a_torn_tail)
{
    struct logs l = logs_make();
    char got[256];
    spoil(&l, false);
    expect(&l, "a|");
    cr_assert_eq(recover(l.f, (struct recovery_options){.refuse_torn = true}, got), ERR_IO);
    cr_assert_not_null(strstr(l.f->why, "d/g1-s0-1.aof has a torn tail"), "%s", l.f->why);
    cr_assert_not_null(strstr(l.f->why, "at offset 104"), "%s", l.f->why);
    logs_free(&l);
}

Test(recovery, damage_before_what_was_durable_is_corruption)
{
    struct logs l = logs_make();
    char got[256];
    spoil(&l, true);
    cr_assert_eq(recover(l.f, (struct recovery_options){0}, got), ERR_IO);
    cr_assert_not_null(strstr(l.f->why, "d/g1-s0-1.aof is corrupt"), "%s", l.f->why);
    cr_assert_not_null(strstr(l.f->why, "at offset 104"), "%s", l.f->why);
    cr_assert_not_null(strstr(l.f->why, "shoal-aof fix"), "%s", l.f->why);
    cr_assert_eq(recover(l.f, (struct recovery_options){.accept_corruption = true}, got), OK);
    cr_assert_str_eq(got, "a|");
    logs_free(&l);
}

Test(recovery, a_failing_disk_is_no_torn_tail)
{
    struct logs l = logs_make();
    char got[256];
    append(l.shards[0], "a");
    write_all(&l);
    size_t calls = disk_call_count(l.f->disk);
    expect(&l, "a|");
    calls = disk_call_count(l.f->disk) - calls;
    for (size_t i = 0; i < calls; i++) {
        disk_plant(l.f->disk, disk_call_count(l.f->disk) + i, 1, DISK_EIO);
        cr_assert_eq(recover(l.f, (struct recovery_options){0}, got), ERR_IO, "call %zu", i);
    }
    logs_free(&l);
}

Test(recovery, what_was_sealed_is_closed_and_later_generations_follow_it)
{
    struct logs l = logs_make();
    struct recovery r;
    struct manifest next;
    struct recovery_options o = {.mem = &l.f->mem, .directory = "d"};
    append(l.shards[0], "a");
    append_part(l.shards[0], "b", 2, 0, 9);
    append(l.shards[1], "c");
    write_all(&l);
    cr_assert_eq(recovery_open(&r, &o, l.f->why), OK);
    for (unsigned i = 0; i < SHARDS; i++) cr_assert_eq(recovery_scan(&r, i, &l.f->mem), OK);
    recovery_resolve(&r);
    cr_assert_eq(r.cut_txid, 9);
    cr_assert_eq(r.next_txid, 10);
    cr_assert_eq(r.streams[0].cut_records_from, 2);
    manifest_init(&next, &l.f->mem);
    cr_assert_eq(recovery_seal(&r, &next), OK);
    cr_assert_eq(next.horizon, 10);
    cr_assert_eq(next.file_count, 2);
    cr_assert_eq(next.files[0].size, SEGMENT_HEADER_BYTES + 40);
    manifest_add_generation(&next, 2, 1);
    cr_assert_eq(manifest_write(&next, "d"), OK);
    cr_assert_eq(recovery_trim(&r), OK);
    size_t size;
    cr_assert_not_null(disk_contents(l.f->disk, "d/g1-s0-1.aof", &size));
    cr_assert_eq(size, SEGMENT_HEADER_BYTES + 40);
    manifest_deinit(&next);
    recovery_close(&r);
    expect(&l, "a|c");
    logs_free(&l);
}

Test(recovery, a_file_that_is_missing_is_an_error)
{
    struct logs l = logs_make();
    char got[256];
    cr_assert_eq(env_unlink("d/g1-s1-1.aof"), OK);
    cr_assert_eq(recover(l.f, (struct recovery_options){0}, got), ERR_IO);
    cr_assert_not_null(strstr(l.f->why, "d/g1-s1-1.aof cannot be opened"), "%s", l.f->why);
    logs_free(&l);
}
