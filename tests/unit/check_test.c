/* Reports of failed checks and crashes, and fault points. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

#define REPORT_ROOM 16384

/* Runs `body` in a child whose reports come here, and returns the signal that ended it. */
static int run_in_child(void (*body)(void), char *text)
{
    int ends[2], status;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        check_set_report_fd(ends[1]);
        body();
        _exit(0);
    }
    close(ends[1]);
    ssize_t size;
    size_t total = 0;
    while ((size = read(ends[0], text + total, REPORT_ROOM - 1 - total)) > 0) total += (size_t)size;
    text[total] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static size_t count_lines(const char *text)
{
    size_t lines = 0;
    for (; *text; text++) lines += *text == '\n';
    return lines;
}

Test(check, passing_conditions_are_evaluated_once)
{
    int count = 0;
    CHECK(++count == 1);
    cr_assert_eq(count, 1);
}

Test(check, dcheck_is_evaluated_in_debug_builds_only)
{
    int count = 0;
    DCHECK(++count == 1);
#ifdef SHOAL_DCHECK
    cr_assert_eq(count, 1);
#else
    cr_assert_eq(count, 0);
#endif
}

static void fail_as_shard_3(void)
{
    check_context_here()->role = "shard-3";
    check_context_here()->command = "lpush";
    CHECK(getpid() == 0);
}

Test(check, a_failed_check_reports_place_thread_and_command_and_aborts)
{
    char text[REPORT_ROOM];
    cr_assert_eq(run_in_child(fail_as_shard_3, text), SIGABRT);
    cr_assert(strstr(text, "=== CHECK failed: getpid() == 0 at "), "%s", text);
    cr_assert(strstr(text, "check_test.c:"), "%s", text);
    cr_assert(strstr(text, "thread: shard-3, command: lpush\n"), "%s", text);
    cr_assert_gt(count_lines(text), 4, "no backtrace: %s", text);
}

static void fail_without_context(void)
{
    CHECK(getpid() == 0);
}

Test(check, a_thread_that_told_nothing_is_reported_as_such)
{
    char text[REPORT_ROOM];
    cr_assert_eq(run_in_child(fail_without_context, text), SIGABRT);
    cr_assert(strstr(text, "thread: (none), command: (none)\n"), "%s", text);
}

static void fail_with_long_context(void)
{
    char role[5000];
    memset(role, 'r', sizeof(role));
    role[sizeof(role) - 1] = '\0';
    check_context_here()->role = role;
    CHECK(getpid() == 0);
}

Test(check, a_report_that_is_too_long_is_cut)
{
    char text[REPORT_ROOM];
    cr_assert_eq(run_in_child(fail_with_long_context, text), SIGABRT);
    cr_assert(strstr(text, "thread: rrr"), "%s", text);
}

static void crash_as_io_1(void)
{
    check_context_here()->role = "io-1";
    check_context_here()->command = "get";
    check_install_crash_handler();
    raise(SIGBUS);
}

Test(check, a_crash_is_reported_and_keeps_its_signal)
{
    char text[REPORT_ROOM];
    cr_assert_eq(run_in_child(crash_as_io_1, text), SIGBUS);
    cr_assert(strstr(text, "=== Shoal crashed by signal: 7 (SIGBUS), address 0x"), "%s", text);
    cr_assert(strstr(text, "thread: io-1, command: get\n"), "%s", text);
    cr_assert_gt(count_lines(text), 4, "no backtrace: %s", text);
}

static void *context_of_thread(UNUSED void *unused)
{
    cr_assert_null(check_context_here()->role);
    check_context_here()->role = "other";
    return check_context_here();
}

Test(check, each_thread_has_its_own_context)
{
    pthread_t thread;
    void *context;
    check_context_here()->role = "main";
    cr_assert_eq(pthread_create(&thread, NULL, context_of_thread, NULL), 0);
    cr_assert_eq(pthread_join(thread, &context), 0);
    cr_assert_neq(context, (void *)check_context_here());
    cr_assert_str_eq(check_context_here()->role, "main");
}

Test(check, container_of_finds_the_whole_from_a_part)
{
    struct whole {
        int first;
        char part;
    } w;
    cr_assert_eq(container_of(&w.part, struct whole, part), &w);
}

/* ---- fault points ---- */

Test(check, a_fault_point_that_is_not_set_never_hits)
{
    for (int i = 0; i < 10; i++) cr_assert_not(fault_hit("nowhere"));
}

Test(check, the_nth_hit_is_the_one_that_fails_and_only_once)
{
    fault_set("aof_write", 3);
    cr_assert_not(fault_hit("aof_write"));
    cr_assert_not(fault_hit("aof_write"));
    cr_assert(fault_hit("aof_write"));
    for (int i = 0; i < 5; i++) cr_assert_not(fault_hit("aof_write"));
    cr_assert_eq(fault_points_armed, 0);
}

Test(check, fault_points_count_apart)
{
    fault_set("one", 1);
    fault_set("two", 2);
    cr_assert_eq(fault_points_armed, 2);
    cr_assert_not(fault_hit("two"));
    cr_assert_not(fault_hit("three"));
    cr_assert(fault_hit("one"));
    cr_assert(fault_hit("two"));
    cr_assert_eq(fault_points_armed, 0);
}

Test(check, a_fault_point_can_be_cleared_and_set_anew)
{
    fault_set("point", 0);
    cr_assert_eq(fault_points_armed, 0);
    fault_set("point", 1);
    fault_set("point", 0);
    cr_assert_not(fault_hit("point"));
    fault_set("point", 5);
    fault_set("point", 1);
    cr_assert_eq(fault_points_armed, 1);
    cr_assert(fault_hit("point"));
    cr_assert_eq(fault_points_armed, 0);
}

Test(check, fault_points_keep_their_own_copy_of_the_name)
{
    char name[] = "temporary";
    fault_set(name, 1);
    memset(name, 'x', sizeof(name) - 1);
    cr_assert_not(fault_hit(name));
    cr_assert(fault_hit("temporary"));
}

Test(check, the_table_takes_as_many_fault_points_as_promised)
{
    char name[FAULT_NAME_BYTES_MAX + 1];
    for (int i = 0; i < FAULT_POINTS_MAX; i++) {
        snprintf(name, sizeof(name), "%0*d", FAULT_NAME_BYTES_MAX, i);
        fault_set(name, 1);
    }
    cr_assert_eq(fault_points_armed, FAULT_POINTS_MAX);
    for (int i = 0; i < FAULT_POINTS_MAX; i++) {
        snprintf(name, sizeof(name), "%0*d", FAULT_NAME_BYTES_MAX, i);
        cr_assert(fault_hit(name));
    }
}

#define HITS_A_THREAD 1000000

static pthread_barrier_t start_line;

static void *hit_often(void *count)
{
    pthread_barrier_wait(&start_line);
    for (int i = 0; i < HITS_A_THREAD; i++) *(int *)count += fault_hit("shared");
    return NULL;
}

Test(check, hits_of_many_threads_are_all_counted_and_exactly_one_fails)
{
    pthread_t threads[3];
    int hits[3] = {0};
    pthread_barrier_init(&start_line, NULL, 3);
    fault_set("shared", 3 * HITS_A_THREAD);
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, hit_often, &hits[i]);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    cr_assert_eq(hits[0] + hits[1] + hits[2], 1);
    cr_assert_eq(fault_points_armed, 0);
}
