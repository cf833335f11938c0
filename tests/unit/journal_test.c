/* What the journal appends, replayed by the ordinary handlers on an empty shard, gives the same
 * keys: for random commands of all groups, with everything else that changes keys. */
#include "shard/journal.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/block.h"
#include "base/text.h"
#include "persist/aof.h"
#include "persist/aof_reader.h"
#include "shard/cmd/families.h"
#include "shard/digest.h"
#include "shard/dump.h"
#include "shard/type/hash.h"
#include "shard/type/stream_group.h"
#include "tests/unit/journal_commands.h"
#include "tests/unit/parcel_fixture.h"
#include "tests/unit/random.h"

#define WORDS_MAX 40
#define PATH_BYTES 128
#define STEPS 8000
#define DATABASES 3
#define KEYS_PER_TYPE 3
#define BLOCK_REQUESTS 3

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
    rq->hashed_index = index;
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
    cr_assert_not_null(row, "%s", name);
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

/* ---- random commands ---- */

static struct random seed;
static struct buf text; /* of the arguments of one command */

struct words {
    struct bytes argv[WORDS_MAX];
    uint32_t argc;
};

static uint64_t below(uint64_t n)
{
    return random_below(&seed, n);
}

static void add_value(void)
{
    switch (below(6)) {
    case 0:
        buf_printf(&text, "%d", (int)below(2000) - 1000);
        break;
    case 1:
        for (unsigned i = 0; i < 90; i++) buf_printf(&text, "%c", (char)('a' + i % 26));
        break;
    case 2:
        buf_append(&text, "\r\n\0\xff", 4);
        break;
    case 3:
        break;
    default:
        buf_printf(&text, "v%u", (unsigned)below(30));
    }
}

/* Of a key that is there; else of nothing. */
static void add_dump(void)
{
    const struct entry *e = keyspace_random(shard(), 0);
    if (!e)
        buf_append_text(&text, "nothing");
    else
        cr_assert(dump_try_append(e, false, &text));
}

static void add_key(char type)
{
    static const char types[] = "slzhtxbgp";
    if (type == 'k' || below(100) == 0) type = types[below(sizeof types - 1)];
    buf_printf(&text, "%c%u", type, (unsigned)below(KEYS_PER_TYPE));
}

static void add_time(char type)
{
    int64_t now = shard()->now_ms;
    switch (type) {
    case 'E':
        buf_printf(&text, "%u", 1 + (unsigned)below(5));
        break;
    case 'P':
        buf_printf(&text, "%u", 1 + (unsigned)below(5000));
        break;
    case 'S':
        buf_printf(&text, "%lld", (long long)(now / 1000 + (int64_t)below(6) - 1));
        break;
    default:
        buf_printf(&text, "%lld", (long long)(now - 500 + (int64_t)below(5000)));
    }
}

/* Of an entry of some stream that is there; false: there is none. */
static bool find_id(struct stream_id *id)
{
    struct key k = {.db = 0};
    char name[2] = {'x', (char)('0' + below(KEYS_PER_TYPE))};
    struct stream_iterator it;
    struct stream_entry entry;
    k.name = bytes_make(name, sizeof name);
    k.hash = bytes_hash(k.name, shard()->keys.seed);
    const struct entry *e = keyspace_peek(shard(), &k);
    if (!e || entry_type(e) != TYPE_STREAM) return false;
    stream_iterator_init(&it, stream_of(e), STREAM_ID_MIN, STREAM_ID_MAX, below(2));
    bool is_there = false;
    for (uint64_t skip = below(5); stream_iterator_next(&it, &entry); skip--) {
        *id = entry.id;
        is_there = true;
        if (skip == 0) break;
    }
    return is_there;
}

static void add_id(void)
{
    struct stream_id id = {below(9), below(3)};
    if (below(4)) (void)find_id(&id);
    buf_printf(&text, "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

static void add_place(char type)
{
    if (strchr("slzhtxbgpk", type)) {
        add_key(type);
    } else if (strchr("EPSA", type)) {
        add_time(type);
    } else if (type == 'f') {
        buf_printf(&text, "f%u", (unsigned)below(6));
    } else if (type == 'v') {
        add_value();
    } else if (type == 'i') {
        buf_printf(&text, "%d", (int)below(30) - 5);
    } else if (type == 'n') {
        buf_printf(&text, "%u", 1 + (unsigned)below(4));
    } else if (type == 'd') {
        buf_printf(&text, "%d.%u", (int)below(9) - 4, (unsigned)below(100));
    } else if (type == 'I') {
        add_id();
    } else if (type == 'D') {
        add_dump();
    } else if (type == 'G' || type == 'C') {
        buf_printf(&text, "%c%u", type, (unsigned)below(2));
    } else if (type == 'W') {
        buf_append_text(&text, "0");
    } else {
        cr_assert_fail("%c", type);
    }
}

static void fill_in(const char *line, struct words *w)
{
    size_t starts[WORDS_MAX + 1];
    text.size = 0;
    w->argc = 0;
    while (*line) {
        starts[w->argc++] = text.size;
        for (; *line && *line != ' '; line++) {
            if (*line == '%')
                add_place(*++line);
            else
                buf_append(&text, line, 1);
        }
        line += *line == ' ';
    }
    starts[w->argc] = text.size;
    for (uint32_t i = 0; i < w->argc; i++)
        w->argv[i] = bytes_make(text.data + starts[i], starts[i + 1] - starts[i]);
}

/* ---- a holding ---- */

static void hold(void)
{
    struct bytes argv[6] = {BYTES_LITERAL("lock"), BYTES_LITERAL("\0\0\0\0\0\0\0\0")};
    for (unsigned i = 0; i < 2; i++) {
        text.size = 0;
        add_key('k');
        snprintf(held.names[i], sizeof held.names[i], "%.*s", (int)text.size, text.data);
        argv[2 + 2 * i] = bytes_of(held.names[i]);
        argv[3 + 2 * i] = BYTES_LITERAL("-\0\0");
    }
    turn_begin();
    const struct request *rq = turn_add(argv, ARRAY_LEN(argv), 0);
    held.is_asked = true;
    held.conn_index = conn_index;
    turn_run();
    if (!(rq->flags & REQUEST_PARKED)) take_token(parcel_fixture_reply(&p, 0));
}

static void let_go(void)
{
    const struct bytes argv[] = {BYTES_LITERAL("unlock"), held.token};
    turn_begin();
    turn_mark((uint16_t)below(2), 2);
    turn_add(argv, ARRAY_LEN(argv), 0)->flags |= REQUEST_COMMIT;
    turn_run();
    held.is_there = false;
}

struct asking {
    const struct request *rq;
    unsigned held, others;
};

static void ask_key(void *context, uint32_t index, const struct key_spec *spec)
{
    (void)spec;
    struct asking *a = context;
    bool is_held = false;
    for (unsigned i = 0; i < 2; i++)
        is_held |= bytes_equal(a->rq->argv[index], bytes_of(held.names[i]));
    a->held += is_held;
    a->others += !is_held;
}

/* Of the holder, if it could be. */
static void give_to_holder(struct request *rq)
{
    struct asking a = {.rq = rq};
    if (!held.is_there) return;
    command_each_key(rq->command, rq->argv, rq->argc, ask_key, &a);
    if (a.held > 0 && a.others == 0 && below(2)) rq->flags = REQUEST_COMMIT | REQUEST_IN_EXEC;
}

/* ---- the steps of a random run ---- */

#define ROWS_MAX 400
static const struct command *seen[ROWS_MAX]; /* rows that have had effects */
static unsigned seen_count;

static void see(const struct command *row)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (seen[i] == row) return;
    cr_assert_lt(seen_count, ROWS_MAX);
    seen[seen_count++] = row;
}

/* What takes keys away comes less often. */
static const char *choose_command(void)
{
    static const char *const drains[] = {"DEL",    "UNLINK",  "RENAME", "MOVE",
                                         "EXPIRE", "PEXPIRE", "GETDEL", "LTRIM",
                                         "COPY",   "MSET",    "SORT",   "SPOP %t 1"};
    const char *line = commands[below(ARRAY_LEN(commands))];
    for (size_t i = 0; i < ARRAY_LEN(drains); i++)
        if (strncmp(line, drains[i], strlen(drains[i])) == 0 && below(4))
            return commands[below(ARRAY_LEN(commands))];
    return line;
}

static struct request *add_random(void)
{
    struct words w;
    fill_in(choose_command(), &w);
    uint32_t db = below(12) ? 0 : (uint32_t)below(DATABASES);
    struct request *rq = turn_add(w.argv, w.argc, db);
    /* What moves asks its coordinator when the target is held: there is none here. */
    bool may_wait = kinds & WAITERS && (!(kinds & HOLDINGS) || rq->command->keys[0].last != 0);
    if (rq->command->flags & CMD_BLOCKING && may_wait && below(3)) rq->flags |= REQUEST_MAY_WAIT;
    if (rq->command->plan == PLAN_FAN_OUT && below(2)) rq->flags |= REQUEST_PART;
    give_to_holder(rq);
    return rq;
}

/* A marked parcel has a part of a split command; others may be there, too. */
static void run_some(void)
{
    turn_begin();
    if (below(8) == 0) turn_mark((uint16_t)below(3), 3);
    uint64_t before = shard()->journal.effect_count;
    unsigned count = below(3) ? 1 : 1 + (unsigned)below(6);
    const struct request *rq = NULL;
    for (unsigned i = 0; i < count; i++) rq = add_random();
    turn_run();
    if (count == 1 && shard()->journal.effect_count > before) see(rq->command);
}

static struct block *blocks[3 * STEPS];
static unsigned block_count;

/* EXEC: its requests live on until the end, for it may be parked. */
static void run_block(void)
{
    static struct parcel_fixture holder;
    struct block *b = calloc(1, sizeof *b);
    b->requests = calloc(BLOCK_REQUESTS, sizeof *b->requests);
    b->count = BLOCK_REQUESTS;
    (void)holder;
    turn_begin();
    for (unsigned i = 0; i < BLOCK_REQUESTS; i++) {
        struct words w;
        fill_in(commands[below(ARRAY_LEN(commands))], &w);
        b->requests[i] = *turn_add(w.argv, w.argc, 0);
        b->requests[i].flags = REQUEST_IN_EXEC;
    }
    p.parcel->request_count = p.parcel->run_count = 0; /* the arguments are the block's now */
    blocks[block_count++] = b;
    const struct bytes argv[] = {BYTES_LITERAL("blockall"), bytes_make(&b, sizeof b)};
    if (below(3) == 0) turn_mark(1, 2);
    turn_add(argv, ARRAY_LEN(argv), 0);
    turn_run();
}

static void free_blocks(void)
{
    for (unsigned i = 0; i < block_count; i++) {
        struct block *b = blocks[i];
        for (uint32_t r = 0; r < b->count; r++) {
            for (uint32_t k = 0; k < b->requests[r].argc; k++)
                free((void *)(uintptr_t)b->requests[r].argv[k].data);
            free(b->requests[r].argv);
        }
        free(b->requests);
        free(b);
    }
    block_count = 0;
}

static void evict_one(void)
{
    struct entry *e = keyspace_random(shard(), 0);
    if (!e) return;
    uint64_t hash = bytes_hash(entry_key(e), shard()->keys.seed);
    if (keyspace_is_in_use(shard(), e, hash)) return;
    keyspace_drop_evicted(shard(), 0, hash, e);
    if (below(2)) journal_flush(shard());
}

static void pass_time(void)
{
    shard_fixture_pass_ms(&p.f, (int64_t)below(400));
    if (below(4) == 0) {
        shard()->expire_next_ns = 0;
        (void)shard_background(shard());
    }
}

static void whole_databases(void)
{
    static const char *const lines[] = {"SWAPDB 0 1", "SWAPDB 1 2", "FLUSHDB", "FLUSHALL",
                                        "SWAPDB 0 0"};
    turn_begin();
    if (below(2)) turn_mark(0, 2);
    struct request *rq = turn_add_line(lines[below(8) ? 4 : below(12) ? below(2) : below(4)]);
    rq->db = (uint16_t)below(DATABASES);
    rq->flags |= REQUEST_PART;
    uint64_t before = shard()->journal.effect_count;
    const struct command *row = rq->command;
    turn_run();
    if (shard()->journal.effect_count > before) see(row);
}

static void one_step(void)
{
    uint64_t what = below(100);
    if (what < 75)
        run_some();
    else if (what < 80 && kinds & WHOLE)
        run_block();
    else if (what < 90)
        pass_time();
    else if (what < 92)
        evict_one();
    else if (what < 93 && kinds & WHOLE)
        whole_databases();
    else if (!held.is_there && !held.is_asked && kinds & HOLDINGS)
        hold();
    else if (held.is_there && what < 97)
        let_go();
}

/* Everybody who waits gets something. */
static void serve_all(void)
{
    for (unsigned i = 0; i < 1000 && !waits_are_empty(&shard()->waits); i++) {
        for (unsigned db = 0; db < DATABASES; db++) {
            for (unsigned k = 0; k < 9 * KEYS_PER_TYPE; k++) {
                char line[64];
                turn_begin();
                snprintf(line, sizeof line, "%s %c%u 1 a 2 b", i % 2 ? "LPUSH" : "ZADD",
                         "slzhtxbgp"[k % 9], k / 9);
                turn_add_line(line)->db = (uint16_t)db;
                turn_run();
                snprintf(line, sizeof line, "DEL %c%u", "slzhtxbgp"[k % 9], k / 9);
                turn_begin();
                turn_add_line(line)->db = (uint16_t)db;
                turn_run();
            }
        }
    }
    cr_assert(waits_are_empty(&shard()->waits));
}

static void random_run(unsigned wanted)
{
    start();
    kinds = wanted;
    seed = random_make();
    text = (struct buf){.mem = &log_mem};
    shard()->journal.must_fall_back = kinds & FALL_BACK;
    for (unsigned i = 0; i < STEPS; i++) {
        one_step();
        if (i % 64 == 0) locks_validate(shard());
    }
    if (held.is_there) let_go();
    fprintf(stderr, "%llu effects in %llu records, %u kinds of commands\n",
            (unsigned long long)shard()->journal.effect_count,
            (unsigned long long)shard()->journal.last_lsn, seen_count);
    replay_and_compare();
    serve_all();
    buf_clear(&text);
    free_blocks();
    finish();
}

Test(journal, its_effects_replayed_give_the_same_keys)
{
    random_run(HOLDINGS | WHOLE);
}

Test(journal, so_they_do_when_waiters_are_served)
{
    random_run(WAITERS | WHOLE);
}

Test(journal, so_they_do_when_keys_are_held_for_waiters)
{
    random_run(HOLDINGS | WAITERS | WHOLE);
}

Test(journal, so_they_do_when_all_are_what_keys_have_become)
{
    random_run(HOLDINGS | WHOLE | FALL_BACK);
}

/* A new command is either among the commands of journal_commands.h or no effect of a client. */
static bool is_known_elsewhere(const struct command *row)
{
    return strcmp(row->group, "internal") == 0;
}

static bool was_seen(const struct command *row)
{
    for (unsigned i = 0; i < seen_count; i++)
        if (seen[i] == row) return true;
    return false;
}

static unsigned count_unseen(const struct command *rows, uint32_t count)
{
    unsigned unseen = 0;
    for (uint32_t i = 0; i < count && rows[i].name; i++) {
        const struct command *row = &rows[i];
        if (row->subcommands) unseen += count_unseen(row->subcommands, UINT32_MAX);
        bool writes = row->flags & (CMD_WRITE | CMD_EFFECT) && row->on_shard;
        if (!writes || is_known_elsewhere(row) || was_seen(row)) continue;
        fprintf(stderr, "never had an effect: %s\n", row->name);
        unseen++;
    }
    return unseen;
}

Test(journal, every_command_that_writes_takes_part)
{
    start();
    seed = random_make();
    kinds = WHOLE;
    text = (struct buf){.mem = &log_mem};
    for (unsigned i = 0; i < 3 * STEPS; i++) one_step();
    for (size_t i = 0; i < ARRAY_LEN(rare); i++) {
        uint64_t before = shard()->journal.effect_count;
        run_line(rare[i]);
        if (shard()->journal.effect_count > before) see(p.parcel->requests[0].command);
    }
    unsigned unseen = 0;
    for (uint32_t i = 0; i < p.f.family_count; i++)
        unseen += count_unseen(p.f.families[i]->commands, p.f.families[i]->count);
    cr_assert_eq(unseen, 0);
    replay_and_compare();
    buf_clear(&text);
    free_blocks();
    finish();
}

/* ---- single cases ---- */

static char told[4096]; /* of all records: "<txid> <payload> " */

static void tell_record(const struct aof_reader *r)
{
    size_t at = strlen(told);
    at +=
        (size_t)snprintf(told + at, sizeof told - at, "%llu:", (unsigned long long)r->record.txid);
    struct bytes rest = r->payload;
    while (rest.size > 0) {
        uint32_t argc;
        struct bytes *argv = take_command(&rest, &argc);
        for (uint32_t i = 0; i < argc; i++)
            at += (size_t)snprintf(told + at, sizeof told - at, "%.*s ", (int)argv[i].size,
                                   argv[i].data);
        free(argv);
        at += (size_t)snprintf(told + at, sizeof told - at, "; ");
    }
}

static void expect_log(const char *wanted)
{
    told[0] = '\0';
    each_record(tell_record);
    cr_assert_str_eq(told, wanted);
}

Test(journal, a_command_that_changes_nothing_or_fails_has_no_effect)
{
    start();
    run_line("SET s 1");
    run_line("SET s 2 NX");
    run_line("LPUSH s a");
    run_line("GET s");
    run_line("DEL nothing");
    run_line("SADD t a");
    run_line("SADD t a");
    run_line("SREM t b");
    close_log();
    expect_log("0:SET s 1 ; 0:SADD t a ; ");
    finish();
}
