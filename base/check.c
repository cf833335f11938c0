/* check.c: the report of a failed CHECK or a crash, and the table of fault points.
 *
 * Everything that runs after a crash uses write(2) and the stack only: the heap and stdio may be
 * what is broken.
 */
#include "base/check.h"

#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPORT_BYTES_MAX 1024
#define REPORT_FRAMES_MAX 64

static _Atomic int report_fd = STDERR_FILENO;

struct check_context *check_context_here(void)
{
    static _Thread_local struct check_context context;
    return &context;
}

void check_set_report_fd(int fd)
{
    atomic_store_explicit(&report_fd, fd, memory_order_relaxed);
}

/* ---- the report ---- */

struct report {
    size_t size;
    char text[REPORT_BYTES_MAX];
};

static void report_text(struct report *r, const char *text)
{
    for (; *text && r->size < sizeof(r->text); text++) r->text[r->size++] = *text;
}

static void report_number(struct report *r, uint64_t value, unsigned base)
{
    char digits[65];
    char *p = &digits[sizeof(digits) - 1];
    *p = '\0';
    do {
        *--p = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    report_text(r, p);
}

/* Ends the line that says what happened, adds who it happened to and how it came there. */
static void report_finish(struct report *r)
{
    const struct check_context *context = check_context_here();
    report_text(r, "\n    thread: ");
    report_text(r, context->role ? context->role : "(none)");
    report_text(r, ", command: ");
    report_text(r, context->command ? context->command : "(none)");
    report_text(r, "\n");

    int fd = atomic_load_explicit(&report_fd, memory_order_relaxed);
    ssize_t written = write(fd, r->text, r->size);
    (void)written; /* There is nobody left to tell. */

    void *frames[REPORT_FRAMES_MAX];
    backtrace_symbols_fd(frames, backtrace(frames, ARRAY_LEN(frames)), fd);
}

void check_failed(const char *condition, const char *file, int line)
{
    struct report r = {.size = 0};
    report_text(&r, "=== CHECK failed: ");
    report_text(&r, condition);
    report_text(&r, " at ");
    report_text(&r, file);
    report_text(&r, ":");
    report_number(&r, (uint64_t)line, 10);
    report_finish(&r);
    signal(SIGABRT, SIG_DFL); /* this is the report */
    abort();
}

static const char *signal_name(int number)
{
    switch (number) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    case SIGABRT:
        return "SIGABRT";
    default:
        return "signal";
    }
}

/* SA_RESETHAND has put the default action back. The raised signal is blocked until this returns,
 * and then ends the process as it would have without us, core file and exit status included. */
static void on_crash(int number, siginfo_t *info, UNUSED void *unused)
{
    struct report r = {.size = 0};
    report_text(&r, "=== Shoal crashed by signal: ");
    report_number(&r, (uint64_t)number, 10);
    report_text(&r, " (");
    report_text(&r, signal_name(number));
    report_text(&r, ")");
    report_text(&r, ", address 0x");
    report_number(&r, (uint64_t)(uintptr_t)info->si_addr, 16);
    report_finish(&r);
    raise(number);
}

void check_install_crash_handler(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

    /* The first backtrace loads libgcc, which allocates: not a thing to do after a crash. */
    void *frame;
    backtrace(&frame, 1);

    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        CHECK(sigaction(signals[i], &action, NULL) == 0);
    }
}

/* ---- fault points ---- */

/* A row belongs to one name for ever, so a reader never sees a name change under it. */
enum row_state { ROW_FREE, ROW_BEING_NAMED, ROW_NAMED };

struct fault_row {
    _Atomic int state;
    _Atomic unsigned hits_left; /* 0: not armed */
    char name[FAULT_NAME_BYTES_MAX + 1];
};

static struct fault_row fault_rows[FAULT_POINTS_MAX];
_Atomic unsigned fault_points_armed;

static struct fault_row *fault_row_find(const char *point)
{
    for (size_t i = 0; i < FAULT_POINTS_MAX; i++) {
        struct fault_row *row = &fault_rows[i];
        /* Pairs with the release store in fault_row_make: a named row's name can be read. */
        if (atomic_load_explicit(&row->state, memory_order_acquire) != ROW_NAMED) continue;
        if (strcmp(row->name, point) == 0) return row;
    }
    return NULL;
}

static struct fault_row *fault_row_make(const char *point)
{
    for (size_t i = 0; i < FAULT_POINTS_MAX; i++) {
        struct fault_row *row = &fault_rows[i];
        int expected = ROW_FREE;
        if (!atomic_compare_exchange_strong(&row->state, &expected, ROW_BEING_NAMED)) continue;
        strcpy(row->name, point);
        atomic_store_explicit(&row->state, ROW_NAMED, memory_order_release);
        return row;
    }
    return NULL;
}

void fault_set(const char *point, unsigned count)
{
    CHECK(strlen(point) <= FAULT_NAME_BYTES_MAX);
    struct fault_row *row = fault_row_find(point);
    if (!row && count == 0) return;
    if (!row) row = fault_row_make(point);
    CHECK(row);
    unsigned before = atomic_exchange(&row->hits_left, count);
    if (!before && count) atomic_fetch_add(&fault_points_armed, 1);
    if (before && !count) atomic_fetch_sub(&fault_points_armed, 1);
}

bool fault_hit_slow(const char *point)
{
    struct fault_row *row = fault_row_find(point);
    if (!row) return false;
    unsigned left = atomic_load(&row->hits_left);
    do {
        if (left == 0) return false;
        if (left == (FAULT_LASTING | 1)) return true;
    } while (!atomic_compare_exchange_weak(&row->hits_left, &left, left - 1));
    if (left > 1) return false;
    atomic_fetch_sub(&fault_points_armed, 1);
    return true;
}
