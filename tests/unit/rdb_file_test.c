#include "persist/rdb_file.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "persist/rdb_skip.h"
#include "random.h"

#define B(text) BYTES_LITERAL(text)

static struct mem mem;
static struct buf file; /* what was written */

static void setup(void)
{
    mem_init(&mem, "test");
    file = (struct buf){.mem = &mem};
}

static void teardown(void)
{
    buf_clear(&file);
    mem_deinit(&mem);
}

TestSuite(rdb_file, .init = setup, .fini = teardown);

/* ---- a file in memory ---- */

static bool sink(void *context, struct bytes bytes)
{
    buf_append(context, bytes.data, bytes.size);
    return true;
}

struct source {
    struct bytes left;
    size_t step; /* bytes at a time; 0: as many as wanted */
};

static bool source(void *context, char *to, size_t room, size_t *size)
{
    struct source *s = context;
    *size = MIN(MIN(room, s->step ? s->step : room), s->left.size);
    if (*size) memcpy(to, s->left.data, *size);
    s->left = bytes_make(s->left.data + *size, s->left.size - *size);
    return true;
}

static const struct rdb_file_options plain = {.with_checksum = true};

/* Two databases, three keys. */
static void write_small(const struct rdb_file_options *options)
{
    struct rdb_file_writer w;
    rdb_file_writer_init(&w, &mem, sink, &file, options);
    rdb_file_begin(&w);
    rdb_file_put_aux(&w, B("redis-ver"), B("7.2.4"));
    rdb_file_put_function(&w, B("#!lua name=m\nredis.register_function('f', function() end)"));
    rdb_file_put_database(&w, 0, 2, 1);
    rdb_file_put_key(
        &w,
        &(struct rdb_file_key){
            .name = B("a"), .idle_s = -1, .frequency = -1, .deadline_ms = 4102444800000},
        B("\0\1v"));
    rdb_file_put_key(&w, &(struct rdb_file_key){.name = B("12"), .idle_s = 77, .frequency = -1},
                     B("\2\2\1a\1b"));
    rdb_file_put_database(&w, 9, 1, 0);
    rdb_file_put_key(&w, &(struct rdb_file_key){.name = B(""), .idle_s = -1, .frequency = 200},
                     B("\1\1\1x"));
    cr_assert(rdb_file_end(&w));
    cr_assert_eq(w.written, file.size);
    rdb_file_writer_deinit(&w);
}

/* Reads to the end and counts the keys; the error, or NULL. */
static const char *read_all(struct bytes bytes, size_t step, unsigned *keys)
{
    struct source s = {bytes, step};
    struct rdb_file_reader r;
    struct rdb_item item;
    const char *error = NULL;
    *keys = 0;
    rdb_file_reader_init(&r, &mem, source, &s);
    enum rdb_item_kind kind;
    while ((kind = rdb_file_next(&r, &item)) != RDB_ITEM_END && kind != RDB_ITEM_ERROR) {
        if (kind == RDB_ITEM_KEY) ++*keys;
    }
    if (kind == RDB_ITEM_ERROR) {
        error = item.error;
        cr_assert(error);
        cr_assert_eq(rdb_file_next(&r, &item), RDB_ITEM_ERROR);
    } else {
        cr_assert_eq(rdb_file_next(&r, &item), RDB_ITEM_END);
    }
    rdb_file_reader_deinit(&r);
    return error;
}

/* ---- writing and reading ---- */

static void expect_next(struct rdb_file_reader *r, enum rdb_item_kind kind, struct rdb_item *item)
{
    cr_assert_eq(rdb_file_next(r, item), kind, "%s", item->error ? item->error : "");
    cr_assert_eq(item->kind, kind);
}

static void expect_small(size_t step)
{
    struct source s = {buf_view(&file), step};
    struct rdb_file_reader r;
    struct rdb_item item;
    rdb_file_reader_init(&r, &mem, source, &s);
    expect_next(&r, RDB_ITEM_AUX, &item);
    cr_assert(bytes_equal(item.name, B("redis-ver")) && bytes_equal(item.value, B("7.2.4")));
    cr_assert_eq(r.version, 10);
    expect_next(&r, RDB_ITEM_FUNCTION, &item);
    cr_assert(
        bytes_equal(item.value, B("#!lua name=m\nredis.register_function('f', function() end)")));
    expect_next(&r, RDB_ITEM_DATABASE, &item);
    cr_assert_eq(item.db, 0);
    expect_next(&r, RDB_ITEM_SIZES, &item);
    cr_assert(item.key_count == 2 && item.expires_count == 1);
    expect_next(&r, RDB_ITEM_KEY, &item);
    cr_assert(bytes_equal(item.key.name, B("a")) && bytes_equal(item.value, B("\0\1v")));
    cr_assert(item.key.deadline_ms == 4102444800000 && item.key.idle_s == -1);
    expect_next(&r, RDB_ITEM_KEY, &item);
    cr_assert(bytes_equal(item.key.name, B("12")) && bytes_equal(item.value, B("\2\2\1a\1b")));
    cr_assert(item.key.deadline_ms == 0 && item.key.idle_s == 77 && item.key.frequency == -1);
    expect_next(&r, RDB_ITEM_DATABASE, &item);
    cr_assert_eq(item.db, 9);
    expect_next(&r, RDB_ITEM_SIZES, &item);
    expect_next(&r, RDB_ITEM_KEY, &item);
    cr_assert(item.key.name.size == 0 && item.key.frequency == 200 && item.key.idle_s == -1);
    expect_next(&r, RDB_ITEM_END, &item);
    rdb_file_reader_deinit(&r);
}

Test(rdb_file, reads_what_it_has_written_in_pieces_of_any_size)
{
    write_small(&plain);
    for (size_t step = 0; step < 40; step++) expect_small(step);
    file.size = 0;
    write_small(&(struct rdb_file_options){.with_checksum = true, .compress = true});
    expect_small(0);
    file.size = 0;
    write_small(&(struct rdb_file_options){.with_checksum = false});
    expect_small(0);
}

Test(rdb_file, any_changed_bit_is_noticed)
{
    write_small(&plain);
    unsigned keys;
    cr_assert_null(read_all(buf_view(&file), 0, &keys));
    for (size_t i = 0; i < file.size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            file.data[i] = (char)(file.data[i] ^ 1 << bit);
            cr_assert(read_all(buf_view(&file), 0, &keys), "byte %zu, bit %d", i, bit);
            file.data[i] = (char)(file.data[i] ^ 1 << bit);
        }
    }
}

Test(rdb_file, a_file_that_was_cut_off_is_noticed)
{
    write_small(&plain);
    unsigned keys;
    for (size_t cut = 0; cut < file.size; cut++) {
        cr_assert(read_all(bytes_make(file.data, cut), 0, &keys), "%zu", cut);
    }
}

Test(rdb_file, a_file_without_a_checksum_is_read)
{
    write_small(&(struct rdb_file_options){.with_checksum = false});
    unsigned keys;
    cr_assert_null(read_all(buf_view(&file), 0, &keys));
    cr_assert_eq(keys, 3);
    cr_assert_eq(memcmp(file.data + file.size - 8, "\0\0\0\0\0\0\0\0", 8), 0);
}

Test(rdb_file, other_files_and_versions_are_refused)
{
    unsigned keys;
    cr_assert_str_eq(read_all(B("not an RDB file"), 0, &keys), "this is no RDB file");
    cr_assert_str_eq(read_all(B("REDIS00x0\xff"), 0, &keys), "this is no RDB file");
    cr_assert_str_eq(read_all(B("REDIS0013\xff\0\0\0\0\0\0\0\0"), 0, &keys),
                     "the version of the RDB file is not known here");
    cr_assert_null(read_all(B("REDIS0012\xff\0\0\0\0\0\0\0\0"), 0, &keys));
    cr_assert_null(read_all(B("REDIS0003\xfe\0\xfd\x01\0\0\0\0\1k\1v\xff"), 0, &keys));
    cr_assert_eq(keys, 1);
    cr_assert_str_eq(read_all(B("REDIS0010\x3f\1k\1v"), 0, &keys),
                     "what stands there is malformed");
}

Test(rdb_file, what_modules_and_clusters_left_is_passed_over)
{
    unsigned keys;
    cr_assert_null(read_all(B("REDIS0012\xf7\x81\1\2\3\4\5\6\7\x08\2\1\5\3abc\4"
                              "12345678\3"
                              "1234\1\5\0\xf4\1\2\3\0\1k\1v\xff\0\0\0\0\0\0\0\0"),
                            0, &keys));
    cr_assert_eq(keys, 1);
    cr_assert_str_eq(read_all(B("REDIS0012\xf7\1\2\1\6\0"), 0, &keys),
                     "what stands there is malformed");
}

static bool sink_with_an_end(void *context, struct bytes bytes)
{
    size_t *left = context;
    if (bytes.size > *left) return false;
    *left -= bytes.size;
    return true;
}

Test(rdb_file, a_writer_that_has_failed_says_so_at_the_end)
{
    struct rdb_file_writer w;
    static char big[200000] = {0, (char)0x80, 0, 3, 0x0d, 0x3a};
    for (size_t room = 0; room < 400100; room += 50000) {
        size_t left = room;
        rdb_file_writer_init(&w, &mem, sink_with_an_end, &left, &plain);
        rdb_file_begin(&w);
        for (int i = 0; i < 2; i++) {
            rdb_file_put_key(&w,
                             &(struct rdb_file_key){.name = B("k"), .idle_s = -1, .frequency = -1},
                             bytes_make(big, sizeof big));
        }
        cr_assert_eq(rdb_file_end(&w), room > 400050);
        rdb_file_writer_deinit(&w);
    }
}

Test(rdb_file, big_values_and_many_small_ones_come_back)
{
    struct random random = random_make();
    struct rdb_file_writer w;
    static char value[300000];
    rdb_file_writer_init(&w, &mem, sink, &file, &plain);
    rdb_file_begin(&w);
    size_t sizes[200];
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char name[16];
        sizes[i] = random_below(&random, i % 20 ? 100 : 290000);
        value[0] = 0;
        size_t head = 1 + rdb_put_length(value + 1, sizes[i]);
        memset(value + head, (int)i, sizes[i]);
        size_t size = (size_t)snprintf(name, sizeof name, "key:%zu", i);
        rdb_file_put_key(
            &w,
            &(struct rdb_file_key){.name = bytes_make(name, size), .idle_s = -1, .frequency = -1},
            bytes_make(value, head + sizes[i]));
    }
    cr_assert(rdb_file_end(&w));
    rdb_file_writer_deinit(&w);
    struct source s = {buf_view(&file), 1 + random_below(&random, 100000)};
    struct rdb_file_reader r;
    struct rdb_item item;
    rdb_file_reader_init(&r, &mem, source, &s);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        expect_next(&r, RDB_ITEM_KEY, &item);
        struct bytes in = bytes_make(item.value.data + 1, item.value.size - 1);
        uint64_t size;
        cr_assert(rdb_take_length(&in, &size) && size == sizes[i] && in.size == size);
        if (size) cr_assert(in.data[0] == (char)i && in.data[size - 1] == (char)i);
    }
    expect_next(&r, RDB_ITEM_END, &item);
    rdb_file_reader_deinit(&r);
}

/* ---- redis-server ---- */

/* SAVE of redis-server 7.0.15 under allkeys-lru: a function, every type (a stream with a group and
 * a pending entry, too), a deadline, two databases. */
static const char real[] =
    "\x52\x45\x44\x49\x53\x30\x30\x31\x30\xfa\x09\x72\x65\x64\x69\x73\x2d\x76\x65\x72"
    "\x06\x37\x2e\x30\x2e\x31\x35\xfa\x0a\x72\x65\x64\x69\x73\x2d\x62\x69\x74\x73\xc0"
    "\x40\xfa\x05\x63\x74\x69\x6d\x65\xc2\x45\xd6\x02\x6b\xfa\x08\x75\x73\x65\x64\x2d"
    "\x6d\x65\x6d\xc2\x80\x65\x12\x00\xfa\x08\x61\x6f\x66\x2d\x62\x61\x73\x65\xc0\x00"
    "\xf5\x40\x41\x23\x21\x6c\x75\x61\x20\x6e\x61\x6d\x65\x3d\x6d\x0a\x72\x65\x64\x69"
    "\x73\x2e\x72\x65\x67\x69\x73\x74\x65\x72\x5f\x66\x75\x6e\x63\x74\x69\x6f\x6e\x28"
    "\x27\x66\x27\x2c\x66\x75\x6e\x63\x74\x69\x6f\x6e\x28\x29\x20\x72\x65\x74\x75\x72"
    "\x6e\x20\x31\x20\x65\x6e\x64\x29\xfe\x00\xfb\x07\x01\xf8\x00\x10\x01\x68\xc3\x12"
    "\x2a\x0a\x2a\x00\x00\x00\x02\x00\x81\x66\x02\x9e\x78\xe0\x14\x00\x01\x1f\xff\xf8"
    "\x00\x12\x01\x6c\x01\x02\x0d\x0d\x00\x00\x00\x02\x00\x81\x61\x02\x81\x62\x02\xff"
    "\xf8\x00\x0b\x01\x74\x0c\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x02\x00\xf8\x00"
    "\x13\x01\x78\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"
    "\x01\x28\x28\x00\x00\x00\x0f\x00\x02\x01\x00\x01\x01\x01\x81\x61\x02\x00\x01\x02"
    "\x01\x00\x01\x00\x01\x81\x62\x02\x04\x01\x02\x01\x00\x01\x01\x01\x81\x63\x02\x04"
    "\x01\xff\x02\x01\x02\x01\x01\x00\x00\x02\x01\x01\x67\x01\x01\x01\x01\x00\x00\x00"
    "\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\xc1\xfd\x14\x03\xa2\x01\x00"
    "\x00\x01\x01\x01\x63\xc1\xfd\x14\x03\xa2\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    "\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\xfc\x00\xd8\xc3\x2c\xbb\x03\x00\x00\xf8"
    "\x00\x00\x01\x69\xc2\x40\xe2\x01\x00\xf8\x00\x11\x01\x7a\x0f\x0f\x00\x00\x00\x02"
    "\x00\x81\x61\x02\x83\x31\x2e\x35\x04\xff\xf8\x00\x00\x01\x73\x01\x76\xfe\x09\xfb"
    "\x02\x00\xf8\x00\x00\xc3\x09\x28\x01\x79\x79\xe0\x1b\x00\x01\x79\x79\x01\x77\xf8"
    "\x00\x02\x01\x6d\x02\x01\x62\x01\x61\xff\xc6\xd8\x47\xa8\x2f\x5b\xf0\x7c";

Test(rdb_file, a_file_of_redis_server_is_read)
{
    struct source s = {bytes_make(real, sizeof real - 1), 0};
    struct rdb_file_reader r;
    struct rdb_item item;
    unsigned seen[32] = {0}, deadlines = 0, idle = 0, functions = 0;
    uint64_t db = 0, in_db[16] = {0};
    rdb_file_reader_init(&r, &mem, source, &s);
    while (rdb_file_next(&r, &item) != RDB_ITEM_END) {
        cr_assert_neq(item.kind, RDB_ITEM_ERROR, "%s", item.error);
        if (item.kind == RDB_ITEM_FUNCTION) functions++;
        if (item.kind == RDB_ITEM_DATABASE) db = item.db;
        if (item.kind != RDB_ITEM_KEY) continue;
        in_db[db]++;
        seen[(uint8_t)item.value.data[0]]++;
        deadlines += item.key.deadline_ms == 4102444800000;
        idle += item.key.idle_s >= 0;
    }
    cr_assert(functions == 1 && deadlines == 1 && idle == 9);
    cr_assert(in_db[0] == 7 && in_db[9] == 2);
    cr_assert(seen[0] == 3 && seen[2] == 1 && seen[11] == 1 && seen[16] == 1 && seen[17] == 1);
    cr_assert(seen[18] == 1 && seen[19] == 1);
    rdb_file_reader_deinit(&r);
}

Test(rdb_file, redis_check_rdb_accepts_what_is_written)
{
    if (system("command -v redis-check-rdb >/dev/null 2>&1") != 0) {
        cr_skip_test("redis-check-rdb is not installed");
    }
    char path[] = "/tmp/shoal-rdb-file-XXXXXX", command[128];
    write_small(&(struct rdb_file_options){.with_checksum = true, .compress = true});
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, file.data, file.size), (ssize_t)file.size);
    close(fd);
    snprintf(command, sizeof command, "redis-check-rdb %s >/dev/null 2>&1", path);
    int status = system(command);
    unlink(path);
    cr_assert_eq(status, 0);
}

/* ---- where values end ---- */

Test(rdb_file, the_end_of_a_value_is_found_in_every_layout)
{
    static const struct bytes values[] = {
        B("\0\1v"),
        B("\0\xc3\x06\x15\1aa\xe0\x0a\0"),
        B("\1\2\1a\xc0\1"),
        B("\3\2\1a\xfd\1b\3"
          "1.5"),
        B("\5\1\1a\0\0\0\0\0\0\xf0\x3f"),
        B("\4\1\1a\xc1\1\1"),
        B("\7\x81\1\2\3\4\5\6\7\x08\1\1\2\2\3"
          "1234\4"
          "12345678\5\1s\0"),
        B("\x0e\1\1z"),
        B("\x12\2\1\1a\2\1b"),
        B("\x0f\1\1k\1n\1\1\1\1\1g\1\1\1"
          "1234567890123456"
          "12345678\1\1\1c"
          "12345678\1"
          "1234567890123456"),
        B("\x13\0\1\1\1\1\1\1\1\1\1\1g\1\1\1\0\0"),
        B("\x15\0\1\1\1\1\1\1\1\1\1\1g\1\1\1\0\1\1c"
          "1234567812345678\0"),
        B("\x16\1\1\1a\1b"),
        B("\x18"
          "12345678\1\1\1a\1b"),
        B("\x19"
          "12345678\1z"),
    };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct bytes v = values[i];
        for (size_t cut = 1; cut < v.size; cut++) {
            struct bytes in = bytes_make(v.data + 1, cut - 1);
            cr_assert_eq(rdb_skip_value((uint8_t)v.data[0], &in), RDB_PARTIAL, "%zu/%zu", i, cut);
            cr_assert_eq(in.size, cut - 1);
        }
        struct bytes in = bytes_make(v.data + 1, v.size - 1);
        cr_assert_eq(rdb_skip_value((uint8_t)v.data[0], &in), RDB_WHOLE, "%zu", i);
        cr_assert_eq(in.size, 0, "%zu", i);
    }
    struct bytes in = B("\xc5...");
    cr_assert_eq(rdb_skip_value(RDB_TYPE_STRING, &in), RDB_MALFORMED);
    cr_assert_eq(rdb_skip_value(RDB_TYPE_MODULE, &in), RDB_MALFORMED);
    cr_assert_eq(rdb_skip_value(99, &in), RDB_MALFORMED);
}
