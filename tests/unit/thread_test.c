/* The mesh between threads, and calls: order, full boxes, wakes. All threads are played by this
 * one. */
#include <criterion/criterion.h>
#include <sched.h>
#include <string.h>

#include "base/thread.h"
#include "tests/unit/random.h"

#define THREADS 3

static struct mesh mesh;
static struct thread threads[THREADS];

static void mesh_make(uint16_t net_count, uint16_t shard_count)
{
    mesh_init(&mesh, THREADS, net_count, shard_count);
    for (uint16_t i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.id = i, .mesh = &mesh, .net_id = -1, .shard_id = -1};
        mesh.threads[i] = &threads[i];
    }
}

/* ---- the mesh ---- */

Test(thread, every_pair_has_a_mailbox_of_its_own_in_each_direction)
{
    mesh_make(3, 2);
    void *seen[12];
    unsigned count = 0;
    for (uint16_t net = 0; net < 3; net++) {
        for (uint16_t shard = 0; shard < 2; shard++) {
            seen[count++] = mesh_to_shard(&mesh, net, shard);
            seen[count++] = mesh_to_net(&mesh, shard, net);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        const struct mailbox *all = i % 2 ? mesh.to_net : mesh.to_shard, *box = seen[i];
        cr_assert(box >= all && box < all + 6);
        for (unsigned j = 0; j < i; j++) cr_assert_neq(seen[i], seen[j]);
    }
    mesh_deinit(&mesh);
}

Test(thread, the_inputs_of_a_shard_are_adjacent_in_order_of_net_ids)
{
    mesh_make(3, 2);
    for (uint16_t shard = 0; shard < 2; shard++)
        for (uint16_t net = 0; net < 3; net++)
            cr_assert_eq(mesh_to_shard(&mesh, net, shard), mesh_to_shard(&mesh, 0, shard) + net);
    mesh_deinit(&mesh);
}

Test(thread, mailboxes_hold_as_many_parcels_as_there_is_credit)
{
    mesh_make(1, 1);
    struct mailbox *boxes[] = {mesh_to_shard(&mesh, 0, 0), mesh_to_net(&mesh, 0, 0)};
    for (unsigned b = 0; b < ARRAY_LEN(boxes); b++) {
        for (unsigned i = 0; i < MESH_PARCELS; i++) cr_assert(mailbox_push(boxes[b], &mesh));
        cr_assert_not(mailbox_push(boxes[b], &mesh));
    }
    mesh_deinit(&mesh);
}

Test(thread, a_mesh_without_net_or_shard_threads_is_possible)
{
    mesh_make(0, 0);
    mesh_deinit(&mesh);
}

/* ---- calls ---- */

struct note {
    struct call call;
    unsigned number;
};

static struct {
    unsigned ran, numbers[10000];
    uint16_t at[10000], from[10000];
} seen_calls;

static void write_down(struct thread *at, struct call *c)
{
    seen_calls.numbers[seen_calls.ran] = container_of(c, struct note, call)->number;
    seen_calls.at[seen_calls.ran] = at->id;
    seen_calls.from[seen_calls.ran++] = c->from;
}

static void send_note(uint16_t from, uint16_t to, struct note *n, unsigned number)
{
    *n = (struct note){.call = {.run = write_down}, .number = number};
    thread_call(&threads[from], to, &n->call);
}

Test(thread, a_call_runs_on_the_thread_that_it_was_sent_to_and_nowhere_else)
{
    mesh_make(1, 1);
    struct note n;
    send_note(0, 2, &n, 7);
    cr_assert_not(thread_run_calls(&threads[0]));
    cr_assert_not(thread_run_calls(&threads[1]));
    cr_assert(thread_calls_empty(&threads[1]));
    cr_assert_not(thread_calls_empty(&threads[2]));
    cr_assert(thread_run_calls(&threads[2]));
    cr_assert_eq(seen_calls.ran, 1);
    cr_assert_eq(seen_calls.at[0], 2);
    cr_assert_eq(seen_calls.from[0], 0);
    cr_assert_eq(seen_calls.numbers[0], 7);
    cr_assert(thread_calls_empty(&threads[2]));
    cr_assert_not(thread_run_calls(&threads[2]));
    mesh_deinit(&mesh);
}

Test(thread, a_thread_may_call_itself)
{
    mesh_make(1, 1);
    struct note n;
    send_note(1, 1, &n, 5);
    cr_assert_not(thread_calls_empty(&threads[1]));
    cr_assert(thread_run_calls(&threads[1]));
    cr_assert_eq(seen_calls.ran, 1);
    mesh_deinit(&mesh);
}

Test(thread, calls_beyond_a_full_box_wait_with_their_sender_and_keep_their_order)
{
    mesh_make(1, 1);
    enum { COUNT = 3 * MESH_CALLS + 5 };
    static struct note notes[COUNT];
    for (unsigned i = 0; i < COUNT; i++) send_note(0, 1, &notes[i], i);
    cr_assert_not(thread_calls_empty(&threads[0]), "who has calls to send must not sleep");
    for (unsigned rounds = 0; seen_calls.ran < COUNT; rounds++) {
        cr_assert_lt(rounds, 5);
        thread_run_calls(&threads[1]);
        thread_run_calls(&threads[0]);
    }
    for (unsigned i = 0; i < COUNT; i++) cr_assert_eq(seen_calls.numbers[i], i);
    cr_assert(thread_calls_empty(&threads[0]));
    cr_assert(thread_calls_empty(&threads[1]));
    mesh_deinit(&mesh);
}

/* Once something waits, what comes later must not overtake it through a box that has room again. */
Test(thread, a_late_call_does_not_overtake_those_that_wait)
{
    mesh_make(1, 1);
    enum { COUNT = MESH_CALLS + 2 };
    static struct note notes[COUNT];
    for (unsigned i = 0; i < COUNT - 1; i++) send_note(0, 1, &notes[i], i);
    thread_run_calls(&threads[1]);
    send_note(0, 1, &notes[COUNT - 1], COUNT - 1);
    while (seen_calls.ran < COUNT) {
        thread_run_calls(&threads[0]);
        thread_run_calls(&threads[1]);
    }
    for (unsigned i = 0; i < COUNT; i++) cr_assert_eq(seen_calls.numbers[i], i);
    mesh_deinit(&mesh);
}

/* A call that goes back and forth for ever must not keep a thread from its other work. */
static void call_again(struct thread *at, struct call *c)
{
    seen_calls.ran++;
    thread_call(at, at->id, c);
}

Test(thread, a_call_that_calls_its_own_thread_again_runs_in_the_next_step)
{
    mesh_make(1, 1);
    struct call c = {.run = call_again};
    thread_call(&threads[0], 0, &c);
    for (unsigned step = 1; step <= 5; step++) {
        thread_run_calls(&threads[0]);
        cr_assert_eq(seen_calls.ran, step);
    }
    mesh_deinit(&mesh);
}

Test(thread, random_calls_between_all_threads_arrive_once_and_in_order_per_pair)
{
    struct random r = random_make();
    mesh_make(1, 1);
    enum { COUNT = ARRAY_LEN(seen_calls.numbers) };
    static struct note notes[COUNT];
    static unsigned next[THREADS][THREADS];
    unsigned sent = 0, numbers[THREADS][THREADS] = {{0}};
    while (seen_calls.ran < COUNT) {
        uint16_t from = (uint16_t)random_below(&r, THREADS),
                 to = (uint16_t)random_below(&r, THREADS);
        if (sent < COUNT && random_below(&r, 50)) {
            send_note(from, to, &notes[sent++], numbers[from][to]++);
            continue;
        }
        thread_run_calls(&threads[from]);
    }
    for (unsigned i = 0; i < COUNT; i++)
        cr_assert_eq(seen_calls.numbers[i], next[seen_calls.from[i]][seen_calls.at[i]]++);
    for (unsigned i = 0; i < THREADS; i++) cr_assert(thread_calls_empty(&threads[i]));
    mesh_deinit(&mesh);
}

/* ---- identity and wakes ---- */

Test(thread, entering_sets_the_clocks_and_who_is_here)
{
    mesh_make(1, 1);
    strcpy(threads[1].name, "io-1");
    thread_enter(&threads[1]);
    cr_assert_eq(thread_here, &threads[1]);
    cr_assert_str_eq(check_context_here()->role, "io-1");
    cr_assert_gt(threads[1].now_ns, 0);
    cr_assert_gt(threads[1].wall_ms, 1000000000000);
    mesh_deinit(&mesh);
}

Test(thread, a_call_wakes_a_thread_that_sleeps_once)
{
    mesh_make(1, 1);
    char why[2 * ENV_NAME_BYTES_MAX];
    struct env_loop_options options = {.name = "test"};
    cr_assert_eq(env_loop_create(&options, &threads[1].loop, why), OK);
    sleeper_announce(&threads[1].sleeper);
    struct note notes[2];
    send_note(0, 1, &notes[0], 0);
    cr_assert_eq(atomic_load(&threads[1].sleeper.sleeping), 0, "it was woken");
    env_wait(threads[1].loop, UINT64_MAX); /* returns, as the wake was for it */
    send_note(0, 1, &notes[1], 1);         /* it is awake: no wake, which would need a sleeper */
    thread_run_calls(&threads[1]);
    cr_assert_eq(seen_calls.ran, 2);
    env_loop_destroy(threads[1].loop);
    mesh_deinit(&mesh);
}

Test(thread, nobody_wakes_itself)
{
    mesh_make(1, 1);
    sleeper_announce(&threads[0].sleeper);
    thread_wake(&threads[0], &threads[0]); /* has no loop: a wake would crash */
    cr_assert_eq(atomic_load(&threads[0].sleeper.sleeping), 1);
    mesh_deinit(&mesh);
}

/* ---- CPUs ---- */

Test(thread, the_cpu_budget_is_at_least_one_and_within_the_affinity_mask)
{
    struct cpu_budget b;
    cpu_budget_read(&b);
    cr_assert_geq(b.thread_count, 1);
    cr_assert_leq(b.thread_count, b.affinity_count);
    cr_assert_leq(b.affinity_count, MAX(b.online_count, b.affinity_count));
    cr_assert(b.cgroup_quota >= 0);
    if (b.cgroup_quota > 0) cr_assert_lt(b.thread_count, b.cgroup_quota + 1);
}

Test(thread, the_budget_follows_a_smaller_affinity_mask)
{
    cr_assert(thread_pin(0));
    struct cpu_budget b;
    cpu_budget_read(&b);
    cr_assert_eq(b.affinity_count, 1);
    cr_assert_eq(b.thread_count, 1);
}

Test(thread, pinning_beyond_the_mask_fails_and_changes_nothing)
{
    struct cpu_budget before, after;
    cpu_budget_read(&before);
    cr_assert_not(thread_pin(before.affinity_count));
    cpu_budget_read(&after);
    cr_assert_eq(after.affinity_count, before.affinity_count);
}

Test(thread, pinning_takes_the_index_th_cpu_of_the_mask)
{
    cpu_set_t mask, pinned;
    cr_assert_eq(sched_getaffinity(0, sizeof mask, &mask), 0);
    int last = -1;
    unsigned count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &mask)) continue;
        last = cpu;
        count++;
    }
    cr_assert(thread_pin(count - 1));
    cr_assert_eq(sched_getaffinity(0, sizeof pinned, &pinned), 0);
    cr_assert_eq(CPU_COUNT(&pinned), 1);
    cr_assert(CPU_ISSET(last, &pinned));
}
