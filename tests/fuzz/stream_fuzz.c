/* stream_fuzz.c: any bytes at all go to the reader of frozen streams.
 *
 * What it takes for a stream is read in both directions, asked for what its groups wait for,
 * changed, trimmed, frozen and read again, and must stay valid all the time; what it refuses must
 * leave nothing behind, nor have been read past its end, which the sanitizer watches: the input
 * lies in a block of exactly its size.
 */
#include "shard/shard.h"
#include "shard/type/stream_group.h"
#include "tests/fuzz/driver.h"

static const uint8_t types[] = {15, 19, 21};
static const struct shard_config config = {.stream_node_max_bytes = 512,
                                           .stream_node_max_entries = 8};

static uint64_t read_all(const struct stream *s, bool backwards)
{
    struct stream_iterator it;
    struct stream_entry e, found;
    uint64_t count = 0;
    stream_iterator_init(&it, s, STREAM_ID_MIN, STREAM_ID_MAX, backwards);
    for (; stream_iterator_next(&it, &e); count++) {
        char scratch[2][TEXT_I64_BYTES_MAX];
        struct bytes field, value;
        CHECK(stream_find(s, e.id, &found) && found.pair_count == e.pair_count);
        for (uint64_t i = 0; i < e.pair_count; i++) {
            stream_entry_next_pair(&e, &field, scratch[0], &value, scratch[1]);
            CHECK(field.data && value.data);
        }
    }
    return count;
}

static void use_groups(struct mem *mem, struct stream *s)
{
    for (uint32_t i = 0; i < s->group_count; i++) {
        struct stream_group *g = s->groups[i];
        uint64_t lag;
        UNUSED bool is_known = stream_group_lag(s, g, &lag);
        if (!stream_id_is_zero(s->last_id)) stream_group_advance(s, g, s->last_id);
        struct idtree_place first = idtree_first(&g->pending);
        if (idtree_place_exists(first)) {
            CHECK(stream_pending_remove(mem, g, idtree_id(first)));
        }
        if (g->consumer_count > 0) (void)stream_consumer_delete(mem, g, g->consumers[0]);
    }
}

static void change(struct mem *mem, struct stream *s, uint8_t choice)
{
    struct stream_id id = s->last_id;
    struct bytes pair[] = {BYTES_LITERAL("f"), BYTES_LITERAL("v")};
    for (unsigned i = 0; i < 10 && stream_id_next(&id); i++) {
        CHECK(stream_try_add(mem, &config, s, id, pair, 1));
    }
    stream_validate(s);
    for (unsigned i = 0; i < 3 && s->length > 0; i++) {
        struct stream_id victim = choice & 1 ? s->first_id : stream_last_entry_id(s);
        CHECK(stream_try_remove(mem, s, victim) == STREAM_REMOVED);
        stream_validate(s);
    }
    struct stream_trim t = {.by = choice & 2 ? STREAM_TRIM_MAXLEN : STREAM_TRIM_MINID,
                            .whole_nodes = choice & 4,
                            .length = choice >> 4,
                            .min_id = id};
    (void)stream_trim(mem, s, &t);
    stream_validate(s);
}

static void freeze_and_thaw(struct mem *mem, const struct stream *s)
{
    struct buf frozen = {.mem = mem};
    enum encoding encoding;
    CHECK(stream_ops.freeze(s, ENCODING_STREAM, &(struct rdb_writer){.out = &frozen}));
    struct bytes in = bytes_make(frozen.data + 1, frozen.size - 1);
    struct stream *again = stream_ops.thaw(mem, (uint8_t)frozen.data[0], &in, &encoding);
    CHECK(again && in.size == 0 && again->length == s->length);
    stream_validate(again);
    stream_free(mem, again);
    buf_clear(&frozen);
}

static void use(struct mem *mem, struct stream *s, uint8_t choice)
{
    stream_validate(s);
    CHECK(read_all(s, false) == s->length && read_all(s, true) == s->length);
    freeze_and_thaw(mem, s);
    struct stream *copy = stream_ops.copy(mem, s, ENCODING_STREAM);
    CHECK(copy);
    use_groups(mem, copy);
    change(mem, copy, choice);
    freeze_and_thaw(mem, copy);
    stream_free(mem, copy);
}

/* The first byte chooses the type, and what is done to a stream that was accepted. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct mem mem;
    mem_init(&mem, "stream_fuzz");
    uint8_t *exact = malloc(size);
    if (!exact) return 1;
    memcpy(exact, data + 1, size - 1);
    struct bytes in = bytes_make(exact, size - 1);
    enum encoding encoding;
    struct stream *s = stream_ops.thaw(&mem, types[data[0] % ARRAY_LEN(types)], &in, &encoding);
    if (s) {
        use(&mem, s, data[0]);
        stream_free(&mem, s);
    }
    free(exact);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (64 * 1024)
#define ENTRIES_MAX 20

static struct stream *make_stream(struct mem *mem, struct random *r)
{
    struct stream *s = stream_create(mem);
    struct stream_group *g = NULL;
    struct stream_consumer *c = NULL;
    if (random_below(r, 2)) {
        g = stream_group_try_create(mem, s, BYTES_LITERAL("g"), STREAM_ID_MIN, -1);
        c = stream_consumer_try_create(mem, g, BYTES_LITERAL("c"), 1000);
        CHECK(g && c);
    }
    for (uint64_t i = random_below(r, ENTRIES_MAX); i > 0; i--) {
        struct bytes pairs[] = {random_below(r, 2) ? BYTES_LITERAL("f") : BYTES_LITERAL("g"),
                                BYTES_LITERAL("1"), BYTES_LITERAL("h"), BYTES_LITERAL("text")};
        struct stream_id id = s->last_id;
        id.ms += random_below(r, 2);
        id.seq += 1 + random_below(r, 300);
        CHECK(stream_try_add(mem, &config, s, id, pairs, 1 + random_below(r, 2)));
        if (g && random_below(r, 2)) stream_pending_add(mem, g, c, id)->delivery_count = 1;
        if (random_below(r, 4) == 0) CHECK(stream_try_remove(mem, s, id) == STREAM_REMOVED);
    }
    return s;
}

/* A stream behind the first byte, with a few bytes spoilt in two runs of three. Lengths are set to
 * others that could stand there, as any byte may be one. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    struct mem *mem = out->mem;
    struct stream *s = make_stream(mem, r);
    struct buf frozen = {.mem = mem};
    CHECK(stream_ops.freeze(s, ENCODING_STREAM, &(struct rdb_writer){.out = &frozen}) &&
          frozen.size < INPUT_BYTES_MAX);
    memcpy(input, frozen.data, frozen.size);
    size_t size = frozen.size;
    buf_clear(&frozen);
    stream_free(mem, s);
    /* Type 19 mostly, as that is what was written. */
    input[0] = (uint8_t)(random_below(r, 80) * 3 + (random_below(r, 8) ? 1 : random_below(r, 3)));
    for (uint64_t i = random_below(r, 3); i > 0; i--) {
        static const uint8_t bytes[] = {0,    1,    2,    3,    4,    0x3f, 0x40, 0x7f, 0x80,
                                        0x81, 0xc0, 0xc3, 0xdf, 0xf0, 0xf1, 0xf4, 0xff};
        size_t at = 1 + random_below(r, size - 1);
        input[at] = random_below(r, 2) ? bytes[random_below(r, ARRAY_LEN(bytes))]
                                       : (uint8_t)(input[at] + 1 - 2 * random_below(r, 2));
    }
    out->size = random_below(r, 8) ? size : 1 + random_below(r, size);
}
