/* criterion.h: as much of Criterion's interface as the unit tests use, in plain C, for
 * ThreadSanitizer.
 *
 * Criterion's processes map memory where ThreadSanitizer does not allow any, so its programs cannot
 * start there. Here each test is forked; a report of the sanitizer ends it with a status that is
 * not 0.
 */
#pragma once
/* As Criterion's own headers: its macros compare what they are given. */
#pragma GCC system_header

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct plain_test {
    const char *suite, *name;
    void (*body)(void);
    void (*init)(void);
    void (*fini)(void);
    int signal, exit_code;
    double timeout;
    bool disabled;
    const char *description;
    struct plain_test *next;
};

extern struct plain_test *plain_tests, *plain_suites;
extern bool plain_failed;

static inline void plain_fail(const char *file, int line, const char *condition, bool fatal,
                              const char *format, ...)
{
    va_list args;
    printf("%s:%d: %s ", file, line, condition);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    plain_failed = true;
    if (fatal) _exit(1);
}

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_##_body(void);                                                     \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                          \
    {                                                                                              \
        static struct plain_test test = {                                                          \
            .suite = #suite_, .name = #name_, .body = suite_##_##name_##_body, __VA_ARGS__};       \
        test.next = plain_tests;                                                                   \
        plain_tests = &test;                                                                       \
    }                                                                                              \
    static void suite_##_##name_##_body(void)
#define TestSuite(suite_, ...)                                                                     \
    __attribute__((constructor)) static void suite_##_suite_add(void)                              \
    {                                                                                              \
        static struct plain_test test = {.suite = #suite_, __VA_ARGS__};                           \
        test.next = plain_suites;                                                                  \
        plain_suites = &test;                                                                      \
    }                                                                                              \
    struct plain_test

#define PLAIN_CHECK(condition, text, fatal, ...)                                                   \
    do {                                                                                           \
        if (!(condition)) plain_fail(__FILE__, __LINE__, text, fatal, "" __VA_ARGS__);             \
    } while (0)

/* clang-format off */
#define cr_assert(c, ...) PLAIN_CHECK(c, #c, true, __VA_ARGS__)
#define cr_assert_not(c, ...) PLAIN_CHECK(!(c), "not " #c, true, __VA_ARGS__)
#define cr_assert_eq(a, b, ...) PLAIN_CHECK((a) == (b), #a " == " #b, true, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) PLAIN_CHECK((a) != (b), #a " != " #b, true, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) PLAIN_CHECK((a) < (b), #a " < " #b, true, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) PLAIN_CHECK((a) <= (b), #a " <= " #b, true, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) PLAIN_CHECK((a) > (b), #a " > " #b, true, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) PLAIN_CHECK((a) >= (b), #a " >= " #b, true, __VA_ARGS__)
#define cr_assert_null(a, ...) PLAIN_CHECK((a) == NULL, #a " is null", true, __VA_ARGS__)
#define cr_assert_not_null(a, ...) PLAIN_CHECK((a) != NULL, #a " is not null", true, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) PLAIN_CHECK(strcmp(a, b) == 0, #a " equals " #b, true, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) PLAIN_CHECK(strcmp(a, b) != 0, #a " differs from " #b, true, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) PLAIN_CHECK(memcmp(a, b, size) == 0, #a " equals " #b, true, __VA_ARGS__)
#define cr_assert_str_empty(a, ...) PLAIN_CHECK((a)[0] == 0, #a " is empty", true, __VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...) PLAIN_CHECK((a) - (b) <= (epsilon) && (b) - (a) <= (epsilon), #a " is near " #b, false, __VA_ARGS__)
#define cr_assert_fail(...) PLAIN_CHECK(false, "failed", true, __VA_ARGS__)
#define cr_expect(c, ...) PLAIN_CHECK(c, #c, false, __VA_ARGS__)
#define cr_expect_not(c, ...) PLAIN_CHECK(!(c), "not " #c, false, __VA_ARGS__)
#define cr_expect_eq(a, b, ...) PLAIN_CHECK((a) == (b), #a " == " #b, false, __VA_ARGS__)
#define cr_expect_neq(a, b, ...) PLAIN_CHECK((a) != (b), #a " != " #b, false, __VA_ARGS__)
#define cr_expect_lt(a, b, ...) PLAIN_CHECK((a) < (b), #a " < " #b, false, __VA_ARGS__)
#define cr_expect_leq(a, b, ...) PLAIN_CHECK((a) <= (b), #a " <= " #b, false, __VA_ARGS__)
#define cr_expect_gt(a, b, ...) PLAIN_CHECK((a) > (b), #a " > " #b, false, __VA_ARGS__)
#define cr_expect_geq(a, b, ...) PLAIN_CHECK((a) >= (b), #a " >= " #b, false, __VA_ARGS__)
#define cr_expect_null(a, ...) PLAIN_CHECK((a) == NULL, #a " is null", false, __VA_ARGS__)
#define cr_expect_not_null(a, ...) PLAIN_CHECK((a) != NULL, #a " is not null", false, __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) PLAIN_CHECK(strcmp(a, b) == 0, #a " equals " #b, false, __VA_ARGS__)
#define cr_log_info(...) (printf(__VA_ARGS__), printf("\n"))
#define cr_log_warn(...) (printf(__VA_ARGS__), printf("\n"))
#define cr_skip_test(...) (printf("skipped: " __VA_ARGS__), printf("\n"), fflush(stdout), _exit(0))
/* clang-format on */
