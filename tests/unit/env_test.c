/* Time, waking, and the choice of the back-end. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/unit/env_fixture.h"

/* ---- time, randomness, names ---- */

Test(env, monotonic_time_and_ticks_agree)
{
    double scale = env_ticks_per_us();
    uint64_t ns = env_now_ns(), ticks = env_ticks();
    while (env_now_ns() - ns < 20000000) continue;
    double us_of_ticks = (double)(env_ticks() - ticks) / scale;
    double us = (double)(env_now_ns() - ns) / 1000;
    cr_assert(us_of_ticks > us * 0.9 && us_of_ticks < us * 1.1, "%f against %f", us_of_ticks, us);
    cr_assert_eq(scale, env_ticks_per_us());
}

Test(env, wall_time_is_after_this_was_written)
{
    cr_assert_gt(env_wall_us(), INT64_C(1700000000) * 1000000);
}

Test(env, random_bytes_fill_all_of_the_space)
{
    unsigned char a[300] = {0}, seen[300] = {0};
    for (int round = 0; round < 20; round++) {
        env_random(a, sizeof a);
        for (size_t i = 0; i < sizeof a; i++) seen[i] |= a[i];
    }
    for (size_t i = 0; i < sizeof seen; i++) cr_assert_neq(seen[i], 0);
}

/* ---- waiting and waking ---- */

BOTH(waiting_ends_after_its_time)
{
    struct fixture f = make(backend);
    uint64_t before = env_now_ns();
    env_wait(f.loop, 5000000);
    uint64_t spent = env_now_ns() - before;
    cr_assert(spent >= 5000000 && spent < SECOND_NS, "%llu", (unsigned long long)spent);
    env_loop_destroy(f.loop);
}

BOTH(a_wake_before_the_wait_is_not_lost)
{
    struct fixture f = make(backend), g = make(backend);
    for (int i = 0; i < 5; i++) {
        env_wake(NULL, f.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
        env_wake(g.loop, f.loop);
        env_flush(g.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
        env_wake(f.loop, f.loop);
        env_wait(f.loop, UINT64_MAX);
        expect_silence(&f);
    }
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

BOTH(a_wake_rides_on_the_wakers_own_wait)
{
    struct fixture f = make(backend), g = make(backend);
    env_wake(g.loop, f.loop);
    env_wait(g.loop, 0);
    env_wait(f.loop, UINT64_MAX);
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

BOTH(loops_of_different_kinds_wake_each_other)
{
    if (!uring_is_allowed()) cr_skip_test("io_uring is not allowed here");
    struct fixture f = make(backend), g = make(backend == ENV_URING ? ENV_EPOLL : ENV_URING);
    env_wake(g.loop, f.loop);
    env_flush(g.loop);
    env_wait(f.loop, UINT64_MAX);
    env_loop_destroy(f.loop);
    env_loop_destroy(g.loop);
}

#define ROUNDS 2000

struct table {
    enum env_backend backend;
    struct env_loop *loops[2];
    pthread_barrier_t ready;
    _Atomic int turn;
};

struct player {
    struct table *table;
    int id;
};

/* Ball games: each side sleeps without limit until the other has played. A lost wake would hang it.
 */
static void *play(void *argument)
{
    struct player *me = argument;
    struct table *t = me->table;
    struct fixture f = make(t->backend);
    struct env_event e;
    t->loops[me->id] = f.loop;
    pthread_barrier_wait(&t->ready);
    for (int round = me->id; round < ROUNDS; round += 2) {
        while (t->turn < round) {
            env_wait(f.loop, UINT64_MAX);
            while (env_next(f.loop, &e)) continue;
        }
        t->turn = round + 1;
        env_wake(round % 6 < 3 ? f.loop : NULL, t->loops[1 - me->id]);
        env_flush(f.loop);
    }
    pthread_barrier_wait(&t->ready);
    env_loop_destroy(f.loop);
    return NULL;
}

BOTH(no_wake_is_lost_between_two_threads)
{
    struct table t = {.backend = backend};
    struct player players[2] = {{&t, 0}, {&t, 1}};
    pthread_t threads[2];
    pthread_barrier_init(&t.ready, NULL, 2);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, play, &players[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(t.turn, ROUNDS);
}

static void *make_and_leave(void *argument)
{
    struct fixture *f = argument;
    *f = make(ENV_AUTO);
    return NULL;
}

Test(env, another_thread_may_destroy_the_loop_of_a_thread_that_ended)
{
    struct fixture own = make(ENV_AUTO), f;
    pthread_t thread;
    pthread_create(&thread, NULL, make_and_leave, &f);
    pthread_join(thread, NULL);
    env_loop_destroy(f.loop);
    /* Its own ring is untouched by that. */
    env_wake(NULL, own.loop);
    env_wait(own.loop, UINT64_MAX);
    env_loop_destroy(own.loop);
}

/* ---- where io_uring is forbidden ---- */

/* From now on io_uring_setup fails with `error`, as under a container's profile. */
static void forbid_io_uring(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(code), code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void falls_back(int error, const char *text)
{
    forbid_io_uring(error);
    struct fixture f = make(ENV_AUTO);
    struct env_socket s;
    cr_assert_str_eq(env_loop_backend(f.loop), "epoll");
    cr_assert_not_null(strstr(env_loop_description(f.loop), text), "%s",
                       env_loop_description(f.loop));
    cr_assert_not_null(strstr(env_loop_description(f.loop), "using epoll"));
    int peer = pair(&f, &s);
    env_recv_start(f.loop, &s);
    put(peer, "still here");
    expect_text(&f, &s, "still here");
    env_loop_destroy(f.loop);

    struct env_loop *loop;
    struct env_loop_options o = {"test", 8, 4096, ENV_URING};
    cr_assert_eq(env_loop_create(&o, &loop, f.why), ERR_IO);
    cr_assert_not_null(strstr(f.why, text), "%s", f.why);
}

Test(env, falls_back_to_epoll_under_a_seccomp_profile_and_says_so)
{
    char digit = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY);
    if (fd >= 0) cr_assert_eq(read(fd, &digit, 1), 1);
    falls_back(EPERM, digit == '0' ? "seccomp" : "kernel.io_uring_disabled");
}

Test(env, falls_back_to_epoll_on_a_kernel_without_io_uring)
{
    falls_back(ENOSYS, "ENOSYS");
}

Test(env, falls_back_to_epoll_when_locked_memory_is_used_up)
{
    falls_back(ENOMEM, "ulimit -l");
}

Test(env, falls_back_to_epoll_on_a_kernel_that_is_too_old)
{
    falls_back(EINVAL, "Linux 6.1 or newer");
}

Test(env_uring, describes_what_it_found)
{
    if (!uring_is_allowed()) cr_skip_test("io_uring is not allowed here");
    struct fixture f = make(ENV_AUTO);
    cr_assert_str_eq(env_loop_backend(f.loop), "io_uring");
    cr_assert_not_null(strstr(env_loop_description(f.loop), "SINGLE_ISSUER"));
    cr_assert_not_null(strstr(env_loop_description(f.loop), "8 x 4096 B"));
    env_loop_destroy(f.loop);
}
