/* thread.h: the threads of the house: identity, pinning, the mailboxes between them, sleep and
 * wake.
 *
 *     net i ──to_shard[i][j]──▶ shard j        parcels, in turn order
 *     net i ◀──to_net[j][i]──── shard j        parcels going home, late replies
 *     thread a ──calls[a][b]──▶ thread b       control: CLIENT LIST, a new configuration, an
 *                                              accepted socket
 *
 * Thread     A struct thread belongs to the OS thread that runs it; the mesh is constant after
 *            mesh_init.
 * Ownership  The mesh owns the mailboxes. A call belongs to the thread that holds it, and ends
 *            where its `run` says.
 * Limits     MESH_PARCELS parcels under way per (net, shard); calls beyond a full box wait in the
 *            sender's list.
 */
#pragma once

#include "base/env.h"
#include "base/ledger.h"
#include "base/mem.h"
#include "base/sequencer.h"

#define MESH_PARCELS 64
#define MESH_CALLS 64 /* a box; the rest waits in the sender's list */
#define THREAD_NAME_BYTES 16

struct netloop;
struct shard;
struct thread;

/* A control message. Embedded in what it is about. */
struct call {
    void (*run)(struct thread *at, struct call *c); /* on the receiving thread */
    struct call *next;
    uint16_t from, to;
};

struct mesh {
    uint16_t thread_count, net_count, shard_count;
    struct thread **threads;       /* by thread id */
    struct thread **net_threads;   /* by net id */
    struct thread **shard_threads; /* by shard id */
    struct mailbox *to_shard;      /* [shard * net_count + net]: a shard's inputs are adjacent */
    struct mailbox *to_net;        /* [net * shard_count + shard] */
    struct mailbox *calls;         /* [to * thread_count + from] */
    struct sequencer sequencer;
    struct ledger ledger; /* of the append-only log; a ring per net thread */
    struct mem mem;
};

struct thread {
    uint16_t id;
    int32_t net_id, shard_id; /* -1: not that role */
    char name[THREAD_NAME_BYTES];
    struct mesh *mesh;
    struct env_loop *loop;
    void *owner; /* whoever runs this thread: the server's struct worker or struct server */
    struct call *calls_first, *calls_last; /* waiting for room */
    uint64_t now_ns;
    int64_t wall_ms;
    struct sleeper sleeper; /* touched by all threads */
};

extern _Thread_local struct thread *thread_here;

/* The monotonic clock of this step: for ages and timeouts, which no jump of the wall clock may
 * change. */
static inline uint64_t thread_now_ms(const struct thread *t)
{
    return t->now_ns / 1000000;
}

struct mailbox *mesh_to_shard(struct mesh *m, uint16_t net_id, uint16_t shard_id);
struct mailbox *mesh_to_net(struct mesh *m, uint16_t shard_id, uint16_t net_id);
void mesh_init(struct mesh *m, uint16_t thread_count, uint16_t net_count, uint16_t shard_count);
void mesh_deinit(struct mesh *m);

/* Takes the clocks; sets thread_here. At the start of every step. */
void thread_enter(struct thread *t);
/* After something was pushed for `target`: wakes it if it sleeps. */
void thread_wake(struct thread *from, struct thread *target);
/* R may be higher than before (ledger.h): wakes the shards that wait for it. */
void thread_wake_waiting(struct thread *from);
/* Hands a call to thread `to`; runs it there, in order per sender. */
void thread_call(struct thread *from, uint16_t to, struct call *c);
/* Runs the calls that arrived and sends those that waited; true if there were any. */
bool thread_run_calls(struct thread *t);
/* True if no call waits for this thread. For the last look before sleeping. */
bool thread_calls_empty(struct thread *t);

/* How many threads to run and why: for `threads auto`. */
struct cpu_budget {
    unsigned affinity_count; /* CPUs in the affinity mask */
    unsigned online_count;
    double cgroup_quota;   /* CPUs; 0: no limit */
    unsigned thread_count; /* min of affinity and ceil(quota), at least 1 */
};
void cpu_budget_read(struct cpu_budget *out);
/* Pins the calling thread to the index-th CPU of the affinity mask. False if it could not. */
bool thread_pin(unsigned index);
