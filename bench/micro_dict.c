/* micro_dict: what the table of a shard costs: rates, bytes per key, longest single insertion.
 *
 * usage: micro_dict [millions of keys …]         default: 1 2 2.5 3 10
 *
 * Keys of 16 bytes, values of 32. Rates are per second of CPU time of one thread; lookups and
 * removals prefetch in batches as a shard does. The same insertions are made in three rounds, and
 * each counts with its shortest time: what recurs is the table's, the rest is the machine's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "shard/dict.h"

#define SEED 0x5eed5eed5eed5eedULL
#define KEY_BYTES 16
#define BATCH_MAX 64
#define ROUNDS 3
#define MISSING_FROM 100000000000ULL /* no key has such a number */

static void make_key(char *out, uint64_t n)
{
    memcpy(out, "key:", 4);
    for (unsigned i = 15; i >= 4; i--, n /= 10) out[i] = (char)('0' + n % 10);
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%*u %llu", &pages) == 1);
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A step that visits each of 0 … n - 1 once: it has no factor in common with n. */
static uint64_t walk_step(uint64_t n)
{
    uint64_t step = (uint64_t)((double)n * 0.6180339887) | 1;
    for (;; step += 2) {
        uint64_t a = step, b = n;
        while (b) {
            uint64_t r = a % b;
            a = b;
            b = r;
        }
        if (a == 1) return step % n;
    }
}

/* CPU time of this thread: what other programs on the machine take does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Allocates and inserts all keys; least_ns[i] becomes what the i-th took, if that is less. Returns
 * the rate. */
static double insert_all(struct dict *d, uint64_t n, uint32_t *least_ns)
{
    static const char value[] = "a value of thirty-two bytes, say";
    uint64_t start = cpu_ns();
    char key[KEY_BYTES];
    for (uint64_t i = 0; i < n; i++) {
        make_key(key, i);
        struct bytes name = bytes_make(key, KEY_BYTES);
        uint64_t before = env_now_ns();
        struct entry *e =
            entry_try_make_string(d->mem, name, bytes_make(value, 32), ENCODING_EMBSTR, 0);
        CHECK(e);
        dict_insert(d, bytes_hash(name, SEED), e, 0);
        uint64_t took = env_now_ns() - before;
        if (took < least_ns[i]) least_ns[i] = (uint32_t)took;
    }
    return (double)n * 1e3 / (double)(cpu_ns() - start);
}

static void print_stalls(const uint32_t *least_ns, uint64_t n)
{
    uint64_t longest = 0, over_50us = 0, over_100us = 0, over_200us = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (least_ns[i] > longest) longest = least_ns[i];
        over_50us += least_ns[i] > 50000;
        over_100us += least_ns[i] > 100000;
        over_200us += least_ns[i] > 200000;
    }
    printf("                longest insertion %.1f us (over 50 us: %llu, 100: %llu, 200: %llu)\n",
           (double)longest / 1e3, (unsigned long long)over_50us, (unsigned long long)over_100us,
           (unsigned long long)over_200us);
}

static double look_up(const struct dict *d, uint64_t n, unsigned batch, bool present)
{
    enum { COUNT = 4000000 };
    char(*keys)[17] = malloc(COUNT * sizeof *keys);
    uint64_t *hashes = malloc(COUNT * sizeof *hashes);
    uint64_t step = walk_step(n), at = 0;
    for (unsigned i = 0; i < COUNT; i++, at = (at + step) % n) {
        make_key(keys[i], present ? at : at + MISSING_FROM);
        hashes[i] = bytes_hash(bytes_make(keys[i], KEY_BYTES), SEED); /* Net threads hash. */
    }
    uint64_t found = 0, start = cpu_ns();
    for (unsigned i = 0; i + batch <= COUNT; i += batch) {
        for (unsigned j = 0; j < batch; j++) dict_prefetch_bucket(d, hashes[i + j]);
        for (unsigned j = 0; j < batch; j++) dict_prefetch_entry(d, hashes[i + j]);
        for (unsigned j = 0; j < batch; j++) {
            found += dict_find(d, hashes[i + j], bytes_make(keys[i + j], KEY_BYTES)) != NULL;
        }
    }
    double rate = COUNT * 1e3 / (double)(cpu_ns() - start);
    CHECK(found == (present ? COUNT / batch * batch : 0));
    free(keys);
    free(hashes);
    return rate;
}

static double remove_all(struct dict *d, uint64_t n, unsigned batch)
{
    char keys[BATCH_MAX][KEY_BYTES];
    uint64_t hashes[BATCH_MAX];
    uint64_t step = walk_step(n), at = 0, start = cpu_ns();
    for (uint64_t i = 0; i < n; i += batch) {
        unsigned count = (unsigned)MIN(batch, n - i);
        for (unsigned j = 0; j < count; j++, at = (at + step) % n) {
            make_key(keys[j], at);
            hashes[j] = bytes_hash(bytes_make(keys[j], KEY_BYTES), SEED);
            dict_prefetch_bucket(d, hashes[j]);
        }
        for (unsigned j = 0; j < count; j++) dict_prefetch_entry(d, hashes[j]);
        for (unsigned j = 0; j < count; j++) {
            struct entry *e = dict_remove(d, hashes[j], bytes_make(keys[j], KEY_BYTES));
            CHECK(e);
            entry_free_shell(d->mem, e);
        }
    }
    return (double)n * 1e3 / (double)(cpu_ns() - start);
}

static void look_up_all(const struct dict *d, uint64_t n)
{
    for (unsigned batch = 1; batch <= BATCH_MAX; batch *= batch == 1 ? 16 : 4) {
        printf("                batch %2u  hits %5.1f M/s  misses %5.1f M/s\n", batch,
               look_up(d, n, batch, true), look_up(d, n, batch, false));
    }
}

/* One round with memory that is new to the process; the first one tells rates and sizes too. */
static void run_round(unsigned round, uint64_t n, uint32_t *least_ns)
{
    struct mem mem;
    struct dict d;
    mem_init(&mem, "bench");
    dict_init(&d, &mem, SEED);
    uint64_t rss = resident_bytes();
    double rate = insert_all(&d, n, least_ns);
    rss = resident_bytes() - rss;
    if (round == 0) {
        printf("%9llu keys  allocate and insert %.1f M/s  table %.2f B/key  RSS %.1f B/key\n",
               (unsigned long long)n, rate, (double)d.bytes / (double)n, (double)rss / (double)n);
        look_up_all(&d, n);
    }
    rate = remove_all(&d, n, 16);
    if (round == 0) printf("                remove and free %.1f M/s\n", rate);
    dict_deinit(&d);
    mem_deinit(&mem);
}

static void run(uint64_t n)
{
    uint32_t *least_ns = malloc(n * sizeof *least_ns);
    CHECK(least_ns);
    memset(least_ns, 0xff, n * sizeof *least_ns);
    for (unsigned round = 0; round < ROUNDS; round++) run_round(round, n, least_ns);
    print_stalls(least_ns, n);
    free(least_ns);
}

int main(int argc, char **argv)
{
    static const double defaults[] = {1, 2, 2.5, 3, 10};
    if (argc == 1) {
        for (unsigned i = 0; i < ARRAY_LEN(defaults); i++) run((uint64_t)(defaults[i] * 1e6));
    }
    for (int i = 1; i < argc; i++) {
        double millions;
        if (!text_to_double(bytes_of(argv[i]), &millions) || !(millions > 0 && millions <= 1000)) {
            fprintf(stderr, "usage: %s [millions of keys ...]\n", argv[0]);
            return 2;
        }
        run((uint64_t)round(millions * 1e6));
    }
    return 0;
}
