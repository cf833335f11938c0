/* criterion.c: runs the tests of one program, each in a process of its own; see
 * criterion/criterion.h. */
#include <criterion/criterion.h>

struct plain_test *plain_tests, *plain_suites;
bool plain_failed;

static struct plain_test *suite_of(const struct plain_test *test)
{
    for (struct plain_test *s = plain_suites; s; s = s->next)
        if (strcmp(s->suite, test->suite) == 0) return s;
    return NULL;
}

static void run_here(const struct plain_test *test)
{
    const struct plain_test *suite = suite_of(test);
    double seconds = test->timeout > 0 ? test->timeout : suite ? suite->timeout : 0;
    /* A sanitizer slows everything down. */
    alarm(seconds > 0 ? (unsigned)(seconds * 20) : 600);
    if (suite && suite->init) suite->init();
    if (test->init) test->init();
    test->body();
    if (test->fini) test->fini();
    if (suite && suite->fini) suite->fini();
    exit(plain_failed ? 1 : 0);
}

static bool passes(const struct plain_test *test)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) run_here(test);
    if (child < 0 || waitpid(child, &status, 0) != child) return false;
    if (WIFSIGNALED(status)) return test->signal == WTERMSIG(status);
    return test->signal == 0 && WEXITSTATUS(status) == test->exit_code;
}

int main(void)
{
    int passing = 0, failing = 0;
    for (struct plain_test *test = plain_tests; test; test = test->next) {
        if (test->disabled) continue;
        bool passed = passes(test);
        if (!passed) printf("FAILED: %s::%s\n", test->suite, test->name);
        passing += passed;
        failing += !passed;
    }
    printf("Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: 0\n", passing + failing,
           passing, failing);
    return failing != 0;
}
