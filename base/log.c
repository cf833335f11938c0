/* log.c: formats a line on the stack and hands it to the kernel in one write. */
#include "base/log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"

#define LINE_BYTES_MAX 2048

/* Once a file has been opened this number stays: a new file, or standard output again, is put under
 * it with dup3. So a thread that has read the number and is about to write never meets a closed or
 * a foreign descriptor. */
static _Atomic int log_fd = STDOUT_FILENO;
static _Atomic int log_level = LOG_NOTICE;
static char log_path[PATH_MAX]; /* [main] "" is standard output */

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

enum log_level log_level_now(void)
{
    return (enum log_level)atomic_load_explicit(&log_level, memory_order_relaxed);
}

static size_t put_head(char *line, size_t room, enum log_level level)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static const char marks[] = {'.', '-', '*', '#', '#'};

    int64_t wall_us = env_wall_us();
    time_t seconds = (time_t)(wall_us / 1000000);
    int milliseconds = (int)(wall_us / 1000 % 1000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    const char *role = check_context_here()->role;
    int size = snprintf(line, room, "%d:%s %02d %.3s %04d %02d:%02d:%02d.%03d %c ", (int)getpid(),
                        role ? role : "M", tm.tm_mday, &months[3 * tm.tm_mon], tm.tm_year + 1900,
                        tm.tm_hour, tm.tm_min, tm.tm_sec, milliseconds, marks[level]);
    CHECK(size > 0);
    return MIN((size_t)size, room - 1);
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level < log_level_now() || level >= LOG_NOTHING) return;

    char line[LINE_BYTES_MAX];
    size_t head = put_head(line, sizeof(line), level);
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line + head, sizeof(line) - head, format, args);
    va_end(args);
    if (size < 0) return;

    size_t end = MIN(head + (size_t)size, sizeof(line) - 1);
    /* One event stays one line, whatever a client put into a name. */
    for (size_t i = head; i < end; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) line[i] = ' ';
    }
    line[end] = '\n';
    ssize_t written = write(atomic_load_explicit(&log_fd, memory_order_relaxed), line, end + 1);
    (void)written; /* A log that cannot be written has nowhere to say so. */
}

/* Puts `fd`, which stays the caller's, under the number that all threads write to. */
static bool log_switch(int fd)
{
    int current = atomic_load_explicit(&log_fd, memory_order_relaxed);
    if (current != STDOUT_FILENO) return dup3(fd, current, O_CLOEXEC) >= 0;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (own < 0) return false;
    atomic_store_explicit(&log_fd, own, memory_order_relaxed);
    return true;
}

bool log_open(const char *path)
{
    size_t size = strlen(path);
    if (size >= sizeof(log_path)) return false;
    bool to_file = size > 0;
    if (!to_file && !log_path[0]) return true;

    int fd = to_file ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : STDOUT_FILENO;
    if (fd < 0) return false;
    bool switched = log_switch(fd);
    if (to_file) close(fd);
    if (!switched) return false;

    memmove(log_path, path, size + 1); /* log_reopen passes log_path itself. */
    check_set_report_fd(to_file ? atomic_load(&log_fd) : STDERR_FILENO);
    return true;
}

void log_reopen(void)
{
    if (!log_path[0]) return;
    if (!log_open(log_path)) log_warning("Cannot open the log file %s again", log_path);
}
