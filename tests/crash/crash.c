/* crash.c: explores what crashes and failing disks do to the log.
 *
 *     crash                      20,000 crash states and 3,000 faults
 *     crash --states N --faults N --seed S
 *     crash --plant NAME         the same with a planted bug; succeeds if it is found
 */
#include "base/log.h"
#include "tests/crash/world.h"

#define EVENTS 260
#define LATER_EVENTS 100
#define WORKLOADS_PER_PLANT_MAX 400

struct totals {
    size_t states, faults, workloads, restarts, acknowledged, faults_heard;
    size_t by_crash[DISK_CRASH_COUNT];
};

struct run {
    uint64_t seed;
    enum plant plant;
    struct totals totals;
};

static void report(const struct run *run, const struct world *w, size_t length, enum disk_crash how,
                   const char *wrong)
{
    static const char *const policies[] = {"always", "everysec", "no"};
    static const char *const crashes[DISK_CRASH_COUNT] = {
        "kill", "lose all", "keep all", "lose writes", "lose sectors", "tear last", "misplace"};
    printf("VIOLATION seed %llu, appendfsync %s, %u shards, crash '%s' after %zu of %zu: %s\n",
           (unsigned long long)run->seed, policies[w->policy], w->shard_count, crashes[how], length,
           disk_trace_length(w->disk), wrong);
}

/* always survives a power cut; the others the end of the process. */
static bool is_promised(const struct world *w, enum disk_crash how)
{
    return w->policy == AOF_ALWAYS || how == DISK_KILL || how == DISK_KEEP_ALL;
}

/* One crash. False: a violation. */
static bool explore(struct run *run, struct world *w, size_t length, enum disk_crash how)
{
    unsigned survivors[STREAMS_MAX];
    struct disk *d = disk_crash(w->disk, length, how, random_next(&w->random));
    const char *wrong = check_disk(w, d, length, is_promised(w, how), survivors);
    disk_destroy(d);
    disk_use(w->disk);
    run->totals.states++;
    run->totals.by_crash[how]++;
    if (wrong) report(run, w, length, how, wrong);
    return !wrong;
}

static size_t some_length(struct world *w)
{
    size_t start = disk_trace_start(w->disk);
    return start + random_below(&w->random, disk_trace_length(w->disk) - start + 1);
}

/* Every prefix of the trace, each with crashes of several kinds. */
static bool explore_all(struct run *run, struct world *w, size_t from, unsigned kinds)
{
    for (size_t length = from; length <= disk_trace_length(w->disk); length++) {
        for (unsigned i = 0; i < kinds; i++) {
            if (!explore(run, w, length,
                         (enum disk_crash)random_below(&w->random, DISK_CRASH_COUNT)))
                return false;
        }
    }
    return true;
}

/* A crash somewhere, a restart with another number of shards, more work, and crashes again. */
static bool explore_restart(struct run *run, struct world *w)
{
    unsigned survivors[STREAMS_MAX];
    size_t length = some_length(w);
    enum disk_crash how = (enum disk_crash)random_below(&w->random, DISK_CRASH_COUNT);
    struct disk *d = disk_crash(w->disk, length, how, random_next(&w->random));
    const char *wrong = check_disk(w, d, length, is_promised(w, how), survivors);
    if (wrong) {
        report(run, w, length, how, wrong);
        disk_destroy(d);
        return false;
    }
    run->totals.states++;
    run->totals.restarts++;
    wrong = check_restart(w, d, length, survivors);
    if (wrong) {
        report(run, w, length, how, wrong);
        return false;
    }
    /* After the end of a process a power cut may still take what was not synced, which can make
     * other transactions whole than those that this recovery has found. */
    size_t from = how == DISK_KILL ? disk_trace_length(w->disk) : disk_trace_start(w->disk);
    world_run(w, LATER_EVENTS);
    return explore_all(run, w, from, 1);
}

static bool run_workload(struct run *run)
{
    struct world w;
    world_init(&w, run->seed, run->plant);
    CHECK(world_boot(&w) == OK);
    world_run(&w, EVENTS / 2 + (unsigned)random_below(&w.random, EVENTS));
    bool ok = explore_all(run, &w, 0, 3);
    for (unsigned i = 0; i < w.op_count; i++)
        run->totals.acknowledged += w.ops[i].acked_at != NEVER;
    for (unsigned i = 0; ok && i < 2; i++) ok = explore_restart(run, &w);
    run->totals.workloads++;
    world_deinit(&w);
    return ok;
}

/* ---- faults ---- */

/* What must be so when the disk works again: everything that was asked for is acknowledged, unless
 * the policy ends the process. */
static bool check_settled(struct run *run, struct world *w)
{
    bool is_settled = world_settle(w);
    const char *wrong = NULL;
    if (w->is_stuck) wrong = "the logs did not settle";
    if (disk_syncs_after_failure(w->disk) > 0)
        wrong = "a file was synced after its sync had failed";
    for (unsigned i = 0; is_settled && !wrong && i < w->op_count; i++) {
        const struct op *op = &w->ops[i];
        if (!op->is_gone && op->acked_at == NEVER) wrong = "an op was never acknowledged";
    }
    if (wrong) report(run, w, 0, DISK_KILL, wrong);
    return !wrong;
}

static bool run_fault(struct run *run, size_t call, enum disk_fault fault)
{
    struct world w;
    bool ok = true;
    world_init(&w, run->seed, PLANT_NONE);
    /* ENOSPC lasts. */
    disk_plant(w.disk, call, fault == DISK_ENOSPC ? 1 + call % 9 : 1, fault);
    if (world_boot(&w) == OK) {
        world_run(&w, EVENTS / 2);
        run->totals.faults_heard += disk_has_failed(w.disk);
        ok = check_settled(run, &w);
        size_t length = disk_trace_length(w.disk);
        for (unsigned i = 0; ok && i < DISK_CRASH_COUNT; i++)
            ok = explore(run, &w, length, (enum disk_crash)i);
        for (unsigned i = 0; ok && i < 4; i++)
            ok = explore(run, &w, some_length(&w),
                         (enum disk_crash)random_below(&w.random, DISK_CRASH_COUNT));
    } else {
        run->totals.faults_heard++;
    }
    run->totals.faults++;
    if (!ok) printf("that was fault %d at call %zu\n", (int)fault, call);
    world_deinit(&w);
    return ok;
}

/* Every call of recovery fails once. */
static bool run_recovery_faults(struct run *run)
{
    struct world w;
    bool ok = true, is_over = false;
    world_init(&w, run->seed, PLANT_NONE);
    CHECK(world_boot(&w) == OK);
    world_run(&w, EVENTS);
    size_t length = disk_trace_length(w.disk);
    for (size_t call = 0; ok && !is_over; call++) {
        enum disk_fault fault = (enum disk_fault)(1 + call % (DISK_FAULT_COUNT - 1));
        struct disk *d = disk_crash(w.disk, length, DISK_LOSE_SECTORS, call);
        const char *wrong = check_faulty_recovery(&w, d, call, fault, &is_over);
        disk_destroy(d);
        disk_use(w.disk);
        if (wrong) report(run, &w, length, DISK_LOSE_SECTORS, wrong);
        ok = !wrong;
        run->totals.faults++;
    }
    world_deinit(&w);
    return ok;
}

static size_t calls_of(uint64_t seed)
{
    struct world w;
    world_init(&w, seed, PLANT_NONE);
    CHECK(world_boot(&w) == OK);
    world_run(&w, EVENTS / 2);
    size_t calls = disk_call_count(w.disk);
    world_deinit(&w);
    return calls;
}

static bool run_faults(struct run *run)
{
    size_t calls = calls_of(run->seed);
    for (size_t call = 0; call < calls; call++) {
        for (enum disk_fault fault = DISK_EIO; fault < DISK_FAULT_COUNT; fault++) {
            if (!run_fault(run, call, fault)) return false;
        }
    }
    return run_recovery_faults(run);
}

/* ---- main ---- */

static enum plant plant_of(const char *name)
{
    for (enum plant p = PLANT_NONE; p < PLANT_COUNT; p++)
        if (strcmp(plant_names[p], name) == 0) return p;
    fprintf(stderr, "crash: there is no plant %s\n", name);
    exit(2);
}

static int run_plant(struct run *run)
{
    for (unsigned i = 0; i < WORKLOADS_PER_PLANT_MAX; i++, run->seed++) {
        if (run_workload(run)) continue;
        printf("found %s after %zu states\n1 passed, 0 failed\n", plant_names[run->plant],
               run->totals.states);
        return 0;
    }
    printf("NOT found: %s in %zu states\n0 passed, 1 failed\n", plant_names[run->plant],
           run->totals.states);
    return 1;
}

static int run_all(struct run *run, size_t states, size_t faults)
{
    uint64_t first = run->seed;
    bool ok = true;
    for (; ok && run->totals.states < states; run->seed++) ok = run_workload(run);
    size_t explored = run->totals.states;
    run->seed = first;
    for (; ok && run->totals.faults < faults; run->seed++) ok = run_faults(run);
    const struct totals *t = &run->totals;
    printf("%zu crash states of %zu workloads, %zu restarts, %zu acknowledged operations\n",
           explored, t->workloads, t->restarts, t->acknowledged);
    printf("%zu faults, %zu of them heard of, with %zu more crash states\n", t->faults,
           t->faults_heard, t->states - explored);
    printf("%d passed, %d failed\n", ok ? 2 : 0, ok ? 0 : 1);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct run run = {.seed = 1};
    size_t states = 20000, faults = 3000;
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--seed") == 0) run.seed = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--states") == 0) states = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--faults") == 0) faults = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--plant") == 0) run.plant = plant_of(value);
    }
    log_set_level(LOG_NOTHING);
    return run.plant != PLANT_NONE ? run_plant(&run) : run_all(&run, states, faults);
}
