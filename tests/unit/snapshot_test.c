#include "shard/snapshot.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/resp.h"
#include "base/text.h"
#include "shard/cmd/families.h"
#include "shard/digest.h"
#include "shard/dump.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "tests/unit/shard_fixture.h"

#define CHUNKS_MAX 4096
#define COMMANDS 3000
#define ROUNDS 12
#define KEYS 120
#define DATABASES 4

/* ---- whoever gets the chunks writes the file ---- */

static struct mem mem;
static struct buf file;
static struct rdb_file_writer writer;
static struct snapshot_chunk *away[CHUNKS_MAX];
static unsigned away_count, chunk_count;
static bool is_done, has_failed;
static struct snapshot_chunk *waiting[CHUNKS_MAX]; /* until the record that is open has ended */
static unsigned waiting_count, open_chunks;
static enum snapshot_lane open_lane;
static bool is_open;
static enum snapshot_form form; /* of the next snapshot */
static uint64_t keys_counted;

static bool append_to_file(void *context, struct bytes bytes)
{
    buf_append(context, bytes.data, bytes.size);
    return true;
}

/* Of commands the database stands before each chunk, in a SELECT. */
static void write_commands(const struct snapshot_chunk *chunk)
{
    char number[16];
    int digits = snprintf(number, sizeof number, "%u", chunk->db);
    buf_printf(&file, "*2\r\n$6\r\nSELECT\r\n$%d\r\n%s\r\n", digits, number);
    buf_append(&file, chunk->records.data, chunk->records.size);
}

static void write_chunk(const struct snapshot_chunk *chunk)
{
    keys_counted += chunk->key_count;
    if (chunk->records.size > 0 && form == SNAPSHOT_COMMANDS) {
        cr_assert_not(chunk->is_open);
        write_commands(chunk);
    } else if (chunk->records.size > 0) {
        if (!is_open) rdb_file_put_database(&writer, chunk->db, 0, 0);
        rdb_file_put_records(&writer, buf_view(&chunk->records));
    }
    is_open = chunk->is_open;
    open_lane = chunk->lane;
    open_chunks += is_open;
    is_done = chunk->is_last;
    has_failed = chunk->has_failed;
}

static void write_what_may_go(void)
{
    for (unsigned i = 0; i < waiting_count;) {
        if (is_open && waiting[i]->lane != open_lane) {
            i++;
            continue;
        }
        write_chunk(waiting[i]);
        away[away_count++] = waiting[i];
        memmove(&waiting[i], &waiting[i + 1], (--waiting_count - i) * sizeof waiting[0]);
        i = 0;
    }
}

static void take_chunk(UNUSED struct shard *sh, struct snapshot_chunk *chunk)
{
    cr_assert_lt(away_count + waiting_count, CHUNKS_MAX);
    waiting[waiting_count++] = chunk;
    chunk_count++;
    write_what_may_go();
}

static void drop_late(UNUSED struct shard *sh, UNUSED struct late_reply *late)
{
    cr_assert_fail("nothing is late here");
}

static const struct shard_hooks hooks = {.send_late = drop_late, .send_chunk = take_chunk};

static struct shard_fixture make(void)
{
    struct shard_fixture f = shard_fixture_make();
    const struct command_family *more[] = {&list_family,        &set_family,  &zset_family,
                                           &hash_family,        &sort_family, &bits_family,
                                           &hash_expire_family, &geo_family,  &hyperloglog_family,
                                           &stream_family,      &dump_family};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) shard_fixture_add_family(&f, more[i]);
    f.shard->hooks = &hooks;
    /* Every entry moves again and again, with its colour. */
    f.config->active_defrag = f.shard->defrag.force = true;
    f.config->defrag_scan_fields_max = 1000;
    defrag_set_effort(&f.shard->defrag, 100);
    f.config->set_max_intset_entries = 16;
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 8;
    f.config->hash_max_listpack_entries = 8;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
    f.config->hll_sparse_bytes_max = 3000;
    f.config->rdb_compression = true;
    if (!file.mem) mem_init(&mem, "snapshot_test");
    file.mem = &mem;
    return f;
}

static void give_back(struct shard_fixture *f)
{
    for (unsigned i = 0; i < away_count; i++) snapshot_chunk_is_back(f->shard, away[i]);
    away_count = 0;
}

static void begin(struct shard_fixture *f)
{
    file.size = 0;
    keys_counted = 0;
    is_done = has_failed = is_open = false;
    chunk_count = 0;
    rdb_file_writer_init(&writer, &mem, append_to_file, &file,
                         &(struct rdb_file_options){.with_checksum = true, .compress = true});
    if (form == SNAPSHOT_RECORDS) rdb_file_begin(&writer);
    snapshot_begin(f->shard, form);
}

static void walk_to_the_end(struct shard_fixture *f)
{
    for (unsigned i = 0; i < 1000000 && !is_done; i++) {
        (void)snapshot_step(f->shard);
        give_back(f);
    }
}

static void finish(struct shard_fixture *f)
{
    walk_to_the_end(f);
    cr_assert(is_done);
    give_back(f);
    if (form == SNAPSHOT_RECORDS) cr_assert(rdb_file_end(&writer));
    rdb_file_writer_deinit(&writer);
    snapshot_validate(f->shard);
    keyspace_validate(f->shard);
}

/* ---- what a keyspace is: keys, deadlines and values, whatever their encoding ---- */

#define TIMED_MAX 16384

struct summary {
    struct digest all;
    uint64_t keys;
    uint32_t db;
    uint32_t timed_count;
    struct timed {
        int64_t deadline_ms;
        struct digest digest;
    } timed[TIMED_MAX]; /* the keys among them that have a deadline */
};
static struct summary wanted; /* what the file should hold */

static void add_entry(void *context, struct entry *e, UNUSED uint64_t position)
{
    struct summary *s = context;
    struct digest one = {0};
    int64_t deadline_ms = entry_deadline_ms(e);
    digest_mix_u32(&one, s->db);
    digest_mix(&one, entry_key(e));
    digest_mix(&one, bytes_make(&deadline_ms, sizeof deadline_ms));
    digest_mix_value(&one, e);
    digest_xor(&s->all, &one);
    s->keys++;
    if (deadline_ms == 0) return;
    cr_assert_lt(s->timed_count, TIMED_MAX);
    s->timed[s->timed_count++] = (struct timed){deadline_ms, one};
}

/* A key that has expired meanwhile may be in the file, or not. */
static void forget_due(struct summary *s, int64_t at_ms)
{
    for (uint32_t i = 0; i < s->timed_count; i++) {
        if (s->timed[i].deadline_ms >= at_ms) continue;
        digest_xor(&s->all, &s->timed[i].digest);
        s->keys--;
        s->timed[i].deadline_ms = INT64_MAX;
    }
}

static void summarise(struct shard_fixture *f, struct summary *s)
{
    *s = (struct summary){.keys = 0};
    for (s->db = 0; s->db < f->shard->keys.database_count; s->db++) {
        uint64_t cursor = 0;
        do cursor = keyspace_scan(f->shard, s->db, cursor, UINT64_MAX, add_entry, s);
        while (cursor);
    }
}

static bool read_file(void *context, char *to, size_t room, size_t *size)
{
    struct bytes *rest = context;
    *size = MIN(room, rest->size);
    if (*size) memcpy(to, rest->data, *size);
    *rest = bytes_make(rest->data + *size, rest->size - *size);
    return true;
}

/* Puts the file into a keyspace; each key may come once. */
static void load_file(struct shard_fixture *f)
{
    struct bytes rest = buf_view(&file);
    struct rdb_file_reader r;
    struct rdb_item item;
    uint32_t db = 0;
    rdb_file_reader_init(&r, &mem, read_file, &rest);
    for (;;) {
        enum rdb_item_kind kind = rdb_file_next(&r, &item);
        cr_assert_neq(kind, RDB_ITEM_ERROR, "%s", item.error);
        if (kind == RDB_ITEM_END) break;
        if (kind == RDB_ITEM_DATABASE) db = (uint32_t)item.db;
        if (kind != RDB_ITEM_KEY) continue;
        struct key k = {item.name, bytes_hash(item.name, f->shard->keys.seed), db};
        struct entry *e = dump_try_read(&f->shard->mem, item.value, item.name, item.key.deadline_ms,
                                        f->shard->now_ms);
        cr_assert_not_null(e);
        cr_assert_null(keyspace_peek(f->shard, &k), "a key came twice");
        keyspace_put_entry(f->shard, &k, e);
    }
    rdb_file_reader_deinit(&r);
}

/* Runs the commands. */
static void load_commands(struct shard_fixture *f)
{
    static const struct resp_limits limits = {
        .bulk_bytes_max = UINT32_MAX, .args_max = RESP_ARGS_MAX, .authenticated = true};
    struct resp_reader r;
    resp_reader_init(&r, &mem);
    resp_feed(&r, file.data, file.size);
    while (resp_next(&r, &limits) == RESP_REQUEST) {
        int64_t db;
        if (bytes_equal(r.argv[0], BYTES_LITERAL("SELECT"))) {
            cr_assert(text_to_i64(r.argv[1], &db));
            f->db = (uint32_t)db;
            continue;
        }
        struct bytes reply = shard_fixture_run(f, r.argc, r.argv);
        cr_assert_neq(reply.data[0], '-', "%.*s", (int)reply.size, reply.data);
    }
    resp_reader_deinit(&r);
}

/* The file holds what was there at that time, and had not expired when it was complete. */
static void assert_file_is(int64_t at_ms, int64_t complete_ms)
{
    static struct summary got;
    struct shard_fixture f = make();
    /* A command deletes a key that is due just now, a search still finds it. */
    shard_set_now(f.shard, f.shard->now_ns, at_ms - (form == SNAPSHOT_COMMANDS));
    if (form == SNAPSHOT_COMMANDS)
        load_commands(&f);
    else
        load_file(&f);
    shard_set_now(f.shard, f.shard->now_ns, at_ms);
    summarise(&f, &got);
    forget_due(&got, complete_ms);
    forget_due(&wanted, complete_ms);
    cr_assert_eq(got.keys, wanted.keys, "%llu keys in the file, %llu were there",
                 (unsigned long long)got.keys, (unsigned long long)wanted.keys);
    cr_assert(memcmp(&got.all, &wanted.all, sizeof got.all) == 0, "other values than were there");
    shard_fixture_free(&f);
}

/* ---- random commands ---- */

static unsigned below(unsigned limit)
{
    return (unsigned)rand() % limit;
}

/* '#' and '@' become numbers. */
static void fill_in(char *line, size_t room, const char *pattern, unsigned first, unsigned second)
{
    size_t size = 0;
    for (; *pattern && size + 12 < room; pattern++) {
        if (*pattern == '#' || *pattern == '@')
            size +=
                (size_t)snprintf(line + size, room - size, "%u", *pattern == '#' ? first : second);
        else
            line[size++] = *pattern;
    }
    line[size] = '\0';
}

static void run_random(struct shard_fixture *f)
{
    static const char *const lines[] = {
        "SET k# v@",
        "SET k# @",
        "SETEX k# 100 v@",
        "PSETEX k# @ x",
        "APPEND k# more@",
        "INCR n#",
        "SETRANGE k# @ text",
        "SETBIT b# @ 1",
        "RPUSH l# a b @",
        "LPUSH l# @",
        "LPOP l#",
        "LSET l# 0 new@",
        "LTRIM l# 1 @",
        "SADD s# @ 1 2 3",
        "SADD s# m@ x y z",
        "SREM s# @",
        "SPOP s#",
        "ZADD z# @ m1 2 m2",
        "ZADD z# 1 m@",
        "ZREM z# m@",
        "ZINCRBY z# @ m1",
        "HSET h# f@ v g w",
        "HDEL h# f@",
        "HINCRBY h# n @",
        "HEXPIRE h# 100@ FIELDS 1 g",
        "HGETALL h#",
        "PFADD p# e@",
        "DEL k#",
        "UNLINK l#",
        "DEL h# z@",
        "EXPIRE k# @",
        "PEXPIRE l# @",
        "PERSIST k#",
        "GETEX k# PERSIST",
        "RENAME k# k@",
        "COPY s# c@ REPLACE",
        "SMOVE s# s@ 1",
        "LMOVE l# l@ LEFT RIGHT",
        "SORT l# ALPHA STORE o@",
        "SINTERSTORE c# s@ s1",
        "ZUNIONSTORE z# 1 z@",
        "MOVE k# @",
        "GET k#",
        "EXISTS k#",
    };
    char line[128];
    const char *pattern = lines[below(ARRAY_LEN(lines))];
    /* Both are in range for every place; MOVE's database is cut to those in use. */
    unsigned second = strncmp(pattern, "MOVE", 4) == 0 ? below(DATABASES) : below(KEYS);
    fill_in(line, sizeof line, pattern, below(KEYS), second);
    if (below(9000) == 0) snprintf(line, sizeof line, "FLUSHALL");
    if (below(5000) == 0) snprintf(line, sizeof line, "FLUSHDB");
    if (below(100) == 0)
        snprintf(line, sizeof line, "SWAPDB %u %u", below(DATABASES), below(DATABASES));
    f->db = below(DATABASES);
    shard_fixture_run_line(f, line);
    if (below(20) == 0) shard_fixture_pass_ms(f, below(30));
    if (below(50) == 0) (void)shard_background(f->shard);
    if (below(50) == 0) (void)defrag_step(f->shard);
}

/* ---- values that take several slices ---- */

#define BIG_KEYS 3
#define BIG_MEMBERS 400

/* '%' becomes a number of its own each time, '&' that of a key. */
static size_t append_filled(char *line, size_t size, size_t room, const char *pattern)
{
    for (; *pattern && size + 12 < room; pattern++) {
        unsigned limit = *pattern == '%' ? BIG_MEMBERS : BIG_KEYS;
        if (*pattern == '%' || *pattern == '&')
            size += (size_t)snprintf(line + size, room - size, "%u", below(limit));
        else
            line[size++] = *pattern;
    }
    line[size] = '\0';
    return size;
}

static void run_big_line(struct shard_fixture *f, const char *start, const char *pattern,
                         unsigned count)
{
    char line[4096];
    size_t size = append_filled(line, 0, sizeof line, start);
    for (unsigned i = 0; i < count; i++) size = append_filled(line, size, sizeof line, pattern);
    shard_fixture_run_line(f, line);
}

struct big_line {
    const char *start, *pattern;
    unsigned count;
};

static void run_random_big(struct shard_fixture *f)
{
    static const struct big_line lines[] = {
        {"SADD S&", " m%", 30},
        {"SADD S&", " longer-than-it-was-%", 3},
        {"SREM S&", " m%", 8},
        {"SPOP S&", " %", 0},
        {"ZADD Z&", " % m%", 30},
        {"ZREM Z&", " m%", 8},
        {"ZPOPMIN Z&", "", 0},
        {"ZREMRANGEBYRANK Z&", " 5 9", 1},
        {"HSET H&", " f% v%", 30},
        {"HSET H&", " f% a-value-that-needs-another-size-class-%", 5},
        {"HDEL H&", " f%", 8},
        {"HPEXPIRE H& 500000 FIELDS 1", " f%", 1},
        {"HINCRBY H&", " f% 1", 1},
        {"RPUSH L&", " e%", 12},
        {"LPUSH L&", " e%", 12},
        {"RPOP L&", " %", 1},
        {"LPOP L&", " 3", 1},
        {"RPOP L&", " 2", 1},
        {"LSET L&", " % new", 1},
        {"LREM L& 1", " e%", 1},
        {"LINSERT L& BEFORE", " e% between", 1},
        {"LTRIM L& 1", " 300", 1},
        {"XADD X& *", " f % g %", 1},
        {"XADD X& MAXLEN 150 *", " f %", 1},
        {"XTRIM X& MAXLEN 100", "", 0},
        {"SETRANGE T&", " 7%000 text", 1},
        {"SETRANGE T& 90000", " %", 1},
        {"APPEND T&", " more%", 1},
        {"SET T&", " short%", 1},
        {"RENAME S&", " S%", 1},
        {"RENAME Z&", " Z1", 1},
        {"RENAME L&", " L2", 1},
        {"COPY H&", " H1 REPLACE", 1},
        {"PEXPIRE H&", " 5%000", 1},
        {"PERSIST H&", "", 0},
        {"MOVE S&", " 1", 1},
        {"GETDEL T&", "", 0},
    };
    static const char *const rare[] = {"DEL S&",       "DEL Z&",   "DEL H&",
                                       "DEL L&",       "DEL X&",   "LTRIM L& 0 2",
                                       "LTRIM L& 0 3", "SET L& x", "SUNIONSTORE S& S0 S1",
                                       "DEL T&"};
    f->db = below(2);
    const struct big_line *l = &lines[below(ARRAY_LEN(lines))];
    if (below(60) == 0)
        run_big_line(f, rare[below(ARRAY_LEN(rare))], "", 0);
    else
        run_big_line(f, l->start, l->pattern, l->count);
    if (below(4000) == 0) shard_fixture_run_line(f, "FLUSHDB");
    if (below(300) == 0) shard_fixture_run_line(f, "SWAPDB 0 1");
    if (below(20) == 0) shard_fixture_pass_ms(f, below(5));
    if (below(50) == 0) (void)shard_background(f->shard);
}

/* A summary counts them, a file does not. */
static void drop_expired_fields(struct shard_fixture *f)
{
    shard_fixture_pass_ms(f, 10);
    for (f->db = 0; f->db < 2; f->db++) {
        shard_fixture_run_line(f, "HSET H0 f1 x");
        shard_fixture_run_line(f, "HSET H1 f1 x");
        shard_fixture_run_line(f, "HSET H2 f1 x");
    }
}

static void seed_from_environment(void)
{
    const char *given = getenv("SHOAL_SEED");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)env_now_ns();
    fprintf(stderr, "SHOAL_SEED=%u\n", seed);
    srand(seed);
}

/* ---- tests ---- */

Test(snapshot, file_is_the_state_at_the_beginning_whatever_happens_meanwhile)
{
    seed_from_environment();
    struct shard_fixture f = make();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < COMMANDS; i++) run_random(&f);
        summarise(&f, &wanted);
        int64_t at_ms = f.shard->now_ms;
        begin(&f);
        snapshot_slice_entries(f.shard, 1 + below(8));
        unsigned commands = below(3 * COMMANDS);
        for (unsigned i = 0; i < commands; i++) {
            run_random(&f);
            if (below(8) == 0 && snapshot_can_walk(f.shard)) (void)snapshot_step(f.shard);
            if (below(100) == 0) give_back(&f);
        }
        finish(&f);
        cr_assert_not(has_failed);
        assert_file_is(at_ms, f.shard->now_ms);
    }
    cr_assert_gt(counter_read(&f.shard->counters.snapshot_early), 100);
    shard_fixture_free(&f);
}

static void run_big_rounds(void)
{
    seed_from_environment();
    struct shard_fixture f = make();
    f.config->list_max_listpack_size = 6;
    f.config->stream_node_max_entries = 5;
    for (unsigned round = 0; round < ROUNDS / 2; round++) {
        drop_expired_fields(&f);
        for (unsigned i = 0; i < COMMANDS / 2; i++) run_random_big(&f);
        summarise(&f, &wanted);
        int64_t at_ms = f.shard->now_ms;
        begin(&f);
        snapshot_slice_entries(f.shard, 1 + below(4));
        unsigned commands = below(COMMANDS);
        bool is_abandoned = false;
        for (unsigned i = 0; i < commands; i++) {
            run_random_big(&f);
            if (below(50) == 0) run_big_line(&f, "HPEXPIRE H& 3 FIELDS 1", " f%", 1);
            if (below(4) == 0 && snapshot_can_walk(f.shard)) (void)snapshot_step(f.shard);
            if (below(100) == 0) give_back(&f);
            is_abandoned = is_abandoned || below(20000) == 0;
            if (is_abandoned) snapshot_abandon(f.shard);
        }
        finish(&f);
        if (!has_failed) assert_file_is(at_ms, f.shard->now_ms);
    }
    cr_assert_eq(open_chunks > 0, form == SNAPSHOT_RECORDS);
    shard_fixture_free(&f);
}

Test(snapshot, big_values_are_what_they_were_whatever_happens_between_slices)
{
    run_big_rounds();
}

Test(snapshot, commands_make_big_values_what_they_were)
{
    form = SNAPSHOT_COMMANDS;
    run_big_rounds();
}

Test(snapshot, commands_make_the_state_at_the_beginning)
{
    seed_from_environment();
    struct shard_fixture f = make();
    form = SNAPSHOT_COMMANDS;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < COMMANDS; i++) run_random(&f);
        summarise(&f, &wanted);
        int64_t at_ms = f.shard->now_ms;
        begin(&f);
        snapshot_slice_entries(f.shard, 1 + below(8));
        unsigned commands = below(3 * COMMANDS);
        for (unsigned i = 0; i < commands; i++) {
            run_random(&f);
            if (below(8) == 0 && snapshot_can_walk(f.shard)) (void)snapshot_step(f.shard);
            if (below(100) == 0) give_back(&f);
        }
        finish(&f);
        assert_file_is(at_ms, f.shard->now_ms);
        cr_assert_geq(keys_counted, wanted.keys); /* some that have expired count as well */
    }
    shard_fixture_free(&f);
}

static void fill(struct shard_fixture *f, unsigned keys, unsigned bytes)
{
    char line[96 + 1024];
    for (unsigned i = 0; i < keys; i++) {
        snprintf(line, sizeof line, "SETRANGE key:%u %u x", i, bytes);
        shard_fixture_run_line(f, line);
    }
}

Test(snapshot, flushed_table_is_walked_to_its_end_and_freed)
{
    struct shard_fixture f = make();
    fill(&f, 2000, 10);
    summarise(&f, &wanted);
    begin(&f);
    snapshot_slice_entries(f.shard, 10);
    (void)snapshot_step(f.shard);
    expect(&f, "FLUSHALL", "+OK\r\n");
    expect(&f, "SET key:1 new", "+OK\r\n");
    expect(&f, "FLUSHALL", "+OK\r\n");
    expect(&f, "SET key:2 new", "+OK\r\n");
    finish(&f);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    expect(&f, "DBSIZE", ":1\r\n");
    while (free_list_step(f.shard)) {
    }
    shard_fixture_free(&f);
}

Test(snapshot, databases_keep_the_numbers_of_the_beginning)
{
    struct shard_fixture f = make();
    expect(&f, "SET a 0", "+OK\r\n");
    f.db = 1;
    expect(&f, "SET b 1", "+OK\r\n");
    summarise(&f, &wanted);
    begin(&f);
    expect(&f, "SWAPDB 0 1", "+OK\r\n");
    expect(&f, "DEL a", ":1\r\n");
    expect(&f, "SET c 1", "+OK\r\n");
    finish(&f);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    shard_fixture_free(&f);
}

Test(snapshot, walk_rests_while_too_many_chunks_are_away_but_changes_do_not)
{
    struct shard_fixture f = make();
    fill(&f, 4000, 900);
    f.config->rdb_compression = false;
    summarise(&f, &wanted);
    begin(&f);
    for (unsigned i = 0; i < 100000 && snapshot_can_walk(f.shard); i++)
        (void)snapshot_step(f.shard);
    cr_assert_not(is_done);
    cr_assert_eq(away_count, SNAPSHOT_CHUNKS_MAX);
    expect(&f, "FLUSHDB", "+OK\r\n");
    cr_assert_eq(away_count, SNAPSHOT_CHUNKS_MAX);
    finish(&f);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    shard_fixture_free(&f);
}

Test(snapshot, early_copies_may_exceed_the_bound)
{
    struct shard_fixture f = make();
    char line[64];
    fill(&f, 4000, 900);
    f.config->rdb_compression = false;
    begin(&f);
    for (unsigned i = 0; i < 4000; i++) {
        snprintf(line, sizeof line, "DEL key:%u", i);
        shard_fixture_run_line(&f, line);
    }
    cr_assert_gt(away_count, SNAPSHOT_CHUNKS_MAX);
    cr_assert_eq(counter_read(&f.shard->counters.snapshot_early), 4000);
    finish(&f);
    shard_fixture_free(&f);
}

/* The copies would take the memory that eviction is there to free. */
Test(snapshot, what_expires_or_is_evicted_is_not_copied)
{
    struct shard_fixture f = make();
    char line[64];
    fill(&f, 4000, 900);
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(line, sizeof line, "PEXPIRE key:%u 100", i);
        shard_fixture_run_line(&f, line);
    }
    begin(&f);
    shard_fixture_pass_ms(&f, 200);
    uint64_t before = mem_live_bytes(&f.shard->mem);
    for (unsigned i = 0; i < 3000; i++) {
        char name[32];
        struct bytes b = bytes_make(name, (size_t)snprintf(name, sizeof name, "key:%u", i));
        uint64_t hash = bytes_hash(b, f.shard->keys.seed);
        struct entry *e = dict_find(&f.shard->keys.databases[0]->keys, hash, b);
        cr_assert_not_null(e);
        if (i < 2000)
            keyspace_drop_expired(f.shard, 0, hash, e);
        else
            keyspace_drop_evicted(f.shard, 0, hash, e);
    }
    cr_assert_eq(chunk_count, 0);
    cr_assert_lt(mem_live_bytes(&f.shard->mem), before - 3000 * 900);
    summarise(&f, &wanted);
    finish(&f);
    cr_assert_eq(keys_counted, 1000);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    shard_fixture_free(&f);
}

Test(snapshot, abandoned_one_still_sets_the_colours_right)
{
    struct shard_fixture f = make();
    fill(&f, 1000, 10);
    begin(&f);
    snapshot_slice_entries(f.shard, 10);
    (void)snapshot_step(f.shard);
    snapshot_abandon(f.shard);
    expect(&f, "DEL key:1", ":1\r\n");
    finish(&f);
    cr_assert(has_failed);
    summarise(&f, &wanted);
    begin(&f);
    finish(&f);
    cr_assert_not(has_failed);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    shard_fixture_free(&f);
}

Test(snapshot, nothing_at_all_is_a_last_chunk_without_records)
{
    struct shard_fixture f = make();
    summarise(&f, &wanted);
    begin(&f);
    finish(&f);
    cr_assert_eq(chunk_count, 1);
    assert_file_is(f.shard->now_ms, f.shard->now_ms);
    shard_fixture_free(&f);
}
