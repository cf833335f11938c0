/* rdb_fuzz.c: any bytes at all go to the reader of RDB files.
 *
 * The first byte of the input says in pieces of how many bytes it comes; a header is put before the
 * rest. The reader must come to an end, find the same whatever the pieces are, and every value that
 * it cuts out goes on to the reader of values, which may refuse it.
 */
#include <stdio.h>

#include "persist/rdb_file.h"
#include "shard/dump.h"
#include "shard/shard.h"
#include "tests/fuzz/driver.h"

#define INPUT_BYTES_MAX (64 * 1024)
#define HEADER "REDIS0012"
#define HEADER_BYTES (sizeof HEADER - 1)
#define NOW_MS 1700000000000

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

/* What there is in an item, mixed into `d`. */
static void mix_item(struct digest *d, const struct rdb_item *item)
{
    uint64_t numbers[] = {(uint64_t)item->kind, item->db,     item->key_count,
                          item->expires_count,  item->offset, (uint64_t)item->key.deadline_ms};
    digest_mix(d, bytes_make(numbers, sizeof numbers));
    digest_mix(d, item->name);
    digest_mix(d, item->value);
}

static void read_value(struct mem *mem, const struct rdb_item *item)
{
    struct entry *e = dump_try_read(mem, item->value, item->name, 0, NOW_MS);
    if (e) object_free(mem, e);
}

static struct digest read_all(struct mem *mem, struct bytes file, size_t step)
{
    struct source s = {file, step};
    struct rdb_file_reader r;
    struct rdb_item item;
    struct digest d = {0};
    enum rdb_item_kind kind;
    rdb_file_reader_init(&r, mem, source, &s);
    do {
        kind = rdb_file_next(&r, &item);
        mix_item(&d, &item);
        if (kind == RDB_ITEM_KEY && step) read_value(mem, &item);
    } while (kind != RDB_ITEM_END && kind != RDB_ITEM_ERROR);
    rdb_file_reader_deinit(&r);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct shard_config config = {.list_max_listpack_size = -2};
    struct shard shard = {.config = &config, .keys = {.seed = 7}, .random_state = 1};
    if (size == 0) return 0;
    shard_here = &shard;
    struct mem mem;
    mem_init(&mem, "rdb_fuzz");
    size_t whole = HEADER_BYTES + size - 1;
    char *file = malloc(whole);
    if (!file) return 1;
    memcpy(file, HEADER, HEADER_BYTES);
    memcpy(file + HEADER_BYTES, data + 1, size - 1);
    struct digest a = read_all(&mem, bytes_make(file, whole), 0);
    struct digest b = read_all(&mem, bytes_make(file, whole), 1 + data[0]);
    CHECK(bytes_equal(digest_view(&a), digest_view(&b)));
    free(file);
    mem_deinit(&mem);
    shard_here = NULL;
    return 0;
}

/* ---- inputs ---- */

static bool sink(void *context, struct bytes bytes)
{
    buf_append(context, bytes.data, bytes.size);
    return true;
}

static void put_key(struct rdb_file_writer *w, struct random *r)
{
#define V(text)                                                                                    \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
    static const struct {
        const char *text;
        size_t size;
    } values[] = {
        V("\0\1v"),
        V("\1\2\1a\1b"),
        V("\2\2\1a\1b"),
        V("\3\1\1a\3"
          "1.5"),
        V("\4\1\1a\1b"),
        V("\5\1\1a\0\0\0\0\0\0\xf0\x3f"),
        V("\7\1\1\2\2\3\3"
          "1234\5\1s\0"),
        V("\x12\1\2\x0a\x0a\0\0\0\1\0\x81"
          "a\2\xff"),
        V("\x13\0\1\1\1\1\1\1\1\1\1\1g\1\1\1\0\0"),
        V("\x15\0\1\1\1\1\1\1\1\1\1\1g\1\1\1\0\1\1c"
          "1234567812345678\0"),
        V("\x18\1\0\0\0\0\0\0\0\1\0\1a\1b"),
    };
    char name[8];
    size_t size = (size_t)snprintf(name, sizeof name, "k%d", (int)random_below(r, 100));
    struct rdb_file_key key = {.name = bytes_make(name, size), .idle_s = -1, .frequency = -1};
    if (random_below(r, 2)) key.deadline_ms = NOW_MS;
    if (random_below(r, 4) == 0) key.idle_s = (int64_t)random_below(r, 100000);
    if (random_below(r, 4) == 0) key.frequency = (int64_t)random_below(r, 256);
    size_t i = random_below(r, ARRAY_LEN(values));
    rdb_file_put_key(w, &key, bytes_make(values[i].text, values[i].size));
}

/* A step and a small file without its header. */
static void spoil(struct buf *input, struct random *r)
{
    for (uint64_t i = random_below(r, 4); i > 0; i--) {
        input->data[random_below(r, input->size)] = (char)random_next(r);
    }
    if (random_below(r, 8) == 0) input->size = 1 + random_below(r, input->size);
}

void fuzz_make_input(struct buf *out, struct random *r)
{
    struct buf file = {.mem = out->mem};
    struct rdb_file_writer w;
    struct rdb_file_options options = {
        .with_checksum = random_below(r, 2),
        .compress = random_below(r, 2),
        .version = RDB_VERSION_MAX,
    };
    rdb_file_writer_init(&w, out->mem, sink, &file, &options);
    rdb_file_begin(&w);
    if (random_below(r, 2)) {
        rdb_file_put_aux(&w, BYTES_LITERAL("name"), BYTES_LITERAL("a value, a value, a value"));
    }
    if (random_below(r, 4) == 0) rdb_file_put_function(&w, BYTES_LITERAL("#!lua name=m"));
    for (uint64_t i = random_below(r, 4); i > 0; i--) {
        rdb_file_put_database(&w, (uint32_t)i, i, 0);
        for (uint64_t k = random_below(r, 4); k > 0; k--) put_key(&w, r);
    }
    CHECK(rdb_file_end(&w));
    rdb_file_writer_deinit(&w);
    buf_append(out, &(char){(char)random_next(r)}, 1);
    buf_append(out, file.data + HEADER_BYTES, file.size - HEADER_BYTES);
    buf_clear(&file);
    spoil(out, r);
}
