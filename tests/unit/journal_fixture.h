/* journal_fixture.h: a shard with a log in a file, its replay on an empty shard, and whether both
 * are equal.
 *
 * Ownership  One test includes it; its state is static.
 */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "persist/aof.h"
#include "persist/aof_reader.h"
#include "shard/cmd/families.h"
#include "shard/digest.h"
#include "shard/journal.h"
#include "shard/type/hash.h"
#include "shard/type/stream_group.h"
#include "tests/unit/parcel_fixture.h"

#define WORDS_MAX 40
#define PATH_BYTES 128
#define DATABASES 3

static const struct command_family *const families[] = {
    &dump_family,   &bits_family,          &hyperloglog_family, &list_family,
    &set_family,    &list_blocking_family, &zset_family,        &zset_blocking_family,
    &geo_family,    &sort_family,          &hash_family,        &hash_expire_family,
    &stream_family, &internal_family,
};

/* ---- a shard with a log ---- */

static struct parcel_fixture p;
static struct mem log_mem;
static struct env_loop *loop;
static struct aof *aof;
static char directory[64], path[PATH_BYTES];
static uint64_t position;
static uint32_t conn_index;

/* A holding that comes and goes. */
enum { HOLDINGS = 1, WAITERS = 2, WHOLE = 4, FALL_BACK = 8 };
static unsigned kinds; /* of what happens in a random run */
static struct {
    bool is_there, is_asked;
    struct bytes token;
    uint32_t conn_index;
    char token_bytes[8];
    char names[2][8];
} held;

static void take_token(struct bytes reply)
{
    memcpy(held.token_bytes, reply.data + sizeof "*4\r\n$8\r\n" - 1, sizeof held.token_bytes);
    held.token = bytes_make(held.token_bytes, sizeof held.token_bytes);
    held.is_there = true;
    held.is_asked = false;
}

static void on_late(const struct late_reply *late, struct bytes reply)
{
    if (held.is_asked && late->run.conn_index == held.conn_index) take_token(reply);
}

static void configure(struct shard_config *c)
{
    c->set_max_intset_entries = 16;
    c->set_max_listpack_entries = 8;
    c->set_max_listpack_value_bytes = 32;
    c->zset_max_listpack_entries = 8;
    c->zset_max_listpack_value_bytes = 32;
    c->hash_max_listpack_entries = 8;
    c->hll_sparse_bytes_max = 300;
    c->stream_node_max_bytes = 400;
    c->stream_node_max_entries = 5;
    c->list_max_listpack_size = 5;
}

static void add_families(struct shard_fixture *f)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(f, families[i]);
    configure(f->config);
}

static void open_aof(void)
{
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop_options o = {.name = "log", .backend = ENV_EPOLL};
    mem_init(&log_mem, "log");
    snprintf(directory, sizeof directory, "/tmp/shoal-journal-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/log.aof", directory);
    cr_assert_eq(env_loop_create(&o, &loop, why), OK, "%s", why);
    cr_assert_eq(aof_prepare(path), OK);
    struct aof_options a = {.mem = &log_mem,
                            .loop = loop,
                            .policy = AOF_NO,
                            .kind = SEGMENT_KIND_EFFECTS,
                            .generation = 1,
                            .first_lsn = 1,
                            .path = path};
    cr_assert_eq(aof_create(&a, &aof), OK);
}

static void start(void)
{
    p = parcel_fixture_make();
    parcel_fixture_on_late(on_late);
    add_families(&p.f);
    open_aof();
    position = 10;
    conn_index = 0;
    journal_open(p.f.shard, aof);
}

static void close_log(void)
{
    cr_assert_not(p.f.shard->journal.has_failed);
    journal_close(p.f.shard);
    aof_step(aof, 1);
}

static void finish(void)
{
    parcel_fixture_free(&p);
    aof_destroy(aof);
    env_loop_destroy(loop);
    mem_deinit(&log_mem);
    unlink(path);
    rmdir(directory);
}

static struct shard *shard(void)
{
    return p.f.shard;
}

/* ---- running ---- */

static void turn_begin(void)
{
    parcel_fixture_begin(&p);
    atomic_store_explicit(&p.parcel->position, ++position, memory_order_relaxed);
}

static void turn_mark(uint16_t part, uint16_t part_count)
{
    p.parcel->part = part;
    p.parcel->part_count = part_count;
}

static void turn_run(void)
{
    parcel_fixture_run(&p);
    aof_step(aof, 1);
}

static void first_key(void *context, uint32_t index, const struct key_spec *spec)
{
    (void)spec;
    struct request *rq = context;
    if (rq->hashed_index) return;
    rq->hashed_index = index & HASHED_INDEX_MAX;
    rq->hash = bytes_hash(rq->argv[index], shard()->keys.seed);
}

static const struct command *row_of(const struct bytes *argv, uint32_t argc)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)argv[0].size, argv[0].data);
    const struct command *row = shard_fixture_row(&p.f, name);
    cr_assert_not_null(row, "%s", name);
    if (row->subcommands && argc > 1) {
        snprintf(name, sizeof name, "%.*s|%.*s", (int)argv[0].size, argv[0].data, (int)argv[1].size,
                 argv[1].data);
        row = shard_fixture_row(&p.f, name);
    }
    CHECK(row != NULL);
    bool fits = row->arity >= 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity;
    cr_assert(fits, "%s has a wrong number of arguments", name);
    return row;
}

static struct request *turn_add(const struct bytes *argv, uint32_t argc, uint32_t db)
{
    struct request *rq = parcel_fixture_add(&p, row_of(argv, argc), argc, argv);
    rq->db = (uint16_t)db;
    rq->hashed_index = 0;
    struct run *run = &p.parcel->runs[p.parcel->run_count - 1];
    run->conn_index = ++conn_index;
    run->turn_index = p.parcel->run_count;
    command_each_key(rq->command, rq->argv, rq->argc, first_key, rq);
    return rq;
}

static struct request *turn_add_line(const char *line)
{
    struct bytes words[WORDS_MAX];
    struct buf storage = {.mem = &log_mem};
    int count = text_split_words(bytes_of(line), &storage, words, WORDS_MAX);
    struct request *rq = turn_add(words, (uint32_t)count, 0);
    buf_clear(&storage);
    return rq;
}

static struct bytes run_line(const char *line)
{
    turn_begin();
    turn_add_line(line);
    turn_run();
    return parcel_fixture_reply(&p, 0);
}

/* ---- replaying ---- */

static struct shard_fixture copy;
static uint64_t announced; /* bits of the numbers of SHOAL.LATER without SHOAL.DONE, modulo 64 */

static struct bytes take_line(struct bytes *rest)
{
    const char *end = memchr(rest->data, '\r', rest->size);
    cr_assert(end && end + 1 < rest->data + rest->size && end[1] == '\n');
    struct bytes line = bytes_make(rest->data, (size_t)(end - rest->data));
    *rest = bytes_make(end + 2, rest->size - line.size - 2);
    return line;
}

static uint64_t take_number(struct bytes *rest, char type)
{
    struct bytes line = take_line(rest);
    uint64_t n;
    cr_assert_eq(line.data[0], type);
    cr_assert(text_to_u64(bytes_make(line.data + 1, line.size - 1), &n));
    return n;
}

static struct bytes *take_command(struct bytes *rest, uint32_t *argc)
{
    *argc = (uint32_t)take_number(rest, '*');
    struct bytes *argv = calloc(*argc, sizeof *argv);
    for (uint32_t i = 0; i < *argc; i++) {
        uint64_t size = take_number(rest, '$');
        cr_assert_leq(size + 2, rest->size);
        argv[i] = bytes_make(rest->data, size);
        *rest = bytes_make(rest->data + size + 2, rest->size - size - 2);
    }
    return argv;
}

static void replay_command(const struct bytes *argv, uint32_t argc)
{
    uint64_t db, number = 0;
    if (argc > 1) (void)!text_to_u64(argv[1], &number);
    if (bytes_equal_nocase(argv[0], "select")) {
        cr_assert(text_to_u64(argv[1], &db));
        copy.db = (uint32_t)db;
    } else if (bytes_equal_nocase(argv[0], "shoal.later")) {
        announced |= UINT64_C(1) << number % 64;
    } else if (bytes_equal_nocase(argv[0], "shoal.done")) {
        announced &= ~(UINT64_C(1) << number % 64);
    } else {
        struct bytes reply = shard_fixture_run(&copy, argc, argv);
        cr_assert(reply.size > 0 && reply.data[0] != '-', "%.*s %.*s: %.*s", (int)argv[0].size,
                  argv[0].data, argc > 1 ? (int)argv[1].size : 0, argc > 1 ? argv[1].data : "",
                  (int)reply.size, reply.data);
    }
}

/* Every record of the log; returns how many. */
static unsigned each_record(void (*fn)(const struct aof_reader *r))
{
    struct aof_reader r;
    unsigned count = 0;
    cr_assert_eq(aof_reader_open(&r, &log_mem, path, NULL, UINT64_MAX), AOF_FOUND_RECORD);
    aof_reader_want_payloads(&r);
    for (; aof_reader_next(&r) == AOF_FOUND_RECORD; count++)
        if (r.record.type == SEGMENT_EFFECTS) fn(&r);
    aof_reader_close(&r);
    return count;
}

static uint64_t last_txid;

static void replay_record(const struct aof_reader *r)
{
    struct bytes rest = r->payload;
    copy.db = segment_db(&r->record);
    if (r->record.txid) cr_assert_gt(r->record.txid, last_txid);
    if (r->record.txid) last_txid = r->record.txid;
    while (rest.size > 0) {
        uint32_t argc;
        struct bytes *argv = take_command(&rest, &argc);
        replay_command(argv, argc);
        free(argv);
    }
}

static void replay(void)
{
    copy = shard_fixture_make();
    add_families(&copy);
    announced = 0;
    last_txid = 0;
    shard_set_now(copy.shard, shard()->now_ns, shard()->now_ms);
    shard_set_replaying(copy.shard, true);
    each_record(replay_record);
    shard_set_replaying(copy.shard, false);
    cr_assert_eq(announced, 0);
}

/* ---- comparing ---- */

static void mix_i64(struct digest *d, int64_t n)
{
    digest_mix(d, bytes_make(&n, sizeof n));
}

static void mix_field(void *context, const struct hash_field *f)
{
    struct digest *sum = context, one = {0};
    char text[TEXT_I64_BYTES_MAX];
    struct bytes name = bytes_make(f->name.text, f->name.size);
    if (!f->name.text) name = bytes_make(text, text_from_i64(text, f->name.integer));
    digest_mix(&one, name);
    mix_i64(&one, f->deadline_ms);
    digest_xor(sum, &one);
}

static void mix_group(struct digest *d, const struct stream_group *g)
{
    digest_mix(d, stream_name_view(&g->name));
    digest_mix(d, bytes_make(&g->last_id, sizeof g->last_id));
    mix_i64(d, g->entries_read);
    mix_i64(d, g->consumer_count);
    struct digest names = {0};
    for (uint32_t i = 0; i < g->consumer_count; i++)
        digest_add(&names, stream_name_view(&g->consumers[i]->name));
    digest_mix(d, bytes_make(names.bytes, sizeof names.bytes));
    struct idtree_place at = idtree_first(&g->pending);
    for (; idtree_place_exists(at); at = idtree_next(at)) {
        const struct stream_pending *pending = idtree_item(at);
        struct stream_id id = idtree_id(at);
        digest_mix(d, bytes_make(&id, sizeof id));
        digest_mix(d, stream_name_view(&pending->consumer->name));
        mix_i64(d, pending->delivered_ms);
        mix_i64(d, (int64_t)pending->delivery_count);
    }
}

static struct digest digest_of(const struct entry *e)
{
    struct digest d = {0};
    digest_mix_value(&d, e);
    mix_i64(&d, entry_deadline_ms(e));
    if (entry_type(e) == TYPE_HASH) {
        struct hash h = hash_of(e);
        struct digest fields = {0};
        hash_each(&h, mix_field, &fields);
        digest_mix(&d, bytes_make(fields.bytes, sizeof fields.bytes));
    } else if (entry_type(e) == TYPE_STREAM) {
        const struct stream *s = entry_root(e);
        digest_mix(&d, bytes_make(&s->last_id, sizeof s->last_id));
        digest_mix(&d, bytes_make(&s->max_deleted_id, sizeof s->max_deleted_id));
        mix_i64(&d, (int64_t)s->entries_added);
        for (uint32_t i = 0; i < s->group_count; i++) mix_group(&d, s->groups[i]);
    }
    return d;
}

struct comparing {
    struct shard *other;
    uint32_t db;
    uint64_t count;
};

static void compare_key(void *context, struct entry *e, uint64_t at)
{
    (void)at;
    struct comparing *c = context;
    struct bytes name = entry_key(e);
    struct key k = {name, bytes_hash(name, c->other->keys.seed), c->db};
    const struct entry *o = keyspace_peek(c->other, &k);
    cr_assert_not_null(o, "%.*s of database %u is missing", (int)name.size, name.data, c->db);
    struct digest a = digest_of(e), b = digest_of(o);
    cr_assert_arr_eq(a.bytes, b.bytes, sizeof a.bytes, "%.*s of database %u is another",
                     (int)name.size, name.data, c->db);
    c->count++;
}

static void compare(void)
{
    for (uint32_t db = 0; db < DATABASES; db++) {
        struct comparing here = {copy.shard, db, 0}, there = {shard(), db, 0};
        uint64_t cursor = 0;
        do cursor = keyspace_scan(shard(), db, cursor, 1000, compare_key, &here);
        while (cursor);
        do cursor = keyspace_scan(copy.shard, db, cursor, 1000, compare_key, &there);
        while (cursor);
        cr_assert_eq(here.count, there.count);
    }
}

static void replay_and_compare(void)
{
    close_log();
    replay();
    compare();
    shard_fixture_free(&copy);
    shard_set_now(shard(), shard()->now_ns, shard()->wall_ms);
}
