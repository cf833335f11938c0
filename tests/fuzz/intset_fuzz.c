/* intset_fuzz.c: any bytes at all go to the intset's reader.
 *
 * What it takes as an intset is read, and a value that the input names is added and removed; it
 * must stay valid. What it refuses must not have been read past its end, which the sanitizer
 * watches: the input lies in a block of exactly its size.
 */
#include "shard/type/intset.h"
#include "tests/fuzz/driver.h"

#define VALUE_BYTES 8

static void use(struct mem *mem, struct intset **set, int64_t value)
{
    uint32_t count = intset_length(*set);
    for (uint32_t i = 0; i < count; i++) CHECK(intset_has(*set, intset_get(*set, i)));
    bool had = intset_has(*set, value), added;
    CHECK(intset_try_add(mem, set, value, &added));
    intset_validate(*set);
    CHECK(added == !had && intset_has(*set, value));
    CHECK(intset_remove(mem, set, value));
    intset_validate(*set);
    CHECK(!intset_has(*set, value) && intset_length(*set) == count - had);
}

/* The first bytes are a value to add; the rest is the intset. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < VALUE_BYTES + 1) return 0;
    struct mem mem;
    mem_init(&mem, "intset_fuzz");
    int64_t value;
    memcpy(&value, data, VALUE_BYTES);
    size -= VALUE_BYTES;
    uint8_t *exact = malloc(size);
    if (!exact) return 1;
    memcpy(exact, data + VALUE_BYTES, size);
    struct bytes bytes = bytes_make(exact, size);
    struct intset *set = intset_try_from_bytes(&mem, bytes);
    CHECK((set != NULL) == intset_is_valid(bytes));
    if (set) use(&mem, &set, value);
    intset_free(&mem, set);
    free(exact);
    mem_deinit(&mem);
    return 0;
}

/* ---- inputs ---- */

#define INPUT_BYTES_MAX (64 * 1024)
#define ELEMENTS_MAX 12

static int64_t random_value(struct random *r)
{
    return (int64_t)random_next(r) >> random_below(r, 64);
}

/* A value and an intset, with a few bytes spoilt in two runs of three. */
void fuzz_make_input(struct buf *out, struct random *r)
{
    uint8_t *input = (uint8_t *)buf_reserve(out, INPUT_BYTES_MAX);
    struct mem *mem = out->mem;
    struct intset *set = intset_try_create(mem);
    CHECK(set);
    int64_t value = random_value(r);
    for (uint64_t i = random_below(r, ELEMENTS_MAX); i > 0; i--) {
        bool added;
        CHECK(intset_try_add(mem, &set, random_below(r, 8) ? random_value(r) : value, &added));
    }
    size_t size = intset_bytes(set);
    memcpy(input, &value, VALUE_BYTES);
    memcpy(input + VALUE_BYTES, set, size);
    intset_free(mem, set);
    for (uint64_t i = random_below(r, 3); i > 0; i--) {
        size_t at = random_below(r, random_below(r, 2) ? INTSET_HEADER_BYTES : size);
        input[VALUE_BYTES + at] = (uint8_t)random_below(r, random_below(r, 2) ? 10 : 256);
    }
    if (random_below(r, 8) == 0) size = 1 + random_below(r, size);
    out->size = VALUE_BYTES + size;
}
