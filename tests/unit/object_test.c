#include <criterion/criterion.h>
#include <stdio.h>

#include "base/text.h"
#include "random.h"
#include "shard/cmd/families.h"
#include "shard/lazyfree.h"
#include "shard/object.h"
#include "shard_fixture.h"

/* Commands come from tables of formats. */
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static struct mem mem;

static void setup(void)
{
    mem_init(&mem, "test");
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(object, .init = setup, .fini = teardown);

static const struct bytes key = {"key", 3};

static struct entry *thaw(struct bytes frozen)
{
    return object_try_thaw(&mem, frozen, key, 0);
}

static void expect_thawed(struct bytes frozen, struct bytes text, enum encoding encoding)
{
    char scratch[TEXT_I64_BYTES_MAX];
    struct entry *e = thaw(frozen);
    cr_assert(e);
    cr_assert(bytes_equal(entry_string(e, scratch), text));
    cr_assert_eq(entry_encoding(e), encoding);
    object_free(&mem, e);
}

#define B(text) BYTES_LITERAL(text)

Test(object, text_is_encoded_as_redis_encodes_it)
{
    static const struct {
        const char *text;
        enum encoding encoding;
    } cases[] = {
        {"0", ENCODING_INT},
        {"-1", ENCODING_INT},
        {"9223372036854775807", ENCODING_INT},
        {"-9223372036854775808", ENCODING_INT},
        {"9223372036854775808", ENCODING_EMBSTR},
        {"-0", ENCODING_EMBSTR},
        {"+1", ENCODING_EMBSTR},
        {"01", ENCODING_EMBSTR},
        {" 1", ENCODING_EMBSTR},
        {"1.0", ENCODING_EMBSTR},
        {"", ENCODING_EMBSTR},
        {"00000000000000000000000000000000000000000001", ENCODING_EMBSTR}, /* 44 */
        {"000000000000000000000000000000000000000000001", ENCODING_RAW},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t integer;
        cr_assert_eq(object_string_encoding(bytes_of(cases[i].text), &integer), cases[i].encoding,
                     "%s", cases[i].text);
    }
}

Test(object, a_frozen_string_is_what_redis_writes_to_an_rdb_file)
{
    static const struct {
        const char *text;
        struct bytes frozen;
    } cases[] = {
        {"", B("\0\0")},
        {"abc", B("\0\3abc")},
        {"10", B("\0\xc0\x0a")},
        {"-128", B("\0\xc0\x80")},
        {"128", B("\0\xc1\x80\0")},
        {"-32768", B("\0\xc1\0\x80")},
        {"32768", B("\0\xc2\0\x80\0\0")},
        {"-2147483648", B("\0\xc2\0\0\0\x80")},
        {"2147483648", B("\0\x0a"
                         "2147483648")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes text = bytes_of(cases[i].text);
        struct entry *e = object_try_make_string(&mem, key, text, 0);
        struct buf out = {.mem = &mem};
        struct rdb_writer writer = {.out = &out, .packing = RDB_PACK_INTEGERS};
        cr_assert(object_try_freeze(e, &writer));
        cr_assert(bytes_equal(buf_view(&out), cases[i].frozen), "%s", cases[i].text);
        expect_thawed(buf_view(&out), text, entry_encoding(e));
        buf_clear(&out);
        object_free(&mem, e);
    }
}

Test(object, strings_of_every_length_form_come_back_with_their_encoding)
{
    static const size_t sizes[] = {0, 1, 44, 45, 63, 64, 16383, 16384, 100000};
    static const enum encoding encodings[] = {ENCODING_RAW, ENCODING_EMBSTR};
    for (size_t i = 0; i < ARRAY_LEN(sizes) * 2; i++) {
        size_t size = sizes[i / 2];
        enum encoding encoding = encodings[i % 2];
        if (encoding == ENCODING_EMBSTR && size > ENTRY_EMBSTR_BYTES_MAX) continue;
        char *text = mem_alloc(&mem, size + 1);
        memset(text, '1', size + 1); /* Looks like an integer while short. */
        struct entry *e = entry_try_make_string(&mem, key, bytes_make(text, size), encoding, 0);
        struct buf out = {.mem = &mem};
        cr_assert(object_try_freeze(e, &(struct rdb_writer){.out = &out}));
        expect_thawed(buf_view(&out), bytes_make(text, size), encoding);
        for (size_t cut = 0; cut < out.size; cut += 1 + out.size / 200) {
            cr_assert_null(thaw(bytes_make(out.data, cut)));
        }
        buf_append(&out, "x", 1);
        cr_assert_null(thaw(buf_view(&out)));
        buf_clear(&out);
        object_free(&mem, e);
        mem_free(&mem, text, size + 1);
    }
}

Test(object, compressed_strings_of_redis_are_read)
{
    /* 'a', then 19 more by repetition at distance 1. */
    expect_thawed(B("\0\xc3\x05\x14\x00"
                    "a\xe0\x0a\x00"),
                  B("aaaaaaaaaaaaaaaaaaaa"), ENCODING_EMBSTR);
}

Test(object, malformed_bytes_give_nothing_and_reserve_nothing)
{
    static const struct bytes cases[] = {
        B(""),
        B("\0"),
        B("\0\5abc"),
        B("\0\3abcd"),
        B("\0\x80\xff\xff\xff\xff"
          "abc"),
        B("\0\x81\xff\xff\xff\xff\xff\xff\xff\xff"
          "abc"),
        B("\0\x82"
          "abc"),
        B("\0\xc0"),
        B("\0\xc4\x01"),
        B("\0\xff"),
        B("\0\xc3\x05\x15\x00"
          "a\xe0\x0a\x00"), /* too short */
        B("\0\xc3\x05\x13\x00"
          "a\xe0\x0a\x00"), /* too long */
        B("\0\xc3\x05\x14\x00"
          "a\xe0\x0a\x01"), /* before the start */
        B("\0\xc3\x05\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00"
          "a\xe0\x0a\x00"),
        B("\0\xc3\x02\x14\x05"
          "a"),         /* literals that are not there */
        B("\xf1\3abc"), /* never an explicit int */
        B("\xf2\x2d"
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), /* embstr of 45 */
        B("\x63\3abc"),
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) cr_assert_null(thaw(cases[i]), "case %zu", i);
    cr_assert_eq(mem_live_bytes(&mem), 0);
    fault_set("mem_try_alloc", 1);
    cr_assert_null(thaw(B("\0\xc3\x05\x80\x00\x10\x00\x00\x00"
                          "a\xe0\x0a\x00")));
    cr_assert(fault_hit("mem_try_alloc")); /* Still armed: nobody has asked for memory. */
}

Test(object, random_bytes_never_do_harm)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 100000; round++) {
        char bytes[40];
        size_t size = random_below(&r, sizeof bytes);
        for (size_t i = 0; i < size; i++) bytes[i] = (char)random_next(&r);
        if (size > 0) bytes[0] = (char)(random_below(&r, 4) ? 0 : 0xf0 + random_below(&r, 4));
        if (size > 1 && random_below(&r, 2)) bytes[1] = (char)0xc3;
        if (size > 3 && random_below(&r, 2)) bytes[2] = (char)(size - 4), bytes[3] = 30;
        struct entry *e = thaw(bytes_make(bytes, size));
        if (e) object_free(&mem, e);
    }
}

Test(object, a_copy_has_the_encoding_value_and_clock_of_the_original)
{
    static const struct bytes texts[] = {B(""), B("12"), B("abc")};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct entry *e = object_try_make_string(&mem, key, texts[i], 5);
        memset(e->clock, 9, sizeof e->clock);
        struct entry *copy = object_try_copy(&mem, e, B("another key"), 6);
        char a[TEXT_I64_BYTES_MAX], b[TEXT_I64_BYTES_MAX];
        cr_assert(bytes_equal(entry_string(e, a), entry_string(copy, b)));
        cr_assert_eq(entry_encoding(copy), entry_encoding(e));
        cr_assert(entry_has_key(copy, B("another key")));
        cr_assert_eq(entry_deadline_ms(copy), 6);
        cr_assert_eq(copy->clock[1], 9);
        object_free(&mem, e);
        object_free(&mem, copy);
    }
}

Test(object, bytes_are_what_the_allocator_gave)
{
    static char text[5000];
    for (size_t size = 0; size < sizeof text; size += 33) {
        struct entry *e = entry_try_make_string(&mem, key, bytes_make(text, size), ENCODING_RAW, 0);
        cr_assert_eq(object_bytes(e, 0), mem_live_bytes(&mem));
        cr_assert_eq(object_effort(e), 1);
        object_free(&mem, e);
    }
}

Test(object, copying_and_freezing_fail_cleanly_without_memory)
{
    static char text[5000];
    struct entry *e =
        entry_try_make_string(&mem, key, bytes_make(text, sizeof text), ENCODING_RAW, 0);
    uint64_t before = mem_live_bytes(&mem);
    for (unsigned count = 1; count <= 2; count++) {
        fault_set("mem_try_alloc", count);
        cr_assert_null(object_try_copy(&mem, e, key, 0));
    }
    struct buf out = {.mem = &mem};
    fault_set("mem_try_alloc", 1);
    cr_assert_not(object_try_freeze(e, &(struct rdb_writer){.out = &out}));
    fault_set("mem_try_alloc", 0);
    cr_assert_eq(mem_live_bytes(&mem), before);
    object_free(&mem, e);
}

Test(object, every_collection_answers_all_questions_that_the_shard_asks)
{
    for (enum type t = TYPE_STRING; t < TYPE_COUNT; t++) {
        const struct type_ops *ops = object_ops(t);
        if (!ops) continue;
        cr_assert(ops->free_some && ops->effort && ops->copy && ops->bytes, "%s", type_name(t));
        cr_assert(ops->freeze && ops->thaw && ops->digest, "%s", type_name(t));
    }
}

/* ---- MEMORY USAGE ---- */

/* The line, with a number that counts up twice at its end, `count` times. */
struct usage_case {
    const char *form;
    unsigned count;
};

static struct shard_fixture usage_fixture(void)
{
    struct shard_fixture f = shard_fixture_make();
    const struct command_family *families[] = {&list_family, &set_family,         &zset_family,
                                               &hash_family, &hash_expire_family, &stream_family};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) shard_fixture_add_family(&f, families[i]);
    f.config->set_max_intset_entries = 512;
    f.config->set_max_listpack_entries = f.config->zset_max_listpack_entries = 128;
    f.config->set_max_listpack_value_bytes = f.config->zset_max_listpack_value_bytes = 64;
    f.config->hash_max_listpack_entries = 128;
    f.config->hash_max_listpack_value_bytes = 64;
    shard_fixture_run_line(&f, "SET first x EX 1000"); /* makes the table */
    return f;
}

static void run_case(struct shard_fixture *f, const struct usage_case *c)
{
    char line[2000];
    for (unsigned i = 0; c->form && i < c->count; i++) {
        snprintf(line, sizeof line, c->form, i, i);
        struct bytes reply = shard_fixture_run_line(f, line);
        cr_assert_neq(reply.data[0], '-', "%s: %.*s", line, (int)reply.size, reply.data);
    }
}

/* What the allocator gives for the key "k". The first time the shard may keep some for itself. */
static void expect_usage(const struct usage_case *cases, size_t count)
{
    struct shard_fixture f = usage_fixture();
    for (size_t i = 0; i < count; i++) run_case(&f, &cases[i]);
    shard_fixture_run_line(&f, "DEL k");
    while (free_list_pending(f.shard->free_list)) free_list_step(f.shard);
    uint64_t before = mem_live_bytes(&f.shard->mem);
    for (size_t i = 0; i < count; i++) run_case(&f, &cases[i]);
    uint64_t allocated = mem_live_bytes(&f.shard->mem) - before;

    struct bytes b = BYTES_LITERAL("k");
    struct key k = {b, bytes_hash(b, f.shard->keys.seed), 0};
    const struct entry *e = keyspace_peek(f.shard, &k);
    uint64_t all = object_bytes(e, 0), sampled = object_bytes(e, 5);
    cr_expect_eq(all, allocated, "%s: %lu of %lu bytes", cases->form, (unsigned long)all,
                 (unsigned long)allocated);
    cr_expect(sampled >= allocated * 3 / 4 && sampled <= allocated * 5 / 4,
              "%s: %lu by samples, %lu bytes", cases->form, (unsigned long)sampled,
              (unsigned long)allocated);
    shard_fixture_free(&f);
}

Test(object, every_byte_of_a_value_counts_as_its_memory_usage)
{
    static const struct usage_case cases[] = {
        {"SET k 17", 1},
        {"SET k %0200u", 1},
        {"SET k %01500u", 1},
        {"SET k %01500u EX 1000", 1},
        {"APPEND k %0100u", 40},
        {"RPUSH k %u", 10},
        {"RPUSH k %0100u", 5000},
        {"RPUSH k %01900u", 300},
        {"SADD k %u", 100},
        {"SADD k %u", 5000},
        {"SADD k member:%u", 10},
        {"SADD k member:%u", 5000},
        {"SADD k member:%01800u", 100},
        {"ZADD k %u member:%u", 10},
        {"ZADD k %u member:%05u", 5000},
        {"ZADD k %u member:%01000u", 100},
        {"HSET k field:%u value:%u", 10},
        {"HSET k field:%u value:%u", 5000},
        {"HSET k field:%u value:%0800u", 500},
        {"XADD k 1-1%u field value:%u", 10},
        {"XADD k 1-1%u field value:%u", 5000},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_usage(&cases[i], 1);
    }
}

Test(object, field_deadlines_and_groups_count_as_memory_usage)
{
    static const struct usage_case cases[][5] = {
        {{"HSET k field:%u value:%u", 10}, {"HPEXPIRE k 900000 FIELDS 1 field:%u", 5}},
        {{"HSET k field:%u value:%u", 3000}, {"HPEXPIRE k 900000 FIELDS 1 field:%u", 1500}},
        {{"XADD k 1-1%u field value:%u", 500},
         {"XGROUP CREATE k group-with-a-long-name-%u 0", 20},
         {"XGROUP CREATECONSUMER k group-with-a-long-name-0 consumer-%0300u", 100},
         {"XREADGROUP GROUP group-with-a-long-name-0 consumer-%0300u COUNT 3 STREAMS k >", 100}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_usage(cases[i], ARRAY_LEN(cases[i]));
    }
}
