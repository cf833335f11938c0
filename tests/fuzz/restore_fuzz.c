/* restore_fuzz.c: any bytes at all go to the reader of DUMP payloads.
 *
 * The input is a type byte and a value; version and checksum are put behind it here, so that every
 * input gets through to the reader. What it takes must be a value whose invariants hold, must give
 * the same payload again and again once it has been read, and the same digest; what it refuses
 * leaves no memory behind. The input lies in a block of exactly its size.
 */
#include <stdio.h>

#include "persist/crc64.h"
#include "shard/dump.h"
#include "shard/shard.h"
#include "shard/type/hash.h"
#include "shard/type/list.h"
#include "shard/type/set.h"
#include "shard/type/stream.h"
#include "shard/type/zset.h"
#include "tests/fuzz/driver.h"

#define NOW_MS 1700000000000
#define KEY BYTES_LITERAL("key")

static void validate(const struct entry *e)
{
    switch (entry_type(e)) {
    case TYPE_STRING:
    case TYPE_COUNT:
        break;
    case TYPE_STREAM:
        stream_validate(stream_of(e));
        break;
    case TYPE_LIST: {
        struct list l = list_of(e);
        list_validate(&l);
        CHECK(list_length(&l) > 0);
        break;
    }
    case TYPE_SET: {
        struct set s = set_of(e);
        set_validate(&s);
        CHECK(set_size(&s) > 0);
        break;
    }
    case TYPE_ZSET: {
        struct zset z = zset_of(e);
        zset_validate(&z);
        CHECK(zset_size(&z) > 0);
        break;
    }
    case TYPE_HASH: {
        struct hash h = hash_of(e);
        hash_validate(&h);
        break;
    }
    }
}

/* A hash all of whose fields have expired is no value that could be written. */
static bool is_spent(const struct entry *e)
{
    if (entry_type(e) != TYPE_HASH) return false;
    struct hash h = hash_of(e);
    return hash_length(&h) == 0;
}

static void write_and_read_again(struct mem *mem, const struct entry *e)
{
    struct buf payload = {.mem = mem};
    struct bytes value;
    CHECK(dump_try_append(e, true, &payload));
    CHECK(dump_is_intact(buf_view(&payload), &value));
    struct entry *again = dump_try_read(mem, value, KEY, 0, NOW_MS);
    CHECK(again);
    validate(again);
    struct digest a = {0}, b = {0};
    digest_mix_value(&a, e);
    digest_mix_value(&b, again);
    CHECK(bytes_equal(digest_view(&a), digest_view(&b)));
    object_free(mem, again);
    buf_clear(&payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shard_config config = {
        .list_max_listpack_size = -2,
        .hash_max_listpack_entries = 8,
        .hash_max_listpack_value_bytes = 16,
        .set_max_intset_entries = 8,
        .set_max_listpack_entries = 8,
        .set_max_listpack_value_bytes = 16,
        .zset_max_listpack_entries = 8,
        .zset_max_listpack_value_bytes = 16,
    };
    struct shard shard = {.config = &config, .keys = {.seed = 7}, .random_state = 1};
    shard_here = &shard;
    struct mem mem;
    mem_init(&mem, "restore_fuzz");
    size_t whole = size + DUMP_FOOTER_BYTES;
    char *payload = malloc(whole);
    if (!payload) return 1;
    memcpy(payload, data, size);
    uint16_t version = RDB_VERSION_MAX;
    memcpy(payload + size, &version, sizeof version);
    uint64_t crc = crc64(0, bytes_make(payload, size + sizeof version));
    memcpy(payload + size + sizeof version, &crc, sizeof crc);
    struct bytes value;
    CHECK(dump_is_intact(bytes_make(payload, whole), &value));
    struct entry *e = dump_try_read(&mem, value, KEY, 0, NOW_MS);
    free(payload);
    if (e) {
        validate(e);
        if (!is_spent(e)) write_and_read_again(&mem, e);
        object_free(&mem, e);
    }
    mem_deinit(&mem);
    shard_here = NULL;
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (64 * 1024)

static bool append_text(struct rdb_writer *w, struct random *r)
{
    char text[64];
    size_t size = random_below(r, random_below(r, 4) ? 8 : sizeof text);
    unsigned letters = 1 + (unsigned)random_below(r, 20);
    for (size_t i = 0; i < size; i++) text[i] = (char)('0' + random_below(r, letters));
    return rdb_try_append_string(w, bytes_make(text, size));
}

/* An old packed form around elements that the caller has written. */
static bool append_ziplist(struct rdb_writer *w, struct mem *mem, struct random *r, bool is_pairs)
{
    struct buf image = {.mem = mem};
    buf_append(&image, "\0\0\0\0\0\0\0\0\0", 10);
    size_t count = (1 + random_below(r, 6)) * (is_pairs ? 2 : 1), last = 10, before = 0;
    for (size_t i = 0; i < count; i++) {
        char text[] = {(char)before, 2, (char)('a' + i), (char)random_next(r)};
        char number[] = {(char)before, (char)0xc0, (char)i, 1};
        last = image.size;
        buf_append(&image, is_pairs && i % 2 ? number : text, 4);
        before = 4;
    }
    buf_append(&image, "\xff", 1);
    uint32_t head[2] = {(uint32_t)image.size, (uint32_t)last};
    memcpy(image.data, head, sizeof head);
    image.data[8] = (char)count;
    bool done = rdb_try_append_string(w, buf_view(&image));
    buf_clear(&image);
    return done;
}

static bool append_zipmap(struct rdb_writer *w, struct mem *mem, struct random *r)
{
    struct buf image = {.mem = mem};
    size_t count = 1 + random_below(r, 5);
    buf_append(&image, &(char){(char)count}, 1);
    for (size_t i = 0; i < count; i++) {
        char pair[] = {1, (char)('a' + i), 2, 1, 'v', (char)random_next(r), 0};
        buf_append(&image, pair, sizeof pair);
    }
    buf_append(&image, "\xff", 1);
    bool done = rdb_try_append_string(w, buf_view(&image));
    buf_clear(&image);
    return done;
}

static bool append_listpack(struct rdb_writer *w, struct mem *mem, struct random *r, unsigned group)
{
    struct listpack *lp = listpack_try_create(mem);
    bool done = lp != NULL;
    size_t count = (1 + random_below(r, 10)) * group;
    for (size_t i = 0; done && i < count; i++) {
        char text[24];
        size_t size = (size_t)snprintf(text, sizeof text, i % group ? "%zu" : "m%zu", i);
        done = listpack_try_append(mem, &lp, bytes_make(text, size));
    }
    done = done && rdb_try_append_string(w, listpack_view(lp));
    listpack_free(mem, lp);
    return done;
}

static bool append_intset(struct rdb_writer *w, struct random *r)
{
    char image[8 + 20 * 2] = {2};
    uint32_t count = 1 + (uint32_t)random_below(r, 20);
    memcpy(image + 4, &count, sizeof count);
    for (uint32_t i = 0; i < count; i++) image[8 + 2 * i] = (char)i;
    return rdb_try_append_string(w, bytes_make(image, 8 + 2 * count));
}

/* Texts, each with what the type has behind it. */
static bool append_elements(struct rdb_writer *w, struct random *r, enum rdb_type type)
{
    size_t count = 1 + random_below(r, 20);
    bool done = rdb_try_append_length(w, count);
    for (size_t i = 0; done && i < count; i++) {
        bool has_length = type == RDB_TYPE_HASH_METADATA || type == RDB_TYPE_HASH_METADATA_PRE_GA;
        if (has_length) done = rdb_try_append_length(w, random_below(r, 3) * 1000000000000);
        done = done && append_text(w, r);
        if (type == RDB_TYPE_ZSET)
            done = done && rdb_try_append_raw(w,
                                              "\x03"
                                              "1.5",
                                              4);
        if (type == RDB_TYPE_ZSET_2) done = done && rdb_try_append_double(w, (double)i);
        if (type == RDB_TYPE_HASH || has_length) done = done && append_text(w, r);
    }
    return done;
}

static bool append_nodes(struct rdb_writer *w, struct mem *mem, struct random *r, bool is_old)
{
    size_t count = 1 + random_below(r, 4);
    bool done = rdb_try_append_length(w, count);
    for (size_t i = 0; done && i < count; i++) {
        if (is_old) {
            done = append_ziplist(w, mem, r, false);
        } else if (random_below(r, 3)) {
            done = rdb_try_append_length(w, 2) && append_listpack(w, mem, r, 1);
        } else {
            done = rdb_try_append_length(w, 1) && rdb_try_append_string(w, BYTES_LITERAL("plain"));
        }
    }
    return done;
}

static bool append_value(struct rdb_writer *w, struct mem *mem, struct random *r,
                         enum rdb_type type)
{
    switch (type) {
    case RDB_TYPE_STRING:
        return append_text(w, r);
    case RDB_TYPE_HASH_ZIPMAP:
        return append_zipmap(w, mem, r);
    case RDB_TYPE_LIST_ZIPLIST:
        return append_ziplist(w, mem, r, false);
    case RDB_TYPE_ZSET_ZIPLIST:
    case RDB_TYPE_HASH_ZIPLIST:
        return append_ziplist(w, mem, r, true);
    case RDB_TYPE_SET_INTSET:
        return append_intset(w, r);
    case RDB_TYPE_LIST_QUICKLIST:
    case RDB_TYPE_LIST_QUICKLIST_2:
        return append_nodes(w, mem, r, type == RDB_TYPE_LIST_QUICKLIST);
    case RDB_TYPE_HASH_LISTPACK:
    case RDB_TYPE_ZSET_LISTPACK:
        return append_listpack(w, mem, r, 2);
    case RDB_TYPE_SET_LISTPACK:
        return append_listpack(w, mem, r, 1);
    case RDB_TYPE_HASH_LISTPACK_EX:
        return rdb_try_append_ms(w, NOW_MS) && append_listpack(w, mem, r, 3);
    case RDB_TYPE_HASH_LISTPACK_EX_PRE_GA:
        return append_listpack(w, mem, r, 3);
    case RDB_TYPE_HASH_METADATA:
        return rdb_try_append_ms(w, NOW_MS) && append_elements(w, r, type);
    default:
        return append_elements(w, r, type);
    }
}

static void spoil(struct buf *input, struct random *r)
{
    for (uint64_t i = random_below(r, 4); i > 0; i--) {
        static const uint8_t heads[] = {0,    1,    0x7f, 0x80, 0x81, 0xbf, 0xc0,
                                        0xc3, 0xe0, 0xf0, 0xf4, 0xfd, 0xfe, 0xff};
        size_t at = random_below(r, input->size);
        uint8_t byte = heads[random_below(r, ARRAY_LEN(heads))];
        if (random_below(r, 2)) byte = (uint8_t)random_next(r);
        input->data[at] = (char)byte;
    }
    if (random_below(r, 8) == 0) input->size = random_below(r, input->size);
}

void fuzz_make_input(struct buf *out, struct random *r)
{
    enum rdb_type type = (enum rdb_type)random_below(r, RDB_TYPE_HASH_LISTPACK_EX + 1);
    struct rdb_writer w = {.out = out, .packing = (enum rdb_packing)random_below(r, 3)};
    CHECK(rdb_try_append_type(&w, (uint8_t)type) && append_value(&w, out->mem, r, type));
    rdb_writer_deinit(&w);
    spoil(out, r);
}
