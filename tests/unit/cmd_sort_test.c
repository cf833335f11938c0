/* SORT. Replies are compared with redis-server's by tests/compat; here are the options as they are
 * read, the keys that a coordinator asks for, events, and what happens without memory. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "shard/cmd/families.h"
#include "shard/cmd/sort_args.h"
#include "shard/notify.h"
#include "tests/unit/random.h"
#include "tests/unit/shard_fixture.h"

static struct shard_fixture f;
static char events[512];

static void on_event(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    cr_assert(sh && class);
    size_t size = strlen(events);
    snprintf(events + size, sizeof events - size, "%s %.*s;", event, (int)k->name.size,
             k->name.data);
}

static const struct shard_hooks hooks = {.notify = on_event};

static void setup(void)
{
    f = shard_fixture_make();
    f.config->list_max_listpack_size = -2;
    f.config->set_max_intset_entries = 512;
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 128;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
    shard_fixture_add_family(&f, &list_family);
    shard_fixture_add_family(&f, &set_family);
    shard_fixture_add_family(&f, &zset_family);
    shard_fixture_add_family(&f, &hash_family);
    shard_fixture_add_family(&f, &hash_expire_family);
    shard_fixture_add_family(&f, &sort_family);
    shard_fixture_add_family(&f, &internal_family);
}

static void teardown(void)
{
    fault_set("mem_try_alloc", 0);
    shard_fixture_free(&f);
}

TestSuite(cmd_sort, .init = setup, .fini = teardown);

Test(cmd_sort, numbers_and_texts_are_sorted_up_and_down)
{
    expect(&f, "RPUSH l 3 10 2 1.5", ":4\r\n");
    expect(&f, "SORT l", "*4\r\n$3\r\n1.5\r\n$1\r\n2\r\n$1\r\n3\r\n$2\r\n10\r\n");
    expect(&f, "SORT l DESC LIMIT 1 2", "*2\r\n$1\r\n3\r\n$1\r\n2\r\n");
    expect(&f, "SORT_RO l ALPHA", "*4\r\n$3\r\n1.5\r\n$2\r\n10\r\n$1\r\n2\r\n$1\r\n3\r\n");
    expect(&f, "SORT_RO l STORE x", "-ERR syntax error\r\n");
    expect(&f, "RPUSH l x", ":5\r\n");
    expect(&f, "SORT l STORE d", "-ERR One or more scores can't be converted into double\r\n");
    expect(&f, "EXISTS d", ":0\r\n");
    expect(&f, "SORT none", "*0\r\n");
    expect(&f, "SET s 1", "+OK\r\n");
    expect(&f, "SORT s", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
}

Test(cmd_sort, values_of_other_keys_weigh_and_are_shown)
{
    expect(&f, "RPUSH l a b c", ":3\r\n");
    expect(&f, "MSET w_a 3 w_b 1", "+OK\r\n");
    expect(&f, "HSET h_a f x", ":1\r\n");
    expect(&f, "SORT l BY w_* GET # GET h_*->f GET w_*",
           "*9\r\n$1\r\nc\r\n$-1\r\n$-1\r\n$1\r\nb\r\n$-1\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\nx\r\n$"
           "1\r\n3\r\n");
    expect(&f, "SORT l BY w_* ALPHA DESC", "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
}

Test(cmd_sort, fields_that_have_expired_are_not_there)
{
    expect(&f, "RPUSH l 1", ":1\r\n");
    expect(&f, "HSET h_1 f x g y", ":2\r\n");
    expect(&f, "HPEXPIRE h_1 100 FIELDS 1 f", "*1\r\n:1\r\n");
    shard_fixture_pass_ms(&f, 200);
    expect(&f, "SORT l GET h_*->f GET h_*->g", "*2\r\n$-1\r\n$1\r\ny\r\n");
}

Test(cmd_sort, a_sorted_set_that_is_not_sorted_keeps_its_order)
{
    expect(&f, "ZADD z 3 a 1 b 2 c", ":3\r\n");
    expect(&f, "SORT z BY nosort", "*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n");
    expect(&f, "SORT z BY nosort DESC LIMIT 1 2", "*2\r\n$1\r\nc\r\n$1\r\nb\r\n");
    expect(&f, "OBJECT ENCODING z", "$8\r\nlistpack\r\n");
}

Test(cmd_sort, a_stored_result_replaces_its_source)
{
    expect(&f, "RPUSH l 3 1 2", ":3\r\n");
    expect(&f, "SORT l STORE l", ":3\r\n");
    expect(&f, "LRANGE l 0 -1", "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    expect(&f, "SORT l LIMIT 5 1 STORE l", ":0\r\n");
    expect(&f, "EXISTS l", ":0\r\n");
}

Test(cmd_sort, events_say_what_was_stored_and_what_went)
{
    f.config->notify_classes = NOTIFY_ALL;
    f.shard->hooks = &hooks;
    shard_fixture_run_line(&f, "SADD s 3 1");
    events[0] = 0;
    shard_fixture_run_line(&f, "SORT s STORE d");
    shard_fixture_run_line(&f, "SORT s");
    shard_fixture_run_line(&f, "SORT none STORE d");
    shard_fixture_run_line(&f, "SORT none STORE d");
    cr_assert_str_eq(events, "sortstore d;del d;", "%s", events);
}

/* ---- patterns and keys ---- */

static bool has_external(const char *line)
{
    struct buf storage = {.mem = &f.shard->mem};
    struct bytes argv[24];
    int argc = text_split_words(bytes_of(line), &storage, argv, 24);
    char name[32] = "";
    memcpy(name, argv[0].data, argv[0].size);
    bool is = sort_has_external_keys(shard_fixture_row(&f, name), argv, (uint32_t)argc);
    buf_clear(&storage);
    return is;
}

Test(cmd_sort, only_patterns_with_an_asterisk_lead_to_other_keys)
{
    cr_expect(has_external("sort l BY w_*"));
    cr_expect(has_external("sort_ro l GET # GET h_*->f"));
    cr_expect(has_external("sort l BY nosort GET *"));
    cr_expect_not(has_external("sort l"));
    cr_expect_not(has_external("sort l BY nosort GET # STORE x*"));
    cr_expect_not(has_external("sort l BY w_* BY nosort"));
    cr_expect_not(has_external("sort l BY w_* junk"));
    cr_expect_not(has_external("sort_ro l BY w_* STORE x"));
    cr_expect_not(has_external("zrange l w_* w_*"));
}

Test(cmd_sort, a_coordinator_is_told_the_keys_that_are_needed)
{
    expect(&f, "RPUSH l a 7", ":2\r\n");
    expect(&f, "sort_keys l BY w_* GET # GET h_*_x->f DESC",
           "*4\r\n$3\r\nw_a\r\n$5\r\nh_a_x\r\n$3\r\nw_7\r\n$5\r\nh_7_x\r\n");
    expect(&f, "sort_keys none BY w_*", "*0\r\n");
    expect(&f, "SET s 1", "+OK\r\n");
    expect(&f, "sort_keys s BY w_*", "*0\r\n");
}

/* As in a parcel, whose replies have memory already. */
static enum err run_with_lent_chunk(uint32_t argc, const struct bytes *argv)
{
    static union {
        struct chunk chunk;
        char room[sizeof(struct chunk) + 256];
    } lent;
    struct bytes copy[16];
    struct reply out;
    memcpy(copy, argv, argc * sizeof *argv);
    lent.chunk = (struct chunk){.capacity = 256, .home = CHUNK_LENT};
    reply_init(&out, &lent.chunk, &f.shard->mem);
    struct request rq = {
        .command = shard_fixture_row(&f, "sort"), .argv = copy, .argc = argc, .resp = 2};
    return rq.command->on_shard(f.shard, &rq, &out) == OK && lent.chunk.data[0] == ':' ? OK
                                                                                       : ERR_ALLOC;
}

Test(cmd_sort, without_memory_nothing_is_stored)
{
    char line[64];
    for (int i = 0; i < 300; i++) {
        snprintf(line, sizeof line, "RPUSH l %d", (i * 7919) % 1000);
        shard_fixture_run_line(&f, line);
    }
    expect(&f, "SET d old", "+OK\r\n");
    const struct bytes argv[] = {
        BYTES_LITERAL("SORT"), BYTES_LITERAL("l"),     BYTES_LITERAL("BY"),
        BYTES_LITERAL("w_*"),  BYTES_LITERAL("ALPHA"), BYTES_LITERAL("GET"),
        BYTES_LITERAL("#"),    BYTES_LITERAL("STORE"), BYTES_LITERAL("d")};
    bool done = false;
    for (int at = 1; !done; at++) {
        cr_assert_lt(at, 1000);
        fault_set("mem_try_alloc", at);
        done = run_with_lent_chunk(ARRAY_LEN(argv), argv) == OK;
        fault_set("mem_try_alloc", 0);
        if (!done) expect(&f, "GET d", "$3\r\nold\r\n");
    }
    expect(&f, "LLEN d", ":300\r\n");
}

/* ---- against the C library ---- */

static int by_number(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

Test(cmd_sort, many_elements_come_out_in_order)
{
    struct random r = random_make();
    static long numbers[5000];
    char line[64], *text = malloc(200000);
    for (int i = 0; i < 5000; i++) {
        numbers[i] = (long)random_below(&r, 1000000) - 500000;
        snprintf(line, sizeof line, "LPUSH l %ld", numbers[i]);
        shard_fixture_run_line(&f, line);
    }
    qsort(numbers, 5000, sizeof *numbers, by_number);
    char *p = text + sprintf(text, "*5000\r\n");
    for (int i = 0; i < 5000; i++) {
        int size = snprintf(line, sizeof line, "%ld", numbers[i]);
        p += sprintf(p, "$%d\r\n%s\r\n", size, line);
    }
    cr_assert(bytes_equal(shard_fixture_run_line(&f, "SORT l"), bytes_of(text)));
    free(text);
}
