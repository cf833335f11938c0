#include "tests/fuzz/driver.h"

#ifdef SHOAL_LIBFUZZER

#define NEW_INPUT_ODDS 50

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct random random = {seed};
    if (size > 1 && random_below(&random, NEW_INPUT_ODDS) > 0)
        return LLVMFuzzerMutate(data, size, max_size);
    struct mem mem;
    mem_init(&mem, "inputs");
    struct buf input = {.mem = &mem};
    fuzz_make_input(&input, &random);
    size = MIN(input.size, max_size);
    memcpy(data, input.data, size);
    buf_clear(&input);
    mem_deinit(&mem);
    return size;
}

#else

#define REPLAY_BYTES_MAX (16u << 20)

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

/* In a block of just its size, so that a sanitizer sees what reads beyond it. */
static void run_one(const char *data, size_t size)
{
    uint8_t *exact = malloc(size);
    CHECK(exact || size == 0);
    if (size > 0) memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void run_random(void)
{
    uint64_t seed = setting("SHOAL_SEED", 1), runs = setting("SHOAL_RUNS", 20000);
    struct mem mem;
    mem_init(&mem, "inputs");
    struct buf input = {.mem = &mem};
    for (uint64_t i = 0; i < runs; i++) {
        struct random random = {seed + i};
        /* Each run has its own seed; the last one printed leads to a crash within 1,000 runs. */
        if (i % 1000 == 0) {
            printf("SHOAL_SEED=%llu\n", (unsigned long long)(seed + i));
            fflush(stdout);
        }
        input.size = 0;
        fuzz_make_input(&input, &random);
        run_one(input.data, input.size);
    }
    buf_clear(&input);
    mem_deinit(&mem);
}

static bool replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *data = malloc(REPLAY_BYTES_MAX);
    if (!file || !data) {
        perror(path);
        free(data);
        return false;
    }
    run_one(data, fread(data, 1, REPLAY_BYTES_MAX, file));
    fclose(file);
    free(data);
    return true;
}

int main(int argc, char **argv)
{
    bool done = true;
    if (argc == 1) run_random();
    for (int i = 1; i < argc; i++) done &= replay(argv[i]);
    return !done;
}

#endif
