#include "shard/dump.h"

#include <criterion/criterion.h>

#include "random.h"
#include "shard/shard.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/ziplist.h"
#include "shard/type/zset.h"

#define NOW_MS 1700000000000
#define B(text) BYTES_LITERAL(text)

static struct mem mem;
static const struct shard_config config = {
    .list_max_listpack_size = -2,
    .hash_max_listpack_entries = 4,
    .hash_max_listpack_value_bytes = 8,
    .set_max_intset_entries = 4,
    .set_max_listpack_entries = 4,
    .set_max_listpack_value_bytes = 8,
    .zset_max_listpack_entries = 4,
    .zset_max_listpack_value_bytes = 8,
};
static struct shard shard = {.config = &config, .keys = {.seed = 7}, .random_state = 1};

static void setup(void)
{
    mem_init(&mem, "test");
    shard_here = &shard;
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(dump, .init = setup, .fini = teardown);

static struct entry *read_value(struct bytes value)
{
    /* In a block of its own, so that a sanitizer sees who reads past the end. */
    char *exact = malloc(value.size);
    memcpy(exact, value.data, value.size);
    struct entry *e = dump_try_read(&mem, bytes_make(exact, value.size), B("key"), 0, NOW_MS);
    free(exact);
    return e;
}

/* Reads a value and compares the payload of what it became. */
static void expect_becomes(struct bytes value, enum type type, enum encoding encoding,
                           struct bytes dumped)
{
    struct entry *e = read_value(value);
    cr_assert(e);
    cr_assert_eq(entry_type(e), type);
    cr_assert_eq(entry_encoding(e), encoding, "%s", encoding_name(entry_encoding(e)));
    struct buf out = {.mem = &mem};
    struct bytes again;
    cr_assert(dump_try_append(e, true, &out));
    cr_assert(dump_is_intact(buf_view(&out), &again));
    cr_assert(bytes_equal(again, dumped));
    buf_clear(&out);
    object_free(&mem, e);
}

static void expect_refused(struct bytes value)
{
    struct entry *e = read_value(value);
    cr_assert_null(e);
    cr_assert_eq(mem_live_bytes(&mem), 0);
}

/* ---- the footer ---- */

Test(dump, a_payload_is_what_redis_server_writes)
{
    struct entry *e = object_try_make_string(&mem, B("k"), B("v"), 0);
    struct buf out = {.mem = &mem};
    cr_assert(dump_try_append(e, true, &out));
    cr_assert(bytes_equal(buf_view(&out), B("\0\1v\x0a\0\x91\x08\xce\xb2\x19\x38\x8a\xce")));
    buf_clear(&out);
    object_free(&mem, e);
}

Test(dump, any_changed_byte_is_noticed)
{
    char payload[] = "\0\1v\x0a\0\x91\x08\xce\xb2\x19\x38\x8a\xce";
    struct bytes value;
    size_t size = sizeof payload - 1;
    cr_assert(dump_is_intact(bytes_make(payload, size), &value));
    cr_assert(bytes_equal(value, B("\0\1v")));
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            payload[i] = (char)(payload[i] ^ 1 << bit);
            cr_assert_not(dump_is_intact(bytes_make(payload, size), &value));
            payload[i] = (char)(payload[i] ^ 1 << bit);
        }
        cr_assert_not(dump_is_intact(bytes_make(payload, i), &value));
    }
}

Test(dump, a_version_from_the_future_is_refused)
{
    static const struct {
        struct bytes payload;
        bool is_known;
    } cases[] = {
        {B("\0\1v\x0b\0\xf8\xd7s\xc1\xe4\xa7"
           "cG"),
         true},
        {B("\0\1v\x0c\0\x5a\x7e\xfa\x72\xe3\x12\x14\x87"), true},
        {B("\0\1v\x0d\0\x33\xa1\x47\x01\x1e\x8d\xfd\x0e"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bytes value;
        cr_assert_eq(dump_is_intact(cases[i].payload, &value), cases[i].is_known, "%zu", i);
    }
}

/* ---- types ---- */

Test(dump, marks_of_values_that_travel_between_shards_are_refused)
{
    struct entry *e = read_value(B("\x12\1\2\x0a\x0a\0\0\0\1\0\x81"
                                   "a\2\xff"));
    cr_assert(e);
    object_free(&mem, e);
    expect_refused(B("\x92\1\2\x0a\x0a\0\0\0\1\0\x81"
                     "a\2\xff"));
    expect_refused(B("\x52\1\2\x0a\x0a\0\0\0\1\0\x81"
                     "a\2\xff"));
    expect_refused(B("\xf0\1v"));
    expect_refused(B("\xf2\1v"));
}

Test(dump, what_is_no_value_is_refused)
{
    expect_refused(B(""));
    expect_refused(B("\0"));
    expect_refused(B("\6\0"));
    expect_refused(B("\7\0"));
    expect_refused(B("\x1a\1"));
    expect_refused(B("\0\1vx"));
}

Test(dump, a_ziplist_becomes_a_listpack)
{
    /* "a", 12, -1, 300, 2^40 and a text of 70 bytes in the old forms. */
    static const char image[] = "\x60\0\0\0\x16\0\0\0\6\0\0\1a\3\xfd\2\xfe\xff\3\xc0\x2c\1\x04"
                                "\x40\x46"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                                "\x49\xfe\x01\xff";
    struct bytes bytes = bytes_make(image, sizeof image - 1);
    char fixed[sizeof image];
    memcpy(fixed, image, sizeof image);
    fixed[0] = (char)bytes.size;
    fixed[4] = (char)(bytes.size - 4);
    struct listpack *lp = ziplist_try_to_listpack(&mem, bytes_make(fixed, bytes.size));
    cr_assert(lp);
    static const char *const texts[] = {
        "a",
        "12",
        "-1",
        "300",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "1"};
    uint32_t at = listpack_first(lp);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++, at = listpack_next(lp, at)) {
        cr_assert(listpack_equals(lp, at, bytes_of(texts[i])));
    }
    cr_assert_eq(at, 0);
    listpack_free(&mem, lp);
    /* Header, lengths of the entries before, end. */
    static const uint8_t framing[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 15, 18, 22, 95, 98};
    for (size_t i = 0; i < ARRAY_LEN(framing); i++) {
        fixed[framing[i]] = (char)(fixed[framing[i]] ^ 0x80);
        cr_assert_null(ziplist_try_to_listpack(&mem, bytes_make(fixed, bytes.size)));
        fixed[framing[i]] = (char)(fixed[framing[i]] ^ 0x80);
    }
    for (size_t cut = 0; cut < bytes.size; cut++) {
        cr_assert_null(ziplist_try_to_listpack(&mem, bytes_make(fixed, cut)));
    }
}

#define ZIPLIST_A_B "\x11\0\0\0\x0d\0\0\0\2\0\0\1a\3\1b\xff"
#define LISTPACK_A_B                                                                               \
    "\x0d\0\0\0\2\0\x81"                                                                           \
    "a\2\x81"                                                                                      \
    "b\2\xff"

Test(dump, lists_of_every_version_become_what_this_one_would_be)
{
    struct bytes now = B("\x12\1\2\x0d" LISTPACK_A_B);
    expect_becomes(B("\1\2\1a\1b"), TYPE_LIST, ENCODING_LISTPACK, now);
    expect_becomes(B("\x0a\x11" ZIPLIST_A_B), TYPE_LIST, ENCODING_LISTPACK, now);
    expect_becomes(B("\x0e\1\x11" ZIPLIST_A_B), TYPE_LIST, ENCODING_LISTPACK, now);
    expect_becomes(now, TYPE_LIST, ENCODING_LISTPACK, now);
    /* A node without elements, as an old server may have left it. */
    expect_becomes(B("\x0e\2\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff\x11" ZIPLIST_A_B), TYPE_LIST,
                   ENCODING_LISTPACK, now);
    struct bytes two = B("\x12\2\2\x0d" LISTPACK_A_B "\1\5plain");
    expect_becomes(two, TYPE_LIST, ENCODING_QUICKLIST, two);
    expect_refused(B("\1\0"));
    expect_refused(B("\x0e\0"));
    expect_refused(B("\x0e\1\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"));
    expect_refused(B("\x12\1\1\0"));
    expect_refused(B("\x12\1\3\5plain"));
}

Test(dump, sets_of_every_version_get_the_encoding_of_their_members)
{
    struct bytes numbers = B("\x0b\x0c\2\0\0\0\2\0\0\0\1\0\2\0");
    expect_becomes(numbers, TYPE_SET, ENCODING_INTSET, numbers);
    expect_becomes(B("\2\2\xc0\2\xc0\1"), TYPE_SET, ENCODING_INTSET, numbers);
    struct bytes texts = B("\2\2\1a\1b");
    expect_becomes(texts, TYPE_SET, ENCODING_LISTPACK, texts);
    expect_becomes(B("\x14\x0d" LISTPACK_A_B), TYPE_SET, ENCODING_LISTPACK, texts);
    struct bytes longer = B("\2\1\x09long text");
    expect_becomes(longer, TYPE_SET, ENCODING_HASHTABLE, longer);
    expect_refused(B("\2\2\1a\1a"));
    expect_refused(B("\2\2\xc0\1\1"
                     "1"));
    expect_refused(B("\x0b\x0c\2\0\0\0\2\0\0\0\2\0\1\0"));
    expect_refused(B("\x0b\x08\2\0\0\0\0\0\0\0"));
    expect_refused(B("\x14\x0d\x0d\0\0\0\2\0\x81"
                     "a\2\x81"
                     "a\2\xff"));
    expect_refused(B("\2\x81\x7f\xff\xff\xff\xff\xff\xff\xff\1a"));
}

#define LISTPACK_A_1_B_2                                                                           \
    "\x11\0\0\0\4\0\x81"                                                                           \
    "a\2\1\1\x81"                                                                                  \
    "b\2\2\1\xff"

Test(dump, sorted_sets_of_every_version_become_listpacks)
{
    struct bytes now = B("\x11\x11" LISTPACK_A_1_B_2);
    expect_becomes(now, TYPE_ZSET, ENCODING_LISTPACK, now);
    expect_becomes(B("\3\2\1b\1"
                     "2\1a\1"
                     "1"),
                   TYPE_ZSET, ENCODING_LISTPACK, now);
    expect_becomes(B("\5\2\1a\0\0\0\0\0\0\xf0\x3f\1b\0\0\0\0\0\0\0\x40"), TYPE_ZSET,
                   ENCODING_LISTPACK, now);
    expect_becomes(B("\x0c\x15\x15\0\0\0\x12\0\0\0\4\0\0\1a\3\xf2\2\1b\3\xf3\xff"), TYPE_ZSET,
                   ENCODING_LISTPACK, now);
    expect_refused(B("\5\1\1a\0\0\0\0\0\0\xf8\x7f")); /* not a number */
    expect_refused(B("\3\1\1a\xfd"));
    expect_refused(B("\3\1\1a\2"
                     "1x"));
    expect_refused(B("\5\2\1a\0\0\0\0\0\0\xf0\x3f\1a\0\0\0\0\0\0\0\x40"));
    expect_refused(B("\x11\x11\x11\0\0\0\4\0\x81"
                     "a\2\2\1\x81"
                     "b\2\1\1\xff")); /* out of order */
    expect_refused(B("\x11\x11\x11\0\0\0\4\0\x81"
                     "a\2\1\1\x81"
                     "a\2\2\1\xff"));
    expect_refused(B("\x11\x0a\x0a\0\0\0\1\0\x81"
                     "a\2\xff"));
}

Test(dump, hashes_of_every_version_become_listpacks_while_they_are_small)
{
    struct bytes now = B("\x10\x0d" LISTPACK_A_B);
    expect_becomes(now, TYPE_HASH, ENCODING_LISTPACK, now);
    expect_becomes(B("\4\1\1a\1b"), TYPE_HASH, ENCODING_LISTPACK, now);
    expect_becomes(B("\x0d\x11" ZIPLIST_A_B), TYPE_HASH, ENCODING_LISTPACK, now);
    expect_becomes(B("\x09\x09\1\1a\1\2b??\xff"), TYPE_HASH, ENCODING_LISTPACK, now);
    struct bytes longer = B("\4\1\1a\x09long text");
    expect_becomes(longer, TYPE_HASH, ENCODING_HASHTABLE, longer);
    expect_becomes(B("\x09\x0f\1\1a\x09\0long text\xff"), TYPE_HASH, ENCODING_HASHTABLE, longer);
    expect_refused(B("\4\2\1a\1b\1a\1b"));
    expect_refused(B("\x09\x02\0\xff"));
    expect_refused(B("\x09\x09\2\1a\1\2b??\xff"));
    expect_refused(B("\x09\x09\1\1a\1\3b??\xff"));
    expect_refused(B("\x10\x0a\x0a\0\0\0\1\0\x81"
                     "a\2\xff"));
}

/* 1700000001000 is 0x18bcfe56be8; the first field expires then. */
#define FIRST_MS "\xe8\x6b\xe5\xcf\x8b\1\0\0"

Test(dump, hashes_whose_fields_have_deadlines_are_read_in_all_four_forms)
{
    struct bytes now = B("\x18" FIRST_MS "\1\1\1a\1b");
    expect_becomes(now, TYPE_HASH, ENCODING_HASHTABLE, now);
    expect_becomes(B("\x16\1\x81\0\0\1\x8b\xcf\xe5\x6b\xe8\1a\1b"), TYPE_HASH, ENCODING_HASHTABLE,
                   now);
#define TRIPLE                                                                                     \
    "\x17\0\0\0\3\0\x81"                                                                           \
    "a\2\x81"                                                                                      \
    "b\2\xf4" FIRST_MS "\x09\xff"
    expect_becomes(B("\x19" FIRST_MS "\x17" TRIPLE), TYPE_HASH, ENCODING_HASHTABLE, now);
    expect_becomes(B("\x17\x17" TRIPLE), TYPE_HASH, ENCODING_HASHTABLE, now);
    expect_refused(B("\x18\xff\xff\xff\xff\xff\xff\xff\xff\1\1\1a\1b"));
    expect_refused(B("\x18" FIRST_MS "\1\x81\x7f\xff\xff\xff\xff\xff\xff\xff\1a\1b"));
    expect_refused(B("\x18" FIRST_MS "\2\1\1a\1b\0\1a\1b"));
    expect_refused(B("\x17\x0d" LISTPACK_A_B));
}

Test(dump, fields_whose_deadline_has_passed_do_not_arrive)
{
    /* Field a was due at 1, field b has no deadline. */
    struct entry *e = read_value(B("\x18\1\0\0\0\0\0\0\0\2\1\1a\1v\0\1b\1v"));
    struct hash h = hash_of(e);
    cr_assert_eq(hash_length(&h), 1);
    object_free(&mem, e);
    e = read_value(B("\x18\1\0\0\0\0\0\0\0\1\1\1a\1v"));
    h = hash_of(e);
    cr_assert_eq(hash_length(&h), 0);
    object_free(&mem, e);
}

Test(dump, a_hash_with_deadlines_says_that_only_new_servers_read_it)
{
    struct entry *e = read_value(B("\x18" FIRST_MS "\1\1\1a\1b"));
    struct buf out = {.mem = &mem};
    cr_assert(dump_try_append(e, true, &out));
    cr_assert_eq(out.data[out.size - DUMP_FOOTER_BYTES], 12);
    buf_clear(&out);
    object_free(&mem, e);
}

/* Every allocation fails once: then there is no payload, or no entry, and nothing is left behind.
 */
Test(dump, writing_and_reading_without_memory_leave_nothing_behind)
{
    static const struct bytes values[] = {
        B("\0\xc3\x06\x15\x01"
          "aa\xe0\x0a\x00"),
        B("\x12\2\2\x0d" LISTPACK_A_B "\1\5plain"),
        B("\x0e\1\x11" ZIPLIST_A_B),
        B("\2\1\x09long text"),
        B("\x11\x11" LISTPACK_A_1_B_2),
        B("\5\1\x09long text\0\0\0\0\0\0\xf0\x3f"),
        B("\x09\x09\1\1a\1\2b??\xff"),
        B("\x18" FIRST_MS "\1\1\1a\1b"),
        B("\x17\x17" TRIPLE),
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct entry *e = NULL;
        for (unsigned n = 1; !e; n++) {
            fault_set("mem_try_alloc", n);
            e = read_value(values[i]);
            fault_set("mem_try_alloc", 0);
            if (!e) cr_assert_eq(mem_live_bytes(&mem), 0);
            cr_assert_lt(n, 100);
        }
        struct buf out = {.mem = &mem};
        uint64_t before = mem_live_bytes(&mem);
        for (unsigned n = 1; out.size == 0; n++) {
            fault_set("mem_try_alloc", n);
            bool done = dump_try_append(e, true, &out);
            fault_set("mem_try_alloc", 0);
            if (!done) buf_clear(&out);
            if (!done) cr_assert_eq(mem_live_bytes(&mem), before);
            cr_assert_lt(n, 100);
        }
        buf_clear(&out);
        object_free(&mem, e);
    }
}

Test(dump, a_collection_without_elements_is_told_from_a_broken_one)
{
    static const char ziplist[] = "\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff";
    static const char listpack[] = "\x07\x07\0\0\0\0\0\xff";
    static const char intset[] = "\x08\x04\0\0\0\0\0\0\0";
    static const uint8_t counted[] = {RDB_TYPE_LIST,
                                      RDB_TYPE_SET,
                                      RDB_TYPE_ZSET,
                                      RDB_TYPE_ZSET_2,
                                      RDB_TYPE_HASH,
                                      RDB_TYPE_LIST_QUICKLIST,
                                      RDB_TYPE_LIST_QUICKLIST_2};
    const struct {
        uint8_t type;
        struct bytes body;
    } blobs[] = {
        {RDB_TYPE_LIST_ZIPLIST, bytes_make(ziplist, sizeof ziplist - 1)},
        {RDB_TYPE_ZSET_ZIPLIST, bytes_make(ziplist, sizeof ziplist - 1)},
        {RDB_TYPE_HASH_ZIPLIST, bytes_make(ziplist, sizeof ziplist - 1)},
        {RDB_TYPE_SET_LISTPACK, bytes_make(listpack, sizeof listpack - 1)},
        {RDB_TYPE_HASH_LISTPACK, bytes_make(listpack, sizeof listpack - 1)},
        {RDB_TYPE_SET_INTSET, bytes_make(intset, sizeof intset - 1)},
        {RDB_TYPE_HASH_ZIPMAP, BYTES_LITERAL("\x02\0\xff")},
    };
    char value[64];
    for (size_t i = 0; i < ARRAY_LEN(counted); i++) {
        value[0] = (char)counted[i];
        value[1] = 0;
        cr_assert(dump_is_empty(&mem, bytes_make(value, 2)), "%u", counted[i]);
        cr_assert_not(dump_is_empty(&mem, bytes_make(value, 1)));
        cr_assert_not(dump_is_empty(&mem, bytes_make(value, 3)));
        value[1] = 1;
        cr_assert_not(dump_is_empty(&mem, bytes_make(value, 2)));
    }
    for (size_t i = 0; i < ARRAY_LEN(blobs); i++) {
        size_t size = blobs[i].body.size + 1;
        value[0] = (char)blobs[i].type;
        memcpy(value + 1, blobs[i].body.data, blobs[i].body.size);
        cr_assert(dump_is_empty(&mem, bytes_make(value, size)), "%u", blobs[i].type);
        for (size_t cut = 0; cut < size; cut++)
            cr_assert_not(dump_is_empty(&mem, bytes_make(value, cut)));
        value[2 + (blobs[i].type == RDB_TYPE_SET_INTSET) * 4] ^= 1;
        cr_assert_not(dump_is_empty(&mem, bytes_make(value, size)), "%u", blobs[i].type);
    }
    /* A quicklist of an empty node. */
    value[0] = RDB_TYPE_LIST_QUICKLIST;
    value[1] = 1;
    memcpy(value + 2, ziplist, sizeof ziplist - 1);
    cr_assert(dump_is_empty(&mem, bytes_make(value, 2 + sizeof ziplist - 1)));
    value[0] = RDB_TYPE_STRING;
    cr_assert_not(dump_is_empty(&mem, bytes_make(value, 2)));
}
