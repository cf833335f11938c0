/* micro_dict: what the table of a shard costs: rates, bytes per key, longest single insertion.
 *
 * usage: micro_dict [millions of keys …]         default: 1 2 2.5 3 10
 *
 * Keys of 16 bytes, values of 32. Rates are per second of CPU time of one thread; lookups and
 * removals prefetch in batches as a shard does. An insertion that was interrupted by another
 * program does not count as a stall.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "shard/dict.h"

#define SEED 0x5eed5eed5eed5eedULL
#define BATCH_MAX 64

static void make_key(char *out, uint64_t n)
{
    snprintf(out, 17, "key:%012llu", (unsigned long long)n);
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%*u %llu", &pages) == 1);
    fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* A fixed walk over 0 … n - 1 that visits each once when the step has no factor in common with n. */
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

/* How often this thread was thrown off its core. */
static long preemptions(void)
{
    struct rusage use;
    CHECK(getrusage(RUSAGE_THREAD, &use) == 0);
    return use.ru_nivcsw;
}

struct stalls {
    uint64_t longest_ns, over_50us, over_100us, over_200us, disturbed;
};

static void note_stall(struct stalls *s, uint64_t took_ns, long *preempted)
{
    if (took_ns < 20000) return;
    long now = preemptions();
    if (now != *preempted) { /* Not ours. */
        *preempted = now;
        s->disturbed++;
        return;
    }
    if (took_ns > s->longest_ns) s->longest_ns = took_ns;
    s->over_50us += took_ns > 50000;
    s->over_100us += took_ns > 100000;
    s->over_200us += took_ns > 200000;
}

static struct stalls insert_all(struct dict *d, uint64_t n, double *rate)
{
    static const char value[] = "a value of thirty-two bytes, say";
    struct stalls s = {0};
    long preempted = preemptions();
    uint64_t start = cpu_ns();
    char key[17];
    for (uint64_t i = 0; i < n; i++) {
        make_key(key, i);
        struct bytes name = bytes_make(key, 16);
        uint64_t before = env_now_ns();
        struct entry *e =
            entry_try_make_string(d->mem, name, bytes_make(value, 32), ENCODING_EMBSTR, 0);
        CHECK(e);
        dict_insert(d, bytes_hash(name, SEED), e, 0);
        note_stall(&s, env_now_ns() - before, &preempted);
    }
    *rate = (double)n * 1e3 / (double)(cpu_ns() - start);
    return s;
}

static double look_up(const struct dict *d, uint64_t n, unsigned batch, bool present)
{
    enum { COUNT = 4000000 };
    char(*keys)[17] = malloc(COUNT * sizeof *keys);
    uint64_t *hashes = malloc(COUNT * sizeof *hashes);
    uint64_t step = walk_step(n), at = 0;
    for (unsigned i = 0; i < COUNT; i++, at = (at + step) % n) {
        make_key(keys[i], present ? at : at + 100000000000ULL);
        hashes[i] = bytes_hash(bytes_make(keys[i], 16), SEED); /* Net threads hash. */
    }
    uint64_t found = 0, start = cpu_ns();
    for (unsigned i = 0; i + batch <= COUNT; i += batch) {
        for (unsigned j = 0; j < batch; j++) dict_prefetch_bucket(d, hashes[i + j]);
        for (unsigned j = 0; j < batch; j++) dict_prefetch_entry(d, hashes[i + j]);
        for (unsigned j = 0; j < batch; j++) {
            found += dict_find(d, hashes[i + j], bytes_make(keys[i + j], 16)) != NULL;
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
    char keys[BATCH_MAX][17];
    uint64_t hashes[BATCH_MAX];
    uint64_t step = walk_step(n), at = 0, start = cpu_ns();
    for (uint64_t i = 0; i < n; i += batch) {
        unsigned count = (unsigned)MIN(batch, n - i);
        for (unsigned j = 0; j < count; j++, at = (at + step) % n) {
            make_key(keys[j], at);
            hashes[j] = bytes_hash(bytes_make(keys[j], 16), SEED);
            dict_prefetch_bucket(d, hashes[j]);
        }
        for (unsigned j = 0; j < count; j++) dict_prefetch_entry(d, hashes[j]);
        for (unsigned j = 0; j < count; j++) {
            struct entry *e = dict_remove(d, hashes[j], bytes_make(keys[j], 16));
            CHECK(e);
            entry_free_shell(d->mem, e);
        }
    }
    return (double)n * 1e3 / (double)(cpu_ns() - start);
}

static void run(uint64_t n)
{
    struct mem mem;
    mem_init(&mem, "bench");
    struct dict d;
    dict_init(&d, &mem, SEED);
    uint64_t rss = resident_bytes();
    double insert_rate;
    struct stalls s = insert_all(&d, n, &insert_rate);
    rss = resident_bytes() - rss;
    printf("%9llu keys  allocate and insert %4.1f M/s  longest %5.1f us"
           "  (>50: %llu, >100: %llu, >200: %llu, disturbed: %llu)\n",
           (unsigned long long)n, insert_rate, (double)s.longest_ns / 1e3,
           (unsigned long long)s.over_50us, (unsigned long long)s.over_100us,
           (unsigned long long)s.over_200us, (unsigned long long)s.disturbed);
    printf("                table %5.2f B/key  RSS %5.1f B/key\n", (double)d.bytes / (double)n,
           (double)rss / (double)n);
    for (unsigned batch = 1; batch <= BATCH_MAX; batch *= batch == 1 ? 16 : 4) {
        printf("                batch %2u  hits %5.1f M/s  misses %5.1f M/s\n", batch,
               look_up(&d, n, batch, true), look_up(&d, n, batch, false));
    }
    printf("                remove and free %5.1f M/s\n", remove_all(&d, n, 16));
    dict_deinit(&d);
    mem_deinit(&mem);
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
