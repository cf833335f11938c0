/* sim.c: the whole server on one OS thread under a seeded scheduler, and the serial order that it
 * claims, checked.
 *
 *     sim [--seeds N] [--first SEED]     N runs, 500 by default
 *     sim --seed SEED                    one run again, with what it did
 *     sim --planted N                    a build with a planted bug in the log: N seeds find it
 *
 * A run boots a server of random shape, lets random clients send pipelines to it over a random
 * network, takes the turn order that the server recorded, and replays it one command after the
 * other: on a simple model in this process, and on a redis-server where there is one. Every reply
 * that a client received must be the one of the replay. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/sim/model.h"
#include "tests/sim/reference.h"
#include "tests/sim/run.h"

#define SEEDS_DEFAULT 500
#define CONTEXT_STEPS 12

struct options {
    uint64_t first, count;
    bool tells, is_planted;
};

/* For whoever reads the end of a run that a CHECK or a sanitizer has ended. */
static uint64_t seed_running;

static void on_abort(int number)
{
    char text[64] = "FAILED: repeat it with sim --seed ";
    size_t size = strlen(text);
    size += text_from_u64(text + size, seed_running);
    text[size++] = '\n';
    if (write(STDOUT_FILENO, text, size) < 0) _exit(3);
    signal(number, SIG_DFL);
    raise(number);
}

static void print_difference(const struct history *h, size_t bad, const char *who,
                             struct bytes expected)
{
    const struct step *s = h->order[bad];
    size_t first = bad > CONTEXT_STEPS ? bad - CONTEXT_STEPS : 0;
    for (size_t i = first; i <= bad; i++) {
        printf("  %zu ", i);
        print_step(h->order[i]);
    }
    print_bytes("  Shoal:     ", bytes_make(s->reply, s->reply_bytes));
    printf("  %s:\n", who);
    print_bytes("             ", expected);
}

static bool check_with_model(const struct history *h)
{
    struct model m = {.reply = NULL};
    bool ok = true;
    for (size_t i = 0; i < h->order_count && ok; i++) {
        const struct step *s = h->order[i];
        struct bytes expected = model_run(&m, s);
        ok = !s->reply || bytes_equal(expected, bytes_make(s->reply, s->reply_bytes));
        if (!ok) print_difference(h, i, "model", expected);
    }
    model_clear(&m);
    return ok;
}

static bool check_with_reference(struct reference *r, const struct history *h)
{
    struct bytes expected;
    size_t bad = reference_replay(r, h, &expected);
    if (bad == SIZE_MAX) return true;
    print_difference(h, bad, "redis-server", expected);
    return false;
}

static void tell(const struct run_shape *shape, const struct history *h)
{
    if (shape->threads)
        printf("threads %u, ", shape->threads);
    else
        printf("net-threads %u, shard-threads %u, ", shape->nets, shape->shards);
    if (shape->has_log)
        printf("appendfsync %s, %s, ", shape->policy,
               shape->crash ? shape->crash : "an orderly end");
    printf("%u clients, %u receive buffers, %zu commands in order%s\n", shape->clients,
           shape->buffers_max, h->order_count, shape->wakes_spuriously ? ", spurious wakes" : "");
    if (shape->has_faults) printf("allocations fail\n");
}

static bool run_here(uint64_t seed, const struct options *o, struct reference *r,
                     struct run_totals *totals, uint64_t *commands)
{
    struct history h = {.client_count = 0};
    struct run_shape shape = {.threads = 0};
    seed_running = seed;
    char why[RUN_WHY_BYTES] = "";
    bool ok = run_simulate(seed, &h, &shape, totals, why);
    if (!ok) printf("  %s\n", why);
    bool has_reference = r && !shape.has_faults; /* which refuses nothing */
    ok = ok && check_with_model(&h) && (!has_reference || check_with_reference(r, &h));
    if (!ok || o->tells) tell(&shape, &h);
    if (!ok) printf("FAILED: repeat it with sim --seed %llu\n", (unsigned long long)seed);
    *commands += h.order_count;
    if (ok) history_clear(&h);
    return ok;
}

/* What a child counts. */
struct shared {
    struct run_totals totals;
    uint64_t commands;
};

/* A crash leaves memory behind, so a run that may end in one has a process of its own. */
static bool run_apart(uint64_t seed, const struct options *o, struct reference *r,
                      struct run_totals *totals, uint64_t *commands)
{
    static struct shared *shared;
    if (!shared)
        shared =
            mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    *shared = (struct shared){*totals, *commands};
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bool ok = run_here(seed, o, r, &shared->totals, &shared->commands);
        fflush(stdout);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child);
    *totals = shared->totals;
    *commands = shared->commands;
    return status == 0;
}

static bool run_seed(uint64_t seed, const struct options *o, struct reference *r,
                     struct run_totals *totals, uint64_t *commands)
{
    bool is_apart = o->count > 1 && run_has_log(seed);
    return is_apart ? run_apart(seed, o, r, totals, commands)
                    : run_here(seed, o, r, totals, commands);
}

static bool parse(int argc, char **argv, struct options *o)
{
    const char *from_environment = getenv("SHOAL_SEED");
    *o = (struct options){.first = from_environment ? strtoull(from_environment, NULL, 10) : 1,
                          .count = SEEDS_DEFAULT};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seeds") == 0)
            o->count = value;
        else if (strcmp(argv[i], "--first") == 0)
            o->first = value;
        else if (strcmp(argv[i], "--seed") == 0)
            *o = (struct options){.first = value, .count = 1, .tells = true};
        else if (strcmp(argv[i], "--planted") == 0)
            *o = (struct options){.first = o->first, .count = value, .is_planted = true};
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options o;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: sim [--seeds N] [--first SEED] | --seed SEED | --planted N\n");
        return 2;
    }
    signal(SIGABRT, on_abort);
#ifndef __SANITIZE_ADDRESS__ /* it tells more than we would */
    signal(SIGSEGV, on_abort);
#endif
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct reference reference;
    bool has_reference = reference_start(&reference);
    if (!has_reference) printf("no redis-server here: checked against the model only\n");
    struct run_totals totals = {.steps = 0};
    uint64_t passed = 0, commands = 0;
    bool ok = true;
    for (uint64_t i = 0; i < o.count && ok; i++) {
        if (o.is_planted && !run_has_log(o.first + i)) continue;
        ok = run_seed(o.first + i, &o, has_reference ? &reference : NULL, &totals, &commands);
        passed += ok;
    }
    if (has_reference) reference_stop(&reference);
    printf("%llu commands, %llu turns in place, %llu with a position, %llu waits for locks, %llu "
           "steps\n",
           (unsigned long long)commands, (unsigned long long)totals.in_place,
           (unsigned long long)totals.sequenced, (unsigned long long)totals.locked_waits,
           (unsigned long long)totals.steps);
    printf("%llu with a log, %llu crashes, %llu rewrites begun before them, %llu undecided\n",
           (unsigned long long)totals.logged, (unsigned long long)totals.crashes,
           (unsigned long long)totals.rewrites, (unsigned long long)totals.undecided);
    printf("%llu with failing allocations: %llu of them, %llu commands refused, %llu runs with a "
           "connection closed\n",
           (unsigned long long)totals.faulty, (unsigned long long)totals.faults,
           (unsigned long long)totals.refused, (unsigned long long)totals.cut);
    printf("%llu passed, %u failed\n", (unsigned long long)passed, ok ? 0U : 1U);
    return ok == o.is_planted;
}
