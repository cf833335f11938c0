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

/* ---- several files ---- */

/* A file of shard 0, which the manifest names, with a record for each letter; behind `first_lsn` -
 * 1 of the log. `is_closed`: the manifest says its size. */
static void write_file(struct fixture *f, struct manifest_file file, const char *letters,
                       bool is_closed)
{
    char name[MANIFEST_FILE_NAME_BYTES], path[ENV_PATH_BYTES_MAX];
    bool is_base = file.kind == SEGMENT_KIND_BASE;
    struct aof_options o = {.mem = &f->mem,
                            .policy = is_base ? AOF_ALWAYS : AOF_NO,
                            .kind = file.kind,
                            .generation = 1,
                            .first_lsn = is_base ? 1 : file.first_lsn,
                            .covered_lsn = is_base ? file.first_lsn - 1 : 0,
                            .path = path,
                            .uuid = file.uuid};
    manifest_file_name(&file, name);
    snprintf(path, sizeof path, "d/%s", name);
    cr_assert_eq(aof_prepare(path), OK);
    cr_assert_eq(aof_create(&o, &f->aof), OK);
    for (const char *c = letters; *c; c++)
        append_part(f->aof, (char[]){*c, 0}, *c == 'P' ? 2 : 1, 0, *c == 'P' ? 9 : 0);
    turn(f, f->aof);
    if (is_closed) aof_seal(f->aof);
    for (int i = 0; i < 8 && is_closed && aof_state_now(f->aof) != AOF_SEALED; i++) turn(f, f->aof);
    file.size = is_closed ? aof_size(f->aof) : 0;
    if (!is_closed) file.first_lsn = 0;
    aof_destroy(f->aof);
    f->aof = NULL;
    manifest_add_file(&f->manifest, &file);
    cr_assert_eq(manifest_write(&f->manifest, "d"), OK);
}

/* A base of a, b, c, which cover the log up to lsn 7, and behind it a segment with d and e. */
static struct fixture *base_and_segment(void)
{
    struct fixture *f = fixture_make();
    manifest_add_generation(&f->manifest, 1, 1);
    struct manifest_file base = {SEGMENT_KIND_BASE, 1, 0, 1, uuid_of(1), 8, 0};
    struct manifest_file segment = {SEGMENT_KIND_EFFECTS, 1, 0, 2, uuid_of(2), 8, 0};
    write_file(f, base, "abc", true);
    write_file(f, segment, "de", false);
    return f;
}

static void expect_log(struct fixture *f, const char *expected)
{
    char got[256];
    cr_assert_eq(recover(f, (struct recovery_options){0}, got), OK, "%s", f->why);
    cr_assert_str_eq(got, expected);
}

/* What `shoal-aof fix` does. */
static enum err fix(struct fixture *f)
{
    struct recovery r;
    struct manifest next;
    struct recovery_options o = {.mem = &f->mem, .directory = "d", .accept_corruption = true};
    manifest_init(&next, &f->mem);
    enum err e = recovery_open(&r, &o, f->why);
    if (e == OK) e = recovery_scan(&r, 0, &f->mem);
    if (e == OK) recovery_resolve(&r);
    if (e == OK) e = recovery_seal(&r, &next);
    if (e == OK) e = manifest_write(&next, "d");
    if (e == OK) e = recovery_trim(&r);
    manifest_deinit(&next);
    recovery_close(&r);
    return e;
}

static void expect_fault(struct fixture *f, const char *file, const char *fault)
{
    char got[256];
    cr_assert_eq(recover(f, (struct recovery_options){0}, got), ERR_IO);
    cr_assert_not_null(strstr(f->why, file), "%s", f->why);
    cr_assert_not_null(strstr(f->why, fault), "%s", f->why);
}

/* The second record of the base. */
static void spoil_base(struct fixture *f)
{
    disk_corrupt(f->disk, "d/g1-s0-1.base", SEGMENT_HEADER_BYTES + 40 + 20, 1);
}

Test(recovery, a_base_that_is_mended_is_a_whole_one_of_what_was_left)
{
    struct fixture *f = base_and_segment();
    expect_log(f, "abcde");
    spoil_base(f);
    expect_fault(f, "d/g1-s0-1.base is corrupt", "at offset 104");
    cr_assert_eq(fix(f), OK);
    expect_log(f, "a");
    cr_assert_eq(fix(f), OK);
    struct disk *all = f->disk;
    f->disk = disk_crash(all, disk_trace_length(all), DISK_LOSE_ALL, 0);
    disk_destroy(all);
    disk_use(f->disk);
    expect_log(f, "a");
    fixture_free(f);
}

Test(recovery, what_a_failing_disk_leaves_of_mending_is_mended_later)
{
    struct fixture *f = base_and_segment();
    spoil_base(f);
    size_t calls = disk_call_count(f->disk);
    cr_assert_eq(fix(f), OK);
    calls = disk_call_count(f->disk) - calls;
    fixture_free(f);
    for (size_t i = 0; i < 2 * calls; i++) {
        f = base_and_segment();
        spoil_base(f);
        disk_plant(f->disk, disk_call_count(f->disk) + i / 2, 1, i % 2 ? DISK_EIO : DISK_ENOSPC);
        cr_assert_eq(fix(f), ERR_IO, "call %zu", i / 2);
        cr_assert_eq(fix(f), OK);
        expect_log(f, "a");
        fixture_free(f);
    }
}

Test(recovery, a_file_does_not_stand_in_for_another)
{
    struct fixture *f = base_and_segment();
    /* A header of another shard, as whole as any. */
    struct env_file file;
    struct segment_header h;
    size_t got;
    cr_assert_eq(env_file_open(&file, "d/g1-s0-2.aof", ENV_OPEN_WRITE), OK);
    cr_assert_eq(env_file_read(&file, 0, (char *)&h, sizeof h, &got), OK);
    h.shard = 1;
    segment_header_seal(&h);
    cr_assert_eq(env_file_write(&file, 0, bytes_make(&h, sizeof h)), OK);
    env_file_close(&file);
    expect_log(f, "abc");
    cr_assert_not_null(strstr(f->why, "is not what the manifest says"), "%s", f->why);
    fixture_free(f);
}

/* Two segments, the first closed with a and b, the second open with d, as of `lsn`. 'P' is a part
 * of a transaction whose other part is nowhere. */
static struct fixture *two_segments(const char *letters, uint64_t lsn)
{
    struct fixture *f = fixture_make();
    manifest_add_generation(&f->manifest, 1, 1);
    struct manifest_file first = {SEGMENT_KIND_EFFECTS, 1, 0, 1, uuid_of(1), 1, 0};
    struct manifest_file second = {SEGMENT_KIND_EFFECTS, 1, 0, 2, uuid_of(2), lsn, 0};
    write_file(f, first, letters, true);
    write_file(f, second, "d", false);
    return f;
}

Test(recovery, a_gap_between_two_files_is_not_bridged)
{
    struct fixture *f = two_segments("ab", 4); /* behind a, b and the last mark */
    expect_log(f, "abd");
    fixture_free(f);
    f = two_segments("ab", 5);
    expect_log(f, "ab");
    cr_assert_not_null(strstr(f->why, "does not begin where the file before it ends"), "%s",
                       f->why);
    fixture_free(f);
}

Test(recovery, a_transaction_that_is_not_whole_takes_the_files_behind_it_along)
{
    struct fixture *f = two_segments("aP", 4);
    expect_log(f, "a");
    cr_assert_eq(fix(f), OK);
    expect_log(f, "a");
    fixture_free(f);
}

Test(recovery, a_closed_file_vouches_for_an_open_one_before_it)
{
    struct fixture *f = two_segments("ab", 4);
    /* The first was open when the process ended, the second is closed. */
    f->manifest.files[0].first_lsn = f->manifest.files[0].size = 0;
    f->manifest.files[1].first_lsn = 4;
    f->manifest.files[1].size = SEGMENT_HEADER_BYTES + 40;
    cr_assert_eq(manifest_write(&f->manifest, "d"), OK);
    expect_log(f, "abd");
    disk_corrupt(f->disk, "d/g1-s0-1.aof", SEGMENT_HEADER_BYTES + 40 + 40 + 20, 1); /* its mark */
    expect_fault(f, "d/g1-s0-1.aof is corrupt", "at offset 144");
    cr_assert_eq(fix(f), OK);
    expect_log(f, "ab");
    fixture_free(f);
}
