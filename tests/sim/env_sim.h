/* env_sim.h: the simulated world behind base/env.h, as its scheduler and its clients see it.
 *
 *     client ──send──▶ wire ──▶ arrived ──env_next──▶ a loop of the server
 *            ◀─received── wire ◀──────── pieces ◀──env_send──
 *
 * Everything that the kernel decides elsewhere is drawn from one seed: how far bytes have come, in
 * what pieces they are received, when a send completes, when a wake arrives, which loop runs next
 * and how much time has passed. So a seed is a run.
 *
 * A loop runs in a fiber (sim_start): env_wait leaves it, and the scheduler enters it again when
 * something is ready for it, when it was woken, or when its time is up. A loop that nobody wakes
 * stays asleep, as it would in production. Outside a fiber env_wait takes what is there and
 * returns.
 *
 * Thread     one.
 * Limits     `buffers_max` receive buffers a loop, however many it asks for, so that they run out.
 */
#pragma once

#include "base/env.h"

/* ---- the world ---- */

struct sim_options {
    uint64_t seed;
    unsigned buffers_max;      /* receive buffers a loop; 0: as many as it asks for */
    unsigned piece_bytes_max;  /* of one receive; 0: a whole buffer */
    bool wakes_spuriously;     /* env_wait sometimes returns for no reason */
    unsigned slow_readers_pct; /* clients that take a few bytes at a time */
    unsigned preempts_pct;     /* other loops run in the middle of a step: at env_send, env_wake,
                                  env_flush */
};

void sim_init(const struct sim_options *options);
/* Every loop is destroyed and every fiber is over. */
void sim_deinit(void);
/* From the seed. */
uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit);
static inline bool sim_chance(unsigned pct)
{
    return sim_below(100) < pct;
}
void sim_time_advance(uint64_t ns);
/* Somebody sets the wall clock; the monotonic one goes on. */
void sim_wall_jump(int64_t us);

/* ---- the scheduler ---- */

/* A loop's thread: `run` is called at the first sim_step that picks it. */
void sim_start(void (*run)(void *argument), void *argument);
/* Inside a fiber: others may run now. */
void sim_yield(void);
/* The same, as often as the options say. */
void sim_maybe_yield(void);
/* One thing happens: a loop runs until its next env_wait, or something moves on the network. False
 * when nothing can happen before time passes. */
MUST_USE bool sim_step(void);
/* Lets time pass until a sleeping loop's timeout. False if none has one. */
MUST_USE bool sim_sleep(void);
/* True when the function of every fiber has returned. */
bool sim_all_over(void);
bool sim_loop_is_runnable(const struct env_loop *loop);

/* ---- clients ---- */

struct sim_client;

/* NULL if nobody listens there. */
struct sim_client *sim_connect(uint16_t port);
void sim_client_send(struct sim_client *c, struct bytes data);
/* All that was received since sim_client_drop. */
struct bytes sim_client_received(const struct sim_client *c);
/* Forgets the first `size` received bytes. */
void sim_client_drop(struct sim_client *c, size_t size);
/* No more will be sent; the server sees the end after the last byte. */
void sim_client_finish(struct sim_client *c);
/* Gone at once: what is on the wire is lost, and the server sees an error. */
void sim_client_close(struct sim_client *c);
bool sim_client_is_closed(const struct sim_client *c); /* by the server */
/* The server's descriptor for it. */
int sim_client_fd(const struct sim_client *c);
