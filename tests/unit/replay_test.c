#include "server/replay.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "persist/aof.h"
#include "tests/unit/random.h"
#include "tests/unit/server_fixture.h"

#define SHARDS_MAX 8
#define PATH_BYTES 256

/* ---- a log on disk, as a server of any number of shards would have written it ---- */

struct log_on_disk {
    struct mem mem;
    char directory[64];
    struct manifest manifest;
    uint32_t generation;
    uint16_t shard_count;
    uint32_t file_number;
    struct aof *logs[SHARDS_MAX];
    uint64_t txid;
    struct env_loop *loop; /* what ends a base works there */
};

static struct log_on_disk *log_make(void)
{
    struct log_on_disk *l = calloc(1, sizeof *l);
    cr_assert_not_null(l);
    mem_init(&l->mem, "log");
    snprintf(l->directory, sizeof l->directory, "/tmp/shoal-replay-XXXXXX");
    cr_assert_not_null(mkdtemp(l->directory));
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop_options o = {.name = "log", .backend = ENV_EPOLL};
    cr_assert_eq(env_loop_create(&o, &l->loop, why), OK, "%s", why);
    manifest_init(&l->manifest, &l->mem);
    l->manifest.hash_seed = 0x1234567890abcdef;
    return l;
}

static void log_open_file(struct log_on_disk *l, uint16_t shard, enum segment_kind kind,
                          struct aof **out)
{
    uint8_t number = (uint8_t)++l->file_number;
    struct manifest_file f = {.kind = kind,
                              .generation = l->generation,
                              .shard = shard,
                              .number = number,
                              .uuid = {{number, 7, (uint8_t)(l->file_number >> 8)}},
                              .first_lsn = kind == SEGMENT_KIND_BASE ? 1 : 0};
    char name[MANIFEST_FILE_NAME_BYTES], path[PATH_BYTES];
    manifest_file_name(&f, name);
    snprintf(path, sizeof path, "%s/%s", l->directory, name);
    cr_assert_eq(aof_prepare(path), OK);
    manifest_add_file(&l->manifest, &f);
    struct aof_options o = {.mem = &l->mem,
                            .loop = l->loop,
                            .policy = AOF_NO,
                            .kind = kind,
                            .generation = l->generation,
                            .shard = shard,
                            .first_lsn = 1,
                            .path = path,
                            .uuid = f.uuid};
    cr_assert_eq(aof_create(&o, out), OK);
}

static void log_close_file(struct aof *a)
{
    aof_step(a, 1);
    aof_destroy(a);
}

static void log_close_base(struct log_on_disk *l, struct aof *base)
{
    struct env_event event;
    aof_seal(base);
    for (uint64_t now_ns = 1; aof_state_now(base) != AOF_SEALED; now_ns++) {
        aof_step(base, now_ns);
        env_wait(l->loop, 1000000);
        while (env_next(l->loop, &event)) cr_assert_fail("there are no sockets");
    }
    struct manifest_file *f = &l->manifest.files[l->manifest.file_count - 1];
    cr_assert_eq(f->kind, SEGMENT_KIND_BASE);
    f->size = aof_size(base);
    aof_destroy(base);
}

static void log_end_generation(struct log_on_disk *l)
{
    for (unsigned i = 0; i < l->shard_count; i++) log_close_file(l->logs[i]);
    l->shard_count = 0;
}

static void log_add_generation(struct log_on_disk *l, uint16_t shard_count)
{
    log_end_generation(l);
    l->shard_count = shard_count;
    manifest_add_generation(&l->manifest, ++l->generation, shard_count);
}

static void log_open_segments(struct log_on_disk *l)
{
    for (uint16_t i = 0; i < l->shard_count; i++)
        log_open_file(l, i, SEGMENT_KIND_EFFECTS, &l->logs[i]);
}

static void log_begin_generation(struct log_on_disk *l, uint16_t shard_count)
{
    log_add_generation(l, shard_count);
    log_open_segments(l);
}

static void log_free(struct log_on_disk *l)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", l->directory);
    cr_assert_eq(system(command), 0);
    env_loop_destroy(l->loop);
    manifest_deinit(&l->manifest);
    mem_deinit(&l->mem);
    free(l);
}

/* A line as a RESP command. */
static void encode(struct buf *out, const char *line)
{
    unsigned words = 1;
    for (const char *p = line; *p; p++) words += *p == ' ';
    buf_printf(out, "*%u\r\n", words);
    while (*line) {
        size_t size = strcspn(line, " ");
        buf_printf(out, "$%zu\r\n%.*s\r\n", size, (int)size, line);
        line += size + (line[size] == ' ');
    }
}

static void append_record(struct aof *a, uint32_t db, struct bytes payload, uint64_t txid,
                          uint16_t parts, uint16_t part)
{
    uint64_t lsn;
    struct aof_record record = {
        .db = db, .part_count = parts, .part = part, .txid = txid, .payload = payload};
    cr_assert_eq(aof_append(a, &record, &lsn), OK);
}

static uint16_t place(const struct log_on_disk *l, const char *line)
{
    const char *word = strchr(line, ' ') + 1;
    struct bytes key = bytes_make(word, strcspn(word, " "));
    return bytes_shard(key, bytes_hash(key, l->manifest.hash_seed), l->manifest.hash_seed,
                       l->shard_count);
}

/* An effect on the key that is its first argument, in the log of its shard. */
static void put(struct log_on_disk *l, uint32_t db, const char *line)
{
    struct buf payload = {.mem = &l->mem};
    encode(&payload, line);
    append_record(l->logs[place(l, line)], db, buf_view(&payload), 0, 1, 0);
    buf_clear(&payload);
}

/* On every shard, as one transaction. */
static void put_everywhere(struct log_on_disk *l, uint32_t db, const char *line)
{
    struct buf payload = {.mem = &l->mem};
    encode(&payload, line);
    l->txid += l->shard_count > 1;
    uint64_t txid = l->shard_count > 1 ? l->txid : 0;
    for (uint16_t i = 0; i < l->shard_count; i++)
        append_record(l->logs[i], db, buf_view(&payload), txid, l->shard_count, i);
    buf_clear(&payload);
}

/* ---- loading it ---- */

struct loaded {
    struct server_fixture f;
    struct session *s;
    struct recovery recovery;
    struct log_on_disk *log;
};

static void note_end(struct server *srv, bool ok)
{
    cr_assert_eq(ok, !srv->replay.has_failed);
}

static void set_seed(struct server_fixture *f, uint64_t seed)
{
    f->server->hash_seed = f->server->router.hash_seed = seed;
    for (uint16_t i = 0; i < f->server->mesh.shard_count; i++)
        f->server->shard_workers[i]->shard.keys.seed = seed;
}

static void allow_debug(struct server_fixture *f)
{
    struct config *c = (struct config *)(uintptr_t)f->server->config;
    c->enable_debug_command = CONFIG_PROTECTED_YES;
}

static struct loaded load(struct log_on_disk *l, uint32_t threads)
{
    log_end_generation(l);
    cr_assert_eq(manifest_write(&l->manifest, l->directory), OK);
    struct loaded d = {.f = server_fixture_make(threads), .log = l};
    char why[RECOVERY_WHY_BYTES];
    struct recovery_options o = {.mem = &l->mem, .directory = l->directory};
    set_seed(&d.f, l->manifest.hash_seed);
    allow_debug(&d.f);
    cr_assert_eq(recovery_open(&d.recovery, &o, why), OK, "%s", why);
    for (unsigned i = 0; i < d.recovery.stream_count; i++)
        cr_assert_eq(recovery_scan(&d.recovery, i, &l->mem), OK, "%s", d.recovery.streams[i].why);
    recovery_resolve(&d.recovery);
    log_set_level(LOG_NOTHING);
    replay_start(d.f.server, &d.recovery, note_end);
    server_fixture_settle(&d.f);
    cr_assert(replay_is_idle(&d.f.server->replay));
    for (uint16_t i = 0; i < d.f.server->mesh.shard_count; i++) {
        shard_here = &d.f.server->shard_workers[i]->shard;
        keyspace_validate(shard_here);
    }
    d.s = server_fixture_connect(&d.f, 0);
    return d;
}

static void unload(struct loaded *d)
{
    recovery_close(&d->recovery);
    server_fixture_free(&d->f);
    log_free(d->log);
}

/* Of a server that is asked. */
static void digest(struct server_fixture *f, struct session *s, char out[64])
{
    server_fixture_send(f, s, "DEBUG DIGEST");
    server_fixture_settle(f);
    struct bytes reply = server_fixture_take(f, s);
    snprintf(out, 64, "%.*s", (int)reply.size, reply.data);
}

/* ---- tests ---- */

Test(replay, effects_come_back_at_the_same_number_of_shards)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 2);
    put(l, 0, "SET a 1");
    put(l, 0, "INCR a");
    put(l, 0, "RPUSH b x y");
    put(l, 3, "SADD c 1 2 3");
    struct loaded d = load(l, 2);
    cr_assert(!d.f.server->replay.has_failed, "%s", d.f.server->replay.why);
    expect(&d.f, d.s, "GET a", "$1\r\n2\r\n");
    expect(&d.f, d.s, "LRANGE b 0 -1", "*2\r\n$1\r\nx\r\n$1\r\ny\r\n");
    expect(&d.f, d.s, "SELECT 3", "+OK\r\n");
    expect(&d.f, d.s, "SCARD c", ":3\r\n");
    expect(&d.f, d.s, "DBSIZE", ":1\r\n");
    unload(&d);
}

Test(replay, a_record_may_hold_several_commands_of_several_databases)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 1);
    struct buf payload = {.mem = &l->mem};
    encode(&payload, "SET a 1");
    encode(&payload, "SELECT 2");
    encode(&payload, "SET a 2");
    encode(&payload, "SELECT 0");
    encode(&payload, "SET b 3");
    append_record(l->logs[0], 0, buf_view(&payload), 0, 1, 0);
    buf_clear(&payload);
    put(l, 0, "SET c 4");
    struct loaded d = load(l, 4);
    expect(&d.f, d.s, "MGET a b c", "*3\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n4\r\n");
    expect(&d.f, d.s, "SELECT 2", "+OK\r\n");
    expect(&d.f, d.s, "MGET a b", "*2\r\n$1\r\n2\r\n$-1\r\n");
    unload(&d);
}

Test(replay, no_deadline_passes_between_two_records)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 1);
    put(l, 0, "SET a 1 PXAT 1000");
    put(l, 0, "INCR a");
    put(l, 0, "PERSIST a");
    put(l, 0, "SET gone 1 PXAT 1000");
    put(l, 0, "HSET h f 1 g 2");
    put(l, 0, "HPEXPIREAT h 1000 FIELDS 1 f");
    put(l, 0, "HINCRBY h f 1");
    struct loaded d = load(l, 1);
    expect(&d.f, d.s, "GET a", "$1\r\n2\r\n");
    expect(&d.f, d.s, "EXISTS gone", ":0\r\n");
    expect(&d.f, d.s, "HGETALL h", "*2\r\n$1\r\ng\r\n$1\r\n2\r\n");
    unload(&d);
}

Test(replay, a_flush_of_one_shard_leaves_the_keys_of_the_others)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 3);
    char line[64];
    unsigned kept = 0;
    for (unsigned i = 0; i < 300; i++) {
        snprintf(line, sizeof line, "SET key:%u 1", i);
        put(l, 0, line);
        put(l, 1, line);
        kept += place(l, line) != 1;
    }
    struct buf payload = {.mem = &l->mem};
    encode(&payload, "FLUSHDB");
    append_record(l->logs[1], 0, buf_view(&payload), 0, 1, 0);
    buf_clear(&payload);
    struct loaded d = load(l, 2);
    char expected[32];
    snprintf(expected, sizeof expected, ":%u\r\n", kept);
    server_fixture_expect(&d.f, d.s, "DBSIZE", bytes_of(expected), __LINE__);
    expect(&d.f, d.s, "SELECT 1", "+OK\r\n");
    expect(&d.f, d.s, "DBSIZE", ":300\r\n");
    unload(&d);
}

Test(replay, a_base_replaces_what_older_generations_hold_for_its_slice)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 4);
    char line[64];
    for (unsigned i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "SET key:%u old", i);
        put(l, 5, line);
    }
    log_add_generation(l, 2);
    unsigned kept = 0, in_base = 0;
    struct aof *base;
    log_open_file(l, 1, SEGMENT_KIND_BASE, &base);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(line, sizeof line, "SET key:%u new", i);
        kept += place(l, line) == 0;
        if (place(l, line) == 0 || i % 2) continue;
        struct buf payload = {.mem = &l->mem};
        encode(&payload, line);
        append_record(base, 5, buf_view(&payload), 0, 1, 0);
        buf_clear(&payload);
        in_base++;
    }
    log_close_base(l, base);
    log_open_segments(l);
    struct loaded d = load(l, 3);
    cr_assert(!d.f.server->replay.has_failed, "%s", d.f.server->replay.why);
    expect(&d.f, d.s, "SELECT 5", "+OK\r\n");
    char expected[32];
    snprintf(expected, sizeof expected, ":%u\r\n", kept + in_base);
    server_fixture_expect(&d.f, d.s, "DBSIZE", bytes_of(expected), __LINE__);
    unload(&d);
}

Test(replay, what_is_announced_and_not_done_runs_at_the_end_of_the_stream)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 1);
    static const char *const lines[] = {
        "SHOAL.LATER 1 MSET a 1 b 2 c 3 d 4",
        "SHOAL.LATER 2 DEL done",
        "SHOAL.LATER 3 SADD t x",
        "SELECT 1",
        "SHOAL.LATER 3 LPUSH l y",
        "SELECT 0",
        "SET a 0",
        "SET done 1",
        "SHOAL.DONE 2",
        "SHOAL.LATER 4 INCR t",
    };
    struct buf payload = {.mem = &l->mem};
    for (unsigned i = 0; i < ARRAY_LEN(lines); i++) encode(&payload, lines[i]);
    append_record(l->logs[0], 0, buf_view(&payload), 0, 1, 0);
    buf_clear(&payload);
    log_begin_generation(l, 2);
    put(l, 0, "INCR b");
    struct loaded d = load(l, 3);
    cr_assert(!d.f.server->replay.has_failed, "%s", d.f.server->replay.why);
    expect(&d.f, d.s, "MGET a b c d done",
           "*5\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n1\r\n");
    expect(&d.f, d.s, "SMEMBERS t", "*1\r\n$1\r\nx\r\n");
    expect(&d.f, d.s, "SELECT 1", "+OK\r\n");
    expect(&d.f, d.s, "LLEN l", ":1\r\n");
    unload(&d);
}

Test(replay, a_command_with_chance_in_it_that_is_run_anew_wants_a_base)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 1);
    put(l, 0, "SADD t a b c");
    put(l, 0, "SHOAL.LATER 1 SPOP t");
    struct loaded d = load(l, 2);
    expect(&d.f, d.s, "SCARD t", ":2\r\n");
    cr_assert(d.f.server->replay.needs_base);
    unload(&d);
}

static void expect_failure(const char *line, uint32_t db, const char *what)
{
    struct log_on_disk *l = log_make();
    log_begin_generation(l, 2);
    put(l, 0, "SET a 1");
    put(l, db, line);
    struct loaded d = load(l, 2);
    cr_assert(d.f.server->replay.has_failed, "%s", line);
    cr_assert_not_null(strstr(d.f.server->replay.why, what), "%s: %s", line,
                       d.f.server->replay.why);
    cr_assert_not_null(strstr(d.f.server->replay.why, ".aof"));
    cr_assert_not_null(strstr(d.f.server->replay.why, "at offset"));
    unload(&d);
}

Test(replay, what_cannot_be_run_is_named_with_file_and_offset)
{
    expect_failure("LPUSH a 1", 0, "WRONGTYPE");
    expect_failure("NOSUCH a", 0, "unknown command");
    expect_failure("SET b 1", 16, "higher database");
    expect_failure("MSET b 1 c 2", 0, "several keys");
    expect_failure("PING x", 0, "no effect on a key");
}

/* ---- any log, any number of shards ---- */

static uint32_t pick(struct random *r, uint32_t limit)
{
    return (uint32_t)random_below(r, limit);
}

static void random_line(struct random *r, char out[128])
{
    unsigned key = pick(r, 40), n = pick(r, 1000);
    static const char *const forms[] = {
        "SET s:%u %u",      "SET s:%u %u PXAT 99999999999999",
        "DEL s:%u",         "INCRBY s:%u %u",
        "RPUSH l:%u %u",    "LTRIM l:%u -3 %u",
        "HSET h:%u f%u v",  "HDEL h:%u f%u",
        "SADD t:%u %u",     "ZADD z:%u %u member",
        "DEL l:%u",         "PEXPIREAT h:%u 99999999999%03u",
        "XADD x:%u * f %u",
    };
    unsigned form = pick(r, ARRAY_LEN(forms) - 1); /* XADD has no fixed id */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, 128, forms[form], key, n);
#pragma GCC diagnostic pop
}

static void random_everywhere(struct random *r, char out[128])
{
    switch (pick(r, 8)) {
    case 0:
        snprintf(out, 128, "FLUSHALL");
        break;
    case 1:
    case 2:
        snprintf(out, 128, "FLUSHDB");
        break;
    default:
        snprintf(out, 128, "SWAPDB %u %u", pick(r, 3), pick(r, 3));
    }
}

static void run_reference(struct server_fixture *f, struct session *s, uint32_t db,
                          const char *line)
{
    char select[32];
    snprintf(select, sizeof select, "SELECT %u", db);
    server_fixture_send(f, s, select);
    server_fixture_send(f, s, line);
    server_fixture_settle(f);
    server_fixture_take(f, s);
}

static void any_log(uint64_t seed)
{
    struct random r = {seed};
    struct log_on_disk *l = log_make();
    struct server_fixture reference = server_fixture_make(1);
    allow_debug(&reference);
    struct session *s = server_fixture_connect(&reference, 0);
    char line[128], wanted[64], got[64];
    for (unsigned generation = 0; generation < 3; generation++) {
        log_begin_generation(l, (uint16_t)(1 + pick(&r, SHARDS_MAX - 1)));
        for (unsigned i = 0; i < 400; i++) {
            uint32_t db = pick(&r, 3);
            bool everywhere = pick(&r, 25) == 0;
            if (everywhere)
                random_everywhere(&r, line);
            else
                random_line(&r, line);
            /* A command that fails leaves nothing in a log. */
            run_reference(&reference, s, db, line);
            if (everywhere)
                put_everywhere(l, db, line);
            else
                put(l, db, line);
        }
    }
    digest(&reference, s, wanted);
    struct loaded d = load(l, 1 + pick(&r, 7));
    cr_assert(!d.f.server->replay.has_failed, "seed %llu: %s", (unsigned long long)seed,
              d.f.server->replay.why);
    digest(&d.f, d.s, got);
    cr_assert_str_eq(got, wanted, "seed %llu", (unsigned long long)seed);
    unload(&d);
    server_fixture_free(&reference);
}

Test(replay, any_log_at_any_number_of_shards_gives_what_was_there)
{
    uint64_t seed = random_make().state;
    for (unsigned i = 0; i < 12; i++) any_log(seed + i);
}
