/* ring_stress.c: mailboxes, the sequencer, sleepers and calls between OS threads, with every order
 * checked; for ThreadSanitizer too.
 *
 *     ring_stress [--messages N] [--nets N] [--shards N] [--seed N]
 *
 * Net threads publish turns for random shards, shards run them in turn order and send them home,
 * and calls go back and forth meanwhile. All sleep whenever they find nothing to do, so a wake that
 * is lost ends in the timeout. Exits with 1 on any disorder. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"

#define THREADS_MAX 16
#define MESSAGES_DEFAULT 2000000
#define TURN_BURST 8
#define CALLS_EVERY 16 /* turns between two calls */

/* A call that bounces: out to a shard, and home. */
struct bounce {
    struct call call;
    uint64_t number;
    bool is_away;
};

/* A parcel's cargo is its number in arg_count, twice that on the way home. */
struct peer {
    uint64_t sent, home;      /* parcels */
    uint64_t calls, returned; /* bounces */
    struct bounce bounce;
    struct parcel *pool[MESH_PARCELS];
};

struct actor {
    struct thread thread;
    pthread_t pthread;
    struct peer peers[THREADS_MAX]; /* of a net thread: by shard; of a shard: by net thread */
    struct merge merge;
    uint64_t last_position;
    uint64_t random_state;
    uint64_t turns, messages, sleeps;
};

static struct mesh mesh;
static struct actor actors[THREADS_MAX]; /* net threads first */
static uint64_t messages_per_net;
static _Atomic uint32_t nets_left;
static _Atomic uint64_t disorders;

static void expect(bool condition, const char *what)
{
    if (likely(condition)) return;
    if (atomic_fetch_add(&disorders, 1) < 10) fprintf(stderr, "disorder: %s\n", what);
}

static uint64_t random_next(struct actor *a)
{
    uint64_t z = a->random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* ---- sleeping ---- */

/* Nothing was found: looks once more with the flag up, and sleeps. */
static void rest(struct actor *a, bool (*has_mail)(struct actor *a))
{
    sleeper_announce(&a->thread.sleeper);
    if (thread_calls_empty(&a->thread) && !has_mail(a)) {
        a->sleeps++;
        env_wait(a->thread.loop, UINT64_MAX);
    } else {
        env_wait(a->thread.loop, 0);
    }
    sleeper_cancel(&a->thread.sleeper);
    struct env_event event;
    while (env_next(a->thread.loop, &event)) expect(false, "an event of a loop without sockets");
}

/* ---- calls ---- */

static void bounce_is_back(struct thread *at, struct call *c)
{
    struct actor *a = at->owner;
    struct bounce *b = container_of(c, struct bounce, call);
    struct peer *p = container_of(b, struct peer, bounce);
    expect(b->number == p->returned++, "a call came home out of order");
    b->is_away = false;
    a->messages += 2;
}

static void bounce_arrives(struct thread *at, struct call *c)
{
    struct actor *a = at->owner;
    struct bounce *b = container_of(c, struct bounce, call);
    expect(b->number == a->peers[mesh.threads[c->from]->net_id].calls++,
           "a call arrived out of order");
    c->run = bounce_is_back;
    thread_call(at, c->from, c);
}

static void bounce_send(struct actor *a, uint16_t shard)
{
    struct peer *p = &a->peers[shard];
    if (p->bounce.is_away) return;
    p->bounce =
        (struct bounce){.call = {.run = bounce_arrives}, .number = p->calls++, .is_away = true};
    thread_call(&a->thread, mesh.shard_threads[shard]->id, &p->bounce.call);
}

/* ---- net threads ---- */

static bool take_home(struct actor *a)
{
    bool any = false;
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++) {
        struct peer *p = &a->peers[shard];
        struct parcel *pc;
        while ((pc = mailbox_pop(mesh_to_net(&mesh, shard, (uint16_t)a->thread.net_id)))) {
            expect(pc == p->pool[p->home % MESH_PARCELS], "a parcel came home out of order");
            expect(pc->arg_count == (uint32_t)(2 * p->home),
                   "a parcel came home without what the shard wrote");
            p->home++;
            a->messages++;
            any = true;
        }
    }
    return any;
}

/* False: no credit for one of its shards. */
static bool publish(struct actor *a)
{
    uint64_t r = random_next(a);
    uint16_t net_id = (uint16_t)a->thread.net_id;
    uint32_t chosen =
        (uint32_t)(r >> 32) % ((1u << mesh.shard_count) - 1) + 1; /* a bit for each, not none */
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        if (chosen >> shard & 1 && a->peers[shard].sent - a->peers[shard].home == MESH_PARCELS)
            return false;
    struct parcel *open[THREADS_MAX] = {NULL};
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++) {
        if (!(chosen >> shard & 1)) continue;
        struct peer *p = &a->peers[shard];
        struct parcel *pc = open[shard] = p->pool[p->sent % MESH_PARCELS];
        parcel_reset(pc, net_id, shard);
        pc->arg_count = (uint32_t)p->sent++;
        expect(mailbox_push(mesh_to_shard(&mesh, net_id, shard), pc),
               "a ring is full in spite of the credit");
        a->messages++;
    }
    uint64_t position = sequencer_take(&mesh.sequencer);
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        if (open[shard])
            atomic_store_explicit(&open[shard]->position, position, memory_order_release);
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        if (open[shard]) thread_wake(&a->thread, mesh.shard_threads[shard]);
    if (++a->turns % CALLS_EVERY == 0) bounce_send(a, (uint16_t)(r % mesh.shard_count));
    return true;
}

static bool net_has_mail(struct actor *a)
{
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        if (mailbox_count(mesh_to_net(&mesh, shard, (uint16_t)a->thread.net_id)) > 0) return true;
    return false;
}

static bool net_is_done(const struct actor *a)
{
    if (a->messages < messages_per_net) return false;
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        if (a->peers[shard].sent != a->peers[shard].home || a->peers[shard].bounce.is_away)
            return false;
    return true;
}

static void net_run(struct actor *a)
{
    while (!net_is_done(a)) {
        bool any = thread_run_calls(&a->thread);
        for (unsigned i = 0; i < TURN_BURST && a->messages < messages_per_net && publish(a); i++)
            any = true;
        any |= take_home(a);
        env_flush(a->thread.loop);
        if (!any) rest(a, net_has_mail);
    }
    atomic_fetch_sub(&nets_left, 1);
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        thread_wake(&a->thread, mesh.shard_threads[shard]);
    env_flush(a->thread.loop);
}

/* ---- shards ---- */

static bool shard_has_mail(struct actor *a)
{
    return !merge_is_empty(&a->merge) || atomic_load(&nets_left) == 0;
}

static void run_parcel(struct actor *a, struct parcel *pc)
{
    struct peer *p = &a->peers[pc->net_id];
    uint16_t net_id = pc->net_id;
    uint64_t position = atomic_load_explicit(&pc->position, memory_order_relaxed);
    expect(position > a->last_position, "a parcel was run out of turn order");
    expect(pc->arg_count == (uint32_t)p->home, "a parcel overtook another of its ring");
    expect(pc->shard_id == (uint16_t)a->thread.shard_id, "a parcel is for another shard");
    a->last_position = position;
    p->home++;
    pc->arg_count *= 2;
    expect(mailbox_push(mesh_to_net(&mesh, (uint16_t)a->thread.shard_id, net_id), pc),
           "the way home is full");
    thread_wake(&a->thread, mesh.net_threads[net_id]);
}

static void shard_run(struct actor *a)
{
    while (atomic_load(&nets_left) > 0) {
        bool any = thread_run_calls(&a->thread);
        struct parcel *pc;
        for (unsigned i = 0; i < MESH_PARCELS && (pc = merge_next(&a->merge)); i++) {
            run_parcel(a, pc);
            any = true;
        }
        env_flush(a->thread.loop);
        if (!any) rest(a, shard_has_mail);
    }
}

/* ---- all of it ---- */

static pthread_barrier_t start_line;

static void *actor_main(void *argument)
{
    struct actor *a = argument;
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop_options options = {.name = a->thread.name};
    if (env_loop_create(&options, &a->thread.loop, why) != OK) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }
    thread_enter(&a->thread);
    pthread_barrier_wait(&start_line); /* everybody has a loop that can be woken */
    if (a->thread.net_id >= 0)
        net_run(a);
    else
        shard_run(a);
    pthread_barrier_wait(&start_line); /* nobody wakes any more */
    env_loop_destroy(a->thread.loop);
    return NULL;
}

static void pools_make(struct actor *a)
{
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++) {
        for (unsigned i = 0; i < MESH_PARCELS; i++) {
            a->peers[shard].pool[i] = aligned_alloc(CACHE_LINE, sizeof(struct parcel));
            CHECK(a->peers[shard].pool[i]);
        }
    }
}

static void pools_free(struct actor *a)
{
    for (uint16_t shard = 0; shard < mesh.shard_count; shard++)
        for (unsigned i = 0; i < MESH_PARCELS; i++) free(a->peers[shard].pool[i]);
}

static void run(uint16_t nets, uint16_t shards, uint64_t messages, uint64_t seed)
{
    uint16_t count = (uint16_t)(nets + shards);
    mesh_init(&mesh, count, nets, shards);
    messages_per_net = messages / nets + 1;
    atomic_store(&nets_left, nets);
    pthread_barrier_init(&start_line, NULL, count);
    for (uint16_t i = 0; i < count; i++) {
        struct actor *a = &actors[i];
        *a = (struct actor){.random_state = seed + i};
        bool is_net = i < nets;
        a->thread = (struct thread){.id = i,
                                    .net_id = is_net ? i : -1,
                                    .shard_id = is_net ? -1 : i - nets,
                                    .mesh = &mesh,
                                    .owner = a};
        snprintf(a->thread.name, sizeof a->thread.name, "%s-%u", is_net ? "net" : "shard",
                 (unsigned)(is_net ? i : i - nets));
        mesh.threads[i] = &a->thread;
        if (is_net)
            mesh.net_threads[i] = &a->thread;
        else
            mesh.shard_threads[i - nets] = &a->thread;
        if (is_net)
            pools_make(a);
        else
            merge_init(&a->merge, mesh_to_shard(&mesh, 0, (uint16_t)(i - nets)), nets);
    }
    for (uint16_t i = 0; i < count; i++)
        CHECK(pthread_create(&actors[i].pthread, NULL, actor_main, &actors[i]) == 0);
    for (uint16_t i = 0; i < count; i++) pthread_join(actors[i].pthread, NULL);
    pthread_barrier_destroy(&start_line);
}

/* What was sent was run, and nothing else; says what happened. */
static void report(uint64_t wanted)
{
    uint64_t messages = 0, sleeps = 0;
    uint16_t count = mesh.thread_count;
    for (uint16_t i = 0; i < count; i++) {
        messages += actors[i].messages;
        sleeps += actors[i].sleeps;
    }
    for (uint16_t net = 0; net < mesh.net_count; net++) {
        for (uint16_t shard = 0; shard < mesh.shard_count; shard++) {
            const struct peer *out = &actors[net].peers[shard],
                              *in = &actors[mesh.net_count + shard].peers[net];
            expect(out->sent == in->home && out->calls == in->calls, "something was lost");
        }
        pools_free(&actors[net]);
    }
    expect(messages >= wanted, "fewer messages than were asked for");
    printf("%u net and %u shard threads: %llu messages, %llu turns, %llu sleeps, %llu disorders\n",
           mesh.net_count, mesh.shard_count, (unsigned long long)messages,
           (unsigned long long)(sequencer_now(&mesh.sequencer) - SEQUENCER_FIRST),
           (unsigned long long)sleeps, (unsigned long long)atomic_load(&disorders));
    mesh_deinit(&mesh);
}

int main(int argc, char **argv)
{
    uint64_t messages = MESSAGES_DEFAULT, nets = 0, shards = 0, seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--messages") == 0)
            messages = value;
        else if (strcmp(argv[i], "--nets") == 0)
            nets = value;
        else if (strcmp(argv[i], "--shards") == 0)
            shards = value;
        else if (strcmp(argv[i], "--seed") == 0)
            seed = value;
        else
            return fprintf(
                       stderr,
                       "usage: ring_stress [--messages N] [--nets N] [--shards N] [--seed N]\n"),
                   2;
    }
    static const uint16_t shapes[][2] = {{2, 2}, {1, 1}, {3, 1}, {1, 3}};
    if (nets > 0 && shards > 0 && nets + shards <= THREADS_MAX) {
        run((uint16_t)nets, (uint16_t)shards, messages, seed);
        report(messages);
    } else {
        for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
            run(shapes[i][0], shapes[i][1], messages / ARRAY_LEN(shapes), seed);
            report(messages / ARRAY_LEN(shapes));
        }
    }
    return atomic_load(&disorders) ? 1 : 0;
}
