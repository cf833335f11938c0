#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

_Thread_local struct thread *thread_here;

static struct mailbox *mailboxes_create(struct mem *mem, size_t count, uint32_t capacity)
{
    if (count == 0) return NULL;
    struct mailbox *boxes = mem_alloc_aligned(mem, count * sizeof *boxes, CACHE_LINE);
    for (size_t i = 0; i < count; i++)
        mailbox_init(&boxes[i], mem_alloc_zeroed(mem, capacity * sizeof(void *)), capacity);
    return boxes;
}

static void mailboxes_destroy(struct mem *mem, struct mailbox *boxes, size_t count,
                              uint32_t capacity)
{
    for (size_t i = 0; i < count; i++) mem_free(mem, boxes[i].slots, capacity * sizeof(void *));
    mem_free(mem, boxes, count * sizeof *boxes);
}

static struct thread **thread_table_create(struct mem *mem, uint16_t count)
{
    return mem_alloc_zeroed(mem, (count + 1u) * sizeof(struct thread *));
}

/* A transaction keeps two parcels away, at least, until it is over: so the credit bounds them. */
static uint32_t ledger_entries(uint16_t shard_count)
{
    uint32_t entries = MESH_PARCELS;
    while (entries < MESH_PARCELS / 2 * shard_count) entries *= 2;
    return entries;
}

void mesh_init(struct mesh *m, uint16_t thread_count, uint16_t net_count, uint16_t shard_count)
{
    *m = (struct mesh){
        .thread_count = thread_count, .net_count = net_count, .shard_count = shard_count};
    mem_init(&m->mem, "mesh");
    sequencer_init(&m->sequencer);
    size_t pairs = (size_t)net_count * shard_count;
    m->to_shard = mailboxes_create(&m->mem, pairs, MESH_PARCELS);
    m->to_net = mailboxes_create(&m->mem, pairs, MESH_PARCELS);
    m->calls = mailboxes_create(&m->mem, (size_t)thread_count * thread_count, MESH_CALLS);
    ledger_init(&m->ledger, &m->mem, net_count, ledger_entries(shard_count));
    m->threads = thread_table_create(&m->mem, thread_count);
    m->net_threads = thread_table_create(&m->mem, net_count);
    m->shard_threads = thread_table_create(&m->mem, shard_count);
}

void mesh_deinit(struct mesh *m)
{
    size_t pairs = (size_t)m->net_count * m->shard_count;
    mailboxes_destroy(&m->mem, m->to_shard, pairs, MESH_PARCELS);
    mailboxes_destroy(&m->mem, m->to_net, pairs, MESH_PARCELS);
    mailboxes_destroy(&m->mem, m->calls, (size_t)m->thread_count * m->thread_count, MESH_CALLS);
    ledger_deinit(&m->ledger, &m->mem);
    mem_free(&m->mem, m->threads, (m->thread_count + 1u) * sizeof(struct thread *));
    mem_free(&m->mem, m->net_threads, (m->net_count + 1u) * sizeof(struct thread *));
    mem_free(&m->mem, m->shard_threads, (m->shard_count + 1u) * sizeof(struct thread *));
    mem_deinit(&m->mem);
}

struct mailbox *mesh_to_shard(struct mesh *m, uint16_t net_id, uint16_t shard_id)
{
    return &m->to_shard[(size_t)shard_id * m->net_count + net_id];
}

struct mailbox *mesh_to_net(struct mesh *m, uint16_t shard_id, uint16_t net_id)
{
    return &m->to_net[(size_t)net_id * m->shard_count + shard_id];
}

void thread_enter(struct thread *t)
{
    thread_here = t;
    t->now_ns = env_now_ns();
    t->wall_ms = env_wall_us() / 1000;
    check_context_here()->role = t->name;
}

void thread_wake(struct thread *from, struct thread *target)
{
    if (from == target || !sleeper_must_wake(&target->sleeper)) return;
    env_wake(from ? from->loop : NULL, target->loop);
}

void thread_wake_waiting(struct thread *from)
{
    const struct mesh *m = from->mesh;
    for (uint32_t word = 0; word * 64 < m->shard_count; word++)
        for (uint64_t bits = ledger_waiting(&m->ledger, word); bits; bits &= bits - 1)
            thread_wake(from, m->shard_threads[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
}

static struct mailbox *mesh_calls(struct mesh *m, uint16_t from, uint16_t to)
{
    return &m->calls[(size_t)to * m->thread_count + from];
}

static bool thread_try_call(struct thread *from, struct call *c)
{
    uint16_t to = c->to; /* the call is not ours any more once it is pushed */
    if (!mailbox_push(mesh_calls(from->mesh, from->id, to), c)) return false;
    thread_wake(from, from->mesh->threads[to]);
    return true;
}

void thread_call(struct thread *from, uint16_t to, struct call *c)
{
    c->from = from->id;
    c->to = to;
    c->next = NULL;
    if (!from->calls_first && thread_try_call(from, c)) return;
    if (from->calls_first)
        from->calls_last->next = c;
    else
        from->calls_first = c;
    from->calls_last = c;
}

/* Those that waited leave in order; one full box holds up the others only until the next step. */
static bool thread_send_waiting_calls(struct thread *t)
{
    bool any = false;
    while (t->calls_first) {
        struct call *c = t->calls_first;
        struct call *next = c->next;
        if (!thread_try_call(t, c)) break;
        t->calls_first = next;
        any = true;
    }
    return any;
}

bool thread_run_calls(struct thread *t)
{
    bool any = thread_send_waiting_calls(t);
    for (uint16_t from = 0; from < t->mesh->thread_count; from++) {
        struct mailbox *box = mesh_calls(t->mesh, from, t->id);
        /* Bounded by what is there now: a call that calls this thread again runs in the next step.
         */
        for (uint32_t n = mailbox_count(box); n > 0; n--) {
            struct call *c = mailbox_pop(box);
            CHECK(c); /* counted above, and only this thread takes */
            c->run(t, c);
            any = true;
        }
    }
    return any;
}

bool thread_calls_empty(struct thread *t)
{
    if (t->calls_first) return false;
    for (uint16_t from = 0; from < t->mesh->thread_count; from++)
        if (mailbox_count(mesh_calls(t->mesh, from, t->id)) != 0) return false;
    return true;
}

/* ---- CPUs ---- */

/* "max 100000" or "150000 100000" in cpu.max of cgroup 2. */
static double cgroup_cpu_quota(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    char quota[32];
    double period = 0;
    int fields = fscanf(f, "%31s %lf", quota, &period);
    fclose(f);
    if (fields != 2 || period <= 0) return 0;
    double value = strtod(quota, NULL); /* "max" reads as 0 */
    return value > 0 ? value / period : 0;
}

void cpu_budget_read(struct cpu_budget *out)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    bool known = sched_getaffinity(0, sizeof set, &set) == 0;
    out->affinity_count = known ? (unsigned)CPU_COUNT(&set) : 1;
    out->online_count = out->affinity_count;
    FILE *f = fopen("/sys/devices/system/cpu/online", "re");
    unsigned first, last;
    if (f && fscanf(f, "%u-%u", &first, &last) == 2 && last >= first)
        out->online_count = last - first + 1;
    if (f) fclose(f);
    out->cgroup_quota = cgroup_cpu_quota();
    unsigned count = out->affinity_count;
    if (out->cgroup_quota > 0) {
        unsigned quota = (unsigned)out->cgroup_quota;
        if ((double)quota < out->cgroup_quota) quota++;
        count = MIN(count, MAX(quota, 1u));
    }
    out->thread_count = MAX(count, 1u);
}

bool thread_pin(unsigned index)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return false;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set) || index-- != 0) continue;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
    }
    return false;
}
