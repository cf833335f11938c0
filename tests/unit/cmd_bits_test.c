/* The bitmap commands. Differences from redis-server are looked for by tests/compat; here are
 * BITFIELD against a model that works bit by bit, events, limits, and lack of memory. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "random.h"
#include "shard/cmd/families.h"
#include "shard/notify.h"
#include "shard_fixture.h"

static struct shard_fixture f;
static char events[256];

static void note_event(UNUSED struct shard *sh, uint32_t class, const char *event,
                       const struct key *k)
{
    size_t used = strlen(events);
    snprintf(events + used, sizeof events - used, "%s%s:%.*s ", class == NOTIFY_STRING ? "$" : "g",
             event, (int)k->name.size, k->name.data);
}

static const struct shard_hooks hooks = {.notify = note_event};

static void setup(void)
{
    f = shard_fixture_make();
    f.shard->hooks = &hooks;
    f.config->notify_classes = NOTIFY_STRING | NOTIFY_GENERIC;
    shard_fixture_add_family(&f, &bits_family);
    shard_fixture_add_family(&f, &list_family);
}

static void teardown(void)
{
    shard_fixture_free(&f);
}

TestSuite(cmd_bits, .init = setup, .fini = teardown);

/* Runs the command; the events are exactly those. */
static void expect_events(const char *line, const char *expected)
{
    events[0] = '\0';
    (void)shard_fixture_run_line(&f, line);
    cr_assert_str_eq(events, expected, "%s: '%s' instead of '%s'", line, events, expected);
}

Test(cmd_bits, a_bit_that_does_not_change_is_no_event)
{
    expect_events("SETBIT a 7 1", "$setbit:a ");
    expect_events("SETBIT a 7 1", "");
    expect_events("SETBIT a 0 0", "");
    expect_events("SETBIT a 8 0", "$setbit:a ");
    expect_events("BITFIELD a SET u8 0 1", "");
    expect_events("BITFIELD a SET u8 0 2 SET u8 0 3", "$setbit:a ");
    expect_events("BITFIELD a GET u8 0", "");
    expect_events("BITFIELD a SET u8 100 0", "$setbit:a ");
    expect_events("BITFIELD a OVERFLOW FAIL SET u8 1000 256", "");
    expect_events("BITOP NOT b a", "$set:b ");
    expect_events("BITOP AND b none", "gdel:b ");
    expect_events("BITOP AND b none", "");
}

static uint64_t changes(void)
{
    return counter_read(&f.shard->counters.changes);
}

Test(cmd_bits, what_changes_no_bit_is_no_change_for_watchers_and_the_log)
{
    expect(&f, "SETBIT a 7 1", ":0\r\n");
    uint64_t before = changes();
    expect(&f, "SETBIT a 7 1", ":1\r\n");
    expect(&f, "SETBIT a 0 0", ":0\r\n");
    expect(&f, "BITFIELD a SET u8 0 1 GET u4 4 INCRBY u8 0 0", "*3\r\n:1\r\n:1\r\n:1\r\n");
    expect(&f, "BITFIELD a OVERFLOW FAIL INCRBY u4 4 100 SET u1 0 0", "*2\r\n$-1\r\n:0\r\n");
    cr_assert_eq(changes(), before);
    expect(&f, "BITFIELD a SET u8 0 1 INCRBY u8 0 1 INCRBY u8 0 -1", "*3\r\n:1\r\n:2\r\n:1\r\n");
    cr_assert_gt(changes(), before);
}

Test(cmd_bits, offsets_end_where_strings_end)
{
    f.config->proto_max_bulk_bytes = 100;
    expect(&f, "SETBIT a 799 1", ":0\r\n");
    expect(&f, "SETBIT a 800 1", "-ERR bit offset is not an integer or out of range\r\n");
    expect(&f, "GETBIT a 800", "-ERR bit offset is not an integer or out of range\r\n");
    expect(&f, "BITFIELD a GET u8 #99", "*1\r\n:1\r\n");
    expect(&f, "BITFIELD a GET u8 #100", "-ERR bit offset is not an integer or out of range\r\n");
    /* The field may be longer than the string may be. */
    expect(&f, "BITFIELD a SET u8 799 255", "*1\r\n:128\r\n");
    expect(&f, "STRLEN a", ":101\r\n");
}

Test(cmd_bits, an_offset_that_overflows_by_its_unit_is_refused)
{
    expect(&f, "BITFIELD a GET i8 #2305843009213693952",
           "-ERR bit offset is not an integer or out of range\r\n");
    expect(&f, "BITFIELD a GET i64 #288230376151711744",
           "-ERR bit offset is not an integer or out of range\r\n");
}

Test(cmd_bits, saturation_goes_to_the_nearest_end_however_far_the_number_is)
{
    expect(&f, "BITFIELD a OVERFLOW SAT SET i8 0 -9223372036854775808 GET i8 0",
           "*2\r\n:0\r\n:-128\r\n");
    expect(&f, "BITFIELD a OVERFLOW SAT SET i63 0 -9223372036854775808 GET i63 0",
           "*2\r\n:-4611686018427387904\r\n:-4611686018427387904\r\n");
    expect(&f, "BITFIELD a OVERFLOW SAT SET i8 0 9223372036854775807 GET i8 0",
           "*2\r\n:-128\r\n:127\r\n");
}

Test(cmd_bits, a_wrong_operation_leaves_those_before_it_undone)
{
    expect(&f, "BITFIELD a SET u8 0 1 SET u65 0 1",
           "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported "
           "but i64 is.\r\n");
    expect(&f, "EXISTS a", ":0\r\n");
    expect(&f, "BITFIELD_RO a SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand\r\n");
    expect(&f, "EXISTS a", ":0\r\n");
}

Test(cmd_bits, what_was_edited_is_raw)
{
    expect(&f, "SET n 12", "+OK\r\n");
    expect(&f, "GETBIT n 3", ":1\r\n");
    expect(&f, "BITFIELD n GET u8 0", "*1\r\n:49\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nint\r\n");
    expect(&f, "BITFIELD n OVERFLOW FAIL SET u8 0 300", "*1\r\n$-1\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nraw\r\n");
    expect(&f, "BITOP OR n n none", ":2\r\n");
    expect(&f, "GET n", "$2\r\n12\r\n");
    expect(&f, "OBJECT ENCODING n", "$3\r\nraw\r\n");
}

Test(cmd_bits, a_result_may_take_the_place_of_a_source_and_of_any_type)
{
    expect(&f, "SET a \"\\xf0\\x0f\"", "+OK\r\n");
    expect(&f, "EXPIRE a 100", ":1\r\n");
    expect(&f, "BITOP XOR a a a", ":2\r\n");
    expect(&f, "BITCOUNT a", ":0\r\n");
    expect(&f, "TTL a", ":-1\r\n");
    expect(&f, "RPUSH l x", ":1\r\n");
    expect(&f, "BITOP NOT l a", ":2\r\n");
    expect(&f, "BITCOUNT l", ":16\r\n");
}

Test(cmd_bits, a_search_for_zero_goes_on_behind_a_string_that_has_no_end_given)
{
    expect(&f, "SET a \"\\xff\\xff\\xff\"", "+OK\r\n");
    expect(&f, "BITPOS a 0", ":24\r\n");
    expect(&f, "BITPOS a 0 2", ":24\r\n");
    expect(&f, "BITPOS a 0 0 -1", ":-1\r\n");
    expect(&f, "BITPOS a 0 3", ":-1\r\n");
    expect(&f, "BITPOS a 1 9 -1 BIT", ":9\r\n");
    expect(&f, "BITPOS none 0", ":0\r\n");
    expect(&f, "SET e \"\"", "+OK\r\n");
    expect(&f, "BITPOS e 0", ":-1\r\n");
}

/* ---- BITFIELD against a model ---- */

#define MODEL_BITS 256

struct model {
    bool bits[MODEL_BITS + 64];
};

__extension__ typedef __int128 wide;

static wide model_get(const struct model *m, unsigned at, unsigned width, bool is_signed)
{
    wide value = 0;
    for (unsigned i = 0; i < width; i++) value = 2 * value + m->bits[at + i];
    return is_signed && m->bits[at] ? value - ((wide)1 << width) : value;
}

static void model_set(struct model *m, unsigned at, unsigned width, wide value)
{
    for (unsigned i = 0; i < width; i++) m->bits[at + i] = value >> (width - 1 - i) & 1;
}

/* 0: wrap, 1: saturate, 2: fail. False: failed. */
static bool model_fit(wide *value, unsigned width, bool is_signed, unsigned overflow)
{
    wide size = (wide)1 << width, low = is_signed ? -size / 2 : 0, high = low + size - 1;
    if (*value >= low && *value <= high) return true;
    if (overflow == 2) return false;
    if (overflow == 1) {
        *value = *value < low ? low : high;
        return true;
    }
    while (*value < low || *value > high) {
        wide away = *value > high ? *value - high : low - *value;
        wide turns = (away + size - 1) / size;
        *value += *value > high ? -turns * size : turns * size;
    }
    return true;
}

static int64_t random_number(struct random *r)
{
    return (int64_t)random_next(r) >> random_below(r, 64);
}

Test(cmd_bits, bitfield_does_what_a_model_does_bit_by_bit)
{
    static const char *const overflows[] = {"WRAP", "SAT", "FAIL"};
    struct random r = random_make();
    struct model m = {0};
    for (unsigned step = 0; step < 50000; step++) {
        bool is_signed = random_below(&r, 2);
        unsigned width = 1 + (unsigned)random_below(&r, is_signed ? 64 : 63);
        unsigned at = (unsigned)random_below(&r, MODEL_BITS),
                 overflow = (unsigned)random_below(&r, 3);
        bool is_set = random_below(&r, 2);
        int64_t number = random_number(&r);
        wide old = model_get(&m, at, width, is_signed);
        wide value = is_set ? (is_signed ? (wide)number : (wide)(uint64_t)number) : old + number;
        char line[160], expected[64];
        snprintf(line, sizeof line, "BITFIELD k OVERFLOW %s %s %c%u %u %lld", overflows[overflow],
                 is_set ? "SET" : "INCRBY", is_signed ? 'i' : 'u', width, at, (long long)number);
        if (model_fit(&value, width, is_signed, overflow)) {
            model_set(&m, at, width, value);
            snprintf(expected, sizeof expected, "*1\r\n:%lld\r\n",
                     (long long)(is_set ? old : value));
        } else {
            snprintf(expected, sizeof expected, "*1\r\n$-1\r\n");
        }
        shard_fixture_expect(&f, line, bytes_of(expected), __LINE__);
        snprintf(line, sizeof line, "BITFIELD_RO k GET %c%u %u", is_signed ? 'i' : 'u', width, at);
        snprintf(expected, sizeof expected, "*1\r\n:%lld\r\n",
                 (long long)model_get(&m, at, width, is_signed));
        shard_fixture_expect(&f, line, bytes_of(expected), __LINE__);
    }
}
