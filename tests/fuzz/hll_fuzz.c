/* hll_fuzz.c: any bytes at all are taken for a HyperLogLog.
 *
 * What has the header of a sketch is counted and merged, and marks that the input names are set in
 * a draft of it, which is then made dense. Nothing may be read past the end, which the sanitizer
 * watches: the input lies in a block of exactly its size. A valid sketch stays valid and gets
 * exactly the registers that it should.
 */
#include "base/mem.h"
#include "shard/type/hll.h"
#include "tests/fuzz/driver.h"

#define MARKS 6
#define MARK_BYTES 3
#define OPTION_BYTES (2 + MARKS * MARK_BYTES) /* the limit of sparse sketches, then the marks */

static void raise_marks(struct hll_draft *d, const uint8_t *marks, struct hll_registers *model,
                        bool is_valid)
{
    for (unsigned i = 0; i < MARKS; i++, marks += MARK_BYTES) {
        struct hll_mark mark = {.index = (uint32_t)(marks[0] << 8 | marks[1]) % HLL_REGISTERS,
                                .rank = (uint8_t)(marks[2] % 51 + 1)};
        enum hll_result result = hll_draft_raise(d, mark);
        if (!is_valid) continue;
        CHECK(result == (model->ranks[mark.index] < mark.rank ? HLL_CHANGED : HLL_SAME));
        model->ranks[mark.index] = MAX(model->ranks[mark.index], mark.rank);
    }
}

static void assert_is(struct bytes sketch, const struct hll_registers *model)
{
    static struct hll_registers own;
    memset(&own, 0, sizeof own);
    CHECK(hll_has_header(sketch) && hll_merge_into(sketch, &own));
    CHECK(memcmp(&own, model, sizeof own) == 0);
}

static void use(struct mem *mem, struct bytes sketch, const uint8_t *options)
{
    static struct hll_registers model;
    memset(&model, 0, sizeof model);
    int64_t count, merged_count;
    bool is_valid = hll_merge_into(sketch, &model);
    CHECK(hll_estimate(sketch, &count) == is_valid);
    merged_count = hll_estimate_registers(&model);
    if (is_valid) CHECK(count == merged_count);
    (void)!hll_cached_count(sketch, &count);

    struct hll_draft d;
    hll_draft_begin(&d, mem, sketch, (uint64_t)(options[0] << 8 | options[1]) % 4096);
    raise_marks(&d, options + 2, &model, is_valid);
    if (is_valid) assert_is(d.sketch, &model);
    enum hll_result result = hll_draft_make_dense(&d);
    if (is_valid) {
        CHECK(result <= HLL_CHANGED && hll_is_dense(d.sketch));
        assert_is(d.sketch, &model);
    }
    CHECK(hll_draft_finish(&d));
    hll_draft_free(&d);
}

/* The first bytes are the options; the rest is the sketch. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < OPTION_BYTES + 1) return 0;
    struct mem mem;
    mem_init(&mem, "hll_fuzz");
    size -= OPTION_BYTES;
    uint8_t *exact = malloc(size);
    if (!exact) return 1;
    memcpy(exact, data + OPTION_BYTES, size);
    struct bytes value = bytes_make(exact, size);
    if (hll_has_header(value)) use(&mem, value, data);
    free(exact);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (64 * 1024)

static size_t make_runs(uint8_t *p, struct random *r)
{
    size_t size = 0;
    uint32_t left = HLL_REGISTERS;
    while (left > 0 && size < 200) {
        uint32_t count = 1 + (uint32_t)random_below(r, random_below(r, 2) ? 4 : 3000);
        if (count > left) count = left;
        left -= count;
        if (count <= 4 && random_below(r, 4)) {
            p[size++] = (uint8_t)(0x80 | random_below(r, 3) << 2 | (count - 1));
        } else {
            p[size++] = (uint8_t)(0x40 | (count - 1) >> 8);
            p[size++] = (uint8_t)(count - 1);
        }
    }
    if (left > 0) {
        p[size++] = (uint8_t)(0x40 | (left - 1) >> 8);
        p[size++] = (uint8_t)(left - 1);
    }
    return size;
}

/* Options and a sketch, with a few bytes spoilt in two runs of three. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    for (unsigned i = 0; i < OPTION_BYTES; i++) input[i] = (uint8_t)random_next(r);
    uint8_t *sketch = input + OPTION_BYTES;
    memcpy(sketch, hll_empty().data, HLL_HEADER_BYTES);
    size_t size = HLL_HEADER_BYTES;
    if (random_below(r, 8) == 0) {
        sketch[4] = 0;
        for (; size < HLL_DENSE_BYTES; size++) sketch[size] = (uint8_t)random_next(r);
    } else {
        size += make_runs(sketch + size, r);
    }
    for (uint64_t i = random_below(r, 3); i > 0; i--) {
        sketch[random_below(r, size)] = (uint8_t)random_next(r);
    }
    if (random_below(r, 6) == 0) size = 1 + random_below(r, size);
    out->size = OPTION_BYTES + size;
}
