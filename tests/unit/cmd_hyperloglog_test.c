/* PFADD, PFCOUNT and PFMERGE. Differences from redis-server are looked for by tests/compat; here
 * are events, the cached count, and what an error leaves behind. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard_fixture.h"

#define CORRUPT "-INVALIDOBJ Corrupted HLL object detected\r\n"
#define NOT_VALID "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n"
#define WRONG_TYPE "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
#define HEADER "HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80"

static struct shard_fixture f;
static char events[256];

static void note_event(struct shard *sh, uint32_t class, const char *event, const struct key *k)
{
    (void)sh, (void)class;
    size_t used = strlen(events);
    snprintf(events + used, sizeof events - used, "%s:%.*s ", event, (int)k->name.size,
             k->name.data);
}

static const struct shard_hooks hooks = {.notify = note_event};

static void setup(void)
{
    f = shard_fixture_make();
    f.shard->hooks = &hooks;
    f.config->notify_classes = NOTIFY_STRING;
    f.config->hll_sparse_bytes_max = 3000;
    shard_fixture_add_family(&f, &hyperloglog_family);
    shard_fixture_add_family(&f, &list_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_hyperloglog, .init = setup, .fini = teardown);

Test(cmd_hyperloglog, only_what_changes_a_sketch_is_an_event)
{
    expect(&f, "PFADD h", ":1\r\n");
    expect(&f, "PFADD h", ":0\r\n");
    expect(&f, "PFADD h a b", ":1\r\n");
    expect(&f, "PFADD h b a", ":0\r\n");
    expect(&f, "PFCOUNT h", ":2\r\n");
    expect(&f, "PFMERGE m h", "+OK\r\n");
    cr_assert_str_eq(events, "pfadd:h pfadd:h pfadd:m ");
}

Test(cmd_hyperloglog, the_count_is_kept_in_the_value_until_it_changes)
{
    expect(&f, "PFADD h x", ":1\r\n");
    expect(&f, "GETRANGE h 8 15", "$8\r\n\0\0\0\0\0\0\0\x80\r\n");
    expect(&f, "PFCOUNT h", ":1\r\n");
    expect(&f, "GETRANGE h 8 15", "$8\r\n\1\0\0\0\0\0\0\0\r\n");
    expect(&f, "PFADD h x", ":0\r\n");
    expect(&f, "GETRANGE h 8 15", "$8\r\n\1\0\0\0\0\0\0\0\r\n");
    expect(&f, "PFADD h y", ":1\r\n");
    expect(&f, "GETRANGE h 8 15", "$8\r\n\1\0\0\0\0\0\0\x80\r\n");
    expect(&f, "SETRANGE h 8 \"\\x07\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"", ":23\r\n");
    expect(&f, "PFCOUNT h", ":7\r\n");
    expect(&f, "PFCOUNT h none", ":2\r\n");
}

static void add_numbers(const char *key, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        char line[64];
        snprintf(line, sizeof line, "PFADD %s %u", key, i);
        (void)shard_fixture_run_line(&f, line);
    }
}

Test(cmd_hyperloglog, a_union_is_dense_if_one_of_its_parts_is)
{
    add_numbers("big", 0, 5000);
    expect(&f, "STRLEN big", ":12304\r\n");
    expect(&f, "PFADD small a b c", ":1\r\n");
    expect(&f, "PFMERGE small big", "+OK\r\n");
    expect(&f, "STRLEN small", ":12304\r\n");
    expect(&f, "PFADD other a b c", ":1\r\n");
    expect(&f, "PFMERGE big other", "+OK\r\n");
    expect(&f, "STRLEN other", ":27\r\n");
    struct bytes value = shard_fixture_run_line(&f, "GET big");
    char *copy = malloc(value.size);
    size_t size = value.size;
    memcpy(copy, value.data, size);
    value = shard_fixture_run_line(&f, "GET small");
    cr_assert(bytes_equal(value, bytes_make(copy, size)));
    free(copy);
}

Test(cmd_hyperloglog, a_deadline_stays_and_the_encoding_is_raw)
{
    expect(&f, "SET h \"" HEADER "\\x7f\\xff\" EX 100", "+OK\r\n");
    expect(&f, "OBJECT ENCODING h", "$6\r\nembstr\r\n");
    expect(&f, "PFADD h a", ":1\r\n");
    expect(&f, "OBJECT ENCODING h", "$3\r\nraw\r\n");
    expect(&f, "PFMERGE h h", "+OK\r\n");
    expect(&f, "TTL h", ":100\r\n");
    add_numbers("h", 0, 3000);
    expect(&f, "PFADD h b", ":1\r\n");
    expect(&f, "TTL h", ":100\r\n");
    expect(&f, "OBJECT ENCODING h", "$3\r\nraw\r\n");
}

Test(cmd_hyperloglog, other_values_are_refused)
{
    expect(&f, "RPUSH l x", ":1\r\n");
    expect(&f, "SET s HYLL", "+OK\r\n");
    expect(&f, "SET n 12", "+OK\r\n");
    expect(&f, "PFADD h a", ":1\r\n");
    expect(&f, "PFADD l a", WRONG_TYPE);
    expect(&f, "PFCOUNT h l", WRONG_TYPE);
    expect(&f, "PFMERGE l h", WRONG_TYPE);
    expect(&f, "PFADD s a", NOT_VALID);
    expect(&f, "PFCOUNT n", NOT_VALID);
    expect(&f, "PFMERGE h n", NOT_VALID);
    expect(&f, "PFCOUNT h", ":1\r\n");
}

Test(cmd_hyperloglog, an_error_half_way_changes_nothing)
{
    /* The registers end at 14,932 (0x3a53 + 1): y is behind that (14,932), q before (5,552). */
    expect(&f, "SET h \"" HEADER "\\x7a\\x53\"", "+OK\r\n");
    expect(&f, "PFADD h q y", CORRUPT);
    expect(&f, "GETRANGE h 16 -1", "$2\r\n\x7a\x53\r\n");
    expect(&f, "PFCOUNT h", CORRUPT);
    expect(&f, "PFMERGE m h", CORRUPT);
    expect(&f, "EXISTS m", ":0\r\n");
    expect(&f, "PFADD h q", ":1\r\n");
}

Test(cmd_hyperloglog, registers_that_no_hash_fills_make_an_estimate_without_end)
{
    char line[64 + 4 * 12288] =
        "SET h \"HYLL\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80";
    for (unsigned i = 0; i < 12288; i++) strcat(line + 50, "\\xff");
    strcat(line, "\"");
    expect(&f, line, "+OK\r\n");
    expect(&f, "PFCOUNT h", ":-9223372036854775808\r\n");
    expect(&f, "PFADD h a", ":0\r\n");
}

Test(cmd_hyperloglog, pfdebug_shows_how_a_sketch_is_stored)
{
    expect(&f, "PFADD h a b c", ":1\r\n");
    expect(&f, "PFCOUNT h", ":3\r\n");
    expect(&f, "PFDEBUG ENCODING h", "+sparse\r\n");
    expect(&f, "PFDEBUG decode h", "$44\r\nZ:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603\r\n");
    expect(&f, "PFDEBUG TODENSE h", ":1\r\n");
    expect(&f, "PFDEBUG TODENSE h", ":0\r\n");
    expect(&f, "PFDEBUG ENCODING h", "+dense\r\n");
    expect(&f, "PFDEBUG DECODE h", "-ERR HLL encoding is not sparse\r\n");
    expect(&f, "PFCOUNT h", ":3\r\n");
    expect(&f, "STRLEN h", ":12304\r\n");
    expect(&f, "PFDEBUG FOO h", "-ERR Unknown PFDEBUG subcommand 'FOO'\r\n");
    expect(&f, "PFDEBUG ENCODING none", "-ERR The specified key does not exist\r\n");
}

Test(cmd_hyperloglog, pfdebug_getreg_gives_all_registers_of_a_dense_sketch)
{
    expect(&f, "PFADD h a", ":1\r\n");
    struct bytes reply = shard_fixture_run_line(&f, "PFDEBUG GETREG h");
    static const char head[] = "*16384\r\n";
    cr_assert_eq(reply.size, sizeof head - 1 + 4 * 16384);
    cr_assert_eq(memcmp(reply.data, head, sizeof head - 1), 0);
    unsigned set = 0;
    for (size_t i = sizeof head - 1; i < reply.size; i += 4) set += reply.data[i + 1] != '0';
    cr_assert_eq(set, 1);
    expect(&f, "PFDEBUG ENCODING h", "+dense\r\n");
}

Test(cmd_hyperloglog, pfdebug_reads_no_farther_than_a_corrupt_sketch_goes)
{
    expect(&f, "SET h \"" HEADER "\\x05\\x80\\xff\\x41\\x00\\x7f\"", "+OK\r\n");
    expect(&f, "PFDEBUG DECODE h", "$22\r\nz:6 v:1,1 v:32,4 Z:257\r\n");
    expect(&f, "PFDEBUG TODENSE h", CORRUPT);
    expect(&f, "PFDEBUG GETREG h", CORRUPT);
    expect(&f, "SET h \"" HEADER "\"", "+OK\r\n");
    expect(&f, "PFDEBUG DECODE h", "$0\r\n\r\n");
    expect(&f, "SET h x", "+OK\r\n");
    expect(&f, "PFDEBUG ENCODING h", NOT_VALID);
    expect(&f, "RPUSH l x", ":1\r\n");
    expect(&f, "PFDEBUG ENCODING l", WRONG_TYPE);
}

Test(cmd_hyperloglog, the_self_test_passes)
{
    expect(&f, "PFSELFTEST", "+OK\r\n");
    f.config->hll_sparse_bytes_max = 100;
    expect(&f, "PFSELFTEST", "+OK\r\n");
}
