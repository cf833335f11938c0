/* intset_fuzz.c: any bytes at all go to the intset's reader.
 *
 * What it takes as an intset is read, and a value that the input names is added and removed; it
 * must stay valid. What it refuses must not have been read past its end, which the sanitizer
 * watches: the input lies in a block of exactly its size.
 *
 * With -DSHOAL_LIBFUZZER this is a target for clang's fuzzer; else main() makes inputs itself:
 * mutated intsets. SHOAL_SEED and SHOAL_RUNS say which and how many; arguments are files to replay.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shard/type/intset.h"
#include "tests/unit/random.h"

#define VALUE_BYTES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

#ifndef SHOAL_LIBFUZZER

#define INPUT_BYTES_MAX (64 * 1024)
#define ELEMENTS_MAX 12

static int64_t random_value(struct random *r)
{
    return (int64_t)random_next(r) >> random_below(r, 64);
}

/* A value and an intset, with a few bytes spoilt in two runs of three. */
static size_t make_input(struct mem *mem, uint8_t *input, struct random *r)
{
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
    return VALUE_BYTES + size;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static int run_random(void)
{
    uint64_t seed = setting("SHOAL_SEED", 1), runs = setting("SHOAL_RUNS", 20000);
    struct mem mem;
    mem_init(&mem, "inputs");
    uint8_t *input = malloc(INPUT_BYTES_MAX);
    if (!input) return 1;
    for (uint64_t i = 0; i < runs; i++) {
        struct random random = {seed + i};
        /* Each run has its own seed; the last one printed leads to a crash within 1,000 runs. */
        if (i % 1000 == 0) {
            printf("SHOAL_SEED=%llu\n", (unsigned long long)(seed + i));
            fflush(stdout);
        }
        LLVMFuzzerTestOneInput(input, make_input(&mem, input, &random));
    }
    free(input);
    mem_deinit(&mem);
    return 0;
}

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *input = malloc(INPUT_BYTES_MAX);
    if (!file || !input) {
        perror(path);
        return 1;
    }
    size_t size = fread(input, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, size);
    free(input);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = argc > 1 ? 0 : run_random();
    for (int i = 1; i < argc; i++) failed |= replay(argv[i]);
    return failed;
}

#endif
