/* Replies and the append-only log: which may leave when. The log is a real one, in a directory of
 * the test's own. */
#include "server/durable.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/server_fixture.h"

#define STEPS_ENOUGH 8

struct logging {
    char directory[32];
    struct server_fixture f;
    char keys[2][16];      /* one on each of two shards */
    char same[16];         /* another one on shard 0 */
    struct session *a, *b; /* of net thread 0 */
};

static uint16_t shard_of(struct logging *l, const char *key)
{
    uint64_t hash;
    return router_shard(&l->f.server->router, bytes_of(key), &hash);
}

/* The count-th key that lives there. */
static void find_key(struct logging *l, uint16_t shard, unsigned count, char out[16])
{
    for (unsigned i = 0;; i++) {
        snprintf(out, 16, "k%u", i);
        if (shard_of(l, out) == shard && count-- == 0) return;
    }
}

static struct logging *make(uint32_t threads)
{
    struct logging *l = calloc(1, sizeof *l);
    cr_assert_not_null(l);
    snprintf(l->directory, sizeof l->directory, "/tmp/shoal-durable-XXXXXX");
    cr_assert_not_null(mkdtemp(l->directory));
    l->f = server_fixture_make_logging(threads, l->directory);
    log_set_level(LOG_NOTHING);
    find_key(l, 0, 0, l->keys[0]);
    find_key(l, 0, 1, l->same);
    if (threads > 1) find_key(l, 1, 0, l->keys[1]);
    l->a = server_fixture_connect(&l->f, 0);
    l->b = server_fixture_connect(&l->f, 0);
    return l;
}

static void drop(struct logging *l)
{
    struct buf names = {.mem = &l->f.server->mem};
    char path[ENV_PATH_BYTES_MAX], directory[64];
    snprintf(directory, sizeof directory, "%s/appendonlydir", l->directory);
    cr_assert(env_list_directory(directory, &names) == OK);
    for (size_t at = 0; at < names.size; at += strlen(names.data + at) + 1) {
        snprintf(path, sizeof path, "%s/%.100s", directory, names.data + at);
        unlink(path);
    }
    buf_clear(&names);
    rmdir(directory);
    rmdir(l->directory);
    server_fixture_free(&l->f);
    free(l);
}

/* A line in which "@" stands for a key of shard 0, "&" for another one, "#" for one of shard 1. */
static void send(struct logging *l, struct session *s, const char *line)
{
    char text[128];
    size_t size = 0;
    for (; *line; line++) {
        const char *key = *line == '@'   ? l->keys[0]
                          : *line == '#' ? l->keys[1]
                          : *line == '&' ? l->same
                                         : NULL;
        if (key)
            size += (size_t)snprintf(text + size, sizeof text - size, "%s", key);
        else
            text[size++] = *line;
    }
    text[size] = '\0';
    server_fixture_send(&l->f, s, text);
}

static void step(struct logging *l, uint16_t worker)
{
    for (unsigned i = 0; i < STEPS_ENOUGH; i++) server_fixture_step(&l->f, worker);
}

static uint64_t txid(const struct logging *l, uint16_t shard)
{
    return l->f.server->shard_workers[shard]->shard.journal.last_txid;
}

static uint64_t last_lsn(const struct logging *l, uint16_t shard)
{
    return l->f.server->shard_workers[shard]->shard.journal.last_lsn;
}

/* ---- stable ---- */

Test(durable, write_is_acknowledged_when_its_record_is_written)
{
    struct logging *l = make(1);
    fault_set("file_write", 1);
    send(l, l->a, "SET @ 1");
    server_fixture_settle(&l->f);
    expect_sent(&l->f, l->a, "");
    server_fixture_pass_ms(&l->f, 1001);
    expect_sent(&l->f, l->a, "+OK\r\n");
    drop(l);
}

Test(durable, while_the_disk_fails_writes_are_refused_and_reads_go_on)
{
    struct logging *l = make(2);
    expect(&l->f, l->b, "SET before 1", "+OK\r\n");
    fault_set("file_write", 1);
    send(l, l->a, "SET @ 1");
    server_fixture_settle(&l->f);
    expect(&l->f, l->b, "SET before 2",
           "-MISCONF Errors writing to the AOF file: Input/output error\r\n");
    expect(&l->f, l->b, "GET before", "$1\r\n1\r\n");
    send(l, l->b, "GET @");
    server_fixture_settle(&l->f);
    expect_sent(&l->f, l->b, "$1\r\n1\r\n");
    server_fixture_pass_ms(&l->f, 1001);
    expect_sent(&l->f, l->a, "+OK\r\n");
    expect(&l->f, l->b, "SET before 2", "+OK\r\n");
    drop(l);
}

/* It has been done and may yet be lost: neither an error nor its reply would be true. */
Test(durable, a_write_that_was_let_in_before_the_disk_failed_waits_for_it_however_long)
{
    struct logging *l = make(1);
    fault_set("file_write", 1);
    send(l, l->a, "SET @ 1");
    server_fixture_settle(&l->f);
    for (int i = 0; i < 40; i++) {
        fault_set("file_write", 1);
        server_fixture_pass_ms(&l->f, 1001);
        expect_sent(&l->f, l->a, "");
        expect(&l->f, l->b, "SET refused 2",
               "-MISCONF Errors writing to the AOF file: Input/output error\r\n");
    }
    server_fixture_pass_ms(&l->f, 1001);
    expect_sent(&l->f, l->a, "+OK\r\n");
    expect(&l->f, l->b, "EXISTS refused", ":0\r\n");
    drop(l);
}

/* What reads while the disk fails may find that a key has expired, which is an effect, too. */
Test(durable, reads_that_find_a_key_expired_go_on_while_the_disk_fails)
{
    struct logging *l = make(1);
    expect(&l->f, l->b, "SET short 1 PX 50", "+OK\r\n");
    fault_set("file_write", 1);
    send(l, l->a, "SET @ 1");
    server_fixture_settle(&l->f);
    server_fixture_pass_ms(&l->f, 100);
    uint64_t before = last_lsn(l, 0);
    expect(&l->f, l->b, "GET short", "$-1\r\n");
    cr_assert_gt(last_lsn(l, 0), before);
    server_fixture_pass_ms(&l->f, 1001);
    expect_sent(&l->f, l->a, "+OK\r\n");
    drop(l);
}

/* ---- R ---- */

Test(durable, reply_waits_for_every_transaction_before_it_on_its_shard)
{
    struct logging *l = make(2);
    send(l, l->a, "MSET @ 1 # 2");
    step(l, 0); /* its part here is stable; that of shard 1 has not run */
    cr_assert_gt(txid(l, 0), 0);
    cr_assert_eq(txid(l, 1), 0);
    send(l, l->b, "SET & 3");
    step(l, 0);
    expect_sent(&l->f, l->b, "");
    step(l, 1);
    step(l, 0);
    expect_sent(&l->f, l->b, "+OK\r\n");
    expect_sent(&l->f, l->a, "+OK\r\n");
    drop(l);
}

Test(durable, transaction_of_another_net_thread_counts_as_well)
{
    struct logging *l = make(2);
    struct session *other = server_fixture_connect(&l->f, 1);
    send(l, other, "MSET @ 1 # 2");
    turn_publish(&l->f.server->workers[1].net);
    while (txid(l, 0) == 0) {
        /* Its own part is behind its net thread, in the same step: it must not have run. */
        thread_here = &l->f.server->workers[1].thread;
        netloop_run_input(&l->f.server->workers[1].net);
        turn_publish(&l->f.server->workers[1].net);
        server_fixture_step(&l->f, 0);
    }
    send(l, l->b, "SET & 3");
    step(l, 0);
    expect_sent(&l->f, l->b, "");
    server_fixture_settle(&l->f);
    expect_sent(&l->f, l->b, "+OK\r\n");
    expect_sent(&l->f, other, "+OK\r\n");
    drop(l);
}

/* ---- what is a transaction ---- */

struct turn_case {
    const char *line;
    bool is_transaction;
};

Test(durable, what_writes_on_several_shards_has_the_same_txid_there)
{
    static const struct turn_case cases[] = {
        {"MSET @ 1 # 2", true},    {"MGET @ #", false},  {"DEL @ #", true},
        {"EXISTS @ #", false},     {"SADD @ 1", false},  {"SINTER @ #", false},
        {"SUNIONSTORE @ #", true}, {"RENAME # @", true}, {"FLUSHALL", true},
        {"SWAPDB 0 1", true},      {"DBSIZE", false},    {"SET @ 5", false},
        {"COPY @ #", true},
    };
    struct logging *l = make(2);
    expect(&l->f, l->b, "SELECT 0", "+OK\r\n");
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t before = txid(l, 0);
        send(l, l->a, cases[i].line);
        server_fixture_settle(&l->f);
        cr_expect_neq(server_fixture_take(&l->f, l->a).size, 0, "%s", cases[i].line);
        cr_expect_eq(txid(l, 0), txid(l, 1), "%s", cases[i].line);
        cr_expect_eq(txid(l, 0) > before, cases[i].is_transaction, "%s", cases[i].line);
    }
    drop(l);
}

Test(durable, exec_over_several_shards_is_one_transaction)
{
    struct logging *l = make(2);
    for (unsigned watched = 0; watched < 2; watched++) {
        uint64_t before = txid(l, 0);
        if (watched) expect(&l->f, l->a, "WATCH something", "+OK\r\n");
        expect(&l->f, l->a, "MULTI", "+OK\r\n");
        send(l, l->a, "INCR @");
        send(l, l->a, "INCR #");
        server_fixture_settle(&l->f);
        server_fixture_take(&l->f, l->a);
        server_fixture_send(&l->f, l->a, "EXEC");
        server_fixture_settle(&l->f);
        struct bytes want = bytes_of(watched ? "*2\r\n:2\r\n:2\r\n" : "*2\r\n:1\r\n:1\r\n");
        server_fixture_expect_sent(&l->f, l->a, want, __LINE__);
        cr_assert_eq(txid(l, 0), txid(l, 1));
        cr_assert_gt(txid(l, 0), before);
    }
    drop(l);
}

Test(durable, with_one_shard_nothing_is_a_transaction)
{
    struct logging *l = make(1);
    expect(&l->f, l->a, "MSET a 1 b 2 c 3", "+OK\r\n");
    expect(&l->f, l->a, "FLUSHALL", "+OK\r\n");
    cr_assert_eq(txid(l, 0), 0);
    cr_assert_gt(last_lsn(l, 0), 1);
    drop(l);
}
