/* Lines of the log, in a file of its own for each test. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define LOG_BYTES_MAX (1 << 20)

static char path[] = "/tmp/shoal-log-test-XXXXXX";
static char contents[LOG_BYTES_MAX];

static void open_log(void)
{
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert(log_open(path));
}

static void remove_log(void)
{
    unlink(path);
}

static const char *log_contents(const char *of)
{
    FILE *f = fopen(of, "r");
    cr_assert_not_null(f);
    size_t size = fread(contents, 1, sizeof(contents) - 1, f);
    contents[size] = '\0';
    fclose(f);
    return contents;
}

static bool is_like(const char *text, const char *pattern)
{
    regex_t r;
    cr_assert_eq(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool matches = regexec(&r, text, 0, NULL, 0) == 0;
    regfree(&r);
    return matches;
}

TestSuite(log, .init = open_log, .fini = remove_log);

Test(log, a_line_has_the_form_that_scrapers_know)
{
    log_notice("%s is %d", "port", 6379);
    char pattern[200];
    snprintf(pattern, sizeof(pattern),
             "^%d:M [0-3][0-9] [A-Z][a-z]{2} [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3} "
             "\\* port is 6379\n$",
             (int)getpid());
    cr_assert(is_like(log_contents(path), pattern), "%s", contents);
}

Test(log, the_role_is_the_name_of_the_thread)
{
    check_context_here()->role = "shard-12";
    log_warning("hot");
    cr_assert(is_like(log_contents(path), "^[0-9]+:shard-12 .* # hot\n$"), "%s", contents);
}

Test(log, levels_below_the_chosen_one_are_silent)
{
    cr_assert_eq(log_level_now(), LOG_NOTICE);
    log_debug("no");
    log_verbose("no");
    log_set_level(LOG_DEBUG);
    log_debug("one");
    log_verbose("two");
    log_set_level(LOG_WARNING);
    cr_assert_eq(log_level_now(), LOG_WARNING);
    log_notice("no");
    log_set_level(LOG_NOTHING);
    log_warning("no");
    log_line(LOG_NOTHING, "no");
    cr_assert(is_like(log_contents(path), "^[^\n]* \\. one\n[^\n]* - two\n$"), "%s", contents);
}

Test(log, a_long_message_is_cut_and_stays_a_line)
{
    static char message[10000];
    memset(message, 'x', sizeof(message) - 1);
    log_notice("%s", message);
    log_notice("next");
    const char *end = strchr(log_contents(path), '\n');
    cr_assert_not_null(end);
    cr_assert(end - contents > 1000 && end - contents < 4096);
    cr_assert_eq(end[-1], 'x');
    cr_assert(is_like(end + 1, "^[^\n]* next\n$"));
}

Test(log, a_long_role_is_cut_too)
{
    static char role[10000];
    memset(role, 'r', sizeof(role) - 1);
    check_context_here()->role = role;
    log_notice("message");
    cr_assert(is_like(log_contents(path), "^[0-9]+:r+\n$"), "%s", contents);
}

Test(log, control_characters_cannot_start_a_line)
{
    log_notice("a\nb\r\n\x1b[31mc\x7f\td");
    cr_assert(is_like(log_contents(path), "^[^\n]* \\* a b   \\[31mc  d\n$"), "%s", contents);
}

Test(log, text_in_other_alphabets_is_kept)
{
    log_notice("gr\xc3\xbc\xc3\x9f");
    cr_assert_not_null(strstr(log_contents(path), "gr\xc3\xbc\xc3\x9f\n"));
}

Test(log, lines_are_appended)
{
    log_notice("one");
    cr_assert(log_open(path));
    log_notice("two");
    cr_assert(is_like(log_contents(path), "^[^\n]* one\n[^\n]* two\n$"), "%s", contents);
}

Test(log, a_path_that_cannot_be_opened_keeps_the_old_file)
{
    cr_assert_not(log_open("/nowhere/at/all"));
    log_notice("still here");
    cr_assert_not_null(strstr(log_contents(path), "still here"));
}

Test(log, an_absurdly_long_path_is_refused)
{
    static char absurd[100000];
    memset(absurd, 'p', sizeof(absurd) - 1);
    cr_assert_not(log_open(absurd));
    log_notice("still here");
    cr_assert_not_null(strstr(log_contents(path), "still here"));
}

Test(log, reopening_after_a_rename_makes_a_new_file)
{
    char renamed[sizeof(path) + 2];
    snprintf(renamed, sizeof(renamed), "%s.1", path);
    log_notice("before");
    cr_assert_eq(rename(path, renamed), 0);
    log_notice("between");
    log_reopen();
    log_notice("after");
    cr_assert(is_like(log_contents(path), "^[^\n]* after\n$"), "%s", contents);
    cr_assert(is_like(log_contents(renamed), "^[^\n]* before\n[^\n]* between\n$"), "%s", contents);
    unlink(renamed);
}

Test(log, changing_files_leaks_no_descriptor)
{
    int free_before = dup(STDOUT_FILENO);
    close(free_before);
    for (int i = 0; i < 10; i++) {
        cr_assert(log_open(path));
        log_reopen();
        cr_assert(log_open(""));
    }
    int free_after = dup(STDOUT_FILENO);
    close(free_after);
    cr_assert_eq(free_after, free_before);
}

Test(log, the_empty_path_is_standard_output_again)
{
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    log_notice("to the file");
    cr_assert_neq(dup2(open(path, O_WRONLY | O_APPEND), STDOUT_FILENO), -1);
    char other[] = "/tmp/shoal-log-test-XXXXXX";
    close(mkstemp(other));
    cr_assert(log_open(other));
    log_notice("to the other");
    cr_assert(log_open(""));
    log_notice("to standard output");
    log_reopen();
    dup2(kept, STDOUT_FILENO);
    cr_assert(is_like(log_contents(path), "^[^\n]* to the file\n[^\n]* to standard output\n$"),
              "%s", contents);
    cr_assert(is_like(log_contents(other), "^[^\n]* to the other\n$"), "%s", contents);
    unlink(other);
}

#define LINES_A_THREAD 500

static void *write_lines(void *letter)
{
    char text[101];
    memset(text, *(const char *)letter, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    for (int i = 0; i < LINES_A_THREAD; i++) log_notice("<%s>", text);
    return NULL;
}

Test(log, lines_of_several_threads_never_mix_and_survive_reopening)
{
    pthread_t threads[3];
    char letters[] = "abc";
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, write_lines, &letters[i]);
    for (int i = 0; i < 50; i++) log_reopen();
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    int lines = 0;
    log_contents(path);
    for (char *line = strtok(contents, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        cr_assert(is_like(line, " \\* <(a{100}|b{100}|c{100})>$"), "%s", line);
    }
    cr_assert_eq(lines, 3 * LINES_A_THREAD);
}
