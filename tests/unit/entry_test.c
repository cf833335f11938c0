#include <criterion/criterion.h>

#include "base/text.h"
#include "random.h"
#include "shard/entry.h"

#define TEXT_BYTES_MAX 3000

static struct mem mem;
static char pattern[TEXT_BYTES_MAX];

static void setup(void)
{
    mem_init(&mem, "test");
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (char)(i * 7 + i / 256);
}

static void teardown(void)
{
    mem_deinit(&mem);
}

TestSuite(entry, .init = setup, .fini = teardown);

static const size_t key_sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 255, 256, 300, 2999};
static const size_t value_sizes[] = {0, 1, 32, 44, 45, 1023, 1024, 1025, 2999};

static struct bytes text_of(size_t size)
{
    return bytes_make(pattern, size);
}

static void check(const struct entry *e, struct bytes key, struct bytes value, int64_t deadline_ms)
{
    char scratch[TEXT_I64_BYTES_MAX];
    cr_assert(bytes_equal(entry_key(e), key));
    cr_assert(entry_has_key(e, key));
    cr_assert(bytes_equal(entry_string(e, scratch), value));
    cr_assert_eq(entry_deadline_ms(e), deadline_ms);
    cr_assert_eq(entry_has_deadline(e), deadline_ms != 0);
    cr_assert_eq((uintptr_t)e % 16, 0);
}

Test(entry, keeps_key_value_and_deadline_of_every_size)
{
    for (size_t i = 0; i < ARRAY_LEN(key_sizes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(value_sizes); j++) {
            for (int64_t deadline_ms = 0; deadline_ms < 3; deadline_ms++) {
                struct bytes key = text_of(key_sizes[i]), value = text_of(value_sizes[j]);
                struct entry *e =
                    entry_try_make_string(&mem, key, value, ENCODING_RAW, deadline_ms);
                check(e, key, value, deadline_ms);
                cr_assert_eq(entry_type(e), TYPE_STRING);
                cr_assert_eq(entry_encoding(e), ENCODING_RAW);
                entry_free_string(&mem, e);
            }
        }
    }
}

Test(entry, a_short_key_with_a_value_of_32_bytes_fits_one_cache_line_with_its_deadline)
{
    struct entry *plain = entry_try_make_string(&mem, text_of(16), text_of(32), ENCODING_EMBSTR, 0);
    struct entry *timed =
        entry_try_make_string(&mem, text_of(16), text_of(32), ENCODING_EMBSTR, 1700000000000);
    cr_assert_eq(mem_class_bytes(entry_bytes(plain)), 64);
    cr_assert_eq(mem_class_bytes(entry_bytes(timed)), 64);
    entry_free_string(&mem, plain);
    entry_free_string(&mem, timed);
}

Test(entry, integers_of_64_bits_are_printed_exactly)
{
    static const int64_t values[] = {0, 1, -1, INT32_MAX, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct entry *e = entry_try_make_string(
            &mem, text_of(5), bytes_make(&values[i], sizeof values[i]), ENCODING_INT, 9);
        char text[TEXT_I64_BYTES_MAX];
        cr_assert_eq(entry_integer(e), values[i]);
        check(e, text_of(5), bytes_make(text, text_from_i64(text, values[i])), 9);
        entry_free_string(&mem, e);
    }
}

Test(entry, a_key_that_differs_in_one_byte_or_in_size_is_another)
{
    char other[TEXT_BYTES_MAX];
    for (size_t i = 1; i < ARRAY_LEN(key_sizes); i++) {
        size_t size = key_sizes[i];
        struct entry *e = entry_try_make_string(&mem, text_of(size), text_of(3), ENCODING_RAW, 0);
        memcpy(other, pattern, size);
        cr_assert(entry_has_key(e, bytes_make(other, size)));
        cr_assert_not(entry_has_key(e, bytes_make(other, size - 1)));
        for (size_t at = 0; at < size; at++) {
            other[at] ^= 0x40;
            cr_assert_not(entry_has_key(e, bytes_make(other, size)));
            other[at] ^= 0x40;
        }
        entry_free_string(&mem, e);
    }
}

static struct entry *rebuilt(struct entry *e, struct bytes key, int64_t deadline_ms)
{
    struct entry *moved = entry_try_reshell(&mem, e, key, deadline_ms);
    cr_assert_not_null(moved);
    entry_free_shell(&mem, e);
    return moved;
}

Test(entry, a_new_shell_moves_the_value_to_another_key_and_deadline)
{
    for (size_t j = 0; j < ARRAY_LEN(value_sizes); j++) {
        struct bytes value = text_of(value_sizes[j]);
        struct entry *e = entry_try_make_string(&mem, text_of(9), value, ENCODING_RAW, 0);
        memset(e->clock, 7, sizeof e->clock);
        e = rebuilt(e, text_of(300), 5);
        check(e, text_of(300), value, 5);
        e = rebuilt(e, text_of(1), 0);
        check(e, text_of(1), value, 0);
        cr_assert_eq(e->clock[2], 7);
        entry_free_string(&mem, e);
    }
}

Test(entry, a_collection_keeps_type_encoding_and_root)
{
    int root;
    struct entry *e =
        entry_try_make_object(&mem, text_of(300), TYPE_HASH, ENCODING_LISTPACK, &root, 77);
    cr_assert_eq(entry_type(e), TYPE_HASH);
    cr_assert_eq(entry_encoding(e), ENCODING_LISTPACK);
    cr_assert_eq(entry_root(e), &root);
    cr_assert_eq(entry_deadline_ms(e), 77);
    entry_set_encoding(e, ENCODING_HASHTABLE);
    entry_set_root(e, NULL);
    cr_assert_eq(entry_type(e), TYPE_HASH);
    cr_assert_eq(entry_encoding(e), ENCODING_HASHTABLE);
    cr_assert_null(entry_root(e));
    entry_free_shell(&mem, e);
}

Test(entry, a_deadline_changes_in_place_where_the_size_class_allows_it)
{
    for (size_t i = 0; i < ARRAY_LEN(key_sizes); i++) {
        for (size_t j = 0; j < ARRAY_LEN(value_sizes); j++) {
            struct bytes key = text_of(key_sizes[i]), value = text_of(value_sizes[j]);
            struct entry *e = entry_try_make_string(&mem, key, value, ENCODING_RAW, 0);
            size_t class_bytes = mem_class_bytes(entry_bytes(e));
            bool fits = mem_class_bytes(entry_bytes(e) + 8) == class_bytes;
            if (key.size + value.size == 0) fits = true; /* The least size has room. */
            cr_assert_eq(entry_change_deadline(e, 12345), fits);
            check(e, key, value, fits ? 12345 : 0);
            if (fits) cr_assert(entry_change_deadline(e, 54321));
            if (fits) check(e, key, value, 54321);
            if (fits) cr_assert(entry_change_deadline(e, 0));
            check(e, key, value, 0);
            entry_free_string(&mem, e);
        }
    }
}

/* Any series of changes in place leaves the entry as the model says, and the accounts even. */
Test(entry, random_changes_in_place_keep_key_value_and_deadline)
{
    struct random r = random_make();
    for (unsigned round = 0; round < 300; round++) {
        struct bytes key = text_of(random_below(&r, 300));
        size_t size = random_below(&r, 120);
        int64_t deadline_ms = 0;
        struct entry *e = entry_try_make_string(&mem, key, text_of(size), ENCODING_RAW, 0);
        for (unsigned step = 0; step < 50; step++) {
            int64_t next_ms = random_below(&r, 2) ? (int64_t)random_below(&r, 1000) : 0;
            size_t next = random_below(&r, 150);
            if (random_below(&r, 2)) {
                if (entry_change_deadline(e, next_ms)) deadline_ms = next_ms;
            } else if (entry_overwrite_string(e, text_of(next), ENCODING_EMBSTR, next_ms)) {
                size = next;
                deadline_ms = next_ms;
                cr_assert_eq(entry_encoding(e), ENCODING_EMBSTR);
            }
            check(e, key, text_of(size), deadline_ms);
        }
        entry_free_string(&mem, e);
    }
}

Test(entry, a_resized_string_is_raw_and_its_new_bytes_are_zero)
{
    struct entry *e = entry_try_make_string(&mem, text_of(16), text_of(26), ENCODING_EMBSTR, 0);
    cr_assert(entry_resize_string(e, 40));
    cr_assert_eq(entry_encoding(e), ENCODING_RAW);
    struct bytes value = entry_string(e, NULL);
    cr_assert_eq(value.size, 40);
    cr_assert_eq(memcmp(value.data, pattern, 26), 0);
    for (size_t i = 26; i < 40; i++) cr_assert_eq(value.data[i], 0);
    cr_assert_not(entry_resize_string(e, 41));
    cr_assert_not(entry_resize_string(e, 100000));
    cr_assert_eq(entry_string(e, NULL).size, 40);
    entry_free_string(&mem, e);
}

Test(entry, a_big_string_grows_by_doubling_and_then_in_steps_of_a_mebibyte)
{
    struct entry *e = entry_try_make_string(&mem, text_of(16), text_of(2000), ENCODING_RAW, 0);
    cr_assert_eq(entry_big_string(e).capacity, 2000);
    cr_assert(entry_try_grow_big_string(&mem, e, 2001));
    cr_assert_eq(entry_big_string(e).capacity, 4002);
    const char *data = entry_big_string(e).data;
    cr_assert(entry_try_grow_big_string(&mem, e, 4002));
    cr_assert_eq(entry_big_string(e).data, data);
    struct bytes value = entry_string(e, NULL);
    cr_assert_eq(memcmp(value.data, pattern, 2000), 0);
    for (size_t i = 2000; i < value.size; i++) cr_assert_eq(value.data[i], 0);
    cr_assert(entry_try_grow_big_string(&mem, e, 5 << 20));
    cr_assert_eq(entry_big_string(e).capacity, 6 << 20);
    entry_free_string(&mem, e);
}

Test(entry, a_size_that_no_machine_has_leaves_everything_as_it_was)
{
    cr_assert_null(entry_try_make_blank(&mem, text_of(16), (size_t)1 << 50, 0));
    struct entry *e = entry_try_make_blank(&mem, text_of(16), 2000, 0);
    struct big_string before = entry_big_string(e);
    cr_assert_eq(before.capacity, 2000); /* what has not grown yet needs no room */
    cr_assert_not(entry_try_grow_big_string(&mem, e, (size_t)1 << 50));
    struct big_string after = entry_big_string(e);
    cr_assert_eq(memcmp(&before, &after, sizeof before), 0);
    entry_free_string(&mem, e);
}

Test(entry, making_fails_cleanly_at_every_allocation)
{
    for (unsigned count = 1; count <= 2; count++) {
        fault_set("mem_try_alloc", count);
        cr_assert_null(entry_try_make_string(&mem, text_of(16), text_of(2000), ENCODING_RAW, 0));
    }
    fault_set("mem_try_alloc", 1);
    cr_assert_null(entry_try_make_string(&mem, text_of(16), text_of(3), ENCODING_RAW, 0));
    fault_set("mem_try_alloc", 1);
    cr_assert_null(entry_try_make_object(&mem, text_of(16), TYPE_SET, ENCODING_INTSET, NULL, 0));
    struct entry *e = entry_try_make_string(&mem, text_of(16), text_of(3), ENCODING_RAW, 0);
    fault_set("mem_try_alloc", 1);
    cr_assert_null(entry_try_reshell(&mem, e, text_of(17), 1));
    check(e, text_of(16), text_of(3), 0);
    entry_free_string(&mem, e);
}

Test(entry, names_are_those_of_redis)
{
    cr_assert_str_eq(encoding_name(ENCODING_RAW), "raw");
    cr_assert_str_eq(encoding_name(ENCODING_INT), "int");
    cr_assert_str_eq(encoding_name(ENCODING_EMBSTR), "embstr");
    cr_assert_str_eq(encoding_name(ENCODING_LISTPACK), "listpack");
    cr_assert_str_eq(encoding_name(ENCODING_QUICKLIST), "quicklist");
    cr_assert_str_eq(encoding_name(ENCODING_INTSET), "intset");
    cr_assert_str_eq(encoding_name(ENCODING_HASHTABLE), "hashtable");
    cr_assert_str_eq(encoding_name(ENCODING_SKIPLIST), "skiplist");
    cr_assert_str_eq(encoding_name(ENCODING_STREAM), "stream");
    cr_assert_str_eq(type_name(TYPE_STRING), "string");
    cr_assert_str_eq(type_name(TYPE_ZSET), "zset");
    cr_assert_str_eq(type_name(TYPE_STREAM), "stream");
}
