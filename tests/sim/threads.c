/* threads.c: the few calls by which the server makes and awaits OS threads, as fibers of the
 * simulator. The linker puts them in the place of the library's (--wrap), so that boot and stop run
 * the code that they run in production. */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/sim/env_sim.h"

struct sim_thread {
    void *(*run)(void *argument);
    void *argument;
    void *result;
    bool is_over;
};

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes,
                          void *(*run)(void *argument), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_getcpuclockid(pthread_t thread, clockid_t *clock);

static void thread_fiber(void *argument)
{
    struct sim_thread *t = argument;
    t->result = t->run(t->argument);
    t->is_over = true;
}

int __wrap_pthread_create(pthread_t *out, UNUSED const pthread_attr_t *attributes,
                          void *(*run)(void *argument), void *argument)
{
    struct sim_thread *t = calloc(1, sizeof *t);
    CHECK(t);
    t->run = run;
    t->argument = argument;
    *out = (pthread_t)(uintptr_t)t;
    sim_start(thread_fiber, t);
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    struct sim_thread *t = (struct sim_thread *)(uintptr_t)thread;
    while (!t->is_over) sim_yield();
    if (result) *result = t->result;
    free(t);
    return 0;
}

/* May return early, as the real one: callers look again. */
int __wrap_pthread_cond_wait(UNUSED pthread_cond_t *condition, pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
    sim_yield();
    return pthread_mutex_lock(mutex);
}

/* A fiber has no clock of its own. */
int __wrap_pthread_getcpuclockid(pthread_t thread, clockid_t *clock)
{
    CHECK(thread != 0 && clock);
    return ESRCH;
}
