/* micro_sequencer.c: turns per second of two threads that share the counter.
 *
 * usage: micro_sequencer [millions of turns per thread]     default: 5
 *
 * "take" is the counter alone. "turns" is the way of a parcel: both threads carry a net and a shard
 * role, every turn has a parcel for each shard, and every parcel is merged by position, sent home
 * and taken back. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"

#define THREADS 2
#define AHEAD 8 /* turns under way per thread */
#define SPINS_MAX 1000

static struct mesh mesh;
static uint64_t turns_per_thread;
static pthread_barrier_t start_line;
static _Atomic unsigned busy;

struct actor {
    struct merge merge;
    struct parcel *pool[THREADS][AHEAD];
    uint64_t sent, home[THREADS];
    uint16_t id;
};

static void *take_positions(UNUSED void *argument)
{
    pthread_barrier_wait(&start_line);
    for (uint64_t i = 0; i < turns_per_thread; i++) sequencer_take(&mesh.sequencer);
    return NULL;
}

static void publish(struct actor *a)
{
    for (uint16_t shard = 0; shard < THREADS; shard++) {
        struct parcel *pc = a->pool[shard][a->sent % AHEAD];
        parcel_reset(pc, a->id, shard);
        CHECK(mailbox_push(mesh_to_shard(&mesh, a->id, shard), pc));
    }
    uint64_t position = sequencer_take(&mesh.sequencer);
    for (uint16_t shard = 0; shard < THREADS; shard++)
        atomic_store_explicit(&a->pool[shard][a->sent % AHEAD]->position, position,
                              memory_order_release);
    a->sent++;
}

static bool has_credit(const struct actor *a)
{
    for (uint16_t shard = 0; shard < THREADS; shard++)
        if (a->sent - a->home[shard] >= AHEAD) return false;
    return a->sent < turns_per_thread;
}

static bool is_done(const struct actor *a)
{
    for (uint16_t shard = 0; shard < THREADS; shard++)
        if (a->home[shard] < turns_per_thread) return false;
    return true;
}

static bool step(struct actor *a)
{
    bool any = false;
    for (; has_credit(a); any = true) publish(a);
    struct parcel *pc;
    for (; (pc = merge_next(&a->merge)); any = true)
        CHECK(mailbox_push(mesh_to_net(&mesh, a->id, pc->net_id), pc));
    for (uint16_t shard = 0; shard < THREADS; shard++)
        for (; mailbox_pop(mesh_to_net(&mesh, shard, a->id)); any = true) a->home[shard]++;
    return any;
}

static void *run_turns(void *argument)
{
    struct actor *a = argument;
    bool counted = true;
    pthread_barrier_wait(&start_line);
    for (unsigned spins = 0; atomic_load_explicit(&busy, memory_order_relaxed) > 0;) {
        if (!step(a) && ++spins % SPINS_MAX == 0) sched_yield();
        if (!counted || !is_done(a)) continue;
        counted = false;
        atomic_fetch_sub(&busy, 1);
    }
    return NULL;
}

static double run(struct actor *actors, void *(*what)(void *))
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&start_line, NULL, THREADS + 1);
    atomic_store(&busy, THREADS);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, what, &actors[i]) == 0);
    pthread_barrier_wait(&start_line);
    uint64_t start = env_now_ns();
    for (unsigned i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start_line);
    return THREADS * (double)turns_per_thread * 1e3 / (double)(env_now_ns() - start);
}

int main(int argc, char **argv)
{
    static struct actor actors[THREADS];
    turns_per_thread = (uint64_t)((argc > 1 ? atof(argv[1]) : 5) * 1e6);
    mesh_init(&mesh, THREADS, THREADS, THREADS);
    for (uint16_t i = 0; i < THREADS; i++) {
        actors[i].id = i;
        merge_init(&actors[i].merge, mesh_to_shard(&mesh, 0, i), THREADS);
        for (unsigned k = 0; k < THREADS * AHEAD; k++)
            actors[i].pool[k / AHEAD][k % AHEAD] =
                mem_alloc_aligned(&mesh.mem, sizeof(struct parcel), CACHE_LINE);
    }
    printf("sequencer   take       %7.1f M turns/s\n", run(actors, take_positions));
    printf("sequencer   turns      %7.1f M turns/s\n", run(actors, run_turns));
    for (uint16_t i = 0; i < THREADS; i++)
        for (unsigned k = 0; k < THREADS * AHEAD; k++)
            mem_free(&mesh.mem, actors[i].pool[k / AHEAD][k % AHEAD], sizeof(struct parcel));
    mesh_deinit(&mesh);
    return 0;
}
