/* micro_journal: what the journal adds to a SET: CPU time of parcels, without and with a log.
 *
 * usage: micro_journal [requests per parcel] [bytes of a value]        default: 32 100
 *
 * Keys of 16 bytes among a million. With the log: everysec, written to a file in $TMPDIR (default
 * /tmp) by aof_step behind each parcel; the time of the write itself counts, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/parcel.h"
#include "persist/aof.h"
#include "shard/cmd/families.h"
#include "shard/shard.h"

#define KEYS 1000000
#define KEY_BYTES 16
#define SETS 4000000
#define ROUNDS 3

struct bench {
    struct shard *shard;
    struct shard_config config;
    struct parcel *parcel;
    char (*names)[KEY_BYTES];
    struct bytes args[PARCEL_REQUESTS_MAX][3];
    uint32_t requests;
    struct aof *aof;
};

static uint64_t cpu_ns(void)
{
    struct timespec t;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *aligned(size_t size)
{
    void *p = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    CHECK(p);
    memset(p, 0, size);
    return p;
}

static void bench_init(struct bench *b, uint32_t requests, size_t value_bytes)
{
    static char value[4096];
    *b = (struct bench){.requests = requests};
    b->config = (struct shard_config){.hz = 10};
    b->shard = aligned(sizeof *b->shard);
    b->parcel = aligned(sizeof *b->parcel);
    b->names = calloc(KEYS, KEY_BYTES);
    CHECK(b->names && value_bytes <= sizeof value);
    for (unsigned i = 0; i < KEYS; i++) {
        char text[KEY_BYTES + 1];
        snprintf(text, sizeof text, "key:%012u", i);
        memcpy(b->names[i], text, KEY_BYTES);
    }
    memset(value, 'x', sizeof value);
    for (uint32_t i = 0; i < requests; i++) {
        b->args[i][0] = BYTES_LITERAL("SET");
        b->args[i][2] = bytes_make(value, value_bytes);
    }
    struct shard_options o = {.shard_count = 1,
                              .database_count = 16,
                              .command_count = 1,
                              .hash_seed = 0x5eed,
                              .random_seed = 1,
                              .config = &b->config,
                              .net_count = 1};
    shard_init(b->shard, &o);
    shard_set_now(b->shard, 1000000000, 1700000000000);
}

static const struct command *row_of(const char *name)
{
    for (uint32_t i = 0; i < string_family.count; i++)
        if (strcmp(string_family.commands[i].name, name) == 0) return &string_family.commands[i];
    return NULL;
}

static void run_parcel(struct bench *b, const struct command *row, uint64_t first)
{
    struct parcel *pc = b->parcel;
    parcel_reset(pc, 0, 0);
    for (uint32_t i = 0; i < b->requests; i++) {
        struct bytes name = bytes_make(b->names[(first + i) * 7919 % KEYS], KEY_BYTES);
        b->args[i][1] = name;
        pc->requests[i] = (struct request){.command = row,
                                           .argv = b->args[i],
                                           .argc = 3,
                                           .resp = 2,
                                           .hash = bytes_hash(name, b->shard->keys.seed),
                                           .hashed_index = 1};
    }
    pc->request_count = (uint16_t)b->requests;
    shard_run_parcel(b->shard, pc);
    if (b->aof) aof_step(b->aof, b->shard->now_ns);
}

static double ns_per_set(struct bench *b)
{
    const struct command *row = row_of("set");
    uint64_t best = UINT64_MAX;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t start = cpu_ns();
        for (uint64_t i = 0; i < SETS; i += b->requests) run_parcel(b, row, i);
        uint64_t took = cpu_ns() - start;
        if (took < best) best = took;
    }
    return (double)best / SETS;
}

static void open_log(struct bench *b, struct env_loop *loop, const char *path)
{
    struct aof_options o = {.mem = &b->shard->mem,
                            .loop = loop,
                            .policy = AOF_NO,
                            .kind = SEGMENT_KIND_EFFECTS,
                            .generation = 1,
                            .first_lsn = 1,
                            .path = path};
    CHECK(aof_prepare(path) == OK && aof_create(&o, &b->aof) == OK);
    journal_open(b->shard, b->aof);
}

int main(int argc, char **argv)
{
    uint32_t requests = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 32;
    size_t value_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 100;
    CHECK(requests > 0 && requests <= PARCEL_REQUESTS_MAX);
    struct bench b;
    struct env_loop *loop;
    char path[256], why[2 * ENV_NAME_BYTES_MAX];
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/micro_journal.%d.aof", directory ? directory : "/tmp",
             (int)getpid());
    struct env_loop_options o = {.name = "log", .backend = ENV_EPOLL};
    CHECK(env_loop_create(&o, &loop, why) == OK);
    bench_init(&b, requests, value_bytes);
    double closed = ns_per_set(&b);
    open_log(&b, loop, path);
    double open = ns_per_set(&b);
    printf("SET, %u a parcel, values of %zu bytes: %.0f ns; with the journal %.0f ns (+%.0f)\n",
           requests, value_bytes, closed, open, open - closed);
    unlink(path);
    return 0;
}
